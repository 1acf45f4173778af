"""Hooks of mkdocs, which transform a page before it is converted to HTML.

- A fence ```` ```math ```` holds LaTeX. It is converted to MathML, which browsers render without a
  script; GitHub renders the same fence.
- `<!-- include: FILE -->` includes a file from outside docs/.
- A link to such a file becomes a link to the page that includes it.
- `<!-- draw -->` becomes the sheet to draw a digit on, and `<!-- try -->` makes the code below it
  run in the browser. The files that this takes are in docs/live/; those of the model, and an
  archive with nn, are made after the other pages.
- The search finds tutorials before references: `SEARCH`.

`mkdocs.yml` names this file. It needs latex2mathml, of the extra `docs`.
"""

import posixpath
import re
import shutil
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
FORMULA = re.compile(r"^```math\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
INCLUDE = re.compile(r"^<!-- include: (\S+) -->$", flags=re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")

DRAW = re.compile(r"^<!-- draw -->$", flags=re.MULTILINE)
TRY = re.compile(r"^<!-- try -->$", flags=re.MULTILINE)
SOURCE = re.compile(r'<details class="[^"]*source[^"]*"')

# How much a page counts in the search, by the beginning of its name; the first that fits is taken.
SEARCH = {
    "index.md": 20,
    "start.md": 20,
    "troubleshooting.md": 30,
    "questions.md": 20,
    "guide/": 20,
    "howto/": 20,
    "plots.md": 20,
    "schedules.md": 20,
    "reference/": 0.2,
    "changelog.md": 0.05,
    "contributing.md": 0.05,
    "benchmarks.md": 0.05,
    "guarantees.md": 0.05,
    "errors.md": 1,
}

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


def repository() -> str:
    """Return the address of the repository, which stands in `pyproject.toml`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return project["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"]


def version() -> str:
    """Return the version of nn."""
    text = (ROOT / "nn" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, flags=re.MULTILINE)
    return found[1] if found else ""


def on_config(config: Any) -> Any:
    """Show the version and a link to the repository below each page."""
    config.copyright = f"nn {version()}, MIT licence"
    link = {"icon": "fontawesome/brands/git-alt", "link": repository(), "name": "Repository"}
    config.extra["social"] = [link]
    return config


def _is_address(setting: str) -> bool:
    return setting.startswith(("https://", "http://"))


def _live(markdown: str, folder: str, extra: dict[str, Any]) -> str:
    """Return a page's text with elements for its live parts, which `live/live.js` fills."""
    live = posixpath.relpath("live", folder or ".") + "/"
    pyodide = extra["pyodide"] if _is_address(extra["pyodide"]) else f"{live}pyodide/"
    page = f"{live}digit/index.html"
    sheet = f'<div class="nn-draw" data-page="{page}"><p></p></div>\n'
    cell = f'<div class="nn-try" data-pyodide="{pyodide}" data-live="{live}"></div>\n'
    changed = TRY.sub(cell, DRAW.sub(sheet, markdown))
    script = f'\n\n<script type="module" src="{live}live.js"></script>\n'
    return changed + script if changed != markdown else markdown


def on_page_markdown(markdown: str, page: Any, config: Any = None, **_: Any) -> str:
    """Return the page's text as Markdown that needs no network and no file outside docs/."""
    folder = posixpath.dirname(page.file.src_uri)
    if config is not None:
        boosts = (SEARCH[name] for name in SEARCH if page.file.src_uri.startswith(name))
        page.meta.setdefault("search", {}).setdefault("boost", next(boosts, 1))
        markdown = _live(markdown, folder, config.extra)

    def inside(link: re.Match) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, link[1]))
        if "://" in link[1] or path not in PAGES:
            return link[0]
        return f"]({posixpath.relpath(PAGES[path], folder or '.')}{link[2] or ''})"

    markdown = INCLUDE.sub(included, markdown)
    return FORMULA.sub(formula, LINK.sub(inside, markdown))


def on_page_content(html: str, **_: Any) -> str:
    """Keep the source code that the reference shows out of the search."""
    return SOURCE.sub(lambda match: f"{match[0]} data-search-exclude", html)


def on_post_build(config: Any, **_: Any) -> None:
    """Write what the live parts load on a click: the page of a model, and nn as an archive."""
    sys.path.insert(0, str(ROOT))
    import nn

    live = Path(config.site_dir) / "live"
    sheet = live / "digit"
    if sheet.exists():
        shutil.rmtree(sheet)
    nn.exchange.export_web(
        DOCS / "live" / "digits.onnx", sheet, runtime=config.extra["onnxruntime"]
    )
    with zipfile.ZipFile(live / "nn.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((ROOT / "nn").rglob("*.py")):
            archive.write(path, path.relative_to(ROOT))
        for path in sorted((ROOT / "mnist_dataset").glob("sample-*")):
            archive.write(path, f"nn/data/sets/mnist_dataset/{path.name}")
        archive.write(DOCS / "live" / "watch.py", "watch.py")
    if not _is_address(config.extra["pyodide"]):
        shutil.copytree(config.extra["pyodide"], live / "pyodide", dirs_exist_ok=True)
