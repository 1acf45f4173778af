"""Show the layers, parameters and memory of a model in a file."""

import argparse
from dataclasses import asdict

from ..inspect.summary import summarize
from ..model import Model
from .result import Result, add_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_file(parser)


def run(options: argparse.Namespace) -> Result:
    """Return the summary of the model."""
    model = Model.load(options.file)
    summary = summarize(model)
    data = {
        "name": summary.name,
        "input_shape": model.input_shape,
        "output_shape": model.output_shape,
        "dtype": model.dtype,
        "parameters": summary.parameters,
        "trainable": summary.trainable,
        "parameter_bytes": summary.parameter_bytes,
        "output_bytes": summary.output_bytes,
        "class_names": model.class_names,
        "loss": None if model.loss is None else type(model.loss).__name__,
        "optimizer": None if model.optimizer is None else type(model.optimizer).__name__,
        "epochs": model.epoch,
        "layers": [
            {"output_shape" if k == "shape" else k: v for k, v in asdict(row).items()}
            for row in summary.rows
        ],
    }
    return Result(str(summary), data)
