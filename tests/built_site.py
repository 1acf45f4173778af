"""The built documentation, for tests in a browser; its live parts load from this machine alone."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import browser as browsers
import pyodide_files
import pytest

from nn.exchange.web import runtime as ort_web

ROOT = Path(__file__).resolve().parents[1]


def runtimes(new_folder):
    """Return (folder, "") of Pyodide and ONNX Runtime Web, or (None, why they cannot be had)."""
    given = os.environ.get("ONNXRUNTIME_WEB")
    get = {
        "PYODIDE": pyodide_files.get,
        "ONNXRUNTIME_WEB": lambda folder: given or ort_web.from_npm(folder),
    }
    found = {}
    for name, from_npm in get.items():
        try:
            found[name] = from_npm(new_folder(name)), ""
        except (pyodide_files.Missing, RuntimeError, subprocess.TimeoutExpired) as error:
            found[name] = None, str(error)
    return found


def build(folder, found):
    """Build the pages with these runtimes into a folder."""
    for module in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed (the extra 'docs')")
    browsers.require()
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "-d", str(folder)]
    paths = {name: str(path) for name, (path, _) in found.items() if path is not None}
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"} | paths
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
