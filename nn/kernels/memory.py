"""Large arrays from memory that was used before.

A fresh large array costs more than filling it: the operating system hands out its pages one
by one, each zeroed first. Training makes arrays of the same sizes at every step, so blocks
that nobody holds any more are kept and given out again, as the caching allocators of PyTorch
and CuPy do. An array is never given out while anything still refers to it, a view included.
"""

import math
import os
import sys
import threading
from typing import Any

import numpy as np

from .. import cuda

# Smaller arrays come from the C library quickly enough.
_SMALLEST = 1 << 16
# How many times as large as an array the block may be that it gets.
_LOOSEST_FIT = 2
# Idle memory beyond what is in use that is kept for later, in bytes.
_KEPT = 1 << 26

_lock = threading.Lock()
_blocks: dict[int, list[np.ndarray]] = {}  # every block, in use or idle, by its size


def _references(blocks: list[np.ndarray], index: int) -> int:
    return sys.getrefcount(blocks[index])


# What `_references` counts for a block that only its list refers to; it depends on Python.
_IDLE = _references([np.empty(1, dtype=np.uint8)], 0)


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array of any content, as `numpy.empty` does.

    Examples
    --------
    >>> empty((2, 3), "float32").shape
    (2, 3)
    """
    dtype = np.dtype(dtype)
    count = math.prod(shape)
    size = count * dtype.itemsize
    if size < _SMALLEST:
        return np.empty(shape, dtype)
    with _lock:
        block = _idle_block(size)
        if block is None:
            _drop_idle_blocks()
            block = np.empty(size, dtype=np.uint8)
            _blocks.setdefault(size, []).append(block)
        return block[:size].view(dtype).reshape(shape)


def _idle_block(size: int) -> np.ndarray | None:
    """Return the smallest block that nobody holds and that is large enough, but not too large."""
    for found in sorted(s for s in _blocks if size <= s <= _LOOSEST_FIT * size):
        blocks = _blocks[found]
        for index in range(len(blocks)):
            if _references(blocks, index) == _IDLE:
                return blocks[index]
    return None


def empty_like(x: np.ndarray, dtype: Any = None) -> np.ndarray:
    """Return an array of x's shape, dtype and order of memory, as `numpy.empty_like` does.

    Examples
    --------
    >>> empty_like(np.zeros((2, 3)).T).strides
    (8, 24)
    """
    axes, back = cuda.memory_order(x)
    dtype = x.dtype if dtype is None else dtype
    return empty(tuple(x.shape[axis] for axis in axes), dtype).transpose(back)


def _drop_idle_blocks() -> None:
    """Give idle blocks back to the system, where they are more than what is in use."""
    idle = in_use = 0
    for size, blocks in _blocks.items():
        for index in range(len(blocks)):
            if _references(blocks, index) == _IDLE:
                idle += size
            else:
                in_use += size
    if idle <= in_use + _KEPT:
        return
    for size in list(_blocks):
        blocks = _blocks[size]
        _blocks[size] = [
            blocks[index] for index in range(len(blocks)) if _references(blocks, index) != _IDLE
        ]
        if not _blocks[size]:
            del _blocks[size]


def _forget_lock() -> None:
    """After a fork, nobody in the child holds the lock."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)
