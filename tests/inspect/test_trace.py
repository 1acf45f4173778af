"""Model.trace: its figures against those worked out by hand, and that it leaves the model alone."""

import copy
import time

import numpy as np
import pytest

import nn
from nn.inspect.trace import measure


def data(n=16):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 2, 8, 8)).astype("float32"), np.arange(n) % 3


def make():
    model = nn.Model(
        [
            nn.Conv2D(4, 3, input_shape=(2, 8, 8)),
            nn.BatchNorm2D(),
            nn.ReLU(),
            nn.Residual([nn.Conv2D(4, 3, activation="relu"), nn.Dropout(0.5)]),
            nn.Flatten(),
            nn.Dense(3),
        ],
        seed=0,
    )
    model.compile("cce", "adam")
    return model


def by_path(model, x, y=None):
    return {row.path: row for row in measure(model, x, y)}


def test_shapes_and_parameters_of_every_layer():
    rows = by_path(make(), *data())
    assert {path: row.shape for path, row in rows.items()} == {
        "0_Conv2D": (16, 4, 8, 8),
        "1_BatchNorm2D": (16, 4, 8, 8),
        "2_ReLU": (16, 4, 8, 8),
        "3_Residual": (16, 4, 8, 8),
        "3_Residual/0_Conv2D": (16, 4, 8, 8),
        "3_Residual/1_Dropout": (16, 4, 8, 8),
        "4_Flatten": (16, 256),
        "5_Dense": (16, 3),
    }
    assert [row.parameters for row in rows.values()] == [76, 8, 0, 0, 148, 0, 0, 771]


def test_layers_that_recompute_are_measured_in_their_first_pass():
    x, _ = data()
    plain = nn.Model([nn.Dense(5, input_shape=(4,)), nn.Tanh(), nn.Dense(3)], seed=0)
    frugal = nn.Model([nn.Recompute(copy.deepcopy(plain.layers[:2])), nn.Dense(3)], seed=0)
    arrays = frugal.get_arrays().values(), plain.get_arrays().values()
    for own, other in zip(*arrays, strict=True):
        own[...] = other
    x = x.reshape(len(x), -1)[:, :4]
    ours, theirs = measure(frugal, x), measure(plain, x)
    assert [row.path for row in ours] == [
        "0_Recompute",
        "0_Recompute/0_Dense",
        "0_Recompute/1_Tanh",
        "1_Dense",
    ]
    for one, two in zip(ours[1:], theirs, strict=True):
        assert (one.shape, one.memory) == (two.shape, two.memory)
        assert one.output_grad_norm == two.output_grad_norm > 0
    assert ours[0].forward_seconds >= ours[1].forward_seconds + ours[2].forward_seconds


def test_gradients_are_those_of_a_training_step():
    x, y = data()
    model = make()
    model.layers[3].layers[1].rate = 0.0  # nothing by chance
    rows = by_path(model, x, y)
    grads = {}
    prediction = model.forward(x, training=True)
    model.loss.forward(prediction, y)
    grad = model.loss.backward()
    for path, layer in reversed(list(zip(rows_of_the_stack(rows), model.layers, strict=True))):
        assert rows[path].output_grad_norm == pytest.approx(np.linalg.norm(grad), rel=1e-5)
        grad = layer.backward(grad)
        grads[path] = [g.ravel() for g in layer.grads.values()]
    inner = [g.ravel() for g in model.layers[3].layers[0].grads.values()]
    for path, arrays in {**grads, "3_Residual/0_Conv2D": inner}.items():
        if arrays:
            expected = pytest.approx(np.linalg.norm(np.concatenate(arrays)), rel=1e-5)
            assert rows[path].weight_grad_norm == expected
        else:
            assert rows[path].weight_grad_norm is None


def rows_of_the_stack(rows):
    return [path for path in rows if "/" not in path]


def test_without_targets_the_gradient_is_that_of_half_the_mean_square():
    x, _ = data()
    model = nn.Model([nn.Flatten(input_shape=(2, 8, 8)), nn.Dense(2)], seed=0)  # not compiled
    y = model.predict(x)
    row = by_path(model, x)["1_Dense"]
    assert row.output_grad_norm == pytest.approx(np.linalg.norm(y / y.size), rel=1e-5)
    with pytest.raises(RuntimeError, match=r"\[trace\] call compile"):
        model.trace(x, np.zeros(16, dtype=int))


def test_times_are_of_the_layer():
    class Slow(nn.Layer):
        def forward(self, x, training=False):
            time.sleep(0.03)
            return x + 0

        def backward(self, grad):
            time.sleep(0.01)
            return grad + 0

    model = nn.Model(
        [nn.Dense(4, input_shape=(3,)), nn.Residual([Slow(), nn.ReLU()]), nn.Dense(2)], seed=0
    )
    runs = [by_path(model, np.ones((5, 3))) for _ in range(3)]  # a busy machine may pause one
    for path in runs[0]:
        forward = min(rows[path].forward_seconds for rows in runs)
        backward = min(rows[path].backward_seconds for rows in runs)
        assert (forward >= 0.03) == (path in ("1_Residual", "1_Residual/0_Slow"))
        assert (backward >= 0.01) == (path in ("1_Residual", "1_Residual/0_Slow"))
        assert min(forward, backward) > 0


def test_memory_counts_each_array_once():
    """Dense keeps its input, which is its maker's; a ReLU keeps a mask; a view costs nothing."""
    x = np.ones((5, 4, 2), dtype="float64")
    layers = [nn.Flatten(input_shape=(4, 2)), nn.Dense(8), nn.Tanh(), nn.Dense(1)]
    rows = by_path(nn.Model(layers, dtype="float64", seed=0), x)
    assert rows["0_Flatten"].memory == 0
    assert rows["1_Dense"].memory == 5 * 8 * 8
    assert rows["2_Tanh"].memory == 5 * 8 * 8  # its output, which it also keeps
    assert rows["3_Dense"].memory == 5 * 1 * 8
    relu = nn.Model([nn.Dense(8, input_shape=(3,)), nn.ReLU()], seed=0)
    row = by_path(relu, np.ones((5, 3)))["1_ReLU"]
    assert 5 * 8 * 4 < row.memory <= 2 * 5 * 8 * 4  # and the mask


def test_memory_of_an_array_that_is_dropped_is_charged_to_its_next_owner_too():
    """A batch norm does not keep the convolution's output, whose memory is used again."""
    layers = [nn.Conv2D(4, 3, input_shape=(2, 8, 8))]
    for _ in range(4):
        layers += [nn.BatchNorm2D(), nn.ReLU(), nn.Conv2D(4, 3)]
    rows = measure(nn.Model(layers, seed=0), data()[0])
    assert [row.memory >= 16 * 4 * 8 * 8 * 4 for row in rows] == [True] * 13


def test_the_model_stays_as_it_was(capsys):
    x, y = data()
    traced, plain = make(), make()
    for model in (traced, plain):
        model.fit(x, y, verbose=0)
    states = [rng.bit_generator.state for rng in traced.generators]
    grads = {k: v.copy() for k, v in traced.layers[0].grads.items()}
    traced.trace(x, y)
    assert [rng.bit_generator.state for rng in traced.generators] == states
    np.testing.assert_equal(traced.layers[0].grads, grads)
    for model in (traced, plain):
        model.fit(x, y, epochs=2, verbose=0)
    for name, array in plain.get_arrays().items():
        np.testing.assert_array_equal(traced.get_arrays()[name], array)
    assert "forward" not in vars(traced.layers[0])


def test_the_table_says_it_all(capsys):
    x, y = data()
    model = make()
    assert model.trace(x, y) is None
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "Layer",
        *("0_Conv2D", "1_BatchNorm2D", "2_ReLU", "3_Residual", "0_Conv2D", "1_Dropout"),
        *("4_Flatten", "5_Dense", "total"),
    ]
    assert lines[5].startswith("  0_Conv2D")
    assert "(16, 4, 8, 8)" in lines[1]
    assert len(max(lines, key=len)) <= 110


def test_a_model_that_is_not_built_and_wrong_data():
    model = nn.Model([nn.Dense(2)], seed=0)
    (row,) = measure(model, np.ones((4, 3)))
    assert (row.shape, row.parameters) == ((4, 2), 8)
    assert not model.built
    with pytest.raises(ValueError, match="expects inputs of shape"):
        make().trace(np.ones((4, 3)))
    with pytest.raises(ValueError, match="'y_true'"):
        make().trace(data()[0], np.full(16, 7))


def test_frozen_layers_below_the_lowest_trained_one_go_without_backward():
    model = nn.Model([nn.Dense(4, input_shape=(3,), trainable=False), nn.Dense(2)], seed=0)
    rows = by_path(model, np.ones((5, 3)))
    assert rows["0_Dense"].backward_seconds == 0 == rows["0_Dense"].output_grad_norm
    assert rows["0_Dense"].weight_grad_norm is None
    assert rows["1_Dense"].weight_grad_norm > 0
