"""A Keras-style sequential deep-learning library in NumPy, to be read line by line.

>>> import nn
>>> model = nn.Model([nn.Dense(4, input_shape=(2,)), nn.ReLU(), nn.Dense(1)])
>>> model.compile(loss="mse", optimizer="adam")

A reader begins with `model.Model.train_step` and follows a batch down: `layers`, then the
arithmetic in `kernels`, then `losses` and `optim`.
"""

import importlib as _importlib
import os as _os
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

# The numeric libraries read these once, when they load, so they are set before NumPy is.
if _os.environ.get("NN_DISABLE_AUTO_THREADS") == "1":
    _thread_variables: list[str] = []
else:
    _thread_variables = [
        f"{_library}_NUM_THREADS"
        for _library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
        if f"{_library}_NUM_THREADS" not in _os.environ
    ]
    for _name in _thread_variables:
        _os.environ[_name] = str(_os.cpu_count() or 1)

from . import (
    callbacks,
    checks,
    compat,
    cuda,
    data,
    exchange,
    initializers,
    kernels,
    layers,
    losses,
    metrics,
    naive,
    optim,
    plot,
    regularizers,
    testing,
    zoo,
)
from .data import Dataset
from .files import model_file as io
from .inspect import explain, gradcheck, trace
from .inspect.ensemble import Ensemble
from .inspect.generation import generate
from .inspect.gradcheck import check_gradients
from .inspect.lr_range import find_lr
from .layers import (
    ELU,
    GELU,
    GRU,
    LSTM,
    SELU,
    Activation,
    AvgPool1D,
    AvgPool2D,
    BatchNorm,
    BatchNorm1D,
    BatchNorm2D,
    Bidirectional,
    Conv1D,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Embedding,
    Exponential,
    Flatten,
    GaussianNoise,
    GaussianSampling,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    GroupNorm,
    HardSigmoid,
    Layer,
    LayerNorm,
    LeakyReLU,
    LogSoftmax,
    Masking,
    MaxPool1D,
    MaxPool2D,
    Mish,
    MultiHeadAttention,
    PositionalEmbedding,
    PReLU,
    Recompute,
    ReLU,
    ReLU6,
    Rescale,
    Reshape,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    SimpleRNN,
    SinusoidalPositions,
    SkipConcat,
    Softmax,
    Softplus,
    Softsign,
    SpatialDropout2D,
    Standardize,
    Tanh,
    UpSample2D,
    WeightNorm,
    ZeroPad2D,
    register,
)
from .layers.observe import observe
from .model import Model
from .optim import schedules
from .random import seed
from .training.lr_finder import LRCurve

if _TYPE_CHECKING:
    from . import distributed
    from .exchange.sklearn import NNClassifier, NNRegressor


def __getattr__(name: str) -> _Any:
    """Import on first use what few programs need: other processes, and scikit-learn's estimators.

    scikit-learn is optional, and both take long to import.
    """
    if name == "distributed":
        return _importlib.import_module(".distributed", __name__)
    if name not in ("NNClassifier", "NNRegressor"):
        raise compat.missing_name(name, globals())
    checks.require("nn", "sklearn", "scikit-learn", f"make {name}")
    from .exchange import sklearn

    return getattr(sklearn, name)


def __dir__() -> list[str]:
    """Return the names of the package, for tab completion."""
    return sorted({*globals(), *__all__})


compat.import_aliases()

globals().update({alias: layers.NAME2LAYER[alias] for alias in compat.LAYERS})

__version__ = "0.2.0"

__all__ = [
    *layers.NAME2LAYER,
    "Dataset",
    "Ensemble",
    "LRCurve",
    "Layer",
    "Model",
    "callbacks",
    "check_gradients",
    "compat",
    "cuda",
    "data",
    "distributed",
    "exchange",
    "explain",
    "find_lr",
    "generate",
    "gradcheck",
    "initializers",
    "io",
    "kernels",
    "layers",
    "losses",
    "metrics",
    "naive",
    "observe",
    "optim",
    "plot",
    "register",
    "regularizers",
    "schedules",
    "seed",
    "testing",
    "trace",
    "zoo",
]
