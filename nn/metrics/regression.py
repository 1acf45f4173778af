"""Metrics of numbers: squared and absolute errors, and the explained variance."""

import math
from typing import Any

import numpy as np

from .. import cuda
from .base import Array, Metric, result_of
from .decisions import shape_error


class DistanceMetric(Metric):
    """Base class of distance metrics, for targets and predictions of one shape."""

    def differences(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        """Return targets and predictions minus targets in float64."""
        if y_true.shape != y_pred.shape:
            raise shape_error(type(self).__name__, y_true, y_pred)
        xp = cuda.get_array_module(y_pred)
        y_true = xp.asarray(y_true, dtype=np.float64)
        return y_true, y_pred - y_true


class MeanSquaredError(DistanceMetric):
    """The mean squared difference over all elements; see `mse`."""

    name = "mse"
    sums = ("samples", "total", "elements")

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self.total = 0.0
        self.elements = 0

    def add(self, y_true: Array, y_pred: Array) -> None:
        """Add the errors of a batch."""
        _, difference = self.differences(y_true, y_pred)
        self.total += float(self.error(difference).sum())
        self.elements += difference.size

    def error(self, difference: Array) -> Array:
        """Return the error of each element."""
        return difference * difference

    def compute(self) -> float:
        """Return the mean error."""
        return self.total / self.elements


class MeanAbsoluteError(MeanSquaredError):
    """The mean absolute difference over all elements; see `mae`."""

    name = "mae"

    def error(self, difference: Array) -> Array:
        """Return the error of each element."""
        return abs(difference)


class R2(DistanceMetric):
    """The share of the targets' variance that is explained; see `r2`."""

    name = "r2"

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        # One number for each output, once the first batch shows how many there are.
        self.mean: Any = 0.0
        self.residual: Any = 0.0  # sum of (y_true - y_pred)**2
        self.spread: Any = 0.0  # sum of (y_true - mean)**2

    def add(self, y_true: Array, y_pred: Array) -> None:
        """Merge a batch's mean and spread with those so far."""
        samples = len(y_true)
        y_true, difference = self.differences(y_true, y_pred)
        if samples == 0:
            return
        n = math.prod(y_true.shape[: -1 if y_true.ndim == 3 else 1])  # steps count as samples
        y_true = cuda.to_cpu(y_true).reshape(n, -1)  # (n, outputs)
        difference = cuda.to_cpu(difference).reshape(n, -1)
        mean = y_true.mean(axis=0)
        shift = mean - self.mean
        # The spread of two groups: each about its own mean, and between the means (Chan, Golub
        # and LeVeque 1979). The plain sum of squares would lose the digits of a large mean.
        between = shift**2 * (n * self.samples / (n + self.samples))
        self.spread = self.spread + ((y_true - mean) ** 2).sum(axis=0) + between
        self.mean = self.mean + shift * (n / (n + self.samples))
        self.residual = self.residual + (difference**2).sum(axis=0)
        self.samples += n - samples  # `update` adds the others

    def compute(self) -> float:
        """Return the mean over the outputs, NaN for fewer than two samples."""
        if self.samples < 2:
            return float("nan")
        # What rounding leaves of the spread of equal numbers is none.
        varies = self.spread > self.samples * (1e-14 * self.mean) ** 2
        share = 1 - self.residual / np.where(varies, self.spread, 1)
        # A constant target has nothing to explain: 1 for perfect predictions, else 0.
        return float(np.where(varies, share, self.residual == 0).mean())


# ------------------------------------------------------------------- the functions


def mse(y_true: Any, y_pred: Any) -> float:
    """Return the mean squared difference over all elements of two arrays of one shape.

    Examples
    --------
    >>> mse([1.0, 2.0], [1.0, 4.0])
    2.0
    """
    return result_of(MeanSquaredError(), y_true, y_pred)


def mae(y_true: Any, y_pred: Any) -> float:
    """Return the mean absolute difference over all elements of two arrays of one shape.

    Examples
    --------
    >>> mae([1.0, 2.0], [1.0, 4.0])
    1.0
    """
    return result_of(MeanAbsoluteError(), y_true, y_pred)


def r2(y_true: Any, y_pred: Any) -> float:
    """Return the coefficient of determination, the share of the variance that is explained.

    `1 - sum((y_true - y_pred)**2) / sum((y_true - mean(y_true))**2)` for each output, then the
    mean over the outputs; 1 is perfect, 0 no better than the mean, and it may be negative. A
    constant target gives 1 for perfect predictions, else 0; fewer than two samples give NaN.

    Parameters
    ----------
    y_true, y_pred
        Numbers (n,) or (n, outputs), of one shape; of sequences (N, T, outputs), whose steps count
        as samples.

    Examples
    --------
    >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    0.5
    """
    return result_of(R2(), y_true, y_pred)
