"""Inputs that are hard for float32, against float64: outliers, large means, infinity, many rows."""

import numpy as np
import pytest

from nn import BatchNorm2D, Conv2D, GlobalAvgPool2D, GlobalMaxPool2D, LayerNorm, kernels, metrics
from nn.kernels import channels_first, channels_last, reference
from nn.kernels.cpu import tuned
from nn.losses import BinaryCrossentropy, CategoricalCrossentropy

COMPILED = kernels.compiled()
ROOMS = {"reference": reference, "tuned": tuned, "compiled": COMPILED}
SAME = ((1, 1), (1, 1))


@pytest.fixture(params=ROOMS)
def kernel(request):
    """Return a function that finds a kernel by its name, in each room in turn."""
    module = ROOMS[request.param]
    if module is None:
        pytest.skip("needs Numba (the extra 'fast')")
    return lambda name: getattr(module, name, getattr(reference, name))


def largest(difference):
    return float(np.abs(difference).max())


# ------------------------------------------------------------------------- normalization


def normalized(x, axis, eps=1e-5):
    x = x.astype("float64")
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + eps)


@pytest.mark.parametrize(
    ("spread", "outlier", "row", "count"),
    [
        (1, 1e3, 0, 300_000),
        (1e-3, 100, 0, 300_000),
        (1, 1e4, 0, 4096),
        (1, -1e4, 4095, 4096),
        (1, 1e9, 0, 50_000),
        (1e-3, 1e3, 150, 300),
        (1, 1e15, 257, 513),
    ],
)
def test_batch_norm_of_rows_with_an_outlier(kernel, spread, outlier, row, count, rng):
    x = (rng.normal(size=(count, 4)) * spread).astype("float32")
    x[row] = outlier
    one, zero = np.ones(4, "float32"), np.zeros(4, "float32")
    y, mean, variance = kernel("batch_norm")(x, one, zero, 1e-5)
    expected = normalized(x, 0)
    assert largest((y - expected) / np.maximum(np.abs(expected), 1)) < 5e-6
    exact = x.astype("float64")
    np.testing.assert_allclose(variance, exact.var(axis=0), rtol=1e-5)
    assert largest(mean - exact.mean(axis=0)) < 1e-5 * exact.std(axis=0).min()


def test_a_large_mean_costs_no_digits_of_the_variance(kernel, rng):
    x = (1e4 + rng.normal(size=(65_536, 4))).astype("float32")
    one, zero = np.ones(4, "float32"), np.zeros(4, "float32")
    y, mean, variance = kernel("batch_norm")(x, one, zero, 1e-5)
    np.testing.assert_allclose(variance, x.astype("float64").var(axis=0), rtol=1e-6)
    # What the mean loses by rounding to float32 is missing in each row.
    assert largest(y - normalized(x, 0)) < 1e-3
    y = kernel("batch_norm_inference")(x, one, zero, mean, variance, 1e-5)
    exact = (x.astype("float64") - mean) / np.sqrt(variance.astype("float64") + 1e-5)
    assert largest(y - exact) < 2e-6


@pytest.mark.parametrize(
    ("shape", "groups", "mean"),
    [((2, 65_536, 3), 3, 1e3), ((1, 5000, 4), 1, 1e4), ((3, 1, 999), 1, 1e4)],
)
def test_samples_with_a_large_mean(kernel, shape, groups, mean, rng):
    x = (mean + rng.normal(size=shape)).astype("float32")
    one, zero = np.ones(shape[2]), np.zeros(shape[2])
    exact, _, inv_std = reference.normalize_samples(x.astype("float64"), one, zero, groups, 1e-5)
    scales = one.astype("float32"), zero.astype("float32")
    x_hat, _, found = kernel("normalize_samples")(x, *scales, groups, 1e-5)
    assert largest(x_hat - exact) < 2e-7 * mean
    np.testing.assert_allclose(found, inv_std, rtol=1e-5)


def test_the_layer_normalizes_an_outlier_too(rng):
    x = rng.normal(size=(16, 4, 16, 16)).astype("float32")
    x[0, :, 0, 0] = 1e4
    y = BatchNorm2D().forward(x, training=True)
    assert largest(y - normalized(x, (0, 2, 3))) < 1e-4  # of 64


# ---------------------------------------------------------------------------- convolution


def convolutions(kernel, x, w, grad, padding=SAME):
    """Return the convolution and its gradients, in float64 too, and those of the magnitudes."""
    calls = (
        ("conv2d", (x, w, None)),
        ("conv2d_input_grad", (grad, w, x.shape)),
        ("conv2d_weight_grad", (grad, x, w.shape)),
    )
    for name, arguments in calls:
        exact = [a.astype("float64") if isinstance(a, np.ndarray) else a for a in arguments]
        sizes = [abs(a) if isinstance(a, np.ndarray) else a for a in exact]
        with np.errstate(invalid="ignore"):
            found = kernel(name)(*arguments, padding=padding)
            yield (
                name,
                found,
                *(getattr(reference, name)(*a, padding=padding) for a in (exact, sizes)),
            )


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e30, 1e6, -1e4])
@pytest.mark.parametrize("place", [(8, 8), (0, 0), (11, 3), slice(4, 5)], ids=str)
@pytest.mark.parametrize("where", ["x", "grad"])
def test_a_pixel_changes_only_what_it_is_part_of(kernel, where, place, value, rng):
    """Winograd's transformations would spread it over a tile."""
    arrays = {name: rng.normal(size=(3, 32, 12, 12)).astype("float32") for name in ("x", "grad")}
    w = (rng.normal(size=(32, 32, 3, 3)) * 0.05).astype("float32")
    at = (place, slice(None)) if isinstance(place, slice) else place
    arrays[where][1, 3][at] = value
    for name, found, exact, size in convolutions(kernel, arrays["x"], w, arrays["grad"]):
        finite = np.isfinite(exact)
        np.testing.assert_array_equal(np.isfinite(found), finite)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
        assert largest(((found - exact) / size)[finite]) < 2e-6, name


def test_a_patch_of_large_numbers_changes_only_what_it_is_part_of(kernel, rng):
    x = rng.normal(size=(4, 32, 16, 16)).astype("float32")
    x[0, :, 9:13, 9:13] *= 1e5
    w = (rng.normal(size=(32, 32, 3, 3)) * 0.05).astype("float32")
    for name, found, exact, size in convolutions(kernel, x, w, x):
        assert largest((found - exact) / size) < 2e-6, name


def test_a_large_weight_does_not_change_outputs_at_the_border(kernel, rng):
    """There it meets padding alone."""
    x = rng.normal(size=(16, 32, 8, 8)).astype("float32")
    w = (rng.normal(size=(32, 32, 3, 3)) * 0.05).astype("float32")
    w[4, 5, 0, 0] = 1e5
    _, y, exact, _ = next(convolutions(kernel, x, w, x))
    assert largest((y - exact)[:, 4, 0]) < 1e-4
    assert largest((y - exact)[:, 5]) < 1e-4


def test_the_layer_keeps_an_infinite_pixel_in_its_place(rng):
    x = rng.normal(size=(2, 32, 16, 16)).astype("float32")
    layer = Conv2D(32, kernel_initializer="he_normal")
    layer.build((None, 32, 16, 16))
    before = layer.forward(x, training=True)
    x[0, 5, 9, 9] = np.inf
    after = layer.forward(x, training=True)
    far = np.ones((2, 32, 16, 16), dtype=bool)
    far[0, :, 8:11, 8:11] = False
    np.testing.assert_allclose(after[far], before[far], atol=2e-5)
    assert np.isinf(after[~far]).all()
    grad = rng.normal(size=x.shape).astype("float32")
    layer.backward(grad)
    finite = np.isfinite(layer.grads["W"]).all(axis=(0, 2, 3))
    assert finite.sum() == 31  # of the channels
    assert not finite[5]


@pytest.mark.parametrize("kind", ["normal", "relu", "sparse", "strokes", "zeros", "small"])
def test_ordinary_images_take_the_fast_way(kind, rng):
    winograd = pytest.importorskip("nn.kernels.cpu.compiled.winograd")
    x = rng.normal(size=(8, 32, 32, 16)).astype("float32")
    if kind == "relu":
        x = np.maximum(x, 0)
    elif kind == "sparse":  # as the gradient of max pooling after ReLU
        x *= rng.random(size=x.shape) < 0.1
    elif kind == "strokes":
        x[:, :12] = x[:, 20:] = 1e-6
    elif kind == "zeros":
        x[:] = 0
    elif kind == "small":
        x *= np.float32(1e-36)
    assert all(winograd._is_even(image, winograd._bits(image)) for image in x)


# ----------------------------------------------------------------------------- long sums

# A million equal numbers, added one after the other in float32, lose two digits of each sum.
TENTH = np.float32(0.1)


@pytest.mark.skipif(COMPILED is None, reason="without Numba, BLAS sums in its own order")
def test_compiled_products_of_a_million_rows():
    a, b = np.full((1_000_000, 3), TENTH), np.ones((1_000_000, 5), dtype="float32")
    for left in (a.T, np.ascontiguousarray(a.T)):
        product = COMPILED.matmul(left, b)
        assert product.shape == (3, 5)
        np.testing.assert_allclose(product, 1e6 * float(TENTH), rtol=1e-4)


@pytest.mark.skipif(COMPILED is None, reason="without Numba, BLAS sums in its own order")
@pytest.mark.parametrize(
    ("channels", "kernel_size", "groups"), [(1, 3, 1), (16, 1, 1), (16, 3, 1), (2, 3, 2)]
)
def test_compiled_gradients_of_kernels_from_half_a_million_pixels(channels, kernel_size, groups):
    filters, half = max(channels, 2), kernel_size // 2
    x = np.full((2, channels, 512, 512), TENTH)
    grad = np.ones((2, filters, 512, 512), dtype="float32")
    shape, padding = (filters, channels // groups, kernel_size, kernel_size), ((half, half),) * 2
    dw = COMPILED.conv2d_weight_grad(grad, x, shape, padding=padding, groups=groups)
    np.testing.assert_allclose(dw[:, :, half, half], x[:, 0].size * float(TENTH), rtol=3e-4)


def test_means_of_a_million_pixels(kernel, rng):
    x = channels_first(np.full((1, 1000, 1000, 2), TENTH))
    np.testing.assert_allclose(GlobalAvgPool2D().forward(x), TENTH, rtol=2e-5)
    size = (200, 200)
    y = kernel("avg_pool2d")(x[:, :, :400, :400], size, size, ((0, 0), (0, 0)))
    np.testing.assert_allclose(y, TENTH, rtol=1e-6)


def test_sums_of_a_million_rows(kernel):
    sums = kernel("column_sums")(np.full((1_000_000, 3), TENTH))
    np.testing.assert_allclose(sums, 1e6 * float(TENTH), rtol=1e-5)


def test_gradient_of_the_scale_of_layer_norm_is_summed_over_many_rows():
    layer = LayerNorm()
    x = np.tile(np.array([-1, 1], dtype="float32"), (300_000, 1))
    layer.forward(x, training=True)
    layer.backward(np.full(x.shape, TENTH))
    np.testing.assert_allclose(layer.grads["beta"], 3e5 * float(TENTH), rtol=1e-5)
    np.testing.assert_allclose(layer.grads["gamma"], [-29999.85, 29999.85], rtol=1e-5)


# ---------------------------------------------------------------- large and small numbers


@pytest.mark.parametrize("size", [1e25, 1e-25])
def test_weight_norm_of_numbers_whose_squares_are_not_in_float32(size):
    v, g = np.full((4, 2), size, dtype="float32"), np.array([3, 5], dtype="float32")
    np.testing.assert_allclose(kernels.weight_norm(v, g, 1), np.tile(g / 2, (4, 1)), rtol=1e-6)


@pytest.mark.parametrize("targets", [[0, 2], [[1.0, 0, 0], [0, 0.5, 0.5]]])
def test_a_class_that_is_ruled_out_adds_nothing_to_the_cross_entropy(targets):
    """Its logit may be minus infinity, as in a mask, or so low that the difference overflows."""
    loss = CategoricalCrossentropy()
    logits = np.array([[0, -np.inf, 1], [-3e38, 0, 0]], dtype="float32")
    if np.ndim(targets) == 1:
        logits[1] = [-3e38, -3e38, 3e38]
    expected = [1.3132617, 0 if np.ndim(targets) == 1 else np.log(2)]
    assert loss.forward(logits, np.array(targets)) == pytest.approx(np.mean(expected), rel=1e-6)
    assert np.isfinite(loss.backward()).all()


def test_an_infinite_logit_on_the_side_of_its_target_adds_nothing_to_binary_cross_entropy():
    loss = BinaryCrossentropy()
    logits = np.array([[np.inf, -np.inf, 2, 1e4]], dtype="float32")
    expected = np.log1p(np.exp(-2)) / 4
    assert loss.forward(logits, np.array([[1, 0, 1, 1]])) == pytest.approx(expected, rel=1e-6)
    assert np.isfinite(loss.backward()).all()
    assert loss.forward(logits, np.array([[0, 0, 1, 1]])) == np.inf


def test_auc_orders_probabilities_that_are_nearly_1():
    scores = np.array([[1, 1e-9], [1, 1e-8], [1, 1e-10], [1, 1e-7]], dtype="float32")
    assert metrics.auc([0, 1, 0, 1], scores) == 1


def test_r2_of_a_constant_target_is_0_whatever_rounding_leaves():
    """The mean of a thousand 0.1 is not quite 0.1."""
    assert metrics.r2(np.full(1000, 0.1), np.full(1000, 0.2)) == 0
    assert metrics.r2(np.full(1000, 0.1), np.full(1000, 0.1)) == 1
    y = 1e6 + np.arange(1000) * 1e-6
    assert metrics.r2(y, y + 1e-7) == pytest.approx(1 - 1.2e-7, abs=1e-8)


# -------------------------------------------------------------------------------- pooling


def test_an_infinite_gradient_reaches_the_maximum_alone(kernel):
    x = np.arange(16, dtype="float32").reshape(1, 1, 4, 4)
    pool = ((2, 2), (2, 2), ((0, 0), (0, 0)))
    _, index = kernel("max_pool2d")(x, *pool)
    grad = np.array([[[[np.inf, 1], [2, 3]]]], dtype="float32")
    dx = channels_last(kernel("max_pool2d_grad")(grad, index, x.shape, *pool))[0, :, :, 0]
    expected = np.zeros((4, 4), dtype="float32")
    expected[1::2, 1::2] = grad[0, 0]
    np.testing.assert_array_equal(dx, expected)


def test_an_infinite_gradient_of_global_pooling_reaches_the_maximum_alone():
    layer = GlobalMaxPool2D()
    layer.forward(np.arange(4, dtype="float32").reshape(1, 1, 2, 2), training=True)
    dx = layer.backward(np.array([[np.inf]], dtype="float32"))
    np.testing.assert_array_equal(dx, [[[[0, 0], [0, np.inf]]]])
