"""Pages of HTML for notebooks: a model, a history and a dataset that show themselves.

Each function returns a piece of HTML that needs nothing from elsewhere: no script, no style sheet,
no font; images are in it. Colours are those of the page around it, dark or light. Every text that
is not of this file goes through `_text`, so that a layer named `<script>` is shown and not run.
"""

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import text
from ..validation import class_of_rows

_CLASSES = 20  # that are listed, at most
_IMAGES = 10
_IMAGE_SIDE = 64  # points on the page, of the longer side
_LARGEST_SIDE = 128  # pixels; a larger image is thinned out
# Blue and vermilion, which nobody confuses, for light pages and dark ones; validation is dashed.
_TRAINING, _VALIDATION = "#2F86C1", "#D55E00"
_PLOT = (260, 120)  # width and height of the part within the axes
_MARGIN = (52, 24, 12, 34)  # left, top, right, bottom


# ----------------------------------------------------------------------------------- a model


def of_summary(look: Any) -> str:
    """Return a model's summary, as `nn.inspect.summary.look` gives it, as a table.

    Examples
    --------
    >>> import nn
    >>> from nn.inspect.summary import look
    >>> page = of_summary(look(nn.Model([nn.Dense(3, name="<b>", input_shape=(4,))])))
    >>> "&lt;b&gt; (Dense)" in page, "<b>" in page
    (True, False)
    """
    rows = []
    for row, cells in zip(look.rows, look.cells(), strict=True):
        indent = f"padding-left:{1.5 * row.depth:g}em" * (row.depth > 0)
        rows.append(_row(cells, heading=0, figures=[2], style=indent))
    return _table(
        look.name,
        [_head(("Layer", "Output shape", "Parameters"), figures=[2])],
        rows,
        [
            f'<tr><td colspan="3" style="text-align:left">{_text(line)}</td></tr>'
            for line in look.totals
        ],
    )


# --------------------------------------------------------------------------------- a history


def of_history(history: Mapping[str, Sequence[float]]) -> str:
    """Return curves of loss and accuracy, and a table of all figures.

    Examples
    --------
    >>> page = of_history({"loss": [0.5, 0.25], "lr": [0.1, 0.1]})
    >>> page.count("<polyline"), "0.2500" in page
    (1, True)
    """
    epochs = max((len(values) for values in history.values()), default=0)
    title = f"Training history, {epochs} epoch{'s' * (epochs != 1)}"
    curves = "".join(
        _curves(name, {n: history[n] for n in (name, f"val_{name}") if len(history.get(n, ()))})
        for name in ("loss", "acc")
        if len(history.get(name, ())) or len(history.get(f"val_{name}", ()))
    )
    heads = ("Figure", "First", "Last", "Lowest (epoch)", "Highest (epoch)")
    rows = [
        _row((name, *_extremes(values)), heading=0, figures=range(1, 5))
        for name, values in history.items()
        if len(values)
    ]
    table = _table(title, [_head(heads, figures=range(1, 5))] * bool(rows), rows)
    return f"<div>{curves}{table}</div>"


def _extremes(values: Sequence[float]) -> tuple[str, ...]:
    """Return the first and the last figure, the lowest and the highest with their epochs."""
    finite = [k for k, value in enumerate(values) if math.isfinite(value)]
    first, last = _figure(values[0]), _figure(values[-1])
    if not finite:
        return first, last, "-", "-"
    low, high = (f(finite, key=lambda k: values[k]) for f in (min, max))
    return first, last, *(f"{_figure(values[k])} ({k + 1})" for k in (low, high))


def _figure(value: float) -> str:
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.3g}"


def _curves(title: str, curves: Mapping[str, Sequence[float]]) -> str:
    """Return a figure, drawn in SVG, of curves over the epochs."""
    (width, height), (left, top, right, bottom) = _PLOT, _MARGIN
    epochs = max(len(values) for values in curves.values())
    finite = [v for values in curves.values() for v in values if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    label = "; ".join(f"{name} {_figure(values[-1])} in the end" for name, values in curves.items())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{_text(label)}" '
        f'width="{left + width + right}" height="{top + height + bottom}" '
        'style="max-width:100%;font:12px sans-serif" fill="currentColor">',
        f'<path d="M{left} {top}v{height}h{width}" fill="none" stroke="currentColor"/>',
        _label(left - 6, top + 9, "end", _figure(high)),
        _label(left - 6, top + height, "end", _figure(low)) if high > low else "",
        _label(left, top + height + 16, "start", "epoch 1"),
        _label(left + width, top + height + 16, "end", str(epochs)) if epochs > 1 else "",
    ]
    for number, (name, values) in enumerate(curves.items()):
        is_validation = name.startswith("val_")
        style = f'stroke="{_VALIDATION}" stroke-dasharray="6 3"' if is_validation else ""
        style = style or f'stroke="{_TRAINING}"'
        x = left + 6 + number * 110
        parts.append(f'<path d="M{x} {top - 12}h22" {style} stroke-width="2"/>')
        parts.append(_label(x + 28, top - 8, "start", name))
        parts += _lines(_points(values, epochs, low, high), style)
    return "".join(parts) + "</svg>"


def _points(
    values: Sequence[float], epochs: int, low: float, high: float
) -> list[tuple[float, float] | None]:
    """Return where a curve's figures lie in the drawing; None for one that is not finite."""
    (width, height), (left, top, _, _) = _PLOT, _MARGIN
    points: list[tuple[float, float] | None] = []
    for k, value in enumerate(values):
        if not math.isfinite(value):
            points.append(None)
            continue
        share = 0.5 if high == low else value / (high - low) - low / (high - low)
        across = width * k / (epochs - 1) if epochs > 1 else width / 2
        points.append((left + across, top + height * (1 - share)))
    return points


def _lines(points: Sequence[tuple[float, float] | None], style: str) -> list[str]:
    """Return lines through points, broken where one is missing; a single point is a dot."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    drawn = []
    for run in runs:
        if len(run) == 1:
            x, y = run[0]
            drawn.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="none" stroke-width="2" {style}/>'
            )
        elif run:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
            drawn.append(f'<polyline points="{path}" fill="none" stroke-width="2" {style}/>')
    return drawn


def _label(x: float, y: float, anchor: str, words: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{_text(words)}</text>'


# --------------------------------------------------------------------------------- a dataset


def of_dataset(dataset: Any) -> str:
    """Return what a dataset holds as a table, and an image of each class where it has images.

    Examples
    --------
    >>> from nn.data import Dataset
    >>> page = of_dataset(Dataset(np.zeros((3, 2)), [0, 1, 1], class_names=["no", "<yes>"]))
    >>> "&lt;yes&gt;" in page, "(3, 2)" in page
    (True, True)
    """
    counts = _class_counts(dataset)
    size = math.prod(dataset.x.shape) * dataset.x.dtype.itemsize
    facts = [
        ("Samples", f"{len(dataset):,}"),
        ("x", f"{tuple(dataset.x.shape)}, {dataset.x.dtype}, {text.size(size)}"),
    ]
    if dataset.y is not None:
        facts.append(("y", f"{tuple(dataset.y.shape)}, {dataset.y.dtype}{_range(dataset, counts)}"))
    if dataset.sample_weight is not None:
        weights = dataset.sample_weight
        facts.append(("sample_weight", f"{_figure(weights.min())} to {_figure(weights.max())}"))
    if counts:
        facts.append(("Classes", f"{dataset.num_classes:,}"))
    page = _table("Dataset", [], [_row(fact, heading=0) for fact in facts])
    if counts:
        heads = [_head(("Class", "Samples"), figures=[1])]
        rows = [_row((name, f"{n:,}"), heading=0, figures=[1]) for name, n in counts[:_CLASSES]]
        more = [f'<tr><td colspan="2">and {len(counts) - _CLASSES:,} more</td></tr>']
        page += _table("Samples of each class", heads, rows, more * (len(counts) > _CLASSES))
    return f"<div>{page}{_images(dataset)}</div>"


def _class_counts(dataset: Any) -> list[tuple[str, int]]:
    """Return the name and the number of samples of each class; nothing where there are none."""
    classes, count = class_of_rows(dataset.y), dataset.num_classes
    if classes is None or count is None or classes.min() < 0:
        return []
    present, numbers = np.unique(classes, return_counts=True)
    found = dict(zip(present.tolist(), numbers.tolist(), strict=True))
    shown = range(count) if count <= 10 * _CLASSES else sorted(found)  # labels may be any numbers
    return [(_class_name(dataset, k), found.get(k, 0)) for k in shown]


def _class_name(dataset: Any, label: int) -> str:
    return str(label) if dataset.class_names is None else dataset.class_names[label]


def _range(dataset: Any, counts: Sequence[Any]) -> str:
    """Return the least and the largest target, where targets are no classes."""
    if counts or dataset.y is None or not dataset.y.size:
        return ""
    return f", {_figure(float(dataset.y.min()))} to {_figure(float(dataset.y.max()))}"


def _images(dataset: Any) -> str:
    """Return some samples as images, the first of each class before others."""
    shape = dataset.x.shape[1:]
    if len(shape) != 3 or shape[0] not in (1, 3) or not _has_pillow():
        return ""
    classes = class_of_rows(dataset.y)
    first = range(len(dataset)) if classes is None else np.unique(classes, return_index=True)[1]
    figures = []
    for row in list(first)[:_IMAGES]:
        words = f"sample {row}"
        if classes is not None and classes[row] >= 0:
            words = _class_name(dataset, int(classes[row]))
        figures.append(_image(np.asarray(dataset.x[int(row)]), words))
    return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(figures)}</div>'


def _has_pillow() -> bool:
    try:
        import PIL  # noqa: F401
    except ImportError:
        return False
    return True


def _image(sample: np.ndarray, words: str) -> str:
    """Return a sample (C, H, W) with its caption, as a PNG file within the page."""
    step = -(-max(sample.shape[1:]) // _LARGEST_SIDE)  # rounded up
    pixels = _in_bytes(sample[:, ::step, ::step])
    scale = _IMAGE_SIDE / max(pixels.shape[1:])
    height, width = (max(1, round(scale * side)) for side in pixels.shape[1:])
    return (
        f'<figure style="margin:0;text-align:center"><img alt="{_text(words)}" '
        f'width="{width}" height="{height}" style="image-rendering:pixelated" '
        f'src="data:image/png;base64,{_png(pixels)}">'
        f"<figcaption>{_text(words)}</figcaption></figure>"
    )


def _in_bytes(sample: np.ndarray) -> np.ndarray:
    """Return an image as uint8; floats within [0, 1] as they are, others from least to most."""
    if sample.dtype == np.uint8:
        return sample
    values = np.nan_to_num(sample.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    if low < 0 or high > 1:
        values = (values - low) / (high - low) if high > low else values * 0
    return np.rint(values * 255).astype(np.uint8)


def _png(pixels: np.ndarray) -> str:
    """Return an image (C, H, W) in PNG, as base64."""
    from PIL import Image

    # (1, H, W) -> (H, W), or (3, H, W) -> (H, W, 3)
    array = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


# ---------------------------------------------------------------------------------- the parts


def _text(words: str) -> str:
    """Return a text in which nothing is HTML."""
    return html.escape(text.printable(words), quote=True)


def _table(
    caption: str, heads: Sequence[str], rows: Sequence[str], feet: Sequence[str] = ()
) -> str:
    """Return a table of rows that are HTML already."""
    parts = [
        '<table style="border-spacing:1em 0.1em;margin:0.5em 0">'
        f'<caption style="text-align:left;white-space:nowrap">{_text(caption)}</caption>'
    ]
    for tag, lines in (("thead", heads), ("tbody", rows), ("tfoot", feet)):
        if lines:
            parts.append(f"<{tag}>{''.join(lines)}</{tag}>")
    return "".join(parts) + "</table>"


def _head(cells: Sequence[str], figures: Sequence[int] = ()) -> str:
    sides = ["right" if k in figures else "left" for k in range(len(cells))]
    parts = [
        f'<th scope="col" style="text-align:{side}">{_text(cell)}</th>'
        for side, cell in zip(sides, cells, strict=True)
    ]
    return f"<tr>{''.join(parts)}</tr>"


def _row(cells: Sequence[str], heading: int, figures: Sequence[int] = (), style: str = "") -> str:
    """Return a row; the cell of number `heading` names it, `figures` stand at the right."""
    parts = []
    for k, cell in enumerate(cells):
        side = "right" if k in figures else "left"
        if k == heading:
            own = f";{style}" * bool(style)
            parts.append(f'<th scope="row" style="text-align:{side}{own}">{_text(cell)}</th>')
        else:
            parts.append(f'<td style="text-align:{side}">{_text(cell)}</td>')
    return f"<tr>{''.join(parts)}</tr>"
