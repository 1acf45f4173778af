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
        ({"loss": 1, "acc": 2, "val_loss": 3, "val_acc": 4}, 4),
        ({"loss": 1, "acc": 2, "val_loss": 3}, -3),
        ({"loss": 1, "acc": 2, "val_own": 9}, 2),
        ({"loss": 1}, -1),
    ],
)
def test_what_is_watched_without_a_name(logs, expected):
    assert callbacks.score(logs, None) == expected


def test_what_is_watched_by_name():
    logs = {"loss": 1, "f1": 2, "val_rmse": 3, "val_top_5_accuracy": 4}
    assert callbacks.score(logs, "f1") == 2
    assert callbacks.score(logs, "val_top_5_accuracy") == 4
    assert callbacks.score(logs, "val_rmse") == -3
    assert callbacks.score(logs, "val_rmse", "max") == 3
    assert callbacks.score(logs, "f1", "min") == -2
    with pytest.raises(ValueError, match="did you mean 'val_rmse'"):
        callbacks.score(logs, "val_rsme")
    with pytest.raises(ValueError, match="'mode' must be one of"):
        callbacks.EarlyStopping(mode="up")


def watch(callback, values):
    """Feed a callback a value of 'acc' an epoch; return the epochs that were a gain."""
    callback.model = model()
    callback.on_train_begin({})
    return [k for k, value in enumerate(values) if callback.gained({"acc": value})]


def test_a_gain_is_more_than_min_delta_over_the_best():
    callback = callbacks.EarlyStopping(None, 2, 0.1)
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
    stopping = callbacks.EarlyStopping(monitor="mine", patience=2, mode="max")
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


@pytest.mark.parametrize(
    "arguments",
    [
        {"optimizer": "adam"},
        {"lr_schedule": "cosine"},
        {"lr_schedule": "step", "lr_patience": 1},
        {"lr_schedule": "plateau", "lr_patience": 1, "min_delta": 0.5},
        {"early_stopping": True, "patience": 3, "min_delta": 0.5},
        {"validation_split": 0.2, "class_weight": {0: 2.0}},
    ],
)
def test_training_resumed_from_any_checkpoint_equals_training_in_one_go(arguments, tmp_path):
    """Weights, history, rates and the moment of stopping, from the file of every epoch."""
    x, y = data()
    compile_arguments = {"optimizer": arguments.pop("optimizer", "sgd"), "lr": 0.1}

    def train(**more):
        trained = model(**compile_arguments)
        trained.fit(x, y, epochs=6, batch_size=8, verbose=0, **arguments, **more)
        return trained

    path = str(tmp_path / "at{epoch}.npz")
    checkpoint = callbacks.ModelCheckpoint(path, save_best_only=False, save_state=True)
    whole = train(callbacks=[checkpoint])
    for epoch in range(1, whole.epoch + 1):
        resumed = train(resume=path.format(epoch=epoch))
        assert resumed.history == whole.history
        assert resumed.epoch == whole.epoch
        assert resumed.optimizer.lr == whole.optimizer.lr
        if "early_stopping" not in arguments:  # the best weights may lie before the checkpoint
            for name, array in whole.get_arrays().items():
                np.testing.assert_array_equal(resumed.get_arrays()[name], array)


def test_epochs_run_are_counted_also_after_initial_epoch(tmp_path):
    x, y = data()
    trained = model()
    trained.fit(x, y, epochs=2, verbose=0)
    trained.fit(x, y, initial_epoch=2, epochs=4, verbose=0)
    trained.save(tmp_path / "at4.hdf5")
    resumed = model()
    history = resumed.fit(x, y, epochs=5, resume=tmp_path / "at4.hdf5", verbose=0)
    assert resumed.epoch == 5
    assert resumed.optimizer.iterations == 5
    assert len(history["loss"]) == 3


def test_checkpoint_starts_afresh_and_formats_its_name(tmp_path):
    x, y = data()
    checkpoint = callbacks.ModelCheckpoint(
        tmp_path / "{epoch:02d}-{loss:.1f}.npz", monitor="loss", save_best_only=True
    )
    for _ in range(2):
        model(lr=0.0).fit(x, y, callbacks=[checkpoint], verbose=0)
        written = list(tmp_path.iterdir())
        assert [path.name[:3] for path in written] == ["01-"]
        written[0].unlink()
    wrong = callbacks.ModelCheckpoint(tmp_path / "{epoc}.npz", monitor="loss")
    with pytest.raises(ValueError, match=r"'path' may hold \{name\} of epoch, loss"):
        model().fit(x, y, callbacks=[wrong], verbose=0)


def test_evaluating_within_an_epoch_does_not_touch_its_figures():
    x, y = data()

    class Look(callbacks.Callback):
        def on_train_batch_end(self, batch, logs):
            self.model.evaluate(x[:3], y[:3])

    plain, looking = model(), model()
    plain.fit(x, y, epochs=2, batch_size=4, verbose=0)
    looking.fit(x, y, epochs=2, batch_size=4, callbacks=[Look()], verbose=0)
    assert plain.history == looking.history


def test_a_saved_schedule_is_the_optimizers_own_rate(tmp_path):
    path = tmp_path / "run.npz"
    checkpoint = callbacks.ModelCheckpoint(path, save_best_only=False, save_state=True)
    trained = model(lr=0.1)
    trained.fit(*data(), epochs=3, lr_schedule="cosine", callbacks=[checkpoint], verbose=0)
    assert nn.Model.load(path).optimizer.lr == trained.optimizer.lr == 0.1
    own = model(lr=lambda step: 0.1 / (1 + step))
    own.fit(*data(), verbose=0)
    own.save(path)
    with pytest.warns(UserWarning, match="a function for its learning rate"):
        nn.Model.load(path)


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
