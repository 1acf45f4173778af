"""What all metrics share: samples are added batch by batch, the result is that of all of them."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import checks, cuda

Array = Any  # numpy.ndarray or cupy.ndarray


class Metric:
    """Base of all metrics: updated batch by batch, exact for all samples.

    Attributes
    ----------
    name : str
        The key in the history.
    label : str
        The name under which `get` finds the same metric again.
    samples : int
        The number of samples since `reset`.
    per_batch : bool
        Whether `result` is quick enough to be called after every batch of an epoch.
    sums : tuple of str
        The attributes that are sums over the samples, if the metric is computed from such alone:
        `nn.distributed` adds up those of several processes. Of other metrics each process sees all
        samples.

    Examples
    --------
    >>> import numpy as np
    >>> from nn.metrics import Accuracy
    >>> metric = Accuracy()
    >>> metric.update(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]))
    >>> metric.update(np.array([1]), np.array([[0.3, 0.7]]))
    >>> metric.name, metric.result()
    ('acc', 0.75)
    """

    name: str = "metric"
    threshold: float | None = None
    per_batch: bool = True
    sums: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.reset()

    @property
    def label(self) -> str:
        """The name under which `get` finds the same metric again."""
        return self.name

    def reset(self) -> None:
        """Forget all samples."""
        self.samples = 0

    def check_outputs(self, outputs: int | None) -> None:
        """Raise if the metric cannot be computed of so many outputs for each label.

        `fit` and `evaluate` call it before the first batch; this one accepts all.
        """

    def update(self, y_true: Any, y_pred: Any) -> None:
        """Add a batch: targets and predictions with the samples along the first axis."""
        if type(y_true) is not np.ndarray or y_true.dtype.kind not in "fiub":
            y_true = checks.real_array(type(self).__name__, "y_true", y_true)
        if type(y_pred) is not np.ndarray or y_pred.dtype.kind not in "fiub":
            y_pred = checks.real_array(type(self).__name__, "y_pred", y_pred)
        if y_true.ndim == 0 or y_pred.ndim == 0 or len(y_true) != len(y_pred):
            raise ValueError(
                f"[{type(self).__name__}] expects as many predictions as labels, got 'y_true' "
                f"of shape {y_true.shape} and 'y_pred' of shape {y_pred.shape}."
            )
        self.add(y_true, y_pred)
        self.samples += len(y_true)

    def result(self) -> float:
        """Return the metric of all samples since `reset`.

        Raises
        ------
        RuntimeError
            If there are none.
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
        """Replace counts and sums by what `state_dict` returned."""
        for name in vars(self).keys() & state.keys():
            setattr(self, name, state[name])

    def add(self, y_true: Array, y_pred: Array) -> None:
        """Add a batch to the sums; subclasses write it."""
        raise NotImplementedError(f"[{type(self).__name__}] must define add().")

    def compute(self) -> float:
        """Return the metric from the sums; subclasses write it."""
        raise NotImplementedError(f"[{type(self).__name__}] must define compute().")


class FunctionMetric(Metric):
    """A function `(y_true, y_pred) -> float` of your own, called once with all samples.

    The function is called with NumPy arrays, on whatever device the model is. Targets and
    predictions of all samples are kept until then.

    Parameters
    ----------
    function
        The function, whose name becomes the key in the history.
    """

    per_batch = False

    def __init__(self, function: Callable[[np.ndarray, np.ndarray], float]) -> None:
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        super().__init__()

    def __deepcopy__(self, memo: dict[int, Any]) -> "FunctionMetric":
        """Copy the samples, but not the function, which may be an object with its own state."""
        twin = copy.copy(self)
        samples = {name: value for name, value in vars(self).items() if name != "function"}
        vars(twin).update(copy.deepcopy(samples, memo))
        return twin

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self.y_true: list[np.ndarray] = []
        self.y_pred: list[np.ndarray] = []

    def add(self, y_true: Array, y_pred: Array) -> None:
        """Keep targets and predictions."""
        self.y_true.append(cuda.to_cpu(y_true))
        self.y_pred.append(cuda.to_cpu(y_pred))

    def state_dict(self) -> dict[str, Any]:
        """Return targets and predictions as one array each."""
        joined = {name: np.concatenate(getattr(self, name)) for name in ("y_true", "y_pred")}
        return super().state_dict() | joined

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace targets and predictions by what `state_dict` returned."""
        if "y_true" not in state:  # version 0.1 kept the sum of the batches' values
            warnings.warn(
                f"[Model] the file is of an earlier version, and holds no predictions for the "
                f"metric {self.name!r}: the epoch's value is that of its remaining batches.",
                stacklevel=2,
            )
            return
        if len(state["y_true"]) != len(state["y_pred"]):
            rule = "must hold as many targets as predictions"
            got = (len(state["y_true"]), len(state["y_pred"]))
            raise checks.error(type(self).__name__, "state", rule, got)
        super().load_state_dict(state)
        self.y_true, self.y_pred = [state["y_true"]], [state["y_pred"]]

    def compute(self) -> float:
        """Return the function's value for all samples."""
        value = self.function(np.concatenate(self.y_true), np.concatenate(self.y_pred))
        rule = f"{self.name!r} must return a number"
        if not checks.is_number(value) and np.ndim(value):
            raise checks.error("Model", "metrics", rule, np.shape(value))
        try:
            return float(value)
        except (TypeError, ValueError):
            raise checks.error("Model", "metrics", rule, value) from None


def result_of(metric: Metric, y_true: Any, y_pred: Any) -> float:
    """Return a metric's result for one pair of arrays."""
    metric.update(y_true, y_pred)
    return metric.result()
