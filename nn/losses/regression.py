"""The losses of numbers: targets have the shape of the predictions."""

from typing import Any

from .. import checks, cuda
from .base import Array, Loss
from .targets import check_shape


class RegressionLoss(Loss):
    """Base of the losses of numbers."""

    def check_targets(self, y_true: Any, shape: tuple[int, ...]) -> None:
        """Raise if targets have another shape than the predictions, or are not finite."""
        check_shape(type(self).__name__, cuda.as_array(y_true), shape)


class MeanSquaredError(RegressionLoss):
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

    def sample_losses(self, y_pred: Array, y_true: Array) -> Array:
        """Return the squared differences."""
        self._difference = y_pred - y_true
        return self._difference * self._difference

    def sample_gradients(self) -> Array:
        """Return twice the differences."""
        return 2 * self._difference


class MeanAbsoluteError(RegressionLoss):
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

    def sample_losses(self, y_pred: Array, y_true: Array) -> Array:
        """Return the absolute differences."""
        self._difference = y_pred - y_true
        return abs(self._difference)

    def sample_gradients(self) -> Array:
        """Return the signs of the differences."""
        return cuda.get_array_module(self._difference).sign(self._difference)


class Huber(RegressionLoss):
    """Squared for small differences, linear for large ones; the mean over all elements.

        d**2 / 2                       if |d| <= delta, for d = y_pred - y_true
        delta * (|d| - delta / 2)      otherwise

    Parameters
    ----------
    delta
        The largest difference that is squared; positive.

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

    def sample_losses(self, y_pred: Array, y_true: Array) -> Array:
        """Return both branches in one: c * (d - c / 2), where c is d clipped to -delta..delta."""
        difference = y_pred - y_true
        self._clipped = difference.clip(-self.delta, self.delta)
        return self._clipped * (difference - self._clipped / 2)

    def sample_gradients(self) -> Array:
        """Return the clipped differences."""
        return self._clipped
