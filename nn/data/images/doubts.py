"""What makes an image of a digit doubtful: no ink, more than one digit, lines of squared paper.

A network gives its probabilities for any image, also for one without a digit. These rules look at
the ink before it is scaled to MNIST's form; `docs/howto/command-line.md` says how often they err.
"""

import itertools
from typing import Any

import numpy as np

from . import digits

__all__ = ["doubts_of_digit"]

_EMPTY = "no ink is seen on it"
_MANY = "it seems to have more than one digit"
_LINES = "lines run across it, as on squared or ruled paper"

_SHARE = 0.15  # of the ink of the largest part, for another digit
_TALL = 0.5  # of the height of all ink, for another digit
_WIDE = 1.7  # times the height of all ink, for digits that touch
_CROSSINGS = 6  # of ink and the edge of the image; one digit that fills it has four at most
_EDGE = 0.02  # of a side, the margin that the camera may darken


def doubts_of_digit(image: Any) -> list[str]:
    """Return reasons to doubt that an image shows one digit; an empty list if there are none.

    Parameters
    ----------
    image
        As for `normalize_digit`.

    Raises
    ------
    FileNotFoundError, PermissionError, ValueError, TypeError, ImportError
        As in `normalize_digit`.

    Examples
    --------
    >>> sheet = np.full((100, 100), 0.9)
    >>> doubts_of_digit(sheet)
    ['no ink is seen on it']
    >>> sheet[20:80, 30:36] = 0.1
    >>> doubts_of_digit(sheet)
    []
    >>> sheet[20:80, 60:66] = 0.1
    >>> doubts_of_digit(sheet)
    ['it seems to have more than one digit']
    """
    ink = digits.ink_of(image)
    if ink is None:
        return [_EMPTY]
    found = [_LINES] if _crossings(ink) >= _CROSSINGS else []
    if not found and _has_several(digits.without_specks(ink)):
        found.append(_MANY)
    return found


def _crossings(ink: np.ndarray) -> int:
    """Return how many separate strokes cross a frame a little inside the edge of the image."""
    height, width = ink.shape
    rows, cols = int(_EDGE * height), int(_EDGE * width)
    inner = ink[rows : height - rows, cols : width - cols] > 0.2
    frame = np.concatenate([inner[0], inner[1:, -1], inner[-1, -2::-1], inner[-2:0:-1, 0]])
    return int(np.count_nonzero(frame & ~np.roll(frame, 1)))


def _has_several(ink: np.ndarray) -> bool:
    """Return whether there are two tall parts next to each other, or one that is very wide."""
    boxes, weights = digits.parts_of(ink)
    top, bottom = min(b[0] for b in boxes), max(b[1] for b in boxes)
    left, right = min(b[2] for b in boxes), max(b[3] for b in boxes)
    if right - left > _WIDE * (bottom - top):
        return True
    tall = [
        (box[2], box[3])
        for box, weight in zip(boxes, weights, strict=True)
        if weight >= _SHARE * max(weights) and box[1] - box[0] >= _TALL * (bottom - top)
    ]
    tall.sort()
    return any(second[0] >= first[1] for first, second in itertools.pairwise(tall))
