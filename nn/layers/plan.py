"""One walk of the tree of layers, and what training needs of it, kept until the tree changes."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from .. import cuda
from ..custom import is_ours
from .base import Layer


class Parameter(NamedTuple):
    """A trained parameter: its name in a file, its layer, and its key in `layer.params`."""

    name: str
    layer: Layer
    key: str


class Plan:
    """What a training step needs of a stack of layers, found in one walk.

    Parameters
    ----------
    layers
        The layers of the stack, in order.

    Attributes
    ----------
    parameters : list of Parameter
        All parameters that are trained.
    names : list of str
        Their names.
    factors : list of float
        What the learning rate of each is multiplied by.
    lowest : int or None
        Index of the first layer of the stack with parameters to train.
    custom : list of Layer
        The layers that are not nn's.

    Examples
    --------
    >>> from nn.layers import Dense, Sequential, Tanh
    >>> layers = [Tanh(), Dense(2, lr_factor=0.1), Sequential([Dense(3, trainable=False)])]
    >>> shape = [layer.build((None, 2)) for layer in layers]
    >>> plan = Plan(layers)
    >>> plan.names, plan.factors, plan.lowest
    (['1_Dense_W', '1_Dense_b'], [0.1, 0.1], 1)
    >>> layers[1].trainable = False
    >>> plan.is_current(layers), Plan(layers).lowest
    (False, None)
    """

    def __init__(self, layers: Sequence[Layer]):
        self._structure, self._layers = Layer._structure, layers[:]
        self._inside: list[tuple[Layer, tuple[Layer, ...]]] = []  # of layers made of layers
        self._trainable: list[Layer] = []
        self._active: list[Layer] = []  # with an activity penalty
        self._keys: list[list[str]] = []  # of the parameters of each
        self.parameters: list[Parameter] = []
        self.factors: list[float] = []
        factors: dict[str, list] = {"": []}  # of each layer, and of the layers around it
        places: dict[str, Layer] = {}
        trained: list[str] = []  # paths of the layers with parameters to train
        named = list(named_layers(layers))
        frozen = frozen_names(named)
        # Custom layers that are built later may have others inside then.
        self.custom = [layer for _, layer in named if not is_ours(type(layer))]
        self._unbuilt = [layer for layer in self.custom if not layer.built]
        for name, layer in named:
            places[name] = layer
            factors[name] = [*factors[name.rpartition("/")[0]], layer.lr_factor]
            if inside := layer.sublayers():
                self._inside.append((layer, inside))
            if type(layer).activity_penalty is not Layer.activity_penalty:
                self._active.append(layer)
            if layer.trainable and name not in frozen:
                self._trainable.append(layer)
                self._keys.append([*layer.params])
                keys = layer.trained_keys()
                self.parameters += [Parameter(f"{name}_{k}", layer, k) for k in keys]
                self.factors += [_product(factors[name], key) for key in keys]
                trained += [name] * bool(keys)
        self.names = [parameter.name for parameter in self.parameters]
        self._trained: set[int] = set()  # ids of these layers and of those around them
        for path in trained:
            while path:
                self._trained.add(id(places[path]))
                path = path.rpartition("/")[0]
        self.lowest = self.lowest_of(layers)

    def lowest_of(self, layers: Sequence[Layer]) -> int | None:
        """Return the index of the first of some of the layers with parameters to train, or None."""
        return next((k for k, layer in enumerate(layers) if id(layer) in self._trained), None)

    def is_current(self, layers: Sequence[Layer]) -> bool:
        """Return whether the plan is still that of these layers."""
        if self._structure is not Layer._structure or self._layers != layers:
            return False
        for layer, inside in self._inside:
            if layer.sublayers() != inside:
                return False
        if any(layer.built for layer in self._unbuilt):
            return False
        for layer, keys in zip(self._trainable, self._keys, strict=True):
            if [*layer.params] != keys:  # a user's layer may create parameters at any time
                return False
        return True

    def zero_gradients(self) -> None:
        """Set the gradients of custom layers to zero, before a backward pass fills them.

        A `backward` that adds to `grads` adds to those of its own pass then. The arrays of the pass
        before are not changed: they may be in use. The layers of nn replace theirs.
        """
        for layer in self.custom:
            for key in layer.grads.keys() & layer.params.keys():
                param = layer.params[key]
                xp = cuda.get_array_module(param)
                layer.grads[key] = xp.zeros(param.shape, param.dtype)

    @property
    def has_activity_penalty(self) -> bool:
        """Whether the activity of a layer adds to the loss."""
        return bool(self._active)

    def activity_penalty(self) -> float:
        """Return the sum of what the layers' activities add to the loss of the last batch."""
        return sum(layer.activity_penalty() for layer in self._active)

    def penalty(self, of_activity: bool = True) -> float:
        """Return the sum of the penalties on the parameters that are trained, and on activities."""
        total = self.activity_penalty() if of_activity and self._active else 0.0
        for layer in self._trainable:
            if layer.regularizers or type(layer).penalty is not Layer.penalty:
                total += layer.penalty()
        return total


def _product(factors: Iterable[Any], key: str) -> float:
    """Return the product of factors, each a number or those of parameters by their names."""
    return math.prod(f.get(key, 1.0) if isinstance(f, dict) else f for f in factors)


def frozen_names(named: Iterable[tuple[str, Layer]]) -> set[str]:
    """Return the names of those layers of `named_layers` that a frozen layer around them freezes.

    Examples
    --------
    >>> from nn.layers import Dense, Layer
    >>> class Block(Layer):
    ...     def sublayers(self):
    ...         return (self.dense,)
    >>> block = Block(trainable=False)
    >>> block.dense = Dense(2)
    >>> frozen_names(named_layers([block]))
    {'0_Block/0_Dense'}
    """
    found: dict[str, bool] = {"": False}  # by name, whether the layer or one around it is frozen
    inside = set()
    for name, layer in named:
        if found[name.rpartition("/")[0]]:
            inside.add(name)
        found[name] = name in inside or layer.trainable is False
    return inside


def named_layers(layers: Iterable[Layer], path: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield every layer with its name in a file; a layer comes before those inside it.

    Examples
    --------
    >>> from nn.layers import Dense, ReLU, Residual
    >>> [name for name, _ in named_layers([Dense(2), Residual([Dense(2), ReLU()])])]
    ['0_Dense', '1_Residual', '1_Residual/0_Dense', '1_Residual/1_ReLU']
    """
    for index, layer in enumerate(layers):
        name = f"{path}{index}_{type(layer).__name__}"
        yield name, layer
        yield from named_layers(layer.sublayers(), f"{name}/")
