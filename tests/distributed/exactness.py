"""Train each case alone and with all processes of MPI, and compare: weights, history, evaluation.

    mpiexec -n 3 python -m mpi4py tests/distributed/exactness.py
    mpiexec -n 2 python -m mpi4py tests/distributed/exactness.py --only dropout

In float64 all must agree to 1e-12; the weights of all processes have the same bits after each
epoch, which `fit` checks itself and `HashOfWeights` once more.
"""

import argparse
import copy
import sys
import warnings

import numpy as np

import nn
from nn.data import augment
from nn.distributed.following import digest

EPOCHS = 3
TOLERANCE = 1e-12
OPTIMIZERS = sorted(nn.optim.NAME2OPTIMIZER)


def table(rows=30, features=4, classes=3):
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, features)), rng.integers(0, classes, rows)


def images(rows=22, size=8):
    rng = np.random.default_rng(2)
    return rng.random((rows, 2, size, size)), rng.integers(0, 3, rows)


def sequences(rows=20, steps=5):
    rng = np.random.default_rng(3)
    x = rng.integers(1, 12, (rows, steps))
    for row, length in enumerate(rng.integers(2, steps + 1, rows)):
        x[row, length:] = 0
    return x, rng.integers(0, 3, rows)


def dense(*more):
    return [nn.Dense(6), nn.Tanh(), *more, nn.Dense(3)]


def convolutional(*more):
    return [nn.Conv2D(4), nn.BatchNorm2D(), nn.ReLU(), *more, nn.GlobalAvgPool2D(), nn.Dense(3)]


def recurrent(layer):
    return [nn.Embedding(12, 4, mask_zero=True), layer, nn.Dense(3)]


class Case:
    """A model, its data, and the arguments of `compile` and `fit`."""

    def __init__(self, layers, data=table, loss="cce", optimizer="sgdmomentum", **arguments):
        self.layers, self.data, self.loss, self.optimizer = layers, data, loss, optimizer
        self.compiled = arguments.pop("compiled", {})
        self.fitted = {"batch_size": 8, **arguments}
        self.compiled = {"lr": 0.02, **self.compiled}

    def run(self, team):
        x, y = self.data()
        model = nn.Model(self.layers(), dtype="float64", seed=4)
        model.compile(self.loss, self.optimizer, distributed=team, **self.compiled)
        fitted = dict(self.fitted)
        if fitted.pop("as_stream", False):
            size = fitted["batch_size"]
            batches = [(x[k : k + size], y[k : k + size]) for k in range(0, len(x), size)]
            history = model.fit(batches, epochs=EPOCHS, verbose=0, callbacks=hashes(team), **fitted)
        else:
            held = fitted.pop("val_data", (x[:7], y[:7]))
            if "validation_split" in fitted:
                held = None
            callbacks = hashes(team)
            history = model.fit(
                x, y, epochs=EPOCHS, verbose=0, val_data=held, callbacks=callbacks, **fitted
            )
        generators = [rng.bit_generator.state for rng in model.generators]
        evaluated = model.evaluate(x, y, batch_size=9)
        return model.get_arrays(), dict(history), evaluated, generators


class HashOfWeights(nn.callbacks.Callback):
    """Compares the weights of all processes after each epoch."""

    def __init__(self, team):
        self.team = team

    def on_epoch_end(self, epoch, logs):
        found = self.team.gather(digest(self.model.get_arrays()))
        assert len({*found}) == 1, f"epoch {epoch + 1}: {found}"


def hashes(team):
    return [] if team is None else [HashOfWeights(team)]


def mean_of_errors(y_true, y_pred):
    return float(abs(y_pred).mean() + y_true.mean())


class Sparse(nn.Layer):
    """A layer of the user's that adds to the loss."""

    def forward(self, x, training=False):
        self.x = x
        return x

    def activity_penalty(self):
        return 0.1 * float(abs(self.x).sum()) / len(self.x)

    def backward(self, grad):
        return grad + 0.1 * np.sign(self.x) / len(self.x)


CASES = {
    "even batches": Case(dense, lambda: table(32)),
    "uneven last batch": Case(dense, lambda: table(29)),
    "fewer rows than ranks": Case(dense, lambda: table(17)),
    "batches of one row": Case(dense, lambda: table(5), batch_size=1, val_data=None),
    "batch norm, fewer rows than ranks": Case(convolutional, lambda: images(18)),
    "accumulation": Case(dense, compiled={"gradient_accumulation_steps": 3}),
    "accumulation, uneven": Case(
        dense, lambda: table(29), compiled={"gradient_accumulation_steps": 2}
    ),
    "class weights": Case(dense, class_weight={0: 0.5, 1: 2.0, 2: 1.0}),
    "sample weights": Case(dense, sample_weight=np.linspace(0, 2, 30)),
    "decay": Case(dense, compiled={"weight_decay": 0.01}),
    "penalties": Case(lambda: [nn.Dense(6, kernel_regularizer="l2"), nn.Tanh(), nn.Dense(3)]),
    "activity penalties": Case(lambda: dense(Sparse())),
    "global-norm clipping": Case(dense, compiled={"clip_norm": 0.1}),
    "value clipping": Case(dense, compiled={"clip_value": 0.01}),
    "averages": Case(dense, compiled={"ema_decay": 0.9}, use_averages=True),
    "augmentation": Case(
        convolutional,
        images,
        augment=augment.Compose([augment.RandomFlip(), augment.RandomCrop(8, padding=1)]),
    ),
    "mixup": Case(convolutional, images, augment=augment.Mixup(0.4, num_classes=3)),
    "dropout": Case(lambda: dense(nn.Dropout(0.4))),
    "dropout of features": Case(lambda: dense(nn.Dropout(0.4, noise_shape=(1, None)))),
    "spatial dropout": Case(lambda: convolutional(nn.SpatialDropout2D(0.3)), images),
    "noise": Case(lambda: [nn.GaussianNoise(0.1), *dense()]),
    "sampling": Case(lambda: [nn.Dense(6), nn.GaussianSampling(0.1), nn.Dense(3)]),
    "batch norm": Case(convolutional, images),
    "batch norm of tables": Case(lambda: dense(nn.BatchNorm1D()), lambda: table(31)),
    "batch norm with recompute": Case(
        lambda: [nn.Recompute(convolutional(nn.Dropout(0.2)))], images
    ),
    "batch norm with a mask": Case(
        lambda: [nn.Embedding(12, 4, mask_zero=True), nn.BatchNorm(), nn.LSTM(3), nn.Dense(3)],
        sequences,
    ),
    "layer norm and weight norm": Case(
        lambda: [nn.WeightNorm(nn.Dense(6)), nn.LayerNorm(), nn.Dense(3)]
    ),
    "simple recurrent layer": Case(lambda: recurrent(nn.SimpleRNN(5)), sequences),
    "LSTM": Case(lambda: recurrent(nn.LSTM(5)), sequences),
    "GRU in both directions": Case(lambda: recurrent(nn.Bidirectional(nn.GRU(4))), sequences),
    "labels of steps with a mask": Case(
        lambda: [
            nn.Embedding(12, 4, mask_zero=True),
            nn.LSTM(4, return_sequences=True),
            nn.Dense(3),
        ],
        lambda: (sequences()[0], sequences()[0] % 3),
    ),
    "labels of steps, fewer rows than ranks": Case(
        lambda: [
            nn.Embedding(12, 4, mask_zero=True),
            nn.BatchNorm(),
            nn.LSTM(4, return_sequences=True),
            nn.Dense(3),
        ],
        lambda: (sequences(17)[0], sequences(17)[0] % 3),
    ),
    "attention with dropout": Case(
        lambda: [
            nn.Embedding(12, 4, mask_zero=True),
            nn.MultiHeadAttention(2, 3, dropout=0.2),
            nn.GlobalAvgPool1D(),
            nn.Dense(3),
        ],
        sequences,
    ),
    "metrics": Case(
        dense,
        compiled={
            "metrics": ["accuracy", "top_2_accuracy", "precision", "recall", "f1", mean_of_errors]
        },
    ),
    "AUC": Case(
        lambda: [nn.Dense(5), nn.Tanh(), nn.Dense(1)],
        lambda: table(29, classes=2),
        "bce",
        compiled={"metrics": ["accuracy", "auc"]},
    ),
    "regression": Case(
        lambda: [nn.Dense(5), nn.Tanh(), nn.Dense(2)],
        lambda: (table()[0], table()[0][:, :2] ** 2),
        "mse",
        compiled={"metrics": ["mse", "mae", "r2"]},
    ),
    "validation split": Case(dense, lambda: table(40), validation_split=0.3),
    "early stopping": Case(dense, early_stopping=True, patience=1),
    "plateau": Case(dense, lr_schedule="plateau", lr_patience=1),
    "cosine": Case(dense, lr_schedule="cosine", warmup_epochs=1),
    "steps": Case(dense, steps_per_epoch=3, validation_steps=1),
    "batches of the user's": Case(dense, lambda: table(29), as_stream=True),
    "bytes": Case(
        lambda: [nn.Flatten(), nn.Dense(3)],
        lambda: ((images()[0] * 255).astype(np.uint8), images()[1]),
        num_threads=2,
    ),
    **{
        f"optimizer {name}": Case(
            lambda: [nn.Conv2D(3), nn.Tanh(), nn.Flatten(), nn.Dense(3)],
            lambda: images(size=4),
            optimizer=name,
            compiled={"lr": 0.003},
        )
        for name in OPTIMIZERS
    },
}


def difference(a, b):
    """Return the largest difference between arrays, numbers and NaN in dicts and lists."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), f"{sorted(a)} and {sorted(b)}"
        return max((difference(a[key], b[key]) for key in a), default=0.0)
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    assert a.shape == b.shape, f"shapes {a.shape} and {b.shape}"
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.where(same, 0.0, abs(a - b)).max(initial=0.0))


def compare(case, team):
    """Return the largest difference between a training of rank 0 alone and one with all."""
    alone = team.broadcast(copy.deepcopy(case).run(None) if team.rank == 0 else None)
    shared = copy.deepcopy(case).run(team)
    assert alone[3] == shared[3], "the generators are in other states"
    return max(difference(a, b) for a, b in zip(alone[:3], shared[:3], strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="a part of the names of the cases to run")
    only = parser.parse_args().only
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[^ ]* [0-9]+ processes share")
        team, ran, failed = nn.distributed.MPI(timeout=60), 0, 0
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "[^ ]* this is one of [0-9]+ processes")  # on purpose
    for name, case in CASES.items():
        if only not in name:
            continue
        ran += 1
        found = compare(case, team)
        worst = max(team.gather(found))
        failed += not worst <= TOLERANCE
        if team.rank == 0:
            print(f"{'ok  ' if worst <= TOLERANCE else 'FAIL'} {worst:.1e}  {name}", flush=True)
    if team.rank == 0:
        print(f"{team.size} processes, {ran} cases, {failed} differ")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
