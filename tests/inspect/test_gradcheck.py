"""Gradients of layers over many geometries, and whether the check itself can fail."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nn
from nn.inspect.gradcheck import check_gradients, numerical_gradient, relative_error

TOLERANCE = 1e-6
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
paddings = st.one_of(
    st.sampled_from(["same", "valid"]), st.tuples(st.integers(0, 2), st.integers(0, 2))
)
seeds = st.integers(0, 2**16)


@settings(max_examples=40)
@given(
    kernel=pairs,
    stride=pairs,
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=paddings,
    groups=st.integers(1, 2),
    size=st.tuples(st.integers(5, 7), st.integers(5, 6)),
    use_bias=st.booleans(),
    seed=seeds,
)
def test_convolution(kernel, stride, dilation, padding, groups, size, use_bias, seed):
    layer = nn.Conv2D(
        2 * groups, kernel, stride, padding, use_bias, dilation=dilation, groups=groups
    )
    x = np.random.default_rng(seed).normal(size=(2, groups, *size))
    assert max(check_gradients(layer, x).values()) <= TOLERANCE


@settings(max_examples=30)
@given(
    make=st.sampled_from([nn.MaxPool2D, nn.AvgPool2D]),
    pool=pairs,
    stride=st.one_of(st.none(), pairs),
    padding=st.sampled_from(["same", "valid", "largest"]),
    size=st.tuples(st.integers(3, 7), st.integers(3, 6)),
    seed=seeds,
)
def test_pooling(make, pool, stride, padding, size, seed):
    padding = tuple(k - 1 for k in pool) if padding == "largest" else padding
    rng = np.random.default_rng(seed)
    shape = (2, 2, *size)
    x = rng.permutation(np.linspace(-2, 2, int(np.prod(shape)))).reshape(shape)
    assert max(check_gradients(make(pool, stride, padding), x).values()) <= TOLERANCE


@settings(max_examples=30)
@given(
    make=st.sampled_from([nn.BatchNorm, nn.BatchNorm1D, nn.BatchNorm2D]),
    rows=st.integers(3, 5),
    channels=st.integers(1, 3),
    size=st.tuples(st.integers(1, 3), st.integers(2, 4)),
    training=st.booleans(),
    seed=seeds,
)
def test_batch_norm(make, rows, channels, size, training, seed):
    rng = np.random.default_rng(seed)
    shape = (rows, channels) if make is nn.BatchNorm1D else (rows, channels, *size)
    layer = make(eps=1e-2)
    layer.dtype = "float64"
    layer.build((None, *shape[1:]))
    layer.params["gamma"][...] = rng.normal(size=channels)
    layer.buffers["running_var"][...] = rng.uniform(0.5, 2, channels)
    assert max(check_gradients(layer, rng.normal(size=shape), training).values()) <= TOLERANCE


@settings(max_examples=40)
@given(
    make=st.sampled_from(
        [nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.Sigmoid, nn.Tanh, nn.Softmax, nn.Dropout]
    ),
    shape=st.sampled_from([(3, 5), (2, 3, 4), (2, 3, 2, 3)]),
    seed=seeds,
)
def test_activations_and_dropout(make, shape, seed):
    values = np.linspace(-3, 3, 2 * (int(np.prod(shape)) // 2 + 1))  # an even count leaves out 0
    x = np.random.default_rng(seed).permutation(values)[: int(np.prod(shape))].reshape(shape)
    assert max(check_gradients(make(), x).values()) <= TOLERANCE


@pytest.mark.parametrize(
    "name", ["relu", "leaky_relu", "elu", "gelu", "sigmoid", "tanh", "softmax"]
)
def test_activation_inside_a_layer(name, rng):
    layer = nn.Dense(4, activation=name, kernel_initializer="lecun_uniform")
    assert max(check_gradients(layer, rng.normal(size=(3, 5))).values()) <= TOLERANCE


def test_a_whole_model_in_float64(rng):
    """The loss of a small convnet against every one of its parameters."""
    model = nn.Model(
        [
            nn.Conv2D(2, use_bias=False, input_shape=(1, 6, 6)),  # batch norm takes a bias away
            nn.BatchNorm(),
            nn.Tanh(),
            nn.AvgPool2D(),
            nn.Flatten(),
            nn.Dense(3),
        ],
        dtype="float64",
        seed=0,
    )
    model.compile("cce", "sgd")
    x, y = rng.normal(size=(4, 1, 6, 6)), np.array([0, 1, 2, 1])

    def loss():
        return model.loss.forward(model.forward(x, training=True), y)

    loss()
    dx = model.backward(model.loss.backward())
    analytical = [grad.copy() for _, grad in model.get_params_and_grads()]
    for (param, _), grad in zip(model.get_params_and_grads(), analytical, strict=True):
        assert relative_error(grad, numerical_gradient(loss, param)) <= TOLERANCE
    assert relative_error(dx, numerical_gradient(loss, x)) <= TOLERANCE


def test_the_check_finds_a_wrong_backward():
    class Wrong(nn.Layer):
        def forward(self, x, training=False):
            self.x = x
            return x**2

        def backward(self, grad):
            return 2.01 * self.x * grad

    assert check_gradients(Wrong(), np.ones((2, 3)))["x"] > 1e-3


def test_the_check_finds_a_gradient_of_a_wrong_shape():
    class Wrong(nn.Layer):
        def forward(self, x, training=False):
            return x.sum(axis=1, keepdims=True)

        def backward(self, grad):
            return grad

    with pytest.raises(
        ValueError, match=r"\[Wrong\] backward\(\) must compute a gradient of shape"
    ):
        check_gradients(Wrong(), np.ones((2, 3)))


def test_a_layer_built_in_float32_is_refused():
    layer = nn.Dense(2)
    layer.build((None, 3))
    with pytest.raises(ValueError, match="built in float32"):
        check_gradients(layer, np.ones((2, 3)))
    assert set(check_gradients(nn.Dense(2, trainable=False), np.ones((2, 3)))) == {"x"}


def test_the_check_leaves_the_input_alone():
    x = np.ones((2, 3))
    check_gradients(nn.Dense(2), x)
    assert (x == 1).all()


def test_relative_error_of_nothing_is_zero():
    assert relative_error(np.zeros(0), np.zeros(0)) == 0
