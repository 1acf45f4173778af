"""The same training in several processes, on one machine or on many.

`mpiexec -n 4 python train.py` starts a script four times. With

    model.compile("cce", "adam", distributed=nn.distributed.MPI())

the four processes (ranks) share each batch: each computes the gradients of its rows, all add them
up, and all make the same step of the optimizer. `batch_size` is that of the whole batch, and random
numbers are drawn for the whole batch, so that weights, history and checkpoints are those of one
process. Without MPI, or with one process, the script trains alone.

`communicator` defines what the processes exchange, `mpi` does it through mpi4py, `nccl` between
GPUs; `step` is one batch, `agreement` what must be the same in all, `following` what all do as
rank 0 does, and `faults` ends the job if one of them fails. `nn.layers.shard` is what layers know
of it.
"""

from .communicator import Communicator
from .mpi import MPI
from .nccl import NCCL

__all__ = ["MPI", "NCCL", "Communicator"]
