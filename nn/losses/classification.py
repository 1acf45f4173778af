"""The losses of classes and of distributions."""

import math
from typing import Any

from .. import checks, cuda, kernels
from .base import Array, Loss
from .targets import (
    check_classes,
    check_classes_axis,
    check_distributions,
    check_range,
    check_shape,
    labels_shape,
)


class BinaryCrossentropy(Loss):
    """The cross-entropy of independent yes-or-no outputs, from logits; the mean over all.

    For a logit z and a target t in [0, 1], with p = sigmoid(z):

        -t * log(p) - (1 - t) * log(1 - p)  =  max(z, 0) - z * t + log(1 + exp(-|z|))

    The right side neither overflows nor computes the logarithm of a rounded 0. The gradient is
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
        """Raise if targets have a shape that does not fit, or are outside [0, 1]."""
        y_true = cuda.as_array(y_true)
        if y_true.ndim == 1 and shape == (len(y_true), 1):
            y_true = y_true[:, None]  # (N,) -> (N, 1)
        check_shape(type(self).__name__, y_true, shape)
        check_range(type(self).__name__, y_true, 0, 1)

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
        size, wrong = abs(y_pred), xp.where(y_pred > 0, 1 - y_true, y_true)
        # A target of exactly 0 or 1 adds nothing on its own side, also for an infinite logit.
        return xp.where(wrong > 0, size * wrong, 0) + xp.log1p(xp.exp(-size))

    def sample_gradients(self) -> Array:
        """Return probabilities minus targets."""
        return kernels.sigmoid(self._logits) - self._targets


class CategoricalCrossentropy(Loss):
    """The cross-entropy of one class out of several, from logits; the mean over all labels.

    For logits z and targets q, rows that sum to 1:

        -sum(q * log(softmax(z)))    with the gradient    softmax(z) - q

    Targets are integer labels (N,), or rows (N, classes): one-hot, or any distribution, such as
    those of mixup. Sequences (N, T, classes) have a label for each step, (N, T), and images
    (N, classes, H, W) one for each pixel, (N, H, W), or distributions of the outputs' shape.

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
        """Raise unless targets are labels 0..classes-1, or distributions over the classes."""
        check_classes(type(self).__name__, cuda.as_array(y_true), shape)

    def convert_targets(self, y_true: Array, outputs: Array) -> Array:
        """Return the smoothed targets as rows of classes, one for each label."""
        xp = cuda.get_array_module(outputs)
        if y_true.ndim < outputs.ndim:
            labels = xp.asarray(y_true).reshape(-1)  # (N, ...) -> (N * ...,)
            classes = outputs.shape[kernels.class_axis(outputs.ndim)]
            targets = xp.zeros((labels.size, classes), dtype=outputs.dtype)
            targets[xp.arange(labels.size), labels] = 1
        else:
            targets = kernels.class_rows(super().convert_targets(y_true, outputs))
        if self.label_smoothing:
            classes = targets.shape[1]
            targets = targets * (1 - self.label_smoothing) + self.label_smoothing / classes
        return targets

    def sample_losses(self, y_pred: Array, y_true: Array) -> Array:
        """Return the cross-entropy of each label, given the targets as rows of classes."""
        losses, self._gradients = kernels.softmax_cross_entropy(kernels.class_rows(y_pred), y_true)
        self._shape = y_pred.shape
        axis = kernels.class_axis(y_pred.ndim)
        # (N * ...,) -> (N, ...)
        return losses.reshape(*y_pred.shape[:axis], *y_pred.shape[axis + 1 :])

    def sample_gradients(self) -> Array:
        """Return softmax minus targets."""
        return kernels.from_class_rows(self._gradients, self._shape)


class Hinge(Loss):
    """The multi-class SVM loss: each class whose score is too near that of the true one adds to it.

    For scores s and the true class y, summed over the other classes j, averaged over the batch:

        sum(max(0, s[j] - s[y] + margin))

    Targets are integer labels (N,) or one-hot rows (N, classes); of sequences and images those
    of the steps or pixels, as for `CategoricalCrossentropy`.

    Parameters
    ----------
    margin
        The lead over another class from which on that class adds nothing; positive.

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
        """Raise unless targets are labels 0..classes-1, or one-hot rows."""
        y_true = cuda.as_array(y_true)
        check_classes(type(self).__name__, y_true, shape)
        if y_true.shape == shape and not bool(((y_true == 0) | (y_true == 1)).all()):
            raise ValueError(
                f"[{type(self).__name__}] 'y_true' must be labels or one-hot rows: for "
                "mixtures of classes, use 'categorical_crossentropy'."
            )

    def convert_targets(self, y_true: Array, outputs: Array) -> Array:
        """Return the integer label of each row of classes."""
        labels = y_true if y_true.ndim < outputs.ndim else kernels.class_rows(y_true).argmax(axis=1)
        return cuda.get_array_module(outputs).asarray(labels).reshape(-1)

    def sample_losses(self, y_pred: Array, y_true: Array) -> Array:
        """Return max(0, s[j] - s[y] + margin), summed over the other classes j."""
        xp = cuda.get_array_module(y_pred)
        scores, rows = kernels.class_rows(y_pred), xp.arange(len(y_true))
        true_scores = scores[rows, y_true][:, None]  # (M,) -> (M, 1)
        margins = xp.maximum(scores - true_scores + self.margin, 0)
        margins[rows, y_true] = 0
        self._margins, self._true, self._shape = margins, (rows, y_true), y_pred.shape
        return margins.sum(axis=1).reshape(labels_shape(y_pred.shape))

    def sample_gradients(self) -> Array:
        """Return 1 for each class within the margin, and minus their number for the true one."""
        gradient = (self._margins > 0).astype(self._margins.dtype)
        gradient[self._true] = -gradient.sum(axis=1)
        return kernels.from_class_rows(gradient, self._shape)


class KLDivergence(Loss):
    """The divergence of a predicted distribution p from the target t; the mean over the batch.

        sum(t * log(t / p))    with the gradient    -t / p

    As in Keras, predictions are probabilities (N, classes), not logits: end the model in
    Softmax. Targets are rows of that shape that sum to 1. A p of 0 counts as the smallest
    normal number of its dtype. Sequences (N, T, classes) have a distribution for each step, images
    (N, classes, H, W) one for each pixel.

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
        """Raise unless targets are rows of the predictions' shape that sum to 1."""
        owner, y_true = type(self).__name__, cuda.as_array(y_true)
        check_classes_axis(owner, shape)
        check_shape(owner, y_true, shape)
        check_distributions(owner, y_true)

    def sample_losses(self, y_pred: Array, y_true: Array) -> Array:
        """Return the divergence of each sample."""
        xp = cuda.get_array_module(y_pred)
        lowest = float(y_pred.min())
        if -math.inf < lowest < 0:  # the model reports infinite and NaN predictions
            rule = "must hold probabilities (end the model in Softmax)"
            raise checks.error(type(self).__name__, "y_pred", rule, lowest)
        tiny = float(xp.finfo(y_pred.dtype).tiny)
        self._targets, self._probabilities = y_true, xp.maximum(y_pred, tiny)
        # t * log(t) is 0 for t = 0: the logarithm of the floor is finite, and 0 times it is 0.
        log_ratio = xp.log(xp.maximum(y_true, tiny)) - xp.log(self._probabilities)
        return (y_true * log_ratio).sum(axis=kernels.class_axis(y_pred.ndim))

    def sample_gradients(self) -> Array:
        """Return minus the targets over the probabilities."""
        return -self._targets / self._probabilities
