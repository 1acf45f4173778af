"""`observe`: what it reports, when, and what it leaves alone."""

import threading

import numpy as np
import pytest

import nn
from nn.layers.observe import active_observers
from nn.layers.plan import named_layers


def make():
    layers = [
        nn.Conv2D(4, 3, input_shape=(2, 6, 6)),
        nn.BatchNorm2D(),
        nn.Residual([nn.Sequential([nn.ReLU(), nn.Conv2D(4, 3)])]),
        nn.Flatten(),
        nn.Dense(3),
    ]
    model = nn.Model(layers, seed=0)
    model.compile("cce", "sgd", lr=0.1)
    return model


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(6, 2, 6, 6)).astype("float32"), np.arange(6) % 3


ORDER = [
    "0_Conv2D",
    "1_BatchNorm2D",
    "2_Residual/0_Sequential/0_ReLU",
    "2_Residual/0_Sequential/1_Conv2D",
    "2_Residual/0_Sequential",
    "2_Residual",
    "3_Flatten",
    "4_Dense",
]


def test_every_layer_is_reported_in_order_with_its_output_and_its_gradient():
    model, (x, y) = make(), data()
    outputs, gradients = {}, {}

    def on_output(name, layer, array):
        assert dict(named_layers(model.layers))[name] is layer
        outputs[name] = array.copy()

    def on_gradient(name, layer, array):
        assert set(layer.grads) == set(layer.params)  # backward has filled them
        gradients[name] = array.copy()

    with nn.observe(model, on_output, on_gradient):
        model.train_step(x, y)
    assert list(outputs) == ORDER
    assert sorted(gradients) == sorted(ORDER)
    assert list(gradients)[:2] == ["4_Dense", "3_Flatten"]
    assert list(gradients)[-1] == "0_Conv2D"
    for name in ORDER:
        assert gradients[name].shape == outputs[name].shape
    np.testing.assert_array_equal(outputs["2_Residual"].reshape(6, -1), outputs["3_Flatten"])


@pytest.mark.parametrize("call", ["forward", "predict", "evaluate"])
def test_inference_is_reported_too_with_the_same_result(call):
    model, (x, y) = make(), data()
    model.fit(x, y, verbose=0)
    run = {
        "forward": lambda: model.forward(x),
        "predict": lambda: model.predict(x),
        "evaluate": lambda: model.evaluate(x, y)["loss"],
    }[call]
    plain, names = run(), []
    with nn.observe(model, on_output=lambda name, layer, y: names.append(name)):
        observed = run()
    np.testing.assert_allclose(observed, plain, rtol=1e-5, atol=1e-6)
    assert names == ORDER


def test_training_is_the_same_bit_for_bit():
    x, y = data()
    plain, observed = make(), make()
    plain.fit(x, y, epochs=2, verbose=0)
    with nn.observe(observed, on_output=lambda *_: None, on_gradient=lambda *_: None):
        observed.fit(x, y, epochs=2, verbose=0)
    for one, two in zip(plain.get_weights(), observed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_nothing_is_reported_of_other_models_and_after_the_block():
    model, other, (x, _) = make(), make(), data()
    seen = []
    with pytest.raises(ZeroDivisionError), nn.observe(model, lambda name, *_: seen.append(name)):
        other.forward(x)
        assert seen == []
        raise ZeroDivisionError
    model.forward(x)
    assert seen == []
    assert active_observers.get() == ()


def test_two_observers_and_one_that_ends_first():
    model, (x, _) = make(), data()
    first, second = [], []
    outer = nn.observe(model, lambda name, *_: first.append(name))
    inner = nn.observe(model, lambda name, *_: second.append(name))
    outer.__enter__()
    inner.__enter__()
    model.forward(x)
    outer.__exit__(None, None, None)
    model.forward(x)
    inner.__exit__(None, None, None)
    assert (first, second) == (ORDER, ORDER * 2)


def test_a_layer_that_is_added_meanwhile_and_a_container_by_itself():
    model, (x, _) = make(), data()
    names = []
    with nn.observe(model, lambda name, *_: names.append(name)):
        model.add(nn.Softmax())
        model.forward(x)
    assert names == [*ORDER, "5_Softmax"]
    block = nn.Sequential([nn.Dense(2), nn.Tanh()])
    names.clear()
    with nn.observe(block, lambda name, *_: names.append(name)):
        block.forward(np.ones((1, 3)))
    assert names == ["0_Dense", "1_Tanh"]


def test_another_thread_is_not_observed():
    model, (x, _) = make(), data()
    model.predict(x)
    names = []
    with nn.observe(model, lambda name, *_: names.append(name)):
        thread = threading.Thread(target=model.predict, args=(x,))
        thread.start()
        thread.join()
    assert names == []
