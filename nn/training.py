"""What `Model.fit` does around `train_step`: data in, callbacks chosen, epochs run.

These functions take the model as their first argument and use its public attributes and the
one method `_step`, which trains on a batch.
"""

import contextlib
import math
from collections.abc import Callable, Generator, Sequence
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
    if isinstance(data, Dataset):
        if y is not None:
            raise ValueError(f"[Model] 'y' must not be given beside a Dataset as '{argument}'.")
        dataset = data
    else:
        x = validation.check_inputs(data, model.input_shape)
        dataset = Dataset(cuda.to_cpu(x), None if y is None else cuda.to_cpu(y))
    validation.check_inputs(dataset.x, model.input_shape)
    if dataset.y is None:
        raise ValueError(f"[Model] '{argument}' must have targets: (x, y) or a Dataset with both.")
    if not model.built:
        model.build((None, *dataset.x.shape[1:]))
    if hasattr(model.loss, "check_targets"):
        model.loss.check_targets(dataset.y, (len(dataset), *(model.output_shape or ())[1:]))
    return dataset


def training_data(
    model: "Model", data: Any, y: Any, class_weight: Any, sample_weight: Any
) -> Dataset:
    """Return checked data, its sample weights multiplied by those of the two arguments."""
    dataset = as_dataset(model, data, y, "data")
    weights = [dataset.sample_weight]
    if sample_weight is not None:
        weights.append(validation.check_weights(sample_weight, "sample_weight", len(dataset)))
    if class_weight is not None:
        weights.append(validation.weights_of_classes(class_weight, np.asarray(dataset.y)))
    weights = [weight for weight in weights if weight is not None]
    if not weights or len(weights) == (dataset.sample_weight is not None):
        return dataset
    return Dataset(
        dataset.x, dataset.y, sample_weight=math.prod(weights), class_names=dataset.class_names
    )


def validation_data(
    model: "Model", train: Dataset, val_data: Any, validation_data: Any, split: float
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
        return train.split(split, rng=np.random.default_rng(model.split_seed))
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


def metrics_for(model: "Model", y: Array) -> list[metrics.Metric]:
    """Return the metrics that make sense for targets y: no accuracy where they are no classes."""
    if isinstance(model.loss, _CLASSIFICATION) or y.dtype.kind in "iub" or _is_one_hot(y):
        return model.metrics
    return [metric for metric in model.metrics if metric.name != "acc"]


def _is_one_hot(y: Array) -> bool:
    """Tell whether targets are rows of zeros with a single one."""
    if y.ndim != 2 or y.shape[1] < 2:
        return False
    return bool(((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all())


# ---------------------------------------------------------------------------- the callbacks


def early_stopping_callback(wanted: bool, patience: int, min_delta: float) -> list[cb.Callback]:
    """Return the callback for `early_stopping`; wrong arguments are errors also without it."""
    callback = cb.EarlyStopping(patience=patience, min_delta=min_delta)
    return [callback] if wanted else []


def schedule_callback(
    model: "Model",
    params: dict[str, Any],
    name: Any,
    patience: int,
    factor: float,
    lr_min: float,
    min_delta: float,
    warmup_epochs: int,
) -> list[cb.Callback]:
    """Return the callback for `lr_schedule`, a name or a function of the step."""
    plateau = cb.ReduceLROnPlateau(None, patience, factor, min_delta, lr_min)
    steps = params["steps"]  # batches an epoch
    total = params["epochs"] * steps
    warmup = checks.non_negative_int("Model", "warmup_epochs", warmup_epochs) * steps
    if name is None:
        return []
    if name == "plateau":
        return [plateau]
    if callable(name):
        return [cb.LearningRateScheduler(name)]
    lr = model.optimizer.lr
    makers: dict[str, Callable[[], schedules.Schedule]] = {
        "step": lambda: schedules.step_decay(lr, patience * steps, factor),
        "exponential": lambda: schedules.step_decay(lr, steps, factor),
        "cosine": lambda: schedules.cosine(lr, total, lr_min, warmup),
        "warm_restarts": lambda: schedules.warm_restarts(lr, patience * steps, lr_min=lr_min),
        "one_cycle": lambda: schedules.one_cycle(lr, total),
    }
    if name not in makers:
        raise checks.unknown("Model", "lr_schedule", name, [*makers, "plateau"])
    return [cb.LearningRateScheduler(makers[name]())]


def user_callbacks(callbacks: Sequence[cb.Callback]) -> list[cb.Callback]:
    """Return the user's callbacks as a list; one may stand without a list."""
    return [callbacks] if isinstance(callbacks, cb.Callback) else list(callbacks)


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
    val: Dataset | None,
    epochs: range,
) -> None:
    """Run the epochs; Ctrl-C ends them with model and history kept."""
    model.stop_training = False
    loop.call("on_train_begin", {})
    try:
        for epoch in epochs:
            loop.call("on_epoch_begin", epoch, {})
            lr = float(getattr(model.optimizer, "lr", math.nan))
            logs = run_epoch(model, loop, batches(), epoch)
            if val is not None:
                measured = model.evaluate(val)
                logs.update({f"val_{name}": value for name, value in measured.items()})
            logs["lr"] = lr
            loop.call("on_epoch_end", epoch, logs)
            if model.stop_training:
                break
    except KeyboardInterrupt:
        print("Interrupted: training ends here; the model and its history are kept.")
    finally:
        loop.call("on_train_end", {})


def run_epoch(
    model: "Model", loop: cb.CallbackList, batches: Generator[tuple, None, None], epoch: int
) -> dict[str, float]:
    """Train on every batch once; return the epoch's loss and metrics."""
    logs: dict[str, float] = {}
    measured: list[metrics.Metric] | None = None
    total, samples = 0.0, 0
    with contextlib.closing(batches):  # their threads end here, whatever happens
        for index, (x, y, *weight) in enumerate(batches):
            if measured is None:
                measured = metrics_for(model, y)
                for metric in measured:
                    metric.reset()
            loop.call("on_train_batch_begin", index, logs)
            try:
                loss, y_pred = model._step(x, y, *weight)
            except FloatingPointError as error:
                where = f"[Model] epoch {epoch + 1}, batch {index}"
                raise FloatingPointError(f"{where}: {error}") from None
            for metric in measured:
                metric.update(y, y_pred)
            total, samples = total + loss * len(x), samples + len(x)
            logs = {"loss": total / samples, **{m.name: m.result() for m in measured}}
            loop.call("on_train_batch_end", index, logs)
    return logs
