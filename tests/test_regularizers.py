"""Penalties on weights: their values and slopes, and where in a model they count."""

import json
import math

import numpy as np
import pytest

import nn
from nn import regularizers
from nn.inspect import gradcheck
from nn.layers import layer_from_config
from nn.regularizers import L1, L1L2, L2


def penalty_by_loops(w, l1=0.0, l2=0.0):
    total = 0.0
    for value in w.ravel().tolist():
        total += l1 * abs(value) + l2 * value**2
    return total


RULES = [
    (L1(0.3), {"l1": 0.3}),
    (L2(0.2), {"l2": 0.2}),
    (L1L2(0.3, 0.2), {"l1": 0.3, "l2": 0.2}),
    (L1L2(l2=0.2), {"l2": 0.2}),
]


def data(n=12, features=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, features)), rng.normal(size=(n, 2))


PENALTIES = ("l1", L2(0.2), None)


def network(penalties=PENALTIES, **arguments):
    """A residual block around a penalised layer, and layers with and without a penalty."""
    first, inner, last = penalties
    model = nn.Model(
        [
            nn.Dense(4, kernel_regularizer=first, input_shape=(3,)),
            nn.Tanh(),
            nn.Residual([nn.Dense(4, kernel_regularizer=inner)]),
            nn.Dense(2, kernel_regularizer=last),
        ],
        dtype="float64",
        seed=0,
    )
    model.compile("mse", **{"optimizer": "sgd", "lr": 0.1, **arguments})
    return model


# ------------------------------------------------------------------------------- the rules


@pytest.mark.parametrize(("rule", "factors"), RULES)
@pytest.mark.parametrize("shape", [(4,), (3, 5), (2, 3, 3, 2)])
def test_penalty_and_gradient(rule, factors, shape):
    w = np.random.default_rng(0).normal(size=shape)
    assert rule.penalty(w) == pytest.approx(penalty_by_loops(w, **factors), rel=1e-14)
    measured = gradcheck.numerical_gradient(lambda: rule.penalty(w), w)
    assert gradcheck.relative_error(rule.gradient(w), measured) < 1e-8


@pytest.mark.parametrize(("rule", "factors"), RULES)
def test_any_strides_and_float32(rule, factors):
    w = np.random.default_rng(0).normal(size=(6, 8)).astype("float32")[::2, ::-1].T
    before = w.copy()
    assert isinstance(rule.penalty(w), float)
    assert rule.penalty(w) == pytest.approx(penalty_by_loops(w, **factors), rel=1e-6)
    assert rule.gradient(w).dtype == "float32" and rule.gradient(w).shape == (8, 3)
    assert np.array_equal(w, before)


def test_numbers_by_hand():
    w = np.array([[1.0, -2.0], [0.0, 3.0]])
    assert L1(0.5).penalty(w) == 3.0
    assert L2(0.5).penalty(w) == 7.0
    assert L1L2(0.5, 0.5).penalty(w) == 10.0
    assert np.array_equal(L1(0.5).gradient(w), [[0.5, -0.5], [0.0, 0.5]])
    assert np.array_equal(L2(0.5).gradient(w), [[1.0, -2.0], [0.0, 3.0]])
    assert np.array_equal(L1L2(0.5, 0.5).gradient(w), [[1.5, -2.5], [0.0, 3.5]])


def test_many_small_weights_are_summed_in_float64():
    w = np.full(3_000_000, 0.1, dtype="float32")
    w[0] = 1000  # beside a million, 0.01 is little in float32
    assert L2(1.0).penalty(w) == pytest.approx(1e6 + (w.size - 1) * float(w[1]) ** 2, rel=1e-7)


# --------------------------------------------------------------------------------- by name


def test_names_stand_for_keras_factors():
    assert vars(regularizers.get("l1")) == {"l1": 0.01}
    assert vars(regularizers.get("L2")) == {"l2": 0.01}
    assert vars(regularizers.get("l1_l2")) == {"l1": 0.01, "l2": 0.01}
    assert vars(L1()) == {"l1": 0.01} and vars(L2()) == {"l2": 0.01}
    assert vars(L1L2()) == {"l1": 0.0, "l2": 0.0}
    assert regularizers.get(None) is None
    rule = L2(0.5)
    assert regularizers.get(rule) is rule


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Dense(2, kernel_regularizer="l3"), r"\[Dense\] 'kernel_regularizer' .*'l3'"),
        (lambda: nn.Conv2D(2, kernel_regularizer=0.01), r"\[Conv2D\] 'kernel_.* got 0\.01"),
        (lambda: nn.Dense(2, kernel_regularizer=L2), r"\[Dense\] 'kernel_regularizer' must be"),
        (lambda: L1(-0.1), r"\[L1\] 'l1' .* got -0\.1"),
        (lambda: L2(math.nan), r"\[L2\] 'l2' .* got nan"),
        (lambda: L1L2(0.1, "x"), r"\[L1L2\] 'l2' .* got 'x'"),
        (lambda: regularizers.get({"class": "L3", "config": {}}), "'L3': .*NAME2REGULARIZER"),
        (lambda: regularizers.get({"class": "L2", "config": {"a": 1}}), r"\[L2\] cannot be made"),
        (lambda: regularizers.get({}), "got None"),
    ],
)
def test_wrong_arguments_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("rule", "factors"), RULES)
def test_config_round_trip(rule, factors):
    again = regularizers.from_config(json.loads(json.dumps(rule.to_config())))
    assert type(again) is type(rule) and vars(again) == vars(rule)
    for layer in (nn.Dense(2, kernel_regularizer=rule), nn.Conv2D(2, kernel_regularizer=rule)):
        config = json.loads(json.dumps(layer.to_config()))
        assert vars(layer_from_config(config).kernel_regularizer) == vars(rule)
    assert "kernel_regularizer" not in nn.Dense(2).to_config()["config"]


def test_a_layers_penalty_can_be_set_later():
    layer = nn.Dense(2)
    layer.kernel_regularizer = "l2"
    assert layer.regularizers == {"W": layer.kernel_regularizer}
    layer.kernel_regularizer = None
    assert layer.regularizers == {} and layer.kernel_regularizer is None


# ------------------------------------------------------------------------------ in a model


def test_the_penalty_of_a_model_is_the_sum_over_its_trained_layers():
    model = network()
    w = [model.get_arrays()[k] for k in ("0_Dense_W", "2_Residual/0_Dense_W")]
    first, inner = penalty_by_loops(w[0], l1=0.01), penalty_by_loops(w[1], l2=0.2)
    assert model.penalty() == pytest.approx(first + inner, rel=1e-14)
    model.layers[2].trainable = False
    assert model.penalty() == pytest.approx(first, rel=1e-14)
    assert network((None, None, None)).penalty() == 0.0


def test_reported_losses_contain_the_penalty():
    x, y = data()
    model, plain = network(), network((None, None, None))
    penalty = model.penalty()
    assert penalty > 0.1
    expected = plain.evaluate(x, y)["loss"] + penalty
    assert model.evaluate(x, y)["loss"] == pytest.approx(expected, rel=1e-14)
    assert model.evaluate(x, y, batch_size=5)["loss"] == pytest.approx(expected, rel=1e-13)
    assert model.train_step(x, y)["loss"] == pytest.approx(expected, rel=1e-14)
    model = network()
    history = model.fit(x, y, epochs=1, batch_size=12, val_data=(x, y), verbose=0)
    assert history["loss"][0] == pytest.approx(expected, rel=1e-13)
    assert history["val_loss"][0] == pytest.approx(model.evaluate(x, y)["loss"], rel=1e-13)


def test_the_gradients_are_those_of_the_reported_loss():
    """Each pair of a hand-written loop, against the slope of loss and penalty together."""
    x, y = data()
    model = network()
    model.loss.forward(model.forward(x, training=True), y)
    model.backward(model.loss.backward())
    pairs = model.get_params_and_grads()
    again = model.get_params_and_grads()

    def loss():
        return model.loss.forward(model.forward(x, training=True), y) + model.penalty()

    for (param, grad), (_, same) in zip(pairs, again, strict=True):
        measured = gradcheck.numerical_gradient(loss, param)
        assert gradcheck.relative_error(grad, measured) < 1e-7
        assert np.array_equal(grad, same)  # asking twice adds nothing


def test_layers_keep_the_gradients_of_the_loss_alone():
    layer = nn.Dense(3, kernel_regularizer=L2(5.0))
    errors = gradcheck.check_gradients(layer, np.random.default_rng(0).normal(size=(4, 5)))
    assert max(errors.values()) < 1e-6
    layer = nn.Conv2D(2, kernel_regularizer=L1(5.0))
    errors = gradcheck.check_gradients(layer, np.random.default_rng(0).normal(size=(2, 3, 4, 4)))
    assert max(errors.values()) < 1e-6


def test_a_loop_by_hand_equals_fit():
    x, y = data()
    fitted, by_hand = network(), network()
    fitted.fit(x, y, epochs=3, batch_size=4, shuffle=False, verbose=0)
    for _ in range(3):
        for k in range(0, 12, 4):
            by_hand.loss.forward(by_hand.forward(x[k : k + 4], training=True), y[k : k + 4])
            by_hand.backward(by_hand.loss.backward())
            by_hand.optimizer.step(by_hand.get_params_and_grads())
    for name, array in by_hand.get_arrays().items():
        assert np.array_equal(array, fitted.get_arrays()[name]), name


def test_l2_is_half_the_weight_decay_under_sgd():
    x, y = data()
    penalised, decayed = network((L2(0.05),) * 3), network((None,) * 3, weight_decay=0.1)
    for model in (penalised, decayed):
        model.fit(x, y, epochs=4, batch_size=5, verbose=0)
    for name, array in decayed.get_arrays().items():
        np.testing.assert_allclose(penalised.get_arrays()[name], array, rtol=1e-12, atol=1e-15)


def test_penalties_are_clipped_with_the_gradients():
    x, y = data()
    model = network((L2(1e6), None, None), lr=1.0, clip_norm=1.0)
    before = {name: array.copy() for name, array in model.get_arrays().items()}
    model.train_step(x, y)
    change = [array - before[name] for name, array in model.get_arrays().items()]
    assert math.sqrt(sum((c**2).sum() for c in change)) == pytest.approx(1.0, rel=1e-12)


def test_frozen_layers_keep_their_weights():
    x, y = data()
    model = network((L2(0.5), L2(0.5), None))
    model.layers[0].trainable = False
    before = model.layers[0].params["W"].copy()
    model.fit(x, y, epochs=2, verbose=0)
    assert np.array_equal(model.layers[0].params["W"], before)


def test_l1_makes_weights_vanish_that_bring_nothing():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = 2 * x[:, :1]
    model = nn.Model([nn.Dense(1, kernel_regularizer=L1(0.1), input_shape=(3,))], seed=0)
    model.compile("mse", "sgd", lr=0.01)
    model.fit(x, y, epochs=60, verbose=0)
    w = np.abs(model.layers[0].params["W"][:, 0])
    assert w[0] == pytest.approx(1.95, abs=0.05)  # minimum of (w - 2)**2 + 0.1 |w|
    assert w[1:].max() < 0.003


def test_without_penalties_training_is_bit_for_bit_what_it_was():
    x, y = data()
    model, spelled = network((None,) * 3), network((L2(0.0),) * 3)
    for each in (model, spelled):
        each.fit(x, y, epochs=2, batch_size=5, verbose=0)
    assert model.history == spelled.history
    layer = model.layers[0]
    pairs = model.get_params_and_grads()
    assert pairs[0][1] is layer.grads["W"]  # no copy, no sum


# ------------------------------------------------------------------------------ users' own


class Fourth(regularizers.Regularizer):
    def __init__(self, factor=1.0):
        self.factor = factor

    def penalty(self, w):
        return self.factor * float((w**4).sum())

    def gradient(self, w):
        return self.factor * 4 * w**3


class Scale(nn.Layer):
    """A user's layer that knows nothing of penalties."""

    def build(self, input_shape):
        self.params["scale"] = np.full(input_shape[1:], 2.0)
        self.output_shape, self.built = input_shape, True

    def forward(self, x, training=False):
        self.x = x
        return x * self.params["scale"]

    def backward(self, grad):
        self.grads["scale"] = (grad * self.x).sum(axis=0)
        return grad * self.params["scale"]


def test_a_users_penalty_saves_and_loads_once_it_is_known(tmp_path, monkeypatch):
    x, y = data()
    model = network((Fourth(0.5), None, None))
    model.save(tmp_path / "model.hdf5")
    with pytest.raises(ValueError, match=r"\[Dense\] .*'Fourth'.*NAME2REGULARIZER"):
        nn.Model.load(tmp_path / "model.hdf5")
    monkeypatch.setitem(regularizers.NAME2REGULARIZER, "Fourth", Fourth)
    loaded = nn.Model.load(tmp_path / "model.hdf5")
    assert loaded.evaluate(x, y) == model.evaluate(x, y)
    assert loaded.penalty() == pytest.approx(0.5 * (model.layers[0].params["W"] ** 4).sum())


def test_a_users_layer_takes_penalties_by_the_names_of_its_parameters():
    x, y = data(features=2)
    layer = Scale()
    layer.regularizers["scale"] = L2(0.5)
    model = nn.Model([layer], dtype="float64")
    model.build((None, 2))
    model.compile("mse", "sgd", lr=0.1)
    assert model.penalty() == pytest.approx(0.5 * 8)
    grad = (2 * (2 * x - y) * x).sum(axis=0) / y.size + 2 * 0.5 * 2.0
    model.train_step(x, y)
    np.testing.assert_allclose(layer.params["scale"], 2.0 - 0.1 * grad, rtol=1e-13)
    layer.regularizers["scales"] = L2()
    with pytest.raises(ValueError, match=r"\[Scale\] 'regularizers' .* did you mean 'scale'"):
        model.train_step(x, y)


def test_a_penalty_without_its_methods_says_so():
    with pytest.raises(NotImplementedError, match=r"\[Regularizer\] needs a penalty"):
        regularizers.Regularizer().penalty(np.ones(2))
    with pytest.raises(NotImplementedError, match=r"\[Regularizer\] needs a gradient"):
        regularizers.Regularizer().gradient(np.ones(2))
