"""Test accuracy of the MNIST and CIFAR networks with both kinds of kernels, over several seeds.

    python -m nn.data mnist && python -m nn.data cifar10
    python benchmarks/accuracy.py --mnist mnist_dataset --cifar10 cifar10_dataset

MNIST: the network of compare.py, six epochs of batch 64, the learning rate falling to zero by a
cosine. CIFAR-10: network and recipe of examples/cifar10_train.py. The compiled kernels and the
readable ones (`nn-without-numba`) see the same starts and batches; their sums differ in the last
digits, and so training takes other ways to places that should be as good.
"""

import argparse
import statistics
import sys
from pathlib import Path

from networks import make_nn, print_table, run_worker, serve, write_json

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))

EPOCHS = {"mnist": 6, "cifar": 12}


def work(task):
    train, test, model, recipe = {"mnist": mnist, "cifar": cifar}[task["network"]](task)
    model.fit(train, epochs=task["epochs"], verbose=0, **recipe)
    return {"accuracy": 100 * model.evaluate(test)["acc"]}


def mnist(task):
    from nn.data import load_mnist_gz

    model = make_nn("mnist", metrics=["accuracy"], seed=task["seed"])
    return *load_mnist_gz(task["data"]), model, {"batch_size": 64, "lr_schedule": "cosine"}


def cifar(task):
    import cifar10_train

    from nn.data import load_cifar10

    options = cifar10_train.parse_arguments(["--model", "cifar", "--seed", str(task["seed"])])
    recipe = cifar10_train.choose_recipe(options)
    model = cifar10_train.make_model(options, recipe)
    settings = {"batch_size": recipe["batch_size"], "lr_schedule": recipe["schedule"]}
    return *load_cifar10(task["data"], download=False), model, settings


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", metavar="FOLDER", help="left out where it is not given")
    parser.add_argument("--cifar10", metavar="FOLDER")
    parser.add_argument("--epochs", type=int, help="for each network; by default as in EPOCHS")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", default=["nn", "nn-without-numba"])
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(work, options.worker)
        return
    found, rows = {}, []
    for network, data in (("mnist", options.mnist), ("cifar", options.cifar10)):
        for variant in options.variants if data else ():
            task = {"variant": variant, "network": network, "data": data}
            task["epochs"] = options.epochs or EPOCHS[network]
            results = [run_worker(__file__, task | {"seed": seed}) for seed in options.seeds]
            accuracies = [result["accuracy"] for result in results]
            found[f"{network} {variant}"] = accuracies
            each = ", ".join(f"{accuracy:.2f}" for accuracy in accuracies)
            median = f"{statistics.median(accuracies):.2f}"
            rows.append((network, variant, task["epochs"], median, each))
            print(*rows[-1], file=sys.stderr, flush=True)
    print_table(["network", "kernels", "epochs", "median, %", "of each seed"], rows)
    write_json(options.json, found)


if __name__ == "__main__":
    main()
