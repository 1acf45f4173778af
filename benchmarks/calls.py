"""How many calls of nn's functions a batch of training makes, with the kernels that need no Numba.

A call costs Python as much as the arithmetic of a small array, so their number is what small
networks wait for. Counted is the third batch of `fit`: what is done only once is done by then.

    python benchmarks/calls.py           # the number for two networks
    python benchmarks/calls.py --list 20  # and the functions that are called most
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.modules["numba"] = None  # so that nn does not find it

import numpy as np  # noqa: E402

import nn  # noqa: E402

ROOT = str(Path(nn.__file__).parent)


class CountCalls(nn.callbacks.Callback):
    """Counts calls of nn's functions between the begin and the end of the third batch."""

    def __init__(self):
        self.calls = Counter()

    def on_train_batch_begin(self, batch, logs):
        if batch == 2:
            sys.setprofile(self._count)

    def on_train_batch_end(self, batch, logs):
        sys.setprofile(None)

    def _count(self, frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(ROOT):
            place = Path(code.co_filename).relative_to(ROOT).as_posix()
            self.calls[f"{place} {code.co_qualname}"] += 1


def small():
    """Return the network of docs/architecture.md and a batch size."""
    layers = [nn.Conv2D(4, 3, input_shape=(1, 12, 12)), nn.ReLU(), nn.MaxPool2D(2), nn.Flatten()]
    return nn.Model([*layers, nn.Dense(10)], seed=0), 16


def resnet20():
    """Return ResNet-20 for small images and a batch size."""
    return nn.zoo.resnet20(input_shape=(3, 16, 16), num_classes=10, seed=0), 4


def count(model, batch_size):
    """Return the calls of a batch, by function."""
    rng = np.random.default_rng(0)
    x = rng.random((4 * batch_size, *model.input_shape[1:]), dtype="float32")
    y = rng.integers(0, 10, len(x))
    model.compile("cce", "sgd", lr=0.01)
    counter = CountCalls()
    model.fit(x, y, batch_size=batch_size, callbacks=[counter], verbose=0, num_threads=0)
    return counter.calls


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", type=int, default=0, metavar="N", help="functions to list")
    arguments = parser.parse_args()
    for make in (small, resnet20):
        calls = count(*make())
        print(f"{make.__name__}: {calls.total():,} calls of nn's functions a batch")
        for name, times in calls.most_common(arguments.list):
            print(f"  {times:5d}  {name}")


if __name__ == "__main__":
    main()
