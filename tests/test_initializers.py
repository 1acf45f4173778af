"""Initial weights: their mean, their spread and what decides it."""

import math

import numpy as np
import pytest

import nn
from nn import initializers

SHAPES = [(300, 200), (64, 32, 5, 5)]
VARIANCE = {
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "pytorch": lambda fan_in, fan_out: 1 / (3 * fan_in),
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "name", [n for n in initializers.NAME2INITIALIZER if n.partition("_")[0] in VARIANCE]
)
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


def test_dirac_has_the_values_of_pytorch(rng):
    """Where `torch.nn.init.dirac_` (PyTorch 2.13) is 1, for (3, 2, 3, 3)."""
    kernel = initializers.dirac((3, 2, 3, 3), rng)
    assert np.argwhere(kernel).tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert kernel.max() == 1


@pytest.mark.parametrize("size", [1, 2, 3, (4, 5)])
def test_a_dirac_convolution_passes_the_image_on(size, rng):
    x = rng.random((2, 3, 6, 7))
    layer = nn.Conv2D(5, size, kernel_initializer="dirac")
    layer.dtype = "float64"
    y = layer.forward(x)
    np.testing.assert_array_equal(y[:, :3], x)
    assert not y[:, 3:].any()
    sequence = nn.Conv1D(2, 3, kernel_initializer="dirac")
    steps = rng.random((2, 5, 2)).astype("float32")
    np.testing.assert_array_equal(sequence.forward(steps), steps)


def test_partial_dirac_draws_the_other_filters(rng):
    kernel = initializers.partial_dirac((300, 20, 3, 3), rng)
    np.testing.assert_array_equal(kernel[:20], initializers.dirac((20, 20, 3, 3), rng))
    rest = kernel[20:]
    assert np.abs(rest).max() <= 1 / math.sqrt(180)  # PyTorch's default for a convolution
    assert rest.std() == pytest.approx(1 / math.sqrt(3 * 180), rel=0.01)
    square = (4, 4, 3, 3)
    np.testing.assert_array_equal(
        initializers.partial_dirac(square, rng), initializers.dirac(square, rng)
    )


@pytest.mark.parametrize("rule", ["dirac", "partial_dirac"])
def test_dirac_is_for_convolutions(rule, rng):
    with pytest.raises(ValueError, match=rf"\[{rule}\] 'shape' .*convolution.* got \(3, 4\)"):
        initializers.get(rule)((3, 4), rng)


def test_whitening_filters_are_those_of_the_paper():
    """Eigenvalues and filters as PyTorch's `linalg.eigh` gives them, computed once (2.13)."""
    x = np.random.default_rng(5).normal(size=(6, 2, 4, 4))
    kernel = initializers.whitening(x)((16, 2, 2, 2), None).reshape(16, 8)
    first = [0.041, -0.03179, 0.231798, -0.437584, 0.219894, -0.538928, -0.219204, -0.032124]
    last = [0.091865, -0.611925, 0.653182, 0.612065, -0.457468, -0.40131, 0.056897, 0.311503]
    for row, expected in ((0, first), (7, last)):
        sign = np.sign(kernel[row, 0] * expected[0])  # that of an eigenvector is free
        np.testing.assert_allclose(sign * kernel[row], expected, atol=1e-6)
    np.testing.assert_array_equal(kernel[8:], -kernel[:8])


@pytest.mark.parametrize("as_bytes", [False, True])
def test_whitened_patches_are_uncorrelated_and_of_one_power(as_bytes, rng):
    noise = rng.random((300, 3, 9, 8))
    x = (noise + np.roll(noise, 1, 2) + noise.mean(axis=1, keepdims=True)) / 3  # correlated
    x = (x * 255).astype("uint8") if as_bytes else x
    rule = initializers.whitening(x, eps=1e-12)
    layer = nn.Conv2D(12, 2, padding="valid", kernel_initializer=rule)
    layer.dtype = "float64"
    y = layer.forward(x / 255 if as_bytes else x)  # (N, 12, 8, 7)
    rows = y.transpose(0, 2, 3, 1).reshape(-1, 12)[:, :6]
    np.testing.assert_allclose(rows.T @ rows / len(rows), np.eye(6), atol=1e-6)
    assert "kernel_initializer" not in layer.to_config()["config"]


def test_fewer_whitening_filters_are_the_strongest_and_their_negatives(rng):
    rule = initializers.whitening(rng.normal(size=(20, 1, 5, 5)))
    whole, few = rule((8, 1, 2, 2), rng), rule((5, 1, 2, 2), rng)
    np.testing.assert_array_equal(few, whole[[0, 1, 2, 4, 5]])


def test_wrong_arguments_of_whitening_are_errors(rng):
    x = rng.normal(size=(5, 2, 4, 4))
    for wrong in (x[0], [1.0], x[:0]):
        with pytest.raises(ValueError, match=r"\[whitening\] 'images' must be images"):
            initializers.whitening(wrong)
    with pytest.raises(ValueError, match=r"\[whitening\] 'eps' .* got 0"):
        initializers.whitening(x, eps=0)
    with pytest.raises(ValueError, match=r"\[whitening\] 'filters' must be at most 16 .* got 17"):
        nn.Conv2D(17, 2, kernel_initializer=initializers.whitening(x)).build((None, 2, 4, 4))
    with pytest.raises(ValueError, match=r"\[whitening\] 'shape' must be \(F, 2, KH, KW\)"):
        nn.Conv2D(4, 2, kernel_initializer=initializers.whitening(x)).build((None, 3, 4, 4))
