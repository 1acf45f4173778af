"""Callbacks that change the course of training, or save the model on its way.

They watch a figure, or the loss, and act on the model's public attributes: `stop_training`,
the optimizer's `lr`, the arrays of weights.
"""

import inspect
import math
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import checks, cuda
from ..files import model_file
from .base import Callback, Logs, score


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

    def get_state(self) -> dict[str, Any]:
        """Return the best figure so far, and the epochs since."""
        return {"best": self.best, "wait": self.wait}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` returned."""
        self.best, self.wait = float(state["best"]), int(state["wait"])

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
    restore_best_weights
        False leaves the weights of the last epoch.

    Attributes
    ----------
    best_epoch : int or None
        The epoch, counted from 0, whose weights are the best.
    restored : bool
        Whether they are in the model now: True once training has ended.

    Warns
    -----
    RuntimeWarning
        Where the best weights are of other layers than the model has at the end, as another
        callback took some away or added some. The model keeps the weights of the last epoch.
    """

    def __init__(
        self,
        monitor: str | None = None,
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best_weights: bool = True,
    ):
        super().__init__(monitor, patience, min_delta, mode)
        self.restore_best_weights = checks.boolean(
            "EarlyStopping", "restore_best_weights", restore_best_weights
        )
        self.best_epoch: int | None = None
        self.restored = False
        self._best_arrays: dict[str, Any] = {}

    def on_train_begin(self, logs: Logs) -> None:
        """Start afresh, or where the epochs of a resumed training left off."""
        self.best_epoch, self.restored, self._best_arrays = None, False, {}
        super().on_train_begin(logs)
        self._stop_without_patience()

    def get_state(self) -> dict[str, Any]:
        """Return best figure, epochs since, and the best weights."""
        return super().get_state() | {"best_epoch": self.best_epoch, "weights": self._best_arrays}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` returned."""
        super().set_state(state)
        self.best_epoch = None if state["best_epoch"] is None else int(state["best_epoch"])
        if self.restore_best_weights:
            if state["weights"]:  # none before the first gain
                model_file.match_arrays(
                    self.model.get_arrays(), state["weights"], "the best weights"
                )
            device = self.model.device
            self._best_arrays = {k: cuda.to_device(v, device) for k, v in state["weights"].items()}
        self._stop_without_patience()

    def _stop_without_patience(self) -> None:
        """End a resumed training that had stopped already."""
        if self.wait >= max(self.patience, 1):
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Keep the weights of a gain; stop after too many epochs without one."""
        if self.gained(logs):
            self.best_epoch = epoch
            if self.restore_best_weights:
                self._best_arrays = {k: v.copy() for k, v in self.model.get_arrays().items()}
        elif self.wait >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: Logs) -> None:
        """Restore the best weights, where the model still has the layers that they are of."""
        own, best, self._best_arrays = self.model.get_arrays(), self._best_arrays, {}
        self.restored = bool(best) and self._fit(own, best)
        if self.restored:
            for name, array in own.items():
                array[...] = best[name]

    def _fit(self, own: dict[str, Any], best: dict[str, Any]) -> bool:
        """Tell whether the best weights fit the model's arrays; warn where they do not."""
        try:
            model_file.match_arrays(own, best, "the best weights")
        except ValueError as error:
            warnings.warn(
                f"[EarlyStopping] did not restore the weights of epoch {(self.best_epoch or 0) + 1}"
                f", the best: {error} The model keeps those of the last epoch: leave the layers "
                "alone while fit() runs, or set restore_best_weights=False.",
                RuntimeWarning,
                stacklevel=8,  # where fit() was called
            )
            return False
        return True


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
    """Set the learning rate from a function, before every step or before every epoch.

    Parameters
    ----------
    schedule
        A function step -> learning rate (see `nn.schedules`).
    by
        What a step is, counted from 0: 'step' for a step of the optimizer, over all epochs, or
        'epoch'. A step is a batch, or several with `compile(gradient_accumulation_steps=...)`. By
        epoch the function may also take the rate of the epoch before, as Keras' does:
        (epoch, lr) -> lr.

    Raises
    ------
    ValueError
        For a schedule that is no function, or another `by`.

    Examples
    --------
    >>> import numpy as np, nn
    >>> model = nn.Model([nn.Dense(1, input_shape=(2,))], seed=0)
    >>> model.compile("mse", "sgd", lr=0.8)
    >>> halve = LearningRateScheduler(lambda epoch, lr: lr / 2 if epoch else lr, by="epoch")
    >>> x, y = np.ones((4, 2)), np.ones((4, 1))
    >>> model.fit(x, y, epochs=3, callbacks=[halve], verbose=0)["lr"]
    [0.8, 0.4, 0.2]
    """

    def __init__(self, schedule: Callable[..., float], by: str = "step"):
        if not callable(schedule):
            raise checks.error(
                "LearningRateScheduler", "schedule", "must be a function step -> lr", schedule
            )
        if by not in ("step", "epoch"):
            raise checks.unknown("LearningRateScheduler", "by", by, ["step", "epoch"])
        self.schedule, self.by = schedule, by
        self._takes_rate = by == "epoch" and _requires_two(schedule)
        self._epoch = 0

    def on_train_begin(self, logs: Logs) -> None:
        """Remember the optimizer's own rate; a model saved meanwhile is saved with that."""
        optimizer = self.model.wrapped_optimizer
        self._base_lr = optimizer.lr
        self._own_lr = optimizer.schedule or optimizer.lr
        past = self.model.history.get("lr", ())  # of a training that is resumed
        self._rate = float(past[-1] if past else optimizer.lr)

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Set the rate of the epoch, or of its first batch.

        Where a training is resumed within the epoch it is that of the last batch before: the step
        that is still to be taken may be that batch's.
        """
        self._epoch = epoch
        self.model.wrapped_optimizer.base_lr = self._base_lr
        if self.by == "step":
            done = 0 if self.model.progress is None else self.model.progress.batches
            self.on_train_batch_begin(max(done - 1, 0), logs)
            return
        rate = self.schedule(epoch, self._rate) if self._takes_rate else self.schedule(epoch)
        self.model.optimizer.lr = self._rate = float(rate)

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Set the rate for this batch."""
        if self.by == "step":
            batches = self.model.accumulator.steps  # of one step
            in_epoch = optimizer_steps(self.params["steps"], batches)
            step = self._epoch * in_epoch + batch // batches
            self.model.optimizer.lr = float(self.schedule(step))

    def on_train_end(self, logs: Logs) -> None:
        """Give the optimizer its own rate back."""
        self.model.optimizer.lr = self._own_lr
        self.model.wrapped_optimizer.base_lr = None


def optimizer_steps(batches: Any, accumulate: int) -> Any:
    """Return the optimizer's steps in an epoch of so many batches, perhaps infinitely many."""
    return batches if batches == math.inf else -(-batches // accumulate)  # rounded up


def _requires_two(function: Callable) -> bool:
    """Tell whether a function needs two arguments.

    Examples
    --------
    >>> _requires_two(lambda epoch, lr: lr), _requires_two(lambda epoch, factor=0.5: factor)
    (True, False)
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a function in C that does not say
        return False
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in by_position and p.default is p.empty for p in parameters) == 2


class ModelCheckpoint(Callback):
    """Save the model after every epoch, every n epochs or batches, or after the best so far.

    `fit` calls it after all other callbacks, wherever it stands among them, so that the file holds
    what they have learned of the epoch.

    Parameters
    ----------
    path
        File to write. '{epoch}' in it is replaced by the epoch, counted from 1, and the names
        of figures by these: 'run-{epoch:02d}-{val_acc:.3f}.hdf5'. After a batch there is
        '{batch}' too, counted from 1, and the figures are the epoch's so far.
    monitor
        The figure that decides which epoch is best.
    save_best_only
        Write only where that figure beats all before it.
    save_state
        Write the optimizer's state and the history as well, so that `fit(resume=path)` can
        go on from the file as if nothing had happened, also within an epoch.
    mode
        As for `EarlyStopping`.
    save_weights_only
        Write the arrays alone, for `load_weights`.
    every_n_epochs
        Look at every n-th epoch only: with 2 at the second, the fourth and so on.
    save_freq
        'epoch', or a number of batches: the model is saved after each so many, counted over all
        epochs, in place of the ends of epochs. The best of batches is not told apart.

    Raises
    ------
    ValueError, TypeError
        For arguments of another kind, or that contradict each other; while training, for a figure
        in `monitor` or `path` that is not measured.

    Warns
    -----
    RuntimeWarning
        Where a file cannot be written, the disk being full for example, or a history too long for
        the format. Training goes on, and the next epoch (or batch) to be saved is tried again; the
        file of before is whole.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        monitor: str = "val_acc",
        save_best_only: bool = True,
        save_state: bool = False,
        mode: str = "auto",
        save_weights_only: bool = False,
        every_n_epochs: int = 1,
        save_freq: str | int = "epoch",
    ):
        owner = "ModelCheckpoint"
        self.mode = _check_mode(owner, mode)
        self.path = str(checks.path(owner, "path", path))
        self.monitor = monitor
        self.save_best_only = checks.boolean(owner, "save_best_only", save_best_only)
        self.save_state = checks.boolean(owner, "save_state", save_state)
        self.save_weights_only = checks.boolean(owner, "save_weights_only", save_weights_only)
        self.every_n_epochs = checks.positive_int(owner, "every_n_epochs", every_n_epochs)
        self.save_freq = save_freq
        if save_freq != "epoch":
            self.save_freq = checks.positive_int(owner, "save_freq", save_freq)
            if save_best_only or every_n_epochs != 1:
                rule = "in batches goes with save_best_only=False and every_n_epochs=1"
                raise checks.error(owner, "save_freq", rule, save_freq)
        if save_state and save_weights_only:
            rule = "cannot be had with save_weights_only=True"
            raise checks.error(owner, "save_state", rule, save_state)
        self._best = -math.inf
        self._epoch = self._batches = 0

    def on_train_begin(self, logs: Logs) -> None:
        """Start afresh, or with the best of a resumed training."""
        past = self.model.history
        epochs = [past.epoch(k) for k in range(len(past.get(self.monitor, ())))]
        self._best = max((score(e, self.monitor, self.mode) for e in epochs), default=-math.inf)
        self._batches = 0

    def get_state(self) -> dict[str, Any]:
        """Return the best figure so far, and the batches over all epochs."""
        return {"best": self._best, "batches": self._batches}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` returned."""
        self._best, self._batches = float(state["best"]), int(state["batches"])

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Note the epoch, for the name of a file that is written within it."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Save, where the batch is to be saved."""
        self._batches += 1
        if isinstance(self.save_freq, int) and self._batches % self.save_freq == 0:
            self._save({"epoch": self._epoch + 1, "batch": batch + 1, **logs})

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Save, where this epoch is to be saved."""
        if self.save_freq != "epoch" or (epoch + 1) % self.every_n_epochs:
            return
        if self.save_best_only:
            value = score(logs, self.monitor, self.mode)
            if not value > self._best:
                return
        saved = self._save({"epoch": epoch + 1, **logs})
        if saved and self.save_best_only:
            self._best = value

    def _save(self, names: dict[str, Any]) -> bool:
        """Write the file whose name these names and figures make; tell whether that was done."""
        try:
            path = self.path.format(**names)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                f"[ModelCheckpoint] 'path' may hold {{name}} of {', '.join(names)}, got "
                f"{self.path!r}: {type(error).__name__} {error}."
            ) from error
        try:
            if self.save_weights_only:
                self.model.save_weights(path)
            else:
                self.model.save(path, include_optimizer=self.save_state)
        except (OSError, model_file.FileFormatError) as error:
            when = ", ".join(
                f"{name} {names[name]}" for name in ("epoch", "batch") if name in names
            )
            warnings.warn(
                f"[ModelCheckpoint] did not save {when} to '{path}': {error} Training goes on, and "
                "the next one is tried again.",
                RuntimeWarning,
                stacklevel=2,
            )
            return False
        return True


class TerminateOnNaN(Callback):
    """End the training where the loss is NaN or infinite, in place of a FloatingPointError.

    `fit` then returns as after Ctrl-C: the model and the history of the finished epochs are kept,
    files and threads are closed, and a line says in which layer it began. The weights are those
    with which the loss broke; `EarlyStopping` beside this callback restores the best ones. Where
    NaN has got into the optimizer's state too, that is dropped, as `compile` would, so that
    training can go on from those weights.

    Attributes
    ----------
    reason : str or None
        What was found, once training has ended by it.
    """

    reason: str | None = None

    def on_train_begin(self, logs: Logs) -> None:
        """Start afresh."""
        self.reason = None

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """End the training where the validation's loss broke and the training's did not."""
        for name in ("loss", "val_loss"):
            if not math.isfinite(logs.get(name, 0.0)):
                self.terminate(f"epoch {epoch + 1}: '{name}' is {logs[name]}.")

    def terminate(self, reason: str) -> None:
        """End the training, and say why; `fit` calls it where a batch raises the error."""
        self.reason, self.model.stop_training = reason, True
        self.model.accumulator.clear()
        optimizer = self.model.wrapped_optimizer
        state = optimizer.state_dict()
        if not all(bool(np.isfinite(cuda.to_cpu(array)).all()) for array in state.values()):
            optimizer.load_state_dict({"iterations": np.array(0)})
        print(f"[TerminateOnNaN] {reason} Training ends here; model and history are kept.")
