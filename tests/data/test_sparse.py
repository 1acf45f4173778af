"""Sparse matrices as inputs: the same numbers as of the dense array, batch by batch."""

import numpy as np
import pytest

import nn
from nn.data.rows import SparseRows

sparse = pytest.importorskip("scipy.sparse", reason="needs scipy (the extra 'test')")

FORMATS = ["bsr", "coo", "csc", "csr", "dok", "lil"]


@pytest.fixture
def table(rng):
    """A table of words, most of whose counts are 0, and classes of its rows."""
    x = (rng.random((60, 12)) < 0.2) * rng.random((60, 12), dtype="float32")
    return x, (x[:, 0] > 0).astype(np.int64)


def classifier(**arguments):
    model = nn.Model([nn.Dense(8, input_shape=(12,)), nn.ReLU(), nn.Dense(2)], seed=0)
    model.compile("cce", lr=0.01, **arguments)
    return model


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("container", ["array", "matrix"])
def test_every_format_trains_and_predicts_as_the_dense_array(kind, container, table):
    x, y = table
    made = getattr(sparse, f"csr_{container}")(x).asformat(kind)
    dense, model = classifier(), classifier()
    options = {"epochs": 2, "verbose": 0, "validation_split": 0.2, "batch_size": 7}
    weights = np.linspace(0, 1, 60)
    expected = dense.fit(x, y, sample_weight=weights, **options)
    assert model.fit(made, y, sample_weight=weights, **options) == expected
    assert model.evaluate(made, y) == dense.evaluate(x, y)
    np.testing.assert_array_equal(model.predict(made), dense.predict(x))
    np.testing.assert_array_equal(model.predict_classes(made), dense.predict_classes(x))
    assert model.input_range == dense.input_range


def test_only_the_rows_of_a_batch_become_dense(table, monkeypatch):
    x, y = table
    made, largest = sparse.csr_matrix(x), []
    toarray = sparse.csr_matrix.toarray

    def counting(self, *arguments, **options):
        largest.append(self.shape[0])
        return toarray(self, *arguments, **options)

    monkeypatch.setattr(sparse.csr_matrix, "toarray", counting)
    monkeypatch.setattr(nn.validation, "_NUMBERS_AT_ONCE", 12 * 10)
    monkeypatch.setattr(nn.training.warnings, "_ROWS_OF_SCALE", 10)
    model = classifier()
    model.fit(made, y, batch_size=10, verbose=0)
    model.predict(made, batch_size=10)
    assert set(largest) == {10}


def test_sparse_batches_of_a_source(table):
    x, y = table
    parts = [slice(0, 25), slice(25, 60)]
    dense, model = classifier(), classifier()
    expected = dense.fit([(x[part], y[part]) for part in parts], epochs=2, verbose=0)
    made = sparse.csr_matrix(x)
    assert model.fit([(made[part], y[part]) for part in parts], epochs=2, verbose=0) == expected
    wanted = np.concatenate([dense.predict(x[part], batch_size=35) for part in parts])
    np.testing.assert_array_equal(model.predict([made[part] for part in parts]), wanted)


def test_a_dataset_keeps_its_parts_sparse(table):
    x, y = table
    dataset = nn.Dataset(sparse.coo_matrix(x), y)
    rest, part = dataset.split(0.25, rng=np.random.default_rng(0))
    dense_rest, dense_part = nn.Dataset(x, y).split(0.25, rng=np.random.default_rng(0))
    for found, wanted in ((rest, dense_rest), (part, dense_part)):
        assert isinstance(found.x, SparseRows)
        np.testing.assert_array_equal(np.asarray(found.x), wanted.x)
        np.testing.assert_array_equal(found.y, wanted.y)
    assert "SparseRows(15 of shape (12,), float32)" in repr(part.x)
    assert dataset.input_range == nn.Dataset(x, y).input_range
    assert dataset.arrays()[0].dtype == np.float32
    np.testing.assert_array_equal(dataset.x[3], x[3])
    np.testing.assert_array_equal(dataset.x[2:5, 1], x[2:5, 1])
    assert "(60, 12)" in dataset._repr_html_()


def test_a_first_layer_standardizes_a_sparse_matrix(table):
    x, y = table
    means = []
    for data in (x, sparse.csr_matrix(x)):
        model = nn.Model([nn.Standardize(), nn.Dense(2)], seed=0)
        model.compile("cce")
        model.fit(data, y, batch_size=10, verbose=0)
        means.append(model.layers[0].buffers["mean"])
    np.testing.assert_array_equal(*means)


def test_what_is_wrong_with_a_sparse_matrix_is_said(table):
    x, y = table
    model, made = classifier(), sparse.csr_matrix(x)
    with pytest.raises(ValueError, match=r"\[Model\].*\(None, 12\), got \(60, 5\)"):
        model.fit(made[:, :5], y)
    with pytest.raises(ValueError, match=r"\[Model\].*\(None, 12\), got \(60, 5\)"):
        model.predict(made[:, :5])
    x[7, 3] = np.nan
    broken = sparse.csr_matrix(x)
    for use in (lambda: model.fit(broken, y), lambda: model.predict(broken)):
        with pytest.raises(ValueError, match=r"'x' must be finite.* row 7"):
            use()
    with pytest.raises(ValueError, match=r"as many rows as x \(60\), got 59"):
        model.fit(made, y[1:])
    with pytest.raises(TypeError, match=r"'x'.*real numbers.*complex128"):
        model.fit(made.astype(complex), y)
    with pytest.raises(TypeError, match=r"'y' must be dense.*csr_matrix.*\(60, 12\).*y\.toarray"):
        model.fit(x, made)
    with pytest.raises(TypeError, match=r"'x' must be dense.*x\.toarray"):
        model.train_step(made, y)
    with pytest.raises(ValueError, match=r"'x'.*two axes.*\(12,\)"):
        nn.Dataset(sparse.coo_array(x[0]))
