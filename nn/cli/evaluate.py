"""Measure a model on a set: MNIST, CIFAR-10, CIFAR-100 or a folder of images."""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..data import (
    Dataset,
    load_cifar10,
    load_cifar100,
    load_image_folder,
    load_mnist,
    load_mnist_sample,
)
from ..model import Model
from .predict import MODES, image_form
from .result import Result, count

# What lies in a folder that holds a set, and the function that reads it.
_SETS: dict[str, tuple[tuple[str, ...], Any]] = {
    "MNIST": (("t10k-images*ubyte*",), lambda path: load_mnist(path, download=False)),
    "the sample of MNIST": (("sample-1000-test-images*",), load_mnist_sample),
    "CIFAR-10": (
        ("cifar-10-batches-*", "cifar-10-*.tar.gz", "data_batch_*", "test_batch*"),
        load_cifar10,
    ),
    "CIFAR-100": (("cifar-100-binary*", "cifar-100-python*"), load_cifar100),
}
_PARTS = {"train": 0, "test": 1}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Tell of the options."""
    parser.add_argument("file", metavar="FILE", help="a model that save() wrote")
    parser.add_argument(
        "--data",
        metavar="DIR",
        required=True,
        help="folder with the files of MNIST or CIFAR, or with a folder of images for each class",
    )
    parser.add_argument(
        "--part",
        choices=_PARTS,
        default="test",
        help="of MNIST and CIFAR: which part (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size",
        type=count,
        default=256,
        metavar="N",
        help="images at a time (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> Result:
    """Return loss and metrics of the model for the set."""
    model = Model.load(options.file)
    kind, dataset = read(Path(options.data), model, options.part)
    dataset = as_model_takes_it(dataset, model)
    remarks = []
    if model.loss is None:
        loss = "bce" if model.output_shape is not None and model.output_shape[-1] == 1 else "cce"
        model.compile(loss)
        remarks = [f"The file names no loss, so it is '{loss}'."]
    figures = model.evaluate(dataset, batch_size=options.batch_size)
    lines = [f"{len(dataset):,} samples of {kind}"]
    lines += [f"{name}: {value:.4f}" for name, value in figures.items()]
    data = {"data": kind, "samples": len(dataset), "loss": type(model.loss).__name__}
    return Result("\n".join([*lines, *remarks]), {**data, "figures": figures})


def read(path: Path, model: Model, part: str) -> tuple[str, Dataset]:
    """Return what set a folder holds, and the part of it that is asked for."""
    if not path.exists():
        raise FileNotFoundError(f"[evaluate] '{path}' does not exist.")
    for kind, (patterns, load) in _SETS.items():
        # The folder itself may be that of CIFAR's files, or the file its archive.
        if any(path.match(p) or any(path.glob(p)) for p in patterns):
            return f"{kind} ({part})", load(path)[_PARTS[part]]
    if not path.is_dir() or not any(entry.is_dir() for entry in path.iterdir()):
        raise ValueError(
            f"[evaluate] 'DIR' must hold the files of MNIST or CIFAR, or a folder of images for "
            f"each class, got '{path}'."
        )
    channels, height, width = image_form(model)
    mode = MODES[channels]
    images = load_image_folder(path, (height, width), mode, cache=False, progress=False)
    return f"the images in '{path}'", _with_labels_of(model, images)


def _with_labels_of(model: Model, images: Dataset) -> Dataset:
    """Return images with the labels that the model has for classes of these names.

    Without it a folder that lacks a class, or has them in another order, would count as wrong.
    """
    if model.class_names is None or images.class_names is None:
        return images
    strange = sorted(set(images.class_names) - set(model.class_names))
    if strange:
        names = ", ".join(map(repr, model.class_names))
        raise ValueError(
            f"[evaluate] the folders in 'DIR' must have the names of the model's classes, {names}, "
            f"got {strange[0]!r}."
        )
    labels = np.array([model.class_names.index(name) for name in images.class_names])
    return Dataset(images.x, labels[images.y], class_names=model.class_names)


def as_model_takes_it(dataset: Dataset, model: Model) -> Dataset:
    """Return images as rows of numbers where the model takes them so."""
    shape = None if model.input_shape is None else model.input_shape[1:]
    flat = math.prod(dataset.x.shape[1:])
    if shape != (flat,) or dataset.x.ndim == 2:
        return dataset
    rows = np.asarray(dataset.x).reshape(len(dataset), flat)  # (N, C, H, W) -> (N, C*H*W)
    return Dataset(rows, dataset.y, class_names=dataset.class_names)
