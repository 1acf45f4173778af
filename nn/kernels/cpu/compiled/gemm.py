"""Matrix products and convolutions, compiled: loops around the block of `vectors`.

There are no patches. In a padded channels-last image the KW*C numbers under one row of the
kernel are adjacent, and the next output's begin stride*C numbers later. So the image
itself serves as the matrix of patches, whose rows overlap (the idea of MEC, Cho and Brand
2017, arXiv 1706.06873), and a convolution is a matrix product with unusual steps:

    y[column, filter] = b[filter] + sum over (i, k) of
        padded[(row*stride + i) * width*C + column*stride*C + k] * w[i, k, filter]

for i < KH and k < KW*C. The gradient of the kernel is another product of the same numbers,
summed over columns and rows; the gradient of the input is a convolution with the flipped
kernel. A band of rows at a time is copied between zeros, so that it stays in the cache.

The groups of a convolution are computed one after the other, each with its own channels alone.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ...geometry import Array, Padding, Pair
from .. import memory, threads, tuned
from ..compiler import compile_kernel
from .sharing import LONGEST_SUM
from .vectors import block_columns, block_rows, matrix_block, multiply_block

# Bytes of the padded rows of an image that are processed at a time: they have to stay in the
# second-level cache, together with the kernel's weights.
_BAND_BYTES = 1 << 17
# Bytes after which rows compete for the same places of a first-level cache, and numbers between
# the rows of a copy that do not.
_SAME_PLACE, _GAP = 1 << 10, 16
# Multiplications that BLAS does faster: it copies parts of A too, so that they stay in the cache.
_LARGE = 1 << 24
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
def _copy_panel(b, b_steps, k, columns, panel):
    """Copy the first columns of a matrix of k rows side by side, into rows of `panel`."""
    width = panel.size // k
    if b_steps[1] == 1:
        for i in range(k):
            source, target = b[i * b_steps[0] :], panel[i * width :]
            for j in range(columns):
                target[j] = source[j]
    else:
        for j in range(columns):
            source, target = b[j * b_steps[1] :], panel[j:]
            for i in range(k):
                target[i * width] = source[i * b_steps[0]]


@functools.cache
def _matmul(rows: int, vectors: int, lanes: int) -> Callable[..., Any]:
    width = vectors * lanes

    @compile_kernel
    def matmul(factors, c, sizes, share_columns, part, lo, hi):
        """Compute panels lo..hi of C, `width` columns each, or all columns of its rows lo..hi.

        `factors` are a and b, flat as c is, each with its steps to the next row and column of
        A (m, k) and B (k, n). Rows of C are whole panels long: the last may have columns beyond n.
        """
        (a, a_steps, b, b_steps), (m, k, n) = factors, sizes
        panels = (n + width - 1) // width
        first_row, last_row, first, last = lo, hi, 0, panels
        if share_columns:
            first_row, last_row, first, last = 0, m, lo, hi
        panel, zeros = np.zeros(k * width, dtype=a.dtype), np.zeros(width, dtype=a.dtype)
        for number in range(first, last):
            column = number * width
            _copy_panel(b[column * b_steps[1] :], b_steps, k, min(width, n - column), panel)
            for block in range(first_row, last_row, rows):
                row = min(block, last_row - rows)  # the last block may overlap the one before
                multiply_block(
                    rows, vectors, lanes, a, (a_steps[0], 0, a_steps[1]), panel, (0, width),
                    (1, k), zeros, 0, c, panels * width,
                    (row * a_steps[0], 0, 0, row * panels * width + column),
                )  # fmt: skip

    return matmul


def _flatten(matrix: Array) -> tuple[Array, Pair]:
    """Return a matrix flattened in memory order, and its row and column strides."""
    if not (matrix.flags.c_contiguous or matrix.flags.f_contiguous):
        matrix = np.ascontiguousarray(matrix)
    row, column = matrix.strides
    return matrix.ravel(order="K"), (row // matrix.itemsize, column // matrix.itemsize)


def _with_gaps(matrix: Array) -> Array:
    """Return a matrix whose rows do not begin a large power of two apart in memory.

    Those of a block would all compete for the same few places of the cache.
    """
    if matrix.strides[0] % _SAME_PLACE:
        return matrix
    spaced = memory.empty((matrix.shape[0], matrix.shape[1] + _GAP), matrix.dtype)
    spaced[:, :-_GAP] = matrix
    return spaced


def matmul(a: Array, b: Array) -> Array:
    """See `reference.matmul`."""
    if a.shape[1] != b.shape[0] or a.dtype != b.dtype or 0 in (*a.shape, *b.shape):
        return tuned.matmul(a, b)
    (m, k), n = a.shape, b.shape[1]
    rows, vectors, lanes = matrix_block(n, a.dtype)
    if m == 1 or m * k * n >= _LARGE:  # of one row no panel is used again
        return tuned.matmul(a, b)
    if k > 4 * LONGEST_SUM:
        pieces = [slice(i, i + LONGEST_SUM) for i in range(0, k, LONGEST_SUM)]
        return sum(matmul(a[:, piece], b[piece]) for piece in pieces)
    panels = -(-n // (vectors * lanes))
    share_columns = panels >= threads.NUM_THREADS
    total, work = (panels, k * m * vectors * lanes) if share_columns else (m, k * n)
    parts = threads.parts(total, _grain(work))
    rows = min(m if share_columns else m // parts, rows)
    c = memory.empty((m, panels * vectors * lanes), a.dtype)
    threads.run(
        _matmul(rows, vectors, lanes), total, (*_flatten(_with_gaps(a)), *_flatten(b)),
        c.reshape(c.size), (m, k, n), share_columns, grain=_grain(work),
    )  # fmt: skip
    return c if c.shape[1] == n else np.ascontiguousarray(c[:, :n])


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


@functools.cache
def _conv2d(columns: int, vectors: int, lanes: int) -> Callable[..., Any]:
    panel = vectors * lanes

    @compile_kernel
    def conv2d(x, weights, y, window, part, lo, hi):
        """Convolve the samples lo..hi, `band` rows of outputs at a time.

        x is (N, H, W, G*C), w (G*KH*KW*C*F,), b (G*F,), y (N*OH, OW*G*F) for G groups.
        """
        (w, b), (kernel, stride, before, band, groups) = weights, window
        c, f, all_f = x.shape[3] // groups, b.size // groups, b.size
        run = kernel[1] * c
        out_h, out_w = y.shape[0] // x.shape[0], y.shape[1] // all_f
        width = (out_w - 1) * stride[1] + kernel[1]
        padded = np.empty(((band - 1) * stride[0] + kernel[0]) * width * c, dtype=x.dtype)
        flat_y = y.reshape(y.size)
        for step in range(lo * groups, hi * groups):
            n, group = divmod(step, groups)
            for top in range(0, out_h, band):
                count = min(band, out_h - top)
                rows = (count - 1) * stride[0] + kernel[0]
                copy_band(
                    x[n], (group * c, c), top * stride[0] - before[0], rows, before[1], padded,
                    width,
                )  # fmt: skip
                for filters in range(0, f, panel):
                    to, from_w = group * f + filters, group * kernel[0] * run * f + filters
                    for row in range(count):
                        x_row, y_row = row * stride[0] * width, (n * out_h + top + row) * out_w
                        for block in range(0, out_w, columns):
                            at = min(block, out_w - columns)  # the last may overlap
                            multiply_block(
                                columns, vectors, lanes,
                                padded, (stride[1] * c, width * c, 1),
                                w, (run * f, f), (kernel[0], run),
                                b, 0, flat_y, all_f,
                                ((x_row + at * stride[1]) * c, from_w, to,
                                 (y_row + at) * all_f + to),
                            )  # fmt: skip

    return conv2d


@functools.cache
def _conv2d_weight_grad(taps: int, vectors: int, lanes: int) -> Callable[..., Any]:
    panel = vectors * lanes

    @compile_kernel
    def conv2d_weight_grad(x, grad, dw, window, part, lo, hi):
        """Sum the kernel's gradient over the samples lo..hi into dw[part, 0], (G*KH*taps'*F,).

        x is (N, H, W, G*C), grad (N, OH, OW, G*F) for G groups. A row of the kernel has KW*C
        taps, rounded up to whole blocks: the sums of the rest are never read.
        """
        kernel, stride, before, band, groups = window
        _, out_h, out_w, all_f = grad.shape
        c, f = x.shape[3] // groups, all_f // groups
        width = (out_w - 1) * stride[1] + kernel[1]
        size = ((band - 1) * stride[0] + kernel[0]) * width * c
        padded = np.zeros(size + taps, dtype=x.dtype)
        all_taps = (kernel[1] * c + taps - 1) // taps * taps
        flat_grad, total, own, rows_summed = grad.reshape(grad.size), dw[part, 0], dw[part, 1], 0
        dw[part] = 0
        for step in range(lo * groups, hi * groups):
            n, group = divmod(step, groups)
            for top in range(0, out_h, band):
                count = min(band, out_h - top)
                rows = (count - 1) * stride[0] + kernel[0]
                copy_band(
                    x[n], (group * c, c), top * stride[0] - before[0], rows, before[1], padded,
                    width,
                )  # fmt: skip
                for i in range(kernel[0]):
                    for tap in range(0, all_taps, taps):
                        for filters in range(0, f, panel):
                            at = ((group * kernel[0] + i) * all_taps + tap) * f + filters
                            from_grad = (n * out_h + top) * out_w * all_f + group * f + filters
                            multiply_block(
                                taps, vectors, lanes,
                                padded, (1, stride[0] * width * c, stride[1] * c),
                                flat_grad, (out_w * all_f, all_f), (count, out_w),
                                own, f, own, f,
                                (i * width * c + tap, from_grad, at, at),
                            )  # fmt: skip
                rows_summed += count * out_w
                if rows_summed >= LONGEST_SUM:
                    total += own
                    own[:] = 0
                    rows_summed = 0
        total += own

    return conv2d_weight_grad


def _window(
    kernel: Pair, stride: Pair, padding: Padding, out: Pair, pixel_bytes: int, groups: int
) -> tuple[Pair, Pair, Pair, int, int]:
    """Return the kernel's size, its stride, the padding before, the rows of a band, the groups.

    A band is what is computed at a time: its input fits `_BAND_BYTES`.
    """
    row_bytes = ((out[1] - 1) * stride[1] + kernel[1]) * pixel_bytes
    rows = _BAND_BYTES // max(row_bytes, 1)
    band = min(out[0], max(1, (rows - kernel[0]) // stride[0] + 1))
    return kernel, stride, (padding[0][0], padding[1][0]), band, groups


def conv2d(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Padding, out: Pair, groups: int = 1
) -> Array:
    """Return the convolution of x (N, H, W, C) with w (F, C/G, KH, KW), as (N, OH, OW, F)."""
    all_f, c, kh, kw = w.shape
    f = all_f // groups
    vectors, lanes = block_columns(f, x.dtype)
    # (F, C/G, KH, KW) -> (G, F/G, C/G, KH, KW) -> (G, KH, KW, C/G, F/G), and zeros to whole blocks
    parts = w.reshape(groups, f, c, kh, kw).transpose(0, 3, 4, 2, 1)
    matrix = _padded_columns(parts.reshape(-1, f), vectors * lanes)
    bias = np.zeros((groups, matrix.shape[1]), dtype=x.dtype)
    if b is not None:
        bias[:, :f] = b.reshape(groups, f)
    y = memory.empty((x.shape[0], *out, bias.size), x.dtype)
    window = _window((kh, kw), stride, padding, out, c * x.itemsize, groups)
    if y.size:
        threads.run(
            _conv2d(block_rows(out[1]), vectors, lanes), len(x), x, (matrix.ravel(), bias.ravel()),
            y.reshape(len(x) * out[0], -1), window,
            grain=_grain(y[:1].size * kh * kw * c),
        )  # fmt: skip
    if y.shape[3] == all_f:
        return y
    y = y.reshape(*y.shape[:3], *bias.shape)[..., :f]  # (N, OH, OW, G, F/G)
    return np.ascontiguousarray(y).reshape(*y.shape[:3], all_f)


def conv2d_weight_grad(
    grad: Array, x: Array, kernel: Pair, stride: Pair, padding: Padding, groups: int = 1
) -> Array:
    """Return the gradient for w of `conv2d`, given that for its result (N, OH, OW, F)."""
    (kh, kw), c = kernel, x.shape[3] // groups
    n, oh, ow, all_f = grad.shape
    f = all_f // groups
    vectors, lanes = block_columns(f, x.dtype)
    grad = _padded_columns(grad.reshape(-1, f), vectors * lanes).reshape(n, oh, ow, -1)
    taps = block_rows(kw * c)
    all_taps = -(-kw * c // taps) * taps
    dw = np.empty((threads.NUM_THREADS, 2, kh * all_taps * grad.shape[3]), dtype=grad.dtype)
    window = _window(kernel, stride, padding, (oh, ow), c * x.itemsize, groups)
    parts = threads.run(
        _conv2d_weight_grad(taps, vectors, lanes), n, x, grad, dw, window,
        grain=_grain(oh * ow * c * all_f * kh * kw),
    )  # fmt: skip
    total = dw[:parts, 0].sum(axis=0).reshape(groups, kh, all_taps, -1)[:, :, : kw * c, :f]
    # (G, KH, KW*C/G, F/G) -> (G, KH, KW, C/G, F/G) -> (G, F/G, C/G, KH, KW) -> (F, C/G, KH, KW)
    total = total.reshape(groups, kh, kw, c, f).transpose(0, 4, 3, 1, 2)
    return np.ascontiguousarray(total).reshape(all_f, c, kh, kw)
