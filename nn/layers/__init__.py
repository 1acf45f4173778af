"""The layers, one concept a file; `base` says what a layer is.

A layer's `backward` mirrors its `forward` line for line, and the arithmetic of both stands
in `nn.kernels`.
"""

from .activations import (
    ELU,
    GELU,
    SELU,
    Activation,
    Exponential,
    HardSigmoid,
    LeakyReLU,
    Mish,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Swish,
    Tanh,
)
from .base import Layer
from .config import NAME2ACTIVATION, NAME2LAYER, layer_from_config, register
from .containers import Sequential
from .conv import Conv2D, Conv2DTranspose, DepthwiseConv2D
from .dense import Affine, Dense
from .dropout import Dropout, GaussianNoise, SpatialDropout2D
from .normalization import (
    BatchNorm,
    BatchNorm1D,
    BatchNorm2D,
    BatchNormalization,
    GroupNorm,
    GroupNormalization,
    LayerNorm,
    LayerNormalization,
)
from .pooling import (
    AveragePooling2D,
    AvgPool2D,
    GlobalAveragePooling2D,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    GlobalMaxPooling2D,
    MaxPool2D,
    MaxPooling,
    MaxPooling2D,
    Pooling2D,
)
from .preprocessing import Rescale, Standardize
from .recompute import Recompute
from .reshaping import Flatten, Reshape
from .residual import Residual
from .resizing import UpSample2D, UpSampling2D, ZeroPad2D, ZeroPadding2D
from .weight_norm import WeightNorm

__all__ = [
    "ELU",
    "GELU",
    "NAME2ACTIVATION",
    "NAME2LAYER",
    "SELU",
    "Activation",
    "Affine",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNorm",
    "BatchNorm1D",
    "BatchNorm2D",
    "BatchNormalization",
    "Conv2D",
    "Conv2DTranspose",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Exponential",
    "Flatten",
    "GaussianNoise",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling2D",
    "GroupNorm",
    "GroupNormalization",
    "HardSigmoid",
    "Layer",
    "LayerNorm",
    "LayerNormalization",
    "LeakyReLU",
    "MaxPool2D",
    "MaxPooling",
    "MaxPooling2D",
    "Mish",
    "Pooling2D",
    "ReLU",
    "ReLU6",
    "Recompute",
    "Rescale",
    "Reshape",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "SpatialDropout2D",
    "Standardize",
    "Swish",
    "Tanh",
    "UpSample2D",
    "UpSampling2D",
    "WeightNorm",
    "ZeroPad2D",
    "ZeroPadding2D",
    "layer_from_config",
    "register",
]
