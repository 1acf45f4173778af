"""Attention and positions: against loops, masked and causal, with large scores, and in training."""

import numpy as np
import pytest
from conftest import built

import nn
from nn import naive
from nn.inspect import gradcheck


def made(causal=False, dropout=0.0, dtype="float64", shape=(7, 5), heads=2, **arguments):
    """A layer whose parameters are all drawn, its biases too."""
    layer = built(nn.MultiHeadAttention(heads, 3, causal, dropout, **arguments), shape, dtype=dtype)
    rng = np.random.default_rng(5)
    for name in ("W", "b", "W_out", "b_out"):
        if name in layer.params:
            layer.params[name][...] = rng.normal(size=layer.params[name].shape)
    return layer


def of_loops(layer, x, mask=None):
    params = [layer.params[name] for name in ("W", "b", "W_out", "b_out")]
    return naive.attention_naive(x, *params, layer.num_heads, mask, layer.causal)


def mask_of(lengths, steps):
    return np.arange(steps) < np.array(lengths)[:, np.newaxis]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_outputs_are_those_of_the_loops(causal, masked, rng):
    layer, x = made(causal), rng.normal(size=(3, 7, 5))
    mask = mask_of((7, 4, 0), 7) if masked else None
    expected = of_loops(layer, x, mask)
    assert np.abs(layer.forward(x, mask=mask) - expected).max() <= 1e-12
    single = made(causal, dtype="float32").forward(x.astype("float32"), mask=mask)
    assert single.dtype == "float32"
    assert np.abs(single - expected).max() <= 1e-4


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_gradients(causal, use_bias, rng):
    layer = made(causal, use_bias=use_bias)
    errors = gradcheck.check_gradients(layer, rng.normal(size=(2, 7, 5)))
    assert set(errors) == {"x", "W", "W_out"} | ({"b", "b_out"} if use_bias else set())
    assert max(errors.values()) <= 1e-6, errors


def test_masked_steps_change_neither_outputs_nor_gradients(rng):
    """A padded sequence is as one without padding; a sequence of padding gives b_out."""
    layer, lengths = made(), (7, 4, 0)
    x, grad = rng.normal(size=(3, 7, 5)), rng.normal(size=(3, 7, 5))
    mask = mask_of(lengths, 7)
    grad[~mask] = 0  # of a loss that ignores these steps
    y = layer.forward(x, training=True, mask=mask)
    dx, grads = layer.backward(grad), dict(layer.grads)
    sums = dict.fromkeys(grads, 0.0)
    for k, length in enumerate(lengths[:2]):
        alone = layer.forward(x[k : k + 1, :length], training=True)
        np.testing.assert_allclose(y[k, :length], alone[0], rtol=1e-12, atol=1e-14)
        alone = layer.backward(grad[k : k + 1, :length])
        np.testing.assert_allclose(dx[k, :length], alone[0], rtol=1e-11, atol=1e-13)
        sums = {name: total + layer.grads[name] for name, total in sums.items()}
    for name, total in sums.items():
        np.testing.assert_allclose(grads[name], total, rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(dx[~mask], 0)
    np.testing.assert_allclose(y[2], np.broadcast_to(layer.params["b_out"], (7, 5)))


def test_a_causal_layer_sees_no_later_step(rng):
    layer, x = made(causal=True), rng.normal(size=(2, 7, 5))
    y = layer.forward(x)
    x[:, 4:] += 1
    later = layer.forward(x)
    np.testing.assert_allclose(later[:, :4], y[:, :4], rtol=1e-13)
    assert (np.abs(later[:, 4:] - y[:, 4:]) > 1e-3).all()
    np.testing.assert_allclose(layer.forward(x[:, :3]), later[:, :3], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e4, 1e-30])
def test_huge_and_tiny_scores(dtype, size, rng):
    """The weights are 0 and 1, or all the same; the gradients are finite."""
    layer = made(True, dtype=dtype)
    layer.params["W"][:, :12] *= size  # of queries and keys
    layer.params["b"][:12] *= size
    x = rng.normal(size=(2, 7, 5)).astype(dtype)
    y = layer.forward(x, training=True)
    np.testing.assert_allclose(y, of_loops(layer, x), rtol=2e-3, atol=2e-3)
    layer.backward(np.ones_like(y))
    assert all(np.isfinite(grad).all() for grad in layer.grads.values())


def test_dropout_of_the_weights(rng):
    """In training a share of the weights is dropped, the others are larger; the mean stays."""
    layer = made(dropout=0.4)
    layer.params["W"][:, :12] = 0  # all weights are the same
    layer.params["b"][:12] = 0
    x = rng.normal(size=(1, 7, 5))
    sure = layer.forward(x)
    drawn = np.mean([layer.forward(x, training=True) for _ in range(3000)], axis=0)
    assert np.abs(drawn - sure).max() <= 0.1 * np.abs(sure).max()
    layer = made(dropout=0.4, causal=True)
    x, grad = rng.normal(size=(2, 7, 5)), rng.normal(size=(2, 7, 5))
    state = layer.rng.bit_generator.state

    def value():
        layer.rng.bit_generator.state = state
        return float((layer.forward(x, training=True) * grad).sum())

    value()
    dx = layer.backward(grad)
    for array, found in ((x, dx), (layer.params["W"], layer.grads["W"])):
        measured = gradcheck.numerical_gradient(value, array)
        assert gradcheck.relative_error(found, measured) <= 1e-6


def test_parameters_and_their_initial_values():
    layer = built(nn.MultiHeadAttention(4, 8), (10, 32))
    shapes = {name: array.shape for name, array in layer.params.items()}
    assert shapes == {"W": (32, 96), "W_out": (32, 32), "b": (96,), "b_out": (32,)}
    assert not layer.params["b"].any()
    limit = np.sqrt(6 / (32 + 128))
    for name in ("W", "W_out"):
        assert 0.9 * limit < np.abs(layer.params[name]).max() <= limit


def test_what_is_kept_does_not_grow_with_the_square_of_the_steps(rng):
    layer = made(shape=(400, 5), dtype="float32")
    layer.forward(rng.normal(size=(1, 400, 5)).astype("float32"), training=True)
    kept = [part for part in layer._kept if isinstance(part, np.ndarray)]
    assert sum(array.size for array in kept) < 400 * 60


# ------------------------------------------------------------------------------ positions


def test_learned_positions(rng):
    layer = built(nn.PositionalEmbedding(6), (6, 3))
    x = rng.normal(size=(2, 4, 3))
    np.testing.assert_array_equal(layer.forward(x, training=True), x + layer.params["W"][:4])
    grad = rng.normal(size=(2, 4, 3))
    layer.backward(grad)
    np.testing.assert_allclose(layer.grads["W"][:4], grad.sum(axis=0), rtol=1e-12)
    assert not layer.grads["W"][4:].any()
    with pytest.raises(ValueError, match=r"'max_length' must not be below the 7 steps"):
        layer.forward(rng.normal(size=(2, 7, 3)))


@pytest.mark.parametrize("features", [1, 4, 5])
def test_sines_of_positions(features):
    layer = built(nn.SinusoidalPositions(), (9, features))
    y = layer.forward(np.ones((2, 9, features)))
    for t in range(9):
        for k in range(features):
            angle = t / 10000 ** (2 * (k // 2) / features)
            expected = np.sin(angle) if k % 2 == 0 else np.cos(angle)
            assert y[1, t, k] == pytest.approx(1 + expected, rel=1e-12)


# ------------------------------------------------------------------------- step after step


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.MultiHeadAttention(2, 3, causal=True),
        lambda: nn.Conv1D(5, 3, padding="causal", dilation=2, activation="tanh"),
        lambda: nn.PositionalEmbedding(7),
        lambda: nn.SinusoidalPositions(),
    ],
)
def test_steps_one_after_the_other_give_the_outputs_of_the_sequence(make, rng):
    layer, x, state = built(make(), (7, 5)), rng.normal(size=(3, 7, 5)), None
    for array in layer.params.values():
        array[...] = rng.normal(size=array.shape)
    y = layer.forward(x)
    for t in range(7):
        found, state = layer.step(x[:, t : t + 1], state)
        np.testing.assert_allclose(found, y[:, t : t + 1], rtol=1e-11, atol=1e-12)


def test_steps_are_for_causal_layers_and_known_positions(rng):
    x = rng.normal(size=(3, 1, 5))
    with pytest.raises(ValueError, match=r"^\[MultiHeadAttention\] 'causal' must be True for step"):
        made().step(x)
    with pytest.raises(ValueError, match=r"^\[Conv1D\] 'padding' must be 'causal' for step"):
        built(nn.Conv1D(2, 3), (7, 5)).step(x)
    with pytest.raises(ValueError, match=r"'max_length' must not be below the 3 steps"):
        built(nn.PositionalEmbedding(2), (2, 5)).step(x, 2)


# ------------------------------------------------------------------------------- training


def test_a_transformer_block_learns_what_needs_attention(tmp_path, rng):
    """The class of a sequence is the symbol after the only 0: a matter of position and content."""
    ids = rng.integers(1, 4, (400, 8))
    place = rng.integers(0, 7, 400)
    ids[np.arange(400), place] = 0
    y = ids[np.arange(400), place + 1] - 1
    layers = [
        nn.Embedding(4, 16, input_shape=(8,)),
        nn.PositionalEmbedding(8),
        nn.Residual([nn.LayerNorm(), nn.MultiHeadAttention(2, 8)]),
        nn.Residual([nn.LayerNorm(), nn.Dense(32, activation="gelu"), nn.Dense(16)]),
        nn.Residual([nn.LayerNorm(), nn.MultiHeadAttention(2, 8)]),
        nn.GlobalMaxPool1D(),
        nn.Dense(3),
    ]
    model = nn.Model(layers, seed=0)
    model.compile("cce", "adam", lr=0.01)
    assert model.fit(ids, y, epochs=30, verbose=0)["acc"][-1] >= 0.95
    model.save(tmp_path / "model.hdf5")
    loaded = nn.Model.load(tmp_path / "model.hdf5")
    np.testing.assert_array_equal(loaded.predict(ids), model.predict(ids))


def test_padded_ids_through_attention_and_a_global_pool(rng):
    """A mask of Embedding reaches both through residual blocks: padding changes no output."""
    layers = [
        nn.Embedding(9, 8, mask_zero=True),
        nn.SinusoidalPositions(),
        nn.PositionalEmbedding(12),
        nn.Residual([nn.LayerNorm(), nn.MultiHeadAttention(2, 4)]),
        nn.GlobalAvgPool1D(),
        nn.Dense(2),
    ]
    model = nn.Model(layers, dtype="float64", seed=0)
    ids = rng.integers(1, 9, (3, 7))
    model.build((None, 12))
    padded = np.zeros((3, 12), int)
    padded[:, :7] = ids
    y = model.predict(padded)
    x = layers[0].forward(ids)
    for layer in layers[1:]:
        x = layer.forward(x)
    np.testing.assert_allclose(y, x, rtol=1e-10)
