"""NumPy's functions on the device's arrays, with CuPy's arguments and CuPy's refusals."""

import inspect

import numpy as np

from . import transfers
from .signatures import CREATING, FUNCTIONS, METHODS

SCALARS = (bool, int, float, complex, np.number, np.bool_)
KINDS = "biufc"  # what a device computes with: no objects, no strings, no dates, no records


def signature(line):
    """Return the signature of a line of `signatures`."""
    arguments = line.rstrip(" *").split("(", 1)[1]
    return inspect.signature(eval(f"lambda {arguments[:-1]}: None"))


def check_dtype(dtype):
    if np.dtype(dtype).kind not in KINDS:
        raise ValueError(f"Unsupported dtype {dtype}")


def unsupported(value):
    return TypeError(f"Unsupported type {type(value)}")


def unwrap(value):
    """Return the private arrays of what a function is called with, also within a list."""
    from .array import ndarray

    if isinstance(value, ndarray):
        return value._private
    if isinstance(value, np.ndarray):
        raise unsupported(value)
    if isinstance(value, list | tuple):
        return type(value)(map(unwrap, value))
    return value


def wrap(value):
    """Return NumPy's results as arrays of the device."""
    from .array import ndarray

    if isinstance(value, np.ndarray | np.generic):
        return ndarray._of(np.asarray(value))
    if isinstance(value, list | tuple):
        return type(value)(map(wrap, value))
    return value


def arrays_in(*values):
    from .array import ndarray

    for value in values:
        if isinstance(value, list | tuple):
            yield from arrays_in(*value)
        elif isinstance(value, ndarray):
            yield value


def call(name, line, numpys, arguments, options, creating=False):
    """Call NumPy's function with the arguments of CuPy's, which a line of `signatures` says."""
    bound = signature(line).bind(*arguments, **options)
    if not creating and not list(arrays_in(*bound.args, *bound.kwargs.values())):
        raise TypeError(f"cupy.{name} needs an array of the device")
    if bound.arguments.get("dtype") is not None:
        check_dtype(bound.arguments["dtype"])
    if line.endswith("*"):
        transfers.count_to_host(name)
    options = {name: unwrap(value) for name, value in bound.kwargs.items()}
    with np.errstate(all="ignore"):
        result = numpys(*unwrap(bound.args), **options)
    out = bound.arguments.get("out")
    return wrap(result) if out is None else out


def function(name):
    """Return CuPy's function of this name."""

    def run(*arguments, **options):
        return call(name, FUNCTIONS[name], getattr(np, name), arguments, options, name in CREATING)

    run.__name__ = name
    return run


def method(name):
    """Return CuPy's method of this name."""

    def run(self, *arguments, **options):
        return call(name, METHODS[name], getattr(self._private, name), arguments, options, True)

    run.__name__ = name
    return run


class ufunc:  # noqa: N801
    """A function of each element, as `cupy.ufunc`: with `out`, `dtype` and `casting` alone."""

    def __init__(self, name):
        self.__name__, self.numpys = name, getattr(np, name)

    def __call__(self, *inputs, out=None, dtype=None, casting="same_kind", **options):
        from .array import ndarray

        if options:
            raise TypeError(f"Wrong arguments {options}")
        if len(inputs) != self.numpys.nin:
            raise TypeError(f"Wrong number of arguments for {self.__name__!r}: {len(inputs)}")
        for value in inputs:
            if not isinstance(value, (ndarray, *SCALARS)):
                raise unsupported(value)
        # NumPy keeps the operands' order in memory, CuPy does not.
        options = {"dtype": dtype, "casting": casting, "order": "C"}
        if out is not None:
            if not isinstance(out, ndarray):
                raise TypeError("Output arguments type must be cupy.ndarray")
            if np.broadcast_shapes(*map(np.shape, unwrap(inputs))) != out.shape:
                raise ValueError("Out shape is mismatched")
            options["out"] = out._private
        with np.errstate(all="ignore"):
            result = self.numpys(*unwrap(inputs), **options)
        return wrap(result) if out is None else out

    def at(self, a, indices, b):
        """Add at indices of an array, repeated ones too, as `cupyx.scatter_add`."""
        from .array import ndarray

        if self.__name__ != "add" or not all(isinstance(v, ndarray) for v in (a, indices, b)):
            raise unsupported(b)
        if a.dtype.kind != "f" or b.dtype != a.dtype:
            raise TypeError(f"scatter_add of {b.dtype} to {a.dtype}")
        self.numpys.at(a._private, indices._private, b._private)
