"""CIFAR-10 and CIFAR-100: 50,000 + 10,000 colour images of 10 or 100 classes.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, chapter 3. An
image is 3 x 32 x 32 values from 0 to 255: the red ones row by row, then green, then blue.
https://www.cs.toronto.edu/~kriz/cifar.html has both sets in two layouts with the same images
in the same order:

    binary      a file of rows without any header: the label (in CIFAR-100 the coarse one, then
                the fine one) in a byte each, then the 3,072 values
    Python      a file that Python 2 pickled; `pickles` reads it and runs nothing

Either is read from its folder or from its archive. Files may come from strangers, so sizes, shapes
and labels are checked before they are used.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ... import checks
from ...checks import FileFormatError
from ..archive import read_archive, unpack
from ..dataset import Dataset
from ..download import download_files, require_folder
from .pickles import read_pickle

_SHAPE = (3, 32, 32)
_VALUES = 3 * 32 * 32
_MAX_ROW = 4096  # bytes that an image may take in a Python file, with its label and file name

#: Addresses of the archives; each is tried in turn.
CIFAR_MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/",
    "https://dataset.bj.bcebos.com/cifar/",
)


@dataclass(frozen=True)
class _Layout:
    """Names of the folder and the archive of a set, its MD5 sum, and the batch files' ending."""

    folder: str
    archive: str
    md5: str
    ending: str = ""


class _Labels(NamedTuple):
    """The place of labels in either layout, and the names of their classes."""

    column: int
    key: bytes
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class _Set:
    """A set: its batch files without their endings, and the number of images in each.

    The archive to download is that of the Python layout; `names` is its file of class names.
    """

    title: str
    command: str
    train: dict[str, int]
    test: dict[str, int]
    label_columns: int
    binary: _Layout
    python: _Layout
    names: str

    def batches(self, layout: _Layout) -> dict[str, int]:
        return {name + layout.ending: n for name, n in (self.train | self.test).items()}

    def max_sizes(self, layout: _Layout) -> dict[str, int]:
        """Return the maximum size in bytes of each batch file, exact if it is binary."""
        row = self.label_columns + _VALUES if layout is self.binary else _MAX_ROW
        return {name: count * row for name, count in self.batches(layout).items()}


CIFAR10 = _Set(
    title="CIFAR-10",
    command="cifar10",
    train={f"data_batch_{k}": 10_000 for k in range(1, 6)},
    test={"test_batch": 10_000},
    label_columns=1,
    binary=_Layout(
        "cifar-10-batches-bin", "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", ".bin"
    ),
    python=_Layout(
        "cifar-10-batches-py", "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"
    ),
    names="batches.meta",
)

CIFAR100 = _Set(
    title="CIFAR-100",
    command="cifar100",
    train={"train": 50_000},
    test={"test": 10_000},
    label_columns=2,
    binary=_Layout(
        "cifar-100-binary", "cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", ".bin"
    ),
    python=_Layout(
        "cifar-100-python", "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"
    ),
    names="meta",
)

_CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck"

_FINE_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree
orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum
rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train
trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

_COARSE_NAMES = """
aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
household_furniture insects large_carnivores large_man-made_outdoor_things
large_natural_outdoor_scenes large_omnivores_and_herbivores medium_mammals
non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2
"""

_CIFAR10_LABELS = _Labels(0, b"labels", tuple(_CIFAR10_NAMES.split()))
_CIFAR100_LABELS = {
    "fine": _Labels(1, b"fine_labels", tuple(_FINE_NAMES.split())),
    "coarse": _Labels(0, b"coarse_labels", tuple(_COARSE_NAMES.split())),
}


def load_cifar10(
    path: str | os.PathLike | None = None, download: bool = False
) -> tuple[Dataset, Dataset]:
    """Return CIFAR-10 from a folder that holds it in either of its official layouts.

    Parameters
    ----------
    path
        The folder with `cifar-10-batches-bin`, `cifar-10-batches-py`,
        `cifar-10-binary.tar.gz` or `cifar-10-python.tar.gz` in it, taken in this order; or one
        of these itself.
    download
        Whether to download the set into the folder if it is not there.

    Returns
    -------
    train, test
        Datasets of 50,000 and 10,000 images: images (N, 3, 32, 32) uint8, labels (N,) int64,
        `class_names` from 'airplane' to 'truck'.

    Raises
    ------
    FileNotFoundError
        If the set is not there and `download` is false; the message says how to get it.
    OSError
        If it cannot be downloaded; ConnectionError if no mirror answers.
    nn.io.FileFormatError
        If a file is damaged or holds something else.
    """
    folder = require_folder("load_cifar10", path)
    return _load("load_cifar10", CIFAR10, folder, _CIFAR10_LABELS, download)


def load_cifar100(
    path: str | os.PathLike | None = None, labels: str = "fine", download: bool = False
) -> tuple[Dataset, Dataset]:
    """Return CIFAR-100 from a folder that holds it in either of its official layouts.

    Parameters
    ----------
    path
        The folder with `cifar-100-binary`, `cifar-100-python`, `cifar-100-binary.tar.gz` or
        `cifar-100-python.tar.gz` in it, taken in this order; or one of these itself.
    labels
        'fine' for the 100 classes, 'coarse' for the 20 groups of five that they make up.
    download
        Whether to download the set into the folder if it is not there.

    Returns
    -------
    train, test
        Datasets of 50,000 and 10,000 images: images (N, 3, 32, 32) uint8, labels (N,) int64,
        with `class_names`.

    Raises
    ------
    ValueError
        If `labels` is something else.
    FileNotFoundError, OSError, nn.io.FileFormatError
        As in `load_cifar10`.
    """
    if labels not in _CIFAR100_LABELS:
        raise checks.unknown("load_cifar100", "labels", labels, _CIFAR100_LABELS)
    folder = require_folder("load_cifar100", path)
    return _load("load_cifar100", CIFAR100, folder, _CIFAR100_LABELS[labels], download)


def download_cifar10(
    path: str | os.PathLike,
    mirrors: Sequence[str] | None = None,
    timeout: float = 6.0,
    progress: bool = True,
) -> list[Path]:
    """Download CIFAR-10, 170 MB, unpack it and return the paths of its files.

    This is the archive with the Python layout, which has a second mirror and which other libraries
    use too. It stays in the folder, and can be deleted. Nothing is downloaded if the archive or
    the unpacked files are in place.

    Parameters
    ----------
    path
        The folder, created if it does not exist; the files go into `cifar-10-batches-py` in it.
    mirrors
        Addresses to download from instead of the usual ones.
    timeout, progress
        As in `download_files`.

    Raises
    ------
    ConnectionError, OSError, ValueError
        As in `download_files`.
    """
    return _download(CIFAR10, Path(path), mirrors, timeout=timeout, progress=progress)


def download_cifar100(
    path: str | os.PathLike,
    mirrors: Sequence[str] | None = None,
    timeout: float = 6.0,
    progress: bool = True,
) -> list[Path]:
    """Download CIFAR-100, 169 MB, unpack it and return the paths of its files.

    As `download_cifar10`, but the files go into `cifar-100-python` in the folder.

    Parameters
    ----------
    path, mirrors, timeout, progress
        As in `download_cifar10`.

    Raises
    ------
    ConnectionError, OSError, ValueError
        As in `download_files`.
    """
    return _download(CIFAR100, Path(path), mirrors, timeout=timeout, progress=progress)


def _download(
    kind: _Set, path: Path, mirrors: Sequence[str] | None = None, **options: Any
) -> list[Path]:
    """Download a set in the Python layout and unpack it; the options are `download_files`'."""
    layout = kind.python
    files = kind.max_sizes(layout) | {kind.names: 1 << 16}
    limits = {f"{layout.folder}/{name}": size for name, size in files.items()}
    paths = [path / name for name in limits]
    if all(file.is_file() for file in paths):
        return paths
    mirrors = CIFAR_MIRRORS if mirrors is None else mirrors
    sums = {layout.archive: layout.md5}
    [archive] = download_files(sums, path, mirrors, **options)
    return unpack(archive, path, limits)


# --------------------------------------------------------------------------------- loading


def _load(
    owner: str, kind: _Set, path: Path, labels: _Labels, download: bool
) -> tuple[Dataset, Dataset]:
    try:
        layout, place = _find(owner, kind, path)
    except FileNotFoundError:
        if not download:
            raise
        _download(kind, path)
        layout, place = _find(owner, kind, path)
    counts = kind.batches(layout)
    starts = dict(zip(counts, accumulate(counts.values(), initial=0), strict=False))
    x = np.empty((sum(counts.values()), *_SHAPE), np.uint8)
    y = np.empty(len(x), np.int64)
    for name, content in _contents(owner, kind, layout, place):
        read = _read_binary if layout is kind.binary else _read_python
        source = place / name
        pixels, classes = read(owner, content, source, kind, counts[name], labels)
        outside = (classes < 0) | (classes >= len(labels.class_names))
        if outside.any():
            rule = f"must hold labels from 0 to {len(labels.class_names) - 1}"
            raise _format_error(owner, source, f"{rule}, got {classes[outside][0]}")
        rows = slice(starts[name], starts[name] + counts[name])
        x[rows] = pixels.reshape(-1, *_SHAPE)  # (n, 3072) -> (n, 3, 32, 32)
        y[rows] = classes
    train = sum(kind.train.values())
    return (
        Dataset(x[:train], y[:train], class_names=labels.class_names),
        Dataset(x[train:], y[train:], class_names=labels.class_names),
    )


def _find(owner: str, kind: _Set, path: Path) -> tuple[_Layout, Path]:
    """Return a complete layout, and the folder or the archive that holds it."""
    what = f"'{path}' does not hold {kind.title}"
    layouts = (kind.binary, kind.python)
    for layout in layouts:
        names = list(kind.batches(layout))
        for folder in (path / layout.folder, path):
            missing = [name for name in names if not (folder / name).is_file()]
            if not missing:
                return layout, folder
            if len(missing) < len(names):
                what = f"'{folder / missing[0]}' does not exist"
    for layout in layouts:
        for archive in (path / layout.archive, path):
            if archive.name == layout.archive and archive.is_file():
                return layout, archive
    raise FileNotFoundError(
        f"[{owner}] {what}: download {kind.title} with `python -m nn.data {kind.command} "
        f"--dir DIR`, or pass a folder that contains {kind.binary.folder}, {kind.python.folder} "
        "or the archive of one of them."
    )


def _contents(owner: str, kind: _Set, layout: _Layout, place: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each batch file, in any order."""
    limits = kind.max_sizes(layout)
    if place.is_file():
        inside = {f"{layout.folder}/{name}": limit for name, limit in limits.items()}
        for name, content in read_archive(place, inside):
            yield name.removeprefix(f"{layout.folder}/"), content
        return
    for name, limit in limits.items():
        with (place / name).open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise _format_error(owner, place / name, f"has more than {limit:,} bytes")
        yield name, content


def _read_binary(
    owner: str, content: bytes, source: Path, kind: _Set, count: int, labels: _Labels
) -> tuple[np.ndarray, np.ndarray]:
    """Return values (n, 3072) and labels (n,) of a file in the binary layout."""
    width = kind.label_columns + _VALUES
    if len(content) != count * width:
        rule = f"must have {count * width:,} bytes, {count:,} rows of {width:,}"
        raise _format_error(owner, source, f"{rule}, got {len(content):,}")
    rows = np.frombuffer(content, np.uint8).reshape(count, width)
    return rows[:, kind.label_columns :], rows[:, labels.column]


def _read_python(
    owner: str, content: bytes, source: Path, kind: _Set, count: int, labels: _Labels
) -> tuple[np.ndarray, np.ndarray]:
    """Return values (n, 3072) and labels (n,) of a file in the Python layout."""
    batch = read_pickle(content, source)
    pixels, classes = batch.get(b"data"), batch.get(labels.key)
    if not isinstance(pixels, np.ndarray) or pixels.shape != (count, _VALUES):
        got = f"shape {pixels.shape}" if isinstance(pixels, np.ndarray) else "none"
        raise _format_error(
            owner, source, f"must hold an array 'data' of shape {(count, _VALUES)}, got {got}"
        )
    if not isinstance(classes, list) or len(classes) != count or set(map(type, classes)) != {int}:
        got = f"{len(classes):,} items" if isinstance(classes, list) else "none"
        key = labels.key.decode()
        raise _format_error(
            owner, source, f"must hold a list '{key}' of {count:,} numbers, got {got}"
        )
    return pixels, np.array(classes)


def _format_error(owner: str, path: Path, what: str) -> FileFormatError:
    return FileFormatError(f"[{owner}] '{path}' {what}: delete it and download it again.")
