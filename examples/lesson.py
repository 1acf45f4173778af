"""Helpers of the examples: checked options, digits, and figures if matplotlib is installed."""

import argparse
from pathlib import Path

from nn.data import load_mnist, load_mnist_sample

SAMPLE_DIR = Path(__file__).resolve().parent.parent / "mnist_dataset"
IMAGES = (".pdf", ".png", ".svg")


# ------------------------------------------------------------------------------- options


def whole(text, least=1):
    """Convert an option to an integer of at least `least`."""
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(
            f"must be a whole number of at least {least}, got '{text}'"
        )
    return number


def at_least_0(text):
    """Convert an option to a finite number of at least 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, got '{text}'")
    return number


def positive(text):
    """Convert an option to a finite number above 0."""
    number = at_least_0(text)
    if number == 0:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got '{text}'")
    return number


def seed(text):
    """Convert an option to an integer of at least 0."""
    return whole(text, least=0)


def file_to_write(text):
    """Convert an option to the path of a file in an existing folder."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"'{path}' is a folder: name a file")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"the folder '{path.parent}' does not exist")
    return path


def image(text):
    """Convert an option to the path of an image file."""
    path = file_to_write(text)
    if path.suffix.lower() not in IMAGES:
        raise argparse.ArgumentTypeError(f"'{path}' must end in {', '.join(IMAGES)}")
    return path


def add_common(parser, out):
    """Add the options that all examples on digits have."""
    parser.add_argument(
        "--data-dir", metavar="DIR", help="folder of the full MNIST, instead of the sample"
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of all random numbers")
    parser.add_argument(
        "--out", type=image, default=Path(out), help="file for the image: .png, .pdf or .svg"
    )


def check_finished(history, epochs):
    """Exit if Ctrl-C has ended the training, for which `fit` raises no error."""
    if len(history.get("loss", ())) < epochs:
        raise SystemExit("Stopped.")


# -------------------------------------------------------------------------------- digits


def load_digits(folder):
    """Return training and test digits: the included sample, or those of a folder."""
    try:
        if folder is None:
            name, (train, test) = "the sample of MNIST", load_mnist_sample(SAMPLE_DIR)
        else:
            name, (train, test) = f"MNIST from '{folder}'", load_mnist(folder, download=False)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    print(f"Data: {name}, {len(train):,} + {len(test):,} digits")
    return train, test


# ------------------------------------------------------------------------------ images


def new_figure(width, height):
    """Return an empty matplotlib figure, (width, height) in inches; None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("The image needs matplotlib: python -m pip install matplotlib")
        return None
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure, path):
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise SystemExit(f"The image cannot be written: {error}") from error
    print(f"Image: {path}")
