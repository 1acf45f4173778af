"""The checks of users' data: inputs, labels and weights of samples.

`fit`, `evaluate`, `predict` and `train_step` call these functions before they compute anything, on
either device.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import checks, cuda, kernels

Array = Any  # numpy.ndarray or cupy.ndarray
_NUMBERS_AT_ONCE = 1 << 22  # so that the check of a large set needs little memory


def check_inputs(x: Any, input_shape: tuple[int | None, ...] | None) -> Array:
    """Return inputs as an array of numbers of the shape that the model takes.

    Parameters
    ----------
    x
        Array or nested lists, samples along the first axis; (N,) for a model of one feature.
    input_shape
        The model's, with None for the batch axis; None if the model is not built.

    Raises
    ------
    TypeError
        For values that are not real numbers.
    ValueError
        For another shape.
    """
    check_one_input(x, input_shape)
    x = checks.real_array("Model", "x", x)
    if x.ndim == 1 and input_shape is not None and tuple(input_shape[1:]) == (1,):
        x = x[:, np.newaxis]  # (N,) -> (N, 1)
    check_shape(x, input_shape)
    return x


def check_one_input(
    x: Any, input_shape: tuple[int | None, ...] | None, may_be_batches: bool = False
) -> None:
    """Raise if x is several inputs; a list that begins with one of the model may be batches."""
    is_mapping = isinstance(x, Mapping) and not checks.is_sparse(x)  # as SciPy's dok_matrix is
    parts = list(x.values()) if is_mapping else x
    if is_mapping or _are_several(x, input_shape, may_be_batches):
        shapes = ", ".join(str(np.shape(part)) for part in parts)
        raise TypeError(
            f"[Model] 'x' must be one array, got a {type(x).__name__} of {len(x)}, {shapes}: a "
            "model is a sequence of layers with one input; join the columns of tables by "
            "np.concatenate([a, b], axis=1), images of one size along their channels."
        )


def _are_several(x: Any, input_shape: tuple[int | None, ...] | None, may_be_batches: bool) -> bool:
    if not isinstance(x, list | tuple) or len(x) < 2 or input_shape is None:
        return False
    shapes = [tuple(part.shape) if hasattr(part, "ndim") else () for part in x]
    axes, one_length = {len(shape) for shape in shapes}, len({s[:1] for s in shapes}) == 1
    if len(axes) > 1:  # a table and images
        return min(axes) > 0 and one_length and len(input_shape) in axes
    fits = fits_shape(shapes[0][1:], tuple(input_shape[1:]))
    return axes == {len(input_shape)} and (not may_be_batches or (one_length and not fits))


def check_shape(x: Any, input_shape: tuple[int | None, ...] | None) -> None:
    """Raise if the dtype or shape of inputs does not fit the model; see `check_inputs`.

    The inputs are not read: those of a `Dataset` may be in a file.
    """
    if x.dtype.kind not in "fiub":
        raise checks.not_real("Model", "x", x, x.dtype)
    if x.ndim < 2:
        raise ValueError(
            f"[Model] 'x' must have a batch axis and at least one more, got shape {x.shape}"
            f"{_flat_hint(x.shape, input_shape)}"
        )
    if input_shape is not None and not fits_shape(x.shape[1:], input_shape[1:]):
        hint = _shape_hint(x.shape, tuple(input_shape))
        raise ValueError(
            f"[Model] expects inputs of shape {tuple(input_shape)}, got {x.shape}{hint}"
        )


def fits_shape(shape: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    """Return whether a shape has the wanted sizes, where None stands for any size.

    Examples
    --------
    >>> fits_shape((3, 32, 48), (3, None, None)), fits_shape((3, 32), (3, None, None))
    (True, False)
    """
    return shape == wanted or (
        len(shape) == len(wanted)
        and all(
            any_size is None or n == any_size for n, any_size in zip(shape, wanted, strict=True)
        )
    )


def _flat_hint(shape: tuple[int, ...], input_shape: tuple[int | None, ...] | None) -> str:
    """Return the way out for inputs without a second axis, as the end of a sentence."""
    wanted = None if input_shape is None else tuple(input_shape[1:])
    hints = []
    if len(shape) == 1 and wanted in (None, (1,)):
        hints.append("samples of one feature as x[:, np.newaxis]")
    if wanted in (None, shape):
        hints.append("a single sample as x[np.newaxis]")
    if not hints:
        return f": the model takes inputs of shape {tuple(input_shape or ())}."
    return f": give {', '.join(hints)}."


def channels_first(shape: Sequence[int | None], is_sure: bool = False) -> str | None:
    """Return what to do about images whose channels seem to be the last axis, or None.

    They seem so if the last axis has the length 1 to 4 and the two before it are longer. Before an
    error, images of any such size count. Otherwise those of 1 and 2 channels must be square, as
    signals of many channels are (channels, time, 1).

    Parameters
    ----------
    shape
        Of the inputs, with the batch axis.
    is_sure
        Whether there is an error already.

    Examples
    --------
    >>> channels_first((None, 28, 28, 1))
    'images are (N, C, H, W): pass x.transpose(0, 3, 1, 2), and input_shape=(1, 28, 28)'
    >>> channels_first((None, 64, 100, 1)) is None
    True
    """
    if len(shape) != 4:
        return None
    height, width, channels = (int(size or 0) for size in shape[1:])
    if not 1 <= channels <= 4 or min(height, width) <= 4:
        return None
    if not is_sure and height != width and channels < 3:
        return None
    return (
        "images are (N, C, H, W): pass x.transpose(0, 3, 1, 2), and "
        f"input_shape=({channels}, {height}, {width})"
    )


def _shape_hint(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> str:
    """Return the way out of the likeliest mistakes, as the end of a sentence."""
    if shape == wanted[1:]:
        return ": give a single sample as x[np.newaxis]."
    if len(wanted) == len(shape) == 4 and (shape[3], *shape[1:3]) == wanted[1:]:
        return ": these are channels-last, use x.transpose(0, 3, 1, 2)."
    if len(wanted) == len(shape) == 4 and (*shape[2:], shape[1]) == wanted[1:]:
        return f": the model was built for channels-last images, make it for {shape[1:]}."
    if len(wanted) == 4 and wanted[1] == 1 and shape[1:] == wanted[2:]:
        return ": give grey images a channel axis, x[:, np.newaxis]."
    return "."


def check_finite(
    array: Array, argument: str, dtype: str | None = None, among: range | None = None
) -> None:
    """Raise if an array holds NaN or infinite values; the message names the first row.

    With a `dtype` numbers that are too large for it count as infinite. Only the rows `among` are
    read; None for all.
    """
    if array.dtype.kind != "f":
        return
    is_cast = dtype is not None and np.dtype(dtype).itemsize < array.dtype.itemsize
    for start, rows in _chunks(array, among):
        if is_cast:
            with np.errstate(over="ignore"):
                rows = rows.astype(dtype)
        if rows.size and not all(map(math.isfinite, kernels.value_range(rows))):
            finite = cuda.get_array_module(rows).isfinite(rows)
            bad_rows = ~finite.reshape(len(finite), -1).all(axis=1)
            row = start + int(bad_rows.argmax())
            raise ValueError(
                f"[Model] '{argument}' must be finite, got NaN or infinite values in row {row}: "
                "clean the data, with np.nan_to_num for example."
            )


def _chunks(array: Array, among: range | None) -> Iterator[tuple[int, Array]]:
    """Yield the rows of an array, or those `among` them, a part at a time with its first row."""
    step = max(1, _NUMBERS_AT_ONCE // max(math.prod(array.shape[1:]), 1))
    among = range(len(array)) if among is None else among
    for start in among[::step]:
        yield start, array[start : min(start + step, among.stop)]


def check_ids(x: Any, num_ids: int | None, among: range | None = None) -> None:
    """Raise unless inputs are ids of a vocabulary, integers 0..num_ids-1; None allows all.

    Only the rows `among` are read; None for all.

    Examples
    --------
    >>> check_ids(np.array([[3, 5]]), 5)
    Traceback (most recent call last):
        ...
    ValueError: [Embedding] 'x' must hold ids in 0..4, got 5 in row 0.
    """
    if num_ids is None:
        return
    if x.dtype.kind not in "iu":
        raise TypeError(
            f"[Embedding] 'x' must hold integer ids, got an array of dtype {x.dtype}: "
            "use x.astype(int)."
        )
    for start, rows in _chunks(x, among):
        wrong = (rows < 0) | (rows >= num_ids)
        if wrong.any():
            row = int(wrong.reshape(len(rows), -1).any(axis=1).argmax())
            value = int(rows[row][wrong[row]][0])
            rule = f"must hold ids in 0..{num_ids - 1}"
            raise ValueError(f"[Embedding] 'x' {rule}, got {value} in row {start + row}.")


def is_byte_image(x: Any) -> bool:
    """Return whether inputs are images of bytes, uint8 (N, C, H, W), which nn divides by 255.

    Other bytes, such as bits, counts or the columns of a table, are numbers and stay as they are.

    Examples
    --------
    >>> images, table = np.zeros((2, 1, 8, 8), np.uint8), np.zeros((2, 8), np.uint8)
    >>> is_byte_image(images), is_byte_image(table), is_byte_image(images.astype("float32"))
    (True, False, False)
    """
    return x.dtype == np.uint8 and x.ndim == 4


def check_scaled_once(x: Any, model: Any) -> None:
    """Raise if uint8 images, which are scaled to [0, 1], would be scaled a second time.

    Inputs `x` are not read; `model.scaler_of_bytes` is asked only for images of bytes.
    """
    if is_byte_image(x) and (scaler := model.scaler_of_bytes) is not None:
        raise ValueError(
            "[Model] 'x' holds images of bytes (uint8), which are divided by 255, and the model's "
            f"{scaler} takes 0..255 and would scale them again: pass x.astype('float32'), or leave "
            "that layer out."
        )


def check_byte_targets(x: Any, y: Array) -> None:
    """Raise if targets y of a regression are images of bytes, not scaled as inputs x (not read)."""
    are_several = y.dtype == np.uint8 and y.size > len(y)
    if are_several and (y.ndim == 4 or is_byte_image(x)) and int(y.max()) > 1:
        raise ValueError(
            f"[Model] 'y' must be scaled as images of bytes in 'x' are, got bytes (uint8) up to "
            f"{int(y.max())} as targets, which are not divided by 255: pass y / np.float32(255)."
        )


def check_class_names(names: Any, output_shape: tuple[int | None, ...] | None) -> list[str] | None:
    """Return names of classes as a list; None for None.

    Parameters
    ----------
    names
        Texts, one for each output; two for a single output.
    output_shape
        The model's, with None for the batch axis; None if the model is not built.

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
    """Return names of classes, or None if the outputs are another number of classes.

    Anything but a list is returned as it is, for `check_class_names` to refuse.

    Examples
    --------
    >>> fitting_class_names(["cat", "dog"], (None, 2)), fitting_class_names(["cat"], (None, 2))
    (['cat', 'dog'], None)
    """
    outputs = classes_of(output_shape)
    has_other_number = outputs is not None and isinstance(names, list) and len(names) != outputs
    return None if has_other_number else names


def outputs_of(output_shape: tuple[int | None, ...] | None) -> int | None:
    """Return the number of outputs for each label: of a sample, a step or a pixel.

    Examples
    --------
    >>> outputs_of((None, 10)), outputs_of((None, 20, 3)), outputs_of((None, 3, 8, 8))
    (10, 3, 3)
    """
    return None if output_shape is None else output_shape[kernels.class_axis(len(output_shape))]


def classes_of(output_shape: tuple[int | None, ...] | None) -> int | None:
    """Return the number of classes of a model's output, two for a single number.

    Examples
    --------
    >>> classes_of((None, 10)), classes_of((None, 1)), classes_of(None)
    (10, 2, None)
    """
    outputs = outputs_of(output_shape)
    return 2 if outputs == 1 else outputs


def check_weights(
    weights: Any, argument: str, rows: int, labels: tuple[int, ...] | None = None
) -> np.ndarray:
    """Return weights of samples (rows,), or of labels, as float64, none of them negative.

    Parameters
    ----------
    weights
        The weights.
    argument
        Their name in messages.
    rows
        The number of samples.
    labels
        The shape of the labels, (N, T) of sequences or (N, H, W) of images; None if it is not
        known yet.
    """
    weights = cuda.to_cpu(checks.real_array("Model", argument, weights)).astype(np.float64)
    fits = weights.shape in ((rows,), labels)
    if not (fits or (labels is None and weights.ndim > 1 and len(weights) == rows)):
        rule = f"must have the shape ({rows},)"
        rule += f" or that of the labels, {labels}" if labels and len(labels) > 1 else ""
        raise checks.error("Model", argument, rule, weights.shape)
    check_finite(weights, argument)
    if weights.size and weights.min() < 0:
        raise checks.error("Model", argument, "must not be negative", float(weights.min()))
    return weights


def class_of_rows(y: np.ndarray | None) -> np.ndarray | None:
    """Return the class of each row of targets, or None if they are not labels.

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


def look_like_classes(y: Array, outputs: int | None) -> bool:
    """Return whether the targets of a loss are classes, if its type does not say so.

    Examples
    --------
    >>> look_like_classes(np.array([0, 2]), 3), look_like_classes(np.array([0.5, 2.0]), 1)
    (True, False)
    """
    if class_of_rows(y) is not None and outputs != 1:
        return True
    return outputs == 1 and y.dtype.kind in "iub" and bool(((y == 0) | (y == 1)).all())


def labels_of(y: np.ndarray) -> np.ndarray | None:
    """Return the class of each row, as `class_of_rows`, also of a column and of zeros and ones.

    Examples
    --------
    >>> labels_of(np.array([[2], [0]])), labels_of(np.array([0.0, 1.0]))
    (array([2, 0]), array([0, 1]))
    """
    column = y.reshape(-1) if y.size == len(y) else y  # (N, 1) -> (N,)
    if column.dtype.kind in "fb" and ((column == 0) | (column == 1)).all() and column.ndim == 1:
        column = column.astype(np.int64)
    return class_of_rows(column)


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
    labels = labels_of(y)
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
