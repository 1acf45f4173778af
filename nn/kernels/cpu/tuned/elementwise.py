"""Functions of each number alone, piece by piece, and the updates of optimizers."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import reference
from ...formulas import Formula
from ...geometry import Array
from ...tracing import PARAMETERS, record
from .. import memory, threads

# Numbers of a piece: with the temporary arrays of a formula they fit the second-level cache.
_PIECE = 1 << 13
# Operations that are worth a second thread.
_GRAIN = 1 << 22


def flat_views(*arrays: Array) -> list[Array] | None:
    """Return arrays as vectors that are views of them, all in the same order of memory.

    None if they differ in their order of memory, or one has gaps, as x[::2].
    """
    first = arrays[0]
    flat = [a.reshape(-1) for a in arrays if a.flags.c_contiguous and a.shape == first.shape]
    if len(flat) == len(arrays):
        return flat
    steps = [step // first.itemsize for step in first.strides]
    flat = [a.ravel(order="K") for a in arrays]
    for a, vector in zip(arrays, flat, strict=True):
        alike = a.shape == first.shape and [step // a.itemsize for step in a.strides] == steps
        if not (alike and np.may_share_memory(a, vector)):
            return None
    return flat


def _compute(
    function: Callable[..., Array], arrays: dict[str, Array], parameters: tuple, out: Array
) -> Array | None:
    """Compute a formula piece by piece, the pieces shared by threads.

    Returns None if the arrays differ in their order of memory.
    """
    steps = record(function, *arrays, *PARAMETERS[: len(parameters)])
    if len(steps) == 1:  # one of NumPy's own passes over memory
        operands: list[Any] = []
        for operand in steps[0].operands:
            operands.append(arrays[operand] if isinstance(operand, str) else operand)
        return steps[0].operation(*operands, out=out)
    flat = flat_views(*arrays.values(), out)
    if flat is None:
        return None
    *inputs, result = flat

    def run(part: int, lo: int, hi: int) -> None:
        for start in range(lo, hi, _PIECE):
            piece = slice(start, min(start + _PIECE, hi))
            result[piece] = function(*(vector[piece] for vector in inputs), *parameters)

    threads.run(run, out.size, grain=_GRAIN // len(steps))
    return out


def activate(
    x: Array, formula: Formula, parameters: tuple[float, ...] = (), keep: bool = True
) -> tuple[Array, Array | None]:
    """See `reference.activate`."""
    if x.size <= _PIECE:
        return reference.activate(x, formula, parameters, keep)
    y = _compute(formula.function, {"x": x}, parameters, memory.empty_like(x))
    if y is None:
        return reference.activate(x, formula, parameters, keep)
    if not keep or formula.derived is None:
        return y, formula.kept(x, y) if keep else None
    derived = memory.empty_like(x, bool if formula.keeps == "mask" else None)
    return y, _compute(formula.derived, {"x": x}, (), derived)


def activate_in_place(x: Array, formula: Formula, parameters: tuple[float, ...] = ()) -> Array:
    """See `reference.activate_in_place`."""
    y = _compute(formula.function, {"x": x}, parameters, x)
    return reference.activate_in_place(x, formula, parameters) if y is None else y


def activate_grad(
    grad: Array, kept: Array, formula: Formula, parameters: tuple[float, ...] = ()
) -> Array:
    """See `reference.activate_grad`."""
    dx = None
    if grad.size > _PIECE:
        arrays = {"grad": grad, "kept": kept}
        dx = _compute(formula.gradient, arrays, parameters, memory.empty_like(grad))
    return reference.activate_grad(grad, kept, formula, parameters) if dx is None else dx


def add(a: Array, b: Array) -> Array:
    """See `reference.add`."""
    return np.add(a, b, out=memory.empty_like(a))


def dropout(x: Array, kept: Array, rate: float) -> Array:
    """See `reference.dropout`."""
    y = np.multiply(x, kept, out=memory.empty_like(x))
    y *= 1 / (1 - rate)
    return y


def sgd(
    param: Array, grad: Array, velocity: Array, lr: float, momentum: float, nesterov: bool
) -> None:
    """See `reference.sgd`."""
    change = -lr * grad
    velocity *= momentum
    velocity += change
    param += change + momentum * velocity if nesterov else velocity


def adam(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    t: int,
) -> None:
    """See `reference.adam`. All steps share one temporary array."""
    work = (1 - beta1) * grad
    m *= beta1
    m += work
    np.multiply(grad, grad, out=work)
    work *= 1 - beta2
    v *= beta2
    v += work
    np.sqrt(v, out=work)
    work /= math.sqrt(1 - beta2**t)
    work += eps
    np.divide(m, work, out=work)
    work *= lr / (1 - beta1**t)
    param -= work
