"""Time of training in two processes, one thread each, against one process with two threads.

    python benchmarks/distributed_speed.py
    python benchmarks/distributed_speed.py --networks resnet20 --rounds 5 --no-torch
    python benchmarks/distributed_speed.py --reduction
    python benchmarks/distributed_speed.py --share

Measured are epochs of `fit` on random images, batch 128, data included; with PyTorch its
DistributedDataParallel (gloo) in two processes, on the same slices. Its batch normalisation takes
the statistics of each process's own rows, as nn's does in the variant "own rows". Each process is
bound to a core (`mpiexec -bind-to core`, of MPICH). The variants take turns, and the median of the
rounds counts. `--reduction` times the sum of 0.5 and 8 million numbers by nn and by `Allreduce` of
mpi4py. `--share` times the sum within a step, from the moment at which the last process has its
gradients: no more could be saved by summing while the backward pass still runs.
"""

import argparse
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

BATCH, PROCESSES = 128, 2
SIZES = (500_000, 8_000_000)
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
VARIANTS = {
    "nn, 1 process, 2 threads": ("nn", 1),
    "nn, 2 processes": ("nn", PROCESSES),
    "nn, 2 processes, own rows": ("nn-own-rows", PROCESSES),
    "PyTorch DDP, 2 processes": ("torch", PROCESSES),
}


def data(network, steps):
    from networks import as_network

    rng = np.random.default_rng(0)
    x = rng.random((BATCH * steps, *as_network(network).shape), dtype=np.float32)
    return x, rng.integers(0, 10, len(x))


def time_nn(network, steps, epochs, sync_batch_norm=True):
    """Return the seconds of a step in each epoch but the first."""
    from networks import make_nn

    import nn

    team = nn.distributed.MPI(sync_batch_norm=sync_batch_norm)
    model = make_nn(network, metrics=["accuracy"])
    model.distributed = team
    x, y = data(network, steps)
    timer = nn.callbacks.Timer()
    options = {"batch_size": BATCH, "verbose": 0, "callbacks": [timer]}
    history = model.fit(x, y, epochs=epochs + 1, **options)
    return team.rank, [seconds / steps for seconds in history["seconds"][1:]]


def time_share(network, steps, epochs):
    """Return the median seconds of a step and of its sum of gradients, without the waiting."""
    from networks import make_nn

    import nn

    team, sums = nn.distributed.MPI(), []
    add = team.add

    def timed(buffer, header):
        team.exchange(np.zeros(1))  # until the other has its gradients
        start = time.perf_counter()
        headers = add(buffer, header)
        sums.append(time.perf_counter() - start)
        return headers

    team.add = timed
    model = make_nn(network, metrics=["accuracy"])
    model.distributed = team
    begins = []
    note = nn.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: begins.append(time.perf_counter())
    )
    x, y = data(network, steps)
    model.fit(x, y, batch_size=BATCH, epochs=epochs + 1, verbose=0, callbacks=[note])
    taken = np.diff(begins).reshape(-1)[steps:]
    return team.rank, [statistics.median(taken), statistics.median(sums[steps:])]


def time_torch(network, steps, epochs):
    """Return the same of PyTorch: each process trains on its half of the batches."""
    import torch
    from mpi4py import MPI
    from networks import make_torch, make_torch_optimizer

    comm = MPI.COMM_WORLD
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(comm.bcast(_port()))}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=comm.rank, world_size=comm.size)
    model = torch.nn.parallel.DistributedDataParallel(make_torch(network))
    optimizer = make_torch_optimizer(network, model.parameters())
    criterion, found = torch.nn.CrossEntropyLoss(), []
    x, y = (torch.from_numpy(array) for array in data(network, steps))
    own = BATCH // comm.size
    for _ in range(epochs + 1):
        start, order = time.perf_counter(), torch.randperm(len(x))
        right = 0
        for k in range(comm.rank * own, len(x), BATCH):
            rows = order[k : k + own]
            optimizer.zero_grad()
            outputs = model(x[rows])
            loss = criterion(outputs, y[rows])
            loss.backward()
            optimizer.step()
            right += int((outputs.argmax(1) == y[rows]).sum())
            loss.item()
        found.append((time.perf_counter() - start) / steps)
    torch.distributed.destroy_process_group()
    return comm.rank, found[1:]


def _port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def time_reductions(repeats=40):
    """Return the median milliseconds of both sums for each size."""
    from mpi4py import MPI

    import nn

    team, comm, found = nn.distributed.MPI(), MPI.COMM_WORLD, {}
    for size in SIZES:
        buffer = team.buffer(size, np.zeros(1, np.float32))
        header = np.zeros(16)
        sums = {
            "nn": lambda buffer=buffer, header=header: team.add(buffer, header),
            "Allreduce of mpi4py": lambda buffer=buffer: comm.Allreduce(MPI.IN_PLACE, buffer),
        }
        times = {name: [] for name in sums}
        for _ in range(repeats):
            for name, run in sums.items():
                comm.Barrier()
                start = time.perf_counter()
                run()
                times[name].append(max(comm.allgather(time.perf_counter() - start)))
                buffer[...] = 1
        found[size] = {name: statistics.median(t) * 1e3 for name, t in times.items()}
    return team.rank, found


def run(task, processes, threads):
    """Run this script in so many processes; return what rank 0 has measured."""
    numbers = {name: str(threads) for name in THREADS}
    command = [sys.executable, __file__, "--task", json.dumps(task)]
    if processes > 1:
        mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec"
        command = [mpiexec, "-bind-to", "core", "-n", str(processes), *command]
    done = subprocess.run(
        command, env={**os.environ, **numbers}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def work(task):
    kind = task.pop("kind")
    own_rows = functools.partial(time_nn, sync_batch_norm=False)
    measures = {"nn": time_nn, "nn-own-rows": own_rows, "torch": time_torch, "share": time_share}
    rank, found = {**measures, "sums": time_reductions}[kind](**task)
    if rank == 0:
        print(json.dumps(found))


def print_shares(chosen):
    """Print for each network which share of a step its sum takes, in each round."""
    for network in chosen.networks:
        task = {"kind": "share", "network": network, "steps": chosen.steps}
        task["epochs"] = chosen.epochs
        rounds = [run({**task}, PROCESSES, 1) for _ in range(chosen.rounds)]
        for step, total in rounds:
            print(
                f"{network}, a step of {BATCH}: {step * 1e3:.1f} ms, of which the sum takes "
                f"{total * 1e3:.2f} ms, {total / step:.2%}"
            )


def print_head():
    from workers import processor

    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{processor()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}; load {load}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["vgg6", "resnet20"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="batches of an epoch")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--reduction", action="store_true", help="time sums alone")
    parser.add_argument("--share", action="store_true", help="time the sum within a step")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.task:
        work(json.loads(chosen.task))
        return
    print_head()
    if chosen.reduction:
        for size, times in run({"kind": "sums"}, PROCESSES, 1).items():
            print(f"{int(size):,} numbers of float32: " + _listed(times, "ms"))
            print(f"    nn takes {times['nn'] / times['Allreduce of mpi4py']:.2f} of its time")
        return
    if chosen.share:
        print_shares(chosen)
        return
    for network in chosen.networks:
        times = {name: [] for name in VARIANTS if not (chosen.no_torch and "PyTorch" in name)}
        for _ in range(chosen.rounds):
            for name, found in times.items():
                kind, processes = VARIANTS[name]
                task = {"kind": kind, "network": network, "steps": chosen.steps}
                task["epochs"] = chosen.epochs
                found.append(statistics.median(run(task, processes, PROCESSES // processes)))
        medians = {name: statistics.median(found) * 1e3 for name, found in times.items()}
        print(f"{network}, a step of {BATCH}: " + _listed(medians, "ms"))
        one, two, own_rows, *torch = medians.values()
        print(f"    two processes {one / two:.2f} times as fast as one")
        for ddp in torch:
            print(f"    nn {ddp / two:.2f} times as fast as PyTorch DDP, ", end="")
            print(f"{ddp / own_rows:.2f} times with the statistics of own rows")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"load at the end {load}")


def _listed(values, unit):
    return ", ".join(f"{name} {value:.2f} {unit}" for name, value in values.items())


if __name__ == "__main__":
    main()
