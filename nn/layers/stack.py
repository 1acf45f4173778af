"""A batch through a list of layers, forward and backward; and what is done to a list of layers.

A model calls these functions for its layers and a container for its own, so that a batch takes the
same way at any depth.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import cuda
from .base import Array, Layer
from .plan import named_layers

# Called with an array, the layer that made it, and 'output' or 'gradient'.
Watch = Callable[[Array, Layer, str], Any]


def forward_through(
    layers: Sequence[Layer], x: Array, training: bool | None, watch: Watch | None = None
) -> Array:
    """Return the output of layers, one after the other, for a batch."""
    for layer in layers:
        x = layer.forward(x, training)
        if watch is not None:
            watch(x, layer, "output")
    return x


def backward_through(
    layers: Sequence[Layer],
    grad: Array,
    wants_input_grad: bool = True,
    forget: bool = False,
    watch: Watch | None = None,
) -> Array:
    """Fill the layers' gradients, the last layer first; return the gradient for the input.

    Parameters
    ----------
    layers
        The stack, after a forward pass.
    grad
        Gradient of the loss for its output.
    wants_input_grad
        False where nobody reads the result: then it goes no further than to the lowest layer
        with weights to train, and returns None.
    forget
        Whether to drop what a layer kept as soon as it was used, so that its memory serves the
        layers before it.
    watch
        Called with each gradient.
    """
    lowest = 0
    if not wants_input_grad:
        lowest = next((k for k, layer in enumerate(layers) if is_trained(layer)), 0)
    for index in reversed(range(lowest, len(layers))):
        layer = layers[index]
        is_read = wants_input_grad or index > lowest
        grad = _backward(layer, grad, is_read)
        if watch is not None and is_read:
            watch(grad, layer, "gradient")
        if forget:
            layer.forget()
    if forget:
        for layer in layers[:lowest]:
            layer.forget()
    return grad if wants_input_grad else None


def _backward(layer: Layer, grad: Array, is_read: bool) -> Array:
    """Return `layer.backward(grad)` after telling it whether the result is read."""
    layer.wants_input_grad = is_read
    try:
        return layer.backward(grad)
    finally:
        layer.wants_input_grad = True


def is_trained(layer: Layer) -> bool:
    """Tell whether a layer, or one inside it, has parameters that training changes."""
    return any(part.params and part.trainable for _, part in named_layers([layer]))


def check_distinct(owner: str, layers: Iterable[Layer], present: Iterable[Layer] = ()) -> None:
    """Raise where a layer object, or an activation inside one, would stand in a model twice."""
    seen = {id(part) for layer in present for part in _parts(layer)}
    for layer in layers:
        for part in _parts(layer):
            if id(part) in seen:
                raise ValueError(
                    f"[{owner}] 'layers' must not hold a layer object twice, got {layer!r} again: "
                    "make a second layer (an activation given as an object counts as one)."
                )
            seen.add(id(part))


def _parts(layer: Layer) -> Iterator[Layer]:
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
        part._kept = None
