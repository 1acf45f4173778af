"""Say which classes a model sees in images, with their probabilities."""

import argparse
import os
import warnings
from typing import Any

import numpy as np

from .. import text
from ..data import load_image, normalize_digit
from ..layers import fold
from ..losses import BinaryCrossentropy, CategoricalCrossentropy, Hinge
from ..model import Model
from .result import Result, count

#: What an image is made, by the channels that the model takes.
MODES = {1: "L", 3: "RGB"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Tell of the options."""
    parser.add_argument("file", metavar="FILE", help="a model that save() wrote")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="an image's file")
    parser.add_argument(
        "--top", type=count, default=3, metavar="N", help="classes to name (default: %(default)s)"
    )
    parser.add_argument(
        "--fit",
        choices=("crop", "pad", "stretch", "digit"),
        default="crop",
        help="how an image of another shape is brought to the model's; 'digit' makes a photograph "
        "or a drawing of a digit look like those of MNIST (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> Result:
    """Return the likeliest classes of each image."""
    model = Model.load(options.file)
    form = image_form(model)
    images = np.stack([read_image(path, form, options.fit) for path in options.images])
    kind, scores = probabilities(model, model.predict(images))
    if options.fit != "digit" and form == (1, 28, 28) and scores.shape[1] == 10:
        _warn_of_paper(images)
    found = []
    for path, row in zip(options.images, scores, strict=True):
        best = np.argsort(-row, kind="stable")[: options.top]
        classes = [_class(model, int(k), float(row[k]), kind, len(row)) for k in best]
        found.append({"image": os.fspath(path), "classes": classes})
    return Result(_table(found, kind), {"score": kind, "images": found})


def image_form(model: Model) -> tuple[int, int, int]:
    """Return (C, H, W) of the images that a model takes."""
    shape = () if model.input_shape is None else model.input_shape[1:]
    if len(shape) != 3 or shape[0] not in MODES:
        raise ValueError(
            "[predict] 'FILE' must hold a model of images (C, H, W) with 1 or 3 channels, "
            f"got one for inputs of shape {shape or 'unknown'}."
        )
    channels, height, width = (int(n or 1) for n in shape)
    return channels, height, width


def read_image(path: str | os.PathLike, form: tuple[int, int, int], fit: str) -> np.ndarray:
    """Return an image as the model is to see it, (C, H, W), in bytes or in [0, 1]."""
    if fit == "digit":
        if form != (1, 28, 28):
            raise ValueError(
                "[predict] '--fit digit' needs a model of grey images of 28 x 28, got one of "
                f"{form}."
            )
        return normalize_digit(path)[np.newaxis]  # (28, 28) -> (1, 28, 28)
    channels, height, width = form
    return load_image(path, (height, width), MODES[channels], fit)


def _warn_of_paper(images: np.ndarray) -> None:
    """Say what to do where digits may be dark on light paper: those of MNIST are the reverse."""
    light = sum(np.median(image) > 127 for image in images)
    if light:
        warnings.warn(
            f"[predict] dark on light: {light} of {len(images)} images. MNIST has its digits "
            "light on dark: give --fit digit for digits on paper or on a screen.",
            stacklevel=2,
        )


def probabilities(model: Model, outputs: Any) -> tuple[str, np.ndarray]:
    """Return what the figures of the classes are, 'probability' or 'score', and the figures.

    Logits become probabilities by the function that belongs to the model's loss; without a loss,
    by softmax. A single output is the probability of the second of two classes.
    """
    if outputs.ndim != 2:
        raise ValueError(
            "[predict] 'FILE' must hold a model with an output for each class, got one with "
            f"outputs of shape {outputs.shape[1:]}."
        )
    is_probability, loss = fold.gives_probabilities(model.layers), model.loss
    own = (BinaryCrossentropy, CategoricalCrossentropy, Hinge)
    if loss is not None and not isinstance(loss, own) and not is_probability:
        raise ValueError(
            "[predict] 'FILE' must hold a model of classes, got one that was trained with "
            f"{type(loss).__name__}."
        )
    outputs, is_single = outputs.astype(np.float64), outputs.shape[1] == 1
    if isinstance(loss, Hinge):
        return "score", outputs
    activation = fold.missing_activation(model.layers, loss)
    if loss is None and not is_probability:
        activation = "sigmoid" if is_single else "softmax"
    outputs = fold.probabilities(outputs, activation)
    return "probability", np.hstack([1 - outputs, outputs]) if is_single else outputs


def _class(model: Model, label: int, score: float, kind: str, classes: int) -> dict[str, Any]:
    names = model.class_names
    name = names[label] if names is not None and len(names) == classes else None
    return {"class": label, "name": name, kind: score}


def _table(found: list[dict[str, Any]], kind: str) -> str:
    """Return a line an image, with its classes in columns."""
    count = max(len(entry["classes"]) for entry in found)
    heads = [cell for k in range(count) for cell in (f"Class {k + 1}", kind.capitalize())]
    rows = [["Image", *heads]]
    for entry in found:
        cells = [text.printable(entry["image"])]
        for one in entry["classes"]:
            name = str(one["class"]) if one["name"] is None else text.printable(one["name"])
            score = f"{one[kind]:.2%}" if kind == "probability" else f"{one[kind]:.4f}"
            cells += [name, score]
        rows.append(cells)
    return "\n".join(text.table(rows, right=range(2, 2 * count + 1, 2)))
