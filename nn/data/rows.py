"""Rows of arrays: in memory as NumPy has them, in a memory-mapped file read as they are needed.

Rows of a sparse matrix become dense when they are read.
"""

import mmap
from typing import Any

import numpy as np

from .. import checks, cuda


def as_rows(
    argument: str, value: Any, rows: int | None = None, owner: str = "Dataset"
) -> np.ndarray:
    """Return a value as an array of real numbers on the CPU, with `rows` rows if that is given."""
    array = checks.real_array(owner, argument, value)
    if not isinstance(value, np.memmap):
        array = cuda.to_cpu(array)
    if array.ndim == 0:
        raise ValueError(
            f"[{owner}] '{argument}' must have samples along its first axis, got {value!r}: pass "
            "many samples at once; if each item of your data is one sample, pass batches, as from "
            "a PyTorch DataLoader(data, batch_size=32)."
        )
    if rows is not None and len(array) != rows:
        raise ValueError(
            f"[{owner}] '{argument}' must have as many rows as x ({rows}), got {len(array)}."
        )
    return array


def as_inputs(value: Any, owner: str = "Dataset") -> "np.ndarray | Rows | SparseRows":
    """Return inputs as rows of real numbers on the CPU; those of a sparse matrix stay sparse."""
    if isinstance(value, Rows | SparseRows):
        return value
    return SparseRows(value) if checks.is_sparse(value) else as_rows("x", value, owner=owner)


class Rows:
    """Some rows of a memory-mapped array, which stays in its file; nothing is copied.

    Like an array, it has `shape`, `dtype`, `ndim` and `len`, and an index of its first axis reads
    these rows. `np.asarray` reads all rows.

    Parameters
    ----------
    array
        The memory-mapped array (n, ...), or a `Rows` of one.
    rows
        Which of its rows: their indices (k,), or a boolean mask (n,).

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
        """Return the selected rows as a new array."""
        if isinstance(key, tuple):
            return np.asarray(self)[key]
        rows = self.rows[key]
        picked = self.array[rows]  # a copy, but for a single row
        return picked if rows.ndim else np.array(picked)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all rows as a new array; NumPy calls it to convert a `Rows`."""
        if copy is False:
            raise ValueError("[Rows] cannot be converted to an array without a copy.")
        return self[:].astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"Rows({len(self)} of {len(self.array)} of shape {self.shape[1:]}, {self.dtype})"


def mapped_file(array: Any) -> np.memmap | None:
    """Return the memory-mapped array that an array is, or is a view of; None for one in memory."""
    if isinstance(array, Rows):
        array = array.array
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap):
            return array
        array = array.base
    return None


def release_pages(file: np.memmap) -> None:
    """Remove the pages read so far from this process; the system may keep them in its cache.

    Otherwise the process seems to grow to the size of the file: with a row, the system maps
    megabytes around it. This is done only for arrays that are read-only, since a private copy
    would lose its changes.
    """
    if file.mode == "r" and isinstance(file.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        file.base.madvise(mmap.MADV_DONTNEED)


class SparseRows:
    """The rows of a sparse matrix, of which those that are read become dense.

    Like an array, it has `shape`, `dtype`, `ndim`, `len`, `min` and `max`, and an index of its
    first axis reads rows. `np.asarray` reads all rows.

    Parameters
    ----------
    matrix
        A matrix of real numbers (n, features), in any format of scipy.sparse.

    Examples
    --------
    >>> import scipy.sparse
    >>> rows = SparseRows(scipy.sparse.coo_matrix([[0.0, 2.0], [0.0, 0.0], [3.0, 0.0]]))
    >>> rows.shape, rows[1:].tolist(), rows[0].tolist(), rows.max()
    ((3, 2), [[0.0, 0.0], [3.0, 0.0]], [0.0, 2.0], 3.0)
    """

    def __init__(self, matrix: Any) -> None:
        if matrix.ndim != 2:
            raise checks.error("Dataset", "x", "must be a sparse matrix of two axes", matrix.shape)
        if matrix.dtype.kind not in "fiub":
            raise checks.not_real("Dataset", "x", matrix, matrix.dtype)
        self.matrix = matrix.tocsr()  # whose rows can be read one by one
        self.shape: tuple[int, ...] = self.matrix.shape
        self.dtype: np.dtype = self.matrix.dtype
        self.ndim = 2

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        """Return the selected rows as a new, dense array."""
        if isinstance(key, tuple):
            return np.asarray(self)[key]
        if checks.is_integer(key):
            return self[np.array([key])][0]
        return cuda.to_cpu(self.matrix[key].toarray())

    def min(self) -> float:
        """Return the lowest number, zeros included."""
        return float(self.matrix.min())

    def max(self) -> float:
        """Return the highest number, zeros included."""
        return float(self.matrix.max())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all rows as a new, dense array; NumPy calls it to convert a `SparseRows`."""
        if copy is False:
            raise ValueError("[SparseRows] cannot be converted to an array without a copy.")
        return self[:].astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"SparseRows({len(self)} of shape {self.shape[1:]}, {self.dtype})"
