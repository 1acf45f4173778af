"""Networks of tables and images, from a single neuron to a residual network."""

from collections.abc import Sequence

from .. import checks
from ..layers import (
    AvgPool2D,
    BatchNorm,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    MaxPool2D,
    ReLU,
    Residual,
    Sigmoid,
    Tanh,
)
from ..layers.config import get_activation
from ..model import Model
from .build import Shape, built_model, flatten_rows

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
    stack = [*flatten_rows("logistic_regression", input_shape), Dense(1), Sigmoid()]
    return built_model("logistic_regression", stack, input_shape, seed)


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
    stack = flatten_rows("mlp", input_shape)
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
    return built_model("mlp", stack, input_shape, seed)


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
    return built_model("lenet5", stack, input_shape, seed)


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
    return built_model("small_cnn", stack, input_shape, seed)


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
    return built_model("mnist_cnn", stack, input_shape, seed)


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
    return built_model("three_layer_cnn", stack, input_shape, seed)


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
    return built_model("cifar_cnn", stack, input_shape, seed)


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
    return built_model("vgg6", stack, input_shape, seed)


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
    return built_model("resnet20", stack, input_shape, seed)


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
    return built_model("large_cnn", stack, input_shape, seed)


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
