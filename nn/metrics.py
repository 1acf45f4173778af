"""What a trained model is judged by: measures of its predictions against the truth.

Each measure comes twice. As a function, `accuracy(y_true, y_pred)`, for arrays at hand; and
as a class whose objects the model feeds batch by batch: `reset`, then `update` for each
batch, then `result` for the whole. The classes keep counts and sums, not means of batches, so
the result does not depend on how the data was cut, and an uneven last batch does no harm. The
functions are those classes, used once.

Classes are decided here and nowhere else: several outputs by the largest, one output by a
threshold. Decisions are made on the device of the predictions; the few numbers left are
counted on the CPU, and every result is a Python float.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from . import checks, compat, cuda
from .registry import Registry

Array = Any  # numpy.ndarray or cupy.ndarray


# ------------------------------------------------------------- from arrays to classes


def _one_column(scores: Array) -> bool:
    """Tell whether there is one number for each sample, (n,) or (n, 1)."""
    return scores.ndim == 1 or scores.shape[1] == 1


def _check_lengths(owner: str, y_true: Array, y_pred: Array) -> None:
    """Raise where the arrays are not (n,) or (n, k), or do not hold the same samples."""
    if y_true.ndim not in (1, 2) or y_pred.ndim not in (1, 2) or len(y_true) != len(y_pred):
        raise ValueError(
            f"[{owner}] expects arrays of shape (n,) or (n, classes) with the same n, got "
            f"'y_true' of shape {y_true.shape} and 'y_pred' of shape {y_pred.shape}."
        )


def _predicted_classes(y_pred: Array, threshold: float) -> np.ndarray:
    """Return the decided class of each sample, integers (n,) on the CPU.

    The largest of several scores wins, the first of equal ones; one score of its own means
    class 1 where it is above `threshold`; integers (n,) are classes already.
    """
    if not _one_column(y_pred):
        return cuda.to_cpu(y_pred.argmax(axis=1))
    y_pred = y_pred.reshape(-1)
    if y_pred.dtype.kind in "iu":
        return cuda.to_cpu(y_pred).astype(np.int64)
    return cuda.to_cpu(y_pred > threshold).astype(np.int64)


def _true_classes(owner: str, y_true: Array, classes: int | None) -> np.ndarray:
    """Return the labels as integers (n,) on the CPU; `classes` is None where it is not known.

    One-hot rows and distributions give their largest entry. Numbers for a yes or a no may be
    floats, as binary cross-entropy takes them; above one half they mean yes.
    """
    if not _one_column(y_true):
        labels = cuda.to_cpu(y_true.argmax(axis=1))
    elif y_true.dtype.kind in "iub":
        labels = cuda.to_cpu(y_true.reshape(-1)).astype(np.int64)
    elif classes == 2 and bool(((y_true >= 0) & (y_true <= 1)).all()):
        labels = cuda.to_cpu(y_true.reshape(-1) > 0.5).astype(np.int64)
    else:
        raise ValueError(
            f"[{owner}] 'y_true' must hold integer labels or one-hot rows, got an array of "
            f"dtype {y_true.dtype} and shape {y_true.shape}."
        )
    if labels.size and (labels.min() < 0 or (classes is not None and labels.max() >= classes)):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        rule = "must be at least 0" if classes is None else f"must be in 0..{classes - 1}"
        raise checks.error(owner, "y_true", rule, int(wrong))
    return labels


def _class_pairs(
    owner: str, y_true: Any, y_pred: Any, threshold: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return true classes (n,), decided classes (n,) and how many classes there are."""
    y_true = checks.real_array(owner, "y_true", y_true)
    y_pred = checks.real_array(owner, "y_pred", y_pred)
    _check_lengths(owner, y_true, y_pred)
    if y_true.ndim == y_pred.ndim == 2 and 1 != y_true.shape[1] != y_pred.shape[1] != 1:
        _raise_shapes(owner, y_true, y_pred)
    decided = _predicted_classes(y_pred, threshold)
    if not _one_column(y_pred):
        classes = y_pred.shape[1]
    elif y_pred.dtype.kind in "iu":
        # Classes in place of scores: there are as many as are seen.
        labels = _true_classes(owner, y_true, None)
        if decided.size and decided.min() < 0:
            raise checks.error(owner, "y_pred", "must be at least 0", int(decided.min()))
        return labels, decided, max(2, *(int(a.max(initial=0)) + 1 for a in (labels, decided)))
    else:
        classes = 2
    return _true_classes(owner, y_true, classes), decided, classes


def confusion_matrix(y_true: Any, y_pred: Any, num_classes: int | None = None) -> np.ndarray:
    """Count how often each true class was taken for each class.

    Parameters
    ----------
    y_true
        Integer labels (n,), or one-hot rows (n, classes).
    y_pred
        Scores (n, classes), of which the largest decides; probabilities (n,) or (n, 1) of class
        1, decided at 0.5; or integer classes (n,).
    num_classes
        The size of the matrix; by default the columns of `y_pred`, 2 for one column of
        scores, one more than the largest of integer classes.

    Returns
    -------
    numpy.ndarray
        (num_classes, num_classes) integers: row is the true class, column the decided one.

    Raises
    ------
    ValueError
        Where shapes do not fit or a class lies outside 0..num_classes-1.

    Examples
    --------
    >>> confusion_matrix([0, 1, 2, 2], [0, 2, 2, 2])
    array([[1, 0, 0],
           [0, 0, 1],
           [0, 0, 2]])
    """
    labels, decided, classes = _class_pairs("confusion_matrix", y_true, y_pred, 0.5)
    if num_classes is not None:
        highest = max(int(a.max(initial=0)) for a in (labels, decided))
        if checks.positive_int("confusion_matrix", "num_classes", num_classes) <= highest:
            rule = f"must be above the largest class, {highest}"
            raise checks.error("confusion_matrix", "num_classes", rule, num_classes)
        classes = num_classes
    return _count_pairs(labels, decided, classes)


def _count_pairs(labels: np.ndarray, decided: np.ndarray, classes: int) -> np.ndarray:
    """Return the (classes, classes) counts of pairs (true, decided)."""
    # Each pair is one cell of the matrix laid out flat: count the cells.
    cells = np.bincount(labels * classes + decided, minlength=classes * classes)
    return cells.reshape(classes, classes)


# ---------------------------------------------------------------------- the classes


class Metric:
    """Base of all measures: fed batch by batch, exact for the whole.

    Attributes
    ----------
    name : str
        The key in the history.
    label : str
        The name under which `get` finds the same measure again.
    samples : int
        How many samples have been seen since `reset`.

    Examples
    --------
    >>> import numpy as np
    >>> metric = Accuracy()
    >>> metric.update(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]))
    >>> metric.update(np.array([1]), np.array([[0.3, 0.7]]))
    >>> metric.name, metric.result()
    ('acc', 0.75)
    """

    name: str = "metric"
    threshold: float | None = None

    def __init__(self) -> None:
        self.reset()

    @property
    def label(self) -> str:
        """The name under which `get` finds the same measure again."""
        return self.name

    def reset(self) -> None:
        """Forget all samples."""
        self.samples = 0

    def update(self, y_true: Any, y_pred: Any) -> None:
        """Take in a batch: truth and predictions with the samples along the first axis."""
        y_true = checks.real_array(type(self).__name__, "y_true", y_true)
        y_pred = checks.real_array(type(self).__name__, "y_pred", y_pred)
        if y_true.ndim == 0 or y_pred.ndim == 0 or len(y_true) != len(y_pred):
            raise ValueError(
                f"[{type(self).__name__}] expects as many predictions as labels, got 'y_true' "
                f"of shape {y_true.shape} and 'y_pred' of shape {y_pred.shape}."
            )
        self.add(y_true, y_pred)
        self.samples += len(y_true)

    def result(self) -> float:
        """Return the measure of all samples since `reset`.

        Raises
        ------
        RuntimeError
            Where there are none.
        """
        if self.samples == 0:
            raise RuntimeError(
                f"[{type(self).__name__}] has seen no samples: call update() before result()."
            )
        return float(self.compute())

    def state_dict(self) -> dict[str, Any]:
        """Return counts and sums by name, for a file that is saved within an epoch."""
        return {name: value for name, value in vars(self).items() if not callable(value)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        for name in vars(self).keys() & state.keys():
            setattr(self, name, state[name])

    def add(self, y_true: Array, y_pred: Array) -> None:
        """Add a batch to the sums; subclasses write it."""
        raise NotImplementedError(f"[{type(self).__name__}] must define add().")

    def compute(self) -> float:
        """Return the measure from the sums; subclasses write it."""
        raise NotImplementedError(f"[{type(self).__name__}] must define compute().")


class _ClassMetric(Metric):
    """Base of the measures of decisions, which have a threshold.

    Attributes
    ----------
    threshold : float or None
        One output means class 1 where it is above this. None leaves it to the model, which
        takes 0.0 for logits; elsewhere it is 0.5.
    elementwise : bool
        True where each of several outputs is a yes or a no of its own (several sigmoids under
        binary cross-entropy): every element then counts as a sample.
    """

    def __init__(self, threshold: float | None = None) -> None:
        super().__init__()
        if threshold is not None and not checks.is_number(threshold):
            raise checks.error(type(self).__name__, "threshold", "must be a number", threshold)
        self.threshold = None if threshold is None else float(threshold)
        self.elementwise = False

    def decide(self, y_true: Array, y_pred: Array) -> tuple[np.ndarray, np.ndarray, int]:
        """Return true classes (n,), decided classes (n,) and the number of classes."""
        owner = type(self).__name__
        if self.elementwise:
            y_true, y_pred = _elements(owner, y_true, y_pred)
        return _class_pairs(
            owner, y_true, y_pred, 0.5 if self.threshold is None else self.threshold
        )


def _elements(owner: str, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
    """Return both arrays flat, after checking that they hold as many elements."""
    if y_true.size != y_pred.size:
        _raise_shapes(owner, y_true, y_pred)
    return y_true.reshape(-1), y_pred.reshape(-1)


def _raise_shapes(owner: str, y_true: Array, y_pred: Array) -> None:
    """Raise the error for truth and predictions of different shapes."""
    raise ValueError(
        f"[{owner}] expects 'y_true' of the predictions' shape {y_pred.shape}, "
        f"got {y_true.shape}: reshape the targets."
    )


class Accuracy(_ClassMetric):
    """The share of samples whose class was decided rightly; see `accuracy`."""

    name = "acc"

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self.right = 0
        self.decisions = 0

    def add(self, y_true: Array, y_pred: Array) -> None:
        """Count the right decisions."""
        labels, decided, _ = self.decide(y_true, y_pred)
        self.right += int((labels == decided).sum())
        self.decisions += len(labels)

    def compute(self) -> float:
        """Return the share of right decisions."""
        return self.right / self.decisions


class TopKAccuracy(Metric):
    """The share of samples whose class is among the k largest scores; see `top_k_accuracy`.

    Its name says k where it is not 5: `'top_3_accuracy'`, which `get` understands too.
    """

    name = "top_k_accuracy"

    def __init__(self, k: int = 5) -> None:
        super().__init__()
        self.k = checks.positive_int(type(self).__name__, "k", k)
        if self.k != 5:
            self.name = f"top_{self.k}_accuracy"

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self.right = 0

    def add(self, y_true: Array, y_pred: Array) -> None:
        """Count the samples with fewer than k classes before the true one."""
        owner = type(self).__name__
        if y_pred.ndim != 2 or y_pred.shape[1] < 2:
            raise ValueError(f"[{owner}] expects scores of shape (n, classes), got {y_pred.shape}.")
        _check_lengths(owner, y_true, y_pred)
        xp = cuda.get_array_module(y_pred)
        classes = y_pred.shape[1]
        labels = xp.asarray(_true_classes(owner, y_true, classes))[:, None]  # (n, 1)
        scores = xp.take_along_axis(y_pred, labels, axis=1)  # (n, 1)
        # Before the true class stand all larger scores and, as with argmax, equal ones to its
        # left. "Not below or equal" in place of "above": a NaN score is never among the best.
        before = ~(y_pred <= scores) | ((y_pred == scores) & (xp.arange(classes) < labels))
        self.right += int((before.sum(axis=1) < self.k).sum())

    def compute(self) -> float:
        """Return the share of samples with the true class among the first k."""
        return self.right / self.samples


class _Counts(_ClassMetric):
    """Base of precision, recall and F1: they need right and wrong decisions by class."""

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self.counts = np.zeros((2, 2), dtype=np.int64)  # rows: true class, columns: decided
        self.binary = True

    def add(self, y_true: Array, y_pred: Array) -> None:
        """Add a batch to the confusion matrix, which grows with the classes seen."""
        labels, decided, classes = self.decide(y_true, y_pred)
        self.binary = self.elementwise or _one_column(y_pred)
        size = max(classes, len(self.counts))
        missing = size - len(self.counts)
        self.counts = np.pad(self.counts, (0, missing)) + _count_pairs(labels, decided, size)

    def compute(self) -> float:
        """Return the measure of class 1, or the mean over the classes that occur."""
        right = np.diag(self.counts)
        decided, true = self.counts.sum(axis=0), self.counts.sum(axis=1)
        if self.binary and len(self.counts) == 2:
            return self.of_class(int(right[1]), int(decided[1]), int(true[1]))
        return float(
            np.mean(
                [
                    self.of_class(int(right[c]), int(decided[c]), int(true[c]))
                    for c in range(len(self.counts))
                    if decided[c] or true[c]
                ]
            )
        )

    def of_class(self, right: int, decided: int, true: int) -> float:
        """Return the measure of one class from its counts; subclasses write it."""
        raise NotImplementedError(f"[{type(self).__name__}] must define of_class().")


class Precision(_Counts):
    """The share of right decisions among those for a class; see `precision`."""

    name = "precision"

    def of_class(self, right: int, decided: int, true: int) -> float:
        """Return right / decided, 0 where the class was never decided."""
        return right / decided if decided else 0.0


class Recall(_Counts):
    """The share of a class's samples that were found; see `recall`."""

    name = "recall"

    def of_class(self, right: int, decided: int, true: int) -> float:
        """Return right / true, 0 where the class never occurs."""
        return right / true if true else 0.0


class F1(_Counts):
    """The harmonic mean of precision and recall; see `f1`."""

    name = "f1"

    def of_class(self, right: int, decided: int, true: int) -> float:
        """Return 2 right / (decided + true), 0 where the class neither occurs nor was decided."""
        return 2 * right / (decided + true) if decided + true else 0.0


class AUC(_ClassMetric):
    """The area under the ROC curve; see `auc`. It keeps one score for each sample."""

    name = "auc"

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self.labels: list[np.ndarray] = []
        self.scores: list[np.ndarray] = []

    def add(self, y_true: Array, y_pred: Array) -> None:
        """Keep the labels and the scores for class 1."""
        owner = type(self).__name__
        if self.elementwise:
            y_true, y_pred = _elements(owner, y_true, y_pred)
        _check_lengths(owner, y_true, y_pred)
        if not _one_column(y_pred) and y_pred.shape[1] != 2:
            raise ValueError(
                f"[{owner}] expects scores of two classes, got 'y_pred' of shape {y_pred.shape}: "
                "judge one class at a time, auc(y_true == c, y_pred[:, c])."
            )
        # Two outputs order the samples by their difference, logits and probabilities alike.
        scores = y_pred.reshape(-1) if _one_column(y_pred) else y_pred[:, 1] - y_pred[:, 0]
        self.labels.append(_true_classes(owner, y_true, 2))
        self.scores.append(cuda.to_cpu(scores))

    def state_dict(self) -> dict[str, Any]:
        """Return labels and scores as one array each."""
        joined = {name: np.concatenate(getattr(self, name)) for name in ("labels", "scores")}
        return super().state_dict() | joined

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        labels, scores = state["labels"], state["scores"]
        if labels.ndim != 1 or labels.shape != scores.shape:
            rule = "must hold as many labels as scores, arrays (n,)"
            raise checks.error(type(self).__name__, "state", rule, (labels.shape, scores.shape))
        super().load_state_dict(state)
        self.labels, self.scores = [labels], [scores]

    def compute(self) -> float:
        """Return the area from the ranks of the scores, NaN where one class is missing."""
        labels, scores = np.concatenate(self.labels), np.concatenate(self.scores)
        positives = int(labels.sum())
        negatives = len(labels) - positives
        if positives == 0 or negatives == 0 or np.isnan(scores).any():
            return float("nan")
        _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
        # Equal scores share the mean of their ranks: the last one's, less half of the others.
        ranks = (np.cumsum(count) - (count - 1) / 2)[place]
        wins = ranks[labels == 1].sum() - positives * (positives + 1) / 2
        return float(wins / (positives * negatives))


class _ErrorMetric(Metric):
    """Base of the measures of distance, which need truth and predictions of one shape."""

    def differences(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        """Return truth and prediction minus truth in float64."""
        if y_true.shape != y_pred.shape:
            _raise_shapes(type(self).__name__, y_true, y_pred)
        xp = cuda.get_array_module(y_pred)
        y_true = xp.asarray(y_true, dtype=np.float64)
        return y_true, y_pred - y_true


class MeanSquaredError(_ErrorMetric):
    """The mean squared difference over all elements; see `mse`."""

    name = "mse"

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self.total = 0.0
        self.elements = 0

    def add(self, y_true: Array, y_pred: Array) -> None:
        """Add the errors of a batch."""
        _, difference = self.differences(y_true, y_pred)
        self.total += float(self.error(difference).sum())
        self.elements += difference.size

    def error(self, difference: Array) -> Array:
        """Return the error of each element."""
        return difference * difference

    def compute(self) -> float:
        """Return the mean error."""
        return self.total / self.elements


class MeanAbsoluteError(MeanSquaredError):
    """The mean absolute difference over all elements; see `mae`."""

    name = "mae"

    def error(self, difference: Array) -> Array:
        """Return the error of each element."""
        return abs(difference)


class R2(_ErrorMetric):
    """The share of the targets' variance that is explained; see `r2`."""

    name = "r2"

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        # One number for each output, once the first batch shows how many there are.
        self.mean: Any = 0.0
        self.residual: Any = 0.0  # sum of (y_true - y_pred)**2
        self.spread: Any = 0.0  # sum of (y_true - mean)**2

    def add(self, y_true: Array, y_pred: Array) -> None:
        """Merge a batch's mean and spread with those so far."""
        y_true, difference = self.differences(y_true, y_pred)
        n = len(y_true)
        if n == 0:
            return
        y_true = cuda.to_cpu(y_true).reshape(n, -1)  # (n, outputs)
        difference = cuda.to_cpu(difference).reshape(n, -1)
        mean = y_true.mean(axis=0)
        shift = mean - self.mean
        # The spread of two groups: each about its own mean, and between the means (Chan, Golub
        # and LeVeque 1979). The plain sum of squares would lose the digits of a large mean.
        between = shift**2 * (n * self.samples / (n + self.samples))
        self.spread = self.spread + ((y_true - mean) ** 2).sum(axis=0) + between
        self.mean = self.mean + shift * (n / (n + self.samples))
        self.residual = self.residual + (difference**2).sum(axis=0)

    def compute(self) -> float:
        """Return the mean over the outputs, NaN for fewer than two samples."""
        if self.samples < 2:
            return float("nan")
        varies = self.spread > 0
        share = 1 - self.residual / np.where(varies, self.spread, 1)
        # A constant target has nothing to explain: 1 for perfect predictions, else 0.
        return float(np.where(varies, share, self.residual == 0).mean())


class FunctionMetric(Metric):
    """A user's function `(y_true, y_pred) -> float`: its mean over batches, weighted by size.

    The function gets NumPy arrays, from whatever device they come.

    Parameters
    ----------
    function
        The function, whose name becomes the key in the history.
    """

    def __init__(self, function: Callable[[np.ndarray, np.ndarray], float]) -> None:
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        super().__init__()

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self.total = 0.0

    def add(self, y_true: Array, y_pred: Array) -> None:
        """Add the function's value, times the size of the batch."""
        value = self.function(cuda.to_cpu(y_true), cuda.to_cpu(y_pred))
        if not checks.is_number(value) and np.ndim(value):
            shape = np.shape(value)
            raise checks.error("Model", "metrics", f"{self.name!r} must return a number", shape)
        try:
            self.total += float(value) * len(y_true)
        except (TypeError, ValueError):
            rule = f"{self.name!r} must return a number"
            raise checks.error("Model", "metrics", rule, value) from None

    def compute(self) -> float:
        """Return the weighted mean."""
        return self.total / self.samples


# -------------------------------------------------------------------- the functions


def _once(metric: Metric, y_true: Any, y_pred: Any) -> float:
    """Return a metric's result for one pair of arrays."""
    metric.update(y_true, y_pred)
    return metric.result()


def accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> float:
    """Return the share of samples whose class is decided rightly.

    Parameters
    ----------
    y_true
        Integer labels (n,), or one-hot rows (n, classes), of which the largest entry counts.
    y_pred
        Scores (n, classes), of which the largest decides, the first of equal ones; scores (n,)
        or (n, 1) of class 1; or integer classes (n,).
    threshold
        One score means class 1 where it is above this: 0.5 for probabilities, 0.0 for logits.

    Raises
    ------
    ValueError
        Where shapes do not fit, or labels lie outside 0..classes-1.

    Examples
    --------
    >>> accuracy([0, 1, 1, 0], [0.1, 0.9, 0.4, 0.2])
    0.75
    """
    return _once(Accuracy(threshold), y_true, y_pred)


def top_k_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> float:
    """Return the share of samples whose true class is among the `k` largest scores.

    Of equal scores the first comes first, so that `k=1` is `accuracy`.

    Parameters
    ----------
    y_true
        Integer labels (n,), or one-hot rows (n, classes).
    y_pred
        Scores (n, classes).
    k
        How many guesses there are.

    Examples
    --------
    >>> top_k_accuracy([2, 0], [[0.5, 0.1, 0.4], [0.1, 0.5, 0.4]], k=2)
    0.5
    """
    return _once(TopKAccuracy(k), y_true, y_pred)


def precision(y_true: Any, y_pred: Any, threshold: float = 0.5) -> float:
    """Return how many of the decisions for a class are right.

    One column of scores, or integers 0 and 1, give the precision of class 1. Several columns
    give the mean over all classes that occur in the truth or the decisions, each counting alike
    (scikit-learn's `average='macro'`). A class never decided has precision 0.

    Parameters
    ----------
    y_true, y_pred, threshold
        As for `accuracy`.

    Examples
    --------
    >>> precision([0, 1, 1, 0], [0.9, 0.9, 0.8, 0.8])
    0.5
    """
    return _once(Precision(threshold), y_true, y_pred)


def recall(y_true: Any, y_pred: Any, threshold: float = 0.5) -> float:
    """Return how many of a class's samples are found; of which class, see `precision`.

    Parameters
    ----------
    y_true, y_pred, threshold
        As for `accuracy`.

    Examples
    --------
    >>> recall([0, 1, 1, 0], [0.9, 0.9, 0.2, 0.8])
    0.5
    """
    return _once(Recall(threshold), y_true, y_pred)


def f1(y_true: Any, y_pred: Any, threshold: float = 0.5) -> float:
    """Return the harmonic mean of precision and recall; of which class, see `precision`.

    Several classes give the mean of their F1 values, not the F1 of the means.

    Parameters
    ----------
    y_true, y_pred, threshold
        As for `accuracy`.

    Examples
    --------
    >>> f1([0, 1, 1, 0], [0.9, 0.9, 0.8, 0.2])
    0.8
    """
    return _once(F1(threshold), y_true, y_pred)


def auc(y_true: Any, y_pred: Any) -> float:
    """Return the area under the ROC curve of two classes, exactly.

    It is the share of pairs of a positive and a negative sample in which the positive one has
    the higher score, equal scores counting half (Mann and Whitney 1947).

    Parameters
    ----------
    y_true
        Labels 0 and 1 (n,), or one-hot rows (n, 2).
    y_pred
        Scores (n,) or (n, 1) of class 1, or of both classes (n, 2).

    Returns
    -------
    float
        From 0 to 1; 0.5 is chance. NaN where all samples are of one class.

    References
    ----------
    Hanley and McNeil, "The Meaning and Use of the Area under a Receiver Operating
    Characteristic (ROC) Curve", Radiology 143, 1982

    Examples
    --------
    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return _once(AUC(), y_true, y_pred)


def mse(y_true: Any, y_pred: Any) -> float:
    """Return the mean squared difference over all elements of two arrays of one shape.

    Examples
    --------
    >>> mse([1.0, 2.0], [1.0, 4.0])
    2.0
    """
    return _once(MeanSquaredError(), y_true, y_pred)


def mae(y_true: Any, y_pred: Any) -> float:
    """Return the mean absolute difference over all elements of two arrays of one shape.

    Examples
    --------
    >>> mae([1.0, 2.0], [1.0, 4.0])
    1.0
    """
    return _once(MeanAbsoluteError(), y_true, y_pred)


def r2(y_true: Any, y_pred: Any) -> float:
    """Return the coefficient of determination, the share of the variance that is explained.

    `1 - sum((y_true - y_pred)**2) / sum((y_true - mean(y_true))**2)` for each output, then the
    mean over the outputs; 1 is perfect, 0 no better than the mean, and it may be negative. A
    constant target gives 1 for perfect predictions, else 0; fewer than two samples give NaN.

    Parameters
    ----------
    y_true, y_pred
        Numbers (n,) or (n, outputs), of one shape.

    Examples
    --------
    >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    0.5
    """
    return _once(R2(), y_true, y_pred)


#: The measures by the names that `Model.compile` takes.
NAME2METRIC: Registry[type[Metric]] = Registry(
    "nn.metrics",
    "metric",
    {
        "accuracy": Accuracy,
        "top_k_accuracy": TopKAccuracy,
        "precision": Precision,
        "recall": Recall,
        "f1": F1,
        "auc": AUC,
        "mse": MeanSquaredError,
        "mae": MeanAbsoluteError,
        "r2": R2,
    },
    aliases=compat.METRICS,
)

# This module's functions stand for their classes, which are exact over batches.
_FUNCTIONS = (accuracy, top_k_accuracy, precision, recall, f1, auc, mse, mae, r2)


def get(metric: Any) -> Metric:
    """Return the metric for a name, a function or an object.

    Parameters
    ----------
    metric
        A name of `NAME2METRIC`, or one such as `'top_3_accuracy'`; a `Metric`; or a function
        `(y_true, y_pred) -> float`. A function of this module stands for its name.

    Raises
    ------
    ValueError
        For an unknown name; the error names the nearest.
    TypeError
        For anything else.

    Examples
    --------
    >>> get("accuracy").name
    'acc'
    >>> def largest_error(y_true, y_pred):
    ...     return abs(y_true - y_pred).max()
    >>> get(largest_error).name
    'largest_error'
    """
    if isinstance(metric, Metric):
        return metric
    if metric in _FUNCTIONS:
        metric = metric.__name__
    if isinstance(metric, str):
        top_k = re.fullmatch(r"top_([1-9]\d*)_accuracy", metric.lower())
        if top_k:
            return TopKAccuracy(int(top_k[1]))
        return NAME2METRIC.find(metric)()
    if not checks.takes(metric, 2):
        rule = "must be a name, a function (y_true, y_pred) -> float or a Metric object"
        raise TypeError(f"[nn.metrics] 'metric' {rule}, got {metric!r}.")
    return FunctionMetric(metric)
