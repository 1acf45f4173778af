"""One place that looks at what users hand in: inputs, labels and weights of samples.

`fit`, `evaluate`, `predict` and `train_step` all check through these functions, before any
number is computed, on either device alike.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from . import checks, cuda

Array = Any  # numpy.ndarray or cupy.ndarray
_NUMBERS_AT_ONCE = 1 << 22  # so that the check of a large set needs little memory
_ROWS_OF_SCALE = 256  # samples that are looked at for their scale


def check_inputs(x: Any, input_shape: tuple[int | None, ...] | None) -> Array:
    """Return inputs as an array of numbers of the shape that the model takes.

    Parameters
    ----------
    x
        Array or nested lists, samples along the first axis.
    input_shape
        The model's, with None for the batch axis; None where the model is not built.

    Raises
    ------
    TypeError
        For values that are not real numbers.
    ValueError
        For another shape.
    """
    x = checks.array("Model", "x", x)
    check_shape(x, input_shape)
    return x


def check_shape(x: Any, input_shape: tuple[int | None, ...] | None) -> None:
    """Raise where inputs that have a dtype and a shape do not suit the model (`check_inputs`).

    They are not read: those of a `Dataset` may lie on the disk.
    """
    if x.dtype.kind not in "fiub":
        raise TypeError(f"[Model] 'x' must hold real numbers, got an array of dtype {x.dtype}.")
    if x.ndim < 2:
        raise ValueError(
            f"[Model] 'x' must have a batch axis and at least one more, got shape {x.shape}: "
            "give a single sample as x[np.newaxis]."
        )
    if input_shape is not None and x.shape[1:] != tuple(input_shape[1:]):
        hint = _shape_hint(x.shape, tuple(input_shape))
        raise ValueError(
            f"[Model] expects inputs of shape {tuple(input_shape)}, got {x.shape}{hint}"
        )


def _shape_hint(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> str:
    """Return what to do about the two likeliest mistakes, as the end of a sentence."""
    if shape == wanted[1:]:
        return ": give a single sample as x[np.newaxis]."
    if len(wanted) == len(shape) == 4 and (shape[3], *shape[1:3]) == wanted[1:]:
        return ": these are channels-last, use x.transpose(0, 3, 1, 2)."
    if len(wanted) == 4 and wanted[1] == 1 and shape[1:] == wanted[2:]:
        return ": give grey images a channel axis, x[:, np.newaxis]."
    return "."


def check_finite(array: Array, argument: str) -> None:
    """Raise where an array holds NaN or infinite values; the message names the first row."""
    if array.dtype.kind != "f":
        return
    step = max(1, _NUMBERS_AT_ONCE // max(math.prod(array.shape[1:]), 1))
    for start in range(0, len(array), step):
        rows = array[start : start + step]
        finite = cuda.get_array_module(rows).isfinite(rows)
        if not finite.all():
            bad_rows = ~finite.reshape(len(finite), -1).all(axis=1)
            row = start + int(bad_rows.argmax())
            raise ValueError(
                f"[Model] '{argument}' must be finite, got NaN or infinite values in row {row}: "
                "clean the data, with np.nan_to_num for example."
            )


def check_scaled_once(x: Any, input_scale: float | None) -> None:
    """Raise where images of bytes, which are scaled to [0, 1], would be scaled once more.

    Parameters
    ----------
    x
        Inputs with a dtype. They are not read.
    input_scale
        What a `Rescale` at the model's beginning multiplies by; None without one.
    """
    if input_scale is not None and abs(input_scale) <= 0.01 and x.dtype == np.uint8:
        raise ValueError(
            "[Model] 'x' holds images of bytes (uint8), which are scaled to [0, 1] before the "
            f"first layer, Rescale({input_scale:g}), would do it again: leave that layer out, or "
            "give x.astype('float32')."
        )


def check_class_names(names: Any, output_shape: tuple[int | None, ...] | None) -> list[str] | None:
    """Return names of classes as a list; None for None.

    Parameters
    ----------
    names
        Texts, one for each output; two for a single output.
    output_shape
        The model's, with None for the batch axis; None where the model is not built.

    Raises
    ------
    ValueError
        For anything else.

    Examples
    --------
    >>> check_class_names(("cat", "dog"), (None, 1))
    ['cat', 'dog']
    """
    if names is None:
        return None
    several = isinstance(names, Iterable) and not isinstance(names, str)
    texts = list(names) if several else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise checks.error("Model", "class_names", "must be a list of texts", names)
    outputs = classes_of(output_shape)
    if outputs is not None and len(texts) != outputs:
        raise checks.error(
            "Model", "class_names", f"must hold one name for each of {outputs} classes", names
        )
    return [str(text) for text in texts]  # NumPy's texts too


def fitting_class_names(names: Any, output_shape: tuple[int | None, ...] | None) -> Any:
    """Return names of classes, or None where the outputs tell another number of them apart.

    What is no list is returned as it is, for `check_class_names` to refuse.

    Examples
    --------
    >>> fitting_class_names(["cat", "dog"], (None, 2)), fitting_class_names(["cat"], (None, 2))
    (['cat', 'dog'], None)
    """
    outputs = classes_of(output_shape)
    has_other_number = outputs is not None and isinstance(names, list) and len(names) != outputs
    return None if has_other_number else names


def classes_of(output_shape: tuple[int | None, ...] | None) -> int | None:
    """Return how many classes a model's output tells apart, two for a single number.

    Examples
    --------
    >>> classes_of((None, 10)), classes_of((None, 1)), classes_of(None)
    (10, 2, None)
    """
    outputs = None if output_shape is None else output_shape[1]
    return 2 if outputs == 1 else outputs


def check_weights(weights: Any, argument: str, rows: int) -> np.ndarray:
    """Return weights of samples as float64 of shape (rows,), none of them negative."""
    weights = cuda.to_cpu(checks.real_array("Model", argument, weights)).astype(np.float64)
    if weights.shape != (rows,):
        raise checks.error("Model", argument, f"must have the shape ({rows},)", weights.shape)
    check_finite(weights, argument)
    if rows and weights.min() < 0:
        raise checks.error("Model", argument, "must not be negative", float(weights.min()))
    return weights


def class_of_rows(y: np.ndarray | None) -> np.ndarray | None:
    """Return the class of each row of targets, or None where they are not labels.

    Labels are integers (n,), or rows (n, classes) of zeros with a single one.

    Examples
    --------
    >>> class_of_rows(np.array([[0.0, 1.0], [1.0, 0.0]]))
    array([1, 0])
    >>> class_of_rows(np.array([0.5, 1.0])) is None
    True
    """
    if y is None:
        return None
    if y.ndim == 1 and y.dtype.kind in "iub":
        return y
    if y.ndim == 2 and y.shape[1] > 1:
        one_hot = ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all()
        return y.argmax(axis=1) if one_hot else None
    return None


def weights_of_classes(class_weight: dict[int, float], y: np.ndarray) -> np.ndarray:
    """Return each sample's weight by its class, for integer (n,) or one-hot (n, k) labels.

    A column (n, 1) of integers counts as well, and zeros and ones of any dtype. A class that
    the dictionary does not name has the weight 1.

    Raises
    ------
    ValueError
        For targets that are not labels, a class that none of them has, or a negative weight.

    Examples
    --------
    >>> weights_of_classes({1: 5.0}, np.array([0, 1, 1]))
    array([1., 5., 5.])
    """
    if not isinstance(class_weight, dict):
        raise checks.error("Model", "class_weight", "must be {class: weight}", class_weight)
    labels = class_of_rows(y)
    is_column = y.size == len(y)
    if labels is None and is_column and (y.dtype.kind in "iub" or ((y == 0) | (y == 1)).all()):
        labels = y.reshape(-1).astype(np.int64)
    if labels is None:
        raise ValueError(
            f"[Model] 'class_weight' needs integer or one-hot labels, got targets of shape "
            f"{y.shape} and dtype {y.dtype}: use sample_weight."
        )
    classes = y.shape[1] if y.ndim == 2 and y.shape[1] > 1 else int(labels.max(initial=0)) + 1
    weights = np.ones(len(labels))
    for label, weight in class_weight.items():
        if not checks.is_integer(label):
            raise checks.error("Model", "class_weight", "must have integer keys", label)
        if not 0 <= label < classes:
            raise checks.error(
                "Model", "class_weight", f"must name classes of the labels, 0..{classes - 1}", label
            )
        weights[labels == label] = checks.non_negative("Model", "class_weight", weight)
    return weights


# ------------------------------------------------- what is allowed, but is seldom meant


#: The lowest and the highest output of the activations that have one.
RANGES = {
    "Exponential": (0.0, math.inf),
    "HardSigmoid": (0.0, 1.0),
    "ReLU": (0.0, math.inf),
    "ReLU6": (0.0, 6.0),
    "Sigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Softplus": (0.0, math.inf),
    "Softsign": (-1.0, 1.0),
    "Tanh": (-1.0, 1.0),
}


def doubt_about_activation(kind: str, loss: str, margin: float = 0.0) -> str | None:
    """Return what is doubtful about a last layer under a loss, None for nothing.

    Parameters
    ----------
    kind, loss
        Names of the last layer's class, or its activation's, and of the loss's class.
    margin
        That of the hinge loss.

    Examples
    --------
    >>> print(doubt_about_activation("ReLU", "CategoricalCrossentropy"))
    [Model] the last layer should put out logits for CategoricalCrossentropy, got ReLU, whose \
outputs are from 0 to inf: end in a Dense layer without activation, or in Softmax.
    >>> doubt_about_activation("Softmax", "CategoricalCrossentropy") is None
    True
    """
    pair = {"CategoricalCrossentropy": "Softmax", "BinaryCrossentropy": "Sigmoid"}.get(loss)
    low, high = RANGES.get(kind, (-math.inf, math.inf))
    what_comes = f"got {kind}, whose outputs are from {low:g} to {high:g}"
    if pair is not None and kind != pair and kind in RANGES:
        return (
            f"[Model] the last layer should put out logits for {loss}, {what_comes}: end in a "
            f"Dense layer without activation, or in {pair}."
        )
    if loss == "Hinge" and high - low <= margin:
        return (
            f"[Model] the last layer should put out scores that can lie {margin:g} apart, "
            f"the margin of {loss}, {what_comes}: end in a Dense layer without activation."
        )
    if loss == "KLDivergence" and kind != "Softmax":
        return (
            f"[Model] the last layer should put out probabilities for {loss}, got {kind}: end in "
            "Softmax."
        )
    return None


def doubt_about_range(kind: str, y: np.ndarray) -> str | None:
    """Return what is doubtful about targets of numbers for a last activation, None for nothing.

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
    """Return which classes the training labels lack, as a doubt; None where they lack none.

    Nothing is said of fewer than 20 samples a class, where one is easily missing by chance.

    Examples
    --------
    >>> print(doubt_about_classes(np.arange(100) % 3 + 1, 4))
    [Model] 'y' should hold samples of each of the 4 classes of the last layer, got none of class \
0: labels count from 0, and a class that is not there cannot be learned.
    """
    if y.size == len(y) and y.dtype.kind == "f" and bool(((y == 0) | (y == 1)).all()):
        y = y.astype(np.int64)  # yes and no as numbers
    labels = class_of_rows(y.reshape(-1) if y.size == len(y) else y)
    if labels is None or classes is None or len(labels) < 20 * classes:
        return None
    missing = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if not len(missing):
        return None
    named = ", ".join(str(label) for label in missing[:5]) + ", ..." * (len(missing) > 5)
    return (
        f"[Model] 'y' should hold samples of each of the {classes} classes of the last layer, got "
        f"none of class {named}: labels count from 0, and a class that is not there cannot be "
        "learned."
    )


_CONVOLUTIONS = ("Conv2D", "Conv2DTranspose", "DepthwiseConv2D")
_SCALING = ("Rescale", "Standardize", "BatchNorm", "BatchNorm1D", "BatchNorm2D", "LayerNorm")


def doubt_about_layout(shape: tuple[int, ...], first: str) -> str | None:
    """Return a doubt where images for a convolution seem to have their channels last, else None.

    They do where the last axis has 1 or 3 places and the two before are equal and larger.

    Parameters
    ----------
    shape
        Of the inputs, with the batch axis.
    first
        Name of the first layer's class.

    Examples
    --------
    >>> print(doubt_about_layout((60, 28, 28, 1), "Conv2D"))
    [Model] 'x' should be images (N, C, H, W), got (60, 28, 28, 1), which looks like \
(N, H, W, C): give x.transpose(0, 3, 1, 2), and input_shape=(1, 28, 28) to the first layer.
    """
    if first not in _CONVOLUTIONS or len(shape) != 4:
        return None
    _, height, width, channels = shape
    if channels not in (1, 3) or height != width or height <= 4:
        return None
    return (
        f"[Model] 'x' should be images (N, C, H, W), got {shape}, which looks like "
        f"(N, H, W, C): give x.transpose(0, 3, 1, 2), and input_shape="
        f"({channels}, {height}, {width}) to the first layer."
    )


def doubt_about_scale(x: Any, first: str) -> str | None:
    """Return a doubt where inputs look like images of bytes that nobody scaled, else None.

    They do where the first samples are whole numbers of at least 0, the largest of them in
    129..255, with 16 or more in a sample.

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
images of bytes: use x / 255, or give uint8, which is scaled for you.
    """
    if x.dtype == np.uint8 or first in _SCALING or math.prod(x.shape[1:]) < 16:
        return None
    rows = np.asarray(x[:_ROWS_OF_SCALE])
    low, high = rows.min(), rows.max()
    if not (low >= 0 and 128 < high <= 255) or bool((rows % 1).any()):
        return None
    return (
        f"[Model] 'x' should be scaled, got whole numbers from {low:g} to {high:g} of dtype "
        f"{x.dtype}, like images of bytes: use x / 255, or give uint8, which is scaled for you."
    )
