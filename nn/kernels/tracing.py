"""The operations of a formula, recorded: for tuned NumPy, Numba and CuPy to run in their own way.

>>> import numpy as np
>>> for step in record(lambda x: 1 / (1 + np.exp(-x)), "x"):
...     print(step.result, step.operation.__name__, step.operands)
t0 negative ('x',)
t1 exp ('t0',)
t2 add (1.0, 't1')
t3 divide (1.0, 't2')
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

_INFIX = {
    np.add: "+",
    np.subtract: "-",
    np.multiply: "*",
    np.divide: "/",
    np.greater: ">",
    np.greater_equal: ">=",
    np.less: "<",
    np.less_equal: "<=",
    np.bitwise_and: "&",
}
_FUNCTIONS = (np.absolute, np.exp, np.expm1, np.log1p, np.tanh)
_CHOICES = {np.maximum: ">=", np.minimum: "<="}  # between two operands; a NaN wins


#: Names of a formula's parameters.
PARAMETERS = ("p0", "p1", "p2", "p3")


class Step(NamedTuple):
    """One operation: its function in NumPy, names or numbers that it takes, and its result."""

    operation: Callable[..., Any]
    operands: tuple[str | float, ...]
    result: str


class _Traced(np.lib.mixins.NDArrayOperatorsMixin):
    """What a formula is called with in place of an array: it records each operation."""

    def __init__(self, steps: list[Step], name: str):
        self.steps, self.name = steps, name

    def __array_ufunc__(self, operation: Any, method: str, *inputs: Any, **_: Any) -> Any:
        operands = tuple(k.name if isinstance(k, _Traced) else float(k) for k in inputs)
        self.steps.append(Step(operation, operands, f"t{len(self.steps)}"))
        return _Traced(self.steps, self.steps[-1].result)

    def __array_function__(self, operation: Any, types: Any, inputs: Any, _: Any) -> Any:
        return self.__array_ufunc__(operation, "", *inputs)


@functools.cache
def record(function: Callable[..., Any], *names: str) -> tuple[Step, ...]:
    """Return the steps of a function of arrays, called with values of the given names."""
    steps: list[Step] = []
    function(*(_Traced(steps, name) for name in names))
    return tuple(steps)


def in_cpp(steps: tuple[Step, ...]) -> str:
    """Return steps as statements in C++, on numbers of type T."""
    return " ".join(f"auto {step.result} = {_text(step, '{0} ? {1} : {2}')};" for step in steps)


def in_python(steps: tuple[Step, ...]) -> list[str]:
    """Return steps as statements in Python, on numbers of type T."""
    return [f"{step.result} = {_text(step, 'select({0}, {1}, {2})')}" for step in steps]


def _text(step: Step, choice: str) -> str:
    """Return the expression of a step."""
    a, *others = [k if isinstance(k, str) else f"T({k!r})" for k in step.operands]
    if step.operation is np.where:
        return choice.format(a, *others)
    if step.operation is np.negative:
        return f"-{a}"
    if step.operation in _INFIX:
        return f"{a} {_INFIX[step.operation]} {others[0]}"
    if step.operation in _CHOICES:
        is_first = f"({a} {_CHOICES[step.operation]} {others[0]}) | ({a} != {a})"
        return choice.format(is_first, a, others[0])
    if step.operation in _FUNCTIONS:
        return f"{step.operation.__name__.replace('absolute', 'abs')}({a})"
    raise ValueError(f"[tracing] 'operation' must be one of those listed, got {step.operation}.")
