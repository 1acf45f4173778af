"""Test accuracy of PyTorch on MNIST, with the networks and the recipe of examples/mnist_train.py.

It answers one question: does nn learn as well as PyTorch does from the same data in the same
number of epochs? Needs torch (a CPU build will do), which nn itself never does.

    python -m nn.data mnist  # downloads the digits
    python benchmarks/torch_accuracy.py
    python benchmarks/torch_accuracy.py --small --epochs 8

The recipe: Adam, inputs in [0, 1], cross-entropy; 10% of the training digits, as many of each
class, kept for validation; no gain of validation accuracy in 3 epochs halves the learning rate
(down to 1e-6), none in 5 ends training; the weights of the best epoch are tested. Initial weights
are PyTorch's own (`torch.nn`'s defaults), and memory is channels-last, its faster layout.
"""

import argparse
import copy
import platform
import statistics
import time

import numpy as np
import torch
from torch import nn

from nn.data import load_mnist_gz

LR_PATIENCE, LR_FACTOR, LR_MIN, STOP_PATIENCE = 3, 0.5, 1e-6, 5


def load_mnist(folder):
    """Return (x, y) for training and for test: tensors (N, 1, 28, 28) in [0, 1] and (N,)."""
    arrays = [dataset.arrays() for dataset in load_mnist_gz(folder)]
    return [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in arrays]


def default_network():
    """Two valid 3x3 convolutions, dropout and one dense layer: 34,826 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(64 * 5 * 5, 10),
    )


def small_network():
    """Two padded 3x3 convolutions and two dense layers: 52,138 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def stratified_split(y, fraction, rng):
    """Return the indices to train on and to validate on, `fraction` of each class in the latter."""
    held_out = []
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        held_out.append(rows[: round(fraction * len(rows))])
    held_out = np.concatenate(held_out)
    return np.setdiff1d(np.arange(len(y)), held_out), held_out


@torch.inference_mode()
def accuracy(network, x, y):
    """Return the share of right answers."""
    network.eval()
    right = 0
    for start in range(0, len(x), 1000):
        part = slice(start, start + 1000)
        batch = x[part].to(memory_format=torch.channels_last)
        right += (network(batch).argmax(1) == y[part]).sum().item()
    return right / len(x)


def train_epoch(network, optimizer, x, y, batch_size):
    """Train on every row once, in a new order."""
    network.train()
    loss_function = nn.CrossEntropyLoss()
    order = torch.randperm(len(x))
    for start in range(0, len(x), batch_size):
        rows = order[start : start + batch_size]
        optimizer.zero_grad()
        prediction = network(x[rows].to(memory_format=torch.channels_last))
        loss_function(prediction, y[rows]).backward()
        optimizer.step()


def train(network, train_set, seed, epochs, batch_size, lr):
    """Train by the recipe above, put the best weights back, return epochs run and val. accuracy."""
    x, y = train_set
    rows, val_rows = stratified_split(y.numpy(), 0.1, np.random.default_rng(seed))
    x_val, y_val = x[val_rows], y[val_rows]
    x, y = x[rows], y[rows]
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    best, best_weights, since_best, since_lower = -1.0, None, 0, 0
    for epoch in range(1, epochs + 1):
        train_epoch(network, optimizer, x, y, batch_size)
        val_accuracy = accuracy(network, x_val, y_val)
        if val_accuracy > best:
            best, best_weights = val_accuracy, copy.deepcopy(network.state_dict())
            since_best = since_lower = 0
        else:
            since_best, since_lower = since_best + 1, since_lower + 1
        rate = optimizer.param_groups[0]["lr"]
        print(f"  epoch {epoch:2d}  val_acc {val_accuracy:.4f}  lr {rate:.1e}", flush=True)
        if since_best >= STOP_PATIENCE:
            break
        if since_lower >= LR_PATIENCE:
            optimizer.param_groups[0]["lr"] = max(rate * LR_FACTOR, LR_MIN)
            since_lower = 0
    network.load_state_dict(best_weights)
    return epoch, best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data-dir", default="mnist_dataset", help="folder of the full MNIST's four .gz files"
    )
    parser.add_argument("--small", action="store_true", help="the small network")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    args = parser.parse_args()

    train_set, test_set = load_mnist(args.data_dir)
    make_network = small_network if args.small else default_network
    expected = 52_138 if args.small else 34_826
    parameters = sum(p.numel() for p in make_network().parameters())
    if parameters != expected:
        raise SystemExit(f"The network has {parameters:,} parameters, expected {expected:,}.")
    print(
        f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}; "
        f"{'small' if args.small else 'default'} network, {parameters:,} parameters"
    )

    results = []
    for seed in args.seeds:
        torch.manual_seed(seed)
        network = make_network().to(memory_format=torch.channels_last)
        start = time.perf_counter()
        epochs, val_accuracy = train(
            network, train_set, seed, args.epochs, args.batch_size, args.lr
        )
        seconds = time.perf_counter() - start
        results.append(accuracy(network, *test_set))
        print(
            f"seed {seed}: test accuracy {results[-1]:.4f}, best validation accuracy "
            f"{val_accuracy:.4f}, {epochs} epochs, {seconds:.0f} s",
            flush=True,
        )
    print(
        f"median test accuracy of {len(results)} seeds: {statistics.median(results):.4f} "
        f"(lowest {min(results):.4f}, highest {max(results):.4f})"
    )


if __name__ == "__main__":
    main()
