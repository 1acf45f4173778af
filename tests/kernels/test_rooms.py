"""Every kernel of every room against the reference: one body for all of them.

The rooms are tuned NumPy and the compiled kernels, each in one part and in three, and the GPU's
kernels, on a GPU if there is one and on the stand-in for CuPy otherwise.
"""

import importlib

import numpy as np
import pytest

from nn import cuda, kernels
from nn.kernels import dispatch, formulas, gpu, memory, output_size, reference, threads, tiles
from nn.kernels.cpu import tuned

pytestmark = pytest.mark.usefixtures("arrays_decide_where_they_are_computed")

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
ONE, NONE = (1, 1), ((0, 0), (0, 0))
ODD = ((1, 0), (0, 2))  # margins of different widths

# Each case is a name, which begins with the kernel's, and a function that makes the arguments,
# given a function that draws an array of a shape.
CASES = {}


def add_convolution(name, channels, w_shape, stride=ONE, padding=NONE, dilation=ONE, groups=1):
    shape = (7, channels, 6, 7)
    out = output_size(shape[2:], w_shape[2:], stride, padding, dilation)
    grad_shape, options = (7, w_shape[0], *out), (stride, padding, dilation, groups)
    CASES[f"conv2d {name}"] = lambda d: (d(*shape), d(*w_shape), d(w_shape[0]), *options)
    CASES[f"conv2d {name}, no bias"] = lambda d: (d(*shape), d(*w_shape), None, *options)
    CASES[f"conv2d_input_grad {name}"] = lambda d: (d(*grad_shape), d(*w_shape), shape, *options)
    CASES[f"conv2d_weight_grad {name}"] = lambda d: (d(*grad_shape), d(*shape), w_shape, *options)


add_convolution("plain", 4, (5, 4, 3, 3))
add_convolution("of pixels", 6, (5, 6, 1, 1))
add_convolution("of many channels", 8, (3, 8, 2, 3), (2, 1), ODD)
add_convolution("strided and dilated", 6, (4, 6, 2, 3), (2, 3), ODD, (1, 2))
add_convolution("with groups", 12, (4, 6, 3, 2), (1, 2), ODD, ONE, 2)
add_convolution("depthwise", 3, (6, 1, 3, 2), (2, 1), ODD, (1, 2), 3)
POOLS = {
    "apart": ((2, 2), (2, 2), NONE),
    "odd": ((2, 3), (2, 3), ODD),
    "overlapping": ((3, 2), (2, 1), ((1, 1), (0, 1))),
    "with gaps": ((1, 2), (2, 3), NONE),
    "one by one": ((3, 3), (1, 1), NONE),
    "large": ((17, 16), (4, 4), ((8, 8), (8, 7))),  # more cells than a byte counts
}


def add_pooling(name, pool):
    shape = (7, 3, 6, 7)
    grad_shape = (7, 3, *output_size(shape[2:], *pool))
    CASES[f"max_pool2d {name}"] = lambda d: (d(*shape), *pool)
    CASES[f"max_pool2d {name}, no index"] = lambda d: (d(*shape), *pool, False)
    CASES[f"max_pool2d_grad {name}"] = lambda d: (
        d(*grad_shape), reference.max_pool2d(d(*shape), *pool)[1], shape, *pool
    )  # fmt: skip
    CASES[f"avg_pool2d {name}"] = lambda d: (d(*shape), *pool)
    CASES[f"avg_pool2d_grad {name}"] = lambda d: (d(*grad_shape), shape, *pool)


for name, pool in POOLS.items():
    add_pooling(name, pool)


LARGE = (4, 3, 50, 60)  # `tuned` computes formulas of large arrays in pieces


def add_formula(formula, parameters):
    arguments = (formula, parameters)
    for shape in ((5, 3, 2, 4), LARGE):
        name = f"{formula.name} of {shape[3]}"
        CASES[f"activate {name}"] = lambda d, s=shape: (3 * d(*s), *arguments)
        CASES[f"activate {name} alone"] = lambda d, s=shape: (d(*s), *arguments, False)
        CASES[f"activate_in_place {name}"] = lambda d, s=shape: (d(*s), *arguments)
        CASES[f"activate_grad {name}"] = lambda d, s=shape: (
            d(*s), reference.activate(3 * d(*s), *arguments)[1], *arguments
        )  # fmt: skip


for formula in formulas.FORMULAS.values():
    add_formula(formula, {"elu": (1.3,), "leaky_relu": (0.1,)}.get(formula.name, ()))


def add_attention(name, shape, causal=False, masked=False, dropped=False):
    """Add attention of queries, keys and values (N, T, 3, H, K); the last sample sees nothing."""
    n, t, _, heads, size = shape
    numbers = np.random.default_rng(1).random((n, heads, t, t))
    there = np.arange(t) < np.arange(n)[::-1, np.newaxis] * 2 if masked else None
    options = (there, causal, numbers > 0.3 if dropped else None, 0.3 if dropped else 0.0)
    CASES[f"attend {name}"] = lambda d: (d(*shape), *options)
    CASES[f"attend_grad {name}"] = lambda d: (
        d(n, t, heads, size), d(*shape), reference.attend(d(*shape), *options)[1], *options
    )  # fmt: skip


add_attention("of all steps", (4, 9, 3, 2, 5))
add_attention("of those before", (2, 40, 3, 2, 16), causal=True)
add_attention("masked", (4, 9, 3, 1, 3), masked=True)
add_attention("with dropout", (3, 9, 3, 2, 4), causal=True, masked=True, dropped=True)

CASES |= {
    "adam first": lambda d: (d(5, 4), d(5, 4), d(5, 4), d(5, 4) ** 2, 0.1, 0.9, 0.999, 1e-7, 1),
    "adam later": lambda d: (d(5, 4), d(5, 4), d(5, 4), d(5, 4) ** 2, 0.1, 0.9, 0.999, 0.1, 1000),
    "add": lambda d: (d(5, 3, 2, 4), d(5, 3, 2, 4)),
    "add matrices": lambda d: (d(5, 4), d(5, 4)),
    "as_channels_last": lambda d: (d(5, 3, 2, 4),),
    "batch_moments": lambda d: (3 + 2 * d(700, 3),),
    "batch_norm": lambda d: (3 + 2 * d(700, 3), d(3), d(3), 1e-3),
    "batch_norm_grad": lambda d: (d(700, 3), d(700, 3), d(3), d(3), abs(d(3)), 1e-3),
    "batch_norm_inference": lambda d: (d(24, 3), d(3), d(3), d(3), abs(d(3)), 1e-3),
    "column_sums": lambda d: (d(700, 3),),
    "column_sums of wide rows": lambda d: (d(7, 90),),
    "dropout": lambda d: (d(5, 3, 2, 4), d(5, 3, 2, 4) > 0.3, 0.25),
    "interpolate_pixels": lambda d: (d(7, 3, 2, 4), (2, 3)),
    "interpolate_pixels_grad": lambda d: (d(7, 3, 4, 6), (2, 3)),
    "matmul": lambda d: (d(9, 4), d(4, 5)),
    "matmul of many columns": lambda d: (d(70, 33), d(33, 65)),
    "matmul of one row": lambda d: (d(1, 35), d(35, 65), d(65)),
    "matmul with a bias": lambda d: (d(9, 4), d(4, 5), d(5)),
    "normalize_samples in groups": lambda d: (d(5, 6, 4), d(4), d(4), 2, 1e-3),
    "normalize_samples of one place": lambda d: (d(5, 1, 4), d(4), d(4), 2, 1e-3),
    "normalize_samples by rows": lambda d: (d(5, 6, 4), d(6, 4), d(6, 4), 1, 1e-3),
    "normalize_samples of long rows": lambda d: (d(5, 1, 700), d(1, 700), d(1, 700), 1, 1e-3),
    "normalize_samples with a gamma for each value": lambda d: (
        d(5, 6, 4),
        d(6, 4),
        d(6, 4),
        2,
        1e-3,
    ),
    "normalize_samples_grad in groups": lambda d: (
        d(5, 300, 4),
        d(5, 300, 4),
        d(4),
        d(5, 2),
        abs(d(5, 2)),
    ),
    "normalize_samples_grad by rows": lambda d: (
        d(600, 6, 4),
        d(600, 6, 4),
        d(6, 4),
        d(600, 1),
        abs(d(600, 1)),
    ),
    "normalize_samples_grad of long rows": lambda d: (
        d(5, 1, 700),
        d(5, 1, 700),
        d(1, 700),
        d(5, 1),
        abs(d(5, 1)),
    ),
    "normalize_samples_grad with a gamma for each value": lambda d: (
        d(5, 6, 4),
        d(5, 6, 4),
        d(6, 4),
        d(5, 2),
        abs(d(5, 2)),
    ),
    "activate a matrix": lambda d: (d(5, 4), formulas.RELU),
    "repeat_pixels": lambda d: (d(7, 3, 2, 4), (2, 3)),
    "repeat_pixels_grad": lambda d: (d(7, 3, 4, 6), (2, 3)),
    "add_rows": lambda d: (d(3, 4, 5), np.arange(12).reshape(3, 4) % 7, 9),
    "add_rows of steps": lambda d: (d(4, 3, 5).swapaxes(0, 1), np.arange(12).reshape(3, 4) % 7, 9),
    "softmax_cross_entropy": lambda d: (d(9, 21), abs(d(9, 21))),
    "softmax_cross_entropy of labels": lambda d: (1e4 * d(5, 3), np.abs(np.sign(d(5, 3) - 0.5))),
    "swap_steps": lambda d: (d(4, 5, 3),),
    "sgd": lambda d: (d(6, 5), d(6, 5), d(6, 5), 0.1, 0.9, False),
    "sgd nesterov": lambda d: (d(6, 5, 2, 3), d(6, 5, 2, 3), d(6, 5, 2, 3), 0.1, 0.9, True),
    "value_range": lambda d: (d(5, 3, 2, 4),),
    "value_range below 0": lambda d: (-abs(d(90)),),
    "weight_norm": lambda d: (d(4, 3, 2, 2), d(4), 0),
    "weight_norm_grad": lambda d: (d(4, 3), d(4, 3), d(3), 1),
    "zero_pad2d": lambda d: (d(7, 3, 2, 4), ODD),
    "zero_pad2d_grad": lambda d: (d(7, 3, 4, 6), ODD),
}


def add_recurrent(name, units, samples, features=7, mask=False, start=False):
    """The kernels of recurrent layers, and their gradients for what these return, of 4 steps."""

    def add(kernel, gates, first, starts=1, biased=False):
        def mask_of(d):
            return d(4, samples) > -0.5 if mask else None

        def forward(d):
            b = d(2, gates * units) if biased else d(gates * units)
            before = (d(samples, units) if start else None for _ in range(starts))
            w, u = d(features, gates * units), d(units, gates * units)
            return d(4, samples, features), w, b, u, mask_of(d), *before

        def backward(d):
            kept = as_list(getattr(reference, kernel)(*forward(d)))[first:]
            return d(4, samples, units), d(units, gates * units), *kept, mask_of(d)

        CASES[f"{kernel} {name}"] = forward
        CASES[f"{kernel}_grad {name}"] = backward

    add("simple_rnn", 1, 0)
    add("lstm", 4, 1, starts=2)
    add("gru", 3, 0, biased=True)
    add("gru_reset_before", 3, 0)


add_recurrent("of odd sizes", 5, 9)
add_recurrent("of many features", 5, 9, features=11)
add_recurrent("of one sample", 33, 1)
add_recurrent("with a mask", 5, 9, mask=True)
add_recurrent("with a mask and a start", 16, 21, mask=True, start=True)


# The argument whose memory a kernel may use for its result, see `reference.recurrent`.
USED_UP = {"lstm_grad": 3, "gru_grad": 3}


def kernel_of(case):
    return case.split()[0]


def test_every_kernel_has_a_case():
    assert {kernel_of(case) for case in CASES} == set(dispatch.TABLE)
    for name in dispatch.TABLE:
        assert getattr(kernels, name).__doc__ == getattr(reference, name).__doc__


# ------------------------------------------------------------------------------- the rooms

COMPILED = kernels.compiled()
ROOMS = {"tuned": tuned, "compiled": COMPILED, "reference": reference, "dispatched": kernels}
PLACES = {"tuned": ["1 part", "3 parts"], "compiled": ["1 part", "3 parts"]}
BACKENDS = [
    pytest.param(case, room, place, id=f"{room}-{place}-{case}")
    for case in CASES
    for room in PLACES
    if hasattr(ROOMS[room], kernel_of(case)) and not (room != "tuned" and f"of {LARGE[3]}" in case)
    for place in PLACES[room]
] + [
    pytest.param(case, room, "gpu", id=f"{room}-gpu-{case}", marks=pytest.mark.gpu)
    for case in CASES
    for room in ("reference", "dispatched")
]  # fmt: skip


@pytest.fixture
def in_parts(monkeypatch):
    """Return a function that lets work be shared by so many threads, however small it is."""

    def share(count):
        monkeypatch.setattr(threads, "NUM_THREADS", count)
        for module, name in GRAINS:
            monkeypatch.setattr(module, name, 0)
        monkeypatch.setattr(tiles, "_TILE_BYTES_CPU", 1)

    return share


def modules_of(package):
    names = [] if package is None else [m for m in vars(package).values() if hasattr(m, "__file__")]
    return [package, *names] if package else []


GRAINS = [
    (module, name)
    for module in (tiles, *modules_of(tuned), *modules_of(COMPILED))
    for name in (
        "_GRAIN",
        "GRAIN",
        "PRODUCTS_PER_THREAD",
        "NUMBERS_PER_THREAD",
        "_FEW",
        "_FEW_TO_READ",
    )
    if hasattr(module, name)
]


@pytest.fixture
def without_the_cpu(monkeypatch):
    """Let nobody use the CPU's threads and memory, which are of no use to a GPU."""

    def fail(*arguments, **options):
        pytest.fail("threads and memory of the CPU are of no use to a GPU")

    for module, name in ((threads, "run"), (memory, "empty"), (memory, "empty_like")):
        monkeypatch.setattr(module, name, fail)


def arguments_of(case, dtype, order):
    """Return the same random arguments for a case at each call."""
    rng = np.random.default_rng(4)

    def draw(*shape):
        values = rng.normal(size=shape).astype(dtype)
        if order == "channels last" and len(shape) == 4:
            return np.ascontiguousarray(values.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        if order == "strided":
            return np.repeat(values, 2, axis=-1)[..., ::2]
        return values

    return CASES[case](draw)


def as_list(result):
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("case", "room", "place"), BACKENDS)
def test_equals_the_reference(case, room, place, dtype, request):
    orders = ["contiguous", "channels last", "strided"]
    expected = {}
    for order in orders:
        own = arguments_of(case, dtype, order)
        expected[order] = (as_list(getattr(reference, kernel_of(case))(*own)), own)
    if place == "gpu":
        request.getfixturevalue("without_the_cpu")
    if place.endswith(("part", "parts")):
        request.getfixturevalue("in_parts")(int(place[0]))
    for order in orders:
        moved = arguments_of(case, dtype, order)
        if place == "gpu":
            moved = [cuda.to_gpu(k) if isinstance(k, np.ndarray) else k for k in moved]
        found = as_list(getattr(ROOMS[room], kernel_of(case))(*moved))
        results, own = expected[order]
        if kernel_of(case) in USED_UP:
            own, moved = (
                [x for k, x in enumerate(given) if k != USED_UP[kernel_of(case)]]
                for given in (own, moved)
            )
        # What a kernel changes in place is compared too, and what it must not change.
        for one, other in zip([*results, *own], [*found, *moved], strict=True):
            if not hasattr(one, "dtype"):
                assert not hasattr(other, "dtype")
                continue
            assert (other.dtype, other.shape) == (one.dtype, one.shape)
            bound = TOLERANCE[dtype] * max(1, np.abs(one).max(initial=0))
            np.testing.assert_allclose(cuda.to_cpu(other), one, rtol=TOLERANCE[dtype], atol=bound)


@pytest.mark.parametrize("case", CASES)
def test_the_reference_keeps_float32(case):
    kernel = getattr(reference, kernel_of(case))
    wide = as_list(kernel(*arguments_of(case, "float64", "contiguous")))
    narrow = as_list(kernel(*arguments_of(case, "float32", "contiguous")))
    for exact, found in zip(wide, narrow, strict=True):
        if exact is None:
            assert found is None
            continue
        assert found.dtype == ("float32" if exact.dtype == "float64" else exact.dtype)
        bound = 2e-5 * max(1, np.abs(exact).max(initial=0))
        np.testing.assert_allclose(found, exact, rtol=2e-5, atol=bound)


# --------------------------------------------------------------------------- the dispatch


@pytest.mark.parametrize("other", ["float64", ">f4", "float16"])
def test_arrays_of_mixed_dtypes_run_the_reference(other, rng):
    """Machine code would read the bytes of one dtype as another's."""
    x, w = rng.normal(size=(2, 3, 5, 5)), rng.normal(size=(4, 3, 3, 3))
    expected = reference.conv2d(x, w, None)
    for dtypes in (("float32", other), (other, "float32")):
        one, two = (array.astype(dtype) for array, dtype in zip((x, w), dtypes, strict=True))
        for y in (kernels.conv2d(one, two, None), kernels.conv2d(one, w=two, b=None)):
            np.testing.assert_allclose(y, expected, rtol=2e-2, atol=2e-2)


@pytest.mark.gpu
def test_arrays_of_the_gpu_run_its_kernels(monkeypatch, rng):
    monkeypatch.setattr(dispatch, "TABLE", {name: {} for name in dispatch.TABLE})
    calls = []
    monkeypatch.setattr(gpu, "sgd", lambda *arguments: calls.append(arguments))
    sgd = dispatch.dispatched(reference.sgd)
    param, grad, velocity = cuda.to_gpu(rng.normal(size=(3, 3, 4)))
    sgd(param, grad, velocity, 0.1, 0.9, False)
    assert len(calls) == 1
    sgd(param, grad.astype("float32"), velocity, 0.1, 0.9, False)
    with pytest.raises(TypeError, match=r"Unsupported type <class 'numpy\.ndarray'>"):
        sgd(param, cuda.to_cpu(grad), velocity, 0.1, 0.9, False)
    sgd(*cuda.to_gpu(rng.normal(size=(3, 3, 4)).astype("float16")), 0.1, 0.9, False)
    sgd(*rng.normal(size=(3, 3, 4)), 0.1, 0.9, False)
    assert len(calls) == 1


def test_a_subclass_of_numpy_arrays_runs_the_reference(rng):
    class Own(np.ndarray):
        pass

    x = rng.normal(size=(2, 3)).view(Own)
    np.testing.assert_array_equal(kernels.column_sums(x), np.asarray(x).sum(axis=0))
    assert dispatch.TABLE["column_sums"][Own] is reference.column_sums


def test_compiled_kernels_are_used_if_numba_is_there():
    kernels.column_sums(np.ones((2, 3)))
    found = dispatch.TABLE["column_sums"][np.ndarray]
    has_numba = importlib.util.find_spec("numba") is not None
    assert found is (COMPILED.column_sums if has_numba else tuned.column_sums)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("count", [1, 3])
def test_the_range_shows_numbers_that_are_not_finite(count, bad, dtype, in_parts):
    in_parts(count)
    x = np.random.default_rng(0).standard_normal((9, 50)).astype(dtype)
    for place in (0, 217, 449):
        spoiled = x.copy()
        spoiled.flat[place] = bad
        expected = (spoiled.min(), spoiled.max())
        np.testing.assert_array_equal(kernels.value_range(spoiled), expected)
        np.testing.assert_array_equal(reference.value_range(spoiled), expected)
