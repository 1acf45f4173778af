"""A real browser for tests of pages: Chromium without a window, which chromedriver steers.

`apt-get install chromium chromium-driver`; where one of them is missing, the tests are skipped.
Pages are served on this machine alone, and the browser cannot reach any other.
"""

import contextlib
import http.server
import json
import shutil
import subprocess
import threading
import time
from urllib.parse import urlsplit

import pytest
import requests

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


def require():
    """Skip a test where there is no browser."""
    if not CHROMIUM or not shutil.which("chromedriver"):
        pytest.skip("needs Chromium and chromedriver (apt-get install chromium chromium-driver)")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing of each request."""


@contextlib.contextmanager
def served(folder):
    """Serve the files of a folder; give the address."""

    def handler(*arguments):
        return Quiet(*arguments, directory=str(folder))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
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

    def draw(self, points, kind="mouse"):
        """Press at the first point of the window, move to the others and release."""

        def move(point):
            x, y = map(round, point)
            return {"type": "pointerMove", "duration": 15, "x": x, "y": y, "origin": "viewport"}

        first, *others = points
        down, up = ({"type": f"pointer{name}", "button": 0} for name in ("Down", "Up"))
        actions = [move(first), down, *map(move, others), up]
        pointer = {"type": "pointer", "id": kind, "parameters": {"pointerType": kind}}
        self.ask("POST", "/actions", actions=[pointer | {"actions": actions}])

    def screenshot(self):
        """Return the page as a PNG in base64."""
        return self.ask("GET", "/screenshot")

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


@contextlib.contextmanager
def started(profile):
    """Start a browser with an empty profile, give it, and end it."""
    require()
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


@contextlib.contextmanager
def watched(window):
    """Give an empty window; what its pages complain of or ask of other hosts is a failure."""
    window.open("about:blank")
    window.log("browser")
    window.log("performance")
    yield window
    errors, hosts = window.errors(), window.hosts()
    assert errors == [], errors
    assert hosts <= {"127.0.0.1"}, hosts  # none, if the test was skipped
