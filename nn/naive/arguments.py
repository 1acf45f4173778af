"""The checks of arguments that the functions of `nn.naive` share."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import checks

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]  # ((top, bottom), (left, right))
Cells = Callable[[int, int], Iterator[tuple[int, int, int, int]]]

NO_PADDING: Padding = ((0, 0), (0, 0))


def array_of(owner: str, argument: str, value: Any, wanted: str | tuple[int, ...]) -> np.ndarray:
    """Return `value` as a float64 array after checking its axes, as in '(N, C)', or its shape."""
    array = np.asarray(value)
    if isinstance(wanted, str):
        fits = array.ndim == 1 + wanted.rstrip(",)").count(",") and array.size > 0
    else:
        fits, wanted = array.shape == wanted, f"of shape {wanted}"
    if array.dtype.kind not in "fiub" or not fits:
        rule = f"must be an array of numbers {wanted}"
        raise checks.error(owner, argument, rule, f"{array.dtype} of shape {array.shape}")
    return array.astype(np.float64)


def biases_of(owner: str, b: Any, count: int) -> np.ndarray:
    """Return biases (count,) after checking them; zeros for None."""
    return np.zeros(count) if b is None else array_of(owner, "b", b, (count,))


def windows(
    owner: str,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Any,
    padding: Any,
    dilation: Any = (1, 1),
) -> tuple[Pair, Cells]:
    """Return (OH, OW) and a function `cells(oh, ow)` that yields the cells of one window.

    A cell is (i, j, row, column): its position in the kernel, and the pixel that lies under it.
    Those over the padding are left out.
    """
    stride = checks.pair(owner, "stride", stride)
    dilation = checks.pair(owner, "dilation", dilation)
    (top, bottom), (left, right) = padding_of(owner, padding)
    padded = size[0] + top + bottom, size[1] + left + right
    out_height, out_width = (
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(padded, kernel, stride, dilation, strict=True)
    )
    if min(out_height, out_width) < 1:
        rule = f"must leave room for a kernel of {tuple(kernel)} on an image of {tuple(size)}"
        raise checks.error(owner, "padding", rule, padding)

    def cells(oh: int, ow: int) -> Iterator[tuple[int, int, int, int]]:
        for i, j in np.ndindex(*kernel):
            row = oh * stride[0] + i * dilation[0] - top
            column = ow * stride[1] + j * dilation[1] - left
            if 0 <= row < size[0] and 0 <= column < size[1]:
                yield i, j, row, column

    return (out_height, out_width), cells


def padding_of(owner: str, padding: Any) -> Padding:
    """Return ((top, bottom), (left, right)), each of them at least 0."""
    sides = padding if isinstance(padding, tuple | list) else ()
    if len(sides) != 2 or any(not isinstance(side, tuple | list) for side in sides):
        raise checks.error(owner, "padding", "must be ((top, bottom), (left, right))", padding)
    top_bottom, left_right = (checks.pair(owner, "padding", side, minimum=0) for side in sides)
    return top_bottom, left_right


def image_shape(owner: str, x_shape: Any) -> tuple[int, int, int, int]:
    """Return `x_shape` after checking that it is four sizes (N, C, H, W)."""
    sizes = tuple(x_shape) if isinstance(x_shape, tuple | list) else ()
    if len(sizes) != 4 or any(not checks.is_integer(size) or size < 1 for size in sizes):
        raise checks.error(owner, "x_shape", "must be four positive sizes (N, C, H, W)", x_shape)
    samples, channels, height, width = (int(size) for size in sizes)
    return samples, channels, height, width


def group_count(owner: str, groups: Any, channels: int, w_shape: tuple[int, ...]) -> int:
    """Return the number of groups after checking that it divides channels and filters."""
    groups = checks.positive_int(owner, "groups", groups)
    if w_shape[0] % groups or channels != groups * w_shape[1]:
        rule = f"must divide {channels} channels and {w_shape[0]} filters for kernels {w_shape}"
        raise checks.error(owner, "groups", rule, groups)
    return groups
