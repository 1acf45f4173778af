"""NPZ files: arrays in a ZIP archive, read without trusting what the archive claims.

`numpy.load` unpacks an archive of any size, and can run pickles. Here every member is checked
first: its name, its compression and its unpacked size. Then its header is read, and memory is
allocated only if shape and dtype agree with the member's size.

Model files (`nn.io`) and data sets (`nn.data.load_npz`) are both read by these functions.
"""

import ast
import math
import zipfile
from pathlib import PureWindowsPath
from typing import IO, Any, BinaryIO, Literal

import numpy as np

from .sparse import ALLOWANCE as _ALLOWANCE
from .sparse import MAX_RATIO as _MAX_RATIO

__all__ = ["map_array", "members", "read", "read_array", "write"]

_MAX_MEMBERS = 100_000
_MAX_HEADER = 10_000  # bytes, as in NumPy
_LOCAL_HEADER = 30  # bytes of a ZIP archive before the name of a member
_LENGTH_BYTES = {(1, 0): 2, (2, 0): 4}  # in which a header has its length, by version


def write(stream: BinaryIO, datasets: dict[str, Any]) -> None:
    """Write arrays and strings under their names."""
    np.savez(stream, **datasets)


def read(stream: BinaryIO, size: int, strings: frozenset[str]) -> dict[str, Any]:
    """Return the arrays in a model file by their names, and its strings.

    Parameters
    ----------
    stream
        The open file.
    size
        Its length in bytes; unpacked, it may have 20 times as many and a megabyte more.
    strings
        Names of arrays that must hold a string; all others must hold numbers.

    Raises
    ------
    Exception
        Of any kind, for a file that is damaged; ValueError for one with anything that `write`
        does not write. The message says what is wrong, not in which file.
    """
    with zipfile.ZipFile(stream) as file:
        infos = members(file)
        for name, info in infos.items():
            if name == info.filename:
                raise ValueError(f"it holds '{name}', which is not an array")
        total, most = sum(info.file_size for info in infos.values()), _MAX_RATIO * size + _ALLOWANCE
        if total > most:
            raise ValueError(
                f"its {size:,} bytes unpack to {total:,}, more than the {most:,} that weights "
                "of so many bytes can become"
            )
        arrays = {name: read_array(file, info, name, strings) for name, info in infos.items()}
    return {name: str(array) if name in strings else array for name, array in arrays.items()}


def members(file: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an archive by the names of their arrays.

    Raises
    ------
    ValueError
        If a name comes twice or leads out of the archive, the compression is not NumPy's, or a
        member is larger than the file.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    if len(file.infolist()) > _MAX_MEMBERS:
        raise ValueError(f"it holds more than {_MAX_MEMBERS:,} arrays")
    for info in file.infolist():
        name = info.filename.removesuffix(".npy")
        path = PureWindowsPath(info.filename)  # which knows / and \\ and C: alike
        if path.anchor or ".." in path.parts or "\0" in info.orig_filename:
            raise ValueError(f"it holds '{info.filename}', a name that leads elsewhere")
        if name in found:
            raise ValueError(f"it holds '{name}' twice")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"'{name}' is compressed by method {info.compress_type}, not NumPy's")
        if info.flag_bits & 1:
            raise ValueError(f"'{name}' is encrypted")
        if info.compress_size > file.start_dir:  # zipfile asks for as much memory
            raise ValueError(f"'{name}' has {info.compress_size:,} bytes, more than the file")
        found[name] = info
    return found


def read_array(
    file: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    name: str,
    strings: frozenset[str] = frozenset(),
) -> np.ndarray:
    """Return one array, once its header agrees with the size of the member.

    Under the names in `strings` it must be one string, under others real numbers.
    """
    with file.open(info) as stream:
        shape, dtype, _ = _read_header(stream, name)
        if name in strings and (dtype.kind != "U" or shape != ()):
            raise ValueError(f"'{name}' is not a string, but an array of {dtype}")
        if name not in strings:
            _check_numbers(dtype, name)
        _check_size(info, name, stream.tell(), shape, dtype)
    with file.open(info) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def map_array(stream: BinaryIO, info: zipfile.ZipInfo, name: str) -> np.memmap:
    """Return an array of real numbers that stays in the open file, read-only.

    Its checksum is not compared, for which the file would have to be read.
    """
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(
            f"'{name}' is compressed and cannot be memory-mapped: write it by np.savez, or leave "
            "out 'mmap_mode'"
        )
    stream.seek(info.header_offset)
    local = stream.read(_LOCAL_HEADER)  # of the ZIP format, before the name and an extra field
    if local[:4] != b"PK\x03\x04":
        raise ValueError(f"'{name}' is not where the archive says")
    start = info.header_offset + _LOCAL_HEADER
    start += int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    stream.seek(start)
    shape, dtype, order = _read_header(stream, name)
    _check_numbers(dtype, name)
    _check_size(info, name, stream.tell() - start, shape, dtype)
    return np.memmap(stream, dtype, "r", stream.tell(), shape, order)


def _check_numbers(dtype: np.dtype, name: str) -> None:
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise ValueError(f"'{name}' must hold real numbers, got the dtype {dtype}")


def _check_size(
    info: zipfile.ZipInfo, name: str, header: int, shape: tuple[int, ...], dtype: np.dtype
) -> None:
    """Raise unless shape and dtype agree with the size of the member, header included."""
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or info.file_size != header + size:
        raise ValueError(f"'{name}' must take {size} bytes by its shape {shape}, which it does not")


def _read_header(
    stream: IO[bytes], name: str
) -> tuple[tuple[int, ...], np.dtype, Literal["C", "F"]]:
    """Return shape, dtype and order from the header of an NPY file.

    NumPy's own function passes a header that is not Python's syntax to `tokenize`, which opens a
    file named '<string>' for its error message.
    """
    version = np.lib.format.read_magic(stream)
    if version not in _LENGTH_BYTES:
        raise ValueError(f"'{name}' has the version {version} of the format, not 1.0 or 2.0")
    length = int.from_bytes(stream.read(_LENGTH_BYTES[version]), "little")
    if length > _MAX_HEADER:
        raise ValueError(f"'{name}' has a header of {length:,} bytes, more than {_MAX_HEADER:,}")
    header = ast.literal_eval(stream.read(length).decode("latin-1"))
    order: Literal["C", "F"] = "F" if header["fortran_order"] else "C"
    return header["shape"], np.lib.format.descr_to_dtype(header["descr"]), order
