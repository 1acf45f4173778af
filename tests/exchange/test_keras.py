"""Files of Keras come in and go out; `fixtures/make_keras.py` wrote those that are read here.

With Keras installed (KERAS_BACKEND=torch), it loads what nn writes and predicts the same.
"""

import importlib.util
import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_contracts import IDS, LAYERS, TAKE_IDS

import nn
from nn.exchange.keras import layers as from_keras

FOLDER = Path(__file__).parent / "fixtures" / "from_keras"
needs_keras = pytest.mark.skipif(
    importlib.util.find_spec("keras") is None, reason="needs the package keras"
)


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "expected.npz") as file:
        return dict(file)


def first(x):
    """Images of Keras as nn has them."""
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


def archive(path, change=None, **members):
    """Copy an archive with its configuration changed, or with other members."""
    with zipfile.ZipFile(FOLDER / "images.keras") as file:
        found = {name: file.read(name) for name in file.namelist()}
    if change is not None:
        config = json.loads(found["config.json"])
        change(config["config"]["layers"], config)
        found["config.json"] = json.dumps(config)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in (found | members).items():
            file.writestr(name, content)
    return path


# ------------------------------------------------------------------------------------ in


def test_files_that_keras_2_itself_has_written():
    """Those of TensorFlow 2.15, by `make_keras2.py`: optimizer's state, masks, two directions."""
    with np.load(FOLDER / "keras2_15.npz") as arrays:
        known = dict(arrays)
    images = nn.Model.load(FOLDER / "keras2_15_images.h5")
    found = images.predict(known["x"].transpose(0, 3, 1, 2))
    np.testing.assert_allclose(found, known["y"], rtol=0, atol=1e-6)
    texts = nn.Model.load(FOLDER / "keras2_15_ids.h5")
    np.testing.assert_allclose(texts.predict(known["ids"]), known["z"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "file",
    [
        "images.keras",
        "images.h5",
        "keras2.h5",
        "generator.keras",
        "ids.keras",
        "ids.h5",
        "nested.keras",
        "nested.h5",
        "blocks.keras",
        "blocks.h5",
    ],
)
def test_model_of_keras_predicts_the_same(file, expected):
    model = nn.Model.load(FOLDER / file)
    name = "images" if file == "keras2.h5" else file.split(".")[0]
    x, y = first(expected[f"{name}_x"]), first(expected[f"{name}_y"])
    assert abs(model.predict(x) - y).max() < 3e-6 * max(1, abs(y).max())
    assert model.name == name


def test_names_and_arguments_are_kept():
    model = nn.Model.load(FOLDER / "images.keras")
    layer = model.get_layer("first")
    assert layer.stride == (2, 2)
    assert layer.padding == "same"
    assert isinstance(layer.activation, nn.ReLU)
    norm = model.get_layer("batch_normalization")
    assert (norm.momentum, norm.eps) == (0.8, 0.002)
    assert model.input_shape == (None, 3, 8, 7)


def test_a_loaded_model_trains_on_and_is_saved(tmp_path, expected):
    model = nn.Model.load(FOLDER / "images.keras")
    model.compile("cce", "adam")
    x = first(expected["images_x"])
    model.fit(x, np.array([0, 1, 2, 0]), epochs=1, verbose=0)
    model.save(tmp_path / "model.hdf5")
    assert np.array_equal(nn.Model.load(tmp_path / "model.hdf5").predict(x), model.predict(x))


@pytest.mark.parametrize("file", ("images.weights.h5", "images.keras", "images.h5"))
def test_weights_come_into_the_same_layers(file, expected):
    model = nn.Model.load(FOLDER / "images.keras")
    model.set_weights([0.5 * w for w in model.get_weights()])
    report = model.load_weights(FOLDER / file)
    assert not report.skipped
    y = model.predict(first(expected["images_x"]))
    assert abs(y - expected["images_y"]).max() < 3e-6


def test_weights_of_sequences(expected):
    model = nn.Model.load(FOLDER / "ids.keras")
    model.set_weights([0.5 * w for w in model.get_weights()])
    model.load_weights(FOLDER / "ids.weights.h5")
    assert abs(model.predict(expected["ids_x"]) - expected["ids_y"]).max() < 1e-6


def test_weights_of_other_layers_are_refused():
    model = nn.Model([nn.Conv2D(4, 3, input_shape=(3, 8, 7)), nn.Flatten(), nn.Dense(3)])
    before = model.get_weights()
    for file in ("images.weights.h5", "images.keras"):
        with pytest.raises(nn.io.FileFormatError, match=r"images\."):
            model.load_weights(FOLDER / file)
    assert all(map(np.array_equal, before, model.get_weights()))


def test_chain_made_by_functions_is_a_stack():
    model = nn.Model.load(FOLDER / "chain.keras")
    assert [layer.name for layer in model.layers] == ["hidden", "last"]


def test_paths_that_part_and_meet_are_blocks():
    model = nn.Model.load(FOLDER / "blocks.keras")
    found = [(layer.name, type(layer).__name__) for layer in model.layers]
    assert [f"{name} {kind}" for name, kind in found] == [
        *("stem Conv2D", "sum Residual", "relu2 ReLU", "joined SkipConcat"),
        *("turned SkipConcat", "pool MaxPool2D", "flat Flatten", "features Dense"),
        *("last_sum Residual", "scores Dense"),
    ]
    inside = [layer.name for layer in model.get_layer("sum").main]
    assert inside == ["projection"]
    names = ["main1", "norm", "relu1", "inner", "main2"]
    assert [layer.name for layer in model.get_layer("sum").shortcut] == names
    model = nn.Model.load(FOLDER / "branches.keras")
    assert [layer.name for layer in model.layers] == ["sum", "last"]


def test_weights_come_into_blocks_but_not_from_weights_alone(expected):
    model = nn.Model.load(FOLDER / "blocks.keras")
    model.set_weights([0.5 * w for w in model.get_weights()])
    model.load_weights(FOLDER / "blocks.h5")
    y = expected["blocks_y"]
    assert abs(model.predict(first(expected["blocks_x"])) - y).max() < 3e-6 * abs(y).max()
    with pytest.raises(nn.io.FileFormatError, match="on which path of a block"):
        model.load_weights(FOLDER / "blocks.weights.h5")


def config_of(file, change):
    """Return the configuration in a file after a change."""
    with zipfile.ZipFile(FOLDER / file) as archived:
        config = json.loads(archived.read("config.json"))
    layers = {entry["name"]: entry for entry in config["config"]["layers"]}
    change(layers, config["config"])
    return config


def history(name):
    config = {"shape": [None, 4], "dtype": "float32", "keras_history": [name, 0, 0]}
    return {"class_name": "__keras_tensor__", "config": config}


def tensors(layers, name):
    """Return the list of the outputs that a layer gets."""
    return layers[name]["inbound_nodes"][0]["args"][0]


@pytest.mark.parametrize(
    "change, said",
    (
        (lambda k, _: k["sum"].update(class_name="Multiply"), r"'sum' \(Multiply\) joins branches"),
        (lambda k, _: tensors(k, "sum").append(history("hidden")), r"'sum' \(Add\) joins branches"),
        (lambda k, _: tensors(k, "sum").__setitem__(0, history("sum")), "outputs|no chain"),
        (lambda k, _: tensors(k, "sum").__setitem__(0, history("other")), "unknown layer 'other'"),
        (lambda k, _: tensors(k, "sum").pop(), r"'sum' \(Add\)"),
        (lambda k, c: c.update(output_layers=[["sum", 0, 0], ["last", 0, 0]]), "2 outputs"),
        (lambda k, _: k["hidden"]["config"].update(units=5), r"'sum' \(Add\) adds .*shapes"),
        (lambda k, _: k["sum"].update(class_name="Concatenate"), "1_Dense_W"),
        (lambda k, _: (k["sum"].update(class_name="Concatenate"),
                       k["sum"]["config"].update(axis=0)), "axis=0"),
    ),
)  # fmt: skip
def test_branches_are_refused_by_name(change, said, tmp_path):
    with zipfile.ZipFile(FOLDER / "branches.keras") as file:
        members = {name: file.read(name) for name in file.namelist()}
    members["config.json"] = json.dumps(config_of("branches.keras", change))
    with pytest.raises(ValueError, match=said):
        nn.Model.load(archive(tmp_path / "m.keras", **members))


def test_a_layer_on_two_paths_is_refused(tmp_path):
    """(hidden(x) + x) + hidden(x): a model of nn would have the layer twice."""

    def change(layers, config):
        again = json.loads(json.dumps(layers["sum"]).replace('"sum"', '"again"'))
        again["inbound_nodes"][0]["args"] = [[history("sum"), history("hidden")]]
        layers["last"]["inbound_nodes"][0]["args"] = [history("again")]
        config["layers"].insert(3, again)

    with zipfile.ZipFile(FOLDER / "branches.keras") as file:
        members = {name: file.read(name) for name in file.namelist()}
    members["config.json"] = json.dumps(config_of("branches.keras", change))
    with pytest.raises(nn.io.FileFormatError, match=r"'hidden' \(Dense\) joins branches"):
        nn.Model.load(archive(tmp_path / "m.keras", **members))


def changed(file, change, tmp_path):
    """Return a copy of an archive with its configuration changed."""
    with zipfile.ZipFile(FOLDER / file) as archived:
        members = {name: archived.read(name) for name in archived.namelist()}
    members["config.json"] = json.dumps(config_of(file, change))
    return archive(tmp_path / "m.keras", **members)


@pytest.mark.parametrize("file, name", (("chain.keras", "last"), ("branches.keras", "hidden")))
@pytest.mark.parametrize("times, said", ((2, "twice"), (3, "3 times")))
def test_a_layer_that_is_called_again_is_refused_by_name(file, name, times, said, tmp_path):
    def change(layers, config):
        nodes = layers[name]["inbound_nodes"]
        again = json.loads(json.dumps(nodes).replace('"keras_history": ["input', '"x": ["input'))
        again[0]["args"] = [history("last")]  # its own output, or that of one after it
        nodes += again * (times - 1)

    with pytest.raises(nn.io.FileFormatError, match=f"the layer '{name}' is used {said}"):
        nn.Model.load(changed(file, change, tmp_path))


def test_attention_is_refused_as_such(tmp_path):
    def change(layers, config):
        layers["sum"].update(class_name="MultiHeadAttention")
        tensors(layers, "sum").__setitem__(slice(None), [history("hidden"), history("hidden")])

    with pytest.raises(nn.io.FileFormatError, match=r"'sum' \(Multi.*is attention, which nn does"):
        nn.Model.load(changed("branches.keras", change, tmp_path))


def test_the_second_layer_of_bidirectional_may_have_its_own_name(tmp_path, expected):
    """In the older layout: 'bidirectional/lstm_1', as a `backward_layer` of the user's has it."""
    shutil.copy(FOLDER / "ids.h5", tmp_path / "ids.h5")
    with h5py.File(tmp_path / "ids.h5", "r+") as file:
        found = []
        file["model_weights"].visit(found.append)
        renamed = [p for p in found if p.rpartition("/")[2].startswith("backward_")]
        assert len(renamed) == 2
        for place in renamed:
            file["model_weights"].move(place, place.replace("backward_", "my_"))
    model = nn.Model.load(tmp_path / "ids.h5")
    assert abs(model.predict(expected["ids_x"]) - expected["ids_y"]).max() < 1e-6


def set_in(index, **values):
    return lambda layers, config: layers[index]["config"].update(values)


@pytest.mark.parametrize(
    "change, said",
    (
        (lambda k, _: k[2].update(class_name="Lambda"), "'first'.*Lambda.*Python function"),
        (lambda k, _: k[2].update(class_name="Mine", registered_name="my>Mine"), "'first'.*Mine"),
        (lambda k, _: k[2].update(class_name="Cropping2D"), "Cropping2D.*does not have"),
        (lambda k, _: k[2].update(class_name="RandomFlip"), "augment="),
        (set_in(2, data_format="channels_first"), "'first'.*data_format"),
        (set_in(2, activation="hard_shrink"), "hard_shrink"),
        (set_in(2, activation={"class_name": "ReLU", "config": {}}), "layer as its activation"),
        (set_in(2, filters="4"), "'first'"),
        (set_in(2, filters=10**12), "numbers"),
        (set_in(2, kernel_size=[5, 5]), "wrong shape|shape"),
        (set_in(3, axis=1), "axis=1"),
        (set_in(0, batch_shape=[None, None, None, 3]), "size of axis"),
        (set_in(0, batch_shape=[None, -1, 7, 3]), "inputs have the shape"),
        (set_in(0, batch_shape=[None, 10**6, 10**6, 3]), "numbers|must be"),
        (set_in(6, output_padding=1), "output_padding"),
        (lambda k, _: k.__delitem__(slice(11, None)), "flattened images"),
        (lambda k, c: (k.clear(), c["config"].pop("build_input_shape")), "shape of its inputs"),
        (lambda k, c: c["config"].pop("layers"), "list of layers"),
        (lambda k, c: c.update(class_name="Mine"), "cannot be read"),
        (lambda k, c: k[3].pop("config"), "config"),
    ),
)
def test_what_nn_does_not_have_is_refused(change, said, tmp_path):
    with pytest.raises(ValueError, match=said) as raised:
        nn.Model.load(archive(tmp_path / "model.keras", change))
    assert "model.keras" in str(raised.value) or "numbers" in str(raised.value)


@pytest.mark.parametrize(
    "members",
    (
        {"config.json": "{"},
        {"config.json": "[" * 100_000},
        {"config.json": "[]"},
        {"config.json": json.dumps("a" * (1 << 25))},
        {"model.weights.h5": b"\x89HDF\r\n\x1a\n" + bytes(100)},
        {"model.weights.h5": b""},
    ),
)
def test_damaged_files_are_one_clear_error(members, tmp_path):
    with pytest.raises(nn.io.FileFormatError, match="of Keras"):
        nn.Model.load(archive(tmp_path / "model.keras", **members))


def test_archive_that_unpacks_to_more_than_it_holds(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("metadata.json", "config.json"):
            file.writestr(name, "{}")
        file.writestr("model.weights.h5", bytes(50 << 20))
    with pytest.raises(nn.io.FileFormatError, match="unpack"):
        nn.Model.load(tmp_path / "model.keras")


def test_weights_in_another_file_are_not_opened(tmp_path):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["layers"] = h5py.ExternalLink("other.h5", "/")
    with pytest.raises(nn.io.FileFormatError, match="external link"):
        nn.Model.load(archive(tmp_path / "model.keras", **{"model.weights.h5": stream.getvalue()}))


def test_dropout_inside_recurrent_layers_is_named(tmp_path):
    def change(config):
        config["config"]["layers"][2]["config"]["layer"]["config"]["dropout"] = 0.5

    with zipfile.ZipFile(FOLDER / "ids.keras") as file:
        found = {name: file.read(name) for name in file.namelist()}
    config = json.loads(found["config.json"])
    change(config)
    path = archive(tmp_path / "m.keras", **found | {"config.json": json.dumps(config)})
    with pytest.warns(UserWarning, match="dropout"):
        nn.Model.load(path)


def test_every_layer_that_is_read_is_a_layer_of_keras():
    keras = pytest.importorskip("keras", reason="Keras knows its layers")
    assert all(hasattr(keras.layers, name) for name in from_keras.LAYERS)


def test_mutations(tmp_path):
    """Damaged files load or are refused with one clear error."""
    rng = np.random.default_rng(0)
    for name in ("chain.keras", "nested.h5"):
        data = np.fromfile(FOLDER / name, np.uint8)
        for _ in range(60):
            damaged = data.copy()
            where = rng.integers(0, len(data), 1 + rng.integers(8))
            damaged[where] = rng.integers(0, 256, len(where))
            path = tmp_path / name
            damaged[: rng.integers(len(data)) if rng.random() < 0.2 else None].tofile(path)
            try:
                nn.Model.load(path)
            except ValueError as error:
                assert str(error)


# ------------------------------------------------------------------------------------ out

# What Keras computes in another way, or not at all; the reason is in the message.
NOT_IN_KERAS = {
    "GaussianSampling": "counterpart",
    "Recompute": None,
    "WeightNorm": "counterpart",
    "MaxPool2D": "padding",
    "MultiHeadAttention": "counterpart",
    "PositionalEmbedding": "counterpart",
    "SinusoidalPositions": "counterpart",
}


def build(name):
    make, shape = LAYERS[name]
    rng = np.random.default_rng(0)
    model = nn.Model([make()], seed=0)
    model.build((None, *shape))
    model.set_weights([w + rng.uniform(0.1, 0.4, w.shape) for w in model.get_weights()])
    if name in TAKE_IDS:
        return model, rng.integers(0, IDS, (3, *shape))
    return model, rng.normal(size=(3, *shape)).astype("float32")


def predict_by_keras(path, x):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    x = x.transpose(0, 2, 3, 1) if x.ndim == 4 else x
    return first(np.asarray(keras.models.load_model(path).predict(x, verbose=0)))


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_goes_out_and_comes_back(name, tmp_path):
    model, x = build(name)
    path = tmp_path / "model.keras"
    reason = NOT_IN_KERAS.get(name)
    if reason is not None:
        with pytest.raises(ValueError, match=rf"\d_.*{reason}"):
            model.save(path)
        assert not path.exists()
        return
    model.save(path)
    if type(model.layers[0]) is nn.Flatten:
        pytest.skip("its output is in another order in Keras")
    again = nn.Model.load(path)
    assert abs(again.predict(x) - model.predict(x)).max() < 1e-6


@needs_keras
@pytest.mark.parametrize("name", [n for n in LAYERS if NOT_IN_KERAS.get(n) is None])
@pytest.mark.filterwarnings("ignore")
def test_keras_predicts_the_same(name, tmp_path):
    model, x = build(name)
    model.save(tmp_path / "model.keras")
    expected = model.predict(x)
    if name == "AvgPool2D":
        pytest.skip("Keras' PyTorch backend pads with the pixels at the edge")
    assert abs(predict_by_keras(tmp_path / "model.keras", x) - expected).max() < 1e-5


def convnet():
    return nn.Model(
        [
            nn.ZeroPad2D(1, input_shape=(2, 7, 8)),
            nn.Conv2D(4, 3, padding=1, stride=2, activation=nn.LeakyReLU(0.1), name="a/b"),
            nn.BatchNorm2D(),
            nn.Standardize(0.5, 2.0),
            nn.Sequential([nn.Conv2D(3, 3, padding=1), nn.ReLU(name="act")]),
            nn.Reshape((15, 5)),
            nn.Dense(4),
            nn.Reshape((3, 4, 5)),
            nn.Conv2DTranspose(2, 2, stride=2),
            nn.Flatten(),
            nn.LayerNorm(trainable=False),
            nn.Dense(3, activation="softmax"),
        ],
        seed=0,
        name="net",
    )


def test_network_comes_back(tmp_path):
    model = convnet()
    x = np.random.default_rng(0).random((3, 2, 7, 8), dtype="float32")
    model.save(tmp_path / "net.keras")
    again = nn.Model.load(tmp_path / "net.keras")
    assert abs(again.predict(x) - model.predict(x)).max() < 1e-6
    assert again.name == "net"
    assert not again.layers[-2].trainable


def test_a_layer_that_trains_some_parameters_alone_is_named(tmp_path):
    model = nn.Model([nn.Dense(2, trainable=("b",), input_shape=(3,))], seed=0)
    with pytest.warns(UserWarning, match=r"\[Dense\] layer 0 trains \('b',\) alone, which Keras"):
        model.save(tmp_path / "part.keras")
    again = nn.Model.load(tmp_path / "part.keras")
    np.testing.assert_array_equal(again.predict(np.eye(3)), model.predict(np.eye(3)))


def test_images_of_any_size(tmp_path):
    model = nn.Model(
        [nn.Conv2D(3, 3, 2, padding=1, input_shape=(2, None, None)), nn.GlobalAvgPool2D()], seed=0
    )
    model.save(tmp_path / "any.keras")
    again = nn.Model.load(tmp_path / "any.keras")
    assert again.input_shape == (None, 2, None, None)
    for size in ((2, 2, 7, 9), (2, 2, 8, 4)):
        x = np.random.default_rng(0).random(size, dtype="float32")
        assert abs(again.predict(x) - model.predict(x)).max() < 1e-6


def blocks():
    inner = nn.Residual([nn.Conv2D(4, 1), nn.ReLU()])
    return nn.Model(
        [
            nn.Conv2D(4, 3, input_shape=(2, 6, 5)),
            nn.Residual([nn.Conv2D(4, 3), nn.BatchNorm2D(), inner, nn.Conv2D(4, 3)],
                        [nn.Conv2D(4, 1), nn.Conv2D(4, 1)], name="sum"),
            nn.SkipConcat([nn.Conv2D(4, 3), nn.Dropout(0.5), nn.Conv2D(3, 3)], nn.Conv2D(4, 1)),
            nn.Flatten(),
            nn.Residual([nn.Dense(9, activation="tanh"), nn.Dense(210)]),
            nn.Dense(3),
        ],
        seed=0,
    )  # fmt: skip


@pytest.mark.parametrize("in_keras", (False, pytest.param(True, marks=needs_keras)))
@pytest.mark.filterwarnings("ignore")
def test_blocks_go_out_and_come_back(in_keras, tmp_path):
    """Keras numbers the layers of a class in its own order, which the paths' lengths decide."""
    model, rng = blocks(), np.random.default_rng(0)
    model.set_weights([w + rng.uniform(-0.2, 0.2, w.shape) for w in model.get_weights()])
    x = rng.normal(size=(3, 2, 6, 5)).astype("float32")
    model.save(tmp_path / "m.keras")
    expected, scale = model.predict(x), abs(model.predict(x)).max()
    if in_keras:
        found = predict_by_keras(tmp_path / "m.keras", x)
        assert abs(found - expected).max() < 1e-5 * scale
        return
    again = nn.Model.load(tmp_path / "m.keras")
    assert abs(again.predict(x) - expected).max() < 1e-6 * scale
    assert [layer.name for layer in again.layers][1] == "sum"


@pytest.mark.parametrize("name", ("resnet20", "unet_small"))
@pytest.mark.filterwarnings("ignore")
def test_networks_of_blocks_go_out_and_come_back(name, tmp_path):
    model, rng = getattr(nn.zoo, name)(seed=0), np.random.default_rng(0)
    model.set_weights([w + rng.uniform(-0.05, 0.05, w.shape) for w in model.get_weights()])
    x = rng.random((2, *(k or 16 for k in model.input_shape[1:])), dtype="float32")
    model.save(tmp_path / "m.keras")
    expected, scale = model.predict(x), abs(model.predict(x)).max()
    assert abs(nn.Model.load(tmp_path / "m.keras").predict(x) - expected).max() < 1e-6 * scale
    if importlib.util.find_spec("keras"):
        assert abs(predict_by_keras(tmp_path / "m.keras", x) - expected).max() < 1e-5 * scale


@needs_keras
@pytest.mark.filterwarnings("ignore")
def test_network_in_keras(tmp_path):
    model = convnet()
    x = np.random.default_rng(0).random((3, 2, 7, 8), dtype="float32")
    model.save(tmp_path / "net.keras")
    assert abs(predict_by_keras(tmp_path / "net.keras", x) - model.predict(x)).max() < 1e-5


@needs_keras
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pools", (False, True))
def test_padded_steps_in_keras(pools, tmp_path):
    """A mask goes through recurrent layers and pooling as there, and comes back from both files."""
    import keras

    more = [nn.GRU(3, return_sequences=True), nn.GlobalAvgPool1D()] if pools else [nn.GRU(3)]
    first_layers = [nn.Masking(-1.0, input_shape=(6, 3)), nn.LSTM(4, return_sequences=True)]
    model = nn.Model([*first_layers, *more], seed=0)
    x = np.random.default_rng(0).normal(size=(3, 6, 3)).astype("float32")
    x[0, 4:] = x[1, 1:] = x[2, 2:4] = -1
    model.save(tmp_path / "m.keras")
    expected = model.predict(x)
    there = keras.models.load_model(tmp_path / "m.keras")
    assert abs(np.asarray(there.predict(x, verbose=0)) - expected).max() < 1e-6
    there.save(tmp_path / "m.h5")
    for name in ("m.keras", "m.h5"):
        again = nn.Model.load(tmp_path / name)
        assert again.layers[0].value == -1
        assert abs(again.predict(x) - expected).max() < 1e-6


def test_no_other_format_under_the_suffix(tmp_path):
    model = convnet()
    with pytest.raises(ValueError, match="'path'"):
        model.save_weights(tmp_path / "net.keras")
    with pytest.raises(ValueError, match="'dtype'"):
        model.save(tmp_path / "net.keras", dtype="float16")
    shutil.copy(FOLDER / "chain.keras", tmp_path / "other.bin")  # the content decides
    assert len(nn.Model.load(tmp_path / "other.bin").layers) == 2


def test_what_a_file_of_keras_does_not_hold_is_said(tmp_path):
    model = nn.Model([nn.Dense(2, input_shape=(3,))], seed=0)
    model.save(tmp_path / "plain.keras")  # without a warning
    model.class_names = ["cat", "dog"]
    with pytest.warns(UserWarning, match=r"does not hold class_names: set them"):
        model.save(tmp_path / "named.keras")
    assert nn.Model.load(tmp_path / "named.keras").class_names is None
