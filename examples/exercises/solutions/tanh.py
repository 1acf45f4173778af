"""A solution of exercise 1."""

import numpy as np

import nn


class MyTanh(nn.Layer):
    def forward(self, x, training=False):
        self.y = np.tanh(x)
        return self.y

    def backward(self, grad):
        return grad * (1 - self.y**2)
