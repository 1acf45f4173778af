"""What the examples show at their end: which classes are hard, and the curves of the training.

And what they ask at their beginning: whether there is a place for the result.
"""

import os
from pathlib import Path

import numpy as np

import nn
from nn.metrics import confusion_matrix


def check_place(path):
    """End the program where a file cannot be written later, after the training."""
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        raise SystemExit(f"--out {path}: there is no folder '{folder}'; make it first.")
    if Path(path).is_dir() or not os.access(folder, os.W_OK):
        raise SystemExit(f"--out {path}: cannot be written there; choose another place.")


def print_confusions(labels, predicted, class_names, rows=5):
    """Print the pairs of classes that are most often taken for one another."""
    counts = confusion_matrix(labels, predicted, num_classes=len(class_names))
    np.fill_diagonal(counts, 0)
    if not counts.any():
        return
    width = max(len("taken for"), *map(len, class_names))
    print("Most confused classes:")
    print(f"  {'is':>{width}}   {'taken for':>{width}}   times")
    for flat in np.argsort(counts, axis=None)[::-1][:rows]:
        true, taken = np.unravel_index(flat, counts.shape)
        if counts[true, taken]:
            names = f"{class_names[true]:>{width}}   {class_names[taken]:>{width}}"
            print(f"  {names}   {counts[true, taken]:>5}")


def print_class_accuracies(labels, predicted, class_names):
    """Print the share of each class that was recognised."""
    counts = confusion_matrix(labels, predicted, num_classes=len(class_names))
    right, total = np.diag(counts), counts.sum(axis=1)
    width = max(len("class"), *map(len, class_names))
    print("Accuracy of each class:")
    for name, part, whole in zip(class_names, right, total, strict=True):
        share = f"{part / whole:7.1%}" if whole else "   none"
        print(f"  {name:>{width}} {share} of {whole:,}")


def save_curves(history, path):
    """Draw loss, accuracy and learning rate over the epochs into a PNG file."""
    try:
        figure = nn.plot.learning_curves(history)
    except ImportError:
        print("No curves are drawn without matplotlib: python -m pip install matplotlib")
        return
    figure.savefig(path, dpi=120)
    print(f"Curves: {path}")
