"""An interrupted run loses nothing: resumed in a new process, it ends in the same bits.

Every case is trained here in one run, which leaves a file after the third epoch and three within
others. `python tests/training/test_resume.py FOLDER` goes on from all files of every case, in one
process for all of them; the weights, the optimizer's state and the history are then compared bit
for bit.
"""

import copy
import functools
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import test_contracts as contracts
from conftest import ROOT

import nn
from nn import callbacks as cb
from nn import metrics, optim
from nn.data import augment
from nn.files import training_state

EPOCHS, BATCH, SAMPLES = 6, 5, 14  # three batches an epoch, the last one smaller


def noise(x, rng):
    """An augmentation that works for samples of any shape, ids of words included."""
    if x.dtype.kind == "i":
        return rng.permutation(x)
    return x + rng.normal(0, 0.1, x.shape).astype(x.dtype)


def size(y_true, y_pred):
    """A metric of the user's."""
    return float(np.abs(y_pred).mean())


def perceptron(layers=(), shape=(4,), seed=3, **compiled):
    """A model with the given layers, batch normalisation and dropout, and its data."""
    tail = [nn.Flatten(), nn.Dense(6), nn.BatchNorm(), nn.ReLU(), nn.Dropout(0.3), nn.Dense(3)]
    makes_mask = any("make_mask" in vars(type(layer)) and layer.makes_mask for layer in layers)
    if makes_mask:
        tail[0] = nn.GlobalAvgPool1D()
    model = nn.Model([*layers, *tail], seed=seed)
    model.build((None, *shape))
    model.compile(**{"loss": "cce", "optimizer": "sgd", "lr": 0.05, **compiled})
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, *shape)).astype("float32")
    if layers and type(layers[0]).__name__ in contracts.TAKE_IDS:
        x = rng.integers(0, contracts.IDS, x.shape)
    if makes_mask:
        x[::2, 2:] = 0  # padded steps
    return model, (x, np.arange(SAMPLES) % 3)


def everything():
    """All that has a state at once."""
    layers = [nn.Conv2D(4, 3), nn.BatchNorm2D(), nn.ReLU(), nn.SpatialDropout2D(0.2)]
    layers += [nn.Residual([nn.Conv2D(4, 3), nn.GaussianNoise(0.1)])]
    layers = [nn.Recompute(layers), nn.Flatten(), nn.Dropout(0.2), nn.Dense(3)]
    model = nn.Model(layers, seed=1)
    model.build((None, 2, 6, 6))
    model.compile(
        "cce",
        optim.Nadam(1e-2),
        metrics=["accuracy", "f1"],
        clip_norm=0.5,
        weight_decay=0.01,
        ema_decay=0.9,
        gradient_accumulation_steps=2,
    )
    x = np.random.default_rng(0).normal(size=(SAMPLES, 2, 6, 6)).astype("float32")
    return model, (x, np.arange(SAMPLES) % 3)


ALL_ARGUMENTS = {
    "augment": augment.Compose(
        [augment.RandomFlip(), augment.Cutout(2), augment.Mixup(0.4, num_classes=3)]
    ),
    "use_averages": True,
    "early_stopping": True,
    "patience": 4,
    "min_delta": 2.0,  # no epoch but the first is a gain: the best weights lie before all files
    "lr_schedule": "plateau",
    "lr_patience": 2,
    "num_threads": 2,
}
CASES = {
    **{
        f"optimizer {cls.__name__}": (
            functools.partial(perceptron, optimizer=cls.__name__.lower()),
            {},
        )
        for cls in contracts.OPTIMIZERS
    },
    **{
        f"lr {name}": (functools.partial(perceptron, lr=make()), {})
        for name, make in contracts.SCHEDULES.items()
    },
    **{
        f"lr_schedule {name}": (perceptron, {"lr_schedule": name, "lr_patience": 1, "lr_min": 1e-4})
        for name in (
            "step",
            "exponential",
            "cosine",
            "warm_restarts",
            "one_cycle",
            "plateau",
            "triangular",
        )
    },
    **{
        f"layer {name}": (lambda make=make, shape=shape: perceptron([make()], shape), {})
        for name, (make, shape) in contracts.LAYERS.items()
    },
    "ids with a mask": (
        lambda: perceptron([nn.Embedding(contracts.IDS, 3, mask_zero=True)], (5,)),
        {},
    ),
    "metrics of classes": (
        functools.partial(
            perceptron, metrics=["accuracy", "top_2_accuracy", "precision", "recall", "f1", size]
        ),
        {},
    ),
    "class weights": (perceptron, {"class_weight": {0: 2.0, 1: 0.5}, "validation_split": 0.1}),
    "a rate of the epoch before": (
        perceptron,
        {"callbacks": [lambda: cb.LearningRateScheduler(lambda e, lr: lr * 0.9, by="epoch")]},
    ),
    "everything": (everything, ALL_ARGUMENTS),
}


def run(name, callbacks=(), **more):
    """Train a case, with its callbacks before those given; return the model."""
    make, arguments = CASES[name]
    model, (x, y) = make()
    own = [make_callback() for make_callback in arguments.get("callbacks", ())]
    settings = {"augment": noise, "epochs": EPOCHS, "batch_size": BATCH, "verbose": 0}
    model.fit(x, y, **{**settings, **arguments, **more, "callbacks": [*callbacks, *own]})
    return model


def outcome(model):
    """Everything that must be equal in two models, as arrays by name."""
    state = {f"state/{key}": array for key, array in model.optimizer.state_dict().items()}
    draws = {f"draw/{k}": rng.random(3) for k, rng in enumerate(model.generators)}
    figures = {f"history/{key}": np.array(values) for key, values in model.history.items()}
    lr = {"lr": np.array(model.optimizer.lr), "epoch": np.array(model.epoch)}
    return {**model.get_arrays(), **state, **draws, **figures, **lr}


def file_of(folder, name, suffix):
    return Path(folder) / f"{name.replace(' ', '_')}_{suffix}"


def train_whole(name, folder):
    """Train a case in one run with files after epoch 3, and of batches 2-2, 4-1 and 5-3."""
    saved = {"save_best_only": False, "save_state": True}
    ends = cb.ModelCheckpoint(file_of(folder, name, "{epoch}.hdf5"), every_n_epochs=3, **saved)
    within = cb.ModelCheckpoint(file_of(folder, name, "{epoch}-{batch}.npz"), save_freq=5, **saved)
    return outcome(run(name, [ends, within]))


def resume_all(folder):
    """Go on from all files of every case, and write what comes out beside them."""
    for name in CASES:
        for path in sorted(Path(folder).glob(f"{name.replace(' ', '_')}_[2-5]*")):
            np.savez(f"{path}.end", **outcome(run(name, resume=path)))


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """What one run ends with in each case, and the folder with what the resumed ones end with."""
    folder = tmp_path_factory.mktemp("resume")
    whole = {name: train_whole(name, folder) for name in CASES}
    # What is on the path already stays: it may hold the process to another instruction set.
    path = [str(ROOT), str(ROOT / "tests"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
    command = [sys.executable, "-W", "error", __file__, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return whole, folder


@pytest.mark.parametrize("name", CASES)
def test_a_run_resumed_in_a_new_process_ends_in_the_same_bits(name, ends):
    whole, folder = ends
    files = sorted(folder.glob(f"{name.replace(' ', '_')}_[2-5]*.end.npz"))
    assert len(files) == 4
    for path in files:
        resumed = np.load(path)
        assert set(resumed.files) == set(whole[name])
        different = [
            key for key, a in whole[name].items() if not np.array_equal(a, resumed[key], True)
        ]
        assert different == [], path.name


@pytest.mark.slow
def test_killed_ten_times_it_still_ends_in_the_same_bits():
    script = ROOT / "tests" / "kill_training.py"
    command = [sys.executable, "-W", "error", str(script), "--times", "10"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("10 kills")


# ------------------------------------------------------------------------- in this process


def small(**compiled):
    model = nn.Model([nn.Dense(3, input_shape=(4,)), nn.Dropout(0.5), nn.Dense(3)], seed=0)
    model.compile(**{"loss": "cce", "optimizer": "adam", **compiled})
    return model


def data():
    x = np.random.default_rng(0).normal(size=(SAMPLES, 4)).astype("float32")
    return x, np.arange(SAMPLES) % 3


def saving_at(path, freq="epoch"):
    return cb.ModelCheckpoint(path, save_best_only=False, save_state=True, save_freq=freq)


class Remembers(cb.Callback):
    """A callback of the user's with a state: numbers, and arrays by name."""

    def __init__(self):
        self.batches, self.sums = 0, {}

    def get_state(self):
        return {"batches": self.batches, "sums": self.sums, "last": np.arange(self.batches)}

    def set_state(self, state):
        self.batches, self.sums, self.last = state["batches"], state["sums"], state["last"]

    def on_train_batch_end(self, batch, logs):
        self.batches += 1
        weights = self.model.layers[0].params["W"]
        self.sums["0_Dense_W"] = self.sums.get("0_Dense_W", 0) + weights


@pytest.mark.parametrize("suffix", ["npz", "hdf5"])
def test_a_callback_of_the_users_goes_on_with_its_state(suffix, tmp_path):
    whole, resumed = [Remembers(), Remembers()], [Remembers(), Remembers()]
    whole[1].batches = 100  # two of one class: each gets its own
    path = tmp_path / f"{{epoch}}-{{batch}}.{suffix}"
    settings = {"epochs": 2, "batch_size": BATCH, "verbose": 0}
    small().fit(*data(), callbacks=[saving_at(path, 4), *whole], **settings)  # it is called last
    path = tmp_path / f"2-1.{suffix}"
    small().fit(*data(), callbacks=resumed, resume=path, **settings)
    assert [c.batches for c in resumed] == [c.batches for c in whole] == [6, 106]
    np.testing.assert_array_equal(resumed[0].last, np.arange(4))
    for ours, theirs in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(ours.sums["0_Dense_W"], theirs.sums["0_Dense_W"])


def test_a_missing_callback_is_warned_of(tmp_path):
    settings = {"batch_size": BATCH, "verbose": 0}
    keep = [saving_at(tmp_path / "1.npz"), cb.LayerStats(), Remembers()]
    small().fit(*data(), callbacks=keep, **settings)
    with pytest.warns(
        UserWarning, match="the callback Remembers, which is not among those"
    ) as caught:
        small().fit(*data(), epochs=2, resume=tmp_path / "1.npz", **settings)
    assert len(caught) == 1  # a checkpoint and figures change nothing in the training
    assert caught[0].filename == __file__


def test_early_stopping_brings_back_weights_of_before_the_file(tmp_path):
    values = {0: 0.9, 1: 0.5, 2: 0.4}

    def callbacks():
        return [
            cb.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(mine=values[epoch])),
            cb.EarlyStopping("mine", patience=9, mode="max"),
        ]

    settings = {"epochs": 3, "batch_size": BATCH, "verbose": 0}
    keep = saving_at(tmp_path / "{epoch}.npz")
    first = small()
    first.fit(*data(), **{**settings, "epochs": 1})
    whole, resumed = small(), small()
    whole.fit(*data(), callbacks=[keep, *callbacks()], **settings)
    resumed.fit(*data(), callbacks=callbacks(), resume=tmp_path / "2.npz", **settings)
    for name, array in first.get_arrays().items():
        np.testing.assert_array_equal(whole.get_arrays()[name], array)
        np.testing.assert_array_equal(resumed.get_arrays()[name], array)


def test_a_stream_is_read_past_the_batches_that_were_trained(tmp_path):
    x, y = data()
    reads = []

    def source():
        for k in range(4):
            reads.append(k)
            yield x[3 * k : 3 * k + 3], y[3 * k : 3 * k + 3]

    settings = {"epochs": 2, "verbose": 0, "augment": noise}
    whole, resumed = small(), small()
    whole.fit(source, callbacks=saving_at(tmp_path / "{epoch}-{batch}.npz", 3), **settings)
    reads.clear()
    resumed.fit(source, resume=tmp_path / "2-2.npz", **settings)
    assert reads == [0, 1, 2, 3]
    assert resumed.history == whole.history
    for name, array in whole.get_arrays().items():
        np.testing.assert_array_equal(resumed.get_arrays()[name], array)
    short = [(x[:3], y[:3])]
    with pytest.raises(RuntimeError, match=r"'data' ended after 1 batches of an epoch of which 2"):
        small().fit(short, resume=tmp_path / "2-2.npz", **settings)


def test_skipped_batches_are_not_prepared_and_change_no_other():
    seen = []

    def slow(x, rng):
        seen.append(len(x))
        return noise(x, rng)

    x, y = data()
    arguments = {"batch_size": 4, "augment": slow, "num_threads": 2}

    def batches(**more):
        rng = np.random.default_rng(5)
        return list(nn.Dataset(x, y).batches(**arguments, rng=rng, **more)), rng.random()

    (whole, after), _ = batches(), seen.clear()
    rest, after_rest = batches(skip=3)
    assert (len(whole), len(rest), seen, after) == (4, 1, [2], after_rest)
    np.testing.assert_array_equal(rest[0][0], whole[3][0])
    assert batches(skip=4)[0] == batches(skip=9)[0] == []
    with pytest.raises(ValueError, match="'skip' must be"):
        batches(skip=-1)


def test_another_first_epoch_than_the_file_s_is_refused(tmp_path):
    model = small()
    model.fit(*data(), epochs=2, verbose=0)
    model.save(tmp_path / "2.npz")
    with pytest.raises(ValueError, match=r"'initial_epoch' must be left out .* epoch 2, got 1"):
        model.fit(*data(), epochs=3, initial_epoch=1, resume=tmp_path / "2.npz", verbose=0)
    model.fit(*data(), epochs=3, initial_epoch=2, resume=tmp_path / "2.npz", verbose=0)
    assert len(model.history["loss"]) == 3


def test_a_registered_loss_and_optimizer_of_the_users_are_restored(tmp_path, monkeypatch):
    class Quartic(nn.losses.MeanSquaredError):
        def __init__(self, scale=1.0):
            self.scale = scale

    class Plain(nn.optim.Optimizer):
        slot_names = ("m",)

        def __init__(self, lr=0.1, pull=0.5):
            super().__init__(lr)
            self.pull = pull

        def update(self, param, grad, slots):
            slots["m"] += grad
            param -= self.lr * self.pull * slots["m"]

    monkeypatch.setitem(nn.losses.NAME2LOSS, "mine", Quartic)
    monkeypatch.setitem(nn.optim.NAME2OPTIMIZER, "plain", Plain)
    x, _ = data()
    model = small(loss=Quartic(2.0), optimizer=Plain(0.01, pull=0.25), metrics=())
    model.fit(x, x[:, :3], verbose=0)
    model.save(tmp_path / "model.npz")
    loaded = nn.Model.load(tmp_path / "model.npz")
    assert (type(loaded.loss), loaded.loss.scale) == (Quartic, 2.0)
    assert (type(loaded.optimizer), loaded.optimizer.pull) == (Plain, 0.25)
    for again in (model, loaded):
        again.fit(x, x[:, :3], epochs=2, initial_epoch=1, verbose=0)
    for name, array in model.get_arrays().items():
        np.testing.assert_array_equal(loaded.get_arrays()[name], array)


@pytest.mark.parametrize("name", sorted({cls.name for cls in metrics.NAME2METRIC.values()}))
def test_a_metric_goes_on_from_its_state_in_a_file(name):
    rng = np.random.default_rng(0)
    batches = []
    for rows in (5, 4, 3):
        labels, scores = rng.integers(0, 2, rows), rng.normal(size=(rows, 7))
        one = metrics.get(name).name in ("auc", "mse", "mae", "r2")
        batches.append((labels.reshape(-1, 1) if one else labels, scores[:, :1] if one else scores))
    whole, before, after = (metrics.get(name) for _ in range(3))
    for batch in batches:
        whole.update(*batch)
    for batch in batches[:2]:
        before.update(*batch)
    arrays = {}
    plain = json.loads(json.dumps(training_state.split_arrays(before.state_dict(), "0", arrays)))
    after.load_state_dict(training_state.join_arrays(plain, "0/", arrays))
    after.update(*batches[2])
    assert after.result() == whole.result()
    assert after.samples == whole.samples == 12


def test_figures_of_layers_go_on(tmp_path):
    settings = {"epochs": 3, "batch_size": BATCH, "verbose": 0}
    whole, resumed = cb.LayerStats(), cb.LayerStats()
    small().fit(*data(), callbacks=[saving_at(tmp_path / "{epoch}.npz"), whole], **settings)
    small().fit(*data(), callbacks=resumed, resume=tmp_path / "1.npz", **settings)
    assert resumed.stats == whole.stats


def test_a_copy_that_is_made_while_training_is_not_in_training():
    copies = []
    by_pickle = cb.LambdaCallback(on_batch_end=lambda: copies.append(pickled(model)))
    by_copy = cb.LambdaCallback(on_batch_end=lambda: copies.append(copy.deepcopy(model)))
    model = small()
    model.fit(*data(), callbacks=[by_pickle, by_copy], verbose=0)
    assert [one.progress for one in copies] == [None, None]
    assert model.progress is None


def pickled(model):
    """A copy by way of pickle, as a process of its own would get it."""
    return pickle.loads(pickle.dumps(model))


def test_a_file_within_the_first_epoch_of_a_resumed_run_is_as_good(tmp_path):
    settings = {"epochs": 4, "batch_size": BATCH, "verbose": 0}
    whole, once, twice = small(), small(), small()
    whole.fit(*data(), callbacks=saving_at(tmp_path / "{epoch}.npz"), **settings)
    within = saving_at(tmp_path / "{epoch}-{batch}.npz", 2)
    once.fit(*data(), callbacks=within, resume=tmp_path / "2.npz", **settings)
    twice.fit(*data(), resume=tmp_path / "3-2.npz", **settings)
    for name, array in whole.get_arrays().items():
        np.testing.assert_array_equal(once.get_arrays()[name], array)
        np.testing.assert_array_equal(twice.get_arrays()[name], array)


def test_first_batches_of_epochs_go_on_within_one_with_averages(tmp_path):
    settings = {"epochs": 3, "batch_size": 3, "steps_per_epoch": 3, "verbose": 0}
    settings |= {"use_averages": True, "val_data": lambda: iter([data()])}

    def make():
        model = nn.Model([nn.Recompute([nn.Dense(6), nn.Dropout(0.5)]), nn.Dense(3)], seed=0)
        model.compile("cce", "adam", ema_decay=0.5, gradient_accumulation_steps=2)
        return model

    whole, resumed = make(), make()
    whole.fit(*data(), callbacks=saving_at(tmp_path / "{epoch}-{batch}.hdf5", 4), **settings)
    resumed.fit(*data(), resume=tmp_path / "2-1.hdf5", **settings)
    assert resumed.history == whole.history
    after = outcome(resumed)
    for name, array in outcome(whole).items():
        np.testing.assert_array_equal(after[name], array)


def test_the_last_step_of_an_epoch_is_taken_with_its_own_rate(tmp_path):
    settings = {"epochs": 2, "batch_size": BATCH, "lr_schedule": "one_cycle", "verbose": 0}
    whole, resumed = (small(gradient_accumulation_steps=2) for _ in range(2))
    whole.fit(*data(), callbacks=saving_at(tmp_path / "{epoch}-{batch}.npz", 3), **settings)
    resumed.fit(*data(), resume=tmp_path / "1-3.npz", **settings)  # the third batch waits
    for name, array in whole.get_arrays().items():
        np.testing.assert_array_equal(resumed.get_arrays()[name], array)
    assert resumed.history == whole.history


def test_gradients_of_layers_that_are_frozen_now_are_left_out_with_a_warning(tmp_path):
    settings = {"batch_size": BATCH, "verbose": 0}
    model, resumed = (small(gradient_accumulation_steps=2) for _ in range(2))
    model.layers[0].trainable = False
    model.fit(*data(), callbacks=saving_at(tmp_path / "{batch}.npz", 1), **settings)
    resumed.fit(*data(), resume=tmp_path / "2.npz", **settings)  # none waits
    says = r"1\.npz' holds gradients that wait .* of other layers"
    with pytest.warns(UserWarning, match=says) as caught:
        resumed.fit(*data(), resume=tmp_path / "1.npz", **settings)
    assert caught[0].filename == __file__


def test_a_clock_goes_on_where_no_batch_of_the_epoch_is_left(tmp_path):
    settings = {"epochs": 2, "batch_size": BATCH, "verbose": 0}
    small().fit(*data(), callbacks=saving_at(tmp_path / "{epoch}-{batch}.npz", 3), **settings)
    history = small().fit(*data(), callbacks=cb.Timer(), resume=tmp_path / "1-3.npz", **settings)
    assert np.isnan(history["step_seconds"]).tolist() == [True, False]


@pytest.mark.parametrize("suffix", ["npz", "hdf5"])
def test_a_state_of_yes_and_no_is_read_again(suffix, tmp_path):
    class Chosen(cb.Callback):
        def get_state(self):
            return {"rows": np.array([True, False, True])}

        def set_state(self, state):
            self.rows = state["rows"]

    path, after = tmp_path / f"1.{suffix}", Chosen()
    small().fit(*data(), callbacks=[Chosen(), saving_at(path)], verbose=0)
    small().fit(*data(), epochs=2, callbacks=after, resume=path, verbose=0)
    assert after.rows.dtype == bool
    assert after.rows.tolist() == [True, False, True]


@pytest.mark.parametrize(("steps", "taken"), [(4, 3), (2, 5), (1, 9)])
def test_gradients_that_wait_make_a_step_where_fewer_batches_are_to_wait(steps, taken, tmp_path):
    x, y = (np.tile(array, (4, *[1] * (array.ndim - 1))) for array in data())  # 12 batches
    settings = {"batch_size": BATCH, "verbose": 0}
    model = small(gradient_accumulation_steps=4)
    model.fit(x, y, callbacks=saving_at(tmp_path / "{batch}.npz", 3), **settings)
    resumed = small(gradient_accumulation_steps=steps)
    resumed.fit(x, y, resume=tmp_path / "3.npz", **settings)
    assert resumed.optimizer.iterations == taken


def damaged(path, change):
    """Change the training state in a file."""
    content = nn.io.read(path)
    change(content)
    nn.io.write(path, content)


DAMAGES = {
    "EarlyStopping: KeyError: 'wait'": lambda c: c.training["callbacks"][0]["state"].pop("wait"),
    "EarlyStopping: ValueError": lambda c: c.training["callbacks"][0]["state"].update(best="good"),
    "LayerStats: AttributeError": lambda c: c.training["callbacks"][1]["state"].update(
        stats={"0_Dense": [1]}
    ),
    "metric auc: KeyError: 'labels'": lambda c: c.optimizer_arrays.pop("metric/0/labels"),
    "metric auc: ValueError: [AUC] 'state' must hold": lambda c: c.optimizer_arrays.update(
        {"metric/0/labels": np.array([0, 1, 0])}
    ),
    "it has 2 batches of 1 samples": lambda c: c.training["within_epoch"].update(samples=1),
    "'training.within_epoch.batches' must be": lambda c: c.training["within_epoch"].update(
        batches=-2
    ),
}


@pytest.mark.parametrize("says", DAMAGES)
def test_a_damaged_state_is_an_error_that_names_file_and_place(says, tmp_path):
    def train(**more):
        watchers = [cb.EarlyStopping("loss"), cb.LayerStats(), ended_callback(ended)]
        model = nn.Model([nn.Dense(1, input_shape=(4,))], seed=0)
        model.compile("bce", "sgd", metrics=["auc"])
        x, y = data()
        settings = {"batch_size": BATCH, "verbose": 0}
        model.fit(x, (y == 0).reshape(-1, 1) * 1.0, **settings, **more, callbacks=[*watchers, keep])
        return model

    ended = []
    keep = saving_at(tmp_path / "{batch}.npz", 2)
    train()
    damaged(tmp_path / "2.npz", DAMAGES[says])
    with pytest.raises(nn.io.FileFormatError, match=r"2\.npz") as caught:
        train(resume=tmp_path / "2.npz")
    assert says in str(caught.value)
    assert len(ended) == 1  # as on_train_begin was not called either


def ended_callback(ended):
    return cb.LambdaCallback(on_train_end=lambda: ended.append(1))


def test_a_state_that_a_callback_of_the_users_refuses_ends_what_has_begun(tmp_path):
    ended, keep = [], saving_at(tmp_path / "1.npz")
    settings = {"callbacks": [Remembers(), ended_callback(ended), keep], "verbose": 0}
    small().fit(*data(), **settings)
    damaged(tmp_path / "1.npz", lambda c: c.training["callbacks"][0]["state"].pop("batches"))
    with pytest.raises(nn.io.FileFormatError, match=r"1\.npz.* the state of Remembers: KeyError"):
        small().fit(*data(), epochs=2, resume=tmp_path / "1.npz", **settings)
    assert len(ended) == 2


def everything_of(model):
    """Return all that a resumed training takes from a file."""
    return {
        **{name: array.copy() for name, array in model.get_arrays().items()},
        **{f"optimizer/{k}": np.array(v) for k, v in model.optimizer.state_dict().items()},
        **{f"aside/{k}": np.array(v) for k, v in (model.set_aside or {}).items()},
        **{f"sums/{k}": v.copy() for k, v in enumerate(model.accumulator.sums)},
        "batches": (model.accumulator.batches, model.accumulator.samples),
        "lr": model.optimizer.lr,
        "history": dict(model.history),
        "epoch": (model.epoch, model.split_seed),
        "generators": [rng.bit_generator.state for rng in model.generators],
        "class_names": model.class_names,
    }


def replaced(name, value):
    """Return a change of an array in a file, by the end of its name there."""

    def change(content):
        found = [key for key in content.optimizer_arrays if key.endswith(name)]
        assert found
        content.optimizer_arrays.update(dict.fromkeys(found, value))

    return change


LATE_DAMAGES = {
    "no lists of figures": lambda c: c.training.update(history={"loss": ["low"]}),
    "the state of a generator": lambda c: c.training["generators"].__setitem__(-1, {"state": 1}),
    "too few generators": lambda c: c.training["generators"].pop(),
    "no order": lambda c: c.training["within_epoch"].update(order={"state": 1}),
    "no batches": lambda c: c.training["within_epoch"].update(batches="many"),
    "no loss": lambda c: c.training["within_epoch"].pop("total"),
    "no samples that wait": lambda c: c.training["accumulation"].pop("samples"),
    "gradients of another shape": replaced("accumulated/0_Dense_W", np.zeros((1, 1))),
    "weights aside of another shape": lambda c: c.optimizer_arrays.update(
        {"set_aside/0_Dense_W": np.zeros((1, 1))}
    ),
    "half of Adam's state": lambda c: c.optimizer_arrays.pop("m/0_Dense_W"),
    "state of another shape": replaced("m/0_Dense_W", np.zeros((1, 1))),
    "no names of classes": lambda c: c.architecture.update(class_names=[1, 2, 3]),
    "best weights of another shape": replaced("/weights/0_Dense_W", np.zeros((1, 1))),
    "no patience": lambda c: c.training["callbacks"][0]["state"].update(wait=None),
    "no best figure": lambda c: c.training["callbacks"][1]["state"].update(best=None),
    "a metric": lambda c: c.training["within_epoch"]["metrics"]["acc"].update(right=None),
    "weights of another shape": lambda c: c.arrays.update({"2_Dense_W": np.zeros((1, 1))}),
}


@pytest.mark.parametrize("what", LATE_DAMAGES)
def test_a_file_that_is_refused_leaves_the_model_as_it_was(what, tmp_path):
    """Nothing is loaded from a file before all of it has been checked."""

    def train(model, **more):
        stopping = [cb.EarlyStopping("loss"), cb.ModelCheckpoint(tmp_path / "best.npz", "loss")]
        keep = saving_at(tmp_path / "{epoch}-{batch}.npz", 3)
        settings = {"batch_size": BATCH, "verbose": 0, "callbacks": [*stopping, keep]}
        model.fit(*data(), **settings, **more)
        return model

    train(small(gradient_accumulation_steps=2), epochs=2)
    path = tmp_path / "2-3.npz"  # of the second epoch the last batch, which waits for a step
    damaged(path, LATE_DAMAGES[what])
    model = train(small(gradient_accumulation_steps=2, lr=0.5))
    before = everything_of(model)
    with pytest.raises(ValueError, match=r"2-3\.npz|\[Adam\]|\[Model\]"):
        train(model, epochs=3, resume=path)
    after = everything_of(model)
    assert after.keys() == before.keys()
    for name, value in before.items():
        np.testing.assert_equal(after[name], value, err_msg=name)


def test_a_file_of_an_epochs_end_is_checked_as_well(tmp_path):
    settings = {"callbacks": [cb.EarlyStopping("loss"), saving_at(tmp_path / "1.npz")]}
    small().fit(*data(), verbose=0, **settings)
    damaged(tmp_path / "1.npz", lambda c: c.training["callbacks"][0]["state"].update(wait=None))
    model = small()
    before = everything_of(model)
    with pytest.raises(nn.io.FileFormatError, match=r"1\.npz.* the state of EarlyStopping"):
        model.fit(*data(), epochs=2, resume=tmp_path / "1.npz", verbose=0, **settings)
    np.testing.assert_equal(everything_of(model), before)


def test_class_names_of_the_model_are_kept_by_a_resume(tmp_path):
    """They may be those of another number of classes, given before the model was built."""
    small().fit(*data(), callbacks=saving_at(tmp_path / "1.npz"), verbose=0)
    model = nn.Model([nn.Dense(3), nn.Dropout(0.5), nn.Dense(3)], seed=0)
    model.class_names = ["cat", "dog"]
    model.compile("cce", "adam")
    model.fit(*data(), epochs=2, resume=tmp_path / "1.npz", verbose=0)
    assert (model.epoch, model.class_names) == (2, ["cat", "dog"])


def test_accumulated_gradients_are_discarded_by_a_resume(tmp_path):
    """The file holds none; those of another training must not be added."""
    settings = {"batch_size": BATCH, "verbose": 0}
    keep = saving_at(tmp_path / "2.npz", 2)
    whole = small(gradient_accumulation_steps=2)
    whole.fit(*data(), callbacks=keep, **settings)
    resumed = small(gradient_accumulation_steps=2)
    resumed.train_step(*data())  # it waits for a second batch
    resumed.fit(*data(), resume=tmp_path / "2.npz", **settings)
    for name, array in whole.get_arrays().items():
        np.testing.assert_array_equal(resumed.get_arrays()[name], array)


def test_best_weights_of_another_shape_are_refused(tmp_path):
    arguments = {"callbacks": [cb.EarlyStopping("loss"), saving_at(tmp_path / "1.npz")]}
    small().fit(*data(), verbose=0, **arguments)
    wrong = {"callback/0/weights/0_Dense_W": np.zeros((1, 3), dtype="float32")}
    damaged(tmp_path / "1.npz", lambda content: content.optimizer_arrays.update(wrong))
    with pytest.raises(ValueError, match=r"the best weights.*0_Dense_W \(1, 3\) for \(4, 3\)"):
        small().fit(*data(), epochs=2, resume=tmp_path / "1.npz", verbose=0, **arguments)


def test_a_set_that_has_become_smaller_is_refused(tmp_path):
    settings = {"batch_size": 4, "verbose": 0}
    small().fit(*data(), callbacks=saving_at(tmp_path / "{batch}.npz", 3), **settings)
    x, y = data()
    with pytest.raises(RuntimeError, match=r"'data' ended after 2 batches of an epoch of which 3"):
        small().fit(x[:8], y[:8], resume=tmp_path / "3.npz", **settings)


def test_a_file_without_a_shape_does_not_build_a_model(tmp_path):
    small().fit(*data(), callbacks=saving_at(tmp_path / "1.npz"), verbose=0)
    damaged(tmp_path / "1.npz", lambda content: content.architecture.pop("input_shape"))
    model = nn.Model([nn.Dense(3), nn.Dropout(0.5), nn.Dense(3)], seed=0)
    model.compile("cce", "adam")
    with pytest.raises(nn.io.FileFormatError, match=r"1\.npz.*KeyError: 'input_shape'"):
        model.fit(lambda: iter([data()]), epochs=2, resume=tmp_path / "1.npz", verbose=0)


def test_a_fit_that_does_not_begin_leaves_no_rate_for_files():
    model = small(lr=0.5)
    log = cb.CSVLogger("/there/is/no/such/folder/log.csv")
    with pytest.raises(OSError, match="log"):
        model.fit(*data(), lr_schedule="cosine", callbacks=log, verbose=0)
    model.optimizer.lr = 0.25
    assert model.optimizer.to_config()["config"]["lr"] == 0.25


def test_averages_go_on_from_weights_that_are_loaded(tmp_path):
    model, other = small(ema_decay=0.9), small()
    model.fit(*data(), epochs=2, verbose=0)
    other.layers[0].params["W"][...] = 7
    other.save_weights(tmp_path / "w.npz")
    model.load_weights(tmp_path / "w.npz")
    with model.averaged_weights():
        np.testing.assert_array_equal(model.layers[0].params["W"], 7)
    assert model.optimizer.averages["0_Dense_W"] is not model.layers[0].params["W"]


if __name__ == "__main__":
    resume_all(sys.argv[1])


class Hits(nn.metrics.Metric):
    """A metric of the user's whose count, an integer at first, becomes a float."""

    name = "hits"

    def reset(self):
        super().reset()
        self.total = 0

    def add(self, y_true, y_pred):
        self.total = self.total + 0.5

    def compute(self):
        return self.total


def test_a_metric_of_the_users_may_change_the_type_of_a_count(tmp_path):
    def train(**more):
        model = nn.Model([nn.Dense(1, input_shape=(4,))], seed=0)
        model.compile("mse", "sgd", metrics=[Hits()])
        x, y = data()
        return model.fit(x, (y == 0).reshape(-1, 1) * 1.0, batch_size=BATCH, verbose=0, **more)

    whole = train(callbacks=[saving_at(tmp_path / "{batch}.npz", 2)])
    assert train(resume=tmp_path / "2.npz")["hits"] == whole["hits"]


@pytest.mark.parametrize(
    ("compiled", "argument"),
    [
        ({"loss": "hinge"}, "loss"),
        ({"loss": nn.losses.CategoricalCrossentropy(label_smoothing=0.2)}, "loss"),
        ({"optimizer": "sgd"}, "optimizer"),
    ],
)
def test_another_loss_or_optimizer_cannot_go_on(compiled, argument, tmp_path):
    path, settings = tmp_path / "1.npz", {"batch_size": BATCH, "verbose": 0}
    small().fit(*data(), callbacks=saving_at(path), **settings)
    with pytest.raises(
        ValueError, match=rf"\[Model\] '{argument}' must be that of the training in"
    ):
        small(**compiled).fit(*data(), epochs=2, resume=path, **settings)
    small().fit(*data(), epochs=2, resume=path, **settings)
