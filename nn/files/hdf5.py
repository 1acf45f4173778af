"""HDF5 as model files use it: groups, arrays of numbers and a few texts, and nothing else.

HDF5 can do far more: a file may point into other files, have programs loaded that unpack it, and
promise arrays of any size. So `read` looks at each object first, without reading what it holds,
and refuses whatever `write` would not have written. Only then is an array read: it lies in one
piece in this file, as it is, and all of them together are no larger than the file.

What cannot be promised here: the HDF5 library itself, which is written in C, parses the file. Its
reader of texts is not used, as damage can make it go round in circles: `_text` does that.
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
    """Write arrays and texts under their names; a slash in a name makes a group."""
    import h5py  # imported where it is used, so that `import nn` stays light

    with h5py.File(stream, "w") as file:
        for name, value in datasets.items():
            file.create_dataset(name, data=value)


def read(stream: BinaryIO, size: int, texts: frozenset[str]) -> dict[str, Any]:
    """Return the arrays in a file by their names, and its texts.

    Parameters
    ----------
    stream
        The open file; nothing else is opened.
    size
        Its length in bytes.
    texts
        Names under which a text may stand; under any other there must be numbers.

    Raises
    ------
    Exception
        Of any kind, for a file that is damaged; ValueError for one that holds what `write` does
        not write. The message says what is wrong, not in which file.
    """
    import h5py

    with h5py.File(stream, "r") as file:
        if file.id.get_create_plist().get_sizes() != (8, 8):
            raise ValueError("it writes addresses and lengths otherwise than in 8 bytes")
        datasets = _survey(h5py.h5g.open(file.id, b"/"))
        total = 0
        for name, dataset in datasets.items():
            _check_storage(name, dataset, size)
            if name not in texts:
                total += _check_numbers(name, dataset)
            else:
                _check_text(name, dataset)
        if total > size:
            raise ValueError(f"its arrays would take {total:,} bytes, the file has {size:,}")
        return {
            name: _text(name, dataset, stream, size) if name in texts else _array(dataset)
            for name, dataset in datasets.items()
        }


def _survey(root: Any) -> dict[str, Any]:
    """Return the datasets below a group, by name; nothing they hold is read, no link followed."""
    from h5py import h5o

    found: dict[str, Any] = {}
    info = h5o.get_info(root)
    _check_header("/", info)
    seen = {info.addr}
    groups = [(root, "", 0)]
    while groups:
        group, prefix, depth = groups.pop()
        if depth > _MAX_DEPTH:
            raise ValueError(f"it has groups inside groups more than {_MAX_DEPTH} deep")
        if len(seen) + group.get_num_objs() > _MAX_OBJECTS:
            raise ValueError(f"it holds more than {_MAX_OBJECTS:,} things")
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
    """Refuse a name for something that stands elsewhere, in this file or in another."""
    from h5py import h5l

    kinds = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "an external link"}
    if link.type != h5l.TYPE_HARD:
        raise ValueError(f"'{name}' is {kinds.get(link.type, 'a link of an unknown kind')}")


def _check_header(name: str, info: Any) -> None:
    """Refuse an object whose attributes are large; none of them is read."""
    attributes = info.meta_size.attr
    size = info.hdr.space.total + attributes.heap_size + attributes.index_size
    if size > _MAX_HEADER:
        raise ValueError(f"'{name}' has attributes and other notes of {size:,} bytes")


def _check_storage(name: str, dataset: Any, size: int) -> None:
    """Refuse an array that does not lie in this file, in one piece, as it is."""
    from h5py import h5d

    made = dataset.get_create_plist()
    if made.get_external_count():
        raise ValueError(f"'{name}' is stored in another file")
    if made.get_layout() == h5d.VIRTUAL:
        raise ValueError(f"'{name}' is a virtual dataset, put together from other files")
    if made.get_nfilters():
        number, _, _, label = made.get_filter(0)
        raise ValueError(
            f"'{name}' is packed with the filter {number} ({label.decode('ascii', 'replace')}): "
            "write it without compression, shuffling and checksums"
        )
    if made.get_layout() not in (h5d.CONTIGUOUS, h5d.COMPACT):
        raise ValueError(f"'{name}' is stored in pieces: write it without 'chunks' and 'maxshape'")
    stored, offset = dataset.get_storage_size(), dataset.get_offset()
    if stored > size or (offset or 0) + stored > size:
        raise ValueError(f"'{name}' ends {(offset or 0) + stored - size:,} bytes after the file")


def _check_numbers(name: str, dataset: Any) -> int:
    """Refuse what is not an array of plain numbers, all of it in the file; return its bytes."""
    from h5py import h5s

    kind, space = dataset.get_type(), dataset.get_space()
    if kind.committed() or not any(kind.equal(known) for known in _number_types()):
        raise ValueError(
            f"'{name}' is not an array of numbers, of a floating-point or integer type of 1 to 8 "
            f"bytes, but of {dataset.dtype}"
        )
    if space.get_simple_extent_type() == h5s.NULL:
        raise ValueError(f"'{name}' is not an array of numbers, but of nothing")
    shape = space.get_simple_extent_dims()
    size = math.prod(shape) * kind.get_size()
    if size != dataset.get_storage_size():
        raise ValueError(
            f"'{name}' of shape {shape} takes {size:,} bytes, the file has "
            f"{dataset.get_storage_size():,} of it"
        )
    return size


def _check_text(name: str, dataset: Any) -> None:
    """Refuse what is not one text."""
    from h5py import h5s, h5t

    kind, space = dataset.get_type(), dataset.get_space()
    if (
        kind.get_class() != h5t.STRING
        or kind.committed()
        or space.get_simple_extent_type() != h5s.SCALAR
    ):
        raise ValueError(f"'{name}' is not a text")


def _number_types() -> list[Any]:
    """Return HDF5's names for the numbers that NumPy has, in both orders of their bytes.

    Among them is what h5py makes of yes and no, a byte.
    """
    from h5py import h5t

    kinds = [f"IEEE_F{bits}" for bits in (16, 32, 64)]
    kinds += [f"STD_{sign}{bits}" for sign in "IU" for bits in (8, 16, 32, 64)]
    numbers = [getattr(h5t, kind + order) for kind in kinds for order in ("LE", "BE")]
    return [*numbers, h5t.py_create(np.dtype(bool))]


def _array(dataset: Any) -> np.ndarray:
    """Return the numbers of a dataset in the machine's own order of bytes."""
    import h5py

    values = np.asarray(h5py.Dataset(dataset)[()])  # what has no axes comes as a number
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _text(name: str, dataset: Any, stream: BinaryIO, size: int) -> str:
    """Return a text of a length of its own or of a fixed one.

    In the place of the former the file has a length, the address of a heap that holds texts, and
    the text's number there ("HDF5 File Format Specification 3.0", section III.E).
    """
    import h5py

    if not dataset.get_type().is_variable_str():
        return h5py.Dataset(dataset).asstr()[()]
    place = dataset.get_offset()
    if place is None:
        raise ValueError(f"'{name}' has no text")
    length, address, number = struct.unpack("<IQI", _bytes_at(stream, place, 16, size))
    signature, length_of_heap = struct.unpack("<4s4xQ", _bytes_at(stream, address, 16, size))
    if signature != b"GCOL":
        raise ValueError(f"'{name}' is not where it should be")
    heap = _bytes_at(stream, address, length_of_heap, size)
    at = 16  # after the head; then one text after the other, each with a head of its own
    while at + 16 <= len(heap):
        found, its_length = struct.unpack_from("<H6xQ", heap, at)
        if found == number:
            text = heap[at + 16 : at + 16 + min(its_length, length)]
            if len(text) == length:
                return text.decode("utf-8")
        at += 16 + (its_length + 7) // 8 * 8
    raise ValueError(f"'{name}' is not where it should be")


def _bytes_at(stream: BinaryIO, place: int, length: int, size: int) -> bytes:
    """Return bytes of a file of a size; all of them must be there."""
    if place + length > size:
        raise ValueError(f"{length:,} bytes at {place:,} are beyond its end")
    stream.seek(place)
    return stream.read(length)
