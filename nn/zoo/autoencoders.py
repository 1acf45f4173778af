"""Networks that reconstruct their inputs."""

import math
from collections.abc import Sequence

from .. import checks
from ..layers import (
    Conv2D,
    Dense,
    GaussianSampling,
    Layer,
    MaxPool2D,
    ReLU,
    Reshape,
    Sequential,
    Sigmoid,
    UpSample2D,
)
from ..model import Model
from .build import Shape, built_model, flatten_rows


def conv_autoencoder(
    input_shape: Shape = (1, 28, 28), filters: Sequence[int] = (16, 4), seed: int | None = None
) -> Model:
    """Return a convolutional autoencoder, which reconstructs its input: 1,625 parameters.

    The encoder has one stage of Conv2D, ReLU and MaxPool2D for each number of filters. Its output,
    the code, is (4, 7, 7) for digits, a quarter of the size of the input. The last stage has no
    ReLU, so that none of its few channels can die. The decoder mirrors the encoder, with
    UpSample2D instead of pooling, and ends in a sigmoid. Train it with `'mse'` or `'bce'` and the
    images themselves, floats in [0, 1], as targets:

        model.fit(x, x)

    Encoder and decoder are one layer each: `nn.Model([model.layers[0]]).predict(x)` returns the
    code.

    Masci, Meier, Cireşan and Schmidhuber 2011, "Stacked convolutional auto-encoders for
    hierarchical feature extraction". Upsampling followed by a convolution avoids the checkerboard
    artifacts of transposed convolutions: Odena, Dumoulin and Olah 2016, "Deconvolution and
    checkerboard artifacts", https://distill.pub/2016/deconv-checkerboard/

    Parameters
    ----------
    input_shape
        (C, H, W); H and W must be divisible by 2 once for each stage.
    filters
        Filters of each encoder stage; the last number is that of the code's channels.
    seed
        As in `mlp`.

    Returns
    -------
    Model
        Built, not compiled. Output and input have the same shape.

    Raises
    ------
    ValueError
        If there are no stages, or the shape cannot be halved once for each stage.

    Examples
    --------
    >>> model = conv_autoencoder(seed=0)
    >>> model.layers[0].output_shape, model.output_shape
    ((None, 4, 7, 7), (None, 1, 28, 28))
    """
    owner = "conv_autoencoder"
    checks.sample_shape(owner, "input_shape", input_shape)
    filters = [checks.positive_int(owner, "filters", number) for number in filters]
    if not filters:
        raise checks.error(owner, "filters", "must contain at least one stage", filters)
    halved = 2 ** len(filters)
    if len(input_shape) != 3 or input_shape[1] % halved or input_shape[2] % halved:
        rule = f"must be (C, H, W) with H and W divisible by {halved}, for {len(filters)} stages"
        raise checks.error(owner, "input_shape", rule, tuple(input_shape))
    encoder: list[Layer] = []
    for number in filters[:-1]:
        encoder += [Conv2D(number), ReLU(), MaxPool2D()]
    encoder += [Conv2D(filters[-1]), MaxPool2D()]
    decoder: list[Layer] = []
    for number in reversed(filters):
        decoder += [Conv2D(number), ReLU(), UpSample2D()]
    decoder += [Conv2D(input_shape[0]), Sigmoid()]
    stack: list[Layer] = [Sequential(encoder, name="encoder"), Sequential(decoder, name="decoder")]
    return built_model(owner, stack, input_shape, seed)


def vae(
    latent_dim: int = 2,
    hidden_dims: Sequence[int] = (256,),
    input_shape: Shape = (1, 28, 28),
    seed: int | None = None,
) -> Model:
    """Return a variational autoencoder: 404,244 parameters.

    The encoder maps an image to the means and the logarithms of the variances of `latent_dim`
    normal distributions, a `GaussianSampling` draws a point from them, and the decoder, the mirror
    image of the encoder, maps it to an image. Train it with `'bce'` and the images themselves,
    floats in [0, 1], as targets:

        model.fit(x, x)

    The divergence in the loss is divided by the number of pixels, as the cross-entropy is, so that
    the loss is the negative evidence lower bound for each pixel. The three parts are one layer
    each: `nn.Model([model.layers[2]]).predict(z)` returns images of points z.

    Kingma and Welling 2014, "Auto-encoding variational Bayes", arXiv 1312.6114, appendix C, with
    ReLU instead of tanh.

    Parameters
    ----------
    latent_dim
        Dimensions of the latent space: 2 for a plane that can be drawn.
    hidden_dims
        Units of each hidden layer of the encoder; the decoder has them in reverse.
    input_shape
        Shape of an image.
    seed
        As in `mlp`.

    Returns
    -------
    Model
        Built, not compiled. Output and input have the same shape.

    Examples
    --------
    >>> model = vae(seed=0)
    >>> [layer.output_shape for layer in model.layers]
    [(None, 4), (None, 2), (None, 1, 28, 28)]
    """
    shape = checks.sample_shape("vae", "input_shape", input_shape)
    latent_dim = checks.positive_int("vae", "latent_dim", latent_dim)
    encoder, decoder = flatten_rows("vae", shape), list[Layer]()
    for units in hidden_dims:
        encoder += [Dense(units), ReLU()]
    for units in reversed(hidden_dims):
        decoder += [Dense(units), ReLU()]
    encoder += [Dense(2 * latent_dim)]
    decoder += [Dense(math.prod(shape)), Reshape(shape), Sigmoid()]
    stack: list[Layer] = [
        Sequential(encoder, name="encoder"),
        GaussianSampling(1 / math.prod(shape)),
        Sequential(decoder, name="decoder"),
    ]
    return built_model("vae", stack, shape, seed)
