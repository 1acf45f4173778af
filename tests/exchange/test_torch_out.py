"""Models for PyTorch: source and state dict; and back."""

import ast
import importlib.util
import sys

import numpy as np
import pytest
from conftest import ROOT
from torch_cases import CASES

import nn
from nn.exchange import from_torch, to_torch
from nn.exchange.torch.source import _MODULES
from nn.files import model_file

HAS_TORCH = all(importlib.util.find_spec(name) for name in ("torch", "safetensors"))


def model_of(name, seed):
    make, shape, _ = CASES[name]
    model, rng = nn.Model(make(), seed=seed), np.random.default_rng(seed)
    model.build((None, *shape))
    for key, array in model.get_arrays().items():
        if "Standardize" not in key:
            array += 0.1 * np.abs(rng.normal(size=array.shape))
    return model


@pytest.mark.parametrize("name", CASES)
def test_what_goes_out_comes_back(name):
    model, other = model_of(name, 1), model_of(name, 2)
    network = to_torch(model)
    ast.parse(str(network))
    assert "def make_network():\n    return nn.Sequential(" in network.source
    for array in network.state_dict.values():
        assert array.flags.c_contiguous
    if not model.get_arrays():
        assert not network.state_dict
        return
    from_torch(other, network.state_dict)
    for key, array in model.get_arrays().items():
        np.testing.assert_array_equal(other.get_arrays()[key], array)


def test_every_layer_of_the_table_has_a_case():
    found = set()
    for make, _, _ in CASES.values():
        for _, layer in nn.Sequential(make()).named_layers():
            found |= {type(layer), type(getattr(layer, "layer", None))}
    assert not [cls.__name__ for cls in _MODULES if cls not in found]


@pytest.mark.skipif(not HAS_TORCH, reason="needs torch and safetensors")
@pytest.mark.parametrize("name", CASES)
def test_pytorch_gives_the_outputs(name, tmp_path):
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from agreement_exchange import compare

    assert max(compare(*CASES[name], tmp_path)) < 1e-6


def test_the_source_as_a_user_reads_it():
    layers = [nn.Conv2D(8, 3, input_shape=(1, 6, 6), activation="relu"), nn.MaxPool2D(),
              nn.Flatten(), nn.Dense(3)]  # fmt: skip
    network = to_torch(nn.Model(layers, seed=0))
    assert network.source.endswith(
        "from torch import nn\n\n\n"
        "def make_network():\n"
        "    return nn.Sequential(\n"
        "        nn.Conv2d(1, 8, 3, padding=1),\n"
        "        nn.ReLU(),\n"
        "        nn.MaxPool2d(2, stride=2),\n"
        "        nn.Flatten(),\n"
        "        nn.Linear(72, 3),\n"
        "    )\n"
    )
    assert [*network.state_dict] == ["0.weight", "0.bias", "4.weight", "4.bias"]


def test_the_arrays_are_copies_and_go_into_a_file(tmp_path):
    model = nn.Model([nn.Dense(3, input_shape=(2,))], seed=0)
    network = to_torch(model)
    network.state_dict["0.bias"][:] = 5
    assert model.layers[0].params["b"].max() == 0
    network.save(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(
        model_file.read(tmp_path / "x.safetensors").arrays["0.weight"],
        model.layers[0].params["W"].T,
    )
    for path in ("x.pt", "x.py", "x"):
        with pytest.raises(ValueError, match=r"\[TorchNetwork\] 'path' must end in"):
            network.save(tmp_path / path)


class Twice(nn.Layer):
    def forward(self, x, training=False):
        return 2 * x


class TwiceReLU(nn.ReLU):
    def forward(self, x, training=False):
        return 2 * super().forward(x, training)


REFUSED = {
    "a user's layer": ([Twice()], (3,), "Twice, for which PyTorch"),
    "a subclass": ([TwiceReLU()], (3,), "TwiceReLU, for which PyTorch"),
    "noise": ([nn.GaussianNoise(0.1)], (3,), "GaussianNoise, for which PyTorch"),
    "an activation": ([nn.Dense(2, activation=TwiceReLU())], (3,), "the activation TwiceReLU"),
    "reset before": ([nn.GRU(2, reset_after=False)], (4, 3), "GRU .*reset_after=False"),
    "backwards": ([nn.LSTM(2, go_backwards=True)], (4, 3), "LSTM .*go_backwards=True"),
    "merge": ([nn.Bidirectional(nn.LSTM(2), "sum")], (4, 3), "Bidirectional .*merge='sum'"),
    "axis": ([nn.LayerNorm(axis=1)], (3, 4, 4), "LayerNorm .*axis=1"),
    "average": ([nn.AvgPool2D(2, stride=1, padding="same")], (3, 4, 4), "AvgPool2D .*padding"),
    "average of steps": ([nn.AvgPool1D(2, stride=1, padding="same")], (4, 3), "AvgPool1D .*padd"),
    "transposed norm": ([nn.WeightNorm(nn.Conv2DTranspose(2, 3))], (3, 4, 4), "input channels"),
    "heads": ([nn.MultiHeadAttention(2, 4)], (5, 6), "num_heads=2 and key_dim=4, .* 6 features"),
    "inside": ([nn.Residual([nn.Sequential([Twice()])])], (3,), "Twice, for which PyTorch"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_pytorch_lacks_is_refused_by_name(what):
    layers, shape, words = REFUSED[what]
    model = nn.Model(layers, seed=0)
    model.build((None, *shape))
    with pytest.raises(ValueError, match=rf"\[to_torch\] 'model' has a .*{words}"):
        to_torch(model)


def test_every_class_without_a_module_is_refused():
    for name, cls in nn.layers.NAME2LAYER.items():
        if cls not in _MODULES and cls.__name__ == name:
            layer = object.__new__(cls)
            layer.__dict__["built"] = True
            with pytest.raises(ValueError, match=f"{name}, for which PyTorch has no equal module"):
                to_torch(type("M", (), {"layers": [layer], "own_passes": lambda self: ()})())


def test_models_without_a_shape_and_with_a_forward_of_their_own():
    with pytest.raises(RuntimeError, match=r"\[to_torch\] Dense has no shape yet: build\(\)"):
        to_torch(nn.Model([nn.Dense(3)]))

    class Own(nn.Model):
        def forward(self, x, training=False):
            return x

    with pytest.raises(ValueError, match=r"is a Own with its own forward"):
        to_torch(Own([nn.Dense(3, input_shape=(2,))]))


def test_a_mask_is_refused():
    model = nn.Model([nn.Embedding(5, 2, mask_zero=True, input_shape=(3,)), nn.LSTM(2)], seed=0)
    with pytest.raises(ValueError, match=r"has a Embedding that PyTorch lacks: mask_zero"):
        to_torch(model)
