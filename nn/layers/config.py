"""Layer classes by their names in files: the one registry, and layers made from configurations."""

import inspect
import reprlib
from collections.abc import Callable
from typing import Any

from .. import checks
from ..registry import Registry
from .base import COMMON, ChannelLayer, Layer

#: Layers inside layers inside layers: no deeper than this.
MAX_DEPTH = 100

#: All layers of a saved model, those inside others included: no more than this.
MAX_LAYERS = 10_000

#: Every layer class by the names under which models are saved and loaded.
NAME2LAYER: Registry[type[Layer]] = Registry("Model", "class")

#: Every activation class by the names that `activation=` and `Activation` take.
NAME2ACTIVATION: Registry[Callable[[], Layer]] = Registry("Activation", "activation")


def register(cls: type[Layer]) -> type[Layer]:
    """Make a layer class known by its name, so that models with it can be loaded.

    Use it as a decorator. A later class of the same name takes the place of the earlier.

    Examples
    --------
    >>> @register
    ... class Half(Layer):
    ...     def forward(self, x, training=False):
    ...         return x / 2
    ...     def backward(self, grad):
    ...         return grad / 2
    >>> NAME2LAYER.pop("Half").__name__
    'Half'
    """
    NAME2LAYER[cls.__name__] = cls
    return cls


def layer_from_config(entry: dict[str, Any]) -> Layer:
    """Make a layer from what `to_config` returned.

    Raises
    ------
    ValueError
        For a class that is not registered, arguments that its `__init__` does not take, or
        layers inside layers that are nested too deeply.
    """
    is_entry = isinstance(entry, dict) and entry.keys() <= {"class", "config"}
    if not is_entry or not isinstance(entry.get("class"), str):
        rule = "must be {'class': ..., 'config': {...}}"
        raise ValueError(f"[Model] 'layers' {rule}, got {reprlib.repr(entry)}.")
    check_nesting(entry)
    name, config = entry["class"], entry.get("config") or {}
    if not isinstance(config, dict):
        value = reprlib.repr(config)
        raise ValueError(f"[Model] 'config' of a {name} must be a dict, got {value}.")
    if name not in NAME2LAYER:
        message = str(checks.unknown("Model", "class", name, NAME2LAYER))
        raise ValueError(f"{message} Register a custom layer first, with @nn.register.")
    # Ours take these themselves; a user's __init__ may not.
    taken = inspect.signature(NAME2LAYER[name].__init__).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    common = {k: v for k, v in config.items() if k in COMMON and not (takes_all or k in taken)}
    arguments = {k: _as_tuple(v) for k, v in config.items() if k not in common}
    try:
        layer = NAME2LAYER[name](**arguments)
    except TypeError as error:
        raise ValueError(
            f"[{name}] cannot be made from the config {reprlib.repr(config)}: {error}. Its "
            "to_config() must return the arguments of its __init__."
        ) from error
    for key, value in common.items():
        setattr(layer, key, _as_tuple(value))
    return layer


def check_nesting(entries: Any) -> None:
    """Raise where configurations within configurations are too deep to be followed, or too many.

    It looks ahead, a level at a time: making the layers would end in a RecursionError, or never.
    """
    level: list[Any] = [entries]
    count = 0
    # A layer's dictionary, its config, the list of its layers, and so on; the last has arguments.
    for _ in range(3 * MAX_DEPTH + 10):
        inner = (v.values() if isinstance(v, dict) else v for v in level)
        count += sum(isinstance(v, dict) and "class" in v for v in level)
        if count > MAX_LAYERS:
            raise ValueError(f"[Model] 'layers' must not be more than {MAX_LAYERS:,} in all.")
        level = [v for values in inner for v in values if isinstance(v, dict | list | tuple)]
        if not level:
            return
    raise nested_too_deeply("Model")


def nested_too_deeply(owner: str) -> ValueError:
    """Return the error for layers inside layers beyond `MAX_DEPTH`."""
    return ValueError(f"[{owner}] 'layers' must not be nested more than {MAX_DEPTH} deep.")


def _as_tuple(value: Any) -> Any:
    """Return JSON's lists as the tuples that they were."""
    return tuple(value) if isinstance(value, list) else value


def get_activation(activation: "str | Layer | None", owner: str) -> Layer | None:
    """Return a new activation layer for a name, the layer itself, or None for 'linear'."""
    if activation is None or activation == "linear":
        return None
    if isinstance(activation, dict):
        activation = layer_from_config(activation)
    if isinstance(activation, Layer):
        return without_params(activation, owner)
    if isinstance(activation, str):
        activation = activation.lower()
    if activation not in NAME2ACTIVATION:
        raise checks.unknown(owner, "activation", activation, [*NAME2ACTIVATION, "linear"])
    return NAME2ACTIVATION[activation]()


def without_params(activation: Layer, owner: str) -> Layer:
    """Return an activation; raise if it has parameters, which would not be trained or saved."""
    if activation.params or isinstance(activation, ChannelLayer):
        raise ValueError(
            f"[{owner}] 'activation' must have no parameters, got {activation!r}: add it as a "
            "layer of its own."
        )
    return activation


def activation_config(activation: Layer) -> str | dict[str, Any]:
    """Return the shortest value from which `get_activation` makes the same activation."""
    for name, make in NAME2ACTIVATION.items():
        if make is type(activation) and make().to_config() == activation.to_config():
            return name
    return activation.to_config()
