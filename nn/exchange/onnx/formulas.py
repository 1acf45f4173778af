"""Formulas of several nodes that are one layer of nn: GELU, a bias, a Residual, a variance.

Each node adds what it is by itself, and looks whether it completes a formula. A number for each
channel is a scale or a shift; these become part of the layer before, or a layer of their own.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import kernels
from . import attention, computed, recurrent
from .normalization import normalized, over_axes
from .operators import activated, dense
from .values import (
    STEPS,
    Constant,
    Link,
    Node,
    Value,
    Weight,
    by_feature,
    channel_axis,
    common_link,
)

__all__ = ["FORMULAS"]

_LINEAR = ("Conv1D", "Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D")
_NORMS = ("BatchNorm1D", "BatchNorm2D", "GroupNorm", "LayerNorm")

#: The largest threshold of a softplus that is its input above it, at which 32 bits differ.
_SOFTPLUS = 15.0


# ------------------------------------------------------------------------- products and sums


def _mul(node: Node) -> Value:
    found = _activation_of(node)
    if found is not None:
        return found
    if all(isinstance(v, Value) for v in node.inputs):
        return recurrent.merged(node, "mul") or node.part()
    return _affine(node)


def _add(node: Node) -> Value:
    a, b = node.inputs
    if isinstance(a, Value) and isinstance(b, Value):
        rows = next((v for v in (a, b) if v.role and v.role[0] == "rows"), None)
        if rows is not None:
            return _positions(node, a if rows is b else b, rows.role[1])
        return recurrent.merged(node, "sum") or _residual(node, a, b)
    return attention.biased(node) or _affine(node)


def _sub(node: Node) -> Value:
    if all(isinstance(v, Value) for v in node.inputs):
        return node.part()
    return _affine(node)


def _div(node: Node) -> Value:
    if all(isinstance(v, Value) for v in node.inputs):
        return _layer_norm(node) or _softsign(node) or node.part()
    return _activation_of(node) or _affine(node)


def _residual(node: Node, a: Value, b: Value) -> Value:
    node.value(0), node.value(1)
    assert a.link is not None and b.link is not None
    same_order = a.order is b.order or (
        a.order is not None and b.order is not None and np.array_equal(a.order, b.order)
    )
    if a.perm != b.perm or not same_order or a.shape != b.shape:
        raise node.refuse(f"adds values of shapes {a.shape} and {b.shape} in different layouts")
    start = common_link(a.link, b.link)
    return a.after(node, start.joined(a.link, b.link))


def _affine(node: Node) -> Value:
    """Return a value after a scale or a shift."""
    first = isinstance(node.inputs[0], Value)
    x, c = node.value(0 if first else 1), node.required(1 if first else 0)
    assert x.link is not None
    if node.op == "Div" and not first:
        raise node.refuse("divides by what is computed")
    numbers = c.array
    if node.op == "Div" or (node.op == "Sub" and first):
        with np.errstate(divide="ignore"):
            numbers = 1 / numbers if node.op == "Div" else -numbers
    negated = node.op == "Sub" and not first
    link = x.link.then("Rescale", {"scale": -1.0}) if negated else x.link
    x = x.after(node, link)
    if numbers.size == 1:
        return _rescaled(node, x, link, numbers)
    axes = _axes_of(node, x, c)
    if link.kind == "LayerNorm":
        own = link.config["axis"] or {3: [2], 4: [1, 2, 3]}.get(len(x.perm), [1])
        if {x.perm[k] for k in axes} <= set(own):
            wide = over_axes(node, x, Weight(numbers, c.source), _places(x, own))
            return x.after(node, _into_norm(node, link, wide))
    if len(x.perm) == 3 and {x.perm[k] for k in axes} == {1, 2} and node.op == "Add":
        return _positions(node, x, c.array)
    if len(axes) != 1 or x.perm[axes[0]] != channel_axis(len(x.perm)):
        raise node.refuse(
            f"has an array of shape {c.array.shape} for values of shape {x.shape}; nn has numbers "
            "for each channel"
        )
    each = by_feature(x, Weight(numbers.reshape(-1), c.source))
    if link.kind in _LINEAR and not link.config["use_bias"] and node.op in ("Add", "Sub"):
        arrays = {**link.arrays, "b": each}
        return x.after(node, link.replaced({**link.config, "use_bias": True}, arrays))
    if link.kind in _NORMS and link.kind != "LayerNorm":
        return x.after(node, _into_norm(node, link, each))
    return x.after(node, _of_channels(node, link, each, by_feature(x, _flat(c))))


def _flat(weight: Weight) -> Weight:
    return Weight(weight.array.reshape(-1), weight.source)


def _places(x: Value, own: Any) -> tuple[int, ...]:
    """Return the axes of a value that are axes of the layer's output."""
    return tuple(k for k, axis in enumerate(x.perm) if axis in own)


def _axes_of(node: Node, x: Value, c: Weight) -> tuple[int, ...]:
    """Return the axes of a value along which a constant has more than one number."""
    shape, sizes = x.shape or (), c.array.shape
    if len(sizes) > len(shape):
        raise node.refuse(f"has an array of shape {sizes} for values of shape {shape}")
    places = range(len(shape) - len(sizes), len(shape))
    axes = tuple(k for k, n in zip(places, sizes, strict=True) if n != 1)
    if any(shape[k] != c.array.shape[k - places[0]] for k in axes):
        raise node.refuse(f"has an array of shape {sizes} for values of shape {shape}")
    return axes


def _rescaled(node: Node, x: Value, link: Link, numbers: np.ndarray) -> Value:
    """Return a value times a number, or plus one."""
    number = float(numbers.reshape(()))
    is_scale = node.op in ("Mul", "Div")
    if number == (1 if is_scale else 0):
        return x.after(node, link)
    is_sum = link.kind == "Bidirectional" and link.config["merge"] == "sum"
    if is_sum and is_scale and number == 0.5:
        return x.after(node, link.replaced({**link.config, "merge": "ave"}, link.arrays))
    if link.kind == "Rescale" and link.parent is not None:
        scale, offset = link.config["scale"], link.config.get("offset", 0.0)
        config = {"scale": scale, "offset": offset + number}
        if is_scale:
            config = {"scale": scale * number, "offset": offset * number}
        if config["scale"]:
            return x.after(node, link.replaced(config, {}))
    config = {"scale": number} if is_scale else {"scale": 1.0, "offset": number}
    return x.after(node, link.then("Rescale", config))


def _into_norm(node: Node, link: Link, numbers: Weight) -> Link:
    """Return a normalization with another scale or shift."""
    gamma, beta = link.arrays["gamma"], link.arrays["beta"]
    if node.op in ("Mul", "Div"):
        gamma = Weight(gamma.array * numbers.array, numbers.source)
        beta = Weight(beta.array * numbers.array, beta.source)
    else:
        beta = Weight(beta.array + numbers.array, numbers.source)
    return link.replaced(link.config, {**link.arrays, "gamma": gamma, "beta": beta})


def _of_channels(node: Node, link: Link, numbers: Weight, given: Weight) -> Link:
    """Return a scale or a shift of each channel as a layer of its own."""
    is_centered = link.kind == "Standardize" and (link.arrays["std"].array == 1).all()
    if node.op == "Div" and is_centered and (given.array > 0).all():
        mean = link.arrays["mean"]
        config = {"mean": mean.array.tolist(), "std": given.array.tolist()}
        return link.replaced(config, {"mean": mean, "std": given})
    ones = np.ones_like(numbers.array)
    if node.op == "Sub" and isinstance(node.inputs[0], Value):
        config = {"mean": given.array.tolist(), "std": ones.tolist()}
        return link.then("Standardize", config, {"mean": given, "std": Weight(ones, "nothing")})
    is_scale = node.op in ("Mul", "Div")
    arrays = {
        "gamma": numbers if is_scale else Weight(ones, "nothing"),
        "beta": Weight(0 * ones, "nothing") if is_scale else numbers,
        "running_mean": Weight(0 * ones, "nothing"),
        "running_var": Weight(ones, "nothing"),
    }
    kind = "BatchNorm2D" if len(link.shape) == 4 else "BatchNorm1D"
    return link.then(kind, {"eps": 1e-12}, arrays)


def _positions(node: Node, x: Value, rows: np.ndarray) -> Value:
    """Return a value plus a row for each step."""
    if not x.is_plain or x.link is None or rows.ndim not in (2, 3):
        raise node.refuse(f"adds rows of shape {rows.shape} to values of shape {x.shape}")
    steps, features = (int(n) for n in rows.shape[-2:])
    rows = rows.reshape(steps, features)
    sines = kernels.sinusoids(np.zeros(1, "f4"), steps, features)
    if x.shape is not None and rows.shape == x.shape[1:] and np.abs(rows - sines).max() < 1e-6:
        return x.after(node, x.link.then("SinusoidalPositions", {}))
    arrays = {"W": Weight(rows, node.inputs[1].name if isinstance(node.inputs[1], Constant) else
                          "rows")}  # fmt: skip
    return x.after(node, x.link.then("PositionalEmbedding", {"max_length": len(rows)}, arrays))


# -------------------------------------------------------------------------------- activations


def _product(value: Any, through: bool) -> tuple[float, list[Any]]:
    """Return the numbers and the values of which a value is the product.

    Parameters
    ----------
    value
        What a node makes, perhaps by Mul or Div.
    through
        Whether a factor that is a layer's output times a number is taken apart too.
    """
    number, values, rest = 1.0, [], [(value, 0)]
    while rest:
        factor, depth = rest.pop()
        node = factor.node if isinstance(factor, Value) else None
        known = _number(factor)
        if known is not None:
            number *= known
        elif node is None or depth > 3 or not _is_product(factor, depth, through):
            values.append(factor)
        elif node.op == "Mul":
            rest += [(k, depth + 1) for k in node.inputs]
        else:
            number /= _number(node.inputs[1]) or 1.0
            rest.append((node.inputs[0], depth + 1))
    return number, values


def _is_product(value: Value, depth: int, through: bool) -> bool:
    assert value.node is not None
    by_number = value.node.op == "Div" and bool(_number(value.node.inputs[1]))
    if value.node.op != "Mul" and not by_number:
        return False
    return depth == 0 or value.link is None or (through and value.link.kind == "Rescale")


def _number(value: Any) -> float | None:
    """Return a constant of one element; None for anything else."""
    is_number = isinstance(value, Constant) and value.array.size == 1
    return float(value.array.reshape(())) if is_number and value.array.dtype != object else None


def _activation_of(node: Node) -> Value | None:
    """Return a product that is a GELU, a SiLU or a Mish; None if it is none."""
    for through in (False, True):
        number, values = _product(Value(node), through)
        for x, other in (values, values[::-1]) if len(values) == 2 else ():
            kind = _kind_of(number, x, other)
            if kind is not None:
                return activated(Node(**{**vars(node), "inputs": [x]}), kind)
    return None


def _kind_of(number: float, x: Any, other: Any) -> str | None:
    """Return the activation that is x times another value times a number."""
    if not isinstance(x, Value) or x.link is None or not isinstance(other, Value):
        return None
    if number == 1 and _made_by(other, "Sigmoid", x):
        return "SiLU"
    node = other.node
    if number == 1 and node is not None and node.op == "Tanh":
        return "Mish" if _made_by(node.inputs[0], "Softplus", x) else None
    is_half = math.isclose(number, 0.5, rel_tol=1e-6)
    return "GELU" if is_half and node is not None and _is_erf(node, x) else None


def _made_by(value: Any, op: str, x: Value) -> bool:
    """Return whether a value is made by an operator of x alone."""
    node = value.node if isinstance(value, Value) else None
    return node is not None and node.op == op and node.inputs[0] is x


def _is_erf(node: Node, x: Value) -> bool:
    """Return whether a node is 1 + erf(x / sqrt(2))."""
    if node.op != "Add" or not any(_number(c) == 1 for c in node.inputs):
        return False
    erf = next((v.node for v in node.inputs if isinstance(v, Value)), None)
    if erf is None or erf.op != "Erf":
        return False
    for through in (False, True):
        number, values = _product(erf.inputs[0], through)
        if values == [x] and math.isclose(number, math.sqrt(0.5), rel_tol=1e-6):
            return True
    return False


def _softsign(node: Node) -> Value | None:
    """Return x / (1 + abs(x))."""
    x, other = node.inputs
    if other.node is None or other.node.op != "Add":
        return None
    is_one = any(_number(c) == 1 for c in other.node.inputs)
    if is_one and any(_made_by(v, "Abs", x) for v in other.node.inputs):
        return activated(node, "Softsign")
    return None


def _is_input(value: Any) -> bool:
    return isinstance(value, Value) and value.link is not None and value.link.parent is None


def _where(node: Node) -> Value:
    """Return a softplus that is its input where that is large; or scores without later steps."""
    condition, x, y = node.inputs
    test = condition.node if isinstance(condition, Value) else None
    number = _number(test.inputs[1]) if test is not None else None
    if test is not None and number is not None:
        is_large = test.op == "Greater" and test.inputs[0] is x and number >= _SOFTPLUS
        if is_large and _made_by(y, "Softplus", x):
            return Value(node, y.link, y.perm, y.order, y.sizes, y.reason)
        is_negative = test.op == "Less" and test.inputs[0] is y and number == 0
        if is_negative and _made_by(x, "Add", y) and _is_input(y):
            return y  # ids, of which nn takes none below 0
    return attention.without_later_steps(node) or node.part()


# ------------------------------------------------------------------------------------ the rest


def _layer_norm(node: Node) -> Value | None:
    """Return (x - mean) / sqrt(variance + eps)."""
    centered, std = (v.node for v in node.inputs)
    if centered is None or centered.op != "Sub" or std is None or std.op != "Sqrt":
        return None
    x, mean = centered.inputs
    of_mean = mean.node if isinstance(mean, Value) else None
    total = std.inputs[0].node
    if of_mean is None or of_mean.op != "ReduceMean" or of_mean.inputs[0] is not x:
        return None
    if total is None or total.op != "Add" or not isinstance(total.inputs[1], Constant):
        return None
    variance, eps = total.inputs[0].node, total.inputs[1].array
    if variance is None or variance.op != "ReduceMean" or eps.size != 1:
        return None
    square = variance.inputs[0].node if isinstance(variance.inputs[0], Value) else None
    if square is None or not _is_square(square, node.inputs[0]):
        return None
    ndim = len(x.perm)
    axes, others = (
        set(n.axes(n.integers(1, "axes") or range(ndim), ndim)) for n in (of_mean, variance)
    )
    kept = all(n.get("keepdims", 1) for n in (of_mean, variance))
    if x.link is None or axes != others or not kept:
        return None
    return normalized(node, x, tuple(sorted(axes)), _short(eps))


def _short(eps: np.ndarray) -> float:
    """Return a number of 32 bits with as few digits as it has."""
    return float(str(np.float32(eps.reshape(()))))


def _is_square(node: Node, x: Any) -> bool:
    if node.op == "Mul":
        return node.inputs[0] is x and node.inputs[1] is x
    return node.op == "Pow" and node.inputs[0] is x and _number(node.inputs[1]) == 2


def _matmul(node: Node) -> Value:
    a, b = node.inputs
    if isinstance(a, Value) and isinstance(b, Value):
        sizes = None if None in (a.shape, b.shape) else (*a.shape[:-1], b.shape[-1])  # type: ignore[index]
        return node.part(sizes)
    found = attention.output(node) or computed.attention(node, node.required(1))
    if found is not None:
        return found
    x, w = node.value(), node.required(1)
    assert x.link is not None
    if w.array.ndim != 2:
        raise node.refuse(f"has a matrix of shape {w.array.shape}")
    if x.perm == (0, 2, 3, 1):  # images, whose channels are last here: a kernel of one pixel
        arrays = {"W": Weight(w.array.T[:, :, None, None], f"{w.source}, turned")}
        config = {"filters": w.array.shape[1], "kernel_size": 1, "use_bias": False}
        return x.after(node, x.link.then("Conv2D", config, arrays))
    if x.perm == STEPS:
        raise node.refuse(
            f"gets values of shape {x.shape}, whose two axes were exchanged before, and nn has no "
            "layer that exchanges them"
        )
    if x.perm[-1:] != (len(x.perm) - 1,) or len(x.perm) > 3:
        raise node.refuse(f"gets values of shape {x.shape} whose features are not the last axis")
    return dense(node, x, x.link, w, None)


FORMULAS: dict[str, Callable[[Node], Any]] = {
    "Abs": Node.part,
    "Add": _add,
    "Div": _div,
    "Erf": Node.part,
    "Greater": Node.part,
    "GreaterOrEqual": Node.part,
    "Less": Node.part,
    "MatMul": _matmul,
    "Mul": _mul,
    "Pow": Node.part,
    "Range": Node.part,
    "Sqrt": Node.part,
    "Sub": _sub,
    "Where": _where,
}
