"""Layers of sequences of nn against PyTorch's: outputs and every gradient."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from agreement_common import draw
from agreement_torch import leaf

import nn


def embedding_cases(rng):
    """Yield Embedding for ids that occur often, once and not at all."""
    for count, size, steps in ((5, 3, 40), (1000, 16, 7)):
        ids = rng.integers(0, count - 1, (8, steps))
        layer = nn.layers.Embedding(count, size)
        layer.build((None, steps))
        w, grad = leaf(layer.params["W"]), draw(rng, (8, steps, size))
        y, expected = layer.forward(ids, training=True), F.embedding(torch.from_numpy(ids), w)
        expected.backward(torch.from_numpy(grad))
        layer.backward(grad)
        yield (
            f"Embedding {count} to {size}",
            {"output": (y, expected), "dW": (layer.grads["W"], np.asarray(w.grad))},
        )


CASES = (embedding_cases,)
