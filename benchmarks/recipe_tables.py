"""Write the tables and the curves of docs/cifar94.md from the logs in benchmarks/results/.

    python benchmarks/recipe_tables.py            # after recipe_runs.py
    python benchmarks/recipe_tables.py --check    # exits with 1 if the page is behind the logs

A table stands between the marks `<!-- results: NAME -->` and `<!-- end -->`. Without logs there is
no table: the page then says what has not been measured. The budget is computed from the network.
"""

import argparse
import re
import statistics
import sys

from recipe_runs import ABLATION, COPIES, RESULTS, ROOT, RUNS, read_logs

PAGE = ROOT / "docs" / "cifar94.md"
CURVES = ROOT / "docs" / "images" / "cifar94.svg"
MARK = re.compile(
    r"(?P<begin>^<!-- results: (?P<name>\w+) -->\n).*?(?P<end>^<!-- end -->$)",
    flags=re.MULTILINE | re.DOTALL,
)
#: What follows the name of a run in its log, and in the title of a row.
IMAGES = {"": "", COPIES: ", JPEG copies"}
#: run of nn -> (what it is, accuracy and minutes that it is to reach, PyTorch's run)
GOALS = {
    "muon94": ("CIFAR-10, `--target 94`", "93.5% in 25 min", "torch-muon94"),
    "muon90": ("CIFAR-10, `--target 90`", "90% in 8 min", "torch-muon90"),
    "airbench94": ("CIFAR-10, `--optimizer sgd`", "93.5% in 25 min", "torch-airbench94"),
    "airbench90": ("CIFAR-10, `--optimizer sgd --target 90`", "", "torch-airbench90"),
    "mnist": ("MNIST, `--fast`", "99.5% in 5 min", "torch-mnist"),
    "resnet20": ("CIFAR-10, `--model resnet20`", "60 min", "torch-resnet20"),
}
TIMES = ("data", "forward", "backward", "optimizer", "evaluation")
CHANGES = {
    "whitening": "first filters drawn and trained",
    "dirac": "all filters drawn",
    "bias_lr": "biases with the learning rate of the kernels",
    "bias_decay": "no decay of the biases",
    "label_smoothing": "targets of 0 and 1",
    "lookahead": "weights and statistics of the last step",
    "alternating_flip": "each image flipped at random",
    "flip": "no flips",
    "crop": "no shifts",
}
#: The arithmetic of an epoch's image: forward, gradient of the kernel, gradient of the input.
PASSES = 3
#: Arithmetic of plain convolution that training on two cores does in a second, with AVX-512.
RATE = 500e9


def table(head, rows):
    """Return a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def mean_and_spread(values):
    """Return accuracies in percent as '94.02 ± 0.10', or one alone."""
    values = [100 * value for value in values]
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def accuracy_of(logs, key):
    found = [log[key] for log in logs if key in log]
    return mean_and_spread(found) if found else "-"


def minutes_of(logs):
    """Return the longest time of a process, or what is extrapolated for PyTorch."""
    whole = [log["process_seconds"] for log in logs if "measured_steps" not in log]
    if whole:
        return f"{max(whole) / 60:.1f}"
    guesses = [log["extrapolated_seconds"] for log in logs]
    steps = max((log["measured_steps"] for log in logs), default=0)
    return f"about {max(guesses) / 60:.0f}, from {steps} steps" if guesses else "-"


def rate_of(logs):
    rates = [log["images_per_second"] for log in logs if "images_per_second" in log]
    return f"{statistics.median(rates):,.0f}" if rates else "-"


def accuracies(folder):
    """Return the table of what nn and PyTorch reach, and which runs have no log."""
    rows, missing = [], []
    for name, (title, goal, torch) in GOALS.items():
        found = {
            run + kind: read_logs(run + kind, folder) for kind in IMAGES for run in (name, torch)
        }
        missing += [run for run in (name, torch) if not found[run] and not found[run + COPIES]]
        for run, logs in found.items():
            if logs:
                seeds = len([log for log in logs if "accuracy" in log])
                plain, copies = (accuracy_of(logs, k) for k in ("accuracy", "accuracy_with_copies"))
                is_torch, is_copy = run.startswith("torch"), run.endswith(COPIES)
                row = [title + IMAGES[COPIES if is_copy else ""], "PyTorch" if is_torch else "nn"]
                row += [seeds, plain, copies, minutes_of(logs), rate_of(logs)]
                rows.append([*row, "" if is_torch else goal])
    head = ["recipe", "library", "seeds", "test accuracy, %", "with copies, %"]
    head += ["minutes", "images/s", "aim"]
    return (table(head, rows) if rows else "") + not_measured(missing)


def not_measured(missing):
    """Return the sentence that names the runs without a log."""
    if not missing:
        return ""
    return f"\nNot measured yet: {', '.join(f'`{name}`' for name in missing)}.\n"


def times(folder):
    """Return the table of the seconds of each part."""
    rows = []
    runs = [run for ours, (_, _, torch) in GOALS.items() for run in (ours, torch)]
    names = [run + kind for run in runs for kind in IMAGES]
    for name in names:
        logs = [k for k in read_logs(name, folder) if "data" in k["seconds"]]
        if logs and "measured_steps" not in logs[0]:
            log = sorted(logs, key=lambda k: k["seconds"]["training"])[len(logs) // 2]
            rows.append([f"`{name}`", *(f"{log['seconds'].get(part, 0):,.0f}" for part in TIMES)])
    head = ["run", *(f"{part}, s" for part in TIMES)]
    return table(head, rows) if rows else "No run with the time of its parts has a log yet.\n"


def ablation(folder):
    """Return the table of the runs without a part, next to that with all."""
    found = {name: read_logs(name, folder) for name in ABLATION}
    whole = found[ABLATION[0]]
    missing = [name for name, logs in found.items() if not logs]
    rows = []
    for name, logs in found.items():
        if logs:
            part = name.removeprefix("without-")
            title = f"`{part}`: {CHANGES[part]}" if part in CHANGES else "nothing"
            cells = [accuracy_of(logs, k) for k in ("accuracy", "accuracy_with_copies")]
            rows.append([title, len(logs), *cells, difference(logs, whole)])
    head = ["left out", "seeds", "test accuracy, %", "with copies, %", "difference, same seeds"]
    return (table(head, rows) if rows else "") + not_measured(missing)


def difference(logs, whole):
    """Return the mean difference to the whole recipe with the same seeds, with copies."""
    of_seed = {log["seed"]: log["accuracy_with_copies"] for log in whole}
    pairs = [(k["accuracy_with_copies"], of_seed[k["seed"]]) for k in logs if k["seed"] in of_seed]
    if not pairs or logs == whole:
        return "-"
    return f"{100 * statistics.mean(a - b for a, b in pairs):+.2f}"


def runs(folder):
    """Return the list of all runs: command, machine, versions, commit."""
    rows = []
    for name in [run + kind for run in RUNS for kind in IMAGES]:
        for log in read_logs(name, folder):
            versions = ", ".join(f"{k} {v}" for k, v in log["versions"].items())
            where = f"{log['machine']}, load {log['load']} before; {versions}"
            seconds = f"{log['process_seconds']:,.0f}"
            images = IMAGES[COPIES if name.endswith(COPIES) else ""]
            rows.append([f"`{log['command']}`{images}", log["date"], log["commit"], seconds, where])
    head = ["command", "date", "commit", "s", "machine"]
    return table(head, rows) if rows else "None.\n"


def convolutions(size):
    """Return a row for each convolution of `airbench94`, and the FLOP of training on an image."""
    import nn

    rows, total = [], 0
    for k, layer in enumerate(nn.zoo.airbench94((3, size, size), seed=0).layers):
        if isinstance(layer, nn.Conv2D):
            filters, channels, height, width = layer.params["W"].shape
            out_height, out_width = layer.output_shape[2:]
            flops = 2 * filters * channels * height * width * out_height * out_width
            passes = 1 if k == 1 else PASSES  # nothing is trained before the first one's bias
            total += passes * flops
            sizes = f"{channels} x {height} x {width}", f"{filters} x {out_height} x {out_width}"
            rows.append([k, *sizes, f"{flops / 1e6:.1f}", passes, f"{passes * flops / 1e6:.1f}"])
    return rows, total


def budget(folder):
    """Return the arithmetic of `airbench94` for an image, and of its trainings."""
    sys.path[:0] = [str(ROOT), str(ROOT / "examples")]
    import airbench
    import airbench_muon

    rows, total = convolutions(32)
    head = ["layer", "kernel", "output", "MFLOP forward", "passes", "MFLOP in training"]
    text = table(head, [*rows, ["all", "", "", "", "", f"{total / 1e6:.0f}"]]) + "\n"
    smaller = (size for size, _ in airbench_muon.SIZES if size != 32)
    parts = (f"one of {size} x {size} {convolutions(size)[1] / 1e6:.0f}" for size in smaller)
    text += f"Smaller images take less, {', '.join(parts)} MFLOP.\n\n"
    for target, epochs in airbench_muon.EPOCHS.items():
        steps = airbench_muon.total_steps(epochs, airbench_muon.BATCH_SIZE, 50_000)
        sizes = [size for size, _ in airbench_muon.make_augmentation(epochs).transforms[-1].sizes]
        flops = sum(50_000 * convolutions(size)[1] for size in sizes)
        text += sentence(f"--target {target}", epochs, steps, flops)
    for target, epochs in airbench.EPOCHS.items():
        steps = airbench.total_steps(epochs, airbench.BATCH_SIZE, 50_000)
        options = f"--target {target} --optimizer sgd"
        text += sentence(options, epochs, steps, epochs * 50_000 * total)
    return text


def sentence(options, epochs, steps, flops):
    """Return the arithmetic of a training, and its time at a rate of two cores."""
    images = f"{round(epochs * 50_000):,}"
    return (
        f"- `{options}`: {epochs:g} epochs, {steps} steps, {images} images: {flops / 1e15:.2f} "
        f"PFLOP. At {RATE / 1e9:.0f} GFLOP/s these are {flops / RATE / 60:.1f} minutes.\n"
    )


# ------------------------------------------------------------------------------------- curves

WIDTH, HEIGHT, LEFT, BOTTOM = 720, 320, 56, 44
COLOURS = {
    "muon94": "#0060A8",
    "muon90": "#B35900",
    "airbench94": "#7B1FA2",
    "airbench90": "#C2185B",
    "resnet20": "#2E7D32",
}
GREY = "#7d8590"
LOW = 0.3  # of the axis of the accuracy


def curves(folder):
    """Return the drawing of the accuracies over time as SVG; None without logs."""
    names = [name + kind for name in COLOURS for kind in IMAGES]
    logs = [(name, log) for name in names for log in read_logs(name, folder)]
    logs = [(name, log) for name, log in logs if log["curve"].get("seconds")]
    if not logs:
        return None
    longest = max(log["process_seconds"] for _, log in logs) / 60

    def at(minutes, accuracy):
        x = LEFT + minutes / longest * (WIDTH - LEFT - 90)
        y = (HEIGHT - BOTTOM) * (1 - (accuracy - LOW) / (1 - LOW)) + 12
        return f"{x:.1f}", f"{y:.1f}"

    parts = []
    for percent in range(30, 101, 10):
        _, y = at(0, percent / 100)
        line = f'<line x1="{LEFT}" x2="{WIDTH - 90}" y1="{y}" y2="{y}"'
        parts.append(f'{line} stroke="{GREY}" stroke-opacity="0.3"/>')
        parts.append(text(LEFT - 8, float(y) + 4, f"{percent}%", "end"))
    step = next(k for k in (1, 2, 5, 10, 20, 50) if longest / k <= 8)
    for minutes in range(0, int(longest) + 1, step):
        parts.append(text(float(at(minutes, LOW)[0]), HEIGHT - 14, str(minutes), "middle"))
    parts.append(text(WIDTH - 72, HEIGHT - 14, "minutes", "start"))
    for name, log in logs:
        curve, colour = log["curve"], COLOURS[name.removesuffix(COPIES)]
        shown = curve.get("val_acc") or curve["acc"]
        points = [
            at(seconds / 60, max(value, LOW))
            for seconds, value in zip(curve["seconds"], shown, strict=False)
        ]
        path = " ".join(f"{x},{y}" for x, y in points)
        dashes = ' stroke-dasharray="4 3"' if name.endswith(COPIES) else ""
        line = f'<polyline points="{path}" fill="none" stroke="{colour}" opacity="0.8"{dashes}/>'
        parts.append(line)
        final = log.get("accuracy_with_copies", log["accuracy"])
        x, y = at(log["process_seconds"] / 60, final)
        parts.append(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>')
    drawn = {name.removesuffix(COPIES) for name, _ in logs}
    for k, name in enumerate(name for name in COLOURS if name in drawn):
        parts.append(text(WIDTH - 84, HEIGHT / 2 + 18 * k, name, "start", COLOURS[name]))
    body = "\n".join(parts)
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}>\n{body}\n</svg>\n'


def text(x, y, words, anchor, colour=GREY):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'


def figure(folder):
    """Return the link to the curves, if there are logs for them."""
    if curves(folder) is None:
        return "No training has a log yet, and so there are no curves.\n"
    return (
        "![Accuracy over time, and the test accuracy at the end](images/cifar94.svg)\n\n"
        "Lines: accuracy on the training images of each epoch, as augmented (`resnet20`: on the "
        "validation images), dashed for JPEG copies. Dots: test accuracy at the end of the "
        "process (airbench: with copies).\n"
    )


# ---------------------------------------------------------------------------------- the script

SECTIONS = {
    "accuracies": accuracies,
    "times": times,
    "ablation": ablation,
    "runs": runs,
    "budget": budget,
    "figure": figure,
}


def renewed(page, folder=RESULTS):
    """Return the text of the page with its tables made from the logs in a folder."""
    return MARK.sub(lambda k: k["begin"] + SECTIONS[k["name"]](folder) + k["end"], page)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="change nothing, exit with 1 if behind"
    )
    options = parser.parse_args()
    old = PAGE.read_text(encoding="utf-8")
    new, drawing = renewed(old), curves(RESULTS)
    drawn = CURVES.read_text(encoding="utf-8") if CURVES.exists() else None
    if options.check:
        if (new, drawing) != (old, drawn):
            sys.exit(f"{PAGE.name} is behind the logs: run python benchmarks/recipe_tables.py")
        return
    PAGE.write_text(new, encoding="utf-8")
    if drawing is None:
        CURVES.unlink(missing_ok=True)
    else:
        CURVES.write_text(drawing, encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
