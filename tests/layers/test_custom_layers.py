"""Faults of custom layers that would train wrongly without an error."""

import numpy as np
import pytest

import nn


class Scale(nn.Layer):
    """`x * w`, with a gradient that the subclasses set in their own ways."""

    def build(self, input_shape):
        self._set_param("w", np.ones(input_shape[-1]))
        super().build(input_shape)

    def forward(self, x, training=False):
        self.x = x
        return x * self.params["w"]

    def backward(self, grad):
        self.grads["w"] = (grad * self.x).sum(0)
        return grad * self.params["w"]


class Adding(Scale):
    """As in PyTorch, where the optimizer's `zero_grad` empties the gradients."""

    def build(self, input_shape):
        super().build(input_shape)
        self.grads["w"] = np.zeros_like(self.params["w"])

    def backward(self, grad):
        self.grads["w"] += (grad * self.x).sum(0)
        return grad * self.params["w"]


class Forgetful(Scale):
    """A `backward` without `return`."""

    def backward(self, grad):
        self.grads["w"] = (grad * self.x).sum(0)


class Block(nn.Layer):
    """Two layers inside, known by `sublayers` alone."""

    def __init__(self, **common):
        super().__init__(**common)
        self.first, self.second = nn.Dense(4), nn.Tanh()

    def sublayers(self):
        return (self.first, self.second)

    def build(self, input_shape):
        self.first.build(input_shape)
        self.output_shape, self.built = self.first.output_shape, True

    def forward(self, x, training=False):
        return self.second.forward(self.first.forward(x, training), training)

    def backward(self, grad):
        return self.first.backward(self.second.backward(grad))


class Twice(nn.layers.containers.Container):
    """One layer applied to both halves of a batch, whose `backward` adds up its gradients."""

    def __init__(self, layer):
        super().__init__([layer])

    def build(self, input_shape):
        self.layers[0].build(input_shape)
        self.output_shape, self.built = input_shape, True

    def forward(self, x, training=False):
        self.half = len(x) // 2
        first, second = x[: self.half], x[self.half :]
        outputs = [self.layers[0].forward(part, training) for part in (first, second)]
        self.parts = first, second
        return np.concatenate(outputs)

    def backward(self, grad):
        layer, halves = self.layers[0], (grad[: self.half], grad[self.half :])
        back = []
        for layer.x, part in zip(self.parts, halves, strict=True):
            back.append(layer.backward(part))
        return np.concatenate(back)


def data(rng):
    x = rng.normal(size=(24, 3)).astype("float32")
    return x, (x[:, :1] > 0).astype("float32")


def trained(layer, rng, by_hand=False, **compiled):
    model = nn.Model([layer, nn.Dense(1)], seed=0)
    model.build((None, 3))
    model.compile("mse", nn.optim.SGDMomentum(lr=0.1), **compiled)
    x, y = data(rng)
    if not by_hand:
        model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0)
        return model
    for _ in range(4):
        model.loss.forward(model.forward(x, training=True), y)
        model.backward(model.loss.backward())
        model.optimizer.step(model.get_params_and_grads())
    return model


def same_weights(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("steps", [1, 2])
def test_a_backward_that_adds_to_its_gradients_trains_on_those_of_its_batch(by_hand, steps):
    models = [
        trained(layer, np.random.default_rng(0), by_hand, gradient_accumulation_steps=steps)
        for layer in (Scale(), Adding())
    ]
    same_weights(*models)


def test_so_it_does_inside_a_container():
    same_weights(
        trained(nn.Sequential([Scale()]), np.random.default_rng(0)),
        trained(nn.Sequential([Adding()]), np.random.default_rng(0)),
    )


def test_a_layer_used_twice_in_a_batch_adds_up_both_gradients():
    same_weights(
        trained(Scale(), np.random.default_rng(0)),
        trained(Twice(Adding()), np.random.default_rng(0)),
    )


def test_gradients_that_were_kept_stay_as_they_are(rng):
    x, y = data(rng)
    model = nn.Model([Adding(input_shape=(3,)), nn.Dense(1)], seed=0)
    model.compile("mse")
    model.train_step(x, y)
    kept = model.layers[0].grads["w"]
    before = kept.copy()
    model.train_step(x, y)
    np.testing.assert_array_equal(kept, before)


@pytest.mark.parametrize("above", [False, True])
def test_a_backward_without_return_is_an_error(rng, above):
    layers = [nn.Dense(3), Forgetful()] if above else [Forgetful()]
    model = nn.Model([*layers, nn.Dense(1)], seed=0)
    model.compile("mse")
    with pytest.raises(TypeError, match=r"\[Forgetful\] backward\(\) must return .* got None"):
        model.fit(*data(rng), epochs=1, verbose=0)


def test_a_frozen_layer_freezes_those_of_its_sublayers(rng):
    model = trained(Block(trainable=False), rng)
    assert model.trained_names == ["1_Dense_W", "1_Dense_b"]
    start = nn.Model([Block(), nn.Dense(1)], seed=0)
    start.build((None, 3))
    np.testing.assert_array_equal(model.get_weights()[0], start.get_weights()[0])
    assert "5 of them trainable" in model.summary()
    model.layers[0].trainable = True
    model.fit(*data(rng), epochs=1, verbose=0)
    assert (model.get_weights()[0] != start.get_weights()[0]).any()
    assert "21 of them trainable" in model.summary()
