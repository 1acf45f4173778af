"""Animate the decision boundary of a small network during training.

    python examples/decision_boundary.py
    python examples/decision_boundary.py --data spirals --arms 3 --out spirals.gif
    python examples/decision_boundary.py --live

The data are points in two moons or in spirals. After each epoch the decision regions are drawn, and
the images are combined into an animated GIF, or shown in a window with `--live`.
"""

import argparse
from pathlib import Path

import numpy as np
from lesson import file_to_write

import nn
from nn.callbacks import LambdaCallback

INCHES, DPI = (4.8, 4.0), 75
COLOURS = 64  # in an image of the GIF, which is smaller with fewer
RESOLUTION = 80  # points of the plane along each axis
SEED = 0


def make_moons(n, noise=0.15, seed=SEED):
    """Return points on two interleaving half circles, and their labels."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    angle = rng.uniform(0, np.pi, n)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x[y == 1] = [1, 0.5] - x[y == 1]  # the other one flipped and shifted
    return (x + rng.normal(0, noise, x.shape)).astype("float32"), y


def make_spirals(n, arms=3, noise=0.04, seed=SEED):
    """Return points on spirals around the origin, and their labels."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % arms
    radius = rng.uniform(0.1, 1, n)
    angle = 4.5 * radius + 2 * np.pi * y / arms
    x = radius[:, np.newaxis] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (x + rng.normal(0, noise, x.shape)).astype("float32"), y


def make_model(classes, seed=SEED):
    layers = [nn.Dense(32, activation="tanh", input_shape=(2,)), nn.Dense(32, activation="tanh")]
    model = nn.Model([*layers, nn.Dense(classes)], seed=seed)
    model.compile("categorical_crossentropy", "adam", lr=0.01)
    return model


class Film:
    """Draws the decision boundary after epochs, into images or a window."""

    def __init__(self, model, x, y, window=None, every=1):
        self.model, self.x, self.y, self.window, self.every = model, x, y, window, every
        figure = nn.plot.decision_boundary(model, x, y, resolution=2)  # raises without matplotlib
        if window is not None:
            figure = window.figure(figsize=INCHES, dpi=DPI, layout="constrained")
        figure.clear()
        figure.set_size_inches(INCHES)
        figure.set_dpi(DPI)
        self.figure, self.ax = figure, figure.subplots()
        self.images = []

    def draw(self, epoch, logs):
        if (epoch + 1) % self.every:
            return
        self.ax.clear()
        nn.plot.decision_boundary(self.model, self.x, self.y, resolution=RESOLUTION, ax=self.ax)
        self.ax.set_title(f"epoch {epoch + 1}: loss {logs['loss']:.3f}, accuracy {logs['acc']:.0%}")
        if self.window is None:
            self.images.append(self.image())
        else:
            self.window.pause(0.01)

    def image(self):
        """Return the figure as a Pillow image; matplotlib depends on Pillow."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from PIL import Image

        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        # FASTOCTREE keeps the colours of the points, which have few pixels.
        return image.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)

    def save(self, path, fps):
        first, *others = self.images
        duration = 1000 / fps
        durations = [duration] * len(others) + [2000]  # the last one is shown longer
        try:
            first.save(path, save_all=True, append_images=others, duration=durations, loop=0)
        except OSError as error:
            raise SystemExit(f"The animation cannot be written: {error}") from error


def open_window():
    """Return pyplot if it can open windows, else exit."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        message = "--live needs matplotlib: python -m pip install matplotlib."
        raise SystemExit(message) from error
    from matplotlib import pyplot

    try:
        figure = pyplot.figure()
    except ImportError:  # the selected toolkit is missing, or there is no display
        toolkit = None
    else:
        toolkit = figure.canvas.required_interactive_framework  # None for file output only
        pyplot.close(figure)
    if toolkit is None:
        raise SystemExit(
            "--live needs a display and a GUI toolkit (Tk, Qt, GTK), and matplotlib found none: "
            "omit --live to write a GIF."
        )
    return pyplot


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=("moons", "spirals"), default="spirals")
    parser.add_argument("--arms", type=int, default=3, help="number of spirals, 2 to 8")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--every", type=int, default=2, help="show every second, third ... epoch")
    parser.add_argument("--fps", type=float, default=4, help="images shown per second")
    parser.add_argument(
        "--out", type=file_to_write, default=Path("decision_boundary.gif"), help="file to write"
    )
    parser.add_argument(
        "--live", action="store_true", help="show a window instead of writing a file"
    )
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(arguments)
    if not 2 <= options.arms <= 8:
        parser.error("--arms must be 2 to 8, the number of colours")
    for name in ("samples", "epochs", "every", "fps"):
        if getattr(options, name) <= 0:
            parser.error(f"--{name} must be positive")
    if options.out.suffix.lower() != ".gif":
        parser.error("--out must end in .gif")
    options.every = min(options.every, options.epochs)  # the last epoch at least is shown
    return options


def main(arguments=None):
    options = parse_arguments(arguments)
    if options.data == "moons":
        x, y = make_moons(options.samples, seed=options.seed)
    else:
        x, y = make_spirals(options.samples, options.arms, seed=options.seed)
    window = open_window() if options.live else None
    model = make_model(int(y.max()) + 1, options.seed)
    try:
        film = Film(model, x, y, window, 1 if options.live else options.every)
    except ImportError as error:
        raise SystemExit(str(error)) from error
    model.fit(
        x,
        y,
        epochs=options.epochs,
        batch_size=16,
        callbacks=LambdaCallback(on_epoch_end=film.draw),
        verbose=2 if options.live else 0,
    )
    print(f"Training accuracy: {model.evaluate(x, y)['acc']:.1%}")
    if window is not None:
        window.show()  # until it is closed
        return 0
    film.save(options.out, options.fps)
    print(f"Animation: {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
