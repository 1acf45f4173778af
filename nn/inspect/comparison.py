"""What a wrong gradient looks like: its worst entry, and how it relates to the right one."""

from dataclasses import dataclass
from typing import Any

import numpy as np

# Gradients below this share of the largest one say nothing about a ratio.
_SMALL = 1e-3


@dataclass(frozen=True)
class Comparison:
    """A gradient next to the numerical one.

    Attributes
    ----------
    error : float
        The largest difference, divided by the largest value.
    index : tuple of int
        Position of the largest difference.
    expected, got : float
        The numerical gradient there, and that of `backward`.
    hint : str
        What all entries have in common, such as 'its sign is wrong'; '' if nothing is found.
    """

    error: float
    index: tuple[int, ...]
    expected: float
    got: float
    hint: str

    def __str__(self) -> str:
        place = ", ".join(map(str, self.index))
        end = f": {self.hint}" if self.hint else ""
        return f"at [{place}] expected {self.expected:.6g}, got {self.got:.6g}{end}"


def compare(got: np.ndarray, expected: np.ndarray, samples: int) -> Comparison:
    """Return the comparison of two gradients of the same shape.

    Parameters
    ----------
    got, expected
        The gradient of `backward` and the numerical one.
    samples
        Size of the batch, as a sum is often taken for a mean.

    Examples
    --------
    >>> expected = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> print(compare(-expected, expected, samples=5))
    at [1, 1] expected 4, got -4: its sign is wrong
    >>> print(compare(expected / 5, expected, samples=5))
    at [1, 1] expected 4, got 0.8: it is divided by the size of the batch, 5, as the loss has done
    >>> compare(expected.T, expected, samples=5).hint
    'it is transposed'
    """
    error = largest_error(got, expected)
    index = np.unravel_index(int(np.argmax(np.abs(got - expected))), got.shape) if got.size else ()
    at = tuple(int(i) for i in index)
    hint = explain(got.ravel(), expected.ravel(), samples)
    if not hint and got.ndim == 2 and got.shape[0] == got.shape[1] > 1:
        hint = "it is transposed" if np.allclose(got.T, expected, rtol=1e-4) else ""
    values = (float(expected[at]), float(got[at])) if got.size else (0.0, 0.0)
    return Comparison(error, at, *values, hint)


def largest_error(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference of two arrays divided by their largest value (at least 1e-8).

    Examples
    --------
    >>> largest_error(np.array([1.0, 4.0]), np.array([1.0, 2.0]))
    0.5
    """
    scale = max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0), 1e-8)
    return float(np.abs(a - b).max(initial=0.0) / scale)


def explain(got: Any, expected: Any, samples: int) -> str:
    """Return what wrong entries of a gradient have in common; '' if they are right or differ.

    Examples
    --------
    >>> explain([2.0, 4.0], [1.0, 2.0], samples=8)
    'each entry is 2 times the right value: a factor is missing or one too many'
    >>> explain([1.0, 2.0], [1.0, 2.0], samples=8), explain([1.0, 5.0], [1.0, 2.0], samples=8)
    ('', '')
    """
    found, right = np.asarray(got, dtype=float), np.asarray(expected, dtype=float)
    counted = np.abs(right) > _SMALL * np.abs(right).max(initial=0.0)
    if not counted.any():
        return ""
    ratios = found[counted] / right[counted]
    ratio = float(np.median(ratios))
    if np.abs(ratios - ratio).max() > 1e-3 * max(abs(ratio), 1e-3) or abs(ratio - 1) < 1e-4:
        return ""
    for value, reason in (
        (-1, "its sign is wrong"),
        (0, "it is zero, though the loss depends on it"),
        (samples, f"it is {samples} times too large, the size of the batch: the mean of the loss"),
        (1 / samples, f"it is divided by the size of the batch, {samples}, as the loss has done"),
    ):
        if abs(ratio - value) <= 1e-3 * max(abs(value), 1e-3):
            return reason
    return f"each entry is {ratio:.4g} times the right value: a factor is missing or one too many"
