"""Batch normalisation: each channel brought to mean 0 and variance 1, then scaled and shifted."""

from typing import Any

import numpy as np

from .. import checks, cuda, kernels
from .base import Array, Layer, Shape, register


@register
class BatchNorm(Layer):
    """Batch normalisation over every axis but the channels', for matrices and pictures.

    Ioffe and Szegedy 2015, arXiv 1502.03167, algorithms 1 and 2. In training a batch is
    normalised by its own mean and biased variance, and running averages of the mean and of
    the unbiased variance are kept: `running = momentum * running + (1 - momentum) * batch`.
    Elsewhere, and in a layer with `trainable=False`, the running averages are used.

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
    input_hint = "the channels lie along axis 1."

    def __init__(self, momentum: float = 0.9, eps: float = 1e-5, **common: Any):
        super().__init__(**common)
        owner = type(self).__name__
        self.momentum = checks.fraction(owner, "momentum", momentum, include_one=True)
        self.eps = checks.positive(owner, "eps", eps)

    def build(self, input_shape: Shape) -> None:
        """Create the scale, the shift and the running averages for the channels."""
        self._check_shape(input_shape)
        channels = int(input_shape[1] or 0)
        self._set_param("gamma", np.ones(channels))
        self._set_param("beta", np.zeros(channels))
        self.buffers["running_mean"] = np.zeros(channels, dtype=self.dtype)
        self.buffers["running_var"] = np.ones(channels, dtype=self.dtype)
        self._built(input_shape, input_shape)

    def _fixed(self, shape: Shape) -> Shape:
        return shape[1:2]

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x (N, C, ...) normalised."""
        x = self._check_input(x)
        rows = kernels.to_rows(x)  # (N, C, ...) -> (M, C)
        gamma, beta = self.params["gamma"], self.params["beta"]
        if training and self.trainable:
            y, mean, var = kernels.batch_norm(rows, gamma, beta, self.eps)
            self._update_running(mean, var, len(rows))
            self._keep(training, True, rows, mean, var, x.shape)
        else:
            mean, var = self.buffers["running_mean"], self.buffers["running_var"]
            y = kernels.batch_norm_inference(rows, gamma, beta, mean, var, self.eps)
            self._keep(training, False, rows, mean, var, x.shape)
        return kernels.from_rows(y, x.shape)

    def scale_and_shift(self) -> tuple[Array, Array]:
        """Return what an inference pass multiplies each channel by, and adds: (C,) and (C,)."""
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
        by_batch, rows, mean, var, shape = self._recall()
        grad = kernels.to_rows(grad)  # (N, C, ...) -> (M, C)
        gamma = self.params["gamma"]
        if by_batch:
            dx, dgamma, dbeta = kernels.batch_norm_grad(grad, rows, gamma, mean, var, self.eps)
        else:
            inv_std = 1 / cuda.get_array_module(var).sqrt(var + self.eps)
            dgamma = kernels.column_sums(grad * ((rows - mean) * inv_std))
            dbeta = kernels.column_sums(grad)
            dx = grad * (gamma * inv_std)
        if self.trainable:
            self.grads["gamma"], self.grads["beta"] = dgamma, dbeta
        return kernels.from_rows(dx, shape)

    def to_config(self) -> dict[str, Any]:
        """Return the layer's class and arguments."""
        return self._config(momentum=self.momentum, eps=self.eps)


@register
class BatchNorm2D(BatchNorm):
    """Batch normalisation of pictures (N, C, H, W); see `BatchNorm`."""

    input_ndim = (4,)
    input_hint = "pictures are (N, C, H, W); use BatchNorm1D after Flatten() or Dense()."


@register
class BatchNorm1D(BatchNorm):
    """Batch normalisation of vectors (N, C) or sequences (N, C, L); see `BatchNorm`."""

    input_ndim = (2, 3)
    input_hint = "use BatchNorm2D for pictures (N, C, H, W)."
