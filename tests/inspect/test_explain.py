"""Saliency, Grad-CAM and the loss of each sample, against measured slopes and loops."""

import copy

import numpy as np
import pytest

import nn
from nn.inspect import explain
from nn.inspect.gradcheck import numerical_gradient
from nn.layers.plan import named_layers
from nn.layers.stack import forward_through


def image_model(*last, channels=1, seed=0):
    """A small convolutional network in float64, of smooth layers: slopes can be measured."""
    layers = [
        nn.Conv2D(3, 3, input_shape=(channels, 6, 5)),
        nn.BatchNorm2D(),
        nn.Tanh(),
        nn.AvgPool2D(),
        nn.Dropout(0.5),
        nn.Flatten(),
        *(last or [nn.Dense(4)]),
    ]
    model = nn.Model(layers, dtype="float64", seed=seed)
    rng = np.random.default_rng(seed)
    for path, array in model.get_arrays().items():  # away from 0 and from the start of averages
        array[...] = (
            rng.uniform(0.5, 1.5, array.shape) if "var" in path else rng.normal(size=array.shape)
        )
    return model


def images(n=2, channels=1):
    return np.random.default_rng(1).random((n, channels, 6, 5))


def state_of(model):
    """All that a forward or backward pass may change in a model, as it is now."""
    layers = [layer for _, layer in named_layers(model.layers)]
    grads = [{k: v.copy() for k, v in layer.grads.items()} for layer in layers]
    return copy.deepcopy(
        {
            "arrays": model.get_arrays(),
            "grads": grads,
            "kept": [layer._kept for layer in layers],
            "own": [sorted(vars(layer)) for layer in layers],
            "trainable": [layer.trainable for layer in layers],
            "generators": [g.bit_generator.state for g in model.generators],
            "history": dict(model.history),
            "loss": {} if model.loss is None else vars(model.loss) | {"owner": None},
            "steps": getattr(model.optimizer, "iterations", None),
        }
    )


def assert_same(one, two):
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_same(one[key], two[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_same(a, b)
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, two)
    elif not isinstance(one, nn.Layer):
        assert one == two


def trained(model, classes=4):
    """The model after two batches, so that it has gradients, buffers and an optimizer's state."""
    model.compile("cce", "adam")
    for _ in range(2):
        model.train_step(images(8, model.input_shape[1]), np.arange(8) % classes)
    return model


# -------------------------------------------------------------------------------- saliency


@pytest.mark.parametrize("channels", [1, 3])
def test_saliency_is_the_measured_slope_and_the_largest_over_the_channels(channels):
    model, x = image_model(channels=channels), images(2, channels)
    found = explain.saliency_map(model, x, class_index=2)
    for row in range(2):
        one = x[row : row + 1].copy()
        slope = numerical_gradient(lambda one=one: float(model.forward(one)[0, 2]), one)
        expected = np.abs(slope[0]).max(axis=0)
        np.testing.assert_allclose(found[row], expected, rtol=1e-6, atol=1e-9)
    assert found.shape == (2, 6, 5)


def test_the_class_may_be_each_samples_own_or_the_decided_one():
    model, x = image_model(), images(5)
    each = np.array([3, 0, 1, 1, 2])
    both = explain.saliency_map(model, x, each)
    for row, k in enumerate(each):
        one = explain.saliency_map(model, x[row : row + 1], k)[0]
        np.testing.assert_allclose(both[row], one, rtol=1e-12)
    decided = explain.saliency_map(model, x)
    np.testing.assert_array_equal(decided, explain.saliency_map(model, x, model.predict_classes(x)))


@pytest.mark.parametrize(
    "last",
    [
        lambda: [nn.Dense(4), nn.Softmax()],
        lambda: [nn.Dense(4, activation="softmax")],
        lambda: [nn.Dense(4), nn.Activation("softmax")],
        lambda: [nn.Sequential([nn.Dense(4), nn.Softmax()])],
        lambda: [nn.Dense(4), nn.Sigmoid()],
        lambda: [nn.WeightNorm(nn.Dense(4, activation="softmax"))],
    ],
)
def test_a_softmax_at_the_end_is_left_out(last):
    """The slopes are those of the logits: of the same network without it."""
    model, x = image_model(*last()), images()
    plain = image_model(nn.Dense(4))
    model.forward(x)  # a WeightNorm makes its kernel
    dense = next(
        part
        for _, layer in named_layers(model.layers)
        for part in (layer, getattr(layer, "layer", None))
        if isinstance(part, nn.Dense)
    )
    for own, other in zip(plain.layers[:5], model.layers[:5], strict=True):
        for arrays, theirs in ((own.params, other.params), (own.buffers, other.buffers)):
            for key in arrays:
                arrays[key][...] = theirs[key]
    plain.layers[-1].params["W"][...] = dense.params["W"]
    plain.layers[-1].params["b"][...] = dense.params["b"]
    np.testing.assert_allclose(
        explain.saliency_map(model, x, 1), explain.saliency_map(plain, x, 1), rtol=1e-9
    )
    np.testing.assert_allclose(
        explain.grad_cam_map(model, x), explain.grad_cam_map(plain, x), rtol=1e-9
    )


def test_a_single_output_speaks_for_class_1_and_against_class_0():
    model, x = image_model(nn.Dense(1), nn.Sigmoid()), images()
    model.layers[-2].params["b"] -= explain.layer_output(model, x, -2).mean()  # one of each
    np.testing.assert_array_equal(
        explain.saliency_map(model, x, 0), explain.saliency_map(model, x, 1)
    )
    yes, no = explain.grad_cam_map(model, x, 1), explain.grad_cam_map(model, x, 0)
    assert yes.any() and no.any()
    assert not (yes * no).any()  # what speaks for one does not speak for the other
    decided = model.predict_classes(x)
    assert set(decided) == {0, 1}
    by_class = np.where(decided[:, None, None] == 1, yes, no)
    np.testing.assert_array_equal(explain.grad_cam_map(model, x), by_class)


def test_saliency_of_vectors_keeps_their_shape():
    model = nn.Model([nn.Dense(3, input_shape=(4,))], seed=0)
    x = np.ones((2, 4), dtype="float32")
    expected = np.tile(np.abs(model.layers[0].params["W"][:, 1]), (2, 1))
    np.testing.assert_array_equal(explain.saliency_map(model, x, 1), expected)


def test_bytes_count_as_images():
    model = nn.zoo.small_cnn(seed=0)
    x = np.random.default_rng(0).integers(0, 256, (2, 1, 28, 28), dtype=np.uint8)
    as_floats = x.astype("float32") / 255
    np.testing.assert_allclose(
        explain.saliency_map(model, x, 3), explain.saliency_map(model, as_floats, 3), rtol=1e-6
    )


# -------------------------------------------------------------------------------- Grad-CAM


def cam_by_measurement(model, x, layer, class_index):
    """Equations 1 and 2, with slopes measured above the layer, map by map and place by place."""
    maps, _ = forward_through(model.layers[: layer + 1], x, False)
    found = np.zeros((len(x), *maps.shape[2:]))
    for n in range(len(x)):
        own = maps[n : n + 1].copy()
        above = model.layers[layer + 1 :]
        slope = numerical_gradient(
            lambda own=own, above=above: float(
                forward_through(above, own, False)[0][0, class_index]
            ),
            own,
        )
        for k in range(maps.shape[1]):
            alpha = slope[0, k].sum() / slope[0, k].size
            for i, j in np.ndindex(maps.shape[2:]):
                found[n, i, j] += alpha * maps[n, k, i, j]
    return np.where(found > 0, found, 0)


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_grad_cam_is_its_two_equations(layer):
    model, x = image_model(), images(3)
    found = explain.grad_cam_map(model, x, 1, layer)
    expected = cam_by_measurement(model, x, layer, 1)
    assert expected.any()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_grad_cam_takes_the_last_convolution_with_what_keeps_its_shape():
    model, x = image_model(), images()
    np.testing.assert_array_equal(
        explain.grad_cam_map(model, x), explain.grad_cam_map(model, x, layer=2)
    )
    assert explain.grad_cam_map(model, x).shape == (2, 6, 5)
    stack = [nn.Conv2D(3), nn.Residual([nn.Conv2D(3), nn.Tanh()]), nn.ReLU()]
    resnet = nn.Model([*stack, nn.GlobalAvgPool2D(), nn.Dense(2)], seed=0)
    resnet.build((None, 1, 6, 5))
    np.testing.assert_array_equal(
        explain.grad_cam_map(resnet, x, 0), explain.grad_cam_map(resnet, x, 0, "2_ReLU")
    )


def test_grad_cam_looks_into_blocks():
    block = nn.Residual([nn.Conv2D(4), nn.Tanh(), nn.Conv2D(4)])
    model = nn.Model([block, nn.GlobalAvgPool2D(), nn.Dense(2)], dtype="float64", seed=0)
    x = np.random.default_rng(0).random((2, 3, 6, 6))
    unbuilt = explain.grad_cam_map(model, x)
    assert not model.built and unbuilt.shape == (2, 6, 6)
    model.build((None, 3, 6, 6))
    inner = model.layers[0].main[0]
    by_path = explain.grad_cam_map(model, x, 1, "0_Residual/0_Conv2D")
    np.testing.assert_array_equal(explain.grad_cam_map(model, x, 1, inner), by_path)
    assert not np.array_equal(by_path, explain.grad_cam_map(model, x, 1))


def test_grad_cam_refuses_what_has_no_maps():
    with pytest.raises(ValueError, match=r"^\[grad_cam_map\] needs a model with a convolution"):
        explain.grad_cam_map(nn.zoo.mlp(seed=0), np.ones((1, 1, 28, 28)))
    model = image_model()
    with pytest.raises(ValueError, match=r"'layer'.*\(2, 18\)"):
        explain.grad_cam_map(model, images(), layer="5_Flatten")
    with pytest.raises(ValueError, match=r"\[grad_cam_map\] 'layer'.* did you mean '0_Conv2D'"):
        explain.grad_cam_map(model, images(), layer="0_Conv")


@pytest.mark.parametrize("function", [explain.saliency_map, explain.grad_cam_map])
def test_wrong_classes_and_inputs_are_errors(function):
    model, x = image_model(), images()
    name = function.__name__
    for wrong in (4, -1, [0, 4]):
        with pytest.raises(ValueError, match=rf"^\[{name}\] 'class_index'.*0\.\.3"):
            function(model, x, wrong)
    for wrong in (1.0, [0, 1, 2], "cat", True):
        rule = rf"^\[{name}\] 'class_index' must be an integer, or one for each of 2 samples"
        with pytest.raises(ValueError, match=rule):
            function(model, x, wrong)
    with pytest.raises(ValueError, match=r"expects inputs of shape \(None, 1, 6, 5\)"):
        function(model, x[:, 0])
    with pytest.raises(ValueError, match="finite"):
        function(model, np.full((1, 1, 6, 5), np.nan))
    maps_out = nn.Model([nn.Conv2D(2, input_shape=(1, 6, 5))], seed=0)
    with pytest.raises(ValueError, match=r"needs a model with outputs \(N, classes\), got"):
        function(maps_out, x)


# --------------------------------------------------------- outputs, losses, weights' gradients


def test_layer_output_is_that_of_the_forward_pass():
    model, x = image_model(), images(3)
    out = x
    for index, layer in enumerate(model.layers):
        out = layer.forward(out)
        np.testing.assert_array_equal(explain.layer_output(model, x, index), out)
    np.testing.assert_array_equal(explain.layer_output(model, x, -1), out)
    np.testing.assert_array_equal(explain.layer_output(model, x, model.layers[-1]), out)


def test_layers_are_found_at_any_depth():
    inner = nn.Dense(4, name="inner")
    model = nn.Model([nn.Dense(4, input_shape=(3,)), nn.Residual([inner, nn.ReLU()])], seed=0)
    for key in (inner, "inner", "1_Residual/0_Dense"):
        assert explain.find_layer(model, key) is inner
    assert explain.find_layer(model, -1) is model.layers[1]
    with pytest.raises(ValueError, match=r"'layer'.*2.*got 2"):
        explain.find_layer(model, 2)
    with pytest.raises(ValueError, match=r"'layer'"):
        explain.find_layer(model, nn.ReLU())
    with pytest.raises(ValueError, match=r"did you mean 'inner'"):
        explain.find_layer(model, "iner")
    with pytest.raises(ValueError, match=r"'layer'"):
        explain.find_layer(model, ["inner"])


@pytest.mark.parametrize(
    ("last", "loss", "y"),
    [
        (lambda: [nn.Dense(4)], "cce", np.arange(10) % 4),
        (lambda: [nn.Dense(4), nn.Softmax()], "cce", np.arange(10) % 4),
        (lambda: [nn.Dense(4)], "hinge", np.arange(10) % 4),
        (lambda: [nn.Dense(1, activation="sigmoid")], "bce", np.arange(10) % 2),
        (lambda: [nn.Dense(3)], "mae", np.random.default_rng(0).normal(size=(10, 3))),
    ],
)
def test_sample_losses_are_those_of_evaluate_one_by_one(last, loss, y):
    model, x = image_model(*last()), images(10)
    model.compile(loss, metrics=())
    one_by_one = [model.evaluate(x[k : k + 1], y[k : k + 1])["loss"] for k in range(10)]
    np.testing.assert_allclose(explain.sample_losses(model, x, y), one_by_one, rtol=1e-9)
    np.testing.assert_allclose(explain.sample_losses(model, x, y, 3), one_by_one, rtol=1e-9)


def test_sample_losses_of_a_loss_that_knows_no_weights():
    class Cube:
        def forward(self, y_pred, y_true):
            return float((abs(y_pred - y_true) ** 3).mean())

        def backward(self):
            raise NotImplementedError

    model = nn.Model([nn.Dense(2, input_shape=(3,))], seed=0)
    model.compile(Cube())
    x, y = np.eye(3), np.ones((3, 2))
    expected = (abs(model.predict(x) - y) ** 3).mean(axis=1)
    np.testing.assert_allclose(explain.sample_losses(model, x, y), expected, rtol=1e-6)


def test_weight_gradients_leave_out_what_is_not_trained():
    layers = [
        nn.Conv2D(2, trainable=("b",), input_shape=(1, 4, 4)),
        nn.Sequential([nn.Conv2D(2)], trainable=False),
        nn.Residual([nn.Conv2D(2, use_bias=False)]),
        nn.GlobalAvgPool2D(),
        nn.Dense(2, use_bias=False),
    ]
    model = nn.Model(layers, seed=0)
    model.compile("cce")
    found = explain.weight_gradients(model, np.ones((2, 1, 4, 4)), [0, 1])
    assert {*found} == {"0_Conv2D_b", "2_Residual/0_Conv2D_W", "4_Dense_W"}
    assert {*found} == {*model.trained_names}


def test_weight_gradients_are_those_of_a_step():
    model, x, y = image_model(), images(6), np.arange(6) % 4
    model.layers[1].trainable = False
    model.compile("cce", "sgd")
    found = explain.weight_gradients(model, x, y)
    model.train_step(x, y)
    own = {
        f"{path}_{key}": grad
        for path, layer in named_layers(model.layers)
        for key, grad in layer.grads.items()
    }
    assert set(found) == set(own) == {"0_Conv2D_W", "0_Conv2D_b", "6_Dense_W", "6_Dense_b"}
    for name, grad in own.items():
        if grad.ndim > 1:  # dropout draws the same mask: the copy's generator stands as it stood
            np.testing.assert_allclose(found[name], grad, rtol=1e-12)


def test_what_needs_a_loss_says_so():
    model, x = image_model(), images()
    for function in (explain.sample_losses, explain.weight_gradients):
        rule = rf"^\[{function.__name__}\] call compile\(loss, optimizer\) before"
        with pytest.raises(RuntimeError, match=rule):
            function(model, x, [0, 1])


@pytest.mark.parametrize(
    "look",
    [
        lambda model, x: explain.saliency_map(model, x),
        lambda model, x: explain.grad_cam_map(model, x),
        lambda model, x: explain.layer_output(model, x, 2),
        lambda model, x: explain.sample_losses(model, x, np.array([0, 1])),
        lambda model, x: explain.weight_gradients(model, x, np.array([0, 1])),
    ],
    ids=["saliency", "grad_cam", "layer_output", "sample_losses", "weight_gradients"],
)
def test_the_model_is_left_bit_for_bit_as_it_was(look):
    model, x = trained(image_model()), images()
    given = x.copy()
    before = state_of(model)
    look(model, x)
    assert_same(state_of(model), before)
    np.testing.assert_array_equal(x, given)
    twin = trained(image_model())
    y = np.array([0, 1])
    assert model.train_step(x, y) == twin.train_step(x, y)  # and it trains on as if nothing was


@pytest.mark.gpu
def test_both_devices_agree():
    on_cpu, on_gpu = trained(image_model()), trained(image_model()).to_gpu()
    x, y = images(), np.array([2, 0])
    for look in (
        lambda model: explain.saliency_map(model, x, y),
        lambda model: explain.grad_cam_map(model, x),
        lambda model: explain.layer_output(model, x, 1),
        lambda model: explain.sample_losses(model, x, y),
        lambda model: explain.weight_gradients(model, x, y)["0_Conv2D_W"].shape,
    ):
        found = look(on_gpu)
        assert isinstance(found, np.ndarray | tuple)
        np.testing.assert_allclose(found, look(on_cpu), rtol=1e-9, atol=1e-12)
