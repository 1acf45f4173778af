"""Batch normalisation and its gradients in loops."""

import math
from typing import Any

import numpy as np

from .. import checks
from .arguments import array_of


def batchnorm_naive(
    x: Any, gamma: Any, beta: Any, eps: float = 1e-5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalise each column by its own mean and variance, then scale and shift it.

    Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1, for each column c over M rows::

        mean[c]     = sum over m of x[m, c] / M
        variance[c] = sum over m of (x[m, c] - mean[c])^2 / M
        y[m, c]     = gamma[c] * (x[m, c] - mean[c]) / sqrt(variance[c] + eps) + beta[c]

    Images (N, C, H, W) are M = N*H*W rows, as returned by `kernels.to_rows`.

    Parameters
    ----------
    x
        (M, C).
    gamma, beta
        Scale and shift of each column, (C,).
    eps
        Small positive number under the square root.

    Returns
    -------
    tuple
        y (M, C), the mean (C,) and the variance (C,), in float64.

    Raises
    ------
    ValueError
        If the shapes of the arrays do not match, or eps is not positive.

    Examples
    --------
    >>> y, mean, variance = batchnorm_naive([[1.0], [5.0]], [10.0], [3.0])
    >>> y.ravel().round(3), mean, variance
    (array([-7., 13.]), array([3.]), array([4.]))
    """
    owner = "batchnorm_naive"
    x = array_of(owner, "x", x, "(M, C)")
    rows, columns = x.shape
    gamma = array_of(owner, "gamma", gamma, (columns,))
    beta = array_of(owner, "beta", beta, (columns,))
    eps = checks.positive(owner, "eps", eps)
    y, mean, variance = np.zeros_like(x), np.zeros(columns), np.zeros(columns)
    for c in range(columns):
        for m in range(rows):
            mean[c] += x[m, c] / rows
        for m in range(rows):
            variance[c] += (x[m, c] - mean[c]) ** 2 / rows
        for m in range(rows):
            x_hat = (x[m, c] - mean[c]) / math.sqrt(variance[c] + eps)
            y[m, c] = gamma[c] * x_hat + beta[c]
    return y, mean, variance


def batchnorm_backward_naive(
    grad: Any, x: Any, gamma: Any, mean: Any, variance: Any, eps: float = 1e-5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the gradients of `batchnorm_naive` for x, gamma and beta, step by step.

    Each x[m, c] affects the result in three ways: directly, through the variance, and through the
    mean, which all rows share. With d = x - mean and s = sqrt(variance + eps), for each column::

        dx_hat[m] = grad[m] * gamma
        dvariance = sum over m of dx_hat[m] * d[m] * (-1/2) / s^3
        dmean     = sum over m of dx_hat[m] * (-1) / s       (d's own mean is 0)
        dx[m]     = dx_hat[m] / s + dvariance * 2 d[m] / M + dmean / M
        dgamma    = sum over m of grad[m] * d[m] / s
        dbeta     = sum over m of grad[m]

    These are the equations of section 3 of the paper; `kernels.batch_norm_grad` combines them.

    Parameters
    ----------
    grad
        Gradient of the loss for y, (M, C).
    x, gamma, eps
        As in `batchnorm_naive`.
    mean, variance
        As returned by `batchnorm_naive`, (C,).

    Returns
    -------
    tuple
        dx (M, C), dgamma (C,) and dbeta (C,), in float64.

    Raises
    ------
    ValueError
        If the shapes of the arrays do not match, or eps is not positive.

    Examples
    --------
    A shift of all rows is subtracted again, so it has no gradient.

    >>> x, ones = [[1.0], [2.0], [6.0]], [[1.0], [1.0], [1.0]]
    >>> _, mean, variance = batchnorm_naive(x, [2.0], [0.0])
    >>> dx, dgamma, dbeta = batchnorm_backward_naive(ones, x, [2.0], mean, variance)
    >>> bool(abs(dx).max() < 1e-12), dbeta
    (True, array([3.]))
    """
    owner = "batchnorm_backward_naive"
    x = array_of(owner, "x", x, "(M, C)")
    rows, columns = x.shape
    grad = array_of(owner, "grad", grad, x.shape)
    gamma = array_of(owner, "gamma", gamma, (columns,))
    mean = array_of(owner, "mean", mean, (columns,))
    variance = array_of(owner, "variance", variance, (columns,))
    eps = checks.positive(owner, "eps", eps)
    dx, dgamma, dbeta = np.zeros_like(x), np.zeros(columns), np.zeros(columns)
    for c in range(columns):
        s = math.sqrt(variance[c] + eps)
        dvariance = dmean = 0.0
        for m in range(rows):
            d, dx_hat = x[m, c] - mean[c], grad[m, c] * gamma[c]
            dvariance += dx_hat * d * -0.5 / s**3
            dmean += -dx_hat / s
            dgamma[c] += grad[m, c] * d / s
            dbeta[c] += grad[m, c]
        for m in range(rows):
            d, dx_hat = x[m, c] - mean[c], grad[m, c] * gamma[c]
            dx[m, c] = dx_hat / s + dvariance * 2 * d / rows + dmean / rows
    return dx, dgamma, dbeta
