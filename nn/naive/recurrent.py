"""Recurrent layers in loops: over samples, steps and the numbers of the state."""

import math
from typing import Any

import numpy as np

from .arguments import array_of


def simple_rnn_naive(x: Any, w: Any, u: Any, b: Any, mask: Any = None) -> np.ndarray:
    """Return the states of a recurrent layer without gates.

    ::

        h[t][k] = tanh(b[k] + sum over d of x[t][d] * w[d, k] + sum over j of h[t-1][j] * u[j, k])

    Parameters
    ----------
    x
        Sequences (N, T, D).
    w, u, b
        Weights of the inputs (D, U), of the states (U, U), and biases (U,).
    mask
        Whether each step is there, (N, T): the state stays as it was if one is not. None
        if all are.

    Returns
    -------
    numpy.ndarray
        The states of all steps (N, T, U), in float64.

    Raises
    ------
    ValueError
        If the shapes of the arrays do not match.

    Examples
    --------
    >>> simple_rnn_naive([[[1.0], [0.0]]], [[1.0]], [[0.5]], [0.0]).round(3)
    array([[[0.762],
            [0.363]]])
    """
    x, w, u, b, units = _arrays("simple_rnn_naive", x, w, u, b, gates=1)
    there = _mask("simple_rnn_naive", mask, x)
    y = np.zeros((*x.shape[:2], units))
    for n in range(len(x)):
        h = np.zeros(units)
        for t in range(x.shape[1]):
            for k in range(units):
                a = b[k] + _dot(x[n, t], w, k) + _dot(h, u, k)
                y[n, t, k] = math.tanh(a) if there[n, t] else h[k]
            h = y[n, t]
    return y


def lstm_naive(x: Any, w: Any, u: Any, b: Any, mask: Any = None) -> np.ndarray:
    """Return the states of an LSTM, whose gates i, f, c, o stand one after the other.

    ::

        c[t][k] = f * c[t-1][k] + i * g
        h[t][k] = o * tanh(c[t][k])

    Parameters
    ----------
    x
        Sequences (N, T, D).
    w, u, b
        Weights of the inputs (D, 4U), of the states (U, 4U), and biases (4U,).
    mask
        As for `simple_rnn_naive`; the cell stays as it was, too.

    Returns
    -------
    numpy.ndarray
        The states of all steps (N, T, U), in float64.

    Raises
    ------
    ValueError
        If the shapes of the arrays do not match.

    Examples
    --------
    >>> lstm_naive([[[1.0]]], [[0.0, 0.0, 1.0, 0.0]], [[0.0] * 4], [0.0] * 4).round(4)
    array([[[0.1817]]])
    """
    x, w, u, b, units = _arrays("lstm_naive", x, w, u, b, gates=4)
    there = _mask("lstm_naive", mask, x)
    y = np.zeros((*x.shape[:2], units))
    for n in range(len(x)):
        h, c = np.zeros(units), np.zeros(units)
        for t in range(x.shape[1]):
            a = [b[k] + _dot(x[n, t], w, k) + _dot(h, u, k) for k in range(4 * units)]
            for k in range(units):
                i, f = _sigmoid(a[k]), _sigmoid(a[units + k])
                g, o = math.tanh(a[2 * units + k]), _sigmoid(a[3 * units + k])
                c[k] = f * c[k] + i * g if there[n, t] else c[k]
                y[n, t, k] = o * math.tanh(c[k]) if there[n, t] else h[k]
            h = y[n, t]
    return y


def gru_naive(
    x: Any, w: Any, u: Any, b: Any, reset_after: bool = True, mask: Any = None
) -> np.ndarray:
    """Return the states of a GRU, whose gates z, r, h stand one after the other.

    ::

        g = tanh(x w + b + r * (h u + b'))    reset_after=True
        g = tanh(x w + b + (r * h) u)         reset_after=False
        h[t][k] = z * h[t-1][k] + (1 - z) * g

    Parameters
    ----------
    x
        Sequences (N, T, D).
    w, u, b
        Weights of the inputs (D, 3U), of the states (U, 3U), and biases (2, 3U), those of the
        inputs and of the states, or (3U,) without `reset_after`.
    reset_after
        Whether r multiplies the product of the state, or the state.
    mask
        As for `simple_rnn_naive`.

    Returns
    -------
    numpy.ndarray
        The states of all steps (N, T, U), in float64.

    Raises
    ------
    ValueError
        If the shapes of the arrays do not match.

    Examples
    --------
    >>> gru_naive([[[1.0]]], [[0.0, 0.0, 1.0]], [[0.0] * 3], [0.0] * 3, False).round(4)
    array([[[0.3808]]])
    """
    x, w, u, b, units = _arrays("gru_naive", x, w, u, b, gates=3, rows=2 if reset_after else 1)
    there = _mask("gru_naive", mask, x)
    if not reset_after:
        b = np.stack((b, np.zeros_like(b)))
    y = np.zeros((*x.shape[:2], units))
    for n in range(len(x)):
        h = np.zeros(units)
        for t in range(x.shape[1]):
            a = [b[0, k] + _dot(x[n, t], w, k) for k in range(3 * units)]  # of the input
            s = [b[1, k] + _dot(h, u, k) for k in range(3 * units)]  # of the state
            z = [_sigmoid(a[k] + s[k]) for k in range(units)]
            r = np.array([_sigmoid(a[units + k] + s[units + k]) for k in range(units)])
            for k in range(units):
                at = 2 * units + k
                inner = r[k] * s[at] if reset_after else _dot(r * h, u, at)
                new = z[k] * h[k] + (1 - z[k]) * math.tanh(a[at] + inner)
                y[n, t, k] = new if there[n, t] else h[k]
            h = y[n, t]
    return y


def _dot(values: np.ndarray, weights: np.ndarray, column: int) -> float:
    """Return the sum of values times a column of weights."""
    return sum(float(value) * weights[d, column] for d, value in enumerate(values))


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def _mask(owner: str, mask: Any, x: np.ndarray) -> np.ndarray:
    """Return a mask as bools (N, T), after checking its shape."""
    if mask is None:
        return np.ones(x.shape[:2], dtype=bool)
    return array_of(owner, "mask", mask, x.shape[:2]) != 0


def _arrays(
    owner: str, x: Any, w: Any, u: Any, b: Any, gates: int, rows: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Return the arrays after checking their shapes, and the size of the state."""
    x, u = array_of(owner, "x", x, "(N, T, D)"), array_of(owner, "u", u, "(U, columns)")
    units = len(u)
    columns = gates * units
    u, w = array_of(owner, "u", u, (units, columns)), array_of(owner, "w", w, (x.shape[2], columns))
    return x, w, u, array_of(owner, "b", b, (columns,) if rows == 1 else (rows, columns)), units
