"""Kernels of CuPy that compute one element in C++: CuPy writes the loop around it.

In a kernel, `T` is float or double as in its arrays, `i` the number of the element, and a `raw`
argument is read at any place.
"""

import functools
from typing import Any

from ... import cuda
from ..geometry import Array


@functools.cache
def elementwise_kernel(xp: Any, name: str, inputs: str, outputs: str, operation: str) -> Any:
    """Return a kernel of CuPy, called with the inputs and then the outputs, which it writes."""
    return xp.ElementwiseKernel(inputs, outputs, operation, f"nn_{name}")


def in_memory_order(*arrays: Array) -> list[Array]:
    """Return views of arrays with the same layout, axes from the slowest to the fastest.

    A kernel needs no strides for them then.
    """
    axes, _ = cuda.memory_order(arrays[0])
    return [one.transpose(axes) for one in arrays]
