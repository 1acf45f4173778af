"""Tuned NumPy: how it shares work, uses memory again, and draws random numbers."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from nn import cuda, kernels
from nn.kernels import formulas, reference, threads, tiles
from nn.kernels.cpu import tuned

ONE, NONE = (1, 1), ((0, 0), (0, 0))
SAME = ((1, 1), (1, 1))


@pytest.fixture
def parts(monkeypatch):
    """The number of parts of each piece of work, with whether BLAS was held to one thread."""
    found, run = [], threads.run

    def count(*arguments, **options):
        found.append((run(*arguments, **options), options.get("blas", False)))
        return found[-1][0]

    monkeypatch.setattr(threads, "run", count)
    return found


@pytest.mark.parametrize(
    ("call", "most", "blas"),
    [
        # 8 * 64 * 64 multiplications a row: 1,024 of them make 2**25, and one more a part
        (lambda n, d: tuned.matmul(d(n, 64), d(64, 64)), 1025, True),
        # a tile of one sample takes 16 * 16 * 8 * (32 * 9) multiplications: 56 make less than 2**25
        (lambda n, d: tuned.conv2d(d(n, 32, 16, 16), d(8, 32, 3, 3), None, ONE, SAME), 57, True),
        # 32 * 32 * 32 numbers a sample: 32 of them make 2**20
        (lambda n, d: tuned.max_pool2d(d(n, 32, 32, 32), (2, 2), (2, 2), NONE), 33, False),
    ],
)
def test_how_much_work_is_worth_a_second_thread(call, most, blas, parts, monkeypatch):
    monkeypatch.setattr(threads, "NUM_THREADS", 2)
    monkeypatch.setattr(tiles, "_TILE_BYTES_CPU", 16 * 16 * 288 * 4)  # a sample
    for size in (2 * most - 1, 2 * most):
        call(size, lambda *shape: np.ones(shape, dtype="float32"))
    assert parts == [(1, blas), (2, blas)]


@pytest.mark.parametrize(("rows", "blas"), [(64, False), (65, True)])
def test_blas_is_held_to_one_thread_if_it_would_start_more(rows, blas, parts):
    """From 2**18 multiplications on; 64 rows make so many."""
    tuned.matmul(np.ones((rows, 64)), np.ones((64, 64)))
    tuned.conv2d(np.ones((1, 64, 1, rows)), np.ones((64, 64, 1, 1)), None)
    assert parts == [(1, blas)] * 2


# ----------------------------------------------------------------------------------- memory

LARGE = (64, 32, 32, 32)  # 8 MB of float32
MASK = np.ones(LARGE, dtype=bool).transpose(0, 3, 1, 2)
ROWS = (64 * 32 * 32, 32)
STATISTICS = np.zeros((64, 1), dtype="float32"), np.ones((64, 1), dtype="float32")


@pytest.mark.parametrize(
    ("call", "shape"),
    [
        (lambda x: tuned.activate(x, formulas.RELU, keep=False), LARGE),
        (lambda x: tuned.activate_grad(x, MASK, formulas.RELU), LARGE),
        (lambda x: tuned.activate(x, formulas.GELU), LARGE),
        (lambda x: tuned.activate_grad(x, x, formulas.GELU), LARGE),
        (lambda x: tuned.dropout(x, MASK, 0.5), LARGE),
        (lambda x: tuned.batch_norm(x, x[0], x[0], 1e-3), ROWS),
        (lambda x: tuned.batch_norm_grad(x, x, x[0], x[0], x[0] ** 2, 1e-3), ROWS),
        (lambda x: tuned.batch_norm_inference(x, x[0], x[0], x[0], x[0] ** 2, 1e-3), ROWS),
        (lambda x: tuned.normalize_samples(x, x[0, 0], x[0, 0], 1, 1e-3), (64, 1024, 32)),
        (lambda x: tuned.normalize_samples_grad(x, x, x[0, 0], *STATISTICS), (64, 1024, 32)),
        (lambda x: tuned.max_pool2d(x, (2, 2), (2, 2), NONE, keep_index=False), LARGE),
        (lambda x: tuned.matmul(x, x[:32]), ROWS),
        (lambda x: tuned.repeat_pixels(x, (2, 2)), LARGE),
    ],
)
def test_a_second_call_takes_the_memory_of_the_first(call, shape, rng):
    x = rng.random(shape, dtype="float32")
    if len(shape) == 4:
        x = kernels.channels_first(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
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
    _, index = tuned.max_pool2d(x, pool, pool, NONE)
    assert index.dtype == dtype
    assert index.item() == x.argmax()


def test_nothing_is_kept_for_backward_unless_asked_for(rng):
    x = rng.normal(size=(2, 3, 4, 4))
    np.testing.assert_array_equal(tuned.activate(x, formulas.RELU)[1], x > 0)
    assert tuned.activate(x, formulas.RELU, keep=False)[1] is None
    assert tuned.max_pool2d(x, (2, 2), (2, 2), NONE)[1].shape == (2, 2, 2, 3)
    assert tuned.max_pool2d(x, (2, 2), (2, 2), NONE, keep_index=False)[1] is None


@pytest.mark.parametrize("shape", [(6,), (4, 3), (2, 3, 5), (2, 3, 4, 2)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_is_drawn_in_the_order_of_memory(shape, dtype):
    noise = reference.normal_noise(np.empty(shape, dtype), np.random.default_rng(3))
    drawn = np.random.default_rng(3).standard_normal(noise.size, dtype=dtype)
    assert noise.dtype == dtype and noise.shape == shape
    last = noise if len(shape) < 3 else np.moveaxis(noise, 1, -1)
    assert last.flags.c_contiguous
    np.testing.assert_array_equal(last.ravel(), drawn)


@pytest.mark.parametrize("shape", [(7,), (5, 3), (2, 3, 5), (2, 3, 4, 2)])
def test_a_mask_is_drawn_in_the_order_of_memory(shape):
    mask = reference.dropout_mask(np.empty(shape), 0.3, np.random.default_rng(3))
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
    assert reference.dropout_mask(np.empty(2), rate, source).tolist() == kept


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4, 2)])
def test_on_a_gpu_the_seed_is_drawn_and_the_numbers_there(shape):
    x = cuda.to_gpu(np.empty(shape, dtype="float32"))
    seed = int(np.random.default_rng(3).integers(2**63))
    there = cuda.get_array_module(x).random.default_rng
    noise = reference.normal_noise(x, np.random.default_rng(3))
    drawn = there(seed).standard_normal(x.size, dtype="float32").get()
    np.testing.assert_array_equal(np.moveaxis(noise.get(), 1, -1).ravel(), drawn)
    mask = reference.dropout_mask(x, 0.3, np.random.default_rng(3))
    drawn = there(seed).random(x.size).get() >= 0.3
    np.testing.assert_array_equal(np.moveaxis(mask.get(), 1, -1).ravel(), drawn)
