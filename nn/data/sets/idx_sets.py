"""The sets that came after MNIST in its format: Fashion-MNIST, KMNIST and EMNIST.

Each is four IDX files of images of 28 x 28 grey values, 0 (paper) to 255 (ink), with a label
for each. So one function loads all of them, MNIST too, and a table says what each set has of
its own.
"""

import os
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import checks
from ...checks import FileFormatError
from ..dataset import Dataset
from ..download import download_files
from .idx import read_idx

_SIDE = 28  # pixels


@dataclass(frozen=True)
class IdxSet:
    """What one set has of its own.

    Attributes
    ----------
    title
        The name that people know it by.
    command
        Its name on the command line.
    files
        The files in the order of `load_idx_files`, each with its MD5 sum.
    mirrors
        Addresses of folders that hold the files.
    class_names
        In the order of the labels.
    """

    title: str
    command: str
    files: dict[str, str]
    mirrors: tuple[str, ...]
    class_names: tuple[str, ...]


#: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
#: Machine Learning Algorithms", 2017, arXiv:1708.07747.
FASHION_MNIST = IdxSet(
    title="Fashion-MNIST",
    command="fashion",
    files={
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
)

#: T. Clanuwat, M. Bober-Irizar, A. Kitamoto, A. Lamb, K. Yamamoto, D. Ha, "Deep Learning for
#: Classical Japanese Literature", 2018, arXiv:1812.01718. The names are the sounds.
KMNIST = IdxSet(
    title="KMNIST",
    command="kmnist",
    files={
        "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
        "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
        "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
        "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
    },
    mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
)

# Of these letters EMNIST takes the small one for a class; the others look like the capital.
_DISTINCT = "abdefghnqrt"
_EMNIST_CLASSES = {
    "balanced": string.digits + string.ascii_uppercase + _DISTINCT,
    "bymerge": string.digits + string.ascii_uppercase + _DISTINCT,
    "byclass": string.digits + string.ascii_uppercase + string.ascii_lowercase,
    "letters": string.ascii_uppercase,
    "digits": string.digits,
    "mnist": string.digits,
}


def load_fashion_mnist(path: str | os.PathLike, download: bool = False) -> tuple[Dataset, Dataset]:
    """Return Fashion-MNIST, images of ten kinds of clothing, from a folder.

    Its files have the names of MNIST's, so it needs a folder of its own.

    Parameters
    ----------
    path
        The folder with train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz,
        t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz, or with them unpacked.
    download
        Whether to download the set into the folder where it is not there.

    Returns
    -------
    train, test
        Datasets of 60,000 and 10,000 images: images (N, 1, 28, 28) uint8, labels (N,) int64.

    Raises
    ------
    FileNotFoundError
        Where a file is missing and `download` is false; the message says how to get it.
    OSError
        Where the set cannot be downloaded; ConnectionError where no mirror answers.
    nn.io.FileFormatError
        For a file that is damaged or holds something else.
    """
    return _load("load_fashion_mnist", FASHION_MNIST, path, download)


def load_kmnist(path: str | os.PathLike, download: bool = False) -> tuple[Dataset, Dataset]:
    """Return KMNIST, ten characters of old Japanese handwriting, from a folder.

    Its files have the names of MNIST's, so it needs a folder of its own.

    Parameters
    ----------
    path, download
        As in `load_fashion_mnist`.

    Returns
    -------
    train, test
        Datasets of 60,000 and 10,000 images: images (N, 1, 28, 28) uint8, labels (N,) int64.

    Raises
    ------
    FileNotFoundError, OSError, nn.io.FileFormatError
        As `load_fashion_mnist` does.
    """
    return _load("load_kmnist", KMNIST, path, download)


def load_emnist(path: str | os.PathLike, split: str = "balanced") -> tuple[Dataset, Dataset]:
    """Return a part of EMNIST, handwritten letters and digits, from a folder.

    G. Cohen, S. Afshar, J. Tapson, A. van Schaik, "EMNIST: an extension of MNIST to handwritten
    letters", 2017, arXiv:1702.05373, table II. The files hold each image with its rows and
    columns exchanged, and count letters from 1; here both are as in MNIST.

    Parameters
    ----------
    path
        The folder with the four files of the split, as in
        emnist-balanced-train-images-idx3-ubyte.gz, gzipped or unpacked. They come in one
        archive, gzip.zip, from https://www.nist.gov/itl/products-and-services/emnist-dataset.
    split
        'balanced' or 'bymerge' (47 classes: digits, capitals, and those small letters that look
        different), 'byclass' (62), 'letters' (26, either case), 'digits' or 'mnist' (10).

    Returns
    -------
    train, test
        Datasets: images (N, 1, 28, 28) uint8, labels (N,) int64 from 0, named by their
        characters.

    Raises
    ------
    ValueError
        For a split that does not exist.
    FileNotFoundError
        Where a file is missing.
    nn.io.FileFormatError
        For a file that is damaged or holds something else.
    """
    if split not in _EMNIST_CLASSES:
        raise checks.unknown("load_emnist", "split", split, _EMNIST_CLASSES)
    names = [
        f"emnist-{split}-{part}-{kind}-ubyte.gz"
        for part in ("train", "test")
        for kind in ("images-idx3", "labels-idx1")
    ]
    return load_idx_files(
        "load_emnist",
        find_idx_files(path, names),
        tuple(_EMNIST_CLASSES[split]),
        "download gzip.zip from https://www.nist.gov/itl/products-and-services/emnist-dataset "
        "and unpack it there",
        first_label=1 if split == "letters" else 0,
        transposed=True,
    )


def download_fashion_mnist(
    path: str | os.PathLike,
    mirrors: Sequence[str] | None = None,
    timeout: float = 6.0,
    progress: bool = True,
) -> list[Path]:
    """Download the four files of Fashion-MNIST, 31 MB, and return their paths.

    Files that are in place and right are not downloaded again; others of the same names, as
    MNIST's are, are replaced.

    Parameters
    ----------
    path
        The folder, made where it does not exist.
    mirrors
        Addresses to download from, in place of the usual ones.
    timeout, progress
        As in `download_files`.

    Raises
    ------
    ConnectionError, OSError, ValueError
        As `download_files` does.
    """
    return _download(FASHION_MNIST, path, mirrors, timeout, progress)


def download_kmnist(
    path: str | os.PathLike,
    mirrors: Sequence[str] | None = None,
    timeout: float = 6.0,
    progress: bool = True,
) -> list[Path]:
    """Download the four files of KMNIST, 21 MB, and return their paths.

    Parameters
    ----------
    path, mirrors, timeout, progress
        As in `download_fashion_mnist`.

    Raises
    ------
    ConnectionError, OSError, ValueError
        As `download_files` does.
    """
    return _download(KMNIST, path, mirrors, timeout, progress)


# ------------------------------------------------------------- what all sets have in common


def find_idx_files(folder: str | os.PathLike, names: Iterable[str]) -> list[Path]:
    """Return where files named '....gz' lie in a folder: unpacked if all do, else by these names.

    Whether they exist is for `load_idx_files` to say.
    """
    packed = [Path(folder, name) for name in names]
    unpacked = [path.with_suffix("") for path in packed]
    if all(path.is_file() for path in packed):
        return packed
    return unpacked if all(path.is_file() for path in unpacked) else packed


def load_idx_files(
    owner: str,
    paths: Sequence[Path],
    class_names: tuple[str, ...],
    advice: str,
    first_label: int = 0,
    transposed: bool = False,
) -> tuple[Dataset, Dataset]:
    """Return the datasets in four files.

    Parameters
    ----------
    owner
        The function that the user called, for the errors.
    paths
        Images and labels to train, images and labels to test.
    class_names
        In the order of the labels.
    advice
        How to get a file that is missing.
    first_label
        The label of the first class in the files; in the datasets it is 0.
    transposed
        Whether the files hold rows and columns of each image exchanged.

    Raises
    ------
    FileNotFoundError
        For the first file that is missing.
    nn.io.FileFormatError
        For a file that is damaged or holds something else.
    """
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"[{owner}] '{path}' does not exist: {advice}.")
    parts = []
    for images_path, labels_path in (paths[:2], paths[2:]):
        images = _read_images(owner, images_path)
        if transposed:
            images = np.ascontiguousarray(images.transpose(0, 2, 1))  # (N, W, H) -> (N, H, W)
        labels = _read_labels(owner, labels_path, first_label, len(class_names))
        if len(images) != len(labels):
            raise FileFormatError(
                f"[{owner}] '{labels_path}' must have a label for each of the {len(images)} "
                f"images in '{images_path}', got {len(labels)}."
            )
        images = images[:, np.newaxis]  # (N, 28, 28) -> (N, 1, 28, 28)
        parts.append(Dataset(images, labels, class_names=class_names))
    return parts[0], parts[1]


def _read_images(owner: str, path: Path) -> np.ndarray:
    images = read_idx(path)
    if images.dtype != np.uint8 or images.shape[1:] != (_SIDE, _SIDE):
        raise FileFormatError(
            f"[{owner}] '{path}' must hold images, bytes of the shape (n, {_SIDE}, {_SIDE}), "
            f"got {images.dtype} of the shape {images.shape}."
        )
    return images


def _read_labels(owner: str, path: Path, first: int, classes: int) -> np.ndarray:
    """Return the labels (n,) in a file as int64, counted from 0."""
    labels = read_idx(path)
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise FileFormatError(
            f"[{owner}] '{path}' must hold labels, bytes of the shape (n,), "
            f"got {labels.dtype} of the shape {labels.shape}."
        )
    last = first + classes - 1
    outside = (labels < first) | (labels > last)
    if outside.any():
        raise FileFormatError(
            f"[{owner}] '{path}' must hold labels from {first} to {last}, got {labels[outside][0]}."
        )
    return labels.astype(np.int64) - first


def _load(
    owner: str, idx_set: IdxSet, path: str | os.PathLike, download: bool
) -> tuple[Dataset, Dataset]:
    paths = find_idx_files(path, idx_set.files)
    if download and not all(file.is_file() for file in paths):
        paths = _download(idx_set, path)
    advice = f"download {idx_set.title} with `python -m nn.data {idx_set.command} --dir {path}`"
    return load_idx_files(owner, paths, idx_set.class_names, advice)


def _download(
    idx_set: IdxSet,
    path: str | os.PathLike,
    mirrors: Sequence[str] | None = None,
    timeout: float = 6.0,
    progress: bool = True,
) -> list[Path]:
    mirrors = idx_set.mirrors if mirrors is None else mirrors
    return download_files(idx_set.files, path, mirrors, timeout=timeout, progress=progress)
