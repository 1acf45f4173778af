"""What a command hands back to be printed, and the options that several commands have."""

import argparse
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """What a command found.

    Attributes
    ----------
    text : str
        For people.
    data : dict
        For programs: what JSON can hold.
    ok : bool
        Whether the check that was asked for held; true where there was none.
    """

    text: str
    data: dict[str, Any]
    ok: bool = True


def count(words: str) -> int:
    """Return an option as an integer of at least 1, for argparse."""
    return _number(int, words)


def positive(words: str) -> float:
    """Return an option as a positive number, for argparse."""
    return _number(float, words)


def _number(kind: type, words: str) -> Any:
    try:
        number = kind(words)
        if 0 < number < float("inf"):
            return number
    except ValueError:
        pass
    what = "a whole number of at least 1" if kind is int else "a positive number"
    raise argparse.ArgumentTypeError(f"must be {what}, got {words!r}")
