"""What is checked of optimizers that users write, and done for them."""

import functools
from collections.abc import Callable
from typing import Any

from .. import checks
from .arrays import Pairs
from .hooks import Hook


def is_ours(thing: Any) -> bool:
    """Return whether a class or a function is of this package, not one of the user's."""
    return thing.__module__.split(".")[0] == __name__.split(".")[0]


def hooks_of_custom(optimizer: Any) -> list[Hook]:
    """Return the hook that checks the first step of a rule of the user's; else none."""
    if is_ours(type(optimizer)) or not optimizer.lr:
        return []
    return [ChangesInPlace(type(optimizer).__name__)]


def counted(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a user's `step` that counts in `iterations`, unless the function does so itself."""
    if is_ours(step):
        return step

    @functools.wraps(step)
    def count(self: Any, *arguments: Any, **options: Any) -> Any:
        before = self.iterations
        result = step(self, *arguments, **options)
        if self.iterations == before:
            self.iterations += 1
        return result

    return count


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
