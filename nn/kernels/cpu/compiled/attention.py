"""Attention without its weights in memory: scores, softmax and products of some rows at a time.

A head of a sample is computed by one thread. Its queries, keys and values are copied side by side,
and a few rows of scores at a time stay in the processor's cache until they are used up; this is the
idea of "FlashAttention" (Dao et al. 2022, arXiv 2205.14135). With `causal` the products stop where
the last row of the block does.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import overload

from ...geometry import Array
from .. import memory, threads
from ..compiler import compile_kernel
from .functions import functions
from .vectors import block_columns, even_rows, multiply_block

_ROWS = 8  # of scores that are computed at a time in the forward pass
_WIDE = 32  # scores of a row that are computed at a time, whole vectors of any processor
_GAP = 16  # numbers between rows, which would compete for the cache a power of two apart
_BAND = 32  # rows of scores that are kept at a time in the backward pass
_GRAIN = 1 << 20  # multiplications that are worth a second thread


def _exp(x):
    """Return e^x, and 0 where it is next to nothing. Numba compiles `_exp_of`."""
    raise NotImplementedError


@overload(_exp, jit_options={"forceinline": True, "error_model": "numpy"})
def _exp_of(x):
    """Return the function to compile in place of `_exp`.

    A processor takes a hundred times as long for results below its smallest normal number.
    """
    exp, select = functions(x.name)["exp"], functions(x.name)["select"]
    real = np.dtype(x.name).type
    lowest, zero = real(0.9 * math.log(np.finfo(real).tiny)), real(0)
    return lambda x: select(x < lowest, zero, exp(select(x < lowest, lowest, x)))


def _multiply(vectors, lanes, rows, a, a_steps, b, b_step, counts, d, c, c_step, starts):
    """Multiply rows of A by B. Numba compiles `_multiplication`."""
    raise NotImplementedError


@overload(_multiply, prefer_literal=True, jit_options={"error_model": "numpy"})
def _multiplication(vectors, lanes, rows, a, a_steps, b, b_step, counts, d, c, c_step, starts):
    """Return the function to compile in place of `_multiply`.

    It computes C = D + A B for `rows` rows, a multiple of `_ROWS`. A has steps to the next row and
    column, B and C to the next row. `counts` are the columns of A and of C, and `starts` where A, D
    and C begin. D has the steps of C, or is a row of zeros, as long as those of C, that begins at
    -1.
    """
    size = vectors.literal_value, lanes.literal_value
    width, block = size[0] * size[1], even_rows(size[0])

    def multiply(vectors, lanes, rows, a, a_steps, b, b_step, counts, d, c, c_step, starts):
        d_step, d_start = (0, 0) if starts[1] < 0 else (c_step, starts[1])
        for column in range(0, counts[1], width):
            for top in range(0, rows, block):
                a_start, c_start = starts[0] + top * a_steps[0], starts[2] + top * c_step
                multiply_block(
                    block, size[0], size[1], a, (a_steps[0], 0, a_steps[1]), b, (0, b_step),
                    (1, counts[0]), d, d_step, c, c_step,
                    (a_start, column, d_start + top * d_step + column, c_start + column),
                )  # fmt: skip

    return multiply


@compile_kernel
def _copy_rows(x, n, part, h, scale, rows, step):
    """Copy queries, keys or values x (N, T, 3, H, K) of a head to rows that are `step` apart."""
    for i in range(x.shape[1]):
        source, target = x[n, i, part, h], rows[i * step :]
        for j in range(source.size):
            target[j] = source[j] * scale


@compile_kernel
def _copy_columns(x, n, part, h, columns, step):
    """Copy keys or values x (N, T, 3, H, K) of a head to columns, in rows that are `step` apart."""
    t, size = x.shape[1], x.shape[4]
    for first in range(0, t, 16):  # rows that stay in the cache
        for j in range(size):
            target = columns[j * step :]
            for i in range(first, min(first + 16, t)):
                target[i] = x[n, i, part, h, j]


@compile_kernel
def _write_rows(rows, step, scale, x, n, first, part, h):
    """Copy rows that are `step` apart to the steps of x from the first on, as many as there are."""
    for i in range(first, min(x.shape[1], first + rows.size // step)):
        source, target = rows[(i - first) * step :], x[n, i, part, h]
        for j in range(target.size):
            target[j] = source[j] * scale


def _largest(row):
    """Return the largest number of a row, NaN if there is one. Numba compiles `_largest_of`."""
    raise NotImplementedError


@overload(_largest, jit_options={"error_model": "numpy"})
def _largest_of(row):
    """Return the function to compile in place of `_largest`.

    It compares whole numbers: the bits of a float, all but the sign inverted if it is negative, are
    in the same order. LLVM computes the largest of those with vectors, and that of floats without.
    """
    real = np.dtype(row.dtype.name).type
    bits = np.dtype(f"i{np.dtype(real).itemsize}").type
    shift, rest = row.dtype.bitwidth - 1, np.iinfo(bits).max

    def largest(row):
        numbers = row.view(bits)
        most = numbers[0] ^ ((numbers[0] >> shift) & rest)
        for j in range(row.size // _WIDE * _WIDE):
            most = max(most, numbers[j] ^ ((numbers[j] >> shift) & rest))
        return bits(most ^ ((most >> shift) & rest)).view(real)

    return largest


@compile_kernel
def _hide(row, first, is_masked, there):
    """Set the scores of steps from the first hidden one on, and of masked ones, to -infinity."""
    row[first:] = -np.inf
    if is_masked:
        for j in range(first):
            if not there[j]:
                row[j] = -np.inf


@compile_kernel
def _drop(row, kept, grow):
    """Set the numbers that dropout drops to 0, and multiply the others."""
    zero = row.dtype.type(0)
    for j in range(min(row.size, kept.size)):
        row[j] *= grow if kept[j] else zero


@compile_kernel
def _exponentials(row, largest):
    """Replace scores by the exponentials of their differences to the largest; return the sum."""
    total = row.dtype.type(0)
    for j in range(row.size // _WIDE * _WIDE):
        row[j] = _exp(row[j] - largest)
        total += row[j]
    return total


@compile_kernel
def _softmax_grad(scores, largest, factor, grad):
    """Replace scores by the weights, and the gradient for the weights by that for the scores."""
    mean = scores.dtype.type(0)
    for j in range(scores.size // _WIDE * _WIDE):
        weight = _exp(scores[j] - largest) * factor
        mean += weight * grad[j]
        scores[j] = weight
    for j in range(scores.size // _WIDE * _WIDE):
        grad[j] = scores[j] * (grad[j] - mean)


@compile_kernel
def _band_grad(weights, scores, norms, there, kept, options, place, seen, step):
    """Make scores into weights and the gradient for weights into that for scores, in a band.

    `place` is a sample, a head and the band's first row; rows are `step` numbers apart, of which
    the first `seen` are in use.
    """
    causal, is_masked, is_dropped, _, grow = options
    n, h, band = place
    t = norms.shape[2]
    for i in range(band, band + _BAND):
        start = (i - band) * step
        own, ds = weights[start : start + seen], scores[start : start + seen]
        if i >= t:
            own[:] = 0
            ds[:] = 0
            continue
        _hide(own, i + 1 if causal else t, is_masked, there[n if is_masked else 0])
        if is_dropped:
            _drop(ds, kept[n, h, i], grow)
        _softmax_grad(own, norms[n, h, i, 0], norms[n, h, i, 1], ds)
        if is_dropped:
            _drop(own, kept[n, h, i], grow)


@functools.cache
def _attention(steps_block: tuple[int, int], head_block: tuple[int, int]) -> Callable[..., Any]:
    (vectors, lanes), (head_vectors, head_lanes) = steps_block, head_block
    wide, narrow = max(vectors * lanes, _WIDE), head_vectors * head_lanes

    @compile_kernel
    def attend(qkv, there, kept, y, norms, options, part, lo, hi):
        """Compute the heads lo..hi, those of a sample after each other."""
        causal, is_masked, is_dropped, scale, grow = options
        _, t, _, heads, size = qkv.shape
        one, zero = qkv.dtype.type(1), qkv.dtype.type(0)
        steps, along = (t + wide - 1) // wide * wide, (size + narrow - 1) // narrow * narrow
        across = steps + _GAP
        q, k = np.zeros(steps * size, qkv.dtype), np.zeros(size * across, qkv.dtype)
        v, zeros = np.zeros(steps * along, qkv.dtype), np.zeros(max(steps, along), qkv.dtype)
        scores, means = np.zeros(_ROWS * across, qkv.dtype), np.zeros(_ROWS * along, qkv.dtype)
        for number in range(lo, hi):
            n, h = divmod(number, heads)
            _copy_rows(qkv, n, 0, h, scale, q, size)
            _copy_columns(qkv, n, 1, h, k, across)
            _copy_rows(qkv, n, 2, h, one, v, along)
            for top in range(0, t, _ROWS):
                seen = min(t, top + _ROWS) if causal else t
                seen = (seen + wide - 1) // wide * wide
                _multiply(
                    vectors, lanes, _ROWS, q, (size, 1), k, across, (size, seen), zeros, scores,
                    across, (top * size, -1, 0),
                )  # fmt: skip
                for i in range(top, min(top + _ROWS, t)):
                    row = scores[(i - top) * across : (i - top) * across + seen]
                    _hide(row, i + 1 if causal else t, is_masked, there[n if is_masked else 0])
                    largest = _largest(row)
                    if largest == -np.inf:
                        largest = zero
                    total = _exponentials(row, largest)
                    if is_dropped:
                        _drop(row, kept[n, h, i], grow)
                    norms[n, h, i, 0] = largest
                    norms[n, h, i, 1] = zero if total == 0 else one / total
                _multiply(
                    head_vectors, head_lanes, _ROWS, scores, (across, 1), v, along, (seen, along),
                    zeros, means, along, (0, -1, 0),
                )  # fmt: skip
                for i in range(top, min(top + _ROWS, t)):
                    norm, row = norms[n, h, i, 1], means[(i - top) * along :]
                    _write_rows(row[:along], along, norm, y, n, i, 0, h)

    return attend


@functools.cache
def _attention_grad(
    steps_block: tuple[int, int], head_block: tuple[int, int]
) -> Callable[..., Any]:
    (vectors, lanes), (head_vectors, head_lanes) = steps_block, head_block
    wide, narrow = max(vectors * lanes, _WIDE), head_vectors * head_lanes

    @compile_kernel
    def attend_grad(grad, qkv, norms, there, kept, dqkv, options, part, lo, hi):
        """Compute the gradients of the heads lo..hi, those of a sample after each other.

        Rows of `weights` and `scores` are those of a band; scores are their gradients, later.
        """
        causal, _, _, scale, _ = options
        _, t, _, heads, size = qkv.shape
        one = qkv.dtype.type(1)
        steps, along = (t + wide - 1) // wide * wide, (size + narrow - 1) // narrow * narrow
        across, rows = steps + _GAP, max(steps, (t + _BAND - 1) // _BAND * _BAND)
        # Vectors of their own: those of `np.zeros((3, n))` might have gaps, for the compiler.
        q, k = np.zeros(rows * along, qkv.dtype), np.zeros(rows * along, qkv.dtype)
        g, dq = np.zeros(rows * along, qkv.dtype), np.zeros(_BAND * along, qkv.dtype)
        dk, dv = np.zeros(rows * along, qkv.dtype), np.zeros(rows * along, qkv.dtype)
        k_columns, v_columns = (
            np.zeros(size * across, qkv.dtype),
            np.zeros(size * across, qkv.dtype),
        )
        weights, scores = np.zeros(_BAND * across, qkv.dtype), np.zeros(_BAND * across, qkv.dtype)
        zeros = np.zeros(max(steps, along), qkv.dtype)
        for number in range(lo, hi):
            n, h = divmod(number, heads)
            _copy_rows(qkv, n, 0, h, scale, q, along)
            _copy_rows(qkv, n, 1, h, one, k, along)
            _copy_columns(qkv, n, 1, h, k_columns, across)
            _copy_columns(qkv, n, 2, h, v_columns, across)
            _copy_rows(grad, n, 0, h, one, g, along)
            dk[:] = 0
            dv[:] = 0
            for band in range(0, t, _BAND):
                seen = min(t, band + _BAND) if causal else t
                seen = (seen + wide - 1) // wide * wide
                _multiply(
                    vectors, lanes, _BAND, q, (along, 1), k_columns, across, (size, seen), zeros,
                    weights, across, (band * along, -1, 0),
                )  # fmt: skip
                _multiply(
                    vectors, lanes, _BAND, g, (along, 1), v_columns, across, (size, seen), zeros,
                    scores, across, (band * along, -1, 0),
                )  # fmt: skip
                _band_grad(weights, scores, norms, there, kept, options, (n, h, band), seen, across)
                _multiply(
                    head_vectors, head_lanes, _BAND, scores, (across, 1), k, along, (seen, along),
                    zeros, dq, along, (0, -1, 0),
                )  # fmt: skip
                _write_rows(dq, along, scale, dqkv, n, band, 0, h)
                _multiply(
                    head_vectors, head_lanes, seen, scores, (1, across), q[band * along :], along,
                    (_BAND, along), dk, dk, along, (0, 0, 0),
                )  # fmt: skip
                _multiply(
                    head_vectors, head_lanes, seen, weights, (1, across), g[band * along :], along,
                    (_BAND, along), dv, dv, along, (0, 0, 0),
                )  # fmt: skip
            _write_rows(dk, along, one, dqkv, n, 0, 1, h)
            _write_rows(dv, along, one, dqkv, n, 0, 2, h)

    return attend_grad


def attend(
    qkv: Array,
    there: Array | None = None,
    causal: bool = False,
    kept: Array | None = None,
    rate: float = 0.0,
) -> tuple[Array, Array]:
    """See `reference.attend`."""
    n, t, _, heads, size = qkv.shape
    y = memory.empty((n, t, 1, heads, size), qkv.dtype)
    norms = memory.empty((n, heads, t, 2), qkv.dtype)
    if qkv.size:
        arrays, options = _arguments(qkv, there, causal, kept, rate)
        kernel, grain = _attention(*_blocks(qkv)), _grain(qkv)
        threads.run(kernel, n * heads, *arrays, y, norms, options, grain=grain)
    return y[:, :, 0], norms


def attend_grad(
    grad: Array,
    qkv: Array,
    norms: Array,
    there: Array | None = None,
    causal: bool = False,
    kept: Array | None = None,
    rate: float = 0.0,
) -> Array:
    """See `reference.attend_grad`."""
    n, _, _, heads, _ = qkv.shape
    dqkv = memory.empty(qkv.shape, qkv.dtype)
    if qkv.size:
        (qkv, there, kept), options = _arguments(qkv, there, causal, kept, rate)
        # (N, T, H, K) -> (N, T, 1, H, K)
        grad, norms = np.ascontiguousarray(grad)[:, :, np.newaxis], np.ascontiguousarray(norms)
        kernel, grain = _attention_grad(*_blocks(qkv)), _grain(qkv)
        threads.run(kernel, n * heads, grad, qkv, norms, there, kept, dqkv, options, grain=grain)
    return dqkv


def _blocks(qkv: Array) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the columns of a block of scores and of a head's values: few kinds to compile."""
    steps_block = block_columns(1 << 10, qkv.dtype)
    return steps_block, block_columns(max(qkv.shape[4], steps_block[1]), qkv.dtype)


def _grain(qkv: Array) -> int:
    """Return how many heads are worth a thread."""
    return 1 + _GRAIN // max(qkv.shape[1] ** 2 * qkv.shape[4], 1)


def _arguments(
    qkv: Array, there: Array | None, causal: bool, kept: Array | None, rate: float
) -> tuple[tuple[Array, Array, Array], tuple]:
    """Return contiguous arrays, empty ones for None, and the other arguments of a kernel."""
    number = qkv.dtype.type
    options = (causal, there is not None, kept is not None)
    numbers = (number(1 / math.sqrt(qkv.shape[4])), number(1 / (1 - rate)))
    there = np.empty((1, 0), bool) if there is None else there
    kept = np.empty((0, 0, 0, 0), bool) if kept is None else kept
    qkv, there, kept = (np.ascontiguousarray(array) for array in (qkv, there, kept))
    return (qkv, there, kept), (*options, *numbers)
