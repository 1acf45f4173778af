"""Callbacks that change the course of training.

They monitor a figure, or the loss, and change the model's public attributes: `stop_training`, the
optimizer's `lr`, the arrays of weights.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import checks, cuda
from ..files import model_file
from .base import Callback, Logs, direction, figure_name, score
from .progress import print_line


def check_mode(owner: str, mode: str) -> str:
    """Return the argument `mode` of a callback that monitors a figure."""
    if mode not in ("auto", "min", "max"):
        raise checks.unknown(owner, "mode", mode, ["auto", "min", "max"])
    return mode


class _Monitor(Callback):
    """Base of `EarlyStopping` and `ReduceLROnPlateau`: counts the epochs without a gain."""

    def __init__(self, monitor: str | None, patience: int, min_delta: float, mode: str):
        owner = type(self).__name__
        self.monitor = monitor
        self.patience = checks.non_negative_int(owner, "patience", patience)
        self.min_delta = checks.non_negative(owner, "min_delta", min_delta)
        self.mode = check_mode(owner, mode)
        self.best = -math.inf
        self.wait = 0
        self.lost = False  # whether the last epoch ended the patience

    def needed_figures(self) -> list[tuple[str, str]]:
        """Return the figure to monitor."""
        return [] if self.monitor is None else [("monitor", self.monitor)]

    def on_train_begin(self, logs: Logs) -> None:
        """Reset, and count the epochs of a training that is resumed."""
        self.best, self.wait, self.lost = -math.inf, 0, False
        past = self.model.history
        epochs = len(past.get("loss", ()))
        for index in range(epochs):
            self.lost_patience(self.model.epoch - epochs + index, past.epoch(index))

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far and the number of epochs since then."""
        return {"best": self.best, "wait": self.wait}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.best, self.wait = float(state["best"]), int(state["wait"])

    def gained(self, logs: Logs) -> bool:
        """Count an epoch; return whether it beat the best so far by more than `min_delta`."""
        value = score(logs, self.monitor, self.mode, type(self).__name__)
        self.wait += 1
        if not value > self.best + self.min_delta:
            return False
        self.best = value
        if self.is_enough(value, logs):
            self.wait = 0
        return True

    def is_enough(self, value: float, logs: Logs) -> bool:
        """Return whether a gain to this value ends the epochs without a gain."""
        return True

    def lost_patience(self, epoch: int, logs: Logs) -> bool:
        """Count an epoch; return whether `patience` epochs have brought no gain."""
        self.lost = not self.gained(logs) and self.wait >= self.patience
        return self.lost


class EarlyStopping(_Monitor):
    """Stop after `patience` epochs without a gain, and restore the best weights.

    The best weights are restored at the end of training even if it was never stopped.

    Parameters
    ----------
    monitor
        The figure to monitor, such as 'val_acc'; None for the validation accuracy, or the figure
        that `score` takes instead. The other arguments are passed by name.
    patience
        Epochs without a gain after which training stops.
    min_delta
        Smallest gain that counts.
    mode
        'max' or 'min', whether a higher or a lower figure is better; 'auto' goes by its name.
    restore_best_weights
        False leaves the weights of the last epoch.
    start_from_epoch
        Epochs at the beginning that do not count: none of them is the best or ends the training.
    baseline
        A figure to beat: until an epoch does, the epochs with a gain count as those without one,
        but only one without a gain ends the training. None for no such figure.

    Attributes
    ----------
    best_epoch : int or None
        The epoch, counted from 0, whose weights are the best.
    restored : bool
        Whether they are in the model now: True once training has ended.

    Warns
    -----
    RuntimeWarning
        If the model's layers at the end are not those of the best weights, because another
        callback removed or added some. The model keeps the weights of the last epoch.
    """

    def __init__(
        self,
        monitor: str | None = None,
        *,
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best_weights: bool = True,
        start_from_epoch: int = 0,
        baseline: float | None = None,
    ):
        super().__init__(monitor, patience, min_delta, mode)
        self.restore_best_weights = checks.boolean(
            "EarlyStopping", "restore_best_weights", restore_best_weights
        )
        self.start_from_epoch = checks.non_negative_int(
            "EarlyStopping", "start_from_epoch", start_from_epoch
        )
        if baseline is not None and not (checks.is_number(baseline) and math.isfinite(baseline)):
            raise checks.error("EarlyStopping", "baseline", "must be a number or None", baseline)
        self.baseline = baseline
        self.best_epoch: int | None = None
        self.restored = False
        self._best_arrays: dict[str, Any] = {}

    def on_train_begin(self, logs: Logs) -> None:
        """Reset, and count the epochs of a training that is resumed."""
        self.best_epoch, self.restored, self._best_arrays = None, False, {}
        super().on_train_begin(logs)
        self._stop_without_patience()

    def state_dict(self) -> dict[str, Any]:
        """Return the best figure, the epochs since, and the best weights."""
        return super().state_dict() | {"best_epoch": self.best_epoch, "weights": self._best_arrays}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        super().load_state_dict(state)
        self.best_epoch = None if state["best_epoch"] is None else int(state["best_epoch"])
        if self.restore_best_weights:
            if state["weights"]:  # none before the first gain
                model_file.match_arrays(
                    self.model.get_arrays(), state["weights"], "the best weights"
                )
            device = self.model.device
            self._best_arrays = {k: cuda.to_device(v, device) for k, v in state["weights"].items()}
        gained = self.best_epoch == self.model.epoch - 1  # in the last epoch
        self.lost = not gained and self.wait >= max(self.patience, 1)
        self._stop_without_patience()

    def _stop_without_patience(self) -> None:
        """Stop a resumed training that had stopped already."""
        if self.lost:
            self.model.stop_training = True

    def is_enough(self, value: float, logs: Logs) -> bool:
        """Return whether a figure beats the baseline."""
        if self.baseline is None:
            return True
        sign = direction(figure_name(logs, self.monitor), self.mode, "EarlyStopping")
        return value - self.min_delta > sign * self.baseline

    def lost_patience(self, epoch: int, logs: Logs) -> bool:
        """Count an epoch, unless it is before `start_from_epoch`."""
        return epoch >= self.start_from_epoch and super().lost_patience(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Keep the weights of a gain; stop after too many epochs without one."""
        best = self.best
        if self.lost_patience(epoch, logs):
            self.model.stop_training = True
        if self.best > best:
            self.best_epoch = epoch
            if self.restore_best_weights:
                self._best_arrays = {k: v.copy() for k, v in self.model.get_arrays().items()}

    def on_train_end(self, logs: Logs) -> None:
        """Restore the best weights if the model still has their layers."""
        own, best, self._best_arrays = self.model.get_arrays(), self._best_arrays, {}
        self.restored = bool(best) and self._match(own, best)
        if self.restored:
            for name, array in own.items():
                array[...] = best[name]

    def _match(self, own: dict[str, Any], best: dict[str, Any]) -> bool:
        """Return whether the best weights match the model's arrays; warn if they do not."""
        try:
            model_file.match_arrays(own, best, "the best weights")
        except ValueError as error:
            checks.warn(
                f"[EarlyStopping] did not restore the weights of the best epoch "
                f"{(self.best_epoch or 0) + 1}: {error} The model keeps those of the last epoch: "
                "do not change the layers during fit(), or set restore_best_weights=False.",
                RuntimeWarning,
            )
            return False
        return True


class ReduceLROnPlateau(_Monitor):
    """Multiply the learning rate by `factor` after `patience` epochs without a gain.

    Parameters
    ----------
    monitor
        The figure to monitor; None as for `EarlyStopping`. The other arguments are passed by name.
    patience
        Epochs without a gain after which the rate is reduced.
    factor
        In (0, 1], multiplied into the rate.
    min_delta
        Smallest gain that counts.
    lr_min
        Lower bound of the rate.
    mode
        As for `EarlyStopping`.
    cooldown
        Epochs after a reduction in which none without a gain is counted.
    """

    def __init__(
        self,
        monitor: str | None = None,
        *,
        patience: int = 3,
        factor: float = 0.5,
        min_delta: float = 0.0,
        lr_min: float = 1e-6,
        mode: str = "auto",
        cooldown: int = 0,
    ):
        super().__init__(monitor, patience, min_delta, mode)
        self.cooldown = checks.non_negative_int("ReduceLROnPlateau", "cooldown", cooldown)
        self._cooling = 0  # epochs that are left of it
        self.factor = checks.factor("ReduceLROnPlateau", "factor", factor)
        self.lr_min = checks.non_negative("ReduceLROnPlateau", "lr_min", lr_min)

    def on_train_begin(self, logs: Logs) -> None:
        """Reset, and count the epochs of a training that is resumed."""
        self._cooling = 0
        super().on_train_begin(logs)
        if self.model.wrapped_optimizer.schedule is not None:
            raise ValueError(
                "[ReduceLROnPlateau] cannot lower a learning rate that is a schedule: set the "
                "optimizer's lr to a number, or leave out lr_schedule='plateau'."
            )

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Lower the rate after too many epochs without a gain."""
        if self.lost_patience(epoch, logs):
            optimizer = self.model.optimizer
            optimizer.lr = min(optimizer.lr, max(self.lr_min, optimizer.lr * self.factor))

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far, the epochs since then and those of the cooldown."""
        return super().state_dict() | {"cooldown": self._cooling}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        super().load_state_dict(state)
        self._cooling = int(state.get("cooldown", 0))  # none in earlier versions

    def lost_patience(self, epoch: int, logs: Logs) -> bool:
        """Count an epoch; start counting again once patience is lost, after the cooldown."""
        self._cooling = max(self._cooling - 1, 0)
        lost = super().lost_patience(epoch, logs)
        if self._cooling:
            self.wait, lost = 0, False
        if lost:
            self.wait, self._cooling = 0, self.cooldown
        return lost


class LearningRateScheduler(Callback):
    """Set the learning rate from a function, before every epoch or before every step.

    Parameters
    ----------
    schedule
        A function epoch -> learning rate, or (epoch, lr) -> learning rate, which gets the rate of
        the epoch before. An argument with a default is left to it, unless it is called `lr`.
    by
        The argument of the schedule, counted from 0: 'epoch', as in Keras, or 'step' for a step of
        the optimizer, over all epochs. A step is a batch, or several with
        `compile(gradient_accumulation_steps=...)`. None for 'epoch'.

    Raises
    ------
    ValueError
        For a schedule that is not a function, returns no rate, or another `by`.

    Warns
    -----
    UserWarning
        If `by` is left out and the function's argument is called `step`, as that of the functions
        of `nn.schedules` is: it is called once an epoch.

    Examples
    --------
    >>> import numpy as np, nn
    >>> model = nn.Model([nn.Dense(1, input_shape=(2,))], seed=0)
    >>> model.compile("mse", "sgd", lr=0.8)
    >>> halve = LearningRateScheduler(lambda epoch, lr: lr / 2 if epoch else lr)
    >>> x, y = np.ones((4, 2)), np.ones((4, 1))
    >>> model.fit(x, y, epochs=3, callbacks=[halve], verbose=0)["lr"]
    [0.8, 0.4, 0.2]
    """

    def __init__(self, schedule: Callable[..., float], *, by: str | None = None):
        owner = "LearningRateScheduler"
        takes = isinstance(schedule, type) or checks.takes(schedule, 1) or checks.takes(schedule, 2)
        if not (callable(schedule) and takes):
            rule = "must be a function epoch -> lr or (epoch, lr) -> lr, called by position"
            raise checks.error(owner, "schedule", rule, schedule)
        if by not in ("step", "epoch", None):
            raise checks.unknown(owner, "by", by, ["step", "epoch"])
        names = checks.positional_names(schedule)
        if by is None and names[:1] == ["step"]:
            checks.warn(
                f"[{owner}] 'schedule' is called once an epoch, and its argument is called 'step': "
                "pass by='step' to call it at every step of the optimizer, or by='epoch'."
            )
        self.schedule, self.by = schedule, by or "epoch"
        asks_for_rate = names[1:2] in (["lr"], ["learning_rate"]) or not checks.takes(schedule, 1)
        self._takes_rate = self.by == "epoch" and checks.takes(schedule, 2) and asks_for_rate
        self._epoch = 0

    def _rate_of(self, *arguments: Any) -> float:
        """Return the rate of an epoch or a step; raise if it is none."""
        return checks.rate("LearningRateScheduler", "schedule", self.schedule(*arguments))

    def on_train_begin(self, logs: Logs) -> None:
        """Keep the optimizer's own rate; a model saved meanwhile is saved with that."""
        optimizer = self.model.wrapped_optimizer
        self._base_lr = optimizer.lr
        self._own_lr = optimizer.schedule or optimizer.lr
        past = self.model.history.get("lr", ())  # of a training that is resumed
        self._rate = float(past[-1] if past else optimizer.lr)

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Set the rate of the epoch, or of its first batch.

        If a training is resumed within the epoch it is that of the last batch before: the next
        step may be that batch's.
        """
        self._epoch = epoch
        self.model.wrapped_optimizer.base_lr = self._base_lr
        if self.by == "step":
            done = 0 if self.model.progress is None else self.model.progress.batches
            self.on_train_batch_begin(max(done - 1, 0), logs)
            return
        rate = self._rate_of(epoch, *([self._rate] if self._takes_rate else []))
        self.model.optimizer.lr = self._rate = rate

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Set the rate for this batch."""
        if self.by == "step":
            batches = self.model.accumulator.steps  # of one step
            in_epoch = optimizer_steps(self.params["steps"], batches)
            step = self._epoch * in_epoch + batch // batches
            self.model.optimizer.lr = self._rate_of(step)

    def on_train_end(self, logs: Logs) -> None:
        """Restore the optimizer's own rate."""
        self.model.optimizer.lr = self._own_lr
        self.model.wrapped_optimizer.base_lr = None


def optimizer_steps(batches: Any, accumulate: int) -> Any:
    """Return the optimizer's steps in an epoch of so many batches, perhaps infinitely many."""
    return batches if batches == math.inf else -(-batches // accumulate)  # rounded up


class TerminateOnNaN(Callback):
    """End the training if the loss is NaN or infinite, instead of a FloatingPointError.

    `fit` then returns as after Ctrl-C: the model and the history of the finished epochs are kept,
    files and threads are closed, and a line names the layer where it began. The weights are those
    that gave this loss; together with `EarlyStopping` they are the best ones. If there is NaN in
    the optimizer's state too, that is reset, as `compile` would, so that training can go on from
    those weights.

    Attributes
    ----------
    reason : str or None
        The cause, once training has ended by it.
    """

    reason: str | None = None

    def on_train_begin(self, logs: Logs) -> None:
        """Reset."""
        self.reason = None

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """End the training if the loss or the validation loss is not finite."""
        for name in ("loss", "val_loss"):
            if not math.isfinite(logs.get(name, 0.0)):
                self.terminate(f"epoch {epoch + 1}: '{name}' is {logs[name]}.")

    def terminate(self, reason: str) -> None:
        """End the training and print why; `fit` calls it if a batch raises the error."""
        self.reason, self.model.stop_training = reason, True
        self.model.accumulator.clear()
        optimizer = self.model.wrapped_optimizer
        state = optimizer.state_dict()
        if not all(cuda.all_finite(array) for array in state.values()):
            optimizer.load_state_dict({"iterations": np.array(0)})
        if self.model.is_first_rank:
            print_line(f"[TerminateOnNaN] {reason} Training ends here; model and history are kept.")
