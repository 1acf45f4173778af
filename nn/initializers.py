"""The initial values of the weights: functions (shape, rng) -> float64 array.

A layer draws its weights on the CPU and casts them to its own dtype and device, so that a
seed gives the same values on all of them. The rules differ in their variance, which is chosen so
that signals neither vanish nor explode in a network of many layers.
"""

import math
from collections.abc import Callable

import numpy as np

from .registry import Registry

Initializer = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]


def fan_in_and_out(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the number of inputs of each output of a weight array, and of outputs of each input.

    Parameters
    ----------
    shape
        (in, out) of a dense layer, or (F, C, KH, KW) of a convolution.

    Examples
    --------
    >>> fan_in_and_out((784, 10)), fan_in_and_out((32, 3, 5, 5))
    ((784, 10), (75, 800))
    """
    if len(shape) < 2:
        return (shape[0] if shape else 1,) * 2
    if len(shape) == 2:
        return shape[0], shape[1]
    receptive = math.prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


def zeros(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return zeros."""
    return np.zeros(shape)


def ones(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return ones."""
    return np.ones(shape)


def _normal(shape: tuple[int, ...], rng: np.random.Generator, variance: float) -> np.ndarray:
    return rng.normal(0.0, math.sqrt(variance), size=shape)


def _uniform(shape: tuple[int, ...], rng: np.random.Generator, variance: float) -> np.ndarray:
    limit = math.sqrt(3 * variance)  # U(-a, a) has the variance a^2 / 3
    return rng.uniform(-limit, limit, size=shape)


def he_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw from a normal of variance 2 / fan_in.

    The 2 makes up for ReLU, which halves a signal's power (He et al. 2015, "Delving deep into
    rectifiers", arXiv 1502.01852, equation 10).

    Examples
    --------
    >>> he_normal((50, 2), np.random.default_rng(0)).shape
    (50, 2)
    """
    return _normal(shape, rng, 2 / fan_in_and_out(shape)[0])


def he_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw from a uniform of variance 2 / fan_in (He et al. 2015)."""
    return _uniform(shape, rng, 2 / fan_in_and_out(shape)[0])


def glorot_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw from a normal of variance 2 / (fan_in + fan_out).

    Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural
    networks", equation 12.
    """
    return _normal(shape, rng, 2 / sum(fan_in_and_out(shape)))


def glorot_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw from a uniform of variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, eq. 16)."""
    return _uniform(shape, rng, 2 / sum(fan_in_and_out(shape)))


def lecun_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw from a normal of variance 1 / fan_in.

    LeCun et al. 1998, "Efficient BackProp", section 4.6.
    """
    return _normal(shape, rng, 1 / fan_in_and_out(shape)[0])


def lecun_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw from a uniform of variance 1 / fan_in (LeCun et al. 1998, section 4.6)."""
    return _uniform(shape, rng, 1 / fan_in_and_out(shape)[0])


_RULES = (
    *(zeros, ones, he_normal, he_uniform),
    *(glorot_normal, glorot_uniform, lecun_normal, lecun_uniform),
)

#: The initializers by the names that `kernel_initializer=` takes.
NAME2INITIALIZER: Registry[Initializer] = Registry(
    "initializers", "kernel_initializer", {rule.__name__: rule for rule in _RULES}
)


def get(initializer: str | Initializer, owner: str = "initializers") -> Initializer:
    """Return the initializer of a name, or the function itself.

    Raises
    ------
    ValueError
        For an unknown name; the message gives the nearest known one.
    """
    if callable(initializer):
        return initializer
    return NAME2INITIALIZER.find(initializer, owner)
