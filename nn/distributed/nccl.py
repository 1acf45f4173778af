"""Processes with a GPU each: MPI starts them and carries what is small, NCCL the gradients.

This has been tested with a stand-in for CuPy's `cupyx.distributed`, and never been run on GPUs.
"""

import importlib
from typing import Any

import numpy as np

from .. import checks, cuda
from .communicator import Array
from .mpi import MPI


class NCCL(MPI):
    """The processes of an MPI job, one for each GPU, which add up their gradients by NCCL.

    Process k of a machine uses its GPU number k. Objects, figures and the statistics of batch
    normalisation go through MPI on the CPU, gradients from GPU to GPU through NCCL
    (`cupyx.distributed`). It has been tested with a stand-in for CuPy, and never been run on GPUs.

    Parameters
    ----------
    timeout, sync_batch_norm, share_cores
        As for `MPI`. A process that waits for NCCL itself does not watch the others.

    Raises
    ------
    RuntimeError
        If there is no GPU, or more processes on a machine than GPUs.

    See Also
    --------
    MPI : The same on CPUs.
    """

    def __init__(
        self, timeout: float = 600.0, sync_batch_norm: bool = True, share_cores: bool = True
    ) -> None:
        super().__init__(timeout, sync_batch_norm, share_cores)
        if self.size == 1:
            return
        cuda.to_gpu(np.zeros(1))  # raises if there is none
        local = self._mpi.COMM_WORLD.Split_type(self._mpi.COMM_TYPE_SHARED).rank
        devices = cuda.count_devices()
        if local >= devices:
            rule = f"needs a GPU for each process of a machine, which has {devices}"
            raise RuntimeError(str(checks.error("NCCL", "processes", rule, self.local_size)))
        cuda.use_device(local)
        distributed = importlib.import_module("cupyx.distributed")
        self._nccl: Any = distributed.init_process_group(self.size, self.rank, use_mpi=True)

    def buffer(self, count: int, like: Array) -> Array:
        """Return an array (n,) for `add` on the GPU; n is a multiple of the processes."""
        xp = cuda.get_array_module(like)
        return xp.zeros(-(-count // self.size) * self.size, like.dtype)

    def add(self, buffer: Array, header: np.ndarray) -> np.ndarray:
        """Add up the buffers of all processes in place; return their headers.

        NCCL adds in an order of its own, the same each time on the same machines; a part of the
        sum is computed once and sent to all, so that all processes have the same bits.
        """
        headers = self.exchange(header)  # first: a process that has failed is noticed here
        if cuda.get_array_module(buffer) is np:
            return super().add(buffer, header)
        part = cuda.get_array_module(buffer).empty(len(buffer) // self.size, buffer.dtype)
        self._nccl.reduce_scatter(buffer.reshape(self.size, -1), part, len(part), "sum")
        self._nccl.all_gather(part, buffer, len(part))
        return headers
