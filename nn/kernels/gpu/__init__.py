"""Kernels for CuPy, fused: passes over memory and launches are what takes a GPU its time.

CuPy compiles each at its first call. Convolutions run in tiles (`tiles`). What has no kernel here
runs the reference. Everything is channels-last inside, (N, H, W, C).
"""

# ruff: noqa: F401

from ..tiles import conv2d, conv2d_input_grad, conv2d_weight_grad
from .elementwise import activate, activate_grad, activate_in_place, adam, dropout, sgd
from .linear import column_sums
from .normalization import batch_norm, batch_norm_grad, batch_norm_inference
from .pooling import max_pool2d, max_pool2d_grad
