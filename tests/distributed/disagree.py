"""Calls that differ between two processes: each must raise an error that names the argument.

    mpiexec -n 2 python tests/distributed/disagree.py

Without the error each process would train on its part of another batch or of another model.
"""

import tempfile
from pathlib import Path

import numpy as np

import nn
from nn import callbacks as cb
from nn.data import augment

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 5)), RNG.integers(0, 3, 60)


def layers(units=6, rate=0.2, activation=nn.ReLU):
    return [nn.Dense(units), activation(), nn.Dropout(rate), nn.Dense(3)]


def fit(team, of_layers=None, compiled=None, x=X, y=Y, **options):
    model = nn.Model(layers(**(of_layers or {})), seed=0)
    model.compile("cce", **{"optimizer": "sgd", "distributed": team, **(compiled or {})})
    options = {"epochs": 2, "batch_size": 16, "verbose": 0, **options}
    if y is None:
        model.fit(x, **options)
    else:
        model.fit(x, y, **options)
    return model


def batches(count, change=0.0):
    """Return a source of batches, of which the last row of each changes."""

    def source():
        for k in range(count):
            x = X[10 * k : 10 * k + 10].copy()
            x[-1] += change
            yield x, Y[10 * k : 10 * k + 10]

    return source


def evaluate(team, x=X, y=Y, factor=1.0, **options):
    model = fit(team)
    model.layers[0].params["W"][...] *= factor
    model.evaluate(x, y, **options)


def step(team, rows):
    model = nn.Model(layers(), seed=0)
    model.compile("cce", "sgd", distributed=team)
    model.train_step(X[rows], Y[rows])


def changes_at_the_end(team, is_other):
    """A callback that changes the weights of one process after the last epoch."""

    def change(logs=None):
        changes.model.layers[0].params["W"][...] += is_other

    changes = cb.LambdaCallback(on_train_end=change)
    fit(team, callbacks=[changes])


#: What each call raises; `k` is 0 in rank 0 and 1 in rank 1.
CASES = {
    "'layers'": [
        lambda team, k: fit(team, {"units": 6 + k}),
        lambda team, k: fit(team, {"rate": 0.1 + k / 4}),
        lambda team, k: fit(team, {"activation": (nn.ReLU, nn.Tanh)[k]}),
    ],
    "'optimizer'": [
        lambda team, k: fit(team, compiled={"optimizer": ("sgd", "adam")[k]}),
        lambda team, k: fit(team, compiled={"lr": 0.1 + k}),
        lambda team, k: fit(team, compiled={"clip_norm": (None, 1.0)[k]}),
    ],
    "'metrics'": [lambda team, k: fit(team, compiled={"metrics": ["accuracy", "f1"][: 1 + k]})],
    "'gradient_accumulation_steps'": [
        lambda team, k: fit(team, compiled={"gradient_accumulation_steps": 1 + k})
    ],
    "'batch_size'": [
        lambda team, k: fit(team, batch_size=16 + k),
        lambda team, k: evaluate(team, batch_size=16 + k),
    ],
    "'shuffle'": [lambda team, k: fit(team, shuffle=bool(k))],
    "'augment'": [
        lambda team, k: fit(team, augment=(None, lambda x, rng: x)[k]),
        lambda team, k: fit(team, augment=augment.Mixup(0.1 + k, num_classes=3)),
    ],
    "'resume' must be the same in all processes, got last.npz in rank 1 and None": [
        lambda team, k: fit(team, resume=(None, "last.npz")[k])
    ],
    "'class_weight'": [lambda team, k: fit(team, class_weight={0: 1.0 + k, 1: 1.0, 2: 1.0})],
    "'lr_schedule'": [lambda team, k: fit(team, lr_schedule=(None, "cosine")[k])],
    "'early_stopping'": [lambda team, k: fit(team, early_stopping=bool(k))],
    "'callbacks'": [lambda team, k: fit(team, callbacks=[cb.EarlyStopping("loss")][:k])],
    "'data'": [
        lambda team, k: fit(team, x=X + k * (np.arange(60) == 40)[:, np.newaxis]),
        lambda team, k: fit(team, sample_weight=np.arange(60.0) ** k),
        lambda team, k: fit(team, x=X + k * (np.arange(60) > 0)[:, None], steps_per_epoch=2),
        lambda team, k: evaluate(team, x=X[k::2], y=Y[k::2]),
        lambda team, k: evaluate(team, x=X[k:], y=Y[k:]),
    ],
    "'weights of the model": [lambda team, k: evaluate(team, factor=1.0 + k)],
    "'data' gives another batch in rank 1": [
        lambda team, k: fit(team, x=batches(4 + k), y=None),
        lambda team, k: fit(team, x=batches(5 - k), y=None),
        lambda team, k: fit(team, x=batches(4, change=k), y=None),
        lambda team, k: evaluate(team, x=batches(4 + k), y=None),
        lambda team, k: step(team, slice(10 * k, 10 * k + 10)),
    ],
    "'val_data' gives another batch in rank 1": [
        lambda team, k: fit(team, val_data=batches(4 + k)),
        lambda team, k: fit(team, val_data=batches(4 + k), compiled={"metrics": ["auc"][:0]}),
    ],
    "after the training: the weights of rank 1": [changes_at_the_end],
}


def main():
    team, count = nn.distributed.MPI(timeout=60), 0
    for text, calls in CASES.items():
        for index, call in enumerate(calls):
            try:
                call(team, team.rank)
            except (ValueError, RuntimeError) as error:
                assert text in str(error), f"{text}, call {index}: {error}"
            else:
                raise AssertionError(f"{text}, call {index}: no error")
            count += 1
    with tempfile.TemporaryDirectory() as folder:  # only that of rank 0 has the file
        path = Path(folder, "last.npz")
        fit(team).save(path)
        again = fit(team, epochs=3, resume=None if team.rank else path)
        assert again.epoch == len(again.history["loss"]) == 3
    print(f"rank {team.rank}: {count} calls that differ were refused", flush=True)


if __name__ == "__main__":
    main()
