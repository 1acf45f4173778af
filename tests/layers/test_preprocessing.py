"""Preprocessing inside the model: scaling, standardising, and the names of the classes."""

import json

import h5py
import numpy as np
import pytest

import nn
from nn.data import Dataset
from nn.files.model_file import FileFormatError


def images(n=40, seed=0, channels=3):
    """Images of bytes whose channels differ in mean and spread, and labels."""
    rng = np.random.default_rng(seed)
    middle, spread = np.array([40, 120, 200])[:channels], np.array([10, 30, 20])[:channels]
    x = rng.normal(middle[:, None, None], spread[:, None, None], (n, channels, 5, 4))
    return x.clip(0, 255).astype(np.uint8), np.arange(n) % 2


def network(*first, **arguments):
    layers = [*first, nn.Flatten(), nn.Dense(2)]
    model = nn.Model(layers, **{"seed": 0, **arguments})
    model.compile("cce", "sgd", lr=0.1)
    return model


def slow_statistics(x):
    """Mean and standard deviation of each channel, number by number."""
    means, stds = [], []
    for channel in np.moveaxis(np.asarray(x, dtype=np.float64), 1, 0):
        values = channel.ravel().tolist()
        mean = sum(values) / len(values)
        means.append(mean)
        stds.append((sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5)
    return means, stds


def statistics_of(layer):
    return layer.buffers["mean"], layer.buffers["std"]


# -------------------------------------------------------------------------------- Rescale


def test_rescale_by_hand():
    layer = nn.Rescale(2, -1)
    x = np.array([[0.0, 0.25, 1.0]], dtype="float32")
    y = layer.forward(x)
    assert y.dtype == "float32"
    np.testing.assert_array_equal(y, [[-1, -0.5, 1]])
    np.testing.assert_array_equal(layer.backward(np.ones_like(x)), [[2, 2, 2]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), r"\[Rescale\] 'scale' must not be 0, got 0\."),
        (("2",), "'scale' must be a finite number, got '2'"),
        ((float("nan"),), "'scale' must be a finite number"),
        ((True,), "'scale' must be a finite number"),
        ((1, float("inf")), "'offset' must be a finite number"),
        ((1, None), "'offset' must be a finite number"),
        (([1, 2],), "'scale' must be a finite number"),
    ],
)
def test_rescale_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        nn.Rescale(*arguments)


def test_images_of_bytes_come_scaled_to_the_first_layer():
    x, y = images()
    model = network(nn.Rescale(2, -1))
    expected = x / 127.5 - 1
    seen = []

    class Look(nn.Layer):
        def forward(self, x, training=False):
            seen.append(x)
            return x

        def backward(self, grad):
            return grad

    model = network(nn.Rescale(2, -1), Look())
    model.fit(x, y, batch_size=40, shuffle=False, verbose=0)
    np.testing.assert_allclose(seen[-1], expected, atol=1e-6)
    for use in (lambda: model.predict(x), lambda: model.evaluate(x, y), lambda: model.forward(x)):
        use()
        np.testing.assert_allclose(seen[-1], expected, atol=1e-6)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("scale", [1 / 255, -1 / 255, 0.01])
def test_images_are_not_scaled_twice(scale, nested):
    x, y = images()
    first = nn.Rescale(scale)
    model = network(nn.Sequential([first, nn.ReLU()]) if nested else first)
    message = r"'x' holds images of bytes .* Rescale\(.*\) takes 0\.\.255 and .*: pass x"
    for use in (
        lambda: model.fit(x, y, verbose=0),
        lambda: model.fit(Dataset(x, y), verbose=0),
        lambda: model.fit(x / 255.0, y, val_data=(x, y), verbose=0),
        lambda: model.evaluate(x, y),
        lambda: model.train_step(x, y),
        lambda: model.predict(x),
        lambda: model.predict(Dataset(x)),
        lambda: model.predict_classes(x),
        lambda: model.forward(x),
    ):
        with pytest.raises(ValueError, match=message):
            use()
    model.predict(x.astype("float32"))  # numbers that are no bytes are taken as they are
    model.fit(x.astype("float32"), y, verbose=0)


def test_another_scale_or_place_is_no_double_scaling():
    x, _ = images()
    network(nn.Rescale(0.02)).predict(x)
    network(nn.Rescale(2), nn.Rescale(1 / 255)).predict(x)
    network(nn.Dropout(0.1), nn.Rescale(1 / 255)).predict(x)


# ---------------------------------------------------------------------------- Standardize


@pytest.mark.parametrize("shape", [(30, 4), (30, 3, 5), (20, 3, 5, 4)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint8", "bool"])
def test_adapt_measures_each_channel(shape, dtype, rng):
    x = (
        rng.normal(100, 20, size=shape) > 100
        if dtype == "bool"
        else rng.normal(100, 20, size=shape)
    ).astype(dtype)
    layer = nn.Standardize()
    layer.adapt(x)
    x = x / 255 if dtype == "uint8" and x.ndim == 4 else x
    channels_first = x.transpose(0, 2, 1) if x.ndim == 3 else x  # of sequences they are the last
    mean, std = slow_statistics(channels_first)
    assert layer.buffers["mean"].shape == (channels_first.shape[1],)
    np.testing.assert_allclose(layer.buffers["mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(layer.buffers["std"], std, rtol=1e-6)


def test_adapt_does_not_depend_on_the_batches(monkeypatch, rng):
    x = rng.normal(5, 2, size=(50, 3))
    found = []
    for size in (1, 7, 50, 1000):
        monkeypatch.setattr(nn.layers.preprocessing, "_SAMPLES_AT_ONCE", size)
        layer = nn.Standardize()
        layer.dtype = "float64"
        layer.adapt(Dataset(x))
        found.append(np.concatenate(statistics_of(layer)))
    np.testing.assert_allclose(
        found[0], np.concatenate([x.mean(axis=0), x.std(axis=0)]), rtol=1e-13
    )
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-13)


def test_a_small_spread_on_a_large_mean_is_measured_right(rng):
    x = 1e8 + rng.normal(size=(1000, 2))
    layer = nn.Standardize()
    layer.dtype = "float64"
    layer.adapt(x)
    np.testing.assert_allclose(layer.buffers["std"], x.std(axis=0), rtol=1e-6)


def test_forward_and_backward_by_hand():
    layer = nn.Standardize((1, 2), (2, 0.5))
    x = np.array([[3.0, 3.0], [1.0, 2.0]], dtype="float32")
    np.testing.assert_array_equal(layer.forward(x), [[1, 2], [0, 0]])
    np.testing.assert_array_equal(layer.backward(np.ones_like(x)), [[0.5, 2], [0.5, 2]])
    number = nn.Standardize(1, 2)
    np.testing.assert_array_equal(
        number.forward(np.full((1, 3, 1, 1), 5.0)), np.full((1, 3, 1, 1), 2)
    )


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 3, -1e-30])
def test_a_channel_that_never_changes_has_the_std_1(value, rng):
    x = rng.normal(size=(300, 2, 3, 3))
    x[:, 1] = value
    layer = nn.Standardize()
    layer.dtype = "float64"
    layer.adapt(x)
    assert layer.buffers["std"][1] == 1
    assert layer.buffers["std"][0] == pytest.approx(x[:, 0].std())
    np.testing.assert_allclose(layer.forward(x)[:, 1], 0, atol=1e-9)


def test_one_sample_is_enough():
    layer = nn.Standardize()
    layer.adapt(np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(layer.buffers["std"], [1, 1])


def test_a_set_on_the_disk_is_read_batch_by_batch(tmp_path, monkeypatch):
    x, _ = images(1000)
    np.save(tmp_path / "x.npy", x)
    dataset = Dataset(np.load(tmp_path / "x.npy", mmap_mode="r"))
    read = []
    original = nn.layers.preprocessing._Statistics.update
    monkeypatch.setattr(
        nn.layers.preprocessing._Statistics,
        "update",
        lambda self, batch: (read.append(len(batch)), original(self, batch)),
    )
    layer = nn.Standardize()
    layer.adapt(dataset)
    assert max(read) <= 256
    assert sum(read) == 1000
    np.testing.assert_allclose(layer.buffers["mean"], slow_statistics(x / 255)[0], rtol=1e-6)


def test_adapt_again_replaces_what_was_known(rng):
    layer = nn.Standardize(0.0, 1.0)
    x = rng.normal(3, 2, size=(50, 4))
    layer.adapt(x)
    np.testing.assert_allclose(layer.buffers["mean"], x.mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": 1}, r"\[Standardize\] 'std' must be given with 'mean', got None"),
        ({"std": 1}, "'mean' must be given with 'std'"),
        ({"mean": 1, "std": 0}, "'std' must be above 0, got 0"),
        ({"mean": 1, "std": [1, -1]}, "'std' must be above 0"),
        ({"mean": [], "std": 1}, "'mean' must be a number or a list of them"),
        ({"mean": [[1]], "std": 1}, "'mean' must be a number or a list of them"),
        ({"mean": "a", "std": 1}, "'mean' must be a finite number"),
        ({"mean": [1, None], "std": 1}, "'mean' must be a finite number"),
        ({"mean": float("nan"), "std": 1}, "'mean' must be a finite number"),
        ({"mean": 1, "std": float("inf")}, "'std' must be a finite number"),
    ],
)
def test_standardize_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        nn.Standardize(**arguments)


@pytest.mark.parametrize("large", [1e200, 1e39], ids=["squares overflow", "above float32"])
def test_data_too_large_for_their_mean_and_std_are_refused(large):
    layer = nn.Standardize()
    layer.adapt(np.array([[1.0], [3.0]]))
    with pytest.raises(ValueError, match=r"\[Standardize\] 'data' must have a mean and a variance"):
        layer.adapt(np.array([[0.0], [large]]))
    assert (layer.buffers["mean"], layer.buffers["std"]) == (2.0, 1.0)


def test_what_does_not_fit_the_channels_is_refused(rng):
    with pytest.raises(ValueError, match="'mean' must be a number, or one for each of 4 channels"):
        nn.Standardize((1, 2, 3), 1).build((None, 4))
    layer = nn.Standardize()
    layer.adapt(rng.random((3, 4)))
    with pytest.raises(ValueError, match=r"was built for inputs of shape \(None, 4\), got data"):
        layer.adapt(rng.random((3, 5)))
    with pytest.raises(ValueError, match="was built for inputs of shape"):
        layer.forward(rng.random((3, 5)))
    with pytest.raises(ValueError, match="expects 2-D or 3-D or 4-D"):
        nn.Standardize().adapt(rng.random(3))
    for bad in (np.nan, np.inf):
        x = rng.random((600, 4))
        x[599, 1] = bad
        fresh = nn.Standardize()
        with pytest.raises(ValueError, match="'data' must be finite"):
            fresh.adapt(x)
        assert not fresh.adapted
    with pytest.raises(TypeError, match="real numbers"):
        nn.Standardize().adapt(np.array([["a"]]))


def test_nothing_runs_before_the_mean_is_known():
    x, y = images()
    model = network(nn.Standardize())
    message = r"\[Standardize\] has no mean and std yet: call adapt"
    for use in (
        lambda: model.predict(x),
        lambda: model.forward(x),
        lambda: model.train_step(x, y),
        lambda: model.evaluate(x, y),
        lambda: nn.Standardize().forward(np.zeros((2, 3))),
    ):
        with pytest.raises(RuntimeError, match=message):
            use()


# ------------------------------------------------------------------------------ in a model


def test_fit_measures_the_training_split_alone():
    x, y = images(100)
    model = network(nn.Standardize())
    model.fit(x, y, validation_split=0.25, verbose=0)
    train, val = Dataset(x, y).split(0.25, rng=np.random.default_rng(model.split_seed))
    assert len(val) == 25
    mean, std = slow_statistics(train.x / 255)
    np.testing.assert_allclose(model.layers[0].buffers["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(model.layers[0].buffers["std"], std, rtol=1e-5)
    everything, _ = slow_statistics(x / 255)
    assert not np.allclose(model.layers[0].buffers["mean"], everything, rtol=1e-5)


def test_fit_measures_neither_what_augmentation_nor_what_val_data_give():
    x, y = images()
    model = network(nn.Standardize())
    model.fit(x, y, val_data=(x[:4] // 2, y[:4]), augment=lambda x, rng: x + 1, verbose=0)
    np.testing.assert_allclose(
        model.layers[0].buffers["mean"], slow_statistics(x / 255)[0], rtol=1e-5
    )


@pytest.mark.parametrize("nested", [False, True])
def test_after_rescale_it_measures_what_rescale_gives(nested):
    x, y = images()
    layers = [nn.Rescale(2, -1), nn.Rescale(3), nn.Standardize()]
    model = network(nn.Sequential(layers)) if nested else network(*layers)
    model.fit(x, y, verbose=0)
    mean, std = slow_statistics((x / 255 * 2 - 1) * 3)
    np.testing.assert_allclose(layers[2].buffers["mean"], mean, rtol=1e-4)
    np.testing.assert_allclose(layers[2].buffers["std"], std, rtol=1e-4)


def test_predict_on_raw_images_is_right(tmp_path):
    """Trained, saved and loaded: images of bytes give what a model without the layer gives."""
    x, y = images(60)
    model = network(nn.Standardize())
    model.fit(x[:40], y[:40], epochs=2, verbose=0)
    mean, std = (values.reshape(3, 1, 1) for values in statistics_of(model.layers[0]))
    w, b = model.layers[2].params["W"], model.layers[2].params["b"]
    expected = ((x / 255 - mean) / std).reshape(60, -1) @ w + b
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-4, atol=1e-4)
    for name in ("m.hdf5", "m.npz"):
        model.save(tmp_path / name)
        loaded = nn.Model.load(tmp_path / name)
        assert loaded.layers[0].adapted
        np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    with h5py.File(tmp_path / "m.hdf5") as file:
        np.testing.assert_array_equal(file["0_Standardize_mean"], mean.ravel())
        np.testing.assert_array_equal(file["0_Standardize_std"], std.ravel())


def test_what_is_known_is_not_measured_again(tmp_path):
    x, y = images()
    other, _ = images(40, seed=1)
    model = network(nn.Standardize())
    model.fit(x, y, verbose=0)
    known = [values.copy() for values in statistics_of(model.layers[0])]
    model.save(tmp_path / "m.hdf5")
    model.fit(other // 2, y, epochs=2, initial_epoch=1, verbose=0)
    resumed = network(nn.Standardize(), seed=5)
    resumed.fit(other // 2, y, epochs=2, resume=tmp_path / "m.hdf5", verbose=0)
    given = network(nn.Standardize(0.5, 0.25))
    given.fit(x, y, verbose=0)
    for one in (model, resumed):
        for values, before in zip(statistics_of(one.layers[0]), known, strict=True):
            np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(given.layers[0].buffers["mean"], [0.5] * 3)


def test_a_layer_adapted_before_it_is_in_a_model():
    x, y = images()
    layer = nn.Standardize()
    layer.adapt(Dataset(x))
    known = layer.buffers["mean"].copy()
    model = network(layer)
    model.fit(x[:10], y[:10], verbose=0)
    np.testing.assert_array_equal(layer.buffers["mean"], known)


def test_elsewhere_fit_asks_for_adapt():
    x, y = images()
    message = r"\[Standardize\] layer 1_Standardize has no mean and std, and fit\(\) measures them"
    model = network(nn.MaxPool2D(), nn.Standardize())
    history = model.history
    with pytest.raises(RuntimeError, match=message):
        model.fit(x, y, verbose=0)
    assert model.history is history
    model.layers[1].adapt(nn.MaxPool2D().forward(x / 255))
    model.fit(x, y, verbose=0)
    for layers in (
        [nn.Standardize(), nn.Standardize()],
        [nn.Residual(nn.Standardize())],
        [nn.Rescale(2), nn.ReLU(), nn.Standardize()],
    ):
        with pytest.raises(RuntimeError, match="call its adapt"):
            network(*layers).fit(x, y, verbose=0)


def test_a_layer_elsewhere_comes_out_of_the_file_to_resume(tmp_path):
    x, y = images()
    model = network(nn.MaxPool2D(), nn.Standardize())
    model.layers[1].adapt(nn.MaxPool2D().forward(x / 255))
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.hdf5")
    resumed = network(nn.MaxPool2D(), nn.Standardize(), seed=5)
    resumed.fit(x, y, epochs=2, resume=tmp_path / "m.hdf5", verbose=0)
    known = model.layers[1].buffers["mean"]
    np.testing.assert_array_equal(resumed.layers[1].buffers["mean"], known)


def test_a_fit_that_is_refused_has_measured_nothing():
    x, y = images()
    model = network(nn.Standardize())
    with pytest.raises(ValueError, match="lr_schedule"):
        model.fit(x, y, lr_schedule="cosin", verbose=0)
    assert not model.layers[0].adapted


def test_the_gradient_below_is_not_computed_while_training(monkeypatch):
    x, y = images()
    model = network(nn.Standardize(0.5, 0.5))

    def not_called(self, grad):
        raise AssertionError("nobody reads this gradient")

    monkeypatch.setattr(nn.Standardize, "backward", not_called)
    model.train_step(x, y)


def test_it_learns_where_raw_numbers_do_not():
    """Features of very different sizes, as in tables of measurements."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = (rng.normal(size=(200, 2)) + 4 * y[:, None]) * [1e-3, 1.0] + [5.0, -40.0]
    accuracy = []
    for first in ([nn.Standardize()], []):
        model = network(*first)
        accuracy.append(model.fit(x, y, epochs=20, verbose=0)["acc"][-1])
    assert accuracy[0] > 0.95
    assert accuracy[1] < 0.85


# --------------------------------------------------------------------- names of classes


def test_fit_takes_the_names_of_the_training_set(tmp_path):
    x, y = images()
    model = network()
    assert model.class_names is None
    model.fit(Dataset(x, y, class_names=("cat", "dog")), validation_split=0.2, verbose=0)
    assert model.class_names == ["cat", "dog"]
    names = model.predict_classes(x, names=True)
    assert names.shape == (40,)
    assert names.tolist() == [["cat", "dog"][k] for k in model.predict_classes(x)]
    assert names[0].upper() in ("CAT", "DOG")
    for name in ("m.hdf5", "m.npz"):
        model.save(tmp_path / name, include_optimizer=False)
        loaded = nn.Model.load(tmp_path / name)
        assert loaded.class_names == ["cat", "dog"]
        np.testing.assert_array_equal(loaded.predict_classes(x, names=True), names)
    model.fit(x, y, verbose=0)
    assert model.class_names == ["cat", "dog"]  # no names in these data: the old ones stay


def test_names_of_a_single_output(rng):
    model = nn.Model([nn.Dense(1, input_shape=(2,))], loss="bce", seed=0)
    model.class_names = np.array(["no", "yes"])
    x = rng.normal(size=(9, 2))
    expected = np.where(model.predict_classes(x) == 1, "yes", "no")
    np.testing.assert_array_equal(model.predict_classes(x, names=True), expected)
    assert set(expected) == {"no", "yes"}


def test_names_are_taken_only_where_there_is_one_for_each_output():
    x, y = images()
    model = nn.Model([nn.Flatten(), nn.Dense(5)], seed=0)
    model.compile("cce", "sgd")
    with pytest.warns(UserWarning, match=r"a class name for each of 5 classes .*'dog'"):
        model.fit(Dataset(x, y, class_names=("cat", "dog")), verbose=0)
    assert model.class_names is None
    model.fit(Dataset(x, y, class_names=("a", "b", "c", "c", "d")), verbose=0)
    assert model.class_names == ["a", "b", "c", "c", "d"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("ab", "'class_names' must be a list of texts, got 'ab'"),
        (5, "must be a list of texts"),
        ([1, 2], "must be a list of texts"),
        ([["a"], ["b"]], "must be a list of texts"),
        ([], "must be a list of texts"),
        (["a"], "must hold one name for each of 2 classes"),
        (["a", "b", "c"], "must hold one name for each of 2 classes"),
    ],
)
def test_names_that_are_none(names, message):
    model = network()
    model.build((None, 3, 5, 4))
    model.class_names = ["x", "y"]
    with pytest.raises(ValueError, match=message):
        model.class_names = names
    assert model.class_names == ["x", "y"]
    model.class_names = None
    assert model.class_names is None


def test_names_where_there_are_none_or_too_few():
    x, _ = images()
    model = network()
    with pytest.raises(ValueError, match="'names' needs the names of the classes"):
        model.predict_classes(x, names=True)
    model.class_names = ["a", "b", "c"]  # not built: nobody knows better yet
    with pytest.raises(ValueError, match="one name for each of 2 classes"):
        model.predict_classes(x, names=True)


@pytest.mark.parametrize("names", [["a"], "ab", 5, [1, 2], [["a"], ["b"]], {"a": 1}])
def test_nonsense_for_names_in_a_file_is_refused(names, tmp_path):
    model = network()
    model.build((None, 3, 5, 4))
    model.save(tmp_path / "m.hdf5")
    with h5py.File(tmp_path / "m.hdf5", "a") as file:
        architecture = json.loads(file["architecture"][()])
        architecture["class_names"] = names
        del file["architecture"]
        file["architecture"] = json.dumps(architecture)
    with pytest.raises(ValueError, match="class_names"):
        nn.Model.load(tmp_path / "m.hdf5")


def test_files_written_before_names_were_known_are_read(tmp_path):
    model = network()
    model.build((None, 3, 5, 4))
    model.save(tmp_path / "m.hdf5")
    with h5py.File(tmp_path / "m.hdf5", "a") as file:
        architecture = json.loads(file["architecture"][()])
        del architecture["class_names"], file["architecture"]
        file["architecture"] = json.dumps(architecture)
    assert nn.Model.load(tmp_path / "m.hdf5").class_names is None
    assert issubclass(FileFormatError, ValueError)


def test_batches_of_bytes_are_not_scaled_twice_either():
    model = nn.Model([nn.Rescale(1 / 255), nn.Flatten(), nn.Dense(2)], seed=0)
    model.compile("cce")
    batch = (np.zeros((4, 1, 3, 3), np.uint8), np.array([0, 1, 0, 1]))
    with pytest.raises(ValueError, match="would scale them again"):
        model.fit([batch], verbose=0)


def test_a_source_of_batches_names_its_classes_and_cannot_adapt():
    class Source(list):
        class_names = ("cat", "dog")

    batch = (np.ones((4, 3), np.float32), np.array([0, 1, 0, 1]))
    model = nn.Model([nn.Dense(2)], seed=0)
    model.compile("cce")
    model.fit(Source([batch]), verbose=0)
    assert model.class_names == ["cat", "dog"]
    model = nn.Model([nn.Standardize(), nn.Dense(2)], seed=0)
    model.compile("cce")
    with pytest.raises(RuntimeError, match="call its adapt"):
        model.fit(Source([batch]), verbose=0)


@pytest.mark.parametrize("first", [nn.Flatten, lambda **k: nn.Sequential([nn.ZeroPad2D(1)], **k)])
def test_bytes_are_not_scaled_twice_behind_layers_that_leave_them(first):
    model = nn.Model([first(input_shape=(1, 4, 4)), nn.Rescale(1 / 255), nn.Flatten(), nn.Dense(2)])
    with pytest.raises(ValueError, match="would scale them again"):
        model.predict(np.full((2, 1, 4, 4), 200, np.uint8))
