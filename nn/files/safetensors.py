"""safetensors files: arrays behind a header of JSON, read and written by NumPy alone.

A file is the header's length (8 bytes, little-endian), the header and the arrays. The header is
an object `{name: {"dtype": "F32", "shape": [3, 4], "data_offsets": [begin, end]}}`, in which
`__metadata__` may hold strings by their names (https://github.com/huggingface/safetensors). nn
writes the JSON of a model file as two of these strings.

NumPy has no bfloat16: its numbers, the upper half of a float32, are read as float32 and written
from a `BFloat16`.
"""

import json
import math
import re
import struct
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..checks import FileFormatError

__all__ = [
    "BFloat16",
    "UnsupportedError",
    "from_bfloat16",
    "is_head",
    "read",
    "to_bfloat16",
    "write",
]

_MAX_HEADER = 100_000_000  # bytes, as in the format's own library
_MAX_STRUCTURE = 1 << 24  # bytes of the header outside its strings: memory for many times as many
_MAX_AXES = 32
_METADATA = "__metadata__"

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "|b1",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items() if name != "BF16"}

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


class UnsupportedError(ValueError):
    """A file with numbers of a type that nn does not read, such as those of 8 bits ('F8_E4M3')."""


class BFloat16(NamedTuple):
    """An array of bfloat16.

    Attributes
    ----------
    bits
        uint16: sign, 8 bits of exponent and 7 of fraction of each number.
    """

    bits: np.ndarray


def to_bfloat16(array: np.ndarray) -> BFloat16:
    """Round floats to bfloat16, to the nearest, and to the even one of two that are as near.

    Examples
    --------
    >>> from_bfloat16(to_bfloat16(np.array([1.0, 1.01, 3.14159])).bits)
    array([1.       , 1.0078125, 3.140625 ], dtype=float32)
    """
    bits = np.asarray(array, "<f4").view("<u4")
    rounded = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
    nan = (bits >> 16) | 0x40  # NaN stays NaN, whatever its lower half
    return BFloat16(np.where(np.isnan(array), nan, rounded).astype("<u2"))


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Return numbers of bfloat16, given as uint16, as float32; that is exact."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def is_head(head: bytes) -> bool:
    r"""Return whether a file that begins with these 9 bytes may be of this format.

    Examples
    --------
    >>> is_head(struct.pack("<Q", 64) + b"{"), is_head(b"PK\x03\x04 zip ")
    (True, False)
    """
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_HEADER


def write(stream: BinaryIO, datasets: dict[str, Any]) -> None:
    """Write arrays and strings under their names; the strings become metadata.

    Raises
    ------
    FileFormatError
        If names and strings are more than a header may hold.
    """
    texts = {name: value for name, value in datasets.items() if isinstance(value, str)}
    header: dict[str, Any] = {_METADATA: {**texts, "format": "nn"}}
    arrays, position = [], 0
    # The larger numbers first, so that all are aligned: readers may map the file into memory.
    entries = [(name, *_to_little(value)) for name, value in datasets.items() if name not in texts]
    for name, kind, array in sorted(entries, key=lambda entry: -entry[2].itemsize):
        end = position + array.nbytes
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [position, end]}
        arrays.append(array)
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _MAX_HEADER:
        raise FileFormatError(
            f"[io] a safetensors file must have a header of at most {_MAX_HEADER:,} bytes, got "
            f"{len(text):,}: save to '.hdf5'."
        )
    stream.write(struct.pack("<Q", len(text)))
    stream.write(text)
    for array in arrays:
        stream.write(array.tobytes())  # in the order of the axes, whatever the strides


def read(stream: BinaryIO, size: int, strings: frozenset[str]) -> dict[str, Any]:
    """Return the arrays in a file by their names, and those of its strings that are asked for.

    Parameters
    ----------
    stream
        The open file.
    size
        Its length in bytes.
    strings
        Names of metadata to return; other metadata are ignored.

    Raises
    ------
    ValueError
        For a file that is damaged, or has types of numbers that NumPy does not have. The message
        says what is wrong, not in which file.
    """
    length = int.from_bytes(stream.read(8), "little")
    if length > min(_MAX_HEADER, size - 8):
        raise ValueError(f"its header would take {length:,} bytes, the file has {size:,}")
    header = _parse(stream.read(length))
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata are not strings")
    found: dict[str, Any] = {name: metadata[name] for name in strings & metadata.keys()}
    entries = _checked(header, size - 8 - length)
    for name, (kind, shape, count) in entries.items():
        if name in strings:
            raise ValueError(f"'{name}' is not a string, but an array")
        found[name] = _content(stream, name, kind, count).reshape(shape)
    return {name: found[name] for name in [*(strings & metadata.keys()), *header]}


def _to_little(value: Any) -> tuple[str, np.ndarray]:
    """Return the name of an array's type and the array in little-endian order."""
    if isinstance(value, BFloat16):
        return "BF16", value.bits.astype("<u2", copy=False)
    array = np.asarray(value)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if little.dtype not in _NAMES:
        raise ValueError(f"an array of {array.dtype} has no type in the format")
    return _NAMES[little.dtype], little


def _parse(text: bytes) -> dict[str, Any]:
    """Return the header, an object in which no name comes twice."""
    if len(_STRING.sub(b"", text)) > _MAX_STRUCTURE:
        raise ValueError(f"its header has more than {_MAX_STRUCTURE:,} bytes outside strings")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            raise ValueError("a name is in its header twice")
        return made

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except RecursionError as error:  # brackets without end
        raise ValueError("its header is nested without end") from error
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    return header


def _checked(header: dict[str, Any], room: int) -> dict[str, tuple[str, list[int], int]]:
    """Return type, shape and bytes of each array in the order of the file.

    Raises
    ------
    ValueError
        Unless the arrays follow each other without a gap and fill the file.
    """
    places = {}
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"'{name}' must have dtype, shape and data_offsets")
        kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(kind, str) or kind not in _DTYPES:
            raise UnsupportedError(f"'{name}' is of the type {kind!r:.20}, which nn does not read")
        if not _are_counts(shape) or len(shape) > _MAX_AXES:
            raise ValueError(f"'{name}' has a shape that is none")
        if not _are_counts(offsets) or len(offsets) != 2:
            raise ValueError(f"'{name}' has offsets that are not two integers of at least 0")
        count = math.prod(shape) * np.dtype(_DTYPES[kind]).itemsize
        if offsets[1] - offsets[0] != count:
            raise ValueError(
                f"'{name}' of shape {shape} takes {count:,} bytes, its offsets leave "
                f"{offsets[1] - offsets[0]:,}"
            )
        places[name] = (offsets[0], offsets[1], kind, shape)
    position, checked = 0, {}
    for name, (begin, end, kind, shape) in sorted(places.items(), key=lambda item: item[1][:2]):
        if begin != position:
            raise ValueError(f"'{name}' begins at byte {begin:,}, not at {position:,}")
        checked[name], position = (kind, shape, end - begin), end
    if position != room:
        raise ValueError(f"its arrays take {position:,} bytes, the file has {room:,} for them")
    return checked


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in value)


def _content(stream: BinaryIO, name: str, kind: str, count: int) -> np.ndarray:
    """Return the next numbers of a file, in the byte order of this machine."""
    dtype = np.dtype(_DTYPES[kind])
    values = np.empty(count // dtype.itemsize, dtype)
    if count and stream.readinto(values.view(np.uint8)) < count:  # type: ignore[attr-defined]
        raise ValueError(f"'{name}' is not whole")
    if kind == "BF16":
        return from_bfloat16(values)
    if kind == "BOOL" and values.view(np.uint8).max(initial=0) > 1:
        raise ValueError(f"'{name}' holds truth values other than 0 and 1")
    return values.astype(dtype.newbyteorder("="), copy=False)
