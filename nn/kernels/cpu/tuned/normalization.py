"""Normalization of batches and of samples, with few temporary arrays."""

import numpy as np

from ...geometry import Array
from ...reference.normalization import by_channel
from ...tiles import wide_rows
from .. import memory
from .linear import column_sums

_BLOCK = 1 << 10  # positions that are summed in the array's own dtype before float64 takes over


def batch_norm(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array, Array]:
    """See `reference.batch_norm`."""
    mean = column_sums(x) / x.shape[0]
    wide, means = wide_rows(np, x, mean)
    y = np.subtract(wide, means, out=memory.empty_like(wide))
    squares = np.multiply(y, y, out=memory.empty_like(wide)).reshape(x.shape)
    variance = column_sums(squares) / x.shape[0]
    y, scales, shifts = wide_rows(np, y.reshape(x.shape), gamma / np.sqrt(variance + eps), beta)
    y *= scales
    y += shifts
    return y.reshape(x.shape), mean, variance


def batch_norm_grad(
    grad: Array, x: Array, gamma: Array, mean: Array, variance: Array, eps: float
) -> tuple[Array, Array, Array]:
    """See `reference.batch_norm_grad`."""
    count = grad.shape[0]
    inv_std = 1 / np.sqrt(variance + eps)
    wide, means, inv_stds, scales = wide_rows(np, x, mean, inv_std, gamma * inv_std)
    wide_grad = grad.reshape(wide.shape)
    dx = np.subtract(wide, means, out=memory.empty_like(wide))
    dx *= inv_stds  # x_hat
    products = np.multiply(wide_grad, dx, out=memory.empty_like(wide)).reshape(x.shape)
    dgamma, dbeta = column_sums(products), column_sums(grad)
    _, mean_gx, mean_g = wide_rows(np, x, dgamma / count, dbeta / count)
    dx *= -mean_gx
    dx += wide_grad
    dx -= mean_g
    dx *= scales
    return dx.reshape(x.shape), dgamma, dbeta


def batch_norm_inference(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, eps: float
) -> Array:
    """See `reference.batch_norm_inference`."""
    scale = gamma / np.sqrt(variance + eps)
    wide, means, scales, shifts = wide_rows(np, x, mean, scale, beta)
    y = np.subtract(wide, means, out=memory.empty_like(wide))
    y *= scales
    y += shifts
    return y.reshape(x.shape)


def normalize_samples(
    x: Array, gamma: Array, beta: Array, groups: int, eps: float
) -> tuple[Array, Array, Array]:
    """See `reference.normalize_samples`."""
    mean = _group_means(x, groups)
    y = np.subtract(x, by_channel(mean, x), out=memory.empty_like(x))
    squares = np.multiply(y, y, out=memory.empty_like(x))
    inv_std = 1 / np.sqrt(_group_means(squares, groups) + eps)
    y *= by_channel(inv_std, x)
    y *= gamma
    y += beta
    return y, mean, inv_std


def normalize_samples_grad(
    grad: Array, x: Array, gamma: Array, mean: Array, inv_std: Array
) -> tuple[Array, Array, Array]:
    """See `reference.normalize_samples_grad`."""
    groups = mean.shape[1]
    inverse = by_channel(inv_std, x)
    dx = np.subtract(x, by_channel(mean, x), out=memory.empty_like(x))
    dx *= inverse  # x_hat
    products = np.multiply(grad, dx, out=memory.empty_like(grad))
    rows = (len(x), -1) if gamma.ndim == 2 else (-1, x.shape[2])  # one for each gamma
    dgamma = column_sums(products.reshape(rows)).reshape(gamma.shape)
    dbeta = column_sums(grad.reshape(rows)).reshape(gamma.shape)
    products *= gamma
    dx *= -by_channel(_group_means(products, groups), x)
    g = np.multiply(grad, gamma, out=products)
    dx += g
    dx -= by_channel(_group_means(g, groups), x)
    dx *= inverse
    return dx, dgamma, dbeta


def _group_means(x: Array, groups: int) -> Array:
    """Return the mean of each group of channels over all positions: (N, P, C) -> (N, G)."""
    n, p, c = x.shape
    sums = x
    if p > 1:  # over blocks of P as products with ones, as in `column_sums`
        block = min(p, _BLOCK)
        count = p // block
        whole = count * block
        blocks = x[:, :whole].reshape(n, count, block, c)  # (N, P, C) -> (N, blocks, block, C)
        sums = np.matmul(np.ones(block, x.dtype), blocks).sum(axis=1, dtype=np.float64)  # (N, C)
        sums += x[:, whole:].sum(axis=1, dtype=np.float64)
    sums = sums.reshape(n, groups, c // groups).sum(axis=2, dtype=np.float64)
    return (sums / (p * (c // groups))).astype(x.dtype)
