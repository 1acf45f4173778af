"""The model: a stack of layers, and the loop that trains them.

The way of a batch is `train_step`: each layer's `forward` in order, the loss, the gradient
of the loss through each layer's `backward` in reverse, and one step of the optimizer. All
else here brings batches to it (`fit`) or uses what it has learned (`evaluate`, `predict`).
"""

import contextlib
import difflib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np

from . import callbacks as cb
from . import checks, cuda, losses, metrics, optim, random, validation
from .data import Dataset
from .files import model_file, training_state
from .inspect import trace
from .layers import Layer, Sigmoid, finite, fold
from .layers.budget import budget_for
from .layers.containers import output_activation
from .metrics import Metric
from .network import Array, Network
from .training.arguments import ScheduleArguments
from .training.data import DataAdapter, limited
from .training.loop import Fit
from .training.progress import Progress, fresh_metrics, measure

_ARGUMENTS = ("layers", "loss", "optimizer", "dtype", "seed", "name")
_COMPILE_ARGUMENTS = (
    "loss",
    "optimizer",
    "lr",
    "metrics",
    "weight_decay",
    "clip_norm",
    "clip_value",
    "ema_decay",
    "gradient_accumulation_steps",
)


class Model(Network):
    """A stack of layers that is trained as one.

    Parameters
    ----------
    layers
        The layers, in order; more can follow by `add`. A model among them becomes one layer,
        a `Sequential` of its layers.
    loss, optimizer
        Given here, they are handed to `compile`.
    dtype
        'float32', or 'float64' for gradient checks. Inputs are cast to it.
    seed
        Fixes all randomness of this model: first weights, dropout, order of the data,
        validation split. None takes the next seed of `nn.seed`.
    name
        A name for `summary`.

    Attributes
    ----------
    layers : list of Layer
    loss, optimizer
        The objects that `compile` made; None before.
    wrapped_loss, wrapped_optimizer : nn.losses.Loss, nn.optim.Optimizer, or None
        The same with all methods of a `Loss` and an `Optimizer`, even if yours have only a few.
    accumulator : nn.optim.Accumulator
        The gradients that wait for a step of the optimizer, with `gradient_accumulation_steps`.
    set_aside : dict or None
        The weights in training by their names, while averaged weights stand in their place.
    input_shape, output_shape : tuple or None
        With None for the batch axis, once the model is built.
    class_names : list of str or None
        Names of the classes, for `predict_classes(x, names=True)`: those of the last training
        set that has them, or yours. They are saved with the model.
    history : History
        The figures of the last `fit`.
    epoch : int
        Epochs run so far.
    stop_training : bool
        Set to True by a callback to end training after the batch.
    progress : nn.training.Progress or None
        Where `fit` stands while it runs; it is saved with the model.
    split_seed : int
        Seed of `validation_split`: the same rows are held out at every `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from nn.layers import Dense, ReLU
    >>> model = Model([Dense(8, input_shape=(2,)), ReLU(), Dense(2)], seed=0)
    >>> model.compile(loss="cce", optimizer="adam", lr=0.05)
    >>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype="float32")
    >>> history = model.fit(x, np.array([0, 1, 1, 0]), epochs=100, verbose=0)
    >>> model.predict_classes(x)
    array([0, 1, 1, 0])
    """

    def __init__(
        self,
        layers: Sequence[Layer] | None = None,
        loss: Any = None,
        optimizer: Any = None,
        dtype: str = "float32",
        seed: int | None = None,
        name: str | None = None,
        **unknown: Any,
    ):
        if "recompute" in unknown:
            raise TypeError(
                "[Model] 'recompute' is no argument any more: put layers in nn.Recompute([...])."
            )
        for argument in unknown:
            raise TypeError(str(checks.unknown("Model", "argument", argument, _ARGUMENTS)))
        self.loss = None
        self.optimizer = None
        self.metrics: list[Metric] = []
        self.accumulator = optim.Accumulator()
        self.history = cb.History()
        self.epoch = 0
        self.stop_training = False
        self.progress: Progress | None = None
        super().__init__(layers, dtype, seed, name)
        self._given_optimizer = optimizer
        self._token = object()  # by which an optimizer knows the model that it belongs to
        if loss is not None:
            self.compile(loss, "adam" if optimizer is None else optimizer)
        elif optimizer is not None:
            self.optimizer = optim.get(optimizer)

    @property
    def loss(self) -> Any:
        """The loss that `compile` made, or your own object; None before."""
        return self._loss

    @loss.setter
    def loss(self, loss: Any) -> None:
        self._loss = loss
        self.wrapped_loss: Any = None if loss is None else losses.wrap(loss)

    @property
    def optimizer(self) -> Any:
        """The optimizer that `compile` made, or your own object; None before."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self.wrapped_optimizer: Any = None if optimizer is None else optim.wrap(optimizer)

    # ----------------------------------------------------------------------------- compiling

    def compile(
        self,
        loss: Any,
        optimizer: Any = "adam",
        lr: Any = None,
        metrics: Sequence[Any] = ("accuracy",),
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        ema_decay: float | None = None,
        gradient_accumulation_steps: int = 1,
        **optimizer_arguments: Any,
    ) -> None:
        """Choose the loss, the optimizer and the metrics.

        Parameters
        ----------
        loss
            A name ('categorical_crossentropy' or 'cce', 'binary_crossentropy' or 'bce', 'mse',
            'mae', 'huber', 'hinge') or an object with `forward` and `backward`.
        optimizer
            A name ('sgd', 'sgdmomentum', 'adam', ...) or an object.
        lr
            Learning rate, a number or a function step -> rate; `learning_rate` is the same.
        metrics
            Names or functions (y_true, y_pred) -> float. 'accuracy' is left out where the
            targets are not classes.
        weight_decay, clip_norm, clip_value
            See `Optimizer.configure`.
        ema_decay
            Keep running averages of the weights, for `averaged_weights`; see
            `Optimizer.configure`.
        gradient_accumulation_steps
            Batches whose gradients make one step of the optimizer, as one batch of all their
            samples would (see `nn.optim.Accumulator`). In `fit` each epoch's last step takes in
            the batches that are left. Schedules count steps of the optimizer, callbacks count
            batches. A loop written by hand with `optimizer.step` makes a step a batch.
        **optimizer_arguments
            `momentum`, `beta1`, `eps` ... for the optimizer. None leaves its own setting.

        Raises
        ------
        ValueError
            For an unknown name or argument; the message names the nearest.
        """
        for name in optimizer_arguments:
            if difflib.get_close_matches(name, _COMPILE_ARGUMENTS, cutoff=0.8):
                raise checks.unknown("Model.compile", "argument", name, _COMPILE_ARGUMENTS)
        if optimizer == "adam" and self.loss is None and self._given_optimizer is not None:
            optimizer = self._given_optimizer  # Model(optimizer=...), then compile(loss)
        chosen_metrics = _as_metrics(metrics)
        chosen_loss = losses.get(loss)
        steps = 0 if isinstance(optimizer, str) else optim.wrap(optimizer).iterations
        if steps and optimizer is not self.optimizer:
            raise ValueError(
                f"[Model] 'optimizer' has taken {steps} steps with another model, "
                "and its state is that model's: use a new optimizer."
            )
        accumulator = optim.Accumulator(gradient_accumulation_steps)
        settings = {
            "lr": lr,
            "weight_decay": weight_decay,
            "clip_norm": clip_norm,
            "clip_value": clip_value,
            "ema_decay": ema_decay,
        }
        settings.update(optimizer_arguments)
        given = {name: value for name, value in settings.items() if value is not None}
        self.optimizer = optim.get(optimizer, **given)
        self.loss, self.metrics, self.accumulator = chosen_loss, chosen_metrics, accumulator
        self._connect_loss()

    def _connect_loss(self) -> None:
        """Let a cross-entropy see the logits where the model ends in its own activation."""
        pair = None if self.wrapped_loss is None else self.wrapped_loss.paired_activation
        if pair is not None:
            last = output_activation(self.layers)
            kind = type(last).__name__
            if kind != pair and kind in ("Softmax", "Sigmoid"):
                raise ValueError(
                    f"[Model] ends in {kind} under {type(self.loss).__name__}, which goes with "
                    f"{pair} or with logits: change the last activation, or the loss."
                )
            self.wrapped_loss.activation = last if kind == pair else None

    @property
    def threshold(self) -> float:
        """Return the output above which a single unit says yes: 0 for logits, else 0.5."""
        is_logit = self.loss is None or isinstance(self.loss, losses.BinaryCrossentropy)
        return 0.0 if is_logit and not isinstance(output_activation(self.layers), Sigmoid) else 0.5

    def _require_compiled(self, caller: str) -> None:
        if not self.layers:
            raise ValueError(f"[Model] has no layers: add() some before {caller}().")
        if self.wrapped_loss is None or self.wrapped_optimizer is None:
            raise RuntimeError(f"[Model] call compile(loss, optimizer) before {caller}().")
        self._connect_loss()

    # -------------------------------------------------------------------- the way of a batch

    def train_step(
        self,
        x: Array,
        y: Array,
        sample_weight: Array | None = None,
        metrics: list[Metric] | None = None,
    ) -> dict[str, float]:
        """Train on one batch and return its loss, penalties included, and metrics.

        With `gradient_accumulation_steps` the optimizer steps after as many batches.

        Parameters
        ----------
        x
            Inputs of the model's shape.
        y
            Targets as the loss takes them.
        sample_weight
            (N,), multiplied into each sample's loss before the batch's mean.
        metrics
            Metrics that take in this batch after others, as `fit` does it; None for the
            model's own, of this batch alone.

        Raises
        ------
        FloatingPointError
            Where the loss or its gradient is NaN or infinite; the message names the layer. The
            weights are as they were before.
        """
        self._require_compiled("train_step")
        if not isinstance(metrics, list | None):
            raise checks.error("Model", "metrics", "must be a list of Metric objects", metrics)
        self.use_training_weights()
        x, y = self._inputs(x), cuda.to_device(y, self.device)
        y_pred = self._forward(x, training=True)
        # `fit` passes its metrics, and checks its data before the first batch.
        is_checked = metrics is not None and self.progress is not None
        loss = self._batch_loss(y_pred, y, sample_weight, is_checked) + self.penalty()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"[Model] the loss is {loss}: {finite.first_not_finite(self, x)}"
            )
        self._backward_params(self.wrapped_loss.backward())
        pairs = self.get_params_and_grads()
        self._check_gradients(pairs)
        summed = self.accumulator.add(pairs, len(x))
        if summed is not None:  # else it waits for more batches
            self.wrapped_optimizer.step(summed)
        measured = self._fresh_metrics(y) if metrics is None else metrics
        return {"loss": loss, **measure(measured, y, y_pred)}

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the output for a batch; `training` as in `Layer.forward`."""
        self._connect_loss()
        return super().forward(x, training)

    def get_params_and_grads(self) -> list[tuple[Array, Array]]:
        """Return (param, grad) pairs of all trainable layers, always in the same order.

        The gradients are those of the loss, which the layers keep, plus those of the penalties.
        The model's optimizer is told the parameters' names and the `lr_factor` of their layers.

        Raises
        ------
        RuntimeError
            Where there are no gradients yet, or averaged weights stand in the weights' place.
        ValueError
            For layers with an `lr_factor`, where the optimizer does not honour it.
        """
        if self.set_aside is not None:
            raise RuntimeError(
                "[Model] averaged weights stand in the place of the weights in training: call "
                "use_training_weights() before the batch."
            )
        trained, pairs = list(self._trained()), []
        for _, layer, key, _ in trained:
            if key not in layer.grads:
                raise RuntimeError(
                    f"[{type(layer).__name__}] has no gradient for '{key}': call backward() "
                    "first, and let it fill grads."
                )
            param, grad = layer.params[key], layer.grads[key]
            if key in layer.regularizers:
                grad = grad + layer.regularizers[key].gradient(param)
            pairs.append((param, grad))
        self._name_parameters(trained)
        return pairs

    def _name_parameters(self, trained: list[tuple[str, Layer, str, float]]) -> None:
        """Tell the optimizer the names of the trained parameters and their rates' factors."""
        names, factors = [name for name, *_ in trained], [factor for *_, factor in trained]
        if self.wrapped_optimizer is not None:
            self.wrapped_optimizer.set_parameters(names, factors, self._token)
        else:
            optim.name_parameters(None, names, factors)

    def finish_step(self) -> None:
        """Take the optimizer's step with the batches that have come, where any wait for it.

        With `gradient_accumulation_steps` `fit` calls it at the end of an epoch, and a loop of
        `train_step` may; the mean is over the samples that have come.
        """
        if self.accumulator.batches:
            self.use_training_weights()
            trained = list(self._trained())
            self._name_parameters(trained)
            params = [layer.params[key] for _, layer, key, _ in trained]
            self.wrapped_optimizer.step(self.accumulator.finish(params))

    def _batch_loss(
        self, y_pred: Array, y: Array, sample_weight: Array | None, is_checked: bool
    ) -> float:
        if sample_weight is not None:
            sample_weight = cuda.to_device(sample_weight, self.device)
        loss = self.wrapped_loss
        return (loss.compute if is_checked else loss.forward)(y_pred, y, sample_weight)

    # ------------------------------------------------------------------------------ training

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
        patience: int = 5,
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
            uint8 inputs are images and are scaled to [0, 1]; others are used as they are.

            Or a source of batches (x, y) or (x, y, sample_weight), without `y`: an object with a
            method `batches(batch_size, ...)`, an iterable such as a list or a PyTorch
            `DataLoader`, a function that returns a generator, each read from its beginning every
            epoch; or a generator, which is read on over the epochs, also by the next `fit`. Each
            batch is checked when it comes, the first before the first step.
        epochs
            Total number of epochs; with `initial_epoch=2` and `epochs=4` two are run.
        batch_size
            Samples a step. A source decides itself, unless its method `batches` takes it; the
            same holds for `shuffle` and `num_threads`.
        num_classes
            Checked against the last layer if it is given.
        val_data, validation_data
            A `Dataset`, a pair (x, y) or a source of batches, measured after each epoch. A
            generator serves one epoch, or several with `validation_steps`. The two names mean the
            same.
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
            many each time, 'one_cycle' rises and falls once. Or any function of the step, or a
            callback: `ReduceLROnPlateau('val_f1')`, `LearningRateScheduler(f, by='epoch')`.
            All but 'plateau' need to know the steps of an epoch: from a source without `len`,
            by `steps_per_epoch`.
        callbacks
            `nn.callbacks.Callback` objects.
        shuffle
            Whether to draw a new order each epoch.
        augment
            A function (x, rng) -> x, run on each training batch by the data threads; on those of
            a source by the main thread, unless its method `batches` takes it.
        class_weight
            {class: weight}, multiplied into the loss of each sample of the class.
        sample_weight
            (n,), multiplied into the loss of each sample. A source gives it with each batch.
        initial_epoch
            Number of the first epoch. A source of batches is not wound forward: its first epoch
            is the next that it gives.
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
            If a source ends within `steps_per_epoch`, or gives nothing in a later epoch. As
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
        A callback that sets `model.stop_training` ends the training after the batch, and the epoch
        with it: it is validated and written into the history.

        Ctrl-C ends the training after the present batch and prints a line; `on_train_end` is
        called (early stopping restores its best weights), and the history of the finished epochs
        is returned. A second Ctrl-C is a KeyboardInterrupt at once. `SIGTERM` ends the
        training in the same way, and then the program, by a SystemExit with status 143.
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
        fit = Fit(self, epochs, batch_size, initial_epoch, resume, verbose, use_averages)
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

    # --------------------------------------------------------------------------------- using

    def evaluate(
        self,
        data: Any,
        y: Any = None,
        batch_size: int = 256,
        sample_weight: Array | None = None,
        steps: int | None = None,
        class_weight: dict[int, float] | None = None,
    ) -> dict[str, float]:
        """Return the loss, penalties included, and the metrics: {'loss': ..., 'acc': ...}.

        Parameters
        ----------
        data, y
            A `Dataset`, inputs with their targets, or a source of batches as in `fit`,
            which is read to its end.
        batch_size
            Samples at a time; the result does not depend on it.
        sample_weight
            (n,), multiplied into the loss of each sample.
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
        adapter = DataAdapter(self)
        source = adapter.with_class_weight(adapter.data(data, y, sample_weight), class_weight)
        return self.evaluate_checked(limited(source, steps, batch_size, "steps"), batch_size)

    def evaluate_checked(
        self, data: Any, batch_size: int, allow_nan: bool = False
    ) -> dict[str, float]:
        """Return what `evaluate` does, for a `Dataset` or `Stream` that was checked before.

        `fit` calls it after each epoch; with `allow_nan` a loss may be NaN.
        """
        figures: dict[str, float] = {}
        total, samples = 0.0, 0
        batches = data.batches(batch_size, shuffle=False, dtype=self.dtype)
        with contextlib.closing(batches):
            measured = self._fresh_metrics(data.y)
            for x, targets, *weight in batches:
                x = self._inputs(x)
                y_pred = fold.run(self.layers, x, keep_logits=True)
                targets = cuda.to_device(targets, self.device)
                loss = self._batch_loss(y_pred, targets, weight[0] if weight else None, True)
                if not (math.isfinite(loss) or allow_nan):
                    reason = finite.first_not_finite(self, x)
                    raise FloatingPointError(f"[Model] the loss of the data is {loss}: {reason}")
                total += loss * len(x)
                samples += len(x)
                figures = measure(measured, targets, y_pred)
        return {"loss": total / samples + self.penalty(), **figures}

    def _fresh_metrics(self, y: Array) -> list[Metric]:
        """Return new copies of the metrics that make sense for targets y."""
        return fresh_metrics(self.metrics, self.loss, y, self.output_shape, self.threshold)

    def predict(self, x: Any, batch_size: int = 256, steps: int | None = None) -> Array:
        """Return the output for every row of x, on the device of x.

        Parameters
        ----------
        x
            Inputs of the model's shape, or a `Dataset`. As in `fit`, uint8 inputs are images
            and are scaled to [0, 1]. Or a source of batches as in `fit`, each of which is x
            or begins with x; it is read to its end.
        batch_size
            Samples at a time; the result does not depend on it.
        steps
            Batches to read; None for all. A source that never ends needs it.

        Raises
        ------
        ValueError, TypeError
            For inputs that do not fit.
        FloatingPointError
            If the output is NaN or infinite; the message names the layer.
        """
        batch_size = checks.positive_int("Model", "batch_size", batch_size)
        if steps is not None:
            steps = checks.positive_int("Model", "steps", steps)
        if not self.layers:
            raise ValueError("[Model] has no layers: add() some before predict().")
        stream = DataAdapter(self).inputs(x)
        if stream is not None:
            source = limited(stream, steps, batch_size, "steps")
            batches = source.batches(batch_size, shuffle=False, dtype=self.dtype)
            with contextlib.closing(batches):
                outputs = [cuda.to_cpu(self._predict(x)) for (x,) in batches]
            return np.concatenate(outputs)
        if isinstance(x, Dataset):
            x = x.x  # not read as a whole: it may lie on the disk
            validation.check_shape(x, self.input_shape)
        else:
            x = validation.check_inputs(x, self.input_shape)
        back = cuda.to_cpu if cuda.get_array_module(x) is np else cuda.to_gpu
        starts = range(0, max(len(x), 1), batch_size)[:steps]
        outputs = [back(self._predict(x[k : k + batch_size])) for k in starts]
        return cuda.get_array_module(outputs[0]).concatenate(outputs)

    def _predict(self, x: Array) -> Array:
        """Return the output for a batch, which is finite."""
        x = self._inputs(x)
        return self._check_output(x, fold.run(self.layers, x))

    def predict_classes(self, x: Any, batch_size: int = 256, names: bool = False) -> Array:
        """Return the likeliest class for every row of x, as integers (n,).

        A single output means class 1 above 0 if it is a logit, else above 0.5.

        Parameters
        ----------
        x, batch_size
            As for `predict`.
        names
            Whether to return the classes' names, `class_names`, instead of their numbers.

        Raises
        ------
        ValueError
            For names if the model has none, or not one for each class.
        """
        if names and self.class_names is None:
            raise ValueError(
                "[Model] 'names' needs the names of the classes, and the model has none: set "
                "model.class_names, or fit() a Dataset that has them."
            )
        classes = fold.decide(self.predict(x, batch_size), self.threshold)
        if not names:
            return classes
        self.class_names = self.class_names  # there is one for each output, also after add()
        return np.array(self.class_names)[cuda.to_cpu(classes)]

    # ------------------------------------------------------------------- changing the layers

    def pop(self) -> Layer:
        """Remove the last layer and return it, as for a new head on trained layers.

        Its state in the optimizer goes with it. The loss stays as it was compiled.

        Raises
        ------
        ValueError
            For a model without layers.

        Examples
        --------
        >>> from nn.layers import Dense, ReLU
        >>> model = Model([Dense(8, input_shape=(2,)), ReLU(), Dense(10)], seed=0)
        >>> model.pop()
        Dense(units=10, use_bias=True)
        >>> model.add(Dense(3))
        >>> model.output_shape
        (None, 3)
        """
        if not self.layers:
            raise ValueError("[Model] has no layers: there is none to pop().")
        layer = self.layers[-1]
        self._forget_last_layer()
        self.layers.pop()
        if not self.layers:
            self.input_shape = self.output_shape = None
        elif self.built:
            self.output_shape = self.layers[-1].output_shape
        # Names of another number of classes were those of the layer.
        self.class_names = validation.fitting_class_names(self.class_names, self.output_shape)
        return layer

    # ---------------------------------------------------------------------- averaged weights

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator["Model"]:
        """Put averaged weights in the weights' place, for a `with` block.

        They are the running averages of `compile(ema_decay=...)`. What is computed in the block
        is computed with them, and what is saved in it is loaded with them; where the file holds
        the state of training, training goes on from its own weights all the same. Frozen layers
        and buffers, as the running statistics of batch normalisation, stay as they are.

        Raises
        ------
        RuntimeError
            Where the optimizer keeps no averages.

        Examples
        --------
        >>> import numpy as np
        >>> from nn.layers import Dense
        >>> x, y = np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [2.0], [4.0]])
        >>> model = Model([Dense(1, input_shape=(1,))], seed=0)
        >>> model.compile("mse", "sgd", lr=0.1, ema_decay=0.9)
        >>> history = model.fit(x, y, epochs=100, verbose=0)
        >>> with model.averaged_weights():
        ...     model.evaluate(x, y)["loss"] < 0.01
        True
        """
        is_outermost = self.set_aside is None
        self.use_averaged_weights()
        try:
            yield self
        finally:
            if is_outermost:
                self.use_training_weights()

    def use_averaged_weights(self) -> None:
        """Put averaged weights in the weights' place until training goes on.

        See `averaged_weights`. `fit` and `train_step` begin with `use_training_weights`.
        """
        if self.wrapped_optimizer is None or self.wrapped_optimizer.ema_decay is None:
            raise RuntimeError(
                "[Model] has no averaged weights: compile(ema_decay=0.999) and train it first."
            )
        if self.set_aside is None:
            averages, own = self.wrapped_optimizer.averages, self.get_arrays()
            names = [name for name in self.trained_names if name in averages]
            self.set_aside = {name: own[name].copy() for name in names}
            for name in names:
                own[name][...] = cuda.to_device(averages[name], self.device)

    # -------------------------------------------------------------------- looking and moving

    def trace(self, x: Any, y: Any = None) -> None:
        """Print what each layer does with one batch: shapes, times, memory and gradients.

        The model stays as it is. `nn.trace.measure` returns the same as numbers.

        Parameters
        ----------
        x
            A batch of inputs, as `fit` takes them.
        y
            Its targets. Without them the gradient is that of half the mean square of the outputs.

        Examples
        --------
        >>> import numpy as np
        >>> from nn.layers import Dense
        >>> Model([Dense(2, input_shape=(3,))], seed=0).trace(np.ones((8, 3)))  # doctest: +ELLIPSIS
        Layer    Output shape  Forward ms  ...
        """
        print(trace.table(trace.measure(self, x, y)))

    def _move(self, device: str) -> Self:
        super()._move(device)
        self.accumulator.sums = [cuda.to_device(total, device) for total in self.accumulator.sums]
        return self

    # --------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Return all that training changes, as `save` writes it; not copies of the weights.

        Returns
        -------
        dict
            'weights' by their names in a file, 'optimizer', 'set_aside', 'accumulator',
            'history', 'epoch', 'split_seed' and 'generators'; while `fit` runs also the entries of
            `Progress.state_dict`.
        """
        names, sums = self.trained_names, self.accumulator.sums
        if len(names) != len(sums):  # layers were frozen since: no step can be made of the sums
            sums = []
        accumulator = {k: getattr(self.accumulator, k) for k in ("steps", "batches", "samples")}
        optimizer = self.wrapped_optimizer
        return {
            "weights": self.get_arrays(),
            "optimizer": {} if optimizer is None else optimizer.state_dict(),
            "set_aside": dict(self.set_aside or {}),
            "accumulator": {**accumulator, "sums": dict(zip(names, sums, strict=False))},
            "history": dict(self.history),
            "epoch": self.epoch,
            "split_seed": self.split_seed,
            "generators": [rng.bit_generator.state for rng in self.generators],
            **({} if self.progress is None else self.progress.state_dict()),
        }

    def load_state_dict(self, state: dict[str, Any], where: str = "state") -> None:
        """Go on from a `state_dict` of a model with the same layers.

        Parameters
        ----------
        state
            The state. The optimizer's is loaded if it is not empty and the model is compiled.
        where
            The file it comes from, for messages.

        Raises
        ------
        ValueError, TypeError
            For a state that does not fit. Nothing is changed then.
        """
        model_file.match_arrays(self.get_arrays(), state["weights"], where)
        generators = self._checked_generators(state)
        waiting = self._checked_waiting(state, where)
        self._load_optimizer(state["optimizer"])  # the last that may refuse the state
        self.set_arrays(state["weights"], where)
        self._set_waiting(*waiting)
        self._set_past(state, generators)

    def _checked_generators(self, state: dict[str, Any]) -> list[Any]:
        """Return the states of the generators if those of this model can take them."""
        own, states = self.generators, state["generators"]
        if len(states) != len(own):
            raise TypeError(f"'generators' holds {len(states)} states for {len(own)}")
        return [random.checked_state(rng, s) for rng, s in zip(own, states, strict=True)]

    def _set_past(self, state: dict[str, Any], generators: list[Any]) -> None:
        """Set history, epoch, the seed of the split and every generator."""
        for rng, generator in zip(self.generators, generators, strict=True):
            rng.bit_generator.state = generator
        self.history, self.epoch = cb.History(state["history"]), state["epoch"]
        self.split_seed = state["split_seed"]

    def _checked_waiting(self, state: dict[str, Any], where: str) -> tuple[Any, list, int, int]:
        """Return the weights set aside and the accumulated gradients, if they fit the model."""
        own, accumulator = self.get_arrays(), state["accumulator"]
        aside, sums = state["set_aside"], accumulator["sums"]
        for found in (aside, sums):
            model_file.match_arrays({k: own[k] for k in found if k in own}, found, where)
        aside = {name: array.copy() for name, array in aside.items()} or None
        names = self.trained_names
        if not sums or not sums.keys() >= set(names):  # other layers are trained now
            return aside, [], 0, 0
        arrays = [cuda.to_device(sums[name], self.device) for name in names]
        return aside, arrays, int(accumulator["batches"]), int(accumulator["samples"])

    def _set_waiting(self, aside: Any, sums: list[Array], batches: int, samples: int) -> None:
        """Set the weights set aside and the accumulated gradients."""
        self.set_aside, accumulator = aside, self.accumulator
        accumulator.sums, accumulator.batches, accumulator.samples = sums, batches, samples

    def _load_optimizer(self, state: dict[str, Array]) -> None:
        """Load the optimizer's state; arrays of a wrong shape are errors here, not in a step."""
        optimizer = self.wrapped_optimizer
        own = {} if optimizer is None or optimizer.has_own_step else self.get_arrays()
        for key, array in state.items():
            name = key.partition("/")[2]  # of 'm/7_Dense_W'
            if name in own and array.shape != own[name].shape:
                raise ValueError(f"'{key}' has the shape {array.shape}, not {own[name].shape}")
        if state and optimizer is not None:  # perhaps of another set of trained layers
            optimizer.load_state_dict(state, strict=False)

    def _forget_last_layer(self) -> None:
        """Drop the state of the last layer, as of '7_Dense' that of '7_Dense_W'.

        These are its optimizer state, its weights set aside, and all accumulated gradients. A
        layer that replaces it may have the same name.
        """
        path = f"{len(self.layers) - 1}_{type(self.layers[-1]).__name__}"
        optimizer, gone = self.wrapped_optimizer, (f"{path}_", f"{path}/")
        self.accumulator.clear()
        if self.set_aside is not None:
            aside = self.set_aside.items()
            self.set_aside = {name: array for name, array in aside if not name.startswith(gone)}
        if optimizer is not None and optimizer.iterations:
            state = optimizer.state_dict()  # keys as 'm/7_Dense_W' and 'm/7_Residual/0_Conv2D_W'
            kept = {k: v for k, v in state.items() if not k.partition("/")[2].startswith(gone)}
            optimizer.load_state_dict(kept, strict=False)  # layers that are frozen keep theirs

    # --------------------------------------------------------------------------------- files

    def save(self, path: str | os.PathLike, include_optimizer: bool = True) -> None:
        """Write the whole model to one file: NPZ if the name ends in .npz, else HDF5.

        Parameters
        ----------
        path
            The file; an old one is replaced only once the new one is whole.
        include_optimizer
            Whether to write what is needed to train on: the optimizer with its state, the
            loss, the metrics, the history and the generators.

        Raises
        ------
        RuntimeError
            For a model that is not built.
        """
        if not self.built:
            raise RuntimeError("[Model] has no weights to save: build() or fit() it first.")
        checks.path("Model", "path", path)
        architecture = {
            "name": self.name,
            "dtype": self.dtype,
            "input_shape": self.input_shape,
            "class_names": validation.fitting_class_names(self.class_names, self.output_shape),
            "layers": [layer.to_config() for layer in self.layers],
        }
        state = self.state_dict() if include_optimizer else {"weights": self.get_arrays()}
        compiled = self._compile_config() if include_optimizer else None
        model_file.write(path, training_state.to_file(architecture, state, compiled))

    def _compile_config(self) -> dict[str, Any]:
        """Return what `compile` was called with, as JSON can write it."""
        return {
            "loss": training_state.config_of(self.loss, losses.NAME2LOSS),
            "optimizer": training_state.config_of(self.optimizer, optim.NAME2OPTIMIZER),
            "schedule": getattr(self.wrapped_optimizer, "schedule", None) is not None,
            "metrics": [{"name": m.label, "threshold": m.threshold} for m in self.metrics],
        }

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Model":
        """Return the model in a file of `save`, compiled and trained as it was.

        Also reads `weights.hdf5` next to a `weights.json`, as older NumPy libraries write them;
        without an input shape in it the arrays are assigned when the first batch comes.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        nn.io.FileFormatError
            For a damaged or foreign file, or one that holds no architecture.
        ValueError
            For a layer class that is not registered, or arrays that do not fit the layers.
        """
        content = model_file.read(checks.path("Model", "path", path))
        if content.architecture is None:
            content.architecture = model_file.read_layers_beside(path)
        with training_state.refusing_nonsense(path):
            with budget_for(content.arrays):
                layers = training_state.layers_of(content, path)
                given = content.architecture or {}
                model = cls(
                    layers,
                    dtype=given.get("dtype", "float32"),
                    name=given.get("name"),
                )
                if given.get("input_shape") is not None:
                    model.build(given["input_shape"])
            model.class_names = given.get("class_names")
        if model.built:
            model.set_arrays(content.arrays, str(path))
        else:
            model._pending = (content.arrays, str(path), True)
        if content.training is not None:
            with training_state.refusing_nonsense(path):
                model._compile_as_saved(content, str(path))
        return model

    def _compile_as_saved(self, content: model_file.ModelFile, path: str) -> None:
        """Compile a loaded model as it was; ask for the user's parts if some are not nn's own."""
        state, saved = training_state.state_of(content), content.training or {}
        self._set_past(state, self._checked_generators(state))
        if saved["loss"] is None or saved["optimizer"] is None:
            return
        try:
            arguments = training_state.compiled_of(saved)
        except ValueError as error:
            checks.warn(
                f"[Model] '{path}' is loaded but not compiled, as it names parts that are not "
                f"nn's own: {error} Call compile() with yours."
            )
            return
        if saved.get("schedule"):
            checks.warn(
                f"[Model] '{path}' was trained with a function for its learning rate, which a "
                f"file cannot hold: it is {arguments['optimizer'].lr} now, set optimizer.lr to the "
                "function."
            )
        self.compile(**arguments)
        self._load_optimizer(state["optimizer"])
        self._set_waiting(*self._checked_waiting(state, path))

    def save_weights(self, path: str | os.PathLike) -> None:
        """Write the parameters and buffers alone."""
        if not self.built:
            raise RuntimeError("[Model] has no weights to save: build() or fit() it first.")
        checks.path("Model", "path", path)
        weights = {name: cuda.to_cpu(array) for name, array in self.get_arrays().items()}
        model_file.write(path, model_file.ModelFile(None, weights))

    def load_weights(self, path: str | os.PathLike, strict: bool = True) -> model_file.LoadReport:
        """Read parameters and buffers into this model.

        The running averages of `compile(ema_decay=...)` go on from what is read. All other
        optimizer state stays as it is: call `compile` again to start without it.

        Parameters
        ----------
        path
            A file of `save` or `save_weights`.
        strict
            Whether a missing, extra or wrongly shaped array is an error; else what fits is
            loaded.

        Returns
        -------
        LoadReport
            The names that were loaded, and those that were skipped with the reason; printed, it
            is a list. For a model that is not built yet it is filled in when it is.
        """
        arrays = model_file.read(checks.path("Model", "path", path)).arrays
        report = model_file.LoadReport(str(path))
        if self.built:
            self.set_arrays(arrays, str(path), strict, report)
            if self.wrapped_optimizer is not None:
                averages, own = self.wrapped_optimizer.averages, self.get_arrays()
                averages.update({k: own[k].copy() for k in report.loaded if k in averages})
            return report
        self._pending = (arrays, str(path), strict, report)
        return report


# ------------------------------------------------------------------------------- helpers


def _as_metrics(chosen: Any) -> list[Metric]:
    """Return metric objects for `compile`'s metrics; one may stand without a list."""
    if isinstance(chosen, str | Metric) or callable(chosen):
        chosen = [chosen]
    if not isinstance(chosen, Iterable | None):
        raise checks.error("Model", "metrics", "must be a list of names or functions", chosen)
    made = [metrics.get(metric) for metric in chosen or ()]
    names = [metric.name for metric in made]
    for name in names:
        if names.count(name) > 1 or name in ("loss", "lr"):
            raise checks.error(
                "Model", "metrics", "must have names of their own in the history", name
            )
    return made
