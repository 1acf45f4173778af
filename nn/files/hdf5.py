"""HDF5 as model files use it: groups, arrays of numbers, a few strings, and nothing else.

HDF5 can do far more: a file may point into other files, have filters loaded that unpack it, and
declare arrays of any size. So `read` checks each object before its content is read, and refuses
whatever `write` would not have written. Only then is an array read: it is contiguous and not
compressed, and all of them together are no larger than the file.

The HDF5 library itself, which is written in C, still parses the file. Its reader of strings of
variable length is not used, as a damaged file can make it loop forever: strings are written with
a fixed length, and `_variable_string` reads those in files of version 0.1.
"""

import math
import struct
from typing import Any, BinaryIO

import numpy as np

__all__ = ["read", "write"]

_MAX_OBJECTS = 100_000
_MAX_DEPTH = 128  # groups inside groups: a little more than layers inside layers
_MAX_HEADER = 1 << 20  # bytes that describe an object, its attributes included


def write(stream: BinaryIO, datasets: dict[str, Any]) -> None:
    """Write arrays and strings under their names; a slash in a name makes a group."""
    import h5py  # imported here, so that `import nn` stays light

    with h5py.File(stream, "w") as file:
        for name, value in datasets.items():
            file.create_dataset(name, data=np.bytes_(value) if isinstance(value, str) else value)


def read(stream: BinaryIO, size: int, strings: frozenset[str]) -> dict[str, Any]:
    """Return the arrays in a file by their names, and its strings as bytes.

    Parameters
    ----------
    stream
        The open file; nothing else is opened.
    size
        Its length in bytes.
    strings
        Names of datasets that must hold a string; all others must hold numbers.

    Raises
    ------
    Exception
        Of any kind, for a file that is damaged; ValueError for one with anything that `write`
        does not write. The message says what is wrong, not in which file.
    """
    import h5py

    with h5py.File(stream, "r") as file:
        datasets = _list_datasets(h5py.h5g.open(file.id, b"/"))
        total = 0
        for name, dataset in datasets.items():
            _check_storage(name, dataset, size)
            total += _check_type(name, dataset, name in strings)
        if total > size:
            raise ValueError(f"its arrays would take {total:,} bytes, the file has {size:,}")
        return {name: _content(name, dataset, stream, size) for name, dataset in datasets.items()}


def _list_datasets(root: Any) -> dict[str, Any]:
    """Return the datasets below a group, by name; no content is read, no link followed."""
    from h5py import h5o

    found: dict[str, Any] = {}
    info = h5o.get_info(root)
    _check_header("/", info)
    seen = {info.addr}
    groups = [(root, "", 0)]
    while groups:
        group, prefix, depth = groups.pop()
        if depth > _MAX_DEPTH:
            raise ValueError(f"its groups are nested more than {_MAX_DEPTH} deep")
        if len(seen) + group.get_num_objs() > _MAX_OBJECTS:
            raise ValueError(f"it holds more than {_MAX_OBJECTS:,} objects")
        for key in group:
            name = prefix + key.decode("utf-8")
            _check_link(name, group.links.get_info(key))
            info = h5o.get_info(group, key)
            if info.addr in seen:
                raise ValueError(f"'{name}' is there under another name too")
            seen.add(info.addr)
            _check_header(name, info)
            if info.type == h5o.TYPE_GROUP:
                groups.append((h5o.open(group, key), f"{name}/", depth + 1))
            elif info.type == h5o.TYPE_DATASET:
                found[name] = h5o.open(group, key)
            else:
                raise ValueError(f"'{name}' is neither a group nor an array, but a datatype")
    return found


def _check_link(name: str, link: Any) -> None:
    """Refuse a link to another place, in this file or in another."""
    from h5py import h5l

    kinds = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "an external link"}
    if link.type != h5l.TYPE_HARD:
        raise ValueError(f"'{name}' is {kinds.get(link.type, 'a link of an unknown kind')}")


def _check_header(name: str, info: Any) -> None:
    """Refuse an object whose attributes are large; none of them is read."""
    attributes = info.meta_size.attr
    size = info.hdr.space.total + attributes.heap_size + attributes.index_size
    if size > _MAX_HEADER:
        raise ValueError(f"'{name}' has a header with attributes of {size:,} bytes")


def _check_storage(name: str, dataset: Any, size: int) -> None:
    """Refuse an array that is not in this file, contiguous and without filters."""
    from h5py import h5d

    made = dataset.get_create_plist()
    if made.get_external_count():
        raise ValueError(f"'{name}' is stored in another file")
    if made.get_layout() == h5d.VIRTUAL:
        raise ValueError(f"'{name}' is a virtual dataset, assembled from other files")
    if made.get_nfilters():
        number, _, _, label = made.get_filter(0)
        raise ValueError(
            f"'{name}' is packed with the filter {number} ({label.decode('ascii', 'replace')}): "
            "write it without compression, shuffling and checksums"
        )
    if made.get_layout() not in (h5d.CONTIGUOUS, h5d.COMPACT):
        raise ValueError(f"'{name}' is stored in chunks: write it without 'chunks' and 'maxshape'")
    stored, offset = dataset.get_storage_size(), dataset.get_offset()
    if stored > size or (offset or 0) + stored > size:
        raise ValueError(f"'{name}' ends {(offset or 0) + stored - size:,} bytes after the file")


def _check_type(name: str, dataset: Any, is_string: bool) -> int:
    """Refuse anything but plain numbers, all of them in the file, or one string; return the size.

    Plain numbers have the types that HDF5 makes of NumPy's, in either byte order.
    """
    from h5py import h5s, h5t

    kind, space, dtype = dataset.get_type(), dataset.get_space(), dataset.dtype
    extent, stored = space.get_simple_extent_type(), dataset.get_storage_size()
    if is_string:
        if kind.get_class() != h5t.STRING or kind.committed() or extent != h5s.SCALAR:
            raise ValueError(f"'{name}' is not a string")
        if kind.is_variable_str():
            return stored
    else:
        is_plain = dtype.kind in "fiub" and dtype.itemsize <= 8 and not kind.committed()
        if not is_plain or extent == h5s.NULL or not h5t.py_create(dtype).equal(kind):
            raise ValueError(
                f"'{name}' is not an array of numbers (integers or floats of at most 8 bytes), but "
                f"{'empty' if extent == h5s.NULL else f'of {dtype}'}"
            )
    shape = space.get_simple_extent_dims()
    size = math.prod(shape) * kind.get_size()
    if size != stored:
        raise ValueError(
            f"'{name}' of shape {shape} takes {size:,} bytes, the file has {stored:,} of it"
        )
    return size


def _content(name: str, dataset: Any, stream: BinaryIO, size: int) -> np.ndarray | bytes:
    """Return the string of a dataset, or its numbers in the byte order of this machine."""
    import h5py

    if dataset.dtype.kind == "O":
        return _variable_string(name, dataset.get_offset(), stream, size)
    values = h5py.Dataset(dataset)[()]  # one without axes is read as a scalar
    if dataset.dtype.kind == "S":
        return bytes(values)
    return np.asarray(values, dataset.dtype.newbyteorder("="))


def _variable_string(name: str, offset: int | None, stream: BinaryIO, size: int) -> bytes:
    """Return a string of variable length, as version 0.1 wrote its JSON.

    The dataset holds the string's length, the address of a heap and the string's number in it; in
    the heap, the string follows a header with its number and length ("HDF5 File Format
    Specification 3.0", section III.E).
    """
    stream.seek(offset or 0)
    length, address, number = struct.unpack("<IQI", stream.read(16))
    stream.seek(address)
    heap = stream.read(16)
    signature, heap_size = struct.unpack("<4s4xQ", heap)
    heap += stream.read(min(heap_size, size))
    header = struct.pack("<H6xQ", number, length)
    start = heap.find(header) + len(header)
    string = heap[start : start + length]
    if signature != b"GCOL" or start < len(header) or len(string) < length:
        raise ValueError(f"the string '{name}' is not where it should be")
    return string
