"""What each field of the JSON in a model file must be, and the check of all of them.

A rule is a dictionary of the fields of an object (`?` after the name of one that may be missing,
`*` for any other name), a list with the rule of its items, a tuple with the rule of a value that
may also be null, or a `Kind` of value.
"""

import math
import reprlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import checks

__all__ = ["FIELDS", "check", "check_counters", "check_like"]

_MOST = 1 << 53  # of whatever is counted: above it, floats skip integers


class Kind(NamedTuple):
    """A kind of value: the rule for messages, and whether a value follows it."""

    rule: str
    fits: Callable[[Any], bool]


def _integer(low: int, high: int) -> Kind:
    rule = f"must be an integer from {low} to {high}"
    return Kind(rule, lambda value: checks.is_integer(value) and low <= value <= high)


def _is_shape(value: Any) -> bool:
    """Return whether a value is (None, 3, 32, 32), for example."""
    sizes = value[1:] if isinstance(value, list | tuple) else ()
    return (
        len(sizes) > 0
        and value[0] is None
        and all(size is None or _SIZE.fits(size) for size in sizes)
    )


def _words(bits: int) -> Kind:
    """Return the kind of an integer, or a list of integers, in the state of a generator."""

    def fits(value: Any) -> bool:
        words = value if isinstance(value, list) else [value]
        return bool(words) and all(checks.is_integer(w) and 0 <= w < 1 << bits for w in words)

    return Kind(f"must be integers of at least 0 and of at most {bits} bits", fits)


def _is_range(value: Any) -> bool:
    """Return whether a value is two finite numbers in order."""
    numbers = value if isinstance(value, list | tuple) and len(value) == 2 else (1, 0)
    # Compared, not converted: JSON has integers that no float can hold.
    return all(checks.is_number(n) and abs(n) <= sys.float_info.max for n in numbers) and (
        numbers[0] <= numbers[1]
    )


_COUNT, _SIZE = _integer(0, _MOST), _integer(1, _MOST)
_NUMBER = Kind("must be a number", checks.is_number)
_RATE = Kind("must be a number of at least 0", lambda v: checks.is_number(v) and 0 <= v < math.inf)
_TEXT = Kind("must be a string", lambda value: isinstance(value, str))
_FLAG = Kind("must be true or false", lambda value: isinstance(value, bool))
_OBJECT = Kind("must be an object", lambda value: isinstance(value, dict))
_LIST = Kind("must be a list", lambda value: isinstance(value, list | tuple))
_ANY = Kind("", lambda value: True)
_FIGURE = Kind(
    "must be a number, not NaN", lambda value: checks.is_number(value) and value == value
)
_DTYPE = Kind("must be 'float32' or 'float64'", lambda value: value in ("float32", "float64"))
_SHAPE = Kind("must be [null, ...] with positive sizes, or null for any", _is_shape)
_RANGE = Kind("must be two finite numbers, the lowest first", _is_range)

_PART = {"class": _TEXT, "config": _OBJECT}
_VOCABULARY = {
    "tokens": [_TEXT],
    "level": _TEXT,
    **dict.fromkeys(("padding", "unknown", "lowercase"), _FLAG),
}
_GENERATOR = {"bit_generator": _TEXT, "state": {"*": _words(128)}, "*": _words(64)}

_COUNTS = Kind("must hold integers of at least 0", bool)
_ADDED = ("cooldown",)  # since version 0.1

#: Kinds of the values in the state of a callback or a metric, by the type of its own value.
_KINDS: dict[type, Any] = {
    bool: _FLAG,
    int: _COUNT,
    float: _FIGURE,
    str: _TEXT,
    dict: _OBJECT,
    type(None): (_FIGURE,),
}

#: The rules of the two JSON texts.
FIELDS = {
    "architecture": {
        "layers": [{"class": _TEXT, "config?": (_OBJECT,)}],
        "dtype?": _DTYPE,
        "name?": (_TEXT,),
        "input_shape?": (_SHAPE,),
        "class_names?": ([_TEXT],),
        "vocabulary?": (_VOCABULARY,),
        "input_range?": (_RANGE,),
        "feature_names?": ([_TEXT],),
        "target_names?": ([_TEXT],),
        "loss?": (_PART,),
        "class?": (_TEXT,),  # of a subclass of Model with a forward of its own
        "recompute?": _FLAG,  # of version 0.1
    },
    "training": {
        "loss": (_PART,),
        "optimizer": ({"class": _TEXT, "config": {"lr?": (_RATE,), "*": _ANY}},),
        "schedule": _FLAG,
        "metrics": [{"name": _TEXT, "threshold": (_NUMBER,)}],
        "accumulation?": {"steps": _SIZE, "batches": _COUNT, "samples": _COUNT},
        "history": {"*": [_NUMBER]},
        "epoch": _COUNT,
        "split_seed": _integer(0, 2**64 - 1),
        "generators": [_GENERATOR],
        "callbacks?": [{"class": _TEXT, "state": _OBJECT}],
        "within_epoch?": {
            "batch_size": _SIZE,
            "order": _GENERATOR,
            "batches": _SIZE,
            "samples": _SIZE,
            "total": _FIGURE,
            "lr": _NUMBER,
            "metrics": {"*": _OBJECT},
        },
    },
}


def check(value: Any, rule: Any, name: str) -> None:
    """Raise ValueError, which names the field, unless a value follows a rule.

    Examples
    --------
    >>> check({"steps": [1, -1]}, {"steps": [_COUNT]}, "saved")
    Traceback (most recent call last):
    ValueError: 'saved.steps[1]' must be an integer from 0 to 9007199254740992, got -1
    """
    if isinstance(rule, Kind):
        if not rule.fits(value):
            raise ValueError(f"'{name}' {rule.rule}, got {reprlib.repr(value)}")
    elif isinstance(rule, tuple):
        if value is not None:
            check(value, rule[0], name)
    elif isinstance(rule, list):
        check(value, _LIST, name)
        for index, item in enumerate(value):
            check(item, rule[0], f"{name}[{index}]")
    else:
        check(value, _OBJECT, name)
        rules = {key.removesuffix("?"): inner for key, inner in rule.items()}
        for key in rule:
            if key not in value and not key.endswith(("?", "*")):
                raise ValueError(f"'{name}' lacks the field '{key}'")
        for key, item in value.items():
            if key not in rules and "*" not in rules:
                raise ValueError(f"'{name}' has an unknown field {reprlib.repr(key)}")
            check(item, rules.get(key, rules.get("*")), f"{name}.{key}")


def check_counters(arrays: dict[str, np.ndarray]) -> None:
    """Raise ValueError unless the counters among the optimizer's arrays are counts."""
    for key in arrays.keys() & {"iterations", "ema_steps"}:
        check(arrays[key].tolist(), _COUNT, f"optimizer.{key}")


def check_like(state: dict[str, Any], own: dict[str, Any]) -> None:
    """Raise ValueError unless the values of a saved state are of the kinds of `own`.

    A missing count is a KeyError. What `own` does not have is left to whoever loads the state.

    Examples
    --------
    >>> check_like({"samples": 3.5}, {"samples": 0})
    Traceback (most recent call last):
    ValueError: 'state.samples' must be an integer from 0 to 9007199254740992, got 3.5
    """
    for key, value in own.items():
        found: Any = state.get(key)
        if key not in state:
            if type(value) in (int, np.ndarray) and key not in _ADDED:
                raise KeyError(key)
        elif not hasattr(found, "dtype"):
            check(found, _KINDS.get(type(value), _ANY), f"state.{key}")
        elif getattr(value, "dtype", None) == np.int64:
            check(found.dtype.kind in "iu" and found.min(initial=0) >= 0, _COUNTS, f"state.{key}")
