"""Larger images: borders of zeros, pixels repeated or blended, and the gradients of these."""

import numpy as np

from ... import cuda
from ..geometry import Array, Padding, Pair, channels_first, channels_last
from .conv import as_channels_last


def zero_pad2d(x: Array, padding: Padding) -> Array:
    """Return x (N, C, H, W) with rows and columns of zeros around each image."""
    xp = cuda.get_array_module(x)
    return channels_first(xp.pad(channels_last(x), ((0, 0), *padding, (0, 0))))


def zero_pad2d_grad(grad: Array, padding: Padding) -> Array:
    """Return the gradient for x of `zero_pad2d`: the inner part."""
    (top, bottom), (left, right) = padding
    return grad[:, :, top : grad.shape[2] - bottom, left : grad.shape[3] - right]


def repeat_pixels(x: Array, times: Pair) -> Array:
    """Return x (N, C, H, W) with each pixel `times` (down, right): (N, C, H*down, W*right)."""
    xp = cuda.get_array_module(x)
    rows = xp.repeat(channels_last(x), times[0], axis=1)
    return channels_first(xp.repeat(rows, times[1], axis=2))


def repeat_pixels_grad(grad: Array, times: Pair) -> Array:
    """Return the gradient for x of `repeat_pixels`: the sum over each pixel's copies."""
    n, c, oh, ow = grad.shape
    down, right = times
    # (N, OH, OW, C) -> (N, H, down, W, right, C) -> (N, H, W, C)
    copies = channels_last(grad).reshape(n, oh // down, down, ow // right, right, c)
    return channels_first(copies.sum(axis=(2, 4)))


def interpolate_pixels(x: Array, times: Pair) -> Array:
    """Return x (N, C, H, W) `times` (down, right) as large, pixels blended by `blending`."""
    return _blend(x, blending(x.shape[2], times[0]), blending(x.shape[3], times[1]))


def interpolate_pixels_grad(grad: Array, times: Pair) -> Array:
    """Return the gradient for x of `interpolate_pixels`: the same matrices, transposed."""
    down = blending(grad.shape[2] // times[0], times[0])
    right = blending(grad.shape[3] // times[1], times[1])
    return _blend(grad, down.T, right.T)


def blending(size: int, times: int) -> np.ndarray:
    """Return the matrix (size * times, size) that makes an axis longer by linear interpolation.

    Pixels are squares: the center of output i is at (i + 1/2) / times - 1/2 on the input's axis.

    Examples
    --------
    >>> blending(2, 2)
    array([[1.  , 0.  ],
           [0.75, 0.25],
           [0.25, 0.75],
           [0.  , 1.  ]])
    """
    centers = np.clip((np.arange(size * times) + 0.5) / times - 0.5, 0, size - 1)
    return np.maximum(0, 1 - np.abs(centers[:, np.newaxis] - np.arange(size)))


def _blend(x: Array, down: np.ndarray, right: np.ndarray) -> Array:
    """Return x (N, C, H, W) multiplied by a matrix along H and by another along W."""
    xp = cuda.get_array_module(x)
    down, right = (xp.asarray(matrix, dtype=x.dtype) for matrix in (down, right))
    rows = xp.tensordot(x, down, axes=(2, 1))  # (N, C, H, W) -> (N, C, W, OH)
    y = xp.tensordot(rows, right, axes=(2, 1))  # (N, C, W, OH) -> (N, C, OH, OW)
    return as_channels_last(y)
