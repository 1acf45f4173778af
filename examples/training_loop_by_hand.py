"""The training loop of `fit` written out: forward, loss, backward, step.

    python examples/training_loop_by_hand.py
    python examples/training_loop_by_hand.py --optimizer sgd --lr 0.1 --epochs 5 --no-shuffle

Two models with the same seed have the same initial weights and the same random order of the digits.
One is trained by hand, the other by `fit`. Then their weights are compared; they are equal bit for
bit.
"""

import argparse

import numpy as np
from lesson import check_finished, load_digits, positive, seed, whole

import nn

MODELS = {"small_cnn": nn.zoo.small_cnn, "mlp": nn.zoo.mlp, "lenet5": nn.zoo.lenet5}


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data-dir", metavar="DIR", help="folder of the full MNIST, instead of the sample"
    )
    parser.add_argument("--model", choices=MODELS, default="small_cnn", help="network of nn.zoo")
    parser.add_argument("--optimizer", choices=sorted(nn.optim.NAME2OPTIMIZER), default="adam")
    parser.add_argument("--lr", type=positive, help="learning rate; default: that of the optimizer")
    parser.add_argument("--epochs", type=whole, default=3)
    parser.add_argument("--batch-size", type=whole, default=64)
    parser.add_argument(
        "--shuffle",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="shuffle the digits in each epoch",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="seed of initial weights and shuffling"
    )
    return parser.parse_args(arguments)


def make_model(options):
    model = MODELS[options.model](seed=options.seed)
    model.compile(loss="cce", optimizer=options.optimizer, lr=options.lr)
    return model


def train_by_hand(model, train, options):
    """Train the model; return the loss and accuracy of each epoch like `fit`."""
    order = model.generators[1]  # the one that `fit` uses for shuffling
    history = {"loss": [], "acc": []}
    for _ in range(options.epochs):
        loss, right = 0.0, 0
        for x, y in train.batches(options.batch_size, shuffle=options.shuffle, rng=order):
            prediction = model.forward(x, training=True)
            loss += model.loss.forward(prediction, y) * len(x)
            model.backward(model.loss.backward())
            model.optimizer.step(model.get_params_and_grads())
            classes = nn.cuda.to_cpu(prediction.argmax(axis=1))
            right += int((classes == y).sum())
        history["loss"].append(loss / len(train))
        history["acc"].append(right / len(train))
    return history


def differing_arrays(model, other):
    """Return the names of the arrays in which two models differ."""
    mine, theirs = model.get_arrays(), other.get_arrays()
    return [name for name, array in mine.items() if not np.array_equal(array, theirs[name])]


def main(arguments=None):
    options = parse_arguments(arguments)
    train, test = load_digits(options.data_dir)
    by_hand, by_fit = make_model(options), make_model(options)
    try:
        hand = train_by_hand(by_hand, train, options)
        fit = by_fit.fit(
            train,
            epochs=options.epochs,
            batch_size=options.batch_size,
            shuffle=options.shuffle,
            verbose=0,
        )
    except FloatingPointError as error:
        raise SystemExit(str(error)) from error
    check_finished(fit, options.epochs)
    print("  epoch       loss by hand     loss of fit    accuracy by hand   accuracy of fit")
    for k in range(options.epochs):
        figures = f"{hand['loss'][k]:19.6f} {fit['loss'][k]:15.6f}"
        print(f"  {k + 1:5} {figures} {hand['acc'][k]:19.2%} {fit['acc'][k]:17.2%}")
    print(f"Test accuracy: {by_hand.evaluate(test)['acc']:.2%}, {by_fit.evaluate(test)['acc']:.2%}")

    names = differing_arrays(by_hand, by_fit)
    if names:
        print(f"The weights differ in {', '.join(names)}.")
        return 1
    arrays = by_hand.get_arrays().values()
    numbers = sum(array.size for array in arrays)
    print(f"All {numbers:,} weights agree bit for bit.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
