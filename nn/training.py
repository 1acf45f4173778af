"""What `Model.fit` does around `train_step`: data in, callbacks chosen, epochs run.

These functions take the model as their first argument and use its public attributes only.
"""

import contextlib
import copy
import inspect
import math
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import callbacks as cb
from . import checks, cuda, losses, metrics, schedules, validation
from .data import Dataset

if TYPE_CHECKING:
    from .model import Model

Array = Any  # numpy.ndarray or cupy.ndarray

_CLASSIFICATION = (losses.CategoricalCrossentropy, losses.BinaryCrossentropy, losses.Hinge)


# --------------------------------------------------------------------------------- the data


def as_dataset(model: "Model", data: Any, y: Any, argument: str) -> Dataset:
    """Return `data` as a Dataset whose inputs and targets fit the model; build the model."""
    if not isinstance(data, Dataset):
        x = validation.check_inputs(data, model.input_shape)
        data = Dataset(cuda.to_cpu(x), None if y is None else cuda.to_cpu(y))
    elif y is not None:
        raise ValueError(f"[Model] 'y' must not be given beside a Dataset as '{argument}'.")
    else:
        validation.check_shape(data.x, model.input_shape)
    validation.check_finite(data.x, "x")
    if data.y is None:
        raise ValueError(f"[Model] '{argument}' must have targets: (x, y) or a Dataset with both.")
    if not model.built:
        model.build((None, *data.x.shape[1:]))
    if hasattr(model.loss, "check_targets"):
        model.loss.check_targets(data.y, (len(data), *(model.output_shape or ())[1:]))
    return data


def with_weights(model: "Model", data: Dataset, weights: np.ndarray | None) -> Dataset:
    """Return the data with the weights of its samples multiplied by these; None changes none."""
    if data.sample_weight is None and weights is None:
        return data
    if "sample_weight" not in inspect.signature(model.loss.forward).parameters:
        raise ValueError(
            f"[Model] weights of samples need a loss whose forward() takes 'sample_weight', which "
            f"{type(model.loss).__name__} does not: let it define sample_losses() in its place."
        )
    if weights is None:
        return data
    if data.sample_weight is not None:
        weights = weights * data.sample_weight
    return Dataset(data.x, data.y, sample_weight=weights, class_names=data.class_names)


def with_sample_weight(model: "Model", data: Dataset, sample_weight: Any) -> Dataset:
    """Return the data with `sample_weight` (n,), the argument of `fit` and `evaluate`."""
    if sample_weight is not None:
        sample_weight = validation.check_weights(sample_weight, "sample_weight", len(data))
    return with_weights(model, data, sample_weight)


def with_class_weight(model: "Model", data: Dataset, class_weight: Any) -> Dataset:
    """Return the data with each sample weighted by its class, `class_weight` of `fit`."""
    if class_weight is None:
        return data
    weights = validation.weights_of_classes(class_weight, np.asarray(data.y))
    return with_weights(model, data, weights)


def split_validation(
    model: "Model", train: Dataset, val_data: Any, validation_data: Any, split: float, seed: int
) -> tuple[Dataset, Dataset | None]:
    """Return training and validation data; both names of the argument mean the same."""
    split = checks.fraction("Model", "validation_split", split)
    given = {
        "val_data": val_data is not None,
        "validation_data": validation_data is not None,
        "validation_split": split > 0,
    }
    names = [name for name, is_given in given.items() if is_given]
    if len(names) > 1:
        raise ValueError(f"[Model] give only one of {', '.join(map(repr, names))}.")
    if not names:
        return train, None
    if split:
        return train.split(split, rng=np.random.default_rng(seed))
    val = val_data if validation_data is None else validation_data
    if isinstance(val, Dataset):
        return train, as_dataset(model, val, None, names[0])
    if not isinstance(val, tuple | list) or len(val) != 2:
        raise checks.error("Model", names[0], "must be a Dataset or a pair (x, y)", type(val))
    return train, as_dataset(model, val[0], val[1], names[0])


def check_num_classes(model: "Model", num_classes: int | None) -> None:
    """Raise where `num_classes` contradicts the last layer."""
    if num_classes is None:
        return
    num_classes = checks.positive_int("Model", "num_classes", num_classes)
    outputs = (model.output_shape or (None,))[-1]
    if outputs != num_classes and (outputs, num_classes) != (1, 2):
        raise checks.error(
            "Model", "num_classes", f"must be the {outputs} outputs of the last layer", num_classes
        )


def fresh_metrics(model: "Model", y: Array) -> list[metrics.Metric]:
    """Return the model's metrics anew, those that make sense for targets y.

    They are copies, so that an evaluation within an epoch does not touch the epoch's figures.
    Accuracy is left out where neither the loss nor the targets speak of classes.
    """
    chosen = copy.deepcopy(model.metrics)
    if not (isinstance(model.loss, _CLASSIFICATION) or _are_classes(y, model.output_shape)):
        chosen = [metric for metric in chosen if metric.name != "acc"]
    several = (model.output_shape or (None, 1))[-1] != 1
    for metric in chosen:
        if metric.threshold is None:
            metric.threshold = model.threshold
        if hasattr(metric, "elementwise"):  # several outputs, each with its own yes or no
            metric.elementwise = several and isinstance(model.loss, losses.BinaryCrossentropy)
        metric.reset()
    return chosen


def measure(measured: list[metrics.Metric], y: Array, y_pred: Array) -> dict[str, float]:
    """Let metrics take in a batch; return their figures so far, by name."""
    for metric in measured:
        metric.update(y, y_pred)
    return {metric.name: metric.result() for metric in measured}


def _are_classes(y: Array, output_shape: tuple[int | None, ...] | None) -> bool:
    """Tell whether targets under any other loss are classes: labels or one-hot rows."""
    outputs = (output_shape or (None, 1))[-1]
    if validation.class_of_rows(y) is not None and outputs != 1:
        return True
    return outputs == 1 and y.dtype.kind in "iub" and bool(((y == 0) | (y == 1)).all())


# ---------------------------------------------------------------------------- the callbacks


def early_stopping_callback(wanted: bool, patience: int, min_delta: float) -> list[cb.Callback]:
    """Return the callback for `early_stopping`; wrong arguments are errors also without it."""
    callback = cb.EarlyStopping(patience=patience, min_delta=min_delta)
    return [callback] if wanted else []


def schedule_callback(
    lr: float,
    params: dict[str, Any],
    name: Any,
    patience: int,
    factor: float,
    lr_min: float,
    min_delta: float,
    warmup_epochs: int,
) -> list[cb.Callback]:
    """Return the callback for `lr_schedule`, a name or a function of the step.

    Parameters
    ----------
    lr
        The optimizer's own rate.
    params
        'epochs' and 'steps' (batches an epoch).
    """
    patience = checks.positive_int("Model", "lr_patience", patience)
    factor = checks.fraction("Model", "lr_factor", factor, include_one=True)
    if factor == 0:
        raise checks.error("Model", "lr_factor", "must be above 0", factor)
    lr_min = checks.non_negative("Model", "lr_min", lr_min)
    warmup_epochs = checks.non_negative_int("Model", "warmup_epochs", warmup_epochs)
    if warmup_epochs and (name != "cosine" or warmup_epochs >= params["epochs"]):
        rule = "goes with lr_schedule='cosine' and is below 'epochs'"
        raise checks.error("Model", "warmup_epochs", rule, warmup_epochs)
    steps, total = params["steps"], params["epochs"] * params["steps"]
    makers: dict[str, Callable[[], schedules.Schedule]] = {
        "step": lambda: schedules.step_decay(lr, patience * steps, factor),
        "exponential": lambda: schedules.step_decay(lr, steps, factor),
        "cosine": lambda: schedules.cosine(lr, total, lr_min, warmup_epochs * steps),
        "warm_restarts": lambda: schedules.warm_restarts(lr, patience * steps, lr_min=lr_min),
        "one_cycle": lambda: schedules.one_cycle(lr, total),
    }
    if name is None:
        return []
    if math.isnan(lr):
        raise ValueError(
            "[Model] 'lr_schedule' needs an optimizer with an attribute 'lr', which this one lacks."
        )
    if name == "plateau":
        return [cb.ReduceLROnPlateau(None, patience, factor, min_delta, lr_min)]
    if callable(name):
        return [cb.LearningRateScheduler(name)]
    if name not in makers:
        raise checks.unknown("Model", "lr_schedule", name, [*makers, "plateau"])
    return [cb.LearningRateScheduler(makers[name]())]


def user_callbacks(callbacks: Any) -> list[cb.Callback]:
    """Return the user's callbacks as a list; one may stand without a list, or None for none."""
    return [callbacks] if isinstance(callbacks, cb.Callback) else list(callbacks or ())


def display_callback(verbose: int) -> list[cb.Callback]:
    """Return the callback that shows the progress; none for `verbose=0`."""
    if verbose not in (0, 1, 2):
        raise checks.error("Model", "verbose", "must be 0, 1 or 2", verbose)
    return [cb.ProgressBar(verbose)] if verbose else []


# ----------------------------------------------------------------------------- the epochs


def run_epochs(
    model: "Model",
    loop: cb.CallbackList,
    batches: Callable[[], Generator[tuple, None, None]],
    train_y: Array,
    val: Dataset | None,
    epochs: range,
) -> None:
    """Run the epochs; Ctrl-C ends them with model and history kept."""
    model.stop_training = False
    loop.call("on_train_begin", {})
    try:
        for epoch in epochs:
            if model.stop_training:
                break
            loop.call("on_epoch_begin", epoch, {})
            lr = float(getattr(model.optimizer, "lr", math.nan))
            logs = run_epoch(model, loop, batches(), fresh_metrics(model, train_y), epoch)
            if val is not None:
                measured = model.evaluate(val)
                logs.update({f"val_{name}": value for name, value in measured.items()})
            logs["lr"] = lr
            model.epoch = epoch + 1
            model.history.on_epoch_end(epoch, logs)  # first, so that a checkpoint holds it
            own = set(logs)
            loop.call("on_epoch_end", epoch, logs)
            model.history.on_epoch_end(epoch, {k: v for k, v in logs.items() if k not in own})
    except KeyboardInterrupt:
        print("Interrupted: training ends here; the model and its history are kept.")
    finally:
        loop.call("on_train_end", {})


def run_epoch(
    model: "Model",
    loop: cb.CallbackList,
    batches: Generator[tuple, None, None],
    measured: list[metrics.Metric],
    epoch: int,
) -> dict[str, float]:
    """Train on every batch once; return the epoch's loss and metrics."""
    logs: dict[str, float] = {}
    total, samples = 0.0, 0
    with contextlib.closing(batches):  # their threads end here, whatever happens
        for index, (x, y, *weight) in enumerate(batches):
            loop.call("on_train_batch_begin", index, logs)
            try:
                logs = model.train_step(x, y, weight[0] if weight else None, measured)
            except FloatingPointError as error:
                where = f"[Model] epoch {epoch + 1}, batch {index}"
                raise FloatingPointError(f"{where}: {error}") from None
            total, samples = total + logs["loss"] * len(x), samples + len(x)
            logs["loss"] = total / samples
            loop.call("on_train_batch_end", index, logs)
    return logs
