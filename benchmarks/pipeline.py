"""Batches a second by source, augmentation and threads, against the training step they feed.

    python benchmarks/pipeline.py --python-torch TORCH_PYTHON
    python benchmarks/pipeline.py --frameworks nn --sources memory --threads 0 2 --rounds 1

Random images in bytes, of the shape of the `vgg6` network, come from an array in memory or from
a file mapped into it, are shuffled, scaled to [0, 1] and augmented; nobody uses the batches. nn
prepares them by Dataset.batches on threads, PyTorch by its DataLoader on as many processes, image
by image, with the same work written in plain torch ('elastic' is left out there). `steps` says
how many training steps of vgg6 on as large a batch, in the same framework and without a pipeline
beside it, take as long as one batch: above 1 the pipeline is waited for. Last comes what
augmentation costs a whole `fit` of nn: epochs with and without it, in turn.

Every figure has its own process; it is the second epoch's, the median of several rounds.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from networks import NETWORKS, make_nn, prepare
from workers import (
    describe,
    median_seconds,
    print_machine,
    print_table,
    run_worker,
    serve,
    write_json,
)

NETWORK = "vgg6"
SOURCES = ("memory", "memmap")
AUGMENTATIONS = ("none", "usual", "affine", "elastic")
DEGREES, SHIFT = 15, 0.1  # of 'affine'; 'usual' is flip, crop after 4 pixels of padding, brightness


# ------------------------------------------------------------------------------------- nn


def augmentation(name):
    from nn.data import augment

    return {
        "none": None,
        "usual": augment.Compose(
            [
                augment.RandomFlip(),
                augment.RandomCrop(NETWORKS[NETWORK].shape[1:], padding=4),
                augment.RandomBrightness(0.2),
            ]
        ),
        "affine": augment.RandomAffine(DEGREES, translate=SHIFT),
        "elastic": augment.ElasticDistortion(),
    }[name]


def epochs_nn(x, task):
    """Return a function that goes through all batches once."""
    from nn.data import Dataset

    dataset, rng = Dataset(x, np.zeros(len(x), int)), np.random.default_rng(0)
    change = augmentation(task["augmentation"])
    threads = task["threads"]

    def epoch():
        for _ in dataset.batches(task["batch"], num_threads=threads, rng=rng, augment=change):
            pass

    return epoch


# -------------------------------------------------------------------------------- PyTorch


class TorchImages:
    """What torch.utils.data.DataLoader takes: one image at a time."""

    def __init__(self, x, augmentation):
        self.x, self.augmentation = x, augmentation

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        import torch

        x = torch.from_numpy(np.array(self.x[index])).float().div_(255)
        if self.augmentation == "usual":
            x = torch_usual(x)
        elif self.augmentation == "affine":
            x = torch_affine(x)
        return x, 0


def torch_usual(x):
    import torch

    _, height, width = x.shape
    if torch.rand(()) < 0.5:
        x = x.flip(2)
    x = torch.nn.functional.pad(x, (4, 4, 4, 4))
    top, left = torch.randint(0, 9, (2,)).tolist()
    x = x[:, top : top + height, left : left + width]
    return (x * (0.8 + 0.4 * torch.rand(()))).clamp_(0, 1)


def torch_affine(x):
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    angle = torch.deg2rad(DEGREES * (2 * torch.rand(()) - 1))
    shift = 2 * SHIFT * (2 * torch.rand(2) - 1)  # coordinates go from -1 to 1
    cos, sin = torch.cos(angle), torch.sin(angle)
    matrix = torch.stack([cos, -sin, shift[0], sin, cos, shift[1]]).reshape(1, 2, 3)
    grid = affine_grid(matrix, (1, *x.shape), align_corners=False)
    return grid_sample(x[None], grid, align_corners=False)[0]


def epochs_torch(x, task):
    import torch

    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(
        TorchImages(x, task["augmentation"]),
        batch_size=task["batch"],
        shuffle=True,
        num_workers=task["threads"],
        persistent_workers=task["threads"] > 0,
    )

    def epoch():
        for _ in loader:
            pass

    return epoch


# ------------------------------------------------------------------------------ measuring


def work(task):
    """Return the seconds of a training step, or of a batch of the second epoch."""
    if task["source"] == "fit":
        return fit_with_and_without(task)
    if task["source"] is None:
        step = prepare(task["variant"], NETWORK, task["batch"]).train
        return {"seconds": median_seconds(step, task["steps"])}
    x = np.load(task["file"], mmap_mode="r" if task["source"] == "memmap" else None)
    epoch = (epochs_nn if task["variant"] == "nn" else epochs_torch)(x, task)
    epoch()
    start = time.perf_counter()
    epoch()
    return {"seconds": (time.perf_counter() - start) / -(-len(x) // task["batch"])}


def fit_with_and_without(task):
    """Return the images a second of `fit` in each epoch, without augmentation and with 'usual'."""
    from nn.data import Dataset

    x = np.load(task["file"])
    labels = np.random.default_rng(0).integers(0, 10, len(x))
    model, data = make_nn(NETWORK, metrics=["accuracy"]), Dataset(x, labels)
    rates = {"none": [], "usual": []}
    for epoch in range(2 * task["epochs"] + 1):
        name = "usual" if epoch % 2 else "none"
        start = time.perf_counter()
        model.fit(data, batch_size=task["batch"], augment=augmentation(name), verbose=0)
        rates[name].append(len(x) / (time.perf_counter() - start))
    return {"none": rates["none"][1:], "usual": rates["usual"]}  # the first compiled the kernels


def report_fit(options, file):
    """Print what augmentation costs `fit`."""
    task = {"variant": "nn", "source": "fit", "batch": options.batch, "file": str(file)}
    result = run_worker(__file__, task | {"epochs": 2 * options.rounds}, sys.executable)
    rates = {name: result[name] for name in ("none", "usual")}
    middle = {name: statistics.median(rate) for name, rate in rates.items()}
    pairs = zip(rates["none"], rates["usual"], strict=True)
    costs = [100 * (1 - usual / none) for none, usual in pairs]
    print(f"\nfit of {NETWORK}, images a second, median of {len(costs)} epochs each")
    print_table(
        ["augmentation", "images a second"], [(name, f"{middle[name]:,.0f}") for name in middle]
    )
    print(
        f"'usual' costs {statistics.median(costs):.1f}% of the images a second "
        f"({min(costs):.1f} to {max(costs):.1f}% of an epoch)"
    )
    return rates


def measure(options, file):
    """Return {(variant, source, augmentation, threads): [result of each round]} and what is absent.

    The training step of a variant has None for the other three.
    """
    results, missing = {}, {}
    cases = itertools.product(options.sources, options.augmentations, options.threads)
    cases = [(None, None, None), *cases]
    for number in range(1, options.rounds + 1):
        for (source, name, threads), variant in itertools.product(cases, options.frameworks):
            if variant in missing or (variant == "torch" and name == "elastic"):
                continue
            print(f"round {number}: {variant} {source} {name} {threads}", file=sys.stderr)
            task = {"variant": variant, "source": source, "augmentation": name, "threads": threads}
            task |= {"batch": options.batch, "steps": options.steps, "file": str(file)}
            python = options.python_torch if variant == "torch" else sys.executable
            result = run_worker(__file__, task, python)
            if "missing" in result:
                missing[variant] = result["missing"]
            else:
                results.setdefault((variant, source, name, threads), []).append(result)
    return results, missing


def report(options, results, missing):
    machine = describe({key[0]: rounds[-1] for key, rounds in results.items()})
    seconds = {k: statistics.median(r["seconds"] for r in rounds) for k, rounds in results.items()}
    print_machine(machine)
    for variant, reason in missing.items():
        print(f"{variant}: {reason}")
    rows = []
    for (variant, source, name, threads), batch in seconds.items():
        step = seconds[variant, None, None, None]
        if source is None:
            print(f"{variant}: a training step of {NETWORK} takes {step * 1e3:.2f} ms")
        else:
            row = {"variant": variant, "source": source, "augmentation": name, "threads": threads}
            rows.append(row | {"seconds": batch, "steps": batch / step})
    print(f"\nBatches of {options.batch}, median of {options.rounds} rounds")
    print_table(
        ["source", "augmentation", "threads", "framework", "batches a second", "ms", "steps"],
        [
            (
                row["source"],
                row["augmentation"],
                row["threads"],
                row["variant"],
                f"{1 / row['seconds']:,.0f}",
                f"{row['seconds'] * 1e3:.2f}",
                f"{row['steps']:.3f}",
            )
            for row in rows
        ],
    )
    settings = {name: getattr(options, name) for name in ("batch", "samples", "steps", "rounds")}
    return {"machine": machine, "missing": missing, "settings": settings, "batches": rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python-torch", default=sys.executable, help="interpreter with PyTorch")
    choices = ["nn", "torch"]
    parser.add_argument("--frameworks", nargs="+", choices=choices, default=choices)
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--augmentations", nargs="+", choices=AUGMENTATIONS, default=AUGMENTATIONS)
    parser.add_argument(
        "--threads", nargs="+", type=int, default=[0, 1, 2, 4], help="of nn; processes of PyTorch"
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--samples", type=int, default=12800, help="images an epoch")
    parser.add_argument("--steps", type=int, default=20, help="timed training steps")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(work, options.worker)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "images.npy")
        shape = (options.samples, *NETWORKS[NETWORK].shape)
        np.save(file, np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
        results, missing = measure(options, file)
        content = report(options, results, missing)
        if "nn" in options.frameworks:
            content["fit"] = report_fit(options, file)
    write_json(options.json, content)


if __name__ == "__main__":
    main()
