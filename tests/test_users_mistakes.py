"""What first users of a library do wrong, and what the message tells them to do."""

import numpy as np
import pytest

import nn

X = np.random.default_rng(0).normal(size=(30, 4)).astype("float32")
Y = np.arange(30) % 3


def model(loss="cce", outputs=3, layer=None):
    layers = [nn.Dense(5, input_shape=(4,)), *([] if layer is None else [layer])]
    made = nn.Model([*layers, nn.Dense(outputs)], seed=0)
    made.compile(loss, "adam")
    return made


class NoSuper(nn.Layer):
    def __init__(self, units):
        self.units = units

    def forward(self, x, training=False):
        return x

    def backward(self, grad):
        return grad


class NoTraining(nn.Layer):
    def forward(self, x):
        return x

    def backward(self, grad):
        return grad


class OtherName(NoTraining):
    def build(self, input_shape):
        self.output_shape, self.built = input_shape, True

    def forward(self, x, is_training):
        return x


def with_gap(y):
    y = y.astype("float64")
    y[3] = np.nan
    return y


MISTAKES = {
    "labels from 1": (
        lambda: model().fit(X, Y + 1),
        r"'y_true' must be in 0\.\.2, got 3: labels count from 0, use y_true - 1",
    ),
    "too few outputs": (
        lambda: model(outputs=2).fit(X, Y),
        r"must be in 0\.\.1, got 2: .* the last layer has an output for each class",
    ),
    "labels with gaps": (
        lambda: model().fit(X, with_gap(Y)),
        r"'y_true' must be finite, got NaN",
    ),
    "labels under mse": (
        lambda: model("mse").fit(X, Y),
        r"for 3 classes use the loss 'categorical_crossentropy' or one-hot rows, np\.eye\(3\)",
    ),
    "numbers under mse": (
        lambda: model("mse", outputs=2).fit(X, X[:, :3]),
        r"give the last layer as many outputs as a row of 'y_true' has",
    ),
    "texts of numbers": (
        lambda: model().fit([["1", "2", "3", "4"]] * 30, Y),
        r"astype\('float32'\) if the texts are numbers",
    ),
    "a file's name": (
        lambda: model().fit("points.csv", Y),
        r"read the file first, with pandas\.read_csv",
    ),
    "a pair": (
        lambda: model().fit((X, Y)),
        r"'data' must be the inputs, or batches \(x, y\), got a tuple of 2: pass its parts as",
    ),
    "the class of an optimizer": (
        lambda: model().compile("cce", nn.optim.Adam),
        r"'optimizer' must be .* write Adam\(\)",
    ),
    "the class of a loss": (
        lambda: model(nn.losses.Huber),
        r"'loss' must be .* write Huber\(\)",
    ),
    "labels in validation": (
        lambda: model().fit(X, Y, val_data=(X, Y + 5)),
        r"\[Model\] 'val_data': \[CategoricalCrossentropy\] 'y_true' must be in 0\.\.2, got 7",
    ),
    "shape in validation": (
        lambda: model().fit(X, Y, validation_data=(X[:, :2], Y)),
        r"\[Model\] 'validation_data': expects inputs of shape \(None, 4\), got \(30, 2\)",
    ),
    "no super in a model": (
        lambda: model(layer=NoSuper(3)),
        r"\[NoSuper\] __init__\(\) must call super\(\)\.__init__\(\)",
    ),
    "no super in a check": (
        lambda: nn.check_gradients(NoSuper(3), X),
        r"\[NoSuper\] __init__\(\) must call super\(\)\.__init__\(\)",
    ),
    "no training in a model": (
        lambda: model(layer=NoTraining()),
        r"\[NoTraining\] forward\(\) must take 'training', got forward\(x\)",
    ),
    "no training in a check": (
        lambda: nn.testing.assert_gradients(NoTraining(), X),
        r"\[NoTraining\] forward\(\) must take 'training', got forward\(x\)",
    ),
    "a shape for a batch": (
        lambda: nn.check_gradients(nn.Dense(3), (4, 5)),
        r"'x' must be a batch, as by rng\.normal\(size=\(4, 5\)\), not its shape",
    ),
    "a model for a layer": (
        lambda: nn.check_gradients(model(), X),
        r"nn\.gradcheck\.check_model\(\) takes a model",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message_says_what_to_do(mistake):
    call, message = MISTAKES[mistake]
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_a_forward_with_another_name_for_training_is_accepted():
    model(layer=OtherName()).fit(X, Y, verbose=0)


def test_a_notebook_shows_the_check_of_a_model_as_a_table():
    class Printer:
        def text(self, text):
            self.shown = text

    found, printer = nn.gradcheck.check_model(model(), X[:4], Y[:4]), Printer()
    found._repr_pretty_(printer, False)
    assert printer.shown == str(found) and "Verdict" in printer.shown
