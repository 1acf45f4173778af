"""Layers of sequences as nodes of an ONNX graph; see `layers`."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import cuda, kernels, layers
from ...layers.base import Array, Shape
from ...layers.conv1d import resolve_padding
from .graph import Graph

__all__ = ["WRITERS", "conv1d", "reversed_steps"]


def _embedding(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    if layer.mask_zero:
        raise ValueError(
            f"[Model] cannot export the layer {g.path} to ONNX: there are no masks of padded "
            "steps, as mask_zero=True makes them."
        )
    return g.node("Gather", g.array("W", layer.params["W"]), x)


def conv1d(g: Graph, layer: Any, x: str, shape: Shape, w: Array, b: Array | None) -> str:
    """Write a convolution along the steps."""
    weights = [g.array("W", w)] + ([] if b is None else [g.array("b", b)])
    geometry = _steps_window(layer, layer.kernel_size, shape[1], layer.dilation)
    features = g.node("Transpose", x, perm=[0, 2, 1])  # (N, T, D) -> (N, D, T)
    more = {"dilations": [layer.dilation], "group": layer.groups}
    y = g.node("Conv", features, *weights, **geometry, **more)
    return g.node("Transpose", y, perm=[0, 2, 1])


def _steps_window(layer: Any, window: int, steps: int | None, dilation: int = 1) -> dict[str, Any]:
    """Return the geometry of windows on sequences, which may have any number of steps."""
    geometry: dict[str, Any] = {"kernel_shape": [window], "strides": [layer.stride]}
    if steps is None and layer.padding == "same" and layer.stride > 1:
        return {**geometry, "auto_pad": "SAME_UPPER"}
    length = steps or dilation * (window - 1) + 1  # on which the padding does not depend
    _, pads = resolve_padding(layer.padding, length, window, layer.stride, dilation)
    return {**geometry, "pads": list(pads)}


def _step_pool(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    op = "MaxPool" if isinstance(layer, layers.MaxPool1D) else "AveragePool"
    features = g.node("Transpose", x, perm=[0, 2, 1])  # (N, T, D) -> (N, D, T)
    y = g.node(op, features, **_steps_window(layer, layer.pool_size, shape[1]))
    return g.node("Transpose", y, perm=[0, 2, 1])


def _global_step_pool(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    op = "ReduceMax" if isinstance(layer, layers.GlobalMaxPool1D) else "ReduceMean"
    return g.reduced(op, x, [1], keep=False)  # (N, T, D) -> (N, D)


def _recurrent(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    """Write RNN, LSTM or GRU, which read (T, N, D) and have W, U and b as (1, G * U, ...)."""
    units = layer.units
    op, order = {  # ONNX has the gates of an LSTM in the order i, o, f, c
        layers.SimpleRNN: ("RNN", (0,)),
        layers.LSTM: ("LSTM", (0, 3, 1, 2)),
        layers.GRU: ("GRU", (0, 1, 2)),
    }[type(layer)]
    columns = np.concatenate([np.arange(k * units, (k + 1) * units) for k in order])
    w, u, b = (np.asarray(cuda.to_cpu(layer.params[k])) for k in ("W", "U", "b"))
    b = b if b.ndim == 2 else np.stack((b, np.zeros_like(b)))  # (2, G * U): of inputs, of states
    steps = g.node("Transpose", x, perm=[1, 0, 2])
    if layer.go_backwards:
        steps = reversed_steps(g, steps, 0)
    more = {"linear_before_reset": int(layer.reset_after)} if op == "GRU" else {}
    weights = (
        g.array("W", w[:, columns].T[np.newaxis]),
        g.array("U", u[:, columns].T[np.newaxis]),
        g.array("b", b[:, columns].reshape(1, -1)),
    )
    outputs = 1 if layer.return_sequences else 2  # all states, and the last one
    h = g.node(op, steps, *weights, outputs=outputs, hidden_size=units, **more)
    if not layer.return_sequences:
        return g.node("Squeeze", h, g.integers("axes", [0]))  # (1, N, U) -> (N, U)
    h = g.node("Squeeze", h, g.integers("axes", [1]))  # (T, 1, N, U) -> (T, N, U)
    return g.node("Transpose", h, perm=[1, 0, 2])


def reversed_steps(g: Graph, x: str, axis: int) -> str:
    """Write x[::-1] along an axis."""
    lowest = np.iinfo(np.int64).min
    ends = (("starts", -1), ("ends", lowest), ("axes", axis), ("steps", -1))
    return g.node("Slice", x, *(g.integers(name, [value]) for name, value in ends))


def _attention(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    """Write MultiHeadAttention, whose sequences may have any number of steps."""
    heads, size = layer.num_heads, layer.key_dim
    params = {name: np.asarray(cuda.to_cpu(array)) for name, array in layer.params.items()}
    # The queries are divided by sqrt(K), in place of the scores; then keys and values.
    scales = np.repeat((1 / math.sqrt(size), 1, 1), heads * size)
    parts: list[str] = []
    for name, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        columns = slice(len(parts) * heads * size, (len(parts) + 1) * heads * size)
        y = g.node("MatMul", x, g.array(f"W_{name}", (params["W"] * scales)[:, columns]))
        if layer.use_bias:
            y = g.node("Add", y, g.array(f"b_{name}", (params["b"] * scales)[columns]))
        y = g.node("Reshape", y, g.integers("heads", [0, 0, heads, size]))  # (N, T, H, K)
        parts.append(g.node("Transpose", y, perm=order))  # (N, H, T, K), of keys (N, H, K, T)
    scores = g.node("MatMul", parts[0], parts[1])
    if layer.causal:
        scores = _without_later_steps(g, scores, x)
    y = g.node("MatMul", g.node("Softmax", scores, axis=-1), parts[2])
    y = g.node("Transpose", y, perm=[0, 2, 1, 3])
    y = g.node("Reshape", y, g.integers("width", [0, 0, heads * size]))  # (N, T, H * K)
    y = g.node("MatMul", y, g.array("W_out", params["W_out"]))
    return g.node("Add", y, g.array("b_out", params["b_out"])) if layer.use_bias else y


def _without_later_steps(g: Graph, scores: str, x: str) -> str:
    """Write minus infinity for the scores (N, H, T, T) of steps of x that come later."""
    steps = g.node("Gather", g.node("Shape", x), g.integers("axis", 1))
    keys = g.node("Range", g.integers("first", 0), steps, g.integers("one", 1))
    queries = g.node("Unsqueeze", keys, g.integers("last", [1]))
    seen = g.node("GreaterOrEqual", queries, keys)  # (T, T)
    return g.node("Where", seen, scores, g.array("unseen", -math.inf))


def _positions(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    """Add a row for each position: the rows of W, as many as the input has steps."""
    one = g.integers("one", [1])
    steps = g.node("Slice", g.node("Shape", x), one, g.integers("two", [2]))
    rows = g.node("Slice", g.array("W", layer.params["W"]), g.integers("first", [0]), steps)
    return g.node("Add", x, rows)


def _sinusoids(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    _, steps, features = shape
    if steps is None or features is None:
        raise ValueError(
            f"[Model] cannot export the layer {g.path} to ONNX: its positions are written for a "
            "number of steps, and the model has none. Give the first layer the input_shape."
        )
    positions = kernels.sinusoids(np.zeros(1), steps, features)
    return g.node("Add", x, g.array("positions", positions))


WRITERS: dict[type, Callable[[Graph, Any, str, Shape], str]] = {
    layers.AvgPool1D: _step_pool,
    layers.Embedding: _embedding,
    layers.GRU: _recurrent,
    layers.GlobalAvgPool1D: _global_step_pool,
    layers.GlobalMaxPool1D: _global_step_pool,
    layers.LSTM: _recurrent,
    layers.MaxPool1D: _step_pool,
    layers.MultiHeadAttention: _attention,
    layers.PositionalEmbedding: _positions,
    layers.SimpleRNN: _recurrent,
    layers.SinusoidalPositions: _sinusoids,
}
