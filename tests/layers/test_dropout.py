"""Noise in training: which values are dropped, how much is added, and nothing elsewhere."""

import numpy as np
import pytest

import nn
from nn import cuda


def test_spatial_dropout_drops_whole_channels_at_its_rate(to_device):
    layer, x = nn.SpatialDropout2D(0.25), to_device(np.ones((100, 40, 2, 3)))
    y = layer.forward(x, training=True)
    channels = cuda.to_cpu(y).reshape(4000, 6)
    assert (channels == channels[:, :1]).all()
    np.testing.assert_allclose(np.unique(channels), [0, 1 / 0.75])
    assert abs((channels[:, 0] == 0).mean() - 0.25) < 0.03
    np.testing.assert_array_equal(cuda.to_cpu(layer.backward(x)), cuda.to_cpu(y))
    assert layer.forward(x) is x
    assert nn.SpatialDropout2D(0.0).forward(x, training=True) is x


def test_spatial_dropout_keeps_the_order_of_memory(rng):
    x = np.ascontiguousarray(rng.normal(size=(2, 4, 5, 3))).transpose(0, 3, 1, 2)
    y = nn.SpatialDropout2D(0.5).forward(x, training=True)
    assert y.strides == x.strides
    kept = y != 0
    np.testing.assert_allclose(y[kept], 2 * x[kept])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_is_normal_with_its_deviation(dtype, to_device):
    layer, x = nn.GaussianNoise(0.5), to_device(np.full((50, 8, 10, 10), 3.0, dtype=dtype))
    y = layer.forward(x, training=True)
    assert y.dtype == dtype
    noise = cuda.to_cpu(y - x).ravel()
    assert abs(noise.mean()) < 0.02
    assert noise.std() == pytest.approx(0.5, rel=0.02)
    assert (abs(noise) < 0.5).mean() == pytest.approx(0.6827, abs=0.01)  # within one deviation
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.02
    assert layer.backward(x) is x
    assert layer.forward(x) is x
    assert nn.GaussianNoise(0).forward(x, training=True) is x


def test_noise_is_drawn_anew_and_repeats_with_the_seed():
    x = np.zeros((4, 3), dtype="float32")
    first, second = (nn.Model([nn.GaussianNoise(1.0)], seed=7) for _ in range(2))
    y = first.forward(x, training=True)
    np.testing.assert_array_equal(y, second.forward(x, training=True))
    assert not np.array_equal(y, first.forward(x, training=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.SpatialDropout2D(1.0), r"\[SpatialDropout2D\] 'rate' must be a number in"),
        (
            lambda: nn.GaussianNoise(-1),
            r"\[GaussianNoise\] 'stddev' must be a number of at least 0",
        ),
        (
            lambda: nn.SpatialDropout2D().forward(np.zeros((2, 3)), training=True),
            r"\[SpatialDropout2D\] expects 4-D input, got \(2, 3\): .* use Dropout elsewhere",
        ),
    ],
)
def test_wrong_arguments_and_shapes(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("noise_shape", [(None, 1, None), (4, 1, 6), [None, None, 1], (1, 1, 1)])
def test_noise_shape_drops_whole_axes_together(noise_shape):
    layer = nn.Dropout(0.5, noise_shape=noise_shape)
    x = np.ones((4, 5, 6))
    y = layer.forward(x, training=True)
    sizes = [n or size for n, size in zip(noise_shape, x.shape, strict=True)]
    part = y[tuple(slice(n) for n in sizes)]
    np.testing.assert_array_equal(y, np.broadcast_to(part, x.shape))
    assert set(np.unique(y)) <= {0.0, 2.0}
    assert noise_shape == (1, 1, 1) or len(np.unique(part)) == 2
    np.testing.assert_array_equal(layer.backward(x), y)
    again = nn.layers.layer_from_config(layer.to_config())
    assert again.noise_shape == tuple(noise_shape)


@pytest.mark.parametrize("noise_shape", [(None, 1), (None, 2, None), (None, 1, None, 1)])
def test_a_noise_shape_that_does_not_fit_is_an_error(noise_shape):
    layer = nn.Dropout(0.5, noise_shape=noise_shape)
    with pytest.raises(
        ValueError, match=r"\[Dropout\] 'noise_shape' must have 1, None or the size"
    ):
        layer.build((None, 5, 6))
    with pytest.raises(
        ValueError, match=r"\[Dropout\] 'noise_shape' must have 1, None or the size"
    ):
        nn.Dropout(0.5, noise_shape=(3, 1, 1)).forward(np.ones((4, 5, 6)), training=True)


@pytest.mark.parametrize("noise_shape", [0, (), (0, 1), (1.5,), "same"])
def test_a_noise_shape_of_no_sizes_is_an_error(noise_shape):
    with pytest.raises(ValueError, match=r"\[Dropout\] 'noise_shape' must be sizes"):
        nn.Dropout(0.5, noise_shape=noise_shape)
