"""Plots made of images: the data, the kernels, what layers see, and what decides a class.

All are sheets of small images in one Axes, each a unit wide, with a text above it or none.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, cuda, kernels
from ..inspect import explain
from ..layers import Conv2DTranspose, Layer, WeightNorm
from ..layers.base import walk
from . import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..model import Model

_GAP = 0.1  # between images, as a share of their width
_SMALLEST_FONT = 4.0

# Left, right, bottom and top of an image on the sheet, whose rows go down.
Place = tuple[float, float, float, float]


def images(
    x: Any,
    y: Any = None,
    class_names: Any = None,
    n: int = 25,
    columns: int | None = None,
    ax: Any = None,
) -> "Figure":
    """Draw images, with their labels above them.

    Parameters
    ----------
    x
        Images (N, C, H, W) with 1 or 3 channels, or a `Dataset` of them. uint8 goes from 0 to
        255 and floats from 0 to 1; where floats go beyond, as standardised ones do, the least of
        all values shown becomes black and the largest white.
    y
        Labels, integers or one-hot, or texts (N,).
    class_names
        Names of the classes; None takes the data set's, or writes numbers.
    n
        The first so many are drawn.
    columns
        Images in a row; None makes the sheet about square.
    ax
        Axes to draw into; None makes a new figure.

    Raises
    ------
    ValueError
        For an array of another shape, or labels that do not fit.

    Examples
    --------
    >>> x = np.random.default_rng(0).random((6, 3, 8, 8))
    >>> figure = images(x, [0, 1, 0, 1, 0, 1], class_names=["cat", "dog"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['cat', 'dog', 'cat', 'dog', 'cat', 'dog']
    """
    owner = "plot.images"
    x, y, names = base.samples(owner, x, y, class_names)
    n = checks.positive_int(owner, "n", n)
    tiles = _as_tiles(owner, x, n)
    titles = None
    if y is not None:
        is_text = y.dtype.kind in "UO"
        titles = [
            str(k) if is_text else base.name_of(k, names)
            for k in (y[:n] if is_text else base.labels_of(owner, y[:n]))
        ]
    ax, _ = _sheet(owner, ax, tiles, titles, columns, cmap="gray", vmin=0, vmax=1)
    return base.figure_of(ax)


def filters(layer_or_model: Any, n: int = 64, ax: Any = None) -> "Figure":
    """Draw the kernels of a convolution.

    Kernels over one channel are drawn from blue, below 0, to red; those over three as colours,
    with grey for 0. For any other number of channels each kernel is a row, with an image for
    each of its first 16 channels. One scale holds for all.

    Parameters
    ----------
    layer_or_model
        A convolution that is built, or a model, of which the first is taken.
    n
        How many images at most, the first.
    ax
        Axes to draw into; None makes a new figure.

    Raises
    ------
    ValueError
        For a model without convolutions, or a layer that is none or has no weights yet.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Conv2D(8, input_shape=(3, 16, 16)), nn.ReLU()], seed=0)
    >>> len(filters(model).axes[0].images)
    8
    """
    owner = "plot.filters"
    n = checks.positive_int(owner, "n", n)
    w = _kernels_of(owner, layer_or_model)  # (F, C, KH, KW)
    largest = float(abs(w).max()) or 1.0
    if w.shape[1] == 3:
        colours = 0.5 + 0.5 * w[:n].transpose(0, 2, 3, 1) / largest  # (F, KH, KW, C)
        ax, _ = _sheet(owner, ax, list(colours), inches=0.6)
        return base.figure_of(ax)
    columns = None
    if w.shape[1] > 1:
        columns = min(w.shape[1], 16, n)
        w = w[: max(n // columns, 1), :columns]
    tiles = list(w.reshape(-1, *w.shape[2:]))[:n]  # (F, C, KH, KW) -> (F*C, KH, KW)
    look: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
    ax, _ = _sheet(owner, ax, tiles, None, columns, inches=0.6, **look)
    base.figure_of(ax).colorbar(ax.images[0], ax=ax, label="weight", shrink=0.8)
    return base.figure_of(ax)


def feature_maps(
    model: "Model", x: Any, layer: Any = None, n: int = 32, ax: Any = None
) -> "Figure":
    """Draw what a layer makes of an image, a map for each of its channels.

    Bright is large; one scale holds for all maps of the layer.

    Parameters
    ----------
    model
        A model that takes images. It stays as it is.
    x
        One image, (1, C, H, W).
    layer
        The layer, as `nn.explain.find_layer` takes it: an object, a number, or a name as
        '3_Residual/0_Conv2D'. None takes the first convolution.
    n
        How many maps at most, the first.
    ax
        Axes to draw into; None makes a new figure.

    Raises
    ------
    ValueError
        For more images than one, or a layer that makes no maps or is not in the model.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Conv2D(8, input_shape=(1, 16, 16)), nn.ReLU()], seed=0)
    >>> figure = feature_maps(model, np.ones((1, 1, 16, 16)), layer=1)
    >>> len(figure.axes[0].images), figure.axes[0].get_title()
    (8, '1_ReLU')
    """
    owner = "plot.feature_maps"
    n = checks.positive_int(owner, "n", n)
    x = cuda.as_array(x)
    if x.ndim == 0 or len(x) != 1:
        raise checks.error(owner, "x", "must be one image (1, C, H, W), as x[:1]", x.shape)
    target = _first_convolution(owner, model) if layer is None else layer
    target = explain.find_layer(model, target, owner)
    maps = explain.layer_output(model, x, target)
    if maps.ndim != 4:
        rule = f"must be a layer that makes maps (N, C, H, W), it makes {maps.shape}"
        raise checks.error(owner, "layer", rule, layer)
    tiles = list(maps[0, :n])
    low, high = (float(f(tiles)) for f in (np.min, np.max))
    look: dict[str, Any] = {"cmap": "viridis", "vmin": low, "vmax": high + (high == low)}
    path = next(path for path, part in walk(model.layers) if part is target)
    ax, _ = _sheet(owner, ax, tiles, inches=0.9, heading=target.name or path, **look)
    base.figure_of(ax).colorbar(ax.images[0], ax=ax, shrink=0.8)
    return base.figure_of(ax)


def worst_mistakes(
    model: "Model",
    x: Any,
    y: Any = None,
    n: int = 25,
    class_names: Any = None,
    ax: Any = None,
) -> "Figure":
    r"""Draw the images that a model is wrong about, those with the highest loss first.

    Above each stands its class, what the model takes it for, and its loss.

    Parameters
    ----------
    model
        A compiled classifier. It stays as it is.
    x, y
        Images (N, C, H, W) and their labels, integers or one-hot; or a `Dataset` with both.
    n
        How many at most.
    class_names
        Names of the classes; None takes those of the data set or the model, or the numbers.
    ax
        Axes to draw into; None makes a new figure.

    Raises
    ------
    RuntimeError
        For a model that is not compiled.
    ValueError
        For images or labels that do not fit.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Flatten(input_shape=(1, 4, 4)), nn.Dense(2)], seed=0)
    >>> model.compile("cce")
    >>> model.layers[1].params["W"][...] = [1, 0]  # whatever it sees is class 0
    >>> figure = worst_mistakes(model, np.ones((3, 1, 4, 4)), np.array([0, 1, 0]))
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['1 → 0\nloss 16']
    """
    owner = "plot.worst_mistakes"
    n = checks.positive_int(owner, "n", n)
    x, y, names = base.samples(owner, x, y, class_names)
    labels = base.labels_of(owner, y)
    names = model.class_names if names is None else names
    decided = cuda.to_cpu(model.predict_classes(x))
    wrong = np.flatnonzero(decided != labels)
    if len(wrong) == 0:
        ax = base.one_axes(owner, ax, 4, 1)
        ax.text(0.5, 0.5, f"no mistakes among {len(x):,}", ha="center", va="center")
        ax.axis("off")
        return base.figure_of(ax)
    losses = explain.sample_losses(model, x[wrong], y[wrong])
    order = np.argsort(-losses, kind="stable")[:n]
    chosen = wrong[order]
    titles = [
        f"{base.name_of(labels[k], names)} → {base.name_of(decided[k], names)}\nloss {loss:.3g}"
        for k, loss in zip(chosen, losses[order], strict=True)
    ]
    tiles = _as_tiles(owner, x[chosen], n)
    heading = "true class → decided class"
    ax, _ = _sheet(owner, ax, tiles, titles, heading=heading, cmap="gray", vmin=0, vmax=1)
    return base.figure_of(ax)


def saliency(
    model: "Model", x: Any, class_index: Any = None, n: int = 8, ax: Any = None
) -> "Figure":
    """Draw images and, below each, how strongly its pixels move the score of a class.

    See `nn.explain.saliency_map` for the arithmetic and its paper. Bright pixels matter; each map
    has its own scale.

    Parameters
    ----------
    model
        A classifier of images. It stays as it is.
    x
        Images (N, C, H, W).
    class_index
        The class, or one for each image; None takes the one that the model decides for. It
        stands above the image.
    n
        How many images at most, the first.
    ax
        Axes to draw into; None makes a new figure.

    Raises
    ------
    ValueError
        For images that do not fit, or a class that the model does not have.

    Examples
    --------
    >>> import nn
    >>> model = nn.zoo.small_cnn(seed=0)
    >>> images = np.random.default_rng(0).random((3, 1, 28, 28))
    >>> len(saliency(model, images, class_index=7).axes[0].images)
    6
    """
    owner = "plot.saliency"
    x, class_index, tiles, titles = _to_explain(owner, model, x, class_index, n)
    maps = explain.saliency_map(model, x, class_index)
    ax, places = _sheet(
        owner, ax, [*tiles, *maps], titles, len(tiles), draw=len(tiles), cmap="gray", vmin=0, vmax=1
    )
    for place, values in zip(places[len(tiles) :], maps, strict=True):
        top = float(values.max()) or 1.0
        ax.imshow(values, extent=place, cmap="viridis", vmin=0, vmax=top)
    return base.figure_of(ax)


def grad_cam(
    model: "Model",
    x: Any,
    class_index: Any = None,
    layer: Any = None,
    n: int = 8,
    ax: Any = None,
) -> "Figure":
    """Draw images and, below each, the places in it that speak for a class (Grad-CAM).

    See `nn.explain.grad_cam_map` for the arithmetic and its paper. Bright places speak for the
    class; each map has its own scale and is enlarged to the image bilinearly.

    Parameters
    ----------
    model, x, class_index, n, ax
        As for `saliency`.
    layer
        The layer whose maps are weighed, as `nn.explain.find_layer` takes it; None takes the last
        convolution with what follows at its size.

    Raises
    ------
    ValueError
        As `saliency`; also for a model without convolutions.

    Examples
    --------
    >>> import nn
    >>> model = nn.zoo.small_cnn(seed=0)
    >>> images = np.random.default_rng(0).random((3, 1, 28, 28))
    >>> len(grad_cam(model, images).axes[0].images)  # image, the same again, map over it
    9
    """
    owner = "plot.grad_cam"
    x, class_index, tiles, titles = _to_explain(owner, model, x, class_index, n)
    maps = explain.grad_cam_map(model, x, class_index, layer)
    ax, places = _sheet(
        owner, ax, [*tiles, *tiles], titles, len(tiles), cmap="gray", vmin=0, vmax=1
    )
    for place, values in zip(places[len(tiles) :], maps, strict=True):
        top = float(values.max()) or 1.0
        look = {"cmap": "viridis", "vmin": 0, "vmax": top, "alpha": 0.6}
        ax.imshow(values, extent=place, interpolation="bilinear", **look)
    return base.figure_of(ax)


# -------------------------------------------------------------------------- what is drawn


def _as_tiles(owner: str, x: Any, n: int) -> list[np.ndarray]:
    """Return the first n images as (H, W) or (H, W, 3) floats in [0, 1]."""
    if x.ndim != 4 or x.shape[1] not in (1, 3) or len(x) == 0:
        raise ValueError(
            f"[{owner}] 'x' must be images (N, C, H, W) with 1 or 3 channels, got {x.shape}: "
            "give a single image as x[np.newaxis], grey ones as x[:, np.newaxis]."
        )
    images = np.asarray(x[:n])
    if images.dtype == np.uint8:
        images = images.astype(np.float32) / 255
    images = images.astype(np.float32, copy=False)
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        images = (images - low) / (high - low or 1.0)
    if images.shape[1] == 1:
        return list(images[:, 0])  # (N, 1, H, W) -> N of (H, W)
    return list(images.transpose(0, 2, 3, 1))  # (N, C, H, W) -> N of (H, W, C)


def _to_explain(
    owner: str, model: "Model", x: Any, class_index: Any, n: int
) -> tuple[Any, Any, list[np.ndarray], list[str]]:
    """Return the first n images, the class of each, and how they are drawn and named."""
    n = checks.positive_int(owner, "n", n)
    x = cuda.to_cpu(cuda.as_array(x))
    tiles = _as_tiles(owner, x, n)
    x = x[:n]
    if class_index is None:
        classes = cuda.to_cpu(model.predict_classes(x))
    else:
        classes = np.asarray(class_index)
        classes = classes[:n] if classes.ndim else np.repeat(classes, len(x))
    if classes.dtype.kind not in "iu" or classes.shape != (len(x),):
        rule = "must be an integer, or one for each image"
        raise checks.error(owner, "class_index", rule, class_index)
    return x, classes, tiles, [base.name_of(k, model.class_names) for k in classes]


def _first_convolution(owner: str, model: "Model") -> Layer:
    for _, layer in walk(model.layers):
        if explain.is_convolution(layer):
            return layer
    raise ValueError(f"[{owner}] needs a model with a convolution, there is none in it.")


def _kernels_of(owner: str, layer_or_model: Any) -> np.ndarray:
    """Return the kernels (F, C, KH, KW) of a convolution, or of a model's first."""
    layer = layer_or_model
    if not isinstance(layer, Layer):
        if not hasattr(layer, "layers"):
            raise checks.error(owner, "layer_or_model", "must be a layer or a model", layer)
        layer = _first_convolution(owner, layer)
    if not explain.is_convolution(layer):
        raise checks.error(owner, "layer_or_model", "must be a convolution", layer)
    if not layer.built:
        rule = "must be built, so that it has kernels"
        raise checks.error(owner, "layer_or_model", rule, layer)
    if isinstance(layer, WeightNorm):
        v, g = layer.params["v"], layer.params["g"]
        layer = layer.layer
        w = cuda.to_cpu(kernels.weight_norm(v, g, layer.output_axis))
    else:
        w = cuda.to_cpu(layer.params["W"])
    # Transposed kernels are (C, F, KH, KW).
    return w.transpose(1, 0, 2, 3) if isinstance(layer, Conv2DTranspose) else w


# ------------------------------------------------------------------------------- the sheet


def _sheet(
    owner: str,
    ax: Any,
    tiles: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    inches: float = 1.0,
    draw: int | None = None,
    heading: str = "",
    **look: Any,
) -> tuple["Axes", list[Place]]:
    """Draw images in rows, with texts above the first of them; return where each stands.

    Parameters
    ----------
    owner, ax
        Whose sheet, and the Axes to draw into, or None for a new figure.
    tiles
        Arrays (H, W) or (H, W, 3) of one shape.
    titles
        Texts above the first images, of as many lines each.
    columns
        Images in a row; None makes the sheet about square.
    inches
        Width of an image on a new figure, at least.
    draw
        How many of the images are drawn; the places of the others are left to the caller.
    heading
        A text above all.
    **look
        Colour map and limits, for `imshow`.
    """
    count = len(tiles)
    columns = _columns(count) if columns is None else checks.positive_int(owner, "columns", columns)
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    ratio = tiles[0].shape[0] / tiles[0].shape[1]
    lines = max((title.count("\n") + 1 for title in titles or ()), default=0)
    letters = max((len(line) for title in titles or () for line in title.split("\n")), default=0)
    titled = math.ceil(len(titles or ()) / columns)  # rows with texts
    inches = max(inches, letters * base.LETTER_INCHES)
    texts = titled * lines * base.LINE_INCHES
    if ax is None:
        height = rows * (ratio + _GAP) * inches + texts + (0.35 if heading else 0.1)
        ax = base.one_axes(owner, None, columns * (1 + _GAP) * inches + 0.1, height)
    else:
        ax = base.one_axes(owner, ax, 0, 0)
        width, height = base.inches_of(ax)
        fitting = (height - texts) / (rows * (ratio + _GAP))
        inches = max(min(width / (columns * (1 + _GAP)), fitting), 0.05)
    font = base.FONT_SIZE
    if letters:
        font = max(min(font, font * inches / (letters * base.LETTER_INCHES)), _SMALLEST_FONT)
    line = lines * base.LINE_INCHES / inches  # of the texts above a row, in images' widths
    places = []
    for k in range(count):
        row, column = divmod(k, columns)
        left = column * (1 + _GAP)
        top = row * (ratio + _GAP) + min(row + 1, titled) * line
        places.append((left, left + 1, top + ratio, top))
    for place, image in list(zip(places, tiles, strict=True))[:draw]:
        ax.imshow(image, extent=place, interpolation="nearest", **look)
    for place, title in zip(places, titles or (), strict=False):
        middle, top = (place[0] + place[1]) / 2, place[3] - 0.02
        ax.text(middle, top, title, ha="center", va="bottom", fontsize=font, linespacing=1.05)
    ax.set_title(heading, fontsize=base.FONT_SIZE + 1)
    ax.set_xlim(-_GAP / 2, columns * (1 + _GAP) - _GAP / 2)
    ax.set_ylim(places[-1][2] + _GAP / 2, -_GAP / 2)
    ax.set_aspect("equal")
    ax.axis("off")
    return ax, places


def _columns(count: int) -> int:
    """Return how many images stand in a row of a sheet that is about square.

    Examples
    --------
    >>> _columns(5), _columns(8), _columns(25), _columns(32)
    (5, 4, 5, 8)
    """
    if count <= 5:
        return count
    least = math.ceil(math.sqrt(count))
    # A little wider where that fills the last row.
    return next((k for k in range(least, 2 * least) if count % k == 0), least)
