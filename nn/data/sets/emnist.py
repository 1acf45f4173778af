"""EMNIST: handwritten letters and digits in the form of MNIST.

G. Cohen, S. Afshar, J. Tapson, A. van Schaik, "EMNIST: an extension of MNIST to handwritten
letters", 2017, arXiv:1702.05373.
"""

import os
import string

from ... import checks
from ..dataset import Dataset
from ..download import require_folder
from .idx import find_idx_files, load_idx_files

_ADDRESS = "https://www.nist.gov/itl/products-and-services/emnist-dataset"

# The small letters that are classes of their own; the others look like the capitals.
_DISTINCT = "abdefghnqrt"
CLASSES = {
    "balanced": string.digits + string.ascii_uppercase + _DISTINCT,
    "bymerge": string.digits + string.ascii_uppercase + _DISTINCT,
    "byclass": string.digits + string.ascii_uppercase + string.ascii_lowercase,
    "letters": string.ascii_uppercase,
    "digits": string.digits,
    "mnist": string.digits,
}


def load_emnist(
    path: str | os.PathLike | None = None, split: str = "balanced"
) -> tuple[Dataset, Dataset]:
    """Return one of the splits of EMNIST from a folder.

    Parameters
    ----------
    path
        The folder with the four files of the split, as in
        emnist-balanced-train-images-idx3-ubyte.gz, gzipped or unpacked. They come in one
        archive, gzip.zip, from https://www.nist.gov/itl/products-and-services/emnist-dataset.
    split
        'balanced' or 'bymerge' (47 classes: digits, capitals, and the small letters that look
        different from them), 'byclass' (62), 'letters' (26, either case), 'digits' or 'mnist'
        (10).

    Returns
    -------
    train, test
        Datasets: images (N, 1, 28, 28) uint8, labels (N,) int64 from 0, with the characters as
        class names.

    Raises
    ------
    ValueError
        If there is no such split.
    FileNotFoundError
        If a file is missing.
    nn.io.FileFormatError
        If a file is damaged or holds something else.

    Notes
    -----
    The files hold each image with its rows and columns exchanged, and count letters from 1; here
    both are as in MNIST. Table II of the paper lists the splits.
    """
    if split not in CLASSES:
        raise checks.unknown("load_emnist", "split", split, CLASSES)
    folder = require_folder("load_emnist", path, can_download=False)
    names = [
        f"emnist-{split}-{part}-{kind}-ubyte.gz"
        for part in ("train", "test")
        for kind in ("images-idx3", "labels-idx1")
    ]
    return load_idx_files(
        "load_emnist",
        find_idx_files(folder, names),
        tuple(CLASSES[split]),
        f"download gzip.zip from {_ADDRESS} and unpack it there",
        first_label=1 if split == "letters" else 0,
        transposed=True,
    )
