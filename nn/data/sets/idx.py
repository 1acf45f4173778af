"""IDX, the file format of MNIST: one array in a file, gzipped or not.

A file is, with every number big-endian:

    2 bytes     zero
    1 byte      type of the elements: 0x08 unsigned byte, 0x09 byte, 0x0B 16-bit and
                0x0C 32-bit integer, 0x0D 32-bit and 0x0E 64-bit float
    1 byte      number of axes
    4 bytes     length of an axis, for each of them
    the rest    the elements, last axis fastest

The format is described at the end of http://yann.lecun.com/exdb/mnist/. Files may come from
strangers, so the reader trusts nothing: it never reads further than the header says, and any byte
too few or too many is an error.

The sets that come in this format are four such files each: images and labels for training and for
test. `load_idx_files` makes datasets of them.
"""

import gzip
import io
import math
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import checks
from ...checks import FileFormatError
from ...files.atomic import write_atomic
from ...files.sparse import size_of
from ..dataset import Dataset

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_AXES = 32  # more than any data has, and what every NumPy can hold
_CHUNK = 1 << 20  # bytes
_MOST = 1 << 30  # bytes of a file of a set; the largest, of EMNIST, have half as many


def read_idx(path: str | os.PathLike, max_bytes: int = 1 << 33) -> np.ndarray:
    """Return the array in an IDX file; gzip is recognized by its content, not by its name.

    Parameters
    ----------
    path
        The file.
    max_bytes
        The most bytes that the array may have: a small file can unpack to any size.

    Returns
    -------
    array
        Of the shape and the type in the file's header, in the machine's byte order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    nn.io.FileFormatError
        If the file is not an IDX file, is truncated, holds more than its header says or more than
        `max_bytes`, or its gzip data is damaged; the message names the file.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels.gz")
    ...     write_idx(path, np.array([5, 0, 4], dtype=np.uint8))
    ...     read_idx(path)
    array([5, 0, 4], dtype=uint8)
    """
    path, max_bytes = Path(path), checks.positive_int("read_idx", "max_bytes", max_bytes)
    with path.open("rb") as raw:
        try:
            size_of(raw)
        except ValueError as error:
            raise _format_error(path, str(error)) from error
        compressed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        if not compressed:
            return _read_array(raw, path, max_bytes)
        try:
            with gzip.GzipFile(fileobj=raw) as file:
                return _read_array(file, path, max_bytes)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _format_error(path, f"its gzip data is damaged ({error})") from error


def _read_array(file: io.BufferedIOBase, path: Path, max_bytes: int) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise _format_error(path, f"it does not begin as an IDX file does, but with {magic!r}")
    dtype, axes = np.dtype(_DTYPES[magic[2]]), magic[3]
    if not 1 <= axes <= _MAX_AXES:
        raise _format_error(path, f"its header says {axes} axes")
    lengths = file.read(4 * axes)
    if len(lengths) < 4 * axes:
        raise _format_error(path, "it ends inside its header")
    shape = tuple(int(length) for length in np.frombuffer(lengths, ">u4"))
    if 0 in shape:
        raise _format_error(path, f"its header says the shape {shape}, which has no elements")

    size = math.prod(shape) * dtype.itemsize
    # One byte more, to detect excess.
    content = _read_at_most(file, min(size, max_bytes) + 1)
    if len(content) > max_bytes:
        raise _format_error(path, f"it holds more than {max_bytes:,} bytes, the 'max_bytes'")
    if len(content) < size:
        raise _format_error(
            path, f"it is truncated: the shape {shape} takes {size} bytes, it has {len(content)}"
        )
    if len(content) > size:
        raise _format_error(
            path, f"it holds more than the {size} bytes that the shape {shape} takes"
        )
    array = np.frombuffer(content, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_at_most(file: io.BufferedIOBase, size: int) -> bytearray:
    """Return up to `size` bytes; memory is allocated chunk by chunk, as the header may be wrong."""
    content = bytearray()
    while len(content) < size:
        chunk = file.read(min(_CHUNK, size - len(content)))
        if not chunk:
            break
        content += chunk
    return content


def _format_error(path: Path, what: str) -> FileFormatError:
    return FileFormatError(f"[read_idx] '{path}' is not a complete IDX file: {what}.")


def write_idx(path: str | os.PathLike, array: Any) -> None:
    """Write an array as an IDX file, gzipped if the name ends in '.gz'.

    The same array always gives the same bytes: the gzip header has no name and no time in it.

    Parameters
    ----------
    path
        The file to write; an existing one is replaced.
    array
        Of 1 to 32 axes, none of length 0, and of dtype uint8, int8, int16, int32, float32 or
        float64.

    Raises
    ------
    ValueError
        If the format cannot hold the array.
    OSError
        If the file cannot be written; an existing one is unchanged.
    """
    array, path = np.asarray(array), Path(path)
    codes = {np.dtype(dtype).newbyteorder("="): code for code, dtype in _DTYPES.items()}
    code = codes.get(array.dtype.newbyteorder("="))
    if code is None:
        names = ", ".join(str(dtype) for dtype in codes)
        raise ValueError(
            f"[write_idx] 'array' must have one of the dtypes {names}, got {array.dtype}."
        )
    if not 1 <= array.ndim <= _MAX_AXES or 0 in array.shape:
        raise ValueError(
            f"[write_idx] 'array' must have 1 to {_MAX_AXES} axes, none of length 0, "
            f"got shape {array.shape}."
        )
    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = header + array.astype(_DTYPES[code]).tobytes()
    if path.suffix == ".gz":
        packed = io.BytesIO()
        with gzip.GzipFile("", "wb", compresslevel=9, fileobj=packed, mtime=0) as file:
            file.write(content)
        content = packed.getvalue()
    write_atomic(path, lambda stream: stream.write(content), "write_idx")


# ------------------------------------------------------------- sets in this format


def find_idx_files(folder: str | os.PathLike, names: Iterable[str]) -> list[Path]:
    """Return the paths of files in a folder by names in '.gz', or of all of them unpacked.

    If neither all gzipped nor all unpacked files are there, the paths of the former are returned:
    `load_idx_files` then names the missing one.
    """
    packed = [Path(folder, name) for name in names]
    unpacked = [path.with_suffix("") for path in packed]
    if all(path.is_file() for path in packed):
        return packed
    return unpacked if all(path.is_file() for path in unpacked) else packed


def load_idx_files(
    owner: str,
    paths: Sequence[Path],
    class_names: tuple[str, ...],
    advice: str,
    first_label: int = 0,
    transposed: bool = False,
) -> tuple[Dataset, Dataset]:
    """Return the datasets for training and test in four files.

    Parameters
    ----------
    owner
        The function that the user called, for error messages.
    paths
        Images and labels for training, images and labels for test.
    class_names
        In the order of the labels.
    advice
        How to get a file that is missing.
    first_label
        The label of the first class in the files; in the datasets it is 0.
    transposed
        Whether rows and columns of each image are exchanged in the files.

    Raises
    ------
    FileNotFoundError
        If a file is missing; the message names the first of them.
    nn.io.FileFormatError
        If a file is damaged or holds something else.
    """
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"[{owner}] '{path}' does not exist: {advice}.")
    parts = []
    for images_path, labels_path in (paths[:2], paths[2:]):
        images = _read_bytes(owner, images_path, "images", "(n, 28, 28)", (28, 28))
        if transposed:
            images = np.ascontiguousarray(images.transpose(0, 2, 1))  # (N, W, H) -> (N, H, W)
        labels = _read_labels(owner, labels_path, first_label, len(class_names))
        if len(images) != len(labels):
            raise FileFormatError(
                f"[{owner}] '{labels_path}' must have a label for each of the {len(images)} "
                f"images in '{images_path}', got {len(labels)}."
            )
        images = images[:, np.newaxis]  # (N, 28, 28) -> (N, 1, 28, 28)
        parts.append(Dataset(images, labels, class_names=class_names))
    return parts[0], parts[1]


def _read_bytes(owner: str, path: Path, what: str, axes: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of bytes of the shape (n, *shape)."""
    array = read_idx(path, _MOST)
    if array.dtype != np.uint8 or array.shape[1:] != shape:
        raise FileFormatError(
            f"[{owner}] '{path}' must hold {what}, bytes of the shape {axes}, "
            f"got {array.dtype} of the shape {array.shape}."
        )
    return array


def _read_labels(owner: str, path: Path, first: int, classes: int) -> np.ndarray:
    """Return the labels (n,) in a file as int64, counted from 0."""
    labels = _read_bytes(owner, path, "labels", "(n,)", ())
    last = first + classes - 1
    outside = (labels < first) | (labels > last)
    if outside.any():
        raise FileFormatError(
            f"[{owner}] '{path}' must hold labels from {first} to {last}, got {labels[outside][0]}."
        )
    return labels.astype(np.int64) - first
