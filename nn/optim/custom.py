"""What is checked of optimizers that users write, and done for them."""

import functools
from collections.abc import Callable
from typing import Any

from .. import checks
from ..custom import is_ours
from .arrays import Array, Pairs
from .hooks import Hook


def hooks_of_custom(optimizer: Any) -> list[Hook]:
    """Return the hooks around an `update` of the user's, the second in the first step alone."""
    hooks: list[Hook] = [CopiesGradients()]
    if not optimizer.iterations and optimizer.lr:
        rule = getattr(optimizer, "optimizer", optimizer)  # that within a Lookahead
        hooks.append(ChangesInPlace(type(rule).__name__))
    return hooks


def counted(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a user's `step` that counts in `iterations`, unless the function does so itself.

    It gets copies of the gradients, as `CopiesGradients` makes them.
    """
    if is_ours(step):
        return step

    @functools.wraps(step)
    def count(self: Any, *arguments: Any, **options: Any) -> Any:
        before = self.iterations
        result = step(self, *map(copied, arguments), **options)
        if self.iterations == before:
            self.iterations += 1
        return result

    return count


def copied(pairs: Any) -> Any:
    """Return pairs of parameters and copies of their gradients; anything else as it is."""
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        return pairs
    return [(param, grad.copy()) for param, grad in pairs]


class CopiesGradients(Hook):
    """Passes copies of the gradients to a rule of the user's, which may change them in place.

    The arrays of the layers are read after the step, as by `LayerStats`, and a custom layer may
    use one array for two parameters.
    """

    def gradient(self, param: Array, grad: Array) -> Array:
        """Return a copy of the gradient."""
        return grad.copy()


class ChangesInPlace(Hook):
    """Warns if the first step of a rule has changed no parameter, whose gradients are not zero.

    `param = param - lr * grad` in `update` makes another array, and trains nothing.

    Parameters
    ----------
    owner
        Class for the message.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner

    def begin(self, names: list[str], pairs: Pairs) -> None:
        """Copy the parameters that should change."""
        moving = [param for param, grad in pairs if bool((grad != 0).any())]
        self._before = [(param, param.copy()) for param in moving]

    def end(self) -> None:
        """Compare them with what they are now."""
        if self._before and all(bool((now == before).all()) for now, before in self._before):
            checks.warn(
                f"[{self.owner}] update() left all parameters as they were in the first step: it "
                "must change them in place, as by param -= self.lr * grad, and not "
                "param = param - self.lr * grad, which makes another array.",
                RuntimeWarning,
            )
