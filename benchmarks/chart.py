"""Draw docs/images/speed.png from the first table of images a second in RESULTS.md.

    python benchmarks/chart.py

Each bar is the images a second of one framework in training, divided by those of nn: the median of
the rounds, at batch size 64. The drawing has no background, so that it fits light and dark pages.
"""

import re
from pathlib import Path

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
}
BATCH = 64
GREY = "#7d8590"  # readable on white and on black


def read_rates(text: str) -> dict[str, dict[str, float]]:
    """Return {network: {framework: images a second}} of the first table; Keras is `fit`'s."""
    table = text[text.index("Images a second") : text.index("ratio of nn's")]
    rates: dict[str, dict[str, float]] = {}
    for network, batch, framework, train, fit in re.findall(
        r"^(\w+) +(\d+)  (\S+) +([\d,-]+) +([\d,-]+)", table, flags=re.MULTILINE
    ):
        if int(batch) == BATCH:
            figure = train if train != "-" else fit
            rates.setdefault(network, {})[framework] = float(figure.replace(",", ""))
    return rates


def read_bars(rates: dict[str, float]) -> list[tuple[str, float, str]]:
    """Return (label, images a second, colour) of the bars of a network."""
    keras = max(rate for name, rate in rates.items() if name.startswith("keras"))
    return [
        ("nn", rates["nn"], "#2f81f7"),
        ("PyTorch, its faster format", max(rates["torch"], rates["torch-channels-last"]), GREY),
        ("Keras, its fastest backend", keras, GREY),
    ]


def draw(rates: dict[str, dict[str, float]]) -> plt.Figure:
    """Return the chart: a row for each network."""
    figure, axes = plt.subplots(len(TITLES), 1, figsize=(8, 3.4), layout="constrained")
    for axis, (network, title) in zip(axes, TITLES.items(), strict=True):
        bars = read_bars(rates[network])[::-1]
        axis.barh([b[0] for b in bars], [b[1] for b in bars], color=[b[2] for b in bars])
        for row, (_, rate, _) in enumerate(bars):
            share = "" if row == len(bars) - 1 else f"   nn: {bars[-1][1] / rate:.1f}x"
            axis.text(rate, row, f"  {rate:,.0f}{share}", va="center", color=GREY, fontsize=9)
        axis.set_title(title, loc="left", fontsize=10, color=GREY, fontweight="bold")
        axis.set_xlim(0, bars[-1][1] * 1.25)
        axis.tick_params(colors=GREY, length=0, labelsize=9)
        axis.get_yticklabels()[-1].set_color("#2f81f7")
        axis.get_yticklabels()[-1].set_fontweight("bold")
        axis.set_xticks([])
        axis.spines[:].set_visible(False)
    figure.suptitle("Training on 2 CPU cores: images a second, batch size 64", color=GREY)
    return figure


if __name__ == "__main__":
    results = (FOLDER / "RESULTS.md").read_text(encoding="utf-8")
    draw(read_rates(results)).savefig(IMAGE, dpi=130, transparent=True)
    Image.open(IMAGE).quantize(64, method=Image.Quantize.FASTOCTREE).save(IMAGE, optimize=True)
    print(f"wrote {IMAGE}")
