"""Embedding: rows of a table, the gradient of those that occur, ids that stay integers."""

import numpy as np
import pytest
from conftest import built

import nn
from nn.inspect import explain

IDS = np.array([[4, 0, 4, 1], [1, 4, 0, 4]])


def classifier(ids=300, steps=6, dtype="float32"):
    layers = [nn.Embedding(ids, 4, input_shape=(steps,)), nn.Flatten(), nn.Dense(2)]
    model = nn.Model(layers, seed=0, dtype=dtype)
    model.compile("cce", "adam", lr=0.01)
    return model


def test_rows_and_their_gradient_by_one_hot_products(rng):
    layer = built(nn.Embedding(6, 3), (4,))
    y = layer.forward(IDS, training=True)
    one_hot = np.eye(6)[IDS]
    np.testing.assert_array_equal(y, one_hot @ layer.params["W"])
    grad = rng.normal(size=y.shape)
    dx = layer.backward(grad)
    assert dx.shape == IDS.shape
    assert not dx.any()
    expected = np.tensordot(one_hot, grad, axes=([0, 1], [0, 1]))
    np.testing.assert_allclose(layer.grads["W"], expected, rtol=1e-13)
    assert not layer.grads["W"][[2, 3, 5]].any()  # ids that do not occur


def test_the_gradient_of_an_id_that_occurs_a_million_times_keeps_its_digits():
    layer = built(nn.Embedding(2, 1), (1_000_000,), dtype="float32")
    grad = np.full((1, 1_000_000, 1), 0.1, dtype="float32")
    layer.forward(np.zeros((1, 1_000_000), dtype=np.int64), training=True)
    layer.backward(grad)
    assert layer.grads["W"][0, 0] == pytest.approx(0.1 * 1e6, rel=1e-6)


def test_initial_values_are_those_of_keras_or_of_an_initializer():
    w = built(nn.Embedding(500, 8), (4,)).params["W"]
    assert -0.05 <= w.min() < -0.049 < 0.049 < w.max() <= 0.05
    assert not built(nn.Embedding(5, 8, embeddings_initializer="zeros"), (4,)).params["W"].any()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "uint64"])
@pytest.mark.parametrize("form", ["array", "dataset", "batches", "list"])
def test_ids_of_any_integers_train_alike(dtype, form, rng):
    x = rng.integers(0, 256, (40, 6)).astype(dtype)
    y = (x[:, 1] > 100).astype(int)
    model, other = classifier(), classifier()
    expected = other.fit(x.astype(int), y, batch_size=10, epochs=3, shuffle=False, verbose=0)
    data = {
        "array": (x, y),
        "dataset": (nn.Dataset(x, y),),
        "batches": ([(x[k : k + 10], y[k : k + 10]) for k in range(0, 40, 10)],),
        "list": (x.tolist(), y),
    }[form]
    history = model.fit(*data, batch_size=10, epochs=3, shuffle=False, verbose=0)
    assert history["loss"] == expected["loss"]
    np.testing.assert_array_equal(model.predict(x), other.predict(x.astype(int)))
    np.testing.assert_array_equal(model.predict(x), model.forward(x))


def test_ids_never_pass_through_float32():
    count = 2**24 + 4
    model = nn.Model([nn.Embedding(count, 1, input_shape=(1,)), nn.Flatten()], seed=0)
    w = model.layers[0].params["W"]
    w[-3:, 0] = [1, 2, 3]
    ids = np.arange(count - 3, count)[:, None]
    np.testing.assert_array_equal(model.predict(ids), [[1], [2], [3]])
    model.compile("mse", "sgd", lr=1.0)
    model.fit(ids[1:2], np.array([[0.0]]), verbose=0)  # float32 has no 16,777,217
    assert w[-3:, 0].tolist() == [1, -2, 3]  # 2 - 2 * (2 - 0)


def test_validation_weights_and_a_split_keep_ids(rng):
    x = rng.integers(0, 300, (40, 6))
    y = x[:, 0] % 2
    model = classifier()
    history = model.fit(
        x, y, epochs=2, validation_split=0.25, class_weight={1: 2.0}, steps_per_epoch=1, verbose=0
    )
    assert len(history["val_loss"]) == 2
    assert model.evaluate(x, y)["acc"] == (model.predict_classes(x) == y).mean()


def test_ids_that_no_training_saw_are_no_reason_for_a_warning(rng):
    model = classifier()
    x = rng.integers(150, 160, (40, 6))  # as bytes have them
    model.fit(x, x[:, 0] % 2, verbose=0)
    model.predict(np.full((1, 6), 299))
    model.predict(np.zeros((1, 6), int))


@pytest.mark.parametrize(
    ("ids", "kind", "message"),
    [
        (IDS + 2, ValueError, r"\[Embedding\] 'x' must hold ids in 0..5, got 6 in row 0"),
        (IDS - 1, ValueError, r"\[Embedding\] 'x' must hold ids in 0..5, got -1 in row 0"),
        (IDS.astype(float), TypeError, r"\[Embedding\] 'x' must hold integer ids, .* float64"),
        (IDS > 0, TypeError, r"\[Embedding\] 'x' must hold integer ids, .* bool"),
    ],
)
@pytest.mark.parametrize("way", ["layer", "forward", "predict", "fit", "batches", "train_step"])
def test_what_is_no_id_is_an_error_everywhere(ids, kind, message, way):
    model, y = classifier(6, 4), np.array([0, 1])
    ways = {
        "layer": lambda: model.layers[0].forward(ids),
        "forward": lambda: model.forward(ids),
        "predict": lambda: model.predict(ids),
        "fit": lambda: model.fit(ids, y, verbose=0),
        "batches": lambda: model.fit([(ids, y)], verbose=0),
        "train_step": lambda: model.train_step(ids, y),
    }
    with pytest.raises(kind, match=message):
        ways[way]()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.Embedding(0, 3),
            r"\[Embedding\] 'input_dim' must be a positive .*, got 0",
        ),
        (lambda: nn.Embedding(3, 2.5), r"\[Embedding\] 'output_dim' .* got 2.5"),
        (
            lambda: nn.Embedding(3, 2, kernel_initializer="he"),
            r"\[Embedding\] 'kernel_initializer' must be one of",
        ),
        (lambda: nn.Embedding(3, 2).build((None, 4, 5)), r"expects 2-D input, .*ids are integers"),
        (
            lambda: explain.saliency_map(classifier(6, 4), IDS, 0),
            r"\[saliency_map\] needs inputs that have a gradient",
        ),
    ],
)
def test_wrong_use(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_resumed_training_is_the_same_bit_for_bit(tmp_path, rng):
    x = rng.integers(0, 300, (40, 6))
    y = x[:, 0] % 2
    whole, part = classifier(), classifier()
    whole.fit(x, y, epochs=3, verbose=0)
    part.fit(x, y, epochs=1, verbose=0)
    part.save(tmp_path / "model.hdf5")
    again = classifier()
    again.fit(x, y, epochs=3, resume=tmp_path / "model.hdf5", verbose=0)
    np.testing.assert_array_equal(again.layers[0].params["W"], whole.layers[0].params["W"])
