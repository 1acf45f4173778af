"""Find a learning rate by the range test, then train with it.

    python examples/lr_range.py
    python examples/lr_range.py --model mlp --optimizer sgd --epochs 8

`nn.find_lr` trains a copy of the model for a hundred steps with increasing learning rates, and
suggests the rate at which the loss decreases fastest. Then the model is trained with the one-cycle
schedule and maximum rates of a tenth of the suggestion, the suggestion, and ten times as much: the
suggestion is a safe choice, and one cycle may allow higher rates.
"""

import argparse

from lesson import add_common, check_finished, load_digits, new_figure, positive, save_figure, whole

import nn

MODELS = {"small_cnn": nn.zoo.small_cnn, "mlp": nn.zoo.mlp, "lenet5": nn.zoo.lenet5}
BAR = 40  # characters of the longest bar


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="small_cnn", help="network of nn.zoo")
    parser.add_argument("--optimizer", choices=sorted(nn.optim.NAME2OPTIMIZER), default="adam")
    parser.add_argument("--lr-min", type=positive, default=1e-6, help="first rate of the test")
    parser.add_argument("--lr-max", type=positive, default=10.0, help="last rate of the test")
    parser.add_argument("--steps", type=whole, default=100, help="number of rates, at least 3")
    parser.add_argument("--epochs", type=whole, default=4, help="epochs of each training")
    parser.add_argument("--batch-size", type=whole, default=64)
    add_common(parser, "lr_range.png")
    options = parser.parse_args(arguments)
    if options.lr_min >= options.lr_max:
        parser.error("--lr-min must be below --lr-max")
    if options.steps < 3:
        parser.error("--steps must be at least 3")
    return options


def make_model(options, lr=None):
    model = MODELS[options.model](seed=options.seed)
    model.compile(loss="cce", optimizer=options.optimizer, lr=lr)
    return model


def print_curve(curve, rows=16):
    """Print some rates with their losses and bars."""
    print("        rate     loss")
    highest = curve.smoothed.max()
    for k in range(0, len(curve.lrs), max(len(curve.lrs) // rows, 1)):
        bar = "#" * round(BAR * curve.smoothed[k] / highest)
        print(f"  {curve.lrs[k]:10.1e} {curve.smoothed[k]:8.3f}  {bar}")


def draw(curve, path):
    figure = new_figure(7, 4)
    if figure is None:
        return
    axes = figure.subplots()
    axes.plot(curve.lrs, curve.losses, color="0.75", label="loss of a batch")
    axes.plot(curve.lrs, curve.smoothed, label="smoothed")
    axes.axvline(curve.suggestion, color="C1", label=f"suggestion: {curve.suggestion:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.set_ylim(0, 1.5 * curve.smoothed[0])  # hides the divergence
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def train_at(lr, train, test, options):
    """Print the results of the one-cycle schedule with a maximum rate."""
    model = make_model(options, lr)
    try:
        history = model.fit(
            train,
            epochs=options.epochs,
            batch_size=options.batch_size,
            lr_schedule="one_cycle",
            verbose=0,
        )
    except FloatingPointError:
        print(f"  {lr:10.1e} {'diverged':>15}", flush=True)
        return
    check_finished(history, options.epochs)
    accuracy = model.evaluate(test)["acc"]
    print(f"  {lr:10.1e} {history['loss'][-1]:15.4f} {accuracy:15.1%}", flush=True)


def main(arguments=None):
    options = parse_arguments(arguments)
    train, test = load_digits(options.data_dir)
    curve = nn.find_lr(
        make_model(options),
        train,
        lr_min=options.lr_min,
        lr_max=options.lr_max,
        steps=options.steps,
        batch_size=options.batch_size,
    )
    print(f"Learning-rate range test, {options.model} with {options.optimizer}:")
    print_curve(curve)
    if curve.suggestion is None:
        raise SystemExit("The loss does not decrease for these rates: try others.")
    print(f"Suggested learning rate: {curve.suggestion:.2e}")
    draw(curve, options.out)
    print(f"One cycle of {options.epochs} epochs:")
    print("  maximum rate   training loss   test accuracy")
    for factor in (0.1, 1, 10):
        train_at(factor * curve.suggestion, train, test, options)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
