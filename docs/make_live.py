"""Train the network of "Draw a digit" on the first page, and write docs/live/digits.onnx.

    python docs/make_live.py

It is the network of examples/mnist_gui.py, trained on the sample in mnist_dataset/ as there. It
takes a minute or two on 2 cores, with the extras `fast` and `images`.
"""

import argparse
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent / "examples"))

import mnist_sketch  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Train, export and print the accuracy on the test digits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--out", type=Path, default=DOCS / "live" / "digits.onnx")
    options = parser.parse_args(arguments)
    teacher = mnist_sketch.Teacher(epochs=options.epochs)
    model = teacher.train()
    model.name = "A network for digits"
    model.class_names = [str(digit) for digit in range(10)]
    model.export(options.out, softmax=True)
    while not teacher.news.empty():
        _, (_, text) = teacher.news.get()
    print(f"{text}, {options.out.stat().st_size:,} bytes: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
