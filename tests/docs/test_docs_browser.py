"""The built pages in a real browser: their links, their search, their images and formulas.

Where the browser or the extra 'docs' is missing, the tests are skipped.
"""

import importlib.util
import os
import subprocess
import sys

import browser as browsers
import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"
WITH_IMAGES = ["schedules", "plots", *(f"guide/{p.stem}" for p in (DOCS / "guide").glob("*.md"))]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Build the pages and serve them; return where."""
    for module in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed (the extra 'docs')")
    browsers.require()
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "-d", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    with browsers.served(site) as address:
        yield address


# --------------------------------------------------------------------------------- the tests


def title(browser):
    return browser.run("return document.querySelector('h1').firstChild.textContent")


def test_the_home_page_leads_to_the_guide(browser, address):
    browser.open(address)
    browser.click(".md-content a[href='guide/index.html']")
    browser.wait("return location.pathname == '/guide/index.html'")
    browser.click(".md-sidebar--primary a[href='convolution.html']")
    browser.wait("return location.pathname == '/guide/convolution.html'")
    assert title(browser) == "Convolution"


def test_the_search_finds_a_page(browser, address):
    browser.open(address)
    browser.click(".md-search__input")
    browser.type(".md-search__input", "batch normalisation")
    found = "a.md-search-result__link[href*='guide/batch-norm.html']"
    browser.wait("return document.querySelector(arguments[0])", found)
    browser.click(found)
    browser.wait("return location.pathname == '/guide/batch-norm.html'")
    assert title(browser) == "Batch normalisation"


@pytest.mark.parametrize("page", WITH_IMAGES)
def test_images_and_formulas_are_drawn(page, browser, address):
    source = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    browser.open(f"{address}{page}.html")
    browser.wait("return [...document.images].every(image => image.complete)")
    widths = browser.run("return [...document.images].map(image => image.naturalWidth)")
    assert len(widths) >= source.count("![")
    assert all(width > 0 for width in widths)
    formulas = browser.run(
        "return [...document.querySelectorAll('math')].map(math => math.clientHeight)"
    )
    assert len(formulas) == source.count("\n```math\n")
    assert all(height > 5 for height in formulas)
