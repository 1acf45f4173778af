"""A step of training on both sides: a network that came in learns as it does where it was made.

A file of PyTorch, ONNX or Keras is loaded, and a step of SGD is done on the same batch by nn and by
the other library. Then the weights go back, and must be those which the other one has by now.
"""

import importlib.util
import os
import warnings

import numpy as np
import pytest

import nn
from nn.exchange import from_torch, to_torch

RATE, TOLERANCE = 0.1, 1e-6  # in float32


def needs(*packages):
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {' and '.join(packages)}")


def batch(kind, rows=8):
    rng = np.random.default_rng(rows)
    y = np.arange(rows) % 3
    if kind == "ids":
        return rng.integers(0, 9, (rows, 5)), y
    shape = {"images": (2, 6, 6), "steps": (5, 6)}[kind]
    return rng.normal(size=(rows, *shape)).astype("float32"), y


def difference(a, b):
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))


def step_of(model, x, y):
    """Do a step of SGD in nn."""
    model.compile("cce", nn.optim.SGD(lr=RATE))
    model.train_step(x, y)


# ------------------------------------------------------------------------------------- PyTorch


def torch_network(kind):
    """Return a network of PyTorch, whose weights are none of the start."""
    import torch
    from torch import nn as tnn

    class Last(tnn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, x):
            return self.module(x)[0][:, -1]

    class Block(tnn.Module):
        """Attention and a sum, the mean over the steps."""

        def __init__(self):
            super().__init__()
            self.attention = tnn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x):
            return (x + self.attention(x, x, x, need_weights=False)[0]).mean(1)

    torch.manual_seed(0)
    made = {
        "images": lambda: tnn.Sequential(
            tnn.Conv2d(2, 4, 3, padding=1), tnn.ReLU(), tnn.MaxPool2d(2),
            tnn.Conv2d(4, 4, 2, stride=2), tnn.Tanh(), tnn.Flatten(), tnn.Linear(4, 3)),
        "ids": lambda: tnn.Sequential(
            tnn.Embedding(9, 4), Last(tnn.LSTM(4, 5, batch_first=True)), tnn.Linear(5, 3)),
        "steps": lambda: tnn.Sequential(
            tnn.Linear(6, 6), tnn.LayerNorm(6), Block(), tnn.GELU(), tnn.Linear(6, 3)),
    }[kind]()  # fmt: skip
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter += 0.2 * torch.randn_like(parameter)
            # PyTorch has two biases, of which nn has the sum: it would move twice as far
            parameter.requires_grad = "bias_hh" not in name
    return made


def step_of_torch(network, x, y):
    import torch

    network.train()
    optimizer = torch.optim.SGD(network.parameters(), RATE)
    loss = torch.nn.functional.cross_entropy(network(torch.from_numpy(x)), torch.from_numpy(y))
    loss.backward()
    optimizer.step()
    network.eval()


def outputs(network, x):
    import torch

    with torch.no_grad():
        return network(torch.from_numpy(x)).numpy()


@needs("torch", "onnx", "onnxscript")
@pytest.mark.parametrize("exporter", ("dynamo", "torchscript"))
@pytest.mark.parametrize("kind", ("images", "ids", "steps"))
def test_a_step_after_onnx(kind, exporter, tmp_path):
    import torch

    network = torch_network(kind).eval()
    (x, y), (other, _) = batch(kind), batch(kind, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's exporters, about themselves
        torch.onnx.export(
            network,
            (torch.from_numpy(x),),
            tmp_path / "model.onnx",
            dynamo=exporter == "dynamo",
            **({"external_data": False, "verbose": False} if exporter == "dynamo" else {}),
        )
        model = nn.Model.load(tmp_path / "model.onnx")
    assert difference(model.predict(x), outputs(network, x)) < TOLERANCE
    step_of(model, x, y)
    step_of_torch(network, x, y)
    assert difference(model.predict(other), outputs(network, other)) < TOLERANCE
    same = nn.Model.load(tmp_path / "model.onnx")
    from_torch(same, network)  # what nn has learned is what PyTorch has, array by array
    learned = model.get_arrays()
    for name, array in same.get_arrays().items():
        assert difference(learned[name], array) < TOLERANCE, name
    model.export(tmp_path / "learned.onnx")
    if importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        session = onnxruntime.InferenceSession(tmp_path / "learned.onnx")
        (found,) = session.run(None, {"input": other})
        assert difference(found, outputs(network, other)) < TOLERANCE


@needs("torch")
@pytest.mark.parametrize("norm", (True, False))
def test_a_step_after_a_state_dict_and_back(norm, tmp_path):
    import torch

    layers = [nn.Conv2D(4, 3, input_shape=(2, 6, 6)), *[nn.BatchNorm2D()] * norm, nn.ReLU()]
    layers += [nn.GlobalAvgPool2D(), nn.Dense(3)]
    (x, y), model = batch("images"), nn.Model(layers, seed=0)
    space = {}
    exec(to_torch(nn.Model([layer_like(k) for k in layers], seed=1)).source, space)
    torch.manual_seed(0)
    network = space["make_network"]()
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    model.load_weights(tmp_path / "weights.pt", layout="torch")
    step_of(model, x, y)
    step_of_torch(network, x, y)
    state = network.state_dict()
    for name, array in to_torch(model).state_dict.items():  # the weights go back
        if not name.endswith("num_batches_tracked"):
            assert difference(array, state[name].numpy()) < TOLERANCE, name


def layer_like(layer):
    return nn.layers.layer_from_config(layer.to_config())


# --------------------------------------------------------------------------------------- Keras


@needs("keras")
@pytest.mark.filterwarnings("ignore")  # Keras', about NumPy and the like
@pytest.mark.parametrize("kind", ("images", "ids"))
def test_a_step_after_keras_and_back(kind, tmp_path):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    keras.utils.set_random_seed(0)
    wide = keras.initializers.RandomNormal(stddev=0.4)
    layers = {
        "images": [
            keras.layers.Input((6, 6, 2)),
            keras.layers.Conv2D(4, 3, padding="same", bias_initializer=wide),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ],
        "ids": [
            keras.layers.Input((5,), dtype="int32"),
            keras.layers.Embedding(9, 4, embeddings_initializer=wide),
            keras.layers.GRU(5, bias_initializer=wide),
            keras.layers.Dense(3),
        ],
    }[kind]
    theirs = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    theirs.compile(keras.optimizers.SGD(RATE), loss)
    theirs.save(tmp_path / "before.keras")
    model = nn.Model.load(tmp_path / "before.keras")
    x, y = batch(kind)
    step_of(model, x, y)
    theirs.train_on_batch(x.transpose(0, 2, 3, 1) if kind == "images" else x, y)
    theirs.save(tmp_path / "after.keras")
    learned = nn.Model.load(tmp_path / "after.keras").get_arrays()
    for name, array in model.get_arrays().items():
        if name.endswith("running_var"):
            array[:] = learned[name]  # of n - 1 values in nn, as in PyTorch, and of n in Keras
        assert difference(array, learned[name]) < TOLERANCE, name
    model.save(tmp_path / "learned.keras")  # which may have its features in another order
    back = keras.saving.load_model(tmp_path / "learned.keras")
    other = batch(kind, 5)[0]
    if kind == "images":
        other = other.transpose(0, 2, 3, 1)
    assert difference(back.predict(other, verbose=0), theirs.predict(other, verbose=0)) < TOLERANCE
