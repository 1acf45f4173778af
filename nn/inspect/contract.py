"""What a forward and a backward pass may change, and what they must return.

The gradient checks run the passes of a layer through these functions. A wrong number is found by a
numerical gradient; these find what a number does not show: a pass that changes the arrays of
others, returns something else than an array, or depends on the batches before.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from .. import cuda
from ..layers import Layer
from ..layers.masks import Mask
from ..layers.plan import named_layers
from ..layers.stack import forward_through

Array = Any  # numpy.ndarray or cupy.ndarray


def forward(
    layer: Layer, x: Array, training: bool, label: str, mask: Mask = None
) -> tuple[Array, Mask]:
    """Return the output and mask of a layer, which must leave its input and parameters alone.

    Parameters
    ----------
    layer, x, training
        The layer and the arguments of the pass.
    label
        The layer's name in messages: '[Scale] {}' or '[check_model] {} of 2_Scale'.
    mask
        The steps of x that are there; None if all are.

    Raises
    ------
    ValueError
        If the pass changes x or a parameter, or returns another number of samples.
    """
    label = label.format("forward()")
    with _unchanged(label, {"its input 'x'": x, **_arrays(layer, "params")}), _named(label):
        y, mask = forward_through((layer,), x, training, mask)
    if getattr(y, "shape", ())[:1] != x.shape[:1]:
        got = getattr(y, "shape", type(y).__name__)
        raise ValueError(f"{label} must return {len(x)} samples for {len(x)} samples, got {got}.")
    return y, mask


def backward(layer: Layer, grad: Array, x: Array, label: str) -> Array:
    """Return the result of `layer.backward`: the gradient for x, of its shape and dtype.

    Parameters
    ----------
    layer, grad
        The layer and the argument of the pass.
    x
        The input of the forward pass.
    label
        As for `forward`.

    Raises
    ------
    ValueError
        If the pass changes x, `grad`, a parameter or a buffer, or returns something else.
    """
    label = label.format("backward()")
    arrays = {"the input 'x' of forward()": x, "the gradient 'grad' that is passed to it": grad}
    arrays |= {**_arrays(layer, "params"), **_arrays(layer, "buffers")}
    with _unchanged(label, arrays), _named(label):
        dx = layer.backward(grad)
    dtype = x.dtype if x.dtype.kind == "f" else grad.dtype  # ids have none
    check_gradient(dx, x.shape, dtype, label, "input")
    return dx


def check_gradient(grad: Any, shape: tuple[int, ...], dtype: Any, label: str, name: str) -> None:
    """Raise ValueError unless `grad` is an array of this shape and dtype."""
    found = getattr(grad, "shape", None)
    if found != shape:
        got = None if grad is None else found if found is not None else type(grad).__name__
        raise ValueError(
            f"{label} must compute a gradient of shape {shape} for '{name}', got {got}."
        )
    if grad.dtype != dtype:
        raise ValueError(
            f"{label} must compute a gradient of dtype {dtype} for '{name}', got {grad.dtype}."
        )


def check_repeated(first: Array, again: Array, label: str, name: str) -> None:
    """Raise ValueError if a second, equal pass computes another gradient than the first did."""
    scale = float(abs(first).max()) if first.size else 0.0
    if first.size and float(abs(first - again).max()) > 1e-9 * scale:
        what = "return the same" if name in ("input", "x") else f"set grads['{name}']"
        raise ValueError(
            f"{label} computes another gradient for '{name}' when forward() and backward() are "
            f"repeated with the same batch: it must {what} each time, not add to it, and keep "
            "nothing of the batches before."
        )


def other_batch(x: Array) -> Array:
    """Return a batch of the same shape and kind with other numbers, for the pass before.

    What a layer keeps of it, or adds to, must not be found in the next pass.
    """
    return x[::-1].copy() if x.dtype.kind != "f" else 0.9 * x[::-1]


def _arrays(layer: Layer, kind: str) -> dict[str, Array]:
    """Return the 'params' or 'buffers' of a layer and of those inside it, with their titles."""
    title = "the parameter" if kind == "params" else "the buffer"
    return {
        f"{title} '{name}' of {path}": array
        for path, part in named_layers([layer])
        for name, array in getattr(part, kind).items()
    }


@contextlib.contextmanager
def _named(label: str) -> Iterator[None]:
    """Add the name of the pass to an error that is raised in it."""
    try:
        yield
    except Exception as error:
        error.add_note(f"raised by {label}")
        raise


@contextlib.contextmanager
def _unchanged(label: str, arrays: dict[str, Array]) -> Iterator[None]:
    """Raise ValueError if one of the arrays is changed meanwhile."""
    copies = {title: array.copy() for title, array in arrays.items()}
    yield
    for title, array in arrays.items():
        xp = cuda.get_array_module(array)
        same = (array == copies[title]) | (xp.isnan(array) & xp.isnan(copies[title]))
        if not bool(same.all()):
            raise ValueError(
                f"{label} must not change {title}, which others use too: compute a new array, as "
                "in y = 2 * x, not x *= 2."
            )
