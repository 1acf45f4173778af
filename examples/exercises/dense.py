"""Exercise 2: a dense layer, y = x W + b.

Write `forward` and `backward`. x is (N, D), W (D, U), b (U,) and y (N, U). `backward` fills
`self.grads["W"]` and `self.grads["b"]`, of the shapes of W and b, and returns the gradient for x.
The loss is a mean over the batch already: sum over the samples, and do not divide again.
"""

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
        raise NotImplementedError

    def backward(self, grad):
        raise NotImplementedError
