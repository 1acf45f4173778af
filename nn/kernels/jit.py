"""The hot kernels of `array` once more, compiled by Numba: same names, same results.

`array` is the one to read first; it says what is computed. Here a function is split in two:
a compiled one that works on some of the samples, in loops, and one that prepares the arrays
and shares the samples out over the cores (`threads.run`). What has no quick form here, as a
convolution with stride, is handed to `array`.

What makes it quick: few bytes are moved. There are no patches at all (see `conv2d`), each
core calls BLAS on samples that lie in its cache, and pooling, normalisation and ReLU read
each number once.

Everything is channels-last inside, (N, H, W, C), as in `array`.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba
import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  holds the BLAS functions that are looked up below
from numba.extending import get_cython_function_address

from . import array, memory, threads
from .array import Padding, Pair, channels_first, channels_last

Array = Any  # numpy.ndarray

# Inputs and outputs of a tile of a convolution, in bytes: as many samples at a time as stay in
# the cache of a core, for BLAS is at its best on long matrices.
_TILE_BYTES = 1 << 18
# Numbers to read and write below which a second thread costs more than it helps: to wake one
# takes about 50 microseconds.
_GRAIN = 1 << 15
# Multiplications of a matrix product that take as long as it takes to move a number.
_PRODUCTS_A_NUMBER = 32


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call, to run without the global lock, and keep the result on disk.

    Sums may be reordered and products fused with sums; NaN and infinity are kept. Where no
    folder for the result can be written, it is compiled anew in each process.
    """
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    }
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(**options)(function)


def _samples(size: int) -> int:
    """Return how many samples of `size` numbers are worth a thread."""
    return 1 + _GRAIN // max(size, 1)


# ------------------------------------------------------------------------ matrix products


def _blas_function(name: str) -> Any:
    """Return SciPy's BLAS function as one that compiled code can call: 13 pointers, no result."""
    address = get_cython_function_address("scipy.linalg.cython_blas", name)
    llvmlite.binding.add_symbol(f"nn_{name}", address)  # so that cached code finds it by name
    signature = numba.types.void(*[numba.types.voidptr] * 13)
    return numba.types.ExternalFunction(f"nn_{name}", signature)


_sgemm = _blas_function("sgemm")
_dgemm = _blas_function("dgemm")


@_compiled
def _gemm(ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc, sizes, factors, letters):
    """Compute C = A B + beta C for row-major matrices that begin at the first numbers of a, b, c.

    A is (m, k), kept as (k, m) where `ta`; B is (k, n), kept as (n, k) where `tb`; C is (m, n).
    A row begins lda, ldb or ldc numbers after the one before, which may be less than its
    length: rows may overlap. BLAS counts by columns, for which a row-major matrix is its
    transpose: it is asked for C^T = B^T A^T. `sizes`, `factors` and `letters` are the
    caller's scratch arrays.
    """
    sizes[0], sizes[1], sizes[2] = n, m, k
    sizes[3], sizes[4], sizes[5] = ldb, lda, ldc
    factors[0], factors[1] = 1, beta
    letters[0], letters[1] = 84 if tb else 78, 84 if ta else 78  # T and N
    if a.itemsize == 4:
        _sgemm(
            letters.ctypes, letters[1:].ctypes, sizes.ctypes, sizes[1:].ctypes, sizes[2:].ctypes,
            factors.ctypes, b.ctypes, sizes[3:].ctypes, a.ctypes, sizes[4:].ctypes,
            factors[1:].ctypes, c.ctypes, sizes[5:].ctypes,
        )  # fmt: skip
    else:
        _dgemm(
            letters.ctypes, letters[1:].ctypes, sizes.ctypes, sizes[1:].ctypes, sizes[2:].ctypes,
            factors.ctypes, b.ctypes, sizes[3:].ctypes, a.ctypes, sizes[4:].ctypes,
            factors[1:].ctypes, c.ctypes, sizes[5:].ctypes,
        )  # fmt: skip


@_compiled
def _matmul(ta, a, tb, b, c, part, lo, hi):
    """Compute the rows lo..hi of C; A is kept as (k, m) where `ta`, B as (n, k) where `tb`."""
    m, n = c.shape
    k = a.shape[0] if ta else a.shape[1]
    sizes, factors = np.empty(6, dtype=np.int32), np.empty(2, dtype=a.dtype)
    letters = np.empty(2, dtype=np.uint8)
    start = lo if ta else lo * k
    _gemm(
        ta, tb, hi - lo, n, k, a.reshape(a.size)[start:], m if ta else k, b.reshape(b.size),
        k if tb else n, 0, c.reshape(c.size)[lo * n :], n, sizes, factors, letters,
    )  # fmt: skip


def matmul(a: Array, b: Array) -> Array:
    """See `array.matmul`.

    NumPy's own product would do, but for the threads of BLAS: after each product they wait
    for the next in a busy loop, and take the cores from the threads of this module.
    """
    ta, tb = not a.flags.c_contiguous, not b.flags.c_contiguous
    ours = a.dtype == b.dtype and a.size and b.size and a.shape[1] == b.shape[0]
    if not ours or (ta and not a.T.flags.c_contiguous) or (tb and not b.T.flags.c_contiguous):
        return array.matmul(a, b)
    c = memory.empty((a.shape[0], b.shape[1]), a.dtype)
    grain = _samples(a.shape[1] * b.shape[1] // _PRODUCTS_A_NUMBER)
    threads.run(
        _matmul, len(c), ta, a.T if ta else a, tb, b.T if tb else b, c, grain=grain, blas=True
    )
    return c


# ----------------------------------------------------------------------------- convolution
#
# A convolution of stride 1 without patches (the idea of MEC, Cho and Brand 2017, arXiv
# 1706.06873, and of Anderson et al. 2017, arXiv 1709.03395). In a padded channels-last
# picture the KW*C numbers under one kernel row lie side by side. Count the positions of the
# picture row by row: the numbers under the kernel's row i at positions r, r+KW, r+2*KW, ...
# follow one another without a gap, so they are the rows of a matrix that lies in the picture
# already. KH*KW products of such matrices with the kernel's rows give all outputs; those at
# the right edge, where the kernel would reach round into the next row, are left out.


@_compiled
def _copy_padded(x, first, last, top, left, padded, width, height):
    """Copy the samples first..last into the middle of zeros: (n, height*width, C), flat."""
    _, h, w, c = x.shape
    for n in range(first, last):
        for row in range(h):
            start = (((n - first) * height + row + top) * width + left) * c
            source = x[n, row].reshape(w * c)
            target = padded[start : start + w * c]
            for k in range(w * c):
                target[k] = source[k]


@_compiled
def _conv2d(x, w, b, y, kernel, before, padded_size, tile, part, lo, hi):
    """Convolve the samples lo..hi, `tile` of them at a time; w is (KH*KW*C, F)."""
    kh, kw = kernel
    height, width = padded_size
    c, f = x.shape[3], y.shape[3]
    oh, ow = y.shape[1], y.shape[2]
    padded = np.zeros((tile * height * width + kw) * c, dtype=x.dtype)
    products = np.empty((tile * height * width + kw) * f, dtype=x.dtype)
    sizes, factors = np.empty(6, dtype=np.int32), np.empty(2, dtype=x.dtype)
    letters = np.empty(2, dtype=np.uint8)
    flat_w = w.reshape(w.size)
    for first in range(lo, hi, tile):
        last = min(first + tile, hi)
        _copy_padded(x, first, last, before[0], before[1], padded, width, height)
        positions = (last - first) * height * width - (kh - 1) * width
        for r in range(kw):
            m = (positions - r + kw - 1) // kw
            for i in range(kh):
                _gemm(
                    False, False, m, f, kw * c, padded[(r + i * width) * c :], kw * c,
                    flat_w[i * kw * c * f :], f, 0 if i == 0 else 1,
                    products[r * f :], kw * f, sizes, factors, letters,
                )  # fmt: skip
        for n in range(first, last):
            for row in range(oh):
                start = ((n - first) * height + row) * width * f
                target = y[n, row]
                for column in range(ow):
                    source = products[start + column * f : start + (column + 1) * f]
                    for k in range(f):
                        target[column, k] = source[k] + b[k]


@_compiled
def _conv2d_weight_grad(x, grad, dw, kernel, before, padded_size, tile, part, lo, hi):
    """Sum the kernels' gradient over the samples lo..hi into this part's dw[part] (KH*KW*C*F)."""
    kh, kw = kernel
    height, width = padded_size
    c, f = x.shape[3], grad.shape[3]
    padded = np.zeros((tile * height * width + kw) * c, dtype=x.dtype)
    grads = np.zeros((tile * height * width + kw) * f, dtype=x.dtype)
    sizes, factors = np.empty(6, dtype=np.int32), np.empty(2, dtype=x.dtype)
    letters = np.empty(2, dtype=np.uint8)
    own = dw[part]
    own[:] = 0
    for first in range(lo, hi, tile):
        last = min(first + tile, hi)
        _copy_padded(x, first, last, before[0], before[1], padded, width, height)
        _copy_padded(grad, first, last, 0, 0, grads, width, height)
        positions = (last - first) * height * width - (kh - 1) * width
        for i in range(kh):
            for r in range(kw):
                _gemm(
                    True, False, kw * c, f, (positions - r + kw - 1) // kw,
                    padded[(r + i * width) * c :], kw * c, grads[r * f :], kw * f, 1,
                    own[i * kw * c * f :], f, sizes, factors, letters,
                )  # fmt: skip


def _is_dense(stride: Pair, dilation: Pair, groups: int) -> bool:
    """Tell whether a convolution has a quick form: every position, every cell, every channel."""
    return stride == (1, 1) and dilation == (1, 1) and groups == 1


def _padded_size(x: Array, padding: Padding) -> Pair:
    return x.shape[1] + sum(padding[0]), x.shape[2] + sum(padding[1])


def _tile(size: Pair, channels: int, itemsize: int) -> int:
    """Return how many padded samples make a tile; `channels` counts inputs and outputs."""
    return max(1, _TILE_BYTES // max(1, size[0] * size[1] * channels * itemsize))


def conv2d(
    x: Array,
    w: Array,
    b: Array | None,
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """See `array.conv2d`."""
    if not _is_dense(stride, dilation, groups):
        return array.conv2d(x, w, b, stride, padding, dilation, groups)
    x = channels_last(x)
    kernel = (w.shape[2], w.shape[3])
    out = array.output_size(x.shape[1:3], kernel, stride, padding)
    y = memory.empty((x.shape[0], *out, w.shape[0]), x.dtype)
    matrix = array._weight_matrices(w, 1)[0]
    bias = np.zeros(w.shape[0], dtype=x.dtype) if b is None else b
    size = _padded_size(x, padding)
    before = (padding[0][0], padding[1][0])
    tile = _tile(size, x.shape[3] + w.shape[0], x.itemsize)
    threads.run(
        _conv2d, len(x), x, matrix, bias, y, kernel, before, size, tile,
        grain=_samples(y[:1].size * len(matrix) // _PRODUCTS_A_NUMBER), blas=True,
    )  # fmt: skip
    return channels_first(y)


def conv2d_input_grad(
    grad: Array,
    w: Array,
    x_shape: tuple[int, ...],
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """See `array.conv2d_input_grad`: here a convolution with the kernel turned round."""
    kernel = (w.shape[2], w.shape[3])
    (top, bottom), (left, right) = padding
    turned = (
        (kernel[0] - 1 - top, kernel[0] - 1 - bottom),
        (kernel[1] - 1 - left, kernel[1] - 1 - right),
    )
    too_much_padding = min(min(turned[0]), min(turned[1])) < 0
    if not _is_dense(stride, dilation, groups) or too_much_padding:
        return array.conv2d_input_grad(grad, w, x_shape, stride, padding, dilation, groups)
    # (F, C, KH, KW) -> (C, F, KH, KW)
    return conv2d(grad, w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3), None, padding=turned)


def conv2d_weight_grad(
    grad: Array,
    x: Array,
    w_shape: tuple[int, ...],
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """See `array.conv2d_weight_grad`."""
    if not _is_dense(stride, dilation, groups):
        return array.conv2d_weight_grad(grad, x, w_shape, stride, padding, dilation, groups)
    grad, x = channels_last(grad), channels_last(x)
    f, c, kh, kw = w_shape
    dw = np.empty((threads.NUM_THREADS, kh * kw * c * f), dtype=grad.dtype)
    size = _padded_size(x, padding)
    before = (padding[0][0], padding[1][0])
    tile = _tile(size, c + f, x.itemsize)
    parts = threads.run(
        _conv2d_weight_grad, len(x), x, grad, dw, (kh, kw), before, size, tile,
        grain=_samples(grad[:1].size * c * kh * kw // _PRODUCTS_A_NUMBER), blas=True,
    )  # fmt: skip
    # (parts, KH*KW*C*F) -> (KH, KW, C, F) -> (F, C, KH, KW)
    total = dw[:parts].sum(axis=0).reshape(kh, kw, c, f).transpose(3, 2, 0, 1)
    return np.ascontiguousarray(total)


# --------------------------------------------------------------------------------- pooling


@_compiled
def _max_pool2d(x, y, index, pool, stride, before, part, lo, hi):
    """Pool the samples lo..hi: windows of any size, stride and padding."""
    _, h, w, c = x.shape
    for n in range(lo, hi):
        for row in range(y.shape[1]):
            top = row * stride[0] - before[0]
            for column in range(y.shape[2]):
                left = column * stride[1] - before[1]
                for k in range(c):
                    best, won = x.dtype.type(-np.inf), 0
                    for i in range(max(0, -top), min(pool[0], h - top)):
                        for j in range(max(0, -left), min(pool[1], w - left)):
                            candidate = x[n, top + i, left + j, k]
                            # Of equal values the first stays; NaN, unequal to itself, wins.
                            if candidate > best or candidate != candidate:
                                best, won = candidate, i * pool[1] + j
                    y[n, row, column, k] = best
                    index[n, row, column, k] = won


@_compiled
def _max_pool2d_by_two(x, y, index, part, lo, hi):
    """Pool the samples lo..hi by windows of 2 x 2 that do not overlap: no bounds, no branches."""
    for n in range(lo, hi):
        for row in range(y.shape[1]):
            for column in range(y.shape[2]):
                for k in range(y.shape[3]):
                    a = x[n, 2 * row, 2 * column, k]
                    b = x[n, 2 * row, 2 * column + 1, k]
                    c = x[n, 2 * row + 1, 2 * column, k]
                    d = x[n, 2 * row + 1, 2 * column + 1, k]
                    right, below = (b > a) | (b != b), (d > c) | (d != d)
                    upper, lower = b if right else a, d if below else c
                    down = (lower > upper) | (lower != lower)
                    y[n, row, column, k] = lower if down else upper
                    index[n, row, column, k] = 2 + below if down else right


@_compiled
def _max_pool2d_grad(grad, index, dx, pool, stride, before, part, lo, hi):
    """Add the gradient of the samples lo..hi to the cells that won."""
    for n in range(lo, hi):
        dx[n] = 0
        for row in range(grad.shape[1]):
            for column in range(grad.shape[2]):
                for k in range(grad.shape[3]):
                    i, j = divmod(np.int64(index[n, row, column, k]), pool[1])
                    at_y = row * stride[0] - before[0] + i
                    dx[n, at_y, column * stride[1] - before[1] + j, k] += grad[n, row, column, k]


@_compiled
def _max_pool2d_by_two_grad(grad, index, dx, part, lo, hi):
    """Write the gradient of the samples lo..hi: each window's to the cell that won, else 0."""
    zero = grad.dtype.type(0)
    for n in range(lo, hi):
        dx[n, 2 * grad.shape[1] :] = 0  # an odd row or column belongs to no window
        dx[n, :, 2 * grad.shape[2] :] = 0
        for row in range(grad.shape[1]):
            for column in range(grad.shape[2]):
                for k in range(grad.shape[3]):
                    won, g = index[n, row, column, k], grad[n, row, column, k]
                    dx[n, 2 * row, 2 * column, k] = g if won == 0 else zero
                    dx[n, 2 * row, 2 * column + 1, k] = g if won == 1 else zero
                    dx[n, 2 * row + 1, 2 * column, k] = g if won == 2 else zero
                    dx[n, 2 * row + 1, 2 * column + 1, k] = g if won == 3 else zero


def _tiles_by_two(pool: Pair, stride: Pair, padding: Padding) -> bool:
    return (*pool, *stride) == (2, 2, 2, 2) and padding == ((0, 0), (0, 0))


def max_pool2d(
    x: Array, pool: Pair, stride: Pair, padding: Padding, keep_index: bool = True
) -> tuple[Array, Array | None]:
    """See `array.max_pool2d`."""
    out = array.output_size(x.shape[2:], pool, stride, padding)
    x = channels_last(x)
    y = memory.empty((x.shape[0], *out, x.shape[3]), x.dtype)
    index = memory.empty(y.shape, np.min_scalar_type(pool[0] * pool[1] - 1))
    grain = _samples(x[:1].size)
    if _tiles_by_two(pool, stride, padding):
        threads.run(_max_pool2d_by_two, len(x), x, y, index, grain=grain)
    else:
        before = (padding[0][0], padding[1][0])
        threads.run(_max_pool2d, len(x), x, y, index, pool, stride, before, grain=grain)
    return channels_first(y), index if keep_index else None


def max_pool2d_grad(
    grad: Array, index: Array, x_shape: tuple[int, ...], pool: Pair, stride: Pair, padding: Padding
) -> Array:
    """See `array.max_pool2d_grad`."""
    grad = channels_last(grad)
    n, c, h, w = x_shape
    dx = memory.empty((n, h, w, c), grad.dtype)
    grain = _samples(dx[:1].size)
    if _tiles_by_two(pool, stride, padding):
        threads.run(_max_pool2d_by_two_grad, n, grad, index, dx, grain=grain)
    else:
        before = (padding[0][0], padding[1][0])
        threads.run(_max_pool2d_grad, n, grad, index, dx, pool, stride, before, grain=grain)
    return channels_first(dx)


# ------------------------------------------------------------ sums and batch normalisation

_BLOCK = 256  # rows that are summed in the array's own dtype before float64 takes over


@_compiled
def _column_sums(x, sums, part, lo, hi):
    """Sum the rows lo..hi of x (M, C), in float64."""
    block = np.zeros(x.shape[1], dtype=x.dtype)
    sums[part] = 0
    for start in range(lo, hi, _BLOCK):
        block[:] = 0
        for m in range(start, min(start + _BLOCK, hi)):
            for k in range(x.shape[1]):
                block[k] += x[m, k]
        for k in range(x.shape[1]):
            sums[part, k] += block[k]


def column_sums(rows: Array) -> Array:
    """See `array.column_sums`."""
    if rows.flags.c_contiguous is False:
        return array.column_sums(rows)
    sums = np.empty((threads.NUM_THREADS, rows.shape[1]))
    parts = threads.run(_column_sums, len(rows), rows, sums, grain=_samples(rows.shape[1]))
    return sums[:parts].sum(axis=0).astype(rows.dtype)


@_compiled
def _moments(x, pivot, sums, part, lo, hi):
    """Sum x - pivot and its square over the rows lo..hi: (2, C) in float64.

    Taking off a pivot near the mean first leaves no large numbers to cancel.
    """
    columns = x.shape[1]
    first, second = np.zeros(columns, dtype=x.dtype), np.zeros(columns, dtype=x.dtype)
    sums[part] = 0
    for start in range(lo, hi, _BLOCK):
        first[:] = 0
        second[:] = 0
        for m in range(start, min(start + _BLOCK, hi)):
            for k in range(columns):
                d = x[m, k] - pivot[k]
                first[k] += d
                second[k] += d * d
        for k in range(columns):
            sums[part, 0, k] += first[k]
            sums[part, 1, k] += second[k]


@_compiled
def _scale_and_shift(x, y, mean, scale, shift, part, lo, hi):
    for m in range(lo, hi):
        for k in range(x.shape[1]):
            y[m, k] = (x[m, k] - mean[k]) * scale[k] + shift[k]


@_compiled
def _batch_norm_sums(grad, x, mean, inv_std, sums, part, lo, hi):
    """Sum grad and grad * x_hat over the rows lo..hi: (2, C) in float64."""
    columns = x.shape[1]
    first, second = np.zeros(columns, dtype=x.dtype), np.zeros(columns, dtype=x.dtype)
    sums[part] = 0
    for start in range(lo, hi, _BLOCK):
        first[:] = 0
        second[:] = 0
        for m in range(start, min(start + _BLOCK, hi)):
            for k in range(columns):
                g = grad[m, k]
                first[k] += g
                second[k] += g * ((x[m, k] - mean[k]) * inv_std[k])
        for k in range(columns):
            sums[part, 0, k] += first[k]
            sums[part, 1, k] += second[k]


@_compiled
def _batch_norm_dx(grad, x, dx, mean, inv_std, scale, mean_g, mean_gx, part, lo, hi):
    for m in range(lo, hi):
        for k in range(x.shape[1]):
            x_hat = (x[m, k] - mean[k]) * inv_std[k]
            dx[m, k] = scale[k] * (grad[m, k] - mean_g[k] - x_hat * mean_gx[k])


def _summed(kernel: Callable[..., Any], rows: int, columns: int, *arguments: Any) -> Array:
    """Run a kernel that sums two quantities over rows; return the sums of all parts, (2, C)."""
    sums = np.empty((threads.NUM_THREADS, 2, columns))
    parts = threads.run(kernel, rows, *arguments, sums, grain=_samples(columns))
    return sums[:parts].sum(axis=0)


def batch_norm(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array, Array]:
    """See `array.batch_norm`."""
    count, columns = x.shape
    if count == 0:
        return array.batch_norm(x, gamma, beta, eps)
    pivot = x[0].copy()
    first, second = _summed(_moments, count, columns, x, pivot) / count
    mean = (pivot + first).astype(x.dtype)
    variance = np.maximum(second - first * first, 0).astype(x.dtype)
    y = memory.empty_like(x)
    scale = gamma / np.sqrt(variance + eps)
    threads.run(_scale_and_shift, count, x, y, mean, scale, beta, grain=_samples(columns))
    return y, mean, variance


def batch_norm_grad(
    grad: Array, x: Array, gamma: Array, mean: Array, variance: Array, eps: float
) -> tuple[Array, Array, Array]:
    """See `array.batch_norm_grad`."""
    count, columns = x.shape
    if count == 0:
        return array.batch_norm_grad(grad, x, gamma, mean, variance, eps)
    inv_std = 1 / np.sqrt(variance + eps)
    sums = _summed(_batch_norm_sums, count, columns, grad, x, mean, inv_std)
    mean_g, mean_gx = (sums / count).astype(x.dtype)
    dx = memory.empty_like(x)
    threads.run(
        _batch_norm_dx, count, grad, x, dx, mean, inv_std, gamma * inv_std, mean_g, mean_gx,
        grain=_samples(columns),
    )  # fmt: skip
    dbeta, dgamma = sums.astype(x.dtype)
    return dx, dgamma, dbeta


def batch_norm_inference(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, eps: float
) -> Array:
    """See `array.batch_norm_inference`."""
    y = memory.empty_like(x)
    scale = gamma / np.sqrt(variance + eps)
    threads.run(_scale_and_shift, len(x), x, y, mean, scale, beta, grain=_samples(x.shape[1]))
    return y


# ------------------------------------------------------------------------------------ ReLU


@_compiled
def _relu(x, y, part, lo, hi):
    zero = x.dtype.type(0)
    x, y = x[lo:hi], y[lo:hi]  # an index that counts from 0 lets the compiler use vectors
    for k in range(x.size):
        y[k] = zero if x[k] < zero else x[k]  # NaN is not below 0 and stays


@_compiled
def _relu_grad(grad, y, dx, part, lo, hi):
    zero = grad.dtype.type(0)
    grad, y, dx = grad[lo:hi], y[lo:hi], dx[lo:hi]
    for k in range(grad.size):
        dx[k] = grad[k] if y[k] > zero else zero


def _flat(x: Array) -> Array | None:
    """Return an array without gaps as a vector in the order of memory, else None."""
    flat = x.ravel(order="K")
    return flat if np.shares_memory(flat, x) else None


def relu(x: Array) -> Array:
    """See `array.relu`."""
    flat = _flat(x)
    if flat is None:
        return array.relu(x)
    y = memory.empty_like(x)  # in the same order of memory
    threads.run(_relu, x.size, flat, _flat(y), grain=_GRAIN)
    return y


def relu_grad(grad: Array, y: Array) -> Array:
    """See `array.relu_grad`."""
    flat_grad, flat_y = _flat(grad), _flat(y)
    if grad.strides != y.strides or flat_grad is None or flat_y is None:
        return array.relu_grad(grad, y)
    dx = memory.empty_like(grad)
    threads.run(_relu_grad, grad.size, flat_grad, flat_y, _flat(dx), grain=_GRAIN)
    return dx
