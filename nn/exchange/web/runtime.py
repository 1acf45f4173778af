"""The files of ONNX Runtime Web, which computes a model in the browser: from a folder or npm."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from ... import checks

__all__ = ["FILES", "PACKAGE", "address_of", "files", "from_npm"]

#: The npm package, and those of its files that the page loads.
PACKAGE = "onnxruntime-web@1.30.0"
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")

_OWNER = "export_web"


def address_of(runtime: str | os.PathLike | None) -> str | None:
    """Return the address from which the page loads the runtime; None if its files are copied."""
    if not isinstance(runtime, str) or not runtime.startswith(("https://", "http://")):
        return None
    if any(character in runtime for character in "\"'\\\n") or "${" in runtime:
        raise checks.error(_OWNER, "runtime", "must be an address without quotes", runtime)
    return runtime.rstrip("/") + "/"


def files(runtime: str | os.PathLike | None, temporary: Path) -> list[Path]:
    """Return the files of ONNX Runtime Web, from a folder or from npm."""
    if runtime is None:
        return _found(from_npm(temporary))
    folder = Path(checks.path(_OWNER, "runtime", runtime))
    if not folder.is_dir():
        raise FileNotFoundError(f"[{_OWNER}] 'runtime' must be a folder, got '{folder}'.")
    return _found(folder)


def _found(folder: Path) -> list[Path]:
    for place in (folder, folder / "dist", folder / "package" / "dist"):
        files = [place / name for name in FILES]
        if all(file.is_file() for file in files):
            return files
    raise FileNotFoundError(
        f"[{_OWNER}] 'runtime' must have {', '.join(FILES)} in it, got '{folder}': it is "
        f"the npm package {PACKAGE}."
    )


def from_npm(temporary: Path) -> Path:
    """Get the package by npm, which checks its hash; return the folder with its files."""
    npm = shutil.which("npm")
    how = f"pass the folder of the npm package {PACKAGE} as 'runtime'"
    if npm is None:
        raise RuntimeError(f"[{_OWNER}] needs ONNX Runtime Web, and npm is not installed: {how}.")
    command = [npm, "pack", "--silent", "--pack-destination", str(temporary), PACKAGE]
    done = subprocess.run(command, cwd=temporary, capture_output=True, text=True, timeout=600)
    archives = list(temporary.glob("*.tgz"))
    if done.returncode or not archives:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise RuntimeError(f"[{_OWNER}] npm could not get {PACKAGE} ({said}): {how}.")
    target = temporary / "runtime"
    target.mkdir()
    with tarfile.open(archives[0]) as archive:
        for name in FILES:
            member = archive.extractfile(f"package/dist/{name}")
            if member is None:
                raise RuntimeError(f"[{_OWNER}] {PACKAGE} has no dist/{name}: {how}.")
            with member, (target / name).open("wb") as file:
                shutil.copyfileobj(member, file)
    return target
