"""Attention of the steps of a sequence to each other, and the positions that are added to them.

Vaswani et al. 2017, "Attention is all you need", arXiv 1706.03762, sections 3.2 and 3.5. Letters: N
samples, T steps, H heads, K numbers in a query, a key and a value. The queries, keys and values of
all heads are one array (N, T, 3, H, K), as one product of matrices computes them.
"""

import math
from typing import Any

from ... import cuda
from ..geometry import Array
from .elementwise import dropout


def attend(
    qkv: Array,
    there: Array | None = None,
    causal: bool = False,
    kept: Array | None = None,
    rate: float = 0.0,
) -> tuple[Array, Array]:
    """Return for each step the mean of all values, weighted by how its query fits their keys.

    ::

        y = softmax(q k^T / sqrt(K)) v

    A step that a mask leaves out gets no weight, and with `causal` none that comes later. A step
    that sees no other gets zeros.

    Parameters
    ----------
    qkv
        Queries, keys and values (N, T, 3, H, K).
    there
        Mask (N, T), True for steps that are there; None for all.
    causal
        Whether a step sees itself and those before it alone.
    kept, rate
        Which weights (N, H, T, T) dropout keeps, and the share that it drops; None for all.

    Returns
    -------
    tuple
        y (N, T, H, K), and (N, H, T, 2): of each step the largest score, and 1 over the sum of the
        exponentials, from which `attend_grad` computes the weights again. They are T times
        larger than what is kept.
    """
    xp = cuda.get_array_module(qkv)
    q, k, v = qkv.transpose(2, 0, 3, 1, 4)  # (N, T, 3, H, K) -> 3 of (N, H, T, K)
    scores = attention_scores(q, k, there, causal)
    largest = scores.max(axis=3, keepdims=True)
    largest = xp.where(largest == -math.inf, 0, largest)  # of a step that sees no other
    exps = xp.exp(scores - largest)
    total = exps.sum(axis=3, keepdims=True)
    norms = xp.concatenate((largest, 1 / xp.where(total == 0, math.inf, total)), axis=3)
    weights = exps * norms[..., 1:]
    if kept is not None:
        weights = dropout(weights, kept, rate)
    y = (weights @ v).transpose(0, 2, 1, 3)  # (N, H, T, K) -> (N, T, H, K)
    return xp.ascontiguousarray(y), norms.astype(qkv.dtype)


def attend_grad(
    grad: Array,
    qkv: Array,
    norms: Array,
    there: Array | None = None,
    causal: bool = False,
    kept: Array | None = None,
    rate: float = 0.0,
) -> Array:
    """Return the gradient (N, T, 3, H, K) for queries, keys and values of `attend`.

    The gradient of a softmax is its weights times the difference of their gradients to the mean::

        dscores = weights * (dweights - sum(weights * dweights))
    """
    xp = cuda.get_array_module(qkv)
    q, k, v = qkv.transpose(2, 0, 3, 1, 4)  # (N, T, 3, H, K) -> 3 of (N, H, T, K)
    weights = xp.exp(attention_scores(q, k, there, causal) - norms[..., :1]) * norms[..., 1:]
    grad = grad.transpose(0, 2, 1, 3)  # (N, T, H, K) -> (N, H, T, K)
    dweights = grad @ v.swapaxes(2, 3)
    used = weights
    if kept is not None:
        used, dweights = dropout(weights, kept, rate), dropout(dweights, kept, rate)
    dv = used.swapaxes(2, 3) @ grad
    mean = (weights * dweights).sum(axis=3, keepdims=True)
    dscores = weights * (dweights - mean) / math.sqrt(q.shape[3])
    dq, dk = dscores @ k, dscores.swapaxes(2, 3) @ q
    dqkv = xp.stack((dq, dk, dv)).transpose(1, 3, 0, 2, 4)  # 3 of (N, H, T, K) -> (N, T, 3, H, K)
    return xp.ascontiguousarray(dqkv).astype(qkv.dtype, copy=False)


def attend_last(q: Array, k: Array, v: Array) -> Array:
    """Return softmax(q k^T / sqrt(K)) v for one query (N, H, 1, K) of each head, as (N, 1, H, K).

    Keys and values are those of all steps so far, (N, H, T, K).
    """
    xp = cuda.get_array_module(q)
    scores = attention_scores(q, k, None, False)  # (N, H, 1, T)
    exps = xp.exp(scores - scores.max(axis=3, keepdims=True))
    y = (exps / exps.sum(axis=3, keepdims=True)) @ v  # (N, H, 1, T) (N, H, T, K) -> (N, H, 1, K)
    return xp.ascontiguousarray(y.transpose(0, 2, 1, 3))


def attention_scores(q: Array, k: Array, there: Array | None, causal: bool) -> Array:
    """Return q k^T / sqrt(K), (N, H, T, T), minus infinity if a step does not see another."""
    xp = cuda.get_array_module(q)
    scores = q @ k.swapaxes(2, 3) / math.sqrt(q.shape[3])
    if there is not None:
        scores = xp.where(there[:, xp.newaxis, xp.newaxis], scores, -math.inf)
    if causal:
        steps = xp.arange(q.shape[2])
        scores = xp.where(steps <= steps[:, xp.newaxis], scores, -math.inf)
    return scores


def sinusoids(like: Array, steps: int, features: int, first: int = 0) -> Array:
    """Return sin(t / 10000^(2i/D)) and cos of the same, for D features, in turn: (steps, D).

    t counts from `first`; the array has the dtype of `like` and is on its device.
    """
    xp: Any = cuda.get_array_module(like)
    column = xp.arange(features)
    frequency = 10000.0 ** (-2 * (column // 2) / features)
    angles = xp.arange(first, first + steps)[:, xp.newaxis] * frequency  # (T, D)
    return xp.where(column % 2 == 0, xp.sin(angles), xp.cos(angles)).astype(like.dtype)
