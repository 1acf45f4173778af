"""Slow and obvious references: what the kernels must compute, in the loops of `nn.naive`."""

import math

import numpy as np

from nn.naive import (
    avg_pool2d_backward_naive,
    avg_pool2d_naive,
    conv2d_backward_naive,
    conv2d_naive,
    max_pool2d_backward_naive,
    max_pool2d_naive,
)

conv2d = conv2d_naive


def linspace(a, b, shape):
    """The L(a, b, shape) of the published vectors."""
    return np.linspace(a, b, math.prod(shape)).reshape(shape)


def conv2d_grads(grad, x, w, stride, padding, dilation, groups):
    """The gradients of `conv2d` for x and w."""
    return conv2d_backward_naive(grad, x, w, stride, padding, dilation, groups)[:2]


def max_pool2d(x, pool, stride, padding):
    """The maxima, and what `max_pool2d_grad` needs to know of the windows."""
    y, index = max_pool2d_naive(x, pool, stride, padding)
    return y, (index, pool, stride, padding)


def max_pool2d_grad(grad, windows, x):
    index, *geometry = windows
    return max_pool2d_backward_naive(grad, index, x.shape, *geometry)


def avg_pool2d(x, pool, stride, padding):
    """The means, and the geometry of the windows."""
    return avg_pool2d_naive(x, pool, stride, padding), (pool, stride, padding)


def avg_pool2d_grad(grad, x, pool, stride, padding, geometry):
    assert (pool, stride, padding) == geometry
    return avg_pool2d_backward_naive(grad, x.shape, pool, stride, padding)
