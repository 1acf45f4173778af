"""The base class of augmentations, a composition of several, and datasets enlarged by them.

`Augmentation` checks the batch, so the classes in `geometry` and `pixels` have only arithmetic.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ... import checks, random
from ...kernels import memory
from ...validation import is_byte_image
from ..batching import Augment, augmented, of_epoch
from ..dataset import Dataset

_ROWS_AT_ONCE = 256  # samples that `expand` augments at a time


class Augmentation:
    """Base of the augmentations: `augment(x, rng)` checks the batch and calls `change`.

    A subclass stores its arguments as attributes, which `repr` shows, and defines
    `change(x, rng)`, which returns new images and does not change `x`.

    Attributes
    ----------
    mixes_labels : bool
        Whether it is called as `augment(x, y, rng)` and returns new labels as well.
    moves_pixels : bool
        Whether pixels change their places. Images whose pixels have a target each are refused then,
        as the targets would stay.

    Examples
    --------
    >>> class Negative(Augmentation):
    ...     def change(self, x, rng):
    ...         return 1 - x
    >>> Negative()(np.zeros((1, 1, 1, 2)), np.random.default_rng(0))
    array([[[[1., 1.]]]])
    """

    mixes_labels = False
    moves_pixels = False

    def for_epoch(self, epoch: int) -> "Augmentation":
        """Return the augmentation of an epoch, counted from 0; most are the same in all.

        `Model.fit` calls it at the beginning of each epoch, and passes its batches to the result.
        """
        return self

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the batch with every image changed at random.

        Parameters
        ----------
        x
            Images (N, C, H, W), floats in [0, 1], of any strides. They are not changed.
        rng
            The random generator.

        Returns
        -------
        x
            A new array of the same dtype.

        Raises
        ------
        ValueError
            If the shape is another, `x` has integers, or `rng` is not a generator.
        """
        owner = type(self).__name__
        check_floats(owner, x)
        if x.ndim != 4:
            hint = ": give a single image as x[np.newaxis]." if x.ndim == 3 else "."
            raise ValueError(f"[{owner}] expects images (N, C, H, W), got shape {x.shape}{hint}")
        check_rng(owner, rng)
        if getattr(self, "fill", 0.0):  # that of a subclass
            _check_fill(owner, self.fill, x)  # type: ignore[attr-defined]
        return self.change(x, rng)

    def change(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return new images for checked ones."""
        raise NotImplementedError(f"[{type(self).__name__}] must define change(x, rng).")

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"


class Compose(Augmentation):
    """Apply several augmentations, one after the other.

    Parameters
    ----------
    transforms
        Augmentations, or functions `(x, rng) -> x`, in the order in which they are applied.

    Raises
    ------
    ValueError
        If one of them is neither.

    Examples
    --------
    >>> twice = Compose([lambda x, rng: 2 * x, lambda x, rng: x + 1])
    >>> twice(np.array([1.0, 2.0]), np.random.default_rng(0))
    array([3., 5.])
    """

    def __init__(self, transforms: Iterable[Augment]) -> None:
        if not isinstance(transforms, Iterable):
            raise checks.error("Compose", "transforms", "must be a list", transforms)
        self.transforms = list(transforms)
        for transform in self.transforms:
            if not callable(transform) or isinstance(transform, type):
                rule = "must hold functions or objects such as RandomFlip()"
                raise checks.error("Compose", "transforms", rule, transform)

    @property
    def mixes_labels(self) -> bool:  # type: ignore[override]
        """Whether one of them mixes labels, so that all are called with them."""
        return any(getattr(transform, "mixes_labels", False) for transform in self.transforms)

    @property
    def moves_pixels(self) -> bool:  # type: ignore[override]
        """Whether one of them moves pixels."""
        return any(getattr(transform, "moves_pixels", False) for transform in self.transforms)

    def for_epoch(self, epoch: int) -> "Compose":
        """Return the composition of the augmentations of an epoch."""
        return Compose(of_epoch(transform, epoch) for transform in self.transforms)

    def __call__(self, x: Any, *y_and_rng: Any) -> Any:
        """Return x after all of them; if labels are mixed, called as `(x, y, rng)`, x and y."""
        form = "(x, y, rng)" if self.mixes_labels else "(x, rng)"
        if len(y_and_rng) != 1 + self.mixes_labels:
            raise TypeError(
                f"[Compose] must be called as augment{form}, got {1 + len(y_and_rng)} arguments."
            )
        *labels, rng = y_and_rng
        y = labels[0] if labels else None
        for transform in self.transforms:
            x, y = augmented(transform, x, y, rng)
        return (x, y) if labels else x


def expand(dataset: Dataset, augment: Augment, factor: int, seed: int | None = None) -> Dataset:
    """Return a larger dataset: all samples unchanged, followed by augmented copies of them.

    For training a network, `fit(augment=...)` is better: it takes no memory, and every epoch has
    other images. A larger set is for methods that need all samples at once, and for small sets.

    Parameters
    ----------
    dataset
        Images (n, C, H, W).
    augment
        An augmentation that keeps the shape of the images and does not mix labels.
    factor
        How many times as large the new set is; `factor - 1` augmented copies are added.
    seed
        Seed of the random numbers; None takes the next one of `nn.seed`.

    Returns
    -------
    Dataset
        `factor * n` samples, `factor` blocks in the order of `dataset`, with targets, weights
        and names. Images in bytes stay bytes, rounded.

    Raises
    ------
    ValueError
        If an argument is wrong, or the augmentation changes shapes or labels.

    Examples
    --------
    >>> from nn.data.augment import RandomFlip
    >>> digits = Dataset(np.zeros((10, 1, 28, 28), dtype=np.uint8), np.arange(10))
    >>> expand(digits, RandomFlip(), 3, seed=0)
    Dataset(30 samples of shape (1, 28, 28) and dtype uint8, 10 classes)
    """
    if not isinstance(dataset, Dataset):
        raise checks.error("expand", "dataset", "must be a Dataset", type(dataset))
    factor = checks.positive_int("expand", "factor", factor)
    if not callable(augment) or getattr(augment, "mixes_labels", False):
        raise checks.error("expand", "augment", "must be a function that keeps the labels", augment)
    rng, stored, are_bytes = (
        random.new_generator(seed, "expand"),
        dataset.x.dtype,
        is_byte_image(dataset.x),
    )
    dtype = stored if stored.kind == "f" else np.dtype(np.float32)
    x = np.empty((factor * len(dataset), *dataset.x.shape[1:]), stored if are_bytes else dtype)
    x[: len(dataset)] = dataset.x
    start = len(dataset)
    for _ in range(1, factor):
        batches = dataset.batches(_ROWS_AT_ONCE, False, rng=rng, augment=augment, dtype=dtype)
        for images, *_ in batches:
            if images.shape[1:] != x.shape[1:]:
                rule = f"must keep the shape {x.shape[1:]}"
                raise checks.error("expand", "augment", rule, images.shape[1:])
            rows = np.rint(images.clip(0, 1) * 255) if are_bytes else images
            x[start : start + len(images)] = rows
            start += len(images)
    return Dataset(
        x,
        _repeated(dataset.y, factor),
        _repeated(dataset.sample_weight, factor),
        dataset.class_names,
    )


def _repeated(rows: np.ndarray | None, factor: int) -> np.ndarray | None:
    return None if rows is None else np.concatenate([rows] * factor)


# ---------------------------------------------------------------------------------- checks


def check_floats(owner: str, x: Any) -> None:
    """Raise unless `x` is an array of floats with samples along its first axis."""
    if not isinstance(x, np.ndarray) or x.ndim == 0:
        raise checks.error(owner, "x", "must be a NumPy array with a batch axis", type(x))
    if x.dtype.kind != "f":
        raise ValueError(
            f"[{owner}] expects floats in [0, 1], got dtype {x.dtype}: divide uint8 "
            "images by 255, as Dataset.batches does."
        )


def check_rng(owner: str, rng: Any) -> None:
    """Raise unless `rng` is a generator."""
    if not isinstance(rng, np.random.Generator):
        raise checks.error(owner, "rng", "must be a numpy.random.Generator", rng)


def as_fill(owner: str, value: Any) -> float:
    """Return the value of pixels that come from nowhere; the first batch shows whether it fits."""
    if not checks.is_number(value) or not np.isfinite(value):
        raise checks.error(owner, "fill", "must be a number", value)
    return float(value)


def _check_fill(owner: str, fill: float, x: np.ndarray) -> None:
    """Raise if a value is far from those of images: outside [0, 1] if they are in [0, 1]."""
    low, high = float(x.min(initial=0)), float(x.max(initial=1))
    slack = 0.0 if (low, high) == (0, 1) else high - low
    if not low - slack <= fill <= high + slack:
        rule = f"must be in the range of the images, {low:g} to {high:g}"
        raise checks.error(owner, "fill", rule, fill)


def as_range(
    owner: str, argument: str, value: Any, centre: float, minimum: float = -np.inf
) -> tuple[float, float]:
    """Return the range to draw from: a pair (low, high), or `centre` minus and plus a number.

    Examples
    --------
    >>> as_range("RandomBrightness", "factor", 0.25, centre=1, minimum=0)
    (0.75, 1.25)
    >>> as_range("RandomRotation", "degrees", (0, 90), centre=0)
    (0.0, 90.0)
    """
    if checks.is_number(value):
        spread = checks.non_negative(owner, argument, value)
        return float(max(centre - spread, minimum)), centre + spread
    rule = "must be a number of at least 0 or a pair (low, high) of numbers, low <= high"
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise checks.error(owner, argument, rule, value)
    if not all(checks.is_number(end) and np.isfinite(end) for end in value):
        raise checks.error(owner, argument, rule, value)
    low, high = float(value[0]), float(value[1])
    if not low <= high:
        raise checks.error(owner, argument, rule, value)
    if low < minimum:
        raise checks.error(owner, argument, f"must not go below {minimum}", value)
    return low, high


def draw(rng: np.random.Generator, bounds: tuple[float, float], x: np.ndarray) -> np.ndarray:
    """Return a number from a range for each image, (N, 1, 1, 1) in the dtype of x."""
    values = rng.uniform(*bounds, size=len(x)).astype(x.dtype)
    return values.reshape(-1, 1, 1, 1)  # (N,) -> (N, 1, 1, 1)


def copied(x: np.ndarray) -> np.ndarray:
    """Return a copy of x in the same memory layout."""
    out = memory.empty_like(x)
    out[...] = x
    return out
