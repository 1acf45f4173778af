"""A caching allocator: large arrays from memory that was used before.

A fresh large array costs more than filling it: the operating system provides its pages one by
one, each zeroed first. Training allocates arrays of the same sizes at every step, so memory that
is no longer used is cached and reused, as in the caching allocators of PyTorch and CuPy. It comes
in buffers; a buffer that is larger than needed is split in two, and the two are merged again when
both are idle.

The allocator takes no lock and keeps no counts. A buffer is idle while it is a key of `_idle`.
`dict.pop` removes it, for one caller only, and it comes back when the array that was made of it,
and every view of that array, is gone: all of them refer to one `_Owner`, and the weak reference
to the owner calls `dict.setdefault`. Each of these steps is a single call into C, so there is no
moment between two instructions at which a buffer is both idle and in use. An exception (Ctrl-C at
any instruction, a signal handler or a finalizer that allocates, a fork) can only lose a buffer
that has been removed, and a lost buffer is freed like any other object. The weak reference runs
no Python code, so it cannot swallow a KeyboardInterrupt as `__del__` would.
"""

import functools
import math
import weakref
from operator import attrgetter
from typing import Any

import numpy as np

from ... import cuda

# Smaller arrays come from the C library quickly enough.
_SMALLEST = 1 << 16
# Idle memory that is kept when more memory is requested from the system, in bytes.
_KEPT = 1 << 26
_CACHE_LINE = 64  # sizes of buffers are multiples of it, in bytes


class _Buffer:
    """Memory for one array at a time; `parent` is the buffer that it is a part of, if any."""

    __slots__ = ("__weakref__", "interface", "memory", "parent", "sibling", "size")

    def __init__(self, memory: np.ndarray, parent: "_Buffer | None" = None):
        self.memory: np.ndarray | None = memory
        self.size = memory.size
        self.interface = memory.__array_interface__
        self.parent = parent
        self.sibling: weakref.ref[_Buffer] | None = None  # the other part of the parent

    def halves(self) -> set["_Buffer"]:
        """Return this part of its parent and the other one, if that still exists."""
        sibling = self.sibling() if self.sibling is not None else None
        return {self} if sibling is None else {self, sibling}


class _Owner:
    """The base of an array and of all its views: it dies with the last of them."""

    __slots__ = ("__array_interface__", "__weakref__", "buffer", "on_death")
    __array_interface__: dict[str, Any]
    buffer: _Buffer
    on_death: weakref.ref


_idle: dict[_Buffer, Any] = {}  # the oldest first; the values mean nothing


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array of any content, as `numpy.empty` does.

    Examples
    --------
    >>> empty((2, 3), "float32").shape
    (2, 3)
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < _SMALLEST:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, _use(_find(-(-size // _CACHE_LINE) * _CACHE_LINE)))


def empty_like(x: np.ndarray, dtype: Any = None) -> np.ndarray:
    """Return an array of x's shape, dtype and order of memory, as `numpy.empty_like` does.

    Examples
    --------
    >>> empty_like(np.zeros((2, 3)).T).strides
    (8, 24)
    """
    dtype = x.dtype if dtype is None else np.dtype(dtype)
    if x.size * dtype.itemsize < _SMALLEST:
        return np.empty_like(x, dtype, subok=False)
    axes, back = cuda.memory_order(x)
    return empty(tuple([x.shape[axis] for axis in axes]), dtype).transpose(back)


def _use(buffer: _Buffer) -> np.ndarray:
    """Return the buffer as an array of bytes; the buffer is idle once nothing refers to it."""
    owner = _Owner()
    owner.buffer = buffer
    owner.__array_interface__ = buffer.interface
    owner.on_death = weakref.ref(owner, functools.partial(_idle.setdefault, buffer))
    return np.asarray(owner)


def _find(size: int) -> _Buffer:
    """Return a buffer of at least this size that belongs to the caller alone."""
    buffer = _take(size)
    if buffer is None:
        _merge()
        buffer = _take(size)
    if buffer is None:
        _free_excess()
        return _Buffer(np.empty(size, np.uint8))
    return buffer if buffer.size - size < _SMALLEST else _split(buffer, size)


def _take(size: int) -> _Buffer | None:
    """Remove the smallest idle buffer of at least this size, and return it."""
    while True:
        # Of buffers of the same size the latest: its content may still be in the processor's cache.
        fitting = [buffer for buffer in reversed(list(_idle)) if buffer.size >= size]
        if not fitting:
            return None
        buffer = min(fitting, key=attrgetter("size"))
        if _idle.pop(buffer, None) is not None:  # else another thread has taken it
            return buffer


def _split(buffer: _Buffer, size: int) -> _Buffer:
    """Return a buffer of this size, the first part of another; the second part becomes idle."""
    memory = _use(buffer)  # until both parts are freed
    first, second = _Buffer(memory[:size], buffer), _Buffer(memory[size:], buffer)
    first.sibling, second.sibling = weakref.ref(second), weakref.ref(first)
    _idle[second] = True
    return first


def _merge() -> None:
    """Free the parts of a buffer when both are idle; the buffer itself then becomes idle."""
    part: _Buffer | None
    for part in list(_idle):
        while part is not None and part.parent is not None:
            halves = part.halves()
            if not _idle.keys() >= halves:
                break
            for half in halves:
                if _idle.pop(half, None) is not None:
                    half.memory = None  # the list above still refers to the buffer
            part = part.parent


def _free_excess() -> None:
    """Return idle memory beyond `_KEPT` to the system, the largest buffers first."""
    whole = [buffer for buffer in list(_idle) if buffer.parent is None]
    whole.sort(key=attrgetter("size"))
    total = sum(buffer.size for buffer in whole)
    while total > _KEPT:
        largest = whole.pop()
        total -= largest.size
        _idle.pop(largest, None)
