"""Metrics of classes: accuracy, precision, recall, F1 and the area under the ROC curve."""

from typing import Any

import numpy as np

from .. import checks, cuda
from .base import Array, Metric, result_of
from .decisions import (
    as_rows,
    check_lengths,
    class_pairs,
    count_pairs,
    flattened,
    is_column,
    true_classes,
)


class DecisionMetric(Metric):
    """Base of the metrics of decisions, which have a threshold.

    Attributes
    ----------
    threshold : float or None
        One output means class 1 if it is above this. None leaves it to the model, which
        sets 0.0 for logits; otherwise it is 0.5.
    elementwise : bool
        True if each of several outputs is a decision of its own (several sigmoids under
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
            y_true, y_pred = flattened(owner, y_true, y_pred)
        threshold = 0.5 if self.threshold is None else self.threshold
        return class_pairs(owner, y_true, y_pred, threshold)


class Accuracy(DecisionMetric):
    """The share of samples whose class was decided correctly; see `accuracy`."""

    name = "acc"
    sums = ("samples", "right", "decisions")

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

    Its name contains k if it is not 5: `'top_3_accuracy'`, which `get` understands too.
    """

    name = "top_k_accuracy"
    sums = ("samples", "right")

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
        owner, samples = type(self).__name__, len(y_true)
        y_true, y_pred = as_rows(owner, y_true, y_pred)
        self.samples += len(y_true) - samples  # `update` adds the others
        if y_pred.ndim != 2 or y_pred.shape[1] < 2:
            raise ValueError(f"[{owner}] expects scores of shape (n, classes), got {y_pred.shape}.")
        check_lengths(owner, y_true, y_pred)
        xp = cuda.get_array_module(y_pred)
        classes = y_pred.shape[1]
        labels = xp.asarray(true_classes(owner, y_true, classes))[:, None]  # (n, 1)
        scores = xp.take_along_axis(y_pred, labels, axis=1)  # (n, 1)
        # Larger scores come before the true class and, as with argmax, equal ones to its left.
        # "Not below or equal" instead of "above": a NaN score is never among the best.
        before = ~(y_pred <= scores) | ((y_pred == scores) & (xp.arange(classes) < labels))
        self.right += int((before.sum(axis=1) < self.k).sum())

    def compute(self) -> float:
        """Return the share of samples with the true class among the first k."""
        return self.right / self.samples


class CountMetric(DecisionMetric):
    """Base of precision, recall and F1, which are computed from counts of decisions."""

    sums = ("samples", "counts")

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self.counts = np.zeros((2, 2), dtype=np.int64)  # rows: true class, columns: decided
        self.binary = True

    def add(self, y_true: Array, y_pred: Array) -> None:
        """Add a batch to the confusion matrix, which grows with the classes seen."""
        labels, decided, classes = self.decide(y_true, y_pred)
        self.binary = self.elementwise or is_column(y_pred)
        size = max(classes, len(self.counts))
        missing = size - len(self.counts)
        self.counts = np.pad(self.counts, (0, missing)) + count_pairs(labels, decided, size)

    def compute(self) -> float:
        """Return the metric of class 1, or the mean over the classes that occur."""
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
        """Return the metric of one class from its counts; subclasses write it."""
        raise NotImplementedError(f"[{type(self).__name__}] must define of_class().")


class Precision(CountMetric):
    """The share of right decisions among those for a class; see `precision`."""

    name = "precision"

    def of_class(self, right: int, decided: int, true: int) -> float:
        """Return right / decided, 0 if the class was never decided."""
        return right / decided if decided else 0.0


class Recall(CountMetric):
    """The share of a class's samples that were found; see `recall`."""

    name = "recall"

    def of_class(self, right: int, decided: int, true: int) -> float:
        """Return right / true, 0 if the class never occurs."""
        return right / true if true else 0.0


class F1(CountMetric):
    """The harmonic mean of precision and recall; see `f1`."""

    name = "f1"

    def of_class(self, right: int, decided: int, true: int) -> float:
        """Return 2 right / (decided + true), 0 if the class neither occurs nor was decided."""
        return 2 * right / (decided + true) if decided + true else 0.0


class AUC(DecisionMetric):
    """The area under the ROC curve; see `auc`. It keeps one score for each sample."""

    name = "auc"

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self.labels: list[np.ndarray] = []
        self.scores: list[np.ndarray] = []

    def check_outputs(self, outputs: int | None) -> None:
        """Raise for more than two classes."""
        if outputs not in (None, 1, 2) and not self.elementwise:
            raise ValueError(
                f"[{type(self).__name__}] 'metrics' must not hold 'auc' for more than two classes, "
                f"got {outputs} outputs of the last layer: compute it for one class at a time, "
                "nn.metrics.auc(y == c, model.predict(x)[:, c])."
            )

    def add(self, y_true: Array, y_pred: Array) -> None:
        """Keep the labels and the scores for class 1."""
        owner = type(self).__name__
        if self.elementwise:
            y_true, y_pred = flattened(owner, y_true, y_pred)
        y_true, y_pred = as_rows(owner, y_true, y_pred)
        check_lengths(owner, y_true, y_pred)
        if not is_column(y_pred) and y_pred.shape[1] != 2:
            raise ValueError(
                f"[{owner}] expects scores of two classes, got 'y_pred' of shape {y_pred.shape}: "
                "compute it for one class at a time, auc(y_true == c, y_pred[:, c])."
            )
        # Two outputs order the samples by their difference, logits and probabilities alike: in
        # float64, as 1e-8 - 1 and 1e-9 - 1 are the same in float32.
        scores = y_pred.reshape(-1)
        if not is_column(y_pred):
            scores = y_pred[:, 1].astype(np.float64) - y_pred[:, 0]
        self.labels.append(true_classes(owner, y_true, 2))
        self.scores.append(cuda.to_cpu(scores))

    def state_dict(self) -> dict[str, Any]:
        """Return labels and scores as one array each."""
        joined = {name: np.concatenate(getattr(self, name)) for name in ("labels", "scores")}
        return super().state_dict() | joined

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace labels and scores by what `state_dict` returned."""
        labels, scores = state["labels"], state["scores"]
        if labels.ndim != 1 or labels.shape != scores.shape:
            rule = "must hold labels and scores of one shape (n,)"
            raise checks.error(type(self).__name__, "state", rule, (labels.shape, scores.shape))
        super().load_state_dict(state)
        self.labels, self.scores = [labels], [scores]

    def compute(self) -> float:
        """Return the area from the ranks of the scores, NaN if one class is missing."""
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


# ------------------------------------------------------------------- the functions


def accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> float:
    """Return the share of samples whose class is decided correctly.

    Parameters
    ----------
    y_true
        Integer labels (n,), or one-hot rows (n, classes), of which the largest entry counts. For
        sequences labels of the steps (N, T), for images labels of the pixels (N, H, W).
    y_pred
        Scores (n, classes), of which the largest decides, the first of equal ones; scores (n,)
        or (n, 1) of class 1; or integer classes (n,). For sequences scores (N, T, classes), for
        images (N, classes, H, W).
    threshold
        One score means class 1 if it is above this: 0.5 for probabilities, 0.0 for logits.

    Raises
    ------
    ValueError
        If shapes do not fit, or labels are outside 0..classes-1.

    Examples
    --------
    >>> accuracy([0, 1, 1, 0], [0.1, 0.9, 0.4, 0.2])
    0.75
    """
    return result_of(Accuracy(threshold), y_true, y_pred)


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
        The number of largest scores that count.

    Examples
    --------
    >>> top_k_accuracy([2, 0], [[0.5, 0.1, 0.4], [0.1, 0.5, 0.4]], k=2)
    0.5
    """
    return result_of(TopKAccuracy(k), y_true, y_pred)


def precision(y_true: Any, y_pred: Any, threshold: float = 0.5) -> float:
    """Return the share of the decisions for a class that are right.

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
    return result_of(Precision(threshold), y_true, y_pred)


def recall(y_true: Any, y_pred: Any, threshold: float = 0.5) -> float:
    """Return the share of a class's samples that are found; of which class, see `precision`.

    Parameters
    ----------
    y_true, y_pred, threshold
        As for `accuracy`.

    Examples
    --------
    >>> recall([0, 1, 1, 0], [0.9, 0.9, 0.2, 0.8])
    0.5
    """
    return result_of(Recall(threshold), y_true, y_pred)


def f1(y_true: Any, y_pred: Any, threshold: float = 0.5) -> float:
    """Return the harmonic mean of precision and recall; see `precision` for which class.

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
    return result_of(F1(threshold), y_true, y_pred)


def auc(y_true: Any, y_pred: Any) -> float:
    """Return the area under the ROC curve of two classes, exactly.

    It is the share of pairs of a positive and a negative sample in which the positive one has
    the higher score, equal scores counting half (Mann and Whitney 1947).

    Parameters
    ----------
    y_true
        Labels 0 and 1 (n,), or one-hot rows (n, 2); those of steps (N, T) or pixels (N, H, W) too.
    y_pred
        Scores (n,) or (n, 1) of class 1, or of both classes (n, 2); of sequences (N, T, 1 or 2),
        of images (N, 1 or 2, H, W).

    Returns
    -------
    float
        From 0 to 1; 0.5 is chance. NaN if all samples are of one class.

    References
    ----------
    Hanley and McNeil, "The Meaning and Use of the Area under a Receiver Operating
    Characteristic (ROC) Curve", Radiology 143, 1982

    Examples
    --------
    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return result_of(AUC(), y_true, y_pred)
