"""Checking the gradients of whole models: the zoo passes, a planted fault is named."""

import copy
import warnings

import numpy as np
import pytest

import nn
from nn import zoo
from nn.inspect.gradcheck import ModelCheck, check_model

ZOO = {
    "logistic_regression": lambda: zoo.logistic_regression((3,), seed=1),
    "mlp": lambda: zoo.mlp((6, 5), 0.4, True, (1, 4, 4), 3, seed=1),
    "lenet5": lambda: zoo.lenet5((1, 12, 12), 3, seed=1),
    "small_cnn": lambda: zoo.small_cnn((1, 8, 8), 3, seed=1),
    "mnist_cnn": lambda: zoo.mnist_cnn((1, 10, 10), 3, seed=1),
    "three_layer_cnn": lambda: zoo.three_layer_cnn(3, 3, 5, (2, 6, 6), 3, seed=1),
    "cifar_cnn": lambda: zoo.cifar_cnn((3, 8, 8), 3, seed=1),
    "vgg6": lambda: zoo.vgg6((3, 8, 8), 3, seed=1),
    "resnet20": lambda: zoo.resnet20((3, 6, 6), 3, seed=1),
    "resnet9": lambda: zoo.resnet9((3, 8, 8), 3, seed=1),
    "airbench94": lambda: zoo.airbench94((3, 9, 9), 3, seed=3, widths=(6, 5, 5)),
    "large_cnn": lambda: zoo.large_cnn((1, 16, 16), 3, seed=1),
    "conv_autoencoder": lambda: zoo.conv_autoencoder((1, 8, 8), (3, 2), seed=1),
    "unet_small": lambda: zoo.unet_small((2, 4, 4), 3, 3, 1, seed=1),
    "vae": lambda: zoo.vae(2, (5,), (1, 4, 4), seed=1),
    "small_transformer": lambda: zoo.small_transformer(9, 5, 8, 2, seed=1),
    "temporal_cnn": lambda: zoo.temporal_cnn((9, 2), 3, 4, 2, seed=1),
    "char_lstm": lambda: zoo.char_lstm(7, 5, 4, length=6, seed=1),
    "text_classifier": lambda: zoo.text_classifier(9, 3, 4, 5, length=6, seed=1),
}
LOSSES = {"logistic_regression": "bce", "conv_autoencoder": "mse", "vae": "bce"}  # else 'cce'


class Scale(nn.Layer):
    """x times a number for each feature; `fault` multiplies one of its two gradients."""

    def __init__(self, fault="", by=1.01, **common):
        super().__init__(**common)
        self.fault, self.by = fault, by

    def build(self, input_shape):
        self.params["s"] = np.linspace(0.5, 2, input_shape[-1]).astype(self.dtype)
        self.output_shape, self.built = input_shape, True

    def forward(self, x, training=False):
        self.x = x
        return x * self.params["s"]

    def backward(self, grad):
        ds, dx = (grad * self.x).sum(axis=0), grad * self.params["s"]
        self.grads["s"] = ds * self.by if self.fault == "s" else ds
        return dx * self.by if self.fault == "x" else dx


def small(layers, loss="mse", **options):
    model = nn.Model(layers, seed=0, **options)
    model.build((None, 5))
    if loss is not None:
        model.compile(loss)
    return model


def all_state(model):
    """Return everything of a model that a check could change."""
    states = [copy.deepcopy(rng.bit_generator.state) for rng in model.generators]
    arrays = {name: array.tobytes() for name, array in model.get_arrays().items()}
    grads = {
        f"{name}/{key}": grad.tobytes()
        for name, layer in nn.layers.plan.named_layers(model.layers)
        for key, grad in layer.grads.items()
    }
    optimizer = {name: array.tobytes() for name, array in model.optimizer.state_dict().items()}
    dtypes = [array.dtype for array in model.get_arrays().values()]
    return states, arrays, grads, optimizer, dtypes, dict(model.history), model.epoch


# ----------------------------------------------------------------------------- what is right


@pytest.mark.parametrize("name", sorted(ZOO))
def test_the_zoo_passes(name):
    model = ZOO[name]()
    model.compile(LOSSES.get(name, "cce"), "sgd")
    for key, array in model.get_arrays().items():
        if key.endswith("_b"):  # a bias of 0 after an image of zeros sits on a ReLU's kink
            array += 0.1
    result = check_model(model, entries=2)
    assert result.ok, str(result)
    assert result.worst.error < 2e-6
    assert result.suspect is None
    checked = {(row.layer, row.parameter) for row in result.rows if row.entries}
    wanted = {
        (path, key)
        for path, layer in nn.layers.plan.named_layers(model.layers)
        for key in layer.params
    }
    assert wanted <= checked
    measured = [row for row in result.rows if row.verdict == "ok"]
    assert len(measured) > len(result.rows) * 0.7


def test_every_zoo_model_is_checked_here():
    aliases = {"fully_connected_net"}
    assert set(zoo.__all__) - aliases == set(ZOO)


def test_a_table_with_a_line_for_each_array():
    result = check_model(small([nn.Dense(3), nn.BatchNorm(), nn.Dense(2)]), entries=4)
    lines = str(result).splitlines()
    assert lines[0].split() == ["Layer", "Array", "Shape", "Entries", "Kinks", "Error", "Verdict"]
    assert [line.split()[:2] for line in lines[2:-2]] == [
        ["0_Dense", "input"],
        ["0_Dense", "W"],
        ["0_Dense", "b"],
        ["1_BatchNorm", "input"],
        ["1_BatchNorm", "gamma"],
        ["1_BatchNorm", "beta"],
        ["2_Dense", "input"],
        ["2_Dense", "W"],
        ["2_Dense", "b"],
        ["MeanSquaredError", "input"],
    ]
    row = result.rows[1]
    assert (row.shape, row.entries, row.kinks, row.verdict) == ((5, 3), 4, 0, "ok")
    assert result.rows[2].entries == 3  # all there are
    assert result.rows[2].verdict == "tiny"  # a bias before batch normalisation does nothing
    assert lines[-1].startswith("All gradients agree") and lines[-1].endswith("to 1e-05.")


@pytest.mark.parametrize(
    ("loss", "last"),
    [
        ("cce", "softmax"),
        ("cce", None),
        ("bce", "sigmoid"),
        ("bce", None),
        ("mse", None),
        ("mae", None),
        ("huber", None),
        ("hinge", None),
        ("kl_divergence", "softmax"),
        (None, None),
    ],
)
def test_each_loss_gets_targets_that_it_takes(loss, last):
    result = check_model(
        small([nn.Dense(4, activation="gelu"), nn.Dense(3, activation=last)], loss)
    )
    assert result.ok, str(result)
    assert all(row.verdict == "ok" for row in result.rows)
    pairs = [("cce", "softmax"), ("bce", "sigmoid"), (None, None)]  # no loss apart from a layer
    assert (result.rows[-1].layer == "1_Dense") == ((loss, last) in pairs)


def test_a_given_batch_and_penalties_and_containers():
    inside = [nn.Dense(5, kernel_regularizer="l2"), nn.Tanh()]
    layers = [
        nn.Residual(inside),
        nn.LayerNorm(),
        nn.WeightNorm(nn.Dense(2)),
        nn.GaussianNoise(0.1),
    ]
    x, y = np.linspace(-1, 2, 15).reshape(3, 5), np.arange(6).reshape(3, 2)
    before = x.copy()
    result = check_model(small(layers), x.astype("float32"), y)
    assert result.ok and result.worst.error < 1e-6, str(result)
    assert [row.layer for row in result.rows[:2]] == ["0_Residual", "0_Residual/0_Dense"]
    assert result.rows[0].shape == (3, 5)
    assert check_model(small([nn.Dense(2)]), x, y).ok
    assert (x == before).all()
    unbuilt = nn.Model([nn.Rescale(1 / 255), nn.Dense(2)], seed=0)
    assert check_model(unbuilt, np.full((2, 5), 99.0)).ok
    assert not unbuilt.built


def test_images_of_bytes_are_scaled_as_the_model_does_it():
    model = nn.Model([nn.Flatten(input_shape=(1, 2, 2)), nn.Dense(2)], seed=0)
    x = np.arange(0, 160, 20, dtype="uint8").reshape(2, 1, 2, 2)
    by_bytes, by_floats = check_model(model, x), check_model(model, x / 255)
    assert by_bytes == by_floats and by_bytes.ok


def test_frozen_layers_are_said():
    result = check_model(small([nn.Dense(3, trainable=False), nn.Dense(2)]))
    assert [(row.parameter, row.verdict) for row in result.rows[:3]] == [
        ("input", "ok"),
        ("W", "frozen"),
        ("b", "frozen"),
    ]
    assert "frozen" in str(result)


def test_the_same_seed_draws_the_same_and_another_another():
    model = small([nn.Dense(3), nn.ReLU(), nn.Dropout(0.5), nn.Dense(2)])
    assert check_model(model, entries=3) == check_model(model, entries=3)
    assert check_model(model, entries=3) != check_model(model, entries=3, seed=1)


# ------------------------------------------------------------------------------------- kinks


def test_numbers_at_a_kink_are_left_out_and_others_drawn():
    model = small([nn.ReLU(), nn.Dense(2)])
    x = np.ones((4, 5))
    x[:, :4] = 0.0  # sixteen of the twenty inputs of ReLU stand on its kink
    row = check_model(model, x, np.ones((4, 2)), entries=4).rows[0]
    assert row.verdict == "ok" and row.kinks > 0 and 1 <= row.entries <= 4
    row = check_model(model, np.zeros((4, 5)), np.ones((4, 2)), entries=4).rows[0]
    assert (row.verdict, row.entries, row.kinks) == ("kinks", 0, 16)


@pytest.mark.parametrize("distance", [0.0, 1e-7, 2e-6, 1e-5 / 3, 4e-6, 8e-6, 9.9e-6, 1.1e-5])
def test_a_kink_anywhere_within_the_step_is_no_fault(distance):
    model = small([nn.LeakyReLU(), nn.Dense(2)])
    x = np.full((4, 5), distance)
    assert check_model(model, x, np.ones((4, 2))).suspect is None


def test_ties_in_max_pooling_and_a_lasso_at_zero():
    model = nn.Model([nn.MaxPool2D(input_shape=(1, 4, 4)), nn.Flatten(), nn.Dense(2)], seed=0)
    result = check_model(model, np.ones((2, 1, 4, 4)))
    assert result.suspect is None
    assert not result.ok  # nothing was measured of the pooling
    assert "Not checked: 0_MaxPool2D input, as" in str(result)
    lasso = small([nn.Dense(2, kernel_regularizer="l1")])
    lasso.layers[0].params["W"][...] = 3e-6  # the step goes over the corner
    row = check_model(lasso).rows[1]
    assert row.parameter == "W" and row.verdict in ("ok", "kinks")


# ------------------------------------------------------------------------------ what is wrong


@pytest.mark.parametrize("by", [0.0, -1.0, 1.001, 2.0])
def test_a_wrong_gradient_of_a_parameter_is_named(by):
    result = check_model(small([nn.Dense(4), nn.Tanh(), Scale("s", by), nn.Dense(2)]))
    assert not result.ok
    wrong = [(row.layer, row.parameter) for row in result.rows if row.verdict == "WRONG"]
    assert wrong == [("2_Scale", "s")]
    assert result.suspect == result.worst.layer == "2_Scale"
    assert str(result).endswith("1 of 10 are wrong: check the backward() of 2_Scale.")


@pytest.mark.parametrize("by", [0.0, 1.001, 2.0])
def test_a_wrong_gradient_of_an_input_is_named_though_it_spoils_all_layers_before(by):
    result = check_model(small([nn.Dense(4), nn.Tanh(), Scale("x", by), nn.Dense(2)]))
    wrong = {(row.layer, row.parameter) for row in result.rows if row.verdict == "WRONG"}
    assert ("0_Dense", "W") in wrong and ("2_Scale", "input") in wrong
    assert ("2_Scale", "s") not in wrong and ("3_Dense", "W") not in wrong
    assert result.suspect == "2_Scale"


def test_a_fault_inside_a_container_is_named_as_far_as_it_can_be():
    parameter = small([nn.Residual([nn.Dense(5), Scale("s")]), nn.Dense(2)])
    assert check_model(parameter).suspect == "0_Residual/1_Scale"
    handed_on = small([nn.Residual([nn.Dense(5), Scale("x")]), nn.Dense(2)])
    assert check_model(handed_on).suspect == "0_Residual"


def test_a_wrong_regularizer_is_found():
    class Wrong(nn.regularizers.L2):
        def gradient(self, w):
            return 1.1 * super().gradient(w)

    result = check_model(small([nn.Dense(3, kernel_regularizer=Wrong(0.5))]))
    assert [row.parameter for row in result.rows if row.verdict == "WRONG"] == ["W"]


def test_a_wrong_loss_is_found():
    class Wrong(nn.losses.MeanSquaredError):
        def sample_gradients(self):
            return 1.01 * super().sample_gradients()

    result = check_model(small([nn.Dense(2)], Wrong()), np.ones((3, 5)), np.zeros((3, 2)))
    assert all(row.verdict == "WRONG" for row in result.rows)
    assert result.suspect == result.rows[-1].layer == "Wrong"


# -------------------------------------------------------------------------- files and what stays


@pytest.mark.parametrize("name", ["model.hdf5", "model.npz"])
def test_a_saved_model(tmp_path, name):
    model = ZOO["small_cnn"]()
    model.compile("cce", "adam")
    model.save(tmp_path / name)
    result = check_model(tmp_path / name, entries=2)
    assert result == check_model(str(tmp_path / name), entries=2)
    assert result.ok and isinstance(result, ModelCheck)
    assert result.rows == check_model(model, entries=2).rows


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_model_stays_as_it_is_to_the_last_bit(dtype, rng):
    layers = [nn.Dense(8), nn.BatchNorm(), nn.ReLU(), nn.Dropout(0.5), nn.Dense(3)]
    x, y = rng.normal(size=(12, 5)), rng.integers(0, 3, 12)
    model, other = small(list(layers), "cce", dtype=dtype), None
    other = copy.deepcopy(model)
    model.fit(x, y, epochs=2, batch_size=4, verbose=0)
    other.fit(x, y, epochs=2, batch_size=4, verbose=0)
    before = all_state(model)
    nn.seed(5)
    check_model(model, entries=2)
    after_check = nn.Model([nn.Dense(1, input_shape=(2,))])
    nn.seed(5)
    without_check = nn.Model([nn.Dense(1, input_shape=(2,))])
    assert all_state(model) == before
    np.testing.assert_array_equal(
        after_check.layers[0].params["W"], without_check.layers[0].params["W"]
    )
    model.fit(x, y, epochs=1, batch_size=4, verbose=0)  # and so it trains on as it would have
    other.fit(x, y, epochs=1, batch_size=4, verbose=0)
    assert all_state(model)[1] == all_state(other)[1]


def test_a_forward_pass_still_finds_its_backward_after_a_check(rng):
    model = small([nn.Dense(3), nn.Sigmoid()])
    x, y = rng.normal(size=(4, 5)).astype("float32"), rng.normal(size=(4, 3)).astype("float32")
    model.loss.forward(model.forward(x, training=True), y)
    check_model(model, entries=1)
    dx = model.backward(model.loss.backward())
    again = small([nn.Dense(3), nn.Sigmoid()])
    again.loss.forward(again.forward(x, training=True), y)
    np.testing.assert_array_equal(dx, again.backward(again.loss.backward()))


# ------------------------------------------------------------------------------------ errors


class NoGradient(Scale):
    def backward(self, grad):
        return grad * self.params["s"]


class WrongShape(Scale):
    def backward(self, grad):
        super().backward(grad)
        return grad.sum(axis=0)


class Cube(nn.losses.Loss):
    def forward(self, y_pred, y_true):
        self.difference = y_pred - y_true
        return float((abs(self.difference) ** 3).mean())

    def backward(self):
        return 3 * self.difference * abs(self.difference) / self.difference.size


def test_a_loss_of_your_own_needs_its_targets():
    model = small([nn.Dense(2)], Cube())
    with pytest.raises(ValueError, match=r"\[check_model\] 'y'"):
        check_model(model)
    assert check_model(model, np.ones((3, 5)), np.zeros((3, 2))).ok


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: check_model(nn.Dense(2)), ValueError, r"\[check_model\] 'model' must be a Model"),
        (lambda: check_model(nn.Model([nn.Dense(2)])), ValueError, "'x' must.*None"),
        (lambda: check_model(nn.Model()), ValueError, "'x' must.*None"),
        (lambda: check_model(small([nn.Dense(2)]), entries=0), ValueError, "'entries' must be a"),
        (lambda: check_model(small([nn.Dense(2)]), tolerance=0), ValueError, "'tolerance' must"),
        (lambda: check_model(small([nn.Dense(2)]), step=-1), ValueError, "'step' must be a pos"),
        (lambda: check_model(small([nn.Dense(2)]), seed=-1), ValueError, "'seed' must be an int"),
        (
            lambda: check_model(small([nn.Dense(2)]), np.ones((3, 4))),
            ValueError,
            r"\[Model\].*\(3, 4\)",
        ),
        (
            lambda: check_model(small([nn.Dense(2)]), np.ones((3, 5)), np.ones((3, 3))),
            ValueError,
            r"\[MeanSquaredError\] expects 'y_true' of the predictions' shape \(3, 2\)",
        ),
        (
            lambda: check_model(small([nn.Dense(2)], None), np.ones((3, 5)), np.ones((3, 2))),
            ValueError,
            "'y' must be None",
        ),
        (
            lambda: check_model(small([nn.Dense(4), NoGradient()])),
            ValueError,
            r"backward\(\) of 1_NoGradient.* \(4,\) for 's', got None",
        ),
        (
            lambda: check_model(small([nn.Dense(4), WrongShape()])),
            ValueError,
            r"of 1_WrongShape.* \(4, 4\) for 'input', got \(4,\)",
        ),
        (
            lambda: check_model(
                small([nn.Dense(4), Scale(), nn.Exponential()]), np.full((2, 5), 1e6)
            ),
            FloatingPointError,
            r"\[check_model\] the loss is (inf|nan)",
        ),
        (lambda: check_model("nowhere.hdf5"), FileNotFoundError, "nowhere.hdf5"),
    ],
)
def test_wrong_use_is_an_error(call, kind, message):
    with warnings.catch_warnings(), pytest.raises(kind, match=message):
        warnings.simplefilter("ignore", RuntimeWarning)  # exp overflows on purpose
        call()
