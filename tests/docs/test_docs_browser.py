"""The built pages in a real browser: their links, their search, their images and formulas.

Where the browser or the extra 'docs' is missing, the tests are skipped.
"""

import gzip
from urllib.parse import urlsplit

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"
WITH_IMAGES = ["schedules", "plots", *(f"guide/{p.stem}" for p in (DOCS / "guide").glob("*.md"))]


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


# What a reader looks for, and the pages of which one is to be found first.
SEARCHES = {
    "dropout": ("guide/regularisation.html",),
    "overfitting": ("troubleshooting.html", "guide/regularisation.html"),
    "dead relu": ("troubleshooting.html",),
    "LSTM": ("guide/recurrence.html",),
    "onnx": ("howto/onnx.html",),
    "own photos": ("troubleshooting.html", "questions.html", "howto/data.html"),
    "out of memory": ("troubleshooting.html",),
    "learning rate": ("schedules.html", "troubleshooting.html", "guide/optimizers.html"),
    "resume": ("howto/save.html",),
    "nan": ("troubleshooting.html",),
    "slow": ("troubleshooting.html",),
    "jupyter": ("questions.html",),
    "homework": ("howto/teaching.html", "howto/exercises.html"),
    "classroom": ("howto/teaching.html",),
    "offline": ("questions.html", "howto/teaching.html"),
}


@pytest.mark.parametrize("words", SEARCHES)
def test_the_search_finds_guides_and_how_tos_first(words, browser, address):
    browser.open(f"{address}index.html?q={words.replace(' ', '+')}")
    first = browser.wait(
        "return document.querySelector('a.md-search-result__link')?.pathname.slice(1)"
    )
    assert first in SEARCHES[words]


def test_the_source_code_of_the_reference_is_not_searched(site):
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    assert "class CategoricalCrossentropy" not in index
    assert "CategoricalCrossentropy" in index


@pytest.mark.parametrize("page", ["index", "try", "gallery", "guide/convolution", "howto/data"])
def test_a_page_is_less_than_a_megabyte(page, browser, address, site):
    """Texts are counted compressed, as servers of pages send them."""
    browser.open(f"{address}{page}.html")
    browser.wait("return [...document.images].every(image => image.complete)")
    browser.wait("return performance.getEntriesByName(new URL(__md_scope) + "
                 "'search/search_index.json').length")  # fmt: skip
    names = browser.run("return performance.getEntriesByType('resource').map(e => e.name)")
    total = 0
    for url in [f"{address}{page}.html", *names]:
        data = (site / urlsplit(url).path[1:]).read_bytes()
        is_image = url.endswith((".png", ".gif", ".webp"))
        total += len(data) if is_image else len(gzip.compress(data))
    assert total < 1_000_000
    assert not any("pyodide" in name or "ort" in name.split("/") for name in names)


def test_the_page_fits_on_a_phone_and_wide_formulas_scroll(browser, address):
    browser.ask("POST", "/window/rect", width=390, height=800)
    try:
        for page in ("index", "gallery", "try", "guide/batch-norm"):
            browser.open(f"{address}{page}.html")
            wide = "return document.documentElement.scrollWidth - innerWidth"
            assert browser.run(wide) <= 0, page
        scrolled = browser.run(
            "return [...document.querySelectorAll('.formula')].filter(f => f.scrollWidth > "
            "f.clientWidth)"
            ".map(f => [getComputedStyle(f).overflowX, f.offsetHeight - f.clientHeight])"
        )
        assert scrolled  # in so narrow a window
        assert all(how == "auto" and bar > 0 for how, bar in scrolled)  # the bar takes room
    finally:
        browser.ask("POST", "/window/rect", width=1400, height=1000)
