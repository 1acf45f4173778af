"""What a process of a training does in `test_faults.py`: it fails in the way that it is told.

    mpiexec -n 2 python tests/distributed/faults.py raise

It is started without `-m mpi4py`, so that nn alone ends the job.
"""

import os
import signal
import sys
import warnings

import numpy as np

import nn
from nn import callbacks as cb
from nn.kernels.cpu import threads


class At(cb.Callback):
    """Calls a function in one process, after a batch."""

    def __init__(self, team, rank, function, batch=2):
        self.team, self.rank, self.function, self.batch = team, rank, function, batch

    def on_train_batch_end(self, batch, logs):
        if self.team.rank == self.rank and batch == self.batch:
            self.function()


def raise_error():
    raise KeyError("the callback failed")


def never_answer():
    os.kill(os.getpid(), signal.SIGSTOP)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def model_and_data(team, **compiled):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 5)), rng.integers(0, 3, 64)
    model = nn.Model([nn.Dense(6), nn.BatchNorm1D(), nn.Tanh(), nn.Dense(3)], seed=0)
    model.compile("cce", "adam", distributed=team, **compiled)
    return model, x, y


def data():
    return model_and_data(None)[1:]


def fit(team, *callbacks, **options):
    model, x, y = model_and_data(team)
    options = {"epochs": 4, "batch_size": 8, "verbose": 0, "callbacks": callbacks, **options}
    return model, model.fit(x, y, **options)


def caught(team, kind, text, function, *arguments, **options):
    """Call a function that must raise in all processes, and train once more."""
    try:
        function(*arguments, **options)
    except kind as error:
        found = f"{error} {' '.join(getattr(error, '__notes__', ()))}"
        assert text in found, found
    else:
        raise AssertionError(f"no {kind.__name__} in rank {team.rank}")
    _, history = fit(team, epochs=1)
    assert len({*team.gather(tuple(history["loss"]))}) == 1


def all_raise_and_go_on(team):
    """Each exception comes in all processes, which can train afterwards."""
    last = team.size - 1
    at = At(team, last, raise_error)
    note = "" if team.rank == last else f"raised by rank {last}"
    caught(team, KeyError, note, fit, team, at)
    at_first = At(team, 0, raise_error)
    caught(team, KeyError, "the callback failed", fit, team, at_first)

    model, x, y = model_and_data(team)
    bad = x.copy()
    bad[3] = np.inf
    mine = bad if team.rank == last else x
    caught(team, ValueError, "finite", model.fit, mine, y, verbose=0)
    other = x[:-1] if team.rank == last else x
    caught(team, ValueError, "same in all processes", model.fit, other, y[: len(other)], verbose=0)
    caught(team, ValueError, "'epochs'", model.fit, x, y, verbose=0, epochs=1 + team.rank)

    model, x, y = model_and_data(team)
    model.build((None, 5))
    model.layers[-1].params["W"][...] = 3e38
    where = "epoch 1, batch 0: the loss is nan: layer 3 (Dense)"
    caught(team, FloatingPointError, where, model.fit, x, y, verbose=0)
    watcher = cb.TerminateOnNaN()
    model.fit(x, y, verbose=0, callbacks=[watcher])
    assert "layer 3" in watcher.reason

    stop = At(team, 0, lambda: setattr(stop.model, "stop_training", True))
    _, history = fit(team, stop)
    assert len(history["loss"]) == 1, history  # rank 0 alone has stopped, and all have

    rng = np.random.default_rng(team.rank)  # an order of its own in each process
    model, x, y = model_and_data(team)

    def batches():
        for rows in np.split(rng.permutation(64), 8):
            yield x[rows], y[rows]

    caught(team, RuntimeError, "another batch in rank", model.fit, batches, verbose=0)

    class Own(nn.Model):
        def train_step(self, x, y, sample_weight=None, metrics=None):
            self.forward(x, training=True)
            return {"loss": 0.0}

    own = Own([nn.Dense(3)], seed=0)
    own.compile("cce", "sgd", distributed=team)
    caught(team, RuntimeError, "super().train_step()", own.fit, x, y, verbose=0)

    def change(model):
        model.layers[0].params["W"] += 1 if team.rank else 0

    changes = cb.LambdaCallback(on_train_batch_end=lambda batch, logs: change(changes.model))
    caught(team, RuntimeError, "are not those of rank 0", fit, team, changes)


def interrupted(team):
    """Ctrl-C in one process ends the training of all after the same batch."""
    model, history = fit(team, At(team, team.size - 1, interrupt))
    assert not history.get("loss"), history
    states = team.gather([a.tolist() for a in model.get_arrays().values()])
    assert all(state == states[0] for state in states)


def share_cores():
    """Two processes on one core use a thread each, and rank 0 warns."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        team = nn.distributed.MPI()
    assert team.local_size == 2
    assert threads.NUM_THREADS == 1
    assert all(library.num_threads == 1 for library in threads._loaded_blas())
    expected = ["2 processes share 1 core of this machine"] * (team.rank == 0)
    assert len(given) == len(expected), given
    assert all(text in str(w.message) for text, w in zip(expected, given, strict=True))


def main():
    way = sys.argv[1]
    if way == "share cores":
        share_cores()
        return
    team = nn.distributed.MPI(timeout=float(sys.argv[2]) if len(sys.argv) > 2 else 60.0)
    last = team.size - 1
    if way == "together":
        all_raise_and_go_on(team)
        interrupted(team)
    elif way == "raise":
        fit(team, At(team, last, raise_error))
    elif way == "raise outside":
        if team.rank == last:
            raise_error()
        fit(team)
    elif way == "leave":
        if team.rank == last:
            sys.exit(0)
        fit(team)
    elif way == "another call":
        model, x, y = model_and_data(team)
        (model.evaluate if team.rank == 0 else model.fit)(x, y)
    elif way == "alone":
        evaluates = cb.LambdaCallback(
            on_epoch_end=lambda epoch, logs: team.rank or evaluates.model.evaluate(*data())
        )
        fit(team, evaluates)
    elif way in ("stop", "kill", "terminate"):
        how = {"stop": never_answer, "kill": kill, "terminate": terminate}[way]
        fit(team, At(team, last, how), epochs=400)
    print(f"rank {team.rank} came to its end", flush=True)


if __name__ == "__main__":
    main()
