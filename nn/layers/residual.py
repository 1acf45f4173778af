"""Skip connections: the input goes around layers and is added to their output or joined to it."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from .. import checks, cuda, kernels
from .base import Array, Layer, Shape
from .build import build_layers
from .config import register
from .containers import Container, as_layers
from .conv import Conv2D, Conv2DTranspose
from .conv1d import Conv1D
from .dense import Dense
from .masks import Mask, joined_masks
from .stack import (
    backward_params_through,
    backward_through,
    flat,
    forward_through,
    step_through,
)


class Skip(Container):
    """Layers F and a shortcut around them, both for the same input; a subclass joins their outputs.

    A subclass has a `build`, and `join` and `split`, which is its backward pass.
    """

    def __init__(self, layers: Any, shortcut: Any = None, **common: Any):
        owner = type(self).__name__
        self.main = tuple(as_layers(layers, owner))
        self.shortcut = () if shortcut is None else tuple(as_layers(shortcut, owner, "shortcut"))
        if not self.main:
            raise checks.error(owner, "layers", "must hold at least one layer", layers)
        self._given_shortcut = self.shortcut
        super().__init__((*self.main, *self.shortcut), **common)

    def join(self, x: Array, y: Array, short: Array) -> Array:
        """Return the output, a new array, of an input x, F's output y, and the shortcut's.

        Raises
        ------
        ValueError
            If the two outputs have sizes, of an x of any size, that do not fit together.
        """
        raise NotImplementedError

    def split(self, grad: Array) -> tuple[Array, Array]:
        """Return the gradients for the outputs of F and of the shortcut."""
        raise NotImplementedError

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the outputs of F and of the shortcut, joined."""
        return self.forward_masked(x, training)[0]

    def forward_masked(
        self, x: Array, training: bool | None, mask: Mask = None
    ) -> tuple[Array, Mask]:
        """Return the output and its mask, the steps that are there on both paths."""
        x = self._check_input(x)
        y, mask_y = forward_through(self.main, x, training, mask)
        # For the identity, the shortcut gives x itself.
        short, mask_x = forward_through(self.shortcut, x, training, mask)
        mask = mask_x if mask_y is None else joined_masks(mask_y, mask_x)
        return self.join(x, y, short), mask

    def step(self, x: Array, state: Any = None) -> tuple[Array, Any]:
        """Return the output for the next step (N, 1, D), and the states of both paths."""
        of_main, of_shortcut = state or (None, None)
        y, of_main = step_through(self.main, x, of_main)
        short, of_shortcut = step_through(self.shortcut, x, of_shortcut)
        return self.join(x, y, short), (of_main, of_shortcut)

    def backward(self, grad: Array) -> Array:
        """Return the sum of the gradients for x on both paths."""
        of_main, of_shortcut = self.split(grad)
        dx = backward_through(self.main, of_main)
        short = backward_through(self.shortcut, of_shortcut)  # itself for the identity
        return kernels.add(dx, short)

    def backward_params(self, grad: Array) -> None:
        """Fill the gradients of the layers on both paths."""
        plan = self._plan()
        for path, own in zip((self.main, self.shortcut), self.split(grad), strict=True):
            backward_params_through(path, own, plan.lowest_of(path))

    def to_config(self) -> dict[str, Any]:
        """Return the class and the configurations of the layers."""
        return self._config(
            layers=[layer.to_config() for layer in self.main],
            shortcut=[layer.to_config() for layer in self.shortcut] or None,
        )


@register
class Residual(Skip):
    """y = F(x) + x: layers F learn what to add to their input.

    He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition", arXiv 1512.03385,
    section 3.2, equation 1. If F changes the shape, x goes through a projection W_s,
    y = F(x) + W_s x, equation 2. An activation after the sum is the next layer.

    Parameters
    ----------
    layers
        F: a layer, or a list of them.
    shortcut
        The layers that x goes through, one or a list. None is the identity if F keeps the
        shape. If it does not, None is a 1x1 convolution without bias, at the stride that
        gives F's height and width, or a dense layer without bias for vectors and for sequences
        (N, T, D); if F changes the number of steps, it is a `Conv1D` of that stride.
    **common
        `name`, `input_shape` and `trainable`, as every layer takes them.

    Attributes
    ----------
    main, shortcut : tuple of Layer
        F, and the layers of the shortcut, none for the identity. `layers` holds both, F first.

    Raises
    ------
    ValueError
        If the shape of the shortcut is not that of F, or no stride makes it so.

    Examples
    --------
    >>> from nn.layers import Conv2D, ReLU
    >>> block = Residual([Conv2D(16, 3, stride=2), ReLU(), Conv2D(16, 3)])
    >>> block.build((None, 8, 32, 32))
    >>> block.output_shape, block.shortcut[0].params["W"].shape
    ((None, 16, 16, 16), (16, 8, 1, 1))
    """

    def build(self, input_shape: Shape) -> None:
        """Build F and the shortcut, a projection if F changes the shape."""
        output = build_layers(self.main, input_shape, self.dtype)
        self.shortcut = self._given_shortcut
        if not self.shortcut and (output[1:] != input_shape[1:] or self._shrinks(input_shape)):
            self.shortcut = (self._projection(input_shape, output),)
            self.shortcut[0].rng = self.rng.spawn(1)[0]
        self.layers = (*self.main, *self.shortcut)
        short = build_layers(self.shortcut, input_shape, self.dtype)
        if short[1:] != output[1:]:
            raise ValueError(
                f"[{type(self).__name__}] 'shortcut' must bring {input_shape} to the shape of the "
                f"layers' output {output}, got {short}."
            )
        self._built(input_shape, output)

    def join(self, x: Array, y: Array, short: Array) -> Array:
        """Return F(x) + x, or F(x) + W_s x."""
        if y.shape != short.shape:
            raise ValueError(
                f"[{type(self).__name__}] 'shortcut' must bring {x.shape} to the shape of the "
                f"layers' output {y.shape}, got {short.shape}."
            )
        return kernels.add(y, short)  # a new array: F may have kept y, and x is not ours

    def split(self, grad: Array) -> tuple[Array, Array]:
        """Return the gradient for both: that of a sum is passed on to each of its terms."""
        return grad, grad

    def _shrinks(self, shape: Shape) -> bool:
        """Return whether F has a stride along an axis of an unknown size."""
        axes = {3: (1,), 4: (2, 3)}.get(len(shape), ())
        return any(shape[k] is None and _step(self.main, k - axes[0]) != 1 for k in axes)

    def _projection(self, given: Shape, wanted: Shape) -> Layer:
        """Return the layer W_s from one shape to the other."""
        if len(given) == len(wanted) == 4:
            down, right = (
                _stride(given[k], wanted[k]) if given[k] else _step(self.main, k - 2)
                for k in (2, 3)
            )
            if down and right:
                units = int(wanted[1] or 0)
                return Conv2D(units, 1, (down, right), use_bias=False, trainable=self.trainable)
        elif len(given) == len(wanted) == 3 and (given[1] != wanted[1] or self._shrinks(given)):
            step = _stride(given[1], wanted[1]) if given[1] else _step(self.main, 0)
            if step:
                units = int(wanted[2] or 0)
                return Conv1D(units, 1, step, use_bias=False, trainable=self.trainable)
        elif len(given) == len(wanted) <= 3:
            units = int(wanted[-1] or 0)
            return Dense(units, use_bias=False, trainable=self.trainable)
        raise ValueError(
            f"[{type(self).__name__}] cannot add its input of shape {given} to its "
            f"layers' output of shape {wanted}: pass a 'shortcut' that projects the input to that "
            "shape, or use layers that keep the shape."
        )


@register
class SkipConcat(Skip):
    """y = [x, F(x)]: the input and the output of layers F, side by side along the channels.

    The channels are along axis 1, those of sequences (N, T, D) along the last axis. Layers after it
    have the input unchanged together with F of it: in a U-Net (Ronneberger, Fischer and Brox
    2015, arXiv 1505.04597, figure 1), F sees much of an image at a smaller size, and x has its
    details; in a DenseNet (Huang, Liu, van der Maaten and Weinberger 2017, arXiv 1608.06993,
    equation 2) each layer gets the outputs of all before it.

    Parameters
    ----------
    layers
        F: a layer, or a list of them. Its output has the sizes of x on all axes but the channels.
    shortcut
        The layers that x goes through on its way, one or a list; None is the identity.
    **common
        `name`, `input_shape` and `trainable`, as every layer takes them.

    Attributes
    ----------
    main, shortcut : tuple of Layer
        F, and the layers of the shortcut, none for the identity. `layers` holds both, F first.

    Raises
    ------
    ValueError
        If the outputs of F and of the shortcut differ on other axes than the channels.

    Examples
    --------
    >>> from nn.layers import Conv2D, Conv2DTranspose, MaxPool2D
    >>> half = [MaxPool2D(2), Conv2D(16, 3, activation="relu"), Conv2DTranspose(8, 2, stride=2)]
    >>> block = SkipConcat(half)
    >>> block.build((None, 8, None, None))
    >>> block.output_shape
    (None, 16, None, None)
    """

    def build(self, input_shape: Shape) -> None:
        """Build F and the shortcut."""
        y = build_layers(self.main, input_shape, self.dtype)
        short = build_layers(self.shortcut, input_shape, self.dtype)
        axis = kernels.class_axis(len(short))
        self._check_sizes(input_shape, y, short)
        channels = [self._known_size(shape, axis) for shape in (short, y)]
        self._channels = channels[0]
        self._built(input_shape, (*short[:axis], sum(channels), *short[axis + 1 :]))

    def _check_sizes(self, x: Shape, y: Shape, short: Shape) -> None:
        """Raise unless the shapes of both outputs are equal but for batch and channels."""
        axis = kernels.class_axis(len(short))
        sizes = [shape[1:axis] + shape[axis + 1 :] for shape in (y, short)]
        if len(y) != len(short) or sizes[0] != sizes[1]:
            raise ValueError(
                f"[{type(self).__name__}] 'layers' must keep the sizes of their input, but for the "
                f"channels: of {x} they made {y}, to be joined with {short}. Layers that halve and "
                "double a size need an even one."
            )

    def join(self, x: Array, y: Array, short: Array) -> Array:
        """Return the output of the shortcut and F(x), side by side."""
        self._check_sizes(x.shape, y.shape, short.shape)
        return cuda.get_array_module(y).concatenate((short, y), axis=kernels.class_axis(y.ndim))

    def split(self, grad: Array) -> tuple[Array, Array]:
        """Return the parts of the gradient, in F's channels and in those of the shortcut."""
        short, main = cuda.get_array_module(grad).split(
            grad, [self._channels], axis=kernels.class_axis(grad.ndim)
        )
        return main, short


def _step(layers: Sequence[Layer], axis: int) -> int:
    """Return the stride of layers along an axis of unknown size; 0 if it is not a whole number."""
    step = Fraction(1)
    for layer in flat(layers):
        if isinstance(layer, Skip):
            step *= _step(layer.main, axis)
            continue
        stride, size = (getattr(layer, name, 1) for name in ("stride", "size"))
        factor = Fraction(*(k if isinstance(k, int) else k[axis] for k in (stride, size)))
        step *= 1 / factor if isinstance(layer, Conv2DTranspose) else factor
    return step.numerator if step.denominator == 1 else 0


def _stride(given: int | None, wanted: int | None) -> int | None:
    """Return the smallest step that meets `given` rows `wanted` times; None if none does.

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
