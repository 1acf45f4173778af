"""`nn.find_lr`: a learning rate to begin with, by the range test on a copy of a model."""

import contextlib
import copy
import math
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from .. import checks
from ..data.stream import Stream
from ..training.data import DataAdapter
from ..training.lr_finder import LRCurve, range_test
from ..training.sources import Source

if TYPE_CHECKING:
    from ..distributed.following import Follower


def find_lr(
    model: Any,
    data: Any,
    y: Any = None,
    lr_min: float = 1e-7,
    lr_max: float = 10.0,
    steps: int = 100,
    batch_size: int = 32,
) -> LRCurve:
    """Try learning rates from the smallest to the largest, a batch each, and return the curve.

    The model is left exactly as it was, with its optimizer, its history and its generators: the
    test is run on a copy.

    Parameters
    ----------
    model
        A compiled model.
    data, y
        The training data, as `fit` takes them. They are read again and again, in a new order each
        time; a generator is read on.
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
    batch_size = checks.positive_int("find_lr", "batch_size", batch_size)
    if model.loss is None or model.optimizer is None:
        raise RuntimeError("[find_lr] call compile(loss, optimizer) before find_lr().")
    if math.isnan(model.wrapped_optimizer.lr):
        rule = "must have an attribute 'lr'"
        raise checks.error("find_lr", "model.optimizer", rule, model.optimizer)
    model = copy.deepcopy(model)

    def step(rate: float, batch: tuple[Any, ...]) -> float:
        x, targets, *weight = batch
        model.wrapped_optimizer.lr = rate
        return model.train_step(x, targets, weight[0] if weight else None, metrics=[])["loss"]

    with model.together("find_lr()"):
        follower = None
        if model.distributed is not None:
            from ..distributed.following import Follower

            follower = Follower(model.distributed)
            follower.set_model(model)
            follower.draw_alike(model.generators, model.split_seed)
        adapter = DataAdapter(model)
        train = adapter.data(data, y)
        with contextlib.closing(_cycle_batches(train, adapter, follower, batch_size)) as batches:
            return range_test(step, batches, lr_min, lr_max, steps)


def _cycle_batches(
    train: Source, adapter: DataAdapter, follower: "Follower | None", batch_size: int
) -> Generator[tuple[Any, ...], None, None]:
    """Yield batches, epoch after epoch; of a generator as many as there are."""
    model: Any = adapter.model
    settings = {"rng": model.generators[1], "dtype": model.batch_dtype}  # as in `fit`
    if isinstance(train, Stream):
        train.epoch = 0
        train.keep(train.batches(batch_size, **settings))  # builds the model
    adapter.adapt(train)
    if follower is not None:
        follower.copy_state()
    while True:
        with contextlib.closing(train.batches(batch_size, **settings)) as epoch:
            yield from epoch
        if isinstance(train, Stream) and train.is_one_shot:
            return
