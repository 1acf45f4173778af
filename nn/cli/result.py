"""The result of a command, and option types that several commands use."""

import argparse
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """The result of a command.

    Attributes
    ----------
    text : str
        The output for people.
    data : dict
        The output for programs, printed as JSON with `--json`.
    ok : bool
        Whether the check passed; True for commands that check nothing.
    """

    text: str
    data: dict[str, Any]
    ok: bool = True


def count(words: str) -> int:
    """Convert an option to an integer of at least 1, for argparse."""
    return _number(int, words)


def positive(words: str) -> float:
    """Convert an option to a positive number, for argparse."""
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
