"""The losses against their definitions, numerical gradients, and the rules for targets."""

import json
import math
import re

import numpy as np
import pytest

import nn
from nn import losses

pytestmark = pytest.mark.usefixtures("arrays_decide_where_they_are_computed")

ELEMENTWISE = [losses.MeanSquaredError, losses.MeanAbsoluteError, losses.Huber]
ALL = sorted(set(losses.NAME2LOSS.values()), key=lambda cls: cls.__name__)
N, K = 6, 4


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def case(cls, dtype="float64", seed=0):
    """Predictions and targets that suit a loss, away from its kinks."""
    rng = np.random.default_rng(seed)
    z, labels = rng.normal(size=(N, K)), rng.integers(0, K, N)
    targets = {
        losses.CategoricalCrossentropy: labels,
        losses.Hinge: labels,
        losses.BinaryCrossentropy: rng.uniform(size=(N, K)).astype(dtype),
        losses.KLDivergence: softmax(rng.normal(size=(N, K))).astype(dtype),
    }.get(cls, rng.normal(size=(N, K)).astype(dtype))
    if cls is losses.KLDivergence:
        z = softmax(z)
    return z.astype(dtype), targets


def numerical_gradient(loss, y_pred, y_true, h=1e-6, **arguments):
    gradient = np.zeros_like(y_pred)
    for index in np.ndindex(y_pred.shape):
        values = []
        for sign in (1, -1):
            moved = y_pred.copy()
            moved[index] += sign * h
            values.append(loss.forward(moved, y_true, **arguments))
        gradient[index] = (values[0] - values[1]) / (2 * h)
    return gradient


def check_gradient(loss, y_pred, y_true, **arguments):
    expected = numerical_gradient(loss, y_pred, y_true, **arguments)
    loss.forward(y_pred, y_true, **arguments)
    error = np.abs(loss.backward() - expected).max() / np.abs(expected).max()
    assert error <= 1e-6
    assert np.abs(expected).max() > 1e-3


# ------------------------------------------------------------------- values by definition


def test_values_of_the_elementwise_losses():
    y_pred, y_true = case(losses.MeanSquaredError)
    d = [float(p - t) for p, t in zip(y_pred.flat, y_true.flat, strict=True)]
    mse = sum(x * x for x in d) / len(d)
    mae = sum(abs(x) for x in d) / len(d)
    huber = sum(x * x / 2 if abs(x) <= 0.7 else 0.7 * (abs(x) - 0.35) for x in d) / len(d)
    assert losses.MeanSquaredError().forward(y_pred, y_true) == pytest.approx(mse, rel=1e-14)
    assert losses.MeanAbsoluteError().forward(y_pred, y_true) == pytest.approx(mae, rel=1e-14)
    assert losses.Huber(0.7).forward(y_pred, y_true) == pytest.approx(huber, rel=1e-14)


def test_value_of_binary_crossentropy():
    z, t = case(losses.BinaryCrossentropy)
    total = 0.0
    for logit, target in zip(z.flat, t.flat, strict=True):
        p = 1 / (1 + math.exp(-logit))
        total -= target * math.log(p) + (1 - target) * math.log(1 - p)
    value = losses.BinaryCrossentropy().forward(z, t)
    assert value == pytest.approx(total / z.size, rel=1e-14)


def test_value_of_categorical_crossentropy():
    z, labels = case(losses.CategoricalCrossentropy)
    expected = -sum(math.log(softmax(z)[i, labels[i]]) for i in range(N)) / N
    assert losses.CategoricalCrossentropy().forward(z, labels) == pytest.approx(expected, rel=1e-14)
    rows = softmax(np.random.default_rng(5).normal(size=(N, K)))
    expected = -sum(rows[i, k] * math.log(softmax(z)[i, k]) for i in range(N) for k in range(K)) / N
    assert losses.CategoricalCrossentropy().forward(z, rows) == pytest.approx(expected, rel=1e-14)


def test_value_of_hinge():
    z, labels = case(losses.Hinge)
    total = 0.0
    for i in range(N):
        for k in range(K):
            if k != labels[i]:
                total += max(0.0, z[i, k] - z[i, labels[i]] + 0.4)
    assert losses.Hinge(0.4).forward(z, labels) == pytest.approx(total / N, rel=1e-14)


def test_value_of_kl_divergence():
    p, t = case(losses.KLDivergence)
    t[0] = [1, 0, 0, 0]
    p[0, 1:], p[0, 0] = [0, 0, 0.5], 0.5
    total = 0.0
    for target, probability in zip(t.flat, p.flat, strict=True):
        if target > 0:
            total += target * math.log(target / probability)
    assert losses.KLDivergence().forward(p, t) == pytest.approx(total / N, rel=1e-13)
    assert losses.KLDivergence().forward(t, t) == 0.0


def test_smoothing_by_hand():
    # q = 0.7 * onehot + 0.3 / 4; for logits of 0 every log-probability is -log(4)
    loss = losses.CategoricalCrossentropy(label_smoothing=0.3)
    assert loss.forward(np.zeros((1, 4)), np.array([2])) == pytest.approx(math.log(4), rel=1e-15)
    expected = [[0.25 - 0.075, 0.25 - 0.075, 0.25 - 0.775, 0.25 - 0.075]]
    assert loss.backward() == pytest.approx(np.array(expected), rel=1e-14)
    z, labels = case(losses.CategoricalCrossentropy)
    rows = 0.7 * np.eye(K)[labels] + 0.3 / K
    plain = losses.CategoricalCrossentropy().forward(z, rows)
    assert loss.forward(z, labels) == pytest.approx(plain, rel=1e-14)
    assert loss.forward(z, np.eye(K)[labels]) == pytest.approx(plain, rel=1e-14)
    binary = losses.BinaryCrossentropy(label_smoothing=0.2)
    binary.forward(np.zeros((2, 1)), np.array([0, 1]))
    assert binary.backward() == pytest.approx(np.array([[0.5 - 0.1], [0.5 - 0.9]]) / 2, rel=1e-14)


@pytest.mark.parametrize("form", ["labels", "integer rows", "float rows", "bool rows", "list"])
@pytest.mark.parametrize("cls", [losses.CategoricalCrossentropy, losses.Hinge])
def test_labels_and_one_hot_rows_are_the_same(cls, form):
    z, labels = case(cls)
    given = {
        "labels": labels.astype("uint8"),
        "integer rows": np.eye(K, dtype=int)[labels],
        "float rows": np.eye(K, dtype="float32")[labels],
        "bool rows": np.eye(K, dtype=bool)[labels],
        "list": labels.tolist(),
    }[form]
    one, other = cls(), cls()
    assert one.forward(z, given) == other.forward(z, labels)
    assert np.array_equal(one.backward(), other.backward())


@pytest.mark.parametrize("form", ["labels", "one-hot", "smoothed", "weights"])
@pytest.mark.parametrize("axis", [1, 2], ids=["pixels", "steps"])
def test_crossentropy_of_steps_and_pixels_is_that_of_rows(axis, form):
    """Against the loss of the rows (N * ..., classes): the mean over all labels, its gradient."""
    rng = np.random.default_rng(2)
    z = rng.normal(size=(3, 4, 2, 5) if axis == 1 else (3, 6, 4))
    labels = rng.integers(0, 4, [n for k, n in enumerate(z.shape) if k != axis])
    rows, weights, each = np.moveaxis(z, axis, -1).reshape(-1, 4), None, None
    if form == "weights":
        weights = np.array([0.5, 2.0, 0.0])
        each = np.repeat(weights, labels[0].size)
    targets = np.moveaxis(np.eye(4)[labels], -1, axis) if form == "one-hot" else labels
    loss, of_rows = (
        losses.CategoricalCrossentropy(0.1 if form == "smoothed" else 0.0) for _ in range(2)
    )
    value = loss.forward(z, targets, sample_weight=weights)
    assert value == pytest.approx(of_rows.forward(rows, labels.reshape(-1), each), rel=1e-14)
    expected = of_rows.backward().reshape(np.moveaxis(z, axis, -1).shape)
    np.testing.assert_allclose(loss.backward(), np.moveaxis(expected, -1, axis), rtol=1e-13)
    check_gradient(loss, z, targets, sample_weight=weights)


@pytest.mark.parametrize(
    ("shape", "y_true", "message"),
    [
        ((2, 5, 3), np.zeros(2, int), r"labels of shape \(2, 5\) .*got \(2,\): .*add Flatten\(\)"),
        ((2, 5, 3), np.zeros((2, 5, 1), int), r"got \(2, 5, 1\): use y_true.reshape\(2, 5\)"),
        ((2, 5, 3), np.full((2, 5), 3), r"'y_true' must be in 0\.\.2, got 3"),
        ((2, 5, 3), np.zeros((2, 5)), "must hold integer labels, got dtype float64"),
        ((2, 5, 3), np.ones((2, 5, 3)), "must have rows of at least 0 that sum to 1, but row 0 is"),
        ((2, 3, 4, 4), np.full((2, 4, 4), -1), r"'y_true' must be in 0\.\.2, got -1"),
        ((2, 3, 4, 4), np.zeros((2, 4, 5), int), r"labels of shape \(2, 4, 4\)"),
        ((2, 5, 1), np.zeros((2, 5), int), "at least 2 classes.*use 'binary_crossentropy'"),
        (
            (2, 5, 3, 2, 2),
            np.zeros((2, 3, 2, 2), int),
            r"\(N, classes, H, W\), got \(2, 5, 3, 2, 2",
        ),
    ],
)
def test_labels_of_steps_and_pixels_that_do_not_fit_are_errors(shape, y_true, message):
    with pytest.raises(ValueError, match=message):
        losses.CategoricalCrossentropy().forward(np.zeros(shape), y_true)


def test_binary_crossentropy_takes_a_flat_column_of_labels():
    z = np.array([[0.3], [-2.0], [1.0]])
    flat, column = losses.BinaryCrossentropy(), losses.BinaryCrossentropy()
    labels = np.array([1, 0, 0])
    assert flat.forward(z, labels) == column.forward(z, labels[:, None].astype(bool))
    assert np.array_equal(flat.backward(), column.backward())
    assert flat.backward().shape == (3, 1)


# ------------------------------------------------------------------------------ gradients


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cls", ALL)
def test_gradient_is_the_numerical_one(cls, weighted):
    y_pred, y_true = case(cls)
    arguments = {"sample_weight": np.arange(N) / 3} if weighted else {}
    check_gradient(cls(), y_pred, y_true, **arguments)


@pytest.mark.parametrize(
    "loss",
    [
        losses.Huber(0.1),
        losses.Huber(50.0),
        losses.Hinge(3.0),
        losses.CategoricalCrossentropy(0.2),
        losses.BinaryCrossentropy(0.2),
    ],
    ids=lambda loss: str(loss.to_config()),
)
def test_gradient_with_arguments(loss):
    check_gradient(loss, *case(type(loss)))


def test_gradient_of_mixed_rows():
    z, labels = case(losses.CategoricalCrossentropy)
    rows = 0.3 * np.eye(K)[labels] + 0.7 * np.eye(K)[labels[::-1]]
    check_gradient(losses.CategoricalCrossentropy(), z, rows)


@pytest.mark.parametrize("cls", ELEMENTWISE)
@pytest.mark.parametrize("shape", [(5,), (5, 1), (2, 3, 4, 4)])
def test_elementwise_losses_take_any_shape(cls, shape):
    rng = np.random.default_rng(1)
    y_pred, y_true = rng.normal(size=shape), rng.normal(size=shape)
    check_gradient(cls(), y_pred, y_true, sample_weight=rng.uniform(size=shape[0]))


@pytest.mark.parametrize("cls", ALL)
def test_gradient_at_kinks_and_repeats(cls):
    y_pred, y_true = case(cls)
    loss = cls()
    loss.forward(y_pred, y_true)
    first = loss.backward()
    assert np.array_equal(loss.backward(), first)
    first[...] = 99  # what was handed out is the caller's
    assert not np.any(loss.backward() == 99)
    equal = losses.MeanAbsoluteError()
    equal.forward(np.ones((2, 2)), np.ones((2, 2)))
    assert np.array_equal(equal.backward(), np.zeros((2, 2)))


# ------------------------------------------------------------------------- sample weights


@pytest.mark.parametrize("cls", ALL)
def test_weights_multiply_each_samples_loss(cls):
    y_pred, y_true = case(cls)
    weights = [0.0, 2.0, 0.5, 1.0, 3.0, 0.25]
    loss = cls()
    value = loss.forward(y_pred, y_true, sample_weight=weights)
    gradient = loss.backward()
    single = [loss.forward(y_pred[i : i + 1], y_true[i : i + 1]) for i in range(N)]
    expected = sum(w * s for w, s in zip(weights, single, strict=True)) / N
    assert value == pytest.approx(expected, rel=1e-14)
    assert not gradient[0].any() and gradient[1:].any()
    assert loss.forward(y_pred, y_true, sample_weight=np.ones(N)) == loss.forward(y_pred, y_true)
    # the weights of one batch are not those of the next
    loss.forward(y_pred, y_true, sample_weight=weights)
    loss.forward(y_pred, y_true)
    assert loss.backward()[0].any()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(N - 1), r"'sample_weight' must have the shape \(6,\).* got \(5,\)"),
        (np.ones((N, 1)), r"'sample_weight' must have the shape \(6,\).* got \(6, 1\)"),
        (-np.ones(N), "'sample_weight' must be at least 0"),
        (np.full(N, np.nan), "'sample_weight' must be at least 0 and not NaN"),
        (np.full(N, np.inf), "'sample_weight' must be at least 0 and not NaN or infinite, .* inf"),
        (np.full(N, "a"), r"'sample_weight' must hold real numbers, got an array of dtype <U1"),
    ],
)
@pytest.mark.parametrize("cls", ALL)
def test_wrong_weights_are_errors(cls, weights, message):
    with pytest.raises((ValueError, TypeError), match=rf"^\[{cls.__name__}\] {message}"):
        cls().forward(*case(cls), sample_weight=weights)


# ------------------------------------------------------------------- numbers at the limits


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_crossentropies_are_exact_for_huge_logits(dtype):
    z = np.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]], dtype)
    loss = losses.CategoricalCrossentropy()
    assert loss.forward(z, np.array([0, 0])) == 0.0
    assert not loss.backward().any()
    assert loss.forward(z, np.array([1, 2])) == (2e4 + 1e4) / 2
    assert np.array_equal(loss.backward(), [[0.5, -0.5, 0.0], [0.5, 0.0, -0.5]])
    loss = losses.BinaryCrossentropy()
    assert loss.forward(z[:1], np.array([[1, 0, 1]])) == pytest.approx(math.log(2) / 3, rel=1e-7)
    assert loss.forward(z[:1, :2], np.array([[0, 1]])) == 1e4
    assert np.array_equal(loss.backward(), [[0.5, -0.5]])


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_predictions_that_are_not_finite_do_not_raise(cls, bad):
    y_pred, y_true = case(cls, "float32")
    y_pred[2, 1] = bad
    loss = cls()
    value = loss.forward(y_pred, y_true)
    loss.backward()
    if np.isnan(bad):
        assert math.isnan(value)


@pytest.mark.parametrize("cls", ELEMENTWISE)
def test_overflow_is_an_infinite_loss_without_a_warning(cls):
    loss = cls()
    y_pred = np.full((2, 2), 3e38, "float32")
    assert loss.forward(y_pred, -y_pred) == math.inf
    assert loss.backward().shape == (2, 2)


def test_large_differences_overflow_only_in_the_square():
    y_pred, y_true = np.full((2, 2), 1e30, "float32"), np.zeros((2, 2), "float32")
    assert losses.MeanSquaredError().forward(y_pred, y_true) == math.inf
    assert losses.Huber().forward(y_pred, y_true) == pytest.approx(1e30, rel=1e-6)


# ---------------------------------------------------------- dtype, layout, unchanged inputs


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target_dtype", ["float32", "float64"])
def test_dtype_and_shape_are_kept(cls, dtype, target_dtype):
    y_pred, y_true = case(cls, dtype)
    if y_true.dtype.kind == "f":
        y_true = y_true.astype(target_dtype)
    loss = cls()
    value = loss.forward(y_pred, y_true, sample_weight=np.linspace(0, 1, N))
    assert type(value) is float
    assert loss.backward().dtype == dtype
    loss.forward(y_pred, y_true)
    assert loss.backward().dtype == dtype
    assert loss.backward().shape == y_pred.shape


@pytest.mark.parametrize("cls", ALL)
def test_float32_is_near_float64(cls):
    single, double = cls(), cls()
    y_pred, y_true = case(cls)
    value = double.forward(y_pred, y_true)
    assert single.forward(y_pred.astype("float32"), y_true) == pytest.approx(value, rel=1e-6)
    assert np.allclose(single.backward(), double.backward(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("cls", ALL)
def test_inputs_are_not_changed(cls):
    y_pred, y_true = case(cls)
    kept, truth = y_pred.copy(), y_true.copy()
    y_pred.flags.writeable = y_true.flags.writeable = False
    loss = cls()
    loss.forward(y_pred, y_true, sample_weight=np.ones(N))
    loss.backward()
    assert np.array_equal(y_pred, kept) and np.array_equal(y_true, truth)


def test_channels_last_memory_stays():
    y_pred = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).transpose(0, 3, 1, 2)
    loss = losses.MeanSquaredError()
    loss.forward(y_pred, y_pred + 1)
    assert loss.backward().strides == y_pred.strides


def test_integer_predictions_count_as_float64():
    loss = losses.MeanSquaredError()
    assert loss.forward([[1, 2]], [[1, 4]]) == 2.0
    assert loss.backward().dtype == np.float64


# ------------------------------------------------------------------------- rules for targets

Z = np.zeros((4, 3))


@pytest.mark.parametrize(
    ("name", "y_pred", "y_true", "message"),
    [
        ("cce", Z, [0, 1, 2, 3], r"\[CategoricalCrossentropy\] 'y_true' .* 0\.\.2, got 3"),
        ("cce", Z, [0, 1, 2, -1], r"'y_true' must be in 0\.\.2, got -1"),
        ("cce", Z, [0.0, 1.0, 2.0, 0.0], r"must hold integer labels, got dtype float64: use"),
        ("cce", Z, [[0], [1], [2], [0]], r"labels of shape \(4,\) .* got \(4, 1\): use y_true.re"),
        ("cce", Z, [0, 1, 2], r"labels of shape \(4,\) or rows of shape \(4, 3\), got \(3,\)"),
        ("cce", Z, Z, r"must have rows .* sum to 1, but row 0 is \[0\. 0\. 0\.\]"),
        ("cce", Z, Z + np.array([2, -1, 0]), r"must have rows of at least 0"),
        ("cce", Z, np.array([[1, 0, 0]] * 3 + [[2, -1, 0]]), r"but row 3 is \[ 2 -1  0\]\.$"),
        (
            "cce",
            np.zeros((1, 13)),
            np.eye(1, 13) * 2,
            r"row 0 is \[2\. 0\. 0\. \.\.\. 0\. 0\. 0\.\]",
        ),
        ("cce", np.zeros((1, 12)), np.eye(1, 12) * 2, r"row 0 is \[2\.( 0\.){11}\]"),
        (
            "cce",
            Z,
            np.full((4, 3), "a"),
            r"^\[CategoricalCrossentropy\] 'y_true' must hold numbers, got dtype",
        ),
        ("cce", Z, Z + np.array([1, np.nan, 0]), r"must have rows of at least 0"),
        (
            "cce",
            np.zeros((2, 3, 5, 5)),
            [0, 1],
            r"labels of shape \(2, 5, 5\) .*add Flatten\(\) and Dense\(classes\) before t",
        ),
        ("cce", np.zeros((2, 1)), [0, 0], r"at least 2 classes, .* use 'binary_crossentropy'"),
        ("hinge", Z, [0, 1, 2, 3], r"\[Hinge\] 'y_true' must be in 0\.\.2, got 3"),
        (
            "hinge",
            Z,
            Z + np.array([0.5, 0.5, 0]),
            r"\[Hinge\] 'y_true' must be labels or one-hot rows: for mixtures of classes, "
            r"use 'categorical_crossentropy'\.$",
        ),
        ("hinge", Z, [0.0, 1.0, 2.0, 0.0], r"\[Hinge\] 'y_true' must hold integer labels"),
        ("bce", Z, Z + 1.5, r"\[BinaryCrossentropy\] 'y_true' must be in 0\.\.1, got 1\.5"),
        ("bce", Z, [0, 1, 2], r"^\[BinaryCrossentropy\] expects"),
        ("bce", Z, Z - 1, r"'y_true' must be in 0\.\.1, got -1"),
        ("bce", Z, Z * np.nan, r"'y_true' must be finite"),
        ("bce", Z, [0, 1, 1, 0], r"shape \(4, 3\), got \(4,\): for 3 classes use the loss"),
        ("bce", np.zeros(4), np.zeros((4, 1)), r"shape \(4,\), got \(4, 1\): use y_true.reshape"),
        ("mse", np.zeros((4, 1)), np.zeros(4), r"\(4, 1\), got \(4,\): use y_true.reshape\(4, 1\)"),
        ("mae", np.zeros((4, 1)), np.zeros(4), r"\[MeanAbsoluteError\] .* \(4, 1\), got \(4,\)"),
        ("huber", np.zeros((4, 1)), np.zeros((1, 4)), r"\[Huber\] .* \(4, 1\), got \(1, 4\)"),
        ("mse", Z, np.zeros((4, 1)), r"shape \(4, 3\), got \(4, 1\)"),
        ("mse", Z, 0.0, r"shape \(4, 3\), got \(\)"),
        ("mse", Z, Z * np.nan, r"\[MeanSquaredError\] 'y_true' must be finite"),
        (
            "mse",
            Z,
            np.full((4, 3), "a"),
            r"^\[MeanSquaredError\] 'y_true' must hold numbers, got dtype\('<U1",
        ),
        ("kl_divergence", Z + 0.3, Z, r"\[KLDivergence\] 'y_true' must have rows"),
        ("kl_divergence", Z + 0.3, [0, 1, 2, 0], r"\[KLDivergence\] expects 'y_true' of the pred"),
        ("kl_divergence", np.zeros(3), np.zeros(3), r"\[KLDivergence\] expects predictions"),
        (
            "kl_divergence",
            Z - 0.5,
            Z + np.array([1, 0, 0]),
            r"^\[KLDivergence\] 'y_pred' must hold probabilities "
            r"\(end the model in Softmax\), got -0\.5",
        ),
        ("mse", np.zeros((0, 3)), np.zeros((0, 3)), r"predictions of a batch, got shape \(0, 3\)"),
        ("mse", 1.0, 1.0, r"predictions of a batch, got shape \(\)"),
    ],
)
def test_targets_that_do_not_fit_are_errors(name, y_pred, y_true, message):
    with pytest.raises(ValueError, match=message):
        losses.get(name).forward(y_pred, y_true)


def test_targets_can_be_checked_before_any_prediction():
    losses.CategoricalCrossentropy().check_targets(np.array([0, 2]), (2, 3))
    with pytest.raises(ValueError, match=r"got 3"):
        losses.CategoricalCrossentropy().check_targets(np.array([0, 3]), (2, 3))
    losses.BinaryCrossentropy().check_targets(np.array([0, 1]), (2, 1))


@pytest.mark.parametrize("cls", ALL)
def test_backward_needs_a_forward(cls):
    with pytest.raises(RuntimeError, match=rf"\[{cls.__name__}\] call forward\(\) before backwar"):
        cls().backward()


# ------------------------------------------------------------------- paired output layers


class FakeActivation:
    """Softmax or Sigmoid as the losses see it: it kept its logits and knows its derivative."""

    def __init__(self, logits, sigmoid=False):
        self.logits, self.sigmoid = logits, sigmoid
        self.output = 1 / (1 + np.exp(-logits)) if sigmoid else softmax(logits)

    def logits_of(self, y_pred):
        assert y_pred is self.output
        return self.logits

    def gradient_for_output(self, dz):
        return dz / (self.output * (1 - self.output)) if self.sigmoid else dz / self.output

    def backward(self, grad):
        p = self.output
        if self.sigmoid:
            return grad * p * (1 - p)
        return p * (grad - (grad * p).sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("cls", "sigmoid"),
    [(losses.CategoricalCrossentropy, False), (losses.BinaryCrossentropy, True)],
)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_paired_layer_leads_back_to_the_logits(cls, sigmoid, smoothing):
    z, y_true = case(cls)
    weights = np.linspace(0.5, 2, N)
    plain, paired = cls(smoothing), cls(smoothing)
    layer = paired.activation = FakeActivation(z, sigmoid)
    value = paired.forward(layer.output, y_true, sample_weight=weights)
    assert value == plain.forward(z, y_true, sample_weight=weights)
    # the gradient for the probabilities, and the layer's backward makes that of the logits of it
    gradient = paired.backward()
    assert not np.allclose(gradient, plain.backward())
    assert layer.backward(gradient) == pytest.approx(plain.backward(), rel=1e-12, abs=1e-14)


def test_pairs_and_their_defaults():
    pairs = {cls.__name__: cls.paired_activation for cls in ALL if cls.paired_activation}
    assert pairs == {"CategoricalCrossentropy": "Softmax", "BinaryCrossentropy": "Sigmoid"}
    assert all(cls.activation is None for cls in ALL)
    assert losses.Loss.paired_activation is None


# ------------------------------------------------------------------- users' losses and names


class OwnForwardBackward(losses.Loss):
    def forward(self, y_pred, y_true):
        self.difference = y_pred - y_true
        return float((self.difference**2).sum())

    def backward(self):
        return 2 * self.difference


class OwnFormulas(losses.Loss):
    def __init__(self, power=4):
        self.power = power

    def sample_losses(self, y_pred, y_true):
        self.difference = y_pred - y_true
        return self.difference**self.power

    def sample_gradients(self):
        return self.power * self.difference ** (self.power - 1)


class Stranger:
    def forward(self, y_pred, y_true):
        return 0.0

    def backward(self):
        return 0.0


def test_a_loss_of_ones_own_forward_and_backward():
    y_pred, y_true = case(losses.MeanSquaredError)
    loss = losses.get(OwnForwardBackward())
    check_gradient(loss, y_pred, y_true)
    loss.check_targets(y_true, (99,))  # knows no rule to break


def test_a_loss_of_ones_own_formulas():
    y_pred, y_true = case(losses.MeanSquaredError)
    check_gradient(OwnFormulas(), y_pred, y_true, sample_weight=np.arange(N) / 2)
    with pytest.raises(NotImplementedError, match=r"\[Loss\] must define forward and backward"):
        losses.Loss().forward(y_pred, y_true)
    with pytest.raises(NotImplementedError, match=r"\[Loss\] must define forward and backward"):
        losses.Loss().sample_gradients()


def test_names_of_losses():
    for name, cls in losses.NAME2LOSS.items():
        assert type(losses.get(name)) is type(losses.get(name.upper())) is cls
    given = losses.Huber(3.0)
    assert losses.get(given) is given
    stranger = Stranger()
    assert losses.get(stranger) is stranger


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: losses.get("cros_entropy"), ValueError, r"^\[nn\.losses\] 'loss' must .*you mean"),
        (lambda: losses.get("cc"), ValueError, r"got 'cc': did you mean 'cce'\?"),
        (lambda: losses.get(lambda p, t: 0.0), TypeError, r"forward\(y_pred, y_true\) and backwa"),
        (lambda: losses.get(losses.Huber), TypeError, "must be a name or an object"),
        (
            lambda: losses.get(None),
            TypeError,
            r"'loss' must be a name or an object with forward\(y_pred, y_true\) and backward\(\), ",
        ),
        (lambda: losses.Huber(0), ValueError, r"\[Huber\] 'delta' must be a positive .* got 0"),
        (lambda: losses.Hinge(-1.0), ValueError, r"\[Hinge\] 'margin' .* got -1\.0"),
        (
            lambda: losses.CategoricalCrossentropy(1.0),
            ValueError,
            r"^\[CategoricalCrossentropy\] 'label_smoothing' .* got 1\.0",
        ),
        (
            lambda: losses.BinaryCrossentropy(-0.1),
            ValueError,
            r"^\[BinaryCrossentropy\] 'label_smoothing' .* got -0\.1",
        ),
        (
            lambda: losses.from_config({"class": "Hubert"}),
            ValueError,
            r"^\[nn\.losses\] 'class' must be one of .* did you mean 'Huber'",
        ),
        *(
            (
                lambda config=config: losses.from_config(config),
                ValueError,
                r"^\[nn\.losses\] 'config' must be \{'class': \.\.\., 'config': \{\.\.\.\}\}, "
                + re.escape(f"got {config!r}."),
            )
            for config in ({"config": {}}, ["class"], None)
        ),
    ],
)
def test_wrong_losses_are_errors(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize(
    "loss",
    [
        losses.CategoricalCrossentropy(0.25),
        losses.BinaryCrossentropy(0.5),
        losses.MeanSquaredError(),
        losses.MeanAbsoluteError(),
        losses.Huber(2.0),
        losses.Hinge(0.5),
        losses.KLDivergence(),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_config_round_trip(loss):
    loss.forward(*case(type(loss)))
    config = json.loads(json.dumps(loss.to_config()))
    restored = losses.from_config(config)
    assert type(restored) is type(loss)
    assert restored.to_config() == loss.to_config() == config


def test_config_of_a_registered_class(monkeypatch):
    monkeypatch.setitem(losses.NAME2LOSS, "own", OwnFormulas)
    assert losses.from_config(OwnFormulas(6).to_config()).power == 6


@pytest.mark.parametrize(
    "of_each",
    [lambda d: (d**2).mean(), lambda d: (d**2).mean(axis=0), lambda d: d.reshape(-1) ** 2 - d**2],
)
def test_losses_that_are_not_those_of_the_samples_are_refused(of_each):
    class Wrong(nn.losses.Loss):
        def sample_losses(self, y_pred, y_true):
            self.difference = y_pred - y_true
            return of_each(self.difference)

        def sample_gradients(self):
            return 2 * self.difference

    y_pred, y_true = np.ones((4, 1)), np.zeros((4, 1))
    with pytest.raises(ValueError, match=r"\[Wrong\] sample_losses\(\) must return the loss of ea"):
        Wrong().forward(y_pred, y_true)
    model = nn.Model([nn.Dense(1, input_shape=(1,))], seed=0)
    model.compile(Wrong(), "sgd")
    with pytest.raises(ValueError, match=r"must return the loss of each sample, \(4,\), or"):
        model.evaluate(y_pred, y_true, sample_weight=np.array([0.0, 0, 0, 4]))
