"""The layers, one concept a file; `base` says what a layer is.

A layer's `backward` mirrors its `forward` line for line, and the arithmetic of both stands
in `nn.kernels`.
"""

from .activations import (
    ELU,
    GELU,
    Activation,
    LeakyReLU,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from .base import NAME2ACTIVATION, NAME2LAYER, Layer, layer_from_config, register
from .containers import Residual, Sequential
from .conv import Conv2D
from .dense import Affine, Dense
from .dropout import Dropout
from .normalization import BatchNorm, BatchNorm1D, BatchNorm2D
from .pooling import (
    AvgPool2D,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    MaxPool2D,
    MaxPooling,
    MaxPooling2D,
    Pooling2D,
)
from .preprocessing import Rescale, Standardize
from .reshaping import Flatten, Reshape

__all__ = [
    "ELU",
    "GELU",
    "NAME2ACTIVATION",
    "NAME2LAYER",
    "Activation",
    "Affine",
    "AvgPool2D",
    "BatchNorm",
    "BatchNorm1D",
    "BatchNorm2D",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "Layer",
    "LeakyReLU",
    "MaxPool2D",
    "MaxPooling",
    "MaxPooling2D",
    "Pooling2D",
    "ReLU",
    "Rescale",
    "Reshape",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Standardize",
    "Tanh",
    "layer_from_config",
    "register",
]
