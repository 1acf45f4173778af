"""Muon: momentum whose matrices are made orthogonal before each step."""

import math

from .. import checks, kernels
from .base import Array, LearningRate
from .rules import DecoupledDecay

# The arguments of Adam, for the parameters that are not matrices.
_BETAS, _EPS = (0.9, 0.999), 1e-8


class Muon(DecoupledDecay):
    """Momentum orthogonalized by Newton-Schulz iterations, for matrices and kernels; else Adam.

        m = momentum * m + grad
        direction = grad + momentum * m            # Nesterov's; else m
        param -= lr * sqrt(max(1, outputs / inputs)) * orthogonalized(direction)

    A step thus changes all directions of a matrix by about the same amount, also those that rarely
    have a gradient (see `nn.kernels.orthogonalized`). Kernels (F, C, KH, KW) count as matrices of F
    outputs and C * KH * KW inputs. Parameters with one axis, such as biases, are updated by `Adam`
    with the rate `lr * adam_lr_ratio` and its default `beta1`, `beta2` and `eps`.

    Jordan leaves embeddings and the last layer to Adam too; here they are matrices.

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    momentum
        The share of the momentum that a step keeps, in [0, 1).
    nesterov
        Whether to look one step of the momentum ahead.
    steps
        Number of Newton-Schulz iterations.
    adam_lr_ratio
        What `lr` is multiplied by for the parameters with one axis.
    weight_decay
        The share of a weight, times `lr`, that each step takes away; of parameters with two or
        more axes only.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    Jordan, Jin, Boza, You, Cesista, Newhouse and Bernstein, "Muon: An optimizer for hidden layers
    in neural networks", 2024, https://kellerjordan.github.io/posts/muon/

    Examples
    --------
    The step is about as long in every direction, however different the gradients:

    >>> import numpy as np
    >>> weights = np.zeros((2, 2))
    >>> Muon(lr=1.0).step([(weights, np.diag([100.0, -1.0]))])
    >>> weights.round(1)
    array([[-0.7,  0. ],
           [ 0. ,  0.7]])
    """

    slot_names = ("m", "v")

    def __init__(
        self,
        lr: LearningRate = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        steps: int = 5,
        *,
        adam_lr_ratio: float = 0.05,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr)
        self.momentum = checks.fraction("Muon", "momentum", momentum)
        self.nesterov = checks.boolean("Muon", "nesterov", nesterov)
        self.steps = checks.positive_int("Muon", "steps", steps)
        self.adam_lr_ratio = checks.positive("Muon", "adam_lr_ratio", adam_lr_ratio)
        self.weight_decay = checks.non_negative("Muon", "weight_decay", weight_decay)

    def slots_for(self, param: Array) -> tuple[str, ...]:
        """Return the names of the state arrays: a matrix has no running mean of squares."""
        return ("m",) if param.ndim >= 2 else self.slot_names

    def update(self, param: Array, grad: Array, slots: dict[str, Array]) -> None:
        """Step along the orthogonalized momentum; the decay is already done."""
        m, t = slots["m"], self.iterations + 1
        if param.ndim < 2:
            lr = self.lr * self.adam_lr_ratio
            kernels.adam(param, grad, m, slots["v"], lr, *_BETAS, _EPS, t)
            return
        m *= self.momentum
        m += grad
        direction = grad + self.momentum * m if self.nesterov else m
        matrix = direction.reshape(len(direction), -1)  # (F, C, KH, KW) -> (F, C*KH*KW)
        change = kernels.orthogonalized(matrix, self.steps)
        # Dense kernels are (inputs, outputs), those of convolutions begin with their outputs.
        inputs, outputs = matrix.shape if param.ndim == 2 else matrix.shape[::-1]
        change *= self.lr * math.sqrt(max(1.0, outputs / inputs))
        param -= change.reshape(param.shape)
