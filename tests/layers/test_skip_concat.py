"""SkipConcat: a stack's input and output side by side."""

import numpy as np
import pytest

import nn


def conv():
    return nn.Conv2D(3, 3, use_bias=False)


@pytest.mark.parametrize(
    ("layers", "shortcut", "shape", "axis"),
    [
        (lambda: [nn.Dense(4), nn.Tanh()], None, (5,), 1),
        (lambda: [nn.LSTM(4, return_sequences=True)], None, (6, 5), 2),
        (lambda: [conv(), nn.BatchNorm2D(), nn.Tanh()], None, (2, 4, 6), 1),
        (lambda: [nn.MaxPool2D(2), conv()], lambda: [nn.AvgPool2D(2), nn.Tanh()], (2, 4, 6), 1),
        (lambda: [nn.SkipConcat([nn.Dense(2)])], lambda: nn.Dense(3), (5,), 1),
    ],
)
def test_outputs_and_gradients_of_both_paths(layers, shortcut, shape, axis, rng):
    block = nn.SkipConcat(layers(), shortcut and shortcut())
    errors = nn.check_gradients(block, rng.normal(size=(3, *shape)))
    assert max(errors.values()) <= 1e-6
    x = rng.normal(size=(3, *shape))
    y = x
    for layer in block.main:
        y = layer.forward(y, training=True)
    short = x
    for layer in block.shortcut:
        short = layer.forward(short, training=True)
    expected = np.concatenate((short, y), axis)
    np.testing.assert_array_equal(block.forward(x, training=True), expected)
    assert block.output_shape[1:] == expected.shape[1:]


def test_a_block_of_known_numbers():
    block = nn.SkipConcat(nn.Dense(1))
    x = np.array([[1.0, 2.0]], dtype=np.float32)
    block.build((None, 2))
    block.layers[0].params["W"][...] = [[10], [1]]
    np.testing.assert_array_equal(block.forward(x, training=True), [[1, 2, 12]])
    grad = np.array([[3.0, 4.0, 5.0]], dtype=np.float32)
    np.testing.assert_array_equal(block.backward(grad), [[3 + 50, 4 + 5]])
    np.testing.assert_array_equal(block.layers[0].grads["W"], [[5], [10]])
    np.testing.assert_array_equal(grad, [[3, 4, 5]])


def test_prediction_folds_batch_norm_on_both_paths(rng):
    paths = [conv(), nn.BatchNorm2D(), nn.ReLU()], [conv(), nn.BatchNorm2D()]
    model = nn.Model([nn.SkipConcat(*paths, input_shape=(2, 5, 6))], seed=0)
    model.set_weights([w + rng.uniform(0.1, 0.5, w.shape) for w in model.get_weights()])
    x = rng.random((4, 2, 5, 6), dtype=np.float32)
    np.testing.assert_allclose(model.predict(x), model.forward(x), rtol=1e-5, atol=1e-6)


def test_it_is_saved_summarized_and_shown(tmp_path, rng):
    block = nn.SkipConcat([nn.Dense(4), nn.Tanh()], nn.Dense(2), input_shape=(3,))
    model = nn.Model([block, nn.Dense(2)], seed=0)
    model.save(tmp_path / "model.hdf5")
    x = rng.random((4, 3), dtype=np.float32)
    loaded = nn.Model.load(tmp_path / "model.hdf5")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert "Dense (shortcut)" in model.summary()
    assert "], shortcut=[" in repr(model)


@pytest.mark.parametrize(
    ("block", "shape", "message"),
    [
        (lambda: nn.SkipConcat(nn.MaxPool2D(2)), (3, 8, 8), r"must keep the sizes .* 3, 4, 4\)"),
        (lambda: nn.SkipConcat(nn.Flatten()), (3, 8, 8), r"they made \(None, 192\)"),
        (lambda: nn.SkipConcat(nn.Dense(2), nn.Flatten()), (4, 3), r"joined with \(None, 12\)"),
    ],
)
def test_sizes_that_do_not_fit(block, shape, message):
    with pytest.raises(ValueError, match=rf"\[SkipConcat\] 'layers' .*{message}"):
        block().build((None, *shape))


@pytest.mark.parametrize("training", [None, False])
def test_sizes_that_do_not_fit_in_a_batch(training):
    half = [nn.MaxPool2D(2), nn.UpSample2D(2)]
    model = nn.Model([nn.SkipConcat(half, input_shape=(3, None, None))])
    assert model.output_shape == (None, 6, None, None)
    run = model.predict if training is None else model.forward
    assert run(np.ones((1, 3, 4, 6), np.float32)).shape == (1, 6, 4, 6)
    with pytest.raises(ValueError, match=r"\(1, 3, 5, 6\) they made \(1, 3, 4, 6\).* even"):
        run(np.ones((1, 3, 5, 6), np.float32))
