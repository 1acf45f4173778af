"""Kill a training by SIGKILL at moments drawn by chance, and resume it until it ends.

    python tests/kill_training.py --times 100

A process trains a small network and saves it every few batches; it is killed, and the next one goes
on from the file. After each kill the file must be whole and hold all that was reported as saved.
Each training that came to its end must have the weights, the optimizer's state and the history of
one that nobody disturbed, bit for bit. Then the next one begins, until so many kills were made.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import nn  # noqa: E402
from nn import callbacks as cb  # noqa: E402
from nn.data import augment  # noqa: E402
from nn.files import training_state  # noqa: E402

EPOCHS, BATCHES, SAVE_EVERY = 6, 8, 3
FILE = "run.hdf5"


class Checkpoint(cb.ModelCheckpoint):
    """Says after each file how many batches it holds, counted over all epochs."""

    def __init__(self, folder):
        super().__init__(folder / FILE, save_best_only=False, save_state=True, save_freq=SAVE_EVERY)
        self.said = (folder / "said").open("ab", buffering=0)

    def _save(self, names):
        super()._save(names)
        self.said.write(b"%d\n" % batches_of(self.model.epoch, self.model.progress.batches))

    def on_train_end(self, logs):
        self.said.close()


def batches_of(epochs, batches):
    """Return the batches trained in so many epochs and batches of the next."""
    return epochs * BATCHES + batches


def train(folder):
    """Train, from the file on where there is one; write what comes out to 'end.npz'."""
    folder = Path(folder)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (BATCHES * 16, 1, 8, 8), dtype=np.uint8)
    y = rng.integers(0, 3, len(x))
    layers = [nn.Conv2D(6), nn.BatchNorm2D(), nn.ReLU(), nn.Dropout(0.2), nn.Flatten()]
    model = nn.Model([*layers, nn.Dense(3)], seed=0)
    model.compile("cce", "adam", lr=0.01, ema_decay=0.9, gradient_accumulation_steps=3)
    model.fit(
        x,
        y,
        epochs=EPOCHS,
        batch_size=16,
        val_data=(x[:32], y[:32]),
        early_stopping=True,
        patience=4,
        lr_schedule="plateau",
        lr_patience=2,
        augment=augment.RandomCrop(8, padding=1),
        num_threads=2,
        callbacks=[Checkpoint(folder)],
        resume=folder / FILE if (folder / FILE).exists() else None,
        verbose=0,
    )
    history = {f"history/{name}": np.array(values) for name, values in model.history.items()}
    np.savez(
        folder / "end.tmp.npz", **model.get_arrays(), **model.optimizer.state_dict(), **history
    )
    (folder / "end.tmp.npz").replace(folder / "end.npz")


def start(folder):
    """Return a running process that trains."""
    process = CONTEXT.Process(target=train, args=(str(folder),))
    process.start()
    return process


def check_file(folder):
    """Raise where the file is not whole, or holds less than was said to be saved."""
    said = (folder / "said").read_bytes().split(b"\n")[:-1] if (folder / "said").exists() else []
    if not (folder / FILE).exists():
        assert not said, "a file that was said to be saved is not there"
        return
    content = training_state.read_training(folder / FILE)
    nn.Model.load(folder / FILE)
    within = content.training.get("within_epoch", {"batches": 0})
    held = batches_of(content.training["epoch"], within["batches"])
    assert not said or held >= int(said[-1]), f"{held} batches in the file, {said[-1]} were saved"


def check_end(folder, expected):
    """Raise where a training did not come to the end that it has undisturbed."""
    end = np.load(folder / "end.npz")
    different = [name for name, array in expected.items() if not np.array_equal(array, end[name])]
    assert set(end.files) == set(expected), set(end.files) ^ set(expected)
    assert not different, f"resumed training ended otherwise in {different}"


def undisturbed(folder):
    """Return what training ends with where nobody kills it, and its seconds."""
    seconds = []
    for _ in range(2):  # the first one also waits for Python to import everything
        for file in folder.iterdir():
            file.unlink()
        before = time.perf_counter()
        process = start(folder)
        process.join()
        seconds.append(time.perf_counter() - before)
        assert process.exitcode == 0
    return dict(np.load(folder / "end.npz")), seconds[-1]


def kill_often(times, rng, base):
    """Kill trainings so many times; return how many came to their end meanwhile."""
    (base / "undisturbed").mkdir()
    expected, seconds = undisturbed(base / "undisturbed")
    kills = finished = 0
    folder = None
    while kills < times or folder is not None:
        if folder is None:
            folder = base / f"run{finished}"
            folder.mkdir()
        process = start(folder)
        if kills < times:
            process.join(rng.uniform(0.0, seconds))
        else:
            process.join()  # the last one comes to its end
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
            check_file(folder)
            continue
        assert process.exitcode == 0, f"training ended with the status {process.exitcode}"
        check_end(folder, expected)
        finished, folder = finished + 1, None
    return finished


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=100, help="how often to kill")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        finished = kill_often(options.times, rng, Path(folder))
        left = len(list(Path(folder).glob("*/.nn-*")))
    print(
        f"{options.times} kills, {finished} trainings resumed to their end: every file whole, no "
        f"batch lost beyond the last file, all ends bit-equal ({left} unfinished temporary files)."
    )


# A server that has imported nn forks the processes: each is a new one, and starts at once.
CONTEXT = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")

if __name__ == "__main__":
    if sys.platform != "win32":
        CONTEXT.set_forkserver_preload(["nn", "nn.data.augment", "h5py"])
    main()
