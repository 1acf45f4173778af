"""The readable truth: every kernel in array operations that NumPy and CuPy share.

Arrays come and go in the logical layout (N, C, H, W) with any strides. Inside, a kernel
works on the same memory seen as (N, H, W, C): there the C values of a pixel lie side by
side, so a patch row is one contiguous run, a matrix product writes its result already in
layout, and a sum over pixels is a sum over rows. What a kernel returns has channels-last
memory under the logical shape.

Convolution is im2col and a matrix product (Chellapilla, Puri and Simard 2006, "High
performance convolutional neural networks for document processing"), over tiles of the
batch: the patches of a few samples at a time, so that they stay in the processor's cache
and memory does not grow with the batch. The patches are made again in the backward pass
instead of being kept.

`nn.naive` has the same functions in plain loops, to be read first.

Letters: N samples, C channels, H and W height and width, F filters, G groups, KH and KW
the kernel's, OH and OW the output's height and width, M = N*OH*OW rows.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import cuda
from . import memory, threads

Array = Any  # numpy.ndarray or cupy.ndarray
Pair = tuple[int, int]
Padding = tuple[Pair, Pair]  # ((top, bottom), (left, right))

# Patches of one tile, in bytes. On a CPU a tile is to stay in the second-level cache; a GPU
# wants few and large products instead.
_TILE_BYTES_CPU = 1 << 20
_TILE_BYTES_GPU = 1 << 28
# Fewer channels than these are copied channel by channel.
_FEW_CHANNELS = 5
# Multiplications, and numbers to move, that are worth a second thread: with less, the two fight
# for Python's global lock.
_PRODUCTS_A_THREAD, _NUMBERS_A_THREAD = 1 << 25, 1 << 20


# ------------------------------------------------------------------------- memory layout


def channels_last(x: Array) -> Array:
    """Return (N, C, H, W) as contiguous (N, H, W, C); a view where memory is channels-last."""
    xp = cuda.get_array_module(x)
    return xp.ascontiguousarray(x.transpose(0, 2, 3, 1))


def channels_first(x: Array) -> Array:
    """Return (N, H, W, C) seen as (N, C, H, W), without a copy."""
    return x.transpose(0, 3, 1, 2)


def to_rows(x: Array) -> Array:
    """Return (N, C, ...) as a contiguous matrix with a row for each position and C columns."""
    xp = cuda.get_array_module(x)
    # (N, C, ...) -> (N, ..., C) -> (N * ..., C)
    return xp.ascontiguousarray(xp.moveaxis(x, 1, -1)).reshape(-1, x.shape[1])


def from_rows(rows: Array, shape: tuple[int, ...]) -> Array:
    """Undo `to_rows`: see the matrix, or its rows one after the other, as (N, C, ...), no copy."""
    xp = cuda.get_array_module(rows)
    # (N * ..., C) -> (N, ..., C) -> (N, C, ...)
    return xp.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1)


def column_sums(rows: Array) -> Array:
    """Return the sum of each column of a matrix, with an error that does not grow with its rows.

    Adding a million float32 rows one after the other loses three digits. Blocks of rows are
    summed in the array's own dtype, as products with a vector of ones, and the few block sums
    in float64.
    """
    xp = cuda.get_array_module(rows)
    count, columns = rows.shape
    block = 1 + math.isqrt(count)
    whole = count // block * block
    blocks = rows[:whole].reshape(-1, block, columns)  # (blocks*block, C) -> (blocks, block, C)
    sums, ones = xp.zeros((len(blocks), columns), rows.dtype), xp.ones(block, rows.dtype)

    def add(part: int, lo: int, hi: int) -> None:
        xp.matmul(ones, blocks[lo:hi], out=sums[lo:hi])

    share_samples(add, blocks)
    total = sums.sum(axis=0, dtype=xp.float64) + rows[whole:].sum(axis=0, dtype=xp.float64)
    return total.astype(rows.dtype)


def _side_by_side(rows: Array, *vectors: Array) -> list[Array]:
    """Return the matrix with several rows in one, and each vector (C,) repeated as often.

    NumPy needs longer to begin a row than to work on a dozen numbers of it.
    """
    xp = cuda.get_array_module(rows)
    count, columns = rows.shape
    fold = math.gcd(count, max(1, 512 // max(columns, 1)))
    # (M, C) -> (M/fold, fold*C), a view
    return [rows.reshape(-1, fold * columns), *(xp.tile(vector, fold) for vector in vectors)]


# -------------------------------------------------------------------- geometry of windows


def resolve_padding(
    padding: str | Pair, size: Pair, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)
) -> Padding:
    """Return ((top, bottom), (left, right)) for 'valid', 'same' or a pair (height, width).

    'same' gives ceil(size / stride) outputs and puts the odd row and column at the end, as
    TensorFlow does.

    Examples
    --------
    >>> resolve_padding("same", (28, 28), (2, 2), (1, 1))
    ((0, 1), (0, 1))
    """
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        totals = [
            max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
        ]
        return (totals[0] // 2, totals[0] - totals[0] // 2), (
            totals[1] // 2,
            totals[1] - totals[1] // 2,
        )
    return (int(padding[0]), int(padding[0])), (int(padding[1]), int(padding[1]))


def output_size(
    size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair = (1, 1)
) -> Pair:
    """Return (OH, OW); below 1 where the kernel is larger than the padded input.

    Examples
    --------
    >>> output_size((28, 28), (3, 3), (1, 1), ((0, 0), (0, 0)))
    (26, 26)
    """
    height, width = (
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )
    return height, width


def _windows(kernel: Pair, stride: Pair, dilation: Pair, out: Pair) -> Iterator[tuple]:
    """Yield (i, j, rows, columns): the slices of a padded input that kernel cell (i, j) meets."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i * dilation[0], j * dilation[1]
            yield (
                i,
                j,
                slice(top, top + stride[0] * (out[0] - 1) + 1, stride[0]),
                slice(left, left + stride[1] * (out[1] - 1) + 1, stride[1]),
            )


def pad(x: Array, padding: Padding, value: float = 0.0) -> Array:
    """Return (N, H, W, C) with `value` around it; the array itself where nothing is to be added."""
    (top, bottom), (left, right) = padding
    if not (top or bottom or left or right):
        return x
    xp = cuda.get_array_module(x)
    n, h, w, c = x.shape
    padded = xp.full((n, h + top + bottom, w + left + right, c), value, dtype=x.dtype)
    padded[:, top : top + h, left : left + w] = x
    return padded


def unpad(x: Array, padding: Padding) -> Array:
    """Undo `_pad`: the inner part of (N, H, W, C), a view."""
    (top, bottom), (left, right) = padding
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


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
    """Return the cross-correlation of x (N, C, H, W) with w (F, C/G, KH, KW), plus b (F,)."""
    if is_depthwise(w.shape, groups):
        return _depthwise(repeated_channels(x, len(w)), w, b, stride, padding, dilation)
    xp = cuda.get_array_module(x)
    x = channels_last(x)
    n, f, kernel = x.shape[0], w.shape[0], w.shape[2:]
    out = output_size(x.shape[1:3], kernel, stride, padding, dilation)
    y = empty(xp, (n, *out, f), x.dtype)
    matrices = _weight_matrices(w, groups)

    def convolve(tile: slice, part: int) -> None:
        xs = pad(x[tile], padding)
        ys = y[tile].reshape(-1, f)  # (n, OH, OW, F) -> (M, F), a view
        for group, matrix in enumerate(matrices):
            patches = _im2col(xs, group, groups, kernel, stride, dilation, out)
            xp.matmul(patches, matrix, out=_columns(ys, group, groups))
        if b is not None:
            wide, biases = _side_by_side(ys, b)
            wide += biases

    _for_each_tile(convolve, x, w.shape, out)
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
    """Return the gradient for x of `conv2d`, given that for its result (N, F, OH, OW)."""
    f = grad.shape[1]
    if is_depthwise(w.shape, groups) and f > x_shape[1]:
        of_copies = (x_shape[0], f, *x_shape[2:])
        dx = conv2d_input_grad(grad, w, of_copies, stride, padding, dilation, groups=f)
        return repeated_channels_grad(dx, x_shape[1])
    spread, turned, around = turned_round(grad, w, x_shape, stride, padding, dilation, groups)
    return conv2d(spread, turned, None, (1, 1), around, dilation, groups)


def turned_round(
    grad: Array,
    w: Array,
    x_shape: tuple[int, ...],
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> tuple[Array, Array, Padding]:
    """Return the input, the kernels and the padding of the convolution that undoes another.

    An input cell got into the outputs that the kernel reached it from, in reverse order. So its
    gradient is that of these outputs, convolved with the kernel turned round (Dumoulin and Visin
    2016, arXiv 1603.07285, section 4): where the outputs were `stride` apart on the image,
    with zeros between them, and with filters and channels exchanged.
    """
    xp = cuda.get_array_module(grad)
    n, f, oh, ow = grad.shape
    size = ((oh - 1) * stride[0] + 1, (ow - 1) * stride[1] + 1)
    if stride != (1, 1):
        spread = channels_first(xp.zeros((n, *size, f), dtype=grad.dtype))
        spread[:, :, :: stride[0], :: stride[1]] = grad
        grad = spread
    around = [
        (d * (k - 1) - before, length - m + before)
        for d, k, (before, _), length, m in zip(
            dilation, w.shape[2:], padding, x_shape[2:], size, strict=True
        )
    ]
    for axis, (before, after) in enumerate(around):  # outputs that saw nothing but padding
        kept = slice(max(0, -before), size[axis] - max(0, -after))
        grad = grad[(slice(None), slice(None), *[slice(None)] * axis, kept)]
    _, c_per_group, kh, kw = w.shape
    # (F, C/G, KH, KW) -> (G, F/G, C/G, KH, KW) -> (G, C/G, F/G, KH, KW) -> (C, F/G, KH, KW)
    turned = w[:, :, ::-1, ::-1].reshape(groups, f // groups, c_per_group, kh, kw)
    turned = turned.transpose(0, 2, 1, 3, 4).reshape(-1, f // groups, kh, kw)
    (top, bottom), (left, right) = around
    return grad, turned, ((max(0, top), max(0, bottom)), (max(0, left), max(0, right)))


def conv2d_weight_grad(
    grad: Array,
    x: Array,
    w_shape: tuple[int, ...],
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """Return the gradient for w of `conv2d`, given that for its result (N, F, OH, OW)."""
    if is_depthwise(w_shape, groups):
        x = repeated_channels(x, grad.shape[1])
        return _depthwise_weight_grad(grad, x, w_shape, stride, padding, dilation)
    xp = cuda.get_array_module(grad)
    grad, x = channels_last(grad), channels_last(x)
    f, c_per_group, *kernel = w_shape
    out = grad.shape[1:3]
    dmatrices = xp.zeros(
        (_parts(x), groups, kernel[0] * kernel[1] * c_per_group, f // groups), dtype=grad.dtype
    )

    def add(tile: slice, part: int) -> None:
        xs = pad(x[tile], padding)
        gs = grad[tile].reshape(-1, f)  # (n, OH, OW, F) -> (M, F)
        for group in range(groups):
            patches = _im2col(xs, group, groups, kernel, stride, dilation, out)
            dmatrices[part, group] += patches.T @ _columns(gs, group, groups)

    _for_each_tile(add, x, w_shape, out)
    dw = dmatrices.sum(axis=0).reshape(groups, *kernel, c_per_group, f // groups)
    # (G, KH, KW, C/G, F/G) -> (G, F/G, C/G, KH, KW) -> (F, C/G, KH, KW)
    return xp.ascontiguousarray(dw.transpose(0, 4, 3, 1, 2)).reshape(w_shape)


def is_depthwise(w_shape: tuple[int, ...], groups: int) -> bool:
    """Tell whether each of several channels is convolved alone: then matrices would be vectors."""
    return groups > 1 and w_shape[1] == 1


def repeated_channels(x: Array, filters: int) -> Array:
    """Return x with each channel once for each of its filters: (N, C, H, W) -> (N, F, H, W)."""
    times = filters // x.shape[1]
    xp = cuda.get_array_module(x)
    return x if times == 1 else channels_first(xp.repeat(channels_last(x), times, axis=3))


def repeated_channels_grad(grad: Array, channels: int) -> Array:
    """Return the gradient for x of `repeated_channels`: the sum over a channel's copies."""
    grad, times = channels_last(grad), grad.shape[1] // channels
    dx = grad[..., ::times].copy()
    for k in range(1, times):
        dx += grad[..., k::times]
    return channels_first(dx)


def by_cell(w: Array) -> Array:
    """Return kernels of one channel with the filters side by side, (KH, KW, F)."""
    # (F, 1, KH, KW) -> (F, KH, KW) -> (KH, KW, F)
    return cuda.get_array_module(w).ascontiguousarray(w[:, 0].transpose(1, 2, 0))


def _depthwise(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Padding, dilation: Pair
) -> Array:
    """Return the convolution of each channel of x (N, F, H, W) with its own kernel in w."""
    xp = cuda.get_array_module(x)
    x, cells = channels_last(x), by_cell(w)
    n, f, kernel = x.shape[0], w.shape[0], w.shape[2:]
    out = output_size(x.shape[1:3], kernel, stride, padding, dilation)
    y = empty(xp, (n, *out, f), x.dtype)

    def convolve(tile: slice, part: int) -> None:
        xs, ys = pad(x[tile], padding), y[tile]
        ys[...] = 0 if b is None else b
        for i, j, rows, columns in _windows(kernel, stride, dilation, out):
            ys += xs[:, rows, columns] * cells[i, j]

    _for_each_tile(convolve, x, (1, f), out)
    return channels_first(y)


def _depthwise_weight_grad(
    grad: Array, x: Array, w_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair
) -> Array:
    """Return the gradient for w of `_depthwise`."""
    xp = cuda.get_array_module(grad)
    grad, x = channels_last(grad), channels_last(x)
    f, _, kh, kw = w_shape
    out = grad.shape[1:3]
    dcells = xp.zeros((_parts(x), kh, kw, f), dtype=grad.dtype)

    def add(tile: slice, part: int) -> None:
        xs, gs = pad(x[tile], padding), grad[tile]
        ones = xp.ones(gs.size // f, dtype=grad.dtype)
        for i, j, rows, columns in _windows((kh, kw), stride, dilation, out):
            products = (xs[:, rows, columns] * gs).reshape(-1, f)  # (n, OH, OW, F) -> (M, F)
            dcells[part, i, j] += ones @ products

    _for_each_tile(add, x, (1, f), out)
    # (KH, KW, F) -> (F, KH, KW) -> (F, 1, KH, KW)
    return xp.ascontiguousarray(dcells.sum(axis=0).transpose(2, 0, 1)).reshape(w_shape)


def _weight_matrices(w: Array, groups: int) -> Array:
    """Return the kernels as matrices (G, KH*KW*C/G, F/G), rows in the order of a patch."""
    xp = cuda.get_array_module(w)
    f, c_per_group, kh, kw = w.shape
    # (F, C/G, KH, KW) -> (G, F/G, C/G, KH, KW) -> (G, KH, KW, C/G, F/G)
    w = w.reshape(groups, f // groups, c_per_group, kh, kw).transpose(0, 3, 4, 2, 1)
    return xp.ascontiguousarray(w).reshape(groups, kh * kw * c_per_group, f // groups)


def empty(xp: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array of any content; large ones on the CPU from memory that was used before."""
    return memory.empty(shape, dtype) if xp is np else xp.empty(shape, dtype=dtype)


def _empty_like(x: Array) -> Array:
    """Return an array of x's shape, dtype and order of memory, as `empty` does."""
    xp = cuda.get_array_module(x)
    return memory.empty_like(x) if xp is np else xp.empty_like(x)


def _parts(x: Array) -> int:
    """Return how many threads work may be shared out to."""
    return threads.NUM_THREADS if cuda.get_array_module(x) is np else 1


def share_samples(work: Callable[[int, int, int], None], x: Array) -> None:
    """Call `work(part, lo, hi)` for parts of the batch x, on the CPU each on its own thread.

    NumPy lets go of Python's global lock while it works on large arrays.
    """
    if cuda.get_array_module(x) is np:
        grain = 1 + _NUMBERS_A_THREAD // max(x[:1].size, 1)
        threads.run(work, len(x), grain=grain, blas=True)
    else:
        work(0, 0, len(x))


def _for_each_tile(
    work: Callable[[slice, int], None], x: Array, w_shape: tuple[int, ...], out: Pair
) -> None:
    """Call `work(tile, part)` for slices of the batch whose patches fit the tile size.

    On the CPU the tiles are shared out over threads, and `part` is the thread's number.
    """
    on_cpu = cuda.get_array_module(x) is np
    limit = _TILE_BYTES_CPU if on_cpu else _TILE_BYTES_GPU
    sample_bytes = out[0] * out[1] * math.prod(w_shape[1:]) * x.dtype.itemsize
    step = max(1, limit // max(sample_bytes, 1))
    starts = range(0, x.shape[0], step)

    def run(part: int, lo: int, hi: int) -> None:
        for start in starts[lo:hi]:
            work(slice(start, min(start + step, x.shape[0])), part)

    if on_cpu:
        products = step * out[0] * out[1] * math.prod(w_shape)  # of a tile
        grain = 1 + _PRODUCTS_A_THREAD // max(products, 1)
        threads.run(run, len(starts), grain=grain, blas=True)
    else:
        run(0, 0, len(starts))


def _columns(rows: Array, group: int, groups: int) -> Array:
    """Return the columns of a group: (..., F) -> (..., F/G), a view."""
    width = rows.shape[-1] // groups
    return rows[..., group * width : (group + 1) * width]


def _im2col(
    x: Array, group: int, groups: int, kernel: Any, stride: Pair, dilation: Pair, out: Pair
) -> Array:
    """Return the patches of padded x (n, H, W, C), one a row: (M, KH*KW*C/G)."""
    xp = cuda.get_array_module(x)
    x = _columns(x, group, groups)
    n, _, _, c = x.shape
    if tuple(kernel) == (1, 1) and stride == (1, 1) and groups == 1:
        return x.reshape(-1, c)  # a pixel is its own patch
    if c < _FEW_CHANNELS:  # then runs of an image's row are longer than those of a patch
        columns_first = xp.empty((*kernel, c, n, *out), dtype=x.dtype)
        for i, j, rows, columns in _windows(kernel, stride, dilation, out):
            columns_first[i, j] = xp.moveaxis(x[:, rows, columns], 3, 0)
        return columns_first.reshape(-1, n * out[0] * out[1]).T  # (KH*KW*C/G, M) -> (M, ...)
    patches = xp.empty((n, *out, *kernel, c), dtype=x.dtype)
    if dilation[1] == 1 and groups == 1:  # the KW*C numbers under a kernel's row lie side by side
        runs = _runs(x, kernel, stride, out)
        for i in range(kernel[0]):
            top = i * dilation[0]
            patches[:, :, :, i] = runs[:, top : top + stride[0] * (out[0] - 1) + 1 : stride[0]]
    else:
        for i, j, rows, columns in _windows(kernel, stride, dilation, out):
            patches[:, :, :, i, j] = x[:, rows, columns]
    return patches.reshape(n * out[0] * out[1], -1)  # (n, OH, OW, KH, KW, C/G) -> (M, KH*KW*C/G)


def _runs(x: Array, kernel: Any, stride: Pair, out: Pair) -> Array:
    """Return what lies under a kernel's row at each place of x (n, H, W, C): (n, H, OW, KW, C)."""
    xp = cuda.get_array_module(x)
    n, h, _, c = x.shape
    sample, row, column, channel = x.strides
    return xp.lib.stride_tricks.as_strided(
        x,
        shape=(n, h, out[1], kernel[1], c),
        strides=(sample, row, column * stride[1], column, channel),
    )


# --------------------------------------------------------------------------------- pooling


def max_pool2d(
    x: Array, pool: Pair, stride: Pair, padding: Padding, keep_index: bool = True
) -> tuple[Array, Array | None]:
    """Return the largest value of each window of x (N, C, H, W), and which cell held it.

    Padding is minus infinity, so it never wins. Of equal values the first in reading order
    wins. The index is i * KW + j, channels-last, and None where it is not asked for.
    """
    xp = cuda.get_array_module(x)
    out = output_size(x.shape[2:], pool, stride, padding)
    x = channels_last(x)
    y = empty(xp, (x.shape[0], *out, x.shape[3]), x.dtype)
    index = empty(xp, y.shape, cell_dtype(pool)) if keep_index else None

    def take_largest(part: int, lo: int, hi: int) -> None:
        windows = _windows(pool, stride, (1, 1), out)
        padded, largest = pad(x[lo:hi], padding, -math.inf), y[lo:hi]
        _, _, rows, columns = next(windows)
        largest[...] = padded[:, rows, columns]
        won = None if index is None else index[lo:hi]
        if won is not None:
            won.fill(0)
        for i, j, rows, columns in windows:
            candidate = padded[:, rows, columns]
            if won is not None:
                # Cells come in rising order: the latest that beat all before it is the maximum.
                cell = won.dtype.type(i * pool[1] + j)
                xp.maximum(won, (candidate > largest) * cell, out=won)
            xp.maximum(largest, candidate, out=largest)

    share_samples(take_largest, x)
    return channels_first(y), index


def cell_dtype(pool: Pair) -> np.dtype:
    """Return the smallest dtype that holds the index of every cell of a window."""
    return np.min_scalar_type(pool[0] * pool[1] - 1)


def max_pool2d_grad(
    grad: Array, index: Array, x_shape: tuple[int, ...], pool: Pair, stride: Pair, padding: Padding
) -> Array:
    """Return the gradient for x of `max_pool2d`: each window's goes to the cell that won."""
    grad = channels_last(grad)

    def cell_grad(samples: slice, i: int, j: int) -> Array:
        return grad[samples] * (index[samples] == i * pool[1] + j)

    return _add_windows(cell_grad, grad, x_shape, pool, stride, padding)


def avg_pool2d(x: Array, pool: Pair, stride: Pair, padding: Padding) -> Array:
    """Return the mean of each window of x (N, C, H, W), over its real cells, never the padding."""
    xp = cuda.get_array_module(x)
    size = x.shape[2:]
    out = output_size(size, pool, stride, padding)
    x = pad(channels_last(x), padding)
    y = xp.zeros((x.shape[0], *out, x.shape[3]), dtype=x.dtype)
    for _, _, rows, columns in _windows(pool, stride, (1, 1), out):
        y += x[:, rows, columns]
    y /= xp.asarray(_cells(size, pool, stride, padding), dtype=x.dtype)
    return channels_first(y)


def avg_pool2d_grad(
    grad: Array, x_shape: tuple[int, ...], pool: Pair, stride: Pair, padding: Padding
) -> Array:
    """Return the gradient for x of `avg_pool2d`: each window's is shared by its real cells."""
    xp = cuda.get_array_module(grad)
    share = channels_last(grad) / xp.asarray(
        _cells(x_shape[2:], pool, stride, padding), dtype=grad.dtype
    )
    return _add_windows(
        (lambda samples, i, j: share[samples]), share, x_shape, pool, stride, padding
    )


def _add_windows(
    cell_grad: Any,
    grad: Array,
    x_shape: tuple[int, ...],
    pool: Pair,
    stride: Pair,
    padding: Padding,
) -> Array:
    """Add `cell_grad(samples, i, j)` (n, OH, OW, C) to where cell (i, j) of windows was read."""
    xp = cuda.get_array_module(grad)
    n, c, h, w = x_shape
    (top, bottom), (left, right) = padding
    dx = empty(xp, (n, h + top + bottom, w + left + right, c), grad.dtype)
    overlap = stride[0] < pool[0] or stride[1] < pool[1]

    def add(part: int, lo: int, hi: int) -> None:
        own = dx[lo:hi]
        own.fill(0)
        for i, j, rows, columns in _windows(pool, stride, (1, 1), grad.shape[1:3]):
            if overlap:
                own[:, rows, columns] += cell_grad(slice(lo, hi), i, j)
            else:
                own[:, rows, columns] = cell_grad(slice(lo, hi), i, j)

    share_samples(add, dx)
    return channels_first(unpad(dx, padding))


def _cells(size: tuple[int, ...], pool: Pair, stride: Pair, padding: Padding) -> np.ndarray:
    """Return how many cells of each window lie on the image, as (OH, OW, 1), at least 1."""
    counts = []
    for n, k, s, (before, after) in zip(size, pool, stride, padding, strict=True):
        starts = np.arange(0, n + before + after - k + 1, s) - before
        counts.append(np.minimum(starts + k, n) - np.maximum(starts, 0))
    return np.maximum(np.outer(*counts), 1)[:, :, np.newaxis]


# --------------------------------------------------------------------- batch normalisation


def batch_norm(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array, Array]:
    """Normalise the columns of x (M, C) by their own mean and biased variance.

    Returns y, the mean and the variance (Ioffe and Szegedy 2015, arXiv 1502.03167,
    algorithm 1).
    """
    xp = cuda.get_array_module(x)
    mean = column_sums(x) / x.shape[0]
    wide, means = _side_by_side(x, mean)
    y = xp.subtract(wide, means, out=_empty_like(wide))
    squares = xp.multiply(y, y, out=_empty_like(wide)).reshape(x.shape)
    variance = column_sums(squares) / x.shape[0]
    y, scales, shifts = _side_by_side(y.reshape(x.shape), gamma / xp.sqrt(variance + eps), beta)
    y *= scales
    y += shifts
    return y.reshape(x.shape), mean, variance


def batch_norm_grad(
    grad: Array, x: Array, gamma: Array, mean: Array, variance: Array, eps: float
) -> tuple[Array, Array, Array]:
    """Return the gradients for x (M, C), gamma (C,) and beta (C,) of `batch_norm`.

    dx = gamma / std * (g - mean(g) - x_hat * mean(g * x_hat)) with x_hat = (x - mean) / std:
    the mean and the variance depend on every row, which the two means account for.
    """
    xp = cuda.get_array_module(grad)
    count = grad.shape[0]
    inv_std = 1 / xp.sqrt(variance + eps)
    wide, means, inv_stds, scales = _side_by_side(x, mean, inv_std, gamma * inv_std)
    wide_grad = grad.reshape(wide.shape)
    dx = xp.subtract(wide, means, out=_empty_like(wide))
    dx *= inv_stds  # x_hat
    products = xp.multiply(wide_grad, dx, out=_empty_like(wide)).reshape(x.shape)
    dgamma, dbeta = column_sums(products), column_sums(grad)
    _, mean_gx, mean_g = _side_by_side(x, dgamma / count, dbeta / count)
    dx *= -mean_gx
    dx += wide_grad
    dx -= mean_g
    dx *= scales
    return dx.reshape(x.shape), dgamma, dbeta


def batch_norm_inference(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, eps: float
) -> Array:
    """Normalise the columns of x (M, C) by given statistics, as one scale and one shift."""
    xp = cuda.get_array_module(x)
    scale = gamma / xp.sqrt(variance + eps)
    wide, scales, shifts = _side_by_side(x, scale, beta - mean * scale)
    y = xp.multiply(wide, scales, out=_empty_like(wide))
    y += shifts
    return y.reshape(x.shape)


# ----------------------------------------------- normalisation of samples, and of weights


def normalize_samples(x: Array, groups: int, eps: float) -> tuple[Array, Array]:
    """Bring each of the groups of channels of each sample in x (N, P, C) to mean 0, variance 1.

    Returns x_hat = (x - mean) / std, and 1 / std as (N, 1, C), alike within a group. The variance
    is the biased one (Wu and He 2018, arXiv 1803.08494, equations 2 to 4).
    """
    xp = cuda.get_array_module(x)
    x_hat = xp.subtract(x, _group_means(x, groups), out=_empty_like(x))
    squares = xp.multiply(x_hat, x_hat, out=_empty_like(x))
    inv_std = 1 / xp.sqrt(_group_means(squares, groups) + eps)
    x_hat *= inv_std
    return x_hat, inv_std


def normalize_samples_grad(grad: Array, x_hat: Array, inv_std: Array, groups: int) -> Array:
    """Return the gradient for x of `normalize_samples`, given that for x_hat (N, P, C).

    As for batch normalisation: dx = (g - mean(g) - x_hat * mean(g * x_hat)) / std.
    """
    xp = cuda.get_array_module(grad)
    products = xp.multiply(grad, x_hat, out=_empty_like(grad))
    dx = xp.multiply(x_hat, -_group_means(products, groups), out=products)
    dx += grad
    dx -= _group_means(grad, groups)
    dx *= inv_std
    return dx


def _group_means(x: Array, groups: int) -> Array:
    """Return the mean of each group of channels over all positions: (N, P, C) -> (N, 1, C)."""
    xp = cuda.get_array_module(x)
    n, p, c = x.shape
    # Over P as a product with ones, as in `column_sums`: (N, P, C) -> (N, 1, C)
    sums = x if p == 1 else xp.matmul(xp.ones((1, p), x.dtype), x)
    sums = sums.reshape(n, 1, groups, c // groups).sum(axis=3, dtype=xp.float64)
    means = sums / (p * (c // groups))
    return xp.repeat(means.astype(x.dtype), c // groups, axis=2)  # (N, 1, G) -> (N, 1, C)


def lengths(v: Array, axis: int) -> Array:
    """Return the Euclidean length of v at each place along an axis, with the other axes kept as 1.

    Examples
    --------
    >>> lengths(np.array([[3.0, 1.0], [4.0, 0.0]]), axis=1)
    array([[5., 1.]])
    """
    others = tuple(k for k in range(v.ndim) if k != axis)
    return cuda.get_array_module(v).sqrt((v * v).sum(axis=others, keepdims=True))


def weight_norm(v: Array, g: Array, axis: int) -> Array:
    """Return v with the lengths g (F,) along an axis: g * v / ||v||.

    Salimans and Kingma 2016, arXiv 1602.07868, equation 2.
    """
    length = lengths(v, axis)
    return v * (g.reshape(length.shape) / length)


def weight_norm_grad(grad: Array, v: Array, g: Array, axis: int) -> tuple[Array, Array]:
    """Return the gradients for v and g of `weight_norm` (equation 3 there).

    dg = sum(grad * v) / ||v|| and dv = g / ||v|| * (grad - dg * v / ||v||).
    """
    length = lengths(v, axis)
    others = tuple(k for k in range(v.ndim) if k != axis)
    dg = (grad * v).sum(axis=others, keepdims=True) / length
    dv = (grad - dg * (v / length)) * (g.reshape(length.shape) / length)
    return dv, dg.reshape(g.shape)


# ------------------------------------------------------------------- elementwise functions


def normal_noise(x: Array, rng: np.random.Generator) -> Array:
    """Return standard normal numbers in the shape, dtype and memory layout of x.

    On the GPU they are drawn there, from a seed that `rng` gives.
    """
    xp = cuda.get_array_module(x)
    source = rng if xp is np else xp.random.default_rng(int(rng.integers(2**63)))
    noise = source.standard_normal(x.size, dtype=x.dtype)
    if x.ndim < 3:
        return noise.reshape(x.shape)
    return from_rows(noise, x.shape)


def dropout_mask(x: Array, rate: float, rng: np.random.Generator) -> Array:
    """Return booleans in the shape and memory layout of x, each True with chance 1 - rate.

    On the GPU the mask is drawn there, from a seed that `rng` gives. On the CPU each number
    takes 32 random bits, straight from the generator's source of 64 at a time.
    """
    xp = cuda.get_array_module(x)
    if xp is np:
        bits = rng.bit_generator.random_raw(-(-x.size // 2)).view(np.uint32)[: x.size]
        kept = bits >= np.uint32(min(round(rate * 2**32), 2**32 - 1))
    else:
        kept = xp.random.default_rng(int(rng.integers(2**63))).random(x.size) >= rate
    if x.ndim < 3:
        return kept.reshape(x.shape)
    return from_rows(kept, x.shape)


def dropout(x: Array, kept: Array, rate: float) -> Array:
    """Return x where `kept` is true, scaled so that the mean stays what it was, and 0 elsewhere."""
    y = cuda.get_array_module(x).multiply(x, kept, out=_empty_like(x))
    y *= 1 / (1 - rate)
    return y


def matmul(a: Array, b: Array) -> Array:
    """Return the product of two matrices.

    On the CPU its rows are shared out over our own threads. Those of BLAS would wait for the
    next product in a busy loop, and take the cores from ours.
    """
    xp = cuda.get_array_module(a)
    if xp is not np or a.dtype != b.dtype or a.shape[1] != b.shape[0]:
        return a @ b
    y = memory.empty((a.shape[0], b.shape[1]), a.dtype)

    def multiply(part: int, lo: int, hi: int) -> None:
        np.matmul(a[lo:hi], b, out=y[lo:hi])

    grain = 1 + _PRODUCTS_A_THREAD // max(8 * a.shape[1] * b.shape[1], 1)
    threads.run(multiply, len(a), grain=grain, blas=True)
    return y


def relu(x: Array, keep_mask: bool = True) -> tuple[Array, Array | None]:
    """Return max(x, 0), and where it is above 0 (None where that is not asked for)."""
    xp = cuda.get_array_module(x)
    y = xp.maximum(x, 0, out=_empty_like(x))
    return y, y > 0 if keep_mask else None


def relu_grad(grad: Array, mask: Array) -> Array:
    """Return the gradient for x of `relu`: that for its result where the mask is true."""
    return cuda.get_array_module(grad).multiply(grad, mask, out=_empty_like(grad))


# --------------------------------------------------------------- the updates of optimizers


def sgd(
    param: Array, grad: Array, velocity: Array, lr: float, momentum: float, nesterov: bool
) -> None:
    """Renew the velocity and move the parameter along it, in place (see `optim.SGD`)."""
    change = -lr * grad
    velocity *= momentum
    velocity += change
    param += change + momentum * velocity if nesterov else velocity


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
    """Renew both running means and take step number t, in place (see `optim.Adam`)."""
    xp = cuda.get_array_module(param)
    work = (1 - beta1) * grad  # the one temporary array of a step
    m *= beta1
    m += work
    xp.multiply(grad, grad, out=work)
    work *= 1 - beta2
    v *= beta2
    v += work
    xp.sqrt(v, out=work)
    work /= math.sqrt(1 - beta2**t)
    work += eps
    xp.divide(m, work, out=work)
    work *= lr / (1 - beta1**t)
    param -= work
