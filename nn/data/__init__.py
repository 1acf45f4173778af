"""Data: datasets in memory or in files, the loaders of common sets, and augmentation.

`Dataset` keeps samples and prepares batches of them on threads; `augment` changes training images
at random. The functions `load_...` return datasets, `download_...` fetch their files, and
`make_...` create points in the plane. `text` turns texts into ids, `sequences` cuts series into
windows. `python -m nn.data` downloads from the command line.
"""

from . import augment, sequences, text
from .batching import BatchPart
from .classes import class_weights
from .dataset import Dataset
from .download import download_files
from .images.decode import load_image
from .images.digits import normalize_digit, normalize_digits
from .images.doubts import doubts_of_digit
from .images.folder import load_image_folder
from .sets.cifar import download_cifar10, download_cifar100, load_cifar10, load_cifar100
from .sets.emnist import load_emnist
from .sets.idx import read_idx, write_idx
from .sets.mnist import (
    download_fashion_mnist,
    download_kmnist,
    download_mnist,
    load_fashion_mnist,
    load_kmnist,
    load_mnist,
    load_mnist_gz,
)
from .sets.mnist_sample import load_mnist_or_sample, load_mnist_sample
from .sets.npz import load_npz
from .sets.toy import make_blobs, make_circles, make_moons, make_spirals, make_xor

__all__ = [
    "BatchPart",
    "Dataset",
    "augment",
    "class_weights",
    "doubts_of_digit",
    "download_cifar10",
    "download_cifar100",
    "download_fashion_mnist",
    "download_files",
    "download_kmnist",
    "download_mnist",
    "load_cifar10",
    "load_cifar100",
    "load_emnist",
    "load_fashion_mnist",
    "load_image",
    "load_image_folder",
    "load_kmnist",
    "load_mnist",
    "load_mnist_gz",
    "load_mnist_or_sample",
    "load_mnist_sample",
    "load_npz",
    "make_blobs",
    "make_circles",
    "make_moons",
    "make_spirals",
    "make_xor",
    "normalize_digit",
    "normalize_digits",
    "read_idx",
    "sequences",
    "text",
    "write_idx",
]
