"""A clone named nn is installed, and a script in its parent folder uses it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest
from conftest import ROOT

SCRIPT = """
import nn, nn.data
assert nn.__file__, "an empty namespace: the folder of the clone itself"
print(nn.__version__, nn.data.Dataset.__name__)
"""


def run(command, folder, **variables):
    """Run a command in a folder and return its output."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | variables
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


DIGITS = """
import nn
train, test = nn.data.load_mnist_sample()
print(len(train), len(test), train.class_names[3])
"""


def installed(tmp_path, *options):
    """Install a clone named nn into a fresh environment; return its Python and the packages."""
    pytest.importorskip("hatchling", reason="needs hatchling (the extra 'test')")
    for name in ("nn", "mnist_dataset"):
        shutil.copytree(ROOT / name, tmp_path / "nn" / name)
    for name in ("pyproject.toml", "README.md", "LICENSE.md"):
        shutil.copy(ROOT / name, tmp_path / "nn")
    venv.create(tmp_path / "env", symlinks=os.name != "nt")
    quiet = ["--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", "--quiet"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *quiet]
    run([*pip, "--prefix", str(tmp_path / "env"), *options, str(tmp_path / "nn")], tmp_path)
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    # The packages that nn needs come from this environment, nn itself from the new one.
    return str(scripts / "python"), sysconfig.get_path("purelib")


@pytest.mark.slow
def test_a_script_in_the_parent_folder_of_a_clone_named_nn(tmp_path):
    python, packages = installed(tmp_path, "-e")
    (tmp_path / "script.py").write_text(SCRIPT)
    out = run([python, "script.py"], tmp_path, PYTHONPATH=packages)
    assert out.split() == ["0.1.0", "Dataset"]


@pytest.mark.slow
def test_the_sample_of_digits_is_in_the_package(tmp_path):
    python, packages = installed(tmp_path)
    shutil.rmtree(tmp_path / "nn")
    out = run([python, "-c", DIGITS], tmp_path, PYTHONPATH=packages)
    assert out.split() == ["4000", "1000", "3"]
    (folder,) = (tmp_path / "env").glob("**/mnist_dataset")
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 5
    assert "README.md" in names  # the licence of the digits
