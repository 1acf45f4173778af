"""Augmentations that move pixels: crops, rotations, affine maps and elastic distortions.

A crop copies pixels. The others compute, for each pixel of the new image, the position in the old
one that it comes from; a position is between pixels, and its value is interpolated from the four
around it. All images of a batch are processed at once: the positions are two arrays (N, H, W), rows
and columns, from which `sample_bilinear` interpolates.

Rows are counted downward and columns to the right, from 0; angles are in degrees, and positive
ones rotate counter-clockwise, as in `numpy.rot90`.
"""

import math
from typing import Any

import numpy as np

from ... import checks
from ...kernels import memory
from .base import Augmentation, as_fill, as_range

_PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


class RandomCrop(Augmentation):
    """Crop each image at a random position, after padding it.

    `RandomCrop(32, padding=4)` shifts images of 32 x 32 by up to 4 pixels: the usual
    augmentation of CIFAR-10 (He et al. 2016, "Deep residual learning for image recognition",
    arXiv 1512.03385, section 4.2).

    Parameters
    ----------
    size
        Height and width of the piece, a number or a pair, in pixels.
    padding
        Pixels added at top and bottom, and at left and right; a number or a pair.
    padding_mode
        'constant' pads with `fill`, 'edge' repeats the outermost pixels, 'reflect' mirrors the
        image without them and 'symmetric' with them.
    fill
        Value of the padding, in the range of the images.

    Raises
    ------
    ValueError
        If an argument is wrong; at the call, if the crop is larger than the padded image.

    Examples
    --------
    >>> x = np.arange(4.0).reshape(1, 1, 1, 4)
    >>> RandomCrop((1, 3))(x, np.random.default_rng(0))
    array([[[[1., 2., 3.]]]])
    """

    moves_pixels = True

    def __init__(
        self, size: Any, padding: Any = 0, padding_mode: str = "constant", fill: float = 0.0
    ) -> None:
        self.size = checks.pair("RandomCrop", "size", size)
        self.padding = checks.pair("RandomCrop", "padding", padding, minimum=0)
        if padding_mode not in _PADDING_MODES:
            raise checks.unknown("RandomCrop", "padding_mode", padding_mode, _PADDING_MODES)
        self.padding_mode = padding_mode
        self.fill = as_fill("RandomCrop", fill)

    def change(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the crops, (N, C, *size)."""
        (height, width), (vertical, horizontal) = self.size, self.padding
        room = x.shape[2] + 2 * vertical - height, x.shape[3] + 2 * horizontal - width
        if min(room) < 0:
            padded = room[0] + height, room[1] + width
            rule = f"must not be larger than the images, with padding {padded}"
            raise checks.error("RandomCrop", "size", rule, self.size)
        tops = rng.integers(0, room[0] + 1, len(x)).tolist()
        lefts = rng.integers(0, room[1] + 1, len(x)).tolist()
        if any(self.padding):
            x = self._padded(x)
        out = memory.empty((*x.shape[:2], height, width), x.dtype)
        for piece, image, top, left in zip(out, x, tops, lefts, strict=True):
            piece[...] = image[:, top : top + height, left : left + width]
        return out

    def _padded(self, x: np.ndarray) -> np.ndarray:
        if self.padding_mode == "constant":
            return framed(x, *self.padding, self.fill)
        vertical, horizontal = self.padding
        edges = ((0, 0), (0, 0), (vertical, vertical), (horizontal, horizontal))
        return np.pad(x, edges, self.padding_mode)  # type: ignore[call-overload]


# ------------------------------------------------------------------------ between the pixels


class RandomAffine(Augmentation):
    """Rotate, shift, scale and shear images about their centre, each by a random amount.

    A point p of the image moves to `centre + shift + A (p - centre)`, where A is first the
    shear, then the scale and then the rotation.

    Parameters
    ----------
    degrees
        Angle of the rotation: a number for -degrees to degrees, or a pair (low, high).
    translate
        Largest shift, as a share of the height and of the width, in [0, 1).
    scale
        A number below 1 for 1 - scale to 1 + scale, or a pair (low, high) above 0; 2 doubles
        the size of what is seen.
    shear
        Angle by which upright lines lean, positive ones to the left at the top: a number or a
        pair, within -90 to 90 degrees.
    fill
        Value of what comes from outside the image, in the range of the images.

    Examples
    --------
    >>> x = np.array([[[[0.0, 0.25, 0.5]]]])
    >>> RandomAffine(scale=(2, 2))(x, np.random.default_rng(0))  # drawn twice as large
    array([[[[0.125, 0.25 , 0.375]]]])
    """

    moves_pixels = True

    def __init__(
        self,
        degrees: Any = 0.0,
        translate: float = 0.0,
        scale: Any = 0.0,
        shear: Any = 0.0,
        fill: float = 0.0,
    ) -> None:
        owner = type(self).__name__
        self.degrees = as_range(owner, "degrees", degrees, centre=0)
        self.translate = checks.fraction(owner, "translate", translate)
        self.scale = as_range(owner, "scale", scale, centre=1)
        if self.scale[0] <= 0:
            raise checks.error(owner, "scale", "must be above 0", scale)
        self.shear = as_range(owner, "shear", shear, centre=0)
        if not -90 < self.shear[0] <= self.shear[1] < 90:
            raise checks.error(owner, "shear", "must be between -90 and 90 degrees", shear)
        self.fill = as_fill(owner, fill)

    def change(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the moved images."""
        n, size = len(x), np.array(x.shape[2:])
        angle = np.radians(rng.uniform(*self.degrees, size=n))
        shear = np.radians(rng.uniform(*self.shear, size=n))
        scale = rng.uniform(*self.scale, size=n)
        shift = rng.uniform(-self.translate, self.translate, size=(n, 2)) * size
        matrices = scale[:, np.newaxis, np.newaxis] * rotations(angle) @ shears(shear)
        return affine(x, matrices, shift, self.fill)


class RandomRotation(Augmentation):
    """Rotate images about their centre by a random angle.

    Parameters
    ----------
    degrees
        A number for -degrees to degrees, or a pair (low, high).
    fill
        Value of what comes from outside the image, in the range of the images.

    Examples
    --------
    >>> x = np.array([[[[1.0, 0.5], [0.0, 0.0]]]])
    >>> RandomRotation((90, 90))(x, np.random.default_rng(0)).round(6)
    array([[[[0.5, 0. ],
             [1. , 0. ]]]])
    """

    moves_pixels = True

    def __init__(self, degrees: Any, fill: float = 0.0) -> None:
        self.degrees = as_range("RandomRotation", "degrees", degrees, centre=0)
        self.fill = as_fill("RandomRotation", fill)

    def change(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the rotated images."""
        angle = np.radians(rng.uniform(*self.degrees, size=len(x)))
        return affine(x, rotations(angle), np.zeros((len(x), 2)), self.fill)


class ElasticDistortion(Augmentation):
    """Distort images elastically, as if drawn on rubber; meant for handwriting.

    Every pixel gets a displacement, uniform in -1 to 1 for rows and for columns. The field of
    displacements is smoothed by a Gaussian, so that neighbours move together, and multiplied by
    `alpha`. Beyond the image displacements count as 0, so that the borders move less.

    Parameters
    ----------
    alpha
        Strength of the displacements; smoothing leaves about `alpha / (6 * sigma)` pixels of it.
    sigma
        Standard deviation of the Gaussian, in pixels: small for crumpled, large for wavy.
    fill
        Value of what comes from outside the image, in the range of the images.

    References
    ----------
    Simard, Steinkraus, Platt, "Best practices for convolutional neural networks applied to
    visual document analysis", 2003, section 2; the defaults are its values for MNIST.

    Examples
    --------
    >>> digits = np.random.default_rng(0).random((2, 1, 28, 28))
    >>> ElasticDistortion()(digits, np.random.default_rng(0)).shape
    (2, 1, 28, 28)
    """

    moves_pixels = True

    def __init__(self, alpha: float = 34.0, sigma: float = 4.0, fill: float = 0.0) -> None:
        self.alpha = checks.non_negative("ElasticDistortion", "alpha", alpha)
        self.sigma = checks.positive("ElasticDistortion", "sigma", sigma)
        self.fill = as_fill("ElasticDistortion", fill)

    def change(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the distorted images."""
        n, _, height, width = x.shape
        noise = memory.empty((2, n, height, width), np.float32)
        rng.random(out=noise, dtype=np.float32)
        noise *= 2
        noise -= 1
        # Along the columns, then along the rows: a Gaussian of two axes is a product of two.
        fields = np.matmul(gaussian_matrix(height, self.sigma), noise, out=memory.empty_like(noise))
        fields = np.matmul(fields, gaussian_matrix(width, self.sigma), out=noise)
        fields *= self.alpha
        rows, cols = fields  # (N, H, W) each
        rows += np.arange(height, dtype=np.float32)[:, np.newaxis]
        cols += np.arange(width, dtype=np.float32)
        return sample_bilinear(x, rows, cols, self.fill)


def rotations(angle: np.ndarray) -> np.ndarray:
    """Return the matrices (N, 2, 2) that rotate (row, column) counter-clockwise by radians (N,)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]]).transpose(2, 0, 1)  # (2, 2, N) -> (N, 2, 2)


def shears(angle: np.ndarray) -> np.ndarray:
    """Return the matrices (N, 2, 2) that move (row, column) sideways by tan(angle) a row."""
    one, zero = np.ones_like(angle), np.zeros_like(angle)
    matrices = np.array([[one, zero], [np.tan(angle), one]])
    return matrices.transpose(2, 0, 1)  # (2, 2, N) -> (N, 2, 2)


def gaussian_matrix(size: int, sigma: float) -> np.ndarray:
    """Return the matrix (size, size) that smooths a vector with a Gaussian.

    Its weights sum to 1, except near the ends, as part of the Gaussian is outside.

    Examples
    --------
    >>> gaussian_matrix(3, 0.5).round(3)
    array([[0.787, 0.106, 0.   ],
           [0.106, 0.787, 0.106],
           [0.   , 0.106, 0.787]], dtype=float32)
    """
    reach = math.ceil(6 * sigma)  # beyond it, weights are 0 in float32
    total = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).sum()
    distance = np.subtract.outer(np.arange(size), np.arange(size))
    return (np.exp(-0.5 * (distance / sigma) ** 2) / total).astype(np.float32)


def affine(x: np.ndarray, matrices: np.ndarray, shift: np.ndarray, fill: float) -> np.ndarray:
    """Return images (N, C, H, W) of which each point p has moved to c + shift + A (p - c).

    Parameters
    ----------
    x
        The images.
    matrices
        The A of each image, (N, 2, 2), for points (row, column) from the centre c.
    shift
        (N, 2), in pixels.
    fill
        Value outside.
    """
    height, width = x.shape[2:]
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    # A pixel q shows the point p = c + inverse (q - c - shift) = inverse q + start.
    inverse = np.linalg.inv(matrices)
    start = centre - (inverse @ (centre + shift)[:, :, np.newaxis])[:, :, 0]  # (N, 2)
    of_row = inverse[:, :, :1] * np.arange(height) + start[:, :, np.newaxis]  # (N, 2, H)
    of_col = inverse[:, :, 1:] * np.arange(width)  # (N, 2, W)
    # Cast to the dtype of the images only now, as these are the large arrays.
    real = np.result_type(x.dtype, np.float32)
    of_row, of_col = of_row.astype(real), of_col.astype(real)
    places = memory.empty((2, *x.shape[:1], height, width), real)
    np.add(
        of_row.transpose(1, 0, 2)[:, :, :, np.newaxis],  # (N, 2, H) -> (2, N, H, 1)
        of_col.transpose(1, 0, 2)[:, :, np.newaxis],  # (N, 2, W) -> (2, N, 1, W)
        out=places,
    )
    rows, cols = places
    return sample_bilinear(x, rows, cols, fill)


def sample_bilinear(x: np.ndarray, rows: np.ndarray, cols: np.ndarray, fill: float) -> np.ndarray:
    """Return the values of images at positions between the pixels.

    With r and s the fractional parts of a position's row and column, its value is

        (1 - r) ((1 - s) x[i, j] + s x[i, j + 1]) + r ((1 - s) x[i + 1, j] + s x[i + 1, j + 1])

    Parameters
    ----------
    x
        Images (N, C, H, W), surrounded by `fill` on all sides.
    rows, cols
        Places (N, H, W), the same for all channels; they may lie outside.
    fill
        Value outside.

    Returns
    -------
    images
        (N, C, H, W), in the dtype and the memory order of x.

    Examples
    --------
    >>> x = np.array([[[[0.0, 1.0, 0.5]]]])
    >>> cols = np.array([[[0.25, 1.5, 9.0]]])
    >>> sample_bilinear(x, np.zeros_like(cols), cols, fill=0.0)
    array([[[[0.25, 0.75, 0.  ]]]])
    """
    n, c, height, width = x.shape
    # With a frame of one pixel, positions outside need no special case.
    flat = framed(x.transpose(1, 0, 2, 3), 1, 1, fill)  # (N, C, H, W) -> (C, N, H+2, W+2)
    flat = flat.reshape(c, -1)  # (C, N, H+2, W+2) -> (C, N*(H+2)*(W+2))
    corner, r = _whole_and_fraction(rows, height)
    left, s = _whole_and_fraction(cols, width)
    # From rows and columns to indices in `flat`: those of the first of the four pixels.
    corner += (height + 2) * np.arange(n)[:, np.newaxis, np.newaxis]
    corner *= width + 2
    corner += left
    values = []
    for step in (0, 1, width + 1, 1):  # to the right, to the row below, to the right
        corner += step
        values.append(_read(flat, corner))
    upper, lower = _between(values[0], values[1], s), _between(values[2], values[3], s)
    out = memory.empty_like(x)
    out[...] = _between(upper, lower, r).transpose(1, 0, 2, 3)  # (C, N, H, W) -> (N, C, H, W)
    return out


def _whole_and_fraction(places: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixel before each position, counted from the frame's, and the distance from it."""
    fraction = np.add(places, 1, out=memory.empty_like(places))
    np.clip(fraction, 0, size + 1, out=fraction)
    whole = np.floor(fraction, out=memory.empty_like(places))
    np.minimum(whole, size, out=whole)  # so that there is a pixel after it
    fraction -= whole
    index = memory.empty(places.shape, np.intp)
    index[...] = whole
    return index, fraction


def _read(flat: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the elements (C, N, H, W) of each row of `flat`, at the same indices (N, H, W)."""
    values = memory.empty((len(flat), *index.shape), flat.dtype)
    # Without a mode, NumPy would copy `values`; no index is outside.
    return flat.take(index, axis=1, out=values, mode="clip")


def _between(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return `a + share * (b - a)`, in the memory of b; exactly a if the share is 0."""
    b -= a
    b *= share
    b += a
    return b


def framed(x: np.ndarray, vertical: int, horizontal: int, fill: float) -> np.ndarray:
    """Return images with rows of `fill` above and below, and columns on the left and right."""
    height, width = x.shape[2:]
    shape = (*x.shape[:2], height + 2 * vertical, width + 2 * horizontal)
    out = memory.empty(shape, x.dtype)
    out[...] = fill
    out[:, :, vertical : vertical + height, horizontal : horizontal + width] = x
    return out
