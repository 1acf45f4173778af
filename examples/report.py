"""Helpers of the examples: confusions, accuracy by class, learning curves, checks of --out."""

import os
from pathlib import Path

import numpy as np

import nn
from nn.metrics import confusion_matrix


def check_place(path):
    """Exit before the training if the output file could not be written after it."""
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        raise SystemExit(f"--out {path}: there is no folder '{folder}'; create it first.")
    if Path(path).is_dir() or not os.access(folder, os.W_OK):
        raise SystemExit(f"--out {path}: the file cannot be written; choose another path.")


def print_confusions(labels, predicted, class_names, rows=5):
    """Print the pairs of classes that are confused most often."""
    counts = confusion_matrix(labels, predicted, num_classes=len(class_names))
    np.fill_diagonal(counts, 0)
    if not counts.any():
        return
    width = max(len("predicted"), *map(len, class_names))
    print("Most confused classes:")
    print(f"  {'true':>{width}}   {'predicted':>{width}}   times")
    for flat in np.argsort(counts, axis=None)[::-1][:rows]:
        true, guess = np.unravel_index(flat, counts.shape)
        if counts[true, guess]:
            names = f"{class_names[true]:>{width}}   {class_names[guess]:>{width}}"
            print(f"  {names}   {counts[true, guess]:>5}")


def print_class_accuracies(labels, predicted, class_names):
    """Print the accuracy of each class."""
    counts = confusion_matrix(labels, predicted, num_classes=len(class_names))
    right, total = np.diag(counts), counts.sum(axis=1)
    width = max(len("class"), *map(len, class_names))
    print("Accuracy of each class:")
    for name, part, whole in zip(class_names, right, total, strict=True):
        share = f"{part / whole:7.1%}" if whole else "   none"
        print(f"  {name:>{width}} {share} of {whole:,}")


def save_curves(history, path):
    """Save the learning curves as a PNG file."""
    try:
        figure = nn.plot.learning_curves(history)
    except ImportError:
        print("The curves need matplotlib: python -m pip install matplotlib")
        return
    figure.savefig(path, dpi=120)
    print(f"Curves: {path}")
