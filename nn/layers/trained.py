"""Which parameters of a layer are trained, and with which factor of the learning rate."""

from collections.abc import Mapping
from typing import Any

from .. import checks


def checked_trainable(owner: str, value: Any) -> Any:
    """Return `trainable`: a bool, or a tuple of names of parameters."""
    is_names = isinstance(value, list | tuple) and all(isinstance(k, str) for k in value)
    return tuple(value) if is_names and value else checks.boolean(owner, "trainable", value)


def checked_factor(owner: str, value: Any) -> Any:
    """Return `lr_factor`: a number above 0, or those of parameters by their names."""
    if not isinstance(value, Mapping):
        return checks.positive(owner, "lr_factor", value)
    return {key: checks.positive(owner, f"lr_factor[{key!r}]", f) for key, f in value.items()}


def trained_keys(layer: Any) -> list[str]:
    """Return the names of a layer's parameters that are trained.

    Raises
    ------
    ValueError
        If its `trainable` or `lr_factor` names a parameter that it does not have.
    """
    params, chosen = layer.params, layer.trainable
    factors = None if layer.sublayers() else layer.lr_factor  # else of parameters inside
    for argument, names in (("trainable", chosen), ("lr_factor", factors)):
        for name in names if params and isinstance(names, tuple | dict) else ():
            if name not in params:
                raise checks.unknown(type(layer).__name__, argument, name, params)
    if isinstance(chosen, tuple):
        return [key for key in params if key in chosen]
    return [*params] if chosen else []
