"""A model as a file of Keras 3."""

import io
import json
import os
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import cuda, layers
from ...files import hdf5
from ...files.atomic import write_atomic
from ...layers.base import Layer, Shape
from ...layers.stack import flat
from . import branches
from .entries import Config, entries_of, serialized
from .files import snake_case

__all__ = ["to_config", "write"]


def write(
    path: str | os.PathLike, name: str | None, stack: Sequence[Layer], shape: Shape, dtype: str
) -> None:
    """Write built layers as a model of Keras 3.

    Parameters
    ----------
    path
        The file.
    name
        Of the model; None for 'sequential'.
    stack
        The layers.
    shape
        Of their inputs, with None for the batch.
    dtype
        'float32' or 'float64'.

    Raises
    ------
    ValueError
        For a layer that Keras does not have; the message names it.
    """
    config, arrays = to_config(name, stack, shape, dtype)
    weights = io.BytesIO()
    hdf5.write(weights, arrays)
    members: dict[str, Any] = {
        "metadata.json": json.dumps({"keras_version": "3.0.0"}),
        "config.json": json.dumps(config),
        "model.weights.h5": weights.getvalue(),
    }

    def save(stream: Any) -> None:
        with zipfile.ZipFile(stream, "w") as file:
            for member, content in members.items():
                file.writestr(zipfile.ZipInfo(member), content)

    write_atomic(path, save, "Model")


def to_config(
    name: str | None, stack: Sequence[Layer], shape: Shape, dtype: str, permutes: bool = True
) -> tuple[Config, dict[str, np.ndarray]]:
    """Return the configuration of a model of Keras, and the arrays by their names.

    It is a `Sequential`, or `Functional` if there are blocks whose paths part and meet. Without
    `permutes` it is the one that Keras itself would have for such layers, which flattens images in
    Keras' order; the arrays do not fit it then.
    """
    inputs = [None, *((*shape[2:], shape[1]) if len(shape) == 4 else shape[1:])]
    is_ids = isinstance(next(iter(flat(stack)), None), layers.Embedding)
    first = {"batch_shape": inputs, "dtype": "int32" if is_ids else dtype, "name": "input_layer"}
    listed: list[Config] = [serialized("InputLayer", first)]
    arrays: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    labels = {-1: "input_layer"}
    entries = entries_of(stack, shape, permutes)
    is_chain = all(made.inputs == (number - 1,) for number, made in enumerate(entries))
    order = branches.in_keras_order([made.inputs for made in entries])
    for number in order:
        made = entries[number]
        snake = snake_case(made.kind)
        count = counts.get(snake, 0)
        counts[snake] = count + 1
        group = f"{snake}_{count}" if count else snake
        label = str(made.config.get("name") or group).replace("/", "_")
        while label in labels.values():
            label += "_"
        labels[number] = label
        listed.append(serialized(made.kind, {"dtype": dtype, **made.config, "name": label}))
        for part, values in made.arrays.items():
            for index, array in enumerate(values):
                place = "/".join(("layers", group, part, "vars", str(index))).replace("//", "/")
                arrays[place] = np.ascontiguousarray(cuda.to_cpu(array))
    config = {"name": name or "sequential", "trainable": True, "dtype": dtype, "layers": listed}
    found: Config = {"module": "keras", "registered_name": None, "config": config}
    found["build_config"] = {"input_shape": inputs}
    if is_chain:
        config["build_input_shape"] = inputs
        return {**found, "class_name": "Sequential"}, arrays
    for number, written in zip([-1, *order], listed, strict=True):
        before = entries[number].inputs if number >= 0 else ()
        axes = [entries[k].axes if k >= 0 else len(shape) for k in before]
        names = [labels[k] for k in before]
        written["name"] = labels[number]
        written["inbound_nodes"] = branches.node_of(names, dtype, axes[0]) if names else []
    config["input_layers"] = [labels[-1], 0, 0]
    config["output_layers"] = [labels[len(entries) - 1], 0, 0]
    del config["dtype"]
    named = {"class_name": "Functional", "registered_name": "Functional"}
    return {**found, **named, "module": "keras.src.models.functional"}, arrays
