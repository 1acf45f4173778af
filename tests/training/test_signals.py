"""Ctrl-C and SIGTERM while a model trains: real signals, at moments drawn by chance."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import nn
from nn import callbacks
from nn.training.signals import Interrupts

ROOT = str(Path(__file__).resolve().parents[2])
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

HEAD = """
import json, sys, threading
import numpy as np
import nn
from nn.callbacks import Callback, EarlyStopping

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(96, 1, 6, 6)).astype("float32"), rng.integers(0, 3, 96)

def make():
    model = nn.Model([
        nn.Conv2D(4, 3, input_shape=(1, 6, 6)), nn.BatchNorm2D(), nn.ReLU(), nn.Dropout(0.2),
        nn.Flatten(), nn.Dense(3),
    ], seed=0)
    model.compile("cce", "adam")
    return model

def say(**values):
    print(json.dumps(values), flush=True)

class Spy(Callback):
    'Counts batches, keeps the weights of every epoch, and may stop after so many batches.'
    def __init__(self, stop_after=None):
        self.batches, self.stop_after, self.epochs, self.ended = 0, stop_after, [], 0
    def on_train_begin(self):
        if self.stop_after is None:
            say(at="begin")
    def on_train_batch_end(self):
        self.batches += 1
        if self.batches == self.stop_after:
            raise KeyboardInterrupt
    def on_epoch_end(self):
        self.epochs.append({k: v.copy() for k, v in self.model.get_arrays().items()})
    def on_train_end(self):
        self.ended += 1

def fit(model, *more, **arguments):
    settings = dict(epochs=10**6, batch_size=8, val_data=(X, Y), num_threads=2, verbose=0)
    return model.fit(X, Y, callbacks=more, **{**settings, **arguments})

def same(a, b):
    return all(np.array_equal(a[name], b[name]) for name in a)

make().fit(X, Y, num_threads=2, verbose=0)
threads = threading.active_count()
"""

TWENTY = (
    HEAD
    + """
for run in range(20):
    model, spy = make(), Spy()
    stopping = [EarlyStopping(patience=10**6)] if run % 2 else []
    history = fit(model, *stopping, spy)
    weights, best = model.get_arrays(), None
    if stopping and spy.epochs:
        best = int(np.argmax(history["val_acc"]))
        as_expected = same(weights, spy.epochs[best])
    else:  # exactly those after so many whole batches
        again = make()
        if spy.batches:
            fit(again, Spy(stop_after=spy.batches), val_data=None)
        as_expected = same(weights, again.get_arrays())
    say(
        at="end", lengths=[len(v) for v in history.values()], epoch=model.epoch,
        finished=len(spy.epochs), batches=spy.batches, steps=model.optimizer.iterations,
        as_expected=as_expected, ended=spy.ended, threads=threading.active_count() - threads,
        is_history=history is model.history,
    )
"""
)


@contextlib.contextmanager
def start(code):
    """Run code in a process of its own, which is ended where it does not end by itself."""
    environment = {**os.environ, "PYTHONPATH": ROOT, "NN_DISABLE_CUDA": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as process:
        watchdog = threading.Timer(120, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def lines_until(process, where):
    """Read the process's lines as far as the one that says where it is; return them all."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("{") and json.loads(line)["at"] == where:
            return lines
    raise AssertionError(f"it ended before {where!r}: {''.join(lines)}{process.stderr.read()}")


def test_a_signal_at_twenty_moments_leaves_a_whole_model():
    rng = np.random.default_rng(0)
    finished = []
    with start(TWENTY) as process:
        for run in range(20):
            lines_until(process, "begin")
            time.sleep(rng.uniform(0.0, 0.12))
            process.send_signal(signal.SIGINT)
            *said, last = lines_until(process, "end")
            result = json.loads(last)
            finished.append(result["finished"])
            assert set(result["lengths"]) <= {result["finished"]}
            assert result["epoch"] == result["finished"]
            assert result["batches"] == result["steps"]
            assert result["as_expected"] and result["is_history"]
            assert (result["ended"], result["threads"]) == (1, 0)
            text = next(line for line in said if line.startswith("Interrupted in epoch"))
            assert f"history of {result['finished']} finished epoch" in text
            assert ("the best, and" in text) == bool(run % 2 and result["finished"])
        assert process.wait() == 0
    assert len(set(finished)) > 3  # the moments were not all the same


@pytest.mark.parametrize(
    ("number", "presses", "status"),
    [
        (signal.SIGINT, 1, 0),
        (signal.SIGINT, 2, -signal.SIGINT),
        (signal.SIGTERM, 1, 143),
        (signal.SIGTERM, 2, 143),
    ],
)
def test_one_signal_ends_training_and_a_second_the_program(number, presses, status):
    slow = HEAD + (
        "import time\n"
        "class Slow(Spy):\n"
        "    def on_train_batch_begin(self):\n"
        "        say(at='batch')\n"
        "        time.sleep(SECONDS)\n"
        "slow = Slow()\n"
        "try:\n"
        "    fit(make(), slow)\n"
        "finally:\n"
        "    say(at='end', ended=slow.ended, threads=threading.active_count() - threads)\n"
    )
    with start(slow.replace("SECONDS", "0.3" if presses == 1 else "60")) as process:
        lines_until(process, "batch")
        for _ in range(presses):
            process.send_signal(number)
            time.sleep(0.1)
        lines = lines_until(process, "end")
        assert json.loads(lines[-1]) == {"at": "end", "ended": 1, "threads": 0}
        assert any(line.startswith("Interrupted in epoch 1") for line in lines)
        assert process.wait() == status
        assert ("KeyboardInterrupt" in process.stderr.read()) == (status == -signal.SIGINT)


# ------------------------------------------------------------------------- in this process


def fit(callback):
    model = nn.Model([nn.Dense(2, input_shape=(2,))], seed=0)
    model.compile("cce", "sgd")
    return model.fit(
        np.ones((8, 2)), np.arange(8) % 2, epochs=3, batch_size=2, callbacks=callback, verbose=0
    )


def press(number=signal.SIGINT):
    signal.raise_signal(number)


@pytest.mark.parametrize("method", ["on_batch_end", "on_epoch_end", "on_train_end"])
def test_sigterm_ends_the_program_once_the_model_is_whole(method, capsys):
    ended = []
    first = callbacks.LambdaCallback(**{method: lambda: press(signal.SIGTERM)})
    last = callbacks.LambdaCallback(on_train_end=lambda: ended.append(1))
    model = nn.Model([nn.Dense(2, input_shape=(2,))], seed=0)
    model.compile("cce", "sgd")
    with pytest.raises(SystemExit) as caught:
        model.fit(np.ones((8, 2)), np.arange(8) % 2, callbacks=[first, last], verbose=0)
    assert (caught.value.code, ended) == (143, [1])
    finished = 0 if method == "on_batch_end" else 1
    assert f"history of {finished} finished epoch" in capsys.readouterr().out
    assert len(model.history.get("loss", ())) == finished
    assert model.progress is None
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_within_the_validation_or_a_callback_ends_with_the_epoch(capsys):
    history = fit(callbacks.LambdaCallback(on_epoch_end=lambda epoch: press() if epoch else None))
    assert len(history["loss"]) == 2
    assert "Interrupted in epoch 2" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_while_callbacks_end_is_said_and_not_lost(capsys):
    history = fit(callbacks.LambdaCallback(on_train_end=lambda: press()))
    assert len(history["loss"]) == 3
    assert "history of 3 finished epochs" in capsys.readouterr().out


def test_sigterm_is_not_lost_to_an_error_that_somebody_catches():
    def breaks():
        press(signal.SIGTERM)
        raise OSError("the disk is full")

    with pytest.raises(SystemExit) as caught:
        fit(callbacks.LambdaCallback(on_batch_end=breaks))
    assert caught.value.code == 143
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(("number", "ends"), [(signal.SIGINT, KeyboardInterrupt), (15, SystemExit)])
def test_a_training_within_another_ends_with_it(number, ends, capsys):
    batches, inner = [], []

    def trains_another():
        press(number)
        inner.append(fit(callbacks.LambdaCallback(on_batch_end=lambda: batches.append(1))))

    outer = callbacks.LambdaCallback(on_batch_end=trains_another)
    if ends is KeyboardInterrupt:  # of which `fit` makes the end of the training
        assert fit(outer) == {} and inner == [{}]
    else:
        with pytest.raises(SystemExit):
            fit(outer)
    assert len(batches) == 1
    assert capsys.readouterr().out.count("Interrupted in epoch 1") == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_users_is_left_alone():
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        history = fit(callbacks.LambdaCallback(on_batch_end=lambda: press()))
        assert len(seen) == 12 and len(history["loss"]) == 3
    finally:
        signal.signal(signal.SIGINT, before)


def test_training_in_another_thread_works_and_leaves_the_handler():
    results = []
    thread = threading.Thread(target=lambda: results.append(fit(callbacks.Timer())))
    thread.start()
    thread.join()
    assert len(results[0]["loss"]) == 3


def test_only_the_second_press_is_not_held_back():
    with Interrupts() as interrupts:
        interrupts.check()
        press()
        assert interrupts.received == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            press()
    with pytest.raises(KeyboardInterrupt):
        press()
