"""Names of other libraries, and earlier module names, that nn accepts for its own.

All such names are in these tables: registries (`nn.registry`) add their aliases from here, and
optimizers translate the names of their arguments (`renamed`).
"""

import functools
import importlib
import inspect
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from . import checks

#: Modules by the names under which they can also be imported: `from nn.io import FileFormatError`.
MODULES: dict[str, str] = {
    "nn.explain": "nn.inspect.explain",
    "nn.gradcheck": "nn.inspect.gradcheck",
    "nn.io": "nn.files.model_file",
    "nn.schedules": "nn.optim.schedules",
    "nn.trace": "nn.inspect.trace",
}

#: Layers, as Keras and older NumPy libraries call them.
LAYERS: dict[str, str] = {
    "Affine": "Dense",
    "AveragePooling2D": "AvgPool2D",
    "BatchNormalization": "BatchNorm",
    "GlobalAveragePooling2D": "GlobalAvgPool2D",
    "GlobalMaxPooling2D": "GlobalMaxPool2D",
    "GroupNormalization": "GroupNorm",
    "LayerNormalization": "LayerNorm",
    "MaxPooling": "MaxPool2D",
    "MaxPooling2D": "MaxPool2D",
    "Pooling2D": "MaxPool2D",
    "Swish": "SiLU",
    "UpSampling2D": "UpSample2D",
    "ZeroPadding2D": "ZeroPad2D",
}

#: Activations by other names.
ACTIVATIONS: dict[str, str] = {"swish": "silu"}

#: Losses, as Keras and the literature call them.
LOSSES: dict[str, str] = {
    "sparse_categorical_crossentropy": "categorical_crossentropy",
    "cce": "categorical_crossentropy",
    "bce": "binary_crossentropy",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
}

#: Metrics, as Keras calls them.
METRICS: dict[str, str] = {"acc": "accuracy"}

#: Arguments of an optimizer, as Keras and PyTorch call them.
OPTIMIZER_ARGUMENTS: dict[str, str] = {
    "learning_rate": "lr",
    "beta_1": "beta1",
    "beta_2": "beta2",
    "epsilon": "eps",
}


def renamed(owner: str, arguments: dict[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """Return keyword arguments under nn's names.

    Parameters
    ----------
    owner
        The class that an error names.
    arguments
        Values by name.
    aliases
        `{alias: name}`.

    Raises
    ------
    ValueError
        If an argument is given under two names.

    Examples
    --------
    >>> renamed("Adam", {"learning_rate": 0.1, "beta1": 0.8}, OPTIMIZER_ARGUMENTS)
    {'lr': 0.1, 'beta1': 0.8}
    """
    for alias, name in aliases.items():
        if alias in arguments and name in arguments:
            rule = f"is another name of {name!r}: give one of them"
            raise checks.error(owner, alias, rule, arguments[alias])
    return {aliases.get(name, name): value for name, value in arguments.items()}


def aliases_of(names: Iterable[str], table: Mapping[str, str]) -> dict[str, str]:
    """Return the entries of a table for arguments of these names, which a class takes itself.

    Examples
    --------
    >>> aliases_of(["lr", "momentum"], OPTIMIZER_ARGUMENTS)
    {'learning_rate': 'lr'}
    """
    names = set(names)
    return {alias: n for alias, n in table.items() if n in names and alias not in names}


def accept_aliases(cls: type, table: Mapping[str, str]) -> None:
    """Let the constructor of a class take the other names of its keyword arguments too."""
    original = vars(cls)["__init__"]
    aliases = aliases_of(inspect.signature(original).parameters, table)

    @functools.wraps(original)
    def init(self: Any, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **renamed(type(self).__name__, options, aliases))

    if aliases:
        cls.__init__ = init  # type: ignore[misc]


def import_aliases() -> None:
    """Make every module of `MODULES` importable under its other name."""
    for alias, name in MODULES.items():
        sys.modules[alias] = importlib.import_module(name)
