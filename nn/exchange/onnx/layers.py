"""Each layer as nodes of an ONNX graph: a function for every class.

A function gets the graph, the layer, the name of its input and the shape of that, and returns the
name of its output. Operators, their attributes and formulas: the ONNX operator schemas
(https://onnx.ai/onnx/operators).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import kernels, layers
from ...layers import fold
from ...layers.base import Array, Layer, Shape
from ...layers.plan import named_layers
from ...layers.stack import flat
from . import sequences
from .graph import Graph, by_channel

__all__ = ["Writer"]

Written = tuple[str, Shape]  # the name of a value, and its shape


class Writer:
    """Writes layers into a graph.

    Parameters
    ----------
    graph
        The graph.
    stack
        The layers of a model.
    fold_batch_norm
        Whether batch normalization after a convolution or a dense layer goes into its weights.
    """

    def __init__(self, graph: Graph, stack: Sequence[Layer], fold_batch_norm: bool):
        self.graph = graph
        self.fold_batch_norm = fold_batch_norm
        self._paths = {id(layer): path for path, layer in named_layers(stack)}

    def stack(self, stack: Sequence[Layer], x: str, shape: Shape) -> Written:
        """Write layers, one after the other."""
        chain, folded = flat(stack), False
        for layer, following in zip(chain, [*chain[1:], None], strict=False):
            if folded:
                folded = False  # it is in the weights of the layer before
                continue
            folded = self.fold_batch_norm and fold.folds(layer, following)
            x, shape = self.layer(layer, x, shape, following if folded else None)
        return x, shape

    def layer(self, layer: Any, x: str, shape: Shape, batch_norm: Any = None) -> Written:
        """Write a layer, and perhaps the batch normalization after it.

        Raises
        ------
        ValueError
            For a layer that ONNX has no operators for, as for one of the user's.
        """
        graph = self.graph
        graph.path = self._paths.get(id(layer), graph.path)
        output = layer.output_shape or shape
        if "forward" in vars(layer) or type(layer) not in _WRITERS | _LINEAR | _CONTAINERS:
            raise ValueError(
                f"[Model] cannot export the layer {graph.path} to ONNX: there is no translation of "
                f"the class {type(layer).__name__}. Layers of your own can be exported if they are "
                "subclasses of nothing but nn.Sequential."
            )
        if type(layer) in _CONTAINERS:
            return _CONTAINERS[type(layer)](self, layer, x, shape), output
        if type(layer) not in _LINEAR:
            return _WRITERS[type(layer)](graph, layer, x, shape), output
        w, b = layer.params["W"], layer.params.get("b")
        if batch_norm is not None:
            w, b = layer.scaled(*batch_norm.scale_and_shift())
        return self.linear(layer, x, shape, w, b), output

    def linear(self, layer: Any, x: str, shape: Shape, w: Array, b: Array | None) -> str:
        """Write a layer with the given kernel and bias, and the activation inside it."""
        y = _LINEAR[type(layer)](self.graph, layer, x, shape, w, b)
        return _activation(self.graph, layer, y, layer.output_shape)


# ---------------------------------------------------------------------- layers of other layers


def _skip(writer: Writer, layer: Any, x: str, shape: Shape) -> str:
    path = writer.graph.path
    y, _ = writer.stack(layer.main, x, shape)
    short, _ = writer.stack(layer.shortcut, x, shape)
    writer.graph.path = path
    if isinstance(layer, layers.SkipConcat):
        axis = kernels.class_axis(len(shape))
        return writer.graph.node("Concat", short, y, axis=axis)
    return writer.graph.node("Add", y, short)


def _weight_norm(writer: Writer, layer: Any, x: str, shape: Shape) -> str:
    inner = layer.layer
    w = kernels.weight_norm(layer.params["v"], layer.params["g"], inner.output_axis)
    return writer.linear(inner, x, shape, w, layer.params.get("b"))


def _bidirectional(writer: Writer, layer: Any, x: str, shape: Shape) -> str:
    path = writer.graph.path
    (ahead, _), (back, _) = (writer.layer(inner, x, shape) for inner in layer.layers)
    graph = writer.graph
    graph.path = path
    if layer.layers[0].return_sequences:
        back = sequences.reversed_steps(graph, back, 1)  # so that the states of one step meet
    if layer.merge == "concat":
        return graph.node("Concat", ahead, back, axis=-1)
    y = graph.node("Mul" if layer.merge == "mul" else "Add", ahead, back)
    return graph.node("Mul", y, graph.array("half", 0.5)) if layer.merge == "ave" else y


_CONTAINERS: dict[type, Callable[[Writer, Any, str, Shape], str]] = {
    layers.Bidirectional: _bidirectional,
    layers.Residual: _skip,
    layers.SkipConcat: _skip,
    layers.WeightNorm: _weight_norm,
}


# --------------------------------------------------------------------- layers with a kernel W


def _conv(g: Graph, layer: Any, x: str, shape: Shape, w: Array, b: Array | None) -> str:
    _, _, dilation, groups = _geometry(layer, shape)
    geometry = _window(layer, layer.kernel_size, shape)
    weights = [g.array("W", w)] + ([] if b is None else [g.array("b", b)])
    return g.node("Conv", x, *weights, **geometry, dilations=list(dilation), group=groups)


def _conv_transpose(g: Graph, layer: Any, x: str, shape: Shape, w: Array, b: Array | None) -> str:
    stride, padding, dilation, _ = _geometry(layer, shape)
    size = _some_size(shape)
    # What the operator's size lacks: it has no output that the convolution's stride leaves out.
    extra = [
        out - (s * (n - 1) + d * (k - 1) + 1 - sum(p))
        for out, n, s, d, k, p in zip(
            layer._output_size(size), size, stride, dilation, layer.kernel_size, padding,
            strict=True,
        )
    ]  # fmt: skip
    weights = [g.array("W", w)] + ([] if b is None else [g.array("b", b)])
    return g.node(
        "ConvTranspose",
        x,
        *weights,
        **_window(layer, layer.kernel_size, shape, any_pads=False),
        dilations=list(dilation),
        output_padding=extra,
    )


def _dense(g: Graph, layer: Any, x: str, shape: Shape, w: Array, b: Array | None) -> str:
    if len(shape) == 2:
        return g.node("Gemm", x, g.array("W", w), *([] if b is None else [g.array("b", b)]))
    y = g.node("MatMul", x, g.array("W", w))
    return y if b is None else g.node("Add", y, g.array("b", b))


def _some_size(shape: Shape) -> tuple[int, ...]:
    """Return the height and width of images, large numbers where they may be any."""
    return tuple(n or 2**20 for n in shape[2:])


def _geometry(layer: Any, shape: Shape) -> Any:
    return layer._geometry or layer._geometry_for((None, None, *_some_size(shape)))


def _window(
    layer: Any, kernel: Sequence[int], shape: Shape, any_pads: bool = True
) -> dict[str, Any]:
    """Return the geometry; where the padding depends on a size that may be any, by its rule."""
    padding = next(k for k in _geometry(layer, shape) if isinstance(k[0], tuple))
    (top, bottom), (left, right) = padding
    window: dict[str, Any] = {"kernel_shape": list(kernel), "strides": list(layer.stride)}
    is_ruled = any_pads and layer._geometry is None and max(layer.stride) > 1
    if is_ruled and layer.padding == "same":
        return window | {"auto_pad": "SAME_UPPER"}
    return window | {"pads": [top, left, bottom, right]}


_LINEAR: dict[type, Callable[..., str]] = {
    layers.Conv1D: sequences.conv1d,
    layers.Conv2D: _conv,
    layers.Conv2DTranspose: _conv_transpose,
    layers.Dense: _dense,
    layers.DepthwiseConv2D: _conv,
}


# -------------------------------------------------------------------------------- activations


def _activation(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    """Write the activation inside a layer."""
    inner = layer.activation
    return x if inner is None else _WRITERS[type(inner)](g, inner, x, shape)


def _op(op: str, *names: str) -> Callable[[Graph, Any, str, Shape], str]:
    """Return the writer of one operator, whose attributes are attributes of the layer."""

    def write(g: Graph, layer: Any, x: str, shape: Shape) -> str:
        attributes: dict[str, Any] = {name: float(getattr(layer, name)) for name in names}
        return g.node(op, x, **attributes)

    return write


def _relu6(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    return g.node("Clip", x, g.array("low", 0), g.array("high", 6))


def _leaky_relu(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    return g.node("LeakyRelu", x, alpha=layer.negative_slope)


def _prelu(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    return g.node("PRelu", x, g.array("slope", by_channel(layer.params["slope"], len(shape))))


def _selu(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    return g.node("Selu", x, alpha=1.6732632423543772, gamma=1.0507009873554805)


def _gelu(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    """X * (1 + erf(x / sqrt(2))) / 2."""
    erf = g.node("Erf", g.node("Mul", x, g.array("root", math.sqrt(0.5))))
    cdf = g.node("Mul", g.node("Add", erf, g.array("one", 1)), g.array("half", 0.5))
    return g.node("Mul", x, cdf)


def _silu(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    return g.node("Mul", x, g.node("Sigmoid", x))


def _mish(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    return g.node("Mul", x, g.node("Tanh", g.node("Softplus", x)))


def _hard_sigmoid(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    return g.node("HardSigmoid", x, alpha=1 / 6, beta=0.5)


def _softmax(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    op = "LogSoftmax" if isinstance(layer, layers.LogSoftmax) else "Softmax"
    return g.node(op, x, axis=kernels.class_axis(len(shape)))


# ------------------------------------------------------------------- pooling and normalization


def _pool(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    return g.node(
        "MaxPool" if isinstance(layer, layers.MaxPool2D) else "AveragePool",
        x,
        **_window(layer, layer.pool_size, shape),
    )


def _global_pool(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    is_max = isinstance(layer, layers.GlobalMaxPool2D)
    pooled = g.node("GlobalMaxPool" if is_max else "GlobalAveragePool", x)
    return g.node("Flatten", pooled)  # (N, C, 1, 1) -> (N, C)


def _batch_norm(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    # Before version 14 the operator is the one of training for some evaluators; its channels are
    # axis 1, those of sequences (N, T, C) the last.
    if g.opset < 14 or len(shape) == 3:
        scale, shift = (by_channel(k, len(shape)) for k in layer.scale_and_shift())
        return g.node("Add", g.node("Mul", x, g.array("scale", scale)), g.array("shift", shift))
    arrays = dict(zip(("gamma", "beta"), layer.gamma_and_beta(), strict=True)) | layer.buffers
    names = ("gamma", "beta", "running_mean", "running_var")
    return g.node(
        "BatchNormalization", x, *(g.array(k, arrays[k]) for k in names), epsilon=layer.eps
    )


def _layer_norm(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    axes = layer._axes(len(shape))
    sizes = [n if axis in axes else 1 for axis, n in enumerate(shape)][axes[0] :]
    gamma, beta = (g.array(k, layer.params[k].reshape(sizes)) for k in ("gamma", "beta"))
    if g.opset >= 17 and axes == tuple(range(axes[0], len(shape))):
        return g.node("LayerNormalization", x, gamma, beta, axis=axes[0], epsilon=layer.eps)
    centered = g.node("Sub", x, g.reduced("ReduceMean", x, axes))
    variance = g.reduced("ReduceMean", g.node("Mul", centered, centered), axes)
    std = g.node("Sqrt", g.node("Add", variance, g.array("eps", layer.eps)))
    return g.node("Add", g.node("Mul", g.node("Div", centered, std), gamma), beta)


def _group_norm(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    """Normalize (N, G, C / G * ...) as images of G channels, then scale and shift the C."""
    parts = g.node("Reshape", x, g.integers("groups", [0, layer.groups, -1]))
    ones, zeros = np.ones(layer.groups), np.zeros(layer.groups)
    scale, bias = g.array("ones", ones), g.array("zeros", zeros)
    parts = g.node("InstanceNormalization", parts, scale, bias, epsilon=layer.eps)
    y = g.node("Reshape", parts, g.node("Shape", x))
    sizes = (-1, *(1,) * (len(shape) - 2))  # (C,) -> (C, 1, 1)
    gamma, beta = (g.array(k, layer.params[k].reshape(sizes)) for k in ("gamma", "beta"))
    return g.node("Add", g.node("Mul", y, gamma), beta)


# --------------------------------------------------------------------- shapes and preprocessing


def _nothing(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    return x


def _gaussian_sampling(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    """Write the means, the first half of the features."""
    half = int(shape[1] or 0) // 2
    ends = (("starts", 0), ("ends", half), ("axes", 1))
    return g.node("Slice", x, *(g.integers(name, [value]) for name, value in ends))


def _flatten(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    return g.node("Flatten", x)


def _reshape(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    return g.node("Reshape", x, g.integers("shape", [0, *layer.output_shape[1:]]))


def _zero_pad(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    (top, bottom), (left, right) = layer.padding
    return g.node("Pad", x, g.integers("pads", [0, 0, top, left, 0, 0, bottom, right]))


def _upsample(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    scales = g.array("scales", [1, 1, *layer.size])
    if layer.interpolation == "bilinear":
        return g.node("Resize", x, "", scales, mode="linear")
    return g.node(
        "Resize",
        x,
        "",
        scales,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _rescale(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    y = g.node("Mul", x, g.array("scale", layer.scale))
    return g.node("Add", y, g.array("offset", layer.offset)) if layer.offset else y


def _standardize(g: Graph, layer: Any, x: str, shape: Shape) -> str:
    if not layer.adapted:
        raise RuntimeError(f"[Model] cannot export the layer {g.path}: it has no mean and std yet.")
    mean, std = (g.array(k, by_channel(layer.buffers[k], len(shape))) for k in ("mean", "std"))
    return g.node("Div", g.node("Sub", x, mean), std)


_WRITERS: dict[type, Callable[[Graph, Any, str, Shape], str]] = {
    layers.Activation: _activation,
    layers.AvgPool2D: _pool,
    layers.BatchNorm: _batch_norm,
    layers.BatchNorm1D: _batch_norm,
    layers.BatchNorm2D: _batch_norm,
    layers.Dropout: _nothing,
    layers.ELU: _op("Elu", "alpha"),
    layers.Exponential: _op("Exp"),
    layers.Flatten: _flatten,
    layers.GELU: _gelu,
    layers.GaussianNoise: _nothing,
    layers.GaussianSampling: _gaussian_sampling,
    layers.GlobalAvgPool2D: _global_pool,
    layers.GlobalMaxPool2D: _global_pool,
    layers.GroupNorm: _group_norm,
    layers.HardSigmoid: _hard_sigmoid,
    layers.LayerNorm: _layer_norm,
    layers.LeakyReLU: _leaky_relu,
    layers.LogSoftmax: _softmax,
    layers.MaxPool2D: _pool,
    layers.Mish: _mish,
    layers.PReLU: _prelu,
    layers.ReLU: _op("Relu"),
    layers.ReLU6: _relu6,
    layers.Rescale: _rescale,
    layers.Reshape: _reshape,
    layers.SELU: _selu,
    layers.SiLU: _silu,
    layers.Sigmoid: _op("Sigmoid"),
    layers.Softmax: _softmax,
    layers.Softplus: _op("Softplus"),
    layers.Softsign: _op("Softsign"),
    layers.SpatialDropout2D: _nothing,
    layers.Standardize: _standardize,
    layers.Tanh: _op("Tanh"),
    layers.UpSample2D: _upsample,
    layers.ZeroPad2D: _zero_pad,
    **sequences.WRITERS,
}
