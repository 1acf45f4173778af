"""Inputs whose sizes may change from batch to batch: images of any height and width, sequences."""

import numpy as np
import pytest

import nn
from nn.inspect.model_check import check_model

FRONTS = {  # layers for images (3, None, None)
    "convolution": lambda: [nn.Conv2D(4, 3, activation="relu")],
    "stride": lambda: [nn.Conv2D(4, 3, stride=2)],
    "valid": lambda: [nn.Conv2D(4, (3, 2), padding="valid", dilation=2)],
    "padding": lambda: [nn.Conv2D(4, 3, stride=3, padding=1)],
    "depthwise": lambda: [nn.DepthwiseConv2D(3, stride=2, depth_multiplier=2)],
    "transposed": lambda: [nn.Conv2DTranspose(4, 3, stride=2)],
    "transposed valid": lambda: [nn.Conv2DTranspose(4, 2, stride=3, padding="valid")],
    "max": lambda: [nn.MaxPool2D(2)],
    "max same": lambda: [nn.MaxPool2D(3, stride=2, padding="same")],
    "mean": lambda: [nn.AvgPool2D(3, stride=2, padding="same")],
    "norms": lambda: [nn.BatchNorm2D(), nn.PReLU(), nn.GroupNorm(3), nn.LayerNorm(axis=1)],
    "sizes": lambda: [nn.ZeroPad2D((1, 2)), nn.UpSample2D(2), nn.UpSample2D(2, "bilinear")],
    "standardize": lambda: [nn.Standardize(0.5, 2.0), nn.Rescale(2.0), nn.Dropout(0.0)],
    "residual": lambda: [nn.Residual([nn.Conv2D(6, 3, stride=2), nn.ReLU(), nn.Conv2D(3, 3)])],
    "projection": lambda: [nn.Residual([nn.Conv2D(6, 3, stride=2), nn.Conv2D(6, 3)])],
    "identity": lambda: [nn.Residual([nn.Conv2D(3, 3), nn.ReLU()])],
    "beside": lambda: [nn.SkipConcat([nn.Conv2D(4, 3), nn.ReLU()])],
    "weight norm": lambda: [nn.WeightNorm(nn.Conv2D(4, 3, stride=2))],
    "recompute": lambda: [nn.Recompute([nn.Conv2D(4, 3, stride=2), nn.ReLU()])],
    "nested": lambda: [nn.Sequential([nn.Conv2D(4, 3), nn.MaxPool2D(2)])],
    "users": lambda: [Halving()],
}
SIZES = [(8, 8), (9, 12), (7, 8), (8, 8)]


class Halving(nn.Layer):
    """A user's layer without a build of its own."""

    def forward(self, x, training=False):
        self.shape = x.shape
        return x[:, :, ::2]

    def backward(self, grad):
        dx = np.zeros(self.shape, grad.dtype)
        dx[:, :, ::2] = grad
        return dx


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(nn.layers.NAME2LAYER, "Halving", Halving)


def arrays_equal(one, two):
    for key, array in one.items():
        np.testing.assert_array_equal(array, two[key])


@pytest.mark.parametrize("name", FRONTS)
def test_images_of_any_size(name, tmp_path):
    rng = np.random.default_rng(0)
    tail = [nn.GlobalAvgPool2D(), nn.Dense(2)]
    model = nn.Model([*FRONTS[name](), *tail], seed=0, dtype="float64")
    model.build((None, 3, None, None))
    assert model.output_shape == (None, 2)
    assert None in model.layers[0].output_shape[2:]
    model.save(tmp_path / "model.npz")
    loaded = nn.Model.load(tmp_path / "model.npz")
    assert loaded.input_shape == (None, 3, None, None)
    for size in SIZES:
        x, grad = rng.normal(size=(2, 3, *size)), rng.normal(size=(2, 2))
        known = nn.Model([*FRONTS[name](), nn.GlobalAvgPool2D(), nn.Dense(2)], dtype="float64")
        known.build((None, *x.shape[1:]))
        known.set_arrays(model.get_arrays())
        np.testing.assert_array_equal(model.forward(x, True), known.forward(x, True))
        np.testing.assert_array_equal(model.backward(grad), known.backward(grad))
        for (_, own), (_, other) in zip(model.named_layers(), known.named_layers(), strict=True):
            arrays_equal(own.grads, other.grads)
        model.set_arrays(known.get_arrays())
        np.testing.assert_array_equal(model.predict(x), known.predict(x))
        loaded.set_arrays(known.get_arrays())
        np.testing.assert_array_equal(loaded.predict(x), known.predict(x))
    assert "None" in model.summary()


SEQUENCES = {  # layers and the shape of a sample
    "dense": (lambda: [nn.Dense(4), nn.Softmax()], (None, 3)),
    "norms": (lambda: [nn.LayerNorm(), nn.BatchNorm1D(), nn.PReLU(), nn.Dropout(0.0)], (None, 3)),
    "recurrent": (lambda: [nn.LSTM(4, return_sequences=True), nn.GRU(3)], (None, 3)),
    "both ways": (lambda: [nn.Bidirectional(nn.SimpleRNN(3, return_sequences=True))], (None, 3)),
    "convolution": (lambda: [nn.Conv1D(4, 3, stride=2), nn.MaxPool1D(2), nn.Dense(2)], (None, 3)),
    "residual": (lambda: [nn.Residual([nn.Conv1D(3, 3, stride=2)]), nn.Dense(2)], (None, 3)),
    "pooled": (lambda: [nn.Dense(4), nn.GlobalAvgPool1D(), nn.Dense(2)], (None, 3)),
    "ids": (lambda: [nn.Embedding(9, 3), nn.LSTM(2)], (None,)),
    "masked": (lambda: [nn.Embedding(9, 3, mask_zero=True), nn.LSTM(2)], (None,)),
    "masking": (lambda: [nn.Masking(), nn.LSTM(2, return_sequences=True)], (None, 3)),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_of_any_length(name, tmp_path):
    rng = np.random.default_rng(0)
    make, shape = SEQUENCES[name]
    model = nn.Model(make(), seed=0, dtype="float64")
    model.build((None, *shape))
    model.save(tmp_path / "model.hdf5")
    loaded = nn.Model.load(tmp_path / "model.hdf5")
    for steps in (5, 8, 6, 5):
        x = rng.integers(0, 9, (2, steps)) if len(shape) == 1 else rng.normal(size=(2, steps, 3))
        known = nn.Model(make(), dtype="float64")
        known.build((None, *x.shape[1:]))
        known.set_arrays(model.get_arrays())
        y = model.forward(x, True)
        np.testing.assert_array_equal(y, known.forward(x, True))
        assert [n for n in model.output_shape[1:] if n] == [
            n for n, m in zip(y.shape[1:], model.output_shape[1:], strict=True) if m
        ]
        grad = rng.normal(size=y.shape)
        np.testing.assert_array_equal(model.backward(grad), known.backward(grad))
        for (_, own), (_, other) in zip(model.named_layers(), known.named_layers(), strict=True):
            arrays_equal(own.grads, other.grads)
        model.set_arrays(known.get_arrays())
        loaded.set_arrays(known.get_arrays())
        np.testing.assert_array_equal(loaded.predict(x), model.predict(x))


def segmenter():
    layers = [nn.Conv2D(4, 3, stride=2, input_shape=(1, None, None)), nn.UpSample2D(2)]
    model = nn.Model([*layers, nn.Conv2D(2, 1)], seed=0)
    model.compile("cce", "sgd", lr=0.1)
    return model


def test_fit_and_evaluate_with_batches_of_different_sizes():
    rng = np.random.default_rng(0)
    batches = [
        (rng.normal(size=(n, 1, *size)).astype("f"), rng.integers(0, 2, (n, *size)))
        for n, size in ((2, (8, 8)), (3, (4, 6)), (1, (10, 2)))
    ]
    model = segmenter()
    losses = [model.evaluate(*batch)["loss"] for batch in batches]
    expected = np.average(losses, weights=[2, 3, 1])
    assert model.evaluate(batches)["loss"] == pytest.approx(expected, rel=1e-6)
    history = model.fit(batches, epochs=30, validation_data=batches, verbose=0)
    assert history["loss"][-1] < history["loss"][0]
    assert model.predict(batches[1][0]).shape == (3, 2, 4, 6)
    with pytest.raises(
        ValueError, match=r"\[Model\] 'x' must give outputs of one shape, got \[\(2"
    ):
        model.predict([x for x, _ in batches])
    same = nn.Model([nn.Conv2D(2, 3, input_shape=(1, None, None)), nn.GlobalMaxPool2D()], seed=0)
    assert same.predict([x for x, _ in batches]).shape == (6, 2)


def test_targets_of_another_size_are_refused_with_their_batch():
    x, y = np.zeros((4, 1, 8, 8), "f"), np.arange(4 * 8 * 6).reshape(4, 8, 6) % 2
    for call in (segmenter().fit, segmenter().evaluate, segmenter().train_step):
        with pytest.raises(ValueError, match=r"\[Categorical.*\] expects 'y_true' .*\(4, 8, 8\)"):
            call(x, y)


def test_a_residual_block_that_halves_and_doubles_has_the_identity_for_its_shortcut():
    half = [nn.MaxPool2D(2), nn.Residual([nn.Conv2D(3, 3, stride=2), nn.UpSample2D(2)])]
    up = nn.Conv2DTranspose(3, 2, stride=2)
    for layers, kept in [
        ([*half, nn.UpSample2D(2)], True),
        ([nn.Conv2D(3, 3, stride=2), up], True),
        ([nn.Residual([nn.Conv2D(3, 3, stride=2)]), nn.Conv2D(3, 3)], False),
    ]:
        block = nn.Residual(layers)
        block.build((None, 3, None, None))
        assert (block.shortcut == ()) is kept
        x = np.random.default_rng(0).normal(size=(2, 3, 8, 12)).astype("f")
        assert block.forward(x).shape == (x.shape if kept else (2, 3, 4, 6))
    with pytest.raises(ValueError, match=r"\[Residual\] cannot add"):  # 1.5 times the size
        nn.Residual([nn.UpSample2D(3), nn.MaxPool2D(2)]).build((None, 3, None, None))


def test_the_gradient_check_draws_inputs_of_some_size():
    assert check_model(segmenter()).ok


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        (lambda: [nn.Flatten(), nn.Dense(2)], (1, None, 4), r"\[Dense\] needs to know .* axis 1"),
        (
            lambda: [nn.Dense(2)],
            (4, None),
            r"\[Dense\] needs to know .* axis 2 .*\(None, 4, None\)",
        ),
        (lambda: [nn.Conv2D(2)], (None, 8, 8), r"\[Conv2D\] needs to know the size of axis 1"),
        (lambda: [nn.DepthwiseConv2D(2)], (None, 8, 8), r"\[Depthwise.* needs to know .* axis 1"),
        (lambda: [nn.Conv2DTranspose(2)], (None, 8, 8), r"\[Conv2DTr.* needs to know .* axis 1"),
        (lambda: [nn.BatchNorm()], (None, 8, 8), r"\[BatchNorm\] needs to know .* axis 1"),
        (lambda: [nn.LayerNorm()], (3, None, 8), r"\[LayerNorm\] needs to know .* axis 2"),
        (lambda: [nn.GroupNorm(1)], (None, 8, 8), r"\[GroupNorm\] needs to know .* axis 1"),
        (lambda: [nn.LSTM(2)], (4, None), r"\[LSTM\] needs to know .* axis 2"),
        (lambda: [nn.Conv1D(2, 2)], (4, None), r"\[Conv1D\] needs to know .* axis 2"),
        (lambda: [nn.PReLU()], (None,), r"\[PReLU\] needs to know .* axis 1"),
    ],
)
def test_a_size_that_a_layer_must_know(layers, shape, message):
    with pytest.raises(ValueError, match=message):
        nn.Model(layers()).build((None, *shape))


def test_inputs_that_are_too_small_and_others_of_the_wrong_shape():
    model = nn.Model(
        [nn.Conv2D(2, 5, padding="valid", input_shape=(3, None, None)), nn.MaxPool2D(2)]
    )
    model.predict(np.zeros((1, 3, 6, 6), "f"))
    with pytest.raises(ValueError, match=r"\[Conv2D\] 'kernel_size' .* \(4, 9\)"):
        model.predict(np.zeros((1, 3, 4, 9), "f"))
    with pytest.raises(ValueError, match=r"\[MaxPool2D\] 'pool_size' .* \(1, 2\)"):
        model.predict(np.zeros((1, 3, 5, 6), "f"))
    for shape in ((1, 1, 8, 8), (1, 3, 8), (3, 8, 8)):
        with pytest.raises(
            ValueError, match=r"\[Model\] expects inputs of shape \(None, 3, None, N"
        ):
            model.predict(np.zeros(shape, "f"))


def test_reshape_and_flatten_of_any_size():
    x = np.arange(24.0).reshape(2, 3, 4)
    flat, rows = nn.Flatten(), nn.Reshape((2, -1))
    for layer in (flat, rows):
        layer.build((None, None, None))
    assert (flat.output_shape, rows.output_shape) == ((None, None), (None, 2, None))
    for part in (x, x[:, :2], x[:0]):
        np.testing.assert_array_equal(
            flat.forward(part), part.reshape(len(part), part[0:1].size or 12)
        )
        assert rows.forward(part, True).shape == (len(part), 2, part.shape[1] * 2)
        assert rows.backward(np.ones((len(part), 2, part.shape[1] * 2))).shape == part.shape
    with pytest.raises(ValueError, match=r"\[Reshape\] 'target_shape' \(2, -1\) must hold the 3"):
        rows.forward(x[:, :1, :3])


def test_a_shortcut_that_does_not_fit_is_found_with_the_batch():
    block = nn.Residual([nn.Conv2D(3, 3, padding="valid")], input_shape=(3, None, None))
    model = nn.Model([block], seed=0)
    with pytest.raises(ValueError, match=r"\[Residual\] 'shortcut' must bring \(1, 3, 5, 5\)"):
        model.predict(np.ones((1, 3, 5, 5), "f"))


def test_a_layer_for_any_size_goes_into_a_model_of_one_size_but_not_the_other_way():
    trained = nn.Conv2D(2, 3, input_shape=(3, None, None))
    nn.Model([trained], seed=0)
    nn.Model([nn.Rescale(2.0, input_shape=(3, 8, 8)), trained])
    known = nn.Conv2D(2, 3, input_shape=(3, 8, 8))
    nn.Model([known], seed=0)
    with pytest.raises(ValueError, match=r"\[Conv2D\] is built for \(None, 3, 8, 8\), got inputs"):
        nn.Model([nn.Rescale(2.0, input_shape=(3, None, None)), known])


@pytest.mark.parametrize("shape", [(), (0, None), (None, -1), ("3", None), None])
def test_what_is_no_shape(shape):
    with pytest.raises((ValueError, TypeError), match=r"\[Model\] 'input_shape'"):
        nn.Model([nn.ReLU()]).build((None, *shape) if shape is not None else None)


def test_resnet_of_any_size():
    model = nn.zoo.resnet20(input_shape=(3, None, None), seed=0)
    known = nn.zoo.resnet20(input_shape=(3, 13, 10), seed=0)
    x = np.random.default_rng(0).random((2, 3, 13, 10), dtype="float32")
    np.testing.assert_allclose(model.predict(x), known.predict(x), rtol=1e-5, atol=1e-6)
