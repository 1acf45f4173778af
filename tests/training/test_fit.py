"""The arguments of `fit` by name, an early stop, a training step of the user's, late hooks."""

import copy
import itertools
import warnings

import numpy as np
import pytest

import nn
from nn import callbacks

X = np.random.default_rng(0).normal(size=(20, 2)).astype("float32")
Y = np.arange(20) % 2


def model(cls=nn.Model):
    made = cls([nn.Dense(2, input_shape=(2,))], seed=0)
    made.compile("cce", "sgd", lr=0.1)
    return made


class Counts(callbacks.Callback):
    """Counts what is called, and stops the training after some batch."""

    def __init__(self, stop_after=None):
        self.stop_after, self.batches, self.epochs, self.ended = stop_after, 0, 0, 0

    def on_train_batch_end(self):
        self.batches += 1
        if self.batches == self.stop_after:
            self.model.stop_training = True

    def on_epoch_end(self):
        self.epochs += 1

    def on_train_end(self):
        self.ended += 1


def test_arguments_by_position_are_an_error_that_names_keras_order():
    made = model()
    before = made.layers[0].params["W"].copy()
    with pytest.raises(TypeError, match=r"\[Model.fit\] 'epochs', 'batch_size'.* got 32 .*Keras"):
        made.fit(X, Y, 32, 3, verbose=0)
    np.testing.assert_array_equal(made.layers[0].params["W"], before)


def test_x_is_another_name_of_data():
    one, other = model(), model()
    assert one.fit(x=X, y=Y, verbose=0) == other.fit(X, Y, verbose=0)
    with pytest.raises(TypeError, match=r"\[Model.fit\] 'x' is another name of 'data'"):
        model().fit(X, Y, x=X, verbose=0)


def test_stop_training_acts_after_the_batch_and_the_epoch_is_written():
    counts = Counts(stop_after=3)
    made = model()
    history = made.fit(X, Y, epochs=5, batch_size=2, val_data=(X, Y), callbacks=counts, verbose=0)
    assert (counts.batches, counts.epochs, counts.ended) == (3, 1, 1)
    assert made.optimizer.iterations == 3 and made.epoch == 1
    assert {len(values) for values in history.values()} == {1} and "val_acc" in history


def test_an_early_stop_closes_a_generator():
    closed = []

    def source():
        try:
            while True:
                yield X[:4], Y[:4]
        finally:
            closed.append(True)

    batches = source()
    model().fit(batches, steps_per_epoch=5, callbacks=Counts(stop_after=2), verbose=0)
    assert closed == [True]


def test_fit_calls_the_training_step_of_a_subclass():
    class Noisy(nn.Model):
        def train_step(self, x, y, sample_weight=None, metrics=None):
            seen.append(len(x))
            return super().train_step(x * 0, y, sample_weight, metrics)

    seen = []
    made = model(Noisy)
    before = made.layers[0].params["W"].copy()
    history = made.fit(X, Y, batch_size=8, verbose=0)
    assert seen == [8, 8, 4] and np.isfinite(history["loss"]).all()
    np.testing.assert_array_equal(made.layers[0].params["W"], before)  # inputs of zeros
    assert made.layers[0].params["b"].any() or history["acc"] == [0.5]


def test_a_step_of_a_subclass_that_breaks_its_inputs_is_refused():
    class Broken(nn.Model):
        def train_step(self, x, y, sample_weight=None, metrics=None):
            return super().train_step(x * np.nan, y, sample_weight, metrics)

    with pytest.raises(ValueError, match="'x' must be finite"):
        model(Broken).fit(X, Y, verbose=0)


def test_labels_that_a_step_of_a_subclass_changes_are_checked():
    class Shifted(nn.Model):
        def train_step(self, x, y, sample_weight=None, metrics=None):
            return super().train_step(x, y - 1, sample_weight, metrics)

    made = model(Shifted)
    made.compile("cce", "sgd", metrics=())
    with pytest.raises(ValueError, match=r"\[CategoricalCrossentropy\] .* got -1"):
        made.fit(X, Y, verbose=0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_from_an_augmentation_is_refused(value):
    with pytest.raises(ValueError, match="'x' must be finite"):
        model().fit(X, Y, augment=lambda x, rng: x + value, verbose=0)


def test_inputs_that_are_too_large_for_the_dtype_are_refused_before_the_first_step():
    counts = Counts()
    with pytest.raises(ValueError, match=r"'x' must be finite.* row 3"):
        x = np.where(np.arange(20)[:, np.newaxis] == 3, 1e300, X.astype(float))
        model().fit(x, Y, callbacks=counts, verbose=0)
    assert counts.batches == counts.ended == 0


def test_a_hook_that_a_callback_sets_when_training_begins_is_called():
    batches = []

    class Late(callbacks.Callback):
        def on_train_begin(self):
            self.on_train_batch_end = lambda batch: batches.append(batch)

    late = Late()
    late.on_epoch_end = lambda epoch, logs: batches.append(sorted(logs))
    model().fit(X, Y, batch_size=10, callbacks=late, verbose=0)
    assert batches == [0, 1, ["acc", "loss", "lr"]]


class Keeps(callbacks.Callback):
    """A callback with a state under the names of today."""

    epochs = 0

    def on_epoch_end(self):
        self.epochs += 1

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state):
        self.epochs = state["epochs"]


class Kept(Keeps):
    """The same under the names of version 0.1."""

    state_dict = callbacks.Callback.state_dict
    load_state_dict = callbacks.Callback.load_state_dict

    def get_state(self):
        return {"epochs": self.epochs}

    def set_state(self, state):
        self.epochs = state["epochs"]


class Stops(callbacks.EarlyStopping):
    """A built-in callback with more state, under the names of version 0.1."""

    epochs = 0
    on_epoch_begin = Keeps.on_epoch_end

    def get_state(self):
        return {**super().get_state(), "epochs": self.epochs}

    def set_state(self, state):
        super().set_state(state)
        self.epochs = state["epochs"]


@pytest.mark.parametrize("make", [Keeps, Kept, lambda: Stops(patience=9)])
def test_a_callback_goes_on_with_its_state_under_either_name(make, tmp_path):
    saving = callbacks.ModelCheckpoint(tmp_path / "1.npz", save_best_only=False, save_state=True)
    model().fit(X, Y, epochs=2, callbacks=[make(), saving], verbose=0)
    resumed = make()
    model().fit(X, Y, epochs=3, callbacks=resumed, resume=tmp_path / "1.npz", verbose=0)
    assert resumed.epochs == 3


def norm_of_vectors():
    model = nn.Model([nn.Dense(4, input_shape=(2,)), nn.Residual([nn.BatchNorm()]), nn.Dense(2)])
    model.compile("cce")
    return model


@pytest.mark.parametrize(("samples", "batch_size", "better"), [(9, 4, 5), (9, 1, 3), (33, 32, 33)])
def test_a_last_batch_of_one_is_refused_before_the_first_step(samples, batch_size, better):
    x, y = np.ones((samples, 2), "float32"), np.arange(samples) % 2
    model = norm_of_vectors()
    before = {name: array.copy() for name, array in model.get_arrays().items()}
    parts = rf"'batch_size'.*BatchNorm.*got {batch_size} .*={better}\."
    with pytest.raises(ValueError, match=parts):
        model.fit(x, y, batch_size=batch_size, verbose=0)
    for name, array in model.get_arrays().items():
        np.testing.assert_array_equal(array, before[name])
    model.fit(x, y, batch_size=better, verbose=0)
    model.evaluate(x, y, batch_size=batch_size)
    with pytest.raises(ValueError, match="BatchNorm"):  # a stream cannot be known before
        model.fit([(x[:1], y[:1])], verbose=0)
    with pytest.raises(ValueError, match=r"'batch_size'.* for 1 samples.* more samples"):
        model.fit(x[:1], y[:1], verbose=0)
    images = nn.Model([nn.BatchNorm(input_shape=(1, 2, 1)), nn.Flatten(), nn.Dense(2)])
    images.compile("cce")
    images.fit(x.reshape(-1, 1, 2, 1), y, batch_size=batch_size, verbose=0)  # two values a channel


# ------------------------------------------------------------- data as Keras' users pass them


class Batches:
    """Batches as Keras' `Sequence` has them."""

    def __init__(self):
        self.calls = []

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if index >= 3:
            raise IndexError(index)
        self.calls.append(index)
        return np.ones((4, 2), "float32"), np.ones((4, 1), "float32")

    def on_epoch_begin(self):
        self.calls.append("begin")

    def on_epoch_end(self):
        self.calls.append("end")


def one_unit(inputs=2):
    model = nn.Model([nn.Dense(1, input_shape=(inputs,))], seed=0)
    model.compile("mse", "sgd", lr=0.05)
    return model


@pytest.mark.parametrize("steps", [None, 2])
def test_a_sequence_hears_of_every_epoch(steps):
    train, val = Batches(), Batches()
    model = one_unit()
    model.fit(train, epochs=2, steps_per_epoch=steps, validation_data=val, verbose=0)
    epoch = ["begin", *range(steps or 3), "end"]
    assert train.calls == epoch * 2
    assert val.calls == ["begin", 0, 1, 2, "end"] * 2
    train.calls.clear()
    model.evaluate(train)
    model.predict(train)
    assert train.calls == ["begin", 0, 1, 2, "end"] * 2


@pytest.mark.parametrize("where", ["sample_weight", "val_data", "dataset", "evaluate"])
def test_weights_that_are_all_0_are_refused(where):
    model = nn.Model([nn.Dense(2, input_shape=(3,))], seed=0)
    model.compile("cce", "adam")
    x, y, zeros = np.ones((6, 3)), np.arange(6) % 2, np.zeros(6)
    with pytest.raises(
        ValueError, match=r"\[Model\] .*'sample_weight' must leave a weight above 0"
    ):
        if where == "sample_weight":
            model.fit(x, y, sample_weight=zeros, verbose=0)
        elif where == "val_data":
            model.fit(x, y, val_data=(x, y, zeros), verbose=0)
        elif where == "dataset":
            model.fit(nn.Dataset(x, y, zeros), verbose=0)
        else:
            model.evaluate(x, y, sample_weight=zeros)
    with pytest.raises(ValueError, match=r"must leave a weight above 0"):
        model.fit(x, y, sample_weight=[0, 1] * 3, class_weight={0: 1.0, 1: 0.0}, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [
        ({"patience": 2}, "'patience' has no effect without early_stopping=True, got 2"),
        ({"min_delta": 0.1}, "'min_delta' has no effect without early_stopping=True, got 0.1"),
        ({"lr_patience": 1}, "'lr_patience' has no effect without lr_schedule, got 1"),
        ({"lr_factor": 0.1}, "'lr_factor' has no effect without lr_schedule, got 0.1"),
        ({"lr_min": 0.1}, "'lr_min' has no effect without lr_schedule, got 0.1"),
        ({"patience": 2, "early_stopping": True}, None),
        ({"min_delta": 0.1, "lr_schedule": "plateau"}, None),
        ({"lr_factor": 0.1, "lr_schedule": "exponential"}, None),
        ({"lr_patience": 1, "lr_min": 1e-4, "lr_schedule": "warm_restarts"}, None),
    ],
)
def test_arguments_that_nothing_reads_are_doubted(arguments, unused):
    model = nn.Model([nn.Dense(2, input_shape=(3,))], seed=0)
    model.compile("cce", "adam")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        model.fit(np.ones((6, 3)), np.arange(6) % 2, verbose=0, **arguments)
    assert [unused in str(w.message) for w in found] == [True] * (unused is not None)


def test_a_model_of_its_own_ids_is_not_doubted_for_ids_without_samples(rng):
    model = nn.Model([nn.Embedding(5, 4, input_shape=(None,)), nn.Dense(5)], seed=0)
    model.compile("cce", "adam")
    ids = rng.integers(2, 5, (40, 6))  # 0 and 1 are padding and unknown tokens
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(ids, ids, verbose=0)
    model = nn.Model([nn.Embedding(5, 4, input_shape=(None,)), nn.Dense(4)], seed=0)
    model.compile("cce", "adam")
    with pytest.warns(UserWarning, match="none of class 0, 1"):
        model.fit(ids, np.minimum(ids, 3), verbose=0)


def test_validation_data_with_weights_of_samples():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 2)), rng.normal(size=(8, 1))
    weights = np.arange(8) / 4
    for given in ((x, y, weights), [x, y, weights]):
        model = one_unit()
        history = model.fit(x, y, validation_data=given, verbose=0)
        weighted = model.evaluate(x, y, sample_weight=weights)["loss"]
        assert history["val_loss"][0] == pytest.approx(weighted, rel=1e-6)
        assert weighted != pytest.approx(model.evaluate(x, y)["loss"], rel=1e-2)
    assert one_unit().fit(x, y, validation_data=(x, y, None), verbose=0)["val_loss"][0] > 0
    with pytest.raises(ValueError, match=r"'sample_weight' must have the shape \(8,\)"):
        one_unit().fit(x, y, validation_data=(x, y, weights[:5]), verbose=0)


def test_one_feature_may_be_a_vector():
    x = np.array([-1.0, 0.0, 1.0, 2.0, 3.0, 4.0])
    flat, column = one_unit(1), one_unit(1)
    given = {"epochs": 200, "shuffle": False, "verbose": 0}
    history = flat.fit(x, 2 * x - 1, validation_data=(x, 2 * x - 1), **given)
    same = column.fit(
        x[:, None], 2 * x[:, None] - 1, validation_data=(x[:, None], 2 * x - 1), **given
    )
    assert history == same
    assert history["loss"][-1] < 1e-2  # not of every x with every y
    np.testing.assert_array_equal(flat.predict(x), column.predict(x[:, None]))
    assert flat.predict([10.0]).shape == (1, 1)
    assert flat.evaluate(list(x), 2 * x - 1) == column.evaluate(x[:, None], 2 * x - 1)


def test_the_advice_for_a_vector_leads_on():
    x = np.arange(6.0)
    unknown = nn.Model([nn.Dense(1)], seed=0)
    unknown.compile("mse", "sgd")
    with pytest.raises(ValueError, match=r"one feature as x\[:, np.newaxis\], a single sample"):
        unknown.fit(x, x, verbose=0)
    with pytest.raises(
        ValueError, match=r"got shape \(6,\): the model takes inputs of shape \(None, 2\)"
    ):
        one_unit(2).predict(x)
    with pytest.raises(ValueError, match=r"\(6,\): give a single sample as x\[np.newaxis\]"):
        one_unit(6).predict(x)
    with pytest.raises(ValueError, match=r"\(6,\): give samples of one feature as x\[:, np.new"):
        one_unit(1).fit(nn.Dataset(x, x), verbose=0)


def test_a_generator_without_an_end_is_refused_before_the_first_step():
    def endless():
        while True:
            for _ in range(3):
                yield np.ones((4, 2)), np.ones((4, 1))

    model = one_unit()
    expressions = [
        lambda: ((x, x) for x in itertools.cycle([np.ones((4, 2))])),
        lambda: map(tuple, itertools.repeat([np.ones((4, 2)), np.ones((4, 1))])),
        lambda: zip(itertools.cycle([np.ones((4, 2))]), itertools.count(), strict=True),
    ]
    for data in (endless(), endless, *expressions):
        with pytest.raises(ValueError, match=r"'data' must end.*'steps_per_epoch'"):
            model.fit(data, verbose=0)
        with pytest.raises(ValueError, match=r"'validation_data' must end.*'validation_steps'"):
            model.fit(np.ones((4, 2)), np.ones((4, 1)), validation_data=data, verbose=0)
        with pytest.raises(ValueError, match=r"'data' must end.*'steps'"):
            model.evaluate(data)
        with pytest.raises(ValueError, match=r"'x' must end.*'steps'"):
            model.predict(data)
    model.fit(endless(), steps_per_epoch=2, epochs=2, verbose=0)
    assert model.optimizer.iterations == 4


STEPS = np.random.default_rng(1).normal(size=(24, 5, 2)).astype("float32")
PIXELS = np.random.default_rng(1).normal(size=(24, 1, 4, 4)).astype("float32")


def labeller(form, loss="cce"):
    """A model with a class for each step or each pixel, its inputs and its labels, 0..2."""
    if form == "steps":
        x, values, layer = STEPS, STEPS[..., 0], nn.Dense(3, input_shape=(5, 2))
    else:
        x, values, layer = PIXELS, PIXELS[:, 0], nn.Conv2D(3, 1, input_shape=(1, 4, 4))
    made = nn.Model([layer], seed=0)
    made.compile(loss, "adam", lr=0.05)
    return made, x, np.digitize(values, [-0.5, 0.5])


@pytest.mark.parametrize("form", ["steps", "pixels"])
def test_a_class_for_each_step_or_pixel_is_learned_and_predicted(form):
    made, x, y = labeller(form)
    history = made.fit(
        x, y, epochs=60, batch_size=8, num_classes=3, validation_split=0.25, verbose=0
    )
    assert history["acc"][-1] >= 0.9
    decided = made.predict_classes(x)
    assert decided.shape == y.shape
    assert made.evaluate(x, y)["acc"] == pytest.approx((decided == y).mean())
    made.class_names = ["low", "middle", "high"]
    assert (
        made.predict_classes(x, names=True).tolist() == np.array(made.class_names)[decided].tolist()
    )
    with pytest.raises(ValueError, match=r"'num_classes' must be the 3 outputs .* got 4"):
        made.fit(x, y, num_classes=4, verbose=0)


@pytest.mark.parametrize("source", ["arrays", "batches", "one-hot"])
@pytest.mark.parametrize("form", ["steps", "pixels"])
def test_class_weights_of_steps_and_pixels_multiply_the_loss_of_each(form, source):
    made, x, y = labeller(form)
    weights, each = {0: 3.0, 2: 0.5}, np.array([3.0, 1.0, 0.5])[y]
    z = np.moveaxis(made.predict(x).astype("float64"), 2 if form == "steps" else 1, -1)
    single = np.log(np.exp(z).sum(axis=-1)) - np.take_along_axis(z, y[..., None], axis=-1)[..., 0]
    given, targets = (x, y)
    if source == "one-hot":
        targets = np.moveaxis(np.eye(3)[y], -1, 2 if form == "steps" else 1)
    if source == "batches":
        given, targets = [(x[:20], y[:20]), (x[20:], y[20:])], None
    found = made.evaluate(given, targets, class_weight=weights)["loss"]
    assert found == pytest.approx((single * each).mean(), rel=1e-5)
    per_sample = np.linspace(0, 2, 24)
    if source != "batches":
        found = made.evaluate(given, targets, class_weight=weights, sample_weight=per_sample)[
            "loss"
        ]
        rows = (single * each).reshape(24, -1).mean(axis=1)
        assert found == pytest.approx((rows * per_sample).mean(), rel=1e-5)
    made.fit(given, targets, class_weight=weights, epochs=2, verbose=0)


@pytest.mark.parametrize("form", ["steps", "pixels"])
def test_a_yes_or_no_for_each_step_or_pixel(form):
    axis = 2 if form == "steps" else 1
    x, layer = (STEPS, nn.Dense(1)) if form == "steps" else (PIXELS, nn.Conv2D(1, 1))
    y = (np.take(x, [0], axis) > 0).astype(int)
    made = nn.Model([layer], seed=0)
    made.compile("bce", "adam", lr=0.1)
    history = made.fit(x, y, epochs=40, class_weight={1: 2.0}, verbose=0)
    assert history["acc"][-1] >= 0.9
    decided = made.predict_classes(x)
    assert decided.shape == y.squeeze(axis).shape
    assert (decided == y.squeeze(axis)).mean() >= 0.9


def test_a_fit_within_a_fit_of_the_same_model():
    """Both would write one history and step one optimizer; a copy may be trained."""
    x, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 3
    refused = []

    class Inner(nn.callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            copied = copy.deepcopy(self.model)
            assert len(copied.fit(x, y, epochs=2, verbose=0)["loss"]) == 2
            with pytest.raises(RuntimeError, match=r"\[Model\] fit\(\) .* a copy") as error:
                self.model.fit(x, y, verbose=0)
            refused.append(str(error.value))

    model = nn.Model([nn.Dense(3, input_shape=(4,))], "cce", "adam", seed=0)
    history = model.fit(x, y, epochs=3, callbacks=[Inner()], verbose=0)
    assert len(refused) == len(history["loss"]) == 3
    assert model.fit(x, y, verbose=0)["loss"]


@pytest.mark.parametrize("logs", [1.0, None, {}, {"acc": 1.0}])
def test_a_train_step_must_return_figures(logs):
    class Wrong(nn.Model):
        def train_step(self, x, y, sample_weight=None, metrics=None):
            return logs

    model = Wrong([nn.Dense(1, input_shape=(2,))], seed=0)
    model.compile("mse", "sgd")
    with pytest.raises(ValueError, match=r"\[Wrong\] 'train_step' must return a dict with 'loss'"):
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)


def test_functions_without_names_are_said_to_need_def():
    model = nn.Model([nn.Dense(1, input_shape=(2,))], seed=0)
    with pytest.raises(ValueError, match=r"'metrics' must have different names, .*defined by def"):
        model.compile("mse", "sgd", metrics=[lambda t, p: 1.0, lambda t, p: 2.0])


def test_labels_in_a_table_are_to_be_passed_as_a_column():
    pandas = pytest.importorskip("pandas")
    labels = pandas.DataFrame({"kind": ["a", "b"] * 2})
    model = nn.Model([nn.Dense(2, input_shape=(2,))], seed=0)
    model.compile("cce", "sgd")
    with pytest.raises(TypeError, match=r"'y' .*drop the rows without a label.* as one column"):
        model.fit(np.ones((4, 2)), labels, verbose=0)
    with pytest.raises(ValueError, match=r"'y' must have a label in each row.* in row 1"):
        model.fit(np.ones((4, 2)), labels["kind"].where(labels["kind"] != "b"), verbose=0)
    model.fit(np.ones((4, 2)), labels["kind"], verbose=0)


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan])
@pytest.mark.parametrize("kind", [list, tuple, lambda y: np.array(y, object)])
def test_a_missing_label_among_texts_is_named_and_never_the_class_nan(kind, missing):
    labels = kind(["a", "b", missing, "a"])
    model = nn.Model([nn.Dense(3, input_shape=(2,))], seed=0)
    model.compile("cce", "sgd")
    rule = r"'y' must have a label in each row: .*, got (None|nan) in row 2"
    with pytest.raises(ValueError, match=rf"\[Model\] {rule}"):
        model.fit(np.ones((4, 2)), labels, verbose=0)
    with pytest.raises(ValueError, match=rf"\[Dataset\] {rule}"):
        nn.Dataset(np.ones((4, 2)), labels)
    assert model.class_names is None


def test_a_metric_that_cannot_be_computed_is_refused_before_the_first_step():
    x, y = np.ones((6, 2), "float32"), np.arange(6) % 3
    model = nn.Model([nn.Dense(3, input_shape=(2,))], seed=0)
    model.compile("cce", "sgd", metrics=["auc"])
    before = model.get_weights()
    for call in (model.fit, model.evaluate, model.train_step):
        with pytest.raises(ValueError, match=r"\[AUC\] 'metrics' .* two classes, got 3 outputs"):
            call(x, y)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for loss, outputs, targets in (("cce", 2, y % 2), ("bce", 3, np.eye(3)[y]), ("bce", 1, y % 2)):
        fitting = nn.Model([nn.Dense(outputs, input_shape=(2,))], seed=0)
        fitting.compile(loss, "sgd", metrics=["auc"])
        assert "auc" in fitting.fit(x, targets, verbose=0)
