"""Linear algebra."""

import numpy as np

from .wrapped import unwrap, wrap


def norm(x, ord=None, axis=None, keepdims=False):
    return wrap(np.linalg.norm(unwrap(x), ord, axis, keepdims))
