"""Layer, group and weight normalisation: by hand, in loops, and within a model."""

import json

import numpy as np
import pytest
from conftest import built
from hypothesis import given, settings
from hypothesis import strategies as st

import nn
from nn import cuda
from nn.inspect.gradcheck import check_gradients
from nn.layers import fold
from nn.layers.config import layer_from_config

# ------------------------------------------------------------------ layer and group normalisation


def test_layer_norm_by_hand(to_device, device):
    x = to_device(np.array([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]]))
    layer = built(nn.LayerNorm(eps=2.0), (3,), device)  # variance 14/3, plus 2 is 20/3
    layer.params["gamma"][...] = to_device(np.array([1.0, 2.0, 3.0]))
    layer.params["beta"][...] = to_device(np.array([0.0, 0.0, 10.0]))
    std = np.sqrt(20 / 3)
    expected = [[-2 / std, 2 * -1 / std, 3 * 3 / std + 10], [0, 0, 10]]
    np.testing.assert_allclose(cuda.to_cpu(layer.forward(x)), expected, atol=1e-15)


shapes = st.sampled_from([(4,), (4, 3), (4, 2, 3), (6, 1, 2), (2, 5, 1)])


@settings(max_examples=30)
@given(shape=shapes, seed=st.integers(0, 2**16))
def test_layer_norm_is_over_the_last_axis_and_over_images(shape, seed):
    check_layer_norm(shape, None, (1, 2, 3) if len(shape) == 3 else (len(shape),), seed)


@settings(max_examples=30)
@given(
    case=st.sampled_from(
        [
            ((4,), -1, (1,)),
            ((4, 3), 1, (1,)),
            ((4, 3), (1, 2), (1, 2)),
            ((4, 2, 3), 1, (1,)),
            ((4, 2, 3), [3, 1], (1, 3)),
            ((4, 2, 3), (-2, -1), (2, 3)),
            ((4, 2, 3), -1, (3,)),
        ]
    ),
    seed=st.integers(0, 2**16),
)
def test_layer_norm_is_over_the_given_axes(case, seed):
    check_layer_norm(*case, seed)


def check_layer_norm(shape, axis, axes, seed):
    """Compare with the formula, and the gradient with finite differences; save and load."""
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, size=(3, *shape))
    layer = built(nn.LayerNorm(axis=axis, eps=1e-3), shape)
    sizes = [n if k in axes else 1 for k, n in enumerate(x.shape)]
    gamma, beta = rng.normal(size=sizes), rng.normal(size=sizes)
    layer.params["gamma"][...] = gamma.ravel()  # in the order of Flatten
    layer.params["beta"][...] = beta.ravel()
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    expected = (x - mean) / np.sqrt(var + 1e-3) * gamma + beta
    for memory in (x, np.ascontiguousarray(x.T).T):
        np.testing.assert_allclose(layer.forward(memory), expected, atol=1e-12)
    assert max(check_gradients(layer, x).values()) <= 1e-6
    again = layer_from_config(layer.to_config())
    assert again.to_config() == layer.to_config() == json.loads(json.dumps(layer.to_config()))
    assert again.axis == layer.axis


def test_layer_norm_of_sequences_of_any_length(rng):
    """The last axis alone has to be known."""
    layer = nn.LayerNorm()
    layer.build((None, None, 5))
    for length in (1, 4):
        x = rng.normal(size=(2, length, 5)).astype("float32")
        np.testing.assert_allclose(layer.forward(x, training=True).mean(axis=2), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.LayerNorm(), (4, 1), r"\[LayerNorm\] expects more than one value along 'axis'"),
        (nn.LayerNorm(axis=1), (2, 1, 3, 3), r"got \(2, 1, 3, 3\): the output would be 'beta'"),
        (
            nn.GroupNorm(3),
            (2, 3),
            r"\[GroupNorm\] expects more than one value in each of the 'groups'",
        ),
        (nn.GroupNorm(3), (2, 3, 1, 1), r"Use fewer 'groups'\."),
    ],
)
def test_one_value_that_is_normalized_alone_is_an_error_in_training(layer, shape, message):
    x = np.ones(shape, dtype="float32")
    assert (layer.forward(x) == 0).all()
    with pytest.raises(ValueError, match=message):
        layer.forward(x, training=True)


@settings(max_examples=30)
@given(
    shape=shapes,
    groups=st.sampled_from([1, 2, "channels"]),
    seed=st.integers(0, 2**16),
)
def test_group_norm_is_over_each_group_of_channels(shape, groups, seed):
    rng = np.random.default_rng(seed)
    groups = shape[0] if groups == "channels" and len(shape) > 1 else int(groups != 1) + 1
    x = rng.normal(3, 2, size=(3, *shape))
    layer = built(nn.GroupNorm(groups, eps=0.5), shape)
    layer.params["gamma"][...] = rng.normal(size=shape[0])
    layer.params["beta"][...] = rng.normal(size=shape[0])
    y, each = layer.forward(x), shape[0] // groups
    for n, c in np.ndindex(3, shape[0]):
        first = c // each * each
        group = x[n, first : first + each]
        x_hat = (x[n, c] - group.mean()) / np.sqrt(group.var() + 0.5)
        expected = x_hat * layer.params["gamma"][c] + layer.params["beta"][c]
        np.testing.assert_allclose(y[n, c], expected, atol=1e-12)
    assert max(check_gradients(layer, x).values()) <= 1e-6


@pytest.mark.parametrize("layer", [nn.LayerNorm(), nn.GroupNorm(2)])
def test_a_sample_is_normalised_alone_and_alike_in_training(layer, rng):
    layer, x = built(layer, (4, 3, 3)), rng.normal(size=(5, 4, 3, 3))
    together = layer.forward(x, training=True)
    for k in range(5):
        np.testing.assert_allclose(layer.forward(x[k : k + 1]), together[k : k + 1], atol=1e-14)


@pytest.mark.parametrize("layer", [nn.LayerNorm(), nn.GroupNorm(2)])
def test_numbers_far_from_zero_keep_their_digits(layer, rng):
    """The variance is that of the differences, not a difference of large squares."""
    x = rng.normal(size=(4, 4, 16, 16))
    shifted = (1000 + x).astype("float32")
    y = layer.forward(shifted)
    assert y.dtype == np.float32
    exact = built(type(layer)(**layer.to_config()["config"]), x.shape[1:]).forward(
        shifted.astype("float64")
    )
    np.testing.assert_allclose(y, exact, atol=1e-4)


def test_weight_decay_leaves_the_scales_of_layer_norm_alone():
    model = nn.Model([nn.LayerNorm(input_shape=(2, 3, 3)), nn.Flatten()], seed=0)
    model.compile("mse", "sgd", lr=0.1, weight_decay=0.5)
    x = np.zeros((2, 2, 3, 3), dtype="float32")
    model.train_step(x, np.zeros((2, 18), dtype="float32"))  # x_hat is 0: no gradient either
    assert (model.layers[0].params["gamma"] == 1).all()


def test_frozen_scales_have_no_gradient(rng):
    layer, x = built(nn.LayerNorm(trainable=False), (4,)), rng.normal(size=(3, 4))
    layer.forward(x, training=True)
    assert layer.backward(x).shape == x.shape
    assert layer.grads == {}


# ---------------------------------------------------------------------- weight normalisation

WRAPPED = {
    "Dense": (lambda: nn.Dense(3), (5,), 1),
    "Conv2D": (lambda: nn.Conv2D(3, 2, stride=2), (2, 5, 4), 0),
    "Conv2D groups": (lambda: nn.Conv2D(4, 3, groups=2, use_bias=False), (2, 5, 4), 0),
    "DepthwiseConv2D": (lambda: nn.DepthwiseConv2D(3, depth_multiplier=2), (2, 5, 4), 0),
    "Conv2DTranspose": (lambda: nn.Conv2DTranspose(3, 3, 2), (2, 3, 4), 1),
}


def test_weight_norm_by_hand(device, to_device):
    """Salimans and Kingma 2016, equations 2 and 3, for v = (3, 4) and g = 10."""
    layer = built(nn.WeightNorm(nn.Dense(1)), (2,), device)
    for name, values in (("v", [[3.0], [4.0]]), ("g", [10.0]), ("b", [1.0])):
        layer.params[name][...] = to_device(np.array(values))
    x = to_device(np.array([[1.0, 2.0]]))
    # W = 10 * (3, 4) / 5 = (6, 8), y = 6 + 16 + 1
    assert cuda.to_cpu(layer.forward(x, training=True)).tolist() == [[pytest.approx(23)]]
    dx = layer.backward(to_device(np.array([[1.0]])))
    np.testing.assert_allclose(cuda.to_cpu(dx), [[6, 8]])
    grads = {name: cuda.to_cpu(grad) for name, grad in layer.grads.items()}
    # dW = (1, 2): dg = (3 + 8) / 5, dv = 10 / 5 * dW - 10 * 2.2 / 25 * v
    np.testing.assert_allclose(grads["g"], [2.2])
    np.testing.assert_allclose(grads["v"], [[2 - 0.88 * 3], [4 - 0.88 * 4]])
    np.testing.assert_allclose(grads["b"], [1])
    assert float((grads["v"] * [[3.0], [4.0]]).sum()) == pytest.approx(0)  # across v, never along


@pytest.mark.parametrize("name", WRAPPED)
def test_weight_norm_starts_as_the_layer_itself(name, rng):
    make, shape, axis = WRAPPED[name]
    plain, wrapped = nn.Model([make()], seed=3), nn.Model([nn.WeightNorm(make())], seed=3)
    x = rng.normal(size=(4, *shape)).astype("float32")
    np.testing.assert_array_equal(wrapped.predict(x), plain.predict(x))
    params = wrapped.layers[0].params
    np.testing.assert_array_equal(params["v"], plain.layers[0].params["W"])
    lengths = np.linalg.norm(
        np.moveaxis(params["v"], axis, 0).reshape(len(params["g"]), -1), axis=1
    )
    np.testing.assert_allclose(params["g"], lengths, rtol=1e-6)


@pytest.mark.parametrize("name", WRAPPED)
def test_gradients_of_weight_norm(name, rng):
    make, shape, _ = WRAPPED[name]
    layer = built(nn.WeightNorm(make()), shape)
    for param in layer.params.values():
        param[...] = rng.normal(size=param.shape)
    x = rng.normal(size=(3, *shape))
    errors = check_gradients(layer, x)
    assert set(errors) == {"x", *layer.params}
    assert max(errors.values()) <= 1e-6


def test_only_the_direction_of_v_counts(rng):
    layer, x = built(nn.WeightNorm(nn.Dense(3)), (5,)), rng.normal(size=(4, 5))
    y = layer.forward(x)
    layer.params["v"] *= np.array([0.1, 3, 70])
    np.testing.assert_allclose(layer.forward(x), y, rtol=1e-12)
    layer.params["g"] *= 2
    np.testing.assert_allclose(layer.forward(x), 2 * y, rtol=1e-12)


def network(**arguments):
    return nn.Model(
        [
            nn.WeightNorm(nn.Conv2D(4, 3, activation="relu", input_shape=(1, 6, 6)), name="first"),
            nn.Residual([nn.WeightNorm(nn.Conv2D(4, 3))]),
            nn.Flatten(),
            nn.WeightNorm(nn.Dense(8)),
            nn.ReLU(),
            nn.WeightNorm(nn.Dense(3, activation="softmax")),
        ],
        **{"seed": 0, **arguments},
    )


def test_weight_norm_in_a_model(rng, tmp_path):
    model = network()
    names = set(model.get_arrays())
    assert {"0_WeightNorm_v", "0_WeightNorm_g", "0_WeightNorm_b"} <= names
    assert "1_Residual/0_WeightNorm_v" in names
    assert not any(name.endswith("_W") for name in names)
    count = sum(int(array.size) for array in model.get_arrays().values())
    assert f"{count:,} parameters, {count:,} of them trainable" in model.summary()
    assert "first" in model.summary()
    x, y = rng.normal(size=(48, 1, 6, 6)).astype("float32"), rng.integers(0, 3, 48)
    model.compile("cce", "adam", lr=0.01)
    history = model.fit(x, y, epochs=15, batch_size=16, verbose=0)
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    model.save(tmp_path / "model.hdf5")
    loaded = nn.Model.load(tmp_path / "model.hdf5")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    again = model.fit(x, y, epochs=16, initial_epoch=15, batch_size=16, verbose=0)
    resumed = loaded.fit(x, y, epochs=16, initial_epoch=15, batch_size=16, verbose=0)
    assert resumed["loss"][-1] == again["loss"][-1]


def test_a_trailing_softmax_under_weight_norm_is_trained_from_its_logits(rng):
    """The gradient for the weights is that of the same model without the softmax."""
    x, y = rng.normal(size=(6, 4)), rng.integers(0, 3, 6)
    grads = []
    for activation in ("softmax", None):
        layer = nn.WeightNorm(nn.Dense(3, activation=activation, kernel_initializer="he_normal"))
        model = nn.Model([layer], dtype="float64", seed=0)
        model.compile("cce", "sgd")
        model.build((None, 4))
        layer.params["v"] *= 300  # saturated probabilities
        layer.params["g"] *= 300
        model.loss.forward(model.forward(x, training=True), y)
        model.backward(model.loss.backward())
        grads.append(layer.grads["v"])
    np.testing.assert_allclose(*grads, rtol=1e-9, atol=1e-15)


def test_freezing_reaches_the_layer_inside(rng):
    layer = nn.WeightNorm(nn.Dense(3, trainable=False))
    assert not layer.trainable
    layer.trainable = True
    assert layer.layer.trainable
    assert nn.WeightNorm(nn.Dense(3), trainable=False).layer.trainable is False
    model = network()
    for part in model.layers[:3]:
        part.trainable = False
    before = {name: array.copy() for name, array in model.get_arrays().items()}
    model.compile("cce", "sgd", lr=0.1)
    model.train_step(rng.normal(size=(8, 1, 6, 6)), rng.integers(0, 3, 8))
    for name, array in model.get_arrays().items():
        changed = not np.array_equal(array, before[name])
        assert changed == (name[0] in "35"), name
    assert model.layers[0].layer.grads == {}


def test_weight_norm_before_relu_starts_as_he_also_layer_by_layer():
    together = nn.Model([nn.WeightNorm(nn.Dense(200)), nn.ReLU()], seed=5)
    together.build((None, 400))
    plain = nn.Model([nn.Dense(200), nn.ReLU()], seed=5)
    plain.build((None, 400))
    np.testing.assert_array_equal(together.layers[0].params["v"], plain.layers[0].params["W"])
    assert together.layers[0].params["v"].std() == pytest.approx(np.sqrt(2 / 400), rel=0.02)
    one_by_one = nn.Model(seed=5)
    one_by_one.add(nn.WeightNorm(nn.Dense(200, input_shape=(400,))))
    one_by_one.add(nn.ReLU())
    for name, array in together.get_arrays().items():
        np.testing.assert_array_equal(one_by_one.get_arrays()[name], array)


def test_weight_norm_takes_over_a_trained_layer(rng):
    dense, x = nn.Dense(3), rng.normal(size=(4, 5)).astype("float32")
    dense.forward(x)
    dense.params["b"][...] = [1, 2, 3]
    expected = dense.forward(x)
    layer = nn.WeightNorm(dense)
    np.testing.assert_array_equal(layer.forward(x), expected)
    with pytest.raises(ValueError, match=r"\[WeightNorm\] 'layer' is built for \(None, 5\)"):
        nn.WeightNorm(dense).forward(x[:, :4])


def test_a_model_that_could_not_be_built_takes_another_shape():
    model = nn.Model([nn.WeightNorm(nn.Conv2D(2, 3)), nn.Flatten(), nn.Reshape((2, 16))], seed=0)
    with pytest.raises(ValueError, match="'target_shape'"):
        model.build((None, 1, 5, 5))
    model.build((None, 1, 4, 4))
    assert model.predict(np.zeros((1, 1, 4, 4))).shape == (1, 2, 16)


def test_batch_norm_after_weight_norm_and_the_new_layers_predicts_as_it_trains(rng):
    """`predict` takes batch norm into weights of plain layers alone."""
    model = nn.Model(
        [
            nn.WeightNorm(nn.Conv2D(4, 3, use_bias=False)),
            nn.BatchNorm2D(),
            nn.DepthwiseConv2D(3),
            nn.BatchNorm2D(),
            nn.Conv2DTranspose(3, 3, 2),
            nn.BatchNorm2D(),
            nn.UpSample2D(2, "bilinear"),
            nn.GroupNorm(3),
            nn.BatchNorm2D(),
            nn.Flatten(),
            nn.WeightNorm(nn.Dense(5)),
            nn.BatchNorm1D(),
        ],
        dtype="float64",
        seed=0,
    )
    x = rng.normal(size=(6, 2, 4, 4))
    for _ in range(3):
        model.forward(x, training=True)
    expected = model.forward(x)
    np.testing.assert_allclose(fold.run(model.layers, x)[0], expected, atol=1e-10)
    np.testing.assert_allclose(model.predict(x), expected, atol=1e-10)


# ------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("layer", [nn.ReLU(), nn.BatchNorm(), "Dense", nn.Dense, None])
def test_weight_norm_of_what_has_no_kernel(layer):
    with pytest.raises(TypeError, match=r"\[WeightNorm\] 'layer' must be a layer object with a"):
        nn.WeightNorm(layer)


def test_a_direction_of_no_length():
    with pytest.raises(ValueError, match=r"'kernel_initializer' must not set all weights .* to 0"):
        built(nn.WeightNorm(nn.Dense(3, kernel_initializer="zeros")), (4,))


def test_a_layer_object_inside_and_beside():
    dense = nn.Dense(3)
    with pytest.raises(ValueError, match="must not hold a layer object twice"):
        nn.Model([nn.WeightNorm(dense), nn.ReLU(), dense])
    with pytest.raises(ValueError, match="must not hold a layer object twice"):
        nn.Model([nn.WeightNorm(dense), nn.ReLU(), nn.WeightNorm(dense)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.LayerNorm(eps=0), r"\[LayerNorm\] 'eps' must be a positive number, got 0\."),
        (lambda: nn.GroupNorm(0), r"\[GroupNorm\] 'groups' must be a positive integer, got 0\."),
        (
            lambda: nn.GroupNorm(3).forward(np.zeros((2, 4))),
            r"\[GroupNorm\] 'groups' must divide the 4 input channels, got 3\.",
        ),
        (lambda: nn.LayerNorm(axis=0), r"\[LayerNorm\] 'axis' must be None, or axes .*, got 0\."),
        (lambda: nn.LayerNorm(axis=[]), r"\[LayerNorm\] 'axis' must be None, .*, got \[\]\."),
        (
            lambda: nn.LayerNorm(axis=(2, -1)).forward(np.zeros((2, 4, 3))),
            r"\[LayerNorm\] 'axis' must be different axes in 1..2 for 3-D input, got \(2, -1\)\.",
        ),
        (lambda: nn.LayerNorm(axis=2).forward(np.zeros((2, 3))), r"in 1..1 for 2-D input, got 2\."),
        (lambda: nn.LayerNorm().forward(np.zeros(3)), r"\[LayerNorm\] expects 2-D or 3-D or 4-D"),
        (
            lambda: nn.WeightNorm(nn.Dense(3)).forward(np.zeros((2, 3, 4, 4))),
            r"\[Dense\] expects 2-D input, got \(None, 3, 4, 4\): add Flatten\(\)",
        ),
    ],
)
def test_wrong_arguments_and_shapes(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_built_layer_norm_refuses_other_shapes():
    for layer in (nn.LayerNorm(), nn.LayerNorm(axis=(1, 2))):
        with pytest.raises(ValueError, match=r"was built for inputs of shape \(None, 3, 4\)"):
            built(layer, (3, 4)).forward(np.zeros((2, 4, 3)))


@pytest.mark.parametrize("arguments", [{"kernel_regularizer": "l2"}, {"lr_factor": 0.5}])
def test_weight_norm_refuses_what_it_could_not_honour(arguments):
    with pytest.raises(ValueError, match=r"\[WeightNorm\] 'layer' must have no kernel_regularizer"):
        nn.WeightNorm(nn.Dense(2, **arguments))
    assert nn.WeightNorm(nn.Dense(2), lr_factor=0.5).lr_factor == 0.5


@pytest.mark.parametrize("make", [nn.BatchNorm, nn.BatchNorm1D, nn.BatchNorm2D])
def test_a_batch_with_one_value_a_channel_is_an_error_in_training(make):
    shape = (1, 3, 1, 1) if make is nn.BatchNorm2D else (1, 3)
    layer, x = make(), np.arange(3, dtype="float32").reshape(shape)
    layer.forward(x)
    before = {name: array.copy() for name, array in layer.buffers.items()}
    with pytest.raises(ValueError, match=rf"{make.__name__}\].* one value .*\(1, 3.*batch_size"):
        layer.forward(x, training=True)
    for name, array in layer.buffers.items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(ValueError, match=rf"{make.__name__}\].* one value .*\(0, 3.*batch_size"):
        layer.forward(x[:0], training=True)
    assert np.isfinite(layer.buffers["running_mean"]).all()
    layer.trainable = False
    layer.forward(x, training=True)  # by the running averages
    wide = make()
    wide.forward(np.ones((1, 3, 2, 2) if make is not nn.BatchNorm1D else (1, 3, 4)), training=True)


@pytest.mark.parametrize("make", [nn.BatchNorm, nn.BatchNorm1D])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_sequences_normalizes_the_last_axis(make, training, rng):
    x, grad = rng.normal(size=(2, 4, 5, 3)) * 2 + 1
    layer, rows = make(), make()
    for part, values in ((layer, x), (rows, x.reshape(20, 3))):
        part.dtype = "float64"
        part.build((None, *values.shape[1:]))
        part.params["gamma"][...], part.params["beta"][...] = [1, 2, 3], [4, 5, 6]
        part.forward(values, training=True)  # moves the running averages
    y, expected = layer.forward(x, training), rows.forward(x.reshape(20, 3), training)
    assert layer.output_shape == (None, 5, 3)
    np.testing.assert_allclose(y.reshape(20, 3), expected, rtol=1e-13)
    dx, expected = layer.backward(grad), rows.backward(grad.reshape(20, 3))
    np.testing.assert_allclose(dx.reshape(20, 3), expected, rtol=1e-11, atol=1e-13)
    for name, array in (layer.grads | layer.buffers).items():
        np.testing.assert_allclose(array, (rows.grads | rows.buffers)[name], rtol=1e-12)


def test_batch_norm_leaves_padded_steps_out(rng):
    x, grad = rng.normal(size=(2, 4, 5, 3))
    mask = np.arange(5) < np.array([5, 2, 4, 1])[:, None]
    grad[~mask] = 0
    layer, rows = nn.BatchNorm1D(), nn.BatchNorm()
    for part in (layer, rows):
        part.dtype = "float64"
    y = layer.forward(x, True, mask)
    np.testing.assert_allclose(y[mask], rows.forward(x[mask], True), rtol=1e-13)
    np.testing.assert_allclose(layer.backward(grad)[mask], rows.backward(grad[mask]), rtol=1e-11)
    assert not y[~mask].any()
    for name, array in (layer.grads | layer.buffers).items():
        np.testing.assert_allclose(array, (rows.grads | rows.buffers)[name], rtol=1e-12)
    np.testing.assert_allclose(
        layer.forward(x, None, mask)[mask], rows.forward(x[mask]), rtol=1e-13
    )
    lonely = np.zeros((4, 5), bool)
    for there in (0, 1):
        lonely[0, :there] = True
        with pytest.raises(ValueError, match=r"\[BatchNorm1D\] .* more than one value"):
            layer.forward(x, True, lonely)


@pytest.mark.parametrize("momentum", [0.1, 1, 0.01])
def test_a_momentum_in_the_sense_of_pytorch_is_doubted(momentum):
    with pytest.warns(UserWarning, match=r"'momentum' should be .*PyTorch's momentum=0.1 is 0.9"):
        nn.BatchNorm2D(momentum)


# ---------------------------------------------------------------- batch norm without a parameter


def test_batch_norm_without_a_scale_has_the_values_of_pytorch():
    """`BatchNorm2d` of PyTorch 2.13 with weight 1, computed once."""
    x = np.array([[1.0, 2.0], [3.0, 6.0], [8.0, 1.0]]).reshape(3, 2, 1, 1)
    layer = built(nn.BatchNorm2D(scale=False), (2, 1, 1))
    layer.params["beta"][...] = [0.5, -1.0]
    y = layer.forward(x, training=True)
    expected = [[-0.51904874, -1.46290955], [0.16031709, 0.38872866], [1.85873166, -1.92581911]]
    np.testing.assert_allclose(y.reshape(3, 2), expected, atol=1e-8)
    dx = layer.backward(np.array([[1.0, -1.0], [2.0, 0.5], [-0.5, 3.0]]).reshape(3, 2, 1, 1))
    expected = [[-0.21774514, -0.96439466], [0.30484375, 0.19287824], [-0.08709861, 0.77151642]]
    np.testing.assert_allclose(dx.reshape(3, 2), expected, atol=1e-8)
    assert layer.grads.keys() == layer.params.keys() == {"beta"}
    np.testing.assert_array_equal(layer.grads["beta"], [2.5, 2.5])


WITHOUT = [(False, True), (True, False), (False, False)]


@pytest.mark.parametrize(("scale", "center"), WITHOUT)
@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_of_batch_norm_without_a_parameter(scale, center, frozen, rng):
    layer = nn.BatchNorm2D(scale=scale, center=center, trainable=not frozen)
    worst = check_gradients(layer, rng.normal(size=(3, 2, 2, 3)), training=True)
    assert max(worst.values()) < 1e-5
    own = {name for name, there in (("gamma", scale), ("beta", center)) if there}
    assert worst.keys() == {"x"} | (set() if frozen else own)


@pytest.mark.parametrize(("scale", "center"), WITHOUT)
def test_batch_norm_without_a_parameter_in_a_model(scale, center, rng, tmp_path):
    """It trains, folds into the convolution before it, and is in a file as it was."""
    norm = nn.BatchNorm2D(scale=scale, center=center)
    model = nn.Model([nn.Conv2D(4, input_shape=(2, 5, 5)), norm, nn.ReLU(), nn.GlobalAvgPool2D()])
    model.compile("mse", "sgd", lr=0.1)
    x, y = rng.random((20, 2, 5, 5), dtype="float32"), rng.random((20, 4), dtype="float32")
    model.fit(x, y, epochs=2, batch_size=5, verbose=0)
    np.testing.assert_allclose(model.predict(x), model.forward(x), rtol=1e-4, atol=1e-5)
    assert model.count_params() == 4 * 2 * 9 + 4 + 4 * scale + 4 * center
    model.save(tmp_path / "model.hdf5")
    again = nn.Model.load(tmp_path / "model.hdf5")
    assert (again.layers[1].scale, again.layers[1].center) == (scale, center)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_scale_and_center_are_true_or_false():
    for name in ("scale", "center"):
        with pytest.raises(ValueError, match=rf"\[BatchNorm2D\] '{name}' .* got 'no'"):
            nn.BatchNorm2D(**{name: "no"})
