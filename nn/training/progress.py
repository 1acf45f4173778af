"""Where a `fit` has got to: what a file that is saved meanwhile holds of it."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import callbacks as cb
from .. import checks
from ..callbacks import base as states
from ..custom import is_ours
from ..files import fields, training_state
from ..layers.masks import Mask
from ..metrics import Metric

Array = Any  # numpy.ndarray or cupy.ndarray


@dataclass
class Progress:
    """Where a `fit` has got to, as `model.progress` while it runs.

    Attributes
    ----------
    callbacks
        The callbacks of this `fit`.
    batch_size
        Its batch size.
    order
        State of the data's generator before the epoch drew its order.
    batches, samples, total
        Batches and samples trained in this epoch, and the sum of the samples' losses; 0 between
        epochs.
    lr
        The learning rate at the beginning of the epoch.
    metrics
        The epoch's metrics.
    metric_states, callback_states
        States from a file, until the metrics and callbacks have loaded them.
    path
        That file, for messages.
    batch
        The inputs and targets of the present batch, if they were checked when `fit` began.
    left_out
        Names of classes whose states may be left out: they change nothing in the training.
    """

    callbacks: list[cb.Callback]
    batch_size: int
    order: Mapping[str, Any]
    batches: int = 0
    samples: int = 0
    total: float = 0.0
    lr: float = math.nan
    metrics: list[Metric] = field(default_factory=list)
    metric_states: dict[str, dict[str, Any]] = field(default_factory=dict)
    callback_states: list[tuple[cb.Callback, dict[str, Any]]] = field(default_factory=list)
    path: str = ""
    batch: tuple[Array, Array] | None = None
    left_out: tuple[str, ...] = ("LayerStats", "ModelCheckpoint")

    # --------------------------------------------------------------------------- an epoch

    def begin_epoch(self, measured: list[Metric], lr: float) -> None:
        """Set the metrics and learning rate of an epoch; a resumed epoch keeps its rate."""
        self.metrics = measured
        if self.batches == 0:
            self.lr = lr
        self._restore_metrics(measured)
        self.metric_states = {}

    def has_checked(self, x: Array, y: Array) -> bool:
        """Return whether these arrays are the present batch, which needs no other check."""
        return self.batch is not None and x is self.batch[0] and y is self.batch[1]

    def add(self, loss: float, samples: int) -> float:
        """Count a batch; return the mean loss of the epoch so far."""
        self.batches, self.samples = self.batches + 1, self.samples + samples
        self.total += loss * samples
        return self.total / self.samples

    def logs(self) -> dict[str, float]:
        """Return the epoch's figures so far; none before its first batch."""
        if self.batches == 0:
            return {}
        figures = {metric.name: metric.result() for metric in self.metrics if metric.per_batch}
        return {"loss": self.total / self.samples, **figures}

    def end_epoch(self, order: Mapping[str, Any]) -> None:
        """Be ready for the next epoch."""
        self.batches, self.samples, self.total, self.order = 0, 0, 0.0, order

    # -------------------------------------------------------------------------- the state

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the callbacks and, within an epoch, how far it is.

        Returns
        -------
        dict
            'callbacks', a list of {'class', 'state'} of those that have a state, and within an
            epoch 'within_epoch', its counts, its rate and the states of its metrics.
        """
        found = [(type(c).__name__, states.state_of(c)) for c in self.callbacks]
        state: dict[str, Any] = {
            "callbacks": [{"class": name, "state": state} for name, state in found if state]
        }
        if self.batches:
            state["within_epoch"] = {
                "batch_size": self.batch_size,
                "order": self.order,
                "batches": self.batches,
                "samples": self.samples,
                "total": self.total,
                "lr": self.lr,
                "metrics": {metric.name: metric.state_dict() for metric in self.metrics},
            }
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`; with another batch size the epoch starts again.

        Callbacks load their states in `restore_callbacks`, metrics in `begin_epoch`.

        Raises
        ------
        ValueError
            For counts that make no sense.

        Warns
        -----
        UserWarning
            For the state of a callback that this `fit` does not have.
        """
        for entry in state.get("callbacks", ()):
            self._assign(entry["class"], entry["state"])
        within = state.get("within_epoch")
        if within is None or within["batch_size"] != self.batch_size:
            return
        self.order = within["order"]
        self.batches, self.samples = within["batches"], within["samples"]
        if self.batches > self.samples:
            raise ValueError(f"it has {self.batches} batches of {self.samples} samples")
        self.total, self.lr = within["total"], within["lr"]
        self.metric_states = within["metrics"]

    def _assign(self, name: str, state: dict[str, Any]) -> None:
        """Keep a state for the next callback of its class; warn if there is none."""
        taken = [id(callback) for callback, _ in self.callback_states]
        for callback in self.callbacks:
            if type(callback).__name__ == name and id(callback) not in taken:
                self.callback_states.append((callback, state))
                return
        if name not in self.left_out:
            checks.warn(
                f"[Model] '{self.path}' was saved with the callback {name}, which is not among "
                "those of this fit(): training goes on without it."
            )

    def restore_callbacks(self) -> None:
        """Let the callbacks load their states from the file."""
        for callback, state in self.callback_states:
            self._restore_callback(callback, state)
        self.callback_states = []

    def check_states(self, chosen: Sequence[Metric]) -> None:
        """Raise if a callback or one of the model's metrics would refuse its state later.

        Copies of them load it now. A callback with a `load_state_dict` of the user's is left out,
        as that may change more than itself.
        """
        for callback, state in self.callback_states:
            if states.is_loading_ours(callback):
                self._restore_callback(copy.copy(callback), state)
        measured = copy.deepcopy(list(chosen))
        for metric in measured:
            metric.reset()
        self._restore_metrics(measured)

    def _restore_callback(self, callback: cb.Callback, state: dict[str, Any]) -> None:
        with training_state.refusing_nonsense(self.path, f"the state of {type(callback).__name__}"):
            if is_ours(type(callback)):  # whose values keep their types
                fields.check_like(state, callback.state_dict())
            states.load_state(callback, state)

    def _restore_metrics(self, measured: Sequence[Metric]) -> None:
        for metric in measured:
            if metric.name in self.metric_states:
                what = f"the state of the metric {metric.name}"
                with training_state.refusing_nonsense(self.path, what):
                    if is_ours(type(metric)):
                        fields.check_like(self.metric_states[metric.name], vars(metric))
                    metric.load_state_dict(self.metric_states[metric.name])
                    if metric.samples:
                        metric.result()  # fails on a state that makes no sense

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Copy as None: a copy of the model, by `copy` or `pickle`, is not in training."""
        return type(None), ()


# ------------------------------------------------------------------------------ the metrics


def measure(
    measured: Sequence[Metric], y: Array, y_pred: Array, mask: Mask = None
) -> dict[str, float]:
    """Add a batch to metrics; return the figures so far of those that are quick to compute.

    With a mask (N, T) each step that is there counts as a sample.
    """
    if mask is not None:
        y, y_pred = y[mask], y_pred[mask]  # (N, T, ...) -> (steps, ...)
    figures = {}
    for metric in measured:
        metric.update(y, y_pred)
        if metric.per_batch:
            figures[metric.name] = metric.result()
    return figures
