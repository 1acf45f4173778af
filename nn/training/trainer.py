"""What a model does with data and their targets: `fit` and `evaluate`, as methods of `Model`."""

import contextlib
import copy
import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

from .. import callbacks as cb
from .. import checks, compat, cuda, losses, validation
from ..data.stream import Stream
from ..layers import finite, fold
from ..layers.containers import output_activation
from ..layers.masks import Mask
from ..layers.observe import active_observers
from ..metrics import Metric
from .arguments import PATIENCE, ScheduleArguments
from .data import DataAdapter
from .loop import Fit
from .predicting import Predicting
from .progress import measure
from .sources import range_of_source
from .steps import limited
from .warnings import CLASSIFICATION, doubt_about_measured

Array = Any  # numpy.ndarray or cupy.ndarray


class Trainer(Predicting):
    """The methods of `Model` for training and evaluation."""

    history: cb.History
    _may_lack_classes = False  # whether training data without samples of a class are no doubt

    @functools.partial(compat.accepts_other_names, owner="Model.fit")
    def fit(
        self,
        data: Any = None,
        y: Any = None,
        *others: Any,
        x: Any = None,
        epochs: int = 1,
        batch_size: int = 32,
        num_classes: int | None = None,
        val_data: Any = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        early_stopping: bool = False,
        patience: int = PATIENCE,
        min_delta: float = 0.0,
        lr_schedule: str | Callable[[int], float] | None = None,
        lr_patience: int = 3,
        lr_factor: float = 0.5,
        lr_min: float = 1e-6,
        warmup_epochs: int = 0,
        callbacks: Sequence[cb.Callback] = (),
        shuffle: bool = True,
        augment: Callable[..., Array] | None = None,
        class_weight: dict[int, float] | None = None,
        sample_weight: Array | None = None,
        initial_epoch: int = 0,
        resume: str | os.PathLike | None = None,
        num_threads: int | None = None,
        verbose: int = 1,
        steps_per_epoch: int | None = None,
        use_averages: bool = False,
        validation_steps: int | None = None,
    ) -> cb.History:
        """Train the model and return the history.

        All arguments after `y` are passed by name.

        Parameters
        ----------
        data, y
            A `Dataset`, or an array of inputs with its targets; `x` is another name of `data`.
            Images of bytes, uint8 (n, C, H, W), are scaled to [0, 1]; other inputs are used as
            they are. A sparse matrix of scipy.sparse becomes dense batch by batch. Labels that are
            texts become numbers in the order of the class names, which the model keeps.

            Or a source of batches (x, y) or (x, y, sample_weight), without `y`: an object with a
            method `batches(batch_size, ...)`, an iterable such as a list or a PyTorch
            `DataLoader`, a function that returns a generator, each read from its beginning every
            epoch; or a generator, which is read on over the epochs, also by the next `fit`. Each
            batch is checked when it comes, the first before the first step. A data set of single
            samples with a length and an index, such as PyTorch's, is read in batches, and PyTorch's
            `IterableDataset` in its order.
        epochs
            Total number of epochs; with `initial_epoch=2` and `epochs=4` two are run.
        batch_size
            Samples a step. A source decides itself, unless its method `batches` takes it; the
            same holds for `shuffle` and `num_threads`.
        num_classes
            Checked against the last layer if it is given.
        val_data, validation_data
            A `Dataset`, (x, y), (x, y, sample_weight) or a source of batches, measured after each
            epoch. A generator serves one epoch, or several with `validation_steps`. The two names
            mean the same.
        validation_split
            Share of the data, in [0, 1), to hold out instead of `val_data`: drawn at random
            by the model's seed, the same share of every class. Not for a source of batches.
        early_stopping, patience, min_delta
            Stop after `patience` epochs without a gain of `min_delta` in validation accuracy
            (without validation, in training accuracy; for regression, in the loss), and
            restore the best weights.
        lr_schedule, lr_patience, lr_factor, lr_min, warmup_epochs
            'plateau' multiplies the rate by `lr_factor` after `lr_patience` epochs without a
            gain, not below `lr_min`. 'step' does so every `lr_patience` epochs, 'exponential'
            each epoch. 'cosine' falls to `lr_min` over `epochs` after `warmup_epochs`,
            'warm_restarts' restarts after `lr_patience` epochs and then after twice as
            many each time, 'one_cycle' and 'triangular' rise and fall once. Or any function of the
            step, or a callback: `ReduceLROnPlateau('val_f1')`, `LearningRateScheduler(f)`.
            All but 'plateau' need to know the steps of an epoch: from a source without `len`,
            by `steps_per_epoch`.
        callbacks
            `nn.callbacks.Callback` objects.
        shuffle
            Whether to draw a new order each epoch.
        augment
            A function (x, rng) -> x, run on each training batch by the data threads; on those of
            a source by the main thread, unless its method `batches` takes it. Targets of pixels
            need one that moves them too, (x, y, rng) -> (x, y) with `mixes_labels = True`.
        class_weight
            {class: weight}, multiplied into the loss of each sample of the class; a class is its
            number or its name.
        sample_weight
            (n,), multiplied into the loss of each sample; or those of the labels of steps (n, T) or
            pixels (n, H, W). A source returns them with each batch.
        initial_epoch
            Number of the first epoch. A source of batches is not read ahead: its first epoch
            is the next one.
        resume
            A file of `save` to go on from: weights, optimizer state, history and generators are
            read from it, and `initial_epoch` is the epoch that it had reached. Pass the same
            data and arguments as before. From a file that was written while training, as
            `ModelCheckpoint(save_state=True)` does, training goes on bit for bit as if it had
            never ended: callbacks load their state, and within an epoch its remaining batches
            follow (with another `batch_size` the epoch is run again). A source of batches is read
            past those of the epoch that were trained on: a generator must begin where the epoch
            began.
        num_threads
            Threads that prepare batches, as in `Dataset.batches`.
        verbose
            0 is silent, 1 draws a bar in a terminal, 2 writes a line an epoch.
        steps_per_epoch
            Batches of an epoch; None for all. A generator that should last for several epochs
            needs it. From other data each epoch takes the first ones of a new pass.
        use_averages
            Whether validation, and the callbacks at the end of an epoch, see the averaged weights
            of `compile(ema_decay=...)`: a checkpoint then writes them, and early stopping keeps
            the best of them. Training goes on with its own.
        validation_steps
            Batches of a validation; None for all. A source that never ends needs it.

        Returns
        -------
        History
            `{'loss': [...], 'acc': [...], 'val_loss': [...], 'val_acc': [...], 'lr': [...]}`,
            a figure an epoch, weighted by the sizes of the batches.

        Raises
        ------
        ValueError, TypeError
            For data or arguments that do not fit, before the first step; for a source's later
            batches when they come, with epoch and batch in the message.
        RuntimeError
            If a source ends within `steps_per_epoch`, or has no batches in a later epoch. As
            after every error, model and history keep what was learned before, `on_train_end` of
            the callbacks has been called, and a generator is closed; the same holds if training
            ends early. Exceptions of the source itself get a note of epoch and batch.
        FloatingPointError
            If the loss, a gradient or a weight becomes NaN or infinite; the message names
            epoch, batch and layer. In each step the gradients of vectors, such as biases, are
            checked, which sum a layer's whole gradient; at the end of an epoch all weights are,
            before anything is measured or saved.

        Notes
        -----
        Each batch is passed to `train_step(x, y, sample_weight, metrics)`, which a subclass of
        `Model` may override; it returns a dict with 'loss' and other figures of the epoch.

        A callback that sets `model.stop_training` ends the training after the batch, and the epoch
        with it: it is validated and written into the history.

        Ctrl-C ends the training after the present batch and prints a line; `on_train_end` is
        called (early stopping restores its best weights), and the history of the finished epochs
        is returned. A second is a KeyboardInterrupt. SIGTERM does the same, with a SystemExit(143).
        """
        if others:
            raise TypeError(
                "[Model.fit] 'epochs', 'batch_size' and all other arguments after 'y' must be "
                f"passed by name, got {others[0]!r} by position (Keras' order is batch_size, "
                "epochs): write fit(x, y, batch_size=32, epochs=3)."
            )
        if x is not None and data is not None:
            raise TypeError("[Model.fit] 'x' is another name of 'data': pass one of them.")
        self._require_compiled("fit")
        kind: type[Fit] = Fit
        if self.distributed is not None:
            from .shared import SharedFit

            kind = SharedFit
        with self.together("fit()"):
            fit = kind(self, epochs, batch_size, initial_epoch, resume, verbose, use_averages)
            fit.read_data(x if data is None else data, y, sample_weight, num_classes)
            fit.read_validation(val_data, validation_data, validation_split)
            fit.weigh_classes(class_weight)
            fit.limit_steps(steps_per_epoch, validation_steps)
            fit.prepare_batches(shuffle, augment, num_threads)
            schedule = ScheduleArguments(
                lr_schedule, lr_patience, lr_factor, lr_min, min_delta, warmup_epochs
            )
            fit.choose_callbacks(callbacks, schedule, early_stopping, patience)
            fit.run()
        return self.history

    @functools.partial(compat.accepts_other_names, owner="Model.evaluate", ignored=["verbose"])
    def evaluate(
        self,
        data: Any,
        y: Any = None,
        batch_size: int = 256,
        *,
        sample_weight: Array | None = None,
        steps: int | None = None,
        class_weight: dict[int, float] | None = None,
    ) -> dict[str, float]:
        """Return the loss, penalties included, and the metrics: {'loss': ..., 'acc': ...}.

        Nothing is printed; `verbose` is accepted, as in Keras, and ignored.

        Parameters
        ----------
        data, y
            A `Dataset`, inputs with their targets, or a source of batches as in `fit`,
            which is read to its end. `x` is another name of `data`.
        batch_size
            Samples at a time; the result does not depend on it.
        sample_weight
            As in `fit`.
        steps
            Batches to read; None for all. A source that never ends needs it.
        class_weight
            {class: weight}, multiplied into the loss of each sample of the class, as in `fit`.

        Raises
        ------
        ValueError, TypeError
            For data or arguments that do not fit.
        FloatingPointError
            If the loss is NaN or infinite; the message names the layer.
        """
        self._require_compiled("evaluate")
        batch_size = checks.positive_int("Model", "batch_size", batch_size)
        with self.together("evaluate()"):
            adapter = DataAdapter(self)
            source = adapter.with_class_weight(adapter.data(data, y, sample_weight), class_weight)
            source = limited(source, steps, batch_size, "steps")
            if self.distributed is not None:
                from ..distributed.agreement import check_evaluation
                from ..distributed.following import digest

                arrays = digest(self.get_arrays())
                check_evaluation(self.distributed, source, arrays, batch_size, steps)
            figures = self.evaluate_checked(source, batch_size)
        self.warn_of_range(range_of_source(source))
        doubt = doubt_about_measured(self.loss, source)
        if doubt is not None:
            checks.warn(doubt)
        return figures

    def evaluate_checked(
        self, data: Any, batch_size: int, allow_nan: bool = False
    ) -> dict[str, float]:
        """Return what `evaluate` does, for a `Dataset` or `Stream` that was checked before.

        `fit` calls it after each epoch; with `allow_nan` a loss may be NaN.
        """
        total, samples, team = 0.0, 0.0, self.distributed
        settings = {"shuffle": False, "dtype": self.batch_dtype, "part": self.part}
        batches = data.batches(batch_size, **settings)
        if team is not None:
            from ..distributed.agreement import same_batches
            from ..distributed.step import add_rows, add_sums

            if isinstance(data, Stream):
                batches = same_batches(team, batches, data.argument)
        with contextlib.closing(batches):
            measured = self._fresh_metrics(data.y)
            for batch in batches:
                x, targets, *weight = batch
                x, targets = (cuda.to_device(array, self.device) for array in (x, targets))
                weights = cuda.to_device(weight[0], self.device) if weight else None
                y_pred, mask, loss = self._evaluate_batch(x, targets, weights)
                if not (math.isfinite(loss) or allow_nan):
                    reason = finite.first_not_finite(self, x)
                    raise FloatingPointError(f"[Model] the loss of the data is {loss}: {reason}")
                if team is None:
                    measure(measured, targets, y_pred, mask)
                elif not add_rows(team, batch.total, measured, targets, y_pred, mask):
                    continue  # it has no rows of this batch
                count = len(x) if mask is None else int(mask.sum())
                total += loss * count
                samples += count
        if team is not None:
            total, samples = add_sums(team, measured, (total, samples))
        figures = {metric.name: metric.result() for metric in measured}
        return {"loss": total / samples + self._plan().penalty(of_activity=False), **figures}

    def _evaluate_batch(self, x: Array, y: Array, weights: Any) -> tuple[Array, Mask, float]:
        """Return output, mask and loss of a batch; passes of nn's own keep what training needs."""
        loss, layers, plan = self.wrapped_loss, self.layers, self._plan()
        is_own = "forward" not in self.own_passes()
        is_plain = is_own and not (hasattr(loss, "wrapped") or active_observers.get())
        if is_plain:
            loss = copy.copy(loss)
        if is_plain and (loss.activation is not None or plan.has_activity_penalty):
            layers = fold.with_own_output(layers, of_all=plan.has_activity_penalty)
            loss.activation = None if loss.activation is None else output_activation(layers)
        if is_own and plan.has_activity_penalty:  # which training=None does not compute
            y_pred, mask, plan = fold.run_with_penalty(layers, x)
        elif is_plain:
            y_pred, mask = fold.run(layers, x, keep_logits=loss.activation is not None)
        else:
            y_pred, mask = self._infer(x, keep_logits=True)
        also = () if mask is None else (mask,)
        loss_of = loss.forward if None in (self.output_shape or ())[1:] else loss.compute
        return y_pred, mask, loss_of(y_pred, y, weights, *also) + plan.activity_penalty()

    def _fresh_metrics(self, y: Array) -> list[Metric]:
        """Return new copies of the metrics that make sense for targets y."""
        outputs = validation.outputs_of(self.output_shape or (None, 1))
        measured = copy.deepcopy(self.metrics)
        if not (isinstance(self.loss, CLASSIFICATION) or validation.look_like_classes(y, outputs)):
            measured = [metric for metric in measured if metric.name != "acc"]
        for metric in measured:
            if metric.threshold is None:
                metric.threshold = self.threshold
            if hasattr(metric, "elementwise"):  # several outputs, each with its own decision
                is_binary = isinstance(self.loss, losses.BinaryCrossentropy)
                metric.elementwise = outputs != 1 and is_binary
            if "forward" not in self.own_passes():  # whose outputs may be others
                metric.check_outputs(outputs)
            metric.reset()
        return measured

    def test_on_batch(self, x: Any, y: Any, sample_weight: Any = None) -> dict[str, float]:
        """Return what `evaluate` does for one batch, under Keras' name."""
        return self.evaluate(x, y, max(len(x), 1), sample_weight=sample_weight)
