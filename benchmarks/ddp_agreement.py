"""Compare a training in two processes with PyTorch's DistributedDataParallel, in float64.

    mpiexec -n 2 python -m mpi4py benchmarks/ddp_agreement.py

nn.distributed.MPI and DistributedDataParallel (gloo) begin with the same weights and train on the
same slices of the same batches. Weights and losses must agree to 1e-12. PyTorch has no synchronised
batch normalisation on the CPU: a network with it is compared with one process of PyTorch that has
the whole batches.
"""

import os
import socket
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn as tnn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import nn

STEPS, BATCH, TOLERANCE = 30, 12, 1e-12


def layers(name):
    """Return the layers of a network in nn and in PyTorch."""
    if name == "dense":
        ours = [nn.Flatten(), nn.Dense(16), nn.Tanh(), nn.Dense(4)]
        theirs = [tnn.Flatten(), tnn.Linear(128, 16), tnn.Tanh(), tnn.Linear(16, 4)]
        return ours, theirs
    with_norm = name == "batch norm"  # after which a bias is noise, and Adam makes noise large
    ours = [
        nn.Conv2D(6, use_bias=not with_norm),
        *[nn.BatchNorm2D()] * with_norm,
        nn.ReLU(),
        nn.MaxPool2D(),
    ]
    theirs = [
        tnn.Conv2d(2, 6, 3, padding="same", bias=not with_norm),
        *[tnn.BatchNorm2d(6)] * with_norm,
    ]
    theirs += [tnn.ReLU(), tnn.MaxPool2d(2), tnn.Flatten(), tnn.Linear(96, 4)]
    return [*ours, nn.Flatten(), nn.Dense(4)], theirs


OPTIMIZERS = {
    "sgdmomentum": ({"lr": 0.05, "momentum": 0.9}, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    "adamw": (
        {"lr": 0.003, "weight_decay": 0.01},
        torch.optim.AdamW,
        {"lr": 0.003, "weight_decay": 0.01},
    ),
}


def copy_weights(model, twin):
    """Give PyTorch's layers the weights of nn's."""
    weighted = [layer for layer in model.layers if layer.params]
    others = [module for module in twin if list(module.parameters())]
    for layer, module in zip(weighted, others, strict=True):
        for (key, values), target in zip(layer.params.items(), module.parameters(), strict=True):
            array = values.T if isinstance(layer, nn.Dense) and key == "W" else values
            target.data = torch.from_numpy(np.array(array))


def largest_difference(model, twin):
    weighted = [layer for layer in model.layers if layer.params]
    others = [module for module in twin if list(module.parameters())]
    worst = 0.0
    for layer, module in zip(weighted, others, strict=True):
        for (key, values), target in zip(layer.params.items(), module.parameters(), strict=True):
            array = values.T if isinstance(layer, nn.Dense) and key == "W" else values
            worst = max(worst, float(abs(array - target.detach().numpy()).max()))
    return worst


def compare(team, network, optimizer):
    """Return the largest differences of the weights, and of the losses."""
    ours, theirs = layers(network)
    arguments, kind, their_arguments = OPTIMIZERS[optimizer]
    model = nn.Model(ours, dtype="float64", seed=0)
    model.compile("cce", optimizer, distributed=team, metrics=[], **arguments)
    model.build((None, 2, 8, 8))
    twin = tnn.Sequential(*theirs).double()
    copy_weights(model, twin)
    is_whole = network == "batch norm"
    trained = twin if is_whole else tnn.parallel.DistributedDataParallel(twin)
    if optimizer == "adamw":  # nn decays weights alone, PyTorch all parameters of a group
        weights = [p for p in trained.parameters() if p.ndim > 1]
        biases = [p for p in trained.parameters() if p.ndim == 1]
        groups = [{"params": weights}, {"params": biases, "weight_decay": 0.0}]
        their_optimizer = kind(groups, **their_arguments)
    else:
        their_optimizer = kind(trained.parameters(), **their_arguments)
    rng, of_losses = np.random.default_rng(1), 0.0
    half = BATCH // 2
    own = slice(None) if is_whole else slice(team.rank * half, (team.rank + 1) * half)
    for _ in range(STEPS):
        x, y = rng.normal(size=(BATCH, 2, 8, 8)), rng.integers(0, 4, BATCH)
        our_loss = model.train_step(x, y)["loss"]
        their_optimizer.zero_grad()
        outputs = trained(torch.from_numpy(x[own]))
        loss = tnn.functional.cross_entropy(outputs, torch.from_numpy(y[own]))
        loss.backward()
        their_optimizer.step()
        their_loss = np.mean(team.gather(loss.item()))
        of_losses = max(of_losses, abs(our_loss - their_loss))
    return largest_difference(model, twin), of_losses


def main():
    team = nn.distributed.MPI()
    if team.size != 2:
        raise SystemExit("start it by: mpiexec -n 2 python -m mpi4py benchmarks/ddp_agreement.py")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = team.broadcast(probe.getsockname()[1])
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=team.rank, world_size=2)
    failed = False
    for network in ("dense", "convolution", "batch norm"):
        for optimizer in OPTIMIZERS:
            weights, losses = compare(team, network, optimizer)
            failed |= not max(weights, losses) <= TOLERANCE
            if team.rank == 0:
                other = "one process" if network == "batch norm" else "DDP"
                print(
                    f"{network:12} {optimizer:12} against {other:12} weights {weights:.1e}, "
                    f"losses {losses:.1e} after {STEPS} steps"
                )
    torch.distributed.destroy_process_group()
    if team.rank == 0:
        print(f"PyTorch {torch.__version__}: " + ("they differ" if failed else "all agree"))
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
