"""The compiled kernels: their special cases, and the threads that run them."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kernels import geometries, in_order

from nn.kernels import channels_last, reference, threads

compiled = pytest.importorskip("nn.kernels.cpu.compiled", reason="needs Numba (the extra 'fast')")
gemm = pytest.importorskip("nn.kernels.cpu.compiled.gemm")
sharing = pytest.importorskip("nn.kernels.cpu.compiled.sharing")
winograd = pytest.importorskip("nn.kernels.cpu.compiled.winograd")

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
dtypes = st.sampled_from(["float32", "float64"])


def agree(ours, theirs, dtype):
    """Compare results of any nesting; channels-last memory and dtype included."""
    if isinstance(ours, tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            agree(a, b, dtype)
        return
    assert (ours is None) == (theirs is None)
    if ours is not None:
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.fixture(autouse=True, params=[1, 3])
def share_out_small_work(request, monkeypatch):
    """Run each test in one part and in three, however small the arrays."""
    monkeypatch.setattr(threads, "NUM_THREADS", request.param)
    monkeypatch.setattr(sharing, "GRAIN", 0)
    monkeypatch.setattr(gemm, "_GRAIN", 0)


@given(geometries(), st.booleans(), dtypes, st.sampled_from([1, 10**6]))
def test_convolution(geometry, bias, dtype, band_bytes):
    x, w_shape, _, stride, padding, dilation, groups, rng = geometry
    x = x.astype(dtype)
    w = rng.normal(size=w_shape).astype(dtype)
    b = rng.normal(size=w_shape[0]).astype(dtype) if bias else None
    for options in ((stride, padding, dilation, groups), ((1, 1), padding, (1, 1), groups)):
        before = gemm._BAND_BYTES
        gemm._BAND_BYTES = band_bytes
        try:
            y = compiled.conv2d(x, w, b, *options)
            agree(y, reference.conv2d(x, w, b, *options), dtype)
            grad = in_order(rng.normal(size=y.shape).astype(dtype), "channels_last")
            agree(
                compiled.conv2d_input_grad(grad, w, x.shape, *options),
                reference.conv2d_input_grad(grad, w, x.shape, *options),
                dtype,
            )
            agree(
                compiled.conv2d_weight_grad(grad, x, w.shape, *options),
                reference.conv2d_weight_grad(grad, x, w.shape, *options),
                dtype,
            )
        finally:
            gemm._BAND_BYTES = before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("filters", [2, 10, 16, 40, 64])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 3)])
def test_convolution_of_many_filters(filters, stride, dtype, rng):
    """More filters than a vector has lanes, and numbers of them that leave lanes empty."""
    x = rng.normal(size=(2, 5, 13, 30)).astype(dtype)
    w = rng.normal(size=(filters, 5, 3, 2)).astype(dtype)
    options = {"stride": stride, "padding": ((1, 1), (0, 1))}
    y = compiled.conv2d(x, w, None, **options)
    np.testing.assert_allclose(y, reference.conv2d(x, w, None, **options), atol=TOLERANCE[dtype])
    dx = compiled.conv2d_input_grad(y, w, x.shape, **options)
    dw = compiled.conv2d_weight_grad(y, x, w.shape, **options)
    expected_dx = reference.conv2d_input_grad(y, w, x.shape, **options)
    expected_dw = reference.conv2d_weight_grad(y, x, w.shape, **options)
    for ours, theirs in ((dx, expected_dx), (dw, expected_dw)):
        bound = TOLERANCE[dtype] * np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 3, 5, 4), (0, 3, 5, 4), (40, 8, 14, 14), (3, 64, 6, 6)])
def test_convolution_of_other_sizes(shape, dtype, rng):
    x = rng.normal(size=shape).astype(dtype)
    w = rng.normal(size=(16, shape[1], 3, 3)).astype(dtype)
    padding = ((1, 1), (1, 1))
    y = compiled.conv2d(x, w, None, padding=padding)
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype] * max(
        1, np.abs(w).sum(axis=(1, 2, 3)).max()
    )
    np.testing.assert_allclose(y, reference.conv2d(x, w, None, padding=padding), atol=tolerance)
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous
    dx = compiled.conv2d_input_grad(y, w, x.shape, padding=padding)
    dw = compiled.conv2d_weight_grad(y, x, w.shape, padding=padding)
    expected_dx = reference.conv2d_input_grad(y, w, x.shape, padding=padding)
    expected_dw = reference.conv2d_weight_grad(y, x, w.shape, padding=padding)
    for ours, theirs in ((dx, expected_dx), (dw, expected_dw)):
        scale = np.abs(theirs).max(initial=1)
        np.testing.assert_allclose(
            ours, theirs, atol=1e-5 * scale if dtype == "float32" else 1e-12 * scale
        )


@settings(max_examples=40)
@given(
    st.integers(1, 9),
    st.sampled_from([16, 32, 48]),
    st.sampled_from([16, 32, 80]),
    st.tuples(*[st.one_of(st.sampled_from([4, 8, 12]), st.integers(1, 13))] * 2),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.sampled_from(["contiguous", "channels_last"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_winograd(n, c, f, out, pads, order, bias, seed):
    """Against float64, which is summed as it stands; any padding, groups of samples cut short.

    Outputs of any size are covered by tiles, of which some are used in part.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "_LEAST_GAIN", 0.0)
        check_winograd(n, c, f, out, pads, order, bias, seed)


def check_winograd(n, c, f, out, pads, order, bias, seed):
    rng = np.random.default_rng(seed)
    padding = ((pads[0], pads[1]), (pads[2], pads[3]))
    size = (out[0] + 2 - pads[0] - pads[1], out[1] + 2 - pads[2] - pads[3])
    if min(size) < 1:
        return
    x = in_order(rng.normal(size=(n, c, *size)).astype("float32"), order)
    w = rng.normal(size=(f, c, 3, 3)).astype("float32")
    b = rng.normal(size=f).astype("float32") if bias else None
    is_shared = n >= threads.NUM_THREADS
    assert winograd.suits(channels_last(x), f, (3, 3), (1, 1), out) == is_shared
    assert not winograd.suits(channels_last(x.astype("f8")), f, (3, 3), (1, 1), out)
    y = compiled.conv2d(x, w, b, padding=padding)
    assert y.dtype == "float32"
    assert y.shape == (n, f, *out)
    grad = in_order(rng.normal(size=y.shape).astype("float32"), order)
    exact = [a.astype("float64") for a in (x, w, grad)]
    for ours, theirs in (
        (y, reference.conv2d(exact[0], exact[1], b, padding=padding)),
        (
            compiled.conv2d_input_grad(grad, w, x.shape, padding=padding),
            reference.conv2d_input_grad(exact[2], exact[1], x.shape, padding=padding),
        ),
        (
            compiled.conv2d_weight_grad(grad, x, w.shape, padding=padding),
            reference.conv2d_weight_grad(exact[2], exact[0], w.shape, padding=padding),
        ),
    ):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("dilation", [(1, 2), (2, 2), (3, 2)])
@pytest.mark.parametrize("pads", [((0, 0), (0, 0)), ((2, 3), (5, 1))])
def test_winograd_of_dilated_kernels(rng, dilation, pads, monkeypatch):
    """Each second (third ...) row and column is an image; one of them is left to `gemm`."""
    seen, conv2d = [], winograd.conv2d
    monkeypatch.setattr(winograd, "_LEAST_GAIN", 0.0)
    monkeypatch.setattr(winograd, "conv2d", lambda *a: seen.append(len(a[0])) or conv2d(*a))
    size = [8 * d + 2 * d - sum(p) for d, p in zip(dilation, pads, strict=True)]
    x = rng.normal(size=(3, 16, *size)).astype("float32")
    x[1, 3, 2, 2] = 1e5
    w, b = rng.normal(size=(16, 16, 3, 3)).astype("float32"), rng.normal(size=16).astype("float32")
    y = compiled.conv2d(x, w, b, padding=pads, dilation=dilation)
    assert seen == [3 * dilation[0] * dilation[1]]
    grad = rng.normal(size=y.shape).astype("float32")
    exact, options = [a.astype("float64") for a in (x, w, grad)], {"dilation": dilation}
    expected = reference.conv2d(exact[0], exact[1], b, padding=pads, **options)
    for ours, theirs in zip(y, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())
    for name, arguments in (
        ("conv2d_input_grad", (grad, w, x.shape)),
        ("conv2d_weight_grad", (grad, x, w.shape)),
    ):
        found = getattr(compiled, name)(*arguments, padding=pads, **options)
        wide = [a if isinstance(a, tuple) else a.astype("float64") for a in arguments]
        expected = getattr(reference, name)(*wide, padding=pads, **options)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("size", [(12, 8), (7, 13)])
def test_winograd_is_right_to_the_last_digits_of_float64(rng, monkeypatch, size):
    """float32 has too few digits to show that the transformations are exactly right."""
    monkeypatch.setattr(winograd, "DTYPES", ("float64",))
    monkeypatch.setattr(winograd, "_LEAST_GAIN", 0.0)
    x, grad = rng.normal(size=(5, 16, *size)), rng.normal(size=(5, 32, *size))
    w, b, padding = rng.normal(size=(32, 16, 3, 3)), rng.normal(size=32), ((1, 1), (1, 1))
    assert winograd.suits(channels_last(x), 32, (3, 3), (1, 1), size)
    for name, arguments in (
        ("conv2d", (x, w, b)),
        ("conv2d_input_grad", (grad, w, x.shape)),
        ("conv2d_weight_grad", (grad, x, w.shape)),
    ):
        found = getattr(compiled, name)(*arguments, padding=padding)
        expected = getattr(reference, name)(*arguments, padding=padding)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14 * np.abs(expected).max())


def test_winograd_is_left_where_it_does_not_fit(rng):
    x = rng.normal(size=(64, 8, 8, 64)).astype("float32")
    for out in [(8, 8), (8, 6), (7, 7)]:
        assert winograd.suits(x, 64, (3, 3), (1, 1), out)
    for f, kernel, stride, out in [
        (8, (3, 3), (1, 1), (8, 8)),
        (64, (3, 5), (1, 1), (8, 8)),
        (64, (3, 3), (2, 1), (4, 8)),
        (64, (3, 3), (1, 1), (8, 1)),
        (64, (3, 3), (1, 1), (0, 8)),
    ]:
        assert not winograd.suits(x, f, kernel, stride, out)
    assert not winograd.suits(x[..., :63], 64, (3, 3), (1, 1), (8, 8))
    assert not winograd.suits(x[:1], 64, (3, 3), (1, 1), (8, 8))  # to transform kernels takes long


@pytest.mark.parametrize("channels", [32, 256])
@pytest.mark.parametrize("weights", ["dirac", "one is large"])
def test_winograd_is_used_for_weights_of_about_the_size_of_a_filter(
    rng, monkeypatch, channels, weights
):
    """Filters that begin as the identity are; one weight beyond that would spoil the outputs."""
    direct, conv2d = [], winograd.gemm.conv2d
    monkeypatch.setattr(
        winograd.gemm, "conv2d", lambda *a, **k: direct.append(1) or conv2d(*a, **k)
    )
    x = rng.normal(size=(64, channels, 8, 8)).astype("float32")
    w = rng.normal(scale=(27 * channels) ** -0.5, size=(channels, channels, 3, 3)).astype("float32")
    if weights == "dirac":
        w[np.arange(channels), np.arange(channels), 1, 1] = 1
    else:
        w[3, 5, 1, 1] = 5
    padding = ((1, 1), (1, 1))
    y = compiled.conv2d(x, w, None, padding=padding)
    assert bool(direct) == (weights != "dirac")
    expected = reference.conv2d(x.astype("f8"), w.astype("f8"), None, padding=padding)
    np.testing.assert_allclose(y, expected, rtol=0, atol=3e-6 * np.abs(expected).max())
    grad = rng.normal(size=y.shape).astype("float32")
    dw = compiled.conv2d_weight_grad(grad, x, w.shape, padding=padding)
    expected = reference.conv2d_weight_grad(
        grad.astype("f8"), x.astype("f8"), w.shape, (1, 1), padding
    )
    np.testing.assert_allclose(dw, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


def test_winograd_lets_nan_through(rng):
    x = rng.normal(size=(1, 16, 8, 8)).astype("float32")
    x[0, 3, 5, 5] = np.nan
    y = compiled.conv2d(x, np.ones((16, 16, 3, 3), dtype="float32"), None, padding=((1, 1), (1, 1)))
    assert np.isnan(y[0, :, 4:7, 4:7]).all()


@given(
    st.tuples(*[st.integers(0, 9)] * 3), dtypes, st.tuples(*[st.booleans()] * 3), st.integers(0, 99)
)
def test_matrix_product(sizes, dtype, layout, seed):
    """Products of matrices in either order of memory, with gaps, and of none."""
    rng = np.random.default_rng(seed)
    m, k, n = sizes
    a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    a = np.asfortranarray(a) if layout[0] else a
    b = np.asfortranarray(b) if layout[1] else b
    a = np.repeat(a, 2, axis=1)[:, ::2] if layout[2] else a
    agree(compiled.matmul(a, b), a @ b, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "sizes", [(70, 33, 5), (3, 600, 70), (150, 270, 65), (1, 1, 100), (9, 20, 600)]
)
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
def test_matrix_product_of_other_sizes(sizes, transposed, dtype, rng):
    """More rows, columns and terms of the sum than a block has, and with a bias."""
    m, k, n = sizes
    a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    bias = rng.normal(size=n).astype(dtype)
    exact = a.astype("float64") @ b
    a = np.asfortranarray(a) if transposed[0] else a
    b = np.asfortranarray(b) if transposed[1] else b
    tolerance = {"float32": 1e-6, "float64": 1e-14}[dtype] * k
    np.testing.assert_allclose(compiled.matmul(a, b), exact, rtol=0, atol=tolerance)
    np.testing.assert_allclose(compiled.matmul(a, b, bias), exact + bias, rtol=0, atol=tolerance)


def test_matrix_product_of_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="matmul"):
        compiled.matmul(np.ones((2, 3)), np.ones((4, 5)))


@given(geometries(pooling=True), dtypes, st.booleans(), st.booleans())
def test_max_pooling(geometry, dtype, keep_index, by_two):
    x, _, pool, stride, padding, _, _, rng = geometry
    if by_two and min(x.shape[2:]) >= 2:
        pool, stride, padding = (2, 2), (2, 2), ((0, 0), (0, 0))
    x = np.round(x).astype(dtype)  # equal values: the first in reading order wins
    y, index = compiled.max_pool2d(x, pool, stride, padding, keep_index)
    expected, expected_index = reference.max_pool2d(x, pool, stride, padding, keep_index)
    np.testing.assert_array_equal(y, expected)
    assert (index is None) == (expected_index is None)
    if index is None:
        return
    np.testing.assert_array_equal(index, expected_index)
    grad = rng.normal(size=y.shape).astype(dtype)
    agree(
        compiled.max_pool2d_grad(grad, index, x.shape, pool, stride, padding),
        reference.max_pool2d_grad(grad, index, x.shape, pool, stride, padding),
        dtype,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("channels", [7, 8, 19])
def test_max_pooling_by_two_of_many_channels(channels, dtype, rng):
    """The gradient is written for eight channels at a time, then for what remains."""
    x = in_order(rng.normal(size=(3, channels, 7, 8)).astype(dtype), "channels_last")
    y, index = compiled.max_pool2d(x, (2, 2), (2, 2), ((0, 0), (0, 0)))
    grad = rng.normal(size=y.shape).astype(dtype)
    geometry = (x.shape, (2, 2), (2, 2), ((0, 0), (0, 0)))
    ours = compiled.max_pool2d_grad(grad, index, *geometry)
    np.testing.assert_array_equal(ours, reference.max_pool2d_grad(grad, index, *geometry))


def test_max_pooling_of_infinities_stays_on_the_image():
    """A window of -inf has its maximum on the image: its gradient goes to one of its pixels."""
    x = np.full((1, 1, 4, 4), -np.inf)
    geometry = ((2, 2), (2, 2), ((1, 1), (1, 1)))
    y, index = compiled.max_pool2d(x, *geometry)
    assert np.isneginf(y).all()
    dx = compiled.max_pool2d_grad(np.arange(1.0, 10.0).reshape(y.shape), index, x.shape, *geometry)
    assert dx[0, 0].tolist() == [[1, 2, 0, 3], [4, 5, 0, 6], [0, 0, 0, 0], [7, 8, 0, 9]]


@pytest.mark.parametrize("pool", [2, 3])
def test_max_pooling_lets_nan_through(pool):
    for cell in range(pool * pool):
        x = np.zeros((1, 1, pool, pool))
        x.ravel()[cell] = np.nan
        y, _ = compiled.max_pool2d(x, (pool, pool), (pool, pool), ((0, 0), (0, 0)))
        assert np.isnan(y).all()


@settings(max_examples=30)
@given(st.integers(1, 700), st.integers(1, 9), dtypes, st.floats(-100, 100), st.integers(0, 99))
def test_batch_norm_and_sums(rows, columns, dtype, mean, seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(rows, columns)) + mean).astype(dtype)
    grad = rng.normal(size=x.shape).astype(dtype)
    gamma, beta = rng.normal(size=(2, columns)).astype(dtype)
    exact = x.astype("float64")
    y, m, v = compiled.batch_norm(x, gamma, beta, 1e-3)
    expected, em, ev = reference.batch_norm(exact, gamma, beta, 1e-3)
    loose = {"float32": 2e-3, "float64": 1e-10}[dtype]  # x itself has lost digits to its mean
    np.testing.assert_allclose(y, expected, rtol=loose, atol=loose)
    np.testing.assert_allclose(m, em, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(v, ev, rtol=1e-3, atol=1e-6)
    ours = compiled.batch_norm_grad(grad, x, gamma, m, v, 1e-3)
    theirs = reference.batch_norm_grad(grad.astype("float64"), exact, gamma, em, ev, 1e-3)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=loose, atol=loose * max(1, np.abs(b).max()))
        assert a.dtype == dtype
    agree(
        compiled.batch_norm_inference(x, gamma, beta, m, v, 1e-3),
        reference.batch_norm_inference(x, gamma, beta, m, v, 1e-3),
        "float64" if dtype == "float64" else "float32",
    ) if dtype == "float64" or abs(mean) < 1 else None
    np.testing.assert_allclose(
        compiled.column_sums(grad), grad.sum(axis=0, dtype="float64"), rtol=1e-5, atol=1e-5
    )


def test_sums_of_nothing():
    empty = np.zeros((0, 3), dtype="float32")
    assert compiled.column_sums(empty).tolist() == [0, 0, 0]


def test_batch_norm_of_a_large_mean_keeps_its_digits(rng):
    x = (rng.normal(size=(50_000, 2)) + 1000).astype("float32")
    _, mean, variance = compiled.batch_norm(x, np.ones(2, "f4"), np.zeros(2, "f4"), 1e-5)
    exact = x.astype("float64")
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(variance, exact.var(axis=0), rtol=1e-5)


def test_a_waiting_worker_holds_no_arrays():
    import weakref

    class Token:
        pass

    token = Token()
    gone = weakref.ref(token)
    threads.run(lambda token, part, lo, hi: None, 10, token)
    del token
    for _ in range(100):
        if gone() is None:
            return
        time.sleep(0.01)
    raise AssertionError("a worker still holds what it worked on")


# --------------------------------------------------------------------------------- threads


def test_parts_cover_the_range_once():
    seen = []

    def kernel(label, part, lo, hi):
        seen.append((label, part, lo, hi))

    assert threads.run(kernel, 10, "x", grain=1) == threads.NUM_THREADS
    covered = sorted(k for _, _, lo, hi in seen for k in range(lo, hi))
    assert covered == list(range(10))
    assert threads.run(kernel, 10, "x", grain=11) == 1
    assert threads.run(kernel, 0, "x") == 1


def test_an_error_in_a_part_reaches_the_caller_and_blas_is_released():
    def kernel(part, lo, hi):
        if part == threads.NUM_THREADS - 1:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        threads.run(kernel, 10, blas=True)
    assert threads._running == []


def test_blas_is_held_to_one_thread_inside_and_gets_its_number_back():
    from threadpoolctl import threadpool_info, threadpool_limits

    def numbers():
        return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]

    inside = []

    def kernel(part, lo, hi):
        inside.append(numbers())

    with threadpool_limits(2, user_api="blas"):
        threads.run(kernel, 10, blas=True)
        assert all(number == 1 for found in inside for number in found)
        assert all(number == 2 for number in numbers())


def test_calls_from_many_threads_at_once(rng):
    x = rng.normal(size=(8, 4, 12, 12)).astype("float32")
    w = rng.normal(size=(8, 4, 3, 3)).astype("float32")
    expected = compiled.conv2d(x, w, None)
    wrong = []

    def work():
        for _ in range(20):
            if not np.array_equal(compiled.conv2d(x, w, None), expected):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
    assert threads._running == []


def run_code(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


TRAIN = """
import numpy as np, nn
def train():
    model = nn.Model([nn.Conv2D(8, input_shape=(1, 12, 12)), nn.ReLU(), nn.MaxPool2D(),
                      nn.Flatten(), nn.Dense(3)], seed=0)
    model.compile("cce")
    rng = np.random.default_rng(0)
    model.fit(rng.random((256, 1, 12, 12), dtype="float32"), rng.integers(0, 3, 256), verbose=0)
    return model.history["loss"][0]
"""


def test_training_after_a_fork():
    code = TRAIN + (
        "import os\n"
        "nn.kernels.compiled().sharing.GRAIN = 0  # so that small work is shared out too\n"
        "before = train()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if train() == before else 1)\n"
        "print(os.waitpid(child, 0)[1])\n"
    )
    result = run_code(code)
    assert result.stdout == "0\n", result.stderr


def test_without_numba_the_tuned_kernels_train_alike():
    with_numba = run_code(TRAIN + "print(train(), nn.kernels.compiled() is not None)")
    without = run_code(
        "import sys; sys.modules['numba'] = None\n"
        + TRAIN
        + "print(train(), nn.kernels.compiled() is not None)"
    )
    loss, has_numba = with_numba.stdout.split()
    other_loss, other_has_numba = without.stdout.split()
    assert (has_numba, other_has_numba) == ("True", "False"), with_numba.stderr + without.stderr
    assert float(loss) == pytest.approx(float(other_loss), rel=1e-5)


def test_kernels_run_where_no_cache_can_be_written(tmp_path):
    """Numba's own folder is a file: nothing can be kept, and everything still works."""
    blocked = tmp_path / "file"
    blocked.touch()
    result = run_code(TRAIN + "print(train() > 0)", NUMBA_CACHE_DIR=str(blocked / "cache"))
    assert result.stdout == "True\n", result.stderr


def test_the_first_compilation_says_one_line(tmp_path):
    code = """
import numpy as np, nn
x = np.ones((4, 8, 6, 6), dtype="float32")
nn.ReLU().forward(nn.MaxPool2D().forward(x))
"""
    first = run_code(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert first.stderr == "nn: compiling kernels for this processor, once ...\n"
    assert first.stdout == ""
    assert run_code(code, NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""


def test_importing_nn_imports_nothing_heavy():
    heavy = ("numba", "scipy", "h5py", "pooch", "matplotlib")
    code = f"import sys, nn; print([m for m in {heavy} if m in sys.modules])"
    assert run_code(code).stdout == "[]\n"


def test_a_long_row_times_a_matrix_keeps_the_digits_of_float32(rng):
    a, b = (rng.random(shape, dtype="float32") for shape in ((1, 200_000), (200_000, 20)))
    exact = a.astype("f8") @ b.astype("f8")
    np.testing.assert_allclose(compiled.matmul(a, b), exact, rtol=2e-6)
