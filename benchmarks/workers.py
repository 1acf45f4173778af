"""What the benchmarks share beside the networks: processes of their own, the machine, tables.

Not run by itself. A script starts itself again as a worker (`--worker TASK`), so that every
measurement has its own process: `run_worker` starts it, `serve` is the worker's part.
"""

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

VARIANTS = ("nn", "nn-without-numba", "torch", "torch-channels-last")


def median_seconds(step, steps, warm_up=5):
    """Return the median time of a call, the first calls uncounted."""
    for _ in range(warm_up):
        step()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def block_numba():
    """Make `import numba` fail in this process, as where it is not installed."""
    sys.modules["numba"] = None


# What holds the libraries to the instructions that most laptops have; see also `hold_to_avx2`.
AVX2 = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+popcnt,+movbe,+sse4.2,+ssse3,"
    "+cx16",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # of PyTorch's matrix products
}


def hold_to_avx2():
    """Take AVX-512 out of what LLVM says of this processor, for the compiled kernels."""
    try:
        import llvmlite.binding as llvm
        from llvmlite.binding import targets
    except ImportError:
        return
    features = llvm.get_host_cpu_features()
    features.update({name: False for name in features if "avx512" in name or name == "evex512"})
    llvm.get_host_cpu_features = targets.get_host_cpu_features = lambda: features


def worker_environment(device="cpu", isa="native", **extra):
    """Return the environment of a worker: its device alone, and BLAS as it chooses for itself."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if device == "cpu":
        alone = {"NN_DISABLE_CUDA": "1", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        environment |= alone
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        environment.pop(name, None)
    if isa == "avx2":
        environment |= AVX2 | {"OPENBLAS_CORETYPE": "Haswell"}
    return environment | extra


def run_worker(script, task, python=sys.executable, **environment):
    """Run `script --worker TASK` and return its result, or {'missing': why there is none}."""
    command = [str(python), str(script), "--worker", json.dumps(task)]
    try:
        done = subprocess.run(
            command,
            env=worker_environment(
                task.get("device", "cpu"), task.get("isa", "native"), **environment
            ),
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        return {"missing": f"not installed ({python})"}
    if done.returncode:
        print(f"{task} failed:\n{done.stderr}", file=sys.stderr)
        return {"missing": "failed"}
    return json.loads(done.stdout.splitlines()[-1])


def serve(work, task):
    """Do a worker's part: print the result of `work(task)` as one line of JSON."""
    task = json.loads(task)
    if "without-numba" in task.get("variant", ""):
        block_numba()
    elif task.get("isa") == "avx2" and task.get("variant", "").startswith("nn"):
        hold_to_avx2()
    try:
        result = work(task) | {"versions": versions()}
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "keras", "jax", "jaxlib", "tensorflow", "h5py", "tqdm"):
            raise
        result = {"missing": f"not installed ({error.name})"}
    print(json.dumps(result))


def versions():
    """Return versions of what this process has loaded, its threads and BLAS core types."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "nn", "numba", "cupy", "torch", "keras", "jax", "tensorflow"):
        module = sys.modules.get(name)
        if module is not None:
            found[name] = getattr(module, "__version__", "unknown")
    if sys.modules.get("torch") is not None:
        import torch

        found["torch threads"] = torch.get_num_threads()
        found["torch cpu"] = torch.backends.cpu.get_cpu_capability()
        if torch.cuda.is_available():
            found["torch gpu"] = torch.cuda.get_device_name()
    if sys.modules.get("cupy") is not None:
        found["nn gpu"] = sys.modules["nn"].cuda.get_device_name()
    if sys.modules.get("numba") is not None:
        found["numba threads"] = sys.modules["numba"].get_num_threads()
    return found | blas()


def blas():
    """Return the BLAS core types and threads of this process, by threadpoolctl."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return {"blas": "unknown: threadpoolctl is not installed"}
    found = [info for info in threadpool_info() if info["user_api"] == "blas"]
    names = {
        f"{k['internal_api']} {k['version']} {k.get('architecture', '')} x{k['num_threads']}"
        for k in found
    }
    return {"blas": ", ".join(sorted(names)) or "none"}


def processor():
    """Return the processor's name and the number of cores."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [k for k in cpuinfo.read_text().splitlines() if k.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return f"{name}, {os.cpu_count()} cores, {platform.system()}"


def describe(results):
    """Return the machine and, for each variant that ran, its versions and threads."""
    date = time.strftime("%Y-%m-%d")
    return {
        "date": date,
        "processor": processor(),
        "variants": {k: r["versions"] for k, r in results.items()},
    }


def print_machine(machine):
    print(f"Processor: {machine['processor']}; {machine['date']}")
    for variant, found in machine["variants"].items():
        print(f"{variant}: " + ", ".join(f"{name} {value}" for name, value in found.items()))
    print()


def print_table(header, rows):
    """Print rows of text, the first columns to the left and numbers to the right."""
    cells = [header, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    numeric = [all(re.match(r"[\d.\-]", row[k]) for row in cells[1:]) for k in range(len(header))]
    for row in cells:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        print("  ".join(padded).rstrip())
    print()


def write_json(path, content):
    if path:
        Path(path).write_text(json.dumps(content, indent=1) + "\n")
