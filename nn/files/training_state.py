"""What a file says of a model, and how a model is made of it again.

`io` knows the files; here stands what goes into them: the layers' configurations, and what is
needed to train on, from the optimizer's state to the generators'. `Model.save`, `Model.load`
and `fit(resume=...)` are built of these functions. None of them imports the model.
"""

import contextlib
import copy
import inspect
import math
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import callbacks as cb
from .. import cuda, losses, metrics, optim, validation
from ..layers import layer_from_config
from ..layers.budget import budget_for
from ..layers.config import check_nesting
from ..registry import Registry
from . import model_file

if TYPE_CHECKING:
    from ..model import Model
    from ..training.loop import Progress

# Figures that a history may hold: a file can name more than there is memory for.
_MAX_FIGURES = 10_000_000

# What the names of arrays begin with that stand beside the optimizer's in a file.
_ASIDE, _ACCUMULATED = "set_aside/", "accumulated/"
_CALLBACK, _METRIC = "callback/", "metric/"
_NOT_THE_OPTIMIZERS = (_ASIDE, _ACCUMULATED, _CALLBACK, _METRIC)


def to_file(model: "Model", include_optimizer: bool) -> model_file.ModelFile:
    """Return a built model as what a file holds."""
    architecture = {
        "name": model.name,
        "dtype": model.dtype,
        "input_shape": model.input_shape,
        "class_names": validation.fitting_class_names(model.class_names, model.output_shape),
        "layers": [layer.to_config() for layer in model.layers],
    }
    check_nesting(architecture["layers"])
    content = model_file.ModelFile(architecture, weights(model))
    optimizer = model.wrapped_optimizer
    if include_optimizer:
        content.training = {
            "loss": _config_of(model.loss, losses.NAME2LOSS),
            "optimizer": _config_of(model.optimizer, optim.NAME2OPTIMIZER),
            "schedule": optimizer is not None and optimizer.schedule is not None,
            "accumulation": {
                "steps": model.accumulator.steps,
                "batches": model.accumulator.batches,
                "samples": model.accumulator.samples,
            },
            "metrics": [
                {"name": metric.label, "threshold": metric.threshold} for metric in model.metrics
            ],
            "history": dict(model.history),
            "epoch": model.epoch,
            "split_seed": model.split_seed,
            "generators": [rng.bit_generator.state for rng in model.generators],
        }
        arrays = waiting_arrays(model)
        if optimizer is not None:
            arrays.update(optimizer.state_dict())
        if model.progress is not None:
            arrays.update(_add_progress(content.training, model.progress))
        content.optimizer_arrays = {name: cuda.to_cpu(array) for name, array in arrays.items()}
    return content


def waiting_arrays(model: "Model") -> dict[str, Any]:
    """Return what training needs beside weights and optimizer, by names that go with its state.

    These are the weights in training, where averages are saved in their place, and the
    gradients that wait for the optimizer's step.
    """
    aside = {_ASIDE + name: array for name, array in (model.set_aside or {}).items()}
    sums = model.accumulator.sums
    names = model.trained_names
    if len(names) != len(sums):  # layers were frozen meanwhile: no step can be made of the sums
        sums = []
    waiting = zip(names, sums, strict=False)
    return aside | {_ACCUMULATED + name: array for name, array in waiting}


def optimizer_state(content: model_file.ModelFile) -> dict[str, Any]:
    """Return the arrays of a file that are the optimizer's own."""
    arrays = content.optimizer_arrays
    return {k: v for k, v in arrays.items() if not k.startswith(_NOT_THE_OPTIMIZERS)}


def _waiting(
    model: "Model", content: model_file.ModelFile, prefix: str, path: str | os.PathLike
) -> dict[str, Any]:
    """Return `waiting_arrays` of one kind from a file, by the names of the model's parameters."""
    arrays = content.optimizer_arrays
    found = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    own = model.get_arrays()
    model_file.match_arrays({name: own[name] for name in found if name in own}, found, str(path))
    return found


class _Waiting(NamedTuple):
    """What a file holds for a training that goes on, beside weights and optimizer."""

    set_aside: dict[str, Any] | None
    sums: list[Any]
    batches: int
    samples: int


def _read_waiting(
    model: "Model", content: model_file.ModelFile, path: str | os.PathLike
) -> _Waiting:
    """Return weights set aside and gradients that wait for a step, which fit the model."""
    set_aside = _waiting(model, content, _ASIDE, path) or None
    sums, names = _waiting(model, content, _ACCUMULATED, path), model.trained_names
    if not sums or not sums.keys() >= set(names):  # other layers are trained now
        return _Waiting(set_aside, [], 0, 0)
    saved = (content.training or {})["accumulation"]
    arrays = [cuda.to_device(sums[name], model.device) for name in names]
    return _Waiting(set_aside, arrays, int(saved["batches"]), int(saved["samples"]))


def _set_waiting(model: "Model", waiting: _Waiting) -> None:
    """Let these weights be set aside and these gradients wait in the model, and no others."""
    model.set_aside, accumulator = waiting.set_aside, model.accumulator
    accumulator.sums = waiting.sums
    accumulator.batches, accumulator.samples = waiting.batches, waiting.samples


def weights(model: "Model") -> dict[str, Any]:
    """Return a model's parameters and buffers on the CPU, by their names in a file."""
    return {name: cuda.to_cpu(array) for name, array in model.get_arrays().items()}


def model_of(
    content: model_file.ModelFile, path: str | os.PathLike, make: type["Model"]
) -> "Model":
    """Return the model that a file's architecture describes, without its arrays."""
    architecture = content.architecture
    if architecture is None:
        raise model_file.FileFormatError(
            f"[Model] '{path}' holds weights but no layers: make the model and call load_weights()."
        )
    with refusing_nonsense(path):
        entries = architecture["layers"]
        if not isinstance(entries, list) or not entries:
            raise TypeError("'layers' is no list of layers")
        check_nesting(entries)
        with budget_for(content.arrays):
            model = make(
                [layer_from_config(entry) for entry in entries],
                dtype=architecture.get("dtype", "float32"),
                name=architecture.get("name"),
            )
            if architecture.get("input_shape") is not None:
                model.build(architecture["input_shape"])
        model.class_names = architecture.get("class_names")
    return model


def compile_as_saved(
    model: "Model", content: model_file.ModelFile, path: str | os.PathLike
) -> None:
    """Compile a loaded model as it was, where all of it is nn's own; ask for the user's parts."""
    saved = content.training
    if saved is None:
        return
    with refusing_nonsense(path):
        _set_past(model, _read_past(model, saved))
        if saved["loss"] is None or saved["optimizer"] is None:
            return
        try:
            loss, optimizer = (
                losses.from_config(saved["loss"]),
                optim.from_config(saved["optimizer"]),
            )
            chosen = [metrics.get(entry["name"]) for entry in saved["metrics"]]
        except ValueError as error:
            warnings.warn(
                f"[Model] '{path}' is loaded but not compiled, as it names parts that are not "
                f"nn's own: {error} Call compile() with yours.",
                stacklevel=3,
            )
            return
        for metric, entry in zip(chosen, saved["metrics"], strict=True):
            if entry.get("threshold") is not None:
                metric.threshold = float(entry["threshold"])
        if saved.get("schedule"):
            warnings.warn(
                f"[Model] '{path}' was trained with a function for its learning rate, which a "
                f"file cannot hold: it is {optimizer.lr} now, set optimizer.lr to the function.",
                stacklevel=3,
            )
        steps = saved.get("accumulation", {}).get("steps", 1)  # files of before have none
        model.compile(loss, optimizer, metrics=chosen, gradient_accumulation_steps=steps)
        if content.optimizer_arrays:
            optimizer.load_state_dict(optimizer_state(content))
        _set_waiting(model, _read_waiting(model, content, path))


def read_training(path: str | os.PathLike) -> model_file.ModelFile:
    """Return a file that `fit(resume=...)` can go on from.

    Raises
    ------
    ValueError
        Where the file holds no training state.
    """
    content = model_file.read(path)
    if content.training is None:
        raise ValueError(
            f"[Model] '{path}' holds no training state to resume: save the model with "
            "include_optimizer=True, or ModelCheckpoint(save_state=True)."
        )
    with refusing_nonsense(path):
        content.training["split_seed"] = int(content.training["split_seed"])
        content.training["epoch"] = int(content.training["epoch"])
        _saved_rate(content.training)
    return content


def rate(model: "Model", content: model_file.ModelFile | None) -> float:
    """Return the learning rate to begin with: the optimizer's own, or that of a file to resume.

    It is NaN for an optimizer of the user's that has none.
    """
    own = model.wrapped_optimizer.lr
    if content is None or model.wrapped_optimizer.schedule is not None:
        return own
    saved = _saved_rate(content.training or {})
    return own if saved is None else saved


def _saved_rate(training: dict[str, Any]) -> float | None:
    """Return the optimizer's learning rate in a file's training state, where it has one."""
    lr = ((training.get("optimizer") or {}).get("config") or {}).get("lr")
    return None if lr is None else float(lr)


def resume(
    model: "Model", progress: "Progress", content: model_file.ModelFile, path: str | os.PathLike
) -> None:
    """Take weights, optimizer state and progress of a file into a compiled model and its `fit`.

    All of the file is looked at before anything of the model is changed; but a state that only a
    callback of the user's can judge is judged later, by its `set_state`.
    """
    if not model.built:  # by a Dataset it would be
        with refusing_nonsense(path):
            model.build((content.architecture or {})["input_shape"])
    model_file.match_arrays(model.get_arrays(), content.arrays, str(path))
    with refusing_nonsense(path):
        past = _read_past(model, content.training or {})
        waiting = _read_waiting(model, content, path)
        names = (content.architecture or {}).get("class_names")
        names = validation.fitting_class_names(names, model.output_shape)
        names = validation.check_class_names(names, model.output_shape)
        state = optimizer_state(content)
        _check_slots(model, state)
    _resume_progress(model, progress, content, past, waiting, path)
    _try_states(model, progress, path)
    if state:
        with refusing_nonsense(path):  # other layers may have been trained there
            model.wrapped_optimizer.load_state_dict(state, strict=False)
    model.set_arrays(content.arrays, str(path))
    lr = rate(model, content)
    if model.wrapped_optimizer.schedule is None and not math.isnan(lr):
        model.wrapped_optimizer.lr = lr
    if model.class_names is None:
        model.class_names = names
    _set_waiting(model, waiting)
    _set_past(model, past)
    model.generators[1].bit_generator.state = progress.order  # to draw the epoch's order again


def _check_slots(model: "Model", state: dict[str, Any]) -> None:
    """Raise where an optimizer of nn's own would refuse a state by its shape, at its first step."""
    own = {} if model.wrapped_optimizer.has_own_step else model.get_arrays()
    for key, array in state.items():
        name = key.partition("/")[2]  # of 'm/7_Dense_W'
        if name in own and array.shape != own[name].shape:
            raise ValueError(f"'{key}' has the shape {array.shape}, not {own[name].shape}")


# --------------------------------------------------------------- where training stands


def _add_progress(saved: dict[str, Any], progress: "Progress") -> dict[str, Any]:
    """Write into `saved` what callbacks keep and how far the epoch is; return the arrays of it."""
    states = [(type(c).__name__, c.get_state()) for c in progress.callbacks]
    states = [(name, state) for name, state in states if state]
    arrays: dict[str, Any] = {}
    saved["callbacks"] = [
        {"class": name, "state": _without_arrays(state, f"{_CALLBACK}{k}", arrays)}
        for k, (name, state) in enumerate(states)
    ]
    if progress.batches:
        saved["within_epoch"] = {
            "batch_size": progress.batch_size,
            "order": progress.order,
            "batches": progress.batches,
            "samples": progress.samples,
            "total": progress.total,
            "lr": progress.lr,
            "metrics": {
                metric.name: _without_arrays(metric.state_dict(), f"{_METRIC}{k}", arrays)
                for k, metric in enumerate(progress.metrics)
            },
        }
    return arrays


def _resume_progress(
    model: "Model",
    progress: "Progress",
    content: model_file.ModelFile,
    past: "_Past",
    waiting: _Waiting,
    path: str | os.PathLike,
) -> None:
    """Let a `fit` stand where the one in a file stood; the model is only looked at."""
    saved = content.training or {}
    progress.path = os.fspath(path)
    with refusing_nonsense(path):
        for k, entry in enumerate(saved.get("callbacks", ())):
            state = _with_arrays(entry["state"], f"{_CALLBACK}{k}/", content.optimizer_arrays)
            _place_state(progress, str(entry["class"]), state, path)
        progress.order = past.generators[1]
        within = saved.get("within_epoch")
        if within is None or within["batch_size"] != progress.batch_size:
            return  # in batches of another size the epoch is begun anew
        progress.order = _state_for(model.generators[1], within["order"])
        progress.batches, progress.samples = int(within["batches"]), int(within["samples"])
        if not 0 < progress.batches <= progress.samples:
            raise ValueError(f"it has {progress.batches} batches of {progress.samples} samples")
        progress.total, progress.lr = float(within["total"]), float(within["lr"])
        if saved["accumulation"]["batches"] and not waiting.batches:
            warnings.warn(
                f"[Model] '{path}' holds gradients that wait for a step, of other layers than are "
                "trained now: they are left out.",
                stacklevel=5,
            )
        progress.metric_states = {
            name: _with_arrays(state, f"{_METRIC}{k}/", content.optimizer_arrays)
            for k, (name, state) in enumerate(within["metrics"].items())
        }


def _try_states(model: "Model", progress: "Progress", path: str | os.PathLike) -> None:
    """Raise where a callback or a metric would refuse its state later: copies of them take it now.

    A callback whose `set_state` is the user's is not asked, as it may change more than itself.
    """
    for callback, state in progress.callback_states:
        if type(callback).set_state.__module__.startswith(cb.__name__):
            restore_callback(copy.copy(callback), state, path)
    measured = copy.deepcopy(model.metrics)
    for metric in measured:
        metric.reset()
    restore_metrics(measured, progress.metric_states, path)


def restore_callback(callback: cb.Callback, state: dict[str, Any], path: str | os.PathLike) -> None:
    """Give a callback what a file holds of it."""
    with refusing_nonsense(path, f"where {type(callback).__name__} stood"):
        callback.set_state(state)


def restore_metrics(
    measured: list[metrics.Metric], states: dict[str, dict[str, Any]], path: str | os.PathLike
) -> None:
    """Give metrics what a file holds of them, by their names."""
    for metric in measured:
        if metric.name in states:
            with refusing_nonsense(path, f"where the metric {metric.name} stood"):
                metric.load_state_dict(states[metric.name])
                metric.result()  # which shows whether there is sense in it


def _place_state(
    progress: "Progress", name: str, state: dict[str, Any], path: str | os.PathLike
) -> None:
    """Keep a state for the next callback of its class; warn where there is none."""
    served = [id(callback) for callback, _ in progress.callback_states]
    for callback in progress.callbacks:
        if type(callback).__name__ == name and id(callback) not in served:
            progress.callback_states.append((callback, state))
            return
    if name not in ("LayerStats", "ModelCheckpoint"):  # these change nothing in the training
        warnings.warn(
            f"[Model] '{path}' was saved with the callback {name}, which is not among those of "
            "this fit(): training goes on without it.",
            stacklevel=6,
        )


def _without_arrays(state: dict[str, Any], prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """Return a state without its arrays; put them into `arrays`, as 'prefix/key[/name]'.

    Examples
    --------
    >>> import numpy as np
    >>> arrays = {}
    >>> _without_arrays({"wait": 1, "best": {"W": np.ones(2)}}, "callback/0", arrays), arrays
    ({'wait': 1, 'best': {}}, {'callback/0/best/W': array([1., 1.])})
    >>> _with_arrays({"wait": 1, "best": {}}, "callback/0/", arrays)
    {'wait': 1, 'best': {'W': array([1., 1.])}}
    """
    plain = {}
    for key, value in state.items():
        name = f"{prefix}/{key}"
        if _is_array(value):
            arrays[name] = value
        elif isinstance(value, dict):
            arrays.update({f"{name}/{k}": v for k, v in value.items() if _is_array(v)})
            plain[key] = {k: v for k, v in value.items() if not _is_array(v)}
        else:
            plain[key] = value
    return plain


def _with_arrays(state: dict[str, Any], prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """Return what `_without_arrays` took apart."""
    state = {k: dict(v) if isinstance(v, dict) else v for k, v in state.items()}
    for name, array in arrays.items():
        if name.startswith(prefix):
            key, _, inner = name.removeprefix(prefix).partition("/")
            if inner:
                state[key][inner] = array
            else:
                state[key] = array
    return state


def _is_array(value: Any) -> bool:
    """Tell whether a value is an array that a file holds as one; others go by JSON."""
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    return kind is not None and kind in "fiub" and getattr(value, "ndim", 0) > 0


class _Past(NamedTuple):
    """What a file says of the training so far."""

    history: dict[str, list[float]]
    epoch: int
    split_seed: int
    generators: list[Any]


def _read_past(model: "Model", saved: dict[str, Any]) -> _Past:
    """Return history, epoch, the seed of the split and the state of every generator."""
    history = {str(name): [float(v) for v in values] for name, values in saved["history"].items()}
    epochs = len(history.get("loss", ()))
    if epochs * len(history) > _MAX_FIGURES:
        raise ValueError(f"'history' has {len(history):,} figures in {epochs:,} epochs")
    for values in history.values():
        # A callback after the checkpoint may have added its figure late.
        values += [math.nan] * (epochs - len(values))
    states = saved["generators"]
    if len(states) != len(model.generators):
        raise TypeError(f"'generators' holds {len(states)} states for {len(model.generators)}")
    states = [_state_for(rng, s) for rng, s in zip(model.generators, states, strict=True)]
    return _Past(history, int(saved["epoch"]), int(saved["split_seed"]), states)


def _set_past(model: "Model", past: _Past) -> None:
    """Set history, epoch, the seed of the split and every generator as they were."""
    for rng, state in zip(model.generators, past.generators, strict=True):
        rng.bit_generator.state = state
    model.history, model.epoch = cb.History(past.history), past.epoch
    model.split_seed = past.split_seed


def _state_for(rng: np.random.Generator, state: Any) -> Any:
    """Return a state that a generator can take: one of the same kind has taken it."""
    twin = type(rng.bit_generator)()
    twin.state = state
    return twin.state


def forget_layer(model: "Model", path: str) -> None:
    """Drop what is kept for a layer that is taken away: of '7_Dense' that of '7_Dense_W'.

    That is its state in the optimizer, its weights set aside, and all gradients that wait for a
    step. A layer that takes its place may have the same name.
    """
    optimizer, gone = model.wrapped_optimizer, (f"{path}_", f"{path}/")
    model.accumulator.clear()
    if model.set_aside is not None:
        aside = model.set_aside.items()
        model.set_aside = {name: array for name, array in aside if not name.startswith(gone)}
    if optimizer is not None and optimizer.iterations:
        state = optimizer.state_dict()  # keys as 'm/7_Dense_W' and 'm/7_Residual/0_Conv2D_W'
        kept = {k: v for k, v in state.items() if not k.partition("/")[2].startswith(gone)}
        optimizer.load_state_dict(kept, strict=False)  # layers that are frozen keep their state


# What nonsense in a file raises where it is used; the last two where it is very large or deep.
_NONSENSE = (
    *(KeyError, TypeError, AttributeError, IndexError, ArithmeticError, ValueError),
    *(MemoryError, RecursionError),
)


@contextlib.contextmanager
def refusing_nonsense(path: str | os.PathLike, what: str = "a model") -> Iterator[None]:
    """Turn what nonsense in a file raises, a missing key or a wrong type, into one clear error.

    `what` is what the file should describe.
    """
    try:
        yield
    except _NONSENSE as error:
        is_ours = isinstance(error, ValueError) and str(error).startswith("[")
        if is_ours and what == "a model":
            raise  # it names what is wrong
        raise model_file.FileFormatError(
            f"[Model] '{path}' does not describe {what}: {type(error).__name__}: {error}."
        ) from error


def _config_of(part: Any, known: Registry[Any]) -> dict[str, Any] | None:
    """Return `to_config` of a loss or optimizer, by the name under which it is found again.

    A class of the user's that is not registered, or does not tell its arguments, goes by its
    full name, under which nothing is found.
    """
    if part is None:
        return None
    cls = type(part)
    config = part.to_config() if hasattr(part, "to_config") else {"config": {}}
    is_told = hasattr(part, "to_config") or not inspect.signature(cls).parameters
    name = cls.__name__ if known.knows(cls) and is_told else f"{cls.__module__}.{cls.__qualname__}"
    return {**config, "class": name}
