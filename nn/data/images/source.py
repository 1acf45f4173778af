"""The files of an image folder, in order, and how all of them are decoded on several threads."""

import contextlib
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...text import printable
from ..batching import prepared
from .decode import Form, decode, reason, require_pillow

OWNER = "load_image_folder"
SUFFIXES = (
    *(".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".pgm"),
    *(".png", ".ppm", ".tif", ".tiff", ".webp"),
)
_PARTS = re.compile(
    r"(train|val|valid|validat|test|dev|eval|evaluat|holdout)(ing|ion)?([ _-]?(set|data|images))?",
    re.IGNORECASE,
)
_SHOWN = 5  # images or classes that a message names

Reasons = dict[str, str]  # why an image is left out, by its name


class ImageFile(NamedTuple):
    """A file, by its name below the folder, and what changes if its content does."""

    name: str
    label: int
    size: int  # bytes
    modified: int  # nanoseconds
    changed: int  # the same, of the file or its attributes; users cannot set it


@dataclass(frozen=True)
class ImageSource:
    """The images to decode, and how."""

    folder: Path
    class_names: list[str]
    images: list[ImageFile]
    form: Form
    threads: int
    progress: bool

    @property
    def megabytes(self) -> int:
        """Size of all images once they are decoded."""
        return len(self.images) * math.prod(self.form.shape) // 1_000_000

    def decode_all(self, keep: Callable[[np.ndarray], Any]) -> Reasons:
        """Call `keep` with each image (C, H, W), in order; return why others are left out.

        Raises ValueError if a class loses all its images.
        """
        require_pillow(OWNER)
        from tqdm import tqdm

        left_out: Reasons = {}
        count = len(self.images)
        with (
            warnings.catch_warnings(),
            tqdm(
                total=count, desc=self.folder.name, unit="image", disable=not self.progress
            ) as bar,
            contextlib.closing(prepared(self._try_to_decode, count, self.threads)) as results,
        ):
            warnings.filterwarnings("ignore", module="PIL")  # of harmless faults
            for image, (array, why) in zip(self.images, results, strict=True):
                if array is None:
                    left_out[image.name] = why
                else:
                    keep(array)
                bar.update()
        lost = [self.class_names[label] for label in self.lost_classes(left_out)]
        if lost:
            raise ValueError(
                f"[{OWNER}] each class must have images that can be decoded, got none in "
                f"{_quoted(lost)}. {self.report(left_out)}"
            )
        return left_out

    def decode_into_memory(self) -> tuple[np.ndarray, Reasons]:
        """Return the images (N, C, H, W), and why others are left out."""
        x = np.empty((len(self.images), *self.form.shape), np.uint8)
        rows = iter(x)

        def keep(array: np.ndarray) -> None:
            next(rows)[...] = array

        left_out = self.decode_all(keep)
        return x[: len(x) - len(left_out)], left_out

    def _try_to_decode(self, index: int) -> tuple[np.ndarray | None, str]:
        """Return an image (C, H, W) and '', or None and the reason why not."""
        try:
            return decode(self.folder / self.images[index].name, self.form), ""
        except MemoryError:
            raise  # not the fault of the image
        except Exception as error:  # damaged files make the decoders fail in any way
            return None, reason(error)

    def lost_classes(self, left_out: Reasons) -> list[int]:
        """Return the labels of which no image remains."""
        remaining = {image.label for image in self.images if image.name not in left_out}
        return sorted({image.label for image in self.images} - remaining)

    def report(self, left_out: Reasons) -> str:
        """Return a sentence about the images that are left out."""
        shown = [
            f"{printable(name)} ({printable(why)})" for name, why in list(left_out.items())[:_SHOWN]
        ]
        if len(left_out) > _SHOWN:
            shown.append(f"and {len(left_out) - _SHOWN} more")
        return (
            f"[{OWNER}] {len(left_out)} of {len(self.images)} images in "
            f"'{printable(str(self.folder))}' cannot be decoded and are left out: "
            f"{', '.join(shown)}."
        )


# ------------------------------------------------------------------------------- listing


def list_images(folder: Path) -> tuple[list[str], list[ImageFile]]:
    """Return the names of the classes and the images, class after class, by name in each."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and _is_folder(e))
        found = [list(_images_below(folder, name, label)) for label, name in enumerate(names)]
    except OSError as error:
        raise type(error)(
            f"[{OWNER}] cannot read '{error.filename}' ({error.strerror}): pass a folder that "
            "has a sub-folder of images for each class."
        ) from error
    if len(names) < 2:
        got = f"only {_quoted(names)}" if names else "no sub-folder"
        raise ValueError(
            f"[{OWNER}] 'path' must be a folder with a sub-folder of images for each of at "
            f"least two classes, got '{folder}' with {got}."
        )
    empty = [name for name, images in zip(names, found, strict=True) if not images]
    if empty:
        raise ValueError(
            f"[{OWNER}] each class must have images, got none in {_quoted(empty)}: put files "
            f"with one of the suffixes {', '.join(SUFFIXES)} into '{folder / empty[0]}', or "
            "remove the folder."
        )
    listed = [image for images in found for image in images]
    if all(map(_PARTS.fullmatch, names)) and all(i.name.count("/") > 1 for i in listed):
        raise ValueError(
            f"[{OWNER}] 'path' must have a sub-folder for each class, got {_quoted(names)}, "
            f"which contain the class folders: load each separately, '{folder / names[0]}' first."
        )
    return names, listed


def _images_below(folder: Path, class_name: str, label: int) -> Iterator[ImageFile]:
    """Yield the images of a class; links are followed, but no folder is entered twice."""
    start = os.path.realpath(folder / class_name)
    seen = {start, *map(str, Path(start).parents)}

    def images_in(below: str) -> Iterator[ImageFile]:
        with os.scandir(folder / below) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        for entry in entries:
            name = f"{below}/{entry.name}"
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                real = os.path.realpath(entry.path)
                if real not in seen:
                    seen.add(real)
                    yield from images_in(name)
            elif entry.name.lower().endswith(SUFFIXES):
                yield _image_file(entry, name, label)

    return images_in(class_name)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _image_file(entry: os.DirEntry, name: str, label: int) -> ImageFile:
    try:
        status = entry.stat()
    except OSError:  # a dangling link; decoding will report it
        return ImageFile(name, label, -1, 0, 0)
    return ImageFile(name, label, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _quoted(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"'{printable(name)}'" for name in names[:_SHOWN]) + more
