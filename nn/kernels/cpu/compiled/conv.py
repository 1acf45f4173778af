"""Convolutions: each by the way that is fastest for its shapes.

Kernels of 3 x 3 with many channels go to `winograd`, others to `gemm`, depthwise ones are plain
loops here. A dilated convolution sees only every second (third ...) row and column of the image:
for `winograd` it is a dense one of each of these smaller images (`_phases`).
"""

import numpy as np

from ... import tiles
from ...geometry import (
    NO_PADDING,
    Array,
    Padding,
    Pair,
    channels_first,
    output_size,
)
from ...tiles import cells_of, input_grad_by, is_depthwise, repeat_channels
from .. import memory, threads
from ..compiler import compile_kernel
from . import gemm, winograd
from .sharing import LONGEST_SUM, grain_for


@compile_kernel
def _copy_pixels(x, y, part, lo, hi):
    """Copy the samples lo..hi of x (N, C, H*W) to y (N, H*W, C)."""
    for n in range(lo, hi):
        for pixel in range(y.shape[1]):
            for channel in range(y.shape[2]):
                y[n, pixel, channel] = x[n, channel, pixel]


def channels_last(x: Array) -> Array:
    """See `geometry.channels_last`."""
    view = x.transpose(0, 2, 3, 1)
    if view.flags.c_contiguous:
        return view
    if not x.flags.c_contiguous:
        return view.copy()
    n, c, h, w = x.shape
    y = memory.empty((n, h * w, c), x.dtype)
    threads.run(_copy_pixels, n, x.reshape(n, c, h * w), y, grain=grain_for(c * h * w))
    return y.reshape(n, h, w, c)


def as_channels_last(x: Array) -> Array:
    """See `reference.as_channels_last`."""
    return channels_first(channels_last(x))


def conv2d(
    x: Array,
    w: Array,
    b: Array | None,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """See `reference.conv2d`."""
    if is_depthwise(w.shape, groups):
        return _depthwise(repeat_channels(x, len(w)), w, b, stride, padding, dilation)
    kernel = (w.shape[2], w.shape[3])
    out = output_size(x.shape[2:], kernel, stride, padding, dilation)
    x, size = channels_last(x), _phase_size(out, dilation)
    if groups > 1 or not winograd.suits(x, len(w), kernel, stride, size):
        return channels_first(gemm.conv2d(x, w, b, stride, padding, dilation, groups))
    if dilation == (1, 1):
        return channels_first(winograd.conv2d(x, w, b, padding, out))
    x, padding = _phases(x, dilation, padding)
    return channels_first(_joined(winograd.conv2d(x, w, b, padding, size), dilation, out))


conv2d_input_grad = input_grad_by(conv2d)


def conv2d_weight_grad(
    grad: Array,
    x: Array,
    w_shape: tuple[int, ...],
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """See `reference.conv2d_weight_grad`."""
    if is_depthwise(w_shape, groups):
        x = repeat_channels(x, grad.shape[1])
        return _depthwise_weight_grad(grad, x, w_shape, stride, padding, dilation)
    if 0 in grad.shape:
        return tiles.conv2d_weight_grad(grad, x, w_shape, stride, padding, dilation, groups)
    kernel = (w_shape[2], w_shape[3])
    grad, x = channels_last(grad), channels_last(x)
    size = _phase_size(grad.shape[1:3], dilation)
    if groups > 1 or not winograd.suits(x, w_shape[0], kernel, stride, size):
        return gemm.conv2d_weight_grad(grad, x, kernel, stride, padding, dilation, groups)
    if dilation != (1, 1):
        grad, _ = _phases(grad, dilation, NO_PADDING)
        x, padding = _phases(x, dilation, padding)
    return winograd.conv2d_weight_grad(grad, x, padding)


def _phase_size(size: tuple[int, ...], dilation: Pair) -> Pair:
    """Return the height and width of the largest of the `_phases` of an image of a size."""
    return -(-size[0] // dilation[0]), -(-size[1] // dilation[1])


def _phases(x: Array, dilation: Pair, padding: Padding) -> tuple[Array, Padding]:
    """Return the images of every D-th row and E-th column of x, and the padding of each.

    (N, H, W, C) -> (N*D*E, ceil(H/D), ceil(W/E), C) for a dilation (D, E). What the padding before
    has beyond a multiple of the dilation becomes zeros of the images, as does what is missing to
    whole images. The padding after is such that all have as many outputs as the first.
    """
    (n, *size, c), (d, e) = x.shape, dilation
    lead = [before % step for (before, _), step in zip(padding, dilation, strict=True)]
    h, w = (-(-(a + b) // step) for a, b, step in zip(size, lead, dilation, strict=True))
    before = padding[0][0] // d, padding[1][0] // e
    whole = [-(-(a + sum(b)) // step) for a, b, step in zip(size, padding, dilation, strict=True)]
    rest = ((before[0], whole[0] - h - before[0]), (before[1], whole[1] - w - before[1]))
    if (h * d, w * e) != tuple(size):
        padded = np.zeros((n, h * d, w * e, c), x.dtype)
        padded[:, lead[0] : lead[0] + size[0], lead[1] : lead[1] + size[1]] = x
        x = padded
    phases = memory.empty((n, d, e, h, w, c), x.dtype)
    x = np.ascontiguousarray(x).reshape(n, h, d, w, e, c)
    threads.run(_copy_phases, n, x, phases, True, grain=grain_for(h * w * c * d * e))
    return phases.reshape(n * d * e, h, w, c), rest


def _joined(y: Array, dilation: Pair, out: Pair) -> Array:
    """Return the image (N, OH, OW, F) that outputs of `_phases` belong to."""
    (d, e), (count, h, w, f) = dilation, y.shape
    n = count // (d * e)
    image = memory.empty((n, h, d, w, e, f), y.dtype)
    y = y.reshape(n, d, e, h, w, f)
    threads.run(_copy_phases, n, image, y, False, grain=grain_for(h * w * f * d * e))
    image = image.reshape(n, h * d, w * e, f)
    return image if image.shape[1:3] == out else image[:, : out[0], : out[1]].copy()


@compile_kernel
def _copy_phases(image, phases, forth, part, lo, hi):
    """Copy the samples lo..hi of an image (N, H, D, W, E, C) to phases (N, D, E, H, W, C), or back.

    `forth` says which of them is read.
    """
    _, h, d, w, e, c = image.shape
    for n in range(lo, hi):
        for row in range(h):
            for i in range(d):
                for column in range(w):
                    for j in range(e):
                        one, other = image[n, row, i, column, j], phases[n, i, j, row, column]
                        if forth:
                            for k in range(c):
                                other[k] = one[k]
                        else:
                            for k in range(c):
                                one[k] = other[k]


@compile_kernel
def _depthwise_samples(x, weights, y, window, part, lo, hi):
    """Convolve each channel of the samples lo..hi with its own kernel; padding is skipped."""
    (cells, b), (stride, dilation, before) = weights, window
    _, h, w, c = x.shape
    for n in range(lo, hi):
        for row in range(y.shape[1]):
            for column in range(y.shape[2]):
                pixel = y[n, row, column]
                for k in range(c):
                    pixel[k] = b[k]
                for i in range(cells.shape[0]):
                    down = row * stride[0] - before[0] + i * dilation[0]
                    if down < 0 or down >= h:
                        continue
                    for j in range(cells.shape[1]):
                        right = column * stride[1] - before[1] + j * dilation[1]
                        if right < 0 or right >= w:
                            continue
                        cell, weights = x[n, down, right], cells[i, j]
                        for k in range(c):
                            pixel[k] += cell[k] * weights[k]


@compile_kernel
def _add_to(sums, total):
    """Add a total (KH, KW, C) to sums, and begin it again."""
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            for k in range(total.shape[2]):
                sums[i, j, k] += total[i, j, k]
                total[i, j, k] = 0


@compile_kernel
def _depthwise_sums(grad, x, sums, window, part, lo, hi):
    """Sum grad times the input under each cell of the kernel over the samples lo..hi."""
    stride, dilation, before = window
    _, h, w, c = x.shape
    sums[part] = 0
    total, summed = np.zeros(sums.shape[1:], dtype=x.dtype), 0
    for n in range(lo, hi):
        for row in range(grad.shape[1]):
            for column in range(grad.shape[2]):
                pixel = grad[n, row, column]
                for i in range(total.shape[0]):
                    down = row * stride[0] - before[0] + i * dilation[0]
                    if down < 0 or down >= h:
                        continue
                    for j in range(total.shape[1]):
                        right = column * stride[1] - before[1] + j * dilation[1]
                        if right < 0 or right >= w:
                            continue
                        cell, own = x[n, down, right], total[i, j]
                        for k in range(c):
                            own[k] += cell[k] * pixel[k]
            summed += grad.shape[2]
            if summed >= LONGEST_SUM:
                _add_to(sums[part], total)
                summed = 0
    _add_to(sums[part], total)


def _depthwise(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Padding, dilation: Pair
) -> Array:
    """See `tiles._depthwise`."""
    x, cells = channels_last(x), cells_of(w)
    n, f = x.shape[0], len(w)
    out = output_size(x.shape[1:3], w.shape[2:], stride, padding, dilation)
    y = memory.empty((n, *out, f), x.dtype)
    b = np.zeros(f, x.dtype) if b is None else b
    grain = grain_for(w.shape[2] * w.shape[3] * y[:1].size)
    window = (stride, dilation, (padding[0][0], padding[1][0]))
    threads.run(_depthwise_samples, n, x, (cells, b), y, window, grain=grain)
    return channels_first(y)


def _depthwise_weight_grad(
    grad: Array, x: Array, w_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair
) -> Array:
    """See `tiles._depthwise_weight_grad`."""
    grad, x = channels_last(grad), channels_last(x)
    f, _, *kernel = w_shape
    sums = np.empty((threads.NUM_THREADS, *kernel, f))
    grain = grain_for(kernel[0] * kernel[1] * grad[:1].size)
    window = (stride, dilation, (padding[0][0], padding[1][0]))
    parts = threads.run(_depthwise_sums, len(x), grad, x, sums, window, grain=grain)
    dcells = sums[:parts].sum(axis=0).astype(grad.dtype)
    # (KH, KW, F) -> (F, KH, KW) -> (F, 1, KH, KW)
    return np.ascontiguousarray(dcells.transpose(2, 0, 1)).reshape(w_shape)
