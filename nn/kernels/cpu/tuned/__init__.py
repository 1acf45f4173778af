"""Kernels in NumPy alone, tuned for the processor: they run if Numba is not installed.

What makes them faster than the reference: work in pieces that stay in the cache, memory that is
used again (`memory`), and large work shared by threads (`threads`), as NumPy releases Python's
global lock while it computes.
"""

# ruff: noqa: F401

from ...tiles import conv2d, conv2d_input_grad, conv2d_weight_grad
from .elementwise import activate, activate_grad, activate_in_place, adam, add, dropout, sgd
from .linear import column_sums, matmul, swap_steps
from .normalization import (
    batch_norm,
    batch_norm_grad,
    batch_norm_inference,
    normalize_samples,
    normalize_samples_grad,
)
from .pooling import avg_pool2d, avg_pool2d_grad, max_pool2d, max_pool2d_grad
from .resizing import (
    interpolate_pixels,
    interpolate_pixels_grad,
    repeat_pixels,
    repeat_pixels_grad,
    zero_pad2d,
)
