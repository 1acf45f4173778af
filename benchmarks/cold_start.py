"""Seconds from process start to one trained and tested epoch of MNIST, in nn and PyTorch.

    python -m nn.data mnist  # downloads the digits
    python benchmarks/cold_start.py --python-torch TORCH_PYTHON

The `mnist` network, batch 64, a plain loop over all 60,000 digits in a new order, then the accuracy
on the 10,000 of the test. The first run of nn finds an empty cache of compiled kernels, as after
its installation; a later run finds what the first left. PyTorch comes compiled: its runs are alike.
Frameworks alternate, in several rounds, each run in its own process; a figure is their median.
"""

import argparse
import gzip
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from networks import make_nn, make_torch, make_torch_optimizer
from workers import VARIANTS, describe, print_machine, print_table, run_worker, serve, write_json

PHASES = ("load", "train", "test")


def train_nn(task, clock):
    from nn.data import load_mnist_gz

    train, test = load_mnist_gz(task["data"])
    model = make_nn("mnist")
    clock("load")
    for x, y in train.batches(task["batch"], rng=np.random.default_rng(0)):
        model.train_step(x, y)
    clock("train")
    x, y = test.arrays()
    return float((model.predict_classes(x) == y).mean())


def train_torch(task, clock):
    import torch

    layout = torch.contiguous_format
    if task["variant"] == "torch-channels-last":
        layout = torch.channels_last
    x, y, x_test, y_test = (torch.from_numpy(array) for array in read_mnist(Path(task["data"])))
    x, x_test = x.to(memory_format=layout), x_test.to(memory_format=layout)
    model = make_torch("mnist").to(memory_format=layout)
    optimizer = make_torch_optimizer("mnist", model.parameters())
    criterion = torch.nn.CrossEntropyLoss()
    clock("load")
    for rows in torch.randperm(len(x)).split(task["batch"]):
        optimizer.zero_grad()
        loss = criterion(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
        loss.item()
    clock("train")
    model.eval()
    with torch.inference_mode():
        right = [
            (model(images).argmax(1) == labels).sum().item()
            for images, labels in zip(x_test.split(256), y_test.split(256), strict=True)
        ]
    return sum(right) / len(x_test)


def read_mnist(folder):
    """Return training images and labels, test images and labels, without nn."""
    arrays = []
    for part in ("train", "t10k"):
        images = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
        pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28)
        arrays += [pixels.astype(np.float32) / 255]
        arrays += [np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)]
    return arrays


def work(task):
    marks = {"start": task["start"]}  # the process start, as the parent saw it

    def clock(phase):
        marks[phase] = time.time()

    train = train_nn if task["variant"].startswith("nn") else train_torch
    accuracy = train(task, clock)
    clock("test")
    times = list(marks.values())
    spans = [after - before for before, after in pairwise(times)]
    result = dict(zip(PHASES, spans, strict=True))
    return result | {"total": times[-1] - times[0], "accuracy": accuracy}


def measure(options):
    """Return {run: [result of each round]}."""
    results = {}
    for number in range(1, options.rounds + 1):
        print(f"round {number}", file=sys.stderr, flush=True)
        for variant in options.frameworks:
            python = options.python_torch if variant.startswith("torch") else sys.executable
            task = {"variant": variant, "data": options.data_dir, "batch": options.batch}
            with tempfile.TemporaryDirectory() as cache:
                for run in ("first", "later"):
                    if variant != "nn" and run == "first":
                        continue  # nothing is compiled
                    task["start"] = time.time()
                    result = run_worker(__file__, task, python, NUMBA_CACHE_DIR=cache)
                    if "missing" in result:
                        print(f"{variant}: {result['missing']}")
                    else:
                        name = f"{variant}, {run} run" if variant == "nn" else variant
                        results.setdefault(name, []).append(result)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", default="mnist_dataset", help="folder with the full MNIST")
    parser.add_argument("--python-torch", default=sys.executable, help="interpreter with PyTorch")
    parser.add_argument("--frameworks", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(work, options.worker)
        return
    results = measure(options)
    machine = describe({name: rounds[-1] for name, rounds in results.items()})
    print_machine(machine)
    print(f"Seconds, median of {options.rounds} rounds")
    columns = [*PHASES, "total", "accuracy"]
    middle = {
        name: {k: statistics.median(result[k] for result in rounds) for k in columns}
        for name, rounds in results.items()
    }
    print_table(
        ["run", *PHASES, "total", "test accuracy"],
        [
            [name, *(f"{row[k]:.2f}" for k in [*PHASES, "total"]), f"{row['accuracy']:.2%}"]
            for name, row in middle.items()
        ],
    )
    write_json(options.json, {"machine": machine, "medians": middle, "rounds": results})


if __name__ == "__main__":
    main()
