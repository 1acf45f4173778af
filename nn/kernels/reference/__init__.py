"""The reference: every kernel in the shortest right code, for NumPy and CuPy alike.

Read this room first: it defines what each kernel computes. Tests compare all others with it, and
it runs whatever they do not take: arrays of mixed dtypes, or those without a kernel of their own.
`nn.naive` has the same functions in plain loops.
"""

# ruff: noqa: F401

from .attention import attend, attend_grad, attend_last, sinusoids
from .conv import as_channels_last, conv2d, conv2d_input_grad, conv2d_weight_grad
from .elementwise import (
    activate,
    activate_grad,
    activate_in_place,
    add,
    dropout,
    dropout_mask,
    log_softmax,
    normal_noise,
    prelu,
    prelu_grad,
    softmax,
    softmax_cross_entropy,
    value_range,
)
from .linear import add_rows, matmul, take_rows
from .normalization import (
    batch_moments,
    batch_norm,
    batch_norm_grad,
    batch_norm_inference,
    column_sums,
    lengths,
    normalize_samples,
    normalize_samples_grad,
    weight_norm,
    weight_norm_grad,
)
from .optim import adam, orthogonalized, sgd
from .pooling import avg_pool2d, avg_pool2d_grad, max_pool2d, max_pool2d_grad
from .recurrent import (
    gru,
    gru_grad,
    gru_reset_before,
    gru_reset_before_grad,
    lstm,
    lstm_grad,
    simple_rnn,
    simple_rnn_grad,
    swap_steps,
)
from .resizing import (
    interpolate_pixels,
    interpolate_pixels_grad,
    repeat_pixels,
    repeat_pixels_grad,
    zero_pad2d,
    zero_pad2d_grad,
)
from .sampling import gaussian_kl, gaussian_kl_grad, gaussian_sample, gaussian_sample_grad
