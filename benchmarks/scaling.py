"""Time of a training step against batch size, image size, channels and threads.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --frameworks nn torch --python-torch TORCH_PYTHON --steps 20

The network is (Conv-BN-ReLU)x2-Pool-Dense 10 with 32 channels on 3x32x32, batch 64; one of the four
is changed at a time. Each time has its own process. `per work` is the time divided by the growth
of the arithmetic, relative to the first row: constant where time grows as the work does, and for
threads constant where twice the threads take half the time.
"""

import argparse
import os
import sys
from dataclasses import asdict

from networks import Network, prepare
from workers import (
    VARIANTS,
    describe,
    median_seconds,
    print_machine,
    print_table,
    run_worker,
    serve,
    write_json,
)

BASE = {"batch": 64, "size": 32, "channels": 32, "threads": os.cpu_count() or 1}
VALUES = {
    "batch": [8, 16, 32, 64, 128, 256],
    "size": [8, 16, 32, 64],
    "channels": [8, 16, 32, 64],
    "threads": [2**k for k in range(8) if 2**k < BASE["threads"]] + [BASE["threads"]],
}
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def network_of(size, channels):
    layers = f"conv{channels} bn relu conv{channels} bn relu pool flatten dense10"
    return Network((3, size, size), layers, "sgd")


def arithmetic(batch, size, channels, threads):
    """Return the multiplications of both convolutions, for each thread."""
    return batch * size**2 * 9 * (3 * channels + channels**2) / threads


def work(task):
    prepared = prepare(task["variant"], task["network"], task["batch"])
    return {"seconds": median_seconds(prepared.train, task["steps"], warm_up=3)}


def measure(variant, point, options):
    python = options.python_torch if variant.startswith("torch") else sys.executable
    network = asdict(network_of(point["size"], point["channels"]))
    task = {"variant": variant, "network": network, "batch": point["batch"]}
    threads = {name: str(point["threads"]) for name in (*THREAD_VARIABLES, "NUMBA_NUM_THREADS")}
    return run_worker(__file__, task | {"steps": options.steps}, python, **threads)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frameworks", nargs="+", choices=VARIANTS, default=["nn"])
    parser.add_argument("--python-torch", default=sys.executable, help="interpreter with PyTorch")
    parser.add_argument("--axes", nargs="+", choices=list(VALUES), default=list(VALUES))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(work, options.worker)
        return
    rows, latest = [], {}
    for axis in options.axes:
        for variant in options.frameworks:
            first = None
            for value in VALUES[axis]:
                point = BASE | {axis: value}
                result = measure(variant, point, options)
                if "missing" in result:
                    print(f"{variant}: {result['missing']}")
                    break
                latest[variant] = result
                per_work = result["seconds"] / arithmetic(**point)
                first = first or per_work
                rows.append(
                    {"axis": axis, "variant": variant, "value": value, **point}
                    | {"seconds": result["seconds"], "per_work": per_work / first}
                )
    machine = describe(latest)
    print_machine(machine)
    print_table(
        ["axis", "value", "framework", "ms a step", "images a second", "per work"],
        [
            (
                row["axis"],
                row["value"],
                row["variant"],
                f"{row['seconds'] * 1e3:.2f}",
                f"{row['batch'] / row['seconds']:,.0f}",
                f"{row['per_work']:.2f}",
            )
            for row in rows
        ],
    )
    write_json(options.json, {"machine": machine, "times": rows})


if __name__ == "__main__":
    main()
