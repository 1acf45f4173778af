"""The fused kernels of `nn.kernels.gpu` against the readable ones.

There need be no GPU: what is done with one element is C++, which the processor's compiler takes
too. `ElementwiseKernel` here is CuPy's class with a loop on the processor around that.
Where there is a GPU, the same tests run on it as well.
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from conftest import NO_GPU, Twin

from nn import cuda, kernels
from nn.kernels import array, gpu

NONE = ((0, 0), (0, 0))
COMPILER = shutil.which("g++") or shutil.which("clang++") if os.name == "posix" else None
FLAGS = ["-O1", "-shared", "-fPIC", "-Wall", "-Werror"]
C_NAMES = {"float32": "float", "float64": "double", "int32": "int32_t", "bool": "bool"}
C_NAMES |= {"uint8": "uint8_t", "uint16": "uint16_t"}
SOURCE = """
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
using std::max; using std::sqrt;
typedef {type} T;
extern "C" void run(ptrdiff_t n, void** arrays) {{
    {arrays}
    for (ptrdiff_t i = 0; i < n; i++) {{
        {elements}
        {operation};
    }}
}}
"""


class Parameter(NamedTuple):
    """Of a kernel: 'raw T x' is one of kind T, which is read at any place."""

    name: str
    kind: str
    is_raw: bool
    is_output: bool


def parameters(text, is_output):
    words = [parameter.split() for parameter in text.split(", ")]
    return [Parameter(word[-1], word[-2], word[0] == "raw", is_output) for word in words]


class ElementwiseKernel:
    """CuPy's class of this name on the processor, for arrays that are contiguous."""

    def __init__(self, inputs, outputs, operation, name):
        assert name.isidentifier()
        self.parameters = [*parameters(inputs, False), *parameters(outputs, True)]
        self.operation, self.compiled = operation, {}

    def __call__(self, *values):
        types, size = self.types(values), values[-1].shape
        arrays = []
        for value, parameter in zip(values, self.parameters, strict=True):
            if parameter.is_raw or parameter.is_output:
                assert value.flags.c_contiguous
                assert parameter.is_raw or value.shape == size
            else:
                value = np.broadcast_to(np.asarray(value, types[parameter.kind]), size)
            arrays.append(np.ascontiguousarray(value))  # an output, contiguous, is itself
        key = tuple(sorted(types.items()))
        if key not in self.compiled:
            self.compiled[key] = self.compile(types)
        addresses = (ctypes.c_void_p * len(arrays))(*(one.ctypes.data for one in arrays))
        self.compiled[key](ctypes.c_ssize_t(values[-1].size), addresses)

    def types(self, values):
        """Return the dtype of each kind; a letter's is that of the arrays, which must agree."""
        types = {kind: kind for _, kind, *_ in self.parameters if len(kind) > 1}
        for value, parameter in zip(values, self.parameters, strict=True):
            if isinstance(value, np.ndarray) and value.ndim:
                dtype = value.dtype.name
                assert types.setdefault(parameter.kind, dtype) == dtype
        return types

    def compile(self, types):
        names = {kind: C_NAMES[dtype] for kind, dtype in types.items()}
        arrays, elements = [], []
        for k, (name, kind, is_raw, _) in enumerate(self.parameters):
            array_name = name if is_raw else f"{name}_"
            arrays.append(f"{names[kind]}* {array_name} = ({names[kind]}*)arrays[{k}];")
            if not is_raw:
                elements.append(f"{names[kind]}& {name} = {array_name}[i];")
        source = SOURCE.format(
            type=names["T"],
            arrays=" ".join(arrays),
            elements=" ".join(elements),
            operation=self.operation,
        )
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "kernel.cpp").write_text(source)
            command = [COMPILER, *FLAGS, "kernel.cpp", "-o", "kernel.so"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return ctypes.CDLL(f"{folder}/kernel.so").run


class TwinOfCuPy(Twin):
    """NumPy with CuPy's kernels."""

    ElementwiseKernel = ElementwiseKernel


TWIN = TwinOfCuPy()  # one, so that each kernel is compiled once


@pytest.fixture(params=["processor", pytest.param("gpu", marks=pytest.mark.gpu)])
def place(request, monkeypatch):
    """Return the function that moves an array to where `gpu` runs."""
    if request.param == "gpu":
        if not cuda.CUDA_AVAILABLE:
            pytest.skip(NO_GPU)
        return cuda.to_gpu
    if COMPILER is None:
        pytest.skip("needs a compiler of C++ (g++ or clang++)")
    monkeypatch.setattr(cuda, "get_array_module", lambda *arrays: TWIN)
    return np.copy


def agree(name, place, *arguments):
    """Compare a kernel of `gpu`'s with `array`'s; what it changes in place is compared too."""
    own = [k.copy(order="K") if isinstance(k, np.ndarray) else k for k in arguments]
    moved = [place(k) if isinstance(k, np.ndarray) else k for k in arguments]
    expected, found = getattr(array, name)(*own), getattr(gpu, name)(*moved)
    results = [r if isinstance(r, tuple) else (r,) for r in (expected, found)]
    pairs = [*zip(*results, strict=True), *zip(own, moved, strict=True)]
    pairs = [(a, b) for a, b in pairs if isinstance(a, np.ndarray) or b is not a]
    for one, other in pairs:
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert cuda.memory_order(one) == cuda.memory_order(other)
        np.testing.assert_allclose(cuda.to_cpu(other), one, rtol=1e-5, atol=1e-5)


def numbers(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def images(*shape, dtype="float32", seed=0):
    """Return (N, C, H, W) as layers hand it on, channels-last in memory."""
    n, c, h, w = shape
    return array.channels_first(numbers(n, h, w, c, dtype=dtype, seed=seed))


POOLS = {
    "apart": ((2, 2), (2, 2), NONE),
    "odd": ((2, 3), (2, 3), ((1, 0), (0, 2))),
    "overlapping": ((3, 2), (2, 1), ((1, 1), (0, 1))),
    "with gaps": ((1, 2), (2, 3), NONE),
    "left over": ((2, 4), (1, 4), NONE),
    "one by one": ((3, 3), (1, 1), NONE),
    "large": ((17, 16), (4, 4), ((8, 8), (8, 7))),  # more cells than a byte counts
}
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
POOL = pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)


@DTYPES
@POOL
@pytest.mark.parametrize("keep_index", [True, False])
def test_max_pool2d(place, dtype, pool, keep_index):
    agree("max_pool2d", place, images(3, 4, 7, 6, dtype=dtype), *pool, keep_index)


@DTYPES
@POOL
def test_max_pool2d_grad(place, dtype, pool):
    x = images(3, 4, 7, 6, dtype=dtype)
    y, index = array.max_pool2d(x, *pool)
    grad = images(*y.shape, dtype=dtype, seed=1)
    agree("max_pool2d_grad", place, grad, index, x.shape, *pool)


def test_max_pool2d_of_equal_values_infinities_and_no_samples(place):
    x = np.zeros((2, 1, 4, 4), "float32")
    x[1, 0, :2, :2] = -np.inf
    x[1, 0, 2:, 2:] = np.inf
    agree("max_pool2d", place, x, (2, 2), (2, 2), ((1, 1), (1, 1)))
    agree("max_pool2d", place, x[:0], (2, 2), (2, 2), NONE)


def test_max_pool2d_hands_a_nan_on(place):
    x = np.zeros((1, 1, 2, 4), "float32")
    x[0, 0, 0, 0] = x[0, 0, 1, 3] = np.nan
    y, _ = gpu.max_pool2d(place(x), (2, 2), (2, 2), NONE)
    assert np.isnan(cuda.to_cpu(y)).all()


@DTYPES
def test_batch_norm(place, dtype):
    x, (gamma, beta) = numbers(50, 7, dtype=dtype), numbers(2, 7, dtype=dtype, seed=1)
    agree("batch_norm", place, 3 + 2 * x, gamma, beta, 1e-3)


@DTYPES
def test_batch_norm_grad(place, dtype):
    grad, x = numbers(2, 50, 7, dtype=dtype)
    gamma, mean, variance = numbers(3, 7, dtype=dtype, seed=1)
    agree("batch_norm_grad", place, grad, x, gamma, mean, variance**2, 1e-3)


@DTYPES
def test_batch_norm_inference(place, dtype):
    gamma, beta, mean, variance = numbers(4, 7, dtype=dtype, seed=1)
    x = numbers(50, 7, dtype=dtype)
    agree("batch_norm_inference", place, x, gamma, beta, mean, variance**2, 1e-3)


@DTYPES
@pytest.mark.parametrize("make", [numbers, images])
def test_relu_and_dropout(place, dtype, make):
    x = make(2, 3, 4, 5, dtype=dtype)
    x[0, 0, 0, 0] = 0
    agree("relu", place, x)
    agree("relu", place, x, False)
    agree("dropout", place, x, x > 0.3, 0.25)


def test_relu_hands_a_nan_on(place):
    y, mask = gpu.relu(place(np.array([np.nan, -np.inf, np.inf], "float32")))
    np.testing.assert_array_equal(cuda.to_cpu(y), [np.nan, 0, np.inf])
    assert cuda.to_cpu(mask).tolist() == [False, False, True]


@DTYPES
@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd(place, dtype, nesterov):
    agree("sgd", place, *numbers(3, 6, 5, dtype=dtype), 0.1, 0.9, nesterov)


@DTYPES
@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize("eps", [1e-7, 0.1])
def test_adam(place, dtype, step, eps):
    param, grad, m, v = numbers(4, 6, 5, dtype=dtype)
    agree("adam", place, param, grad, m, v**2, 0.1, 0.9, 0.999, eps, step)


def test_a_parameter_may_lie_otherwise_in_memory_than_its_gradient(place):
    param, velocity = images(2, 3, 4, 5), images(2, 3, 4, 5, seed=1)
    grad, v = numbers(2, 3, 4, 5, seed=2), images(2, 3, 4, 5, seed=3) ** 2
    agree("sgd", place, param, grad, velocity, 0.1, 0.9, True)
    agree("adam", place, param, grad, velocity, v, 0.1, 0.9, 0.999, 1e-7, 3)


class OfTheTwin(np.ndarray):
    """An array that NumPy did not make."""


@pytest.mark.skipif(COMPILER is None, reason="needs a compiler of C++ (g++ or clang++)")
def test_arrays_of_the_gpu_are_given_to_its_kernels(monkeypatch):
    def library_of(*arrays):
        return TWIN if any(isinstance(one, OfTheTwin) for one in arrays) else np

    monkeypatch.setattr(cuda, "get_array_module", library_of)
    calls = []
    monkeypatch.setattr(gpu, "sgd", lambda *arguments: calls.append(arguments))
    param, grad, velocity = numbers(3, 4).view(OfTheTwin)
    kernels.sgd(param, grad, velocity, 0.1, 0.9, False)
    assert len(calls) == 1
    kernels.sgd(param, grad.astype("float64"), velocity, 0.1, 0.9, False)  # `array` converts
    kernels.sgd(param, np.asarray(grad), velocity, 0.1, 0.9, False)
    kernels.sgd(*numbers(3, 4, dtype="float16").view(OfTheTwin), 0.1, 0.9, False)
    kernels.sgd(*numbers(3, 4), 0.1, 0.9, False)
    assert len(calls) == 1
