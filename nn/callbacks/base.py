"""The base class of callbacks, and the list through which `fit` calls them.

`Callback` has the methods of Keras' callbacks under the same names; `CallbackList` calls them.
`score` decides which of two values of a monitored figure is better.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from .. import checks, compat
from ..custom import is_ours

Logs = dict[str, float]

_NEEDS_VALIDATION = "needs 'validation_data' or 'validation_split' of fit()"


class Callback:
    """Base class of callbacks: subclass it and write the methods that you need.

    The methods have the names and arguments of Keras'. Your method may leave out arguments at its
    end that it does not read: `def on_epoch_end(self, epoch)`.

    Attributes
    ----------
    model : Model
        The model in training, set before `on_train_begin`.
    params : dict
        'epochs', 'steps' (batches an epoch), 'samples' and 'verbose' of this `fit`.
    adds : tuple of str
        Figures that the callback adds to those of an epoch.
    first_rank_only : bool
        Whether only rank 0 calls it if several processes train together (`nn.distributed`), as it
        should be for one that writes a file or prints. Others must do the same in all processes.

    Examples
    --------
    >>> class Shout(Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         print(f"EPOCH {epoch} DONE")
    >>> Shout().on_epoch_end(0, {})
    EPOCH 0 DONE
    """

    model: Any
    params: dict[str, Any]
    adds: tuple[str, ...] = ()
    first_rank_only: bool = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Let the constructor take other libraries' names of its arguments too."""
        super().__init_subclass__(**options)
        compat.accept_other_names(cls)

    def needed_figures(self) -> list[tuple[str, str]]:
        """Return (argument, figure) for each figure that the callback needs of an epoch.

        `fit` raises an error before the first step if one of them will not be measured.
        """
        return []

    def set_model(self, model: Any) -> None:
        """Set the attribute `model`; `fit` calls it before `on_train_begin`."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Set the attribute `params`; `fit` calls it before `on_train_begin`."""
        self.params = params

    def state_dict(self) -> dict[str, Any]:
        """Return what this callback needs when a training is resumed; {} for nothing.

        `model.save` writes it into the file while `fit` runs. The keys are strings without '/', the
        values what JSON can write (numbers, strings, None, lists, dicts), arrays, or dicts of
        arrays by their names.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        `fit(resume=...)` calls it after `on_train_begin` if the file holds the state of a callback
        of this class; if there are several of one class, in their order.
        """

    def get_state(self) -> dict[str, Any]:
        """Return `state_dict()`: its name in version 0.1, which your callback may still define."""
        return self.state_dict()

    def set_state(self, state: dict[str, Any]) -> None:
        """Call `load_state_dict`: its name in version 0.1, which your callback may still define."""
        self.load_state_dict(state)

    def on_train_begin(self, logs: Logs) -> None:
        """Run before the first epoch."""

    def on_train_end(self, logs: Logs) -> None:
        """Run after the last epoch, also if training was interrupted."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Run before each epoch; epochs count from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Run after each epoch, with its 'loss', 'acc', 'val_loss', 'val_acc' and 'lr'.

        Figures that are added to `logs` here are written into the history.
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
        """Run before the validation, once an epoch."""

    def on_test_end(self, logs: Logs) -> None:
        """Run after the validation, with its 'loss', 'acc' ..."""


#: The methods that `fit` calls, each with the older name that a callback may define instead.
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
    """A callback made of functions, if a class is not needed.

    Parameters
    ----------
    **functions
        Functions by the names of the methods of `Callback`, each with that method's arguments
        after `self`, or with fewer of them.

    Raises
    ------
    ValueError
        For any other name, or something that is not a function.

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
        """Raise an error that lists the figures there are; dict calls this for a missing key."""
        raise KeyError(str(checks.unknown("History", "name", name, self)))

    @property
    def history(self) -> dict[str, list[float]]:
        """The dict itself, where users of Keras look for it."""
        return self

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Append the epoch's figures."""
        for name, value in logs.items():
            try:
                self.setdefault(name, []).append(float(value))
            except (TypeError, ValueError) as error:
                raise checks.error("History", name, "must be a number", value) from error

    def epoch(self, index: int) -> Logs:
        """Return the figures of one epoch, counted from the first in the history."""
        return {name: values[index] for name, values in self.items() if index < len(values)}

    def _repr_html_(self) -> str:
        """Return curves and a table of the figures, which notebooks show."""
        from ..inspect import html

        return html.of_history(self)


#: Names of figures, without 'val_', of which higher is better, and of which lower is.
_RISING = re.compile(r"(?!neg)(.*_)?(acc|accuracy|precision|recall|f1|auc|r2)")
_FALLING = re.compile(r"(?!neg)(.*_)?(loss|error|mse|mae|rmse)")


def figure_name(logs: Iterable[str], monitor: str | None) -> str:
    """Return the figure to monitor: for None the accuracy or the loss, as `score` says."""
    if monitor is not None:
        return monitor
    prefix = "val_" if "val_loss" in logs else ""
    return f"{prefix}acc" if f"{prefix}acc" in logs else f"{prefix}loss"


def direction(monitor: str, mode: str, owner: str = "callbacks") -> float:
    """Return 1 if a higher figure is better and -1 if a lower one is.

    Raises
    ------
    ValueError
        For `mode='auto'` and a name that does not tell, such as that of a user's metric.

    Examples
    --------
    >>> direction("val_acc", "auto"), direction("val_loss", "auto"), direction("val_iou", "max")
    (1.0, -1.0, 1.0)
    """
    name = str(monitor).removeprefix("val_")
    if mode == "auto" and not (_RISING.fullmatch(name) or _FALLING.fullmatch(name)):
        raise ValueError(
            f"[{owner}] 'mode' must be 'max' or 'min' for {monitor!r}, a name that does not show "
            "which is better, got 'auto': pass mode='max' if a higher value is better, mode='min' "
            "if a lower one is."
        )
    rises = mode == "max" or (mode == "auto" and _RISING.fullmatch(name) is not None)
    return 1.0 if rises else -1.0


def score(logs: Logs, monitor: str | None, mode: str = "auto", owner: str = "callbacks") -> float:
    """Return a monitored figure, negated if lower is better.

    Without a name it is the accuracy, of the validation data if there are any, or the loss if
    no accuracy is measured.

    Raises
    ------
    ValueError
        If the named figure is not measured (the message lists those that are), and as
        `direction`.

    Examples
    --------
    >>> score({"loss": 0.5, "acc": 0.75}, None), score({"loss": 0.5, "acc": 0.75}, "loss")
    (0.75, -0.5)
    """
    monitor = figure_name(logs, monitor)
    if monitor not in logs:
        raise checks.unknown(owner, "monitor", monitor, logs)
    return direction(monitor, mode, owner) * float(logs[monitor])


def warn_of_names(callback: Callback) -> None:
    """Warn of methods with names like those of callbacks that `fit` does not call."""
    known = {*METHODS, *(old for old in METHODS.values() if old)}
    for cls in type(callback).__mro__[: type(callback).__mro__.index(Callback)]:
        for name in vars(cls):
            if name.startswith("on_") and name not in known:
                wrong = checks.unknown(type(callback).__name__, "method", name, known)
                checks.warn(f"{wrong} fit() does not call it.")


class CallbackList:
    """Several callbacks, called in order.

    Parameters
    ----------
    callbacks
        The callbacks.
    model, params
        Passed to each of them.

    Attributes
    ----------
    hooks : dict
        For each name of `METHODS` the methods that callbacks define, as functions that take all
        arguments. Methods that `Callback` leaves empty are not in it, and are not called.

    Raises
    ------
    ValueError
        For an object that is not a callback.
    """

    def __init__(self, callbacks: Sequence[Callback], model: Any, params: dict[str, Any]):
        self.callbacks, self.params = list(callbacks), params
        for index, callback in enumerate(self.callbacks):
            if any(callback is other for other in self.callbacks[:index]):
                rule = "must not hold a callback twice, which would count each epoch twice"
                raise checks.error("Model", "callbacks", rule, callback)
            if not isinstance(callback, Callback):
                raise checks.error(
                    "Model", "callbacks", "must hold nn.callbacks.Callback objects", callback
                )
            warn_of_names(callback)
            callback.set_params(params)
            callback.set_model(model)
        self.hooks: dict[str, list[Callable]] = {}
        self.find_hooks()

    def find_hooks(self) -> None:
        """Look up the callbacks' methods, again after `on_train_begin`, which may set some."""
        for name, older in METHODS.items():
            found = [defined(c, name) or (older and defined(c, older)) for c in self.callbacks]
            self.hooks[name] = [_with_accepted_arguments(_passed(name), f) for f in found if f]

    def check_figures(self, measured: Iterable[str]) -> None:
        """Raise if a callback needs a figure that no epoch will have, or cannot tell the better.

        Parameters
        ----------
        measured
            The figures of the model. A user's callback may add others: then a missing one can
            only be reported after the first epoch.
        """
        known = {*measured, *(name for callback in self.callbacks for name in callback.adds)}
        for callback in self.callbacks:
            owner = type(callback).__name__
            for argument, name in callback.needed_figures():
                if not isinstance(name, str):
                    raise checks.error(owner, argument, "must be the name of a figure", name)
                is_val = name.startswith("val_")
                hooks = ["on_epoch_end", "on_test_end", *([] if is_val else ["on_train_batch_end"])]
                if name not in known and not any(map(self._may_add_figures, hooks)):
                    if is_val and "val_loss" not in known:
                        raise checks.error(owner, argument, _NEEDS_VALIDATION, name)
                    if argument == "path":
                        rule = f"may hold {{name}} of {', '.join(['epoch', *sorted(known)])}"
                        raise checks.error(owner, argument, rule, name)
                    raise checks.unknown(owner, argument, name, known)
                if argument == "monitor":
                    direction(name, getattr(callback, "mode", "auto"), owner)

    def _may_add_figures(self, method: str) -> bool:
        """Return whether a user's callback gets the figures in this method, and may add some."""
        for callback in self.callbacks:
            found = defined(callback, method) or None
            if found is not None and not is_ours(found) and checks.takes(found, _passed(method)):
                return True
        return False

    def call(self, method: str, *arguments: Any) -> None:
        """Call a method of every callback that defines it."""
        for hook in self.hooks[method]:
            hook(*arguments)


def defined(callback: Callback, name: str) -> Callable | None:
    """Return a callback's method, or None if it is the one of `Callback`."""
    method = getattr(callback, name)
    is_base = getattr(method, "__func__", None) is getattr(Callback, name)
    return None if is_base else method


def state_of(callback: Callback) -> dict[str, Any]:
    """Return a callback's state, by its method of either name."""
    return (defined(callback, "get_state") or callback.state_dict)()


def load_state(callback: Callback, state: dict[str, Any]) -> None:
    """Let a callback load its state, by its method of either name."""
    (defined(callback, "set_state") or callback.load_state_dict)(state)


def is_loading_ours(callback: Callback) -> bool:
    """Return whether a callback's state is loaded by nn's own code, not by a user's method."""
    ours = type(callback).load_state_dict.__module__.startswith(__package__ or "nn")
    return ours and defined(callback, "set_state") is None


def _with_accepted_arguments(passed: int, function: Callable) -> Callable:
    """Return a function of `passed` arguments that calls `function` with as many as it takes."""
    counts = (count for count in range(passed, -1, -1) if checks.takes(function, count))
    count = next(counts, passed)  # if it takes none of these, Python says so
    return function if count == passed else lambda *arguments: function(*arguments[:count])


def _passed(method: str) -> int:
    """Return the number of arguments with which `fit` calls a method."""
    return len(checks.positional_names(getattr(Callback(), method)))
