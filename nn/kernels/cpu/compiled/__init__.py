"""Kernels compiled by Numba (the extra `fast`): the same names and results as in the reference.

A function is split in two: a compiled one that works on some of the samples, in loops, and one
that prepares the arrays and lets threads share the samples (`threads.run`). What makes it fast:
few bytes are moved. A convolution has no patches (`gemm`), and pooling, normalization and
activations read each number once.
"""

# ruff: noqa: F401

from .attention import attend, attend_grad
from .conv import as_channels_last, conv2d, conv2d_input_grad, conv2d_weight_grad
from .elementwise import (
    activate,
    activate_grad,
    activate_in_place,
    adam,
    add,
    dropout,
    sgd,
    value_range,
)
from .gemm import matmul
from .normalization import (
    batch_moments,
    batch_norm,
    batch_norm_grad,
    batch_norm_inference,
    column_sums,
    normalize_samples,
    normalize_samples_grad,
)
from .pooling import max_pool2d, max_pool2d_grad
from .recurrent import (
    gru,
    gru_grad,
    gru_reset_before,
    gru_reset_before_grad,
    lstm,
    lstm_grad,
    simple_rnn,
    simple_rnn_grad,
)
from .rows import add_rows, softmax_cross_entropy
