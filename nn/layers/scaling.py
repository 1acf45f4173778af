"""Which range of inputs the first layers of a model say that they take: [0, 1] or 0..255.

nn divides images of bytes by 255 before the first layer. A model of another library may hold that
step itself, as numbers in its first layers; it would be done twice.
"""

from collections.abc import Sequence

import numpy as np

from .. import cuda
from .base import Array, Layer
from .normalization import BatchNorm
from .preprocessing import Rescale, Standardize
from .reshaping import Reshape
from .resizing import UpSample2D, ZeroPad2D
from .stack import flat

__all__ = ["first_rescale", "scaler_of_bytes"]

# Layers after which pixels have the scale that they had before.
_UNCHANGING = (Reshape, UpSample2D, ZeroPad2D)

_SMALLEST_SCALE = 0.01  # 1 / 255 and 2 / 255 are less
_LARGEST = 2.0  # numbers in [0, 1] have a mean of at most 1 and a deviation of at most 0.5


def first_rescale(layers: Sequence[Layer]) -> float | None:
    """Return the factor of a `Rescale` at the beginning, or after a `Flatten`; else None."""
    first = next((x for x in flat(layers) if not isinstance(x, _UNCHANGING)), None)
    return first.scale if isinstance(first, Rescale) else None


def scaler_of_bytes(layers: Sequence[Layer]) -> str | None:
    """Return the layer that says that inputs are 0..255, not [0, 1], in words; None without one.

    It is among the first layers, after those that leave pixels as they are:

    - a `Rescale` by at most 0.01, or around a middle above 2: `Rescale(1 / 255)`,
      `Rescale(1, -128)`;
    - a `Standardize` or `BatchNorm`, also after `Rescale`, one of whose means or standard
      deviations is above 2 as a number of the input. No numbers in [0, 1] have these.

    Parameters
    ----------
    layers
        Those of a model. Of layers that are not built, or measured, nothing is known.

    Examples
    --------
    >>> scaler_of_bytes([Rescale(1 / 255)]), scaler_of_bytes([Rescale(2, -1)])
    ('Rescale(0.00392157)', None)
    >>> layer = Standardize(120.0, 60.0, input_shape=(3, 8, 8))
    >>> _ = layer.build((None, 3, 8, 8))
    >>> scaler_of_bytes([layer])
    'Standardize (mean 120, standard deviation 60)'
    """
    factor, offset, is_first = 1.0, 0.0, True  # of the inputs, by the layers so far
    for layer in flat(layers):
        if isinstance(layer, _UNCHANGING):
            continue
        if isinstance(layer, Rescale):
            middle = -layer.offset / layer.scale
            if is_first and (abs(layer.scale) <= _SMALLEST_SCALE or middle > _LARGEST):
                more = f", {layer.offset:g}" if layer.offset else ""
                return f"Rescale({layer.scale:g}{more})"
            factor, offset = factor * layer.scale, offset * layer.scale + layer.offset
            is_first = False
            continue
        statistics = _statistics(layer)
        if statistics is None:
            return None
        mean = float(((statistics[0] - offset) / factor).max())
        std = float((statistics[1] / abs(factor)).max())
        if not max(mean, std) > _LARGEST:
            return None
        return f"{type(layer).__name__} (mean {mean:.4g}, standard deviation {std:.4g})"
    return None


def _statistics(layer: Layer) -> tuple[Array, Array] | None:
    """Return the means and the standard deviations that a layer has measured, or None."""
    if isinstance(layer, Standardize) and layer.adapted:
        mean, std = layer.buffers["mean"], layer.buffers["std"]
    elif isinstance(layer, BatchNorm) and "running_var" in layer.buffers:
        mean, std = layer.buffers["running_mean"], layer.buffers["running_var"] ** 0.5
    else:
        return None
    return cuda.to_cpu(mean).astype(np.float64), cuda.to_cpu(std).astype(np.float64)
