"""The checks of targets and of weights of samples that the losses share."""

import math
from typing import Any

import numpy as np

from .. import checks, cuda, kernels

Array = Any  # numpy.ndarray or cupy.ndarray


def check_shape(owner: str, y_true: Array, shape: tuple[int, ...]) -> None:
    """Raise if targets have another shape than the predictions, or are not finite."""
    if y_true.shape != shape:
        # (n,) against (n, 1) would broadcast to (n, n) without an error.
        fits = y_true.size == math.prod(shape)
        hint = "give the last layer as many outputs as a row of 'y_true' has"
        if fits:
            hint = f"use y_true.reshape{shape}"
        elif y_true.shape == shape[:1] and len(shape) == 2 and y_true.dtype.kind in "iub":
            hint = (
                f"for {shape[1]} classes use the loss 'categorical_crossentropy' or one-hot rows, "
                f"np.eye({shape[1]})[y_true]; for numbers, a last layer with one output"
            )
        raise ValueError(
            f"[{owner}] expects 'y_true' of the predictions' shape {shape}, got {y_true.shape}: "
            f"{hint}."
        )
    if y_true.dtype.kind not in "fiub":
        raise checks.error(owner, "y_true", "must hold numbers", y_true.dtype)
    if y_true.dtype.kind == "f" and not cuda.all_finite(y_true):
        raise ValueError(f"[{owner}] 'y_true' must be finite, got NaN or infinite values.")


def check_range(
    owner: str, y_true: Array, low: float, high: float, hint: str | None = None
) -> None:
    """Raise if a target is outside low..high; the message names it, and ends with the hint."""
    for value, wrong in ((y_true.min(), y_true.min() < low), (y_true.max(), y_true.max() > high)):
        if wrong:
            error = checks.error(owner, "y_true", f"must be in {low}..{high}", value.item())
            raise error if hint is None else ValueError(f"{str(error)[:-1]}: {hint}.")


def check_classes_axis(owner: str, shape: tuple[int, ...]) -> None:
    """Raise unless predictions have an axis of classes."""
    if len(shape) not in (2, 3, 4):
        raise ValueError(
            f"[{owner}] expects predictions (N, classes), (N, T, classes) or (N, classes, H, W), "
            f"got {shape}."
        )


def check_classes(owner: str, y_true: Array, shape: tuple[int, ...]) -> None:
    """Raise unless targets are labels, or distributions over the classes that sum to 1.

    For predictions (N, classes) labels are (N,), for sequences (N, T, classes) they are (N, T), and
    for images (N, classes, H, W) they are (N, H, W). Distributions have the predictions' shape.
    """
    check_classes_axis(owner, shape)
    axis = kernels.class_axis(len(shape))
    if shape[axis] < 2:
        raise ValueError(
            f"[{owner}] expects at least 2 classes, got predictions of shape {shape}: "
            "use 'binary_crossentropy' for one output."
        )
    if y_true.shape == shape:
        check_distributions(owner, y_true)
        return
    labels = labels_shape(shape)
    if y_true.shape != labels:
        hint = "use y_true.reshape(-1) for a column of labels"
        if len(shape) > 2:
            hint = f"use y_true.reshape{labels}"
            if y_true.size in (shape[0], shape[0] * shape[axis]):
                hint = "for one label a sample, add Flatten() and Dense(classes) before the loss"
        raise ValueError(
            f"[{owner}] expects 'y_true' as labels of shape {labels} or rows of shape {shape}, "
            f"got {y_true.shape}: {hint}."
        )
    if y_true.dtype.kind == "f" and not cuda.all_finite(y_true):
        raise ValueError(f"[{owner}] 'y_true' must be finite, got NaN or infinite values.")
    if y_true.dtype.kind not in "iu":
        raise ValueError(
            f"[{owner}] 'y_true' must hold integer labels, got dtype {y_true.dtype}: "
            "use y_true.astype(int)."
        )
    hint = "labels count from 0, and the last layer has an output for each class"
    if y_true.min() == 1 and y_true.max() == shape[axis]:
        hint = "labels count from 0, use y_true - 1"
    check_range(owner, y_true, 0, shape[axis] - 1, hint)


def check_distributions(owner: str, rows: Array) -> None:
    """Raise unless each row of classes is a distribution: non-negative, with the sum 1."""
    if rows.dtype.kind not in "fiub":
        raise checks.error(owner, "y_true", "must hold numbers", rows.dtype)
    rows = kernels.class_rows(rows)
    sums = rows.sum(axis=1, dtype=np.float64)
    # Written so that NaN, for which every comparison is false, is an error too.
    wrong = ~((rows.min(axis=1) >= 0) & (abs(sums - 1) <= 1e-4))
    if bool(wrong.any()):
        row = int(wrong.argmax())
        rule = f"must have rows of at least 0 that sum to 1, but row {row}"
        values = cuda.to_cpu(rows[row])
        raise ValueError(f"[{owner}] 'y_true' {rule} is {np.array2string(values, threshold=12)}.")


def check_weights(owner: str, weights: Any, y_pred: Array) -> Array:
    """Return weights as an array of the predictions' dtype, on their device.

    They are those of samples, (N,), or of steps or pixels, in the shape of the labels.
    """
    xp = cuda.get_array_module(y_pred)
    weights = checks.real_array(owner, "sample_weight", weights)
    weights = xp.asarray(weights, dtype=y_pred.dtype)
    labels = labels_shape(y_pred.shape)
    if weights.shape not in (y_pred.shape[:1], labels):
        rule = f"must have the shape {y_pred.shape[:1]}, one weight for each sample"
        rule += "" if len(labels) == 1 else f", or {labels}"
        raise checks.error(owner, "sample_weight", rule, weights.shape)
    if not bool(((weights >= 0) & (weights < math.inf)).all()):
        lowest, highest = float(weights.min()), float(weights.max())
        raise ValueError(
            f"[{owner}] 'sample_weight' must be at least 0 and not NaN or infinite, "
            f"got weights from {lowest:g} to {highest:g}."
        )
    return weights


def labels_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the labels of predictions: (N,), (N, T) of sequences, (N, H, W).

    Examples
    --------
    >>> labels_shape((8, 10)), labels_shape((8, 20, 3)), labels_shape((8, 3, 5, 6))
    ((8,), (8, 20), (8, 5, 6))
    """
    axis = kernels.class_axis(len(shape))
    return (*shape[:axis], *shape[axis + 1 :])


def weights_of_steps(
    owner: str, mask: Any, y_pred: Array, sample_weight: Array | None = None
) -> Array:
    """Return a mask (N, T) as weights, by which the mean over all is that over the steps there.

    Parameters
    ----------
    owner
        Class for messages.
    mask
        True for steps that are there.
    y_pred
        The predictions (N, T, ...).
    sample_weight
        Weights (N,) or (N, T) that these are multiplied by.

    Raises
    ------
    ValueError
        For a mask of another shape, or one without a step.

    Examples
    --------
    >>> weights_of_steps("MSE", np.array([[True, True, False]]), np.zeros((1, 3, 1)))
    array([[1.5, 1.5, 0. ]])
    """
    xp = cuda.get_array_module(y_pred)
    mask = xp.asarray(mask)
    if y_pred.ndim != 3:
        rule = f"must be None for predictions {y_pred.shape}, as only (N, T, outputs) have steps"
        raise checks.error(owner, "mask", rule, mask.shape)
    checks.mask(owner, mask, y_pred.shape[:2])
    there = int(mask.sum())
    if there == 0:
        raise ValueError(
            f"[{owner}] 'mask' must leave at least one step in the batch, got none of {mask.shape}"
            ": the mean over no step is undefined. Leave out samples that are padding alone."
        )
    weights = mask * (mask.size / there)
    return weights if sample_weight is None else product_of_weights(sample_weight, weights)


def product_of_weights(weights: Array, others: Array) -> Array:
    """Return the products of weights of samples, (N,), or of labels, as (N, T).

    Examples
    --------
    >>> product_of_weights(np.array([[1.0, 2.0]]), np.array([3.0]))
    array([[3., 6.]])
    """
    fewer, more = sorted((weights, others), key=np.ndim)
    return along_batch(fewer, more) * more


def along_batch(weights: Array, array: Array) -> Array:
    """Return weights with as many axes as `array`: those of samples (N,) as (N, 1, ...).

    Those of labels, (N, T) or (N, H, W), get an axis for the classes where `array` has one.
    """
    if weights.ndim == 1:
        return weights.reshape(-1, *[1] * (array.ndim - 1))  # (N,) -> (N, 1, ...)
    if weights.ndim == array.ndim:
        return weights
    axis = kernels.class_axis(array.ndim)
    return weights.reshape(*weights.shape[:axis], 1, *weights.shape[axis:])


def fits_axes(shape: tuple[int, ...], outputs: Array) -> bool:
    """Return whether losses (N, ...) have axes of the outputs, in their order, after the first.

    Examples
    --------
    >>> outputs = np.zeros((8, 20, 3))
    >>> [fits_axes(shape, outputs) for shape in [(8, 20), (8, 20, 1), (8, 20, 3), (8, 8)]]
    [True, True, True, False]
    """
    sizes = iter(outputs.shape[1:])
    return shape == outputs.shape or all(n == 1 or n in sizes for n in shape[1:])


def losses_error(owner: str, losses: Any, outputs: Array) -> ValueError:
    """Return the error for losses that are not those of the samples, so that no weight fits."""
    return ValueError(
        f"[{owner}] sample_losses() must return the loss of each sample, {outputs.shape[:1]}, or "
        f"of each element, {outputs.shape}, got {np.shape(losses)}: do not take the mean over the "
        "batch, which forward() does."
    )
