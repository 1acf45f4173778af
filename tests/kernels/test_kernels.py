"""The kernels against the loops of `nn.naive`, published vectors and float64."""

import math
import tracemalloc

import loops
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nn import kernels
from nn.kernels import reference, tiles
from nn.kernels.cpu import tuned

ONE = (1, 1)
NONE = ((0, 0), (0, 0))
ROOMS = [room for room in (reference, tuned, kernels.compiled()) if room is not None]


@st.composite
def geometries(draw, pooling=False):
    """A small image, a kernel and strides, paddings, dilations and groups that fit it."""
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = ONE if pooling else draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    size = draw(st.tuples(st.integers(1, 8), st.integers(1, 7)))
    most = [min(k - 1, 2) if pooling else 2 for k in kernel]
    explicit = st.tuples(st.integers(0, most[0]), st.integers(0, most[1]))
    padding = draw(st.one_of(st.sampled_from(["same", "valid"]), explicit))
    padding = kernels.resolve_padding(padding, size, kernel, stride, dilation)
    # Where the kernel does not fit, the image grows.
    size = tuple(
        max(n, d * (k - 1) + 1 - sum(p))
        for n, d, k, p in zip(size, dilation, kernel, padding, strict=True)
    )
    groups = 1 if pooling else draw(st.sampled_from([1, 1, 2, 3]))
    n, c, f = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    order = draw(st.sampled_from(["contiguous", "channels_last", "strided"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    x = in_order(rng.normal(size=(n, c * groups, *size)), order)
    return x, (f * groups, c, *kernel), kernel, stride, padding, dilation, groups, rng


def in_order(x, order):
    """Return the same array with another memory layout."""
    if order == "channels_last":
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    if order == "strided":
        return np.repeat(x, 2, axis=3)[..., ::2]
    return x


@given(geometries(), st.booleans(), st.sampled_from([1, 10**9]))
def test_convolution_equals_seven_loops(geometry, bias, tile_bytes):
    x, w_shape, _, stride, padding, dilation, groups, rng = geometry
    w = rng.normal(size=w_shape)
    b = rng.normal(size=w_shape[0]) if bias else None
    options = (stride, padding, dilation, groups)
    before = tiles._TILE_BYTES_CPU
    tiles._TILE_BYTES_CPU = tile_bytes  # a sample a tile, or all in one
    try:
        for room in ROOMS:
            loops.check_convolution(room, x, w, b, options, rng)
    finally:
        tiles._TILE_BYTES_CPU = before


@pytest.mark.parametrize(
    ("w_shape", "stride", "padding", "dilation", "groups"),
    [
        ((3, 6, 2, 3), ONE, NONE, ONE, 1),
        ((3, 6, 2, 3), (2, 1), ((1, 0), (0, 2)), ONE, 1),
        ((3, 6, 2, 2), (1, 2), NONE, (2, 1), 1),
        ((3, 6, 2, 2), ONE, ((1, 1), (2, 0)), (1, 2), 1),
        ((4, 6, 2, 2), (2, 1), NONE, ONE, 2),
        ((4, 6, 3, 1), ONE, NONE, (2, 2), 2),
        ((3, 6, 1, 1), ONE, NONE, ONE, 1),
        ((3, 6, 1, 1), (1, 2), NONE, ONE, 1),
        ((4, 6, 1, 1), ONE, NONE, ONE, 2),
        ((2, 5, 2, 2), ONE, NONE, ONE, 1),
    ],
)
def test_convolution_of_many_channels(rng, w_shape, stride, padding, dilation, groups):
    """Five channels and more are copied otherwise than few are."""
    options = (stride, padding, dilation, groups)
    x, w = rng.normal(size=(2, w_shape[1] * groups, 5, 6)), rng.normal(size=w_shape)
    for room in ROOMS:
        loops.check_convolution(room, x, w, None, options, rng)


@pytest.mark.parametrize("side", [(6, 0), (0, 6), (9, 9)])
def test_convolution_with_strides_that_step_over_the_image(rng, side):
    """Outputs that saw nothing but padding have no part in the gradients."""
    x, w = rng.normal(size=(2, 3, 4, 1)), rng.normal(size=(5, 3, 2, 2))
    for room in ROOMS:
        loops.check_convolution(room, x, w, None, ((2, 7), ((1, 1), side), ONE, 1), rng)


def test_products_of_matrices_that_numpy_must_look_at(rng):
    a, b = rng.normal(size=(3, 4)), rng.normal(size=(4, 3))
    assert tuned.matmul(a.astype("f4"), b).dtype == np.float64
    np.testing.assert_allclose(tuned.matmul(a, b), np.einsum("ij,jk->ik", a, b), rtol=1e-13)
    for wrong in (b.T, b[:2]):
        with pytest.raises(ValueError, match="mismatch"):
            tuned.matmul(a, wrong)


def test_convolution_published_vector():
    x = loops.linspace(-0.1, 0.5, (2, 3, 4, 4))
    w = loops.linspace(-0.2, 0.3, (3, 3, 4, 4))
    b = np.linspace(-0.1, 0.2, 3)
    y = kernels.conv2d(x, w, b, (2, 2), ((1, 1), (1, 1)))
    np.testing.assert_allclose(y.ravel()[:2], [-0.08759809, -0.10987781], atol=1e-7)
    np.testing.assert_allclose(y.ravel()[-1], 2.38247847, atol=1e-7)


@given(geometries(pooling=True))
def test_max_pooling_equals_loops(geometry):
    x, _, pool, stride, padding, _, _, rng = geometry
    x = np.round(x)  # equal values: the first in reading order wins
    expected, winner = loops.max_pool2d(x, pool, stride, padding)
    grad = rng.normal(size=expected.shape)
    expected_dx = loops.max_pool2d_grad(grad, winner, x)
    for room in ROOMS:
        y, index = room.max_pool2d(x, pool, stride, padding)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(index, winner[0])
        y, nothing = room.max_pool2d(x, pool, stride, padding, keep_index=False)
        np.testing.assert_array_equal(y, expected)
        assert nothing is None
        dx = room.max_pool2d_grad(grad, index, x.shape, pool, stride, padding)
        np.testing.assert_allclose(dx, expected_dx, atol=1e-12)


def test_max_pooling_published_vector():
    x = loops.linspace(-0.3, 0.4, (2, 3, 4, 4))
    y, _ = kernels.max_pool2d(x, (2, 2), (2, 2), NONE)
    np.testing.assert_allclose([y.ravel()[0], y.ravel()[-1]], [-0.26315789, 0.4], atol=1e-7)


def test_max_pooling_of_a_window_with_more_than_256_cells():
    x = np.arange(400.0).reshape(1, 1, 20, 20)
    _, index = kernels.max_pool2d(x, (20, 20), (1, 1), NONE)
    assert index.item() == 399


@given(geometries(pooling=True))
def test_average_pooling_equals_loops(geometry):
    x, _, pool, stride, padding, _, _, rng = geometry
    expected, count = loops.avg_pool2d(x, pool, stride, padding)
    grad = rng.normal(size=expected.shape)
    expected_dx = loops.avg_pool2d_grad(grad, x, pool, stride, padding, count)
    for room in (reference, tuned):
        y = room.avg_pool2d(x, pool, stride, padding)
        np.testing.assert_allclose(y, expected, atol=1e-12)
        dx = room.avg_pool2d_grad(grad, x.shape, pool, stride, padding)
        np.testing.assert_allclose(dx, expected_dx, atol=1e-12)


@pytest.mark.parametrize(
    ("pool", "stride"),
    [((2, 3), (1, 3)), ((3, 2), (3, 1)), ((2, 3), (3, 2)), ((3, 1), (1, 2)), ((2, 2), (3, 2))],
)
def test_windows_that_overlap_along_one_axis(rng, pool, stride):
    x = rng.normal(size=(2, 3, 7, 8))
    y, count = loops.avg_pool2d(x, pool, stride, NONE)
    grad = rng.normal(size=y.shape)
    expected = loops.avg_pool2d_grad(grad, x, pool, stride, NONE, count)
    dx = tuned.avg_pool2d_grad(grad, x.shape, pool, stride, NONE)
    np.testing.assert_allclose(dx, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (28, 3, 1, (1, 1)),
        (28, 2, 1, (0, 1)),
        (7, 3, 2, (1, 1)),
        (8, 3, 2, (0, 1)),
        (5, 1, 3, (0, 0)),
    ],
)
def test_same_padding_puts_the_odd_pixel_at_the_end(size, kernel, stride, expected):
    padding = kernels.resolve_padding("same", (size,) * 2, (kernel,) * 2, (stride,) * 2)
    assert padding == (expected, expected)
    out = kernels.output_size((size,) * 2, (kernel,) * 2, (stride,) * 2, padding)
    assert out == (math.ceil(size / stride),) * 2


@pytest.mark.parametrize("order", ["contiguous", "channels_last", "strided"])
def test_kernels_return_channels_last_memory(rng, order):
    x = in_order(rng.normal(size=(2, 3, 4, 6)), order)
    w = rng.normal(size=(5, 3, 3, 3))
    y = kernels.conv2d(x, w, None)
    results = [
        y,
        kernels.conv2d_input_grad(y, w, x.shape),
        kernels.max_pool2d(x, (2, 2), ONE, NONE)[0],
    ]
    for result in results:
        assert result.transpose(0, 2, 3, 1).flags.c_contiguous


def test_rows_and_back(rng):
    x = rng.normal(size=(2, 3, 4, 5))
    rows = kernels.to_rows(x)
    assert rows.shape == (40, 3)
    np.testing.assert_array_equal(rows[1], x[0, :, 0, 1])
    np.testing.assert_array_equal(kernels.from_rows(rows, x.shape), x)


def test_column_sums_keep_their_digits(rng):
    rows = rng.random((4_000_003, 2), dtype="float32") + 10
    exact = rows.sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(kernels.column_sums(rows), exact, rtol=5e-7)
    assert kernels.column_sums(rows).dtype == np.float32
    assert kernels.column_sums(rows[:0]).tolist() == [0, 0]


def test_batch_norm_of_a_large_mean_keeps_its_digits(rng):
    rows = (rng.normal(size=(50_000, 2)) + 1000).astype("float32")
    y, mean, variance = kernels.batch_norm(rows, np.ones(2, "f4"), np.zeros(2, "f4"), 1e-5)
    exact = rows.astype("float64")
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(variance, exact.var(axis=0), rtol=1e-4)
    np.testing.assert_allclose(y, (exact - exact.mean(0)) / exact.std(0), atol=1e-3)


def test_batch_norm_by_given_statistics(rng):
    x, gamma, beta, mean = rng.normal(size=(24, 3)), *rng.normal(size=(3, 3))
    variance = rng.random(3)
    y = tuned.batch_norm_inference(x, gamma, beta, mean, variance, 1e-3)
    expected = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    assert y.shape == x.shape


def test_normal_cdf_to_the_last_digits():
    x = np.linspace(-12, 12, 2001)
    exact = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x])
    np.testing.assert_allclose(kernels.normal_cdf(x), exact, rtol=1e-13)
    assert kernels.normal_cdf(np.array([-1e4, 1e4])).tolist() == [0.0, 1.0]
    single = kernels.normal_cdf(x.astype("float32"))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, exact, atol=2e-7)


def test_normal_pdf_is_the_slope_of_the_cdf():
    x = np.linspace(-3, 3, 13)
    slope = (kernels.normal_cdf(x + 1e-5) - kernels.normal_cdf(x - 1e-5)) / 2e-5
    np.testing.assert_allclose(kernels.normal_pdf(x), slope, rtol=1e-8)


def test_sigmoid_and_softmax_far_out():
    x = np.array([-1e4, -800.0, 0.0, 800.0, 1e4])
    np.testing.assert_array_equal(kernels.sigmoid(x), [0, 0, 0.5, 1, 1])
    np.testing.assert_array_equal(kernels.softmax(x[None])[0], [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(kernels.log_softmax(x[None])[0], x - 1e4)


@pytest.mark.parametrize("function", [kernels.softmax, kernels.log_softmax])
def test_softmax_is_along_the_last_axis(rng, function):
    x = rng.normal(size=(2, 3, 4, 5))
    rows = function(x.reshape(-1, 5))
    np.testing.assert_allclose(function(x), rows.reshape(x.shape), rtol=1e-14)


@pytest.mark.parametrize("function", [kernels.sigmoid, kernels.softmax, kernels.log_softmax])
def test_functions_keep_float32(rng, function):
    assert function(rng.normal(size=(2, 3)).astype("float32")).dtype == np.float32


def test_dropout_mask_has_the_share_and_the_layout(rng):
    x = in_order(np.zeros((20, 10, 10, 5), dtype="float32"), "channels_last")
    mask = kernels.dropout_mask(x, 0.3, rng)
    assert mask.dtype == bool
    assert mask.strides == tuple(s // 4 for s in x.strides)
    assert abs(mask.mean() - 0.7) < 0.02
    assert kernels.dropout_mask(np.zeros((2, 3)), 0.0, rng).all()


@pytest.mark.parametrize("kernel", ["forward", "input", "weight"])
def test_convolution_never_builds_the_patches_of_the_batch(rng, kernel):
    x = rng.random((64, 16, 32, 32), dtype="float32")  # its patches would fill 37.7 MB
    w = rng.random((8, 16, 3, 3), dtype="float32")
    pad = ((1, 1), (1, 1))
    y = kernels.conv2d(x, w, None, ONE, pad)
    calls = {
        "forward": lambda: kernels.conv2d(x, w, None, ONE, pad),
        "input": lambda: kernels.conv2d_input_grad(y, w, x.shape, ONE, pad),
        "weight": lambda: kernels.conv2d_weight_grad(y, x, w.shape, ONE, pad),
    }
    tracemalloc.start()
    try:
        calls[kernel]()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12e6  # the result, a channels-last copy of the input, and a few tiles
