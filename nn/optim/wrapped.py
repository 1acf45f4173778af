"""Optimizers that are not nn's own: an object with a `step` gets the interface of `Optimizer`."""

import math
from collections.abc import Iterable
from typing import Any

from .arrays import Array, refuse_factors
from .base import LearningRate, Optimizer
from .custom import copied


class WrappedOptimizer(Optimizer):
    """Any object with a `step(params_and_grads)`, with the interface of an `Optimizer`.

    It calls the object's own attributes and methods if there are any: `lr`, `iterations`,
    `param_names`, `state_dict` and `load_state_dict`. Without an `lr` the rate is NaN.

    Parameters
    ----------
    optimizer
        The object.
    """

    def __init__(self, optimizer: Any) -> None:
        self.wrapped = optimizer

    @property
    def lr(self) -> float:
        """The object's learning rate."""
        return float(getattr(self.wrapped, "lr", math.nan))

    @lr.setter
    def lr(self, value: LearningRate) -> None:
        self.wrapped.lr = value

    @property
    def iterations(self) -> int:  # type: ignore[override]
        """The object's count of steps, 0 if it has none."""
        return getattr(self.wrapped, "iterations", 0)

    @property
    def schedule(self) -> Any:
        """The object's schedule, None if it has none."""
        return getattr(self.wrapped, "schedule", None)

    def step(self, params_and_grads: Iterable[tuple[Array, Array]]) -> None:
        """Call the object's `step` with copies of the gradients, which it may change."""
        self.wrapped.step(copied(params_and_grads))

    def set_parameters(self, names: list[str], factors: list[float], owner: Any = None) -> None:
        """Set `param_names` if the object has this attribute; refuse factors."""
        refuse_factors(type(self.wrapped).__name__, names, factors)
        if hasattr(self.wrapped, "param_names"):
            self.wrapped.param_names = names

    def state_dict(self) -> dict[str, Array]:
        """Return the object's state, none if it cannot say."""
        return self.wrapped.state_dict() if hasattr(self.wrapped, "state_dict") else {}

    def load_state_dict(self, state: dict[str, Array], strict: bool = True) -> None:
        """Load the object's state, if it can."""
        if hasattr(self.wrapped, "load_state_dict"):
            self.wrapped.load_state_dict(state)


def wrap(optimizer: Any) -> Optimizer:
    """Return an `Optimizer` as it is, another object with a `step` as a `WrappedOptimizer`."""
    return optimizer if isinstance(optimizer, Optimizer) else WrappedOptimizer(optimizer)


def name_parameters(
    optimizer: Any, names: list[str], factors: list[float], owner: Any = None
) -> None:
    """Set the names of the parameters of any optimizer; see `Optimizer.set_parameters`.

    Parameters
    ----------
    optimizer
        An object with a `step`, or None before the model is compiled.
    names, factors, owner
        As for `Optimizer.set_parameters`.

    Raises
    ------
    ValueError
        As for `Optimizer.set_parameters`, and if there are factors but no optimizer.
    """
    if optimizer is not None:
        wrap(optimizer).set_parameters(names, factors, owner)
    else:
        refuse_factors("Model", names, factors, "compile() the model")
