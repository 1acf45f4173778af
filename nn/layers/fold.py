"""A model that is only used: forward passes that keep nothing for a backward pass.

`predict` and `evaluate` run their batches through here. Where batch normalisation follows a
convolution or a dense layer, its scale and shift go into the weights, for as long as one batch
takes: the layer's own `(x W + b) * scale + shift` is `x (W * scale) + (b * scale + shift)`. Not if
the weights are more numbers than the batch, as for a single image: to scale those took longer.
Stacks within the stack are taken apart for it, and the layers of residual blocks too.

What the outputs say, a class or probabilities, is decided here as well, for all who ask.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import kernels
from . import (
    BatchNorm,
    BatchNorm1D,
    BatchNorm2D,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Layer,
    Residual,
    Sigmoid,
    SkipConcat,
    Softmax,
)
from .containers import output_activation
from .masks import Mask, joined_masks
from .observe import active_observers
from .plan import Plan
from .stack import flat, forward_through
from .weighted import can_overwrite

Array = Any  # a numpy or a cupy ndarray

#: Layers whose outputs are new arrays. An activation after them overwrites its input.
_WITH_NEW_OUTPUTS = frozenset(
    {Conv2D, Conv2DTranspose, DepthwiseConv2D, Dense, BatchNorm, BatchNorm1D, BatchNorm2D}
)


def run(
    layers: Sequence[Layer], x: Array, keep_logits: bool = False, mask: Mask = None
) -> tuple[Array, Mask]:
    """Return the output of layers for a batch, and the mask of its steps.

    Parameters
    ----------
    layers
        All layers of a model, built.
    x
        Inputs (N, ...), as the first layer takes them.
    keep_logits
        Whether the last layer is to keep what a loss that works on logits asks it for.
    mask
        (N, T), True for the steps of x that are there; None if all are.
    """
    if active_observers.get():
        return forward_through(layers, x, False if keep_logits else None, mask)
    chain = flat(layers)
    folded = is_new = False  # is_new: whether x is an array that nothing else needs
    for layer, following in zip(chain, [*chain[1:], None], strict=False):
        if folded:
            folded = False  # it is in the weights of the layer before
            continue
        folded = folds(layer, following) and layer.params["W"].size <= x.size
        training = False if keep_logits and following is None else None
        if is_new and mask is None and training is None and can_overwrite(layer):
            x = layer.overwrite(x)  # type: ignore[attr-defined]
        elif folded:
            x = layer.forward_scaled(x, *following.scale_and_shift())  # type: ignore
        elif isinstance(layer, Residual | SkipConcat) and _is_plain(layer):
            (y, mask_y), (short, mask_x) = (
                run(path, x, mask=mask) for path in (layer.main, layer.shortcut)
            )
            x, mask = layer.join(x, y, short), joined_masks(mask_y, mask_x)
        elif mask is None and not layer.makes_mask:
            x = layer.forward(x, training)
        else:
            x, mask = forward_through((layer,), x, training, mask)
        is_new = type(layer) in _WITH_NEW_OUTPUTS and "forward" not in vars(layer)
        is_new = is_new and getattr(layer, "activation", None) is None
    return x, mask


def run_with_penalty(layers: Sequence[Layer], x: Array) -> tuple[Array, Mask, Plan]:
    """Return output and mask, and a plan whose `activity_penalty` is that of the batch."""
    y, mask = forward_through(layers, x, training=False)
    return y, mask, Plan(layers)


def with_own_output(layers: Sequence[Layer], of_all: bool = False) -> list[Layer]:
    """Return layers one by one, the last as a copy that shares its arrays with the original.

    With `of_all` all are copies.

    What a cross-entropy needs of a Softmax is then kept by the copy, while the original keeps what
    the backward pass of a training step needs.
    """
    *others, last = flat(layers)
    others = [_shallow_copy(layer) for layer in others] if of_all else others
    return [*others, _shallow_copy(last)]


def _shallow_copy(layer: Layer) -> Any:
    twin = copy.copy(layer)
    twin.params = dict(layer.params)
    for name, inner in vars(layer).items():
        if isinstance(inner, Layer):
            setattr(twin, name, _shallow_copy(inner))
        elif name == "layers":
            twin.layers = tuple(_shallow_copy(part) for part in inner)  # type: ignore[attr-defined]
    return twin


def decide(scores: Array, threshold: float, is_multi_label: bool = False) -> Array:
    """Return the class that outputs say, integers (n,): the largest of several, or yes or no.

    Parameters
    ----------
    scores
        Outputs (n, outputs), or of sequences (N, T, outputs) or images (N, outputs, H, W), whose
        steps or pixels get a class each, (N, T) or (N, H, W).
    threshold
        The output above which a single one, or each one with `is_multi_label`, says yes.
    is_multi_label
        Whether each output is a decision of its own: 0 or 1 for each, in the shape of `scores`.

    Examples
    --------
    >>> import numpy as np
    >>> scores = np.array([[0.2, 0.8], [0.7, 0.6]])
    >>> decide(scores, 0.5), decide(scores[:, :1], 0.5)
    (array([1, 0]), array([0, 1]))
    >>> decide(scores, 0.5, is_multi_label=True)
    array([[0, 1],
           [1, 1]])
    """
    if is_multi_label:
        return (scores > threshold).astype(np.int64)
    axis = kernels.class_axis(scores.ndim)
    if scores.shape[axis] == 1:
        return (scores.squeeze(axis) > threshold).astype(np.int64)
    return scores.argmax(axis=axis)


def named(decided: Array, names: Sequence[str], is_multi_label: bool) -> np.ndarray:
    """Return the names of decided classes; of several labels a tuple for each row of (n, k).

    Examples
    --------
    >>> named(np.array([1, 0]), ["cat", "dog"], False)
    array(['dog', 'cat'], dtype='<U3')
    >>> named(np.array([[1, 1], [0, 0]]), ["cat", "dog"], True)
    array([('cat', 'dog'), ()], dtype=object)
    """
    if not is_multi_label:
        return np.array(names)[decided]
    decided = kernels.class_rows(decided)
    rows = np.empty(len(decided), dtype=object)
    rows[:] = [tuple(name for name, yes in zip(names, row, strict=True) if yes) for row in decided]
    return rows


def decides_each_output(layers: Sequence[Layer], loss: Any, outputs: int | None) -> bool:
    """Return whether each of several outputs is a decision of its own: multi-label.

    It is under binary cross-entropy, and in layers that end in Sigmoid if there is no loss.
    """
    if outputs == 1:
        return False
    if loss is None:
        return isinstance(output_activation(layers), Sigmoid)
    return getattr(loss, "paired_activation", None) == "Sigmoid"


def gives_probabilities(layers: Sequence[Layer]) -> bool:
    """Return whether the outputs of layers are probabilities: they end in Softmax or Sigmoid."""
    return isinstance(output_activation(layers), Softmax | Sigmoid)


def missing_activation(layers: Sequence[Layer], loss: Any) -> str | None:
    """Return what makes probabilities of a model's outputs: 'softmax', 'sigmoid', or None.

    It is the activation that the loss includes, as a cross-entropy takes logits; None if
    the layers end in Softmax or Sigmoid already, and for any other loss, or none.
    """
    if gives_probabilities(layers):
        return None
    pair = getattr(loss, "paired_activation", None)
    return None if pair is None else pair.lower()


def probabilities(outputs: Array, activation: str | None) -> Array:
    """Return logits (n, outputs) as probabilities, by 'softmax' or 'sigmoid'; None changes nothing.

    Examples
    --------
    >>> import numpy as np
    >>> probabilities(np.array([[0.0, 0.0]]), "softmax"), probabilities(np.zeros((1, 1)), "sigmoid")
    (array([[0.5, 0.5]]), array([[0.5]]))
    """
    if activation == "softmax":
        rows = kernels.softmax(kernels.class_rows(outputs))
        return kernels.from_class_rows(rows, outputs.shape)
    return kernels.sigmoid(outputs) if activation == "sigmoid" else outputs


def _is_plain(layer: Layer) -> bool:
    """Return whether a block computes what its class here does, not a subclass or a new forward."""
    return type(layer) in (Residual, SkipConcat) and "forward" not in vars(layer)


def folds(layer: Layer, following: Layer | None) -> bool:
    """Return whether `following` is a batch norm that fits into the weights of `layer`."""
    return (  # exactly these classes: subclasses may compute something else
        type(layer) in (Conv2D, Conv2DTranspose, Dense, DepthwiseConv2D)
        and type(following) in (BatchNorm, BatchNorm1D, BatchNorm2D)
        and layer.activation is None  # type: ignore
        and "forward" not in vars(layer).keys() | vars(following).keys()
    )
