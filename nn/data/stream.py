"""Stream: batches that somebody else makes, brought into the form of a `Dataset`'s.

A generator, a loader or a function of the user's stands here where `Dataset` stands elsewhere: at
the first station of a batch. `Stream` has the same method `batches`, so `fit`, `evaluate` and
`predict` need not know which of the two they read. Each batch is looked at when it comes, since
nobody can look at all of them before.
"""

import contextlib
import inspect
import itertools
import operator
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import checks, cuda, validation
from .batching import (
    Augment,
    augmented,
    batch_generator,
    check_dtype,
    check_function,
    check_mixing,
    check_rng,
    check_rows,
    check_threads,
    to_float,
)
from .dataset import Dataset
from .rows import as_rows

# Looks at a batch (x, y, weights or None) and returns the weights that it is to have.
Check = Callable[[np.ndarray, Any, Any], Any]

_ARGUMENTS = ("batch_size", "shuffle", "num_threads", "rng", "augment", "dtype")  # of batches()


def hands_out_batches(data: Any) -> bool:
    """Tell whether data hands out batches, so that a `Stream` can read it.

    It does where it has a method `batches`, can be iterated over, or is a function. A `Dataset`
    counts as samples, and so does all that NumPy takes for an array at once.

    Examples
    --------
    >>> hands_out_batches(iter([])), hands_out_batches([]), hands_out_batches(np.zeros(3))
    (True, True, False)
    """
    if isinstance(data, Dataset | Mapping | str | bytes):
        return False
    if callable(getattr(data, "batches", None)):
        return True
    is_source = isinstance(data, Iterable) or _is_sequence(data) or callable(data)
    return is_source and not hasattr(data, "__array__")


def are_pairs(items: Sequence[Any]) -> bool:
    """Tell whether all items are batches (x, y), rather than samples or numbers.

    Examples
    --------
    >>> x, y = np.zeros((4, 3)), np.zeros((4, 2))
    >>> are_pairs([(x, y), (x, y)]), are_pairs((x, y))
    (True, False)
    """
    return all(isinstance(item, list | tuple) for item in items) and are_inputs(items)


def are_inputs(items: Sequence[Any], axes: int = 2) -> bool:
    """Tell whether all items are inputs of at least so many axes, or tuples that begin with such.

    Examples
    --------
    >>> x, y = np.zeros((4, 3)), np.zeros(4)
    >>> are_inputs([x, x]), are_inputs([(x, y), (x, y)]), are_inputs([x[0], x[1]])
    (True, True, False)
    """
    firsts = [item[0] if isinstance(item, list | tuple) and item else item for item in items]
    return bool(firsts) and all(getattr(first, "ndim", 0) >= axes for first in firsts)


class Stream:
    """Batches from a source that makes them; each call of `batches` reads one epoch of them.

    Parameters
    ----------
    source
        One of

        - an object with a method `batches`, which is called for each epoch with those of
          `batch_size`, `shuffle`, `num_threads`, `rng`, `augment` and `dtype` that its signature
          names (all but `augment` where it has `**arguments`; one that is None is left to the
          method's default). `len` of it, where it has one, is its number of samples;
        - an iterable, which is iterated over anew for each epoch, or an object that is read by
          `len` and an index. `len` of it, where it has one, is its number of batches;
        - a function without arguments that returns an iterable, called anew for each epoch;
        - an iterator, as a generator is, which is read on and on.
    argument
        Its name in messages.
    steps
        Batches of an epoch; None for as many as come. The attribute `steps_argument` is the name
        of the argument that they come from, for messages.
    check
        Function `(x, y, weights) -> weights` that refuses a batch by a ValueError or TypeError.
    with_targets
        Whether a batch is (x, y) or (x, y, sample_weight), as a tuple or list. Else only x is
        read: a batch is x alone, or a tuple or list that begins with it.

    Attributes
    ----------
    epoch
        Number of the epoch that was begun last, counted from 1, where the source is read for
        training; else None.
    y
        Targets of the first batch, once it was read.
    rows
        Samples in the batch that was read last.
    counted
        (batches, samples) of the epoch that was read last, once there is one.

    Examples
    --------
    >>> def two_batches():
    ...     yield np.full((3, 1), 255, dtype=np.uint8), [0, 1, 0]
    ...     yield np.zeros((1, 1), dtype=np.uint8), [1]
    >>> for x, y in Stream(two_batches).batches():
    ...     print(x.dtype, x.ravel(), y)
    float32 [1. 1. 1.] [0 1 0]
    float32 [0.] [1]
    """

    def __init__(
        self,
        source: Any,
        argument: str = "data",
        steps: int | None = None,
        check: Check | None = None,
        with_targets: bool = True,
    ) -> None:
        self.source, self.argument, self.steps = source, argument, steps
        self.steps_argument = "steps_per_epoch"
        self.check, self.with_targets = check, with_targets
        self.epoch: int | None = None
        self.y: np.ndarray | None = None
        self.rows = 0
        self.counted: tuple[int, int] | None = None
        self._kept: Generator[tuple, None, None] | None = None

    @property
    def is_one_shot(self) -> bool:
        """Whether the source can be read only once, as a generator."""
        return not self._has_batches and hasattr(self.source, "__next__")

    @property
    def _has_batches(self) -> bool:
        return callable(getattr(self.source, "batches", None))

    def length(self, batch_size: int) -> int | None:
        """Return the number of batches that the source says it has; None where it does not."""
        try:
            length = len(self.source)
        except (TypeError, NotImplementedError):  # some loaders have a len() that raises
            return None
        return -(-length // batch_size) if self._has_batches else length  # rounded up

    def batches(
        self,
        batch_size: int = 32,
        shuffle: bool = True,
        num_threads: int | None = None,
        rng: np.random.Generator | None = None,
        augment: Augment | None = None,
        dtype: Any = "float32",
    ) -> Generator[tuple, None, None]:
        """Return an iterator over the batches of the next epoch; the first is read at once.

        Parameters
        ----------
        batch_size, shuffle, num_threads
            Handed to the method `batches` of a source that has one, and of no effect elsewhere:
            the other sources decide themselves how large their batches are, and in which order.
        rng, augment, dtype
            As in `Dataset.batches`. The augmentation runs here, and each batch has a generator
            of its own, unless the source's method `batches` takes `augment` and does it.

        Yields
        ------
        x, y or x, y, sample_weight or x
            New arrays on the CPU, as those of `Dataset.batches`: uint8 inputs are scaled to
            [0, 1], other numbers are cast to `dtype`.

        Raises
        ------
        ValueError, TypeError
            For a wrong argument, no batches at all, or a batch that is none or does not pass
            `check`; the message names it. What the source raises comes out as it is, with a note
            of the batch.
        RuntimeError
            Where a later epoch has no batches, an epoch has fewer than `steps`, or `augment`
            fails.
        """
        if self._kept is not None:
            kept, self._kept = self._kept, None
            return kept
        arguments = {
            "batch_size": checks.positive_int("Model", "batch_size", batch_size),
            "shuffle": shuffle,
            "num_threads": num_threads,
            "rng": None if rng is None else check_rng(rng),
            "augment": augment,
            "dtype": check_dtype(dtype),
        }
        check_threads("Model", num_threads)
        check_function("augment", augment)
        if self.epoch is not None:
            self.epoch += 1
        batches = self._epoch(arguments)
        next(batches)  # as far as the first batch, which it hands out next
        return batches

    def keep(self, batches: Generator[tuple, None, None]) -> None:
        """Take back an iterator of `batches` that nobody has read from: the next call returns it.

        Its first batch has been looked at then, and is not lost.
        """
        self._kept = batches

    def close(self) -> None:
        """Close what `keep` took back, and the source where it is a generator."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None
        if self.is_one_shot:
            _close(self.source)

    # ---------------------------------------------------------------------- one epoch

    def _epoch(self, arguments: dict[str, Any]) -> Generator[tuple, None, None]:
        """Yield () once the first batch is read; then the batches, checked and prepared."""
        taken = self._taken(arguments)
        augment, seed = None if "augment" in taken else arguments["augment"], 0
        if augment is not None:  # else no generator is touched
            seed = int(check_rng(arguments["rng"]).integers(2**63))
        count = samples = 0
        with contextlib.closing(self._items(taken)) as items:
            for item in itertools.islice(items, self.steps):  # never one item too many
                batch = self._prepared(item, count, seed, augment, arguments["dtype"])
                self.rows = len(batch[0])
                if self.y is None and self.with_targets:
                    self.y = batch[1]
                if count == 0:
                    yield ()
                count, samples = count + 1, samples + self.rows
                yield batch
        self._check_count(count)
        self.counted = count, samples

    def _taken(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return those of the arguments that the source's own method `batches` takes."""
        if not self._has_batches:
            return {}
        parameters = inspect.signature(self.source.batches).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        taken = {}
        for name in _ARGUMENTS:
            named = parameters.get(name)
            if named is None and not (takes_any and name != "augment"):
                continue
            if arguments[name] is not None or (named is not None and named.default is named.empty):
                taken[name] = arguments[name]
        return taken

    def _items(self, taken: dict[str, Any]) -> Generator[Any, None, None]:
        """Yield what the source gives; what it raises gets a note, what is opened is closed."""
        iterator, index = None, 0
        try:
            iterator = self._open(taken)
            for item in iterator:
                yield item
                index += 1
        except Exception as error:
            error.add_note(f"[Model] raised by {self._place(index)}.")
            raise
        finally:
            if iterator is not self.source:  # else it is the user's, and may be read on
                _close(iterator)

    def _open(self, taken: dict[str, Any]) -> Iterator[Any]:
        """Return an iterator over the source's batches from their beginning."""
        source = self.source
        if self._has_batches:
            source = source.batches(**taken)
        elif _is_sequence(source):
            source = (self.source[index] for index in range(len(self.source)))
        elif not isinstance(source, Iterable):
            if not checks.takes(source, 0):
                rule = "must be a function without arguments, or another source of batches"
                raise TypeError(f"[Model] '{self.argument}' {rule}, got {source!r}.")
            source = source()
        if not isinstance(source, Iterable):
            rule = f"must give batches to iterate over, as a generator does, but {self.source!r}"
            raise TypeError(f"[Model] '{self.argument}' {rule} gave {source!r}.")
        if self.steps is None and _is_endless(source):
            raise ValueError(
                f"[Model] '{self.argument}' must end, got {source!r}, which never does: give "
                f"'{self.steps_argument}', the number of batches to read."
            )
        return iter(source)

    def _check_count(self, count: int) -> None:
        """Raise where an epoch ended without any batch, or before its time."""
        if count == 0 and self.counted is None:
            raise ValueError(
                f"[Model] '{self.argument}' gave no batches: is it empty, or a generator that was "
                "read before?"
            )
        epoch = "" if self.epoch is None else f" in epoch {self.epoch}"
        if self.steps is not None and count < self.steps:
            raise RuntimeError(
                f"[Model] '{self.argument}' ended after {count} of {self.steps} batches{epoch}: "
                f"give fewer '{self.steps_argument}' or epochs, or a source that goes on. "
                "The model and its history keep what was learned before."
            )
        if count == 0:
            raise RuntimeError(
                f"[Model] '{self.argument}' gave no batches{epoch}, but did before: it must begin "
                "anew each time, as a function does that makes a new generator."
            )

    # ---------------------------------------------------------------------- one batch

    def _prepared(
        self, item: Any, index: int, seed: int, augment: Augment | None, dtype: np.dtype
    ) -> tuple:
        """Return batch number `index` as `Dataset.batches` has it; it depends on no other."""
        try:
            x, y, weights = self._arrays(item)
            if self.check is not None:
                weights = self.check(x, y, weights)
            check_mixing(augment, weights)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            reason = str(error).removeprefix("[Model] ")
            raise kind(f"[Model] {self._place(index)}: {reason}") from error
        x = to_float(x, dtype)  # copies: the source may use its arrays again
        if not self.with_targets:
            return (x,)
        y = None if y is None else np.array(y, dtype=dtype if y.dtype.kind == "f" else None)
        if augment is not None:
            x, y = self._augmented(augment, x, y, batch_generator(seed, index), index)
        return (x, y) if weights is None else (x, y, weights.astype(dtype))

    def _arrays(self, item: Any) -> tuple[np.ndarray, Any, np.ndarray | None]:
        """Return x, y and weights of what the source gave; y and weights may be None."""
        if not self.with_targets:
            x = item[0] if isinstance(item, tuple | list) and item else item
            return as_rows("x", x, owner="Model"), None, None
        if not isinstance(item, tuple | list) or len(item) not in (2, 3):
            raise TypeError(f"must be a pair (x, y) or (x, y, sample_weight), got {_kind(item)}.")
        x = as_rows("x", item[0], owner="Model")
        if len(x) == 0:
            raise checks.error("Model", "x", "must hold at least one sample", x.shape)
        y = None if item[1] is None else as_rows("y", item[1], len(x), owner="Model")
        if len(item) == 2 or item[2] is None:
            return x, y, None
        return x, y, validation.check_weights(item[2], "sample_weight", len(x))

    def _augmented(
        self, augment: Augment, x: np.ndarray, y: Any, rng: np.random.Generator, index: int
    ) -> tuple[np.ndarray, Any]:
        rows, dtype = len(x), x.dtype
        try:
            x, y = augmented(augment, x, y, rng)
            return check_rows("augment", x, rows, dtype), cuda.to_cpu(y)
        except Exception as error:
            raise RuntimeError(
                f"[Model] {self._place(index)}: 'augment' failed: {type(error).__name__}: {error}"
            ) from error

    def _place(self, index: int) -> str:
        epoch = "" if self.epoch is None else f"epoch {self.epoch}, "
        return f"'{self.argument}', {epoch}batch {index}"


# ------------------------------------------------------------------------------- helpers


def _close(iterator: Any) -> None:
    """Close a generator, or whatever has such a method."""
    if hasattr(iterator, "close"):
        iterator.close()


def _is_endless(source: Any) -> bool:
    """Tell whether a source is known never to end; of a generator nobody knows.

    Examples
    --------
    >>> _is_endless(itertools.cycle([1])), _is_endless(itertools.repeat(1, times=3))
    (True, False)
    """
    if isinstance(source, itertools.repeat):
        return operator.length_hint(source, -1) == -1
    return isinstance(source, itertools.cycle | itertools.count)


def _is_sequence(data: Any) -> bool:
    """Tell whether an object is read by its length and an index alone, as Keras' sequences."""
    by_index = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    return by_index and not isinstance(data, Iterable)


def _kind(item: Any) -> str:
    """Return what something is, for a message."""
    if isinstance(item, tuple | list):
        return f"a {type(item).__name__} of {len(item)}"
    shape = getattr(item, "shape", None)
    return type(item).__name__ if shape is None else f"{type(item).__name__} of shape {shape}"
