"""Larger images, batches shared by threads."""

import numpy as np

from ...geometry import Array, Padding, Pair, channels_first, channels_last
from ...reference.resizing import blending
from ...tiles import pad
from .. import memory
from .sharing import share_samples


def zero_pad2d(x: Array, padding: Padding) -> Array:
    """See `reference.zero_pad2d`."""
    return channels_first(pad(np, channels_last(x), padding))


def repeat_pixels(x: Array, times: Pair) -> Array:
    """See `reference.repeat_pixels`."""
    x = channels_last(x)
    n, h, w, c = x.shape
    y = memory.empty((n, h, times[0], w, times[1], c), x.dtype)

    def repeat(part: int, lo: int, hi: int) -> None:
        # (n, H, W, C) -> (n, H, 1, W, 1, C)
        y[lo:hi] = x[lo:hi, :, np.newaxis, :, np.newaxis]

    share_samples(repeat, y)
    return channels_first(y.reshape(n, h * times[0], w * times[1], c))


def repeat_pixels_grad(grad: Array, times: Pair) -> Array:
    """See `reference.repeat_pixels_grad`."""
    grad = channels_last(grad)
    n, oh, ow, c = grad.shape
    dx = np.zeros((n, oh // times[0], ow // times[1], c), dtype=grad.dtype)

    def add(part: int, lo: int, hi: int) -> None:
        for i, j in np.ndindex(*times):
            dx[lo:hi] += grad[lo:hi, i :: times[0], j :: times[1]]

    share_samples(add, grad)
    return channels_first(dx)


def interpolate_pixels(x: Array, times: Pair) -> Array:
    """See `reference.interpolate_pixels`."""
    return _blend(x, blending(x.shape[2], times[0]), blending(x.shape[3], times[1]))


def interpolate_pixels_grad(grad: Array, times: Pair) -> Array:
    """See `reference.interpolate_pixels_grad`."""
    down = blending(grad.shape[2] // times[0], times[0])
    right = blending(grad.shape[3] // times[1], times[1])
    return _blend(grad, down.T, right.T)


def _blend(x: Array, down: np.ndarray, right: np.ndarray) -> Array:
    """Return x (N, C, H, W) multiplied by a matrix along H and by another along W."""
    down, right = down.astype(x.dtype), right.astype(x.dtype)
    x = channels_last(x)
    n, h, w, c = x.shape
    y = memory.empty((n, len(down), len(right), c), x.dtype)

    def blend(part: int, lo: int, hi: int) -> None:
        # (n, H, W, C) -> (n, H, W*C) -> (n, OH, W*C) -> (n, OH, W, C) -> (n, OH, OW, C)
        rows = np.matmul(down, x[lo:hi].reshape(hi - lo, h, w * c))
        np.matmul(right, rows.reshape(hi - lo, len(down), w, c), out=y[lo:hi])

    share_samples(blend, y, blas=True)
    return channels_first(y)
