"""Bring the lines of code that the pages quote up to date.

    python docs/make_quotes.py            # write the present lines into the pages
    python docs/make_quotes.py --check    # only say which pages are behind

A page quotes a function of nn without its docstring, in a fence of Python below a mark:

    <!-- source: nn.layers.Dense.backward -->
    <!-- source: nn.naive.conv2d_naive, from "y = np.zeros" -->

The second quotes from the line on that begins so. `tests/docs/test_docs_blocks.py` checks all.
"""

import argparse
import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
QUOTE = re.compile(
    r"(?P<mark>^<!-- source: (?P<name>[\w.]+)(?:, from \"(?P<start>[^\"]+)\")? -->\n)"
    r"```python\n(?P<code>.*?)^```$",
    flags=re.MULTILINE | re.DOTALL,
)


def find(name: str) -> Any:
    """Return the function with a dotted name, as in 'nn.layers.Dense.backward'."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = inspect.getattr_static(found, part)
        return found
    raise ModuleNotFoundError(name)


def lines_of(function: Callable, start: str | None = None) -> str:
    """Return the source of a function without its docstring, or its end from a line on."""
    source = textwrap.dedent(inspect.getsource(function))
    definition: Any = ast.parse(source).body[0]
    lines = source.splitlines()
    if ast.get_docstring(definition) is not None:
        text = definition.body[0]
        del lines[text.lineno - 1 : text.end_lineno]
    if start is not None:
        first = next(k for k, line in enumerate(lines) if line.strip().startswith(start))
        lines = textwrap.dedent("\n".join(lines[first:])).splitlines()
    return "\n".join(line for line in lines).strip("\n") + "\n"


def renewed(page: str) -> str:
    """Return a page with the present lines of what it quotes."""

    def renew(match: re.Match) -> str:
        code = lines_of(find(match["name"]), match["start"])
        return f"{match['mark']}```python\n{code}```"

    return QUOTE.sub(renew, page)


def main(arguments: list[str] | None = None) -> int:
    """Renew the pages, or say which are behind."""
    parser = argparse.ArgumentParser(description="Renew the code that the pages quote.")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    behind = 0
    for path in sorted(DOCS.rglob("*.md")):
        page = path.read_text(encoding="utf-8")
        new = renewed(page)
        if new != page:
            behind += 1
            print(path.relative_to(DOCS))
            if not options.check:
                path.write_text(new, encoding="utf-8")
    return behind if options.check else 0


if __name__ == "__main__":
    raise SystemExit(main())
