"""The names of the columns of tables: those of a model's inputs must keep their order."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def columns_of(data: Any) -> list[str] | None:
    """Return the names of a table's columns; None for other data, and for columns of numbers.

    Parameters
    ----------
    data
        A table of pandas or polars, a `Dataset` of one, or anything else.

    Examples
    --------
    >>> columns_of([[1, 2]]) is None
    True
    """
    names = getattr(data, "feature_names", None)  # of a Dataset
    if names is None and hasattr(data, "shape"):
        names = getattr(data, "columns", None)
    names = [] if names is None else list(names)
    return names if names and all(isinstance(name, str) for name in names) else None


def checked_columns(x: Any, wanted: list[str] | None) -> list[str] | None:
    """Return the columns of a batch which is a table, which must be those of the batches before.

    Parameters
    ----------
    x
        The inputs of a batch; those that are no table have no columns.
    wanted
        The columns of the training, or of the tables before; None before the first.
    """
    names = None if type(x) is np.ndarray else columns_of(x)
    check_columns("x", names, wanted)
    return wanted or names


def check_columns(argument: str, names: Sequence[str] | None, wanted: Sequence[str] | None) -> None:
    """Raise if a table has the columns that a model was trained on in another order, or others.

    Parameters
    ----------
    argument
        For the message.
    names
        What `columns_of` returns for the table; None is not compared.
    wanted
        The model's `feature_names`; None accepts all.

    Raises
    ------
    ValueError
        For other columns. Another number of them is left to the check of shapes.

    Examples
    --------
    >>> check_columns("x", ["height", "age"], ["age", "height"])
    Traceback (most recent call last):
    ValueError: [Model] 'x' must have the columns of the training in their order, 'age' at 0, got \
'height': pass table[model.feature_names].
    """
    if wanted is None or names is None or len(names) != len(wanted):
        return
    place = next((k for k, name in enumerate(names) if name != wanted[k]), None)
    if place is None:
        return
    rule = f"must have the columns of the training in their order, {wanted[place]!r} at {place}"
    advice = "pass an array, as by to_numpy(), if they mean the same"
    if set(names) == set(wanted):
        advice = "pass table[model.feature_names]"
    raise ValueError(f"[Model] '{argument}' {rule}, got {names[place]!r}: {advice}.")
