"""The one importer of CuPy, also with a CuPy that is broken."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import HAS_GPU, STAND_IN

from nn import cuda

PACKAGE = Path(cuda.__file__).parent


def run(code, path=None, **environment):
    environment = {**os.environ, **environment}
    if path is not None:
        environment["PYTHONPATH"] = f"{path}{os.pathsep}{PACKAGE.parent}"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_nothing_else_imports_cupy():
    importers = [
        path.name
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^\s*(import|from) cupy", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert importers == ["cuda.py"]


def test_moves_keep_values_and_layout(device, to_device):
    x = np.arange(24.0).reshape(1, 2, 3, 4).transpose(0, 3, 1, 2)
    there = to_device(x)
    assert there.strides == x.strides
    back = cuda.to_cpu(there)
    np.testing.assert_array_equal(back, x)
    assert back.strides == x.strides
    assert (cuda.get_array_module(there) is np) == (device == "cpu")
    assert cuda.to_device(there, device) is there
    assert cuda.get_array_module(x, there) is cuda.get_array_module(there)


def test_to_cpu_takes_lists():
    assert isinstance(cuda.to_cpu([1, 2]), np.ndarray)


@pytest.mark.skipif(cuda.CUDA_AVAILABLE, reason="there is a GPU")
def test_without_a_gpu():
    assert not cuda.USE_CUDA
    assert cuda.get_device_name().startswith("CPU (")
    with pytest.raises(RuntimeError, match="needs a GPU and CuPy, but CuPy"):
        cuda.to_gpu(np.zeros(1))


@pytest.mark.gpu
def test_with_a_gpu():
    path = None if HAS_GPU else STAND_IN
    code = (
        "import numpy as np; from nn import cuda; x = cuda.to_gpu(np.ones(3))\n"
        "print(cuda.USE_CUDA, cuda.get_array_module(x).__name__, cuda.get_device_name())"
    )
    result = run(code, path)
    assert result.stdout.startswith("True cupy "), result.stderr
    assert "CPU" not in result.stdout
    code = "from nn import cuda; print(cuda.USE_CUDA)"
    assert run(code, path, NN_DISABLE_CUDA="1").stdout == "False\n"


@pytest.fixture
def broken_cupy(tmp_path):
    """A folder with a CuPy that imports but finds no device."""
    (tmp_path / "cupy.py").write_text("def zeros(n):\n    raise RuntimeError('no driver')\n")
    return tmp_path


def test_a_cupy_without_a_device_is_no_cupy(broken_cupy):
    code = "from nn import cuda; print(cuda.CUDA_AVAILABLE)"
    result = run(code, broken_cupy)
    assert (result.stdout, result.stderr) == ("False\n", "")
    forced = run(code, broken_cupy, NN_FORCE_CUDA="1")
    assert "CuPy found no working GPU (no driver)" in forced.stderr


def test_disable_does_not_even_import_it(broken_cupy):
    (broken_cupy / "cupy.py").write_text("print('imported')")
    code = "from nn import cuda; print(cuda.CUDA_AVAILABLE)"
    assert run(code, broken_cupy, NN_DISABLE_CUDA="1").stdout == "False\n"
