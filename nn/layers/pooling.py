"""Pooling: one value for each window of an image, or for the whole of it."""

from typing import Any

from .. import checks, cuda, kernels
from .base import Array, Layer, Shape
from .config import register
from .conv import any_size, check_padding


class WindowPool(Layer):
    """Base class of max and average pooling: the geometry of their windows."""

    input_ndim = (4,)
    input_hint = "images are (N, C, H, W); add Reshape((C, H, W)) before it."

    fixed_axes = slice(1, None)

    #: The arguments of the kernels; None if the input's size is not known.
    _geometry: tuple | None = None

    def __init__(
        self,
        pool_size: int | tuple[int, int] = (2, 2),
        stride: int | tuple[int, int] | None = None,
        padding: str | int | tuple[int, int] = "valid",
        **common: Any,
    ):
        super().__init__(**common)
        owner = type(self).__name__
        self.pool_size = checks.pair(owner, "pool_size", pool_size)
        self.stride = self.pool_size if stride is None else checks.pair(owner, "stride", stride)
        self.padding = check_padding(owner, padding)
        if not isinstance(self.padding, str) and any(
            p >= k for p, k in zip(self.padding, self.pool_size, strict=True)
        ):
            raise checks.error(owner, "padding", f"must be below pool_size {pool_size}", padding)

    def build(self, input_shape: Shape) -> None:
        """Compute the output's size for inputs (None, C, H, W)."""
        self._check_shape(input_shape)
        self._geometry = None if None in input_shape[2:] else self._geometry_for(input_shape)
        self._built(input_shape, (None, input_shape[1], *any_size(input_shape, self._output_size)))

    def _output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return (OH, OW) for inputs of a size (H, W), which must not be smaller than a window."""
        out = kernels.output_size(size, *self._geometry_for((None, None, *size)))
        if min(out) < 1:
            rule = f"must not be larger than the padded input, here of {size} pixels"
            raise checks.error(type(self).__name__, "pool_size", rule, self.pool_size)
        return out

    def _geometry_for(self, shape: Shape) -> tuple:
        """Return the arguments of the kernels for inputs of a shape (N, C, H, W)."""
        size: Any = shape[2:]
        padding = kernels.resolve_padding(self.padding, size, self.pool_size, self.stride)
        return self.pool_size, self.stride, padding

    def _accept(self, x: Array) -> None:
        super()._accept(x)
        if self._geometry is None:
            self._output_size(x.shape[2:])  # which may be too small


@register
class MaxPool2D(WindowPool):
    """The largest value of each window; padding never wins.

    Parameters
    ----------
    pool_size
        (height, width) of a window, or one number for both.
    stride
        Step between windows; None means the pool size, so that the windows tile the image.
    padding
        'valid', 'same', a number or a pair, as for `Conv2D`, below the pool size.
    **common
        `name` and `input_shape` (C, H, W), as every layer takes them.

    Raises
    ------
    ValueError
        For an input that is not (N, C, H, W), or a window larger than the padded input.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPool2D().forward(np.arange(4.0).reshape(1, 1, 2, 2))
    array([[[[3.]]]])
    """

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the maxima of x (N, C, H, W), as (N, C, OH, OW)."""
        x = self._check_input(x)
        geometry = self._geometry or self._geometry_for(x.shape)
        y, index = kernels.max_pool2d(x, *geometry, training is not None)
        self._keep(training, y, index, x.shape)
        return y

    def backward(self, grad: Array) -> Array:
        """Pass each window's gradient to the position of its maximum."""
        index, shape = self._recall_for(grad)
        geometry = self._geometry or self._geometry_for(shape)
        return kernels.max_pool2d_grad(grad, index, shape, *geometry)


@register
class AvgPool2D(WindowPool):
    """The mean of each window over its cells on the image: padding is not counted.

    Parameters
    ----------
    pool_size, stride, padding
        As for `MaxPool2D`.
    **common
        `name` and `input_shape` (C, H, W), as every layer takes them.
    """

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the means of x (N, C, H, W), as (N, C, OH, OW)."""
        x = self._check_input(x)
        y = kernels.avg_pool2d(x, *(self._geometry or self._geometry_for(x.shape)))
        self._keep(training, y, x.shape)
        return y

    def backward(self, grad: Array) -> Array:
        """Share each window's gradient among its cells."""
        (shape,) = self._recall_for(grad)
        return kernels.avg_pool2d_grad(grad, shape, *(self._geometry or self._geometry_for(shape)))


class GlobalPool(Layer):
    """Base class of the global poolings: (N, C, H, W) -> (N, C)."""

    input_ndim = (4,)
    input_hint = "images are (N, C, H, W)."

    def build(self, input_shape: Shape) -> None:
        """Set the output's shape, (None, C)."""
        self._check_shape(input_shape)
        self._built(input_shape, (None, input_shape[1]))


@register
class GlobalAvgPool2D(GlobalPool):
    """The mean of each channel: (N, C, H, W) -> (N, C).

    Lin, Chen and Yan 2014, "Network in network", arXiv 1312.4400, section 3.2.
    """

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the mean of each channel."""
        x = self._check_input(x)
        y = x.mean(axis=2).mean(axis=2)  # one sum over all pixels would lose digits
        self._keep(training, y, x.shape)
        return y

    def backward(self, grad: Array) -> Array:
        """Share each channel's gradient among its pixels."""
        (shape,) = self._recall_for(grad)
        n, c, h, w = shape
        xp = cuda.get_array_module(grad)
        # (N, C) -> (N, 1, 1, C) -> (N, H, W, C) -> (N, C, H, W)
        share = xp.broadcast_to((grad / (h * w)).reshape(n, 1, 1, c), (n, h, w, c))
        return kernels.channels_first(xp.ascontiguousarray(share))


@register
class GlobalMaxPool2D(GlobalPool):
    """The largest value of each channel: (N, C, H, W) -> (N, C); the first of equals wins."""

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the maximum of each channel."""
        x = self._check_input(x)
        xp = cuda.get_array_module(x)
        n, c, h, w = x.shape
        pixels = kernels.channels_last(x).reshape(n, h * w, c)  # (N, C, H, W) -> (N, H*W, C)
        index = pixels.argmax(axis=1)[:, xp.newaxis]  # (N, 1, C)
        y = xp.take_along_axis(pixels, index, axis=1)[:, 0]  # (N, C)
        self._keep(training, y, index, x.shape)
        return y

    def backward(self, grad: Array) -> Array:
        """Pass each channel's gradient to the position of its maximum."""
        index, (n, c, h, w) = self._recall_for(grad)
        xp = cuda.get_array_module(grad)
        is_max = xp.arange(h * w)[:, xp.newaxis] == index  # (N, H*W, C)
        dx = xp.where(is_max, grad[:, xp.newaxis], 0)  # (N, 1, C) -> (N, H*W, C)
        return kernels.channels_first(dx.reshape(n, h, w, c))
