"""Tests of exercise 3. Each function gets the submission, a module; its docstring is its name."""

import numpy as np

import nn
from nn.inspect.comparison import compare

RNG = np.random.default_rng(0)
LOGITS, LABELS = RNG.normal(size=(6, 4)), RNG.integers(0, 4, 6)


def answer(submission, logits, labels):
    """Return the loss and the gradient of the submission."""
    answer = submission.cross_entropy(logits, labels)
    is_pair = isinstance(answer, tuple) and len(answer) == 2
    got = f"{len(answer)} values" if isinstance(answer, tuple) else type(answer).__name__
    assert is_pair, f"cross_entropy() must return the loss and the gradient, got {got}"
    return answer


def test_loss(submission):
    """loss"""
    loss, _ = answer(submission, LOGITS.copy(), LABELS)
    expected = nn.losses.CategoricalCrossentropy().forward(LOGITS, LABELS)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_gradient(submission):
    """gradient"""
    x = LOGITS.copy()
    numerical = nn.gradcheck.numerical_gradient(lambda: float(answer(submission, x, LABELS)[0]), x)
    _, grad = answer(submission, LOGITS.copy(), LABELS)
    comparison = compare(np.asarray(grad), numerical, samples=len(LABELS))
    assert comparison.error < 1e-6, f"gradient {comparison}"


def test_stable(submission):
    """scores of 1000"""
    logits = np.array([[1000.0, 0.0], [-1000.0, 0.0]])
    with np.errstate(all="ignore"):
        loss, grad = answer(submission, logits, np.array([0, 0]))
    assert np.isfinite(grad).all(), "the gradient is not finite"
    np.testing.assert_allclose(loss, 500, rtol=1e-6)


def test_unchanged(submission):
    """inputs unchanged"""
    logits = LOGITS.copy()
    answer(submission, logits, LABELS)
    np.testing.assert_array_equal(logits, LOGITS, "the logits were changed in place")
