"""Weight normalization: the directions and lengths of a layer's weights are learned separately."""

import copy
from typing import Any

import numpy as np

from .. import checks, cuda, kernels
from ..validation import fits_shape
from .base import Array, Layer, Shape
from .config import layer_from_config, register
from .masks import Mask
from .stack import backward_params_through
from .weighted import WeightedLayer


@register
class WeightNorm(Layer):
    """A layer whose kernel is W = g * v / ||v||, for each of its outputs.

    Salimans and Kingma 2016, "Weight normalization", arXiv 1602.07868, section 2, equation 2. It
    learns the length g of each output's weights separately from their direction v. The initial v
    is the kernel that the layer draws or has, and g its length. (The initialization from data of
    section 3 is not implemented.)

    Parameters
    ----------
    layer
        A layer with a kernel `W`: `Dense`, `Conv2D`, `DepthwiseConv2D` or `Conv2DTranspose`. It
        becomes a part of this layer and must not be used on its own.
    **common
        `name`, `input_shape` and `trainable`, as every layer takes them. The layer's own
        `input_shape` and `trainable` are used if they are not given.

    Attributes
    ----------
    layer : Layer
        The layer inside; its W is made from v and g at each forward pass.
    params : dict
        'v' in the shape of W, 'g' of shape (outputs,), and 'b' if the layer has one.

    Raises
    ------
    TypeError
        If `layer` is no layer with a kernel.
    ValueError
        If the initial weights of an output are all 0.

    Examples
    --------
    >>> from nn.layers import Dense
    >>> layer = WeightNorm(Dense(3))
    >>> layer.build((None, 5))
    >>> {name: param.shape for name, param in layer.params.items()}
    {'v': (5, 3), 'g': (3,), 'b': (3,)}
    """

    def __init__(self, layer: Layer | dict[str, Any], trainable: bool | None = None, **common: Any):
        inner = layer_from_config(layer) if isinstance(layer, dict) else layer
        if not isinstance(inner, WeightedLayer):
            raise TypeError(
                "[WeightNorm] 'layer' must be a layer object with a kernel W, as Dense(3) or "
                f"Conv2D(8), got {layer!r}."
            )
        if inner.kernel_regularizer is not None or inner.lr_factor != 1:
            raise ValueError(
                "[WeightNorm] 'layer' must have no kernel_regularizer, as its kernel is computed "
                f"from v and g, and no lr_factor, which goes to WeightNorm itself, got {inner!r}."
            )
        self.layer = inner
        super().__init__(trainable=inner.trainable if trainable is None else trainable, **common)
        if self.input_shape is None:
            self.input_shape = inner.input_shape
        self.passes_mask = inner.passes_mask and not inner.uses_mask
        self._had_weights = inner.built

    @property
    def trainable(self) -> bool:
        """Whether the layer inside is trained."""
        return self.layer.trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.layer.trainable = value

    @property
    def activation(self) -> Layer | None:
        """The activation of the layer inside, which makes the output."""
        return self.layer.activation

    def mask_after(self, mask: Array) -> Mask:
        """Return the mask of the output, that of the layer inside."""
        return self.layer.mask_after(mask)

    def build(self, input_shape: Shape) -> None:
        """Build the layer inside, and take v and g from its kernel."""
        if not self._had_weights:
            self.layer.dtype, self.layer.rng = self.dtype, self.rng
            self.layer.build(input_shape)
        elif self.layer.built_shape is not None and not fits_shape(
            input_shape[1:], self.layer.built_shape[1:]
        ):
            raise ValueError(
                f"[WeightNorm] 'layer' is built for {self.layer.built_shape}, "
                f"got inputs {input_shape}."
            )
        w = cuda.to_cpu(self.layer.params["W"])
        self._set_param("v", w)
        self._set_param("g", np.zeros(w.shape[self.layer.output_axis]))
        if self.layer.use_bias:
            self._set_param("b", cuda.to_cpu(self.layer.params["b"]))
        self.measure_lengths()
        self._built(input_shape, self.layer.output_shape or input_shape)

    def measure_lengths(self) -> None:
        """Set g to the lengths of v, so that W is v."""
        g = self.params["g"]
        g[...] = kernels.lengths(self.params["v"], self.layer.output_axis).reshape(g.shape)
        if not bool((g > 0).all()):
            rule = "must not set all weights of an output to 0, as their norm is then 0"
            raise checks.error("WeightNorm", "kernel_initializer", rule, self.layer)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the layer's output with W = g * v / ||v||."""
        x = self._check_input(x)
        w = kernels.weight_norm(self.params["v"], self.params["g"], self.layer.output_axis)
        if training is None:  # which must not change the layer: another thread may train it
            y = self.layer.linear(x, w, self.params.get("b"))
            return y if self.activation is None else self.activation.forward(y, None)
        self.layer.params["W"] = w
        if self.layer.use_bias:
            self.layer.params["b"] = self.params["b"]
        y = self.layer.forward(x, training)
        self._keep(training, y)
        return y

    def step(self, x: Array, state: Any = None) -> tuple[Array, Any]:
        """Return the output for the next step alone and the state after it, as the layer inside."""
        x = self._check_input(x)
        inner = copy.copy(self.layer)  # as in forward for inference
        w = kernels.weight_norm(self.params["v"], self.params["g"], inner.output_axis)
        inner.params = {**self.layer.params, **self.params, "W": w}
        return inner.step(x, state)

    def backward(self, grad: Array) -> Array:
        """Fill the gradients of v, g and b from the layer's own; return the input's."""
        self._recall_for(grad)
        dx = self.layer.backward(grad)
        self._fill_grads()
        return dx

    def backward_params(self, grad: Array) -> None:
        """Fill the gradients of v, g and b from the layer's own."""
        self._recall_for(grad)
        backward_params_through([self.layer], grad, 0)
        self._fill_grads()

    def _fill_grads(self) -> None:
        if self.trainable:
            dw = self.layer.grads["W"]
            v, g = self.params["v"], self.params["g"]
            self.grads["v"], self.grads["g"] = kernels.weight_norm_grad(
                dw, v, g, self.layer.output_axis
            )
            if self.layer.use_bias:
                self.grads["b"] = self.layer.grads["b"]

    def _fixed_sizes(self, shape: Shape) -> Shape:
        return self.layer._fixed_sizes(shape)

    def forget(self) -> None:
        """Drop what the last forward pass kept, here and in the layer inside."""
        super().forget()
        self.layer.forget()

    def to_config(self) -> dict[str, Any]:
        """Return the class and the configuration of the layer inside."""
        return self._config(layer=self.layer.to_config())
