"""Gradients by measurement: whether `backward` computes what `forward` implies.

The slope of a function of many numbers is measured by moving one number a little both ways
and looking at what the function does. It is slow and simple, and the judge of every
`backward` in this library and of those that you write.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from . import random
from .layers import Layer
from .layers.base import walk


def numerical_gradient(f: Callable[[], float], x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Return df/dx by central differences, (f(x + h) - f(x - h)) / 2h for each element.

    Parameters
    ----------
    f
        A function without arguments whose value depends on x.
    x
        A float64 array of any shape. It is changed in place while f is measured, and left as
        it was.
    step
        h; the error falls with its square, until rounding takes over near 1e-6.

    Examples
    --------
    >>> x = np.array([3.0])
    >>> numerical_gradient(lambda: float(x[0] ** 2), x).round(6)
    array([6.])
    """
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        value = x[index]
        x[index] = value + step
        above = f()
        x[index] = value - step
        below = f()
        x[index] = value
        gradient[index] = (above - below) / (2 * step)
    return gradient


def relative_error(a: Any, b: Any) -> float:
    """Return the largest difference of two arrays, relative to their largest value (at least 1e-8).

    Examples
    --------
    >>> relative_error(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    0.0
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.size == 0:
        return 0.0
    scale = max(np.abs(a).max(), np.abs(b).max(), 1e-8)
    return float(np.abs(a - b).max() / scale)


def check_gradients(
    layer: Layer, x: np.ndarray, training: bool = True, step: float = 1e-5
) -> dict[str, float]:
    """Compare a layer's `backward` with measured gradients, in float64.

    Parameters
    ----------
    layer
        A layer of the library or your own. One that is not built is built for x in float64.
    x
        A batch of inputs, away from the layer's kinks (as 0 is for ReLU): the slope is not
        defined there.
    training
        The mode of the forward pass. Each pass starts from the same state of the layer's
        random numbers and buffers, so dropout can be checked too.
    step
        Step of the measurement.

    Returns
    -------
    dict
        The relative error of the gradient for 'x' and for each parameter, '0_Conv2D_W' for one
        inside another layer; below 1e-6 for a right `backward`.

    Raises
    ------
    ValueError
        Where `backward` does not return a gradient of x's shape, or leaves out a parameter's.

    Examples
    --------
    >>> from nn.layers import Dense
    >>> errors = check_gradients(Dense(3), np.random.default_rng(0).normal(size=(4, 5)))
    >>> sorted(errors), max(errors.values()) < 1e-6
    (['W', 'b', 'x'], True)
    """
    x = np.array(x, dtype=np.float64)
    if not layer.built:
        layer.dtype = "float64"
        layer.build((None, *x.shape[1:]))
        layer.built = True
    # Inside another layer a name has the layer's before it: '0_Conv2D_W'.
    parts = [("", layer), *((f"{path}_", part) for path, part in walk(layer.sublayers()))]
    if any(p.dtype != np.float64 for _, part in parts for p in part.params.values()):
        raise ValueError(
            f"[{type(layer).__name__}] is built in float32, too coarse to measure slopes: check "
            "a layer that is not built, or one of a Model(dtype='float64')."
        )
    generator_states = [part.rng.bit_generator.state for _, part in parts]
    buffers = [
        (part, name, array.copy()) for _, part in parts for name, array in part.buffers.items()
    ]

    def forward() -> np.ndarray:
        for (_, part), state in zip(parts, generator_states, strict=True):
            part.rng.bit_generator.state = state
        for part, name, values in buffers:
            part.buffers[name][...] = values
        return layer.forward(x, training=training)

    # A random direction makes one number of the output, sensitive to every element of it.
    y = forward()
    direction = random.new_generator(0).normal(size=y.shape)
    analytical = {"x": layer.backward(direction)}
    arrays = {"x": x}
    for path, part in parts:
        analytical.update({f"{path}{name}": grad for name, grad in part.grads.items()})
        if part.trainable:
            arrays.update({f"{path}{name}": param for name, param in part.params.items()})
    errors = {}
    for name, array in arrays.items():
        gradient = analytical.get(name)
        if gradient is None or gradient.shape != array.shape:
            shape = None if gradient is None else gradient.shape
            raise ValueError(
                f"[{type(layer).__name__}] backward() must give a gradient of shape "
                f"{array.shape} for '{name}', got {shape}."
            )
        gradient = np.array(gradient)  # the layer may reuse it
        measured = numerical_gradient(lambda: float((forward() * direction).sum()), array, step)
        errors[name] = relative_error(gradient, measured)
    return errors
