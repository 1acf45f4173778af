"""Draw the figures of docs/guide/.

    python docs/make_guide.py

It needs matplotlib (the extra `plot`), takes about ten seconds, and writes into docs/images/.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

import nn
from nn import optim

DOCS = Path(__file__).resolve().parent
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#5A5A5A"


def panels(columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """Return a figure with so many panels side by side, sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


# ---------------------------------------------------------------------------- one neuron


def neuron() -> Figure:
    """Draw what one neuron decides before and after learning, and the loss on the way."""
    data = nn.data.make_blobs(200, noise=0.6, seed=1, centers=2)
    figure, axes = panels(3, 10, 3.2)
    model = nn.zoo.logistic_regression(seed=0)
    model.layers[0].params["W"][...] = [[-0.5], [1.0]]  # a start that is wrong
    model.compile("bce", "sgd", lr=0.5)
    nn.plot.decision_boundary(model, data.x, data.y, ax=axes[0])
    history = model.fit(data, epochs=60, batch_size=len(data), verbose=0)
    nn.plot.decision_boundary(model, data.x, data.y, ax=axes[1])
    axes[0].set_title("before")
    axes[1].set_title("after 60 steps")
    axes[2].plot(range(1, 61), history["loss"], color=BLUE, linewidth=2)
    axes[2].set(xlabel="step", ylabel="loss", ylim=(0, None), title="the loss on the way")
    axes[2].grid(alpha=0.3)
    return figure


# ----------------------------------------------------------------------- backpropagation


def mirror() -> Figure:
    """Draw a batch's way forward through layers, and the gradient's way back."""
    figure, (axes,) = panels(1, 9, 2.6)
    names = ["Dense", "ReLU", "Dense", "loss"]
    forward = ["x", "z₁ = x W₁ + b₁", "a₁ = max(z₁, 0)", "z₂ = a₁ W₂ + b₂", "L = -log p"]
    backward = ["", "dz₁ = da₁ · (z₁ > 0)", "da₁ = dz₂ W₂ᵀ", "dz₂ = p - y", "1"]
    for index, name in enumerate(names):
        left = 2.4 * index + 1.5
        axes.add_patch(Rectangle((left, 0.6), 0.9, 1.0, facecolor="#E8EEF4", edgecolor=GREY))
        axes.text(left + 0.45, 1.1, name, ha="center", va="center", fontweight="bold")
        if name == "Dense":
            axes.text(
                left + 0.45, 0.28, f"dW = {'xa'[index > 0]}ᵀ dz", ha="center", color=ORANGE,
                fontsize=9,
            )  # fmt: skip
    for index in range(len(names) + 1):
        start, end = 2.4 * index, 2.4 * index + 1.5
        start = start if index else 0.6
        end = end if index < len(names) else 2.4 * index + 0.7
        for y, a, b, shade in ((1.38, start, end, BLUE), (0.82, end, start, ORANGE)):
            if (index == 0) and shade == ORANGE:
                continue
            axes.annotate(
                "", (b, y), (a, y), arrowprops={"arrowstyle": "->", "color": shade, "lw": 1.6}
            )
        middle = (start + end) / 2
        axes.text(middle, 1.75, forward[index], ha="center", color=BLUE, fontsize=9)
        axes.text(middle, 0.0 if index else 0.5, backward[index], ha="center", color=ORANGE,
                  fontsize=9)  # fmt: skip
    axes.set(xlim=(0.3, 10.8), ylim=(-0.2, 2.1))
    axes.axis("off")
    return figure


# -------------------------------------------------------------------------- convolution


def grid(axes: Any, numbers: np.ndarray, left: float, top: float, shades: dict | None = None):
    """Draw a matrix as boxes, its upper left corner at (left, top); shades by (row, column)."""
    for (row, column), number in np.ndenumerate(numbers):
        face = (shades or {}).get((row, column), "white")
        corner = (left + column, top - row - 1)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=face, edgecolor=GREY))
        axes.text(left + column + 0.5, top - row - 0.5, f"{number:g}", ha="center", va="center")


def im2col() -> Figure:
    """Draw how a convolution becomes a matrix product."""
    figure, (axes,) = panels(1, 9, 3.2)
    x = np.array([[1.0, 2, 0], [3, 1, 4], [0, 2, 5]])
    w = np.array([[1.0, 0], [2, -1]])
    shades = ["#CFE6F5", "#FBE0CC", "#CDEBDF", "#EFE3F3"]
    rows = np.array([x[i : i + 2, j : j + 2].ravel() for i in range(2) for j in range(2)])
    y = nn.kernels.conv2d(x[None, None], w[None, None], None)[0, 0]
    marked = {(i, j): shades[0] for i in range(2) for j in range(2)}
    grid(axes, x, 0, 3.5, marked)
    grid(axes, w, 4, 3)
    of_row = {(r, c): shades[r] for r in range(4) for c in range(4)}
    grid(axes, rows, 8, 4, of_row)
    grid(axes, w.reshape(4, 1), 13, 4)
    grid(axes, y.reshape(4, 1), 15.5, 4, {(r, 0): shades[r] for r in range(4)})
    grid(axes, y, 18.5, 3, {(r // 2, r % 2): shades[r] for r in range(4)})
    for text, left in (("*", 3.5), ("=", 7), ("·", 12.5), ("=", 14.75), ("→", 17.5)):
        axes.text(left, 2, text, ha="center", va="center", fontsize=15)
    labels = {"image": 1.5, "kernel": 5, "patches": 10, "W": 13.5, "sums": 16, "output": 19.5}
    for text, left in labels.items():
        axes.text(left, 4.4, text, ha="center", color=GREY)
    axes.set(xlim=(-0.3, 20.8), ylim=(-0.3, 5), aspect="equal")
    axes.axis("off")
    return figure


def pooling() -> Figure:
    """Draw the largest of each window, and where its gradient goes."""
    figure, (axes,) = panels(1, 9, 2.6)
    x = np.array([[1.0, 3, 2, 0], [4, 2, 1, 1], [0, 1, 5, 2], [2, 6, 3, 4]])
    y, index = nn.kernels.max_pool2d(x[None, None], (2, 2), (2, 2), ((0, 0), (0, 0)))
    grad = np.array([[0.1, -0.2], [0.3, 0.5]])
    dx = nn.kernels.max_pool2d_grad(
        grad[None, None], index, (1, 1, 4, 4), (2, 2), (2, 2), ((0, 0), (0, 0))
    )[0, 0]
    won = {(int(r), int(c)): "#CFE6F5" for r, c in np.argwhere(dx)}
    back = dict.fromkeys(won, "#FBE0CC")
    grid(axes, x, 0, 4, won)
    grid(axes, y[0, 0], 6, 3)
    grid(axes, grad, 11, 3)
    grid(axes, dx, 15, 4, back)
    for text, left in (("→", 5), ("→", 14)):
        axes.text(left, 2, text, ha="center", va="center", fontsize=15)
    for text, left in (("x", 2), ("y", 7), ("dy", 12), ("dx", 17)):
        axes.text(left, 4.3, text, ha="center", color=GREY)
    axes.set(xlim=(-0.3, 19.3), ylim=(-0.3, 5), aspect="equal")
    axes.axis("off")
    return figure


# ----------------------------------------------------------- what goes through the layers


def deep(initializer: Any, batch_norm: bool = False, depth: int = 10) -> list[np.ndarray]:
    """Return what leaves each ReLU of an untrained network for normal inputs."""
    x = np.random.default_rng(0).normal(size=(400, 100)).astype("float32")
    outputs = []
    for index in range(depth):
        dense = nn.Dense(100, kernel_initializer=initializer)
        dense.rng = np.random.default_rng(index)
        x = dense.forward(x)
        if batch_norm:
            x = nn.BatchNorm().forward(x, training=True)
        x = nn.ReLU().forward(x)
        outputs.append(x)
    return outputs


def batch_norm() -> Figure:
    """Draw the outputs of deep layers without and with batch normalisation."""

    def small(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.normal(0, 0.08, size=shape)

    figure, axes = panels(2, 9, 2.8)
    for panel, normed in zip(axes, (False, True), strict=True):
        outputs = deep(small, normed)
        for layer, shade in ((0, BLUE), (4, GREEN), (9, ORANGE)):
            panel.hist(
                outputs[layer].ravel(), bins=np.linspace(0, 3, 61), histtype="step",
                linewidth=1.8, color=shade, label=f"layer {layer + 1}", density=True,
            )  # fmt: skip
        panel.set(title="with batch norm" if normed else "without", xlabel="output", ylim=(0, 3))
        panel.legend(frameon=False)
    axes[0].set_ylabel("density")
    return figure


def initialisation() -> Figure:
    """Draw the spread of what leaves each layer, for three spreads of the first weights."""
    figure, (axes,) = panels(1, 7, 3)
    rules = {
        "variance 1 / n: LeCun": ("lecun_normal", BLUE, "s--"),
        "variance 2 / n: He": ("he_normal", GREEN, "o-"),
        "variance 4 / n": (lambda shape, rng: rng.normal(0, 0.2, size=shape), ORANGE, "^:"),
    }
    for label, (rule, shade, style) in rules.items():
        powers = [float((y**2).mean()) for y in deep(rule)]
        axes.semilogy(range(1, 11), powers, style, color=shade, label=label)
    axes.set(xlabel="layer", ylabel="mean of the squares")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


# ----------------------------------------------------------------------------- attention


def attention() -> Figure:
    """Draw the weights of attention between positions: the nearer, the larger."""
    positions = nn.SinusoidalPositions().forward(np.zeros((1, 24, 16)))[0]  # (T, D)
    scores = positions @ positions.T
    figure, axes = panels(2, 8, 3.4)
    for panel, causal in zip(axes, (False, True), strict=True):
        seen = np.tri(24, dtype=bool) if causal else True
        exps = np.exp(np.where(seen, scores, -np.inf) - scores.max())
        panel.imshow(exps / exps.sum(axis=1, keepdims=True), cmap="Blues")
        panel.set(title="causal" if causal else "all steps", xlabel="key", ylabel="query")
    return figure


def recurrence() -> Figure:
    """Draw how much of the gradient for the last state gets to the steps before it."""
    rng, steps = np.random.default_rng(0), 60
    x, grad = rng.normal(size=(16, steps, 8)), rng.normal(size=(16, 32))
    figure, (axes,) = panels(1, 7, 3.2)
    cases = {"SimpleRNN": (nn.SimpleRNN, BLUE), "LSTM": (nn.LSTM, ORANGE)}
    cases["LSTM, forget gate open"] = nn.LSTM, GREEN
    for name, (kind, shade) in cases.items():
        nn.seed(0)
        layer = kind(32)
        layer.dtype = "float64"
        layer.build((None, steps, 8))
        if "open" in name:
            layer.params["b"][32:64] = 5
        layer.forward(x, training=True)
        norms = np.linalg.norm(layer.backward(grad), axis=(0, 2))[::-1]
        axes.semilogy(norms / norms[0], color=shade, linewidth=2, label=name)
    axes.set(xlabel="steps before the last", ylabel="size of the gradient for x")
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


# ---------------------------------------------------------------------------- optimizers


def optimizers() -> Figure:
    """Draw the paths of three optimizers down a long valley."""
    curves = {"SGD": optim.SGD(0.09), "momentum 0.9": optim.SGD(0.02, momentum=0.9)}
    curves["Adam"] = optim.Adam(0.3)
    figure, axes = panels(3, 10, 2.8)
    a, b = np.meshgrid(np.linspace(-4.5, 4.5, 120), np.linspace(-2, 2, 80))
    for panel, (name, optimizer), shade in zip(
        axes, curves.items(), (BLUE, ORANGE, GREEN), strict=True
    ):
        point, path = np.array([-4.0, 1.5]), []
        for _ in range(40):
            path.append(point.copy())
            optimizer.step([(point, point * [0.5, 20.0])])
        panel.contour(a, b, 0.25 * a**2 + 10 * b**2, levels=12, colors="0.8", linewidths=0.8)
        panel.plot(*np.array(path).T, "o-", color=shade, markersize=3, linewidth=1.2)
        panel.plot(0, 0, "k+", markersize=10)
        panel.set(title=f"{name}, 40 steps", xlim=(-4.5, 4.5), ylim=(-2, 2))
    return figure


# ------------------------------------------------------------------------ regularisation


def regularisation() -> Figure:
    """Draw what a network makes of few, noisy points, without and with two penalties."""
    data = nn.data.make_moons(60, noise=0.3, seed=0)
    figure, axes = panels(3, 10, 3.2)
    ways: dict[str, tuple[float, float]] = {
        "nothing": (0.0, 0.0), "weight decay 0.02": (0.0, 0.02), "dropout 0.5": (0.5, 0.0)
    }  # fmt: skip
    for panel, (name, (rate, decay)) in zip(axes, ways.items(), strict=True):
        model = nn.zoo.mlp((64, 64), rate, input_shape=(2,), num_classes=2, seed=0)
        model.compile("cce", "adam", lr=0.01, weight_decay=decay)
        model.fit(data, epochs=200, batch_size=60, verbose=0)
        nn.plot.decision_boundary(model, data.x, data.y, ax=panel)
        panel.set_title(name)
    return figure


FIGURES = {
    "guide_neuron": neuron,
    "guide_backpropagation": mirror,
    "guide_im2col": im2col,
    "guide_pooling": pooling,
    "guide_batch_norm": batch_norm,
    "guide_attention": attention,
    "guide_recurrence": recurrence,
    "guide_optimizers": optimizers,
    "guide_initialisation": initialisation,
    "guide_regularisation": regularisation,
}


def main(arguments: list[str] | None = None) -> int:
    """Write the images."""
    parser = argparse.ArgumentParser(description="Draw the images of docs/guide/.")
    parser.add_argument("--out", type=Path, default=DOCS / "images", help="folder for them")
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=list(FIGURES))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        path = options.out / f"{name}.png"
        FIGURES[name]().savefig(path, dpi=100)
        # Few colours: a fifth of the bytes.
        Image.open(path).quantize(256, method=Image.Quantize.FASTOCTREE).save(path, optimize=True)
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
