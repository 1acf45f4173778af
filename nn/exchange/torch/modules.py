"""Layers that contain no others as modules of PyTorch: a function for each kind."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import layers
from ...kernels import class_axis
from .code import Module, call, host_array, options_of, pair, sequential, weights

# -------------------------------------------------------------------- layers with a kernel


def dense(layer: Any) -> list[Module]:
    """Return `Linear`, transposed."""
    fan_in, units = layer.params["W"].shape
    code = call("Linear", fan_in, units, **options_of(bias=layer.use_bias))
    return [Module(code, weights(layer, True))]


def _around(padding: Any, value: float = 0) -> tuple[Any, list[Module]]:
    """Return what PyTorch's modules pad by themselves, and a module before them for the rest."""
    (top, bottom), (left, right) = padding
    if (top, left) == (bottom, right) and value == 0:
        return pair((top, left)), []
    margins = (left, right, top, bottom)
    if not any(margins):
        return 0, []
    if value == 0:
        return 0, [Module(call("ZeroPad2d", margins))]
    return 0, [Module(f"nn.ConstantPad2d({margins}, float('-inf'))")]


def conv(layer: Any) -> list[Module]:
    """Return `Conv2d`, and the padding that it cannot do before it."""
    stride, padding, dilation, groups = _geometry(layer)
    own, before = _around(padding)
    channels, filters = layer.built_shape[1], layer.params["W"].shape[0]
    options = options_of(stride=pair(stride), padding=own, dilation=pair(dilation), groups=groups,
                       bias=layer.use_bias)  # fmt: skip
    code = call("Conv2d", channels, filters, pair(layer.kernel_size), **options)
    return [*before, Module(code, weights(layer))]


def _geometry(layer: Any) -> Any:
    """Return the geometry of images, for any size if they may have any."""
    if layer._geometry is not None:
        return layer._geometry
    if layer.padding == "same" and max(layer.stride) > 1:
        raise ValueError("padding 'same' with a stride, for images of any size")
    return layer._geometry_for((None, None, 2**20, 2**20))


def conv_transpose(layer: Any) -> list[Module]:
    """Return `ConvTranspose2d`, and what is cut off after it."""
    if layer._geometry is None:
        raise ValueError("an output that depends on the input's size, for images of any size")
    stride, padding, dilation, _ = layer._geometry
    # The rows and columns that PyTorch's size lacks; below 0, those that it has more.
    more = [
        out - (s * (n - 1) - 2 * p[0] + d * (k - 1) + 1)
        for out, s, n, p, d, k in zip(
            layer.output_shape[2:], stride, layer.built_shape[2:], padding, dilation,
            layer.kernel_size, strict=True,
        )
    ]  # fmt: skip
    added = [max(n, 0) for n in more]
    if any(n >= max(s, d) for n, s, d in zip(added, stride, dilation, strict=True)):
        raise ValueError("its output is larger than its kernel reaches")
    options = options_of(stride=pair(stride), padding=pair(p[0] for p in padding),
                       output_padding=pair(added), bias=layer.use_bias,
                       dilation=pair(dilation))  # fmt: skip
    channels, filters = layer.params["W"].shape[:2]
    code = call("ConvTranspose2d", channels, filters, pair(layer.kernel_size), **options)
    cut = (0, min(more[1], 0), 0, min(more[0], 0))
    return [Module(code, weights(layer)), *[Module(call("ZeroPad2d", cut))] * any(cut)]


def embedding(layer: Any) -> list[Module]:
    """Return `Embedding`."""
    if getattr(layer, "mask_zero", False):
        raise ValueError("mask_zero=True, as there are no masks")
    return [Module(call("Embedding", *layer.params["W"].shape), weights(layer))]


def positions(layer: Any) -> list[Module]:
    """Return `Positions`."""
    size, features = layer.params["W"].shape
    return [Module(f"Positions({size}, {features})", weights(layer), ("Positions",))]


# ------------------------------------------------------------------------------- sequences


def attention(layer: Any) -> list[Module]:
    """Return `SelfAttention`, a `MultiheadAttention` of one input."""
    features, width = layer.built_shape[2], layer.num_heads * layer.key_dim
    if width != features:
        raise ValueError(
            f"num_heads={layer.num_heads} and key_dim={layer.key_dim}, as MultiheadAttention has "
            f"heads that make up its input's {features} features together"
        )
    options = {"causal": layer.causal, "dropout": layer.dropout, "bias": layer.use_bias}
    defaults = {"causal": False, "dropout": 0.0, "bias": True}
    words = [f", {key}={value}" for key, value in options.items() if value != defaults[key]]
    code = f"SelfAttention({features}, {layer.num_heads}{''.join(words)})"
    arrays = {
        "in_proj_weight": host_array(layer.params["W"].T),
        "out_proj.weight": host_array(layer.params["W_out"].T),
    }
    if layer.use_bias:
        arrays["in_proj_bias"] = host_array(layer.params["b"])
        arrays["out_proj.bias"] = host_array(layer.params["b_out"])
    return [Module(code, arrays, ("SelfAttention",))]


def conv1d(layer: Any) -> list[Module]:
    """Return `Conv1d` of steps."""
    options = options_of(stride=layer.stride, dilation=layer.dilation, groups=layer.groups,
                       bias=layer.use_bias)  # fmt: skip
    margins = _margins(layer, layer.kernel_size, layer.dilation)
    before = [Module(f"nn.ConstantPad1d({margins}, 0)")] * any(margins)
    channels, filters = layer.built_shape[2], layer.filters
    code = call("Conv1d", channels, filters, layer.kernel_size, **options)
    return [_steps([*before, Module(code, weights(layer))])]


def _margins(layer: Any, window: int, dilation: int = 1) -> tuple[int, int]:
    """Return the padding before and after the steps of a sequence."""
    steps = layer.built_shape[1]
    if steps is None and layer.padding == "same" and layer.stride > 1:
        raise ValueError("padding 'same' with a stride, for sequences of any length")
    geometry = layer._geometry(steps or 10 * window * dilation)
    left, right = geometry[1 if isinstance(layer, layers.Conv1D) else 2][1]
    return left, right


def _steps(modules: list[Module]) -> Module:
    made = sequential(modules, "Steps")
    return made._replace(helpers=(*made.helpers, "Steps"))


def max_pool1d(layer: Any) -> list[Module]:
    """Return `MaxPool1d` of steps."""
    margins = _margins(layer, layer.pool_size)
    before = [Module(f"nn.ConstantPad1d({margins}, float('-inf'))")] * any(margins)
    code = call("MaxPool1d", layer.pool_size, stride=layer.stride)
    return [_steps([*before, Module(code)])]


def avg_pool1d(layer: Any) -> list[Module]:
    """Return `AvgPool1d` of steps."""
    left, right = _margins(layer, layer.pool_size)
    if left != right or 2 * left > layer.pool_size:
        raise ValueError("its padding is not the same on both sides")
    options = {"padding": left, "count_include_pad": False} if left else {}
    code = call("AvgPool1d", layer.pool_size, stride=layer.stride, **options)
    return [_steps([Module(code)])]


def recurrent(layer: Any, reverse: Any = None) -> list[Module]:
    """Return a recurrent module, with a second layer for the other direction."""
    if layer.go_backwards:
        raise ValueError("go_backwards=True")
    name = {layers.LSTM: "LSTM", layers.GRU: "GRU", layers.SimpleRNN: "RNN"}[type(layer)]
    arrays = {
        f"module.{key}_l0{suffix}": array
        for suffix, one in (("", layer), ("_reverse", reverse))
        if one is not None
        for key, array in _gates(one).items()
    }
    both = {} if reverse is None else {"bidirectional": True}
    features, units = layer.params["W"].shape[0], layer.units
    code = call(name, features, units, batch_first=True, **both)
    every = layer.return_sequences
    return [Module(f"States({code}, every={every})", arrays, ("States",))]


def _gates(layer: Any) -> dict[str, np.ndarray]:
    """Return the arrays of one direction; those of a GRU with r before z."""
    W, U, b = (host_array(layer.params[key]) for key in ("W", "U", "b"))
    biases = np.stack((b, np.zeros_like(b))) if b.ndim == 1 else b
    if isinstance(layer, layers.GRU):
        if not layer.reset_after:
            raise ValueError("reset_after=False")
        W, U, biases = (_reset_first(array) for array in (W, U, biases))
    made = {"weight_ih": W.T, "weight_hh": U.T, "bias_ih": biases[0], "bias_hh": biases[1]}
    return {key: host_array(values) for key, values in made.items()}


def _reset_first(array: np.ndarray) -> np.ndarray:
    """Exchange the first two of three blocks of columns: z, r, h and r, z, n."""
    z, r, h = np.split(array, 3, axis=-1)
    return np.concatenate([r, z, h], axis=-1)


def bidirectional(layer: Any) -> list[Module]:
    """Return a recurrent module of two directions."""
    if layer.merge != "concat":
        raise ValueError(f"merge={layer.merge!r}")
    return recurrent(*layer.layers)


# ------------------------------------------------------------------------ normalization, pooling


def _norm_arrays(layer: Any) -> dict[str, np.ndarray]:
    names = {"weight": "gamma", "bias": "beta"}
    buffers = {key: host_array(array) for key, array in layer.buffers.items()}
    return {key: host_array(layer.params[own]) for key, own in names.items()} | buffers


def batch_norm(layer: Any) -> list[Module]:
    """Return `BatchNorm1d` or `BatchNorm2d`."""
    shape = layer.built_shape
    if len(shape) not in (2, 3, 4):
        raise ValueError(f"inputs of shape {shape}")
    momentum = round(1 - layer.momentum, 12)
    scales = dict(zip(("gamma", "beta"), layer.gamma_and_beta(), strict=True))
    arrays = {
        own: host_array((scales | layer.buffers)[key])
        for own, key in (("weight", "gamma"), ("bias", "beta"), *((k, k) for k in layer.buffers))
    }
    arrays["num_batches_tracked"] = np.array(0)
    name = f"BatchNorm{1 if len(shape) < 4 else 2}d"
    code = call(name, len(arrays["weight"]), eps=layer.eps, momentum=momentum)
    return _by_channel(layer, Module(code, arrays))


def prelu(layer: Any) -> list[Module]:
    """Return `PReLU`."""
    slope = host_array(layer.params["slope"])
    return _by_channel(layer, Module(call("PReLU", slope.size), {"weight": slope}))


def _by_channel(layer: Any, module: Module) -> list[Module]:
    """Return a module whose channels are axis 1, those of sequences in nn the last."""
    return [_steps([module]) if len(layer.built_shape) == 3 else module]


def layer_norm(layer: Any) -> list[Module]:
    """Return `LayerNorm`."""
    shape = layer.built_shape
    axes = layer._axes(len(shape))
    if list(axes) != [*range(len(shape) - len(axes), len(shape))]:
        raise ValueError(f"axis={layer.axis!r}, as the axes are not the last ones")
    sizes = tuple(int(shape[k]) for k in axes)
    arrays = {key: array.reshape(sizes) for key, array in _norm_arrays(layer).items()}
    code = call("LayerNorm", sizes[0] if len(sizes) == 1 else sizes, eps=layer.eps)
    return [Module(code, arrays)]


def group_norm(layer: Any) -> list[Module]:
    """Return `GroupNorm`."""
    code = call("GroupNorm", layer.groups, layer.built_shape[1], eps=layer.eps)
    return [Module(code, _norm_arrays(layer))]


def max_pool(layer: Any) -> list[Module]:
    """Return `MaxPool2d`."""
    size, stride, padding = _geometry(layer)
    _, before = _around(padding, -math.inf)
    return [*before, Module(call("MaxPool2d", pair(size), stride=pair(stride)))]


def avg_pool(layer: Any) -> list[Module]:
    """Return `AvgPool2d`, in which padding does not count."""
    size, stride, padding = _geometry(layer)
    own, before = _around(padding)
    if before or any(2 * p[0] > k for p, k in zip(padding, size, strict=True)):
        raise ValueError("its padding is not the same on both sides, or above half of the window")
    options = {"padding": own, "count_include_pad": False} if own else {}
    return [Module(call("AvgPool2d", pair(size), stride=pair(stride), **options))]


def global_pool(name: str) -> Callable[[Any], list[Module]]:
    """Return the function for a module of this name."""

    def made(layer: Any) -> list[Module]:
        pool = Module(call(name, 1))
        return [_steps([pool]) if name.endswith("1d") else pool, Module(call("Flatten"))]

    return made


# ------------------------------------------------------------------------------- the others


def plain(name: str, *attributes: str, **renamed: str) -> Callable[[Any], list[Module]]:
    """Return the function for a module whose arguments are attributes of the layer."""

    def made(layer: Any) -> list[Module]:
        options = {key: getattr(layer, own) for key, own in renamed.items()}
        return [Module(call(name, *(getattr(layer, a) for a in attributes), **options))]

    return made


def softmax(name: str) -> Callable[[Any], list[Module]]:
    """Return the function for a module of this name."""

    def made(layer: Any) -> list[Module]:
        return [Module(call(name, dim=class_axis(len(layer.output_shape))))]

    return made


def reshape(layer: Any) -> list[Module]:
    """Return `Flatten` and `Unflatten`."""
    shape = tuple(layer.output_shape[1:])
    if len(shape) > 1 and None in shape:
        raise ValueError(f"an output of shape {shape}")
    flat = Module(call("Flatten"))
    return [flat] if len(shape) == 1 else [flat, Module(call("Unflatten", 1, shape))]


def pad(layer: Any) -> list[Module]:
    """Return `ZeroPad2d`."""
    (top, bottom), (left, right) = layer.padding
    return [Module(call("ZeroPad2d", (left, right, top, bottom)))]


def upsample(layer: Any) -> list[Module]:
    """Return `Upsample`."""
    size = tuple(float(n) for n in layer.size)
    more = {"align_corners": False} if layer.interpolation == "bilinear" else {}
    return [Module(call("Upsample", scale_factor=size, mode=layer.interpolation, **more))]


def standardize(layer: Any) -> list[Module]:
    """Return `Standardize`."""
    arrays = {key: host_array(array) for key, array in layer.buffers.items()}
    module = Module(f"Standardize({len(arrays['mean'])})", arrays, ("Standardize",))
    return _by_channel(layer, module)
