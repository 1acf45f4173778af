"""The sample of MNIST that comes with nn: 5,000 digits that need no download.

Its files have names of their own, so that they are not mistaken for the full set. They are in the
folder `mnist_dataset` of the project, and an installed package has a copy of it next to this file.
"""

import os
from pathlib import Path

from ..dataset import Dataset
from .idx import load_idx_files
from .mnist import MNIST, load_mnist

SAMPLE_FILES = (
    "sample-4000-train-images-idx3-ubyte.gz",
    "sample-4000-train-labels-idx1-ubyte.gz",
    "sample-1000-test-images-idx3-ubyte.gz",
    "sample-1000-test-labels-idx1-ubyte.gz",
)

_INSTALLED = Path(__file__).with_name("mnist_dataset")
SAMPLE_DIR = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[3] / "mnist_dataset"


def load_mnist_sample(path: str | os.PathLike | None = None) -> tuple[Dataset, Dataset]:
    """Return the sample of MNIST that comes with nn, from any folder and without a network.

    It serves to try something; its accuracies are not those of MNIST. All of its digits, the
    test ones too, come from the training set of MNIST.

    Parameters
    ----------
    path
        Another folder with the four files; None for nn's own.

    Returns
    -------
    train, test
        Datasets of 4,000 and 1,000 digits, as many of each class: images (N, 1, 28, 28)
        uint8, labels (N,) int64.

    Raises
    ------
    FileNotFoundError, nn.io.FileFormatError
        As in `load_mnist_gz`.

    Examples
    --------
    >>> train, test = load_mnist_sample()
    >>> train.x.shape, test.x.shape
    ((4000, 1, 28, 28), (1000, 1, 28, 28))
    """
    paths = [Path(SAMPLE_DIR if path is None else path, name) for name in SAMPLE_FILES]
    advice = "load_mnist_sample() without a path loads the sample that comes with nn"
    return load_idx_files("load_mnist_sample", paths, MNIST.class_names, advice)


def load_mnist_or_sample(
    path: str | os.PathLike = "mnist_dataset",
    download: bool = True,
    sample_path: str | os.PathLike | None = None,
) -> tuple[Dataset, Dataset, str]:
    """Return MNIST if it is there or can be downloaded, else the sample, and say which.

    Without a network, it takes at most ten seconds to fall back to the sample.

    Parameters
    ----------
    path
        The folder of the full set.
    download
        Whether to try to download the full set if the folder does not hold it.
    sample_path
        The folder of the sample; None for the one that comes with nn.

    Returns
    -------
    train, test
        As in `load_mnist` or `load_mnist_sample`.
    source
        A sentence for the user that says which of them it is, and why.

    Raises
    ------
    FileNotFoundError
        If neither is in the folders given.
    nn.io.FileFormatError
        If a file is damaged or holds something else.
    """
    try:
        train, test = load_mnist(path, download)
    except OSError as error:
        reason = f"no full set: {' '.join(str(error).splitlines()[:2])}"
        train, test = load_mnist_sample(sample_path)
        name = "the sample of MNIST"
    else:
        reason = f"from '{path}'"
        name = "MNIST"
    return train, test, f"{name}, {len(train):,} + {len(test):,} digits ({reason})"
