"""Each layer of Keras as layers of nn: a function for every class.

A function adds to a `Stack` what a configuration of Keras says, with the arrays in nn's axes. What
nn has not, or computes otherwise, is refused; the caller adds the layer's name to the message.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ... import checks
from ...layers.budget import take_elements
from .reading import Source, Stack

__all__ = ["LAYERS"]

Config = dict[str, Any]


def _common(config: Config) -> Config:
    """Return the arguments that every layer of nn takes."""
    found: Config = {"name": config["name"]} if isinstance(config.get("name"), str) else {}
    return found if config.get("trainable", True) else {**found, "trainable": False}


def _require(config: Config, **values: Any) -> None:
    """Raise unless arguments have values that nn computes with; tuples are alternatives."""
    for key, allowed in values.items():
        value = config.get(key, allowed[0] if isinstance(allowed, tuple) else allowed)
        options = allowed if isinstance(allowed, tuple) else (allowed,)
        if value not in options:
            raise ValueError(f"has {key}={value!r}; nn has {' or '.join(map(repr, options))}")


def _images(stack: Stack, config: Config) -> None:
    _require(config, data_format=("channels_last", None))
    if not stack.is_image:
        raise ValueError(f"gets {stack.shape}, not images")


_ACTIVATIONS = frozenset(
    [
        *("elu", "exponential", "gelu", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid"),
        *("silu", "softmax", "softplus", "softsign", "tanh"),
    ]
)


def _activation(value: Any, source: Source) -> Any:
    """Return the `activation=` of nn for that of Keras; None for none."""
    if isinstance(value, dict):
        if value.get("class_name") != "function":
            raise ValueError("has a layer as its activation: make it a layer of its own in Keras")
        value = value.get("config")
    if value in (None, "linear"):
        return None
    if value == "swish":
        return "silu"
    if value == "leaky_relu":
        return {"class": "LeakyReLU", "config": {"negative_slope": 0.2}}
    if value == "hard_sigmoid" and source.file.version > 2:
        return value
    if value not in _ACTIVATIONS:
        raise ValueError(f"has the activation {value!r}, which nn does not have")
    return value


def _linear(config: Config, source: Source) -> Config:
    """Return the arguments of layers with a kernel."""
    activation = _activation(config.get("activation"), source)
    found = {"use_bias": bool(config.get("use_bias", True)), **_common(config)}
    return found if activation is None else {**found, "activation": activation}


def _names(config: Config, *names: str) -> list[str]:
    """Return the names of arrays, with that of a bias if there is one."""
    return [*names, *(["bias"] if config.get("use_bias", True) else [])]


def _with_bias(w: np.ndarray, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"W": w, **({"b": arrays["bias"]} if "bias" in arrays else {})}


# --------------------------------------------------------------------- layers with a kernel


def _dense(stack: Stack, config: Config, source: Source) -> None:
    arrays = source.arrays(_names(config, "kernel"))
    w = stack.in_order(arrays["kernel"])
    stack.order = None
    arguments = _linear(config, source)
    if not stack.is_image:
        stack.add("Dense", {"units": config["units"], **arguments}, _with_bias(w, arrays))
        return
    arguments |= {"filters": config["units"], "kernel_size": 1}
    stack.add("Conv2D", arguments, _with_bias(w.T[:, :, None, None], arrays))


def _window(config: Config) -> Config:
    return {
        "kernel_size": config["kernel_size"],
        "stride": config["strides"],
        "padding": config["padding"],
        "dilation": config.get("dilation_rate", (1, 1)),
    }


def _conv2d(stack: Stack, config: Config, source: Source) -> None:
    _images(stack, config)
    arrays = source.arrays(_names(config, "kernel"))
    arguments = {"filters": config["filters"], "groups": config.get("groups", 1)}
    w = arrays["kernel"].transpose(3, 2, 0, 1)  # (KH, KW, C, F) -> (F, C, KH, KW)
    stack.add(
        "Conv2D", {**arguments, **_window(config), **_linear(config, source)}, _with_bias(w, arrays)
    )


def _depthwise(w: np.ndarray) -> np.ndarray:
    kh, kw, c, m = w.shape
    return w.transpose(2, 3, 0, 1).reshape(c * m, 1, kh, kw)  # (KH, KW, C, M) -> (C*M, 1, KH, KW)


def _depthwise_conv2d(stack: Stack, config: Config, source: Source) -> None:
    _images(stack, config)
    arrays = source.arrays(_names(config, "kernel|depthwise_kernel"))
    arguments = {"depth_multiplier": config["depth_multiplier"], **_window(config)}
    w = _depthwise(arrays["kernel"])
    stack.add("DepthwiseConv2D", {**arguments, **_linear(config, source)}, _with_bias(w, arrays))


def _separable_conv2d(stack: Stack, config: Config, source: Source) -> None:
    """Add two layers, one for each channel and one that mixes them."""
    _images(stack, config)
    arrays = source.arrays(_names(config, "depthwise_kernel", "pointwise_kernel"))
    arguments = {"depth_multiplier": config["depth_multiplier"], **_window(config)}
    frozen = {} if config.get("trainable", True) else {"trainable": False}
    w = {"W": _depthwise(arrays["depthwise_kernel"])}
    stack.add("DepthwiseConv2D", {**arguments, "use_bias": False, **frozen}, w)
    arguments = {"filters": config["filters"], "kernel_size": 1, **_linear(config, source)}
    pointwise = arrays["pointwise_kernel"].transpose(3, 2, 0, 1)
    stack.add("Conv2D", arguments, _with_bias(pointwise, arrays))


def _conv2d_transpose(stack: Stack, config: Config, source: Source) -> None:
    _images(stack, config)
    _require(config, output_padding=None, dilation_rate=([1, 1], 1), groups=1)
    arrays = source.arrays(_names(config, "kernel"))
    arguments = {"filters": config["filters"], **_window(config), **_linear(config, source)}
    w = arrays["kernel"].transpose(3, 2, 0, 1)  # (KH, KW, F, C) -> (C, F, KH, KW)
    stack.add("Conv2DTranspose", arguments, _with_bias(w, arrays))


def _one(value: Any) -> Any:
    """Return the number in Keras' lists of one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _conv1d(stack: Stack, config: Config, source: Source) -> None:
    _require(config, data_format=("channels_last", None))
    arrays = source.arrays(_names(config, "kernel"))
    window = {key: _one(value) for key, value in _window(config).items()}
    window["dilation"] = _one(config.get("dilation_rate", 1))
    arguments = {"filters": config["filters"], "groups": config.get("groups", 1), **window}
    w = arrays["kernel"].transpose(2, 1, 0)  # (K, D, F) -> (F, D, K)
    stack.add("Conv1D", {**arguments, **_linear(config, source)}, _with_bias(w, arrays))


# ---------------------------------------------------------------------------------- pooling


def _pool(kind: str) -> Callable[[Stack, Config, Source], None]:
    def add(stack: Stack, config: Config, source: Source) -> None:
        _require(config, data_format=("channels_last", None))
        names = (("pool_size", "pool_size"), ("stride", "strides"), ("padding", "padding"))
        arguments = {ours: _one(config[theirs]) for ours, theirs in names}
        stack.add(kind, {**arguments, **_common(config)})

    return add


def _global_pool(kind: str) -> Callable[[Stack, Config, Source], None]:
    def add(stack: Stack, config: Config, source: Source) -> None:
        _require(config, data_format=("channels_last", None), keepdims=False)
        stack.add(kind, _common(config))

    return add


# --------------------------------------------------------------------------- normalization


def _axis(config: Config) -> list[Any]:
    axis = config.get("axis", -1)
    return list(axis) if isinstance(axis, list | tuple) else [axis]


def _last_axis(stack: Stack, config: Config) -> int:
    """Return the size of the last axis in Keras; raise unless that is the axis."""
    if _axis(config) not in ([-1], [len(stack.shape) - 1]):
        raise ValueError(f"has axis={config.get('axis')!r}; nn has the last of Keras' axes")
    return int(stack.shape[1 if stack.is_image else -1] or 0)


def _scales(config: Config, source: Source, size: int, *more: str) -> dict[str, np.ndarray]:
    """Return gamma, beta and other arrays; ones and zeros for what the layer is without."""
    names = [n for n, there in (("gamma", "scale"), ("beta", "center")) if config.get(there, True)]
    arrays = source.arrays([*names, *more])
    take_elements("gamma", 2 * size)
    return {"gamma": np.ones(size, "float32"), "beta": np.zeros(size, "float32")} | arrays


def _batch_norm(stack: Stack, config: Config, source: Source) -> None:
    size = _last_axis(stack, config)
    arrays = _scales(config, source, size, "moving_mean", "moving_variance")
    arrays["running_mean"] = arrays.pop("moving_mean")
    arrays["running_var"] = arrays.pop("moving_variance")
    arguments = {"momentum": config["momentum"], "eps": config["epsilon"], **_common(config)}
    stack.add("BatchNorm", arguments, {key: stack.in_order(k) for key, k in arrays.items()})


def _layer_norm(stack: Stack, config: Config, source: Source) -> None:
    _require(config, rms_scaling=False)
    arguments = {"eps": config["epsilon"], **_common(config)}
    if stack.is_image and _axis(config) == [1, 2, 3]:
        arrays = _scales(config, source, math.prod(int(n or 0) for n in stack.shape[1:]))
        h, w, c = (int(stack.shape[k] or 0) for k in (2, 3, 1))
        # (H, W, C) -> (C, H, W) -> (C*H*W,)
        arrays = {k: v.reshape(h, w, c).transpose(2, 0, 1).ravel() for k, v in arrays.items()}
        stack.add("LayerNorm", arguments, arrays)
        return
    arrays = _scales(config, source, _last_axis(stack, config))
    arguments |= {"axis": 1} if stack.is_image else {}
    stack.add("LayerNorm", arguments, {key: stack.in_order(k) for key, k in arrays.items()})


def _group_norm(stack: Stack, config: Config, source: Source) -> None:
    if len(stack.shape) == 3 and _axis(config) != [1]:
        raise ValueError("normalizes the last axis of sequences; GroupNorm of nn has axis 1 there")
    size = int(stack.shape[1] or 0) if len(stack.shape) == 3 else _last_axis(stack, config)
    if stack.order is not None:
        raise ValueError("normalizes groups of flattened images, which are in another order in nn")
    groups = size if config["groups"] == -1 else config["groups"]
    arguments = {"groups": groups, "eps": config["epsilon"], **_common(config)}
    stack.add("GroupNorm", arguments, _scales(config, source, size))


# ------------------------------------------------------------------------------ activations


def _activation_layer(stack: Stack, config: Config, source: Source) -> None:
    value = _activation(config["activation"], source) or "linear"
    stack.add("Activation", {"activation": value, **_common(config)})


def _relu(stack: Stack, config: Config, source: Source) -> None:
    _require(config, threshold=(0, None), max_value=(None, 6))
    slope = config.get("negative_slope") or 0
    kind = "ReLU" if config.get("max_value") is None else "ReLU6"
    if slope and kind == "ReLU6":
        raise ValueError("has a ceiling and a slope; nn has one of them")
    slopes = {"negative_slope": slope} if slope else {}
    stack.add("LeakyReLU" if slope else kind, {**slopes, **_common(config)})


def _leaky_relu(stack: Stack, config: Config, source: Source) -> None:
    slope = config["negative_slope"] if "negative_slope" in config else config["alpha"]
    stack.add("LeakyReLU", {"negative_slope": float(slope), **_common(config)})


def _prelu(stack: Stack, config: Config, source: Source) -> None:
    alpha = source.arrays(["alpha"])["alpha"]
    if alpha.shape[:-1] != (1,) * (len(stack.shape) - 2):
        raise ValueError(f"has slopes of the shape {alpha.shape}; nn has one for each channel")
    stack.add("PReLU", _common(config), {"slope": stack.in_order(alpha.reshape(-1))})


def _elu(stack: Stack, config: Config, source: Source) -> None:
    stack.add("ELU", {"alpha": float(config.get("alpha", 1.0)), **_common(config)})


def _softmax(stack: Stack, config: Config, source: Source) -> None:
    _last_axis(stack, config)
    stack.add("Softmax", _common(config))


# ----------------------------------------------------------------- shapes and preprocessing


def _simple(kind: str, *names: str) -> Callable[[Stack, Config, Source], None]:
    """Return what adds a layer whose arguments have the same names and meanings in nn."""

    def add(stack: Stack, config: Config, source: Source) -> None:
        _require(config, data_format=("channels_last", None))
        stack.add(kind, {**{name: config[name] for name in names}, **_common(config)})

    return add


def _flatten(stack: Stack, config: Config, source: Source) -> None:
    _require(config, data_format=("channels_last", None))
    stack.flatten(_common(config))


def _reshape(stack: Stack, config: Config, source: Source) -> None:
    stack.reshape(config["target_shape"], _common(config))


def _rescaling(stack: Stack, config: Config, source: Source) -> None:
    scale, offset = config["scale"], config["offset"]
    if isinstance(scale, Iterable) or isinstance(offset, Iterable):
        raise ValueError("has a scale for each channel; nn has Standardize(mean, std) for that")
    stack.add("Rescale", {"scale": scale, "offset": offset, **_common(config)})


def _normalization(stack: Stack, config: Config, source: Source) -> None:
    size = _last_axis(stack, config)
    _require(config, invert=False)
    if stack.order is not None:
        raise ValueError("standardizes flattened images, which are in another order in nn")
    found: Config = config
    if source.has_arrays() or config.get("mean") is None:
        found = source.arrays(["mean", "variance", "count"])
    mean, variance = found["mean"], found["variance"]
    mean, variance = (np.asarray(k, "float32").reshape(-1) for k in (mean, variance))
    std = np.maximum(np.sqrt(variance), 1e-7)
    take_elements("Standardize", 2 * size)
    arrays = {"mean": np.resize(mean, size), "std": np.resize(std, size)}
    stack.add("Standardize", _common(config), arrays)


# -------------------------------------------------------------------------------- sequences


def _embedding(stack: Stack, config: Config, source: Source) -> None:
    arguments = {key: config[key] for key in ("input_dim", "output_dim")}
    if config.get("mask_zero"):
        arguments["mask_zero"] = True
    w = source.arrays(["embeddings"])["embeddings"]
    stack.add("Embedding", {**arguments, **_common(config)}, {"W": w})


def _masking(stack: Stack, config: Config, source: Source) -> None:
    stack.add("Masking", {"value": float(config["mask_value"]), **_common(config)})


_CELLS = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}


def _recurrent(kind: str) -> Callable[[Stack, Config, Source], None]:
    def add(stack: Stack, config: Config, source: Source) -> None:
        arguments, arrays = _cell(kind, config, source, "cell")
        stack.add(kind, arguments, arrays)

    return add


def _cell(
    kind: str, config: Config, source: Source, part: str
) -> tuple[Config, dict[str, np.ndarray]]:
    """Return the arguments and arrays of a recurrent layer."""
    _require(config, activation="tanh", stateful=False, return_state=False, time_major=False)
    if kind != "SimpleRNN":
        _require(config, recurrent_activation="sigmoid")
    if config.get("dropout") or config.get("recurrent_dropout"):
        checks.warn(
            f"[{kind}] of Keras drops inputs in training by 'dropout', which nn does not: outputs "
            "are the same, training on is not."
        )
    arguments = {key: config[key] for key in ("units", "return_sequences")}
    arguments |= {"go_backwards": bool(config.get("go_backwards")), **_common(config)}
    arrays = source.arrays(_names(config, "kernel", "recurrent_kernel"), part)
    units = math.prod(np.shape(arrays["recurrent_kernel"])[:1])
    bias: tuple[int, ...] = (_CELLS[kind] * units,)
    if kind == "GRU":
        arguments["reset_after"] = bool(config.get("reset_after", source.file.version > 2))
        bias = (2, *bias) if arguments["reset_after"] else bias
    b = arrays.get("bias", np.zeros(bias, "float32"))
    return arguments, {"W": arrays["kernel"], "U": arrays["recurrent_kernel"], "b": b}


def _bidirectional(stack: Stack, config: Config, source: Source) -> None:
    _require(config, merge_mode=("concat", "sum", "ave", "mul"))
    kind, inner = config["layer"]["class_name"], config["layer"]["config"]
    if kind not in _CELLS:
        raise ValueError(f"reads by {kind}; nn has it for {', '.join(_CELLS)}")
    back = (config.get("backward_layer") or config["layer"])["config"]
    own = {key: v for key, v in inner.items() if key not in ("name", "go_backwards")}
    if any(back.get(key, value) != value for key, value in own.items() if key in _ALIKE):
        raise ValueError("has two layers that differ; nn has a layer and its copy")
    arrays: dict[str, np.ndarray] = {}
    for index, part in enumerate(("forward_layer/cell", "backward_layer/cell")):
        arguments, found = _cell(kind, inner, source, part)
        arrays |= {f"{index}_{kind}_{key}": array for key, array in found.items()}
    arguments.pop("name", None)
    layer = {"class": kind, "config": {**arguments, "go_backwards": False}}
    merge = config.get("merge_mode", "concat")
    stack.add("Bidirectional", {"layer": layer, "merge": merge, **_common(config)}, arrays)


#: Arguments in which the two layers of Bidirectional must be alike.
_ALIKE = frozenset(
    ("units", "return_sequences", "reset_after", "use_bias", "activation", "recurrent_activation")
)


#: What adds a layer of Keras to a stack, by the name of its class.
LAYERS: dict[str, Callable[[Stack, Config, Source], None]] = {
    "Activation": _activation_layer,
    "AveragePooling1D": _pool("AvgPool1D"),
    "AveragePooling2D": _pool("AvgPool2D"),
    "BatchNormalization": _batch_norm,
    "Bidirectional": _bidirectional,
    "Conv1D": _conv1d,
    "Conv2D": _conv2d,
    "Conv2DTranspose": _conv2d_transpose,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise_conv2d,
    "Dropout": _simple("Dropout", "rate"),
    "ELU": _elu,
    "Embedding": _embedding,
    "Flatten": _flatten,
    "GRU": _recurrent("GRU"),
    "GaussianNoise": _simple("GaussianNoise", "stddev"),
    "GlobalAveragePooling1D": _global_pool("GlobalAvgPool1D"),
    "GlobalAveragePooling2D": _global_pool("GlobalAvgPool2D"),
    "GlobalMaxPooling1D": _global_pool("GlobalMaxPool1D"),
    "GlobalMaxPooling2D": _global_pool("GlobalMaxPool2D"),
    "GroupNormalization": _group_norm,
    "LSTM": _recurrent("LSTM"),
    "LayerNormalization": _layer_norm,
    "LeakyReLU": _leaky_relu,
    "Masking": _masking,
    "MaxPooling1D": _pool("MaxPool1D"),
    "MaxPooling2D": _pool("MaxPool2D"),
    "Normalization": _normalization,
    "PReLU": _prelu,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "SeparableConv2D": _separable_conv2d,
    "SimpleRNN": _recurrent("SimpleRNN"),
    "Softmax": _softmax,
    "SpatialDropout2D": _simple("SpatialDropout2D", "rate"),
    "UpSampling2D": _simple("UpSample2D", "size", "interpolation"),
    "ZeroPadding2D": _simple("ZeroPad2D", "padding"),
}
