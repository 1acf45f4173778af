"""Gradients that go from GPU to GPU, on the stand-ins for CuPy and for its `cupyx.distributed`."""

import os
import shutil

import pytest
from launching import ROOT, find_mpiexec, launch

STAND_INS = [ROOT / "tests" / "cupy_stand_in", ROOT / "tests" / "distributed" / "nccl_stand_in"]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(find_mpiexec()[0] is None, reason=find_mpiexec()[1]),
    pytest.mark.skipif(
        not (shutil.which("g++") or shutil.which("clang++")), reason="no compiler of C++"
    ),
]


def test_a_process_without_a_gpu_of_its_own_is_an_error():
    path = os.pathsep.join(map(str, [ROOT, *STAND_INS]))
    ended = launch(2, ROOT / "tests" / "distributed" / "on_gpus.py", PYTHONPATH=path)
    assert ended.returncode != 0
    assert "[NCCL] 'processes' needs a GPU for each process of a machine" in ended.stdout


def test_processes_with_a_gpu_each_give_what_one_process_gives():
    path = os.pathsep.join(map(str, [ROOT, *STAND_INS]))
    ended = launch(
        2, ROOT / "tests" / "distributed" / "on_gpus.py", PYTHONPATH=path, STAND_IN_GPUS="2"
    )
    assert ended.returncode == 0, ended.stdout
    assert "rank 0 of 2" in ended.stdout and "rank 1 of 2" in ended.stdout
