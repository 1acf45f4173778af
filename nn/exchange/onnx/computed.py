"""Self-attention that is recognized by what it computes, however its heads are made.

PyTorch's `MultiheadAttention` multiplies by one matrix for queries, keys and values, and its
exporters take heads out of the product by a dozen nodes, others in each version. These are not
matched one by one: the nodes from the `Dense` layers on are computed for random numbers, and if
the result is that of attention (Vaswani et al. 2017, arXiv 1706.03762, equation 1), they are it.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import kernels
from ...checks import FileFormatError
from ...layers.budget import element_budget, take_elements
from .attention import Part, made
from .folding import FOLDED
from .values import Constant, Link, Node, Value, Weight

__all__ = ["attention", "unflattened"]

_MOST_NODES = 400
_TOLERANCE = 1e-5  # of outputs of about 1, whose masks and factors have 32 bits
#: How many numbers are computed, at most, for each of the matrices and to begin with; and what an
#: attempt takes of those that the whole file may, so that there are not too many.
_NUMBERS, _LEAST, _ATTEMPT = 64, 1 << 22, 1 << 15
_PERMS = ((0, 1, 2), (1, 0, 2))  # samples or steps first

#: What computes a node; with the constants' operators.
_COMPUTED: dict[str, Callable[..., np.ndarray]] = {
    **FOLDED,
    "MatMul": lambda node, a, b: _product(a, b),
    "Shape": lambda node, x: np.array(x.shape[node.get("start", 0) : node.get("end", x.ndim)]),
    "Softmax": lambda node, x: kernels.softmax(x.swapaxes(node.get("axis", -1), -1)).swapaxes(
        node.get("axis", -1), -1
    ),
}


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    take_elements("ONNX", math.prod(a.shape[:-1]) * b.shape[-1] * (1 + a.shape[-1] // 256))
    return a @ b


def attention(node: Node, w: Weight, b: Weight | None = None) -> Value | None:
    """Return the attention whose outputs are multiplied by a matrix here; None for other values.

    Parameters
    ----------
    node
        The node that multiplies.
    w, b
        Its matrix (H * K, D) and the bias.
    """
    x = node.inputs[0]
    before = _history(x) if isinstance(x, Value) and x.link is None else None
    if before is None:
        return None
    nodes, sources = before
    links: list[Any] = [source.link for source in sources]
    batch, steps, _ = links[0].shape
    start = links[0]
    while start.parent is not None:
        start = start.parent
    batch = start.config.get("batch") or 2 + (steps == 2)
    units = sum(link.config["units"] for link in links)
    if steps is None or w.array.ndim != 2 or 3 * w.array.shape[0] != units:
        return None
    sizes = [(batch, steps, link.config["units"]) for link in links]
    matrices = sum(link.arrays["W"].array.size for link in links)
    take_elements("ONNX", matrices + _ATTEMPT)
    try:
        with element_budget(_NUMBERS * matrices + _LEAST):
            take_elements("ONNX", batch * steps * units)
            rng = np.random.default_rng(0)
            given = [rng.normal(size=size) for size in sizes]
            turned = {id(s): x.transpose(s.perm) for s, x in zip(sources, given, strict=True)}
            found, scores = _compute(nodes, turned, batch)
            heads = max(scores // (batch * steps * steps), 1)
            match = _matches(found, given, heads)
    except FileFormatError:
        raise node.refuse("multiplies by what would take too much to be computed") from None
    if match is None:
        raise node.refuse("multiplies what is not softmax(q k^T / sqrt(K)) v, as nn computes it")
    order, causal, perms = match
    parts = _parts(links, heads)
    link = made(node, tuple(parts[k] for k in order), causal, w, b)
    if found.ndim == 3:
        return Value(node, link, perms[0])
    return node.part((None, w.array.shape[1]), ("rows of steps", link, perms))


def _history(value: Any) -> tuple[list[Node], list[Value]] | None:
    """Return the nodes of a value in their order, and the Dense layers that they begin with."""
    nodes: dict[int, Node] = {}
    sources: dict[int, Value] = {}
    rest = [value]
    while rest:
        value = rest.pop()
        if not isinstance(value, Value):
            continue
        link = value.link
        if link is not None and link.kind == "Dense" and len(link.shape) == 3:
            sources[id(value)] = value
        elif value.node is None or len(nodes) > _MOST_NODES:
            return None
        elif value.node.index not in nodes:
            nodes[value.node.index] = value.node
            rest += value.node.inputs
    kinds = [node.op for node in nodes.values()]
    parents = {id(source.link.parent) for source in sources.values() if source.link}
    if kinds.count("Softmax") != 1 or kinds.count("MatMul") != 2 or len(parents) != 1:
        return None
    if len(sources) not in (1, 3) or not set(kinds) <= _COMPUTED.keys():
        return None
    if any(node.outputs != 1 for node in nodes.values()):
        return None
    in_order = [nodes[index] for index in sorted(nodes)]
    return in_order, sorted(sources.values(), key=lambda v: v.node.index if v.node else 0)


def _compute(nodes: list[Node], starts: dict[int, np.ndarray], batch: int) -> tuple[Any, int]:
    """Return the array of the last node, and the size of what the softmax is of."""
    arrays: dict[int, np.ndarray] = {}
    scores = 0
    for node in nodes:
        inputs = [_array(given, arrays, starts, batch) for given in node.inputs]
        arrays[node.index] = _COMPUTED[node.op](node, *inputs)
        scores = arrays[node.index].size if node.op == "Softmax" else scores
    return arrays[nodes[-1].index], scores


def _array(given: Any, arrays: dict[int, np.ndarray], starts: Any, batch: int) -> Any:
    """Return an input of a node; the one size that is not known in the graph is the batch's."""
    if isinstance(given, Constant):
        array = given.array
        if array.dtype != object:
            return array
        return np.array([batch if n is None else n for n in array.flat]).reshape(array.shape)
    if given is None or id(given) in starts:
        return None if given is None else starts[id(given)]
    return arrays[given.node.index]


def _matches(found: np.ndarray, given: list[np.ndarray], heads: int) -> Any:
    """Return the order of queries, keys and values, whether it is causal, and the axes."""
    thirds = given if len(given) == 3 else np.split(given[0], 3, axis=2)
    batch, steps, width = thirds[0].shape
    if width % heads or any(third.shape[2] != width for third in thirds):
        return None
    for order, causal in itertools.product(itertools.permutations(range(3)), (False, True)):
        q, k, v = (thirds[number] for number in order)
        expected = _attention(q, k, v, heads, causal)
        shaped = [
            perm
            for perm in _PERMS
            if found.shape in (expected.transpose(perm).shape, (batch * steps, width))
            and np.allclose(found.reshape(-1, width), expected.transpose(perm).reshape(-1, width),
                            atol=_TOLERANCE)
        ]  # fmt: skip
        if shaped:
            return order, causal, shaped
    return None


def _attention(q: Any, k: Any, v: Any, heads: int, causal: bool) -> np.ndarray:
    """Return softmax(q k^T / sqrt(K)) v of (N, T, H * K)."""
    batch, steps, width = q.shape
    q, k, v = (
        part.reshape(batch, steps, heads, -1).transpose(0, 2, 1, 3) for part in (q, k, v)
    )  # (N, T, H * K) -> (N, H, T, K)
    scores = q @ k.swapaxes(2, 3) / math.sqrt(width // heads)
    if causal:
        scores = np.where(np.tri(steps, dtype=bool), scores, -np.inf)
    y = kernels.softmax(scores) @ v
    return y.transpose(0, 2, 1, 3).reshape(batch, steps, width)  # (N, H, T, K) -> (N, T, H * K)


def _parts(links: list[Link], heads: int) -> list[Part]:
    """Return the matrices and biases of queries, keys and values, in the order of the graph."""
    found = []
    for link in links:
        w, b = link.arrays["W"], link.arrays.get("b")
        count = 3 // len(links)
        width = w.array.shape[1] // count
        for k in range(count):
            columns = slice(k * width, (k + 1) * width)
            own = None if b is None else b.array[columns]
            weight = Weight(w.array[:, columns], w.source)
            # The scores are divided by sqrt(K) for nn too
            size = width // heads
            assert link.parent is not None
            found.append(Part(link.parent, weight, own, heads, size, 1.0))
    return found


def unflattened(node: Node, x: Value, given: list[int | None]) -> Value:
    """Return rows of all steps of all samples as sequences."""
    _, link, perms = x.role
    for perm in perms:
        sizes = [link.shape[k] for k in perm]
        wanted = zip(given, sizes, perm, strict=False)
        if len(given) == 3 and all(n in (-1, s) or (k == 0) for n, s, k in wanted):
            return Value(node, link, perm)
    raise node.refuse(f"makes the shape {given} of the steps of sequences {link.shape}")
