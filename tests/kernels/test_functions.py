"""exp, expm1, tanh and log1p of the compiled kernels, and the formulas that are made of them."""

import functools
import math

import numpy as np
import pytest

from nn.kernels import formulas, reference

numba = pytest.importorskip("numba", reason="needs Numba (the extra 'fast')")
compiled = pytest.importorskip("nn.kernels.cpu.compiled")
functions = pytest.importorskip("nn.kernels.cpu.compiled.functions").functions

LIMITS = {"float32": 87, "float64": 708}  # of x in exp(x)


@functools.cache
def loop(name, dtype):
    function = functions(dtype)[name]

    @numba.njit(error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})
    def fill(x, y):
        for k in range(x.size):
            y[k] = function(x[k])

    return fill


def computed(name, x):
    y = np.empty_like(x)
    loop(name, x.dtype.name)(x, y)
    return y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["exp", "expm1", "tanh", "log1p"])
def test_a_function_is_right_to_its_last_digits(name, dtype, rng):
    scales = (1e-6, 1e-3, 0.3, 1, 5, 30)
    x = np.concatenate([rng.normal(size=20_000) * scale for scale in scales]).astype(dtype)
    limit = LIMITS[dtype]
    x = np.concatenate([x.clip(-limit, limit), np.linspace(-limit, limit, 10_001, dtype=dtype)])
    if name == "log1p":
        x = np.concatenate([abs(x), np.linspace(-0.999, 0, 10_001, dtype=dtype)])
    exact = getattr(np, name)(x.astype(np.longdouble))
    unit = np.spacing(abs(exact).astype(dtype)).astype(np.longdouble)
    assert float((abs(computed(name, x) - exact) / unit).max()) < 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["exp", "expm1", "tanh", "log1p"])
def test_a_function_of_extreme_numbers(name, dtype):
    numbers = [0, 1e-40, 1, -1, -2, -88, 88.7, 89, -100, -104, 708, 710, -745, -750, 1e30, -1e30]
    x = np.array([*numbers, math.inf, -math.inf, math.nan], dtype)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x)
    tiny = np.finfo(dtype).tiny
    np.testing.assert_allclose(computed(name, x), expected, rtol=1e-5, atol=1e-5 * tiny)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("room", [reference, compiled])
def test_gelu_against_the_error_function(room, dtype):
    x = np.linspace(-40, 40, 20_001, dtype=dtype)
    wide = x.astype("float64")
    cdf = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in wide])
    pdf = np.exp(-0.5 * wide**2) / math.sqrt(2 * math.pi)
    y, kept = room.activate(x, formulas.GELU)
    slope = room.activate_grad(np.ones_like(x), kept, formulas.GELU)
    rounding = {"float32": 2e-7, "float64": 4e-16}[dtype]
    assert (abs(y - wide * cdf) <= rounding * np.maximum(abs(x), 1)).all()
    assert abs(slope - (cdf + wide * pdf)).max() <= 2 * rounding
    # Far to the left all digits but those that the square of x loses are there.
    left = (x < -1) & (x > -8)
    assert abs(y[left] / (wide * cdf)[left] - 1).max() < 64 * rounding
