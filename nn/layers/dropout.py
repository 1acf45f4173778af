"""Dropout and noise, against overfitting: in inference these layers return their input."""

from collections.abc import Sequence
from typing import Any

from .. import checks, kernels
from .activations import ElementwiseLayer
from .base import Array, Shape
from .config import register
from .shard import draw


@register
class Dropout(ElementwiseLayer):
    """Set a random share of the inputs to 0 in training, and scale up the rest to keep the mean.

    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from
    overfitting"; inverted, so that nothing needs to be scaled in inference.

    Parameters
    ----------
    rate
        Share of the inputs that is dropped, in [0, 1).
    noise_shape
        The shape in which is decided what is dropped, as in Keras: that of an input, with 1 for
        axes along which all is dropped together, and None for an axis' own size. (None, 1, None)
        drops whole features of sequences (N, T, D). By default each number is dropped by itself.
    **common
        `name` and `input_shape`, as every layer takes them.

    Raises
    ------
    ValueError
        For a `noise_shape` that does not fit the input.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dropout(0.5)
    >>> layer.forward(np.ones(4))
    array([1., 1., 1., 1.])
    >>> sorted(set(layer.forward(np.ones(100), training=True).tolist()))
    [0.0, 2.0]
    """

    def __init__(
        self, rate: float = 0.5, noise_shape: Sequence[int | None] | None = None, **common: Any
    ):
        super().__init__(**common)
        self.rate = checks.fraction(type(self).__name__, "rate", rate)
        if noise_shape is not None:
            sizes = noise_shape if isinstance(noise_shape, list | tuple) else ()
            if not sizes or not all(n is None or (checks.is_integer(n) and n > 0) for n in sizes):
                rule = "must be sizes, 1 for axes along which all is dropped together, as (None, 1)"
                raise checks.error(type(self).__name__, "noise_shape", rule, noise_shape)
            noise_shape = tuple(None if n is None else int(n) for n in sizes)
        self.noise_shape = noise_shape

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
        if self.noise_shape is not None:
            self._check_noise(x.shape)
            x = x[tuple(slice(n) for n in self.noise_shape)]  # in the shape of the noise
            if self.noise_shape[0] == 1:  # all rows of a batch drop the same
                return kernels.dropout_mask(x, self.rate, self.rng)
        return draw(kernels.dropout_mask, x, self.rate, self.rng)

    def build(self, input_shape: Shape) -> None:
        """Set the output's shape, the input's."""
        self._check_noise(input_shape)
        super().build(input_shape)

    def _check_noise(self, shape: Shape) -> None:
        """Raise an error if `noise_shape` does not fit an input."""
        sizes = self.noise_shape or (None,) * len(shape)
        fits = len(sizes) == len(shape) and all(
            n in (None, 1, size) or size is None for n, size in zip(sizes, shape, strict=True)
        )
        if not fits:
            rule = f"must have 1, None or the size of each axis of the input {tuple(shape)}"
            raise checks.error(type(self).__name__, "noise_shape", rule, self.noise_shape)

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

    def __init__(self, rate: float = 0.5, **common: Any):
        super().__init__(rate, **common)

    def _mask(self, x: Array) -> Array:
        kept = draw(kernels.dropout_mask, x[:, :, 0, 0], self.rate, self.rng)
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
        return x + self.stddev * draw(kernels.normal_noise, x, self.rng)

    def backward(self, grad: Array) -> Array:
        """Return the gradient as it is: the noise does not depend on x."""
        self._recall_for(grad)
        return grad
