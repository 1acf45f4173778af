"""The learning-rate range test: its curve, its suggestion, and that it leaves no trace."""

import copy

import numpy as np
import pytest

import nn
from nn import callbacks
from nn.training import lr_finder


def data(n=200, dtype="float32"):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 6)).astype(dtype)
    return x, (x[:, 0] + x[:, 1] > 0).astype(int)


def make(optimizer="adam", **arguments):
    model = nn.Model(
        [
            nn.Dense(16, input_shape=(6,)),
            nn.BatchNorm(),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Dense(2),
        ],
        seed=0,
    )
    model.compile("cce", optimizer, **arguments)
    return model


def everything(model):
    """All that training changes, as plain values."""
    return {
        **{name: array.copy() for name, array in model.get_arrays().items()},
        **{f"state/{name}": value for name, value in model.optimizer.state_dict().items()},
        "generators": [rng.bit_generator.state for rng in model.generators],
        "lr": model.optimizer.lr,
        "history": dict(model.history),
        "epoch": model.epoch,
        "built": model.built,
    }


def assert_same(one, two):
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_equal(two[name], value)


@pytest.mark.parametrize("optimizer", ["sgdmomentum", "adam"])
def test_the_model_is_left_bit_for_bit(optimizer):
    model = make(optimizer)
    model.fit(*data(), epochs=2, verbose=0)
    twin = copy.deepcopy(model)
    before = everything(model)
    nn.find_lr(model, *data())
    assert_same(before, everything(model))
    for one in (model, twin):  # and so is all that follows
        one.fit(*data(), epochs=2, verbose=0)
    assert_same(everything(twin), everything(model))


def test_a_model_that_is_not_built_stays_so_and_begins_as_it_would_have():
    model = nn.Model([nn.Dense(2)], seed=0)
    model.compile("cce", "sgd")
    nn.find_lr(model, *data())
    assert not model.built and model.layers[0].params == {}
    model.build((None, 6))
    fresh = nn.Model([nn.Dense(2)], seed=0)
    fresh.build((None, 6))
    np.testing.assert_array_equal(model.layers[0].params["W"], fresh.layers[0].params["W"])


def test_the_curve_is_that_of_training_by_hand():
    """SGD on a line, in batches of everything, step by step."""
    x = np.array([[1.0], [2.0]])
    y = 3 * x
    model = nn.Model([nn.Dense(1, use_bias=False, input_shape=(1,))], seed=0, dtype="float64")
    model.compile("mse", "sgd")
    w = float(model.layers[0].params["W"][0, 0])
    curve = nn.find_lr(model, x, y, lr_min=1e-4, lr_max=1.0, steps=9, batch_size=2)
    for step, (lr, loss) in enumerate(zip(curve.lrs, curve.losses, strict=True)):
        assert lr == pytest.approx(1e-4 * 10 ** (step / 2))
        assert loss == pytest.approx(np.mean((w * x - y) ** 2))
        w -= lr * np.mean(2 * (w * x - y) * x)
    assert len(curve.lrs) == 9  # the last rate, 1, is not too large yet for the loss before it
    np.testing.assert_array_equal(curve.smoothed, curve.losses)  # 9 // 20 neighbours


def test_it_ends_where_the_loss_explodes():
    x = np.random.default_rng(0).normal(size=(64, 3))
    model = nn.Model([nn.Dense(1, input_shape=(3,))], seed=0)
    model.compile("mse", "sgd")
    curve = nn.find_lr(model, x, x[:, :1], lr_max=1e6)
    assert len(curve.lrs) < 100
    assert curve.lrs[-1] < 100
    assert np.isfinite(curve.losses).all()
    assert curve.losses[-1] > 4 * curve.losses.min()
    # Plain gradient descent on this diverges above about 1.
    assert 0.001 < curve.suggestion < 1


def test_nan_ends_the_curve_without_an_error():
    x = np.full((8, 1), 1e20, dtype="float32")
    model = nn.Model([nn.Dense(1, input_shape=(1,))], seed=0)
    model.compile("mse", "sgd")
    with np.errstate(over="ignore"):
        curve = nn.find_lr(model, x, np.zeros((8, 1), dtype="float32"))
    assert len(curve.lrs) == 0 == len(curve.smoothed)
    assert curve.suggestion is None


def test_the_suggestion_learns_and_a_hundredfold_rate_does_not():
    x, y = data(400)
    suggestion = nn.find_lr(make("sgd"), x, y).suggestion
    losses = []
    for lr in (suggestion / 1000, suggestion, suggestion * 100):
        model = make("sgd", lr=lr)
        history = model.fit(x, y, epochs=3, verbose=0)
        losses.append(history["loss"][-1])
    assert losses[1] < 0.8 * losses[0]
    assert losses[1] < losses[2]


def test_no_suggestion_if_no_loss_falls():
    model = nn.Model([nn.Dense(2, input_shape=(6,), trainable=False)], seed=0)
    model.compile("mse", "sgd")
    x = np.ones((10, 6), dtype="float32")
    with pytest.warns(UserWarning, match="nothing to train"):
        curve = nn.find_lr(model, x, np.zeros((10, 2), dtype="float32"), steps=5)
    assert len(set(curve.losses)) == 1
    assert curve.suggestion is None


@pytest.mark.parametrize("radius", [0, 1, 3, 20])
def test_smoothing_is_the_mean_of_the_neighbours(radius):
    losses = np.random.default_rng(0).normal(size=12)
    for k, value in enumerate(lr_finder._smooth(losses, radius)):
        near = [losses[j] for j in range(12) if abs(j - k) <= radius]
        assert value == pytest.approx(sum(near) / len(near))


def test_a_negative_loss_does_not_explode_by_falling():
    assert not lr_finder._exploded([-1.0, -2.0, -3.0])
    assert lr_finder._exploded([-1.0, -1.0, 90.0])


def test_it_takes_all_that_fit_takes():
    x, y = data()
    whole = nn.find_lr(make(), nn.Dataset(x, y), steps=9)
    np.testing.assert_array_equal(whole.losses, nn.find_lr(make(), x, y, steps=9).losses)
    pairs = [(x[:50], y[:50]), (x[50:60], y[50:60])]
    assert len(nn.find_lr(make(), pairs, steps=9).lrs) == 9
    assert len(nn.find_lr(make(), lambda: iter(pairs), steps=9).lrs) == 9
    assert len(nn.find_lr(make(), iter(pairs), steps=9).lrs) == 2  # and no more to read
    weighted = nn.Dataset(x, y, sample_weight=np.full(len(x), 2.0))
    doubled = nn.find_lr(make("sgd", lr=1.0), weighted, steps=3, lr_max=1e-6)
    np.testing.assert_allclose(doubled.losses[0], 2 * whole.losses[0], rtol=1e-6)


def test_a_schedule_stays_with_the_optimizer():
    model = make("sgd", lr=nn.schedules.exponential(0.1, 0.9))
    nn.find_lr(model, *data(), steps=5)
    assert model.optimizer.lr == 0.1
    assert model.optimizer.schedule is not None


def test_it_works_within_a_callback():
    curves = []
    find = callbacks.LambdaCallback(
        on_epoch_end=lambda: curves.append(nn.find_lr(model, *data(), steps=5))
    )
    model, plain = make(), make()
    model.fit(*data(), epochs=2, callbacks=[find, callbacks.LayerStats()], verbose=0)
    plain.fit(*data(), epochs=2, verbose=0)
    assert len(curves) == 2
    assert_same(everything(plain), everything(model))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr_min": 0}, r"\[find_lr\] 'lr_min' must be a positive number, got 0"),
        ({"lr_max": 1e-8}, r"\[find_lr\] 'lr_max' must be above 'lr_min', 1e-07, got 1e-08"),
        ({"lr_max": float("inf")}, r"'lr_max' must be a positive number"),
        ({"steps": 2}, r"'steps' must be at least 3, got 2"),
        ({"steps": 10.0}, r"'steps' must be a positive integer"),
        ({"batch_size": 0}, r"'batch_size' must be a positive integer, got 0"),
    ],
)
def test_arguments_out_of_range_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        nn.find_lr(make(), *data(), **arguments)


def test_a_model_that_is_not_compiled_is_an_error():
    with pytest.raises(RuntimeError, match=r"\[find_lr\] call compile"):
        nn.find_lr(nn.Model([nn.Dense(2)]), *data())
    with pytest.raises(ValueError, match=r"'y_true' must be in 0\.\.1, got 8"):
        nn.find_lr(make(), data()[0], data()[1] + 7)
