"""Processes that MPI starts and connects, through mpi4py: `mpiexec -n 4 python train.py`."""

import contextlib
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import checks
from ..kernels.cpu import threads
from ..layers.shard import started_processes
from .communicator import Array, Communicator
from .faults import Watch


class MPI(Communicator):
    """The processes of an MPI job; without MPI, or in a job of one, this process alone.

    Pass it to `Model.compile`. Each process makes one, with the same arguments.

    Parameters
    ----------
    timeout
        Seconds that a process waits for the others before the job ends with an error that names
        those that do not answer. It must be longer than anything that only some of them do, such
        as saving a file.
    sync_batch_norm
        Whether batch normalisation uses mean and variance of the whole batch, as one process
        does. False uses those of each process' rows, which saves two exchanges a layer; the
        running averages are then those of rank 0.
    share_cores
        Whether the processes on a machine divide its cores among their threads. False leaves the
        numbers of threads as they are.

    Attributes
    ----------
    rank, size : int
        The number of this process, counted from 0, and how many there are.
    local_size : int
        How many of them are on this machine.

    Raises
    ------
    ImportError
        If `mpiexec` has started several processes, but mpi4py is not installed.
    RuntimeError
        If the `mpiexec` is that of another MPI than mpi4py uses, so that each process is alone.

    Warns
    -----
    UserWarning
        If there are more processes on a machine than cores.

    Notes
    -----
    The sum of gradients is computed by nn, in the order of the ranks: each process adds up a part
    of the arrays and sends it to all others. So results repeat bit for bit, whatever algorithm the
    MPI library prefers, and are equal in all processes.

    Examples
    --------
    >>> mpi = MPI()
    >>> mpi.rank, mpi.size
    (0, 1)
    """

    def __init__(
        self, timeout: float = 600.0, sync_batch_norm: bool = True, share_cores: bool = True
    ) -> None:
        timeout = checks.positive("MPI", "timeout", timeout)
        self.syncs_batch_norm = checks.boolean("MPI", "sync_batch_norm", sync_batch_norm)
        checks.boolean("MPI", "share_cores", share_cores)
        self.local_size = 1
        self._mpi = _find_mpi()
        if self._mpi is None or self._mpi.COMM_WORLD.size == 1:
            return
        control = self._mpi.COMM_WORLD.Dup()
        self.rank, self.size = control.rank, control.size
        self._watch = Watch(self._mpi, control, timeout)
        self._connect()
        self._buffer = self._received = np.zeros(0)
        self.local_size = self._share_cores(share_cores)

    def _connect(self) -> None:
        """Make the communicators of the exchanges, and of the beginnings of blocks."""
        self._comm, self._entries = self._watch.control.Dup(), self._watch.control.Dup()

    # --------------------------------------------------------------------------- exchanges

    def exchange(self, values: np.ndarray) -> np.ndarray:
        """Return the arrays (n,) of all processes, (size, n)."""
        if self.size == 1:
            return super().exchange(values)
        found = np.empty((self.size, *values.shape), values.dtype)
        self._watch.wait([self._comm.Iallgather(np.ascontiguousarray(values), found)])
        return found

    def gather(self, value: Any) -> list[Any]:
        """Return the objects of all processes."""
        own = np.frombuffer(pickle.dumps(value, pickle.HIGHEST_PROTOCOL), np.uint8)
        lengths = self.exchange(np.array([len(own)]))[:, 0]
        padded = np.zeros(int(lengths.max()), np.uint8)
        padded[: len(own)] = own
        found = self.exchange(padded)
        return [pickle.loads(row[:n].data) for row, n in zip(found, lengths, strict=True)]

    def broadcast(self, value: Any) -> Any:
        """Return the object of rank 0; it is pickled, so that the others need not have one."""
        if self.size == 1:
            return value
        own = b"" if self.rank else pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        length = int(self.exchange(np.array([len(own)]))[0, 0])
        data = np.frombuffer(own, np.uint8) if self.rank == 0 else np.empty(length, np.uint8)
        self._watch.wait([self._comm.Ibcast(data, root=0)])
        return pickle.loads(data.data) if self.rank else value

    def buffer(self, count: int, like: Array) -> Array:
        """Return an array (n,) for `add` on the CPU; n is a multiple of the processes.

        It is the same array each time, until another length or type is asked for.
        """
        size = -(-count // self.size) * self.size
        if self.size == 1:
            return np.zeros(size, like.dtype)
        if (size, like.dtype) != (len(self._buffer), self._buffer.dtype):
            self._buffer, self._received = np.zeros((2, size), like.dtype)
        self._buffer[count:] = 0  # which are added up as well
        return self._buffer

    def add(self, buffer: Array, header: np.ndarray) -> np.ndarray:
        """Add up the buffers of all processes in place; return their headers."""
        if self.size == 1:
            return super().add(buffer, header)
        if len(buffer) != len(self._received) or buffer.dtype != self._received.dtype:
            self._received = np.empty_like(buffer)
        parts = buffer.reshape(self.size, -1)  # (n,) -> (size, n / size)
        headers = np.empty((self.size, *header.shape))
        received = self._received.reshape(self.size, -1)
        requests = [self._comm.Iallgather(header, headers), self._comm.Ialltoall(parts, received)]
        self._watch.wait(requests)
        _add_in_order(received, out=parts[self.rank])
        self._watch.wait([self._comm.Iallgather(self._mpi.IN_PLACE, buffer)])
        return headers

    # ------------------------------------------------------------------------------- faults

    @contextlib.contextmanager
    def together(self, what: str) -> Iterator[None]:
        """Raise an exception of one process in all of them, at the end of a `with` block."""
        if self.size == 1:
            yield
            return
        self._watch.doing.append(what)
        try:
            self._check_entries(what)
            yield
            self.exchange(np.zeros(1))  # so that none has left while another raises
        except BaseException as error:
            raised = self._watch.share(error)
            self._connect()  # without exchanges that were broken off
            if raised is error:
                raise
            raise raised from None
        finally:
            self._watch.doing.pop()

    def _check_entries(self, what: str) -> None:
        """Wait until all processes begin a block; raise if it is not the same one."""
        found = np.zeros((self.size, 32), "S1")
        own = np.frombuffer(what.encode().ljust(32)[:32], "S1")
        self._watch.wait([self._entries.Iallgather([own, self._mpi.CHAR], [found, self._mpi.CHAR])])
        calls = [row.tobytes().decode().strip() for row in found]
        if len({*calls}) > 1:
            listed = ", ".join(f"rank {rank} calls {call}" for rank, call in enumerate(calls))
            raise RuntimeError(
                f"[distributed] all processes must make the same calls in the same order: {listed}."
            )

    def _share_cores(self, share_cores: bool) -> int:
        """Let the processes on this machine share its cores; return how many there are."""
        local = self._mpi.COMM_WORLD.Split_type(self._mpi.COMM_TYPE_SHARED)
        own = threads.usable_cores()
        sets = local.allgather(own)
        sharing = sum(bool(own & other) for other in sets)
        cores = len(set().union(*sets))
        if share_cores:
            threads.limit_threads(max(1, len(own) // sharing))
        if local.rank == 0 and local.size > cores:
            checks.warn(
                f"[distributed] {local.size} processes share {cores} "
                f"core{'s' * (cores > 1)} of this machine, which makes each of them slow: start "
                f"as many processes as there are cores, 'mpiexec -n {cores}'."
            )
        return int(local.size)


def _add_in_order(parts: np.ndarray, out: np.ndarray) -> None:
    """Add up the rows of parts (size, n), the first one first."""
    np.add(parts[0], parts[1], out=out)
    for part in parts[2:]:
        out += part


def _find_mpi() -> Any:
    """Return the module `mpi4py.MPI`; None if it is not installed and no launcher wants it."""
    launched = started_processes()
    try:
        from mpi4py import MPI as mpi  # noqa: N811
    except (ImportError, RuntimeError) as error:  # not installed, or without an MPI library
        if launched == 1:
            return None
        raise ImportError(
            f"[distributed] this is one of {launched} processes, but mpi4py cannot be imported "
            f"({error}): 'pip install mpi4py', and 'pip install mpich' unless this machine has an "
            "MPI."
        ) from error
    if launched > 1 and mpi.COMM_WORLD.size == 1:
        raise RuntimeError(
            f"[distributed] mpiexec has started {launched} processes, but each of them is alone: "
            f"it belongs to another MPI than mpi4py uses ({mpi.Get_library_version().split()[0]}). "
            "Start them with the 'mpiexec' of that MPI, such as the one next to this Python."
        )
    return mpi
