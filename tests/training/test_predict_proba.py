"""The probabilities of classes, for every kind of classifier."""

import numpy as np
import pytest

import nn

X = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")


def model(*layers, loss=None):
    made = nn.Model([*layers], seed=0)
    if loss is not None:
        made.compile(loss)
    made.build((None, 4))
    return made


def softmax(logits, axis=-1):
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def test_logits_go_through_the_activation_of_the_loss():
    several = model(nn.Dense(3), loss="cce")
    np.testing.assert_allclose(several.predict_proba(X), softmax(several.predict(X)), rtol=1e-6)
    one = model(nn.Dense(1), loss="bce")
    yes = 1 / (1 + np.exp(-one.predict(X).astype(np.float64)))
    np.testing.assert_allclose(one.predict_proba(X), np.hstack([1 - yes, yes]), rtol=1e-6)
    labels = model(nn.Dense(3), loss="bce")
    yes = 1 / (1 + np.exp(-labels.predict(X).astype(np.float64)))
    np.testing.assert_allclose(labels.predict_proba(X), yes, rtol=1e-6)


@pytest.mark.parametrize("loss", ["cce", None])
def test_outputs_that_are_probabilities_stay(loss):
    found = model(nn.Dense(3), nn.Softmax(), loss=loss)
    np.testing.assert_allclose(found.predict_proba(X), found.predict(X), rtol=1e-6)
    logs = model(nn.Dense(3), nn.LogSoftmax(), loss="cce")
    np.testing.assert_allclose(logs.predict_proba(X), np.exp(logs.predict(X)), rtol=1e-6)
    one = model(nn.Dense(1), nn.Sigmoid(), loss="bce" if loss else None)
    np.testing.assert_allclose(one.predict_proba(X)[:, 1:], one.predict(X), rtol=1e-6)


def test_they_sum_to_one_and_choose_the_class():
    found = model(nn.Dense(7, kernel_initializer="he_normal"), loss="cce")
    x = 30 * np.random.default_rng(1).normal(size=(500, 4))
    probabilities = found.predict_proba(x, batch_size=64)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), found.predict_classes(x))


def test_pixels_and_steps_keep_their_shape():
    pixels = nn.Model([nn.Conv2D(3, 1, input_shape=(2, 4, 5))], seed=0)
    pixels.compile("cce")
    x = np.random.default_rng(2).random((2, 2, 4, 5), dtype="float32")
    wanted = softmax(pixels.predict(x), axis=1)
    np.testing.assert_allclose(pixels.predict_proba(x), wanted, rtol=1e-6)
    steps = nn.Model([nn.Dense(3, input_shape=(6, 2))], seed=0)
    steps.compile("cce")
    x = np.random.default_rng(2).random((2, 6, 2), dtype="float32")
    np.testing.assert_allclose(steps.predict_proba(x), softmax(steps.predict(x)), rtol=1e-6)


@pytest.mark.parametrize("loss", ["mse", "hinge", None])
def test_other_outputs_are_no_probabilities(loss):
    with pytest.raises(ValueError, match=r"\[Model\] predict_proba\(\) needs.*Softmax.*loss"):
        model(nn.Dense(3), loss=loss).predict_proba(X)
