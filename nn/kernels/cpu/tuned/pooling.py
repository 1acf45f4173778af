"""Pooling cell by cell: all windows' first cells, then all second cells, and so on."""

import math
from collections.abc import Callable

import numpy as np

from ...geometry import Array, Padding, Pair, channels_first, channels_last, output_size
from ...reference.pooling import index_dtype
from ...tiles import pad, windows
from .. import memory
from .sharing import share_samples

# Cells of a window from which on their sum needs more digits than float32 has.
_LONGEST_SUM = 1 << 10


def max_pool2d(
    x: Array, pool: Pair, stride: Pair, padding: Padding, keep_index: bool = True
) -> tuple[Array, Array | None]:
    """See `reference.max_pool2d`."""
    out = output_size(x.shape[2:], pool, stride, padding)
    x = channels_last(x)
    y = memory.empty((x.shape[0], *out, x.shape[3]), x.dtype)
    index = memory.empty(y.shape, index_dtype(pool)) if keep_index else None

    def take_largest(part: int, lo: int, hi: int) -> None:
        padded, largest = pad(np, x[lo:hi], padding, -math.inf), y[lo:hi]
        won = None if index is None else index[lo:hi]
        for i, j, rows, columns in windows(pool, stride, (1, 1), out):
            candidate = padded[:, rows, columns]
            if i == j == 0:
                largest[...] = candidate
                if won is not None:
                    won.fill(0)
                continue
            if won is not None:
                # Cells come in rising order: the latest that beat all before it is the maximum.
                cell = won.dtype.type(i * pool[1] + j)
                np.maximum(won, (candidate > largest) * cell, out=won)
            np.maximum(largest, candidate, out=largest)

    share_samples(take_largest, x)
    return channels_first(y), index


def max_pool2d_grad(
    grad: Array, index: Array, x_shape: tuple[int, ...], pool: Pair, stride: Pair, padding: Padding
) -> Array:
    """See `reference.max_pool2d_grad`."""
    grad = channels_last(grad)

    def cell_grad(samples: slice, i: int, j: int) -> Array:
        return np.where(index[samples] == i * pool[1] + j, grad[samples], grad.dtype.type(0))

    return _add_windows(cell_grad, grad, x_shape, pool, stride, padding)


def avg_pool2d(x: Array, pool: Pair, stride: Pair, padding: Padding) -> Array:
    """See `reference.avg_pool2d`."""
    size = x.shape[2:]
    out = output_size(size, pool, stride, padding)
    x = pad(np, channels_last(x), padding)
    dtype = x.dtype if pool[0] * pool[1] < _LONGEST_SUM else np.float64
    y = np.zeros((x.shape[0], *out, x.shape[3]), dtype)
    for _, _, rows, columns in windows(pool, stride, (1, 1), out):
        y += x[:, rows, columns]
    y /= _cells_on_image(size, pool, stride, padding).astype(dtype)
    return channels_first(y.astype(x.dtype, copy=False))


def avg_pool2d_grad(
    grad: Array, x_shape: tuple[int, ...], pool: Pair, stride: Pair, padding: Padding
) -> Array:
    """See `reference.avg_pool2d_grad`."""
    counts = _cells_on_image(x_shape[2:], pool, stride, padding)
    share = channels_last(grad) / counts.astype(grad.dtype)
    return _add_windows(
        (lambda samples, i, j: share[samples]), share, x_shape, pool, stride, padding
    )


def _cells_on_image(
    size: tuple[int, ...], pool: Pair, stride: Pair, padding: Padding
) -> np.ndarray:
    """Return how many cells of each window are no padding, as (OH, OW, 1), at least 1."""
    counts = []
    for n, k, s, (before, after) in zip(size, pool, stride, padding, strict=True):
        starts = np.arange(0, n + before + after - k + 1, s) - before
        counts.append(np.minimum(starts + k, n) - np.maximum(starts, 0))
    return np.maximum(np.outer(*counts), 1)[:, :, np.newaxis]


def _add_windows(
    cell_grad: Callable[[slice, int, int], Array],
    grad: Array,
    x_shape: tuple[int, ...],
    pool: Pair,
    stride: Pair,
    padding: Padding,
) -> Array:
    """Add `cell_grad(samples, i, j)` (n, OH, OW, C) to the pixels under cell (i, j) of windows."""
    n, c, h, w = x_shape
    (top, bottom), (left, right) = padding
    dx = memory.empty((n, h + top + bottom, w + left + right, c), grad.dtype)
    overlap = stride[0] < pool[0] or stride[1] < pool[1]

    def add(part: int, lo: int, hi: int) -> None:
        own = dx[lo:hi]
        own.fill(0)
        for i, j, rows, columns in windows(pool, stride, (1, 1), grad.shape[1:3]):
            if overlap:
                own[:, rows, columns] += cell_grad(slice(lo, hi), i, j)
            else:
                own[:, rows, columns] = cell_grad(slice(lo, hi), i, j)

    share_samples(add, dx)
    return channels_first(dx[:, top : top + h, left : left + w])
