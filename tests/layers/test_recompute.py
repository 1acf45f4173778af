"""Forward passes that are run again in the backward pass: equal gradients, less memory."""

import copy
import math
import tracemalloc
from functools import partial

import numpy as np
import pytest

import nn
from nn.kernels import memory
from nn.layers.plan import named_layers
from nn.layers.stack import flat

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


def in_segments(parts):
    """Return layers in segments of about the root of their number; the last stay as they are."""
    length = math.ceil(math.sqrt(len(parts)))
    starts = range(0, len(parts) - length, length)
    segments = [nn.Recompute(parts[start : start + length]) for start in starts]
    return [*segments, *parts[len(starts) * length :]]


def make(recompute, parts, seed):
    """Return a model of the layers, in segments or not; the two begin alike."""
    model = nn.Model(parts, seed=seed)
    model.build((None, *parts[0].input_shape))
    if not recompute:
        return model
    segmented = nn.Model(in_segments(parts), seed=seed)
    plain = nn.Model(copy.deepcopy(parts), seed=seed)
    for (_, own), (_, twin) in zip(leaves(segmented), leaves(plain), strict=True):
        own.rng.bit_generator.state = twin.rng.bit_generator.state
    return segmented


def leaves(model):
    """Return the layers, those inside segments in their place, with their names."""
    return [entry for layer in flat(model.layers) for entry in named_layers([layer])]


def arrays(model):
    """Return all parameters and buffers, as if there were no segments."""
    return [
        array
        for _, layer in leaves(model)
        for array in (*layer.params.values(), *layer.buffers.values())
    ]


def trained(recompute, steps=3, **compiled):
    model = make(recompute, layers(), seed=1)
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
    assert len(saving.layers) < len(plain.layers)
    assert losses == again
    assert_same(gradients(plain), gradients(saving))
    for one, two in zip(arrays(plain), arrays(saving), strict=True):
        np.testing.assert_array_equal(one, two)  # running statistics too
    states = [[part.rng.bit_generator.state for _, part in leaves(m)] for m in (plain, saving)]
    assert states[0] == states[1]
    np.testing.assert_array_equal(plain.predict(X), saving.predict(X))


def test_backward_by_hand_returns_the_gradient_for_the_input():
    found = []
    for recompute in (False, True):
        model, _ = trained(recompute, steps=1)
        model.forward(X, training=True)
        grad = np.ones((6, 4), "float32")
        found.append(model.backward(grad))
        with pytest.raises(RuntimeError, match=r"backward\(\) was called .*twice"):
            model.backward(grad)
    np.testing.assert_array_equal(*found)


def test_a_model_no_longer_takes_the_argument():
    with pytest.raises(TypeError, match=r"\[Model\] 'recompute' .*nn\.Recompute"):
        nn.Model(layers(), recompute=True)


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
    assert segment._kept[0] is X
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


def test_each_output_and_gradient_is_reported_once():
    seen = {}
    for recompute in (False, True):
        model, _ = trained(recompute, steps=1)
        seen[recompute] = events = []

        def note(name, layer, array, what, events=events):
            if type(layer) is not nn.Recompute:
                events.append((name.rpartition("_")[2], what, float(np.abs(array).sum())))

        with nn.observe(model, partial(note, what="output"), partial(note, what="gradient")):
            model.train_step(X, Y)
    assert seen[True] == seen[False]
    assert len(seen[True]) == 32  # of 16 layers


def test_a_segment_in_a_file(tmp_path):
    model, _ = trained(True)
    model.save(tmp_path / "model.hdf5")
    loaded = nn.Model.load(tmp_path / "model.hdf5")
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]
    assert model.train_step(X, Y) == loaded.train_step(X, Y)
    assert_same(model.get_arrays(), loaded.get_arrays())


def test_with_averages_accumulation_and_a_nan_the_model_is_as_without():
    plain, _ = trained(False, ema_decay=0.9, gradient_accumulation_steps=2)
    saving, _ = trained(True, ema_decay=0.9, gradient_accumulation_steps=2)
    averages = [list(model.optimizer.averages.values()) for model in (plain, saving)]
    for one, two in zip(*averages, strict=True):
        np.testing.assert_array_equal(one, two)
    messages = []
    for model in (plain, saving):
        flat(model.layers)[-3].params["W"][0, 0] = np.nan
        with pytest.raises(FloatingPointError) as caught:
            model.train_step(X, Y)
        messages.append(str(caught.value))
    assert all("(Dense) has NaN or infinite values in 'W'" in message for message in messages)


def peak_of_a_step(recompute, monkeypatch):
    """Return the most bytes that a step of 50 convolutions takes at a time, and its gradients."""
    parts = [nn.Conv2D(8, 3, input_shape=(8, 32, 32)), nn.ReLU()]
    for _ in range(49):
        parts += [nn.Conv2D(8, 3), nn.ReLU()]
    model = make(recompute, [*parts, nn.GlobalAvgPool2D(), nn.Dense(4)], seed=0)
    model.compile("cce", "sgd", lr=0.01)
    x = np.random.default_rng(0).normal(size=(16, 8, 32, 32)).astype("float32")
    y = np.arange(16) % 4
    model.train_step(x, y)  # what is made once is made now
    monkeypatch.setattr(memory, "_idle", {})  # from now on all memory is asked for anew
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


class Counting(nn.Layer):
    """Multiplies by the number of its batches so far, a buffer that changes with each."""

    def build(self, input_shape):
        self.buffers["batches"] = np.ones(1, dtype=self.dtype)
        super().build(input_shape)

    def forward(self, x, training=False):
        self.factor = self.buffers["batches"].copy()
        if training:
            self.buffers["batches"] += 1
        return x * self.factor

    def backward(self, grad):
        return grad * self.factor


def test_a_buffer_that_changes_has_the_value_of_the_first_pass_in_the_second():
    models = []
    for wrap in (nn.Recompute, nn.Sequential):
        block = wrap([nn.Dense(3), Counting(), nn.Dense(3)])
        model = nn.Model([nn.Dense(4, input_shape=(5,)), block], "mse", "sgd", seed=0)
        models.append(model)
    models[0].set_weights(models[1].get_weights())
    x = np.random.default_rng(1).normal(size=(6, 5))
    for _ in range(3):
        figures = [model.train_step(x, x[:, :3])["loss"] for model in models]
        assert figures[0] == figures[1]
        for one, two in zip(*(model.get_weights() for model in models), strict=True):
            np.testing.assert_array_equal(one, two)
