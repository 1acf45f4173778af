"""Runs the cells "Try it" in the browser, in Pyodide, and shows each training on the page.

`docs/hooks.py` puts this file next to the package nn, in the archive that the page loads. The
module `page` is JavaScript, see `worker.js`.
"""

import functools
import json
import linecache
import traceback

import numpy as np
import page  # type: ignore[import-not-found]

import nn

CELLS = 48  # of the decision boundary, along each side
FILTERS = 16  # at most
POINTS = 400  # at most


class Watch(nn.callbacks.Callback):
    """Sends the figures of each epoch to the page, with the boundary or the filters."""

    def __init__(self, x, y, epochs):
        super().__init__()
        self.epochs = epochs
        self.plane = x if x is not None and x.ndim == 2 and x.shape[1] == 2 else None
        self.labels = y

    def on_epoch_end(self, epoch, logs=None):
        """Send what there is to see."""
        figures = {name: float(value) for name, value in (logs or {}).items()}
        message = {"epoch": epoch + 1, "epochs": self.epochs, "figures": figures}
        if self.plane is not None:
            message["boundary"] = self.boundary()
        else:
            message["filters"] = self.filters()
        page.post(json.dumps({name: part for name, part in message.items() if part is not None}))

    def boundary(self):
        """Return the classes in a grid of the plane, how sure the model is, and the points."""
        low, high = self.plane.min(axis=0), self.plane.max(axis=0)
        margin = 0.15 * (high - low) + 1e-6
        low, high = low - margin, high + margin
        rows, cols = (np.linspace(low[i], high[i], CELLS) for i in (1, 0))
        grid = np.stack(np.meshgrid(cols, rows), axis=-1).reshape(-1, 2)  # (CELLS * CELLS, 2)
        found = self.model.predict_proba(grid.astype("float32"))
        points = (self.plane[:POINTS] - low) / (high - low)
        return {
            "side": CELLS,
            "classes": found.argmax(axis=1).tolist(),
            "sure": found.max(axis=1).round(2).tolist(),
            "points": points.round(3).tolist(),
            "labels": np.asarray(self.labels[:POINTS]).astype(int).ravel().tolist(),
        }

    def filters(self):
        """Return the kernels of the first convolution, in [-1, 1]; None without one."""
        for layer in self.model.layers:
            kernels = layer.params.get("W")
            if isinstance(layer, nn.Conv2D) and kernels.shape[2] > 1:
                shown = kernels[:FILTERS].mean(axis=1)  # (F, C, KH, KW) -> (F, KH, KW)
                shown = shown / max(float(np.abs(shown).max()), 1e-12)
                return shown.round(3).tolist()
        return None


def _arrays(data, y):
    """Return inputs and labels as arrays, or None for what are not arrays."""
    if isinstance(data, nn.Dataset):
        return data.x, data.y
    return (np.asarray(data), np.asarray(y)) if y is not None else (None, None)


_fit = nn.Model.fit


@functools.wraps(_fit)
def watched_fit(self, data=None, y=None, **arguments):
    """Train as `fit` does, and show it."""
    data = arguments.pop("x", data)
    given = arguments.pop("callbacks", None) or []
    given = list(given) if isinstance(given, list | tuple) else [given]
    watch = Watch(*_arrays(data, y), arguments.get("epochs", 1))
    arguments["verbose"] = 0  # the page shows the progress
    return _fit(self, data, y, callbacks=[*given, watch], **arguments)


nn.Model.fit = watched_fit


def run(code):
    """Run the code of a cell; return whether it ended without an error."""
    linecache.cache["cell"] = (len(code), None, code.splitlines(keepends=True), "cell")
    try:
        exec(compile(code, "cell", "exec"), {"__name__": "__main__"})
    except BaseException as error:
        frames = error.__traceback__ and error.__traceback__.tb_next  # without this function
        print("".join(traceback.format_exception(type(error), error, frames)).rstrip())
        return False
    return True
