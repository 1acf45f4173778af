"""The metrics of nn against scikit-learn's, Keras' and PyTorch's, whichever are installed."""

import importlib.util

import numpy as np

from nn import metrics


def has(library):
    """Tell whether a library can be imported, without importing it."""
    return importlib.util.find_spec(library) is not None


def data(rng):
    """Return labels and scores of 5 classes and of 2, and numbers with their estimates."""
    labels, scores = rng.integers(0, 5, 200), rng.normal(size=(200, 5))
    binary = rng.integers(0, 2, 200)
    chances = np.clip(0.3 * binary + rng.uniform(size=200) * 0.7, 0, 1)
    numbers = rng.normal(size=(200, 3))
    return labels, scores, binary, chances, numbers, numbers + 0.5 * rng.normal(size=(200, 3))


def in_batches(metric, y_true, y_pred):
    """Return the metric after updates with batches of 64, the last one smaller."""
    for start in range(0, len(y_true), 64):
        metric.update(y_true[start : start + 64], y_pred[start : start + 64])
    return metric.result()


def sklearn_cases(rng):
    """Yield the metrics that scikit-learn has."""
    from sklearn import metrics as theirs

    labels, scores, binary, chances, numbers, guesses = data(rng)
    decided, yes = scores.argmax(axis=1), (chances > 0.5).astype(int)
    macro = {"average": "macro", "zero_division": 0}
    ties = chances.round(1)
    for name, ours, expected in (
        ("Accuracy", (metrics.Accuracy(), labels, scores), theirs.accuracy_score(labels, decided)),
        (
            "Accuracy binary",
            (metrics.Accuracy(), binary, chances),
            theirs.accuracy_score(binary, yes),
        ),
        *(
            (
                f"TopKAccuracy k={k}",
                (metrics.TopKAccuracy(k), labels, scores),
                theirs.top_k_accuracy_score(labels, scores, k=k),
            )
            for k in (1, 2, 3, 4)
        ),
        *(
            (name, (make(), labels, scores), function(labels, decided, **macro))
            for name, make, function in (
                ("Precision", metrics.Precision, theirs.precision_score),
                ("Recall", metrics.Recall, theirs.recall_score),
                ("F1", metrics.F1, theirs.f1_score),
            )
        ),
        *(
            (f"{name} binary", (make(), binary, chances), function(binary, yes))
            for name, make, function in (
                ("Precision", metrics.Precision, theirs.precision_score),
                ("Recall", metrics.Recall, theirs.recall_score),
                ("F1", metrics.F1, theirs.f1_score),
            )
        ),
        ("AUC", (metrics.AUC(), binary, chances), theirs.roc_auc_score(binary, chances)),
        ("AUC with ties", (metrics.AUC(), binary, ties), theirs.roc_auc_score(binary, ties)),
        (
            "MeanSquaredError",
            (metrics.MeanSquaredError(), numbers, guesses),
            theirs.mean_squared_error(numbers, guesses),
        ),
        (
            "MeanAbsoluteError",
            (metrics.MeanAbsoluteError(), numbers, guesses),
            theirs.mean_absolute_error(numbers, guesses),
        ),
        ("R2", (metrics.R2(), numbers, guesses), theirs.r2_score(numbers, guesses)),
    ):
        yield f"{name} | scikit-learn", {"value": (in_batches(*ours), np.float64(expected))}
    table = theirs.confusion_matrix(labels, decided)
    ours = metrics.confusion_matrix(labels, scores)
    yield "confusion_matrix | scikit-learn", {"counts": (ours, table)}


def torch_cases(rng):
    """Yield the few metrics that PyTorch's own functions make."""
    import torch
    import torch.nn.functional as F  # noqa: N812 - the field's name for it

    labels, scores, _, _, numbers, guesses = data(rng)
    y, z = torch.from_numpy(labels), torch.from_numpy(scores)
    for k in (1, 3):
        right = (z.topk(k, dim=1).indices == y[:, None]).any(dim=1).double().mean()
        ours = in_batches(metrics.TopKAccuracy(k), labels, scores)
        yield f"TopKAccuracy k={k} | torch", {"value": (ours, right)}
    right = (z.argmax(1) == y).double().mean()
    yield "Accuracy | torch", {"value": (in_batches(metrics.Accuracy(), labels, scores), right)}
    counts = torch.bincount(5 * y + z.argmax(1), minlength=25).reshape(5, 5)
    yield "confusion_matrix | torch", {"counts": (metrics.confusion_matrix(labels, scores), counts)}
    for name, function in (("MeanSquaredError", F.mse_loss), ("MeanAbsoluteError", F.l1_loss)):
        ours = in_batches(getattr(metrics, name)(), numbers, guesses)
        theirs = function(torch.from_numpy(guesses), torch.from_numpy(numbers))
        yield f"{name} | torch", {"value": (ours, theirs)}


def keras_cases(rng):
    """Yield the metrics that Keras 3 has; its AUC is a sum over thresholds, nn's is exact."""
    from keras import metrics as theirs

    labels, scores, binary, chances, numbers, guesses = data(rng)
    one_hot, decided = np.eye(5)[labels], np.eye(5)[scores.argmax(axis=1)]
    for name, make, other, ours, keras in (
        (
            "Accuracy",
            metrics.Accuracy,
            theirs.SparseCategoricalAccuracy(),
            (labels, scores),
            (labels, scores),
        ),
        (
            "Accuracy binary",
            metrics.Accuracy,
            theirs.BinaryAccuracy(),
            (binary, chances),
            (binary, chances),
        ),
        (
            "TopKAccuracy k=3",
            lambda: metrics.TopKAccuracy(3),
            theirs.SparseTopKCategoricalAccuracy(k=3),
            (labels, scores),
            (labels, scores),
        ),
        (
            "Precision binary",
            metrics.Precision,
            theirs.Precision(),
            (binary, chances),
            (binary, chances),
        ),
        ("Recall binary", metrics.Recall, theirs.Recall(), (binary, chances), (binary, chances)),
        ("F1", metrics.F1, theirs.F1Score(average="macro"), (labels, scores), (one_hot, decided)),
        (
            "MeanSquaredError",
            metrics.MeanSquaredError,
            theirs.MeanSquaredError(),
            (numbers, guesses),
            (numbers, guesses),
        ),
        (
            "MeanAbsoluteError",
            metrics.MeanAbsoluteError,
            theirs.MeanAbsoluteError(),
            (numbers, guesses),
            (numbers, guesses),
        ),
        ("R2", metrics.R2, theirs.R2Score(), (numbers, guesses), (numbers, guesses)),
    ):
        value = np.float64(in_batches_of_keras(other, *keras))
        yield f"{name} | keras", {"value": (in_batches(make(), *ours), value)}


def in_batches_of_keras(metric, y_true, y_pred):
    """Return a metric of Keras' after the same updates as `in_batches` makes."""
    for start in range(0, len(y_true), 64):
        metric.update_state(y_true[start : start + 64], y_pred[start : start + 64])
    return float(metric.result())


LIBRARIES = {"sklearn": sklearn_cases, "torch": torch_cases, "keras": keras_cases}
CASES = tuple(cases for library, cases in LIBRARIES.items() if has(library))
