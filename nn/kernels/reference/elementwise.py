"""Functions of each number alone, softmax, and random masks and noise."""

from typing import Any

import numpy as np

from ... import cuda
from ..formulas import Formula
from ..geometry import Array, from_rows
from .normalization import column_sums


def activate(
    x: Array, formula: Formula, parameters: tuple[float, ...] = (), keep: bool = True
) -> tuple[Array, Array | None]:
    """Return a formula's y for x, and what its gradient needs (None without `keep`)."""
    y = formula.function(x, *parameters)
    return y, formula.kept(x, y) if keep else None


def activate_in_place(x: Array, formula: Formula, parameters: tuple[float, ...] = ()) -> Array:
    """Write a formula's y for x into x, and return it."""
    x[...] = formula.function(x, *parameters)
    return x


def activate_grad(
    grad: Array, kept: Array, formula: Formula, parameters: tuple[float, ...] = ()
) -> Array:
    """Return the gradient for x of `activate`, given that for y and what was kept."""
    return formula.gradient(grad, kept, *parameters)


def value_range(x: Array) -> tuple[Array, Array]:
    """Return the lowest and the highest number; NaN, both, if one number is NaN."""
    return x.min(), x.max()


def add(a: Array, b: Array) -> Array:
    """Return the sum of two arrays of the same shape."""
    return a + b


def prelu(x: Array, slope: Array) -> Array:
    """Return max(x, 0) + slope * min(x, 0) for x (M, C) and a slope (C,) of each column.

    He et al. 2015, arXiv 1502.01852, equation 1.

    Examples
    --------
    >>> prelu(np.array([[-2.0, -2.0], [3.0, 3.0]]), np.array([0.25, 0.5]))
    array([[-0.5, -1. ],
           [ 3. ,  3. ]])
    """
    xp = cuda.get_array_module(x)
    return xp.maximum(x, 0) + slope * xp.minimum(x, 0)


def prelu_grad(grad: Array, x: Array, slope: Array) -> tuple[Array, Array]:
    """Return the gradients for x (M, C) and slope (C,) of `prelu`, given that for its result.

    At 0 the slope for x is that of the negative side, as in PyTorch.
    """
    xp = cuda.get_array_module(x)
    return grad * xp.where(x > 0, 1, slope), column_sums(grad * xp.minimum(x, 0))


def softmax(x: Array) -> Array:
    """Return exp(x) / sum(exp(x)) over the last axis, the largest subtracted first.

    Examples
    --------
    >>> softmax(np.array([[1000.0, 1000.0]]))
    array([[0.5, 0.5]])
    """
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    exponentials /= exponentials.sum(axis=-1, keepdims=True)
    return exponentials


def log_softmax(x: Array) -> Array:
    """Return log(softmax(x)) over the last axis without ever taking the log of a rounded 0.

    Examples
    --------
    >>> log_softmax(np.array([[1000.0, 0.0]]))
    array([[    0., -1000.]])
    """
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax_cross_entropy(z: Array, q: Array) -> tuple[Array, Array]:
    """Return -sum(q * log(softmax(z))) of each row, and the gradient softmax(z) - q for z.

    Classes of probability 0 add nothing, also if their logarithm is minus infinity.
    """
    xp, logarithms = cuda.get_array_module(z), log_softmax(z)
    losses = -xp.where(q > 0, q * logarithms, 0).sum(axis=1)
    return losses, xp.exp(logarithms) - q


def dropout(x: Array, kept: Array, rate: float) -> Array:
    """Return x / (1 - rate), which keeps the mean, if `kept` is true, and 0 elsewhere."""
    return x * kept * (1 / (1 - rate))


def dropout_mask(x: Array, rate: float, rng: np.random.Generator) -> Array:
    """Return booleans in the shape and memory layout of x, each True with probability 1 - rate.

    On the GPU the mask is drawn there, from a seed that `rng` gives. On the CPU each number
    takes 32 random bits, straight from the generator's source of 64 at a time.
    """
    if cuda.get_array_module(x) is np:
        bits = rng.bit_generator.random_raw(-(-x.size // 2)).view(np.uint32)[: x.size]
        kept = bits >= np.uint32(min(round(rate * 2**32), 2**32 - 1))
    else:
        kept = _generator(x, rng).random(x.size) >= rate
    return _laid_out_like(x, kept)


def normal_noise(x: Array, rng: np.random.Generator) -> Array:
    """Return standard normal numbers in the shape, dtype and memory layout of x.

    On the GPU they are drawn there, from a seed that `rng` gives.
    """
    return _laid_out_like(x, _generator(x, rng).standard_normal(x.size, dtype=x.dtype))


def _generator(x: Array, rng: np.random.Generator) -> Any:
    """Return `rng`, or on the GPU a generator there with a seed that `rng` draws."""
    xp = cuda.get_array_module(x)
    return rng if xp is np else xp.random.default_rng(int(rng.integers(2**63)))


def _laid_out_like(x: Array, values: Array) -> Array:
    """Return a vector in the shape of x, with the channels last in memory if there are pixels."""
    return values.reshape(x.shape) if x.ndim < 3 else from_rows(values, x.shape)
