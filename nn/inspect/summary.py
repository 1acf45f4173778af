"""What a model consists of: the rows that `summary`, its `repr` and its page in a notebook show.

`look` counts once, for all of them and for the command line: parameters, their bytes, and the bytes
that the layers put out for one sample.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import text
from ..layers import Layer, Residual, Sequential
from ..layers.plan import named_layers

if TYPE_CHECKING:
    from ..network import Network

_LINE = 88  # columns that a model's repr may take in one line


@dataclass(frozen=True)
class LayerRow:
    """A layer as a line of a table shows it.

    Attributes
    ----------
    path : str
        Its name in a file, '3_Residual/0_Conv2D'.
    label : str
        What it is called: its class, after its name where it has one.
    depth : int
        How many layers it lies within.
    shape : tuple or None
        Of its output, None for the batch axis; None before it is built.
    parameters : int
        Numbers that it holds itself, without those of the layers inside it.
    trainable : bool
        Whether they are trained.
    is_container : bool
        Whether there are layers inside it.
    """

    path: str
    label: str
    depth: int
    shape: tuple[int | None, ...] | None
    parameters: int
    trainable: bool
    is_container: bool


@dataclass(frozen=True)
class Overview:
    """A model in figures.

    Attributes
    ----------
    name : str
        The model's, or 'Model'.
    rows : list of LayerRow
        A layer comes before those inside it.
    parameters, trainable : int
        Numbers in all, and those of them that are trained.
    parameter_bytes : int
        Memory of the parameters.
    output_bytes : int or None
        Memory of what all layers put out for one sample; None before the model is built. Training
        keeps about as much for each sample of a batch, the gradients come on top.
    """

    name: str
    rows: list[LayerRow]
    parameters: int
    trainable: int
    parameter_bytes: int
    output_bytes: int | None

    @property
    def totals(self) -> list[str]:
        """The lines at the end of the summary."""
        lines = [f"{self.parameters:,} parameters, {self.trainable:,} of them trainable"]
        if self.output_bytes is not None:
            parameters, outputs = text.size(self.parameter_bytes), text.size(self.output_bytes)
            lines.append(f"{parameters} of parameters, {outputs} of outputs per sample")
        return lines

    def cells(self) -> list[tuple[str, str, str]]:
        """Return label, output shape and parameters of every layer, as texts."""
        return [
            (
                row.label,
                "not built" if row.shape is None else str(row.shape),
                "" if row.is_container and not row.parameters else f"{row.parameters:,}",
            )
            for row in self.rows
        ]

    def __str__(self) -> str:
        cells = [
            ("  " * row.depth + label, *figures)
            for row, (label, *figures) in zip(self.rows, self.cells(), strict=True)
        ]
        lines = text.table([("Layer", "Output shape", "Parameters"), *cells], right=[2])
        rule = "-" * text.width(lines[0])
        return "\n".join([self.name, rule, lines[0], rule, *lines[1:], rule, *self.totals])


def look(model: "Network") -> Overview:
    """Return what a model consists of.

    Examples
    --------
    >>> import nn
    >>> print(look(nn.Model([nn.Dense(3, input_shape=(4,)), nn.ReLU()], name="tiny")))
    tiny
    -------------------------------
    Layer  Output shape  Parameters
    -------------------------------
    Dense  (None, 3)             15
    ReLU   (None, 3)              0
    -------------------------------
    15 parameters, 15 of them trainable
    60 bytes of parameters, 24 bytes of outputs per sample
    """
    layers = [layer for _, layer in named_layers(model.layers)]
    on_shortcut = {
        id(part) for layer in layers if isinstance(layer, Residual) for part in layer.shortcut
    }
    rows = [
        _row(path, layer, id(layer) in on_shortcut) for path, layer in named_layers(model.layers)
    ]
    return Overview(
        text.printable(model.name or "Model"),
        rows,
        sum(row.parameters for row in rows),
        sum(row.parameters for row in rows if row.trainable),
        sum(int(param.nbytes) for layer in layers for param in layer.params.values()),
        _output_bytes(layers, np.dtype(model.dtype).itemsize),
    )


def _row(path: str, layer: Layer, on_shortcut: bool) -> LayerRow:
    notes = ["shortcut"] * on_shortcut
    label = type(layer).__name__
    if layer.name:
        label, notes = text.printable(layer.name), [label, *notes]
    return LayerRow(
        path,
        label + f" ({', '.join(notes)})" * bool(notes),
        path.count("/"),
        layer.output_shape if layer.built else None,
        sum(int(param.size) for param in layer.params.values()),
        bool(layer.trainable),
        bool(layer.sublayers()),
    )


def _output_bytes(layers: Iterable[Layer], itemsize: int) -> int | None:
    """Return the bytes of all outputs for a sample; what a stack puts out is its last layer's."""
    total = 0
    for layer in layers:
        shape = layer.output_shape if layer.built else None
        if shape is None:
            return None
        if not isinstance(layer, Sequential):
            total += math.prod(n or 1 for n in shape[1:])
    return total * itemsize


# ------------------------------------------------------------------------------------- repr


def code(model: "Network") -> str:
    """Return a model as a call that makes one like it: in one line, or a layer a line.

    Examples
    --------
    >>> import nn
    >>> print(code(nn.Model([nn.Residual([nn.Dense(300), nn.ReLU(), nn.Dense(300)])], name="deep")))
    Model([
        Residual([
            Dense(units=300, use_bias=True),
            ReLU(),
            Dense(units=300, use_bias=True),
        ]),
    ], name='deep')
    """
    end = f", name={model.name!r}" * bool(model.name)
    end += f", dtype={model.dtype!r}" * (model.dtype != "float32")
    plain = f"Model([{', '.join(map(repr, model.layers))}]{end})"
    nested = any(layer.sublayers() for layer in model.layers)
    if not nested and len(plain) <= _LINE:
        return plain
    return "\n".join(["Model([", *_code_lines(model.layers, 1), f"]{end})"])


def _code_lines(layers: Iterable[Layer], depth: int) -> list[str]:
    """Return the lines of layers, those inside others indented."""
    indent, lines = "    " * depth, []
    for layer in layers:
        if not layer.sublayers():
            lines.append(f"{indent}{layer!r},")
            continue
        main = layer.main if isinstance(layer, Residual) else layer.sublayers()
        shortcut = layer.shortcut if isinstance(layer, Residual) else ()
        lines += [f"{indent}{type(layer).__name__}([", *_code_lines(main, depth + 1)]
        if shortcut:
            lines += [f"{indent}], shortcut=[", *_code_lines(shortcut, depth + 1)]
        lines.append(f"{indent}]{f', name={layer.name!r}' * bool(layer.name)}),")
    return lines
