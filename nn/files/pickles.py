"""Read pickles without running anything in them.

A pickle is a program: `pickle.load` calls any function that a file names, so a file from a
stranger can do anything. `pickletools.genops` in Python's library splits a pickle into its
instructions and runs none of them. The `Machine` below puts numbers, strings, lists, dicts and
tuples on a stack, and calls nothing; a subclass decides which names it knows, and what an
object of such a name is replaced by.
"""

import pickletools
from itertools import islice
from typing import Any

__all__ = ["Machine"]

_MAX_STEPS = 1_000_000  # four times as many as the largest of CIFAR's files has
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


class Machine:
    """The stack, the stacks below the marks, and the numbered values, while a file is read.

    Attributes
    ----------
    position : int
        Of the instruction that is executed, in bytes.
    """

    #: Types of the keys of a dict. Computing the hash of nested tuples can take forever.
    keys: tuple[type, ...] = (bytes,)

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.numbered: dict[int, Any] = {}
        self.position = 0

    def run(self, content: bytes) -> None:
        """Execute the instructions of a pickle of protocol 2.

        Raises
        ------
        ValueError
            For an instruction or a name that the machine does not know, a pickle that goes on
            after its end or takes more than a million steps; other exceptions for one that is
            damaged.
        """
        name = ""
        if content[:2] != b"\x80\x02":
            raise ValueError("it does not begin as a pickle of protocol 2 does")
        for opcode, argument, place in islice(pickletools.genops(content), 1, _MAX_STEPS):
            self.position, name = place or 0, opcode.name
            if name != "STOP":
                self.step(name, argument)
        if name != "STOP":
            raise ValueError(f"it takes more than {_MAX_STEPS:,} steps")
        if self.position + 1 < len(content):
            raise ValueError("it goes on after its end")

    def step(self, name: str, argument: Any) -> None:
        """Execute one instruction; raise for one that is not known."""
        stack = self.stack
        match name:
            case "BININT" | "BININT1" | "BININT2":
                stack.append(argument)
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
                stack.append(self.find(argument))
            case "REDUCE":
                function, arguments = self.pop(2)
                stack.append(self.call(function, arguments))
            case "BUILD":
                self.build(*self.pop(1))
            case _:
                raise ValueError(f"it has the instruction {name}")

    def find(self, name: str) -> Any:
        """Return what a name, 'module name', is replaced by."""
        raise ValueError(f"it names {name.replace(' ', '.')}")

    def call(self, function: Any, arguments: Any) -> Any:
        """Return what a call is replaced by; `function` is what `find` returned."""
        raise ValueError("it calls a function")

    def build(self, state: Any) -> None:
        """Set the state of the object on top of the stack."""
        raise ValueError("it sets the state of an object")

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
        if set(map(type, keys)) - set(self.keys):
            raise ValueError("it has a dict with keys other than strings")
        self.top(dict).update(zip(keys, values, strict=True))
