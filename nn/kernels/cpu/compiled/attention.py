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

import numba
import numpy as np
from numba.extending import overload

from ...geometry import Array
from .. import memory, threads
from ..compiler import compile_kernel
from .functions import exponential
from .vectors import block_columns, multiply_block

_ROWS = 8  # of a block of a product
_BAND = 32  # rows of scores that are kept at a time in the backward pass
_GRAIN = 1 << 20  # multiplications that are worth a second thread


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
    width = size[0] * size[1]

    def multiply(vectors, lanes, rows, a, a_steps, b, b_step, counts, d, c, c_step, starts):
        d_step, d_start = (0, 0) if starts[1] < 0 else (c_step, starts[1])
        for top in range(0, rows, _ROWS):
            a_start, c_start = starts[0] + top * a_steps[0], starts[2] + top * c_step
            for column in range(0, counts[1], width):
                multiply_block(
                    _ROWS, size[0], size[1], a, (a_steps[0], 0, a_steps[1]), b, (0, b_step),
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


@numba.njit(error_model="numpy", fastmath=True)
def _largest(row):
    """Return the largest number of a row; any of them if one is NaN."""
    largest = row[0]
    for j in range(row.size):
        largest = max(largest, row[j])
    return largest


@compile_kernel
def _hide(row, there):
    """Set the scores of masked steps to minus infinity."""
    for j in range(row.size):
        if not there[j]:
            row[j] = -np.inf


@compile_kernel
def _drop(row, kept, grow):
    """Set the numbers that dropout drops to 0, and multiply the others."""
    zero = row.dtype.type(0)
    for j in range(row.size):
        row[j] *= grow if kept[j] else zero


@compile_kernel
def _exponentials(row, largest, factor):
    """Replace scores by the exponentials of their differences to the largest; return the sum."""
    total = row.dtype.type(0)
    for j in range(row.size):
        row[j] = exponential(row[j] - largest) * factor
        total += row[j]
    return total


@compile_kernel
def _softmax_grad(weights, grad):
    """Replace the gradient for weights by that for their scores."""
    mean = weights.dtype.type(0)
    for j in range(weights.size):
        mean += weights[j] * grad[j]
    for j in range(weights.size):
        grad[j] = weights[j] * (grad[j] - mean)


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
        count = 0 if i >= t else i + 1 if causal else t
        start = (i - band) * step
        weights[start + count : start + seen] = 0
        scores[start + count : start + seen] = 0
        if count == 0:
            continue
        own, ds = weights[start : start + count], scores[start : start + count]
        if is_masked:
            _hide(own, there[n])
        _exponentials(own, norms[n, h, i, 0], norms[n, h, i, 1])
        if is_dropped:
            _drop(ds, kept[n, h, i], grow)
        _softmax_grad(own, ds)
        if is_dropped:
            _drop(own, kept[n, h, i], grow)


@functools.cache
def _attention(steps_block: tuple[int, int], head_block: tuple[int, int]) -> Callable[..., Any]:
    (vectors, lanes), (head_vectors, head_lanes) = steps_block, head_block
    wide, narrow = max(vectors * lanes, _ROWS), head_vectors * head_lanes

    @compile_kernel
    def attend(qkv, there, kept, y, norms, options, part, lo, hi):
        """Compute the heads lo..hi, those of a sample after each other."""
        causal, is_masked, is_dropped, scale, grow = options
        _, t, _, heads, size = qkv.shape
        one, zero = qkv.dtype.type(1), qkv.dtype.type(0)
        across, along = (t + wide - 1) // wide * wide, (size + narrow - 1) // narrow * narrow
        q, k = np.zeros(across * size, qkv.dtype), np.zeros(size * across, qkv.dtype)
        v, zeros = np.zeros(across * along, qkv.dtype), np.zeros(max(across, along), qkv.dtype)
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
                    own = row[: i + 1 if causal else t]
                    if is_masked:
                        _hide(own, there[n])
                    largest = _largest(own)
                    if largest == -np.inf:
                        largest = zero
                    total = _exponentials(own, largest, one)
                    row[own.size :] = 0
                    if is_dropped:
                        _drop(own, kept[n, h, i], grow)
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
    wide, narrow = max(vectors * lanes, _ROWS), head_vectors * head_lanes

    @compile_kernel
    def attend_grad(grad, qkv, norms, there, kept, dqkv, options, part, lo, hi):
        """Compute the gradients of the heads lo..hi, those of a sample after each other.

        Rows of `weights` and `scores` are those of a band; scores are their gradients, later.
        """
        causal, _, _, scale, _ = options
        _, t, _, heads, size = qkv.shape
        one = qkv.dtype.type(1)
        across, along = (t + wide - 1) // wide * wide, (size + narrow - 1) // narrow * narrow
        rows = (t + _BAND - 1) // _BAND * _BAND  # of which the last are zeros
        rows = max(rows, across)
        q, k, g = np.zeros((3, rows * along), qkv.dtype)
        k_columns, v_columns = np.zeros((2, size * across), qkv.dtype)
        weights, scores = np.zeros((2, _BAND * across), qkv.dtype)
        zeros, dq = np.zeros(max(across, along), qkv.dtype), np.zeros(_BAND * along, qkv.dtype)
        dk, dv = np.zeros((2, rows * along), qkv.dtype)
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
    there = np.empty((0, 0), bool) if there is None else there
    kept = np.empty((0, 0, 0, 0), bool) if kept is None else kept
    qkv, there, kept = (np.ascontiguousarray(array) for array in (qkv, there, kept))
    return (qkv, there, kept), (*options, *numbers)
