"""A grid of small images in one Axes, each one unit wide, with or without titles."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from . import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GAP = 0.1  # between images, as a fraction of their width
_SMALLEST_FONT = 4.0

# Left, right, bottom and top of an image in the grid, whose y axis points down.
Place = tuple[float, float, float, float]


def image_grid(
    owner: str,
    ax: Any,
    tiles: Sequence[np.ndarray | None],
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    inches: float = 1.0,
    heading: str = "",
    **look: Any,
) -> tuple["Axes", list[Place]]:
    """Draw images in a grid, with titles above the first ones; return their positions.

    Parameters
    ----------
    owner, ax
        The function's name for errors, and the Axes to draw into, or None for a new figure.
    tiles
        Arrays (H, W) or (H, W, 3) of one shape; None, but not first, for a position at which the
        caller draws.
    titles
        Titles of the first images, all with the same number of lines.
    columns
        Images in a row; None chooses an about square grid.
    inches
        Minimum width of an image on a new figure.
    heading
        Title of the whole grid.
    **look
        Arguments of `imshow`: colour map and limits.
    """
    count = len(tiles)
    columns = (
        _grid_columns(count) if columns is None else checks.positive_int(owner, "columns", columns)
    )
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    shape = np.asarray(tiles[0]).shape
    ratio = shape[0] / shape[1]
    lines = max((title.count("\n") + 1 for title in titles or ()), default=0)
    letters = max((len(line) for title in titles or () for line in title.split("\n")), default=0)
    titled = math.ceil(len(titles or ()) / columns)  # rows with titles
    inches = max(inches, letters * base.LETTER_INCHES)
    texts = titled * lines * base.LINE_INCHES
    if ax is None:
        height = rows * (ratio + _GAP) * inches + texts + (0.35 if heading else 0.1)
        ax = base.one_axes(owner, None, columns * (1 + _GAP) * inches + 0.1, height)
    else:
        ax = base.one_axes(owner, ax, 0, 0)
        width, height = base.inches_of(ax)
        fitting = (height - texts) / (rows * (ratio + _GAP))
        inches = max(min(width / (columns * (1 + _GAP)), fitting), 0.05)
    font = base.FONT_SIZE
    if letters:
        font = max(min(font, font * inches / (letters * base.LETTER_INCHES)), _SMALLEST_FONT)
    line = lines * base.LINE_INCHES / inches  # of the titles above a row, in image widths
    places = []
    for k in range(count):
        row, column = divmod(k, columns)
        left = column * (1 + _GAP)
        top = row * (ratio + _GAP) + min(row + 1, titled) * line
        places.append((left, left + 1, top + ratio, top))
    for place, image in zip(places, tiles, strict=True):
        if image is not None:
            ax.imshow(image, extent=place, interpolation="nearest", **look)
    for place, title in zip(places, titles or (), strict=False):
        middle, top = (place[0] + place[1]) / 2, place[3] - 0.02
        ax.text(middle, top, title, ha="center", va="bottom", fontsize=font, linespacing=1.05)
    ax.set_title(heading, fontsize=base.FONT_SIZE + 1)
    ax.set_xlim(-_GAP / 2, columns * (1 + _GAP) - _GAP / 2)
    ax.set_ylim(places[-1][2] + _GAP / 2, -_GAP / 2)
    ax.set_aspect("equal")
    ax.axis("off")
    return ax, places


def _grid_columns(count: int) -> int:
    """Return the number of images in a row of an about square grid.

    Examples
    --------
    >>> _grid_columns(5), _grid_columns(8), _grid_columns(25), _grid_columns(32)
    (5, 4, 5, 8)
    """
    if count <= 5:
        return count
    least = math.ceil(math.sqrt(count))
    # A little wider if that fills the last row.
    return next((k for k in range(least, 2 * least) if count % k == 0), least)
