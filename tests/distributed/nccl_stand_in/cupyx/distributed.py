"""What nn uses of `cupyx.distributed`, for the stand-in for CuPy: MPI carries its arrays.

The signatures are those of CuPy 13.6's NCCLBackend. As NCCL does, it takes contiguous arrays of the
device alone, of the sizes that belong together.
"""

import cupy
import numpy as np
from mpi4py import MPI


def init_process_group(n_devices, rank, *, backend="nccl", host=None, port=None, use_mpi=False):
    if backend != "nccl" or not use_mpi:
        raise ValueError("the stand-in needs use_mpi=True")
    return NCCLBackend(n_devices, rank)


class NCCLBackend:
    def __init__(self, n_devices, rank):
        self.size, self.rank, self._comm = n_devices, rank, MPI.COMM_WORLD.Dup()
        if (self._comm.size, self._comm.rank) != (n_devices, rank):
            raise ValueError("the processes are not those of MPI")

    def reduce_scatter(self, in_array, out_array, count, op="sum", stream=None):
        _check(in_array, self.size * count), _check(out_array, count)
        own, found = cupy.asnumpy(in_array).reshape(self.size, count), np.empty(0)
        found = np.empty_like(own)
        self._comm.Alltoall(own, found)
        out_array[...] = cupy.asarray(found.sum(axis=0))

    def all_gather(self, in_array, out_array, count, stream=None):
        _check(in_array, count), _check(out_array, self.size * count)
        own = cupy.asnumpy(in_array)
        found = np.empty((self.size, count), own.dtype)
        self._comm.Allgather(own, found)
        out_array[...] = cupy.asarray(found.reshape(out_array.shape))


def _check(array, size):
    if not isinstance(array, cupy.ndarray):
        raise TypeError(f"NCCL takes arrays of the device, got {type(array)}")
    if array.size != size or not array.flags.c_contiguous:
        raise ValueError(f"expected {size} numbers in C order, got {array.shape}")
