"""Peak resident memory of training steps, nn and PyTorch.

    python benchmarks/memory.py --python-torch TORCH_PYTHON
    python benchmarks/memory.py --networks lstm charlm transformer --python-torch TORCH_PYTHON
    python benchmarks/memory.py --frameworks nn torch --batch 64 --json memory.json
    python benchmarks/memory.py --flat  # resident memory over 200 fits and 10,000 predicts

The network `large`, which is the default, has 8 million parameters: four blocks of
Conv-BN-ReLU-Pool with 32, 64, 128 and 256 filters on 3x128x128, then Dense 480 and Dense 38. Each
network is trained on one batch, and has a process of its own in each framework. `before` is what
the process holds with the framework loaded and no network; `steps` is what training adds to it.
"""

import argparse
import sys
from pathlib import Path

from networks import NETWORKS, make_nn, prepare, random_data
from workers import VARIANTS, describe, print_machine, print_table, run_worker, serve, write_json


def peak_megabytes():
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def work(task):
    prepare(task["variant"], "mnist", 2).train()  # loads what a first step loads
    before = peak_megabytes()
    prepared = prepare(task["variant"], task["network"], task["batch"])
    for _ in range(task["steps"]):
        prepared.train()
    return {"before": before, "peak": peak_megabytes(), "parameters": prepared.parameters}


def resident_megabytes():
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[1])  # Linux
    return pages * resource.getpagesize() / 1e6


def flat():
    """Print resident memory while one model is fitted 200 times and predicts 10,000 times."""
    model = make_nn("cifar", metrics=["accuracy"])
    x, y = random_data("cifar", 512)
    print("Resident memory, MB")
    for k in range(201):
        if k % 25 == 0:
            print(f"after {k:6,} fits      {resident_megabytes():7.1f}", flush=True)
        model.fit(x, y, epochs=1, batch_size=64, val_data=(x[:64], y[:64]), verbose=0)
    for k in range(10_001):
        if k % 1250 == 0:
            print(f"after {k:6,} predicts  {resident_megabytes():7.1f}", flush=True)
        model.predict(x[: 1 + k % 64])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python-torch", default=sys.executable, help="interpreter with PyTorch")
    parser.add_argument("--frameworks", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["large"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--flat", action="store_true", help="fit and predict again and again")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(work, options.worker)
        return
    if options.flat:
        flat()
        return
    results = {network: measure(network, options) for network in options.networks}
    machine = describe(results[options.networks[0]])
    print_machine(machine)
    print(f"Peak resident memory, MB, {options.steps} steps of batch {options.batch}")
    print_table(
        ["network", "framework", "parameters", "before", "steps", "peak"],
        [
            [
                network,
                variant,
                f"{r['parameters']:,}",
                *(f"{mb:.0f}" for mb in (r["before"], r["peak"] - r["before"], r["peak"])),
            ]
            for network in results
            for variant, r in results[network].items()
        ],
    )
    write_json(options.json, {"machine": machine, "megabytes": results})


def measure(network, options):
    """Return the result of each framework for a network."""
    results = {}
    for variant in options.frameworks:
        python = options.python_torch if variant.startswith("torch") else sys.executable
        task = {"variant": variant, "network": network, "batch": options.batch}
        result = run_worker(__file__, task | {"steps": options.steps}, python)
        if "missing" in result:
            print(f"{variant}: {result['missing']}")
        else:
            results[variant] = result
    return results


if __name__ == "__main__":
    main()
