"""How a model trains beyond one batch, one step: factors of the rate, averages, accumulation."""

import copy
import itertools

import numpy as np
import pytest

import nn
from nn import callbacks, optim
from nn.layers import layer_from_config
from nn.optim import schedules
from nn.regularizers import L2

NAMES = sorted(optim.NAME2OPTIMIZER)

#: All that can be asked of a training at once.
EVERYTHING = {
    "lr": 0.02,
    "weight_decay": 0.01,
    "clip_value": 0.05,
    "ema_decay": 0.8,
    "gradient_accumulation_steps": 3,
}


def data(n=30, seed=0):
    """Points and their classes."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)), rng.integers(0, 3, n)


def network(seed=0, **options):
    """A small network with layers inside a layer; `options` are those of its layers."""
    return nn.Model(
        [
            nn.Dense(5, input_shape=(4,), kernel_regularizer=options.get("penalty")),
            nn.Tanh(),
            nn.Residual([nn.Dense(5, lr_factor=options.get("inner", 1.0))]),
            nn.Dense(3, lr_factor=options.get("last", 1.0)),
        ],
        dtype=options.get("dtype", "float64"),
        seed=seed,
    )


def compiled(model=None, **arguments):
    model = network() if model is None else model
    model.compile(**{"loss": "cce", "optimizer": "sgd", "lr": 0.1, **arguments})
    return model


def fit(model, epochs=2, **arguments):
    x, y = data()
    return model.fit(x, y, **{"epochs": epochs, "batch_size": 4, "verbose": 0, **arguments})


def arrays(model):
    return {name: array.copy() for name, array in model.get_arrays().items()}


def assert_same(model, other, rtol=0.0):
    """Weights, and averages where there are any, agree; bit for bit where rtol is 0."""
    pairs = [(model.get_arrays(), other.get_arrays())]
    pairs.append((model.optimizer.averages, other.optimizer.averages))
    for ours, theirs in pairs:
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            np.testing.assert_allclose(array, theirs[name], rtol=rtol, atol=rtol, err_msg=name)


# ------------------------------------------------------------------- factors of the rate


@pytest.mark.parametrize("name", NAMES)
def test_factors_by_layer_are_optimizers_of_their_own(name):
    """Each layer moves as under an optimizer of its own with the multiplied rate."""
    x, y = data()
    model = compiled(network(inner=0.1, last=3.0), optimizer=name, lr=0.02, weight_decay=0.1)
    apart = compiled(optimizer="sgd", lr=0.0)  # for its gradients
    rules = {
        key: optim.get(name, lr=0.02 * factor, weight_decay=0.1)
        for key, factor in (("0_Dense", 1.0), ("2_Residual/0_Dense", 0.1), ("3_Dense", 3.0))
    }
    for _ in range(6):
        model.train_step(x, y)
        apart.train_step(x, y)
        pairs = dict(zip(apart.trained_names, apart.get_params_and_grads(), strict=True))
        for path, rule in rules.items():
            rule.step([pairs[f"{path}_W"], pairs[f"{path}_b"]])
    assert_same(model, apart)


def test_the_factor_of_a_container_multiplies_those_inside():
    inside = nn.Dense(3, lr_factor=0.5)
    block = nn.Sequential([nn.Residual([inside], lr_factor=0.2), nn.Dense(3)], lr_factor=0.1)
    model = compiled(nn.Model([block, nn.BatchNorm(lr_factor=2.0)], seed=0))
    x, y = np.random.default_rng(0).normal(size=(8, 3)), np.arange(8) % 3
    model.train_step(x, y)
    factors = model.optimizer.lr_factors
    assert factors == pytest.approx(
        {
            "0_Sequential/0_Residual/0_Dense_W": 0.1 * 0.2 * 0.5,
            "0_Sequential/0_Residual/0_Dense_b": 0.1 * 0.2 * 0.5,
            "0_Sequential/1_Dense_W": 0.1,
            "0_Sequential/1_Dense_b": 0.1,
            "1_BatchNorm_gamma": 2.0,
            "1_BatchNorm_beta": 2.0,
        }
    )
    for layer in (block, block.layers[0], inside):
        layer.lr_factor = 1.0  # it may be changed between steps
    model.layers[1].lr_factor = 1
    model.train_step(x, y)
    assert model.optimizer.lr_factors == {}


@pytest.mark.parametrize(
    "make",
    [
        lambda **k: nn.Dense(2, **k),
        lambda **k: nn.Conv2D(2, **k),
        lambda **k: nn.BatchNorm(**k),
        lambda **k: nn.Sequential([nn.Dense(2)], **k),
        lambda **k: nn.Residual([nn.Dense(2)], **k),
        lambda **k: nn.ReLU(**k),
    ],
)
def test_factors_are_in_the_config(make):
    assert "lr_factor" not in make().to_config()["config"]
    assert layer_from_config(make().to_config()).lr_factor == 1.0
    assert layer_from_config(make(lr_factor=0.25).to_config()).lr_factor == 0.25
    for value in (0, -1, float("inf"), "0.1", None):
        with pytest.raises(ValueError, match=r"'lr_factor' must be a positive number, got"):
            make(lr_factor=value)


class Shift(nn.Layer):
    """A user's layer, whose __init__ takes nothing of what every layer takes."""

    def __init__(self):
        super().__init__()

    def build(self, input_shape):
        self.params["b"] = np.zeros(input_shape[1:])
        super().build(input_shape)

    def forward(self, x, training=False):
        return x + self.params["b"]

    def backward(self, grad):
        self.grads["b"] = grad.sum(axis=0)
        return grad


def test_layers_of_users_have_a_factor(monkeypatch):
    monkeypatch.setitem(nn.layers.NAME2LAYER, "Shift", Shift)
    layer = Shift()
    layer.lr_factor = 0.5
    layer = layer_from_config(layer.to_config())
    assert layer.lr_factor == 0.5
    model = compiled(nn.Model([layer], dtype="float64"), loss="mse")
    model.build((None, 1))
    model.train_step(np.zeros((4, 1)), np.ones((4, 1)))
    assert layer.params["b"] == pytest.approx(0.1 * 0.5 * 2)


class OwnStep(optim.Optimizer):
    def step(self, params_and_grads):
        for param, grad in params_and_grads:
            param -= self.lr * grad


class Stranger:
    """An optimizer that knows nothing of ours."""

    def step(self, params_and_grads):
        for param, grad in params_and_grads:
            param -= 0.1 * grad


@pytest.mark.parametrize("make", [OwnStep, Stranger])
def test_an_optimizer_that_cannot_multiply_its_rate_is_an_error(make):
    model = compiled(network(inner=0.5), optimizer=make(), lr=None)
    before = arrays(model)
    with pytest.raises(ValueError, match=r"'lr_factor' for '2_Residual/0_Dense_W' .* got 0\.5"):
        fit(model)
    assert all(np.array_equal(before[name], a) for name, a in model.get_arrays().items())
    fit(compiled(optimizer=make(), lr=None))


def test_factors_without_an_optimizer_are_an_error():
    model = network(last=0.5)
    x, y = data()
    loss = nn.losses.CategoricalCrossentropy()
    loss.forward(model.forward(x, training=True), y)
    model.backward(loss.backward())
    with pytest.raises(ValueError, match=r"\[Model\] 'lr_factor' for '3_Dense_W' .* compile"):
        model.get_params_and_grads()


# ----------------------------------------------------------------------- averaged weights


def average_reference(states, decay):
    weights = [decay ** (len(states) - i) for i in range(1, len(states) + 1)]
    return {
        name: sum(w * s[name] for w, s in zip(weights, states, strict=True)) / sum(weights)
        for name in states[0]
    }


def assert_arrays(model, expected, rtol=1e-12):
    for name, array in model.get_arrays().items():
        np.testing.assert_allclose(array, expected[name], rtol=rtol, atol=1e-14, err_msg=name)


class Recorder(callbacks.Callback):
    """Keeps the weights after each batch."""

    def on_train_begin(self, logs):
        self.states = []

    def on_train_batch_end(self, batch, logs):
        self.states.append(arrays(self.model))


def test_averaged_weights_stand_in_their_place_for_a_block():
    model, plain, recorder = compiled(ema_decay=0.8), compiled(), Recorder()
    fit(model, callbacks=[recorder])
    fit(plain)
    x, y = data()
    own, figures = arrays(model), model.evaluate(x, y)
    expected = average_reference(recorder.states, 0.8)
    assert np.abs(expected["3_Dense_W"] - own["3_Dense_W"]).max() > 1e-3
    with model.averaged_weights() as same:
        assert same is model
        assert_arrays(model, expected)
        averaged = model.evaluate(x, y)
        with model.averaged_weights():
            assert_arrays(model, expected)
        assert_arrays(model, expected)
    assert averaged != figures
    assert model.evaluate(x, y) == figures
    assert_arrays(model, own, rtol=0)
    assert_arrays(plain, own, rtol=0)  # averaging changes no training
    with pytest.raises(KeyError), model.averaged_weights():
        raise KeyError
    assert_arrays(model, own, rtol=0)


def test_averaged_weights_stay_until_training_goes_on():
    x, y = data()
    model, straight = compiled(ema_decay=0.8), compiled(ema_decay=0.8)
    for each in (model, straight):
        fit(each)
    own = arrays(model)
    model.use_averaged_weights()
    averaged = arrays(model)
    model.use_averaged_weights()
    assert_arrays(model, averaged, rtol=0)
    model.use_training_weights()
    assert_arrays(model, own, rtol=0)
    begin, seen = callbacks.Callback(), []
    begin.on_train_begin = lambda logs: seen.append(arrays(begin.model))
    for step in (lambda m: m.train_step(x, y), fit, lambda m: fit(m, callbacks=[begin])):
        own = arrays(model)
        model.use_averaged_weights()
        step(model)
        step(straight)
        assert model.set_aside is None
        assert_same(model, straight)
    assert np.array_equal(seen[0]["3_Dense_W"], own["3_Dense_W"])


def test_a_loop_by_hand_on_averaged_weights_is_an_error():
    x, y = data()
    model = compiled(ema_decay=0.8)
    model.train_step(x, y)
    with model.averaged_weights():
        model.loss.forward(model.forward(x, training=True), y)
        model.backward(model.loss.backward())
        with pytest.raises(RuntimeError, match=r"use_training_weights\(\)"):
            model.get_params_and_grads()


def test_loaded_weights_replace_averages_and_weights(tmp_path):
    model, other = compiled(ema_decay=0.8), network(seed=5)
    fit(model)
    other.save_weights(tmp_path / "other.npz")
    with model.averaged_weights():
        model.load_weights(tmp_path / "other.npz")
    assert_arrays(model, other.get_arrays(), rtol=0)


def test_frozen_layers_and_buffers_are_not_averaged():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 3)), rng.integers(0, 2, 24)
    model = nn.Model([nn.Dense(4), nn.BatchNorm(), nn.Dense(2)], seed=0)
    compiled(model, ema_decay=0.8)
    model.fit(x, y, verbose=0, batch_size=4)
    model.layers[0].trainable = False
    model.fit(x, y, verbose=0, batch_size=4)
    own = arrays(model)
    with model.averaged_weights():
        changed = {k for k, a in model.get_arrays().items() if not np.array_equal(a, own[k])}
    assert changed == {"1_BatchNorm_gamma", "1_BatchNorm_beta", "2_Dense_W", "2_Dense_b"}


def test_no_averages_are_clear_errors():
    with pytest.raises(RuntimeError, match=r"no averaged weights: compile\(ema_decay"):
        compiled().use_averaged_weights()
    with pytest.raises(RuntimeError, match="no averaged weights"), network().averaged_weights():
        pass
    with pytest.raises(ValueError, match=r"\[Model\] 'use_averages' needs compile\(ema_decay"):
        fit(compiled(), use_averages=True)
    model = compiled(ema_decay=0.9)  # before the first step the weights are their own average
    own = arrays(model)
    with model.averaged_weights():
        assert_arrays(model, own, rtol=0)


class Measure(callbacks.Callback):
    """Measures the model's weights on data at the end of each epoch."""

    def on_train_begin(self, logs):
        self.seen = []

    def on_epoch_end(self, epoch, logs):
        self.seen.append(arrays(self.model))


def test_validation_on_averages_if_asked():
    x, y = data(seed=1)
    recorder, measure = Recorder(), Measure()
    model, plain = compiled(ema_decay=0.8), compiled()
    history = fit(model, use_averages=True, val_data=(x, y), callbacks=[recorder, measure])
    expected, judge = average_reference(recorder.states, 0.8), compiled()
    judge.set_arrays(expected)
    assert history["val_loss"][-1] == pytest.approx(judge.evaluate(x, y)["loss"], rel=1e-12)
    for name, array in measure.seen[-1].items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-12, atol=1e-14)
    fit(plain, val_data=(x, y))
    assert_arrays(plain, arrays(model), rtol=0)  # training itself is the same
    assert history["loss"] == plain.history["loss"]
    assert history["val_loss"] != plain.history["val_loss"]


def test_early_stopping_and_checkpoints_keep_the_averages_that_were_measured(tmp_path):
    x, y = data(seed=1)
    model = compiled(lr=2.0, ema_decay=0.6)
    checkpoint = callbacks.ModelCheckpoint(tmp_path / "best.hdf5", monitor="val_loss")
    stop = callbacks.EarlyStopping(monitor="val_loss", patience=20)
    history = fit(model, 12, use_averages=True, val_data=(x, y), callbacks=[checkpoint, stop])
    best = min(history["val_loss"])
    assert best < history["val_loss"][-1]
    assert model.evaluate(x, y)["loss"] == pytest.approx(best, rel=1e-12)
    judge = compiled(nn.Model.load(tmp_path / "best.hdf5"))
    assert judge.evaluate(x, y)["loss"] == pytest.approx(best, rel=1e-12)


# -------------------------------------------------------------------- gradient accumulation


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.1}, {"clip_value": 0.01}])
def test_accumulation_equals_the_large_batch(name, options):
    """30 samples are batches of 12, 12 and 6, or of 4, 4, 4 | 4, 4, 4 | 4, 2."""
    options = {"optimizer": name, "lr": 0.02, "ema_decay": 0.9, "weight_decay": 0.1, **options}
    weights = {"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}, "sample_weight": np.linspace(0, 2, 30)}
    model = network(penalty=L2(0.1), inner=0.3)
    compiled(model, gradient_accumulation_steps=3, **options)
    large = compiled(network(penalty=L2(0.1), inner=0.3), **options)
    history = fit(model, 4, batch_size=4, shuffle=False, **weights)
    expected = fit(large, 4, batch_size=12, shuffle=False, **weights)
    assert model.optimizer.iterations == large.optimizer.iterations == 4 * 3
    assert_same(model, large, rtol=1e-12)
    for figure in ("loss", "acc", "lr"):
        assert history[figure] == pytest.approx(expected[figure], rel=1e-12)


def test_accumulation_equals_the_large_batch_of_images():
    rng = np.random.default_rng(0)
    x, y = rng.random((10, 2, 6, 6)), rng.integers(0, 3, 10)

    def convnet():
        layers = [nn.Conv2D(3, activation="tanh"), nn.MaxPool2D(), nn.Flatten(), nn.Dense(3)]
        return nn.Model(layers, dtype="float64", seed=0)

    model = compiled(convnet(), optimizer="adam", gradient_accumulation_steps=4)
    large = compiled(convnet(), optimizer="adam")
    for each, size in ((model, 2), (large, 8)):
        each.fit(x, y, epochs=3, batch_size=size, shuffle=False, verbose=0)
    assert_same(model, large, rtol=1e-12)


def test_one_accumulated_step_by_hand():
    """y = w x under mse, from w = 0: the slope of (w x - y)**2 is -2 x y."""
    model = nn.Model([nn.Dense(1, use_bias=False, input_shape=(1,))], dtype="float64")
    compiled(model, loss="mse", lr=1.0, gradient_accumulation_steps=2)
    w = model.layers[0].params["W"]
    w[...] = 0
    model.train_step(np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [1.0], [1.0]]))
    assert w[0, 0] == 0 and model.optimizer.iterations == 0
    model.train_step(np.array([[5.0]]), np.array([[-1.0]]))
    assert w[0, 0] == pytest.approx((2 * (1 + 2 + 3) - 2 * 5) / 4, rel=1e-15)
    assert model.optimizer.iterations == 1


def test_the_end_of_an_epoch_takes_the_step_with_what_is_left():
    model = compiled(gradient_accumulation_steps=5)
    fit(model, 1)  # 8 batches
    assert model.optimizer.iterations == 2
    assert model.accumulator.batches == 0
    model = compiled(gradient_accumulation_steps=100)
    large = compiled()
    fit(model, 3)
    fit(large, 3, batch_size=30)
    assert_same(model, large, rtol=1e-12)


def test_finish_step_by_hand():
    x, y = data()
    model, large = compiled(gradient_accumulation_steps=4), compiled()
    model.finish_step()
    assert model.optimizer.iterations == 0
    for k in (0, 10):
        model.train_step(x[k : k + 10], y[k : k + 10])
    model.finish_step()
    large.train_step(x[:20], y[:20])
    assert_same(model, large, rtol=1e-12)
    model.finish_step()
    assert model.optimizer.iterations == 1


def test_fit_discards_gradients_accumulated_before():
    x, y = data()
    model, fresh = compiled(gradient_accumulation_steps=4), compiled(gradient_accumulation_steps=4)
    model.train_step(x, y)
    for each in (model, fresh):
        fit(each, shuffle=False)
    assert_same(model, fresh)


@pytest.mark.parametrize("make", [OwnStep, Stranger])
def test_accumulation_serves_optimizers_of_users(make):
    model = compiled(optimizer=make(), lr=None, gradient_accumulation_steps=2)
    large = compiled(optimizer=make(), lr=None)
    fit(model, shuffle=False)
    fit(large, shuffle=False, batch_size=8)
    for name, array in large.get_arrays().items():
        np.testing.assert_allclose(model.get_arrays()[name], array, rtol=1e-12, atol=1e-14)


class Rates(callbacks.Callback):
    """The rate of each step that the optimizer takes."""

    def on_train_begin(self, logs):
        self.rates, optimizer = [], self.model.optimizer
        step = optimizer.step

        def watched(pairs):
            self.rates.append(optimizer.lr)
            step(pairs)

        optimizer.step = watched


@pytest.mark.parametrize(
    "schedule",
    [
        {"lr_schedule": lambda step: 0.5**step},
        {"lr_schedule": "cosine", "warmup_epochs": 1, "lr_min": 0.01},
        {"lr_schedule": "step", "lr_patience": 1},
        {"lr_schedule": "one_cycle"},
        {"lr_schedule": "warm_restarts", "lr_patience": 1},
        {},
    ],
)
def test_schedules_count_the_optimizers_steps(schedule):
    lr = 0.1 if schedule else schedules.exponential(0.1, 0.3)
    seen, figures = [], []
    for steps, size in ((3, 4), (1, 12)):
        rates = Rates()
        model = compiled(lr=lr, gradient_accumulation_steps=steps)
        figures.append(fit(model, 3, batch_size=size, callbacks=[rates], **schedule)["lr"])
        seen.append(rates.rates)
    assert len(seen[0]) == 9
    assert len(set(seen[0])) > 2
    assert seen[0] == pytest.approx(seen[1], rel=1e-12)
    assert figures[0] == pytest.approx(figures[1], rel=1e-12)


def test_a_function_as_metric_is_called_with_all_rows():
    calls = []

    def spread(y_true, y_pred):
        calls.append(len(y_true))
        return float(np.ptp(y_pred[:, 0]) / len(y_true))

    class Batches(nn.callbacks.Callback):
        def on_train_batch_end(self, batch, logs):
            assert "spread" not in logs

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(70, 3)), rng.integers(0, 2, 70)
    model = nn.Model([nn.Dense(2, input_shape=(3,))], seed=0)
    model.compile("cce", "sgd", lr=0.0, metrics=[spread])
    expected = spread(y, model.predict(x))
    calls.clear()
    history = model.fit(
        x, y, batch_size=16, epochs=2, val_data=(x, y), callbacks=[Batches()], verbose=0
    )
    assert calls == [70] * 4
    assert history["spread"] == history["val_spread"] == pytest.approx([expected] * 2)
    for size in (7, 64, 256):
        assert model.evaluate(x, y, batch_size=size)["spread"] == pytest.approx(expected)
    assert model.train_step(x[:8], y[:8])["spread"] > expected


def test_callbacks_and_metrics_see_every_batch():
    recorder = Recorder()
    model = compiled(gradient_accumulation_steps=3)
    fit(model, 1, callbacks=[recorder])
    states = [state["3_Dense_W"] for state in recorder.states]
    moves = [not np.array_equal(a, b) for a, b in itertools.pairwise(states)]
    assert moves == [False, True, False, False, True, False, False]


def test_layers_that_change_amid_an_accumulation_are_an_error():
    x, y = data()
    model = compiled(gradient_accumulation_steps=3)
    model.train_step(x, y)
    model.layers[0].trainable = False
    with pytest.raises(RuntimeError, match=r"trainable layers changed .* finish_step"):
        model.train_step(x, y)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "4"])
def test_wrong_numbers_of_steps(value):
    with pytest.raises(ValueError, match=r"\[Model.compile\] 'gradient_accumulation_steps' must"):
        compiled(gradient_accumulation_steps=value)


def test_misspelled_arguments_of_compile_name_the_nearest():
    for wrong, right in (
        ("clip_values", "clip_value"),
        ("gradient_accumulation_step", "gradient_accumulation_steps"),
        ("ema_decai", "ema_decay"),
    ):
        with pytest.raises(ValueError, match=f"did you mean '{right}'"):
            compiled(**{wrong: 2})


# --------------------------------------------------------------------------------- files


def trained(name, **options):
    return compiled(network(penalty="l1_l2", inner=0.3, dtype="float32"), optimizer=name, **options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["load", "resume"])
def test_training_goes_on_from_a_file_bit_for_bit(name, way, tmp_path):
    straight, model = trained(name, **EVERYTHING), trained(name, **EVERYTHING)
    fit(straight, 4)
    fit(model, 2)
    path = tmp_path / "model.hdf5"
    model.save(path)
    if way == "load":
        model = nn.Model.load(path)
        assert model.layers[2].layers[0].lr_factor == 0.3
        assert model.accumulator.steps == 3
        assert model.optimizer.ema_decay == 0.8 and model.optimizer.clip_value == 0.05
        fit(model, 4, initial_epoch=2)
    else:
        model = trained(name, **EVERYTHING)
        fit(model, 4, resume=path)
    assert_same(model, straight)
    assert model.history["loss"][-2:] == straight.history["loss"][-2:]
    assert straight.optimizer.iterations == 4 * 3


@pytest.mark.parametrize("suffix", ["hdf5", "npz"])
def test_a_file_saved_amid_a_step_goes_on(suffix, tmp_path):
    x, y = data()
    straight, model = trained("adam", **EVERYTHING), trained("adam", **EVERYTHING)
    for k in range(4):
        for each in (straight, model):
            each.train_step(x[k : k + 5 + k], y[k : k + 5 + k])
    model.save(tmp_path / f"model.{suffix}")
    model = nn.Model.load(tmp_path / f"model.{suffix}")
    assert (model.accumulator.batches, model.accumulator.samples) == (1, 8)
    early, expected = nn.Model.load(tmp_path / f"model.{suffix}"), copy.deepcopy(straight)
    for each in (early, expected):
        each.finish_step()  # the loaded optimizer has no names yet
    assert early.optimizer.iterations == 2
    assert_same(early, expected)
    for k in range(2):
        for each in (straight, model):
            each.train_step(x[k : k + 3], y[k : k + 3])
    assert_same(model, straight)
    assert model.optimizer.iterations == 2


@pytest.mark.parametrize("way", ["load", "resume"])
def test_a_file_saved_with_averages_predicts_with_them_and_trains_on_from_its_own(way, tmp_path):
    x, _ = data()
    straight, model = trained("adam", **EVERYTHING), trained("adam", **EVERYTHING)
    fit(straight, 4)
    fit(model, 2)
    path = tmp_path / "model.npz"
    with model.averaged_weights():
        expected = model.predict(x)
        model.save(path)
        model.save_weights(tmp_path / "weights.npz")
    loaded = nn.Model.load(path)
    assert np.array_equal(loaded.predict(x), expected)
    by_weights = trained("adam")
    by_weights.load_weights(tmp_path / "weights.npz")
    assert np.array_equal(by_weights.predict(x), expected)
    if way == "load":
        fit(loaded, 4, initial_epoch=2)
    else:
        loaded = trained("adam", **EVERYTHING)
        fit(loaded, 4, resume=path)
    assert_same(loaded, straight)


def test_checkpoints_of_averages_resume_exactly(tmp_path):
    options = {**EVERYTHING, "ema_decay": 0.6}
    straight, model = trained("adam", **options), trained("adam", **options)
    asked = {"use_averages": True, "val_data": data(seed=1)}
    fit(straight, 4, **asked)
    path = tmp_path / "last.hdf5"
    saving = callbacks.ModelCheckpoint(path, save_best_only=False, save_state=True)
    history = fit(model, 2, callbacks=[saving], **asked)
    x, y = data(seed=1)
    assert nn.Model.load(path).evaluate(x, y)["loss"] == history["val_loss"][-1]
    model = trained("adam", **options)
    fit(model, 4, resume=path, **asked)
    assert_same(model, straight)
    assert model.history == straight.history


def test_a_file_with_averages_into_a_model_without(tmp_path):
    model = trained("adam", **EVERYTHING)
    fit(model, 1)
    model.save(tmp_path / "model.hdf5")
    with pytest.raises(ValueError, match=r"\[Adam\] 'state' holds averages .*ema_decay"):
        fit(trained("adam"), 2, resume=tmp_path / "model.hdf5")


def test_arrays_of_other_shapes_in_a_file_are_errors(tmp_path):
    model = trained("adam", **EVERYTHING)
    fit(model, 1)
    model.use_averaged_weights()
    model.save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as file:
        content = dict(file)
    for shape, key in (((2, 2), "optimizer/set_aside/3_Dense_W"), ((3,), "optimizer/set_aside/x")):
        np.savez(tmp_path / "bad.npz", **{**content, key: np.zeros(shape)})
        with pytest.raises(ValueError, match=r"does not fit the model|does not describe a model"):
            nn.Model.load(tmp_path / "bad.npz")


def test_files_of_before_load(tmp_path):
    """What older files lack is what it was then."""
    model = compiled()
    fit(model, 1)
    path = tmp_path / "model.npz"
    model.save(path)
    content = nn.io.read(path)
    del content.training["accumulation"]
    for setting in ("clip_value", "ema_decay"):
        del content.training["optimizer"]["config"][setting]
    nn.io.write(path, content)
    loaded = nn.Model.load(path)
    for each in (model, loaded):
        fit(each, 2, initial_epoch=1)
    assert_same(loaded, model)
