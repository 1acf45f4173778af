"""Max pooling in one pass over memory."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ...geometry import Array, Padding, Pair, channels_first, output_size
from ...reference.pooling import index_dtype
from .. import memory, threads
from ..compiler import compile_kernel
from .conv import channels_last
from .sharing import grain_for
from .vectors import place_by_index


@compile_kernel
def _max_pool2d(x, y, index, window, part, lo, hi):
    """Pool the samples lo..hi: windows of any size, stride and padding.

    The cells that won are int32 at first, so that all numbers of a vector have one size.
    """
    pool, stride, before = window
    _, h, w, c = x.shape
    best, won = np.empty(c, dtype=x.dtype), np.empty(c, dtype=np.int32)
    for n in range(lo, hi):
        for row in range(y.shape[1]):
            top = row * stride[0] - before[0]
            for column in range(y.shape[2]):
                left = column * stride[1] - before[1]
                best[:] = -np.inf
                won[:] = max(0, -top) * pool[1] + max(0, -left)  # the first cell on the image
                for i in range(max(0, -top), min(pool[0], h - top)):
                    for j in range(max(0, -left), min(pool[1], w - left)):
                        cell = x[n, top + i, left + j]
                        number = np.int32(i * pool[1] + j)
                        for k in range(c):
                            # Of equal values the first stays; NaN, unequal to itself, wins.
                            wins = (cell[k] > best[k]) | (cell[k] != cell[k])
                            best[k] = cell[k] if wins else best[k]
                            won[k] = number if wins else won[k]
                for k in range(c):
                    y[n, row, column, k] = best[k]
                    index[n, row, column, k] = won[k]


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
def _max_pool2d_grad(grad, index, dx, window, part, lo, hi):
    """Add the gradient of the samples lo..hi to the cells that won."""
    pool, stride, before = window
    _, h, w, c = dx.shape
    cells = np.empty(pool[0] * pool[1], dtype=np.int64)  # numbers from a window's first cell
    for cell in range(cells.size):
        cells[cell] = (cell // pool[1] * w + cell % pool[1]) * c
    flat_dx = dx.reshape(dx.size)
    for n in range(lo, hi):
        dx[n] = 0
        for row in range(grad.shape[1]):
            for column in range(grad.shape[2]):
                own, won = grad[n, row, column], index[n, row, column]
                top, left = row * stride[0] - before[0], column * stride[1] - before[1]
                start = ((n * h + top) * w + left) * c
                for k in range(c):
                    flat_dx[start + cells[won[k]] + k] += own[k]


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


def _is_two_by_two(pool: Pair, stride: Pair, padding: Padding) -> bool:
    return (*pool, *stride) == (2, 2, 2, 2) and padding == ((0, 0), (0, 0))


def max_pool2d(
    x: Array, pool: Pair, stride: Pair, padding: Padding, keep_index: bool = True
) -> tuple[Array, Array | None]:
    """See `reference.max_pool2d`."""
    out = output_size(x.shape[2:], pool, stride, padding)
    x = channels_last(x)
    y = memory.empty((x.shape[0], *out, x.shape[3]), x.dtype)
    index = memory.empty(y.shape, index_dtype(pool))
    grain = grain_for(x[:1].size)
    if _is_two_by_two(pool, stride, padding):
        threads.run(_max_pool2d_by_two(keep_index), len(x), x, y, index, grain=grain)
    else:
        window = (pool, stride, (padding[0][0], padding[1][0]))
        threads.run(_max_pool2d, len(x), x, y, index, window, grain=grain)
    return channels_first(y), index if keep_index else None


def max_pool2d_grad(
    grad: Array, index: Array, x_shape: tuple[int, ...], pool: Pair, stride: Pair, padding: Padding
) -> Array:
    """See `reference.max_pool2d_grad`."""
    grad = channels_last(grad)
    n, c, h, w = x_shape
    dx = memory.empty((n, h, w, c), grad.dtype)
    grain = grain_for(dx[:1].size)
    if _is_two_by_two(pool, stride, padding):
        threads.run(_max_pool2d_by_two_grad, n, grad, index, dx, grain=grain)
    else:
        window = (pool, stride, (padding[0][0], padding[1][0]))
        threads.run(_max_pool2d_grad, n, grad, index, dx, window, grain=grain)
    return channels_first(dx)
