"""Progressive resizing: smaller images in the first epochs."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ... import checks
from .base import Augmentation


class ProgressiveResize(Augmentation):
    """Shrink the images to a size of their own in each epoch.

    Small images in the first epochs make a training shorter: the work of a convolution is
    proportional to the pixels. The network must take images of any size, `input_shape=(3, None,
    None)`, which those whose last part is a global pooling do. Each pixel of the new image is the
    mean of the area that it covers in the old one.

    Howard et al. 2018, https://www.fast.ai/posts/2018-08-10-fastai-diu-imagenet.html; Tan and Le
    2021, "EfficientNetV2: Smaller models and faster training", arXiv 2104.00298, section 4.

    Parameters
    ----------
    sizes
        Height and width for each epoch, numbers or pairs, in pixels; the last is that of all
        later epochs.
    epoch
        The epoch; `fit` sets it by `for_epoch`.

    Raises
    ------
    ValueError
        If `sizes` is empty or holds anything else; at the call, if one is larger than the images.

    Examples
    --------
    >>> x, rng = np.array([[[[1.0, 2.0, 3.0, 4.0]]]]), np.random.default_rng(0)
    >>> resize = ProgressiveResize([(1, 2), (1, 4)])
    >>> [resize.for_epoch(epoch)(x, rng).ravel().tolist() for epoch in range(3)]
    [[1.5, 3.5], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]]
    """

    moves_pixels = True

    def __init__(self, sizes: Iterable[Any], epoch: int = 0) -> None:
        if not isinstance(sizes, Iterable) or isinstance(sizes, str):
            rule = "must be a list with a size for each epoch"
            raise checks.error("ProgressiveResize", "sizes", rule, sizes)
        self.sizes = [checks.pair("ProgressiveResize", "sizes", size) for size in sizes]
        if not self.sizes:
            raise checks.error("ProgressiveResize", "sizes", "must not be empty", self.sizes)
        self.epoch = checks.non_negative_int("ProgressiveResize", "epoch", epoch)

    def for_epoch(self, epoch: int) -> "ProgressiveResize":
        """Return the resizing of an epoch."""
        return ProgressiveResize(self.sizes, epoch)

    def change(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the images, (N, C, *size)."""
        height, width = size = self.sizes[min(self.epoch, len(self.sizes) - 1)]
        if height > x.shape[2] or width > x.shape[3]:
            rule = f"must not be larger than the images, {x.shape[2:]}"
            raise checks.error("ProgressiveResize", "sizes", rule, size)
        if size == x.shape[2:]:
            return x.copy()
        rows, columns = (
            area_weights(old, new, x.dtype) for old, new in zip(x.shape[2:], size, strict=True)
        )
        narrow = np.tensordot(x, columns, (3, 1))  # (N, C, H, new W)
        return np.ascontiguousarray(np.tensordot(narrow, rows, (2, 1)).swapaxes(2, 3))


def area_weights(old: int, new: int, dtype: Any) -> np.ndarray:
    """Return the share that each of `old` pixels has in the mean of each of `new`, (new, old).

    Examples
    --------
    >>> area_weights(3, 2, float).round(2)
    array([[0.67, 0.33, 0.  ],
           [0.  , 0.33, 0.67]])
    """
    step = old / new
    first = np.arange(new)[:, np.newaxis] * step
    pixel = np.arange(old)
    covered = np.minimum(first + step, pixel + 1) - np.maximum(first, pixel)
    return (np.maximum(covered, 0) / step).astype(dtype)
