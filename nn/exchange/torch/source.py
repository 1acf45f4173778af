"""nn's layers as the source of PyTorch's modules, and their arrays under PyTorch's names.

A function for every class returns `Module`s, which follow each other in a `torch.nn.Sequential`.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

from ... import kernels, layers
from ...layers import Layer
from . import modules
from .code import Module, call, host_array, sequential

__all__ = ["modules_of"]


def modules_of(stack: Sequence[Layer]) -> list[Module]:
    """Return the modules of layers, one after the other.

    Raises
    ------
    RuntimeError
        For layers that are not built.
    ValueError
        For a layer that PyTorch cannot do in the same way; the message names it and says why.
    """
    return [module for layer in stack for module in _modules(layer)]


def _modules(layer: Layer) -> list[Module]:
    name = type(layer).__name__
    if not layer.built:
        raise RuntimeError(f"[to_torch] {name} has no shape yet: build() or fit() the model first.")
    if type(layer) not in _MODULES or "forward" in vars(layer):
        raise ValueError(f"[to_torch] 'model' has a {name}, for which PyTorch has no equal module.")
    inner = getattr(layer, "activation", None)
    try:
        made = _MODULES[type(layer)](layer)
        if inner is not None and not isinstance(layer, layers.Activation):
            made = [*made, *_activation(layer)]
    except ValueError as error:
        if str(error).startswith("["):
            raise
        raise ValueError(f"[to_torch] 'model' has a {name} that PyTorch lacks: {error}.") from None
    return made


def _activation(layer: Any) -> list[Module]:
    """Return the activation inside a layer, which has no shape of its own."""
    inner = copy.copy(layer.activation)
    if type(inner) not in _MODULES or isinstance(inner, layers.PReLU):
        raise ValueError(f"the activation {type(inner).__name__} in it")
    inner.output_shape = layer.output_shape
    return _MODULES[type(inner)](inner)


def _weight_norm(layer: Any) -> list[Module]:
    inner = layer.layer
    if isinstance(inner, layers.Conv2DTranspose) or type(inner) not in _MODULES:
        raise ValueError("its weight_norm of a ConvTranspose2d is along the input channels")
    turned = isinstance(inner, layers.Dense)
    direction = layer.params["v"].T if turned else layer.params["v"]
    *before, module = _MODULES[type(inner)](inner)
    lengths = host_array(layer.params["g"]).reshape(-1, *[1] * (direction.ndim - 1))
    arrays = {
        **({"bias": host_array(layer.params["b"])} if "b" in layer.params else {}),
        "parametrizations.weight.original0": lengths,
        "parametrizations.weight.original1": host_array(direction),
    }
    return [*before, Module(f"nn.utils.parametrizations.weight_norm({module.code})", arrays)]


def _skip(layer: Any) -> list[Module]:
    main, shortcut = sequential(modules_of(layer.main)), sequential(modules_of(layer.shortcut))
    arrays = {f"main.{key}": array for key, array in main.arrays.items()}
    arrays |= {f"shortcut.{key}": array for key, array in shortcut.arrays.items()}
    code, name = f"{main.code}, {shortcut.code}", type(layer).__name__
    if name == "SkipConcat":
        code += f", {kernels.class_axis(len(layer.output_shape))}"
    return [Module(f"{name}({code})", arrays, (*main.helpers, *shortcut.helpers, name))]


def _activation_layer(layer: Any) -> list[Module]:
    return [Module(call("Identity"))] if layer.activation is None else _activation(layer)


_MODULES: dict[type, Callable[[Any], list[Module]]] = {
    layers.Activation: _activation_layer,
    layers.AvgPool1D: modules.avg_pool1d,
    layers.AvgPool2D: modules.avg_pool,
    layers.BatchNorm: modules.batch_norm,
    layers.BatchNorm1D: modules.batch_norm,
    layers.BatchNorm2D: modules.batch_norm,
    layers.Bidirectional: modules.bidirectional,
    layers.Conv1D: modules.conv1d,
    layers.Conv2D: modules.conv,
    layers.Conv2DTranspose: modules.conv_transpose,
    layers.Dense: modules.dense,
    layers.DepthwiseConv2D: modules.conv,
    layers.Dropout: modules.plain("Dropout", "rate"),
    layers.ELU: modules.plain("ELU", "alpha"),
    layers.Embedding: modules.embedding,
    layers.Exponential: lambda layer: [Module("Exponential()", {}, ("Exponential",))],
    layers.Flatten: modules.reshape,
    layers.GELU: modules.plain("GELU"),
    layers.GRU: modules.recurrent,
    layers.GlobalAvgPool1D: modules.global_pool("AdaptiveAvgPool1d"),
    layers.GlobalAvgPool2D: modules.global_pool("AdaptiveAvgPool2d"),
    layers.GlobalMaxPool1D: modules.global_pool("AdaptiveMaxPool1d"),
    layers.GlobalMaxPool2D: modules.global_pool("AdaptiveMaxPool2d"),
    layers.GroupNorm: modules.group_norm,
    layers.HardSigmoid: modules.plain("Hardsigmoid"),
    layers.LSTM: modules.recurrent,
    layers.LayerNorm: modules.layer_norm,
    layers.LeakyReLU: modules.plain("LeakyReLU", "negative_slope"),
    layers.LogSoftmax: modules.softmax("LogSoftmax"),
    layers.MaxPool1D: modules.max_pool1d,
    layers.MaxPool2D: modules.max_pool,
    layers.Mish: modules.plain("Mish"),
    layers.MultiHeadAttention: modules.attention,
    layers.PReLU: modules.prelu,
    layers.PositionalEmbedding: modules.positions,
    layers.ReLU: modules.plain("ReLU"),
    layers.ReLU6: modules.plain("ReLU6"),
    layers.Recompute: lambda layer: [sequential(modules_of(layer.layers))],
    layers.Rescale: lambda layer: [
        Module(f"Rescale({layer.scale!r}, {layer.offset!r})", {}, ("Rescale",))
    ],
    layers.Reshape: modules.reshape,
    layers.Residual: _skip,
    layers.SELU: modules.plain("SELU"),
    layers.Sequential: lambda layer: [sequential(modules_of(layer.layers))],
    layers.SiLU: modules.plain("SiLU"),
    layers.Sigmoid: modules.plain("Sigmoid"),
    layers.SimpleRNN: modules.recurrent,
    layers.SinusoidalPositions: lambda layer: [Module("Sinusoids()", {}, ("Sinusoids",))],
    layers.SkipConcat: _skip,
    layers.Softmax: modules.softmax("Softmax"),
    layers.Softplus: modules.plain("Softplus"),
    layers.Softsign: modules.plain("Softsign"),
    layers.SpatialDropout2D: modules.plain("Dropout2d", "rate"),
    layers.Standardize: modules.standardize,
    layers.Tanh: modules.plain("Tanh"),
    layers.UpSample2D: modules.upsample,
    layers.WeightNorm: _weight_norm,
    layers.ZeroPad2D: modules.pad,
}
