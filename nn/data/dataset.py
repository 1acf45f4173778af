"""Dataset: samples in memory or in a memory-mapped file, read in batches.

Images stay in memory as bytes, a quarter of the memory of floats; a batch becomes floats in [0, 1]
when it is needed, on threads that work on the next batches while the model uses the current one
(`batching`). A set larger than memory stays in its file: given as a `numpy.memmap`, it is read
batch by batch by the same threads, and a split of it is a list of row numbers (`rows`).
"""

import functools
import math
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from .. import checks
from ..layers.shard import slice_of
from ..validation import class_of_rows
from .batching import (
    Augment,
    BatchPart,
    Part,
    Preprocess,
    augmented,
    batch_generator,
    check_augment,
    check_dtype,
    check_function,
    check_rng,
    check_rows,
    check_threads,
    prepared,
    to_float,
)
from .classes import check_class_names, count_classes, relabeled, stratified, text_labels
from .columns import columns_of, target_columns_of
from .ranges import Range, range_of
from .rows import Rows, SparseRows, as_inputs, as_rows, mapped_file, release_pages

# Numbers in a batch that are scaled in less time than it takes to pass them between threads.
_QUICKLY_PREPARED = 1 << 18


class Dataset:
    """Samples with their targets; it does not change once created.

    Parameters
    ----------
    x
        Array (n, ...) of real numbers, samples along the first axis. uint8 (n, C, H, W) is taken
        for images with values from 0 to 255 and stored as it is; batches of it are scaled to
        [0, 1]. Other shapes and types are not scaled. A `numpy.memmap`, as from
        `np.load(path, mmap_mode='r')`, stays in its file: only the rows of a batch are read. A
        sparse matrix (n, features) of scipy.sparse stays sparse: only the rows of a batch become
        dense.
    y
        Targets: integer labels (n,), one-hot labels (n, classes), numbers of any shape
        (n, ...), or None. Labels that are texts become numbers, in the order of `class_names`,
        which are their sorted names if they are None.
    sample_weight
        Weights (n,) of the samples in the loss, finite and not negative, or None.
    class_names
        Names of the classes, for images and reports, or None.

    Attributes
    ----------
    x, y, sample_weight, class_names
        The arguments, as arrays on the CPU; `class_names` is a tuple. In a part that `split`
        returns of a memory-mapped set, `x` is a `Rows`; of a sparse matrix it is a `SparseRows`.
    feature_names : list of str or None
        The names of the columns, if `x` is a table.
    target_names : list of str or None
        The names of the columns, if `y` is a table of several.

    Raises
    ------
    TypeError
        If values are not real numbers.
    ValueError
        If there are no samples, numbers of rows differ, or labels have no name.

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
        checks.same_rows("Dataset", x=x, y=y, sample_weight=sample_weight)
        self.x = as_inputs(x)
        self.feature_names, self.target_names = columns_of(x), target_columns_of(y)
        if len(self.x) == 0:
            raise checks.error("Dataset", "x", "must hold at least one sample", self.x.shape)
        texts = None if y is None else text_labels(y)
        if texts is not None:
            y, names = texts
            class_names = names if class_names is None else list(class_names)
            if not set(names) <= set(class_names):
                rule = f"must hold labels of {class_names}"
                raise checks.error("Dataset", "y", rule, names)
            y = relabeled(y, names, class_names)
        self.y = None if y is None else as_rows("y", y, len(self))
        self.sample_weight = (
            None if sample_weight is None else _as_weights(sample_weight, self.x, self.y)
        )
        self.class_names = None if class_names is None else check_class_names(class_names, self.y)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.x)

    def __repr__(self) -> str:
        classes = f", {self.num_classes} classes" if self.num_classes is not None else ""
        shape = self.x.shape[1:]
        return f"Dataset({len(self)} samples of shape {shape} and dtype {self.x.dtype}{classes})"

    def _repr_html_(self) -> str:
        """Return a table and some images, for notebooks."""
        from ..inspect import html

        return html.of_dataset(self)

    @property
    def num_classes(self) -> int | None:
        """Number of classes: of names, of one-hot columns, or the highest integer label plus 1.

        None if there are no labels.
        """
        if self.class_names is not None:
            return len(self.class_names)
        return count_classes(self.y)

    @functools.cached_property
    def input_range(self) -> Range | None:
        """Lowest and highest number of x; images of bytes count as scaled to [0, 1]."""
        return range_of(self.x)

    def arrays(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return all samples at once, as new arrays.

        Returns
        -------
        x
            (n, ...) float32, scaled to [0, 1] if the samples are images in uint8 (n, C, H, W).
        y
            The targets as they are stored, or None.

        Examples
        --------
        >>> Dataset(np.full((1, 1, 1, 2), 255, dtype=np.uint8), [1]).arrays()
        (array([[[[1., 1.]]]], dtype=float32), array([1]))
        """
        y = None if self.y is None else self.y.copy()
        return to_float(np.asarray(self.x), np.dtype(np.float32)), y

    def split(
        self, fraction: float, stratify: bool = True, rng: np.random.Generator | None = None
    ) -> tuple["Dataset", "Dataset"]:
        """Return two new datasets that divide the samples between them at random.

        Samples in memory are copied; those of a memory-mapped set stay in their file.

        Parameters
        ----------
        fraction
            Share of the samples in the second dataset, between 0 and 1:
            `round(fraction * n)` of them.
        stratify
            Whether the second gets its share of each class, if the targets are integer (n,) or
            one-hot labels: to within one sample, or more if other classes have only one sample,
            which stays in the first. Other targets are drawn without regard to them.
        rng
            The random generator; None for a new one, which `nn.seed` fixes.

        Returns
        -------
        rest, part
            `part` holds `fraction` of the samples, `rest` the others, both in the order of
            this dataset.

        Raises
        ------
        ValueError
            If `fraction` is not between 0 and 1, or leaves one of the two empty.

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
        order = check_rng(rng).permutation(len(self))
        classes = class_of_rows(self.y) if stratify else None
        in_part = np.zeros(len(self), dtype=bool)
        in_part[order[:size] if classes is None else stratified(order, classes, size)] = True
        return self._select_rows(~in_part), self._select_rows(in_part)

    def _select_rows(self, rows: np.ndarray) -> "Dataset":
        if isinstance(self.x, SparseRows):
            x: Any = self.x.matrix[rows]
        else:
            x = self.x[rows] if mapped_file(self.x) is None else Rows(self.x, rows)
        part = Dataset(
            x,
            None if self.y is None else self.y[rows],
            None if self.sample_weight is None else self.sample_weight[rows],
            self.class_names,
        )
        part.feature_names, part.target_names = self.feature_names, self.target_names
        return part

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
        part: Part | None = None,
    ) -> Generator[tuple, None, None]:
        """Return an iterator over all samples once, in batches that threads prepare ahead.

        The batches do not depend on the number of threads, not in a single bit. The threads end
        with the iterator, also if it is dropped early; at most `num_threads + 1` prepared batches
        are in memory.

        Parameters
        ----------
        batch_size
            Samples in a batch; the last batch has the remaining ones.
        shuffle
            Whether to draw the samples in random order.
        preprocess
            Function of a batch as it is stored, (batch_size, ...) in uint8 for images. Its result,
            with as many rows, replaces the default scaling.
        num_threads
            Threads that prepare batches. None for `min(8, cores)`, or for none if a batch is small
            enough to be prepared in less time than threads cost; 0 to prepare each batch when it
            is requested, without threads.
        rng
            The random generator for order and augmentation; None for a new one, which `nn.seed`
            fixes.
        augment
            Function `(x, rng) -> x` of a scaled batch, which it may change in place; `rng` is a
            generator for this batch alone. It runs on several threads at once. If its attribute
            `mixes_labels` is true, as for `nn.data.augment.Mixup`, it is called as `(x, y, rng)`
            and returns both; then there must be no `sample_weight`.
        dtype
            Type of the batches, of targets that are floats, and of weights; a pair such as
            `('int64', 'float32')` for inputs that are ids, which stay integers.
        skip
            Number of batches to skip at the beginning, which are not prepared. The others are the
            same as without it, so that a training interrupted within an epoch can go on.
        part
            (rank, size) of a process among several that train on the same batches, for its rows of
            each batch, as a `BatchPart`. No others are read, but for `augment`, which draws for the
            whole batch.

        Yields
        ------
        x, y or x, y, sample_weight
            New arrays (batch_size, ...). `y` is None if there are no targets; the weights come
            only if the dataset has them.

        Raises
        ------
        ValueError
            If an argument is wrong, at the call.
        RuntimeError
            If `preprocess` or `augment` fails, at that batch; the message has its number.

        Examples
        --------
        >>> dataset = Dataset(np.arange(4, dtype=np.uint8).reshape(4, 1))
        >>> [x.ravel().tolist() for x, _ in dataset.batches(3, False, lambda x: x * 10)]
        [[0.0, 10.0, 20.0], [30.0]]
        """
        batch_size = checks.positive_int("Dataset", "batch_size", batch_size)
        skip = checks.non_negative_int("Dataset", "skip", skip)
        threads = check_threads("Dataset", num_threads)
        x_dtype, dtype = check_dtype(dtype)
        check_function("preprocess", preprocess)
        check_function("augment", augment)
        check_augment(augment, self.x, self.y, self.sample_weight)

        order, seed = np.arange(len(self)), 0
        if shuffle or augment is not None:  # else no generator is used
            rng = check_rng(rng)
            order = rng.permutation(len(self)) if shuffle else order
            seed = int(rng.integers(2**63))
        count = -(-len(self) // batch_size)  # rounded up
        file = mapped_file(self.x)
        if num_threads is None and preprocess is None and augment is None and file is None:
            numbers = batch_size * math.prod(self.x.shape[1:])
            threads = threads if numbers > _QUICKLY_PREPARED else 0

        def prepare(index: int) -> tuple:
            """Return batch number `index`, which depends on that number alone."""
            rows = order[index * batch_size : (index + 1) * batch_size]
            total = len(rows)
            if part is not None and augment is None:
                rows = rows[slice_of(*part, total)]
            try:
                x = self.x[rows]  # a copy of these rows, and of no others
                if file is not None:
                    release_pages(file)
                if preprocess is None:
                    x = to_float(x, x_dtype)
                else:
                    x = check_rows("preprocess", preprocess(x), len(rows), x_dtype)
                y, *weight = self._targets(rows, dtype)
                if augment is not None:
                    x, y = augmented(augment, x, y, batch_generator(seed, index))
                    x = check_rows("augment", x, len(rows), x_dtype)
            except Exception as error:
                raise RuntimeError(
                    f"[Dataset] batch {index} of {count} could not be prepared: "
                    f"{type(error).__name__}: {error}"
                ) from error
            if part is None:
                return (x, y, *weight)
            batch = (x, y, *weight)
            return BatchPart(batch, total) if augment is None else BatchPart.of(batch, part)

        return prepared(prepare, count, threads, first=skip)

    def _targets(self, rows: np.ndarray, dtype: np.dtype) -> tuple:
        """Return targets of rows, and weights if there are any; floats of both in `dtype`."""
        y = None if self.y is None else self.y[rows]
        if y is not None and y.dtype.kind == "f":
            with np.errstate(over="ignore"):  # as in `to_float`
                y = y.astype(dtype, copy=False)
        if self.sample_weight is None:
            return (y,)
        return y, self.sample_weight[rows].astype(dtype, copy=False)


def _as_weights(value: Any, x: Any, y: Any) -> np.ndarray:
    weights = as_rows("sample_weight", value, len(x)).astype(np.float64)
    if weights.ndim > max(1, 0 if y is None else y.ndim):  # labels may have weights, (N, T)
        rule = f"must have the shape ({len(x)},), or that of the labels of steps or pixels"
        raise checks.error("Dataset", "sample_weight", rule, weights.shape)
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        value = float(weights[wrong][0])
        raise checks.error("Dataset", "sample_weight", "must be finite and not negative", value)
    return weights
