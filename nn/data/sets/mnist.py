"""MNIST: 60,000 + 10,000 images of handwritten digits, and the small sample of them.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
recognition", 1998. An image is 28 x 28 grey values, 0 (paper) to 255 (ink). The set is four
IDX files, which `idx_sets` reads and `download` fetches. The sample of 5,000 digits that the
project carries in `mnist_dataset/` has other file names, so that no one takes it for the set.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from ... import checks
from ..dataset import Dataset
from ..download import download_files
from .idx_sets import find_idx_files, load_idx_files

#: The files of the full set with their MD5 sums, in the order of `load_idx_files`.
MNIST_FILES = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}

#: Where the full set is kept; each is asked in turn.
MNIST_MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)

_SAMPLE_FILES = (
    "sample-4000-train-images-idx3-ubyte.gz",
    "sample-4000-train-labels-idx1-ubyte.gz",
    "sample-1000-test-images-idx3-ubyte.gz",
    "sample-1000-test-labels-idx1-ubyte.gz",
)
_DIGITS = tuple("0123456789")


def load_mnist_gz(path: str | os.PathLike) -> tuple[Dataset, Dataset]:
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
        Where a file is missing; the message says how to get it.
    nn.io.FileFormatError
        For a file that is damaged or holds something else.
    """
    checks.path("load_mnist_gz", "path", path)
    return _load("load_mnist_gz", [Path(path, name) for name in MNIST_FILES])


def load_mnist(
    path: str | os.PathLike = "mnist_dataset", download: bool = True
) -> tuple[Dataset, Dataset]:
    """Return MNIST from a folder, gzipped or unpacked, and download it into it where needed.

    Parameters
    ----------
    path
        The folder; `download_mnist` makes it where it does not exist.
    download
        Whether to download the set where the folder does not hold it.

    Returns
    -------
    train, test
        As `load_mnist_gz` does.

    Raises
    ------
    ConnectionError
        Where the set is not there and no mirror answers.
    OSError
        Where it cannot be downloaded for another reason.
    FileNotFoundError
        Where it is not there and `download` is false.
    nn.io.FileFormatError
        For a file that is damaged or holds something else.
    """
    paths = find_idx_files(path, MNIST_FILES)
    if download and not all(file.is_file() for file in paths):
        paths = download_mnist(path)
    return _load("load_mnist", paths)


def load_mnist_sample(path: str | os.PathLike = "mnist_dataset") -> tuple[Dataset, Dataset]:
    """Return the sample of MNIST that the project carries, from the folder `mnist_dataset`.

    Good for trying things out with no network; its accuracies are not those of MNIST. All of
    its digits, the test ones too, come from the training set of MNIST.

    Parameters
    ----------
    path
        The folder.

    Returns
    -------
    train, test
        Datasets of 4,000 and 1,000 digits, as many of each class: images (N, 1, 28, 28)
        uint8, labels (N,) int64.

    Raises
    ------
    FileNotFoundError, nn.io.FileFormatError
        As `load_mnist_gz` does.
    """
    paths = [Path(path, name) for name in _SAMPLE_FILES]
    for file in paths:
        if not file.is_file():
            raise FileNotFoundError(
                f"[load_mnist_sample] '{file}' does not exist: the sample is in the folder "
                "mnist_dataset of the project, give its path."
            )
    return _load("load_mnist_sample", paths)


def load_mnist_or_sample(
    path: str | os.PathLike = "mnist_dataset",
    download: bool = True,
    sample_path: str | os.PathLike | None = None,
) -> tuple[Dataset, Dataset, str]:
    """Return MNIST where it is there or can be downloaded, else the sample; say which.

    Without a network the decision for the sample falls within ten seconds.

    Parameters
    ----------
    path
        The folder of the full set.
    download
        Whether to try to download the full set where the folder does not hold it.
    sample_path
        The folder of the sample, the project's `mnist_dataset`; None for `path`.

    Returns
    -------
    train, test
        As `load_mnist` or `load_mnist_sample` does.
    source
        A sentence for the user that says which of them it is, and why.

    Raises
    ------
    FileNotFoundError
        Where neither is there.
    nn.io.FileFormatError
        For a file that is damaged or holds something else.
    """
    try:
        train, test = load_mnist(path, download)
    except OSError as error:
        reason = f"no full set: {str(error).splitlines()[0]}"
        train, test = load_mnist_sample(path if sample_path is None else sample_path)
        name = "the sample of MNIST"
    else:
        reason = f"from '{path}'"
        name = "MNIST"
    return train, test, f"{name}, {len(train):,} + {len(test):,} digits ({reason})"


def download_mnist(
    path: str | os.PathLike = "mnist_dataset",
    mirrors: Sequence[str] | None = None,
    timeout: float = 6.0,
    progress: bool = True,
) -> list[Path]:
    """Download the four files of MNIST, 12 MB, and return their paths.

    Files that are in place and right are not downloaded again.

    Parameters
    ----------
    path
        The folder, made where it does not exist.
    mirrors
        Addresses to download from, in place of the two usual ones.
    timeout, progress
        As in `download_files`.

    Raises
    ------
    ConnectionError
        Where no mirror answers; the message names the sample as a way out.
    OSError, ValueError
        As `download_files` does.
    """
    mirrors = MNIST_MIRRORS if mirrors is None else mirrors
    try:
        return download_files(MNIST_FILES, path, mirrors, timeout=timeout, progress=progress)
    except ConnectionError as error:
        raise ConnectionError(
            f"{error}\nTry again later, or use the sample that the project carries: "
            "nn.data.load_mnist_sample('mnist_dataset')."
        ) from error


def _load(owner: str, paths: list[Path]) -> tuple[Dataset, Dataset]:
    advice = (
        f"download MNIST with `python -m nn.data mnist --dir {paths[0].parent}`, or use the sample "
        "that the project carries, nn.data.load_mnist_sample('mnist_dataset')"
    )
    return load_idx_files(owner, paths, _DIGITS, advice)
