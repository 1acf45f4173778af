"""Peak resident memory of training the MNIST network, process and data included.

python benchmarks/peak_memory.py --data-dir mnist_dataset --batch-size 256
"""

import argparse
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

from mnist_train import make_model

from nn.data import load_mnist


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", default="mnist_dataset", help="folder with the full MNIST")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()

    train, test = load_mnist(options.data_dir)
    model = make_model(small=False, seed=0)
    model.compile("cce", "adam")
    start = time.perf_counter()
    model.fit(train, epochs=options.epochs, batch_size=options.batch_size, val_data=test, verbose=2)
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    print(f"{seconds:.0f} s, peak resident memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
