"""The training loop: `Fit` is one call of `Model.fit`.

Top to bottom: `read_data` to `choose_callbacks` check the arguments, `run` goes through the epochs,
`_run_epoch` through the batches of one, and `Model.train_step` trains on each.
"""

import contextlib
import functools
import os
from collections.abc import Generator, Iterator
from typing import Any

from .. import callbacks as cb
from .. import checks, random, validation
from ..callbacks.progress import print_line
from ..custom import is_ours
from ..data.batching import of_epoch
from ..data.ranges import union
from ..data.stream import Stream
from ..files import training_state
from ..files.model_file import ModelFile
from . import arguments
from .data import VAL_BATCH, DataAdapter
from .progress import Progress
from .signals import Interrupts
from .sources import Source, range_of_source
from .steps import check_epochs, check_length, close, limited, sizes, skip_batches
from .warnings import chance_callback, doubts, warn_of_others


class Fit:
    """One call of `Model.fit`.

    Parameters
    ----------
    model
        The model, of which the public attributes are used, and the methods of a training step:
        `train_step`, `finish_step`, `check_weights`.
    epochs, batch_size, initial_epoch, resume, verbose, use_averages
        As in `Model.fit`.

    Attributes
    ----------
    model
        The model.
    train, val : Dataset, Stream or None
        The data.
    params : dict
        'epochs', 'batch_size', 'verbose', 'samples' and 'steps', for callbacks.
    callbacks : CallbackList
        All callbacks.
    progress : Progress
        Where the training has got to, once it runs.
    """

    train: Source
    val: Source | None
    callbacks: cb.CallbackList
    progress: Progress

    def __init__(
        self,
        model: Any,
        epochs: int,
        batch_size: int,
        initial_epoch: int = 0,
        resume: str | os.PathLike | None = None,
        verbose: int = 1,
        use_averages: bool = False,
    ) -> None:
        self.model, self.adapter = model, DataAdapter(model)
        self._rng = model.generators[1]  # of the data
        self.params: dict[str, Any] = {
            "epochs": checks.positive_int("Model", "epochs", epochs),
            "batch_size": checks.positive_int("Model", "batch_size", batch_size),
            "verbose": verbose,
        }
        self.batch_size = self.params["batch_size"]
        if use_averages and model.wrapped_optimizer.ema_decay is None:
            rule = "needs compile(ema_decay=...)"
            raise checks.error("Model", "use_averages", rule, use_averages)
        self.use_averages = use_averages
        self._display = arguments.display_callback(verbose)
        first = checks.non_negative_int("Model", "initial_epoch", initial_epoch)
        self.path = None if resume is None else checks.path("Model", "resume", resume)
        self.saved = self._read_saved(resume)
        if self.saved is not None:
            given, first = first, (self.saved.training or {})["epoch"]
            if given not in (0, first):
                rule = f"must be left out with 'resume', whose training has reached epoch {first}"
                raise checks.error("Model", "initial_epoch", rule, given)
        self.epochs = range(first, self.params["epochs"])

    def _read_saved(self, resume: str | os.PathLike | None) -> ModelFile | None:
        """Return what a file holds of a training; None without a file."""
        return None if resume is None else training_state.read_training(resume)

    # --------------------------------------------------------------------- the arguments

    def read_data(self, data: Any, y: Any, sample_weight: Any, num_classes: Any) -> None:
        """Check the training data."""
        self.train = self.adapter.data(data, y, sample_weight, is_training=True)
        self.num_classes = num_classes
        self.adapter.check_num_classes(num_classes)

    def read_validation(self, val_data: Any, validation_data: Any, fraction: float) -> None:
        """Check the validation data, or split them off the training data."""
        seed = self.model.split_seed
        if self.saved is not None:
            seed = (self.saved.training or {})["split_seed"]
        self.train, self.val = self.adapter.split(
            self.train, val_data, validation_data, fraction, seed
        )

    def weigh_classes(self, class_weight: Any) -> None:
        """Weight the samples of the training data by their classes."""
        self.train = self.adapter.with_class_weight(self.train, class_weight)

    def limit_steps(self, steps_per_epoch: Any, validation_steps: Any) -> None:
        """Limit the batches of an epoch and of a validation."""
        if self.val is not None:
            self.val = limited(self.val, validation_steps, VAL_BATCH, "validation_steps")
        elif validation_steps is not None:
            rule = "needs 'val_data'"
            raise checks.error("Model", "validation_steps", rule, validation_steps)
        self.train = limited(self.train, steps_per_epoch, self.batch_size)
        self.params.update(sizes(self.train, self.batch_size))
        check_epochs(self.train, self.val, self.epochs)

    def prepare_batches(self, shuffle: bool, augment: Any, num_threads: int | None) -> None:
        """Choose how batches are prepared; see `Dataset.batches`."""
        # Else each batch is checked after its augmentation, or with its outputs.
        self._is_checked = augment is None and None not in (self.model.output_shape or ())[1:]
        self._augment = augment
        self._batches_with = functools.partial(
            self.train.batches,
            self.batch_size,
            shuffle=checks.boolean("Model", "shuffle", shuffle),
            num_threads=num_threads,
            rng=self._rng,
            dtype=self.model.batch_dtype,
            part=self.model.part,
        )

    def _batches(self, epoch: int, **arguments: Any) -> Generator[tuple, None, None]:
        """Return the batches of an epoch, with its augmentation."""
        return self._batches_with(augment=of_epoch(self._augment, epoch), **arguments)

    def choose_callbacks(
        self,
        callbacks: Any,
        schedule: arguments.ScheduleArguments,
        early_stopping: bool,
        patience: int,
    ) -> None:
        """Collect the callbacks that the arguments ask for, and the user's."""
        saved, own = training_state.saved_rate(self.saved), self.model.wrapped_optimizer
        lr = own.lr if saved is None or own.schedule is not None else saved
        chosen = [
            *arguments.early_stopping_callback(early_stopping, patience, schedule.min_delta),
            *schedule.callbacks(lr, self.params, self.model.accumulator.steps),
            *arguments.users_callbacks(callbacks, self.params),
            *chance_callback(self.train),
            *self._display,
        ]
        arguments.check_rates(chosen)
        schedule.warn_of_unused(early_stopping, patience)
        chosen = self._called_here(chosen)
        # Checkpoints come last, as they save the states of the others.
        chosen.sort(key=lambda callback: isinstance(callback, cb.ModelCheckpoint))
        self.callbacks = cb.CallbackList(chosen, self.model, self.params)

    def _called_here(self, chosen: list[cb.Callback]) -> list[cb.Callback]:
        """Return the callbacks that this process calls."""
        return chosen

    # --------------------------------------------------------------------- the training

    def run(self) -> None:
        """Train, from the beginning or from the state in the file `resume`."""
        model = self.model
        with self._in_progress() as progress, contextlib.ExitStack() as sources:
            sources.callback(close, self.train, self.val)
            if self.saved is not None:
                self._resume(self.saved)
            self._read_ahead()
            self.adapter.check_num_classes(self.num_classes)
            model.warn_of_range(range_of_source(self.train))  # of the model's trainings before
            self.adapter.adapt(self.train, resumes=self.saved is not None)
            if self.val is not None:
                model.warn_of_range(range_of_source(self.val))
            if self.saved is None:
                model.history = cb.History()  # from here on no argument can be refused
            arguments.check_last_batch(self.train, self.batch_size, model.layers)
            model.use_training_weights()
            if progress.batches == 0:  # else gradients may wait for the epoch's next batch
                model.accumulator.clear()
            self._agree()
            known = (model.layers, model.loss, model.output_shape)
            for doubt in doubts(*known, self.train, self.val, model._may_lack_classes):
                checks.warn(doubt)
            if self._run_epochs():
                sources.pop_all()  # a generator stays open: the next fit may read on

    def _agree(self) -> None:
        """Begin as the other processes do in a `SharedFit`; here warn if there are others."""
        warn_of_others()

    def _interrupts(self) -> Interrupts:
        """Return what defers signals while the epochs run."""
        return Interrupts()

    def _run_epochs(self) -> bool:
        """Run the epochs; return whether all were run.

        Ctrl-C ends them after the batch, or after the epoch once its last batch is trained. So does
        SIGTERM, which goes on to the caller as a SystemExit. A second signal is obeyed at once,
        and goes on to the caller.
        """
        model, epoch = self.model, self.epochs.start
        is_whole, interrupted, model.stop_training = True, False, False
        with self._interrupts() as self.interrupts:
            self._check_figures()
            self.callbacks.call("on_train_begin", {})
            self.callbacks.find_hooks()
            try:
                self.progress.restore_callbacks()
                for epoch in self.epochs:
                    if model.stop_training:
                        break
                    is_whole = self._run_epoch(epoch)
                    self.interrupts.check()
                else:  # no epoch was left out
                    return is_whole
            except KeyboardInterrupt:
                interrupted = True
                if len(self.interrupts.received) > 1:
                    raise
            except FloatingPointError as error:
                watchers = [c for c in self.callbacks.callbacks if isinstance(c, cb.TerminateOnNaN)]
                if not watchers:
                    raise
                watchers[0].terminate(str(error).removeprefix("[Model] "))
            finally:
                self.callbacks.call("on_train_end", {})
                if (interrupted or self.interrupts.received) and model.is_first_rank:
                    print_line(self._interruption(epoch))
        return False

    def _check_figures(self) -> None:
        """Raise if a callback needs a figure that no epoch will have."""
        model, names = self.model, ["loss", "lr"]
        if not self.epochs or not is_ours(type(model).train_step):
            return  # no epoch, or one with figures of the user's
        for data, prefix in ((self.train, ""), (self.val, "val_")):
            if data is not None:
                measured = model._fresh_metrics(data.y)
                names += [prefix + metric.name for metric in measured]
        self.callbacks.check_figures([*names, *(["val_loss"] if self.val is not None else [])])

    def _run_epoch(self, epoch: int) -> bool:
        """Train on every batch that remains of the epoch, and validate.

        Returns
        -------
        bool
            Whether all batches were trained: `stop_training` ends the epoch after the batch.
        """
        model, progress = self.model, self.progress
        if isinstance(self.train, Stream):  # which decides how large its batches are
            self.params.update(sizes(self.train, self.params["batch_size"]))
        self.callbacks.call("on_epoch_begin", epoch, {})
        measured = model._fresh_metrics(self.train.y)
        progress.begin_epoch(measured, model.wrapped_optimizer.lr)
        logs = progress.logs()
        with contextlib.closing(self._remaining(epoch)) as batches:  # their threads end with it
            for index, batch in enumerate(batches, progress.batches):
                try:
                    logs = self._train_on_batch(index, batch, logs)
                except FloatingPointError as error:
                    raise _located(error, epoch, f"batch {index}") from None
                except Exception as error:
                    error.add_note(f"[Model] raised in epoch {epoch + 1}, batch {index}.")
                    raise
                if self.interrupts.agreed:
                    self.interrupts.check()
                if model.stop_training:
                    break
        logs |= {m.name: m.result() for m in measured if m.name not in logs}  # not of each batch
        model.finish_step()  # with the batches left over by the last full step
        try:
            model.check_weights()
        except FloatingPointError as error:
            raise _located(error, epoch, "after the last batch") from None
        is_whole = not model.stop_training
        self._end_epoch(epoch, logs)
        return is_whole

    def _train_on_batch(
        self, index: int, batch: tuple[Any, ...], logs: dict[str, float]
    ) -> dict[str, float]:
        """Train on a batch between its two callbacks; return the epoch's figures so far."""
        x, y, *weight = batch
        progress = self.progress
        if isinstance(self.train, Stream):
            self.params["batch_size"] = self.train.rows
        self.callbacks.call("on_train_batch_begin", index, logs)
        progress.batch = (x, y) if self._is_checked else None
        logs = self.model.train_step(x, y, weight[0] if weight else None, progress.metrics)
        if not isinstance(logs, dict) or "loss" not in logs:
            rule = "must return a dict with 'loss' and other figures"
            raise checks.error(type(self.model).__name__, "train_step", rule, logs)
        progress.batch = None
        mask = self.model.output_mask
        logs["loss"] = progress.add(logs["loss"], len(x) if mask is None else int(mask.sum()))
        self.callbacks.call("on_train_batch_end", index, logs)
        return logs

    def _end_epoch(self, epoch: int, logs: dict[str, float]) -> None:
        """Validate, write the history and call the callbacks; with averages if asked for."""
        model = self.model
        self.adapter.remember_range(self.train)  # of a stream it may have grown
        with model.averaged_weights() if self.use_averages else contextlib.nullcontext():
            if self.val is not None:
                logs.update(self._validate(self.val))
            logs["lr"] = self.progress.lr
            model.epoch = epoch + 1
            self.progress.end_epoch(self._rng.bit_generator.state)
            model.history.on_epoch_end(epoch, logs)  # first, so that a checkpoint holds it
            written = set(logs)
            for hook in self.callbacks.hooks["on_epoch_end"]:
                hook(epoch, logs)
                added = {k: v for k, v in logs.items() if k not in written}
                model.history.on_epoch_end(epoch, added)
                written |= set(added)

    def _validate(self, val: Source) -> dict[str, float]:
        """Return the figures of the validation data, 'val_loss' and so on."""
        self.callbacks.call("on_test_begin", {})
        # They may be NaN: callbacks decide what to do then.
        figures = self.model.evaluate_checked(val, VAL_BATCH, allow_nan=True)
        self.callbacks.call("on_test_end", figures)
        return {f"val_{name}": value for name, value in figures.items()}

    def _interruption(self, epoch: int) -> str:
        """Return the line that an interrupted training ends with."""
        finished, kept = len(self.model.history.get("loss", ())), "the model"
        for callback in self.callbacks.callbacks:
            if isinstance(callback, cb.EarlyStopping) and callback.restored:
                kept = f"the weights of epoch {(callback.best_epoch or 0) + 1}, the best,"
        return (
            f"Interrupted in epoch {epoch + 1}: training ends here; {kept} and the history of "
            f"{finished} finished epoch{'s' * (finished != 1)} are kept."
        )

    # --------------------------------------------------------------------- how it starts

    @contextlib.contextmanager
    def _in_progress(self) -> Iterator[Progress]:
        """Set the model's `progress` while the training runs."""
        model = self.model
        if model.progress is not None:  # both would write its history, and step one optimizer
            raise RuntimeError(
                "[Model] fit() was called while fit() of the same model is running, by a callback "
                "or in another thread: train a copy of it, or wait until the training has ended."
            )
        order = self._rng.bit_generator.state
        self.progress = Progress(self.callbacks.callbacks, self.batch_size, order)
        model.progress = self.progress
        try:
            yield self.progress
        finally:
            model.progress = None

    def _resume(self, saved: ModelFile) -> None:
        """Load the state of a file into the model and this training.

        The whole file is checked before anything of the model is changed, except for a state that
        only a user's callback can check, which is done in its `load_state_dict`.
        """
        model, progress, where = self.model, self.progress, os.fspath(self.path or "")
        progress.path = where
        with training_state.refusing_nonsense(where):
            if not model.built:  # by a Dataset it would be
                model.build((saved.architecture or {})["input_shape"])
            training_state.check_compiled(saved, model.compiled_config(), where)
            state = training_state.state_of(saved)
            names = (saved.architecture or {}).get("class_names")
            names = validation.fitting_class_names(names, model.output_shape)
            names = validation.check_class_names(names, model.output_shape)
            vocabulary = training_state.vocabulary_of(saved)
            progress.order = state["generators"][1]
            progress.load_state_dict(state)
            progress.order = random.checked_state(self._rng, progress.order)
        progress.check_states(model.metrics)
        with training_state.refusing_nonsense(where):
            model.load_training_state(state, where)
        if progress.batches and state["accumulator"]["batches"] and not model.accumulator.batches:
            checks.warn(
                f"[Model] '{where}' holds gradients that wait for a step, of other layers than are "
                "trained now: they are left out."
            )
        lr = training_state.saved_rate(saved)
        if model.wrapped_optimizer.schedule is None and lr is not None:
            model.wrapped_optimizer.lr = lr
        if model.class_names is None:
            model.class_names = names
        if model.vocabulary is None:
            model.vocabulary = vocabulary
        for columns in ("feature_names", "target_names"):
            if getattr(model, columns) is None:
                setattr(model, columns, (saved.architecture or {}).get(columns))
        model.input_range = union(model.input_range, saved.input_range)
        self._rng.bit_generator.state = progress.order  # to draw the epoch's order again

    def _read_ahead(self) -> None:
        """Read the first batches of streams, so that errors in them come before the first step.

        They build the model, and are kept: the first epoch begins with them.
        """
        if not self.epochs:
            return
        if isinstance(self.train, Stream):
            self.train.epoch = self.epochs.start
            self.train.keep(self._batches(self.epochs.start))
            self.adapter.know_columns(self.train, self.val)
        if isinstance(self.val, Stream):
            settings = {"shuffle": False, "dtype": self.model.batch_dtype, "part": self.model.part}
            self.val.keep(self.val.batches(VAL_BATCH, **settings))

    def _remaining(self, epoch: int) -> Generator[tuple, None, None]:
        """Return the epoch's batches without those trained before; a stream is read past them."""
        done = self.progress.batches
        if done == 0:
            return self._batches(epoch)
        if isinstance(self.train, Stream):
            return skip_batches(self._batches(epoch), done, self.train.argument)
        check_length(int(sizes(self.train, self.batch_size)["steps"]), done, "data")
        return self._batches(epoch, skip=done)


def _located(error: FloatingPointError, epoch: int, place: str) -> FloatingPointError:
    """Return an error of the model with the place in the training."""
    reason = str(error).removeprefix("[Model] ")
    return FloatingPointError(f"[Model] epoch {epoch + 1}, {place}: {reason}")
