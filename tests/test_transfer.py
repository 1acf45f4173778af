"""A trained model's layers in another: pop, slices, frozen layers, and files that fit in part."""

import numpy as np
import pytest

import nn
from nn import io


def data(n=40, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 1, 6, 6)).astype("float32"), np.arange(n) % classes


def trained(optimizer="adam"):
    model = nn.Model(
        [
            nn.Conv2D(4, 3, input_shape=(1, 6, 6)),
            nn.BatchNorm2D(),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dense(8, activation="relu"),
            nn.Dense(3),
        ],
        seed=0,
    )
    model.compile("cce", optimizer, lr=0.01)
    model.fit(*data(), epochs=2, verbose=0)
    return model


def arrays(model):
    return {name: array.copy() for name, array in model.get_arrays().items()}


# ------------------------------------------------------------------------------------- pop


def test_pop_gives_the_last_layer_and_the_output_before_it():
    model = trained()
    x, _ = data()
    last = model.layers[-1]
    expected = x
    for layer in model.layers[:-1]:
        expected = layer.forward(expected)
    assert model.pop() is last
    assert model.output_shape == (None, 8)
    # predict takes batch norm into the weights, so the last digits differ
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-4, atol=1e-6)


def test_a_new_head_on_frozen_layers_is_trained_alone():
    model = trained()
    model.pop()
    for layer in model.layers:
        layer.trainable = False
    model.add(nn.Dense(5))
    model.compile("cce", "adam", lr=0.01)
    before = arrays(model)
    x, y = data(classes=5, seed=1)
    history = model.fit(x, y, epochs=3, verbose=0)
    for name, array in model.get_arrays().items():
        assert np.array_equal(array, before[name]) == (not name.startswith("5_"))
    assert history["loss"][-1] < history["loss"][0]


def test_pop_to_the_first_layer_and_beyond():
    model = nn.Model([nn.Dense(2, input_shape=(3,)), nn.ReLU()], seed=0)
    model.pop()
    model.pop()
    assert (model.layers, model.built, model.output_shape) == ([], False, None)
    with pytest.raises(ValueError, match=r"\[Model\] has no layers: there is none to pop"):
        model.pop()
    model.add(nn.Dense(4, input_shape=(5,)))
    assert model.predict(np.ones((2, 5))).shape == (2, 4)


def test_pop_of_a_model_that_is_not_built_and_of_a_block():
    model = nn.Model([nn.Dense(2), nn.ReLU(), nn.Sequential([nn.Dense(4), nn.Tanh()])], seed=0)
    assert isinstance(model.pop(), nn.Sequential)
    assert model.predict(np.ones((2, 5))).shape == (2, 2)


@pytest.mark.parametrize("block", [False, True])
def test_the_optimizer_forgets_the_layer_and_keeps_the_others(block):
    """A new layer of the same name begins with a state of zeros, as if it had always been new."""

    def head(units):
        return nn.Sequential([nn.Dense(units)]) if block else nn.Dense(units)

    model = nn.Model([nn.Dense(4, input_shape=(2,)), head(3)], seed=0)
    model.compile("mse", "adam")
    model.fit(np.ones((8, 2)), np.ones((8, 3)), verbose=0)
    old = model.optimizer.state_dict()
    model.pop()
    state = model.optimizer.state_dict()
    assert {key for key in old if "/1_" not in key} == set(state)
    assert len(state) < len(old)
    np.testing.assert_array_equal(state["m/0_Dense_W"], old["m/0_Dense_W"])
    model.add(head(5))
    model.fit(np.ones((8, 2)), np.ones((8, 5)), verbose=0)  # other shapes under the same name
    path = "1_Sequential/0_Dense_W" if block else "1_Dense_W"
    assert model.optimizer.state_dict()[f"m/{path}"].shape == (4, 5)


def test_pop_with_an_optimizer_of_the_users():
    class Plain(nn.optim.Optimizer):
        def step(self, params_and_grads):
            for param, grad in params_and_grads:
                param -= self.lr * grad

    model = trained(Plain())
    model.pop()
    model.add(nn.Dense(3))
    model.fit(*data(), verbose=0)


def test_names_of_classes_go_with_the_layer(tmp_path):
    model = trained()
    model.class_names = ["a", "b", "c"]
    model.pop()
    assert model.class_names is None
    model.save(tmp_path / "m.npz")
    assert nn.Model.load(tmp_path / "m.npz").output_shape == (None, 8)
    model.add(nn.Dense(3))
    model.class_names = ["a", "b", "c"]
    model.add(nn.Softmax())
    model.pop()
    assert model.class_names == ["a", "b", "c"]


# ---------------------------------------------------------------------------------- slices


def test_a_slice_of_layers_keeps_its_weights():
    model = trained()
    before = arrays(model)
    x, _ = data()
    features = nn.Model(model.layers[:-1], seed=7)
    assert features.built and features.output_shape == (None, 8)
    for name, array in features.get_arrays().items():
        np.testing.assert_array_equal(array, before[name])
    np.testing.assert_array_equal(
        features.layers[-1].forward(model.layers[3].forward(np.ones((1, 4, 6, 6), "float32"))),
        model.layers[4].forward(np.ones((1, 144), "float32")),
    )
    top = nn.Model(model.layers[-1:], seed=7)  # a layer without an input_shape of its own
    assert top.input_shape == (None, 8)
    np.testing.assert_array_equal(top.layers[0].params["W"], before["5_Dense_W"])
    np.testing.assert_allclose(
        top.predict(features.predict(x)), model.predict(x), rtol=1e-5, atol=1e-6
    )


def test_a_slice_before_a_relu_is_not_initialized_again():
    model = nn.Model([nn.Dense(4), nn.Dense(4)], seed=0)
    model.build((None, 3))
    before = arrays(model)
    again = nn.Model([*model.layers, nn.ReLU()], seed=1)
    for name, array in again.get_arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_slice_with_another_head_is_saved_and_loaded(tmp_path):
    model = trained()
    other = nn.Model([*model.layers[:-1], nn.Dense(2)], seed=3)
    x, _ = data()
    other.save(tmp_path / "m.hdf5")
    np.testing.assert_array_equal(nn.Model.load(tmp_path / "m.hdf5").predict(x), other.predict(x))


# ------------------------------------------------------------------------------ load_weights


@pytest.fixture
def file(tmp_path):
    trained().save_weights(tmp_path / "weights.npz")
    return tmp_path / "weights.npz"


def other_head(built=True):
    layers = [
        nn.Conv2D(4, 3, input_shape=(1, 6, 6) if built else None),
        nn.BatchNorm2D(),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dense(8, activation="relu"),
        nn.Dense(5),
        nn.BatchNorm1D(),
    ]
    return nn.Model(layers, seed=9)


@pytest.mark.parametrize("built", [True, False])
def test_the_report_lists_loaded_and_skipped_arrays(built, file):
    saved = io.read(file).arrays
    model = other_head(built)
    report = model.load_weights(file, strict=False)
    if not built:
        assert report.loaded == [] and report.skipped == {}
    model.predict(data()[0])
    assert report.loaded == [name for name in model.get_arrays() if name < "5"]
    assert report.skipped == {
        "5_Dense_W": "its shape is (8, 3) in the file, (8, 5) in the model",
        "5_Dense_b": "its shape is (3,) in the file, (5,) in the model",
        "6_BatchNorm1D_gamma": "the file has no such array",
        "6_BatchNorm1D_beta": "the file has no such array",
        "6_BatchNorm1D_running_mean": "the file has no such array",
        "6_BatchNorm1D_running_var": "the file has no such array",
    }
    fresh = other_head()
    for name, array in model.get_arrays().items():
        expected = saved[name] if name in report.loaded else fresh.get_arrays()[name]
        np.testing.assert_array_equal(array, expected)
    lines = str(report).splitlines()
    assert lines[0] == f"{file}: 8 arrays loaded, 6 skipped"
    assert lines[1] == "  loaded   0_Conv2D_W"
    assert lines[9].startswith("  skipped  6_BatchNorm1D_gamma: the file has no")


def test_arrays_that_the_model_lacks_are_reported(file):
    model = nn.Model([nn.Conv2D(4, 3, input_shape=(1, 6, 6))], seed=0)
    report = model.load_weights(file, strict=False)
    assert report.loaded == ["0_Conv2D_W", "0_Conv2D_b"]
    assert set(report.skipped.values()) == {"the model has no such array"}
    assert len(report.skipped) == 8


def test_a_strict_report_skips_nothing(file):
    model = trained()
    report = model.load_weights(file)
    assert report.loaded == list(model.get_arrays()) and report.skipped == {}
    with pytest.raises(ValueError, match="does not fit the model: missing: 6_BatchNorm1D_gamma"):
        other_head().load_weights(file)
