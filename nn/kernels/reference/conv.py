"""Convolution as the product of two tensors: the windows of the images, and the kernels."""

import numpy as np

from ... import cuda
from ..geometry import NO_PADDING, Array, Padding, Pair, channels_first, channels_last


def pad(x: Array, padding: Padding, value: float = 0.0) -> Array:
    """Return x (N, C, H, W) with rows and columns of `value` around each image."""
    xp = cuda.get_array_module(x)
    return xp.pad(x, ((0, 0), (0, 0), *padding), constant_values=value)


def windows(x: Array, kernel: tuple[int, ...], stride: Pair, dilation: Pair = (1, 1)) -> Array:
    """Return the windows of x (N, C, H, W) as a view (N, C, OH, OW, KH, KW)."""
    xp = cuda.get_array_module(x)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    view = xp.lib.stride_tricks.sliding_window_view(x, reach, axis=(2, 3))
    return view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def add_windows(
    values: Array,
    x_shape: tuple[int, ...],
    stride: Pair,
    padding: Padding,
    dilation: Pair = (1, 1),
) -> Array:
    """Return (N, C, H, W) with windows (N, OH, OW, C, KH, KW) added where they were read.

    It is the gradient of `windows`, known as col2im; what falls on the padding is dropped.
    """
    xp = cuda.get_array_module(values)
    n, c, h, w = x_shape
    (top, bottom), (left, right) = padding
    dx = xp.zeros((n, h + top + bottom, w + left + right, c), dtype=values.dtype)
    _, oh, ow, _, kh, kw = values.shape
    for i, j in np.ndindex(kh, kw):
        y0, x0 = i * dilation[0], j * dilation[1]
        rows = slice(y0, y0 + stride[0] * (oh - 1) + 1, stride[0])
        columns = slice(x0, x0 + stride[1] * (ow - 1) + 1, stride[1])
        dx[:, rows, columns] += values[..., i, j]
    return channels_first(dx[:, top : top + h, left : left + w])


def as_channels_last(x: Array) -> Array:
    """Return images (N, C, H, W) with channels-last memory, x itself if it has that."""
    return channels_first(channels_last(x))


def conv2d(
    x: Array, w: Array, b: Array | None, stride: Pair = (1, 1),
    padding: Padding = NO_PADDING, dilation: Pair = (1, 1), groups: int = 1,
) -> Array:  # fmt: skip
    """Return the cross-correlation of x (N, C, H, W) with w (F, C/G, KH, KW), plus b (F,)."""
    xp = cuda.get_array_module(x)
    patches = windows(pad(x, padding), w.shape[2:], stride, dilation)
    pairs = zip(xp.split(patches, groups, axis=1), xp.split(w, groups), strict=True)
    # (N, C/G, OH, OW, KH, KW) and (F/G, C/G, KH, KW) -> (N, OH, OW, F/G), for each group
    products = [xp.tensordot(p, k, axes=((1, 4, 5), (1, 2, 3))) for p, k in pairs]
    y = xp.concatenate(products, axis=3)  # (N, OH, OW, F)
    if b is not None:
        y += b
    return channels_first(y.astype(x.dtype, copy=False))


def conv2d_input_grad(
    grad: Array, w: Array, x_shape: tuple[int, ...], stride: Pair = (1, 1),
    padding: Padding = NO_PADDING, dilation: Pair = (1, 1), groups: int = 1,
) -> Array:  # fmt: skip
    """Return the gradient for x of `conv2d`, given that for its result (N, F, OH, OW)."""
    xp = cuda.get_array_module(grad)
    pairs = zip(xp.split(grad, groups, axis=1), xp.split(w, groups), strict=True)
    # (N, F/G, OH, OW) and (F/G, C/G, KH, KW) -> (N, OH, OW, C/G, KH, KW), for each group
    products = [xp.tensordot(g, k, axes=(1, 0)) for g, k in pairs]
    patches = xp.concatenate(products, axis=3).astype(grad.dtype, copy=False)
    return add_windows(patches, x_shape, stride, padding, dilation)


def conv2d_weight_grad(
    grad: Array, x: Array, w_shape: tuple[int, ...], stride: Pair = (1, 1),
    padding: Padding = NO_PADDING, dilation: Pair = (1, 1), groups: int = 1,
) -> Array:  # fmt: skip
    """Return the gradient for w of `conv2d`, given that for its result (N, F, OH, OW)."""
    xp = cuda.get_array_module(grad)
    patches = windows(pad(x, padding), w_shape[2:], stride, dilation)
    pairs = zip(xp.split(grad, groups, axis=1), xp.split(patches, groups, axis=1), strict=True)
    # (N, F/G, OH, OW) and (N, C/G, OH, OW, KH, KW) -> (F/G, C/G, KH, KW), for each group
    products = [xp.tensordot(g, p, axes=((0, 2, 3), (0, 2, 3))) for g, p in pairs]
    return xp.concatenate(products).astype(grad.dtype, copy=False)
