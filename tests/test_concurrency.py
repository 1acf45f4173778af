"""Many threads and processes: the results are those of one, bit for bit.

    python tests/test_concurrency.py --seconds 60

runs the first test for longer.
"""

import argparse
import copy
import itertools
import multiprocessing
import pickle
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import nn

X = np.random.default_rng(0).normal(size=(96, 3, 16, 16)).astype("float32")
Y = np.arange(96) % 5


def make(seed=0):
    """A model with all that could be shared by mistake: kept arrays, statistics, noise."""
    model = nn.Model(
        [
            nn.Conv2D(16, 3, use_bias=False, input_shape=(3, 16, 16)),
            nn.BatchNorm2D(),
            nn.ReLU(),
            nn.MaxPool2D(),
            nn.Residual([nn.Conv2D(16, 3), nn.BatchNorm2D(), nn.Dropout(0.2)]),
            nn.Flatten(),
            nn.Dense(64, activation="relu"),
            nn.Dropout(0.3),
            nn.Dense(5, activation="softmax"),
        ],
        seed=seed,
    )
    model.compile("cce", "adam", lr=1e-3)
    return model


def train(seed):
    """Train a model of its own; return what came of it."""
    model = make(seed)
    history = model.fit(X, Y, epochs=2, batch_size=32, validation_split=0.2, verbose=0)
    return [*model.get_arrays().values(), np.array(history["loss"]), model.predict(X)]


def predict(model, size):
    return [model.predict(X, batch_size=size)]


def run_at_once(jobs, seconds):
    """Run each job again and again in a thread of its own; return how often all were right.

    A job is a function; its first result, before there are threads, is what it must return.
    """
    expected = [job() for job in jobs]
    counts, wrong = [0] * len(jobs), []
    barrier, end = threading.Barrier(len(jobs)), time.perf_counter() + seconds

    def repeat(number):
        barrier.wait()
        while time.perf_counter() < end and not wrong:
            try:
                found = jobs[number]()
                for first, second in zip(expected[number], found, strict=True):
                    np.testing.assert_array_equal(first, second)
            except BaseException as error:
                wrong.append(error)
                raise
            counts[number] += 1

    with ThreadPoolExecutor(len(jobs)) as pool:
        for future in [pool.submit(repeat, number) for number in range(len(jobs))]:
            future.result()
    return counts


def eight_and_two(seconds):
    """Eight threads predict with one model, and two train models of their own."""
    model = make(9)
    model.fit(X, Y, epochs=1, verbose=0)
    jobs = [lambda size=size: predict(model, size) for size in (7, 16, 32, 33, 64, 95, 96, 256)]
    return run_at_once([*jobs, lambda: train(1), lambda: train(2)], seconds)


def test_eight_threads_predict_and_two_train():
    threads = threading.active_count()
    counts = eight_and_two(4)
    assert min(counts) >= 1, counts
    # Those of the kernels stay; nobody else's do.
    assert threading.active_count() <= threads + nn.kernels.threads.NUM_THREADS


def test_a_thread_predicts_while_another_trains_the_same_model():
    model, twin = make(3), make(3)
    steps = [(X[k : k + 32], Y[k : k + 32]) for k in range(0, len(X), 32)] * 4
    ends = threading.Event()

    def predict_until_the_end():
        sizes = itertools.cycle([1, 7, 33])
        while not ends.is_set():
            model.predict(X[: next(sizes)], 5)

    with ThreadPoolExecutor(1) as pool:
        predictions = pool.submit(predict_until_the_end)
        try:
            for x, y in steps:
                model.train_step(x, y)
        finally:
            ends.set()
        predictions.result()
    for x, y in steps:
        twin.train_step(x, y)
    for one, two in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_evaluate_in_threads():
    model = make()
    jobs = [lambda size=size: [model.evaluate(X, Y, batch_size=size)["acc"]] for size in (8, 32)]
    run_at_once([*jobs, *jobs], 1)


def test_copies_and_pickles_go_on_as_the_model_does():
    model = make()
    model.fit(X, Y, epochs=1, verbose=0)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        mine = copy.deepcopy(model)
        for each in (mine, other):
            each.fit(X, Y, epochs=2, initial_epoch=1, verbose=0)
        for name, array in mine.get_arrays().items():
            np.testing.assert_array_equal(array, other.get_arrays()[name])
        assert mine.history == other.history
        assert not np.shares_memory(
            other.get_arrays()["0_Conv2D_W"], model.get_arrays()["0_Conv2D_W"]
        )


def _in_child(model, queue):
    try:
        queue.put([model.predict(X), *train(3)])
    except BaseException as error:
        queue.put(error)
        raise


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_models_in_other_processes(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot start processes by {method}")
    context = multiprocessing.get_context(method)
    model = make()
    model.fit(X, Y, epochs=1, verbose=0)  # the kernels' threads run now
    expected = [model.predict(X), *train(3)]
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(model, queue))
    child.start()
    found = queue.get(timeout=120)
    child.join(30)
    assert child.exitcode == 0
    for first, second in zip(expected, found, strict=True):
        np.testing.assert_array_equal(first, second)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    counts = eight_and_two(parser.parse_args().seconds)
    print(f"equal bit for bit: predictions by thread {counts[:8]}, trainings {counts[8:]}")


if __name__ == "__main__":
    sys.exit(main())
