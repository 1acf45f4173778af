"""The initial values of the weights: functions (shape, rng) -> float64 array.

A layer draws its weights on the CPU and casts them to its own dtype and device, so that a
seed gives the same values on all of them. The rules differ in their variance, which is chosen so
that signals neither vanish nor explode in a network of many layers.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import checks
from .registry import Registry
from .validation import is_byte_image

Initializer = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]


def fan_in_and_out(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the number of inputs of each output of a weight array, and of outputs of each input.

    Parameters
    ----------
    shape
        (in, out) of a dense layer, or (F, C, KH, KW) of a convolution.

    Examples
    --------
    >>> fan_in_and_out((784, 10)), fan_in_and_out((32, 3, 5, 5))
    ((784, 10), (75, 800))
    """
    if len(shape) < 2:
        return (shape[0] if shape else 1,) * 2
    if len(shape) == 2:
        return shape[0], shape[1]
    receptive = math.prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


def zeros(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return zeros."""
    return np.zeros(shape)


def ones(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return ones."""
    return np.ones(shape)


def _normal(shape: tuple[int, ...], rng: np.random.Generator, variance: float) -> np.ndarray:
    return rng.normal(0.0, math.sqrt(variance), size=shape)


def _uniform(shape: tuple[int, ...], rng: np.random.Generator, variance: float) -> np.ndarray:
    limit = math.sqrt(3 * variance)  # U(-a, a) has the variance a^2 / 3
    return rng.uniform(-limit, limit, size=shape)


def he_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw from a normal of variance 2 / fan_in.

    The 2 makes up for ReLU, which halves a signal's power (He et al. 2015, "Delving deep into
    rectifiers", arXiv 1502.01852, equation 10).

    Examples
    --------
    >>> he_normal((50, 2), np.random.default_rng(0)).shape
    (50, 2)
    """
    return _normal(shape, rng, 2 / fan_in_and_out(shape)[0])


def he_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw from a uniform of variance 2 / fan_in (He et al. 2015)."""
    return _uniform(shape, rng, 2 / fan_in_and_out(shape)[0])


def glorot_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw from a normal of variance 2 / (fan_in + fan_out).

    Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural
    networks", equation 12.
    """
    return _normal(shape, rng, 2 / sum(fan_in_and_out(shape)))


def glorot_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw from a uniform of variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, eq. 16)."""
    return _uniform(shape, rng, 2 / sum(fan_in_and_out(shape)))


def lecun_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw from a normal of variance 1 / fan_in.

    LeCun et al. 1998, "Efficient BackProp", section 4.6.
    """
    return _normal(shape, rng, 1 / fan_in_and_out(shape)[0])


def lecun_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw from a uniform of variance 1 / fan_in (LeCun et al. 1998, section 4.6)."""
    return _uniform(shape, rng, 1 / fan_in_and_out(shape)[0])


def pytorch_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw from a uniform of variance 1 / (3 fan_in), PyTorch's default for Linear and Conv2d."""
    return _uniform(shape, rng, 1 / (3 * fan_in_and_out(shape)[0]))


def dirac(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return a convolution's kernel that passes each channel on: filter k copies channel k.

    It is 1 in the middle of the kernel where the filter and the channel have the same number, and
    0 elsewhere, as in `torch.nn.init.dirac_` for odd sizes: with padding 'same' and no bias the
    layer is the identity at first. Filters beyond the number of channels are 0 (see
    `partial_dirac`).

    Zagoruyko and Komodakis 2017, "DiracNets: Training very deep neural networks without skip
    connections", arXiv 1706.00388, section 3.

    Raises
    ------
    ValueError
        For a shape that is not (F, C, K) or (F, C, KH, KW).

    Examples
    --------
    >>> dirac((2, 1, 1, 3), np.random.default_rng(0)).tolist()
    [[[[0.0, 1.0, 0.0]]], [[[0.0, 0.0, 0.0]]]]
    """
    kernel = np.zeros(_kernel_shape("dirac", shape))
    _pass_on(kernel)
    return kernel


def partial_dirac(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return a kernel whose first C filters pass the C channels on, and the others are drawn.

    The others are drawn by `pytorch_uniform`. With as many filters as channels it is `dirac`.

    Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498, section 3.3.

    Raises
    ------
    ValueError
        For a shape that is not (F, C, K) or (F, C, KH, KW).

    Examples
    --------
    >>> kernel = partial_dirac((3, 1, 1, 1), np.random.default_rng(0))
    >>> kernel[0].item(), bool(abs(kernel[1:]).max() <= 1)
    (1.0, True)
    """
    kernel = pytorch_uniform(_kernel_shape("partial_dirac", shape), rng)
    kernel[: shape[1]] = 0
    _pass_on(kernel)
    return kernel


def _kernel_shape(owner: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) not in (3, 4):
        rule = "must be that of a convolution's kernel, (F, C, K) or (F, C, KH, KW)"
        raise checks.error(owner, "shape", rule, shape)
    return shape


def _pass_on(kernel: np.ndarray) -> None:
    """Set the middle of each filter to 1 for the channel of its number."""
    middle = tuple((size - 1) // 2 for size in kernel.shape[2:])  # as padding 'same' has it
    for k in range(min(kernel.shape[:2])):
        kernel[(k, k, *middle)] = 1


_IMAGES_AT_ONCE = 256


def whitening(images: Any, eps: float = 5e-4) -> Initializer:
    """Return an initializer whose filters whiten the patches of images.

    The outputs of the first half of the filters are uncorrelated and of the same power over all
    patches: filter k is the eigenvector of the k-th largest eigenvalue of the patches' second
    moments, divided by `sqrt(eigenvalue + eps)`. The second half has the same filters negated, so
    that an activation such as ReLU or GELU loses nothing. Such a layer is not trained, but its
    bias is: `Conv2D(24, 2, kernel_initializer=whitening(images), trainable=("b",))`.

    Parameters
    ----------
    images
        (N, C, H, W), or a `Dataset` of them: what the layer sees, about mean 0. Bytes are scaled
        to [0, 1], as by a model. A few thousand are enough.
    eps
        Added to the eigenvalues, above 0: it limits how much faint patterns are amplified.

    Returns
    -------
    function
        `(shape, rng) -> kernel` for shapes (F, C, KH, KW), where F is at most 2 * C * KH * KW.

    Raises
    ------
    ValueError
        If the images are not (N, C, H, W), or, at the call, if the shape does not fit them or F is
        too large.

    Notes
    -----
    Coates and Ng 2012, "Learning feature representations with k-means", section 3, for patches;
    as a frozen first layer: Jordan 2024, arXiv 2404.00498, section 3.2, after Page's "How to train
    your ResNet", part 8. Its `eps` is the default here, for images of variance 1.

    Examples
    --------
    >>> images = np.random.default_rng(0).normal(size=(200, 3, 8, 8))
    >>> kernel = whitening(images)((24, 3, 2, 2), np.random.default_rng(0))
    >>> bool((kernel[:12] == -kernel[12:]).all())
    True
    """
    x = getattr(images, "x", images)
    if getattr(x, "ndim", 0) != 4 or not len(x):
        got = getattr(x, "shape", type(x).__name__)
        raise checks.error("whitening", "images", "must be images (N, C, H, W)", got)
    eps = checks.positive("whitening", "eps", eps)

    def whiten(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        if len(shape) != 4 or shape[1] != x.shape[1]:
            rule = f"must be (F, {x.shape[1]}, KH, KW) for images {tuple(x.shape)}"
            raise checks.error("whitening", "shape", rule, shape)
        size = math.prod(shape[1:])
        if shape[0] > 2 * size:
            rule = f"must be at most {2 * size} for kernels {shape[1:]}: each filter, and negated"
            raise checks.error("whitening", "filters", rule, shape[0])
        values, vectors = np.linalg.eigh(_second_moments(x, shape[2:]))  # ascending
        filters = (vectors / np.sqrt(values + eps)).T[::-1]  # a filter in each row
        filters = np.concatenate([filters, -filters])
        half = [*range(size)][: -(-shape[0] // 2)]
        chosen = [*half, *(k + size for k in half)][: shape[0]]
        return filters[chosen].reshape(shape)  # (F, C*KH*KW) -> (F, C, KH, KW)

    return whiten


def _second_moments(x: Any, size: tuple[int, ...]) -> np.ndarray:
    """Return the mean of p p' over all patches p of images, (P, P) with P = C * KH * KW."""
    total: Any = 0.0
    count = 0
    for start in range(0, len(x), _IMAGES_AT_ONCE):
        rows = np.asarray(x[start : start + _IMAGES_AT_ONCE])
        rows = rows.astype(np.float64) / (255 if is_byte_image(rows) else 1)
        windows = np.lib.stride_tricks.sliding_window_view(rows, size, axis=(2, 3))
        # (N, C, OH, OW, KH, KW) -> (N, OH, OW, C, KH, KW) -> (M, P)
        patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, rows.shape[1] * math.prod(size))
        total = total + patches.T @ patches
        count += len(patches)
    return np.asarray(total / count)


_RULES = (
    *(zeros, ones, he_normal, he_uniform),
    *(glorot_normal, glorot_uniform, lecun_normal, lecun_uniform),
    *(pytorch_uniform, dirac, partial_dirac),
)

#: The initializers by the names that `kernel_initializer=` takes.
NAME2INITIALIZER: Registry[Initializer] = Registry(
    "initializers", "kernel_initializer", {rule.__name__: rule for rule in _RULES}
)


def get(initializer: str | Initializer, owner: str = "initializers") -> Initializer:
    """Return the initializer of a name, or the function itself.

    Raises
    ------
    ValueError
        For an unknown name; the message gives the nearest known one.
    """
    if callable(initializer):
        return initializer
    return NAME2INITIALIZER.find(initializer, owner)
