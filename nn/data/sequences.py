"""Sequences: padded to one length, in windows, split in time, and in batches of similar lengths.

A series is an array (T,) or (T, D), one row for each step; a text is its ids (T,). Windows are
views of the series: a million windows of a hundred steps take no more memory than the series.

>>> series = np.arange(10.0)
>>> before, after = split_in_time(series, 0.3)
>>> scaler = SeriesScaler().fit(before)
>>> x, y = windows(scaler.transform(before), length=3)
>>> x.shape, y.shape
((4, 3), (4,))
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import checks, cuda
from .batching import check_rng
from .rows import as_rows

_SIDES = ("end", "start")
_TARGETS = ("last", "all", "shifted")


def pad(
    sequences: Sequence[Any],
    length: int | None = None,
    side: str = "end",
    value: float = 0,
    cut: str | None = None,
) -> np.ndarray:
    """Return sequences of different lengths as one array, filled up with a value.

    Parameters
    ----------
    sequences
        Arrays or lists (T,), or (T, D) with the same D.
    length
        Steps T of the result; None for those of the longest sequence.
    side
        Where a short sequence is filled up: 'end', or 'start' (Keras' 'pre').
    value
        The number to fill up with: the padding id of a vocabulary is 0.
    cut
        Where steps of a sequence that is longer than `length` are dropped: at its 'end' or
        'start'. None: it is an error.

    Returns
    -------
    numpy.ndarray
        (N, T) or (N, T, D); int64 for integers.

    Raises
    ------
    ValueError
        For no sequences, other shapes, a longer sequence without `cut`, or a value that is no
        integer if the sequences are.
    TypeError
        If values are not real numbers.

    Examples
    --------
    >>> pad([[1, 2, 3], [4]])
    array([[1, 2, 3],
           [4, 0, 0]])
    >>> pad([[1, 2, 3], [4]], length=2, side="start", cut="end")
    array([[1, 2],
           [0, 4]])
    """
    rows = _sequences("pad", sequences)
    for argument, place in (("side", side), ("cut", cut)):
        if place not in _SIDES and not (argument == "cut" and place is None):
            raise checks.unknown("pad", argument, place, _SIDES)
    longest = max(map(len, rows))
    steps = longest if length is None else checks.positive_int("pad", "length", length)
    if longest > steps and cut is None:
        rule = f"must be at least {longest}, the longest of the sequences, without 'cut'"
        raise checks.error("pad", "length", rule, length)
    dtype = np.result_type(*{row.dtype for row in rows})
    if dtype.kind != "f":
        dtype = np.dtype(np.int64)
    if not (checks.is_integer(value) or (dtype.kind == "f" and checks.is_number(value))):
        rule = "must be a number" if dtype.kind == "f" else "must be an integer, as the sequences"
        raise checks.error("pad", "value", rule, value)
    padded = np.full((len(rows), steps, *rows[0].shape[1:]), value, dtype=dtype)
    for target, row in zip(padded, rows, strict=True):
        kept = row[:steps] if cut == "end" else row[max(len(row) - steps, 0) :]
        target[(steps - len(kept) if side == "start" else 0) :][: len(kept)] = kept
    return padded


def windows(
    x: Any, length: int, horizon: int = 1, stride: int = 1, targets: str = "last"
) -> tuple[np.ndarray, np.ndarray]:
    """Return all windows of a series or a text, and what follows each of them.

    Both are views of x that cannot be written to: nothing is copied. Windows that overlap share
    steps, so split a series in time (`split_in_time`) before it is cut into windows: if windows
    are split at random, as by `fit(validation_split=...)`, those held out consist of steps that
    the model was trained on.

    Parameters
    ----------
    x
        A series (T,) or (T, D), or the ids (T,) of a text.
    length
        Steps in a window.
    horizon
        How many steps ahead the target is: 1 for the step that follows the window.
    stride
        Steps from the start of a window to that of the next.
    targets
        'last': the one step that is `horizon` steps after the window's last, as for a forecast.
        'all': each of the `horizon` steps after the window. 'shifted': for each step of the window
        the one `horizon` steps after it, as for a model of a text, which predicts the next id.

    Returns
    -------
    inputs
        (N, length) or (N, length, D).
    targets
        (N,) or (N, D) for 'last', (N, horizon, ...) for 'all', (N, length, ...) for 'shifted'.

    Raises
    ------
    ValueError
        If the series is shorter than `length + horizon`, or an argument is out of range.
    TypeError
        If x holds no real numbers, as a text that is not encoded.

    Examples
    --------
    >>> x, y = windows(np.arange(6), length=3)
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [1, 2, 3], [2, 3, 4]], [3, 4, 5])
    >>> x, y = windows(np.arange(6), length=2, stride=2, targets="shifted")
    >>> x.tolist(), y.tolist()
    ([[0, 1], [2, 3]], [[1, 2], [3, 4]])
    """
    series = _series("windows", x)
    length = checks.positive_int("windows", "length", length)
    horizon = checks.positive_int("windows", "horizon", horizon)
    stride = checks.positive_int("windows", "stride", stride)
    if targets not in _TARGETS:
        raise checks.unknown("windows", "targets", targets, _TARGETS)
    if length + horizon > len(series):
        raise ValueError(
            f"[windows] 'length' and 'horizon' must together be at most the {len(series)} steps of "
            f"'x', got {length} + {horizon}: use shorter windows, or a longer series."
        )
    count = len(series) - length - horizon + 1
    inputs = _views(series, length)[:count:stride]
    if targets == "last":
        return inputs, _views(series, 1)[length + horizon - 1 :: stride, 0]
    steps, first = (horizon, length) if targets == "all" else (length, horizon)
    return inputs, _views(series, steps)[first : first + count : stride]


def _views(series: np.ndarray, length: int) -> np.ndarray:
    """Return all windows (N, length, ...) of a series (T, ...)."""
    views = np.lib.stride_tricks.sliding_window_view(series, length, axis=0)
    return np.moveaxis(views, -1, 1)  # (N, ..., length) -> (N, length, ...)


def split_in_time(x: Any, fraction: float, overlap: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the earlier and the later part of a series, which are never mixed.

    Parameters
    ----------
    x
        A series (T, ...), or targets or windows in their order of time.
    fraction
        Share of the later part, between 0 and 1: `round(fraction * T)` steps.
    overlap
        Steps before the later part that it begins with, so that its first step can be predicted
        from a window: `length + horizon - 1`. Use them as inputs alone.

    Returns
    -------
    before, after
        Views of x.

    Raises
    ------
    ValueError
        If one part would be empty, or the overlap is longer than the earlier part.

    Examples
    --------
    >>> before, after = split_in_time(np.arange(10), 0.3, overlap=2)
    >>> before.tolist(), after.tolist()
    ([0, 1, 2, 3, 4, 5, 6], [5, 6, 7, 8, 9])
    """
    series = _series("split_in_time", x)
    fraction = checks.fraction("split_in_time", "fraction", fraction)
    later = round(fraction * len(series))
    start = len(series) - later
    if not 0 < later < len(series):
        rule = f"must leave steps in both parts of {len(series)}"
        raise checks.error("split_in_time", "fraction", rule, fraction)
    if checks.non_negative_int("split_in_time", "overlap", overlap) > start:
        rule = f"must be at most the {start} steps of the earlier part"
        raise checks.error("split_in_time", "overlap", rule, overlap)
    return series[:start], series[start - overlap :]


class SeriesScaler:
    """Bring each column of a series to mean 0 and deviation 1, as measured on the training part.

    `fit` is called with the training part alone: a mean over all steps would tell the model about
    the future. `nn.Standardize` does the same as a layer, for inputs alone; a forecast has to be
    scaled back. The methods are named as those of scikit-learn's `StandardScaler`.

    Attributes
    ----------
    mean, std : numpy.ndarray or None
        Of shape () or (D,). A column that never changes has the `std` 1.

    Examples
    --------
    >>> scaler = SeriesScaler().fit([10.0, 20.0])
    >>> scaler.transform([15.0, 30.0]), scaler.inverse_transform([0.0, 3.0])
    (array([0., 3.]), array([15., 30.]))
    """

    def __init__(self) -> None:
        self.mean: np.ndarray | None = None
        self.std: np.ndarray | None = None

    def fit(self, x: Any) -> "SeriesScaler":
        """Measure mean and deviation of a series (T,) or (T, D) and return the scaler.

        Raises
        ------
        ValueError
            If it holds NaN or infinite values, or such large ones that their squares overflow.
        """
        series = _series("SeriesScaler", x)
        if series.ndim > 2:
            raise checks.error("SeriesScaler", "x", "must be (T,) or (T, D)", series.shape)
        if not np.isfinite(series).all():
            raise ValueError("[SeriesScaler] 'x' must be finite, got NaN or infinite values.")
        with np.errstate(over="ignore", invalid="ignore"):
            std = series.std(axis=0, dtype=np.float64)
        if not np.isfinite(std).all():
            rule = "must be small enough for its variance in float64"
            raise checks.error("SeriesScaler", "x", rule, float(np.abs(series).max()))
        changes = series.min(axis=0) < series.max(axis=0)  # std of a constant may round to 1e-17
        self.mean, self.std = series.mean(axis=0, dtype=np.float64), np.where(changes, std, 1.0)
        return self

    def transform(self, x: Any) -> np.ndarray:
        """Return (x - mean) / std for a series or windows of it; D is the last axis."""
        series, mean, std = self._fitted(x)
        return (series - mean) / std

    def inverse_transform(self, x: Any) -> np.ndarray:
        """Return x * std + mean: forecasts in the unit of the series."""
        series, mean, std = self._fitted(x)
        return series * std + mean

    def _fitted(self, x: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.mean is None or self.std is None:
            raise RuntimeError("[SeriesScaler] is not fitted: call fit() with the training part.")
        series = checks.real_array("SeriesScaler", "x", x)
        if self.mean.ndim and series.shape[-1:] != self.mean.shape:
            rule = f"must have {len(self.mean)} columns"
            raise checks.error("SeriesScaler", "x", rule, series.shape)
        dtype = series.dtype if series.dtype.kind == "f" else np.dtype(np.float64)
        return series, self.mean.astype(dtype), self.std.astype(dtype)


class Buckets:
    """Batches of sequences of similar lengths, each padded to the longest of the batch.

    A batch of short sequences takes as many steps as they have. In each epoch other sequences of
    about the same length (within a fifth) share a batch, and the batches are in another order.
    `fit`, `evaluate` and `predict` take it as data; the last two, which do not shuffle, keep the
    order of the sequences.

    Parameters
    ----------
    sequences
        Arrays or lists (T,), or (T, D) with the same D, none of them empty.
    y
        A target for each sequence, (n, ...); None for none.
    side, value
        As in `pad`.

    Raises
    ------
    ValueError, TypeError
        As `pad` does; if a sequence is empty, or there is not one target for each.

    Examples
    --------
    >>> buckets = Buckets([[1], [1, 2, 3], [4, 5], [6]], [0, 1, 1, 0])
    >>> for x, y in buckets.batches(2, rng=np.random.default_rng(0)):
    ...     print(x.tolist(), y.tolist())
    [[6], [1]] [0, 0]
    [[4, 5, 0], [1, 2, 3]] [1, 1]
    """

    def __init__(
        self, sequences: Sequence[Any], y: Any = None, side: str = "end", value: float = 0
    ):
        self.sequences = _sequences("Buckets", sequences)
        self.lengths = np.array([len(row) for row in self.sequences])
        if self.lengths.min() == 0:
            at = int(self.lengths.argmin())
            raise checks.error("Buckets", "sequences", "must not be empty", f"sequence {at} empty")
        self.y = None if y is None else as_rows("y", y, len(self), owner="Buckets")
        self.side, self.value = side, value
        pad(self.sequences[:1], None, side, value)  # which checks the arguments

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.sequences)

    def batches(
        self, batch_size: int, shuffle: bool = True, rng: np.random.Generator | None = None
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield each sequence once, in batches (x, y) with x (batch_size, T, ...).

        Parameters
        ----------
        batch_size
            Sequences in a batch; one of them has the remaining ones.
        shuffle
            Whether sequences of similar lengths share a batch, in random order; otherwise the
            order of the sequences is kept.
        rng
            The random generator; None for a new one, which `nn.seed` fixes.
        """
        size = checks.positive_int("Buckets", "batch_size", batch_size)
        order = np.arange(len(self))
        if shuffle:
            rng = check_rng(rng)
            order = np.argsort(self.lengths * rng.uniform(0.9, 1.1, len(self)))
        starts = np.arange(0, len(self), size)
        for start in rng.permutation(starts) if shuffle and rng is not None else starts:
            rows = order[start : start + size]
            x = pad([self.sequences[row] for row in rows], None, self.side, self.value)
            yield x, None if self.y is None else self.y[rows]


def _series(owner: str, x: Any) -> np.ndarray:
    """Return a series as an array on the CPU with at least one step."""
    series = as_rows("x", x, owner=owner)
    if len(series) == 0:
        raise checks.error(owner, "x", "must hold at least one step", series.shape)
    return series


def _sequences(owner: str, sequences: Any) -> list[np.ndarray]:
    """Return sequences as arrays (T,), or (T, D) with the same D."""
    if isinstance(sequences, str | bytes) or not isinstance(sequences, Iterable):
        rule = "must be a list of sequences of numbers"
        raise checks.error(owner, "sequences", rule, sequences)
    rows = [np.zeros(0, int) if _is_empty(row) else row for row in sequences]
    rows = [cuda.to_cpu(checks.real_array(owner, "sequences", row)) for row in rows]
    if not rows:
        raise checks.error(owner, "sequences", "must hold at least one sequence", rows)
    for row in rows:
        if row.ndim not in (1, 2) or row.shape[1:] != rows[0].shape[1:]:
            rule = "must have the shape (T,), or (T, D) with the same D"
            raise checks.error(owner, "sequences", rule, row.shape)
    return rows


def _is_empty(row: Any) -> bool:
    """Return whether a sequence is an empty list, of which NumPy would make floats."""
    return isinstance(row, list | tuple) and not row
