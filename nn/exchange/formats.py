"""Which module reads or writes a file: by its content when it is read, by its suffix when written.

Each module for a format of another library has some of these functions:

`read(path)`
    Return a whole model as a `ModelFile`: the configurations of nn's layers, and the arrays by the
    names and in the shapes that nn uses; `sources` says what was turned.
`read_weights(path, layers, strict)`
    Return the arrays in a file for layers that are built, by nn's names, and a `LoadReport`;
    `matching.match` does it for arrays in the order of the layers.
`write(path, content, layers)`
    Write a model: the `ModelFile` that `Model.save` makes, and the built layers.
"""

import os
from collections.abc import Sequence

from .. import checks
from ..files import foreign, model_file
from ..layers import Layer
from ..layers.state import LoadReport

__all__ = ["read", "read_weights", "write"]


def read(
    path: str | os.PathLike, external_data: str | os.PathLike | None = None
) -> model_file.ModelFile:
    """Return the model in a file, whichever library wrote it; the content decides.

    `external_data` is the second file of a model of ONNX that has its arrays in two.
    """
    library = model_file.library_of(path)
    if library == "ONNX":
        from .onnx import reading

        return reading.read(path, external_data)
    if external_data is not None:
        raise checks.error(
            "Model", "external_data", "must be None for files that are not ONNX", external_data
        )
    if library == "Keras":
        from .keras import loading

        return loading.read(path)
    return model_file.read(path)


def read_weights(
    path: str | os.PathLike,
    layers: Sequence[Layer],
    layout: str | None,
    strict: bool,
) -> tuple[model_file.ModelFile, LoadReport]:
    """Return the arrays in a file by nn's names, and a report to be filled in.

    Parameters
    ----------
    path
        The file.
    layers
        nn's layers; they must be built for files of other libraries.
    layout
        'torch' for arrays under PyTorch's names, in any format; None lets the content decide.
    strict
        As for `matching.match`.
    """
    if layout not in (None, "torch"):
        raise checks.error("Model", "layout", "must be None or 'torch'", layout)
    library = model_file.library_of(path)
    is_torch = library == "PyTorch"
    if layout == "torch" or is_torch:
        from .torch import weights

        state = model_file.read_torch(path)
        # Other files, such as safetensors, do not keep the order of a state dict.
        arrays, report = weights.match(state, layers, str(path), strict, ordered=is_torch)
        return model_file.ModelFile(None, arrays), report
    if library == "Keras":
        from .keras import loading

        arrays, report = loading.read_weights(path, layers, strict)
        return model_file.ModelFile(None, arrays), report
    content = model_file.read(path)
    if content.architecture is None and any(name.endswith(".weight") for name in content.arrays):
        raise model_file.FileFormatError(
            f"[io] '{path}' has the names of PyTorch, such as '{next(iter(content.arrays))}': pass "
            "layout='torch'."
        )
    return content, LoadReport(str(path))


def write(
    path: str | os.PathLike,
    content: model_file.ModelFile,
    layers: Sequence[Layer],
    dtype: str | None = None,
) -> None:
    """Write a model in the format that belongs to the suffix of the path.

    `dtype` is one of `model_file.check_dtype`.
    """
    if os.fspath(path).lower().endswith(".keras"):
        from .keras import writing

        if dtype is not None:
            raise checks.error("Model", "dtype", "must be None for files of Keras", dtype)
        given = content.architecture or {}
        writing.write(path, given.get("name"), layers, given["input_shape"], given["dtype"])
        lost = [key for key in ("class_names", "vocabulary") if given.get(key) is not None]
        if lost:
            checks.warn(
                f"[Model] '{os.fspath(path)}' is a file of Keras, which does not hold "
                f"{' and '.join(lost)}: set them again after loading, or save as HDF5."
            )
        return
    foreign.check_suffix("Model", path)
    model_file.write(path, content, dtype)
