"""The model: a stack of layers, and the loop that trains them.

The way of a batch is `train_step`: each layer's `forward` in order, the loss, the gradient
of the loss through each layer's `backward` in reverse, and one step of the optimizer. All
else here brings batches to it (`fit`) or uses what it has learned (`evaluate`, `predict`).
"""

import contextlib
import difflib
import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np

from . import callbacks as cb
from . import checks, cuda, losses, metrics, optim, validation
from .data import Dataset
from .files import model_file, training_state
from .inspect import trace
from .layers import Layer, Sigmoid, finite, fold
from .layers.containers import output_activation
from .metrics import Metric
from .network import Array, Network
from .training import data as data_adapters
from .training import loop as training

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
        Set to True by a callback to end training after the epoch.
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
        self.progress: training.Progress | None = None
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
        measured = training.fresh_metrics(self, y) if metrics is None else metrics
        return {"loss": loss, **training.measure(measured, y, y_pred)}

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
        data: Any,
        y: Any = None,
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

        Parameters
        ----------
        data, y
            A `Dataset`, or an array of inputs with its targets. uint8 inputs are images and
            are scaled to [0, 1]; others are taken as they are.

            Or a source of batches (x, y) or (x, y, sample_weight), without `y`: an object with a
            method `batches(batch_size, ...)`, an iterable such as a list or a PyTorch
            `DataLoader`, a function that returns a generator, each begun anew every epoch; or
            a generator, which is read on over the epochs, also by the next `fit`. Each
            batch is checked when it comes, the first before the first step.
        epochs
            Total number of epochs; with `initial_epoch=2` and `epochs=4` two are run.
        batch_size
            Samples a step. A source decides itself, unless its method `batches` takes it; the
            same holds for `shuffle` and `num_threads`.
        num_classes
            Checked against the last layer where it is given.
        val_data, validation_data
            A `Dataset`, a pair (x, y) or a source of batches, measured after each epoch. A
            generator serves one epoch, or several with `validation_steps`. Two names for one
            thing.
        validation_split
            Share of the data, in [0, 1), to hold out in place of `val_data`: drawn at random
            by the model's seed, the same share of every class. Not for a source of batches.
        early_stopping, patience, min_delta
            Stop after `patience` epochs without a gain of `min_delta` in validation accuracy
            (without validation, in training accuracy; for regression, in the loss), and
            restore the best weights.
        lr_schedule, lr_patience, lr_factor, lr_min, warmup_epochs
            'plateau' multiplies the rate by `lr_factor` after `lr_patience` epochs without a
            gain, not below `lr_min`. 'step' does so every `lr_patience` epochs, 'exponential'
            each epoch. 'cosine' falls to `lr_min` over `epochs` after `warmup_epochs`,
            'warm_restarts' begins anew after `lr_patience` epochs and then after twice as
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
            taken from it, and `initial_epoch` is the epoch that it had reached. Give the same
            data and arguments as before. From a file that was written while training, as
            `ModelCheckpoint(save_state=True)` does, training goes on bit for bit as if it had
            never ended: callbacks get their state back, and within an epoch its remaining batches
            follow (with another `batch_size` the epoch is begun anew). A source of batches is read
            past those of the epoch that were trained on: a generator is to begin where the epoch
            began.
        num_threads
            Threads that prepare batches, as in `Dataset.batches`.
        verbose
            0 is silent, 1 draws a bar in a terminal, 2 writes a line an epoch.
        steps_per_epoch
            Batches of an epoch; None for all. A generator that is to last for several epochs
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

        Notes
        -----
        Ctrl-C ends the training after the present batch: a line says so, callbacks are told of
        the end (early stopping restores its best weights), and the history of the finished epochs
        is returned as ever. A second Ctrl-C is a KeyboardInterrupt at once. `SIGTERM` ends the
        training in the same way, and then the program, by a SystemExit with status 143.

        Raises
        ------
        ValueError, TypeError
            For data or arguments that do not fit, before the first step; a source's later
            batches when they come, with epoch and batch in the message.
        RuntimeError
            Where a source ends within `steps_per_epoch`, or gives nothing in a later epoch. As
            after every error, model and history keep what was learned before, callbacks have
            been told of the end, and a generator is closed; so it is where training ends early.
            What the source itself raises comes out as it is, with a note of epoch and batch.
        FloatingPointError
            Where the loss, a gradient or a weight becomes NaN or infinite; the message names
            epoch, batch and layer. The gradients of vectors, as biases are, are looked at in each
            step, for whatever is not finite in a layer's gradient is in them; all weights are at
            the end of an epoch, before anything is measured or saved.
        """
        self._require_compiled("fit")
        batch_size = checks.positive_int("Model", "batch_size", batch_size)
        params: dict[str, Any] = {
            "epochs": checks.positive_int("Model", "epochs", epochs),
            "batch_size": batch_size,
            "verbose": verbose,
        }
        training.check_averages(self, use_averages)
        display = training.display_callback(verbose)
        train = data_adapters.as_data(self, data, y, "data")
        train = data_adapters.with_sample_weight(self, train, sample_weight)
        data_adapters.check_num_classes(self, num_classes)
        for name, value in (("shuffle", shuffle), ("early_stopping", early_stopping)):
            checks.boolean("Model", name, value)
        if resume is not None:
            checks.path("Model", "resume", resume)
        saved = None if resume is None else training_state.read_training(resume)
        seed = self.split_seed if saved is None else (saved.training or {})["split_seed"]
        train, val = data_adapters.split_validation(
            self, train, val_data, validation_data, validation_split, seed
        )
        train = data_adapters.with_class_weight(self, train, class_weight)
        train = data_adapters.in_steps(train, steps_per_epoch, batch_size)
        val = data_adapters.validation_in_steps(self, val, validation_steps)
        params.update(data_adapters.sizes(train, batch_size))
        lr = training_state.rate(self, saved)
        schedule = (lr_schedule, lr_patience, lr_factor, lr_min, min_delta, warmup_epochs)
        chosen = [
            *training.size_callback(train),
            *training.early_stopping_callback(early_stopping, patience, min_delta),
            *training.schedule_callback(lr, params, *schedule, self.accumulator.steps),
            *training.user_callbacks(callbacks, params),
            *training.chance_callback(train),
            *display,
        ]
        loop = cb.CallbackList(training.checkpoints_last(chosen), self, params)
        first = checks.non_negative_int("Model", "initial_epoch", initial_epoch)
        if saved is not None:
            first = (saved.training or {})["epoch"]
        to_run = range(first, params["epochs"])
        data_adapters.check_epochs(train, val, to_run)
        wanted: dict[str, Any] = {
            "shuffle": shuffle,
            "num_threads": num_threads,
            "augment": augment,
        }
        batches = functools.partial(
            train.batches, batch_size, rng=self._data_rng, dtype=self.dtype, **wanted
        )
        training.run(
            self, loop, train, val, batches, to_run, saved, resume, num_classes, use_averages
        )
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
            A `Dataset`, inputs with their targets, or a source of batches as `fit` takes it,
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
            Where the loss is NaN or infinite; the message names the layer.
        """
        self._require_compiled("evaluate")
        batch_size = checks.positive_int("Model", "batch_size", batch_size)
        data = data_adapters.as_data(self, data, y, "data")
        data = data_adapters.with_sample_weight(self, data, sample_weight)
        data = data_adapters.with_class_weight(self, data, class_weight)
        return self._evaluate(data_adapters.in_steps(data, steps, batch_size, "steps"), batch_size)

    def _evaluate(self, data: Any, batch_size: int, may_be_nan: bool = False) -> dict[str, float]:
        """Do as `evaluate`, for a `Dataset` or `Stream` that was checked before."""
        figures: dict[str, float] = {}
        total, samples = 0.0, 0
        batches = data.batches(batch_size, shuffle=False, dtype=self.dtype)
        with contextlib.closing(batches):
            measured = training.fresh_metrics(self, data.y)
            for x, targets, *weight in batches:
                x = self._inputs(x)
                y_pred = fold.run(self.layers, x, keep_logits=True)
                targets = cuda.to_device(targets, self.device)
                loss = self._batch_loss(y_pred, targets, weight[0] if weight else None, True)
                if not (math.isfinite(loss) or may_be_nan):
                    reason = finite.first_not_finite(self, x)
                    raise FloatingPointError(f"[Model] the loss of the data is {loss}: {reason}")
                total += loss * len(x)
                samples += len(x)
                figures = training.measure(measured, targets, y_pred)
        return {"loss": total / samples + self.penalty(), **figures}

    def predict(self, x: Any, batch_size: int = 256, steps: int | None = None) -> Array:
        """Return the output for every row of x, on the device where x is.

        Parameters
        ----------
        x
            Inputs of the model's shape, or a `Dataset`. As in `fit`, uint8 inputs are images
            and are scaled to [0, 1]. Or a source of batches as `fit` takes it, where each is x
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
            Where the output is NaN or infinite; the message names the layer.
        """
        batch_size = checks.positive_int("Model", "batch_size", batch_size)
        if steps is not None:
            steps = checks.positive_int("Model", "steps", steps)
        if not self.layers:
            raise ValueError("[Model] has no layers: add() some before predict().")
        stream = data_adapters.as_inputs(self, x)
        if stream is not None:
            stream = data_adapters.in_steps(stream, steps, batch_size, "steps")
            batches = stream.batches(batch_size, shuffle=False, dtype=self.dtype)
            with contextlib.closing(batches):
                outputs = [cuda.to_cpu(self._predict(x)) for (x,) in batches]
            return np.concatenate(outputs)
        if isinstance(x, Dataset):
            x = x.x  # not to be read whole: it may lie on the disk
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

        A single output says 1 above 0 where it is a logit, and above 0.5 elsewhere.

        Parameters
        ----------
        x, batch_size
            As for `predict`.
        names
            Whether to return the classes' names, `class_names`, in place of their numbers.

        Raises
        ------
        ValueError
            For names where the model has none, or not one for each class.
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
        training_state.forget_layer(self, f"{len(self.layers) - 1}_{type(layer).__name__}")
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

    # --------------------------------------------------------------------------------- files

    def save(self, path: str | os.PathLike, include_optimizer: bool = True) -> None:
        """Write the whole model to one file, HDF5 or, where the name ends in .npz, NPZ.

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
        model_file.write(path, training_state.to_file(self, include_optimizer))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Model":
        """Return the model in a file of `save`, compiled and trained as it was.

        Also reads `weights.hdf5` beside a `weights.json`, as older NumPy libraries write them;
        without an input shape in it the arrays are assigned when the first batch comes.

        Raises
        ------
        FileNotFoundError
            Where there is no such file.
        nn.io.FileFormatError
            For a damaged or foreign file, or one that holds no architecture.
        ValueError
            For a layer class that is not registered, or arrays that do not fit the layers.
        """
        content = model_file.read(checks.path("Model", "path", path))
        if content.architecture is None:
            content.architecture = model_file.read_layers_beside(path)
        model = training_state.model_of(content, path, cls)
        if model.built:
            model.set_arrays(content.arrays, str(path))
        else:
            model._pending = (content.arrays, str(path), True)
        training_state.compile_as_saved(model, content, path)
        return model

    def save_weights(self, path: str | os.PathLike) -> None:
        """Write the parameters and buffers alone."""
        if not self.built:
            raise RuntimeError("[Model] has no weights to save: build() or fit() it first.")
        checks.path("Model", "path", path)
        model_file.write(path, model_file.ModelFile(None, training_state.weights(self)))

    def load_weights(self, path: str | os.PathLike, strict: bool = True) -> model_file.LoadReport:
        """Read parameters and buffers into this model.

        The running averages of `compile(ema_decay=...)` go on from what is read. All else that
        the optimizer keeps stays as it is: `compile` anew to begin without it.

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
