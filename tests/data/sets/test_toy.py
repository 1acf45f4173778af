"""Points in the plane: each set lies on its formula, and the seed fixes all of it."""

import math

import numpy as np
import pytest

import nn
from nn.data import make_blobs, make_circles, make_moons, make_spirals, make_xor

MAKERS = [make_moons, make_circles, make_blobs, make_spirals, make_xor]


def of_class(data, label):
    return data.x[data.y == label]


def assert_same_points(found, expected):
    """Compare two sets of points in any order."""
    found, expected = (sorted(map(tuple, np.round(p, 5) + 0.0)) for p in (found, expected))
    np.testing.assert_allclose(found, expected, atol=2e-5)


# --------------------------------------------------------------------------- what all share


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("n_samples", [3, 10, np.int64(31)])
def test_a_set_is_a_dataset_with_balanced_classes(make, n_samples):
    data = make(n_samples, seed=0)
    assert isinstance(data, nn.Dataset) and len(data) == n_samples
    assert data.x.shape == (n_samples, 2) and data.x.dtype == np.float32
    assert data.y.shape == (n_samples,) and data.y.dtype.kind == "i"
    sizes = np.bincount(data.y)
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(sizes) <= 0).all()  # the first classes have what remains


@pytest.mark.parametrize("make", MAKERS)
def test_the_seed_fixes_points_and_order(make):
    one, two, other = make(50, seed=3), make(50, seed=3), make(50, seed=4)
    np.testing.assert_array_equal(one.x, two.x)
    np.testing.assert_array_equal(one.y, two.y)
    assert not np.array_equal(one.x, other.x)
    nn.seed(5)
    drawn = make(50)
    assert not np.array_equal(drawn.x, make(50).x)
    nn.seed(5)
    np.testing.assert_array_equal(drawn.x, make(50).x)


@pytest.mark.parametrize("make", MAKERS)
def test_the_classes_are_mixed(make):
    y = make(200, seed=0).y
    assert (np.diff(y) != 0).sum() > 50


@pytest.mark.parametrize("make", [make_moons, make_circles, make_blobs, make_xor])
def test_noise_is_the_deviation_of_both_coordinates(make):
    """With one seed the noise is the same, but for its size."""
    exact, small, large = (make(4000, noise=noise, seed=0).x for noise in (0.0, 0.1, 0.2))
    np.testing.assert_allclose(large - exact, 2 * (small - exact), atol=1e-5)
    np.testing.assert_allclose((small - exact).std(axis=0), 0.1, rtol=0.05)
    np.testing.assert_allclose((small - exact).mean(axis=0), 0, atol=0.01)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_samples": 0}, "'n_samples' must be a positive integer, got 0"),
        ({"n_samples": 10.0}, "'n_samples' must be a positive integer, got 10.0"),
        ({"n_samples": True}, "'n_samples' must be a positive integer, got True"),
        ({"n_samples": 1}, r"'n_samples' must be at least [23], one for each class, got 1"),
        ({"noise": -0.1}, "'noise' must be a number of at least 0, got -0.1"),
        ({"noise": math.nan}, "'noise' must be a number of at least 0, got nan"),
        ({"noise": math.inf}, "'noise' must be a number of at least 0, got inf"),
        ({"noise": "much"}, "'noise' must be a number of at least 0, got 'much'"),
        ({"noise": None}, "'noise' must be a number of at least 0, got None"),
        ({"seed": -1}, "'seed' must be an integer of at least 0, got -1"),
        ({"seed": 0.5}, "'seed' must be an integer of at least 0, got 0.5"),
    ],
)
def test_a_wrong_argument_is_an_error_of_the_function(make, arguments, message):
    with pytest.raises(ValueError, match=rf"^\[{make.__name__}\] {message}"):
        make(**arguments)


# ------------------------------------------------------------------------------ each formula


def test_moons_are_half_circles():
    data = make_moons(7, noise=0.0, seed=0)
    upper = [(math.cos(k * math.pi / 3), math.sin(k * math.pi / 3)) for k in range(4)]
    lower = [(1 - math.cos(k * math.pi / 2), 0.5 - math.sin(k * math.pi / 2)) for k in range(3)]
    assert_same_points(of_class(data, 0), upper)
    assert_same_points(of_class(data, 1), lower)


@pytest.mark.parametrize("factor", [0, 0.5, 0.8])
def test_circles_have_their_radius(factor):
    data = make_circles(8, noise=0.0, seed=0, factor=factor)
    outer = [(1, 0), (0, 1), (-1, 0), (0, -1)]
    assert_same_points(of_class(data, 0), outer)
    assert_same_points(of_class(data, 1), [(factor * x, factor * y) for x, y in outer])


@pytest.mark.parametrize("factor", [1, -0.5, "half"])
def test_circles_refuse_another_factor(factor):
    with pytest.raises(
        ValueError, match=r"^\[make_circles\] 'factor' must be a number in \[0, 1\)"
    ):
        make_circles(factor=factor)


def test_blobs_lie_around_their_centers():
    data = make_blobs(9, noise=0.0, seed=0, centers=[(3, -1), (0, 0.5)])
    assert_same_points(of_class(data, 0), [(3, -1)] * 5)
    assert_same_points(of_class(data, 1), [(0, 0.5)] * 4)
    data = make_blobs(4, noise=0.0, seed=0, centers=4)
    for label, place in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        assert_same_points(of_class(data, label), [place])


@pytest.mark.parametrize(
    ("centers", "rule"),
    [
        (0, "must be a positive integer"),
        (2.5, "must be a positive integer"),
        ("three", "must be their number or points"),
        (None, "must be their number or points"),
        ([], "must be their number or points"),
        ([1.0, 2.0], "must be their number or points"),
        ([(1, 2, 3)], "must be their number or points"),
        ([(1, 2), (3,)], "must be their number or points"),
        ([(0, math.nan)], "must be finite"),
    ],
)
def test_blobs_refuse_other_centers(centers, rule):
    with pytest.raises(ValueError, match=rf"^\[make_blobs\] 'centers' {rule}"):
        make_blobs(centers=centers)


def test_xor_is_its_truth_table_and_each_class_has_both_corners():
    data = make_xor(400, noise=0.0, seed=0)
    corners, counts = np.unique(np.column_stack([data.x, data.y]), axis=0, return_counts=True)
    assert corners.tolist() == [[-1, -1, 0], [-1, 1, 1], [1, -1, 1], [1, 1, 0]]
    assert counts.tolist() == [100] * 4


@pytest.mark.parametrize("classes", [1, 3, 10])
def test_spirals_are_those_of_cs231n(classes):
    data = make_spirals(5 * classes, noise=0.0, seed=0, classes=classes)
    for j in range(classes):
        arm = []
        for k in range(5):
            r, t = k / 4, 4 * j + k  # from 4 j to 4 (j + 1)
            arm.append((r * math.sin(t), r * math.cos(t)))
        assert_same_points(of_class(data, j), arm)


def test_noise_of_spirals_is_of_the_angle():
    exact, noisy = (make_spirals(3000, noise=noise, seed=0, classes=1).x for noise in (0, 0.1))
    np.testing.assert_allclose(np.hypot(*noisy.T), np.hypot(*exact.T), atol=1e-6)
    turned = np.angle((noisy @ [1, 1j])[1:] * np.conj(exact @ [1, 1j])[1:])
    moved = np.abs(turned[np.hypot(*exact[1:].T) > 0.01])
    assert 0.95 * 0.1 < math.sqrt((moved**2).mean()) < 1.05 * 0.1


@pytest.mark.parametrize("classes", [0, 11, 2.0, None])
def test_spirals_refuse_another_number_of_arms(classes):
    with pytest.raises(
        ValueError, match=r"^\[make_spirals\] 'classes' must be (a positive|at most)"
    ):
        make_spirals(classes=classes)
