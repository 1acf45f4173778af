"""The model: a stack of layers, and the loop that trains them.

The way of a batch is `train_step`: each layer's `forward` in order, the loss, the gradient
of the loss through each layer's `backward` in reverse, and one step of the optimizer. All
else here brings batches to it (`fit`) or uses what it has learned (`evaluate`, `predict`).
"""

import contextlib
import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

from . import callbacks as cb
from . import checks, cuda, losses, metrics, optim, validation
from .files.saving import Saving
from .inspect import trace
from .layers import Layer, Sigmoid, finite
from .layers.containers import output_activation
from .metrics import Metric
from .network import Array, Network
from .training.progress import Progress, measure
from .training.trainer import Trainer

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


class Model(Trainer, Saving, Network):
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
        logs = {"loss": loss, **measure(measured, y, y_pred)}
        if metrics is None:
            logs |= {metric.name: metric.result() for metric in measured}
        return logs

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
