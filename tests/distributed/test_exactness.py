"""Several processes give what one gives: in threads for every environment, and with MPI."""

import copy

import exactness
import numpy as np
import pytest
from launching import ROOT, find_mpiexec, in_threads, launch

import nn

needs_mpi = pytest.mark.skipif(find_mpiexec()[0] is None, reason=find_mpiexec()[1])
SCRIPT = ROOT / "tests" / "distributed" / "exactness.py"


@pytest.mark.parametrize("name", exactness.CASES)
def test_three_threads_give_what_one_process_gives(name):
    case = exactness.CASES[name]
    alone = copy.deepcopy(case).run(None)
    for shared in in_threads(3, lambda team: copy.deepcopy(case).run(team)):
        assert alone[3] == shared[3], "the generators are in other states"
        for ours, theirs in zip(alone[:3], shared[:3], strict=True):
            assert exactness.difference(ours, theirs) <= exactness.TOLERANCE


@needs_mpi
@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_processes_of_mpi_give_what_one_gives(processes):
    ended = launch(processes, SCRIPT)
    assert ended.returncode == 0, ended.stdout
    count = len(exactness.CASES)
    assert f"{processes} processes, {count} cases, 0 differ" in ended.stdout


def test_a_wrong_weight_of_a_process_is_noticed(monkeypatch):
    """The comparison fails for a fault that is planted: gradients are not weighted by rows."""
    case = exactness.CASES["uneven last batch"]
    alone = copy.deepcopy(case).run(None)
    monkeypatch.setattr(
        "nn.layers.shard.Shard.weight",
        property(lambda self: 1 / self.size, lambda self, value: None),
        raising=False,
    )
    shared = in_threads(3, lambda team: copy.deepcopy(case).run(team))[0]
    assert exactness.difference(alone[0], shared[0]) > 1e-6


def test_batch_norm_of_each_process_by_choice():
    """With sync_batch_norm=False each process has its own statistics, and rank 0's are kept."""
    case = exactness.CASES["batch norm"]
    alone = copy.deepcopy(case).run(None)

    def run(team):
        team.syncs_batch_norm = False
        return copy.deepcopy(case).run(team)

    first, *others = in_threads(3, run)
    assert exactness.difference(alone[0], first[0]) > 1e-6
    for other in others:
        assert all(np.array_equal(first[0][name], other[0][name]) for name in first[0])


def test_find_lr_of_several_processes_is_that_of_one():
    x, y = exactness.table(40)

    def curve(team):
        model = nn.Model([nn.Dense(6), nn.Dropout(0.2), nn.Dense(3)], dtype="float64", seed=1)
        model.compile("cce", "sgd", distributed=team)
        return nn.find_lr(model, x, y, steps=20, batch_size=8)

    alone = curve(None)
    for shared in in_threads(2, curve):
        np.testing.assert_allclose(shared.losses, alone.losses, atol=1e-12)
        assert shared.suggestion == alone.suggestion


def test_find_lr_begins_with_the_model_of_rank_0():
    x, y = exactness.table(40)

    def curve(team):
        model = nn.Model([nn.Dense(6), nn.Dropout(0.2), nn.Dense(3)])  # drawn in each thread
        model.compile("cce", "sgd", distributed=team)
        return nn.find_lr(model, x, y, steps=10, batch_size=8).losses.tolist()

    first, second = in_threads(2, curve)
    assert first == second


def test_processes_without_seeds_begin_with_the_model_of_rank_0():
    x, y = exactness.table(40)

    def train(team):
        model = nn.Model([nn.Dense(6), nn.Dropout(0.2), nn.Dense(3)])  # drawn in each thread
        model.compile("cce", "sgd", distributed=team)
        model.fit(x, y, epochs=2, validation_split=0.2, verbose=0)
        return model.get_weights()

    first, second = in_threads(2, train)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_step_by_hand_takes_the_whole_batch():
    x, y = exactness.table(20)

    def step(team):
        model = nn.Model([nn.Dense(6), nn.BatchNorm(), nn.Dense(3)], dtype="float64", seed=1)
        model.compile("cce", "sgd", distributed=team)
        figures = [model.train_step(x[k : k + 5], y[k : k + 5]) for k in range(0, 20, 5)]
        return figures, model.get_weights()

    alone = step(None)
    for figures, weights in in_threads(3, step):
        assert exactness.difference(figures[-1], alone[0][-1]) <= 1e-12
        for ours, theirs in zip(weights, alone[1], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_a_model_is_copied_with_its_processes_and_saved_without(tmp_path):
    import pickle

    def run(team):
        model = nn.Model([nn.Dense(3, input_shape=(4,))], seed=0)
        model.compile("cce", "sgd", distributed=team)
        assert copy.deepcopy(model).distributed is team
        assert pickle.loads(pickle.dumps(model)).distributed is None
        model.compile("cce", "sgd")
        assert model.distributed is None

    in_threads(2, run)
    model = nn.Model([nn.Dense(3, input_shape=(4,))], seed=0)
    model.compile("cce", "sgd", distributed=nn.distributed.MPI())
    assert model.distributed is None and model.is_first_rank


def test_only_rank_0_writes_files(tmp_path, capsys):
    x, y = exactness.table(20)

    def train(team):
        model = nn.Model([nn.Dense(3)], seed=0)
        model.compile("cce", "sgd", distributed=team)
        path = tmp_path / f"{team.rank}.hdf5"
        saves = nn.callbacks.ModelCheckpoint(path, save_best_only=False, save_state=True)
        log = nn.callbacks.CSVLogger(tmp_path / f"{team.rank}.csv")
        return dict(model.fit(x, y, epochs=2, callbacks=[saves, log, nn.callbacks.Timer()]))

    first, second = in_threads(2, train)
    assert first == second  # times, too
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.csv", "0.hdf5"]
    assert capsys.readouterr().out.count("Epoch 2/2") == 1


@pytest.mark.parametrize("then, now", [(2, 2), (2, 3), (3, None), (None, 2)])
def test_a_training_is_resumed_on_any_number_of_processes(then, now, tmp_path):
    """Within an epoch; bit for bit on the same number, to rounding on another."""
    x, y = exactness.images(40)
    path = tmp_path / "run.hdf5"

    def train(team, epochs=3, **options):
        layers = exactness.convolutional(nn.Dropout(0.3))
        model = nn.Model(layers, dtype="float64", seed=0)
        model.compile("cce", "sgdmomentum", metrics=["accuracy", "f1"], distributed=team)
        model.fit(x, y, epochs=epochs, batch_size=7, verbose=0, **options)
        return {**model.get_arrays(), **model.history}

    class Stops(nn.callbacks.Callback):
        first_rank_only = True

        def __init__(self, epoch):
            self.epoch = epoch

        def state_dict(self):
            return {"seen": 1}

        def on_train_batch_end(self, batch, logs):
            self.model.stop_training |= self.model.epoch == self.epoch and batch == 1

    def broken_off(team):
        saves = nn.callbacks.ModelCheckpoint(
            path, save_best_only=False, save_state=True, save_freq=8
        )
        return train(team, callbacks=[saves, Stops(1)])

    def run(size, function):
        return function(None) if size is None else in_threads(size, function)[0]

    whole = run(now, train)
    run(then, broken_off)
    resumed = run(now, lambda team: train(team, resume=path, callbacks=[Stops(9)]))
    assert exactness.difference(whole, resumed) <= (0 if then == now else 1e-12)


@needs_mpi
def test_each_process_reads_its_rows_of_files(tmp_path):
    """Of memory-mapped arrays and of the cache of an image folder, which one of them writes."""
    ended = launch(2, ROOT / "tests" / "distributed" / "rank_slices.py", str(tmp_path))
    assert ended.returncode == 0, ended.stdout
    assert "rank 0 of 2 has read" in ended.stdout and "rank 1 of 2 has read" in ended.stdout


@needs_mpi
def test_nan_in_a_file_is_found_by_the_process_that_reads_it_and_raised_in_all(tmp_path):
    x = np.random.default_rng(0).random((1000, 3))
    x[900, 1] = np.nan
    np.save(tmp_path / "x.npy", x)
    ended = launch(2, ROOT / "tests" / "distributed" / "rank_slices.py", str(tmp_path), "nan")
    assert ended.returncode == 0, ended.stdout
    assert ended.stdout.count("got NaN or infinite values in row 900") == 4, ended.stdout
