"""Functions of each number alone, and the updates of optimizers, in one pass over memory."""

import math
from collections.abc import Callable

from ... import cuda
from ..formulas import Formula
from ..geometry import Array
from ..tracing import PARAMETERS, in_cpp, record
from .fusing import elementwise_kernel, in_memory_order


def _in_cpp(function: Callable[..., Array], result: str, *names: str) -> str:
    """Return a formula of the named values as a block of C++ that sets `result`."""
    steps = record(function, *names)
    return f"{{ {in_cpp(steps)} {result} = {steps[-1].result}; }}"


def activate(
    x: Array, formula: Formula, parameters: tuple[float, ...] = (), keep: bool = True
) -> tuple[Array, Array | None]:
    """See `reference.activate`."""
    xp = cuda.get_array_module(x)
    y = xp.empty_like(x)
    if not (formula.derived and keep):
        _compute(formula, x, parameters, y)
        return y, formula.kept(x, y) if keep else None
    inputs, operation = _in_parts(formula, parameters)
    kind, operation = _kind(formula), operation + _in_cpp(formula.derived, "derived", "x")
    derived = xp.empty_like(x, dtype=bool if kind == "bool" else x.dtype)
    name = f"{formula.name}_{formula.keeps}"
    kernel = elementwise_kernel(xp, name, inputs, f"T y, {kind} derived", operation)
    ordered_x, ordered_y, ordered_derived = in_memory_order(x, y, derived)
    kernel(ordered_x, *parameters, ordered_y, ordered_derived)
    return y, derived


def activate_in_place(x: Array, formula: Formula, parameters: tuple[float, ...] = ()) -> Array:
    """See `reference.activate_in_place`."""
    _compute(formula, x, parameters, x)
    return x


def _compute(formula: Formula, x: Array, parameters: tuple[float, ...], y: Array) -> None:
    """Write a formula's y for x into y, which may be x."""
    inputs, operation = _in_parts(formula, parameters)
    kernel = elementwise_kernel(cuda.get_array_module(x), formula.name, inputs, "T y", operation)
    ordered_x, ordered_y = in_memory_order(x, y)
    kernel(ordered_x, *parameters, ordered_y)


def _in_parts(formula: Formula, parameters: tuple[float, ...]) -> tuple[str, str]:
    """Return the inputs of a formula's kernel, and what it computes, in C++."""
    names = PARAMETERS[: len(parameters)]
    inputs = ", ".join(f"T {name}" for name in ("x", *names))
    return inputs, _in_cpp(formula.function, "y", "x", *names)


def _kind(formula: Formula) -> str:
    """Return the type in C++ of what a formula keeps."""
    return "bool" if formula.keeps == "mask" else "T"


def activate_grad(
    grad: Array, kept: Array, formula: Formula, parameters: tuple[float, ...] = ()
) -> Array:
    """See `reference.activate_grad`."""
    xp = cuda.get_array_module(grad)
    names = PARAMETERS[: len(parameters)]
    inputs = ", ".join(["T grad", f"{_kind(formula)} kept", *map("T {}".format, names)])
    dx, operation = xp.empty_like(grad), _in_cpp(formula.gradient, "dx", "grad", "kept", *names)
    kernel = elementwise_kernel(xp, f"{formula.name}_grad", inputs, "T dx", operation)
    ordered_grad, ordered_kept, ordered_dx = in_memory_order(grad, kept, dx)
    kernel(ordered_grad, ordered_kept, *parameters, ordered_dx)
    return dx


def dropout(x: Array, kept: Array, rate: float) -> Array:
    """See `reference.dropout`."""
    xp = cuda.get_array_module(x)
    y = xp.empty_like(x)
    inputs, operation = "T x, bool kept, T scale", "y = x * kept * scale"
    kernel = elementwise_kernel(xp, "dropout", inputs, "T y", operation)
    ordered_x, ordered_kept, ordered_y = in_memory_order(x, kept, y)
    kernel(ordered_x, ordered_kept, 1 / (1 - rate), ordered_y)
    return y


def sgd(
    param: Array, grad: Array, velocity: Array, lr: float, momentum: float, nesterov: bool
) -> None:
    """See `reference.sgd`."""
    xp = cuda.get_array_module(param)
    operation = """
        T change = -lr * grad;
        velocity = momentum * velocity + change;
        param += nesterov ? change + momentum * velocity : velocity;
    """
    inputs = "T grad, T lr, T momentum, bool nesterov"
    kernel = elementwise_kernel(xp, "sgd", inputs, "T param, T velocity", operation)
    param, grad, velocity = in_memory_order(param, grad, velocity)
    kernel(grad, lr, momentum, nesterov, param, velocity)


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
    xp = cuda.get_array_module(param)
    operation = """
        m = beta1 * m + rest1 * grad;
        v = beta2 * v + rest2 * grad * grad;
        param -= rate * (m / (sqrt(v) / root + eps));
    """
    inputs = "T grad, T beta1, T rest1, T beta2, T rest2, T eps, T root, T rate"
    kernel = elementwise_kernel(xp, "adam", inputs, "T param, T m, T v", operation)
    param, grad, m, v = in_memory_order(param, grad, m, v)
    root, rate = math.sqrt(1 - beta2**t), lr / (1 - beta1**t)
    kernel(grad, beta1, 1 - beta1, beta2, 1 - beta2, eps, root, rate, param, m, v)
