"""The mask of padded steps: sequences of different lengths in one batch.

Shorter sequences are padded to the length of the longest. A mask (N, T) says which steps are there;
a layer makes it from its input, `forward_through` carries it from layer to layer, and the loss and
the metrics leave out the steps that are not there.
"""

from typing import Any

from .. import checks
from .base import Array, Layer, Shape
from .config import register
from .masks import Mask


@register
class Masking(Layer):
    """Take the steps whose features are all equal to a value as padding.

    The layers that follow get the mask of the other steps: recurrent layers keep their state at
    padded steps, attention and pooling leave them out, and so do the loss and the metrics if the
    output has steps too. The values of padded steps become 0.

    Parameters
    ----------
    value
        The number that padded steps are filled with.
    **common
        `name` and `input_shape` (T, D), as every layer takes them.

    Raises
    ------
    ValueError
        For an input that is not (N, T, D), or a value that is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[1.0, 2.0], [0.0, 3.0], [0.0, 0.0]]])
    >>> Masking().make_mask(x)
    array([[ True,  True, False]])
    """

    input_ndim = (3,)
    input_hint = "sequences are (N, T, features); for ids use Embedding(mask_zero=True)."
    passes_mask = True

    def __init__(self, value: float = 0.0, **common: Any):
        super().__init__(**common)
        self.value = checks.finite("Masking", "value", value)

    def build(self, input_shape: Shape) -> None:
        """Set the output's shape, the input's."""
        self._check_shape(input_shape)
        self._built(input_shape, input_shape)

    def make_mask(self, x: Array) -> Mask:
        """Return which steps of x (N, T, D) have a feature other than the value, (N, T)."""
        return (self._check_input(x) != self.value).any(axis=2)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x with 0 at padded steps."""
        there = self.make_mask(x)[:, :, None]  # (N, T) -> (N, T, 1)
        y = x * there
        self._keep(training, y, there)
        return y

    def backward(self, grad: Array) -> Array:
        """Return the gradient with 0 at padded steps."""
        (there,) = self._recall_for(grad)
        return grad * there
