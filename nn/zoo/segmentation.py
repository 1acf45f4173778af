"""Networks that return classes of pixels."""

from collections.abc import Sequence

from .. import checks
from ..layers import BatchNorm2D, Conv2D, Conv2DTranspose, Layer, MaxPool2D, ReLU, SkipConcat
from ..model import Model
from .build import built_model


def unet_small(
    input_shape: Sequence[int | None] = (3, None, None),
    num_classes: int = 2,
    filters: int = 16,
    num_levels: int = 3,
    seed: int | None = None,
) -> Model:
    """Return a U-Net for the classes of pixels, of images of any size: 482,754 parameters.

    Ronneberger, Fischer and Brox 2015, "U-Net: convolutional networks for biomedical image
    segmentation", arXiv 1505.04597, figure 1: each level works on images of half the height and
    width of the one above with twice the filters, and its output, doubled by a transposed
    convolution, is joined with the image of the level above. Other than there, convolutions keep
    the size and are followed by batch normalization.

    Parameters
    ----------
    input_shape
        (C, H, W). H and W may be None, for images of any size; they are multiples of
        2**num_levels, 8 by default.
    num_classes
        Number of logits of a pixel.
    filters
        Filters of the first level.
    num_levels
        How often height and width are halved.
    seed
        As in `mlp`.

    Returns
    -------
    Model
        Built, not compiled. Its output is (N, num_classes, H, W), for `'cce'` with labels
        (N, H, W).

    Raises
    ------
    ValueError
        If H or W is known and is not a multiple of 2**num_levels.

    Examples
    --------
    >>> unet_small(num_classes=4, filters=8).output_shape
    (None, 4, None, None)
    """
    owner = "unet_small"
    checks.positive_int(owner, "filters", filters)
    num_levels = checks.positive_int(owner, "num_levels", num_levels)
    shape = checks.sample_shape(owner, "input_shape", input_shape)
    if len(shape) != 3 or any((size or 0) % 2**num_levels for size in shape[1:]):
        rule = f"must be (C, H, W) with H and W None or multiples of {2**num_levels}"
        raise checks.error(owner, "input_shape", rule, input_shape)
    stack = _convolutions(filters * 2**num_levels)
    for level in reversed(range(num_levels)):  # from the smallest images to the full ones
        width = filters * 2**level
        inside = [MaxPool2D(2), *stack, Conv2DTranspose(width, 2, stride=2)]
        stack = [*_convolutions(width), SkipConcat(inside), *_convolutions(width)]
    return built_model(owner, [*stack, Conv2D(num_classes, 1)], shape, seed)


def _convolutions(filters: int) -> list[Layer]:
    """Return two convolutions with batch normalization and ReLU."""
    stack: list[Layer] = []
    for _ in range(2):
        stack += [Conv2D(filters, 3, use_bias=False), BatchNorm2D(), ReLU()]
    return stack
