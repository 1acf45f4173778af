"""The curves that schedules of the learning rate follow between two values."""

import math
from collections.abc import Sequence


def half_cosine(start: float, end: float, progress: float) -> float:
    """Return the value at `progress` (0 to 1) of the smooth curve from `start` to `end`.

    Examples
    --------
    >>> half_cosine(1.0, 0.0, 0.0), round(half_cosine(1.0, 0.0, 0.5), 6)
    (1.0, 0.5)
    """
    share = (1 + math.cos(math.pi * progress)) / 2  # exactly 1 at the start, 0 at the end
    return share * start + (1 - share) * end


def piecewise_linear(steps: Sequence[int], rates: Sequence[float], step: int) -> float:
    """Return the value on the straight lines between points, the last one beyond them.

    Examples
    --------
    >>> piecewise_linear((0, 10, 20), (0.0, 1.0, 0.5), 15)
    0.75
    """
    for k in range(1, len(steps)):
        if step < steps[k]:
            share = (step - steps[k - 1]) / (steps[k] - steps[k - 1])
            return rates[k - 1] + share * (rates[k] - rates[k - 1])
    return rates[-1]
