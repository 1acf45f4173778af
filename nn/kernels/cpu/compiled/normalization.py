"""Batch normalization and sums of columns: each number is read once in a pass."""

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


def column_sums(rows: Array) -> Array:
    """See `reference.column_sums`."""
    count, columns = rows.shape
    if not rows.flags.c_contiguous or columns == 0:
        return tuned.column_sums(rows)
    # Several short rows side by side are one long row, which the processor sums in fewer steps.
    fold = max(1, 64 // columns)
    if count % fold == 0:
        rows = rows.reshape(count // fold, fold * columns)
    sums = np.empty((threads.NUM_THREADS, rows.shape[1]))
    parts = threads.run(_column_sums, len(rows), rows, sums, grain=grain_for(rows.shape[1]))
    return sums[:parts].reshape(-1, columns).sum(axis=0).astype(rows.dtype)


@compile_kernel
def _moments(x, pivot, sums, part, lo, hi):
    """Sum x - pivot and its square over the rows lo..hi: (2, C) in float64.

    In x's dtype, a block sums differences to the mean of the rows before it (the first block to its
    own mean). Their squares are at most twice the sum that is left when the means are known, so
    that few digits cancel. A pivot far from all other rows costs digits that only float64 has.
    """
    columns = x.shape[1]
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


def _summed(kernel: Callable[..., Any], rows: int, columns: int, *arguments: Any) -> Array:
    """Run a kernel that sums two quantities over rows; return the sums of all parts, (2, C)."""
    sums = np.empty((threads.NUM_THREADS, 2, columns))
    parts = threads.run(kernel, rows, *arguments, sums, grain=grain_for(columns))
    return sums[:parts].sum(axis=0)


def batch_norm(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array, Array]:
    """See `reference.batch_norm`."""
    count, columns = x.shape
    if count == 0:
        return tuned.batch_norm(x, gamma, beta, eps)
    pivot = x[0].copy()
    first, second = _summed(_moments, count, columns, x, pivot) / count
    mean = (pivot + first).astype(x.dtype)
    variance = np.maximum(second - first * first, 0).astype(x.dtype)
    y = memory.empty_like(x)
    scale = gamma / np.sqrt(variance + eps)
    threads.run(_scale_and_shift, count, x, y, (mean, scale, beta), grain=grain_for(columns))
    return y, mean, variance


def batch_norm_grad(
    grad: Array, x: Array, gamma: Array, mean: Array, variance: Array, eps: float
) -> tuple[Array, Array, Array]:
    """See `reference.batch_norm_grad`."""
    count, columns = x.shape
    if count == 0:
        return tuned.batch_norm_grad(grad, x, gamma, mean, variance, eps)
    inv_std = 1 / np.sqrt(variance + eps)
    sums = _summed(_batch_norm_sums, count, columns, grad, x, (mean, inv_std))
    mean_g, mean_gx = (sums / count).astype(x.dtype)
    dx = memory.empty_like(x)
    vectors = (mean, inv_std, gamma * inv_std, mean_g, mean_gx)
    threads.run(_batch_norm_dx, count, grad, x, dx, vectors, grain=grain_for(columns))
    dbeta, dgamma = sums.astype(x.dtype)
    return dx, dgamma, dbeta


def batch_norm_inference(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, eps: float
) -> Array:
    """See `reference.batch_norm_inference`."""
    y = memory.empty_like(x)
    scale = gamma / np.sqrt(variance + eps)
    threads.run(_scale_and_shift, len(x), x, y, (mean, scale, beta), grain=grain_for(x.shape[1]))
    return y
