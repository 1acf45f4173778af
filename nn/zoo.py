"""Ready-made architectures, from a single neuron to a residual network.

Each function builds one network for an input shape and returns the `Model`, built but not compiled.
The classifiers return logits, one for each class, for the cross-entropy `'cce'`;
`logistic_regression`, `conv_autoencoder` and `vae` end in a sigmoid and are trained with `'bce'`
or `'mse'`. The parameter counts in the docstrings are for the default arguments.

>>> model = lenet5(seed=0)
>>> model.compile(loss="cce", optimizer="adam")
>>> model.output_shape
(None, 10)
"""

import math
from collections.abc import Sequence

from . import checks
from .layers import (
    AvgPool2D,
    BatchNorm,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GaussianSampling,
    GlobalAvgPool2D,
    Layer,
    MaxPool2D,
    ReLU,
    Reshape,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
    UpSample2D,
)
from .layers.config import get_activation
from .model import Model

Shape = Sequence[int]  # of one input, without the batch axis: (C, H, W)


def _model(name: str, stack: list[Layer], input_shape: Shape, seed: int | None) -> Model:
    """Return a model of the layers, built for an input shape."""
    checks.sample_shape(name, "input_shape", input_shape)
    model = Model(stack, seed=seed, name=name)
    model.build((None, *input_shape))
    return model


def _flatten(name: str, input_shape: Shape) -> list[Layer]:
    """Return the layer that makes rows of images; none if the inputs are rows."""
    return [Flatten()] if len(checks.sample_shape(name, "input_shape", input_shape)) > 1 else []


# --------------------------------------------------------------------------- without convolutions


def logistic_regression(input_shape: Shape = (2,), seed: int | None = None) -> Model:
    """Return one neuron: the probability `sigmoid(x @ W + b)` of one class against another.

    Trained with `'bce'` it is logistic regression, with a linear decision boundary. 3 parameters.

    Cox 1958, "The regression analysis of binary sequences"; with a step function instead of the
    sigmoid, Rosenblatt 1958, "The perceptron".

    Parameters
    ----------
    input_shape
        Shape of one input, without the batch axis; images are flattened.
    seed
        As in `mlp`.

    Returns
    -------
    Model
        Built, not compiled. Its output is (N, 1); its targets may be labels (N,).

    Examples
    --------
    >>> from nn.data import make_blobs
    >>> model = logistic_regression(seed=0)
    >>> model.compile(loss="bce", optimizer="sgd", lr=1.0)
    >>> data = make_blobs(100, seed=0, centers=2)
    >>> history = model.fit(data, epochs=20, batch_size=len(data), verbose=0)
    >>> history["acc"][-1] > 0.95
    True
    """
    stack = [*_flatten("logistic_regression", input_shape), Dense(1), Sigmoid()]
    return _model("logistic_regression", stack, input_shape, seed)


def mlp(
    hidden_dims: Sequence[int] = (128,),
    dropout: float = 0.0,
    use_batchnorm: bool = False,
    input_shape: Shape = (1, 28, 28),
    num_classes: int = 10,
    seed: int | None = None,
    activation: str = "relu",
) -> Model:
    """Return a multilayer perceptron: dense layers with ReLU between them.

    Each hidden layer is Dense, optional batch normalisation, ReLU, and optional Dropout; a last
    Dense returns the logits. 101,770 parameters.

    A network with layer sizes [n0, n1, ..., nL] is
    `mlp((n1, ...), input_shape=(n0,), num_classes=nL)`; use a single logit with `'bce'`.

    Parameters
    ----------
    hidden_dims
        Units of each hidden layer; an empty sequence makes a linear classifier.
    dropout
        Fraction of the units to drop after each hidden layer, in [0, 1).
    use_batchnorm
        Whether to use batch normalisation before each activation.
    input_shape
        Shape of one input, without the batch axis; images are flattened.
    num_classes
        Number of logits.
    seed
        Seed of the model; None takes the next seed of `nn.seed`.
    activation
        Name of the activation after each hidden layer, as in `Activation`. With 'linear' the
        whole network is linear.

    Raises
    ------
    ValueError
        If a size is not a positive integer, `dropout` is not in [0, 1), or the activation is
        unknown.

    Examples
    --------
    >>> model = mlp((64, 32), dropout=0.5, use_batchnorm=True, input_shape=(20,))
    >>> [type(layer).__name__ for layer in model.layers[:4]]
    ['Dense', 'BatchNorm', 'ReLU', 'Dropout']
    >>> sizes = [2, 16, 8, 1]
    >>> model = mlp(sizes[1:-1], input_shape=sizes[:1], num_classes=sizes[-1], activation="tanh")
    >>> [layer.params["W"].shape for layer in model.layers if layer.params]
    [(2, 16), (16, 8), (8, 1)]
    """
    stack = _flatten("mlp", input_shape)
    dropout = checks.fraction("mlp", "dropout", dropout)
    if not isinstance(activation, str):  # several layers cannot share one object
        raise checks.error("mlp", "activation", "must be a name, such as 'relu'", activation)
    for units in hidden_dims:
        stack.append(Dense(units))
        if use_batchnorm:
            stack.append(BatchNorm())
        activation_layer = get_activation(activation, "mlp")
        if activation_layer is not None:  # None for 'linear'
            stack.append(activation_layer)
        if dropout:
            stack.append(Dropout(dropout))
    stack.append(Dense(num_classes))
    return _model("mlp", stack, input_shape, seed)


fully_connected_net = mlp


# ------------------------------------------------------------------------------- small images


def lenet5(
    input_shape: Shape = (1, 28, 28), num_classes: int = 10, seed: int | None = None
) -> Model:
    """Return LeNet-5: 61,706 parameters.

    LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document
    recognition", section II.B, in its usual modern form: average pooling has no weights, each
    filter of the second convolution sees all channels, and the output is a dense layer.

    Parameters
    ----------
    input_shape
        (C, H, W), at least 12 pixels. Images narrower than 32 pixels are padded by 2 pixels on
        each side, as 28 x 28 digits become 32 x 32 in the paper.
    num_classes, seed
        As in `mlp`.
    """
    checks.sample_shape("lenet5", "input_shape", input_shape)
    padding = 2 if input_shape[-1] < 32 else 0
    stack: list[Layer] = [Conv2D(6, 5, padding=padding), Tanh(), AvgPool2D()]
    stack += [Conv2D(16, 5, padding="valid"), Tanh(), AvgPool2D()]
    stack += [Flatten(), Dense(120), Tanh(), Dense(84), Tanh(), Dense(num_classes)]
    return _model("lenet5", stack, input_shape, seed)


def small_cnn(
    input_shape: Shape = (1, 28, 28), num_classes: int = 10, seed: int | None = None
) -> Model:
    """Return two small convolutions and two dense layers: 52,138 parameters, the fastest here.

    Parameters
    ----------
    input_shape
        (C, H, W), at least 4 pixels.
    num_classes, seed
        As in `mlp`.
    """
    stack = [*_conv_relu_pool(8), *_conv_relu_pool(16)]
    stack += [Flatten(), Dense(64), ReLU(), Dense(num_classes)]
    return _model("small_cnn", stack, input_shape, seed)


def mnist_cnn(
    input_shape: Shape = (1, 28, 28), num_classes: int = 10, seed: int | None = None
) -> Model:
    """Return the network of the Keras MNIST example: 34,826 parameters.

    Two convolutions without padding, Dropout and a dense layer.

    Parameters
    ----------
    input_shape
        (C, H, W), at least 10 pixels.
    num_classes, seed
        As in `mlp`.
    """
    stack = [*_conv_relu_pool(32, padding="valid"), *_conv_relu_pool(64, padding="valid")]
    stack += [Flatten(), Dropout(0.5), Dense(num_classes)]
    return _model("mnist_cnn", stack, input_shape, seed)


def three_layer_cnn(
    num_filters: int = 32,
    filter_size: int = 7,
    hidden_dim: int = 100,
    input_shape: Shape = (3, 32, 32),
    num_classes: int = 10,
    seed: int | None = None,
) -> Model:
    """Return one convolution and two dense layers: 825,046 parameters.

    The three-layer convolutional network of the assignments of Stanford's course CS231n.

    Parameters
    ----------
    num_filters, filter_size
        Number of filters of the convolution, and their height and width.
    hidden_dim
        Units of the hidden dense layer.
    input_shape
        (C, H, W), at least 2 pixels.
    num_classes, seed
        As in `mlp`.
    """
    stack = _conv_relu_pool(num_filters, filter_size)
    stack += [Flatten(), Dense(hidden_dim), ReLU(), Dense(num_classes)]
    return _model("three_layer_cnn", stack, input_shape, seed)


# ------------------------------------------------------------------------------ colour images


def cifar_cnn(
    input_shape: Shape = (3, 32, 32), num_classes: int = 10, seed: int | None = None
) -> Model:
    """Return three convolutions and two dense layers with Dropout: 549,418 parameters.

    Parameters
    ----------
    input_shape
        (C, H, W), at least 4 pixels.
    num_classes, seed
        As in `mlp`.
    """
    stack = [*_conv_relu_pool(16), *_conv_relu_pool(32)]
    stack += [Conv2D(64), ReLU(), BatchNorm2D(), Dropout(0.4)]
    stack += [Flatten(), Dense(128), ReLU(), Dropout(0.4), Dense(num_classes)]
    return _model("cifar_cnn", stack, input_shape, seed)


def vgg6(input_shape: Shape = (3, 32, 32), num_classes: int = 10, seed: int | None = None) -> Model:
    """Return a small VGG with six convolutions in three pairs: 551,466 parameters.

    Simonyan and Zisserman 2015, "Very deep convolutional networks for large-scale image
    recognition", arXiv 1409.1556: only 3 x 3 convolutions, and twice as many filters after each
    pooling. It is smaller than the networks of the paper, and uses batch normalisation.

    Parameters
    ----------
    input_shape
        (C, H, W), at least 8 pixels.
    num_classes, seed
        As in `mlp`.
    """
    stack: list[Layer] = []
    for filters in (32, 64, 128):
        stack += _conv_bn_relu(filters) + _conv_bn_relu(filters) + [MaxPool2D()]
    stack += [Flatten(), Dense(128), ReLU(), Dense(num_classes)]
    return _model("vgg6", stack, input_shape, seed)


def resnet20(
    input_shape: Shape = (3, 32, 32), num_classes: int = 10, seed: int | None = None
) -> Model:
    """Return the 20-layer residual network for CIFAR-10: 272,474 parameters.

    He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition", arXiv 1512.03385,
    section 4.2 with n = 3: a convolution, three stages of three residual blocks with 16, 32 and 64
    filters, global average pooling, and a dense layer.

    The first block of the second and third stage halves the image and doubles the channels. Its
    shortcut is a 1 x 1 convolution of stride 2 with batch normalisation (option B of the paper),
    as in most implementations. The CIFAR networks of the paper take every second pixel and pad the
    channels with zeros (option A), without parameters: 269,722 in all.

    Parameters
    ----------
    input_shape
        (C, H, W), any size.
    num_classes, seed
        As in `mlp`.
    """
    stack: list[Layer] = [_conv3(16), BatchNorm2D(), ReLU()]
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        stack += _residual_block(filters, stride)
        stack += _residual_block(filters) + _residual_block(filters)
    stack += [GlobalAvgPool2D(), Dense(num_classes)]
    return _model("resnet20", stack, input_shape, seed)


def large_cnn(
    input_shape: Shape = (3, 128, 128), num_classes: int = 38, seed: int | None = None
) -> Model:
    """Return four convolutions and two dense layers for photographs: 8,272,454 parameters.

    95% of them are in the first dense layer: images of half the size need about a quarter,
    2,374,214 for (3, 64, 64).

    Parameters
    ----------
    input_shape
        (C, H, W), at least 16 pixels.
    num_classes, seed
        As in `mlp`.
    """
    stack: list[Layer] = []
    for filters in (32, 64, 128, 256):
        stack += [*_conv_bn_relu(filters), MaxPool2D()]
    stack += [Flatten(), Dense(480), ReLU(), Dense(num_classes)]
    return _model("large_cnn", stack, input_shape, seed)


# ------------------------------------------------------------------------------- autoencoders


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
    return _model(owner, stack, input_shape, seed)


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
    encoder, decoder = _flatten("vae", shape), list[Layer]()
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
    return _model("vae", stack, shape, seed)


# ----------------------------------------------------------------------------- building blocks


def _conv_relu_pool(filters: int, size: int = 3, padding: str = "same") -> list[Layer]:
    return [Conv2D(filters, size, padding=padding), ReLU(), MaxPool2D()]


def _conv_bn_relu(filters: int) -> list[Layer]:
    return [Conv2D(filters), BatchNorm2D(), ReLU()]


def _conv3(filters: int, stride: int = 1) -> Layer:
    """Return a 3 x 3 convolution without bias, as the batch norm after it adds a shift."""
    return Conv2D(filters, 3, stride, padding=1, use_bias=False)


def _residual_block(filters: int, stride: int = 1) -> list[Layer]:
    """Return a residual block of two convolutions and the ReLU after it."""
    shortcut: list[Layer] | None = None  # the identity
    if stride != 1:
        shortcut = [Conv2D(filters, 1, stride, use_bias=False), BatchNorm2D()]
    main = [_conv3(filters, stride), BatchNorm2D(), ReLU(), _conv3(filters), BatchNorm2D()]
    return [Residual(main, shortcut), ReLU()]
