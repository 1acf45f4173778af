"""Larger images: loops, published vectors, margins of any kind, wrong arguments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nn
from nn import cuda
from nn.inspect.gradcheck import check_gradients

SQUARE = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])


def test_nearest_by_hand(to_device):
    y = nn.UpSample2D((2, 3)).forward(to_device(SQUARE))
    rows = [[1, 1, 1, 2, 2, 2]] * 2 + [[3, 3, 3, 4, 4, 4]] * 2
    assert cuda.to_cpu(y)[0, 0].tolist() == rows


def test_bilinear_published_vector(to_device):
    """The example of PyTorch's `Upsample(scale_factor=2, mode='bilinear')`."""
    y = nn.UpSample2D(2, "bilinear").forward(to_device(SQUARE))
    assert cuda.to_cpu(y)[0, 0].tolist() == [
        [1.0, 1.25, 1.75, 2.0],
        [1.5, 1.75, 2.25, 2.5],
        [2.5, 2.75, 3.25, 3.5],
        [3.0, 3.25, 3.75, 4.0],
    ]


def blend_in_loops(x, times):
    """Each output pixel from the two nearest rows and columns, weighted by distance."""
    n, c, h, w = x.shape
    y = np.zeros((n, c, h * times[0], w * times[1]))
    for row, column in np.ndindex(*y.shape[2:]):
        at = (row + 0.5) / times[0] - 0.5, (column + 0.5) / times[1] - 0.5
        at = min(max(at[0], 0), h - 1), min(max(at[1], 0), w - 1)
        top, left = int(at[0]), int(at[1])
        down, right = at[0] - top, at[1] - left
        bottom, end = min(top + 1, h - 1), min(left + 1, w - 1)
        y[:, :, row, column] = (
            (1 - down) * (1 - right) * x[:, :, top, left]
            + (1 - down) * right * x[:, :, top, end]
            + down * (1 - right) * x[:, :, bottom, left]
            + down * right * x[:, :, bottom, end]
        )
    return y


sizes = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=30)
@given(size=sizes, times=sizes, seed=st.integers(0, 2**16))
def test_upsampling_equals_loops(size, times, seed):
    x = np.random.default_rng(seed).normal(size=(2, 3, *size))
    np.testing.assert_array_equal(
        nn.UpSample2D(times).forward(x), np.kron(x, np.ones((1, 1, *times)))
    )
    layer = nn.UpSample2D(times, "bilinear")
    np.testing.assert_allclose(layer.forward(x), blend_in_loops(x, times), atol=1e-12)
    assert layer.output_shape == (None, 3, size[0] * times[0], size[1] * times[1])


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("times", [(1, 1), (2, 3), (3, 2)])
def test_gradients_of_upsampling(interpolation, times, rng):
    x = rng.normal(size=(2, 2, 3, 4))
    assert max(check_gradients(nn.UpSample2D(times, interpolation), x).values()) <= 1e-6


def test_blended_pixels_are_a_mean_of_their_neighbours(rng):
    """Weights of a row add up to 1, also at the edge: a flat image stays flat."""
    x = np.full((1, 2, 3, 5), 7.0)
    np.testing.assert_allclose(nn.UpSample2D((4, 3), "bilinear").forward(x), 7, rtol=1e-14)


@pytest.mark.parametrize(
    ("padding", "margins"),
    [
        (0, ((0, 0), (0, 0))),
        (2, ((2, 2), (2, 2))),
        ((1, 3), ((1, 1), (3, 3))),
        (((0, 2), (3, 1)), ((0, 2), (3, 1))),
        ([[0, 2], [3, 1]], ((0, 2), (3, 1))),
    ],
)
def test_zeros_around(padding, margins, rng, to_device):
    x, layer = rng.normal(size=(2, 3, 4, 5)), nn.ZeroPad2D(padding)
    y = layer.forward(to_device(x), training=True)
    np.testing.assert_array_equal(cuda.to_cpu(y), np.pad(x, ((0, 0), (0, 0), *margins)))
    assert layer.padding == margins
    assert layer.output_shape == (None, *y.shape[1:])
    grad = rng.normal(size=y.shape)
    (top, _), (left, _) = margins
    inner = grad[:, :, top : top + 4, left : left + 5]
    np.testing.assert_array_equal(cuda.to_cpu(layer.backward(to_device(grad))), inner)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.UpSample2D(0), r"\[UpSample2D\] 'size' must be positive, got 0\."),
        (lambda: nn.UpSample2D(1.5), r"\[UpSample2D\] 'size' must be an integer or a pair"),
        (
            lambda: nn.UpSample2D(2, "linear"),
            r"\[UpSample2D\] 'interpolation' must be one of .* did you mean 'bilinear'\?",
        ),
        (lambda: nn.ZeroPad2D(-1), r"\[ZeroPad2D\] 'padding' must be at least 0, got -1\."),
        (lambda: nn.ZeroPad2D((1, 2, 3)), r"\[ZeroPad2D\] 'padding' must be an integer or a pair"),
        (lambda: nn.ZeroPad2D(((1, 2),)), r"'padding' must be a number, \(height, width\) or"),
        (lambda: nn.ZeroPad2D(((1, 2), 3.0)), r"'padding' must be an integer or a pair"),
        (lambda: nn.ZeroPad2D(((1, -2), (3, 4))), r"'padding' must be at least 0"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("layer", [nn.UpSample2D(), nn.ZeroPad2D()])
def test_wrong_shapes(layer):
    with pytest.raises(ValueError, match=r"expects 4-D input, got \(3, 4\): images are"):
        layer.forward(np.zeros((3, 4)))
    layer.forward(np.zeros((1, 2, 3, 4)))
    with pytest.raises(ValueError, match=r"was built for inputs of shape \(None, 2, 3, 4\)"):
        layer.forward(np.zeros((1, 2, 4, 4)))
