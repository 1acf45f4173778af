"""Sequences that a model continues: each step is drawn from its prediction for the last one."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import checks, cuda, validation
from ..layers.activations import Softmax
from ..layers.containers import output_activation
from ..layers.stack import flat
from ..model import Model


def generate(
    model: Model,
    start: Any,
    length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int | None = None,
    callback: Callable[[int], Any] | None = None,
) -> Any:
    """Continue a text or a sequence of ids by what a model predicts, step by step.

    The state of each layer is kept from step to step, so that a step costs the same however long
    the sequence is. Padding, the id 0 of an `Embedding` with `mask_zero`, is never drawn.

    Parameters
    ----------
    model
        It begins with an `Embedding`, and returns a number for each id at each step, or for the
        last step alone. Its recurrent layers read forwards, its other layers are causal or work on
        each step by itself.
    start
        The first ids, at least one; or a text, for a model with a `vocabulary`.
    length
        How many ids to draw.
    temperature
        What the outputs are divided by before the softmax, at least 0: below 1 likely ids become
        likelier, 0 takes the likeliest.
    top_k
        Draw from so many of the likeliest ids alone; None draws from all.
    seed
        Of the random numbers; None draws others each time.
    callback
        Called with each id as soon as it is drawn; `model.vocabulary.decode([id])` is its text.

    Returns
    -------
    numpy.ndarray or str
        The ids that were drawn, (length,); their text if `start` is a text.

    Raises
    ------
    TypeError
        For ids that are not integers.
    ValueError
        For arguments out of range, or a model that cannot be run step by step.
    RuntimeError
        If the model is not built.

    Notes
    -----
    ``layer.step(x, state)`` runs one step of a layer, ``model.step(x, state)`` of all, for loops
    of your own.

    Examples
    --------
    >>> import nn
    >>> layers = [nn.Embedding(5, 4, input_shape=(8,)), nn.GRU(6, return_sequences=True)]
    >>> model = nn.Model([*layers, nn.Dense(5)], seed=0)
    >>> nn.generate(model, [1, 2], length=10, seed=0).shape
    (10,)
    """
    length = checks.positive_int("generate", "length", length)
    temperature = checks.non_negative("generate", "temperature", temperature)
    if seed is not None:
        seed = checks.non_negative_int("generate", "seed", seed)
    if callback is not None and not callable(callback):
        rule = "must be a function of an id"
        raise checks.error("generate", "callback", rule, callback)
    count = _vocabulary(model)
    if top_k is not None and checks.positive_int("generate", "top_k", top_k) > count:
        raise checks.error("generate", "top_k", f"must be at most {count}", top_k)
    if isinstance(start, str):
        if model.vocabulary is None:
            rule = "must be ids for a model without a vocabulary: set model.vocabulary"
            raise checks.error("generate", "start", rule, start)
        ids = model.vocabulary.encode(start)
        drawn = generate(model, ids, length, temperature, top_k, seed, callback)
        return model.vocabulary.decode(drawn)
    rng, ids, state = np.random.default_rng(seed), _ids_of(start, count), None
    is_softmax = isinstance(output_activation(model.layers), Softmax)
    has_padding = flat(model.layers)[0].makes_mask  # of the Embedding
    drawn = np.empty(length, np.int64)
    for number in ids[:-1]:
        _, state = model.step(_as_step(model, number), state)
    number = ids[-1]
    for k in range(length):
        y, state = model.step(_as_step(model, number), state)
        scores = cuda.to_cpu(y).reshape(-1).astype(np.float64)
        if is_softmax:
            scores = np.log(np.maximum(scores, np.finfo(np.float64).tiny))
        validation.check_finite(scores, "outputs")
        if has_padding:
            scores[0] = -np.inf
        number = drawn[k] = _draw(scores, temperature, top_k, rng)
        if callback is not None:
            callback(int(number))
    return drawn


def _vocabulary(model: Any) -> int:
    """Return how many ids there are, after checking that a model predicts them."""
    if not isinstance(model, Model):
        raise checks.error("generate", "model", "must be an nn.Model", type(model).__name__)
    if not model.built:
        raise RuntimeError("[generate] 'model' is not built: train or load it first.")
    count, shape = model.num_ids, model.output_shape or ()
    if count is None or len(shape) not in (2, 3) or shape[-1] != count:
        rule = "must begin with an Embedding and return a number for each of its ids"
        raise checks.error("generate", "model", rule, f"outputs {shape} for {count} ids")
    return count


def _ids_of(start: Any, count: int) -> np.ndarray:
    """Return the first ids (T,), checked."""
    ids = np.asarray(start)
    if ids.ndim != 1 or not ids.size:  # an empty text, too
        raise checks.error("generate", "start", "must be a sequence of at least one id", start)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"[generate] 'start' must hold integer ids, got {ids.dtype}.")
    if ids.min() < 0 or ids.max() >= count:
        raise checks.error("generate", "start", f"must hold ids in 0..{count - 1}", start)
    return ids


def _as_step(model: Model, number: Any) -> Any:
    """Return an id as the next step of one sequence, (1, 1), on the model's device."""
    return cuda.to_device(np.full((1, 1), number, np.int64), model.device)


def _draw(scores: np.ndarray, temperature: float, top_k: int | None, rng: Any) -> int:
    """Return an id, drawn by the softmax of scores / temperature."""
    if temperature == 0:
        return int(scores.argmax())
    scores = (scores - scores.max()) / temperature  # at most 0: e^x overflows nowhere
    if top_k is not None:
        others = np.argsort(-scores, kind="stable")[top_k:]
        scores[others] = -np.inf
    total = np.exp(scores).cumsum()
    return int(np.searchsorted(total, rng.random() * total[-1], side="right"))
