"""Kill a process of a training by SIGKILL at moments drawn by chance, and resume it until it ends.

    python tests/distributed/kill_ranks.py --times 20

Processes of MPI train a small network and save it every few batches. One of them is killed: then
`mpiexec` must end with an error in less than 15 seconds, no process may be left, and the file must
be whole. The next job goes on from the file. A training that came to its end must have the weights,
the optimizer's state and the history of one that nobody disturbed, bit for bit.
"""

import argparse
import os
import random
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
EPOCHS = 10
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
    (folder / f"began-{team.rank}").touch()
    model.fit(
        *(x, y),
        epochs=EPOCHS,
        batch_size=16,
        verbose=0,
        callbacks=[saves],
        resume=path if path.exists() else None,
    )
    if team.rank == 0:
        state = model.training_state()
        arrays = {**state["weights"], **{f"o/{k}": v for k, v in state["optimizer"].items()}}
        np.savez(folder / END, **arrays, **{f"h/{k}": v for k, v in state["history"].items()})


def start(folder, processes, env):
    for path in [*folder.glob("process-*"), *folder.glob("began-*")]:
        path.unlink()
    return subprocess.Popen(
        command(processes, __file__, "--train", str(folder)),
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(job, seconds=120):
    out, _ = job.communicate(timeout=seconds)
    return out.decode(errors="replace")


def is_alive(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def end_of(folder):
    with np.load(folder / END) as file:
        return {name: file[name] for name in file.files}


def run(folder, times, processes, seed, env):
    """Kill `times` processes; return how often what was checked."""
    choice, counts = random.Random(seed), {"kills": 0, "whole": 0, "ended": 0, "slowest": 0.0}
    calm, place = folder / "calm", folder / "killed"
    calm.mkdir(), place.mkdir()
    job = start(calm, processes, env)
    output = finish(job)
    assert job.returncode == 0, output
    expected = end_of(calm)
    seconds = (calm / END).stat().st_mtime - (calm / "began-0").stat().st_mtime
    done = 0.0  # share of the training that the file holds
    while counts["kills"] < times or not counts["ended"]:  # the last training runs to its end
        job = start(place, processes, env)
        while not all((place / f"began-{k}").exists() for k in range(processes)):
            assert job.poll() is None, finish(job)
            time.sleep(0.005)
        if counts["kills"] < times:
            time.sleep(choice.uniform(0, seconds * (1 - done)))
        found = {k: int((place / f"process-{k}").read_text()) for k in range(processes)}
        victim = choice.randrange(processes)
        is_running = job.poll() is None and is_alive(found[victim]) and not (place / END).exists()
        if is_running and counts["kills"] < times:
            os.kill(found[victim], signal.SIGKILL)
            since = time.monotonic()
            output = finish(job)
            took = time.monotonic() - since
            if not (place / END).exists():  # else it was killed while it ended
                assert job.returncode != 0, output
            assert took < DEADLINE, f"{took:.1f} s"
            time.sleep(0.1)
            left = [process for process in found.values() if is_alive(process)]
            assert not left, f"processes {left} are left"
            counts["kills"] += 1
            counts["slowest"] = max(counts["slowest"], took)
        else:
            output = finish(job)
            assert job.returncode == 0, output
        if (place / FILE).exists():
            held = training_state.read_training(place / FILE)  # raises if it is not whole
            done = held.training["epoch"] / EPOCHS
            counts["whole"] += 1
        if (place / END).exists():
            ended = end_of(place)
            assert ended.keys() == expected.keys()
            for name, array in expected.items():
                assert np.array_equal(array, ended[name]), f"{name} differs"
            counts["ended"] += 1
            done = 0.0
            for path in place.iterdir():
                path.unlink()
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=20, help="kills to make")
    parser.add_argument("--processes", type=int, default=2, help="processes of the training")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.train is not None:
        train(chosen.train)
        return
    with tempfile.TemporaryDirectory() as folder:
        counts = run(Path(folder), chosen.times, chosen.processes, chosen.seed, environment())
    print(
        f"{counts['kills']} kills, each job ended within {counts['slowest']:.1f} s; "
        f"{counts['whole']} files were whole, {counts['ended']} trainings ended bit for bit as "
        "the undisturbed one"
    )


if __name__ == "__main__":
    main()
