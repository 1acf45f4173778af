"""LayerStats: its figures against NumPy's own, and when it warns."""

import warnings

import numpy as np
import pytest

import nn
from nn.callbacks import LambdaCallback, LayerStats
from nn.layers.observe import active_observers


def data(n=30, shape=(6,)):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, *shape)).astype("float32"), np.arange(n) % 2


def make(*layers, lr=0.1, loss="cce"):
    model = nn.Model(layers, seed=0)
    model.compile(loss, "sgd", lr=lr)
    return model


def test_figures_of_an_epoch_are_those_of_all_its_outputs():
    """With a rate of 0 the outputs of an epoch are the outputs for all samples."""
    x, y = data()
    model = make(nn.Dense(5, input_shape=(6,)), nn.ReLU(), nn.Dense(2), lr=0.0)
    stats = LayerStats(max_dead=0.99)
    model.fit(x, y, epochs=2, batch_size=7, callbacks=stats, verbose=0)
    out = x
    for path, layer in zip(("0_Dense", "1_ReLU", "2_Dense"), model.layers, strict=True):
        out = layer.forward(out)
        np.testing.assert_allclose(stats.stats[path]["mean"], [out.mean()] * 2, rtol=1e-5)
        np.testing.assert_allclose(stats.stats[path]["std"], [out.std()] * 2, rtol=1e-5)
    assert "dead" not in stats.stats["0_Dense"]
    assert "grad_norm" not in stats.stats["1_ReLU"]
    assert active_observers.get() == ()


def test_the_norm_is_the_largest_of_the_batches():
    x, y = data()
    norms = []

    def measure():
        grads = [grad.ravel() for grad in model.layers[0].grads.values()]
        norms.append(np.linalg.norm(np.concatenate(grads)))

    model = make(nn.Dense(2, input_shape=(6,)))
    stats = LayerStats()
    callbacks = [stats, LambdaCallback(on_batch_end=measure)]
    model.fit(x, y, batch_size=7, callbacks=callbacks, verbose=0)
    assert len(norms) == 5
    assert stats.stats["0_Dense"]["grad_norm"] == [pytest.approx(max(norms), rel=1e-6)]


@pytest.mark.parametrize(
    ("layers", "path"),
    [
        ([nn.Dense(8, input_shape=(6,)), nn.ReLU()], "1_ReLU"),
        ([nn.Dense(8, input_shape=(6,)), nn.Activation("relu")], "1_Activation"),
        ([nn.Dense(8, activation="relu", input_shape=(6,))], "0_Dense"),
        (
            [nn.Residual([nn.Dense(6), nn.ReLU()], nn.Dense(6), input_shape=(6,))],
            "0_Residual/1_ReLU",
        ),
    ],
)
def test_dead_units_are_counted_and_reported_once(layers, path):
    x, y = data()
    model = make(*layers, nn.Dense(2), lr=1e-6)
    first = next(layer for layer in (*layers[0].sublayers(), layers[0]) if "b" in layer.params)
    first.params["b"][:] = 50  # alive for every sample
    first.params["b"][:2] = -50  # dead
    stats = LayerStats()
    with pytest.warns(UserWarning, match="dead ReLUs, 0 for every sample") as caught:
        model.fit(x, y, epochs=3, batch_size=7, callbacks=stats, verbose=0)
    units = len(first.params["b"])
    assert len(caught) == 1
    assert f"epoch 1: dead ReLUs, 0 for every sample: {2 / units:.0%} of {path}" in str(
        caught[0].message
    )
    assert stats.stats[path]["dead"] == pytest.approx([2 / units] * 3)


def test_a_unit_that_lives_for_one_sample_is_not_dead():
    x, y = np.full((30, 1), -1.0, dtype="float32"), np.arange(30) % 2
    x[17] = 1.0
    model = make(nn.Dense(1, input_shape=(1,)), nn.ReLU(), nn.Dense(2), lr=0.0)
    model.layers[0].params["W"][...] = 1.0
    stats = LayerStats(max_dead=0.0)
    model.fit(x, y, batch_size=7, callbacks=stats, verbose=0)
    assert stats.stats["1_ReLU"]["dead"] == [0.0]
    x[17] = -1.0
    with pytest.warns(UserWarning, match="100% of 1_ReLU"):
        model.fit(x, y, batch_size=7, callbacks=stats, verbose=0)


def test_units_of_a_convolution_are_its_channels():
    x, y = data(shape=(1, 4, 4))
    model = make(
        nn.Conv2D(4, 3, activation="relu", input_shape=(1, 4, 4)), nn.Flatten(), nn.Dense(2), lr=0.0
    )
    model.layers[0].params["b"][1] = -50
    stats = LayerStats()
    with pytest.warns(UserWarning, match="25% of 0_Conv2D"):
        model.fit(x, y, callbacks=stats, verbose=0)


def test_a_leaky_relu_has_no_dead_units():
    model = make(nn.Dense(8, input_shape=(6,)), nn.LeakyReLU(), nn.Dense(2))
    model.layers[0].params["b"][:] = -50
    stats = LayerStats(max_dead=0.0)
    model.fit(*data(), callbacks=stats, verbose=0)
    assert "dead" not in stats.stats["1_LeakyReLU"]


def test_exploding_gradients_are_reported_once_an_epoch():
    x, y = data()
    model = make(nn.Dense(2, input_shape=(6,)), nn.Dense(2), lr=0.0)
    stats = LayerStats()
    with pytest.warns(UserWarning, match="exploding gradients") as caught:
        model.fit(x * 1e5, y, epochs=2, batch_size=7, callbacks=stats, verbose=0)
    assert len(caught) == 2
    text = str(caught[0].message)
    assert text.startswith(
        "[LayerStats] batch 0: exploding gradients, with norms above 1000: 0_Dense "
    )
    assert text.endswith("set clip_norm, lower the learning rate, or scale the inputs.")
    norm = float(text.split("0_Dense ")[1].split(",")[0].split(":")[0])
    assert norm > 1000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(x * 1e5, y, callbacks=LayerStats(max_norm=1e9), verbose=0)


def test_a_frozen_layer_has_no_gradient_to_warn_of():
    model = make(nn.Dense(2, input_shape=(6,)), nn.Dense(2), nn.Dense(2))
    stats = LayerStats()
    model.fit(*data(), verbose=0)
    model.layers[1].trainable = False  # and it still holds the gradients of before
    model.fit(*data(), callbacks=stats, verbose=0)
    assert "grad_norm" in stats.stats["0_Dense"]
    assert "grad_norm" not in stats.stats["1_Dense"]
    assert "grad_norm" in stats.stats["2_Dense"]


def test_training_and_other_computations_are_not_changed():
    x, y = data()
    layers = lambda: (nn.Dense(4, input_shape=(6,)), nn.Dropout(0.5), nn.ReLU(), nn.Dense(2))  # noqa: E731
    plain, watched = make(*layers()), make(*layers())
    plain.fit(x, y, epochs=2, batch_size=7, verbose=0)
    stats = LayerStats(max_dead=0.99)
    look = LambdaCallback(
        on_epoch_end=lambda: watched.forward(np.full((1, 6), 1e6)),
        on_batch_end=lambda: watched.evaluate(x, y),
    )
    watched.fit(x, y, epochs=2, batch_size=7, callbacks=[look, stats], verbose=0)
    for name, array in plain.get_arrays().items():
        np.testing.assert_array_equal(watched.get_arrays()[name], array)
    assert stats.stats["0_Dense"]["std"][0] < 100


def test_it_watches_no_longer_after_an_error():
    model = make(nn.Dense(2, input_shape=(6,)))
    model.layers[0].params["W"][...] = np.nan
    with pytest.raises(FloatingPointError):
        model.fit(*data(), callbacks=LayerStats(), verbose=0)
    assert active_observers.get() == ()


def test_arguments():
    with pytest.raises(ValueError, match=r"\[LayerStats\] 'max_dead' must be a number in \[0, 1\)"):
        LayerStats(max_dead=1.0)
    with pytest.raises(ValueError, match=r"\[LayerStats\] 'max_norm' must be a positive number"):
        LayerStats(max_norm=0)
