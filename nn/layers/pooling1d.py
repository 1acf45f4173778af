"""Pooling of sequences: one value for each window of steps, or for all steps."""

import math
from typing import Any

from .. import checks, cuda, kernels
from .base import Array, Layer, Shape
from .config import register
from .conv1d import HINT, check_padding, output_steps, resolve_padding


class StepPool(Layer):
    """Base class of max and average pooling of steps: the geometry of their windows."""

    input_ndim = (3,)
    input_hint = HINT
    fixed_axes = slice(2, None)

    def __init__(
        self,
        pool_size: int = 2,
        stride: int | None = None,
        padding: str | int = "valid",
        **common: Any,
    ):
        super().__init__(**common)
        owner = type(self).__name__
        self.pool_size = checks.positive_int(owner, "pool_size", pool_size)
        stride = self.pool_size if stride is None else stride
        self.stride = checks.positive_int(owner, "stride", stride)
        self.padding = check_padding(owner, padding, ("valid", "same"))
        if not isinstance(self.padding, str) and self.padding >= self.pool_size:
            raise checks.error(owner, "padding", f"must be below pool_size {pool_size}", padding)

    def build(self, input_shape: Shape) -> None:
        """Compute the number of outputs for inputs (None, T, D)."""
        self._check_shape(input_shape)
        steps = input_shape[1]
        out = None if steps is None else self._output_steps(steps)
        self._built(input_shape, (None, out, input_shape[2]))

    def _output_steps(self, steps: int) -> int:
        size, padding = (steps, self.pool_size), self._geometry(steps)[2]
        return output_steps(type(self).__name__, "pool_size", size, padding, (self.stride, 1))

    def _geometry(self, steps: int) -> tuple:
        """Return the arguments of the kernels of 2-D pooling for an image of one row."""
        padding = resolve_padding(self.padding, steps, self.pool_size, self.stride)
        return (1, self.pool_size), (1, self.stride), padding

    def _accept(self, x: Array) -> None:
        super()._accept(x)
        self._output_steps(x.shape[1])  # which may be too few


@register
class MaxPool1D(StepPool):
    """The largest value of each window of steps; padding never wins.

    Parameters
    ----------
    pool_size
        Steps of a window.
    stride
        Steps between windows; None means the pool size, so that the windows tile the sequence.
    padding
        'valid', 'same', or a number of steps on each side, as for `Conv1D`, below the pool size.
    **common
        `name` and `input_shape` (T, D), as every layer takes them.

    Raises
    ------
    ValueError
        For an input that is not (N, T, D), or a window longer than the padded sequence.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPool1D().forward(np.array([[[1.0], [3.0], [2.0], [0.0]]])).tolist()
    [[[3.0], [2.0]]]
    """

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the maxima of x (N, T, D), as (N, T', D)."""
        x = self._check_input(x)
        geometry, row = self._geometry(x.shape[1]), kernels.steps_to_row(x)
        y, index = kernels.max_pool2d(row, *geometry, training is not None)
        y = kernels.row_to_steps(y)
        self._keep(training, y, index, x.shape)
        return y

    def backward(self, grad: Array) -> Array:
        """Pass each window's gradient to the step of its maximum."""
        index, (n, steps, features) = self._recall_for(grad)
        shape, row = (n, features, 1, steps), kernels.steps_to_row(grad)
        return kernels.row_to_steps(
            kernels.max_pool2d_grad(row, index, shape, *self._geometry(steps))
        )


@register
class AvgPool1D(StepPool):
    """The mean of each window over its steps of the sequence: padding is not counted.

    Parameters
    ----------
    pool_size, stride, padding
        As for `MaxPool1D`.
    **common
        `name` and `input_shape` (T, D), as every layer takes them.

    Examples
    --------
    >>> import numpy as np
    >>> AvgPool1D().forward(np.array([[[1.0], [3.0], [2.0], [0.0]]])).tolist()
    [[[2.0], [1.0]]]
    """

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the means of x (N, T, D), as (N, T', D)."""
        x = self._check_input(x)
        geometry, row = self._geometry(x.shape[1]), kernels.steps_to_row(x)
        y = kernels.row_to_steps(kernels.avg_pool2d(row, *geometry))
        self._keep(training, y, x.shape)
        return y

    def backward(self, grad: Array) -> Array:
        """Share each window's gradient among its steps."""
        ((n, steps, features),) = self._recall_for(grad)
        shape, row = (n, features, 1, steps), kernels.steps_to_row(grad)
        return kernels.row_to_steps(kernels.avg_pool2d_grad(row, shape, *self._geometry(steps)))


class GlobalStepPool(Layer):
    """Base class of the poolings of all steps: (N, T, D) -> (N, D)."""

    input_ndim = (3,)
    input_hint = HINT
    fixed_axes = slice(2, None)

    #: Steps that a mask leaves out are ignored.
    uses_mask = True

    def build(self, input_shape: Shape) -> None:
        """Set the output's shape, (None, D)."""
        self._check_shape(input_shape)
        self._built(input_shape, (None, input_shape[2]))


@register
class GlobalAvgPool1D(GlobalStepPool):
    """The mean over the steps of each feature: (N, T, D) -> (N, D).

    Steps that a mask leaves out are not counted; a sequence without any steps gives zeros.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[1.0], [3.0], [8.0]]])
    >>> layer = GlobalAvgPool1D()
    >>> layer.forward(x), layer.forward(x, mask=np.array([[True, True, False]]))
    (array([[4.]]), array([[2.]]))
    """

    def forward(self, x: Array, training: bool | None = False, mask: Array | None = None) -> Array:
        """Return the means of x (N, T, D) over the steps of a mask (N, T), or over all."""
        x = self._check_input(x)
        mask = checks.mask(type(self).__name__, mask, x.shape[:2])
        xp = cuda.get_array_module(x)
        there = xp.ones(x.shape[:2], x.dtype) if mask is None else mask.astype(x.dtype)
        share = there / xp.maximum(there.sum(axis=1, keepdims=True), 1)  # (N, T)
        y = (x * share[:, :, xp.newaxis]).sum(axis=1, dtype=xp.float64).astype(x.dtype)
        self._keep(training, y, share)
        return y

    def backward(self, grad: Array) -> Array:
        """Share each feature's gradient among the steps."""
        (share,) = self._recall_for(grad)
        return share[:, :, None] * grad[:, None]  # (N, T, 1) * (N, 1, D) -> (N, T, D)


@register
class GlobalMaxPool1D(GlobalStepPool):
    """The largest value of each feature: (N, T, D) -> (N, D); the first of equals wins.

    Steps that a mask leaves out are ignored; a sequence without any steps gives zeros.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[1.0], [3.0], [8.0]]])
    >>> layer = GlobalMaxPool1D()
    >>> layer.forward(x), layer.forward(x, mask=np.array([[True, True, False]]))
    (array([[8.]]), array([[3.]]))
    """

    def forward(self, x: Array, training: bool | None = False, mask: Array | None = None) -> Array:
        """Return the maxima of x (N, T, D) over the steps of a mask (N, T), or over all."""
        x = self._check_input(x)
        mask = checks.mask(type(self).__name__, mask, x.shape[:2])
        xp, (n, steps, features) = cuda.get_array_module(x), x.shape
        if not steps:  # as one step that a mask leaves out
            x, mask = xp.zeros((n, 1, features), x.dtype), xp.zeros((n, 1), bool)
        if mask is not None:
            x = xp.where(mask[:, :, xp.newaxis], x, -math.inf)
        index = x.argmax(axis=1)[:, xp.newaxis]  # (N, 1, D)
        y = xp.take_along_axis(x, index, axis=1)[:, 0]  # (N, D)
        if mask is not None:
            is_empty = ~mask.any(axis=1)[:, xp.newaxis]  # (N, 1)
            y = xp.where(is_empty, 0, y)
            index = xp.where(is_empty[:, xp.newaxis], -1, index)  # which is no step
        self._keep(training, y, index, steps)
        return y

    def backward(self, grad: Array) -> Array:
        """Pass each feature's gradient to the step of its maximum."""
        index, steps = self._recall_for(grad)
        xp = cuda.get_array_module(grad)
        is_max = xp.arange(steps)[:, xp.newaxis] == index  # (N, T, D)
        return xp.where(is_max, grad[:, xp.newaxis], 0)  # (N, 1, D) -> (N, T, D)
