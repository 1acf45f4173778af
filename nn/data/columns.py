"""The names of the columns of tables: those of inputs and of targets must keep their order."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Columns = list[str] | None  # the names of a table's columns, if they are known


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


def target_columns_of(y: Any) -> list[str] | None:
    """Return the names of the columns of a table of targets; None for one column, and other data.

    One column has no order, and may have any name.
    """
    names = None if hasattr(y, "feature_names") else columns_of(y)
    return names if names is not None and len(names) > 1 else None


def checked_columns(x: Any, wanted: list[str] | None, argument: str = "x") -> list[str] | None:
    """Return the columns of a batch which is a table, which must be those of the batches before.

    Parameters
    ----------
    x
        The inputs or the targets of a batch; those that are no table have no columns.
    wanted
        The columns of the training, or of the tables before; None before the first.
    argument
        'x' or 'y'.
    """
    if type(x) is np.ndarray:
        return wanted
    names = columns_of(x) if argument == "x" else target_columns_of(x)
    check_columns(argument, names, wanted, argument == "y")
    return wanted or names


def check_columns(
    argument: str,
    names: Sequence[str] | None,
    wanted: Sequence[str] | None,
    are_targets: bool = False,
) -> None:
    """Raise if a table has the columns that a model was trained on in another order, or others.

    Parameters
    ----------
    argument
        For the message.
    names
        What `columns_of` returns for the table; None is not compared.
    wanted
        The model's `feature_names`; None accepts all.
    are_targets
        Whether they are the columns of targets, and `wanted` the model's `target_names`.

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
        advice = f"pass table[model.{'target_names' if are_targets else 'feature_names'}]"
    raise ValueError(f"[Model] '{argument}' {rule}, got {names[place]!r}: {advice}.")
