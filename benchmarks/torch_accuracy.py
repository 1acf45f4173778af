"""Test accuracy of PyTorch with the networks and the recipes of nn's examples.

It answers one question: does nn learn as well as PyTorch does from the same data in the same
number of epochs? Needs torch (a CPU build will do), which nn itself never does.

    python -m nn.data mnist && python -m nn.data cifar10
    python benchmarks/torch_accuracy.py --data-dir mnist_dataset
    python benchmarks/torch_accuracy.py --data-dir mnist_dataset --small --epochs 8
    python benchmarks/torch_accuracy.py --network vgg6 --data-dir cifar10_dataset
    python benchmarks/torch_accuracy.py --network airbench --target 94 --data-dir cifar10_dataset
    python benchmarks/torch_accuracy.py --network mnist-fast --data-dir mnist_dataset
    python benchmarks/torch_accuracy.py --network airbench --steps 20    # the speed alone

MNIST, as in examples/mnist_train.py: Adam, inputs in [0, 1], cross-entropy; 10% of the training
digits, as many of each class, kept for validation; no gain of validation accuracy in 3 epochs
halves the learning rate (down to 1e-6), none in 5 ends training; the weights of the best epoch are
tested. Initial weights are PyTorch's own (`torch.nn`'s defaults).

CIFAR-10, as in examples/cifar10_train.py, whose recipes it reads: the images held out for
validation are those of the example with the same seed, batches and augmentation come from nn's
`Dataset.batches`, learning rates for each step from `nn.schedules`, initial weights are drawn by
nn's rules (He-normal, the last layer Glorot-uniform), weight decay is for weights alone. Network,
optimizer and arithmetic are PyTorch's; its SGD keeps the learning rate outside the velocity.

The fast recipes (`airbench`, `mnist-fast`), as in examples/airbench.py and `mnist_train.py --fast`:
all training images, initial weights and batches of nn's model of the same seed; see
`torch_recipes.py`. The learning rate is outside the velocity.

Memory is channels-last, PyTorch's faster layout, unless `--contiguous` is given. With `--steps` the
training stops after so many, and the time of all is extrapolated: an accuracy is not measured then.
"""

import argparse
import copy
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch_fast
from networks import make_torch
from torch import nn

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))

import airbench
import cifar10_train
import fast_training

from nn.data import load_cifar10, load_mnist_gz
from nn.optim import schedules

LR_PATIENCE, LR_FACTOR, LR_MIN, STOP_PATIENCE = 3, 0.5, 1e-6, 5
PARAMETERS = {
    "default": 34_826,
    "small": 52_138,
    "cifar": 549_418,
    "vgg6": 551_466,
    "resnet20": 272_474,
}


# ------------------------------------------------------------------------------------ MNIST


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


def train_mnist_epoch(network, optimizer, x, y, batch_size, memory):
    """Train on every row once, in a new order."""
    network.train()
    loss_function = nn.CrossEntropyLoss()
    order = torch.randperm(len(x))
    for start in range(0, len(x), batch_size):
        rows = order[start : start + batch_size]
        optimizer.zero_grad()
        prediction = network(x[rows].to(memory_format=memory))
        loss_function(prediction, y[rows]).backward()
        optimizer.step()


def train_mnist(network, train_set, seed, epochs, batch_size, lr, memory):
    """Train by the recipe above, put the best weights back, return epochs run and val. accuracy."""
    x, y = train_set
    rows, val_rows = stratified_split(y.numpy(), 0.1, np.random.default_rng(seed))
    x_val, y_val = x[val_rows], y[val_rows]
    x, y = x[rows], y[rows]
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    best, best_weights, since_best, since_lower = -1.0, None, 0, 0
    for epoch in range(1, epochs + 1):
        train_mnist_epoch(network, optimizer, x, y, batch_size, memory)
        val_accuracy = accuracy(network, x_val, y_val, memory)
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


# ---------------------------------------------------------------------------------- CIFAR-10


class ResidualBlock(nn.Module):
    """Two convolutions around which a shortcut leads, as in nn.zoo.resnet20."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(filters),
        )
        self.shortcut = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)
            )

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet20():
    """Three stages of three residual blocks: 272,474 parameters."""
    layers = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    channels = 16
    for filters, first_stride in ((16, 1), (32, 2), (64, 2)):
        for stride in (first_stride, 1, 1):
            layers.append(ResidualBlock(channels, filters, stride))
            channels = filters
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*layers)


def initialise_as_nn(network):
    """Draw the weights by the rules of nn: He-normal, the last layer Glorot-uniform, biases 0."""
    weighted = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for module in weighted:
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    nn.init.xavier_uniform_(weighted[-1].weight)


def make_optimizer(network, recipe):
    """Return the recipe's optimizer, with weight decay for arrays of two or more axes."""
    groups = [
        {"params": [p for p in network.parameters() if p.ndim >= 2]},
        {"params": [p for p in network.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    common = {"lr": recipe["lr"], "weight_decay": recipe["weight_decay"]}
    if recipe["optimizer"] == "sgd":
        return torch.optim.SGD(groups, **common, **cifar10_train.MOMENTUM["sgd"])
    return torch.optim.Adam(groups, **common)


def make_schedule(recipe, steps):
    """Return the function step -> learning rate that `Model.fit` makes of the recipe."""
    total = recipe["epochs"] * steps
    if recipe["schedule"] == "one_cycle":
        return schedules.one_cycle(recipe["lr"], total)
    return schedules.cosine(recipe["lr"], total, lr_min=1e-6)  # the default of fit


def train_cifar(network, train, val, recipe, seed, memory, stop=None, curve=None):
    """Train by an example's recipe, put the best weights back, return epochs and val. accuracy.

    With `stop`, end after so many steps; into `curve` go loss, validation accuracy and time.
    """
    optimizer, loss_function = make_optimizer(network, recipe), nn.CrossEntropyLoss()
    rate = make_schedule(recipe, steps=-(-len(train) // recipe["batch_size"]))
    augment = cifar10_train.AUGMENT if recipe["augment"] else None
    rng, step = np.random.default_rng([seed, 1]), 0
    x_val, y_val = map(torch.from_numpy, val.arrays())
    best, best_weights, began = -1.0, None, time.perf_counter()
    for epoch in range(1, recipe["epochs"] + 1):
        network.train()
        start, total = time.perf_counter(), 0.0
        for x, y in train.batches(recipe["batch_size"], rng=rng, augment=augment):
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            optimizer.zero_grad()
            prediction = network(torch.from_numpy(x).to(memory_format=memory))
            loss = loss_function(prediction, torch.from_numpy(y))
            loss.backward()
            optimizer.step()
            total, step = total + loss.item() * len(x), step + 1
            if step == stop:
                return epoch, float("nan")
        speed = len(train) / (time.perf_counter() - start)
        val_accuracy = accuracy(network, x_val, y_val, memory)
        if val_accuracy > best:
            best, best_weights = val_accuracy, copy.deepcopy(network.state_dict())
        if curve is not None:
            seconds = round(time.perf_counter() - began, 1)
            found = {"loss": total / len(train), "val_acc": val_accuracy, "seconds": seconds}
            for name, value in found.items():
                curve.setdefault(name, []).append(float(f"{value:.5g}"))
        print(
            f"  epoch {epoch:2d}  loss {total / len(train):.4f}  val_acc {val_accuracy:.4f}  "
            f"{speed:,.0f} images/s",
            flush=True,
        )
    network.load_state_dict(best_weights)
    return recipe["epochs"], best


# ----------------------------------------------------------------------- networks and accuracy


@torch.inference_mode()
def accuracy(network, x, y, memory):
    """Return the share of right answers."""
    network.eval()
    right = 0
    for start in range(0, len(x), 1000):
        part = slice(start, start + 1000)
        batch = x[part].to(memory_format=memory)
        right += (network(batch).argmax(1) == y[part]).sum().item()
    return right / len(x)


def make_network(name):
    """Return a new network, with the weights that PyTorch gives it."""
    makers = {"default": default_network, "small": small_network, "resnet20": resnet20}
    return makers[name]() if name in makers else make_torch(name)


# --------------------------------------------------------------------------------- the script


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    networks = ["mnist", *cifar10_train.RECIPES, *torch_fast.FAST]
    parser.add_argument("--network", choices=networks, default="mnist")
    parser.add_argument("--small", action="store_true", help="the small network for MNIST")
    parser.add_argument("--target", type=int, choices=airbench.EPOCHS, default=94)
    parser.add_argument("--muon", action="store_true", help="the recipe of airbench_muon.py")
    parser.add_argument("--data-dir", help="folder of MNIST's four .gz files, or of CIFAR-10")
    parser.add_argument("--epochs", type=cifar10_train.number, help="else those of the recipe")
    parser.add_argument("--steps", type=int, help="stop after these and extrapolate the time")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch-size", type=int, help="by default 64, or the recipe's")
    parser.add_argument("--lr", type=float, help="by default 1e-3, or the recipe's")
    parser.add_argument("--contiguous", action="store_true", help="PyTorch's default layout")
    parser.add_argument("--log", metavar="FILE", help="append the results as lines of JSON")
    options = parser.parse_args()
    if options.small and options.network != "mnist":
        parser.error("--small goes with --network mnist")
    if options.network in torch_fast.FAST and options.lr is not None:
        parser.error(f"--lr is fixed in the recipe of {options.network}")
    if options.muon and options.network != "airbench":
        parser.error("--muon needs --network airbench")
    if options.steps and (options.network in ("mnist", "mnist-fast") or options.muon):
        parser.error("--steps needs a CIFAR-10 network whose images are of one size: not --muon")
    if options.network != "airbench" and isinstance(options.epochs, float):
        parser.error("parts of epochs need --network airbench")
    return options


def make_trainer(options, memory, curve):
    """Return a function (network, seed) -> (epochs run, best validation accuracy), and test data.

    The test data are tensors (x, y).
    """
    given = {
        name: getattr(options, name)
        for name in ("epochs", "batch_size", "lr")
        if getattr(options, name) is not None
    }
    if options.network == "mnist":
        train_set, test_set = load_mnist(options.data_dir or "mnist_dataset")
        settings = {"epochs": 12, "batch_size": 64, "lr": 1e-3} | given

        def train(network, seed):
            return train_mnist(network, train_set, seed, **settings, memory=memory)

        return train, test_set
    recipe = cifar10_train.RECIPES[options.network] | given
    whole, test = load_cifar10(options.data_dir or "cifar10_dataset")
    print("Recipe:", ", ".join(f"{name} {value}" for name, value in recipe.items()))

    def train(network, seed):
        rng = np.random.default_rng(seed)
        train, val = whole.split(cifar10_train.VALIDATION_SHARE, rng=rng)
        return train_cifar(network, train, val, recipe, seed, memory, options.steps, curve)

    return train, tuple(map(torch.from_numpy, test.arrays()))


def main():
    started = time.perf_counter()
    options = parse_arguments()
    memory = torch.contiguous_format if options.contiguous else torch.channels_last
    if options.network in torch_fast.FAST:
        torch_fast.main(options, memory, started)
        return
    name = options.network
    if name == "mnist":
        name = "small" if options.small else "default"
    curve = {}
    train, test_set = make_trainer(options, memory, curve)
    parameters = sum(p.numel() for p in make_network(name).parameters())
    if parameters != PARAMETERS[name]:
        raise SystemExit(f"The network has {parameters:,} parameters, not {PARAMETERS[name]:,}.")
    print(
        f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}; "
        f"{name} network, {parameters:,} parameters"
    )

    results = []
    for seed in options.seeds:
        torch.manual_seed(seed)
        network = make_network(name)
        torch.manual_seed(seed)  # networks.make_torch has set another
        if options.network != "mnist":
            initialise_as_nn(network)
        network = network.to(memory_format=memory)
        curve.clear()
        start = time.perf_counter()
        epochs, val_accuracy = train(network, seed)
        seconds = time.perf_counter() - start
        if options.steps:
            print(f"seed {seed}: {options.steps} steps in {seconds:.1f} s", flush=True)
            continue
        results.append(accuracy(network, *test_set, memory))
        print(
            f"seed {seed}: test accuracy {results[-1]:.4f}, best validation accuracy "
            f"{val_accuracy:.4f}, {epochs} epochs, {seconds:.0f} s",
            flush=True,
        )
        facts = {"seed": seed, "epochs": epochs, "accuracy": results[-1]}
        facts |= {"validation_accuracy": val_accuracy, "seconds": {"training": round(seconds, 1)}}
        facts |= {"layout": "contiguous" if options.contiguous else "channels-last"}
        fast_training.write_log(options.log, facts | {"curve": dict(curve)}, started)
        started = time.perf_counter()
    if results:
        print(
            f"median test accuracy of {len(results)} seeds: {statistics.median(results):.4f} "
            f"(lowest {min(results):.4f}, highest {max(results):.4f})"
        )


if __name__ == "__main__":
    main()
