"""The learning-rate range test: a short training in which the rate grows from step to step.

As long as the rate is too small the loss stays the same; then it falls; once the rate is too large
it rises, and the test ends. `nn.find_lr` runs it on a copy of a model.

References
----------
Smith, "Cyclical learning rates for training neural networks", arXiv 1506.01186, section 3.3.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..optim import schedules

# The loss has exploded if its running mean is this many times the lowest one so far.
_EXPLODED = 4.0
_MEMORY = 0.9  # share of the running mean that a step keeps
_SMOOTHED_OVER = 20  # a twentieth of the steps on either side
_SLOPE_OVER = 10  # a tenth of the steps on either side


class LRCurve(NamedTuple):
    """The result of `find_lr`.

    Attributes
    ----------
    lrs : numpy.ndarray
        The rates tried, (steps,): fewer than were asked for if the loss exploded.
    losses : numpy.ndarray
        The loss of each step's batch, before the step, (steps,).
    smoothed : numpy.ndarray
        `losses`, each the mean of itself and its neighbours.
    suggestion : float or None
        The rate at which the loss falls most steeply, over the rate's logarithm, before its
        lowest value; None if it never falls.
    """

    lrs: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float | None


def range_test(
    step: Callable[[float, tuple[Any, ...]], float],
    batches: Iterable[tuple[Any, ...]],
    lr_min: float,
    lr_max: float,
    steps: int,
) -> LRCurve:
    """Train on a batch with each of the rates from `lr_min` to `lr_max`; return the curve.

    Parameters
    ----------
    step
        Function (rate, batch) -> loss, which trains on the batch with that rate. A
        FloatingPointError ends the test.
    batches
        The batches, without an end.
    lr_min, lr_max, steps
        As in `nn.find_lr`.
    """
    rate = schedules.exponential(lr_min, (lr_max / lr_min) ** (1 / (steps - 1)))
    lrs: list[float] = []
    losses: list[float] = []
    for number, batch in zip(range(steps), batches, strict=False):
        try:
            loss = step(rate(number), batch)
        except FloatingPointError:  # NaN or infinite: the end of the curve
            break
        lrs.append(rate(number))
        losses.append(loss)
        if _exploded(losses):
            break
    curve, tried = np.array(losses), np.array(lrs)
    smoothed = _smooth(curve, steps // _SMOOTHED_OVER)
    lowest = int(smoothed.argmin()) if losses else 0
    suggestion = _steepest(tried, curve, lowest, max(steps // _SLOPE_OVER, 1))
    return LRCurve(tried, curve, smoothed, suggestion)


def _exploded(losses: Sequence[float]) -> bool:
    """Return whether the running mean of the losses is far above its lowest value.

    Examples
    --------
    >>> _exploded([2.0, 1.0, 0.5]), _exploded([2.0, 1.0, 0.5, 99.0])
    (False, True)
    """
    total, least, mean = 0.0, math.inf, math.inf
    for count, loss in enumerate(losses, 1):
        total = _MEMORY * total + (1 - _MEMORY) * loss
        mean = total / (1 - _MEMORY**count)  # corrects the start from 0
        least = min(least, mean)
    return mean > least + (_EXPLODED - 1) * abs(least)  # a loss may be negative


def _smooth(losses: np.ndarray, radius: int) -> np.ndarray:
    """Return the mean of each value and of up to `radius` neighbours on either side.

    A running mean would lag behind, and name a rate that is too large.
    """
    windows = (losses[max(k - radius, 0) : k + radius + 1] for k in range(len(losses)))
    return np.array([window.mean() for window in windows])


def _steepest(lrs: np.ndarray, losses: np.ndarray, lowest: int, radius: int) -> float | None:
    """Return the rate around which a line through the losses falls most steeply.

    The lines are those of least squares over the rates' logarithms, each through a loss and
    `radius` neighbours on either side, as far as the step `lowest`: batches differ, and two
    neighbours alone say little.

    Examples
    --------
    >>> lrs, losses = np.array([0.01, 0.1, 1.0, 10.0, 100.0]), np.array([2.0, 1.9, 0.9, 0.7, 3.0])
    >>> _steepest(lrs, losses, lowest=3, radius=1)
    1.0
    """
    width = min(2 * radius, lowest) + 1
    starts = range(lowest + 2 - width)
    if width < 2:
        return None
    logs = np.log(lrs)
    slopes = [np.polyfit(logs[k : k + width], losses[k : k + width], deg=1)[0] for k in starts]
    steepest = int(np.argmin(slopes))
    return float(lrs[steepest + width // 2]) if slopes[steepest] < 0 else None
