"""Kernels of `array` once more, fused for the GPU by CuPy: same names, same results.

`array` is the one to read first; it says what is computed. There each line is a pass over memory
and a launch of its own, and both are what takes a GPU its time. Here a function is one pass, or one
between two sums. A kernel is what is done with one element, in CUDA's C++; CuPy writes the loop
around it and compiles it at its first call. What has no fused form here, `array` computes.

In a kernel, `T` is float or double as in its arrays, `i` the number of the element, and what is
`raw` is read at any place. Everything is channels-last inside, (N, H, W, C), as in `array`.
"""

import functools
import math
from typing import Any

from .. import cuda
from . import array
from .array import Padding, Pair, channels_first, channels_last, column_sums

Array = Any  # cupy.ndarray


@functools.cache
def _kernel(xp: Any, name: str, inputs: str, outputs: str, operation: str) -> Any:
    """Return a kernel of CuPy, which takes the inputs and then the outputs, that it writes."""
    return xp.ElementwiseKernel(inputs, outputs, operation, f"nn_{name}")


def _in_order(*arrays: Array) -> list[Array]:
    """Return views of arrays that lie alike in memory, their axes from the slowest to the fastest.

    A kernel needs no strides for them then.
    """
    axes, _ = cuda.memory_order(arrays[0])
    return [one.transpose(axes) for one in arrays]


# --------------------------------------------------------------------------------- pooling

# Where an element is: in sample `sample`, at (row, column), in channel k, of `rows` x `columns`.
_PLACE = """
    int k = i % channels;
    ptrdiff_t place = i / channels;
    int column = place % columns, row = place / columns % rows;
    ptrdiff_t sample = place / columns / rows;
"""
_WINDOW = ", ".join(f"int32 {name}" for name in ("kh", "kw", "sh", "sw", "top", "left"))
_SIZES = ", ".join(f"int32 {name}" for name in ("channels", "rows", "columns", "height", "width"))

_LARGEST_OF = f"raw T x, T lowest, {_SIZES}, {_WINDOW}"
_LARGEST = f"""{_PLACE}
    int down = row * sh - top, right = column * sw - left, won = 0;
    T largest = lowest;
    for (int a = max(0, -down); a < kh && down + a < height; a++)
        for (int b = max(0, -right); b < kw && right + b < width; b++) {{
            T candidate = x[((sample * height + down + a) * width + right + b) * channels + k];
            if (candidate > largest) won = a * kw + b;
            if (candidate > largest || candidate != candidate) largest = candidate;  // NaN stays
        }}
    y = largest;
    index = won;
"""

# Here height and width are those of the windows: each element asks the windows that it lies in.
_WINNERS_OF = f"raw T grad, raw I index, {_SIZES}, {_WINDOW}"
_TO_THE_WINNER = f"""{_PLACE}
    T sum = 0;
    for (int a = 0; a < kh; a++) {{
        int down = row + top - a;
        if (down < 0 || down % sh || down / sh >= height) continue;
        for (int b = 0; b < kw; b++) {{
            int right = column + left - b;
            if (right < 0 || right % sw || right / sw >= width) continue;
            ptrdiff_t window = (sample * height + down / sh) * width + right / sw;
            if (index[window * channels + k] == a * kw + b) sum += grad[window * channels + k];
        }}
    }}
    dx = sum;
"""


def max_pool2d(
    x: Array, pool: Pair, stride: Pair, padding: Padding, keep_index: bool = True
) -> tuple[Array, Array | None]:
    """See `array.max_pool2d`."""
    xp = cuda.get_array_module(x)
    out = array.output_size(x.shape[2:], pool, stride, padding)
    x = channels_last(x)
    n, height, width, channels = x.shape
    y = xp.empty((n, *out, channels), x.dtype)
    before = (padding[0][0], padding[1][0])
    sizes = (channels, *out, height, width, *pool, *stride, *before)
    index = xp.empty(y.shape, array.cell_dtype(pool))
    kernel = _kernel(xp, "max_pool2d", _LARGEST_OF, "T y, I index", _LARGEST)
    kernel(x, -math.inf, *sizes, y, index)
    return channels_first(y), index if keep_index else None


def max_pool2d_grad(
    grad: Array, index: Array, x_shape: tuple[int, ...], pool: Pair, stride: Pair, padding: Padding
) -> Array:
    """See `array.max_pool2d_grad`."""
    xp = cuda.get_array_module(grad)
    n, channels, rows, columns = x_shape
    grad = channels_last(grad)
    dx = xp.empty((n, rows, columns, channels), grad.dtype)
    before = (padding[0][0], padding[1][0])
    sizes = (channels, rows, columns, *grad.shape[1:3], *pool, *stride, *before)
    kernel = _kernel(xp, "max_pool2d_grad", _WINNERS_OF, "T dx", _TO_THE_WINNER)
    kernel(grad, index, *sizes, dx)
    return channels_first(dx)


# --------------------------------------------------------------------- batch normalisation


def batch_norm(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array, Array]:
    """See `array.batch_norm`."""
    xp = cuda.get_array_module(x)
    mean, y = column_sums(x) / len(x), xp.empty_like(x)
    _kernel(xp, "squares", "T x, T mean", "T y", "y = (x - mean) * (x - mean)")(x, mean, y)
    variance = column_sums(y) / len(x)
    scale = gamma / xp.sqrt(variance + eps)
    normalize = "T x, T mean, T scale, T beta", "T y", "y = (x - mean) * scale + beta"
    _kernel(xp, "normalize", *normalize)(x, mean, scale, beta, y)
    return y, mean, variance


def batch_norm_grad(
    grad: Array, x: Array, gamma: Array, mean: Array, variance: Array, eps: float
) -> tuple[Array, Array, Array]:
    """See `array.batch_norm_grad`."""
    xp = cuda.get_array_module(grad)
    inv_std, dx = 1 / xp.sqrt(variance + eps), xp.empty_like(x)
    inputs = "T grad, T x, T mean, T inv_std"
    products = _kernel(xp, "products", inputs, "T dx", "dx = grad * ((x - mean) * inv_std)")
    products(grad, x, mean, inv_std, dx)
    dgamma, dbeta = column_sums(dx), column_sums(grad)
    operation = "dx = (grad - mean_g - (x - mean) * inv_std * mean_gx) * scale"
    inputs += ", T mean_g, T mean_gx, T scale"
    _kernel(xp, "batch_norm_grad", inputs, "T dx", operation)(
        grad, x, mean, inv_std, dbeta / len(x), dgamma / len(x), gamma * inv_std, dx
    )
    return dx, dgamma, dbeta


def batch_norm_inference(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, eps: float
) -> Array:
    """See `array.batch_norm_inference`."""
    xp = cuda.get_array_module(x)
    scale, y = gamma / xp.sqrt(variance + eps), xp.empty_like(x)
    kernel = _kernel(xp, "scale", "T x, T scale, T shift", "T y", "y = x * scale + shift")
    kernel(x, scale, beta - mean * scale, y)
    return y


# ------------------------------------------------------------------- elementwise functions


def dropout(x: Array, kept: Array, rate: float) -> Array:
    """See `array.dropout`."""
    xp = cuda.get_array_module(x)
    y = xp.empty_like(x)
    kernel = _kernel(xp, "dropout", "T x, bool kept, T scale", "T y", "y = x * kept * scale")
    x_, kept_, y_ = _in_order(x, kept, y)
    kernel(x_, kept_, 1 / (1 - rate), y_)
    return y


def relu(x: Array, keep_mask: bool = True) -> tuple[Array, Array | None]:
    """See `array.relu`."""
    xp = cuda.get_array_module(x)
    if not keep_mask:
        return array.relu(x, keep_mask=False)
    y, mask = xp.empty_like(x), xp.empty_like(x, dtype=bool)
    operation = "mask = x > 0; y = x < 0 ? T(0) : x"  # a NaN stays one
    _kernel(xp, "relu", "T x", "T y, bool mask", operation)(*_in_order(x, y, mask))
    return y, mask


# --------------------------------------------------------------- the updates of optimizers


def sgd(
    param: Array, grad: Array, velocity: Array, lr: float, momentum: float, nesterov: bool
) -> None:
    """See `array.sgd`."""
    xp = cuda.get_array_module(param)
    operation = """
        T change = -lr * grad;
        velocity = momentum * velocity + change;
        param += nesterov ? change + momentum * velocity : velocity;
    """
    inputs = "T grad, T lr, T momentum, bool nesterov"
    kernel = _kernel(xp, "sgd", inputs, "T param, T velocity", operation)
    param, grad, velocity = _in_order(param, grad, velocity)
    kernel(grad, lr, momentum, nesterov, param, velocity)


def adam(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    t: int,
) -> None:
    """See `array.adam`."""
    xp = cuda.get_array_module(param)
    operation = """
        m = beta1 * m + rest1 * grad;
        v = beta2 * v + rest2 * grad * grad;
        param -= rate * (m / (sqrt(v) / root + eps));
    """
    inputs = "T grad, T beta1, T rest1, T beta2, T rest2, T eps, T root, T rate"
    kernel = _kernel(xp, "adam", inputs, "T param, T m, T v", operation)
    param, grad, m, v = _in_order(param, grad, m, v)
    root, rate = math.sqrt(1 - beta2**t), lr / (1 - beta1**t)
    kernel(grad, beta1, 1 - beta1, beta2, 1 - beta2, eps, root, rate, param, m, v)
