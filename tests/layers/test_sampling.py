"""The sampling layer: its values, its penalty in the loss, and the gradients of both."""

import math

import numpy as np
import pytest

import nn
from nn.inspect.gradcheck import check_gradients


def divergence(x, half):
    """Return the mean divergence from N(0, 1) of rows, with numerical integrals for each number."""
    grid = np.linspace(-30, 30, 200_001)
    normal = np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
    total = 0.0
    for row in x:
        for mean, log_variance in zip(row[:half], row[half:], strict=True):
            std = math.exp(log_variance / 2)
            density = np.exp(-((grid - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi))
            ratio = -((grid - mean) ** 2) / (2 * std**2) - math.log(std) + grid**2 / 2
            total += float((density * ratio).sum()) * (grid[1] - grid[0])
            assert normal.sum() * (grid[1] - grid[0]) == pytest.approx(1)
    return total / len(x)


def test_the_penalty_is_the_integral_of_the_divergence():
    x = np.random.default_rng(0).normal(size=(5, 6))
    layer = nn.GaussianSampling(kl_weight=0.3)
    for training in (True, False, None):
        layer.forward(x, training)
        assert layer.activity_penalty() == pytest.approx(0.3 * divergence(x, 3), rel=1e-6)
    assert nn.GaussianSampling().activity_penalty() == 0
    layer.forward(np.zeros((4, 6)))
    assert layer.activity_penalty() == 0


def test_samples_have_the_mean_and_the_variance_that_came_in():
    x = np.tile(np.array([[3.0, -1.0, math.log(4.0), math.log(0.25)]]), (20_000, 1))
    layer = nn.GaussianSampling()
    z = layer.forward(x, training=True)
    np.testing.assert_allclose(z.mean(axis=0), [3, -1], atol=0.06)
    np.testing.assert_allclose(z.std(axis=0), [2, 0.5], rtol=0.03)
    np.testing.assert_array_equal(layer.forward(x), x[:, :2])  # nothing is random then


def test_a_seed_gives_the_same_samples():
    x = np.ones((4, 6), np.float32)
    first, second = (nn.Model([nn.GaussianSampling()], seed=7) for _ in range(2))
    z = first.forward(x, training=True)
    np.testing.assert_array_equal(z, second.forward(x, training=True))
    assert not np.array_equal(z, first.forward(x, training=True)) and z.dtype == np.float32


@pytest.mark.parametrize("kl_weight", [0.0, 0.7])
@pytest.mark.parametrize("training", [True, False])
def test_gradients(training, kl_weight):
    x = np.random.default_rng(0).normal(size=(3, 4))
    layer = nn.GaussianSampling(kl_weight)
    assert max(check_gradients(layer, x, training).values()) < 1e-7
    inside = nn.Sequential([nn.Dense(6), nn.GaussianSampling(kl_weight), nn.Dense(2)])
    assert max(check_gradients(inside, x, training).values()) < 1e-7


def variational(kl_weight=0.5, **options):
    layers = [
        nn.Sequential([nn.Dense(8, kernel_regularizer="l2"), nn.Tanh(), nn.Dense(4)]),
        nn.GaussianSampling(kl_weight),
        nn.Dense(3),
    ]
    model = nn.Model(layers, seed=0, **options)
    model.build((None, 3))
    model.compile("mse", "adam")
    return model


def test_a_whole_model_passes_its_gradient_check():
    report = nn.gradcheck.check_model(variational(dtype="float64"))
    assert report.ok, report


def test_the_penalty_is_part_of_every_loss_that_is_reported():
    x = np.random.default_rng(0).normal(size=(10, 3)).astype("float32")
    model = variational()
    means = model.predict(x)
    kl = divergence(model.layers[0].forward(x).astype(float), 2)
    weights = sum(layer.penalty() for layer in model.layers[0].layers)
    expected = float(((means - x) ** 2).mean()) + 0.5 * kl + weights
    assert weights > 1e-3
    for batch_size in (3, 10):  # also with a last batch of one
        found = model.evaluate(x, x, batch_size=batch_size)["loss"]
        assert found == pytest.approx(expected, rel=1e-5)
    history = model.fit(x, x, epochs=1, validation_data=(x, x), verbose=0)
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(x, x)["loss"], rel=1e-5)
    by_step = model.train_step(x, x)["loss"]
    model = variational()
    y = model.forward(x, training=True)
    by_hand = model.loss.forward(y, x) + model.penalty()
    assert by_hand == pytest.approx(variational().train_step(x, x)["loss"], rel=1e-6)
    assert by_step != pytest.approx(by_hand, rel=1e-3)  # as weights and noise have changed


def test_a_frozen_layer_still_adds_its_penalty_and_gradient():
    model = variational(dtype="float64")
    model.layers[1].trainable = False
    assert nn.gradcheck.check_model(model).ok
    model.forward(np.ones((2, 3)))
    assert model.penalty() > model._plan().penalty(of_activity=False)


def test_the_divergence_pulls_towards_the_standard_normal():
    x = np.random.default_rng(0).normal(3, 2, size=(64, 3))
    found = []
    for kl_weight in (0.0, 100.0):
        model = variational(kl_weight)
        model.compile("mse", "adam", lr=0.02)
        model.fit(x, x, epochs=150, verbose=0)
        model.forward(x)
        found.append(model.layers[1]._kl)
    assert found[1] < 0.05 < 1 < found[0]


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: nn.GaussianSampling(-1), "'kl_weight' must be a number of at least 0, got -1"),
        (lambda: nn.GaussianSampling("x"), "'kl_weight' must be a number"),
        (lambda: nn.GaussianSampling().build((None, 5)), r"'input_shape'.*got \(None, 5\)"),
        (lambda: nn.GaussianSampling().forward(np.ones((2, 3, 4))), "expects 2-D input"),
    ],
)
def test_wrong_arguments(act, words):
    with pytest.raises(ValueError, match=rf"\[GaussianSampling\] {words}"):
        act()


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_variance_without_end_is_an_error():
    model = nn.Model([nn.Dense(4, kernel_initializer="ones"), nn.GaussianSampling()], seed=0)
    model.build((None, 2))
    model.compile("mse", "sgd")
    with pytest.raises(FloatingPointError, match="the loss is"):
        model.train_step(np.full((2, 2), 400.0), np.ones((2, 2)))
