"""The product of matrices, and that with one-hot rows: the rows of a table."""

from ... import cuda
from ..geometry import Array


def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    """Return the product of two matrices, and add a bias (columns,) to each row."""
    y = a @ b
    if bias is not None:
        y += bias
    return y


def take_rows(table: Array, ids: Array) -> Array:
    """Return the row of a table (V, D) for each of the ids (N, T), as (N, T, D)."""
    return table[ids]


def add_rows(grad: Array, ids: Array, count: int) -> Array:
    """Return the gradient (count, D) of `take_rows` for its table, summed in float64.

    Each row is the sum of grad (N, T, D) over the places where its id stands.
    """
    xp = cuda.get_array_module(grad)
    total = xp.zeros((count, grad.shape[-1]), xp.float64)
    rows = grad.reshape(-1, grad.shape[-1]).astype(total.dtype)  # (N, T, D) -> (N * T, D)
    xp.add.at(total, ids.reshape(-1), rows)
    return total.astype(grad.dtype)
