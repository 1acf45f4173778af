"""The zoo: ready architectures, from a single neuron to a residual network.

Each function writes down the layers of one network, builds it for inputs of a shape and returns
the `Model`, not compiled: loss, optimizer and training are yours. The classifiers end in logits,
one for each class, as the cross-entropy `'cce'` takes them; `logistic_regression` and
`conv_autoencoder` end in a sigmoid and go with `'bce'` or `'mse'`. The parameter counts in the
docstrings are those of the default arguments; `model.summary()` shows where they are.

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
    Sequential,
    Sigmoid,
    Tanh,
    UpSample2D,
)
from .layers.base import get_activation
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


def logistic_regression(input_shape: Shape = (2,), seed: int | None = None) -> Model:
    """Return one neuron: the probability `sigmoid(x @ W + b)` of one class against another.

    Under `'bce'` it is logistic regression. It puts a straight line between the classes, and is
    the last layer of every deeper network that answers yes or no. 3 parameters.

    Cox 1958, "The regression analysis of binary sequences"; as a neuron that learns, with a step
    in place of the sigmoid, Rosenblatt 1958, "The perceptron".

    Parameters
    ----------
    input_shape
        Shape of one input, without the batch axis; images are flattened.
    seed
        As for `mlp`.

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
    _check_shape("logistic_regression", input_shape)
    stack: list[Layer] = [Flatten()] if len(input_shape) > 1 else []
    stack += [Dense(1), Sigmoid()]
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

    Each hidden layer is Dense, batch normalisation where it is wanted, ReLU, and Dropout where it
    is wanted; a last Dense gives the logits. 101,770 parameters.

    Layers of the sizes [n0, n1, ..., nL], as courses write them, are
    `mlp((n1, ...), input_shape=(n0,), num_classes=nL)`; a single logit goes with `'bce'`.

    Parameters
    ----------
    hidden_dims
        Units of each hidden layer; none at all makes it a linear classifier.
    dropout
        Share of the units that is dropped after each hidden layer, in [0, 1).
    use_batchnorm
        Whether each hidden layer is normalised before its activation.
    input_shape
        Shape of one input, without the batch axis; images are flattened.
    num_classes
        Number of logits.
    seed
        Seed of the model; None takes the next seed of `nn.seed`.
    activation
        Name of the activation after each hidden layer, as `Activation` takes it: 'tanh' or
        'sigmoid' for the classics. With 'linear' all layers together are a linear one.

    Returns
    -------
    Model
        Built, not compiled.

    Raises
    ------
    ValueError
        For sizes that are not positive integers, a dropout that is no share, or an unknown
        activation.

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
    _check_shape("mlp", input_shape)
    dropout = checks.fraction("mlp", "dropout", dropout)
    if not isinstance(activation, str):  # one object cannot stand after several layers
        raise checks.error("mlp", "activation", "must be a name, as 'relu'", activation)
    stack: list[Layer] = [Flatten()] if len(input_shape) > 1 else []
    for units in hidden_dims:
        stack.append(Dense(units))
        if use_batchnorm:
            stack.append(BatchNorm())
        bend = get_activation(activation, "mlp")
        if bend is not None:  # 'linear' is none
            stack.append(bend)
        if dropout:
            stack.append(Dropout(dropout))
    stack.append(Dense(num_classes))
    return _model("mlp", stack, input_shape, seed)


fully_connected_net = mlp


# ------------------------------------------------------------------------------- for small images


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
        (C, H, W), 12 pixels or more. Images of less than 32 pixels get the frame of 2 pixels
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


# ---------------------------------------------------------------------------- for colour images


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

    Where a stage begins, its first block halves the image and doubles the channels, and the
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

    95% of them are in the first dense layer, so that images of half the size need a quarter:
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


# ------------------------------------------------------------------------ from images to images


def conv_autoencoder(
    input_shape: Shape = (1, 28, 28), filters: Sequence[int] = (16, 4), seed: int | None = None
) -> Model:
    """Return a convolutional autoencoder, which draws its input from a code: 1,625 parameters.

    The encoder has a stage for each number of filters, Conv2D, ReLU and MaxPool2D; what comes out
    is the code, (4, 7, 7) for digits, a quarter of their numbers. The last stage has no ReLU: the
    channels of the code are few, and one that is always 0 would be missed. The decoder does the
    same in reverse, UpSample2D in the place of the pooling, and ends in a sigmoid. Its loss is
    `'mse'` or `'bce'`, with the images themselves as targets, floats in [0, 1]:

        model.fit(x, x)

    Both are a layer: `model.layers[0]` is the encoder, `nn.Model([model.layers[0]]).predict(x)`
    the code.

    Masci, Meier, Cireşan and Schmidhuber 2011, "Stacked convolutional auto-encoders for
    hierarchical feature extraction". Pixels repeated and then convolved, in place of a transposed
    convolution, leave no checkerboard: Odena, Dumoulin and Olah 2016, "Deconvolution and
    checkerboard artifacts", https://distill.pub/2016/deconv-checkerboard/

    Parameters
    ----------
    input_shape
        (C, H, W); H and W must be divisible by 2 once for each stage.
    filters
        Filters of each stage on the way down. The last are the channels of the code.
    seed
        As for `mlp`.

    Returns
    -------
    Model
        Built, not compiled. Output and input have the same shape.

    Raises
    ------
    ValueError
        For no stages, or a shape that cannot be halved so many times.

    Examples
    --------
    >>> model = conv_autoencoder(seed=0)
    >>> model.layers[0].output_shape, model.output_shape
    ((None, 4, 7, 7), (None, 1, 28, 28))
    """
    owner = "conv_autoencoder"
    _check_shape(owner, input_shape)
    filters = [checks.positive_int(owner, "filters", number) for number in filters]
    if not filters:
        raise checks.error(owner, "filters", "must name at least one stage", filters)
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
