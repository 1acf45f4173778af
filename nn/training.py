"""What `Model.fit` does around `train_step`: data in, callbacks chosen, epochs run.

Data is a `Dataset`, or a `Stream` where the user's own source makes the batches. Both have the
same `batches`; they differ in that a stream is checked batch by batch, and not before.

These functions take the model as their first argument and use its public attributes only.
"""

import contextlib
import copy
import functools
import inspect
import math
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from . import callbacks as cb
from . import checks, cuda, io, losses, saving, schedules, validation
from .data import Dataset
from .data.stream import Stream, are_inputs, are_pairs, hands_out_batches
from .interrupts import Interrupts
from .layers.containers import flat
from .layers.preprocessing import adapt_first
from .metrics import Metric

if TYPE_CHECKING:
    from .model import Model

Array = Any  # numpy.ndarray or cupy.ndarray

_VAL_BATCH = 256  # samples at a time in the validation after each epoch

_ENOUGH_FOR_CHANCE = 500  # samples: an accuracy 5% above chance is no longer chance

_REGRESSION = (losses.MeanSquaredError, losses.MeanAbsoluteError, losses.Huber)
_CLASSIFICATION = (losses.CategoricalCrossentropy, losses.BinaryCrossentropy, losses.Hinge)


# --------------------------------------------------------------------------------- the data


def as_data(model: "Model", data: Any, y: Any, argument: str) -> Dataset | Stream:
    """Return `data` as a Dataset, or as a Stream that is not read yet where it makes batches."""
    if isinstance(data, Stream):
        return data
    if isinstance(data, type):
        raise TypeError(
            f"[Model] '{argument}' must be data, got the class {data.__name__}: write "
            f"{data.__name__}(...)."
        )
    listed = isinstance(data, list | tuple) and not are_pairs(data)  # samples, if y is given
    if not hands_out_batches(data) or (listed and y is not None):
        return as_dataset(model, data, y, argument)
    if y is not None:
        raise ValueError(
            f"[Model] 'y' must not be given beside batches as '{argument}': each batch is a pair "
            "(x, y) that brings its own."
        )
    return Stream(data, argument, check=functools.partial(check_batch, model))


def as_inputs(model: "Model", x: Any) -> Stream | None:
    """Return what `predict` is given as a Stream where it makes batches, else None."""
    if not hands_out_batches(x):
        return None
    if isinstance(x, list | tuple) and not (
        model.input_shape is not None and are_inputs(x, len(model.input_shape))
    ):
        return None  # a list of samples or of numbers, which is an array

    def check(x: Array, y: None, weights: None) -> None:
        validation.check_shape(x, model.input_shape)
        validation.check_scaled_once(x, model.input_scale)

    return Stream(x, "x", check=check, with_targets=False)


def as_dataset(model: "Model", data: Any, y: Any, argument: str) -> Dataset:
    """Return `data` as a Dataset whose inputs and targets fit the model; build the model."""
    if not isinstance(data, Dataset):
        x = validation.check_inputs(data, model.input_shape)
        data = Dataset(cuda.to_cpu(x), None if y is None else checks.array("Model", "y", y))
    elif y is not None:
        raise ValueError(f"[Model] 'y' must not be given beside a Dataset as '{argument}'.")
    else:
        validation.check_shape(data.x, model.input_shape)
    validation.check_scaled_once(data.x, model.input_scale)
    validation.check_finite(data.x, "x")
    if data.y is None:
        raise ValueError(
            f"[Model] '{argument}' must have targets, got none: give x and y, or a Dataset with "
            "both."
        )
    check_targets(model, data.x, data.y)
    return data


def check_targets(model: "Model", x: Any, y: Array) -> None:
    """Raise where the targets of inputs do not fit the model; build the model for the inputs."""
    if not model.built:
        model.build((None, *x.shape[1:]))
    if hasattr(model.loss, "check_targets"):
        model.loss.check_targets(y, (len(x), *(model.output_shape or ())[1:]))


def check_batch(
    model: "Model",
    x: np.ndarray,
    y: np.ndarray | None,
    weights: np.ndarray | None,
    class_weight: Any = None,
) -> np.ndarray | None:
    """Raise where a batch of a stream does not fit the model; return the weights it is to have."""
    validation.check_shape(x, model.input_shape)
    validation.check_scaled_once(x, model.input_scale)
    validation.check_finite(x, "x")
    if y is None:
        raise ValueError("[Model] a batch must have targets: (x, y) or (x, y, sample_weight).")
    check_targets(model, x, y)
    if class_weight is not None:
        of_class = weights_by_class(model, class_weight, y)
        weights = of_class if weights is None else of_class * weights
    if weights is not None:
        check_loss_takes_weights(model)
    return weights


def weights_by_class(model: "Model", class_weight: Any, y: np.ndarray) -> np.ndarray:
    """Return the weights of a batch, in which some of the classes may be missing."""
    classes = max((model.output_shape or (None, 2))[-1] or 2, 2)  # a single output tells two
    validation.weights_of_classes(class_weight, np.arange(classes))  # refuses keys and values
    if y.size == len(y):  # labels, not one-hot rows
        class_weight = {k: weight for k, weight in class_weight.items() if k <= y.max()}
    return validation.weights_of_classes(class_weight, y)


def check_loss_takes_weights(model: "Model") -> None:
    """Raise where the loss knows no weights of samples."""
    if "sample_weight" not in inspect.signature(model.loss.forward).parameters:
        raise ValueError(
            f"[Model] weights of samples need a loss whose forward() takes 'sample_weight', which "
            f"{type(model.loss).__name__} does not: let it define sample_losses() in its place."
        )


def with_weights(model: "Model", data: Dataset, weights: np.ndarray | None) -> Dataset:
    """Return the data with the weights of its samples multiplied by these; None changes none."""
    if data.sample_weight is None and weights is None:
        return data
    check_loss_takes_weights(model)
    if weights is None:
        return data
    if data.sample_weight is not None:
        weights = weights * data.sample_weight
    return Dataset(data.x, data.y, sample_weight=weights, class_names=data.class_names)


def with_sample_weight(
    model: "Model", data: Dataset | Stream, sample_weight: Any
) -> Dataset | Stream:
    """Return the data with `sample_weight` (n,), the argument of `fit` and `evaluate`."""
    if isinstance(data, Stream):
        if sample_weight is not None:
            raise ValueError(
                f"[Model] 'sample_weight' must not be given beside batches as '{data.argument}', "
                "whose rows nobody knows before: let each batch be (x, y, sample_weight)."
            )
        return data
    if sample_weight is not None:
        sample_weight = validation.check_weights(sample_weight, "sample_weight", len(data))
    return with_weights(model, data, sample_weight)


def with_class_weight(
    model: "Model", data: Dataset | Stream, class_weight: Any
) -> Dataset | Stream:
    """Return the data with each sample weighted by its class, `class_weight` of `fit`."""
    if class_weight is None:
        return data
    if isinstance(data, Stream):
        data.check = functools.partial(check_batch, model, class_weight=class_weight)
        return data
    weights = validation.weights_of_classes(class_weight, np.asarray(data.y))
    return with_weights(model, data, weights)


def split_validation(
    model: "Model",
    train: Dataset | Stream,
    val_data: Any,
    validation_data: Any,
    split: float,
    seed: int,
) -> tuple[Dataset | Stream, Dataset | Stream | None]:
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
        if isinstance(train, Stream):
            raise ValueError(
                f"[Model] 'validation_split' must not be given beside batches as "
                f"'{train.argument}', whose rows nobody knows before: give val_data."
            )
        return train.split(split, rng=np.random.default_rng(seed))
    val = val_data if validation_data is None else validation_data
    if isinstance(val, tuple | list) and len(val) == 2 and not are_pairs(val):
        return train, as_dataset(model, val[0], val[1], names[0])
    if isinstance(val, Dataset) or hands_out_batches(val):
        return train, as_data(model, val, None, names[0])
    rule = "must be a Dataset or a pair (x, y), or make batches"
    raise checks.error("Model", names[0], rule, type(val))


def learn_from_data(model: "Model", train: Any, resumes: bool) -> None:
    """Take from the training data what the model keeps of them, before the first step.

    These are the mean and std of a `Standardize` at its beginning, which come from the file
    where the model resumes, and the names of the classes.
    """
    source = train.source if isinstance(train, Stream) else train
    if not resumes:
        adapt_first(model.layers, source)
    names = getattr(source, "class_names", None)
    if names is not None and len(names) == validation.classes_of(model.output_shape):
        model.class_names = names


def check_num_classes(model: "Model", num_classes: int | None) -> None:
    """Raise where `num_classes` contradicts the last layer, once there is one with a shape."""
    if num_classes is None:
        return
    num_classes = checks.positive_int("Model", "num_classes", num_classes)
    if not model.built:  # the first batch of a stream will build it
        return
    outputs = (model.output_shape or (None,))[-1]
    if outputs != num_classes and (outputs, num_classes) != (1, 2):
        raise checks.error(
            "Model", "num_classes", f"must be the {outputs} outputs of the last layer", num_classes
        )


# --------------------------------------------------------------- what is allowed, but doubtful


def warn_of_doubts(model: "Model", train: Dataset | Stream) -> None:
    """Warn of what is allowed but seldom meant, once a `fit` and before the first step."""
    chain = flat(model.layers)
    last = getattr(chain[-1], "activation", None) or chain[-1]
    kind, loss = type(last).__name__, type(model.loss).__name__
    margin = getattr(model.loss, "margin", 0.0)
    doubts = [validation.doubt_about_activation(kind, loss, margin)]
    source = train.source if isinstance(train, Stream) else train
    if isinstance(source, Dataset) and source.y is not None:
        if isinstance(model.loss, _CLASSIFICATION):
            classes = validation.classes_of(model.output_shape)
            doubts.append(validation.doubt_about_classes(source.y, classes))
        elif isinstance(model.loss, _REGRESSION):
            doubts.append(validation.doubt_about_range(kind, source.y))
        doubts.append(validation.doubt_about_layout(source.x.shape, type(chain[0]).__name__))
        doubts.append(validation.doubt_about_scale(source.x, type(chain[0]).__name__))
    for doubt in filter(None, doubts):
        warnings.warn(doubt, UserWarning, stacklevel=4)  # where fit() was called


class ChanceWatch(cb.Callback):
    """Warns once where the training accuracy is at chance although the loss fell.

    That is after an epoch whose loss is 2% below the one before, where both accuracies are at
    most 5% above the share of the largest class.
    """

    def __init__(self, largest_share: float):
        self.largest_share = largest_share
        self._before: cb.Logs | None = None
        self._said = False

    def on_epoch_end(self, epoch: int, logs: cb.Logs) -> None:
        """Compare the epoch with the one before."""
        before, self._before = self._before, dict(logs)
        if before is None or self._said or "acc" not in logs:
            return
        at_chance = max(logs["acc"], before["acc"]) <= 1.05 * self.largest_share
        if at_chance and logs["loss"] < 0.98 * before["loss"]:
            self._said = True
            warnings.warn(
                f"[Model] 'acc' should rise above chance, {self.largest_share:.3g}, where the loss "
                f"falls, got {logs['acc']:.3g} after epoch {epoch + 1}, with the loss down from "
                f"{before['loss']:.3g} to {logs['loss']:.3g}: do labels and inputs still belong "
                "together (shuffled apart?), are the inputs scaled, is the learning rate too high?",
                UserWarning,
                stacklevel=7,  # where fit() was called
            )


def chance_callback(train: Dataset | Stream) -> list[cb.Callback]:
    """Return the callback that watches for chance, where the labels say what chance is.

    They do where there are enough of them, and no class is much more frequent than the others.
    """
    source = train.source if isinstance(train, Stream) else train
    labels = validation.class_of_rows(source.y) if isinstance(source, Dataset) else None
    if labels is None or len(labels) < _ENOUGH_FOR_CHANCE:
        return []
    _, counts = np.unique(labels, return_counts=True)
    share = float(counts.max() / counts.sum())
    is_balanced = len(counts) > 1 and share <= 1.5 / len(counts)
    return [ChanceWatch(share)] if is_balanced else []


# ------------------------------------------------------------------------ batches of others


def in_steps(
    data: Dataset | Stream, steps: Any, batch_size: int, argument: str = "steps_per_epoch"
) -> Any:
    """Return data of which `steps` batches are read at a time; None stands for all."""
    if isinstance(data, Stream):
        data.steps_argument = argument  # for its messages
    if steps is None:
        return data
    steps = checks.positive_int("Model", argument, steps)
    stream = data if isinstance(data, Stream) else Stream(data)
    stream.y = getattr(data, "y", None)  # of a Dataset, the targets of all samples
    length = None if stream.is_one_shot else stream.length(batch_size)
    if length is not None and steps > length:
        rule = f"must be at most the {length} batches of '{stream.argument}'"
        raise checks.error("Model", argument, rule, steps)
    stream.steps, stream.steps_argument = steps, argument
    return stream


def validation_in_steps(
    model: "Model", val: Dataset | Stream | None, steps: Any
) -> Dataset | Stream | None:
    """Return the validation data of `fit` as `evaluate` reads them, `validation_steps` at a time.

    They are checked here, once, and not again after each epoch.
    """
    if val is None:
        if steps is not None:
            raise checks.error("Model", "validation_steps", "needs 'val_data'", steps)
        return None
    return in_steps(with_sample_weight(model, val, None), steps, _VAL_BATCH, "validation_steps")


def check_epochs(train: Dataset | Stream, val: Dataset | Stream | None, epochs: range) -> None:
    """Raise where a generator would have to be read a second time."""
    for data, way_out in (
        (train, "give 'steps_per_epoch', which cuts it into epochs, or"),
        (val, "give 'validation_steps', which cuts it into pieces, a list of batches, or"),
    ):
        if not isinstance(data, Stream) or not data.is_one_shot or len(epochs) < 2:
            continue
        if data.steps is None:
            raise ValueError(
                f"[Model] '{data.argument}' must be readable {len(epochs)} times, once an epoch, "
                f"got {data.source!r}, which can be read once: {way_out} a function that makes a "
                "new one each epoch."
            )


def sizes(train: Dataset | Stream, batch_size: int) -> dict[str, float]:
    """Return 'samples' and 'steps' of an epoch, each infinite where it is not known."""
    if isinstance(train, Dataset):
        return {"samples": len(train), "steps": -(-len(train) // batch_size)}  # rounded up
    if train.counted is not None:
        return {"samples": train.counted[1], "steps": train.counted[0]}
    steps = train.steps or train.length(batch_size) or math.inf
    return {"samples": steps * train.rows if train.rows else math.inf, "steps": steps}


class StreamSizes(cb.Callback):
    """Keeps `params` right where a stream decides how large the batches are, and how many.

    'samples' is an estimate in the first epoch, from the first batch, or infinite; afterwards it
    is what was counted in the epoch before. 'batch_size' is that of the present batch.
    """

    def __init__(self, stream: Stream):
        self.stream = stream

    def on_epoch_begin(self, epoch: int, logs: cb.Logs) -> None:
        """Say what is known of the epoch."""
        self.params.update(sizes(self.stream, self.params["batch_size"]))

    def on_train_batch_begin(self, batch: int, logs: cb.Logs) -> None:
        """Say how large the batch is."""
        self.params["batch_size"] = self.stream.rows


def size_callback(train: Dataset | Stream) -> list[cb.Callback]:
    """Return the callback that a stream needs, none for a Dataset."""
    return [StreamSizes(train)] if isinstance(train, Stream) else []


def read_ahead(
    model: "Model",
    train: Dataset | Stream,
    batches: Callable[[], Generator[tuple, None, None]],
    val: Dataset | Stream | None,
    epochs: range,
) -> None:
    """Read the first batches of streams, so that what is wrong is an error before the first step.

    They build the model, and are kept: the first epoch begins with them.
    """
    if not epochs:
        return
    if isinstance(train, Stream):
        train.epoch = epochs.start
        train.keep(batches())
    if isinstance(val, Stream):
        val.keep(val.batches(_VAL_BATCH, shuffle=False, dtype=model.dtype))


def close(*data: Dataset | Stream | None) -> None:
    """Close generators that nobody will read on."""
    for source in data:
        if isinstance(source, Stream):
            source.close()


# ------------------------------------------------------------------------------ the metrics


def fresh_metrics(model: "Model", y: Array) -> list[Metric]:
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


def measure(measured: list[Metric], y: Array, y_pred: Array) -> dict[str, float]:
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
    accumulate: int = 1,
) -> list[cb.Callback]:
    """Return the callback for `lr_schedule`: a name, a function of the step, or a callback.

    Parameters
    ----------
    lr
        The optimizer's own rate.
    params
        'epochs' and 'steps' (batches an epoch).
    accumulate
        Batches that make a step of the optimizer; schedules count these steps.
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
    steps = cb.optimizer_steps(params["steps"], accumulate)
    total = params["epochs"] * steps
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
    if isinstance(name, cb.Callback):
        return user_callbacks(name, params)
    if callable(name):
        check_steps(params)
        return [cb.LearningRateScheduler(checked_schedule(name))]
    if not isinstance(name, str) or name not in makers:
        raise checks.unknown("Model", "lr_schedule", name, [*makers, "plateau"])
    check_steps(params)
    return [cb.LearningRateScheduler(makers[name]())]


def checked_schedule(schedule: Callable[[int], Any]) -> Callable[[int], float]:
    """Return a user's function of the step, after checking it; its rates are checked too."""
    if not checks.takes(schedule, 1):
        rule = "must be a name, a function step -> rate or a callback"
        raise checks.error("Model", "lr_schedule", rule, schedule)

    def rate(step: int) -> float:
        value = schedule(step)
        value = value.item() if hasattr(value, "item") else value  # a number of NumPy's
        return checks.non_negative("Model", "lr_schedule", value)

    return rate


def check_steps(params: dict[str, Any]) -> None:
    """Raise where a schedule is to count steps over epochs whose steps are not known."""
    if params["steps"] == math.inf:
        raise ValueError(
            "[Model] 'lr_schedule' needs the number of batches in an epoch, which 'data' does not "
            "tell: give 'steps_per_epoch', or compile(lr=...) a function of the step."
        )


def user_callbacks(callbacks: Any, params: dict[str, Any]) -> list[cb.Callback]:
    """Return the user's callbacks as a list; one may stand without a list, or None for none."""
    if isinstance(callbacks, str) or not isinstance(callbacks, Iterable | cb.Callback | None):
        raise checks.error(
            "Model", "callbacks", "must be a list of nn.callbacks.Callback objects", callbacks
        )
    chosen = [callbacks] if isinstance(callbacks, cb.Callback) else list(callbacks or ())
    if any(isinstance(c, cb.LearningRateScheduler) and c.by == "step" for c in chosen):
        check_steps(params)
    return chosen


def display_callback(verbose: int) -> list[cb.Callback]:
    """Return the callback that shows the progress; none for `verbose=0`."""
    if verbose not in (0, 1, 2):
        raise checks.error("Model", "verbose", "must be 0, 1 or 2", verbose)
    return [cb.ProgressBar(verbose)] if verbose else []


def checkpoints_last(chosen: list[cb.Callback]) -> list[cb.Callback]:
    """Return the callbacks with checkpoints after the others, whose states they write down."""
    return sorted(chosen, key=lambda callback: isinstance(callback, cb.ModelCheckpoint))


# ------------------------------------------------------------------- where training stands


@dataclass
class Progress:
    """Where a `fit` stands: what a file that is saved meanwhile holds beside the model.

    Attributes
    ----------
    callbacks
        The callbacks of this `fit`.
    batch_size
        Its batch size.
    order
        State of the data's generator before the epoch drew its order.
    batches, samples, total
        What was trained of the epoch, and the sum of the samples' losses; 0 between epochs.
    lr
        The rate with which the epoch began.
    metrics
        The epoch's metrics.
    metric_states, callback_states
        What a file holds of those of a training that is resumed, until they have it.
    path
        That file, for messages.
    """

    callbacks: list[cb.Callback]
    batch_size: int
    order: Mapping[str, Any]
    batches: int = 0
    samples: int = 0
    total: float = 0.0
    lr: float = math.nan
    metrics: list[Metric] = field(default_factory=list)
    metric_states: dict[str, dict[str, Any]] = field(default_factory=dict)
    callback_states: list[tuple[cb.Callback, dict[str, Any]]] = field(default_factory=list)
    path: str = ""

    def restore_callbacks(self) -> None:
        """Give the callbacks what a file holds of them."""
        for callback, state in self.callback_states:
            with saving.refusing_nonsense(self.path, f"where {type(callback).__name__} stood"):
                callback.set_state(state)
        self.callback_states = []

    def begin_epoch(self, measured: list[Metric], lr: float) -> None:
        """Take the metrics and the rate of an epoch; one that is resumed keeps its own."""
        self.metrics = measured
        if self.batches == 0:
            self.lr = lr
        for metric in measured:
            if metric.name in self.metric_states:
                with saving.refusing_nonsense(self.path, f"where the metric {metric.name} stood"):
                    metric.set_state(self.metric_states[metric.name])
                    metric.result()  # which shows whether there is sense in it
        self.metric_states = {}

    def add(self, loss: float, samples: int) -> float:
        """Count a batch; return the mean loss of the epoch so far."""
        self.batches, self.samples = self.batches + 1, self.samples + samples
        self.total += loss * samples
        return self.total / self.samples

    def logs(self) -> dict[str, float]:
        """Return the epoch's figures so far; none before its first batch."""
        if self.batches == 0:
            return {}
        figures = {metric.name: metric.result() for metric in self.metrics}
        return {"loss": self.total / self.samples, **figures}

    def end_epoch(self, order: Mapping[str, Any]) -> None:
        """Stand before the next epoch."""
        self.batches, self.samples, self.total, self.order = 0, 0, 0.0, order

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Make None in copies: that of a model, by `copy` or `pickle`, is not in training."""
        return type(None), ()


@contextlib.contextmanager
def in_progress(model: "Model", loop: cb.CallbackList) -> Iterator[Progress]:
    """Give the model its `progress` while a `fit` runs."""
    before = model.progress
    order = model.generators[1].bit_generator.state
    model.progress = Progress(loop.callbacks, loop.params["batch_size"], order)
    try:
        yield model.progress
    finally:
        model.progress = before


# ----------------------------------------------------------------------------- the epochs


def check_averages(model: "Model", wanted: bool) -> None:
    """Raise where averaged weights are wanted and the optimizer keeps none."""
    if wanted and getattr(model.optimizer, "ema_decay", None) is None:
        raise checks.error("Model", "use_averages", "needs compile(ema_decay=...)", wanted)


def run(
    model: "Model",
    loop: cb.CallbackList,
    train: Dataset | Stream,
    val: Dataset | Stream | None,
    batches: Callable[..., Generator[tuple, None, None]],
    epochs: range,
    saved: io.ModelFile | None,
    path: Any,
    num_classes: int | None,
    use_averages: bool,
) -> None:
    """Run the epochs of a `fit` whose arguments are checked: anew, or from where a file stands."""
    with in_progress(model, loop) as progress, contextlib.ExitStack() as sources:
        sources.callback(close, train, val)
        if saved is not None:
            saving.resume(model, progress, saved, path)
        read_ahead(model, train, batches, val, epochs)
        check_num_classes(model, num_classes)
        learn_from_data(model, train, resumes=saved is not None)
        if saved is None:
            model.history = cb.History()  # from here on nothing is left that could be refused
        model.use_training_weights()
        if progress.batches == 0:  # else gradients may wait for the epoch's next batch
            model.accumulator.clear()
        warn_of_doubts(model, train)
        if run_epochs(model, loop, batches, train, val, epochs, progress, use_averages):
            sources.pop_all()  # a generator stays open: the next fit may read on


def run_epochs(
    model: "Model",
    loop: cb.CallbackList,
    batches: Callable[[], Generator[tuple, None, None]],
    train: Dataset | Stream,
    val: Dataset | Stream | None,
    epochs: range,
    progress: Progress,
    use_averages: bool = False,
) -> bool:
    """Run the epochs and tell whether all were run; Ctrl-C ends them, model and history kept.

    It is obeyed after the batch, or after the epoch once its last batch is through; so is SIGTERM,
    which goes on to the caller as a SystemExit. A second signal is obeyed at once, and goes on to
    the caller.
    """
    model.stop_training = False
    epoch, interrupted = epochs.start, False
    with Interrupts() as interrupts:
        loop.call("on_train_begin", {})
        try:
            progress.restore_callbacks()
            for epoch in epochs:
                if model.stop_training:
                    break
                loop.call("on_epoch_begin", epoch, {})
                lr = float(getattr(model.optimizer, "lr", math.nan))
                progress.begin_epoch(fresh_metrics(model, train.y), lr)
                rest = remaining(train, batches, progress)
                logs = run_epoch(model, loop, rest, progress, epoch, interrupts)
                end_epoch(model, loop, val, epoch, logs, progress, use_averages)
                interrupts.check()
            else:  # no epoch was left out
                return True
        except KeyboardInterrupt:
            interrupted = True
            if len(interrupts.came) > 1:
                raise
        except FloatingPointError as error:
            terminators = [c for c in loop.callbacks if isinstance(c, cb.TerminateOnNaN)]
            if not terminators:
                raise
            terminators[0].terminate(str(error).removeprefix("[Model] "))
        finally:
            loop.call("on_train_end", {})
            if interrupted or interrupts.came:
                print(what_is_kept(model, loop, epoch))
    return False


def remaining(
    train: Dataset | Stream,
    batches: Callable[..., Generator[tuple, None, None]],
    progress: Progress,
) -> Generator[tuple, None, None]:
    """Return the epoch's batches without those done, which a stream reads all the same."""
    done = progress.batches
    if done == 0:
        return batches()
    if isinstance(train, Stream):
        return without_first(batches(), done, train.argument)
    check_is_there(int(sizes(train, progress.batch_size)["steps"]), done, "data")
    return batches(skip=done)


def without_first(
    batches: Generator[tuple, None, None], done: int, argument: str
) -> Generator[tuple, None, None]:
    """Yield batches but for the first ones, which must be there."""
    count = 0
    with contextlib.closing(batches):
        for count, batch in enumerate(batches, 1):
            if count > done:
                yield batch
    check_is_there(count, done, argument)


def check_is_there(count: int, done: int, argument: str) -> None:
    """Raise where an epoch has fewer batches than were trained of it before."""
    if count < done:
        raise RuntimeError(
            f"[Model] '{argument}' ended after {count} batches of an epoch of which {done} were "
            "trained before: 'resume' needs the source with which the training began."
        )


def end_epoch(
    model: "Model",
    loop: cb.CallbackList,
    val: Dataset | Stream | None,
    epoch: int,
    logs: dict[str, float],
    progress: Progress,
    use_averages: bool,
) -> None:
    """Validate, note the epoch's figures and tell the callbacks; with averages where wanted."""
    with model.averaged_weights() if use_averages else contextlib.nullcontext():
        if val is not None:
            logs.update(validate(model, loop, val))
        logs["lr"] = progress.lr
        model.epoch = epoch + 1
        progress.end_epoch(model.generators[1].bit_generator.state)
        model.history.on_epoch_end(epoch, logs)  # first, so that a checkpoint holds it
        noted = set(logs)
        for _ in loop.each("on_epoch_end", epoch, logs):  # may add figures of its own
            model.history.on_epoch_end(epoch, {k: v for k, v in logs.items() if k not in noted})
            noted = set(logs)


def validate(model: "Model", loop: cb.CallbackList, val: Dataset | Stream) -> dict[str, float]:
    """Return the figures of the validation data, 'val_loss' and so on."""
    loop.call("on_test_begin", {})
    figures = model._evaluate(val, _VAL_BATCH, may_be_nan=True)  # callbacks judge it
    loop.call("on_test_end", figures)
    return {f"val_{name}": value for name, value in figures.items()}


def what_is_kept(model: "Model", loop: cb.CallbackList, epoch: int) -> str:
    """Return the line that an interrupted training ends with."""
    finished = len(model.history.get("loss", ()))
    kept = "the model"
    for callback in loop.callbacks:
        if isinstance(callback, cb.EarlyStopping) and callback.restored:
            kept = f"the weights of epoch {(callback.best_epoch or 0) + 1}, the best,"
    return (
        f"Interrupted in epoch {epoch + 1}: training ends here; {kept} and the history of "
        f"{finished} finished epoch{'s' * (finished != 1)} are kept."
    )


def run_epoch(
    model: "Model",
    loop: cb.CallbackList,
    batches: Generator[tuple, None, None],
    progress: Progress,
    epoch: int,
    interrupts: Interrupts,
) -> dict[str, float]:
    """Train on every batch that remains of the epoch; return its loss and metrics."""
    logs = progress.logs()
    with contextlib.closing(batches):  # their threads end here, whatever happens
        for index, (x, y, *weight) in enumerate(batches, progress.batches):
            place = f"epoch {epoch + 1}, batch {index}"
            try:
                loop.call("on_train_batch_begin", index, logs)
                logs = model.train_step(x, y, weight[0] if weight else None, progress.metrics)
                logs["loss"] = progress.add(logs["loss"], len(x))
                loop.call("on_train_batch_end", index, logs)
            except FloatingPointError as error:
                raise _at(epoch, f"batch {index}", error) from None
            except Exception as error:
                error.add_note(f"[Model] raised in {place}.")
                raise
            interrupts.check()
    model.finish_step()  # with the batches that the last full step left over
    try:
        model.check_weights()
    except FloatingPointError as error:
        raise _at(epoch, "after the last batch", error) from None
    return logs


def _at(epoch: int, place: str, error: FloatingPointError) -> FloatingPointError:
    """Return an error of the model with the place in the training where it was found."""
    reason = str(error).removeprefix("[Model] ")
    return FloatingPointError(f"[Model] epoch {epoch + 1}, {place}: {reason}")
