"""Which module reads or writes a file: by its content when it is read, by its suffix when written.

Each module for a format of another library has some of these functions:

`read(path)`
    Return a whole model as a `ModelFile`: the configurations of nn's layers, and the arrays by the
    names and in the shapes that nn uses.
`read_weights(path, layers, strict)`
    Return the arrays in a file for layers that are built, by nn's names, and a `LoadReport`;
    `matching.match` does it for arrays in the order of the layers.
`write(path, content, layers)`
    Write a model: the `ModelFile` that `Model.save` makes, and the built layers.
"""

import os
from collections.abc import Sequence

from ..files import foreign, model_file
from ..layers import Layer

__all__ = ["read", "write"]


def read(path: str | os.PathLike) -> model_file.ModelFile:
    """Return the model in a file, whichever library wrote it; the content decides."""
    return model_file.read(path)


def write(
    path: str | os.PathLike,
    content: model_file.ModelFile,
    layers: Sequence[Layer],
    dtype: str | None = None,
) -> None:
    """Write a model in the format that belongs to the suffix of the path.

    `dtype` is one of `model_file.check_dtype`.
    """
    foreign.check_suffix("Model", path)
    model_file.write(path, content, dtype)
