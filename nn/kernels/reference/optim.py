"""The updates of optimizers, in place."""

from ... import cuda
from ..geometry import Array


def sgd(
    param: Array, grad: Array, velocity: Array, lr: float, momentum: float, nesterov: bool
) -> None:
    """Update the velocity and add it to the parameter, in place (see `optim.SGD`)."""
    velocity *= momentum
    velocity -= lr * grad
    param += momentum * velocity - lr * grad if nesterov else velocity


def adam(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    t: int,
) -> None:
    """Update both running means and take step number t, in place (see `optim.Adam`)."""
    m *= beta1
    m += (1 - beta1) * grad
    v *= beta2
    v += (1 - beta2) * grad * grad
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    param -= lr * m_hat / (cuda.get_array_module(param).sqrt(v_hat) + eps)
