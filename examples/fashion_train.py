"""Train a convolutional network on Fashion-MNIST, images of ten kinds of clothing.

    python examples/fashion_train.py
    python examples/fashion_train.py --small --epochs 8 --data-dir path/to/fashion-mnist

The data set has the format and file names of MNIST, so this script reuses `mnist_train.py` with
another function that loads the data.
"""

from mnist_train import main

from nn.data import load_fashion_mnist


def load_clothing(folder, download):
    train, test = load_fashion_mnist(folder, download)
    return train, test, f"Fashion-MNIST, {len(train):,} + {len(test):,} images from '{folder}'"


if __name__ == "__main__":
    raise SystemExit(main(None, load_clothing, "fashion_dataset", "fashion_model.hdf5"))
