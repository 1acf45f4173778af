"""Ready-made architectures, from a single neuron to a residual network and a transformer.

Each function builds one network for an input shape and returns the `Model`, built but not compiled.
The classifiers return logits, one for each class, for the cross-entropy `'cce'`, `unet_small` those
of each pixel;
`logistic_regression`, `conv_autoencoder` and `vae` end in a sigmoid and are trained with `'bce'`
or `'mse'`. The parameter counts in the docstrings are for the default arguments.

>>> model = lenet5(seed=0)
>>> model.compile(loss="cce", optimizer="adam")
>>> model.output_shape
(None, 10)
"""

from .autoencoders import conv_autoencoder, vae
from .fast import airbench94, resnet9
from .images import (
    cifar_cnn,
    fully_connected_net,
    large_cnn,
    lenet5,
    logistic_regression,
    mlp,
    mnist_cnn,
    resnet20,
    small_cnn,
    three_layer_cnn,
    vgg6,
)
from .segmentation import unet_small
from .sequences import small_transformer, temporal_cnn
from .texts import char_lstm, text_classifier

__all__ = [
    "airbench94",
    "char_lstm",
    "cifar_cnn",
    "conv_autoencoder",
    "fully_connected_net",
    "large_cnn",
    "lenet5",
    "logistic_regression",
    "mlp",
    "mnist_cnn",
    "resnet9",
    "resnet20",
    "small_cnn",
    "small_transformer",
    "temporal_cnn",
    "text_classifier",
    "three_layer_cnn",
    "unet_small",
    "vae",
    "vgg6",
]
