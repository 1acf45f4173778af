"""Sums of columns as products of matrices."""

import math

from ... import cuda
from ..geometry import Array


def column_sums(rows: Array) -> Array:
    """See `reference.column_sums`. Most of the sum runs in the matrix's own dtype.

    Many GPUs compute float64 at a fraction of their speed. So blocks of rows are summed as
    products with a vector of ones, and only the few block sums in float64.
    """
    xp = cuda.get_array_module(rows)
    count, columns = rows.shape
    block = 1 + math.isqrt(count)
    whole = count // block * block
    blocks = rows[:whole].reshape(-1, block, columns)  # (blocks*block, C) -> (blocks, block, C)
    sums = xp.matmul(xp.ones(block, rows.dtype), blocks)  # (blocks, C)
    total = sums.sum(axis=0, dtype=xp.float64) + rows[whole:].sum(axis=0, dtype=xp.float64)
    return total.astype(rows.dtype)
