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

Dilated and grouped convolutions have other steps, and run in `tiles`.
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
# Multiplications that BLAS does faster, on processors without AVX-512: it copies parts of A too.
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
    if m == 1 or (rows < 8 and m * k * n >= _LARGE):  # of one row no panel is used again
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
def copy_band(x, first_row, rows, left, padded, width):
    """Copy rows of an image x (H, W, C) into rows of `width` pixels, zeros around them."""
    h, w, c = x.shape
    left = min(left, width)  # a stride may leave out all of the image, and more
    columns = min(w, width - left)
    for row in range(rows):
        target = padded[row * width * c : (row + 1) * width * c]
        if not 0 <= first_row + row < h:
            target[:] = 0
            continue
        source = x[first_row + row].reshape(w * c)
        for k in range(left * c):
            target[k] = 0
        middle = target[left * c :]
        for k in range(columns * c):
            middle[k] = source[k]
        for k in range((left + columns) * c, width * c):
            target[k] = 0


@functools.cache
def _conv2d(columns: int, vectors: int, lanes: int) -> Callable[..., Any]:
    panel = vectors * lanes

    @compile_kernel
    def conv2d(x, weights, y, window, part, lo, hi):
        """Convolve the samples lo..hi, `band` rows of outputs at a time.

        x is (N, H, W, C), w (KH*KW*C*F,), b (F,), y (N*OH, OW*F).
        """
        (w, b), (kernel, stride, before, band) = weights, window
        c, f, run = x.shape[3], b.size, kernel[1] * x.shape[3]
        out_h, out_w = y.shape[0] // x.shape[0], y.shape[1] // f
        width = (out_w - 1) * stride[1] + kernel[1]
        padded = np.empty(((band - 1) * stride[0] + kernel[0]) * width * c, dtype=x.dtype)
        flat_y = y.reshape(y.size)
        for n in range(lo, hi):
            for top in range(0, out_h, band):
                count = min(band, out_h - top)
                rows = (count - 1) * stride[0] + kernel[0]
                copy_band(x[n], top * stride[0] - before[0], rows, before[1], padded, width)
                for filters in range(0, f, panel):
                    for row in range(count):
                        x_row, y_row = row * stride[0] * width, (n * out_h + top + row) * out_w
                        for block in range(0, out_w, columns):
                            at = min(block, out_w - columns)  # the last may overlap
                            multiply_block(
                                columns, vectors, lanes,
                                padded, (stride[1] * c, width * c, 1),
                                w, (run * f, f), (kernel[0], run),
                                b, 0, flat_y, f,
                                ((x_row + at * stride[1]) * c, filters, filters,
                                 (y_row + at) * f + filters),
                            )  # fmt: skip

    return conv2d


@functools.cache
def _conv2d_weight_grad(taps: int, vectors: int, lanes: int) -> Callable[..., Any]:
    panel = vectors * lanes

    @compile_kernel
    def conv2d_weight_grad(x, grad, dw, window, part, lo, hi):
        """Sum the kernel's gradient over the samples lo..hi into dw[part, 0], (KH*taps'*F,).

        x is (N, H, W, C), grad (N, OH, OW, F). A row of the kernel has KW*C taps, rounded up
        to whole blocks: the sums of the rest are never read.
        """
        kernel, stride, before, band = window
        c, (_, out_h, out_w, f) = x.shape[3], grad.shape
        width = (out_w - 1) * stride[1] + kernel[1]
        size = ((band - 1) * stride[0] + kernel[0]) * width * c
        padded = np.zeros(size + taps, dtype=x.dtype)
        all_taps = (kernel[1] * c + taps - 1) // taps * taps
        flat_grad, total, own, rows_summed = grad.reshape(grad.size), dw[part, 0], dw[part, 1], 0
        dw[part] = 0
        for n in range(lo, hi):
            for top in range(0, out_h, band):
                count = min(band, out_h - top)
                rows = (count - 1) * stride[0] + kernel[0]
                copy_band(x[n], top * stride[0] - before[0], rows, before[1], padded, width)
                for i in range(kernel[0]):
                    for tap in range(0, all_taps, taps):
                        for filters in range(0, f, panel):
                            at = (i * all_taps + tap) * f + filters
                            multiply_block(
                                taps, vectors, lanes,
                                padded, (1, stride[0] * width * c, stride[1] * c),
                                flat_grad, (out_w * f, f), (count, out_w),
                                own, f, own, f,
                                (i * width * c + tap, (n * out_h + top) * out_w * f + filters,
                                 at, at),
                            )  # fmt: skip
                rows_summed += count * out_w
                if rows_summed >= LONGEST_SUM:
                    total += own
                    own[:] = 0
                    rows_summed = 0
        total += own

    return conv2d_weight_grad


def is_dense(dilation: Pair, groups: int) -> bool:
    """Return whether a kernel covers adjacent pixels and all channels, as `conv2d` requires."""
    return dilation == (1, 1) and groups == 1


def _window(
    kernel: Pair, stride: Pair, padding: Padding, out: Pair, pixel_bytes: int
) -> tuple[Pair, Pair, Pair, int]:
    """Return the kernel's size, its stride, the padding before, and the rows of a band.

    A band is what is computed at a time: its input fits `_BAND_BYTES`.
    """
    row_bytes = ((out[1] - 1) * stride[1] + kernel[1]) * pixel_bytes
    rows = _BAND_BYTES // max(row_bytes, 1)
    band = min(out[0], max(1, (rows - kernel[0]) // stride[0] + 1))
    return kernel, stride, (padding[0][0], padding[1][0]), band


def conv2d(x: Array, w: Array, b: Array | None, stride: Pair, padding: Padding, out: Pair) -> Array:
    """Return the convolution of x (N, H, W, C) with w (F, C, KH, KW), as (N, OH, OW, F)."""
    f, c, kh, kw = w.shape
    vectors, lanes = block_columns(f, x.dtype)
    # (F, C, KH, KW) -> (KH, KW, C, F) -> (KH*KW*C, F), and zeros to whole blocks
    matrix = _padded_columns(w.transpose(2, 3, 1, 0).reshape(-1, f), vectors * lanes)
    bias = np.zeros(matrix.shape[1], dtype=x.dtype)
    if b is not None:
        bias[:f] = b
    y = memory.empty((x.shape[0], *out, matrix.shape[1]), x.dtype)
    window = _window((kh, kw), stride, padding, out, c * x.itemsize)
    if y.size:
        threads.run(
            _conv2d(block_rows(out[1]), vectors, lanes), len(x), x, (matrix.ravel(), bias),
            y.reshape(len(x) * out[0], -1), window,
            grain=_grain(y[:1].size * len(matrix)),
        )  # fmt: skip
    return y if y.shape[3] == f else np.ascontiguousarray(y[..., :f])


def conv2d_weight_grad(
    grad: Array, x: Array, kernel: Pair, stride: Pair, padding: Padding
) -> Array:
    """Return the gradient for w of `conv2d`, given that for its result (N, OH, OW, F)."""
    (kh, kw), c = kernel, x.shape[3]
    n, oh, ow, f = grad.shape
    vectors, lanes = block_columns(f, x.dtype)
    grad = _padded_columns(grad.reshape(-1, f), vectors * lanes).reshape(n, oh, ow, -1)
    taps = block_rows(kw * c)
    all_taps = -(-kw * c // taps) * taps
    dw = np.empty((threads.NUM_THREADS, 2, kh * all_taps * grad.shape[3]), dtype=grad.dtype)
    window = _window(kernel, stride, padding, (oh, ow), c * x.itemsize)
    parts = threads.run(
        _conv2d_weight_grad(taps, vectors, lanes), n, x, grad, dw, window,
        grain=_grain(oh * ow * c * f * kh * kw),
    )  # fmt: skip
    # (parts, KH*taps*F) -> (KH, KW, C, F) -> (F, C, KH, KW)
    total = dw[:parts, 0].sum(axis=0).reshape(kh, all_taps, -1)[:, : kw * c, :f]
    return np.ascontiguousarray(total.reshape(kh, kw, c, f).transpose(3, 2, 0, 1))
