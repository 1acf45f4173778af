"""The learning-rate range test: which rate to begin with, found by trying them all.

One short training in which the rate grows from step to step. As long as it is too small the loss
stays where it is; then it falls; once the rate is too large it rises, and the test ends.
"""

import contextlib
import copy
import math
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import checks
from ..data import Dataset
from ..data.stream import Stream
from ..optim import schedules
from . import data as data_adapters

if TYPE_CHECKING:
    from ..model import Model

# The loss has exploded where its running mean is this many times the least one so far.
_EXPLODED = 4.0
_MEMORY = 0.9  # share of the running mean that a step keeps
_SMOOTHED_OVER = 20  # a twentieth of the steps on either side
_SLOPE_OVER = 10  # a tenth of the steps on either side


class LRCurve(NamedTuple):
    """What `find_lr` has measured.

    Attributes
    ----------
    lrs : numpy.ndarray
        The rates tried, (steps,): fewer than were asked for where the loss exploded.
    losses : numpy.ndarray
        The loss of each step's batch, before the step, (steps,).
    smoothed : numpy.ndarray
        `losses`, each the mean of itself and its neighbours.
    suggestion : float or None
        The rate at which the loss falls most steeply, over the rate's logarithm, on the way to its
        least value; None where it never falls.
    """

    lrs: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float | None


def find_lr(
    model: "Model",
    data: Any,
    y: Any = None,
    lr_min: float = 1e-7,
    lr_max: float = 10.0,
    steps: int = 100,
    batch_size: int = 32,
) -> LRCurve:
    """Try learning rates from the smallest to the largest, a batch each, and return the curve.

    The model is left exactly as it was, with its optimizer, its history and its generators: the
    test is made on a copy.

    Parameters
    ----------
    model
        A compiled model.
    data, y
        The training data, as `fit` takes them. They are gone through again and again, in a new
        order each time; a generator is read on.
    lr_min, lr_max
        The rates of the first and the last step. Between them each is the same multiple of the
        one before.
    steps
        How many rates to try, at least 3.
    batch_size
        Samples a step.

    Raises
    ------
    RuntimeError
        For a model that is not compiled.
    ValueError, TypeError
        For arguments or data that do not fit.

    References
    ----------
    Smith, "Cyclical learning rates for training neural networks", arXiv 1506.01186, section 3.3.

    Examples
    --------
    >>> import numpy as np, nn
    >>> x = np.random.default_rng(0).normal(size=(200, 5))
    >>> model = nn.Model([nn.Dense(8, input_shape=(5,)), nn.ReLU(), nn.Dense(2)], seed=0)
    >>> model.compile("cce", "sgd")
    >>> curve = find_lr(model, x, (x[:, 0] > 0).astype(int))
    >>> len(curve.lrs) == len(curve.losses), 0.001 < curve.suggestion < 10
    (True, True)
    """
    if isinstance(model, type) or not hasattr(model, "train_step"):
        raise checks.error("find_lr", "model", "must be a Model", model)
    lr_min = checks.positive("find_lr", "lr_min", lr_min)
    if checks.positive("find_lr", "lr_max", lr_max) <= lr_min:
        raise checks.error("find_lr", "lr_max", f"must be above 'lr_min', {lr_min:g}", lr_max)
    if checks.positive_int("find_lr", "steps", steps) < 3:
        raise checks.error("find_lr", "steps", "must be at least 3", steps)
    if model.loss is None or model.optimizer is None:
        raise RuntimeError("[find_lr] call compile(loss, optimizer) before find_lr().")
    if math.isnan(model.wrapped_optimizer.lr):
        rule = "must have an attribute 'lr'"
        raise checks.error("find_lr", "model.optimizer", rule, model.optimizer)
    model = copy.deepcopy(model)  # all that follows happens to the copy
    train = data_adapters.as_data(model, data, y, "data")
    batch_size = checks.positive_int("find_lr", "batch_size", batch_size)
    rate = schedules.exponential(lr_min, (lr_max / lr_min) ** (1 / (steps - 1)))
    lrs: list[float] = []
    losses: list[float] = []
    batches = _endless(model, train, batch_size)
    with contextlib.closing(batches):
        for step, (x, targets, *weight) in zip(range(steps), batches, strict=False):
            model.wrapped_optimizer.lr = rate(step)
            try:
                logs = model.train_step(x, targets, weight[0] if weight else None, metrics=[])
            except FloatingPointError:  # NaN or infinite: the end of the curve
                break
            lrs.append(rate(step))
            losses.append(logs["loss"])
            if _exploded(losses):
                break
    curve, tried = np.array(losses), np.array(lrs)
    smoothed = _smooth(curve, steps // _SMOOTHED_OVER)
    lowest = int(smoothed.argmin()) if losses else 0
    suggestion = _steepest(tried, curve, lowest, max(steps // _SLOPE_OVER, 1))
    return LRCurve(tried, curve, smoothed, suggestion)


def _endless(
    model: "Model", train: Dataset | Stream, batch_size: int
) -> Generator[tuple, None, None]:
    """Yield batches, epoch after epoch, and of what can be read once as many as there are."""
    order = model.generators[1]  # as `fit` does

    def batches() -> Generator[tuple, None, None]:
        return train.batches(batch_size, rng=order, dtype=model.dtype)

    data_adapters.read_ahead(model, train, batches, None, range(1))
    data_adapters.learn_from_data(model, train, resumes=False)
    while True:
        with contextlib.closing(batches()) as epoch:
            yield from epoch
        if isinstance(train, Stream) and train.is_one_shot:
            return


def _exploded(losses: Sequence[float]) -> bool:
    """Tell whether the running mean of the losses is far above the least that it was.

    Examples
    --------
    >>> _exploded([2.0, 1.0, 0.5]), _exploded([2.0, 1.0, 0.5, 99.0])
    (False, True)
    """
    total, least, mean = 0.0, math.inf, math.inf
    for count, loss in enumerate(losses, 1):
        total = _MEMORY * total + (1 - _MEMORY) * loss
        mean = total / (1 - _MEMORY**count)  # at first the running mean holds less than its share
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
    >>> lrs, losses = np.array([0.01, 0.1, 1.0, 10.0, 100.0]), np.array([2.0, 1.9, 0.9, 0.8, 3.0])
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
