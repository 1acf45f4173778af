"""Forty wrong versions of layers that students write: each is found, and no other layer is blamed.

Each is a right layer with one edit. The checks must find all of them, and pass the right ones.
"""

import re

import numpy as np
import pytest

import nn
from nn.inspect.gradcheck import check_model
from nn.testing import assert_gradients

DENSE = """
class Student(nn.Layer):
    def build(self, input_shape):
        rng = np.random.default_rng(0)
        self.params["W"] = rng.normal(size=(input_shape[1], 5)).astype(self.dtype)
        self.params["b"] = rng.normal(size=5).astype(self.dtype)
        self.output_shape, self.built = (None, 5), True

    def forward(self, x, training=False):
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, grad):
        self.grads["W"] = self.x.T @ grad
        self.grads["b"] = grad.sum(axis=0)
        return grad @ self.params["W"].T
"""
CURVE = """
class Student(nn.Layer):
    def forward(self, x, training=False):
        self.y = np.tanh(x)
        return self.y

    def backward(self, grad):
        return grad * (1 - self.y**2)
"""
GATE = """
class Student(nn.Layer):
    def forward(self, x, training=False):
        self.mask = x > 0
        return x * self.mask

    def backward(self, grad):
        return grad * self.mask
"""

GW, GB = 'self.grads["W"] = self.x.T @ grad', 'self.grads["b"] = grad.sum(axis=0)'
DX, KEEP = 'return grad @ self.params["W"].T', "self.x = x"
SLOPE = "return grad * (1 - self.y**2)"

#: The right layer, what is replaced in it, by what, and a part of the message (or none).
WRONG = [
    # the formula
    (DENSE, GW, GW + " / len(grad)", "size of the batch"),
    (DENSE, GW, GW + " * len(grad)", "times too large, the size of the batch"),
    (DENSE, GW, "self.grads['W'] = -self.x.T @ grad", "sign is wrong"),
    (DENSE, GW, GW + " * 2", "2 times the right value"),
    (DENSE, GW, "self.grads['W'] = (self.x.T @ grad).T", "transposed"),
    (DENSE, GW, "self.grads['W'] = np.zeros_like(self.params['W'])", "it is zero"),
    (DENSE, GW, "self.grads['W'] = self.x.T @ np.ones_like(grad)", ""),
    (DENSE, GW, "self.grads['W'] = abs(self.x).T @ grad", ""),
    (DENSE, GW, "self.grads['W'] = self.x[:1].T @ grad[:1]", ""),
    (DENSE, GB, "self.grads['b'] = grad.mean(axis=0)", "divided by the size of the batch"),
    (DENSE, GB, "self.grads['b'] = grad[0]", ""),
    (DENSE, GB, "self.grads['b'] = np.ones(5)", ""),
    (DENSE, DX, 'return grad @ self.params["W"]', "transposed|"),
    (DENSE, DX, DX + " * 0.999", "0.999 times"),
    (DENSE, DX, "return -" + DX.removeprefix("return "), "sign is wrong"),
    (DENSE, DX, DX + " + self.params['b']", ""),
    (DENSE, DX, "return grad", ""),
    (CURVE, SLOPE, "return grad * (1 - self.y)", ""),
    (CURVE, SLOPE, "return 1 - self.y**2", ""),
    (CURVE, SLOPE, "return grad * (1 - np.tanh(self.y) ** 2)", ""),
    (GATE, "return grad * self.mask", "return grad", ""),
    (GATE, "return grad * self.mask", "return grad * ~self.mask", ""),
    # missing or of another kind
    (DENSE, GW, "pass", "gradient of shape .* for 'W', got None"),
    (DENSE, GB, "pass", "for 'b', got None"),
    (DENSE, GB, "self.grads['bias'] = grad.sum(axis=0)", "for 'b', got None"),
    (DENSE, GB, "self.grads['b'] = grad", r"for 'b', got \(4, 5\)"),
    (DENSE, GB, "self.grads['b'] = grad.sum(axis=0, keepdims=True)", r"for 'b', got \(1, 5\)"),
    (DENSE, DX, "pass", "for '(x|input)', got None"),
    (DENSE, DX, DX + ", self.grads['W']", "for '(x|input)', got tuple"),
    (DENSE, DX, "return (" + DX.removeprefix("return ") + ").tolist()", "got list"),
    (DENSE, DX, "return (" + DX.removeprefix("return ") + ").astype('float32')", "got float32"),
    (DENSE, DX, "return (" + DX.removeprefix("return ") + ").sum(axis=0)", r"got \(5,\)"),
    (DENSE, GW, GW + "; self.grads['W'] = self.grads['W'].astype('float32')", "got float32"),
    # arrays of others
    (DENSE, GW, "self.params['W'] -= 0.1 * self.x.T @ grad; " + GW, "not change the parameter 'W'"),
    (DENSE, GB, "grad *= 2; " + GB, "not change the gradient 'grad'"),
    (DENSE, GB, GB + "; self.x += 1", "not change the input 'x' of forward"),
    (GATE, "return x * self.mask", "x *= self.mask; return x", r"forward\(\).* its input 'x'"),
    # earlier batches
    (DENSE, GW, "self.grads['W'] = self.grads.get('W', 0) + self.x.T @ grad", "not add to it"),
    (DENSE, GB, "self.grads.setdefault('b', np.zeros(5)); self.grads['b'] += grad.sum(0)", "add"),
    (DENSE, KEEP, "self.x = getattr(self, 'x', x)", ""),
    (CURVE, "self.y = np.tanh(x)", "self.y = np.tanh(x) if not hasattr(self, 'y') else self.y", ""),
    (DENSE, DX, "self.sum = getattr(self, 'sum', 0) + grad; return self.sum @ self.params['W'].T",
     "return the same each time"),
]  # fmt: skip


def made(source):
    """Return a layer of the class in a source text."""
    namespace = {"nn": nn, "np": np}
    exec(source, namespace)
    return namespace["Student"]()


def model_of(layer):
    """Return a model with a layer between right ones, without kinks of their own."""
    model = nn.Model([nn.Dense(5), nn.Tanh(), layer, nn.Tanh(), nn.Dense(2)], seed=0)
    model.build((None, 5))
    model.compile("mse")
    return model


def full_text(error):
    """Return the message of an error with its notes."""
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


def batch():
    return np.random.default_rng(3).normal(size=(4, 5))


@pytest.mark.parametrize("source", [DENSE, CURVE, GATE], ids=["dense", "curve", "gate"])
def test_the_right_layers_pass(source):
    assert_gradients(made(source), batch())
    result = check_model(model_of(made(source)), batch(), np.ones((4, 2)))
    assert result.ok, str(result)


def test_there_are_forty():
    assert len(WRONG) >= 40
    assert len({source.replace(old, new) for source, old, new, _ in WRONG}) == len(WRONG)


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_a_wrong_layer_is_found(number):
    source, old, new, message = WRONG[number]
    assert source.count(old) == 1
    with pytest.raises((AssertionError, ValueError)) as error:
        assert_gradients(made(source.replace(old, new)), batch())
    found = full_text(error.value)
    assert re.search(message, found)
    assert "[Student] " in found


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_no_other_layer_of_a_model_is_blamed(number):
    source, old, new, message = WRONG[number]
    model = model_of(made(source.replace(old, new)))
    try:
        result = check_model(model, batch(), np.ones((4, 2)))
    except ValueError as error:
        found = full_text(error)
        assert re.search(r"\[check_model\] (for|back)ward\(\) of 2_Student", found)
    else:
        found = str(result)
        assert not result.ok
        assert result.suspect == "2_Student", found
        assert "check the backward() of 2_Student." in found
    if "transposed" not in message:  # the entries of a sample do not show it
        assert re.search(message, found), found
