"""Layers made of layers: a stack within a stack, and the residual block.

A container has parameters only through the layers in its attribute `layers`. What a model does
with its own stack it does with theirs by `named_layers`, which names every layer as files do:
`3_Residual/0_Conv2D`. The functions below are that stack's: a model calls them for its layers
and a container for its own, so that a batch takes the same way at any depth.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import checks, cuda
from .base import Array, Layer, Shape
from .config import MAX_DEPTH, layer_from_config, nested_too_deeply, register
from .conv import Conv2D
from .dense import Dense
from .dropout import Dropout
from .normalization import BatchNorm
from .observe import unobserved
from .plan import named_layers
from .stack import (
    backward_params_through,
    backward_through,
    check_distinct,
    forward_through,
    lowest_trained,
)
from .weight_norm import WeightNorm

# ----------------------------------------------------------------------- a stack of layers


def build_layers(layers: Sequence[Layer], shape: Shape, dtype: str) -> Shape:
    """Build those layers that are not, one after the other; return the shape of the output.

    Raises
    ------
    ValueError
        For a shape that a layer cannot take, or a layer that is built for another.
    """
    choose_initializers(layers)
    for layer in layers:
        if not layer.built:
            layer.dtype = dtype
            layer.build(shape)
            layer.built = True
            if layer.output_shape is None:  # a user's build() that left it out
                Layer.build(layer, shape)
            for arrays in (layer.params, layer.buffers):
                for name, array in arrays.items():
                    arrays[name] = array.astype(dtype, copy=False)
        elif layer.built_shape is not None and layer.built_shape[1:] != shape[1:]:
            raise ValueError(
                f"[{type(layer).__name__}] is built for {layer.built_shape}, got inputs {shape}."
            )
        shape = layer.output_shape or shape
    return shape


def choose_initializers(layers: Sequence[Layer]) -> None:
    """Tell each dense layer whether the next activation is like ReLU.

    A dense layer that is built, as layers are that come by `add`, draws its weights anew,
    unless they are no longer those that it drew.
    """
    chain = flat(layers)
    for index, layer in enumerate(chain):
        dense = layer.layer if isinstance(layer, WeightNorm) else layer
        if not isinstance(dense, Dense) or dense.feeds_relu:
            continue
        after = (k for k in chain[index + 1 :] if not isinstance(k, BatchNorm | Dropout))
        if getattr(next(after, None), "relu_like", False):
            _feed_relu(layer, dense)


def _feed_relu(layer: Layer, dense: Dense) -> None:
    """Choose the start that suits a ReLU, also where the layer has drawn its weights.

    `layer` is the dense layer itself, or the `WeightNorm` around it.
    """
    if not layer.built:
        dense.feeds_relu = True
        return
    w = layer.params["v" if isinstance(layer, WeightNorm) else "W"]
    untouched = np.array_equal(cuda.to_cpu(w), dense.draw_kernel(w.shape).astype(w.dtype))
    dense.feeds_relu = True
    if untouched:
        drawn = dense.draw_kernel(w.shape).astype(w.dtype)
        w[...] = cuda.get_array_module(w).asarray(drawn)
        if isinstance(layer, WeightNorm):
            layer.measure_lengths()


def flat(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers with what is inside each stack in its place."""
    chain: list[Layer] = []
    for layer in layers:
        # exactly these classes: another may compute something else
        is_stack = type(layer) in (Sequential, Recompute)
        chain += flat(layer.sublayers()) if is_stack else [layer]
    return chain


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
    return entry


# --------------------------------------------------------------------------- the containers


class Container(Layer):
    """What layers made of layers share; subclass it to arrange layers in another way.

    A subclass passes all its layers to `super().__init__`, and its `forward` and `backward` send
    arrays through lists of them by `forward_through` and `backward_through`, the methods.

    Parameters
    ----------
    layers
        All layers inside, in the order of their numbers in a file.
    **common
        `name`, `input_shape` and `trainable`, as every layer takes them. The first layer's
        `input_shape` stands for the container's own where that is not given.

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

    layers: tuple[Layer, ...] = ()

    def __init__(self, layers: Sequence[Layer], trainable: bool = True, **common: Any):
        super().__init__(**common)
        owner = type(self).__name__
        if not layers:
            raise checks.error(owner, "layers", "must hold at least one layer", list(layers))
        check_distinct(owner, layers)
        self.depth = 1 + max(getattr(layer, "depth", 0) for layer in layers)
        if self.depth > MAX_DEPTH:
            raise nested_too_deeply(owner)
        self.layers = tuple(layers)
        if self.input_shape is None:
            self.input_shape = self.layers[0].input_shape
        if not trainable:
            self.trainable = False

    @property
    def trainable(self) -> bool:
        """Whether any layer inside is trained."""
        return any(layer.trainable for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            layer.trainable = value

    def sublayers(self) -> tuple[Layer, ...]:
        """Return the layers inside."""
        return self.layers

    def build(self, input_shape: Shape) -> None:
        """Build the layers inside, as one stack."""
        self._built(input_shape, build_layers(self.layers, input_shape, self.dtype))

    def forward_through(self, layers: Sequence[Layer], x: Array, training: bool | None) -> Array:
        """Return the output of some of the layers inside, one after the other."""
        return forward_through(layers, x, training)

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
    objects: what it has learned stays, and is trained on unless `trainable` is set to False.

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

    def __init__(self, layers: Any, **common: Any):
        super().__init__(as_layers(layers, type(self).__name__), **common)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the output of the last layer."""
        return forward_through(self.layers, self._check_input(x), training)

    def backward(self, grad: Array) -> Array:
        """Return the gradient for the input of the first layer."""
        return backward_through(self.layers, grad)

    def backward_params(self, grad: Array) -> None:
        """Fill the gradients of the layers inside, down to the lowest one with parameters."""
        backward_params_through(self.layers, grad, lowest_trained(self.layers))

    def to_config(self) -> dict[str, Any]:
        """Return the class and the configurations of the layers."""
        return self._config(layers=[layer.to_config() for layer in self.layers])


@register
class Recompute(Sequential):
    """A stack that runs its forward pass again in the backward pass, to keep less meanwhile.

    Of a forward pass it keeps its input and nothing else; `backward` computes from that what the
    layers inside need. A pass costs one more forward pass, and the gradients are the same bit
    for bit, as dropout draws the same numbers again and the running statistics of batch
    normalisation take in a batch once. Of n equal layers in segments of sqrt(n), each a
    `Recompute`, about 2 sqrt(n) outputs are in memory in place of n.

    A layer of your own may be inside if its `forward` depends on nothing but its input, `params`,
    `buffers` and `rng`.

    Chen, Xu, Zhang and Guestrin 2016, "Training deep nets with sublinear memory cost",
    arXiv 1604.06174, section 4.1.

    Parameters
    ----------
    layers
        The layers, in order; models among them count as layers.
    **common
        `name`, `input_shape` and `trainable`, as every layer takes them.

    Examples
    --------
    >>> import numpy as np
    >>> from nn.layers import Dense, Tanh
    >>> layers = [Dense(4), Tanh(), Dense(3)]
    >>> plain, segment = Sequential(layers), Recompute(layers)
    >>> x, grad = np.ones((2, 5)), np.ones((2, 3))
    >>> y = plain.forward(x, training=True)
    >>> expected = plain.backward(grad)
    >>> np.array_equal(segment.forward(x, training=True), y)
    True
    >>> np.array_equal(segment.backward(grad), expected)
    True
    """

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the output of the last layer, and drop what the layers kept."""
        x = self._check_input(x)
        if training is None:
            return forward_through(self.layers, x, None)
        self._keep(training, x, training, self._generator_states())
        y = forward_through(self.layers, x, training)
        self._grad_shape = y.shape
        self._forget_inside()
        return y

    def backward(self, grad: Array) -> Array:
        """Run forward again, then return the gradient for the input of the first layer."""
        self._forward_again(*self._recall_for(grad))
        return backward_through(self.layers, grad)

    def backward_params(self, grad: Array) -> None:
        """Run forward again, then fill the gradients of the layers inside."""
        self._forward_again(*self._recall_for(grad))
        super().backward_params(grad)

    def _forward_again(self, x: Array, training: bool, states: list[Any]) -> None:
        """Run forward for what the layers keep, and leave generators and buffers as they are."""
        now = self._generator_states()
        buffers = [
            (layer.buffers, name, array.copy())
            for _, layer in named_layers(self.layers)
            for name, array in layer.buffers.items()
        ]
        self._set_generators(states)
        with unobserved():  # the first pass was reported
            forward_through(self.layers, x, training)
        self._set_generators(now)
        for owner, name, array in buffers:
            owner[name][...] = array

    def _generator_states(self) -> list[Any]:
        return [layer.rng.bit_generator.state for _, layer in named_layers(self.layers)]

    def _set_generators(self, states: list[Any]) -> None:
        for (_, layer), state in zip(named_layers(self.layers), states, strict=True):
            layer.rng.bit_generator.state = state

    def _forget_inside(self) -> None:
        """Drop what the layers kept, but for that of an output activation, which the loss reads."""
        last = output_activation(self.layers)
        kept = None if last is None else last._kept
        for layer in self.layers:
            layer.forget()
        if last is not None:
            last._kept = kept


@register
class Residual(Container):
    """y = F(x) + x: layers F learn what to add to their input.

    He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition", arXiv 1512.03385,
    section 3.2, equation 1; where F changes the shape, x goes through a projection W_s of its own,
    y = F(x) + W_s x, equation 2. An activation after the sum is the next layer.

    Parameters
    ----------
    layers
        F: a layer, or a list of them.
    shortcut
        The layers that x goes through, one or a list. None is the identity where F keeps the
        shape. Where it does not, None is a 1x1 convolution without bias, at the stride that
        gives F's height and width, or a dense layer without bias for vectors.
    **common
        `name`, `input_shape` and `trainable`, as every layer takes them.

    Attributes
    ----------
    main, shortcut : tuple of Layer
        F, and the layers of the shortcut, none for the identity. `layers` holds both, F first.

    Raises
    ------
    ValueError
        Where the shortcut's shape is not F's, or no stride makes it so.

    Examples
    --------
    >>> from nn.layers import Conv2D, ReLU
    >>> block = Residual([Conv2D(16, 3, stride=2), ReLU(), Conv2D(16, 3)])
    >>> block.build((None, 8, 32, 32))
    >>> block.output_shape, block.shortcut[0].params["W"].shape
    ((None, 16, 16, 16), (16, 8, 1, 1))
    """

    def __init__(self, layers: Any, shortcut: Any = None, **common: Any):
        owner = type(self).__name__
        self.main = tuple(as_layers(layers, owner))
        self.shortcut = () if shortcut is None else tuple(as_layers(shortcut, owner, "shortcut"))
        if not self.main:
            raise checks.error(owner, "layers", "must hold at least one layer", layers)
        self._given_shortcut = self.shortcut
        super().__init__((*self.main, *self.shortcut), **common)

    def build(self, input_shape: Shape) -> None:
        """Build F and the shortcut, a projection where F changes the shape."""
        output = build_layers(self.main, input_shape, self.dtype)
        self.shortcut = self._given_shortcut
        if not self.shortcut and output[1:] != input_shape[1:]:
            self.shortcut = (self._projection(input_shape, output),)
        self.layers = (*self.main, *self.shortcut)
        short = build_layers(self.shortcut, input_shape, self.dtype)
        if short[1:] != output[1:]:
            raise ValueError(
                f"[{type(self).__name__}] 'shortcut' must bring {input_shape} to the shape of the "
                f"layers' output {output}, got {short}."
            )
        self._built(input_shape, output)

    def _projection(self, given: Shape, wanted: Shape) -> Layer:
        """Return the layer W_s from one shape to the other."""
        units = int(wanted[1] or 0)
        if len(given) == len(wanted) == 4:
            down, right = _stride(given[2], wanted[2]), _stride(given[3], wanted[3])
            if down and right:
                return self._adopt(Conv2D(units, 1, (down, right), use_bias=False))
        elif len(given) == len(wanted) == 2:
            return self._adopt(Dense(units, use_bias=False))
        raise ValueError(
            f"[{type(self).__name__}] has no projection from {given} to its layers' output "
            f"{wanted}: give a 'shortcut' that makes it, or layers that keep the shape."
        )

    def _adopt(self, projection: Layer) -> Layer:
        projection.rng = self.rng.spawn(1)[0]
        projection.trainable = self.trainable
        return projection

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return F(x) + x, or F(x) + W_s x."""
        x = self._check_input(x)
        y = forward_through(self.main, x, training)
        short = forward_through(self.shortcut, x, training)  # x itself for the identity
        return y + short  # a new array: F may have kept y, and x is not ours

    def backward(self, grad: Array) -> Array:
        """Return the sum of the gradients for x on both paths."""
        dx = backward_through(self.main, grad)
        return dx + backward_through(self.shortcut, grad)  # grad itself for the identity

    def backward_params(self, grad: Array) -> None:
        """Fill the gradients of the layers on both paths."""
        for path in (self.main, self.shortcut):
            backward_params_through(path, grad, lowest_trained(path))

    def to_config(self) -> dict[str, Any]:
        """Return the class and the configurations of the layers."""
        return self._config(
            layers=[layer.to_config() for layer in self.main],
            shortcut=[layer.to_config() for layer in self.shortcut] or None,
        )


def _stride(given: int | None, wanted: int | None) -> int | None:
    """Return the smallest step that meets `given` rows `wanted` times; None where none does.

    Examples
    --------
    >>> _stride(32, 16), _stride(7, 4), _stride(7, 5)
    (2, 2, None)
    """
    given, wanted = int(given or 0), int(wanted or 0)
    if min(given, wanted) < 1:
        return None
    step = -(-given // wanted)  # smaller ones meet more rows
    return step if -(-given // step) == wanted else None
