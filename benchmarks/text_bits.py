"""Bits a character of a novel: an LSTM and a transformer, each trained by nn and by PyTorch.

    python benchmarks/text_bits.py moby_dick.txt.gz --python-torch TORCH_PYTHON
    python benchmarks/text_bits.py moby_dick.txt.gz --models lstm --epochs 8 --json bits.json

The LSTM has 354,705 parameters and the transformer 360,945, for 81 characters. Both predict each
character from those before it in a window. The last tenth of the text is the test: its bits a
character are the mean of -log2 of the probability of what came.

Both libraries get the same initial weights, which nn draws, the same windows in the same order, and
the same learning rate in each step: Adam with `one_cycle`, gradients clipped to a norm of 1. This
script writes all of it to a file, which each process reads. Row 0 of a table, before training,
shows that both have the same function; what differs later began as rounding. For the 1.2 million
characters of "Moby Dick" the four trainings take some 12 minutes on two cores.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from networks import Network, make_nn, make_torch
from workers import describe, print_machine, print_table, run_worker, serve, write_json

MODELS = {
    "lstm": "embed64 lstm256 dense{ids}",
    "transformer": "embed96 pos{length} block4 block4 block4 ln dense{ids}",
}
VARIANTS = ("nn", "torch")
CLIP_NORM = 1.0


# ------------------------------------------------------------------------------- a process


def work(task):
    """Train one model in one library: bits a character after each epoch, a sample by nn."""
    with np.load(task["recipe"]) as file:
        recipe = dict(file)
    prepare = prepare_nn if task["variant"] == "nn" else prepare_torch
    train_step, mean_loss, sample = prepare(task, recipe)
    x, y = recipe["x"], recipe["y"]
    bits, seconds, step = [mean_loss() / np.log(2)], 0.0, 0
    for order in recipe["orders"]:
        start = time.perf_counter()
        for first in range(0, len(order), task["batch_size"]):
            rows = order[first : first + task["batch_size"]]
            train_step(x[rows], y[rows], float(recipe["rates"][step]))
            step += 1
        seconds += time.perf_counter() - start
        bits.append(mean_loss() / np.log(2))
    rate = x.size * len(recipe["orders"]) / seconds
    return {"bits": [float(b) for b in bits], "rate": rate, "sample": sample()}


def prepare_nn(task, recipe):
    """Return functions of nn's model: a step of training, the mean loss of the test, a sample."""
    import nn

    model = make_nn(task["network"], seed=task["seed"])
    for array, given in zip(model.get_arrays().values(), weights_of(recipe), strict=True):
        array[...] = given
    model.compile("cce", "adam", clip_norm=CLIP_NORM, metrics=())

    def train_step(x, y, rate):
        model.optimizer.lr = rate
        model.train_step(x, y)

    def mean_loss():
        return model.evaluate(recipe["x_test"], recipe["y_test"])["loss"]

    def sample():
        length = task["network"]["shape"][0]
        ids = nn.generate(model, task["start"], length - len(task["start"]), 0.7, seed=task["seed"])
        return np.asarray(ids).tolist()

    return train_step, mean_loss, sample


def prepare_torch(task, recipe):
    """Return functions of PyTorch's model, as `prepare_nn`; it draws no sample."""
    import torch
    from torch.nn.functional import cross_entropy

    model = make_torch(task["network"])
    with torch.no_grad():
        for (parameter, turned), given in zip(
            torch_parameters(model), weights_of(recipe), strict=True
        ):
            parameter.copy_(torch.from_numpy(given.T if turned else given))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters)

    def loss_of(x, y):
        logits = model(torch.from_numpy(x)).flatten(0, 1)  # (N, T, V) -> (N * T, V)
        return cross_entropy(logits, torch.from_numpy(y).flatten())

    def train_step(x, y, rate):
        model.train()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss_of(x, y).backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()

    def mean_loss():
        model.eval()
        x, y = recipe["x_test"], recipe["y_test"]
        with torch.inference_mode():
            losses = [loss_of(x[k : k + 32], y[k : k + 32]).item() for k in range(0, len(x), 32)]
        sizes = [len(x[k : k + 32]) for k in range(0, len(x), 32)]
        return np.average(losses, weights=sizes)

    return train_step, mean_loss, list


def weights_of(recipe):
    return [recipe[f"weight {k}"] for k in range(int(recipe["weights"]))]


def torch_parameters(model):
    """Yield (parameter, whether it is nn's transposed) in the order of nn's layers."""
    for module in model:
        if hasattr(module, "qkv"):  # a block of the transformer
            yield from in_order(module.ln1)
            (w, b), (w_out, b_out) = (in_order(part) for part in (module.qkv, module.out))
            yield from (w, w_out, b, b_out)
            module = [module.ln2, module.first, module.second]
        for part in module if isinstance(module, list) else [module]:
            yield from in_order(part)


def in_order(module):
    """Return such pairs for one module; the LSTM's second bias, which nn lacks, is not trained."""
    import torch

    turned = isinstance(module, torch.nn.Linear | torch.nn.LSTM)
    return [(parameter, turned) for parameter in module.parameters() if parameter.requires_grad]


# -------------------------------------------------------------------------------- the script


def write_recipe(path, network, windows, options):
    """Write what both libraries get: initial weights, windows, their order, learning rates."""
    import nn

    (x, y), (x_test, y_test) = windows
    rng = np.random.default_rng(options.seed)
    steps = options.epochs * -(-len(x) // options.batch_size)
    rate = nn.schedules.one_cycle(options.lr, steps)
    model = make_nn(network, seed=options.seed)
    weights = model.get_arrays().values()
    np.savez(
        path,
        x=x,
        y=y,
        x_test=x_test,
        y_test=y_test,
        orders=[rng.permutation(len(x)) for _ in range(options.epochs)],
        rates=[rate(step) for step in range(steps)],
        weights=len(weights),
        **{f"weight {k}": array for k, array in enumerate(weights)},
    )
    return model.count_params()


def compare(name, vocabulary, windows, options, folder):
    """Train a model in both libraries, print their tables, and return their results."""
    ids, length = len(vocabulary), options.length
    network = Network((length,), MODELS[name].format(ids=ids, length=length), "adam", ids=ids)
    recipe = Path(folder, f"{name}.npz")
    parameters = write_recipe(recipe, network, windows, options)
    print(f"{name}, {parameters:,} parameters: {network.layers}")
    task = {"recipe": str(recipe), "network": asdict(network), "seed": options.seed}
    task |= {"batch_size": options.batch_size, "start": vocabulary.encode("The ").tolist()}
    results = {}
    for variant in VARIANTS:
        python = options.python_torch if variant == "torch" else sys.executable
        result = run_worker(__file__, task | {"variant": variant}, python)
        if "missing" in result:
            print(f"{variant}: {result['missing']}")
        else:
            results[variant] = result | {"sample": vocabulary.decode(result["sample"])}
    print_results(results)
    return results


def print_results(results):
    """Print the bits after each epoch, and their difference, speeds, and the sample."""
    rows = np.array([result["bits"] for result in results.values()]).T
    header = ["epoch", *results]
    if len(results) == 2:
        header.append("difference")
        rows = np.column_stack((rows, rows[:, 0] - rows[:, 1]))
    print_table(header, [[k, *(f"{bits:.4f}" for bits in row)] for k, row in enumerate(rows)])
    for variant, result in results.items():
        print(f"{variant}: {result['rate']:,.0f} characters a second in training")
    print(f"\n{results['nn']['sample']}\n" if "nn" in results else "", flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", help="the text: .txt, or .txt.gz")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--python-torch", default=sys.executable, help="interpreter with PyTorch")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--length", type=int, default=100, help="characters in a window")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=4e-3, help="maximum learning rate of Adam")
    parser.add_argument("--characters", type=int, help="of the text that count; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.worker and options.file is None:
        parser.error("the file of the text is missing")
    return options


def main():
    options = parse_arguments()
    if options.worker:
        serve(work, options.worker)
        return
    before = set(os.environ)
    from nn.data.sequences import split_in_time, windows
    from nn.data.text import Vocabulary, read_text

    for name in set(os.environ) - before:  # numbers of threads, which nn sets for this process
        del os.environ[name]
    text = read_text(options.file)[: options.characters]
    vocabulary = Vocabulary.from_text(text, "character", padding=False, unknown=False)
    parts = split_in_time(vocabulary.encode(text), 0.1)
    print(f"{len(parts[0]):,} characters to train on, {len(parts[1]):,} to test on, {vocabulary}")
    cut = {"length": options.length, "stride": options.length, "targets": "shifted"}
    pairs = [windows(ids, **cut) for ids in parts]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            results[name] = compare(name, vocabulary, pairs, options, folder)
    machine = describe(next(iter(results.values())))
    print_machine(machine)
    write_json(options.json, {"machine": machine, "results": results})


if __name__ == "__main__":
    main()
