"""The result of a command, and the arguments that several commands have."""

import argparse
import contextlib
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


def add_file(parser: argparse.ArgumentParser, **more: Any) -> None:
    """Add the argument FILE."""
    note = more.pop("note", "")
    parser.add_argument(
        "file", metavar="FILE", help=f"a model file written by save(){note}", **more
    )


def add_number(parser: argparse.ArgumentParser, name: str, default: float, what: str) -> None:
    """Add an option that is a positive number, a whole one if its default is."""
    kind, help_text = type(default), f"{what} (default: %(default)g)"

    def number(words: str) -> float:
        with contextlib.suppress(ValueError):
            value = kind(words)
            if 0 < value < float("inf"):
                return value
        rule = "a whole number of at least 1" if kind is int else "a positive number"
        raise argparse.ArgumentTypeError(f"must be {rule}, got {words!r}")

    parser.add_argument(name, type=number, default=default, metavar="N", help=help_text)
