"""The arithmetic under the layers: plain functions on arrays, no classes, no state.

Layers import their functions from here and never learn which implementation runs: `array`,
the readable truth for NumPy and CuPy; `jit`, the same functions compiled for the processor,
where Numba is installed (the extra `fast`); or `gpu`, some of them fused for CuPy.
"""

import functools
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from .. import cuda
from . import array, gpu
from .array import (
    Padding,
    avg_pool2d,
    avg_pool2d_grad,
    channels_first,
    channels_last,
    dropout_mask,
    from_rows,
    lengths,
    normal_noise,
    normalize_samples,
    normalize_samples_grad,
    output_size,
    resolve_padding,
    to_rows,
    weight_norm,
    weight_norm_grad,
)
from .functions import log_softmax, normal_cdf, normal_pdf, sigmoid, softmax, softplus
from .resizing import (
    interpolate_pixels,
    interpolate_pixels_grad,
    repeat_pixels,
    repeat_pixels_grad,
    zero_pad2d,
    zero_pad2d_grad,
)


@functools.cache
def compiled() -> ModuleType | None:
    """Return `jit` where Numba is installed, else None.

    It is looked for when the first kernel is called, so that `import nn` stays light.
    """
    try:
        return importlib.import_module(".jit", __name__)
    except ImportError:
        return None


_DTYPES = frozenset({np.dtype(np.float32), np.dtype(np.float64)})


def _alike(x: Any, others: tuple[Any, ...]) -> bool:
    """Tell whether arrays are of one library, and floats of x's dtype: `jit` and `gpu` need it."""
    kind = type(x)
    return (
        (kind is np.ndarray or cuda.get_array_module(x) is not np)
        and x.dtype in _DTYPES
        and all(
            type(a) is kind and (a.dtype == x.dtype or a.dtype.kind != "f")
            for a in others
            if hasattr(a, "dtype")
        )
    )


def _quickest(name: str) -> Callable[..., Any]:
    """Return what calls the function that suits its arrays: `jit`'s, `gpu`'s, else `array`'s."""
    reference = getattr(array, name)

    @functools.wraps(reference)
    def call(x: Any, *arguments: Any, **options: Any) -> Any:
        if not _alike(x, arguments):
            return reference(x, *arguments, **options)
        if type(x) is not np.ndarray:
            return getattr(gpu, name, reference)(x, *arguments, **options)
        jit = compiled()
        return (reference if jit is None else getattr(jit, name))(x, *arguments, **options)

    return call


adam = _quickest("adam")
batch_norm = _quickest("batch_norm")
batch_norm_grad = _quickest("batch_norm_grad")
batch_norm_inference = _quickest("batch_norm_inference")
column_sums = _quickest("column_sums")
conv2d = _quickest("conv2d")
conv2d_input_grad = _quickest("conv2d_input_grad")
conv2d_weight_grad = _quickest("conv2d_weight_grad")
dropout = _quickest("dropout")
matmul = _quickest("matmul")
max_pool2d = _quickest("max_pool2d")
max_pool2d_grad = _quickest("max_pool2d_grad")
relu = _quickest("relu")
relu_grad = _quickest("relu_grad")
sgd = _quickest("sgd")

__all__ = [
    "Padding",
    "adam",
    "avg_pool2d",
    "avg_pool2d_grad",
    "batch_norm",
    "batch_norm_grad",
    "batch_norm_inference",
    "channels_first",
    "channels_last",
    "column_sums",
    "compiled",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "dropout",
    "dropout_mask",
    "from_rows",
    "interpolate_pixels",
    "interpolate_pixels_grad",
    "lengths",
    "log_softmax",
    "matmul",
    "max_pool2d",
    "max_pool2d_grad",
    "normal_cdf",
    "normal_noise",
    "normal_pdf",
    "normalize_samples",
    "normalize_samples_grad",
    "output_size",
    "relu",
    "relu_grad",
    "repeat_pixels",
    "repeat_pixels_grad",
    "resolve_padding",
    "sgd",
    "sigmoid",
    "softmax",
    "softplus",
    "to_rows",
    "weight_norm",
    "weight_norm_grad",
    "zero_pad2d",
    "zero_pad2d_grad",
]
