"""Weights of another library, matched with nn's layers by their order and their shapes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..checks import FileFormatError
from ..layers import Layer
from ..layers.plan import named_layers
from ..layers.state import LoadReport

__all__ = ["Group", "Turned", "match"]


class Group(NamedTuple):
    """The arrays of one layer of another library.

    Attributes
    ----------
    name
        The layer's name there, for messages: 'features.0'.
    arrays
        Its arrays by their names in the layer: 'weight', 'bias'.
    """

    name: str
    arrays: dict[str, np.ndarray]


class Turned(NamedTuple):
    """An array as nn has it.

    Attributes
    ----------
    array
        The numbers, in nn's shape and order.
    source
        The names of the arrays it comes from, in the other library: 'features.0.weight'.
    how
        What was done to them: 'transposed'; empty if nothing was.
    """

    array: np.ndarray
    source: str
    how: str = ""


#: Returns the arrays of a layer, by nn's names of its parameters and buffers.
Turn = Callable[[Layer, Group], Mapping[str, Turned]]


def match(
    where: str, groups: Sequence[Group], layers: Iterable[Layer], turn: Turn
) -> tuple[dict[str, np.ndarray], LoadReport]:
    """Give each layer with arrays the next group, and return the arrays by nn's names.

    Parameters
    ----------
    where
        The file, for messages.
    groups
        The arrays of the other library's layers, in the order of the layers.
    layers
        nn's layers, built; those inside others are included.
    turn
        Makes nn's arrays of a group. It raises ValueError, without the file's name, if the group
        does not belong to a layer of this class.

    Returns
    -------
    arrays
        For `set_arrays`.
    report
        `sources` says for each array where it comes from and what was done to it.

    Raises
    ------
    nn.io.FileFormatError
        If the number of layers differs, or a group does not fit its layer. The message names both.
    """
    own = [(name, x) for name, x in named_layers(layers) if x.params or x.buffers]
    arrays: dict[str, np.ndarray] = {}
    report = LoadReport(where)
    for (name, layer), group in zip(own, groups, strict=False):
        wanted = {**layer.params, **layer.buffers}
        try:
            turned = turn(layer, group)
            _check(wanted, turned)
        except ValueError as error:
            raise FileFormatError(
                f"[io] '{where}' does not fit the model: {group.name} ({_shapes(group.arrays)}) "
                f"for {name} ({_shapes(wanted)}): {error}."
            ) from error
        for key, (array, source, how) in turned.items():
            arrays[f"{name}_{key}"] = array
            report.sources[f"{name}_{key}"] = f"{source}, {how}" if how else source
    if len(own) != len(groups):
        more = [name for name, _ in own[len(groups) :]] or [g.name for g in groups[len(own) :]]
        side = "the model" if len(own) > len(groups) else "the file"
        raise FileFormatError(
            f"[io] '{where}' does not fit the model: it has {len(groups)} layers with weights, the "
            f"model {len(own)}; {side} also has {', '.join(more[:5])}{', ...' * (len(more) > 5)}."
        )
    return arrays, report


def _check(wanted: dict[str, Any], turned: Mapping[str, Turned]) -> None:
    """Raise unless the arrays have the names and the shapes that the layer has."""
    if missing := [key for key in wanted if key not in turned]:
        raise ValueError(f"there is nothing for {', '.join(missing)}")
    if extra := [turned[key].source for key in turned if key not in wanted]:
        raise ValueError(f"the layer has no place for {', '.join(extra)}")
    for key, array in wanted.items():
        if turned[key].array.shape != array.shape:
            raise ValueError(f"{key} would have the shape {turned[key].array.shape}")


def _shapes(arrays: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {tuple(array.shape)}" for key, array in arrays.items())
