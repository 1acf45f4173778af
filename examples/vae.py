"""Train a variational autoencoder on digits and draw new ones from its latent plane.

    python examples/vae.py
    python examples/vae.py --data-dir mnist_dataset --epochs 30

The encoder maps an image to a normal distribution over the plane, the sampling layer draws a point
from it, and the decoder maps the point to an image. The loss is the cross-entropy of the image plus
the divergence of the distribution from the standard normal one, so that the digits fill the plane
without gaps. The image on the left shows the decoder's digits at points of a grid, the one on the
right the means of the test digits.

Kingma and Welling 2014, "Auto-encoding variational Bayes", arXiv 1312.6114; figure 4b is a plane
like this one.
"""

import argparse
import statistics

import numpy as np
from lesson import (
    add_common,
    check_finished,
    load_digits,
    new_figure,
    positive,
    save_figure,
    whole,
)

import nn


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=whole, default=256, help="units of the hidden layers")
    parser.add_argument("--epochs", type=whole, default=30)
    parser.add_argument("--batch-size", type=whole, default=64)
    parser.add_argument("--lr", type=positive, default=2e-3, help="maximum learning rate of Adam")
    parser.add_argument("--grid", type=whole, default=16, help="digits in a row of the plane")
    add_common(parser, "vae.png")
    return parser.parse_args(arguments)


def plane(decoder, count):
    """Return the image of count x count digits, decoded at a grid of points.

    The points divide the standard normal distribution into parts of equal probability.
    """
    normal = statistics.NormalDist()
    ticks = [normal.inv_cdf((k + 0.5) / count) for k in range(count)]
    points = np.array([(x, y) for y in reversed(ticks) for x in ticks])
    digits = decoder.predict(points)[:, 0]  # (count * count, H, W)
    height, width = digits.shape[1:]
    rows = digits.reshape(count, count, height, width).swapaxes(1, 2)
    return rows.reshape(count * height, count * width)  # (rows, H, columns, W) -> one image


def draw(digits, means, labels, path):
    """Draw the plane of digits, and the means of the test digits with their labels."""
    figure = new_figure(12, 6)
    if figure is None:
        return
    left, right = figure.subplots(1, 2)
    left.imshow(digits, cmap="gray_r", vmin=0, vmax=1)
    left.set(xticks=[], yticks=[], title="digits of the latent plane")
    points = right.scatter(*means.T, c=labels, s=4, cmap="tab10", vmin=-0.5, vmax=9.5)
    figure.colorbar(points, ax=right, ticks=range(10))
    right.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal", title="means of the test digits")
    save_figure(figure, path)


def main(arguments=None):
    options = parse_arguments(arguments)
    train, test = load_digits(options.data_dir)
    (x, _), (x_test, labels) = train.arrays(), test.arrays()
    model = nn.zoo.vae(hidden_dims=(options.hidden,), seed=options.seed)
    print(model.summary())
    model.compile(loss="bce", optimizer="adam", lr=options.lr, metrics=["mse"])
    try:
        history = model.fit(
            x,
            x,  # the images are their own targets
            epochs=options.epochs,
            batch_size=options.batch_size,
            lr_schedule="one_cycle",
            verbose=2,
        )
    except FloatingPointError as error:
        raise SystemExit(str(error)) from error
    check_finished(history, options.epochs)

    encoder, _, decoder = (nn.Model([layer]) for layer in model.layers)
    figures, pixels = model.evaluate(x_test, x_test), x[0].size
    print(f"Loss of a test digit, {pixels} pixels: {figures['loss'] * pixels:.1f} nats")
    spread = x_test.var(axis=0).mean()
    print(f"Mean squared error: {figures['mse']:.4f}, of the mean image: {spread:.4f}")
    means = encoder.predict(x_test)[:, :2]
    draw(plane(decoder, options.grid), means, labels, options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
