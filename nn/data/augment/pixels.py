"""Augmentations of pixel values: brightness, contrast, saturation, holes and mixtures.

Brightness, contrast and saturation are one formula: an image is mixed with another one, black,
evenly grey or without colours, in the shares `factor` and `1 - factor`. A factor above 1 leads
away from that other image; what leaves `value_range` is cut off.
"""

from typing import Any

import numpy as np

from ... import checks
from ...kernels import memory
from .base import Augmentation, as_fill, as_range, check_floats, check_rng, copied, draw

_LUMA = (0.299, 0.587, 0.114)  # perceived brightness of red, green and blue (ITU-R BT.601)


class _Mixture(Augmentation):
    """Base of the augmentations that mix each image with another one."""

    def __init__(self, factor: Any, value_range: Any = (0.0, 1.0)) -> None:
        owner = type(self).__name__
        self.factor = as_range(owner, "factor", factor, centre=1, minimum=0)
        self.value_range = _as_value_range(owner, value_range)

    def other(self, x: np.ndarray) -> Any:
        """Return the images that are mixed with x, in shapes that broadcast to it."""
        raise NotImplementedError

    def change(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return `factor * x + (1 - factor) * other`, clipped to `value_range`.

        Raises
        ------
        ValueError
            If x leaves the range by more than rounding, as clipping would destroy it.
        """
        low, high = self.value_range
        rounding = 1e-3 * (high - low)
        smallest, largest = float(x.min(initial=low)), float(x.max(initial=high))
        if smallest < low - rounding or largest > high + rounding:
            name = type(self).__name__
            raise ValueError(
                f"[{name}] expects images with values in [{low:g}, {high:g}], got values from "
                f"{float(x.min()):g} to {float(x.max()):g}: scale the images, or pass "
                f"{name}(..., value_range=(low, high))."
            )
        other, factor = self.other(x), draw(rng, self.factor, x)
        out = np.multiply(x, factor, out=memory.empty_like(x))
        out += (1 - factor) * other
        return np.clip(out, low, high, out=out)


class RandomBrightness(_Mixture):
    """Multiply each image by a random factor and clip it to its range.

    As in torchvision's ColorJitter; black, the lowest value, stays black.

    Parameters
    ----------
    factor
        A number b for factors from max(0, 1 - b) to 1 + b, or a pair (low, high), from 0 on.
    value_range
        Lowest and highest value of the images, black and white.

    Raises
    ------
    ValueError
        At the call, for images with values outside `value_range`.

    Examples
    --------
    >>> RandomBrightness((2, 2))(np.array([[[[0.0, 0.25, 0.75]]]]), np.random.default_rng(0))
    array([[[[0. , 0.5, 1. ]]]])
    """

    def other(self, x: np.ndarray) -> Any:
        """Return black."""
        return x.dtype.type(self.value_range[0])


class RandomContrast(_Mixture):
    """Move the pixels of each image away from their mean or toward it, and clip them.

    Every channel has its own mean, as in Keras' RandomContrast:
    `factor * x + (1 - factor) * mean`.

    Parameters
    ----------
    factor
        A number b for factors from max(0, 1 - b) to 1 + b, or a pair (low, high), from 0 on; 0
        leaves the mean alone.
    value_range
        Lowest and highest value of the images.

    Raises
    ------
    ValueError
        At the call, for images with values outside `value_range`.

    Examples
    --------
    >>> RandomContrast((0.5, 0.5))(np.array([[[[0.0, 0.4, 0.8]]]]), np.random.default_rng(0))
    array([[[[0.2, 0.4, 0.6]]]])
    """

    def other(self, x: np.ndarray) -> Any:
        """Return the mean of each channel, (N, C, 1, 1)."""
        return x.mean(axis=(2, 3), keepdims=True)


class RandomSaturation(_Mixture):
    """Make the colours of each image stronger or weaker, and clip them.

    `factor * x + (1 - factor) * grey` with grey = 0.299 red + 0.587 green + 0.114 blue.

    Parameters
    ----------
    factor
        A number b for factors from max(0, 1 - b) to 1 + b, or a pair (low, high), from 0 on; 0
        leaves grey images.
    value_range
        Lowest and highest value of the images.

    Raises
    ------
    ValueError
        At the call, for images that do not have three channels, or with values outside
        `value_range`.

    Examples
    --------
    >>> red = np.array([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    >>> RandomSaturation((0, 0))(red, np.random.default_rng(0)).ravel()
    array([0.299, 0.299, 0.299])
    """

    def other(self, x: np.ndarray) -> Any:
        """Return the images in grey, (N, 1, H, W)."""
        if x.shape[1] != 3:
            raise ValueError(
                f"[RandomSaturation] expects 3 channels (red, green, blue), got {x.shape[1]}: "
                "leave it out for other images."
            )
        red, green, blue = (x[:, k : k + 1] for k in range(3))  # (N, 1, H, W) each
        grey = _LUMA[0] * red
        grey += _LUMA[1] * green
        grey += _LUMA[2] * blue
        return grey


class Cutout(Augmentation):
    """Set a rectangle of each image to a constant, so that no single part is decisive.

    The centre is drawn uniformly from all pixels, and the part outside the image is ignored:
    near a border the hole is smaller.

    Parameters
    ----------
    size
        Height and width of the hole, a number or a pair, in pixels; 16 for CIFAR-10.
    fill
        Value in the hole, in the range of the images.

    Raises
    ------
    ValueError
        If an argument is wrong; at the call, if the hole is larger than the images.

    References
    ----------
    DeVries, Taylor, "Improved regularization of convolutional neural networks with Cutout",
    arXiv 1708.04552, section 3.2

    Examples
    --------
    >>> Cutout(2)(np.ones((1, 1, 3, 4)), np.random.default_rng(0))
    array([[[[1., 1., 1., 1.],
             [1., 0., 0., 1.],
             [1., 0., 0., 1.]]]])
    """

    def __init__(self, size: Any, fill: float = 0.0) -> None:
        self.size = checks.pair("Cutout", "size", size)
        self.fill = as_fill("Cutout", fill)

    def change(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the images with holes."""
        (n, _, rows, cols), (height, width) = x.shape, self.size
        if height > rows or width > cols:
            rule = f"must not be larger than the images {(rows, cols)}"
            raise checks.error("Cutout", "size", rule, self.size)
        tops = rng.integers(0, rows, n) - height // 2
        lefts = rng.integers(0, cols, n) - width // 2
        ends = np.stack([tops + height, lefts + width], axis=1)
        starts = np.stack([tops, lefts], axis=1).clip(0)
        out = copied(x)
        for image, (top, left), (bottom, right) in zip(out, starts, ends, strict=True):
            image[:, top:bottom, left:right] = self.fill
        return out


class Mixup(Augmentation):
    """Mix each sample with another one of its batch, and its label with that one's.

        x = share * x_i + (1 - share) * x_j
        y = share * y_i + (1 - share) * y_j

    The share is drawn for each sample from Beta(alpha, alpha), the partners are a random order of
    the batch. It is called as `augment(x, y, rng)` and returns both; `x` may be samples of any
    shape. Integer labels become rows of `num_classes` shares that sum to 1, which categorical
    cross-entropy takes as they are.

    Parameters
    ----------
    alpha
        Positive: small for samples that are almost left alone, 1 for shares drawn evenly. The
        paper takes 0.1 to 0.4 for ImageNet and 1 for CIFAR-10.
    num_classes
        Needed for integer labels (n,). Rows (n, classes) and numbers are mixed as they are.

    References
    ----------
    Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond empirical risk minimization", arXiv
    1710.09412, section 2

    Examples
    --------
    >>> x, y = np.eye(2), np.array([0, 1])
    >>> mixed, rows = Mixup(alpha=1.0, num_classes=2)(x, y, np.random.default_rng(3))
    >>> np.array_equal(mixed, rows), rows.sum(axis=1)
    (True, array([1., 1.]))
    """

    mixes_labels = True

    def __init__(self, alpha: float = 0.2, num_classes: int | None = None) -> None:
        self.alpha = checks.positive("Mixup", "alpha", alpha)
        self.num_classes = (
            None
            if num_classes is None
            else checks.positive_int("Mixup", "num_classes", num_classes)
        )

    def __call__(  # type: ignore[override]
        self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return new samples and new labels.

        Parameters
        ----------
        x
            Samples (n, ...), floats. They are not changed.
        y
            Integer labels (n,), or targets (n, ...), of which rows may be one-hot.
        rng
            The random generator.

        Returns
        -------
        x, y
            Of x's dtype both.

        Raises
        ------
        ValueError
            For labels that are missing, do not fit, or lie outside 0..num_classes-1.
        """
        check_floats("Mixup", x)
        check_rng("Mixup", rng)
        targets = self._as_floats(y, len(x), x.dtype)
        share = rng.beta(self.alpha, self.alpha, len(x)).astype(x.dtype)
        partner = rng.permutation(len(x))
        return _mixed_rows(x, partner, share), _mixed_rows(targets, partner, share)

    def _as_floats(self, y: Any, count: int, dtype: np.dtype) -> np.ndarray:
        """Return targets that can be mixed: integer labels as one-hot rows, others as floats."""
        if y is None:
            raise ValueError("[Mixup] needs labels to mix, got None.")
        y = np.asarray(y)
        if y.ndim == 0 or len(y) != count:
            raise checks.error(
                "Mixup", "y", f"must have a row for each of {count} samples", y.shape
            )
        if y.ndim == 2 and self.num_classes not in (None, y.shape[1]):
            rule = f"must be the {y.shape[1]} columns of the labels"
            raise checks.error("Mixup", "num_classes", rule, self.num_classes)
        if y.ndim > 1 or y.dtype.kind not in "iub":
            return y.astype(dtype)
        if self.num_classes is None:
            raise ValueError(
                "[Mixup] 'num_classes' must be given for integer labels, got None: they become "
                "rows (n, num_classes). Targets of a single output must be floats to be mixed."
            )
        wrong = (y < 0) | (y >= self.num_classes)
        if wrong.any():
            rule = f"must be in 0..{self.num_classes - 1}"
            raise checks.error("Mixup", "y", rule, y[wrong][0].item())
        return np.eye(self.num_classes, dtype=dtype)[y.astype(np.intp)]


def _mixed_rows(rows: np.ndarray, partner: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return `share * rows + (1 - share) * rows[partner]`, a share for each row."""
    share = share.reshape(-1, *[1] * (rows.ndim - 1))  # (n,) -> (n, 1, ...)
    others = rows[partner]
    mixed = np.subtract(rows, others, out=memory.empty_like(rows))
    mixed *= share
    mixed += others
    return mixed


def _as_value_range(owner: str, value: Any) -> tuple[float, float]:
    """Return the lowest and the highest value of images, which must differ."""
    rule = "must be a pair (low, high) of numbers, low < high"
    if checks.is_number(value):
        raise checks.error(owner, "value_range", rule, value)
    low, high = as_range(owner, "value_range", value, centre=0)
    if low == high:
        raise checks.error(owner, "value_range", rule, value)
    return low, high
