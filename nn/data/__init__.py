"""Data: where the way of a batch begins.

`Dataset` keeps samples in memory and hands out float batches that threads have prepared; on the
way `augment` may change them. The other files bring samples into it: `idx` reads the file format
of MNIST, `idx_sets` knows the sets in it, `mnist` MNIST itself and the small sample of it,
`cifar10` the colour images of CIFAR, whose Python files `pickles` reads, `image_folder` decodes
folders of images, `digits` makes your own digits look like MNIST's, `npz` reads NumPy's
archives, `toy` makes points in the plane. `download` fetches files from mirrors, and `python -m
nn.data` does so from the command line.
"""

from . import augment
from .dataset import Dataset, class_weights
from .download import download_files
from .images.decode import load_image
from .images.digits import normalize_digit, normalize_digits
from .images.folder import load_image_folder
from .sets.cifar import download_cifar10, download_cifar100, load_cifar10, load_cifar100
from .sets.idx import read_idx, write_idx
from .sets.idx_sets import (
    download_fashion_mnist,
    download_kmnist,
    load_emnist,
    load_fashion_mnist,
    load_kmnist,
)
from .sets.mnist import (
    download_mnist,
    load_mnist,
    load_mnist_gz,
    load_mnist_or_sample,
    load_mnist_sample,
)
from .sets.npz import load_npz
from .sets.toy import make_blobs, make_circles, make_moons, make_spirals, make_xor

__all__ = [
    "Dataset",
    "augment",
    "class_weights",
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
    "write_idx",
]
