"""The fully connected layer: every output sees every input."""

from typing import Any

from .. import checks, initializers, kernels, regularizers
from .base import Array, Layer, Shape
from .config import register
from .weighted import WeightedLayer


@register
class Dense(WeightedLayer):
    """y = x W + b, for rows (N, features) and for each step of sequences (N, T, features).

    Images (N, C, H, W) are refused, as Keras' product over the width is hardly ever meant: add
    `Flatten` before the layer, or use `Conv2D(units, 1)` for each pixel.

    Parameters
    ----------
    units
        Number of outputs.
    use_bias
        Whether to add b.
    activation
        Name of an activation, or an activation layer, applied to the outputs.
    kernel_initializer
        Name or function (see `nn.initializers`). By default 'he_normal' before an activation
        like ReLU, inside the layer or after it in the model, else 'glorot_uniform'.
    kernel_regularizer
        A penalty on W in the loss: 'l1', 'l2', 'l1_l2', or an object (see `nn.regularizers`).
    **common
        `name`, `input_shape` (features,) or (T, features), `trainable` and `lr_factor`, as every
        layer takes them.

    Attributes
    ----------
    params : dict
        'W' of shape (features, units) and 'b' of shape (units,).

    Raises
    ------
    ValueError
        For an input that is not (N, features) or (N, T, features).

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dense(2, input_shape=(3,))
    >>> layer.build((None, 3))
    >>> layer.params["W"][...] = 1
    >>> layer.forward(np.ones((1, 3), dtype="float32"))
    array([[3., 3.]], dtype=float32)
    """

    input_ndim = (2, 3)
    output_axis = 1
    passes_mask = True

    fixed_axes = slice(-1, None)

    def __init__(
        self,
        units: int,
        use_bias: bool = True,
        activation: str | Layer | None = None,
        kernel_initializer: str | initializers.Initializer | None = None,
        kernel_regularizer: str | regularizers.Regularizer | None = None,
        **common: Any,
    ):
        super().__init__(use_bias, activation, kernel_initializer, kernel_regularizer, **common)
        self.units = checks.positive_int("Dense", "units", units)
        #: Set by the model if the next activation is like ReLU.
        self.feeds_relu = False

    def default_initializer(self) -> str:
        """Return 'he_normal' before an activation like ReLU, else 'glorot_uniform'."""
        relu_like = self.feeds_relu or getattr(self.activation, "relu_like", False)
        return "he_normal" if relu_like else "glorot_uniform"

    def build(self, input_shape: Shape) -> None:
        """Create W and b for inputs (None, features) or (None, T, features)."""
        self._check_shape(input_shape)
        self._build_weights((self._known_size(input_shape, -1), self.units), self.units)
        self._built(input_shape, (*input_shape[:-1], self.units))

    def _check_shape(self, shape: Shape) -> None:
        """Raise an error for images: their features are (C, H, W), not the last axis."""
        if len(shape) not in self.input_ndim:
            raise ValueError(
                f"[{type(self).__name__}] expects 2-D input, got {tuple(shape)}: "
                "add Flatten() before it."
            )

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x W + b, (N, units) for x (N, features), (N, T, units) for (N, T, features)."""
        x = self._check_input(x)
        rows = kernels.last_axis_rows(x)  # (N, T, features) -> (N*T, features)
        y = kernels.matmul(rows, self.params["W"], self.params.get("b"))  # rows W + b
        if x.ndim == 3:
            y = y.reshape(*x.shape[:2], self.units)  # (N*T, units) -> (N, T, units)
        self._keep(training, y, x)
        return y if self.activation is None else self._activate(self.activation, y, training)

    def linear(self, x: Array, w: Array, b: Array | None) -> Array:
        """Return x w, plus b."""
        y = kernels.matmul(kernels.last_axis_rows(x), w, b)
        if x.ndim == 3:
            y = y.reshape(*x.shape[:2], w.shape[1])  # (N*T, units) -> (N, T, units)
        return y

    def backward(self, grad: Array) -> Array:
        """Fill the gradients of W and b; return grad W^T."""
        grad = Dense.backward_params(self, grad)
        w = self.params["W"]
        dx = kernels.matmul(kernels.last_axis_rows(grad), w.T)
        if grad.ndim == 3:
            dx = dx.reshape(*grad.shape[:2], len(w))  # (N*T, features) -> (N, T, features)
        return dx

    def backward_params(self, grad: Array) -> Array:
        """Fill the gradients, x^T grad and sum(grad); return the gradient before the activation."""
        (x,) = self._recall_for(grad)
        if self.activation is not None:
            grad = self.activation.backward(grad)
        if self._trainable:
            rows = kernels.last_axis_rows(grad)
            self.grads.pop("W", None)  # the new one takes its memory
            self.grads["W"] = kernels.matmul(kernels.last_axis_rows(x).T, rows)
            if self.use_bias:
                self.grads["b"] = kernels.column_sums(rows)
        return grad
