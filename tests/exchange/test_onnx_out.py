"""`Model.export` writes ONNX that every evaluator computes as `predict` does.

With the package `onnx` the files are checked and computed by its reference implementation; with
`onnxruntime`, by that too. Without, the files are read by nn itself.
"""

import importlib.util
import json

import numpy as np
import pytest
from test_contracts import IDS, LAYERS, TAKE_IDS

import nn
from nn.exchange.onnx import graph, wire
from nn.exchange.onnx.layers import Writer

needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("onnx") is None, reason="needs the package onnx"
)

# Refused by their names, not exported yet.
WITHOUT = {"Masking"}
EXPORTED = [name for name in LAYERS if name not in WITHOUT]

OPSETS = (13, 17, 21, graph.OPSETS[1])


def build(name):
    """A model of one layer, no array of which is 0 or 1, and inputs."""
    make, shape = LAYERS[name]
    rng = np.random.default_rng(0)
    model = nn.Model([make()], seed=0)
    model.build((None, *shape))
    arrays = [w + rng.uniform(0.1, 0.4, w.shape) for w in model.get_weights()]
    model.set_weights(arrays)
    if name in TAKE_IDS:
        return model, rng.integers(0, IDS, (3, *shape))
    return model, rng.normal(size=(3, *shape)).astype("float32")


def convnet(**last):
    return nn.Model(
        [
            nn.Rescale(2, -1, input_shape=(1, 8, 8)),
            nn.Conv2D(4, 3, stride=2, use_bias=False),
            nn.BatchNorm2D(),
            nn.ReLU(),
            nn.Residual([nn.Conv2D(4, 3), nn.BatchNorm2D(), nn.Tanh()]),
            nn.Residual([nn.Conv2D(8, 3, stride=2), nn.BatchNorm2D()]),
            nn.SkipConcat([nn.Conv2D(3, 3), nn.BatchNorm2D(), nn.Tanh()]),
            nn.Sequential([nn.WeightNorm(nn.Conv2D(3, 1, activation="relu")), nn.Flatten()]),
            nn.Dropout(0.5),
            nn.Dense(3, **last),
        ],
        seed=0,
        name="digits",
    )


def shake(model):
    """Give every array of a model other numbers, the running averages too."""
    rng = np.random.default_rng(1)
    model.set_weights([w + rng.uniform(0.05, 0.2, w.shape) for w in model.get_weights()])
    return model


def read(path):
    return wire.decode("Model", path.read_bytes())


def evaluate(path, x):
    """The outputs by all evaluators that are installed."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    found = [ReferenceEvaluator(model).run(None, {"input": x})[0]]
    try:
        import onnxruntime
    except ImportError:
        return found
    return [*found, onnxruntime.InferenceSession(path).run(None, {"input": x})[0]]


@needs_onnx
@pytest.mark.parametrize("name", EXPORTED)
def test_every_layer_is_exported(name, tmp_path):
    model, x = build(name)
    expected = model.predict(x)
    for opset in OPSETS:
        model.export(tmp_path / "model.onnx", opset=opset)
        for found in evaluate(tmp_path / "model.onnx", x):
            assert found.shape == expected.shape
            assert abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("name", EXPORTED)
def test_every_layer_is_written(name, tmp_path):
    model, _ = build(name)
    for opset in (OPSETS[0], OPSETS[-1]):
        model.export(tmp_path / "model.onnx", opset=opset)
        written = read(tmp_path / "model.onnx")
        assert written["opset_import"] == [{"domain": "", "version": opset}]
        assert written["graph"]["node"][-1]["output"] == ["output"]
        names = [node["name"] for node in written["graph"]["node"]]
        assert len(set(names)) == len(names)


@needs_onnx
@pytest.mark.parametrize("fold", (True, False))
@pytest.mark.parametrize("opset", OPSETS)
def test_network_is_exported(opset, fold, tmp_path):
    model, path = shake(convnet()), tmp_path / "model.onnx"
    x = np.random.default_rng(0).random((5, 1, 8, 8), dtype="float32")
    model.export(path, opset=opset, fold_batch_norm=fold)
    for rows in (x, x[:1]):  # any number of samples
        for found in evaluate(path, rows):
            assert abs(found - model.predict(rows)).max() < 1e-5


def test_batch_norm_is_folded_by_choice(tmp_path):
    model, path = shake(convnet()), tmp_path / "model.onnx"
    counts = []
    for fold in (True, False):
        model.export(path, fold_batch_norm=fold)
        counts.append([node["op_type"] for node in read(path)["graph"]["node"]])
    assert "BatchNormalization" not in counts[0]
    assert counts[1].count("BatchNormalization") == 4


@needs_onnx
@pytest.mark.parametrize("directions", ("forward", "go_backwards", "concat", "sum", "ave", "mul"))
@pytest.mark.parametrize("sequences", (True, False))
@pytest.mark.parametrize("cell", (nn.SimpleRNN, nn.LSTM, nn.GRU))
def test_sequences_in_every_direction(cell, sequences, directions, tmp_path):
    arguments = {"go_backwards": True} if directions == "go_backwards" else {}
    layer = cell(3, return_sequences=sequences, **arguments)
    if directions not in ("forward", "go_backwards"):
        layer = nn.Bidirectional(layer, merge=directions)
    model = shake(nn.Model([nn.Embedding(9, 4, input_shape=(6,)), layer, nn.Dense(2)], seed=0))
    model.export(tmp_path / "model.onnx")
    ids = np.random.default_rng(0).integers(0, 9, (5, 6))
    for found in evaluate(tmp_path / "model.onnx", ids):
        assert abs(found - model.predict(ids)).max() < 1e-5


@needs_onnx
@pytest.mark.parametrize("steps", (6, None))
def test_attention_of_any_number_of_samples_and_steps(steps, tmp_path):
    layers = [
        nn.PositionalEmbedding(8, input_shape=(steps, 4)),
        nn.Residual([nn.LayerNorm(), nn.MultiHeadAttention(2, 3, causal=True, dropout=0.5)]),
        nn.MultiHeadAttention(3, 2, use_bias=False),
    ]
    model = shake(nn.Model(layers, seed=0))
    for opset in (13, 17, 21):
        model.export(tmp_path / "model.onnx", opset=opset)
        for samples, length in ((1, 6), (3, 6)) if steps else ((2, 1), (3, 8)):
            x = np.random.default_rng(0).normal(size=(samples, length, 4)).astype("float32")
            for found in evaluate(tmp_path / "model.onnx", x):
                assert abs(found - model.predict(x)).max() < 1e-5


def test_sinusoids_without_a_number_of_steps_are_refused(tmp_path):
    model = nn.Model([nn.SinusoidalPositions(input_shape=(None, 4))], seed=0)
    with pytest.raises(ValueError, match="0_SinusoidalPositions to ONNX: its positions"):
        model.export(tmp_path / "model.onnx")


@needs_onnx
@pytest.mark.parametrize(
    "layer",
    (
        nn.GRU(3, reset_after=False, input_shape=(4, 2)),
        nn.Conv2D(4, 3, stride=2, dilation=(1, 2), groups=2, input_shape=(2, 7, 9)),
        nn.Conv2D(4, (3, 2), padding=(2, 0), input_shape=(2, 7, 9)),
        nn.Conv2DTranspose(3, 3, stride=2, input_shape=(2, 5, 4)),
        nn.Conv2DTranspose(3, 2, stride=3, padding="valid", input_shape=(2, 5, 4)),
        nn.Conv2DTranspose(3, 3, stride=2, padding=1, output_padding=1, input_shape=(2, 5, 4)),
        nn.DepthwiseConv2D(3, stride=2, dilation=1, depth_multiplier=2, input_shape=(2, 6, 5)),
        nn.LayerNorm(axis=1, input_shape=(2, 3, 4)),
        nn.LayerNorm(axis=(1, 3), input_shape=(2, 3, 4)),
        nn.LayerNorm(axis=(2, 3), input_shape=(2, 3, 4)),
        nn.LayerNorm(input_shape=(2, 3, 4)),
        nn.GroupNorm(2, input_shape=(4, 3, 4)),
        nn.GroupNorm(2, input_shape=(6,)),
        nn.UpSample2D((2, 3), "bilinear", input_shape=(2, 3, 4)),
        nn.Dense(3, activation="softmax", input_shape=(4, 5)),
        nn.Conv2D(3, 1, activation="log_softmax", input_shape=(2, 3, 3)),
        nn.ZeroPad2D(((1, 0), (2, 3)), input_shape=(2, 3, 4)),
        nn.Activation("linear", input_shape=(3,)),
    ),
    ids=str,
)
def test_arguments_of_layers(layer, tmp_path):
    model = nn.Model([layer], seed=0)
    if model.get_weights():
        shake(model)
    x = np.random.default_rng(0).normal(size=(3, *model.input_shape[1:])).astype("float32")
    for opset in (13, 21):
        model.export(tmp_path / "model.onnx", opset=opset)
        for found in evaluate(tmp_path / "model.onnx", x):
            assert abs(found - model.predict(x)).max() < 1e-5


def test_probabilities_on_request(tmp_path):
    model, path = convnet(), tmp_path / "model.onnx"
    for loss, last in (
        (None, "Softmax"),
        ("bce", "Sigmoid"),
    ):
        if loss:
            model.compile(loss)
        model.export(path, softmax=True)
        written = read(path)
        assert written["graph"]["node"][-2]["op_type"] == last
        assert {"key": "output", "value": "probabilities"} in written["metadata_props"]
    model.export(path)
    assert {"key": "output", "value": "logits"} in read(path)["metadata_props"]
    convnet(activation="softmax").export(path, softmax=True)
    assert [n["op_type"] for n in read(path)["graph"]["node"]].count("Softmax") == 1
    model.compile("mse")
    with pytest.raises(ValueError, match="'softmax'"):
        model.export(path, softmax=True)


@needs_onnx
def test_softmax_of_the_logits(tmp_path):
    model, path = shake(convnet()), tmp_path / "model.onnx"
    model.export(path, softmax=True)
    x = np.random.default_rng(0).random((5, 1, 8, 8), dtype="float32")
    exact = np.exp(model.predict(x).astype("float64"))
    exact /= exact.sum(axis=1, keepdims=True)
    for found in evaluate(path, x):
        assert abs(found - exact).max() < 1e-5


def test_metadata(tmp_path):
    model = convnet()
    model.class_names, model.input_range = ["a", "b", "ö"], (0.0, 1.0)
    model.export(tmp_path / "model.onnx")
    written = read(tmp_path / "model.onnx")
    said = {pair["key"]: pair["value"] for pair in written["metadata_props"]}
    assert said.pop("name") == "digits"
    assert json.loads(said.pop("class_names")) == ["a", "b", "ö"]
    assert json.loads(said.pop("input_range")) == [0, 1]
    assert said == {"input_layout": "NCHW", "output": "values"}
    value = written["graph"]["input"][0]["type"]["tensor_type"]
    dims = [dim.get("dim_value", dim.get("dim_param")) for dim in value["shape"]["dim"]]
    assert dims == ["N", 1, 8, 8]


@pytest.mark.parametrize("opset, version", ((13, 7), (17, 8), (19, 9), (21, 10), (28, 14)))
def test_least_version_of_the_format(opset, version, tmp_path):
    convnet().export(tmp_path / "model.onnx", opset=opset)
    assert read(tmp_path / "model.onnx")["ir_version"] == version


def test_versions_are_those_of_onnx():
    onnx = pytest.importorskip("onnx", reason="the package onnx has the table of versions")
    for opset in range(graph.OPSETS[0], 1 + min(graph.OPSETS[1], onnx.defs.onnx_opset_version())):
        expected = onnx.helper.OP_SET_ID_VERSION_MAP["ai.onnx", opset]
        message = graph.Graph(opset).to_message(((None, 1), (None, 1)), {}, "", False)
        assert message["ir_version"] == expected


class Mine(nn.Dense):
    pass


def test_what_cannot_be_exported_is_refused_by_name(tmp_path):
    path = tmp_path / "model.onnx"
    mine = nn.Model([nn.Residual([Mine(4)], input_shape=(4,))], seed=0)
    with pytest.raises(ValueError, match="0_Residual/0_Mine"):
        mine.export(path)
    replaced = nn.Model([nn.Dense(2, input_shape=(3,))], seed=0)
    replaced.layers[0].forward = lambda x, training=False: x
    with pytest.raises(ValueError, match="0_Dense"):
        replaced.export(path)
    with pytest.raises(RuntimeError, match="Standardize"):
        nn.Model([nn.Standardize(input_shape=(3,))]).export(path)
    with pytest.raises(RuntimeError, match="no weights"):
        nn.Model([nn.Dense(2)]).export(path)

    class Own(nn.Model):
        def forward(self, x, training=False):
            return 2 * super().forward(x, training)

    with pytest.raises(ValueError, match="forward"):
        Own([nn.Dense(2, input_shape=(3,))]).export(path)
    assert not path.exists()


def images_of_any_size():
    layers = [nn.Conv2D(4, 3, stride=2, input_shape=(3, None, None)), nn.MaxPool2D(3, 2, "same")]
    layers += [nn.Conv2DTranspose(3, 3, stride=2), nn.Conv2D(3, 2), nn.AvgPool2D(2)]
    return nn.Model([*layers, nn.GlobalMaxPool2D(), nn.Dense(2)], seed=0)


@needs_onnx
def test_images_of_any_size_are_exported(tmp_path):
    model = images_of_any_size()
    model.export(tmp_path / "model.onnx")
    for size in ((8, 8), (9, 13)):
        x = np.random.default_rng(0).normal(size=(2, 3, *size)).astype("float32")
        for found in evaluate(tmp_path / "model.onnx", x):
            assert abs(found - model.predict(x)).max() < 1e-5


def test_padding_of_images_of_any_size_is_written_as_its_rule(tmp_path):
    images_of_any_size().export(tmp_path / "model.onnx")
    nodes = read(tmp_path / "model.onnx")["graph"]["node"]
    attributes = [{a["name"] for a in node.get("attribute", ())} for node in nodes]
    has_rule = [("auto_pad" in names, "pads" in names) for names in attributes]
    assert has_rule[:5] == [(True, False), (True, False), *[(False, True)] * 3]


def test_masks_are_refused_and_not_lost(tmp_path):
    ids = nn.Embedding(5, 3, mask_zero=True, input_shape=(4,))
    with pytest.raises(ValueError, match=r"0_Embedding to ONNX: there are no masks"):
        nn.Model([ids, nn.LSTM(2)], seed=0).export(tmp_path / "model.onnx")


def test_wrong_arguments(tmp_path):
    model = convnet()
    for path in (tmp_path / "model.hdf5", tmp_path / "model"):
        with pytest.raises(ValueError, match="'path' must end in"):
            model.export(path)
    for opset in (12, 29, 17.0, None):
        with pytest.raises(ValueError, match="'opset'"):
            model.export(tmp_path / "model.onnx", opset=opset)


def test_weights_of_two_gigabytes_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(graph, "_MAX_BYTES", 1 << 24)
    with pytest.raises(ValueError, match="2 GB"):
        convnet().export(tmp_path / "model.onnx")


def test_writer_needs_no_more_than_layers():
    made = graph.Graph(17)
    layer = nn.Dense(2)
    layer.build((None, 3))
    assert Writer(made, [layer], True).stack([layer], "input", (None, 3)) == (
        "0_Dense/Gemm",
        (None, 2),
    )
