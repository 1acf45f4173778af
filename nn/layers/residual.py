"""The residual block: layers that learn what to add to their input."""

from fractions import Fraction
from typing import Any

from .. import checks, kernels
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


@register
class Residual(Container):
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

    def __init__(self, layers: Any, shortcut: Any = None, **common: Any):
        owner = type(self).__name__
        self.main = tuple(as_layers(layers, owner))
        self.shortcut = () if shortcut is None else tuple(as_layers(shortcut, owner, "shortcut"))
        if not self.main:
            raise checks.error(owner, "layers", "must hold at least one layer", layers)
        self._given_shortcut = self.shortcut
        super().__init__((*self.main, *self.shortcut), **common)

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

    def check_paths(self, x: Array, y: Array, short: Array) -> None:
        """Raise if F and the shortcut make outputs y of two shapes, of an x of any size."""
        if y.shape != short.shape:
            raise ValueError(
                f"[{type(self).__name__}] 'shortcut' must bring {x.shape} to the shape of the "
                f"layers' output {y.shape}, got {short.shape}."
            )

    def _step(self, axis: int) -> int:
        """Return the stride of F along an axis of unknown size; 0 if it is not a whole number."""
        step = Fraction(1)
        for layer in flat(self.main):
            if isinstance(layer, Residual):
                step *= layer._step(axis)
                continue
            stride, size = (getattr(layer, name, 1) for name in ("stride", "size"))
            factor = Fraction(*(k if isinstance(k, int) else k[axis] for k in (stride, size)))
            step *= 1 / factor if isinstance(layer, Conv2DTranspose) else factor
        return step.numerator if step.denominator == 1 else 0

    def _shrinks(self, shape: Shape) -> bool:
        """Return whether F has a stride along an axis of an unknown size."""
        axes = {3: (1,), 4: (2, 3)}.get(len(shape), ())
        return any(shape[k] is None and self._step(k - axes[0]) != 1 for k in axes)

    def _projection(self, given: Shape, wanted: Shape) -> Layer:
        """Return the layer W_s from one shape to the other."""
        if len(given) == len(wanted) == 4:
            down, right = (
                _stride(given[k], wanted[k]) if given[k] else self._step(k - 2) for k in (2, 3)
            )
            if down and right:
                units = int(wanted[1] or 0)
                return Conv2D(units, 1, (down, right), use_bias=False, trainable=self.trainable)
        elif len(given) == len(wanted) == 3 and (given[1] != wanted[1] or self._shrinks(given)):
            step = _stride(given[1], wanted[1]) if given[1] else self._step(0)
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

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return F(x) + x, or F(x) + W_s x."""
        return self.forward_masked(x, training)[0]

    def forward_masked(
        self, x: Array, training: bool | None, mask: Mask = None
    ) -> tuple[Array, Mask]:
        """Return the sum and its mask, the steps that are there on both paths."""
        x = self._check_input(x)
        y, mask_y = forward_through(self.main, x, training, mask)
        short, mask_x = forward_through(
            self.shortcut, x, training, mask
        )  # x itself for the identity
        if y.shape != short.shape:
            self.check_paths(x, y, short)
        mask = mask_x if mask_y is None else joined_masks(mask_y, mask_x)
        return kernels.add(y, short), mask  # a new array: F may have kept y, and x is not ours

    def step(self, x: Array, state: Any = None) -> tuple[Array, Any]:
        """Return the sum for the next step (N, 1, D), and the states of both paths."""
        of_main, of_shortcut = state or (None, None)
        y, of_main = step_through(self.main, x, of_main)
        short, of_shortcut = step_through(self.shortcut, x, of_shortcut)
        return y + short, (of_main, of_shortcut)

    def backward(self, grad: Array) -> Array:
        """Return the sum of the gradients for x on both paths."""
        dx = backward_through(self.main, grad)
        short = backward_through(self.shortcut, grad)  # grad itself for the identity
        return kernels.add(dx, short)

    def backward_params(self, grad: Array) -> None:
        """Fill the gradients of the layers on both paths."""
        plan = self._plan()
        for path in (self.main, self.shortcut):
            backward_params_through(path, grad, plan.lowest_of(path))

    def to_config(self) -> dict[str, Any]:
        """Return the class and the configurations of the layers."""
        return self._config(
            layers=[layer.to_config() for layer in self.main],
            shortcut=[layer.to_config() for layer in self.shortcut] or None,
        )


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
