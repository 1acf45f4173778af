"""Normalization of batches, of samples, and of weights."""

from ... import cuda
from ..geometry import Array


def batch_norm(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array, Array]:
    """Normalize the columns of x (M, C) by their own mean and biased variance.

    Returns y, the mean and the variance (Ioffe and Szegedy 2015, arXiv 1502.03167,
    algorithm 1).
    """
    mean, variance = batch_moments(x)
    x_hat = (x - mean) / cuda.get_array_module(x).sqrt(variance + eps)
    return gamma * x_hat + beta, mean, variance


def batch_moments(x: Array) -> tuple[Array, Array]:
    """Return the mean and the biased variance of each column of x (M, C), summed in float64."""
    xp = cuda.get_array_module(x)
    mean = x.mean(axis=0, dtype=xp.float64).astype(x.dtype)
    return mean, xp.square(x - mean).mean(axis=0, dtype=xp.float64).astype(x.dtype)


def batch_norm_grad(
    grad: Array, x: Array, gamma: Array, mean: Array, variance: Array, eps: float
) -> tuple[Array, Array, Array]:
    """Return the gradients for x (M, C), gamma (C,) and beta (C,) of `batch_norm`.

    dx = gamma / std * (g - mean(g) - x_hat * mean(g * x_hat)) with x_hat = (x - mean) / std:
    the mean and the variance depend on every row, which the two means account for.
    """
    std = cuda.get_array_module(grad).sqrt(variance + eps)
    x_hat = (x - mean) / std
    dgamma, dbeta = column_sums(grad * x_hat), column_sums(grad)
    dx = gamma / std * (grad - dbeta / len(x) - x_hat * (dgamma / len(x)))
    return dx, dgamma, dbeta


def batch_norm_inference(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, eps: float
) -> Array:
    """Normalize the columns of x (M, C) by given statistics."""
    xp = cuda.get_array_module(x)
    return gamma * ((x - mean) / xp.sqrt(variance + eps)) + beta


def column_sums(rows: Array) -> Array:
    """Return the sum of each column of a matrix, summed in float64, in the matrix's dtype."""
    xp = cuda.get_array_module(rows)
    return rows.sum(axis=0, dtype=xp.float64).astype(rows.dtype)


def normalize_samples(
    x: Array, gamma: Array, beta: Array, groups: int, eps: float
) -> tuple[Array, Array, Array]:
    """Normalize each group of channels of each sample in x (N, P, C); then scale and shift.

    `gamma` and `beta` have a number for each channel, (C,), or for each value, (P, C). Returns
    y = gamma * (x - mean) / std + beta, the mean and 1 / std of each group, (N, G). The variance
    is the biased one (Wu and He 2018, arXiv 1803.08494, equations 2 to 4).
    """
    xp = cuda.get_array_module(x)
    mean = _group_means(x, groups)
    centered = x - by_channel(mean, x)
    inv_std = 1 / xp.sqrt(_group_means(centered * centered, groups) + eps)
    return gamma * (centered * by_channel(inv_std, x)) + beta, mean, inv_std


def normalize_samples_grad(
    grad: Array, x: Array, gamma: Array, mean: Array, inv_std: Array
) -> tuple[Array, Array, Array]:
    """Return the gradients for x (N, P, C), gamma and beta of `normalize_samples`.

    As in batch normalization: dx = (g - mean(g) - x_hat * mean(g * x_hat)) / std for g, the
    gradient for x_hat.
    """
    groups = mean.shape[1]
    x_hat = (x - by_channel(mean, x)) * by_channel(inv_std, x)
    rows = (len(x), -1) if gamma.ndim == 2 else (-1, x.shape[2])  # one for each gamma
    dgamma, dbeta = (
        column_sums(a.reshape(rows)).reshape(gamma.shape) for a in (grad * x_hat, grad)
    )
    g = grad * gamma
    mean_g, mean_gx = (by_channel(_group_means(a, groups), x) for a in (g, g * x_hat))
    return (g - mean_g - x_hat * mean_gx) * by_channel(inv_std, x), dgamma, dbeta


def _group_means(x: Array, groups: int) -> Array:
    """Return the mean of each group of channels over all positions: (N, P, C) -> (N, G)."""
    xp = cuda.get_array_module(x)
    n, p, c = x.shape
    # (N, P, C) -> (N, P, G, C/G) -> (N, G)
    return x.reshape(n, p, groups, c // groups).mean(axis=(1, 3), dtype=xp.float64).astype(x.dtype)


def by_channel(values: Array, x: Array) -> Array:
    """Return a value of each group (N, G) for each channel of x (N, P, C), as (N, 1, C)."""
    xp = cuda.get_array_module(x)
    return xp.repeat(values[:, xp.newaxis], x.shape[2] // values.shape[1], axis=2)


def lengths(v: Array, axis: int) -> Array:
    """Return the Euclidean length of v at each index of an axis; the other axes become 1.

    Examples
    --------
    >>> import numpy as np
    >>> lengths(np.array([[3.0, 1.0], [4.0, 0.0]]), axis=1)
    array([[5., 1.]])
    """
    xp = cuda.get_array_module(v)
    squares = xp.square(v, dtype=xp.float64)  # which cannot overflow, nor become 0
    return xp.sqrt(squares.sum(axis=_other_axes(v, axis), keepdims=True)).astype(v.dtype)


def weight_norm(v: Array, g: Array, axis: int) -> Array:
    """Return v with the lengths g (F,) along an axis: g * v / ||v||.

    Salimans and Kingma 2016, arXiv 1602.07868, equation 2.
    """
    length = lengths(v, axis)
    return v * (g.reshape(length.shape) / length)


def weight_norm_grad(grad: Array, v: Array, g: Array, axis: int) -> tuple[Array, Array]:
    """Return the gradients for v and g of `weight_norm` (equation 3 there).

    dg = sum(grad * v) / ||v|| and dv = g / ||v|| * (grad - dg * v / ||v||).
    """
    length = lengths(v, axis)
    dg = (grad * v).sum(axis=_other_axes(v, axis), keepdims=True) / length
    dv = (grad - dg * (v / length)) * (g.reshape(length.shape) / length)
    return dv, dg.reshape(g.shape)


def _other_axes(v: Array, axis: int) -> tuple[int, ...]:
    """Return all axes of v but one."""
    return tuple(k for k in range(v.ndim) if k != axis)
