"""Train a network on your own images, and predict the classes of some.

    python examples/image_folder_train.py photos
    python examples/image_folder_train.py photos --size 64 --epochs 30 --predict new/1.jpg new/2.jpg

`photos` is a folder with one sub-folder of images for each class, named like the class. The images
are scaled to `--size` once and cached in a file in that folder. A fifth of each class is held out
for validation, and the weights of the best epoch are saved in `--out`, together with the class
names.
"""

import argparse
from pathlib import Path

import numpy as np
from report import check_place, print_class_accuracies, print_confusions, save_curves

import nn
from nn.callbacks import ModelCheckpoint
from nn.data import class_weights, load_image, load_image_folder
from nn.data.augment import Compose, RandomBrightness, RandomCrop, RandomFlip

VALIDATION_SHARE = 0.2
UNBALANCED = 1.5  # ratio of the sizes of the largest and smallest class
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")  # of image files


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir", type=Path, help="folder with a sub-folder for each class")
    parser.add_argument("--size", type=int, default=128, help="pixels, 16 or more")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3, help="maximum learning rate of Adam")
    parser.add_argument(
        "--augment",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="flip, shift and brighten the images; not if flipped images are wrong",
    )
    parser.add_argument("--out", type=Path, default="image_model.hdf5", help="file for the model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--predict", nargs="+", type=Path, metavar="FILE", help="images to classify"
    )
    options = parser.parse_args(arguments)
    if options.size < 16:
        parser.error("--size must be 16 or more: the network halves the images four times")
    return options


def make_model(size, classes, lr, seed):
    network = nn.zoo.large_cnn((3, size, size), classes, seed=seed)
    model = nn.Model([nn.Standardize(), *network.layers], seed=seed, name="large_cnn")
    model.build((None, 3, size, size))
    model.compile(loss="categorical_crossentropy", optimizer="adam", lr=lr)
    return model


def balance(labels):
    """Return class weights if the class sizes are very different, else None."""
    counts = np.bincount(labels)
    return class_weights(labels) if counts.max() > UNBALANCED * counts.min() else None


def augmentation(size):
    shift = RandomCrop(size, padding=size // 8, padding_mode="reflect")
    return Compose([RandomFlip(), shift, RandomBrightness(0.2)])


def images_of_each_class(folder, class_names, rng, classes=5):
    """Yield a random image of each of some random classes."""
    for name in rng.permutation(class_names)[:classes]:
        found = sorted(p for p in (folder / name).rglob("*") if p.suffix.lower() in SUFFIXES)
        if found:
            yield found[rng.integers(len(found))]


def print_predictions(model, paths, size):
    print("Predictions:")
    for path in paths:
        try:
            image = load_image(path, size)
        except (OSError, ValueError) as error:
            print(f"  {error}")
            continue
        scores = model.predict(image[np.newaxis])[0]
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()  # the softmax of the scores
        print(f"  {path}: {model.class_names[shares.argmax()]} ({shares.max():.0%})")


def main(arguments=None):
    options = parse_arguments(arguments)
    check_place(options.out)
    rng = np.random.default_rng(options.seed)
    try:
        images = load_image_folder(options.data_dir, options.size)
        train, val = images.split(VALIDATION_SHARE, rng=rng)
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    model = make_model(options.size, images.num_classes, options.lr, options.seed)
    weights = balance(train.y)
    print(model.summary())
    print(f"{len(train):,} images to train and {len(val):,} to validate.")
    if weights:
        print("Class weights balance rare and frequent classes.")

    history = model.fit(
        train,
        validation_data=val,
        epochs=options.epochs,
        batch_size=options.batch_size,
        lr_schedule="one_cycle",
        class_weight=weights,
        augment=augmentation(options.size) if options.augment else None,
        callbacks=ModelCheckpoint(options.out),
    )
    if not history:
        raise SystemExit("Stopped in the first epoch, without a model.")

    model = nn.Model.load(options.out)  # the best epoch's
    predicted = model.predict_classes(val)
    print(f"Validation accuracy of the best epoch: {np.mean(predicted == val.y):.2%}")
    print_class_accuracies(val.y, predicted, val.class_names)
    print_confusions(val.y, predicted, val.class_names)
    save_curves(history, options.out.with_suffix(".png"))
    print(f"Model: {options.out}")
    paths = options.predict or images_of_each_class(options.data_dir, val.class_names, rng)
    print_predictions(model, paths, options.size)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
