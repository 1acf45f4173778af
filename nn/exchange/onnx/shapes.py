"""Operators that move values or take some of them: Reshape, Transpose, Flatten, Gather, Pad ..."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...layers.base import Shape
from ...layers.budget import take_elements
from . import computed, recurrent
from .values import STEPS, Constant, Link, Node, Value, Weight, channel_axis, common_link

__all__ = ["SHAPES"]

_MOST = 1 << 62  # a place behind any end
_FLOATS, _INTEGERS = (1, 10, 11, 16), (6, 7)  # numbers of types


# ------------------------------------------------------------------------------------ reshaping


def _reshape(node: Node) -> Value:
    x, target = node.inputs[0], node.constant(1)
    if target is None or not isinstance(x, Value) or x.shape is None:
        return node.part()
    given, shape = target.array.reshape(-1).tolist(), x.shape
    if not node.get("allowzero", 0):
        if any(n == 0 and k >= len(shape) for k, n in enumerate(given)):
            raise node.refuse(f"has the shape {given} for values of shape {shape}")
        given = [shape[k] if n == 0 else n for k, n in enumerate(given)]
    return reshaped(node, x, given)


def reshaped(node: Node, x: Value, given: list[int | None]) -> Value:
    """Return a value in another shape, in which -1 stands for what is left, and None for any."""
    role = x.role[0] if isinstance(x.role, tuple) else None
    if role == "states":
        return _joined_states(node, x, given)
    if role == "rows of steps":
        return computed.unflattened(node, x, given)
    if x.node is not None and x.node.op == "InstanceNormalization" and x.link is None:
        return _group_norm(node, x.node, given)
    if x.link is None:
        return node.part(tuple(None if n == -1 else n for n in given))
    sizes = _sizes(node, x, given)
    if sizes == x.shape:
        return Value(node, x.link, x.perm, x.order)
    if x.perm.index(0) != 0 or (x.order is not None and len(sizes) != 2):
        raise node.refuse(f"reshapes values of shape {x.shape} to {given}, across the batch")
    link, perm, order = x.link, x.perm, x.order
    is_again = link.kind in ("Reshape", "Flatten") and _is_in_order(link.shape, perm)
    if order is None and is_again and link.parent is not None:
        link = link.parent  # of two that follow each other, one is enough
        perm = tuple(range(len(link.shape)))
    if tuple(sizes) == tuple(link.shape[k] for k in perm):
        return Value(node, link, perm, order)
    if not _is_in_order(link.shape, perm):
        if len(sizes) != 2:
            raise node.refuse(
                f"reshapes values of shape {x.shape}, which are in another order in nn, to {given}"
            )
        order = _order(node, link.shape, perm)
    if len(sizes) == 2:
        return Value(node, link.then("Flatten", {}), (0, 1), order)
    target = [-1 if n is None else n for n in sizes[1:]]
    return Value(node, link.then("Reshape", {"target_shape": target}), tuple(range(len(sizes))))


def _sizes(node: Node, x: Value, given: list[int | None]) -> tuple[int | None, ...]:
    """Return the shape that a Reshape makes, with the batch first."""
    shape = x.shape or ()
    if tuple(given) == tuple(shape):
        return tuple(given)
    known = [n for k, n in enumerate(shape) if x.perm[k] != 0]
    values = None if None in known else math.prod(int(n or 0) for n in known)
    rest = given[1:]
    if not rest or sum(n == -1 for n in given) > 1 or any(n is not None and n < -1 for n in given):
        raise node.refuse(f"makes the shape {given}, which is no batch of samples")
    if -1 in rest and values is not None and None not in rest:
        others = math.prod(int(n or 0) for n in rest if n != -1)
        rest = [values // max(others, 1) if n == -1 else n for n in rest]
    rest = [None if n == -1 else n for n in rest]
    if values is None:
        if rest.count(None) != 1:
            raise node.refuse(f"reshapes values of shape {shape}, whose sizes may change")
    elif None in rest or math.prod(int(n or 0) for n in rest) != values:
        raise node.refuse(f"reshapes values of shape {shape} to {given}, across the batch")
    return (None, *rest)


def _is_in_order(shape: Shape, perm: tuple[int, ...]) -> bool:
    """Return whether values are in the same order, as axes of length 1 may change places."""
    moved = [k for k in perm if shape[k] != 1]
    return moved == sorted(moved)


def _order(node: Node, shape: Shape, perm: tuple[int, ...]) -> np.ndarray:
    """Return the place of each feature in the graph, for features in nn's order."""
    if None in shape[1:]:
        raise node.refuse(f"flattens values of shape {shape}, whose sizes may change")
    sizes = [int(shape[k] or 0) for k in perm[1:]]
    take_elements("Flatten", math.prod(sizes))
    places = np.arange(math.prod(sizes)).reshape(sizes)
    return places.transpose(np.argsort(perm[1:])).reshape(-1)


def _group_norm(node: Node, norm: Node, given: list[int | None]) -> Value:
    """Return groups of channels, normalized and reshaped back, as a GroupNorm."""
    parts = norm.inputs[0]
    source = parts.node.inputs[0] if parts.node and parts.node.op == "Reshape" else None
    if not isinstance(source, Value) or source.link is None or not source.is_plain:
        return node.part()
    shape, groups = source.link.shape, int((parts.shape or (0, 0))[1] or 0)
    if tuple(given) != shape and _sizes(node, source, given) != shape:
        return node.part()
    channels = int(shape[1] or 0)
    if groups < 1 or channels % groups:
        return node.part()
    arrays = {}
    for index, name in ((1, "gamma"), (2, "beta")):
        each = norm.required(index)
        arrays[name] = Weight(np.repeat(each.array, channels // groups), each.source)
    config = {"groups": groups, "eps": norm.get("epsilon", 1e-5)}
    return source.after(node, source.link.then("GroupNorm", config, arrays))


def _joined_states(node: Node, x: Value, given: list[int | None]) -> Value:
    """Return the states of both directions side by side."""
    _, real, labels, directions, _ = x.role
    units = int(real.link.shape[-1] or 0)
    if not labels.endswith("DU") or len(given) != len(labels) - 1 or given[-1] not in (-1, units):
        raise node.refuse(f"makes the shape {given} of states of shape {x.shape}")
    return recurrent.moved(node, labels.replace("D", ""), is_merged=directions > 1)


def _flatten(node: Node) -> Value:
    x = node.value()
    if node.axes([node.get("axis", 1)], len(x.perm) + 1)[0] != 1:
        raise node.refuse(f"has axis={node.attributes['axis']}; nn keeps the batch alone")
    return reshaped(node, x, [None, -1])


def _squeeze(node: Node) -> Value:
    x, axes = node.inputs[0], node.integers(1, "axes")
    shape = x.shape
    if shape is None or axes is None:
        return node.part()
    chosen = node.axes(axes, len(shape))
    if isinstance(x.role, tuple) and x.role[0] == "last" and chosen == (x.role[2],):
        return recurrent.last_step(node, x.role[1], x.role[2])
    if isinstance(x.role, tuple) and x.role[0] == "states":
        labels = "".join(k for i, k in enumerate(x.role[2]) if i not in chosen)
        if len(labels) != len(shape) - 1 or "D" in labels:
            raise node.refuse(f"removes the axes {axes} of states of shape {shape}")
        return recurrent.moved(node, labels)
    if any(shape[k] != 1 for k in chosen):
        raise node.refuse(f"removes the axes {axes} of values of shape {shape}")
    return reshaped(node, x, [n for k, n in enumerate(shape) if k not in chosen])


def _unsqueeze(node: Node) -> Value:
    x, axes = node.inputs[0], node.integers(1, "axes")
    if x.shape is None or axes is None:
        return node.part()
    sizes: list[Any] = list(x.shape)
    for k in sorted(node.axes(axes, len(sizes) + len(axes))):
        sizes.insert(k, 1)
    return reshaped(node, x, sizes)


def _transpose(node: Node) -> Value:
    x = node.inputs[0]
    if x.shape is None:
        return node.part()
    perm = node.get("perm", list(range(len(x.shape)))[::-1])
    if sorted(perm) != list(range(len(x.shape))):
        raise node.refuse(f"has perm={perm} for values of shape {x.shape}")
    if isinstance(x.role, tuple) and x.role[0] == "states":
        return recurrent.moved(node, "".join(x.role[2][k] for k in perm))
    if isinstance(x.role, tuple) and x.role[0] == "reversed":
        value = x.role[1]
        moved = Value(node, value.link, tuple(value.perm[k] for k in perm))
        return node.part(moved.shape, ("reversed", moved))
    if x.link is None:
        return node.part(tuple(x.shape[k] for k in perm))
    return Value(node, x.link, tuple(x.perm[k] for k in perm), x.order)


# -------------------------------------------------------------------------------- parts of values


def _shape(node: Node) -> Constant:
    x = node.inputs[0]
    if isinstance(x, Constant):
        sizes = np.array(x.array.shape, object)
    elif x.shape is None:
        raise node.refuse("asks for a shape that is not known")
    else:
        sizes = np.array(x.shape, object)
    part = sizes[node.get("start", 0) : node.get("end", _MOST)]
    return Constant(part if None in part.tolist() else part.astype("i8"), node.name)


def _gather(node: Node) -> Value:
    data, indices = node.inputs[:2]
    axis = node.get("axis", 0)
    if isinstance(data, Constant):
        table, link = node.required(0), indices.link
        if link is None or axis or table.array.ndim != 2 or not indices.is_plain:
            raise node.refuse("looks up computed places, which is no Embedding")
        config = dict(zip(("input_dim", "output_dim"), table.array.shape, strict=True))
        return Value(node, link.then("Embedding", config, {"W": table}), (0, 1, 2))
    index = node.integers(1)
    if index is None or len(index) != 1 or data.shape is None:
        return node.part()
    (axis,) = node.axes([axis], len(data.shape))
    is_last = index[0] in (-1, (data.shape[axis] or 0) - 1)
    is_states = isinstance(data.role, tuple) and data.role[0] == "states"
    if is_states and data.role[2][axis] == "D" and data.role[3] == 1 and is_last:
        if node.inputs[1].array.ndim:
            return node.part()
        return recurrent.moved(node, data.role[2].replace("D", ""))
    if not is_last or node.inputs[1].array.ndim:
        raise node.refuse(f"takes place {index[0]} along axis {axis}; nn takes the last step alone")
    return recurrent.last_step(node, node.value(), axis)


def _slice(node: Node) -> Value:
    x = node.inputs[0]
    if isinstance(x, Constant):
        return _rows(node)
    starts, ends = node.integers(1), node.integers(2)
    axes, steps = node.integers(3), node.integers(4) or [1]
    if x.shape is None or starts is None or ends is None:
        return node.part()
    axes = [0] if axes is None else axes
    if len(starts) != 1 or len(ends) != 1 or len(axes) != 1 or len(steps) != 1:
        return node.part()
    (axis,) = node.axes(axes, len(x.shape))
    size = x.shape[axis]
    if steps == [-1] and starts[0] == -1 and ends[0] < -(size or _MOST):
        return recurrent.reversed_steps(node, axis)
    is_to_end = ends[0] >= (_MOST if size is None else size)
    if steps != [1]:
        return node.part()
    if starts[0] == 0 and is_to_end:
        return Value(node, x.link, x.perm, x.order, x.sizes, x.reason, x.role)
    if is_to_end and starts[0] in (-1, (size or 0) - 1):
        sizes = tuple(1 if k == axis else n for k, n in enumerate(x.shape))
        return node.part(sizes, ("last", x, axis))
    return node.part()


def _rows(node: Node) -> Value:
    """Return the first rows of a table, as many as there are steps."""
    table, ends = node.required(0), node.constant(2)
    is_unknown = ends is not None and ends.array.dtype == object and ends.array.size == 1
    is_rows = node.integers(1) == [0] and (node.integers(3) or [0]) == [0]
    if not is_unknown or not is_rows or (node.integers(4) or [1]) != [1] or table.array.ndim != 2:
        raise node.refuse("takes a part that is not known before it runs")
    return node.part(None, ("rows", table.array))


def _concat(node: Node) -> Value:
    axis = node.get("axis", 0)
    shape = node.inputs[0].shape if isinstance(node.inputs[0], Value) else None
    found = recurrent.merged(node, "concat") if shape and axis in (-1, len(shape) - 1) else None
    if found is not None:
        return found
    if any(not isinstance(x, Value) or x.link is None for x in node.inputs):
        return node.part()
    both = node.value()
    for index in range(1, len(node.inputs)):
        both = _side_by_side(node, both, node.value(index), axis)
    return both


def _side_by_side(node: Node, a: Value, b: Value, axis: int) -> Value:
    """Return the channels of two values, one after the other, as a SkipConcat."""
    assert a.link is not None and b.link is not None
    ndim = len(a.perm)
    along = a.perm[node.axes([axis], ndim)[0]]
    if a.perm != b.perm or a.order is not None or b.order is not None:
        raise node.refuse(f"joins values of shapes {a.shape} and {b.shape} in different layouts")
    if along != channel_axis(ndim):
        raise node.refuse(f"joins values of shape {a.shape} along axis {axis}; nn joins channels")
    sizes = [[n for k, n in enumerate(link.shape) if k != along] for link in (a.link, b.link)]
    channels = [link.shape[along] for link in (a.link, b.link)]
    if sizes[0] != sizes[1] or None in channels:
        raise node.refuse(f"joins values of shapes {a.shape} and {b.shape}")
    shape = (*a.link.shape[:along], sum(int(n or 0) for n in channels), *a.link.shape[along + 1 :])
    link = common_link(a.link, b.link).side_by_side(a.link, b.link, shape)
    return Value(node, link, a.perm)


def _pad(node: Node) -> Value:
    x = node.value()
    assert x.link is not None
    pads, value, axes = node.integers(1), node.weight(2), node.integers(3)
    if node.get("mode", "constant") != "constant" or (value is not None and value.array.any()):
        raise node.refuse("pads with other numbers than 0")
    ndim = len(x.perm)
    chosen = node.axes(range(ndim) if axes is None else axes, ndim)
    if pads is None or len(pads) != 2 * len(chosen) or min(pads) < 0:
        raise node.refuse(f"has pads={pads} for values of shape {x.shape}")
    each = {x.perm[k]: (pads[i], pads[i + len(chosen)]) for i, k in enumerate(chosen)}
    added = {k: v for k, v in each.items() if v != (0, 0)}
    if not added:
        return Value(node, x.link, x.perm, x.order)
    if x.perm == STEPS and set(added) == {1}:  # for the Conv that follows
        return node.part(None, ("padded", x, list(added[1])))
    if ndim != 4 or not set(added) <= {2, 3}:
        raise node.refuse(f"pads axes other than height and width of values of shape {x.shape}")
    config = {"padding": (each.get(2, (0, 0)), each.get(3, (0, 0)))}
    return x.after(node, x.link.then("ZeroPad2D", config))


def _resize(node: Node) -> Value:
    x = node.value()
    assert x.link is not None
    if len(x.perm) != 4 or x.shape is None:
        raise node.refuse(f"resizes values of shape {x.shape}, not images")
    factors = _factors(node, x.link, x)
    mode, rule = (
        node.get("mode", "nearest"),
        node.get("coordinate_transformation_mode", "half_pixel"),
    )
    rounding = node.get("nearest_mode", "round_prefer_floor")
    is_floor = (rule, rounding) in (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"))
    if mode == "nearest" and is_floor:
        kind = "nearest"
    elif mode == "linear" and rule in ("half_pixel", "pytorch_half_pixel"):
        kind = "bilinear"
    else:
        raise node.refuse(f"resizes by mode={mode!r} with {rule!r} and {rounding!r}")
    config = {"size": factors, "interpolation": kind}
    return x.after(node, x.link.then("UpSample2D", config))


def _factors(node: Node, link: Link, x: Value) -> tuple[int, int]:
    """Return by how much height and width grow."""
    scales = node.weight(2)
    found: list[float]
    if scales is not None and scales.array.size:
        found = [float(k) for k in scales.array.reshape(-1)]
    else:
        given, shape = node.constant(3), x.shape or ()
        sizes = [] if given is None else given.array.reshape(-1).tolist()
        batch = x.perm.index(0)
        known = [k for k in range(4) if k != batch]
        if len(sizes) != 4 or any(None in (sizes[k], shape[k]) for k in known):
            raise node.refuse("has no scales, or sizes of images that may change")
        found = [1.0 if k == batch else sizes[k] / int(shape[k] or 1) for k in range(4)]
    each = dict(zip(x.perm, found, strict=False))
    if len(found) != 4 or each[0] != 1 or each[1] != 1 or any(k % 1 or k < 1 for k in found):
        raise node.refuse(f"has the scales {found}; nn has whole numbers for height and width")
    return int(each[2]), int(each[3])


# ---------------------------------------------------------------------------- what changes nothing


def _same(node: Node) -> Any:
    x = node.inputs[0]
    training = node.inputs[2] if node.op == "Dropout" and len(node.inputs) > 2 else None
    if training is not None and (not isinstance(training, Constant) or training.array.any()):
        raise node.refuse("drops values in training; export the model for inference")
    is_ids = isinstance(x, Value) and x.link is not None and x.link.kind == "ids"
    if node.op == "Cast" and node.attributes.get("to") not in (_INTEGERS if is_ids else _FLOATS):
        raise node.refuse(f"makes the type {node.attributes.get('to')}, not that of its input")
    return x


SHAPES: dict[str, Callable[[Node], Any]] = {
    "Cast": _same,
    "Concat": _concat,
    "Dropout": _same,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _same,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
