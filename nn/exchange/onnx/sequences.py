"""Layers of sequences as nodes of an ONNX graph; see `layers`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import cuda, layers
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


WRITERS: dict[type, Callable[[Graph, Any, str, Shape], str]] = {
    layers.AvgPool1D: _step_pool,
    layers.Embedding: _embedding,
    layers.GRU: _recurrent,
    layers.GlobalAvgPool1D: _global_step_pool,
    layers.GlobalMaxPool1D: _global_step_pool,
    layers.LSTM: _recurrent,
    layers.MaxPool1D: _step_pool,
    layers.SimpleRNN: _recurrent,
}
