"""Normalization: values brought to mean 0 and variance 1, then scaled and shifted.

They differ in the axes over which mean and variance are computed. `BatchNorm` normalizes each
channel over the whole batch, so that a sample's output depends on the others in training;
`LayerNorm` and `GroupNorm` normalize within a sample, and are the same in training and inference.
"""

import math
from typing import Any

import numpy as np

from .. import checks, cuda, kernels
from .base import Array, Layer, Shape
from .budget import take_elements
from .config import register


@register
class BatchNorm(Layer):
    """Batch normalisation over every axis but the channels', for matrices and images.

    Ioffe and Szegedy 2015, arXiv 1502.03167, algorithms 1 and 2. In training a batch is
    normalised by its own mean and biased variance, and running averages of the mean and of
    the unbiased variance are kept: `running = momentum * running + (1 - momentum) * batch`.
    In inference, and in a layer with `trainable=False`, the running averages are used.

    A training batch with one value for each channel, such as a single vector, is an error, as in
    PyTorch: its variance is 0.

    Parameters
    ----------
    momentum
        Share of the old running average that stays, in [0, 1]. (PyTorch's momentum is one
        minus this.)
    eps
        Added to the variance, above 0.
    **common
        `name`, `input_shape` and `trainable`, as every layer takes them.

    Attributes
    ----------
    params : dict
        'gamma' and 'beta' of shape (C,).
    buffers : dict
        'running_mean' and 'running_var' of shape (C,).

    Examples
    --------
    >>> import numpy as np
    >>> BatchNorm().forward(np.array([[1.0], [3.0]], dtype="float32"), training=True).round(3)
    array([[-1.],
           [ 1.]], dtype=float32)
    """

    input_ndim: tuple[int, ...] = (2, 3, 4)
    input_hint = "the channels are along axis 1."

    def __init__(self, momentum: float = 0.9, eps: float = 1e-5, **common: Any):
        super().__init__(**common)
        owner = type(self).__name__
        self.momentum = checks.fraction(owner, "momentum", momentum, include_one=True)
        self.eps = checks.positive(owner, "eps", eps)

    def build(self, input_shape: Shape) -> None:
        """Create the scale, the shift and the running averages for the channels."""
        self._check_shape(input_shape)
        channels = int(input_shape[1] or 0)
        take_elements(type(self).__name__, 4 * channels)
        self._set_param("gamma", np.ones(channels))
        self._set_param("beta", np.zeros(channels))
        self.buffers["running_mean"] = np.zeros(channels, dtype=self.dtype)
        self.buffers["running_var"] = np.ones(channels, dtype=self.dtype)
        self._built(input_shape, input_shape)

    def _fixed_sizes(self, shape: Shape) -> Shape:
        return shape[1:2]

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x (N, C, ...) normalised."""
        x = self._check_input(x)
        rows = kernels.to_rows(x)  # (N, C, ...) -> (M, C)
        gamma, beta = self.params["gamma"], self.params["beta"]
        if training and self._trainable:
            if len(rows) == 1:
                raise self.too_few(x.shape)
            y, mean, var = kernels.batch_norm(rows, gamma, beta, self.eps)
            self._update_running(mean, var, len(rows))
            self._keep(training, x, True, rows, mean, var, x.shape)
        else:
            mean, var = self.buffers["running_mean"], self.buffers["running_var"]
            y = kernels.batch_norm_inference(rows, gamma, beta, mean, var, self.eps)
            self._keep(training, x, False, rows, mean, var, x.shape)
        return kernels.from_rows(y, x.shape)

    def too_few(self, shape: tuple[int, ...]) -> ValueError:
        """Return the error for a training batch with one value for each channel."""
        return ValueError(
            f"[{type(self).__name__}] expects more than one value for each channel in training, "
            f"got {shape}: their variance is 0, and nothing can be learned. Pass batches of at "
            "least two samples, by another 'batch_size'."
        )

    def scale_and_shift(self) -> tuple[Array, Array]:
        """Return the factor and the offset of each channel in inference: (C,) and (C,)."""
        mean, var = self.buffers["running_mean"], self.buffers["running_var"]
        scale = self.params["gamma"] / cuda.get_array_module(var).sqrt(var + self.eps)
        return scale, self.params["beta"] - mean * scale

    def _update_running(self, mean: Array, var: Array, count: int) -> None:
        unbiased = var * (count / max(count - 1, 1))
        for name, batch in (("running_mean", mean), ("running_var", unbiased)):
            running = self.buffers[name]
            running *= self.momentum
            running += (1 - self.momentum) * batch

    def backward(self, grad: Array) -> Array:
        """Fill the gradients of gamma and beta; return the input's."""
        by_batch, rows, mean, var, shape = self._recall_for(grad)
        grad = kernels.to_rows(grad)  # (N, C, ...) -> (M, C)
        gamma = self.params["gamma"]
        if by_batch:
            dx, dgamma, dbeta = kernels.batch_norm_grad(grad, rows, gamma, mean, var, self.eps)
        else:
            inv_std = 1 / cuda.get_array_module(var).sqrt(var + self.eps)
            dgamma = kernels.column_sums(grad * ((rows - mean) * inv_std))
            dbeta = kernels.column_sums(grad)
            dx = grad * (gamma * inv_std)
        if self._trainable:
            self.grads["gamma"], self.grads["beta"] = dgamma, dbeta
        return kernels.from_rows(dx, shape)

    def to_config(self) -> dict[str, Any]:
        """Return the layer's class and arguments."""
        return self._config(momentum=self.momentum, eps=self.eps)


@register
class BatchNorm2D(BatchNorm):
    """Batch normalisation of images (N, C, H, W); see `BatchNorm`."""

    input_ndim = (4,)
    input_hint = "images are (N, C, H, W); use BatchNorm1D after Flatten() or Dense()."


@register
class BatchNorm1D(BatchNorm):
    """Batch normalisation of vectors (N, C) or sequences (N, C, L); see `BatchNorm`."""

    input_ndim = (2, 3)
    input_hint = "use BatchNorm2D for images (N, C, H, W)."


class SampleNorm(Layer):
    """Base class of layer and group normalization.

    A subclass sets in `groups` how many parts of the channels are normalized separately, and how
    gamma and beta are laid out.
    """

    input_ndim = (2, 3, 4)
    input_hint = "the channels are along axis 1."

    #: Number of parts of the channels.
    groups = 1

    def __init__(self, eps: float, **common: Any):
        super().__init__(**common)
        self.eps = checks.positive(type(self).__name__, "eps", eps)

    def _build_scales(self, input_shape: Shape, count: int) -> None:
        take_elements(type(self).__name__, 2 * count)
        self._set_param("gamma", np.ones(count))
        self._set_param("beta", np.zeros(count))
        self._built(input_shape, input_shape)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x (N, C, ...) normalised, times gamma, plus beta."""
        x = self._check_input(x)
        x_hat, inv_std = kernels.normalize_samples(_pixels(x), self.groups, self.eps)
        self._keep(training, x, x_hat, inv_std, x.shape)
        y = x_hat * self._by_pixel(self.params["gamma"], x.shape)
        y += self._by_pixel(self.params["beta"], x.shape)
        return kernels.from_rows(y, x.shape)

    def backward(self, grad: Array) -> Array:
        """Fill the gradients of gamma and beta; return the input's."""
        x_hat, inv_std, shape = self._recall_for(grad)
        grad = _pixels(grad)
        if self._trainable:
            self.grads["gamma"] = self._summed(grad * x_hat)
            self.grads["beta"] = self._summed(grad)
        grad = grad * self._by_pixel(self.params["gamma"], shape)
        dx = kernels.normalize_samples_grad(grad, x_hat, inv_std, self.groups)
        return kernels.from_rows(dx, shape)

    def _by_pixel(self, values: Array, shape: Shape) -> Array:
        """Return gamma or beta in a shape that meets (N, P, C)."""
        raise NotImplementedError

    def _summed(self, values: Array) -> Array:
        """Undo `_by_pixel` for gradients: sum (N, P, C) over the values that share a gamma."""
        raise NotImplementedError


@register
class LayerNorm(SampleNorm):
    """Layer normalisation: each sample over all its axes.

    Ba, Kiros and Hinton 2016, arXiv 1607.06450, section 3. It does not depend on the batch, so it
    is the same in training and inference and works with batches of one. (That of Keras normalizes
    the last axis alone by default, which for (N, features) is the same.)

    Parameters
    ----------
    eps
        Added to the variance, above 0.
    **common
        `name`, `input_shape` and `trainable`, as every layer takes them.

    Attributes
    ----------
    params : dict
        'gamma' and 'beta', a number for each value of a sample in the order of `Flatten`, of shape
        (C*H*W,) for images. One axis keeps weight decay off them.

    Raises
    ------
    ValueError
        For an input that is not (N, features), (N, C, L) or (N, C, H, W).

    Examples
    --------
    >>> import numpy as np
    >>> LayerNorm().forward(np.array([[1.0, 3.0], [10.0, 30.0]])).round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    """

    def __init__(self, *, eps: float = 1e-5, **common: Any):
        super().__init__(eps, **common)

    def build(self, input_shape: Shape) -> None:
        """Create a scale and a shift for each value of a sample."""
        self._check_shape(input_shape)
        self._build_scales(input_shape, math.prod(int(n or 0) for n in input_shape[1:]))

    def _fixed_sizes(self, shape: Shape) -> Shape:
        return shape[1:]

    def _by_pixel(self, values: Array, shape: Shape) -> Array:
        xp = cuda.get_array_module(values)
        # (C*P,) -> (C, P) -> (P, C)
        return xp.ascontiguousarray(values.reshape(int(shape[1] or 0), -1).T)

    def _summed(self, values: Array) -> Array:
        return values.sum(axis=0).T.reshape(-1)  # (N, P, C) -> (P, C) -> (C, P) -> (C*P,)

    def to_config(self) -> dict[str, Any]:
        """Return the layer's class and arguments."""
        return self._config(eps=self.eps)


@register
class GroupNorm(SampleNorm):
    """Group normalisation: in each sample, each of several groups of neighbouring channels.

    Wu and He 2018, arXiv 1803.08494, section 3. For images in batches too small for batch
    normalisation. One group is a sample at a time (but with one gamma a channel, unlike
    `LayerNorm`), as many as there are channels is instance normalisation.

    Parameters
    ----------
    groups
        Number of groups, which divides the channels.
    eps
        Added to the variance, above 0.
    **common
        `name`, `input_shape` and `trainable`, as every layer takes them.

    Attributes
    ----------
    params : dict
        'gamma' and 'beta' of shape (C,).

    Raises
    ------
    ValueError
        If the number of channels is no multiple of `groups`.

    Examples
    --------
    >>> import numpy as np
    >>> GroupNorm(groups=2).forward(np.array([[1.0, 3.0, 10.0, 30.0]])).round(3)
    array([[-1.,  1., -1.,  1.]])
    """

    def __init__(self, groups: int = 32, *, eps: float = 1e-5, **common: Any):
        super().__init__(eps, **common)
        self.groups = checks.positive_int("GroupNorm", "groups", groups)

    def build(self, input_shape: Shape) -> None:
        """Create a scale and a shift for each channel."""
        self._check_shape(input_shape)
        channels = int(input_shape[1] or 0)
        if channels % self.groups:
            rule = f"must divide the {channels} input channels"
            raise checks.error("GroupNorm", "groups", rule, self.groups)
        self._build_scales(input_shape, channels)

    def _fixed_sizes(self, shape: Shape) -> Shape:
        return shape[1:2]

    def _by_pixel(self, values: Array, shape: Shape) -> Array:
        return values  # (C,)

    def _summed(self, values: Array) -> Array:
        return kernels.column_sums(values.reshape(-1, values.shape[2]))  # (N, P, C) -> (N*P, C)

    def to_config(self) -> dict[str, Any]:
        """Return the layer's class and arguments."""
        return self._config(groups=self.groups, eps=self.eps)


def _pixels(x: Array) -> Array:
    """Return (N, C, ...) as (N, P, C), P positions with their channels side by side."""
    return kernels.to_rows(x).reshape(len(x), math.prod(x.shape[2:]), x.shape[1])
