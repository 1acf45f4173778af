"""The zoo: each network has the layers, the parameters and the outputs that its docstring says."""

import importlib.util
import inspect
import re
import sys

import numpy as np
import pytest
from conftest import ROOT

import nn
from nn import zoo

NAMES = [
    "mlp",
    "lenet5",
    "small_cnn",
    "mnist_cnn",
    "three_layer_cnn",
    "cifar_cnn",
    "vgg6",
    "resnet20",
    "large_cnn",
    "airbench94",
    "resnet9",
]
NO_CLASSIFIERS = ["logistic_regression", "conv_autoencoder", "vae"]  # they take no num_classes
OF_PIXELS = ["unet_small"]
OF_SEQUENCES = ["small_transformer", "temporal_cnn", "char_lstm", "text_classifier"]


def count(model):
    """Return the parameters of a model, those inside its layers too, as the summary counts them."""
    return int(re.search(r"([\d,]+) parameters", model.summary()).group(1).replace(",", ""))


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def test_every_network_is_tested_here():
    made_here = {
        name
        for name, function in inspect.getmembers(zoo, inspect.isfunction)
        if function.__module__.startswith("nn.zoo.") and not name.startswith("_")
    }
    tested = {name if isinstance(name, str) else name.values[0] for name in NAMES}
    tested |= {*NO_CLASSIFIERS, *OF_PIXELS, *OF_SEQUENCES}
    assert made_here == tested | {"fully_connected_net"}


@pytest.mark.parametrize("name", [*NAMES, *NO_CLASSIFIERS, *OF_PIXELS, *OF_SEQUENCES])
def test_the_docstring_says_how_many_parameters_there_are(name):
    make = getattr(zoo, name)
    said = re.search(r"([\d,]+)\s+parameters", inspect.getdoc(make)).group(1)
    assert f"{count(make(seed=0)):,}" == said


@pytest.mark.parametrize("name", NAMES)
def test_a_classifier_has_an_output_for_each_class(name):
    make = getattr(zoo, name)
    classes = inspect.signature(make).parameters["num_classes"].default
    assert make(seed=1).output_shape == (None, classes)


@pytest.mark.parametrize("name", [*NAMES, *NO_CLASSIFIERS, *OF_PIXELS])
def test_a_network_is_built_named_not_compiled_and_fixed_by_its_seed(name):
    make = getattr(zoo, name)
    first, second, other = make(seed=1), make(seed=1), make(seed=2)
    assert first.name == name
    assert first.loss is None and first.optimizer is None
    shape = inspect.signature(make).parameters["input_shape"].default
    assert first.input_shape == (None, *shape)
    weights = first.get_arrays()
    for key, array in second.get_arrays().items():
        np.testing.assert_array_equal(weights[key], array)
    last = next(key for key in reversed(weights) if key.endswith("_W"))
    assert not np.array_equal(weights[last], other.get_arrays()[last])


@pytest.mark.parametrize("name", NAMES)
def test_a_network_learns_other_shapes_and_classes(name, rng):
    """Small images of three classes, the brighter the higher, that all can tell apart."""
    make = getattr(zoo, name)
    y = np.arange(32) % 3
    x = (rng.random((32, 2, 16, 17)) / 4 + y.reshape(-1, 1, 1, 1) / 4).astype("float32")
    model = make(input_shape=(2, 16, 17), num_classes=3, seed=0)
    model.compile("cce", "adam", lr=3e-3)
    history = model.fit(x, y, epochs=6, batch_size=8, verbose=0)
    assert model.forward(x).shape == (32, 3)
    assert history["loss"][-1] < 0.7 * history["loss"][0]


@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_the_same_once_saved_and_loaded(name, rng, tmp_path):
    shape = (1, 16, 16)
    model = getattr(zoo, name)(input_shape=shape, num_classes=4, seed=0)
    x = rng.random((3, *shape), dtype="float32")
    model.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(
        nn.Model.load(tmp_path / "model.npz").predict(x), model.predict(x)
    )


@pytest.mark.parametrize(
    ("name", "wrong"),
    [(name, wrong) for name in ("mlp", "lenet5", "vgg6") for wrong in (28, (), (None, 1, 28, 28))]
    + [("mlp", (0,)), ("lenet5", (1, 28.0, 28)), ("vgg6", "32")],
)
def test_a_wrong_input_shape_is_an_error_of_the_function(name, wrong):
    with pytest.raises(ValueError, match=rf"\[{name}\] 'input_shape'"):
        getattr(zoo, name)(input_shape=wrong)


def test_other_wrong_arguments_are_errors():
    with pytest.raises(ValueError, match=r"\[mlp\] 'dropout'.*got 1\.5"):
        zoo.mlp(dropout=1.5)
    with pytest.raises(ValueError, match=r"\[Dense\] 'units'.*got 0"):
        zoo.mlp((10, 0))
    with pytest.raises(ValueError, match=r"\[Dense\] 'units'.*got -1"):
        zoo.vgg6(num_classes=-1)
    with pytest.raises(ValueError, match=r"\[MaxPool2D\] 'pool_size'"):
        zoo.vgg6(input_shape=(3, 4, 4))


@pytest.mark.parametrize("name", NO_CLASSIFIERS)
def test_a_network_without_classes_is_the_same_once_saved_and_loaded(name, rng, tmp_path):
    shape = (2, 8, 12)
    model = getattr(zoo, name)(input_shape=shape, seed=0)
    x = rng.random((3, *shape), dtype="float32")
    model.save(tmp_path / "model.npz")
    loaded = nn.Model.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]


# -------------------------------------------------------------------------- of sequences


@pytest.mark.parametrize("causal", [False, True])
def test_a_transformer_of_each_step_sees_what_it_may(causal, rng):
    """A later id changes the outputs before it unless the network is causal."""
    model = zoo.small_transformer(9, length=8, features=8, num_blocks=1, causal=causal, seed=0)
    ids = rng.integers(0, 9, (2, 8))
    y = model.predict(ids)
    ids[:, 5:] = (ids[:, 5:] + 1) % 9
    assert np.allclose(model.predict(ids)[:, :5], y[:, :5], atol=1e-6) == causal
    assert not np.allclose(model.predict(ids)[:, 5:], y[:, 5:], atol=1e-6)


def test_a_causal_transformer_learns_the_next_id():
    ids = np.arange(300).reshape(-1, 10) % 7
    model = zoo.small_transformer(7, length=9, features=16, num_blocks=1, seed=0)
    model.compile("cce", "adam", lr=0.01)
    history = model.fit(ids[:, :-1], ids[:, 1:], epochs=20, batch_size=10, verbose=0)
    assert history["acc"][-1] >= 0.95


def test_a_temporal_network_sees_no_later_step(rng, tmp_path):
    model = zoo.temporal_cnn((12, 2), 3, filters=4, num_blocks=2, per_step=True, seed=0)
    x = rng.normal(size=(2, 12, 2)).astype("float32")
    y = model.predict(x)
    model.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(nn.Model.load(tmp_path / "model.npz").predict(x), y)
    x[:, 7:] += 1
    np.testing.assert_allclose(model.predict(x)[:, :7], y[:, :7], atol=1e-6)
    assert zoo.temporal_cnn((12, 2), 3, seed=0).output_shape == (None, 3)


def test_wrong_arguments_of_networks_of_sequences():
    with pytest.raises(ValueError, match=r"\[small_transformer\] 'features' must be a multiple"):
        zoo.small_transformer(features=30)
    with pytest.raises(ValueError, match=r"\[temporal_cnn\] 'num_blocks'.*got 0"):
        zoo.temporal_cnn(num_blocks=0)
    with pytest.raises(ValueError, match=r"\[Conv1D\] expects 3-D input"):
        zoo.temporal_cnn((12,))


# ------------------------------------------------------------------------ each on its own


def test_logistic_regression_is_the_formula(rng):
    model = zoo.logistic_regression(input_shape=(3, 2), seed=0)
    w, b = model.layers[1].params["W"], model.layers[1].params["b"]
    b[:] = 0.5
    x = rng.normal(size=(5, 3, 2)).astype("float32")
    expected = [[1 / (1 + np.exp(-(sum(row.ravel() * w[:, 0]) + 0.5)))] for row in x]
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-5)
    assert kinds(zoo.logistic_regression()) == ["Dense", "Sigmoid"]
    assert count(zoo.logistic_regression((64, 64, 3))) == 64 * 64 * 3 + 1
    with pytest.raises(ValueError, match=r"\[logistic_regression\] 'input_shape'"):
        zoo.logistic_regression(2)


def test_mlp_takes_an_activation():
    assert kinds(zoo.mlp((4, 4), input_shape=(2,), activation="tanh")) == [
        *("Dense", "Tanh", "Dense", "Tanh", "Dense")
    ]
    assert kinds(zoo.mlp((4, 4), input_shape=(2,), activation="linear")) == ["Dense"] * 3
    with pytest.raises(ValueError, match=r"\[mlp\] 'activation'"):
        zoo.mlp(activation="tang")
    with pytest.raises(ValueError, match=r"\[mlp\] 'activation'.*'relu'"):
        zoo.mlp((4, 4), activation=nn.Tanh())


def test_linear_layers_together_are_a_linear_one(rng):
    model = zoo.mlp((5, 4), input_shape=(3,), num_classes=2, activation="linear", seed=0)
    x = rng.normal(size=(6, 3)).astype("float32")
    first, second, third = (layer.params["W"] for layer in model.layers)
    np.testing.assert_allclose(model.predict(x), x @ (first @ second @ third), rtol=1e-4, atol=1e-5)


def test_conv_autoencoder_halves_and_doubles():
    model = zoo.conv_autoencoder((3, 16, 24), filters=(8, 6, 5), seed=0)
    encoder, decoder = model.layers
    assert [type(layer).__name__ for layer in encoder.layers[-3:]] == [
        *("MaxPool2D", "Conv2D", "MaxPool2D")
    ]
    assert encoder.output_shape == (None, 5, 2, 3)
    assert decoder.output_shape == model.output_shape == (None, 3, 16, 24)
    steps = [(3, 8), (8, 6), (6, 5), (5, 5), (5, 6), (6, 8), (8, 3)]
    assert count(model) == sum(9 * a * b + b for a, b in steps)


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_conv_autoencoder_learns_to_draw(loss, sample):
    x, _ = sample[0].arrays()
    x, new = x[:256], x[256:320]
    model = zoo.conv_autoencoder(seed=0)
    model.compile(loss, "adam", lr=3e-3, metrics=["mse"])
    history = model.fit(x, x, epochs=15, batch_size=16, verbose=0)
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    drawn = model.predict(new)
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert ((drawn - new) ** 2).mean() < 0.6 * ((x.mean(axis=0) - new) ** 2).mean()
    code = nn.Model([model.layers[0]]).predict(new)
    np.testing.assert_allclose(nn.Model([model.layers[1]]).predict(code), drawn, atol=1e-5)


def test_conv_autoencoder_refuses_what_cannot_be_halved():
    with pytest.raises(
        ValueError, match=r"H and W divisible by 8, for 3 stages, got \(1, 28, 28\)"
    ):
        zoo.conv_autoencoder(filters=(8, 8, 4))
    with pytest.raises(ValueError, match=r"\[conv_autoencoder\] 'input_shape'"):
        zoo.conv_autoencoder((28, 28))
    with pytest.raises(ValueError, match=r"'filters'.* at least one stage, got \[\]"):
        zoo.conv_autoencoder(filters=())
    with pytest.raises(ValueError, match=r"'filters'.*got 0"):
        zoo.conv_autoencoder(filters=(8, 0))


def test_mlp_has_the_layers_asked_for():
    assert kinds(zoo.mlp()) == ["Flatten", "Dense", "ReLU", "Dense"]
    assert kinds(zoo.mlp((), input_shape=(4,))) == ["Dense"]
    hidden = ["Dense", "BatchNorm", "ReLU", "Dropout"]
    model = zoo.fully_connected_net((8, 7), 0.25, True, input_shape=(4,), num_classes=3)
    assert kinds(model) == [*hidden, *hidden, "Dense"]
    assert [layer.units for layer in model.layers if isinstance(layer, nn.Dense)] == [8, 7, 3]
    assert {layer.rate for layer in model.layers if isinstance(layer, nn.Dropout)} == {0.25}
    assert count(model) == (4 * 8 + 8 + 16) + (8 * 7 + 7 + 14) + (7 * 3 + 3)


@pytest.mark.parametrize("side", [28, 32])
def test_lenet5_sees_digits_in_the_frame_of_the_paper(side):
    model = zoo.lenet5(input_shape=(1, side, side))
    shapes = [layer.output_shape[1:] for layer in model.layers]
    # C1, S2, C3, S4, C5, F6 and the output of the paper's figure 2
    expected = [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,), (10,)]
    assert [shapes[k] for k in (0, 2, 3, 5, 7, 9, 11)] == expected
    assert count(model) == 61_706


def test_three_layer_cnn_takes_its_sizes():
    model = zoo.three_layer_cnn(4, 3, 5, input_shape=(1, 8, 8), num_classes=2)
    assert count(model) == (9 * 4 + 4) + (4 * 4 * 4 * 5 + 5) + (5 * 2 + 2)


def test_large_cnn_says_what_smaller_images_need():
    said = re.search(r"([\d,]+) for \(3, 64, 64\)", zoo.large_cnn.__doc__).group(1)
    assert f"{count(zoo.large_cnn((3, 64, 64))):,}" == said


@pytest.mark.parametrize(
    ("name", "network"), [("cifar_cnn", "cifar"), ("vgg6", "vgg6"), ("large_cnn", "large")]
)
def test_a_network_is_that_of_the_benchmarks(name, network, monkeypatch):
    """The benchmarks write theirs down apart, once for all frameworks."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # which networks.py adds to
    spec = importlib.util.spec_from_file_location("networks", ROOT / "benchmarks" / "networks.py")
    networks = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "networks", networks)
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec.loader.exec_module(networks)
    measured = networks.make_nn(network)
    ours = getattr(zoo, name)(seed=0)
    assert ours.input_shape == measured.input_shape
    configs = [[layer.to_config() for layer in model.layers] for model in (ours, measured)]
    assert configs[0] == configs[1]


def test_resnet20_has_the_stages_of_the_paper():
    model = zoo.resnet20()
    blocks = [layer for layer in model.layers if type(layer).__name__ == "Residual"]
    assert [block.output_shape[1:] for block in blocks] == (
        [(16, 32, 32)] * 3 + [(32, 16, 16)] * 3 + [(64, 8, 8)] * 3
    )
    # The paper's network has 269,722 parameters; the two projections come on top of them.
    projections = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)
    assert count(model) == 269_722 + projections


@pytest.mark.parametrize("name", ["char_lstm", "text_classifier"])
def test_a_network_of_texts_learns_from_ids(name, tmp_path):
    ids = np.random.default_rng(0).integers(0, 9, (24, 6))
    model = getattr(zoo, name)(vocabulary=9, length=6, seed=0)
    assert model.name == name and model.num_ids == 9
    model.compile("cce", "adam", lr=0.02)
    y = (ids + 1) % 9 if name == "char_lstm" else (ids == 4).any(axis=1).astype(int)
    history = model.fit(ids, y, epochs=40, verbose=0)
    assert history["acc"][-1] > 0.9
    model.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(
        nn.Model.load(tmp_path / "model.npz").predict(ids), model.predict(ids)
    )


def test_the_parts_of_a_vae_are_networks_of_their_own():
    model = zoo.vae(3, (16, 8), (1, 4, 6), seed=0)
    encoder, sampling, decoder = model.layers
    assert [layer.name for layer in (encoder, decoder)] == ["encoder", "decoder"]
    assert sampling.kl_weight == 1 / 24
    units = [part.units for part in (*encoder.layers, *decoder.layers) if hasattr(part, "units")]
    assert units == [16, 8, 6, 8, 16, 24]
    images = nn.Model([decoder]).predict(np.ones((5, 3), np.float32))
    assert images.shape == (5, 1, 4, 6) and 0 < images.min() < images.max() < 1
    with pytest.raises(ValueError, match=r"\[vae\] 'latent_dim'"):
        zoo.vae(0)


def test_the_unet_finds_the_classes_of_pixels_of_any_size(rng, tmp_path):
    """Whether a pixel lies in the upper half of its image is seen from all of it."""

    def images(*size):
        x = rng.random((4, 1, *size), dtype=np.float32)
        y = np.zeros((4, *size), dtype=int)
        y[:, : size[0] // 2] = 1
        x[y[:, None] == 1] += 1
        return x, y

    model = zoo.unet_small((1, None, None), filters=4, num_levels=2, seed=0)
    model.compile("cce", "adam", lr=0.01)
    for size in ((8, 8), (12, 8)) * 15:
        model.train_step(*images(*size))
    x, y = images(16, 20)
    assert (model.predict_classes(x) == y).mean() > 0.9
    model.save(tmp_path / "unet.npz")
    loaded = nn.Model.load(tmp_path / "unet.npz")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    with pytest.raises(ValueError, match=r"\[SkipConcat\] .* even"):
        model.predict(x[:, :, :10])


def test_the_unet_has_the_levels_of_the_paper():
    model = zoo.unet_small((3, 32, 48), num_classes=5, filters=8, num_levels=2, seed=0)
    shapes = {
        name.count("/"): layer.output_shape[1:]
        for name, layer in model.named_layers()
        if type(layer).__name__ == "MaxPool2D"
    }
    assert shapes == {1: (8, 16, 24), 2: (16, 8, 12)}
    skips = [k for _, k in model.named_layers() if type(k).__name__ == "SkipConcat"]
    assert [skip.output_shape[1:] for skip in skips] == [(16, 32, 48), (32, 16, 24)]
    assert model.output_shape == (None, 5, 32, 48)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (3, 12, 16)}, r"'input_shape' .* multiples of 8, got \(3, 12, 16\)"),
        ({"input_shape": (16, 16)}, r"'input_shape' must be \(C, H, W\)"),
        ({"num_levels": 0}, "'num_levels' must be"),
        ({"filters": 0}, "'filters' must be"),
    ],
)
def test_the_unet_says_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=rf"\[unet_small\] {message}"):
        zoo.unet_small(**arguments)


# ---------------------------------------------------------------------- fast CIFAR-10 networks


def test_airbench94_has_the_layers_of_the_paper():
    model = zoo.airbench94(seed=0)
    block = ["Conv2D", "MaxPool2D", "BatchNorm2D", "GELU", "Conv2D", "BatchNorm2D", "GELU"]
    assert kinds(model) == [
        *("Standardize", "Conv2D", "GELU"),
        *(3 * block),
        *("GlobalMaxPool2D", "Dense", "Rescale"),
    ]
    shapes = [layer.output_shape[1:] for layer in model.layers]
    assert shapes[1] == (24, 31, 31)  # 2 x 2 without padding
    assert [shapes[k] for k in (9, 16, 23)] == [(64, 15, 15), (256, 7, 7), (256, 3, 3)]
    norms = [layer for layer in model.layers if type(layer) is nn.BatchNorm2D]
    assert all([*norm.params] == ["beta"] and norm.momentum == 0.6 for norm in norms)
    # 24 filters of 12 numbers and a bias, then 3 x 3 kernels, shifts, and the dense layer
    kernels = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 256 * 256 + 2 * 256 * 256)
    assert count(model) == 24 * 12 + 24 + kernels + 2 * (64 + 256 + 256) + 256 * 10


def test_resnet9_has_the_parameters_of_its_convolutions():
    """6,573,120, as of the network in PyTorch."""
    convs = [(3, 64), (64, 128), (128, 128), (128, 128), (128, 256), (256, 512)]
    convs += [(512, 512), (512, 512)]
    expected = sum(9 * a * b + 2 * b for a, b in convs) + 512 * 10
    assert count(zoo.resnet9(seed=0)) == expected == 6_573_120


@pytest.mark.parametrize("kind", ["bytes", "floats", "dataset"])
def test_the_first_filters_of_airbench94_whiten_the_images(kind, rng, tmp_path):
    images = (rng.random((60, 3, 10, 10)) * 255).astype("uint8")
    given = {"bytes": images, "floats": images / 255, "dataset": nn.data.Dataset(images)}[kind]
    model = zoo.airbench94((3, 10, 10), seed=0, images=given, widths=(4, 4, 4))
    first = model.layers[1]
    mean, std = (f(images / 255, (0, 2, 3), keepdims=True) for f in (np.mean, np.std))
    expected = nn.initializers.whitening((images / 255 - mean) / std)((24, 3, 2, 2), rng)
    np.testing.assert_allclose(first.params["W"], expected, rtol=1e-4, atol=1e-5)
    y = nn.Model(model.layers[:2]).predict(images).transpose(0, 2, 3, 1).reshape(-1, 24)[:, :12]
    np.testing.assert_allclose(y.T @ y / len(y), np.eye(12), atol=0.01)
    assert first.trainable == ("b",)
    model.save(tmp_path / "model.npz")
    loaded = nn.Model.load(tmp_path / "model.npz")
    assert loaded.layers[1].trainable == ("b",)
    np.testing.assert_array_equal(loaded.predict(images), model.predict(images))


def test_airbench94_takes_images_with_a_channel_that_never_changes(rng):
    images = rng.random((20, 3, 10, 10))
    images[:, 1] = 0.5
    model = zoo.airbench94((3, 10, 10), seed=0, images=images, widths=(4, 4, 4))
    assert model.layers[0].buffers["std"][1] == 1
    assert np.isfinite(model.predict(images)).all()


def test_the_convolutions_of_airbench94_begin_as_the_identity():
    model = zoo.airbench94(seed=0, widths=(24, 24, 4))
    kernel = model.layers[3].params["W"]
    assert (kernel[:, :, 1, 1] == np.eye(24)).all() and kernel.sum() == 24


def test_images_of_other_channels_are_an_error(rng):
    for images in (rng.random((5, 1, 32, 32)), rng.random((3, 32, 32)), [1.0]):
        with pytest.raises(ValueError, match=r"\[airbench94\] 'images' must be images \(N, 3, H"):
            zoo.airbench94(images=images)
