r"""Read the pickles of CIFAR without running anything in them.

A pickle is a program: `pickle.load` calls any function that a file names, so a file from a
stranger can do anything. The batches of CIFAR are such files, written by Python 2 and an early
NumPy. `pickletools.genops` in Python's library splits a pickle into its instructions and runs
none of them. The machine below knows the few instructions that these files consist of: it puts
numbers, strings, lists, dicts and tuples on a stack, compares the three names in them with those
it knows, and calls nothing.
"""

import math
import os
import pickletools
from itertools import islice
from typing import Any

import numpy as np

from ...checks import FileFormatError

_MAX_STEPS = 1_000_000  # four times as many as the largest file has
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}

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
    machine, position, name = _Machine(), 0, ""
    try:
        if content[:2] != b"\x80\x02":
            raise ValueError("it does not begin as a pickle of protocol 2 does")
        for opcode, argument, place in islice(pickletools.genops(content), 1, _MAX_STEPS):
            position, name = place or 0, opcode.name
            if name != "STOP":
                machine.step(name, argument)
        if name != "STOP":
            raise ValueError(f"it takes more than {_MAX_STEPS:,} steps")
        if position + 1 < len(content):
            raise ValueError("it goes on after its end")
        return machine.result()
    except Exception as error:  # a damaged file can make the steps fail in any way
        raise FileFormatError(
            f"[read_pickle] '{source}' is not a batch of CIFAR, and nothing in it was run: "
            f"{error}, near byte {position:,}."
        ) from error


class _Array:
    """An array of bytes, created by one instruction and filled by another."""

    content: np.ndarray | None = None


class _Dtype:
    """The data type uint8."""


class _Machine:
    """The stack, the stacks below the marks, and the numbered values, while a file is read."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.numbered: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Execute one instruction; raise for one that the files of CIFAR do not have."""
        stack = self.stack
        match name:
            case "BININT" | "BININT1" | "BININT2":
                stack.append(argument)
            case "SHORT_BINSTRING" | "BINSTRING":
                stack.append(argument.encode("latin-1"))
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append(_CONSTANTS[name])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "MARK":
                self.below.append(stack)
                self.stack = []
            case "BINPUT" | "LONG_BINPUT":
                self.numbered[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                if argument not in self.numbered:
                    raise ValueError(f"it asks for number {argument}, which it has not stored")
                stack.append(self.numbered[argument])
            case "APPEND":
                self.extend(self.pop(1))
            case "APPENDS":
                self.extend(self.pop_to_mark())
            case "SETITEM":
                self.update(self.pop(2))
            case "SETITEMS":
                self.update(self.pop_to_mark())
            case "TUPLE":
                values = tuple(self.pop_to_mark())
                self.stack.append(values)  # not `stack`: that of the mark is gone
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self.pop(int(name[-1]))))
            case "GLOBAL":
                if argument not in _NAMES:
                    raise ValueError(f"it names {argument.replace(' ', '.')}")
                stack.append(argument)
            case "REDUCE":
                stack.append(_call_result(self.pop(2)))
            case "BUILD":
                self.build(*self.pop(1))
            case _:
                raise ValueError(f"it has the instruction {name}")

    def pop(self, count: int) -> list[Any]:
        """Return the topmost values in their order, and remove them from the stack."""
        if len(self.stack) < count:
            raise ValueError("it takes more from the stack than there is")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def pop_to_mark(self) -> list[Any]:
        """Return all values above the last mark, and remove them and the mark."""
        if not self.below:
            raise ValueError("it needs a mark and there is none")
        values, self.stack = self.stack, self.below.pop()
        return values

    def top(self, kind: type) -> Any:
        """Return the topmost value, which must be of this type."""
        if not self.stack or type(self.stack[-1]) is not kind:
            raise ValueError(f"it needs a {kind.__name__.strip('_')} on the stack")
        return self.stack[-1]

    def extend(self, values: list[Any]) -> None:
        """Append to the list on top."""
        self.top(list).extend(values)

    def update(self, values: list[Any]) -> None:
        """Set items of the dict on top: key, value, key, value ..."""
        keys, values = values[::2], values[1::2]
        if set(map(type, keys)) - {bytes}:  # computing the hash of nested tuples can take forever
            raise ValueError("it has a dict with keys other than strings")
        self.top(dict).update(zip(keys, values, strict=True))

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


def _call_result(call: list[Any]) -> _Array | _Dtype:
    """Return what the two calls in these files would return."""
    if call == _NEW_ARRAY:
        return _Array()
    if call == _NEW_DTYPE:
        return _Dtype()
    raise ValueError("it calls a function that files of CIFAR do not call")
