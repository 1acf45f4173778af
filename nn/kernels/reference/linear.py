"""The product of matrices."""

from ..geometry import Array


def matmul(a: Array, b: Array) -> Array:
    """Return the product of two matrices."""
    return a @ b
