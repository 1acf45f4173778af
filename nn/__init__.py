"""A Keras-style sequential deep-learning library in NumPy, to be read line by line.

>>> import nn
>>> model = nn.Model([nn.Dense(4, input_shape=(2,)), nn.ReLU(), nn.Dense(1)])
>>> model.compile(loss="mse", optimizer="adam")

A reader begins with `model.Model.train_step` and follows a batch down: `layers`, then the
arithmetic in `kernels`, then `losses` and `optim`.
"""

import os as _os

# The numeric libraries read these once, when they load, so they are set before NumPy is.
if _os.environ.get("NN_DISABLE_AUTO_THREADS") != "1":
    for _name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    ):
        _os.environ.setdefault(_name, str(_os.cpu_count() or 1))

from . import (
    callbacks,
    cuda,
    data,
    gradcheck,
    initializers,
    io,
    kernels,
    layers,
    losses,
    metrics,
    optim,
    regularizers,
    schedules,
    zoo,
)
from .data import Dataset
from .gradcheck import check_gradients
from .layers import (
    ELU,
    GELU,
    Activation,
    Affine,
    AvgPool2D,
    BatchNorm,
    BatchNorm1D,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    Layer,
    LeakyReLU,
    MaxPool2D,
    MaxPooling,
    MaxPooling2D,
    Pooling2D,
    ReLU,
    Rescale,
    Reshape,
    Residual,
    Sequential,
    Sigmoid,
    Softmax,
    Standardize,
    Tanh,
    register,
)
from .model import Model
from .random import seed

__version__ = "0.1.0"

__all__ = [
    "ELU",
    "GELU",
    "Activation",
    "Affine",
    "AvgPool2D",
    "BatchNorm",
    "BatchNorm1D",
    "BatchNorm2D",
    "Conv2D",
    "Dataset",
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
    "Model",
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
    "callbacks",
    "check_gradients",
    "cuda",
    "data",
    "gradcheck",
    "initializers",
    "io",
    "kernels",
    "layers",
    "losses",
    "metrics",
    "optim",
    "register",
    "regularizers",
    "schedules",
    "seed",
    "zoo",
]
