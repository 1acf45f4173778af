"""Larger images: borders of zeros, pixels repeated or blended, and the gradients of these."""

import numpy as np

from .. import cuda
from .array import (
    Array,
    Padding,
    Pair,
    channels_first,
    channels_last,
    empty,
    pad,
    share_samples,
    unpad,
)


def zero_pad2d(x: Array, padding: Padding) -> Array:
    """Return x (N, C, H, W) with rows and columns of zeros around each image."""
    return channels_first(pad(channels_last(x), padding))


def zero_pad2d_grad(grad: Array, padding: Padding) -> Array:
    """Return the gradient for x of `zero_pad2d`: the inner part."""
    return channels_first(unpad(channels_last(grad), padding))


def repeat_pixels(x: Array, times: Pair) -> Array:
    """Return x (N, C, H, W) with each pixel `times` (down, right): (N, C, H*down, W*right)."""
    xp = cuda.get_array_module(x)
    x = channels_last(x)
    n, h, w, c = x.shape
    y = empty(xp, (n, h, times[0], w, times[1], c), x.dtype)

    def repeat(part: int, lo: int, hi: int) -> None:
        y[lo:hi] = x[lo:hi, :, xp.newaxis, :, xp.newaxis]  # (n, H, W, C) -> (n, H, 1, W, 1, C)

    share_samples(repeat, y)
    return channels_first(y.reshape(n, h * times[0], w * times[1], c))


def repeat_pixels_grad(grad: Array, times: Pair) -> Array:
    """Return the gradient for x of `repeat_pixels`: the sum over each pixel's copies."""
    xp = cuda.get_array_module(grad)
    grad = channels_last(grad)
    n, oh, ow, c = grad.shape
    dx = xp.zeros((n, oh // times[0], ow // times[1], c), dtype=grad.dtype)

    def add(part: int, lo: int, hi: int) -> None:
        for i in range(times[0]):
            for j in range(times[1]):
                dx[lo:hi] += grad[lo:hi, i :: times[0], j :: times[1]]

    share_samples(add, grad)
    return channels_first(dx)


def interpolate_pixels(x: Array, times: Pair) -> Array:
    """Return x (N, C, H, W) `times` (down, right) as large, pixels blended by `blending`."""
    down, right = blending(x.shape[2], times[0]), blending(x.shape[3], times[1])
    return _blend(x, down, right)


def interpolate_pixels_grad(grad: Array, times: Pair) -> Array:
    """Return the gradient for x of `interpolate_pixels`: the same matrices, transposed."""
    down = blending(grad.shape[2] // times[0], times[0])
    right = blending(grad.shape[3] // times[1], times[1])
    return _blend(grad, down.T, right.T)


def blending(size: int, times: int) -> np.ndarray:
    """Return the matrix (size * times, size) that makes an axis longer by linear interpolation.

    Pixels are squares: the centre of output i lies at (i + 1/2) / times - 1/2 on the input's axis.

    Examples
    --------
    >>> blending(2, 2)
    array([[1.  , 0.  ],
           [0.75, 0.25],
           [0.25, 0.75],
           [0.  , 1.  ]])
    """
    centres = np.clip((np.arange(size * times) + 0.5) / times - 0.5, 0, size - 1)
    return np.maximum(0, 1 - np.abs(centres[:, np.newaxis] - np.arange(size)))


def _blend(x: Array, down: np.ndarray, right: np.ndarray) -> Array:
    """Return x (N, C, H, W) with one matrix along H and another along W."""
    xp = cuda.get_array_module(x)
    down, right = (xp.asarray(matrix, dtype=x.dtype) for matrix in (down, right))
    x = channels_last(x)
    n, h, w, c = x.shape
    y = empty(xp, (n, len(down), len(right), c), x.dtype)

    def blend(part: int, lo: int, hi: int) -> None:
        # (n, H, W, C) -> (n, H, W*C) -> (n, OH, W*C) -> (n, OH, W, C) -> (n, OH, OW, C)
        rows = xp.matmul(down, x[lo:hi].reshape(hi - lo, h, w * c))
        xp.matmul(right, rows.reshape(hi - lo, len(down), w, c), out=y[lo:hi])

    share_samples(blend, y)
    return channels_first(y)
