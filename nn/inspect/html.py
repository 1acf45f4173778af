"""HTML that notebooks display for a model, a history and a dataset.

Each page is self-contained: no scripts, style sheets or fonts, and images are embedded. Colours
follow the notebook's theme. All text is escaped by `_text`, so that a layer named `<script>` is
displayed, not run.
"""

import base64
import html
import io
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from .. import text
from ..validation import class_of_rows

_CLASSES = 20  # listed, at most
_IMAGES = 10
_IMAGE_SIDE = 64  # CSS pixels of the longer side
_LARGEST_SIDE = 128  # pixels; larger images are subsampled
# Blue and vermilion suit colour-blind readers, on light and dark pages; validation is dashed.
_TRAINING, _VALIDATION = 'stroke="#2F86C1"', 'stroke="#D55E00" stroke-dasharray="6 3"'
_WIDTH, _HEIGHT = 260, 120  # of the area within the axes
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 24, 12, 34  # margins


# ----------------------------------------------------------------------------------- a model


def of_summary(summary: Any) -> str:
    """Return a summary, as returned by `nn.inspect.summary.summarize`, as an HTML table.

    Examples
    --------
    >>> import nn
    >>> from nn.inspect.summary import summarize
    >>> page = of_summary(summarize(nn.Model([nn.Dense(3, name="<b>", input_shape=(4,))])))
    >>> "&lt;b&gt; (Dense)" in page, "<b>" in page
    (True, False)
    """
    head, depths = ("Layer", "Output shape", "Parameters"), [row.depth for row in summary.rows]
    return _table(summary.name, summary.cells(), head, [2], summary.totals, depths)


# --------------------------------------------------------------------------------- a history


def of_history(history: Mapping[str, Sequence[float]]) -> str:
    """Return a training history as curves of loss and accuracy and a table of all metrics.

    Examples
    --------
    >>> page = of_history({"loss": [0.5, 0.25], "lr": [0.1, 0.1]})
    >>> page.count("<polyline"), "0.2500" in page
    (1, True)
    """
    history = {name: values for name, values in history.items() if len(values)}
    epochs = max(map(len, history.values()), default=0)
    parts = []
    for name in ("loss", "acc"):
        curves = {key: history[key] for key in (name, f"val_{name}") if key in history}
        if curves:
            parts.append(_chart(curves))
    head = ("Figure", "First", "Last", "Lowest (epoch)", "Highest (epoch)")
    rows = [(name, *_extremes(values)) for name, values in history.items()]
    title = f"Training history, {epochs} epoch{'s' * (epochs != 1)}"
    return f"<div>{''.join(parts)}{_table(title, rows, head if rows else (), range(1, 5))}</div>"


def _extremes(values: Sequence[float]) -> tuple[str, ...]:
    """Return the first and last value, and the lowest and highest with their epochs."""
    finite = [k for k, value in enumerate(values) if math.isfinite(value)]
    first, last = _figure(values[0]), _figure(values[-1])
    if not finite:
        return first, last, "-", "-"
    low, high = (f(finite, key=lambda k: values[k]) for f in (min, max))
    return first, last, *(f"{_figure(values[k])} ({k + 1})" for k in (low, high))


def _figure(value: float) -> str:
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.3g}"


def _chart(curves: Mapping[str, Sequence[float]]) -> str:
    """Return an SVG line chart of metrics over the epochs."""
    epochs = max(map(len, curves.values()))
    finite = [v for values in curves.values() for v in values if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    label = "; ".join(f"{name} {_figure(values[-1])} at the end" for name, values in curves.items())
    right, bottom = _LEFT + _WIDTH, _TOP + _HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{_text(label)}" '
        f'width="{right + _RIGHT}" height="{bottom + _BOTTOM}" '
        'style="max-width:100%;font:12px sans-serif" fill="currentColor">',
        f'<path d="M{_LEFT} {_TOP}v{_HEIGHT}h{_WIDTH}" fill="none" stroke="currentColor"/>',
        _label(_LEFT - 6, _TOP + 9, "end", _figure(high)),
        _label(_LEFT - 6, bottom, "end", _figure(low)) if high > low else "",
        _label(_LEFT, bottom + 16, "start", "epoch 1"),
        _label(right, bottom + 16, "end", str(epochs)) if epochs > 1 else "",
    ]
    for k, (name, values) in enumerate(curves.items()):
        style = (_VALIDATION if name.startswith("val_") else _TRAINING) + ' stroke-width="2"'
        x = _LEFT + 6 + k * 110
        parts.append(f'<path d="M{x} {_TOP - 12}h22" {style}/>')
        parts.append(_label(x + 28, _TOP - 8, "start", name))
        parts.append(_curve(values, epochs, low, high, f'fill="none" {style}'))
    return "".join(parts) + "</svg>"


def _curve(values: Sequence[float], epochs: int, low: float, high: float, style: str) -> str:
    """Return a curve with gaps at values that are not finite; an isolated point is a circle."""
    runs: list[list[tuple[float, float]]] = [[]]
    for k, value in enumerate(values):
        if math.isfinite(value):
            across = k / (epochs - 1) if epochs > 1 else 0.5
            up = value / (high - low) - low / (high - low) if high > low else 0.5
            runs[-1].append((_LEFT + _WIDTH * across, _TOP + _HEIGHT * (1 - up)))
        else:
            runs.append([])
    parts = []
    for run in runs:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
        if len(run) == 1:
            x, y = points.split(",")
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" {style}/>')
        elif run:
            parts.append(f'<polyline points="{points}" {style}/>')
    return "".join(parts)


def _label(x: float, y: float, anchor: str, words: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{_text(words)}</text>'


# --------------------------------------------------------------------------------- a dataset


def of_dataset(dataset: Any) -> str:
    """Return the contents of a `Dataset` as tables, with an image of each class if it has images.

    Examples
    --------
    >>> from nn.data import Dataset
    >>> page = of_dataset(Dataset(np.zeros((3, 2)), [0, 1, 1], class_names=["no", "<yes>"]))
    >>> "&lt;yes&gt;" in page, "(3, 2)" in page
    (True, True)
    """
    x, y, weights = dataset.x, dataset.y, dataset.sample_weight
    counts = _class_counts(dataset)
    size = text.size(math.prod(x.shape) * x.dtype.itemsize)
    facts = [("Samples", f"{len(dataset):,}"), ("x", f"{tuple(x.shape)}, {x.dtype}, {size}")]
    if y is not None:
        limits = f", {_range(y)}" * (not counts and y.size > 0)
        facts.append(("y", f"{tuple(y.shape)}, {y.dtype}{limits}"))
    if weights is not None:
        facts.append(("sample_weight", _range(weights)))
    if counts:
        facts.append(("Classes", f"{dataset.num_classes:,}"))
    page = _table("Dataset", facts)
    if counts:
        rows = [(name, f"{n:,}") for name, n in counts[:_CLASSES]]
        more = [f"and {len(counts) - _CLASSES:,} more"] * (len(counts) > _CLASSES)
        page += _table("Samples of each class", rows, ("Class", "Samples"), [1], more)
    return f"<div>{page}{_images(dataset)}</div>"


def _class_counts(dataset: Any) -> list[tuple[str, int]]:
    """Return the name and number of samples of each class; nothing if targets are not classes."""
    classes, count = class_of_rows(dataset.y), dataset.num_classes
    if classes is None or count is None or classes.min() < 0:
        return []
    present, numbers = np.unique(classes, return_counts=True)
    found = dict(zip(present.tolist(), numbers.tolist(), strict=True))
    listed = range(count) if count <= 10 * _CLASSES else sorted(found)  # labels may be any integers
    return [(_class_name(dataset, k), found.get(k, 0)) for k in listed]


def _class_name(dataset: Any, label: int) -> str:
    return str(label) if dataset.class_names is None else dataset.class_names[label]


def _range(values: np.ndarray) -> str:
    return f"{_figure(float(values.min()))} to {_figure(float(values.max()))}"


def _images(dataset: Any) -> str:
    """Return some samples as images: the first of each class, or the first ones."""
    shape = dataset.x.shape[1:]
    try:
        from PIL import Image
    except ImportError:
        return ""
    if len(shape) != 3 or shape[0] not in (1, 3):
        return ""
    classes = class_of_rows(dataset.y)
    first = range(len(dataset)) if classes is None else np.unique(classes, return_index=True)[1]
    step = -(-max(shape[1:]) // _LARGEST_SIDE)  # rounded up
    figures = []
    for row in list(first)[:_IMAGES]:
        caption = f"sample {row}"
        if classes is not None and classes[row] >= 0:
            caption = _class_name(dataset, int(classes[row]))
        pixels = _as_bytes(np.asarray(dataset.x[int(row)])[:, ::step, ::step])
        # (1, H, W) -> (H, W), or (3, H, W) -> (H, W, 3)
        pixels = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        png = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(png, "PNG")
        figures.append(_image(png.getvalue(), pixels.shape[:2], _text(caption)))
    return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(figures)}</div>'


def _image(png: bytes, shape: Sequence[int], caption: str) -> str:
    """Return a PNG file of a shape (H, W) as an embedded image with its caption."""
    height, width = (max(1, round(_IMAGE_SIDE / max(shape) * side)) for side in shape)
    return (
        f'<figure style="margin:0;text-align:center"><img alt="{caption}" '
        f'width="{width}" height="{height}" style="image-rendering:pixelated" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _as_bytes(sample: np.ndarray) -> np.ndarray:
    """Return an image as uint8: floats in [0, 1] times 255, others rescaled from their range."""
    if sample.dtype == np.uint8:
        return sample
    values = np.nan_to_num(sample.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    if low < 0 or high > 1:
        values = (values - low) / (high - low) if high > low else values * 0
    return np.rint(values * 255).astype(np.uint8)


# ------------------------------------------------------------------------------------ tables


def _text(words: str) -> str:
    """Return text with HTML escaped."""
    return html.escape(text.printable(words), quote=True)


def _table(
    caption: str,
    rows: Sequence[Sequence[str]],
    head: Sequence[str] = (),
    figures: Collection[int] = (),
    foot: Sequence[str] = (),
    depths: Sequence[int] = (),
) -> str:
    """Return a table with right-aligned `figures` columns, and rows indented by `depths`."""

    def cell(k: int, words: str, scope: str = "", depth: int = 0) -> str:
        side, tag = "right" if k in figures else "left", "th" if scope else "td"
        padding = f";padding-left:{1.5 * depth:g}em" * (depth > 0)
        scope = f' scope="{scope}"' * bool(scope)
        return f'<{tag}{scope} style="text-align:{side}{padding}">{_text(words)}</{tag}>'

    heads = ["".join(cell(k, words, "col") for k, words in enumerate(head))] * bool(head)
    body = [
        cell(0, first, "row", depth) + "".join(cell(k, words) for k, words in enumerate(rest, 1))
        for (first, *rest), depth in zip(rows, depths or [0] * len(rows), strict=True)
    ]
    feet = [
        f'<td colspan="{len(head)}" style="text-align:left">{_text(words)}</td>' for words in foot
    ]
    parts = [
        '<table style="border-spacing:1em 0.1em;margin:0.5em 0">'
        f'<caption style="text-align:left;white-space:nowrap">{_text(caption)}</caption>'
    ]
    for tag, lines in (("thead", heads), ("tbody", body), ("tfoot", feet)):
        if lines:
            parts.append(f"<{tag}>{''.join(f'<tr>{line}</tr>' for line in lines)}</{tag}>")
    return "".join(parts) + "</table>"
