"""Schedules of the learning rate: pure functions of the step.

Each function here takes the parameters of a curve and returns the curve itself, `step -> lr`,
with steps counted from 0. Pass one to any optimizer as its `lr`; the optimizer calls it with
the number of steps it has taken. The caller decides what a step is: one batch for an
optimizer and for `Model.fit(lr_schedule=...)`, an epoch with `by_epoch`. A schedule has no state,
so that training which is resumed at step 1000 gets the rate of step 1000.

The rates between two values follow half a cosine wave in `cosine`, `warm_restarts` and
`one_cycle`, and straight lines in `triangular` and `trapezoidal` (see `curves`).
`docs/schedules.md` plots all curves and says when to use which.
"""

import bisect
from collections.abc import Callable, Iterable, Sequence

from .. import checks
from .curves import half_cosine, piecewise_linear

Schedule = Callable[[int], float]

# The one-cycle policy's shape, with the defaults that PyTorch and optax share.
_RISING_SHARE = 0.3  # of all steps
_START_DIVISOR = 25.0  # the cycle starts at max_lr / 25
_FINAL_DIVISOR = 1e4  # and ends at that divided by 10 000


def _lowest_rate(owner: str, lr_min: float, lr: float) -> float:
    """Return `lr_min` as a float between 0 and `lr`."""
    if checks.non_negative(owner, "lr_min", lr_min) > lr:
        raise checks.error(owner, "lr_min", f"must not be above the learning rate {lr}", lr_min)
    return float(lr_min)


def step_decay(lr: float, every: int, factor: float = 0.1) -> Schedule:
    """Multiply the rate by `factor` after every `every` steps: a staircase.

    Parameters
    ----------
    lr
        The rate of the first `every` steps.
    every
        The number of steps at each rate.
    factor
        The factor of the rate at each step down, in (0, 1].

    Returns
    -------
    function
        `step -> lr * factor ** (step // every)`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Szegedy et al., "Going Deeper with Convolutions", section 6, https://arxiv.org/abs/1409.4842

    Examples
    --------
    >>> lr = step_decay(0.8, every=10, factor=0.5)
    >>> lr(0), lr(9), lr(10), lr(25)
    (0.8, 0.8, 0.4, 0.2)
    """
    lr = checks.positive("step_decay", "lr", lr)
    every = checks.positive_int("step_decay", "every", every)
    factor = checks.factor("step_decay", "factor", factor)
    return lambda step: lr * factor ** (step // every)


def multi_step(lr: float, milestones: Sequence[int], factor: float = 0.1) -> Schedule:
    """Multiply the rate by `factor` at each of the given steps.

    Parameters
    ----------
    lr
        The rate before the first milestone.
    milestones
        The steps that lower the rate, ascending. A milestone's own step already has the lower
        rate.
    factor
        The factor of the rate at each milestone, in (0, 1].

    Returns
    -------
    function
        `step -> lr * factor ** (milestones reached)`.

    Raises
    ------
    ValueError
        If an argument is out of its range or the milestones do not ascend.

    References
    ----------
    He et al., "Deep Residual Learning for Image Recognition", section 4.2,
    https://arxiv.org/abs/1512.03385

    Examples
    --------
    >>> lr = multi_step(0.8, milestones=[30, 40], factor=0.5)
    >>> lr(29), lr(30), lr(39), lr(40)
    (0.8, 0.4, 0.4, 0.2)
    """
    lr = checks.positive("multi_step", "lr", lr)
    factor = checks.factor("multi_step", "factor", factor)
    if not isinstance(milestones, Iterable):
        raise checks.error("multi_step", "milestones", "must be a list of steps", milestones)
    steps = [checks.non_negative_int("multi_step", "milestones", step) for step in milestones]
    if steps != sorted(set(steps)):
        raise checks.error(
            "multi_step", "milestones", "must be strictly increasing", list(milestones)
        )
    return lambda step: lr * factor ** bisect.bisect_right(steps, step)


def exponential(lr: float, rate: float) -> Schedule:
    """Multiply the rate by `rate` at every step.

    Parameters
    ----------
    lr
        The rate of step 0.
    rate
        The ratio of two neighbouring steps, positive: below 1 the rate falls, above 1 it rises,
        as in a search for the highest rate that still learns.

    Returns
    -------
    function
        `step -> lr * rate ** step`.

    Raises
    ------
    ValueError
        If an argument is not positive.

    References
    ----------
    Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", section 8,
    https://arxiv.org/abs/1512.00567

    Examples
    --------
    >>> lr = exponential(0.8, rate=0.5)
    >>> lr(0), lr(1), lr(3)
    (0.8, 0.4, 0.1)
    """
    lr = checks.positive("exponential", "lr", lr)
    rate = checks.positive("exponential", "rate", rate)
    return lambda step: lr * rate**step


def cosine(lr: float, total_steps: int, lr_min: float = 0.0, warmup_steps: int = 0) -> Schedule:
    """Rise in a straight line while warming up, then fall along half a cosine wave.

    The warm-up's rates are `lr * (step + 1) / (warmup_steps + 1)`: the first step learns already,
    and step `warmup_steps` is the first at the full rate. From there the rate falls to `lr_min` at
    `total_steps` and stays.

    Parameters
    ----------
    lr
        The highest rate.
    total_steps
        The length of warm-up and fall together.
    lr_min
        The rate at the end, from 0 to `lr`.
    warmup_steps
        The length of the warm-up, below `total_steps`.

    Returns
    -------
    function
        `step -> lr`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", equation (5),
    https://arxiv.org/abs/1608.03983 ; the warm-up: Goyal et al., https://arxiv.org/abs/1706.02677

    Examples
    --------
    >>> lr = cosine(0.8, total_steps=100)
    >>> [round(lr(step), 6) for step in (0, 50, 100, 200)]
    [0.8, 0.4, 0.0, 0.0]
    >>> lr = cosine(0.8, total_steps=103, lr_min=0.2, warmup_steps=3)
    >>> [round(lr(step), 6) for step in (0, 1, 2, 3, 53, 103)]
    [0.2, 0.4, 0.6, 0.8, 0.5, 0.2]
    """
    lr = checks.positive("cosine", "lr", lr)
    total_steps = checks.positive_int("cosine", "total_steps", total_steps)
    lr_min = _lowest_rate("cosine", lr_min, lr)
    if checks.non_negative_int("cosine", "warmup_steps", warmup_steps) >= total_steps:
        rule = f"must be below 'total_steps', {total_steps}"
        raise checks.error("cosine", "warmup_steps", rule, warmup_steps)

    def schedule(step: int) -> float:
        if step < warmup_steps:
            return lr * (step + 1) / (warmup_steps + 1)
        progress = (step - warmup_steps) / (total_steps - warmup_steps)
        return half_cosine(lr, lr_min, min(progress, 1.0))

    return schedule


def warm_restarts(
    lr: float, first_period: int, multiplier: int = 2, lr_min: float = 0.0
) -> Schedule:
    """Fall along half a cosine wave, jump back to `lr`, and fall again, longer each time (SGDR).

    Parameters
    ----------
    lr
        The rate at the start of every period.
    first_period
        The length of the first fall in steps.
    multiplier
        How many times longer each period is than the one before, an integer of at least 1.
    lr_min
        The rate that each fall approaches, from 0 to `lr`. The step that would reach it is the
        first of the next period.

    Returns
    -------
    function
        `step -> lr`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts",
    https://arxiv.org/abs/1608.03983

    Examples
    --------
    Periods of 10 and 20 steps:

    >>> lr = warm_restarts(0.8, first_period=10)
    >>> [round(lr(step), 6) for step in (0, 5, 10, 20, 30)]
    [0.8, 0.4, 0.8, 0.4, 0.8]
    """
    lr = checks.positive("warm_restarts", "lr", lr)
    first_period = checks.positive_int("warm_restarts", "first_period", first_period)
    multiplier = checks.positive_int("warm_restarts", "multiplier", multiplier)
    lr_min = _lowest_rate("warm_restarts", lr_min, lr)

    def schedule(step: int) -> float:
        period = first_period
        if multiplier == 1:  # equal periods need no search
            step = step % period
        while step >= period:
            step -= period
            period *= multiplier
        return half_cosine(lr, lr_min, step / period)

    return schedule


def one_cycle(max_lr: float, total_steps: int) -> Schedule:
    """Rise to a high rate for three tenths of the steps, then fall to almost nothing.

    From `max_lr / 25` to `max_lr`, then to `max_lr / 250000` at the last step, and stays there;
    both ways along half a cosine wave. The rate of every step is that of PyTorch's `OneCycleLR`
    with its defaults. The momentum is left as it is.

    Parameters
    ----------
    max_lr
        The highest rate, reached at step `0.3 * total_steps - 1`, which may lie between two steps.
    total_steps
        The length of the whole cycle: step `total_steps - 1` has the lowest rate.

    Returns
    -------
    function
        `step -> lr`.

    Raises
    ------
    ValueError
        If an argument is not positive.

    References
    ----------
    Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large
    Learning Rates", https://arxiv.org/abs/1708.07120

    Examples
    --------
    >>> lr = one_cycle(1.0, total_steps=100)
    >>> [round(lr(step), 6) for step in (0, 29, 64, 99)]
    [0.04, 1.0, 0.500002, 4e-06]
    """
    max_lr = checks.positive("one_cycle", "max_lr", max_lr)
    total_steps = checks.positive_int("one_cycle", "total_steps", total_steps)
    start = max_lr / _START_DIVISOR
    end = start / _FINAL_DIVISOR
    peak = _RISING_SHARE * total_steps - 1  # below 0 for three steps or fewer

    def schedule(step: int) -> float:
        if step <= peak:
            return half_cosine(start, max_lr, step / peak)
        progress = (step - peak) / (total_steps - 1 - peak)
        return half_cosine(max_lr, end, min(progress, 1.0))

    return schedule


def triangular(
    lr: float, total_steps: int, start: float = 0.2, end: float = 0.07, peak: float = 0.23
) -> Schedule:
    """Rise in a straight line to the highest rate, then fall in a straight line: a triangle.

    From `start * lr` to `lr`, then to `end * lr` at `total_steps`, where it stays.

    Parameters
    ----------
    lr
        The highest rate.
    total_steps
        The length of both lines together.
    start, end
        The first and the last rate as shares of `lr`, in [0, 1].
    peak
        The share of the steps before the highest rate, in [0, 1), rounded down to a whole step.

    Returns
    -------
    function
        `step -> lr`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017,
    https://arxiv.org/abs/1506.01186 , one cycle; the defaults: Jordan, "94% on CIFAR-10 in 3.29
    seconds on a single GPU", https://arxiv.org/abs/2404.00498

    Examples
    --------
    >>> lr = triangular(1.0, total_steps=100)
    >>> [round(lr(step), 6) for step in (0, 23, 100, 200)]
    [0.2, 1.0, 0.07, 0.07]
    """
    lr = checks.positive("triangular", "lr", lr)
    total_steps = checks.positive_int("triangular", "total_steps", total_steps)
    start = checks.fraction("triangular", "start", start, include_one=True)
    end = checks.fraction("triangular", "end", end, include_one=True)
    rising = int(checks.fraction("triangular", "peak", peak) * total_steps)
    points = (0, rising, total_steps), (start * lr, lr, end * lr)
    return lambda step: piecewise_linear(*points, step)


def trapezoidal(lr: float, total_steps: int, warmup_steps: int, decay_steps: int) -> Schedule:
    """Rise in a straight line, stay at the highest rate, then fall to 0 in a straight line.

    Also called warmup-stable-decay. The warm-up is that of `cosine`, `lr * (step + 1) /
    (warmup_steps + 1)`. A training can be prolonged from any step of the constant part.

    Parameters
    ----------
    lr
        The highest rate.
    total_steps
        The length of all three parts: at `total_steps` the rate is 0, and stays.
    warmup_steps, decay_steps
        The lengths of the first and of the last part, together at most `total_steps`.

    Returns
    -------
    function
        `step -> lr`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Xing, Arpit, Tsirigotis and Bengio, "A Walk with SGD", https://arxiv.org/abs/1802.08770 ;
    Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations",
    section 3, https://arxiv.org/abs/2405.18392

    Examples
    --------
    >>> lr = trapezoidal(0.8, total_steps=100, warmup_steps=3, decay_steps=20)
    >>> [round(lr(step), 6) for step in (0, 3, 80, 90, 100)]
    [0.2, 0.8, 0.8, 0.4, 0.0]
    """
    lr = checks.positive("trapezoidal", "lr", lr)
    total_steps = checks.positive_int("trapezoidal", "total_steps", total_steps)
    warmup = checks.non_negative_int("trapezoidal", "warmup_steps", warmup_steps)
    decay = checks.non_negative_int("trapezoidal", "decay_steps", decay_steps)
    if warmup + decay > total_steps:
        rule = f"must be at most {total_steps - warmup}, as 'total_steps' is {total_steps}"
        raise checks.error("trapezoidal", "decay_steps", rule, decay_steps)
    points = (-1, warmup, total_steps - decay, total_steps), (0.0, lr, lr, 0.0)
    return lambda step: piecewise_linear(*points, step)


def by_epoch(schedule: Schedule, steps_per_epoch: int) -> Schedule:
    """Return a schedule of the step whose rate changes with the epoch.

    An optimizer counts batches, so `compile(lr=by_epoch(schedule, 500))` keeps the rate for 500 of
    them, `schedule(0)`, and then changes it to `schedule(1)`.

    Parameters
    ----------
    schedule
        A function epoch -> lr, such as those above.
    steps_per_epoch
        The number of batches in an epoch.

    Returns
    -------
    function
        `step -> schedule(step // steps_per_epoch)`.

    Raises
    ------
    ValueError
        If the schedule is no function or the number is not positive.

    Examples
    --------
    >>> lr = by_epoch(step_decay(0.8, every=2, factor=0.5), steps_per_epoch=100)
    >>> lr(0), lr(199), lr(200), lr(400)
    (0.8, 0.8, 0.4, 0.2)
    """
    if not callable(schedule):
        raise checks.error("by_epoch", "schedule", "must be a function epoch -> lr", schedule)
    steps = checks.positive_int("by_epoch", "steps_per_epoch", steps_per_epoch)
    return lambda step: schedule(step // steps)
