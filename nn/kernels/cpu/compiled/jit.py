"""The hot kernels of `array` once more, compiled by Numba: same names, same results.

`array` is the one to read first; it says what is computed. Here a function is split in two:
a compiled one that works on some of the samples, in loops, and one that prepares the arrays
and shares the samples out over the cores (`threads.run`). What has no quick form here, as a
dilated convolution, is handed to `array`.

What makes it quick: few bytes are moved. There are no patches at all (see `products`), and
pooling, normalisation and ReLU read each number once.

Everything is channels-last inside, (N, H, W, C), as in `array`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import array, memory, products, threads, winograd
from .array import Padding, Pair, channels_first, channels_last
from .compiling import compile_kernel
from .products import matmul  # noqa: F401
from .vectors import place_by_index

Array = Any  # numpy.ndarray

# Numbers to read and write below which a second thread costs more than it helps: 10 to 50
# microseconds (`waiting`).
_GRAIN = 1 << 15


def _samples(size: int) -> int:
    """Return how many samples of `size` numbers are worth a thread."""
    return 1 + _GRAIN // max(size, 1)


# ----------------------------------------------------------------------------- convolution


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
    if array.is_depthwise(w.shape, groups):
        return _depthwise(array.repeated_channels(x, len(w)), w, b, stride, padding, dilation)
    if not products.is_dense(dilation, groups):
        return array.conv2d(x, w, b, stride, padding, dilation, groups)
    kernel = (w.shape[2], w.shape[3])
    out = array.output_size(x.shape[2:], kernel, stride, padding)
    x = channels_last(x)
    if winograd.suits(x, len(w), kernel, stride, out):
        return channels_first(winograd.conv2d(x, w, b, padding, out))
    return channels_first(products.conv2d(x, w, b, stride, padding, out))


def conv2d_input_grad(
    grad: Array,
    w: Array,
    x_shape: tuple[int, ...],
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """See `array.conv2d_input_grad`."""
    f = grad.shape[1]
    if array.is_depthwise(w.shape, groups) and f > x_shape[1]:
        of_copies = (x_shape[0], f, *x_shape[2:])
        dx = conv2d_input_grad(grad, w, of_copies, stride, padding, dilation, groups=f)
        return array.repeated_channels_grad(dx, x_shape[1])
    spread, turned, around = array.turned_round(grad, w, x_shape, stride, padding, dilation, groups)
    return conv2d(spread, turned, None, (1, 1), around, dilation, groups)


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
    if array.is_depthwise(w_shape, groups):
        x = array.repeated_channels(x, grad.shape[1])
        return _depthwise_weight_grad(grad, x, w_shape, stride, padding, dilation)
    if not products.is_dense(dilation, groups) or 0 in grad.shape:
        return array.conv2d_weight_grad(grad, x, w_shape, stride, padding, dilation, groups)
    kernel = (w_shape[2], w_shape[3])
    grad, x = channels_last(grad), channels_last(x)
    if winograd.suits(x, w_shape[0], kernel, stride, grad.shape[1:3]):
        return winograd.conv2d_weight_grad(grad, x, padding)
    return products.conv2d_weight_grad(grad, x, kernel, stride, padding)


@compile_kernel
def _depthwise_samples(x, cells, b, y, stride, dilation, before, part, lo, hi):
    """Convolve each channel of the samples lo..hi with its own kernel; padding is skipped."""
    _, h, w, c = x.shape
    for n in range(lo, hi):
        for row in range(y.shape[1]):
            for column in range(y.shape[2]):
                pixel = y[n, row, column]
                pixel[:] = b
                for i in range(cells.shape[0]):
                    down = row * stride[0] - before[0] + i * dilation[0]
                    if down < 0 or down >= h:
                        continue
                    for j in range(cells.shape[1]):
                        right = column * stride[1] - before[1] + j * dilation[1]
                        if right < 0 or right >= w:
                            continue
                        cell, weights = x[n, down, right], cells[i, j]
                        for k in range(c):
                            pixel[k] += cell[k] * weights[k]


@compile_kernel
def _depthwise_sums(grad, x, sums, stride, dilation, before, part, lo, hi):
    """Add grad times what each cell of the kernel met, over the samples lo..hi, in float64."""
    _, h, w, c = x.shape
    sums[part] = 0
    sample = np.empty(sums.shape[1:], dtype=x.dtype)
    for n in range(lo, hi):
        sample[:] = 0
        for row in range(grad.shape[1]):
            for column in range(grad.shape[2]):
                pixel = grad[n, row, column]
                for i in range(sample.shape[0]):
                    down = row * stride[0] - before[0] + i * dilation[0]
                    if down < 0 or down >= h:
                        continue
                    for j in range(sample.shape[1]):
                        right = column * stride[1] - before[1] + j * dilation[1]
                        if right < 0 or right >= w:
                            continue
                        cell, total = x[n, down, right], sample[i, j]
                        for k in range(c):
                            total[k] += cell[k] * pixel[k]
        sums[part] += sample


def _depthwise(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Padding, dilation: Pair
) -> Array:
    """See `array._depthwise`."""
    x, cells = channels_last(x), array.by_cell(w)
    n, f = x.shape[0], len(w)
    out = array.output_size(x.shape[1:3], w.shape[2:], stride, padding, dilation)
    y = memory.empty((n, *out, f), x.dtype)
    b = np.zeros(f, x.dtype) if b is None else b
    before = (padding[0][0], padding[1][0])
    grain = _samples(w.shape[2] * w.shape[3] * y[:1].size)
    threads.run(_depthwise_samples, n, x, cells, b, y, stride, dilation, before, grain=grain)
    return channels_first(y)


def _depthwise_weight_grad(
    grad: Array, x: Array, w_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair
) -> Array:
    """See `array._depthwise_weight_grad`."""
    grad, x = channels_last(grad), channels_last(x)
    f, _, *kernel = w_shape
    sums = np.empty((threads.NUM_THREADS, *kernel, f))
    before = (padding[0][0], padding[1][0])
    grain = _samples(kernel[0] * kernel[1] * grad[:1].size)
    parts = threads.run(
        _depthwise_sums, len(x), grad, x, sums, stride, dilation, before, grain=grain
    )
    dcells = sums[:parts].sum(axis=0).astype(grad.dtype)
    # (KH, KW, F) -> (F, KH, KW) -> (F, 1, KH, KW)
    return np.ascontiguousarray(dcells.transpose(2, 0, 1)).reshape(w_shape)


# --------------------------------------------------------------------------------- pooling


@compile_kernel
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


@functools.cache
def _max_pool2d_by_two(keep_index: bool) -> Callable[..., Any]:
    @compile_kernel
    def max_pool2d_by_two(x, y, index, part, lo, hi):
        """Pool the samples lo..hi by windows of 2 x 2 that do not overlap: no bounds to check."""
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
                        if keep_index:
                            index[n, row, column, k] = 2 + below if down else right

    return max_pool2d_by_two


@compile_kernel
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


_LANES = 8  # channels that are written at a time


@compile_kernel
def _max_pool2d_by_two_grad(grad, index, dx, part, lo, hi):
    """Write the gradient of the samples lo..hi: each window's to the cell that won, else 0."""
    zero = grad.dtype.type(0)
    _, out_h, out_w, c = grad.shape
    _, h, w, _ = dx.shape
    whole = c // _LANES * _LANES
    grad, index, flat_dx = grad.reshape(grad.size), index.reshape(index.size), dx.reshape(dx.size)
    for n in range(lo, hi):
        for row in range(h):  # an odd row or column belongs to no window
            first = 0 if row >= 2 * out_h else 2 * out_w
            for k in range(((n * h + row) * w + first) * c, (n * h + row + 1) * w * c):
                flat_dx[k] = zero
        for row in range(out_h):
            for column in range(out_w):
                start = ((n * out_h + row) * out_w + column) * c
                above = ((n * h + 2 * row) * w + 2 * column) * c
                below = above + w * c
                for k in range(0, whole, _LANES):
                    starts = (above + k, above + c + k, below + k, below + c + k)
                    place_by_index(_LANES, 4, grad, index, start + k, flat_dx, starts)
                for k in range(whole, c):
                    won, g = index[start + k], grad[start + k]
                    flat_dx[above + k] = g if won == 0 else zero
                    flat_dx[above + c + k] = g if won == 1 else zero
                    flat_dx[below + k] = g if won == 2 else zero
                    flat_dx[below + c + k] = g if won == 3 else zero


def _tiles_by_two(pool: Pair, stride: Pair, padding: Padding) -> bool:
    return (*pool, *stride) == (2, 2, 2, 2) and padding == ((0, 0), (0, 0))


def max_pool2d(
    x: Array, pool: Pair, stride: Pair, padding: Padding, keep_index: bool = True
) -> tuple[Array, Array | None]:
    """See `array.max_pool2d`."""
    out = array.output_size(x.shape[2:], pool, stride, padding)
    x = channels_last(x)
    y = memory.empty((x.shape[0], *out, x.shape[3]), x.dtype)
    index = memory.empty(y.shape, array.cell_dtype(pool))
    grain = _samples(x[:1].size)
    if _tiles_by_two(pool, stride, padding):
        threads.run(_max_pool2d_by_two(keep_index), len(x), x, y, index, grain=grain)
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


@compile_kernel
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
    count, columns = rows.shape
    if not rows.flags.c_contiguous or columns == 0:
        return array.column_sums(rows)
    # Several short rows side by side are one long row, which the processor sums in fewer steps.
    fold = max(1, 64 // columns)
    if count % fold == 0:
        rows = rows.reshape(count // fold, fold * columns)
    sums = np.empty((threads.NUM_THREADS, rows.shape[1]))
    parts = threads.run(_column_sums, len(rows), rows, sums, grain=_samples(rows.shape[1]))
    return sums[:parts].reshape(-1, columns).sum(axis=0).astype(rows.dtype)


@compile_kernel
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


@compile_kernel
def _scale_and_shift(x, y, mean, scale, shift, part, lo, hi):
    for m in range(lo, hi):
        for k in range(x.shape[1]):
            y[m, k] = (x[m, k] - mean[k]) * scale[k] + shift[k]


@compile_kernel
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


@compile_kernel
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


# ------------------------------------------------------------------- elementwise functions
#
# Each takes its arrays as vectors in the order of memory, and slices its part first: an index
# that counts from 0 lets the compiler use vector instructions.


def _flat(*arrays: Array) -> list[Array] | None:
    """Return arrays as vectors that are views of them, in one order of memory.

    None where they lie in several orders, or one has gaps, as x[::2].
    """
    first = arrays[0]
    steps = [step // first.itemsize for step in first.strides]
    flat = [a.ravel(order="K") for a in arrays]
    for a, vector in zip(arrays, flat, strict=True):
        alike = a.shape == first.shape and [step // a.itemsize for step in a.strides] == steps
        if not (alike and np.may_share_memory(a, vector)):
            return None
    return flat


@functools.cache
def _relu(keep_mask: bool) -> Callable[..., Any]:
    @compile_kernel
    def relu(x, y, mask, part, lo, hi):
        zero = x.dtype.type(0)
        x, y, mask = x[lo:hi], y[lo:hi], mask[lo:hi]
        for k in range(x.size):
            y[k] = zero if x[k] < zero else x[k]  # NaN is not below 0 and stays
            if keep_mask:
                mask[k] = x[k] > zero

    return relu


@compile_kernel
def _relu_grad(grad, mask, dx, part, lo, hi):
    zero, one = grad.dtype.type(0), grad.dtype.type(1)
    grad, mask, dx = grad[lo:hi], mask[lo:hi], dx[lo:hi]
    for k in range(grad.size):
        dx[k] = grad[k] * (one if mask[k] else zero)


@compile_kernel
def _dropout(x, kept, y, scale, part, lo, hi):
    zero = x.dtype.type(0)
    x, kept, y = x[lo:hi], kept[lo:hi], y[lo:hi]
    for k in range(x.size):
        y[k] = x[k] * (scale if kept[k] else zero)


@compile_kernel
def _sgd(param, grad, velocity, lr, momentum, nesterov, part, lo, hi):
    param, grad, velocity = param[lo:hi], grad[lo:hi], velocity[lo:hi]
    for k in range(param.size):
        velocity[k] = momentum * velocity[k] - lr * grad[k]
        if nesterov:
            param[k] += momentum * velocity[k] - lr * grad[k]
        else:
            param[k] += velocity[k]


@compile_kernel
def _adam(param, grad, m, v, beta1, rest1, beta2, rest2, root, eps, rate, part, lo, hi):
    param, grad, m, v = param[lo:hi], grad[lo:hi], m[lo:hi], v[lo:hi]
    for k in range(param.size):
        m[k] = beta1 * m[k] + rest1 * grad[k]
        v[k] = beta2 * v[k] + rest2 * (grad[k] * grad[k])
        param[k] -= rate * m[k] / (root * np.sqrt(v[k]) + eps)


def relu(x: Array, keep_mask: bool = True) -> tuple[Array, Array | None]:
    """See `array.relu`."""
    y = memory.empty_like(x)  # in the same order of memory
    mask = memory.empty_like(x, bool) if keep_mask else None
    flat = _flat(x, y) if mask is None else _flat(x, y, mask)
    if flat is None:
        return array.relu(x, keep_mask)
    threads.run(_relu(keep_mask), x.size, *flat[:2], flat[-1], grain=_GRAIN)
    return y, mask


def relu_grad(grad: Array, mask: Array) -> Array:
    """See `array.relu_grad`."""
    dx = memory.empty_like(grad)
    flat = _flat(grad, mask, dx)
    if flat is None:
        return array.relu_grad(grad, mask)
    threads.run(_relu_grad, grad.size, *flat, grain=_GRAIN)
    return dx


def dropout(x: Array, kept: Array, rate: float) -> Array:
    """See `array.dropout`."""
    y = memory.empty_like(x)
    flat = _flat(x, kept, y)
    if flat is None:
        return array.dropout(x, kept, rate)
    threads.run(_dropout, x.size, *flat, x.dtype.type(1 / (1 - rate)), grain=_GRAIN)
    return y


def sgd(
    param: Array, grad: Array, velocity: Array, lr: float, momentum: float, nesterov: bool
) -> None:
    """See `array.sgd`."""
    flat = _flat(param, grad, velocity)
    if flat is None:
        array.sgd(param, grad, velocity, lr, momentum, nesterov)
        return
    scalars = (param.dtype.type(value) for value in (lr, momentum))
    threads.run(_sgd, param.size, *flat, *scalars, nesterov, grain=_GRAIN)


def adam(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    t: int,
) -> None:
    """See `array.adam`."""
    flat = _flat(param, grad, m, v)
    if flat is None:
        array.adam(param, grad, m, v, lr, beta1, beta2, eps, t)
        return
    root, rate = 1 / math.sqrt(1 - beta2**t), lr / (1 - beta1**t)
    scalars = (beta1, 1 - beta1, beta2, 1 - beta2, root, eps, rate)
    converted = (param.dtype.type(value) for value in scalars)
    threads.run(_adam, param.size, *flat, *converted, grain=_GRAIN)
