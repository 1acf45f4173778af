"""Classes of a dataset: how many there are, their names, weights, and their shares in a split."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import checks
from ..validation import class_of_rows, labels_of
from .rows import as_rows


def class_weights(labels: Any) -> dict[int, float]:
    """Return weights that make all classes count equally, for `fit(class_weight=...)`.

    A class without samples gets no weight.

    Parameters
    ----------
    labels
        Integers (n,) or (n, 1), or one-hot labels (n, classes): a dataset's `y`.

    Raises
    ------
    ValueError
        If the targets are not labels, or there are none.

    Notes
    -----
    The weight of a class is n / (classes * count), as for scikit-learn's 'balanced', after
    G. King, L. Zeng, "Logistic regression in rare events data", 2001. The mean over all samples
    is 1.

    Examples
    --------
    >>> class_weights([0, 0, 0, 1])
    {0: 0.6666666666666666, 1: 2.0}
    """
    y = as_rows("labels", labels, owner="class_weights")
    classes = labels_of(y)
    if classes is None or len(classes) == 0 or classes.min() < 0:
        rule = "must be integers of at least 0 or one-hot labels, and not empty"
        raise checks.error("class_weights", "labels", rule, labels)
    names, counts = np.unique(classes, return_counts=True)
    weights = len(classes) / (len(names) * counts)
    return dict(zip(names.tolist(), weights.tolist(), strict=True))


def check_no_gap(owner: str, argument: str, labels: Iterable[Any]) -> None:
    """Raise a ValueError for the first label that is missing: None, NaN, or pandas' NA or NaT.

    Examples
    --------
    >>> check_no_gap("Model", "y", ["plum", None])
    Traceback (most recent call last):
    ValueError: [Model] 'y' must have a label in each row: give it one, or leave the row out, got \
None in row 1.
    """
    for row, label in enumerate(labels):
        is_missing = label is None or type(label).__name__ in ("NAType", "NaTType")
        if is_missing or (isinstance(label, float) and math.isnan(label)):
            rule = "must have a label in each row: give it one, or leave the row out"
            raise ValueError(f"[{owner}] '{argument}' {rule}, got {label!r} in row {row}.")


def text_labels(y: Any, owner: str = "Dataset") -> tuple[np.ndarray, list[str]] | None:
    """Return labels that are texts as numbers (n,), and the names of the classes; None for others.

    The names are in alphabetical order; those of pandas' categories in the order of these.

    Parameters
    ----------
    y
        An array, a list, or a column of a table.
    owner
        What an error names.

    Raises
    ------
    ValueError
        If there are texts and a label is missing, which NumPy would make the text 'nan'; or if one
        is None.

    Examples
    --------
    >>> text_labels(["plum", "apple", "plum"])
    (array([1, 0, 1]), ['apple', 'plum'])
    >>> text_labels([1, 0]) is None
    True
    """
    dtype = getattr(y, "dtype", None)
    if getattr(dtype, "kind", "O") in "biufc" or getattr(y, "ndim", 1) != 1:
        return None
    labels = y.tolist() if hasattr(y, "tolist") else y
    if not isinstance(labels, list | tuple) or not labels:
        return None
    are_texts = [isinstance(label, str) for label in labels]
    if not all(are_texts):
        if any(are_texts) or any(label is None for label in labels):
            check_no_gap(owner, "y", labels)
        return None
    present, categories = set(labels), getattr(dtype, "categories", None)
    names = sorted(present) if categories is None else [c for c in categories if c in present]
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[label] for label in labels]), [str(name) for name in names]


def class_names_of(data: Any) -> list[str] | None:
    """Return the class names of a data set or of a source of batches, None without.

    They are its `class_names` or, as PyTorch's and Keras' folders of images have them, `classes`
    or `class_indices`; also those of the data set in a loader or a subset.

    Examples
    --------
    >>> from types import SimpleNamespace as Source
    >>> class_names_of(Source(dataset=Source(classes=["cat", "dog"])))
    ['cat', 'dog']
    >>> class_names_of(Source(classes=np.array([0, 1]), class_indices={"dog": 1, "cat": 0}))
    ['cat', 'dog']
    """
    seen: list[Any] = []
    while data is not None and not any(data is other for other in seen):
        seen.append(data)
        if getattr(data, "class_names", None) is not None:
            return list(data.class_names)
        indices = getattr(data, "class_indices", None)
        ordered = sorted(indices, key=indices.__getitem__) if isinstance(indices, dict) else None
        for names in (ordered, getattr(data, "classes", None)):
            if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
                return list(names)
        data = getattr(data, "dataset", None)
    return None


def count_classes(y: np.ndarray | None) -> int | None:
    """Return the number of classes of labels; None for other targets."""
    classes = class_of_rows(y)
    if y is None or classes is None or classes.min() < 0:
        return None
    return y.shape[1] if y.ndim == 2 else int(classes.max()) + 1


def stratified(order: np.ndarray, classes: np.ndarray, size: int) -> np.ndarray:
    """Return `size` rows, of each class its share, taken in the random `order`.

    A share is rounded down, and the samples still missing come from the classes with the largest
    remainders (Hamilton's method). A class gives its last sample only if no class can give
    another one.

    Examples
    --------
    >>> stratified(np.arange(6), np.array([0, 1, 2, 2, 2, 2]), 2).tolist()  # two classes of one
    [2, 3]
    """
    _, codes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    shares, remainders = np.divmod(counts * size, len(order))
    by_remainder = np.argsort(-remainders, kind="stable")
    while (missing := size - shares.sum()) > 0:
        left = (counts - shares)[by_remainder]
        candidates = by_remainder[left > 1] if (left > 1).any() else by_remainder[left > 0]
        shares[candidates[:missing]] += 1
    # The rows class after class, within each in random order; of each class the first ones.
    by_class = order[np.argsort(codes[order], kind="stable")]
    starts = np.cumsum(counts) - counts
    return np.concatenate([by_class[a : a + k] for a, k in zip(starts, shares, strict=True)])


def check_class_names(names: Any, y: np.ndarray | None) -> tuple[str, ...]:
    """Return names of classes as a tuple, or raise if they do not fit the targets."""
    if not isinstance(names, Iterable) or isinstance(names, str):
        raise checks.error("Dataset", "class_names", "must be a list of names", names)
    names = tuple(names)
    if not all(isinstance(name, str) for name in names):
        raise checks.error("Dataset", "class_names", "must be a list of names", names)
    needed = count_classes(y)
    # Integer labels may lack the last classes, one-hot labels have a column for each.
    exact = y is not None and y.ndim == 2
    if needed is not None and (needed > len(names) or (exact and needed < len(names))):
        raise ValueError(
            f"[Dataset] 'class_names' must name the {needed} classes of 'y', "
            f"got {len(names)} names."
        )
    return names


def can_relabel(names: Sequence[str], wanted: Sequence[str]) -> bool:
    """Return whether each name of `names` is one of `wanted`, and which one is certain.

    Examples
    --------
    >>> can_relabel(["plum", "kiwi"], ["kiwi", "pear", "plum"]), can_relabel(["fig"], ["kiwi"])
    (True, False)
    >>> cranes = ["crane", "lathe", "crane"]  # a bird and a machine, as in ImageNet
    >>> can_relabel(cranes, cranes), can_relabel(["lathe", "crane", "crane"], cranes)
    (True, False)
    """
    are_different = len(set(names)) == len(names) and len(set(wanted)) == len(wanted)
    return list(names) == list(wanted) or (are_different and set(names) <= set(wanted))


def relabeled(y: np.ndarray, names: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Return labels of classes with other numbers of the same names.

    Parameters
    ----------
    y
        Integer labels (n,) or (n, 1), or one-hot labels or shares (n, classes).
    names
        The names of the classes by their numbers in y.
    wanted
        Their names by the numbers to return, all of `names` among them.

    Examples
    --------
    >>> relabeled(np.array([0, 1, 1]), ["apple", "plum"], ["apple", "kiwi", "plum"])
    array([0, 2, 2])
    """
    numbers = np.array([list(wanted).index(name) for name in names])
    if y.ndim == 2 and y.shape[1] == len(names) and y.shape[1] > 1:
        rows = np.zeros((len(y), len(wanted)), y.dtype)
        rows[:, numbers] = y
        return rows
    labels = y.astype(np.int64)  # zeros and ones as floats too
    if (labels != y).any() or labels.min(initial=0) < 0 or labels.max(initial=0) >= len(names):
        rule = "must be labels, as the order of the class names differs from the model's"
        raise checks.error("Model", "y", rule, y.dtype)
    return numbers[labels].astype(y.dtype if y.dtype.kind == "f" else np.int64)
