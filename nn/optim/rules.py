"""The update rules, in order of complexity: each class is its rule, its paper and an example."""

import math

from .. import checks, cuda, kernels
from .base import Array, LearningRate, Optimizer


class SGD(Optimizer):
    """Stochastic gradient descent, with or without momentum.

    Plain: `param -= lr * grad`. With momentum the steps add up to a velocity:

        velocity = momentum * velocity - lr * grad
        param += velocity

    and Nesterov's variant looks one step of the velocity ahead:

        param += momentum * velocity - lr * grad

    The velocity has the learning rate inside, as in the paper and in Keras; PyTorch leaves it
    outside, which is the same as long as the rate is constant.

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    momentum
        The share of the velocity that a step keeps, in [0, 1).
    nesterov
        Whether to look ahead; needs a momentum.

    References
    ----------
    Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in
    deep learning", ICML 2013, https://proceedings.mlr.press/v28/sutskever13.html

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.array([1.0, 2.0])
    >>> SGD(lr=0.5).step([(weights, np.array([1.0, -1.0]))])
    >>> weights
    array([0.5, 2.5])
    """

    def __init__(
        self, lr: LearningRate = 0.01, momentum: float = 0.0, nesterov: bool = False
    ) -> None:
        super().__init__(lr)
        self.momentum = checks.fraction(type(self).__name__, "momentum", momentum)
        self.nesterov = bool(nesterov)
        if self.nesterov and self.momentum == 0:
            raise checks.error(type(self).__name__, "nesterov", "needs a 'momentum'", nesterov)

    @property
    def slot_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """The velocity, if there is a momentum."""
        return ("velocity",) if self.momentum else ()

    def update(self, param: Array, grad: Array, slots: dict[str, Array]) -> None:
        """Take one step against the gradient, or along the velocity."""
        if self.momentum:
            kernels.sgd(param, grad, slots["velocity"], self.lr, self.momentum, self.nesterov)
        else:
            param -= self.lr * grad


class SGDMomentum(SGD):
    """Gradient descent with momentum: `SGD` with another default.

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    momentum
        The share of the velocity that a step keeps, in [0, 1).
    """

    def __init__(self, lr: LearningRate = 0.01, momentum: float = 0.9) -> None:
        super().__init__(lr, momentum)


class Nesterov(SGD):
    """Gradient descent with Nesterov's momentum: `SGD(nesterov=True)`.

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    momentum
        The share of the velocity that a step keeps, in (0, 1).
    """

    def __init__(self, lr: LearningRate = 0.01, momentum: float = 0.9) -> None:
        super().__init__(lr, momentum, nesterov=True)


class Adagrad(Optimizer):
    """Steps divided by the length of all gradients seen so far, for each number by itself.

        total += grad**2
        param -= lr * grad / (sqrt(total) + eps)

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    eps
        Keeps the division finite; positive.

    References
    ----------
    Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization", JMLR 12, 2011, https://jmlr.org/papers/v12/duchi11a.html
    """

    slot_names = ("total",)

    def __init__(self, lr: LearningRate = 0.01, *, eps: float = 1e-8) -> None:
        super().__init__(lr)
        self.eps = checks.positive(type(self).__name__, "eps", eps)

    def update(self, param: Array, grad: Array, slots: dict[str, Array]) -> None:
        """Add to the total, then step."""
        xp = cuda.get_array_module(param)
        total = slots["total"]
        total += grad * grad
        change = xp.sqrt(total)
        change += self.eps
        xp.divide(grad, change, out=change)
        change *= self.lr
        param -= change


class RMSprop(Optimizer):
    """Steps divided by the length of the recent gradients, for each number by itself.

        v = rho * v + (1 - rho) * grad**2
        param -= lr * grad / (sqrt(v) + eps)

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    rho
        The share of the running mean that a step keeps, in [0, 1).
    eps
        Keeps the division finite; positive. It is added to the root, as in PyTorch.

    References
    ----------
    Tieleman and Hinton, "Lecture 6.5: rmsprop", Neural Networks for Machine Learning, 2012,
    https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf
    """

    slot_names = ("v",)

    def __init__(self, lr: LearningRate = 1e-3, rho: float = 0.9, *, eps: float = 1e-8) -> None:
        super().__init__(lr)
        self.rho = checks.fraction(type(self).__name__, "rho", rho)
        self.eps = checks.positive(type(self).__name__, "eps", eps)

    def update(self, param: Array, grad: Array, slots: dict[str, Array]) -> None:
        """Renew the running mean of the squares, then step."""
        xp = cuda.get_array_module(param)
        v = slots["v"]
        change = grad * grad
        change *= 1 - self.rho
        v *= self.rho
        v += change
        xp.sqrt(v, out=change)
        change += self.eps
        xp.divide(grad, change, out=change)
        change *= self.lr
        param -= change


class Adam(Optimizer):
    """Momentum and RMSprop together, both corrected for their start at zero.

        m = beta1 * m + (1 - beta1) * grad
        v = beta2 * v + (1 - beta2) * grad**2
        m_hat = m / (1 - beta1**t)        # t = 1 at the first step
        v_hat = v / (1 - beta2**t)
        param -= lr * m_hat / (sqrt(v_hat) + eps)

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    beta1, beta2
        The shares of the two running means that a step keeps, in [0, 1).
    eps
        Keeps the division finite; positive.

    References
    ----------
    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1,
    https://arxiv.org/abs/1412.6980

    Examples
    --------
    The first step has the size of the learning rate, whatever the gradient's:

    >>> import numpy as np
    >>> weights = np.array([1.0, 2.0])
    >>> Adam(lr=0.1).step([(weights, np.array([1000.0, -0.001]))])
    >>> weights.round(5)
    array([0.9, 2.1])
    """

    slot_names = ("m", "v")

    def __init__(
        self,
        lr: LearningRate = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(lr)
        self.beta1 = checks.fraction(type(self).__name__, "beta1", beta1)
        self.beta2 = checks.fraction(type(self).__name__, "beta2", beta2)
        self.eps = checks.positive(type(self).__name__, "eps", eps)

    def update(self, param: Array, grad: Array, slots: dict[str, Array]) -> None:
        """Renew both running means, then step."""
        m, v, t = slots["m"], slots["v"], self.iterations + 1
        kernels.adam(param, grad, m, v, self.lr, self.beta1, self.beta2, self.eps, t)


class DecoupledDecay(Optimizer):
    """Base of the rules whose weight decay does not pass through the gradient."""

    def decay(self, param: Array, grad: Array) -> Array:
        """Shrink the parameter; its gradient stays as it is."""
        param *= 1 - self.lr * self.weight_decay
        return grad


class AdamW(DecoupledDecay, Adam):
    """Adam with the weight decay taken out of the gradient: weights shrink by themselves.

        param -= lr * weight_decay * param, then Adam's step

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    beta1, beta2
        The shares of the two running means that a step keeps, in [0, 1).
    eps
        Keeps the division finite; positive.
    weight_decay
        The share of a weight, times `lr`, that each step takes away; of parameters with two or
        more axes only.

    References
    ----------
    Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2,
    https://arxiv.org/abs/1711.05101
    """

    def __init__(
        self,
        lr: LearningRate = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(lr, beta1, beta2, eps)
        self.weight_decay = checks.non_negative(type(self).__name__, "weight_decay", weight_decay)


class Lion(DecoupledDecay):
    """Steps of one size: the sign of a mean of the momentum and the gradient.

        c = beta1 * m + (1 - beta1) * grad
        param -= lr * (sign(c) + weight_decay * param)
        m = beta2 * m + (1 - beta2) * grad

    Each number changes by `lr`, whatever its gradient, or stays if c is 0. The paper recommends
    a learning rate 3 to 10 times smaller than for AdamW, and a weight decay as many times larger
    (section 5).

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    beta1
        The share of the momentum in the direction of a step, in [0, 1).
    beta2
        The share of the momentum that a step keeps, in [0, 1).
    weight_decay
        The share of a weight, times `lr`, that each step takes away; of parameters with two or
        more axes only.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023, algorithm 2,
    https://arxiv.org/abs/2302.06675

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.array([1.0, 2.0])
    >>> Lion(lr=0.1).step([(weights, np.array([1000.0, -0.001]))])
    >>> weights
    array([0.9, 2.1])
    """

    slot_names = ("m",)

    def __init__(
        self,
        lr: LearningRate = 1e-4,
        beta1: float = 0.9,
        beta2: float = 0.99,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr)
        self.beta1 = checks.fraction(type(self).__name__, "beta1", beta1)
        self.beta2 = checks.fraction(type(self).__name__, "beta2", beta2)
        self.weight_decay = checks.non_negative(type(self).__name__, "weight_decay", weight_decay)

    def update(self, param: Array, grad: Array, slots: dict[str, Array]) -> None:
        """Step along the sign, then renew the momentum; the decay is already done."""
        m = slots["m"]
        change = self.beta1 * m + (1 - self.beta1) * grad
        param -= self.lr * cuda.get_array_module(param).sign(change)
        m *= self.beta2
        m += (1 - self.beta2) * grad


class Nadam(Adam):
    """Adam with Nesterov's look ahead and a momentum that warms up, as in PyTorch's `NAdam`.

        mu_t = beta1 * (1 - 0.5 * 0.96**(0.004 * t))
        m, v = as in Adam
        m_hat = mu_(t+1) * m / (1 - mu_1 * ... * mu_(t+1))
              + (1 - mu_t) * grad / (1 - mu_1 * ... * mu_t)
        v_hat = v / (1 - beta2**t)
        param -= lr * m_hat / (sqrt(v_hat) + eps)

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    beta1, beta2
        The shares of the two running means that a step keeps, in [0, 1).
    eps
        Keeps the division finite; positive.

    References
    ----------
    Dozat, "Incorporating Nesterov Momentum into Adam", ICLR workshop 2016,
    https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ
    """

    # mu_1 * ... * mu_t, and its t: carried from step to step.
    _product: float = 1.0
    _factors: int = 0

    def update(self, param: Array, grad: Array, slots: dict[str, Array]) -> None:
        """Renew both running means, then step along the momentum of the step to come."""
        t = self.iterations + 1
        mu, mu_next = self.momentum_at(t), self.momentum_at(t + 1)
        product = self.momentum_product(t)
        m, v = slots["m"], slots["v"]
        m *= self.beta1
        m += (1 - self.beta1) * grad
        v *= self.beta2
        v += (1 - self.beta2) * grad * grad
        change = (self.lr * mu_next / (1 - product * mu_next)) * m
        change += (self.lr * (1 - mu) / (1 - product)) * grad
        root = cuda.get_array_module(v).sqrt(v)
        root /= math.sqrt(1 - self.beta2**t)
        root += self.eps
        change /= root
        param -= change

    def momentum_at(self, t: int) -> float:
        """Return mu_t, which rises from half of beta1 to beta1."""
        return self.beta1 * (1 - 0.5 * 0.96 ** (0.004 * t))

    def momentum_product(self, t: int) -> float:
        """Return mu_1 * ... * mu_t: one multiplication a step, all of them for loaded state."""
        if self._factors > t:
            self._product, self._factors = 1.0, 0
        for i in range(self._factors + 1, t + 1):
            self._product *= self.momentum_at(i)
        self._factors = t
        return self._product
