"""The zoo: ready architectures, from a multilayer perceptron to a residual network.

Each function writes down the layers of one network, builds it for pictures of a shape and returns
the `Model`, not compiled: loss, optimizer and training are yours. All end in logits, one for each
class, as the cross-entropy `'cce'` takes them. The parameter counts in the docstrings are those of
the default arguments; `model.summary()` shows where they are.

>>> model = lenet5(seed=0)
>>> model.compile(loss="cce", optimizer="adam")
>>> model.output_shape
(None, 10)
"""

from collections.abc import Sequence
from typing import Any

from . import checks
from .layers import (
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
    Tanh,
)
from .model import Model

Shape = Sequence[int]  # of one input, without the batch axis: (C, H, W)


def _model(name: str, stack: list[Layer], input_shape: Shape, seed: int | None) -> Model:
    """Return a model of the layers, built for inputs of a shape."""
    _check_shape(name, input_shape)
    model = Model(stack, seed=seed, name=name)
    model.build((None, *input_shape))
    return model


def _check_shape(owner: str, shape: Any) -> None:
    """Raise for anything but the sizes of one input."""
    is_shape = isinstance(shape, Sequence) and len(shape) > 0
    if not is_shape or not all(checks.is_integer(size) and size >= 1 for size in shape):
        rule = "must be positive sizes without a batch axis, as in (3, 32, 32)"
        raise checks.error(owner, "input_shape", rule, shape)


# --------------------------------------------------------------------------- without convolutions


def mlp(
    hidden_dims: Sequence[int] = (128,),
    dropout: float = 0.0,
    use_batchnorm: bool = False,
    input_shape: Shape = (1, 28, 28),
    num_classes: int = 10,
    seed: int | None = None,
) -> Model:
    """Return a multilayer perceptron: dense layers with ReLU between them.

    Each hidden layer is Dense, batch normalisation where it is wanted, ReLU, and Dropout where it
    is wanted; a last Dense gives the logits. 101,770 parameters.

    Parameters
    ----------
    hidden_dims
        Units of each hidden layer; none at all makes it a linear classifier.
    dropout
        Share of the units that is dropped after each hidden layer, in [0, 1).
    use_batchnorm
        Whether each hidden layer is normalised before its ReLU.
    input_shape
        Shape of one input, without the batch axis; pictures are flattened.
    num_classes
        Number of logits.
    seed
        Seed of the model; None takes the next seed of `nn.seed`.

    Returns
    -------
    Model
        Built, not compiled.

    Raises
    ------
    ValueError
        For sizes that are not positive integers, or a dropout that is no share.

    Examples
    --------
    >>> model = mlp((64, 32), dropout=0.5, use_batchnorm=True, input_shape=(20,))
    >>> [type(layer).__name__ for layer in model.layers[:4]]
    ['Dense', 'BatchNorm', 'ReLU', 'Dropout']
    """
    _check_shape("mlp", input_shape)
    dropout = checks.fraction("mlp", "dropout", dropout)
    stack: list[Layer] = [Flatten()] if len(input_shape) > 1 else []
    for units in hidden_dims:
        stack.append(Dense(units))
        if use_batchnorm:
            stack.append(BatchNorm())
        stack.append(ReLU())
        if dropout:
            stack.append(Dropout(dropout))
    stack.append(Dense(num_classes))
    return _model("mlp", stack, input_shape, seed)


fully_connected_net = mlp


# ------------------------------------------------------------------------------- for small pictures


def lenet5(
    input_shape: Shape = (1, 28, 28), num_classes: int = 10, seed: int | None = None
) -> Model:
    """Return LeNet-5, the network that read cheques: 61,706 parameters.

    LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document
    recognition", section II.B, in today's form: the average pooling has no weights, every filter
    of the second convolution sees all channels, and the output is a dense layer.

    Parameters
    ----------
    input_shape
        (C, H, W), 12 pixels or more. Pictures of less than 32 pixels get the frame of 2 pixels
        that makes digits of 28 x 28 the paper's 32 x 32.
    num_classes, seed
        As for `mlp`.

    Returns
    -------
    Model
        Built, not compiled.
    """
    _check_shape("lenet5", input_shape)
    frame = 2 if input_shape[-1] < 32 else 0
    stack = [
        Conv2D(6, 5, padding=frame),
        Tanh(),
        AvgPool2D(),
        Conv2D(16, 5, padding="valid"),
        Tanh(),
        AvgPool2D(),
        Flatten(),
        Dense(120),
        Tanh(),
        Dense(84),
        Tanh(),
        Dense(num_classes),
    ]
    return _model("lenet5", stack, input_shape, seed)


def small_cnn(
    input_shape: Shape = (1, 28, 28), num_classes: int = 10, seed: int | None = None
) -> Model:
    """Return two small convolutions and two dense layers: 52,138 parameters, the quickest here.

    Parameters
    ----------
    input_shape
        (C, H, W), 4 pixels or more.
    num_classes, seed
        As for `mlp`.

    Returns
    -------
    Model
        Built, not compiled.
    """
    stack = [
        Conv2D(8),
        ReLU(),
        MaxPool2D(),
        Conv2D(16),
        ReLU(),
        MaxPool2D(),
        Flatten(),
        Dense(64),
        ReLU(),
        Dense(num_classes),
    ]
    return _model("small_cnn", stack, input_shape, seed)


def mnist_cnn(
    input_shape: Shape = (1, 28, 28), num_classes: int = 10, seed: int | None = None
) -> Model:
    """Return the network of Keras' own MNIST example: 34,826 parameters.

    Two convolutions without padding and a single dense layer, behind Dropout.

    Parameters
    ----------
    input_shape
        (C, H, W), 10 pixels or more.
    num_classes, seed
        As for `mlp`.

    Returns
    -------
    Model
        Built, not compiled.
    """
    stack = [
        Conv2D(32, padding="valid"),
        ReLU(),
        MaxPool2D(),
        Conv2D(64, padding="valid"),
        ReLU(),
        MaxPool2D(),
        Flatten(),
        Dropout(0.5),
        Dense(num_classes),
    ]
    return _model("mnist_cnn", stack, input_shape, seed)


def three_layer_cnn(
    num_filters: int = 32,
    filter_size: int = 7,
    hidden_dim: int = 100,
    input_shape: Shape = (3, 32, 32),
    num_classes: int = 10,
    seed: int | None = None,
) -> Model:
    """Return three layers with weights, one convolution and two dense: 825,046 parameters.

    The convolutional network to begin with, as in the assignments of Stanford's course CS231n.

    Parameters
    ----------
    num_filters, filter_size
        Filters of the convolution, and their height and width in pixels.
    hidden_dim
        Units of the hidden dense layer.
    input_shape
        (C, H, W), 2 pixels or more.
    num_classes, seed
        As for `mlp`.

    Returns
    -------
    Model
        Built, not compiled.
    """
    stack = [
        Conv2D(num_filters, filter_size),
        ReLU(),
        MaxPool2D(),
        Flatten(),
        Dense(hidden_dim),
        ReLU(),
        Dense(num_classes),
    ]
    return _model("three_layer_cnn", stack, input_shape, seed)


# ---------------------------------------------------------------------------- for colour pictures


def cifar_cnn(
    input_shape: Shape = (3, 32, 32), num_classes: int = 10, seed: int | None = None
) -> Model:
    """Return three convolutions and two dense layers with Dropout between: 549,418 parameters.

    Parameters
    ----------
    input_shape
        (C, H, W), 4 pixels or more.
    num_classes, seed
        As for `mlp`.

    Returns
    -------
    Model
        Built, not compiled.
    """
    stack = [
        Conv2D(16),
        ReLU(),
        MaxPool2D(),
        Conv2D(32),
        ReLU(),
        MaxPool2D(),
        Conv2D(64),
        ReLU(),
        BatchNorm2D(),
        Dropout(0.4),
        Flatten(),
        Dense(128),
        ReLU(),
        Dropout(0.4),
        Dense(num_classes),
    ]
    return _model("cifar_cnn", stack, input_shape, seed)


def vgg6(input_shape: Shape = (3, 32, 32), num_classes: int = 10, seed: int | None = None) -> Model:
    """Return six convolutions in three pairs, in the manner of VGG: 551,466 parameters.

    Simonyan and Zisserman 2015, "Very deep convolutional networks for large-scale image
    recognition", arXiv 1409.1556: 3 x 3 convolutions alone, twice as many filters after each
    pooling. It is smaller than any in the paper, and normalises its batches, which came later.

    Parameters
    ----------
    input_shape
        (C, H, W), 8 pixels or more.
    num_classes, seed
        As for `mlp`.

    Returns
    -------
    Model
        Built, not compiled.
    """
    stack: list[Layer] = []
    for filters in (32, 64, 128):
        stack += _conv_bn_relu(filters) + _conv_bn_relu(filters) + [MaxPool2D()]
    stack += [Flatten(), Dense(128), ReLU(), Dense(num_classes)]
    return _model("vgg6", stack, input_shape, seed)


def resnet20(
    input_shape: Shape = (3, 32, 32), num_classes: int = 10, seed: int | None = None
) -> Model:
    """Return the residual network of 20 layers for CIFAR-10: 272,474 parameters.

    He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition", arXiv 1512.03385,
    section 4.2 with n = 3: a convolution, three stages of three residual blocks with 16, 32 and 64
    filters, the mean of each channel, and a dense layer.

    Where a stage begins, its first block halves the picture and doubles the channels, and the
    shortcut has to do the same. Here it is a 1 x 1 convolution of stride 2 with batch
    normalisation, the paper's option B, as most implementations have it. The paper's own CIFAR
    networks take every second pixel and pad the channels with zeros (option A), which has no
    parameters and makes them 269,722.

    Parameters
    ----------
    input_shape
        (C, H, W), of any size.
    num_classes, seed
        As for `mlp`.

    Returns
    -------
    Model
        Built, not compiled.
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

    95% of them are in the first dense layer, so that pictures of half the size need a quarter:
    2,374,214 for (3, 64, 64).

    Parameters
    ----------
    input_shape
        (C, H, W), 16 pixels or more.
    num_classes, seed
        As for `mlp`.

    Returns
    -------
    Model
        Built, not compiled.
    """
    stack: list[Layer] = []
    for filters in (32, 64, 128, 256):
        stack += [*_conv_bn_relu(filters), MaxPool2D()]
    stack += [Flatten(), Dense(480), ReLU(), Dense(num_classes)]
    return _model("large_cnn", stack, input_shape, seed)


# --------------------------------------------------------------------------------- their parts


def _conv_bn_relu(filters: int) -> list[Layer]:
    return [Conv2D(filters), BatchNorm2D(), ReLU()]


def _conv3(filters: int, stride: int = 1) -> Layer:
    """Return a 3 x 3 convolution; the batch norm after it has a shift, so it needs no bias."""
    return Conv2D(filters, 3, stride, padding=1, use_bias=False)


def _residual_block(filters: int, stride: int = 1) -> list[Layer]:
    """Return a block that adds two convolutions to what it is given, and the ReLU after it."""
    shortcut: list[Layer] | None = None  # the identity
    if stride != 1:
        shortcut = [Conv2D(filters, 1, stride, use_bias=False), BatchNorm2D()]
    two = [_conv3(filters, stride), BatchNorm2D(), ReLU(), _conv3(filters), BatchNorm2D()]
    return [Residual(two, shortcut), ReLU()]
