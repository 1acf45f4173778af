"""Files written by earlier versions of nn load, predict what they did and go on training.

`fixtures/v0.1/make.py` wrote them, with version 0.1.
"""

from pathlib import Path

import numpy as np
import pytest

import nn

FOLDER = Path(__file__).parent / "fixtures" / "v0.1"
NAMES = ("circle", "square", "triangle")
CLOSE = {"rtol": 1e-5, "atol": 1e-6}  # another processor adds in another order


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "expected.npz") as file:
        return dict(file)


def convnet():
    return nn.Model(
        [
            nn.Conv2D(3, 3, activation="relu", input_shape=(1, 8, 8), name="first"),
            nn.BatchNorm2D(),
            nn.Residual([nn.Conv2D(3, 3, use_bias=False), nn.BatchNorm2D()]),
            nn.Sequential([nn.MaxPool2D(), nn.Dropout(0.1)]),
            nn.Flatten(),
            nn.WeightNorm(nn.Dense(4, activation="tanh")),
            nn.Dense(3),
        ],
        seed=1,
    )


def compiled():
    model = convnet()
    model.compile(
        "cce",
        "adam",
        lr=0.01,
        metrics=["accuracy", "f1"],
        weight_decay=0.01,
        clip_norm=1.0,
        ema_decay=0.9,
        gradient_accumulation_steps=2,
    )
    return model


def resumed(expected, path, epochs, callbacks=()):
    x, y = expected["x"], expected["y"]
    model = compiled()
    model.fit(
        nn.Dataset(x, y, class_names=NAMES),
        epochs=epochs,
        batch_size=8,
        val_data=(x, y),
        callbacks=callbacks,
        resume=path,
        verbose=0,
    )
    return model


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("trained.hdf5", "trained"),
        ("trained.npz", "trained"),
        ("without_optimizer.hdf5", "trained"),
        ("within_epoch.hdf5", "within_epoch"),
        ("recompute.hdf5", "recompute"),
        ("two_files/weights.hdf5", "two_files"),
    ],
)
def test_a_model_of_0_1_predicts_what_it_did(name, result, expected):
    model = nn.Model.load(FOLDER / name)
    np.testing.assert_allclose(model.predict(expected["x"]), expected[result], **CLOSE)
    if "two_files" not in name:
        assert model.name == "fixture"
        assert tuple(model.class_names) == NAMES


@pytest.mark.parametrize("name", ["weights_only.hdf5", "weights_only.npz"])
def test_weights_of_0_1_load_into_a_model(name, expected):
    model = convnet()
    model.load_weights(FOLDER / name)
    np.testing.assert_allclose(model.predict(expected["x"]), expected["trained"], **CLOSE)


def test_a_compiled_model_of_0_1_has_its_training_state():
    model = nn.Model.load(FOLDER / "trained.hdf5")
    assert model.epoch == 2
    assert len(model.history["val_f1"]) == 2
    assert type(model.optimizer) is nn.optim.Adam
    # Five batches an epoch, accumulated in pairs, and a step at the end of the epoch.
    assert model.optimizer.iterations == 6
    config = model.optimizer.to_config()["config"]
    assert (config["weight_decay"], config["clip_norm"], config["ema_decay"]) == (0.01, 1.0, 0.9)


@pytest.mark.parametrize("suffix", ["hdf5", "npz"])
def test_training_goes_on_from_a_file_of_0_1(suffix, expected):
    model = resumed(expected, FOLDER / f"trained.{suffix}", 4)
    assert len(model.history["loss"]) == 4
    np.testing.assert_allclose(model.predict(expected["x"]), expected["trained_resumed"], **CLOSE)


def test_training_goes_on_within_an_epoch_of_0_1(expected, tmp_path):
    callbacks = [
        nn.callbacks.EarlyStopping(patience=9),
        nn.callbacks.ReduceLROnPlateau(patience=1),
        nn.callbacks.ModelCheckpoint(
            tmp_path / "new.hdf5", save_best_only=False, save_state=True, save_freq=100
        ),
    ]
    model = resumed(expected, FOLDER / "within_epoch.hdf5", 3, callbacks)
    np.testing.assert_allclose(model.history["loss"], expected["within_epoch_loss"], **CLOSE)
    predicted = model.predict(expected["x"])
    np.testing.assert_allclose(predicted, expected["within_epoch_resumed"], **CLOSE)


def test_resuming_makes_a_difference(expected):
    """Else the tests above would prove little: without the state training ends elsewhere."""
    model = compiled()
    model.load_weights(FOLDER / "trained.hdf5")
    x, y = expected["x"], expected["y"]
    model.fit(x, y, epochs=2, batch_size=8, val_data=(x, y), verbose=0)
    assert np.abs(model.predict(x) - expected["trained_resumed"]).max() > 1e-3
