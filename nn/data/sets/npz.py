"""Datasets from `.npz` files, as `numpy.savez` writes them and Keras distributes its sets."""

import os
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ... import checks
from ...files import npz
from ...files.sparse import size_of
from ..dataset import Dataset

_NPZ_PAIR = ("x_train", "y_train", "x_test", "y_test")


def load_npz(
    path: str | os.PathLike, max_bytes: int = 1 << 33, mmap_mode: str | None = None
) -> Dataset | tuple[Dataset, Dataset]:
    """Return the data in an NPZ file, as `np.savez` writes it and Keras distributes sets.

    Nothing in the file is run: arrays of Python objects, which need pickle, are refused. Images
    keep their layout: add the missing axis of grey ones with `Dataset(x[:, np.newaxis], y)`, and
    convert colour images with channels last by `Dataset(x.transpose(0, 3, 1, 2), y)`.

    Parameters
    ----------
    path
        A file with the arrays 'x' and 'y' (or 'x' alone), or with 'x_train', 'y_train', 'x_test'
        and 'y_test'. Others in it are not read.
    max_bytes
        The most bytes of all arrays together, unpacked: a small file can unpack to any size.
    mmap_mode
        'r' leaves the inputs in the file, of which only the rows of a batch are read, as with
        `np.load(path, mmap_mode='r')` of an NPY file: for data larger than memory. Targets are
        read. The file must not be compressed (`np.savez`, not `np.savez_compressed`).

    Returns
    -------
    dataset or (train, test)
        Depending on the names in the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    nn.io.FileFormatError
        If the file is damaged, holds other names, objects, or more than `max_bytes`.
    ValueError
        For another `mmap_mode`.
    TypeError, ValueError
        As in `Dataset`, if the arrays do not form one.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "set.npz")
    ...     np.savez(path, x=np.zeros((4, 3)), y=[0, 1, 0, 1])
    ...     load_npz(path)
    Dataset(4 samples of shape (3,) and dtype float64, 2 classes)
    """
    max_bytes = checks.positive_int("load_npz", "max_bytes", max_bytes)
    if mmap_mode not in (None, "r"):
        raise checks.error("load_npz", "mmap_mode", "must be 'r' or None", mmap_mode)
    path = Path(checks.path("load_npz", "path", path))
    with path.open("rb") as stream:
        try:
            arrays = _read_npz(stream, max_bytes, mmap_mode is not None)
        except MemoryError:
            raise  # the file may be good
        except Exception as error:  # a damaged file can make the library fail in any way
            reason = str(error) or type(error).__name__
            raise checks.FileFormatError(f"[load_npz] '{path}': {reason}.") from error
    if "x" in arrays:
        return Dataset(arrays["x"], arrays.get("y"))
    x, y, x_test, y_test = (arrays[name] for name in _NPZ_PAIR)
    return Dataset(x, y), Dataset(x_test, y_test)


def _read_npz(stream: BinaryIO, max_bytes: int, maps: bool) -> dict[str, np.ndarray]:
    """Return the arrays of known names in an NPZ file, or raise any exception if it is bad.

    Parameters
    ----------
    stream, max_bytes
        The file, and the most bytes to read of it.
    maps
        Whether the inputs stay in the file.
    """
    size_of(stream)
    with zipfile.ZipFile(stream) as file:
        members = npz.members(file)
        names = [name for name in ("x", "y", *_NPZ_PAIR) if name in members]
        if names not in (["x"], ["x", "y"], list(_NPZ_PAIR)):
            known = "x and y, or x_train, y_train, x_test and y_test"
            got = ", ".join(list(members)[:10]) or "none"
            raise ValueError(f"must hold the arrays {known}, got {got}")
        mapped = [name for name in names if maps and name.startswith("x")]
        total = sum(members[name].file_size for name in names if name not in mapped)
        if total > max_bytes:
            raise ValueError(
                f"unpacks to {total:,} bytes, more than the {max_bytes:,} of 'max_bytes': raise "
                "it for a file that you trust"
            )
        return {
            name: npz.map_array(stream, members[name], name)
            if name in mapped
            else npz.read_array(file, members[name], name)
            for name in names
        }
