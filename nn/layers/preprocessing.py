"""Preprocessing as the first layers of a model, so that it is saved with the model.

Images of bytes, uint8 (N, C, H, W), reach every model scaled to [0, 1]: `fit`, `evaluate`,
`predict` and `Dataset` do that. What is to happen to them beyond it stands here, as layers.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import checks, cuda, kernels
from ..validation import is_byte_image
from .activations import ElementwiseLayer
from .base import Array, ChannelLayer, Layer, Shape
from .budget import take_elements
from .config import register
from .plan import named_layers
from .stack import flat, forward_through

_SAMPLES_AT_ONCE = 256


@register
class Rescale(ElementwiseLayer):
    """x * scale + offset.

    Parameters
    ----------
    scale
        A number other than 0. Images of bytes come scaled to [0, 1] already, in every model:
        `Rescale(2, -1)` brings them to [-1, 1], and a model that begins with `Rescale(1 / 255)`
        refuses them.
    offset
        A number.
    **common
        `name` and `input_shape`, as every layer takes them.

    Examples
    --------
    >>> import numpy as np
    >>> Rescale(2, -1).forward(np.array([[0.0, 0.5, 1.0]]))
    array([[-1.,  0.,  1.]])

    In a model, for images of bytes:

    >>> from nn import Model
    >>> images = np.array([[[[0, 255]]]], dtype=np.uint8)
    >>> Model([Rescale(2, -1)]).predict(images)
    array([[[[-1.,  1.]]]], dtype=float32)
    """

    def __init__(self, scale: float, offset: float = 0.0, **common: Any):
        super().__init__(**common)
        self.scale = checks.finite("Rescale", "scale", scale)
        self.offset = checks.finite("Rescale", "offset", offset)
        if self.scale == 0:
            raise checks.error("Rescale", "scale", "must not be 0", scale)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return x * scale + offset."""
        x = self._check_input(x)
        self._keep(training, x)
        return x * self.scale + self.offset

    def backward(self, grad: Array) -> Array:
        """Return the gradient times the scale."""
        self._recall_for(grad)
        return grad * self.scale


@register
class Standardize(ChannelLayer):
    """(x - mean) / std, for each channel of images or each feature of vectors and sequences.

    LeCun, Bottou, Orr and Mueller 1998, "Efficient backprop", section 4.3: inputs of mean 0 and
    variance 1 are learned from more quickly. The two are those of the training data, for all
    data to come, so they are saved with the model. `fit` measures them on the training data,
    without the validation data, if the layer comes first in the model (or after `Rescale`) and they
    are not known; otherwise, call `adapt`.

    Parameters
    ----------
    mean, std
        A number, or one for each channel; both or neither. `std` is above 0.
    **common
        `name` and `input_shape`, as every layer takes them.

    Attributes
    ----------
    buffers : dict
        'mean' and 'std' of shape (C,), NaN until they are known.

    Raises
    ------
    RuntimeError
        For a forward pass before they are known.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Standardize()
    >>> x = np.array([[1.0, 10.0], [3.0, 10.0]], dtype="float32")
    >>> layer.adapt(x)
    >>> layer.forward(x)  # the second feature never changes: its std counts as 1
    array([[-1.,  0.],
           [ 1.,  0.]], dtype=float32)
    """

    def __init__(
        self,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        **common: Any,
    ):
        super().__init__(**common)
        if (mean is None) != (std is None):
            missing, other = ("mean", "std") if mean is None else ("std", "mean")
            raise checks.error("Standardize", missing, f"must be given with {other!r}", None)
        self.mean = _numbers("mean", mean)
        self.std = _numbers("std", std)
        if self.std is not None and min(self.std) <= 0:
            raise checks.error("Standardize", "std", "must be above 0", std)
        self._is_adapted = False

    @property
    def adapted(self) -> bool:
        """Whether mean and std are known: given, measured, or loaded."""
        mean = self.buffers.get("mean")
        return mean is not None and not bool(cuda.get_array_module(mean).isnan(mean).any())

    def build(self, input_shape: Shape) -> None:
        """Make room for the mean and std of each channel."""
        self._check_shape(input_shape)
        channels = self.channels(input_shape)
        for name in ("mean", "std"):
            given = getattr(self, name) or (math.nan,)  # NaN: not known yet
            if len(given) not in (1, channels):
                rule = f"must be a number, or one for each of {channels} channels"
                raise checks.error("Standardize", name, rule, list(given))
            take_elements("Standardize", channels)
            self.buffers[name] = np.full(channels, given, dtype=self.dtype)
        self._built(input_shape, input_shape)

    def adapt(self, data: Any) -> None:
        """Measure mean and std on data, batch by batch; what was known before is replaced.

        Parameters
        ----------
        data
            An array, the inputs of this layer, or an object with such an array as its
            attribute `x`, as a `Dataset` has it; it may be larger than memory. uint8 images count
            as scaled to [0, 1], as everywhere.

        Raises
        ------
        ValueError
            For data of another shape than the layer was built for, or that are not finite.
        """
        x = data.x if hasattr(data, "x") else checks.real_array("Standardize", "data", data)
        self._check_shape(x.shape)
        if self.built and self.channels(x.shape) != len(self.buffers["mean"]):
            raise ValueError(
                f"[Standardize] was built for inputs of shape {self.built_shape}, "
                f"got data {x.shape}."
            )
        self.adapt_to_batches(_batches(x))

    def adapt_to_batches(self, batches: Iterable[Array]) -> None:
        """Measure mean and std on batches of floats (N, C, ...); see `adapt`."""
        statistics = _Statistics()
        for x in batches:
            if not self.built:
                self.build((None, *x.shape[1:]))
            with np.errstate(over="ignore", invalid="ignore"):  # which is found below
                statistics.update(x)
        found = (("mean", statistics.mean), ("std", statistics.std()))
        if not all((np.abs(values) <= np.finfo(self.dtype).max).all() for _, values in found):
            rule = f"must have a mean and a variance that {np.dtype(self.dtype)} can hold"
            raise checks.error("Standardize", "data", rule, float(np.max(statistics.highest)))
        for name, values in found:
            buffer = self.buffers[name]
            buffer[...] = cuda.get_array_module(buffer).asarray(values, dtype=buffer.dtype)

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return (x - mean) / std."""
        x = self._check_input(x)
        self._is_adapted = self._is_adapted or self.adapted  # a GPU is asked once
        if not self._is_adapted:
            raise RuntimeError(
                "[Standardize] has no mean and std yet: call adapt(training data), pass "
                "'mean' and 'std', or fit() a model that begins with it."
            )
        self._keep(training, x)
        return (x - _by_channel(self.buffers["mean"], x)) / _by_channel(self.buffers["std"], x)

    def backward(self, grad: Array) -> Array:
        """Return the gradient divided by std."""
        self._recall_for(grad)
        return grad / _by_channel(self.buffers["std"], grad)


class _Statistics:
    """Mean and variance of each channel, over batches, in float64.

    Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample
    variances": two sets are joined by their counts n, means and sums of squared differences m2,
    without the differences of large sums that lose all digits.
    """

    def __init__(self) -> None:
        self.n = 0
        self.mean: Any = 0.0
        self.m2: Any = 0.0
        self.lowest: Any = np.inf
        self.highest: Any = -np.inf

    def update(self, x: Array) -> None:
        """Take in a batch (N, C, ...)."""
        # (N, C, ...) or (N, T, C) -> (M, C) -> (C, M)
        rows = kernels.class_rows(cuda.to_cpu(x).astype(np.float64, copy=False))
        rows = np.ascontiguousarray(rows.T)  # whose sums are more exact
        if not np.isfinite(rows).all():
            raise ValueError("[Standardize] 'data' must be finite, got NaN or infinite values.")
        n, mean = rows.shape[1], rows.mean(axis=1)
        m2 = ((rows - mean[:, np.newaxis]) ** 2).sum(axis=1)
        total, step = self.n + n, mean - self.mean
        self.m2 = self.m2 + m2 + step**2 * (self.n * n / total)
        self.mean = self.mean + step * (n / total)
        self.n = total
        self.lowest = np.minimum(self.lowest, rows.min(axis=1))
        self.highest = np.maximum(self.highest, rows.max(axis=1))

    def std(self) -> np.ndarray:
        """Return the standard deviations; 1 for a channel that never changes."""
        # Told by its values: rounding leaves a variance a little above 0.
        return np.where(self.lowest == self.highest, 1.0, np.sqrt(self.m2 / self.n))


def adapt_first(layers: Sequence[Layer], data: Any) -> None:
    """Measure what a `Standardize` at the beginning of a model needs, if it is not known.

    Parameters
    ----------
    layers
        Those of a built model.
    data
        The `Dataset` that the model is trained on.

    Raises
    ------
    RuntimeError
        For a `Standardize` without mean and std that does not come first, or other data.
    """
    waiting = [
        (path, layer)
        for path, layer in named_layers(layers)
        if isinstance(layer, Standardize) and not layer.adapted
    ]
    if not waiting:
        return
    chain = flat(layers)
    start = next((k for k, layer in enumerate(chain) if type(layer) is not Rescale), len(chain))
    for path, layer in waiting:
        if layer not in chain[start : start + 1] or not hasattr(data, "x"):
            raise RuntimeError(
                f"[Standardize] layer {path} has no mean and std, and fit() measures them only "
                "for a model's first layer, on a Dataset or arrays: call its adapt() before."
            )
        layer.adapt_to_batches(
            forward_through(chain[:start], x, training=None)[0] for x in _batches(data.x)
        )


def _batches(x: Any) -> Iterator[np.ndarray]:
    """Yield batches of an array as float64, images of bytes scaled to [0, 1]."""
    scale = 255 if is_byte_image(x) else 1
    for start in range(0, len(x), _SAMPLES_AT_ONCE):
        rows = np.asarray(cuda.to_cpu(x[start : start + _SAMPLES_AT_ONCE]))
        yield rows.astype(np.float64) / scale


def _by_channel(values: Array, x: Array) -> Array:
    """Return a number a channel in a shape that meets x: (C,) -> (C, 1, 1) for (N, C, H, W)."""
    return values if x.ndim == 3 else values.reshape(-1, *(1,) * (x.ndim - 2))


def _numbers(argument: str, values: Any) -> tuple[float, ...] | None:
    """Return a number, or several, as a tuple; None for None."""
    if values is None:
        return None
    several = np.atleast_1d(np.asarray(cuda.to_cpu(values)))
    if several.ndim != 1 or not len(several):
        raise checks.error("Standardize", argument, "must be a number or a list of them", values)
    return tuple(checks.finite("Standardize", argument, value) for value in several.tolist())
