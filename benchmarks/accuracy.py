"""Test accuracy of the MNIST and CIFAR networks with both kinds of kernels, over several seeds.

    python -m nn.data mnist && python -m nn.data cifar10
    python benchmarks/accuracy.py --mnist mnist_dataset --cifar10 cifar10_dataset
    python benchmarks/accuracy.py --cifar10 cifar10_dataset --dtype float64 --lr 0.003 \
        --schedule cosine

MNIST: the network of compare.py, six epochs of batch 64, the learning rate falling to zero by a
cosine. CIFAR-10: network and recipe of examples/cifar10_train.py. The compiled kernels and the
readable ones (`nn-without-numba`) see the same starts and batches; their sums differ in the last
digits, and so training takes other ways to places that should be as good. The last column of the
table counts the test images that the second kind puts into another class than the first: some 10%
in float32, and by that chance alone two accuracies differ by 0.4 points. In float64, at a rate low
enough for training not to be chaotic, rounding stays as small as it began, and the two are one and
the same training. The compiled kernels use Winograd's algorithm in it too, as otherwise only in
float32.
"""

import argparse
import statistics
import sys
from pathlib import Path

from networks import make_nn
from workers import print_table, run_worker, serve, write_json

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))

EPOCHS = {"mnist": 6, "cifar": 12}
DATA = {"mnist": "mnist", "cifar": "cifar10"}  # the options with their folders


def work(task):
    if task["dtype"] == "float64" and task["variant"] == "nn":
        from nn.kernels.cpu.compiled import winograd

        winograd.DTYPES = ("float64",)  # so that it tests all that float32 runs
    train, test, model, recipe = {"mnist": mnist, "cifar": cifar}[task["network"]](task)
    model.fit(train, epochs=task["epochs"], verbose=0, **recipe)
    classes = model.predict_classes(test.x)
    return {"accuracy": 100 * float((classes == test.y).mean()), "classes": classes.tolist()}


def mnist(task):
    from nn.data import load_mnist_gz

    model = make_nn("mnist", seed=task["seed"], dtype=task["dtype"])
    return *load_mnist_gz(task["data"]), model, {"batch_size": 64, "lr_schedule": "cosine"}


def cifar(task):
    import cifar10_train

    from nn.data import load_cifar10

    options = cifar10_train.parse_arguments(["--model", "cifar", *task["options"]])
    recipe = cifar10_train.choose_recipe(options)
    model = make_nn("cifar", seed=task["seed"], dtype=task["dtype"])
    cifar10_train.compile_model(model, recipe)
    settings = {"batch_size": recipe["batch_size"], "lr_schedule": recipe["schedule"]}
    return *load_cifar10(task["data"], download=False), model, settings


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", metavar="FOLDER", help="left out where it is not given")
    parser.add_argument("--cifar10", metavar="FOLDER")
    parser.add_argument("--epochs", type=int, help="for each network; by default as in EPOCHS")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", default=["nn", "nn-without-numba"])
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    recipe = parser.add_argument_group("in place of what CIFAR-10's recipe has")
    recipe.add_argument("--lr", type=float)
    recipe.add_argument("--schedule", help="as examples/cifar10_train.py takes it")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(work, options.worker)
        return
    rows = [row for network in EPOCHS for row in measure(network, options)]
    head = ["network", "kernels", "epochs", "median, %", "of each seed", "in another class"]
    print_table(head, [in_words(row) for row in rows])
    write_json(options.json, rows)


def in_words(row):
    """Return the cells of a row."""
    each = ", ".join(f"{accuracy:.2f}" for accuracy in row["accuracies"])
    median = f"{statistics.median(row['accuracies']):.2f}"
    different = ", ".join(map(str, row["in another class"]))
    return row["network"], row["kernels"], row["epochs"], median, each, different


def measure(network, options):
    """Return a row of the table for each variant, where the network's data are given."""
    data, rows, first = getattr(options, DATA[network]), [], None
    task = {"network": network, "data": data, "dtype": options.dtype}
    task["epochs"] = options.epochs or EPOCHS[network]
    names = [name for name in ("lr", "schedule") if getattr(options, name)]
    task["options"] = [f"--{name}={getattr(options, name)}" for name in names]
    for variant in options.variants if data else ():
        tasks = [task | {"variant": variant, "seed": seed} for seed in options.seeds]
        results = [run_worker(__file__, task) for task in tasks]
        missing = [result["missing"] for result in results if "missing" in result]
        if missing:
            raise SystemExit(f"{network} {variant}: {missing[0]}")
        first = first or results
        rows.append(
            {
                "network": network,
                "kernels": variant,
                "epochs": task["epochs"],
                "accuracies": [result["accuracy"] for result in results],
                "in another class": list(map(count_different, results, first)),
            }
        )
        print(*in_words(rows[-1]), file=sys.stderr, flush=True)
    return rows


def count_different(result, other):
    """Return how many test images two networks put into different classes."""
    return sum(a != b for a, b in zip(result["classes"], other["classes"], strict=True))


if __name__ == "__main__":
    main()
