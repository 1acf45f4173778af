"""The training loop of several processes: `SharedFit` is `Fit` with what they exchange."""

import os
from collections.abc import Generator
from typing import Any

from .. import callbacks as cb
from ..data import Dataset
from ..distributed.agreement import (
    check_same,
    described,
    described_data,
    described_layers,
    same_batches,
)
from ..distributed.following import Follower, share_running_averages
from ..distributed.step import SharedBatch
from ..files.model_file import ModelFile
from ..layers.plan import named_layers
from .arguments import ScheduleArguments
from .loop import Fit
from .signals import Interrupts


class SharedFit(Fit):
    """One call of `Model.fit` in one of several processes, for a model with `distributed`.

    All run the same loop on their rows of the same batches. The arguments are those of `Fit`.
    """

    def __init__(self, model: Any, *arguments: Any) -> None:
        self.team = model.distributed
        self.follower = Follower(self.team)
        compiled = model.compiled_config()
        what = {
            "dtype": model.dtype,
            "layers": described_layers(model.layers),
            "loss": described(compiled["loss"]),
            "optimizer": described(compiled["optimizer"]),
            "lr": str(float(model.wrapped_optimizer.lr)),
            "metrics": described(compiled["metrics"]),
            "gradient_accumulation_steps": model.accumulator.steps,
        }
        check_same(self.team, what)
        model.split_seed = self.follower.draw_alike(model.generators, model.split_seed)
        super().__init__(model, *arguments)

    def _read_saved(self, resume: Any) -> ModelFile | None:
        """Return the content of the file as rank 0 reads it, whose disk it may be on.

        Others need not pass it then; but without one in rank 0 all would start from the beginning.
        """
        is_read = self.team.broadcast(resume is not None)
        check_same(self.team, {"resume": None if is_read or resume is None else os.fspath(resume)})
        return self.team.broadcast(super()._read_saved(resume) if self.team.rank == 0 else None)

    def limit_steps(self, steps_per_epoch: Any, validation_steps: Any) -> None:
        """Limit the batches; the data must be the same in all processes."""
        super().limit_steps(steps_per_epoch, validation_steps)
        what = {"epochs": self.epochs, "use_averages": self.use_averages, **self.params}
        for name, data in (("data", self.train), ("val_data", self.val)):
            what[name] = described_data(data)
        what.pop("verbose")
        check_same(self.team, what)

    def weigh_classes(self, class_weight: Any) -> None:
        """Weight the samples, by the same weights in all processes."""
        check_same(self.team, {"class_weight": described(class_weight)})
        super().weigh_classes(class_weight)

    def prepare_batches(self, shuffle: bool, augment: Any, num_threads: int | None) -> None:
        """Choose how batches are prepared, alike in all processes."""
        super().prepare_batches(shuffle, augment, num_threads)
        check_same(self.team, {"shuffle": shuffle, "augment": described(augment)})

    def choose_callbacks(
        self,
        callbacks: Any,
        schedule: ScheduleArguments,
        early_stopping: bool,
        patience: int,
    ) -> None:
        """Collect the callbacks; those of nn that change the training must be those of all."""
        super().choose_callbacks(callbacks, schedule, early_stopping, patience)
        kinds = (cb.EarlyStopping, cb.LearningRateScheduler, cb.ReduceLROnPlateau)
        what = {name: described(value) for name, value in vars(schedule).items()}
        what["lr_schedule"] = what.pop("name")
        what |= {"early_stopping": early_stopping, "patience": patience}
        chosen = [c for c in self.callbacks.callbacks if isinstance(c, kinds)]
        what["callbacks"] = [type(c).__name__ for c in chosen]
        check_same(self.team, what)

    def _called_here(self, chosen: list[cb.Callback]) -> list[cb.Callback]:
        """Return the callbacks that this process calls, and at their end the follower."""
        is_first = self.team.rank == 0
        kept = [c for c in chosen if is_first or not c.first_rank_only]
        self._left_out = tuple(type(c).__name__ for c in chosen if c not in kept)
        return [*kept, self.follower]

    def _resume(self, saved: ModelFile) -> None:
        """Load the state of a file; that of callbacks which rank 0 alone calls is its own."""
        self.progress.left_out += self._left_out
        super()._resume(saved)

    def _agree(self) -> None:
        """Begin with the model of rank 0."""
        self.follower.copy_state()

    def _interrupts(self) -> Interrupts:
        """Return the signals that all processes obey after the same batch."""
        self.follower.interrupts = Interrupts(is_shared=True)
        return self.follower.interrupts

    def _train_on_batch(self, index: int, batch: Any, logs: dict[str, float]) -> dict[str, float]:
        """Train on the rows of this process; return the epoch's figures of all rows so far."""
        x, y, *weight = batch
        progress, model = self.progress, self.model
        self.params["batch_size"] = batch.total
        self.callbacks.call("on_train_batch_begin", index, logs)
        progress.batch = (x, y) if self._is_checked else None
        received = self.interrupts.received
        shard = SharedBatch(self.team, batch.total, batch.fingerprint, received)
        with shard.active():
            logs = model.train_step(x, y, weight[0] if weight else None, progress.metrics)
        progress.batch = None
        if not shard.samples:
            raise RuntimeError(
                f"[{type(model).__name__}] train_step() must call super().train_step() to be "
                "trained by several processes, which add up their gradients there."
            )
        self.interrupts.agreed[:] = shard.signals
        logs["loss"] = progress.add(logs["loss"], shard.samples)
        self.callbacks.call("on_train_batch_end", index, logs)
        return logs

    def _remaining(self, epoch: int) -> Generator[tuple, None, None]:
        """Return the remaining batches of an epoch; those of a source must be the same for all."""
        batches = super()._remaining(epoch)
        if isinstance(self.train, Dataset):
            return batches
        return same_batches(self.team, batches, self.train.argument)

    def run(self) -> None:
        """Train, and compare the weights at the end."""
        super().run()
        self.follower.check_end()

    def _end_epoch(self, epoch: int, logs: dict[str, float]) -> None:
        """Validate with the same running averages, write the history and call the callbacks."""
        share_running_averages(self.team, [layer for _, layer in named_layers(self.model.layers)])
        super()._end_epoch(epoch, logs)
