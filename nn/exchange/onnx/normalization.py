"""Normalizations that are layers of nn, as `operators` has the others."""

import math

import numpy as np

from ...layers.budget import take_elements
from .values import IMAGES, STEPS, Node, Run, Value, Weight, by_feature, require_channels

__all__ = ["NORMALIZATIONS", "normalized", "over_axes"]


def _batch_norm(node: Node) -> Value:
    x = node.value()
    assert x.link is not None
    node.require(training_mode=0)
    if node.opset < 14 and node.outputs > 1:
        raise node.refuse("is that of training; export the model for inference")
    require_channels(node, x)
    names = ("gamma", "beta", "running_mean", "running_var")
    arrays = {name: by_feature(x, node.required(k + 1)) for k, name in enumerate(names)}
    momentum = node.get("momentum", 0.9)
    kind = "BatchNorm2D" if len(x.perm) == 4 else "BatchNorm1D"
    config = {"momentum": momentum if 0.5 <= momentum < 1 else 0.9}
    config["eps"] = node.get("epsilon", 1e-5)
    return x.after(node, x.link.then(kind, config, arrays))


def _layer_norm(node: Node) -> Value:
    x = node.value()
    ndim = len(x.perm)
    first = node.axes([node.get("axis", -1)], ndim)[0]
    return normalized(node, x, tuple(range(first, ndim)), node.get("epsilon", 1e-5))


def normalized(node: Node, x: Value, axes: tuple[int, ...], eps: float) -> Value:
    """Return the output of a LayerNorm over some axes, with the scale and shift of the node."""
    assert x.link is not None
    ndim, own = len(x.perm), sorted(x.perm[k] for k in axes)
    default = [1, 2, 3] if ndim == 4 else [ndim - 1]
    config = {"axis": None if own == default else own, "eps": eps}
    arrays = {}
    for index, name, start in ((1, "gamma", 1.0), (2, "beta", 0.0)):
        given = node.weight(index) if node.op == "LayerNormalization" else None
        weight = given or Weight(np.full(1, start, "f4"), "nothing")
        arrays[name] = over_axes(node, x, weight, axes)
    return x.after(node, x.link.then("LayerNorm", config, arrays))


def over_axes(node: Node, x: Value, weight: Weight, axes: tuple[int, ...]) -> Weight:
    """Return numbers for each place along some axes of a value, in the order of nn's axes."""
    assert x.link is not None
    own = sorted(x.perm[k] for k in axes)
    if any(x.link.shape[k] is None for k in own):
        raise node.refuse("normalizes along an axis whose size may change")
    ndim, array = len(x.perm), weight.array
    shape = x.shape or ()
    sizes = tuple(int(n or 0) if k in axes else 1 for k, n in enumerate(shape))
    if array.ndim > ndim:
        raise node.refuse(f"has an array of shape {array.shape} for values of shape {shape}")
    take_elements("ONNX", math.prod(sizes))
    wide = array.reshape((1,) * (ndim - array.ndim) + array.shape)
    if any(n not in (1, size) for n, size in zip(wide.shape, sizes, strict=True)):
        raise node.refuse(
            f"has an array of shape {array.shape} for values of shape {shape}, where nn has one "
            f"number for each of the places {sizes}, as along the channels: images are "
            "(N, C, H, W), sequences (N, T, C)"
        )
    full = np.broadcast_to(wide, sizes)
    full = full.transpose(np.argsort(x.perm))  # to nn's axes
    return by_feature(x, Weight(full.reshape(-1), weight.source))


def _group_norm(node: Node) -> Value:
    x, link = node.link(IMAGES, STEPS, (0, 1), what="(N, C, ...)")
    groups, channels = node.get("num_groups", 0), int(link.shape[1] or 0)
    gamma, beta = node.required(1), node.required(2)
    if len(x.perm) == 3 or groups < 1 or channels % groups:
        raise node.refuse(f"has num_groups={groups} for values of shape {x.shape}")
    if len(gamma.array) == groups != channels:  # before opset 21, for each group
        gamma, beta = (
            Weight(np.repeat(k.array, channels // groups), k.source) for k in (gamma, beta)
        )
    config = {"groups": groups, "eps": node.get("epsilon", 1e-5)}
    return x.after(node, link.then("GroupNorm", config, {"gamma": gamma, "beta": beta}))


def _instance_norm(node: Node) -> Value:
    x = node.value()
    assert x.link is not None
    if len(x.perm) == 3:  # of groups, perhaps: see `shapes.reshape`
        return node.part(x.shape)
    x, link = node.link(IMAGES, what="(N, C, H, W)")
    arrays = {"gamma": node.required(1), "beta": node.required(2)}
    config = {"groups": int(link.shape[1] or 0), "eps": node.get("epsilon", 1e-5)}
    return x.after(node, link.then("GroupNorm", config, arrays))


NORMALIZATIONS: dict[str, Run] = {
    "BatchNormalization": _batch_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
}
