"""Draw docs/images/speed.png from the first table of ratios in RESULTS.md.

    python benchmarks/chart.py

Each bar is how many times as many samples a second a network trains on in nn as in PyTorch, in the
faster of its memory formats: the ratio of the medians of all rounds, and a line from the smallest
to the largest of a round. The drawing has no background, so that it fits light and dark pages.
"""

import re
from pathlib import Path
from typing import NamedTuple

import matplotlib
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FOLDER = Path(__file__).resolve().parent
IMAGE = FOLDER.parent / "docs" / "images" / "speed.png"
TITLES = {
    "mnist": "MNIST, 2 convolutions",
    "cifar": "CIFAR-10, 3 convolutions",
    "vgg6": "VGG-like, 6 convolutions",
    "large": "8 million parameters",
    "resnet20": "ResNet-20",
    "wide": "64 to 256 channels",
    "wide_gelu": "the same with GELU",
    "bottleneck": "1 x 1 bottlenecks",
    "five": "5 x 5, overlapping pools",
    "stem": "7 x 7 with stride 2",
    "grouped": "grouped convolutions",
    "depthwise": "depthwise convolutions",
    "dilated": "dilated convolutions",
    "transposed": "transposed convolutions",
    "groupnorm_silu": "group norm and SiLU",
    "mlp": "dense layers",
    "layernorm_gelu": "layer norm and GELU",
    "conv1d": "causal 1-D convolutions",
    "transformer": "transformer",
    "lstm": "LSTM",
    "gru": "GRU",
    "charlm": "LSTM of characters",
}
BLUE, GREY = "#2f81f7", "#7d8590"  # readable on white and on black


class Ratio(NamedTuple):
    """The ratio of the medians, and the smallest and the largest of a round."""

    median: float
    lowest: float
    highest: float


def read_ratios(text: str) -> dict[str, Ratio]:
    """Return {network: ratio to PyTorch's best in training} of the first table."""
    start = text.index("train / PyTorch's best")
    found = re.findall(
        r"^(\w+) +\d+  train / PyTorch's best +\S+ +([\d.]+) +([\d.]+)-([\d.]+)",
        text[text.rindex("\n", 0, start) : text.index("```", start)],
        flags=re.MULTILINE,
    )
    return {network: Ratio(*map(float, numbers)) for network, *numbers in found}


def draw(ratios: dict[str, Ratio]) -> plt.Figure:
    """Return the chart: a bar for each network."""
    shown = [(title, ratios[network]) for network, title in TITLES.items() if network in ratios]
    figure, axis = plt.subplots(figsize=(8, 0.19 * len(shown) + 0.6), layout="constrained")
    for row, (_, ratio) in enumerate(reversed(shown)):
        axis.barh(row, ratio.median, color=BLUE, height=0.66)
        axis.plot([ratio.lowest, ratio.highest], [row, row], color=GREY, linewidth=1)
        place = max(ratio.highest, ratio.median) + 0.03
        axis.text(place, row, f"{ratio.median:.2f}", va="center", color=GREY, fontsize=8)
    axis.plot([1, 1], [-0.5, len(shown) - 0.5], color=GREY, linewidth=1)
    axis.text(1, len(shown) - 0.3, "PyTorch", ha="center", color=GREY, fontsize=8)
    axis.set_yticks(range(len(shown)), [title for title, _ in reversed(shown)])
    axis.set_ylim(-0.6, len(shown) + 0.3)
    axis.set_xlim(0)
    axis.tick_params(colors=GREY, length=0, labelsize=8)
    axis.set_xticks([])
    axis.spines[:].set_visible(False)
    figure.suptitle("Training on 2 CPU cores: nn's speed, PyTorch's is 1", color=GREY, fontsize=10)
    return figure


if __name__ == "__main__":
    results = (FOLDER / "RESULTS.md").read_text(encoding="utf-8")
    draw(read_ratios(results)).savefig(IMAGE, dpi=130, transparent=True)
    Image.open(IMAGE).quantize(64, method=Image.Quantize.FASTOCTREE).save(IMAGE, optimize=True)
    print(f"wrote {IMAGE}")
