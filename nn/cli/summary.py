"""Show the layers, parameters and memory of a model in a file."""

import argparse

from ..inspect import summary as overview
from ..model import Model
from .result import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("file", metavar="FILE", help="a model file written by save()")


def run(options: argparse.Namespace) -> Result:
    """Return the summary of the model."""
    model = Model.load(options.file)
    look = overview.look(model)
    data = {
        "name": look.name,
        "input_shape": model.input_shape,
        "output_shape": model.output_shape,
        "dtype": model.dtype,
        "parameters": look.parameters,
        "trainable": look.trainable,
        "parameter_bytes": look.parameter_bytes,
        "output_bytes": look.output_bytes,
        "class_names": model.class_names,
        "loss": None if model.loss is None else type(model.loss).__name__,
        "optimizer": None if model.optimizer is None else type(model.optimizer).__name__,
        "epochs": model.epoch,
        "layers": [
            {
                "path": row.path,
                "label": row.label,
                "output_shape": row.shape,
                "parameters": row.parameters,
                "trainable": row.trainable,
            }
            for row in look.rows
        ],
    }
    return Result(str(look), data)
