"""Convolution as products of matrices, tile by tile: for NumPy without Numba, and for CuPy.

The patch under the kernel at each output is a row of a matrix (im2col; Chellapilla, Puri and Simard
2006, "High performance convolutional neural networks for document processing"). The patches are
made for a few samples at a time, so that they stay in the processor's cache and memory does not
grow with the batch, and made again in the backward pass instead of being kept. Memory is
channels-last, (N, H, W, C), so that a row of a patch is one contiguous run.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import cuda
from .cpu import memory, threads
from .geometry import (
    NO_PADDING,
    Array,
    Padding,
    Pair,
    channels_first,
    channels_last,
    output_size,
)

# Bytes of the patches of one tile. On a CPU a tile has to stay in the second-level cache; a GPU
# needs few and large products instead.
_TILE_BYTES_CPU = 1 << 20
_TILE_BYTES_GPU = 1 << 28
# Inputs with fewer channels than these are copied channel by channel.
_FEW_CHANNELS = 5
# Multiplications, and numbers to move, that are worth a second thread: with less, the two compete
# for Python's global lock.
PRODUCTS_PER_THREAD, NUMBERS_PER_THREAD = 1 << 25, 1 << 20
# Multiplications of a product of matrices for which BLAS starts no thread of its own.
BLAS_ALONE = 1 << 18


def conv2d(
    x: Array,
    w: Array,
    b: Array | None,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """See `reference.conv2d`."""
    if is_depthwise(w.shape, groups):
        return _depthwise(repeat_channels(x, len(w)), w, b, stride, padding, dilation)
    xp = cuda.get_array_module(x)
    x = channels_last(x)
    f, kernel = w.shape[0], w.shape[2:]
    out = output_size(x.shape[1:3], kernel, stride, padding, dilation)
    y = _empty(xp, (x.shape[0], *out, f), x.dtype)
    matrices = _weight_matrices(w, groups)

    def convolve(tile: slice, part: int) -> None:
        xs = pad(xp, x[tile], padding)
        ys = y[tile].reshape(-1, f)  # (n, OH, OW, F) -> (M, F), a view
        for group, matrix in enumerate(matrices):
            patches = _im2col(xp, _group_columns(xs, group, groups), kernel, stride, dilation, out)
            xp.matmul(patches, matrix, out=_group_columns(ys, group, groups))
        if b is not None:
            wide, biases = wide_rows(xp, ys, b)
            wide += biases

    _for_each_tile(convolve, xp, x, w.shape, out)
    return channels_first(y)


def input_grad_by(convolve: Callable[..., Array]) -> Callable[..., Array]:
    """Return `conv2d_input_grad` for a `conv2d`, with which it convolves."""

    def conv2d_input_grad(
        grad: Array,
        w: Array,
        x_shape: tuple[int, ...],
        stride: Pair = (1, 1),
        padding: Padding = NO_PADDING,
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> Array:
        """See `reference.conv2d_input_grad`."""
        f = grad.shape[1]
        if is_depthwise(w.shape, groups) and f > x_shape[1]:
            repeated = (x_shape[0], f, *x_shape[2:])
            dx = conv2d_input_grad(grad, w, repeated, stride, padding, dilation, groups=f)
            return repeat_channels_grad(dx, x_shape[1])
        spread, flipped, around = flip_convolution(
            grad, w, x_shape, stride, padding, dilation, groups
        )
        return convolve(spread, flipped, None, (1, 1), around, dilation, groups)

    return conv2d_input_grad


conv2d_input_grad = input_grad_by(conv2d)


def flip_convolution(
    grad: Array,
    w: Array,
    x_shape: tuple[int, ...],
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> tuple[Array, Array, Padding]:
    """Return the input, kernels and padding of the convolution that computes the input's gradient.

    A pixel acts on the outputs around it, through the kernel's cells in reverse order. So its
    gradient is a convolution of the outputs' with the kernel flipped, and with filters and channels
    exchanged (Dumoulin and Visin 2016, arXiv 1603.07285, section 4). Outputs that are `stride`
    apart on the image get zeros between them.
    """
    n, f, oh, ow = grad.shape
    size = ((oh - 1) * stride[0] + 1, (ow - 1) * stride[1] + 1)
    if stride != (1, 1):
        xp = cuda.get_array_module(grad)
        spread = channels_first(xp.zeros((n, *size, f), dtype=grad.dtype))
        spread[:, :, :: stride[0], :: stride[1]] = grad
        grad = spread
    around = []
    for axis in (0, 1):
        reach, length = dilation[axis] * (w.shape[2 + axis] - 1), x_shape[2 + axis]
        before, after = reach - padding[axis][0], length - size[axis] + padding[axis][0]
        # Outputs that saw nothing but padding are cut off.
        start, stop = max(0, -before), size[axis] - max(0, -after)
        grad = grad[:, :, start:stop] if axis == 0 else grad[:, :, :, start:stop]
        zeros = reach + length - grad.shape[2 + axis]
        before = min(max(0, before), zeros)
        around.append((before, zeros - before))
    _, c_per_group, kh, kw = w.shape
    # (F, C/G, KH, KW) -> (G, F/G, C/G, KH, KW) -> (G, C/G, F/G, KH, KW) -> (C, F/G, KH, KW)
    flipped = w[:, :, ::-1, ::-1].reshape(groups, f // groups, c_per_group, kh, kw)
    flipped = flipped.transpose(0, 2, 1, 3, 4).reshape(-1, f // groups, kh, kw)
    return grad, flipped, (around[0], around[1])


def conv2d_weight_grad(
    grad: Array,
    x: Array,
    w_shape: tuple[int, ...],
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """See `reference.conv2d_weight_grad`."""
    if is_depthwise(w_shape, groups):
        x = repeat_channels(x, grad.shape[1])
        return _depthwise_weight_grad(grad, x, w_shape, stride, padding, dilation)
    xp = cuda.get_array_module(grad)
    grad, x = channels_last(grad), channels_last(x)
    f, c_per_group, kh, kw = w_shape
    out = grad.shape[1:3]
    dmatrices = xp.zeros(
        (_thread_count(xp), groups, kh * kw * c_per_group, f // groups), dtype=grad.dtype
    )

    def add(tile: slice, part: int) -> None:
        xs = pad(xp, x[tile], padding)
        gs = grad[tile].reshape(-1, f)  # (n, OH, OW, F) -> (M, F)
        for group in range(groups):
            columns = _group_columns(xs, group, groups)
            patches = _im2col(xp, columns, (kh, kw), stride, dilation, out)
            dmatrices[part, group] += patches.T @ _group_columns(gs, group, groups)

    _for_each_tile(add, xp, x, w_shape, out)
    dw = dmatrices.sum(axis=0).reshape(groups, kh, kw, c_per_group, f // groups)
    # (G, KH, KW, C/G, F/G) -> (G, F/G, C/G, KH, KW) -> (F, C/G, KH, KW)
    return xp.ascontiguousarray(dw.transpose(0, 4, 3, 1, 2)).reshape(w_shape)


# ------------------------------------------------------------------- depthwise convolutions


def is_depthwise(w_shape: tuple[int, ...], groups: int) -> bool:
    """Return whether each of several channels is convolved alone: matrices would be vectors."""
    return groups > 1 and w_shape[1] == 1


def repeat_channels(x: Array, filters: int) -> Array:
    """Return x with each channel once for each of its filters: (N, C, H, W) -> (N, F, H, W)."""
    times = filters // x.shape[1]
    return x if times == 1 else channels_first(channels_last(x).repeat(times, axis=3))


def repeat_channels_grad(grad: Array, channels: int) -> Array:
    """Return the gradient for x of `repeat_channels`: the sum over a channel's copies."""
    grad, times = channels_last(grad), grad.shape[1] // channels
    dx = grad[..., ::times].copy()
    for k in range(1, times):
        dx += grad[..., k::times]
    return channels_first(dx)


def cells_of(w: Array) -> Array:
    """Return kernels of one channel with the filters adjacent in memory, (KH, KW, F)."""
    # (F, 1, KH, KW) -> (F, KH, KW) -> (KH, KW, F)
    return w[:, 0].transpose(1, 2, 0).copy()


def _depthwise(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Padding, dilation: Pair
) -> Array:
    """Return the convolution of each channel of x (N, F, H, W) with its own kernel in w."""
    xp = cuda.get_array_module(x)
    x, cells = channels_last(x), cells_of(w)
    f, kernel = w.shape[0], w.shape[2:]
    out = output_size(x.shape[1:3], kernel, stride, padding, dilation)
    y = _empty(xp, (x.shape[0], *out, f), x.dtype)

    def convolve(tile: slice, part: int) -> None:
        xs, ys = pad(xp, x[tile], padding), y[tile]
        ys[...] = 0 if b is None else b
        for i, j, rows, columns in windows(kernel, stride, dilation, out):
            ys += xs[:, rows, columns] * cells[i, j]

    _for_each_tile(convolve, xp, x, (1, f), out)
    return channels_first(y)


def _depthwise_weight_grad(
    grad: Array, x: Array, w_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair
) -> Array:
    """Return the gradient for w of `_depthwise`."""
    xp = cuda.get_array_module(grad)
    grad, x = channels_last(grad), channels_last(x)
    f, _, kh, kw = w_shape
    out = grad.shape[1:3]
    dcells = xp.zeros((_thread_count(xp), kh, kw, f), dtype=grad.dtype)

    def add(tile: slice, part: int) -> None:
        xs, gs = pad(xp, x[tile], padding), grad[tile]
        ones = xp.ones(out[1], dtype=grad.dtype)
        for i, j, rows, columns in windows((kh, kw), stride, dilation, out):
            sums = xp.matmul(ones, xs[:, rows, columns] * gs)  # of rows: (n, OH, F)
            dcells[part, i, j] += sums.sum(axis=(0, 1))

    _for_each_tile(add, xp, x, (1, f), out)
    # (KH, KW, F) -> (F, KH, KW) -> (F, 1, KH, KW)
    return xp.ascontiguousarray(dcells.sum(axis=0).transpose(2, 0, 1)).reshape(w_shape)


# ------------------------------------------------------------------------ patches and tiles


@functools.cache
def windows(kernel: Pair, stride: Pair, dilation: Pair, out: Pair) -> list[tuple]:
    """Return (i, j, rows, columns): the slices of a padded input under the kernel's cell (i, j)."""
    found = []
    for i, j in np.ndindex(*kernel):
        top, left = i * dilation[0], j * dilation[1]
        rows = slice(top, top + stride[0] * (out[0] - 1) + 1, stride[0])
        columns = slice(left, left + stride[1] * (out[1] - 1) + 1, stride[1])
        found.append((i, j, rows, columns))
    return found


def pad(xp: Any, x: Array, padding: Padding, value: float = 0.0) -> Array:
    """Return (N, H, W, C) with `value` around each image; the array itself without padding."""
    if padding == NO_PADDING:
        return x
    (top, bottom), (left, right) = padding
    n, h, w, c = x.shape
    padded = xp.full((n, h + top + bottom, w + left + right, c), value, dtype=x.dtype)
    padded[:, top : top + h, left : left + w] = x
    return padded


def _weight_matrices(w: Array, groups: int) -> Array:
    """Return the kernels as matrices (G, KH*KW*C/G, F/G), rows in the order of a patch."""
    f, c_per_group, kh, kw = w.shape
    # (F, C/G, KH, KW) -> (G, F/G, C/G, KH, KW) -> (G, KH, KW, C/G, F/G)
    w = w.reshape(groups, f // groups, c_per_group, kh, kw).transpose(0, 3, 4, 2, 1)
    return w.copy().reshape(groups, kh * kw * c_per_group, f // groups)


def wide_rows(xp: Any, rows: Array, *vectors: Array) -> list[Array]:
    """Return the matrix with several rows joined to one, and each vector (C,) repeated as often.

    NumPy needs longer to begin a row than to compute a dozen numbers of it.
    """
    count, columns = rows.shape
    fold = math.gcd(count, max(1, 512 // max(columns, 1)))
    found = [rows.reshape(-1, fold * columns)]  # (M, C) -> (M/fold, fold*C), a view
    for vector in vectors:
        found.append(xp.tile(vector, fold))
    return found


def _empty(xp: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an uninitialized array; large ones on the CPU from memory that was used before."""
    return memory.empty(shape, dtype) if xp is np else xp.empty(shape, dtype=dtype)


def _thread_count(xp: Any) -> int:
    """Return the number of threads that may share the work."""
    return threads.NUM_THREADS if xp is np else 1


def _for_each_tile(
    work: Callable[[slice, int], None], xp: Any, x: Array, w_shape: tuple[int, ...], out: Pair
) -> None:
    """Call `work(tile, part)` for slices of the batch whose patches fit the tile size.

    On the CPU the tiles are shared by threads, and `part` is the thread's number.
    """
    limit = _TILE_BYTES_CPU if xp is np else _TILE_BYTES_GPU
    sample_bytes = out[0] * out[1] * math.prod(w_shape[1:]) * x.dtype.itemsize
    step = max(1, min(x.shape[0], limit // max(sample_bytes, 1)))
    starts = range(0, x.shape[0], step)

    def run(part: int, lo: int, hi: int) -> None:
        for start in starts[lo:hi]:
            work(slice(start, min(start + step, x.shape[0])), part)

    if xp is np:
        products = step * out[0] * out[1] * math.prod(w_shape)  # of a tile
        grain = 1 + PRODUCTS_PER_THREAD // max(products, 1)
        threads.run(run, len(starts), grain=grain, blas=products > BLAS_ALONE)
    else:
        run(0, 0, len(starts))


def _group_columns(rows: Array, group: int, groups: int) -> Array:
    """Return the columns of a group: (..., F) -> (..., F/G), a view."""
    if groups == 1:
        return rows
    width = rows.shape[-1] // groups
    return rows[..., group * width : (group + 1) * width]


def _im2col(xp: Any, x: Array, kernel: Pair, stride: Pair, dilation: Pair, out: Pair) -> Array:
    """Return the patches of padded x (n, H, W, C), one for each row: (M, KH*KW*C)."""
    n, _, _, c = x.shape
    if kernel == (1, 1) and stride == (1, 1):
        return x.reshape(-1, c)  # a pixel is its own patch
    if c < _FEW_CHANNELS:  # then runs of an image's row are longer than those of a patch
        columns_first = xp.empty((*kernel, c, n, *out), dtype=x.dtype)
        for i, j, rows, columns in windows(kernel, stride, dilation, out):
            columns_first[i, j] = x[:, rows, columns].transpose(3, 0, 1, 2)
        return columns_first.reshape(-1, n * out[0] * out[1]).T  # (KH*KW*C, M) -> (M, KH*KW*C)
    patches = xp.empty((n, *out, *kernel, c), dtype=x.dtype)
    if dilation[1] == 1:  # the KW*C numbers under a kernel's row are adjacent
        runs = _runs(xp, x, kernel, stride, out)
        for i in range(kernel[0]):
            top = i * dilation[0]
            patches[:, :, :, i] = runs[:, top : top + stride[0] * (out[0] - 1) + 1 : stride[0]]
    else:
        for i, j, rows, columns in windows(kernel, stride, dilation, out):
            patches[:, :, :, i, j] = x[:, rows, columns]
    return patches.reshape(n * out[0] * out[1], -1)  # (n, OH, OW, KH, KW, C) -> (M, KH*KW*C)


def _runs(xp: Any, x: Array, kernel: Pair, stride: Pair, out: Pair) -> Array:
    """Return the numbers under a kernel's row at each place: (n, H, W, C) -> (n, H, OW, KW, C)."""
    n, h, _, c = x.shape
    sample, row, column, channel = x.strides
    return xp.lib.stride_tricks.as_strided(
        x,
        shape=(n, h, out[1], kernel[1], c),
        strides=(sample, row, column * stride[1], column, channel),
    )
