"""Dropout: in training, random units are silent, so that none can rely on another."""

from typing import Any

from .. import checks, kernels
from .activations import ElementwiseLayer
from .base import Array, register


@register
class Dropout(ElementwiseLayer):
    """Zero a random share of the inputs while training, and scale the rest up to make up for it.

    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from
    overfitting"; inverted, so that nothing needs to be scaled elsewhere.

    Parameters
    ----------
    rate
        Share of the inputs that is dropped, in [0, 1).
    **common
        `name` and `input_shape`, as every layer takes them.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dropout(0.5)
    >>> layer.forward(np.ones(4))
    array([1., 1., 1., 1.])
    >>> sorted(set(layer.forward(np.ones(100), training=True).tolist()))
    [0.0, 2.0]
    """

    def __init__(self, rate: float = 0.5, **common: Any):
        super().__init__(**common)
        self.rate = checks.fraction("Dropout", "rate", rate)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x with a share dropped in training, x itself otherwise."""
        x = self._check_input(x)
        if not training or self.rate == 0:
            self._keep(training, None)
            return x
        kept = kernels.dropout_mask(x, self.rate, self.rng)
        self._keep(training, kept)
        return kernels.dropout(x, kept, self.rate)

    def backward(self, grad: Array) -> Array:
        """Drop and scale the gradient alike."""
        (kept,) = self._recall()
        return grad if kept is None else kernels.dropout(grad, kept, self.rate)

    def to_config(self) -> dict[str, Any]:
        """Return the layer's class and arguments."""
        return self._config(rate=self.rate)
