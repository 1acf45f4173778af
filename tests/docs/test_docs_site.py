"""The site: what mkdocs.yml names is there, every public name has a place, and it builds."""

import importlib
import importlib.util
import inspect
import os
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import nn

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CONFIG = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
NAV = re.findall(r"[\w/.-]+\.md", CONFIG.partition("\nnav:\n")[2])
PAGES = {path.relative_to(DOCS).as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
IDENTIFIER = re.compile(r"^::: ([\w.]+)$", flags=re.MULTILINE)


def text_of(page):
    return PAGES[page].read_text(encoding="utf-8")


def load(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def needs(module, extra):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed (the extra '{extra}')")


# ------------------------------------------------------------------- without mkdocs


def test_the_navigation_names_every_page_once():
    assert sorted(NAV) == sorted(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_links_and_images_lead_to_files(page):
    for link in LINK.findall(re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)):
        if "://" not in link:
            path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
            assert (ROOT / path).is_file(), link


def covered():
    """Return the names that the pages of the reference take from the docstrings."""
    named = [
        name for page in PAGES if page.startswith("reference/")
        for name in IDENTIFIER.findall(text_of(page))
    ]  # fmt: skip
    assert len(named) == len(set(named)), "a name stands in the reference twice"
    return set(named)


def test_the_reference_names_what_exists():
    quotes = load("make_quotes")
    for name in covered():
        if not (
            name.startswith("nn.exchange.sklearn") and importlib.util.find_spec("sklearn") is None
        ):
            assert quotes.find(name) is not None


def public_objects():
    """Yield (name, object) of the classes and functions that nn and its modules make public."""
    for module_name in ["nn", *(f"nn.{n}" for n in nn.__all__), "nn.data.augment", "nn.trace"]:
        module = importlib.import_module("nn")
        for part in module_name.split(".")[1:]:
            module = getattr(module, part)
        if not isinstance(module, ModuleType):
            continue
        public = getattr(module, "__all__", None)
        for name, found in vars(module).items():
            is_own = getattr(found, "__module__", "").startswith(module.__name__)
            listed = name in public if public else is_own and not name.startswith("_")
            if listed and (inspect.isclass(found) or inspect.isfunction(found)):
                yield f"{module.__name__}.{name}", found


def test_every_public_name_is_in_the_reference():
    named = covered()
    missing = []
    for name, found in public_objects():
        home = inspect.unwrap(found).__module__
        if not {home, f"{home}.{found.__name__}"} & named:
            missing.append(f"{name} of {home}")
    assert not missing


def test_every_module_is_in_the_table_of_the_reference():
    table = text_of("reference/index.md")
    for page in PAGES:
        if page.startswith("reference/") and page != "reference/index.md":
            assert f"({posixpath.basename(page)})" in table, page
    modules = [name for name in nn.__all__ if isinstance(getattr(nn, name), ModuleType)]
    assert len(modules) > 12
    for name in modules:
        assert f"[nn.{name}]" in table, name


# ----------------------------------------------------------------------- the images


def test_the_images_of_the_guide_are_those_of_the_script():
    needs("matplotlib", "plot")
    shown = {
        name for page in PAGES if page.startswith("guide/")
        for name in re.findall(r"\(\.\./images/(\w+)\.png\)", text_of(page))
    }  # fmt: skip
    assert shown == set(load("make_guide").FIGURES)


def test_the_script_draws(tmp_path):
    needs("matplotlib", "plot")
    quick = ["guide_backpropagation", "guide_im2col", "guide_pooling", "guide_optimizers"]
    assert load("make_guide").main(["--out", str(tmp_path), "--only", *quick]) == 0
    for name in quick:
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_images_are_small():
    for path in (DOCS / "images").glob("guide_*.png"):
        assert path.stat().st_size < 150_000, path.name


# ------------------------------------------------------------------------- with mkdocs


def test_the_hook_turns_formulas_and_links():
    needs("latex2mathml", "docs")
    hooks = load("hooks")

    class Page:
        class file:  # noqa: N801 - as mkdocs calls it
            src_uri = "howto/speed.md"

    def turned(text):
        return hooks.on_page_markdown(text, page=Page)

    assert turned("[a](../../benchmarks/RESULTS.md#gpu)") == "[a](../benchmarks.md#gpu)"
    assert turned("[a](data.md) [b](../guide/index.md)") == "[a](data.md) [b](../guide/index.md)"
    assert turned("[a](https://arxiv.org/abs/1)") == "[a](https://arxiv.org/abs/1)"
    formula = turned("```math\n\\frac{a}{b}\n```")
    assert formula.startswith('<div class="formula"><math') and "<mfrac>" in formula
    aligned = turned("```math\n\\begin{align*}\na &= b \\\\\nc &= d\n\\end{align*}\n```")
    assert aligned.count("<mtr>") == 2 and "(1)" not in aligned
    assert turned("<!-- include: CHANGELOG.md -->").startswith("# Changelog")


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_no_other_host(tmp_path):
    for module in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        needs(module, "docs")
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "WARNING" not in built.stdout + built.stderr

    pages = {path.relative_to(site).as_posix(): path for path in site.rglob("*.html")}
    assert {page.removesuffix(".md") + ".html" for page in NAV} <= set(pages)
    for name, path in pages.items():
        html = path.read_text(encoding="utf-8")
        fetched = re.findall(
            r"<(?:script|img|iframe)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^\s>]+", html
        )
        fetched += re.findall(
            r"<link\b(?=[^>]*stylesheet)[^>]*href=[\"']?(?:https?:)?//[^\s>]+", html
        )
        assert not fetched, (name, fetched)
        assert "<!-- include" not in html and "```" not in html, name
    for page in PAGES:
        formulas = len(re.findall(r"^```math$", text_of(page), flags=re.MULTILINE))
        html = pages[page.removesuffix(".md") + ".html"].read_text(encoding="utf-8")
        assert html.count("<math ") == formulas, page
    reference = "".join(
        path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html")
    )
    for name, found in public_objects():
        home = inspect.unwrap(found).__module__
        anchors = {f'id="{name}"', f'id="{home}.{found.__name__}"'}
        assert any(anchor in reference for anchor in anchors), name
    assert not list(site.rglob("*.py"))
