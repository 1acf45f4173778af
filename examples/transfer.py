"""Transfer learning: features learned on the digits 0 to 4 help to classify 5 to 9.

    python examples/transfer.py
    python examples/transfer.py --shots 1 2 5 --draws 10 --epochs 60

A network is trained on the digits 0 to 4 and saved. Then four networks are trained on the same few
images of the digits 5 to 9:

  scratch     the convolutions and a new last layer, with random initial weights
  frozen      the saved convolutions, not trained, and a new last layer
  tuned       the same, but the convolutions are trained at a tenth of the learning rate
  all frozen  the saved network, including its layer of 64 units, with a new last layer

The features of the first layers are useful for all digits, while those of the layer of 64 units are
specific to 0 to 4. See Yosinski, Clune, Bengio and Lipson 2014, "How transferable are features in
deep neural networks?"
"""

import argparse
from pathlib import Path

import numpy as np
from lesson import (
    add_common,
    check_finished,
    file_to_write,
    load_digits,
    new_figure,
    save_figure,
    whole,
)

import nn

OLD, NEW = range(5), range(5, 10)
CLASSES = 10  # outputs of the new last layer; that of the saved network has 5
HEAD = 3  # layers of small_cnn after its convolutions: Dense, ReLU, Dense
SLOWER = 0.1  # factor of the learning rate for the pretrained layers


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--shots",
        type=whole,
        nargs="+",
        default=[1, 2, 5, 10, 20],
        help="numbers of training images of each new digit",
    )
    parser.add_argument(
        "--draws", type=whole, default=5, help="number of random selections of these images"
    )
    parser.add_argument("--epochs", type=whole, default=40, help="epochs with the few images")
    parser.add_argument(
        "--first-epochs", type=whole, default=5, help="epochs with the digits 0 to 4"
    )
    parser.add_argument(
        "--model-file",
        type=file_to_write,
        default=Path("transfer_model.hdf5"),
        help="model for 0 to 4",
    )
    add_common(parser, "transfer.png")
    return parser.parse_args(arguments)


def only(data, digits):
    """Return the images of some of the digits."""
    rows = np.isin(data.y, digits)
    return nn.Dataset(data.x[rows], data.y[rows])


def few(data, shots, rng):
    """Return `shots` random images of each class."""
    rows = [rng.permutation(np.flatnonzero(data.y == label))[:shots] for label in np.unique(data.y)]
    rows = np.concatenate(rows)
    return nn.Dataset(data.x[rows], data.y[rows])


# -------------------------------------------------------------------------- the networks


def with_new_head(model, layers):
    """Replace the last `layers` layers of the model by a new last layer."""
    for _ in range(layers):
        model.pop()
    model.add(nn.Dense(CLASSES))
    return model


def frozen(model):
    """Freeze all layers of the model but the last."""
    for layer in model.layers[:-1]:
        layer.trainable = False
    return model


def from_scratch(path, seed):
    return with_new_head(nn.zoo.small_cnn(seed=seed), HEAD)


def with_saved_convolutions(path, seed):
    model = from_scratch(path, seed)
    model.load_weights(path, strict=False)  # loads what matches; `main` prints the report
    return model


def with_frozen_convolutions(path, seed):
    return frozen(with_saved_convolutions(path, seed))


def fine_tuned(path, seed):
    model = with_saved_convolutions(path, seed)
    for layer in model.layers[:-1]:
        layer.lr_factor = SLOWER
    return model


def with_all_frozen(path, seed):
    return frozen(with_new_head(nn.Model.load(path), 1))


METHODS = {
    "scratch": from_scratch,
    "frozen": with_frozen_convolutions,
    "tuned": fine_tuned,
    "all frozen": with_all_frozen,
}


def learn(method, train, test, options, seed):
    """Return the test accuracy of one network after training on a few images."""
    model = METHODS[method](options.model_file, seed)
    model.compile(loss="cce", optimizer="adam", lr=3e-3)
    history = model.fit(train, epochs=options.epochs, batch_size=10, verbose=0)
    check_finished(history, options.epochs)
    return model.evaluate(test)["acc"]


# -------------------------------------------------------------------------------- experiments


def learn_first_digits(train, test, options):
    """Train a network on the digits 0 to 4 and save it."""
    model = nn.zoo.small_cnn(num_classes=len(OLD), seed=options.seed)
    model.compile(loss="cce", optimizer="adam", lr=3e-3)
    train, test = only(train, OLD), only(test, OLD)
    history = model.fit(train, epochs=options.first_epochs, batch_size=64, verbose=0)
    check_finished(history, options.first_epochs)
    print(f"Digits 0 to 4, {len(train):,} images: test accuracy {model.evaluate(test)['acc']:.1%}")
    try:
        model.save(options.model_file)
    except OSError as error:
        raise SystemExit(f"The model cannot be saved: {error}") from error


def draw(table, path):
    """Draw the accuracies and their mean over the number of images for each method."""
    figure = new_figure(7, 4.5)
    if figure is None:
        return
    axes = figure.subplots()
    shots = sorted(table)
    for number, method in enumerate(METHODS):
        colour = f"C{number}"
        axes.plot(shots, [table[k][method].mean() for k in shots], "o-", color=colour, label=method)
        for k in shots:
            axes.plot([k] * len(table[k][method]), table[k][method], ".", color=colour, alpha=0.4)
    axes.set_xscale("log")
    axes.set_xticks(shots, [str(k) for k in shots])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="images of each new digit", ylabel="test accuracy, digits 5 to 9")
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def main(arguments=None):
    options = parse_arguments(arguments)
    train, test = load_digits(options.data_dir)
    learn_first_digits(train, test, options)
    network = from_scratch(options.model_file, options.seed)
    print(
        network.load_weights(options.model_file, strict=False)
    )  # what was loaded and what was not

    train, test = only(train, NEW), only(test, NEW)
    rng = np.random.default_rng(options.seed)
    print(f"Digits 5 to 9, accuracy on {len(test):,} images, mean of {options.draws} draws:")
    print("  images of each", *(f"{method:>10}" for method in METHODS))
    table = {}
    for shots in dict.fromkeys(options.shots):
        found = {method: [] for method in METHODS}
        for draw_number in range(options.draws):
            seen = few(train, shots, rng)
            for method in METHODS:
                accuracy = learn(method, seen, test, options, options.seed + draw_number)
                found[method].append(accuracy)
        table[shots] = {method: np.array(found[method]) for method in METHODS}
        means = (f"{table[shots][method].mean():10.1%}" for method in METHODS)
        print(f"  {shots:16}", *means, flush=True)
    draw(table, options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
