"""Gradient checks: compare `backward` with finite differences of `forward`.

Central differences are slow but simple, and verify every `backward` of this library and of user
code: `check_gradients` checks every element of one layer's gradients, `check_model` a sample of the
elements of each layer of a whole model.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import checks, cuda
from ..layers import Layer
from ..layers.containers import check_subclass
from ..layers.embedding import num_ids_of
from ..layers.hidden import refuse_hidden
from ..layers.plan import named_layers
from ..layers.state import Snapshot
from . import contract
from .comparison import Comparison, compare, largest_error
from .model_check import check_model
from .model_report import GradientRow, ModelCheck

__all__ = [
    "GradientRow",
    "ModelCheck",
    "check_gradients",
    "check_model",
    "numerical_gradient",
    "relative_error",
]


def numerical_gradient(f: Callable[[], float], x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Return df/dx by central differences, (f(x + h) - f(x - h)) / (2h) for each element.

    Parameters
    ----------
    f
        A function without arguments that returns a number and depends on x.
    x
        A float64 array of any shape. It is modified in place during the computation and restored.
    step
        h; the error is proportional to its square, until rounding dominates below about 1e-6.

    Raises
    ------
    ValueError
        If x is not a float64 array, the step is not positive, or f takes arguments or does not
        return a number.

    Examples
    --------
    >>> x = np.array([3.0])
    >>> numerical_gradient(lambda: float(x[0] ** 2), x).round(6)
    array([6.])
    """
    owner = "numerical_gradient"
    if not checks.takes(f, 0):
        raise checks.error(owner, "f", "must be a function without arguments", f)
    if getattr(x, "dtype", None) != np.float64:
        raise checks.error(owner, "x", "must be an array of float64", getattr(x, "dtype", x))
    step = checks.positive(owner, "step", step)
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        value = float(x[index])  # on a GPU x[index] is a view
        try:
            x[index] = value + step
            above = _number(f())
            x[index] = value - step
            below = _number(f())
        finally:
            x[index] = value
        gradient[index] = (above - below) / (2 * step)
    return gradient


def _number(value: Any) -> float:
    """Return `value` after checking that it is one number."""
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    if not checks.is_number(value):
        raise checks.error("numerical_gradient", "f", "must return a number", value)
    return value


def relative_error(a: Any, b: Any) -> float:
    """Return the largest difference of two arrays divided by their largest value (at least 1e-8).

    Raises
    ------
    ValueError, TypeError
        If the shapes differ, or the values are not real numbers.

    Examples
    --------
    >>> relative_error(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    0.0
    """
    a, b = (cuda.to_cpu(checks.real_array("relative_error", k, v)) for k, v in (("a", a), ("b", b)))
    if a.shape != b.shape:
        raise checks.error("relative_error", "b", f"must have the shape {a.shape} of 'a'", b.shape)
    return largest_error(a, b)


def check_gradients(
    layer: Layer, x: np.ndarray, training: bool = True, step: float = 1e-5
) -> dict[str, float]:
    """Compare the gradients of a layer's `backward` with numerical gradients, in float64.

    Parameters
    ----------
    layer
        Any `Layer`. If it is not built, it is built for x in float64.
    x
        A batch of inputs, away from points where the layer is not differentiable, such as 0 for
        ReLU.
    training
        Mode of the forward pass. Random generators and buffers are reset before each pass, so that
        dropout can be checked too.
    step
        Step of the central differences.

    Returns
    -------
    dict
        The relative errors of the gradients for 'x' and for each parameter ('0_Conv2D_W' in a
        container), without 'x' if it holds ids; below 1e-6 if `backward` is correct.

    Raises
    ------
    ValueError, TypeError
        If `layer` is not a layer or x not a batch of numbers; if a gradient is missing or has the
        wrong shape or dtype; if `forward` or `backward` changes its input, the gradient passed to
        it or a parameter; or if repeated passes give other gradients, as they do if `backward`
        adds to `grads`.

    See Also
    --------
    nn.testing.assert_gradients : The same for tests: raises, and says how a gradient is wrong.

    Examples
    --------
    >>> from nn.layers import Dense
    >>> errors = check_gradients(Dense(3), np.random.default_rng(0).normal(size=(4, 5)))
    >>> sorted(errors), max(errors.values()) < 1e-6
    (['W', 'b', 'x'], True)
    """
    found = compare_gradients(layer, x, training, step)
    return {name: comparison.error for name, comparison in found.items()}


def compare_gradients(
    layer: Layer, x: np.ndarray, training: bool = True, step: float = 1e-5
) -> dict[str, Comparison]:
    """Return the comparisons of which `check_gradients` returns the errors.

    Parameters
    ----------
    layer, x, training, step
        As for `check_gradients`.
    """
    step = checks.positive("check_gradients", "step", step)
    x = _prepared(layer, x)
    label, before = f"[{type(layer).__name__}] {{}}", Snapshot([layer])
    # The name of a parameter in a container has the path of its layer as prefix: '0_Conv2D_W'.
    inside = list(named_layers(layer.sublayers()))
    refuse_hidden([(type(layer).__name__, layer), *inside])
    parts = [("", layer), *((f"{path}_", part) for path, part in inside)]
    own = [a for _, part in parts for a in (*part.params.values(), *part.buffers.values())]
    if any(array.dtype != np.float64 for _, part in parts for array in part.params.values()):
        raise ValueError(
            f"[{type(layer).__name__}] is built in float32, too imprecise for a gradient check: "
            "pass a layer that is not built, or one of a Model(dtype='float64')."
        )
    if own:
        x = cuda.to_cpu(x) if cuda.get_array_module(*own) is np else cuda.to_gpu(x)

    def forward(batch: np.ndarray) -> np.ndarray:
        before.restore()
        return contract.forward(layer, batch, training, label)[0]

    def value() -> float:
        y = forward(x)
        return float((y * direction).sum()) + sum(part.activity_penalty() for _, part in parts)

    def gradients(batch: np.ndarray, direction: np.ndarray) -> dict[str, np.ndarray]:
        forward(batch)
        found = {"x": contract.backward(layer, direction.copy(), batch, label)}
        for path, part in parts:
            for name in part.trained_keys():
                param = part.params[name]
                grad = part.grads.get(name)
                contract.check_gradient(
                    grad, param.shape, param.dtype, label.format("backward()"), f"{path}{name}"
                )
                found[f"{path}{name}"] = grad
        return {name: grad.copy() for name, grad in found.items()}  # the layer may overwrite them

    # The dot product with a random array is one number that depends on every output.
    other = contract.other_batch(x)
    y = forward(other)
    xp = cuda.get_array_module(y)
    direction = xp.asarray(np.random.default_rng([0, 1]).normal(size=y.shape))
    gradients(other, direction[::-1])
    found, again = gradients(x, direction), gradients(x, direction)
    arrays = {"x": x}
    for path, part in parts:
        arrays.update({f"{path}{name}": param for name, param in part.params.items()})
    if x.dtype.kind != "f":
        del found["x"]  # ids have no gradient
    comparisons = {}
    for name, grad in found.items():
        contract.check_repeated(grad, again[name], label.format("backward()"), name)
        expected = numerical_gradient(value, arrays[name], step)
        comparisons[name] = compare(cuda.to_cpu(grad), cuda.to_cpu(expected), len(x))
    return comparisons


def _prepared(layer: Layer, x: np.ndarray) -> np.ndarray:
    """Return the batch of a check as float64, or as ids; build the layer for it."""
    owner = "check_gradients"
    if not isinstance(layer, Layer) or hasattr(layer, "as_layer"):
        rule = "must be a layer (nn.gradcheck.check_model() takes a model)"
        raise checks.error(owner, "layer", rule, layer)
    check_subclass(layer)
    if isinstance(x, tuple) and all(map(checks.is_integer, x)):
        rule = f"must be a batch, as by rng.normal(size={x}), not its shape"
        raise checks.error(owner, "x", rule, x)
    has_ids = num_ids_of([layer]) is not None
    x = checks.real_array(owner, "x", x).astype(np.int64 if has_ids else np.float64)
    if x.size == 0 or x.ndim == 0:
        raise checks.error(owner, "x", "must be a batch of at least one sample", x.shape)
    if not layer.built:
        layer.dtype = "float64"
        layer.build((None, *x.shape[1:]))
        layer.built = True
    return x
