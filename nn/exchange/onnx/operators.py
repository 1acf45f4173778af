"""Operators that are layers of nn: a function for each returns its value.

A function gets the node, refuses what nn has not or computes otherwise, and adds a layer to the
link of its input. Operators and their attributes: the ONNX operator schemas
(https://onnx.ai/onnx/operators).
"""

import math
from typing import Any

import numpy as np

from ... import kernels
from . import computed
from .normalization import NORMALIZATIONS, over_axes
from .values import (
    IMAGES,
    STEPS,
    Link,
    Node,
    Run,
    Value,
    Weight,
    by_feature,
    channel_axis,
)

__all__ = ["LAYERS", "activated", "dense", "pooled"]


# ------------------------------------------------------------------------- windows and kernels


def _geometry(node: Node, window: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """Return strides, dilations and padding, the latter 'same' or a list (begin, ..., end, ...)."""
    n = len(window)
    kernel = node.get("kernel_shape", list(window))
    if tuple(kernel) != window:
        raise node.refuse(f"has kernel_shape={kernel}, and a kernel of {window}")
    auto, pads = node.get("auto_pad", "NOTSET"), node.get("pads", [0] * 2 * n)
    strides, dilations = node.get("strides", [1] * n), node.get("dilations", [1] * n)
    if (len(strides), len(dilations), len(pads)) != (n, n, 2 * n) or min(pads) < 0:
        raise node.refuse(f"has strides={strides}, dilations={dilations}, pads={pads}")
    if auto == "SAME_UPPER":
        return strides, dilations, "same"
    if auto not in ("NOTSET", "VALID"):
        raise node.refuse(f"has auto_pad={auto!r}, which puts the odd row first")
    return strides, dilations, [0] * 2 * n if auto == "VALID" else pads


def _padding(pads: Any, sizes: Any, window: Any, strides: Any, dilations: Any) -> Any:
    """Return the `padding=` of nn: a number for each axis, 'same', or None if nn has no such."""
    if pads == "same":
        return pads
    n = len(window)
    begin, end = pads[:n], pads[n:]
    if begin == end:
        return tuple(begin)
    if None in sizes and max(strides) > 1:
        return None
    # At stride 1, the padding does not depend on the size
    known = [size or d * (k - 1) + 1 for size, k, d in zip(sizes, window, dilations, strict=True)]
    total = [
        max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
        for size, k, s, d in zip(known, window, strides, dilations, strict=True)
    ]
    same = [t // 2 for t in total], [t - t // 2 for t in total]
    return "same" if (begin, end) == same else None


def _kernel(node: Node) -> tuple[Weight, dict[str, Weight]]:
    w, b = node.required(1), node.weight(2)
    if b is not None and b.array.ndim != 1:
        raise node.refuse(f"has a bias of shape {b.array.shape}")
    return w, {"W": w, **({} if b is None else {"b": b})}


def _require_images(node: Node, window: tuple[int, ...]) -> None:
    """Raise unless a kernel has height and width."""
    if len(window) != 2:
        kinds = "1 and 2" if node.op == "Conv" else "2"
        axes = f"{len(window)} spatial dimension{'s' * (len(window) != 1)}"
        raise node.refuse(f"has a kernel of {axes}, for which nn has no layer: it has {kinds}")


def _conv(node: Node) -> Value:
    w, arrays = _kernel(node)
    window, groups = w.array.shape[2:], node.get("group", 1)
    if len(window) == 1:
        return _conv1d(node, w, arrays, groups)
    _require_images(node, window)
    x, link = node.link(IMAGES, what="(N, C, H, W)")
    strides, dilations, pads = _geometry(node, window)
    padding = _padding(pads, link.shape[2:], window, strides, dilations)
    if padding is None:
        top, left, bottom, right = pads
        link = link.then("ZeroPad2D", {"padding": ((top, bottom), (left, right))})
        padding = "valid"
    config = {
        "kernel_size": window,
        "stride": tuple(strides),
        "padding": padding,
        "dilation": tuple(dilations),
        "use_bias": "b" in arrays,
    }
    channels, filters = int(link.shape[1] or 0), w.array.shape[0]
    _require_inputs(node, w, channels, groups)
    if groups == channels > 1:
        config["depth_multiplier"] = filters // channels
        return x.after(node, link.then("DepthwiseConv2D", config, arrays))
    config |= {"filters": filters, "groups": groups}
    return x.after(node, link.then("Conv2D", config, arrays))


def _require_inputs(node: Node, w: Weight, channels: int, groups: int) -> None:
    if groups < 1 or w.array.shape[1] * groups != channels:
        raise node.refuse(
            f"has a kernel of shape {w.array.shape} and group={groups} for {channels} channels"
        )


def _conv1d(node: Node, w: Weight, arrays: dict[str, Weight], groups: int) -> Value:
    given, before = node.inputs[0], [0, 0]
    if isinstance(given, Value) and given.role and given.role[0] == "padded":  # a Pad of the steps
        _, padded, before = given.role
        node = Node(**{**vars(node), "inputs": [padded, *node.inputs[1:]]})
    x, link = node.link(STEPS, what="(N, D, T)")
    (window,) = w.array.shape[2:]
    (stride,), (dilation,), pads = _geometry(node, (window,))
    if pads != "same":
        pads = [a + b for a, b in zip(pads, before, strict=True)]
    padding = _padding(pads, link.shape[1:2], (window,), (stride,), (dilation,))
    if pads == [dilation * (window - 1), 0] and window > 1:
        padding = "causal"
    elif padding is None or (pads == "same" and any(before)):
        raise node.refuse(f"has pads={pads}; nn has the same on both sides, 'same' and 'causal'")
    elif isinstance(padding, tuple):
        (padding,) = padding
    _require_inputs(node, w, int(link.shape[2] or 0), groups)
    config = {
        "filters": w.array.shape[0],
        "kernel_size": window,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "use_bias": "b" in arrays,
    }
    return x.after(node, link.then("Conv1D", config, arrays))


def _conv_transpose(node: Node) -> Value:
    w, arrays = _kernel(node)
    _require_images(node, w.array.shape[2:])
    x, link = node.link(IMAGES, what="(N, C, H, W)")
    node.require(group=1)
    if "output_shape" in node.attributes:
        raise node.refuse("has an output_shape; nn computes it from the padding")
    window = w.array.shape[2:]
    strides, dilations, pads = _geometry(node, window)
    if pads == "same":
        raise node.refuse("has auto_pad; nn has the numbers of a transposed convolution")
    extra = node.get("output_padding", [0, 0])
    padding: Any = tuple(pads[:2])
    if pads[:2] != pads[2:] or any(e >= s for e, s in zip(extra, strides, strict=True)):
        reach = [d * (k - 1) + 1 for d, k in zip(dilations, window, strict=True)]
        total = [max(r - s, 0) for r, s in zip(reach, strides, strict=True)]
        same = [t // 2 for t in total] + [t - t // 2 for t in total]
        lacks = [s - r + t for s, r, t in zip(strides, reach, total, strict=True)]
        if (pads, extra) != (same, lacks):
            raise node.refuse(f"has pads={pads}, output_padding={extra}; nn has no such padding")
        padding, extra = "same", [0, 0]
    config = {
        "filters": w.array.shape[1],
        "kernel_size": window,
        "stride": tuple(strides),
        "padding": padding,
        "dilation": tuple(dilations),
        "output_padding": tuple(extra),
        "use_bias": "b" in arrays,
    }
    return x.after(node, link.then("Conv2DTranspose", config, arrays))


def _pool(node: Node) -> Value:
    window = tuple(node.get("kernel_shape", [0]))
    is_max, is_1d = node.op == "MaxPool", len(window) == 1
    x, link = node.link(*((STEPS,) if is_1d else (IMAGES,)), what="(N, C, ...)")
    strides, dilations, pads = _geometry(node, window)
    sizes = link.shape[1:2] if is_1d else link.shape[2:]
    if any(k != 1 for k in dilations):
        raise node.refuse(f"has dilations={dilations}; nn pools without")
    if node.get("ceil_mode", 0) and not _is_exact(sizes, window, strides, pads):
        raise node.refuse("has ceil_mode=1, windows that end outside; nn has none")
    if not is_max and (pads == "same" or any(pads)) and node.get("count_include_pad", 0):
        if is_1d or pads == "same":
            raise node.refuse("counts the padding, with count_include_pad; nn never does")
        top, left, bottom, right = pads  # as zeros of the image, which count
        link = link.then("ZeroPad2D", {"padding": ((top, bottom), (left, right))})
        pads = [0, 0, 0, 0]
    padding = _padding(pads, sizes, window, strides, dilations)
    if padding is None:
        raise node.refuse(f"has pads={pads}; nn has the same on both sides, and 'same'")
    kind = ("MaxPool" if is_max else "AvgPool") + ("1D" if is_1d else "2D")
    config = {"pool_size": window, "stride": tuple(strides), "padding": padding}
    if is_1d:
        config = {k: v[0] if isinstance(v, tuple) else v for k, v in config.items()}
    return x.after(node, link.then(kind, config))


def _is_exact(sizes: Any, window: Any, strides: Any, pads: Any) -> bool:
    """Return whether windows end where the image ends, so that there is nothing to round up."""
    if None in sizes or pads == "same":
        return False
    n = len(window)
    return all(
        (size + before + after - k) % s == 0
        for size, before, after, k, s in zip(
            sizes, pads[:n], pads[n:], window, strides, strict=True
        )
    )


def _global_pool(node: Node) -> Value:
    ndim = len(node.value().perm)
    return pooled(node, tuple(range(2, ndim)), node.op == "GlobalMaxPool", keep=True)


def _reduce(node: Node) -> Value:
    """Pool over all of an image or all steps; other means are parts of formulas."""
    value, given = node.value(), node.integers(1, "axes")
    axes = node.axes(given or range(len(value.perm)), len(value.perm))
    return pooled(node, axes, node.op == "ReduceMax", bool(node.get("keepdims", 1)))


def pooled(node: Node, axes: tuple[int, ...], is_max: bool, keep: bool) -> Value:
    """Return one number of each channel, with the other axes if `keep`."""
    value = node.value()
    assert value.link is not None
    ndim = len(value.perm)
    over = {value.perm[k] for k in axes}
    kind = "GlobalMaxPool" if is_max else "GlobalAvgPool"
    if over != {3: {1}, 4: {2, 3}}.get(ndim) or value.order is not None:
        sizes = [1 if k in axes else n for k, n in enumerate(value.shape or ())]
        return node.part(tuple(sizes) if keep else None)
    link = value.link.then(f"{kind}{ndim - 2}D", {})
    if not keep:
        return Value(node, link, (0, 1))
    channels = link.shape[1]
    link = link.then("Reshape", {"target_shape": (1, channels) if ndim == 3 else (channels, 1, 1)})
    return Value(node, link, value.perm)


def _gemm(node: Node) -> Value:
    w, b = node.required(1), node.weight(2)
    node.require(transA=0)
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    if w.array.ndim != 2:
        raise node.refuse(f"has a matrix of shape {w.array.shape}")
    if node.get("transB", 0):
        w = Weight(w.array.T, f"{w.source}, transposed")
    if alpha != 1:
        w = Weight(w.array * alpha, f"{w.source}, scaled")
    if b is not None and beta != 1:
        b = Weight(b.array * beta, f"{b.source}, scaled")
    found = computed.attention(node, w, b)
    if found is not None:
        return found
    x, link = node.link()
    if x.perm != (0, 1):
        raise node.refuse(f"gets values of shape {x.shape}, not (N, D)")
    return dense(node, x, link, w, b)


def dense(node: Node, x: Value, link: Link, w: Weight, b: Weight | None) -> Value:
    """Return the output of a Dense on features, whose kernel is (D, units)."""
    w = by_feature(x, w)
    if w.array.shape[0] != link.shape[-1]:
        raise node.refuse(f"has a matrix of shape {w.array.shape} for {link.shape[-1]} features")
    units = w.array.shape[1]
    arrays = {"W": w}
    if b is not None:
        if b.array.size != 1 and (b.array.shape or (1,))[-1] != b.array.size:
            raise node.refuse(f"has a bias of shape {b.array.shape} for {units} units")
        arrays["b"] = Weight(np.broadcast_to(b.array.reshape(-1), (units,)), b.source)
    config = {"units": units, "use_bias": b is not None}
    return Value(node, link.then("Dense", config, arrays), x.perm)


# -------------------------------------------------------------------------------- activations


def _same(kind: str, **fixed: float) -> Run:
    """Return what reads an activation; `fixed` attributes must have these values."""

    def run(node: Node) -> Value:
        for name, value in fixed.items():
            if not math.isclose(node.get(name, _DEFAULTS.get((node.op, name), 1.0)), value,
                                rel_tol=1e-6):  # fmt: skip
                raise node.refuse(f"has {name}={node.attributes.get(name)}; nn has {value:.7g}")
        return activated(node, kind)

    return run


#: Values of attributes that are left out, where these are not 1.
_DEFAULTS = {
    ("HardSigmoid", "alpha"): 0.2,
    ("HardSigmoid", "beta"): 0.5,
    ("Selu", "alpha"): 1.67326319217681884765625,
    ("Selu", "gamma"): 1.05070102214813232421875,
}


def activated(node: Node, kind: str, **config: Any) -> Value:
    """Return the first input after an activation."""
    x = node.value()
    assert x.link is not None
    return x.after(node, x.link.then(kind, config))


def _softmax(node: Node) -> Value:
    x = node.value()
    ndim = len(x.perm)
    axis = node.axes([node.get("axis", -1 if node.opset >= 13 else 1)], ndim)[0]
    if node.opset < 13 and axis != ndim - 1:
        raise node.refuse(f"is over all axes from {axis} on; export with opset 13 or later")
    if x.perm[axis] != kernels.class_axis(ndim):
        raise node.refuse(f"is over axis {axis} of values {x.shape}; nn's is that of the channels")
    return activated(node, node.op)


def _clip(node: Node) -> Value:
    low, high = (None if k is None else float(k.array.reshape(())) for k in
                 (node.weight(1), node.weight(2)))  # fmt: skip
    kinds = {(0.0, 6.0): "ReLU6", (0.0, None): "ReLU"}
    found = kinds.get((low, None if high is not None and high >= 3e38 else high))  # type: ignore[arg-type]
    if found is None:
        raise node.refuse(f"cuts off at {low} and {high}; nn has ReLU6, at 0 and 6")
    return activated(node, found)


def _prelu(node: Node) -> Value:
    x, slope = node.value(), node.required(1)
    assert x.link is not None
    ndim = len(x.perm)
    axis = x.perm.index(channel_axis(ndim))
    flat = over_axes(node, x, slope, (axis,))
    return x.after(node, x.link.then("PReLU", {}, {"slope": flat}))


def _gelu(node: Node) -> Value:
    if node.get("approximate", "none") != "none":
        raise node.refuse("approximates GELU by tanh; nn computes the exact one")
    return activated(node, "GELU")


LAYERS: dict[str, Run] = {
    "AveragePool": _pool,
    "Celu": _same("ELU", alpha=1.0),
    "Clip": _clip,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Elu": lambda node: activated(node, "ELU", alpha=node.get("alpha", 1.0)),
    "Exp": _same("Exponential"),
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "HardSigmoid": _same("HardSigmoid", alpha=1 / 6, beta=0.5),
    "LeakyRelu": lambda node: activated(node, "LeakyReLU", negative_slope=node.get("alpha", 0.01)),
    "LogSoftmax": _softmax,
    "MaxPool": _pool,
    "Mish": _same("Mish"),
    "PRelu": _prelu,
    "ReduceMax": _reduce,
    "ReduceMean": _reduce,
    "Relu": _same("ReLU"),
    "Selu": _same("SELU", alpha=1.6732632423543772, gamma=1.0507009873554805),
    "Sigmoid": _same("Sigmoid"),
    "Softmax": _softmax,
    "Softplus": _same("Softplus"),
    "Softsign": _same("Softsign"),
    "Swish": _same("SiLU", alpha=1.0),
    "Tanh": _same("Tanh"),
    **NORMALIZATIONS,
}
