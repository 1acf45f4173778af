"""Views with strides of their own."""

import numpy as np

from .wrapped import unwrap, wrap


class stride_tricks:  # noqa: N801
    """As `cupy.lib.stride_tricks`."""

    @staticmethod
    def as_strided(x, shape=None, strides=None):
        return wrap(np.lib.stride_tricks.as_strided(unwrap(x), shape, strides))

    @staticmethod
    def sliding_window_view(x, window_shape, axis=None):
        return wrap(np.lib.stride_tricks.sliding_window_view(unwrap(x), window_shape, axis))
