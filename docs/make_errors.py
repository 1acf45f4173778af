"""Bring the messages on the page of common mistakes up to date.

    python docs/make_errors.py            # write the present messages into docs/errors.md
    python docs/make_errors.py --check    # only say if the page is out of date

Each fence of Python on the page is run; the fence of text below it is the error that it raises, or
the warning that it gives, with long lists of names shortened. `tests/docs/test_errors.py` checks
that the page is up to date.
"""

import argparse
import os
import re
import tempfile
import textwrap
import warnings
from pathlib import Path

import numpy as np

import nn

PAGE = Path(__file__).resolve().with_name("errors.md")
# More than six names in a row, of which the page shows the first two and the last.
NAMES = re.compile(r"((?:'\w+', ){2})(?:'\w+', ){4,}('\w+')")
EXAMPLE = re.compile(r"```python\n(?P<code>[^`]*)```\n\n```text\n[^`]*```")


def message(code: str) -> str:
    """Return the error that the code raises, or the first warning that it gives.

    Raises
    ------
    ValueError
        If it gives neither.
    """
    names = {"np": np, "nn": nn}
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        try:
            exec(code, names)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    if not given:
        raise ValueError(f"No error and no warning from:\n{code}")
    return f"{given[0].category.__name__}: {given[0].message}"


def renewed(page: str) -> str:
    """Return the page with the present messages, in lines of at most 100 characters."""

    def example(match: re.Match[str]) -> str:
        text = NAMES.sub(r"\1..., \2", message(match["code"]))
        text = textwrap.fill(text, 100, break_on_hyphens=False)
        return f"```python\n{match['code']}```\n\n```text\n{text}\n```"

    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # the examples find no files of the user's
        try:
            return EXAMPLE.sub(example, page)
        finally:
            os.chdir(before)


def main() -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    page = PAGE.read_text(encoding="utf-8")
    new = renewed(page)
    if new == page:
        print("up to date")
    elif parser.parse_args().check:
        raise SystemExit("out of date: run python docs/make_errors.py")
    else:
        PAGE.write_text(new, encoding="utf-8")
        print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
