"""Dropout and noise, against overfitting: in inference these layers return their input."""

from typing import Any

from .. import checks, kernels
from .activations import ElementwiseLayer
from .base import Array
from .config import register


@register
class Dropout(ElementwiseLayer):
    """Set a random share of the inputs to 0 in training, and scale up the rest to keep the mean.

    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from
    overfitting"; inverted, so that nothing needs to be scaled in inference.

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
        self.rate = checks.fraction(type(self).__name__, "rate", rate)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x with a share dropped in training, x itself otherwise."""
        x = self._check_input(x)
        if not training or self.rate == 0:
            self._keep(training, x, None)
            return x
        kept = self._mask(x)
        self._keep(training, x, kept)
        return kernels.dropout(x, kept, self.rate)

    def _mask(self, x: Array) -> Array:
        return kernels.dropout_mask(x, self.rate, self.rng)

    def backward(self, grad: Array) -> Array:
        """Drop and scale the gradient in the same way."""
        (kept,) = self._recall_for(grad)
        return grad if kept is None else kernels.dropout(grad, kept, self.rate)


@register
class SpatialDropout2D(Dropout):
    """Dropout of whole channels, as neighbouring pixels are strongly correlated.

    Tompson et al. 2015, "Efficient object localization using convolutional networks", arXiv
    1411.4280, section 3.2.

    Parameters
    ----------
    rate
        Share of the channels that is dropped, in [0, 1).
    **common
        `name` and `input_shape`, as every layer takes them.

    Raises
    ------
    ValueError
        For an input that is not (N, C, H, W).

    Examples
    --------
    >>> import numpy as np
    >>> y = SpatialDropout2D(0.5).forward(np.ones((1, 100, 2, 3)), training=True)
    >>> sorted(set(y.sum(axis=(2, 3)).ravel().tolist()))
    [0.0, 12.0]
    """

    input_ndim = (4,)
    input_hint = "images are (N, C, H, W); use Dropout elsewhere."

    def _mask(self, x: Array) -> Array:
        kept = kernels.dropout_mask(x[:, :, 0, 0], self.rate, self.rng)
        return kept.reshape(*kept.shape, 1, 1)  # (N, C) -> (N, C, 1, 1)


@register
class GaussianNoise(ElementwiseLayer):
    """Normal noise, added in training alone.

    Small noise on the inputs acts as a penalty on steep functions (Bishop 1995, "Training with
    noise is equivalent to Tikhonov regularization").

    Parameters
    ----------
    stddev
        Standard deviation of the noise, at least 0.
    **common
        `name` and `input_shape`, as every layer takes them.

    Examples
    --------
    >>> import numpy as np
    >>> layer = GaussianNoise(0.1)
    >>> layer.forward(np.ones(4))
    array([1., 1., 1., 1.])
    >>> bool(0.05 < layer.forward(np.ones(1000), training=True).std() < 0.15)
    True
    """

    def __init__(self, stddev: float, **common: Any):
        super().__init__(**common)
        self.stddev = checks.non_negative("GaussianNoise", "stddev", stddev)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x with noise in training, x itself otherwise."""
        x = self._check_input(x)
        self._keep(training, x)
        if not training or self.stddev == 0:
            return x
        return x + self.stddev * kernels.normal_noise(x, self.rng)

    def backward(self, grad: Array) -> Array:
        """Return the gradient as it is: the noise does not depend on x."""
        self._recall_for(grad)
        return grad
