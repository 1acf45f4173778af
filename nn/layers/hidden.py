"""Layers in attributes of a user's layer that the model does not see: it would not train them."""

from collections.abc import Iterable, Iterator
from typing import Any

from ..custom import is_ours
from .base import Layer


def refuse_hidden(layers: Iterable[tuple[str, Layer]]) -> None:
    """Raise if a custom layer has another in an attribute that is not one of its `sublayers`.

    Its parameters would be neither trained nor saved. Layers without parameters are helpers, and
    those that are frozen, or are a part of the same model, may be meant.

    Parameters
    ----------
    layers
        All layers of a model with their names, as `named_layers` yields them, and the model itself
        with the name ''. A model in an attribute of this one has an optimizer of its own.

    Raises
    ------
    ValueError
        For such a layer that has parameters.
    """
    named = list(layers)
    custom = [(name, layer) for name, layer in named if not is_ours(type(layer))]
    known = {id(layer) for _, layer in named} if custom else set()
    for name, layer in custom:
        for attribute, held in held_layers(layer):
            is_model = not name and hasattr(held, "compile")
            if id(held) not in known and not is_model and held.trainable and _has_params(held):
                raise ValueError(
                    f"[{type(layer).__name__}] must not hold a layer with parameters that the "
                    f"model does not know, got {type(held).__name__} in '{attribute}'"
                    f"{name and f' of {name}'}, which would be neither trained nor saved: pass all "
                    "layers to super().__init__(), in a subclass of nn.layers.containers.Container "
                    "instead of nn.Layer; or set trainable=False in it, if it is to stay as it is."
                )


def held_layers(layer: Layer) -> Iterator[tuple[str, Layer]]:
    """Yield the layers in a layer's attributes, and in lists and dictionaries there, by attribute.

    Examples
    --------
    >>> from nn.layers import Dense, ReLU
    >>> layer = Layer()
    >>> layer.first, layer.others = Dense(2), [ReLU(), Dense(3)]
    >>> [(name, type(held).__name__) for name, held in held_layers(layer)]
    [('first', 'Dense'), ('others', 'ReLU'), ('others', 'Dense')]
    """
    for name, value in vars(layer).items():
        inside: Any = value.values() if isinstance(value, dict) else value
        if not isinstance(inside, Iterable) or isinstance(value, str | Layer):
            inside = [value]
        elif not isinstance(value, dict | list | tuple | set):
            continue  # arrays
        for held in inside:
            if isinstance(held, Layer):
                yield name, held


def _has_params(layer: Layer) -> bool:
    return bool(layer.params) or any(_has_params(part) for part in layer.sublayers())
