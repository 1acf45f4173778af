"""What layers with a kernel share: `Dense`, the convolutions, embeddings and recurrent layers."""

import math
from typing import Any

import numpy as np

from .. import checks, initializers, regularizers
from ..custom import is_ours
from .activations import FormulaLayer
from .base import Array, Layer
from .budget import take_elements
from .config import activation_config, get_activation, without_params


def can_overwrite(layer: Any) -> bool:
    """Return whether `layer.overwrite(x)` computes what its `forward(x, None)` does."""
    return type(layer).forward is FormulaLayer.forward and "forward" not in vars(layer)


class KernelLayer(Layer):
    """A layer with a kernel `W`, which is drawn, and may have a penalty."""

    def __init__(
        self,
        kernel_initializer: "str | initializers.Initializer | None",
        kernel_regularizer: "str | regularizers.Regularizer | None" = None,
        **common: Any,
    ):
        super().__init__(**common)
        if kernel_initializer is not None:
            initializers.get(kernel_initializer, type(self).__name__)
        self.kernel_initializer = kernel_initializer
        self.kernel_regularizer = kernel_regularizer

    @property
    def kernel_regularizer(self) -> regularizers.Regularizer | None:
        """The penalty on the kernel, `regularizers['W']`; it may be set by name too."""
        return self.regularizers.get("W")

    @kernel_regularizer.setter
    def kernel_regularizer(self, value: "str | regularizers.Regularizer | None") -> None:
        rule = regularizers.get(value, type(self).__name__)
        self.regularizers.pop("W", None)
        if rule is not None:
            self.regularizers["W"] = rule

    def default_initializer(self) -> "str | initializers.Initializer":
        """Return the initializer, or its name, that is used where none was given."""
        return "he_normal"

    def draw_kernel(self, shape: tuple[int, ...]) -> np.ndarray:
        """Draw the kernel; the same one at each call, for the layer's seed."""
        rule = initializers.get(self.kernel_initializer or self.default_initializer())
        seed: Any = self.rng.bit_generator.seed_seq  # where the layer's generator began
        kernel = np.asarray(rule(shape, np.random.default_rng(seed)))
        if kernel.shape != shape:
            raise checks.error(
                type(self).__name__,
                "kernel_initializer",
                f"must return an array of the shape {shape}",
                kernel.shape,
            )
        return kernel

    def _own_arguments(self) -> dict[str, Any]:
        """Return the arguments of this class as JSON can write them."""
        config = super()._own_arguments()
        rule = config.pop("kernel_initializer", None)
        name = rule if isinstance(rule, str) else getattr(rule, "__name__", None)
        # A function of the user's has no place in a file; the weights that it drew are there.
        if rule in (name, initializers.NAME2INITIALIZER.get(str(name))) and rule is not None:
            config["kernel_initializer"] = name
        if "kernel_regularizer" in config:
            config["kernel_regularizer"] = config["kernel_regularizer"].to_config()
        return config


class WeightedLayer(KernelLayer):
    """A layer with a kernel `W`, an optional bias `b` and an optional activation after them."""

    #: The axis of W along which the outputs lie.
    output_axis = 0

    def __init__(
        self,
        use_bias: bool,
        activation: "str | Layer | None",
        kernel_initializer: "str | initializers.Initializer | None",
        kernel_regularizer: "str | regularizers.Regularizer | None" = None,
        **common: Any,
    ):
        super().__init__(kernel_initializer, kernel_regularizer, **common)
        owner = type(self).__name__
        if isinstance(use_bias, str):  # in Keras' order of arguments the activation comes here
            rule = f"must be True or False: write activation={use_bias!r}"
            raise checks.error(owner, "use_bias", rule, use_bias)
        self.use_bias = checks.boolean(owner, "use_bias", use_bias)
        self.activation = get_activation(activation, owner)

    def _build_weights(self, shape: tuple[int, ...], outputs: int) -> None:
        take_elements(type(self).__name__, math.prod(shape) + outputs)
        self._set_param("W", self.draw_kernel(shape))
        if self.use_bias:
            self._set_param("b", np.zeros(outputs))

    def linear(self, x: Array, w: Array, b: Array | None) -> Array:
        """Return the layer's output before its activation, with the given kernel and bias."""
        raise NotImplementedError(f"[{type(self).__name__}] needs a linear(x, w, b) method.")

    def forward_scaled(self, x: Array, scale: Array, shift: Array) -> Array:
        """Return `forward(x) * scale + shift`, with scale and shift in the weights.

        Parameters
        ----------
        x
            A batch. Nothing is kept for `backward`.
        scale, shift
            A number for each output channel, (F,).
        """
        return self.linear(self._check_input(x), *self.scaled(scale, shift))

    def scaled(self, scale: Array, shift: Array) -> tuple[Array, Array]:
        """Return the kernel and the bias of which `forward_scaled` computes the output."""
        w = self.params["W"]
        along = [1] * w.ndim
        along[self.output_axis] = -1
        w = w * scale.reshape(along)  # (F,) -> (F, 1, 1, 1) for (F, C, KH, KW)
        return w, self.params["b"] * scale + shift if self.use_bias else shift

    def _activate(self, activation: Any, z: Array, training: bool | None) -> Array:
        if training is None and can_overwrite(activation) and is_ours(type(self)):
            return activation.overwrite(z)
        y = activation.forward(z, training)
        without_params(activation, type(self).__name__)  # one of the user's may be built only now
        return y

    def forget(self) -> None:
        """Drop what the last forward pass kept, here and in the activation."""
        super().forget()
        if self.activation is not None:
            self.activation.forget()

    def _own_arguments(self) -> dict[str, Any]:
        """Return the arguments of this class as JSON can write them."""
        config = super()._own_arguments()
        if "activation" in config:
            config["activation"] = activation_config(config["activation"])
        return config
