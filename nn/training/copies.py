"""Test-time augmentation: the mean of the outputs for mirrored and shifted copies of images."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import checks, cuda

Array = Any  # numpy.ndarray or cupy.ndarray


class Copies:
    """The copies of an image whose outputs are averaged; see `Model.predict`.

    Parameters
    ----------
    augment
        'flip' for a mirrored copy of each, None for none.
    shifts
        Pixels by which two copies are shifted, along both axes: up and to the left, and down and
        to the right. 0 for none.
    shape
        Shape of the model's inputs.
    output_shape
        Shape of the model's outputs.

    Raises
    ------
    ValueError
        If there are to be copies of what is not an image, or of outputs that move with the image;
        or if a shift is not smaller than the image.
    """

    def __init__(self, augment: str | None, shifts: int, shape: Any, output_shape: Any) -> None:
        if augment not in (None, "flip"):
            raise checks.error("Model", "augment", "must be 'flip' or None", augment)
        self.is_flipped = augment is not None
        self.shifts = checks.non_negative_int("Model", "shifts", shifts)
        if not self.is_flipped and not self.shifts:
            return
        argument, value = ("augment", augment) if self.is_flipped else ("shifts", shifts)
        if shape is not None and len(shape) != 4:
            rule = f"needs images (N, C, H, W), but the model's inputs are {tuple(shape)}"
            raise checks.error("Model", argument, rule, value)
        if output_shape is not None and len(output_shape) != 2:
            rule = f"needs outputs (N, K) to average, but the model's are {tuple(output_shape)}"
            raise checks.error("Model", argument, rule, value)

    def mean(self, infer: Callable[[Array], Array], x: Array) -> Array:
        """Return the mean of the outputs for the copies of a batch."""
        y = self._mirrored(infer, x)
        if not self.shifts:
            return y
        for step in (-self.shifts, self.shifts):  # the two together count as much as the image
            y = y + self._mirrored(infer, shifted(x, step)) / 2
        return y / 2

    def _mirrored(self, infer: Callable[[Array], Array], x: Array) -> Array:
        y = infer(x)
        return (y + infer(x[:, :, :, ::-1].copy(order="K"))) / 2 if self.is_flipped else y


def shifted(x: Array, step: int) -> Array:
    """Return images (N, C, H, W) moved up and to the left by `step` pixels, mirrored at the edge.

    Examples
    --------
    >>> shifted(np.arange(9.0).reshape(1, 1, 3, 3), 1)[0, 0]
    array([[4., 5., 4.],
           [7., 8., 7.],
           [4., 5., 4.]])
    """
    rows, cols = (_reflected(size, step) for size in x.shape[2:])
    xp = cuda.get_array_module(x)
    return x[:, :, xp.asarray(rows)[:, np.newaxis], xp.asarray(cols)]


def _reflected(size: int, step: int) -> np.ndarray:
    """Return the indices `step` further on, those beyond an edge mirrored at it."""
    if abs(step) >= size:
        rule = f"must be smaller than the images, here of {size} pixels"
        raise checks.error("Model", "shifts", rule, abs(step))
    last = size - 1
    return last - np.abs(last - np.abs(np.arange(size) + step))
