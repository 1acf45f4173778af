"""Models whose first layers take 0..255: images of bytes are not scaled a second time."""

import numpy as np
import pytest

import nn
from nn.data import Dataset
from nn.inspect.gradcheck import check_model
from nn.layers.scaling import scaler_of_bytes

BYTES = np.random.default_rng(0).integers(0, 256, (12, 3, 6, 6), dtype=np.uint8)
FLOATS = BYTES.astype("float32")
LABELS = np.arange(12) % 2


def standardized():
    """Of the ImageNet statistics in 0..255, as in many models of other libraries."""
    return [nn.Standardize([124, 117, 104], [58, 57, 57])]


def normalized(std=70.0, mean=120.0):
    layer = nn.BatchNorm2D()
    layer.build((None, 3, 6, 6))
    layer.buffers["running_mean"][:] = mean
    layer.buffers["running_var"][:] = std**2
    return [layer]


def network(*first):
    model = nn.Model([*first, nn.Flatten(), nn.Dense(2)], seed=0)
    model.build((None, 3, 6, 6))
    model.compile("cce", "sgd", lr=1e-3)
    return model


FIRST = {
    "standardize": standardized,
    "one channel says it": lambda: [nn.Standardize([0.5, 0.5, 3.0], [0.2, 0.2, 1.0])],
    "only centred": lambda: [nn.Standardize([124, 117, 104], [1, 1, 1])],
    "only divided": lambda: [nn.Standardize([0, 0, 0], [58, 57, 57])],
    "after a rescale": lambda: [nn.Rescale(2, 1), nn.Standardize(241.0, 120.0)],
    "after layers that keep pixels": lambda: [nn.ZeroPad2D(1), nn.Standardize(120.0, 60.0)],
    "after Flatten": lambda: [nn.Flatten(), nn.Standardize(120.0, 60.0)],
    "nested": lambda: [nn.Sequential(standardized())],
    "rescale": lambda: [nn.Rescale(1 / 255)],
    "rescale to -1..1": lambda: [nn.Rescale(1 / 127.5, -1)],
    "rescale around 128": lambda: [nn.Rescale(1, -128)],
    "batch norm": normalized,
    "batch norm, a wide one": lambda: normalized(mean=0.0),
}


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_bytes_are_refused_where_the_first_layers_take_0_to_255(first):
    model = network(*first())
    model.predict(FLOATS)
    for use in (
        lambda: model.predict(BYTES),
        lambda: model.predict(Dataset(BYTES)),
        lambda: model.predict([BYTES[:6], BYTES[6:]]),
        lambda: model.predict_classes(BYTES),
        lambda: model.evaluate(BYTES, LABELS),
        lambda: model.evaluate(Dataset(BYTES, LABELS)),
        lambda: model.fit(BYTES, LABELS, verbose=0),
        lambda: model.train_step(BYTES, LABELS),
        lambda: model.forward(BYTES),
        lambda: check_model(model, BYTES, LABELS),
    ):
        with pytest.raises(ValueError, match=r"takes 0\.\.255 .*: pass x\.astype\('float32'\)"):
            use()


@pytest.mark.parametrize(
    "first",
    [
        lambda: [nn.Standardize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])],
        lambda: [nn.Standardize(0.0, 1.0)],
        lambda: [nn.Rescale(255), nn.Standardize(120.0, 60.0)],  # of bytes that come scaled
        lambda: [nn.Rescale(255), *normalized()],
        lambda: [nn.Rescale(2, -1)],
        lambda: [nn.BatchNorm2D()],
        lambda: [nn.Conv2D(3, 1), nn.Standardize(120.0, 60.0)],
        lambda: [nn.Conv2D(3, 1)],
    ],
)
def test_bytes_are_scaled_where_nothing_says_otherwise(first):
    model = network(*first())
    assert model.scaler_of_bytes is None
    np.testing.assert_allclose(model.predict(BYTES), model.predict(FLOATS / 255), rtol=1e-4)


def test_what_is_not_measured_says_nothing():
    assert scaler_of_bytes([nn.Standardize(), nn.Dense(2)]) is None
    assert scaler_of_bytes([nn.BatchNorm2D(), nn.Dense(2)]) is None
    assert scaler_of_bytes([]) is None


def test_a_model_trained_on_bytes_takes_bytes():
    for first in ([nn.Standardize()], [nn.BatchNorm2D()], [nn.Rescale(255), nn.BatchNorm2D()]):
        model = network(*first)
        model.fit(BYTES, LABELS, epochs=3, batch_size=4, verbose=0)
        model.predict(BYTES)


def test_an_ensemble_takes_one_range():
    one, other = network(*standardized()), network(nn.Standardize(0.5, 0.2))
    with pytest.raises(ValueError, match=r"same range, got \['0\.\.255', '\[0, 1\]'\]"):
        nn.Ensemble([one, other])
