"""Programs whose models are placed on the GPU at once: examples, and those in docstrings.

Without a GPU they find the stand-in for CuPy.
"""

import importlib.util
import os
import subprocess
import sys

import pytest
from conftest import HAS_GPU, ROOT, STAND_IN

pytestmark = pytest.mark.gpu

PROGRAMS = {
    "loop": ["examples/training_loop_by_hand.py", "--model", "mlp", "--epochs", "1"],
    "neuron": [
        "examples/one_neuron_to_deep.py", "--data", "moons", "--steps", "20", "--depth", "1"
    ],
    "own parts": ["examples/custom_layer_loss_optimizer.py", "--epochs", "5"],
}  # fmt: skip


def run(arguments, folder):
    path = [str(ROOT)] if HAS_GPU else [str(ROOT), str(STAND_IN)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "MPLBACKEND": "Agg"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_runs_on_the_gpu(name, tmp_path):
    example, *options = PROGRAMS[name]
    result = run([str(ROOT / example), *options], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_examples_in_the_docstrings_run_on_the_gpu():
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "nn"]
    if importlib.util.find_spec("matplotlib") is None:
        command.append("--ignore=nn/plot")
    result = run(command, ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
