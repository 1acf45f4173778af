"""Images of handwritten digits in the form of MNIST, so that a model trained on it reads them.

A model trained on MNIST has seen only white ink on black, strokes two or three pixels wide, in a
box of 20 x 20 pixels, with the centre of mass in the middle of 28 x 28. A photograph of a note, a
drawing with the mouse and a scan differ from that in every respect. `normalize_digit` removes the
differences step by step:

1. colours become grey, and transparent images get a white background;
2. the paper is what most of the border shows; ink is what differs from it, lighter or darker;
3. what differs by no more than the noise of the paper is paper, and specks are removed;
4. the rest is scaled to the box without distortion, and thin strokes are thickened;
5. it is shifted until its centre of mass is in the middle.

The box and the centre are those of Y. LeCun, C. Cortes, C. Burges, "The MNIST database of
handwritten digits", http://yann.lecun.com/exdb/mnist/, in which NIST's black and white digits were
fitted into 20 x 20 pixels by antialiasing. Pillow decodes and resizes, NumPy does the rest.
"""

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from ... import checks
from ..augment.geometry import gaussian_matrix
from .decode import (
    Form,
    decoding_errors,
    is_source,
    open_image,
    orientation,
    require_pillow,
    to_array,
)

SIDE = 28  # pixels of an image of MNIST
BOX = 20  # pixels of the box around its digit
#: Row and column of the centres of mass in MNIST, counted from 0.
CENTRE = 14.0
#: The width that thinner strokes are thickened to, in pixels; MNIST's median is 2.5.
STROKE = 2.2

_OWNER = "normalize_digit"
_LARGEST = 800  # pixels of the longer side, to which larger images are reduced first
_CONTRAST = 0.1  # of white to black; an image with less is empty
_LIGHT_BLUR = 0.4  # pixels, the standard deviation
_SPECK = 0.04  # of the ink of the largest part
_PIXELS = 1500  # of the border, and of the inside, from which the paper is estimated
_CELLS = 50  # along the longer side, for finding connected parts


def normalize_digit(image: Any) -> np.ndarray:
    """Return an image of one digit in the form of MNIST.

    Parameters
    ----------
    image
        An array (H, W), (C, H, W) or (H, W, C) of any size, with 1, 3 (RGB) or 4 (RGB and
        opacity) channels: uint8, bool, or floats in [0, 1]. Or whatever `load_image` takes: the
        path of a file, an open file or an image of Pillow's. The digit may be lighter or darker
        than its background, large or small, anywhere in the image; nothing else should be in it.

    Returns
    -------
    numpy.ndarray
        (28, 28) float32 in [0, 1], 0 for paper. All 0 if the image is empty.

    Raises
    ------
    FileNotFoundError, PermissionError
        If the file cannot be read.
    ValueError, TypeError
        If it is not an image, or the array has another shape, dtype or range.
    ImportError
        If Pillow is not installed.

    Notes
    -----
    The image is shifted by whole pixels, so the centre of mass is off by half a pixel at most, as
    in MNIST. A digit is never shifted so far that it would leave the image.

    Examples
    --------
    >>> photo = np.full((300, 200), 0.9)  # light paper
    >>> photo[30:90, 20:26] = 0.2  # a dark stroke, up and left
    >>> digit = normalize_digit(photo)
    >>> rows, cols = np.nonzero(digit > 0.5)
    >>> int(rows.min()), int(rows.max()), int(cols.min()), int(cols.max())
    (4, 23, 13, 14)
    """
    ink = ink_of(image)
    if ink is None:
        return np.zeros((SIDE, SIDE), dtype=np.float32)
    return _centred(_fitted(_cut_out(without_specks(ink))))


def normalize_digits(images: Iterable[Any]) -> np.ndarray:
    """Return images of digits as a batch for a model trained on MNIST.

    Parameters
    ----------
    images
        Arrays, paths and so on, each as for `normalize_digit`; they may differ in size.

    Returns
    -------
    numpy.ndarray
        (N, 1, 28, 28) float32 in [0, 1].

    Raises
    ------
    TypeError
        If it is a single path.
    FileNotFoundError, PermissionError, ValueError, TypeError, ImportError
        As in `normalize_digit`.

    Examples
    --------
    >>> white_on_black = np.zeros((50, 50), dtype=bool)
    >>> white_on_black[10:40, 24:27] = True
    >>> batch = normalize_digits([white_on_black, ~white_on_black])
    >>> batch.shape, np.array_equal(batch[0], batch[1])
    ((2, 1, 28, 28), True)
    """
    if isinstance(images, str | os.PathLike):
        raise TypeError(
            f"[normalize_digits] 'images' must be several images, got {os.fspath(images)!r}: "
            "pass a list with the path."
        )
    digits = [normalize_digit(image) for image in images]
    return np.array(digits, dtype=np.float32).reshape(len(digits), 1, SIDE, SIDE)


def ink_of(image: Any) -> np.ndarray | None:
    """Return the ink of an image as `find_ink` does, from anything that `normalize_digit` takes."""
    require_pillow(_OWNER)
    # An image of Pillow's in floats is an array to NumPy; others may have a palette.
    has_to_be_decoded = is_source(image) and getattr(image, "mode", "") != "F"
    return find_ink(read_grey(image) if has_to_be_decoded else _as_grey(image))


# ----------------------------------------------------------------------------- 1. grey values


def read_grey(source: Any) -> np.ndarray:
    """Return an image as grey values, upright, on a white background if it is transparent.

    Parameters
    ----------
    source
        A path, an open file or an image of Pillow's, as for `load_image`.

    Returns
    -------
    numpy.ndarray
        (H, W) float32 in [0, 1], reduced to at most 800 pixels along each side. If only the
        opacity shows anything, as for white on a transparent background, it is shown in black.

    Raises
    ------
    FileNotFoundError, PermissionError, ValueError, ImportError
        As in `load_image`.
    """
    with decoding_errors(_OWNER, source), open_image(source) as image:
        opacity = None
        if image.has_transparency_data:
            opacity = np.asarray(image.convert("RGBA").getchannel("A")) / np.float32(255)
        width, height = image.size
        if orientation(image) >= 5:  # it is stored on its side
            width, height = height, width
        scale = min(1.0, _LARGEST / max(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        [grey] = to_array(image, Form(*size, "L", "stretch"))
    return _visible(grey / np.float32(255), opacity)


def _as_grey(image: Any) -> np.ndarray:
    """Return an array as grey values, as `read_grey` returns a file."""
    channels = _as_channels(_as_floats(image))
    if len(channels) == 1:
        return _downscaled(channels[0])
    # ITU-R BT.601, which Pillow uses too.
    grey = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), channels[:3], axes=1)
    if len(channels) == 3:
        return _downscaled(grey)
    opacity = channels[3]
    return _visible(_downscaled(grey * opacity + (1 - opacity)), opacity)


def _visible(grey: np.ndarray, opacity: np.ndarray | None) -> np.ndarray:
    """Return the grey values, or the opacity if they have no contrast."""
    if opacity is None or np.ptp(grey) >= _CONTRAST:
        return grey
    return 1 - _downscaled(opacity)


def _as_floats(image: Any) -> np.ndarray:
    """Return an array as float32 in [0, 1], or raise if it is not one."""
    array = np.asarray(image)
    if array.dtype == np.uint8:
        return array / np.float32(255)
    if array.dtype == bool:
        return array.astype(np.float32)
    if array.dtype.kind != "f":
        rule = "must be a path or an array of uint8, bool or floats in [0, 1]"
        raise TypeError(f"[{_OWNER}] 'image' {rule}, got {array.dtype}.")
    if array.size and not (array.min() >= 0 and array.max() <= 1):  # NaN is neither
        values = f"{array.min():g} to {array.max():g}"
        rule = "must have values in [0, 1] if they are floats: divide by 255"
        raise ValueError(f"[{_OWNER}] 'image' {rule}, got {values}.")
    return array.astype(np.float32)


def _as_channels(array: np.ndarray) -> np.ndarray:
    """Return an array as (C, H, W), or raise if it has another shape."""
    shape = array.shape
    if array.ndim == 2:
        array = array[np.newaxis]  # (H, W) -> (1, H, W)
    elif array.ndim == 3 and array.shape[0] not in (1, 3, 4):
        array = array.transpose(2, 0, 1)  # (H, W, C) -> (C, H, W)
    if array.ndim != 3 or array.shape[0] not in (1, 3, 4) or array.size == 0:
        rule = "must be (H, W), (C, H, W) or (H, W, C) with 1, 3 or 4 channels"
        raise checks.error(_OWNER, "image", rule, shape)
    return array


def _downscaled(values: np.ndarray) -> np.ndarray:
    """Return values (H, W) with at most `_LARGEST` pixels along each side."""
    height, width = values.shape
    scale = _LARGEST / max(height, width)
    if scale >= 1:
        return values
    return _resized(values, max(1, round(height * scale)), max(1, round(width * scale)))


def _resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    from PIL import Image

    # If the image becomes smaller, the filter averages over all pixels (no aliasing).
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


# ------------------------------------------------------------------------------- 2., 3. ink


def find_ink(grey: np.ndarray) -> np.ndarray | None:
    """Return the amount of ink in each pixel, 0 to 1, or None if there is none at all.

    Parameters
    ----------
    grey
        (H, W) floats in [0, 1]: dark on light or light on dark.

    Examples
    --------
    >>> find_ink(np.array([[0.8, 0.8, 0.8], [0.8, 0.2, 0.8], [0.8, 0.8, 0.8]])).round(3)
    array([[0., 0., 0.],
           [0., 1., 0.],
           [0., 0., 0.]])
    """
    paper, noise = _paper(grey)
    ink = grey - paper
    lightest, darkest = float(ink.max()), -float(ink.min())
    most = max(lightest, darkest)
    if most < _CONTRAST:
        return None
    lighter, darker = ink > most / 2, ink < -most / 2
    if np.count_nonzero(darker) > np.count_nonzero(lighter):  # dark on light
        ink, lighter = -ink, darker
    level = float(ink[lighter].mean())
    threshold = level * min(max(4 * noise / level, 0.1), 0.5)
    ink[ink < threshold] = 0
    return np.minimum(ink / level, 1)


def _paper(grey: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the paper's brightness at each pixel, and the standard deviation of its noise.

    As light is uneven, the brightness of paper is taken to be a plane, fitted to pixels of the
    border and of the inside. Pixels far from the plane are ink, and are omitted in the next fit.
    """
    places, values = _some_pixels(grey)
    plane = np.array([np.median(values), 0, 0])
    for _ in range(3):
        off = np.abs(values - places @ plane)
        near = off <= max(3 * np.median(off), 0.02)  # half of them at least
        plane = np.linalg.lstsq(places[near], values[near], rcond=None)[0]
    noise = 1.4826 * float(np.median(np.abs(values - places @ plane)))  # of a Gaussian
    height, width = grey.shape
    rows = np.arange(height, dtype=np.float32)[:, np.newaxis]
    cols = np.arange(width, dtype=np.float32)
    level, down, right = plane.astype(np.float32)
    return (level + down * rows) + right * cols, noise


def _some_pixels(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels, most of them paper: (n, 3) rows [1, row, column], and their values (n,).

    Half of them are from the border, which is paper if the digit is bold, and half from the
    inside, which is mostly paper if a slender digit fills the image from edge to edge.
    """
    height, width = grey.shape
    depth = max(1, min(height, width) // 25)
    border = np.ones(grey.shape, dtype=bool)
    border[depth:-depth, depth:-depth] = False
    places = [_every_nth(part) for part in (border, ~border)]
    rows, cols = np.concatenate(places).T
    return np.column_stack([np.ones(len(rows)), rows, cols]), grey[rows, cols]


def _every_nth(mask: np.ndarray) -> np.ndarray:
    """Return rows and columns (n, 2) of pixels in a mask, about `_PIXELS` of them."""
    pixels = np.flatnonzero(mask)
    count = min(len(pixels), _PIXELS)
    pixels = pixels[np.linspace(0, max(len(pixels) - 1, 0), count).astype(int)]
    return np.column_stack(np.divmod(pixels, mask.shape[1]))


def without_specks(ink: np.ndarray) -> np.ndarray:
    """Return the ink without the parts that are tiny compared with the largest."""
    parts, weights, step = _parts(ink)
    kept = weights >= _SPECK * weights.max()
    mask = np.repeat(np.repeat(kept[parts], step, axis=0), step, axis=1)
    return ink * mask[: ink.shape[0], : ink.shape[1]]


def parts_of(ink: np.ndarray) -> tuple[list[tuple[int, int, int, int]], list[float]]:
    """Return the box (top, bottom, left, right) and the amount of ink of each connected part."""
    parts, weights, step = _parts(ink)
    boxes = []
    for number in range(1, len(weights)):
        rows, cols = np.nonzero(parts == number)
        edges = rows.min(), rows.max() + 1, cols.min(), cols.max() + 1
        top, bottom, left, right = (int(edge) * step for edge in edges)
        boxes.append((top, bottom, left, right))
    return boxes, weights[1:].tolist()


def _parts(ink: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the number of each cell's part, the ink of each part (0 is paper), a cell's pixels.

    Connected parts are found in coarse cells, each with the ink of a few pixels: small gaps do not
    split a stroke, and there are few cells to search.
    """
    step = -(-max(ink.shape) // _CELLS)  # pixels of a cell along each side, rounded up
    edges = [(0, -size % step) for size in ink.shape]
    padded = np.pad(ink, edges)
    tall, wide = padded.shape[0] // step, padded.shape[1] // step
    # (H, W) -> (cells, step, cells, step) -> (cells, cells)
    cells = padded.reshape(tall, step, wide, step).sum(axis=(1, 3))
    parts = _label(cells > 0)
    return parts, np.bincount(parts.ravel(), weights=cells.ravel()), step


def _label(mask: np.ndarray) -> np.ndarray:
    """Return the number of the connected part of each cell, from 1; 0 for cells without ink."""
    labels = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), dtype=int)  # with a margin
    todo = {(row + 1, col + 1) for row, col in np.argwhere(mask).tolist()}
    count = 0
    while todo:
        count += 1
        found = [todo.pop()]
        while found:
            row, col = found.pop()
            labels[row, col] = count
            around = {(row + i, col + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & todo
            todo -= around
            found += around
    return labels[1:-1, 1:-1]


# --------------------------------------------------------------------------- 4., 5. image


def _cut_out(ink: np.ndarray) -> np.ndarray:
    """Return the part of the image that has ink in it."""
    rows, cols = np.nonzero(ink)
    return ink[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]


def _stroke_width(ink: np.ndarray) -> float:
    """Return the width of the strokes in pixels.

    A long stroke has the area length * width and the outline 2 * length. Counting steps between
    pixels overestimates the outline by 4 / pi on the average of all directions.
    """
    mask = np.pad(ink > 0.5, 1)
    steps = sum(np.count_nonzero(np.diff(mask, axis=axis)) for axis in (0, 1))
    return 2 * np.count_nonzero(mask) / (steps * np.pi / 4)


def _fitted(ink: np.ndarray) -> np.ndarray:
    """Return the digit scaled to its box, in the middle of an image of twice MNIST's size."""
    longer = max(ink.shape)
    missing = max(0.0, STROKE - _stroke_width(ink) * BOX / longer)  # pixels
    scale = (BOX - missing) / longer  # the blur adds the missing width all around
    height, width = (max(1, round(size * scale)) for size in ink.shape)
    image = np.zeros((2 * SIDE, 2 * SIDE), dtype=np.float32)
    top, left = SIDE - height // 2, SIDE - width // 2
    image[top : top + height, left : left + width] = _resized(ink, height, width)
    # A stroke of width w has the variance w^2 / 12; a blur adds its own.
    thin = STROKE - missing
    sigma = np.sqrt(_LIGHT_BLUR**2 + (STROKE**2 - thin**2) / 12)
    blur = gaussian_matrix(2 * SIDE, float(sigma))
    image = blur @ image @ blur
    core = np.percentile(image[image > image.max() / 2], 80)
    return np.minimum(image / core, 1)


def _centred(image: np.ndarray) -> np.ndarray:
    """Return the 28 x 28 pixels of a larger image around its centre of mass."""
    corner = []
    for axis in (0, 1):
        mass = image.sum(axis=1 - axis)
        middle = mass @ np.arange(len(mass)) / mass.sum()
        inked = np.flatnonzero((image > 0.1).any(axis=1 - axis))
        # Between these the whole digit is in the image.
        lowest, highest = inked[-1] - SIDE + 1, inked[0]
        corner.append(int(np.clip(round(middle - CENTRE), lowest, highest)))
    top, left = corner
    return np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE], dtype=np.float32)
