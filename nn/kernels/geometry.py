"""Shapes and memory layout: the padding and output size of windows, and channels-last views.

Arrays have the logical layout (N, C, H, W) with any strides. The kernels work on the same memory
as (N, H, W, C): there the C values of a pixel are adjacent, so a matrix product writes its result
in this layout, and a sum over pixels is a sum over rows.

Letters: N samples, C channels, H and W height and width, F filters, G groups, KH and KW the
kernel's, OH and OW the output's height and width, M = N*OH*OW rows.
"""

import functools
from typing import Any

Array = Any  # numpy.ndarray or cupy.ndarray
Axes = tuple[int, ...]
Pair = tuple[int, int]
Padding = tuple[Pair, Pair]  # ((top, bottom), (left, right))

NO_PADDING: Padding = ((0, 0), (0, 0))


def channels_last(x: Array) -> Array:
    """Return (N, C, H, W) as contiguous (N, H, W, C); a view if memory is channels-last."""
    x = x.transpose(0, 2, 3, 1)
    return x if x.flags.c_contiguous else x.copy()


def channels_first(x: Array) -> Array:
    """Return (N, H, W, C) as (N, C, H, W), without a copy."""
    return x.transpose(0, 3, 1, 2)


def to_rows(x: Array) -> Array:
    """Return (N, C, ...) as a contiguous matrix with a row for each position and C columns."""
    x = x.transpose(0, *range(2, x.ndim), 1)  # (N, C, ...) -> (N, ..., C)
    x = x if x.flags.c_contiguous else x.copy()
    return x.reshape(-1, x.shape[-1])  # (N, ..., C) -> (N * ..., C)


def last_axis_rows(x: Array) -> Array:
    """Return (N, T, D) or (T, N, D) as rows (N * T, D), and rows as they are."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def steps_to_row(x: Array) -> Array:
    """Return sequences (N, T, D) as images of one row (N, D, 1, T), without a copy.

    Their memory is channels-last if that of the sequences is contiguous.
    """
    return channels_first(x[:, None])  # (N, T, D) -> (N, 1, T, D) -> (N, D, 1, T)


def row_to_steps(y: Array) -> Array:
    """Return images of one row (N, D, 1, T) as sequences (N, T, D), a view."""
    return y[:, :, 0].transpose(0, 2, 1)  # (N, D, 1, T) -> (N, D, T) -> (N, T, D)


def from_rows(rows: Array, shape: tuple[int, ...]) -> Array:
    """Return the matrix of `to_rows`, or its values in that order, as (N, C, ...), a view."""
    x = rows.reshape(shape[0], *shape[2:], shape[1])  # (N * ..., C) -> (N, ..., C)
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))  # (N, ..., C) -> (N, C, ...)


@functools.cache
def axis_order(axes: Axes, ndim: int) -> tuple[Axes, Axes, Axes]:
    """Return the other axes, `axes` with 1 as the last, and what transposes the array back.

    Examples
    --------
    >>> axis_order((1, 2, 3), 4)
    ((0,), (2, 3, 1), (0, 3, 1, 2))
    """
    rest = tuple(k for k in range(ndim) if k not in axes)
    own = tuple(sorted(axes, key=lambda k: (k == 1, k)))
    order = rest + own
    return rest, own, tuple(order.index(k) for k in range(ndim))


def class_axis(ndim: int) -> int:
    """Return the axis of the classes: the last of sequences (N, T, K), 1 of (N, K, H, W)."""
    return 2 if ndim == 3 else 1


def class_rows(x: Array) -> Array:
    """Return (N, K), (N, T, K) or (N, K, H, W) as a matrix with a row of K classes for each label.

    Examples
    --------
    >>> import numpy as np
    >>> class_rows(np.zeros((2, 5, 3))).shape, class_rows(np.zeros((2, 3, 4, 4))).shape
    ((10, 3), (32, 3))
    """
    return last_axis_rows(x) if x.ndim == 3 else to_rows(x)


def from_class_rows(rows: Array, shape: tuple[int, ...]) -> Array:
    """Return the matrix of `class_rows`, or its values in that order, in the shape given."""
    return rows.reshape(shape) if len(shape) == 3 else from_rows(rows, shape)


def resolve_padding(
    padding: str | Pair, size: Pair, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)
) -> Padding:
    """Return ((top, bottom), (left, right)) for 'valid', 'same' or a pair (height, width).

    'same' gives ceil(size / stride) outputs and puts the odd row and column at the end, as
    TensorFlow does.

    Examples
    --------
    >>> resolve_padding("same", (28, 28), (2, 2), (1, 1))
    ((0, 1), (0, 1))
    """
    if padding == "valid":
        return NO_PADDING
    if padding == "same":
        totals = [
            max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
        ]
        return (totals[0] // 2, totals[0] - totals[0] // 2), (
            totals[1] // 2,
            totals[1] - totals[1] // 2,
        )
    return (int(padding[0]), int(padding[0])), (int(padding[1]), int(padding[1]))


def output_size(
    size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair = (1, 1)
) -> Pair:
    """Return (OH, OW); below 1 if the kernel is larger than the padded input.

    Examples
    --------
    >>> output_size((28, 28), (3, 3), (1, 1), ((0, 0), (0, 0)))
    (26, 26)
    """
    (h, w), ((top, bottom), (left, right)) = size, padding
    return (
        (h + top + bottom - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1,
        (w + left + right - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1,
    )
