"""Which implementation of a kernel runs: one table, by the kernel's name and the kind of array.

`reference` has every kernel. `cpu` has faster ones for NumPy's arrays, compiled ones if Numba is
installed (the extra `fast`), and `gpu` for CuPy's. They need arrays of one library and of one
dtype, float32 or float64; all other calls run the reference.
"""

import functools
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from .. import cuda
from . import gpu, reference
from .cpu import tuned

#: The implementations of each kernel by kind of array, entered when a kind is first seen.
TABLE: dict[str, dict[type, Callable[..., Any]]] = {}

_DTYPES = frozenset({np.dtype(np.float32), np.dtype(np.float64)})


@functools.cache
def compiled() -> ModuleType | None:
    """Return the compiled kernels if Numba is installed, else None.

    They are imported when the first kernel is called, so that `import nn` stays light.
    """
    try:
        return importlib.import_module(".cpu.compiled", __package__)
    except ImportError:
        return None


def rooms(x: Any) -> list[ModuleType]:
    """Return the modules that have kernels for arrays of x's kind, from the reference up."""
    if type(x) is np.ndarray:
        module = compiled()
        return [reference, tuned, *([] if module is None else [module])]
    return [reference] if cuda.get_array_module(x) is np else [reference, gpu]


def _enter(x: Any) -> None:
    """Enter into the table what runs for arrays of x's kind.

    Each entry is written once: a thread that calls a kernel meanwhile never runs another one.
    """
    found = {}
    for room in rooms(x):
        found.update({name: getattr(room, name) for name in TABLE if hasattr(room, name)})
    for name, implementation in found.items():
        TABLE[name][type(x)] = implementation


def dispatched(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs the implementation for its arrays of a reference kernel."""
    row = TABLE.setdefault(kernel.__name__, {})

    @functools.wraps(kernel)
    def call(x: Any, *arguments: Any, **options: Any) -> Any:
        kind, dtype = type(x), getattr(x, "dtype", None)
        if dtype not in _DTYPES:
            return kernel(x, *arguments, **options)
        for other in (*arguments, *options.values()) if options else arguments:
            its_dtype = getattr(other, "dtype", None)
            if its_dtype is not None and (
                type(other) is not kind or (its_dtype != dtype and its_dtype.kind == "f")
            ):
                return kernel(x, *arguments, **options)
        if kind not in row:
            _enter(x)
        return row[kind](x, *arguments, **options)

    return call
