"""The examples run as their users run them, on the shipped sample and with few steps."""

import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, SAMPLE

import nn

EXAMPLE = ROOT / "examples" / "mnist_train.py"


def run(*arguments, cwd, **environment):
    environment = {**os.environ, "NN_DISABLE_CUDA": "1", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, str(EXAMPLE), *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def only_the_sample(tmp_path):
    """A folder with the sample alone, so that neither network nor the full set is used."""
    folder = tmp_path / "data"
    folder.mkdir()
    for path in SAMPLE.glob("sample-*"):
        (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.parametrize(("flags", "parameters"), [(["--small"], "52,138"), ([], "34,826")])
def test_mnist_train_learns_saves_and_loads(flags, parameters, only_the_sample, tmp_path):
    result = run(
        *flags, "--epochs", 2, "--data-dir", only_the_sample, "--no-download", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "sample" in result.stdout
    assert f"{parameters} parameters" in result.stdout
    assert "images/s" in result.stdout
    assert "Most confused digits:" in result.stdout
    assert "Loaded again, it predicts the same: True." in result.stdout
    accuracy = float(re.search(r"Test accuracy: ([\d.]+)%", result.stdout).group(1))
    assert accuracy > 85
    _, test = nn.data.load_mnist_sample(SAMPLE)
    model = nn.Model.load(tmp_path / "mnist_model.hdf5")
    assert model.evaluate(test)["acc"] * 100 == pytest.approx(accuracy, abs=0.01)


def test_mnist_train_gives_the_same_model_for_a_seed(only_the_sample, tmp_path):
    models = []
    for name in ("a.npz", "b.npz"):
        options = ("--small", "--epochs", 1, "--no-download", "--seed", 3, "--out", name)
        result = run(*options, "--data-dir", only_the_sample, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        models.append(nn.Model.load(tmp_path / name))
    for key, array in models[0].get_arrays().items():
        np.testing.assert_array_equal(models[1].get_arrays()[key], array)


def test_mnist_train_without_network_or_data_takes_the_sample_within_seconds(tmp_path):
    """No mirror answers: the proxy that all downloads go through refuses connections."""
    started = time.perf_counter()
    result = run(
        *("--small", "--epochs", 1, "--data-dir", tmp_path / "nowhere"),
        cwd=tmp_path,
        https_proxy="http://127.0.0.1:9",
    )
    assert result.returncode == 0, result.stderr
    assert "the sample of MNIST, 4,000 + 1,000 digits (no full set" in result.stdout
    assert not (tmp_path / "nowhere").exists()
    assert time.perf_counter() - started < 60
