"""The stand-in for CuPy refuses what CuPy refuses, and what a device answers with nonsense."""

import copy
import inspect
import re

import numpy as np
import pytest
from cupy_stand_in import cupy
from cupy_stand_in.cupy import signatures, transfers, wrapped

A = np.arange(6.0, dtype="float32").reshape(2, 3)

needs_a_compiler = pytest.mark.skipif(cupy.COMPILER is None, reason="needs a compiler of C++")


@pytest.fixture
def a():
    return cupy.asarray(A)


# ------------------------------------------------------------------- what CuPy refuses

CONVERSIONS = {
    "asarray": np.asarray,
    "array": np.array,
    "assert_allclose": lambda a: np.testing.assert_allclose(A, a),
    "linalg": np.linalg.svd,
    "a method of NumPy's array": lambda a: np.zeros((2, 3)).dot(a.T),
    "assignment to NumPy's array": lambda a: np.zeros((2, 3)).__setitem__(..., a),
    "index of NumPy's array": lambda a: A[a.astype(int)],
}
MIXTURES = {
    "operator": lambda a: a * A,
    "operator from the left": lambda a: A * a,
    "in place": lambda a: a.__iadd__(A),
    "into NumPy's array": lambda a: np.add(a, a, out=A.copy()),
    "product of matrices": lambda a: a @ A.T,
    "product from the left": lambda a: A.T @ a,
    "comparison": lambda a: a == A,
    "function of CuPy": lambda a: cupy.maximum(a, A),
    "function of NumPy": lambda a: np.maximum(a, A),
    "one argument of three": lambda a: np.where(a > 0, A, a),
    "within a list": lambda a: np.concatenate([a, A]),
    "array of no axes": lambda a: a * np.array(2.0),
    "assignment": lambda a: a.__setitem__(..., A),
    "function of CuPy alone": lambda a: cupy.sum(A),
}
UNSUPPORTED = {
    "list": lambda a: np.add(a, [1.0, 2.0, 3.0]),
    "where": lambda a: np.add(a, a, where=a > 0),
    "where of a reduction": lambda a: np.sum(a, where=a > 0),
    "initial": lambda a: a.max(initial=0),
    "initial of a function": lambda a: np.max(a, initial=0),
    "at": lambda a: np.add.at(a, 0, 1),
    "reduce": lambda a: np.add.reduce(a),
    "outer": lambda a: np.multiply.outer(a, a),
    "order": lambda a: np.add(a, a, order="F"),
    "a function that CuPy has not": lambda a: np.einsum_path("ij->i", a),
    "casting": lambda a: a.astype(int, casting="safe"),
    "a keyword of NumPy 2": lambda a: np.reshape(a, shape=(3, 2), copy=True),
    "index": lambda a: range(a.sum()),
    "too large an output": lambda a: cupy.add(a[:1], 1, out=a),
}


def test_implicit_conversion_raises(a):
    for convert in CONVERSIONS.values():
        with pytest.raises(TypeError):
            convert(a)
    with pytest.raises(TypeError, match=r"Implicit conversion to a NumPy array is not allowed"):
        np.asarray(a)


@pytest.mark.parametrize("mix", MIXTURES.values(), ids=list(MIXTURES))
def test_mixing_with_numpy_raises(a, mix):
    with pytest.raises(
        TypeError, match=r"Unsupported type|needs an array of the device|Output arg"
    ):
        mix(a)


@pytest.mark.parametrize("call", UNSUPPORTED.values(), ids=list(UNSUPPORTED))
def test_what_cupy_has_not_raises(a, call):
    with pytest.raises((TypeError, ValueError)):
        call(a)


@pytest.mark.parametrize("name", ["einsum", "fft", "setdiff1d", "add_at"])
def test_other_functions_are_not_there(name):
    assert not hasattr(cupy, name)


@pytest.mark.parametrize(
    "values", [["a"], [None], np.array(1, "datetime64[s]"), np.zeros(1, "i4,f4")]
)
def test_a_device_holds_numbers_alone(values):
    with pytest.raises(ValueError, match="Unsupported dtype"):
        cupy.asarray(values)
    with pytest.raises(ValueError, match="Unsupported dtype"):
        cupy.zeros(3, dtype=object)


# ------------------------------------------------------- what a device answers with nonsense


def test_indices_out_of_bounds_and_named_twice_raise(a):
    with pytest.raises(IndexError):
        a[cupy.asarray([0, 2])]
    with pytest.raises(ValueError, match="several values are assigned to one place"):
        a[cupy.asarray([1, 1])] = a
    a[cupy.asarray([1, 1])] = 7  # the same value
    with pytest.raises(NotImplementedError, match="more than one mask"):
        a[cupy.asarray([True, False]), cupy.asarray([True, False, True])]


def test_new_memory_is_full_of_nonsense(a):
    assert np.isnan(cupy.empty((2, 3), "float32").get()).all()
    assert np.isnan(cupy.empty_like(a).get()).all()
    assert cupy.empty(2, "int32").get().tolist() == [2**31 - 1] * 2


def test_a_kernel_that_leaves_its_array_raises(a):
    leave = cupy.ElementwiseKernel("raw T x", "T y", "y = x[i + 1]", "leave")
    with pytest.raises(IndexError, match="the kernel 'leave' reads or writes beyond an array"):
        leave(a, cupy.empty_like(a))


def test_an_output_that_overlaps_an_input_raises(a):
    kernel = cupy.ElementwiseKernel("T x", "T y", "y = 2 * x", "double_it")
    kernel(a, a)  # element by element
    np.testing.assert_array_equal(a.get(), 2 * A)
    with pytest.raises(ValueError, match="an output shares memory with another argument"):
        kernel(a[0, ::-1], a[0])


# ------------------------------------------------------------------------------- kernels


@needs_a_compiler
def test_a_kernel_computes_for_each_kind_of_argument(a):
    kernel = cupy.ElementwiseKernel(
        "T x, T column, raw T table, T p, bool twice, int32 k",
        "T y, bool above",
        "y = (x + column + table[k]) * (twice ? T(2) : p); above = y > 8",
        "all_kinds",
    )
    column, table = cupy.asarray(A[:, :1]), cupy.asarray(A)
    for dtype in ("float32", "float64"):
        y = cupy.empty((3, 2), dtype).T
        above = cupy.empty((2, 3), bool)
        there = [array.astype(dtype) for array in (a, column, table)]
        kernel(*there, 1.5, False, 4, y, above)
        expected = (A + A[:, :1] + 4) * 1.5
        np.testing.assert_allclose(y.get(), expected)
        assert (above.get() == (expected > 8)).all()


@needs_a_compiler
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": A}, TypeError, "Unsupported type"),
        ({"x": A.astype("float64")}, TypeError, "Type is mismatched. x float64 float32"),
        ({"y": np.zeros((2, 2), "float32")}, ValueError, "broadcast"),
        ({"x": A[:, :1], "y": A[:1]}, ValueError, "Out shape is mismatched"),
        ({"operation": "y = nothing"}, RuntimeError, "does not compile"),
        ({"operation": "x = y"}, RuntimeError, "read-only"),
        ({"name": "a b"}, ValueError, "Invalid kernel name"),
        ({"inputs": "T i"}, ValueError, "Can not use"),
        ({"inputs": "T x, T z"}, TypeError, "Wrong number of arguments"),
    ],
)
def test_a_wrong_call_of_a_kernel_raises(a, change, error, message):
    given = {"inputs": "T x", "operation": "y = x", "name": "copy_it", "x": a, "y": A, **change}
    x = given["x"]
    if change.get("x") is not None and change["x"] is not A:
        x = cupy.asarray(x)
    with pytest.raises(error, match=message):
        kernel = cupy.ElementwiseKernel(given["inputs"], "T y", given["operation"], given["name"])
        kernel(x, cupy.asarray(given["y"]))


# ------------------------------------------------------------------- what CuPy does


def test_functions_of_numpy_run_on_the_device(a):
    for result in (np.exp(a), np.where(a > 2, a, 0), np.concatenate([a, a]), np.float32(2) * a):
        assert type(result) is cupy.ndarray
    np.testing.assert_allclose(np.exp(a).get(), np.exp(A), rtol=1e-6)
    assert np.shape(a) == (2, 3)


def test_results_of_arithmetic_are_in_c_order(a):
    assert (a.T + 1).flags.c_contiguous
    assert np.exp(a.T).flags.c_contiguous
    assert a.T[[0, 2]].flags.c_contiguous
    assert cupy.empty_like(a.T).flags.f_contiguous
    assert cupy.asarray(A.T).flags.f_contiguous
    channels_last = np.zeros((2, 4, 5, 3)).transpose(0, 3, 1, 2)
    assert cupy.asarray(channels_last).flags.c_contiguous
    assert a.T.get().flags.c_contiguous


def test_single_elements_are_arrays_that_share_memory(a):
    element = a[1, 2]
    assert type(element) is cupy.ndarray
    assert element.shape == ()
    element[...] = 9
    assert float(a[1, 2]) == 9
    assert type(a.sum()) is cupy.ndarray


def test_nothing_warns(a):
    assert np.isinf((a / 0).get()).any()
    assert np.isinf(np.exp(a * 1000).get()).any()


def test_what_waits_for_the_device_is_counted(a):
    calls = [
        lambda: a.get(), lambda: cupy.asnumpy(a), lambda: float(a.sum()), lambda: a.sum().item(),
        lambda: bool((a > 0).all()), lambda: a[a > 2], lambda: a.tolist(), lambda: repr(a),
        lambda: f"{a.sum()}", lambda: cupy.nonzero(a), lambda: np.unique(a),
        lambda: 1 if a.any() else 0, lambda: a.sum() in (15.0,), lambda: copy.copy(a).tobytes(),
    ]  # fmt: skip
    for call in calls:
        before = len(transfers.TO_HOST)
        call()
        assert len(transfers.TO_HOST) == before + 1
    assert transfers.TO_HOST[-1][1] == "test_cupy_stand_in.py"
    before = len(transfers.TO_HOST)
    a[a > 2] = 0
    a += a.sum() * np.exp(a) @ a.T @ a
    assert len(a) == a.shape[0] == 2
    assert len(transfers.TO_HOST) == before
    before = len(transfers.TO_DEVICE)
    a[[0, 1]], cupy.asarray(A)
    assert len(transfers.TO_DEVICE) == before + 2


def arguments_of(function):
    try:
        return list(inspect.signature(function).parameters)
    except ValueError:  # compiled: its docstring begins with the signature
        text = re.search(r"\((.*?)\)", function.__doc__).group(1)
        names = [re.sub(r"\w+ (?=\w)", "", part).split("=")[0] for part in text.split(", ")]
        return [name.strip("*") for name in names if name not in ("self", "/")]


def test_every_argument_is_one_of_cupys():
    """It needs CuPy, but no GPU."""
    real = pytest.importorskip("cupy", reason="needs CuPy, with or without a GPU")
    for name in signatures.UFUNCS:
        assert isinstance(getattr(real, name), real.ufunc)
    for table, place in ((signatures.FUNCTIONS, real), (signatures.METHODS, real.ndarray)):
        for name, line in table.items():
            if name == "matmul":
                continue  # CuPy's takes any
            theirs = arguments_of(getattr(place, name))
            for position, (own, parameter) in enumerate(wrapped.signature(line).parameters.items()):
                assert own in theirs, (name, own, theirs)
                if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                    assert theirs.index(own) == position, (name, own, theirs)
