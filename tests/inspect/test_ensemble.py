"""Ensembles: means of probabilities against those worked out by hand."""

import numpy as np
import pytest

import nn


def data(n=24, classes=3):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 4)).astype("float32"), np.arange(n) % classes


def members(outputs=3, last=(), loss="cce", count=3):
    made = []
    for seed in range(count):
        model = nn.Model([nn.Dense(outputs, input_shape=(4,)), *(make() for make in last)])
        model.layers[0].params["W"][...] = np.random.default_rng(seed).normal(size=(4, outputs))
        if loss:
            model.compile(loss, "sgd")
        made.append(model)
    return made


def softmax(rows):
    return np.array([np.exp(row) / np.exp(row).sum() for row in rows.astype("float64")])


@pytest.mark.parametrize("last", [(), (nn.Softmax,)])
def test_logits_and_probabilities_give_the_same_mean(last):
    x, y = data()
    models = members(last=last)
    ensemble = nn.Ensemble(models)
    expected = sum(softmax(x @ m.layers[0].params["W"]) for m in models) / 3
    np.testing.assert_allclose(ensemble.predict(x), expected, rtol=1e-5)
    np.testing.assert_allclose(ensemble.predict(x, batch_size=5), expected, rtol=1e-5)
    classes = expected.argmax(axis=1)
    np.testing.assert_array_equal(ensemble.predict_classes(x), classes)
    assert ensemble.evaluate(x, y) == {"acc": pytest.approx(np.mean(classes == y))}
    one_hot = np.eye(3, dtype="float32")[y]
    assert ensemble.evaluate(x, one_hot, batch_size=5) == ensemble.evaluate(x, y)


def test_it_is_the_mean_of_probabilities_and_not_of_logits():
    """One very sure model moves the mean of logits, but has one vote of probability here."""
    models = members()
    x = np.ones((1, 4), dtype="float32")
    for model, logits in zip(models, ([30, 0, 0], [0, 1, 0], [0, 1.5, 0]), strict=True):
        model.layers[0].params["W"][...] = 0
        model.layers[0].params["b"][...] = logits
    assert np.mean([m.predict(x) for m in models], axis=0).argmax() == 0
    expected = np.mean([softmax(m.predict(x)) for m in models], axis=0)
    np.testing.assert_allclose(nn.Ensemble(models).predict(x), expected, rtol=1e-6)


@pytest.mark.parametrize("last", [(), (nn.Sigmoid,)])
def test_a_single_output_says_yes_above_one_half(last):
    x, y = data(classes=2)
    models = members(1, last, "bce")
    ensemble = nn.Ensemble(models)
    mean = sum(1 / (1 + np.exp(-(x @ m.layers[0].params["W"]))) for m in models) / 3
    np.testing.assert_allclose(ensemble.predict(x), mean, rtol=1e-5)
    np.testing.assert_array_equal(ensemble.predict_classes(x), (mean[:, 0] > 0.5).astype(int))
    assert ensemble.evaluate(x, y)["acc"] == np.mean((mean[:, 0] > 0.5) == y)


def test_several_sigmoids_are_counted_one_by_one():
    x, _ = data()
    models = members(2, (), "bce")
    y = np.random.default_rng(1).integers(0, 2, (24, 2)).astype("float32")
    mean = sum(1 / (1 + np.exp(-(x @ m.layers[0].params["W"]))) for m in models) / 3
    assert nn.Ensemble(models).evaluate(x, y)["acc"] == pytest.approx(np.mean((mean > 0.5) == y))


def test_a_regression_is_averaged_as_it_is():
    x, _ = data()
    models = members(2, (), "mse")
    np.testing.assert_allclose(
        nn.Ensemble(models).predict(x), np.mean([m.predict(x) for m in models], axis=0), rtol=1e-6
    )


def test_an_ensemble_of_one_is_the_model():
    x, y = data()
    (model,) = members(last=(nn.Softmax,), count=1)
    ensemble = nn.Ensemble([model])
    np.testing.assert_array_equal(ensemble.predict(x), model.predict(x))
    assert ensemble.evaluate(x, y)["acc"] == model.evaluate(x, y)["acc"]


def test_files_and_models_together(tmp_path):
    x, _ = data()
    models = members()
    models[0].save(tmp_path / "0.hdf5")
    models[1].save(tmp_path / "1.npz")
    from_files = nn.Ensemble([tmp_path / "0.hdf5", str(tmp_path / "1.npz"), models[2]])
    np.testing.assert_array_equal(from_files.predict(x), nn.Ensemble(models).predict(x))


def test_files_without_a_loss_need_the_activation(tmp_path):
    x, _ = data()
    models = members()
    for k, model in enumerate(models):
        model.save(tmp_path / f"{k}.npz", include_optimizer=False)
    files = [tmp_path / f"{k}.npz" for k in range(3)]
    np.testing.assert_array_equal(  # the loss is in the file
        nn.Ensemble(files).predict(x), nn.Ensemble(models).predict(x)
    )
    for model, file in zip(models, files, strict=True):
        model.loss = None
        model.save(file)
        model.compile("cce")
    with pytest.raises(ValueError, match=r"\[Ensemble\] 'activation'"):
        nn.Ensemble(files)
    told = nn.Ensemble(files, activation="softmax")
    np.testing.assert_array_equal(told.predict(x), nn.Ensemble(models).predict(x))
    raw = nn.Ensemble(files, activation=None).predict(x)
    np.testing.assert_allclose(raw, np.mean([m.predict(x) for m in models], axis=0), rtol=1e-5)
    nn.Ensemble(members(last=(nn.Softmax,), loss=None))  # probabilities, as anybody can see


def test_names_of_classes():
    x, _ = data()
    models = members()
    with pytest.raises(ValueError, match=r"\[Ensemble\] 'names'"):
        nn.Ensemble(models).predict_classes(x, names=True)
    for model in models:
        model.class_names = ["a", "b", "c"]
    ensemble = nn.Ensemble(models)
    expected = np.array(["a", "b", "c"])[ensemble.predict_classes(x)]
    np.testing.assert_array_equal(ensemble.predict_classes(x, names=True), expected)
    models[1].class_names = ["c", "b", "a"]
    with pytest.raises(ValueError, match="'models'"):
        nn.Ensemble(models)


def test_data_as_models_take_them():
    x, y = data()
    ensemble = nn.Ensemble(members())
    expected, acc = ensemble.predict(x), ensemble.evaluate(x, y)
    pairs = [(x[:10], y[:10]), (x[10:], y[10:])]
    np.testing.assert_allclose(ensemble.predict(iter(pairs)), expected, rtol=1e-6)
    np.testing.assert_array_equal(ensemble.predict(nn.Dataset(x, y)), expected)
    assert ensemble.evaluate(iter(pairs)) == ensemble.evaluate(nn.Dataset(x, y)) == acc
    bytes_ = np.random.default_rng(0).integers(0, 256, (5, 4), dtype=np.uint8)  # no images
    np.testing.assert_array_equal(ensemble.predict(bytes_), ensemble.predict(bytes_.astype("f4")))
    with pytest.raises(ValueError, match="expects inputs of shape"):
        ensemble.predict(x[:, :3])


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (list, "'models'.*list.*got"),
        (lambda: members(count=1)[0], "'models'.*list"),
        (lambda: "model.hdf5", "'models'.*list"),
        (lambda: [*members(), *members(4)], "'models'.*output_shape"),
    ],
)
def test_wrong_models_are_errors(models, message):
    with pytest.raises(ValueError, match=message):
        nn.Ensemble(models())


def test_models_may_come_one_by_one():
    models = members()
    assert nn.Ensemble(model for model in models).models == models


def test_wrong_activation_and_file(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'softmax'"):
        nn.Ensemble(members(), activation="softmx")
    with pytest.raises(FileNotFoundError):
        nn.Ensemble([tmp_path / "none.hdf5"])


def test_it_draws_nothing_from_the_librarys_seed():
    x, _ = data()
    models = members()
    nn.seed(3)
    expected = nn.Model([nn.Dense(2, input_shape=(2,))]).layers[0].params["W"]
    nn.seed(3)
    nn.Ensemble(models).predict(x)
    again = nn.Model([nn.Dense(2, input_shape=(2,))]).layers[0].params["W"]
    np.testing.assert_array_equal(again, expected)


@pytest.mark.parametrize("ends", [[], [nn.Sigmoid()]])
def test_several_answers_are_decided_each(ends, tmp_path):
    model = nn.Model([nn.Dense(3, input_shape=(3,)), *ends], seed=0)
    model.compile("bce", "sgd")
    weights = np.array([[9, 9, -9], [-9, 9, 9], [-9, -9, -9]], "float32")
    model.layers[0].params["W"][...] = weights
    x, yes = np.eye(3, dtype="float32"), (weights > 0).astype(int)
    model.class_names = ["red", "round", "ripe"]
    both = nn.Ensemble([model, model])
    model.save(tmp_path / "model.npz")
    model.save(tmp_path / "bare.hdf5", include_optimizer=False)
    bare = nn.Model.load(tmp_path / "bare.hdf5")
    np.testing.assert_array_equal(bare.predict_classes(x), yes)
    for one in (model, both, nn.Model.load(tmp_path / "model.npz")):
        np.testing.assert_array_equal(one.predict_classes(x), yes)
        assert one.evaluate(x, yes)["acc"] == 1
        names = one.predict_classes(x, names=True)
        assert list(names) == [("red", "round"), ("round", "ripe"), ()]
