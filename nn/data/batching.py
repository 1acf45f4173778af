"""Preparing batches: on threads, ahead of the model, as floats and augmented.

NumPy releases Python's global lock while it works on arrays, so the threads run in parallel.
"""

import dis
import itertools
import operator
import os
import types
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from .. import checks
from ..layers.shard import slice_of
from ..random import new_generator
from ..validation import is_byte_image

Preprocess = Callable[[np.ndarray], np.ndarray]
Augment = Callable[..., Any]  # (x, rng) -> x, or (x, y, rng) -> (x, y) if it mixes labels

Part = tuple[int, int]  # the number of a process, from 0, and how many there are

_MAX_THREADS = 8  # the model is slower than so many


class BatchPart(tuple):
    """The rows of a batch that one of several processes trains on: (x, y) or (x, y, weights).

    Parameters
    ----------
    arrays
        Its rows of the arrays.
    total
        Rows of the whole batch.
    fingerprint
        A number that is the same in all processes if the whole batch is.

    Examples
    --------
    >>> batch = BatchPart.of((np.arange(5), None), part=(1, 3))
    >>> batch, batch.total
    ((array([1, 2]), None), 5)
    """

    total: int
    fingerprint: int

    def __new__(cls, arrays: Iterable[Any], total: int, fingerprint: int = 0) -> "BatchPart":
        """Keep both numbers as attributes."""
        batch = super().__new__(cls, arrays)
        batch.total, batch.fingerprint = total, fingerprint
        return batch

    @classmethod
    def of(cls, batch: tuple[Any, ...], part: Part, fingerprint: int = 0) -> "BatchPart":
        """Return the part of a whole batch."""
        total = len(batch[0])
        rows = slice_of(*part, total)
        own = (array if array is None else array[rows] for array in batch)
        return cls(own, total, fingerprint)


def part_of(batch: tuple, item: Any, part: Part | None) -> tuple:
    """Return the rows of a batch that a process trains on, unless the source's item has no others.

    The fingerprint is the same if the sources of all processes give the same batches.
    """
    if part is None:
        return batch
    if isinstance(item, BatchPart):
        return BatchPart(batch, item.total, item.fingerprint)
    return BatchPart.of(batch, part, fingerprint(batch[0], batch[1] if len(batch) > 1 else None))


def fingerprint(x: np.ndarray, y: Any) -> int:
    """Return a number that differs, all but certainly, for other inputs or targets."""
    found = 0
    for array in (x, y):
        if array is not None:
            found = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, found)
    return found


def prepared(
    prepare: Callable[[int], tuple], count: int, threads: int, first: int = 0
) -> Generator[tuple, None, None]:
    """Yield prepare(first), ..., prepare(count - 1) in this order; threads work ahead."""
    if threads == 0:
        yield from map(prepare, range(first, count))
        return
    pool = ThreadPoolExecutor(min(threads, count), thread_name_prefix="nn.data")
    pending: deque[Future[tuple]] = deque()
    try:
        for index in range(first, count):
            pending.append(pool.submit(prepare, index))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # Reached at the end, after an error, and if the iterator is dropped early, as Python then
        # closes the generator. It waits for the batches in progress, so that no thread remains.
        pool.shutdown(cancel_futures=True)


def augmented(augment: Augment, x: Any, y: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    """Return a batch after an augmentation; one that mixes labels changes y too."""
    if getattr(augment, "mixes_labels", False):
        x, y = augment(x, y, rng)
        return x, y
    return augment(x, rng), y


def of_epoch(augment: Any, epoch: int) -> Any:
    """Return the augmentation of an epoch, of one that differs between them; see `for_epoch`."""
    if isinstance(augment, type) or not hasattr(augment, "for_epoch"):
        return augment
    return augment.for_epoch(epoch)


def batch_generator(seed: int, index: int) -> np.random.Generator:
    """Return the random generator of one batch, which depends on no thread."""
    return np.random.default_rng([seed, index])


def to_float(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return a new array of floats: images of bytes scaled to [0, 1], other numbers as they are.

    With a type of integers, that of ids, nothing is scaled.
    """
    if dtype.kind == "f" and is_byte_image(x):
        return np.divide(x, 255, dtype=dtype)
    with np.errstate(over="ignore"):  # overflow gives infinity, which the model refuses
        return x.astype(dtype)


def check_rows(source: str, x: Any, count: int, dtype: np.dtype) -> np.ndarray:
    """Return the result of a user's function as an array of `dtype`, one row for each sample."""
    x = np.asarray(x)
    if x.ndim == 0 or len(x) != count:
        raise ValueError(f"'{source}' must return {count} rows, got an array of shape {x.shape}")
    return x.astype(dtype, copy=False)


# ---------------------------------------------------------------------------------- checks


def check_threads(owner: str, num_threads: int | None) -> int:
    """Return the number of data threads; None stands for `min(8, cores)`."""
    if num_threads is None:
        return min(_MAX_THREADS, os.cpu_count() or 1)
    return checks.non_negative_int(owner, "num_threads", num_threads)


def check_dtype(dtype: Any) -> tuple[np.dtype, np.dtype]:
    """Return the dtypes of inputs and of targets: a type of floats, or ('int64', it) for ids."""
    has_ids = isinstance(dtype, tuple) and len(dtype) == 2 and dtype[0] == "int64"
    rule = "must be a type of floats"
    try:
        checked = np.dtype(dtype[1] if has_ids else dtype)
    except TypeError as error:
        raise checks.error("Dataset", "dtype", rule, dtype) from error
    if checked.kind != "f":
        raise checks.error("Dataset", "dtype", rule, dtype)
    return np.dtype(np.int64) if has_ids else checked, checked


def check_function(argument: str, value: Any) -> None:
    """Raise unless an argument is a function or None."""
    if value is not None and not callable(value):
        raise checks.error("Dataset", argument, "must be a function or None", value)


def check_augment(augment: Any, x: Any, y: Any, sample_weight: np.ndarray | None) -> None:
    """Raise if an augmentation does not suit the targets or weights of images.

    A mixture of samples has no weight, and if pixels change their places, targets that belong to
    pixels would have to as well.
    """
    images, targets = (tuple(getattr(array, "shape", ())) for array in (x, y))
    is_of_pixels = len(images) == 4 and len(targets) > 2 and targets[-2:] == images[-2:]
    if is_of_pixels and getattr(augment, "moves_pixels", False):
        raise ValueError(
            "[Dataset] 'augment' must not move pixels if each pixel has a target, as in y of shape "
            f"{targets}, got {augment!r}: it would not move the targets. Pass a function "
            "(x, y, rng) -> (x, y) that moves both, with the attribute mixes_labels = True."
        )
    if sample_weight is not None and getattr(augment, "mixes_labels", False):
        raise ValueError(
            "[Dataset] 'augment' must not mix labels if samples or classes have weights, "
            f"got {augment!r}."
        )


def check_rng(rng: Any) -> np.random.Generator:
    """Return a generator, a new one for None."""
    if rng is None:
        return new_generator()
    if not isinstance(rng, np.random.Generator):
        raise checks.error("Dataset", "rng", "must be a numpy.random.Generator or None", rng)
    return rng


def is_endless(source: Any) -> bool:
    """Return whether a source is known never to end.

    So is a generator whose function has no way to return: a `while True` without a `break`; and
    a generator expression, `map`, `zip`, `filter` or `enumerate` of what never ends.

    Examples
    --------
    >>> is_endless(itertools.cycle([1])), is_endless(itertools.repeat(1, times=3))
    (True, False)
    >>> def ones():
    ...     while True:
    ...         yield 1
    >>> is_endless(ones()), is_endless(x for x in zip(ones(), ones())), is_endless(map(abs, [1]))
    (True, True, False)
    """
    if isinstance(source, types.GeneratorType):
        names = {instruction.opname for instruction in dis.get_instructions(source.gi_code)}
        if not names & {"RETURN_VALUE", "RETURN_CONST"}:
            return True
        frame = source.gi_frame
        return frame is not None and is_endless(frame.f_locals.get(".0"))  # of an expression
    if isinstance(source, map | zip | filter | enumerate):
        inner = [part for part in source.__reduce__()[1] if isinstance(part, Iterator)]
        return bool(inner) and all(map(is_endless, inner))
    if isinstance(source, itertools.repeat):
        return operator.length_hint(source, -1) == -1
    return isinstance(source, itertools.cycle | itertools.count)
