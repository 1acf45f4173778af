"""Train on a memory-mapped file in several processes, and count what each reads and sends.

    mpiexec -n 2 python tests/distributed/rank_slices.py FOLDER

Each process reads its share of the rows once to check them, its rows of each batch, and a few rows
of all for the range of the inputs. Nothing is sent but weights, sums and hashes.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

import nn

ROWS, EPOCHS, SAMPLED = 6000, 2, 900
SHAPE, IMAGES = (1, 16, 16), 1024


class Counting(np.memmap):
    """A memory-mapped array that notes which of its rows are asked for."""

    asked = None

    def __array_finalize__(self, array):
        super().__array_finalize__(array)
        self.asked = getattr(array, "asked", None)

    def __getitem__(self, key):
        if self.asked is not None and len(self) in (ROWS, IMAGES):
            self.asked.append(np.arange(len(self))[key].ravel())
        return super().__getitem__(key)


def opened(path, asked):
    array = np.load(path, mmap_mode="r").view(Counting)
    array.asked = asked
    return array


class Sent:
    """Counts the bytes that the processes send, and the largest message but the sums."""

    def __init__(self, team):
        self.largest, exchange, broadcast = 0, team.exchange, team.broadcast

        def counted(values):
            self.largest = max(self.largest, values.nbytes)
            return exchange(values)

        def never(value):
            raise AssertionError("something is broadcast, though all have the same weights")

        team.exchange = counted
        team.broadcast = lambda value: broadcast(value) if _is_small(value) else never(value)


def _is_small(value):
    import pickle

    return len(pickle.dumps(value)) < 4000


def train(folder, team, layers, targets="y.npy", loss="cce", **options):
    """Return which rows of inputs and targets were read, and the largest message."""
    inputs, outputs, sent = [], [], Sent(team)
    x, y = opened(folder / "x.npy", inputs), opened(folder / targets, outputs)
    model = nn.Model(layers, seed=0)
    model.compile(loss, "sgd", metrics=[], distributed=team)
    data = nn.Dataset(x, y)
    model.fit(data, epochs=EPOCHS, batch_size=100, verbose=0, **options)
    model.evaluate(data)
    return np.concatenate(inputs), np.concatenate(outputs), sent.largest


def check(read, team, passes, what):
    share = passes * ROWS / team.size + SAMPLED
    assert len(read) <= share, f"{what}: rank {team.rank} read {len(read)} rows, not {share:.0f}"
    assert len(read) > passes * ROWS / team.size / 2, f"{what}: only {len(read)} rows were counted"


def check_folder(folder, team):
    """One of the processes decodes the images; each trains on its rows of the cache."""
    from nn.data.images.source import ImageSource

    decoded, decode_all = [], ImageSource.decode_all
    ImageSource.decode_all = lambda *arguments: (decoded.append(1), decode_all(*arguments))[1]
    data = nn.data.load_image_folder(folder, size=16, mode="L", progress=False)
    assert sum(team.gather(len(decoded))) == 1, "the images were not decoded once"
    asked = []
    data.x = data.x.view(Counting)
    data.x.asked = asked
    model = nn.Model([nn.Flatten(), nn.Dense(2)], seed=0)
    model.compile("cce", "sgd", metrics=[], distributed=team)
    model.fit(data, epochs=EPOCHS, batch_size=64, verbose=0)
    epochs = [rows for rows in asked if len(rows) == 64 // team.size]
    assert len(np.concatenate(epochs)) >= (EPOCHS - 1) * IMAGES / team.size, "rows were not counted"
    read = sum(map(len, asked))
    assert read <= EPOCHS * IMAGES / team.size + SAMPLED, f"{read} rows of images were read"


def find_nan(folder, team):
    """Print the errors of fit and of evaluate, which all processes raise."""
    x, y = np.load(folder / "x.npy", mmap_mode="r"), np.arange(1000) % 2
    model = nn.Model([nn.Dense(2)], seed=0)
    model.compile("cce", "sgd", distributed=team)
    for call in (lambda: model.fit(x, y, verbose=0), lambda: model.evaluate(x, y)):
        try:
            call()
        except ValueError as error:
            print(f"rank {team.rank}: {error}\n", end="", flush=True)


def main():
    folder, team = Path(sys.argv[1]), nn.distributed.MPI(timeout=60)
    warnings.simplefilter("error")  # but for processes that share a core
    if sys.argv[2:] == ["nan"]:
        find_nan(folder, team)
        return
    if team.rank == 0:
        rng = np.random.default_rng(0)
        np.save(folder / "x.npy", rng.random((ROWS, *SHAPE), dtype=np.float32))
        np.save(folder / "y.npy", rng.integers(0, 3, ROWS))
        np.save(folder / "images.npy", rng.random((ROWS, *SHAPE), dtype=np.float32))
        np.savez(folder / "set.npz", x=np.zeros((4, 3)), y=np.arange(4) % 2)
        for number in range(IMAGES):
            (folder / "photos" / str(number % 2)).mkdir(parents=True, exist_ok=True)
            name = folder / "photos" / str(number % 2) / f"{number}.png"
            Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).save(name)
    team.gather(None)
    # The check of fit and that of evaluate, the epochs and the evaluation itself
    passes = EPOCHS + 3
    x, _, sent = train(folder, team, [nn.Flatten(), nn.Dense(3)])
    check(x, team, passes, "inputs")
    if team.size > 1:
        assert sent < 10_000, f"{sent} bytes were sent at once"
    x, y, _ = train(folder, team, [nn.Conv2D(1)], "images.npy", "mse")
    check(x, team, passes, "inputs of images")
    check(y, team, passes, "targets that are images")
    data = nn.data.load_npz(folder / "set.npz", mmap_mode="r")
    assert isinstance(data.x, np.memmap)
    check_folder(folder / "photos", team)
    print(f"rank {team.rank} of {team.size} has read {len(x)} rows of {ROWS} in {passes} passes")


if __name__ == "__main__":
    main()
