"""Slow and obvious references: what the kernels must compute, in nothing but loops."""

import itertools
import math

import numpy as np


def linspace(a, b, shape):
    """The L(a, b, shape) of the published vectors."""
    return np.linspace(a, b, math.prod(shape)).reshape(shape)


def cells(x, padding, kernel, stride, dilation, out):
    """Yield every (n, oh, ow, i, j, h, w) whose cell (h, w) lies on the picture."""
    (top, _), (left, _) = padding
    ranges = [range(k) for k in (x.shape[0], *out, *kernel)]
    for n, oh, ow, i, j in itertools.product(*ranges):
        h = oh * stride[0] + i * dilation[0] - top
        w = ow * stride[1] + j * dilation[1] - left
        if 0 <= h < x.shape[2] and 0 <= w < x.shape[3]:
            yield n, oh, ow, i, j, h, w


def out_size(x, kernel, stride, padding, dilation=(1, 1)):
    return tuple(
        (n + p[0] + p[1] - ((k - 1) * d + 1)) // s + 1
        for n, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    )


def conv2d(x, w, b, stride, padding, dilation, groups):
    """Convolution in seven nested loops."""
    filters, channels_per_group, *kernel = w.shape
    out = out_size(x, kernel, stride, padding, dilation)
    y = np.zeros((x.shape[0], filters, *out)) + (0 if b is None else b[:, None, None])
    for n, oh, ow, i, j, h, wi in cells(x, padding, kernel, stride, dilation, out):
        for f in range(filters):
            first = f // (filters // groups) * channels_per_group
            for c in range(channels_per_group):
                y[n, f, oh, ow] += x[n, first + c, h, wi] * w[f, c, i, j]
    return y


def conv2d_grads(grad, x, w, stride, padding, dilation, groups):
    """The gradients of `conv2d` for x and w, in the same loops."""
    filters, channels_per_group, *kernel = w.shape
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for n, oh, ow, i, j, h, wi in cells(x, padding, kernel, stride, dilation, grad.shape[2:]):
        for f in range(filters):
            first = f // (filters // groups) * channels_per_group
            for c in range(channels_per_group):
                dx[n, first + c, h, wi] += grad[n, f, oh, ow] * w[f, c, i, j]
                dw[f, c, i, j] += grad[n, f, oh, ow] * x[n, first + c, h, wi]
    return dx, dw


def max_pool2d(x, pool, stride, padding):
    """The maxima, and for each the (h, w) of the first cell that holds it."""
    out = out_size(x, pool, stride, padding)
    y = np.full((*x.shape[:2], *out), -np.inf)
    winner = np.zeros((*y.shape, 2), dtype=int)
    for n, oh, ow, _, _, h, w in cells(x, padding, pool, stride, (1, 1), out):
        for c in range(x.shape[1]):
            if x[n, c, h, w] > y[n, c, oh, ow]:
                y[n, c, oh, ow] = x[n, c, h, w]
                winner[n, c, oh, ow] = h, w
    return y, winner


def max_pool2d_grad(grad, winner, x):
    dx = np.zeros_like(x)
    for n, c, oh, ow in np.ndindex(grad.shape):
        h, w = winner[n, c, oh, ow]
        dx[n, c, h, w] += grad[n, c, oh, ow]
    return dx


def avg_pool2d(x, pool, stride, padding):
    """The means over real cells, and how many there are in each window."""
    out = out_size(x, pool, stride, padding)
    y, count = np.zeros((*x.shape[:2], *out)), np.zeros(out)
    for n, oh, ow, _, _, h, w in cells(x, padding, pool, stride, (1, 1), out):
        y[n, :, oh, ow] += x[n, :, h, w]
        count[oh, ow] += n == 0
    return y / count, count


def avg_pool2d_grad(grad, x, pool, stride, padding, count):
    dx = np.zeros_like(x)
    for n, oh, ow, _, _, h, w in cells(x, padding, pool, stride, (1, 1), grad.shape[2:]):
        dx[n, :, h, w] += grad[n, :, oh, ow] / count[oh, ow]
    return dx
