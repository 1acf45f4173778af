"""The architecture of a network as a diagram: a box for each layer, a frame for each container."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import checks
from ..layers import Layer, Residual
from ..layers.plan import named_layers
from ..layers.residual import Skip
from . import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..model import Model

# Everything is measured in inches.
_BOX = 3.9  # width of a layer's box
_ROW = 0.27  # its height
_GAP = 0.16  # between boxes, where the arrows are
_PAD = 0.14  # between a frame and its contents
_MARGIN = 0.25
_TALLEST = 10.0  # of a column
_FONT = 8.0
_MOST_LETTERS = 27  # of a layer's label

# Fill colours by the module of nn.layers that defines the class: light tints of base.COLOURS.
_FILLS = {
    "conv": "#CCE3F0",
    "dense": "#FAE0CC",
    "normalization": "#CCECE3",
    "pooling": "#F5E4ED",
    "activations": "#FCF9D9",
    "dropout": "#E6E6E6",
}


def architecture(model: "Model", ax: Any = None) -> "Figure":
    """Draw the layers from input to output, with output shapes and numbers of parameters.

    The layers of a container are drawn in a frame; in a `Residual` or a `SkipConcat` a line shows
    the shortcut, with its layers if it has any. Shapes are those of one sample.

    Parameters
    ----------
    model
        A model; the shapes are shown if it is built.
    ax
        Axes to draw into; None creates a new figure of the size that is needed.

    Raises
    ------
    ValueError
        If the model has no layers.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Dense(4, input_shape=(3,)), nn.ReLU()], seed=0)
    >>> [text.get_text() for text in architecture(model).axes[0].texts if text.get_text()]
    ['input', '(3,)', 'Dense', '(4,)', '16', 'ReLU', '(4,)', '16 parameters']
    """
    owner = "plot.architecture"
    if not getattr(model, "layers", None):
        raise checks.error(owner, "model", "must be a model with layers", model)
    columns = _in_columns(model.layers)
    sizes = [_stack_size(column) for column in columns]
    start = _ROW + _GAP  # the input's box
    width = sum(size.width for size in sizes) + _MARGIN * (len(sizes) + 1)
    height = max(size.height + start * (k == 0) for k, size in enumerate(sizes))
    height += 2 * _MARGIN + _ROW  # and the line at the end
    scale = 1.0
    if ax is None:
        figure = base.new_figure(owner, width, height)
        figure.set_layout_engine("none")  # each inch of the figure is one of the diagram
        ax = figure.add_axes((0, 0, 1, 1))
    else:
        ax = base.one_axes(owner, ax, 0, 0)
        given = base.inches_of(ax)
        scale = min(given[0] / width, given[1] / height)
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.set_aspect("equal")
    ax.axis("off")
    _Diagram(ax, scale).draw(model, columns, sizes)
    return base.figure_of(ax)


# ------------------------------------------------------------------------ measuring


class _Size(NamedTuple):
    """Extent of a box or frame to the left and right of its centre line, and its height."""

    left: float
    right: float
    height: float

    @property
    def width(self) -> float:
        return self.left + self.right


def _in_columns(layers: Sequence[Layer]) -> list[list[Layer]]:
    """Distribute the layers over columns that are not too tall; a container is not split."""
    columns: list[list[Layer]] = [[]]
    height = _ROW + _GAP
    for layer in layers:
        needed = _size(layer).height + _GAP
        if columns[-1] and height + needed > _TALLEST:
            columns.append([])
            height = 0.0
        columns[-1].append(layer)
        height += needed
    return columns


def _size(layer: Layer) -> _Size:
    """Return the size of a layer's box, or of a container's frame."""
    if not layer.sublayers():
        return _Size(_BOX / 2, _BOX / 2, _ROW)
    if not isinstance(layer, Skip):
        inner = _stack_size(layer.sublayers())
        return _Size(inner.left + _PAD, inner.right + _PAD, inner.height + _ROW + 2 * _PAD)
    main, shortcut = _stack_size(layer.main), _shortcut_size(layer)
    height = max(main.height, shortcut.height) + 2 * _GAP + _ROW  # the branch, and the sum
    right = main.right + _PAD + shortcut.width
    return _Size(main.left + _PAD, right + _PAD, height + _ROW + 2 * _PAD)


def _shortcut_size(layer: Skip) -> _Size:
    """Return the size of the layers of a shortcut, or of its line if it has no layers."""
    return _stack_size(layer.shortcut) if layer.shortcut else _Size(0.1, 0.1, 0.0)


def _stack_size(layers: Sequence[Layer]) -> _Size:
    """Return the size of a column of boxes."""
    sizes = [_size(layer) for layer in layers]
    height = sum(size.height for size in sizes) + _GAP * (len(sizes) - 1)
    return _Size(max(s.left for s in sizes), max(s.right for s in sizes), height)


# -------------------------------------------------------------------------- writing


def _label(layer: Layer) -> str:
    """Return a layer's name or class, with its kernel size, stride, rate and activation.

    Examples
    --------
    >>> from nn.layers import Conv2D, Dense, Dropout
    >>> _label(Conv2D(8, 3, stride=2)), _label(Dense(4, activation="relu")), _label(Dropout(0.5))
    ('Conv2D 3x3, stride 2x2', 'Dense + ReLU', 'Dropout 0.5')
    """
    text = layer.name or type(layer).__name__
    wrapped = getattr(layer, "layer", None)
    if isinstance(wrapped, Layer):
        text += f": {_label(wrapped)}"
    for attribute in ("kernel_size", "pool_size"):
        size = getattr(layer, attribute, None)
        if isinstance(size, tuple):
            text += " " + "x".join(map(str, size))
    stride = getattr(layer, "stride", None)
    if isinstance(stride, tuple) and hasattr(layer, "kernel_size") and set(stride) != {1}:
        text += ", stride " + "x".join(map(str, stride))
    if isinstance(getattr(layer, "rate", None), float):
        text += f" {layer.rate:g}"  # type: ignore[attr-defined]
    inner = getattr(layer, "activation", None)
    if isinstance(inner, Layer):
        text += f" + {type(inner).__name__}"
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"


def _parameters(layer: Layer) -> int:
    return sum(int(p.size) for _, part in named_layers([layer]) for p in part.params.values())


# -------------------------------------------------------------------------- drawing


class _Diagram:
    """Draws boxes and lines into Axes whose y axis points down."""

    def __init__(self, ax: "Axes", scale: float):
        self.ax, self.scale = ax, scale  # inches of the Axes per inch of the diagram

    def draw(
        self,
        model: "Model",
        columns: Sequence[Sequence[Layer]],
        sizes: Sequence[_Size],
    ) -> None:
        """Draw the input, the columns of layers, and the total number of parameters."""
        left, above = _MARGIN, None
        bottom = 0.0
        for k, (layers, size) in enumerate(zip(columns, sizes, strict=True)):
            middle, top = left + size.left, _MARGIN
            if k == 0:
                shape = model.input_shape
                text = "not built" if shape is None else str(shape[1:])
                self.box(middle - _BOX / 2, top, "input", text, "", "white")
                self.arrow(middle, top + _ROW, top + _ROW + _GAP)
                top += _ROW + _GAP
            if above is not None:  # from the end of the last column to the start of this one
                self.turn(above, (middle, top), left - _MARGIN / 2)
            bottom = self.stack(layers, middle, top)
            above = (middle, bottom)
            left += size.width + _MARGIN
        total = sum(_parameters(layer) for layer in model.layers)
        self.text(middle, bottom + _ROW, f"{total:,} parameters", "center")

    def stack(self, layers: Sequence[Layer], middle: float, top: float) -> float:
        """Draw a column of layers with arrows between them; return the y of its end."""
        for k, layer in enumerate(layers):
            if k:
                self.arrow(middle, top, top + _GAP)
                top += _GAP
            self.layer(layer, middle, top)
            top += _size(layer).height
        return top

    def layer(self, layer: Layer, middle: float, top: float) -> None:
        """Draw the box of a layer, or the frame and layers of a container."""
        shape = str(layer.output_shape[1:]) if layer.output_shape else "not built"
        count = _parameters(layer)
        if not layer.sublayers():
            file = type(getattr(layer, "layer", layer)).__module__.rpartition(".")[2]
            fill = _FILLS.get(file, "white")
            self.box(
                middle - _BOX / 2, top, _label(layer), shape, f"{count:,}" if count else "", fill
            )
            return
        size = _size(layer)
        self.frame(middle - size.left, top, size.width, size.height)
        head, first = top + _ROW / 2 + 0.03, top + _ROW + _PAD
        self.text(middle - size.left + _PAD, head, _label(layer), "left", weight="bold")
        self.text(middle + size.right - _PAD, head, f"{count:,}", "right")
        if isinstance(layer, Skip):
            self.line([middle, middle], [top, first])
            foot = self.residual(layer, middle, first)
        else:
            self.arrow(middle, top, first)
            foot = self.stack(layer.sublayers(), middle, first)
        self.line([middle, middle], [foot, top + size.height])

    def residual(self, layer: Skip, middle: float, top: float) -> float:
        """Draw the layers of a residual block, its shortcut and the sum; return its end."""
        main, shortcut = _stack_size(layer.main), _shortcut_size(layer)
        aside = middle + main.right + _PAD + shortcut.left
        plus = top + _GAP + max(main.height, shortcut.height) + _GAP + _ROW / 2
        self.arrow(middle, top, top + _GAP)
        self.line([middle, aside], [top, top])
        foot = self.stack(layer.main, middle, top + _GAP)
        self.arrow(middle, foot, plus - _ROW / 3)
        foot = top
        if layer.shortcut:
            self.arrow(aside, top, top + _GAP)
            foot = self.stack(layer.shortcut, aside, top + _GAP)
        self.line([aside, aside], [foot, plus])
        self.point((middle + _ROW / 3, plus), (aside, plus))
        sign = "+" if isinstance(layer, Residual) else "[ , ]"
        self.text(middle, plus, sign, "center", bbox={"boxstyle": "circle,pad=0.15", "fc": "white"})
        return plus + _ROW / 3

    def box(self, left: float, top: float, name: str, shape: str, count: str, fill: str) -> None:
        """Draw a box with a layer's label, output shape and number of parameters."""
        from matplotlib.patches import FancyBboxPatch

        style = "round,pad=0,rounding_size=0.05"
        patch = FancyBboxPatch((left, top), _BOX, _ROW, boxstyle=style, fc=fill, ec="0.25", lw=0.8)
        self.ax.add_patch(patch)
        middle = top + _ROW / 2
        self.text(left + 0.08, middle, name, "left")
        self.text(left + 0.8 * _BOX, middle, shape, "right")
        if name != "input":
            self.text(left + _BOX - 0.08, middle, count, "right")

    def frame(self, left: float, top: float, width: float, height: float) -> None:
        from matplotlib.patches import Rectangle

        corner = (left, top)
        self.ax.add_patch(Rectangle(corner, width, height, fill=False, ec="0.4", lw=0.8, ls="--"))

    def arrow(self, x: float, top: float, bottom: float) -> None:
        """Draw a vertical arrow."""
        self.point((x, bottom), (x, top))

    def point(self, to: tuple[float, float], start: tuple[float, float]) -> None:
        """Draw an arrow from `start` to `to`."""
        look: dict[str, Any] = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "lw": 0.8}
        look["mutation_scale"] = 6 * self.scale
        self.ax.annotate("", to, start, arrowprops=look)

    def line(self, xs: list[float], ys: list[float]) -> None:
        self.ax.plot(xs, ys, color="black", lw=0.8, solid_capstyle="butt")

    def turn(self, foot: tuple[float, float], head: tuple[float, float], between: float) -> None:
        """Draw the connection from the end of a column to the start of the next."""
        low, high = foot[1] + _GAP / 2, head[1] - _GAP / 2
        self.line([foot[0], foot[0], between], [foot[1], low, low])
        self.line([between, between, head[0]], [low, high, high])
        self.arrow(head[0], high, head[1])

    def text(self, x: float, y: float, text: str, side: str, **look: Any) -> None:
        self.ax.text(x, y, text, ha=side, va="center", fontsize=_FONT * self.scale, **look)
