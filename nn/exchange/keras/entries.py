"""nn's layers as those of Keras 3, one by one, their arrays turned to Keras' axes.

A `Residual` and a `SkipConcat` are two paths, which meet in an `Add` and a `Concatenate`.

Images are (N, H, W, C) in Keras. Where nn flattens images, or makes them of rows, in the order
(C, H, W), the file has a `Permute` before the `Flatten`, or after the `Reshape`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import checks, cuda, kernels, layers
from ...layers.base import Layer, Shape
from ...layers.stack import flat
from .files import snake_case

__all__ = ["Config", "entries_of", "serialized"]

Config = dict[str, Any]


class Entry(NamedTuple):
    """A layer of Keras.

    Attributes
    ----------
    kind, config
        Its class and its arguments.
    arrays
        Its arrays by the groups that they are in.
    inputs
        The numbers of the layers before it; -1 for the input.
    axes
        Of its output.
    """

    kind: str
    config: Config
    arrays: dict[str, list[np.ndarray]]
    inputs: tuple[int, ...] = ()
    axes: int = 0


def entry(kind: str, *arrays: np.ndarray, **config: Any) -> Entry:
    """Return a layer whose arrays are its own, not those of a part of it."""
    return Entry(kind, config, {"": list(arrays)} if arrays else {})


def serialized(kind: str, config: Config) -> Config:
    """Return a layer as it stands in a configuration of Keras."""
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": config,
        "registered_name": None,
    }


def entries_of(stack: Sequence[Layer], shape: Shape, permutes: bool) -> list[Entry]:
    """Return the layers of Keras for built layers with inputs of a shape; see `to_config`."""
    found: list[Entry] = []
    _add_entries(found, stack, shape, permutes, -1)
    return found


def _add_entries(
    found: list[Entry], stack: Sequence[Layer], shape: Shape, permutes: bool, before: int
) -> int:
    """Add the layers of Keras that follow number `before`; return the number of the last."""
    for index, layer in enumerate(flat(stack)):
        common: Config = {} if layer.trainable else {"trainable": False}
        if isinstance(layer.trainable, tuple):
            checks.warn(
                f"[{type(layer).__name__}] layer {index} trains {layer.trainable} alone, which "
                "Keras' layers cannot: outputs are the same, training on is not."
            )
        if layer.name is not None:
            common["name"] = layer.name
        output = layer.output_shape or shape
        if type(layer) in _JOINS and "forward" not in vars(layer):
            block: Any = layer
            paths = (block.shortcut, block.main)
            ends = [_add_entries(found, path, shape, permutes, before) for path in paths]
            kind, more = _JOINS[type(layer)]
            found.append(Entry(kind, {**more, **common}, {}, tuple(ends), len(output)))
            before, shape = len(found) - 1, output
            continue
        if type(layer) not in _WRITERS or "forward" in vars(layer):
            raise _refusal(layer, index, "has no counterpart in Keras")
        try:
            made = _WRITERS[type(layer)](layer, shape)
            if isinstance(layer, layers.Reshape):
                made = _reshape(layer, shape, permutes)
        except ValueError as error:
            raise _refusal(layer, index, str(error)) from error
        made[0] = made[0]._replace(config={**made[0].config, **common})
        for entry_of in made:
            found.append(entry_of._replace(inputs=(before,), axes=len(output)))
            before = len(found) - 1
        shape = output
    return before


#: Blocks, and the layer of Keras at which their paths meet.
_JOINS: dict[type, tuple[str, Config]] = {
    layers.Residual: ("Add", {}),
    layers.SkipConcat: ("Concatenate", {"axis": -1}),
}


def _refusal(layer: Layer, index: int, reason: str) -> ValueError:
    name = f"{index}_{type(layer).__name__}"
    return ValueError(f"[Model] cannot be written for Keras: the layer {name} {reason}.")


# --------------------------------------------------------------------- layers with a kernel


def _ending(layer: Any, shape: Shape) -> tuple[Any, list[Entry]]:
    """Return the `activation=` of Keras, and the layers for one that has no name there."""
    inner = layer.activation
    if inner is None:
        return None, []
    if type(inner) in _NAMED:
        return _NAMED[type(inner)], []
    return None, _WRITERS[type(inner)](inner, shape)


def _with_kernel(kind: str, layer: Any, kernel: np.ndarray, **config: Any) -> list[Entry]:
    name, more = _ending(layer, layer.output_shape)
    arrays = [kernel] + ([layer.params["b"]] if layer.use_bias else [])
    return [entry(kind, *arrays, use_bias=layer.use_bias, activation=name, **config), *more]


def _dense(layer: Any, shape: Shape) -> list[Entry]:
    return _with_kernel("Dense", layer, layer.params["W"], units=layer.units)


def _window(layer: Any, shape: Shape) -> tuple[list[Entry], Config]:
    """Return the layer that pads before a convolution, if there must be one, and its arguments."""
    if max(layer.stride) > 1 and max(layer.dilation) > 1:
        raise ValueError("has a stride and a dilation, of which Keras has one at a time")
    config = {
        "kernel_size": layer.kernel_size,
        "strides": layer.stride,
        "dilation_rate": layer.dilation,
        "padding": layer.padding,
    }
    if isinstance(layer.padding, str):
        return [], config
    padding = kernels.resolve_padding(layer.padding, (1, 1), layer.kernel_size, layer.stride)
    size = (int(shape[2] or 0), int(shape[3] or 0))  # 0: any, on which a stride's padding depends
    same = kernels.resolve_padding("same", size, layer.kernel_size, layer.stride, layer.dilation)
    if max(layer.stride) > 1 and 0 in size:
        same = None  # type: ignore[assignment]
    if padding == same:
        return [], {**config, "padding": "same"}
    before = [entry("ZeroPadding2D", padding=padding)] if np.any(padding) else []
    return before, {**config, "padding": "valid"}


def _conv2d(layer: Any, shape: Shape) -> list[Entry]:
    before, window = _window(layer, shape)
    w = layer.params["W"].transpose(2, 3, 1, 0)  # (F, C, KH, KW) -> (KH, KW, C, F)
    more = {"filters": layer.filters, "groups": layer.groups}
    return [*before, *_with_kernel("Conv2D", layer, w, **more, **window)]


def _depthwise_conv2d(layer: Any, shape: Shape) -> list[Entry]:
    before, window = _window(layer, shape)
    channels, (kh, kw) = int(shape[1] or 0), layer.kernel_size
    w = layer.params["W"].reshape(channels, layer.depth_multiplier, kh, kw)
    w = w.transpose(2, 3, 0, 1)  # (C, M, KH, KW) -> (KH, KW, C, M)
    more = {"depth_multiplier": layer.depth_multiplier}
    return [*before, *_with_kernel("DepthwiseConv2D", layer, w, **more, **window)]


def _conv2d_transpose(layer: Any, shape: Shape) -> list[Entry]:
    if not isinstance(layer.padding, str) or any(layer.output_padding):
        raise ValueError("has a padding that Keras does not have: use 'same' or 'valid'")
    if max(layer.dilation) > 1:
        raise ValueError("has a dilation, with which transposed convolutions of Keras differ")
    w = layer.params["W"].transpose(2, 3, 1, 0)  # (C, F, KH, KW) -> (KH, KW, F, C)
    window = {"kernel_size": layer.kernel_size, "strides": layer.stride, "padding": layer.padding}
    return _with_kernel("Conv2DTranspose", layer, w, filters=layer.filters, **window)


def _conv1d(layer: Any, shape: Shape) -> list[Entry]:
    if layer.stride > 1 and layer.dilation > 1:
        raise ValueError("has a stride and a dilation, of which Keras has one at a time")
    names = ("filters", "groups", "kernel_size")
    config = {name: getattr(layer, name) for name in names}
    config |= {"strides": layer.stride, "dilation_rate": layer.dilation, **_step_padding(layer)}
    w = layer.params["W"].transpose(2, 1, 0)  # (F, D, K) -> (K, D, F)
    return _with_kernel("Conv1D", layer, w, **config)


def _step_padding(layer: Any) -> Config:
    if layer.padding != 0 and not isinstance(layer.padding, str):
        raise ValueError("has a number as its padding, which Keras does not have")
    return {"padding": layer.padding or "valid"}


# -------------------------------------------------------------------- pooling, normalization


def _pool(kind: str) -> Callable[[Any, Shape], list[Entry]]:
    def write_pool(layer: Any, shape: Shape) -> list[Entry]:
        padding = layer.padding if isinstance(layer.padding, str) else "valid"
        if padding != layer.padding and np.any(layer.padding):
            raise ValueError("has a number as its padding, which Keras does not have")
        window = {"pool_size": layer.pool_size, "strides": layer.stride, "padding": padding}
        return [entry(kind, **window)]

    return write_pool


def _batch_norm(layer: Any, shape: Shape) -> list[Entry]:
    arrays = layer.params | layer.buffers
    values = [arrays[k] for k in ("gamma", "beta", "running_mean", "running_var") if k in arrays]
    config = {"axis": -1, "momentum": layer.momentum, "epsilon": layer.eps}
    config |= {"scale": layer.scale, "center": layer.center}
    return [entry("BatchNormalization", *values, **config)]


def _layer_norm(layer: Any, shape: Shape) -> list[Entry]:
    axes, last = layer._axes(len(shape)), (1,) if len(shape) == 4 else (len(shape) - 1,)
    gamma, beta = layer.params["gamma"], layer.params["beta"]
    if axes == last:
        return [entry("LayerNormalization", gamma, beta, axis=-1, epsilon=layer.eps)]
    if axes != (1, 2, 3):
        raise ValueError("normalizes axes for which Keras has another order")
    # (C*H*W,) -> (C, H, W) -> (H, W, C)
    gamma, beta = (k.reshape(shape[1:]).transpose(1, 2, 0) for k in (gamma, beta))
    return [entry("LayerNormalization", gamma, beta, axis=[1, 2, 3], epsilon=layer.eps)]


def _group_norm(layer: Any, shape: Shape) -> list[Entry]:
    config = {"groups": layer.groups, "axis": 1 if len(shape) == 3 else -1, "epsilon": layer.eps}
    return [entry("GroupNormalization", layer.params["gamma"], layer.params["beta"], **config)]


# -------------------------------------------------- activations, shapes and preprocessing


def _plain(kind: str, **names: str) -> Callable[[Any, Shape], list[Entry]]:
    """Return what writes a layer of one class, whose arguments are attributes of the layer."""

    def write_plain(layer: Any, shape: Shape) -> list[Entry]:
        return [entry(kind, **{theirs: getattr(layer, ours) for theirs, ours in names.items()})]

    return write_plain


def _named(layer: Any, shape: Shape) -> list[Entry]:
    """Write an activation that Keras has by name."""
    return [entry("Activation", activation=_NAMED[type(layer)])]


def _activation(layer: Any, shape: Shape) -> list[Entry]:
    name, more = _ending(layer, shape)
    return more or [entry("Activation", activation=name or "linear")]


def _prelu(layer: Any, shape: Shape) -> list[Entry]:
    shared = list(range(1, len(shape) - 1))
    slope = layer.params["slope"].reshape((1,) * len(shared) + (-1,))
    return [entry("PReLU", slope, shared_axes=shared or None)]


def _is_plain(shape: Shape) -> bool:
    """Return whether the values of a sample are in the same order in nn and in Keras."""
    return len(shape) != 4 or shape[1] == 1 or shape[2] == shape[3] == 1


def _reshape(layer: Any, shape: Shape, permutes: bool = True) -> list[Entry]:
    target = list(layer.output_shape[1:])
    made = [] if _is_plain(shape) or not permutes else [entry("Permute", dims=[3, 1, 2])]
    if len(target) == 1:
        return [*made, entry("Flatten")]
    if _is_plain(layer.output_shape) or not permutes:
        target = [*target[1:], target[0]] if len(target) == 3 else target
        return [*made, entry("Reshape", target_shape=target)]
    return [*made, entry("Reshape", target_shape=target), entry("Permute", dims=[2, 3, 1])]


def _standardize(layer: Any, shape: Shape) -> list[Entry]:
    mean, std = (cuda.to_cpu(layer.buffers[key]).astype("float64") for key in ("mean", "std"))
    if not layer.adapted:
        raise ValueError("has no mean and std yet")
    return [entry("Normalization", axis=-1, mean=mean.tolist(), variance=(std**2).tolist())]


# -------------------------------------------------------------------------------- sequences


def _cell(layer: Any) -> tuple[Config, list[np.ndarray]]:
    config = {key: getattr(layer, key) for key in ("units", "return_sequences", "go_backwards")}
    if isinstance(layer, layers.GRU):
        config["reset_after"] = layer.reset_after
    return config, [layer.params[key] for key in ("W", "U", "b")]


def _recurrent(layer: Any, shape: Shape) -> list[Entry]:
    config, arrays = _cell(layer)
    return [Entry(type(layer).__name__, config, {"cell": arrays})]


def _bidirectional(layer: Any, shape: Shape) -> list[Entry]:
    (config, ahead), (_, back) = (_cell(inner) for inner in layer.layers)
    kind = type(layer.layers[0]).__name__
    inner = serialized(kind, {**config, "name": snake_case(kind)})
    arrays = {"forward_layer/cell": ahead, "backward_layer/cell": back}
    return [Entry("Bidirectional", {"layer": inner, "merge_mode": layer.merge}, arrays)]


def _embedding(layer: Any, shape: Shape) -> list[Entry]:
    sizes = {"input_dim": layer.input_dim, "output_dim": layer.output_dim}
    mask = {"mask_zero": True} if getattr(layer, "mask_zero", False) else {}
    return [entry("Embedding", layer.params["W"], **sizes, **mask)]


#: Activations without arguments, by their names in Keras.
_NAMED: dict[type, str] = {
    layers.Exponential: "exponential",
    layers.GELU: "gelu",
    layers.HardSigmoid: "hard_sigmoid",
    layers.LogSoftmax: "log_softmax",
    layers.Mish: "mish",
    layers.ReLU: "relu",
    layers.ReLU6: "relu6",
    layers.SELU: "selu",
    layers.SiLU: "silu",
    layers.Sigmoid: "sigmoid",
    layers.Softmax: "softmax",
    layers.Softplus: "softplus",
    layers.Softsign: "softsign",
    layers.Tanh: "tanh",
}

_WRITERS: dict[type, Callable[[Any, Shape], list[Entry]]] = {
    **dict.fromkeys(_NAMED, _named),
    layers.Activation: _activation,
    layers.AvgPool1D: _pool("AveragePooling1D"),
    layers.AvgPool2D: _pool("AveragePooling2D"),
    layers.BatchNorm: _batch_norm,
    layers.BatchNorm1D: _batch_norm,
    layers.BatchNorm2D: _batch_norm,
    layers.Bidirectional: _bidirectional,
    layers.Conv1D: _conv1d,
    layers.Conv2D: _conv2d,
    layers.Conv2DTranspose: _conv2d_transpose,
    layers.Dense: _dense,
    layers.DepthwiseConv2D: _depthwise_conv2d,
    layers.Dropout: _plain("Dropout", rate="rate"),
    layers.ELU: _plain("ELU", alpha="alpha"),
    layers.Embedding: _embedding,
    layers.Flatten: _reshape,
    layers.GRU: _recurrent,
    layers.GaussianNoise: _plain("GaussianNoise", stddev="stddev"),
    layers.GlobalAvgPool1D: _plain("GlobalAveragePooling1D"),
    layers.GlobalAvgPool2D: _plain("GlobalAveragePooling2D"),
    layers.GlobalMaxPool1D: _plain("GlobalMaxPooling1D"),
    layers.GlobalMaxPool2D: _plain("GlobalMaxPooling2D"),
    layers.GroupNorm: _group_norm,
    layers.LSTM: _recurrent,
    layers.LayerNorm: _layer_norm,
    layers.LeakyReLU: _plain("LeakyReLU", negative_slope="negative_slope"),
    layers.Masking: _plain("Masking", mask_value="value"),
    layers.MaxPool1D: _pool("MaxPooling1D"),
    layers.MaxPool2D: _pool("MaxPooling2D"),
    layers.PReLU: _prelu,
    layers.Rescale: _plain("Rescaling", scale="scale", offset="offset"),
    layers.Reshape: _reshape,
    layers.SimpleRNN: _recurrent,
    layers.Softmax: lambda layer, shape: [entry("Softmax")],
    layers.SpatialDropout2D: _plain("SpatialDropout2D", rate="rate"),
    layers.Standardize: _standardize,
    layers.UpSample2D: _plain("UpSampling2D", size="size", interpolation="interpolation"),
    layers.ZeroPad2D: _plain("ZeroPadding2D", padding="padding"),
}
