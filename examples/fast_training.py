"""What the fast recipes share: a clock for the parts of the training, a last step, logs.

`cifar10_train.py --model airbench` and `mnist_train.py --fast` use it.
"""

import json
import time
from pathlib import Path

import numpy as np

from nn.callbacks import Callback

PARTS = ("data", "forward", "backward", "optimizer", "evaluation")


class Clock(Callback):
    """Measures the time of the parts of a training, and counts its images.

    'forward' includes the loss and its value, 'backward' the gradient of the loss and the checks
    of all gradients, 'optimizer' the metrics and what other callbacks do; 'data' is the time that
    the model waits for a batch.

    Attributes
    ----------
    seconds : dict
        The time of each of `PARTS`.
    images : int
        The images that the model was trained on.
    epochs : list of float
        The time since the beginning of the training at the end of each epoch.
    """

    def __init__(self):
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.images = 0
        self.epochs = []
        self._last = self._begin = time.perf_counter()

    def add(self, part):
        """Add the time since the last call to a part; None drops it."""
        now = time.perf_counter()
        if part is not None:
            self.seconds[part] += now - self._last
        self._last = now

    def on_train_begin(self, logs):
        self._begin = time.perf_counter()

    def on_epoch_begin(self, epoch, logs):
        self.add(None)

    def on_epoch_end(self, epoch, logs):
        self.add("evaluation" if "val_loss" in logs else None)
        self.epochs.append(time.perf_counter() - self._begin)

    def on_train_batch_begin(self, batch, logs):
        self.add("data")
        size, samples = self.params["batch_size"], self.params["samples"]
        self.images += min(size, samples - batch * size)
        loss, optimizer = self.model.loss, self.model.optimizer
        backward, step = loss.backward, optimizer.step

        def timed_backward():
            self.add("forward")
            return backward()

        def timed_step(params_and_grads):
            self.add("backward")
            step(params_and_grads)

        loss.backward, optimizer.step = timed_backward, timed_step

    def on_train_batch_end(self, batch, logs):
        del self.model.loss.backward, self.model.optimizer.step  # those of their classes again
        self.add("optimizer")

    def __str__(self):
        total = sum(self.seconds.values()) or 1.0
        parts = (
            f"{part} {spent:.1f} s ({spent / total:.0%})" for part, spent in self.seconds.items()
        )
        return ", ".join(parts)


class LastStep(Callback):
    """Ends the training after a number of steps, which may be within an epoch."""

    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_end(self, batch, logs):
        if self.model.optimizer.iterations >= self.steps:
            self.model.stop_training = True


def predicted_classes(model, test, clock, **copies):
    """Return the classes without and with copies of the images, as 'predict' takes them."""
    clock.add(None)
    found = [model.predict_classes(test, 500, **arguments) for arguments in ({}, copies)]
    clock.add("evaluation")
    return found


def facts_of(history, clock, seconds):
    """Return what a log says of a training: the curve of each epoch, and the times in seconds."""
    curve = {name: [float(f"{value:.5g}") for value in history[name]] for name in history}
    curve["seconds"] = [round(value, 1) for value in clock.epochs]
    parts = {part: round(spent, 1) for part, spent in clock.seconds.items()}
    return {
        "images": clock.images,
        "images_per_second": round(clock.images / seconds, 1),
        "seconds": {"training": round(seconds, 1), **parts},
        "curve": curve,
    }


def write_log(path, facts, started):
    """Append a line of JSON with the facts of a run to a file; None for no file."""
    if path is not None:
        total = round(time.perf_counter() - started, 1)
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts | {"total_seconds": total}) + "\n")


def print_spread(name, accuracies):
    """Print mean and standard deviation of the accuracies of several seeds."""
    spread = f" +- {np.std(accuracies, ddof=1):.2%}" if len(accuracies) > 1 else ""
    print(f"{name} of {len(accuracies)} seeds: {np.mean(accuracies):.2%}{spread}")
