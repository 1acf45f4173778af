"""A solution of exercise 2."""

import numpy as np

import nn


class MyDense(nn.Layer):
    def __init__(self, units, **common):
        super().__init__(**common)
        self.units = units

    def build(self, input_shape):
        rng = np.random.default_rng(0)
        self.params["W"] = rng.normal(0, 0.1, (input_shape[1], self.units)).astype(self.dtype)
        self.params["b"] = np.zeros(self.units, dtype=self.dtype)
        super().build(input_shape)

    def forward(self, x, training=False):
        self.x = x  # (N, D)
        return x @ self.params["W"] + self.params["b"]

    def backward(self, grad):
        self.grads["W"] = self.x.T @ grad  # (D, N) (N, U) -> (D, U)
        self.grads["b"] = grad.sum(axis=0)
        return grad @ self.params["W"].T  # (N, U) (U, D) -> (N, D)
