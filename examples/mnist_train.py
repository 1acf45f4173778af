"""Train a convolutional network to read handwritten digits, save it and use it.

    python examples/mnist_train.py
    python examples/mnist_train.py --small --epochs 8 --data-dir path/to/mnist

Takes the full MNIST where it is, else downloads it, else uses the small sample that is
shipped in mnist_dataset/, and says which.
"""

import argparse
from pathlib import Path

import numpy as np

import nn
from nn.data import load_mnist_or_sample
from nn.metrics import confusion_matrix

SAMPLE_DIR = Path(__file__).resolve().parent.parent / "mnist_dataset"


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", default=SAMPLE_DIR, help="folder with the MNIST files")
    parser.add_argument("--no-download", action="store_true", help="use what is there already")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate of Adam")
    parser.add_argument("--out", default="mnist_model.hdf5", help="file for the trained model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="a smaller, quicker network")
    return parser.parse_args(arguments)


def make_model(small, seed):
    if small:
        layers = [
            nn.Conv2D(8, input_shape=(1, 28, 28)),
            nn.ReLU(),
            nn.MaxPool2D(),
            nn.Conv2D(16),
            nn.ReLU(),
            nn.MaxPool2D(),
            nn.Flatten(),
            nn.Dense(64),
            nn.ReLU(),
            nn.Dense(10),
        ]
    else:  # the network of Keras' own MNIST example
        layers = [
            nn.Conv2D(32, padding="valid", input_shape=(1, 28, 28)),
            nn.ReLU(),
            nn.MaxPool2D(),
            nn.Conv2D(64, padding="valid"),
            nn.ReLU(),
            nn.MaxPool2D(),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Dense(10),
        ]
    return nn.Model(layers, seed=seed, name="MNIST, small" if small else "MNIST")


def print_confusions(labels, predicted, rows=5):
    """Print the pairs of digits that are most often taken for one another."""
    counts = confusion_matrix(labels, predicted, num_classes=10)
    np.fill_diagonal(counts, 0)
    print("Most confused digits:")
    print("  is   read as   times")
    for flat in np.argsort(counts, axis=None)[::-1][:rows]:
        digit, read_as = np.unravel_index(flat, counts.shape)
        if counts[digit, read_as]:
            print(f"  {digit:>2}   {read_as:>7}   {counts[digit, read_as]:>5}")


def main(arguments=None):
    options = parse_arguments(arguments)
    train, test, source = load_mnist_or_sample(
        options.data_dir, download=not options.no_download, sample_path=SAMPLE_DIR
    )
    print(f"Data: {source}")

    model = make_model(options.small, options.seed)
    print(model.summary())
    model.compile(loss="categorical_crossentropy", optimizer="adam", lr=options.lr)
    model.fit(
        train,
        epochs=options.epochs,
        batch_size=options.batch_size,
        validation_split=0.1,
        early_stopping=True,
        lr_schedule="plateau",
    )

    print(f"Test accuracy: {model.evaluate(test)['acc']:.2%}")
    x, labels = test.arrays()
    print_confusions(labels, model.predict_classes(x))

    model.save(options.out)
    loaded = nn.Model.load(options.out)
    same = np.array_equal(model.predict(x), loaded.predict(x))
    print(f"Saved to {options.out}. Loaded again, it predicts the same: {same}.")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
