"""The model: a stack of layers, and the loop that trains them.

`train_step` is the flow of a batch: each layer's `forward` in order, the loss, each layer's
`backward` in reverse, one step of the optimizer. What else a model does is in its base classes:
`Saving`, `Exporting`, `Showing`, `SharedStep` (of several processes), and `Trainer` (fit, evaluate,
predict), which is an `Averaging`, a `Compiling`, a `Building` and a `Sequential`, each built on the
next.
"""

import contextlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

from . import callbacks as cb
from . import checks, cuda, optim, random, validation
from .exchange.onnx.writing import Exporting
from .files.saving import Saving
from .inspect.showing import Showing
from .layers import Layer, finite
from .layers.base import Array
from .layers.building import PASSES
from .layers.masks import Mask
from .layers.observe import observe
from .layers.plan import Plan
from .layers.shard import active_shard
from .layers.stack import backward_params_through, backward_through, forward_through
from .losses.regression import RegressionLoss
from .metrics import Metric
from .training.progress import Progress, measure
from .training.shared_step import SharedStep
from .training.trainer import Trainer

_NOTHING = contextlib.nullcontext()

_ARGUMENTS = ("layers", "loss", "optimizer", "dtype", "seed", "name")


class Model(Saving, Exporting, Showing, SharedStep, Trainer):
    """A stack of layers that is trained as one.

    Parameters
    ----------
    layers
        The layers, in order; more can follow by `add`. A model among them becomes one layer,
        a `Sequential` of its layers.
    loss, optimizer
        If given, they are passed to `compile`.
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
        The objects chosen by `compile`; None before.
    wrapped_loss, wrapped_optimizer : nn.losses.Loss, nn.optim.Optimizer, or None
        The same, with all methods of a `Loss` and an `Optimizer`.
    accumulator : nn.optim.Accumulator
        The gradients that wait for a step of the optimizer, with `gradient_accumulation_steps`.
    set_aside : dict or None
        The weights in training by their names, while averaged weights replace them.
    input_shape, output_shape : tuple or None
        With None for the batch axis, once the model is built.
    class_names : list of str or None
        Names of the classes, for `predict_classes(x, names=True)`: those of the last training
        set that has them, or those assigned. They are saved with the model.
    vocabulary : nn.data.text.Vocabulary or None
        The words or characters of a model of texts, if it was assigned. It is saved with the
        model.
    num_ids : int or None
        How many ids there are, for a model that begins with an `Embedding`.
    history : History
        The figures of the last `fit`.
    output_mask : array of bool (N, T), or None
        Which steps of the last `forward`'s output are there, if its input was padded (see
        `Masking`): in a loop written by hand it goes to `loss.forward(y_pred, y, mask=...)`.
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

    may_be_empty = True

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
                "[Model] 'recompute' is no longer an argument: use nn.Recompute([...])."
            )
        for argument in unknown:
            raise TypeError(str(checks.unknown("Model", "argument", argument, _ARGUMENTS)))
        self._token = object()  # by which a loss and an optimizer know the model they belong to
        self.loss = None
        self.optimizer = None
        self.metrics: list[Metric] = []
        self.accumulator = optim.Accumulator()
        self.history = cb.History()
        self.epoch = 0
        self.stop_training = False
        self.progress: Progress | None = None
        with random.leaving_the_root():  # the model's own seed comes next
            super().__init__([], name=name)
        self.dtype = str(getattr(dtype, "__name__", dtype))  # numpy.float64 is 'float64'
        if self.dtype not in ("float32", "float64"):
            raise checks.error("Model", "dtype", "must be 'float32' or 'float64'", dtype)
        self.layers: list[Layer] = []
        self.set_aside: dict[str, Array] | None = None
        self._class_names: list[str] | None = None
        self.rng = random.new_generator(seed)
        self._data_rng = self.rng.spawn(1)[0]
        self.split_seed = int(self.rng.integers(2**63))  # the same split at every fit
        self._pending: tuple[Any, ...] | None = None  # arrays of a file, for when it is built
        self._forward_shape: tuple[int, ...] | None = None
        self.output_mask: Mask = None
        self._device = "gpu" if cuda.USE_CUDA else "cpu"
        if layers is not None and (isinstance(layers, str) or not isinstance(layers, Iterable)):
            raise checks.error("Model", "layers", "must be a list of layers", layers)
        self._append(layers or ())
        self._build_if_known()
        self._given_optimizer = optimizer
        self._named: tuple[Any, ...] = ()  # plan and optimizer of `_name_parameters`
        if loss is not None:
            self.compile(loss, "adam" if optimizer is None else optimizer)
        elif optimizer is not None:
            self.optimizer = optim.get(optimizer)

    def _own_forward(self, x: Array) -> Array:
        """Return the output by the `forward` of a subclass, which must have a `backward` too."""
        if "forward" in self.own_passes() and "backward" not in self.own_passes():
            raise TypeError(
                f"[{type(self).__name__}] has a forward() of its own, but not the backward() that "
                "goes with it: define backward(grad) too, or put the computation into a layer."
            )
        self.output_mask = None
        return self.forward(x, training=True)

    def _own_gradients(self, grad: Array) -> list[tuple[Array, Array]]:
        """Return the parameters and gradients by the methods of a subclass."""
        self._plan().zero_gradients()
        (self.backward if "backward" in self.own_passes() else self.backward_params)(grad)
        return self.get_params_and_grads()

    # -------------------------------------------------------------------- a training step

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
            (N,), multiplied into each sample's loss before the batch's mean; (N, T) for each step
            of sequences.
        metrics
            Metrics that take in this batch after others, as `fit` does it; None for the
            model's own, of this batch alone.

        Raises
        ------
        FloatingPointError
            If the loss or its gradient is NaN or infinite; the message names the layer. The
            weights are unchanged.
        """
        if self.wrapped_loss is None or self.wrapped_optimizer is None or not self.layers:
            self._require_compiled("train_step")
        if not isinstance(metrics, list | None):
            raise checks.error("Model", "metrics", "must be a list of Metric objects", metrics)
        if self.set_aside is not None:
            self.use_training_weights()
        if self._distributed is not None or active_shard.get() is not None:
            return self._train_with_others(x, y, sample_weight, metrics)
        is_checked = self.progress is not None and self.progress.has_checked(x, y)
        x = cuda.to_device(x, self._device) if is_checked else self._inputs(x)
        y = cuda.to_device(y, self._device)
        if not is_checked and isinstance(self.loss, RegressionLoss):
            validation.check_byte_targets(y, y)
        if sample_weight is not None:
            sample_weight = cuda.to_device(sample_weight, self._device)
        own = self._own_passes or not PASSES.isdisjoint(vars(self))
        y_pred = self._own_forward(x) if own else self._forward(x, training=True)
        plan = self._plan()  # now, as a user's layer may have created parameters
        loss_of = self.wrapped_loss.compute if is_checked else self.wrapped_loss.forward
        mask = self.output_mask
        also = () if mask is None else (mask,)
        loss = loss_of(y_pred, y, sample_weight, *also) + plan.penalty()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"[Model] the loss is {loss}: {finite.first_not_finite(self, x)}"
            )
        grad = self.wrapped_loss.backward()
        if own:
            pairs = self._own_gradients(grad)
        else:
            self._backward_params(grad, plan)
            pairs = self._pairs(plan)
        measured = self._fresh_metrics(y) if metrics is None else metrics
        finite.check_gradients(pairs, plan.parameters, look_at_all=finite.DEBUG)
        waits = self.accumulator.steps > 1 or self.accumulator.batches > 0
        count = len(x) if mask is None else int(mask.sum())
        summed = self.accumulator.add(pairs, count, plan.names) if waits else pairs
        if summed is not None:  # else it waits for more batches
            self.wrapped_optimizer.step(summed)
        logs = {"loss": loss, **measure(measured, y, y_pred, mask)}
        if metrics is None:
            logs |= {metric.name: metric.result() for metric in measured}
        return logs

    def train_on_batch(self, x: Any, y: Any, sample_weight: Any = None) -> dict[str, float]:
        """Train on one batch and return its figures: Keras' name of `train_step`."""
        return self.train_step(x, y, sample_weight)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the output for a batch; `training` as in `Layer.forward`."""
        x = self._inputs(x)
        self._plan()
        return self._forward(x, training)

    def __call__(self, x: Array, training: bool | None = False) -> Array:
        """Return `forward(x, training)`."""
        return self.forward(x, training)

    def backward(self, grad: Array) -> Array:
        """Fill every layer's `grads` and return the gradient for the input.

        Parameters
        ----------
        grad
            Gradient of the loss for the output of the last `forward`, as `loss.backward()`
            returns it.

        Raises
        ------
        RuntimeError
            If there was no `forward` before, or `backward` was called after it already.
        """
        shape = getattr(grad, "shape", None)
        if shape is None:
            raise checks.error("Model", "grad", "must be an array", grad)
        if self._forward_shape is not None and shape != self._forward_shape:
            raise ValueError(
                f"[Model] backward() expects a gradient 'grad' of the output's shape "
                f"{self._forward_shape}, got {shape}."
            )
        grad = cuda.to_device(grad, self._device)
        if self._last_plan is not None:
            self._last_plan.zero_gradients()
        with self._debugging() if finite.DEBUG else _NOTHING:
            return backward_through(self.layers, grad)

    def _debugging(self) -> contextlib.AbstractContextManager[None]:
        """Look for NaN and infinity in a `with` block, with NN_DEBUG=1."""
        check = finite.FiniteCheck()
        return observe(self, check.output, check.gradient)

    def _forward(self, x: Array, training: bool | None) -> Array:
        with self._debugging() if finite.DEBUG else _NOTHING:
            y, mask = forward_through(self.layers, x, training)
        if training is not None:  # else nothing was kept for backward
            self._forward_shape, self.output_mask = y.shape, mask
        return y

    def backward_params(self, grad: Array) -> None:
        """Fill the gradients of all parameters that are trained."""
        self._backward_params(grad, self._plan())

    def _backward_params(self, grad: Array, plan: Plan) -> None:
        if plan.custom:
            plan.zero_gradients()
        with self._debugging() if finite.DEBUG else _NOTHING:
            backward_params_through(self.layers, grad, plan.lowest)

    def get_params_and_grads(self) -> list[tuple[Array, Array]]:
        """Return (param, grad) pairs of all trainable layers, always in the same order.

        The gradients are those of the loss, which the layers keep, plus those of the penalties.
        The optimizer gets the names of the parameters and the `lr_factor` of their layers.

        Raises
        ------
        RuntimeError
            If there are no gradients yet, or averaged weights have replaced the weights.
        ValueError
            For layers with an `lr_factor`, if the optimizer does not support it.
        """
        return self._pairs(self._plan())

    def _pairs(self, plan: Plan) -> list[tuple[Array, Array]]:
        if self.set_aside is not None:
            raise RuntimeError(
                "[Model] cannot train while the averaged weights are in use: call "
                "use_training_weights() first."
            )
        optimizer, pairs = self.wrapped_optimizer, []
        for _, layer, key in plan.parameters:
            if key not in layer.grads:
                raise RuntimeError(
                    f"[{type(layer).__name__}] has no gradient for '{key}': call backward() "
                    f"first, which must set grads['{key}']."
                )
            param, grad = layer.params[key], layer.grads[key]
            if key in layer.regularizers:
                grad = grad + layer.regularizers[key].gradient(param)
            pairs.append((param, grad))
        is_named = self._named == (plan, optimizer)
        if not is_named or (optimizer is not None and optimizer.param_names != plan.names):
            self._name_parameters(plan)
        return pairs

    def _name_parameters(self, plan: Plan) -> None:
        """Give the optimizer the names of the trained parameters and the factors of their rates."""
        optimizer = self.wrapped_optimizer
        optim.name_parameters(optimizer, plan.names, plan.factors, self._token)
        self._named = (plan, optimizer)
        if not plan.names:
            checks.warn(
                "[Model] has nothing to train: no layer has parameters, or all are frozen: set "
                "trainable = True."
            )

    @property
    def trained_names(self) -> list[str]:
        """Names in a file of the parameters of `get_params_and_grads`, in their order."""
        return self._plan().names

    def penalty(self) -> float:
        """Return the sum of the penalties on weights, of the layers that are trained.

        The penalties on activities of the last batch (`Layer.activity_penalty`) are added.
        `fit`, `train_step` and `evaluate` add it to the loss that they report, as Keras does. In
        a loop written by hand add it to the value of `loss.forward`; its gradient is in
        `get_params_and_grads`.
        """
        return self._plan().penalty()

    def finish_step(self) -> None:
        """Make the optimizer's step with the batches since the last one, if there are any.

        With `gradient_accumulation_steps` `fit` calls it at the end of an epoch, and a loop of
        `train_step` may; the gradient is the mean over the samples of these batches.
        """
        if self.accumulator.batches:
            self.use_training_weights()
            plan = self._plan()
            self._name_parameters(plan)
            params = [layer.params[key] for _, layer, key in plan.parameters]
            self.wrapped_optimizer.step(self.accumulator.finish(params, plan.names))

    # ------------------------------------------------------------------ looking for mistakes

    def check_weights(self) -> None:
        """Raise an error if a weight, a statistic or the optimizer's state is NaN or infinite.

        `fit` calls it at the end of each epoch, before anything is measured or saved.

        Raises
        ------
        FloatingPointError
            The message names the layer and the array.
        """
        finite.check_weights(self.layers)
        if self.optimizer is not None:
            self.wrapped_optimizer.check_state()
