"""What the processes of a training exchange: the interface, and the case of one process."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or cupy.ndarray


class Communicator:
    """The processes that train together; this class is a single one, which exchanges nothing.

    Every method is called by all processes, in the same order.

    Attributes
    ----------
    rank, size : int
        The number of this process, counted from 0, and how many there are.
    syncs_batch_norm : bool
        Whether batch normalisation uses the statistics of the whole batch.

    Examples
    --------
    >>> alone = Communicator()
    >>> alone.rank, alone.size, alone.gather("weights")
    (0, 1, ['weights'])
    """

    rank: int = 0
    size: int = 1
    syncs_batch_norm: bool = True

    def exchange(self, values: np.ndarray) -> np.ndarray:
        """Return the arrays (n,) of all processes, (size, n), in the order of their ranks."""
        return values[np.newaxis]

    def gather(self, value: Any) -> list[Any]:
        """Return the objects of all processes, in the order of their ranks."""
        return [value]

    def broadcast(self, value: Any) -> Any:
        """Return the object of rank 0."""
        return value

    def add(self, buffer: Array, header: np.ndarray) -> np.ndarray:
        """Add up the buffers of all processes in place, in the order of their ranks.

        Parameters
        ----------
        buffer
            An array (n,), as long in every process. All have the same bits afterwards.
        header
            Numbers in float64 (k,), which are exchanged at the same time.

        Returns
        -------
        numpy.ndarray
            The headers of all processes, (size, k).
        """
        return header[np.newaxis]

    def buffer(self, count: int, like: Array) -> Array:
        """Return an array (n,) for `add`, of at least `count` numbers, on the device to add on.

        It may be the same array each time.
        """
        return np.zeros(count, like.dtype)

    @contextlib.contextmanager
    def together(self, what: str) -> Iterator[None]:
        """Raise an exception of one process in all of them, at the end of a `with` block.

        Parameters
        ----------
        what
            What the block does, such as 'fit()', for messages.
        """
        yield

    def __copy__(self) -> "Communicator":
        """Return the object itself: a copy of a model trains with the same processes."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Communicator":
        """Return the object itself."""
        return self

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Pickle as None: a model in a file is alone."""
        return type(None), ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rank {self.rank} of {self.size})"
