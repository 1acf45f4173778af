"""Kernels of rows: the gradient of a table of vectors, and the cross-entropy of classes."""

import math

import numpy as np

from ... import reference
from ...geometry import Array
from .. import memory, threads
from ..compiler import compile_kernel
from .functions import exponential, select
from .sharing import grain_for


@compile_kernel
def _add_rows(grad, ids, total, part, lo, hi):
    """Add the columns lo..hi of each row of grad to the row of total that its id names."""
    for n in range(ids.size):
        source, target = grad[n], total[ids[n]]
        for j in range(lo, hi):
            target[j] += source[j]


def add_rows(grad: Array, ids: Array, count: int) -> Array:
    """See `reference.add_rows`. Threads share the columns."""
    if ids.size == 0 or ids.min() < 0 or ids.max() >= count:
        return reference.add_rows(grad, ids, count)
    if grad.swapaxes(0, 1).flags.c_contiguous:  # the steps come first in memory
        grad, ids = grad.swapaxes(0, 1), ids.swapaxes(0, 1)
    rows = np.ascontiguousarray(grad).reshape(ids.size, -1)  # (N, T, D) -> (N * T, D)
    ids = np.ascontiguousarray(ids, np.int64).ravel()
    total = np.zeros((count, rows.shape[1]))
    threads.run(_add_rows, rows.shape[1], rows, ids, total, grain=grain_for(ids.size))
    return total.astype(grad.dtype)


@compile_kernel
def _softmax_cross_entropy(z, q, losses, grad, part, lo, hi):
    """Compute the loss and the gradient of the rows lo..hi of z."""
    zero = z.dtype.type(0)
    for n in range(lo, hi):
        row, target, p = z[n], q[n], grad[n]
        largest, total, loss = row[0], zero, zero
        for j in range(row.size):
            largest = max(largest, row[j])
        for j in range(row.size):
            p[j] = exponential(row[j] - largest)
            total += p[j]
        scale, logarithm = z.dtype.type(1) / total, z.dtype.type(math.log(total))
        for j in range(row.size):
            # A class of probability 0 adds nothing, also for a logit of minus infinity.
            term = target[j] * (logarithm - (row[j] - largest))
            loss += select(target[j] > zero, term, zero)
            p[j] = p[j] * scale - target[j]
        losses[n] = loss


def softmax_cross_entropy(z: Array, q: Array) -> tuple[Array, Array]:
    """See `reference.softmax_cross_entropy`."""
    if z.shape != q.shape or z.size == 0:
        return reference.softmax_cross_entropy(z, q)
    z, q = np.ascontiguousarray(z), np.ascontiguousarray(q)
    losses, grad = np.empty(len(z), z.dtype), memory.empty(z.shape, z.dtype)
    threads.run(_softmax_cross_entropy, len(z), z, q, losses, grad, grain=grain_for(4 * z.shape[1]))
    return losses, grad
