"""Layers made of layers: a stack within a stack, and the residual block.

A container has parameters only through the layers in its attribute `layers`. What a model does
with its own stack it does with theirs by `named_layers`, which names every layer as files do:
`3_Residual/0_Conv2D`.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import checks, cuda
from ..custom import is_ours
from .base import Array, Layer, Shape
from .build import build_layers
from .config import MAX_DEPTH, layer_from_config, nested_too_deeply, register
from .hidden import refuse_hidden
from .masks import Mask
from .plan import Plan, named_layers
from .stack import (
    backward_params_through,
    backward_through,
    check_distinct,
    forward_through,
    step_through,
)
from .state import LoadReport, match_arrays


def output_activation(layers: Sequence[Layer]) -> Layer | None:
    """Return the activation that makes the output of layers, or None.

    It may be a layer of its own, or inside the last layer. One that no loss could be paired with
    counts only in the latter case.

    Examples
    --------
    >>> from nn.layers import Dense, ReLU, Softmax
    >>> output_activation([Dense(3), Sequential([Softmax()])])
    Softmax()
    >>> output_activation([Dense(3)]) is None
    True
    """
    last = layers[-1] if layers else None
    while isinstance(last, Sequential):
        last = last.layers[-1]
    inner = getattr(last, "activation", None)
    if isinstance(inner, Layer):
        return inner
    return last if getattr(last, "logits_of", None) else None


def as_layers(entries: Any, owner: str, argument: str = "layers") -> list[Layer]:
    """Return layers, models and saved configurations, one or several, as a list of layers.

    Raises
    ------
    TypeError
        For anything else.
    """
    if isinstance(entries, str | dict | Layer) or not isinstance(entries, Iterable):
        entries = [entries]
    return [as_layer(entry, owner, argument) for entry in entries]


def as_layer(entry: Any, owner: str, argument: str = "layers") -> Layer:
    """Return a layer, a model or a saved configuration as a layer; see `as_layers`."""
    if isinstance(entry, type):
        raise TypeError(
            f"[{owner}] '{argument}' must hold layer objects, got the class {entry.__name__}: "
            f"write {entry.__name__}(...)."
        )
    if hasattr(entry, "as_layer"):
        entry = entry.as_layer()
    if isinstance(entry, dict):
        entry = layer_from_config(entry)
    if not isinstance(entry, Layer):
        raise TypeError(f"[{owner}] '{argument}' must hold layer objects, got {entry!r}.")
    check_subclass(entry)
    return entry


def check_subclass(layer: Layer) -> None:
    """Raise for a layer of a user's class that cannot work, before it fails somewhere inside.

    Raises
    ------
    TypeError
        If its `__init__` has not called that of `Layer`, or its `forward` takes no `training`.
    """
    name = type(layer).__name__
    if "params" not in vars(layer):
        raise TypeError(
            f"[{name}] __init__() must call super().__init__(), before it sets attributes of its "
            "own, which it did not."
        )
    if not is_ours(type(layer)) and not checks.takes(layer.forward, 2):
        names = ", ".join(inspect.signature(layer.forward).parameters)
        raise TypeError(
            f"[{name}] forward() must take 'training', got forward({names}): write "
            "forward(self, x, training=False)."
        )


# --------------------------------------------------------------------------- the containers


class Container(Layer):
    """What layers made of layers share; subclass it to arrange layers in another way.

    A subclass passes all its layers to `super().__init__`, and its `forward` and `backward` send
    arrays through lists of them by `forward_through` and `backward_through`, the methods. One that
    is to take masks of padded steps sends them through `nn.layers.stack.forward_through` in a
    `forward_masked`, as `Sequential` does.

    Parameters
    ----------
    layers
        All layers inside, in the order of their numbers in a file.
    **common
        `name`, `input_shape` and `trainable`, as every layer takes them. The first layer's
        `input_shape` is used if the container has none.

    Attributes
    ----------
    layers : tuple of Layer
    trainable : bool
        Whether any layer inside is trained. Set to False it freezes all of them, set to True it
        frees all of them.

    Raises
    ------
    ValueError
        For no layers, for one that comes twice, or for containers nested too deeply.
    """

    layers: Any = ()

    makes_mask = True  # as a layer inside may

    _last_plan: Plan | None = None

    #: Whether there may be no layers inside, as in a model that has none yet.
    may_be_empty = False

    def __init__(self, layers: Sequence[Layer], trainable: bool = True, **common: Any):
        super().__init__(**common)
        owner = type(self).__name__
        if not (layers or self.may_be_empty):
            raise checks.error(owner, "layers", "must hold at least one layer", list(layers))
        check_distinct(owner, layers)
        self.depth = 1 + max((getattr(layer, "depth", 0) for layer in layers), default=0)
        if self.depth > MAX_DEPTH:
            raise nested_too_deeply(owner)
        self.layers = tuple(layers)
        if self.input_shape is None and layers:
            self.input_shape = layers[0].input_shape
        if not trainable:
            self.trainable = False

    @property
    def trainable(self) -> bool:
        """Whether any layer inside is trained."""
        return any(bool(layer.trainable) for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        value = checks.boolean(type(self).__name__, "trainable", value)
        for layer in self.layers:
            layer.trainable = value

    def sublayers(self) -> tuple[Layer, ...]:
        """Return the layers inside."""
        return self.layers

    def build(self, input_shape: Shape) -> None:
        """Build the layers inside, as one stack."""
        self._built(input_shape, build_layers(self.layers, input_shape, self.dtype))

    def _plan(self) -> Plan:
        """Return the plan of the layers inside, found again if they have changed."""
        if self._last_plan is None or not self._last_plan.is_current(self.layers):
            refuse_hidden([("", self), *self.named_layers()])
            self._last_plan = Plan(self.layers)
            self._connect_loss()
        return self._last_plan

    def _connect_loss(self) -> None:
        """Let a loss know the layers; only a model has one."""

    def named_layers(self) -> Iterator[tuple[str, Layer]]:
        """Yield every layer inside, at any depth, with its name: '3_Residual/0_Conv2D'."""
        return named_layers(self.sublayers())

    def get_layer(self, name: str | int | None = None, index: int | None = None) -> Layer:
        """Return a layer by its name, its name in a file, or its index.

        Parameters
        ----------
        name
            The layer's `name`, its name in a file, as '3_Residual/0_Conv2D', or its index.
        index
            The index, from the end if it is negative.

        Raises
        ------
        ValueError
            If there is no such layer; the message gives the nearest name.
        """
        if (name is None) == (index is None):
            raise checks.error(type(self).__name__, "name", "must be given, or else 'index'", name)
        place: Any = name if index is None else index
        argument = "index" if checks.is_integer(place) else "name"
        return self.layer_at(place, type(self).__name__, argument)

    def layer_at(self, place: Any, owner: str, argument: str) -> Layer:
        """Return a layer by its name, its name in a file, or its index; errors name the argument.

        Parameters
        ----------
        place
            A name or an index.
        owner, argument
            What an error names.
        """
        if checks.is_integer(place):
            count = len(self.layers)
            if not -count <= place < count:
                raise checks.error(owner, argument, f"must be in -{count}..{count - 1}", place)
            return self.layers[place]
        found = dict(self.named_layers())
        named = {path: layer.name for path, layer in found.items() if layer.name is not None}
        same = [path for path, name in named.items() if name == place]
        if len(same) > 1 and place not in found:
            rule = f"must be the name of one layer; with this name there are {', '.join(same)}"
            raise checks.error(owner, argument, rule, place)
        found |= {layer.name: layer for layer in found.values() if layer.name is not None}
        if not isinstance(place, str) or place not in found:
            raise checks.unknown(owner, argument, place, found)
        return found[place]

    def get_arrays(self) -> dict[str, Array]:
        """Return all parameters and buffers inside by their names in a file; not copies.

        They are '7_Dense_W', and '3_Residual/0_Conv2D_W' inside another layer.
        """
        named = list(self.named_layers())
        refuse_hidden([("", self), *named])
        return {
            f"{name}_{key}": array
            for name, layer in named
            for arrays in (layer.params, layer.buffers)
            for key, array in arrays.items()
        }

    def set_arrays(
        self,
        arrays: dict[str, Array],
        where: str = "arrays",
        strict: bool = True,
        report: LoadReport | None = None,
    ) -> LoadReport:
        """Copy arrays into the parameters and buffers of the same names.

        Parameters
        ----------
        arrays
            Arrays by name, as `get_arrays` returns them; those of any device.
        where
            What the arrays come from, for messages.
        strict
            Whether a missing, an extra or a wrongly shaped array is an error; else what fits is
            copied.
        report
            To be filled in; None makes one.

        Returns
        -------
        LoadReport
            What was copied, what was not, and why.

        Raises
        ------
        ValueError
            If `strict` and they do not match; nothing is changed then.
        """
        if not isinstance(arrays, dict) or not all(hasattr(a, "shape") for a in arrays.values()):
            raise checks.error(type(self).__name__, "arrays", "must be {name: array}", arrays)
        own = self.get_arrays()
        report = match_arrays(own, arrays, where, strict, report)
        fitting = {name: _cast(arrays[name], own[name], name, where) for name in report.loaded}
        for name, array in fitting.items():
            own[name][...] = array
        return report

    def state_dict(self) -> dict[str, Array]:
        """Return what `get_arrays` returns."""
        return self.get_arrays()

    def load_state_dict(self, arrays: dict[str, Array], strict: bool = True) -> LoadReport:
        """Copy arrays into the parameters and buffers of the same names; see `set_arrays`."""
        return self.set_arrays(arrays, strict=strict)

    def get_weights(self) -> list[np.ndarray]:
        """Return copies of all parameters and buffers, in the order of `get_arrays`."""
        self._require_built("get_weights")
        return [np.array(cuda.to_cpu(array)) for array in self.get_arrays().values()]

    def set_weights(self, weights: Sequence[Array]) -> None:
        """Copy arrays into all parameters and buffers, in the order of `get_weights`.

        Raises
        ------
        ValueError
            If the number of arrays, or the shape of one, differs; nothing is changed then.
        """
        self._require_built("set_weights")
        owner, names = type(self).__name__, list(self.get_arrays())
        arrays = [checks.real_array(owner, "weights", array) for array in weights]
        if len(arrays) != len(names):
            rule = f"must hold {len(names)} arrays, as get_weights() does"
            raise checks.error(owner, "weights", rule, len(arrays))
        self.set_arrays(dict(zip(names, arrays, strict=True)), "weights")

    def _require_built(self, caller: str) -> None:
        if self.layers and not self.built:
            raise RuntimeError(
                f"[{type(self).__name__}] has no weights before it is built: pass 'input_shape' to "
                f"the first layer, or call build() or fit() before {caller}()."
            )

    def count_params(self) -> int:
        """Return the number of elements of all parameters inside; buffers are not counted."""
        self._require_built("count_params")
        return sum(
            int(param.size) for _, layer in self.named_layers() for param in layer.params.values()
        )

    def forward_through(self, layers: Sequence[Layer], x: Array, training: bool | None) -> Array:
        """Return the output of some of the layers inside, one after the other."""
        y, mask = forward_through(layers, x, training)
        if mask is not None:
            raise ValueError(
                f"[{type(self).__name__}] 'layers' make a mask that its forward() would lose: "
                "define forward_masked(x, training, mask), which returns the output and its mask."
            )
        return y

    def backward_through(self, layers: Sequence[Layer], grad: Array) -> Array:
        """Return the gradient for the input of some of the layers inside, the last one first."""
        return backward_through(layers, grad)

    def forget(self) -> None:
        """Drop what the layers inside kept of the last forward pass."""
        super().forget()
        for layer in self.layers:
            layer.forget()


@register
class Sequential(Container):
    """A stack of layers that counts as one layer.

    A model given among the layers of another model becomes one of these, with the same layer
    objects: its weights are kept, and trained further unless `trainable` is set to False.

    Parameters
    ----------
    layers
        The layers, in order; models among them count as layers.
    **common
        `name`, `input_shape` and `trainable`, as every layer takes them.

    Raises
    ------
    ValueError
        For no layers, or one that comes twice.

    Examples
    --------
    >>> from nn.layers import Dense, ReLU
    >>> block = Sequential([Dense(8), ReLU(), Dense(3)])
    >>> block.build((None, 5))
    >>> block.output_shape, block.layers[0].params["W"].shape
    ((None, 3), (5, 8))
    """

    #: Not inherited: a subclass may compute something else than its layers do, one by one.
    is_plain_stack = True

    def __init__(self, layers: Any, **common: Any):
        super().__init__(as_layers(layers, type(self).__name__), **common)

    def step(self, x: Array, state: Any = None) -> tuple[Array, list[Any]]:
        """Return the output for the next step (N, 1, D) or (N, 1), and the state of each layer."""
        if not is_ours(type(self).forward) or "forward" in vars(self):
            raise ValueError(
                f"[{type(self).__name__}] has a forward() of its own: define step(x, state) too."
            )
        return step_through(self.layers, x, state)

    def _check_dtype(self, x: Array) -> None:
        """Raise an error unless the first layer takes the input: it may be an `Embedding`."""
        self.layers[0]._check_dtype(x)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the output of the last layer."""
        return forward_through(self.layers, self._check_input(x), training)[0]

    def forward_masked(
        self, x: Array, training: bool | None, mask: Mask = None
    ) -> tuple[Array, Mask]:
        """Return the output of the last layer and its mask, for a batch with a mask."""
        return forward_through(self.layers, self._check_input(x), training, mask)

    def backward(self, grad: Array) -> Array:
        """Return the gradient for the input of the first layer."""
        return backward_through(self.layers, grad)

    def backward_params(self, grad: Array) -> None:
        """Fill the gradients of the layers inside, down to the lowest one with parameters."""
        backward_params_through(self.layers, grad, self._plan().lowest)

    def to_config(self) -> dict[str, Any]:
        """Return the class and the configurations of the layers."""
        return self._config(layers=[layer.to_config() for layer in self.layers])


def _cast(array: Array, own: Array, name: str, where: str) -> Array:
    """Return an array in the dtype and on the device of a layer's own one."""
    with np.errstate(over="ignore"):
        cast = array.astype(own.dtype)
    xp = cuda.get_array_module(cast)
    if array.dtype.itemsize > own.dtype.itemsize and bool((xp.isinf(cast) > xp.isinf(array)).any()):
        raise ValueError(
            f"[io] '{where}' has numbers in {name} that are too large for {own.dtype}."
        )
    return cuda.to_cpu(cast) if cuda.get_array_module(own) is np else cuda.to_gpu(cast)
