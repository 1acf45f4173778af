"""The device of an array, and how to move it. This is the only module that imports CuPy.

Other modules call the functions of `get_array_module(x)`, the library that made `x`, so that one
line of code works on both devices. No layer branches on the device.

Two environment variables are read once, at import: `NN_DISABLE_CUDA=1` uses the CPU without
looking for a GPU, `NN_FORCE_CUDA=1` warns if there is no GPU.
"""

import operator
import os
import platform
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np


def _find_cupy() -> tuple[ModuleType | None, str]:
    """Return CuPy if it finds a GPU, else None and the reason."""
    if os.environ.get("NN_DISABLE_CUDA") == "1":
        return None, "NN_DISABLE_CUDA=1 is set"
    try:
        import cupy

        # A driver without a device, or a CuPy built for another CUDA, fails only when used.
        cupy.zeros(1).sum().get()
    except ImportError:
        return None, "CuPy is not installed"
    except Exception as error:  # CuPy raises its own types for a missing driver or device
        return None, f"CuPy found no working GPU ({error})"
    return cupy, ""


_cupy, _why_not = _find_cupy()

#: True if CuPy is installed and finds a GPU.
CUDA_AVAILABLE: bool = _cupy is not None

#: True if models are placed on the GPU when they are built.
USE_CUDA: bool = CUDA_AVAILABLE

if os.environ.get("NN_FORCE_CUDA") == "1" and not CUDA_AVAILABLE:
    warnings.warn(
        f"NN_FORCE_CUDA=1 asks for a GPU, but {_why_not}: training on the CPU.",
        RuntimeWarning,
        stacklevel=2,
    )


def get_array_module(*arrays: Any) -> ModuleType:
    """Return the library of the given arrays: `cupy` if any of them is on the GPU, else `numpy`.

    Parameters
    ----------
    *arrays
        Arrays of any shape; other values count as being on the CPU.

    Examples
    --------
    >>> import numpy as np
    >>> get_array_module(np.zeros(3)).__name__
    'numpy'
    """
    if _cupy is not None and any(isinstance(array, _cupy.ndarray) for array in arrays):
        return _cupy
    return np


def all_finite(array: Any) -> bool:
    """Return whether all numbers of an array, on any device, are finite."""
    return bool(get_array_module(array).isfinite(array).all())


def as_array(values: Any) -> Any:
    """Return lists and numbers as NumPy arrays, arrays as they are, on their device."""
    return values if get_array_module(values) is not np else np.asarray(values)


def memory_order(array: Any) -> tuple[list[int], list[int]]:
    """Return the axes from the slowest to the fastest in memory, and the inverse permutation.

    Examples
    --------
    >>> import numpy as np
    >>> memory_order(np.zeros((2, 3, 4)).transpose(1, 2, 0))
    ([2, 0, 1], [1, 2, 0])
    """
    strides = tuple(map(operator.neg, array.strides))
    axes = sorted(range(array.ndim), key=strides.__getitem__)
    return axes, sorted(range(array.ndim), key=axes.__getitem__)


def to_gpu(array: Any) -> Any:
    """Return `array` on the GPU, memory layout kept; one already there is returned as it is.

    Raises
    ------
    RuntimeError
        If there is no GPU; the message says why.
    """
    if _cupy is None:
        raise RuntimeError(
            f"[cuda] 'to_gpu' needs a GPU and CuPy, but {_why_not}: "
            "install requirements-cuda12.txt or requirements-cuda13.txt, or stay on the CPU."
        )
    if get_array_module(array) is _cupy:
        return array
    return _copied(np.asarray(array), _cupy.asarray)


def to_cpu(array: Any) -> np.ndarray:
    """Return `array` as a NumPy array, memory layout kept; one already there is returned as it is.

    Examples
    --------
    >>> import numpy as np
    >>> to_cpu(np.ones(2))
    array([1., 1.])
    """
    if _cupy is not None and isinstance(array, _cupy.ndarray):
        return _copied(array, _cupy.asnumpy)
    return np.asarray(array)


def to_device(array: Any, device: str) -> Any:
    """Return `array` on a device, 'gpu' or 'cpu'; one already there is returned as it is.

    Examples
    --------
    >>> import numpy as np
    >>> to_device(np.ones(2), "cpu")
    array([1., 1.])
    """
    return to_gpu(array) if device == "gpu" else to_cpu(array)


def _copied(array: Any, copy: Callable[[Any], Any]) -> Any:
    """Copy an array in C order, the only one that CuPy keeps, and return it in its own order."""
    axes, back = memory_order(array)
    return copy(array.transpose(axes)).transpose(back)


def get_device_name() -> str:
    """Return the name of the device that models train on: the GPU's, or the processor's.

    Examples
    --------
    >>> isinstance(get_device_name(), str)
    True
    """
    if _cupy is not None and USE_CUDA:
        properties = _cupy.cuda.runtime.getDeviceProperties(_cupy.cuda.Device().id)
        return str(properties["name"].decode())
    return f"CPU ({platform.processor() or platform.machine()})"


def count_devices() -> int:
    """Return how many GPUs CuPy finds.

    Examples
    --------
    >>> count_devices() > 0 or not CUDA_AVAILABLE
    True
    """
    return 0 if _cupy is None else int(_cupy.cuda.runtime.getDeviceCount())


def use_device(number: int) -> None:
    """Use a GPU, counted from 0, from now on in this thread.

    Raises
    ------
    RuntimeError
        If there is no GPU.
    """
    to_gpu(np.zeros(1))
    _cupy.cuda.Device(number).use()  # type: ignore[union-attr]
