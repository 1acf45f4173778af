"""Draw docs/schedules.png: every schedule of nn.schedules, side by side.

    python docs/make_schedules.py
    python docs/make_schedules.py --out sheet.png

It needs matplotlib (the extra `plot`). Below each curve is the call that creates the schedule.
"""

import argparse
from pathlib import Path
from typing import Any

from nn.optim import schedules

STEPS = 1000
# One line in one blue that print and colour-blind eyes keep apart from the grey of the axes.
BLUE, GREY = "#0060A8", "#5A5A5A"

# name of the function, the call under the curve, the schedule, and what to point at:
# (text, step and rate of its arrow's tip, step and rate of the text's middle)
PANELS: tuple[tuple[str, str, schedules.Schedule, list[tuple]], ...] = (
    (
        "step_decay",
        "step_decay(0.1, every=250, factor=0.5)",
        schedules.step_decay(0.1, every=250, factor=0.5),
        [("half, every 250 steps", (250, 0.075), (640, 0.088))],
    ),
    (
        "multi_step",
        "multi_step(0.1, [500, 750])",
        schedules.multi_step(0.1, [500, 750]),
        [("a tenth, twice", (500, 0.055), (745, 0.075))],
    ),
    (
        "exponential",
        "exponential(0.1, rate=0.995)",
        schedules.exponential(0.1, rate=0.995),
        [("half, after 138 steps", (138, 0.05), (560, 0.07))],
    ),
    (
        "cosine",
        "cosine(0.1, 1000)",
        schedules.cosine(0.1, STEPS),
        [("steepest in the middle", (500, 0.05), (690, 0.091))],
    ),
    (
        "cosine, warmed up",
        "cosine(0.1, 1000, lr_min=0.01,\nwarmup_steps=100)",
        schedules.cosine(0.1, STEPS, lr_min=0.01, warmup_steps=100),
        [("warm-up", (50, 0.05), (260, 0.03)), ("lr_min", (970, 0.0102), (850, 0.035))],
    ),
    (
        "warm_restarts",
        "warm_restarts(0.1, 150)",
        schedules.warm_restarts(0.1, 150),
        [("150", (75, 0.052), (52, 0.012)), ("300", (300, 0.052), (260, 0.012)),
         ("600 steps", (750, 0.052), (640, 0.012))],
    ),
    (
        "one_cycle",
        "one_cycle(0.1, 1000)",
        schedules.one_cycle(0.1, STEPS),
        [("peak at 3/10", (300, 0.1), (700, 0.095)), ("1/25 of it", (0, 0.004), (260, 0.012))],
    ),
    (
        "triangular",
        "triangular(0.1, 1000)",
        schedules.triangular(0.1, STEPS),
        [("peak at 0.23", (230, 0.1), (640, 0.095)), ("0.07 of it", (990, 0.008), (520, 0.012))],
    ),
    (
        "trapezoidal",
        "trapezoidal(0.1, 1000,\nwarmup_steps=100, decay_steps=300)",
        schedules.trapezoidal(0.1, STEPS, warmup_steps=100, decay_steps=300),
        [("constant", (400, 0.1), (400, 0.07)), ("0 at the end", (990, 0.002), (600, 0.012))],
    ),
    (
        "by_epoch",
        "by_epoch(exponential(0.1, 0.7), 100)",
        schedules.by_epoch(schedules.exponential(0.1, 0.7), 100),
        [("an epoch of\n100 batches", (150, 0.07), (480, 0.08))],
    ),
)  # fmt: skip


def draw(axes: Any, name: str, call: str, schedule: schedules.Schedule, notes: list) -> None:
    """Draw one curve with its name, the call that creates it, and remarks."""
    steps = range(STEPS)
    axes.plot(steps, [schedule(step) for step in steps], color=BLUE, linewidth=2)
    axes.set_title(name, loc="left", fontsize=13, fontweight="bold", pad=8)
    axes.text(
        0.5, -0.24, call, transform=axes.transAxes, ha="center", va="top", fontsize=8.5,
        family="monospace",
    )  # fmt: skip
    for text, tip, middle in notes:
        bare = {"arrowstyle": "-", "color": GREY, "linewidth": 0.9, "shrinkB": 2}
        arrow = None if name == "warm_restarts" else bare
        axes.annotate(
            text, tip, middle, fontsize=9.5, color="black", ha="center", va="center",
            arrowprops=arrow,
        )  # fmt: skip
    axes.set_xlim(-15, STEPS + 15)
    axes.set_ylim(0, 0.108)
    axes.set_xticks([0, 500, 1000])
    axes.set_yticks([0, 0.05, 0.1])
    axes.grid(color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, color=GREY)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)


def make_sheet(path: str | Path) -> None:
    """Write the sheet of all panels to a PNG file.

    Parameters
    ----------
    path
        The file; an old one is replaced.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 6.4), dpi=95, layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.14)
    grid = figure.subplots(2, 5, sharey=True)
    for axes, panel in zip(grid.flat, PANELS, strict=True):
        draw(axes, *panel)
    for axes in grid[:, 0]:
        axes.set_ylabel("learning rate", fontsize=10)
    for axes in grid.flat:
        axes.set_xlabel("step", fontsize=10, labelpad=1)
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    """Read the command line and write the sheet."""
    parser = argparse.ArgumentParser(description="Draw every schedule of nn.schedules.")
    parser.add_argument("--out", default=Path(__file__).with_name("schedules.png"))
    make_sheet(parser.parse_args().out)


if __name__ == "__main__":
    main()
