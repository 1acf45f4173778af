"""Lookahead: slow weights that follow those of another optimizer."""

from collections.abc import Callable
from typing import Any

from .. import checks
from .base import Array, LearningRate, Optimizer
from .hooks import SETTINGS
from .rules import Adam


class Lookahead(Optimizer):
    """Another optimizer's steps, and after every `k` of them a step back towards slow weights.

        param = a step of the other optimizer
        after every k steps:
            slow += alpha * (param - slow)
            param = slow

    The slow weights begin as the first weights. The network computes with the fast ones, which are
    the slow ones after each k-th step; a training whose number of steps is a multiple of `k` ends
    with them.

    Parameters
    ----------
    optimizer
        The other optimizer, an object such as `SGD(lr=0.1, momentum=0.9)`; None for `Adam()`. Its
        settings (see `Optimizer.configure`) are taken over, and its state is kept here.
    k
        Number of steps between two updates of the slow weights.
    alpha
        The share of the way from the slow to the fast weights, in (0, 1], or a function
        `step -> alpha`, where `step` counts the steps before, as for a learning rate.
    lr
        The learning rate, or a function `step -> lr`; None for that of `optimizer`.

    Attributes
    ----------
    optimizer : Optimizer
        The other optimizer, whose rule is used.

    Raises
    ------
    TypeError
        If `optimizer` is not an `Optimizer` of nn with an `update`.
    ValueError
        If an argument is out of range.

    References
    ----------
    Zhang, Lucas, Hinton and Ba, "Lookahead Optimizer: k steps forward, 1 step back", NeurIPS 2019,
    algorithm 1, https://arxiv.org/abs/1907.08610

    Examples
    --------
    >>> import numpy as np
    >>> from nn.optim import SGD
    >>> weights = np.array([0.0])
    >>> optimizer = Lookahead(SGD(lr=1.0), k=2, alpha=0.5)
    >>> for _ in range(2):
    ...     optimizer.step([(weights, np.array([-1.0]))])
    ...     print(weights)
    [1.]
    [1.]
    """

    def __init__(
        self,
        optimizer: Any = None,
        k: int = 5,
        alpha: float | Callable[[int], float] = 0.5,
        *,
        lr: LearningRate | None = None,
    ) -> None:
        optimizer = Adam() if optimizer is None else optimizer
        if not isinstance(optimizer, Optimizer) or optimizer.has_own_step:
            raise TypeError(
                "[Lookahead] 'optimizer' must be an optimizer of nn with an update(), such as "
                f"SGD(lr=0.1), got {optimizer!r}."
            )
        if optimizer.iterations or isinstance(optimizer, Lookahead):
            rule = "must be a new optimizer, and not another Lookahead"
            raise checks.error("Lookahead", "optimizer", rule, type(optimizer).__name__)
        super().__init__(optimizer._lr if lr is None else lr)
        self.optimizer = optimizer
        self._has_custom_update = optimizer._has_custom_update
        self.k = checks.positive_int("Lookahead", "k", k)
        if callable(alpha):
            checks.function_of_step("Lookahead", "alpha", alpha)
        self._alpha = alpha if callable(alpha) else checks.factor("Lookahead", "alpha", alpha)
        for setting in SETTINGS:
            setattr(self, setting, getattr(optimizer, setting))

    @property
    def alpha(self) -> float:
        """The share of the next update of the slow weights as a number."""
        if not callable(self._alpha):
            return self._alpha
        return checks.factor("Lookahead", "alpha", self._alpha(self.iterations))

    @alpha.setter
    def alpha(self, value: float) -> None:
        self._alpha = value

    @property
    def slot_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """The state of the other optimizer, and the slow weights."""
        return (*self.optimizer.slot_names, "slow")

    def slots_for(self, param: Array) -> tuple[str, ...]:
        """Return what the other optimizer needs for a parameter, and the slow weights."""
        return (*self.optimizer.slots_for(param), "slow")

    def _slots_of(self, name: str, param: Array) -> dict[str, Array]:
        is_new = "slow" not in (self._slots or {}).get(name, {})
        slots = super()._slots_of(name, param)
        if is_new:
            slots["slow"][...] = param
        return slots

    def decay(self, param: Array, grad: Array) -> Array:
        """Apply the weight decay as the other optimizer does."""
        return self._inner().decay(param, grad)

    def update(self, param: Array, grad: Array, slots: dict[str, Array]) -> None:
        """Take a step of the other optimizer, and after every k-th go back to the slow weights."""
        self._inner().update(param, grad, slots)
        if (self.iterations + 1) % self.k == 0:
            slow = slots["slow"]
            slow += self.alpha * (param - slow)
            param[...] = slow

    def _inner(self) -> Optimizer:
        """Return the other optimizer with the rate and the number of this step."""
        inner = self.optimizer
        inner.lr, inner.iterations = self.lr, self.iterations
        inner.weight_decay = self.weight_decay
        return inner

    def to_config(self) -> dict[str, Any]:
        """Return the class and the arguments; see `Optimizer.to_config`."""
        found = super().to_config()
        inner = self.optimizer.to_config()
        inner["config"] |= {k: v for k, v in found["config"].items() if k in inner["config"]}
        found["config"]["optimizer"] = inner
        return found
