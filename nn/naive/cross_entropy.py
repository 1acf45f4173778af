"""The softmax cross-entropy and its gradient in loops."""

import math
from typing import Any

import numpy as np

from .. import checks
from .arguments import array_of


def softmax_cross_entropy_naive(logits: Any, labels: Any) -> float:
    """Return the cross-entropy of softmax(logits) and integer labels, averaged over the batch.

    ::

        p[n, k] = exp(z[n, k]) / sum over c of exp(z[n, c])
        loss    = sum over n of -log(p[n, labels[n]]) / N

    The maximum of the row is subtracted first, which leaves p unchanged and prevents exp from
    overflowing; -log(p) is computed as log(sum) - z, which stays finite if p rounds to 0.

    Parameters
    ----------
    logits
        z, (N, K) with K classes.
    labels
        (N,) integers in 0..K-1.

    Returns
    -------
    float
        The loss.

    Raises
    ------
    ValueError
        If the shapes of the arrays do not match, or a label is not a class.

    Examples
    --------
    >>> round(softmax_cross_entropy_naive([[0.0, 0.0], [1000.0, 0.0]], [1, 1]), 6)
    500.346574
    """
    z, classes = _scores(logits, labels, "softmax_cross_entropy_naive")
    loss = 0.0
    for n in range(z.shape[0]):
        largest, total = _row_sum(z[n])
        loss += (math.log(total) + largest - z[n, classes[n]]) / z.shape[0]
    return float(loss)


def softmax_cross_entropy_backward_naive(logits: Any, labels: Any) -> np.ndarray:
    """Return the gradient of `softmax_cross_entropy_naive` for the logits.

    The terms of the chain rule simplify to::

        dz[n, k] = (p[n, k] - (1 if k == labels[n] else 0)) / N

    Parameters
    ----------
    logits, labels
        As in `softmax_cross_entropy_naive`.

    Returns
    -------
    numpy.ndarray
        (N, K) in float64.

    Raises
    ------
    ValueError
        If the shapes of the arrays do not match, or a label is not a class.

    Examples
    --------
    >>> softmax_cross_entropy_backward_naive([[0.0, 0.0]], [1])
    array([[ 0.5, -0.5]])
    """
    z, classes = _scores(logits, labels, "softmax_cross_entropy_backward_naive")
    dz = np.zeros_like(z)
    for n in range(z.shape[0]):
        largest, total = _row_sum(z[n])
        for k in range(z.shape[1]):
            p = math.exp(z[n, k] - largest) / total
            dz[n, k] = (p - (1 if k == classes[n] else 0)) / z.shape[0]
    return dz


def _row_sum(row: np.ndarray) -> tuple[float, float]:
    """Return the maximum of a row of logits, and the sum of exp(z - maximum)."""
    largest, total = max(row), 0.0
    for z in row:
        total += math.exp(z - largest)
    return largest, total


def _scores(logits: Any, labels: Any, owner: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits and the labels after checking them."""
    z, classes = array_of(owner, "logits", logits, "(N, K)"), np.asarray(labels)
    if classes.dtype.kind not in "iu" or classes.shape != z.shape[:1]:
        rule = f"must be integers of shape {z.shape[:1]}"
        raise checks.error(owner, "labels", rule, f"{classes.dtype} of shape {classes.shape}")
    if classes.min() < 0 or classes.max() >= z.shape[1]:
        wrong = classes.min() if classes.min() < 0 else classes.max()
        raise checks.error(owner, "labels", f"must be in 0..{z.shape[1] - 1}", int(wrong))
    return z, classes
