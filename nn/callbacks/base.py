"""What every callback is, and how `fit` calls them all.

`Callback` has the methods of Keras' callbacks under the same names; `CallbackList` is the one
place that calls them. `score` decides what the callbacks that watch a figure take for better.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from .. import checks

if TYPE_CHECKING:
    from ..model import Model

Logs = dict[str, float]


class Callback:
    """Base class of callbacks: subclass it and write the methods that you need.

    The methods have the names and arguments of Keras'. A method of yours may leave out arguments
    at its end that it does not read: `def on_epoch_end(self, epoch)`.

    Attributes
    ----------
    model : Model
        The model in training, set before `on_train_begin`.
    params : dict
        'epochs', 'steps' (batches an epoch), 'samples' and 'verbose' of this `fit`.

    Examples
    --------
    >>> class Shout(Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         print(f"EPOCH {epoch} DONE")
    >>> Shout().on_epoch_end(0, {})
    EPOCH 0 DONE
    """

    model: "Model"
    params: dict[str, Any]

    def set_model(self, model: "Model") -> None:
        """Take the model, before `on_train_begin`."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Take the settings of this `fit`, before `on_train_begin`."""
        self.params = params

    def get_state(self) -> dict[str, Any]:
        """Return what this callback needs to go on where a training is resumed; {} for nothing.

        It is written into every file of `model.save` while `fit` runs. The keys are texts without
        '/', the values what JSON can write (numbers, texts, None, lists, dicts), arrays, or dicts
        of arrays by their names.
        """
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` returned.

        `fit(resume=...)` calls it after `on_train_begin`, where the file holds the state of a
        callback of this class; with several of one class, in their order.
        """

    def on_train_begin(self, logs: Logs) -> None:
        """Run before the first epoch."""

    def on_train_end(self, logs: Logs) -> None:
        """Run after the last epoch, also where training was interrupted."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Run before each epoch; epochs count from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Run after each epoch, with its 'loss', 'acc', 'val_loss', 'val_acc' and 'lr'.

        What is added to `logs` here is written into the history.
        """

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Run before each batch; batches count from 0 in each epoch."""

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Run after each batch, with the epoch's figures so far."""

    def on_batch_begin(self, batch: int, logs: Logs) -> None:
        """Run before each batch: an older name, for callbacks without `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Run after each batch: an older name, for callbacks without `on_train_batch_end`."""

    def on_test_begin(self, logs: Logs) -> None:
        """Run before the validation data are measured, once an epoch."""

    def on_test_end(self, logs: Logs) -> None:
        """Run after the validation data were measured, with 'loss', 'acc' ... of them."""


#: The methods that `fit` calls, and an older name that stands in where a callback lacks one.
METHODS = {
    "on_train_begin": None,
    "on_train_end": None,
    "on_epoch_begin": None,
    "on_epoch_end": None,
    "on_train_batch_begin": "on_batch_begin",
    "on_train_batch_end": "on_batch_end",
    "on_test_begin": None,
    "on_test_end": None,
}


class LambdaCallback(Callback):
    """A callback made of functions, for what needs no class.

    Parameters
    ----------
    **functions
        Functions by the names of the methods of `Callback`, each with that method's arguments
        after `self`, or with fewer of them.

    Raises
    ------
    ValueError
        For a name that is none of these, or something that is no function.

    Examples
    --------
    >>> import numpy as np, nn
    >>> model = nn.Model([nn.Dense(1, input_shape=(2,))], seed=0)
    >>> model.compile("mse", "sgd")
    >>> show = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, sorted(logs)))
    >>> history = model.fit(np.ones((4, 2)), np.ones((4, 1)), callbacks=[show], verbose=0)
    0 ['loss', 'lr']
    """

    def __init__(self, **functions: Callable | None):
        names = [*METHODS, *(old for old in METHODS.values() if old)]
        for name, function in functions.items():
            if name not in names:
                raise checks.unknown("LambdaCallback", "argument", name, names)
            if function is None:
                continue
            if not callable(function):
                raise checks.error("LambdaCallback", name, "must be a function", function)
            setattr(self, name, function)


class History(dict, Callback):
    """The figures of every epoch: `{'loss': [...], 'acc': [...], 'lr': [...], ...}`.

    `fit` returns it. It is a dict, and its attribute `history` is the dict as well.

    Examples
    --------
    >>> history = History()
    >>> history.on_epoch_end(0, {"loss": 0.5})
    >>> history, history.history["loss"]
    ({'loss': [0.5]}, [0.5])

    A figure that was not measured is an error that names those that were:

    >>> history["acuracy"]
    Traceback (most recent call last):
    KeyError: "[History] 'name' must be one of 'loss', got 'acuracy'."
    """

    def __missing__(self, name: str) -> NoReturn:
        """Say which figures there are, as a dict calls this where a key is missing."""
        raise KeyError(str(checks.unknown("History", "name", name, self)))

    @property
    def history(self) -> dict[str, list[float]]:
        """The dict itself, where users of Keras look for it."""
        return self

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Append the epoch's figures."""
        for name, value in logs.items():
            self.setdefault(name, []).append(float(value))

    def epoch(self, index: int) -> Logs:
        """Return the figures of one epoch, counted from the first in the history."""
        return {name: values[index] for name, values in self.items() if index < len(values)}

    def _repr_html_(self) -> str:
        """Return curves and a table of the figures, which notebooks show."""
        from ..inspect import html

        return html.of_history(self)


#: Figures that are better the larger they are; any name with 'acc' in it counts as one.
_RISING = ("precision", "recall", "f1", "auc", "r2")


def score(logs: Logs, monitor: str | None, mode: str = "auto") -> float:
    """Return the figure to watch, its sign turned where less of it is better.

    Without a name it is the accuracy, of the validation data where there are any, or the loss
    where no accuracy is measured.

    Raises
    ------
    ValueError
        Where the named figure is not measured; the message lists those that are.

    Examples
    --------
    >>> score({"loss": 0.5, "acc": 0.75}, None), score({"loss": 0.5, "acc": 0.75}, "loss")
    (0.75, -0.5)
    """
    if monitor is None:
        prefix = "val_" if "val_loss" in logs else ""
        monitor = f"{prefix}acc" if f"{prefix}acc" in logs else f"{prefix}loss"
    if monitor not in logs:
        raise checks.unknown("callbacks", "monitor", monitor, logs)
    rising = "acc" in monitor or monitor.removeprefix("val_") in _RISING
    if mode == "max" or (mode == "auto" and rising):
        return float(logs[monitor])
    return -float(logs[monitor])


class CallbackList:
    """Calls the same method of several callbacks, in order.

    Parameters
    ----------
    callbacks
        Their methods are looked up here, once: those that `Callback` leaves empty are not called.
    model, params
        Handed to each of them.

    Raises
    ------
    ValueError
        For something that is no callback.
    """

    def __init__(self, callbacks: Sequence[Callback], model: "Model", params: dict[str, Any]):
        self.callbacks, self.params = list(callbacks), params
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise checks.error(
                    "Model", "callbacks", "must hold nn.callbacks.Callback objects", callback
                )
            callback.set_params(params)
            callback.set_model(model)
        self._methods: dict[str, list[tuple[Callable, int | None]]] = {}
        for name, older in METHODS.items():
            found = [_written(c, name) or _written(c, older) for c in self.callbacks]
            self._methods[name] = [(f, _count_arguments(f)) for f in found if f is not None]

    def call(self, method: str, *arguments: Any) -> None:
        """Call `method` of every callback, with as many of the arguments as it takes."""
        for _ in self.each(method, *arguments):
            pass

    def each(self, method: str, *arguments: Any) -> Iterator[None]:
        """Do as `call`, one callback at each turn of a loop."""
        for function, count in self._methods[method]:
            function(*arguments[:count])
            yield


def _written(callback: Callback, name: str | None) -> Callable | None:
    """Return a callback's method, or None where it is the empty one of `Callback`."""
    if name is None:
        return None
    method = getattr(callback, name)
    is_empty = getattr(method, "__func__", None) is getattr(Callback, name)
    return None if is_empty else method


def _count_arguments(function: Callable) -> int | None:
    """Return how many arguments a function takes by position; None for any number.

    Examples
    --------
    >>> _count_arguments(lambda epoch, logs=None: 0), _count_arguments(lambda *arguments: 0)
    (2, None)
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a function in C that does not say
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
