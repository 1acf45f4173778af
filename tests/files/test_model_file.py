"""Model files: what is written is what is read, and nothing else is believed."""

import functools
import json
import os
import subprocess
import sys
import warnings
import zipfile

import h5py
import numpy as np
import pytest

import nn
from nn import io, optim

FORMATS = ["hdf5", "npz"]


def convnet(seed=0):
    return nn.Model(
        [
            nn.Conv2D(4, 3, stride=2, activation="relu", input_shape=(1, 8, 8), name="first"),
            nn.BatchNorm2D(),
            nn.MaxPool2D(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Dense(3),
            nn.Softmax(),
        ],
        seed=seed,
        name="Small",
    )


def data(n=30):
    rng = np.random.default_rng(0)
    return rng.random((n, 1, 8, 8), dtype="float32"), rng.integers(0, 3, n)


def trained(**arguments):
    model = convnet()
    model.compile(**{"loss": "cce", "optimizer": "adam", "lr": 0.01, **arguments})
    model.fit(*data(), epochs=2, verbose=0)
    return model


@pytest.fixture
def saved(tmp_path):
    """A trained model and the file it was saved to."""
    model = trained()
    model.save(tmp_path / "model.hdf5")
    return model, tmp_path / "model.hdf5"


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_loaded_model_predicts_bit_for_bit_the_same(suffix, tmp_path):
    model = trained()
    model.save(tmp_path / f"model.{suffix}")
    loaded = nn.Model.load(tmp_path / f"model.{suffix}")
    x, y = data()
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert loaded.evaluate(x, y) == model.evaluate(x, y)
    assert repr(loaded) == repr(model)
    assert loaded.summary() == model.summary()
    assert loaded.history == model.history


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", optim.NAME2OPTIMIZER)
def test_training_goes_on_with_the_same_optimizer_state(suffix, name, tmp_path):
    x, y = data()
    model = trained(optimizer=name, weight_decay=0.01, clip_norm=5.0)
    model.save(tmp_path / f"model.{suffix}")
    loaded = nn.Model.load(tmp_path / f"model.{suffix}")
    assert loaded.optimizer.to_config() == model.optimizer.to_config()
    assert loaded.optimizer.iterations == model.optimizer.iterations == 2
    for one in (model, loaded):
        one.fit(x, y, epochs=4, initial_epoch=2, verbose=0)
    assert loaded.history == model.history
    for key, array in model.get_arrays().items():
        np.testing.assert_array_equal(loaded.get_arrays()[key], array)


def test_names_in_the_file(saved):
    model, path = saved
    with h5py.File(path) as file:
        names = set(file)
        assert {"0_Conv2D_W", "0_Conv2D_b", "1_BatchNorm2D_running_var", "5_Dense_W"} <= names
        assert {"m", "v"} <= set(file["optimizer"])
        np.testing.assert_array_equal(file["5_Dense_W"], model.layers[5].params["W"])
        architecture = json.loads(file["architecture"].asstr()[()])
    assert architecture["input_shape"] == [None, 1, 8, 8]
    assert architecture["layers"][0]["config"]["name"] == "first"


def test_an_architecture_larger_than_an_attribute_may_be(tmp_path):
    layers = [
        nn.Dense(1, input_shape=(1,), name="x" * 200),
        *(nn.ReLU(name="y" * 200) for _ in range(400)),
    ]
    model = nn.Model(layers)
    model.save(tmp_path / "long.hdf5")
    assert len(nn.Model.load(tmp_path / "long.hdf5").layers) == 401


def test_without_the_optimizer(tmp_path):
    trained().save(tmp_path / "bare.hdf5", include_optimizer=False)
    loaded = nn.Model.load(tmp_path / "bare.hdf5")
    assert loaded.optimizer is None
    with h5py.File(tmp_path / "bare.hdf5") as file:
        assert "training" not in file
        assert "optimizer" not in file


def test_weights_alone(tmp_path):
    model = trained()
    model.save_weights(tmp_path / "weights.npz")
    other = convnet(seed=5)
    other.load_weights(tmp_path / "weights.npz")
    np.testing.assert_array_equal(other.predict(data()[0]), model.predict(data()[0]))
    with pytest.raises(io.FileFormatError, match="holds weights but no layers"):
        nn.Model.load(tmp_path / "weights.npz")
    later = nn.Model([nn.Dense(3)])
    later.load_weights(tmp_path / "weights.npz")
    with pytest.raises(ValueError, match="does not fit the model"):
        later.predict(np.zeros((1, 2)))


def test_strict_loading_lists_everything_that_does_not_fit(tmp_path):
    model = nn.Model([nn.Dense(3, input_shape=(2,)), nn.Dense(4)])
    model.save_weights(tmp_path / "weights.hdf5")
    other = nn.Model([nn.Dense(5, input_shape=(2,)), nn.ReLU(), nn.Dense(4)])
    before = {k: v.copy() for k, v in other.get_arrays().items()}
    with pytest.raises(ValueError, match="missing: 2_Dense_W, 2_Dense_b") as error:
        other.load_weights(tmp_path / "weights.hdf5")
    assert "extra: 1_Dense_W, 1_Dense_b" in str(error.value)
    assert "wrong shape: 0_Dense_W (2, 3) for (2, 5)" in str(error.value)
    for name, array in other.get_arrays().items():
        np.testing.assert_array_equal(array, before[name])
    partly = nn.Model([nn.Dense(3, input_shape=(2,)), nn.ReLU(), nn.Dense(4)])
    partly.load_weights(tmp_path / "weights.hdf5", strict=False)
    np.testing.assert_array_equal(partly.layers[0].params["W"], model.layers[0].params["W"])


# ---------------------------------------------------------------------- the two-file layout


def write_two_files(folder, model, input_shape=None):
    """Write a model as older NumPy convnets do."""
    with h5py.File(folder / "weights.hdf5", "w") as file:
        for name, array in model.get_arrays().items():
            file[name] = array
    layers = [json.loads(json.dumps(layer.to_config())) for layer in model.layers]
    for entry in layers:
        entry["config"].pop("input_shape", None)
    if input_shape is not None:
        layers[0]["config"]["input_shape"] = input_shape
    (folder / "weights.json").write_text(json.dumps(layers))


@pytest.mark.parametrize("input_shape", [None, [1, 8, 8]])
def test_two_file_layout(input_shape, tmp_path):
    model = trained()
    write_two_files(tmp_path, model, input_shape)
    loaded = nn.Model.load(tmp_path / "weights.hdf5")
    assert loaded.built == (input_shape is not None)
    np.testing.assert_array_equal(loaded.predict(data()[0]), model.predict(data()[0]))


def test_two_file_layout_with_wrong_arrays(tmp_path):
    write_two_files(tmp_path, trained())
    loaded = nn.Model.load(tmp_path / "weights.hdf5")
    with pytest.raises(ValueError, match="wrong shape: 0_Conv2D_W"):
        loaded.predict(np.zeros((1, 3, 8, 8)))


@pytest.mark.parametrize("text", ["[]", "{}", "[{]", '"layers"', "[1]", '[{"class": "Nothing"}]'])
def test_two_file_layout_with_a_broken_list(text, tmp_path):
    write_two_files(tmp_path, trained())
    (tmp_path / "weights.json").write_text(text)
    with pytest.raises(ValueError, match=r"\[io\]|\[Model\]"):
        nn.Model.load(tmp_path / "weights.hdf5")


# ------------------------------------------------------------------------------ bad files


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        nn.Model.load(tmp_path / "nowhere.hdf5")


@pytest.mark.parametrize("member", ["data.txt", "config.json"])
def test_an_archive_of_something_else(member, tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr(member, b"not an array")
    with pytest.raises(io.FileFormatError, match="damaged or truncated"):
        nn.Model.load(tmp_path / "model.pt")


@pytest.mark.parametrize("suffix", FORMATS)
def test_files_with_any_byte_damaged(suffix, tmp_path):
    """Whatever is damaged: the model loads, or one clear error says that it does not."""
    path = tmp_path / f"model.{suffix}"
    trained().save(path)
    whole = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = whole.copy()
        for at in rng.integers(0, len(whole), 8):
            damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                nn.Model.load(path)
        except ValueError as error:  # FileFormatError, or arrays that do not fit
            assert str(error).startswith("[")
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("architecture", "layers", 5),
        ("architecture", "layers", [{"class": "Dense", "config": [1]}]),
        ("architecture", "layers", [{"class": "Dense", "config": {"units": 3, "input_shape": 7}}]),
        ("architecture", "input_shape", 5),
        ("architecture", "dtype", "foo"),
        ("training", "history", 5),
        ("training", "history", {"loss": "abc"}),
        ("training", "generators", []),
        ("training", "generators", None),
        ("training", "epoch", "x"),
        ("training", "loss", {"class": "Huber", "config": {"nothing": 1}}),
        ("training", "metrics", [5]),
    ],
)
def test_files_that_describe_nonsense(part, key, value, saved):
    _, path = saved
    with h5py.File(path, "a") as file:
        content = json.loads(file[part].asstr()[()])
        content[key] = value
        del file[part]
        file[part] = json.dumps(content)
    with pytest.raises(ValueError, match=r"\[\w+\]"):
        nn.Model.load(path)


def test_weights_beside_notes_that_happen_to_be_json(tmp_path):
    model = convnet()
    model.save_weights(tmp_path / "weights.hdf5")
    (tmp_path / "weights.json").write_text('{"my notes": ')
    model.load_weights(tmp_path / "weights.hdf5")


def test_weights_for_a_model_that_is_not_built(tmp_path):
    nn.Model([nn.Dense(3, input_shape=(2,))]).save_weights(tmp_path / "weights.hdf5")
    model = nn.Model([nn.Dense(5)])
    model.load_weights(tmp_path / "weights.hdf5")
    for _ in range(2):  # it does not forget that they did not fit
        with pytest.raises(ValueError, match=r"weights\.hdf5.*wrong shape: 0_Dense_W"):
            model.predict(np.zeros((1, 2)))
    loose = nn.Model([nn.Dense(5)])
    loose.load_weights(tmp_path / "weights.hdf5", strict=False)
    assert loose.predict(np.zeros((1, 2))).shape == (1, 5)


def test_an_initializer_of_the_users_is_not_needed_to_load(tmp_path):
    def twos(shape, rng):
        return np.full(shape, 2.0)

    layers = [
        nn.Dense(3, kernel_initializer=twos, input_shape=(2,)),
        nn.Dense(3, kernel_initializer=functools.partial(twos)),
        nn.Dense(3, kernel_initializer=nn.initializers.ones),
    ]
    model = nn.Model(layers)
    model.save(tmp_path / "model.hdf5")
    loaded = nn.Model.load(tmp_path / "model.hdf5")
    np.testing.assert_array_equal(loaded.predict(np.ones((1, 2))), model.predict(np.ones((1, 2))))
    assert [layer.kernel_initializer for layer in loaded.layers] == [None, None, "ones"]


def test_numpys_numbers_in_the_history_are_written(tmp_path):
    class Norm(nn.callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["norm"] = np.linalg.norm(self.model.layers[0].params["W"])

    model = convnet()
    model.compile("cce")
    model.fit(*data(), callbacks=[Norm()], verbose=0)
    model.save(tmp_path / "model.hdf5")
    assert nn.Model.load(tmp_path / "model.hdf5").history == model.history


def test_a_layer_whose_arguments_cannot_be_saved_says_so(tmp_path):
    class Power(nn.Layer):
        def __init__(self, exponent):
            super().__init__()
            self.exponent = exponent

        def forward(self, x, training=False):
            return x**self.exponent

    model = nn.Model([Power(2)])
    model.build((None, 2))
    assert repr(model) == "Model([Power()])"
    with pytest.raises(TypeError, match=r"\[Power\] takes exponent and needs a to_config"):
        model.save(tmp_path / "model.hdf5")


def test_a_config_that_json_cannot_write_says_so(tmp_path):
    class Odd(nn.Layer):
        def forward(self, x, training=False):
            return x

        def to_config(self):
            return {"class": "Odd", "config": {"thing": object()}}

    model = nn.Model([Odd()])
    model.build((None, 2))
    with pytest.raises(TypeError, match=r"to_config\(\) must return values that JSON can store"):
        model.save(tmp_path / "model.hdf5")
    assert list(tmp_path.iterdir()) == []


def test_a_loss_of_the_users_with_the_name_of_ours(tmp_path):
    class Huber(nn.losses.Loss):
        def forward(self, y_pred, y_true):
            return 0.0

    model = convnet()
    model.layers.pop()
    model.compile(Huber(), "sgd")
    model.save(tmp_path / "model.hdf5")
    with pytest.warns(UserWarning, match="not compiled"):
        assert nn.Model.load(tmp_path / "model.hdf5").loss is None


def test_saving_through_a_link_and_under_a_long_name(saved, tmp_path):
    model, path = saved
    link = tmp_path / "link.hdf5"
    link.symlink_to(path)
    model.save(link)
    assert link.is_symlink()
    model.save(tmp_path / ("x" * 250 + ".npz"))


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\0" * 999]
)
def test_foreign_files(content, tmp_path):
    (tmp_path / "model.hdf5").write_bytes(content)
    with pytest.raises(io.FileFormatError, match=r"model\.hdf5"):
        nn.Model.load(tmp_path / "model.hdf5")


@pytest.mark.parametrize("suffix", FORMATS)
def test_truncated_files(suffix, tmp_path):
    path = tmp_path / f"model.{suffix}"
    trained().save(path)
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(io.FileFormatError, match="damaged or truncated"):
            nn.Model.load(path)


def test_hdf5_and_npz_files_of_something_else(tmp_path):
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["temperature"] = np.zeros(3)
    np.savez(tmp_path / "other.npz", temperature=np.zeros(3))
    for name in ("other.hdf5", "other.npz"):
        with pytest.raises(io.FileFormatError, match="holds weights but no layers"):
            nn.Model.load(tmp_path / name)
    with h5py.File(tmp_path / "text.hdf5", "w") as file:
        file["0_Dense_W"] = "text"
    with pytest.raises(io.FileFormatError, match="is not an array of numbers"):
        nn.Model.load(tmp_path / "text.hdf5")
    with h5py.File(tmp_path / "complex.hdf5", "w") as file:
        file["0_Dense_W"] = np.zeros(3, dtype=complex)
    with pytest.raises(io.FileFormatError, match="is not an array of numbers"):
        nn.Model.load(tmp_path / "complex.hdf5")
    np.savez(tmp_path / "pickle.npz", a=np.array([object()]))
    with pytest.raises(io.FileFormatError, match="damaged"):
        nn.Model.load(tmp_path / "pickle.npz")


# -------------------------------------------------------------------------- safe writing


def test_a_failed_save_leaves_the_old_file_and_nothing_else(saved, monkeypatch):
    model, path = saved
    before = path.read_bytes()

    def full(stream, datasets):
        stream.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nn.files.hdf5.write", full)
    with pytest.raises(OSError, match="No space left"):
        model.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["model.hdf5"]


def test_saving_into_a_folder_that_does_not_exist(saved, tmp_path):
    model, _ = saved
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        model.save(tmp_path / "none" / "model.hdf5")


def test_files_get_the_modes_of_other_files(saved):
    model, path = saved
    plain = path.with_name("plain")
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    model.save(path)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_loads_in_a_new_process(suffix, tmp_path):
    model = trained()
    model.save(tmp_path / f"model.{suffix}")
    x, _ = data()
    np.save(tmp_path / "x.npy", x)
    code = (
        "import nn, numpy as np, sys; m = nn.Model.load(sys.argv[1]).to_cpu();"
        "np.save(sys.argv[3], m.predict(np.load(sys.argv[2])))"
    )
    files = [str(tmp_path / name) for name in (f"model.{suffix}", "x.npy", "y.npy")]
    subprocess.run([sys.executable, "-c", code, *files], check=True, env={**os.environ})
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), model.predict(x))
