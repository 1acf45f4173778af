"""The metrics against slow definitions and hand-worked values, streaming against whole."""

import copy
import math
import threading

import numpy as np
import pytest

import nn
from nn import metrics

rng = np.random.default_rng(0)
LABELS = rng.integers(0, 4, 50)
SCORES = rng.normal(size=(50, 4)).round(1)  # rounding makes ties
BINARY = rng.integers(0, 2, 50)
BINARY_SCORES = rng.uniform(size=50).round(1)
TARGETS = rng.normal(size=(50, 3))
ESTIMATES = TARGETS + 0.3 * rng.normal(size=(50, 3))


def one_hot(labels, classes):
    return np.eye(classes)[labels]


# ------------------------------------------------------------------- classes and scores


def test_accuracy_by_the_largest_score():
    pairs = zip(SCORES, LABELS, strict=True)
    expected = np.mean([int(np.argmax(row)) == label for row, label in pairs])
    assert metrics.accuracy(LABELS, SCORES) == expected
    assert metrics.accuracy(LABELS[:, None], SCORES) == expected
    assert metrics.accuracy(one_hot(LABELS, 4), SCORES) == expected
    assert metrics.accuracy(LABELS, SCORES.argmax(axis=1)) == expected
    assert type(metrics.accuracy(LABELS, SCORES)) is float


@pytest.mark.parametrize("cls", [metrics.Accuracy, metrics.TopKAccuracy, metrics.F1])
@pytest.mark.parametrize("axis", [1, 2], ids=["pixels", "steps"])
def test_steps_and_pixels_count_as_samples(cls, axis):
    metric, of_rows = (cls(2) if cls is metrics.TopKAccuracy else cls() for _ in range(2))
    labels = LABELS.reshape((5, 10) if axis == 2 else (5, 2, 5))
    scores = np.moveaxis(SCORES.reshape(*labels.shape, 4), -1, axis)
    for part in (slice(0, 2), slice(2, 5)):
        metric.update(labels[part], scores[part])
    of_rows.update(LABELS, SCORES)
    assert metric.result() == of_rows.result()
    one_hot_labels = np.moveaxis(one_hot(labels, 4), -1, axis)
    metric.reset()
    metric.update(one_hot_labels, scores)
    assert metric.result() == of_rows.result()
    with pytest.raises(ValueError, match="'y_true'"):
        metric.update(labels[:, :1], scores)


@pytest.mark.parametrize("shape", [(5, 10, 1), (5, 1, 2, 5)])
def test_a_single_score_for_each_step_or_pixel_is_decided_by_the_threshold(shape):
    scores, labels = BINARY_SCORES.reshape(shape), BINARY.reshape(shape)
    assert metrics.accuracy(labels, scores) == metrics.accuracy(BINARY, BINARY_SCORES)
    assert metrics.precision(labels, scores) == metrics.precision(BINARY, BINARY_SCORES)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("dtype", [int, bool, "float32"])
def test_accuracy_of_one_column_is_decided_by_the_threshold(shape, dtype):
    y_true = np.array([0, 0, 1, 1]).astype(dtype)
    scores = np.array([-1.0, 0.2, 0.4, 3.0]).reshape(shape)
    assert metrics.accuracy(y_true, scores) == 0.75
    assert metrics.accuracy(y_true, scores, threshold=0.0) == 0.75
    assert metrics.accuracy(y_true, scores, threshold=0.3) == 1.0
    assert metrics.accuracy(y_true, scores, threshold=0.4) == 0.75  # equal is not above


def test_elementwise_accuracy_counts_every_output():
    metric = metrics.Accuracy()
    metric.elementwise = True
    metric.update(np.array([[1, 0, 1], [0, 0, 0]]), np.array([[0.9, 0.9, 0.9], [0.1, 0.2, 0.3]]))
    assert metric.result() == 5 / 6
    with pytest.raises(ValueError, match=r"\[Accuracy\] expects .* shape \(2, 3\), got \(2,\)"):
        metric.update(np.array([1, 0]), np.zeros((2, 3)))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 9])
def test_top_k_accuracy_is_a_stable_ranking(k):
    right = 0
    for row, label in zip(SCORES, LABELS, strict=True):
        ranking = sorted(range(4), key=lambda c, row=row: (-row[c], c))
        right += label in ranking[:k]
    assert metrics.top_k_accuracy(LABELS, SCORES, k) == right / 50
    assert metrics.top_k_accuracy(one_hot(LABELS, 4), SCORES, k) == right / 50


def test_top_1_is_accuracy_and_equal_scores_earn_no_gift():
    assert metrics.top_k_accuracy(LABELS, SCORES, 1) == metrics.accuracy(LABELS, SCORES)
    assert metrics.top_k_accuracy([0, 1, 2, 3], np.zeros((4, 4)), 2) == 0.5
    assert metrics.top_k_accuracy([0, 1], np.full((2, 4), np.nan), 2) == 0.0


def test_confusion_matrix_counts_pairs():
    expected = np.zeros((4, 4), int)
    for row, label in zip(SCORES, LABELS, strict=True):
        expected[label, np.argmax(row)] += 1
    assert np.array_equal(metrics.confusion_matrix(LABELS, SCORES), expected)
    larger = metrics.confusion_matrix(LABELS, SCORES.argmax(axis=1), num_classes=6)
    assert np.array_equal(larger[:4, :4], expected) and larger.shape == (6, 6)
    assert np.array_equal(metrics.confusion_matrix([0, 1, 1], [0.2, 0.9, 0.1]), [[1, 0], [1, 1]])
    with pytest.raises(ValueError, match="'num_classes' must be above the largest class, 3, got 2"):
        metrics.confusion_matrix(LABELS, SCORES, num_classes=2)


def test_binary_precision_recall_f1():
    y_true = np.array([1, 1, 1, 1, 0, 0, 0])
    y_pred = np.array([0.9, 0.9, 0.1, 0.1, 0.9, 0.1, 0.1])  # 2 right of 3 decided, of 4 true
    assert metrics.precision(y_true, y_pred) == 2 / 3
    assert metrics.recall(y_true, y_pred) == 2 / 4
    assert metrics.f1(y_true, y_pred) == pytest.approx(2 / (3 / 2 + 4 / 2))
    integers = (y_pred > 0.5).astype(int)
    assert metrics.f1(y_true, integers) == metrics.f1(y_true, y_pred[:, None])
    assert metrics.precision(y_true, y_pred * 0) == metrics.recall(0 * y_true, y_pred) == 0.0


def test_macro_averages_are_over_the_classes_that_occur():
    decided = SCORES.argmax(axis=1)
    values = []
    for c in range(4):
        said, true = decided == c, np.equal(LABELS, c)
        hits = int((said & true).sum())
        values.append((hits / said.sum(), hits / true.sum()))
    p, r = (np.array(column) for column in zip(*values, strict=True))
    assert metrics.precision(LABELS, SCORES) == pytest.approx(p.mean(), rel=1e-14)
    assert metrics.recall(LABELS, SCORES) == pytest.approx(r.mean(), rel=1e-14)
    assert metrics.f1(LABELS, SCORES) == pytest.approx((2 * p * r / (p + r)).mean(), rel=1e-14)
    # two more classes that never occur change nothing
    wide = np.hstack([SCORES, np.full((50, 2), -99.0)])
    assert metrics.f1(LABELS, wide) == metrics.f1(LABELS, SCORES)


def test_macro_average_by_hand():
    # class 0: 1 right, 2 decided, 1 true; class 1: 0, 0, 1; class 2: 1, 1, 1
    y_true, y_pred = [0, 1, 2], np.eye(3)[[0, 0, 2]]
    assert metrics.precision(y_true, y_pred) == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert metrics.recall(y_true, y_pred) == pytest.approx((1 + 0 + 1) / 3)
    assert metrics.f1(y_true, y_pred) == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_two_columns_are_two_classes():
    y_true, y_pred = np.array([1, 1, 0]), np.array([[0.1, 0.9], [0.8, 0.2], [0.7, 0.3]])
    assert metrics.precision(y_true, y_pred) == pytest.approx((1 / 2 + 1) / 2)


def test_auc_is_the_share_of_pairs_won():
    wins = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p in BINARY_SCORES[BINARY == 1]
        for n in BINARY_SCORES[BINARY == 0]
    ]
    expected = pytest.approx(np.mean(wins), rel=1e-14)
    assert metrics.auc(BINARY, BINARY_SCORES) == expected
    assert metrics.auc(BINARY.astype("float32"), BINARY_SCORES[:, None]) == expected
    assert metrics.auc(BINARY, np.stack([-BINARY_SCORES, BINARY_SCORES], axis=1)) == expected
    assert metrics.auc(1 - BINARY, -BINARY_SCORES) == expected
    assert metrics.auc(BINARY, np.exp(BINARY_SCORES)) == expected


def test_auc_at_its_ends():
    assert metrics.auc([0, 0, 1], [1.0, 2.0, 3.0]) == 1.0
    assert metrics.auc([1, 1, 0], [1.0, 2.0, 3.0]) == 0.0
    assert metrics.auc([1, 0, 1, 0], [0.5] * 4) == 0.5
    assert math.isnan(metrics.auc([1, 1], [0.1, 0.2]))
    assert math.isnan(metrics.auc([1, 0], [np.nan, 0.2]))
    with pytest.raises(ValueError, match=r"\[AUC\] expects scores of two classes, .* \(50, 4\)"):
        metrics.auc(LABELS, SCORES)


# ------------------------------------------------------------------------------ distances


def test_mse_and_mae_are_means_over_all_elements():
    n, k = TARGETS.shape
    squares = sum((ESTIMATES[i, j] - TARGETS[i, j]) ** 2 for i in range(n) for j in range(k))
    lengths = sum(abs(ESTIMATES[i, j] - TARGETS[i, j]) for i in range(n) for j in range(k))
    assert metrics.mse(TARGETS, ESTIMATES) == pytest.approx(squares / (n * k), rel=1e-14)
    assert metrics.mae(TARGETS, ESTIMATES) == pytest.approx(lengths / (n * k), rel=1e-14)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_r2_is_the_mean_over_outputs(offset):
    y_true, y_pred = TARGETS + offset, ESTIMATES + offset
    each = [
        1 - ((y_pred[:, j] - y_true[:, j]) ** 2).sum() / (len(y_true) * y_true[:, j].var())
        for j in range(3)
    ]
    expected = pytest.approx(np.mean(each), rel=1e-12)
    assert metrics.r2(y_true, y_pred) == expected
    metric = metrics.R2()
    for start in range(0, 50, 7):
        metric.update(y_true[start : start + 7], y_pred[start : start + 7])
    assert metric.result() == pytest.approx(np.mean(each), rel=1e-9 if offset else 1e-12)


def test_r2_of_constant_targets():
    assert metrics.r2([2.0, 2.0], [2.0, 2.0]) == 1.0
    assert metrics.r2([2.0, 2.0], [2.0, 3.0]) == 0.0
    assert math.isnan(metrics.r2([2.0], [2.0]))


@pytest.mark.parametrize("function", [metrics.mse, metrics.mae, metrics.r2])
def test_distances_never_broadcast(function):
    with pytest.raises(ValueError, match=r"shape \(4, 1\), got \(4,\): reshape the targets"):
        function(np.zeros(4), np.zeros((4, 1)))


# ------------------------------------------------------------------------ published vectors


def test_the_examples_in_scikit_learns_documentation():
    y_true, y_pred = np.array([0, 1, 2, 0, 1, 2]), np.array([0, 2, 1, 0, 0, 1])
    assert metrics.precision(y_true, y_pred) == pytest.approx(2 / 9)  # 0.22
    assert metrics.recall(y_true, y_pred) == pytest.approx(1 / 3)  # 0.33
    assert metrics.f1(y_true, y_pred) == pytest.approx(0.8 / 3)  # 0.26
    assert metrics.accuracy([0, 1, 2, 3], [0, 2, 1, 3]) == 0.5
    table = metrics.confusion_matrix([2, 0, 2, 2, 0, 1], [0, 0, 2, 2, 0, 2])
    assert table.tolist() == [[2, 0, 0], [0, 0, 1], [1, 0, 2]]
    scores = [[0.5, 0.2, 0.2], [0.3, 0.4, 0.2], [0.2, 0.4, 0.3], [0.7, 0.2, 0.1]]
    assert metrics.top_k_accuracy([0, 1, 2, 2], scores, k=2) == 0.75
    assert metrics.auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75


def test_the_examples_of_distances_in_scikit_learns_documentation():
    y_true, y_pred = np.array([3, -0.5, 2, 7]), np.array([2.5, 0.0, 2, 8])
    assert metrics.mse(y_true, y_pred) == 0.375
    assert metrics.mae(y_true, y_pred) == 0.5
    assert metrics.r2(y_true, y_pred) == pytest.approx(0.948608137)
    y_true, y_pred = np.array([[0.5, 1], [-1, 1], [7, -6]]), np.array([[0, 2], [-1, 2], [8, -5]])
    assert metrics.mse(y_true, y_pred * 1.0) == pytest.approx(4.25 / 6)  # 0.708
    assert metrics.mae(y_true, y_pred * 1.0) == 0.75
    # by hand: of the first output the squares less those of the mean, of the second 98 / 3
    first = 1 - 1.25 / (0.25 + 1 + 49 - 3 * (6.5 / 3) ** 2)
    assert metrics.r2(y_true, y_pred * 1.0) == pytest.approx((first + 1 - 9 / 98) / 2)


# ------------------------------------------------------------------------------ streaming

STREAMS = [
    ("accuracy", LABELS, SCORES),
    ("top_2_accuracy", LABELS, SCORES),
    ("precision", LABELS, SCORES),
    ("recall", LABELS, SCORES),
    ("f1", LABELS, SCORES),
    ("accuracy", BINARY, BINARY_SCORES),
    ("precision", BINARY, BINARY_SCORES),
    ("recall", BINARY, BINARY_SCORES[:, None]),
    ("f1", BINARY, BINARY_SCORES),
    ("f1", LABELS, SCORES.argmax(axis=1)),
    ("auc", BINARY, BINARY_SCORES),
    ("mse", TARGETS, ESTIMATES),
    ("mae", TARGETS, ESTIMATES),
    ("r2", TARGETS, ESTIMATES),
]


@pytest.mark.parametrize(("name", "y_true", "y_pred"), STREAMS)
@pytest.mark.parametrize("batch", [1, 7, 32, 50])
def test_the_cut_into_batches_does_not_matter(name, y_true, y_pred, batch):
    metric, whole = metrics.get(name), metrics.get(name)
    whole.update(y_true, y_pred)
    metric.update(y_true[:9], y_pred[:9])
    metric.reset()  # and what came before does not either
    for start in range(0, 50, batch):
        metric.update(y_true[start : start + batch], y_pred[start : start + batch])
    assert metric.result() == pytest.approx(whole.result(), rel=1e-13)
    assert metric.samples == 50
    assert type(metric.result()) is float


@pytest.mark.parametrize(("name", "y_true", "y_pred"), STREAMS)
def test_inputs_are_not_changed(name, y_true, y_pred):
    truth, guess = y_true.copy(), y_pred.copy()
    metrics.get(name).update(y_true, y_pred)
    assert np.array_equal(y_true, truth) and np.array_equal(y_pred, guess)


@pytest.mark.parametrize("name", sorted(metrics.NAME2METRIC))
def test_no_samples_are_an_error(name):
    metric = metrics.get(name)
    with pytest.raises(RuntimeError, match="has seen no samples: call update"):
        metric.result()


def test_float32_sums_are_exact():
    metric = metrics.MeanSquaredError()
    y_pred = np.full((1000, 100), 0.1, "float32")
    metric.update(np.zeros_like(y_pred), y_pred)
    assert metric.result() == pytest.approx(float(np.float32(0.1)) ** 2, rel=1e-13)


def test_a_function_is_called_with_all_samples():
    def worst(y_true, y_pred):
        assert type(y_true) is type(y_pred) is np.ndarray
        return np.abs(y_true - y_pred).max() / len(y_true)

    metric = metrics.get(worst)
    assert metric.name == metric.label == "worst"
    assert not metric.per_batch
    metric.update(np.zeros(3), np.array([1.0, 2.0, 4.0]))
    metric.update(np.zeros(1), np.array([8.0]))
    assert metric.result() == 8 / 4
    again = metrics.get(worst)
    again.load_state_dict(metric.state_dict())
    again.update(np.zeros(1), np.array([10.0]))
    assert again.result() == 10 / 5
    with pytest.raises(ValueError, match=r"\[FunctionMetric\] 'state' .*got \(2, 4\)"):
        again.load_state_dict(metric.state_dict() | {"y_true": np.zeros(2)})
    metric.reset()
    metric.update(np.zeros(1), np.ones(1))
    assert metric.result() == 1.0


def test_a_function_starts_again_from_a_file_without_its_predictions():
    """Version 0.1 kept a sum of the batches' values."""
    metric = metrics.get(lambda y_true, y_pred: float(len(y_true)))
    with pytest.warns(UserWarning, match=r"\[Model\] .*'<lambda>'"):
        metric.load_state_dict({"name": "<lambda>", "samples": 8, "total": 4.0})
    metric.update(np.zeros(3), np.zeros(3))
    assert metric.result() == 3


# -------------------------------------------------------------------------- names and errors


def test_names():
    assert isinstance(metrics.get("Accuracy"), metrics.Accuracy)
    assert isinstance(metrics.get("acc"), metrics.Accuracy)
    assert metrics.get("accuracy").name == "acc"
    metric = metrics.Recall(threshold=0.3)
    assert metrics.get(metric) is metric
    assert isinstance(metrics.get(metrics.f1), metrics.F1)
    assert metrics.get("top_k_accuracy").k == 5
    assert metrics.get("top_3_accuracy").k == 3


@pytest.mark.parametrize("name", [*metrics.NAME2METRIC, "top_1_accuracy"])
def test_a_label_finds_the_same_metric(name):
    metric = metrics.get(name)
    again = metrics.get(metric.label)
    assert type(again) is type(metric)
    assert vars(again).keys() == vars(metric).keys()
    assert again.name == metric.name


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: metrics.get("acuracy"), ValueError, r"'metric' .*: did you mean 'accuracy'\?"),
        (lambda: metrics.get("top_0_accuracy"), ValueError, "'metric' must be one of"),
        (lambda: metrics.get(3), TypeError, r"'metric' must be a name, .* got 3"),
        (lambda: metrics.get(metrics.F1), TypeError, "or a Metric object"),
        (lambda: metrics.TopKAccuracy(0), ValueError, r"\[TopKAccuracy\] 'k' .* got 0"),
        (lambda: metrics.Accuracy("0"), ValueError, r"\[Accuracy\] 'threshold' must be a number"),
        (lambda: metrics.accuracy([0, 4], SCORES[:2]), ValueError, r"in 0\.\.3, got 4"),
        (lambda: metrics.accuracy([-1, 0], SCORES[:2]), ValueError, r"in 0\.\.3, got -1"),
        (lambda: metrics.accuracy([0, 2], [0.1, 0.2]), ValueError, r"in 0\.\.1, got 2"),
        (lambda: metrics.accuracy([0, -2], [0, 1]), ValueError, "must be at least 0, got -2"),
        (lambda: metrics.f1([0, 1], [0, -2]), ValueError, "'y_pred' must be at least 0, got -2"),
        (lambda: metrics.accuracy([0.0, 1.0], SCORES[:2]), ValueError, "must hold integer labels"),
        (lambda: metrics.accuracy([0.0, 3.0], [0.1, 0.2]), ValueError, "must hold integer labels"),
        (lambda: metrics.accuracy([0, 1, 2], SCORES[:2]), ValueError, "as many predictions as"),
        (lambda: metrics.accuracy([0, 1], np.zeros((2, 3, 4))), ValueError, r"got .*\(2, 3, 4\)"),
        (lambda: metrics.top_k_accuracy([0, 1], [0.1, 0.2]), ValueError, r"scores of shape \(n, c"),
    ],
)
def test_wrong_use_is_an_error(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize("labels", [[1, 1], [0, 1], [[1], [1], [1]]])
def test_auc_refuses_a_state_with_more_scores_than_labels(labels):
    """Also where a class is missing, and the area is not known anyway."""
    metric = metrics.AUC()
    state = {"samples": 3, "labels": np.array(labels), "scores": np.array([0.1, 0.2, 0.3])}
    with pytest.raises(
        ValueError, match=r"\[AUC\] 'state' must hold labels and scores of one shape"
    ):
        metric.load_state_dict(state)
    assert metric.samples == 0


class Recorder:
    """A metric with something that cannot be copied, and a count of its calls."""

    def __init__(self):
        self.lock, self.calls = threading.Lock(), 0

    def __call__(self, y_true, y_pred):
        self.calls += 1
        return float(len(y_true))


def test_an_object_as_a_metric_is_called_itself_and_not_a_copy():
    recorder = Recorder()
    model = nn.Model([nn.Dense(1, input_shape=(2,))], seed=0)
    model.compile("mse", "sgd", metrics=[recorder])
    history = model.fit(np.ones((6, 2)), np.ones((6, 1)), epochs=2, batch_size=4, verbose=0)
    assert history["Recorder"] == [6.0, 6.0]
    assert recorder.calls == 2
    copy.deepcopy(model).evaluate(np.ones((6, 2)), np.ones((6, 1)))
    assert recorder.calls == 3


@pytest.mark.parametrize("name", ["accuracy", "precision", "recall", "f1", "top_k_accuracy", "auc"])
@pytest.mark.parametrize("row", [[1, 1], [0, 0], [1.0, 1.0], [True, True]])
def test_several_labels_of_a_sample_are_not_taken_for_one(name, row):
    y_true, y_pred = np.array([[1, 0], [0, 1], row]), np.array([[0.9, 0.2], [0.3, 0.8], [0.6, 0.7]])
    with pytest.raises(ValueError, match=r"one-hot rows, one class for a sample.* in row 2"):
        getattr(metrics, name)(y_true, y_pred)


def test_rows_of_the_confusion_matrix_have_one_class_too():
    with pytest.raises(ValueError, match=r"\[confusion_matrix\] .*got 2 classes in row 1"):
        metrics.confusion_matrix([[1, 0], [1, 1]], [[0.1, 0.9], [0.1, 0.9]])


def test_distributions_and_scores_are_classes_still():
    y_pred = np.array([[0.9, 0.2], [0.3, 0.8]])
    assert metrics.accuracy([[0.8, 0.2], [0.3, 0.7]], y_pred) == 1
    assert metrics.accuracy([[2.0, 1.0], [0.0, 3.0]], y_pred) == 1
    assert metrics.accuracy(np.eye(2), y_pred) == 1
