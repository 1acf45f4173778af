"""Tests of exercise 1. Each function gets the submission, a module; its docstring is its name."""

import numpy as np

from nn.testing import assert_gradients

X = np.random.default_rng(0).normal(size=(4, 3))


def assert_written(layer, method):
    """Fail for a method that the class has from a layer of nn."""
    module = getattr(layer, method).__module__
    assert module.partition(".")[0] != "nn", f"{method}() is that of {module}: write your own"


def test_forward(submission):
    """forward"""
    assert_written(submission.MyTanh, "forward")
    np.testing.assert_allclose(submission.MyTanh().forward(X), np.tanh(X))


def test_backward(submission):
    """backward"""
    assert_written(submission.MyTanh, "backward")
    assert_gradients(submission.MyTanh(), X)


def test_images(submission):
    """any shape"""
    assert_written(submission.MyTanh, "backward")
    assert_gradients(submission.MyTanh(), X.reshape(2, 1, 2, 3))
