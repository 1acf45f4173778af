"""Data sets of single samples, such as PyTorch's `Dataset` and `IterableDataset`, as batches."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .. import checks
from ..layers.shard import slice_of
from ..validation import fits_shape
from .batching import BatchPart, Part


class SampleBatches:
    """Batches of a data set that is read by `len` and an index, or in order, sample by sample.

    Parameters
    ----------
    dataset
        An object with a length, or an iterable, whose items are x, (x, y) or
        (x, y, sample_weight) of one sample each, as arrays, numbers or PyTorch's tensors.

    Examples
    --------
    >>> class Squares:
    ...     def __len__(self):
    ...         return 3
    ...
    ...     def __getitem__(self, index):
    ...         return np.array([index, index**2]), index % 2
    >>> for x, y in SampleBatches(Squares()).batches(2):
    ...     print(x.tolist(), y.tolist())
    [[0, 0], [1, 1]] [0, 1]
    [[2, 4]] [0]
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def batches(
        self,
        batch_size: int,
        shuffle: bool = False,
        rng: np.random.Generator | None = None,
        part: Part | None = None,
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield x, (x, y) or (x, y, sample_weight) of all samples, as `Dataset.batches`.

        An iterable is read in its own order.
        """
        for items, count in self._items(batch_size, rng if shuffle else None, part):
            samples = [tuple(i) if isinstance(i, tuple | list) else (i,) for i in items]
            batch = tuple(map(_stacked, zip(*samples, strict=True)))
            yield batch if part is None else BatchPart(batch, count)

    def _items(
        self, batch_size: int, rng: np.random.Generator | None, part: Part | None
    ) -> Iterator[tuple[list[Any], int]]:
        """Yield the items of each batch, or of a part of it, and how many the batch has."""
        if isinstance(self.dataset, Iterable):
            items = iter(self.dataset)
            while chosen := list(itertools.islice(items, batch_size)):
                yield chosen if part is None else chosen[slice_of(*part, len(chosen))], len(chosen)
            return
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            own = rows if part is None else rows[slice_of(*part, len(rows))]
            yield [self.dataset[int(row)] for row in own], len(rows)


def _stacked(values: Iterable[Any]) -> np.ndarray:
    """Return values of samples, each of one shape, as an array (n, ...)."""
    arrays = [np.asarray(value) for value in values]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        rule = "must have samples of one shape"
        raise checks.error("Model", "data", rule, ", ".join(map(str, shapes)))
    return np.stack(arrays)


def holds_samples(data: Any, input_shape: tuple[int | None, ...] | None) -> bool:
    """Return whether the items of a data set are single samples, not batches as Keras' are.

    They are if y is a number, x has one axis, or x has the shape that the model takes for a sample;
    a PyTorch `Dataset` counts as samples if these do not tell. Of iterables, only PyTorch's
    `IterableDataset` may be single samples; its first item is read to know it.

    Parameters
    ----------
    data
        Any object.
    input_shape
        The model's, with None for the batch axis; None if the model is not built.
    """
    is_map = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    makes_batches = any(hasattr(data, name) for name in ("batches", "on_epoch_end"))  # as Keras'
    if isinstance(data, Iterable):
        first = list(itertools.islice(data, 1)) if _is_of_torch(data, "IterableDataset") else []
    else:
        first = [data[0]] if is_map and not makes_batches and len(data) else []
    if not first:
        return False
    item = first[0]
    x, *others = item if isinstance(item, tuple | list) and len(item) else (item,)
    if checks.is_sparse(x):
        return False
    shape = np.shape(x)
    if len(shape) < 2 or (others and np.ndim(others[0]) == 0):
        return True
    if input_shape is not None:
        wanted = input_shape[1:]
        return fits_shape(shape, wanted) and not fits_shape(shape[1:], wanted)
    return _is_of_torch(data)


def _is_of_torch(data: Any, name: str = "") -> bool:
    """Return whether an object is a data set of PyTorch, or of a class of this name there."""
    return any(
        kind.__module__.startswith("torch.utils.data") and name in ("", kind.__name__)
        for kind in type(data).__mro__
    )
