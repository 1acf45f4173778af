"""Normalization and sums of columns: each number is read once in a pass."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...geometry import Array
from .. import memory, threads, tuned
from ..compiler import compile_kernel
from .sharing import grain_for

_BLOCK = 256  # rows that are summed in the array's own dtype before float64 takes over


@compile_kernel
def _column_sums(x, sums, part, lo, hi):
    """Sum the rows lo..hi of x (M, C), in float64."""
    block = np.zeros(x.shape[1], dtype=x.dtype)
    sums[part] = 0
    for start in range(lo, hi, _BLOCK):
        block[:] = 0
        for m in range(start, min(start + _BLOCK, hi)):
            for k in range(x.shape[1]):
                block[k] += x[m, k]
        for k in range(x.shape[1]):
            sums[part, k] += block[k]


def _fold(rows: Array) -> int:
    """Return how many rows side by side are one row for the kernels: 64 numbers, if there are.

    The compiler's loops over a row take 32 or 64 numbers at a time, and what is left one by one.
    """
    count, columns = rows.shape
    return math.gcd(count, max(1, 64 // columns)) if rows.flags.c_contiguous and columns else 1


def _folded(fold: int, matrices: list[Array], vectors: list[Array]) -> list[Any]:
    """Return matrices with so many rows joined to one, and a tuple of vectors repeated as often."""
    if fold == 1:
        return [*matrices, tuple(vectors)]
    wide = [matrix.reshape(-1, fold * matrix.shape[1]) for matrix in matrices]
    return [*wide, tuple(np.concatenate([vector] * fold) for vector in vectors)]


def column_sums(rows: Array) -> Array:
    """See `reference.column_sums`."""
    columns = rows.shape[1]
    if not rows.flags.c_contiguous or columns == 0:
        return tuned.column_sums(rows)
    rows = rows.reshape(-1, _fold(rows) * columns)
    sums = np.empty((threads.NUM_THREADS, rows.shape[1]))
    parts = threads.run(_column_sums, len(rows), rows, sums, grain=grain_for(rows.shape[1]))
    return sums[:parts].reshape(-1, columns).sum(axis=0).astype(rows.dtype)


@compile_kernel
def _moments(x, pivots, sums, part, lo, hi):
    """Sum x - pivot and its square over the rows lo..hi: (2, C) in float64.

    In x's dtype, a block sums differences to the mean of the rows before it (the first block to its
    own mean). Their squares are at most twice the sum that is left when the means are known, so
    that few digits cancel. A pivot far from all other rows costs digits that only float64 has.
    """
    (pivot,), columns = pivots, x.shape[1]
    first, second = np.zeros(columns, dtype=x.dtype), np.zeros(columns, dtype=x.dtype)
    mean = np.zeros(columns, dtype=x.dtype)
    sums[part] = 0
    stop = min(lo + _BLOCK, hi)
    for m in range(lo, stop):
        for k in range(columns):
            mean[k] += x[m, k] / x.dtype.type(stop - lo)
    for start in range(lo, hi, _BLOCK):
        stop = min(start + _BLOCK, hi)
        first[:] = 0
        second[:] = 0
        for m in range(start, stop):
            for k in range(columns):
                d = x[m, k] - mean[k]
                first[k] += d
                second[k] += d * d
        for k in range(columns):
            away = np.float64(mean[k]) - pivot[k]
            sums[part, 0, k] += first[k] + (stop - start) * away
            sums[part, 1, k] += second[k] + 2 * away * first[k] + (stop - start) * (away * away)
            mean[k] = pivot[k] + sums[part, 0, k] / (stop - lo)


@compile_kernel
def _scale_and_shift(x, y, columns, part, lo, hi):
    mean, scale, shift = columns
    for m in range(lo, hi):
        for k in range(x.shape[1]):
            y[m, k] = (x[m, k] - mean[k]) * scale[k] + shift[k]


@compile_kernel
def _batch_norm_sums(grad, x, mean_and_inv_std, sums, part, lo, hi):
    """Sum grad and grad * x_hat over the rows lo..hi: (2, C) in float64."""
    columns = x.shape[1]
    mean, inv_std = mean_and_inv_std
    first, second = np.zeros(columns, dtype=x.dtype), np.zeros(columns, dtype=x.dtype)
    sums[part] = 0
    for start in range(lo, hi, _BLOCK):
        first[:] = 0
        second[:] = 0
        for m in range(start, min(start + _BLOCK, hi)):
            for k in range(columns):
                g = grad[m, k]
                first[k] += g
                second[k] += g * ((x[m, k] - mean[k]) * inv_std[k])
        for k in range(columns):
            sums[part, 0, k] += first[k]
            sums[part, 1, k] += second[k]


@compile_kernel
def _batch_norm_dx(grad, x, dx, columns, part, lo, hi):
    mean, inv_std, scale, mean_g, mean_gx = columns
    for m in range(lo, hi):
        for k in range(x.shape[1]):
            x_hat = (x[m, k] - mean[k]) * inv_std[k]
            dx[m, k] = scale[k] * (grad[m, k] - mean_g[k] - x_hat * mean_gx[k])


def _summed(kernel: Callable[..., Any], matrices: list[Array], vectors: list[Array]) -> Array:
    """Run a kernel that sums two quantities over the rows of (M, C); return the sums, (2, C)."""
    columns, fold = matrices[0].shape[1], _fold(matrices[0])
    rows = _folded(fold, matrices, vectors)
    sums = np.empty((threads.NUM_THREADS, 2, fold * columns))
    parts = threads.run(kernel, len(rows[0]), *rows, sums, grain=grain_for(fold * columns))
    return sums[:parts].reshape(parts, 2, fold, columns).sum(axis=(0, 2))


def batch_moments(x: Array) -> tuple[Array, Array]:
    """See `reference.batch_moments`."""
    pivot = x[0].copy()
    first, second = _summed(_moments, [x], [pivot]) / len(x)
    mean = (pivot + first).astype(x.dtype)
    return mean, np.maximum(second - first * first, 0).astype(x.dtype)


def batch_norm(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array, Array]:
    """See `reference.batch_norm`."""
    if len(x) == 0:
        return tuned.batch_norm(x, gamma, beta, eps)
    mean, variance = batch_moments(x)
    return batch_norm_inference(x, gamma, beta, mean, variance, eps), mean, variance


def batch_norm_grad(
    grad: Array, x: Array, gamma: Array, mean: Array, variance: Array, eps: float
) -> tuple[Array, Array, Array]:
    """See `reference.batch_norm_grad`."""
    count = len(x)
    if count == 0:
        return tuned.batch_norm_grad(grad, x, gamma, mean, variance, eps)
    inv_std = 1 / np.sqrt(variance + eps)
    sums = _summed(_batch_norm_sums, [grad, x], [mean, inv_std])
    mean_g, mean_gx = (sums / count).astype(x.dtype)
    dx = memory.empty_like(x)
    vectors = [mean, inv_std, gamma * inv_std, mean_g, mean_gx]
    rows = _folded(_fold(x), [grad, x, dx], vectors)
    threads.run(_batch_norm_dx, len(rows[0]), *rows, grain=grain_for(rows[0].shape[1]))
    dbeta, dgamma = sums.astype(x.dtype)
    return dx, dgamma, dbeta


def batch_norm_inference(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, eps: float
) -> Array:
    """See `reference.batch_norm_inference`."""
    y = memory.empty_like(x)
    scale = gamma / np.sqrt(variance + eps)
    rows = _folded(_fold(x), [x, y], [mean, scale, beta])
    threads.run(_scale_and_shift, len(rows[0]), *rows, grain=grain_for(rows[0].shape[1]))
    return y


# ------------------------------------------------------------------- layers and groups


@compile_kernel
def _normalize_rows(x, y, scales, stats, eps, part, lo, hi):
    """Normalize the rows lo..hi of x (M, D); write their mean and 1 / std to `stats` (2, M)."""
    (gamma, beta), columns, real = scales, x.shape[1], x.dtype.type
    for m in range(lo, hi):
        row, out, total = x[m], y[m], 0.0
        for start in range(0, columns, _BLOCK):
            own = real(0)
            for k in range(start, min(start + _BLOCK, columns)):
                own += row[k]
            total += own
        mean, total, squares = real(total / columns), 0.0, 0.0
        for start in range(0, columns, _BLOCK):
            own, own_squares = real(0), real(0)
            for k in range(start, min(start + _BLOCK, columns)):
                own += row[k] - mean
                own_squares += (row[k] - mean) * (row[k] - mean)
            total += own
            squares += own_squares
        away = total / columns  # what rounding took from the mean
        mean = real(mean + away)
        inv_std = real(1 / np.sqrt(squares / columns - away * away + eps))
        stats[0, m], stats[1, m] = mean, inv_std
        for k in range(columns):
            out[k] = (row[k] - mean) * inv_std * gamma[k] + beta[k]


@compile_kernel
def _normalize_rows_grad(grad, x, dx, gamma, stats, sums, part, lo, hi):
    """Compute the gradient for the rows lo..hi; sum those for gamma and beta into sums[part]."""
    columns, real = x.shape[1], x.dtype.type
    dgamma, dbeta = np.zeros(columns, dtype=x.dtype), np.zeros(columns, dtype=x.dtype)
    sums[part] = 0
    for m in range(lo, hi):
        row, g, out, mean, inv_std = x[m], grad[m], dx[m], stats[0, m], stats[1, m]
        total_g, total_gx = 0.0, 0.0
        for start in range(0, columns, _BLOCK):
            own_g, own_gx = real(0), real(0)
            for k in range(start, min(start + _BLOCK, columns)):
                x_hat, scaled = (row[k] - mean) * inv_std, g[k] * gamma[k]
                own_g += scaled
                own_gx += scaled * x_hat
            total_g += own_g
            total_gx += own_gx
        for k in range(columns):  # by itself, as LLVM has vectors for it then
            dbeta[k] += g[k]
        for k in range(columns):
            dgamma[k] += g[k] * ((row[k] - mean) * inv_std)
        mean_g, mean_gx = real(total_g / columns), real(total_gx / columns)
        for k in range(columns):
            x_hat = (row[k] - mean) * inv_std
            out[k] = (g[k] * gamma[k] - mean_g - x_hat * mean_gx) * inv_std
        if (m - lo) % _BLOCK == _BLOCK - 1 or m == hi - 1:
            for k in range(columns):
                sums[part, 0, k] += dgamma[k]
                sums[part, 1, k] += dbeta[k]
            dgamma[:] = 0
            dbeta[:] = 0


@compile_kernel
def _sum_positions(a, b, sums):
    """Sum a and a * b (P, C) over the positions into sums (2, C), in float64."""
    columns = a.shape[1]
    first, second = np.zeros(columns, dtype=a.dtype), np.zeros(columns, dtype=a.dtype)
    sums[:] = 0
    for start in range(0, len(a), _BLOCK):
        first[:] = 0
        second[:] = 0
        for p in range(start, min(start + _BLOCK, len(a))):
            for k in range(columns):
                first[k] += a[p, k]
                second[k] += a[p, k] * b[p, k]
        for k in range(columns):
            sums[0, k] += first[k]
            sums[1, k] += second[k]


@compile_kernel
def _normalize_groups(x, y, scales, stats, eps, part, lo, hi):
    """Normalize the groups of the samples lo..hi of x (N, P, C); `stats` is (2, N, G)."""
    (gamma, beta), real = scales, x.dtype.type
    _, positions, channels = x.shape
    width = channels // stats.shape[2]
    sums = np.empty((2, channels))
    center, scale = np.empty(channels, dtype=x.dtype), np.empty(channels, dtype=x.dtype)
    for n in range(lo, hi):
        image, out = x[n], y[n]
        _sum_positions(image, image, sums)
        for group in range(stats.shape[2]):
            own = slice(group * width, (group + 1) * width)
            stats[0, n, group] = real(sums[0, own].sum() / (positions * width))
            center[own] = stats[0, n, group]
        for p in range(positions):  # of the differences, as squares of large numbers cancel
            for k in range(channels):
                out[p, k] = image[p, k] - center[k]
        _sum_positions(out, out, sums)
        for group in range(stats.shape[2]):
            own = slice(group * width, (group + 1) * width)
            away = sums[0, own].sum() / (positions * width)  # what rounding took from the mean
            variance = sums[1, own].sum() / (positions * width) - away * away
            stats[0, n, group] += real(away)
            stats[1, n, group] = real(1 / np.sqrt(variance + eps))
            center[own], scale[own] = real(away), stats[1, n, group]
        for p in range(positions):
            for k in range(channels):
                out[p, k] = (out[p, k] - center[k]) * scale[k] * gamma[k] + beta[k]


@compile_kernel
def _normalize_groups_grad(grad, x, dx, gamma, stats, sums, part, lo, hi):
    """As `_normalize_rows_grad`, for the samples lo..hi of x (N, P, C)."""
    real = x.dtype.type
    _, positions, channels = x.shape
    width = channels // stats.shape[2]
    own_sums, columns = np.empty((2, channels)), np.empty((4, channels), dtype=x.dtype)
    mean, inv_std, mean_g, mean_gx = columns[0], columns[1], columns[2], columns[3]
    sums[part] = 0
    for n in range(lo, hi):
        image, g, out = x[n], grad[n], dx[n]
        for k in range(channels):
            mean[k], inv_std[k] = stats[0, n, k // width], stats[1, n, k // width]
        for p in range(positions):
            for k in range(channels):
                out[p, k] = (image[p, k] - mean[k]) * inv_std[k]
        _sum_positions(g, out, own_sums)
        for k in range(channels):
            sums[part, 0, k] += own_sums[1, k]
            sums[part, 1, k] += own_sums[0, k]
        for group in range(stats.shape[2]):
            own = slice(group * width, (group + 1) * width)
            count = positions * width
            mean_g[own] = real((own_sums[0, own] * gamma[own]).sum() / count)
            mean_gx[own] = real((own_sums[1, own] * gamma[own]).sum() / count)
        for p in range(positions):
            for k in range(channels):
                g_hat = g[p, k] * gamma[k] - mean_g[k]
                out[p, k] = (g_hat - out[p, k] * mean_gx[k]) * inv_std[k]


def normalize_samples(
    x: Array, gamma: Array, beta: Array, groups: int, eps: float
) -> tuple[Array, Array, Array]:
    """See `reference.normalize_samples`."""
    n, p, c = x.shape
    by_row = groups == 1 and gamma.size == p * c
    if 0 in x.shape or not (by_row or gamma.ndim == 1):
        return tuned.normalize_samples(x, gamma, beta, groups, eps)
    x = np.ascontiguousarray(x)
    y, stats = memory.empty(x.shape, x.dtype), np.empty((2, n, groups), x.dtype)
    scales = (np.ascontiguousarray(gamma).reshape(-1), np.ascontiguousarray(beta).reshape(-1))
    grain = grain_for(p * c)
    if by_row:
        rows, own = (a.reshape(n, p * c) for a in (x, y))
        threads.run(_normalize_rows, n, rows, own, scales, stats[:, :, 0], eps, grain=grain)
    else:
        threads.run(_normalize_groups, n, x, y, scales, stats, eps, grain=grain)
    return y, stats[0], stats[1]


def normalize_samples_grad(
    grad: Array, x: Array, gamma: Array, mean: Array, inv_std: Array
) -> tuple[Array, Array, Array]:
    """See `reference.normalize_samples_grad`."""
    (n, p, c), groups = x.shape, mean.shape[1]
    by_row = groups == 1 and gamma.size == p * c
    if 0 in x.shape or not (by_row or gamma.ndim == 1):
        return tuned.normalize_samples_grad(grad, x, gamma, mean, inv_std)
    grad, x = np.ascontiguousarray(grad), np.ascontiguousarray(x)
    dx, stats = memory.empty(x.shape, x.dtype), np.stack([mean, inv_std])
    sums, scale = np.empty((threads.NUM_THREADS, 2, gamma.size)), np.ascontiguousarray(gamma)
    grain = grain_for(p * c)
    if by_row:
        rows = [a.reshape(n, p * c) for a in (grad, x, dx)]
        scale, stats = scale.reshape(-1), stats[:, :, 0]
        parts = threads.run(_normalize_rows_grad, n, *rows, scale, stats, sums, grain=grain)
    else:
        parts = threads.run(_normalize_groups_grad, n, grad, x, dx, scale, stats, sums, grain=grain)
    dgamma, dbeta = sums[:parts].sum(axis=0).astype(x.dtype).reshape(2, *gamma.shape)
    return dx, dgamma, dbeta
