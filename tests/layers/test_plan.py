"""The plan of a stack is found again whenever the layers or their parameters change."""

import numpy as np

import nn

X = np.random.default_rng(0).normal(size=(8, 4))


def compiled(layers):
    model = nn.Model(layers, seed=0)
    model.compile("mse", "sgd", lr=0.1)
    return model


def test_layers_exchanged_inside_a_stack_are_noticed():
    block = nn.Sequential([nn.Dense(4), nn.Dense(4)])
    model = compiled([nn.Dense(4, input_shape=(4,)), block, nn.Dense(4)])
    model.train_step(X, X)
    first, last = block.layers
    before = last.params["W"].copy()
    block.layers = (first,)
    model.train_step(X, X)
    assert "1_Sequential/1_Dense_W" not in model.trained_names
    assert np.array_equal(last.params["W"], before)


class Renamed(nn.Layer):
    """Multiplies by its only parameter, whatever its name is."""

    def build(self, input_shape):
        self.params["a"] = np.ones(input_shape[1], dtype=self.dtype)
        super().build(input_shape)

    def forward(self, x, training=False):
        (self.key,), self.x = self.params, x
        return x * self.params[self.key]

    def backward(self, grad):
        self.grads = {self.key: (grad * self.x).sum(axis=0)}
        return grad * self.params[self.key]


def test_a_parameter_in_the_place_of_another_is_noticed():
    model = compiled([nn.Dense(4, input_shape=(4,)), Renamed()])
    model.train_step(X, X)
    layer = model.layers[1]
    layer.params = {"b": layer.params["a"].copy()}
    before = layer.params["b"].copy()
    model.train_step(X, X)
    assert model.trained_names[-1] == "1_Renamed_b"
    assert not np.array_equal(layer.params["b"], before)
