"""Self-attention of several nodes as a MultiHeadAttention."""

import math
from typing import Any, NamedTuple

import numpy as np

from .values import Constant, Link, Node, Value, Weight

__all__ = ["Part", "biased", "made", "output", "without_later_steps"]

_HEADS_FIRST, _STEPS_LAST = [0, 2, 1, 3], [0, 2, 3, 1]


class Part(NamedTuple):
    """The queries, the keys or the values: (N, H, T, K) of x (N, T, D)."""

    x: Link
    w: Weight
    b: np.ndarray | None
    heads: int
    size: int
    factor: float


def output(node: Node) -> Value | None:
    """Return the attention whose outputs are multiplied by a matrix here; None if there is none."""
    reshape = _node(node.inputs[0], "Reshape")
    transpose = _node(reshape and reshape.inputs[0], "Transpose")
    weighted = _node(transpose and transpose.inputs[0], "MatMul")
    softmax = _node(weighted and weighted.inputs[0], "Softmax")
    if softmax is None or weighted is None or transpose is None:
        return None
    scores = softmax.inputs[0]
    causal = isinstance(scores, Value) and scores.role == "causal"
    scores = _node(scores.node.inputs[1] if causal else scores, "MatMul")
    if scores is None or softmax.attributes.get("axis", -1) not in (-1, 3):
        return None
    parts = [
        _part(value, perm)
        for value, perm in (
            (scores.inputs[0], _HEADS_FIRST),
            (scores.inputs[1], _STEPS_LAST),
            (weighted.inputs[1], _HEADS_FIRST),
        )
    ]
    if None in parts or transpose.attributes.get("perm") != _HEADS_FIRST:
        return None
    q, k, v = parts
    assert q is not None and k is not None and v is not None
    if len({(id(p.x), p.heads, p.size) for p in (q, k, v)}) > 1 or v.factor != 1:
        return None
    # nn divides the scores by sqrt(K) itself
    q = q._replace(factor=q.factor * k.factor * math.sqrt(q.size))
    return Value(node, made(node, (q, k, v), causal, node.required(1)), (0, 1, 2))


def made(
    node: Node,
    parts: tuple[Part, Part, Part],
    causal: bool,
    w_out: Weight,
    b_out: Weight | None = None,
) -> Link:
    """Return the link of attention after the input of its parts.

    Parameters
    ----------
    node
        The node that multiplies by `w_out`, for errors.
    parts
        The queries, which are multiplied by their factor, the keys and the values.
    causal
        Whether no step sees a later one.
    w_out, b_out
        The matrix (H * K, D) and the bias of the outputs.
    """
    q = parts[0]
    width = q.heads * q.size
    if w_out.array.shape != (width, q.x.shape[-1]):
        raise node.refuse(f"has a matrix of shape {w_out.array.shape} after attention; nn returns "
                          f"{q.x.shape[-1]} features")  # fmt: skip
    factors = [np.float32(q.factor) if q.factor != 1 else 1, 1, 1]
    scaled = list(zip(parts, factors, strict=True))
    sources = list(dict.fromkeys(p.w.source for p in parts))
    source = sources[0] if len(sources) == 1 else "three matrices, joined"
    arrays = {"W": Weight(np.concatenate([p.w.array * f for p, f in scaled], 1), source)}
    arrays["W_out"] = w_out
    use_bias = b_out is not None or any(p.b is not None for p in parts)
    if use_bias:
        b = [np.zeros(width, "f4") if p.b is None else p.b * f for p, f in scaled]
        arrays["b"] = Weight(np.concatenate(b), "three biases, joined")
        arrays["b_out"] = b_out or Weight(np.zeros(int(q.x.shape[-1] or 0), "f4"), "nothing")
    config = {"num_heads": q.heads, "key_dim": q.size, "causal": causal, "use_bias": use_bias}
    return q.x.then("MultiHeadAttention", config, arrays)


def _node(value: Any, op: str) -> Node | None:
    """Return the node that makes a value, if it has this operator."""
    node = value.node if isinstance(value, Value) else None
    return node if node is not None and node.op == op else None


def _part(value: Any, perm: list[int]) -> Part | None:
    """Return the matrix and the bias that make heads of x."""
    value, factor = _unscaled(value)
    transpose = _node(value, "Transpose")
    heads, more = _unscaled(transpose.inputs[0]) if transpose else (None, 1.0)
    reshape = _node(heads, "Reshape")
    flat = reshape.inputs[0] if reshape else None
    shape = heads.shape if isinstance(heads, Value) else None
    if transpose is None or transpose.attributes.get("perm") != perm or shape is None:
        return None
    if not isinstance(flat, Value) or flat.link is None or not flat.is_plain or len(shape) != 4:
        return None
    link, factor = flat.link, factor * more
    if link.kind == "Rescale" and not link.config.get("offset") and link.parent is not None:
        link, factor = link.parent, factor * link.config["scale"]
    if link.kind != "Dense" or link.parent is None or len(link.shape) != 3:
        return None
    b = link.arrays.get("b")
    count, size = int(shape[2] or 0), int(shape[3] or 0)
    if count * size != link.config["units"]:
        return None
    return Part(link.parent, link.arrays["W"], None if b is None else b.array, count, size, factor)


def _unscaled(value: Any) -> tuple[Any, float]:
    """Return a value without the number that it is multiplied by, and that number."""
    node = value.node if isinstance(value, Value) else None
    if node is not None and node.op in ("Mul", "Div") and len(node.inputs) == 2:
        x, c = node.inputs
        if isinstance(x, Value) and isinstance(c, Constant) and c.array.size == 1:
            number = float(c.array.reshape(()))
            return x, number if node.op == "Mul" else 1 / number
    return value, 1.0


def biased(node: Node) -> Value | None:
    """Return attention plus the bias of its outputs; None for other sums."""
    a, b = node.inputs
    x, c = (a, b) if isinstance(a, Value) else (b, a)
    if x.link is None or x.link.kind != "MultiHeadAttention":
        return None
    link, bias = x.link, np.asarray(c.array)
    width = link.arrays["W_out"].array.shape[1]
    if bias.shape != (width,) or not x.is_plain:
        return None
    arrays = dict(link.arrays)
    if not link.config["use_bias"]:
        arrays["b"] = Weight(np.zeros(arrays["W"].array.shape[1], bias.dtype), "nothing")
        arrays["b_out"] = Weight(0 * bias, "nothing")
    arrays["b_out"] = Weight(arrays["b_out"].array + bias, c.name)
    return x.after(node, link.replaced({**link.config, "use_bias": True}, arrays))


def without_later_steps(node: Node) -> Value | None:
    """Return scores that are minus infinity where a step would see a later one."""
    seen, scores, least = node.inputs
    if not isinstance(least, Constant) or not np.all(np.isneginf(least.array)):
        return None
    if not isinstance(scores, Value):
        return None
    if isinstance(seen, Constant):
        steps = seen.array.shape[-1:] * 2
        is_lower = seen.array.size == math.prod(steps) and np.array_equal(
            seen.array.reshape(steps), np.tri(*steps, dtype=bool)
        )
    else:
        test = _node(seen, "GreaterOrEqual")
        column = _node(test and test.inputs[0], "Unsqueeze")
        keys = _node(test and test.inputs[1], "Range")
        is_lower = (
            test is not None
            and column is not None
            and keys is not None
            and column.inputs[0] is test.inputs[1]
            and column.integers(1, "axes") == [1]
            and _counts_steps(keys)
        )
    return node.part(scores.shape, "causal") if is_lower else None


def _counts_steps(node: Node) -> bool:
    """Return whether a Range is 0, 1, 2 ... for every step of an input of any length."""
    first, last, step = (None if not isinstance(k, Constant) else k.array for k in node.inputs)
    if first is None or last is None or step is None:
        return False
    return (
        first.size == step.size == 1
        and first.reshape(()) == 0
        and step.reshape(()) == 1
        and (last.dtype == object and last.reshape(()).item() is None)
    )
