"""How MPI is found, and what a single process does without it."""

import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
from launching import environment

import nn
from nn.distributed import faults
from nn.layers import shard


@pytest.fixture
def no_launcher(monkeypatch):
    for name in shard.LAUNCHED:
        monkeypatch.delenv(name, raising=False)


def a_module(size):
    """Return what nn reads of `mpi4py`, in a job of so many processes."""
    found = types.ModuleType("mpi4py")
    world = types.SimpleNamespace(size=size)
    found.MPI = types.SimpleNamespace(COMM_WORLD=world, Get_library_version=lambda: "Open MPI v5.0")
    return found


def test_without_mpi_a_script_runs_alone(monkeypatch, no_launcher):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    alone = nn.distributed.MPI()
    assert (alone.rank, alone.size, alone.local_size) == (0, 1, 1)
    buffer = alone.buffer(3, np.zeros(1))
    buffer[:] = [1, 2, 3]
    assert alone.add(buffer, np.ones(2)).tolist() == [[1, 1]]
    assert buffer.tolist() == [1, 2, 3]
    assert alone.gather("a") == ["a"] and alone.broadcast("a") == "a"
    assert alone.exchange(np.ones(2)).tolist() == [[1, 1]]
    with alone.together("a test"):
        assert repr(alone) == "MPI(rank 0 of 1)"


def test_a_job_of_one_process_is_alone(monkeypatch, no_launcher):
    monkeypatch.setitem(sys.modules, "mpi4py", a_module(1))
    model = nn.Model([nn.Dense(2, input_shape=(3,))], seed=0)
    model.compile("cce", distributed=nn.distributed.MPI())
    assert model.distributed is None
    assert nn.distributed.NCCL().size == 1


def test_several_processes_without_mpi4py_are_an_error(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "4")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match="one of 4 processes, but mpi4py cannot be imported"):
        nn.distributed.MPI()


def test_the_mpiexec_of_another_mpi_is_an_error(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    monkeypatch.setitem(sys.modules, "mpi4py", a_module(1))
    with pytest.raises(RuntimeError, match="started 4 processes, but each of them is alone"):
        nn.distributed.MPI()


def test_an_exception_that_cannot_be_pickled_comes_as_its_text():
    error = ValueError(lambda: None)
    assert faults._packed(error) is None
    found = faults._unpacked(True, None, repr(error))
    assert isinstance(found, faults.PeerError) and "ValueError" in str(found)
    assert str(faults._unpacked(True, faults._packed(KeyError("a")), "")) == "'a'"


def test_a_communicator_is_not_pickled():
    assert pickle.loads(pickle.dumps(nn.distributed.Communicator())) is None


TRAINS_ALONE = """
import sys
import numpy as np
import nn
assert "distributed" in dir(nn) and "distributed" in nn.__all__
x, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
model = nn.Model([nn.Dense(2)], seed=0)
model.compile("cce", "sgd")
model.fit(x, y, validation_split=0.2, verbose=0)
model.train_step(x, y), model.evaluate(x, y), model.predict(x)
nn.find_lr(model, x, y, steps=5)
found = [name for name in sys.modules if name.startswith(("nn.distributed", "mpi4py"))]
assert not found, found
assert nn.distributed.MPI is not None and "nn.distributed.mpi" in sys.modules
"""


def test_a_model_that_trains_alone_imports_nothing_of_it():
    """`import nn` is quicker without it, and `nn.distributed` is there all the same."""
    command = [sys.executable, "-c", TRAINS_ALONE]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
