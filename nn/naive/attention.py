"""Attention in loops: over samples, heads, steps and the steps that they look at."""

import math
from typing import Any

import numpy as np

from .. import checks
from .arguments import array_of


def attention_naive(
    x: Any,
    w: Any,
    b: Any,
    w_out: Any,
    b_out: Any,
    heads: int,
    mask: Any = None,
    causal: bool = False,
) -> np.ndarray:
    """Return the attention of the steps of sequences to each other, in several heads.

    ::

        score[t][s]  = sum over k of q[t][k] * key[s][k], divided by sqrt(K)
        weight[t][s] = exp(score[t][s]) / sum over s of exp(score[t][s])
        y[t][k]      = sum over s of weight[t][s] * value[s][k]

    and the heads' y side by side, times w_out. The sums over s are over the steps that t sees.

    Parameters
    ----------
    x
        Sequences (N, T, D).
    w, b
        Weights (D, 3 * H * K) and biases (3 * H * K,) of queries, keys and values.
    w_out, b_out
        Weights (H * K, D) and biases (D,) of the output.
    heads
        H.
    mask
        (N, T), True for steps that are there; None for all.
    causal
        Whether a step sees itself and those before it alone.

    Returns
    -------
    numpy.ndarray
        (N, T, D), in float64.

    Raises
    ------
    ValueError
        If the shapes of the arrays do not match.

    Examples
    --------
    With queries of 0 all steps have the same weight, and the values here are the inputs:

    >>> w = [[0.0, 1.0, 1.0]]
    >>> attention_naive([[[1.0], [3.0]]], w, [0.0] * 3, [[1.0]], [0.0], 1, causal=True).ravel()
    array([1., 2.])
    """
    owner = "attention_naive"
    x, w_out = array_of(owner, "x", x, "(N, T, D)"), array_of(owner, "w_out", w_out, "(H * K, D)")
    (n_samples, steps, features), width = x.shape, len(w_out)
    heads = checks.positive_int(owner, "heads", heads)
    if width % heads:
        raise checks.error(owner, "heads", f"must divide the {width} rows of 'w_out'", heads)
    w, b = array_of(owner, "w", w, (features, 3 * width)), array_of(owner, "b", b, (3 * width,))
    b_out = array_of(owner, "b_out", b_out, (w_out.shape[1],))
    size, there = width // heads, np.ones((n_samples, steps), bool) if mask is None else mask
    y = np.zeros((n_samples, steps, w_out.shape[1]))
    for n in range(n_samples):
        rows = [b + sum(x[n, t, d] * w[d] for d in range(features)) for t in range(steps)]
        for t in range(steps):
            seen = [s for s in range(t + 1 if causal else steps) if there[n][s]]
            side_by_side = np.zeros(width)
            for h in range(heads):
                q = rows[t][h * size : (h + 1) * size]
                first_key, first_value = width + h * size, 2 * width + h * size
                scores = [
                    sum(q[k] * rows[s][first_key + k] for k in range(size)) / math.sqrt(size)
                    for s in seen
                ]
                largest = max(scores, default=0.0)  # e^score alone may be too large
                exps = [math.exp(score - largest) for score in scores]
                for e, s in zip(exps, seen, strict=True):
                    for k in range(size):
                        side_by_side[h * size + k] += e / sum(exps) * rows[s][first_value + k]
            y[n, t] = b_out + sum(side_by_side[k] * w_out[k] for k in range(width))
    return y
