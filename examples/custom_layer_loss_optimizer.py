"""A custom layer, loss and optimizer: checked, used for training, saved and loaded.

    python examples/custom_layer_loss_optimizer.py
    python examples/custom_layer_loss_optimizer.py --outliers 0.3 --epochs 200 --seed 1

The layer is a Swish with a learned slope, the loss is robust to outliers, and the optimizer uses
the sign of its momentum. Each `backward` is compared with numerical gradients, the optimizer with
two steps computed by hand. Together they fit a curve to points with outliers; the same network
with the mean squared error shows the effect of the loss.
"""

import argparse
from pathlib import Path

import numpy as np
from lesson import (
    at_least_0,
    check_finished,
    file_to_write,
    image,
    new_figure,
    positive,
    save_figure,
    seed,
    whole,
)

import nn
from nn.inspect.gradcheck import numerical_gradient, relative_error

TOLERANCE = 1e-6  # relative error of a gradient


# --------------------------------------------------------------------- custom classes


@nn.register
class LearnedSwish(nn.Layer):
    """y = x * sigmoid(beta * x), with a learned beta for each feature.

    Ramachandran, Zoph and Le 2017, "Searching for activation functions", arXiv 1710.05941, section
    4. For beta = 0 it is linear, x / 2; for a large beta it approaches ReLU.
    """

    def __init__(self, beta=1.0, **common):
        super().__init__(**common)
        self.beta = beta  # the initial value for every feature

    def build(self, input_shape):
        self.params["beta"] = np.full(input_shape[1], self.beta, dtype=self.dtype)
        super().build(input_shape)

    def forward(self, x, training=False):
        self.x = x  # (N, features)
        self.s = 1 / (1 + np.exp(-self.params["beta"] * x))
        return x * self.s

    def backward(self, grad):
        slope = self.s * (1 - self.s)  # of the sigmoid
        self.grads["beta"] = (grad * self.x**2 * slope).sum(axis=0)
        return grad * (self.s + self.x * self.params["beta"] * slope)

    def to_config(self):
        return {"class": "LearnedSwish", "config": {"beta": self.beta}}


class Cauchy(nn.losses.Loss):
    """log(1 + (d / scale)^2) for d = y_pred - y_true: outliers have small gradients.

    Barron 2019, "A general and adaptive robust loss function", arXiv 1701.03077, the case alpha = 0
    with c = scale / sqrt(2).
    """

    def __init__(self, scale=0.2):
        self.scale = scale

    def check_targets(self, y_true, shape):
        if np.shape(y_true) != shape:
            raise ValueError(f"[Cauchy] 'y_true' must have the shape {shape}.")

    def sample_losses(self, y_pred, y_true):
        self.difference = y_pred - y_true
        return np.log1p((self.difference / self.scale) ** 2)

    def sample_gradients(self):
        return 2 * self.difference / (self.scale**2 + self.difference**2)


class Signum(nn.optim.Optimizer):
    """m = momentum * m + (1 - momentum) * grad, then param -= lr * sign(m).

    Bernstein, Wang, Azizzadenesheli and Anandkumar 2018, "signSGD: compressed optimisation for
    non-convex problems", arXiv 1802.04434, algorithm 2.
    """

    slot_names = ("m",)  # state for each parameter, saved with the model

    def __init__(self, lr=1e-3, momentum=0.9):
        super().__init__(lr)
        self.momentum = momentum

    def update(self, param, grad, slots):
        m = slots["m"]
        m *= self.momentum
        m += (1 - self.momentum) * grad
        param -= self.lr * np.sign(m)


nn.losses.NAME2LOSS["cauchy"] = Cauchy  # the names for `compile` and `load`
nn.optim.NAME2OPTIMIZER["signum"] = Signum


# -------------------------------------------------------------------------------- checks


def check_layer(rng):
    """Return the largest relative error of the layer's gradients."""
    return max(nn.check_gradients(LearnedSwish(beta=0.7), rng.normal(size=(6, 5))).values())


def check_loss(rng):
    """Return the relative error of the gradient of the loss."""
    loss, y_pred, y_true = Cauchy(), rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    expected = numerical_gradient(lambda: loss.forward(y_pred, y_true), y_pred)
    loss.forward(y_pred, y_true)
    return relative_error(loss.backward(), expected)


def check_optimizer():
    """Return the difference of two steps from those computed by hand."""
    param, optimizer = np.array([1.0, 1.0]), Signum(lr=0.1, momentum=0.5)
    for grad in ([1.0, -1.0], [-3.0, -1.0]):  # m is [0.5, -0.5], then [-1.25, -0.75]
        optimizer.step([(param, np.array(grad))])
    return float(np.abs(param - [1.0, 1.2]).max())


def check_all(rng):
    errors = {
        "LearnedSwish, gradients": check_layer(rng),
        "Cauchy, gradient": check_loss(rng),
        "Signum, two steps": check_optimizer(),
    }
    for name, error in errors.items():
        print(f"  {name:24} error {error:.1e}: {'right' if error < TOLERANCE else 'WRONG'}")
    if max(errors.values()) >= TOLERANCE:
        raise SystemExit("A check has failed: nothing is trained.")


# ---------------------------------------------------------------------------- the lesson


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=whole, default=400, help="points of the curve")
    parser.add_argument("--outliers", type=at_least_0, default=0.2, help="share of them far off")
    parser.add_argument("--epochs", type=whole, default=150)
    parser.add_argument("--lr", type=positive, default=3e-3, help="learning rate of Signum")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument(
        "--model-file", type=file_to_write, default=Path("custom_model.hdf5"), help="to save"
    )
    parser.add_argument("--out", type=image, default=Path("custom.png"), help="file for the image")
    options = parser.parse_args(arguments)
    if options.outliers > 1:
        parser.error("--outliers is a fraction, at most 1")
    return options


def curve(x):
    return np.sin(2 * x)


def make_points(options, rng):
    """Return points (n, 1) near the curve, with a fraction of outliers."""
    x = rng.uniform(-2, 2, (options.samples, 1))
    y = curve(x) + 0.1 * rng.normal(size=x.shape)
    far = rng.random(len(x)) < options.outliers
    y[far] += rng.uniform(1, 4, y[far].shape)
    return x.astype("float32"), y.astype("float32")


def train(loss, x, y, options):
    """Return a network with the layer, trained with the optimizer and a loss."""
    layers = [nn.Dense(32, input_shape=(1,)), LearnedSwish(), nn.Dense(32), LearnedSwish()]
    model = nn.Model([*layers, nn.Dense(1)], seed=options.seed)
    model.compile(loss=loss, optimizer="signum", lr=options.lr)
    try:
        history = model.fit(x, y, epochs=options.epochs, lr_schedule="cosine", verbose=0)
    except FloatingPointError as error:
        raise SystemExit(str(error)) from error
    check_finished(history, options.epochs)
    return model


def continues_identically(model, x, y, options):
    """Save and load the model, train both for another epoch, and compare their weights."""
    path, epochs = options.model_file, options.epochs + 1
    try:
        model.save(path)
    except OSError as error:
        raise SystemExit(f"The model cannot be saved: {error}") from error
    loaded = nn.Model.load(path)  # with the custom loss, and the optimizer with its state
    if not np.array_equal(model.predict(x), loaded.predict(x)):
        return False
    for trained in (model, loaded):
        trained.fit(x, y, epochs=epochs, initial_epoch=options.epochs, verbose=0)
    pairs = zip(model.get_arrays().values(), loaded.get_arrays().values(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def draw(x, y, models, path):
    figure = new_figure(8, 4)
    if figure is None:
        return
    axes = figure.subplots()
    axes.plot(x, y, ".", color="0.7", label="points")
    line = np.linspace(-2, 2, 200, dtype="float32")[:, np.newaxis]  # (200,) -> (200, 1)
    axes.plot(line, curve(line), "k--", label="curve")
    for name, model in models.items():
        axes.plot(line, model.predict(line), linewidth=2, label=f"network, {name}")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    save_figure(figure, path)


def main(arguments=None):
    options = parse_arguments(arguments)
    rng = np.random.default_rng(options.seed)
    print("Checks:")
    check_all(rng)

    x, y = make_points(options, rng)
    line = np.linspace(-2, 2, 200, dtype="float32")[:, np.newaxis]  # (200,) -> (200, 1)
    models = {loss: train(loss, x, y, options) for loss in ("cauchy", "mse")}
    print(f"Mean distance from the curve, with {options.outliers:.0%} outliers:")
    for loss, model in models.items():
        distance = np.abs(model.predict(line) - curve(line)).mean()
        print(f"  trained with {loss:7} {distance:.3f}")
    beta = models["cauchy"].layers[1].params["beta"]
    print(f"The learned beta is between {beta.min():.2f} and {beta.max():.2f}.")
    draw(x, y, models, options.out)

    same = continues_identically(models["cauchy"], x, y, options)
    print(
        f"Saved to {options.model_file}. Loaded again, it continues training identically: {same}."
    )
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
