"""Plots of training: learning curves, learning-rate range test, weight and gradient histograms."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, cuda
from ..inspect import explain
from . import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..model import Model
    from ..training.lr_finder import LRCurve

_TITLES = {"acc": "accuracy", "lr": "learning rate"}
_MARKS = 12  # markers along a line, at most
_WIDE = 30  # ratio of the largest to the smallest rate from which the scale is logarithmic


def learning_curves(
    history: Any, figures: Sequence[str] = ("loss", "acc", "lr"), axes: Any = None
) -> "Figure":
    """Draw the metrics of one training run, or of several, by epoch, one panel for each metric.

    Parameters
    ----------
    history
        The history that `fit` returns, any dictionary `{'loss': [...], 'val_loss': [...], ...}`, a
        trained model, or the path of a `CSVLogger` file; or a dictionary of these,
        `{'adam': history, 'sgd': 'sgd.csv'}`.
    figures
        The panels: 'loss' draws 'loss' and 'val_loss'. Metrics that no run has are skipped.
    axes
        As many Axes as there are panels; None creates a new figure.

    Raises
    ------
    ValueError
        If the history has none of the metrics, or there are too few Axes.
    OSError
        If a file cannot be read.

    Examples
    --------
    >>> runs = {"small": {"loss": [1.0, 0.5]}, "large": {"loss": [0.9, 0.2], "acc": [0.5, 0.9]}}
    >>> figure = learning_curves(runs)
    >>> [ax.get_title() for ax in figure.axes]
    ['loss', 'accuracy']
    """
    owner = "plot.learning_curves"
    runs = _as_runs(owner, history)
    wanted = [figures] if isinstance(figures, str) else list(figures)
    panels = [f for f in wanted if any(f in run or f"val_{f}" in run for run in runs.values())]
    if not panels:
        known = sorted({name for run in runs.values() for name in run if name != "epoch"})
        raise checks.error(owner, "figures", f"must be in the history, which has {known}", wanted)
    drawn = base.several_axes(owner, axes, len(panels), columns=3, width=4.2, height=3.4)
    for ax, figure in zip(drawn, panels, strict=True):
        for index, (name, run) in enumerate(runs.items()):
            _draw_run(ax, figure, index, name, run, is_alone=len(runs) == 1)
        _finish_panel(ax, figure)
    return base.figure_of(drawn[0])


def _draw_run(
    ax: "Axes", figure: str, index: int, name: str, run: dict[str, np.ndarray], is_alone: bool
) -> None:
    """Draw the training and validation curves of one metric of one run."""
    for is_validation, key in enumerate((figure, f"val_{figure}")):
        if key not in run:
            continue
        part = "validation" if is_validation else "training"
        style = (
            index + is_validation if is_alone else index
        )  # colours distinguish runs, or the parts of one
        values = run[key]
        ax.plot(
            run["epoch"][: len(values)],
            values,
            label=part if is_alone else name if figure == "lr" else f"{name}, {part}",
            color=base.colour(style),
            linestyle="--" if is_validation else "-",
            marker=base.marker(style),
            markersize=4,
            markerfacecolor="white" if is_validation else None,
            markevery=max(1, len(values) // _MARKS),
        )


def _finish_panel(ax: "Axes", figure: str) -> None:
    from matplotlib.ticker import MaxNLocator, NullFormatter

    ax.set_title(_TITLES.get(figure, figure))
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(alpha=0.3)
    if figure == "lr":
        rates = np.concatenate([np.asarray(line.get_ydata()) for line in ax.lines])
        positive = rates[np.isfinite(rates) & (rates > 0)]
        if positive.size and positive.max() >= _WIDE * positive.min():
            ax.set_yscale("log")
            ax.yaxis.set_minor_formatter(NullFormatter())
        else:
            ax.set_ylim(bottom=0)
    if figure != "lr" or len(ax.lines) > 1:
        ax.legend(fontsize=base.FONT_SIZE)


def _as_runs(owner: str, history: Any) -> dict[str, dict[str, np.ndarray]]:
    """Return {name: run}, each with its metrics and 'epoch', counted from 1."""

    def is_run(value: Any) -> bool:
        return isinstance(value, dict | str | os.PathLike) or hasattr(value, "history")

    if isinstance(history, dict) and any(is_run(value) for value in history.values()):
        return {str(name): _as_run(owner, run) for name, run in history.items()}
    return {"": _as_run(owner, history)}


def _as_run(owner: str, run: Any) -> dict[str, np.ndarray]:
    """Return the metrics of a run as arrays (epochs,)."""
    if isinstance(run, str | os.PathLike):
        figures = _read_csv(owner, Path(run))
    else:
        given = getattr(run, "history", run)
        if not isinstance(given, dict):
            rule = "must be a history, a dictionary of metrics, a model or a CSV file"
            raise checks.error(owner, "history", rule, run)
        figures = {str(name): _numbers(owner, name, values) for name, values in given.items()}
    longest = max((len(values) for values in figures.values()), default=0)
    if longest == 0:
        raise checks.error(owner, "history", "must hold at least one epoch", run)
    return {"epoch": np.arange(1, longest + 1), **figures}


def _numbers(owner: str, name: Any, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(())
    if array.ndim != 1:
        raise checks.error(owner, "history", f"must hold a list of numbers as {name!r}", values)
    return array


def _read_csv(owner: str, path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a `CSVLogger` file; 'NA' becomes NaN."""
    with path.open(newline="", encoding="utf-8") as file:
        head = file.readline()
        if not head.startswith("epoch") or len(head) < 7:
            rule = "must be a CSVLogger file, which begins with 'epoch'"
            raise checks.error(owner, "history", rule, str(path))
        file.seek(0)
        rows = list(csv.DictReader(file, delimiter=head[5]))  # the separator follows the name
    columns = {
        name: np.array([float(row[name].replace("NA", "nan")) for row in rows])
        for name in (rows[0] if rows else ())
    }
    if rows:
        columns["epoch"] = columns["epoch"] + 1  # in the file epochs count from 0
    return columns


def lr_range(curve: "LRCurve", ax: Any = None) -> "Figure":
    """Draw the result of `nn.find_lr`: the loss over the learning rate.

    The limits of the y axis follow the smoothed curve; outliers of single batches are cut off.

    Parameters
    ----------
    curve
        The result of `nn.find_lr`.
    ax
        Axes to draw into; None creates a new figure.

    Raises
    ------
    ValueError
        If `curve` is not a result of `nn.find_lr`, or has no steps.

    Examples
    --------
    >>> import nn
    >>> losses = np.array([2.0, 1.9, 0.9, 0.8, 3.0])
    >>> rates = np.array([0.01, 0.1, 1.0, 10.0, 100.0])
    >>> figure = lr_range(nn.LRCurve(rates, losses, losses, 1.0))
    >>> figure.axes[0].get_xscale()
    'log'
    """
    owner = "plot.lr_range"
    if not all(hasattr(curve, name) for name in ("lrs", "losses", "smoothed", "suggestion")):
        raise checks.error(owner, "curve", "must be the result of nn.find_lr", curve)
    if len(curve.lrs) == 0:
        raise checks.error(owner, "curve", "must hold at least one step", curve)
    ax = base.one_axes(owner, ax, 5, 3.6)
    ax.plot(curve.lrs, curve.losses, ".", color="0.6", markersize=4, label="each batch")
    ax.plot(curve.lrs, curve.smoothed, color=base.colour(0), label="smoothed")
    if curve.suggestion is not None:
        label = f"suggestion {curve.suggestion:.2g}"
        ax.axvline(curve.suggestion, color=base.colour(1), linestyle="--", label=label)
    ax.set_xscale("log")
    ax.set_xlabel("learning rate")
    ax.set_ylabel("loss")
    low, high = float(np.min(curve.smoothed)), float(np.max(curve.smoothed))
    if low < high < np.inf:
        ax.set_ylim(low - 0.3 * (high - low), high + 0.3 * (high - low))
    ax.grid(alpha=0.3)
    ax.legend(fontsize=base.FONT_SIZE)
    return base.figure_of(ax)


def weight_histograms(
    model: "Model", names: Sequence[str] | None = None, bins: int = 50, axes: Any = None
) -> "Figure":
    """Draw a histogram of the weights of each layer.

    Parameters
    ----------
    model
        A built model.
    names
        Names of arrays in `model.get_arrays()`, such as '7_Dense_W'; None uses all parameters with
        two or more axes.
    bins
        Number of bins of each histogram.
    axes
        As many Axes as arrays; None creates a new figure.

    Raises
    ------
    ValueError
        If the model has no such arrays.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Dense(8, input_shape=(4,)), nn.ReLU(), nn.Dense(2)], seed=0)
    >>> [ax.get_title() for ax in weight_histograms(model).axes]
    ['0_Dense_W', '2_Dense_W']
    """
    owner = "plot.weight_histograms"
    if not hasattr(model, "get_arrays"):
        raise TypeError(
            f"[{owner}] 'model' must be a model, got {type(model).__name__}: draw an array by "
            "matplotlib.pyplot.hist(array.ravel(), 50)."
        )
    arrays = {name: cuda.to_cpu(array) for name, array in model.get_arrays().items()}
    drawn = _histograms(owner, arrays, names, bins, axes)
    for ax, array in drawn:
        ax.set_xlabel(f"weight (std {array.std():.2g})")
    return base.figure_of(drawn[0][0])


def gradient_histograms(
    model: "Model",
    x: Any,
    y: Any,
    names: Sequence[str] | None = None,
    bins: int = 50,
    axes: Any = None,
) -> "Figure":
    """Draw a histogram of the gradient of the loss of one batch for the weights of each layer.

    The label of each is the norm of the gradient: if it shrinks or grows by orders of magnitude
    from layer to layer, gradients vanish or explode. Counts are on a logarithmic scale. The model
    is not changed.

    Parameters
    ----------
    model
        A compiled model.
    x, y
        A batch and its targets.
    names, bins, axes
        As in `weight_histograms`.

    Raises
    ------
    RuntimeError
        If the model is not compiled.
    ValueError
        As in `weight_histograms`, or if the batch does not match the model.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Dense(8, input_shape=(4,)), nn.ReLU(), nn.Dense(2)], seed=0)
    >>> model.compile("cce")
    >>> figure = gradient_histograms(model, np.eye(4), np.array([0, 1, 0, 1]))
    >>> [ax.get_title() for ax in figure.axes]
    ['0_Dense_W', '2_Dense_W']
    """
    owner = "plot.gradient_histograms"
    base.require_matplotlib(owner)
    from matplotlib.ticker import NullFormatter

    drawn = _histograms(owner, explain.weight_gradients(model, x, y), names, bins, axes)
    for ax, array in drawn:
        ax.set_xlabel(f"gradient (norm {np.linalg.norm(array):.2g})")
        ax.set_yscale("log", nonpositive="clip")
        ax.yaxis.set_minor_formatter(NullFormatter())
    return base.figure_of(drawn[0][0])


def _histograms(
    owner: str, arrays: dict[str, np.ndarray], names: Any, bins: int, axes: Any
) -> list[tuple["Axes", np.ndarray]]:
    """Draw a histogram of each of the named arrays; return the Axes and arrays."""
    bins = checks.positive_int(owner, "bins", bins)
    if names is None:
        names = [name for name, array in arrays.items() if array.ndim >= 2]
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in arrays:
            raise checks.unknown(owner, "names", name, arrays)
    if not names:
        raise ValueError(f"[{owner}] needs a model with kernels, this one has none.")
    drawn = base.several_axes(owner, axes, len(names), columns=4, width=2.9, height=2.4)
    for ax, name in zip(drawn, names, strict=True):
        ax.hist(arrays[name].ravel(), bins=bins, color=base.colour(0))
        ax.set_title(name, fontsize=10)
        ax.set_ylabel("count")
        ax.locator_params(axis="x", nbins=5)
    return [(ax, arrays[name]) for ax, name in zip(drawn, names, strict=True)]
