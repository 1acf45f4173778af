"""Stream: batches from a generator, a loader or a function, in the form of those of a `Dataset`.

`Stream` has the method `batches` of `Dataset`, so `fit`, `evaluate` and `predict` read both in the
same way. Each batch is checked when it arrives, as they cannot all be checked in advance.
"""

import contextlib
import inspect
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import checks, cuda, validation
from .batching import (
    Augment,
    Part,
    augmented,
    batch_generator,
    check_augment,
    check_dtype,
    check_function,
    check_rng,
    check_rows,
    check_threads,
    is_endless,
    part_of,
    to_float,
)
from .columns import Columns, checked_columns
from .dataset import Dataset
from .ranges import Range, range_of, union
from .rows import as_inputs, as_rows

# Checks a batch (x, y, weights or None) and returns the weights to use.
Check = Callable[[np.ndarray, Any, Any], Any]

# Those of `batches` that a source may take; the last two only if it names them
_ARGUMENTS = ("batch_size", "shuffle", "num_threads", "rng", "dtype", "augment", "part")


def yields_batches(data: Any) -> bool:
    """Return whether data yields batches, so that a `Stream` can read it.

    It does if it has a method `batches`, is iterable, or is a function. A `Dataset` and anything
    that NumPy can convert to an array count as samples.

    Examples
    --------
    >>> yields_batches(iter([])), yields_batches([]), yields_batches(np.zeros(3))
    (True, True, False)
    """
    if isinstance(data, Dataset | Mapping | str | bytes) or checks.is_sparse(data):
        return False
    if callable(getattr(data, "batches", None)):
        return True
    is_source = isinstance(data, Iterable) or _is_sequence(data) or callable(data)
    return is_source and not hasattr(data, "__array__")


def are_pairs(items: Sequence[Any]) -> bool:
    """Return whether all items are batches (x, y), rather than samples or numbers.

    Examples
    --------
    >>> x, y = np.zeros((4, 3)), np.zeros((4, 2))
    >>> are_pairs([(x, y), (x, y)]), are_pairs((x, y))
    (True, False)
    """
    return all(isinstance(item, list | tuple) for item in items) and are_inputs(items)


def are_inputs(items: Sequence[Any], axes: int = 2) -> bool:
    """Return whether all items are inputs of at least `axes` axes, or tuples that begin with one.

    Examples
    --------
    >>> x, y = np.zeros((4, 3)), np.zeros(4)
    >>> are_inputs([x, x]), are_inputs([(x, y), (x, y)]), are_inputs([x[0], x[1]])
    (True, True, False)
    """
    firsts = [item[0] if isinstance(item, list | tuple) and item else item for item in items]
    return bool(firsts) and all(getattr(first, "ndim", 0) >= axes for first in firsts)


class Stream:
    """Batches from a source that creates them; each call of `batches` reads one epoch.

    Parameters
    ----------
    source
        One of

        - an object with a method `batches`, which is called for each epoch with those of
          `batch_size`, `shuffle`, `num_threads`, `rng`, `dtype`, `augment` and `part` that are in
          its signature (all but the last two if it has `**arguments`; those that are None keep the
          method's default). Its `len`, if it has one, is its number of samples;
        - an iterable, which is iterated over in each epoch, or an object that is read by `len` and
          an index, such as Keras' `Sequence`. Its `len`, if it has one, is its number of batches;
        - a function without arguments that returns an iterable, called in each epoch;
        - an iterator, such as a generator, of which each epoch reads the next batches.

        Its methods `on_epoch_begin` and `on_epoch_end`, if any, are called around each epoch.
    argument
        Its name in messages.
    steps
        Batches in an epoch; None for as many as there are. The attribute `steps_argument` is the
        name of the argument that sets it, for messages.
    check
        Function `(x, y, weights) -> weights` that raises ValueError or TypeError for a bad batch.
    with_targets
        Whether a batch is (x, y) or (x, y, sample_weight), as a tuple or list. If not, only x is
        read: a batch is x alone, or a tuple or list that begins with it.

    Attributes
    ----------
    epoch
        Number of the epoch that was started last, counted from 1, if the source is read for
        training; otherwise None.
    relabel
        Function of the targets of a batch that returns the model's labels; None for none.
    shaped
        Function that returns the targets of a checked batch in the outputs' shape; None for none.
    columns, target_columns
        Names of the columns of inputs and of targets that are tables; None before the first.
    y
        Targets of the first batch, once it has been read.
    rows
        Samples in the batch that was read last.
    input_range
        Lowest and highest number of the inputs read so far; images of bytes count as scaled.
    counted
        (batches, samples) of the epoch that was read last; None before that.

    Examples
    --------
    >>> def two_batches():
    ...     yield np.full((3, 1, 1, 1), 255, dtype=np.uint8), [0, 1, 0]
    ...     yield np.zeros((1, 1, 1, 1), dtype=np.uint8), [1]
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
        self.relabel: Callable[[np.ndarray], np.ndarray] | None = None
        self.shaped: Callable[[np.ndarray], np.ndarray] | None = None
        self.columns: Columns = None
        self.target_columns: Columns = None
        self.epoch: int | None = None
        self.y: np.ndarray | None = None
        self.rows = 0
        self.input_range: Range | None = None
        self.counted: tuple[int, int] | None = None
        self._kept: Generator[tuple, None, None] | None = None

    @property
    def is_one_shot(self) -> bool:
        """Whether the source can be read only once, like a generator."""
        return not self._has_batches and hasattr(self.source, "__next__")

    @property
    def _has_batches(self) -> bool:
        return callable(getattr(self.source, "batches", None))

    def length(self, batch_size: int) -> int | None:
        """Return the number of batches according to the source; None if it does not say."""
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
        part: Part | None = None,
    ) -> Generator[tuple, None, None]:
        """Return an iterator over the batches of the next epoch; the first is read at once.

        Parameters
        ----------
        batch_size, shuffle, num_threads
            Passed to the method `batches` of a source that has one, and otherwise ignored: other
            sources determine the size and the order of their batches themselves.
        rng, augment, dtype
            As in `Dataset.batches`. Augmentation is done here, with a random generator for each
            batch, unless the source's method `batches` takes `augment`.
        part
            (rank, size) of a process among several, for its rows of each batch, as a `BatchPart`.
            The whole batch is read, unless the method `batches` of the source takes `part` and
            yields a `BatchPart` itself.

        Yields
        ------
        x, y or x, y, sample_weight or x
            New arrays on the CPU, as from `Dataset.batches`: images of bytes, uint8
            (N, C, H, W), are scaled to [0, 1], other numbers are cast to `dtype`.

        Raises
        ------
        ValueError, TypeError
            If an argument is wrong, there are no batches at all, or a batch is invalid or does
            not pass `check`; the message has its number. Errors of the source are raised as they
            are, with a note that has the number of the batch.
        RuntimeError
            If a later epoch has no batches, an epoch has fewer than `steps`, or `augment` fails.
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
            "dtype": dtype,
            "part": part,
        }
        check_threads("Model", num_threads)
        check_function("augment", augment)
        if self.epoch is not None:
            self.epoch += 1
        batches = self._epoch(arguments)
        next(batches)  # reads the first batch, which is yielded next
        return batches

    def keep(self, batches: Generator[tuple, None, None]) -> None:
        """Store an unread iterator of `batches`, which the next call of `batches` returns.

        So the first batch can be checked in advance and is not lost.
        """
        self._kept = batches

    def close(self) -> None:
        """Close the stored iterator, and the source if it is a generator."""
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
        if augment is not None:  # else no generator is used
            seed = int(check_rng(arguments["rng"]).integers(2**63))
        count = samples = 0
        self._call("on_epoch_begin")
        with contextlib.closing(self._items(taken)) as items:
            for item in itertools.islice(items, self.steps):  # never one item too many
                batch = self._prepared(item, count, seed, augment, check_dtype(arguments["dtype"]))
                if self.y is None and self.with_targets:
                    self.y = batch[1]
                batch = part_of(batch, item, arguments["part"])
                self.rows = getattr(batch, "total", len(batch[0]))
                if count == 0:
                    yield ()
                count, samples = count + 1, samples + self.rows
                yield batch
        self._check_count(count)
        self.counted = count, samples
        self._call("on_epoch_end")

    def _call(self, method: str) -> None:
        """Call a method of the source if it has it, as Keras' sequences have."""
        function = getattr(self.source, method, None)
        if callable(function):
            function()

    def _taken(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments that the source's method `batches` takes."""
        if not self._has_batches:
            return {}
        parameters = inspect.signature(self.source.batches).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        taken = {}
        for name in _ARGUMENTS:
            named = parameters.get(name)
            if named is None and not (takes_any and name not in ("augment", "part")):
                continue
            if name == "part" and arguments["augment"] is not None and "augment" not in taken:
                continue  # it draws for the whole batch
            if arguments[name] is not None or (named is not None and named.default is named.empty):
                taken[name] = arguments[name]
        return taken

    def _items(self, taken: dict[str, Any]) -> Generator[Any, None, None]:
        """Yield the source's batches; add a note to its errors; close its iterator at the end."""
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
            if iterator is not self.source:  # a generator of the user's, which may be read further
                _close(iterator)

    def _open(self, taken: dict[str, Any]) -> Iterator[Any]:
        """Return an iterator over the source's batches, from the first one if it can restart."""
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
            rule = f"must return batches to iterate over, like a generator, but {self.source!r}"
            raise TypeError(f"[Model] '{self.argument}' {rule} gave {source!r}.")
        iterator = iter(source)
        if self.steps is None and is_endless(iterator):
            raise ValueError(
                f"[Model] '{self.argument}' must end, got {source!r}, which never does: pass "
                f"'{self.steps_argument}', the number of batches to read."
            )
        return iterator

    def _check_count(self, count: int) -> None:
        """Raise if an epoch had no batches, or fewer than `steps`."""
        if count == 0 and self.counted is None:
            raise ValueError(
                f"[Model] '{self.argument}' gave no batches: is it empty, or a generator that has "
                "been read already?"
            )
        epoch = "" if self.epoch is None else f" in epoch {self.epoch}"
        if self.steps is not None and count < self.steps:
            raise RuntimeError(
                f"[Model] '{self.argument}' ended after {count} of {self.steps} batches{epoch}: "
                f"pass fewer '{self.steps_argument}' or epochs, or a source with more batches. "
                "The model and its history keep the training so far."
            )
        if count == 0:
            raise RuntimeError(
                f"[Model] '{self.argument}' gave no batches{epoch}, but did before: pass a "
                "source that can be read repeatedly, such as a function that returns a generator."
            )

    # ---------------------------------------------------------------------- one batch

    def _prepared(
        self, item: Any, index: int, seed: int, augment: Augment | None, dtypes: Any
    ) -> tuple:
        """Return batch number `index` in the form of `Dataset.batches`."""
        try:
            x, y, weights = self._arrays(item)
            if self.check is not None:
                weights = self.check(x, y, weights)
            check_augment(augment, x, y, weights)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            reason = str(error).removeprefix("[Model] ")
            raise kind(f"[Model] {self._place(index)}: {reason}") from error
        y = y if y is None or self.shaped is None else self.shaped(y)
        x = to_float(x, dtypes[0])  # a copy, as the source may reuse its arrays
        self.input_range = union(self.input_range, range_of(x))
        if not self.with_targets:
            return (x,)
        y = None if y is None else np.array(y, dtype=dtypes[1] if y.dtype.kind == "f" else None)
        if augment is not None:
            x, y = self._augmented(augment, x, y, batch_generator(seed, index), index)
        return (x, y) if weights is None else (x, y, weights.astype(dtypes[1]))

    def _arrays(self, item: Any) -> tuple[np.ndarray, Any, np.ndarray | None]:
        """Return x, y and weights of a batch of the source; y and weights may be None."""
        if not self.with_targets:
            x = item[0] if isinstance(item, tuple | list) and item else item
            return self._inputs(x), None, None
        if not isinstance(item, tuple | list) or len(item) not in (2, 3):
            raise TypeError(f"must be a pair (x, y) or (x, y, sample_weight), got {_kind(item)}.")
        x = self._inputs(item[0])
        if len(x) == 0:
            raise checks.error("Model", "x", "must hold at least one sample", x.shape)
        self.target_columns = checked_columns(item[1], self.target_columns, "y")
        y = None if item[1] is None else as_rows("y", item[1], len(x), owner="Model")
        y = y if y is None or self.relabel is None else self.relabel(y)
        if len(item) == 2 or item[2] is None:
            return x, y, None
        return x, y, validation.check_weights(item[2], "sample_weight", len(x))

    def _inputs(self, x: Any) -> np.ndarray:
        self.columns = checked_columns(x, self.columns)
        return np.asarray(as_inputs(x, owner="Model"))

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
    """Close a generator, or anything else with this method."""
    if hasattr(iterator, "close"):
        iterator.close()


def _is_sequence(data: Any) -> bool:
    """Return whether an object has only a length and an index, like Keras' sequences."""
    by_index = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    return by_index and not isinstance(data, Iterable)


def _kind(item: Any) -> str:
    """Return a description of an object for a message."""
    if isinstance(item, tuple | list):
        return f"a {type(item).__name__} of {len(item)}"
    shape = getattr(item, "shape", None)
    return type(item).__name__ if shape is None else f"{type(item).__name__} of shape {shape}"
