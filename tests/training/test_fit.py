"""The arguments of `fit` by name, an early stop, a training step of the user's, late hooks."""

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
