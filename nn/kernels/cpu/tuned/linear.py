"""Products of matrices, and sums of their columns."""

import math

import numpy as np

from ... import reference
from ...geometry import Array
from ...tiles import BLAS_ALONE, PRODUCTS_PER_THREAD
from .. import memory, threads
from .sharing import share_samples


def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    """See `reference.matmul`. The rows are shared by our own threads.

    Those of BLAS would wait for the next product in a busy loop, and take the cores from ours.
    """
    if a.dtype != b.dtype or a.shape[1] != b.shape[0]:
        return reference.matmul(a, b, bias)
    y = memory.empty((a.shape[0], b.shape[1]), a.dtype)

    def multiply(part: int, lo: int, hi: int) -> None:
        np.matmul(a[lo:hi], b, out=y[lo:hi])
        if bias is not None:
            y[lo:hi] += bias

    products = a.shape[1] * b.shape[1]  # for each row
    grain = 1 + PRODUCTS_PER_THREAD // max(8 * products, 1)
    threads.run(multiply, len(a), grain=grain, blas=len(a) * products > BLAS_ALONE)
    return y


def swap_steps(x: Array) -> Array:
    """See `reference.swap_steps`."""
    y = memory.empty((x.shape[1], x.shape[0], *x.shape[2:]), x.dtype)

    def copy(part: int, lo: int, hi: int) -> None:
        y[lo:hi] = x[:, lo:hi].swapaxes(0, 1)

    share_samples(copy, y)
    return y


def column_sums(rows: Array) -> Array:
    """See `reference.column_sums`. Most of the sum runs in the matrix's own dtype.

    Adding a million float32 rows one after the other loses three digits. So blocks of rows are
    summed as products with a vector of ones, and the few block sums in float64.
    """
    count, columns = rows.shape
    block = 1 + math.isqrt(count)
    whole = count // block * block
    blocks = rows[:whole].reshape(-1, block, columns)  # (blocks*block, C) -> (blocks, block, C)
    sums, ones = np.zeros((len(blocks), columns), rows.dtype), np.ones(block, rows.dtype)

    def add(part: int, lo: int, hi: int) -> None:
        np.matmul(ones, blocks[lo:hi], out=sums[lo:hi])

    share_samples(add, blocks, blas=block * columns > BLAS_ALONE)
    total = sums.sum(axis=0, dtype=np.float64) + rows[whole:].sum(axis=0, dtype=np.float64)
    return total.astype(rows.dtype)
