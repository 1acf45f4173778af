"""What all tests share: the devices, the sample of digits, and quiet property-based tests."""

import functools
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import browser as browsers
import hypothesis
import numpy as np
import pytest
from cupy_stand_in import cupy

from nn import cuda, layers

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "mnist_dataset"
FULL_MNIST = ROOT.parent / "shared" / "data" / "mnist"

# Under mutation testing it is enough that an example fails: none needs to be made smaller.
PHASES = list(hypothesis.Phase)
if "MUTANT_UNDER_TEST" in os.environ:
    PHASES = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
hypothesis.settings.register_profile(
    "nn", deadline=None, derandomize=True, max_examples=60, database=None, phases=PHASES
)
hypothesis.settings.load_profile("nn")

#: The folder on which `import cupy` finds the stand-in, for processes that tests start.
STAND_IN = ROOT / "tests" / "cupy_stand_in"
HAS_GPU = cuda.CUDA_AVAILABLE
DEVICES = ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)]


def built(layer, shape, device="cpu", dtype="float64"):
    """Return a layer built for samples of a shape."""
    layer.dtype = dtype
    layer.build((None, *shape))
    layers.stack.move_to_device(layer, device)
    return layer


def pytest_collection_modifyitems(items):
    """Skip the examples in `nn.plot`'s docstrings where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        for item in items:
            if ROOT / "nn" / "plot" in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="needs matplotlib, the extra 'plot'"))


@pytest.fixture(autouse=True)
def gpu(request, monkeypatch):
    """Let a test with the marker `gpu` run on the GPU, or without one on the stand-in for CuPy."""
    if request.node.get_closest_marker("gpu") is None or HAS_GPU:
        return
    if cupy.COMPILER is None:
        pytest.skip("needs a GPU, or for the stand-in a compiler of C++ (g++ or clang++)")
    monkeypatch.setattr(cuda, "_cupy", cupy)
    monkeypatch.setattr(cuda, "CUDA_AVAILABLE", True)
    monkeypatch.setattr(cuda, "_why_not", "")


@pytest.fixture(params=DEVICES)
def device(request):
    """Run a test once on each device."""
    return request.param


@pytest.fixture(autouse=True)
def models_start_on_the_cpu(monkeypatch):
    """Let each test choose its device, also on a machine with a GPU."""
    monkeypatch.setattr(cuda, "USE_CUDA", False)


@pytest.fixture
def arrays_decide_where_they_are_computed(monkeypatch):
    """Let nobody ask for the library of no array: on a GPU it would be the wrong one.

    For tests of arithmetic; elsewhere a user may have given None, which an error tells later.
    """
    library_of = cuda.get_array_module

    def get_array_module(*arrays):
        assert arrays and all(array is not None for array in arrays)
        return library_of(*arrays)

    monkeypatch.setattr(cuda, "get_array_module", get_array_module)


@pytest.fixture
def to_device(device):
    """Return the function that moves an array to the device of the test."""
    return functools.partial(cuda.to_device, device=device)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 600 kB."""
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if not as_root or not sys.platform.startswith("linux"):
        pytest.skip("mounts a disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.fixture(scope="session")
def sample():
    """The shipped sample of MNIST: (train, test)."""
    from nn.data import load_mnist_sample

    return load_mnist_sample(SAMPLE)


def pytest_configure(config):
    """Let Ctrl-C be heard, which tests send: a shell's background jobs are born deaf to it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    """A real browser, for all tests of a module."""
    with browsers.started(tmp_path_factory.mktemp("profile")) as window:
        yield window


@pytest.fixture
def browser(window):
    """Its window, empty at first; what its pages complain of is a failure."""
    with browsers.watched(window) as window:
        yield window


@pytest.fixture(scope="session")
def runtimes(tmp_path_factory):
    """The folders of Pyodide and of ONNX Runtime Web, each with the reason if it is None."""
    import built_site

    return built_site.runtimes(tmp_path_factory.mktemp)


@pytest.fixture(scope="session")
def site(tmp_path_factory, runtimes):
    """The folder of the built documentation."""
    import built_site

    folder = tmp_path_factory.mktemp("site")
    built_site.build(folder, runtimes)
    return folder


@pytest.fixture(scope="session")
def address(site):
    """Where the documentation is served."""
    with browsers.served(site) as address:
        yield address


@pytest.fixture
def needs(runtimes):
    """The function that skips a test if a runtime cannot be had."""

    def check(name):
        folder, reason = runtimes[name]
        if folder is None:
            pytest.skip(reason)

    return check
