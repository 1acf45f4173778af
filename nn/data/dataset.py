"""Dataset: samples in memory, handed out as batches that threads have prepared.

This is the first station of a batch. Images stay in memory as bytes, a quarter of what
floats take; a batch becomes floats in [0, 1] only when it is due, on threads that work on the
next batches while the model is busy with the present one. NumPy lets go of Python's global
lock during its work on arrays, so the threads do run side by side.

A set larger than memory stays in its file: given as a `numpy.memmap`, it is read batch by batch,
by the same threads, and a split of it is a list of row numbers.
"""

import math
import mmap
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from .. import checks, cuda
from ..random import new_generator
from ..validation import class_of_rows

Preprocess = Callable[[np.ndarray], np.ndarray]
Augment = Callable[..., Any]  # (x, rng) -> x, or (x, y, rng) -> (x, y) where it mixes labels

_MAX_THREADS = 8  # more have nothing to do: the model is slower than they are
_QUICKLY_PREPARED = 1 << 18  # numbers in a batch: as quickly scaled as handed to another thread


class Dataset:
    """Samples with their targets; it is not changed once it is made.

    Parameters
    ----------
    x
        Array (n, ...) of real numbers, samples along the first axis. uint8 counts as images
        with values from 0 to 255 and is kept as it is; batches of it are scaled to [0, 1].
        Other types are handed out unscaled. A `numpy.memmap`, as `np.load(path, mmap_mode='r')`
        gives it, stays in its file: only the rows of a batch are read.
    y
        Targets: integer labels (n,), one-hot labels (n, classes), numbers of any shape
        (n, ...), or None.
    sample_weight
        Weights (n,) of the samples in the loss, finite and not negative, or None.
    class_names
        Names of the classes, for images and reports, or None.

    Attributes
    ----------
    x, y, sample_weight, class_names
        What was given, as arrays on the CPU; `class_names` is a tuple. In a part that `split`
        made of a memory-mapped set, `x` is a `Rows`.

    Raises
    ------
    TypeError
        For values that are not real numbers.
    ValueError
        For no samples, numbers of rows that differ, or labels without a name.

    Examples
    --------
    >>> images = np.full((10, 1, 28, 28), 255, dtype=np.uint8)
    >>> dataset = Dataset(images, np.arange(10) % 2)
    >>> dataset
    Dataset(10 samples of shape (1, 28, 28) and dtype uint8, 2 classes)
    >>> for x, y in dataset.batches(4):
    ...     print(x.shape, x.dtype, x.max(), y.shape)
    (4, 1, 28, 28) float32 1.0 (4,)
    (4, 1, 28, 28) float32 1.0 (4,)
    (2, 1, 28, 28) float32 1.0 (2,)
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.x: np.ndarray | Rows = x if isinstance(x, Rows) else _as_rows("x", x)
        if len(self.x) == 0:
            raise checks.error("Dataset", "x", "must hold at least one sample", self.x.shape)
        self.y = None if y is None else _as_rows("y", y, len(self))
        self.sample_weight = (
            None if sample_weight is None else _as_weights(sample_weight, len(self))
        )
        self.class_names = None if class_names is None else _as_names(class_names, self.y)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.x)

    def __repr__(self) -> str:
        classes = f", {self.num_classes} classes" if self.num_classes is not None else ""
        shape = self.x.shape[1:]
        return f"Dataset({len(self)} samples of shape {shape} and dtype {self.x.dtype}{classes})"

    def _repr_html_(self) -> str:
        """Return a table and some images, which notebooks show."""
        from ..inspect import html

        return html.of_dataset(self)

    @property
    def num_classes(self) -> int | None:
        """Number of classes: of names, of one-hot columns, or the highest integer label plus 1.

        None where there are no labels.
        """
        if self.class_names is not None:
            return len(self.class_names)
        return _count_classes(self.y)

    def arrays(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return all samples at once, as new arrays.

        Returns
        -------
        x
            (n, ...) float32, scaled to [0, 1] where the samples are uint8.
        y
            The targets as they are kept, or None.

        Examples
        --------
        >>> Dataset(np.array([[0], [255]], dtype=np.uint8), [0, 1]).arrays()
        (array([[0.],
               [1.]], dtype=float32), array([0, 1]))
        """
        y = None if self.y is None else self.y.copy()
        return _to_float(np.asarray(self.x), np.dtype(np.float32)), y

    def split(
        self, fraction: float, stratify: bool = True, rng: np.random.Generator | None = None
    ) -> tuple["Dataset", "Dataset"]:
        """Return two new datasets that share out the samples, drawn at random.

        Samples in memory are copied; those of a memory-mapped set stay in their file.

        Parameters
        ----------
        fraction
            Share of the samples in the second dataset, between 0 and 1:
            `round(fraction * n)` of them.
        stratify
            Whether the second gets its share of each class, to within one sample, where the
            targets are integer (n,) or one-hot labels. Other targets are drawn without it.
        rng
            Where the draw comes from; None for a new generator, which `nn.seed` fixes.

        Returns
        -------
        rest, part
            `part` holds `fraction` of the samples, `rest` the others, both in the order of
            this dataset.

        Raises
        ------
        ValueError
            Where `fraction` is not between 0 and 1, or leaves one of the two empty.

        Examples
        --------
        >>> rest, part = Dataset(np.zeros((20, 3)), np.arange(20) % 2).split(0.2)
        >>> len(rest), np.bincount(part.y)
        (16, array([2, 2]))
        """
        fraction = checks.fraction("Dataset", "fraction", fraction)
        size = round(fraction * len(self))
        if not 0 < size < len(self):
            raise ValueError(
                f"[Dataset] 'fraction' must leave samples in both parts, got {fraction!r}, "
                f"which splits {len(self)} into {len(self) - size} and {size}."
            )
        order = _check_rng(rng).permutation(len(self))
        classes = class_of_rows(self.y) if stratify else None
        in_part = np.zeros(len(self), dtype=bool)
        in_part[order[:size] if classes is None else _stratified(order, classes, size)] = True
        return self._rows(~in_part), self._rows(in_part)

    def _rows(self, rows: np.ndarray) -> "Dataset":
        return Dataset(
            self.x[rows] if _file_of(self.x) is None else Rows(self.x, rows),
            None if self.y is None else self.y[rows],
            None if self.sample_weight is None else self.sample_weight[rows],
            self.class_names,
        )

    def batches(
        self,
        batch_size: int,
        shuffle: bool = True,
        preprocess: Preprocess | None = None,
        num_threads: int | None = None,
        rng: np.random.Generator | None = None,
        augment: Augment | None = None,
        dtype: Any = "float32",
        skip: int = 0,
    ) -> Generator[tuple, None, None]:
        """Return an iterator over all samples once, in batches that threads prepare ahead.

        The batches do not depend on the number of threads, in no bit. The threads end with the
        iterator, also where it is left early; `num_threads + 1` batches at most wait in memory.

        Parameters
        ----------
        batch_size
            Samples in a batch; the last one has what remains.
        shuffle
            Whether to draw the samples in random order.
        preprocess
            Function of a batch as it is kept, (batch_size, ...) in uint8 for images; returns
            what is used in place of the default scaling, with as many rows.
        num_threads
            Threads that prepare batches; None for `min(8, cores)`, or for none where it takes less
            time to prepare a batch than to hand it over; 0 to prepare each batch when it is asked
            for, without any thread.
        rng
            Where order and augmentation come from; None for a new generator, which `nn.seed`
            fixes.
        augment
            Function `(x, rng) -> x` of a batch that is scaled already and may be changed in
            place; `rng` is a generator of this batch's own. It runs on several threads at once.
            One whose attribute `mixes_labels` is true, as that of `nn.data.augment.Mixup`, is
            called as `(x, y, rng)` and returns both; it does not go with `sample_weight`.
        dtype
            Type of the batches, of targets that are floats, and of weights.
        skip
            Batches at the beginning to leave out, which are not prepared. The others are the same
            as without it: so a training goes on that was interrupted within an epoch.

        Yields
        ------
        x, y or x, y, sample_weight
            New arrays (batch_size, ...). `y` is None where there are no targets; the weights
            come only where the dataset has them.

        Raises
        ------
        ValueError
            For a wrong argument, at the call.
        RuntimeError
            Where `preprocess` or `augment` fails, at the batch concerned; the message names it.

        Examples
        --------
        >>> dataset = Dataset(np.arange(4, dtype=np.uint8).reshape(4, 1))
        >>> [x.ravel().tolist() for x, _ in dataset.batches(3, False, lambda x: x * 10)]
        [[0.0, 10.0, 20.0], [30.0]]
        """
        batch_size = checks.positive_int("Dataset", "batch_size", batch_size)
        skip = checks.non_negative_int("Dataset", "skip", skip)
        threads = check_threads("Dataset", num_threads)
        dtype = _check_dtype(dtype)
        _check_function("preprocess", preprocess)
        _check_function("augment", augment)
        _check_mixing(augment, self.sample_weight)

        order, seed = np.arange(len(self)), 0
        if shuffle or augment is not None:  # else no generator is touched
            rng = _check_rng(rng)
            order = rng.permutation(len(self)) if shuffle else order
            seed = int(rng.integers(2**63))
        count = -(-len(self) // batch_size)  # rounded up
        file = _file_of(self.x)
        if num_threads is None and preprocess is None and augment is None and file is None:
            numbers = batch_size * math.prod(self.x.shape[1:])
            threads = threads if numbers > _QUICKLY_PREPARED else 0

        def prepare(index: int) -> tuple:
            """Return batch number `index`; it depends on nothing but that number."""
            rows = order[index * batch_size : (index + 1) * batch_size]
            try:
                x = self.x[rows]  # a copy of these rows, and of no others
                if file is not None:
                    _let_go_of_pages(file)
                if preprocess is None:
                    x = _to_float(x, dtype)
                else:
                    x = _checked("preprocess", preprocess(x), len(rows), dtype)
                y, *weight = self._targets(rows, dtype)
                if augment is not None:
                    x, y = augmented(augment, x, y, _generator(seed, index))
                    x = _checked("augment", x, len(rows), dtype)
            except Exception as error:
                raise RuntimeError(
                    f"[Dataset] batch {index} of {count} could not be prepared: "
                    f"{type(error).__name__}: {error}"
                ) from error
            return (x, y, *weight)

        return prepared(prepare, count, threads, first=skip)

    def _targets(self, rows: np.ndarray, dtype: np.dtype) -> tuple:
        """Return targets of rows, and weights if there are any; floats of both in `dtype`."""
        y = None if self.y is None else self.y[rows]
        if y is not None and y.dtype.kind == "f":
            with np.errstate(over="ignore"):  # as in `_to_float`
                y = y.astype(dtype, copy=False)
        if self.sample_weight is None:
            return (y,)
        return y, self.sample_weight[rows].astype(dtype, copy=False)


# ------------------------------------------------------------------------- preparing ahead


def prepared(
    prepare: Callable[[int], tuple], count: int, threads: int, first: int = 0
) -> Generator[tuple, None, None]:
    """Yield prepare(first), ..., prepare(count - 1) in this order, the next prepared ahead."""
    if threads == 0:
        yield from map(prepare, range(first, count))
        return
    pool = ThreadPoolExecutor(min(threads, count), thread_name_prefix="nn.data")
    waiting: deque[Future[tuple]] = deque()
    try:
        for index in range(first, count):
            waiting.append(pool.submit(prepare, index))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Reached at the end, after an error, and when the iterator is left early: Python closes
        # a generator that nobody holds. It waits for the batches under way, so no thread stays.
        pool.shutdown(cancel_futures=True)


def augmented(augment: Augment, x: Any, y: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    """Return a batch after an augmentation; one that mixes labels changes y too."""
    if getattr(augment, "mixes_labels", False):
        x, y = augment(x, y, rng)
        return x, y
    return augment(x, rng), y


def _generator(seed: int, index: int) -> np.random.Generator:
    """Return the generator of one batch: the same whichever thread prepares it, and when."""
    return np.random.default_rng([seed, index])


def _to_float(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return a new array of floats: bytes scaled to [0, 1], other numbers as they are."""
    if x.dtype == np.uint8:
        return np.divide(x, 255, dtype=dtype)
    with np.errstate(over="ignore"):  # too large for the dtype: infinite, which the model refuses
        return x.astype(dtype)


def _checked(source: str, x: Any, count: int, dtype: np.dtype) -> np.ndarray:
    """Return what a user's function gave as an array of `dtype`, one row for each sample."""
    x = np.asarray(x)
    if x.ndim == 0 or len(x) != count:
        raise ValueError(f"'{source}' must return {count} rows, got an array of shape {x.shape}")
    return x.astype(dtype, copy=False)


# ------------------------------------------------------------------ files larger than memory


class Rows:
    """Some rows of a memory-mapped array, which stays in its file; nothing is copied.

    It answers as an array does to `shape`, `dtype`, `ndim`, `len` and an index of its first axis,
    which reads the rows asked for. All else goes by way of `np.asarray`, which reads all rows.

    Parameters
    ----------
    array
        The memory-mapped array (n, ...), or a `Rows` of one.
    rows
        Which of its rows: their numbers, or n times yes or no.

    Examples
    --------
    >>> rows = Rows(np.array([[0], [10], [20], [30]]), np.array([1, 3]))
    >>> rows.shape, rows[1], rows[:1].tolist(), np.asarray(rows).tolist()
    ((2, 1), array([30]), [[10]], [[10], [30]])
    """

    array: np.ndarray
    rows: np.ndarray

    def __init__(self, array: "np.ndarray | Rows", rows: np.ndarray) -> None:
        if isinstance(array, Rows):  # a split of a split
            self.array, self.rows = array.array, array.rows[rows]
        else:
            self.array, self.rows = array, np.arange(len(array))[rows]

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes, the number of rows first."""
        return (len(self), *self.array.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Type of the elements."""
        return self.array.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.array.ndim

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Return the rows that `key` picks, as a new array."""
        if isinstance(key, tuple):
            return np.asarray(self)[key]
        rows = self.rows[key]
        picked = self.array[rows]  # a copy, but for a single row
        return picked if rows.ndim else np.array(picked)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all rows as a new array: what NumPy calls where it is given a `Rows`."""
        if copy is False:
            raise ValueError("[Rows] cannot be made an array without copying its rows.")
        return self[:].astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"Rows({len(self)} of {len(self.array)} of shape {self.shape[1:]}, {self.dtype})"


def _file_of(array: Any) -> np.memmap | None:
    """Return the memory-mapped array that this one is, or is a view of; None for one in memory."""
    if isinstance(array, Rows):
        array = array.array
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap):
            return array
        array = array.base
    return None


def _let_go_of_pages(file: np.memmap) -> None:
    """Take the pages read so far out of this process; the system keeps them as long as it likes.

    Otherwise the process would seem to grow to the size of the file, and soon: with a row the
    system maps all around it, up to megabytes. Only where the file cannot be written to by way
    of this array, since a private copy would lose its changes.
    """
    if file.mode == "r" and isinstance(file.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        file.base.madvise(mmap.MADV_DONTNEED)


# ------------------------------------------------------------------------ splitting, weighing


def class_weights(labels: Any) -> dict[int, float]:
    """Return weights that let each class count as much as every other, for `fit(class_weight=)`.

    The weight of a class is n / (classes * count), as scikit-learn's 'balanced' has it, after
    G. King, L. Zeng, "Logistic regression in rare events data", 2001. Their mean over the samples
    is 1. A class without samples has none and does not count.

    Parameters
    ----------
    labels
        Integers (n,) or (n, 1), or one-hot labels (n, classes): a dataset's `y`.

    Raises
    ------
    ValueError
        For targets that are not labels, or none at all.

    Examples
    --------
    >>> class_weights([0, 0, 0, 1])
    {0: 0.6666666666666666, 1: 2.0}
    """
    y = _as_rows("labels", labels, owner="class_weights")
    if y.size == len(y):  # a column, as it goes with a single output
        y = y.reshape(-1)  # (n, 1) -> (n,)
        y = y.astype(np.int64) if ((y == 0) | (y == 1)).all() else y
    classes = class_of_rows(y)
    if classes is None or len(classes) == 0 or classes.min() < 0:
        rule = "must be integers of at least 0 or one-hot labels, and not empty"
        raise checks.error("class_weights", "labels", rule, labels)
    names, counts = np.unique(classes, return_counts=True)
    weights = len(classes) / (len(names) * counts)
    return dict(zip(names.tolist(), weights.tolist(), strict=True))


def _count_classes(y: np.ndarray | None) -> int | None:
    classes = class_of_rows(y)
    if y is None or classes is None or classes.min() < 0:
        return None
    return y.shape[1] if y.ndim == 2 else int(classes.max()) + 1


def _stratified(order: np.ndarray, classes: np.ndarray, size: int) -> np.ndarray:
    """Return `size` rows, of each class its share, taken in the random `order`.

    A share is rounded down, and the samples still missing go to the classes with the largest
    remainders, so that the total is exact (Hamilton's method).
    """
    _, codes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    shares, remainders = np.divmod(counts * size, len(order))
    still_missing = size - shares.sum()
    shares[np.argsort(-remainders, kind="stable")[:still_missing]] += 1
    # The rows class after class, within each in random order; of each class the first ones.
    by_class = order[np.argsort(codes[order], kind="stable")]
    starts = np.cumsum(counts) - counts
    return np.concatenate([by_class[a : a + k] for a, k in zip(starts, shares, strict=True)])


# ---------------------------------------------------------------------------------- checks


def _as_rows(
    argument: str, value: Any, rows: int | None = None, owner: str = "Dataset"
) -> np.ndarray:
    """Return a value as an array of real numbers on the CPU, of `rows` rows where given."""
    array = checks.real_array(owner, argument, value)
    if not isinstance(value, np.memmap):
        array = cuda.to_cpu(array)
    if array.ndim == 0:
        raise checks.error(owner, argument, "must have samples along its first axis", value)
    if rows is not None and len(array) != rows:
        raise ValueError(
            f"[{owner}] '{argument}' must have as many rows as x ({rows}), got {len(array)}."
        )
    return array


def _as_weights(value: Any, rows: int) -> np.ndarray:
    weights = _as_rows("sample_weight", value, rows).astype(np.float64)
    if weights.ndim != 1:
        raise checks.error("Dataset", "sample_weight", f"must have shape ({rows},)", weights.shape)
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        value = float(weights[wrong][0])
        raise checks.error("Dataset", "sample_weight", "must be finite and not negative", value)
    return weights


def _as_names(names: Any, y: np.ndarray | None) -> tuple[str, ...]:
    if not isinstance(names, Iterable) or isinstance(names, str):
        raise checks.error("Dataset", "class_names", "must be a list of names", names)
    names = tuple(names)
    if not all(isinstance(name, str) for name in names):
        raise checks.error("Dataset", "class_names", "must be a list of names", names)
    needed = _count_classes(y)
    # Integer labels may leave the last classes out, the columns of one-hot labels may not.
    exact = y is not None and y.ndim == 2
    if needed is not None and (needed > len(names) or (exact and needed < len(names))):
        raise ValueError(
            f"[Dataset] 'class_names' must name the {needed} classes of 'y', "
            f"got {len(names)} names."
        )
    return names


def check_threads(owner: str, num_threads: int | None) -> int:
    """Return the number of data threads; None stands for `min(8, cores)`."""
    if num_threads is None:
        return min(_MAX_THREADS, os.cpu_count() or 1)
    return checks.non_negative_int(owner, "num_threads", num_threads)


def _check_dtype(dtype: Any) -> np.dtype:
    try:
        checked = np.dtype(dtype)
    except TypeError as error:
        raise checks.error("Dataset", "dtype", "must be a type of floats", dtype) from error
    if checked.kind != "f":
        raise checks.error("Dataset", "dtype", "must be a type of floats", dtype)
    return checked


def _check_function(argument: str, value: Any) -> None:
    if value is not None and not callable(value):
        raise checks.error("Dataset", argument, "must be a function or None", value)


def _check_mixing(augment: Any, sample_weight: np.ndarray | None) -> None:
    """Raise where labels are to be mixed whose samples have weights: a mixture has none."""
    if sample_weight is not None and getattr(augment, "mixes_labels", False):
        raise ValueError(
            "[Dataset] 'augment' must not mix labels where samples or classes have weights, "
            f"got {augment!r}."
        )


def _check_rng(rng: Any) -> np.random.Generator:
    if rng is None:
        return new_generator()
    if not isinstance(rng, np.random.Generator):
        raise checks.error("Dataset", "rng", "must be a numpy.random.Generator or None", rng)
    return rng
