"""Generation: step by step as from the whole prefix, and what is drawn."""

import numpy as np
import pytest

import nn
from nn.layers.stack import forward_through

FORMS = {
    "SimpleRNN": lambda: [nn.SimpleRNN(8, return_sequences=True)],
    "LSTM": lambda: [nn.LSTM(8, return_sequences=True), nn.LayerNorm(), nn.Dropout(0.3)],
    "GRU": lambda: [nn.GRU(8, return_sequences=True), nn.ReLU(), nn.GRU(8, return_sequences=True)],
    "GRU, reset before": lambda: [nn.GRU(8, reset_after=False, return_sequences=True)],
    "Residual": lambda: [
        nn.Residual([nn.LSTM(5, return_sequences=True), nn.Sequential([nn.Tanh()])])
    ],
    "SkipConcat": lambda: [nn.SkipConcat(nn.GRU(5, return_sequences=True), nn.Dense(3))],
    "WeightNorm": lambda: [
        nn.WeightNorm(nn.Conv1D(8, 3, padding="causal", dilation=2, activation="tanh")),
        nn.WeightNorm(nn.Dense(8)),
    ],
    "the last state alone": lambda: [nn.LSTM(8)],
}


def model_of(form, ids=7, **options):
    layers = [nn.Embedding(ids, 5, input_shape=(12,)), *FORMS[form](), nn.Dense(ids)]
    model = nn.Model(layers, seed=1, **options)
    for array in model.get_arrays().values():  # so that predictions differ
        array *= 3
    return model


@pytest.mark.parametrize("form", FORMS)
def test_steps_are_those_of_the_whole_prefix(form):
    model = model_of(form, dtype="float64")
    found = list(nn.generate(model, [1, 2, 3], 9, temperature=0))
    prefix = [1, 2, 3]
    for _ in range(9):
        y = forward_through(model.layers, np.array([prefix]), None)[0][0]  # of any length
        prefix.append(int((y if y.ndim == 1 else y[-1]).argmax()))
    assert found == prefix[3:]
    ids, state, outputs = np.array([prefix, prefix[::-1]]), None, []
    for t in range(len(prefix)):
        y, state = model.step(ids[:, t : t + 1], state)
        outputs.append(y if y.ndim == 2 else y[:, 0])
    expected, _ = forward_through(model.layers, ids, None)
    expected = expected if expected.ndim == 2 else expected[:, -1]
    np.testing.assert_allclose(outputs[-1], expected, rtol=1e-12, atol=1e-13)


def test_what_is_drawn():
    model = model_of("LSTM")
    streamed = []
    first = nn.generate(model, [3], 300, seed=5, callback=streamed.append)
    assert streamed == first.tolist()
    np.testing.assert_array_equal(nn.generate(model, np.array([3]), 300, seed=5), first)
    assert (nn.generate(model, [3], 300, seed=6) != first).any()
    greedy = nn.generate(model, [3], 30, temperature=0)
    np.testing.assert_array_equal(nn.generate(model, [3], 30, top_k=1, seed=1), greedy)
    np.testing.assert_array_equal(nn.generate(model, [3], 30, temperature=1e-9, seed=1), greedy)


@pytest.mark.parametrize("options", [{"temperature": 0}, {"seed": 0}, {"seed": 0, "top_k": 1}])
def test_padding_is_never_drawn(options):
    """It is no step of a sequence, and its output is not trained, as the loss leaves it out."""
    layers = [nn.Embedding(5, 4, mask_zero=True, input_shape=(None,)), nn.Dense(5)]
    model = nn.Model(layers, seed=0)
    model.layers[-1].params["b"][0] = 100  # which a model may well predict
    assert 0 not in nn.generate(model, [1, 2], 20, **options)
    layers = [nn.Embedding(5, 4, input_shape=(None,)), *model.layers[1:]]
    assert set(nn.generate(nn.Model(layers), [1, 2], 20, **options)) == {0}  # an id like any other


def test_frequencies_are_those_of_the_softmax():
    """A model that predicts the same whatever came before."""
    model = nn.Model([nn.Embedding(4, 3, input_shape=(5,)), nn.Dense(4)], seed=0)
    p = np.array([0.1, 0.2, 0.3, 0.4])
    model.layers[1].params["W"][...], model.layers[1].params["b"][...] = 0, np.log(p)
    for temperature, top_k, expected in ((1, None, p), (0.5, None, p**2), (1, 2, p * (p > 0.25))):
        drawn = nn.generate(model, [0], 4000, temperature, top_k, seed=0)
        shares = np.bincount(drawn, minlength=4) / 4000
        np.testing.assert_allclose(shares, expected / expected.sum(), atol=0.03)
    ending = nn.Model([*model.layers, nn.Softmax()])
    np.testing.assert_array_equal(
        nn.generate(ending, [0], 50, seed=3), nn.generate(model, [0], 50, seed=3)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, r"\[generate\] 'length' must be a positive integer, got 0"),
        ({"temperature": -1}, r"\[generate\] 'temperature' .* got -1"),
        ({"temperature": float("nan")}, r"\[generate\] 'temperature'"),
        ({"start": []}, r"\[generate\] 'start' must be a sequence of at least one id"),
        ({"start": [1, 7]}, r"\[generate\] 'start' must hold ids in 0\.\.6"),
        ({"start": [-1]}, r"\[generate\] 'start' must hold ids in 0\.\.6"),
        ({"top_k": 0}, r"\[generate\] 'top_k' must be a positive integer"),
        ({"top_k": 8}, r"\[generate\] 'top_k' must be at most 7, got 8"),
        ({"model": nn.Dense(3)}, r"\[generate\] 'model' must be an nn.Model"),
        ({"model": nn.Model([nn.Dense(7, input_shape=(3,))])}, "must begin with an Embedding"),
    ],
)
def test_wrong_arguments(arguments, message):
    given = {"model": model_of("GRU"), "start": [1], "length": 3} | arguments
    with pytest.raises(ValueError, match=message):
        nn.generate(**given)


def test_a_text_is_continued_by_a_text():
    model = model_of("GRU")
    model.vocabulary = nn.data.text.Vocabulary([*"abcde"], level="character")
    ids = nn.generate(model, model.vocabulary.encode("bad"), 20, seed=2)
    assert nn.generate(model, "bad", 20, seed=2) == model.vocabulary.decode(ids)
    with pytest.raises(ValueError, match="at least one id"):
        nn.generate(model, "", 3)


def test_text_and_models_that_are_not_built_are_refused():
    with pytest.raises(TypeError, match=r"\[generate\] 'start' must hold integer ids"):
        nn.generate(model_of("GRU"), ["a"], 3)
    with pytest.raises(ValueError, match=r"set model\.vocabulary"):
        nn.generate(model_of("GRU"), "a", 3)
    with pytest.raises(RuntimeError, match="is not built"):
        nn.generate(nn.Model([nn.Embedding(3, 2)]), [1], 3)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: nn.Bidirectional(nn.LSTM(4)), r"\[Bidirectional\] has no step\(\)"),
        (lambda: nn.LSTM(4, go_backwards=True), r"\[LSTM\] 'go_backwards' must be False for step"),
        (lambda: nn.GlobalAvgPool1D(), r"\[GlobalAvgPool1D\] has no step"),
    ],
)
def test_models_that_need_later_steps_are_refused(layer, message):
    model = nn.Model([nn.Embedding(7, 5, input_shape=(12,)), layer(), nn.Dense(7)])
    with pytest.raises(ValueError, match=message):
        nn.generate(model, [1], 3)


def test_a_stack_that_computes_something_else_is_refused():
    class Own(nn.Sequential):
        def forward(self, x, training=False):
            return -super().forward(x, training)

    layer = Own([nn.Dense(4)])
    layer.build((None, 3, 2))
    with pytest.raises(ValueError, match=r"\[Own\] has a forward\(\) of its own"):
        layer.step(np.ones((1, 1, 2)))


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Bidirectional(nn.GRU(4, return_sequences=True)),
        lambda: nn.MaxPool1D(2),
        lambda: nn.AvgPool1D(2, stride=1),
        lambda: nn.SkipConcat(nn.Bidirectional(nn.LSTM(4, return_sequences=True))),
    ],
)
def test_layers_that_need_later_steps_refuse_to_step(layer):
    model = nn.Model([nn.Embedding(5, 3, input_shape=(6,)), layer(), nn.Dense(5)], seed=0)
    for call in (lambda: model.step(np.array([[1]])), lambda: nn.generate(model, [1], 3)):
        with pytest.raises(ValueError, match=r"^\[\w+\] has no step\(\): .* later steps\. Use"):
            call()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_convolution_that_sees_later_steps_refuses_to_step(wrapped):
    layer = nn.Conv1D(4, 3)
    layer = nn.WeightNorm(layer) if wrapped else layer
    model = nn.Model([nn.Embedding(5, 3, input_shape=(6,)), layer, nn.Dense(5)], seed=0)
    with pytest.raises(ValueError, match=r"\[Conv1D\] 'padding' must be 'causal' for step\(\)"):
        model.step(np.array([[1]]))


def test_weight_norm_wraps_no_recurrent_layer():
    with pytest.raises(TypeError, match=r"\[WeightNorm\] 'layer' must be .* got LSTM"):
        nn.WeightNorm(nn.LSTM(4))
