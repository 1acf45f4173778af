"""Tests of exercise 2. Each function gets the submission, a module; its docstring is its name.

A test is worth the points of its attribute `points`, 1 without one.
"""

import numpy as np

import nn
from nn.testing import assert_gradients

X = np.random.default_rng(0).normal(size=(5, 4))


def assert_written(layer, method):
    """Fail for a method that the class has from a layer of nn."""
    module = getattr(layer, method).__module__
    assert module.partition(".")[0] != "nn", f"{method}() is that of {module}: write your own"


def test_forward(submission):
    """forward"""
    assert_written(submission.MyDense, "forward")
    layer = submission.MyDense(3)
    layer.build((None, 4))
    layer.params["b"][:] = [1, 2, 3]
    expected = X @ layer.params["W"] + [1, 2, 3]
    np.testing.assert_allclose(layer.forward(X.astype("float32")), expected, rtol=1e-4)


def test_backward(submission):
    """backward"""
    assert_written(submission.MyDense, "backward")
    assert_gradients(submission.MyDense(3), X)


def test_training(submission):
    """training"""
    assert_written(submission.MyDense, "backward")
    train, test = nn.data.load_mnist_sample()
    hidden = submission.MyDense(32)
    layers = [nn.Flatten(input_shape=(1, 28, 28)), hidden, nn.ReLU(), nn.Dense(10)]
    model = nn.Model(layers, seed=0)
    model.compile("cce", "adam", lr=3e-3)
    model.fit(train, epochs=2, verbose=0)
    accuracy = model.evaluate(test)["acc"]
    assert accuracy > 0.8, f"a network with the layer reaches {accuracy:.0%}, not 80%"


test_backward.points = 3
