"""From arrays to classes: the class that a prediction decides for, and the true one.

Several outputs decide by the largest, one output by a threshold. Decisions are made on the device
of the predictions; the integers that are left are counted on the CPU.
"""

from typing import Any

import numpy as np

from .. import checks, cuda, kernels

Array = Any  # numpy.ndarray or cupy.ndarray


def is_column(scores: Array) -> bool:
    """Return whether there is one number for each label, (n,) or (n, 1), and not one a class."""
    return scores.ndim == 1 or scores.shape[kernels.class_axis(scores.ndim)] == 1


def shape_error(owner: str, y_true: Array, y_pred: Array) -> ValueError:
    """Return the error for targets and predictions of different shapes."""
    return ValueError(
        f"[{owner}] expects 'y_true' of the predictions' shape {y_pred.shape}, "
        f"got {y_true.shape}: reshape the targets."
    )


def check_lengths(owner: str, y_true: Array, y_pred: Array) -> None:
    """Raise unless the arrays are (n,) or (n, k), for the same samples."""
    if y_true.ndim not in (1, 2) or y_pred.ndim not in (1, 2) or len(y_true) != len(y_pred):
        raise ValueError(
            f"[{owner}] expects arrays of shape (n,) or (n, classes) with the same n, got "
            f"'y_true' of shape {y_true.shape} and 'y_pred' of shape {y_pred.shape}."
        )


def as_rows(owner: str, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
    """Return targets and predictions of steps or pixels as those of samples, (n,) or (n, classes).

    Predictions (N, T, classes) have the labels (N, T), images (N, classes, H, W) have (N, H, W);
    one-hot targets have the predictions' shape.
    """
    if y_pred.ndim not in (3, 4):
        return y_true, y_pred
    axis = kernels.class_axis(y_pred.ndim)
    labels = (*y_pred.shape[:axis], *y_pred.shape[axis + 1 :])
    if y_true.shape == labels:
        return y_true.reshape(-1), kernels.class_rows(y_pred)
    if y_true.shape != y_pred.shape:
        raise ValueError(
            f"[{owner}] expects 'y_true' as labels of shape {labels}, got 'y_true' of shape "
            f"{y_true.shape} and 'y_pred' of shape {y_pred.shape}."
        )
    return kernels.class_rows(y_true), kernels.class_rows(y_pred)


def flattened(owner: str, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
    """Return both arrays flat, after checking that they hold as many elements."""
    if y_true.size != y_pred.size:
        raise shape_error(owner, y_true, y_pred)
    return y_true.reshape(-1), y_pred.reshape(-1)  # (n, k) -> (n * k,)


def check_one_label(owner: str, rows: Array) -> None:
    """Raise if rows of zeros and ones name several classes for a sample, or none.

    Rows of other numbers are distributions, or scores.
    """
    sums = rows.sum(axis=1)
    if bool((sums == 1).all()):
        return
    wrong = ((rows == 0) | (rows == 1)).all(axis=1) & (sums != 1)
    if bool(wrong.any()):
        first = int(wrong.argmax())
        raise ValueError(
            f"[{owner}] 'y_true' must hold one-hot rows, one class for a sample, got "
            f"{int(sums[first])} classes in row {first}: for several labels of each sample pass "
            "y_true.reshape(-1) and y_pred.reshape(-1), where each label counts by itself, or one "
            "column of both for one label."
        )


def true_classes(owner: str, y_true: Array, classes: int | None) -> np.ndarray:
    """Return the labels as integers (n,) on the CPU; `classes` is None if it is not known.

    One-hot rows and distributions give their largest entry. Numbers for a yes or a no may be
    floats, as in binary cross-entropy; above one half they mean yes.
    """
    if not is_column(y_true):
        check_one_label(owner, y_true)
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


def class_pairs(
    owner: str, y_true: Array, y_pred: Array, threshold: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return true classes (n,), decided classes (n,) and the number of classes.

    The largest of several scores decides, the first of equal ones; a single score decides for
    class 1 if it is above `threshold`; integers (n,) are classes already. Each step of sequences
    and each pixel of images counts as a sample.
    """
    if y_pred.ndim > 2:
        y_true, y_pred = as_rows(owner, y_true, y_pred)
    check_lengths(owner, y_true, y_pred)
    if not is_column(y_pred):
        classes = y_pred.shape[1]
        if y_true.ndim == 2 and y_true.shape[1] not in (1, classes):
            raise shape_error(owner, y_true, y_pred)
        return true_classes(owner, y_true, classes), cuda.to_cpu(y_pred.argmax(axis=1)), classes
    y_pred = y_pred.reshape(-1)  # (n, 1) -> (n,)
    if y_pred.dtype.kind not in "iu":
        decided = cuda.to_cpu(y_pred > threshold).astype(np.int64)
        return true_classes(owner, y_true, 2), decided, 2
    decided = cuda.to_cpu(y_pred).astype(np.int64)
    labels = true_classes(owner, y_true, None)
    if decided.size and decided.min() < 0:
        raise checks.error(owner, "y_pred", "must be at least 0", int(decided.min()))
    seen = [int(array.max(initial=0)) + 1 for array in (labels, decided)]
    return labels, decided, max(2, *seen)


def count_pairs(labels: np.ndarray, decided: np.ndarray, classes: int) -> np.ndarray:
    """Return the (classes, classes) counts of pairs (true, decided)."""
    # Each pair is one cell of the flattened matrix: count the cells.
    cells = np.bincount(labels * classes + decided, minlength=classes * classes)
    return cells.reshape(classes, classes)


def confusion_matrix(y_true: Any, y_pred: Any, num_classes: int | None = None) -> np.ndarray:
    """Count how often each class was decided for samples of each true class.

    Parameters
    ----------
    y_true
        Integer labels (n,), or one-hot rows (n, classes); (N, T) or (N, H, W) for sequences or
        images.
    y_pred
        Scores (n, classes), (N, T, classes) or (N, classes, H, W), of which the largest decides;
        probabilities (n,) or (n, 1) of class
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
        If shapes do not fit or a class is outside 0..num_classes-1.

    Examples
    --------
    >>> confusion_matrix([0, 1, 2, 2], [0, 2, 2, 2])
    array([[1, 0, 0],
           [0, 0, 1],
           [0, 0, 2]])
    """
    owner = "confusion_matrix"
    y_true = checks.real_array(owner, "y_true", y_true)
    y_pred = checks.real_array(owner, "y_pred", y_pred)
    labels, decided, classes = class_pairs(owner, y_true, y_pred, 0.5)
    if num_classes is not None:
        highest = max(int(a.max(initial=0)) for a in (labels, decided))
        if checks.positive_int(owner, "num_classes", num_classes) <= highest:
            rule = f"must be above the largest class, {highest}"
            raise checks.error(owner, "num_classes", rule, num_classes)
        classes = num_classes
    return count_pairs(labels, decided, classes)
