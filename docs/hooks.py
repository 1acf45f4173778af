"""Hooks of mkdocs, which transform a page before it is converted to HTML.

- A fence ```` ```math ```` holds LaTeX. It is converted to MathML, which browsers render without a
  script; GitHub renders the same fence.
- `<!-- include: FILE -->` includes a file from outside docs/.
- A link to such a file becomes a link to the page that includes it.

`mkdocs.yml` names this file. It needs latex2mathml, of the extra `docs`.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parent.parent
FORMULA = re.compile(r"^```math\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
INCLUDE = re.compile(r"^<!-- include: (\S+) -->$", flags=re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")

# Files outside docs/, and the pages of docs/ that show them.
PAGES = {
    "benchmarks/RESULTS.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}


def formula(match: re.Match) -> str:
    """Return the HTML of one formula."""
    # An equation's number would be in the way: every environment is the one without it.
    numbered = convert(match[1].strip(), display="block")
    mathml = re.sub(r"<mtd><mtext>\(\d+\)</mtext></mtd>", "", numbered)
    return f'<div class="formula">{mathml}</div>'


def included(match: re.Match) -> str:
    """Return a file of the project, its links as they are to be in a page right in docs/."""
    path = match[1]
    text = (ROOT / path).read_text(encoding="utf-8")

    def turn(link: re.Match) -> str:
        if "://" in link[1]:
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link[1]))
        inside = target.startswith("docs/")
        target = target.removeprefix("docs/") if inside else f"../{target}"
        return f"]({target}{link[2] or ''})"

    return LINK.sub(turn, text)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the page's text as Markdown that needs no network and no file outside docs/."""
    folder = posixpath.dirname(page.file.src_uri)

    def inside(link: re.Match) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, link[1]))
        if "://" in link[1] or path not in PAGES:
            return link[0]
        return f"]({posixpath.relpath(PAGES[path], folder or '.')}{link[2] or ''})"

    markdown = INCLUDE.sub(included, markdown)
    return FORMULA.sub(formula, LINK.sub(inside, markdown))
