"""The summary and the `repr` of a model.

`summarize` counts the parameters, their memory and the memory of layer outputs for one sample.
`Model.summary`, the HTML table of notebooks and the command line use it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import text
from ..layers import Layer, Sequential
from ..layers.plan import frozen_names, named_layers
from ..layers.residual import Skip

_LINE = 88  # columns of a one-line repr, at most


@dataclass(frozen=True)
class LayerRow:
    """A layer in the summary of a model.

    Attributes
    ----------
    path : str
        The layer's name in model files, '3_Residual/0_Conv2D'.
    label : str
        Its class, or its name followed by the class.
    depth : int
        Number of containers around it.
    shape : tuple or None
        Output shape, with None for the batch axis; None before the layer is built.
    parameters : int
        Size of its own parameters, without those of the layers inside it.
    trainable : bool
        Whether they are trained.
    is_container : bool
        Whether it contains layers.
    """

    path: str
    label: str
    depth: int
    shape: tuple[int | None, ...] | None
    parameters: int
    trainable: bool
    is_container: bool


@dataclass(frozen=True)
class ModelSummary:
    """The layers and sizes of a model.

    Attributes
    ----------
    name : str
        Name of the model, or 'Model'.
    rows : list of LayerRow
        All layers; a container comes before its layers.
    parameters, trainable : int
        Number of parameters, and of trainable parameters.
    parameter_bytes : int
        Memory of the parameters.
    output_bytes : int or None
        Memory of the outputs of all layers for one sample; None before the model is built, and if
        a sample may have any size.
        Training needs about as much for each sample of a batch, plus the gradients.
    """

    name: str
    rows: list[LayerRow]
    parameters: int
    trainable: int
    parameter_bytes: int
    output_bytes: int | None

    @property
    def totals(self) -> list[str]:
        """The last lines of the summary."""
        lines = [f"{self.parameters:,} parameters, {self.trainable:,} of them trainable"]
        if self.output_bytes is not None:
            parameters, outputs = text.size(self.parameter_bytes), text.size(self.output_bytes)
            lines.append(f"{parameters} of parameters, {outputs} of outputs per sample")
        return lines

    def cells(self) -> list[tuple[str, str, str]]:
        """Return label, output shape and number of parameters of every layer, as strings."""
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


def summarize(model: Any) -> ModelSummary:
    """Return the layers and sizes of a `Model`.

    Examples
    --------
    >>> import nn
    >>> print(summarize(nn.Model([nn.Dense(3, input_shape=(4,)), nn.ReLU()], name="tiny")))
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
    named = list(named_layers(model.layers))
    layers, frozen = [layer for _, layer in named], frozen_names(named)
    on_shortcut = {
        id(part) for layer in layers if isinstance(layer, Skip) for part in layer.shortcut
    }
    rows = [_row(path, layer, id(layer) in on_shortcut, path in frozen) for path, layer in named]
    trained = [layer for path, layer in named if path not in frozen]
    return ModelSummary(
        text.printable(model.name or "Model"),
        rows,
        sum(row.parameters for row in rows),
        sum(int(layer.params[k].size) for layer in trained for k in layer.trained_keys()),
        sum(int(param.nbytes) for layer in layers for param in layer.params.values()),
        _output_bytes(layers, np.dtype(model.dtype).itemsize),
    )


def _row(path: str, layer: Layer, on_shortcut: bool, is_frozen: bool) -> LayerRow:
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
        bool(layer.trainable) and not is_frozen,
        bool(layer.sublayers()),
    )


def _output_bytes(layers: Iterable[Layer], itemsize: int) -> int | None:
    """Return the bytes of all outputs for a sample; a Sequential's is that of its last layer."""
    total = 0
    for layer in layers:
        shape = layer.output_shape if layer.built else None
        if shape is None or None in shape[1:]:
            return None
        if not isinstance(layer, Sequential):
            total += math.prod(n or 1 for n in shape[1:])
    return total * itemsize


# ------------------------------------------------------------------------------------- repr


def model_code(model: Any) -> str:
    """Return the `repr` of a model, as code on one line or with one line for each layer.

    Examples
    --------
    >>> import nn
    >>> block = nn.Residual([nn.Dense(300), nn.ReLU(), nn.Dense(300)])
    >>> print(model_code(nn.Model([block], name="deep")))
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
    """Return one line for each layer; the layers of a container are indented."""
    indent, lines = "    " * depth, []
    for layer in layers:
        if not layer.sublayers():
            lines.append(f"{indent}{layer!r},")
            continue
        main = layer.main if isinstance(layer, Skip) else layer.sublayers()
        shortcut = layer.shortcut if isinstance(layer, Skip) else ()
        lines += [f"{indent}{type(layer).__name__}([", *_code_lines(main, depth + 1)]
        if shortcut:
            lines += [f"{indent}], shortcut=[", *_code_lines(shortcut, depth + 1)]
        lines.append(f"{indent}]{f', name={layer.name!r}' * bool(layer.name)}),")
    return lines
