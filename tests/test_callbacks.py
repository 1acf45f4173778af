"""Callbacks: when they are called, and what each of them does."""

import numpy as np
import pytest

import nn
from nn import callbacks


def data(n=20):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 2)).astype("float32"), np.arange(n) % 2


def model(**arguments):
    made = nn.Model([nn.Dense(2, input_shape=(2,))], seed=0)
    made.compile(**{"loss": "cce", "optimizer": "sgd", "lr": 0.1, **arguments})
    return made


def test_the_order_of_calls():
    calls = []

    class Spy(callbacks.Callback):
        def on_train_begin(self, logs):
            calls.append("train_begin")

        def on_train_end(self, logs):
            calls.append("train_end")

        def on_epoch_begin(self, epoch, logs):
            calls.append(f"epoch_begin {epoch}")

        def on_epoch_end(self, epoch, logs):
            calls.append(f"epoch_end {epoch} {sorted(logs)}")
            logs["mine"] = 7

        def on_train_batch_begin(self, batch, logs):
            calls.append(f"batch_begin {batch}")

        def on_train_batch_end(self, batch, logs):
            calls.append(f"batch_end {batch} {sorted(logs)}")

    history = model().fit(*data(), batch_size=10, callbacks=[Spy()], verbose=0)
    assert calls == [
        "train_begin",
        "epoch_begin 0",
        "batch_begin 0",
        "batch_end 0 ['acc', 'loss']",
        "batch_begin 1",
        "batch_end 1 ['acc', 'loss']",
        "epoch_end 0 ['acc', 'loss', 'lr']",
        "train_end",
    ]
    assert history["mine"] == [7]


def test_an_exception_in_a_callback_reaches_the_user_and_training_ends():
    ended = []

    class Broken(callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            raise RuntimeError("mine")

        def on_train_end(self, logs):
            ended.append(True)

    with pytest.raises(RuntimeError, match="mine"):
        model().fit(*data(), callbacks=[Broken()], verbose=0)
    assert ended == [True]


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        ({"loss": 1, "acc": 2, "val_loss": 3, "val_acc": 4}, ("val_acc", 4, 1)),
        ({"loss": 1, "acc": 2, "val_loss": 3}, ("val_loss", 3, -1)),
        ({"loss": 1, "acc": 2}, ("acc", 2, 1)),
        ({"loss": 1}, ("loss", 1, -1)),
    ],
)
def test_what_is_watched_without_a_name(logs, expected):
    assert callbacks.watched(logs, None) == expected


def test_what_is_watched_by_name():
    logs = {"loss": 1, "f1": 2, "val_mae": 3}
    assert callbacks.watched(logs, "f1") == ("f1", 2, 1)
    assert callbacks.watched(logs, "val_mae") == ("val_mae", 3, -1)
    with pytest.raises(ValueError, match="did you mean 'val_mae'"):
        callbacks.watched(logs, "val_mea")


def watch(callback, values):
    """Feed a callback a value of 'acc' an epoch; return the epochs that were a gain."""
    callback.on_train_begin({})
    return [k for k, value in enumerate(values) if callback.gained({"acc": value})]


def test_a_gain_is_more_than_min_delta_over_the_best():
    callback = callbacks._Watcher(None, 2, 0.1)
    assert watch(callback, [0.5, 0.55, 0.6, 0.7, float("nan"), 0.75, 0.9]) == [0, 3, 6]


def test_plateau_by_hand():
    callback = callbacks.ReduceLROnPlateau(patience=2, factor=0.5, lr_min=0.2)
    callback.model = model(lr=1.0)
    callback.on_train_begin({})
    rates = []
    for value in (0.5, 0.5, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6):
        callback.on_epoch_end(0, {"acc": value})
        rates.append(callback.model.optimizer.lr)
    assert rates == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2]


def test_plateau_never_raises_a_rate_below_its_minimum():
    callback = callbacks.ReduceLROnPlateau(patience=1, lr_min=0.1)
    callback.model = model(lr=0.01)
    callback.on_train_begin({})
    for _ in range(3):
        callback.on_epoch_end(0, {"acc": 0.5})
    assert callback.model.optimizer.lr == 0.01


def test_plateau_of_a_schedule_is_an_error():
    with pytest.raises(ValueError, match="cannot lower a learning rate that is a schedule"):
        model(lr=lambda step: 0.1).fit(*data(), lr_schedule="plateau", verbose=0)


def test_early_stopping_with_nan_keeps_the_best_before():
    x, y = data()
    stopping = callbacks.EarlyStopping(monitor="mine", patience=2)
    values = iter([0.1, 0.2, float("nan"), float("nan"), 0.9])

    class Measure(callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["mine"] = next(values)

    history = model().fit(x, y, epochs=9, callbacks=[Measure(), stopping], verbose=0)
    assert stopping.best_epoch == 1
    assert len(history["mine"]) == 4


@pytest.mark.parametrize("best_only", [True, False])
def test_checkpoint_writes_the_best_or_every_epoch(best_only, tmp_path):
    values = iter([0.3, 0.5, 0.4])

    class Measure(callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["val_acc"] = next(values)

    checkpoint = callbacks.ModelCheckpoint(tmp_path / "at{epoch}.hdf5", save_best_only=best_only)
    trained = model()
    trained.fit(*data(), epochs=3, callbacks=[Measure(), checkpoint], verbose=0)
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["at1.hdf5", "at2.hdf5"] + ["at3.hdf5"] * (not best_only)
    assert nn.Model.load(tmp_path / "at1.hdf5").loss is None


def test_checkpoint_with_state_can_be_resumed(tmp_path):
    x, y = data()
    path = tmp_path / "run.npz"
    checkpoint = callbacks.ModelCheckpoint(path, monitor="loss", save_state=True)
    model(lr=1e-3).fit(x, y, epochs=2, callbacks=[checkpoint], verbose=0)
    assert nn.Model.load(path).optimizer.lr == 1e-3


def test_scheduler_sets_the_rate_of_every_batch_and_gives_it_back():
    seen = []

    class Spy(callbacks.Callback):
        def on_train_batch_end(self, batch, logs):
            seen.append(self.model.optimizer.lr)

    trained = model(lr=0.1)
    scheduler = callbacks.LearningRateScheduler(lambda step: step / 100)
    trained.fit(*data(), epochs=2, batch_size=8, callbacks=[scheduler, Spy()], verbose=0)
    assert seen == [0, 0.01, 0.02, 0.03, 0.04, 0.05]
    assert trained.optimizer.lr == 0.1
    with pytest.raises(ValueError, match="must be a function step -> lr"):
        callbacks.LearningRateScheduler(0.1)


def test_history_keeps_its_type_through_a_copy():
    import copy
    import pickle

    history = model().fit(*data(), verbose=0)
    for again in (copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        assert dict(again) == dict(history)
        assert isinstance(again, callbacks.History)
