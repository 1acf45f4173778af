"""The turning point of a batch's way: how wrong the predictions are, and in which direction.

`forward` compares predictions with the truth and returns one number, the mean over the batch;
`backward` returns that number's gradient for the predictions, where the model's backward pass
begins. A class below is its formula alone: the loss of each sample, and that loss's gradient.
What all share, the checks, the weights of samples and the mean, stands in `Loss`.

The two cross-entropies are computed from logits, the outputs before Softmax or Sigmoid: only so
are they exact where a probability rounds to 0 or 1. For a model that ends in one of these
layers, `Loss.activation` leads the loss back to the logits.

`get` turns a name into a loss, `from_config` restores one from `to_config`.
"""

import inspect
import math
from typing import Any

import numpy as np

from . import checks, compat, cuda, kernels
from .registry import Registry

Array = Any  # numpy.ndarray or cupy.ndarray


# ------------------------------------------------------------------------- shared checks


def _check_shape(owner: str, y_true: Array, shape: tuple[int, ...]) -> None:
    """Raise where targets have another shape than the predictions, or are not finite."""
    if y_true.shape != shape:
        # (n,) against (n, 1) would broadcast to (n, n) and train without a word.
        fits = y_true.size == math.prod(shape)
        hint = f"use y_true.reshape{shape}" if fits else "give the last layer as many outputs"
        raise ValueError(
            f"[{owner}] expects 'y_true' of the predictions' shape {shape}, got {y_true.shape}: "
            f"{hint}."
        )
    if y_true.dtype.kind not in "fiub":
        raise checks.error(owner, "y_true", "must hold numbers", y_true.dtype)
    xp = cuda.get_array_module(y_true)
    if y_true.dtype.kind == "f" and not bool(xp.isfinite(y_true).all()):
        raise ValueError(f"[{owner}] 'y_true' must be finite, got NaN or infinite values.")


def _check_range(owner: str, y_true: Array, low: float, high: float) -> None:
    """Raise where a target lies outside low..high; the message names it."""
    for value, wrong in ((y_true.min(), y_true.min() < low), (y_true.max(), y_true.max() > high)):
        if wrong:
            raise checks.error(owner, "y_true", f"must be in {low}..{high}", value.item())


def _check_classes(owner: str, y_true: Array, shape: tuple[int, ...]) -> None:
    """Raise where targets are neither labels (N,) nor rows (N, classes) that sum to 1."""
    if len(shape) != 2:
        raise ValueError(
            f"[{owner}] expects 2-D predictions (N, classes), got {shape}: add Flatten() and "
            "Dense(classes) before the loss."
        )
    if shape[1] < 2:
        raise ValueError(
            f"[{owner}] expects at least 2 classes, got predictions of shape {shape}: "
            "use 'binary_crossentropy' for one output."
        )
    if y_true.shape == shape:
        _check_distributions(owner, y_true)
        return
    if y_true.shape != shape[:1]:
        raise ValueError(
            f"[{owner}] expects 'y_true' as labels of shape {shape[:1]} or rows of shape {shape}, "
            f"got {y_true.shape}: use y_true.reshape(-1) for a column of labels."
        )
    if y_true.dtype.kind not in "iu":
        raise ValueError(
            f"[{owner}] 'y_true' must hold integer labels, got dtype {y_true.dtype}: "
            "use y_true.astype(int)."
        )
    _check_range(owner, y_true, 0, shape[1] - 1)


def _check_distributions(owner: str, rows: Array) -> None:
    """Raise where a row is not a distribution: non-negative, with the sum 1."""
    if rows.dtype.kind not in "fiub":
        raise checks.error(owner, "y_true", "must hold numbers", rows.dtype)
    sums = rows.sum(axis=1, dtype=np.float64)
    # Written so that NaN, for which every comparison is false, is an error too.
    wrong = ~((rows.min(axis=1) >= 0) & (abs(sums - 1) <= 1e-4))
    if bool(wrong.any()):
        row = int(wrong.argmax())
        rule = f"must have rows of at least 0 that sum to 1, but row {row}"
        values = cuda.to_cpu(rows[row])
        raise ValueError(f"[{owner}] 'y_true' {rule} is {np.array2string(values, threshold=12)}.")


def _sample_weights(owner: str, weights: Any, y_pred: Array) -> Array:
    """Return the weights as an array (N,) beside the predictions."""
    xp = cuda.get_array_module(y_pred)
    weights = checks.real_array(owner, "sample_weight", weights)
    weights = xp.asarray(weights, dtype=y_pred.dtype)
    if weights.shape != y_pred.shape[:1]:
        rule = f"must have the shape {y_pred.shape[:1]}, one weight for each sample"
        raise checks.error(owner, "sample_weight", rule, weights.shape)
    if not bool(((weights >= 0) & (weights < math.inf)).all()):
        lowest, highest = float(weights.min()), float(weights.max())
        raise ValueError(
            f"[{owner}] 'sample_weight' must be at least 0 and not NaN or infinite, "
            f"got weights from {lowest:g} to {highest:g}."
        )
    return weights


def _along_batch(weights: Array, array: Array) -> Array:
    """Return weights as (N, 1, ...), with as many axes as `array`."""
    return weights.reshape(-1, *[1] * (array.ndim - 1))  # (N,) -> (N, 1, ...)


# ------------------------------------------------------------------------------ the base


class Loss:
    """Base of all losses.

    There are two ways to write your own. The short one is a `forward` and a `backward`:

    >>> class Cube(Loss):
    ...     def forward(self, y_pred, y_true):
    ...         self.difference = y_pred - y_true
    ...         return float((abs(self.difference) ** 3).mean())
    ...
    ...     def backward(self):
    ...         return 3 * self.difference * abs(self.difference) / self.difference.size

    The other is the two formulas, as the classes below have them: `sample_losses` and
    `sample_gradients`. It gets the weights of samples and the mean.

    Attributes
    ----------
    paired_activation : str or None
        The name of the output layer whose logits this loss is computed from.
    activation : Layer or None
        That layer, where the model ends in it: `forward` then gets its probabilities, asks
        `activation.logits_of(y_pred)` for the logits, and `backward` returns
        `activation.gradient_for_output(...)`, the gradient for the probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> loss = Cube()
    >>> loss.forward(np.array([[1.0], [3.0]]), np.array([[1.0], [1.0]]))
    4.0
    >>> loss.backward()
    array([[0.],
           [6.]])
    """

    paired_activation: str | None = None
    activation: Any = None
    _scale: Any = None  # what each sample's gradient counts in the mean; None before forward

    # Infinite and NaN predictions give such a loss, for the model to report, and no warnings.
    @np.errstate(over="ignore", invalid="ignore")
    def forward(self, y_pred: Any, y_true: Any, sample_weight: Any = None) -> float:
        """Return the loss, averaged over the batch.

        Parameters
        ----------
        y_pred
            The model's outputs, with the samples along the first axis.
        y_true
            The truth; the class says in which form.
        sample_weight
            (N,) numbers of at least 0 that multiply each sample's loss. The mean is still over
            the N samples, not over the sum of the weights.

        Raises
        ------
        ValueError
            Where shapes do not fit or the targets break the class's rules.
        """
        owner = type(self).__name__
        y_pred = checks.real_array(owner, "y_pred", y_pred)
        y_true = checks.array(owner, "y_true", y_true)
        if y_pred.size == 0 or y_pred.ndim == 0:
            raise ValueError(f"[{owner}] expects predictions of a batch, got shape {y_pred.shape}.")
        if y_pred.dtype.kind != "f":
            y_pred = y_pred.astype(np.float64)
        self.check_targets(y_true, y_pred.shape)
        outputs = y_pred if self.activation is None else self.activation.logits_of(y_pred)
        losses = self.sample_losses(outputs, self.convert_targets(y_true, outputs))
        self._scale = 1 / losses.size
        if sample_weight is not None:
            weights = _sample_weights(owner, sample_weight, outputs)
            losses = losses * _along_batch(weights, losses)
            self._scale = _along_batch(weights, outputs) / losses.size
        return float(losses.sum(dtype=np.float64)) / losses.size

    @np.errstate(over="ignore", invalid="ignore")
    def backward(self) -> Array:
        """Return the gradient of the last `forward`'s value, of the shape of its `y_pred`.

        Raises
        ------
        RuntimeError
            Where there was no `forward`.
        """
        if self._scale is None:
            raise RuntimeError(f"[{type(self).__name__}] call forward() before backward().")
        gradient = self.sample_gradients() * self._scale
        if self.activation is None:
            return gradient
        return self.activation.gradient_for_output(gradient)

    def check_targets(self, y_true: Any, shape: tuple[int, ...]) -> None:
        """Raise ValueError where targets do not fit predictions of `shape`; here all do.

        The model calls it with all targets before the first step.
        """

    def convert_targets(self, y_true: Array, outputs: Array) -> Array:
        """Return checked targets in the form, dtype and device that the formulas take."""
        return cuda.get_array_module(outputs).asarray(y_true, dtype=outputs.dtype)

    def sample_losses(self, y_pred: Array, y_true: Array) -> Array:
        """Return the loss of each sample or element, and keep what `sample_gradients` needs."""
        raise NotImplementedError(f"[{type(self).__name__}] must define forward and backward.")

    def sample_gradients(self) -> Array:
        """Return the gradients of the `sample_losses` just computed, for the predictions."""
        raise NotImplementedError(f"[{type(self).__name__}] must define forward and backward.")

    def to_config(self) -> dict[str, Any]:
        """Return `{'class': ..., 'config': {...}}`, the arguments that `from_config` takes."""
        names = inspect.signature(type(self)).parameters
        config = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return {"class": type(self).__name__, "config": config}


# ----------------------------------------------------------------------------- numbers


class MeanSquaredError(Loss):
    """The mean of `(y_pred - y_true)**2` over all elements; targets of the predictions' shape.

    Examples
    --------
    >>> import numpy as np
    >>> loss = MeanSquaredError()
    >>> loss.forward(np.array([[1.0], [4.0]]), np.array([[1.0], [2.0]]))
    2.0
    >>> loss.backward()
    array([[0.],
           [2.]])
    """

    def check_targets(self, y_true: Any, shape: tuple[int, ...]) -> None:
        """Raise where targets have another shape than the predictions, or are not finite."""
        _check_shape(type(self).__name__, cuda.as_array(y_true), shape)

    def sample_losses(self, y_pred: Array, y_true: Array) -> Array:
        """Return the squared differences."""
        self._difference = y_pred - y_true
        return self._difference * self._difference

    def sample_gradients(self) -> Array:
        """Return twice the differences."""
        return 2 * self._difference


class MeanAbsoluteError(Loss):
    """The mean of `|y_pred - y_true|` over all elements; targets of the predictions' shape.

    The gradient of a difference of 0 is taken as 0.

    Examples
    --------
    >>> import numpy as np
    >>> loss = MeanAbsoluteError()
    >>> loss.forward(np.array([[1.0], [4.0]]), np.array([[1.0], [2.0]]))
    1.0
    >>> loss.backward()
    array([[0. ],
           [0.5]])
    """

    def check_targets(self, y_true: Any, shape: tuple[int, ...]) -> None:
        """Raise where targets have another shape than the predictions, or are not finite."""
        _check_shape(type(self).__name__, cuda.as_array(y_true), shape)

    def sample_losses(self, y_pred: Array, y_true: Array) -> Array:
        """Return the absolute differences."""
        self._difference = y_pred - y_true
        return abs(self._difference)

    def sample_gradients(self) -> Array:
        """Return the signs of the differences."""
        return cuda.get_array_module(self._difference).sign(self._difference)


class Huber(Loss):
    """Squared for small differences, linear for large ones; the mean over all elements.

        d**2 / 2                       where |d| <= delta, for d = y_pred - y_true
        delta * (|d| - delta / 2)      elsewhere

    Parameters
    ----------
    delta
        Where the square ends; positive.

    References
    ----------
    Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35,
    1964

    Examples
    --------
    >>> import numpy as np
    >>> loss = Huber(delta=1.0)
    >>> loss.forward(np.array([[1.5], [5.0]]), np.array([[1.0], [2.0]]))  # (0.125 + 2.5) / 2
    1.3125
    >>> loss.backward()
    array([[0.25],
           [0.5 ]])
    """

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = checks.positive(type(self).__name__, "delta", delta)

    def check_targets(self, y_true: Any, shape: tuple[int, ...]) -> None:
        """Raise where targets have another shape than the predictions, or are not finite."""
        _check_shape(type(self).__name__, cuda.as_array(y_true), shape)

    def sample_losses(self, y_pred: Array, y_true: Array) -> Array:
        """Return both branches in one: c * (d - c / 2), where c is d clipped to -delta..delta."""
        difference = y_pred - y_true
        self._clipped = difference.clip(-self.delta, self.delta)
        return self._clipped * (difference - self._clipped / 2)

    def sample_gradients(self) -> Array:
        """Return the clipped differences."""
        return self._clipped


# ----------------------------------------------------------------------------- classes


class BinaryCrossentropy(Loss):
    """The cross-entropy of independent yes-or-no outputs, from logits; the mean over all.

    For a logit z and a target t in [0, 1], with p = sigmoid(z):

        -t * log(p) - (1 - t) * log(1 - p)  =  max(z, 0) - z * t + log(1 + exp(-|z|))

    The right side neither overflows nor takes the logarithm of a rounded 0. The gradient is
    p - t.

    Targets have the shape of the predictions; labels (n,) fit one output (n, 1) too.

    Parameters
    ----------
    label_smoothing
        Moves targets towards one half: `t * (1 - s) + s / 2`; in [0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> loss = BinaryCrossentropy()
    >>> round(loss.forward(np.array([[0.0], [2.0]]), np.array([1, 1])), 6)
    0.410038
    >>> loss.backward().round(6)
    array([[-0.25    ],
           [-0.059601]])
    """

    paired_activation = "Sigmoid"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = checks.fraction(
            type(self).__name__, "label_smoothing", label_smoothing
        )

    def check_targets(self, y_true: Any, shape: tuple[int, ...]) -> None:
        """Raise where targets have a shape that does not fit, or lie outside [0, 1]."""
        y_true = cuda.as_array(y_true)
        if y_true.ndim == 1 and shape == (len(y_true), 1):
            y_true = y_true[:, None]  # (N,) -> (N, 1)
        _check_shape(type(self).__name__, y_true, shape)
        _check_range(type(self).__name__, y_true, 0, 1)

    def convert_targets(self, y_true: Array, outputs: Array) -> Array:
        """Return the smoothed targets in the shape of the outputs."""
        targets = super().convert_targets(y_true, outputs).reshape(outputs.shape)
        if self.label_smoothing:
            targets = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
        return targets

    def sample_losses(self, y_pred: Array, y_true: Array) -> Array:
        """Return the cross-entropy of each element."""
        xp = cuda.get_array_module(y_pred)
        self._logits, self._targets = y_pred, y_true
        return xp.maximum(y_pred, 0) - y_pred * y_true + xp.log1p(xp.exp(-abs(y_pred)))

    def sample_gradients(self) -> Array:
        """Return probabilities minus targets."""
        return kernels.sigmoid(self._logits) - self._targets


class CategoricalCrossentropy(Loss):
    """The cross-entropy of one class out of several, from logits; the mean over the batch.

    For logits z and targets q, rows that sum to 1:

        -sum(q * log(softmax(z)))    with the gradient    softmax(z) - q

    Targets are integer labels (N,), or rows (N, classes): one-hot, or any distribution, as
    mixup makes them.

    Parameters
    ----------
    label_smoothing
        Mixes the targets with the uniform distribution: `q * (1 - s) + s / classes`; in [0, 1).

    References
    ----------
    Label smoothing: Szegedy et al., "Rethinking the Inception Architecture for Computer
    Vision", 2015, section 7, https://arxiv.org/abs/1512.00567

    Examples
    --------
    >>> import numpy as np
    >>> loss = CategoricalCrossentropy()
    >>> round(loss.forward(np.array([[0.0, np.log(3.0)]]), np.array([0])), 6)  # -log(1/4)
    1.386294
    >>> loss.backward()
    array([[-0.75,  0.75]])
    """

    paired_activation = "Softmax"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = checks.fraction(
            type(self).__name__, "label_smoothing", label_smoothing
        )

    def check_targets(self, y_true: Any, shape: tuple[int, ...]) -> None:
        """Raise where targets are neither labels 0..classes-1 nor rows that sum to 1."""
        _check_classes(type(self).__name__, cuda.as_array(y_true), shape)

    def convert_targets(self, y_true: Array, outputs: Array) -> Array:
        """Return the smoothed targets as rows (N, classes)."""
        xp = cuda.get_array_module(outputs)
        if y_true.ndim == 1:
            targets = xp.zeros(outputs.shape, dtype=outputs.dtype)
            targets[xp.arange(len(y_true)), xp.asarray(y_true)] = 1
        else:
            targets = super().convert_targets(y_true, outputs)
        if self.label_smoothing:
            classes = outputs.shape[1]
            targets = targets * (1 - self.label_smoothing) + self.label_smoothing / classes
        return targets

    def sample_losses(self, y_pred: Array, y_true: Array) -> Array:
        """Return the cross-entropy of each sample."""
        self._log_softmax, self._targets = kernels.log_softmax(y_pred), y_true
        return -(y_true * self._log_softmax).sum(axis=1)

    def sample_gradients(self) -> Array:
        """Return softmax minus targets."""
        return cuda.get_array_module(self._log_softmax).exp(self._log_softmax) - self._targets


class Hinge(Loss):
    """The multi-class SVM loss: every class that comes too near the true one costs.

    For scores s and the true class y, summed over the other classes j, averaged over the batch:

        sum(max(0, s[j] - s[y] + margin))

    Targets are integer labels (N,) or one-hot rows (N, classes).

    Parameters
    ----------
    margin
        By how much the true class must lead to cost nothing; positive.

    References
    ----------
    Weston and Watkins, "Support Vector Machines for Multi-Class Pattern Recognition", ESANN
    1999; in this form in Stanford's course CS231n, https://cs231n.github.io/linear-classify/

    Examples
    --------
    >>> import numpy as np
    >>> loss = Hinge()
    >>> loss.forward(np.array([[3.0, 5.0, -2.0]]), np.array([0]))
    3.0
    >>> loss.backward()
    array([[-1.,  1.,  0.]])
    """

    def __init__(self, margin: float = 1.0) -> None:
        self.margin = checks.positive(type(self).__name__, "margin", margin)

    def check_targets(self, y_true: Any, shape: tuple[int, ...]) -> None:
        """Raise where targets are neither labels 0..classes-1 nor one-hot rows."""
        y_true = cuda.as_array(y_true)
        _check_classes(type(self).__name__, y_true, shape)
        if y_true.ndim == 2 and not bool(((y_true == 0) | (y_true == 1)).all()):
            raise ValueError(
                f"[{type(self).__name__}] 'y_true' must be labels or one-hot rows: a mixture of "
                "classes has no single true one, use 'categorical_crossentropy'."
            )

    def convert_targets(self, y_true: Array, outputs: Array) -> Array:
        """Return integer labels (N,)."""
        labels = y_true if y_true.ndim == 1 else y_true.argmax(axis=1)
        return cuda.get_array_module(outputs).asarray(labels)

    def sample_losses(self, y_pred: Array, y_true: Array) -> Array:
        """Return the margins that each sample falls short by, summed over the classes."""
        xp = cuda.get_array_module(y_pred)
        rows = xp.arange(len(y_true))
        true_scores = y_pred[rows, y_true][:, None]  # (N,) -> (N, 1)
        margins = xp.maximum(y_pred - true_scores + self.margin, 0)
        margins[rows, y_true] = 0
        self._margins, self._true = margins, (rows, y_true)
        return margins.sum(axis=1)

    def sample_gradients(self) -> Array:
        """Return 1 for each class that costs, and minus their number for the true one."""
        gradient = (self._margins > 0).astype(self._margins.dtype)
        gradient[self._true] = -gradient.sum(axis=1)
        return gradient


class KLDivergence(Loss):
    """How much a predicted distribution p differs from the target t; the mean over the batch.

        sum(t * log(t / p))    with the gradient    -t / p

    As in Keras, predictions are probabilities (N, classes), not logits: end the model in
    Softmax. Targets are rows of that shape that sum to 1. A p of 0 counts as the smallest
    normal number of its dtype.

    References
    ----------
    Kullback and Leibler, "On Information and Sufficiency", Annals of Mathematical Statistics
    22, 1951

    Examples
    --------
    >>> import numpy as np
    >>> loss = KLDivergence()
    >>> round(loss.forward(np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])), 6)  # log(2)
    0.693147
    >>> loss.backward()
    array([[-2., -0.]])
    """

    def check_targets(self, y_true: Any, shape: tuple[int, ...]) -> None:
        """Raise where targets are not rows of the predictions' shape that sum to 1."""
        owner, y_true = type(self).__name__, cuda.as_array(y_true)
        if len(shape) != 2:
            raise ValueError(f"[{owner}] expects 2-D predictions (N, classes), got {shape}.")
        _check_shape(owner, y_true, shape)
        _check_distributions(owner, y_true)

    def sample_losses(self, y_pred: Array, y_true: Array) -> Array:
        """Return the divergence of each sample."""
        xp = cuda.get_array_module(y_pred)
        lowest = float(y_pred.min())
        if -math.inf < lowest < 0:  # infinite and NaN predictions are for the model to report
            rule = "must hold probabilities (end the model in Softmax)"
            raise checks.error(type(self).__name__, "y_pred", rule, lowest)
        tiny = float(xp.finfo(y_pred.dtype).tiny)
        self._targets, self._probabilities = y_true, xp.maximum(y_pred, tiny)
        # t * log(t) is 0 for t = 0: the logarithm of the floor is finite, and 0 times it is 0.
        log_ratio = xp.log(xp.maximum(y_true, tiny)) - xp.log(self._probabilities)
        return (y_true * log_ratio).sum(axis=1)

    def sample_gradients(self) -> Array:
        """Return minus the targets over the probabilities."""
        return -self._targets / self._probabilities


# ------------------------------------------------------------------------------- names

#: The losses by the names that `Model.compile` takes.
NAME2LOSS: Registry[type[Loss]] = Registry(
    "nn.losses",
    "loss",
    {
        "categorical_crossentropy": CategoricalCrossentropy,
        "binary_crossentropy": BinaryCrossentropy,
        "mse": MeanSquaredError,
        "mae": MeanAbsoluteError,
        "huber": Huber,
        "hinge": Hinge,
        "kl_divergence": KLDivergence,
    },
    aliases=compat.LOSSES,
)


def get(loss: Any) -> Any:
    """Return the loss for a name, or the object that was given.

    Parameters
    ----------
    loss
        A name of `NAME2LOSS` in any case, or an object with `forward(y_pred, y_true)` and
        `backward()`.

    Raises
    ------
    ValueError
        For an unknown name; the error names the nearest.
    TypeError
        Where the object lacks `forward` or `backward`.

    Examples
    --------
    >>> type(get("cce")).__name__
    'CategoricalCrossentropy'
    """
    if isinstance(loss, str):
        return NAME2LOSS.find(loss)()
    methods = [getattr(loss, name, None) for name in ("forward", "backward")]
    if isinstance(loss, type) or not all(callable(method) for method in methods):
        rule = "must be a name or an object with forward(y_pred, y_true) and backward()"
        raise TypeError(f"[nn.losses] 'loss' {rule}, got {loss!r}.")
    return loss


def from_config(config: dict[str, Any]) -> Loss:
    """Return a new loss as `Loss.to_config` described it.

    A class of your own is found once it stands in `NAME2LOSS`, under any name.

    Examples
    --------
    >>> from_config(Huber(delta=2.0).to_config()).delta
    2.0
    """
    return NAME2LOSS.find_class(config)(**config["config"])
