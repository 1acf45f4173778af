"""Metrics: figures by which predictions are judged, and which are not trained on.

Each metric exists twice: as a function, `accuracy(y_true, y_pred)`, for whole arrays; and as a
class whose objects the model updates batch by batch: `reset`, then `update` for each batch, then
`result` for all samples. The classes keep counts and sums, not means of batches, so that the result
does not depend on the batch size. The functions use those classes once.

`decisions.py` is the one place where outputs become classes. Results are Python floats.
"""

import re
from typing import Any

from .. import checks, compat
from ..registry import Registry
from .base import FunctionMetric, Metric
from .classification import (
    AUC,
    F1,
    Accuracy,
    Precision,
    Recall,
    TopKAccuracy,
    accuracy,
    auc,
    f1,
    precision,
    recall,
    top_k_accuracy,
)
from .decisions import confusion_matrix
from .regression import R2, MeanAbsoluteError, MeanSquaredError, mae, mse, r2

__all__ = [
    "AUC",
    "F1",
    "NAME2METRIC",
    "R2",
    "Accuracy",
    "FunctionMetric",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "Recall",
    "TopKAccuracy",
    "accuracy",
    "auc",
    "confusion_matrix",
    "f1",
    "get",
    "mae",
    "mse",
    "precision",
    "r2",
    "recall",
    "top_k_accuracy",
]

#: The metrics by the names that `Model.compile` takes.
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

# These functions stand for their classes, which are exact over batches.
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
