"""Convolution and pooling of sequences: against loops, by hand, masked, and in whole trainings."""

import itertools

import numpy as np
import pytest
from conftest import built

import nn
from nn import naive
from nn.inspect import gradcheck
from nn.layers.conv1d import resolve_padding

CASES = list(itertools.product(("same", "valid", "causal", 3), (1, 2, 3), (1, 2), (1, 2)))


def layer_of(padding, stride, dilation, groups, dtype="float64"):
    layer = nn.Conv1D(6, 3, stride, padding, dilation, groups)
    built(layer, (11, 4), dtype=dtype)
    layer.params["b"][...] = np.random.default_rng(5).normal(size=6)
    return layer


def row(x):
    """Sequences as images of one row, copied, for the loops."""
    return np.ascontiguousarray(x.transpose(0, 2, 1))[:, :, np.newaxis]


@pytest.mark.parametrize(("padding", "stride", "dilation", "groups"), CASES)
def test_outputs_and_gradients_are_those_of_the_loops(padding, stride, dilation, groups, rng):
    layer = layer_of(padding, stride, dilation, groups)
    for steps in (11, 6):
        x = rng.normal(size=(2, steps, 4))
        around = resolve_padding(padding, steps, 3, stride, dilation)
        geometry = (1, stride), around, (1, dilation), groups
        w = layer.params["W"][:, :, np.newaxis]
        y = layer.forward(x, training=True)
        expected = naive.conv2d_naive(row(x), w, layer.params["b"], *geometry)[:, :, 0]
        np.testing.assert_allclose(y, expected.transpose(0, 2, 1), rtol=1e-11, atol=1e-12)
        grad = rng.normal(size=y.shape)
        dx = layer.backward(grad)
        given, *params = naive.conv2d_backward_naive(row(grad), row(x), w, *geometry)
        np.testing.assert_allclose(dx, given[:, :, 0].transpose(0, 2, 1), rtol=1e-11, atol=1e-12)
        for key, found in zip(("W", "b"), params, strict=True):
            found = found.reshape(layer.params[key].shape)
            np.testing.assert_allclose(layer.grads[key], found, rtol=1e-11, atol=1e-12)


def test_a_causal_convolution_sees_no_later_step(rng):
    layer = layer_of("causal", 1, 2, 1)
    x = rng.normal(size=(2, 11, 4))
    y = layer.forward(x)
    x[:, 7:] += 1
    later = layer.forward(x)
    np.testing.assert_array_equal(later[:, :7], y[:, :7])
    assert (later[:, 7:] != y[:, 7:]).all()
    assert layer.forward(x[:, :2]).shape == (2, 2, 6)  # shorter than the kernel


@pytest.mark.parametrize("padding", ["same", "valid", "causal", 1])
def test_float32_and_any_strides(padding, rng):
    x = rng.normal(size=(3, 11, 4))
    layer, single = layer_of(padding, 1, 1, 1), layer_of(padding, 1, 1, 1, "float32")
    for key, array in layer.params.items():
        single.params[key][...] = array
    y, narrow = layer.forward(x, training=True), single.forward(x.astype("float32"), training=True)
    grad = rng.normal(size=y.shape)
    dx, narrow_dx = layer.backward(grad), single.backward(grad.astype("float32"))
    assert narrow.dtype == narrow_dx.dtype == "float32"
    assert max(np.abs(narrow - y).max(), np.abs(narrow_dx - dx).max()) <= 1e-4
    layer.forward(np.asfortranarray(x), training=True)
    strided = np.repeat(grad, 2, axis=-1)[..., ::2]
    np.testing.assert_allclose(layer.backward(strided), dx, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("padding", ["valid", "same", 1])
@pytest.mark.parametrize("stride", [None, 1, 3])
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pooling_is_that_of_the_loops(kind, stride, padding, rng):
    cls = {"max": nn.MaxPool1D, "avg": nn.AvgPool1D}[kind]
    layer = built(cls(2, stride, padding), (9, 3))
    for steps in (9, 6):
        x = rng.normal(size=(2, steps, 3))
        around = resolve_padding(padding, steps, 2, layer.stride)
        geometry = (1, 2), (1, layer.stride), around
        y = layer.forward(x, training=True)
        expected = getattr(naive, f"{kind}_pool2d_naive")(row(x), *geometry)
        expected = (expected[0] if kind == "max" else expected)[:, :, 0]
        np.testing.assert_allclose(y, expected.transpose(0, 2, 1), rtol=1e-12)
        if steps == 9:
            assert layer.output_shape == (None, *y.shape[1:])
    errors = gradcheck.check_gradients(layer, rng.normal(size=(2, 9, 3)))
    assert max(errors.values()) <= 1e-6


@pytest.mark.parametrize("cls", [nn.GlobalAvgPool1D, nn.GlobalMaxPool1D])
@pytest.mark.parametrize("mask", [None, np.zeros((2, 0), bool)], ids=["no mask", "mask"])
def test_sequences_without_any_steps_give_zeros(cls, mask):
    layer = cls()
    assert layer.forward(np.ones((2, 0, 3)), True, mask=mask).tolist() == [[0.0] * 3] * 2
    assert layer.backward(np.ones((2, 3))).shape == (2, 0, 3)


@pytest.mark.parametrize("cls", [nn.GlobalAvgPool1D, nn.GlobalMaxPool1D])
def test_masked_steps_are_as_if_they_were_not_there(cls, rng):
    layer = built(cls(), (6, 3))
    x, lengths = rng.normal(size=(4, 6, 3)), (6, 3, 1, 0)
    mask = np.arange(6) < np.array(lengths)[:, np.newaxis]
    y = layer.forward(x, training=True, mask=mask)
    dx = layer.backward(np.ones((4, 3)))
    for k, count in enumerate(lengths):
        if count:
            np.testing.assert_allclose(y[k : k + 1], layer.forward(x[k : k + 1, :count]))
        else:
            np.testing.assert_array_equal(y[k], 0)
        np.testing.assert_allclose(dx[k].sum(axis=0), min(count, 1))
        np.testing.assert_array_equal(dx[k, count:], 0)
    assert (y.dtype, dx.dtype) == ("float64", "float64")
    single = layer.forward(x.astype("float32"), training=True, mask=mask)
    assert single.dtype == layer.backward(single).dtype == "float32"


def test_a_mean_of_many_steps_keeps_its_digits():
    x = np.full((1, 100_000, 1), 0.1, "float32")
    np.testing.assert_allclose(nn.GlobalAvgPool1D().forward(x), [[0.1]], rtol=1e-6)


def test_residual_blocks_of_sequences(rng):
    x = rng.normal(size=(2, 8, 3))
    block = built(nn.Residual(nn.Conv1D(5, 3)), (8, 3))
    assert block.shortcut[0].params["W"].shape == (3, 5)
    expected = block.main[0].forward(x) + x @ block.shortcut[0].params["W"]
    np.testing.assert_allclose(block.forward(x), expected, rtol=1e-12)
    halved = built(nn.Residual(nn.Conv1D(5, 3, stride=2)), (8, 3))
    assert halved.shortcut[0].params["W"].shape == (5, 3, 1)
    for layer in (block, halved):
        assert max(gradcheck.check_gradients(layer, x).values()) <= 1e-6
    assert built(nn.Residual(nn.Conv1D(3, 3)), (8, 3)).shortcut == ()


def test_a_temporal_network_trains_saves_and_loads(tmp_path, rng):
    x = rng.normal(size=(120, 12, 2)).astype("float32")
    y = (np.abs(np.diff(x[:, :, 0], axis=1)).max(axis=1) > 2.5).astype(int)
    layers = [
        nn.Conv1D(16, 2, activation="relu", padding="valid", input_shape=(12, 2)),
        nn.WeightNorm(nn.Conv1D(8, 1, activation="relu")),
        nn.GlobalMaxPool1D(),
        nn.Dense(2),
    ]
    model = nn.Model(layers, seed=0)
    model.compile("cce", "adam", lr=0.02)
    assert model.fit(x, y, epochs=60, verbose=0)["acc"][-1] >= 0.95
    model.save(tmp_path / "model.hdf5")
    np.testing.assert_array_equal(
        nn.Model.load(tmp_path / "model.hdf5").predict(x), model.predict(x)
    )


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.Conv1D(2, 5, padding="valid"), (4, 3), r"^\[Conv1D\] 'kernel_size' must not be longer"),
        (nn.Conv1D(2, 2, groups=2), (4, 3), r"^\[Conv1D\] 'groups' must divide the 3 input feat"),
        (nn.Conv1D(2, 2), (3, 4, 4), r"^\[Conv1D\] expects 3-D input, got \(None, 3, 4, 4\)"),
        (nn.MaxPool1D(5), (4, 3), r"^\[MaxPool1D\] 'pool_size' must not be longer"),
        (nn.GlobalAvgPool1D(), (3,), r"^\[GlobalAvgPool1D\] expects 3-D input"),
    ],
)
def test_inputs_that_do_not_fit(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.build((None, *shape))


def test_a_sequence_that_is_too_short_for_a_built_layer(rng):
    layer = built(nn.Conv1D(2, 5, padding="valid"), (9, 3))
    layer.forward(rng.normal(size=(2, 5, 3)))
    with pytest.raises(ValueError, match=r"^\[Conv1D\] 'kernel_size' must not be longer"):
        layer.forward(rng.normal(size=(2, 4, 3)))
    with pytest.raises(ValueError, match=r"built for inputs of shape"):
        layer.forward(rng.normal(size=(2, 5, 4)))


def test_any_number_of_steps():
    layer = nn.Conv1D(2, 3)
    layer.build((None, None, 3))
    assert layer.output_shape == (None, None, 2)
    pool = nn.MaxPool1D()
    pool.build((None, None, 3))
    assert pool.output_shape == (None, None, 3)
