"""Train a convolutional autoencoder that compresses digits to a quarter, or removes noise.

    python examples/autoencoder.py
    python examples/autoencoder.py --noise 0.5 --epochs 10
    python examples/autoencoder.py --filters 16 8 --loss mse

The encoder maps an image to a small code, the decoder the code to an image; the targets are the
images themselves. With `--noise` the inputs are noisy images, with new noise in every epoch, and
the targets the clean ones. The mean squared error on the test digits is compared with that of
always predicting the mean of the training digits.

Vincent, Larochelle, Bengio and Manzagol 2008, "Extracting and composing robust features with
denoising autoencoders".
"""

import argparse
from pathlib import Path

import numpy as np
from lesson import (
    add_common,
    at_least_0,
    file_to_write,
    load_digits,
    new_figure,
    positive,
    save_figure,
    whole,
)

import nn

SHOWN = 10  # digits in the image


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--filters",
        type=whole,
        nargs="+",
        default=[16, 4],
        help="filters of each stage, at most two",
    )
    parser.add_argument("--loss", choices=["bce", "mse"], default="bce")
    parser.add_argument(
        "--noise", type=at_least_0, default=0.0, help="standard deviation of the noise"
    )
    parser.add_argument("--epochs", type=whole, default=5)
    parser.add_argument("--batch-size", type=whole, default=32)
    parser.add_argument("--lr", type=positive, default=3e-3, help="maximum learning rate of Adam")
    parser.add_argument(
        "--model-file", type=file_to_write, default=Path("autoencoder_model.hdf5"), help="to save"
    )
    add_common(parser, "autoencoder.png")
    options = parser.parse_args(arguments)
    if len(options.filters) > 2:
        parser.error("--filters allows at most two stages: 28 pixels can be halved twice")
    return options


def add_noise(x, noise, rng):
    """Return images with normal noise, clipped to [0, 1]."""
    return np.clip(x + noise * rng.normal(size=x.shape), 0, 1).astype(x.dtype)


def mean_square(images, targets):
    return float(((images - targets) ** 2).mean())


def fit(model, x, options):
    """Train the model to reconstruct the images, from noisy images with --noise."""
    noise = options.noise
    try:
        history = model.fit(
            x,
            x,  # the images are their own targets
            epochs=options.epochs,
            batch_size=options.batch_size,
            lr_schedule="one_cycle",
            augment=(lambda x, rng: add_noise(x, noise, rng)) if noise else None,
            verbose=2,
        )
    except FloatingPointError as error:
        raise SystemExit(str(error)) from error
    if not history:
        raise SystemExit("Stopped in the first epoch, without a result.")


def draw(rows, path):
    """Draw labelled rows of digits."""
    figure = new_figure(SHOWN, 1.15 * len(rows))
    if figure is None:
        return
    for line, (name, images) in zip(figure.subplots(len(rows), SHOWN), rows.items(), strict=True):
        for axes, image in zip(line, images, strict=True):
            axes.imshow(image[0], cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    save_figure(figure, path)


def one_of_each(labels):
    """Return the index of the first image of each digit."""
    return [int(np.flatnonzero(labels == digit)[0]) for digit in range(SHOWN)]


def main(arguments=None):
    options = parse_arguments(arguments)
    train, test = load_digits(options.data_dir)
    (x, _), (x_test, labels) = train.arrays(), test.arrays()
    inputs = add_noise(x_test, options.noise, np.random.default_rng(options.seed))

    model = nn.zoo.conv_autoencoder(filters=options.filters, seed=options.seed)
    print(model.summary())
    code = model.layers[0].output_shape[1:]
    print(f"The code of an image is {code}: {np.prod(code)} numbers for {x[0].size} pixels.")
    model.compile(loss=options.loss, optimizer="adam", lr=options.lr, metrics=["mse"])
    fit(model, x, options)

    outputs = model.predict(inputs)
    print("Mean squared error on the test digits:")
    print(f"  {'mean of all training digits':34} {mean_square(x.mean(axis=0), x_test):.4f}")
    if options.noise:
        print(f"  {'noisy images':34} {mean_square(inputs, x_test):.4f}")
    print(f"  {'autoencoder':34} {mean_square(outputs, x_test):.4f}")
    try:
        model.save(options.model_file)
    except OSError as error:
        raise SystemExit(f"The model cannot be saved: {error}") from error
    print(f"Model: {options.model_file}")
    shown = one_of_each(labels)
    rows = {"input": inputs[shown], "output": outputs[shown]}
    if options.noise:
        rows["clean"] = x_test[shown]
    draw(rows, options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
