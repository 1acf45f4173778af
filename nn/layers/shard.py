"""A part of a batch: the rows that one of several processes computes, and what layers exchange.

`nn.distributed` divides each batch of a training among processes. Most layers compute row by row
and need not know of it. Those that draw random numbers use `draw`, which draws for the whole batch,
and batch normalisation combines its statistics with those of the other processes.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from .. import cuda, kernels
from .base import Array

#: In which launchers of MPI say how many processes they have started.
LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def started_processes() -> int:
    """Return how many processes a launcher of MPI has started; 1 without one."""
    sizes = [os.environ.get(name, "") for name in LAUNCHED]
    return max((int(size) for size in sizes if size.isdigit()), default=1)


def rows_of(rank: int, size: int, total: int) -> range:
    """Return the rows of a batch of `total` that belong to one of `size` processes.

    Examples
    --------
    >>> [[*rows_of(rank, 3, 5)] for rank in range(3)]
    [[0], [1, 2], [3, 4]]
    """
    return range(total * rank // size, total * (rank + 1) // size)


def slice_of(rank: int, size: int, total: int) -> slice:
    """Return the rows that a process computes: its own, or row 0 if it has none."""
    own = rows_of(rank, size, total)
    return slice(own.start, own.stop) if own else slice(0, 1)


class Shard:
    """The rows of a batch that this process computes.

    A process without rows computes row 0 with the weight 0: so it takes part in all that the
    layers exchange, as every process must.

    Parameters
    ----------
    rank, size
        The number of this process, counted from 0, and how many there are.
    total
        Rows of the whole batch.
    exchange
        Function of an array of float64 (n,) that returns those of all processes, (size, n), in
        their order.
    syncs_batch_norm
        Whether batch normalisation uses the statistics of the whole batch.

    Attributes
    ----------
    rows : slice
        The rows that it computes.
    is_idle : bool
        Whether it has no rows of its own.
    weight : float
        Its share of the rows of the batch.

    Examples
    --------
    >>> shard = Shard(1, 3, 5, exchange=None)
    >>> shard.rows, shard.is_idle, shard.weight
    (slice(1, 3, None), False, 0.4)
    """

    def __init__(
        self,
        rank: int,
        size: int,
        total: int,
        exchange: Callable[[np.ndarray], np.ndarray] | None,
        syncs_batch_norm: bool = True,
    ) -> None:
        own = rows_of(rank, size, total)
        self.rank, self.size, self.total = rank, size, total
        self.exchange: Any = exchange
        self.syncs_batch_norm = syncs_batch_norm
        self.is_idle = len(own) == 0
        self.rows = slice_of(rank, size, total)
        self.weight = len(own) / total

    @contextlib.contextmanager
    def active(self) -> Iterator["Shard"]:
        """Let the layers know of it in a `with` block."""
        token = active_shard.set(self)
        try:
            yield self
        finally:
            active_shard.reset(token)


#: The part of the batch that is being trained on; None if this process has the whole batch.
active_shard: ContextVar[Any] = ContextVar("active_shard", default=None)


def draw(kernel: Callable[..., Array], x: Array, *arguments: Any) -> Array:
    """Return `kernel(x, *arguments)`, random numbers in the shape of x (N, ...).

    If x has the rows of a shard, these are its rows of what is drawn for the whole batch: the
    numbers that one process would draw for them. A layer of your own that draws should use it.

    Parameters
    ----------
    kernel
        A function that draws in the shape of its first argument, row by row.
    x
        The rows (N, ...); their numbers are not read.
    *arguments
        Passed on, such as the generator.
    """
    shard = active_shard.get()
    if shard is None:
        return kernel(x, *arguments)
    xp = cuda.get_array_module(x)
    whole = xp.broadcast_to(x[:1], (shard.total, *x.shape[1:]))
    return kernel(whole, *arguments)[shard.rows]


def batch_norm(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array, Array, int]:
    """Return `kernels.batch_norm` of rows x (M, C), and how many rows the statistics are of.

    If x has the rows of a shard, mean and variance are those of the rows of all processes. Each
    sends its number of rows, their means and their sums of squared differences from these, and all
    combine them in the same order (Chan, Golub and LeVeque 1979), so that they have the same bits
    everywhere.
    """
    shard = active_shard.get()
    if shard is None or not shard.syncs_batch_norm:
        if len(x) < 2:
            return x, gamma, gamma, len(x)  # too few, which the layer reports
        return (*kernels.batch_norm(x, gamma, beta, eps), len(x))
    xp, columns = cuda.get_array_module(x), x.shape[1]
    own = np.zeros(1 + 2 * columns)
    if len(x) and not shard.is_idle:
        moments = [cuda.to_cpu(values) for values in kernels.batch_moments(x)]
        own = np.concatenate([[len(x)], moments[0], moments[1].astype(np.float64) * len(x)])
    count, mean, squares = 0, np.zeros(columns), np.zeros(columns)
    for number, its_mean, its_squares in map(_split_moments, shard.exchange(own)):
        if number:
            shift, count = its_mean - mean, count + number
            mean = mean + shift * (number / count)
            squares = squares + its_squares + shift**2 * (number * (count - number) / count)
    if count < 2:
        return x, gamma, gamma, count
    mean, variance = (xp.asarray(values, dtype=x.dtype) for values in (mean, squares / count))
    return kernels.batch_norm_inference(x, gamma, beta, mean, variance, eps), mean, variance, count


def _split_moments(values: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the number of rows, their means and their sums of squares: (1 + 2 C,) -> 1, C, C."""
    means, squares = np.split(values[1:], 2)
    return int(values[0]), means, squares


def batch_norm_grad(
    grad: Array, x: Array, gamma: Array, mean: Array, variance: Array, eps: float
) -> tuple[Array, Array, Array]:
    """Return `kernels.batch_norm_grad` for rows that were normalised by `batch_norm`.

    For a shard, the gradient `grad` is that of the mean over its rows, and so are the results: a
    shard's weight makes them parts of those of the whole batch. The kernel subtracts the means of
    the shard's own gradients; what is missing to those of all rows is a line in x for each column.
    """
    shard = active_shard.get()
    if shard is None or not shard.syncs_batch_norm:
        return kernels.batch_norm_grad(grad, x, gamma, mean, variance, eps)
    xp, columns = cuda.get_array_module(x), x.shape[1]
    dgamma = dbeta = xp.zeros(columns, x.dtype)
    dx, own = grad, np.zeros(2 * columns + 1)
    if len(x):
        dx, dgamma, dbeta = kernels.batch_norm_grad(grad, x, gamma, mean, variance, eps)
    if len(x) and not shard.is_idle:
        sums = np.concatenate([cuda.to_cpu(dgamma), cuda.to_cpu(dbeta)]).astype(np.float64)
        own = np.concatenate([sums * shard.weight, [len(x)]])
    everyone = shard.exchange(own)
    total = everyone[0].copy()
    for values in everyone[1:]:
        total += values
    if len(x) and not shard.is_idle:
        # (2 * C,) -> (2, C): the means of this shard minus those of all rows
        missing = own[:-1] / (shard.weight * len(x)) - total[:-1] / (shard.weight * total[-1])
        missing = xp.asarray(missing.reshape(2, columns), dtype=x.dtype)
        scale, shift = missing * (gamma / xp.sqrt(variance + eps))
        dx += kernels.batch_norm_inference(x, scale, shift, mean, variance, eps)
    return dx, dgamma, dbeta
