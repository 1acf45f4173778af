"""Train a convolutional network on MNIST, save it and load it again.

    python examples/mnist_train.py
    python examples/mnist_train.py --small --epochs 8 --data-dir path/to/mnist
    python examples/mnist_train.py --fast

Uses the full MNIST if it is present or can be downloaded, otherwise the sample in
mnist_dataset/, and prints which. `fashion_train.py` does the same for images of clothing.

`--fast` is a recipe for a higher accuracy in a few epochs: a convolutional network with batch
normalisation, digits that are rotated, moved and scaled, and smaller in the first epochs, a
learning rate that rises and falls, averages of the weights, and, at the test, the average over
shifted copies of each digit. It trains on all training images, without validation.
"""

import argparse
import time
from pathlib import Path

import fast_training
import numpy as np
from report import check_place, print_confusions, save_curves

import nn
from nn.data import load_mnist_or_sample
from nn.data.augment import Compose, ProgressiveResize, RandomAffine

FAST = {"epochs": 8, "batch_size": 128, "lr": 0.1, "weight_decay": 5e-4, "ema_decay": 0.998}
FAST_MOVES = RandomAffine(degrees=12, translate=0.08, scale=0.1, shear=8)
SAMPLE_DIR = Path(__file__).resolve().parent.parent / "mnist_dataset"


def load_digits(folder, download):
    return load_mnist_or_sample(folder, download, sample_path=SAMPLE_DIR)


def parse_arguments(arguments, folder, out):
    parser = argparse.ArgumentParser(description="Train a network on images of 28 x 28 pixels.")
    parser.add_argument("--data-dir", default=folder, help="folder with the four files of the set")
    parser.add_argument("--no-download", action="store_true", help="use only existing files")
    parser.add_argument("--epochs", type=int, help="12; 8 with --fast")
    parser.add_argument("--batch-size", type=int, help="64; 128 with --fast")
    parser.add_argument("--lr", type=float, help="learning rate of Adam; with --fast, of SGD")
    parser.add_argument("--out", default=out, help="file for the trained model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", metavar="FILE", help="with --fast, append the results as JSON")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--small", action="store_true", help="a smaller, faster network")
    kind.add_argument("--fast", action="store_true", help="another recipe: few epochs, averages")
    options = parser.parse_args(arguments)
    if options.log and not options.fast:
        parser.error("--log needs --fast")
    defaults = FAST if options.fast else {"epochs": 12, "batch_size": 64, "lr": 1e-3}
    for name in ("epochs", "batch_size", "lr"):
        if getattr(options, name) is None:
            setattr(options, name, defaults[name])
    return options


def fast_network(seed):
    """Return five convolutions with batch normalisation, for images of any size."""
    layers = []
    for filters, is_last in ((32, False), (32, True), (64, False), (64, True), (128, False)):
        first = {} if layers else {"input_shape": (1, None, None)}
        layers += [nn.Conv2D(filters, use_bias=False, **first), nn.BatchNorm2D(), nn.ReLU()]
        layers += [nn.MaxPool2D()] if is_last else []
    layers += [nn.GlobalAvgPool2D(), nn.Dense(10)]
    return nn.Model(layers, seed=seed, name="fast_network")


def fast_augmentation(epochs):
    """Return the augmentation of the fast recipe: digits of 20 x 20 in 3 of 8 epochs."""
    small = round(3 / 8 * epochs)
    return Compose([FAST_MOVES, ProgressiveResize([20] * small + [28])])


def compile_fast(model, lr):
    """Compile a model for the fast recipe, and return it."""
    model.compile(
        loss=nn.losses.CategoricalCrossentropy(label_smoothing=0.1),
        optimizer=nn.optim.SGD(lr, 0.9, nesterov=True),
        weight_decay=FAST["weight_decay"],
        ema_decay=FAST["ema_decay"],
    )
    return model


def train_fast(model, train, test, options):
    """Train by the fast recipe, leave the averages in the model; return history and facts."""
    compile_fast(model, options.lr)
    clock, started = fast_training.Clock(), time.perf_counter()
    history = model.fit(
        train,
        epochs=options.epochs,
        batch_size=options.batch_size,
        lr_schedule="one_cycle",
        augment=fast_augmentation(options.epochs),
        callbacks=[clock],
    )
    seconds = time.perf_counter() - started
    model.use_averaged_weights()
    classes = fast_training.predicted_classes(model, test, clock, shifts=1)
    plain, averaged = (float(np.mean(found == test.y)) for found in classes)
    print(f"Test accuracy: {plain:.2%}, with shifted copies {averaged:.2%}")
    print(f"{clock.images:,} images. {clock}")
    names = ("seed", "epochs", "batch_size")
    facts = {name: getattr(options, name) for name in names}
    facts |= {"accuracy": plain, "accuracy_with_copies": averaged}
    return history, facts | fast_training.facts_of(history, clock, seconds)


def train_plainly(model, train, test, options):
    """Train with Adam until the validation accuracy stops rising; return history and facts."""
    model.compile(loss="categorical_crossentropy", optimizer="adam", lr=options.lr)
    history = model.fit(
        train,
        epochs=options.epochs,
        batch_size=options.batch_size,
        validation_split=0.1,
        early_stopping=True,
        lr_schedule="plateau",
    )
    print(f"Test accuracy: {model.evaluate(test)['acc']:.2%}")
    return history, {}


def main(arguments=None, load=load_digits, folder=SAMPLE_DIR, out="mnist_model.hdf5"):
    started = time.perf_counter()
    options = parse_arguments(arguments, folder, out)
    check_place(options.out)
    try:
        train, test, source = load(options.data_dir, not options.no_download)
    except (OSError, ValueError) as error:  # missing or invalid files
        raise SystemExit(str(error)) from error
    print(f"Data: {source}")

    make_model = nn.zoo.small_cnn if options.small else nn.zoo.mnist_cnn
    model = (fast_network if options.fast else make_model)(seed=options.seed)
    print(model.summary())
    history, facts = (train_fast if options.fast else train_plainly)(model, train, test, options)
    print_confusions(test.y, model.predict_classes(test), test.class_names)

    model.save(options.out)
    loaded = nn.Model.load(options.out)
    same = np.array_equal(model.predict(test), loaded.predict(test))
    print(f"Saved to {options.out}. Loaded again, it predicts the same: {same}.")
    if history:  # empty if interrupted in the first epoch
        save_curves(history, Path(options.out).with_suffix(".png"))
    fast_training.write_log(options.log, facts, started)
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
