"""The loops of nn.naive: by hand, against measured slopes, and with the quick kernels beside them.

Convolution and window pooling are drawn in many geometries in test_kernels.py, which takes its
references from here by way of loops.py.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nn
from nn import kernels, naive
from nn.inspect.gradcheck import numerical_gradient, relative_error

PAD1 = ((1, 1), (1, 1))
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
sides = st.tuples(st.integers(0, 2), st.integers(0, 2))
seeds = st.integers(0, 2**16)


def square(*rows):
    """Return one image of one channel."""
    return np.array([[rows]], dtype=float)


# ---------------------------------------------------------------------------------- by hand


def test_convolution_by_hand():
    x, w = square([1, 2, 3], [4, 5, 6], [7, 8, 9]), square([1, 10], [100, 1000])
    y = naive.conv2d_naive(x, w, [0.5])
    # 1*1 + 10*2 + 100*4 + 1000*5, and so on
    assert y.tolist() == [[[[5421.5, 6532.5], [8754.5, 9865.5]]]]
    y = naive.conv2d_naive(x, w, None, stride=(2, 1), padding=((1, 0), (0, 1)))
    assert y.tolist() == [[[[2100, 3200, 300], [8754, 9865, 906]]]]
    y = naive.conv2d_naive(x, w, None, dilation=(2, 2))
    assert y.tolist() == [[[[1 + 30 + 700 + 9000]]]]


def test_a_group_of_filters_sees_its_own_channels():
    x = np.array([1.0, 10.0, 100.0, 1000.0]).reshape(1, 4, 1, 1)
    w = np.array([[1, 1], [1, 2], [1, 1], [3, 1]], dtype=float).reshape(4, 2, 1, 1)
    assert naive.conv2d_naive(x, w, None, groups=2).ravel().tolist() == [11, 21, 1100, 1300]
    mixed = np.arange(1.0, 5.0).reshape(1, 4, 1, 1)
    assert naive.conv2d_naive(x, mixed, [1.0]).item() == 4322  # 1 + 1*1 + 2*10 + 3*100 + 4*1000


def test_gradients_of_convolution_by_hand():
    x, w = square([1, 2, 3]), square([10, 20])
    dx, dw, db = naive.conv2d_backward_naive(square([1, 100]), x, w)
    assert dx.tolist() == [[[[10, 20 + 1000, 2000]]]]
    assert dw.tolist() == [[[[1 + 200, 2 + 300]]]]
    assert db.tolist() == [101]


def test_depthwise_convolution_by_hand():
    x = np.array([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    w = np.array([[1, 1], [1, -1], [2, 1], [0, 1]], dtype=float).reshape(4, 1, 1, 2)
    y = naive.depthwise_conv2d_naive(x, w, [0, 0, 0, 0.5])
    assert y.ravel().tolist() == [3, -1, 10, 4.5]


def test_transposed_convolution_by_hand():
    x, w = square([1, 2], [3, 4]), square([1, 10], [100, 1000])
    apart = naive.conv2d_transpose_naive(x, w, None, stride=(2, 2))
    assert apart[0, 0].tolist() == [
        [1, 10, 2, 20],
        [100, 1000, 200, 2000],
        [3, 30, 4, 40],
        [300, 3000, 400, 4000],
    ]
    overlapping = naive.conv2d_transpose_naive(x, w, [0.5])
    assert overlapping[0, 0, 1].tolist() == [103.5, 1000 + 200 + 30 + 4.5, 2040.5]
    cut = naive.conv2d_transpose_naive(
        x, w, None, stride=(2, 2), padding=((1, 0), (0, 2)), output_padding=(0, 1)
    )
    assert cut[0, 0].tolist() == [[100, 1000, 200], [3, 30, 4], [300, 3000, 400]]
    longer = naive.conv2d_transpose_naive(x, w, [7.0], stride=(2, 2), output_padding=(1, 0))
    assert longer[0, 0, 4].tolist() == [7, 7, 7, 7]


def test_poolings_by_hand():
    x = square([1, 5, 5], [2, 3, 4])
    y, index = naive.max_pool2d_naive(x, (2, 2), (1, 1))
    assert y.tolist() == [[[[5, 5]]]]
    assert index.tolist() == [[[[1], [0]]]]  # of the two fives the first
    dx = naive.max_pool2d_backward_naive(square([1, 10]), index, x.shape, (2, 2), (1, 1))
    assert dx.tolist() == [[[[0, 11, 0], [0, 0, 0]]]]
    y, index = naive.max_pool2d_naive(-x, (2, 2), (2, 2), ((0, 0), (1, 0)))
    assert y.tolist() == [[[[-1, -3]]]]  # never the padding
    assert index.ravel().tolist() == [1, 2]
    y = naive.avg_pool2d_naive(x, (2, 2), (2, 2), ((0, 0), (1, 0)))
    assert y.tolist() == [[[[1.5, 17 / 4]]]]
    dx = naive.avg_pool2d_backward_naive(square([2, 4]), x.shape, (2, 2), (2, 2), ((0, 0), (1, 0)))
    assert dx.tolist() == [[[[1, 1, 1], [1, 1, 1]]]]


def test_a_window_of_nothing_but_padding():
    x, around = np.ones((1, 1, 1, 1)), ((0, 0), (2, 0))
    assert naive.avg_pool2d_naive(x, (1, 1), (1, 1), around).ravel().tolist() == [0, 0, 1]
    dx = naive.avg_pool2d_backward_naive(np.ones((1, 1, 1, 3)), x.shape, (1, 1), (1, 1), around)
    assert dx.item() == 1
    y, index = naive.max_pool2d_naive(x, (1, 1), (1, 1), around)
    assert y.ravel().tolist() == [-math.inf, -math.inf, 1]
    grad = np.ones(y.shape)
    dx = naive.max_pool2d_backward_naive(grad, index, x.shape, (1, 1), (1, 1), around)
    assert dx.item() == 1


def test_batch_normalisation_by_hand():
    y, mean, variance = naive.batchnorm_naive([[1, 0], [3, 0]], [2, 1], [0, 5], eps=3.0)
    assert (mean.tolist(), variance.tolist()) == ([2, 0], [1, 0])
    assert y.tolist() == [[-1, 5], [1, 5]]  # (1 - 2) / sqrt(1 + 3) * 2
    dx, dgamma, dbeta = naive.batchnorm_backward_naive(
        [[1.0, 1.0], [0.0, 0.0]], [[1, 0], [3, 0]], [2, 1], mean, variance, eps=3.0
    )
    # g - mean(g) = 1/2, -1/2; x_hat = -1/2, 1/2; mean(g * x_hat) = -1/4; times gamma / std = 1
    np.testing.assert_allclose(dx[:, 0], [1 / 2 - 1 / 8, -1 / 2 + 1 / 8], rtol=1e-14)
    np.testing.assert_allclose(dx[:, 1], np.array([1, -1]) / 2 / math.sqrt(3), rtol=1e-14)
    assert dgamma.tolist() == [-0.5, 0]
    assert dbeta.tolist() == [1, 1]


def test_dense_by_hand():
    x, w = [[1, 2], [3, 4]], [[1, 0, 2], [0, 1, 3]]
    assert naive.dense_naive(x, w, [0, 0, 1]).tolist() == [[1, 2, 9], [3, 4, 19]]
    dx, dw, db = naive.dense_backward_naive([[1, 0, 0], [0, 1, 10]], x, w)
    assert dx.tolist() == [[1, 0], [20, 31]]
    assert dw.tolist() == [[1, 3, 30], [2, 4, 40]]
    assert db.tolist() == [1, 1, 10]


def test_cross_entropy_by_hand():
    logits = np.log([[1.0, 3.0], [1.0, 1.0]])  # p is 1/4, 3/4 and 1/2, 1/2
    loss = naive.softmax_cross_entropy_naive(logits, [0, 1])
    assert loss == pytest.approx((math.log(4) + math.log(2)) / 2, rel=1e-14)
    dz = naive.softmax_cross_entropy_backward_naive(logits, [0, 1])
    np.testing.assert_allclose(dz, [[-3 / 8, 3 / 8], [1 / 4, -1 / 4]], rtol=1e-14)


def test_whatever_comes_the_loops_compute_in_float64_and_change_nothing():
    x = np.full((1, 1, 1, 2), 0.1, dtype="float32")
    w, b = np.ones((1, 1, 1, 2), dtype="uint8"), np.array([True])
    y = naive.conv2d_naive(x, w, b)
    assert y.dtype == np.float64
    assert y.item() == float(np.float32(0.1)) * 2 + 1
    assert (x == np.float32(0.1)).all() and (w == 1).all()


# ------------------------------------------------------------------- against measured slopes


@pytest.mark.parametrize(
    ("w_shape", "stride", "padding", "dilation", "groups"),
    [
        ((2, 4, 2, 3), (1, 1), PAD1, (1, 1), 1),
        ((4, 2, 3, 1), (2, 1), ((0, 2), (1, 0)), (1, 2), 2),
        ((4, 1, 2, 2), (1, 2), ((0, 0), (0, 0)), (2, 1), 4),
    ],
)
def test_slopes_of_convolution(rng, w_shape, stride, padding, dilation, groups):
    x, w, b = rng.normal(size=(2, 4, 4, 3)), rng.normal(size=w_shape), rng.normal(size=w_shape[0])
    geometry = (stride, padding, dilation, groups)
    grad = rng.normal(size=naive.conv2d_naive(x, w, b, *geometry).shape)
    gradients = naive.conv2d_backward_naive(grad, x, w, *geometry)
    for array, gradient in zip((x, w, b), gradients, strict=True):
        measured = numerical_gradient(
            lambda: float((naive.conv2d_naive(x, w, b, *geometry) * grad).sum()), array
        )
        assert relative_error(gradient, measured) < 1e-8


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_slopes_of_pooling(rng, kind):
    x = rng.permutation(np.arange(24.0)).reshape(2, 1, 4, 3)
    geometry = ((2, 3), (1, 2), ((1, 0), (1, 1)))
    forward = getattr(naive, f"{kind}_pool2d_naive")
    backward = getattr(naive, f"{kind}_pool2d_backward_naive")
    result = forward(x, *geometry)
    y, kept = result if kind == "max" else (result, None)
    grad = rng.normal(size=y.shape)
    arguments = (grad, x.shape) if kept is None else (grad, kept, x.shape)

    def value():
        again = forward(x, *geometry)
        return float(((again[0] if kind == "max" else again) * grad).sum())

    gradient = backward(*arguments, *geometry)
    assert relative_error(gradient, numerical_gradient(value, x)) < 1e-8


def test_slopes_of_batch_norm_dense_and_cross_entropy(rng):
    x, gamma, beta = rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=3)
    grad, w, b = rng.normal(size=(4, 3)), rng.normal(size=(3, 3)), rng.normal(size=3)
    _, mean, variance = naive.batchnorm_naive(x, gamma, beta, 0.1)
    labels = np.array([0, 2, 1, 1])
    for function, arrays, gradients in (
        (
            lambda: float((naive.batchnorm_naive(x, gamma, beta, 0.1)[0] * grad).sum()),
            (x, gamma, beta),
            naive.batchnorm_backward_naive(grad, x, gamma, mean, variance, 0.1),
        ),
        (
            lambda: float((naive.dense_naive(x, w, b) * grad).sum()),
            (x, w, b),
            naive.dense_backward_naive(grad, x, w),
        ),
        (
            lambda: naive.softmax_cross_entropy_naive(x, labels),
            (x,),
            (naive.softmax_cross_entropy_backward_naive(x, labels),),
        ),
    ):
        for array, gradient in zip(arrays, gradients, strict=True):
            assert relative_error(gradient, numerical_gradient(function, array)) < 1e-8


# ------------------------------------------------------------------ the quick kernels beside


def assert_close(ours, naively, dtype):
    """Compare a kernel's result with the loops', to the digits that its dtype has."""
    assert ours.dtype == dtype
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    scale = max(1.0, np.abs(naively).max(initial=0.0))
    np.testing.assert_allclose(ours / scale, naively / scale, atol=tolerance, rtol=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "stride", "padding", "dilation", "groups"),
    [
        ((1, 3, 6, 6), (4, 3, 3, 3), (1, 1), PAD1, (1, 1), 1),  # Winograd's geometry
        ((1, 1, 6, 5), (8, 1, 5, 3), (2, 1), ((2, 2), (0, 1)), (1, 1), 1),
        ((1, 8, 3, 4), (16, 8, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
        ((2, 4, 7, 5), (6, 2, 3, 2), (2, 3), ((1, 0), (2, 1)), (2, 1), 2),
        ((2, 3, 6, 6), (6, 1, 3, 3), (1, 1), PAD1, (1, 1), 3),
    ],
)
def test_convolution(rng, dtype, x_shape, w_shape, stride, padding, dilation, groups):
    x, w, b = (rng.normal(size=s).astype(dtype) for s in (x_shape, w_shape, w_shape[:1]))
    geometry = (stride, padding, dilation, groups)
    y = kernels.conv2d(x, w, b, *geometry)
    assert_close(y, naive.conv2d_naive(x, w, b, *geometry), dtype)
    grad = rng.normal(size=y.shape).astype(dtype)
    dx, dw, db = naive.conv2d_backward_naive(grad, x, w, *geometry)
    assert_close(kernels.conv2d_input_grad(grad, w, x.shape, *geometry), dx, dtype)
    assert_close(kernels.conv2d_weight_grad(grad, x, w.shape, *geometry), dw, dtype)
    assert_close(kernels.column_sums(kernels.to_rows(grad)), db, dtype)


@given(pairs, pairs, st.tuples(sides, sides), st.integers(1, 3), st.integers(1, 2), seeds)
@settings(max_examples=20)
def test_depthwise_convolution(kernel, stride, padding, multiplier, dilation, seed):
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(2, 3, 5, 6)), rng.normal(size=(3 * multiplier, 1, *kernel))
    b, dilation = rng.normal(size=3 * multiplier), (dilation, 1)
    expected = naive.depthwise_conv2d_naive(x, w, b, stride, padding, dilation)
    assert_close(kernels.conv2d(x, w, b, stride, padding, dilation, 3), expected, "float64")
    by_groups = naive.conv2d_naive(x, w, b, stride, padding, dilation, groups=3)
    np.testing.assert_allclose(expected, by_groups, rtol=1e-14)


@given(
    kernel=pairs,
    stride=pairs,
    padding=st.sampled_from(["same", "valid", 0, (0, 1), (1, 0)]),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    seed=seeds,
)
@settings(max_examples=30)
def test_transposed_convolution(kernel, stride, padding, dilation, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 3, 4, 3))
    layer = nn.Conv2DTranspose(2, kernel, stride, padding, dilation=dilation)
    layer.dtype = "float64"
    layer.build((None, *x.shape[1:]))
    layer.params["b"][...] = rng.normal(size=2)
    y = layer.forward(x)
    around = kernels.resolve_padding(layer.padding, y.shape[2:], kernel, stride, dilation)
    whole = naive.conv2d_transpose_naive(
        x, layer.params["W"], layer.params["b"], stride, around, dilation
    )
    extra = tuple(n - m for n, m in zip(y.shape[2:], whole.shape[2:], strict=True))
    expected = naive.conv2d_transpose_naive(
        x, layer.params["W"], layer.params["b"], stride, around, dilation, extra
    )
    assert_close(y, expected, "float64")


def test_transposed_convolution_is_what_convolution_does_to_gradients(rng):
    x, w = rng.normal(size=(2, 3, 7, 6)), rng.normal(size=(4, 3, 3, 2))
    geometry = ((2, 1), ((1, 1), (0, 1)), (1, 2))
    grad = rng.normal(size=naive.conv2d_naive(x, w, None, *geometry).shape)
    dx, _, _ = naive.conv2d_backward_naive(grad, x, w, *geometry)
    np.testing.assert_allclose(naive.conv2d_transpose_naive(grad, w, None, *geometry), dx)


@given(pairs, pairs, st.tuples(st.integers(0, 1), st.integers(0, 1)), seeds)
@settings(max_examples=20)
def test_max_pooling_and_its_winners(pool, stride, before, seed):
    x = np.random.default_rng(seed).integers(0, 4, (2, 2, 5, 4)).astype("float64")  # with ties
    padding = tuple((min(p, k - 1), 0) for p, k in zip(before, pool, strict=True))
    y, index = kernels.max_pool2d(x, pool, stride, padding)
    expected, winners = naive.max_pool2d_naive(x, pool, stride, padding)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(index, winners)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 3), (64, 1), (12, 17)])
def test_batch_normalisation(rng, dtype, shape):
    x, grad = (rng.normal(2, 3, shape).astype(dtype) for _ in range(2))
    gamma, beta = (rng.normal(size=shape[1]).astype(dtype) for _ in range(2))
    ours = kernels.batch_norm(x, gamma, beta, 1e-3)
    expected = naive.batchnorm_naive(x, gamma, beta, 1e-3)
    for a, b in zip(ours, expected, strict=True):
        assert_close(a, b, dtype)
    ours = kernels.batch_norm_grad(grad, x, gamma, *ours[1:], 1e-3)
    naively = naive.batchnorm_backward_naive(grad, x, gamma, *expected[1:], 1e-3)
    for a, b in zip(ours, naively, strict=True):
        assert_close(a, b, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("samples", "features", "units"), [(1, 1, 1), (5, 7, 3), (9, 33, 17)])
def test_dense(rng, dtype, samples, features, units):
    layer = nn.Dense(units)
    layer.dtype = dtype
    layer.build((None, features))
    layer.params["b"][...] = rng.normal(size=units)
    x, grad = (rng.normal(size=(samples, k)).astype(dtype) for k in (features, units))
    w, b = layer.params["W"], layer.params["b"]
    assert_close(layer.forward(x, training=True), naive.dense_naive(x, w, b), dtype)
    dx, dw, db = naive.dense_backward_naive(grad, x, w)
    assert_close(layer.backward(grad), dx, dtype)
    assert_close(layer.grads["W"], dw, dtype)
    assert_close(layer.grads["b"], db, dtype)


@pytest.mark.parametrize("scale", [1, 300])
def test_cross_entropy(rng, scale):
    logits, labels = scale * rng.normal(size=(8, 5)), rng.integers(0, 5, 8)
    loss = nn.losses.CategoricalCrossentropy()
    value = naive.softmax_cross_entropy_naive(logits, labels)
    assert loss.forward(logits, labels) == pytest.approx(value, rel=1e-13)
    gradient = naive.softmax_cross_entropy_backward_naive(logits, labels)
    assert_close(loss.backward(), gradient, "float64")


# ----------------------------------------------------------------------------------- errors

X, W = np.ones((1, 2, 3, 3)), np.ones((4, 2, 2, 2))
G = np.ones((1, 4, 2, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: naive.conv2d_naive(X[0], W, None),
            r"\[conv2d_naive\] 'x' must be an array of numbers \(N, C, H, W\), got .*\(2, 3, 3\)",
        ),
        (lambda: naive.conv2d_naive(X.astype(str), W, None), r"'x' must be an array of numbers"),
        (lambda: naive.conv2d_naive(X[:0], W, None), r"'x' must be .* shape \(0, 2, 3, 3\)"),
        (lambda: naive.conv2d_naive(X, W[0], None), r"'w' must be .*\(F, C/G, KH, KW\)"),
        (lambda: naive.conv2d_naive(X[:, :1], W, None), r"'groups' .* 1 channels"),
        (lambda: naive.conv2d_naive(X, W, None, groups=3), "'groups' .* got 3"),
        (lambda: naive.conv2d_naive(X, W, None, groups=0), "'groups' must be a positive integer"),
        (lambda: naive.conv2d_naive(X, W, np.ones(3)), r"'b' must be .* shape \(4,\), got .*3"),
        (lambda: naive.conv2d_naive(X, W, None, stride=0), "'stride' must be positive, got 0"),
        (lambda: naive.conv2d_naive(X, W, None, dilation=(1, 0)), "'dilation' must be positive"),
        (lambda: naive.conv2d_naive(X, W, None, padding=1), r"'padding' must be \(\(top, bottom"),
        (lambda: naive.conv2d_naive(X, W, None, padding=(1, 1)), r"'padding' must be \(\(top, b"),
        (lambda: naive.conv2d_naive(X, W, None, padding="same"), r"'padding' must be \(\(top, b"),
        (lambda: naive.conv2d_naive(X, W, None, padding=((0, -1), (0, 0))), "must be at least 0"),
        (lambda: naive.conv2d_naive(X, W, None, dilation=3), r"'padding' must leave room for a"),
        (
            lambda: naive.conv2d_backward_naive(G[:, :3], X, W),
            r"\[conv2d_backward_naive\] 'grad' must be .* of shape \(1, 4, 2, 2\), got",
        ),
        (lambda: naive.depthwise_conv2d_naive(X, W, None), r"'w' must be \(2 \* M, 1, KH, KW\)"),
        (
            lambda: naive.depthwise_conv2d_naive(X, W[:3, :1], None),
            r"\[depthwise_conv2d_naive\] 'w' must be .* got \(3, 1, 2, 2\)",
        ),
        (lambda: naive.conv2d_transpose_naive(X, W, None), r"'w' must be \(2, F, KH, KW\) for"),
        (
            lambda: naive.conv2d_transpose_naive(
                X, X.transpose(1, 0, 2, 3), None, padding=((3, 2), (0, 0))
            ),
            r"\[conv2d_transpose_naive\] 'padding' must not remove the whole output",
        ),
        (lambda: naive.max_pool2d_naive(X, (4, 1), 1), "'padding' must leave room for a kernel"),
        (lambda: naive.max_pool2d_naive(X, 0, 1), r"\[max_pool2d_naive\] 'pool' must be positive"),
        (
            lambda: naive.max_pool2d_backward_naive(X, np.full((1, 3, 3, 2), 1), X.shape, 1, 1),
            r"'index' .* 0\.\.0, got '1\.\.1'",
        ),
        (
            lambda: naive.max_pool2d_backward_naive(X, np.full((1, 3, 3, 2), -1), X.shape, 1, 1),
            r"'index' .* 0\.\.0, got '-1\.\.-1'",
        ),
        (
            lambda: naive.avg_pool2d_backward_naive(X, (2, 3, 3), 1, 1),
            r"\[avg_pool2d_backward_naive\] 'x_shape' must be four positive sizes",
        ),
        (lambda: naive.dense_naive(np.ones((2, 3)), np.ones((2, 3))), r"'w' must be .*\(3, 3\)"),
        (lambda: naive.batchnorm_naive(np.ones((2, 3)), [1], [0]), r"'gamma' must be .*\(3,\)"),
        (lambda: naive.batchnorm_naive([[1.0]], [1], [0], 0), "'eps' must be a positive number"),
        (lambda: naive.softmax_cross_entropy_naive([[1, 2]], [2]), r"'labels' must be in 0\.\.1"),
        (lambda: naive.softmax_cross_entropy_naive([[1, 2]], [-1]), r"in 0\.\.1, got -1"),
        (lambda: naive.softmax_cross_entropy_naive([[1, 2]], [0.0]), "'labels' must be integers"),
        (
            lambda: naive.softmax_cross_entropy_backward_naive([[1, 2]], [0, 1]),
            r"\[softmax_cross_entropy_backward_naive\] 'labels' must be integers of shape \(1,\)",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
