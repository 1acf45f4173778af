"""Assertions for tests of layers, for pytest or any other test runner."""

from typing import Any

from .inspect.gradcheck import compare_gradients
from .layers import Layer

__all__ = ["assert_gradients"]


def assert_gradients(
    layer: Layer, x: Any, tolerance: float = 1e-6, training: bool = True, step: float = 1e-5
) -> None:
    """Raise an AssertionError unless `backward` of a layer computes the right gradients.

    Parameters
    ----------
    layer, x, training, step
        As for `nn.check_gradients`.
    tolerance
        The largest relative error that is right.

    Raises
    ------
    AssertionError
        It names each wrong gradient, its worst entry with the expected and the computed value,
        and what all entries have in common, such as a wrong sign or a missing factor.
    ValueError, TypeError
        As `nn.check_gradients`.

    Examples
    --------
    >>> import numpy as np
    >>> import nn
    >>> class Square(nn.Layer):
    ...     def forward(self, x, training=False):
    ...         self.x = x
    ...         return x**2
    ...     def backward(self, grad):
    ...         return self.x * grad
    >>> assert_gradients(Square(), np.array([[1.0, -3.0]]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    AssertionError: [Square] backward() computes a wrong gradient for
      x: at [0, 1] expected 5.88316, got 2.94158: each entry is 0.5 times the right value: ...
    """
    found = compare_gradients(layer, x, training, step)
    wrong = [f"\n  {name}: {c}" for name, c in found.items() if not c.error <= tolerance]
    if wrong:
        raise AssertionError(
            f"[{type(layer).__name__}] backward() computes a wrong gradient for{''.join(wrong)}"
        )
