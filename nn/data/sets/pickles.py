r"""Pickles: what the Python files of CIFAR hold, read without running any of it.

A pickle is a program: `pickle.load` calls whatever functions a file names, and so a file from
elsewhere can do anything. The batches of CIFAR are such files, written by Python 2 and an
early NumPy. This reader knows the few instructions that they consist of and no others. The
three names that they mention are compared, never imported; nothing is called.

A machine works off the instructions, one byte each with what belongs to it, on a stack:

    \x80\x02                    pickle protocol 2
    } ] (                       put an empty dict, an empty list, or a mark on the stack
    K M J N \x88 \x89           put a number of 1, 2 or 4 bytes there, None, True, False
    U T                         put a string there, its length in 1 or 4 bytes
    q r h j                     keep the top of the stack under a number; put it there again
    a e s u                     append to a list, set in a dict: one thing, or all since the mark
    t \x85 \x86 \x87            make a tuple of all since the mark, of one, two or three
    c R b                       name a function, call it, set the state of what it gave
    .                           end

What `pickletools` in Python's library says about them is the description followed here.
"""

import math
import os
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

from ...checks import FileFormatError

_MAX_STEPS = 1_000_000  # four times what the largest file takes
_OPCODES = {opcode.code: opcode.name for opcode in pickletools.opcodes}


class Name:
    """A name that these files mention; it stands for nothing but itself."""


class Dtype:
    """What the files make of the name numpy.dtype: always the type uint8."""


class Array:
    """What the files make of numpy.core.multiarray._reconstruct: an array, filled later."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None


_RECONSTRUCT, _NDARRAY, _DTYPE = Name(), Name(), Name()
_NAMES = {
    (b"numpy.core.multiarray", b"_reconstruct"): _RECONSTRUCT,
    (b"numpy", b"ndarray"): _NDARRAY,
    (b"numpy", b"dtype"): _DTYPE,
}

# What may lie in what. It also bounds the depth: no list, dict or array is inside of a list,
# no dict inside of a dict, and a tuple inside of a tuple holds numbers alone (`make_tuple`).
_IN_LISTS = {int, bytes}
_IN_DICTS = {int, bytes, list, Array}
_PLAIN = {int, bytes, type(None)}
_IN_TUPLES = {int, bytes, bool, type(None), tuple, Name, Dtype}


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
        Strings are bytes, as in Python 2; the arrays cannot be written to.

    Raises
    ------
    nn.io.FileFormatError
        For an instruction or a name that these files do not hold, one out of place, a file that
        is truncated, goes on after its end or takes more than a million steps. The message
        says at which byte.

    Examples
    --------
    >>> read_pickle(b"\x80\x02}(U\x06labels](K\x03K\x05eu.", "batch")
    {b'labels': [3, 5]}
    >>> read_pickle(b"\x80\x02cos\nsystem\nU\x02ls\x85R.", "batch")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    nn.checks.FileFormatError: [read_pickle] 'batch' ... it names os.system, at byte 2.
    """
    return _Machine(content, source).run()


class _Machine:
    """The stack, the marks on it and what is kept, while a file is worked off."""

    def __init__(self, content: bytes, source: str | os.PathLike) -> None:
        self.content, self.source = content, source
        self.position = 0  # of the next byte
        self.step_position = 0  # of the instruction under way, for errors
        self.stack: list[Any] = []
        self.marks: list[int] = []  # heights of the stack
        self.kept: dict[int, Any] = {}

    def run(self) -> dict[bytes, Any]:
        """Work off the file to its end."""
        if self.take(2) != b"\x80\x02":
            raise self.refusal("it does not begin as a pickle of protocol 2 does")
        for _ in range(_MAX_STEPS):
            self.step_position = self.position
            code = self.take(1)
            if code == b".":
                return self.result()
            step = _STEPS.get(code)
            if step is None:
                name = _OPCODES.get(code.decode("latin-1"), repr(code))
                raise self.refusal(f"it holds the instruction {name}")
            step(self)
        raise self.refusal(f"it takes more than {_MAX_STEPS:,} steps")

    def result(self) -> dict[bytes, Any]:
        """Return the dict that must be all there is on the stack."""
        if self.position < len(self.content):
            raise self.refusal("it goes on after its end")
        if self.marks or len(self.stack) != 1 or type(self.stack[0]) is not dict:
            raise self.refusal("it does not end with one dict")
        values = self.stack[0]
        for key, value in values.items():
            if type(value) is Array:
                if value.value is None:
                    raise self.refusal(f"its array {key!r} has no content")
                values[key] = value.value
        return values

    def refusal(self, what: str) -> FileFormatError:
        """Return the error for the instruction under way, for the caller to raise."""
        return FileFormatError(
            f"[read_pickle] '{self.source}' is not a batch of CIFAR, and nothing in it was run: "
            f"{what}, at byte {self.step_position:,}."
        )

    # ------------------------------------------------------------- reading, and the stack

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        taken = self.content[self.position : self.position + size]
        if len(taken) < size:
            raise self.refusal(
                f"it is truncated: {size:,} more bytes should follow, {len(taken):,} do"
            )
        self.position += size
        return taken

    def take_line(self) -> bytes:
        end = self.content.find(b"\n", self.position, self.position + 100)
        if end < 0:
            raise self.refusal("a name in it does not end")
        return self.take(end + 1 - self.position)[:-1]

    def take_number(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def take_string(self, size_of_length: int) -> bytes:
        length = self.take_number(size_of_length, signed=size_of_length == 4)
        if length < 0:
            raise self.refusal(f"a string in it has the length {length}")
        return self.take(length)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, count: int) -> list[Any]:
        """Return the topmost things in their order, and take them from the stack."""
        start = len(self.stack) - count
        if start < (self.marks[-1] if self.marks else 0):
            raise self.refusal("it takes more from the stack than there is")
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def pop_to_mark(self) -> list[Any]:
        if not self.marks:
            raise self.refusal("it looks for a mark and there is none")
        values = self.pop(len(self.stack) - self.marks[-1])
        self.marks.pop()
        return values

    def top(self, kinds: tuple[type, ...]) -> Any:
        """Return what is on top, which must be of one of these kinds, and leave it there."""
        value = self.pop(1)[0]
        if type(value) not in kinds:
            names = " or ".join(kind.__name__ for kind in kinds)
            raise self.refusal(
                f"it needs a {names} where it has a {type(value).__name__.strip('_')}"
            )
        self.push(value)
        return value

    def check(self, values: list[Any], allowed: set[type], place: str) -> None:
        """Refuse values of types that these files do not hold in such a place."""
        for kind in set(map(type, values)) - allowed:
            raise self.refusal(f"it puts a value of type {kind.__name__} into a {place}")

    # ----------------------------------------------------------------------- instructions

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def keep(self, size: int) -> None:
        number, (value,) = self.take_number(size), self.pop(1)
        self.kept[number] = value
        self.push(value)

    def recall(self, size: int) -> None:
        number = self.take_number(size)
        if number not in self.kept:
            raise self.refusal(f"it asks for number {number}, which it has not kept")
        self.push(self.kept[number])

    def extend(self, values: list[Any]) -> None:
        """Append to the list on top."""
        self.check(values, _IN_LISTS, "list")
        self.top((list,)).extend(values)

    def update(self, values: list[Any]) -> None:
        """Set in the dict on top: key, value, key, value ..."""
        keys, values = values[::2], values[1::2]
        if len(keys) != len(values):
            raise self.refusal("it has a key without a value")
        self.check(keys, {bytes}, "dict as a key")
        self.check(values, _IN_DICTS, "dict")
        self.top((dict,)).update(zip(keys, values, strict=True))

    def make_tuple(self, values: list[Any]) -> None:
        self.check(values, _IN_TUPLES, "tuple")
        for value in values:
            if type(value) is tuple:
                self.check(list(value), {int}, "tuple inside of a tuple")
        self.push(tuple(values))

    def name(self) -> None:
        """Push one of the three names, which these bytes are compared with."""
        module, name = self.take_line(), self.take_line()
        if (module, name) not in _NAMES:
            raise self.refusal(f"it names {(module + b'.' + name).decode('ascii', 'replace')}")
        self.push(_NAMES[module, name])

    def call(self) -> None:
        """Push what the two functions would return for the arguments that the files give."""
        function, arguments = self.pop(2)
        if function is _RECONSTRUCT and arguments == (_NDARRAY, (0,), b"b"):
            self.push(Array())
        elif function is _DTYPE and arguments == (b"u1", 0, 1):
            self.push(Dtype())
        else:
            raise self.refusal("it calls something other than an array of bytes takes")

    def build(self) -> None:
        """Fill the array on top, or set the state of the type: how its bytes lie in memory.

        One byte can lie in one way alone, so nothing comes of the latter.
        """
        (state,) = self.pop(1)
        target = self.top((Dtype, Array))
        if type(target) is Array:
            target.value = self.filled(state)
        elif type(state) is not tuple or not _PLAIN.issuperset(map(type, state)):
            raise self.refusal("it makes another type than uint8")

    def filled(self, state: Any) -> np.ndarray:
        """Return the array of a state: version, shape, type, whether columns come first, bytes."""
        kinds = [int, tuple, Dtype, bool, bytes]
        if type(state) is not tuple or [type(part) for part in state] != kinds:
            raise self.refusal("it fills an array with something else than bytes")
        version, shape, _, columns_first, content = state
        if version != 1 or len(shape) != 2 or min(shape) < 1 or math.prod(shape) != len(content):
            raise self.refusal(
                f"it fills an array of shape {shape[:3]} with {len(content):,} bytes"
            )
        pixels = np.frombuffer(content, np.uint8)
        return pixels.reshape(shape, order="F" if columns_first else "C")


_STEPS: dict[bytes, Callable[[_Machine], None]] = {
    b"}": lambda machine: machine.push({}),
    b"]": lambda machine: machine.push([]),
    b"(": _Machine.mark,
    b"K": lambda machine: machine.push(machine.take_number(1)),
    b"M": lambda machine: machine.push(machine.take_number(2)),
    b"J": lambda machine: machine.push(machine.take_number(4, signed=True)),
    b"N": lambda machine: machine.push(None),
    b"\x88": lambda machine: machine.push(True),
    b"\x89": lambda machine: machine.push(False),
    b"U": lambda machine: machine.push(machine.take_string(1)),
    b"T": lambda machine: machine.push(machine.take_string(4)),
    b"q": lambda machine: machine.keep(1),
    b"r": lambda machine: machine.keep(4),
    b"h": lambda machine: machine.recall(1),
    b"j": lambda machine: machine.recall(4),
    b"a": lambda machine: machine.extend(machine.pop(1)),
    b"e": lambda machine: machine.extend(machine.pop_to_mark()),
    b"s": lambda machine: machine.update(machine.pop(2)),
    b"u": lambda machine: machine.update(machine.pop_to_mark()),
    b"t": lambda machine: machine.make_tuple(machine.pop_to_mark()),
    b"\x85": lambda machine: machine.make_tuple(machine.pop(1)),
    b"\x86": lambda machine: machine.make_tuple(machine.pop(2)),
    b"\x87": lambda machine: machine.make_tuple(machine.pop(3)),
    b"c": _Machine.name,
    b"R": _Machine.call,
    b"b": _Machine.build,
}
