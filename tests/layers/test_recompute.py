"""Forward passes that are run again in the backward pass: equal gradients, less memory."""

import tracemalloc

import numpy as np
import pytest

import nn
from nn.kernels import memory

X = np.random.default_rng(0).normal(size=(6, 3, 8, 8)).astype("float32")
Y = np.arange(6) % 4


def layers():
    """Layers with everything that a second pass could upset: noise, statistics, nesting."""
    return [
        nn.Conv2D(8, 3, input_shape=(3, 8, 8)),
        nn.BatchNorm2D(),
        nn.ReLU(),
        nn.SpatialDropout2D(0.3),
        nn.Residual([nn.Conv2D(8, 3), nn.BatchNorm2D(), nn.Dropout(0.2)]),
        nn.GaussianNoise(0.1),
        nn.Sequential([nn.MaxPool2D(), nn.WeightNorm(nn.Conv2D(4, 3, activation="tanh"))]),
        nn.Flatten(),
        nn.Dense(16, activation="relu"),
        nn.Dropout(0.5),
        nn.Dense(4),
    ]


def trained(recompute, steps=3, **compiled):
    model = nn.Model(layers(), seed=1, recompute=recompute)
    model.compile("cce", "adam", lr=0.01, **compiled)
    losses = [model.train_step(X, Y)["loss"] for _ in range(steps)]
    return model, losses


def gradients(model):
    return {f"{k}": g.copy() for k, (_, g) in enumerate(model.get_params_and_grads())}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def test_training_is_the_same_bit_for_bit():
    plain, losses = trained(False)
    saving, again = trained(True)
    assert len(saving._stack()) < len(plain._stack())
    assert losses == again
    assert_same(gradients(plain), gradients(saving))
    assert_same(plain.get_arrays(), saving.get_arrays())  # running statistics too
    states = [[g.bit_generator.state for g in m.generators] for m in (plain, saving)]
    assert states[0] == states[1]
    np.testing.assert_array_equal(plain.predict(X), saving.predict(X))


def test_backward_by_hand_returns_the_gradient_for_the_input_and_can_be_repeated():
    found = []
    for recompute in (False, True):
        model, _ = trained(recompute, steps=1)
        model.forward(X, training=True)
        grad = np.ones((6, 4), "float32")
        first = model.backward(grad)
        np.testing.assert_array_equal(first, model.backward(grad))
        found.append(first)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("loss", ["cce", "mse"])
@pytest.mark.parametrize("inside", [True, False])
def test_probabilities_at_the_end(inside, loss):
    """The loss reads what the Softmax kept, within a segment too."""
    found = []
    for stack in (nn.Sequential, nn.Recompute):
        last = [nn.Dense(4, activation="softmax")] if inside else [nn.Dense(4), nn.Softmax()]
        model = nn.Model([nn.Flatten(), stack([nn.Dense(4), *last])], seed=2)
        model.compile(loss, "sgd", lr=0.1)
        y = Y if loss == "cce" else np.eye(4, dtype="float32")[Y]
        model.fit(X, y, epochs=2, batch_size=4, verbose=0)
        found.append(model.predict(X))
    np.testing.assert_array_equal(*found)


def test_one_segment_among_other_layers():
    found = []
    for stack in (nn.Sequential, nn.Recompute):
        parts = layers()
        model = nn.Model([parts[0], stack(parts[1:6]), *parts[6:]], seed=2)
        model.compile("cce", "sgd", lr=0.1)
        model.fit(X, Y, epochs=2, batch_size=4, verbose=0)
        found.append(model)
    for first, second in zip(
        found[0].get_arrays().values(), found[1].get_arrays().values(), strict=True
    ):
        np.testing.assert_array_equal(first, second)
    assert len(found[1].layers[1].layers) == 5


def test_a_segment_keeps_nothing_but_its_input():
    segment = nn.Recompute([nn.Conv2D(4, 3), nn.ReLU(), nn.Conv2D(4, 3)])
    y = segment.forward(X, training=True)
    assert all(layer._kept is None for layer in segment.layers)
    assert segment._recall()[0] is X
    segment.backward(np.ones_like(y))
    assert all(layer._kept is None for layer in segment.layers)
    segment.forget()
    with pytest.raises(RuntimeError, match="before forward"):
        segment.backward(np.ones_like(y))


def test_inference_keeps_nothing():
    segment = nn.Recompute([nn.Dense(3), nn.Dropout(0.5)])
    x = np.ones((2, 4), "float32")
    y = segment.forward(x, training=None)
    np.testing.assert_array_equal(y, segment.forward(x, training=False))
    segment.forget()
    segment.forward(x, training=None)
    assert segment._kept is None


def test_frozen_layers_below_are_not_run_again():
    calls = []

    class Spy(nn.Layer):
        def forward(self, x, training=False):
            calls.append(training)
            return x

        def backward(self, grad):
            return grad

    model = nn.Model(
        [nn.Recompute([Spy(input_shape=(3,)), nn.ReLU()]), nn.Recompute([nn.Dense(2), Spy()])]
    )
    model.compile("mse", "sgd", metrics=())
    calls.clear()  # what build() tried
    model.train_step(np.ones((2, 3), "float32"), np.ones((2, 2), "float32"))
    assert calls == [True, True, True]  # each once, and the upper one once more


def test_whoever_watches_sees_each_output_and_gradient_once():
    seen = {}
    for recompute in (False, True):
        model, _ = trained(recompute, steps=1)
        names = {id(layer): path for path, layer in nn.layers.plan.named_layers(model.layers)}
        seen[recompute] = []
        model.watch = lambda array, layer, what, to=seen[recompute], names=names: to.append(
            (names[id(layer)], what, float(np.abs(array).sum()))
        )
        model.train_step(X, Y)
    assert seen[True] == seen[False]


def test_layers_added_and_taken_away_after_training():
    model, _ = trained(True, steps=1)
    model.pop()
    model.add(nn.Dense(4))
    model.train_step(X, Y)
    assert nn.layers.containers.flat(model._stack()) == nn.layers.containers.flat(model.layers)


def test_a_file_says_it(tmp_path):
    model, _ = trained(True)
    model.save(tmp_path / "model.hdf5")
    loaded = nn.Model.load(tmp_path / "model.hdf5")
    assert loaded.recompute
    assert model.train_step(X, Y) == loaded.train_step(X, Y)
    assert_same(model.get_arrays(), loaded.get_arrays())


def test_with_averages_accumulation_and_a_nan_the_model_is_as_without():
    plain, _ = trained(False, ema_decay=0.9, gradient_accumulation_steps=2)
    saving, _ = trained(True, ema_decay=0.9, gradient_accumulation_steps=2)
    assert_same(plain.optimizer.averages, saving.optimizer.averages)
    messages = []
    for model in (plain, saving):
        model.layers[8].params["W"][0, 0] = np.nan
        with pytest.raises(FloatingPointError) as caught:
            model.train_step(X, Y)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def peak_of_a_step(recompute, monkeypatch):
    """Return the most bytes that a step of 50 convolutions takes at a time, and its gradients."""
    parts = [nn.Conv2D(8, 3, input_shape=(8, 32, 32)), nn.ReLU()]
    for _ in range(49):
        parts += [nn.Conv2D(8, 3), nn.ReLU()]
    model = nn.Model([*parts, nn.GlobalAvgPool2D(), nn.Dense(4)], seed=0, recompute=recompute)
    model.compile("cce", "sgd", lr=0.01)
    x = np.random.default_rng(0).normal(size=(16, 8, 32, 32)).astype("float32")
    y = np.arange(16) % 4
    model.train_step(x, y)  # what is made once is made now
    monkeypatch.setattr(memory, "_blocks", [])  # from now on all memory is asked for anew
    monkeypatch.setattr(memory, "_pieces", {})
    tracemalloc.start()
    model.train_step(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, gradients(model)


def test_fifty_convolutions_in_a_third_of_the_memory(monkeypatch):
    plain, grads = peak_of_a_step(False, monkeypatch)
    saving, same = peak_of_a_step(True, monkeypatch)
    print(f"{saving / 1e6:.1f} MB of {plain / 1e6:.1f}")
    assert_same(grads, same)
    assert saving <= plain / 3, f"{saving / 1e6:.1f} MB of {plain / 1e6:.1f}"


def test_the_seed_of_all_is_left_alone():
    """Models that are made later begin as they would without recomputation."""
    found = []
    for recompute in (False, True):
        nn.seed(3)
        model = nn.Model(layers(), recompute=recompute)
        model.compile("cce", "sgd")
        model.train_step(X, Y)
        found.append(nn.Model([nn.Dense(3, input_shape=(2,))]).layers[0].params["W"])
    np.testing.assert_array_equal(*found)
