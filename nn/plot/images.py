"""Plots of images: data, kernels, feature maps, mistakes, saliency maps and Grad-CAM."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, cuda, kernels
from ..inspect import explain
from ..layers import Conv2DTranspose, Layer, WeightNorm
from ..layers.plan import named_layers
from ..training.data import check_same_names
from . import base
from .grid import image_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..model import Model


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
        Images (N, C, H, W) with 1 or 3 channels, or a `Dataset` of them: uint8 in 0..255, or
        floats in [0, 1]. Floats outside that range, as standardised images have, are rescaled so
        that the smallest value shown is black and the largest white.
    y
        Labels, integers or one-hot, or strings (N,).
    class_names
        Names of the classes; None uses those of the data set, or the numbers.
    n
        Draw the first n images.
    columns
        Images in a row; None chooses an about square grid.
    ax
        Axes to draw into; None creates a new figure.

    Raises
    ------
    ValueError
        If x does not hold images, or the labels do not match it.

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
    ax, _ = image_grid(owner, ax, tiles, titles, columns, cmap="gray", vmin=0, vmax=1)
    return base.figure_of(ax)


def filters(layer_or_model: Any, n: int = 64, ax: Any = None) -> "Figure":
    """Draw the kernels of a convolution.

    Kernels with one channel are drawn from blue (negative) to red; those with three channels in
    colour, with grey for 0. For other numbers of channels each kernel is a row, with one image for
    each of its first 16 channels. All share one scale.

    Parameters
    ----------
    layer_or_model
        A built convolution, or a model, whose first convolution is drawn; or an array of kernels,
        (F, C, KH, KW) or (F, KH, KW).
    n
        Maximum number of images.
    ax
        Axes to draw into; None creates a new figure.

    Raises
    ------
    ValueError
        If there is no convolution, it is not built, or an array has another shape.

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
        ax, _ = image_grid(owner, ax, list(colours), inches=0.6)
        return base.figure_of(ax)
    columns = None
    if w.shape[1] > 1:
        columns = min(w.shape[1], 16, n)
        w = w[: max(n // columns, 1), :columns]
    tiles = list(w.reshape(-1, *w.shape[2:]))[:n]  # (F, C, KH, KW) -> (F*C, KH, KW)
    look: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
    ax, _ = image_grid(owner, ax, tiles, None, columns, inches=0.6, **look)
    base.figure_of(ax).colorbar(ax.images[0], ax=ax, label="weight", shrink=0.8)
    return base.figure_of(ax)


def feature_maps(
    model: "Model", x: Any, layer: Any = None, n: int = 32, ax: Any = None
) -> "Figure":
    """Draw the output of a layer for one image: a map for each channel.

    Bright means large; all maps share one scale.

    Parameters
    ----------
    model
        A model with images as inputs. It is not changed.
    x
        One image, (1, C, H, W).
    layer
        The layer, as in `nn.explain.find_layer`: an object, an index, or a name such as
        '3_Residual/0_Conv2D'. None uses the first convolution.
    n
        Maximum number of maps.
    ax
        Axes to draw into; None creates a new figure.

    Raises
    ------
    ValueError
        If x is not one image, the output of the layer is not (N, C, H, W), or the layer is not in
        the model.

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
        raise checks.error(owner, "x", "must be one image (1, C, H, W), such as x[:1]", x.shape)
    target = _first_convolution(owner, model) if layer is None else layer
    target = explain.find_layer(model, target, owner)
    maps = explain.layer_output(model, x, target)
    if maps.ndim != 4:
        rule = f"must be a layer with outputs (N, C, H, W), not {maps.shape}"
        raise checks.error(owner, "layer", rule, layer)
    tiles = list(maps[0, :n])
    low, high = (float(f(tiles)) for f in (np.min, np.max))
    look: dict[str, Any] = {"cmap": "viridis", "vmin": low, "vmax": high + (high == low)}
    path = next(path for path, part in named_layers(model.layers) if part is target)
    ax, _ = image_grid(owner, ax, tiles, inches=0.9, heading=target.name or path, **look)
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
    r"""Draw the images that a model classifies wrongly, those with the highest loss first.

    The title of each is the true class, the predicted class and the loss.

    Parameters
    ----------
    model
        A compiled classifier. It is not changed.
    x, y
        Images (N, C, H, W) and their labels, integers or one-hot; or a `Dataset` with both.
    n
        Maximum number of images.
    class_names
        Names of the classes; None uses those of the data set or the model, or the numbers.
    ax
        Axes to draw into; None creates a new figure.

    Raises
    ------
    RuntimeError
        If the model is not compiled.
    ValueError
        If the images or labels do not match the model.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Flatten(input_shape=(1, 4, 4)), nn.Dense(2)], seed=0)
    >>> model.compile("cce")
    >>> model.set_weights([np.tile([1, 0], (16, 1)), np.zeros(2)])  # always class 0
    >>> figure = worst_mistakes(model, np.ones((3, 1, 4, 4)), np.array([0, 1, 0]))
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['1 → 0\nloss 16']
    """
    owner = "plot.worst_mistakes"
    n = checks.positive_int(owner, "n", n)
    check_same_names(getattr(x, "class_names", None), model.class_names)
    x, y, names = base.samples(owner, x, y, class_names)
    labels = base.labels_of(owner, y)
    names = model.class_names if names is None else names
    predicted = cuda.to_cpu(model.predict_classes(x))
    if predicted.ndim != 1:
        rule = "must be a classifier that predicts one class for each sample"
        raise checks.error(owner, "model", rule, model)
    wrong = np.flatnonzero(predicted != labels)
    if len(wrong) == 0:
        ax = base.one_axes(owner, ax, 4, 1)
        ax.text(0.5, 0.5, f"no mistakes among {len(x):,}", ha="center", va="center")
        ax.axis("off")
        return base.figure_of(ax)
    losses = explain.sample_losses(model, x[wrong], y[wrong])
    order = np.argsort(-losses, kind="stable")[:n]
    chosen = wrong[order]
    titles = [
        f"{base.name_of(labels[k], names)} → {base.name_of(predicted[k], names)}\nloss {loss:.3g}"
        for k, loss in zip(chosen, losses[order], strict=True)
    ]
    tiles = _as_tiles(owner, x[chosen], n)
    heading = "true class → predicted class"
    ax, _ = image_grid(owner, ax, tiles, titles, heading=heading, cmap="gray", vmin=0, vmax=1)
    return base.figure_of(ax)


def saliency(
    model: "Model", x: Any, class_index: Any = None, n: int = 8, ax: Any = None
) -> "Figure":
    """Draw images and, below each, its saliency map: how much each pixel affects a class score.

    See `nn.explain.saliency_map` for the formula and the paper. Bright pixels matter most; each map
    has its own scale.

    Parameters
    ----------
    model
        A classifier of images. It is not changed.
    x
        Images (N, C, H, W).
    class_index
        The class, or one for each image; None uses the predicted class. It is the image's title.
    n
        Maximum number of images.
    ax
        Axes to draw into; None creates a new figure.

    Raises
    ------
    ValueError
        If the images do not match the model, or the model has no such class.

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
    return _draw_maps(owner, ax, tiles, [None] * len(tiles), titles, maps)


def grad_cam(
    model: "Model",
    x: Any,
    class_index: Any = None,
    layer: Any = None,
    n: int = 8,
    ax: Any = None,
) -> "Figure":
    """Draw images and, below each, the regions that support a class (Grad-CAM).

    See `nn.explain.grad_cam_map` for the formula and the paper. Bright regions support the class;
    each map has its own scale and is enlarged to the image size by bilinear interpolation.

    Parameters
    ----------
    model, x, class_index, n, ax
        As in `saliency`.
    layer
        The layer whose maps are used, as in `nn.explain.find_layer`; None uses the last convolution
        with the normalisation and activation after it.

    Raises
    ------
    ValueError
        As in `saliency`; also if the model has no convolution.

    Examples
    --------
    >>> import nn
    >>> model = nn.zoo.small_cnn(seed=0)
    >>> images = np.random.default_rng(0).random((3, 1, 28, 28))
    >>> len(grad_cam(model, images).axes[0].images)  # image, image again, map on top of it
    9
    """
    owner = "plot.grad_cam"
    x, class_index, tiles, titles = _to_explain(owner, model, x, class_index, n)
    maps = explain.grad_cam_map(model, x, class_index, layer)
    look: dict[str, Any] = {"interpolation": "bilinear", "alpha": 0.6}
    return _draw_maps(owner, ax, tiles, tiles, titles, maps, **look)


# ------------------------------------------------------------------------------- helpers


def _as_tiles(owner: str, x: Any, n: int) -> list[np.ndarray]:
    """Return the first n images as (H, W) or (H, W, 3) floats in [0, 1]."""
    if x.ndim != 4 or x.shape[1] not in (1, 3) or len(x) == 0:
        raise ValueError(
            f"[{owner}] 'x' must be images (N, C, H, W) with 1 or 3 channels, got {x.shape}: "
            "pass a single image as x[np.newaxis], grey ones as x[:, np.newaxis]."
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
    """Return the first n images and their classes, tiles and titles."""
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


def _draw_maps(
    owner: str, ax: Any, tiles: list, below: list, titles: list[str], maps: Any, **look: Any
) -> "Figure":
    """Draw images and, over the tiles below them, a map for each, with a scale of its own."""
    cells, count = [*tiles, *below], len(tiles)
    ax, places = image_grid(owner, ax, cells, titles, count, cmap="gray", vmin=0, vmax=1)
    for place, values in zip(places[count:], maps, strict=True):
        top = float(values.max()) or 1.0
        ax.imshow(values, extent=place, cmap="viridis", vmin=0, vmax=top, **look)
    return base.figure_of(ax)


def _first_convolution(owner: str, model: Any) -> Layer:
    for _, layer in named_layers(model.layers):
        if explain.is_convolution(layer):
            return layer
    raise ValueError(f"[{owner}] needs a model with a convolution, this one has none.")


def _kernels_of(owner: str, layer_or_model: Any) -> np.ndarray:
    """Return the kernels (F, C, KH, KW) of a convolution, or of a model's first."""
    layer = layer_or_model
    if hasattr(layer, "ndim"):
        w = checks.real_array(owner, "layer_or_model", cuda.to_cpu(layer))
        w = w[:, np.newaxis] if w.ndim == 3 else w  # (F, KH, KW) -> (F, 1, KH, KW)
        if w.ndim != 4 or not w.size:
            rule = "must be kernels (F, C, KH, KW) or (F, KH, KW)"
            raise checks.error(owner, "layer_or_model", rule, f"an array {layer.shape}")
        return w
    if not isinstance(layer, Layer):
        rule = "must be a layer, a model or an array of kernels"
        raise checks.error(owner, "layer_or_model", rule, layer)
    if hasattr(layer, "layers"):
        layer = _first_convolution(owner, layer)
    if not explain.is_convolution(layer):
        raise checks.error(owner, "layer_or_model", "must be a convolution", layer)
    if not layer.built:
        raise checks.error(owner, "layer_or_model", "must be built", layer)
    if isinstance(layer, WeightNorm):
        v, g = layer.params["v"], layer.params["g"]
        layer = layer.layer
        w = cuda.to_cpu(kernels.weight_norm(v, g, layer.output_axis))
    else:
        w = cuda.to_cpu(layer.params["W"])
    # Transposed kernels are (C, F, KH, KW).
    return w.transpose(1, 0, 2, 3) if isinstance(layer, Conv2DTranspose) else w
