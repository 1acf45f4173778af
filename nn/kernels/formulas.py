"""Elementwise formulas: activations and their gradients, each written once for every device.

A formula is plain NumPy on an array x. NumPy evaluates it as it is, and so does CuPy, whose arrays
answer NumPy's functions. `tracing` records its operations, from which `cpu` compiles a loop with
Numba and `gpu` a kernel of CuPy. So a formula uses operators, `np.where` and the functions that
`tracing` lists, on floats, and has neither branches nor arrays of its own.

Compiled code may fuse a product with a sum, which rounds once instead of twice: in float32 results
differ from NumPy's by at most 5e-7 of a number about 1.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .geometry import Array


class Formula(NamedTuple):
    """An activation and its gradient.

    `function(x, *parameters)` returns y. `gradient(grad, kept, *parameters)` returns the gradient
    for x, given that for y. `kept` is x or y, as `keeps` names it, or `derived(x)`: the booleans of
    a 'mask', which take a quarter of the memory, or the 'slope', which shares steps with the
    function.
    """

    name: str
    function: Callable[..., Array]
    gradient: Callable[..., Array]
    keeps: str = "x"
    derived: Callable[[Array], Array] | None = None

    def kept(self, x: Array, y: Array) -> Array:
        """Return what `gradient` needs of x and its y."""
        return self.derived(x) if self.derived else {"x": x, "y": y}[self.keeps]


# ------------------------------------------------------------------------- special functions


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), through exp(-|x|), which cannot overflow.

    Examples
    --------
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def softplus(x: Array) -> Array:
    """Return log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|)), which cannot overflow.

    Examples
    --------
    >>> softplus(np.array([-1000.0, 1000.0]))
    array([   0., 1000.])
    """
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


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

    Far to the left it is computed from erfc itself, as 1 + erf would cancel to 0.

    Examples
    --------
    >>> normal_cdf(np.array([0.0, 1.959963984540054]))
    array([0.5  , 0.975])
    """
    return _cdf(x, *_bell(x))


def normal_pdf(x: Array) -> Array:
    """Return the density of the standard normal distribution at x."""
    return _bell(x)[1] * _PEAK


_PEAK = 1 / math.sqrt(2 * math.pi)  # the density at 0


def _bell(x: Array) -> tuple[Array, Array]:
    """Return |x|, at most 20, and exp(-x^2 / 2), which is 0 beyond that in either precision."""
    size = np.minimum(np.abs(x), 20)
    return size, np.where(size < 20, np.exp(-0.5 * size * size), 0)


def _cdf(x: Array, size: Array, bell: Array) -> Array:
    """Return `normal_cdf`, given what `_bell` returns: erf and erfc with one division."""
    z = size * math.sqrt(0.5)
    near, far, is_near = np.minimum(z, 1), np.maximum(z, 1), z <= 1
    square = near * near
    top = np.where(
        is_near, near * _polynomial(square, _ERF_TOP), bell * _polynomial(far, _ERFC_TOP)
    )
    bottom = np.where(is_near, _polynomial(square, _ERF_BOTTOM), _polynomial(far, _ERFC_BOTTOM))
    half = 0.5 * top / bottom  # of erf(z) or erfc(z)
    left = np.where(is_near, 0.5 - half, half)  # at -|x|
    return np.where(x < 0, left, 1 - left)


def _polynomial(x: Array, coefficients: tuple[float, ...]) -> Array:
    """Return a polynomial at x, its highest power first, by Horner's rule."""
    total: Array = coefficients[0]
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


# -------------------------------------------------------------------------------- activations

RELU = Formula(
    "relu",
    lambda x: np.maximum(x, 0),
    lambda grad, positive: grad * positive,
    "mask",
    lambda x: x > 0,
)
RELU6 = Formula(
    "relu6",
    lambda x: np.minimum(np.maximum(x, 0), 6),
    lambda grad, inside: grad * inside,
    "mask",
    lambda x: (x > 0) & (x < 6),
)
LEAKY_RELU = Formula(
    "leaky_relu",
    lambda x, slope: np.maximum(x, 0) + slope * np.minimum(x, 0),
    lambda grad, positive, slope: np.where(positive, grad, slope * grad),
    "mask",
    lambda x: x > 0,
)
ELU = Formula(
    "elu",
    lambda x, alpha: np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0)),
    lambda grad, y, alpha: grad * np.where(y > 0, 1, y + alpha),
    "y",
)

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
SELU = Formula(
    "selu",
    lambda x: _SELU_SCALE * (np.maximum(x, 0) + _SELU_ALPHA * np.expm1(np.minimum(x, 0))),
    lambda grad, x: (
        grad * (_SELU_SCALE * np.where(x > 0, 1, _SELU_ALPHA * np.exp(np.minimum(x, 0))))
    ),
)


def _gelu_slope(x: Array) -> Array:
    size, bell = _bell(x)
    return _cdf(x, size, bell) + x * (bell * _PEAK)


GELU = Formula(
    "gelu",
    lambda x: x * normal_cdf(x),
    lambda grad, slope: grad * slope,
    "slope",
    _gelu_slope,
)
TANH = Formula("tanh", np.tanh, lambda grad, y: grad * (1 - y * y), "y")

# A probability, or the slope of a sigmoid, counts as at least this much in a backward pass. It
# changes no digit elsewhere, and a saturated output still passes on the gradient that a
# cross-entropy computed from its logits.
SMALLEST_SLOPE = 1e-30


def sigmoid_slope(y: Array) -> Array:
    """Return the derivative of the sigmoid at an output y, y * (1 - y), never 0."""
    return np.maximum(y * (1 - y), SMALLEST_SLOPE)


SIGMOID = Formula("sigmoid", sigmoid, lambda grad, y: grad * sigmoid_slope(y), "y")
HARD_SIGMOID = Formula(
    "hard_sigmoid",
    lambda x: np.minimum(np.maximum(x + 3, 0), 6) / 6,
    lambda grad, inside: grad * inside * (1 / 6),
    "mask",
    lambda x: (x > -3) & (x < 3),
)
SOFTPLUS = Formula("softplus", softplus, lambda grad, x: grad * sigmoid(x))


def _silu_slope(x: Array) -> Array:
    s = sigmoid(x)
    return s + x * s * (1 - s)


SILU = Formula("silu", lambda x: x * sigmoid(x), lambda grad, x: grad * _silu_slope(x))


def _mish_slope(x: Array) -> Array:
    t = np.tanh(softplus(x))
    return t + x * (1 - t * t) * sigmoid(x)


MISH = Formula("mish", lambda x: x * np.tanh(softplus(x)), lambda grad, x: grad * _mish_slope(x))


def _softsign_slope(x: Array) -> Array:
    root = 1 + np.abs(x)
    return 1 / (root * root)


SOFTSIGN = Formula(
    "softsign", lambda x: x / (1 + np.abs(x)), lambda grad, x: grad * _softsign_slope(x)
)
EXPONENTIAL = Formula("exponential", np.exp, lambda grad, y: grad * y, "y")

#: Every formula by its name.
FORMULAS = {
    formula.name: formula for formula in list(globals().values()) if isinstance(formula, Formula)
}
