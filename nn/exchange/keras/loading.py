"""Models and weights of Keras in files, as nn's files have them."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...checks import FileFormatError
from ...files import model_file
from ...files.sparse import size_of
from ...layers import Layer, Residual, SkipConcat
from ...layers.base import Shape
from ...layers.stack import flat
from ...layers.state import LoadReport
from .. import matching
from . import files, writing
from .layers import LAYERS
from .reading import to_model_file

__all__ = ["read", "read_weights"]


def read(path: str | os.PathLike) -> model_file.ModelFile:
    """Return the model in a file of Keras.

    Raises
    ------
    nn.io.FileFormatError
        For a damaged file, or a model that is not a stack of layers which nn has.
    """
    with Path(path).open("rb") as stream, _naming(path):
        return to_model_file(files.read(stream, size_of(stream)), LAYERS)


def read_weights(
    path: str | os.PathLike, layers: Sequence[Layer], strict: bool
) -> tuple[dict, LoadReport]:
    """Return the arrays in a file of Keras for built layers, matched by their order.

    In a file of weights alone, of Keras 3, the layers of each class have numbers; in the older
    layout they have the names of Keras' layers, which nn's must have.

    Parameters
    ----------
    path
        The file.
    layers
        nn's layers.
    strict
        As for `matching.match`.
    """
    shape: Shape = next((layer.built_shape for layer in layers if layer.built_shape), (None,))
    with Path(path).open("rb") as stream, _naming(path):
        file = files.read(stream, size_of(stream))
        if file.config is None:
            if file.is_numbered and any(isinstance(k, Residual | SkipConcat) for k in flat(layers)):
                raise ValueError(
                    "weights alone do not say on which path of a block they are: load the .keras "
                    "file of the whole model"
                )
            permutes = file.permutes  # else the model flattens images as Keras does
            config, _ = writing.to_config(None, layers, shape, layers[0].dtype, permutes)
            file = file._replace(config=config)
        content = to_model_file(file, LAYERS)
    groups: dict[str, dict] = {}
    for name, array in content.arrays.items():
        key = name.rpartition("/")[2].split("_", 2)[2]  # of '1_Bidirectional/0_LSTM_W'
        groups.setdefault(name.removesuffix(f"_{key}"), {})[key] = array
    return matching.match(
        str(path),
        [matching.Group(name, arrays) for name, arrays in groups.items()],
        layers,
        lambda layer, group: {
            key: matching.Turned(array, f"{group.name}_{key}")
            for key, array in group.arrays.items()
        },
        strict=strict,
    )


@contextlib.contextmanager
def _naming(path: str | os.PathLike) -> Iterator[None]:
    """Raise whatever a file leads to as an error that names it."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can make the libraries fail in any way
        reason = str(error).rstrip(".") or type(error).__name__
        raise FileFormatError(f"[io] '{path}' of Keras cannot be read: {reason}.") from error
