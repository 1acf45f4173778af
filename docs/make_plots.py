"""Draw the figures of docs/plots.md, with networks trained for it.

    python docs/make_plots.py

It uses the digits of mnist_dataset/, takes a minute or two, and writes into docs/images/. The
animation there is made by examples/decision_boundary.py.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT / "examples"))  # for its spirals

import decision_boundary  # noqa: E402

import nn  # noqa: E402


def digit_models(train: nn.Dataset, test: nn.Dataset, epochs: int) -> dict[str, nn.Model]:
    """Return two networks trained on the digits with different optimizers."""
    models = {}
    for optimizer, lr in (("adam", 2e-3), ("sgd", 0.1)):
        model = nn.zoo.small_cnn(seed=0)
        model.class_names = None
        model.compile("cce", optimizer, lr=lr)
        model.fit(train, epochs=epochs, val_data=test, lr_schedule="cosine", verbose=0)
        models[optimizer] = model
    return models


def spiral_model(epochs: int) -> tuple[nn.Model, np.ndarray, np.ndarray]:
    """Return a network trained on three spirals, and the points."""
    x, y = decision_boundary.make_spirals(300, arms=3, seed=0)
    model = decision_boundary.make_model(classes=3, seed=0)
    model.fit(x, y, epochs=epochs, verbose=0)
    return model, x, y


def residual_network() -> nn.Model:
    """Return a small network with both kinds of residual blocks and a stack within the stack."""
    block = [nn.Conv2D(8), nn.BatchNorm2D(), nn.ReLU(), nn.Conv2D(8), nn.BatchNorm2D()]
    down = [nn.Conv2D(16, stride=2), nn.BatchNorm2D()]
    head = nn.Sequential([nn.GlobalAvgPool2D(), nn.Dense(32, activation="relu"), nn.Dense(10)])
    stack = [nn.Conv2D(8, input_shape=(3, 32, 32)), nn.ReLU(), nn.Residual(block), nn.ReLU()]
    return nn.Model([*stack, nn.Residual(down), nn.ReLU(), head], seed=0, name="residual")


def new_network() -> nn.Model:
    """Return a network for the digits that is about to learn."""
    model = nn.zoo.small_cnn(seed=1)
    model.compile("cce", "sgd", lr=0.1)
    return model


def figures(epochs: int, spiral_epochs: int) -> dict[str, Any]:
    """Return every figure by the name of its file."""
    train, test = nn.data.load_mnist_sample(ROOT / "mnist_dataset")
    models = digit_models(train, test, epochs)
    model = models["adam"]
    spirals, points, arms = spiral_model(spiral_epochs)
    x, y = test.arrays()
    new = new_network()
    chosen = np.array([np.flatnonzero(y == digit)[1] for digit in (2, 3, 5, 7, 8)])
    decided = model.predict_classes(x)
    return {
        "learning_curves": nn.plot.learning_curves(model.history),
        "comparison": nn.plot.learning_curves({name: m.history for name, m in models.items()}),
        "lr_range": nn.plot.lr_range(nn.find_lr(new, train, lr_min=1e-4, batch_size=64)),
        "images": nn.plot.images(train, n=24),
        "confusion_matrix": nn.plot.confusion_matrix(y, decided),
        "worst_mistakes": nn.plot.worst_mistakes(model, test, n=10),
        "filters": nn.plot.filters(model),
        "feature_maps": nn.plot.feature_maps(model, x[chosen[:1]], layer="1_ReLU"),
        "saliency": nn.plot.saliency(model, x[chosen]),
        "grad_cam": nn.plot.grad_cam(model, x[chosen]),
        "decision_boundary": nn.plot.decision_boundary(spirals, points, arms),
        "weight_histograms": nn.plot.weight_histograms(model),
        "gradient_histograms": nn.plot.gradient_histograms(new, x[:64], y[:64]),
        "architecture": nn.plot.architecture(residual_network()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the images."""
    parser = argparse.ArgumentParser(description="Draw the images of docs/plots.md.")
    parser.add_argument("--out", type=Path, default=DOCS / "images", help="folder for them")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--spiral-epochs", type=int, default=150)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures(options.epochs, options.spiral_epochs).items():
        figure.savefig(options.out / f"{name}.png", dpi=100)
        print(options.out / f"{name}.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
