"""Training and testing by the fast recipes with PyTorch, for `torch_accuracy.py`."""

import platform
import sys
import time
from pathlib import Path

import torch
import torch_recipes

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))

import airbench
import airbench_muon
import fast_training
import mnist_train

from nn.data import load_cifar10, load_mnist_gz

# network -> PyTorch's, the copies at the test, and the folder of the data
FAST = {
    "airbench": (torch_recipes.airbench_network, airbench.COPIES, "cifar10_dataset"),
    "mnist-fast": (torch_recipes.mnist_network, {"shifts": 1}, "mnist_dataset"),
}


def prepare_fast(options, seed, train):
    """Return nn's model of the seed, batch size, steps and epochs of a fast recipe."""
    if options.network == "airbench":
        recipe = airbench_muon if options.muon else airbench
        batch_size = options.batch_size or recipe.BATCH_SIZE
        epochs = options.epochs or recipe.EPOCHS[options.target]
        steps = recipe.total_steps(epochs, batch_size, len(train))
        return airbench.make_network(train, seed), batch_size, steps, epochs
    batch_size = options.batch_size or mnist_train.FAST["batch_size"]
    epochs = int(options.epochs or mnist_train.FAST["epochs"])
    model = mnist_train.fast_network(seed)
    return model, batch_size, epochs * -(-len(train) // batch_size), epochs


def run_fast(options, seed, memory):
    """Train by a fast recipe and test; return what a log says of the run."""
    make, copies, folder = FAST[options.network]
    load = load_cifar10 if options.network == "airbench" else load_mnist_gz
    train, test = load(options.data_dir or folder)
    model, batch_size, steps, epochs = prepare_fast(options, seed, train)
    network = make()
    torch_recipes.copy_weights(model, network)
    network = network.to(memory_format=memory)
    if options.muon:
        recipe = torch_recipes.MuonAirbench(network, steps, batch_size, len(train))
    elif options.network == "airbench":
        recipe = torch_recipes.Airbench(network, steps, batch_size)
    else:
        recipe = torch_recipes.FastMnist(network, steps, epochs)
    started = time.perf_counter()
    curve, parts, images = torch_recipes.train(
        recipe, train, batch_size, steps, model.generators[1], memory, options.steps
    )
    seconds = time.perf_counter() - started
    facts = {"seed": seed, "steps": steps, "batch_size": batch_size, "epochs": epochs}
    facts |= {"layout": "contiguous" if options.contiguous else "channels-last"}
    if options.steps:
        total = seconds * steps / options.steps
        facts |= {"measured_steps": options.steps, "extrapolated_seconds": round(total, 1)}
    else:
        x, y = map(torch.from_numpy, test.arrays())
        started = time.perf_counter()
        for name, is_flipped, shifts in (
            ("accuracy", False, 0),
            ("accuracy_with_copies", "augment" in copies, copies["shifts"]),
        ):
            output = torch_recipes.outputs(network, x, memory, is_flipped, shifts)
            facts[name] = (output.argmax(1) == y).float().mean().item()
        parts["evaluation"] = time.perf_counter() - started
    rounded = {part: round(spent, 1) for part, spent in parts.items()}
    return facts | {
        "images": images,
        "images_per_second": round(images / seconds, 1),
        "seconds": {"training": round(seconds, 1), **rounded},
        "curve": curve,
    }


def main(options, memory, started):
    """Train by a fast recipe with each seed and print the results."""
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}")
    found = []
    for seed in options.seeds:
        facts = run_fast(options, seed, memory)
        if options.steps:
            print(
                f"seed {seed}: {facts['images_per_second']:,.0f} images/s in {options.steps} of "
                f"{facts['steps']} steps, all would take {facts['extrapolated_seconds']:,.0f} s "
                "(extrapolated)"
            )
        else:
            print(
                f"seed {seed}: test accuracy {facts['accuracy']:.2%}, with copies "
                f"{facts['accuracy_with_copies']:.2%}; {facts['seconds']['training']:.0f} s, "
                f"{facts['images_per_second']:,.0f} images/s",
                flush=True,
            )
            found.append(facts)
        fast_training.write_log(options.log, facts, started)
        started = time.perf_counter()
    if found:
        fast_training.print_spread("Test accuracy", [k["accuracy"] for k in found])
        fast_training.print_spread("With copies", [k["accuracy_with_copies"] for k in found])
