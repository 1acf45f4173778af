"""Show the versions, threads, BLAS and GPU that nn uses, and why something is not used."""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
from typing import Any

import numpy as np

from .. import cuda, kernels, text
from ..kernels import threads
from .result import Result

_PACKAGES = (
    *("numpy", "h5py", "tqdm", "threadpoolctl", "pooch", "numba", "llvmlite", "pillow"),
    *("matplotlib", "tensorboardX", "cupy-cuda12x", "cupy-cuda13x", "cupy"),
)
_OPTIONAL = {"numba": "fast", "pillow": "images", "matplotlib": "plot"}
_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
    *("NN_DISABLE_CUDA", "NN_FORCE_CUDA", "NN_DISABLE_AUTO_THREADS", "NN_DEBUG"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command: there are none."""


def run(options: argparse.Namespace) -> Result:
    """Return the configuration of this machine and Python."""
    data = about_machine()
    return Result("\n".join(_lines(data)), data)


def about_machine() -> dict[str, Any]:
    """Return versions, libraries and devices as data for JSON."""
    from .. import __version__

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "nn": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": cores,
        "packages": {name: _version(name) for name in _PACKAGES},
        "threads": {"data": min(8, os.cpu_count() or 1), "kernels": threads.NUM_THREADS},
        "kernels": about_kernels(),
        "blas": _blas(),
        "gpu": _gpu(),
        "environment": {name: os.environ.get(name) for name in _VARIABLES},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """Return the name of the processor, or its architecture if the system gives no name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def about_kernels() -> dict[str, str]:
    """Return which CPU kernels are used, and why not the compiled ones."""
    if kernels.compiled() is not None:
        return {"used": "compiled by Numba", "why": ""}
    if importlib.util.find_spec("numba") is None:
        return {"used": "NumPy", "why": "Numba is not installed (the extra 'fast')"}
    try:
        import numba
    except ImportError as error:
        return {"used": "NumPy", "why": f"Numba cannot be imported: {error}"}
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return {"used": "NumPy", "why": "NUMBA_DISABLE_JIT is set"}
    return {"used": "NumPy", "why": "the compiled kernels cannot be imported"}


def _blas() -> list[dict[str, Any]]:
    """Return the BLAS libraries of this process with their threads and core types."""
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))  # loads it
    return [
        {
            "library": library["internal_api"],
            "version": library["version"],
            "threads": library["num_threads"],
            "core_type": library.get("architecture"),
            "file": library["filepath"],
        }
        for library in threadpool_info()
        if library["user_api"] == "blas"
    ]


def _gpu() -> dict[str, Any]:
    if cuda.USE_CUDA:
        return {"used": True, "name": cuda.get_device_name(), "why": ""}
    return {"used": False, "name": None, "why": cuda._why_not or "nn.cuda.USE_CUDA is False"}


def _lines(data: dict[str, Any]) -> list[str]:
    """Return the data as text."""
    rows = [(name, str(data[name])) for name in ("nn", "python", "system", "processor", "cores")]
    for name, version in data["packages"].items():
        if version is not None:
            rows.append((name, version))
        elif name in _OPTIONAL:
            rows.append((name, f"not installed (the extra '{_OPTIONAL[name]}')"))
    counts = data["threads"]
    rows.append(("threads", f"{counts['kernels']} for kernels, {counts['data']} for data"))
    rows.append(("kernels", _with_reason(data["kernels"]["used"], data["kernels"]["why"])))
    for library in data["blas"]:
        core_type = f", core type {library['core_type']}" * bool(library["core_type"])
        words = f"{library['library']} {library['version']}, threads: {library['threads']}"
        rows.append(("BLAS", words + core_type))
    gpu = data["gpu"]
    rows.append(("GPU", _with_reason(gpu["name"] or "not used", gpu["why"])))
    rows += [(name, value) for name, value in data["environment"].items() if value is not None]
    return text.table([(name, text.printable(value)) for name, value in rows])


def _with_reason(used: str, why: str) -> str:
    return f"{used}: {why}" if why else used
