"""The networks of the benchmarks, named by what they stress, and written once for all frameworks.

Not run by itself. compare.py, cold_start.py, memory.py, scaling.py and kernels.py import it. No
framework is imported before a function here needs it.
"""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sequence_networks import nn_sequence_layers, torch_sequence_modules

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # nn from this checkout

KERAS_FORMATS = {"torch": "channels_first", "jax": "channels_last", "tensorflow": "channels_last"}
BN_MOMENTUM, BN_EPS = 0.9, 1e-5  # PyTorch's momentum is one minus this
DROPOUT = 0.4
_WORD = re.compile(r"([a-z]+)(\d*)((?:[ksdg]\d+)*)")


class Part(NamedTuple):
    """A layer: its kind, filters, units or size, and 'k', 's', 'd', 'g': see `Network`."""

    kind: str
    size: int
    options: dict[str, int]

    def get(self, option, default=1):
        return self.options.get(option, default)


@dataclass(frozen=True)
class Network:
    """Layers by name, with filters or units, and options of a letter and a number each.

    'conv8' has kernels of 3x3 and as many outputs as inputs; options are k (kernel size), s
    (stride), d (dilation) and g (groups): 'conv64k7s2'. 'dw3' is a depthwise convolution, 'tconv16'
    a transposed one of 2x2 and stride 2, 'res32s2' a residual block of two convolutions with batch
    normalization, 'gap' the mean of each channel, 'pool' takes windows of 2x2 and 'pool3s2' of 3x3.
    Of sequences (T, D) 'causal64k3d2' is a causal convolution, between 'turn' and 'turn' as PyTorch
    has the features first there, 'pos128' adds learned positions, 'block4' is a block of a causal
    transformer of 4 heads, 'mean' the mean over the steps, 'lstm128' and 'gru128' return all states
    and 'last' takes the last; 'embed64' begins with the ids (T,) of a text.
    """

    shape: tuple[int, ...]  # of a sample
    layers: str
    optimizer: str  # 'adam' (lr 1e-3) or 'sgd' (lr 0.01, momentum 0.9)
    steps: int = 20  # that are timed
    ids: int = 0  # of a text (T,), with an id to predict for each step; 0 for floats, ten classes

    def parts(self):
        """Return Part('conv', 8, {}), Part('relu', 0, {}) ..."""
        found = [_WORD.fullmatch(word).groups() for word in self.layers.split()]
        return [
            Part(kind, int(size or 0), {k: int(n) for k, n in re.findall(r"([a-z])(\d+)", options)})
            for kind, size, options in found
        ]


NETWORKS = {
    "mnist": Network(
        (1, 28, 28),
        "conv8 relu pool conv16 relu pool flatten dense64 relu dense10",
        "adam",
        150,
    ),
    "cifar": Network(
        (3, 32, 32),
        "conv16 relu pool conv32 relu pool conv64 relu bn dropout flatten "
        "dense128 relu dropout dense10",
        "sgd",
        60,
    ),
    "vgg6": Network(
        (3, 32, 32),
        "conv32 bn relu conv32 bn relu pool conv64 bn relu conv64 bn relu pool "
        "conv128 bn relu conv128 bn relu pool flatten dense128 relu dense10",
        "sgd",
    ),
    "large": Network(  # 8 million parameters
        (3, 128, 128),
        "conv32 bn relu pool conv64 bn relu pool conv128 bn relu pool conv256 bn relu pool "
        "flatten dense480 relu dense38",
        "adam",
        5,
    ),
    "mlp": Network((784,), "dense256 relu dense256 relu dense10", "adam", 150),
    "layernorm_gelu": Network(
        (784,), "dense512 ln gelu dense512 ln gelu dense512 ln gelu dense10", "adam", 60
    ),
    "grouped": Network(
        (3, 32, 32),
        "conv32 relu conv64g4 relu pool conv64g4 relu conv128g8 relu pool gap dense10",
        "sgd",
    ),
    "depthwise": Network(
        (3, 32, 32),
        "conv32 bn relu dw3 bn relu conv64k1 bn relu pool dw3 bn relu conv128k1 bn relu pool "
        "dw3 bn relu conv128k1 bn relu gap dense10",
        "sgd",
    ),
    "dilated": Network(
        (3, 32, 32),
        "conv32 relu conv32d2 relu conv32d4 relu pool conv64d2 relu gap dense10",
        "sgd",
    ),
    "bottleneck": Network(
        (3, 32, 32),
        "conv64 relu pool conv32k1 relu conv32 relu conv128k1 relu conv32k1 relu conv32 relu "
        "conv128k1 relu pool gap dense10",
        "sgd",
    ),
    "five": Network(  # 5 x 5, pools that overlap
        (3, 32, 32),
        "conv32k5 relu pool3s2 conv32k5 relu pool3s2 conv64k5 relu pool3s2 flatten dense10",
        "sgd",
    ),
    "stem": Network(  # that of a ResNet
        (3, 64, 64),
        "conv32k7s2 bn relu pool3s2 conv64 bn relu conv64s2 bn relu gap dense10",
        "sgd",
    ),
    "transposed": Network(
        (3, 32, 32),
        "conv16 relu pool conv32 relu pool tconv32 relu conv16 relu tconv16 relu gap dense10",
        "adam",
    ),
    "wide": Network(  # 64 to 256 channels
        (3, 32, 32),
        "conv64k2 relu conv64 pool bn relu conv64 bn relu conv256 pool bn relu conv256 bn relu "
        "conv256 pool bn relu conv256 bn relu pool flatten dense10",
        "sgd",
        5,
    ),
    "wide_gelu": Network(
        (3, 32, 32),
        "conv64k2 gelu conv64 pool bn gelu conv64 bn gelu conv256 pool bn gelu conv256 bn gelu "
        "conv256 pool bn gelu conv256 bn gelu pool flatten dense10",
        "sgd",
        5,
    ),
    "groupnorm_silu": Network(
        (3, 32, 32),
        "conv32 gn8 silu conv32 gn8 silu pool conv64 gn8 silu pool conv64 gn8 silu gap dense10",
        "adam",
    ),
    "conv1d": Network(
        (128, 64),
        "turn causal64k3 relu causal64k3d2 relu causal64k3d4 relu causal64k3d8 relu turn mean "
        "dense10",
        "adam",
    ),
    "transformer": Network(
        (128, 128), "pos128 block4 block4 block4 block4 ln mean dense10", "adam", 10
    ),
    "lstm": Network((64, 64), "lstm128 last dense10", "adam"),
    "gru": Network((64, 64), "gru128 last dense10", "adam"),
    "charlm": Network((100,), "embed64 lstm256 dense81", "adam", 10, ids=81),
    "resnet20": Network(
        (3, 32, 32),
        "conv16 bn relu res16 res16 res16 res32s2 res32 res32 res64s2 res64 res64 gap dense10",
        "sgd",
        10,
    ),
}


def as_network(network):
    """Return a Network for one, its name, or what JSON made of one."""
    if isinstance(network, str):
        return NETWORKS[network]
    if isinstance(network, dict):
        return Network(**{**network, "shape": tuple(network["shape"])})
    return network


# --------------------------------------------------------------------------- the frameworks


def make_nn(network, metrics=(), seed=0, dtype="float32"):
    import nn

    network = as_network(network)

    def norm():
        return nn.BatchNorm2D(momentum=BN_MOMENTUM, eps=BN_EPS)

    def conv(part):
        arguments = {"stride": part.get("s"), "dilation": part.get("d"), "groups": part.get("g")}
        given = {k: v for k, v in arguments.items() if v != 1}
        return nn.Conv2D(part.size, part.get("k", 3), **given)

    def block(part):
        first = nn.Conv2D(part.size, 3, part.get("s"), use_bias=False)
        second = nn.Conv2D(part.size, 3, use_bias=False)
        return nn.Sequential([nn.Residual([first, norm(), nn.ReLU(), second, norm()]), nn.ReLU()])

    make = {
        "conv": conv,
        **nn_sequence_layers(network),
        "dw": lambda part: nn.DepthwiseConv2D(part.size, part.get("s")),
        "tconv": lambda part: nn.Conv2DTranspose(part.size, part.get("k", 2), part.get("s", 2)),
        "res": block,
        "dense": lambda part: nn.Dense(part.size),
        "relu": lambda _: nn.ReLU(),
        "gelu": lambda _: nn.GELU(),
        "silu": lambda _: nn.SiLU(),
        "pool": lambda part: nn.MaxPool2D(part.size or 2, part.get("s", part.size or 2)),
        "gap": lambda _: nn.GlobalAvgPool2D(),
        "bn": lambda _: norm(),
        "ln": lambda _: nn.LayerNorm(),
        "gn": lambda part: nn.GroupNorm(part.size),
        "dropout": lambda _: nn.Dropout(DROPOUT),
        "flatten": lambda _: nn.Flatten(),
    }
    layers = [make[p.kind](p) for p in network.parts() if p.kind not in ("turn", "last")]
    model = nn.Model(layers, dtype=dtype, seed=seed)
    model.build((None, *network.shape))
    settings = {"adam": {"lr": 1e-3}, "sgd": {"lr": 0.01, "momentum": 0.9}}[network.optimizer]
    model.compile("cce", network.optimizer, metrics=metrics, **settings)
    return model


def make_torch(network):
    import torch
    from torch import nn

    def norm(channels):
        return nn.BatchNorm2d(channels, eps=BN_EPS, momentum=1 - BN_MOMENTUM)

    def conv(part, shape):
        k, s, d = part.get("k", 3), part.get("s"), part.get("d")
        around = d * (k - 1) // 2 if k % 2 else "same"
        return nn.Conv2d(shape[1], part.size, k, s, around, d, part.get("g"))

    class Mean(nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    class Block(nn.Module):
        def __init__(self, channels, size, stride):
            super().__init__()
            self.main = nn.Sequential(
                nn.Conv2d(channels, size, 3, stride, 1, bias=False), norm(size), nn.ReLU(),
                nn.Conv2d(size, size, 3, 1, 1, bias=False), norm(size),
            )  # fmt: skip
            same = channels == size and stride == 1
            project = nn.Conv2d(channels, size, 1, stride, bias=False)
            self.shortcut = nn.Identity() if same else project

        def forward(self, x):
            return torch.relu(self.main(x) + self.shortcut(x))

    make = {
        "conv": conv,
        "dw": lambda part, shape: nn.Conv2d(
            shape[1], shape[1], part.size, part.get("s"), part.size // 2, groups=shape[1]
        ),
        "tconv": lambda part, shape: nn.ConvTranspose2d(
            shape[1], part.size, part.get("k", 2), part.get("s", 2)
        ),
        "res": lambda part, shape: Block(shape[1], part.size, part.get("s")),
        "dense": lambda part, shape: nn.Linear(shape[-1], part.size),
        "relu": lambda *_: nn.ReLU(),
        "gelu": lambda *_: nn.GELU(),
        "silu": lambda *_: nn.SiLU(),
        "pool": lambda part, _: nn.MaxPool2d(part.size or 2, part.get("s", part.size or 2)),
        "gap": lambda *_: Mean(),
        "bn": lambda _, shape: norm(shape[1]),
        "ln": lambda _, shape: nn.LayerNorm(shape[-1]),
        "gn": lambda part, shape: nn.GroupNorm(part.size, shape[1]),
        "dropout": lambda *_: nn.Dropout(DROPOUT),
        "flatten": lambda *_: nn.Flatten(),
        **torch_sequence_modules(as_network(network)),
    }
    network = as_network(network)
    torch.manual_seed(0)
    layers, x = [], torch.zeros(1, *network.shape, dtype=torch.int64 if network.ids else None)
    for part in network.parts():
        layers.append(make[part.kind](part, x.shape).eval())
        with torch.no_grad():
            x = layers[-1](x)  # for its shape
    return nn.Sequential(*layers).train()


def make_torch_optimizer(network, parameters):
    import torch

    if as_network(network).optimizer == "adam":
        return torch.optim.Adam(parameters, lr=1e-3)
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


class NotComparedError(Exception):
    """A framework is not compared on a network: its layers are not written down here."""


def make_keras(network):
    """Return the compiled model; the backend and the data format are chosen before."""
    import keras

    network = as_network(network)
    first = keras.config.image_data_format() == "channels_first"
    if len(network.shape) == 2:
        raise NotComparedError("Keras is compared on networks of plain layers")
    channels, *size = network.shape
    layers = [keras.Input((channels, *size) if first else (*size, channels))]
    make = {
        "conv": lambda size: keras.layers.Conv2D(size, 3, padding="same"),
        "dense": lambda size: keras.layers.Dense(size),
        "relu": lambda _: keras.layers.ReLU(),
        "pool": lambda _: keras.layers.MaxPooling2D(),
        "bn": lambda _: keras.layers.BatchNormalization(
            axis=1 if first else -1, momentum=BN_MOMENTUM, epsilon=BN_EPS
        ),
        "dropout": lambda _: keras.layers.Dropout(DROPOUT),
        "flatten": lambda _: keras.layers.Flatten(),
    }
    for kind, size, options in network.parts():
        if kind not in make or options:
            raise NotComparedError("Keras is compared on networks of plain layers")
        if kind == "relu" and hasattr(layers[-1], "activation"):
            layers[-1].activation = keras.activations.relu  # within the layer, as its users do
        else:
            layers.append(make[kind](size))
    model = keras.Sequential(layers)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3)
        if network.optimizer == "adam"
        else keras.optimizers.SGD(0.01, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


@dataclass
class Prepared:
    """A network with one batch at hand: each call of `train` or `infer` takes that batch."""

    model: Any
    train: Callable[[], Any]
    infer: Callable[[], Any]
    parameters: int


def random_data(network, count):
    """Return images (count, C, H, W), float32 in [0, 1), and labels (count,) of ten classes."""
    rng, network = np.random.default_rng(0), as_network(network)
    if network.ids:  # the targets are the ids that follow
        text = rng.integers(0, network.ids, (count, network.shape[0] + 1))
        return text[:, :-1], np.ascontiguousarray(text[:, 1:])
    return rng.random((count, *network.shape), dtype=np.float32), rng.integers(0, 10, count)


def prepare(variant, network, batch, device="cpu"):
    """Return the network of a variant, ready to be trained on a batch of random data.

    With the device 'gpu', for nn and PyTorch alone, network and batch lie there, and each call
    returns when the GPU has done its work.
    """
    x, y = random_data(network, batch)
    if variant.startswith("nn"):
        return _prepare_nn(network, x, y, device)
    if variant.startswith("torch"):
        return _prepare_torch(network, x, y, variant == "torch-channels-last", device)
    return _prepare_keras(network, x, y, variant.removeprefix("keras-"))


def _prepare_nn(network, x, y, device):
    from nn import cuda

    model = make_nn(network)
    if model.device != device:
        raise RuntimeError(f"nn runs on the {model.device.upper()}: see python -m nn info.")
    x, y = cuda.to_device(x, device), cuda.to_device(y, device)
    return Prepared(
        model,
        train=lambda: model.train_step(x, y),  # returns the loss, a number
        infer=lambda: model.predict(x, batch_size=len(x)),  # waits to see that it is finite
        parameters=model.count_params(),
    )


def _prepare_torch(network, x, y, channels_last, device):
    import torch

    place = "cuda" if device == "gpu" else "cpu"
    model = make_torch(network).to(place)
    x, y = torch.from_numpy(x).to(place), torch.from_numpy(y).to(place)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last) if x.ndim == 4 else x
    optimizer = make_torch_optimizer(network, model.parameters())
    criterion = torch.nn.CrossEntropyLoss()
    y = y.flatten()  # (N,), or (N, T) -> (N * T,)

    def train():
        model.train()
        optimizer.zero_grad()
        loss = criterion(model(x).flatten(0, -2), y)  # of steps: (N, T, V) -> (N * T, V)
        loss.backward()
        optimizer.step()
        return loss.item()

    def infer():
        model.eval()
        with torch.inference_mode():
            y = model(x)
        if device == "gpu":
            torch.cuda.synchronize()
        return y

    trained = (p.numel() for p in model.parameters() if p.requires_grad)
    return Prepared(model, train, infer, sum(trained))


def _prepare_keras(network, x, y, backend):
    """`backend` may name its data format: 'torch:channels_last'."""
    backend, _, data_format = backend.partition(":")
    os.environ["KERAS_BACKEND"] = backend
    import keras

    keras.config.set_image_data_format(data_format or KERAS_FORMATS[backend])
    keras.utils.set_random_seed(0)
    model = make_keras(network)
    x = for_keras(x)
    return Prepared(
        model,
        train=lambda: model.train_on_batch(x, y),
        infer=lambda: model.predict_on_batch(x),
        parameters=sum(int(np.prod(w.shape)) for w in model.trainable_weights),
    )


def for_keras(x):
    """Return images (N, C, H, W) in the data format that Keras is set to."""
    import keras

    if keras.config.image_data_format() == "channels_first":
        return x
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))  # (N, C, H, W) -> (N, H, W, C)
