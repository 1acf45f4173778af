"""Data as people have them: tables, labels that are texts, data sets of single samples."""

import numpy as np
import pytest

import nn

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 1)
NAMES = np.array(["low", "mid", "top"])


def model(outputs=3, loss="cce", features=3):
    made = nn.Model([nn.Dense(outputs, input_shape=(features,))], seed=0)
    made.compile(loss, lr=0.05)
    return made


# ------------------------------------------------------------------------ tables


def tables():
    """Yield a name, a table of pandas and the numbers in it."""
    pandas = pytest.importorskip("pandas", reason="needs pandas (the extra 'test')")
    plain = pandas.DataFrame(X.astype("float64"), columns=["a", "b", "c"])
    yield "nullable", plain.astype({"a": "Float64", "b": "Float32"}), X.astype("float64")
    mixed = plain.assign(b=Y > 0, c=pandas.array(Y, dtype="Int64"))
    yield "mixed", mixed, np.column_stack([X[:, 0].astype("float64"), Y > 0, Y])
    bools = pandas.DataFrame({"a": Y > 0, "b": pandas.array(Y > 1, dtype="boolean"), "c": Y == 2})
    yield "bools", bools, np.column_stack([Y > 0, Y > 1, Y == 2])
    counts = pandas.DataFrame({"a": Y, "b": pandas.array(Y, dtype="UInt8"), "c": Y > 0})
    yield "counts", counts, np.column_stack([Y, Y, Y > 0])
    yield "categories", plain.assign(c=pandas.Categorical(Y)), np.column_stack([X[:, :2], Y])


def test_columns_of_numbers_and_bools_of_any_type():
    for name, table, numbers in tables():
        found, wanted = model(), model()
        history = found.fit(table, Y, epochs=2, verbose=0, validation_split=0.25)
        assert history == wanted.fit(
            numbers.astype("float64"), Y, epochs=2, verbose=0, validation_split=0.25
        ), name
        np.testing.assert_array_equal(found.predict(table), wanted.predict(numbers.astype("f8")))


def test_targets_that_are_columns():
    pandas = pytest.importorskip("pandas", reason="needs pandas (the extra 'test')")
    wanted = model().fit(X, Y, verbose=0)
    for column in (pandas.Series(Y, dtype="Int64"), pandas.Series(Y)):
        assert model().fit(X, column, verbose=0) == wanted


COLUMN_DOORS = ["predict", "classes", "evaluate", "validation", "fit again", "Dataset", "a part"]


@pytest.mark.parametrize("where", COLUMN_DOORS)
@pytest.mark.parametrize("trained_on", ["table", "Dataset", "part", "file", "weights", "resumed"])
def test_columns_in_another_order_are_refused(where, trained_on, tmp_path):
    pandas = pytest.importorskip("pandas", reason="needs pandas (the extra 'test')")
    table = pandas.DataFrame(X, columns=["a", "b", "c"])
    found = model()
    if trained_on in ("Dataset", "part"):
        data = nn.Dataset(table, Y)
        found.fit(data.split(0.2)[0] if trained_on == "part" else data, verbose=0)
    else:
        found.fit(table, Y, verbose=0)
    found.save(tmp_path / "m.hdf5")
    if trained_on == "file":
        found = nn.Model.load(tmp_path / "m.hdf5")
    elif trained_on == "weights":
        found = model()
        found.load_weights(tmp_path / "m.hdf5")
    elif trained_on == "resumed":
        found = model()
        found.fit(X, Y, epochs=2, resume=tmp_path / "m.hdf5", verbose=0)
    assert found.feature_names == ["a", "b", "c"]
    calls = {
        "predict": found.predict,
        "classes": found.predict_classes,
        "evaluate": lambda x: found.evaluate(x, Y),
        "validation": lambda x: found.fit(table, Y, val_data=(x, Y), epochs=9, verbose=0),
        "fit again": lambda x: found.fit(x, Y, epochs=9, verbose=0),
        "Dataset": lambda x: found.evaluate(nn.Dataset(x, Y)),
        "a part": lambda x: found.predict(nn.Dataset(x, Y).split(0.2)[1]),
    }
    message = r"must have the columns of the training in their order, 'a' at 0, got 'c': pass table"
    with pytest.raises(ValueError, match=message):
        calls[where](table[["c", "a", "b"]])
    calls[where](table[["c", "a", "b"]][found.feature_names])
    calls[where](table[["c", "a", "b"]].to_numpy())  # has no names


def test_columns_in_another_order_than_those_of_a_file_are_refused(tmp_path):
    pandas = pytest.importorskip("pandas", reason="needs pandas (the extra 'test')")
    table = pandas.DataFrame(X, columns=["a", "b", "c"])
    found = model()
    found.fit(table, Y, verbose=0)
    found.save(tmp_path / "m.hdf5")
    with pytest.raises(ValueError, match=r"'data' must have the columns of the training"):
        model().fit(table[["b", "a", "c"]], Y, epochs=2, resume=tmp_path / "m.hdf5", verbose=0)


def test_columns_of_other_names_are_refused_but_for_training():
    pandas = pytest.importorskip("pandas", reason="needs pandas (the extra 'test')")
    found = model()
    found.fit(pandas.DataFrame(X, columns=["a", "b", "c"]), Y, verbose=0)
    other = pandas.DataFrame(X, columns=["a", "d", "c"])
    with pytest.raises(ValueError, match=r"'b' at 1, got 'd': pass an array, as by to_numpy"):
        found.predict(other)
    found.predict(pandas.DataFrame(X))  # columns without names
    with pytest.raises(ValueError, match=r"expects inputs of shape \(None, 3\)"):
        found.predict(other[["a", "c"]])
    found.fit(other, Y, verbose=0)
    assert found.feature_names == ["a", "d", "c"]
    found.predict(other)


WEIGHTED = ["weighted fit", "weighted evaluate", "weighted validation", "weighted Dataset"]


@pytest.mark.parametrize("where", ["fit", "evaluate", "validation", "Dataset", *WEIGHTED])
def test_rows_in_another_order_are_refused(where):
    pandas = pytest.importorskip("pandas", reason="needs pandas (the extra 'test')")
    table = pandas.DataFrame({"a": np.arange(8.0), "b": np.ones(8), "y": np.arange(8) % 2})
    x, y = table[["a", "b"]], table["y"]
    shuffled = y.sample(frac=1, random_state=0)
    model = nn.Model([nn.Dense(2, input_shape=(2,))], seed=0)
    model.compile("cce", "sgd")
    calls = {
        "fit": lambda y: model.fit(x, y, verbose=0),
        "evaluate": lambda y: model.evaluate(x, y),
        "validation": lambda y: model.fit(x, table["y"], val_data=(x, y), verbose=0),
        "Dataset": lambda y: nn.data.Dataset(x, y),
        "weighted fit": lambda w: model.fit(x, table["y"], sample_weight=w, verbose=0),
        "weighted evaluate": lambda w: model.evaluate(x, table["y"], sample_weight=w),
        "weighted validation": lambda w: model.fit(
            x, table["y"], val_data=(x, table["y"], w), verbose=0
        ),
        "weighted Dataset": lambda w: nn.data.Dataset(x, table["y"], w),
    }
    refused = "sample_weight" if where in WEIGHTED else "y"
    with pytest.raises(ValueError, match=f"'{refused}' must have its rows .* of those of 'x'"):
        calls[where](shuffled)
    calls[where](y)
    calls[where](shuffled.loc[x.index])
    calls[where](shuffled.to_numpy())
    calls[where](y.set_axis(range(10, 18)))  # labels of their own say nothing


def test_gaps_and_texts_in_a_table_are_named():
    pandas = pytest.importorskip("pandas", reason="needs pandas (the extra 'test')")
    table = pandas.DataFrame(X, columns=["a", "b", "c"]).astype("Float64")
    table.loc[7, "b"] = pandas.NA
    with pytest.raises(ValueError, match=r"'x' must be finite.*row 7"):
        model().fit(table, Y)
    table = pandas.DataFrame({"a": X[:, 0], "b": Y > 0, "town": pandas.Categorical(NAMES[Y])})
    with pytest.raises(TypeError, match=r"from the columns 'town' \(category\): .*get_dummies"):
        model().fit(table, Y)
    table["town"] = pandas.Timestamp("2026-01-01")
    with pytest.raises(TypeError, match=r"'town' \(datetime64.*\): make a number of each time"):
        model().fit(table, Y)


# ------------------------------------------------------------------------ labels


def labels():
    yield NAMES[Y]
    yield NAMES[Y].astype(object)
    yield NAMES[Y].tolist()
    pandas = pytest.importorskip("pandas", reason="needs pandas (the extra 'test')")
    yield pandas.Series(NAMES[Y])
    yield pandas.Series(NAMES[Y], dtype="category")


def test_labels_that_are_texts_become_class_names():
    wanted = model()
    history = wanted.fit(X, Y, epochs=2, validation_split=0.25, verbose=0)
    for given in labels():
        found = model()
        assert found.fit(X, given, epochs=2, validation_split=0.25, verbose=0) == history
        assert found.class_names == NAMES.tolist()
        assert found.evaluate(X, given) == wanted.evaluate(X, Y)
        assert nn.Dataset(X, given).class_names == tuple(NAMES)
    np.testing.assert_array_equal(
        found.predict_classes(X, names=True), NAMES[wanted.predict_classes(X)]
    )


def test_categories_keep_their_order_and_names_choose_the_numbers():
    pandas = pytest.importorskip("pandas", reason="needs pandas (the extra 'test')")
    order = ["top", "unused", "low", "mid"]
    column = pandas.Series(pandas.Categorical(NAMES[Y], categories=order))
    dataset = nn.Dataset(X, column)
    assert dataset.class_names == ("top", "low", "mid")
    np.testing.assert_array_equal(np.array(dataset.class_names)[dataset.y], NAMES[Y])
    named = nn.Dataset(X, NAMES[Y], class_names=order)
    np.testing.assert_array_equal(np.array(order)[named.y], NAMES[Y])
    with pytest.raises(ValueError, match=r"'y' must hold labels of \['low', 'mid'\], got .*'top'"):
        nn.Dataset(X, NAMES[Y], class_names=["low", "mid"])


def test_texts_of_other_data_are_those_of_the_model():
    wanted, found = model(), model()
    few = Y > 0  # without 'low'
    expected = wanted.fit(X, Y, val_data=(X[few], Y[few]), verbose=0)
    assert found.fit(X, NAMES[Y], val_data=(X[few], NAMES[Y[few]]), verbose=0) == expected
    assert found.evaluate(X[few], NAMES[Y[few]]) == wanted.evaluate(X[few], Y[few])
    with pytest.raises(ValueError, match=r"class names of the model.*\['other'\]"):
        found.evaluate(X, ["other"] * 40)
    with pytest.raises(ValueError, match=r"'y' must be numbers, as the model has no class names"):
        wanted.evaluate(X, NAMES[Y])
    with pytest.raises(ValueError, match=r"'y' must be numbers, as the model has no class names"):
        model().fit(X, Y, val_data=(X, NAMES[Y]))
    with pytest.raises(TypeError, match=r"'y' must hold real numbers"):
        model(1, "mse").fit(X, NAMES[Y])
    with pytest.raises(ValueError, match=r"as many rows as x \(40\), got 39"):
        model().fit(X, NAMES[Y[1:]])


def test_weights_of_classes_by_their_names():
    expected = model().fit(X, Y, class_weight={0: 3.0, 2: 0.5}, verbose=0)
    found = model()
    weights = {"low": 3.0, "top": 0.5}
    assert found.fit(X, NAMES[Y], class_weight=weights, verbose=0) == expected
    with pytest.raises(ValueError, match=r"'class_weight'.*'huge'"):
        found.fit(X, NAMES[Y], class_weight={"huge": 3.0})


# ------------------------------------------------------------------------ samples


class Samples:
    """A data set of samples: what `torch.utils.data.Dataset` is."""

    def __init__(self, *columns):
        self.columns = columns

    def __len__(self):
        return len(self.columns[0])

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        return tuple(column[index] for column in self.columns)


def test_data_sets_of_samples_are_read_in_batches():
    data, weights = Samples(X, Y), np.linspace(0, 1, 40)
    found, wanted = model(), model()
    options = {"epochs": 2, "batch_size": 16, "shuffle": False, "verbose": 0}
    assert found.fit(data, val_data=data, **options) == wanted.fit(X, Y, val_data=(X, Y), **options)
    weighted = Samples(X, Y, weights)
    assert found.fit(weighted, **options) == wanted.fit(X, Y, sample_weight=weights, **options)
    assert found.evaluate(data) == pytest.approx(wanted.evaluate(X, Y))
    np.testing.assert_array_equal(found.predict(data), wanted.predict(X))
    first, again = model(), model()
    assert first.fit(data, epochs=2, verbose=0) == again.fit(data, epochs=2, verbose=0)
    assert first.fit(data, verbose=0) != again.fit(data, shuffle=False, verbose=0)


def test_images_and_several_targets_are_told_from_batches():
    images = np.random.default_rng(0).random((12, 1, 4, 4), dtype="float32")
    targets = np.random.default_rng(1).random((12, 2), dtype="float32")
    found = nn.Model([nn.Flatten(input_shape=(1, 4, 4)), nn.Dense(2)], seed=0)
    found.compile("mse")
    for data in (Samples(images, targets), Samples(np.array([images]), np.array([targets]))):
        assert found.fit(data, verbose=0, batch_size=5)["loss"]
    assert nn.data.samples.holds_samples(Samples(images, np.arange(12)), None)
    assert not nn.data.samples.holds_samples(Samples(images, targets), None)
    assert not nn.data.samples.holds_samples([images[0]], None)
    with pytest.raises(ValueError, match=r"samples of one shape.*\(1, 4, 4\), \(1, 5, 4\)"):
        found.fit(Samples([images[0], np.zeros((1, 5, 4))], targets[:2]), verbose=0)


def test_data_sets_of_pytorch():
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    part = torch.utils.data.Subset(data, range(24))
    wanted = model().fit(X[:24], Y[:24], shuffle=False, verbose=0)
    assert model().fit(part, shuffle=False, verbose=0) == wanted
    targets = torch.tensor(X[:, :, None]), torch.tensor(X[:, :2])
    unbuilt = nn.Model([nn.Flatten(), nn.Dense(2)], seed=0)
    unbuilt.compile("mse")
    unbuilt.fit(torch.utils.data.TensorDataset(*targets), verbose=0)
    assert unbuilt.input_shape == (None, 3, 1)


class Streamed(type("IterableDataset", (), {"__module__": "torch.utils.data.dataset"})):
    """What a subclass of PyTorch's `IterableDataset` is: samples, or batches, in their order."""

    def __init__(self, *columns):
        self.columns = columns

    def __iter__(self):
        return iter(zip(*self.columns, strict=True))


def test_samples_that_come_in_their_order_are_read_in_batches():
    options = {"epochs": 2, "batch_size": 16, "shuffle": False, "verbose": 0}
    found, wanted = model(), model()
    data = Streamed(X, Y)
    assert found.fit(data, val_data=data, **options) == wanted.fit(X, Y, val_data=(X, Y), **options)
    assert found.evaluate(data) == pytest.approx(wanted.evaluate(X, Y))
    np.testing.assert_array_equal(found.predict(data), wanted.predict(X))
    np.testing.assert_array_equal(found.predict(Streamed(X)), wanted.predict(X))
    batches = Streamed(np.split(X, 4), np.split(Y, 4))  # which it may make itself
    assert found.fit(batches, verbose=0)["loss"]
    assert not nn.data.samples.holds_samples(iter([(X[0], Y[0])]), (None, 3))


def test_a_streamed_data_set_of_pytorch():
    torch = pytest.importorskip("torch", reason="needs PyTorch")

    class Lines(torch.utils.data.IterableDataset):
        def __iter__(self):
            return ((torch.from_numpy(x), y) for x, y in zip(X, Y, strict=True))

    options = {"batch_size": 16, "shuffle": False, "verbose": 0}
    assert model().fit(Lines(), **options) == model().fit(X, Y, **options)


# ------------------------------------------------------------------------ targets, inputs


def test_targets_of_one_output_in_batches():
    y = X[:, 0]
    batches = [(X[:20], y[:20]), (X[20:], y[20:])]
    wanted = model(1, "mse").fit([(a, b[:, None]) for a, b in batches], verbose=0)
    assert model(1, "mse").fit(batches, verbose=0) == wanted
    unbuilt = nn.Model([nn.Dense(1)], seed=0)
    unbuilt.compile("mse", lr=0.05)
    assert unbuilt.fit(batches, verbose=0) == wanted
    assert unbuilt.evaluate(batches) == unbuilt.evaluate(X, y)


@pytest.mark.parametrize("inputs", [[X, X], (X, X[:, :2]), {"left": X, "right": X}])
def test_several_inputs_are_said_to_be_impossible(inputs):
    with pytest.raises(
        TypeError, match=r"'x' must be one array, got a \w+ of 2, \(40, 3\).*concat"
    ):
        model().fit(inputs, Y)


@pytest.mark.parametrize("inputs", [[X[:, :1], X[:, 1:]], [X[:, None], X], (X[:, :2], X[:, :2])])
def test_several_inputs_of_predict_are_told_from_batches(inputs):
    with pytest.raises(TypeError, match=r"'x' must be one array, got a \w+ of 2, \(40.*concat"):
        model().predict(inputs)
    found = model()
    whole = found.predict(X)
    np.testing.assert_array_equal(found.predict([X[:20], X[20:]]), whole)  # batches
    np.testing.assert_array_equal(found.predict(list(X)), whole)  # samples
    with pytest.raises(ValueError, match=r"batch 1: expects inputs of shape \(None, 3\)"):
        found.predict([X, X[:7, :2]])
