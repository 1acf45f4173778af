"""Building the layers of a stack, each for the output of the one before it."""

from collections.abc import Sequence

import numpy as np

from .. import cuda
from ..validation import fits_shape
from .base import Layer, Shape
from .dense import Dense
from .dropout import Dropout
from .normalization import BatchNorm
from .stack import flat
from .weight_norm import WeightNorm


def build_layers(layers: Sequence[Layer], shape: Shape, dtype: str) -> Shape:
    """Build those layers that are not, one after the other; return the shape of the output.

    Raises
    ------
    ValueError
        For a shape that a layer cannot take, or a layer that is built for another.
    """
    choose_initializers(layers)
    for layer in layers:
        if not layer.built:
            layer.dtype = dtype
            layer.build(shape)
            layer.built = True
            if layer.output_shape is None:  # a user's build() that left it out
                Layer.build(layer, shape)
            for arrays in (layer.params, layer.buffers):
                for name, array in arrays.items():
                    arrays[name] = array.astype(dtype, copy=False)
        elif layer.built_shape is not None and not fits_shape(shape[1:], layer.built_shape[1:]):
            raise ValueError(
                f"[{type(layer).__name__}] is built for {layer.built_shape}, got inputs {shape}."
            )
        shape = layer.output_shape or shape
    return shape


def choose_initializers(layers: Sequence[Layer]) -> None:
    """Set `feeds_relu` of each dense layer that is followed by an activation like ReLU.

    A dense layer that is built already, as layers passed to `add` are, draws its weights again,
    unless they have changed since it drew them.
    """
    chain = flat(layers)
    for index, layer in enumerate(chain):
        dense = layer.layer if isinstance(layer, WeightNorm) else layer
        if not isinstance(dense, Dense) or dense.feeds_relu:
            continue
        after = (k for k in chain[index + 1 :] if not isinstance(k, BatchNorm | Dropout))
        if getattr(next(after, None), "relu_like", False):
            _feed_relu(layer, dense)


def _feed_relu(layer: Layer, dense: Dense) -> None:
    """Choose the initial weights for a ReLU, also if the layer has drawn its weights already.

    `layer` is the dense layer itself, or the `WeightNorm` around it.
    """
    if not layer.built:
        dense.feeds_relu = True
        return
    w = layer.params["v" if isinstance(layer, WeightNorm) else "W"]
    untouched = np.array_equal(cuda.to_cpu(w), dense.draw_kernel(w.shape).astype(w.dtype))
    dense.feeds_relu = True
    if untouched:
        drawn = dense.draw_kernel(w.shape).astype(w.dtype)
        w[...] = cuda.get_array_module(w).asarray(drawn)
        if isinstance(layer, WeightNorm):
            layer.measure_lengths()
