"""Augmentation: what each one does to images, how often, and that a seed repeats it."""

import copy
import math
import pickle

import hypothesis
import hypothesis.extra.numpy as st_np
import hypothesis.strategies as st
import numpy as np
import pytest

import nn
from nn.data import Dataset, augment
from nn.data.augment import (
    AlternatingFlip,
    Augmentation,
    Compose,
    Cutout,
    ElasticDistortion,
    Mixup,
    ProgressiveResize,
    RandomAffine,
    RandomBrightness,
    RandomContrast,
    RandomCrop,
    RandomFlip,
    RandomRotate90,
    RandomRotation,
    RandomSaturation,
    geometry,
)

EVERY = [
    RandomFlip(),
    RandomFlip("horizontal_and_vertical", p=0.7),
    AlternatingFlip(),
    RandomCrop(8, padding=2),
    RandomCrop((5, 6), padding=(0, 1), padding_mode="reflect"),
    RandomCrop(8, padding=3, fill=0.5),
    RandomRotate90(),
    RandomRotation(30),
    RandomAffine(20, translate=0.2, scale=0.3, shear=15, fill=0.25),
    ElasticDistortion(alpha=20, sigma=2),
    RandomBrightness(0.5),
    RandomContrast((0.2, 3)),
    RandomSaturation(2.0),
    Cutout(3, fill=0.5),
    ProgressiveResize([5]),
    Compose([RandomFlip(), RandomCrop(8, padding=1), RandomBrightness(0.1)]),
]
every = pytest.mark.parametrize("change", EVERY, ids=repr)
FIXED = AlternatingFlip, ProgressiveResize  # they draw no numbers
every_random = pytest.mark.parametrize(
    "change", [change for change in EVERY if not isinstance(change, FIXED)], ids=repr
)


def new_rng(seed=1):
    return np.random.default_rng(seed)


@pytest.fixture
def images(rng):
    """Six images of three channels, of 8 x 8 random pixels."""
    return rng.random((6, 3, 8, 8), dtype=np.float32)


def ramps(n, height, width):
    """Return images whose two channels say where a pixel is: its row and column, in [0, 1)."""
    rows, cols = np.mgrid[:height, :width]
    return np.stack([rows / height, cols / width])[np.newaxis].repeat(n, axis=0)


# --------------------------------------------------------------------------- what all share


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_keeps_dtype_and_input_and_returns_a_new_array(change, dtype, images):
    x = images.astype(dtype)
    before = x.copy()
    x.flags.writeable = False
    got = change(x, new_rng())
    assert got.dtype == dtype
    assert got.shape[:2] == x.shape[:2]
    assert not np.shares_memory(got, x)
    assert got.flags.writeable
    np.testing.assert_array_equal(x, before)
    assert not np.array_equal(got, x)


@every
def test_does_not_depend_on_strides(change, images):
    expected = change(images, new_rng())
    channels_last = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    every_second = np.zeros((12, 3, 8, 16), np.float32)[::2, :, :, ::2]
    every_second[...] = images
    backward = np.ascontiguousarray(images[::-1, :, ::-1])[::-1, :, ::-1]
    for x in (channels_last, every_second, backward, np.asfortranarray(images)):
        np.testing.assert_allclose(change(x, new_rng()), expected, atol=1e-6)


@every_random
def test_a_seed_repeats_it_and_every_call_draws_anew(change, images):
    rng = new_rng()
    first, second = change(images, rng), change(images, rng)
    np.testing.assert_array_equal(first, change(images, new_rng()))
    assert not np.array_equal(first, second)


@every_random
def test_each_image_has_a_draw_of_its_own(change, images):
    x = images[:1].repeat(20, axis=0)
    got = change(x, new_rng())
    assert len({image.tobytes() for image in got}) > 1


@hypothesis.given(
    x=st_np.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.sampled_from([(2, 3, 8, 8), (1, 3, 9, 9)]),
        elements=st.sampled_from([float(np.float32(v)) for v in (0, 1, 0.1, 0.7, 1e-7, 0.9999999)]),
    ),
    change=st.sampled_from(EVERY),
    seed=st.integers(0, 1000),
)
def test_values_stay_between_0_and_1(x, change, seed):
    got = change(x, new_rng(seed))
    assert got.min() >= 0
    assert got.max() <= 1


@every
def test_takes_an_empty_batch(change):
    got = change(np.zeros((0, 3, 8, 8), np.float32), new_rng())
    assert got.shape[:2] == (0, 3)


@pytest.mark.parametrize("change", [*EVERY, Mixup(0.3, 10)], ids=repr)
def test_repr_is_how_it_was_made_and_it_can_be_pickled(change):
    assert repr(eval(repr(change), vars(augment))) == repr(change)
    assert repr(pickle.loads(pickle.dumps(change))) == repr(change)


def test_repr_names_the_arguments():
    assert repr(RandomCrop(32, padding=4)) == (
        "RandomCrop(size=(32, 32), padding=(4, 4), padding_mode='constant', fill=0.0)"
    )
    assert repr(Compose([Cutout(3)])) == "Compose(transforms=[Cutout(size=(3, 3), fill=0.0)])"


@pytest.mark.parametrize("change", EVERY[:-1], ids=repr)
@pytest.mark.parametrize(
    ("x", "rng", "message"),
    [
        (
            np.zeros((3, 8, 8)),
            new_rng(),
            r"expects images \(N, C, H, W\), got shape \(3, 8, 8\): .* x\[np.newaxis\]",
        ),
        (np.zeros((2, 3, 8, 8, 1)), new_rng(), r"expects images .*got shape \(2, 3, 8, 8, 1\)\."),
        (np.zeros((2, 64)), new_rng(), r"expects images \(N, C, H, W\), got shape \(2, 64\)\."),
        (
            np.zeros((2, 3, 8, 8), np.uint8),
            new_rng(),
            "expects floats in .* got dtype uint8: .*255",
        ),
        ([[1.0]], new_rng(), "'x' must be a NumPy array"),
        (np.zeros((2, 3, 8, 8)), 3, "'rng' must be a numpy.random.Generator, got 3"),
    ],
)
def test_refuses_what_is_no_batch_of_images(change, x, rng, message):
    with pytest.raises(ValueError, match=rf"\[{type(change).__name__}\] {message}"):
        change(x, rng)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomFlip("diagonal"), r"\[RandomFlip\] 'mode' must be one of .*'horizontal'"),
        (lambda: RandomFlip(p=1.1), r"\[RandomFlip\] 'p' must be a number in \[0, 1\], got 1.1"),
        (lambda: RandomCrop(0), r"\[RandomCrop\] 'size' must be positive, got 0"),
        (lambda: RandomCrop(8, -1), r"\[RandomCrop\] 'padding' must be at least 0, got -1"),
        (lambda: RandomCrop(8, 1, "wrap"), r"\[RandomCrop\] 'padding_mode' must be one of"),
        (lambda: RandomCrop(8, fill="2"), r"\[RandomCrop\] 'fill' must be a number, got '2'"),
        (lambda: RandomRotation(-5), r"\[RandomRotation\] 'degrees' must be a number of at least"),
        (lambda: RandomRotation((5, -5)), r"'degrees' must be .* pair \(low, high\) .*low <= high"),
        (lambda: RandomRotation((0, 1, 2)), r"'degrees' must be .* pair"),
        (lambda: RandomRotation((0, np.inf)), r"'degrees' must be .* pair"),
        (lambda: RandomRotation("10"), r"'degrees' must be .* pair"),
        (lambda: RandomRotation(3, fill=None), r"\[RandomRotation\] 'fill' must be a number"),
        (lambda: RandomAffine(translate=1), r"\[RandomAffine\] 'translate' must be .* \[0, 1\)"),
        (lambda: RandomAffine(scale=1), r"\[RandomAffine\] 'scale' must be above 0, got 1"),
        (lambda: RandomAffine(scale=(0, 1)), r"\[RandomAffine\] 'scale' must be above 0"),
        (lambda: RandomAffine(shear=90), r"\[RandomAffine\] 'shear' must be between -90"),
        (lambda: RandomAffine(fill=np.nan), r"\[RandomAffine\] 'fill' must be"),
        (lambda: ElasticDistortion(-1), r"\[ElasticDistortion\] 'alpha' must be a number of at"),
        (lambda: ElasticDistortion(1, 0), r"\[ElasticDistortion\] 'sigma' must be a positive"),
        (lambda: ElasticDistortion(fill=np.nan), r"\[ElasticDistortion\] 'fill' must be"),
        (lambda: RandomBrightness(-0.1), r"\[RandomBrightness\] 'factor' must be a number of at"),
        (lambda: RandomContrast(0.1, value_range=255), r"'value_range' must be a pair .*got 255"),
        (lambda: RandomContrast(0.1, value_range=(1, 1)), r"'value_range' must be .*got \(1, 1\)"),
        (lambda: RandomContrast((-1, 1)), r"\[RandomContrast\] 'factor' must not go below 0"),
        (lambda: RandomSaturation(np.nan), r"\[RandomSaturation\] 'factor' must be a number"),
        (lambda: Cutout(2.5), r"\[Cutout\] 'size' must be an integer or a pair"),
        (lambda: Cutout(2, fill=np.nan), r"\[Cutout\] 'fill' must be"),
        (lambda: Mixup(0), r"\[Mixup\] 'alpha' must be a positive number, got 0"),
        (lambda: Mixup(num_classes=0), r"\[Mixup\] 'num_classes' must be a positive integer"),
        (lambda: Compose(RandomFlip()), r"\[Compose\] 'transforms' must be a list"),
        (lambda: Compose([RandomFlip]), r"'transforms' must hold .* RandomFlip\(\), got <class"),
        (lambda: Compose([3]), r"\[Compose\] 'transforms' must hold functions .*, got 3"),
    ],
)
def test_refuses_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


FILLED = [RandomCrop(8, 1), RandomRotation(5), RandomAffine(5), ElasticDistortion(), Cutout(3)]


@pytest.mark.parametrize("change", FILLED, ids=lambda change: type(change).__name__)
def test_fill_is_of_the_range_of_the_images(change):
    change, name = copy.copy(change), type(change).__name__
    x = new_rng().random((2, 1, 8, 8))
    for fill, images in ((255, 254 * x), (-1, 2 * x - 1), (1, x), (0.5, x), (0, 3 + x)):
        change.fill = fill
        assert change(images, new_rng()).shape == x.shape
    for fill, images in ((2, x), (255, x), (-1, x), (255, 2 * x - 1), (-600, 255 * x)):
        change.fill = fill
        with pytest.raises(ValueError, match=rf"\[{name}\] 'fill' must be in the range of"):
            change(images, new_rng())


def test_a_subclass_defines_change():
    with pytest.raises(NotImplementedError, match=r"\[Augmentation\] must define change"):
        Augmentation()(np.zeros((1, 1, 2, 2)), new_rng())


# ------------------------------------------------------------------- pixels as they are, moved


@pytest.mark.parametrize("axis", [2, 3])
def test_flip_mirrors_some_images_and_leaves_the_others(axis, rng):
    x = rng.random((2000, 2, 3, 5))
    got = RandomFlip({3: "horizontal", 2: "vertical"}[axis], p=0.3)(x, new_rng())
    flipped = 0
    for image, before in zip(got, x, strict=True):
        mirrored = before[:, :, ::-1] if axis == 3 else before[:, ::-1]
        is_flipped = np.array_equal(image, mirrored)
        assert is_flipped or np.array_equal(image, before)
        flipped += is_flipped
    assert abs(flipped - 600) < 4 * math.sqrt(2000 * 0.3 * 0.7)


def test_flip_in_both_directions_draws_for_each():
    x = np.arange(4.0).reshape(1, 1, 2, 2).repeat(4000, axis=0) / 4
    got = RandomFlip("horizontal_and_vertical", p=0.25)(x, new_rng())
    found, counts = np.unique(got[:, 0].reshape(-1, 4) * 4, axis=0, return_counts=True)
    assert found.tolist() == [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]
    np.testing.assert_allclose(counts / 4000, [9 / 16, 3 / 16, 3 / 16, 1 / 16], atol=0.03)


def test_flip_always_and_never(images):
    np.testing.assert_array_equal(RandomFlip(p=1)(images, new_rng()), images[..., ::-1])
    np.testing.assert_array_equal(RandomFlip(p=0)(images, new_rng()), images)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_crop_takes_a_piece_of_the_padded_image_from_anywhere(mode, rng):
    x = rng.random((3000, 2, 4, 5))
    fill = {"constant_values": 0.25} if mode == "constant" else {}
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2)), mode, **fill)  # 6 x 9
    got = RandomCrop((4, 6), padding=(1, 2), padding_mode=mode, fill=0.25)(x, new_rng())
    assert got.shape == (3000, 2, 4, 6)
    places = np.zeros((3, 4))
    for piece, image in zip(got, padded, strict=True):
        matches = [
            (top, left)
            for top in range(3)
            for left in range(4)
            if np.array_equal(piece, image[:, top : top + 4, left : left + 6])
        ]
        assert len(matches) == 1
        places[matches[0]] += 1
    np.testing.assert_allclose(places / 3000, 1 / 12, atol=0.025)


def test_crop_without_room_is_the_identity(images):
    np.testing.assert_array_equal(RandomCrop(8)(images, new_rng()), images)


def test_crop_must_fit_into_the_padded_image(images):
    message = r"\[RandomCrop\] 'size' must not be larger than the images, with padding \(10, 10\)"
    for size in ((11, 8), (8, 11)):
        with pytest.raises(ValueError, match=rf"{message}, got \({size[0]}, {size[1]}\)"):
            RandomCrop(size, padding=1)(images, new_rng())
    RandomCrop(10, padding=1)(images, new_rng())


def test_quarter_turns_are_those_of_numpy_each_as_often(rng):
    x = rng.random((2000, 2, 3, 3))
    counts = [0] * 4
    for image, before in zip(RandomRotate90()(x, new_rng()), x, strict=True):
        matches = [k for k in range(4) if np.array_equal(image, np.rot90(before, k, (1, 2)))]
        assert len(matches) == 1
        counts[matches[0]] += 1
    np.testing.assert_allclose(np.array(counts) / 2000, 0.25, atol=0.05)


def test_quarter_turns_need_squares():
    with pytest.raises(ValueError, match=r"\[RandomRotate90\] expects square images, got 4 x 6"):
        RandomRotate90()(np.zeros((1, 1, 4, 6)), new_rng())


# --------------------------------------------------------------------------- between the pixels


def bilinear(image, row, col, fill):
    """Return the value of one channel (H, W) at a place, one pixel at a time."""

    def pixel(i, j):
        inside = 0 <= i < image.shape[0] and 0 <= j < image.shape[1]
        return float(image[i, j]) if inside else fill

    i, j = math.floor(row), math.floor(col)
    value = 0.0
    for di in (0, 1):
        for dj in (0, 1):
            weight = (row - i if di else 1 - row + i) * (col - j if dj else 1 - col + j)
            value += weight * pixel(i + di, j + dj)
    return value


def read_all(x, rows, cols, fill):
    out = np.empty(x.shape)
    for n, c, i, j in np.ndindex(*x.shape):
        out[n, c, i, j] = bilinear(x[n, c], float(rows[n, i, j]), float(cols[n, i, j]), fill)
    return out


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_bilinear_reading_against_loops(dtype, tolerance, rng):
    x = rng.random((3, 2, 4, 6)).astype(dtype)
    rows = rng.uniform(-3, 6, (3, 4, 6)).astype(dtype)
    cols = rng.uniform(-3, 8, (3, 4, 6)).astype(dtype)
    rows[0], cols[0] = rows[0].round(), cols[0].round()  # exactly on pixels, and far outside
    rows[1, 0], cols[1, 0] = [-1, 4, -0.5, 3.5, -1e9, 1e9], [0, 0, -1, 6, 2, 2]
    got = geometry.sample_bilinear(x, rows, cols, 0.3)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, read_all(x, rows, cols, 0.3), atol=tolerance)


def test_bilinear_reading_on_the_pixels_is_exact(images):
    rows, cols = np.mgrid[:8, :8].astype(np.float32)[:, np.newaxis].repeat(6, axis=1)
    before = rows.copy()
    got = geometry.sample_bilinear(images, rows, cols, 0.7)
    np.testing.assert_array_equal(got, images)
    np.testing.assert_array_equal(rows, before)


def moved(x, degrees, shear, scale, shift, fill):
    """Return images after shear, scale, rotation and shift, by solving for each pixel."""
    angle, lean = math.radians(degrees), math.tan(math.radians(shear))
    middle_row, middle_col = (x.shape[2] - 1) / 2, (x.shape[3] - 1) / 2
    rows, cols = np.empty((2, len(x), *x.shape[2:]))
    for n, i, j in np.ndindex(*rows.shape):
        down, right = i - middle_row - shift[0], j - middle_col - shift[1]
        # Turned back, clockwise; then made small again; then the lean taken away.
        back = (right - 1j * down) * complex(math.cos(angle), -math.sin(angle)) / scale
        row, col = -back.imag, back.real
        rows[n, i, j], cols[n, i, j] = row + middle_row, col - lean * row + middle_col
    return read_all(x, rows, cols, fill)


@pytest.mark.parametrize(
    ("degrees", "shear", "scale"),
    [(30, 0, 1), (-115, 0, 1), (0, 25, 1), (0, 0, 1.7), (0, 0, 0.6), (40, -20, 1.3)],
)
def test_affine_against_loops(degrees, shear, scale, rng):
    x = rng.random((2, 2, 5, 7))
    change = RandomAffine((degrees,) * 2, scale=(scale,) * 2, shear=(shear,) * 2, fill=0.4)
    expected = moved(x, degrees, shear, scale, (0, 0), 0.4)
    np.testing.assert_allclose(change(x, new_rng()), expected, atol=1e-12)
    single = change(x.astype(np.float32), new_rng())
    np.testing.assert_allclose(single, expected, atol=1e-5)
    if shear == 0 and scale == 1:
        rotation = RandomRotation((degrees, degrees), fill=0.4)
        np.testing.assert_allclose(rotation(x, new_rng()), expected, atol=1e-12)


def test_affine_shifts_against_loops(rng):
    x = rng.random((2, 1, 5, 7))
    shift = np.array([[1.25, -2.0], [-0.5, 3.0]])
    matrices = np.eye(2)[np.newaxis].repeat(2, axis=0)
    got = geometry.affine(x, matrices, shift, 0.0)
    for n in range(2):
        expected = moved(x[n : n + 1], 0, 0, 1, shift[n], 0.0)
        np.testing.assert_allclose(got[n : n + 1], expected, atol=1e-12)


@pytest.mark.parametrize("change", [RandomRotation(0), RandomAffine(), ElasticDistortion(0)])
@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (2, 3, 7, 4), (1, 1, 1, 1)])
def test_nothing_to_do_is_exactly_the_identity(change, shape, rng):
    for dtype in (np.float32, np.float64):
        x = rng.random(shape).astype(dtype)
        np.testing.assert_array_equal(change(x, new_rng()), x)


def test_rotation_by_quarter_turns_is_that_of_numpy(images):
    for k in range(-3, 5):
        got = RandomRotation((90 * k, 90 * k))(images, new_rng())
        np.testing.assert_allclose(got, np.rot90(images, k, (2, 3)), atol=1e-5)


def test_affine_draws_evenly_from_its_ranges():
    n, size = 4000, 21
    x = ramps(n, size, size)  # a pixel's value says from where it came
    change = RandomAffine(degrees=20, translate=0.1, scale=(0.8, 1.25), shear=(-10, 30))
    got = change(x, new_rng()) * size
    at, below, right = got[:, :, 10, 10], got[:, :, 11, 10], got[:, :, 10, 11]  # rows, columns
    inverse = np.stack([below - at, right - at], axis=2)  # (N, 2, 2)
    matrices = np.linalg.inv(inverse)
    angle = np.degrees(np.arctan2(-matrices[:, 0, 1], matrices[:, 1, 1]))
    scale = np.hypot(matrices[:, 0, 1], matrices[:, 1, 1])
    turned_back = augment.geometry.rotations(-np.radians(angle)) @ matrices
    shear = np.degrees(np.arctan(turned_back[:, 1, 0] / scale))
    shift = -np.einsum("nij,nj->ni", matrices, at - 10) / size
    for drawn, (low, high) in (
        (angle, (-20, 20)),
        (scale, (0.8, 1.25)),
        (shear, (-10, 30)),
        (shift[:, 0], (-0.1, 0.1)),
        (shift[:, 1], (-0.1, 0.1)),
    ):
        spread = high - low
        assert low - 1e-6 * spread <= drawn.min() < low + 0.01 * spread
        assert high - 0.01 * spread < drawn.max() <= high + 1e-6 * spread
        assert abs(drawn.mean() - (low + high) / 2) < 0.02 * spread
        assert abs(drawn.std() - spread / math.sqrt(12)) < 0.02 * spread
    drawn = np.stack([angle, scale, shear, *shift.T])
    assert abs(np.corrcoef(drawn) - np.eye(5)).max() < 0.06


def test_elastic_distortion_against_loops(rng):
    x, alpha, sigma = rng.random((2, 2, 6, 8)), 9.0, 1.2
    noise = new_rng().random((2, 2, 6, 8), dtype=np.float32).astype(float) * 2 - 1
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-20, 21)]
    fields = np.zeros((2, 2, 6, 8))
    for axis, n, i, j in np.ndindex(*fields.shape):
        for p, q in np.ndindex(6, 8):
            weight = weights[20 + i - p] * weights[20 + j - q] / sum(weights) ** 2
            fields[axis, n, i, j] += alpha * weight * noise[axis, n, p, q]
    assert fields.std() > 0.5
    rows, cols = fields[0] + np.arange(6)[:, np.newaxis], fields[1] + np.arange(8)
    got = ElasticDistortion(alpha, sigma, fill=0.2)(x, new_rng())
    np.testing.assert_allclose(got, read_all(x, rows, cols, 0.2), atol=1e-5)


def test_elastic_distortion_moves_digits_by_a_pixel_or_two():
    got = ElasticDistortion()(ramps(300, 28, 28), new_rng())
    moves = got[:, :, 10:18, 10:18] * 28 - np.mgrid[10:18, 10:18]
    # The variance of the noise, 1/3, falls by 1 / (4 pi sigma^2) where it is smoothed.
    expected = 34 * math.sqrt(1 / 3 / (4 * math.pi * 4**2))
    assert abs(moves.std() - expected) < 0.1 * expected
    assert abs(np.diff(moves, axis=3)).mean() < 0.3  # neighbours move together
    assert abs(np.corrcoef(moves[:, 0].ravel(), moves[:, 1].ravel())[0, 1]) < 0.1


# ------------------------------------------------------------------------- values of pixels


@pytest.mark.parametrize("make", [RandomBrightness, RandomContrast, RandomSaturation])
def test_factors_are_drawn_evenly(make):
    x = np.array([0.2, 0.3, 0.25, 0.4]).reshape(1, 1, 1, 4)
    x = (x * np.array([1, 0.5, 0.9]).reshape(1, 3, 1, 1)).repeat(3000, axis=0)
    other = {
        RandomBrightness: 0,
        RandomContrast: x.mean(axis=(2, 3), keepdims=True),
        RandomSaturation: np.tensordot(x, [0.299, 0.587, 0.114], (1, 0))[:, np.newaxis],
    }[make]
    for factor, (low, high) in ((0.4, (0.6, 1.4)), ((0.5, 0.9), (0.5, 0.9)), (1.5, (0, 2.5))):
        got = make(factor)(x, new_rng())
        inside = (got > 0) & (got < 1)
        difference = np.broadcast_to(x - other, x.shape)
        factors = np.where(inside & (abs(difference) > 0.01), (got - other) / difference, np.nan)
        drawn = np.nanmean(factors, axis=(1, 2, 3))
        expected = other + drawn.reshape(-1, 1, 1, 1) * (x - other)
        np.testing.assert_allclose(got, np.clip(expected, 0, 1), atol=1e-12)
        spread = high - low
        assert low - 1e-9 <= drawn.min() < low + 0.01 * spread
        assert high - 0.01 * spread < drawn.max() <= high + 1e-9
        assert abs(drawn.mean() - (low + high) / 2) < 0.03 * spread


def test_brightness_of_one_image():
    x = np.array([[[[0.0, 0.3, 0.8]]]], np.float32)
    got = RandomBrightness((1.5, 1.5))(x, new_rng())
    np.testing.assert_allclose(got, [[[[0.0, 0.45, 1.0]]]], rtol=1e-6)


def test_contrast_is_about_the_mean_of_each_channel():
    x = np.array([[[[0.2, 0.4]], [[0.0, 1.0]]]])
    got = RandomContrast((2, 2))(x, new_rng())
    np.testing.assert_allclose(got, [[[[0.1, 0.5]], [[0.0, 1.0]]]], atol=1e-12)


def test_saturation_of_one_pixel():
    x = np.array([0.8, 0.2, 0.4]).reshape(1, 3, 1, 1)
    grey = 0.299 * 0.8 + 0.587 * 0.2 + 0.114 * 0.4
    got = RandomSaturation((1.5, 1.5))(x, new_rng()).ravel()
    np.testing.assert_allclose(got, [1.2 - grey / 2, 0.3 - grey / 2, 0.6 - grey / 2], atol=1e-12)


@pytest.mark.parametrize("make", [RandomBrightness, RandomContrast, RandomSaturation])
def test_the_factor_1_changes_nothing(make, images):
    np.testing.assert_array_equal(make((1, 1))(images, new_rng()), images)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_saturation_needs_colours(channels):
    message = rf"\[RandomSaturation\] expects 3 channels .*, got {channels}"
    with pytest.raises(ValueError, match=message):
        RandomSaturation(0.5)(np.zeros((1, channels, 4, 4)), new_rng())


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 2), (8, 10)])
def test_cutout_covers_a_rectangle_about_any_pixel(size):
    n, rows, cols = 4000, 8, 10
    x = np.ones((n, 2, rows, cols), np.float32)
    got = Cutout(size, fill=0.25)(x, new_rng())
    expected = set()
    for row, col in np.ndindex(rows, cols):
        hole = np.ones((rows, cols), np.float32)
        for i, j in np.ndindex(rows, cols):
            down, right = i - row + size[0] // 2, j - col + size[1] // 2
            if 0 <= down < size[0] and 0 <= right < size[1]:
                hole[i, j] = 0.25
        expected.add(hole.tobytes())
    np.testing.assert_array_equal(got[:, 0], got[:, 1])
    assert {image[0].tobytes() for image in got} == expected
    # A pixel near the middle is covered as often as there are pixels in the hole.
    if max(size) < 6:
        share = (got[:, 0, 4, 5] == 0.25).mean()
        assert abs(share - size[0] * size[1] / 80) < 0.03


def test_cutout_must_fit_into_the_images():
    for size in (9, (8, 9), (9, 8)):
        with pytest.raises(ValueError, match=r"\[Cutout\] 'size' must not be larger than .*\(8, 8"):
            Cutout(size)(np.zeros((1, 1, 8, 8)), new_rng())


# -------------------------------------------------------------------------------- mixtures


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mixup_mixes_images_and_labels_in_the_same_shares(dtype, rng):
    x = np.eye(50, dtype=dtype).reshape(50, 1, 5, 10)  # a pixel of its own for each sample
    y = rng.integers(0, 4, 50)
    before = x.copy()
    mixed, rows = Mixup(alpha=1.0, num_classes=4)(x, y, new_rng())
    np.testing.assert_array_equal(x, before)
    assert mixed.dtype == rows.dtype == dtype
    shares = mixed.reshape(50, 50)
    partners = set()
    for n in range(50):
        found = np.flatnonzero(shares[n])
        assert n in found
        assert len(found) <= 2
        partners |= set(found) - {n} or {n}
        expected = np.zeros(4)
        for k in found:
            expected[y[k]] += shares[n, k]
        np.testing.assert_allclose(rows[n], expected, atol=1e-6)
    assert partners == set(range(50))
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_mixup_draws_shares_from_beta(alpha):
    x = np.arange(20000.0)[:, np.newaxis]
    mixed, y = Mixup(alpha)(x, x, new_rng())
    np.testing.assert_array_equal(mixed, y)
    partner = new_rng()
    partner.beta(alpha, alpha, 20000)
    partner = partner.permutation(20000)
    apart = partner != x[:, 0]
    shares = ((mixed[:, 0] - partner)[apart] / (x[:, 0] - partner)[apart]).clip(0, 1)
    assert abs(shares.mean() - 0.5) < 0.01
    variance = 1 / (4 * (2 * alpha + 1))  # of Beta(alpha, alpha)
    assert abs(shares.var() - variance) < 0.03 * variance


def test_mixup_takes_rows_and_numbers():
    x, labels = np.zeros((4, 2)), np.array([0, 1, 2, 1])
    expected = Mixup(num_classes=3)(x, labels, new_rng())[1]
    for rows in (np.eye(3)[labels], np.eye(3, dtype=int)[labels], np.eye(3, dtype=bool)[labels]):
        for mixup in (Mixup(), Mixup(num_classes=3)):
            np.testing.assert_array_equal(mixup(x, rows, new_rng())[1], expected)
    numbers = Mixup()(x, np.array([0.0, 1.0, 0.0, 1.0]), new_rng())[1]
    assert numbers.shape == (4,)
    assert ((numbers >= 0) & (numbers <= 1)).all()
    assert Mixup()(x, np.array([[0], [1], [0], [1]]), new_rng())[1].shape == (4, 1)


@pytest.mark.parametrize(
    ("mixup", "x", "y", "message"),
    [
        (Mixup(), np.zeros((2, 3)), [0, 1], "'num_classes' must be given for integer labels"),
        (Mixup(num_classes=3), np.zeros((2, 3)), [0, 3], r"'y' must be in 0..2, got 3"),
        (Mixup(num_classes=3), np.zeros((2, 3)), [-1, 0], r"'y' must be in 0..2, got -1"),
        (Mixup(num_classes=3), np.zeros((2, 3)), np.eye(2), "'num_classes' must be the 2 columns"),
        (Mixup(), np.zeros((2, 3)), np.eye(3), r"'y' must have a row for each of 2 samples"),
        (Mixup(), np.zeros((2, 3)), 1.0, r"'y' must have a row for each of 2 samples"),
        (Mixup(), np.zeros((2, 3)), None, "needs labels to mix, got None"),
        (Mixup(), np.zeros((2, 3), int), [0.0, 1.0], "expects floats in .* got dtype int64"),
    ],
)
def test_mixup_refuses_what_it_cannot_mix(mixup, x, y, message):
    with pytest.raises(ValueError, match=rf"\[Mixup\] {message}"):
        mixup(x, y, new_rng())
    with pytest.raises(ValueError, match=r"\[Mixup\] 'rng' must be"):
        mixup(np.zeros((2, 3)), np.eye(2), 3)


# --------------------------------------------------------------------------- several in a row


def test_compose_applies_one_after_the_other(images):
    parts = [RandomFlip(), RandomCrop(6), lambda x, rng: x * 0.5]
    rng = new_rng()
    expected = parts[1](parts[0](images, rng), rng) * np.float32(0.5)
    np.testing.assert_array_equal(Compose(parts)(images, new_rng()), expected)
    assert Compose([])(images, new_rng()) is images


def test_compose_hands_labels_through(images):
    y = np.arange(6)
    both = Compose([RandomFlip(), Compose([Mixup(num_classes=6)])])
    assert both.mixes_labels
    assert not Compose([RandomFlip()]).mixes_labels
    x, rows = both(images, y, new_rng())
    rng = new_rng()
    expected = Mixup(num_classes=6)(RandomFlip()(images, rng), y, rng)
    np.testing.assert_array_equal(x, expected[0])
    np.testing.assert_array_equal(rows, expected[1])


def test_compose_says_how_it_is_called(images):
    with pytest.raises(TypeError, match=r"\[Compose\] must be called as augment\(x, rng\), got 3"):
        Compose([RandomFlip()])(images, np.arange(6), new_rng())
    with pytest.raises(TypeError, match=r"\[Compose\] must be called as augment\(x, y, rng\)"):
        Compose([Mixup()])(images, new_rng())


# ----------------------------------------------------------------------------- in a dataset


@pytest.fixture
def dataset(rng):
    return Dataset(rng.integers(0, 256, (103, 3, 8, 8), dtype=np.uint8), np.arange(103) % 3)


EVERYTHING = Compose([*EVERY[:3], *EVERY[5:-1], Mixup(num_classes=3)])


@pytest.mark.parametrize("threads", [1, 4])
def test_two_epochs_do_not_depend_on_the_number_of_threads(dataset, threads):
    def run(num_threads):
        rng = new_rng()
        for _ in range(2):
            yield from dataset.batches(10, num_threads=num_threads, rng=rng, augment=EVERYTHING)

    for (x, y), (x0, y0) in zip(run(threads), run(0), strict=True):
        assert x.dtype == y.dtype == np.float32
        np.testing.assert_array_equal(x, x0)
        np.testing.assert_array_equal(y, y0)


def test_batches_with_mixed_labels(dataset):
    plain = dataset.batches(10, shuffle=False)
    batches = dataset.batches(
        10, shuffle=False, rng=new_rng(), augment=Mixup(num_classes=3), dtype="float64"
    )
    unchanged = 0
    for (x, y), (x0, labels) in zip(batches, plain, strict=True):
        assert x.dtype == y.dtype == np.float64
        assert x.shape == x0.shape
        assert y.shape == (len(labels), 3)
        np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-12)
        unchanged += (y == np.eye(3)[labels]).all(axis=1).sum()
    assert unchanged < 60  # a third has a partner of its own class
    assert dataset.y.tolist() == [k % 3 for k in range(103)]


def test_any_function_may_mix_labels(dataset):
    def negated(x, y, rng):
        return x, -y

    negated.mixes_labels = True
    for _, y in dataset.batches(10, shuffle=False, augment=negated):
        assert y.min() == -2


def test_mixing_without_what_it_needs_is_an_error_that_says_so(dataset):
    message = r"\[Dataset\] batch 0 of 11 could not be prepared: ValueError: \[Mixup\] 'num_classes"
    with pytest.raises(RuntimeError, match=message):
        next(dataset.batches(10, augment=Mixup()))
    with pytest.raises(RuntimeError, match=r"\[Mixup\] needs labels"):
        next(Dataset(dataset.x).batches(10, augment=Mixup()))
    weighted = Dataset(dataset.x, dataset.y, sample_weight=np.ones(103))
    with pytest.raises(ValueError, match=r"\[Dataset\] 'augment' must not mix labels"):
        weighted.batches(10, augment=Compose([Mixup(num_classes=3)]))
    assert len(next(weighted.batches(10, augment=RandomFlip()))) == 3


def test_fit_learns_from_mixed_labels(sample):
    x, y = sample[0].x[:600], sample[0].y[:600]

    def train(num_threads):
        layers = [nn.Flatten(input_shape=(1, 28, 28)), nn.Dense(32), nn.ReLU(), nn.Dense(10)]
        model = nn.Model(layers, seed=0)
        model.compile("cce", "adam", lr=3e-3)
        change = Compose([RandomCrop(28, padding=1), Mixup(0.2, num_classes=10)])
        model.fit(x, y, epochs=6, augment=change, num_threads=num_threads, verbose=0)
        return model

    model = train(0)
    assert model.history["acc"][-1] > 0.6
    assert model.evaluate(sample[1])["acc"] > 0.75
    np.testing.assert_array_equal(model.layers[1].params["W"], train(3).layers[1].params["W"])


# ----------------------------------------------------------------------------- a larger set


def test_expand_keeps_the_set_and_adds_augmented_copies(dataset):
    weights = np.arange(103.0)
    small = Dataset(dataset.x, dataset.y, weights, class_names=["a", "b", "c"])
    large = augment.expand(small, RandomFlip(p=1), 3, seed=1)
    assert large.x.dtype == np.uint8
    np.testing.assert_array_equal(large.x[:103], small.x)
    np.testing.assert_array_equal(large.x[103:206], small.x[..., ::-1])
    np.testing.assert_array_equal(large.x[206:], small.x[..., ::-1])
    np.testing.assert_array_equal(large.y, np.tile(small.y, 3))
    np.testing.assert_array_equal(large.sample_weight, np.tile(weights, 3))
    assert large.class_names == small.class_names


def test_expand_draws_anew_for_each_copy_and_repeats_for_a_seed(dataset):
    change = Compose([RandomCrop(8, padding=2), RandomBrightness(0.4)])
    first, again = (augment.expand(dataset, change, 3, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.x, again.x)
    assert not np.array_equal(first.x[103:206], first.x[206:])
    other = augment.expand(dataset, change, 3, seed=6)
    assert not np.array_equal(first.x[103:], other.x[103:])
    by_default = []
    for _ in range(2):
        nn.seed(3)
        by_default.append(augment.expand(dataset, change, 2).x)
    np.testing.assert_array_equal(*by_default)


def test_expand_rounds_to_bytes_and_keeps_floats(dataset):
    large = augment.expand(dataset, lambda x, rng: x * 1.3 - 0.11, 2, seed=0)
    expected = np.rint((dataset.x / 255 * 1.3 - 0.11).clip(0, 1) * 255)
    assert abs(large.x[103:].astype(int) - expected).max() <= 1
    assert (large.x[103:] == expected).mean() > 0.99
    for dtype in (np.float32, np.float64):
        floats = Dataset(dataset.x.astype(dtype), None)
        large = augment.expand(floats, lambda x, rng: x - 1000, 2, seed=0)
        assert large.x.dtype == dtype
        assert large.y is None
        np.testing.assert_array_equal(large.x, np.concatenate([floats.x, floats.x - 1000]))
    assert augment.expand(Dataset([[1], [2]]), lambda x, rng: x, 2).x.dtype == np.float32


def test_expand_by_1_is_a_copy(dataset):
    same = augment.expand(dataset, RandomFlip(), 1, seed=0)
    np.testing.assert_array_equal(same.x, dataset.x)
    assert not np.shares_memory(same.x, dataset.x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factor": 0}, "'factor' must be a positive integer, got 0"),
        ({"factor": 1.5}, "'factor' must be a positive integer"),
        ({"seed": -1}, "'seed' must be an integer of at least 0, got -1"),
        ({"augment": 3}, "'augment' must be a function that keeps the labels, got 3"),
        ({"augment": Mixup(num_classes=3)}, "'augment' must be a function that keeps the labels"),
        ({"augment": RandomCrop(6)}, r"'augment' must keep the shape \(3, 8, 8\), got \(3, 6, 6\)"),
        ({"dataset": np.zeros((3, 1, 4, 4))}, "'dataset' must be a Dataset"),
    ],
)
def test_expand_refuses_wrong_arguments(dataset, arguments, message):
    usual = {"dataset": dataset, "augment": RandomFlip(), "factor": 2, "seed": 0}
    with pytest.raises(ValueError, match=rf"\[expand\] {message}"):
        augment.expand(**{**usual, **arguments})


@pytest.mark.parametrize("make", [RandomBrightness, RandomContrast, RandomSaturation])
@pytest.mark.parametrize("value_range", [(0, 255), (-1, 1)])
def test_the_range_of_values_is_an_argument_and_is_checked(make, value_range):
    low, high = value_range
    x = new_rng().random((6, 3, 4, 4), dtype=np.float32)
    ours = make(0.5, value_range=value_range)(low + (high - low) * x, new_rng())
    np.testing.assert_allclose((ours - low) / (high - low), make(0.5)(x, new_rng()), atol=1e-5)
    with pytest.raises(ValueError, match=rf"{make.__name__}.* \[0, 1\], got .*value_range"):
        make(0.5)(low + (high - low) * x, new_rng())
    steps = Compose([RandomFlip(), make(0.5)])
    with pytest.raises(RuntimeError, match=r"batch 0 .*value_range"):
        list(Dataset(low + (high - low) * x).batches(3, augment=steps))
    make(0.5)(x + np.float32(1e-6), new_rng())  # rounding


# ----------------------------------------------------------------- what differs between epochs


def seen(model, x, y, augment, **settings):
    """Return the first pixel's column of each image, as 'fit' saw them, by epoch and label."""
    found = []

    def spy(images, rng):
        found.append(images.copy())
        return images

    model.fit(x, y, augment=Compose([augment, spy]), num_threads=0, verbose=0, **settings)
    return found


def test_alternating_flip_shows_both_forms_in_every_two_epochs(rng):
    x = rng.random((40, 1, 3, 4), dtype=np.float32)
    flip = AlternatingFlip()
    forms = [flip.for_epoch(epoch)(x, rng) for epoch in range(4)]
    flipped = [np.array([(a != b).any() for a, b in zip(form, x, strict=True)]) for form in forms]
    assert 8 < flipped[0].sum() < 32
    np.testing.assert_array_equal(flipped[1], ~flipped[0])
    np.testing.assert_array_equal(forms[2], forms[0])
    np.testing.assert_array_equal(forms[3], forms[1])
    for form, index in zip(forms, flipped, strict=True):
        np.testing.assert_array_equal(form[index], x[index, :, :, ::-1])


def test_alternating_flip_depends_on_the_image_alone(rng):
    x = rng.random((20, 3, 4, 4), dtype=np.float32)
    order = rng.permutation(20)
    whole = AlternatingFlip()(x, rng)
    np.testing.assert_array_equal(AlternatingFlip()(x[order], rng), whole[order])
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)  # other strides
    np.testing.assert_array_equal(AlternatingFlip()(last, rng), whole)


def test_fit_calls_for_epoch_also_inside_a_composition_and_when_it_resumes(rng, tmp_path):
    x, y = rng.random((12, 1, 4, 4), dtype=np.float32), np.arange(12) % 3
    settings = {"epochs": 4, "batch_size": 12, "shuffle": False}

    def network():
        model = nn.zoo.mlp((), input_shape=(1, 4, 4), num_classes=3, seed=0)
        model.compile("cce", "sgd")
        return model

    forms = seen(network(), x, y, AlternatingFlip(), **settings)
    assert len(forms) == 4
    for epoch, form in enumerate(forms):
        np.testing.assert_array_equal(form, AlternatingFlip(epoch)(x, rng))
    half = network()
    seen(half, x, y, AlternatingFlip(), **{**settings, "epochs": 3})
    half.save(tmp_path / "half.npz")
    rest = seen(network(), x, y, AlternatingFlip(), resume=tmp_path / "half.npz", **settings)
    assert len(rest) == 1
    np.testing.assert_array_equal(rest[0], forms[3])


def test_a_source_of_batches_is_augmented_by_the_epoch_too(rng):
    x, y = rng.random((8, 1, 4, 4), dtype=np.float32), np.arange(8) % 2
    model = nn.zoo.mlp((), input_shape=(1, 4, 4), num_classes=2, seed=0)
    model.compile("cce", "sgd")
    forms = []

    def spy(images, rng):
        forms.append(images.copy())
        return images

    model.fit([(x, y)], epochs=3, augment=Compose([AlternatingFlip(), spy]), verbose=0)
    for epoch, form in enumerate(forms):
        np.testing.assert_array_equal(form, AlternatingFlip(epoch)(x, rng))
    assert len(forms) == 3


def test_most_augmentations_are_the_same_in_all_epochs():
    flip = RandomFlip()
    assert flip.for_epoch(3) is flip
    assert Compose([flip, np.negative]).for_epoch(1).transforms == [flip, np.negative]
    with pytest.raises(ValueError, match=r"\[AlternatingFlip\] 'epoch' .* got -1"):
        AlternatingFlip(-1)


# ------------------------------------------------------------------------ progressive resizing


@pytest.mark.parametrize("size", [(4, 5), (8, 3), (1, 1), (7, 8)])
def test_resized_pixels_are_the_means_of_the_areas_they_cover(rng, size):
    x = rng.random((2, 3, 8, 9))
    found = ProgressiveResize([size])(x, rng)
    # Every pixel in pieces of 1 / size, so that the areas are whole numbers of pieces.
    pieces = np.repeat(np.repeat(x, size[0], axis=2), size[1], axis=3)
    expected = pieces.reshape(2, 3, size[0], 8, size[1], 9).mean((3, 5))
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert ProgressiveResize([size])(x.astype(np.float32), rng).dtype == np.float32


def test_progressive_resize_has_a_size_for_each_epoch(rng, tmp_path):
    x, y = rng.random((12, 1, 8, 8), dtype=np.float32), np.arange(12) % 3
    resize = ProgressiveResize([4, (6, 5), 8])
    settings = {"epochs": 4, "batch_size": 12, "shuffle": False}

    def network():
        layers = [nn.Conv2D(3, input_shape=(1, None, None)), nn.GlobalAvgPool2D(), nn.Dense(3)]
        model = nn.Model(layers, seed=0)
        model.compile("cce", "sgd")
        return model

    forms = seen(network(), x, y, resize, **settings)
    assert [form.shape[2:] for form in forms] == [(4, 4), (6, 5), (8, 8), (8, 8)]
    np.testing.assert_array_equal(forms[2], x)
    half = network()
    seen(half, x, y, resize, **{**settings, "epochs": 1})
    half.save(tmp_path / "half.npz")
    rest = seen(network(), x, y, resize, resume=tmp_path / "half.npz", **settings)
    assert [form.shape[2:] for form in rest] == [(6, 5), (8, 8), (8, 8)]
    np.testing.assert_array_equal(rest[0], forms[1])


def test_wrong_sizes_are_named(rng):
    for sizes, rule in (
        ([], "empty"),
        (8, "list"),
        ("8", "list"),
        ([0], "positive"),
        ([2.5], "int"),
    ):
        with pytest.raises(ValueError, match=rf"\[ProgressiveResize\] 'sizes' .*{rule}"):
            ProgressiveResize(sizes)
    with pytest.raises(
        ValueError, match=r"'sizes' .*larger than the images, \(8, 8\), got \(9, 4\)"
    ):
        ProgressiveResize([(9, 4)])(rng.random((1, 1, 8, 8)), rng)


MOVING = [RandomFlip(), AlternatingFlip(), RandomRotate90(), RandomCrop(8, padding=1)]
MOVING += [RandomAffine(), RandomRotation(9), ElasticDistortion(), ProgressiveResize([4, 8])]


@pytest.mark.parametrize("augment", MOVING, ids=lambda augment: type(augment).__name__)
def test_targets_of_pixels_are_not_left_behind_by_pixels_that_move(augment, rng):
    """The images moved and the classes of their pixels stayed, without a word."""
    x = rng.random((6, 1, 8, 8), dtype=np.float32)
    model = nn.Model([nn.Conv2D(2, 1, input_shape=(1, 8, 8))], seed=0)
    model.compile("cce")
    y, rule = (x[:, 0] > 0.5).astype(int), "'augment' must not move pixels if each pixel has a"
    both = Compose([lambda x, rng: x, augment])
    for moves in (augment, both):
        with pytest.raises(ValueError, match=rule):
            model.fit(x, y, augment=moves, verbose=0)
        with pytest.raises(ValueError, match=rule):
            model.fit(iter([(x, y)]), augment=moves, verbose=0)
        with pytest.raises(ValueError, match=rule):
            nn.data.augment.expand(Dataset(x, y), moves, 2)
    autoencoder = nn.Model([nn.Conv2D(1, 1, input_shape=(1, 8, 8))], seed=0)
    autoencoder.compile("mse")
    with pytest.raises(ValueError, match=rule):
        autoencoder.fit(x, x, augment=augment, verbose=0)
    autoencoder.fit(x, x, augment=RandomBrightness(0.1), verbose=0)  # a denoising autoencoder
    pooled = nn.Model([nn.GlobalAvgPool2D(input_shape=(1, None, None)), nn.Dense(2)], seed=0)
    pooled.compile("cce")
    pooled.fit(x, y[:, 0, 0], augment=augment, verbose=0)  # one class for each image


def test_a_function_that_moves_targets_too_is_called_with_them(rng):
    x = rng.random((40, 1, 8, 8), dtype=np.float32)
    y = (x[:, 0] > 0.5).astype(int)

    def flip(x, y, rng):
        flipped = rng.random(len(x)) < 0.5
        x[flipped], y[flipped] = x[flipped, ..., ::-1], y[flipped, ..., ::-1]
        return x, y

    flip.mixes_labels = True
    [(images, classes)] = Dataset(x, y).batches(40, augment=flip, rng=rng)
    np.testing.assert_array_equal(classes, images[:, 0] > 0.5)
    assert not np.array_equal(np.sort(images.ravel()), images.ravel())
    assert (images != images[..., ::-1]).any()
