"""Data: where the way of a batch begins.

`Dataset` keeps samples in memory and hands out float batches that threads have prepared.
The other files bring samples into it: `idx` reads the file format of MNIST, `mnist` knows
that set and the small sample of it, `download` fetches files from mirrors, and
`python -m nn.data` does so from the command line.
"""

from . import augment
from .dataset import Dataset
from .download import download_files
from .idx import read_idx, write_idx
from .mnist import (
    download_mnist,
    load_mnist,
    load_mnist_gz,
    load_mnist_or_sample,
    load_mnist_sample,
)

__all__ = [
    "Dataset",
    "augment",
    "download_files",
    "download_mnist",
    "load_mnist",
    "load_mnist_gz",
    "load_mnist_or_sample",
    "load_mnist_sample",
    "read_idx",
    "write_idx",
]
