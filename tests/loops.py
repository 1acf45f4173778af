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


def check_convolution(kernels, x, w, b, options, rng):
    """Let a module's convolution and its gradients for x and w be those of the loops."""
    expected = conv2d(x, w, b, *options)
    np.testing.assert_allclose(kernels.conv2d(x, w, b, *options), expected, atol=1e-12)
    grad = rng.normal(size=expected.shape)
    expected_dx, expected_dw = conv2d_grads(grad, x, w, *options)
    dx = kernels.conv2d_input_grad(grad, w, x.shape, *options)
    np.testing.assert_allclose(dx, expected_dx, atol=1e-12)
    dw = kernels.conv2d_weight_grad(grad, x, w.shape, *options)
    np.testing.assert_allclose(dw, expected_dw, atol=1e-12)


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
