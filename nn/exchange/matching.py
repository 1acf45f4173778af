"""Weights of another library, matched with nn's layers by their order and their shapes."""

import re
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
    where: str,
    groups: Sequence[Group],
    layers: Iterable[Layer],
    turn: Turn,
    apart: tuple[type[Layer], ...] = (),
    strict: bool = True,
    ordered: bool = True,
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
    apart
        Classes of layers that the other library does not have: they keep their arrays.
    strict
        Whether it is an error if a group does not fit its layer, or their numbers differ; else
        what fits is returned, and the report has the rest.
    ordered
        Whether the groups are known to be in the order of the layers. If they are not, or do not
        fit in that order, each layer gets the group that fits it alone, or the first of those
        whose names differ in a number alone: 'conv1' before 'conv2'.

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
    named = [(name, x) for name, x in named_layers(layers) if x.params or x.buffers]
    own = [(name, layer) for name, layer in named if not isinstance(layer, apart)]
    report, problems = LoadReport(where), []
    arrays = {
        f"{name}_{key}": array
        for name, layer in named
        if isinstance(layer, apart)
        for key, array in _arrays_of(layer).items()
    }
    report.sources.update(dict.fromkeys(arrays, "the model itself"))
    for (name, layer), group in zip(own, _arranged(groups, own, turn, ordered), strict=False):
        wanted = _arrays_of(layer)
        try:
            turned = _fitting(layer, group, turn)
        except ValueError as error:
            shapes = f"{group.name} ({_shapes(group.arrays)}) for {name} ({_shapes(wanted)})"
            problems.append(f"{shapes}: {error}")
            report.skipped.update({f"{name}_{key}": f"{group.name}: {error}" for key in wanted})
            continue
        for key, (array, source, how) in turned.items():
            arrays[f"{name}_{key}"] = array
            report.sources[f"{name}_{key}"] = f"{source}, {how}" if how else source
    if len(own) != len(groups):
        more = [name for name, _ in own[len(groups) :]] or [g.name for g in groups[len(own) :]]
        side = "the model" if len(own) > len(groups) else "the file"
        problems.append(
            f"it has {len(groups)} layers with weights, the model {len(own)}; {side} also has "
            f"{', '.join(more[:5])}{', ...' * (len(more) > 5)}"
        )
        report.skipped.update(
            {group.name: "the model has no layer" for group in groups[len(own) :]}
        )
    if strict and problems:
        hint = ""
        if len(own) == len(groups) > 1:
            hint = (
                " Layers are matched in the order of the file: if that is not the order of the "
                "model, pass a dictionary with the entries in the model's."
            )
        raise FileFormatError(f"[io] '{where}' does not fit the model: {problems[0]}.{hint}")
    return arrays, report


def _arranged(
    groups: Sequence[Group], own: Sequence[tuple[str, Layer]], turn: Turn, ordered: bool
) -> Sequence[Group]:
    """Return the groups in the order of the layers, if that can be found; else as they are.

    Raises
    ------
    FileFormatError
        If the order is not known, and the numbers differ or several groups fit the same layer.
    """
    advice = "pass from_torch() a state dict in the order of the layers"
    if len(groups) != len(own):
        if not ordered:
            raise FileFormatError(
                f"[io] the file has {len(groups)} layers with weights, the model {len(own)}, and "
                f"the file does not have their order: {advice}."
            )
        return groups
    if ordered and all(_fits(x, group, turn) for (_, x), group in zip(own, groups, strict=True)):
        return groups
    left, found = sorted(groups, key=lambda group: _numbers(group.name)), []
    for name, layer in own:
        fitting = [group for group in left if _fits(layer, group, turn)]
        if not fitting:
            return groups if ordered else left
        if len({re.sub(r"\d+", "0", group.name) for group in fitting}) > 1:
            if ordered:
                return groups
            names = ", ".join(group.name for group in fitting[:5])
            raise FileFormatError(
                f"[io] several layers of the file fit {name} ({names}), and the file does not have "
                f"their order: {advice}."
            )
        found.append(fitting[0])
        left = [group for group in left if group is not fitting[0]]
    return found


def _numbers(name: str) -> list[tuple[int, str]]:
    """Return a key by which 'conv2' comes before 'conv10'."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _fits(layer: Layer, group: Group, turn: Turn) -> bool:
    try:
        _fitting(layer, group, turn)
    except ValueError:
        return False
    return True


def _fitting(layer: Layer, group: Group, turn: Turn) -> Mapping[str, Turned]:
    """Return the turned arrays of a group, if it fits a layer; else raise ValueError."""
    turned = turn(layer, group)
    _check(_arrays_of(layer), turned)
    return turned


def _arrays_of(layer: Layer) -> dict[str, Any]:
    return {**layer.params, **layer.buffers}


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
