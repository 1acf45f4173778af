"""Train a convolutional network to tell kinds of clothing apart: Fashion-MNIST.

    python examples/fashion_train.py
    python examples/fashion_train.py --small --epochs 8 --data-dir path/to/fashion-mnist

The set has the format of MNIST, down to the names of the files, and takes its place in
`mnist_train.py`: all that differs is the folder, and who fills it.
"""

from mnist_train import main

from nn.data import load_fashion_mnist


def load_clothing(folder, download):
    train, test = load_fashion_mnist(folder, download)
    return train, test, f"Fashion-MNIST, {len(train):,} + {len(test):,} images from '{folder}'"


if __name__ == "__main__":
    raise SystemExit(main(None, load_clothing, "fashion_dataset", "fashion_model.hdf5"))
