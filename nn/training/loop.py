"""What `Model.fit` does around `train_step`: callbacks chosen, epochs run.

The data come from `data_adapters`, as a `Dataset` or as a `Stream`, which both have `batches`.

These functions take the model as their first argument and use its public attributes only.
"""

import contextlib
import copy
import math
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import callbacks as cb
from .. import checks, losses, validation
from ..data import Dataset
from ..data.stream import Stream
from ..files import model_file, training_state
from ..layers.containers import flat
from ..metrics import Metric
from ..optim import schedules
from . import data as data_adapters
from .signals import Interrupts

if TYPE_CHECKING:
    from ..model import Model

Array = Any  # numpy.ndarray or cupy.ndarray

_ENOUGH_FOR_CHANCE = 500  # samples: an accuracy 5% above chance is no longer chance

_REGRESSION = (losses.MeanSquaredError, losses.MeanAbsoluteError, losses.Huber)
_CLASSIFICATION = (losses.CategoricalCrossentropy, losses.BinaryCrossentropy, losses.Hinge)


# ---------------------------------------------------------------------------- the callbacks


class StreamSizes(cb.Callback):
    """Keeps `params` right where a stream decides how large the batches are, and how many.

    'samples' is an estimate in the first epoch, from the first batch, or infinite; afterwards it
    is what was counted in the epoch before. 'batch_size' is that of the present batch.
    """

    def __init__(self, stream: Stream):
        self.stream = stream

    def on_epoch_begin(self, epoch: int, logs: cb.Logs) -> None:
        """Say what is known of the epoch."""
        self.params.update(data_adapters.sizes(self.stream, self.params["batch_size"]))

    def on_train_batch_begin(self, batch: int, logs: cb.Logs) -> None:
        """Say how large the batch is."""
        self.params["batch_size"] = self.stream.rows


def size_callback(train: Dataset | Stream) -> list[cb.Callback]:
    """Return the callback that a stream needs, none for a Dataset."""
    return [StreamSizes(train)] if isinstance(train, Stream) else []


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


# ------------------------------------------------------------ what is allowed, but doubtful


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


# -------------------------------------------------------------------- where training stands


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
            training_state.restore_callback(callback, state, self.path)
        self.callback_states = []

    def begin_epoch(self, measured: list[Metric], lr: float) -> None:
        """Take the metrics and the rate of an epoch; one that is resumed keeps its own."""
        self.metrics = measured
        if self.batches == 0:
            self.lr = lr
        training_state.restore_metrics(measured, self.metric_states, self.path)
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


# ------------------------------------------------------------------------------- the epochs


def check_averages(model: "Model", wanted: bool) -> None:
    """Raise where averaged weights are wanted and the optimizer keeps none."""
    if wanted and model.wrapped_optimizer.ema_decay is None:
        raise checks.error("Model", "use_averages", "needs compile(ema_decay=...)", wanted)


def run(
    model: "Model",
    loop: cb.CallbackList,
    train: Dataset | Stream,
    val: Dataset | Stream | None,
    batches: Callable[..., Generator[tuple, None, None]],
    epochs: range,
    saved: model_file.ModelFile | None,
    path: Any,
    num_classes: int | None,
    use_averages: bool,
) -> None:
    """Run the epochs of a `fit` whose arguments are checked: anew, or from where a file stands."""
    with in_progress(model, loop) as progress, contextlib.ExitStack() as sources:
        sources.callback(data_adapters.close, train, val)
        if saved is not None:
            training_state.resume(model, progress, saved, path)
        data_adapters.read_ahead(model, train, batches, val, epochs)
        data_adapters.check_num_classes(model, num_classes)
        data_adapters.learn_from_data(model, train, resumes=saved is not None)
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
                lr = model.wrapped_optimizer.lr
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
    check_is_there(int(data_adapters.sizes(train, progress.batch_size)["steps"]), done, "data")
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
    figures = model._evaluate(val, data_adapters.VAL_BATCH, may_be_nan=True)  # callbacks judge it
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
