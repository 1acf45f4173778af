"""exp, expm1, tanh and log1p of a number, in operations that a processor has for vectors.

Numba calls a library for them, number by number. These consist of sums, products and a few
operations on bits, without branches, so that LLVM computes 4 to 16 numbers at a time in the loops
that call them. They are right to 2 units in the last place (`tests/kernels/test_functions.py`).

e^x is 2^n e^r for the whole number n nearest to x / log(2), so that |r| <= log(2) / 2 and a short
series gives e^r; 2^n is written into the bits of the exponent. log(u) for u = 2^k m comes from a
series for m in [sqrt(1/2), sqrt(2)] (Muller 2016, "Elementary Functions", sections 11.1 and 11.4).
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic, overload

# No sum may be reordered here: the order is what keeps the digits.
OPTIONS: Any = {
    "forceinline": True,
    "error_model": "numpy",
    "fastmath": {"contract"},
}


@intrinsic
def select(_, condition, a, b):
    """Return a if a condition holds, else b: without a branch, as vectors need it."""
    if a != b:
        return None

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        holds = context.cast(builder, values[0], condition, types.boolean)
        return builder.select(holds, values[1], values[2])

    return a(condition, a, b), generate


@functools.cache
def functions(dtype: str) -> dict[str, Callable[..., Any]]:
    """Return the functions for numbers of a dtype, 'float32' or 'float64', by name."""
    exp_parts = _exp_parts(np.dtype(dtype).type)
    exp, expm1 = _exponentials(np.dtype(dtype).type, exp_parts)
    tanh, log1p = _tanh(np.dtype(dtype).type, expm1), _log1p(np.dtype(dtype).type)
    return {"exp": exp, "expm1": expm1, "tanh": tanh, "log1p": log1p, "select": select}


def exponential(x):
    """Return e^x, within a compiled loop. Numba compiles `_exponential_of` in its place."""
    raise NotImplementedError


@overload(exponential, jit_options={"forceinline": True, "error_model": "numpy"})
def _exponential_of(x):
    exp = functions(x.name)["exp"]
    return lambda x: exp(x)


def _bits(real: Any) -> tuple[Any, int, int]:
    """Return the type of a number's bits, the bits of its fraction, and the exponent of 1."""
    limits = np.finfo(real)
    return np.dtype(f"i{limits.bits // 8}").type, limits.nmant, limits.maxexp - 1


def _exp_parts(real: Any) -> Callable[..., Any]:
    """Return the function of x that gives e^r - 1 and two factors whose product is 2^n.

    2^n alone may be too large or too small for the exponent of a number.
    """
    bits, fraction, one = _bits(real)
    lowest, highest = real(math.log(2) * (-one - fraction - 2)), real(math.log(2) * (one + 1.5))
    per_bit, digits = real(1 / math.log(2)), 11 if real is np.float32 else 32
    # log(2) in two parts: products of the first with n are exact.
    first = real(math.floor(math.log(2) * 2**digits) / 2**digits)
    second = real(math.log(2) - float(first))
    if real is np.float64:
        second = real(1.9082149292705877e-10 + (0.6931471803691238 - float(first)))
    terms = 7 if real is np.float32 else 13
    series = tuple([real(1 / math.factorial(k)) for k in range(terms, 1, -1)])
    half = real(0.5)

    @numba.njit(**OPTIONS)
    def exp_parts(x):
        x = select(x > lowest, x, lowest)  # NaN too
        x = select(x < highest, x, highest)
        whole = np.floor(x * per_bit + half)
        n = bits(np.int32(whole))
        r = (x - whole * first) - whole * second
        total = series[0]
        for k in range(1, len(series)):
            total = total * r + series[k]
        left = n >> 1
        power = bits((left + one) << fraction).view(real)
        rest = bits((n - left + one) << fraction).view(real)
        return total * (r * r) + r, power, rest

    return exp_parts


def _exponentials(real: Any, exp_parts: Callable[..., Any]) -> tuple[Callable[..., Any], ...]:
    one, large = real(1), real(16)

    @numba.njit(**OPTIONS)
    def exp(x):
        part, power, rest = exp_parts(x)
        y = ((part + one) * power) * rest
        return select(x == x, y, x)

    @numba.njit(**OPTIONS)
    def expm1(x):
        part, power, rest = exp_parts(x)
        scale = power * rest
        usual, huge = part * scale + (scale - one), ((part + one) * power) * rest - one
        return select(x == x, select(x < large, usual, huge), x)

    return exp, expm1


def _tanh(real: Any, expm1: Callable[..., Any]) -> Callable[..., Any]:
    two = real(2)

    @numba.njit(**OPTIONS)
    def tanh(x):
        m = expm1(-two * abs(x))  # (e^-2x - 1) / (e^-2x + 1) is -tanh(x)
        y = m / (m + two)
        return select(x < 0, y, -y)

    return tanh


def _log1p(real: Any) -> Callable[..., Any]:
    bits, fraction, _ = _bits(real)
    one, two, infinity, nan = real(1), real(2), real(math.inf), real(math.nan)
    root = bits(np.array(math.sqrt(0.5), real).view(bits))
    terms = 5 if real is np.float32 else 11
    series = tuple([real(2 / (2 * k + 1)) for k in range(terms, 0, -1)])
    log2 = real(math.log(2))

    @numba.njit(**OPTIONS)
    def log1p(x):
        u = one + x
        lost = x - (u - one)  # by rounding: log(u + lost) is log(u) + lost / u
        k = (real(u).view(bits) - root) >> fraction
        m = bits(real(u).view(bits) - (k << fraction)).view(real)
        f = m - one
        s = f / (two + f)
        square = s * s
        total = series[0]
        for i in range(1, len(series)):
            total = total * square + series[i]
        y = real(np.int32(k)) * log2 + (lost / u + (s * (total * square) + two * s))
        y = select(x < infinity, y, x)
        return select(x > -one, y, select(x == -one, -infinity, nan))

    return log1p
