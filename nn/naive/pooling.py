"""Max and average pooling and their gradients in loops."""

import math
from typing import Any

import numpy as np

from .. import checks
from .arguments import NO_PADDING, Padding, Pair, array_of, image_shape, windows


def max_pool2d_naive(
    x: Any, pool: Pair, stride: Pair, padding: Padding = NO_PADDING
) -> tuple[np.ndarray, np.ndarray]:
    """Return the maximum of each window and its position in the window.

    ::

        y[n, c, oh, ow] = max over i, j of x[n, c, oh * stride + i - top, ow * stride + j - left]

    Padding is minus infinity and never the maximum; of equal values the first in row order counts.

    Parameters
    ----------
    x
        Images (N, C, H, W) of finite numbers.
    pool
        The window's (KH, KW).
    stride
        Pixels between neighbouring windows.
    padding
        ((top, bottom), (left, right)).

    Returns
    -------
    tuple
        y (N, C, OH, OW) in float64, and the positions i * KW + j of the maxima as integers
        (N, OH, OW, C), channels last as in `kernels.max_pool2d`.

    Raises
    ------
    ValueError
        If x is not (N, C, H, W), or the window is larger than the padded image.

    Examples
    --------
    >>> y, index = max_pool2d_naive([[[[1, 7, 2, 3], [4, 0, 3, 1]]]], (2, 2), (2, 2))
    >>> y.ravel(), index.ravel()
    (array([7., 3.]), array([1, 1]))
    """
    owner = "max_pool2d_naive"
    x = array_of(owner, "x", x, "(N, C, H, W)")
    samples, channels, *size = x.shape
    pool = checks.pair(owner, "pool", pool)
    out, cells = windows(owner, size, pool, stride, padding)
    y = np.zeros((samples, channels, *out))
    index = np.zeros((samples, *out, channels), dtype=int)
    for n, c, oh, ow in np.ndindex(y.shape):
        largest, position = -math.inf, 0
        for i, j, row, column in cells(oh, ow):
            if x[n, c, row, column] > largest:
                largest, position = x[n, c, row, column], i * pool[1] + j
        y[n, c, oh, ow], index[n, oh, ow, c] = largest, position
    return y, index


def max_pool2d_backward_naive(
    grad: Any,
    index: Any,
    x_shape: tuple[int, int, int, int],
    pool: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
) -> np.ndarray:
    """Return the gradient of `max_pool2d_naive` for x: it goes to the maximum of each window.

    With (i, j) the position of the maximum::

        dx[n, c, oh * stride + i - top, ow * stride + j - left] += grad[n, c, oh, ow]

    Parameters
    ----------
    grad
        Gradient of the loss for the maxima (N, C, OH, OW).
    index
        Positions of the maxima (N, OH, OW, C), as returned by `max_pool2d_naive`.
    x_shape
        (N, C, H, W).
    pool, stride, padding
        As in `max_pool2d_naive`.

    Returns
    -------
    numpy.ndarray
        dx (N, C, H, W) in float64.

    Raises
    ------
    ValueError
        If the shapes of the arrays do not match, or an index is outside the window.

    Examples
    --------
    >>> y, index = max_pool2d_naive([[[[1, 7, 2, 3]]]], (1, 2), (1, 2))
    >>> max_pool2d_backward_naive(10 * y, index, (1, 1, 1, 4), (1, 2), (1, 2))
    array([[[[ 0., 70.,  0., 30.]]]])
    """
    owner = "max_pool2d_backward_naive"
    samples, channels, *size = image_shape(owner, x_shape)
    pool = checks.pair(owner, "pool", pool)
    out, cells = windows(owner, size, pool, stride, padding)
    grad = array_of(owner, "grad", grad, (samples, channels, *out))
    positions = array_of(owner, "index", index, (samples, *out, channels))
    if positions.min() < 0 or positions.max() >= pool[0] * pool[1]:
        rule = f"must hold positions in a window, 0..{pool[0] * pool[1] - 1}"
        raise checks.error(owner, "index", rule, f"{positions.min():g}..{positions.max():g}")
    dx = np.zeros((samples, channels, *size))
    for n, c, oh, ow in np.ndindex(grad.shape):
        for i, j, row, column in cells(oh, ow):
            if i * pool[1] + j == positions[n, oh, ow, c]:
                dx[n, c, row, column] += grad[n, c, oh, ow]
    return dx


def avg_pool2d_naive(x: Any, pool: Pair, stride: Pair, padding: Padding = NO_PADDING) -> np.ndarray:
    """Return the mean of each window over its pixels in the image; padding does not count.

    The sum is over the (i, j) whose pixel exists, and `count` is their number::

        y[n, c, oh, ow] = sum over i, j of x[n, c, oh * stride + i - top, ...] / count

    Parameters
    ----------
    x
        Images (N, C, H, W).
    pool, stride, padding
        As in `max_pool2d_naive`.

    Returns
    -------
    numpy.ndarray
        (N, C, OH, OW) in float64; 0 for a window of padding only.

    Raises
    ------
    ValueError
        If x is not (N, C, H, W), or the window is larger than the padded image.

    Examples
    --------
    >>> avg_pool2d_naive([[[[1, 3, 5]]]], (1, 2), (1, 2), padding=((0, 0), (1, 0)))
    array([[[[1., 4.]]]])
    """
    owner = "avg_pool2d_naive"
    x = array_of(owner, "x", x, "(N, C, H, W)")
    samples, channels, *size = x.shape
    pool = checks.pair(owner, "pool", pool)
    out, cells = windows(owner, size, pool, stride, padding)
    y = np.zeros((samples, channels, *out))
    for n, c, oh, ow in np.ndindex(y.shape):
        total, count = 0.0, 0
        for _, _, row, column in cells(oh, ow):
            total, count = total + x[n, c, row, column], count + 1
        y[n, c, oh, ow] = total / max(count, 1)
    return y


def avg_pool2d_backward_naive(
    grad: Any,
    x_shape: tuple[int, int, int, int],
    pool: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
) -> np.ndarray:
    """Return the gradient of `avg_pool2d_naive` for x: each pixel gets 1/`count` of the window's.

    ::

        dx[n, c, oh * stride + i - top, ow * stride + j - left] += grad[n, c, oh, ow] / count

    Parameters
    ----------
    grad
        Gradient of the loss for the means (N, C, OH, OW).
    x_shape
        (N, C, H, W).
    pool, stride, padding
        As given to `avg_pool2d_naive`.

    Returns
    -------
    numpy.ndarray
        dx (N, C, H, W) in float64.

    Raises
    ------
    ValueError
        If the shapes of the arrays do not match.

    Examples
    --------
    >>> avg_pool2d_backward_naive([[[[6.0, 8.0]]]], (1, 1, 1, 4), (1, 2), (1, 2))
    array([[[[3., 3., 4., 4.]]]])
    """
    owner = "avg_pool2d_backward_naive"
    samples, channels, *size = image_shape(owner, x_shape)
    pool = checks.pair(owner, "pool", pool)
    out, cells = windows(owner, size, pool, stride, padding)
    grad = array_of(owner, "grad", grad, (samples, channels, *out))
    dx = np.zeros((samples, channels, *size))
    for n, c, oh, ow in np.ndindex(grad.shape):
        window = list(cells(oh, ow))
        for _, _, row, column in window:
            dx[n, c, row, column] += grad[n, c, oh, ow] / len(window)
    return dx
