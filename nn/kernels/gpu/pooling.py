"""Max pooling, fused: one pass over the outputs, or in the backward pass over the inputs."""

import math

from ... import cuda
from ..geometry import Array, Padding, Pair, channels_first, channels_last, output_size
from ..reference.pooling import index_dtype
from .fusing import elementwise_kernel

# The element's sample, row, column and channel k, among `rows` x `columns` pixels.
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

# Here height and width count the windows: each element sums over the windows that contain it.
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
    """See `reference.max_pool2d`."""
    xp = cuda.get_array_module(x)
    out = output_size(x.shape[2:], pool, stride, padding)
    x = channels_last(x)
    n, height, width, channels = x.shape
    y = xp.empty((n, *out, channels), x.dtype)
    before = (padding[0][0], padding[1][0])
    sizes = (channels, *out, height, width, *pool, *stride, *before)
    index = xp.empty(y.shape, index_dtype(pool))
    kernel = elementwise_kernel(xp, "max_pool2d", _LARGEST_OF, "T y, I index", _LARGEST)
    kernel(x, -math.inf, *sizes, y, index)
    return channels_first(y), index if keep_index else None


def max_pool2d_grad(
    grad: Array, index: Array, x_shape: tuple[int, ...], pool: Pair, stride: Pair, padding: Padding
) -> Array:
    """See `reference.max_pool2d_grad`."""
    xp = cuda.get_array_module(grad)
    n, channels, rows, columns = x_shape
    grad = channels_last(grad)
    dx = xp.empty((n, rows, columns, channels), grad.dtype)
    before = (padding[0][0], padding[1][0])
    sizes = (channels, rows, columns, *grad.shape[1:3], *pool, *stride, *before)
    kernel = elementwise_kernel(xp, "max_pool2d_grad", _WINNERS_OF, "T dx", _TO_THE_WINNER)
    kernel(grad, index, *sizes, dx)
    return channels_first(dx)
