"""From one neuron to a deep network, on points in the plane.

    python examples/one_neuron_to_deep.py
    python examples/one_neuron_to_deep.py --data spirals --units 16 --depth 4 --steps 3000

First a single neuron is trained in a few lines of NumPy, and with nn from the same initial weights:
the results agree. Then networks with zero, one, two ... hidden layers are trained by gradient
descent on all points of a data set, and tested on new points. One neuron has a linear decision
boundary, which cannot separate `xor` and `circles`; networks with hidden layers can.
"""

import argparse
from pathlib import Path

import numpy as np
from lesson import (
    at_least_0,
    check_finished,
    image,
    new_figure,
    positive,
    save_figure,
    seed,
    whole,
)

import nn
from nn.data import make_circles, make_moons, make_spirals, make_xor


def two_spirals(n_samples, noise=0.2, seed=None):
    return make_spirals(n_samples, noise, seed, classes=2)


DATA = {"xor": make_xor, "circles": make_circles, "moons": make_moons, "spirals": two_spirals}


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA), help="data sets")
    parser.add_argument("--samples", type=whole, default=300, help="points in each data set")
    parser.add_argument(
        "--noise", type=at_least_0, help="of the points; by default that of the data set"
    )
    parser.add_argument("--units", type=whole, default=8, help="of each hidden layer")
    parser.add_argument("--depth", type=whole, default=3, help="largest number of hidden layers")
    parser.add_argument(
        "--activation", choices=["tanh", "sigmoid", "relu", "linear"], default="tanh"
    )
    parser.add_argument("--steps", type=whole, default=1000, help="steps of gradient descent")
    parser.add_argument("--lr", type=positive, default=0.5, help="learning rate")
    parser.add_argument("--seed", type=seed, default=0, help="seed of points and initial weights")
    parser.add_argument(
        "--out", type=image, default=Path("one_neuron_to_deep.png"), help="file for the image"
    )
    options = parser.parse_args(arguments)
    if options.samples < 2:
        parser.error("--samples must be at least 2, one for each class")
    return options


# ------------------------------------------------------------------------- one neuron in NumPy


def train_by_hand(x, y, w, b, lr, steps):
    """Return weight (2,), bias and losses of one neuron after gradient descent on all points.

    The loss is the mean of -y log(p) - (1 - y) log(1 - p); its gradient for z is (p - y) / n.
    """
    losses = []
    for _ in range(steps):
        z = x @ w + b  # forward: (n, 2) -> (n,)
        p = 1 / (1 + np.exp(-z))
        losses.append(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))
        dz = (p - y) / len(y)  # backward, by the chain rule
        dw, db = x.T @ dz, dz.sum()
        w, b = w - lr * dw, b - lr * db  # gradient descent
    return w, b, losses


def compare_with_hand(data, options, steps=100):
    """Train a neuron by hand and with nn; return the largest difference of the weights."""
    model = nn.zoo.logistic_regression(seed=options.seed)
    model.compile(loss="bce", optimizer="sgd", lr=options.lr)
    weights, bias = model.get_weights()
    start = weights[:, 0].astype("float64"), float(bias[0])
    w, b, losses = train_by_hand(data.x.astype("float64"), data.y, *start, options.lr, steps)
    history = model.fit(data, epochs=steps, batch_size=len(data), shuffle=False, verbose=0)
    check_finished(history, steps)
    weights, bias = model.get_weights()
    difference = max(np.abs(weights[:, 0] - w).max(), abs(bias[0] - b))
    print(f"One neuron, {steps} steps of gradient descent from the same initial weights:")
    print(f"  {'':8} {'w1':>11} {'w2':>11} {'b':>11} {'loss':>11}")
    for name, values in {
        "by hand": (*w, b, losses[-1]),
        "nn": (*weights[:, 0], bias[0], history["loss"][-1]),
    }.items():
        print(f"  {name:8}", *(f"{value:11.7f}" for value in values))
    print(f"  largest difference of a weight: {difference:.1e}\n")
    return difference


# -------------------------------------------------------------------------- deeper networks


def train(data, hidden_layers, options):
    """Return a network with a number of hidden layers, trained on all points in each step."""
    if hidden_layers == 0:
        model = nn.zoo.logistic_regression(seed=options.seed)
    else:
        hidden = [options.units] * hidden_layers
        model = nn.zoo.mlp(
            hidden,
            input_shape=(2,),
            num_classes=1,
            seed=options.seed,
            activation=options.activation,
        )
    model.compile(loss="bce", optimizer="sgd", lr=options.lr)
    try:
        history = model.fit(data, epochs=options.steps, batch_size=len(data), verbose=0)
    except FloatingPointError as error:  # the training diverged
        raise SystemExit(str(error)) from error
    check_finished(history, options.steps)
    return model


def draw(models, data, accuracies, path):
    """Draw points and decision regions: a row for each data set, a column for each depth."""
    rows, columns = len(models), len(next(iter(models.values())))
    figure = new_figure(2.4 * columns, 2.5 * rows)
    if figure is None:
        return
    for line, name in zip(figure.subplots(rows, columns, squeeze=False), models, strict=True):
        (left, bottom), (right, top) = data[name].x.min(0) - 0.3, data[name].x.max(0) + 0.3
        across, up = np.meshgrid(np.linspace(left, right, 120), np.linspace(bottom, top, 120))
        grid = np.stack([across.ravel(), up.ravel()], axis=1)  # (120, 120) twice -> (14400, 2)
        for depth, (axes, model) in enumerate(zip(line, models[name], strict=True)):
            classes = model.predict_classes(grid).reshape(across.shape)
            axes.contourf(
                across, up, classes, levels=[-0.5, 0.5, 1.5], colors=["#cfe0f5", "#fbdcc0"]
            )
            axes.scatter(*data[name].x.T, c=np.array(["#1f5fa8", "#d2691e"])[data[name].y], s=4)
            axes.set_title(f"{name}, {title(depth)}: {accuracies[name][depth]:.0%}", fontsize=8)
            axes.set(xticks=[], yticks=[], xlim=(left, right), ylim=(bottom, top))
    save_figure(figure, path)


def title(depth):
    return "one neuron" if depth == 0 else f"{depth} hidden"


def main(arguments=None):
    options = parse_arguments(arguments)
    noise = {} if options.noise is None else {"noise": options.noise}
    names = list(dict.fromkeys(options.data))
    data = {name: DATA[name](options.samples, seed=options.seed, **noise) for name in names}
    new = {name: DATA[name](1000, seed=options.seed + 1, **noise) for name in names}
    compare_with_hand(data[names[0]], options)

    depths = range(options.depth + 1)
    print(f"Accuracy on 1,000 new points, {options.units} units in each hidden layer:")
    print(f"  {'':8}", *(f"{title(depth):>11}" for depth in depths))
    models, accuracies = {}, {}
    for name in names:
        models[name] = [train(data[name], depth, options) for depth in depths]
        accuracies[name] = [model.evaluate(new[name])["acc"] for model in models[name]]
        print(f"  {name:8}", *(f"{accuracy:11.1%}" for accuracy in accuracies[name]), flush=True)
    draw(models, data, accuracies, options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
