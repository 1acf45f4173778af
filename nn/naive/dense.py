"""The dense layer and its gradients in loops."""

from typing import Any

import numpy as np

from .arguments import array_of, biases_of


def dense_naive(x: Any, w: Any, b: Any | None = None) -> np.ndarray:
    """Return x @ w + b in three loops.

    ::

        y[n, k] = b[k] + sum over d of x[n, d] * w[d, k]

    Parameters
    ----------
    x
        Samples (N, D). Of sequences (N, T, D) each step is one: `x.reshape(-1, D)`.
    w
        Weights (D, K), a column for each unit.
    b
        Biases (K,), or None.

    Returns
    -------
    numpy.ndarray
        (N, K) in float64.

    Raises
    ------
    ValueError
        If the shapes of the arrays do not match.

    Examples
    --------
    >>> dense_naive([[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]], [0.5, 0.0])
    array([[13.5, 16. ]])
    """
    owner = "dense_naive"
    x, w = array_of(owner, "x", x, "(N, D)"), array_of(owner, "w", w, "(D, K)")
    (samples, features), units = x.shape, w.shape[1]
    w = array_of(owner, "w", w, (features, units))
    biases = biases_of(owner, b, units)
    y = np.zeros((samples, units))
    for n, k in np.ndindex(y.shape):
        y[n, k] = biases[k]
        for d in range(features):
            y[n, k] += x[n, d] * w[d, k]
    return y


def dense_backward_naive(grad: Any, x: Any, w: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the gradients of `dense_naive` for x, w and b, in the same three loops.

    ::

        dx[n, d] += grad[n, k] * w[d, k]
        dw[d, k] += grad[n, k] * x[n, d]
        db[k]    += grad[n, k]

    Parameters
    ----------
    grad
        Gradient of the loss for the result (N, K).
    x, w
        As in `dense_naive`.

    Returns
    -------
    tuple
        dx (N, D), dw (D, K) and db (K,), in float64.

    Raises
    ------
    ValueError
        If the shapes of the arrays do not match.

    Examples
    --------
    >>> dense_backward_naive([[1.0, 10.0]], [[2.0]], [[3.0, 4.0]])
    (array([[43.]]), array([[ 2., 20.]]), array([ 1., 10.]))
    """
    owner = "dense_backward_naive"
    x, w = array_of(owner, "x", x, "(N, D)"), array_of(owner, "w", w, "(D, K)")
    (samples, features), units = x.shape, w.shape[1]
    w = array_of(owner, "w", w, (features, units))
    grad = array_of(owner, "grad", grad, (samples, units))
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros(units)
    for n, k in np.ndindex(grad.shape):
        db[k] += grad[n, k]
        for d in range(features):
            dx[n, d] += grad[n, k] * w[d, k]
            dw[d, k] += grad[n, k] * x[n, d]
    return dx, dw, db
