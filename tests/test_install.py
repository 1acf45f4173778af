"""nn is installed from a clone, a wheel and an sdist, and used and tested from there."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest
from conftest import ROOT

import nn

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
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE.md"):
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
    assert out.split() == [nn.__version__, "Dataset"]


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


# ------------------------------------------------------------------------- the wheel and the sdist

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
#: Tests of the sdist that take seconds; the workflow of a release runs all of them.
QUICK = ["tests/test_initializers.py", "tests/test_registry.py", "tests/files/test_fixtures.py"]


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The folder with an sdist of this project, and the wheel that is built from it."""
    pytest.importorskip("hatchling", reason="needs hatchling (the extra 'test')")
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    run([*build, "-t", "sdist"], ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    run([*build, "-t", "wheel"], folder / sdist.name.removesuffix(".tar.gz"))
    return folder


def unpacked(dist):
    (folder,) = (path for path in dist.iterdir() if path.is_dir())
    return folder


def fifteen_lines():
    """Return the first block of code of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)[1]


@pytest.mark.slow
def test_the_wheel_runs_the_fifteen_lines_in_any_folder(dist, tmp_path):
    (wheel,) = dist.glob("*.whl")
    venv.create(tmp_path / "env", symlinks=os.name != "nt")
    run(
        [*PIP, "--no-deps", "--no-index", "--ignore-installed", "--prefix", str(tmp_path / "env"),
         str(wheel)], tmp_path,
    )  # fmt: skip
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    folder = tmp_path / "somewhere"
    folder.mkdir()
    (folder / "lines.py").write_text(fifteen_lines() + "\nprint(nn.__file__)\n")
    # The packages that nn needs come from this environment, nn itself from the new one.
    packages = sysconfig.get_path("purelib")
    out = run([str(scripts / "python"), "lines.py"], folder, PYTHONPATH=packages)
    assert Path(out.splitlines()[-1]).is_relative_to(tmp_path / "env")
    accuracy = float(re.search(r"'acc': ([\d.]+)", out)[1])
    assert accuracy > 0.85, out


@pytest.mark.slow
def test_the_sdist_runs_its_own_tests_in_its_folder(dist):
    folder = unpacked(dist)
    code = "import nn, sys; print(nn.__file__)"
    assert Path(run([sys.executable, "-c", code], folder).strip()).is_relative_to(folder)
    out = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *QUICK], folder)
    assert re.search(r"\d+ passed", out) and "failed" not in out, out


def test_the_sdist_has_every_file_of_the_repository(dist):
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("needs the repository, and git")
    listed = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    own = {".ci/run", ".gitignore"}
    missing = [
        name for name in listed.stdout.splitlines()
        if name not in own and (ROOT / name).exists() and not (unpacked(dist) / name).exists()
    ]  # fmt: skip
    assert missing == []


@pytest.mark.parametrize("path", ["examples/mnist_train.py", "docs/images/speed.png"])
def test_the_wheel_holds_the_package_alone(dist, path):
    import zipfile

    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "nn/py.typed" in names and "nn/exchange/web/page/app.js" in names
    assert path not in names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"nn", "nn_sequential"}


# --------------------------------------------------------------- the distribution named nn


def overwritten(tmp_path, **files):
    """Return a folder with a copy of nn in which another distribution has written files."""
    shutil.copytree(ROOT / "nn", tmp_path / "nn", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in files.items():
        (tmp_path / "nn" / f"{name}.py").write_text(text)
    return tmp_path


def imported(folder):
    command = [sys.executable, "-c", "import nn; print(nn.Dense.__name__)"]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_import_warns_if_the_other_distribution_came_before(tmp_path):
    done = imported(overwritten(tmp_path, layers="", core="", ops=""))
    assert done.returncode == 0 and done.stdout == "Dense\n"
    assert "UserWarning: [nn] Modules of another distribution" in done.stderr
    assert "pip uninstall nn" in done.stderr
    assert "--force-reinstall --no-deps nn-sequential" in done.stderr


def test_import_raises_if_the_other_distribution_has_replaced_it(tmp_path):
    theirs = "from .layers import *\nfrom .core import *\n"  # as in its version 0.1.1
    done = imported(overwritten(tmp_path, __init__=theirs, layers="", core=""))
    assert done.returncode == 1
    assert "ImportError: [nn] Another distribution has replaced nn/__init__.py" in done.stderr
    assert "pip uninstall nn" in done.stderr


def test_import_is_silent_otherwise(tmp_path):
    done = imported(overwritten(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
