"""Layers that change the shape of their input, not its values."""

import math
from collections.abc import Iterable
from typing import Any

from .. import checks, kernels
from .base import Array, Layer, Shape
from .config import register


@register
class Reshape(Layer):
    """Reshape each sample, in the order of its axes: (C, H, W) for images.

    Parameters
    ----------
    target_shape
        Shape of one sample, without the batch axis; one entry may be -1.
    **common
        `name` and `input_shape`, as every layer takes them.

    Raises
    ------
    ValueError
        If a sample does not have as many values as the shape.

    Examples
    --------
    >>> import numpy as np
    >>> Reshape((1, 28, 28)).forward(np.zeros((5, 784))).shape
    (5, 1, 28, 28)
    """

    fixed_axes = slice(1, None)

    def __init__(self, target_shape: tuple[int, ...] | int, **common: Any):
        super().__init__(**common)
        shape = tuple(target_shape) if isinstance(target_shape, Iterable) else (target_shape,)
        rule = "must be positive sizes, one of which may be -1"
        if not all(checks.is_integer(n) and (n > 0 or n == -1) for n in shape):
            raise checks.error("Reshape", "target_shape", rule, target_shape)
        if shape.count(-1) > 1:
            raise checks.error("Reshape", "target_shape", rule, target_shape)
        self.target_shape = tuple(int(n) for n in shape)

    def build(self, input_shape: Shape) -> None:
        """Compute the output's shape."""
        if None in input_shape[1:]:  # each batch has its own
            sample = tuple(None if n == -1 else n for n in self.target_shape)
        else:
            sample = self._sample(input_shape)
        self._built(input_shape, (None, *sample))

    def _sample(self, shape: Shape) -> tuple[int, ...]:
        """Return the output's shape of a sample, for inputs of a shape (N, ...)."""
        values = math.prod(int(n or 0) for n in shape[1:])
        known = math.prod(n for n in self.target_shape if n != -1)
        if values % known or (-1 not in self.target_shape and values != known):
            raise ValueError(
                f"[Reshape] 'target_shape' {self.target_shape} must hold the {values} values of "
                f"a sample, got inputs of shape {tuple(shape)}."
            )
        return tuple(values // known if n == -1 else n for n in self.target_shape)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x (N, ...) as (N, *target_shape)."""
        x = self._check_input(x)
        sizes = (self.output_shape or ())[1:]
        if None in (self.built_shape or ())[1:]:
            sizes = self._sample(x.shape)
        y = x.reshape(x.shape[0], *sizes)
        self._keep(training, y, x.shape)
        return y

    def backward(self, grad: Array) -> Array:
        """Return the gradient in the input's shape."""
        (shape,) = self._recall_for(grad)
        grad = grad.reshape(shape)
        if len(shape) != 4:
            return grad
        # In the memory layout of the layers before
        return kernels.as_channels_last(grad)


@register
class Flatten(Reshape):
    """Flatten each sample in the order (C, H, W): (N, C, H, W) -> (N, C*H*W)."""

    def __init__(self, **common: Any):
        super().__init__((-1,), **common)

    def to_config(self) -> dict[str, Any]:
        """Return the layer's class and arguments."""
        return self._config()
