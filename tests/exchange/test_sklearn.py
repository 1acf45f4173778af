"""The estimators for scikit-learn: its own checks of them, and what they promise beyond."""

import os
import subprocess
import sys

import numpy as np
import pytest

import nn

sklearn = pytest.importorskip("sklearn", reason="needs scikit-learn (the extra 'test')")

import joblib  # noqa: E402
from joblib.externals.loky import get_reusable_executor  # noqa: E402
from scipy import sparse  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.compose import make_column_transformer  # noqa: E402
from sklearn.datasets import load_iris  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: E402
from sklearn.utils import compute_sample_weight  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

BATCHES = "a sample given twice comes in other batches than one of weight 2"
UNMET = dict.fromkeys(
    (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    ),
    BATCHES,
)
QUICK = {"epochs": 15, "lr": 0.02}
ESTIMATORS = [nn.NNClassifier(**QUICK), nn.NNRegressor(**QUICK)]


@pytest.mark.filterwarnings("ignore:.Model. :UserWarning")  # of unscaled inputs, for example
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=lambda estimator: UNMET)
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def flowers():
    """Return the flowers of Iris with their names."""
    data = load_iris()
    return data.data, data.target_names[data.target]


def table(outputs=None):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    return x, x @ rng.normal(size=3 if outputs is None else (3, outputs))


def layers(outputs=3):
    return [nn.Dense(8), nn.ReLU(), nn.Dense(outputs)]


# ------------------------------------------------------------------------ what is trained


def test_it_is_the_training_of_the_model():
    x, y = flowers()
    weights = np.linspace(0.5, 2, len(x))
    found = nn.NNClassifier(
        layers(),
        optimizer="sgdmomentum",
        lr=0.02,
        epochs=3,
        batch_size=16,
        lr_schedule="cosine",
        compile_arguments={"weight_decay": 1e-3, "momentum": 0.8},
        fit_arguments={"warmup_epochs": 1},
        random_state=7,
    ).fit(x, y, weights)
    seed = np.random.RandomState(7).randint(2**31 - 1)
    model = nn.Model(layers(), dtype="float64", seed=int(seed))
    model.compile("cce", "sgdmomentum", lr=0.02, weight_decay=1e-3, momentum=0.8)
    history = model.fit(
        x,
        np.unique(y, return_inverse=True)[1],
        epochs=3,
        batch_size=16,
        lr_schedule="cosine",
        warmup_epochs=1,
        sample_weight=weights,
        verbose=0,
    )
    assert found.history_ == history
    for mine, wanted in zip(found.model_.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, wanted)
    np.testing.assert_array_equal(found.predict(x), found.classes_[model.predict_classes(x)])
    logits = model.predict(x)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    wanted = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.predict_proba(x), wanted, rtol=1e-12)


@pytest.mark.parametrize("kind", [str, object, bool, int, float])
def test_labels_of_any_type(kind):
    x, y = flowers()
    x, y = x[:100], y[:100]
    labels = y.astype(kind) if kind in (str, object) else (y == "setosa").astype(kind)
    found = nn.NNClassifier(**QUICK, random_state=0).fit(x, labels)
    assert found.predict(x).dtype == labels.dtype
    assert (found.predict(x) == labels).all()
    assert found.classes_.tolist() == sorted(set(labels.tolist()))
    assert found.predict_proba(x).shape == (100, 2)
    assert (found.classes_[found.predict_proba(x).argmax(axis=1)] == found.predict(x)).all()
    names = ["setosa", "versicolor"] if kind in (str, object) else None
    assert found.model_.class_names == names


def test_one_output_for_two_classes():
    x, y = flowers()
    x, y = x[:100], y[:100]
    found = nn.NNClassifier([nn.Dense(1)], **QUICK, random_state=0).fit(x, y)
    assert type(found.model_.loss).__name__ == "BinaryCrossentropy"
    assert (found.predict(x) == y).all()
    ones = 1 / (1 + np.exp(-found.model_.predict(x)))
    np.testing.assert_allclose(found.predict_proba(x), np.hstack([1 - ones, ones]), rtol=1e-12)


def test_several_labels_a_sample():
    x, y = table(2)
    found = nn.NNClassifier(epochs=60, lr=0.02, random_state=0).fit(x, y > 0)
    assert found.score(x, y > 0) > 0.9  # both labels of a sample are right
    np.testing.assert_array_equal(found.predict(x), found.predict_proba(x) > 0.5)
    assert found.classes_.tolist() == [0, 1]
    as_sparse = clone(found).fit(x, sparse.csr_matrix((y > 0).astype(int)))
    np.testing.assert_array_equal(found.predict_proba(x), as_sparse.predict_proba(x))


def test_several_targets():
    x, y = table(2)
    found = nn.NNRegressor(epochs=60, lr=0.02, random_state=0).fit(x, y)
    assert found.predict(x).shape == (60, 2)
    assert found.score(x, y) > 0.95
    assert nn.NNRegressor(epochs=60, lr=0.02).fit(x, y[:, 0]).predict(x).shape == (60,)


def test_weights_of_classes_multiply_those_of_samples():
    x, y = flowers()
    x, y = x[40:], y[40:]
    weights = np.linspace(0.5, 2, len(x))
    for given in ("balanced", {"setosa": 5.0, "virginica": 0.5}):
        found = nn.NNClassifier(**QUICK, class_weight=given, random_state=0).fit(x, y, weights)
        wanted = nn.NNClassifier(**QUICK, random_state=0)
        wanted.fit(x, y, weights * compute_sample_weight(given, y))
        np.testing.assert_array_equal(found.predict_proba(x), wanted.predict_proba(x))


def test_early_stopping_holds_out_the_same_share_of_every_class():
    x, y = flowers()
    seen = []

    class Watch(nn.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append(self.model.progress)

    found = nn.NNClassifier(
        epochs=200,
        lr=0.05,
        early_stopping=True,
        patience=3,
        validation_fraction=0.2,
        random_state=0,
        callbacks=[Watch()],
    ).fit(x, y)
    assert seen
    assert found.n_iter_ == len(found.history_["val_acc"]) < 200
    assert found.n_iter_ - 1 - np.argmax(found.history_["val_acc"]) == 3
    assert {round(30 * acc, 6) % 1 for acc in found.history_["val_acc"]} == {0.0}  # of 30 samples
    without = nn.NNClassifier(**QUICK, random_state=0).fit(x, y)
    assert "val_acc" not in without.history_
    regressor = nn.NNRegressor(epochs=200, lr=0.1, early_stopping=True, patience=2)
    assert "val_loss" in regressor.fit(*table()).history_


# ------------------------------------------------------------------------ trained on


def test_partial_fit_trains_for_one_epoch():
    x, y = flowers()
    order = np.random.default_rng(0).permutation(len(x))
    found = nn.NNClassifier(lr=0.02, random_state=0)
    for _ in range(15):
        for rows in np.split(order, 3):
            found.partial_fit(x[rows], y[rows], classes=np.unique(y))
    assert found.n_iter_ == 45
    assert found.score(x, y) > 0.9
    first = nn.NNClassifier(random_state=0).partial_fit(x[:50], y[:50], np.unique(y))
    assert first.predict_proba(x).shape == (150, 3)  # of which it has seen one
    regressor = nn.NNRegressor(random_state=0).partial_fit(*table()).partial_fit(*table())
    assert regressor.n_iter_ == 2


def test_warm_start_goes_on():
    x, y = flowers()
    found = nn.NNClassifier(**QUICK, warm_start=True, random_state=0).fit(x, y)
    network, losses = found.model_, found.history_["loss"]
    found.set_params(epochs=5).fit(x, y)
    assert found.model_ is network
    assert found.n_iter_ == 20
    assert found.history_["loss"][0] < losses[0]
    assert found.set_params(warm_start=False).fit(x, y).n_iter_ == 5
    assert found.model_ is not network


def test_a_fit_that_fails_leaves_the_estimator_as_it_was():
    x, y = flowers()
    found = nn.NNClassifier(**QUICK)
    with pytest.raises(ValueError, match="'batch_size'"):
        found.set_params(batch_size=0).fit(x, y)
    with pytest.raises(NotFittedError):
        found.predict(x)


# ------------------------------------------------------------------------ the network


def test_the_kinds_of_model(monkeypatch):
    x, y = flowers()

    def both(n_features, n_outputs):
        return [nn.Dense(n_features, input_shape=(n_features,)), nn.Dense(n_outputs)]

    def model_of(n_outputs):
        return nn.Model(layers(n_outputs), dtype="float64")

    given = layers()
    for network in (None, given, tuple(given), both, lambda: given, model_of, model_of(3)):
        found = nn.NNClassifier(network, epochs=2, random_state=1)
        first = found.fit(x, y).predict_proba(x)
        assert (clone(found).fit(x, y).predict_proba(x) == first).all()
        assert found.model is network
    assert not any(layer.built for layer in given)
    assert nn.NNClassifier(both, epochs=1).fit(x, y).model_.layers[0].units == 4


def test_a_model_is_trained_on_from_its_weights():
    x, y = flowers()
    trained = nn.Model(layers(), seed=0)
    trained.build((None, 4))
    before = [array.copy() for array in trained.get_weights()]
    found = nn.NNClassifier(trained, epochs=1, lr=1e-12).fit(x, y)
    for mine, theirs, first in zip(
        found.model_.get_weights(), trained.get_weights(), before, strict=True
    ):
        np.testing.assert_array_equal(theirs, first)
        np.testing.assert_allclose(mine, first, atol=1e-9)


def test_random_state_fixes_everything():
    x, y = flowers()

    network = [nn.Dense(8), nn.Dropout(0.3), nn.Dense(3)]

    def probabilities(**arguments):
        return nn.NNClassifier(network, epochs=2, **arguments).fit(x, y).predict_proba(x)

    assert (probabilities(random_state=3) == probabilities(random_state=3)).all()
    assert (probabilities(random_state=3) != probabilities(random_state=4)).any()
    states = np.random.RandomState(3), np.random.RandomState(3)
    first, again = (probabilities(random_state=state) for state in states)
    assert (first == again).all()
    assert (probabilities(random_state=states[0]) != first).any()  # its next number
    nn.seed(5)
    first = probabilities()
    assert (probabilities() != first).any()
    nn.seed(5)
    probabilities(random_state=3)  # which leaves the seeds of nn.seed alone
    assert (probabilities() == first).all()


def test_numbers_that_float32_cannot_hold():
    seconds = 1.7e9 + np.arange(60.0)[:, np.newaxis]  # float32 has steps of 128 there
    y = (seconds[:, 0] > 1.7e9 + 30).astype(int)
    found = nn.NNClassifier(epochs=60, lr=0.05, random_state=0).fit(seconds, y)
    assert found.model_.dtype == "float64"
    assert found.score(seconds, y) > 0.9
    for kind, wanted in (("float32", "float32"), ("uint8", "float32"), ("int64", "float64")):
        x = np.arange(20).reshape(10, 2).astype(kind)
        found = nn.NNRegressor(epochs=1).fit(x, np.arange(10))
        assert found.model_.dtype == wanted
        assert found.set_params(dtype="float32").fit(x, np.arange(10)).model_.dtype == "float32"


# ------------------------------------------------------------------------ data


def test_sparse_inputs_as_dense():
    x, y = flowers()
    x = np.where(x > 3, x, 0)
    dense = nn.NNClassifier(**QUICK, random_state=0).fit(x, y)
    for kind in ("csr", "csc", "coo"):
        made = sparse.csr_matrix(x).asformat(kind)
        found = nn.NNClassifier(**QUICK, random_state=0).fit(made, y)
        np.testing.assert_array_equal(found.predict_proba(made), dense.predict_proba(x))


def test_images_of_bytes():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = rng.integers(0, 128, (40, 1, 6, 6), dtype=np.uint8) + (100 * y[:, None, None, None]).astype(
        np.uint8
    )
    network = [nn.Conv2D(4, 3, activation="relu"), nn.GlobalAvgPool2D(), nn.Dense(2)]
    found = nn.NNClassifier(network, epochs=20, lr=0.05, random_state=0).fit(x, y)
    assert found.model_.dtype == "float32"
    assert found.score(x, y) == 1.0
    assert found.n_features_in_ == 1
    assert nn.NNClassifier(**QUICK, random_state=0).fit(x, y).score(x, y) == 1.0  # flattened


def test_tables():
    pandas = pytest.importorskip("pandas", reason="needs pandas (the extra 'test')")
    x, y = flowers()
    frame = pandas.DataFrame(x, columns=["a", "b", "c", "d"]).astype({"a": "Float64"})
    frame["many"] = frame["d"] > 1
    labels = pandas.Series(y, dtype="category")
    found = nn.NNClassifier(**QUICK, random_state=0).fit(frame, labels)
    assert found.feature_names_in_.tolist() == ["a", "b", "c", "d", "many"]
    assert found.score(frame, labels) > 0.9
    with pytest.raises(ValueError, match="feature names"):
        found.predict(frame[["b", "a", "c", "d", "many"]])
    frame["kind"] = np.where(frame["c"] > 4, "long", "short")
    columns = make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough")
    assert make_pipeline(columns, clone(found)).fit(frame, labels).score(frame, labels) > 0.9
    with pytest.raises(TypeError, match="from the columns 'kind'"):
        clone(found).fit(frame, labels)


# ------------------------------------------------------------------------ in scikit-learn


def threads_of_nn(estimator, x, y):
    """Count the threads of a process; a scorer."""
    return nn.kernels.cpu.threads.NUM_THREADS


@pytest.mark.slow
def test_a_search_in_two_processes_does_not_take_more_threads_than_cores(monkeypatch):
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        monkeypatch.delenv(name)  # a parent of this process may have set them
    get_reusable_executor().shutdown(wait=True)  # its processes have the old variables
    x, y = flowers()
    pipeline = make_pipeline(StandardScaler(), nn.NNClassifier(layers(), **QUICK, random_state=0))
    grid = {"nnclassifier__lr": [1e-6, 0.02], "nnclassifier__model": [layers(), [nn.Dense(3)]]}
    scoring = {"acc": "accuracy", "threads": threads_of_nn}
    found = GridSearchCV(pipeline, grid, cv=3, n_jobs=2, scoring=scoring, refit="acc").fit(x, y)
    assert found.best_params_["nnclassifier__lr"] == 0.02
    assert found.best_score_ > 0.9
    assert found.cv_results_["mean_test_threads"].max() <= max(1, joblib.cpu_count() // 2)
    alone = cross_val_score(found.best_estimator_, x, y, cv=3)
    assert alone.mean() == pytest.approx(found.best_score_, abs=1e-9)


def test_weights_mapped_from_a_file(tmp_path):
    x, y = flowers()
    found = nn.NNClassifier(**QUICK, warm_start=True, random_state=0).fit(x, y)
    joblib.dump(found, tmp_path / "flowers.joblib")
    mapped = joblib.load(tmp_path / "flowers.joblib", mmap_mode="r")
    assert not mapped.model_.layers[1].params["W"].flags.writeable
    np.testing.assert_array_equal(mapped.predict_proba(x), found.predict_proba(x))
    with pytest.raises(ValueError, match=r"\[NNClassifier\].*read-only.*mmap_mode"):
        mapped.fit(x, y)
    read = joblib.load(tmp_path / "flowers.joblib").fit(x, y)
    np.testing.assert_array_equal(read.predict_proba(x), found.fit(x, y).predict_proba(x))


def test_the_model_is_saved_with_its_class_names(tmp_path):
    x, y = flowers()
    found = nn.NNClassifier(**QUICK, random_state=0).fit(x, y)
    found.model_.save(tmp_path / "flowers.hdf5")
    model = nn.Model.load(tmp_path / "flowers.hdf5")
    assert (model.predict_classes(x, names=True) == found.predict(x)).all()


# ------------------------------------------------------------------------ errors


WRONG = {
    "network": (lambda x, y: nn.NNClassifier("big").fit(x, y), r"'model' must be a list.*'big'"),
    "layer": (lambda x, y: nn.NNClassifier(nn.Dense(3)).fit(x, y), r"'model' must be a list.*Den"),
    "outputs": (
        lambda x, y: nn.NNClassifier([nn.Dense(5)]).fit(x, y),
        r"'model'.*one output for each class of 'y', 3, got.*\(5,\).*Dense\(3\)",
    ),
    "one class": (
        lambda x, y: nn.NNClassifier().fit(x, y[:1].repeat(150)),
        r"'y'.*2 classes.*1 cl",
    ),
    "fractions": (
        lambda x, y: nn.NNClassifier().fit(x, x[:, 0]),
        r"Unknown label type: continuous",
    ),
    "classes of classes": (
        lambda x, y: nn.NNClassifier().fit(x, np.c_[y, y]),
        r"'y' must be labels.*multiclass-multioutput",
    ),
    "labels and mse": (
        lambda x, y: nn.NNClassifier(loss="mse").fit(x, np.c_[y == "setosa", y != "setosa"]),
        r"'loss' must be 'binary_crossentropy'.*'mse'",
    ),
    "new label": (
        lambda x, y: nn.NNClassifier(epochs=1).partial_fit(x, y, classes=["setosa", "virginica"]),
        r"'y' must hold labels of the classes.*setosa.*got \['versicolor'\]",
    ),
    "other classes": (
        lambda x, y: nn.NNClassifier(epochs=1).partial_fit(x, y).partial_fit(x, y, ["a", "b"]),
        r"'classes' must be those of the first training.*\['a', 'b'\]",
    ),
    "balanced part": (
        lambda x, y: nn.NNClassifier(class_weight="balanced").partial_fit(x, y),
        r"'class_weight' must not be set for partial_fit\(\).*'balanced'",
    ),
    "part and stop": (
        lambda x, y: nn.NNClassifier(early_stopping=True).partial_fit(x, y),
        r"'early_stopping' must not be set for partial_fit\(\)",
    ),
    "part and schedule": (
        lambda x, y: nn.NNRegressor(lr_schedule="step").partial_fit(x, x[:, 0]),
        r"'lr_schedule' must not be set for partial_fit\(\).*'step'",
    ),
    "no probabilities": (
        lambda x, y: nn.NNClassifier(loss="hinge", epochs=1).fit(x, y).predict_proba(x),
        r"predict_proba.*Hinge",
    ),
    "other targets": (
        lambda x, y: nn.NNRegressor(epochs=1, warm_start=True).fit(x, x).fit(x, x[:, 0]),
        r"'y' must have the 4 targets of the first training",
    ),
    "negative weight": (
        lambda x, y: nn.NNRegressor().fit(x, x[:, 0], -np.ones(150)),
        r"'sample_weight' must not be negative",
    ),
}


def compiled(n_outputs):
    model = nn.Model(layers(n_outputs))
    model.compile("cce")
    return model


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(case):
    use, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        use(*flowers())


def test_a_compiled_model_is_refused():
    for network in (compiled, compiled(3)):
        with pytest.raises(ValueError, match=r"'model' must not be compiled.*'loss'.*'optimizer'"):
            nn.NNClassifier(network).fit(*flowers())


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("method", ("fit", "partial_fit", "score"))
def test_rows_in_another_order_are_refused(estimator, method):
    pandas = pytest.importorskip("pandas", reason="needs pandas (the extra 'test')")
    x = pandas.DataFrame(np.random.default_rng(0).normal(size=(20, 2)))
    y, weight = pandas.Series(np.arange(20) % 2), pandas.Series(np.ones(20))
    estimator = clone(estimator).fit(x, y)
    use = getattr(estimator, method)
    before = estimator.model_.get_weights()
    with pytest.raises(ValueError, match="'y' must have its rows in the order of those of 'X'"):
        use(x, y.sample(frac=1, random_state=0))
    with pytest.raises(ValueError, match=r"'sample_weight' must have its rows .* of 'X'"):
        use(x, y, sample_weight=weight.sample(frac=1, random_state=0))
    assert all(map(np.array_equal, before, estimator.model_.get_weights()))
    use(x, y, sample_weight=weight)
    use(x, y.sample(frac=1, random_state=0).to_numpy())


def test_columns_that_are_no_numbers_are_named():
    pandas = pytest.importorskip("pandas", reason="needs pandas (the extra 'test')")
    y = np.arange(4) % 2
    table = pandas.DataFrame({"age": [1.0, 2.0, 3.0, 4.0], "digits": ["1", "2", "3", "4"]})
    classifier = nn.NNClassifier(epochs=1).fit(table, y)
    for column in (["x", "y", "x", "y"], pandas.Categorical(["x", "y", "x", "y"])):
        wrong = table.assign(town=column)
        with pytest.raises(TypeError, match=r"'X' .* from the columns 'town' \(.*get_dummies"):
            nn.NNClassifier().fit(wrong, y)
        with pytest.raises(TypeError, match="from the columns 'age'"):
            classifier.predict(table.assign(age=column))
    for times in (pandas.date_range("2026-01-01", periods=4), pandas.to_timedelta(range(4))):
        for wrong in (table.assign(when=times), pandas.DataFrame({"when": times})):
            with pytest.raises(TypeError, match=r"'when' \((date|time).*a number of each time"):
                nn.NNRegressor().fit(wrong, y)


@pytest.mark.parametrize("missing", (None, float("nan")))
def test_missing_labels_are_named(missing):
    x, y = flowers()
    y = y.astype(object)
    y[3] = missing
    said = f"'y' must have a label in each row.*got {missing} in row 3"
    for fit in (nn.NNClassifier().fit, nn.NNClassifier().partial_fit):
        with pytest.raises(ValueError, match=said):
            fit(x, y)
    with pytest.raises(ValueError, match="'classes' must have a label in each row"):
        nn.NNClassifier().partial_fit(x, flowers()[1], classes=["setosa", missing])
    y[3] = 0
    with pytest.raises(ValueError, match=r"texts alone, or no texts, got \['setosa', 0\]"):
        nn.NNClassifier().fit(x, y)


def test_a_part_of_the_data_may_lack_classes():
    """Without the warning of `Model.fit` about classes that no sample has."""
    x, y = flowers()
    classifier = nn.NNClassifier()
    for _ in range(2):
        classifier.partial_fit(x[:60], y[:60], classes=np.unique(y))
    assert classifier.classes_.tolist() == np.unique(y).tolist()


def test_nn_needs_no_scikit_learn():
    code = """
import sys
import nn
assert "sklearn" not in sys.modules
sys.modules["sklearn"] = None  # as if it were not installed
try:
    nn.NNClassifier
except ImportError as error:
    print(error)
try:
    nn.NNCluster
except AttributeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "[nn] needs scikit-learn to make NNClassifier: python -m pip install scikit-learn.",
        "module 'nn' has no attribute 'NNCluster'",
    ]
