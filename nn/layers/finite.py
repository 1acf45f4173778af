"""Where NaN and infinity appear first: in which layer, in its output, its weights or a gradient."""

import math
import os
from collections.abc import Iterable, Sequence
from typing import Any

from .. import cuda
from ..cuda import all_finite
from .base import Array, Layer
from .observe import observe
from .plan import Parameter, named_layers
from .stack import forward_through

# With NN_DEBUG=1 every layer's output and gradient is checked for NaN and infinity.
DEBUG = os.environ.get("NN_DEBUG") == "1"

ADVICE = "lower the learning rate, or set clip_norm."


class _FoundError(FloatingPointError):
    """Ends a forward pass once the place is found."""


class FiniteCheck:
    """Watches layers for `observe`: raises at the first array that is not finite (NN_DEBUG=1).

    The weights of each layer are checked too, and after its backward pass their gradients.
    """

    def __init__(self) -> None:
        self._source = "the loss"  # of the gradient that comes next

    def output(self, name: str, layer: Layer, y: Array) -> None:
        """Check the output and the weights of a layer."""
        self._check(label_of(name), "output", y, layer.params)

    def gradient(self, name: str, layer: Layer, grad: Array) -> None:
        """Check the gradient for the output of a layer, its weights and their gradients."""
        if not all_finite(grad):
            raise FloatingPointError(
                f"[Model] NN_DEBUG: the gradient of {self._source} is not finite."
            )
        label = self._source = label_of(name)
        self._check(label, "gradient", None, layer.params)
        for key, values in layer.grads.items():
            if not all_finite(values):
                raise FloatingPointError(
                    f"[Model] NN_DEBUG: the gradient of '{key}' in {label} is not finite."
                )

    def _check(self, label: str, what: str, array: Array, params: dict[str, Array]) -> None:
        bad = [f"weight '{key}'" for key, values in params.items() if not all_finite(values)]
        if array is not None and not all_finite(array):
            also = f", nor its {bad[0]}" if bad else ""
            raise FloatingPointError(
                f"[Model] NN_DEBUG: the {what} of {label} is not finite{also}."
            )
        if bad:
            raise FloatingPointError(f"[Model] NN_DEBUG: the {bad[0]} in {label} is not finite.")


def first_not_finite(stack: Any, x: Array) -> str:
    """Return in which layer of a model a NaN or an infinity appears first for the batch x."""

    def look(name: str, layer: Layer, y: Array) -> None:
        for key, param in layer.params.items():
            if not all_finite(param):
                found = f"{label_of(name)} has NaN or infinite values in '{key}': {ADVICE}"
                raise _FoundError(found)
        if not all_finite(y):
            raise _FoundError(f"{label_of(name)} returned NaN or infinite values: {ADVICE}")

    try:
        with observe(stack, on_output=look):
            forward_through(stack.sublayers(), x, None)
    except _FoundError as found:
        return str(found)
    return f"all layers are finite, so the loss itself overflowed: {ADVICE}"


def check_gradients(
    pairs: list[tuple[Array, Array]], parameters: Sequence[Parameter], look_at_all: bool = False
) -> None:
    """Raise a FloatingPointError if a gradient is NaN or infinite, before the optimizer's step.

    Only the gradients of vectors, such as biases, are checked: they are sums over a layer's
    whole gradient, so that they are not finite if it is not. All are checked if there are no
    vectors, or to `look_at_all`.
    """
    vectors = []
    for _, grad in pairs:
        if grad.ndim == 1 and not look_at_all:
            vectors.append(grad)
    vectors = vectors or [grad.ravel() for _, grad in pairs]
    xp = cuda.get_array_module(*vectors[:1])
    if not vectors or math.isfinite(float(abs(xp.concatenate(vectors)).max())):
        return  # of the largest alone, as NaN counts as larger than all others
    for (_, grad), (name, _, key) in zip(reversed(pairs), reversed(parameters), strict=True):
        if not all_finite(grad):
            raise FloatingPointError(
                f"[Model] the loss is finite, but the gradient of '{key}' in "
                f"{label_of(name.removesuffix('_' + key))} has NaN or infinite values: {ADVICE}"
            )


def check_weights(layers: Iterable[Layer]) -> None:
    """Raise a FloatingPointError if a weight, or a running statistic, is NaN or infinite."""
    for name, layer in named_layers(layers):
        for key, array in (*layer.params.items(), *layer.buffers.items()):
            if not all_finite(array):
                raise FloatingPointError(
                    f"[Model] {label_of(name)} has NaN or infinite values in '{key}': {ADVICE}"
                )


def label_of(name: str) -> str:
    """Return what messages call a layer.

    Examples
    --------
    >>> label_of("7_Dense"), label_of("3_Residual/0_Conv2D")
    ('layer 7 (Dense)', 'layer 3_Residual/0_Conv2D')
    """
    if "/" in name:
        return f"layer {name}"
    index, _, kind = name.partition("_")
    return f"layer {index} ({kind})"
