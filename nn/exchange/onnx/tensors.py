"""The arrays in an ONNX file, each compared with the bytes that are there before it is made.

An array has its numbers as raw bytes, in a list of its own type, or in a second file ("external
data"), which is opened only if the caller passes it.
"""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ...files.safetensors import from_bfloat16
from ...files.sparse import size_of

__all__ = ["DTYPES", "Tensors"]

_BFLOAT16 = 16

#: NumPy's types by ONNX's numbers (TensorProto.DataType); bfloat16 is widened.
DTYPES = {
    1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2",
    11: "<f8", 12: "<u4", 13: "<u8", _BFLOAT16: "<u2",
}  # fmt: skip

#: The list that holds the numbers of a type, if there are no raw bytes.
_LISTS = {1: "float_data", 7: "int64_data", 11: "double_data"}

_EXTERNAL, _MAX_AXES = 1, 8


class Tensors:
    """Makes arrays of the messages of one file.

    Parameters
    ----------
    path
        The file.
    external_data
        The file with external data, which must be in the same folder; None if there must be none.

    Raises
    ------
    ValueError
        If `external_data` is in another folder.
    """

    def __init__(self, path: str | os.PathLike, external_data: str | os.PathLike | None = None):
        self._external: tuple[str, memoryview] | None = None
        if external_data is None:
            return
        other = Path(external_data)
        if other.resolve().parent != Path(path).resolve().parent:
            raise ValueError(f"'external_data' must be in the folder of '{path}', got '{other}'")
        if not other.is_file():
            raise FileNotFoundError(f"[io] there is no file '{other}' of external data.")
        with other.open("rb") as stream:
            self._external = other.name, memoryview(stream.read(size_of(stream)))

    def array(self, tensor: dict[str, Any]) -> np.ndarray:
        """Return an array, a view of the file's bytes if it has them.

        Parameters
        ----------
        tensor
            The message, of `wire.decode`.

        Raises
        ------
        ValueError
            If the bytes are not those of such an array.
        """
        name, number = tensor.get("name", ""), tensor.get("data_type", 0)
        if number not in DTYPES:
            raise ValueError(f"the array '{name}' has the type {number}, which nn does not read")
        dtype, dims = np.dtype(DTYPES[number]), tensor["dims"]
        if len(dims) > _MAX_AXES or any(n < 0 for n in dims):
            raise ValueError(f"the array '{name}' has the shape {dims[:_MAX_AXES]}")
        count = math.prod(dims)
        if tensor.get("data_location", 0) == _EXTERNAL:
            data: Any = self._external_bytes(tensor, count * dtype.itemsize)
        elif "raw_data" in tensor:
            data = tensor["raw_data"]
        else:
            data = _listed(tensor, number, dtype)
        if len(data) != count * dtype.itemsize:
            raise ValueError(
                f"the array '{name}' of shape {dims} takes {count * dtype.itemsize} bytes, and "
                f"{len(data)} are there"
            )
        array = np.frombuffer(data, dtype).reshape(dims)
        return from_bfloat16(array) if number == _BFLOAT16 else array

    def _external_bytes(self, tensor: dict[str, Any], length: int) -> memoryview:
        """Return the bytes of an array in the second file."""
        given = {pair.get("key"): pair.get("value", "") for pair in tensor["external_data"]}
        where = given.get("location", "")
        if self._external is None:
            raise ValueError(
                f"the array '{tensor.get('name', '')}' is in another file, '{where}': pass that as "
                "external_data=, or save the model with its arrays inside"
            )
        name, data = self._external
        if where != name:
            raise ValueError(f"an array is in the file '{where}', not in '{name}'")
        try:
            offset, size = int(given.get("offset", 0)), int(given.get("length", length))
        except ValueError:
            raise ValueError(f"an array in '{where}' has no place there: {given}") from None
        if offset < 0 or size != length or offset + size > len(data):
            raise ValueError(
                f"an array of {length} bytes is at {offset}..{offset + size} of '{where}', which "
                f"has {len(data)}"
            )
        return data[offset : offset + size]


def _listed(tensor: dict[str, Any], number: int, dtype: np.dtype) -> bytes:
    """Return the bytes of an array whose numbers are in a list."""
    name = _LISTS.get(number, "int32_data")
    if number in (12, 13):
        raise ValueError(f"the array '{tensor.get('name', '')}' of type {number} has no raw bytes")
    values = np.array(tensor[name], "<i8" if name.startswith("int") else dtype)
    if number in (10, _BFLOAT16):  # the bits, as integers
        return values.astype("<u2").tobytes()
    return values.astype(dtype).tobytes()
