"""Train a convolutional network on MNIST, save it and load it again.

    python examples/mnist_train.py
    python examples/mnist_train.py --small --epochs 8 --data-dir path/to/mnist

Uses the full MNIST if it is present or can be downloaded, otherwise the sample in
mnist_dataset/, and prints which. `fashion_train.py` does the same for images of clothing.
"""

import argparse
from pathlib import Path

import numpy as np
from report import check_place, print_confusions, save_curves

import nn
from nn.data import load_mnist_or_sample

SAMPLE_DIR = Path(__file__).resolve().parent.parent / "mnist_dataset"


def load_digits(folder, download):
    return load_mnist_or_sample(folder, download, sample_path=SAMPLE_DIR)


def parse_arguments(arguments, folder, out):
    parser = argparse.ArgumentParser(description="Train a network on images of 28 x 28 pixels.")
    parser.add_argument("--data-dir", default=folder, help="folder with the four files of the set")
    parser.add_argument("--no-download", action="store_true", help="use only existing files")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate of Adam")
    parser.add_argument("--out", default=out, help="file for the trained model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="a smaller, faster network")
    return parser.parse_args(arguments)


def main(arguments=None, load=load_digits, folder=SAMPLE_DIR, out="mnist_model.hdf5"):
    options = parse_arguments(arguments, folder, out)
    check_place(options.out)
    try:
        train, test, source = load(options.data_dir, not options.no_download)
    except (OSError, ValueError) as error:  # missing or invalid files
        raise SystemExit(str(error)) from error
    print(f"Data: {source}")

    make_model = nn.zoo.small_cnn if options.small else nn.zoo.mnist_cnn
    model = make_model(seed=options.seed)
    print(model.summary())
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
    print_confusions(test.y, model.predict_classes(test), test.class_names)

    model.save(options.out)
    loaded = nn.Model.load(options.out)
    same = np.array_equal(model.predict(test), loaded.predict(test))
    print(f"Saved to {options.out}. Loaded again, it predicts the same: {same}.")
    if history:  # empty if interrupted in the first epoch
        save_curves(history, Path(options.out).with_suffix(".png"))
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
