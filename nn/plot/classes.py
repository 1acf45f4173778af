"""Plots of predictions: the confusion matrix and the decision boundary."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, cuda, kernels, metrics
from ..training.data import check_same_names
from . import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..model import Model

_MOST_NUMBERS = 30  # with more classes the cells are too small for numbers
_LIGHTNESS = 0.45  # opacity of a class's colour in the plane


def confusion_matrix(
    y_true: Any,
    y_pred: Any,
    class_names: Any = None,
    normalize: str | None = None,
    ax: Any = None,
) -> "Figure":
    """Draw the confusion matrix: true classes are rows, predicted classes columns.

    Parameters
    ----------
    y_true, y_pred
        Labels, and classes or scores, as in `nn.metrics.confusion_matrix`.
    class_names
        Names of all classes; None shows their numbers.
    normalize
        None shows counts. Otherwise percentages: 'true' divides by the samples of each true class,
        so that the diagonal is the recall; 'pred' by the predictions of each class, so that it is
        the precision; 'all' by the number of samples.
    ax
        Axes to draw into; None creates a new figure.

    Raises
    ------
    ValueError
        If the labels do not match, there are too few names, or `normalize` is unknown.

    Examples
    --------
    >>> figure = confusion_matrix([0, 1, 1, 1], [0, 1, 0, 1], class_names=["cat", "dog"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['1', '', '1', '2']
    """
    owner = "plot.confusion_matrix"
    if normalize not in (None, "true", "pred", "all"):
        raise checks.unknown(owner, "normalize", normalize, ["true", "pred", "all"])
    names = base.names_of_classes(owner, class_names)
    counts = metrics.confusion_matrix(y_true, y_pred)
    if names is not None and len(names) > len(counts):
        counts = metrics.confusion_matrix(y_true, y_pred, num_classes=len(names))
    size = len(counts)
    base.names_of_classes(owner, names, size)
    shown = counts if normalize is None else _shares(counts, normalize)
    labels = [base.name_of(k, names) for k in range(size)]
    inches = 1.6 + size * (0.42 if size <= _MOST_NUMBERS else 0.06)
    ax = base.one_axes(owner, ax, inches + 0.6, inches)
    # A single hue that darkens, which also works in a black-and-white print.
    image = ax.imshow(shown, cmap="Blues", vmin=0, vmax=max(float(shown.max()), 1e-9))
    if size <= _MOST_NUMBERS:
        _write_numbers(ax, shown, normalize is None)
    else:
        unit = "samples" if normalize is None else "per cent"
        base.figure_of(ax).colorbar(image, ax=ax, label=unit, shrink=0.8)
    _name_axes(ax, labels)
    return base.figure_of(ax)


def _shares(counts: np.ndarray, normalize: str) -> np.ndarray:
    """Return counts as percentages; 0 for a class without samples."""
    axis = {"true": 1, "pred": 0, "all": None}[normalize]
    whole = counts.sum(axis=axis, keepdims=True)
    return 100 * counts / np.maximum(whole, 1)


def _write_numbers(ax: "Axes", shown: np.ndarray, is_count: bool) -> None:
    """Write the number of each cell, white on dark cells; cells of 0 stay empty."""
    longest = max(len(f"{value:.0f}") for value in shown.ravel())
    font = min(base.FONT_SIZE, 26 / max(longest, 2))
    for (row, column), value in np.ndenumerate(shown):
        text = f"{value:d}" if is_count else f"{value:.0f}" if value >= 0.5 else "<1"
        shade = "white" if value > 0.55 * shown.max() else "black"
        ax.text(
            column,
            row,
            text if value else "",
            ha="center",
            va="center",
            color=shade,
            fontsize=font,
        )


def _name_axes(ax: "Axes", labels: list[str]) -> None:
    every = 1 if len(labels) <= _MOST_NUMBERS else -(-len(labels) // 20)
    ticks = range(0, len(labels), every)
    named = [labels[k] for k in ticks]
    ax.set_yticks(ticks, named)
    if max(map(len, named)) > 3:
        ax.set_xticks(ticks, named, rotation=45, ha="right", rotation_mode="anchor")
    else:
        ax.set_xticks(ticks, named)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")


def decision_boundary(
    model: "Model",
    x: Any,
    y: Any = None,
    class_names: Any = None,
    resolution: int = 200,
    ax: Any = None,
) -> "Figure":
    """Draw the class probabilities of a model over the plane, its decision boundary and samples.

    The colour of a point mixes the colours of the classes by their probabilities; black lines are
    the decision boundary.

    Parameters
    ----------
    model
        A classifier of inputs (n, 2), with outputs (n, classes) or (n, 1), probabilities or
        logits; or an `Ensemble`.
    x, y
        Samples (n, 2) and their labels, integers (n,) or one-hot rows; or a `Dataset` with both.
    class_names
        Names for the legend; None uses those of the data set or the model, or the numbers.
    resolution
        Points of the grid along each axis, at least 2.
    ax
        Axes to draw into; None creates a new figure.

    Raises
    ------
    ValueError
        If x is not (n, 2), or y does not hold labels.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Dense(2, input_shape=(2,))], seed=0)
    >>> points = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 2.0]])
    >>> figure = decision_boundary(model, points, np.array([0, 1, 1]), resolution=20)
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['0', '1']
    """
    owner = "plot.decision_boundary"
    check_same_names(getattr(x, "class_names", None), getattr(model, "class_names", None))
    points, y, names = base.samples(owner, x, y, class_names)
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
        raise checks.error(owner, "x", "must be points of the plane, (n, 2)", points.shape)
    labels = base.labels_of(owner, y)
    if checks.positive_int(owner, "resolution", resolution) < 2:
        raise checks.error(owner, "resolution", "must be at least 2", resolution)
    names = getattr(model, "class_names", None) if names is None else names
    across, up = (_ticks(points[:, k], resolution) for k in (0, 1))
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)  # (R, R, 2) -> (R*R, 2)
    shares = _probabilities(model, grid).reshape(resolution, resolution, -1)  # (R, R, classes)
    if not 0 <= labels.min() <= labels.max() < shares.shape[2]:
        rule = f"must hold classes of the model, 0..{shares.shape[2] - 1}"
        raise checks.error(owner, "y", rule, [int(labels.min()), int(labels.max())])
    ax = base.one_axes(owner, ax, 5, 4.2)
    _draw_regions(ax, shares, across, up)
    for label in range(shares.shape[2]):
        own = points[labels == label]
        if len(own):
            ax.scatter(
                own[:, 0],
                own[:, 1],
                s=22,
                color=base.colour(label),
                marker=base.marker(label),
                edgecolors="white",
                linewidths=0.5,
                label=base.name_of(label, names),
            )
    ax.legend(fontsize=base.FONT_SIZE, loc="upper right")
    return base.figure_of(ax)


def _ticks(values: np.ndarray, count: int) -> np.ndarray:
    """Return `count` coordinates from below the smallest value to above the largest."""
    low, high = float(values.min()), float(values.max())
    margin = 0.1 * (high - low) or 1.0
    return np.linspace(low - margin, high + margin, count)


def _probabilities(model: "Model", points: np.ndarray) -> np.ndarray:
    """Return the model's probabilities (n, classes) for points (n, 2)."""
    scores = np.asarray(cuda.to_cpu(model.predict(points)), dtype=np.float64)
    if scores.ndim != 2:
        owner = "plot.decision_boundary"
        raise checks.error(owner, "model", "must have outputs (n, classes)", scores.shape)
    if scores.shape[1] == 1:
        is_logit = model.threshold == 0
        yes = kernels.sigmoid(scores) if is_logit else np.clip(scores, 0, 1)
        return np.hstack([1 - yes, yes])
    is_share = (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-4)
    return scores if is_share else kernels.softmax(scores)


def _draw_regions(ax: "Axes", shares: np.ndarray, across: np.ndarray, up: np.ndarray) -> None:
    """Colour the plane by the probabilities and draw the decision boundary."""
    from matplotlib.colors import to_rgb

    colours = np.array([to_rgb(base.colour(k)) for k in range(shares.shape[2])])
    light = 1 - _LIGHTNESS * (1 - colours)
    extent = (across[0], across[-1], up[0], up[-1])
    ax.imshow(
        np.clip(shares @ light, 0, 1),
        extent=extent,
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
    )
    for label in range(1 if shares.shape[2] == 2 else 0, shares.shape[2]):
        lead = shares[:, :, label] - np.delete(shares, label, axis=2).max(axis=2)
        if lead.min() < 0 < lead.max():
            ax.contour(across, up, lead, levels=[0], colors="black", linewidths=1)
