"""How tests start several processes: `mpiexec`, or threads in their place."""

import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from nn.distributed import Communicator

ROOT = Path(__file__).resolve().parent.parent.parent


def find_mpiexec():
    """Return the command that starts processes, and why there is none if it is None."""
    if importlib.util.find_spec("mpi4py") is None:
        return None, "mpi4py is not installed"
    own = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if own is None:
        return None, "there is no mpiexec"
    version = subprocess.run([own, "--version"], capture_output=True, text=True).stdout
    is_open = "Open MPI" in version or "open-mpi" in version
    return [own, *(["--allow-run-as-root", "--oversubscribe"] if is_open else [])], ""


def command(processes, script, *arguments):
    """Return the command that runs a script in so many processes."""
    return [*find_mpiexec()[0], "-n", str(processes), sys.executable, str(script), *arguments]


def environment(**more):
    found = {**os.environ, "PYTHONPATH": str(ROOT)}
    return {**found, "PYTHONUNBUFFERED": "1", **more}


def launch(processes, script, *arguments, timeout=240, **more):
    """Run a script in so many processes; return how it ended, with its output."""
    return subprocess.run(
        command(processes, script, *arguments),
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )


class Threads(Communicator):
    """Processes that are threads of this one; each has a model of its own."""

    def __init__(self, rank, size, barrier, slots):
        self.rank, self.size, self._barrier, self._slots = rank, size, barrier, slots

    def gather(self, value):
        self._slots[self.rank] = pickle.dumps(value)
        self._barrier.wait()
        found = [pickle.loads(slot) for slot in self._slots]
        self._barrier.wait()
        return found

    def broadcast(self, value):
        return self.gather(value)[0]

    def exchange(self, values):
        return np.stack(self.gather(values))

    def add(self, buffer, header):
        everyone = self.gather((buffer, header))
        buffer[...] = everyone[0][0]
        for other, _ in everyone[1:]:
            buffer += other
        return np.stack([header for _, header in everyone])


def in_threads(size, function):
    """Return function(team) of so many threads, in the order of their ranks."""
    barrier, slots, found = threading.Barrier(size, timeout=20), [None] * size, {}

    def run(rank):
        try:
            found[rank] = function(Threads(rank, size, barrier, slots))
        except threading.BrokenBarrierError:  # another has failed
            pass
        except BaseException as error:
            found[rank] = error
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in found.values():
        if isinstance(result, BaseException):
            raise result
    return [found[rank] for rank in range(size)]
