"""Initial weights: their mean, their spread and what decides it."""

import math

import numpy as np
import pytest

from nn import initializers

SHAPES = [(300, 200), (64, 32, 5, 5)]
VARIANCE = {
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", [n for n in initializers.NAME2INITIALIZER if "_" in n])
def test_mean_and_standard_deviation(name, shape, rng):
    values = initializers.get(name)(shape, rng)
    fan_in, fan_out = {2: (300, 200), 4: (32 * 25, 64 * 25)}[len(shape)]
    family, distribution = name.split("_")
    std = math.sqrt(VARIANCE[family](fan_in, fan_out))
    assert values.shape == shape
    assert abs(values.mean()) < 4 * std / math.sqrt(values.size)
    assert values.std() == pytest.approx(std, rel=0.01)
    if distribution == "uniform":
        assert np.abs(values).max() <= math.sqrt(3) * std
    else:
        assert np.abs(values).max() > 3 * std


def test_fans():
    assert initializers.fan_in_and_out((3, 4)) == (3, 4)
    assert initializers.fan_in_and_out((8, 3, 5, 7)) == (105, 280)
    assert initializers.fan_in_and_out((6,)) == (6, 6)
    assert initializers.fan_in_and_out(()) == (1, 1)


def test_constants_and_names(rng):
    assert initializers.get("zeros")((2,), rng).tolist() == [0, 0]
    assert initializers.get("ones")((2,), rng).tolist() == [1, 1]
    assert initializers.get(initializers.zeros) is initializers.zeros
    with pytest.raises(ValueError, match="did you mean 'he_normal'"):
        initializers.get("he_norml")


def test_a_seed_draws_the_same():
    draws = [initializers.he_normal((3, 4), np.random.default_rng(1)) for _ in range(2)]
    np.testing.assert_array_equal(*draws)
