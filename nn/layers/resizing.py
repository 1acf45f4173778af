"""Layers that make images larger without weights: a border of zeros, pixels repeated or blended.

`Conv2DTranspose` in `conv` is the one with weights.
"""

from typing import Any

from .. import checks, kernels
from .base import Array, Layer, Shape
from .config import register

_IMAGES = "images are (N, C, H, W); add Reshape((C, H, W)) before it."


@register
class ZeroPad2D(Layer):
    """Zeros around each image.

    Parameters
    ----------
    padding
        Rows and columns to add: a number for every side, (height, width) for each of two sides,
        or ((top, bottom), (left, right)).
    **common
        `name` and `input_shape` (C, H, W), as every layer takes them.

    Raises
    ------
    ValueError
        For an input that is not (N, C, H, W).

    Examples
    --------
    >>> import numpy as np
    >>> ZeroPad2D(((0, 1), (2, 0))).forward(np.ones((1, 1, 1, 2)))
    array([[[[0., 0., 1., 1.],
             [0., 0., 0., 0.]]]])
    """

    input_ndim = (4,)
    input_hint = _IMAGES

    fixed_axes = slice(1, None)

    def __init__(
        self,
        padding: int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]] = 1,
        **common: Any,
    ):
        super().__init__(**common)
        self.padding = _margins(padding)

    def build(self, input_shape: Shape) -> None:
        """Compute the output's size for inputs (None, C, H, W)."""
        self._check_shape(input_shape)
        size = [
            None if n is None else n + before + after
            for n, (before, after) in zip(input_shape[2:], self.padding, strict=True)
        ]
        self._built(input_shape, (None, input_shape[1], *size))

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x with zeros around it."""
        x = self._check_input(x)
        y = kernels.zero_pad2d(x, self.padding)
        self._keep(training, y)
        return y

    def backward(self, grad: Array) -> Array:
        """Return the gradient without the border."""
        self._recall_for(grad)
        return kernels.zero_pad2d_grad(grad, self.padding)


@register
class UpSample2D(Layer):
    """Images some whole number of times as high and as wide.

    Parameters
    ----------
    size
        Factors for (height, width), or one number for both.
    interpolation
        'nearest' repeats each pixel. 'bilinear' blends the two nearest of each axis by their
        distance from the output pixel's center; beyond the outermost centers the outermost pixels
        are repeated.
    **common
        `name` and `input_shape` (C, H, W), as every layer takes them.

    Raises
    ------
    ValueError
        For an input that is not (N, C, H, W).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[[0.0, 4.0]]]])
    >>> UpSample2D((1, 2)).forward(x)
    array([[[[0., 0., 4., 4.]]]])
    >>> UpSample2D((1, 2), "bilinear").forward(x)
    array([[[[0., 1., 3., 4.]]]])
    """

    input_ndim = (4,)
    input_hint = _IMAGES

    fixed_axes = slice(1, None)

    def __init__(
        self,
        size: int | tuple[int, int] = (2, 2),
        interpolation: str = "nearest",
        **common: Any,
    ):
        super().__init__(**common)
        self.size = checks.pair("UpSample2D", "size", size)
        if interpolation not in ("nearest", "bilinear"):
            known = ["nearest", "bilinear"]
            raise checks.unknown("UpSample2D", "interpolation", interpolation, known)
        self.interpolation = interpolation

    def build(self, input_shape: Shape) -> None:
        """Compute the output's size for inputs (None, C, H, W)."""
        self._check_shape(input_shape)
        height, width = (
            None if n is None else n * times
            for n, times in zip(input_shape[2:], self.size, strict=True)
        )
        self._built(input_shape, (None, input_shape[1], height, width))

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the larger images."""
        x = self._check_input(x)
        nearest = self.interpolation == "nearest"
        y = (kernels.repeat_pixels if nearest else kernels.interpolate_pixels)(x, self.size)
        self._keep(training, y)
        return y

    def backward(self, grad: Array) -> Array:
        """Return the sum of the gradients of each pixel's copies, or of its weighted parts."""
        self._recall_for(grad)
        if self.interpolation == "nearest":
            return kernels.repeat_pixels_grad(grad, self.size)
        return kernels.interpolate_pixels_grad(grad, self.size)


def _margins(padding: Any) -> kernels.Padding:
    """Return ((top, bottom), (left, right)) for any of the ways to write it."""
    if isinstance(padding, tuple | list) and any(isinstance(p, tuple | list) for p in padding):
        if len(padding) != 2:
            rule = "must be a number, (height, width) or ((top, bottom), (left, right))"
            raise checks.error("ZeroPad2D", "padding", rule, padding)
        rows, columns = (checks.pair("ZeroPad2D", "padding", p, minimum=0) for p in padding)
        return rows, columns
    height, width = checks.pair("ZeroPad2D", "padding", padding, minimum=0)
    return (height, height), (width, width)
