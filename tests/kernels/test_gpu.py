"""The GPU's kernels in special cases; `test_rooms` compares them with the reference.

Without a GPU they run on the stand-in for CuPy, which compiles them for the processor.
"""

import numpy as np
import pytest

from nn import cuda
from nn.kernels import channels_first, gpu, reference
from nn.kernels.formulas import RELU

pytestmark = pytest.mark.gpu
NONE = ((0, 0), (0, 0))


def agree(name, *arguments):
    """Compare a kernel of `gpu` with the reference; arrays changed in place are compared too."""
    own = [k.copy(order="K") if isinstance(k, np.ndarray) else k for k in arguments]
    moved = [cuda.to_gpu(k) if isinstance(k, np.ndarray) else k for k in arguments]
    expected, found = getattr(reference, name)(*own), getattr(gpu, name)(*moved)
    results = [r if isinstance(r, tuple) else (r,) for r in (expected, found)]
    pairs = [*zip(*results, strict=True), *zip(own, moved, strict=True)]
    pairs = [(a, b) for a, b in pairs if isinstance(a, np.ndarray)]
    for one, other in pairs:
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert cuda.memory_order(one) == cuda.memory_order(other)
        np.testing.assert_allclose(cuda.to_cpu(other), one, rtol=1e-5, atol=1e-5)


def numbers(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def images(*shape, dtype="float32", seed=0):
    """Return (N, C, H, W) as layers return it, channels-last in memory."""
    n, c, h, w = shape
    return channels_first(numbers(n, h, w, c, dtype=dtype, seed=seed))


def test_max_pool2d_of_equal_values_infinities_and_no_samples():
    x = np.zeros((2, 1, 4, 4), "float32")
    x[1, 0, :2, :2] = -np.inf
    x[1, 0, 2:, 2:] = np.inf
    agree("max_pool2d", x, (2, 2), (2, 2), ((1, 1), (1, 1)))
    agree("max_pool2d", x[:0], (2, 2), (2, 2), NONE)


def test_max_pool2d_passes_a_nan_on():
    x = np.zeros((1, 1, 2, 4), "float32")
    x[0, 0, 0, 0] = x[0, 0, 1, 3] = np.nan
    y, _ = gpu.max_pool2d(cuda.to_gpu(x), (2, 2), (2, 2), NONE)
    assert np.isnan(cuda.to_cpu(y)).all()


def test_relu_passes_a_nan_on():
    y, mask = gpu.activate(cuda.to_gpu(np.array([np.nan, -np.inf, np.inf], "float32")), RELU)
    np.testing.assert_array_equal(cuda.to_cpu(y), [np.nan, 0, np.inf])
    assert cuda.to_cpu(mask).tolist() == [False, False, True]


def test_a_parameter_may_lie_otherwise_in_memory_than_its_gradient():
    param, velocity = images(2, 3, 4, 5), images(2, 3, 4, 5, seed=1)
    grad, v = numbers(2, 3, 4, 5, seed=2), images(2, 3, 4, 5, seed=3) ** 2
    agree("sgd", param, grad, velocity, 0.1, 0.9, True)
    agree("adam", param, grad, velocity, v, 0.1, 0.9, 0.999, 1e-7, 3)
