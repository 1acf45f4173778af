"""Classify images and print the most likely classes with their probabilities."""

import argparse
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .. import text
from ..data import load_image, normalize_digit
from ..data.images.doubts import doubts_of_digit
from ..data.images.source import SUFFIXES
from ..layers import fold
from ..losses import BinaryCrossentropy, CategoricalCrossentropy, Hinge
from ..model import Model
from ..validation import outputs_of
from .result import Result, add_file, add_number

#: Pillow's image mode by the number of channels of the model's inputs.
MODES = {1: "L", 3: "RGB"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_file(parser)
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+", help="an image file, or a folder of them"
    )
    add_number(parser, "--top", 3, "number of classes to print")
    parser.add_argument(
        "--fit",
        choices=("crop", "pad", "stretch", "digit"),
        default="crop",
        help="how to resize images to the model's input shape; 'digit' converts a photograph or "
        "drawing of a digit to the style of MNIST (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> Result:
    """Return the most likely classes of each image."""
    model = Model.load(options.file)
    form = image_form(model)
    paths, read, failed = read_images(options.images, form, options.fit)
    images = np.stack(read)
    kind, scores = probabilities(model, model.predict(as_taken(model, images)))
    if options.fit != "digit" and form == (1, 28, 28) and scores.shape[1] == 10:
        _warn_of_paper(images)
    found = []
    for path, row in zip(paths, scores, strict=True):
        best = np.argsort(-row, kind="stable")[: options.top]
        classes = [_class(model, int(k), float(row[k]), kind, len(row)) for k in best]
        entry: dict[str, Any] = {"image": os.fspath(path), "classes": classes}
        if options.fit == "digit":
            entry["doubts"] = doubts_of_digit(path)
        found.append(entry)
    data: dict[str, Any] = {"score": kind, "images": found}
    lines = [_table(found, kind)]
    for entry in found:
        if entry.get("doubts"):
            lines.append(f"Doubtful: {text.printable(entry['image'])}: {entry['doubts'][0]}.")
    lines += [f"Not read: {message}" for message in failed.values()]
    if failed:
        data["failed"] = [{"image": path, "error": message} for path, message in failed.items()]
    if fold.decides_each_output(model.layers, model.loss, outputs_of(model.output_shape)):
        lines.append(
            "Each output is a decision of its own: the classes of an image are those above 50%."
        )
        data["multi_label"] = True
    return Result("\n".join(lines), data, ok=not failed)


def read_images(
    given: list[str], form: tuple[int, int, int], fit: str
) -> tuple[list[str], list[np.ndarray], dict[str, str]]:
    """Return the paths and images that can be read, and the errors of the others by path.

    If none of them can be read, the error of the first one is raised.
    """
    paths: list[str] = []
    images: list[np.ndarray] = []
    failed: dict[str, str] = {}
    for path in (path for each in given for path in image_paths(each)):
        try:
            images.append(read_image(path, form, fit))
            paths.append(path)
        except (OSError, ValueError) as error:
            if not images and not failed:
                first = error
            failed[path] = str(error)
    if not images:
        raise first
    return paths, images, failed


def image_paths(given: str) -> list[str]:
    """Return the image files in a folder, or those that match a pattern, sorted; else the path.

    The shells of Windows pass patterns such as *.png as they are.
    """
    path = Path(given)
    if path.is_dir():
        found = sorted(str(p) for p in path.iterdir() if p.name.lower().endswith(SUFFIXES))
        if not found:
            raise ValueError(f"[predict] 'IMAGE' must be images, got '{given}' without any.")
        return found
    matching = [] if path.exists() else sorted(map(str, path.parent.glob(path.name or "*")))
    return matching or [given]


def image_form(model: Model) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of the images that a model accepts."""
    shape = () if model.input_shape is None else model.input_shape[1:]
    if len(shape) != 3 or None in shape or shape[0] not in MODES:
        raise ValueError(
            "[predict] 'FILE' must hold a model of images (C, H, W) with 1 or 3 channels, "
            f"got one for inputs of shape {shape or 'unknown'}."
        )
    channels, height, width = (int(n or 1) for n in shape)
    return channels, height, width


def read_image(path: str | os.PathLike, form: tuple[int, int, int], fit: str) -> np.ndarray:
    """Return an image file as an input of the model, (C, H, W), uint8 or floats in [0, 1]."""
    if fit == "digit":
        if form != (1, 28, 28):
            raise ValueError(
                "[predict] '--fit digit' needs a model of grey images of 28 x 28, got one of "
                f"{form}."
            )
        return normalize_digit(path)[np.newaxis]  # (28, 28) -> (1, 28, 28)
    channels, height, width = form
    return load_image(path, (height, width), MODES[channels], fit)


def as_taken(model: Model, images: np.ndarray) -> np.ndarray:
    """Return images of bytes, or of floats in [0, 1], in the range that a model takes.

    They stay as they are unless its first layers say that they take 0..255, as those of many models
    of Keras do; then they become float32 of that range.
    """
    if model.scaler_of_bytes is None:
        return images
    scale = 1 if images.dtype == np.uint8 else 255
    return images.astype(np.float32) * np.float32(scale)


def _warn_of_paper(images: np.ndarray) -> None:
    """Warn if digits seem to be dark on light, as MNIST's are light on dark."""
    light = sum(np.median(image) > 127 for image in images)
    if light:
        warnings.warn(
            f"[predict] {light} of {len(images)} images are dark on light; MNIST's are light "
            "on dark: use --fit digit for digits on paper or on a screen.",
            stacklevel=2,
        )


def probabilities(model: Model, outputs: Any) -> tuple[str, np.ndarray]:
    """Return 'probability' or 'score', and these values for each class.

    Logits are converted to probabilities by the activation that belongs to the model's loss, or by
    softmax without a loss. A single output is the probability of the second of two classes.
    """
    if outputs.ndim != 2:
        raise ValueError(
            "[predict] 'FILE' must hold a model with one output for each class, got one with "
            f"outputs of shape {outputs.shape[1:]}."
        )
    is_probability, loss = fold.gives_probabilities(model.layers), model.loss
    own = (BinaryCrossentropy, CategoricalCrossentropy, Hinge)
    if loss is not None and not isinstance(loss, own) and not is_probability:
        raise ValueError(
            "[predict] 'FILE' must hold a classifier, got a model trained with "
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
    """Return a table with one line for each image and its classes in columns."""
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
