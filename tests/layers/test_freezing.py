"""Single parameters that are frozen, and factors of the learning rate for kinds of them."""

import json

import numpy as np
import pytest

import nn
from nn.inspect.gradcheck import check_gradients


def network(**arguments):
    layers = [
        nn.Conv2D(4, 2, input_shape=(3, 6, 6), **arguments),
        nn.BatchNorm2D(),
        nn.GELU(),
        nn.GlobalAvgPool2D(),
        nn.Dense(2),
    ]
    model = nn.Model(layers, seed=0)
    model.compile("cce", nn.optim.SGD(lr=0.1, momentum=0.9, nesterov=True))
    return model


def data(rng):
    return rng.random((24, 3, 6, 6), dtype="float32"), rng.integers(0, 2, 24)


def test_a_kernel_stays_while_its_bias_is_trained(rng, tmp_path):
    model = network(trainable=("b",))
    kernel, bias = (model.layers[0].params[key].copy() for key in "Wb")
    model.fit(*data(rng), epochs=2, batch_size=8, verbose=0)
    np.testing.assert_array_equal(model.layers[0].params["W"], kernel)
    assert (model.layers[0].params["b"] != bias).any()
    assert model.trained_names[0] == "0_Conv2D_b"
    assert "W" not in model.layers[0].grads  # whose gradient is not computed
    trained = model.count_params() - kernel.size
    assert f"{trained} of them trainable" in model.summary()
    model.save(tmp_path / "model.npz")
    assert nn.Model.load(tmp_path / "model.npz").layers[0].trainable == ("b",)


def test_a_layer_with_frozen_parameters_resumes_exactly(rng, tmp_path):
    x, y = data(rng)
    settings = {"epochs": 4, "batch_size": 8, "verbose": 0}
    whole, half, rest = (network(trainable=["b"], lr_factor={"b": 8.0}) for _ in range(3))
    whole.fit(x, y, **settings)
    half.fit(x, y, **{**settings, "epochs": 2})
    half.save(tmp_path / "half.npz")
    rest.fit(x, y, resume=tmp_path / "half.npz", **settings)
    for name, array in whole.get_arrays().items():
        np.testing.assert_array_equal(rest.get_arrays()[name], array)


def test_gradients_of_what_is_trained_are_right(rng):
    layer = nn.Conv2D(2, 2, trainable=("b",))
    worst = check_gradients(layer, rng.normal(size=(2, 2, 3, 3)))
    assert max(worst.values()) < 1e-6
    assert sorted(worst) == ["b", "x"]


def test_factors_by_the_names_of_parameters_multiply_the_update():
    models = []
    for factor in (1.0, {"b": 64.0}):
        model = nn.Model([nn.Dense(2, input_shape=(3,), lr_factor=factor)], seed=0)
        model.compile("mse", "sgd", lr=0.001)
        start = {key: array.copy() for key, array in model.layers[0].params.items()}
        model.train_step(np.ones((4, 3), "float32"), np.ones((4, 2), "float32"))
        models.append({k: model.layers[0].params[k] - start[k] for k in start})
    np.testing.assert_array_equal(models[1]["W"], models[0]["W"])
    np.testing.assert_allclose(models[1]["b"], 64 * models[0]["b"], rtol=1e-4)


def test_the_factors_of_a_container_are_for_all_layers_inside():
    inside = [nn.Dense(2, lr_factor=0.5), nn.BatchNorm(lr_factor={"gamma": 3.0})]
    model = nn.Model([nn.Sequential(inside, input_shape=(2,), lr_factor={"b": 4.0, "beta": 10.0})])
    plan = model._plan()
    assert dict(zip(plan.names, plan.factors, strict=True)) == {
        "0_Sequential/0_Dense_W": 0.5,
        "0_Sequential/0_Dense_b": 2.0,
        "0_Sequential/1_BatchNorm_gamma": 3.0,
        "0_Sequential/1_BatchNorm_beta": 10.0,
    }
    again = nn.layers.layer_from_config(json.loads(json.dumps(model.layers[0].to_config())))
    assert again.lr_factor == {"b": 4.0, "beta": 10.0}
    assert again.layers[1].lr_factor == {"gamma": 3.0}


def test_a_partly_frozen_batch_norm_uses_the_batch(rng):
    layer = nn.BatchNorm(trainable=("beta",))
    y = layer.forward(rng.normal(3.0, size=(50, 2)).astype("float32"), training=True)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-5)


def test_a_parameter_that_the_layer_does_not_have_is_an_error():
    for wrong in ({"trainable": ("bias",)}, {"lr_factor": {"bias": 2.0}}):
        name = next(iter(wrong))
        model = nn.Model([nn.Dense(2, input_shape=(3,), **wrong)])
        with pytest.raises(ValueError, match=rf"\[Dense\] '{name}' must be .*got 'bias'"):
            model.compile("mse")
            model.train_step(np.ones((4, 3)), np.ones((4, 2)))


@pytest.mark.parametrize("wrong", ["b", (), (1,), 2, None])
def test_other_values_of_trainable_are_errors(wrong):
    with pytest.raises(ValueError, match=r"\[Dense\] 'trainable'"):
        nn.Dense(2, trainable=wrong)
    with pytest.raises(ValueError, match=r"\[Dense\] 'lr_factor\['b'\]' .* got 0"):
        nn.Dense(2, lr_factor={"b": 0})


def test_a_container_is_frozen_as_a_whole():
    part = nn.Sequential([nn.Dense(2)])
    with pytest.raises(ValueError, match=r"\[Sequential\] 'trainable' .* got \('b',\)"):
        part.trainable = ("b",)
    part.layers[0].trainable = ("b",)
    assert part.trainable is True
