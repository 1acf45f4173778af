"""What the data of a training are, once read: a `Dataset`, or a `Stream` of batches."""

from typing import Any

from ..data import Dataset
from ..data.batching import Part
from ..data.ranges import Range
from ..data.rows import mapped_file
from ..data.stream import Stream
from ..layers.shard import slice_of

Source = Dataset | Stream


def samples_of(train: Source) -> Dataset | None:
    """Return the `Dataset` of training data, also if it is read in steps; None for a source."""
    source = train.source if isinstance(train, Stream) else train
    return source if isinstance(source, Dataset) else None


def range_of_source(data: Source) -> Range | None:
    """Return the range of the inputs of data, as far as a stream has been read."""
    samples = samples_of(data)
    return data.input_range if samples is None else samples.input_range


def rows_to_read(array: Any, part: Part | None) -> range | None:
    """Return the rows of a memory-mapped array that one of several processes checks; else None.

    All have the same file, and together they read it once. Arrays in memory are checked by each.
    """
    if part is None or mapped_file(array) is None:
        return None
    rows = slice_of(*part, len(array))
    return range(rows.start, rows.stop)
