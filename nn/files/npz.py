"""NPZ files: arrays in a ZIP archive, read without believing what the archive says.

`numpy.load` would unpack whatever an archive promises, and run pickles if it was let. Here
every member is looked at first: its name, how it is packed and how large it becomes. Then its
header is read, and memory is taken only where shape and type agree with the member's size.

Model files (`nn.io`) and data sets (`nn.data.load_npz`) are both read by these functions.
"""

import math
import zipfile
from pathlib import PureWindowsPath
from typing import Any, BinaryIO

import numpy as np

__all__ = ["members", "read", "read_array", "write"]

_MAX_MEMBERS = 100_000
_MAX_RATIO = 20  # how many times its size a model file may become: weights hardly shrink
_ALLOWANCE = 1 << 20  # bytes that it may become anyhow: headers and zeros shrink well

_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


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
        Its length in bytes; unpacked it may have twenty times as many, and a megabyte.
    strings
        Names of arrays that must hold a string; all others must hold numbers.

    Raises
    ------
    Exception
        Of any kind, for a file that is damaged; ValueError for one that holds what `write` does
        not write. The message says what is wrong, not in which file.
    """
    with zipfile.ZipFile(stream) as file:
        infos = members(file)
        for name, info in infos.items():
            if name == info.filename:
                raise ValueError(f"it holds '{name}', which is no array")
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
        For a name that comes twice or leads out of the archive, and ways of packing other than
        NumPy's.
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
            raise ValueError(f"'{name}' is packed by method {info.compress_type}, not NumPy's")
        if info.flag_bits & 1:
            raise ValueError(f"'{name}' is encrypted")
        found[name] = info
    return found


def read_array(
    file: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    name: str,
    strings: frozenset[str] = frozenset(),
) -> np.ndarray:
    """Return one array; memory is taken only once the header agrees with the size of the member.

    Under the names in `strings` it must be one string, under others real numbers.
    """
    with file.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _READERS:
            raise ValueError(f"'{name}' has the version {version} of the format, not 1.0 or 2.0")
        shape, _, dtype = _READERS[version](stream)
        if name in strings and (dtype.kind != "U" or shape != ()):
            raise ValueError(f"'{name}' is not a string, but an array of {dtype}")
        if name not in strings and (dtype.kind not in "fiub" or dtype.itemsize > 8):
            raise ValueError(f"'{name}' must hold real numbers, got the dtype {dtype}")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or info.file_size != stream.tell() + size:
            raise ValueError(
                f"'{name}' must take {size} bytes by its shape {shape}, which it does not"
            )
    with file.open(info) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)
