"""Write a web page that classifies images with a model, in the browser."""

import argparse

from .. import text
from ..exchange.web import export_web
from ..model import Model
from .result import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "file", metavar="MODEL", help="a model of images: an ONNX file, or a model of nn or Keras"
    )
    parser.add_argument("folder", metavar="DIR", help="a new or empty folder for the page")
    parser.add_argument(
        "--runtime",
        metavar="PATH",
        help="the folder of the npm package onnxruntime-web (default: npm gets it)",
    )
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="for a model of images of any size"
    )
    parser.add_argument(
        "--range",
        type=float,
        nargs=2,
        metavar=("BLACK", "WHITE"),
        help="the values of black and white in the model's inputs (default: 0 1)",
    )
    parser.add_argument(
        "--activation",
        choices=("softmax", "sigmoid", "none"),
        help="what turns the outputs into probabilities (default: as the model says)",
    )
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="the names of the classes")
    parser.add_argument(
        "--digits",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="bring drawings to the form of MNIST's digits (default: for a model of digits)",
    )


def run(options: argparse.Namespace) -> Result:
    """Write the page and return what it knows of the model."""
    is_onnx = options.file.lower().endswith(".onnx")
    about = export_web(
        options.file if is_onnx else Model.load(options.file),
        options.folder,
        runtime=options.runtime,
        size=options.size and tuple(options.size),
        input_range=options.range and tuple(options.range),
        activation=options.activation,
        class_names=options.classes,
        digits=options.digits,
    )
    folder = text.printable(options.folder)
    lines = [
        f"{text.printable(options.file)} -> {folder}: a page for "
        f"{about['width']} x {about['height']} {'grey' if about['channels'] == 1 else 'RGB'} "
        f"images, {about['classes']} classes",
        f"To see it:  python -m http.server -b 127.0.0.1 -d {folder}",
        "then open    http://127.0.0.1:8000",
    ]
    return Result("\n".join(lines), {"folder": options.folder, **about})
