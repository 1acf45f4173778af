"""The callbacks that arguments of `fit` ask for, as a schedule; the last batch of an epoch."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import callbacks as cb
from .. import checks
from ..data import Dataset
from ..data.stream import Stream
from ..layers import BatchNorm, Layer
from ..layers.plan import named_layers
from ..optim import schedules

#: The default of fit's `patience`.
PATIENCE = 5


@dataclass
class ScheduleArguments:
    """The arguments of `fit` about the learning rate; wrong ones are errors, also without a name.

    Attributes
    ----------
    name
        `lr_schedule`: a name, a function of the step, a callback, or None.
    patience, factor, lr_min, min_delta, warmup_epochs
        As in `fit`.
    """

    name: Any
    patience: int = 3
    factor: float = 0.5
    lr_min: float = 1e-6
    min_delta: float = 0.0
    warmup_epochs: int = 0

    def __post_init__(self) -> None:
        self.patience = checks.positive_int("Model", "lr_patience", self.patience)
        self.factor = checks.factor("Model", "lr_factor", self.factor)
        self.lr_min = checks.non_negative("Model", "lr_min", self.lr_min)
        self.warmup_epochs = checks.non_negative_int("Model", "warmup_epochs", self.warmup_epochs)

    def callbacks(self, lr: float, params: dict[str, Any], accumulate: int) -> list[cb.Callback]:
        """Return the callback for the schedule, none for None.

        Parameters
        ----------
        lr
            The optimizer's own rate; NaN if it has none.
        params
            'epochs' and 'steps' (batches an epoch).
        accumulate
            Batches that make a step of the optimizer; schedules count these steps.
        """
        name = self.name
        if self.warmup_epochs and (name != "cosine" or self.warmup_epochs >= params["epochs"]):
            rule = "needs lr_schedule='cosine' and must be below 'epochs'"
            raise checks.error("Model", "warmup_epochs", rule, self.warmup_epochs)
        if name is None:
            return []
        if math.isnan(lr):
            raise ValueError(
                "[Model] 'lr_schedule' needs an optimizer with an attribute 'lr', which this one "
                "does not have."
            )
        if name == "plateau":
            return [
                cb.ReduceLROnPlateau(
                    patience=self.patience,
                    factor=self.factor,
                    min_delta=self.min_delta,
                    lr_min=self.lr_min,
                )
            ]
        if isinstance(name, cb.Callback):
            return users_callbacks(name, params)
        schedule = self._function(lr, params["epochs"], params["steps"], accumulate)
        _check_steps(params)
        return [cb.LearningRateScheduler(schedule(), by="step")]

    def warn_of_unused(self, early_stopping: bool, patience: int) -> None:
        """Warn of arguments that differ from their defaults, if nothing at all reads them."""
        unused = [
            ("patience", patience, PATIENCE, early_stopping, "early_stopping=True"),
            ("min_delta", self.min_delta, 0, early_stopping or self.name, "early_stopping=True"),
            ("lr_patience", self.patience, 3, self.name, "lr_schedule"),
            ("lr_factor", self.factor, 0.5, self.name, "lr_schedule"),
            ("lr_min", self.lr_min, 1e-6, self.name, "lr_schedule"),
        ]
        for name, value, default, reader, needed in unused:
            if value != default and not reader:
                checks.warn(f"[Model] '{name}' has no effect without {needed}, got {value!r}.")

    def _function(
        self, lr: float, epochs: int, batches: Any, accumulate: int
    ) -> Callable[[], Callable[[int], float]]:
        """Return a function that makes the schedule, once the steps of an epoch are known."""
        name, steps = self.name, cb.optimizer_steps(batches, accumulate)
        makers: dict[str, Callable[[], Callable[[int], float]]] = {
            "step": lambda: schedules.step_decay(lr, self.patience * steps, self.factor),
            "exponential": lambda: schedules.step_decay(lr, steps, self.factor),
            "cosine": lambda: schedules.cosine(
                lr, epochs * steps, self.lr_min, self.warmup_epochs * steps
            ),
            "warm_restarts": lambda: schedules.warm_restarts(
                lr, self.patience * steps, lr_min=self.lr_min
            ),
            "one_cycle": lambda: schedules.one_cycle(lr, epochs * steps),
            "triangular": lambda: schedules.triangular(lr, epochs * steps),
        }
        if callable(name):
            return lambda: checked_schedule(name)
        if not isinstance(name, str) or name not in makers:
            raise checks.unknown("Model", "lr_schedule", name, [*makers, "plateau"])
        return makers[name]


def checked_schedule(schedule: Callable[[int], Any]) -> Callable[[int], float]:
    """Return a user's function of the step, after checking it; its rates are checked too."""
    if not checks.takes(schedule, 1):
        rule = "must be a name, a function step -> rate or a callback"
        raise checks.error("Model", "lr_schedule", rule, schedule)
    checks.function_of_step("Model", "lr_schedule", schedule)
    return lambda step: checks.rate("Model", "lr_schedule", schedule(step))


def _check_steps(params: dict[str, Any]) -> None:
    """Raise if a schedule counts steps and the number of steps in an epoch is not known."""
    if params["steps"] == math.inf:
        raise ValueError(
            "[Model] 'lr_schedule' needs the number of batches in an epoch, which 'data' does not "
            "have: pass 'steps_per_epoch', or compile(lr=...) with a function of the step."
        )


def early_stopping_callback(wanted: bool, patience: int, min_delta: float) -> list[cb.Callback]:
    """Return the callback for `early_stopping`; wrong arguments are errors also without it."""
    callback = cb.EarlyStopping(patience=patience, min_delta=min_delta)
    return [callback] if checks.boolean("Model", "early_stopping", wanted) else []


def check_rates(callbacks: Iterable[cb.Callback]) -> None:
    """Raise if two callbacks set the learning rate: what one of them sets would have no effect."""
    rules = [c for c in callbacks if isinstance(c, cb.LearningRateScheduler | cb.ReduceLROnPlateau)]
    if len(rules) > 1 and any(isinstance(c, cb.LearningRateScheduler) for c in rules):
        names = " and ".join(type(c).__name__ for c in rules)
        raise ValueError(
            "[Model] 'callbacks' and 'lr_schedule' must not set the learning rate twice, got "
            f"{names}: one would undo what the other does. Join them in one function."
        )


def users_callbacks(callbacks: Any, params: dict[str, Any]) -> list[cb.Callback]:
    """Return `callbacks` as a list: a list, a single callback, or None for none."""
    if isinstance(callbacks, str) or not isinstance(callbacks, Iterable | cb.Callback | None):
        raise checks.error(
            "Model", "callbacks", "must be a list of nn.callbacks.Callback objects", callbacks
        )
    chosen = [callbacks] if isinstance(callbacks, cb.Callback) else list(callbacks or ())
    if any(isinstance(c, cb.LearningRateScheduler) and c.by == "step" for c in chosen):
        _check_steps(params)
    return chosen


def display_callback(verbose: int) -> list[cb.Callback]:
    """Return the callback that shows the progress; none for `verbose=0`."""
    if verbose not in (0, 1, 2):
        raise checks.error("Model", "verbose", "must be 0, 1 or 2", verbose)
    return [cb.ProgressBar(verbose)] if verbose else []


def check_last_batch(train: Dataset | Stream, batch_size: int, layers: Sequence[Layer]) -> None:
    """Raise if a batch of a `Dataset` will have one sample, which a batch norm cannot train on.

    It cannot if it has one value for each channel then. Streams raise at the batch itself.
    """
    if not isinstance(train, Dataset) or (batch_size > 1 and len(train) % batch_size != 1):
        return
    for name, layer in named_layers(layers):
        is_trained = isinstance(layer, BatchNorm) and layer.trainable
        shape = layer.built_shape or ()
        if not is_trained or any(
            size != 1 for size in (shape[1:2] if len(shape) == 3 else shape[2:])
        ):
            continue
        larger = (k for k in range(batch_size + 1, len(train) + 1) if len(train) % k != 1)
        better = next(larger, None)
        advice = "train on more samples" if better is None else f"pass batch_size={better}"
        raise ValueError(
            f"[Model] 'batch_size' must not leave a batch of one sample to {name}, got "
            f"{batch_size} for {len(train)} samples: the variance of one value is 0, and nothing "
            f"can be learned; {advice}."
        )
