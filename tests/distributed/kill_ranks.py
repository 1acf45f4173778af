"""Kill a process of a training by SIGKILL at moments drawn by chance, and resume each training.

    python tests/distributed/kill_ranks.py --kills 20 --ranks 2

Processes of MPI train a small network and save it every few batches. One of them is killed: then
`mpiexec` must end with an error in less than 15 seconds, no process may be left, and the file must
be whole. The next job goes on from this file, or anew if there is none yet, and must end with the
weights, the optimizer's state and the history of a training that nobody disturbed, bit for bit.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[k]) for k in (0, 2)]

from launching import command, environment  # noqa: E402

import nn  # noqa: E402
from nn import callbacks as cb  # noqa: E402
from nn.files import training_state  # noqa: E402

FILE, END = "run.hdf5", "end.npz"
EPOCHS, BATCHES = 20, 8
MARK = "TRAINING_TO_KILL"  # a variable by which the processes of a job are found
DEADLINE = 15.0  # seconds until mpiexec has ended after a kill


def train(folder):
    """Train in this process, from the file on if there is one; rank 0 writes the end."""
    team = nn.distributed.MPI(timeout=60)
    (folder / f"process-{team.rank}").write_text(str(os.getpid()))
    rng = np.random.default_rng(0)
    x, y = rng.random((120, 1, 8, 8)), rng.integers(0, 3, 120)
    layers = [nn.Conv2D(6), nn.BatchNorm2D(), nn.ReLU(), nn.Dropout(0.2), nn.Flatten()]
    model = nn.Model([*layers, nn.Dense(3)], seed=0)
    model.compile("cce", "adam", lr=0.01, gradient_accumulation_steps=3, distributed=team)
    path = folder / FILE
    saves = cb.ModelCheckpoint(path, save_best_only=False, save_state=True, save_freq=3)
    began = cb.LambdaCallback(
        on_train_batch_end=lambda batch, logs: _note_beginning(folder / f"began-{team.rank}")
    )
    model.fit(
        *(x, y),
        epochs=EPOCHS,
        batch_size=16,
        verbose=0,
        callbacks=[saves, began],
        resume=path if path.exists() else None,
    )
    if team.rank == 0:
        state = model.training_state()
        arrays = {**state["weights"], **{f"o/{k}": v for k, v in state["optimizer"].items()}}
        arrays |= {f"h/{k}": v for k, v in state["history"].items()}
        np.savez(folder / "unfinished.npz", **arrays)
        (folder / "unfinished.npz").replace(folder / END)


def _note_beginning(path):
    """Write the time after the first batch: what comes before is mostly the loading of kernels."""
    if not path.exists():
        path.write_text(str(time.time()))


def start(folder, ranks, env):
    """Start a job."""
    for path in [*folder.glob("process-*"), *folder.glob("began-*")]:
        path.unlink()
    return subprocess.Popen(
        command(ranks, __file__, "--train", str(folder)),
        env={**env, MARK: str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(job, seconds=120):
    out, _ = job.communicate(timeout=seconds)
    return out.decode(errors="replace")


def left_of(folder):
    """Return the processes of jobs in a folder, those of the launcher too."""
    found, wanted = [], f"{MARK}={folder}".encode()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (path / "environ").read_bytes().split(b"\0"):
                found.append(path.name)
        except OSError:  # it has ended, or is another user's
            continue
    return found


def end_of(folder):
    with np.load(folder / END) as file:
        return {name: file[name] for name in file.files}


def undisturbed(folder, ranks, env):
    """Return what a training ends with, and how many seconds it takes from its beginning."""
    job = start(folder, ranks, env)
    output = finish(job)
    assert job.returncode == 0, output
    return end_of(folder), (folder / END).stat().st_mtime - float((folder / "began-0").read_text())


def kill(folder, ranks, choice, seconds, env):
    """Kill a process; return how long the job took to end, or None if the training had ended."""
    job = start(folder, ranks, env)
    while not all((folder / f"began-{k}").exists() for k in range(ranks)):
        assert job.poll() is None, finish(job)
        time.sleep(0.005)
    moment = time.monotonic() + choice.uniform(0, seconds)
    while time.monotonic() < moment and job.poll() is None:
        time.sleep(0.005)
    victim = int((folder / f"process-{choice.randrange(ranks)}").read_text())
    is_running = job.poll() is None and not (folder / END).exists()
    if is_running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    since = time.monotonic()
    output = finish(job)
    took = time.monotonic() - since
    if not is_running or (folder / END).exists():
        return None
    assert job.returncode != 0, output
    assert took < DEADLINE, f"the job ended {took:.1f} s after the kill"
    time.sleep(0.1)
    assert not left_of(folder), f"processes {left_of(folder)} are left"
    return took


def batches_in(path):
    """Return how many batches a file holds; raise if it is not whole."""
    saved = training_state.read_training(path).training
    nn.Model.load(path)
    return saved["epoch"] * BATCHES + saved.get("within_epoch", {"batches": 0})["batches"]


def check_resumed(folder, ranks, expected, env):
    """Go on from the file of a training that was killed, and compare its end with the expected."""
    job = start(folder, ranks, env)
    output = finish(job)
    assert job.returncode == 0, output
    ended = end_of(folder)
    assert ended.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(array, ended[name]), f"{name} differs"


def run(folder, kills, ranks, seeds, env):
    """Kill so many trainings and resume each; return when the jobs ended, and what files held.

    The moments and the processes are drawn by generators of these seeds in turn.
    """
    choices, took, held = [random.Random(seed) for seed in seeds], [], []
    calm = folder / "calm"
    calm.mkdir()
    expected, seconds = undisturbed(calm, ranks, env)
    while len(took) < kills:
        place = folder / "killed"
        place.mkdir()
        choice = choices[len(took) % len(choices)]
        ended_after = kill(place, ranks, choice, seconds, env)
        if ended_after is not None:
            took.append(ended_after)
            held.append(batches_in(place / FILE) if (place / FILE).exists() else 0)
            check_resumed(place, ranks, expected, env)
        shutil.rmtree(place)
    return took, held


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="trainings to kill and resume")
    parser.add_argument("--ranks", type=int, default=2, help="processes of a training")
    parser.add_argument("--seed", type=int, help="of the moments; by default a new one")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.train is not None:
        train(chosen.train)
        return
    seed = random.randrange(10**6) if chosen.seed is None else chosen.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        took, held = run(Path(folder), chosen.kills, chosen.ranks, [seed], environment())
    print(
        f"{len(took)} of {len(took)} trainings in {chosen.ranks} processes, of which one was "
        f"killed, ended with an error, the slowest after {max(took):.1f} s, and left no process; "
        f"all were resumed and ended bit for bit as the undisturbed one. Their files were whole "
        f"and held {sorted(held)} of {EPOCHS * BATCHES} batches (0: none was written yet)."
    )


if __name__ == "__main__":
    main()
