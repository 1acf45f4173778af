"""The model: a stack of layers, and the loop that trains them.

The way of a batch is `train_step`: each layer's `forward` in order, the loss, the gradient
of the loss through each layer's `backward` in reverse, and one step of the optimizer. All
else here brings batches to it (`fit`) or uses what it has learned (`evaluate`, `predict`).
"""

import math
import os
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np

from . import callbacks as cb
from . import checks, cuda, io, losses, metrics, optim, random, training, validation
from .data import Dataset
from .layers import Dense, Layer, Sigmoid, layer_from_config
from .layers.base import move_to_device
from .layers.dropout import Dropout
from .layers.normalization import BatchNorm

Array = Any  # numpy.ndarray or cupy.ndarray
Shape = tuple[int | None, ...]


class Model:
    """A stack of layers that is trained as one.

    Parameters
    ----------
    layers
        The layers, in order; more can follow by `add`.
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
    input_shape, output_shape : tuple or None
        With None for the batch axis, once the model is built.
    history : History
        The figures of the last `fit`.
    stop_training : bool
        Set to True by a callback to end training after the epoch.
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
    ):
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise checks.error("Model", "dtype", "must be 'float32' or 'float64'", dtype)
        self.dtype = np.dtype(dtype).name
        self.name = name
        self.layers: list[Layer] = []
        self.loss: Any = None
        self.optimizer: Any = None
        self.metrics: list[metrics.Metric] = []
        self.input_shape: Shape | None = None
        self.output_shape: Shape | None = None
        self.history = cb.History()
        self.stop_training = False
        self._rng = random.new_generator(seed)
        self._data_rng = self._rng.spawn(1)[0]
        self.split_seed = int(self._rng.integers(2**63))  # the same split at every fit
        self._pending_arrays: dict[str, np.ndarray] | None = None  # loaded before it was built
        self._to_device: Callable[[Array], Array] = cuda.to_gpu if cuda.USE_CUDA else cuda.to_cpu
        for layer in layers or ():
            self._append(layer)
        self._build_if_known()
        if loss is not None:
            self.compile(loss, "adam" if optimizer is None else optimizer)
        elif optimizer is not None:
            self.optimizer = optim.get(optimizer)

    # ------------------------------------------------------------------------- building

    @property
    def built(self) -> bool:
        """Whether the layers have their parameters."""
        return self.input_shape is not None

    def add(self, layer: Layer) -> None:
        """Append a layer; it is built at once where the input's shape is known.

        Raises
        ------
        TypeError
            For something that is not a layer object.
        ValueError
            For a layer that is in the model already, or does not fit the one before.
        """
        self._append(layer)
        try:
            self._build_if_known()
        except Exception:
            self.layers.pop()
            raise

    def _append(self, layer: Layer) -> None:
        if isinstance(layer, type):
            raise TypeError(
                f"[Model] 'layers' must hold layer objects, got the class {layer.__name__}: "
                f"write {layer.__name__}(...)."
            )
        if not isinstance(layer, Layer):
            raise TypeError(f"[Model] 'layers' must hold layer objects, got {layer!r}.")
        if any(layer is other for other in self.layers):
            raise ValueError(
                f"[Model] 'layers' must not hold a layer object twice, got {layer!r} again: "
                "make a second layer."
            )
        layer.rng = self._rng.spawn(1)[0]
        self.layers.append(layer)

    def _build_if_known(self) -> None:
        """Build the layers that are not, where the input's shape is known."""
        if self.input_shape is None:
            if not self.layers or self.layers[0].input_shape is None:
                return
            self.build((None, *self.layers[0].input_shape))
            return
        self._build_layers(self.input_shape)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create all parameters for inputs of a shape.

        Parameters
        ----------
        input_shape
            With the batch axis, as in (1, 5) or (None, 3, 32, 32).

        Raises
        ------
        ValueError
            For a model without layers, a shape that a layer cannot take (the message names
            the layer), or a model that is built for another shape.
        """
        if not self.layers:
            raise ValueError(
                "[Model] has no layers: add() some before build(), fit() or predict()."
            )
        shape = tuple(input_shape)
        if len(shape) < 2 or not all(
            n is not None and checks.is_integer(n) and n >= 1 for n in shape[1:]
        ):
            raise checks.error(
                "Model",
                "input_shape",
                "must be positive sizes after a batch axis, as in (None, 3, 32, 32)",
                input_shape,
            )
        shape = (None, *(int(n) for n in shape[1:] if n is not None))
        if self.input_shape is not None and shape != self.input_shape:
            raise ValueError(f"[Model] is built for inputs {self.input_shape}, got {shape}.")
        self._build_layers(shape)
        self.input_shape = shape
        if self._pending_arrays is not None:
            self.set_arrays(self._pending_arrays, "the loaded file")
            self._pending_arrays = None

    def _build_layers(self, shape: Shape) -> None:
        self._choose_initializers()
        for layer in self.layers:
            if not layer.built:
                layer.dtype = self.dtype
                layer.build(shape)
                layer.built = True
                if layer.output_shape is None:  # a user's build() that left it out
                    Layer.build(layer, shape)
                move_to_device(layer, self._to_device)
            elif layer.built_shape is not None and layer.built_shape[1:] != shape[1:]:
                raise ValueError(
                    f"[{type(layer).__name__}] is built for {layer.built_shape}, "
                    f"got inputs {shape}."
                )
            shape = layer.output_shape or shape
        self.output_shape = shape

    def _choose_initializers(self) -> None:
        """Tell each dense layer whether the next activation is like ReLU.

        A dense layer that is built, as layers are that come by `add`, draws its weights anew,
        unless they are no longer those that it drew.
        """
        for index, layer in enumerate(self.layers):
            if not isinstance(layer, Dense) or layer.feeds_relu:
                continue
            after = (k for k in self.layers[index + 1 :] if not isinstance(k, BatchNorm | Dropout))
            if not getattr(next(after, None), "relu_like", False):
                continue
            untouched = layer.built and np.array_equal(
                cuda.to_cpu(layer.params["W"]),
                layer.draw_kernel(layer.params["W"].shape).astype(self.dtype),
            )
            layer.feeds_relu = True
            if untouched:
                layer.params["W"][...] = self._to_device(
                    layer.draw_kernel(layer.params["W"].shape).astype(self.dtype)
                )

    # ------------------------------------------------------------------------ compiling

    def compile(
        self,
        loss: Any,
        optimizer: Any = "adam",
        lr: Any = None,
        metrics: Sequence[Any] = ("accuracy",),
        weight_decay: float | None = None,
        clip_norm: float | None = None,
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
        weight_decay, clip_norm
            See `Optimizer.configure`.
        **optimizer_arguments
            `momentum`, `beta1`, `eps` ... for the optimizer. None leaves its own setting.

        Raises
        ------
        ValueError
            For an unknown name or argument; the message names the nearest.
        """
        chosen_metrics = _as_metrics(metrics)
        chosen_loss = losses.get(loss)
        settings = {"lr": lr, "weight_decay": weight_decay, "clip_norm": clip_norm}
        settings.update(optimizer_arguments)
        given = {name: value for name, value in settings.items() if value is not None}
        self.optimizer = optim.get(optimizer, **given)
        self.loss, self.metrics = chosen_loss, chosen_metrics
        self._connect_loss()

    def _connect_loss(self) -> None:
        """Let a cross-entropy see the logits where the model ends in its own activation."""
        pair = getattr(self.loss, "paired_activation", None)
        if pair is not None:
            last = self._output_activation()
            self.loss.activation = last if type(last).__name__ == pair else None
        binary = isinstance(self.loss, losses.BinaryCrossentropy)
        for metric in self.metrics:
            if hasattr(metric, "threshold"):
                metric.threshold = self._threshold()
            if hasattr(metric, "elementwise"):  # several outputs, each with its own yes or no
                metric.elementwise = binary and (self.output_shape or (None, 1))[-1] != 1

    def _output_activation(self) -> Layer | None:
        """Return the activation that makes the model's output, or None."""
        last = self.layers[-1] if self.layers else None
        inner = getattr(last, "activation", None)
        if isinstance(inner, Layer):
            return inner
        return last if getattr(last, "logits_of", None) else None

    def _threshold(self) -> float:
        """Return the output above which a single unit says yes: 0 for logits, else 0.5."""
        is_logit = self.loss is None or isinstance(self.loss, losses.BinaryCrossentropy)
        return 0.0 if is_logit and not isinstance(self._output_activation(), Sigmoid) else 0.5

    def _require_compiled(self, caller: str) -> None:
        if not self.layers:
            raise ValueError(f"[Model] has no layers: add() some before {caller}().")
        if self.loss is None or self.optimizer is None:
            raise RuntimeError(f"[Model] call compile(loss, optimizer) before {caller}().")
        self._connect_loss()

    # ------------------------------------------------------------------ the way of a batch

    def train_step(
        self, x: Array, y: Array, sample_weight: Array | None = None
    ) -> dict[str, float]:
        """Train on one batch and return its loss and metrics.

        Parameters
        ----------
        x
            Inputs of the model's shape.
        y
            Targets as the loss takes them.
        sample_weight
            (N,), multiplied into each sample's loss before the batch's mean.

        Raises
        ------
        FloatingPointError
            Where the loss is NaN or infinite; the message names the layer.
        """
        self._require_compiled("train_step")
        y = self._to_device(y)
        loss, y_pred = self._step(x, y, sample_weight)
        measured = training.metrics_for(self, y)
        for metric in measured:
            metric.reset()
            metric.update(y, y_pred)
        return {"loss": loss, **{metric.name: metric.result() for metric in measured}}

    def _step(self, x: Array, y: Array, sample_weight: Array | None = None) -> tuple[float, Array]:
        """Do one step of training; return the loss and the output."""
        x, y = self._inputs(x), self._to_device(y)
        y_pred = self._forward(x, training=True)
        loss = self._loss(y_pred, y, sample_weight)
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss}: {self._find_nan(x)}")
        self._backward_to_weights(self.loss.backward())
        self.optimizer.step(self.get_params_and_grads())
        return loss, y_pred

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the output for a batch; `training` as in `Layer.forward`."""
        return self._forward(self._inputs(x), training)

    def backward(self, grad: Array) -> Array:
        """Fill every layer's `grads` and return the gradient for the input.

        Parameters
        ----------
        grad
            Gradient of the loss for the output of the last `forward`, as `loss.backward()`
            returns it.
        """
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
        return grad

    def get_params_and_grads(self) -> list[tuple[Array, Array]]:
        """Return (param, grad) pairs of all trainable layers, always in the same order.

        Raises
        ------
        RuntimeError
            Where there are no gradients yet.
        """
        names, pairs = [], []
        for index, layer in enumerate(self.layers):
            if not layer.trainable:
                continue
            for key, param in layer.params.items():
                if key not in layer.grads:
                    raise RuntimeError(
                        f"[{type(layer).__name__}] has no gradient for '{key}': call backward() "
                        "first, and let it fill grads."
                    )
                names.append(_array_name(index, layer, key))
                pairs.append((param, layer.grads[key]))
        if hasattr(self.optimizer, "param_names"):
            self.optimizer.param_names = names
        return pairs

    def _inputs(self, x: Any) -> Array:
        """Return checked inputs in the model's dtype and on its device, building it if need be."""
        x = validation.check_inputs(x, self.input_shape)
        if not self.built:
            self.build((None, *x.shape[1:]))
        return self._to_device(_scaled(x, self.dtype))

    def _forward(self, x: Array, training: bool | None) -> Array:
        for layer in self.layers:
            x = layer.forward(x, training)
        return x

    def _loss(self, y_pred: Array, y: Array, sample_weight: Array | None) -> float:
        if sample_weight is None:
            return float(self.loss.forward(y_pred, y))
        return float(self.loss.forward(y_pred, y, sample_weight=self._to_device(sample_weight)))

    def _backward_to_weights(self, grad: Array) -> None:
        """Go backward as far as there are weights to train; nobody reads what lies below."""
        trained = (k for k, layer in enumerate(self.layers) if layer.params and layer.trainable)
        lowest = next(trained, 0)
        for layer in reversed(self.layers[lowest + 1 :]):
            grad = layer.backward(grad)
        first = self.layers[lowest]
        first.wants_input_grad = False
        try:
            first.backward(grad)
        finally:
            first.wants_input_grad = True

    def _find_nan(self, x: Array) -> str:
        """Say in which layer a NaN or an infinity first appears for the batch x."""
        advice = "lower the learning rate, or set clip_norm."
        for index, layer in enumerate(self.layers):
            label = f"layer {index} ({type(layer).__name__})"
            for name, param in layer.params.items():
                if not _all_finite(param):
                    return f"{label} has NaN or infinite values in '{name}': {advice}"
            x = layer.forward(x, training=None)
            if not _all_finite(x):
                return f"{label} put out NaN or infinite values: {advice}"
        return f"all layers are finite, so the loss itself overflowed: {advice}"

    # --------------------------------------------------------------------------- training

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
    ) -> cb.History:
        """Train the model and return the history.

        Parameters
        ----------
        data, y
            A `Dataset`, or an array of inputs with its targets. uint8 inputs are pictures and
            are scaled to [0, 1]; others are taken as they are.
        epochs
            Total number of epochs; with `initial_epoch=2` and `epochs=4` two are run.
        batch_size
            Samples a step.
        num_classes
            Checked against the last layer where it is given.
        val_data, validation_data
            A `Dataset` or a pair (x, y), measured after each epoch. Two names for one thing.
        validation_split
            Share of the data, in [0, 1), to hold out in place of `val_data`: drawn at random
            by the model's seed, the same share of every class.
        early_stopping, patience, min_delta
            Stop after `patience` epochs without a gain of `min_delta` in validation accuracy
            (without validation, in training accuracy; for regression, in the loss), and
            restore the best weights.
        lr_schedule, lr_patience, lr_factor, lr_min, warmup_epochs
            'plateau' multiplies the rate by `lr_factor` after `lr_patience` epochs without a
            gain, not below `lr_min`. 'step' does so every `lr_patience` epochs, 'exponential'
            each epoch. 'cosine' falls to `lr_min` over `epochs` after `warmup_epochs`,
            'warm_restarts' begins anew after `lr_patience` epochs and then after twice as
            many each time, 'one_cycle' rises and falls once. Or any function of the step.
        callbacks
            `nn.callbacks.Callback` objects.
        shuffle
            Whether to draw a new order each epoch.
        augment
            A function (x, rng) -> x, run on each training batch by the data threads.
        class_weight
            {class: weight}, multiplied into the loss of each sample of the class.
        sample_weight
            (n,), multiplied into the loss of each sample.
        initial_epoch
            Number of the first epoch.
        resume
            A file of `save` to go on from: weights, optimizer state and history are taken from
            it, and `initial_epoch` is the epoch that it had reached.
        num_threads
            Threads that prepare batches; None for `min(8, cores)`.
        verbose
            0 is silent, 1 draws a bar in a terminal, 2 writes a line an epoch.

        Returns
        -------
        History
            `{'loss': [...], 'acc': [...], 'val_loss': [...], 'val_acc': [...], 'lr': [...]}`,
            a figure an epoch, weighted by the sizes of the batches.

        Raises
        ------
        ValueError, TypeError
            For data or arguments that do not fit, before the first step.
        FloatingPointError
            Where the loss becomes NaN or infinite; the message names epoch, batch and layer.
        """
        self._require_compiled("fit")
        train = training.training_data(self, data, y, class_weight, sample_weight)
        self.history = cb.History()
        if resume is not None:
            initial_epoch = self._resume(resume)
        train, val = training.validation_data(
            self, train, val_data, validation_data, validation_split
        )
        training.check_num_classes(self, num_classes)
        batch_size = checks.positive_int("Model", "batch_size", batch_size)
        params = {
            "epochs": checks.positive_int("Model", "epochs", epochs),
            "steps": -(-len(train) // batch_size),
            "samples": len(train),
            "batch_size": batch_size,
            "verbose": verbose,
        }
        chosen = training.early_stopping_callback(early_stopping, patience, min_delta)
        chosen += training.schedule_callback(
            self, params, lr_schedule, lr_patience, lr_factor, lr_min, min_delta, warmup_epochs
        )
        chosen += training.user_callbacks(callbacks)
        display = training.display_callback(verbose)
        first = checks.non_negative_int("Model", "initial_epoch", initial_epoch)

        def batches() -> Generator[tuple, None, None]:
            return train.batches(
                batch_size,
                shuffle=shuffle,
                num_threads=num_threads,
                rng=self._data_rng,
                augment=augment,
                dtype=self.dtype,
            )

        loop = cb.CallbackList([*chosen, self.history, *display], self, params)
        training.run_epochs(self, loop, batches, val, range(first, params["epochs"]))
        return self.history

    # ------------------------------------------------------------------------------ using

    def evaluate(
        self,
        data: Any,
        y: Any = None,
        batch_size: int = 256,
        sample_weight: Array | None = None,
    ) -> dict[str, float]:
        """Return the loss and the metrics on data, as {'loss': ..., 'acc': ...}.

        Parameters
        ----------
        data, y
            A `Dataset`, or inputs with their targets.
        batch_size
            Samples at a time; the result does not depend on it.
        sample_weight
            (n,), multiplied into the loss of each sample.
        """
        self._require_compiled("evaluate")
        batch_size = checks.positive_int("Model", "batch_size", batch_size)
        dataset = training.training_data(self, data, y, None, sample_weight)
        measured = training.metrics_for(self, dataset.y)
        for metric in measured:
            metric.reset()
        total = 0.0
        for x, targets, *rest in dataset.batches(batch_size, shuffle=False, dtype=self.dtype):
            y_pred = self._inference(self._inputs(x), keep_logits=True)
            loss = self._loss(y_pred, self._to_device(targets), rest[0] if rest else None)
            total += loss * len(x)
            for metric in measured:
                metric.update(targets, y_pred)
        return {"loss": total / len(dataset), **{m.name: m.result() for m in measured}}

    def predict(self, x: Any, batch_size: int = 256) -> Array:
        """Return the output for every row of x, on the device where x is.

        Parameters
        ----------
        x
            Inputs of the model's shape, or a `Dataset`.
        batch_size
            Samples at a time; the result does not depend on it.
        """
        batch_size = checks.positive_int("Model", "batch_size", batch_size)
        if not self.layers:
            raise ValueError("[Model] has no layers: add() some before predict().")
        x = validation.check_inputs(x.x if isinstance(x, Dataset) else x, self.input_shape)
        back = (lambda a: a) if cuda.get_array_module(x) is not np else cuda.to_cpu
        starts = range(0, max(len(x), 1), batch_size)
        outputs = [
            back(self._inference(self._inputs(x[k : k + batch_size]), keep_logits=False))
            for k in starts
        ]
        return cuda.get_array_module(outputs[0]).concatenate(outputs)

    def predict_classes(self, x: Any, batch_size: int = 256) -> Array:
        """Return the likeliest class for every row of x, as integers (n,).

        A single output says 1 above 0 where it is a logit, and above 0.5 elsewhere.
        """
        scores = self.predict(x, batch_size)
        if scores.ndim == 2 and scores.shape[1] == 1:
            return (scores[:, 0] > self._threshold()).astype(np.int64)
        return scores.argmax(axis=1)

    def _inference(self, x: Array, keep_logits: bool) -> Array:
        """Run all layers without keeping anything, but the logits that the loss may ask for."""
        for layer in self.layers[:-1]:
            x = layer.forward(x, training=None)
        return self.layers[-1].forward(x, training=False if keep_logits else None)

    # -------------------------------------------------------------------- looking and moving

    def summary(self) -> str:
        """Return a table of the layers, their output shapes and parameters."""
        rows = [("Layer", "Output shape", "Parameters")]
        total = trained = 0
        for layer in self.layers:
            count = sum(int(param.size) for param in layer.params.values())
            total, trained = total + count, trained + count * bool(layer.trainable)
            shape = str(layer.output_shape) if layer.built else "not built"
            rows.append((layer.name or type(layer).__name__, shape, f"{count:,}"))
        widths = [max(len(row[k]) for row in rows) for k in range(3)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows]
        rule = "-" * len(lines[0])
        end = f"{total:,} parameters, {trained:,} of them trainable"
        return "\n".join([self.name or "Model", rule, lines[0], rule, *lines[1:], rule, end])

    def __repr__(self) -> str:
        return f"Model([{', '.join(repr(layer) for layer in self.layers)}])"

    @property
    def device(self) -> str:
        """'gpu' or 'cpu': where the parameters are, or will be."""
        return "gpu" if self._to_device is cuda.to_gpu else "cpu"

    def to_gpu(self) -> "Model":
        """Move the parameters to the GPU and return the model.

        Raises
        ------
        RuntimeError
            Where there is none.
        """
        cuda.to_gpu(np.zeros(1))  # raises before anything is moved
        return self._move(cuda.to_gpu)

    def to_cpu(self) -> "Model":
        """Move the parameters to the CPU and return the model."""
        return self._move(cuda.to_cpu)

    def _move(self, to_device: Callable[[Array], Array]) -> "Model":
        self._to_device = to_device
        for layer in self.layers:
            move_to_device(layer, to_device)
        return self

    # ------------------------------------------------------------------------------ files

    def get_arrays(self) -> dict[str, Array]:
        """Return all parameters and buffers by their names in a file, '7_Dense_W'; not copies."""
        return {
            _array_name(index, layer, key): array
            for index, layer in enumerate(self.layers)
            for arrays in (layer.params, layer.buffers)
            for key, array in arrays.items()
        }

    def set_arrays(
        self, arrays: dict[str, Array], where: str = "arrays", strict: bool = True
    ) -> None:
        """Copy arrays into the parameters and buffers of the same names.

        Raises
        ------
        ValueError
            Where `strict` and they do not match; nothing is changed then.
        """
        own = self.get_arrays()
        for name in io.match_arrays(own, arrays, where, strict):
            own[name][...] = self._to_device(arrays[name].astype(self.dtype))

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
        architecture = {
            "name": self.name,
            "dtype": self.dtype,
            "input_shape": self.input_shape,
            "layers": [layer.to_config() for layer in self.layers],
        }
        training, slots = None, {}
        if include_optimizer:
            training = self._training_state()
            if hasattr(self.optimizer, "get_state"):
                slots = {k: cuda.to_cpu(v) for k, v in self.optimizer.get_state().items()}
        io.write(path, io.ModelFile(architecture, self._cpu_arrays(), training, slots))

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
        content = io.read(path)
        if content.architecture is None:
            raise io.FileFormatError(
                f"[Model] '{path}' holds weights but no layers: make the model and call "
                "load_weights()."
            )
        model = cls._from_architecture(content.architecture, path)
        if model.built:
            model.set_arrays(content.arrays, str(path))
        else:
            model._pending_arrays = content.arrays
        if content.training is not None:
            model._restore_training(content.training, content.optimizer_arrays)
        return model

    @classmethod
    def _from_architecture(cls, architecture: Any, path: str | os.PathLike) -> "Model":
        layers = architecture.get("layers") if isinstance(architecture, dict) else None
        if not isinstance(layers, list) or not layers:
            raise io.FileFormatError(f"[Model] '{path}' holds no list of layers.")
        model = cls(
            [layer_from_config(entry) for entry in layers],
            dtype=architecture.get("dtype", "float32"),
            name=architecture.get("name"),
        )
        if architecture.get("input_shape") is not None and not model.built:
            model.build(architecture["input_shape"])
        return model

    def save_weights(self, path: str | os.PathLike) -> None:
        """Write the parameters and buffers alone."""
        if not self.built:
            raise RuntimeError("[Model] has no weights to save: build() or fit() it first.")
        io.write(path, io.ModelFile(None, self._cpu_arrays()))

    def load_weights(self, path: str | os.PathLike, strict: bool = True) -> None:
        """Read parameters and buffers into this model.

        Parameters
        ----------
        path
            A file of `save` or `save_weights`.
        strict
            Whether a missing, extra or wrongly shaped array is an error; else what fits is
            loaded.
        """
        content = io.read(path)
        if not self.built:
            self._pending_arrays = content.arrays
        else:
            self.set_arrays(content.arrays, str(path), strict)

    def _cpu_arrays(self) -> dict[str, np.ndarray]:
        return {name: cuda.to_cpu(array) for name, array in self.get_arrays().items()}

    def _training_state(self) -> dict[str, Any]:
        """Return what `load` and `resume` need to go on, but the optimizer's arrays."""
        generators = [self._rng, self._data_rng, *(layer.rng for layer in self.layers)]
        return {
            "loss": _config_of(self.loss),
            "optimizer": _config_of(self.optimizer),
            "metrics": [metric.label for metric in self.metrics],
            "history": dict(self.history),
            "split_seed": self.split_seed,
            "generators": [rng.bit_generator.state for rng in generators],
        }

    def _restore_training(self, state: dict[str, Any], slots: dict[str, np.ndarray]) -> None:
        """Compile as it was, where all of it is ours; a user's own parts are asked for."""
        self._restore_progress(state)
        try:
            if state["loss"] is None or state["optimizer"] is None:
                return
            loss = losses.from_config(state["loss"])
            optimizer = optim.from_config(state["optimizer"])
            chosen = [metrics.get(label) for label in state["metrics"]]
        except ValueError as error:
            warnings.warn(
                f"[Model] is loaded but not compiled, as the file names parts that are not "
                f"nn's own: {error} Call compile() with yours.",
                stacklevel=3,
            )
            return
        self.compile(loss, optimizer, metrics=chosen)
        if slots:
            optimizer.set_state(slots)

    def _restore_progress(self, state: dict[str, Any]) -> None:
        self.history = cb.History(state["history"])
        self.split_seed = state["split_seed"]
        generators = [self._rng, self._data_rng, *(layer.rng for layer in self.layers)]
        for rng, saved in zip(generators, state["generators"], strict=True):
            rng.bit_generator.state = saved

    def _resume(self, path: str | os.PathLike) -> int:
        """Take weights, optimizer state and progress from a file; return the epochs it had run."""
        content = io.read(path)
        if content.training is None:
            raise ValueError(
                f"[Model] '{path}' holds no training state to resume: save the model with "
                "include_optimizer=True."
            )
        self.set_arrays(content.arrays, str(path))
        if content.optimizer_arrays and hasattr(self.optimizer, "set_state"):
            self.optimizer.set_state(content.optimizer_arrays)
        saved = content.training["optimizer"]
        if saved is not None and "lr" in saved["config"] and not self._has_schedule():
            self.optimizer.lr = saved["config"]["lr"]
        self._restore_progress(content.training)
        return len(self.history.get("loss", ()))

    def _has_schedule(self) -> bool:
        return getattr(self.optimizer, "schedule", None) is not None


# ------------------------------------------------------------------------------- helpers


def _array_name(index: int, layer: Layer, key: str) -> str:
    return f"{index}_{type(layer).__name__}_{key}"


def _as_metrics(chosen: Any) -> list[metrics.Metric]:
    """Return metric objects for `compile`'s metrics; one may stand without a list."""
    if chosen is None:
        return []
    if isinstance(chosen, str) or callable(chosen):
        chosen = [chosen]
    return [metrics.get(metric) for metric in chosen]


def _config_of(part: Any) -> dict[str, Any] | None:
    """Return `to_config` of a loss or optimizer, or its class name where it has none."""
    if part is None:
        return None
    if hasattr(part, "to_config"):
        return part.to_config()
    return {"class": type(part).__name__, "config": {}}


def _scaled(x: Array, dtype: str) -> Array:
    """Return inputs in the model's dtype; uint8 pictures scaled to [0, 1]."""
    if x.dtype == np.uint8:
        return x.astype(dtype) / 255
    return x.astype(dtype, copy=False)


def _all_finite(array: Array) -> bool:
    return bool(cuda.get_array_module(array).isfinite(array).all())
