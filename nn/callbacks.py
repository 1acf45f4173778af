"""What happens around training: each callback is told of every epoch and batch.

`Model.fit` writes its history, shows its progress, lowers the learning rate and stops early
through these classes and nothing else. They use the model's public attributes only, so your
own can do the same.
"""

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from . import checks

if TYPE_CHECKING:
    from .model import Model

Logs = dict[str, float]


class Callback:
    """Base class of callbacks: subclass it and write the methods that you need.

    Attributes
    ----------
    model : Model
        The model in training, set before `on_train_begin`.
    params : dict
        'epochs', 'steps' (batches an epoch), 'samples' and 'verbose' of this `fit`.

    Examples
    --------
    >>> class Shout(Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         print(f"EPOCH {epoch} DONE")
    >>> Shout().on_epoch_end(0, {})
    EPOCH 0 DONE
    """

    model: "Model"
    params: dict[str, Any]

    def on_train_begin(self, logs: Logs) -> None:
        """Run before the first epoch."""

    def on_train_end(self, logs: Logs) -> None:
        """Run after the last epoch, also where training was interrupted."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Run before each epoch; epochs count from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Run after each epoch, with its 'loss', 'acc', 'val_loss', 'val_acc' and 'lr'.

        What is added to `logs` here is written into the history.
        """

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Run before each batch; batches count from 0 in each epoch."""

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Run after each batch, with the epoch's figures so far."""


class History(dict, Callback):
    """The figures of every epoch: `{'loss': [...], 'acc': [...], 'lr': [...], ...}`.

    `fit` returns it. It is a dict, and its attribute `history` is the dict as well.

    Examples
    --------
    >>> history = History()
    >>> history.on_epoch_end(0, {"loss": 0.5})
    >>> history, history.history["loss"]
    ({'loss': [0.5]}, [0.5])
    """

    @property
    def history(self) -> dict[str, list[float]]:
        """The dict itself, where users of Keras look for it."""
        return self

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Append the epoch's figures."""
        for name, value in logs.items():
            self.setdefault(name, []).append(float(value))

    def epoch(self, index: int) -> Logs:
        """Return the figures of one epoch, counted from the first in the history."""
        return {name: values[index] for name, values in self.items() if index < len(values)}


#: Figures that are better the larger they are; any name with 'acc' in it counts as one.
_RISING = ("precision", "recall", "f1", "auc", "r2")


def score(logs: Logs, monitor: str | None, mode: str = "auto") -> float:
    """Return the figure to watch, its sign turned where less of it is better.

    Without a name it is the accuracy, of the validation data where there are any, or the loss
    where no accuracy is measured.

    Raises
    ------
    ValueError
        Where the named figure is not measured; the message lists those that are.

    Examples
    --------
    >>> score({"loss": 0.5, "acc": 0.75}, None), score({"loss": 0.5, "acc": 0.75}, "loss")
    (0.75, -0.5)
    """
    if monitor is None:
        prefix = "val_" if "val_loss" in logs else ""
        monitor = f"{prefix}acc" if f"{prefix}acc" in logs else f"{prefix}loss"
    if monitor not in logs:
        raise checks.unknown("callbacks", "monitor", monitor, logs)
    rising = "acc" in monitor or monitor.removeprefix("val_") in _RISING
    if mode == "max" or (mode == "auto" and rising):
        return float(logs[monitor])
    return -float(logs[monitor])


def _check_mode(owner: str, mode: str) -> str:
    if mode not in ("auto", "min", "max"):
        raise checks.unknown(owner, "mode", mode, ["auto", "min", "max"])
    return mode


class _Watcher(Callback):
    """What `EarlyStopping` and `ReduceLROnPlateau` share: epochs without a gain, counted."""

    def __init__(self, monitor: str | None, patience: int, min_delta: float, mode: str):
        owner = type(self).__name__
        self.monitor = monitor
        self.patience = checks.non_negative_int(owner, "patience", patience)
        self.min_delta = checks.non_negative(owner, "min_delta", min_delta)
        self.mode = _check_mode(owner, mode)
        self.best = -math.inf
        self.wait = 0

    def on_train_begin(self, logs: Logs) -> None:
        """Start afresh, or where the epochs of a resumed training left off."""
        self.best, self.wait = -math.inf, 0
        for epoch in range(len(self.model.history.get("loss", ()))):
            self.lost_patience(self.model.history.epoch(epoch))

    def gained(self, logs: Logs) -> bool:
        """Tell whether this epoch beat the best so far by more than `min_delta`."""
        value = score(logs, self.monitor, self.mode)
        if value > self.best + self.min_delta:
            self.best, self.wait = value, 0
            return True
        self.wait += 1
        return False

    def lost_patience(self, logs: Logs) -> bool:
        """Count an epoch; tell whether `patience` of them have brought no gain."""
        return not self.gained(logs) and self.wait >= self.patience


class EarlyStopping(_Watcher):
    """Stop after `patience` epochs without a gain, and restore the best weights.

    The best weights are restored at the end of training also where it was never stopped.

    Parameters
    ----------
    monitor
        The figure to watch, as 'val_acc'; None watches the validation accuracy, or what there
        is in its place (see `score`).
    patience
        Epochs without a gain after which training stops.
    min_delta
        Least gain that counts.
    mode
        'max' or 'min', whether more or less of the figure is better; 'auto' goes by its name.
    """

    def __init__(
        self,
        monitor: str | None = None,
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
    ):
        super().__init__(monitor, patience, min_delta, mode)
        self.best_epoch: int | None = None
        self._best_arrays: dict[str, Any] = {}

    def on_train_begin(self, logs: Logs) -> None:
        """Start afresh, or where the epochs of a resumed training left off."""
        self.best_epoch, self._best_arrays = None, {}
        super().on_train_begin(logs)
        self.model.stop_training = self.wait >= max(self.patience, 1)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Keep the weights of a gain; stop after too many epochs without one."""
        if self.gained(logs):
            self.best_epoch = epoch
            self._best_arrays = {k: v.copy() for k, v in self.model.get_arrays().items()}
        elif self.wait >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: Logs) -> None:
        """Restore the best weights."""
        for name, array in self.model.get_arrays().items():
            if name in self._best_arrays:
                array[...] = self._best_arrays[name]
        self._best_arrays = {}


class ReduceLROnPlateau(_Watcher):
    """Multiply the learning rate by `factor` after `patience` epochs without a gain.

    Parameters
    ----------
    monitor
        The figure to watch; None as for `EarlyStopping`.
    patience
        Epochs without a gain after which the rate falls.
    factor
        In (0, 1]: what the rate is multiplied by.
    min_delta
        Least gain that counts.
    lr_min
        The rate does not fall below it.
    mode
        As for `EarlyStopping`.
    """

    def __init__(
        self,
        monitor: str | None = None,
        patience: int = 3,
        factor: float = 0.5,
        min_delta: float = 0.0,
        lr_min: float = 1e-6,
        mode: str = "auto",
    ):
        super().__init__(monitor, patience, min_delta, mode)
        self.factor = checks.fraction("ReduceLROnPlateau", "factor", factor, include_one=True)
        if self.factor == 0:
            raise checks.error("ReduceLROnPlateau", "factor", "must be above 0", factor)
        self.lr_min = checks.non_negative("ReduceLROnPlateau", "lr_min", lr_min)

    def on_train_begin(self, logs: Logs) -> None:
        """Start afresh, or where the epochs of a resumed training left off."""
        super().on_train_begin(logs)
        if getattr(self.model.optimizer, "schedule", None) is not None:
            raise ValueError(
                "[ReduceLROnPlateau] cannot lower a learning rate that is a schedule: give the "
                "optimizer a number, or leave out lr_schedule='plateau'."
            )

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Lower the rate after too many epochs without a gain."""
        if self.lost_patience(logs):
            optimizer = self.model.optimizer
            optimizer.lr = min(optimizer.lr, max(self.lr_min, optimizer.lr * self.factor))

    def lost_patience(self, logs: Logs) -> bool:
        """Count an epoch; where patience is lost, begin to count anew."""
        lost = super().lost_patience(logs)
        if lost:
            self.wait = 0
        return lost


class LearningRateScheduler(Callback):
    """Set the learning rate before every batch from a function of the step.

    Parameters
    ----------
    schedule
        A function step -> learning rate (see `nn.schedules`); steps count from 0 over all
        epochs, batch by batch.
    """

    def __init__(self, schedule: Callable[[int], float]):
        if not callable(schedule):
            raise checks.error(
                "LearningRateScheduler", "schedule", "must be a function step -> lr", schedule
            )
        self.schedule = schedule
        self._epoch = 0

    def on_train_begin(self, logs: Logs) -> None:
        """Remember the optimizer's own rate; a model saved meanwhile is saved with that."""
        optimizer = self.model.optimizer
        optimizer.base_lr = optimizer.lr
        self._own_lr = getattr(optimizer, "schedule", None) or optimizer.lr

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Set the rate of the epoch's first batch."""
        self._epoch = epoch
        self.on_train_batch_begin(0, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Set the rate for this batch."""
        step = self._epoch * self.params["steps"] + batch
        self.model.optimizer.lr = float(self.schedule(step))

    def on_train_end(self, logs: Logs) -> None:
        """Give the optimizer its own rate back."""
        self.model.optimizer.lr = self._own_lr
        self.model.optimizer.base_lr = None


class ModelCheckpoint(Callback):
    """Save the model after each epoch, or after the best so far.

    Parameters
    ----------
    path
        File to write. '{epoch}' in it is replaced by the epoch, counted from 1, and the names
        of figures by these: 'run-{epoch:02d}-{val_acc:.3f}.hdf5'.
    monitor
        The figure that decides which epoch is best.
    save_best_only
        Write only where that figure beats all before it.
    save_state
        Write the optimizer's state and the history as well, so that `fit(resume=path)` can
        go on from the file.
    mode
        As for `EarlyStopping`.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        monitor: str = "val_acc",
        save_best_only: bool = True,
        save_state: bool = False,
        mode: str = "auto",
    ):
        self.mode = _check_mode("ModelCheckpoint", mode)
        self.path = str(path)
        self.monitor = monitor
        self.save_best_only = save_best_only
        self.save_state = save_state
        self._best = -math.inf

    def on_train_begin(self, logs: Logs) -> None:
        """Start afresh, or with the best of a resumed training."""
        past = self.model.history
        epochs = [past.epoch(k) for k in range(len(past.get(self.monitor, ())))]
        self._best = max((score(e, self.monitor, self.mode) for e in epochs), default=-math.inf)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Save, where this epoch is to be saved."""
        if self.save_best_only:
            value = score(logs, self.monitor, self.mode)
            if not value > self._best:
                return
            self._best = value
        try:
            path = self.path.format(epoch=epoch + 1, **logs)
        except (KeyError, IndexError, ValueError) as error:
            names = ", ".join(["epoch", *logs])
            raise ValueError(
                f"[ModelCheckpoint] 'path' may hold {{name}} of {names}, got {self.path!r}: "
                f"{type(error).__name__} {error}."
            ) from error
        self.model.save(path, include_optimizer=self.save_state)


class ProgressBar(Callback):
    """Show each epoch: a bar with the images a second in a terminal, else one line.

    Parameters
    ----------
    verbose
        1 draws a bar where standard error is a terminal; 2 writes one line an epoch.
    """

    def __init__(self, verbose: int = 1):
        self.bar_wanted = verbose == 1 and sys.stderr.isatty()
        self._bar: Any = None

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Start the epoch's bar and its clock."""
        self._start, self._images, self._seconds = time.perf_counter(), 0, 0.0
        self._title = f"Epoch {epoch + 1}/{self.params['epochs']}"
        if self.bar_wanted:
            from tqdm import tqdm

            # A terminal that gives its size as 0 x 0 would get no bar.
            columns, lines = shutil.get_terminal_size(fallback=(100, 24))
            self._bar = tqdm(
                total=self.params["samples"],
                desc=self._title,
                unit=" images",
                mininterval=0.2,
                ncols=columns,
                nrows=lines,
            )

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Move the bar on by the batch."""
        images = min(self.params["batch_size"], self.params["samples"] - self._images)
        self._images += images
        self._seconds = time.perf_counter() - self._start
        if self._bar is not None:
            self._bar.set_postfix(format_logs(logs), refresh=False)
            self._bar.update(images)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the epoch's figures and close the bar."""
        if self._bar is not None:
            self._bar.set_postfix(format_logs(logs))
            self._close()
            return
        speed = self._images / self._seconds if self._seconds else 0.0
        figures = ", ".join(f"{name} {text}" for name, text in format_logs(logs).items())
        print(f"{self._title}: {figures}, {speed:,.0f} images/s", flush=True)

    def on_train_end(self, logs: Logs) -> None:
        """Close a bar that an interruption left open."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def format_logs(logs: Logs) -> dict[str, str]:
    """Return figures as short texts.

    Examples
    --------
    >>> format_logs({"loss": 0.123456, "lr": 0.0005})
    {'loss': '0.1235', 'lr': '0.0005'}
    """
    return {k: f"{v:.4f}" if abs(v) >= 1e-3 or v == 0 else f"{v:.3g}" for k, v in logs.items()}


class CallbackList:
    """Calls the same method of several callbacks, in order."""

    def __init__(self, callbacks: Sequence[Callback], model: "Model", params: dict[str, Any]):
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise checks.error(
                    "Model", "callbacks", "must hold nn.callbacks.Callback objects", callback
                )
            callback.model, callback.params = model, params

    def call(self, method: str, *arguments: Any) -> None:
        """Call `method` of every callback."""
        for callback in self.callbacks:
            getattr(callback, method)(*arguments)


__all__ = [
    "Callback",
    "EarlyStopping",
    "History",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceLROnPlateau",
]
