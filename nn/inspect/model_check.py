"""Gradient check of a whole model: `backward` of every layer and of the loss."""

import copy
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import checks, kernels, losses
from ..layers.plan import named_layers
from ..layers.stack import forward_through
from ..layers.state import Snapshot
from ..model import Model
from ..validation import check_scaled_once, is_byte_image
from . import contract
from .comparison import explain
from .model_report import GradientRow, ModelCheck

_ANY_SIZE = 8  # of an axis whose size may be any
_SAMPLES = 4  # of a random batch
_LABEL = "[check_model] {} of "
# Relative error of the loss from rounding, that of a few dozen additions.
_ROUNDING = 32 * float(np.finfo(np.float64).eps)
_TRIES = 4  # elements to try for each one to check, as those at kinks are skipped


def check_model(
    model: "Model | str | os.PathLike",
    x: Any = None,
    y: Any = None,
    entries: int = 20,
    tolerance: float = 1e-5,
    step: float = 1e-5,
    seed: int = 0,
) -> ModelCheck:
    """Compare the gradients of every layer and of the loss with numerical gradients.

    The check runs on a copy of the model in float64; the model itself is not changed. It uses
    training mode: dropout has the same mask in each pass, and batch normalisation starts from the
    same running averages. Regularization penalties are part of the loss. A random sample of the
    elements of each parameter and each layer's input is checked by central differences of the loss,
    computed from that layer on.

    The loss is not differentiable at a kink (ReLU at 0, a tie in max pooling). Elements with a kink
    within the step are skipped, and others are drawn instead.

    Parameters
    ----------
    model
        A model of any dtype, built unless `x` is given; or the path of a file of `Model.save`.
    x
        A small batch of inputs; None draws 4 samples from a normal distribution.
    y
        Its targets; None draws targets for nn's own losses. Without a loss, half the mean square of
        the outputs is used.
    entries
        Number of elements to check in each array. Each needs two passes from its layer to the
        output.
    tolerance
        Relative error above which a gradient is wrong.
    step
        Step of the central differences, times the array's root mean square if that is above 1.
    seed
        Seed of the random numbers.

    Returns
    -------
    ModelCheck
        `print` shows it; `.ok` and `.worst` are for programs.

    Raises
    ------
    ValueError
        If the model is not built and `x` is None, or `y` is None for a custom loss; if a gradient
        is missing or has the wrong shape or dtype, or a pass changes arrays of others or depends
        on earlier ones (see `check_gradients`); the message names the layer.
    FloatingPointError
        If the loss is NaN or infinite.

    Examples
    --------
    >>> from nn.layers import Dense, Tanh
    >>> model = Model([Dense(3, input_shape=(2,)), Tanh(), Dense(1)], seed=0)
    >>> model.compile("mse")
    >>> result = check_model(model)
    >>> result.ok, result.worst.error < 1e-6
    (True, True)
    >>> [(row.layer, row.parameter) for row in result.rows][:4]
    [('0_Dense', 'input'), ('0_Dense', 'W'), ('0_Dense', 'b'), ('1_Tanh', 'input')]
    """
    entries = checks.positive_int("check_model", "entries", entries)
    tolerance = checks.positive("check_model", "tolerance", tolerance)
    step = checks.positive("check_model", "step", step)
    rng = np.random.default_rng(checks.non_negative_int("check_model", "seed", seed))
    if isinstance(model, str | os.PathLike):
        model = Model.load(model)
    if not isinstance(model, Model):
        raise checks.error("check_model", "model", "must be a Model or the path of a file", model)
    twin = _in_float64(model)
    x = _random_batch(twin, rng) if x is None else np.array(x)
    measure = _Measurement(twin, x, y, rng, step)
    rows = [
        _row(measure, target, entries, tolerance, rng)
        for index in range(len(twin.layers) + 1)
        for target in measure.arrays_of(index)
    ]
    return ModelCheck(rows, tolerance)


def _in_float64(model: Model) -> Model:
    """Return a copy of the layers and the loss of a model in float64, on the CPU."""
    layers = copy.deepcopy(model.layers)
    for _, layer in named_layers(layers):
        layer.forget()
        layer.grads.clear()
        layer.dtype = "float64"
    # The seed is not used, but seed=None would change the state of `nn.seed`.
    twin = Model(layers, seed=0, dtype="float64").to_cpu()
    for _, layer in named_layers(layers):
        for arrays in (layer.params, layer.buffers):
            for name, array in arrays.items():
                arrays[name] = array.astype(np.float64)
    twin.loss = copy.deepcopy(model.loss)
    return twin


def _random_batch(model: Model, rng: np.random.Generator) -> np.ndarray:
    """Return a normal batch of the input shape, divided by the scale of a first `Rescale`."""
    if model.input_shape is None:
        raise ValueError("[check_model] 'x' must be a batch if the model is not built, got None.")
    shape = [_SAMPLES, *(n or _ANY_SIZE for n in model.input_shape[1:])]
    if model.num_ids is not None:
        return rng.integers(0, model.num_ids, shape)
    x = rng.standard_normal(shape)
    return x / (abs(model.input_scale or 0.0) or 1.0)


def _targets(loss: Any, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return random targets for one of nn's own losses and outputs of a shape."""
    kind = type(loss)
    if kind in (losses.CategoricalCrossentropy, losses.Hinge) and len(shape) in (2, 3, 4):
        axis = kernels.class_axis(len(shape))
        return rng.integers(0, shape[axis], (*shape[:axis], *shape[axis + 1 :]))
    if kind is losses.BinaryCrossentropy:
        return rng.integers(0, 2, shape).astype(np.float64)
    if kind is losses.KLDivergence:
        rows = rng.uniform(0.1, 1.0, shape)
        return rows / rows.sum(axis=-1, keepdims=True)
    if kind in (losses.MeanSquaredError, losses.MeanAbsoluteError, losses.Huber):
        return rng.standard_normal(shape)
    raise ValueError(
        f"[check_model] 'y' must be the targets for the loss {kind.__name__} and outputs {shape}, "
        "got None."
    )


class _Checked(NamedTuple):
    """An array to check, with the name of its layer, its own name and its gradient."""

    first: int  # index of the layer from which the loss depends on it
    layer: str
    parameter: str
    array: np.ndarray
    gradient: np.ndarray | None  # None if it is not trained


class _Measurement:
    """A model and a batch, with the gradients of `backward` and the loss near any element."""

    def __init__(self, model: Model, x: Any, y: Any, rng: np.random.Generator, step: float):
        self.model, self.loss, self.step = model, model.loss, step
        if is_byte_image(x):
            check_scaled_once(x, model)
            x = x / 255.0  # as in Model.forward
        dtype = np.float64 if model.num_ids is None else np.int64
        x = checks.real_array("check_model", "x", x).astype(dtype)
        other = contract.other_batch(x)
        y_pred = model.forward(other, training=False)  # checks x and builds the model
        self.parts = list(named_layers(model.layers))
        self.before = Snapshot(model.layers)  # restored, so that every pass is the same
        self.y = y
        if y is not None and self.loss is None:
            raise checks.error("check_model", "y", "must be None for a model without a loss", y)
        if y is None and self.loss is not None:
            self.y = _targets(self.loss, y_pred.shape, rng)
        self._run_and_keep_inputs(other)
        self._backward()
        self.value = self._run_and_keep_inputs(x.copy())
        if not np.isfinite(self.value):
            raise FloatingPointError(f"[check_model] the loss is {self.value}, not finite.")
        self.input_grads, self.grads = self._backward(), self._parameter_grads()
        self._run_and_keep_inputs(x.copy())
        self._check_repeated(self._backward(), self._parameter_grads())

    def _loss(self, y_pred: np.ndarray, mask: Any) -> float:
        if self.loss is None:
            return 0.5 * float((y_pred**2).mean())
        loss = self.model.wrapped_loss
        return float(loss.forward(y_pred, self.y, mask=mask)) + self.model.penalty()

    def _run_and_keep_inputs(self, x: np.ndarray) -> float:
        """Return the loss after a forward pass that keeps a copy of each layer's input."""
        self.before.restore()
        self.inputs, self.passed, y = [x.copy()], [x], x  # of each layer
        self.masks: list[Any] = [None]
        for index, layer in enumerate(self.model.layers):
            label = _LABEL + f"{index}_{type(layer).__name__}"
            y, mask = contract.forward(layer, y, True, label, self.masks[-1])
            self.inputs.append(y.copy())  # of the next layer or the loss
            self.passed.append(y)
            self.masks.append(mask)
        self.y_pred = y
        return self._loss(y, mask)

    def run_from(self, index: int) -> float:
        """Return the loss after a forward pass from a layer on, with its stored input."""
        self.before.restore()
        mask = self.masks[index]
        return self._loss(
            *forward_through(self.model.layers[index:], self.inputs[index], True, mask)
        )

    def noise(self, h: float) -> float:
        """Return the rounding error of a central difference with step h."""
        return _ROUNDING * max(1.0, abs(self.value)) / h

    def _backward(self) -> list[np.ndarray]:
        """Return the gradients for each layer's input and for the output of the model."""
        grad = self.y_pred / self.y_pred.size if self.loss is None else self.loss.backward()
        label = _LABEL.format("backward()") + type(self.loss).__name__
        contract.check_gradient(grad, self.y_pred.shape, self.y_pred.dtype, label, "y_pred")
        grads = [np.array(grad)]
        for index in reversed(range(len(self.model.layers))):
            layer, x = self.model.layers[index], self.passed[index]
            grad = contract.backward(layer, grad, x, _LABEL + f"{index}_{type(layer).__name__}")
            grads.append(np.array(grad))  # the layer may overwrite it
        return grads[::-1]

    def _parameter_grads(self) -> dict[tuple[str, str], np.ndarray]:
        """Return the gradients of the trainable parameters, including those of penalties."""
        found = {}
        for path, part in self.parts:
            for key in part.trained_keys():
                param = part.params[key]
                label = _LABEL.format("backward()") + path
                contract.check_gradient(part.grads.get(key), param.shape, param.dtype, label, key)
                grad = np.array(part.grads[key])
                if key in part.regularizers:
                    grad += part.regularizers[key].gradient(param)
                found[path, key] = grad
        return found

    def _check_repeated(
        self, input_grads: list[np.ndarray], grads: dict[tuple[str, str], np.ndarray]
    ) -> None:
        """Raise if a repeated pass gave other gradients, naming the last layer that does so."""
        label = _LABEL.format("backward()")
        for index in reversed(range(len(self.model.layers))):
            top = f"{index}_{type(self.model.layers[index]).__name__}"
            for (path, key), grad in self.grads.items():
                if path.partition("/")[0] == top:
                    contract.check_repeated(grad, grads[path, key], label + path, key)
            first, again = self.input_grads[index], input_grads[index]
            contract.check_repeated(first, again, label + top, "input")

    def arrays_of(self, index: int) -> Iterator[_Checked]:
        """Yield the input and all parameters of a top-level layer, or the loss after the last one.

        A loss that uses the logits of a final Softmax or Sigmoid is checked with that layer.
        """
        if index == len(self.model.layers):
            if self.loss is not None and getattr(self.loss, "activation", None) is None:
                name = type(self.loss).__name__
                yield _Checked(index, name, "input", self.inputs[index], self.input_grads[index])
            return
        top = f"{index}_{type(self.model.layers[index]).__name__}"
        if self.inputs[index].dtype == np.float64:  # ids have no gradient
            yield _Checked(index, top, "input", self.inputs[index], self.input_grads[index])
        for path, part in self.parts:
            if path.partition("/")[0] == top:
                for key, param in part.params.items():
                    yield _Checked(index, path, key, param, self.grads.get((path, key)))

    def losses_around(self, target: _Checked, at: tuple, h: float) -> tuple[float, float]:
        """Return the loss with one element decreased, and increased, by h."""
        value = target.array[at]
        target.array[at] = value - h
        below = self.run_from(target.first)
        target.array[at] = value + h
        above = self.run_from(target.first)
        target.array[at] = value
        return below, above


def _row(
    measure: _Measurement,
    target: _Checked,
    entries: int,
    tolerance: float,
    rng: np.random.Generator,
) -> GradientRow:
    """Return the result for one array."""
    _, layer, parameter, array, gradient = target
    if gradient is None:
        return GradientRow(layer, parameter, array.shape, 0, 0, 0.0, "frozen")
    size = float(np.sqrt((array**2).mean())) if array.size else 0.0
    h = measure.step * max(1.0, size)
    scale = float(np.abs(gradient).max(initial=0.0))
    wanted = min(entries, array.size)
    kinks, largest = 0, scale
    found: list[tuple[float, tuple[int, ...], float]] = []  # error, index, numerical gradient
    for position in rng.permutation(array.size)[: wanted * _TRIES]:
        if len(found) == wanted:
            break
        at = np.unravel_index(position, array.shape)
        error, slope = _error(measure, target, at, scale, h, tolerance)
        if error > tolerance and _has_kink(measure, target, at, h):
            kinks += 1
            continue
        found.append((error, tuple(int(i) for i in at), slope))
        largest = max(largest, abs(slope))
    error = max((error for error, *_ in found), default=0.0)
    if wanted and not found:
        verdict = "kinks"
    elif error > tolerance:
        verdict = "WRONG"
    else:
        verdict = "tiny" if wanted and largest <= measure.noise(h) else "ok"
    row = (layer, parameter, array.shape, len(found), kinks, error, verdict)
    if not found:
        return GradientRow(*row)
    _, index, slope = max(found)
    expected = [slope for *_, slope in found]
    hint = explain([gradient[at] for _, at, _ in found], expected, len(measure.inputs[0]))
    return GradientRow(*row, index, slope, float(gradient[index]), hint)


def _error(
    measure: _Measurement, target: _Checked, at: tuple, scale: float, h: float, tolerance: float
) -> tuple[float, float]:
    """Return the relative error of the gradient of one element, and the numerical gradient.

    The error is divided by `scale`, the largest gradient of the array, or by the smallest value
    that can be resolved to the tolerance despite rounding. The error of a central difference is
    proportional to the square of the step, that of rounding to its inverse: if the gradients
    disagree, a tenth of the step is tried as well.
    """
    best = (np.inf, 0.0)
    gradient = 0.0 if target.gradient is None else float(target.gradient[at])
    for width in (h, h / 10):
        below, above = measure.losses_around(target, at, width)
        slope = (above - below) / (2 * width)
        limit = max(scale, abs(slope), measure.noise(width) / tolerance)
        best = min(best, (abs(gradient - slope) / limit, slope))
        if best[0] <= tolerance / 10:
            break
    return best


def _has_kink(measure: _Measurement, target: _Checked, at: tuple, h: float) -> bool:
    """Return whether the loss has a kink within the step h of an element.

    The two one-sided slopes of a smooth curve differ by its curvature times the step, so their
    difference divided by the step does not depend on the step. At a kink it doubles for half the
    step.
    """
    curvatures = []
    for width in (h, h / 2):
        below, above = measure.losses_around(target, at, width)
        right, left = (above - measure.value) / width, (measure.value - below) / width
        curvatures.append(abs(right - left) / width)
    uncertainty = 8 * measure.noise(h / 2) / (h / 2)
    return abs(curvatures[0] - curvatures[1]) > 0.2 * max(curvatures) + uncertainty
