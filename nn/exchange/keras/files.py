"""What files of Keras hold: the configuration of a model, and its arrays in their groups.

`model.keras` is a ZIP archive with `config.json` and `model.weights.h5`; in the latter, the arrays
of a layer are numbered: `layers/dense_1/vars/0`. The older `model.h5` is one HDF5 file: the
configuration is an attribute, and arrays have names: `model_weights/dense_1/.../kernel:0`. A file
of weights alone has one of these two layouts.

Nothing in a file is run, and no other file is opened; HDF5 is read by `nn.files.hdf5`, with all its
checks.
"""

import io
import json
import re
import struct
import zipfile
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ...files import hdf5, model_file, npz
from ...files.sparse import ALLOWANCE, MAX_RATIO

__all__ = ["KerasFile", "read", "snake_case"]

_WEIGHTS = "model.weights.h5"
_CONFIG = "config.json"
_MODELS = ("Sequential", "Functional", "Model")


class KerasFile(NamedTuple):
    """The content of a file of Keras.

    Attributes
    ----------
    config
        `{'class_name': 'Sequential', 'config': {...}}`; None in a file of weights alone.
    arrays
        The arrays by their names in the file, without the groups that all of them are in.
    is_numbered
        Whether the arrays of a layer have numbers, as in Keras 3, not names.
    version
        The major version of Keras that numbers and defaults are those of.
    permutes
        Whether a file of weights alone, of Keras 3, is of a model with a `Permute`.
    """

    config: dict[str, Any] | None
    arrays: dict[str, np.ndarray]
    is_numbered: bool
    version: int
    permutes: bool = False


def read(stream: BinaryIO, size: int) -> KerasFile:
    """Return the content of an open file of Keras.

    Parameters
    ----------
    stream
        The file.
    size
        Its length in bytes.

    Raises
    ------
    Exception
        Of any kind, for a file that is damaged; ValueError for one with anything that Keras does
        not write. The message says what is wrong, not in which file.
    """
    stream.seek(0)
    head = stream.read(4)
    stream.seek(0)
    if head == b"PK\x03\x04":
        return _read_archive(stream, size)
    arrays = hdf5.read(stream, size, frozenset())
    if any(name.startswith("layers/") for name in arrays):  # of weights alone, of Keras 3
        import h5py

        with h5py.File(stream, "r") as file:  # whose groups hdf5.read has checked
            return KerasFile(None, arrays, True, 3, "permute" in file["layers"])
    found, version = _attributes(stream)
    inside = {
        name.removeprefix("model_weights/"): array
        for name, array in arrays.items()
        if not name.startswith(("optimizer_weights/", "top_level_model_weights/"))
    }
    return KerasFile(found, inside, False, version)


def _read_archive(stream: BinaryIO, size: int) -> KerasFile:
    with zipfile.ZipFile(stream) as file:
        infos = npz.members(file)
        for name in (_CONFIG, _WEIGHTS):
            if name not in infos:
                raise ValueError(f"it lacks '{name}'")
        total = sum(infos[name].file_size for name in (_CONFIG, _WEIGHTS))
        if total > MAX_RATIO * size + ALLOWANCE:
            raise ValueError(f"its {size:,} bytes unpack to {total:,}")
        if infos[_CONFIG].file_size > model_file.MAX_TEXT:
            raise ValueError(f"'{_CONFIG}' has {infos[_CONFIG].file_size:,} bytes")
        config = parse(file.read(infos[_CONFIG]))
        weights = file.read(infos[_WEIGHTS])
    arrays = hdf5.read(io.BytesIO(weights), len(weights), frozenset())
    return KerasFile(config, arrays, True, 3)


def parse(text: bytes) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        For text that is no JSON, or nested too deeply.
    """
    try:
        value = json.loads(text.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("its configuration is nested too deeply") from error
    model_file.check_depth(value)
    return value


def _attributes(stream: BinaryIO) -> tuple[dict[str, Any] | None, int]:
    """Return the configuration in an HDF5 file, and the major version of Keras.

    They are strings of variable length, in attributes. The HDF5 library's reader of such strings
    can loop forever on a damaged file; so they are looked for in the heaps where they must be: a
    signature, and objects with a number, a length and the content, up to one with the number 0
    ("HDF5 File Format Specification 3.0", section III.E).
    """
    stream.seek(0)
    data = stream.read()
    config, version, position = None, 2, 0
    while 0 <= (position := data.find(b"GCOL", position)) <= len(data) - 16:
        end = min(position + struct.unpack_from("<Q", data, position + 8)[0], len(data))
        place, position = position + 16, position + 4
        while place + 16 <= end:
            number, length = struct.unpack_from("<HxxxxxxQ", data, place)
            text = data[place + 16 : place + 16 + length]
            if number == 0 or place + 16 + length > end:
                break
            if text[:1] == b"{" and length <= model_file.MAX_TEXT and b'"class_name"' in text:
                found = parse(text)
                if isinstance(found, dict) and found.get("class_name") in _MODELS:
                    config = found
            elif text[:2] == b"3.":
                version = 3
            place += 16 + (length + 7) // 8 * 8
    return config, version


def snake_case(name: str) -> str:
    """Return the name of a class as Keras writes it in files: 'Conv2D' as 'conv2d'.

    Examples
    --------
    >>> [snake_case(name) for name in ("BatchNormalization", "ReLU", "PReLU", "Conv2DTranspose")]
    ['batch_normalization', 're_lu', 'p_re_lu', 'conv2d_transpose']
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
