"""Weights that are tied in PyTorch are several arrays in nn, and a warning names them."""

import importlib.util
import warnings

import numpy as np
import pytest

import nn
from nn.exchange import from_torch

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")


def network(tied=True):
    import torch
    from torch import nn as tnn

    torch.manual_seed(0)
    one = tnn.Linear(4, 4)
    return tnn.Sequential(one, tnn.Tanh(), one if tied else tnn.Linear(4, 4))


def model():
    return nn.Model([nn.Dense(4, input_shape=(4,)), nn.Tanh(), nn.Dense(4)], seed=0)


def words(tied=True):
    """Of a language: the embedding is the last matrix too, which has a bias of its own."""
    import torch
    from torch import nn as tnn

    torch.manual_seed(0)
    made = tnn.Sequential(tnn.Embedding(7, 4), tnn.Linear(4, 7))
    if tied:
        made[1].weight = made[0].weight
    return made


def word_model():
    return nn.Model([nn.Embedding(7, 4, input_shape=(3,)), nn.Dense(7)], seed=0)


def said(action):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return [str(w.message) for w in caught if "[Model]" in str(w.message)]


WAYS = {
    "file": lambda made, model, path: model.load_weights(path),
    "state_dict": lambda made, model, path: from_torch(model, made.state_dict()),
    "module": lambda made, model, path: from_torch(model, made),
    "bfloat16": lambda made, model, path: from_torch(model, made.bfloat16()),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_tied_weights_of_a_state_dict_are_named(way, tmp_path):
    import torch

    path = tmp_path / "weights.pt"
    for make, build, names in (
        (network, model, ["'0.weight' and '2.weight'; '0.bias' and '2.bias'"]),
        (words, word_model, ["'0.weight' and '1.weight'"]),
    ):
        made = make()
        torch.save(made.state_dict(), path)
        (message,) = said(lambda made=made, build=build: way(made, build(), path))
        rule = "are one array in the file and two here: training changes them separately."
        assert f"{names[0]} {rule}" in message
        made = make(tied=False)
        torch.save(made.state_dict(), path)
        assert said(lambda made=made, build=build: way(made, build(), path)) == []


@pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="needs onnx")
@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_of_onnx_are_named(tied, tmp_path):
    import torch

    def export():
        torch.onnx.export(network(tied), (torch.zeros(2, 4),), path, dynamo=False)

    path = str(tmp_path / "model.onnx")
    said(export)
    found = said(lambda: nn.Model.load(path))
    pairs = "'0_Dense_W' and '2_Dense_W'; '0_Dense_b' and '2_Dense_b' are one array"
    assert [pairs in message for message in found] == [True] * tied


@pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="needs onnx")
def test_biases_that_an_exporter_joined_are_not_called_tied(tmp_path):
    """Equal arrays, as of new biases, are written once by exporters; no one tied them."""
    import onnx

    one = model()
    one.layers[0].params["b"][:] = one.layers[2].params["b"][:] = 0
    one.export(tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx")
    first, second = (t.name for t in graph.graph.initializer if t.name.endswith("_b"))
    for node in graph.graph.node:
        node.input[:] = [first if name == second else name for name in node.input]
    onnx.save(graph, tmp_path / "model.onnx")
    assert said(lambda: nn.Model.load(tmp_path / "model.onnx")) == []


@pytest.mark.skipif(importlib.util.find_spec("safetensors") is None, reason="needs safetensors")
def test_a_file_without_the_second_of_tied_weights_says_what_may_be(tmp_path):
    from safetensors.torch import save_file, save_model

    path = str(tmp_path / "model.safetensors")
    for make, build in ((network, model), (words, word_model)):
        save_model(make(), path)
        with pytest.raises(nn.io.FileFormatError, match="tied in PyTorch are written once"):
            build().load_weights(path, layout="torch")
        save_file(make(tied=False).state_dict(), path)
        build().load_weights(path, layout="torch")
    extra = nn.Model([nn.Dense(4, input_shape=(4,))], seed=0)
    save_file(network(tied=False).state_dict(), path)
    with pytest.raises(nn.io.FileFormatError) as refused:
        extra.load_weights(path, layout="torch")
    assert "tied" not in str(refused.value)


def test_predictions_are_right(tmp_path):
    import torch

    x, made, ours = np.random.default_rng(0).normal(size=(5, 4)).astype("f4"), network(), model()
    said(lambda: from_torch(ours, made))
    with torch.no_grad():
        wanted = made(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours.predict(x), wanted, atol=1e-6)
