"""Normalization: values brought to mean 0 and variance 1, then scaled and shifted.

They differ in the axes over which mean and variance are computed. `BatchNorm` normalizes each
channel over the whole batch, so that a sample's output depends on the others in training;
`LayerNorm` and `GroupNorm` normalize within a sample, and are the same in training and inference.
"""

import math
from typing import Any

import numpy as np

from .. import checks, cuda, kernels
from . import shard as shards
from .base import Array, ChannelLayer, Layer, Shape
from .budget import take_elements
from .config import register
from .masks import Mask


@register
class BatchNorm(ChannelLayer):
    """Batch normalisation over every axis but the channels', for tables, sequences and images.

    Ioffe and Szegedy 2015, arXiv 1502.03167, algorithms 1 and 2. In training a batch is
    normalised by its own mean and biased variance, and running averages of the mean and of
    the unbiased variance are kept: `running = momentum * running + (1 - momentum) * batch`.
    In inference, and in a layer with `trainable=False`, the running averages are used.

    The channels are axis 1, of sequences (N, T, D) the last. Padded steps do not count, and become
    0 in training.

    A training batch with one value for each channel, such as a single vector, is an error, as in
    PyTorch: its variance is 0.

    Parameters
    ----------
    momentum
        Share of the old running average that stays, in [0, 1]. (PyTorch's momentum is one
        minus this.)
    eps
        Added to the variance, above 0.
    scale, center
        Whether there is a gamma, and a beta; without one the layer computes with 1, and with 0.
        `scale=False` is for a layer after which the scale does not matter, such as a ReLU
        before another convolution.
    **common
        `name`, `input_shape` and `trainable`, as every layer takes them.

    Warns
    -----
    UserWarning
        For a momentum below 0.5 or of 1, which is seldom meant.

    Attributes
    ----------
    params : dict
        'gamma' and 'beta' of shape (C,), as far as the layer has them.
    buffers : dict
        'running_mean' and 'running_var' of shape (C,).

    Examples
    --------
    >>> import numpy as np
    >>> BatchNorm().forward(np.array([[1.0], [3.0]], dtype="float32"), training=True).round(3)
    array([[-1.],
           [ 1.]], dtype=float32)
    """

    uses_mask = True

    def __init__(
        self,
        momentum: float = 0.9,
        eps: float = 1e-5,
        scale: bool = True,
        center: bool = True,
        **common: Any,
    ):
        super().__init__(**common)
        owner = type(self).__name__
        self.scale = checks.boolean(owner, "scale", scale)
        self.center = checks.boolean(owner, "center", center)
        self.momentum = checks.fraction(owner, "momentum", momentum, include_one=True)
        if not 0.5 <= self.momentum < 1:
            checks.warn(
                f"[{owner}] 'momentum' should be the share of the old running average, such as "
                f"0.9, got {momentum!r}: PyTorch's momentum=0.1 is 0.9 here, and the number of "
                "channels is inferred."
            )
        self.eps = checks.positive(owner, "eps", eps)

    def build(self, input_shape: Shape) -> None:
        """Create the scale, the shift and the running averages for the channels."""
        self._check_shape(input_shape)
        channels = self.channels(input_shape)
        take_elements(type(self).__name__, 4 * channels)
        if self.scale:
            self._set_param("gamma", np.ones(channels))
        if self.center:
            self._set_param("beta", np.zeros(channels))
        self.buffers["running_mean"] = np.zeros(channels, dtype=self.dtype)
        self.buffers["running_var"] = np.ones(channels, dtype=self.dtype)
        self._built(input_shape, input_shape)

    def forward(self, x: Array, training: bool | None = False, mask: Mask = None) -> Array:
        """Return x (N, C, ...) or (N, T, C) normalised, by the steps of a mask (N, T) or by all."""
        x = self._check_input(x)
        mask = checks.mask(type(self).__name__, mask, x.shape[:2])
        # (N, C, ...) or (N, T, C) -> (M, C)
        rows = kernels.to_rows(x) if x.ndim != 3 else kernels.last_axis_rows(x)
        gamma, beta = self.gamma_and_beta()
        if training and self._trainable:
            if mask is not None:
                rows = rows[mask.reshape(-1)]  # those of the steps that are there
            y, mean, var, count = shards.batch_norm(rows, gamma, beta, self.eps)
            if count < 2:
                raise self.too_few(x.shape)
            self._update_running(mean, var, count)
            self._keep(training, x, True, rows, mean, var, x.shape, mask)
        else:
            mean, var = self.buffers["running_mean"], self.buffers["running_var"]
            y = kernels.batch_norm_inference(rows, gamma, beta, mean, var, self.eps)
            self._keep(training, x, False, rows, mean, var, x.shape, mask)
            mask = None
        return kernels.from_rows(y, x.shape) if x.ndim != 3 else _steps(y, x.shape, mask)

    def gamma_and_beta(self) -> tuple[Array, Array]:
        """Return the scale and the shift, ones and zeros for what the layer is without."""
        running = self.buffers["running_var"]
        xp = cuda.get_array_module(running)
        gamma, beta = self.params.get("gamma"), self.params.get("beta")
        return (
            xp.ones_like(running) if gamma is None else gamma,
            xp.zeros_like(running) if beta is None else beta,
        )

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
        gamma, beta = self.gamma_and_beta()
        scale = gamma / cuda.get_array_module(var).sqrt(var + self.eps)
        return scale, beta - mean * scale

    def _update_running(self, mean: Array, var: Array, count: int) -> None:
        unbiased = var * (count / max(count - 1, 1))
        for name, batch in (("running_mean", mean), ("running_var", unbiased)):
            running = self.buffers[name]
            running *= self.momentum
            running += (1 - self.momentum) * batch

    def backward(self, grad: Array) -> Array:
        """Fill the gradients of gamma and beta; return the input's."""
        by_batch, rows, mean, var, shape, mask = self._recall_for(grad)
        grad = kernels.to_rows(grad) if grad.ndim != 3 else kernels.last_axis_rows(grad)
        gamma, _ = self.gamma_and_beta()
        if by_batch:
            if mask is not None:
                grad = grad[mask.reshape(-1)]
            dx, dgamma, dbeta = shards.batch_norm_grad(grad, rows, gamma, mean, var, self.eps)
        else:
            inv_std = 1 / cuda.get_array_module(var).sqrt(var + self.eps)
            dgamma = kernels.column_sums(grad * ((rows - mean) * inv_std))
            dbeta = kernels.column_sums(grad)
            dx, mask = grad * (gamma * inv_std), None
        if self._trainable:
            found = {"gamma": dgamma, "beta": dbeta}
            self.grads.update({key: found[key] for key in self.params})
        return kernels.from_rows(dx, shape) if len(shape) != 3 else _steps(dx, shape, mask)


def _steps(rows: Array, shape: tuple[int, ...], mask: Mask) -> Array:
    """Return rows (M, C) as sequences (N, T, C); steps that a mask leaves out are 0."""
    if mask is not None:
        there, rows = (
            rows,
            cuda.get_array_module(rows).zeros((mask.size, rows.shape[1]), rows.dtype),
        )
        rows[mask.reshape(-1)] = there
    return rows.reshape(shape)


@register
class BatchNorm2D(BatchNorm):
    """Batch normalisation of images (N, C, H, W); see `BatchNorm`.

    Examples
    --------
    >>> layer = BatchNorm2D(scale=False)
    >>> layer.build((None, 3, 8, 8))
    >>> [*layer.params]
    ['beta']
    """

    input_ndim = (4,)
    input_hint = "images are (N, C, H, W); use BatchNorm1D after Flatten() or Dense()."


@register
class BatchNorm1D(BatchNorm):
    """Batch normalisation of vectors (N, C) or sequences (N, T, C); see `BatchNorm`."""

    input_ndim = (2, 3)
    input_hint = "use BatchNorm2D for images (N, C, H, W)."


class SampleNorm(Layer):
    """Base class of layer and group normalization.

    They compute with x as (M, P, C): M parts of P * C values are normalized separately. If axis 1
    is among the normalized axes, it is C. A subclass says which axes these are.
    """

    input_ndim = (2, 3, 4)

    #: Number of groups of C that are normalized separately.
    groups = 1
    #: What an error calls the values that are normalized together, and how to have more of them.
    _hints = ("", "")

    def __init__(self, eps: float, **common: Any):
        super().__init__(**common)
        self.eps = checks.positive(type(self).__name__, "eps", eps)

    def _axes(self, ndim: int) -> tuple[int, ...]:
        """Return the axes over which mean and variance are computed."""
        raise NotImplementedError

    def _parts(self, x: Array) -> Array:
        """Return x (N, C, ...) as (M, P, C)."""
        shape, (rest, own, _) = x.shape, kernels.axis_order(self._axes(x.ndim), x.ndim)
        m, p = (math.prod([shape[k] for k in axes]) for axes in (rest, own[:-1]))
        return x.transpose(rest + own).reshape(m, p, shape[own[-1]])

    def _joined(self, parts: Array, shape: Shape) -> Array:
        """Return (M, P, C) as an array of `shape`: undo `_parts`."""
        rest, own, back = kernels.axis_order(self._axes(len(shape)), len(shape))
        return parts.reshape([shape[k] for k in rest + own]).transpose(back)

    def _build_scales(self, input_shape: Shape, count: int) -> None:
        take_elements(type(self).__name__, 2 * count)
        self._set_param("gamma", np.ones(count))
        self._set_param("beta", np.zeros(count))
        self._built(input_shape, input_shape)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x (N, C, ...) normalised, times gamma, plus beta."""
        x = self._check_input(x)
        parts = self._parts(x)
        if training and parts.shape[1] * parts.shape[2] == self.groups:
            where, remedy = self._hints
            raise ValueError(
                f"[{type(self).__name__}] expects more than one value {where} in training, got "
                f"{x.shape}: the output would be 'beta' for any input. Use {remedy}."
            )
        gamma, beta = (self._by_part(self.params[name], x.shape) for name in ("gamma", "beta"))
        y, mean, inv_std = kernels.normalize_samples(parts, gamma, beta, self.groups, self.eps)
        self._keep(training, x, parts, mean, inv_std, x.shape)
        return self._joined(y, x.shape)

    def backward(self, grad: Array) -> Array:
        """Fill the gradients of gamma and beta; return the input's."""
        parts, mean, inv_std, shape = self._recall_for(grad)
        gamma = self._by_part(self.params["gamma"], shape)
        dx, dgamma, dbeta = kernels.normalize_samples_grad(
            self._parts(grad), parts, gamma, mean, inv_std
        )
        if self._trainable:
            self.grads["gamma"] = self._from_parts(dgamma, shape)
            self.grads["beta"] = self._from_parts(dbeta, shape)
        return self._joined(dx, shape)

    def _by_part(self, values: Array, shape: Shape) -> Array:
        """Return gamma or beta in a shape that meets (M, P, C)."""
        raise NotImplementedError

    def _from_parts(self, values: Array, shape: Shape) -> Array:
        """Return the gradient for gamma or beta in the shape of the parameter: undo `_by_part`."""
        raise NotImplementedError


@register
class LayerNorm(SampleNorm):
    """Layer normalisation: each sample, or each position of a sample, by its own values.

    Ba, Kiros and Hinton 2016, arXiv 1607.06450, section 3. It does not depend on the batch, so it
    is the same in training and inference and works with batches of one.

    A training batch with one value along `axis` is an error: the output would be `beta`.

    Parameters
    ----------
    axis
        The axis, or axes, over which mean and variance are computed; not 0, the batch. By
        default the last axis of tables (N, D) and sequences (N, T, D), as in Keras and PyTorch, and
        all of (C, H, W) of images. `axis=1` normalizes the channels of each pixel of an image.
    eps
        Added to the variance, above 0.
    **common
        `name`, `input_shape` and `trainable`, as every layer takes them.

    Attributes
    ----------
    params : dict
        'gamma' and 'beta', a number for each value along `axis` in the order of `Flatten`, of
        shape (D,), or (C*H*W,) for images. One axis keeps weight decay off them.

    Raises
    ------
    ValueError
        For an input that is not (N, D), (N, T, D) or (N, C, H, W), or does not have the axes.

    Examples
    --------
    >>> import numpy as np
    >>> LayerNorm().forward(np.array([[1.0, 3.0], [10.0, 30.0]])).round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    """

    input_hint = "tables are (N, D), sequences (N, T, D), images (N, C, H, W)."
    _hints = ("along 'axis'", "another 'axis', or an input of more features")

    def __init__(
        self, *, axis: int | tuple[int, ...] | None = None, eps: float = 1e-5, **common: Any
    ):
        super().__init__(eps, **common)
        axes: Any = axis if isinstance(axis, list | tuple) else [1 if axis is None else axis]
        if not axes or not all(checks.is_integer(k) and 0 < abs(k) < 4 for k in axes):
            rule = "must be None, or axes of the input other than 0, the batch"
            raise checks.error("LayerNorm", "axis", rule, axis)
        axes = tuple(int(k) for k in axes)
        self.axis = axes if isinstance(axis, list | tuple) else None if axis is None else axes[0]
        self.passes_mask = self.axis in (None, -1, 2, (-1,), (2,))  # each step by itself

    def _axes(self, ndim: int) -> tuple[int, ...]:
        if self.axis is None:
            return (1, 2, 3) if ndim == 4 else (ndim - 1,)
        given = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        axes = tuple(sorted(k + ndim if k < 0 else k for k in given))
        if not all(0 < k < ndim for k in axes) or len(set(axes)) < len(axes):
            rule = f"must be different axes in 1..{ndim - 1} for {ndim}-D input"
            raise checks.error("LayerNorm", "axis", rule, self.axis)
        return axes

    def build(self, input_shape: Shape) -> None:
        """Create a scale and a shift for each value that is normalized together."""
        self._check_shape(input_shape)
        sizes = [self._known_size(input_shape, k) for k in self._axes(len(input_shape))]
        self._build_scales(input_shape, math.prod(sizes))

    def _fixed_sizes(self, shape: Shape) -> Shape:
        return tuple(shape[k] for k in self._axes(len(shape)))

    def _by_part(self, values: Array, shape: Shape) -> Array:
        axes = self._axes(len(shape))
        if len(axes) == 1:
            return values[None]  # (C,) -> (1, C)
        own = kernels.axis_order(axes, len(shape))[1]
        values = values.reshape([shape[k] for k in axes])  # (C*H*W,) -> (C, H, W)
        values = values.transpose([axes.index(k) for k in own])  # (C, H, W) -> (H, W, C)
        return values.reshape(-1, shape[own[-1]])  # (P, C)

    def _from_parts(self, values: Array, shape: Shape) -> Array:
        axes = self._axes(len(shape))
        own = kernels.axis_order(axes, len(shape))[1]
        values = values.reshape([shape[k] for k in own])  # (P, C) -> (H, W, C)
        return values.transpose([own.index(k) for k in axes]).reshape(-1)  # (C*H*W,)

    def to_config(self) -> dict[str, Any]:
        """Return the layer's class and arguments."""
        axis = list(self.axis) if isinstance(self.axis, tuple) else self.axis
        return self._config(axis=axis, eps=self.eps)


@register
class GroupNorm(SampleNorm):
    """Group normalisation: in each sample, each of several groups of neighbouring channels.

    Wu and He 2018, arXiv 1803.08494, section 3. For images in batches too small for batch
    normalisation. One group is a sample at a time (but with one gamma a channel, unlike
    `LayerNorm`), as many as there are channels is instance normalisation.

    A training batch with one value in each group is an error: the output would be `beta`.

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

    input_hint = "the channels are along axis 1."
    _hints = ("in each of the 'groups'", "fewer 'groups'")
    fixed_axes = slice(1, 2)

    def __init__(self, groups: int = 32, *, eps: float = 1e-5, **common: Any):
        super().__init__(eps, **common)
        self.groups = checks.positive_int("GroupNorm", "groups", groups)

    def build(self, input_shape: Shape) -> None:
        """Create a scale and a shift for each channel."""
        self._check_shape(input_shape)
        channels = self._known_size(input_shape, 1)
        if channels % self.groups:
            rule = f"must divide the {channels} input channels"
            raise checks.error("GroupNorm", "groups", rule, self.groups)
        self._build_scales(input_shape, channels)

    def _axes(self, ndim: int) -> tuple[int, ...]:
        return tuple(range(1, ndim))

    def _by_part(self, values: Array, shape: Shape) -> Array:
        return values  # (C,)

    def _from_parts(self, values: Array, shape: Shape) -> Array:
        return values
