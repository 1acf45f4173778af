"""Film the filters of a convolution, or the weights of a dense layer, while a network learns.

    python examples/film_filters.py
    python examples/film_filters.py --dense --out weights.gif

The film is an animated GIF, which browsers and most viewers show. It needs Pillow, the extra
`images`. Digits come with the package.
"""

import argparse
import sys
from pathlib import Path

from lesson import file_to_write

import nn


def make_model(dense, seed):
    """Return a network whose first layer is worth seeing."""
    if dense:  # one weight for each pixel: the digits themselves appear
        layers = [nn.Flatten(input_shape=(1, 28, 28)), nn.Dense(10)]
    else:
        first = nn.Conv2D(16, 7, stride=2, activation="relu", input_shape=(1, 28, 28))
        layers = [first, nn.MaxPool2D(2), nn.Flatten(), nn.Dense(10)]
    model = nn.Model(layers, seed=seed)
    model.compile("categorical_crossentropy", "adam", lr=3e-3)
    return model


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dense", action="store_true", help="a dense layer, no convolution")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--every", type=int, default=6, help="steps between two images")
    parser.add_argument(
        "--out", type=file_to_write, default=Path("filters.gif"), help="file to write"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.epochs <= 0 or options.every <= 0:
        parser.error("--epochs and --every must be positive")
    if options.out.suffix.lower() != ".gif":
        parser.error("--out must end in .gif")
    return options


def main(arguments=None):
    options = parse_arguments(arguments)
    train, test = nn.data.load_mnist_sample()
    model = make_model(options.dense, options.seed)
    film = nn.callbacks.Film(options.out, every=options.every, by="step")
    model.fit(train, epochs=options.epochs, batch_size=64, callbacks=[film], verbose=2)
    print(f"Accuracy on the test digits: {model.evaluate(test)['acc']:.1%}")
    if not film.is_written:  # a warning has said why
        return 1
    print(f"Film: {options.out}, {len(film.images)} images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
