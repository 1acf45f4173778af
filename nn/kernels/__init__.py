"""The arithmetic under the layers: plain functions on arrays, no classes, no state.

Layers call these functions and do not know which implementation runs (`dispatch`): `reference`,
the short and readable one for NumPy and CuPy, or a faster one of `cpu` or `gpu`.
"""

# ruff: noqa: F401

from . import reference
from .cpu import memory, threads
from .dispatch import compiled, dispatched
from .formulas import normal_cdf, normal_pdf, sigmoid, softplus
from .geometry import (
    Padding,
    axis_order,
    channels_first,
    channels_last,
    class_axis,
    class_rows,
    from_class_rows,
    from_rows,
    last_axis_rows,
    output_size,
    resolve_padding,
    row_to_steps,
    steps_to_row,
    to_rows,
)
from .reference import (
    attend_last,
    dropout_mask,
    gaussian_kl,
    gaussian_kl_grad,
    gaussian_sample,
    gaussian_sample_grad,
    lengths,
    log_softmax,
    normal_noise,
    orthogonalized,
    prelu,
    prelu_grad,
    sinusoids,
    softmax,
    take_rows,
)

activate = dispatched(reference.activate)
activate_grad = dispatched(reference.activate_grad)
activate_in_place = dispatched(reference.activate_in_place)
adam = dispatched(reference.adam)
add = dispatched(reference.add)
add_rows = dispatched(reference.add_rows)
as_channels_last = dispatched(reference.as_channels_last)
attend = dispatched(reference.attend)
attend_grad = dispatched(reference.attend_grad)
avg_pool2d = dispatched(reference.avg_pool2d)
avg_pool2d_grad = dispatched(reference.avg_pool2d_grad)
batch_moments = dispatched(reference.batch_moments)
batch_norm = dispatched(reference.batch_norm)
batch_norm_grad = dispatched(reference.batch_norm_grad)
batch_norm_inference = dispatched(reference.batch_norm_inference)
column_sums = dispatched(reference.column_sums)
conv2d = dispatched(reference.conv2d)
conv2d_input_grad = dispatched(reference.conv2d_input_grad)
conv2d_weight_grad = dispatched(reference.conv2d_weight_grad)
dropout = dispatched(reference.dropout)
gru = dispatched(reference.gru)
gru_grad = dispatched(reference.gru_grad)
gru_reset_before = dispatched(reference.gru_reset_before)
gru_reset_before_grad = dispatched(reference.gru_reset_before_grad)
interpolate_pixels = dispatched(reference.interpolate_pixels)
interpolate_pixels_grad = dispatched(reference.interpolate_pixels_grad)
lstm = dispatched(reference.lstm)
lstm_grad = dispatched(reference.lstm_grad)
matmul = dispatched(reference.matmul)
max_pool2d = dispatched(reference.max_pool2d)
max_pool2d_grad = dispatched(reference.max_pool2d_grad)
normalize_samples = dispatched(reference.normalize_samples)
normalize_samples_grad = dispatched(reference.normalize_samples_grad)
repeat_pixels = dispatched(reference.repeat_pixels)
repeat_pixels_grad = dispatched(reference.repeat_pixels_grad)
sgd = dispatched(reference.sgd)
simple_rnn = dispatched(reference.simple_rnn)
simple_rnn_grad = dispatched(reference.simple_rnn_grad)
softmax_cross_entropy = dispatched(reference.softmax_cross_entropy)
swap_steps = dispatched(reference.swap_steps)
value_range = dispatched(reference.value_range)
weight_norm = dispatched(reference.weight_norm)
weight_norm_grad = dispatched(reference.weight_norm_grad)
zero_pad2d = dispatched(reference.zero_pad2d)
zero_pad2d_grad = dispatched(reference.zero_pad2d_grad)
