"""Evaluate a model on MNIST, CIFAR-10, CIFAR-100 or a folder of images."""

import argparse
import math
from pathlib import Path
from typing import Any

from ..data import (
    Dataset,
    load_cifar10,
    load_cifar100,
    load_image_folder,
    load_mnist,
    load_mnist_sample,
)
from ..model import Model
from .predict import MODES, as_taken, image_form
from .result import Result, add_file, add_number

# Files that identify the folder of a data set, and the function that reads it.
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
    """Add the options of this command."""
    add_file(parser)
    parser.add_argument(
        "--data",
        metavar="DIR",
        required=True,
        help="folder with the files of MNIST or CIFAR, or with one folder of images for each class",
    )
    parser.add_argument(
        "--part",
        choices=_PARTS,
        default="test",
        help="part of MNIST or CIFAR (default: %(default)s)",
    )
    add_number(parser, "--batch-size", 256, "images in a batch")


def run(options: argparse.Namespace) -> Result:
    """Return the loss and metrics of the model on the data set."""
    model = Model.load(options.file)
    kind, dataset = read(Path(options.data), model, options.part)
    dataset = in_form_of(model, dataset)
    remarks = []
    if model.loss is not None and model.optimizer is None:
        model.compile(model.loss)
    elif model.loss is None:
        loss = "bce" if model.output_shape is not None and model.output_shape[-1] == 1 else "cce"
        model.compile(loss)
        remarks = [f"The file has no loss; '{loss}' is used."]
    figures = model.evaluate(dataset, batch_size=options.batch_size)
    lines = [f"{len(dataset):,} samples of {kind}"]
    lines += [f"{name}: {value:.4f}" for name, value in figures.items()]
    data = {"data": kind, "samples": len(dataset), "loss": type(model.loss).__name__}
    return Result("\n".join([*lines, *remarks]), {**data, "figures": figures})


def read(path: Path, model: Model, part: str) -> tuple[str, Dataset]:
    """Return the name of the data set in a folder and the requested part of it."""
    if not path.exists():
        raise FileNotFoundError(f"[evaluate] '{path}' does not exist.")
    for kind, (patterns, load) in _SETS.items():
        # The path may be CIFAR's own folder or archive, or a folder that contains it.
        if any(path.match(p) or any(path.glob(p)) for p in patterns):
            return f"{kind} ({part})", load(path)[_PARTS[part]]
    if not path.is_dir() or not any(entry.is_dir() for entry in path.iterdir()):
        raise ValueError(
            f"[evaluate] 'DIR' must contain the files of MNIST or CIFAR, or one folder of images "
            f"for each class, got '{path}'."
        )
    channels, height, width = image_form(model)
    mode = MODES[channels]
    images = load_image_folder(path, (height, width), mode, cache=False, progress=False)
    return f"the images in '{path}'", images


def in_form_of(model: Model, dataset: Dataset) -> Dataset:
    """Return images as a model takes them: (N, D) of floats, or of the range 0..255, if need be."""
    shape = None if model.input_shape is None else model.input_shape[1:]
    flat = math.prod(dataset.x.shape[1:])
    is_flat = shape == (flat,) and dataset.x.ndim > 2
    x: Any = dataset.x
    images = as_taken(model, x)
    if images is dataset.x and not is_flat:
        return dataset
    if images is dataset.x:
        images, _ = dataset.arrays()  # scaled here, as bytes that are no images are not
    if is_flat:
        images = images.reshape(len(dataset), flat)  # (N, C, H, W) -> (N, C*H*W)
    return Dataset(images, dataset.y, class_names=dataset.class_names)
