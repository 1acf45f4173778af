"""Arrays that another library shares between layers, and nn has once for each of them."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import checks

__all__ = ["same_memory", "warn_of_ties"]


def same_memory(array: np.ndarray) -> tuple[Any, ...]:
    """Return what two arrays have in common if they are the same numbers in memory.

    Examples
    --------
    >>> x = np.ones((2, 3))
    >>> same_memory(x) == same_memory(x[:]), same_memory(x) == same_memory(x.copy())
    (True, False)
    """
    return array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str


def warn_of_ties(where: str, groups: Iterable[list[tuple[str, np.ndarray]]]) -> None:
    """Warn, by their names, of arrays that are one in a file and several in nn.

    Parameters
    ----------
    where
        The file, or what else was read.
    groups
        For each array that is shared, the names and arrays that come of it. Those whose numbers
        are all equal, as biases of 0, are left out: programs that write files join them to save
        room, though no one tied them. So are parts that differ, as the directions of an RNN.
    """
    tied = [names for group in groups if len(names := _tied(group)) > 1]
    if not tied:
        return
    shown = "; ".join(" and ".join(f"'{name}'" for name in names) for names in tied[:3])
    more = f"; and {len(tied) - 3} more" if len(tied) > 3 else ""
    several = "two" if {len(names) for names in tied} == {2} else "several"
    checks.warn(
        f"[Model] '{where}': {shown}{more} are one array in the file and {several} here: training "
        "changes them separately."
    )


def _tied(group: list[tuple[str, np.ndarray]]) -> list[str]:
    """Return the names of the arrays that have the numbers of the first, in any order."""
    if len(group) < 2 or group[0][1].size < 2 or np.ptp(group[0][1]) == 0:
        return []
    first = np.sort(group[0][1], axis=None)
    return [
        name
        for name, array in group
        if array is group[0][1]
        or (array.size == first.size and np.array_equal(np.sort(array, axis=None), first))
    ]
