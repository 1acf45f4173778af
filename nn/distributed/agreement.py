"""What must be the same in all processes of a training, and the errors if it is not.

Without these checks each process would add its part of another batch, or of another model, and all
would go on with the sum.
"""

import contextlib
import itertools
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np

from ..data import Dataset
from ..data.batching import fingerprint
from ..data.rows import mapped_file
from .communicator import Communicator

_SAMPLED_ROWS = 64  # of inputs, spread over all rows
_SAMPLED_TARGETS = 256  # of targets in a file; of those in memory all are compared


def check_same(team: Communicator, what: Mapping[str, Any]) -> None:
    """Raise if values differ between the processes.

    Parameters
    ----------
    team
        The processes.
    what
        Values by the name of the argument that they come from.

    Raises
    ------
    ValueError
        In all processes; the message has the argument and both values.
    """
    for rank, found in enumerate(everyone := team.gather(dict(what))):
        for name, value in found.items():
            first = everyone[0][name]
            if value == first:
                continue
            value, first = _difference(value, first)
            raise ValueError(
                f"[Model] '{name}' must be the same in all processes, got {value} in rank {rank} "
                f"and {first} in rank 0."
            )


def _difference(one: Any, other: Any) -> tuple[Any, Any]:
    """Return what differs between two values: of lists an item, of dicts some entries."""
    if isinstance(one, list) and isinstance(other, list):
        pairs = itertools.zip_longest(one, other)
        return next((a, b) for a, b in pairs if a != b)
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        names = [name for name in one if one[name] != other[name]]
        if len(names) == 1 and isinstance(one[names[0]], dict):
            return _difference(one[names[0]], other[names[0]])
        one, other = ({name: of[name] for name in names} for of in (one, other))
    return one, other


def described(value: Any) -> Any:
    """Return a value as numbers and texts that are the same for the same value in all processes.

    Of a function it is the name, of another object the class and those attributes that are numbers,
    texts or lists.

    Examples
    --------
    >>> described([0.5, None, len]), described({"a": np.float32(1)})
    ([0.5, None, 'len'], {'a': 1.0})
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): described(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [described(part) for part in value]
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"an array {value.shape} of {value.dtype}"
    if hasattr(value, "__qualname__"):
        return value.__qualname__
    plain = {
        name: described(part)
        for name, part in sorted(getattr(value, "__dict__", {}).items())
        if isinstance(part, bool | int | float | str | list | tuple)
    }
    return f"{type(value).__name__} {plain}" if plain else type(value).__name__


def described_layers(layers: Sequence[Any]) -> list[str]:
    """Return a text for each layer: its class and its arguments."""
    found = []
    for layer in layers:
        config: Any = {}
        with contextlib.suppress(Exception):  # a user's layer need not have one
            config = described(layer.to_config()["config"])
        found.append(f"{type(layer).__name__} {config}")
    return found


def described_data(data: Any) -> Any:
    """Return what can be compared of a `Dataset`: rows, types, targets, and some of the inputs.

    Other sources are compared batch by batch, by `same_batches`.
    """
    samples = getattr(data, "source", data)  # of a `Stream` of some of its batches
    if not isinstance(samples, Dataset):
        return type(data).__name__
    x, targets = samples.x, samples.y
    if targets is not None and mapped_file(targets) is not None:
        targets = targets[:: len(targets) // _SAMPLED_TARGETS + 1]
    rows = x[:: len(x) // _SAMPLED_ROWS + 1]
    text = f"{len(x)} rows of {x.dtype}, checksum {fingerprint(rows, targets):x}"
    weights = samples.sample_weight
    return text if weights is None else f"{text}, of the weights {fingerprint(weights, None):x}"


def check_evaluation(
    team: Communicator, data: Any, arrays: str, batch_size: int, steps: int | None
) -> None:
    """Raise if `evaluate` was called with other data, arguments or weights in a process.

    Parameters
    ----------
    team
        The processes.
    data
        A `Dataset`, or a source of batches, which are compared when they come.
    arrays
        A hash of the weights.
    batch_size, steps
        As in `Model.evaluate`.
    """
    what = {"data": described_data(data), "batch_size": batch_size, "steps": steps}
    check_same(team, {**what, "weights of the model (by their hash)": arrays[:12]})


def same_batches(
    team: Communicator, batches: Generator[tuple, None, None], argument: str
) -> Generator[tuple, None, None]:
    """Yield the batches of a source, as long as all processes have the same.

    Parameters
    ----------
    team
        The processes.
    batches
        Of this process, each with `total` and `fingerprint`.
    argument
        Its name in messages.

    Raises
    ------
    RuntimeError
        In all processes, if one has another batch, or no more.
    """
    with contextlib.closing(batches):
        for index in itertools.count():
            batch: Any = next(batches, None)
            own = [0, 0] if batch is None else [batch.total, batch.fingerprint]
            everyone = team.exchange(np.array(own, np.int64)).tolist()
            for rank, found in enumerate(everyone):
                if found != everyone[0]:
                    its, first = (f"{k[0]} rows" if k[0] else "none" for k in (found, everyone[0]))
                    raise RuntimeError(
                        f"[Model] '{argument}' gives another batch in rank {rank} than in rank 0 "
                        f"(batch {index}, {its} and {first}): all processes must read the same "
                        "batches in the same order, of which each trains on its rows: seed the "
                        "source."
                    )
            if batch is None:
                return
            yield batch
