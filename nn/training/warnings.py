"""Warnings about a training that is allowed but seldom meant, once a `fit`.

`doubts` is called before the first step: activations that do not suit the loss, classes without
samples, images that are not scaled. `ChanceWatch` looks at the figures of the
epochs: an accuracy that stays at chance although the loss falls.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import checks, losses, validation
from ..callbacks import Callback, Logs
from ..layers import Layer
from ..layers.shard import started_processes
from ..layers.stack import flat
from .sources import Source, samples_of

REGRESSION = (losses.MeanSquaredError, losses.MeanAbsoluteError, losses.Huber)
CLASSIFICATION = (losses.CategoricalCrossentropy, losses.BinaryCrossentropy, losses.Hinge)

_ENOUGH_FOR_CHANCE = 500  # samples: an accuracy 5% above chance is no longer chance
_FEWEST_GREYS = 16  # an image of bytes has a higher value
_ROWS_OF_SCALE = 256  # samples whose scale is looked at

_SCALING = (
    "Embedding",
    "Rescale",
    "Standardize",
    "BatchNorm",
    "BatchNorm1D",
    "BatchNorm2D",
    "LayerNorm",
)

#: The lowest and the highest output of bounded activations.
RANGES = {
    "Exponential": (0.0, math.inf),
    "HardSigmoid": (0.0, 1.0),
    "LogSoftmax": (-math.inf, 0.0),
    "ReLU": (0.0, math.inf),
    "ReLU6": (0.0, 6.0),
    "Sigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Softplus": (0.0, math.inf),
    "Softsign": (-1.0, 1.0),
    "Tanh": (-1.0, 1.0),
}


def doubts(
    layers: Sequence[Layer],
    loss: Any,
    output_shape: tuple[int | None, ...] | None,
    train: Source,
    val: Source | None = None,
    may_lack_classes: bool = False,
) -> list[str]:
    """Return warnings about a model, its loss and its training data; an empty list if all is well.

    Parameters
    ----------
    layers, loss, output_shape
        The model's.
    train, val
        The data. Only those of a `Dataset` can be looked at before training; of the validation
        data it is the scale of the targets.
    may_lack_classes
        Whether classes without samples are no doubt.
    """
    chain = flat(layers)
    last, first = chain[-1], type(chain[0]).__name__
    kind = type(getattr(last, "activation", None) or last).__name__
    found = [doubt_about_activation(kind, type(loss).__name__, getattr(loss, "margin", 0.0))]
    data = samples_of(train)
    if data is not None and data.y is not None:
        classes = validation.classes_of(output_shape)
        if isinstance(loss, CLASSIFICATION) and getattr(chain[0], "input_dim", None) != classes:
            are_labels = 1 < data.y.ndim < len(output_shape or ())  # of steps or pixels
            y = data.y.reshape(-1) if are_labels else data.y  # (N, ...) -> (N * ...,)
            found.append(None if may_lack_classes else doubt_about_classes(y, classes))
        elif isinstance(loss, REGRESSION):
            found.append(doubt_about_range(kind, data.y) or doubt_about_measured(loss, data))
        found.append(doubt_about_scale(data.x, first))
        found.append(doubt_about_bits(data.x, data.input_range))
    found.append(doubt_about_measured(loss, val))
    return [doubt for doubt in dict.fromkeys(found) if doubt is not None]


class ChanceWatch(Callback):
    """Warn once if the training accuracy is at chance although the loss falls.

    It warns after an epoch whose loss is 2% below that of the epoch before, if both accuracies are
    at most 5% above the share of the largest class.

    Parameters
    ----------
    largest_share
        The share of the largest class.
    """

    def __init__(self, largest_share: float):
        self.largest_share = largest_share
        self._before: Logs | None = None
        self._warned = False

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Compare the epoch with the one before."""
        before, self._before = self._before, dict(logs)
        if before is None or self._warned or "acc" not in logs:
            return
        at_chance = max(logs["acc"], before["acc"]) <= 1.05 * self.largest_share
        if at_chance and logs["loss"] < 0.98 * before["loss"]:
            self._warned = True
            checks.warn(
                f"[Model] 'acc' should rise above chance, {self.largest_share:.3g}, as the loss "
                f"falls, got {logs['acc']:.3g} after epoch {epoch + 1}, with the loss down from "
                f"{before['loss']:.3g} to {logs['loss']:.3g}: do labels and inputs still belong "
                "together (shuffled apart?), are the inputs scaled, is the learning rate too high?"
            )


def chance_callback(train: Source) -> list[Callback]:
    """Return a `ChanceWatch` if chance is known from the training labels, else nothing.

    They do if there are enough of them, and no class is much more frequent than the others.
    """
    data = samples_of(train)
    labels = None if data is None else validation.class_of_rows(data.y)
    if labels is None or len(labels) < _ENOUGH_FOR_CHANCE:
        return []
    _, counts = np.unique(labels, return_counts=True)
    share = float(counts.max() / counts.sum())
    is_balanced = len(counts) > 1 and share <= 1.5 / len(counts)
    return [ChanceWatch(share)] if is_balanced else []


# ------------------------------------------------------------------------- the single doubts


def doubt_about_activation(kind: str, loss: str, margin: float = 0.0) -> str | None:
    """Return a warning about a last layer that does not suit the loss, or None.

    Parameters
    ----------
    kind, loss
        Names of the last layer's class, or its activation's, and of the loss's class.
    margin
        That of the hinge loss.

    Examples
    --------
    >>> print(doubt_about_activation("ReLU", "CategoricalCrossentropy"))
    [Model] the last layer should return logits for CategoricalCrossentropy, got ReLU, whose \
outputs are from 0 to inf: end in a Dense layer without activation, or in Softmax.
    >>> doubt_about_activation("Softmax", "CategoricalCrossentropy") is None
    True
    """
    pair = {"CategoricalCrossentropy": "Softmax", "BinaryCrossentropy": "Sigmoid"}.get(loss)
    low, high = RANGES.get(kind, (-math.inf, math.inf))
    got = f"got {kind}, whose outputs are from {low:g} to {high:g}"
    fits = kind == pair or (pair == "Softmax" and kind == "LogSoftmax")
    if pair is not None and not fits and kind in RANGES:
        return (
            f"[Model] the last layer should return logits for {loss}, {got}: end in a "
            f"Dense layer without activation, or in {pair}."
        )
    if loss == "Hinge" and high - low <= margin:
        return (
            f"[Model] the last layer should return scores that can differ by {margin:g}, "
            f"the margin of {loss}, {got}: end in a Dense layer without activation."
        )
    if loss == "KLDivergence" and kind != "Softmax":
        return (
            f"[Model] the last layer should return probabilities for {loss}, got {kind}: end in "
            "Softmax."
        )
    return None


def doubt_about_range(kind: str, y: np.ndarray) -> str | None:
    """Return a warning about targets outside the range of the last activation, or None.

    Examples
    --------
    >>> print(doubt_about_range("Tanh", np.array([0.5, 3.0])))
    [Model] 'y' should lie within the outputs of the last layer, Tanh, which are from -1 to 1, \
got targets from 0.5 to 3: scale them, or end in a Dense layer without activation.
    """
    low, high = RANGES.get(kind, (-math.inf, math.inf))
    if low <= y.min() and y.max() <= high:
        return None
    return (
        f"[Model] 'y' should lie within the outputs of the last layer, {kind}, which are from "
        f"{low:g} to {high:g}, got targets from {y.min():g} to {y.max():g}: scale them, or end in "
        "a Dense layer without activation."
    )


def doubt_about_classes(y: np.ndarray, classes: int | None) -> str | None:
    """Return a warning about classes without a training sample, or None.

    With fewer than 20 samples a class there is none: one is easily missing by chance.

    Examples
    --------
    >>> print(doubt_about_classes(np.arange(100) % 3 + 1, 4))
    [Model] 'y' should hold samples of each of the 4 classes of the last layer, got none of class \
0: labels count from 0, and a class without samples cannot be learned.
    """
    if y.size == len(y) and y.dtype.kind == "f" and bool(((y == 0) | (y == 1)).all()):
        y = y.astype(np.int64)  # zeros and ones as floats
    labels = validation.class_of_rows(y.reshape(-1) if y.size == len(y) else y)  # (n, 1) -> (n,)
    if labels is None or classes is None or len(labels) < 20 * classes:
        return None
    missing = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if not len(missing):
        return None
    named = ", ".join(str(label) for label in missing[:5]) + ", ..." * (len(missing) > 5)
    return (
        f"[Model] 'y' should hold samples of each of the {classes} classes of the last layer, got "
        f"none of class {named}: labels count from 0, and a class without samples cannot be "
        "learned."
    )


def doubt_about_scale(x: Any, first: str) -> str | None:
    """Return a warning about inputs that look like images of bytes and are not scaled, or None.

    They look so if the first samples hold whole numbers of at least 0, the largest of them in
    129..255, and 16 or more in a sample. Images (N, C, H, W) may also have whole numbers of 16 bits
    or below 0.

    Parameters
    ----------
    x
        Inputs (n, ...) that can be indexed. Those of bytes (uint8) are scaled by the model.
    first
        Name of the first layer's class, which may scale them.

    Examples
    --------
    >>> print(doubt_about_scale(np.full((1, 16), 255.0), "Dense"))
    [Model] 'x' should be scaled, got whole numbers from 255 to 255 of dtype float64, like \
images of bytes: use x / 255, or pass uint8, which nn scales.
    """
    if validation.is_byte_image(x) or first in _SCALING or math.prod(x.shape[1:]) < 16:
        return None
    rows = np.asarray(x[:_ROWS_OF_SCALE])
    low, high = float(rows.min()), float(rows.max())
    is_wide = x.ndim == 4 and high - low > 128 and max(-low, high) < 65536
    are_bytes = low >= 0 and 128 < high <= 255
    if not (are_bytes or is_wide) or bool((rows % 1).any()):
        return None
    advice = "use x / 255, or pass uint8, which nn scales"
    if not are_bytes:
        advice = "bring them into [0, 1], as by x / 65535 those of 16 bits"
    return (
        f"[Model] 'x' should be scaled, got whole numbers from {low:g} to {high:g} of dtype "
        f"{x.dtype}, like images of {'bytes' if are_bytes else 'integers'}: {advice}."
    )


def doubt_about_targets(x: Any, y: np.ndarray) -> str | None:
    """Return a warning about targets from 0 to 255 of images of bytes, which are scaled, or None.

    Examples
    --------
    >>> images = np.full((1, 1, 4, 4), 200, np.uint8)
    >>> print(doubt_about_targets(images, images.astype("float32")))
    [Model] 'y' should be scaled as images of bytes in 'x' are, got whole numbers up to 200 as \
targets, which are not divided by 255: pass y / np.float32(255).
    """
    if not validation.is_byte_image(x) or doubt_about_scale(y, "") is None:
        return None
    return (
        f"[Model] 'y' should be scaled as images of bytes in 'x' are, got whole numbers up to "
        f"{y[:_ROWS_OF_SCALE].max():g} as targets, which are not divided by 255: pass "
        "y / np.float32(255)."
    )


def doubt_about_measured(loss: Any, data: Source | None) -> str | None:
    """Return the doubt about the targets of data that a loss of a regression is measured on."""
    samples = None if data is None else samples_of(data)
    if samples is None or samples.y is None or not isinstance(loss, REGRESSION):
        return None
    return doubt_about_targets(samples.x, samples.y)


def doubt_about_bits(x: Any, input_range: tuple[float, float] | None) -> str | None:
    """Return a warning about bits or small counts that are scaled as images of bytes, or None.

    Parameters
    ----------
    x
        Inputs. They are not read.
    input_range
        Of the inputs, images of bytes scaled to [0, 1].

    Examples
    --------
    >>> boards = np.ones((1, 2, 8, 8), np.uint8)
    >>> print(doubt_about_bits(boards, (0.0, 1 / 255)))
    [Model] 'x' should have values from 0 to 255 if it holds images of bytes (uint8), which are \
divided by 255, got at most 1: pass x.astype('float32') if these are no images.
    """
    largest = 0.0 if input_range is None else 255 * input_range[1]
    if not validation.is_byte_image(x) or not 0 < largest < _FEWEST_GREYS:
        return None
    return (
        "[Model] 'x' should have values from 0 to 255 if it holds images of bytes (uint8), which "
        f"are divided by 255, got at most {largest:g}: pass x.astype('float32') if these are no "
        "images."
    )


def warn_of_others() -> None:
    """Warn if a launcher has started several processes, each of which trains alone."""
    if (started := started_processes()) > 1:
        checks.warn(
            f"[Model] this is one of {started} processes that were started together, and each "
            "trains a model of its own: pass distributed=nn.distributed.MPI() to compile() to "
            "train one model in all of them."
        )
