"""Random numbers of the device."""

import numpy as np

from .wrapped import wrap


class Generator:
    """Draws on the device; its numbers are not those of NumPy's generator of the same seed."""

    def __init__(self, seed):
        self._private = np.random.default_rng([3, seed])

    def random(self, size=None, dtype=np.float64):
        return wrap(self._private.random(size, dtype))

    def standard_normal(self, size=None, dtype=np.float64):
        return wrap(self._private.standard_normal(size, dtype))


def default_rng(seed=None):
    return Generator(seed)
