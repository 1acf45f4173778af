"""Networks that learn CIFAR-10 in few epochs, with large learning rates."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import checks
from ..initializers import whitening
from ..layers import (
    GELU,
    BatchNorm2D,
    Conv2D,
    Dense,
    GlobalMaxPool2D,
    Layer,
    MaxPool2D,
    ReLU,
    Rescale,
    Residual,
    Standardize,
)
from ..model import Model
from ..validation import is_byte_image
from .build import Shape, built_model

# Of the batch norms of `airbench94`; the running averages follow within a few batches.
_MOMENTUM, _EPS = 0.6, 1e-12

# About those of photographs in [0, 1], for a network without images to measure them on.
_MEAN, _STD = 0.5, 0.25


def airbench94(
    input_shape: Shape = (3, 32, 32),
    num_classes: int = 10,
    seed: int | None = None,
    images: Any = None,
    widths: Sequence[int] = (64, 256, 256),
) -> Model:
    """Return the network that learns CIFAR-10 to 94% in ten epochs: 1,971,640 parameters.

    Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498, section 3: a
    convolution of 2 x 2 whose filters whiten the images, three blocks of two convolutions with 64,
    256 and 256 filters, a maximum over the image, and a dense layer whose outputs are divided by 9.
    The convolutions of a block begin as the identity, as far as the channels go; its batch norms
    have no scale. `examples/cifar10_train.py --model airbench` is the recipe.

    The images are first standardized by the mean and deviation of each channel. All biases begin
    at 0.

    Parameters
    ----------
    input_shape
        (C, H, W), at least 9 pixels.
    num_classes, seed
        As in `mlp`.
    images
        Training images (N, C, H, W) for the first filters and for mean and deviation, bytes or
        floats in [0, 1], or a `Dataset`; a few thousand are enough. The filters are not trained
        then, only their bias. Without images they are drawn and trained, and 0.5 and 0.25 are
        mean and deviation.
    widths
        Number of filters in each block; (128, 384, 384) are those of the paper's `airbench95`.

    Raises
    ------
    ValueError
        If the images do not have the channels of `input_shape`.

    Examples
    --------
    >>> images = np.random.default_rng(0).random((50, 3, 32, 32))
    >>> model = airbench94(seed=0, images=images)
    >>> model.layers[1].trainable
    ('b',)
    """
    channels = checks.sample_shape("airbench94", "input_shape", input_shape)[0]
    filters = 2 * channels * 2 * 2  # the patches' eigenvectors, and their negatives
    if images is None:
        stack: list[Layer] = [Standardize(_MEAN, _STD), Conv2D(filters, 2, padding="valid")]
    else:
        stack = _whitened(_pixels(images, channels), filters)
    stack.append(GELU())
    for width in widths:
        stack += [_identity_conv(width), MaxPool2D(), _shift_norm(), GELU()]
        stack += [_identity_conv(width), _shift_norm(), GELU()]
    stack += [GlobalMaxPool2D(), *_scaled_dense(num_classes, 1 / 9)]
    return built_model("airbench94", stack, input_shape, seed)


def resnet9(
    input_shape: Shape = (3, 32, 32), num_classes: int = 10, seed: int | None = None
) -> Model:
    """Return the 9-layer residual network of fast CIFAR-10 training: 6,573,120 parameters.

    Page 2018, "How to train your ResNet", part 4, https://myrtle.ai/how-to-train-your-resnet/ :
    convolutions of 64, 128, 256 and 512 filters, each but the first before a pooling; residual
    blocks of two convolutions after the second and the fourth; a maximum over the image, and a
    dense layer whose outputs are divided by 8.

    Parameters
    ----------
    input_shape
        (C, H, W), at least 8 pixels.
    num_classes, seed
        As in `mlp`.
    """
    stack: list[Layer] = [*_conv_bn_relu(64)]
    for filters, is_residual in ((128, True), (256, False), (512, True)):
        stack += [*_conv_bn_relu(filters), MaxPool2D()]
        if is_residual:
            stack.append(Residual([*_conv_bn_relu(filters), *_conv_bn_relu(filters)]))
    stack += [GlobalMaxPool2D(), *_scaled_dense(num_classes, 1 / 8)]
    return built_model("resnet9", stack, input_shape, seed)


def _pixels(images: Any, channels: int) -> np.ndarray:
    """Return images (N, C, H, W) as numbers in [0, 1]."""
    x = getattr(images, "x", images)
    shape: Any = getattr(x, "shape", ())
    if len(shape) != 4 or shape[1] != channels:
        rule = f"must be images (N, {channels}, H, W)"
        raise checks.error("airbench94", "images", rule, shape or type(images).__name__)
    x = np.asarray(x)
    return x / 255 if is_byte_image(x) else x


def _whitened(pixels: np.ndarray, filters: int) -> list[Layer]:
    """Return the layers that standardize images and whiten their patches, by what they are."""
    mean = pixels.mean((0, 2, 3), dtype=np.float64)
    std = pixels.std((0, 2, 3), dtype=np.float64)
    std[std == 0] = 1.0  # of a channel that is the same everywhere, as in `Standardize.adapt`
    seen = (pixels - mean[:, np.newaxis, np.newaxis]) / std[:, np.newaxis, np.newaxis]
    rule = whitening(seen)
    kernel = Conv2D(filters, 2, padding="valid", kernel_initializer=rule, trainable=("b",))
    return [Standardize(mean.tolist(), std.tolist()), kernel]


def _identity_conv(filters: int) -> Layer:
    return Conv2D(filters, use_bias=False, kernel_initializer="partial_dirac")


def _shift_norm() -> Layer:
    return BatchNorm2D(_MOMENTUM, _EPS, scale=False)


def _conv_bn_relu(filters: int) -> list[Layer]:
    return [Conv2D(filters, use_bias=False), BatchNorm2D(), ReLU()]


def _scaled_dense(units: int, scale: float) -> list[Layer]:
    dense = Dense(units, use_bias=False, kernel_initializer="pytorch_uniform")
    return [dense, Rescale(scale)]
