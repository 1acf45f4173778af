"""Large arrays from memory that was used before.

A fresh large array costs more than filling it: the operating system hands out its pages one
by one, each zeroed first. Training makes arrays of the same sizes at every step, so memory that
nobody uses any more is kept and given out again, as the caching allocators of PyTorch and CuPy
do it: in blocks, which are cut into pieces, one for an array. A piece is never given out while
anything still refers to it, a view included.
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
# Idle memory beyond what is in use that is kept for later, in bytes.
_KEPT = 1 << 26
_CACHE_LINE = 64  # pieces begin at a multiple of it, in bytes


class _Piece:
    """Bytes of a block, from `start` on."""

    def __init__(self, start: int, content: np.ndarray):
        self.start, self.content, self.end = start, content, start + content.size

    def references(self) -> int:
        return sys.getrefcount(self.content)


# What a piece counts that nobody uses; it depends on Python.
_IDLE = _Piece(0, np.empty(1, dtype=np.uint8)).references()


class _Block:
    """Memory from the system, and the pieces that it was cut into, in order."""

    def __init__(self, size: int):
        self.memory = np.empty(size, dtype=np.uint8)
        self.pieces: list[_Piece] = []

    def in_use(self) -> int:
        used = (piece for piece in self.pieces if piece.references() != _IDLE)
        return sum(piece.content.size for piece in used)

    def gaps(self) -> list[tuple[int, int]]:
        """Return (size, start) of what lies free between the pieces in use."""
        found, start = [], 0
        for piece in self.pieces:
            if piece.references() != _IDLE:
                found.append((piece.start - start, start))
                start = -(-piece.end // _CACHE_LINE) * _CACHE_LINE
        return [*found, (self.memory.size - start, start)]

    def cut(self, start: int, size: int) -> _Piece:
        """Return a new piece, in the place of the idle ones there."""
        for piece in [p for p in self.pieces if p.start < start + size and start < p.end]:
            self.discard(piece)
        # Through a memoryview of its own, so that views of the piece refer to it, not to the block.
        piece = _Piece(start, np.frombuffer(self.memory.data[start : start + size], np.uint8))
        self.pieces.append(piece)
        self.pieces.sort(key=lambda piece: piece.start)
        _pieces.setdefault(size, []).append(piece)
        return piece

    def discard(self, piece: _Piece) -> None:
        """Forget a piece that nobody uses; its bytes can go into others."""
        self.pieces.remove(piece)
        same_size = _pieces[piece.content.size]
        same_size.remove(piece)
        if not same_size:
            del _pieces[piece.content.size]


_lock = threading.Lock()
_blocks: list[_Block] = []
_pieces: dict[int, list[_Piece]] = {}  # those of all blocks, by size


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
    with _lock:
        return _idle_piece(size).content.view(dtype).reshape(shape)


def _idle_piece(size: int) -> _Piece:
    """Return a piece that nobody uses: one of this size, or cut anew from where it fits best."""
    for piece in _pieces.get(size, ()):
        if piece.references() == _IDLE:
            return piece
    fitting = [(gap, start, block) for block in _blocks for gap, start in block.gaps()]
    fitting = [found for found in fitting if found[0] >= size]
    if fitting:
        _, start, block = min(fitting, key=lambda found: found[0])
        return block.cut(start, size)
    _drop_idle_blocks()
    _blocks.append(_Block(size))
    return _blocks[-1].cut(0, size)


def _drop_idle_blocks() -> None:
    """Give idle blocks back to the system, where they are more than what is in use."""
    in_use = {block: block.in_use() for block in _blocks}
    idle = [block for block in _blocks if not in_use[block]]
    if sum(block.memory.size for block in idle) <= sum(in_use.values()) + _KEPT:
        return
    for block in idle:
        for piece in list(block.pieces):
            block.discard(piece)
        _blocks.remove(block)


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


def _forget_lock() -> None:
    """After a fork, nobody in the child holds the lock."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)
