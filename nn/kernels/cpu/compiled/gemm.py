"""Matrix products and convolutions, compiled: loops around the block of `vectors`.

There are no patches. In a padded channels-last image the KW*C numbers under one row of the
kernel are adjacent, and the next output's begin stride*C numbers later. So the image
itself serves as the matrix of patches, whose rows overlap (the idea of MEC, Cho and Brand
2017, arXiv 1706.06873), and a convolution is a matrix product with unusual steps:

    y[column, filter] = b[filter] + sum over (i, k) of
        padded[(row*stride + i) * width*C + column*stride*C + k] * w[i, k, filter]

for i < KH and k < KW*C. If the columns of the kernel are apart (dilation), there is such a sum over
the KW columns, each of C numbers, for each row of the kernel. The gradient of the kernel is another
product of the same numbers, summed over columns and rows; the gradient of the input is a
convolution with the flipped kernel. A band of rows at a time is copied between zeros, so that it
stays in the cache.

The groups of a convolution are computed one after the other, each with its own channels alone.
The argument `block` of a kernel is what `vectors.block_of` returns.
"""

from typing import Any

import numpy as np

from ...geometry import NO_PADDING, Array, Padding, Pair, output_size
from .. import memory, threads, tuned
from ..compiler import compile_kernel
from .panels import kernel_panels
from .sharing import LONGEST_SUM
from .vectors import block_columns, block_of, block_rows, matrix_block, run_block

# Bytes of the padded rows of an image that are processed at a time: they have to stay in the
# second-level cache, together with the kernel's weights.
_BAND_BYTES = 1 << 17
# Rows of A, columns of B and terms of the sum of a matrix product that are copied at a time: the
# copies stay in the second-level cache, and a panel of B in the first-level cache.
_ROWS, _COLUMNS, _DEPTH = 1 << 7, 1 << 9, 1 << 8
# Numbers between copied rows, which would compete for few places of the cache a power of two apart.
_GAP = 16
# Multiplications that BLAS does as fast or faster; with AVX-512 not if many rows get a bias, which
# would be another pass over the product, nor for few rows, as each of its threads copies all of B.
_LARGE, _FEW_ROWS = 1 << 24, 96
# Multiplications that are worth a second thread, which costs 10 to 50 microseconds.
_GRAIN = 1 << 20


def _grain(work: int) -> int:
    """Return how many pieces of `work` multiplications each are worth a thread."""
    return 1 + _GRAIN // max(work, 1)


def _padded_columns(matrix: Array, width: int) -> Array:
    """Return a C-contiguous matrix, padded with zero columns to a multiple of width."""
    missing = -matrix.shape[1] % width
    if missing:
        return np.pad(matrix, ((0, 0), (0, missing)))
    return np.ascontiguousarray(matrix)


# ------------------------------------------------------------------------ matrix products


@compile_kernel
def _copy_panels(b, b_steps, depth, columns, width, panels):
    """Copy rows of a matrix as panels of `width` columns, one after the other, zeros to the last.

    `b` begins at the first number; it has `depth` rows and `columns` columns.
    """
    for first in range(0, columns, width):
        panel, count = panels[first * depth :], min(width, columns - first)
        if b_steps[1] == 1:
            for i in range(depth):
                source, target = b[i * b_steps[0] + first :], panel[i * width :]
                for j in range(count):
                    target[j] = source[j]
        else:
            for j in range(count):
                source, target = b[(first + j) * b_steps[1] :], panel[j:]
                for i in range(depth):
                    target[i * width] = source[i * b_steps[0]]
        for i in range(depth):
            panel[i * width + count : (i + 1) * width] = 0


@compile_kernel
def _copy_rows(a, a_steps, count, depth, rows, block):
    """Copy `count` rows of a matrix that begins at a[0]; return the steps within the copy.

    They are the numbers from a row to the next, from a column to the next, and from one block
    of `rows` rows to the next, for each of its rows.
    """
    if a_steps[1] == 1:
        for i in range(count):
            source, target = a[i * a_steps[0] :], block[i * (depth + _GAP) :]
            for j in range(depth):
                target[j] = source[j]
        return depth + _GAP, 1, depth + _GAP
    for j in range(depth):
        source, target = a[j * a_steps[1] :], block[j * rows :]
        whole = count // rows
        for i in range(whole):
            for r in range(rows):
                target[i * rows * depth + r] = source[i * rows + r]
        for r in range(whole * rows, count):
            target[whole * rows * depth + r - whole * rows] = source[r]
    return 1, rows, depth


@compile_kernel
def _matmul(block, factors, bias, c, sizes, share_columns, part, lo, hi):
    """Compute C in blocks of rows and panels of columns, lo..hi of the former or the latter.

    `factors` are a and b, flat as c is, each with its steps to the next row and column of
    A (m, k) and B (k, n). C has whole blocks and panels: its last rows and columns may be
    beyond m and n.
    """
    (code, rows, width), (a, a_steps, b, b_steps), (m, k, n) = block, factors, sizes
    step = (n + width - 1) // width * width
    top, bottom, left, right = lo * rows, min(hi * rows, m), 0, n
    if share_columns:
        top, bottom, left, right = 0, m, lo * width, min(hi * width, n)
    deepest = min(k, _DEPTH)
    copied = np.zeros(min(bottom - top + rows, _ROWS) * (deepest + _GAP), dtype=a.dtype)
    panels = np.empty(min(right - left + width, _COLUMNS) * deepest, dtype=a.dtype)
    for first in range(0, k, _DEPTH):
        depth = min(_DEPTH, k - first)
        d, d_step = (bias, 0) if first == 0 else (c, step)
        for group in range(left, right, _COLUMNS):
            columns = min(_COLUMNS, right - group)
            _copy_panels(
                b[first * b_steps[0] + group * b_steps[1] :], b_steps, depth, columns, width,
                panels,
            )  # fmt: skip
            for band in range(top, bottom, _ROWS):
                count = min(_ROWS, bottom - band)
                start = band * a_steps[0] + first * a_steps[1]
                row_step, column_step, block_step = _copy_rows(
                    a[start:], a_steps, count, depth, rows, copied
                )
                for column in range(0, columns, width):
                    for row in range(0, count, rows):
                        to = (band + row) * step + group + column
                        run_block(
                            code, copied, (row_step, 0, column_step), panels, (0, width),
                            (1, depth), d, d_step, c, step,
                            (row * block_step, column * depth,
                             group + column if first == 0 else to, to),
                        )  # fmt: skip


def _flatten(matrix: Array) -> tuple[Array, Pair]:
    """Return a matrix flattened in memory order, and its row and column strides."""
    if not (matrix.flags.c_contiguous or matrix.flags.f_contiguous):
        matrix = np.ascontiguousarray(matrix)
    row, column = matrix.strides
    return matrix.ravel(order="K"), (row // matrix.itemsize, column // matrix.itemsize)


@compile_kernel
def _add_row_product(a, b, y, part, lo, hi):
    """Add the product of a row a (k,) and the columns lo..hi of b (k, n) to y (n,)."""
    total, own = y[lo:hi], np.empty(hi - lo, dtype=y.dtype)
    for first in range(0, a.size, _DEPTH):  # sums of few numbers are exact to more digits
        last = min(first + _DEPTH, a.size)
        whole = first + (last - first) // 4 * 4
        own[:] = 0
        for i in range(first, whole, 4):  # a sum is loaded and stored once for four rows of b
            row0, row1, row2, row3 = b[i, lo:hi], b[i + 1, lo:hi], b[i + 2, lo:hi], b[i + 3, lo:hi]
            for j in range(hi - lo):
                before = own[j] + (a[i] * row0[j] + a[i + 1] * row1[j])
                own[j] = before + (a[i + 2] * row2[j] + a[i + 3] * row3[j])
        for i in range(whole, last):
            row = b[i, lo:hi]
            for j in range(hi - lo):
                own[j] += a[i] * row[j]
        for j in range(hi - lo):
            total[j] += own[j]


def _row_product(a: Array, b: Array, bias: Array | None) -> Array:
    """Return the product of one row a (1, k) with b (k, n), C-contiguous."""
    y = np.zeros((1, b.shape[1]), a.dtype)
    if bias is not None:
        y[:] = bias
    grain = _grain(len(b))
    threads.run(_add_row_product, y.size, np.ascontiguousarray(a)[0], b, y[0], grain=grain)
    return y


def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    """See `reference.matmul`."""
    if a.shape[1] != b.shape[0] or a.dtype != b.dtype or 0 in (*a.shape, *b.shape):
        return tuned.matmul(a, b, bias)
    (m, k), n = a.shape, b.shape[1]
    if m == 1:  # panels would be used once
        return (_row_product if b.flags.c_contiguous else tuned.matmul)(a, b, bias)
    rows, vectors, lanes = matrix_block(n, a.dtype)
    is_large = m * k * n >= _LARGE
    suits_blas = rows < 8 or (m > _FEW_ROWS and (bias is None or m < n))
    if is_large and suits_blas:
        return tuned.matmul(a, b, bias)
    blocks, panels = -(-m // rows), -(-n // (vectors * lanes))
    share_columns = panels >= threads.NUM_THREADS and n >= m
    total, work = (panels, m * k * vectors * lanes) if share_columns else (blocks, rows * k * n)
    start = np.zeros(panels * vectors * lanes, a.dtype)
    if bias is not None:
        start[:n] = bias
    c = memory.empty((blocks * rows, start.size), a.dtype)
    threads.run(
        _matmul, total, block_of(rows, vectors, lanes, a.itemsize),
        (*_flatten(a), *_flatten(b)), start, c.reshape(c.size), (m, k, n), share_columns,
        grain=_grain(work),
    )  # fmt: skip
    return c[:m] if c.shape[1] == n else np.ascontiguousarray(c[:m, :n])


# ----------------------------------------------------------------------------- convolution


@compile_kernel
def copy_band(x, channels, first_row, rows, left, padded, width):
    """Copy rows of an image x (H, W, C) into rows of `width` pixels, zeros around them.

    `channels` are the first one to copy, and how many.
    """
    (h, w, all_channels), (first, c) = x.shape, channels
    left = min(left, width)  # a stride may leave out all of the image, and more
    columns = min(w, width - left)
    for row in range(rows):
        target = padded[row * width * c : (row + 1) * width * c]
        if not 0 <= first_row + row < h:
            target[:] = 0
            continue
        source = x[first_row + row].reshape(w * all_channels)
        for k in range(left * c):
            target[k] = 0
        middle = target[left * c :]
        if c == all_channels:
            for k in range(columns * c):
                middle[k] = source[k]
        else:
            for column in range(columns):
                pixel = source[column * all_channels + first :]
                for k in range(c):
                    middle[column * c + k] = pixel[k]
        for k in range((left + columns) * c, width * c):
            target[k] = 0


@compile_kernel
def _conv2d(block, x, weights, y, window, part, lo, hi):
    """Convolve the pieces lo..hi of the samples, `band` rows of outputs at a time.

    x is (N, H, W, G*C), w the panels of `kernel_panels`, flat, b (G*F,), y (N*OH, OW*G*F) for
    G groups. A piece has `height` rows of outputs, the last of a sample the rest.
    """
    (code, columns, panel), (w, b) = block, weights
    ((reach, stride, before, band), sums, groups), height = window
    c, f, all_f = x.shape[3] // groups, b.size // groups, b.size
    (count_i, step_i), (count_j, step_j), run = sums
    depth = count_i * count_j * run
    out_h, out_w = y.shape[0] // x.shape[0], y.shape[1] // all_f
    width = (out_w - 1) * stride[1] + reach[1]
    padded = np.empty(((band - 1) * stride[0] + reach[0]) * width * c, dtype=x.dtype)
    flat_y = y.reshape(y.size)
    pieces = (out_h + height - 1) // height
    for step in range(lo * groups, hi * groups):
        piece, group = divmod(step, groups)
        n, first = piece // pieces, piece % pieces * height
        last = min(first + height, out_h)
        for top in range(first, last, band):
            count = min(band, last - top)
            rows = (count - 1) * stride[0] + reach[0]
            copy_band(
                x[n], (group * c, c), top * stride[0] - before[0], rows, before[1], padded,
                width,
            )  # fmt: skip
            for filters in range(0, f, panel):
                to = group * f + filters
                for row in range(count):
                    x_row, y_row = row * stride[0] * width, (n * out_h + top + row) * out_w
                    for left in range(0, out_w, columns):
                        at = min(left, out_w - columns)  # the last may overlap
                        from_x, to_y = (x_row + at * stride[1]) * c, (y_row + at) * all_f + to
                        for i in range(count_i):
                            from_w = to * depth + i * count_j * run * panel
                            d, d_step, d_from = (b, 0, to) if i == 0 else (flat_y, all_f, to_y)
                            run_block(
                                code, padded, (stride[1] * c, step_j, 1),
                                w, (run * panel, panel), (count_j, run),
                                d, d_step, flat_y, all_f,
                                (from_x + i * step_i, from_w, d_from, to_y),
                            )  # fmt: skip


@compile_kernel
def _conv2d_weight_grad(block, x, grad, dw, window, part, lo, hi):
    """Sum the kernel's gradient over the samples lo..hi into dw[part, 0], (G*I*J*taps'*F,).

    x is (N, H, W, G*C), grad (N, OH, OW, G*F) for G groups. I and J are the counts of `_sums`,
    each with a run of taps, rounded up to whole blocks: the sums of the rest are never read.
    """
    (code, taps, panel), ((reach, stride, before, band), sums, groups) = block, window
    (count_i, step_i), (count_j, step_j), run = sums
    _, out_h, out_w, all_f = grad.shape
    c, f = x.shape[3] // groups, all_f // groups
    width = (out_w - 1) * stride[1] + reach[1]
    size = ((band - 1) * stride[0] + reach[0]) * width * c
    padded = np.zeros(size + taps, dtype=x.dtype)
    all_taps = (run + taps - 1) // taps * taps
    flat_grad, total, own, rows_summed = grad.reshape(grad.size), dw[part, 0], dw[part, 1], 0
    dw[part] = 0
    for step in range(lo * groups, hi * groups):
        n, group = divmod(step, groups)
        for top in range(0, out_h, band):
            count = min(band, out_h - top)
            rows = (count - 1) * stride[0] + reach[0]
            copy_band(
                x[n], (group * c, c), top * stride[0] - before[0], rows, before[1], padded,
                width,
            )  # fmt: skip
            for ij in range(count_i * count_j):
                from_x = ij // count_j * step_i + ij % count_j * step_j
                for tap in range(0, all_taps, taps):
                    for filters in range(0, f, panel):
                        at = ((group * count_i * count_j + ij) * all_taps + tap) * f + filters
                        from_grad = (n * out_h + top) * out_w * all_f + group * f + filters
                        run_block(
                            code, padded, (1, stride[0] * width * c, stride[1] * c),
                            flat_grad, (out_w * all_f, all_f), (count, out_w),
                            own, f, own, f,
                            (from_x + tap, from_grad, at, at),
                        )  # fmt: skip
            rows_summed += count * out_w
            if rows_summed >= LONGEST_SUM:
                total += own
                own[:] = 0
                rows_summed = 0
    total += own


def _window(
    x: Array, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> tuple[Any, Any, int]:
    """Return what the kernels take as `window`: where they copy, what they sum, and the groups.

    The first is the rows and columns that the kernel reaches over, its stride, the padding before,
    and the rows of a band, which is what is computed at a time: its input fits `_BAND_BYTES`. The
    second is what is summed for an output: the counts of two loops, each with the numbers from one
    to the next in the copied band, and a run of adjacent numbers.
    """
    c, out = x.shape[3] // groups, output_size(x.shape[1:3], kernel, stride, padding, dilation)
    reach = ((kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1)
    width = (out[1] - 1) * stride[1] + reach[1]
    fitting = _BAND_BYTES // max(width * c * x.itemsize, 1)
    band = min(out[0], max(1, (fitting - reach[0]) // stride[0] + 1))
    down, across = (kernel[0], dilation[0] * width * c), (kernel[1], dilation[1] * c)
    sums = ((1, 0), down, kernel[1] * c) if 1 in (kernel[1], dilation[1]) else (down, across, c)
    return (reach, stride, (padding[0][0], padding[1][0]), band), sums, groups


def conv2d(
    x: Array,
    w: Array,
    b: Array | None,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """Return the convolution of x (N, H, W, C) with w (F, C/G, KH, KW), as (N, OH, OW, F)."""
    all_f, c, *kernel = w.shape
    f, kernel = all_f // groups, (kernel[0], kernel[1])
    out = output_size(x.shape[1:3], kernel, stride, padding, dilation)
    vectors, lanes = block_columns(f, x.dtype)
    panels = kernel_panels(w, groups, vectors * lanes)
    bias = np.zeros((groups, len(panels) // groups * vectors * lanes), dtype=x.dtype)
    if b is not None:
        bias[:, :f] = b.reshape(groups, f)
    y = memory.empty((x.shape[0], *out, bias.size), x.dtype)
    if y.size:
        # A few samples are not enough pieces for all threads.
        height = out[0] if len(x) >= threads.NUM_THREADS else -(-out[0] // threads.NUM_THREADS)
        pieces = len(x) * -(-out[0] // height)
        threads.run(
            _conv2d, pieces, block_of(block_rows(out[1], vectors), vectors, lanes, x.itemsize), x,
            (panels.ravel(), bias.ravel()), y.reshape(len(x) * out[0], -1),
            (_window(x, kernel, stride, padding, dilation, groups), height),
            grain=_grain(y.size // pieces * c * kernel[0] * kernel[1]),
        )  # fmt: skip
    if y.shape[3] == all_f:
        return y
    y = y.reshape(*y.shape[:3], *bias.shape)[..., :f]  # (N, OH, OW, G, F/G)
    return np.ascontiguousarray(y).reshape(*y.shape[:3], all_f)


def conv2d_weight_grad(
    grad: Array,
    x: Array,
    kernel: Pair,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """Return the gradient for w of `conv2d`, given that for its result (N, OH, OW, F)."""
    (kh, kw), c = kernel, x.shape[3] // groups
    n, oh, ow, all_f = grad.shape
    f = all_f // groups
    vectors, lanes = block_columns(f, x.dtype)
    grad = _padded_columns(grad.reshape(-1, f), vectors * lanes).reshape(n, oh, ow, -1)
    window = _window(x, kernel, stride, padding, dilation, groups)
    run = window[1][2]
    taps, runs = block_rows(run, vectors), kh * kw * c // run
    all_taps = -(-run // taps) * taps
    dw = np.empty((threads.NUM_THREADS, 2, runs * all_taps * grad.shape[3]), dtype=grad.dtype)
    parts = threads.run(
        _conv2d_weight_grad, n, block_of(taps, vectors, lanes, x.itemsize, adjacent=True),
        x, grad, dw, window, grain=_grain(oh * ow * c * all_f * kh * kw),
    )  # fmt: skip
    total = dw[:parts, 0].sum(axis=0).reshape(groups, runs, all_taps, -1)[:, :, :run, :f]
    # (G, I*J, run, F/G) -> (G, KH, KW, C/G, F/G) -> (G, F/G, C/G, KH, KW) -> (F, C/G, KH, KW)
    total = total.reshape(groups, kh, kw, c, f).transpose(0, 4, 3, 1, 2)
    return np.ascontiguousarray(total).reshape(all_f, c, kh, kw)
