"""Hooks around an update rule: clipping, weight decay and averages of the weights.

A hook sees all gradients before the rule changes the first parameter (`begin`), replaces each
gradient (`gradient`), and is called after the last parameter has changed (`end`). An optimizer
makes the hooks that its settings ask for at each step, so that a setting that is off costs nothing.
"""

import math
from collections.abc import Callable
from typing import Any

from .. import checks, cuda
from .arrays import Array, Pairs, global_norm, placed

#: The arguments of `Optimizer.configure`, and how each is checked.
SETTINGS: dict[str, Callable[[str, str, Any], float]] = {
    "weight_decay": checks.non_negative,
    "clip_norm": checks.positive,
    "clip_value": checks.positive,
    "ema_decay": checks.fraction,
}


class Hook:
    """Base of all hooks; each method does nothing."""

    def begin(self, names: list[str], pairs: Pairs) -> None:
        """Look at all parameters and gradients, before the first parameter changes."""

    def gradient(self, param: Array, grad: Array) -> Array:
        """Return the gradient that the rule is to use; `grad` itself must not be changed."""
        return grad

    def end(self) -> None:
        """Look at the parameters after the last one has changed."""


class ClipValue(Hook):
    """Limits every number of every gradient to [-limit, limit]."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def gradient(self, param: Array, grad: Array) -> Array:
        """Return the clipped gradient."""
        return cuda.get_array_module(grad).clip(grad, -self.limit, self.limit)


class ClipNorm(Hook):
    """Scales all gradients down if their length, taken as one vector, is above a limit."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def begin(self, names: list[str], pairs: Pairs) -> None:
        """Compute the length. Gradients that are not finite stay as they are."""
        norm = global_norm(grad for _, grad in pairs)
        self._scale = self.limit / norm if self.limit < norm < math.inf else None

    def gradient(self, param: Array, grad: Array) -> Array:
        """Return the scaled gradient."""
        return grad if self._scale is None else grad * self._scale


class Decay(Hook):
    """Applies weight decay to parameters with two or more axes.

    Parameters
    ----------
    decay
        `Optimizer.decay`, which a rule may override.
    """

    def __init__(self, decay: Callable[[Array, Array], Array]) -> None:
        self.decay = decay

    def gradient(self, param: Array, grad: Array) -> Array:
        """Return the gradient with the decay added, if the parameter is a weight."""
        return self.decay(param, grad) if param.ndim >= 2 else grad


class Averages(Hook):
    """Keeps the exponential moving average of every parameter; see `Optimizer.configure`.

    Attributes
    ----------
    arrays : dict
        The averages by the names of the parameters.
    steps : int
        How many steps they are averages of.
    decay : float
        The share of an average that a step keeps.
    """

    def __init__(self, owner: str) -> None:
        self.owner, self.decay = owner, 0.0
        self.arrays: dict[str, Array] = {}
        self.steps = 0
        self._followed: Pairs = []  # each parameter of the step with its average

    def begin(self, names: list[str], pairs: Pairs) -> None:
        """Start the average of a new parameter with its value before the step."""
        self._followed = []
        for name, (param, _) in zip(names, pairs, strict=True):
            if name in self.arrays:
                self.arrays[name] = placed(self.owner, self.arrays[name], name, param)
            else:
                self.arrays[name] = param.copy(order="K")
            self._followed.append((param, self.arrays[name]))

    def end(self) -> None:
        """Move each average towards its parameter."""
        self.steps += 1
        share = (1 - self.decay) / (1 - self.decay**self.steps)
        for param, average in self._followed:
            change = param - average
            change *= share
            average += change
        self._followed = []
