"""Augmentation: random changes of training images, different in every epoch.

A network that never sees the same image twice cannot memorize it. Each augmentation is a small
object that is called as `augment(x, rng)` with a batch of images (N, C, H, W), floats in [0, 1],
and a random generator; every image of the batch is changed by its own random numbers.
`Model.fit(augment=...)` and `Dataset.batches(augment=...)` call it on the threads that prepare the
batches. Any function with these arguments can be used as well.

`base` has the base class, `Compose` and `expand`; `flips` mirrors images; `geometry` moves pixels;
`pixels` changes their values; `resizing` has smaller images in the first epochs.

>>> import numpy as np
>>> from nn.data import Dataset, augment
>>> moved = augment.Compose([augment.RandomFlip(), augment.RandomCrop(32, padding=4)])
>>> images = Dataset(np.zeros((8, 3, 32, 32), dtype=np.uint8), np.arange(8))
>>> for x, y in images.batches(4, augment=moved):
...     print(x.shape, x.dtype)
(4, 3, 32, 32) float32
(4, 3, 32, 32) float32
"""

from .base import Augmentation, Compose, expand
from .flips import AlternatingFlip, RandomFlip, RandomRotate90
from .geometry import (
    ElasticDistortion,
    RandomAffine,
    RandomCrop,
    RandomRotation,
)
from .pixels import Cutout, Mixup, RandomBrightness, RandomContrast, RandomSaturation
from .resizing import ProgressiveResize

__all__ = [
    "AlternatingFlip",
    "Augmentation",
    "Compose",
    "Cutout",
    "ElasticDistortion",
    "Mixup",
    "ProgressiveResize",
    "RandomAffine",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomFlip",
    "RandomRotate90",
    "RandomRotation",
    "RandomSaturation",
    "expand",
]
