"""Callbacks: when they are called, and what each of them does."""

import csv
import sys
import threading
import time

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
def test_the_default_figure_to_monitor(logs, expected):
    assert callbacks.score(logs, None) == expected


def test_a_figure_is_monitored_by_name():
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
    callback = callbacks.EarlyStopping(patience=2, min_delta=0.1)
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
    assert nn.Model.load(tmp_path / "at1.hdf5").optimizer is None


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


def test_checkpoint_formats_its_name(tmp_path):
    x, y = data()
    keep = callbacks.ModelCheckpoint(
        filepath=tmp_path / "{epoch:02d}-{val_loss:.2f}.npz", monitor="val_loss"
    )
    figures = model().fit(x, y, validation_data=(x, y), callbacks=[keep], verbose=0)
    name = f"01-{figures['val_loss'][0]:.2f}.npz"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    wrong = callbacks.ModelCheckpoint(tmp_path / "{epoc}.npz", monitor="loss")
    with pytest.raises(ValueError, match=r"'path' may hold .*epoch.*loss.*, got 'epoc'"):
        model().fit(x, y, callbacks=[wrong], verbose=0)


def test_checkpoint_keeps_its_best_over_several_fits_as_keras_does(tmp_path):
    x, y = data()
    keep = callbacks.ModelCheckpoint(tmp_path / "best.npz", monitor="loss")
    trained = model()
    first = trained.get_weights()
    best = min(trained.fit(x, y, epochs=5, callbacks=keep, verbose=0)["loss"])
    kept = (tmp_path / "best.npz").read_bytes()
    trained.set_weights(first)
    assert trained.fit(x, y, callbacks=keep, verbose=0)["loss"][0] > best
    assert (tmp_path / "best.npz").read_bytes() == kept
    another = callbacks.ModelCheckpoint(tmp_path / "best.npz", monitor="loss")
    trained.fit(x, y, callbacks=another, verbose=0)
    assert (tmp_path / "best.npz").read_bytes() != kept


def test_stopping_and_plateau_start_afresh_in_each_fit_as_keras_do():
    x, y = data()
    stop = callbacks.EarlyStopping("loss", patience=2, restore_best_weights=False)
    slow = callbacks.ReduceLROnPlateau("loss", patience=2, factor=0.5)
    trained = model(lr=0.0)
    for _ in range(2):
        trained.optimizer.lr = 1e-30
        history = trained.fit(x, y, epochs=5, callbacks=[stop, slow], verbose=0)
        assert len(history["loss"]) == 3
        assert stop.wait == 2


def constant(name, values):
    """Return a metric of this name that takes these values, epoch by epoch."""
    values = iter(values)

    def metric(y_true, y_pred):
        return next(values)

    metric.__name__ = name
    return metric


@pytest.mark.parametrize(
    ("lr_schedule", "others"),
    [
        ("cosine", [callbacks.LearningRateScheduler(lambda epoch: 0.5)]),
        ("cosine", [callbacks.ReduceLROnPlateau("loss")]),
        ("plateau", [callbacks.LearningRateScheduler(lambda epoch: 0.5)]),
        (lambda step: 0.1, [callbacks.LearningRateScheduler(lambda epoch: 0.5)]),
        (None, [callbacks.LearningRateScheduler(abs), callbacks.LearningRateScheduler(float)]),
    ],
    ids=["name", "plateau", "name of plateau", "function", "two"],
)
def test_a_learning_rate_that_is_set_twice_is_refused(lr_schedule, others):
    model = nn.Model([nn.Dense(1, input_shape=(2,))], seed=0)
    model.compile("mse", "sgd", lr=0.1)
    x, y = np.ones((4, 2)), np.ones((4, 1))
    with pytest.raises(ValueError, match=r"must not set the learning rate twice, got .* and "):
        model.fit(x, y, epochs=2, lr_schedule=lr_schedule, callbacks=others, verbose=0)
    two = [callbacks.ReduceLROnPlateau(figure) for figure in ("loss", "val_loss")]
    model.fit(x, y, val_data=(x, y), callbacks=two, verbose=0)  # which add up


@pytest.mark.parametrize("name", ["iou", "neg_mean_squared_error", "vaccination", "kappa"])
@pytest.mark.parametrize(
    "make", [callbacks.EarlyStopping, callbacks.ReduceLROnPlateau, "checkpoint"]
)
def test_auto_refuses_names_that_it_does_not_know(make, name, tmp_path):
    if make == "checkpoint":

        def make(monitor, **more):
            return callbacks.ModelCheckpoint(tmp_path / "best.npz", monitor, **more)

    def fit(**more):
        trained = model(metrics=[constant(name, [0.5, 0.75])])
        trained.fit(*data(), epochs=2, callbacks=make(name, **more), verbose=0)
        return trained

    with pytest.raises(ValueError, match=rf"'mode'.*'{name}'.*mode='max'.*mode='min'") as raised:
        fit()
    assert not getattr(raised.value, "__notes__", ())  # before the first step
    assert fit(mode="max").epoch == 2


@pytest.mark.parametrize(
    ("name", "better"),
    [
        *((name, 1.0) for name in ("acc", "val_acc", "val_accuracy", "val_top_5_accuracy", "f1")),
        *((name, 1.0) for name in ("auc", "r2", "precision", "val_recall", "binary_accuracy")),
        *((name, -1.0) for name in ("loss", "val_loss", "val_mse", "mae", "mean_absolute_error")),
    ],
)
def test_auto_knows_the_names_that_nn_and_keras_give(name, better):
    assert callbacks.score({name: 0.5}, name) == 0.5 * better
    assert callbacks.score({name: 0.5}, name, "min") == -0.5


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda folder: callbacks.EarlyStopping("val_loss"), "monitor"),
        (lambda folder: callbacks.ReduceLROnPlateau("val_acc"), "monitor"),
        (lambda folder: callbacks.EarlyStopping("accuracy"), "monitor"),
        (lambda folder: callbacks.ModelCheckpoint(folder / "best.npz"), "monitor"),
        (
            lambda folder: callbacks.ModelCheckpoint(
                folder / "{val_loss:.2f}.npz", save_best_only=False
            ),
            "path",
        ),
    ],
)
def test_a_figure_that_will_not_be_measured_is_refused_before_the_first_step(
    make, argument, tmp_path
):
    batches = []
    spy = callbacks.LambdaCallback(on_train_batch_end=lambda batch: batches.append(batch))
    made = make(tmp_path)
    with pytest.raises(ValueError, match=rf"\[{type(made).__name__}\] '{argument}' .*, got '"):
        model().fit(*data(), callbacks=[spy, callbacks.Timer(), made], verbose=0)
    assert batches == []


def test_figures_of_other_callbacks_can_be_monitored():
    class Mine(callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["val_mine"] = 1.0

    stops = [
        callbacks.EarlyStopping("val_mine", patience=1, mode="max"),
        callbacks.EarlyStopping("seconds", mode="min"),
    ]
    chosen = [Mine(), callbacks.Timer(), *stops]
    assert model().fit(*data(), epochs=5, callbacks=chosen, verbose=0)["val_mine"] == [1.0, 1.0]


def test_epochs_before_start_from_epoch_do_not_count():
    def epochs(**more):
        stop = callbacks.EarlyStopping("mse", patience=2, **more)
        metric = constant("mse", [0.1, 0.5, 0.4, 0.3, 0.3, 0.3, 0.3, 0.3])
        history = model(metrics=[metric]).fit(*data(), epochs=8, callbacks=stop, verbose=0)
        return len(history["mse"]), stop.best_epoch

    assert epochs() == (3, 0)
    assert epochs(start_from_epoch=1) == (6, 3)


def test_a_baseline_must_be_beaten_within_the_patience():
    def epochs(values, **more):
        stop = callbacks.EarlyStopping("mse", patience=3, **more)
        history = model(metrics=[constant("mse", values)]).fit(
            *data(), epochs=8, callbacks=stop, verbose=0
        )
        return len(history["mse"]), stop.best_epoch

    values = [0.8, 0.7, 0.6, 0.6, 0.5, 0.4, 0.3, 0.2]
    assert epochs(values) == (8, 7)
    assert epochs(values, baseline=0.55) == (4, 2)  # as in Keras: the best of those is kept
    assert epochs(values, baseline=0.65) == (8, 7)
    assert epochs(sorted(values, reverse=True)[:3] + values[4:] + [0.1], baseline=0.0) == (8, 7)


def test_a_training_that_has_not_beaten_its_baseline_goes_on_when_it_is_resumed(tmp_path):
    def fit(epochs, **more):
        stop = callbacks.EarlyStopping("loss", patience=2, baseline=0.0)
        keep = callbacks.ModelCheckpoint(tmp_path / "m.npz", save_best_only=False, save_state=True)
        trained = model()
        return trained.fit(*data(), epochs=epochs, callbacks=[stop, keep], verbose=0, **more)

    fit(3)  # three epochs with a gain
    assert len(fit(5, resume=tmp_path / "m.npz")["loss"]) == 5


def test_cooldown_waits_after_a_reduction():
    def rates(**more):
        plateau = callbacks.ReduceLROnPlateau("mse", patience=1, factor=0.5, **more)
        flat = model(metrics=[constant("mse", [1.0] * 8)], lr=0.8)
        return flat.fit(*data(), epochs=8, callbacks=plateau, verbose=0)["lr"]

    assert rates() == [0.8, 0.8, 0.4, 0.2, 0.1, 0.05, 0.025, 0.0125]
    assert rates(cooldown=2) == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1]
    assert rates(min_lr=0.2) == [0.8, 0.8, 0.4] + [0.2] * 5


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
    scheduler = callbacks.LearningRateScheduler(lambda step: step / 100, by="step")
    trained.fit(*data(), epochs=2, batch_size=8, callbacks=[scheduler, Spy()], verbose=0)
    assert seen == [0, 0.01, 0.02, 0.03, 0.04, 0.05]
    assert trained.optimizer.lr == 0.1
    with pytest.raises(ValueError, match=r"\[LearningRateScheduler\] 'schedule' must be"):
        callbacks.LearningRateScheduler(0.1)


def test_scheduler_of_the_users_counts_steps_of_the_optimizer():
    rates = []
    schedule = callbacks.LearningRateScheduler(lambda step: 0.1 / (1 + step), by="step")
    spy = callbacks.LambdaCallback(on_batch_end=lambda: rates.append(trained.optimizer.lr))
    trained = model(gradient_accumulation_steps=2)
    trained.fit(*data(), epochs=2, batch_size=8, callbacks=[schedule, spy], verbose=0)
    # Three batches an epoch are two steps: one of two batches, one of what is left.
    assert rates == [0.1 / (1 + step) for step in (0, 0, 1, 2, 2, 3)]
    assert trained.optimizer.iterations == 4


def test_history_keeps_its_type_through_a_copy():
    import copy
    import pickle

    history = model().fit(*data(), verbose=0)
    for again in (copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        assert dict(again) == dict(history)
        assert isinstance(again, callbacks.History)


def test_history_says_which_figures_there_are():
    history = model().fit(*data(), verbose=0)
    with pytest.raises(KeyError, match=r"one of 'acc', 'loss', 'lr', got 'accuracy': did you mean"):
        history["accuracy"]
    assert history.get("accuracy") is None
    assert "accuracy" not in history
    assert sorted(history) == ["acc", "loss", "lr"]


# ---------------------------------------------------------------- methods as Keras has them


def test_methods_of_keras_under_all_their_names_with_or_without_logs():
    calls = []

    class New(callbacks.Callback):
        def set_model(self, model):
            super().set_model(model)
            calls.append("model")

        def set_params(self, params):
            super().set_params(params)
            calls.append(("params", params["epochs"]))

        def on_train_begin(self, logs=None):
            calls.append(("begin", logs))

        def on_epoch_begin(self, epoch):
            calls.append(("epoch", epoch))

        def on_train_batch_begin(self, *arguments):
            calls.append(("batch", arguments))

        def on_batch_begin(self, batch, logs=None):
            raise AssertionError("the newer name goes before")

        def on_test_begin(self):
            calls.append("test")

        def on_test_end(self, logs=None):
            calls.append(("tested", sorted(logs)))

        def on_epoch_end(self):
            calls.append("epoch end")

    class Old(callbacks.Callback):
        def on_batch_begin(self, batch, logs=None):
            calls.append(("old begin", batch, logs))

        def on_batch_end(self, batch):
            calls.append(("old end", batch))

    x, y = data()
    model().fit(x, y, val_data=(x, y), callbacks=[New(), Old()], verbose=0)
    assert calls == [
        ("params", 1),
        "model",
        ("begin", {}),
        ("epoch", 0),
        ("batch", (0, {})),
        ("old begin", 0, {}),
        ("old end", 0),
        "test",
        ("tested", ["acc", "loss"]),
        "epoch end",
    ]


def test_lambda_callback():
    calls = []
    callback = callbacks.LambdaCallback(
        on_train_begin=lambda logs: calls.append("begin"),
        on_epoch_end=lambda epoch, logs: calls.append((epoch, sorted(logs))),
        on_batch_end=lambda batch: calls.append(batch),
        on_train_end=None,
    )
    model().fit(*data(), batch_size=10, callbacks=callback, verbose=0)
    assert calls == ["begin", 0, 1, (0, ["acc", "loss", "lr"])]
    with pytest.raises(ValueError, match="did you mean 'on_epoch_end'"):
        callbacks.LambdaCallback(on_epoch_ends=print)
    with pytest.raises(ValueError, match=r"\[LambdaCallback\] 'on_epoch_end' must be a function"):
        callbacks.LambdaCallback(on_epoch_end=3)


# ------------------------------------------------------------------ rates, by step and epoch


def test_scheduler_by_epoch_with_and_without_the_rate_before():
    x, y = data()
    seen = []
    by_epoch = callbacks.LearningRateScheduler(lambda epoch: (epoch + 1) / 100)
    spy = callbacks.LambdaCallback(on_batch_end=lambda: seen.append(trained.optimizer.lr))
    trained = model(lr=0.1)
    history = trained.fit(x, y, epochs=2, batch_size=10, callbacks=[by_epoch, spy], verbose=0)
    assert history["lr"] == [0.01, 0.02]
    assert seen == [0.01, 0.01, 0.02, 0.02]
    assert trained.optimizer.lr == 0.1

    def with_default(epoch, factor=0.5):
        return factor / (1 + epoch)

    for halve in (lambda epoch, lr: lr * 0.5, lambda epoch, lr=0.1: lr * 0.5):
        keras = callbacks.LearningRateScheduler(halve)
        rates = model(lr=0.8).fit(x, y, epochs=3, lr_schedule=keras, verbose=0)["lr"]
        assert rates == [0.4, 0.2, 0.1]
    plain = callbacks.LearningRateScheduler(with_default, by="epoch")
    assert model().fit(x, y, epochs=2, callbacks=plain, verbose=0)["lr"] == [0.5, 0.25]
    with pytest.raises(ValueError, match=r"\[LearningRateScheduler\] 'by' must be one of"):
        callbacks.LearningRateScheduler(with_default, by="batch")


def test_a_function_of_the_step_is_not_taken_for_one_of_the_epoch_without_a_word():
    with pytest.warns(UserWarning, match=r"\[LearningRateScheduler\] 'schedule'.*by='step'"):
        scheduler = callbacks.LearningRateScheduler(nn.schedules.cosine(0.1, 100))
    assert scheduler.by == "epoch"
    callbacks.LearningRateScheduler(nn.schedules.cosine(0.1, 100), by="epoch")


def test_a_function_of_the_epoch_is_refused_where_steps_are_counted():
    def decay(epoch):
        return 0.1

    with pytest.raises(ValueError, match=r"\[Model\] 'lr_schedule' .*LearningRateScheduler"):
        model().fit(*data(), lr_schedule=decay, verbose=0)
    with pytest.raises(ValueError, match=r"\[SGD\] 'lr' .*LearningRateScheduler"):
        model(lr=decay)


@pytest.mark.parametrize("rate", [None, -0.1, np.nan, "0.1"])
@pytest.mark.parametrize("by", ["epoch", "step"])
def test_a_rate_that_is_none_is_an_error(by, rate):
    wrong = callbacks.LearningRateScheduler(lambda number: rate, by=by)
    with pytest.raises(ValueError, match=r"\[LearningRateScheduler\] 'schedule' must be a number"):
        model().fit(*data(), callbacks=wrong, verbose=0)


def test_scheduler_by_epoch_goes_on_from_a_checkpoint(tmp_path):
    def train(epochs, **more):
        trained = model(lr=0.8)
        halve = callbacks.LearningRateScheduler(lambda epoch, lr: lr / 2, by="epoch")
        keep = callbacks.ModelCheckpoint(
            tmp_path / "{epoch}.npz", save_best_only=False, save_state=True
        )
        trained.fit(*data(), epochs=epochs, callbacks=[halve, keep], verbose=0, **more)
        return trained

    whole = train(4)
    resumed = train(4, resume=tmp_path / "2.npz")
    assert whole.history["lr"] == [0.4, 0.2, 0.1, 0.05]
    assert resumed.history == whole.history


def test_scheduler_by_epoch_needs_no_count_of_the_batches():
    x, y = data()
    by_epoch = callbacks.LearningRateScheduler(lambda epoch: 0.3, by="epoch")
    history = model().fit(lambda: iter([(x, y)]), callbacks=by_epoch, verbose=0)
    assert history["lr"] == [0.3]


def test_plateau_on_any_figure_in_place_of_a_name():
    values = iter([1.0, 2.0, 2.0, 2.0, 2.0])

    def mine(y_true, y_pred):
        return 0.0

    plateau = callbacks.ReduceLROnPlateau("mine", patience=2, factor=0.1, mode="max")

    class Measure(callbacks.Callback):
        def on_train_batch_end(self, batch, logs):
            logs["mine"] = next(values)

    trained = model(lr=1.0, metrics=["accuracy", mine])
    history = trained.fit(*data(), epochs=5, lr_schedule=plateau, callbacks=Measure(), verbose=0)
    assert history["lr"] == pytest.approx([1, 1, 1, 1, 0.1])
    with pytest.raises(ValueError, match="did you mean 'mine'"):
        plateau = callbacks.ReduceLROnPlateau("mien")
        model(metrics=[mine]).fit(*data(), lr_schedule=plateau, verbose=0)


# -------------------------------------------------------------------------- checkpoints


def test_checkpoint_every_n_epochs_or_batches(tmp_path):
    x, _ = data()

    def written(folder, **arguments):
        (tmp_path / folder).mkdir()
        name = str(tmp_path / folder / "{epoch:02d}-{loss:.0f}") + arguments.pop("more", "")
        keep = callbacks.ModelCheckpoint(name + ".npz", save_best_only=False, **arguments)
        trained = model(lr=0.0, loss="mse", metrics=())
        trained.fit(x, np.zeros((20, 2)), epochs=5, batch_size=8, callbacks=keep, verbose=0)
        return sorted(path.stem for path in (tmp_path / folder).iterdir())

    loss = f"{model(loss='mse').evaluate(x, np.zeros((20, 2)))['loss']:.0f}"
    assert written("a", every_n_epochs=2) == [f"02-{loss}", f"04-{loss}"]
    # Three batches an epoch: every fourth is the first of the second, the second of the third ...
    by_batch = written("b", save_freq=4, more="-{batch}")
    assert [(name[:2], name[-1]) for name in by_batch] == [("02", "1"), ("03", "2"), ("04", "3")]


def test_checkpoint_within_an_epoch_can_be_resumed(tmp_path):
    path = tmp_path / "{epoch}-{batch}.npz"
    keep = callbacks.ModelCheckpoint(path, save_best_only=False, save_state=True, save_freq=2)
    model().fit(*data(), epochs=3, batch_size=8, callbacks=keep, verbose=0)
    resumed = model()
    history = resumed.fit(*data(), epochs=3, resume=tmp_path / "2-1.npz", verbose=0)
    assert len(history["loss"]) == resumed.epoch == 3


def test_checkpoint_of_weights_alone(tmp_path):
    keep = callbacks.ModelCheckpoint(tmp_path / "w.npz", "loss", save_weights_only=True)
    trained = model()
    trained.fit(*data(), callbacks=keep, verbose=0)
    assert sorted(np.load(tmp_path / "w.npz").files) == ["0_Dense_W", "0_Dense_b"]
    other = model()
    other.load_weights(tmp_path / "w.npz")
    np.testing.assert_array_equal(other.predict(data()[0]), trained.predict(data()[0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"save_freq": 5}, "'save_freq' as a number of batches needs save_best_only=False"),
        ({"save_freq": 0, "save_best_only": False}, "'save_freq' must be a positive integer"),
        ({"save_freq": "batch"}, "'save_freq' must be a positive integer, got 'batch'"),
        ({"every_n_epochs": 0}, "'every_n_epochs' must be a positive integer, got 0"),
        ({"save_state": True, "save_weights_only": True}, "'save_state' .* save_weights_only=True"),
    ],
)
def test_checkpoint_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        callbacks.ModelCheckpoint("x.npz", **arguments)


def test_early_stopping_may_leave_the_last_weights():
    values = iter([0.9, 0.1, 0.1])
    last = {}

    class Measure(callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["mine"] = next(values)
            last.update({k: v.copy() for k, v in self.model.get_arrays().items()})

    for restore in (True, False):
        values = iter([0.9, 0.1, 0.1])
        stopping = callbacks.EarlyStopping(
            "mine", patience=2, mode="max", restore_best_weights=restore
        )
        trained = model()
        trained.fit(*data(), epochs=9, callbacks=[Measure(), stopping], verbose=0)
        assert (stopping.best_epoch, stopping.restored) == (0, restore)
        same = np.array_equal(trained.get_arrays()["0_Dense_W"], last["0_Dense_W"])
        assert same != restore


class NewHead(callbacks.Callback):
    """Takes the last layer off after the first epoch, and adds one with other outputs."""

    def on_epoch_begin(self, epoch):
        if epoch == 1:
            self.model.pop()
            self.model.add(nn.Dense(4))

    def on_epoch_end(self, epoch, logs):
        logs["mine"] = -epoch  # the first epoch is the best


def test_best_weights_of_other_layers_are_not_restored():
    """A first layer of the best epoch under a head of the last would be a model never trained."""
    made = nn.Model([nn.Dense(3, input_shape=(2,)), nn.Dense(2)], seed=0)
    made.compile("cce", "sgd", lr=0.1)
    seen = []
    watch = callbacks.LambdaCallback(
        on_epoch_end=lambda: seen.append({k: v.copy() for k, v in made.get_arrays().items()})
    )
    stopping = callbacks.EarlyStopping("mine", patience=5, mode="max")
    says = (
        r"\[EarlyStopping\] did not restore the weights of the best epoch 1: .*wrong shape: "
        r"1_Dense_W \(3, 2\) for \(3, 4\), 1_Dense_b .*The model keeps those of the last epoch: "
        "do not change the layers during fit"
    )
    with pytest.warns(RuntimeWarning, match=says) as caught:
        made.fit(*data(), epochs=3, callbacks=[NewHead(), stopping, watch], verbose=0)
    assert (len(caught), caught[0].filename) == (1, __file__)
    assert (stopping.best_epoch, stopping.restored) == (0, False)
    assert made.get_arrays().keys() == seen[-1].keys()
    for name, array in made.get_arrays().items():
        np.testing.assert_array_equal(array, seen[-1][name])


# ------------------------------------------------------------------------- NaN in training


class Poison(callbacks.Callback):
    """Makes a weight infinite before the given batch of the given epoch, or after the epoch."""

    def __init__(self, epoch, batch):
        self.at = epoch, batch

    def on_epoch_begin(self, epoch):
        self.epoch = epoch

    def on_train_batch_begin(self, batch):
        if (self.epoch, batch) == self.at:
            self.model.layers[0].params["W"][0, 0] = np.nan

    def on_test_begin(self):
        self.on_train_batch_begin("validation")


@pytest.mark.parametrize("early_stopping", [True, False])
def test_terminate_on_nan_keeps_the_history_and_the_best_weights(early_stopping, capsys):
    x, y = data()
    watcher, ended = callbacks.TerminateOnNaN(), []
    trained = model()
    history = trained.fit(
        x,
        y,
        epochs=9,
        batch_size=5,
        early_stopping=early_stopping,
        callbacks=[
            Poison(2, 1),
            watcher,
            callbacks.LambdaCallback(on_train_end=lambda: ended.append(1)),
        ],
        verbose=0,
    )
    assert len(history["loss"]) == trained.epoch == 2
    assert ended == [1]
    assert watcher.reason.startswith("epoch 3, batch 1: the loss is nan: layer 0 (Dense)")
    assert f"[TerminateOnNaN] {watcher.reason}" in capsys.readouterr().out
    assert np.isfinite(trained.get_arrays()["0_Dense_W"]).all() == early_stopping
    if early_stopping:
        best = int(np.argmax(history["acc"]))
        again = model()
        again.fit(x, y, epochs=best + 1, batch_size=5, verbose=0)
        np.testing.assert_array_equal(
            trained.get_arrays()["0_Dense_W"], again.get_arrays()["0_Dense_W"]
        )


def test_after_terminate_on_nan_training_goes_on_from_the_best_weights(capsys):
    x, y = data()

    class PoisonState(callbacks.Callback):  # as a gradient that is NaN does
        def on_epoch_begin(self, epoch):
            state = self.model.optimizer.state_dict()
            if epoch == 2:
                state["v/0_Dense_W"][...] = np.nan
                self.model.optimizer.load_state_dict(state)

    trained = model(optimizer="adam", ema_decay=0.9)
    chosen = [PoisonState(), callbacks.TerminateOnNaN()]
    trained.fit(x, y, epochs=9, batch_size=5, early_stopping=True, callbacks=chosen, verbose=0)
    assert "[TerminateOnNaN]" in capsys.readouterr().out
    assert trained.optimizer.iterations == 0 and trained.optimizer.averages == {}
    history = trained.fit(x, y, epochs=2, verbose=0)
    assert np.isfinite(history["loss"]).all()


def test_an_optimizer_whose_state_is_sound_keeps_it_after_terminate_on_nan(capsys):
    watcher = callbacks.TerminateOnNaN()
    trained = model(optimizer="adam")
    trained.fit(*data(), epochs=1, callbacks=watcher, verbose=0)
    watcher.terminate("for a test.")
    assert trained.optimizer.iterations == 1


def test_an_error_in_a_batch_names_it():
    def broken(batch):
        if batch == 2:
            raise KeyError("mine")

    callback = callbacks.LambdaCallback(on_batch_end=broken)
    threads = threading.active_count()
    with pytest.raises(KeyError) as caught:
        model().fit(*data(), batch_size=5, num_threads=2, callbacks=callback, verbose=0)
    assert caught.value.__notes__ == ["[Model] raised in epoch 1, batch 2."]
    assert threading.active_count() == threads


def test_terminate_on_nan_in_the_validation_alone():
    x, y = data()
    watcher = callbacks.TerminateOnNaN()
    history = model().fit(
        x, y, epochs=9, val_data=(x, y), callbacks=[Poison(1, "validation"), watcher], verbose=0
    )
    assert len(history["loss"]) == 2
    assert watcher.reason == "epoch 2: 'val_loss' is nan."


def test_without_the_callback_nan_stays_an_error():
    with pytest.raises(FloatingPointError, match="epoch 1, batch 0"):
        model().fit(*data(), callbacks=Poison(0, 0), verbose=0)


# ---------------------------------------------------------------------------- CSV and clock


def read_csv(path, separator=","):
    with path.open(newline="") as file:
        return list(csv.reader(file, delimiter=separator))


def test_csv_logger_writes_the_history(tmp_path):
    path = tmp_path / "log.csv"
    x, y = data()
    history = model().fit(
        x, y, epochs=3, val_data=(x, y), callbacks=callbacks.CSVLogger(path), verbose=0
    )
    head, *lines = read_csv(path)
    assert head == ["epoch", "loss", "acc", "val_loss", "val_acc", "lr"]
    for epoch, line in enumerate(lines):
        expected = [epoch, *(history[name][epoch] for name in head[1:])]
        assert [float(value) for value in line] == expected
    assert len(lines) == 3


@pytest.mark.parametrize("append", [False, True])
def test_csv_logger_goes_on_with_its_file_if_training_is_resumed(tmp_path, append):
    path, saved = tmp_path / "log.csv", tmp_path / "{epoch}.npz"

    def fit(**more):
        keep = callbacks.ModelCheckpoint(saved, save_best_only=False, save_state=True)
        log = callbacks.CSVLogger(filename=path, append=append)
        return model().fit(*data(), callbacks=[log, keep], verbose=0, **more)

    fit(epochs=3)
    whole = path.read_text()
    fit(epochs=3, resume=tmp_path / "2.npz")  # the third epoch is run again
    assert path.read_text() == whole
    fit(epochs=4, resume=tmp_path / "3.npz")
    assert [line[0] for line in read_csv(path)] == ["epoch", "0", "1", "2", "3"]
    path.write_text("something else")
    if not append:
        fit(epochs=4, resume=tmp_path / "3.npz")
        assert [line[0] for line in read_csv(path)] == ["epoch", "3"]


def test_csv_logger_is_on_disk_after_each_epoch_and_replaces_an_old_file(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("something else")
    counts = []
    logger = callbacks.CSVLogger(path, separator=";")
    look = callbacks.LambdaCallback(on_epoch_end=lambda: counts.append(len(read_csv(path))))
    trained = model()
    for _ in range(2):  # the callback may be used again
        trained.fit(*data(), epochs=2, callbacks=[logger, look], verbose=0)
    assert counts == [2, 3, 2, 3]
    assert read_csv(path, ";")[0] == ["epoch", "loss", "acc", "lr"]


@pytest.mark.parametrize("cut_off", [False, True])
def test_csv_logger_goes_on_in_the_columns_of_an_old_file(cut_off, tmp_path):
    path = tmp_path / "log.csv"
    x, y = data()
    trained = model()
    trained.fit(x, y, epochs=2, callbacks=callbacks.CSVLogger(path, append=True), verbose=0)
    if cut_off:
        path.write_text(path.read_text()[:-3])
    trained.fit(
        x,
        y,
        epochs=3,
        initial_epoch=2,
        val_data=(x, y),
        callbacks=callbacks.CSVLogger(path, append=True),
        verbose=0,
    )
    head, *lines = read_csv(path)
    assert head == ["epoch", "loss", "acc", "lr"]
    assert [line[0] for line in lines] == ["0", "1", "2"]
    assert [float(value) for value in lines[2][1:]] == [trained.history[k][0] for k in head[1:]]


def test_csv_logger_figures_that_come_and_go(tmp_path):
    class Sometimes(callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["odd" if epoch % 2 else 'even, "quoted"'] = np.float32(epoch)

    path = tmp_path / "log.csv"
    chosen = [Sometimes(), callbacks.CSVLogger(path)]
    model(metrics=()).fit(*data(), epochs=2, callbacks=chosen, verbose=0)
    head, first, second = read_csv(path)
    assert head == ["epoch", "loss", "lr", 'even, "quoted"']
    assert (first[-1], second[-1]) == ("0.0", "NA")


def test_csv_logger_errors(tmp_path):
    with pytest.raises(ValueError, match=r"\[CSVLogger\] 'separator' must be one character"):
        callbacks.CSVLogger("x.csv", separator="::")
    with pytest.raises(FileNotFoundError):
        model().fit(*data(), callbacks=callbacks.CSVLogger(tmp_path / "no" / "x.csv"), verbose=0)
    path = tmp_path / "log.csv"
    path.write_text("epoch;loss\n0;1.5\n")
    with pytest.raises(ValueError, match="must begin with the column 'epoch' to be appended"):
        model().fit(*data(), callbacks=callbacks.CSVLogger(path, append=True), verbose=0)
    assert path.read_text() == "epoch;loss\n0;1.5\n"


def test_timer_measures_epochs_and_steps():
    pause = callbacks.LambdaCallback(
        on_epoch_begin=lambda: time.sleep(0.03), on_batch_begin=lambda: time.sleep(0.005)
    )
    timer = callbacks.Timer()
    history = model().fit(*data(), epochs=2, batch_size=4, callbacks=[timer, pause], verbose=0)
    for seconds, step_seconds in zip(history["seconds"], history["step_seconds"], strict=True):
        assert step_seconds >= 0.005
        assert 5 * step_seconds + 0.03 <= seconds


# ----------------------------------------------------------------------------- TensorBoard


def test_tensorboard_files_are_read_by_its_own_reader(tmp_path):
    reason = "needs tensorboardX and tensorboard (python -m pip install tensorboardX tensorboard)"
    pytest.importorskip("tensorboardX", reason=reason)
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason=reason
    )
    x, y = data()
    threads = threading.active_count()
    board = callbacks.TensorBoard(tmp_path / "logs", histogram_freq=2)
    trained = model()
    history = trained.fit(x, y, epochs=3, val_data=(x, y), callbacks=board, verbose=0)
    assert threading.active_count() == threads
    runs = {}
    for run in ("train", "validation"):
        runs[run] = reader.EventAccumulator(str(tmp_path / "logs" / run)).Reload()
        prefix = "val_" if run == "validation" else ""
        for tag in runs[run].Tags()["scalars"]:
            name = prefix + tag.removeprefix("epoch_")
            events = runs[run].Scalars(tag)
            assert [event.step for event in events] == [0, 1, 2]
            np.testing.assert_allclose([e.value for e in events], history[name], rtol=1e-6)
    assert set(runs["train"].Tags()["scalars"]) == {"epoch_loss", "epoch_acc", "epoch_lr"}
    assert set(runs["validation"].Tags()["scalars"]) == {"epoch_loss", "epoch_acc"}
    assert set(runs["train"].Tags()["histograms"]) == {"0_Dense_W", "0_Dense_b"}
    (event,) = runs["train"].Histograms("0_Dense_W")  # after the second epoch alone
    assert (event.step, event.histogram_value.num) == (1, 4)


def test_tensorboard_in_a_folder_that_is_a_file_is_an_error_before_training(tmp_path):
    pytest.importorskip("tensorboardX", reason="needs tensorboardX (the extra 'tensorboard')")
    (tmp_path / "logs").write_text("a file")
    trained = model()
    with pytest.raises(OSError, match="logs"):
        trained.fit(*data(), callbacks=callbacks.TensorBoard(tmp_path / "logs"), verbose=0)
    assert not trained.history.get("loss")


def test_tensorboards_of_the_same_second_do_not_write_over_each_other(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX", reason="needs tensorboardX (the extra 'tensorboard')")
    monkeypatch.setattr(time, "time", lambda: 1.5e9)
    for _ in range(2):
        both = [callbacks.TensorBoard(tmp_path), callbacks.TensorBoard(tmp_path)]
        model().fit(*data(), callbacks=both, verbose=0)
    assert len(list((tmp_path / "train").iterdir())) == 4


def test_tensorboard_writes_histograms_of_nearly_equal_weights(tmp_path):
    """NumPy makes no thirty bins between two neighbouring numbers, nor for a NaN."""
    pytest.importorskip("tensorboardX", reason="needs tensorboardX (the extra 'tensorboard')")
    trained = nn.Model([nn.Dense(2, use_bias=False, input_shape=(2,))], dtype="float64", seed=0)
    trained.compile("cce", "sgd", lr=1e-300)
    trained.layers[0].params["W"][...] = [[1, 1], [1, np.nextafter(1, 2)]]
    board = callbacks.TensorBoard(tmp_path, histogram_freq=1)
    trained.fit(*data(), callbacks=board, verbose=0)
    counts = []
    for values in (0.0, np.nan):
        trained.layers[0].params["W"][...] = values
        board.on_epoch_end(0, {})
        board.on_train_end({})
        counts.append(len(list((tmp_path / "train").iterdir())))
    assert counts == [2, 2]  # a file with a histogram of zeros, and none of no numbers


def test_tensorboard_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"\[TensorBoard\] needs tensorboardX .* pip install"):
        callbacks.TensorBoard()


def test_a_callback_twice_is_refused():
    stop = callbacks.EarlyStopping("loss")
    with pytest.raises(ValueError, match=r"'callbacks' must not hold a callback twice"):
        model().fit(*data(), callbacks=[stop, stop], verbose=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: callbacks.EarlyStopping(["loss"]), r"\[EarlyStopping\] 'monitor' .*\['loss'\]"),
        (lambda: callbacks.ModelCheckpoint("a.npz", None), r"'monitor' must be the name .*None"),
        (
            lambda: callbacks.ModelCheckpoint("{epoch.x}.npz", save_best_only=False),
            r"'path' may hold .*epoch\.x",
        ),
        (
            lambda: callbacks.LambdaCallback(on_epoch_end=lambda e, logs: logs.update(z="x")),
            r"\[History\] 'z' must be a number, got 'x'",
        ),
    ],
)
def test_arguments_and_figures_of_a_wrong_kind_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        model().fit(*data(), callbacks=[make()], verbose=0)


def test_a_schedule_that_takes_its_rate_by_name_is_refused():
    def halved(epoch, *, lr):
        return lr / 2

    with pytest.raises(ValueError, match="'schedule' must be a function epoch -> lr"):
        callbacks.LearningRateScheduler(halved)


def test_a_method_that_fit_does_not_call_is_named():
    class Typo(nn.callbacks.Callback):
        def on_epoch_ended(self, epoch, logs):
            """Do nothing."""

    model = nn.Model([nn.Dense(1, input_shape=(2,))], seed=0)
    model.compile("mse", "sgd")
    rule = r"\[Typo\] 'method' .* got 'on_epoch_ended': did you mean 'on_epoch_end'\? fit\(\) does"
    with pytest.warns(UserWarning, match=rule):
        model.fit(np.ones((4, 2)), np.ones((4, 1)), callbacks=[Typo()], verbose=0)
