"""Augmentation: training images changed at random, anew each time they are shown.

A network that never sees the same image twice cannot learn it by heart. Each augmentation is
a small object that is called as `augment(x, rng)` with a batch of images (N, C, H, W), floats
in [0, 1], and the generator that it draws from; every image of the batch gets a draw of its
own. `Model.fit(augment=...)` and `Dataset.batches(augment=...)` call it on the threads that
prepare the batches. Any function of the same form does as well as these.

`base` has what all share, `Compose` and `expand`; `geometry` moves pixels to other places;
`pixels` changes their values.

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
from .geometry import (
    ElasticDistortion,
    RandomAffine,
    RandomCrop,
    RandomFlip,
    RandomRotate90,
    RandomRotation,
)
from .pixels import Cutout, Mixup, RandomBrightness, RandomContrast, RandomSaturation

__all__ = [
    "Augmentation",
    "Compose",
    "Cutout",
    "ElasticDistortion",
    "Mixup",
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
