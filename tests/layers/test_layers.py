"""What each layer computes, and what it says to those who use it wrongly."""

import loops
import numpy as np
import pytest
from conftest import built

import nn
from nn import layers

RELU_LIKE = [layers.ReLU, layers.LeakyReLU, layers.ELU, layers.GELU]


# ---------------------------------------------------------------------------- what they compute


def test_dense(rng):
    layer = built(nn.Dense(3, activation="tanh"), (4,))
    x, grad = rng.normal(size=(5, 4)), rng.normal(size=(5, 3))
    W, b = layer.params["W"], layer.params["b"]
    b[...] = [1, 2, 3]
    np.testing.assert_allclose(layer.forward(x), np.tanh(x @ W + b))
    slope = 1 - np.tanh(x @ W + b) ** 2
    np.testing.assert_allclose(layer.backward(grad), (grad * slope) @ W.T)
    np.testing.assert_allclose(layer.grads["W"], x.T @ (grad * slope))
    np.testing.assert_allclose(layer.grads["b"], (grad * slope).sum(axis=0))


def test_convolution_layer_uses_stride_padding_dilation_and_groups(rng):
    layer = built(
        nn.Conv2D(4, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2), (2, 7, 8)
    )
    layer.params["b"][...] = [1, 2, 3, 4]
    x = rng.normal(size=(2, 2, 7, 8))
    expected = loops.conv2d(
        x, layer.params["W"], layer.params["b"], (2, 1), ((1, 1), (2, 2)), (1, 2), 2
    )
    np.testing.assert_allclose(layer.forward(x), expected, atol=1e-12)
    assert layer.output_shape == (None, *expected.shape[1:])


def test_pooling_defaults_tile_the_image():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    assert nn.MaxPool2D().forward(x).tolist() == [[[[5, 7], [13, 15]]]]
    assert nn.AvgPool2D().forward(x).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    assert nn.AvgPool2D(3, stride=3, padding=1).forward(x)[0, 0, 0, 0] == 2.5  # 4 real cells
    assert nn.MaxPool2D(2, padding=1).forward(x - 99)[0, 0, 0, 0] == -99  # padding never wins


def test_global_pooling(rng):
    x = rng.normal(size=(2, 3, 4, 5))
    x[0, 0] = 7.0  # equal values: the first one takes the gradient
    np.testing.assert_allclose(nn.GlobalAvgPool2D().forward(x), x.mean(axis=(2, 3)))
    layer = nn.GlobalMaxPool2D()
    np.testing.assert_array_equal(layer.forward(x), x.max(axis=(2, 3)))
    dx = layer.backward(np.ones((2, 3)))
    assert dx[0, 0, 0, 0] == 1
    assert dx.sum() == 6


@pytest.mark.parametrize(
    ("layer", "values"),
    [
        (nn.ReLU(), [0, 0, 2]),
        (nn.LeakyReLU(), [-0.03, 0, 2]),
        (nn.LeakyReLU(0.5), [-1.5, 0, 2]),
        (nn.ELU(), [np.exp(-3) - 1, 0, 2]),
        (nn.ELU(2.0), [2 * np.exp(-3) - 2, 0, 2]),
        (nn.GELU(), [-3 * 0.0013498980316301035, 0, 2 * 0.9772498680518208]),
        (nn.Sigmoid(), [1 / (1 + np.exp(3)), 0.5, 1 / (1 + np.exp(-2))]),
        (nn.Tanh(), np.tanh([-3, 0, 2])),
        (nn.Softmax(), np.exp([-3, 0, 2]) / np.exp([-3, 0, 2]).sum()),
        (nn.Activation("relu"), [0, 0, 2]),
        (nn.Activation(name="relu"), [0, 0, 2]),
        (nn.Activation("linear"), [-3, 0, 2]),
    ],
)
def test_activation_values(layer, values):
    np.testing.assert_allclose(layer.forward(np.array([[-3.0, 0.0, 2.0]]))[0], values, rtol=1e-12)


def test_softmax_of_images_is_over_the_channels(rng):
    y = nn.Softmax().forward(rng.normal(size=(2, 3, 4, 5)))
    np.testing.assert_allclose(y.sum(axis=1), 1)


@pytest.mark.parametrize("layer", [nn.Softmax(), nn.Sigmoid()])
def test_output_activation_passes_on_the_gradient_for_saturated_logits(layer):
    x = np.array([[-500.0, 0.0, 500.0]], dtype="float32")
    y = layer.forward(x, training=True)
    wanted = np.array([[0.25, 0.5, -0.75]], dtype="float32")
    assert layer.logits_of(y) is x
    np.testing.assert_allclose(layer.backward(layer.gradient_for_output(wanted)), wanted, rtol=1e-6)
    moderate = np.array([[-3.0, 0.0, 2.0]])
    recovered = layer.logits_of(layer.forward(moderate, training=None))
    np.testing.assert_allclose(np.diff(recovered), np.diff(moderate), rtol=1e-6)
    assert np.isfinite(layer.logits_of(y.copy())).all()


def test_batch_norm_statistics(rng):
    x = rng.normal(3, 2, size=(6, 2, 3, 4))
    layer = built(nn.BatchNorm2D(momentum=0.75, eps=1e-3), (2, 3, 4))
    layer.params["gamma"][...], layer.params["beta"][...] = [2, 3], [4, 5]
    mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    x_hat = (x - mean[:, None, None]) / np.sqrt(var + 1e-3)[:, None, None]
    expected = x_hat * np.array([2, 3])[:, None, None] + np.array([4, 5])[:, None, None]
    np.testing.assert_allclose(layer.forward(x, training=True), expected)
    unbiased = x.var(axis=(0, 2, 3), ddof=1)
    np.testing.assert_allclose(layer.buffers["running_mean"], 0.25 * mean)
    np.testing.assert_allclose(layer.buffers["running_var"], 0.75 + 0.25 * unbiased)
    running = (x - 0.25 * mean[:, None, None]) / np.sqrt(0.75 + 0.25 * unbiased + 1e-3)[
        :, None, None
    ]
    expected = running * np.array([2, 3])[:, None, None] + np.array([4, 5])[:, None, None]
    np.testing.assert_allclose(layer.forward(x), expected)


def test_frozen_batch_norm_infers_in_training(rng):
    layer = built(nn.BatchNorm(trainable=False), (3,))
    x = rng.normal(5, 2, size=(8, 3))
    np.testing.assert_allclose(layer.forward(x, training=True), x / np.sqrt(1 + 1e-5))
    assert layer.buffers["running_mean"].tolist() == [0, 0, 0]


def test_dropout_drops_its_rate_and_keeps_the_mean():
    layer = nn.Dropout(0.25)
    x = np.ones((400, 100))
    y = layer.forward(x, training=True)
    assert set(np.unique(y)) == {0, 1 / 0.75}
    assert abs((y == 0).mean() - 0.25) < 0.01
    np.testing.assert_array_equal(layer.backward(x), y)
    assert layer.forward(x) is x
    assert nn.Dropout(0.0).forward(x, training=True) is x


def test_flatten_and_reshape_keep_the_order_of_channels_last_memory(rng):
    x = np.ascontiguousarray(rng.normal(size=(2, 3, 4, 5)).transpose(0, 2, 3, 1)).transpose(
        0, 3, 1, 2
    )
    flat = nn.Flatten().forward(x)
    np.testing.assert_array_equal(flat, x.reshape(2, 60))
    np.testing.assert_array_equal(nn.Reshape((3, 4, -1)).forward(flat), x)
    assert nn.Reshape(60).forward(x).shape == (2, 60)


# ------------------------------------------------------------------------- initial weights


@pytest.mark.parametrize("activation", RELU_LIKE)
def test_dense_before_relu_like_starts_as_he(activation):
    def spread(layers):
        model = nn.Model(layers, seed=0)
        return model.layers[0].params["W"].std()

    he, glorot = np.sqrt(2 / 400), np.sqrt(2 / 600)
    assert spread([nn.Dense(200, input_shape=(400,)), activation()]) == pytest.approx(he, rel=0.02)
    assert spread(
        [nn.Dense(200, input_shape=(400,)), nn.BatchNorm(), nn.Dropout(0.1), activation()]
    ) == pytest.approx(he, rel=0.02)
    assert spread([nn.Dense(200, input_shape=(400,), activation=activation())]) == pytest.approx(
        he, rel=0.02
    )
    assert spread([nn.Dense(200, input_shape=(400,))]) == pytest.approx(glorot, rel=0.02)
    assert spread([nn.Dense(200, input_shape=(400,)), nn.Tanh()]) == pytest.approx(glorot, rel=0.02)


def test_layers_added_one_by_one_start_as_those_in_a_list():
    together = nn.Model([nn.Dense(20, input_shape=(4,)), nn.ReLU(), nn.Dense(3)], seed=5)
    one_by_one = nn.Model(seed=5)
    for layer in (nn.Dense(20, input_shape=(4,)), nn.ReLU(), nn.Dense(3)):
        one_by_one.add(layer)
    for name, array in together.get_arrays().items():
        np.testing.assert_array_equal(one_by_one.get_arrays()[name], array)


def test_adding_relu_does_not_touch_weights_that_were_set():
    model = nn.Model([nn.Dense(3, input_shape=(2,))], seed=0)
    model.layers[0].params["W"][...] = 7
    model.add(nn.ReLU())
    assert (model.layers[0].params["W"] == 7).all()


def test_kernel_initializer_by_name_and_function():
    by_name = built(nn.Dense(2, kernel_initializer="ones"), (3,))
    by_function = built(
        nn.Conv2D(2, kernel_initializer=lambda shape, rng: np.full(shape, 3)), (1, 4, 4)
    )
    assert (by_name.params["W"] == 1).all()
    assert (by_function.params["W"] == 3).all()


# --------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2D(0), r"\[Conv2D\] 'filters' must be a positive integer, got 0\."),
        (lambda: nn.Conv2D(4, stride=0), r"\[Conv2D\] 'stride' must be positive, got 0\."),
        (lambda: nn.Conv2D(4, kernel_size=(3,)), "'kernel_size' must be an integer or a pair"),
        (lambda: nn.Conv2D(4, kernel_size=2.5), "'kernel_size' must be an integer or a pair"),
        (lambda: nn.Conv2D(4, padding="sam"), "'padding' must be one of .* did you mean 'same'"),
        (lambda: nn.Conv2D(4, padding=-1), "'padding' must be at least 0, got -1"),
        (lambda: nn.Conv2D(4, groups=3), "'groups' must divide the 4 filters, got 3"),
        (lambda: nn.Conv2D(4, activation="rely"), r"'activation' .* did you mean 'relu'\?"),
        (lambda: nn.Dense(4, kernel_initializer="he"), r"'kernel_initializer' must be one of"),
        (lambda: nn.Dense(True), "'units' must be a positive integer, got True"),
        (lambda: nn.Dropout(1.0), r"'rate' must be a number in \[0, 1\), got 1.0"),
        (lambda: nn.MaxPool2D(2, padding=2), "'padding' must be below pool_size"),
        (lambda: nn.BatchNorm(momentum=1.5), r"'momentum' must be a number in \[0, 1\]"),
        (lambda: nn.BatchNorm(eps=0), "'eps' must be a positive number"),
        (lambda: nn.Reshape((2, -1, -1)), "one of which may be -1"),
        (lambda: nn.Reshape((0, 2)), "must be positive sizes"),
        (lambda: nn.Activation(), "'activation' must be one of"),
        (lambda: nn.ELU(-1), "'alpha' must be a positive number, got -1"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            nn.Dense(2),
            (64, 16, 7, 7),
            r"\[Dense\] expects 2-D input, got \(64, 16, 7, 7\): add Flatten\(\)",
        ),
        (nn.Conv2D(2), (64, 784), r"\[Conv2D\] expects 4-D input, got \(64, 784\): .*Reshape"),
        (
            nn.Conv2D(2, 5, padding="valid"),
            (1, 1, 4, 4),
            r"'kernel_size' must not be larger than the padded input",
        ),
        (nn.Conv2D(2, groups=2), (1, 3, 4, 4), "'groups' must divide the 3 input channels"),
        (nn.MaxPool2D(5), (1, 1, 4, 4), "'pool_size' must not be larger than the padded input"),
        (nn.BatchNorm2D(), (4, 3), "use BatchNorm1D"),
        (nn.BatchNorm1D(), (4, 3, 2, 2), "use BatchNorm2D"),
        (nn.GlobalAvgPool2D(), (4, 3), r"\[GlobalAvgPool2D\] expects 4-D"),
        (nn.Reshape((5,)), (2, 4), r"'target_shape' \(5,\) must hold the 4 values"),
        (nn.Reshape((3, -1)), (2, 4), "must hold the 4 values"),
    ],
)
def test_wrong_shapes(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.forward(np.zeros(shape))


@pytest.mark.parametrize("activation", [None, "tanh", "softmax"])
def test_dense_on_sequences_is_dense_on_each_step(activation, rng):
    layer = built(nn.Dense(3, activation=activation), (6, 5))
    x, grad = rng.normal(size=(4, 6, 5)), rng.normal(size=(4, 6, 3))
    y = layer.forward(x, training=True)
    dx = layer.backward(grad)
    assert layer.output_shape == (None, 6, 3)
    grads = {key: array.copy() for key, array in layer.grads.items()}
    rows = layer.forward(x.reshape(24, 5), training=True)
    dx_rows = layer.backward(grad.reshape(24, 3))
    np.testing.assert_array_equal(y, rows.reshape(4, 6, 3))
    np.testing.assert_array_equal(dx, dx_rows.reshape(4, 6, 5))
    for key, array in layer.grads.items():
        np.testing.assert_array_equal(grads[key], array)
    np.testing.assert_array_equal(layer.forward(x[:, :2]), y[:, :2])  # of any length


def test_batch_norm_is_folded_into_dense_on_sequences(rng, monkeypatch):
    model = nn.Model([nn.Dense(3, input_shape=(3, 5)), nn.BatchNorm1D()], seed=0, dtype="float64")
    model.layers[1].buffers["running_mean"][...] = [0.1, 0.2, 0.3]
    x = rng.normal(size=(4, 3, 5))
    expected = model.forward(x)
    monkeypatch.delattr(nn.BatchNorm, "forward")
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-12)


def test_another_shape_than_it_was_built_for():
    layer = built(nn.Conv2D(2), (3, 8, 8))
    with pytest.raises(
        ValueError, match=r"built for inputs of shape \(None, 3, 8, 8\), got \(1, 1, 8, 8\)"
    ):
        layer.forward(np.zeros((1, 1, 8, 8)))


def test_an_input_that_is_no_array():
    with pytest.raises(ValueError, match="'x' must be an array"):
        nn.ReLU().forward([1.0])


def test_methods_that_a_subclass_must_write():
    with pytest.raises(NotImplementedError, match="needs a forward"):
        nn.Layer().forward(np.zeros(1))
    with pytest.raises(NotImplementedError, match="needs a backward"):
        nn.Layer().backward(np.zeros(1))


def test_integers_are_refused_by_every_layer():
    for layer in (nn.ReLU(), nn.MaxPool2D(padding=1), nn.Conv2D(2), nn.Dropout(0.5)):
        with pytest.raises(TypeError, match="expects floats, got an array of dtype int64"):
            layer.forward(np.ones((1, 1, 4, 4), dtype="int64"), training=True)


def test_an_initializer_of_the_users_is_copied_and_its_shape_checked():
    values = np.ones((2, 3), dtype="float32")
    layer = built(nn.Dense(3, kernel_initializer=lambda shape, rng: values), (2,), dtype="float32")
    assert not np.shares_memory(layer.params["W"], values)
    with pytest.raises(ValueError, match=r"must return an array of the shape \(4, 3\)"):
        built(nn.Dense(3, kernel_initializer=lambda shape, rng: values), (4,))


def test_activation_names_in_any_case_and_as_older_files_write_them():
    assert isinstance(nn.Dense(2, activation="ReLU").activation, nn.ReLU)
    layer = layers.layer_from_config({"class": "Activation", "config": {"name": "relu"}})
    assert isinstance(layer.activation, nn.ReLU)


def test_configs_that_make_no_layer():
    with pytest.raises(ValueError, match=r"'Dens'.*did you mean 'Dense'.*@nn.register"):
        layers.layer_from_config({"class": "Dens", "config": {}})
    with pytest.raises(ValueError, match=r"\[Dense\] cannot be made from the config"):
        layers.layer_from_config({"class": "Dense", "config": {"width": 3}})
    with pytest.raises(ValueError, match=r"must be \{'class'"):
        layers.layer_from_config("Dense")


def test_aliases():
    assert nn.Affine is nn.Dense
    assert nn.MaxPooling2D is nn.Pooling2D is nn.MaxPooling is nn.MaxPool2D
    assert layers.layer_from_config({"class": "Affine", "config": {"units": 3}}).units == 3


def test_repr_says_how_to_make_it():
    assert repr(nn.Dropout(0.5)) == "Dropout(rate=0.5)"
    assert "activation='relu'" in repr(nn.Dense(3, activation="relu", name="hidden"))
    assert nn.Dense(2, activation=nn.LeakyReLU(0.3)).to_config()["config"]["activation"] == {
        "class": "LeakyReLU",
        "config": {"negative_slope": 0.3},
    }


def test_an_activation_in_keras_place_says_what_to_write():
    with pytest.raises(ValueError, match="write activation='relu', got 'relu'"):
        nn.Dense(8, "relu")


# ---------------------------------------------------------------- a `backward` that is replaced


class Halving:
    """Halves the gradient of the kernel; to be put before a layer among the base classes."""

    def backward(self, grad):
        dx = super().backward(grad)
        self.grads["W"] = self.grads["W"] / 2
        return dx


class HalvingDense(Halving, nn.Dense):
    pass


class DenseBelow(nn.Dense):
    pass


def kernel_gradient(layer):
    """The kernel's gradient after a training step with the layer as the lowest one."""
    model = nn.Model([layer, nn.Dense(2)], "mse", "sgd", seed=0)
    x = np.random.default_rng(0).normal(size=(5, 4))
    model.train_step(x, x[:, :2])
    inner = getattr(layer, "layer", layer)
    return inner.grads["W"]


def test_a_backward_of_a_class_beside_the_layer_is_called_in_training():
    expected = kernel_gradient(nn.Dense(3)) / 2
    assert np.array_equal(kernel_gradient(HalvingDense(3)), expected)


@pytest.mark.parametrize("wrap", [lambda layer: layer, nn.WeightNorm], ids=["plain", "WeightNorm"])
def test_a_backward_replaced_in_an_object_is_called_in_training(wrap):
    layer, expected = nn.Dense(3), kernel_gradient(wrap(nn.Dense(3))) / 2

    def backward(grad, own=layer.backward):
        dx = own(grad)
        layer.grads["W"] = layer.grads["W"] / 2
        return dx

    layer.backward = backward
    assert np.array_equal(kernel_gradient(wrap(layer)), expected)


@pytest.mark.parametrize("cls", [nn.Dense, DenseBelow])
def test_a_backward_replaced_in_a_class_is_called_in_training(cls, monkeypatch):
    expected, own = kernel_gradient(cls(3)) / 2, nn.Dense.backward

    def backward(self, grad):
        dx = own(self, grad)
        self.grads["W"] = self.grads["W"] / (2 if self.params["W"].shape == (4, 3) else 1)
        return dx

    monkeypatch.setattr(nn.Dense, "backward", backward)
    assert np.array_equal(kernel_gradient(cls(3)), expected)


# ------------------------------------------------- configurations of subclasses of nn's own layers


class Halved(nn.Dense):
    """Takes an argument that no layer of nn's has."""

    def __init__(self, units, share=0.5, **common):
        super().__init__(units, **common)
        self.share = share


class TenUnits(nn.Dense):
    """Takes no argument."""

    def __init__(self):
        super().__init__(10, activation="relu")


class Named(nn.Dense):
    """Takes some arguments of `Dense` by itself, and the others with it."""

    def __init__(self, units, activation="tanh", **common):
        super().__init__(units, activation=activation, **common)


def test_an_argument_that_nn_does_not_know_is_not_left_out_of_a_file():
    with pytest.raises(TypeError, match=r"\[Halved\] takes share and needs a to_config\(\)"):
        Halved(3).to_config()
    assert repr(Halved(3)) == "Halved()"


def test_the_configuration_of_a_subclass_has_the_arguments_that_it_takes():
    assert TenUnits().to_config()["config"] == {}
    layer = Named(3, use_bias=False, kernel_regularizer="l2", name="top")
    config = layer.to_config()["config"]
    assert (config["units"], config["activation"], config["use_bias"]) == (3, "tanh", False)
    assert Named(**config).to_config() == layer.to_config()
