"""The activations that Keras users try first: published values, far inputs, names."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nn
from nn import cuda, layers
from nn.inspect.gradcheck import check_gradients

NEW = ["relu6", "selu", "silu", "mish", "softplus", "softsign", "hard_sigmoid", "exponential"]


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        # the examples of Keras' documentation of keras.activations
        ("softplus", [-20, -1, 0, 1, 20], [2.06115369e-9, 0.31326166, 0.6931472, 1.3132616, 20]),
        ("softsign", [-1, 0, 1], [-0.5, 0, 0.5]),
        ("exponential", [-3, -1, 0, 1, 3], [0.04978707, 0.36787944, 1, 2.7182818, 20.0855369]),
        ("hard_sigmoid", [-3, -1, 0, 1, 3], [0, 1 / 3, 0.5, 2 / 3, 1]),
        ("silu", [-20, -1, 0, 1, 20], [-4.1223072e-8, -0.26894143, 0, 0.7310586, 20]),
        # by hand
        ("swish", [2], [2 / (1 + np.exp(-2))]),
        ("relu6", [-1, 0, 3, 6, 7], [0, 0, 3, 6, 6]),
        ("hard_sigmoid", [-9, 9, 1.5], [0, 1, 0.75]),
        # Klambauer et al. 2017: lambda and minus lambda alpha, the limits of slope and value
        ("selu", [1, -1000, 0], [1.0507009873554805, -1.7580993408473766, 0]),
        # ln(1 + e) = 1.3132616875182228, tanh of it is 0.8650983882673103
        ("mish", [1, 0], [0.8650983882673103, 0]),
        ("linear", [-2, 3], [-2, 3]),
    ],
)
def test_published_values(name, inputs, outputs, to_device):
    y = nn.Activation(name).forward(to_device(np.array(inputs, dtype="float64")))
    np.testing.assert_allclose(cuda.to_cpu(y), outputs, rtol=2e-7, atol=1e-15)


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_inputs_give_finite_values_and_slopes(name, dtype):
    x = np.array([-1e4, -100, -50, 50, 80 if name == "exponential" else 1e4], dtype=dtype)
    layer = nn.Activation(name)
    y = layer.forward(x, training=True)
    slope = layer.backward(np.ones_like(x))
    assert y.dtype == slope.dtype == dtype
    assert np.isfinite(y).all()
    assert np.isfinite(slope).all()
    limits = {
        "relu6": (0, 0), "selu": (0, 1.0507009873554805), "silu": (0, 1), "mish": (0, 1),
        "softplus": (0, 1), "softsign": (0, 0), "hard_sigmoid": (0, 0),
        "exponential": (0, 5.54062238e34),
    }  # fmt: skip
    np.testing.assert_allclose(slope[[0, -1]], limits[name], rtol=1e-5, atol=2e-8)


def test_softplus_keeps_the_digits_of_small_results():
    y = nn.Softplus().forward(np.array([-40.0, -700.0]))
    np.testing.assert_allclose(y, np.exp([-40.0, -700.0]), rtol=1e-12)


@settings(max_examples=40)
@given(
    name=st.sampled_from(NEW),
    shape=st.sampled_from([(3, 5), (2, 3, 4), (2, 3, 2, 3)]),
    seed=st.integers(0, 2**16),
)
def test_gradients(name, shape, seed):
    """Inputs from -8 to 8, off the corners at -3, 0, 3 and 6."""
    x = np.random.default_rng(seed).uniform(-8, 8, size=shape)
    for corner in (-3, 0, 3, 6):
        x = np.where(abs(x - corner) < 1e-3, x + 0.01, x)
    assert max(check_gradients(nn.Activation(name), x).values()) <= 1e-6


def test_slopes_at_the_corners():
    slope = {}
    for layer in (nn.ReLU6(), nn.HardSigmoid()):
        layer.forward(np.array([-3.0, 0.0, 3.0, 6.0]), training=True)
        slope[type(layer).__name__] = layer.backward(np.ones(4)).tolist()
    assert slope == {"ReLU6": [0, 0, 1, 0], "HardSigmoid": [0, 1 / 6, 0, 0]}


def test_prelu_by_hand(to_device):
    """Two samples of three steps with two channels."""
    layer = nn.PReLU()
    x = np.array([[[1.0, -2.0, 0.0], [-4.0, 4.0, -8.0]], [[-1.0, -1.0, 3.0], [2.0, 2.0, 2.0]]])
    x = x.transpose(0, 2, 1)  # (N, T, C)
    layer.dtype = "float64"
    layer.build((None, 3, 2))
    layer.params["slope"] = to_device(np.array([0.25, 0.5]))
    y = layer.forward(to_device(x), training=True)
    assert cuda.to_cpu(y).transpose(0, 2, 1).tolist() == [
        [[1, -0.5, 0], [-2, 4, -4]],
        [[-0.25, -0.25, 3], [2, 2, 2]],
    ]
    grad = np.array([[[1.0, 2.0, 4.0], [1.0, 1.0, 3.0]], [[1.0, 5.0, 1.0], [7.0, 7.0, 7.0]]])
    dx = layer.backward(to_device(grad.transpose(0, 2, 1)))
    assert cuda.to_cpu(dx).transpose(0, 2, 1).tolist() == [
        [[1, 0.5, 1], [0.5, 1, 1.5]],  # at 0 the slope is that of the negative side
        [[0.25, 1.25, 1], [7, 7, 7]],
    ]
    # 2 * -2 + 1 * -1 + 5 * -1, and 1 * -4 + 3 * -8
    assert cuda.to_cpu(layer.grads["slope"]).tolist() == [-10, -28]


@settings(max_examples=20)
@given(
    shape=st.sampled_from([(3, 5), (2, 3, 4), (2, 3, 2, 3)]),
    initial=st.sampled_from([0.0, 0.25, 1.5]),
    seed=st.integers(0, 2**16),
)
def test_gradients_of_prelu(shape, initial, seed):
    x = np.random.default_rng(seed).uniform(-3, 3, size=shape)
    x = np.where(abs(x) < 1e-3, 0.01, x)
    assert max(check_gradients(nn.PReLU(initial), x).values()) <= 1e-6


def test_prelu_is_trained_saved_and_loaded(rng, tmp_path):
    model = nn.Model([nn.Dense(6, input_shape=(4,)), nn.PReLU(0.1), nn.Dense(2)], seed=0)
    slope = model.layers[1].params["slope"]
    assert slope == pytest.approx(np.full(6, 0.1))
    model.compile("mse", "adam", lr=0.01, weight_decay=0.5)
    x = rng.normal(size=(32, 4)).astype("float32")
    model.fit(x, np.zeros((32, 2), "float32"), epochs=2, verbose=0)
    assert not np.any(slope == np.float32(0.1))
    model.save(tmp_path / "model.npz")
    loaded = nn.Model.load(tmp_path / "model.npz")
    assert loaded.layers[1].to_config() == {"class": "PReLU", "config": {"initial": 0.1}}
    np.testing.assert_array_equal(loaded.layers[1].params["slope"], slope)
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))


def test_weight_decay_leaves_the_slopes_of_prelu():
    layer = nn.PReLU()
    layer.build((None, 3))
    optimizer = nn.optim.SGD(lr=0.1).configure(weight_decay=0.5)
    optimizer.step([(layer.params["slope"], np.zeros(3, "float32"))])
    assert layer.params["slope"].tolist() == [0.25] * 3


def test_frozen_prelu_passes_on_the_gradient_alone():
    layer = nn.PReLU(trainable=False)
    layer.forward(np.array([[-2.0, 2.0]]), training=True)
    assert layer.backward(np.ones((1, 2))).tolist() == [[0.25, 1]]
    assert layer.grads == {}


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Dense(3, activation=nn.PReLU()),
        lambda: nn.Conv1D(3, 2, activation={"class": "PReLU", "config": {}}),
        lambda: nn.WeightNorm(nn.Dense(3, activation=nn.PReLU())),
        lambda: nn.Activation(nn.PReLU()),
        lambda: nn.Dense(3, activation=nn.BatchNorm()),
    ],
    ids=["Dense", "config", "WeightNorm", "Activation", "BatchNorm"],
)
def test_an_activation_with_parameters_is_refused_when_the_layer_is_made(make):
    with pytest.raises(ValueError, match=r"'activation' must have no parameters, got .*own\."):
        make()


def test_an_activation_of_the_users_with_parameters_is_refused_when_it_is_built():
    class Slope(nn.Layer):
        def build(self, input_shape):
            self._set_param("slope", np.ones(1))
            self._built(input_shape, input_shape)

        def forward(self, x, training=False):
            self._check_input(x)
            return x * self.params["slope"]

    for layer in (nn.Dense(3, activation=Slope()), nn.Activation(Slope())):
        with pytest.raises(ValueError, match=r"'activation' must have no parameters"):
            layer.forward(np.ones((2, 4)))


def test_errors_of_prelu(rng):
    with pytest.raises(ValueError, match=r"\[PReLU\] 'initial' must be .*, got -0.1\."):
        nn.PReLU(-0.1)
    with pytest.raises(ValueError, match=r"\[PReLU\] expects 2-D or 3-D or 4-D input, got \(5,\)"):
        nn.PReLU().forward(np.ones(5))
    layer = nn.PReLU()
    layer.forward(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"\[PReLU\] was built for inputs of shape \(None, 3\)"):
        layer.forward(np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"\[Dense\] 'activation' must have no parameters"):
        nn.Dense(3, activation=nn.PReLU()).forward(np.ones((2, 4), "float32"))


def test_selu_keeps_mean_0_and_variance_1_through_many_layers(rng):
    """The fixed point of Klambauer et al. 2017, theorem 1."""
    stack = [nn.Dense(400, activation="selu", kernel_initializer="lecun_normal") for _ in range(12)]
    y = nn.Model(stack, seed=0).predict(rng.normal(size=(200, 300)))
    assert abs(y.mean()) < 0.1
    assert 0.7 < y.var() < 1.3


def test_names_and_what_is_saved():
    assert nn.Swish is nn.SiLU
    for name in NEW:
        layer = nn.Dense(2, activation=name)
        assert layer.to_config()["config"]["activation"] == name
        assert layers.layer_from_config(layer.to_config()).activation is not None
    assert nn.Dense(2, activation="swish").to_config()["config"]["activation"] == "silu"
    assert layers.layer_from_config({"class": "Swish", "config": {}}).to_config()["class"] == "SiLU"
    with pytest.raises(ValueError, match=r"got 'softplu': did you mean 'softplus'\?"):
        nn.Activation("softplu")


@pytest.mark.parametrize("activation", [nn.SiLU, nn.Mish, nn.ReLU6, nn.PReLU])
def test_dense_before_them_starts_as_he(activation):
    model = nn.Model([nn.Dense(200, input_shape=(400,)), activation()], seed=0)
    assert model.layers[0].params["W"].std() == pytest.approx(np.sqrt(2 / 400), rel=0.02)


def test_keras_names_of_layers():
    same = {
        "BatchNormalization": nn.BatchNorm,
        "LayerNormalization": nn.LayerNorm,
        "GroupNormalization": nn.GroupNorm,
        "UpSampling2D": nn.UpSample2D,
        "ZeroPadding2D": nn.ZeroPad2D,
        "AveragePooling2D": nn.AvgPool2D,
        "GlobalAveragePooling2D": nn.GlobalAvgPool2D,
        "GlobalMaxPooling2D": nn.GlobalMaxPool2D,
    }
    for name, cls in same.items():
        assert getattr(nn, name) is getattr(layers, name) is layers.NAME2LAYER[name] is cls


def test_log_softmax_never_takes_the_logarithm_of_a_rounded_zero(to_device):
    x = to_device(np.array([[1000.0, 0.0, -1000.0], [1.0, 1.0, 1.0]], dtype="float32"))
    y = cuda.to_cpu(nn.LogSoftmax().forward(x))
    np.testing.assert_allclose(y, [[0, -1000, -2000], [-np.log(3)] * 3], rtol=1e-6)


def test_log_softmax_is_over_the_classes_of_images(rng):
    x = rng.normal(size=(2, 3, 4, 5))
    layer = nn.LogSoftmax()
    np.testing.assert_allclose(np.exp(layer.forward(x)).sum(axis=1), 1)
    assert max(check_gradients(layer, x).values()) <= 1e-6


def test_a_model_that_ends_in_log_softmax_trains_as_one_that_ends_in_logits(rng):
    x, y = rng.normal(size=(16, 4)).astype("float32"), rng.integers(0, 3, 16)
    models = [
        nn.Model([nn.Dense(3, input_shape=(4,)), *last], loss="cce", optimizer="sgd", seed=0)
        for last in ([], [nn.Activation("log_softmax")], [nn.Softmax()])
    ]
    losses = [[model.train_step(x, y)["loss"] for _ in range(5)] for model in models]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-5)
    for model in models:
        assert (model.predict_classes(x) == models[0].predict_classes(x)).all()
