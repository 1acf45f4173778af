"""Predict how efficient several processes are, from measured steps and the network between them.

    python benchmarks/scaling_model.py
    python benchmarks/scaling_model.py --networks vgg6 --batch 512 --plot scaling.svg
    python benchmarks/scaling_model.py --check

A step of P processes on a batch of B rows takes

    T(P) = fixed + B / P * row + sum(bytes) + norms * (forward and backward exchange)

`fixed` and `row` are a line through the fastest steps of one process, with one thread, on batches
of B, B/2 and B/4 rows. The sum of the gradients takes, by a ring or in the two phases that nn uses,
2 (P - 1) / P * bytes / bandwidth + 2 (P - 1) * latency, and by a tree 2 log2(P) * (latency + bytes
/ bandwidth). Each synchronised batch normalisation exchanges a few numbers for each channel twice.
The efficiency is T(1) / (P * T(P)): 1 if P processes are P times as fast.

`--check` measures 1 to 4 processes on this machine and prints the prediction next to each; where
there are more processes than cores, their computing takes turns.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


class Link(NamedTuple):
    """The network between processes: seconds until a message arrives, and bytes a second."""

    latency: float
    bandwidth: float


LINKS = {
    "memory of a laptop": Link(3e-6, 4e9),
    "gigabit Ethernet": Link(5e-5, 1.18e8),
    "InfiniBand": Link(2e-6, 1.2e10),
}
COUNTS = {
    "memory of a laptop": [1, 2, 4, 8],
    "gigabit Ethernet": [1, 2, 4, 6, 8, 10],
    "InfiniBand": [1, 2, 4, 8, 16, 32, 64],
}


class Measured(NamedTuple):
    """A network: seconds of a step whatever its rows, and for each row; what is exchanged."""

    fixed: float
    row: float
    bytes: int
    channels: list  # of each batch normalisation


def line(xs, ys):
    """Return intercept and slope of the line of least squares, neither below 0."""
    mean_x, mean_y = statistics.mean(xs), statistics.mean(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
    return max(mean_y - slope * mean_x, 0.0), max(slope, 0.0)


def measure(name, batch, steps):
    """Return what the model needs of a network, measured in this process."""
    from networks import make_nn, random_data

    import nn

    model = make_nn(name, metrics=["accuracy"])
    sizes, seconds = [batch, batch // 2, batch // 4], []
    for rows in sizes:
        x, y = random_data(name, rows)
        found = []
        for _ in range(steps + 2):
            start = time.perf_counter()
            model.train_step(x, y)
            found.append(time.perf_counter() - start)
        seconds.append(min(found[2:]))
    fixed, row = line(sizes, seconds)
    layers = [layer for _, layer in nn.layers.plan.named_layers(model.layers)]
    norms = [len(k.params["gamma"]) for k in layers if isinstance(k, nn.BatchNorm)]
    count = sum(param.size for param, _ in model.get_params_and_grads())
    return Measured(fixed, row, 4 * count, norms)


def reduction(size, processes, link, kind="ring"):
    """Return the seconds in which processes add up so many bytes."""
    if processes == 1:
        return 0.0
    if kind == "tree":
        return 2 * math.log2(processes) * (link.latency + size / link.bandwidth)
    share = (processes - 1) / processes
    return 2 * share * size / link.bandwidth + 2 * (processes - 1) * link.latency


def exchange(numbers, processes, link):
    """Return the seconds in which each process sends numbers of float64 to all others."""
    if processes == 1:
        return 0.0
    size = 8 * numbers * (processes - 1)
    return math.ceil(math.log2(processes)) * link.latency + size / link.bandwidth


def predict(network, batch, processes, link, kind="ring", cores=math.inf):
    """Return the seconds of a step of so many processes."""
    turns = max(1.0, processes / cores)
    computing = (network.fixed + batch / processes * network.row) * turns
    norms = sum(2 * exchange(2 * c + 1, processes, link) for c in network.channels)
    return computing + reduction(network.bytes, processes, link, kind) + norms


def efficiency(network, batch, processes, link, kind="ring"):
    alone = predict(network, batch, 1, link, kind)
    return alone / (processes * predict(network, batch, processes, link, kind))


def useful(network, batch, link, limit=0.5):
    """Return the largest number of processes of which each still does `limit` of its work."""
    counts = range(1, batch + 1)
    return max(p for p in counts if efficiency(network, batch, p, link) >= limit)


def check(name, network, batch, steps):
    """Print measured and predicted steps of 1 to 4 processes on this machine."""
    from distributed_speed import run

    cores, link = os.cpu_count() or 1, LINKS["memory of a laptop"]
    for processes in range(1, 5):
        task = {"kind": "nn", "network": name, "steps": max(steps // 2, 2), "epochs": 3}
        measured = statistics.median(run(task, processes, 1))
        predicted = predict(network, 128, processes, link, cores=cores)
        print(
            f"{name}, {processes} processes: measured {measured * 1e3:.0f} ms, predicted "
            f"{predicted * 1e3:.0f} ms, {predicted / measured - 1:+.0%}"
        )


def plot(path, networks, batch):
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "nn", "svg.fonttype": "none"})
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(LINKS), figsize=(9, 3), sharey=True, layout="constrained")
    for axis, (title, link) in zip(axes, LINKS.items(), strict=True):
        counts = COUNTS[title]
        for name, network in networks.items():
            values = [efficiency(network, batch, p, link) for p in counts]
            axis.plot(counts, values, marker="o", markersize=3, label=name)
        axis.set(title=title, xlabel="processes", ylim=(0, 1.05))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("efficiency")
    axes[0].legend()
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["vgg6", "resnet20", "large"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=6, help="steps to measure for each batch")
    parser.add_argument("--measured", type=Path, help="JSON file of an earlier run to read")
    parser.add_argument("--save", type=Path, help="JSON file for what was measured")
    parser.add_argument("--plot", help="file for the curves")
    parser.add_argument("--check", action="store_true", help="compare with 1 to 4 processes here")
    chosen = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # before nn is imported
    from workers import print_table, processor

    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{processor()}, one thread, {time.strftime('%Y-%m-%d')}; load {load}\n")
    if chosen.measured:
        content = json.loads(chosen.measured.read_text())
        networks = {name: Measured(*values) for name, values in content.items()}
    else:
        networks = {name: measure(name, chosen.batch, chosen.steps) for name in chosen.networks}
    if chosen.save:
        chosen.save.write_text(json.dumps(networks))
    rows = []
    for name, network in networks.items():
        for title, link in LINKS.items():
            found = [f"{efficiency(network, chosen.batch, p, link):.0%}" for p in (2, 4, 8)]
            rows.append([name, title, *found, useful(network, chosen.batch, link)])
    for name, network in networks.items():
        print(
            f"{name}: {network.fixed * 1e3:.1f} ms and {network.row * 1e3:.2f} ms a row, "
            f"{network.bytes / 1e6:.1f} MB of gradients, {len(network.channels)} normalisations"
        )
    print(f"\nEfficiency for batches of {chosen.batch}")
    print_table(["network", "link", "2", "4", "8", "useful"], rows)
    print("useful: the largest number of processes with an efficiency of at least 50%")
    if chosen.plot:
        plot(chosen.plot, networks, chosen.batch)
    if chosen.check:
        print()
        for name, network in networks.items():
            if name != "large":
                check(name, network, chosen.batch, chosen.steps)


if __name__ == "__main__":
    main()
