"""Recurrent layers: against loops and values worked out by hand, and in whole trainings."""

import math

import numpy as np
import pytest
from conftest import built

import nn
from nn import naive
from nn.inspect import gradcheck

FORMS = {
    "SimpleRNN": (nn.SimpleRNN, {}, naive.simple_rnn_naive, {}),
    "LSTM": (nn.LSTM, {}, naive.lstm_naive, {}),
    "GRU": (nn.GRU, {}, naive.gru_naive, {}),
    "GRU, reset before": (
        nn.GRU,
        {"reset_after": False},
        naive.gru_naive,
        {"reset_after": False},
    ),
}


def made(form, shape=(6, 3), dtype="float64", **arguments):
    """A layer of 4 units whose parameters are all drawn, its biases too."""
    cls, options, *_ = FORMS[form]
    layer = built(cls(4, **options, **arguments), shape, dtype=dtype)
    rng = np.random.default_rng(5)
    for array in layer.params.values():
        array[...] = rng.normal(size=array.shape)
    return layer


def states_of(form, layer, x, mask=None):
    _, _, loop, options = FORMS[form]
    return loop(x, *(layer.params[key] for key in ("W", "U", "b")), **options, mask=mask)


@pytest.mark.parametrize("form", FORMS)
def test_states_are_those_of_the_loops(form, rng):
    x = rng.normal(size=(5, 6, 3))
    layer = made(form, return_sequences=True)
    expected = states_of(form, layer, x)
    assert np.abs(layer.forward(x) - expected).max() <= 1e-12
    assert np.abs(made(form).forward(x) - expected[:, -1]).max() <= 1e-12
    back = states_of(form, layer, x[:, ::-1])
    assert np.abs(made(form, go_backwards=True).forward(x) - back[:, -1]).max() <= 1e-12
    layer = made(form, go_backwards=True, return_sequences=True)
    assert np.abs(layer.forward(x) - back).max() <= 1e-12
    single = made(form, dtype="float32", return_sequences=True).forward(x.astype("float32"))
    assert single.dtype == "float32"
    assert np.abs(single - expected).max() <= 1e-5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("arguments", [{}, {"return_sequences": True}, {"go_backwards": True}])
def test_gradients_through_time(form, arguments, rng):
    layer = made(form, **arguments)
    errors = gradcheck.check_gradients(layer, rng.normal(size=(3, 6, 3)))
    assert set(errors) == {"x", "W", "U", "b"}
    assert max(errors.values()) <= 1e-6, errors


@pytest.mark.parametrize("form", FORMS)
def test_any_number_of_steps_and_any_strides(form, rng):
    layer = made(form, return_sequences=True)
    x = rng.normal(size=(5, 9, 3))
    y = layer.forward(x)
    np.testing.assert_allclose(layer.forward(x[:, :1]), y[:, :1], rtol=1e-13)
    strided = np.asfortranarray(x)
    np.testing.assert_array_equal(layer.forward(strided, training=True), y)
    grad = np.repeat(rng.normal(size=y.shape), 2, axis=-1)[..., ::2]
    dx = layer.backward(grad)
    layer.forward(x, training=True)
    np.testing.assert_array_equal(layer.backward(np.ascontiguousarray(grad)), dx)


LENGTHS = (6, 1, 4, 0)
PADDED = np.arange(6) < np.array(LENGTHS)[:, np.newaxis]
GAPS = np.array([[1, 0, 1, 1, 0, 1], [0, 0, 1, 1, 1, 1], [0, 1, 0, 0, 0, 0], [0] * 6], dtype=bool)


@pytest.mark.parametrize("mask", [PADDED, GAPS], ids=["padded", "gaps"])
@pytest.mark.parametrize("form", FORMS)
def test_masked_steps_leave_the_state(form, mask, rng):
    x = rng.normal(size=(4, 6, 3))
    layer = made(form, return_sequences=True)
    expected = states_of(form, layer, x, mask)
    y = layer.forward(x, mask=mask)
    assert np.abs(y - expected).max() <= 1e-12
    assert np.abs(made(form).forward(x, mask=mask) - expected[:, -1]).max() <= 1e-12
    assert (y[3] == 0).all()
    assert y.dtype == np.float64
    back = states_of(form, layer, x[:, ::-1], mask[:, ::-1])
    layer = made(form, return_sequences=True, go_backwards=True)
    assert np.abs(layer.forward(x, mask=mask) - back).max() <= 1e-12
    single = made(form, dtype="float32").forward(x.astype("float32"), mask=mask)
    assert single.dtype == "float32"
    np.testing.assert_array_equal(layer.forward(x, mask=mask | True), layer.forward(x))


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("way", ["forwards", "backwards", "both"])
@pytest.mark.parametrize("form", FORMS)
def test_padded_sequences_are_as_those_without_padding(form, way, sequences, rng):
    """Outputs and gradients, sample by sample; padding gets no gradient."""
    layer = made(form, return_sequences=sequences, go_backwards=way == "backwards")
    if way == "both":
        cls, options, *_ = FORMS[form]
        inner = cls(4, return_sequences=sequences, **options)
        layer = built(nn.Bidirectional(inner), (6, 3))
    x = rng.normal(size=(4, 6, 3))
    y = layer.forward(x, training=True, mask=PADDED)
    grad = rng.normal(size=y.shape)
    if sequences:  # the states of padding reach no loss
        steps = PADDED[:, ::-1] if way == "backwards" else PADDED
        grad[~steps] = 0
    dx = layer.backward(grad)
    parts = layer.sublayers() or (layer,)
    grads = [{key: array.copy() for key, array in part.grads.items()} for part in parts]
    total = [{key: np.zeros_like(array) for key, array in part.items()} for part in grads]
    for n, length in enumerate(LENGTHS[:3]):
        there = slice(6 - length, 6) if way == "backwards" else slice(0, length)
        index = (slice(n, n + 1), there) if sequences else slice(n, n + 1)
        alone = layer.forward(x[n : n + 1, :length], training=True)
        np.testing.assert_allclose(y[index], alone, rtol=1e-12, atol=1e-14)
        dx_alone = layer.backward(grad[index])
        np.testing.assert_allclose(dx[n : n + 1, :length], dx_alone, rtol=1e-11, atol=1e-14)
        for sums, part in zip(total, parts, strict=True):
            for key, array in part.grads.items():
                sums[key] += array
    assert (dx[~PADDED] == 0).all()
    for sums, part in zip(total, grads, strict=True):
        for key in ("W", "U", "b"):
            np.testing.assert_allclose(part[key], sums[key], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_with_a_mask(form, rng):
    """The states of masked steps may reach the loss, too."""
    layer = made(form, return_sequences=True)
    forward = layer.forward
    layer.forward = lambda x, training: forward(x, training, GAPS)
    errors = gradcheck.check_gradients(layer, rng.normal(size=(4, 6, 3)))
    assert max(errors.values()) <= 1e-6, errors


def test_an_lstm_by_hand():
    """One unit, two steps: each gate a number that can be worked out."""
    layer = built(nn.LSTM(1, return_sequences=True), (2, 1))
    layer.params["W"][...] = [[1.0, 0.0, 1.0, 0.0]]
    layer.params["U"][...] = [[0.0, 1.0, 0.0, 0.0]]
    layer.params["b"][...] = 0
    first = 1 / (1 + math.exp(-2.0)) * math.tanh(2.0)
    h = 0.5 * math.tanh(first)
    second = first / (1 + math.exp(-h)) + 0.5 * math.tanh(0.0)
    expected = [[[h], [0.5 * math.tanh(second)]]]
    np.testing.assert_allclose(layer.forward(np.array([[[2.0], [0.0]]])), expected, rtol=1e-14)


MERGES = {
    "concat": lambda a, b: np.concatenate((a, b), axis=-1),
    "sum": np.add,
    "ave": lambda a, b: (a + b) / 2,
    "mul": np.multiply,
}


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("merge", MERGES)
def test_bidirectional_joins_the_states_of_both_directions(merge, sequences, rng):
    x = rng.normal(size=(5, 6, 3))
    layer = built(nn.Bidirectional(nn.LSTM(4, return_sequences=sequences), merge), (6, 3))
    ahead, back = layer.layers
    assert not np.array_equal(ahead.params["W"], back.params["W"])
    first = naive.lstm_naive(x, *ahead.params.values())
    last = naive.lstm_naive(x[:, ::-1], *back.params.values())[:, ::-1]
    expected = MERGES[merge](first, last) if sequences else MERGES[merge](first[:, -1], last[:, 0])
    np.testing.assert_allclose(layer.forward(x), expected, rtol=1e-12, atol=1e-15)
    assert layer.output_shape == (None, *expected.shape[1:])
    errors = gradcheck.check_gradients(layer, x)
    assert max(errors.values()) <= 1e-6, errors


def test_a_bidirectional_layer_trains_saves_and_loads(tmp_path, rng):
    x = rng.normal(size=(100, 6, 2)).astype("float32")
    y = (x[:, 0, 0] * x[:, -1, 1] > 0).astype(int)  # of both ends
    layers = [nn.Bidirectional(nn.GRU(12), input_shape=(6, 2)), nn.Dense(2)]
    model = nn.Model(layers, seed=0)
    model.compile("cce", "adam", lr=0.02)
    assert model.fit(x, y, epochs=60, verbose=0)["acc"][-1] >= 0.95
    model.save(tmp_path / "model.hdf5")
    loaded = nn.Model.load(tmp_path / "model.hdf5")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert "0_Bidirectional/1_GRU_U" in loaded.get_arrays()
    model.layers[0].layers[0].trainable = False
    before = model.layers[0].layers[0].params["W"].copy()
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(model.layers[0].layers[0].params["W"], before)


def test_parameters_and_their_initial_values():
    layer = built(nn.LSTM(4), (6, 3))
    assert {k: v.shape for k, v in layer.params.items()} == {"W": (3, 16), "U": (4, 16), "b": (16,)}
    assert layer.params["b"].tolist() == [0] * 4 + [1] * 4 + [0] * 8
    np.testing.assert_allclose(layer.params["U"] @ layer.params["U"].T, np.eye(4), atol=1e-12)
    limit = math.sqrt(6 / (3 + 16))
    assert 0.8 * limit < np.abs(layer.params["W"]).max() <= limit
    assert built(nn.GRU(4), (6, 3)).params["b"].shape == (2, 12)
    assert built(nn.GRU(4, reset_after=False), (6, 3)).params["b"].shape == (12,)
    assert built(nn.SimpleRNN(4), (6, 3)).params["U"].shape == (4, 4)


@pytest.mark.parametrize("form", FORMS)
def test_saturated_gates_stay_finite(form):
    layer = made(form, dtype="float32", return_sequences=True)
    x = np.full((2, 6, 3), 1e4, dtype="float32")
    x[1] *= -1
    assert np.isfinite(layer.forward(x, training=True)).all()
    assert np.isfinite(layer.backward(np.ones((2, 6, 4), dtype="float32"))).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_frozen_layer_passes_gradients_and_fills_none(form, rng):
    layer, x = made(form), rng.normal(size=(2, 6, 3))
    free = made(form)
    free.forward(x, training=True)
    layer.trainable = False
    layer.forward(x, training=True)
    grad = rng.normal(size=(2, 4))
    np.testing.assert_array_equal(layer.backward(grad), free.backward(grad))
    assert layer.grads == {}


@pytest.mark.parametrize("form", FORMS)
def test_the_first_of_two_signs_is_remembered(form, tmp_path):
    """A class that is known from the first step alone; a resumed training is the same."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 8, 2)).astype("float32")
    y = (x[:, 0, 0] > 0).astype(int)
    cls, options, *_ = FORMS[form]

    def model():
        layers = [
            cls(12, return_sequences=True, input_shape=(8, 2), **options),
            cls(12, **options),
            nn.Dense(2),
        ]
        made = nn.Model(layers, seed=0)
        made.compile("cce", "adam", lr=0.02, clip_norm=1.0)
        return made

    whole, part, again = model(), model(), model()
    history = whole.fit(x, y, epochs=25, verbose=0)
    assert history["acc"][-1] >= 0.95
    part.fit(x, y, epochs=10, verbose=0)
    part.save(tmp_path / "model.hdf5")
    again.fit(x, y, epochs=25, resume=tmp_path / "model.hdf5", verbose=0)
    for one, other in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    loaded = nn.Model.load(tmp_path / "model.hdf5")
    np.testing.assert_array_equal(loaded.predict(x), part.predict(x))


def test_a_character_model_of_ids_learns_what_follows():
    """Embedding, LSTM, Dense and cce over (N, T, V): the next of a text that repeats itself."""
    ids = np.tile([0, 1, 2, 3, 2, 1], 60)
    x = np.stack([ids[k : k + 12] for k in range(300)])
    y = np.stack([ids[k + 1 : k + 13] for k in range(300)])
    layers = [
        nn.Embedding(4, 6, input_shape=(12,)),
        nn.LSTM(16, return_sequences=True),
        nn.Dense(4),
    ]
    model = nn.Model(layers, seed=0)
    model.compile("cce", "adam", lr=0.02)
    model.fit(x, y, epochs=8, verbose=0)
    assert (model.predict_classes(x)[:, 2:] == y[:, 2:]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LSTM(0), r"\[LSTM\] 'units' must be a positive integer, got 0"),
        (lambda: nn.GRU(3, return_sequences=2), r"\[GRU\] 'return_sequences' .* got 2"),
        (lambda: nn.GRU(3, reset_after="no"), r"\[GRU\] 'reset_after' .* got 'no'"),
        (lambda: nn.SimpleRNN(3, go_backwards=None), r"\[SimpleRNN\] 'go_backwards'"),
        (lambda: nn.LSTM(3).build((None, 8)), r"\[LSTM\] expects 3-D input, got \(None, 8\): "),
        (
            lambda: built(nn.LSTM(3), (5, 4)).forward(np.ones((2, 5, 3))),
            r"\[LSTM\] was built for inputs of shape \(None, 5, 4\), got \(2, 5, 3\)",
        ),
        (
            lambda: nn.LSTM(3).forward(np.ones((2, 5, 3)), mask=np.ones((2, 4), bool)),
            r"\[LSTM\] 'mask' must be a bool array of shape \(2, 5\), .* 'bool of shape \(2, 4\)",
        ),
        (
            lambda: nn.Bidirectional(nn.GRU(3)).forward(np.ones((2, 5, 3)), mask=np.ones((2, 5))),
            r"\[GRU\] 'mask' must be a bool array .* got 'float64 of shape",
        ),
        (
            lambda: naive.gru_naive([[[1.0]]], [[0.0] * 3], [[0.0] * 3], [0.0] * 3, False, [1]),
            "'mask'",
        ),
        (lambda: nn.Bidirectional(nn.Dense(3)), r"\[Bidirectional\] 'layer' must be LSTM, GRU or"),
        (lambda: nn.Bidirectional(nn.LSTM(3, go_backwards=True)), "without go_backwards"),
        (lambda: nn.Bidirectional(built(nn.LSTM(3), (5, 4))), "not built"),
        (lambda: nn.Bidirectional(nn.LSTM(3), "add"), r"\[Bidirectional\] 'merge' must be one of"),
        (lambda: naive.lstm_naive(np.ones((1, 2, 3)), [[1.0]], [[1.0]], [0.0]), "'u' must be"),
    ],
)
def test_wrong_use(make, message):
    with pytest.raises(ValueError, match=message):
        make()
