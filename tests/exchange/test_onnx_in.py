"""`Model.load` reads ONNX: files of PyTorch's two exporters, of Keras, of `onnx`, and nn's own.

`fixtures/make_onnx.py` wrote the files; no package is needed to read them. `test_onnx_refused.py`
has what is refused.
"""

import inspect
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from test_contracts import LAYERS
from test_onnx_out import EXPORTED, OPSETS, build, evaluate, needs_onnx, shake

import nn
from nn import zoo
from nn.exchange.onnx import reading, wire

FOLDER = Path(__file__).parent / "fixtures" / "from_onnx"
FILES = sorted(path.name for path in FOLDER.glob("*.onnx"))
WHOLE = [name for name in FILES if name not in ("refused.onnx", "external.onnx")]

# The layout of the inputs in nn, of those that are otherwise in the graph.
TURNED = {"keras_images": (0, 3, 1, 2), **{f"steps_{k}": (0, 2, 1) for k in
          ("old13", "old17", "new18", "new21")}}  # fmt: skip

#: Layers that are written but not read, and why.
NOT_READ = {
    "GaussianSampling": "the graph has the first half of the features, not what was drawn from",
}


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "expected.npz") as file:
        return dict(file)


def load(path):
    """Load a file whose inputs may have another layout; return the model and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = nn.Model.load(path)
    return model, [str(w.message) for w in caught]


def kinds(layers):
    return [type(layer).__name__ for layer in layers]


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_predicts_what_onnx_runtime_does(name, expected):
    model, said = load(FOLDER / name)
    stem = name.removesuffix(".onnx")
    x, y = expected[f"{stem}/x"], expected[f"{stem}/y"]
    assert len(said) == (stem in TURNED)
    if stem in TURNED:
        assert str(TURNED[stem]) in said[0]
        x = x.transpose(TURNED[stem])
    found = model.predict(x)
    assert found.dtype == (np.float64 if stem == "double" else np.float32)
    assert found.shape == y.shape
    # Numbers of 16 bits are computed in 32
    assert abs(found - y).max() < (5e-3 if stem == "half" else 1e-6)


def test_layers_are_those_of_the_network():
    model, _ = load(FOLDER / "images_new21.onnx")
    assert kinds(model.layers) == [
        *("Conv2D", "ReLU", "Conv2D", "GroupNorm", "PReLU", "DepthwiseConv2D", "LayerNorm"),
        *("Conv2DTranspose", "PReLU", "MaxPool2D", "Flatten", "Dense", "GELU", "LayerNorm"),
        "Dense",
    ]
    model, _ = load(FOLDER / "sequences_old17.onnx")
    assert kinds(model.layers) == [
        *("Embedding", "LSTM", "LSTM", "GRU", "LayerNorm", "Dense", "SimpleRNN"),
        *("Bidirectional", "GRU", "Dense"),
    ]
    model, _ = load(FOLDER / "residual_new21.onnx")
    kept = ["Conv2D", "Residual", "ReLU", "Residual", "GlobalAvgPool2D", "Dense"]
    assert kinds(model.layers) == kept
    assert kinds(model.layers[1].layers) == ["Conv2D"]  # batch norm is in its weights


@pytest.mark.parametrize("file", ("joined_old17", "joined_new21"))
def test_features_side_by_side_are_blocks_of_a_dense_net(file):
    model, _ = load(FOLDER / f"{file}.onnx")
    kept = ["Conv2D", *["SkipConcat"] * 3, "ReLU", "GlobalAvgPool2D", "Dense"]
    assert kinds(model.layers) == kept
    assert [kinds(block.layers) for block in model.layers[1:4]] == [
        ["Conv2D"],
        ["Conv2D"],
        ["Tanh"],
    ]


@pytest.mark.parametrize("file", ("attention_old14", "attention_old17", "attention_new18",
                                  "attention_new21"))  # fmt: skip
def test_attention_of_pytorch_is_one_layer(file):
    """However the exporter takes the heads out of one product of three matrices."""
    model, _ = load(FOLDER / f"{file}.onnx")
    before = ["Residual", "Residual"]
    after = ["Residual", "LayerNorm"]
    kept = ["Dense", *before, *after, *after, "MultiHeadAttention", "Dense"]
    assert kinds(model.layers) == kept
    first, last = model.layers[1].layers[-1], model.layers[-2]
    assert [(k.num_heads, k.key_dim, k.causal) for k in (first, last)] == [(2, 3, 0), (3, 2, 1)]


@pytest.mark.parametrize(
    "change",
    (
        lambda a: a.__imul__(1.5),  # another factor than 1 / sqrt(K)
        lambda a: a.__iadd__(0.1),
    ),
)
def test_what_is_almost_attention_is_not_it(change, tmp_path):
    """The factor of queries and keys is an array of the graph."""
    message = wire.decode("Model", (FOLDER / "attention_new21.onnx").read_bytes())
    made = {node["output"][0]: node for node in message["graph"]["node"]}
    softmax = next(node for node in made.values() if node["op_type"] == "Softmax")
    scaled = made[made[softmax["input"][0]]["input"][0]]
    assert scaled["op_type"] == "Mul"
    array = next(k for k in message["graph"]["initializer"] if k["name"] == scaled["input"][1])
    values = np.frombuffer(bytes(array["raw_data"]), "<f4").copy()
    change(values)
    array["raw_data"] = values.tobytes()
    (tmp_path / "model.onnx").write_bytes(wire.encode("Model", message))
    with pytest.raises(nn.io.FileFormatError, match=r"'node_linear_\d' \(Gemm\) .* not softmax"):
        nn.Model.load(tmp_path / "model.onnx")


def test_a_loaded_model_trains_and_is_saved(tmp_path, expected):
    model, _ = load(FOLDER / "images_old17.onnx")
    x, y = expected["images_old17/x"], np.array([0, 2])
    model.compile("cce", "sgd", lr=0.01)
    before = model.evaluate(x, y)["loss"]
    model.fit(x, y, epochs=3, verbose=0)
    assert model.evaluate(x, y)["loss"] < before
    model.save(tmp_path / "model.hdf5")
    again = nn.Model.load(tmp_path / "model.hdf5")
    assert np.array_equal(again.predict(x), model.predict(x))


def test_the_content_decides_not_the_suffix(tmp_path, expected):
    shutil.copy(FOLDER / "lists.onnx", tmp_path / "model.bin")
    model = nn.Model.load(tmp_path / "model.bin")
    assert abs(model.predict(expected["lists/x"]) - expected["lists/y"]).max() < 1e-6


def test_external_data_is_read_if_it_is_passed(tmp_path, expected):
    model = nn.Model.load(FOLDER / "external.onnx", external_data=FOLDER / "external.data")
    assert abs(model.predict(expected["external/x"]) - expected["external/y"]).max() < 1e-6


# ------------------------------------------------------------------------------- nn's own files


def back(model, path, opset):
    model.export(path, opset=opset)
    return load(path)


def test_every_layer_that_is_written_is_read_or_said_not_to_be():
    assert NOT_READ.keys() <= set(EXPORTED) <= set(LAYERS)


@pytest.mark.parametrize("name", EXPORTED)
def test_every_layer_comes_back(name, tmp_path):
    model, x = build(name)
    expected = model.predict(x)
    for opset in OPSETS:
        if name in NOT_READ:
            with pytest.raises(nn.io.FileFormatError, match="Slice"):
                back(model, tmp_path / "model.onnx", opset)
            continue
        again, said = back(model, tmp_path / "model.onnx", opset)
        found = again.predict(x)
        assert not said and found.shape == expected.shape
        assert abs(found - expected).max() < 1e-6
        assert again.input_shape == model.input_shape


ZOO = {
    name: getattr(zoo, name) for name in sorted(zoo.__all__) if not {"fully_connected_net"} & {name}
}


def zoo_model(name):
    """A network, no array of which is 0 or 1 throughout, and inputs."""
    model, rng = ZOO[name](seed=0), np.random.default_rng(0)
    # In both directions: numbers above 0 alone make features that cancel, and rounding counts
    model.set_weights([w + rng.uniform(-0.05, 0.05, w.shape) for w in model.get_weights()])
    sizes = [k or 8 for k in model.input_shape[1:]]
    if model.num_ids:
        return model, rng.integers(0, model.num_ids, (2, *sizes))
    return model, rng.random((2, *sizes), dtype="float32")


def test_every_network_of_the_zoo_is_tested():
    made = {name for name, _ in inspect.getmembers(zoo, inspect.isfunction) if name in zoo.__all__}
    assert made - ZOO.keys() == {"fully_connected_net"}  # another name of mlp


@pytest.mark.parametrize("name", ZOO)
def test_networks_of_the_zoo_come_back(name, tmp_path):
    model, x = zoo_model(name)
    expected = model.predict(x)
    if any(kind in NOT_READ for kind in kinds(nn.Sequential(model.layers).layers)):
        with pytest.raises(nn.io.FileFormatError, match="Slice"):
            back(model, tmp_path / "model.onnx", 17)
        return
    again, said = back(model, tmp_path / "model.onnx", 17)
    assert not said
    scale = max(1.0, abs(expected).max())
    assert abs(again.predict(x) - expected).max() < 1e-5 * scale


@needs_onnx
@pytest.mark.parametrize("name", ZOO)
def test_networks_of_the_zoo_are_computed_alike(name, tmp_path):
    """The reference implementation and ONNX Runtime give what `predict` gives."""
    model, x = zoo_model(name)
    expected = model.predict(x)
    scale = max(1.0, abs(expected).max())
    for opset in OPSETS:
        model.export(tmp_path / "model.onnx", opset=opset)
        for found in evaluate(tmp_path / "model.onnx", x):
            assert abs(found - expected).max() < 1e-5 * scale


@pytest.mark.parametrize("steps", (6, None))
def test_attention_of_any_number_of_steps_comes_back(steps, tmp_path):
    layers = [
        nn.Embedding(9, 4, input_shape=(steps,)),
        nn.PositionalEmbedding(8),
        nn.Residual([nn.LayerNorm(), nn.MultiHeadAttention(2, 3, causal=True, dropout=0.5)]),
        nn.MultiHeadAttention(3, 2, use_bias=False),
        nn.GlobalAvgPool1D(),
    ]
    model = shake(nn.Model(layers, seed=0))
    ids = np.random.default_rng(0).integers(0, 9, (3, 6))
    for opset in (13, 17, 21):
        again, _ = back(model, tmp_path / "model.onnx", opset)
        assert kinds(again.layers) == kinds(model.layers)
        assert abs(again.predict(ids) - model.predict(ids)).max() < 1e-6


@pytest.mark.parametrize("merge", ("forward", "go_backwards", "concat", "sum", "ave", "mul"))
@pytest.mark.parametrize("sequences", (True, False))
@pytest.mark.parametrize("cell", (nn.SimpleRNN, nn.LSTM, nn.GRU))
def test_recurrent_layers_come_back(cell, sequences, merge, tmp_path):
    arguments = {"go_backwards": True} if merge == "go_backwards" else {}
    layer = cell(3, return_sequences=sequences, **arguments)
    if merge not in ("forward", "go_backwards"):
        layer = nn.Bidirectional(layer, merge=merge)
    model = shake(nn.Model([nn.Embedding(9, 4, input_shape=(6,)), layer, nn.Dense(2)], seed=0))
    again, _ = back(model, tmp_path / "model.onnx", 17)
    assert kinds(again.layers) == kinds(model.layers)
    ids = np.random.default_rng(0).integers(0, 9, (5, 6))
    assert abs(again.predict(ids) - model.predict(ids)).max() < 1e-6


@pytest.mark.parametrize(
    "layer",
    (
        nn.GRU(3, reset_after=False, input_shape=(4, 2)),
        nn.Conv1D(3, 3, padding="causal", dilation=2, input_shape=(7, 2)),
        nn.Conv1D(4, 4, stride=2, groups=2, input_shape=(7, 2)),
        nn.Conv2D(4, 3, stride=2, dilation=(1, 2), groups=2, input_shape=(4, 7, 9)),
        nn.Conv2D(4, (3, 2), padding=(2, 0), input_shape=(2, 7, 9)),
        nn.Conv2D(4, 2, input_shape=(2, None, None)),
        nn.Conv2D(4, 3, stride=2, input_shape=(2, None, None)),
        nn.Conv2DTranspose(3, 3, stride=2, input_shape=(2, 5, 4)),
        nn.Conv2DTranspose(3, 2, stride=3, padding="valid", input_shape=(2, 5, 4)),
        nn.Conv2DTranspose(3, 3, stride=2, padding=1, output_padding=1, input_shape=(2, 5, 4)),
        nn.DepthwiseConv2D(3, stride=2, depth_multiplier=2, input_shape=(2, 6, 5)),
        nn.LayerNorm(axis=1, input_shape=(2, 3, 4)),
        nn.LayerNorm(axis=(1, 3), input_shape=(2, 3, 4)),
        nn.LayerNorm(axis=(2, 3), input_shape=(2, 3, 4)),
        nn.LayerNorm(axis=1, input_shape=(3, 4)),
        nn.LayerNorm(input_shape=(2, 3, 4)),
        nn.GroupNorm(2, input_shape=(4, 3, 4)),
        nn.GroupNorm(2, input_shape=(6,)),
        nn.MaxPool2D(3, 2, "same", input_shape=(2, 6, 7)),
        nn.AvgPool2D(3, 2, 1, input_shape=(2, 7, 7)),
        nn.UpSample2D((2, 3), "bilinear", input_shape=(2, 3, 4)),
        nn.ZeroPad2D(((1, 0), (2, 3)), input_shape=(2, 3, 4)),
        nn.Standardize([0.5, 2.0], [0.25, 3.0], input_shape=(2, 3, 4)),
        nn.SinusoidalPositions(input_shape=(5, 6)),
        nn.ELU(0.3, input_shape=(4,)),
        nn.Reshape((2, 6), input_shape=(3, 4)),
    ),
    ids=str,
)
def test_arguments_come_back(layer, tmp_path):
    model = nn.Model([layer], seed=0)
    if model.get_weights():
        shake(model)
    sizes = [n or 6 for n in model.input_shape[1:]]
    x = np.random.default_rng(0).normal(size=(3, *sizes)).astype("float32")
    for opset in (13, 21):
        again, said = back(model, tmp_path / "model.onnx", opset)
        assert not said and kinds(again.layers) == [type(layer).__name__]
        assert abs(again.predict(x) - model.predict(x)).max() < 1e-6


def test_what_nn_says_about_a_model_comes_back(tmp_path):
    model = nn.Model([nn.Dense(3, input_shape=(2,))], seed=0, name="mine")
    model.class_names, model.input_range = ["a", "b", "ö"], (0.0, 1.0)
    again, _ = back(model, tmp_path / "model.onnx", 17)
    assert again.class_names == ["a", "b", "ö"]
    assert (again.name, again.input_range) == ("mine", (0.0, 1.0))


def test_batch_norm_is_kept_if_it_is_not_folded(tmp_path):
    layers = [nn.Conv2D(3, 3, input_shape=(2, 5, 5)), nn.BatchNorm2D(), nn.ReLU(), nn.Flatten()]
    model = shake(nn.Model([*layers, nn.Dense(3), nn.BatchNorm1D(eps=1e-3)], seed=0))
    x = np.random.default_rng(0).random((2, 2, 5, 5), dtype="float32")
    for opset in (13, 17):
        model.export(tmp_path / "model.onnx", opset=opset, fold_batch_norm=False)
        again, _ = load(tmp_path / "model.onnx")
        assert kinds(again.layers) == kinds(model.layers)
        assert abs(again.predict(x) - model.predict(x)).max() < 1e-6


def test_every_operator_that_nn_writes_is_read(tmp_path):
    written = set()
    for name in EXPORTED:
        model, _ = build(name)
        model.export(tmp_path / "model.onnx")
        message = wire.decode("Model", (tmp_path / "model.onnx").read_bytes())
        written |= {node["op_type"] for node in message["graph"]["node"]}
    assert written <= reading.OPERATORS.keys()
