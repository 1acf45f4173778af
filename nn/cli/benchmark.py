"""Measure training and inference speed in images per second, in about half a minute."""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import zoo
from ..data import Dataset
from .info import about_machine
from .result import Result, add_number

_BATCH = 64
_ROUNDS = 7  # approximately; at least three are run
_TRAINING_SHARE = 0.7  # fraction of the time
_BATCHES = 32  # of data: 2,048 images


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_number(parser, "--seconds", 30.0, "approximate duration")


def run(options: argparse.Namespace) -> Result:
    """Return the speeds of `nn.zoo.mnist_cnn` and the configuration that they depend on.

    Training is `train_step` with the preparation of batches as in `fit`; inference is `predict`.
    The images are noise, which takes as long as digits.
    """
    if sys.stderr.isatty():
        print(f"Measuring for about {options.seconds:g} s ...", file=sys.stderr)
    model = zoo.mnist_cnn(seed=0)
    model.compile("cce", "adam")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (_BATCH * _BATCHES, 1, 28, 28), dtype=np.uint8)
    data = Dataset(images, rng.integers(0, 10, len(images)))
    budget = options.seconds

    def train(batches: int) -> None:
        epochs = (data.batches(_BATCH) for _ in itertools.count())
        for x, y in itertools.islice(itertools.chain.from_iterable(epochs), batches):
            model.train_step(x, y)

    def classify(batches: int) -> None:
        for left in range(batches, 0, -_BATCHES):
            model.predict(images[: _BATCH * left], batch_size=_BATCH)

    training = _speeds(train, budget * _TRAINING_SHARE)
    inference = _speeds(classify, budget * (1 - _TRAINING_SHARE))
    figures = {
        "model": "nn.zoo.mnist_cnn",
        "batch_size": _BATCH,
        "dtype": model.dtype,
        "device": model.device,
        "training": _in_figures(training),
        "inference": _in_figures(inference),
        "date": time.strftime("%Y-%m-%d"),
        "machine": about_machine(),
    }
    return Result(_text(figures), figures)


def _speeds(work: Callable[[int], None], seconds: float) -> list[float]:
    """Return the images per second of each round; warm-up batches do not count."""
    work(2)
    start = time.perf_counter()
    work(2)
    batch_seconds = max((time.perf_counter() - start) / 2, 1e-6)
    batches = max(1, int(seconds / _ROUNDS / batch_seconds))
    end, speeds = time.perf_counter() + seconds, list[float]()
    while len(speeds) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        work(batches)
        speeds.append(batches * _BATCH / (time.perf_counter() - start))
    return speeds


def _in_figures(speeds: list[float]) -> dict[str, Any]:
    return {
        "images_per_second": statistics.median(speeds),
        "lowest": min(speeds),
        "highest": max(speeds),
        "rounds": len(speeds),
    }


def _text(figures: dict[str, Any]) -> str:
    """Return the figures as text."""
    machine = figures["machine"]
    lines = [
        f"{what}: {part['images_per_second']:,.0f} images/s (median of {part['rounds']} rounds, "
        f"{part['lowest']:,.0f} to {part['highest']:,.0f})"
        for what, part in (("Training", figures["training"]), ("Inference", figures["inference"]))
    ]
    versions = [f"{name} {machine['packages'][name]}" for name in ("numpy", "numba")]
    blas = [f"{one['library']} {one['version']} ({one['core_type']})" for one in machine["blas"]]
    device = machine["gpu"]["name"] if figures["device"] == "gpu" else machine["processor"]
    return "\n".join(
        [
            f"{figures['model']}, batches of {_BATCH}, {figures['dtype']}, {figures['date']}",
            *lines,
            f"{device}; {machine['cores']} cores, {machine['threads']['kernels']} threads; "
            f"kernels: {machine['kernels']['used']}",
            f"nn {machine['nn']}, Python {machine['python']}, "
            + ", ".join([*versions, *blas])
            + f"; {machine['system']}",
        ]
    )
