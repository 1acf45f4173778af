"""Nodes of constants, computed while a graph is read: shapes above all.

The sizes that are not known before the model runs are None, in arrays of objects; what only moves
them works on these too. Formulas: the ONNX operator schemas (https://onnx.ai/onnx/operators).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...layers.budget import take_elements
from .tensors import DTYPES
from .values import Constant, Node

__all__ = ["FOLDED", "fold"]


def fold(node: Node) -> Constant:
    """Return what a node of constants computes.

    Raises
    ------
    ValueError
        If it cannot be computed here, or makes too much.
    """
    inputs = [None if c is None else c.array for c in node.inputs]
    named = [c.name for c in node.inputs if c is not None]
    array = FOLDED[node.op](node, *inputs)
    if array.dtype == object and all(n is not None for n in array.flat):
        array = array.astype("i8")
    return Constant(array, named[0] if named else node.name)


def _computed(size: int) -> None:
    """Take so many elements of what a file's size allows to make."""
    take_elements("ONNX", size + 1)


def _elementwise(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def run(node: Node, *arrays: np.ndarray) -> np.ndarray:
        _computed(math.prod(np.broadcast_shapes(*(a.shape for a in arrays))))
        if any(a.dtype == object for a in arrays):
            raise node.refuse("computes with sizes that are not known before it runs")
        with np.errstate(all="ignore"):
            found = np.asarray(function(*arrays))
        if arrays[0].dtype.kind == "f" and found.dtype.kind == "f":
            return found.astype(arrays[0].dtype, copy=False)
        return found

    return run


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind == "f":
        return a / b
    return np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))  # toward 0


def _constant(node: Node) -> np.ndarray:
    for name, dtype in (("value_float", "f4"), ("value_floats", "f4"), ("value_int", "i8"),
                        ("value_ints", "i8")):  # fmt: skip
        if name in node.attributes:
            return np.array(node.attributes[name], dtype)
    found = node.attributes.get("value")
    if not isinstance(found, np.ndarray):
        raise node.refuse("holds no array")
    return found


def _filled(node: Node, shape: np.ndarray) -> np.ndarray:
    """Return equal numbers; sizes that are not known are 1, as it makes no difference."""
    value = node.attributes.get("value", np.zeros(1, "f4"))
    sizes = [1 if n is None else int(n) for n in shape]
    _computed(math.prod(sizes))
    return np.broadcast_to(value.reshape(()), sizes)


def _expand(node: Node, x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    sizes = np.broadcast_shapes(x.shape, tuple(1 if n is None else int(n) for n in shape))
    _computed(math.prod(sizes))
    return np.broadcast_to(x, sizes)


def _cast(node: Node, x: np.ndarray) -> np.ndarray:
    number = node.attributes.get("to")
    if number not in DTYPES:
        raise node.refuse(f"makes the type {number}, which nn does not read")
    if x.dtype == object:  # sizes
        return x
    _computed(x.size)
    with np.errstate(all="ignore"):
        return x.astype(np.dtype("f4") if number == 16 else np.dtype(DTYPES[number]))


def _range(node: Node, start: np.ndarray, limit: np.ndarray, step: np.ndarray) -> np.ndarray:
    first, last, by = (k.reshape(()).item() for k in (start, limit, step))
    _computed(max(0, math.ceil((last - first) / by)))
    return np.arange(first, last, by, dtype=start.dtype if start.dtype != object else "i8")


def _reshape(node: Node, x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    sizes = [int(n) for n in shape]
    if not node.get("allowzero", 0):
        sizes = [x.shape[k] if n == 0 else n for k, n in enumerate(sizes)]
    _computed(x.size)
    return x.reshape(sizes)


def _unsqueeze(node: Node, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    given = node.attributes.get("axes") if axes is None else axes.reshape(-1).tolist()
    return np.expand_dims(x, tuple(given or ()))


def _squeeze(node: Node, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    given = node.attributes.get("axes") if axes is None else axes.reshape(-1).tolist()
    return np.squeeze(x, None if given is None else tuple(given))


def _gather(node: Node, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    axis = node.get("axis", 0)
    _computed(indices.size * (x.size // max(x.shape[axis], 1)))
    return np.asarray(np.take(x, indices.astype("i8"), axis))


def _slice(node: Node, x: np.ndarray, *given: np.ndarray | None) -> np.ndarray:
    starts, ends, axes, steps = (
        None if k is None else [int(n) for n in k] for k in [*given, None, None][:4]
    )
    if starts is None or ends is None:
        raise node.refuse("lacks starts or ends")
    parts = [slice(None)] * x.ndim
    chosen = range(len(starts)) if axes is None else axes
    for axis, start, end, step in zip(
        chosen, starts, ends, steps or [1] * len(starts), strict=True
    ):
        is_all = step < 0 and end < -x.shape[axis]  # to the very first
        parts[axis] = slice(start, None if is_all else end, step)
    return x[tuple(parts)]


def _concat(node: Node, *arrays: np.ndarray) -> np.ndarray:
    _computed(sum(a.size for a in arrays))
    return np.concatenate(arrays, node.get("axis", 0))


def _transpose(node: Node, x: np.ndarray) -> np.ndarray:
    return x.transpose(node.attributes.get("perm"))


def _reduced(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def run(node: Node, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
        _computed(x.size)
        given = node.attributes.get("axes") if axes is None else axes.tolist()
        keep = bool(node.get("keepdims", 1))
        return np.asarray(function(x, None if given is None else tuple(given), keepdims=keep))

    return run


def _trilu(node: Node, x: np.ndarray, k: np.ndarray | None = None) -> np.ndarray:
    _computed(x.size)
    diagonal = 0 if k is None else int(k.reshape(()))
    return np.triu(x, diagonal) if node.get("upper", 1) else np.tril(x, diagonal)


def _where(node: Node, condition: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    _computed(math.prod(np.broadcast_shapes(condition.shape, x.shape, y.shape)))
    return np.where(condition, x, y)


#: What computes the operators of constants.
FOLDED: dict[str, Callable[..., np.ndarray]] = {
    "Abs": _elementwise(np.abs),
    "Add": _elementwise(np.add),
    "Cast": _cast,
    "Ceil": _elementwise(np.ceil),
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Div": _elementwise(_divide),
    "Equal": _elementwise(np.equal),
    "Exp": _elementwise(np.exp),
    "Expand": _expand,
    "Floor": _elementwise(np.floor),
    "Gather": _gather,
    "GreaterOrEqual": _elementwise(np.greater_equal),
    "Greater": _elementwise(np.greater),
    "Identity": lambda node, x: x,
    "Less": _elementwise(np.less),
    "LessOrEqual": _elementwise(np.less_equal),
    "Mod": _elementwise(np.mod),
    "Mul": _elementwise(np.multiply),
    "Neg": _elementwise(np.negative),
    "Not": _elementwise(np.logical_not),
    "Pow": _elementwise(np.power),
    "Range": _range,
    "Reciprocal": _elementwise(np.reciprocal),
    "ReduceProd": _reduced(np.prod),
    "Reshape": _reshape,
    "Slice": _slice,
    "Sqrt": _elementwise(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _elementwise(np.subtract),
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
