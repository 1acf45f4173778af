"""The cache of an image folder: its decoded images in an NPY file that is memory-mapped.

A JSON file next to it, the note, says which images it was written from, and the checksum of its
pixels. A cache is used only if both agree with the folder and the file, which is read once for it;
otherwise it is written again, by one process at a time.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .decode import Form
from .source import OWNER, ImageSource, Reasons

_VERSION = 2  # a higher number makes every older cache stale: for changes in the decoding
_MAX_NOTE = 1 << 26  # bytes of a JSON file that are read
_CHUNK = 1 << 24  # bytes that are read at once for the checksum


def decode_into_cache(
    source: ImageSource, cache_dir: str | os.PathLike | None
) -> tuple[np.ndarray, Reasons]:
    """Return the images in the cache, which is written first if it is missing or stale."""
    path = _path(source, cache_dir)
    key = _key(source)
    found = _read_cache(source, path, key)
    if found is not None:
        return found
    try:
        if cache_dir is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".nn-", dir=path.parent)
    except OSError as error:
        if cache_dir is None:
            return _decode_into_temporary_file(source, error)
        raise OSError(
            f"[{OWNER}] cannot write to 'cache_dir', '{cache_dir}' ({error.strerror}): choose "
            "another one."
        ) from error
    with temporary as name, _taking_turns(path.parent):
        found = _read_cache(source, path, key)  # another process may have written it meanwhile
        return found or _write_cache(source, Path(name), path, key)


@contextlib.contextmanager
def _taking_turns(folder: Path) -> Iterator[None]:
    """Let the processes of a machine that need a cache in a folder take turns to write it.

    So those of a training in several processes decode the images once. Systems that cannot lock a
    folder let each decode them, which gives the same file.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _path(source: ImageSource, cache_dir: str | os.PathLike | None) -> Path:
    """Return the path of the cache; the JSON file next to it has another suffix."""
    if cache_dir is None:
        return source.folder / f".nn-{source.form}.npy"
    real = os.path.realpath(source.folder)
    key = hashlib.sha256(os.fsencode(real)).hexdigest()[:12]
    return Path(cache_dir, f"{Path(real).name}-{key}-{source.form}.npy")


def _key(source: ImageSource) -> dict[str, Any]:
    """Return all that a cache depends on, for its JSON file; the images as one checksum."""
    digest = hashlib.sha256()
    for image in source.images:
        digest.update(os.fsencode("\0".join(map(str, image)) + "\n"))
    return {
        "version": _VERSION,
        "form": str(source.form),
        "images": len(source.images),
        "sha256": digest.hexdigest(),
    }


def _write_cache(
    source: ImageSource, temporary: Path, path: Path, key: dict[str, Any]
) -> tuple[np.ndarray, Reasons]:
    """Write both files in a temporary folder, and move them to their path when complete."""
    with Path(temporary, "x.npy").open("wb") as stream:
        left_out, checksum = _write_images(source, stream, path.parent)
    note = json.dumps({**key, "left_out": left_out, "crc32": checksum}, indent=1)
    Path(temporary, "x.json").write_text(note, encoding="utf-8")
    # The old note is removed first, so that it is never next to images that it does not describe.
    path.with_suffix(".json").unlink(missing_ok=True)
    Path(temporary, "x.npy").replace(path)
    Path(temporary, "x.json").replace(path.with_suffix(".json"))
    with path.open("rb") as stream:
        return _map(stream, len(source.images) - len(left_out), source.form), left_out


def _decode_into_temporary_file(source: ImageSource, why: OSError) -> tuple[np.ndarray, Reasons]:
    """Return the images in a file without a name, which is removed when no longer used."""
    folder = tempfile.gettempdir()
    warnings.warn(
        f"[{OWNER}] cannot write a cache into '{source.folder}' ({why.strerror}): the decoded "
        f"images, {source.megabytes} MB, go to a temporary file in '{folder}', and the next run "
        "decodes them again. Pass a folder for them as 'cache_dir'.",
        RuntimeWarning,
        stacklevel=4,
    )
    with tempfile.TemporaryFile() as stream:  # it exists as long as the mapping
        left_out, _ = _write_images(source, stream, Path(folder))
        return _map(stream, len(source.images) - len(left_out), source.form), left_out


def _write_images(source: ImageSource, stream: BinaryIO, folder: Path) -> tuple[Reasons, int]:
    """Write all images that can be decoded as one NPY file; return the others and a checksum.

    They are written, not stored in a mapping: on a full disk, that would be a crash.
    """
    count, checksum = len(source.images), 0

    def write(array: np.ndarray) -> None:
        nonlocal checksum
        checksum = zlib.crc32(array.data, checksum)
        stream.write(array.data)

    try:
        _write_header(stream, count, source.form)
        left_out = source.decode_all(write)
        stream.seek(0)
        _write_header(stream, count - len(left_out), source.form)
        stream.flush()
        os.fsync(stream.fileno())
    except OSError as error:  # errors in decoding are handled elsewhere
        raise OSError(
            f"[{OWNER}] cannot write the decoded images, {source.megabytes} MB, to '{folder}' "
            f"({error.strerror}): pass a folder with enough space as 'cache_dir'."
        ) from error
    return left_out, checksum


def _checksum(x: np.ndarray) -> int:
    """Return the CRC-32 of the pixels, read in chunks."""
    pixels, checksum = x.reshape(-1), 0
    for start in range(0, pixels.size, _CHUNK):
        checksum = zlib.crc32(pixels[start : start + _CHUNK].data, checksum)
    return checksum


def _write_header(stream: BinaryIO, count: int, form: Form) -> None:
    """Write the header of an NPY file; its length does not depend on the number of rows."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *form.shape)}
    np.lib.format.write_array_header_1_0(stream, header)


def _read_cache(
    source: ImageSource, path: Path, key: dict[str, Any]
) -> tuple[np.ndarray, Reasons] | None:
    """Return the content of the cache, or None if it is missing, stale or damaged.

    Nothing in it is trusted: a file that is not exactly this array of bytes, a pixel that has
    changed, or a note about images that do not exist counts as no cache.
    """
    note = path.with_suffix(".json")
    try:
        if not path.is_file() or not note.is_file() or note.stat().st_size > _MAX_NOTE:
            return None
        found = json.loads(note.read_text(encoding="utf-8"))
        left_out, checksum = found.pop("left_out"), found.pop("crc32")
        if found != key or not _is_valid(left_out, source):
            return None
        with path.open("rb") as stream:
            x = _map(stream, len(source.images) - len(left_out), source.form)
        return (x, left_out) if _checksum(x) == checksum else None
    except Exception:  # damaged in any way: the images are decoded again
        return None


def _is_valid(left_out: Reasons, source: ImageSource) -> bool:
    """Return whether a note leaves out images that exist, and not all of a class."""
    names = {image.name for image in source.images} if left_out else set()
    strings = all(isinstance(reason, str) for reason in left_out.values())
    return strings and left_out.keys() <= names and not source.lost_classes(left_out)


def _map(stream: BinaryIO, count: int, form: Form) -> np.memmap:
    """Return the array in an open NPY file, read-only; raise unless it has this shape."""
    expected = io.BytesIO()
    _write_header(expected, count, form)
    header, shape = expected.getvalue(), (count, *form.shape)
    stream.seek(0)
    if stream.read(len(header)) != header:
        raise ValueError(f"[{OWNER}] the cache is of other images or sizes.")
    if os.fstat(stream.fileno()).st_size != len(header) + math.prod(shape):
        raise ValueError(f"[{OWNER}] the cache file does not have the expected size.")
    return np.memmap(stream, np.uint8, "r", len(header), shape)
