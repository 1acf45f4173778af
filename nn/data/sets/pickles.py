r"""Read the pickles of CIFAR without running anything in them.

The batches of CIFAR are pickles, written by Python 2 and an early NumPy. The machine below, based
on that of `nn.files.pickles`, knows the few instructions that these files consist of: it compares
the three names in them with those it knows, and calls nothing.
"""

import math
import os
from typing import Any

import numpy as np

from ...checks import FileFormatError
from ...files.pickles import Machine

# The names in these files, and the two calls; on the stack, a name is a str.
_NAMES = {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}
_NEW_ARRAY = ["numpy.core.multiarray _reconstruct", ("numpy ndarray", (0,), b"b")]
_NEW_DTYPE = ["numpy dtype", (b"u1", 0, 1)]


def read_pickle(content: bytes, source: str | os.PathLike) -> dict[bytes, Any]:
    r"""Return the dict in a pickle of the kind that CIFAR consists of; run nothing.

    Parameters
    ----------
    content
        The whole file.
    source
        Its name, for the error messages.

    Returns
    -------
    values
        Under strings: numbers, strings, lists of both, and arrays of two axes and type uint8.
        Strings are bytes, as in Python 2; the arrays are read-only.

    Raises
    ------
    nn.io.FileFormatError
        If the file has an instruction or a name that CIFAR's files do not have, is truncated,
        goes on after its end or takes more than a million steps. The message says near which byte.

    Examples
    --------
    >>> read_pickle(b"\x80\x02}(U\x06labels](K\x03K\x05eu.", "batch")
    {b'labels': [3, 5]}
    >>> read_pickle(b"\x80\x02cos\nsystem\nU\x02ls\x85R.", "batch")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    nn.checks.FileFormatError: [read_pickle] 'batch' ... it names os.system, near byte 2.
    """
    machine = _Machine()
    try:
        machine.run(content)
        return machine.result()
    except Exception as error:  # a damaged file can make the steps fail in any way
        raise FileFormatError(
            f"[read_pickle] '{source}' is not a batch of CIFAR, and nothing in it was run: "
            f"{error}, near byte {machine.position:,}."
        ) from error


class _Array:
    """An array of bytes, created by one instruction and filled by another."""

    content: np.ndarray | None = None


class _Dtype:
    """The data type uint8."""


class _Machine(Machine):
    """Knows the three names in the files of CIFAR, and the two calls."""

    def step(self, name: str, argument: Any) -> None:
        """Execute one instruction; the strings are those of Python 2."""
        if name in ("SHORT_BINSTRING", "BINSTRING"):
            self.stack.append(argument.encode("latin-1"))
        else:
            super().step(name, argument)

    def find(self, name: str) -> Any:
        """Return a known name as it is."""
        return name if name in _NAMES else super().find(name)

    def call(self, function: Any, arguments: Any) -> "_Array | _Dtype":
        """Return what the two calls in these files would return."""
        if [function, arguments] == _NEW_ARRAY:
            return _Array()
        if [function, arguments] == _NEW_DTYPE:
            return _Dtype()
        raise ValueError("it calls a function that files of CIFAR do not call")

    def build(self, state: Any) -> None:
        """Fill the array on top. The state of a data type has no effect on bytes."""
        if self.stack and type(self.stack[-1]) is _Dtype:
            return
        array = self.top(_Array)
        if type(state) is not tuple or [*map(type, state)] != [int, tuple, _Dtype, bool, bytes]:
            raise ValueError("it fills an array with something other than bytes")
        version, shape, _, columns_first, content = state
        if version != 1 or len(shape) != 2 or set(map(type, shape)) != {int} or min(shape) < 1:
            raise ValueError("it fills an array of another shape than (rows, columns)")
        if math.prod(shape) != len(content):
            raise ValueError(f"it fills an array of shape {shape} with {len(content):,} bytes")
        values = np.frombuffer(content, np.uint8)
        array.content = values.reshape(shape, order="F" if columns_first else "C")

    def result(self) -> dict[bytes, Any]:
        """Return the dict that is left on the stack, with arrays of NumPy in it."""
        if self.below or len(self.stack) != 1:
            raise ValueError("it does not contain exactly one dict")
        values = self.top(dict)
        for key, value in values.items():
            if type(value) is _Array and value.content is not None:
                values[key] = value.content
            elif type(value) is list and set(map(type, value)) <= {int, bytes}:
                continue
            elif type(value) not in (int, bytes):
                raise ValueError(f"its value for {key!r} is of a type that CIFAR does not use")
        return values
