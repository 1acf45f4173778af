"""The built pages in a real browser: their links, their search, their images and formulas.

The pages are served on this machine alone, and opened in Chromium without a window, which
chromedriver steers: `apt-get install chromium chromium-driver`. Where one of them or the extra
'docs' is missing, the tests are skipped.
"""

import http.server
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest
import requests
from conftest import ROOT

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"
WITH_IMAGES = ["schedules", "plots", *(f"guide/{p.stem}" for p in (DOCS / "guide").glob("*.md"))]
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's id, by the W3C's text

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--window-size=1400,1000",
    # The browser itself asks nobody for anything, and could not reach anybody.
    "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip


# ------------------------------------------------------------------- the pages and the browser


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing of each request."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Build the pages and serve them; return where."""
    for module in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed (the extra 'docs')")
    if not CHROMIUM or not shutil.which("chromedriver"):
        pytest.skip("needs Chromium and chromedriver (apt-get install chromium chromium-driver)")
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "-d", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)

    def handler(*arguments):
        return Quiet(*arguments, directory=str(site))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class Browser:
    """One window, steered by the commands of the W3C's WebDriver."""

    def __init__(self, driver, profile):
        self.http = requests.Session()
        self.http.trust_env = False  # no proxy stands between this machine and itself
        self.base = driver
        options = {"binary": CHROMIUM, "args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
        wanted = {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        started = self.ask("POST", "/session", capabilities={"alwaysMatch": wanted})
        self.base = f"{driver}/session/{started['sessionId']}"

    def ask(self, method, path, **body):
        answer = self.http.request(method, self.base + path, json=body, timeout=120).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(f"{path}: {answer['error']}: {answer['message'].splitlines()[0]}")
        return answer

    def close(self):
        self.ask("DELETE", "")
        self.http.close()

    def open(self, url):
        self.ask("POST", "/url", url=url)

    def run(self, script, *arguments):
        return self.ask("POST", "/execute/sync", script=script, args=arguments)

    def wait(self, script, *arguments, seconds=30):
        """Return what the script returns as soon as that is true."""
        end = time.monotonic() + seconds
        while not (found := self.run(script, *arguments)):
            assert time.monotonic() < end, f"not in {seconds} s: {script} {arguments}"
            time.sleep(0.05)
        return found

    def find(self, css):
        return "/element/" + self.ask("POST", "/element", using="css selector", value=css)[ELEMENT]

    def click(self, css):
        self.ask("POST", self.find(css) + "/click")

    def type(self, css, text):
        self.ask("POST", self.find(css) + "/value", text=text)

    def log(self, kind):
        """Return what came into a log since it was last read."""
        return self.ask("POST", "/se/log", type=kind)

    def errors(self):
        return [entry["message"] for entry in self.log("browser") if entry["level"] == "SEVERE"]

    def hosts(self):
        """Return the hosts that the pages asked for something."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        urls = [
            urlsplit(event["params"]["request"]["url"])
            for event in events if event["method"] == "Network.requestWillBeSent"
        ]  # fmt: skip
        return {url.hostname for url in urls if url.scheme.startswith("http")}


@pytest.fixture(scope="module")
def window(address, tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    command = ["chromedriver", "--port=0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as driver:
        try:
            said = next(line for line in driver.stdout if "started successfully on port" in line)
            browser = Browser(f"http://127.0.0.1:{said.split()[-1].strip('.')}", profile)
            yield browser
            browser.close()
        finally:
            driver.terminate()


@pytest.fixture
def browser(window):
    """Give the window to a test; what its pages complained of or asked of others is a failure."""
    window.open("about:blank")
    window.log("browser")
    window.log("performance")
    yield window
    assert window.errors() == []
    assert window.hosts() == {"127.0.0.1"}


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
