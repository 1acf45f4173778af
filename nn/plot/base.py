"""Helpers shared by all plots: colours, figures and Axes, checks of the samples."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, cuda, validation
from ..data import Dataset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito, "Color universal design", 2008; ordered so that the first ones
#: also differ in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

#: Font size in points, and the height of a line and the largest width of a letter in inches.
FONT_SIZE = 9.0
LINE_INCHES = 0.15
LETTER_INCHES = 0.082


def require_matplotlib(owner: str) -> None:
    """Raise ImportError if matplotlib is not installed."""
    checks.require(owner, "matplotlib", "matplotlib", "draw")


def new_figure(owner: str, width: float, height: float) -> "Figure":
    """Return an empty figure of the given size in inches."""
    require_matplotlib(owner)
    from .notebook import NotebookFigure

    return NotebookFigure(figsize=(width, height), layout="constrained")


def one_axes(owner: str, ax: Any, width: float, height: float) -> "Axes":
    """Return the user's Axes, or those of a new figure of the given size in inches."""
    if ax is None:
        return new_figure(owner, width, height).subplots()
    return _checked(owner, "ax", ax)


def several_axes(
    owner: str, axes: Any, count: int, columns: int, width: float, height: float
) -> list["Axes"]:
    """Return `count` of the user's Axes, or new ones, `columns` in a row, of the given size."""
    if axes is not None:
        given = np.asarray(axes, dtype=object).ravel()
        if len(given) < count:
            raise checks.error(owner, "axes", f"must hold {count} Axes, one for each panel", axes)
        return [_checked(owner, "axes", ax) for ax in given[:count]]
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = new_figure(owner, columns * width, rows * height)
    made = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for ax in made[count:]:
        ax.remove()
    return made[:count]


def _checked(owner: str, argument: str, ax: Any) -> "Axes":
    require_matplotlib(owner)
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise checks.error(owner, argument, "must be a matplotlib Axes", ax)
    return ax


def figure_of(ax: "Axes") -> "Figure":
    """Return the figure of Axes, also of Axes in a SubFigure."""
    figure: Any = ax.figure
    return figure.figure  # the figure of a SubFigure; a Figure is its own


def inches_of(ax: "Axes") -> tuple[float, float]:
    """Return the width and height of Axes in inches, before layout."""
    box, figure = ax.get_position(), figure_of(ax)
    return box.width * figure.get_figwidth(), box.height * figure.get_figheight()


def colour(index: int) -> str:
    """Return the colour of a series; the palette repeats.

    Examples
    --------
    >>> colour(0), colour(8)
    ('#0072B2', '#0072B2')
    """
    return COLOURS[index % len(COLOURS)]


def marker(index: int) -> str:
    """Return the marker of a series; it is shifted by one each time the palette repeats.

    Examples
    --------
    >>> marker(0), marker(1), marker(8)
    ('o', 's', 's')
    """
    return MARKERS[(index + index // len(MARKERS)) % len(MARKERS)]


def samples(owner: str, x: Any, y: Any, class_names: Any) -> tuple[Any, Any, list[str] | None]:
    """Return inputs, targets and class names from a `Dataset` or arrays.

    Inputs of a `Dataset` may be on disk; they are not read here.
    """
    if isinstance(x, Dataset):
        if y is not None:
            raise checks.error(owner, "y", "must be None if 'x' is a Dataset", type(y).__name__)
        x, y, known = x.x, x.y, x.class_names
        class_names = known if class_names is None else class_names
    else:
        x = cuda.to_cpu(cuda.as_array(x))
        y = None if y is None else cuda.to_cpu(cuda.as_array(y))
    if y is not None and (y.ndim == 0 or len(y) != len(x)):
        rule = f"must hold one entry for each of {len(x)} samples"
        raise checks.error(owner, "y", rule, y.shape)
    return x, y, names_of_classes(owner, class_names)


def names_of_classes(owner: str, names: Any, count: int = 0) -> list[str] | None:
    """Return class names as a list of at least `count` strings; None for None."""
    if names is None:
        return None
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise checks.error(owner, "class_names", "must be a list of strings", names)
    if len(names) < count:
        raise checks.error(owner, "class_names", f"must name all {count} classes", list(names))
    return [str(name) for name in names]


def labels_of(owner: str, y: Any) -> np.ndarray:
    """Return targets as labels (n,): integers, a column of them, or one-hot rows."""
    if y is None:
        raise checks.error(owner, "y", "must be the labels of the samples", y)
    column = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    labels = validation.class_of_rows(column)
    if labels is None and column.ndim == 1 and (column == column.astype(np.int64)).all():
        labels = column.astype(np.int64)  # zeros and ones as floats
    if labels is None:
        rule = "must be integer or one-hot labels"
        raise checks.error(owner, "y", rule, f"shape {y.shape} and dtype {y.dtype}")
    return labels


def name_of(label: int, names: list[str] | None) -> str:
    """Return the name of a class, or its number as a string.

    Examples
    --------
    >>> name_of(1, ["cat", "dog"]), name_of(2, ["cat", "dog"]), name_of(1, None)
    ('dog', '2', '1')
    """
    return names[label] if names is not None and label < len(names) else str(int(label))
