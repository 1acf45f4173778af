"""Data sets of single samples, such as PyTorch's `Dataset`, as batches."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .. import checks
from ..layers.shard import slice_of
from ..validation import fits_shape
from .batching import BatchPart, Part


class SampleBatches:
    """Batches of a data set that is read by `len` and an index, sample by sample.

    Parameters
    ----------
    dataset
        An object with a length, whose items are x, (x, y) or (x, y, sample_weight) of one sample
        each, as arrays, numbers or PyTorch's tensors.

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
        """Yield x, (x, y) or (x, y, sample_weight) of all samples, as `Dataset.batches`."""
        order = np.arange(len(self))
        if shuffle and rng is not None:
            order = rng.permutation(len(self))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            own = rows if part is None else rows[slice_of(*part, len(rows))]
            items = [self.dataset[int(row)] for row in own]
            samples = [tuple(i) if isinstance(i, tuple | list) else (i,) for i in items]
            batch = tuple(map(_stacked, zip(*samples, strict=True)))
            yield batch if part is None else BatchPart(batch, len(rows))


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
    a PyTorch `Dataset` counts as samples if these do not tell.

    Parameters
    ----------
    data
        Any object.
    input_shape
        The model's, with None for the batch axis; None if the model is not built.
    """
    is_map = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    makes_batches = any(hasattr(data, name) for name in ("batches", "on_epoch_end"))  # as Keras'
    if not is_map or makes_batches or isinstance(data, Iterable) or len(data) == 0:
        return False
    item = data[0]
    x, *others = item if isinstance(item, tuple | list) and len(item) else (item,)
    if checks.is_sparse(x):
        return False
    shape = np.shape(x)
    if len(shape) < 2 or (others and np.ndim(others[0]) == 0):
        return True
    if input_shape is not None:
        wanted = input_shape[1:]
        return fits_shape(shape, wanted) and not fits_shape(shape[1:], wanted)
    return any(kind.__module__.startswith("torch.utils.data") for kind in type(data).__mro__)
