"""The layers, one concept a file; `base` says what a layer is.

A layer's `backward` mirrors its `forward` line for line, and the arithmetic of both stands
in `nn.kernels`.
"""

from .. import compat, installation
from .activations import (
    ELU,
    GELU,
    SELU,
    Activation,
    Exponential,
    HardSigmoid,
    LeakyReLU,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from .attention import MultiHeadAttention, PositionalEmbedding, SinusoidalPositions
from .base import Layer
from .bidirectional import Bidirectional
from .config import NAME2ACTIVATION, NAME2LAYER, layer_from_config, register
from .containers import Sequential
from .conv import Conv2D, Conv2DTranspose, DepthwiseConv2D
from .conv1d import Conv1D
from .dense import Dense
from .dropout import Dropout, GaussianNoise, SpatialDropout2D
from .embedding import Embedding
from .masking import Masking
from .normalization import (
    BatchNorm,
    BatchNorm1D,
    BatchNorm2D,
    GroupNorm,
    LayerNorm,
)
from .pooling import (
    AvgPool2D,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    MaxPool2D,
)
from .pooling1d import AvgPool1D, GlobalAvgPool1D, GlobalMaxPool1D, MaxPool1D
from .preprocessing import Rescale, Standardize
from .recompute import Recompute
from .recurrent import GRU, LSTM, SimpleRNN
from .reshaping import Flatten, Reshape
from .residual import Residual, SkipConcat
from .resizing import UpSample2D, ZeroPad2D
from .sampling import GaussianSampling
from .weight_norm import WeightNorm

NAME2ACTIVATION.add_aliases(compat.ACTIVATIONS)
NAME2LAYER.add_aliases(compat.LAYERS)
globals().update({alias: NAME2LAYER[alias] for alias in compat.LAYERS})

__all__ = [*NAME2LAYER, "Layer", "NAME2ACTIVATION", "NAME2LAYER", "layer_from_config", "register"]
