"""Forward and backward passes through a list of layers, and helpers for such lists.

A model calls these functions for its layers and a container for its own, so that a batch takes the
same way at any depth.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import cuda
from .base import Array, Layer
from .masks import Mask
from .observe import active_observers
from .plan import named_layers


def forward_through(
    layers: Sequence[Layer], x: Array, training: bool | None, mask: Mask = None
) -> tuple[Array, Mask]:
    """Return the output of layers, one after the other, for a batch, and the mask of its steps.

    Parameters
    ----------
    layers
        The stack.
    x, training
        As for `Layer.forward`.
    mask
        (N, T), True for the steps of x that are there; None if all are.
    """
    observers = active_observers.get()
    for layer in layers:
        if mask is None and not layer.makes_mask:
            x = layer.forward(x, training)
        elif "forward" in vars(layer):  # replaced in the object, so that a container's may not fit
            x, mask = Layer.forward_masked(layer, x, training, mask)
        else:
            x, mask = layer.forward_masked(x, training, mask)
        for observer in observers:
            observer.output(layer, x)
    return x, mask


def step_through(layers: Sequence[Layer], x: Array, state: Any) -> tuple[Array, list[Any]]:
    """Return the output of layers for the next step alone, and the state of each after it."""
    after = []
    first = layers[0] if layers else None
    shape = None if first is None or not first.built else first.built_shape
    if shape is not None and len(shape) > 1 and x.ndim == len(shape) - 1 and x.ndim <= 2:
        one = "(N, 1)" if len(shape) == 2 else f"(N, 1, {shape[2]})"
        name = type(first).__name__
        raise ValueError(
            f"[{name}] step() expects one step 'x' of shape {one}, got {x.shape}: for step t of x, "
            "pass x[:, t : t + 1], not x[:, t]."
        )
    for layer, before in zip(layers, state or [None] * len(layers), strict=True):
        x, own = layer.step(x, before)
        after.append(own)
    return x, after


def backward_through(layers: Sequence[Layer], grad: Array) -> Array:
    """Fill the layers' gradients, the last layer first; return the gradient for the input."""
    observers = active_observers.get()
    for layer in reversed(layers):
        output_grad = grad if observers else None  # else its memory serves the layers below
        grad = layer.backward(grad)
        if grad is None:
            raise _returns_none(layer)
        for observer in observers:
            observer.gradient(layer, output_grad)
    return grad


def backward_params_through(layers: Sequence[Layer], grad: Array, lowest: int | None) -> None:
    """Fill the layers' gradients, the last layer first, without the gradient for the input.

    Parameters
    ----------
    layers
        The stack, after a forward pass.
    grad
        Gradient of the loss for its output.
    lowest
        Index of the lowest layer with parameters to train, as `Plan.lowest_of` finds it: what is
        below it is skipped, and drops what it kept. None skips all layers.
    """
    below = len(layers) if lowest is None else lowest
    if lowest is not None:
        grad = backward_through(layers[lowest + 1 :], grad)
        last = layers[lowest]
        is_own = getattr(last.backward, "__func__", None) is type(last)._own_backward
        if is_own or "backward_params" in vars(last):
            last.backward_params(grad)
        elif last.backward(grad) is None:  # it was replaced, in the object or in the class
            raise _returns_none(last)
        for observer in active_observers.get():
            observer.gradient(last, grad)
    for layer in layers[:below]:
        layer.forget()


def _returns_none(layer: Layer) -> TypeError:
    """Return the error of a `backward` without a `return`."""
    return TypeError(
        f"[{type(layer).__name__}] backward() must return the gradient for its input, got None: "
        "end it with return; or with return 0 * grad of the input's shape, if there is none."
    )


def flat(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers with what is inside each stack in its place."""
    chain: list[Layer] = []
    for layer in layers:
        is_stack = vars(type(layer)).get("is_plain_stack", False)
        is_stack = is_stack and "forward" not in vars(layer)  # nor one replaced in the object
        chain += flat(layer.sublayers()) if is_stack else [layer]
    return chain


def check_distinct(owner: str, layers: Iterable[Layer], present: Iterable[Layer] = ()) -> None:
    """Raise where a layer object, or an activation inside one, would stand in a model twice."""
    seen = {id(part) for layer in present for part in _all_layers(layer)}
    for layer in layers:
        for part in _all_layers(layer):
            if id(part) in seen:
                raise ValueError(
                    f"[{owner}] 'layers' must not hold a layer object twice, got {layer!r} again: "
                    "make a second layer (an activation given as an object counts as one)."
                )
            seen.add(id(part))


def _all_layers(layer: Layer) -> Iterator[Layer]:
    """Yield a layer, all layers inside it, their activations, and what a `WeightNorm` wraps."""
    for _, part in named_layers([layer]):
        yield part
        for inner in (getattr(part, "activation", None), getattr(part, "layer", None)):
            if isinstance(inner, Layer):
                yield inner


def set_generator(layer: Layer, rng: np.random.Generator) -> None:
    """Give a layer its source of random numbers, and each layer inside it a child of it."""
    layer.rng = rng
    for part in layer.sublayers():
        set_generator(part, rng.spawn(1)[0])


def move_to_device(layer: Layer, device: str) -> None:
    """Move the arrays of a layer, and of those inside it, to 'gpu' or 'cpu'.

    What was kept for `backward` is dropped.
    """
    for _, part in named_layers([layer]):
        for arrays in (part.params, part.grads, part.buffers):
            for name, array in arrays.items():
                arrays[name] = cuda.to_device(array, device)
        part.forget()
