"""The logic of `mnist_gui.py` without the GUI: sketch, recogniser and trainer.

`Sketch` holds the strokes, `Recogniser` predicts the digit, and `Teacher` trains a network in a
background thread. They do not depend on Tk.
"""

import math
import queue
import threading
from dataclasses import dataclass

import numpy as np
from lesson import SAMPLE_DIR

import nn
from nn.data import (
    Dataset,
    augment,
    load_mnist,
    load_mnist_sample,
    normalize_digit,
    normalize_digits,
)
from nn.layers.stack import flat

SIDE = 280  # pixels of the sketch, for any size of the window


# --------------------------------------------------------------------------------- the sketch


@dataclass
class Stroke:
    """A line drawn without lifting the pen: its points (x, y) in pixels of the sketch."""

    thickness: float
    points: list


class Sketch:
    """A drawing as a list of steps that can be undone: strokes, images from files, new sheets.

    An image has its own sheet; a stroke after it starts a new one.
    """

    NEW_SHEET = "new sheet"

    def __init__(self):
        self.steps = []
        self.ink = np.zeros((SIDE, SIDE), dtype=np.float32)  # 0 for paper, 1 for ink

    # contents -----------------------------------------------------------------------------

    @property
    def image(self):
        """The image from a file, (H, W) floats in [0, 1], or None."""
        last = self.steps[-1] if self.steps else None
        return last if isinstance(last, np.ndarray) else None

    @property
    def strokes(self):
        """The strokes since the last new sheet or image."""
        first = len(self.steps)
        while first and isinstance(self.steps[first - 1], Stroke):
            first -= 1
        return self.steps[first:]

    @property
    def is_empty(self):
        return self.image is None and not self.strokes

    def raster(self):
        """Return the image, or the ink as (280, 280) floats."""
        return self.ink if self.image is None else self.image

    # drawing ------------------------------------------------------------------------------

    def begin(self, x, y, thickness):
        """Start a stroke."""
        if not self.strokes:
            self.ink[...] = 0
        self.steps.append(Stroke(thickness, [(x, y)]))
        add_line(self.ink, (x, y), (x, y), thickness)

    def extend(self, x, y):
        """Extend the current stroke."""
        stroke = self.steps[-1]
        add_line(self.ink, stroke.points[-1], (x, y), stroke.thickness)
        stroke.points.append((x, y))

    def show(self, image):
        """Show an image of grey values (H, W) in [0, 1], of any size."""
        self.steps.append(image)

    def clear(self):
        """Start a new sheet; `undo` restores the old one."""
        if not self.is_empty:
            self.steps.append(self.NEW_SHEET)
        self.ink[...] = 0

    def undo(self):
        """Undo the last step, if there is one."""
        if self.steps:
            self.steps.pop()
        self.ink[...] = 0
        for stroke in self.strokes:
            points = stroke.points
            for start, end in zip([points[0], *points], points, strict=False):
                add_line(self.ink, start, end, stroke.thickness)


def add_line(ink, start, end, thickness):
    """Draw an antialiased line with round ends into `ink`.

    The coverage of a pixel is computed from the distance of its centre to the line.
    """
    radius = max(thickness, 1) / 2
    (x0, y0), (x1, y1) = start, end
    reach = radius + 1
    left, right = max(0, math.floor(min(x0, x1) - reach)), math.ceil(max(x0, x1) + reach)
    top, bottom = max(0, math.floor(min(y0, y1) - reach)), math.ceil(max(y0, y1) + reach)
    patch = ink[top : max(top, bottom), left : max(left, right)]  # a view: no other pixel changes
    y, x = np.ogrid[top : top + patch.shape[0], left : left + patch.shape[1]]
    x, y = x + 0.5, y + 0.5  # centres of pixels
    dx, dy = x1 - x0, y1 - y0
    length = dx * dx + dy * dy
    along = ((x - x0) * dx + (y - y0) * dy) / length if length else 0.0
    along = np.clip(along, 0, 1)  # position of the nearest point, as a fraction of the length
    distance = np.hypot(x - x0 - along * dx, y - y0 - along * dy)
    np.maximum(patch, np.clip(radius + 0.5 - distance, 0, 1), out=patch)


# ----------------------------------------------------------------------------- the recogniser


class Recogniser:
    """Predicts the digit of an image with any network with ten outputs for 28 x 28 pixels.

    Attributes
    ----------
    has_maps : bool
        Whether the network has a convolution, whose feature maps can be shown.
    """

    def __init__(self, model):
        shape = model.input_shape or (None, 1, 28, 28)
        if math.prod(shape[1:]) != 28 * 28:
            raise ValueError(f"the network is for inputs of {shape[1:]}, not of 28 x 28 pixels")
        self.model, self.shape = model, shape[1:]
        blank = self.look(np.zeros((1, 1), np.float32))  # raises without Pillow
        scores = model.predict(blank.reshape(1, *self.shape))  # also compiles the kernels
        if scores.shape != (1, 10):
            raise ValueError(f"the network has outputs of {scores.shape[1:]}, not ten classes")
        self.front = self._up_to_first_convolution()
        self.has_maps = self.front is not None

    def _up_to_first_convolution(self):
        """Return the layers up to the first convolution as a model with shared weights, or None."""
        chain = flat(self.model.layers)
        for index, layer in enumerate(chain):
            if nn.explain.is_convolution(layer):
                return nn.Model(chain[: index + 1])
        return None

    def look(self, image):
        """Return an image as the input of the network, (28, 28) floats in [0, 1]."""
        return normalize_digit(image)

    def probabilities(self, seen):
        """Return the probabilities (10,) for an image returned by `look`."""
        scores = self.model.predict(seen.reshape(1, *self.shape))[0].astype(np.float64)
        last = flat(self.model.layers)[-1]
        last = getattr(last, "activation", None) or last
        if isinstance(last, nn.Softmax):
            return scores
        if isinstance(last, nn.Sigmoid):  # ten independent probabilities
            return scores / max(scores.sum(), 1e-12)
        powers = np.exp(scores - scores.max())
        return powers / powers.sum()

    def feature_maps(self, seen):
        """Return the feature maps (F, H, W) of the first convolution."""
        return self.front.predict(seen.reshape(1, *self.shape))[0]


# -------------------------------------------------------------------------------- the trainer


class Stopped(Exception):  # noqa: N818 - not an error
    """Ends the training when `stop` was called."""


class Teacher:
    """Trains a network in a thread and puts messages into the queue `news`.

    Messages are pairs: ("progress", (fraction, text)), ("done", model) and ("failed", text).
    """

    BATCH = 64

    def __init__(self, data_dir=None, seed=0, epochs=None):
        whole_set = data_dir is not None  # 15 times as many digits as in the sample
        self.data_dir, self.seed = data_dir, seed
        self.epochs = epochs or (3 if whole_set else 8)
        self.takes = "some minutes" if whole_set else "less than a minute"
        self.news = queue.SimpleQueue()
        self._ending = threading.Event()
        self._thread = None

    def start(self):
        self._thread = threading.Thread(target=self._run, name="teacher", daemon=True)
        self._thread.start()

    @property
    def is_at_work(self):
        return self._thread is not None and self._thread.is_alive()

    def stop(self, timeout=None):
        """End the training after the current batch and wait until it has ended."""
        self._ending.set()
        if self.is_at_work:
            self._thread.join(timeout)

    def _run(self):
        try:
            self.news.put(("done", self.train()))
        except Stopped:
            pass
        except Exception as error:  # reported in the window, as the thread has no console
            self.news.put(("failed", str(error)))

    def train(self):
        """Return a network trained to recognise the user's digits.

        It is trained on MNIST's digits after `normalize_digit`, like the user's, with random
        rotation, shear and distortion, as drawing with a mouse is less even than handwriting.
        """
        self._report(0, "loading the digits")
        train, test = self._digits()
        model = nn.zoo.mnist_cnn(seed=self.seed)
        model.compile("categorical_crossentropy", "adam", lr=2e-3)
        steps = -(-len(train) // self.BATCH)

        def after_batch(batch, logs):
            done = (len(model.history.get("loss", ())) + (batch + 1) / steps) / self.epochs
            self._report(done, f"training: accuracy {logs['acc']:.1%}")

        model.fit(
            train,
            epochs=self.epochs,
            batch_size=self.BATCH,
            lr_schedule="cosine",
            augment=CHANGES,
            callbacks=nn.callbacks.LambdaCallback(on_train_batch_end=after_batch),
            verbose=0,
        )
        accuracy = model.evaluate(test)["acc"]
        self._report(1, f"accuracy {accuracy:.1%} on {len(test):,} test digits")
        return model

    def _digits(self):
        """Return training and test digits after `normalize_digit`."""
        if self.data_dir is None:
            sets = load_mnist_sample(SAMPLE_DIR)
        else:
            sets = load_mnist(self.data_dir, download=False)
        return [self._normalized(data) for data in sets]

    def _normalized(self, data):
        images = np.empty(data.x.shape, np.float32)
        for start in range(0, len(data), 250):
            self._report(0, f"loading the digits: {start:,} of {len(data):,}")
            images[start : start + 250] = normalize_digits(data.x[start : start + 250])
        return Dataset(images, data.y, class_names=data.class_names)

    def _report(self, fraction, text):
        if self._ending.is_set():
            raise Stopped
        self.news.put(("progress", (fraction, text)))


CHANGES = augment.Compose(
    [
        augment.RandomAffine(degrees=12, translate=0.05, scale=0.1, shear=12),
        augment.ElasticDistortion(alpha=34, sigma=4),
    ]
)
