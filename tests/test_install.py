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


@pytest.mark.slow
def test_a_script_in_the_parent_folder_of_a_clone_named_nn(tmp_path):
    pytest.importorskip("hatchling", reason="needs hatchling (the extra 'test')")
    shutil.copytree(ROOT / "nn", tmp_path / "nn" / "nn")
    for name in ("pyproject.toml", "README.md", "LICENSE.md"):
        shutil.copy(ROOT / name, tmp_path / "nn")
    (tmp_path / "script.py").write_text(SCRIPT)
    venv.create(tmp_path / "env", symlinks=os.name != "nt")
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", "--quiet"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *options]
    run([*pip, "--prefix", str(tmp_path / "env"), "-e", str(tmp_path / "nn")], tmp_path)
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    # The packages that nn needs come from this environment, nn itself from the new one.
    packages = sysconfig.get_path("purelib")
    out = run([str(scripts / "python"), "script.py"], tmp_path, PYTHONPATH=packages)
    assert out.split() == ["0.1.0", "Dataset"]
