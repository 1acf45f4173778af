"""MNIST, and the two sets in its form: Fashion-MNIST and KMNIST.

Each has 60,000 + 10,000 images of 28 x 28 grey values, 0 (paper) to 255 (ink), of ten classes, in
four IDX files of the same names.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..dataset import Dataset
from ..download import download_files, require_folder
from .idx import find_idx_files, load_idx_files


@dataclass(frozen=True)
class MnistSet:
    """One of the three sets.

    Attributes
    ----------
    title
        Its common name.
    command
        Its name on the command line.
    files
        The files in the order of `load_idx_files`, each with its MD5 sum.
    mirrors
        Addresses of folders that hold the files; each is tried in turn.
    class_names
        In the order of the labels.
    """

    title: str
    command: str
    files: dict[str, str]
    mirrors: tuple[str, ...]
    class_names: tuple[str, ...]


#: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
#: recognition", 1998.
MNIST = MnistSet(
    title="MNIST",
    command="mnist",
    files={
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    mirrors=(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    class_names=tuple("0123456789"),
)

#: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
#: Machine Learning Algorithms", 2017, arXiv:1708.07747.
FASHION_MNIST = MnistSet(
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
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
)

#: T. Clanuwat, M. Bober-Irizar, A. Kitamoto, A. Lamb, K. Yamamoto, D. Ha, "Deep Learning for
#: Classical Japanese Literature", 2018, arXiv:1812.01718. The names are the sounds.
KMNIST = MnistSet(
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


def load_mnist_gz(path: str | os.PathLike | None = None) -> tuple[Dataset, Dataset]:
    """Return MNIST from a folder that holds its four '.gz' files.

    Parameters
    ----------
    path
        The folder with train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz,
        t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz.

    Returns
    -------
    train, test
        Datasets of 60,000 and 10,000 digits: images (N, 1, 28, 28) uint8, labels (N,) int64.

    Raises
    ------
    FileNotFoundError
        If a file is missing; the message says how to get it.
    nn.io.FileFormatError
        If a file is damaged or holds something else.
    """
    folder = require_folder("load_mnist_gz", path, can_download=False)
    return _load_files("load_mnist_gz", MNIST, [folder / name for name in MNIST.files])


def load_mnist(
    path: str | os.PathLike = "mnist_dataset", download: bool = True
) -> tuple[Dataset, Dataset]:
    """Return MNIST from a folder, gzipped or unpacked, after downloading it if it is not there.

    Parameters
    ----------
    path
        The folder; it is created if it does not exist.
    download
        Whether to download the set if the folder does not hold it.

    Returns
    -------
    train, test
        As in `load_mnist_gz`.

    Raises
    ------
    ConnectionError
        If the set is not there and no mirror answers.
    OSError
        If it cannot be downloaded for another reason.
    FileNotFoundError
        If it is not there and `download` is false.
    nn.io.FileFormatError
        If a file is damaged or holds something else.
    """
    return _load("load_mnist", MNIST, path, download)


def load_fashion_mnist(
    path: str | os.PathLike | None = None, download: bool = False
) -> tuple[Dataset, Dataset]:
    """Return Fashion-MNIST, images of ten kinds of clothing, from a folder.

    Its files have the names of MNIST's, so it needs a folder of its own.

    Parameters
    ----------
    path
        The folder with train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz,
        t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz, or with them unpacked.
    download
        Whether to download the set if the folder does not hold it.

    Returns
    -------
    train, test
        Datasets of 60,000 and 10,000 images: images (N, 1, 28, 28) uint8, labels (N,) int64.

    Raises
    ------
    FileNotFoundError
        If a file is missing and `download` is false; the message says how to get it.
    OSError
        If the set cannot be downloaded; ConnectionError if no mirror answers.
    nn.io.FileFormatError
        If a file is damaged or holds something else.
    """
    return _load(
        "load_fashion_mnist", FASHION_MNIST, require_folder("load_fashion_mnist", path), download
    )


def load_kmnist(
    path: str | os.PathLike | None = None, download: bool = False
) -> tuple[Dataset, Dataset]:
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
        As in `load_fashion_mnist`.
    """
    return _load("load_kmnist", KMNIST, require_folder("load_kmnist", path), download)


def download_mnist(
    path: str | os.PathLike = "mnist_dataset",
    mirrors: Sequence[str] | None = None,
    timeout: float = 6.0,
    progress: bool = True,
) -> list[Path]:
    """Download the four files of MNIST, 12 MB, and return their paths.

    Files that are in the folder with the right checksum are not downloaded again.

    Parameters
    ----------
    path
        The folder; it is created if it does not exist.
    mirrors
        Addresses to download from instead of the two usual ones.
    timeout, progress
        As in `download_files`.

    Raises
    ------
    ConnectionError
        If no mirror answers; the message points to the sample.
    OSError, ValueError
        As in `download_files`.
    """
    try:
        return _download(MNIST, path, mirrors, timeout=timeout, progress=progress)
    except ConnectionError as error:
        raise ConnectionError(
            f"{error}\nThe sample of 5,000 digits comes with nn: nn.data.load_mnist_sample()."
        ) from error


def download_fashion_mnist(
    path: str | os.PathLike,
    mirrors: Sequence[str] | None = None,
    timeout: float = 6.0,
    progress: bool = True,
) -> list[Path]:
    """Download the four files of Fashion-MNIST, 31 MB, and return their paths.

    Files that are in the folder with the right checksum are not downloaded again; others of the
    same names, such as MNIST's, are replaced.

    Parameters
    ----------
    path
        The folder; it is created if it does not exist.
    mirrors
        Addresses to download from instead of the usual ones.
    timeout, progress
        As in `download_files`.

    Raises
    ------
    ConnectionError, OSError, ValueError
        As in `download_files`.
    """
    return _download(FASHION_MNIST, path, mirrors, timeout=timeout, progress=progress)


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
        As in `download_files`.
    """
    return _download(KMNIST, path, mirrors, timeout=timeout, progress=progress)


def _load(
    owner: str, which: MnistSet, path: str | os.PathLike, download: bool
) -> tuple[Dataset, Dataset]:
    paths = find_idx_files(path, which.files)
    if download and not all(file.is_file() for file in paths):
        paths = download_mnist(path) if which is MNIST else _download(which, path)
    return _load_files(owner, which, paths)


def _load_files(owner: str, which: MnistSet, paths: list[Path]) -> tuple[Dataset, Dataset]:
    folder = paths[0].parent
    advice = f"download {which.title} with `python -m nn.data {which.command} --dir {folder}`"
    if which is MNIST:
        advice += ", or use the sample that comes with nn, nn.data.load_mnist_sample()"
    return load_idx_files(owner, paths, which.class_names, advice)


def _download(
    which: MnistSet, path: str | os.PathLike, mirrors: Sequence[str] | None = None, **options: Any
) -> list[Path]:
    """Download the files of a set; the options are those of `download_files`."""
    return download_files(
        which.files, path, which.mirrors if mirrors is None else mirrors, **options
    )
