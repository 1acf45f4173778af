"""State dicts as the content of a model file, and back.

`Model.save` passes the model's configuration and its training state, from which `to_file` makes a
`ModelFile`: numbers and strings go into its JSON, arrays stay arrays. `state_of` returns the state
dict of a file; `layers_of` and `compiled_of` make the objects that the configurations describe.
Nothing here knows the model.
"""

import contextlib
import inspect
import json
import math
import os
from collections.abc import Iterator
from typing import Any

from .. import cuda, losses, metrics, optim
from ..data.text.vocabulary import Vocabulary
from ..layers import Layer, layer_from_config
from ..layers.config import check_nesting
from ..registry import Registry
from . import model_file

# Figures that a history may hold: a file can name more than there is memory for.
_MAX_FIGURES = 10_000_000

# Prefixes of the arrays in a file that are stored next to the optimizer's own.
_ASIDE, _ACCUMULATED = "set_aside/", "accumulated/"
_CALLBACK, _METRIC = "callback/", "metric/"
_NOT_THE_OPTIMIZERS = (_ASIDE, _ACCUMULATED, _CALLBACK, _METRIC)

State = dict[str, Any]


# --------------------------------------------------------------------------- into a file


def to_file(
    architecture: dict[str, Any], state: State, compiled: dict[str, Any] | None = None
) -> model_file.ModelFile:
    """Return the content of a file.

    Parameters
    ----------
    architecture
        'layers' and the other entries of `ModelFile.architecture`.
    state
        `Model.training_state()`.
    compiled
        'loss', 'optimizer', 'metrics' and 'schedule' as JSON can write them; None leaves the
        state of training out.
    """
    check_nesting(architecture["layers"])
    weights = {name: cuda.to_cpu(array) for name, array in state["weights"].items()}
    content = model_file.ModelFile(architecture, weights)
    if compiled is None:
        return content
    accumulator = state["accumulator"]
    arrays = dict(state["optimizer"])
    arrays |= {_ASIDE + name: array for name, array in state["set_aside"].items()}
    arrays |= {_ACCUMULATED + name: array for name, array in accumulator["sums"].items()}
    content.training = {
        **compiled,
        "accumulation": {k: accumulator[k] for k in ("steps", "batches", "samples")},
        **{k: state[k] for k in ("history", "epoch", "split_seed", "generators")},
    }
    if "callbacks" in state:  # in training
        content.training["callbacks"] = [
            {**entry, "state": split_arrays(entry["state"], f"{_CALLBACK}{k}", arrays)}
            for k, entry in enumerate(state["callbacks"])
        ]
    if "within_epoch" in state:
        measured = state["within_epoch"]["metrics"].items()
        content.training["within_epoch"] = {
            **state["within_epoch"],
            "metrics": {
                name: split_arrays(metric, f"{_METRIC}{k}", arrays)
                for k, (name, metric) in enumerate(measured)
            },
        }
    content.optimizer_arrays = {name: cuda.to_cpu(array) for name, array in arrays.items()}
    return content


def config_of(part: Any, known: Registry[Any]) -> dict[str, Any] | None:
    """Return `to_config()` of a loss or an optimizer, under the name by which it is found again.

    A user's class that is not registered, or has no `to_config` for its arguments, gets its full
    name, under which nothing is found.
    """
    if part is None:
        return None
    cls = type(part)
    config = part.to_config() if hasattr(part, "to_config") else {"config": {}}
    is_complete = hasattr(part, "to_config") or not inspect.signature(cls).parameters
    is_found = known.knows(cls) and is_complete
    name = cls.__name__ if is_found else f"{cls.__module__}.{cls.__qualname__}"
    return {**config, "class": name}


def split_arrays(state: State, prefix: str, arrays: dict[str, Any]) -> State:
    """Return a state without its arrays; add these to `arrays`, as 'prefix/key[/name]'.

    Examples
    --------
    >>> import numpy as np
    >>> arrays = {}
    >>> split_arrays({"wait": 1, "best": {"W": np.ones(2)}}, "callback/0", arrays), arrays
    ({'wait': 1, 'best': {}}, {'callback/0/best/W': array([1., 1.])})
    >>> join_arrays({"wait": 1, "best": {}}, "callback/0/", arrays)
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


# ------------------------------------------------------------------------- out of a file


def read_training(path: str | os.PathLike) -> model_file.ModelFile:
    """Return a file that `fit(resume=...)` can go on from.

    Raises
    ------
    ValueError
        If the file holds no training state.
    """
    content = model_file.read(path)
    if content.training is None:
        raise ValueError(
            f"[Model] '{path}' holds no training state to resume: save the model with "
            "include_optimizer=True, or use ModelCheckpoint(save_state=True)."
        )
    return content


def state_of(content: model_file.ModelFile) -> State:
    """Return the training state in a file, as `Model.training_state` made it."""
    saved, arrays = content.training or {}, content.optimizer_arrays
    accumulation = saved.get("accumulation", {"steps": 1, "batches": 0, "samples": 0})  # 0.1: none
    own = {k: v for k, v in arrays.items() if not k.startswith(_NOT_THE_OPTIMIZERS)}
    state = {
        "weights": content.arrays,
        "optimizer": own,
        "set_aside": _with_prefix(arrays, _ASIDE),
        "accumulator": {**accumulation, "sums": _with_prefix(arrays, _ACCUMULATED)},
        "history": _checked_history(saved["history"]),
        "epoch": saved["epoch"],
        "split_seed": saved["split_seed"],
        "generators": saved["generators"],
        "callbacks": [
            {**entry, "state": join_arrays(entry["state"], f"{_CALLBACK}{k}/", arrays)}
            for k, entry in enumerate(saved.get("callbacks", ()))
        ],
    }
    within = saved.get("within_epoch")
    if within is not None:
        measured = {
            name: join_arrays(metric, f"{_METRIC}{k}/", arrays)
            for k, (name, metric) in enumerate(within["metrics"].items())
        }
        state["within_epoch"] = {**within, "metrics": measured}
    return state


def saved_rate(content: model_file.ModelFile | None) -> float | None:
    """Return the optimizer's learning rate in a file's training state; None if it has none."""
    saved = {} if content is None else content.training or {}
    lr = ((saved.get("optimizer") or {}).get("config") or {}).get("lr")
    return None if lr is None else float(lr)


def check_compiled(content: model_file.ModelFile, compiled: dict[str, Any], path: str) -> None:
    """Raise ValueError if the training in a file was compiled with another loss or optimizer.

    The losses must have the same arguments, as the history would mix them; of optimizers only the
    class must be the same, as their arguments may change in the course of a training.
    """
    for part in ("loss", "optimizer"):
        then, now = (_described(of.get(part)) for of in (content.training or {}, compiled))
        if then is None or now is None:
            continue
        same = {k: v for k, v in then["config"].items() if k in now["config"]}
        changed = part == "loss" and any(now["config"][k] != v for k, v in same.items())
        if then["class"] != now["class"] or changed:
            was, got = (f"{of['class']} {of['config']}" for of in (then, now))
            raise ValueError(
                f"[Model] '{part}' must be that of the training in '{path}', {was}, got {got}: "
                "compile the model as then, or use load_weights() and fit() without 'resume'."
            )


def _described(config: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a loss or an optimizer as JSON holds it, by the name of its class without a module."""
    if config is None:
        return None
    config = json.loads(json.dumps(config))
    return {"class": config["class"].rpartition(".")[2], "config": config.get("config", {})}


def layers_of(content: model_file.ModelFile, path: str | os.PathLike) -> list[Layer]:
    """Return new layers as a file's architecture describes them."""
    if content.architecture is None:
        raise model_file.FileFormatError(
            f"[Model] '{path}' holds weights but no layers: make the model and call load_weights()."
        )
    entries = content.architecture["layers"]
    if not entries:
        raise ValueError("'layers' is empty")
    check_nesting(entries)
    return [layer_from_config(entry) for entry in entries]


def compiled_of(saved: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `Model.compile` that a file's training state describes.

    Raises
    ------
    ValueError
        For parts that are not nn's own, or not registered.
    """
    chosen = [metrics.get(entry["name"]) for entry in saved["metrics"]]
    for metric, entry in zip(chosen, saved["metrics"], strict=True):
        if entry.get("threshold") is not None:
            metric.threshold = entry["threshold"]
    return {
        "loss": losses.from_config(saved["loss"]),
        "optimizer": optim.from_config(saved["optimizer"]),
        "metrics": chosen,
        "gradient_accumulation_steps": saved.get("accumulation", {}).get("steps", 1),  # 0.1: none
    }


def loss_of(config: dict[str, Any] | None) -> Any:
    """Return the loss that a file describes; None for none, or one that is not registered."""
    try:
        return None if config is None else losses.from_config(config)
    except ValueError:
        return None


def vocabulary_of(content: model_file.ModelFile) -> Vocabulary | None:
    """Return the vocabulary in a file; None without one."""
    config = (content.architecture or {}).get("vocabulary")
    return None if config is None else Vocabulary(**config)


def join_arrays(state: State, prefix: str, arrays: dict[str, Any]) -> State:
    """Return a state with its arrays in it again; see `split_arrays`."""
    state = {k: dict(v) if isinstance(v, dict) else v for k, v in state.items()}
    for name, array in _with_prefix(arrays, prefix).items():
        key, _, inner = name.partition("/")
        if inner:
            state[key][inner] = array
        else:
            state[key] = array
    return state


def _with_prefix(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return the arrays whose name begins with a prefix, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _is_array(value: Any) -> bool:
    """Return whether a value is stored as an array; other values are stored as JSON."""
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    return kind is not None and kind in "fiub" and getattr(value, "ndim", 0) > 0


def _checked_history(saved: dict[str, Any]) -> dict[str, list[float]]:
    """Return a history of floats, each figure with as many epochs as the loss."""
    history = {name: [float(v) for v in values] for name, values in saved.items()}
    epochs = len(history.get("loss", ()))
    if epochs * len(history) > _MAX_FIGURES:
        raise ValueError(f"'history' has {len(history):,} figures in {epochs:,} epochs")
    for values in history.values():
        # A callback after the checkpoint may have added its figure late.
        values += [math.nan] * (epochs - len(values))
    return history


# What nonsense in a file raises when it is used; the last if it is very deep.
_NONSENSE = (
    *(KeyError, TypeError, AttributeError, IndexError, ArithmeticError),
    *(ValueError, RecursionError),
)


@contextlib.contextmanager
def refusing_nonsense(path: str | os.PathLike, what: str = "a model") -> Iterator[None]:
    """Raise one clear error for nonsense in a file: a missing key, a wrong type.

    `what` is what the file should describe. Too little memory is no fault of the file: sizes are
    checked against what it holds before anything is allocated.
    """
    try:
        yield
    except MemoryError as error:
        raise MemoryError(f"[Model] too little memory for '{path}': {error}") from None
    except _NONSENSE as error:
        is_ours = isinstance(error, ValueError) and str(error).startswith("[")
        if is_ours and what == "a model":
            raise  # its message is clear
        raise model_file.FileFormatError(
            f"[Model] '{path}' does not describe {what}: {type(error).__name__}: {error}."
        ) from error
