"""Pooling: the largest value or the mean of each window."""

import math

import numpy as np

from ... import cuda
from ..geometry import Array, Padding, Pair, channels_first, channels_last
from .conv import add_windows, pad, windows


def index_dtype(pool: Pair) -> np.dtype:
    """Return the smallest dtype that holds the index of every cell of a window."""
    return np.min_scalar_type(pool[0] * pool[1] - 1)


def max_pool2d(
    x: Array, pool: Pair, stride: Pair, padding: Padding, keep_index: bool = True
) -> tuple[Array, Array | None]:
    """Return the largest value of each window of x (N, C, H, W), and the index of its cell.

    Padding is minus infinity, so it never wins. Of equal values the first in reading order
    wins. The index is i * KW + j, of shape (N, OH, OW, C), and None without `keep_index`.
    """
    xp = cuda.get_array_module(x)
    cells = windows(pad(x, padding, -math.inf), pool, stride)  # (N, C, OH, OW, KH, KW)
    cells = cells.transpose(0, 2, 3, 1, 4, 5)  # (N, OH, OW, C, KH, KW)
    cells = cells.reshape(*cells.shape[:4], pool[0] * pool[1])  # (N, OH, OW, C, KH*KW)
    index = cells.argmax(axis=4)
    y = xp.take_along_axis(cells, index[..., xp.newaxis], axis=4)[..., 0]
    return channels_first(y), index.astype(index_dtype(pool)) if keep_index else None


def max_pool2d_grad(
    grad: Array, index: Array, x_shape: tuple[int, ...], pool: Pair, stride: Pair, padding: Padding
) -> Array:
    """Return the gradient for x of `max_pool2d`: each window's goes to the cell that won."""
    xp = cuda.get_array_module(grad)
    won = index[..., xp.newaxis] == xp.arange(pool[0] * pool[1])  # (N, OH, OW, C, KH*KW)
    cells = xp.where(won, channels_last(grad)[..., xp.newaxis], 0)
    return add_windows(cells.reshape(*index.shape, *pool), x_shape, stride, padding)


def avg_pool2d(x: Array, pool: Pair, stride: Pair, padding: Padding) -> Array:
    """Return the mean of each window of x (N, C, H, W), over its cells on the image."""
    xp = cuda.get_array_module(x)
    cells = windows(pad(x, padding), pool, stride).transpose(0, 2, 3, 1, 4, 5)
    y = xp.zeros(cells.shape[:4], dtype=xp.float64)  # (N, OH, OW, C)
    for i, j in np.ndindex(*pool):
        y += cells[..., i, j]
    y /= _cells_on_image(x, x.shape[2:], pool, stride, padding)
    return channels_first(y.astype(x.dtype))


def avg_pool2d_grad(
    grad: Array, x_shape: tuple[int, ...], pool: Pair, stride: Pair, padding: Padding
) -> Array:
    """Return the gradient for x of `avg_pool2d`: each window's is divided among its cells."""
    xp = cuda.get_array_module(grad)
    share = channels_last(grad) / _cells_on_image(grad, x_shape[2:], pool, stride, padding)
    cells = xp.broadcast_to(share[..., xp.newaxis, xp.newaxis], (*share.shape, *pool))
    return add_windows(cells, x_shape, stride, padding)


def _cells_on_image(
    like: Array, size: tuple[int, ...], pool: Pair, stride: Pair, padding: Padding
) -> Array:
    """Return how many cells of each window are no padding, as (OH, OW, 1), at least 1."""
    xp = cuda.get_array_module(like)
    image = pad(xp.ones((1, 1, *size), dtype=like.dtype), padding)
    counts = windows(image, pool, stride).sum(axis=(4, 5))[0, 0]  # (OH, OW)
    return xp.maximum(counts, 1)[:, :, xp.newaxis]
