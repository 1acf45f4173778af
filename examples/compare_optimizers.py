"""Compare all optimizers: same network, same initial weights, same order of the digits.

    python examples/compare_optimizers.py
    python examples/compare_optimizers.py --search --epochs 10
    python examples/compare_optimizers.py --optimizers sgd adam --model small_cnn

Each optimizer uses a suitable learning rate, as the same rate for all would not be a fair
comparison. `--search` tries five rates for each and uses the one with the lowest training loss.
The test digits are used only afterwards.
"""

import argparse
import math
import time

import numpy as np
from lesson import add_common, check_finished, load_digits, new_figure, positive, save_figure, whole

import nn

MODELS = {"mlp": nn.zoo.mlp, "small_cnn": nn.zoo.small_cnn, "lenet5": nn.zoo.lenet5}
RATES = {  # for these networks; other optimizers use their default
    "sgd": 0.1,
    "sgdmomentum": 0.03,
    "nesterov": 0.03,
    "adagrad": 0.03,
    "rmsprop": 1e-3,
    "adam": 3e-3,
    "adamw": 3e-3,
    "lion": 3e-4,
    "nadam": 3e-3,
    "muon": 0.02,
    "lookahead": 3e-3,  # around Adam
}
GRID = (0.1, 0.3, 1.0, 3.0, 10.0)  # factors of the rate for `--search`


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--optimizers",
        nargs="+",
        choices=sorted(nn.optim.NAME2OPTIMIZER),
        metavar="NAME",
        default=list(nn.optim.NAME2OPTIMIZER),
        help=f"which of {', '.join(nn.optim.NAME2OPTIMIZER)}; default: all",
    )
    parser.add_argument("--model", choices=MODELS, default="mlp", help="network of nn.zoo")
    parser.add_argument("--epochs", type=whole, default=5)
    parser.add_argument("--batch-size", type=whole, default=64)
    parser.add_argument("--lr", type=positive, help="one learning rate for all of them")
    parser.add_argument("--search", action="store_true", help="try five rates for each")
    add_common(parser, "compare_optimizers.png")
    return parser.parse_args(arguments)


def run(name, lr, train, options):
    """Return a trained model, its losses by epoch (infinite: diverged) and the seconds."""
    model = MODELS[options.model](seed=options.seed)
    model.compile(loss="cce", optimizer=name, lr=lr)
    started = time.perf_counter()
    try:
        history = model.fit(train, epochs=options.epochs, batch_size=options.batch_size, verbose=0)
    except FloatingPointError:
        losses = [*model.history.get("loss", ()), math.inf]
    else:
        check_finished(history, options.epochs)
        losses = history["loss"]
    return model, losses, time.perf_counter() - started


def evaluate(name, train, test, options):
    """Return the results of one optimizer with its rate, or with the best of several."""
    base_rate = options.lr or RATES.get(name) or nn.optim.get(name).lr
    best = None
    for factor in GRID if options.search else (1.0,):
        model, losses, seconds = run(name, base_rate * factor, train, options)
        ended = model.evaluate(train)["loss"] if math.isfinite(losses[-1]) else math.inf
        if best is None or ended < best["loss"]:
            best = {"lr": base_rate * factor, "loss": ended, "losses": losses, "seconds": seconds}
            best["acc"] = model.evaluate(test)["acc"] if math.isfinite(ended) else math.nan
    return best


def print_table(results):
    """Print the results, sorted by loss."""
    width = max(len("optimizer"), *map(len, results))
    print(f"  {'optimizer':{width}}       rate   training loss   test accuracy   seconds")
    for name in sorted(results, key=lambda name: results[name]["loss"]):
        row = results[name]
        figures = f"{row['loss']:15.4f} {row['acc']:15.1%}"
        if not math.isfinite(row["loss"]):
            figures = f"{'diverged':>15} {'-':>15}"
        print(f"  {name:{width}} {row['lr']:10.2g} {figures} {row['seconds']:9.1f}")


def draw(results, path):
    figure = new_figure(8, 4.5)
    if figure is None:
        return
    axes = figure.subplots()
    for number, (name, row) in enumerate(results.items()):
        line = "-" if number < 10 else "--"  # the colours repeat after ten
        epochs = range(1, len(row["losses"]) + 1)
        axes.plot(epochs, row["losses"], line, marker=".", label=f"{name}, {row['lr']:.2g}")
    if any(np.isfinite(row["losses"]).any() for row in results.values()):
        axes.set_yscale("log")
    axes.set(xlabel="epoch", ylabel="training loss")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3, which="both")
    axes.legend(title="optimizer, rate", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    save_figure(figure, path)


def main(arguments=None):
    options = parse_arguments(arguments)
    train, test = load_digits(options.data_dir)
    run("sgd", 1e-3, nn.Dataset(train.x[:64], train.y[:64]), options)  # compiles the kernels
    print(f"Each trains {options.model} for {options.epochs} epochs from the same initial weights:")
    names = list(dict.fromkeys(options.optimizers))
    results = {name: evaluate(name, train, test, options) for name in names}
    print_table(results)
    draw(results, options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
