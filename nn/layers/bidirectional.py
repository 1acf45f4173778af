"""A sequence read from both ends, by two recurrent layers."""

import copy
from typing import Any

from .. import checks, cuda
from .base import Array, Shape
from .build import build_layers
from .config import register
from .containers import Container, as_layer
from .masks import Mask
from .recurrent import Recurrent
from .stack import backward_params_through, backward_through, forward_through

_MERGES = ("concat", "sum", "ave", "mul")


@register
class Bidirectional(Container):
    """Two recurrent layers, of which one reads the sequence from its end.

    Schuster and Paliwal 1997, "Bidirectional recurrent neural networks", IEEE Transactions on
    Signal Processing 45. With `return_sequences` the states of both layers for one step lie side by
    side; without, the last state of each, which has read the whole sequence.

    Parameters
    ----------
    layer
        `LSTM`, `GRU` or `SimpleRNN`, not built yet. A copy of it reads backwards; each has its own
        weights.
    merge
        How the two outputs are joined: 'concat' to (..., 2U), 'sum', 'ave' (the mean) or 'mul'
        (the product).
    **common
        `name`, `input_shape` (T, D) and `trainable`, as every layer takes them.

    Attributes
    ----------
    layers : tuple of Layer
        The layer and its copy.

    Raises
    ------
    ValueError
        For another layer, one that is built or reads backwards, or an input that is not (N, T, D).

    Examples
    --------
    >>> import numpy as np
    >>> from nn.layers import LSTM
    >>> layer = Bidirectional(LSTM(8, return_sequences=True))
    >>> layer.forward(np.zeros((4, 10, 3), dtype="float32")).shape
    (4, 10, 16)
    """

    input_ndim, input_hint = Recurrent.input_ndim, Recurrent.input_hint
    makes_mask, uses_mask = False, True

    def __init__(self, layer: Any, merge: str = "concat", **common: Any):
        owner = type(self).__name__
        ahead = as_layer(layer, owner)
        if not isinstance(ahead, Recurrent) or ahead.built or ahead.go_backwards:
            rule = "must be LSTM, GRU or SimpleRNN, not built, and without go_backwards"
            raise checks.error(owner, "layer", rule, layer)
        if merge not in _MERGES:
            raise checks.unknown(owner, "merge", merge, _MERGES)
        self.merge = merge
        back = copy.deepcopy(ahead)
        back.go_backwards, back.rng = True, ahead.rng.spawn(1)[0]
        super().__init__((ahead, back), **common)

    def build(self, input_shape: Shape) -> None:
        """Build both layers."""
        self._check_shape(input_shape)
        for layer in self.layers:
            *others, units = build_layers((layer,), input_shape, self.dtype)
        size = 2 * int(units or 0) if self.merge == "concat" else units
        self._built(input_shape, (*others, size))

    @property
    def passes_mask(self) -> bool:  # type: ignore[override]
        """Whether the output has the steps of the input."""
        return self.layers[0].return_sequences

    def forward(self, x: Array, training: bool | None = False, mask: Mask = None) -> Array:
        """Return the joined states of x (N, T, D): the last ones (N, 2U), or (N, T, 2U).

        Steps at which `mask` (N, T) is False leave the states as they are.
        """
        x = self._check_input(x)
        ahead, back = (forward_through((layer,), x, training, mask)[0] for layer in self.layers)
        if back.ndim == 3:
            back = back[:, ::-1]  # so that the states of one step meet
        if self.merge == "concat":
            y = cuda.get_array_module(x).concatenate((ahead, back), axis=-1)
        elif self.merge == "mul":
            y = ahead * back
        else:
            y = (ahead + back) / (2 if self.merge == "ave" else 1)
        self._keep(training, y, *((ahead, back) if self.merge == "mul" else ()))
        return y

    def backward(self, grad: Array) -> Array:
        """Return the sum of the gradients for x of both layers."""
        ahead, back = self._split(grad)
        dx = backward_through((self.layers[0],), ahead)
        return dx + backward_through((self.layers[1],), back)

    def backward_params(self, grad: Array) -> None:
        """Fill the gradients of both layers."""
        plan = self._plan()
        for layer, part in zip(self.layers, self._split(grad), strict=True):
            backward_params_through((layer,), part, plan.lowest_of((layer,)))

    def _split(self, grad: Array) -> tuple[Array, Array]:
        """Return the gradients for the outputs of both layers."""
        kept = self._recall_for(grad)
        if self.merge == "concat":
            units = grad.shape[-1] // 2
            ahead, back = grad[..., :units], grad[..., units:]
        elif self.merge == "mul":
            ahead, back = grad * kept[1], grad * kept[0]
        else:
            ahead = back = grad / (2 if self.merge == "ave" else 1)
        return ahead, back[:, ::-1] if back.ndim == 3 else back

    def to_config(self) -> dict[str, Any]:
        """Return the class and the configuration of the first layer."""
        return self._config(layer=self.layers[0].to_config(), merge=self.merge)
