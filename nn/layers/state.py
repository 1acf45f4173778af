"""Arrays by name: which of a file, or of another model, fit the layers."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .base import Layer
from .plan import named_layers


@dataclass
class LoadReport:
    """What came of loading arrays into a model.

    Attributes
    ----------
    where : str
        The file.
    loaded : list of str
        Names of the arrays that the model has now from the file.
    skipped : dict
        The other names, of the model or of the file, each with the reason.
    sources : dict
        For arrays of another library: the name there and what was done, such as
        'fc.weight, transposed', by the name in nn.

    Examples
    --------
    >>> print(LoadReport("old.hdf5", ["0_Dense_W"], {"1_Dense_W": "the file has no such array"}))
    old.hdf5: 1 array loaded, 1 skipped
      loaded   0_Dense_W
      skipped  1_Dense_W: the file has no such array
    """

    where: str = "arrays"
    loaded: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        count = len(self.loaded)
        lines = [
            f"{self.where}: {count} array{'s' * (count != 1)} loaded, {len(self.skipped)} skipped",
            *(f"  loaded   {name}{self._origin(name)}" for name in self.loaded),
            *(f"  skipped  {name}: {reason}" for name, reason in self.skipped.items()),
        ]
        return "\n".join(lines)

    def _origin(self, name: str) -> str:
        return f" from {self.sources[name]}" if name in self.sources else ""


class Snapshot:
    """The generators and buffers of layers at one moment, to repeat a forward pass from there.

    Parameters
    ----------
    layers
        The layers; those inside them are included.
    """

    def __init__(self, layers: Iterable[Layer]):
        self._states = [
            (layer, layer.rng.bit_generator.state, {k: v.copy() for k, v in layer.buffers.items()})
            for _, layer in named_layers(layers)
        ]

    def restore(self) -> None:
        """Set the generators and buffers to what they were."""
        for layer, generator, buffers in self._states:
            layer.rng.bit_generator.state = generator
            for name, array in buffers.items():
                layer.buffers[name][...] = array


def match_arrays(
    own: dict[str, Any],
    loaded: dict[str, np.ndarray],
    where: str,
    strict: bool = True,
    report: LoadReport | None = None,
) -> LoadReport:
    """Return which names can be loaded; where `strict`, raise unless that is all of them.

    Parameters
    ----------
    own, loaded
        The model's arrays and the file's, by name.
    where
        The file, for the message.
    strict
        Whether a missing, an extra or a wrongly shaped array is an error.
    report
        To be filled in; None makes one.

    Raises
    ------
    ValueError
        It lists what is missing in the file, what is extra in it, and what has another shape.
    """
    missing = [name for name in own if name not in loaded]
    extra = [name for name in loaded if name not in own]
    shared = [name for name in own if name in loaded]
    wrong = [name for name in shared if loaded[name].shape != own[name].shape]
    listed = {
        "missing": missing,
        "extra": extra,
        "wrong shape": [f"{name} {loaded[name].shape} for {own[name].shape}" for name in wrong],
    }
    problems = [f"{label}: {', '.join(names)}" for label, names in listed.items() if names]
    if strict and problems:
        raise ValueError(f"[io] '{where}' does not fit the model: {'; '.join(problems)}.")
    report = LoadReport(where) if report is None else report
    report.loaded[:] = [name for name in shared if name not in wrong]
    for name in missing:
        report.skipped.setdefault(name, "the file has no such array")
    report.skipped.update(dict.fromkeys(extra, "the model has no such array"))
    for name in wrong:
        shapes = f"{loaded[name].shape} in the file, {own[name].shape} in the model"
        report.skipped[name] = f"its shape is {shapes}"
    return report
