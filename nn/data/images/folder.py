"""Image folders: images sorted into one sub-folder a class, decoded once.

Decoding and scaling a photograph takes longer than a small network takes to learn from it, and
every epoch would do it again. So each image is decoded once, by Pillow and on several threads,
and its bytes go one after the other into a file, the cache: an array (N, C, H, W) in NumPy's NPY
format, with a small JSON file beside it that says what it was made from. From then on the folder
is a memory-mapped array: it need not fit into memory, and the next run starts at once.

Images come from anywhere, and so may a cache. One that is damaged costs its own place in the
set, and a cache that does not fit what is in the folder is made anew.
"""

import contextlib
import hashlib
import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ... import checks
from ..batching import check_threads, prepared
from ..dataset import Dataset
from .decode import Form, check_form, decode, require_pillow, why_not

_OWNER = "load_image_folder"
_SUFFIXES = (
    *(".bmp", ".gif", ".jpeg", ".jpg", ".pgm"),
    *(".png", ".ppm", ".tif", ".tiff", ".webp"),
)
_CACHE_VERSION = 1  # a higher number makes every older cache stale: for changes in the decoding
_MAX_NOTE = 1 << 26  # bytes of a JSON file that are read
_SHOWN = 5  # images or classes that a message names

Reasons = dict[str, str]  # why an image was left out, by its name


def load_image_folder(
    path: str | os.PathLike,
    size: int | tuple[int, int] = (128, 128),
    mode: str = "RGB",
    fit: str = "crop",
    cache: bool = True,
    cache_dir: str | os.PathLike | None = None,
    num_threads: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Return the images in a folder that has a sub-folder for each class.

    As in torchvision's ImageFolder, the classes are the sub-folders in the order of their names,
    and a class has all the images in its sub-folder, in folders within it as well; a file counts
    as an image by its suffix (.bmp, .gif, .jpeg, .jpg, .pgm, .png, .ppm, .tif, .tiff, .webp).
    What begins with a dot is not looked at.

    Every image is turned as its EXIF data says and laid on white where it is transparent, made
    RGB or grey, and scaled with a filter that averages over all pixels it covers. Values of 16
    bits become 8, of several frames the first is taken. An image that cannot be decoded
    is left out, and so is one of more than `PIL.Image.MAX_IMAGE_PIXELS` pixels (Pillow's limit,
    89 million: a small file can unpack to any size); one warning tells how many, and why. Set that
    constant higher, or to None, for images that you trust.

    The result is kept in two files in `path`, `.nn-<height>x<width>-<mode>-<fit>.npy` and
    `.json`, which the next call with these settings uses where no image was added, removed or
    changed (in its size in bytes or its time of change). Where `path` cannot be written to, a
    warning says so and a temporary file takes their place for as long as the dataset is in use.

    Parameters
    ----------
    path
        The folder.
    size
        Pixels (height, width) of all images, or one number for both.
    mode
        'RGB' for three channels, 'L' for one of grey values.
    fit
        How an image of another shape fits in. 'crop' scales its shorter side and cuts what is
        too much from both ends of the other; 'pad' scales its longer side and leaves black
        borders; 'stretch' changes its shape.
    cache
        Whether to keep the decoded images in a file. False keeps them in memory.
    cache_dir
        Folder for the cache, made where it does not exist, in place of `path`. Caches of several
        sets may share it.
    num_threads
        Threads that decode; None for `min(8, cores)`, 0 for none but the caller's.
    progress
        Whether to show a bar on the standard error while images are decoded.

    Returns
    -------
    dataset
        Images (N, C, height, width) uint8, a `numpy.memmap` unless `cache` is False; labels (N,)
        int64; the names of the sub-folders as `class_names`.

    Raises
    ------
    FileNotFoundError, NotADirectoryError, PermissionError
        For a folder, or one within it, that cannot be read.
    OSError
        Where the cache cannot be written, for a full disk or a `cache_dir` without permission.
    ValueError
        For fewer than two classes, a class without any usable image, or a wrong argument.
    ImportError
        Where there is something to decode and Pillow is not installed.

    Examples
    --------
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, colour in ("ruby", "red"), ("sapphire", "blue"):
    ...         Path(folder, name).mkdir()
    ...         Image.new("RGB", (40, 30), colour).save(Path(folder, name, "first.png"))
    ...     stones = load_image_folder(folder, size=8, cache=False, progress=False)
    >>> stones, stones.class_names
    (Dataset(2 samples of shape (3, 8, 8) and dtype uint8, 2 classes), ('ruby', 'sapphire'))
    >>> stones.x[:, :, 0, 0]
    array([[255,   0,   0],
           [  0,   0, 255]], dtype=uint8)
    """
    form = check_form(_OWNER, size, mode, fit)
    threads = check_threads(_OWNER, num_threads)
    if not isinstance(cache, bool):
        raise checks.error(_OWNER, "cache", "must be True or False", cache)
    if cache_dir is not None and not cache:
        raise checks.error(_OWNER, "cache_dir", "goes with cache=True", cache_dir)
    checks.path("load_image_folder", "path", path)
    class_names, images = _list_images(Path(path))
    source = _Source(Path(path), class_names, images, form, threads, progress)
    x, left_out = _from_cache(source, cache_dir) if cache else _into_memory(source)
    if left_out:
        again = " The cache remembers them until a file in the folder changes." if cache else ""
        warnings.warn(_report(source, left_out) + again, RuntimeWarning, stacklevel=2)
    labels = [image.label for image in images if image.name not in left_out]
    return Dataset(x, np.array(labels, dtype=np.int64), class_names=class_names)


class _Image(NamedTuple):
    """A file, by its name below the folder, and what tells whether it has changed."""

    name: str
    label: int
    size: int  # bytes
    time: int  # of the last change, nanoseconds


@dataclass(frozen=True)
class _Source:
    """What there is to decode, and how."""

    folder: Path
    class_names: list[str]
    images: list[_Image]
    form: Form
    threads: int
    progress: bool

    @property
    def megabytes(self) -> int:
        """Size of all images once they are decoded."""
        return len(self.images) * math.prod(self.form.shape) // 1_000_000


def _report(source: _Source, left_out: Reasons) -> str:
    shown = [f"{name} ({reason})" for name, reason in list(left_out.items())[:_SHOWN]]
    if len(left_out) > _SHOWN:
        shown.append(f"and {len(left_out) - _SHOWN} more")
    return (
        f"[{_OWNER}] {len(left_out)} of {len(source.images)} images in '{source.folder}' "
        f"cannot be used and are left out: {', '.join(shown)}."
    )


# ------------------------------------------------------------------------------- the listing


def _list_images(folder: Path) -> tuple[list[str], list[_Image]]:
    """Return the names of the classes and the images, class after class, by name in each."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
        found = [list(_images_below(folder, name, label)) for label, name in enumerate(names)]
    except OSError as error:
        raise type(error)(
            f"[{_OWNER}] cannot read '{error.filename}' ({error.strerror}): give a folder that "
            "has a sub-folder of images for each class."
        ) from error
    if len(names) < 2:
        got = f"only {_quoted(names)}" if names else "no sub-folder"
        raise ValueError(
            f"[{_OWNER}] 'path' must be a folder with a sub-folder of images for each of at "
            f"least two classes, got '{folder}' with {got}."
        )
    empty = [name for name, images in zip(names, found, strict=True) if not images]
    if empty:
        raise ValueError(
            f"[{_OWNER}] each class must have images, got none in {_quoted(empty)}: put files "
            f"with one of the suffixes {', '.join(_SUFFIXES)} into '{folder / empty[0]}', or "
            "remove the folder."
        )
    return names, [image for images in found for image in images]


def _images_below(folder: Path, class_name: str, label: int) -> Iterator[_Image]:
    """Yield the images of a class; links are followed, but never back to where one has been."""
    start = os.path.realpath(folder / class_name)
    seen = {start, *map(str, Path(start).parents)}

    def look_into(below: str) -> Iterator[_Image]:
        with os.scandir(folder / below) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        for entry in entries:
            name = f"{below}/{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                place = os.path.realpath(entry.path)
                if place not in seen:
                    seen.add(place)
                    yield from look_into(name)
            elif entry.name.lower().endswith(_SUFFIXES):
                yield _image(entry, name, label)

    return look_into(class_name)


def _image(entry: os.DirEntry, name: str, label: int) -> _Image:
    try:
        status = entry.stat()
    except OSError:  # a link to nowhere: decoding it will say so
        return _Image(name, label, -1, 0)
    return _Image(name, label, status.st_size, status.st_mtime_ns)


def _quoted(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + more


# ------------------------------------------------------------------------------ the decoding


def _decode_all(source: _Source, keep: Callable[[np.ndarray], Any]) -> Reasons:
    """Hand each image (C, H, W) to `keep`, in order; return which could not be decoded, and why.

    Raises ValueError where a class loses all its images.
    """
    require_pillow(_OWNER)
    from tqdm import tqdm

    left_out: Reasons = {}
    folder, images, count = source.folder, source.images, len(source.images)

    def prepare(index: int) -> tuple:
        return _try_to_decode(folder / images[index].name, source.form)

    with (
        warnings.catch_warnings(),
        tqdm(total=count, desc=folder.name, unit="image", disable=not source.progress) as bar,
        contextlib.closing(prepared(prepare, count, source.threads)) as results,
    ):
        warnings.filterwarnings("ignore", module="PIL")  # of small faults that do no harm
        for image, (array, reason) in zip(images, results, strict=True):
            if array is None:
                left_out[image.name] = reason
            else:
                keep(array)
            bar.update()
    lost = [source.class_names[label] for label in _lost_classes(images, left_out)]
    if lost:
        raise ValueError(
            f"[{_OWNER}] each class must have images that can be decoded, got none in "
            f"{_quoted(lost)}. {_report(source, left_out)}"
        )
    return left_out


def _lost_classes(images: list[_Image], left_out: Reasons) -> list[int]:
    """Return the labels of which no image remains."""
    remaining = {image.label for image in images if image.name not in left_out}
    return sorted({image.label for image in images} - remaining)


def _try_to_decode(path: Path, form: Form) -> tuple[np.ndarray | None, str]:
    """Return the image (C, H, W) and '', or None and the reason why not."""
    try:
        return decode(path, form), ""
    except MemoryError:
        raise  # no fault of the image
    except Exception as error:  # damage makes the decoders fail in any way at all
        return None, why_not(error)


# --------------------------------------------------------------------------------- the cache


def _into_memory(source: _Source) -> tuple[np.ndarray, Reasons]:
    count = len(source.images)
    x = np.empty((count, *source.form.shape), np.uint8)
    places = iter(x)

    def keep(array: np.ndarray) -> None:
        next(places)[...] = array

    left_out = _decode_all(source, keep)
    return x[: count - len(left_out)], left_out


def _from_cache(source: _Source, cache_dir: str | os.PathLike | None) -> tuple[np.ndarray, Reasons]:
    """Return the images in the cache, which is made where it is not there or not right."""
    place = _place(source, cache_dir)
    made_from = _made_from(source)
    found = _read_cache(source, place, made_from)
    if found is not None:
        return found
    try:
        if cache_dir is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".nn-", dir=place.parent)
    except OSError as error:
        if cache_dir is None:
            return _into_temporary_file(source, error)
        raise OSError(
            f"[{_OWNER}] cannot write to 'cache_dir', '{cache_dir}' ({error.strerror}): choose "
            "another one."
        ) from error
    with temporary as name:
        return _make_cache(source, Path(name), place, made_from)


def _place(source: _Source, cache_dir: str | os.PathLike | None) -> Path:
    """Return the path of the cache; that of the JSON file differs in its suffix."""
    if cache_dir is None:
        return source.folder / f".nn-{source.form}.npy"
    real = os.path.realpath(source.folder)
    key = hashlib.sha256(os.fsencode(real)).hexdigest()[:12]
    return Path(cache_dir, f"{Path(real).name}-{key}-{source.form}.npy")


def _made_from(source: _Source) -> dict[str, Any]:
    """Return what a cache depends on, for its JSON file; all the images in one sum."""
    digest = hashlib.sha256()
    for image in source.images:
        digest.update(os.fsencode(f"{image.name}\0{image.size}\0{image.time}\n"))
    return {
        "version": _CACHE_VERSION,
        "form": str(source.form),
        "images": len(source.images),
        "sha256": digest.hexdigest(),
    }


def _make_cache(
    source: _Source, temporary: Path, place: Path, made_from: dict[str, Any]
) -> tuple[np.ndarray, Reasons]:
    """Write both files in a temporary folder and move them to their place, whole."""
    with Path(temporary, "x.npy").open("wb") as stream:
        left_out = _write_images(source, stream, place.parent)
    note = json.dumps({**made_from, "left_out": left_out}, indent=1)
    Path(temporary, "x.json").write_text(note, encoding="utf-8")
    # The old note goes first, so that at no time it stands beside images it does not speak of.
    place.with_suffix(".json").unlink(missing_ok=True)
    Path(temporary, "x.npy").replace(place)
    Path(temporary, "x.json").replace(place.with_suffix(".json"))
    with place.open("rb") as stream:
        return _map(stream, len(source.images) - len(left_out), source.form), left_out


def _into_temporary_file(source: _Source, why: OSError) -> tuple[np.ndarray, Reasons]:
    """Return the images in a file without a name, which is gone once nobody uses it."""
    where = tempfile.gettempdir()
    warnings.warn(
        f"[{_OWNER}] cannot write a cache into '{source.folder}' ({why.strerror}): the decoded "
        f"images, {source.megabytes} MB, go to a temporary file in '{where}', and the next run "
        "decodes them again. Give a folder for them as 'cache_dir'.",
        RuntimeWarning,
        stacklevel=4,
    )
    with tempfile.TemporaryFile() as stream:  # the mapping keeps it in being
        left_out = _write_images(source, stream, Path(where))
        return _map(stream, len(source.images) - len(left_out), source.form), left_out


def _write_images(source: _Source, stream: BinaryIO, where: Path) -> Reasons:
    """Write all images that can be decoded as one NPY file.

    Written, not mapped: on a full disk writing is an error, and storing into a mapping a crash.
    """
    count = len(source.images)
    try:
        _write_header(stream, count, source.form)
        left_out = _decode_all(source, lambda array: stream.write(array.data))
        stream.seek(0)
        _write_header(stream, count - len(left_out), source.form)
        stream.flush()
        os.fsync(stream.fileno())
    except OSError as error:  # what decoding raises is caught where it happens
        raise OSError(
            f"[{_OWNER}] cannot write the decoded images, {source.megabytes} MB, to '{where}' "
            f"({error.strerror}): give a folder with room for them as 'cache_dir'."
        ) from error
    return left_out


def _write_header(stream: BinaryIO, count: int, form: Form) -> None:
    """Write the header of an NPY file; NumPy leaves room in it for any number of rows."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *form.shape)}
    np.lib.format.write_array_header_1_0(stream, header)


def _read_cache(
    source: _Source, place: Path, made_from: dict[str, Any]
) -> tuple[np.ndarray, Reasons] | None:
    """Return what is in the cache, or None where it is not there, stale or not what it should be.

    Nothing in it is believed: a file that is not this array of bytes, or a note that leaves out
    what is not there, counts as no cache.
    """
    note = place.with_suffix(".json")
    try:
        if not place.is_file() or not note.is_file() or note.stat().st_size > _MAX_NOTE:
            return None
        found = json.loads(note.read_text(encoding="utf-8"))
        left_out = found.pop("left_out")
        if found != made_from or not _is_sound(left_out, source.images):
            return None
        with place.open("rb") as stream:
            return _map(stream, len(source.images) - len(left_out), source.form), left_out
    except Exception:  # damage shows itself in any way at all; the images are decoded anew
        return None


def _is_sound(left_out: Reasons, images: list[_Image]) -> bool:
    """Tell whether a note leaves out images that there are, and not all of a class."""
    names = {image.name for image in images} if left_out else set()
    texts = all(isinstance(reason, str) for reason in left_out.values())
    return texts and left_out.keys() <= names and not _lost_classes(images, left_out)


def _map(stream: BinaryIO, count: int, form: Form) -> np.memmap:
    """Return the array in an open NPY file, read-only; ValueError unless it is the one expected."""
    stream.seek(0)
    version = np.lib.format.read_magic(stream)
    shape = (count, *form.shape)
    expected = (shape, False, np.dtype(np.uint8))
    if version != (1, 0) or np.lib.format.read_array_header_1_0(stream) != expected:
        raise ValueError(f"[{_OWNER}] the cache holds something else.")
    start = stream.tell()
    if os.fstat(stream.fileno()).st_size != start + math.prod(shape):
        raise ValueError(f"[{_OWNER}] the cache is too short or too long.")
    return np.memmap(stream, np.uint8, "r", start, shape)
