"""Matrices copied once as panels of adjacent columns, and products with them in a compiled loop."""

import numpy as np
from numba.extending import overload

from ...geometry import Array
from .. import memory, threads
from ..compiler import compile_kernel
from .sharing import grain_for
from .vectors import matrix_block, multiply_block

# As many columns as fill a panel of two vectors, on processors with registers for two.
_MANY = 1 << 10


def multiply(a, start, step, count, panels, k, bias, c):
    """Write bias + A B to c (count, columns); Numba compiles `_multiplication` in its place.

    A (count, k) begins at `start` in a, a row each `step` numbers; B (k, columns) is in `panels`.
    """
    raise NotImplementedError


@overload(multiply, jit_options={"error_model": "numpy"})
def _multiplication(a, start, step, count, panels, k, bias, c):
    rows, vectors, lanes = matrix_block(_MANY, a.dtype.name)
    width = vectors * lanes

    def multiply(a, start, step, count, panels, k, bias, c):
        columns = bias.size
        for column in range(0, columns, width):
            if count < rows:
                for row in range(count):
                    multiply_block(
                        1, vectors, lanes, a, (step, 0, 1), panels, (0, width), (1, k),
                        bias, 0, c, columns,
                        (start + row * step, column * k, column, row * columns + column),
                    )  # fmt: skip
            else:
                for block in range(0, count, rows):
                    row = min(block, count - rows)  # the last block may overlap the one before
                    multiply_block(
                        rows, vectors, lanes, a, (step, 0, 1), panels, (0, width), (1, k),
                        bias, 0, c, columns,
                        (start + row * step, column * k, column, row * columns + column),
                    )  # fmt: skip

    return multiply


def as_panels(matrix: Array) -> tuple[Array, int]:
    """Return a matrix (k, n) as panels of adjacent columns, flat, and n with those of zeros."""
    _, vectors, lanes = matrix_block(_MANY, matrix.dtype)
    (k, n), width = matrix.shape, vectors * lanes
    count = -(-n // width)
    panels = np.zeros((count, k, width), matrix.dtype)
    whole = n // width
    # (k, panels * width) -> (panels, k, width)
    panels[:whole] = matrix[:, : whole * width].reshape(k, whole, width).transpose(1, 0, 2)
    if count > whole:
        panels[whole, :, : n - whole * width] = matrix[:, whole * width :]
    return panels.ravel(), count * width


@compile_kernel
def _copy_kernels(w, panels, groups, part, lo, hi):
    """Copy the channels lo..hi of w (C/G, KH, KW, F) into panels (G*P, KH, KW, C/G, width)."""
    count, kh, kw, _, width = panels.shape
    f, of_group = w.shape[3] // groups, count // groups
    for at in range(count):
        group, panel = divmod(at, of_group)
        first, filters = group * f + panel * width, min(width, f - panel * width)
        for channel in range(lo, hi):
            for i in range(kh):
                for j in range(kw):
                    target = panels[at, i, j, channel]
                    for k in range(filters):
                        target[k] = w[channel, i, j, first + k]
                    target[filters:] = 0


def kernel_panels(w: Array, groups: int, width: int) -> Array:
    """Return kernels (F, C/G, KH, KW) as panels of `width` filters, (G*P, KH, KW, C/G, width).

    The last panel of each group ends in zeros. The numbers of a panel are adjacent: filters that
    are a power of two apart in memory would compete for few places of the cache.
    """
    f, c, kh, kw = w.shape
    panels = memory.empty((groups * -(-f // groups // width), kh, kw, c, width), w.dtype)
    # (F, C, KH, KW) -> (C, KH, KW, F): of the same kind for Numba if w is a flipped view.
    w = w.transpose(1, 2, 3, 0)
    threads.run(_copy_kernels, c, w, panels, groups, grain=grain_for(f * kh * kw))
    return panels
