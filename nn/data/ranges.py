"""The range of inputs: what a model was trained on, and a warning about inputs of another range."""

from typing import Any

from .. import kernels
from ..validation import is_byte_image
from .rows import mapped_file, release_pages

Range = tuple[float, float]

_MAPPED_ROWS = 256  # of a file, spread over all its rows
_FACTOR_OF_BYTES = 128  # a range as wide as this is that of bytes, or wider


def range_of(x: Any) -> Range | None:
    """Return the lowest and the highest number of inputs as a model gets them.

    Images of bytes count as scaled to [0, 1]. Of a memory-mapped array some rows are read.

    Examples
    --------
    >>> import numpy as np
    >>> range_of(np.full((1, 1, 2, 2), 255, np.uint8)), range_of(np.array([[-3, 7]]))
    ((1.0, 1.0), (-3.0, 7.0))
    """
    file = mapped_file(x)
    if file is not None:
        x = x[:: max(1, len(x) // _MAPPED_ROWS)][:_MAPPED_ROWS]
    if 0 in x.shape:
        return None
    scale = 255 if is_byte_image(x) else 1
    lowest, highest = kernels.value_range(x)
    found = float(lowest) / scale, float(highest) / scale
    if file is not None:
        release_pages(file)
    return found


def union(one: Range | None, other: Range | None) -> Range | None:
    """Return the range that holds both; None holds nothing.

    Examples
    --------
    >>> union((0.0, 1.0), (-1.0, 0.5)), union(None, (0.0, 1.0))
    ((-1.0, 1.0), (0.0, 1.0))
    """
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


def doubt_about_range(found: Range | None, trained: Range | None, are_images: bool) -> str | None:
    """Return a warning about inputs that are not scaled as those of the training, or None.

    Images may leave the range of the training by its width, tables by four times its width.
    Inputs within [0, 1] are not scaled as those of the training if that was as wide as bytes are.

    Examples
    --------
    >>> print(doubt_about_range((0.0, 255.0), (0.0, 1.0), are_images=True))
    [Model] 'x' should be scaled as the inputs of the training, which were from 0 to 1, got inputs \
from 0 to 255: divide, or convert them, as those were.
    >>> doubt_about_range((-0.2, 1.1), (0.0, 1.0), are_images=True) is None
    True
    """
    if found is None or trained is None:
        return None
    (low, high), (lowest, highest) = trained, found
    margin = (high - low or max(abs(high), 1.0)) * (1.0 if are_images else 4.0)
    is_outside = lowest < low - margin or highest > high + margin
    is_fraction = lowest >= 0 and 0 < highest <= 1 and (are_images or highest < 1)
    if not is_outside and not (is_fraction and high - low >= _FACTOR_OF_BYTES):
        return None
    return (
        f"[Model] 'x' should be scaled as the inputs of the training, which were from {low:g} to "
        f"{high:g}, got inputs from {lowest:g} to {highest:g}: divide, or convert them, as those "
        "were."
    )
