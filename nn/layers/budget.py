"""A limit on the elements that layers create while what a file describes is built.

`Dense(10**12)` in a file is refused before memory is taken.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

from .. import checks

# How many elements layers may still create in the `with` block of `element_budget`; else None.
_left: contextvars.ContextVar[list[int] | None] = contextvars.ContextVar("left", default=None)

_MAX_SAMPLE = 1 << 26  # elements of a sample that is passed through a layer to find its output


@contextlib.contextmanager
def element_budget(elements: int) -> Iterator[None]:
    """Limit the elements of all parameters and buffers that layers create in a `with` block.

    A user's layer that creates its arrays itself is not limited.

    Examples
    --------
    >>> from nn.layers import Dense
    >>> with element_budget(1000):
    ...     Dense(10**12).build((None, 3))
    Traceback (most recent call last):
        ...
    nn.checks.FileFormatError: [Dense] needs 4000000000000 numbers, more than the 1000 there can be.
    """
    token = _left.set([elements])
    try:
        yield
    finally:
        _left.reset(token)


def budget_for(arrays: dict[str, Any]) -> contextlib.AbstractContextManager[None]:
    """Limit the layers that are built in a `with` block by the size of a file's arrays.

    The limit is four times their elements and a little more, so that layers which nearly fit are
    built, and the message that lists the differences can be given.
    """
    return element_budget(4 * sum(array.size for array in arrays.values()) + (1 << 20))


def take_elements(owner: str, elements: int) -> None:
    """Raise if a layer is about to create more elements than `element_budget` leaves it."""
    left = _left.get()
    if left is None:
        return
    if elements > left[0]:
        raise _exceeded(owner, elements, left[0])
    left[0] -= elements


def check_sample(owner: str, elements: int) -> None:
    """Raise if a sample of zeros is too large to be passed through a layer of a file."""
    if _left.get() is not None and elements > _MAX_SAMPLE:
        raise _exceeded(owner, elements, _MAX_SAMPLE)


def _exceeded(owner: str, elements: int, left: int) -> checks.FileFormatError:
    return checks.FileFormatError(
        f"[{owner}] needs {elements} numbers, more than the {left} there can be."
    )
