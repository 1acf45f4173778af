"""Epochs and validations of a number of steps, and how many steps data have."""

import contextlib
import math
from collections.abc import Generator
from typing import Any

from .. import checks
from ..data import Dataset
from ..data.stream import Stream
from .sources import Source


def limited(data: Source, steps: Any, batch_size: int, argument: str = "steps_per_epoch") -> Source:
    """Return data that end after `steps` batches; None for all.

    Parameters
    ----------
    data
        The data.
    steps
        Batches to read at a time.
    batch_size
        Samples in a batch.
    argument
        Name of the argument that `steps` comes from, for messages.
    """
    if isinstance(data, Stream):
        data.steps_argument = argument
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


def check_epochs(train: Source, val: Source | None, epochs: range) -> None:
    """Raise if a generator would have to be read a second time."""
    for data, way_out in (
        (train, "pass 'steps_per_epoch', which cuts it into epochs, or"),
        (val, "pass 'validation_steps', which cuts it into pieces, a list of batches, or"),
    ):
        if not isinstance(data, Stream) or not data.is_one_shot or len(epochs) < 2:
            continue
        if data.steps is None:
            raise ValueError(
                f"[Model] '{data.argument}' must be readable {len(epochs)} times, once an epoch, "
                f"got {data.source!r}, which can be read once: {way_out} a function that makes a "
                "new one each epoch."
            )


def sizes(train: Source, batch_size: int) -> dict[str, float]:
    """Return 'samples' and 'steps' of an epoch, each infinite if it is not known."""
    if isinstance(train, Dataset):
        return {"samples": len(train), "steps": -(-len(train) // batch_size)}  # rounded up
    if train.counted is not None:
        return {"samples": train.counted[1], "steps": train.counted[0]}
    steps = train.steps or train.length(batch_size) or math.inf
    return {"samples": steps * train.rows if train.rows else math.inf, "steps": steps}


def close(*data: Source | None) -> None:
    """Close generators that are not read on."""
    for source in data:
        if isinstance(source, Stream):
            source.close()


def skip_batches(
    batches: Generator[tuple, None, None], done: int, argument: str
) -> Generator[tuple, None, None]:
    """Yield the batches after the first `done` ones, which must be there."""
    count = 0
    with contextlib.closing(batches):
        for count, batch in enumerate(batches, 1):
            if count > done:
                yield batch
    check_length(count, done, argument)


def check_length(count: int, done: int, argument: str) -> None:
    """Raise if an epoch has fewer batches than were trained of it before."""
    if count < done:
        raise RuntimeError(
            f"[Model] '{argument}' ended after {count} batches of an epoch of which {done} were "
            "trained before: 'resume' needs the source with which the training began."
        )
