"""IDX, the file format of MNIST: one array in a file, with or without gzip around it.

A file is, with every number big-endian:

    2 bytes     zero
    1 byte      type of the elements: 0x08 unsigned byte, 0x09 byte, 0x0B 16-bit and
                0x0C 32-bit integer, 0x0D 32-bit and 0x0E 64-bit float
    1 byte      number of axes
    4 bytes     length of an axis, for each of them
    the rest    the elements, last axis fastest

The format is described at the end of http://yann.lecun.com/exdb/mnist/. Files come from
elsewhere, so the reader believes nothing: it never reads further than the header announces,
and any byte too few or too many is an error.
"""

import gzip
import io
import math
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ... import checks
from ...checks import FileFormatError
from ...files.atomic import write_whole

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_AXES = 32  # more than any data has, and what every NumPy can hold
_CHUNK = 1 << 20  # bytes


def read_idx(path: str | os.PathLike, max_bytes: int = 1 << 33) -> np.ndarray:
    """Return the array in an IDX file; gzip is recognised by its content, not by its name.

    Parameters
    ----------
    path
        The file.
    max_bytes
        How much the array may take: a small file can unpack to any size.

    Returns
    -------
    array
        Of the shape and the type that the file names, in the machine's byte order.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    nn.io.FileFormatError
        For a file that is no IDX file, is truncated, holds more than its header announces or
        more than `max_bytes`, or whose gzip data is damaged; the message names the file.

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
        compressed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        if not compressed:
            return _read_array(raw, path, max_bytes)
        try:
            with gzip.GzipFile(fileobj=raw) as file:
                return _read_array(file, path, max_bytes)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(path, f"its gzip data is damaged ({error})") from error


def _read_array(file: io.BufferedIOBase, path: Path, max_bytes: int) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise _damaged(path, f"it does not begin as an IDX file does, but with {magic!r}")
    dtype, axes = np.dtype(_DTYPES[magic[2]]), magic[3]
    if not 1 <= axes <= _MAX_AXES:
        raise _damaged(path, f"its header announces {axes} axes")
    lengths = file.read(4 * axes)
    if len(lengths) < 4 * axes:
        raise _damaged(path, "it ends inside its header")
    shape = tuple(int(length) for length in np.frombuffer(lengths, ">u4"))
    if 0 in shape:
        raise _damaged(path, f"its header announces the shape {shape}, without any element")

    size = math.prod(shape) * dtype.itemsize
    # One byte more, to see whether more follow.
    content = _read_at_most(file, min(size, max_bytes) + 1)
    if len(content) > max_bytes:
        raise _damaged(path, f"it holds more than {max_bytes:,} bytes, the 'max_bytes'")
    if len(content) < size:
        raise _damaged(
            path, f"it is truncated: the shape {shape} takes {size} bytes, it has {len(content)}"
        )
    if len(content) > size:
        raise _damaged(path, f"it holds more than the {size} bytes that the shape {shape} takes")
    array = np.frombuffer(content, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_at_most(file: io.BufferedIOBase, size: int) -> bytearray:
    """Return up to `size` bytes, taking no more memory than the file really has bytes.

    A damaged header may announce exabytes, so memory is taken chunk by chunk.
    """
    content = bytearray()
    while len(content) < size:
        chunk = file.read(min(_CHUNK, size - len(content)))
        if not chunk:
            break
        content += chunk
    return content


def _damaged(path: Path, what: str) -> FileFormatError:
    return FileFormatError(f"[read_idx] '{path}' is not a whole IDX file: {what}.")


def write_idx(path: str | os.PathLike, array: Any) -> None:
    """Write an array as an IDX file, inside gzip where the name ends in '.gz'.

    The same array always gives the same bytes: the gzip header carries no name and no time.

    Parameters
    ----------
    path
        The file to write; one that is there is replaced.
    array
        Of 1 to 32 axes, none of length 0, and of dtype uint8, int8, int16, int32, float32 or
        float64.

    Raises
    ------
    ValueError
        For an array that the format cannot hold.
    OSError
        Where the file cannot be written; the one that was there is whole.
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
    save = _write_packed if path.suffix == ".gz" else _write_plain
    write_whole(path, lambda stream: save(stream, content), "write_idx")


def _write_plain(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)


def _write_packed(stream: BinaryIO, content: bytes) -> None:
    """Write content inside gzip, without a name and a time, which would be other bytes."""
    with gzip.GzipFile("", "wb", compresslevel=9, fileobj=stream, mtime=0) as file:
        file.write(content)
