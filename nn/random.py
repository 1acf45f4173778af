"""The generators of all random numbers.

Each model has one `numpy.random.Generator` and spawns children of it for its layers
and for the order of its data. `nn.seed(n)` sets the root generator, from which those of models
without a seed of their own, and of layers used without a model, are spawned.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import checks

_root = np.random.default_rng()


def seed(n: int) -> None:
    """Set the seed of everything created after this call.

    Parameters
    ----------
    n
        Any integer of at least 0. The same `n` gives the same models, shuffles and dropout.

    Raises
    ------
    ValueError
        If `n` is not an integer of at least 0.

    Examples
    --------
    >>> seed(7); first = new_generator().random()
    >>> seed(7); first == new_generator().random()
    True
    """
    global _root
    _root = np.random.default_rng(checks.non_negative_int("nn.seed", "n", n))


@contextlib.contextmanager
def leaving_the_root(seed: int = 0) -> Iterator[None]:
    """Leave the root generator of `nn.seed` unchanged by a `with` block, which has its own.

    Parameters
    ----------
    seed
        Of the root generator in the block.

    Examples
    --------
    >>> seed(7); first = new_generator().random()
    >>> seed(7)
    >>> with leaving_the_root():
    ...     generator = new_generator()
    >>> first == new_generator().random()
    True
    """
    global _root
    root, _root = _root, np.random.default_rng(seed)
    try:
        yield
    finally:
        _root = root


def new_generator(seed: int | None = None, owner: str = "Model") -> np.random.Generator:
    """Return a generator for `seed`, or the next child of the root of `nn.seed`.

    Errors name the owner of the argument.
    """
    if seed is None:
        return _root.spawn(1)[0]
    return np.random.default_rng(checks.non_negative_int(owner, "seed", seed))


def checked_state(rng: np.random.Generator, state: Any) -> Any:
    """Return a state that the generator can take; a new one of its kind raises if it cannot."""
    twin = type(rng.bit_generator)()
    twin.state = state
    return twin.state
