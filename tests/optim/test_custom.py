"""Optimizers that users write: their steps are counted, and a first step without effect is said."""

import warnings

import numpy as np
import pytest

import nn

x = np.random.default_rng(0).normal(size=(20, 3))
y = x[:, :1]


def trained(optimizer, **arguments):
    model = nn.Model([nn.Dense(1, input_shape=(3,))], seed=0)
    model.compile("mse", optimizer, **arguments)
    return model, model.fit(x, y, epochs=3, batch_size=20, verbose=0)


class OwnStep(nn.optim.Optimizer):
    def step(self, params_and_grads):
        for param, grad in params_and_grads:
            param -= self.lr * grad


class CountsItself(OwnStep):
    def step(self, params_and_grads):
        super().step(params_and_grads)
        self.iterations += 1


def by_step(step):
    return 0.1 / (1 + step)


def test_the_rate_of_a_step_of_ones_own_follows_the_schedule():
    model, history = trained(OwnStep(lr=by_step))
    ours, expected = trained("sgd", lr=by_step)
    assert history["lr"] == expected["lr"] == [0.1, 0.05, 0.1 / 3]
    assert np.array_equal(model.predict(x), ours.predict(x))
    assert model.optimizer.iterations == 3


def test_the_steps_of_one_that_counts_are_not_counted_twice():
    class Counts(nn.optim.Optimizer):
        def step(self, params_and_grads):
            self.iterations += 1

    assert trained(Counts())[0].optimizer.iterations == 3


class Rebinds(nn.optim.Optimizer):
    def update(self, param, grad, slots):
        param = param - self.lr * grad


class Half(nn.optim.Optimizer):
    def update(self, param, grad, slots):
        if param.ndim == 2:
            param -= self.lr * grad


def test_a_rule_that_changes_nothing_is_said_once():
    with pytest.warns(RuntimeWarning, match=r"\[Rebinds\] update\(\) left all param") as found:
        trained(Rebinds(lr=0.1))
    assert len(found) == 1
    assert found[0].filename == __file__


@pytest.mark.parametrize("optimizer", [Half(lr=0.1), Rebinds(lr=0.0), Rebinds(lr=lambda step: 0.0)])
def test_it_is_not_said_of_others(optimizer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(optimizer)


def test_zero_gradients_change_nothing():
    weights = np.ones(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Rebinds(lr=0.1).step([(weights, np.zeros(3))])


def test_an_optimizer_of_pytorch_is_refused_by_compile():
    class SGD:
        param_groups = ()

        def step(self, closure=None):
            """Do nothing."""

    with pytest.raises(TypeError, match=r"'optimizer' must have a step\(params_and_grads\).*SGD"):
        trained(SGD())


class InPlace(nn.optim.Optimizer):
    def update(self, param, grad, slots):
        grad *= self.lr
        param -= grad


class StepInPlace(nn.optim.Optimizer):
    def step(self, params_and_grads):
        for param, grad in params_and_grads:
            grad *= self.lr
            param -= grad


class NoSubclass:
    lr = 0.1

    def step(self, params_and_grads):
        StepInPlace(lr=self.lr).step(list(params_and_grads))


class TwoBiases(nn.Layer):
    """`x + a + b`, whose gradients are one array."""

    def build(self, input_shape):
        self._set_param("a", np.zeros(input_shape[-1]))
        self._set_param("b", np.zeros(input_shape[-1]))
        super().build(input_shape)

    def forward(self, x, training=False):
        return x + self.params["a"] + self.params["b"]

    def backward(self, grad):
        self.grads["a"] = self.grads["b"] = grad.sum(0)
        return grad


def watched(optimizer):
    model = nn.Model([nn.Dense(1, input_shape=(3,)), TwoBiases()], seed=0)
    model.compile("mse", optimizer)
    stats = nn.callbacks.LayerStats()
    model.fit(x, y, epochs=3, batch_size=20, callbacks=[stats], verbose=0)
    return model, stats.stats


@pytest.mark.parametrize("make", [InPlace, StepInPlace, lambda lr: NoSubclass()])
def test_a_rule_that_changes_gradients_in_place_changes_its_own_copies(make):
    model, stats = watched(make(lr=0.1))
    expected, expected_stats = watched(nn.optim.SGD(lr=0.1))
    for one, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert stats["0_Dense"]["grad_norm"] == pytest.approx(expected_stats["0_Dense"]["grad_norm"])


def test_a_rule_in_place_within_lookahead():
    one, other = (watched(nn.optim.Lookahead(rule)) for rule in (InPlace(lr=0.1), Right(lr=0.1)))
    np.testing.assert_allclose(one[0].predict(x), other[0].predict(x), rtol=1e-5)
    assert one[1]["0_Dense"]["grad_norm"] == pytest.approx(other[1]["0_Dense"]["grad_norm"])


class Right(nn.optim.Optimizer):
    def update(self, param, grad, slots):
        param -= self.lr * grad


def test_lr_of_compile_replaces_that_of_the_object():
    model, history = trained(nn.optim.Adam(lr=0.1), lr=0.5)
    assert history["lr"] == [0.5] * 3
    assert model.optimizer.lr == 0.5
    assert trained(nn.optim.Adam(lr=0.1))[1]["lr"] == [0.1] * 3
