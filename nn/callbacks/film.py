"""Film: an animated GIF of what changes while a model trains."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .. import checks, cuda
from ..files.atomic import write_atomic
from ..layers.plan import named_layers
from .base import Callback, Logs

if TYPE_CHECKING:
    from PIL import Image

_OWNER = "Film"
_MOST = 64  # kernels in an image
_WIDTH = 480  # pixels of an image of kernels, about
_COLOURS = 128  # of an image in the GIF
_LAST = 2000  # milliseconds for which the last image is shown, at least
_DPI = 80  # of matplotlib's figures


class Film(Callback):
    """Record an animated GIF while a model trains: of its filters, or of whatever you draw.

    The first image is taken before the first step. The file is written when training ends, also
    when it was interrupted.

    Parameters
    ----------
    path
        The file, with the suffix .gif.
    draw
        A function of the model that returns an image: a figure of matplotlib, as the functions of
        `nn.plot` return it, or an array (H, W) or (H, W, 3), bytes or floats in [0, 1]. None draws
        the weights of the first layer that has any: the kernels of a convolution, or the weights
        of each unit of a dense layer as an image, from blue (negative) over white to red; the last
        image decides the scale.
    every
        An image after each `every` epochs or steps.
    by
        What `every` counts, 'epoch' or 'step'.
    fps
        Images shown in a second; the last one stays for two seconds.

    Attributes
    ----------
    images : list
        Those taken so far.
    is_written : bool
        Whether the file has been written, which it is when training ends.

    Raises
    ------
    ValueError
        For wrong arguments; when training begins, if the model has no weights to draw; while
        training, if `draw` returns something else than an image.
    ImportError
        If Pillow (the extra 'images') is not installed.

    Warns
    -----
    RuntimeWarning
        If the file cannot be written at the end.

    Notes
    -----
    The images are kept in memory until the end of training, 0.1 to 0.5 MB each, and belong to one
    `fit`: a training that is resumed begins a new film.

    Examples
    --------
    >>> import tempfile, numpy as np, nn
    >>> layers = [nn.Conv2D(4, 3, input_shape=(1, 8, 8)), nn.Flatten(), nn.Dense(2)]
    >>> model = nn.Model(layers, seed=0)
    >>> model.compile("cce", "adam")
    >>> x, y = np.random.default_rng(0).normal(size=(8, 1, 8, 8)), np.arange(8) % 2
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     film = Film(f"{folder}/filters.gif")
    ...     history = model.fit(x, y, epochs=2, callbacks=[film], verbose=0)
    ...     film.path.read_bytes()[:3], len(film.images)
    (b'GIF', 3)

    The decision boundary, and feature maps for one digit (with matplotlib, the extra 'plot'):

    >>> film = Film("boundary.gif", lambda model: nn.plot.decision_boundary(model, x, y))
    >>> film = Film("maps.gif", lambda model: nn.plot.feature_maps(model, x[:1]), every=2)
    """

    def __init__(
        self,
        path: str | os.PathLike = "film.gif",
        draw: Callable[[Any], Any] | None = None,
        every: int = 1,
        by: str = "epoch",
        fps: float = 8.0,
    ):
        self.path = Path(checks.path(_OWNER, "path", path))
        if self.path.suffix.lower() != ".gif":
            raise checks.error(_OWNER, "path", "must end in .gif", str(path))
        if draw is not None and not checks.takes(draw, 1):
            raise checks.error(_OWNER, "draw", "must be a function of the model", draw)
        self.draw = draw
        self.every = checks.positive_int(_OWNER, "every", every)
        if by not in ("epoch", "step"):
            raise checks.unknown(_OWNER, "by", by, ("epoch", "step"))
        self.by = by
        self.fps = checks.positive(_OWNER, "fps", fps)
        self.images: list[Any] = []
        self.is_written = False
        self._steps = 0
        checks.require(_OWNER, "PIL", "Pillow", "write an animated GIF")

    def on_train_begin(self, logs: Logs) -> None:
        """Take the first image."""
        self.images, self._steps, self.is_written = [], 0, False
        self._take()

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Take an image after every few steps."""
        self._steps += 1
        if self.by == "step" and self._steps % self.every == 0:
            self._take()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Take an image after every few epochs."""
        if self.by == "epoch" and (epoch + 1) % self.every == 0:
            self._take()

    def on_train_end(self, logs: Logs) -> None:
        """Write the film."""
        try:
            write_atomic(self.path, self._write, _OWNER)
            self.is_written = True
        except OSError as error:
            checks.warn(f"[{_OWNER}] the film was not written: {error}", RuntimeWarning)

    def _take(self) -> None:
        if self.draw is None:
            self.images.append(weight_tiles(self.model.layers, self.model.input_shape[1:]))
        else:
            self.images.append(image_of(self.draw(self.model)))

    def _write(self, file: BinaryIO) -> None:
        from PIL import Image

        if self.draw is None:
            most = max(float(np.abs(self.images[-1]).max()), 1e-12)
            images = [tiles_image(tiles / most) for tiles in self.images]
        else:
            images = self.images
        size = images[-1].size
        images = [
            (image if image.size == size else image.resize(size)).quantize(
                _COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
            )
            for image in images
        ]
        duration = 1000 / self.fps
        durations = [duration] * (len(images) - 1) + [max(duration, _LAST)]
        first, *others = images
        first.save(file, "GIF", save_all=True, append_images=others, duration=durations, loop=0)


def weight_tiles(layers: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """Return the weights of the first layer that has any as images (n, H, W).

    `shape` is that of a sample of the inputs.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Conv2D(8, 3, input_shape=(2, 9, 9))], seed=0)
    >>> weight_tiles(model.layers, (2, 9, 9)).shape
    (8, 3, 3)
    >>> model = nn.Model([nn.Flatten(input_shape=(1, 6, 7)), nn.Dense(5)], seed=0)
    >>> weight_tiles(model.layers, (1, 6, 7)).shape
    (5, 6, 7)
    """
    for _, layer in named_layers(layers):
        if "W" in layer.params and layer.params["W"].ndim in (2, 4):
            w = cuda.to_cpu(layer.params["W"]).astype(np.float32)
            break
    else:
        rule = "must be a function of the model, which has no kernels or dense weights to draw"
        raise checks.error(_OWNER, "draw", rule, None)
    if w.ndim == 4:
        return w[:_MOST].mean(axis=1)  # (F, C, KH, KW) -> (F, KH, KW)
    is_known = len(shape) == 3 and None not in shape
    if is_known and math.prod(n or 0 for n in shape) == len(w):  # units after a Flatten
        units = w[:, :_MOST].T.reshape(-1, *(n or 0 for n in shape))  # (C*H*W, U) -> (U, C, H, W)
        return units.mean(axis=1)
    return w[np.newaxis]


def tiles_image(tiles: np.ndarray) -> "Image.Image":
    """Return an image of tiles (n, H, W), values in [-1, 1], from blue over white to red."""
    from PIL import Image

    count, height, width = tiles.shape
    columns = math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    scale = max(1, round(_WIDTH / (columns * (width + 1))))
    tall, wide = scale * height, scale * width
    gap = max(2, scale // 2)
    canvas = np.full((rows * (tall + gap) + gap, columns * (wide + gap) + gap, 3), 255, np.uint8)
    for number, tile in enumerate(np.clip(tiles, -1, 1)):
        row, column = divmod(number, columns)
        top, left = gap + row * (tall + gap), gap + column * (wide + gap)
        pale = 1 - np.abs(tile)
        colours = np.stack(  # (H, W, 3)
            [np.where(tile > 0, 1, pale), pale, np.where(tile > 0, pale, 1)], axis=-1
        )
        large = colours.repeat(scale, axis=0).repeat(scale, axis=1)
        canvas[top : top + tall, left : left + wide] = np.rint(255 * large)
    return Image.fromarray(canvas)


def image_of(drawn: Any) -> "Image.Image":
    """Return a figure of matplotlib, or an array, as an image of Pillow."""
    from PIL import Image

    if hasattr(drawn, "savefig") and hasattr(drawn, "set_dpi"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        drawn.set_dpi(_DPI)
        canvas = FigureCanvasAgg(drawn)
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    array = np.asarray(drawn)
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
    if not is_image or array.dtype.kind not in "fu" or not array.size:
        rule = "must return a figure of matplotlib or an array (H, W) or (H, W, 3)"
        raise checks.error(_OWNER, "draw", rule, type(drawn).__name__)
    if array.dtype.kind == "f":
        array = np.rint(255 * np.clip(np.nan_to_num(array), 0, 1))
    return Image.fromarray(array.astype(np.uint8)).convert("RGB")
