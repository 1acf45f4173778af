"""Functions of each number alone, and the updates of optimizers: one pass over memory.

Each takes its arrays as vectors in the order of memory, and slices its part first: an index that
counts from 0 lets the compiler use vector instructions.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import overload

from ... import reference
from ...formulas import FORMULAS, RELU, Formula
from ...geometry import Array
from ...tracing import PARAMETERS, in_python, record
from .. import memory, threads, tuned
from ..compiler import compile_kernel
from ..tuned.elementwise import flat_views
from . import sharing
from .functions import OPTIONS, functions

# So many numbers NumPy cuts off at 0 before a kernel is called.
_FEW = 1 << 13
# So many numbers NumPy reads before a kernel is called.
_FEW_TO_READ = 1 << 17

# Names of the arrays that a part of a formula is called with.
_NAMES = {"function": ("x",), "derived": ("x",), "gradient": ("grad", "kept")}


# -------------------------------------------------------------------------------- formulas


def _evaluate(formula, part, values):
    """Return what a part of a formula computes of numbers. Numba compiles `_evaluation`."""
    raise NotImplementedError


@overload(_evaluate, prefer_literal=True, jit_options=OPTIONS)
def _evaluation(formula, part, values):
    """Return the function to compile in place of `_evaluate`, with constants of its dtype."""
    names = _NAMES[part.literal_value]
    names += PARAMETERS[: len(values) - len(names)]
    steps = record(getattr(FORMULAS[formula.literal_value], part.literal_value), *names)
    lines = [f"({', '.join(names)},) = values", *in_python(steps), f"return {steps[-1].result}"]
    source = "def evaluate(formula, part, values):\n    " + "\n    ".join(lines)
    namespace = {"T": getattr(np, values[0].name), **functions(values[0].name)}
    exec(source, namespace)
    return namespace["evaluate"]


def _is_known(formula: Formula) -> bool:
    """Return whether a formula is one of ours, which are found by their names; not a user's."""
    return FORMULAS.get(formula.name) is formula


@functools.cache
def _activation(formula: str, derives: bool) -> Callable[..., Any]:
    @compile_kernel
    def activate(x, y, derived, numbers, part, lo, hi):
        x, y, derived = x[lo:hi], y[lo:hi], derived[lo:hi]
        for k in range(x.size):
            number = x[k]
            y[k] = _evaluate(formula, "function", (number, *numbers))
            if derives:
                derived[k] = _evaluate(formula, "derived", (number,))

    return activate


@functools.cache
def _activation_in_place(formula: str) -> Callable[..., Any]:
    @compile_kernel
    def activate_in_place(x, numbers, part, lo, hi):
        x = x[lo:hi]
        for k in range(x.size):
            x[k] = _evaluate(formula, "function", (x[k], *numbers))

    return activate_in_place


@functools.cache
def _activation_grad(formula: str) -> Callable[..., Any]:
    @compile_kernel
    def activate_grad(grad, kept, dx, numbers, part, lo, hi):
        grad, kept, dx = grad[lo:hi], kept[lo:hi], dx[lo:hi]
        for k in range(grad.size):
            dx[k] = _evaluate(formula, "gradient", (grad[k], grad.dtype.type(kept[k]), *numbers))

    return activate_grad


def activate(
    x: Array, formula: Formula, parameters: tuple[float, ...] = (), keep: bool = True
) -> tuple[Array, Array | None]:
    """See `reference.activate`."""
    if not _is_known(formula):
        return tuned.activate(x, formula, parameters, keep)
    derives = keep and formula.derived is not None
    y = memory.empty_like(x)  # in the same order of memory
    derived = memory.empty_like(x, bool if formula.keeps == "mask" else None) if derives else y
    flat = flat_views(x, y, derived)
    if flat is None:
        return tuned.activate(x, formula, parameters, keep)
    numbers = tuple([x.dtype.type(value) for value in parameters])
    kernel = _activation(formula.name, derives)
    threads.run(kernel, x.size, *flat, numbers, grain=sharing.GRAIN)
    return y, {"x": x, "y": y}.get(formula.keeps, derived) if keep else None


def activate_in_place(x: Array, formula: Formula, parameters: tuple[float, ...] = ()) -> Array:
    """See `reference.activate_in_place`."""
    if not _is_known(formula) or (formula is RELU and x.size <= _FEW):
        return tuned.activate_in_place(x, formula, parameters)
    flat = flat_views(x)
    if flat is None:
        return tuned.activate_in_place(x, formula, parameters)
    numbers = tuple([x.dtype.type(value) for value in parameters])
    kernel = _activation_in_place(formula.name)
    threads.run(kernel, x.size, *flat, numbers, grain=sharing.GRAIN)
    return x


def activate_grad(
    grad: Array, kept: Array, formula: Formula, parameters: tuple[float, ...] = ()
) -> Array:
    """See `reference.activate_grad`."""
    if not _is_known(formula):
        return tuned.activate_grad(grad, kept, formula, parameters)
    dx = memory.empty_like(grad)
    flat = flat_views(grad, kept, dx)
    if flat is None:
        return tuned.activate_grad(grad, kept, formula, parameters)
    numbers = tuple([grad.dtype.type(value) for value in parameters])
    threads.run(_activation_grad(formula.name), grad.size, *flat, numbers, grain=sharing.GRAIN)
    return dx


# ---------------------------------------------------------------------------------- range


@compile_kernel
def _range(bits, ends, found, part, lo, hi):
    """Write the lowest and the highest number of bits[lo:hi] to found[part], see `value_range`.

    `ends` are the lowest and the highest integer: the first number replaces both.
    """
    bits, (highest, lowest) = bits[lo:hi], ends
    last = lowest
    for k in range(bits.size):
        number = bits[k]
        if number < 0:
            number = bits.dtype.type(number ^ last)
        if number < lowest:
            lowest = number
        if number > highest:
            highest = number
    found[part, 0], found[part, 1] = lowest, highest


def value_range(x: Array) -> tuple[Array, Array]:
    """See `reference.value_range`.

    It compares the bits of the numbers as integers, which are vectors for the compiler although
    some may be NaN. Of numbers without a sign the bits have the order of the numbers, then that of
    infinity, then NaN; with a sign the order is reversed.
    """
    flat = flat_views(x) if x.size > _FEW_TO_READ else None
    if flat is None:
        return reference.value_range(x)
    kind = np.dtype(f"i{x.itemsize}")
    ends = kind.type(np.iinfo(kind).min), kind.type(np.iinfo(kind).max)
    found = np.empty((threads.NUM_THREADS, 2), kind)
    parts = threads.run(_range, x.size, flat[0].view(kind), ends, found, grain=sharing.GRAIN)
    found = found[:parts]
    numbers = np.where(found < 0, found ^ ends[1], found).view(x.dtype)
    lowest, highest = numbers[:, 0].min(), numbers[:, 1].max()
    return (lowest, highest) if lowest <= highest else (numbers.dtype.type(np.nan),) * 2


# ------------------------------------------------------------- sums, dropout and optimizers


@compile_kernel
def _add(a, b, y, part, lo, hi):
    a, b, y = a[lo:hi], b[lo:hi], y[lo:hi]
    for k in range(a.size):
        y[k] = a[k] + b[k]


def add(a: Array, b: Array) -> Array:
    """See `reference.add`."""
    y = memory.empty_like(a)
    flat = flat_views(a, b, y)
    if flat is None:
        return tuned.add(a, b)
    threads.run(_add, a.size, *flat, grain=sharing.GRAIN)
    return y


@compile_kernel
def _dropout(x, kept, y, scale, part, lo, hi):
    zero = x.dtype.type(0)
    x, kept, y = x[lo:hi], kept[lo:hi], y[lo:hi]
    for k in range(x.size):
        y[k] = x[k] * (scale if kept[k] else zero)


@compile_kernel
def _sgd(param, grad, velocity, rates, part, lo, hi):
    lr, momentum, nesterov = rates
    param, grad, velocity = param[lo:hi], grad[lo:hi], velocity[lo:hi]
    for k in range(param.size):
        velocity[k] = momentum * velocity[k] - lr * grad[k]
        if nesterov:
            param[k] += momentum * velocity[k] - lr * grad[k]
        else:
            param[k] += velocity[k]


@compile_kernel
def _adam(arrays, numbers, part, lo, hi):
    beta1, rest1, beta2, rest2, root, eps, rate = numbers
    param, grad, m, v = arrays
    param, grad, m, v = param[lo:hi], grad[lo:hi], m[lo:hi], v[lo:hi]
    for k in range(param.size):
        m[k] = beta1 * m[k] + rest1 * grad[k]
        v[k] = beta2 * v[k] + rest2 * (grad[k] * grad[k])
        param[k] -= rate * m[k] / (root * np.sqrt(v[k]) + eps)


def dropout(x: Array, kept: Array, rate: float) -> Array:
    """See `reference.dropout`."""
    y = memory.empty_like(x)
    flat = flat_views(x, kept, y)
    if flat is None:
        return tuned.dropout(x, kept, rate)
    threads.run(_dropout, x.size, *flat, x.dtype.type(1 / (1 - rate)), grain=sharing.GRAIN)
    return y


def sgd(
    param: Array, grad: Array, velocity: Array, lr: float, momentum: float, nesterov: bool
) -> None:
    """See `reference.sgd`."""
    flat = flat_views(param, grad, velocity)
    if flat is None:
        tuned.sgd(param, grad, velocity, lr, momentum, nesterov)
        return
    rates = (param.dtype.type(lr), param.dtype.type(momentum), nesterov)
    threads.run(_sgd, param.size, *flat, rates, grain=sharing.GRAIN)


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
    """See `reference.adam`."""
    flat = flat_views(param, grad, m, v)
    if flat is None:
        tuned.adam(param, grad, m, v, lr, beta1, beta2, eps, t)
        return
    root, rate = 1 / math.sqrt(1 - beta2**t), lr / (1 - beta1**t)
    scalars = (beta1, 1 - beta1, beta2, 1 - beta2, root, eps, rate)
    numbers = tuple([param.dtype.type(value) for value in scalars])
    threads.run(_adam, param.size, tuple(flat), numbers, grain=sharing.GRAIN)
