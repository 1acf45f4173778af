"""Gradients by measurement: whether `backward` computes what `forward` implies.

The slope of a function of many numbers is measured by moving one number a little both ways
and looking at what the function does. It is slow and simple, and the judge of every
`backward` in this library and of those that you write: `check_gradients` for a layer, every number
of it, and `check_model` for a whole model or a file of one, a sample of the numbers of each layer.
"""

import copy
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import checks, losses, text
from ..layers import Layer
from ..layers.plan import named_layers
from ..model import Model


def numerical_gradient(f: Callable[[], float], x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Return df/dx by central differences, (f(x + h) - f(x - h)) / 2h for each element.

    Parameters
    ----------
    f
        A function without arguments whose value depends on x.
    x
        A float64 array of any shape. It is changed in place while f is measured, and left as
        it was.
    step
        h; the error falls with its square, until rounding takes over near 1e-6.

    Raises
    ------
    ValueError
        For another x, a step that is not positive, or an f that takes arguments or returns no
        number.

    Examples
    --------
    >>> x = np.array([3.0])
    >>> numerical_gradient(lambda: float(x[0] ** 2), x).round(6)
    array([6.])
    """
    owner = "numerical_gradient"
    if not checks.takes(f, 0):
        raise checks.error(owner, "f", "must be a function without arguments", f)
    if getattr(x, "dtype", None) != np.float64:
        raise checks.error(owner, "x", "must be an array of float64", getattr(x, "dtype", x))
    step = checks.positive(owner, "step", step)
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        value = x[index]
        try:
            x[index] = value + step
            above = _number(f())
            x[index] = value - step
            below = _number(f())
        finally:
            x[index] = value
        gradient[index] = (above - below) / (2 * step)
    return gradient


def _number(value: Any) -> float:
    """Return what a function has returned to `numerical_gradient`, which must be one number."""
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    if not checks.is_number(value):
        raise checks.error("numerical_gradient", "f", "must return a number", value)
    return value


def relative_error(a: Any, b: Any) -> float:
    """Return the largest difference of two arrays, relative to their largest value (at least 1e-8).

    Raises
    ------
    ValueError, TypeError
        For arrays of different shapes, or of anything but real numbers.

    Examples
    --------
    >>> relative_error(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    0.0
    """
    a, b = (checks.real_array("relative_error", k, v) for k, v in (("a", a), ("b", b)))
    if a.shape != b.shape:
        raise checks.error("relative_error", "b", f"must have the shape {a.shape} of 'a'", b.shape)
    if a.size == 0:
        return 0.0
    scale = max(np.abs(a).max(), np.abs(b).max(), 1e-8)
    return float(np.abs(a - b).max() / scale)


def check_gradients(
    layer: Layer, x: np.ndarray, training: bool = True, step: float = 1e-5
) -> dict[str, float]:
    """Compare a layer's `backward` with measured gradients, in float64.

    Parameters
    ----------
    layer
        A layer of the library or your own. One that is not built is built for x in float64.
    x
        A batch of inputs, away from the layer's kinks (as 0 is for ReLU): the slope is not
        defined there.
    training
        The mode of the forward pass. Each pass starts from the same state of the layer's
        random numbers and buffers, so dropout can be checked too.
    step
        Step of the measurement.

    Returns
    -------
    dict
        The relative error of the gradient for 'x' and for each parameter, '0_Conv2D_W' for one
        inside another layer; below 1e-6 for a right `backward`.

    Raises
    ------
    ValueError, TypeError
        For anything but a layer and a batch of numbers; where `backward` does not return a gradient
        of x's shape, or leaves out a parameter's.

    Examples
    --------
    >>> from nn.layers import Dense
    >>> errors = check_gradients(Dense(3), np.random.default_rng(0).normal(size=(4, 5)))
    >>> sorted(errors), max(errors.values()) < 1e-6
    (['W', 'b', 'x'], True)
    """
    owner = "check_gradients"
    if not isinstance(layer, Layer):
        rule = "must be a layer (check_model() takes a model)"
        raise checks.error(owner, "layer", rule, layer)
    x = np.array(checks.real_array(owner, "x", x), dtype=np.float64)
    if x.size == 0 or x.ndim == 0:
        raise checks.error(owner, "x", "must be a batch of at least one sample", x.shape)
    step = checks.positive(owner, "step", step)
    if not layer.built:
        layer.dtype = "float64"
        layer.build((None, *x.shape[1:]))
        layer.built = True
    # Inside another layer a name has the layer's before it: '0_Conv2D_W'.
    parts = [("", layer), *((f"{path}_", part) for path, part in named_layers(layer.sublayers()))]
    if any(p.dtype != np.float64 for _, part in parts for p in part.params.values()):
        raise ValueError(
            f"[{type(layer).__name__}] is built in float32, too coarse to measure slopes: check "
            "a layer that is not built, or one of a Model(dtype='float64')."
        )
    generator_states = [part.rng.bit_generator.state for _, part in parts]
    buffers = [
        (part, name, array.copy()) for _, part in parts for name, array in part.buffers.items()
    ]

    def forward() -> np.ndarray:
        for (_, part), state in zip(parts, generator_states, strict=True):
            part.rng.bit_generator.state = state
        for part, name, values in buffers:
            part.buffers[name][...] = values
        return layer.forward(x, training=training)

    # A random direction makes one number of the output, sensitive to every element of it.
    y = forward()
    direction = np.random.default_rng([0, 1]).normal(size=y.shape)
    analytical = {"x": layer.backward(direction)}
    arrays = {"x": x}
    for path, part in parts:
        analytical.update({f"{path}{name}": grad for name, grad in part.grads.items()})
        if part.trainable:
            arrays.update({f"{path}{name}": param for name, param in part.params.items()})
    errors = {}
    for name, array in arrays.items():
        gradient = analytical.get(name)
        if gradient is None or gradient.shape != array.shape:
            shape = None if gradient is None else gradient.shape
            raise ValueError(
                f"[{type(layer).__name__}] backward() must give a gradient of shape "
                f"{array.shape} for '{name}', got {shape}."
            )
        gradient = np.array(gradient)  # the layer may reuse it
        measured = numerical_gradient(lambda: float((forward() * direction).sum()), array, step)
        errors[name] = relative_error(gradient, measured)
    return errors


# ----------------------------------------------------------------------- of a whole model

_SAMPLES = 4  # of the batch that is made where none is given
# What the loss may be wrong by from rounding alone, relative to it: a few dozen additions' worth.
_ROUNDING = 32 * float(np.finfo(np.float64).eps)
_TRIES = 4  # entries that are drawn in the place of one at a kink, at most


@dataclass(frozen=True)
class GradientRow:
    """What `check_model` found of one array: a parameter, or a layer's input.

    Attributes
    ----------
    layer : str
        The layer's name in a file, '7_Dense', or '3_Residual/0_Conv2D' inside another layer; or
        the loss's.
    parameter : str
        The parameter's name, or 'input'.
    shape : tuple
        The array's shape.
    entries : int
        How many of its numbers were measured.
    kinks : int
        How many were left out, as the loss has no slope there: it bends.
    error : float
        The largest difference of gradient and measured slope, relative to the array's largest
        gradient (or to the least that can be measured to the tolerance, where that is more).
    verdict : str
        'ok' or 'WRONG'; 'tiny' where the gradient and the slopes are both too small to be told
        from 0; 'kinks' where there was nothing but these; 'frozen' for a layer that is not trained.
    """

    layer: str
    parameter: str
    shape: tuple[int, ...]
    entries: int
    kinks: int
    error: float
    verdict: str


@dataclass(frozen=True)
class ModelCheck:
    """The result of `check_model`; printed, it is a table with a line for each array.

    Attributes
    ----------
    rows : list of GradientRow
        In the order of the layers, of a layer the input first; the loss comes last.
    tolerance : float
        The relative error above which a gradient counts as wrong.
    """

    rows: list[GradientRow]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether no gradient was found wrong."""
        return all(row.verdict != "WRONG" for row in self.rows)

    @property
    def worst(self) -> GradientRow:
        """The row with the largest relative error."""
        return max(self.rows, key=lambda row: row.error)

    @property
    def suspect(self) -> str | None:
        """The layer, or the loss, whose `backward` is to be looked at first; None if all is well.

        A wrong gradient for a layer's input is handed on to all layers before it. So the layer
        nearest to the loss with a wrong row is where it began.
        """
        wrong = [row for row in self.rows if row.verdict == "WRONG"]
        if not wrong:
            return None
        whole = wrong[-1].layer.partition("/")[0]
        hands_on = any(row.layer == whole and row.parameter == "input" for row in wrong)
        return whole if hands_on else wrong[-1].layer

    def __str__(self) -> str:
        heads = ("Layer", "Array", "Shape", "Entries", "Kinks", "Error", "Verdict")
        cells = [heads]
        for row in self.rows:
            error = f"{row.error:.1e}" if row.entries else "-"
            counts = (str(row.entries), str(row.kinks))
            cells.append((row.layer, row.parameter, str(row.shape), *counts, error, row.verdict))
        lines = text.table(cells, right=(3, 4, 5))
        rule = "-" * max(map(text.width, lines))
        end = f"All gradients agree with the measured slopes to {self.tolerance:g}."
        if not self.ok:
            count = sum(row.verdict == "WRONG" for row in self.rows)
            end = (
                f"{count} of {len(self.rows)} are wrong: look at the backward() of {self.suspect}."
            )
        return "\n".join([lines[0], rule, *lines[1:], rule, end])


def check_model(
    model: "Model | str | os.PathLike",
    x: Any = None,
    y: Any = None,
    entries: int = 20,
    tolerance: float = 1e-5,
    step: float = 1e-5,
    seed: int = 0,
) -> ModelCheck:
    """Compare every layer's `backward`, and the loss's, with measured slopes of the loss.

    A copy of the model in float64 does the work; the model itself is left as it is, to the last
    bit. It is in training mode: dropout takes the same mask at each pass and batch normalisation
    begins with the same running averages. Penalties on weights are part of the loss. From each
    parameter and each layer's input some numbers are drawn; one after the other is moved a little
    both ways, and the loss measured anew from that layer on.

    Where the loss has a kink (ReLU at 0, a tie in max pooling) there is no slope. A number at which
    the curve bends within the step is left out, and another is drawn in its place.

    Parameters
    ----------
    model
        A model, built or with `x` given, of any dtype; or the path of a file of `Model.save`.
    x
        A small batch as the model takes it; None draws 4 samples of normal numbers.
    y
        Its targets; None draws what nn's own losses take. A model without a loss is checked with
        half the mean square of its outputs.
    entries
        Numbers to measure of each array, all of a smaller one. Each takes two passes from its layer
        to the end.
    tolerance
        The relative error above which a gradient is called wrong.
    step
        How far a number is moved, relative to the array's root mean square where that is above 1.
    seed
        Seed of what is drawn.

    Returns
    -------
    ModelCheck
        `print` it; `.ok` and `.worst` are for programs.

    Raises
    ------
    ValueError
        For a model that is not built where `x` is None, targets that nn cannot make, or a
        `backward` that returns no gradient of the right shape or leaves out a parameter's; the
        message names the layer.
    FloatingPointError
        Where the loss is NaN or infinite.

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
    x = _batch(twin, rng) if x is None else np.array(x)
    measure = _Measurement(twin, x, y, rng, step)
    rows = [
        _row(measure, place, entries, tolerance, rng)
        for index in range(len(twin.layers) + 1)
        for place in measure.places_of(index)
    ]
    return ModelCheck(rows, tolerance)


def _in_float64(model: Model) -> Model:
    """Return a copy of a model's layers and loss in float64, on the CPU."""
    layers = copy.deepcopy(model.layers)
    for _, layer in named_layers(layers):
        layer.forget()
        layer.grads.clear()
        layer.dtype = "float64"
    # The seed is of no matter, but without one the next of `nn.seed` would be taken.
    twin = Model(layers, seed=0, dtype="float64").to_cpu()
    for _, layer in named_layers(layers):
        for arrays in (layer.params, layer.buffers):
            for name, array in arrays.items():
                arrays[name] = array.astype(np.float64)
    twin.loss = copy.deepcopy(model.loss)
    return twin


def _batch(model: Model, rng: np.random.Generator) -> np.ndarray:
    """Return normal numbers of the model's input shape, before a `Rescale` that it begins with."""
    if model.input_shape is None:
        raise ValueError("[check_model] 'x' must be given for a model that is not built, got None.")
    x = rng.standard_normal([_SAMPLES, *(n or 1 for n in model.input_shape[1:])])
    return x / (abs(model.input_scale or 0.0) or 1.0)


def _targets(loss: Any, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return targets that a loss of nn's own takes for outputs of a shape."""
    kind = type(loss)
    if kind in (losses.CategoricalCrossentropy, losses.Hinge) and len(shape) == 2:
        return rng.integers(0, shape[1], shape[0])
    if kind is losses.BinaryCrossentropy:
        return rng.integers(0, 2, shape).astype(np.float64)
    if kind is losses.KLDivergence:
        rows = rng.uniform(0.1, 1.0, shape)
        return rows / rows.sum(axis=-1, keepdims=True)
    if kind in (losses.MeanSquaredError, losses.MeanAbsoluteError, losses.Huber):
        return rng.standard_normal(shape)
    raise ValueError(
        f"[check_model] 'y' must be given for the loss {kind.__name__} and outputs {shape}: "
        "it is not known which targets it takes."
    )


class _Place(NamedTuple):
    """An array that is measured: what to call it, and the first layer that reads it."""

    first: int
    layer: str
    parameter: str
    array: np.ndarray
    gradient: np.ndarray | None  # None where it is not trained


class _Measurement:
    """A model, a batch and the loss: every gradient once, and the slope of any number of it."""

    def __init__(self, model: Model, x: Any, y: Any, rng: np.random.Generator, step: float):
        self.model, self.loss, self.step = model, model.loss, step
        if x.dtype == np.uint8:
            x = x / 255.0  # as the model does it
        y_pred = model.forward(x, training=False)  # checks x, builds the model, connects the loss
        self.parts = list(named_layers(model.layers))
        self.states = [part.rng.bit_generator.state for _, part in self.parts]
        self.buffers = [
            (array, array.copy()) for _, part in self.parts for array in part.buffers.values()
        ]
        self.y = y
        if y is not None and self.loss is None:
            raise checks.error("check_model", "y", "must be None for a model without a loss", y)
        if y is None and self.loss is not None:
            self.y = _targets(self.loss, y_pred.shape, rng)
        self.inputs: list[np.ndarray] = [np.array(x, dtype=np.float64)]  # of each layer
        self.value = self._run_and_keep_inputs()
        if not np.isfinite(self.value):
            raise FloatingPointError(f"[check_model] the loss is {self.value}: no slopes to see.")
        self.input_grads = self._backward()
        self.grads = self._parameter_grads()

    def _restore(self) -> None:
        """Put generators and buffers back, so that every pass is the same."""
        for (_, part), state in zip(self.parts, self.states, strict=True):
            part.rng.bit_generator.state = state
        for array, values in self.buffers:
            array[...] = values

    def _loss(self, y_pred: np.ndarray) -> float:
        if self.loss is None:
            return 0.5 * float((y_pred**2).mean())
        return float(self.loss.forward(y_pred, self.y)) + self.model.penalty()

    def _run_and_keep_inputs(self) -> float:
        """Run the whole model, keep a copy of what each layer is given, and return the loss."""
        self._restore()
        y = self.inputs[0]
        for layer in self.model.layers:
            y = layer.forward(y, training=True)
            self.inputs.append(y.copy())  # of the next layer, and of the loss
        self.y_pred = y
        return self._loss(y)

    def run_from(self, index: int) -> float:
        """Run the layers from one on, with its kept input as it is now, and return the loss."""
        self._restore()
        y = self.inputs[index]
        for layer in self.model.layers[index:]:
            y = layer.forward(y, training=True)
        return self._loss(y)

    def noise(self, h: float) -> float:
        """Return what rounding alone may make of a slope that is measured with a step of h."""
        return _ROUNDING * max(1.0, abs(self.value)) / h

    def _backward(self) -> list[np.ndarray]:
        """Run every `backward`; return the gradient for each layer's input, and for the output."""
        grad = self.y_pred / self.y_pred.size if self.loss is None else self.loss.backward()
        _check_gradient(grad, self.y_pred.shape, "y_pred", type(self.loss).__name__)
        grads = [np.array(grad)]
        for index in reversed(range(len(self.model.layers))):
            layer, x = self.model.layers[index], self.inputs[index]
            name = f"{index}_{type(layer).__name__}"
            grad = layer.backward(grad)
            _check_gradient(grad, x.shape, "input", name)
            grads.append(np.array(grad))  # the layer may reuse it
        return grads[::-1]

    def _parameter_grads(self) -> dict[tuple[str, str], np.ndarray]:
        """Return the gradients of the parameters that are trained, those of penalties included."""
        found = {}
        for path, part in self.parts:
            for key, param in part.params.items() if part.trainable else ():
                _check_gradient(part.grads.get(key), param.shape, key, path)
                grad = np.array(part.grads[key])
                if key in part.regularizers:
                    grad += part.regularizers[key].gradient(param)
                found[path, key] = grad
        return found

    def places_of(self, index: int) -> Iterator[_Place]:
        """Yield the input and the parameters of a layer and those inside it.

        The loss comes after the last layer, unless it takes logits past a Softmax or Sigmoid: then
        the two are one, and checked where that layer is.
        """
        if index == len(self.model.layers):
            if self.loss is not None and getattr(self.loss, "activation", None) is None:
                name = type(self.loss).__name__
                yield _Place(index, name, "input", self.inputs[index], self.input_grads[index])
            return
        top = f"{index}_{type(self.model.layers[index]).__name__}"
        yield _Place(index, top, "input", self.inputs[index], self.input_grads[index])
        for path, part in self.parts:
            if path.partition("/")[0] == top:
                for key, param in part.params.items():
                    yield _Place(index, path, key, param, self.grads.get((path, key)))

    def losses_around(self, place: _Place, at: tuple, h: float) -> tuple[float, float]:
        """Return the loss with one number of an array moved down, and moved up, by h."""
        value = place.array[at]
        place.array[at] = value - h
        below = self.run_from(place.first)
        place.array[at] = value + h
        above = self.run_from(place.first)
        place.array[at] = value
        return below, above


def _check_gradient(grad: Any, shape: tuple[int, ...], what: str, owner: str) -> None:
    """Raise where a gradient is missing or has another shape than what it is the gradient of."""
    if getattr(grad, "shape", None) != shape:
        came = getattr(grad, "shape", None)
        raise ValueError(
            f"[check_model] backward() of {owner} must give a gradient of shape {shape} for "
            f"'{what}', got {came}."
        )


def _row(
    measure: _Measurement,
    place: _Place,
    entries: int,
    tolerance: float,
    rng: np.random.Generator,
) -> GradientRow:
    """Return what is to be said of one array."""
    _, layer, parameter, array, gradient = place
    if gradient is None:
        return GradientRow(layer, parameter, array.shape, 0, 0, 0.0, "frozen")
    size = float(np.sqrt((array**2).mean())) if array.size else 0.0
    h = measure.step * max(1.0, size)
    scale = float(np.abs(gradient).max(initial=0.0))
    wanted = min(entries, array.size)
    kinks, largest = 0, scale
    errors: list[float] = []
    for position in rng.permutation(array.size)[: wanted * _TRIES]:
        if len(errors) == wanted:
            break
        at = np.unravel_index(position, array.shape)
        error, slope = _error(measure, place, at, scale, h, tolerance)
        if error > tolerance and _bends(measure, place, at, h):
            kinks += 1
            continue
        errors.append(error)
        largest = max(largest, abs(slope))
    error = max(errors, default=0.0)
    if wanted and not errors:
        verdict = "kinks"
    elif error > tolerance:
        verdict = "WRONG"
    else:
        verdict = "tiny" if wanted and largest <= measure.noise(h) else "ok"
    return GradientRow(layer, parameter, array.shape, len(errors), kinks, error, verdict)


def _error(
    measure: _Measurement, place: _Place, at: tuple, scale: float, h: float, tolerance: float
) -> tuple[float, float]:
    """Return the relative error of the gradient for one number, and the measured slope.

    It is relative to `scale`, the largest gradient of the array, but where that is so small that
    rounding alone would make an error above the tolerance, to that limit. The slope's own error
    falls with the square of the step and rounding grows with its inverse: where the two disagree,
    a tenth of the step is tried too.
    """
    best = (np.inf, 0.0)
    gradient = 0.0 if place.gradient is None else float(place.gradient[at])
    for width in (h, h / 10):
        below, above = measure.losses_around(place, at, width)
        slope = (above - below) / (2 * width)
        limit = max(scale, abs(slope), measure.noise(width) / tolerance)
        best = min(best, (abs(gradient - slope) / limit, slope))
        if best[0] <= tolerance / 10:
            break
    return best


def _bends(measure: _Measurement, place: _Place, at: tuple, h: float) -> bool:
    """Tell whether the loss has a kink so near a number that a tenth of h still meets it.

    A smooth curve's two one-sided slopes differ by its curvature times the step, so that their
    difference over the step is the same for every small step. At a kink half the step doubles it.
    """
    curvatures = []
    for width in (h, h / 2):
        below, above = measure.losses_around(place, at, width)
        right, left = (above - measure.value) / width, (measure.value - below) / width
        curvatures.append(abs(right - left) / width)
    doubt = 8 * measure.noise(h / 2) / (h / 2)
    return abs(curvatures[0] - curvatures[1]) > 0.2 * max(curvatures) + doubt
