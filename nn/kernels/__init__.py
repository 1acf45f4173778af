"""The arithmetic under the layers: plain functions on arrays, no classes, no state.

Layers import their functions from here and never learn which implementation runs.
There is one so far: `array`, which serves NumPy and CuPy alike.
"""

from .array import (
    Padding,
    avg_pool2d,
    avg_pool2d_grad,
    batch_norm,
    batch_norm_grad,
    batch_norm_inference,
    channels_first,
    channels_last,
    column_sums,
    conv2d,
    conv2d_input_grad,
    conv2d_weight_grad,
    dropout_mask,
    from_rows,
    log_softmax,
    max_pool2d,
    max_pool2d_grad,
    normal_cdf,
    normal_pdf,
    output_size,
    resolve_padding,
    sigmoid,
    softmax,
    to_rows,
)

__all__ = [
    "Padding",
    "avg_pool2d",
    "avg_pool2d_grad",
    "batch_norm",
    "batch_norm_grad",
    "batch_norm_inference",
    "channels_first",
    "channels_last",
    "column_sums",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "dropout_mask",
    "from_rows",
    "log_softmax",
    "max_pool2d",
    "max_pool2d_grad",
    "normal_cdf",
    "normal_pdf",
    "output_size",
    "resolve_padding",
    "sigmoid",
    "softmax",
    "to_rows",
]
