"""Each readable kernel alike in both dtypes, in one part and in several, on NumPy and its twin.

There need be no GPU: `Twin` is NumPy under another name, which the kernels take for CuPy, so the
lines that they have for it run here too.
"""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import Twin

from nn import cuda, kernels
from nn.kernels import array, memory, threads

pytestmark = pytest.mark.usefixtures("arrays_decide_where_they_are_computed")

ONE, NONE = (1, 1), ((0, 0), (0, 0))
ODD = ((1, 0), (0, 2))  # margins of different widths
SAME = ((1, 1), (1, 1))


def conv(name, channels, w_shape, stride=ONE, padding=NONE, dilation=ONE, groups=1):
    """Return a call of a convolution's kernel on seven images of 6 x 7."""
    shape = (7, channels, 6, 7)
    out = array.output_size(shape[2:], w_shape[2:], stride, padding, dilation)
    grad_shape = (7, w_shape[0], *out)
    options = (stride, padding, dilation, groups)
    return {
        "conv2d": lambda d: array.conv2d(d(*shape), d(*w_shape), d(w_shape[0]), *options),
        "input": lambda d: array.conv2d_input_grad(d(*grad_shape), d(*w_shape), shape, *options),
        "weight": lambda d: array.conv2d_weight_grad(d(*grad_shape), d(*shape), w_shape, *options),
    }[name]


GEOMETRIES = {
    "plain": (4, (5, 4, 3, 3)),
    "pixels": (6, (5, 6, 1, 1)),
    "many channels": (8, (3, 8, 2, 3), (2, 1), ODD),
    "strided and spread out": (6, (4, 6, 2, 3), (2, 3), ODD, (1, 2)),
    "groups": (12, (4, 6, 3, 2), (1, 2), ODD, ONE, 2),
    "depthwise": (3, (6, 1, 3, 2), (2, 1), ODD, (1, 2), 3),
}
CALLS = {
    f"{name}, {geometry}": conv(name, *settings)
    for geometry, settings in GEOMETRIES.items()
    for name in ("conv2d", "input", "weight")
}
POOLS = {"apart": ((2, 3), (2, 3), NONE), "overlapping": ((3, 2), (2, 1), ((1, 1), (0, 1)))}
for word, pool in POOLS.items():
    GRAD = (7, 3, *array.output_size((6, 6), *pool))
    CALLS |= {
        f"max_pool2d, {word}": lambda d, p=pool: array.max_pool2d(d(7, 3, 6, 6), *p),
        f"max_pool2d_grad, {word}": lambda d, p=pool, g=GRAD: array.max_pool2d_grad(
            d(*g), array.max_pool2d(d(7, 3, 6, 6), *p)[1], (7, 3, 6, 6), *p
        ),
        f"avg_pool2d, {word}": lambda d, p=pool: array.avg_pool2d(d(7, 3, 6, 6), *p),
        f"avg_pool2d_grad, {word}": lambda d, p=pool, g=GRAD: array.avg_pool2d_grad(
            d(*g), (7, 3, 6, 6), *p
        ),
    }
CALLS |= {
    "column_sums": lambda d: array.column_sums(d(23, 3)),
    "to_rows": lambda d: array.to_rows(d(4, 3, 2, 5)),
    "from_rows": lambda d: array.from_rows(d(40, 3), (4, 3, 2, 5)),
    "batch_norm": lambda d: array.batch_norm(d(24, 3), d(3), d(3), 1e-3),
    "batch_norm_grad": lambda d: array.batch_norm_grad(
        d(24, 3), d(24, 3), d(3), d(3), abs(d(3)), 1e-3
    ),
    "batch_norm_inference": lambda d: array.batch_norm_inference(
        d(24, 3), d(3), d(3), d(3), abs(d(3)), 1e-3
    ),
    "normalize_samples": lambda d: array.normalize_samples(d(5, 6, 4), 2, 1e-3),
    "normalize_samples of one place": lambda d: array.normalize_samples(d(5, 1, 4), 2, 1e-3),
    "normalize_samples_grad": lambda d: array.normalize_samples_grad(
        d(5, 6, 4), d(5, 6, 4), d(5, 1, 4), 2
    ),
    "weight_norm": lambda d: array.weight_norm(d(4, 3, 2, 2), d(4), 0),
    "weight_norm_grad": lambda d: array.weight_norm_grad(d(4, 3), d(4, 3), d(3), 1),
    "dropout": lambda d: array.dropout(d(5, 4), d(5, 4) > 0, 0.25),
    "matmul": lambda d: array.matmul(d(9, 4), d(4, 5)),
    "relu": lambda d: array.relu(d(5, 4)),
    "relu_grad": lambda d: array.relu_grad(d(5, 4), d(5, 4) > 0),
    "repeat_pixels": lambda d: kernels.repeat_pixels(d(7, 3, 2, 4), (2, 3)),
    "repeat_pixels_grad": lambda d: kernels.repeat_pixels_grad(d(7, 3, 4, 6), (2, 3)),
    "interpolate_pixels": lambda d: kernels.interpolate_pixels(d(7, 3, 2, 4), (2, 3)),
    "interpolate_pixels_grad": lambda d: kernels.interpolate_pixels_grad(d(7, 3, 4, 6), (2, 3)),
    "zero_pad2d": lambda d: kernels.zero_pad2d(d(7, 3, 2, 4), ODD),
    "zero_pad2d_grad": lambda d: kernels.zero_pad2d_grad(d(7, 3, 4, 6), ODD),
    "log_softmax": lambda d: kernels.log_softmax(d(5, 4)),
    "normal_cdf": lambda d: kernels.normal_cdf(3 * d(5, 4)),
    "normal_pdf": lambda d: kernels.normal_pdf(d(5, 4)),
    "sigmoid": lambda d: kernels.sigmoid(d(5, 4)),
    "softmax": lambda d: kernels.softmax(d(5, 4)),
    "softplus": lambda d: kernels.softplus(d(5, 4)),
}


def results(call, dtype):
    """Return what a kernel gives for the same random numbers, as a list."""
    rng = np.random.default_rng(4)
    found = call(lambda *shape: rng.normal(size=shape).astype(dtype))
    return list(found) if isinstance(found, tuple) else [found]


@pytest.fixture
def on_the_twin(monkeypatch):
    def fail(*arguments, **options):
        pytest.fail("threads and memory of the CPU's are of no use to a GPU")

    twin = Twin()
    monkeypatch.setattr(cuda, "get_array_module", lambda *arrays: twin)
    for module, name in ((threads, "run"), (memory, "empty"), (memory, "empty_like")):
        monkeypatch.setattr(module, name, fail)


@pytest.fixture
def parts(monkeypatch):
    """In how many parts each piece of work was shared out, BLAS held to one thread meanwhile."""
    found, run = [], threads.run

    def count(*arguments, **options):
        assert options["blas"] is True  # its threads would get in the way of ours
        found.append(run(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(threads, "run", count)
    return found


@pytest.fixture
def in_three_parts(parts, monkeypatch):
    """Share any work out to three threads, in tiles of one sample."""
    monkeypatch.setattr(threads, "NUM_THREADS", 3)
    monkeypatch.setattr(array, "_TILE_BYTES_CPU", 1)
    monkeypatch.setattr(array, "_PRODUCTS_A_THREAD", 0)
    monkeypatch.setattr(array, "_NUMBERS_A_THREAD", 0)
    return parts


@pytest.mark.parametrize("name", CALLS)
def test_float32_stays_float32(name):
    exact, found = results(CALLS[name], "float64"), results(CALLS[name], "float32")
    for wide, narrow in zip(exact, found, strict=True):
        assert (wide.dtype == narrow.dtype) if wide.dtype.kind != "f" else narrow.dtype == "f4"
        assert wide.dtype.kind != "f" or wide.dtype == "f8"
        np.testing.assert_allclose(narrow, wide, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", CALLS)
def test_three_parts_give_what_one_gives(name, in_three_parts, monkeypatch):
    found = results(CALLS[name], "float64")
    assert set(in_three_parts) <= {3}
    monkeypatch.undo()
    for one, three in zip(results(CALLS[name], "float64"), found, strict=True):
        np.testing.assert_allclose(three, one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CALLS)
def test_the_lines_for_a_gpu_give_the_same(name, on_the_twin, monkeypatch):
    found = results(CALLS[name], "float32")
    monkeypatch.undo()
    for numpys, twins in zip(results(CALLS[name], "float32"), found, strict=True):
        assert twins.dtype == numpys.dtype
        np.testing.assert_allclose(twins, numpys, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "most"),
    [
        # 8 * 64 * 64 multiplications a row: 1,024 of them make 2**25, and one more a part
        (lambda n, d: array.matmul(d(n, 64), d(64, 64)), 1025),
        # a tile of one sample takes 16 * 16 * 8 * (32 * 9) multiplications: 56 make less than 2**25
        (lambda n, d: array.conv2d(d(n, 32, 16, 16), d(8, 32, 3, 3), None, ONE, SAME), 57),
        # 32 * 32 * 32 numbers a sample: 32 of them make 2**20
        (lambda n, d: array.max_pool2d(d(n, 32, 32, 32), (2, 2), (2, 2), NONE), 33),
    ],
)
def test_how_much_work_is_worth_a_second_thread(call, most, parts, monkeypatch):
    monkeypatch.setattr(threads, "NUM_THREADS", 2)
    monkeypatch.setattr(array, "_TILE_BYTES_CPU", 16 * 16 * 288 * 4)  # a sample
    for size in (2 * most - 1, 2 * most):
        call(size, lambda *shape: np.ones(shape, dtype="float32"))
    assert parts == [1, 2]


# ----------------------------------------------------------------------------------- memory

LARGE = (64, 32, 32, 32)  # 8 MB of float32
MASK = np.ones(LARGE, dtype=bool).transpose(0, 3, 1, 2)
ROWS = (64 * 32 * 32, 32)


@pytest.mark.parametrize(
    ("call", "shape"),
    [
        (lambda x: array.relu(x, keep_mask=False), LARGE),
        (lambda x: array.relu_grad(x, MASK), LARGE),
        (lambda x: array.dropout(x, MASK, 0.5), LARGE),
        (lambda x: array.batch_norm(x, x[0], x[0], 1e-3), ROWS),
        (lambda x: array.batch_norm_grad(x, x, x[0], x[0], x[0] ** 2, 1e-3), ROWS),
        (lambda x: array.batch_norm_inference(x, x[0], x[0], x[0], x[0] ** 2, 1e-3), ROWS),
        (lambda x: array.normalize_samples(x, 1, 1e-3), (64, 1024, 32)),
        (lambda x: array.normalize_samples_grad(x, x, x[:, :1], 1), (64, 1024, 32)),
        (lambda x: array.max_pool2d(x, (2, 2), (2, 2), NONE, keep_index=False), LARGE),
        (lambda x: array.matmul(x, x[:32]), ROWS),
        (lambda x: kernels.repeat_pixels(x, (2, 2)), LARGE),
    ],
)
def test_a_second_call_takes_the_memory_of_the_first(call, shape, rng):
    x = rng.random(shape, dtype="float32")
    if len(shape) == 4:
        x = array.channels_first(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    call(x)
    tracemalloc.start()
    try:
        call(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes / 8


# ------------------------------------------------------------------------------- small things


@pytest.mark.parametrize(
    ("pool", "dtype"), [((2, 3), "u1"), ((16, 16), "u1"), ((257, 1), "u2"), ((1, 257), "u2")]
)
def test_the_index_of_a_pooling_takes_little_memory(pool, dtype, rng):
    x = rng.random((1, 1, *pool))
    _, index = array.max_pool2d(x, pool, pool, NONE)
    assert index.dtype == dtype
    assert index.item() == x.argmax()


def test_what_backward_needs_is_kept_unless_it_is_not_asked_for(rng):
    x = rng.normal(size=(2, 3, 4, 4))
    np.testing.assert_array_equal(array.relu(x)[1], x > 0)
    assert array.relu(x, keep_mask=False)[1] is None
    assert array.max_pool2d(x, (2, 2), (2, 2), NONE)[1].shape == (2, 2, 2, 3)
    assert array.max_pool2d(x, (2, 2), (2, 2), NONE, keep_index=False)[1] is None


@pytest.mark.parametrize("shape", [(6,), (4, 3), (2, 3, 5), (2, 3, 4, 2)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_is_drawn_in_the_order_of_memory(shape, dtype):
    noise = array.normal_noise(np.empty(shape, dtype), np.random.default_rng(3))
    drawn = np.random.default_rng(3).standard_normal(noise.size, dtype=dtype)
    assert noise.dtype == dtype and noise.shape == shape
    last = noise if len(shape) < 3 else np.moveaxis(noise, 1, -1)
    assert last.flags.c_contiguous
    np.testing.assert_array_equal(last.ravel(), drawn)


@pytest.mark.parametrize("shape", [(7,), (5, 3), (2, 3, 5), (2, 3, 4, 2)])
def test_a_mask_is_drawn_in_the_order_of_memory(shape):
    mask = array.dropout_mask(np.empty(shape), 0.3, np.random.default_rng(3))
    raw = np.random.default_rng(3).bit_generator.random_raw(24).view(np.uint32)[: mask.size]
    last = mask if len(shape) < 3 else np.moveaxis(mask, 1, -1)
    assert last.flags.c_contiguous
    np.testing.assert_array_equal(last.ravel(), raw / 2**32 >= 0.3)


@pytest.mark.parametrize(
    ("rate", "bits", "kept"),
    [
        (0.25, [2**30 - 1, 2**30], [False, True]),
        (0.0, [0, 1], [True, True]),
        (1 - 1e-12, [2**32 - 2, 2**32 - 1], [False, True]),
    ],
)
def test_the_bits_at_which_a_unit_is_kept(rate, bits, kept):
    raw = np.array(bits, dtype=np.uint32).view(np.uint64)
    source = SimpleNamespace(bit_generator=SimpleNamespace(random_raw=lambda count: raw[:count]))
    assert array.dropout_mask(np.empty(2), rate, source).tolist() == kept


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4, 2)])
def test_on_a_gpu_the_seed_is_drawn_and_the_numbers_there(shape, on_the_twin):
    x = np.empty(shape, dtype="float32")
    seed = int(np.random.default_rng(3).integers(2**63))
    noise = array.normal_noise(x, np.random.default_rng(3))
    drawn = np.random.default_rng(seed).standard_normal(x.size, dtype="float32")
    np.testing.assert_array_equal(np.moveaxis(noise, 1, -1).ravel(), drawn)
    mask = array.dropout_mask(x, 0.3, np.random.default_rng(3))
    drawn = np.random.default_rng(seed).random(x.size) >= 0.3
    np.testing.assert_array_equal(np.moveaxis(mask, 1, -1).ravel(), drawn)
