"""The arithmetic of `nn.kernels` in plain loops: a reference for learning and for tests.

A convolution is seven nested loops with one multiplication in the middle. That is its definition;
`nn.kernels` computes the same numbers faster. Read a function here first, then the one of the same
name in `nn.kernels.reference` (`conv2d_naive`, then `conv2d`): arguments, shapes and conventions
are the same, and `tests/test_naive.py` compares the two. `conv2d_backward_naive` corresponds to
`conv2d_input_grad` and `conv2d_weight_grad`.

Several loops are one line: `np.ndindex(2, 3)` runs through (0, 0), (0, 1) ... (1, 2), as two nested
loops do, and `cells(oh, ow)` through the kernel, without the part of it that lies over the padding.

NumPy only stores the numbers. The loops compute in float64 for inputs of any dtype and return
float64. An iteration takes about a microsecond: use them for a few small images, as a real batch
would take hours.

Letters: N samples, C channels, H and W height and width, F filters, G groups, KH and KW the
kernel's height and width, OH and OW the output's; n, c, f, i, j, oh and ow are the indices. Of
sequences T are the steps, D the features and U the units.
Padding is ((top, bottom), (left, right)), as `kernels.resolve_padding` returns it for 'same'.

>>> import numpy as np
>>> x = np.arange(9.0).reshape(1, 1, 3, 3)
>>> conv2d_naive(x, np.ones((1, 1, 2, 2)), None)[0, 0]
array([[ 8., 12.],
       [20., 24.]])
"""

from .attention import attention_naive
from .convolution import (
    conv2d_backward_naive,
    conv2d_naive,
    conv2d_transpose_naive,
    depthwise_conv2d_naive,
)
from .cross_entropy import softmax_cross_entropy_backward_naive, softmax_cross_entropy_naive
from .dense import dense_backward_naive, dense_naive
from .normalization import batchnorm_backward_naive, batchnorm_naive
from .pooling import (
    avg_pool2d_backward_naive,
    avg_pool2d_naive,
    max_pool2d_backward_naive,
    max_pool2d_naive,
)
from .recurrent import gru_naive, lstm_naive, simple_rnn_naive

__all__ = [
    "attention_naive",
    "avg_pool2d_backward_naive",
    "avg_pool2d_naive",
    "batchnorm_backward_naive",
    "batchnorm_naive",
    "conv2d_backward_naive",
    "conv2d_naive",
    "conv2d_transpose_naive",
    "dense_backward_naive",
    "dense_naive",
    "depthwise_conv2d_naive",
    "gru_naive",
    "lstm_naive",
    "max_pool2d_backward_naive",
    "max_pool2d_naive",
    "simple_rnn_naive",
    "softmax_cross_entropy_backward_naive",
    "softmax_cross_entropy_naive",
]
