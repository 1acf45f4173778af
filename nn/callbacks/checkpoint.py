"""ModelCheckpoint: files of the model while it trains."""

import math
import os
import string
from typing import Any

from .. import checks
from ..files import foreign
from ..files.model_file import FileFormatError
from .base import Callback, Logs, score
from .control import check_mode


class ModelCheckpoint(Callback):
    """Save the model after every epoch, every n epochs or batches, or after the best so far.

    `fit` calls it after all other callbacks, whatever its position, so that the file holds
    their states after the epoch.

    Parameters
    ----------
    path
        File to write. '{epoch}' in it is replaced by the epoch, counted from 1, and the names
        of figures by their values: 'run-{epoch:02d}-{val_acc:.3f}.hdf5'. After a batch there is
        '{batch}' too, counted from 1, and the figures are the epoch's so far.
    monitor
        The figure that decides which epoch is best. The arguments after it are passed by name.
    save_best_only
        Write only if that figure beats all before it, those of an earlier `fit` with this
        object included: a new object starts afresh.
    save_state
        Write the optimizer's state and the history as well, so that `fit(resume=path)` can
        go on from the file as if nothing had happened, also within an epoch.
    mode
        As for `EarlyStopping`.
    save_weights_only
        Write the arrays alone, for `load_weights`.
    every_n_epochs
        Consider every n-th epoch only: with 2 the second, the fourth and so on.
    save_freq
        'epoch', or a number of batches: the model is saved each time after so many, counted over
        all epochs, instead of after epochs. Not with `save_best_only`.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments, or such as contradict each other; while training, for a figure
        in `monitor` or `path` that is not measured.

    Warns
    -----
    RuntimeWarning
        If a file cannot be written, because the disk is full for example, or the history too
        long for the format. Training goes on, and the next epoch (or batch) is saved again; the
        file of before is whole.
    """

    first_rank_only = True

    def __init__(
        self,
        path: str | os.PathLike,
        monitor: str = "val_acc",
        *,
        save_best_only: bool = True,
        save_state: bool = False,
        mode: str = "auto",
        save_weights_only: bool = False,
        every_n_epochs: int = 1,
        save_freq: str | int = "epoch",
    ):
        owner = "ModelCheckpoint"
        self.mode = check_mode(owner, mode)
        self.path = str(checks.path(owner, "path", path))
        foreign.check_suffix(owner, path)
        self.monitor = monitor
        self.save_best_only = checks.boolean(owner, "save_best_only", save_best_only)
        self.save_state = checks.boolean(owner, "save_state", save_state)
        self.save_weights_only = checks.boolean(owner, "save_weights_only", save_weights_only)
        self.every_n_epochs = checks.positive_int(owner, "every_n_epochs", every_n_epochs)
        self.save_freq = save_freq
        if save_freq != "epoch":
            self.save_freq = checks.positive_int(owner, "save_freq", save_freq)
            if save_best_only or every_n_epochs != 1:
                rule = "as a number of batches needs save_best_only=False and every_n_epochs=1"
                raise checks.error(owner, "save_freq", rule, save_freq)
        if save_state and save_weights_only:
            rule = "must be False with save_weights_only=True"
            raise checks.error(owner, "save_state", rule, save_state)
        self._best = -math.inf
        self._epoch = self._batches = 0

    def needed_figures(self) -> list[tuple[str, str]]:
        """Return the figure to monitor, and those in the file's name."""
        needed = [("monitor", self.monitor)] if self.save_best_only else []
        try:
            fields = [field or "" for _, field, _, _ in string.Formatter().parse(self.path)]
        except ValueError:  # reported when the name is needed
            fields = []
        names = [field for field in fields if field.isidentifier()]
        return needed + [("path", name) for name in names if name not in ("epoch", "batch")]

    def on_train_begin(self, logs: Logs) -> None:
        """Keep the best figure of the `fit` before, or take that of a training that is resumed."""
        past = self.model.history
        epochs = [past.epoch(k) for k in range(len(past.get(self.monitor, ())))]
        if epochs and self.save_best_only:
            self._best = max(score(e, self.monitor, self.mode) for e in epochs)
        self._batches = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the best figure and the number of batches so far."""
        return {"best": self._best, "batches": self._batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._best, self._batches = float(state["best"]), int(state["batches"])

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Keep the epoch, for the name of a file that is written within it."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Save every `save_freq` batches."""
        self._batches += 1
        if isinstance(self.save_freq, int) and self._batches % self.save_freq == 0:
            self._save({"epoch": self._epoch + 1, "batch": batch + 1, **logs})

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Save every `every_n_epochs` epochs, or the best."""
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
        """Write the file named after these figures; return whether it was written."""
        try:
            path = self.path.format(**names)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(
                f"[ModelCheckpoint] 'path' may hold {{name}} of {', '.join(names)}, got "
                f"{self.path!r}: {type(error).__name__} {error}."
            ) from error
        try:
            if self.save_weights_only:
                self.model.save_weights(path)
            else:
                self.model.save(path, include_optimizer=self.save_state)
        except (OSError, FileFormatError) as error:
            when = ", ".join(
                f"{name} {names[name]}" for name in ("epoch", "batch") if name in names
            )
            checks.warn(
                f"[ModelCheckpoint] did not save {when} to '{path}': {error} Training goes on, and "
                "the next one is tried again.",
                RuntimeWarning,
            )
            return False
        return True
