"""Argument checks shared by every module, so that all errors read alike.

An error names the class, the argument, the rule and the value:
`[Conv2D] 'stride' must be positive, got 0.`
Each function returns the checked value in the type that the caller stores.
"""

import difflib
import importlib
import inspect
import itertools
import math
import numbers
import os
import sys
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from . import cuda

_SHOWN_NUMBERS = 20  # of an array, in a message


def error(owner: str, argument: str, rule: str, value: Any) -> ValueError:
    """Return the ValueError `[owner] 'argument' rule, got value.`, for the caller to raise."""
    return ValueError(f"[{owner}] '{argument}' {rule}, got {shown(value)}.")


def shown(value: Any) -> str:
    """Return a value as messages show it: of a large array or table only its shape.

    Examples
    --------
    >>> shown("adam"), shown(np.zeros((64, 3)))
    ("'adam'", 'an array of shape (64, 3) and dtype float64')
    """
    is_array = hasattr(value, "shape") and not isinstance(value, type)
    if not is_array or getattr(value, "size", 0) <= _SHOWN_NUMBERS:
        return repr(value)
    if hasattr(value, "dtype"):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"a {type(value).__name__} of shape {value.shape}"


def unknown(owner: str, argument: str, value: Any, known: Iterable[str]) -> ValueError:
    """Return the ValueError for a name that does not exist; it names the nearest that does.

    Examples
    --------
    >>> print(unknown("Model", "optimizer", "adm", ["adam", "sgd"]))
    [Model] 'optimizer' must be one of 'adam', 'sgd', got 'adm': did you mean 'adam'?
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    hint = f": did you mean {nearest[0]!r}?" if nearest else "."
    choices = ", ".join(repr(name) for name in names)
    return ValueError(f"[{owner}] '{argument}' must be one of {choices}, got {shown(value)}{hint}")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's program that called nn, however deep in nn the reason is."""
    package, level = __file__.removesuffix("checks.py"), 2
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def is_integer(value: Any) -> bool:
    """Return whether `value` is a whole number by type; True and False are not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Return whether `value` is a real number by type; True and False are not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def positive_int(owner: str, argument: str, value: Any) -> int:
    """Return `value` as an int of at least 1."""
    if not is_integer(value) or value < 1:
        raise error(owner, argument, "must be a positive integer", value)
    return int(value)


def non_negative_int(owner: str, argument: str, value: Any) -> int:
    """Return `value` as an int of at least 0."""
    if not is_integer(value) or value < 0:
        raise error(owner, argument, "must be an integer of at least 0", value)
    return int(value)


def finite(owner: str, argument: str, value: Any) -> float:
    """Return `value` as a float after checking that it is a finite number."""
    if not is_number(value) or not math.isfinite(value):
        raise error(owner, argument, "must be a finite number", value)
    return float(value)


def positive(owner: str, argument: str, value: Any) -> float:
    """Return `value` as a finite float above 0."""
    if not is_number(value) or not 0 < value < float("inf"):
        raise error(owner, argument, "must be a positive number", value)
    return float(value)


def non_negative(owner: str, argument: str, value: Any) -> float:
    """Return `value` as a finite float of at least 0."""
    if not is_number(value) or not 0 <= value < float("inf"):
        raise error(owner, argument, "must be a number of at least 0", value)
    return float(value)


def rate(owner: str, argument: str, value: Any) -> float:
    """Return what a function of the user returned as a learning rate, also an array of one."""
    return non_negative(owner, argument, value.item() if hasattr(value, "item") else value)


def fraction(owner: str, argument: str, value: Any, *, include_one: bool = False) -> float:
    """Return `value` as a float in [0, 1), or in [0, 1] if `include_one`."""
    if not is_number(value) or not (0 <= value < 1 or (include_one and value == 1)):
        bracket = "]" if include_one else ")"
        raise error(owner, argument, f"must be a number in [0, 1{bracket}", value)
    return float(value)


def factor(owner: str, argument: str, value: Any) -> float:
    """Return `value`, that a learning rate is multiplied by, as a float in (0, 1]."""
    if not is_number(value) or not 0 < value <= 1:
        raise error(owner, argument, "must be a number in (0, 1]", value)
    return float(value)


def pair(owner: str, argument: str, value: Any, minimum: int = 1) -> tuple[int, int]:
    """Return an integer or a pair of integers (height, width) as a pair, each at least `minimum`.

    Examples
    --------
    >>> pair("Conv2D", "kernel_size", 3)
    (3, 3)
    """
    values = (value, value) if is_integer(value) else value
    rule = "positive" if minimum == 1 else f"at least {minimum}"
    if (
        not isinstance(values, tuple | list)
        or len(values) != 2
        or not all(is_integer(v) for v in values)
    ):
        raise error(owner, argument, "must be an integer or a pair of integers", value)
    if any(v < minimum for v in values):
        raise error(owner, argument, f"must be {rule}", value)
    return int(values[0]), int(values[1])


def boolean(owner: str, argument: str, value: Any) -> bool:
    """Return True or False, or 1 or 0, as a bool; a string such as 'no' is an error."""
    if isinstance(value, bool | np.bool_) or (is_integer(value) and value in (0, 1)):
        return bool(value)
    raise error(owner, argument, "must be True or False", value)


def mask(owner: str, value: Any, shape: tuple[int, ...]) -> Any:
    """Return a mask, a bool array of the samples and steps (N, T), or None."""
    if value is None:
        return None
    if getattr(value, "dtype", None) == np.dtype(bool) and value.shape == shape:
        return value
    got = f"{getattr(value, 'dtype', type(value).__name__)} of shape {np.shape(value)}"
    rule = f"must be a bool array of shape {shape}, True for steps that are there"
    raise error(owner, "mask", rule, got)


def shape(owner: str, argument: str, value: Any) -> tuple[int | None, ...]:
    """Return the sizes of one sample, each at least 1 or None for any, as a tuple."""
    sizes = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    if not sizes or not all(n is None or (is_integer(n) and n >= 1) for n in sizes):
        rule = (
            "must be positive sizes without the batch axis, as in (4,) or (3, 32, 32), where None "
            "stands for any size"
        )
        raise error(owner, argument, rule, value)
    return tuple(None if n is None else int(n) for n in sizes)


def sample_shape(owner: str, argument: str, value: Any) -> tuple[Any, ...]:
    """Return what `shape` does; the first size, of the channels or features, has to be known."""
    sizes = shape(owner, argument, value)
    if sizes[0] is None:
        rule = "must be a shape without the batch axis, as in (784,) or (3, None, None)"
        raise error(owner, argument, rule, value)
    return sizes


def require(owner: str, module: str, name: str, purpose: str) -> None:
    """Raise ImportError, which says what it is needed for, if a module is not installed."""
    try:
        importlib.import_module(module)
    except ImportError as missing:
        install = f"python -m pip install {name.lower() if module == 'PIL' else name}"
        raise ImportError(f"[{owner}] needs {name} to {purpose}: {install}.") from missing


def path(owner: str, argument: str, value: Any) -> str | os.PathLike:
    """Return the name of a file as it is.

    Raises
    ------
    TypeError
        For anything but a string or a `pathlib.Path`.
    """
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"[{owner}] '{argument}' must be the name of a file, got {shown(value)}.")
    if "\0" in os.fsdecode(value):
        raise error(owner, argument, "must not hold a null character", value)
    return value


def takes(function: Any, count: int) -> bool:
    """Return whether a function can be called with `count` arguments; False for a class.

    Examples
    --------
    >>> takes(lambda step: 0.1, 1), takes(lambda: 0.1, 1), takes(0.1, 1)
    (True, False, False)
    """
    if not callable(function) or isinstance(function, type):
        return False
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # a function in C without a signature
        return True
    return True


def positional_names(function: Any) -> list[str]:
    """Return the names of the arguments that a function takes by position, if it tells them.

    Examples
    --------
    >>> positional_names(lambda epoch, lr=0.1: lr), positional_names(min)
    (['epoch', 'lr'], [])
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a function in C without a signature
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in kinds]


def function_of_step(owner: str, argument: str, function: Any) -> None:
    """Raise if a function, to be called with the step, has an argument that is called `epoch`."""
    if positional_names(function)[:1] == ["epoch"]:
        raise ValueError(
            f"[{owner}] {argument!r} is a function of the step, which counts batches, got a "
            "function of 'epoch': pass fit(callbacks=[nn.callbacks.LearningRateScheduler(f)]), or "
            "nn.schedules.by_epoch(f, steps_per_epoch)."
        )


def array(owner: str, argument: str, value: Any) -> Any:
    """Return lists as a NumPy array, an array as it is, on its device.

    Raises
    ------
    ValueError
        For lists of different lengths, and for arrays with masked values, whose masks NumPy's
        functions would ignore.
    TypeError
        For a sparse matrix.
    """
    if np.ma.is_masked(value):
        rule = "must hold no masked values: fill them in, or leave their rows out"
        raise ValueError(f"[{owner}] '{argument}' {rule}, got {type(value).__name__}.")
    if is_sparse(value):
        rule = "must be dense, one number for each feature"
        got = f"a sparse matrix {type(value).__name__} of shape {value.shape}"
        raise TypeError(f"[{owner}] '{argument}' {rule}, got {got}: pass {argument}.toarray().")
    refuse_images(owner, argument, value)
    if isinstance(value, np.memmap):
        return value  # np.asarray would make it an ndarray
    try:
        return cuda.as_array(_numbers_of_table(_numbers_of_tensor(value)))
    except ValueError as reason:
        raise ValueError(
            f"[{owner}] '{argument}' must be an array, or lists of equal lengths, got a "
            f"{type(value).__name__}: {reason} Sequences of different lengths are padded first: "
            "nn.data.sequences.pad."
        ) from reason


def _numbers_of_tensor(value: Any) -> Any:
    """Return a tensor of PyTorch as an array, also one with a gradient, on a GPU or of bfloat16.

    A list or tuple of tensors becomes one of arrays; anything else is returned as it is.
    """
    if isinstance(value, list | tuple) and value and hasattr(value[0], "detach"):
        return [_numbers_of_tensor(part) for part in value]
    if not (hasattr(value, "detach") and hasattr(value, "cpu")):
        return value
    value = value.detach().cpu()
    return (value.float() if "bfloat16" in str(value.dtype) else value).numpy()


def _numbers_of_table(value: Any) -> Any:
    """Return a table or column of pandas as an array if each column holds numbers or bools.

    NumPy alone makes objects of them if they are of several kinds, or of pandas' own that may have
    gaps, which become NaN. Anything else is returned as it is.
    """
    kinds = getattr(value, "dtypes", None)
    if kinds is None or not hasattr(value, "isna"):
        return value
    letters = {getattr(kind, "kind", "O") for kind in np.atleast_1d(np.asarray(kinds, object))}
    if not letters or not letters <= set("biuf"):
        return value
    if bool(np.asarray(value.isna()).any()):
        return value.to_numpy(dtype=np.float64, na_value=np.nan)
    if "f" in letters:
        made = np.asarray(value)
        return made if made.dtype.kind == "f" else value.to_numpy(dtype=np.float64)
    return value.to_numpy(dtype=bool if letters == {"b"} else np.int64)


def real_array(owner: str, argument: str, value: Any) -> Any:
    """Return an array of real numbers, as `array` does.

    Raises
    ------
    ValueError
        As `array` does.
    TypeError
        For strings, dates, complex numbers, or anything else.
    """
    made = array(owner, argument, value)
    if made.dtype.kind not in "fiub":
        raise not_real(owner, argument, value, made.dtype)
    return made


def not_real(owner: str, argument: str, value: Any, dtype: Any) -> TypeError:
    """Return the TypeError for values that are not real numbers; it says what to do.

    Parameters
    ----------
    owner, argument, value
        As in `error`. The columns of a table are named.
    dtype
        Of the array that NumPy makes of the value.
    """
    columns: Any = getattr(value, "dtypes", None)  # of a table, as pandas has it
    mixed = dict(columns.items()) if hasattr(columns, "items") else {}
    named = [f"{name!r} ({kind})" for name, kind in mixed.items() if not _is_plain(kind)]
    got, advice = f"an array of dtype {dtype}", "."
    if argument == "y" and dtype.kind in "UST":
        advice = ": give each class a number, with np.unique(y, return_inverse=True)[1]."
    elif dtype.kind in "UST":
        advice = (
            ": pass numbers, as by np.asarray(x).astype('float32') if the texts are numbers; "
            "nn.data.text.Vocabulary encodes a text as ids."
        )
        if isinstance(value, str | os.PathLike):
            advice = ": read the file first, with pandas.read_csv or np.loadtxt for example."
    elif any(getattr(kind, "kind", "O") in "mM" for kind in mixed.values()):
        got += f" from the columns {', '.join(named[:5])}{', ...' * (len(named) > 5)}"
        advice = (
            ": make a number of each time, as by (column - column.min()).dt.total_seconds() or "
            "column.dt.month, and encode texts, with pandas.get_dummies for example."
        )
    elif mixed:
        got += f" from the columns {', '.join(named[:5])}{', ...' * (len(named) > 5)}"
        advice = (
            f": pass {argument}.astype('float32') if all columns are numbers without gaps; fill "
            "gaps in, and encode texts, with pandas.get_dummies for example."
        )
    elif dtype.kind == "O" and argument == "y":
        advice = (
            ": drop the rows without a label and pass labels that are texts as one column, "
            "y['name']; or pass y.astype('float32') if all are numbers without gaps."
        )
    elif dtype.kind == "O":
        advice = f": pass {argument}.astype('float32') if all are numbers without gaps."
    return TypeError(f"[{owner}] '{argument}' must hold real numbers, got {got}{advice}")


def refuse_images(owner: str, argument: str, value: Any) -> None:
    """Raise TypeError for images of Pillow's, and for the bytes of image files, alone or in a list.

    Examples
    --------
    >>> refuse_images("Model", "x", [b"content of a PNG"])
    Traceback (most recent call last):
        ...
    TypeError: [Model] 'x' must be an array of numbers, got a list of bytes: \
nn.data.load_image(image, size) makes (C, H, W) of each, of bytes by io.BytesIO(content); \
np.stack them to (N, C, H, W).
    """
    is_list = isinstance(value, list | tuple) and len(value) > 0
    one = value[0] if is_list else value
    if not (isinstance(one, bytes | bytearray) or hasattr(one, "getexif")):
        return
    kind = type(one).__name__
    got = f"a {type(value).__name__} of {kind}" if is_list else kind
    raise TypeError(
        f"[{owner}] '{argument}' must be an array of numbers, got {got}: nn.data.load_image(image, "
        "size) makes (C, H, W) of each, of bytes by io.BytesIO(content); np.stack them to "
        "(N, C, H, W)."
    )


def same_rows(owner: str, **tables: Any) -> None:
    """Raise ValueError if two tables of pandas hold rows of the same labels in another order.

    Parameters
    ----------
    owner
        As in `error`.
    **tables
        The arguments by their names: tables, columns, and anything else, which has no labels.
    """
    indices: dict[str, Any] = {k: getattr(value, "index", None) for k, value in tables.items()}
    labeled = {k: index for k, index in indices.items() if hasattr(index, "equals")}  # no lists
    for (x, first), (y, second) in itertools.combinations(labeled.items(), 2):
        if first.equals(second) or len(first) != len(second) or set(first) != set(second):
            continue
        raise ValueError(
            f"[{owner}] '{y}' must have its rows in the order of those of '{x}', got the same "
            f"labels in another: pass {y}.loc[{x}.index], or arrays if they belong together as "
            "they are."
        )


def is_sparse(value: Any) -> bool:
    """Return whether a value is a sparse matrix, as of scipy.sparse."""
    return hasattr(value, "toarray") and hasattr(value, "nnz")


def _is_plain(dtype: Any) -> bool:
    """Return whether a column has a type whose values are numbers, or True and False."""
    return getattr(dtype, "kind", "O") in "biuf"


class FileFormatError(ValueError):
    """A file that is damaged or of another kind, or a model that cannot be written to one."""
