"""The functions of analysis that activations and losses are made of, exact and without overflow."""

import math
from typing import Any

from .. import cuda

Array = Any  # a numpy or a cupy ndarray


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), through exp(-|x|), which cannot overflow.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    xp = cuda.get_array_module(x)
    small = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1, small) / (1 + small)


def softplus(x: Array) -> Array:
    """Return log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|)), which cannot overflow.

    Examples
    --------
    >>> import numpy as np
    >>> softplus(np.array([-1000.0, 1000.0]))
    array([   0., 1000.])
    """
    xp = cuda.get_array_module(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


def softmax(x: Array) -> Array:
    """Return exp(x) / sum(exp(x)) over the last axis, the largest subtracted first.

    Examples
    --------
    >>> import numpy as np
    >>> softmax(np.array([[1000.0, 1000.0]]))
    array([[0.5, 0.5]])
    """
    xp = cuda.get_array_module(x)
    exponentials = xp.exp(x - x.max(axis=-1, keepdims=True))
    exponentials /= exponentials.sum(axis=-1, keepdims=True)
    return exponentials


def log_softmax(x: Array) -> Array:
    """Return log(softmax(x)) over the last axis without ever taking the log of a rounded 0.

    Examples
    --------
    >>> import numpy as np
    >>> log_softmax(np.array([[1000.0, 0.0]]))
    array([[    0., -1000.]])
    """
    xp = cuda.get_array_module(x)
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - xp.log(xp.exp(shifted).sum(axis=-1, keepdims=True))


def normal_pdf(x: Array) -> Array:
    """Return the density of the standard normal distribution at x."""
    xp = cuda.get_array_module(x)
    return xp.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))


# Rational approximations of erf on [0, 1] and of erfc(z) exp(z^2) on [1, 8], highest power
# first: S. L. Moshier, Cephes Mathematical Library, ndtr.c.
_ERF_TOP = (
    9.60497373987051638749e0,
    9.00260197203842689217e1,
    2.23200534594684319226e3,
    7.00332514112805075473e3,
    5.55923013010394962768e4,
)
_ERF_BOTTOM = (
    1.0,
    3.35617141647503099647e1,
    5.21357949780152679795e2,
    4.59432382970980127987e3,
    2.26290000613890934246e4,
    4.92673942608635921086e4,
)
_ERFC_TOP = (
    2.46196981473530512524e-10,
    5.64189564831068821977e-1,
    7.46321056442269912687e0,
    4.86371970985681366614e1,
    1.96520832956077098242e2,
    5.26445194995477358631e2,
    9.34528527171957607540e2,
    1.02755188689515710272e3,
    5.57535335369399327526e2,
)
_ERFC_BOTTOM = (
    1.0,
    1.32281951154744992508e1,
    8.67072140885989742329e1,
    3.54937778887819891062e2,
    9.75708501743205489753e2,
    1.82390916687909736289e3,
    2.24633760818710981792e3,
    1.65666309194161350182e3,
    5.57535340817727675546e2,
)


def normal_cdf(x: Array) -> Array:
    """Return the distribution function of the standard normal, 0.5 * erfc(-x / sqrt(2)).

    Far to the left it is taken from erfc itself: 1 + erf would cancel to nothing.

    Examples
    --------
    >>> import numpy as np
    >>> normal_cdf(np.array([0.0, 1.959963984540054]))
    array([0.5  , 0.975])
    """
    xp = cuda.get_array_module(x)
    z = xp.abs(x) * math.sqrt(0.5)
    near, far = xp.minimum(z, 1), xp.clip(z, 1, 14)
    half_erf = 0.5 * near * _ratio(near * near, _ERF_TOP, _ERF_BOTTOM)
    # Beyond 14 the tail is 0 in either precision; the bound keeps the powers finite.
    tail = xp.where(z > 14, 0, 0.5 * xp.exp(-far * far) * _ratio(far, _ERFC_TOP, _ERFC_BOTTOM))
    left = xp.where(z <= 1, 0.5 - half_erf, tail)  # at -|x|
    return xp.where(x < 0, left, 1 - left)


def _ratio(x: Array, top: tuple[float, ...], bottom: tuple[float, ...]) -> Array:
    """Return the quotient of two polynomials at x, by Horner's rule."""
    numerator, denominator = x * 0 + top[0], x * 0 + bottom[0]
    for a in top[1:]:
        numerator = numerator * x + a
    for b in bottom[1:]:
        denominator = denominator * x + b
    return numerator / denominator
