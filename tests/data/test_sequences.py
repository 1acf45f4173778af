"""Sequences: padding, windows, splits in time, scaling and batches of similar lengths."""

import numpy as np
import pytest

import nn
from nn.data import sequences
from nn.data.sequences import Buckets, SeriesScaler, pad, split_in_time, windows

# -------------------------------------------------------------------------------- padding


@pytest.mark.parametrize("side", ["end", "start"])
@pytest.mark.parametrize("cut", [None, "end", "start"])
@pytest.mark.parametrize("columns", [(), (2,)])
def test_padding_is_that_of_a_loop(columns, cut, side):
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal((n, *columns)) for n in (3, 0, 5, 1)]
    length = 4 if cut else 6
    found = pad(rows, length, side, -7.0, cut)
    assert found.shape == (4, length, *columns) and found.dtype == np.float64
    for row, target in zip(rows, found, strict=True):
        steps = list(row)
        while len(steps) > length:
            steps.pop(-1 if cut == "end" else 0)
        while len(steps) < length:
            steps.insert(len(steps) if side == "end" else 0, np.full(columns, -7.0))
        np.testing.assert_array_equal(target, steps)


def test_integers_stay_integers():
    assert pad([[1], [2, 3]]).dtype == np.int64
    assert pad([[], [2, 3]]).tolist() == [[0, 0], [2, 3]] and pad([[], [2]]).dtype == np.int64
    assert pad([np.array([200], np.uint8), [1, 2]], value=300).tolist() == [[200, 300], [1, 2]]
    assert pad([np.zeros(2, np.float32), np.zeros(1, np.float32)]).dtype == np.float32
    assert pad(nn.data.text.Vocabulary(["a"]).encode(["", "a"])).tolist() == [[0], [2]]
    assert pad(row for row in ([1], [2])).tolist() == [[1], [2]]
    assert pad([[[1, 2]], [[3, 4], [5, 6]]], value=9)[0].tolist() == [[1, 2], [9, 9]]


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (([],), ValueError, "'sequences' must hold at least one"),
        ((5,), ValueError, "'sequences' must be a list"),
        (("text",), ValueError, "'sequences' must be a list"),
        ((["text"],), TypeError, "'sequences' must hold real numbers"),
        (([[1], [[2]]],), ValueError, r"'sequences' must have the shape.*\(1, 1\)"),
        (([np.ones((2, 3)), np.ones((2, 4))],), ValueError, r".*the same D, got \(2, 4\)"),
        (([1, 2],), ValueError, r"'sequences' must have the shape.*got \(\)"),
        (([[1, 2, 3]], 2), ValueError, "'length' must be at least 3.*without 'cut', got 2"),
        (([[1]], 0), ValueError, "'length' must be a positive integer"),
        (([[1]], 2, "pre"), ValueError, "'side' must be one of 'end', 'start', got 'pre'"),
        (([[1]], 2, "end", 0, "post"), ValueError, "'cut' must be one of.*got 'post'"),
        (([[1]], 2, "end", 0.5), ValueError, "'value' must be an integer.*got 0.5"),
        (([[1]], 2, "end", float("nan")), ValueError, "'value' must be an integer.*got nan"),
        (([[1.0]], 2, "end", None), ValueError, "'value' must be a number, got None"),
    ],
)
def test_wrong_padding(arguments, kind, words):
    with pytest.raises(kind, match=rf"^\[pad\] {words}"):
        pad(*arguments)


# -------------------------------------------------------------------------------- windows


@pytest.mark.parametrize("targets", ["last", "all", "shifted"])
@pytest.mark.parametrize("columns", [(), (2,)])
@pytest.mark.parametrize(
    ("steps", "length", "horizon", "stride"),
    [(9, 3, 1, 1), (9, 3, 2, 2), (9, 1, 8, 1), (10, 4, 3, 5), (4, 3, 1, 7), (12, 2, 4, 3)],
)
def test_windows_are_those_of_a_loop(steps, length, horizon, stride, columns, targets):
    series = np.random.default_rng(0).standard_normal((steps, *columns))
    x, y = windows(series, length, horizon, stride, targets)
    inputs, after = [], []
    for start in range(0, steps - length - horizon + 1, stride):
        end = start + length
        inputs.append(series[start:end])
        after.append(
            {
                "last": series[end + horizon - 1],
                "all": series[end : end + horizon],
                "shifted": series[start + horizon : end + horizon],
            }[targets]
        )
    np.testing.assert_array_equal(x, inputs)
    np.testing.assert_array_equal(y, after)


def test_windows_copy_nothing_and_cannot_be_written():
    series = np.zeros((1_000_000, 3), np.float32)
    for targets in ("last", "all", "shifted"):
        x, y = windows(series, 500, 24, targets=targets)  # 6 GB
        assert np.shares_memory(x[:2], series) and np.shares_memory(y[:2], series)
        assert not x.flags.writeable and not y.flags.writeable


def test_a_model_learns_from_windows_and_batches_are_copies():
    wave = np.sin(np.arange(300) / 5)
    x, y = windows(wave, 10)
    model = nn.Model([nn.Dense(1, input_shape=(10,))], seed=0)
    model.compile("mse", "adam", lr=0.02)
    history = model.fit(x, y, epochs=30, verbose=0)
    assert history["loss"][-1] < 1e-2 * history["loss"][0]
    data = nn.Dataset(x, y)
    assert np.shares_memory(data.x, wave)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ((np.zeros(9), 9), ValueError, r"must together be at most the 9 steps of 'x', got 9 \+ 1"),
        ((np.zeros(9), 8, 2), ValueError, r"got 8 \+ 2: use shorter windows"),
        ((np.zeros(0), 1), ValueError, "'x' must hold at least one step"),
        ((np.zeros(9), 0), ValueError, "'length' must be a positive integer, got 0"),
        ((np.zeros(9), 1, 0), ValueError, "'horizon' must be a positive"),
        ((np.zeros(9), 1, 1, 0), ValueError, "'stride' must be a positive"),
        ((np.zeros(9), 1, 1, 1, "next"), ValueError, "'targets' must be one of"),
        (("some text", 3), TypeError, "'x' must hold real numbers"),
        ((7, 3), ValueError, "'x' must have samples"),
    ],
)
def test_wrong_windows(arguments, kind, words):
    with pytest.raises(kind, match=rf"^\[windows\] .*{words}"):
        windows(*arguments)


# ---------------------------------------------------------------------- splits and scaling


@pytest.mark.parametrize("overlap", [0, 3])
def test_the_later_part_follows_the_earlier(overlap):
    series = np.arange(20.0).reshape(10, 2)
    before, after = split_in_time(series, 0.34, overlap)
    np.testing.assert_array_equal(before, series[:7])
    np.testing.assert_array_equal(after, series[7 - overlap :])
    assert np.shares_memory(before, series) and np.shares_memory(after, series)


def test_windows_of_the_later_part_with_overlap_predict_each_of_its_steps():
    series = np.arange(100)
    before, after = split_in_time(series, 0.25, overlap=10 + 24 - 1)
    _, y = windows(after, length=10, horizon=24)
    np.testing.assert_array_equal(y, series[75:])
    _, y = windows(before, length=10, horizon=24)
    assert y.max() == 74


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros(9), 0.01), "'fraction' must leave steps in both parts of 9, got 0.01"),
        ((np.zeros(9), 0.99), "'fraction' must leave"),
        ((np.zeros(9), 1.5), "'fraction' must be a number"),
        ((np.zeros(9), 0.5, 6), "'overlap' must be at most the 5 steps"),
        ((np.zeros(9), 0.5, -1), "'overlap' must be an integer of at least 0"),
        ((np.zeros(0), 0.5), "'x' must hold at least one step"),
    ],
)
def test_wrong_splits(arguments, words):
    with pytest.raises(ValueError, match=rf"^\[split_in_time\] {words}"):
        split_in_time(*arguments)


def test_scaling_is_that_of_the_training_part():
    rng = np.random.default_rng(0)
    series = np.c_[rng.normal(50, 9, 400), np.full(400, 7.0), rng.normal(-1, 1e-3, 400)]
    before, after = split_in_time(series, 0.5)
    scaler = SeriesScaler().fit(before)
    scaled = scaler.transform(before)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(scaled.std(axis=0), [1, 0, 1], atol=1e-9)
    expected = (after - before.mean(axis=0)) / [before[:, 0].std(), 1, before[:, 2].std()]
    np.testing.assert_allclose(scaler.transform(after), expected)
    x, _ = windows(scaler.transform(after), 5)
    np.testing.assert_allclose(scaler.inverse_transform(x)[0], after[:5])
    single = SeriesScaler().fit(np.float32([1, 3]))
    assert single.transform(np.float32([[2, 4]])).dtype == np.float32
    assert single.transform([2, 4]).tolist() == [0.0, 2.0]
    assert single.mean.shape == ()


def test_columns_that_never_change_are_not_divided_by_rounding():
    """The mean of 0.1 is 0.10000000000000003, so that its deviation is not 0 but 3e-17."""
    x = np.stack([np.full(30, 0.1), np.arange(30.0), np.full(30, 1e8 + 0.3)], axis=1)
    scaler = SeriesScaler().fit(x)
    np.testing.assert_array_equal(scaler.std[[0, 2]], 1)
    found = scaler.transform([[0.6, 0.0, 1e8 + 0.3]])[0]
    np.testing.assert_allclose(found[[0, 2]], [0.5, 0], atol=1e-6)
    small = SeriesScaler().fit([1.0, 1.0 + 1e-15])  # these do change
    assert 0 < small.std < 1e-14


def test_wrong_scaling():
    with pytest.raises(RuntimeError, match=r"\[SeriesScaler\] is not fitted: call fit"):
        SeriesScaler().transform([1.0])
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"\[SeriesScaler\] 'x' must be finite"):
            SeriesScaler().fit([1.0, bad])
    with pytest.raises(ValueError, match=r"'x' must be small enough .*, got 1e\+200"):
        SeriesScaler().fit([0.0, 1e200])
    with pytest.raises(ValueError, match=r"'x' must have 2 columns, got \(4, 3\)"):
        SeriesScaler().fit(np.ones((4, 2))).transform(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"'x' must be \(T,\) or \(T, D\)"):
        SeriesScaler().fit(np.ones((4, 2, 2)))
    with pytest.raises(TypeError, match="real numbers"):
        SeriesScaler().fit(["warm"])


# -------------------------------------------------------------------------------- buckets


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return [rng.integers(1, 9, n) for n in rng.integers(5, 60, 203)]


def test_each_sequence_comes_once_with_its_target(rows):
    buckets, rng = Buckets(rows, np.arange(203)), np.random.default_rng(1)
    assert len(buckets) == 203
    orders = []
    for _ in range(2):
        seen = []
        for x, y in buckets.batches(16, rng=rng):
            assert x.shape[1] == max(len(rows[k]) for k in y)
            for row, k in zip(x, y, strict=True):
                np.testing.assert_array_equal(row[: len(rows[k])], rows[k])
                assert not row[len(rows[k]) :].any()
            seen.append(y.tolist())
        assert sorted(k for y in seen for k in y) == list(range(203))
        assert sorted(map(len, seen)) == [11] + [16] * 12
        orders.append(seen)
    assert {frozenset(y) for y in orders[0]} != {frozenset(y) for y in orders[1]}  # new company
    widths = [max(len(rows[k]) for k in y) for y in orders[0]]
    assert widths != sorted(widths)  # not the short ones first


def test_little_is_padded(rows):
    rng, numbers = np.random.default_rng(1), sum(map(len, rows))
    padded = sum(x.size for x, _ in Buckets(rows).batches(16, rng=rng))
    assert padded < 1.2 * numbers < 1.4 * numbers < pad(rows).size


def test_without_shuffle_the_order_is_kept(rows):
    found = [row for x, y in Buckets(rows).batches(16, shuffle=False) for row in x]
    for row, expected in zip(found, rows, strict=True):
        np.testing.assert_array_equal(row[: len(expected)], expected)


def test_side_and_value():
    [(x, y)] = Buckets([[1.5], [2, 3]], side="start", value=-1).batches(5, shuffle=False)
    assert x.tolist() == [[-1, 1.5], [2, 3]] and y is None


def test_a_model_learns_from_buckets_of_any_width():
    rng = np.random.default_rng(0)
    texts = [rng.integers(2, 9, n) for n in rng.integers(2, 30, 120)]
    y = np.arange(120) % 2
    for text, label in zip(texts, y, strict=True):
        text[rng.integers(len(text))] = 1 if label else 9  # one id decides
    layers = [nn.Embedding(10, 4, mask_zero=True, input_shape=(None,)), nn.GlobalMaxPool1D()]
    model = nn.Model([*layers, nn.Dense(2)], seed=0)
    model.compile("cce", "adam", lr=0.05)
    buckets = Buckets(texts, y)
    widths = {x.shape[1] for x, _ in buckets.batches(16, rng=rng)}
    assert len(widths) > 3
    history = model.fit(buckets, epochs=20, batch_size=16, validation_data=buckets, verbose=0)
    assert history["val_acc"][-1] == 1 and history["loss"][-1] < 0.2
    assert model.evaluate(buckets, batch_size=16)["loss"] == pytest.approx(
        model.evaluate(pad(texts), y)["loss"], rel=1e-5
    )
    expected = model.predict(pad(texts))  # of all texts padded to the longest
    np.testing.assert_allclose(model.predict(buckets, batch_size=16), expected, atol=1e-5)


@pytest.mark.parametrize("reader", ["lstm", "gru", "mean", "maximum", "attention"])
def test_texts_of_padding_alone_give_finite_numbers(reader):
    layers = {
        "lstm": [nn.LSTM(3)],
        "gru": [nn.Bidirectional(nn.GRU(3))],
        "mean": [nn.GlobalAvgPool1D()],
        "maximum": [nn.GlobalMaxPool1D()],
        "attention": [nn.MultiHeadAttention(2, 2), nn.GlobalAvgPool1D()],
    }[reader]
    model = nn.Model([nn.Embedding(5, 4, mask_zero=True), *layers, nn.Dense(2)], seed=0)
    model.compile("cce", "sgd", lr=0.1)
    x = np.array([[0, 0, 0], [1, 2, 0], [0, 0, 0]])
    history = model.fit(x, [0, 1, 0], epochs=3, batch_size=2, shuffle=False, verbose=0)
    assert np.isfinite(history["loss"]).all() and np.isfinite(model.predict(x)).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([[1], []],), r"\[Buckets\] 'sequences' must not be empty, got 'sequence 1 empty'"),
        (([[1], [2]], [0]), r"\[Buckets\] 'y' must have as many rows as x \(2\), got 1"),
        (([],), r"\[Buckets\] 'sequences' must hold at least one"),
        (([[1]], None, "left"), "'side' must be one of"),
        (([[1]], None, "end", 0.5), "'value' must be an integer"),
    ],
)
def test_wrong_buckets(arguments, words):
    with pytest.raises(ValueError, match=words):
        Buckets(*arguments)


def test_modules_say_what_they_offer():
    assert nn.data.sequences is sequences and nn.data.text.pad is pad
