"""`examples/cifar10_train.py --distributed` in two processes."""

import re

import numpy as np
import pytest
from launching import ROOT, find_mpiexec, launch

from nn.data.sets.cifar import CIFAR10

pytestmark = pytest.mark.skipif(find_mpiexec()[0] is None, reason=find_mpiexec()[1])


def test_the_example_trains_in_two_processes_as_in_one(tmp_path, rng):
    folder = tmp_path / "data" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in CIFAR10.batches(CIFAR10.binary):
        count = 50 if "test" in name else 40
        labels = np.arange(count, dtype=np.uint8)[:, np.newaxis] % 10
        pixels = rng.integers(0, 20, (count, 3072), dtype=np.uint8) + 23 * labels
        (folder / name).write_bytes(np.hstack([labels, pixels]).tobytes())
    script = ROOT / "tests" / "distributed" / "run_example.py"
    options = [
        "--no-download",
        "--data-dir",
        str(folder.parent),
        "--epochs",
        "2",
        "--model",
        "cifar",
    ]
    figures = []
    for processes in (1, 2):
        out = tmp_path / f"model{processes}.npz"
        ended = launch(processes, script, *options, "--distributed", "--out", str(out))
        assert ended.returncode == 0, ended.stdout
        assert out.exists() and ended.stdout.count("Test accuracy") == 1
        figures.append(re.findall(r"Test accuracy: [\d.]+%|val_acc [\d.]+", ended.stdout))
    assert figures[0] == figures[1] and len(figures[0]) == 3
