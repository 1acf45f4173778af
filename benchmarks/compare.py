"""Training and inference of three networks in nn, PyTorch and Keras 3: images a second.

    python benchmarks/compare.py --python-torch TORCH_PYTHON --python-keras KERAS_PYTHON
    python benchmarks/compare.py --frameworks nn torch --networks mnist --batch 64 --rounds 1
    python benchmarks/compare.py --device gpu --python-torch TORCH_PYTHON

The interpreters are those of environments with PyTorch and with Keras 3 and its backends; by
default the one that runs this. What is not installed is left out and named.

Every network, batch size and framework has its own process, one after the other, in several
rounds; a figure is the median of the rounds, a ratio that of two medians, with its smallest and
largest value in a round. `train` is a loop by hand on a prepared batch (zero_grad, forward, loss,
backward, step, loss.item() in PyTorch, Model.train_step in nn), `fit` the second epoch of fit() on
arrays in memory with accuracy measured, `infer` one batch. A verdict says whether a ratio reaches
the project's floor; the exit status does not depend on it. `--device gpu` compares nn by CuPy with
PyTorch by CUDA, for which there is no floor.
"""

import argparse
import statistics
import sys
import time

from networks import (
    KERAS_FORMATS,
    NETWORKS,
    VARIANTS,
    describe,
    for_keras,
    median_seconds,
    prepare,
    print_machine,
    print_table,
    random_data,
    run_worker,
    serve,
    write_json,
)

STEPS = {"mnist": 150, "cifar": 60, "vgg6": 20}
FIT_SAMPLES = {"mnist": 12800, "cifar": 5120, "vgg6": 2560}
BEST = ("torch", "torch-channels-last")  # PyTorch's best is the faster of its memory formats

# (what, ours, figure, peers, floor for each network)
FLOORS = [
    ("train / PyTorch's best", "nn", "train", BEST, {"mnist": 1.15, "cifar": 1.25, "vgg6": 0.85}),
    ("train / PyTorch's default", "nn", "train", BEST[:1], {"mnist": 2, "cifar": 1.5, "vgg6": 1.1}),
    ("fit / Keras' fit", "nn", "fit", "keras", {"mnist": 2, "cifar": 2, "vgg6": 2}),
    ("infer / PyTorch's best", "nn", "infer", BEST, {"mnist": 1, "cifar": 0.7, "vgg6": 0.7}),
    (
        "train without Numba / PyTorch's default",
        "nn-without-numba",
        "train",
        BEST[:1],
        {"mnist": 0.6, "cifar": 0.6, "vgg6": 0.6},
    ),
]


# ---------------------------------------------------------------------------------- a worker


def work(task):
    """Measure one network at one batch size in one framework: images a second."""
    variant, network, batch, steps = (task[k] for k in ("variant", "network", "batch", "steps"))
    prepared = prepare(variant, network, batch, task["device"])
    result = {"parameters": prepared.parameters}
    if not variant.startswith("keras"):  # its users train by fit
        result["train"] = batch / median_seconds(prepared.train, steps)
    if not variant.startswith("torch"):
        samples = max(task["fit_samples"] // batch, 1) * batch
        result["fit"] = samples / second_epoch(variant, prepared.model, network, samples, batch)
    result["infer"] = batch / median_seconds(prepared.infer, steps)
    return result


def second_epoch(variant, model, network, samples, batch):
    """Return the seconds of the second epoch of fit()."""
    x, y = random_data(network, samples)
    if variant.startswith("nn"):
        from nn.callbacks import Callback

        settings = {"loss": model.loss, "optimizer": model.optimizer, "metrics": ("accuracy",)}
        model.compile(**settings)
    else:
        from keras.callbacks import Callback

        x = for_keras(x)

    class Clock(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds = time.perf_counter() - self.start

    clock = Clock()
    model.fit(x, y, epochs=2, batch_size=batch, callbacks=[clock], verbose=0)
    return clock.seconds


# ------------------------------------------------------------------------------ the comparison


def measure(options):
    """Return {(network, batch): {variant: [result of each round]}} and the variants missing."""
    variants = [v for v in options.frameworks if v != "keras"]
    if "keras" in options.frameworks:
        variants += [f"keras-{backend}" for backend in options.keras_backends]
    pythons = {"torch": options.python_torch, "keras": options.python_keras, "nn": sys.executable}
    cases = [(network, batch) for network in options.networks for batch in options.batch]
    results = {case: {variant: [] for variant in variants} for case in cases}
    missing = {}
    for number in range(1, options.rounds + 1):
        for network, batch in cases:
            print(f"round {number}: {network}, batch {batch}", file=sys.stderr, flush=True)
            for variant in variants:
                if variant in missing:
                    continue
                task = {"variant": variant, "network": network, "batch": batch}
                task["device"] = options.device
                task["steps"] = options.steps or STEPS[network]
                task["fit_samples"] = options.fit_samples or FIT_SAMPLES[network]
                result = run_worker(__file__, task, pythons[variant.partition("-")[0]])
                if "missing" in result:
                    missing[variant] = result["missing"]
                else:
                    results[network, batch][variant].append(result)
    return results, missing


def rates(rounds, figure):
    """Return a figure of each round, none where the variant did not run or does not have it."""
    return [result[figure] for result in rounds if figure in result]


def compare(results, device):
    """Return a ratio, its range and the verdict for each floor, network and batch size."""
    rows = []
    for (network, batch), of in results.items():
        for what, ours, figure, peers, floors in FLOORS:
            if peers == "keras":
                peers = [variant for variant in of if variant.startswith("keras")]
            mine = rates(of.get(ours, []), figure)
            theirs = {peer: rates(of.get(peer, []), figure) for peer in peers}
            theirs = {peer: values for peer, values in theirs.items() if values}
            if not mine or len(theirs) < (len(peers) if peers == BEST else 1):
                continue
            best = max(theirs, key=lambda peer: statistics.median(theirs[peer]))
            ratio = statistics.median(mine) / statistics.median(theirs[best])
            each = [a / b for a, b in zip(mine, theirs[best], strict=False)]
            rows.append(
                {"network": network, "batch": batch, "what": what, "peer": best, "ratio": ratio}
                | {"range": [min(each), max(each)]}
            )
            if device == "cpu":
                verdict = "reached" if ratio >= floors[network] else "MISSED"
                rows[-1] |= {"floor": floors[network], "verdict": verdict}
    return rows


def medians(results):
    """Return the median of each figure for each network, batch size and variant."""
    rows = []
    for (network, batch), of in results.items():
        if len({result["parameters"] for rounds in of.values() for result in rounds}) > 1:
            raise RuntimeError(f"The {network} networks differ in their number of parameters.")
        for variant, rounds in of.items():
            row = {"network": network, "batch": batch, "variant": variant, "rounds": rounds}
            for figure in ("train", "fit", "infer"):
                values = rates(rounds, figure)
                row[figure] = statistics.median(values) if values else None
            if rounds:
                rows.append(row)
    return rows


def report(options, results, missing):
    latest = {v: rounds[-1] for of in results.values() for v, rounds in of.items() if rounds}
    machine, figures, ratios = describe(latest), medians(results), compare(results, options.device)
    print_machine(machine)
    for variant, reason in missing.items():
        print(f"{variant}: {reason}")
    print(f"Images a second, median of {options.rounds} rounds")
    print_table(
        ["network", "batch", "framework", "train", "fit", "infer"],
        [
            [row["network"], row["batch"], row["variant"]]
            + [f"{row[k]:,.0f}" if row[k] else "-" for k in ("train", "fit", "infer")]
            for row in figures
        ],
    )
    print_table(
        ["network", "batch", "ratio of nn's", "peer", "ratio", "of a round", "floor", "verdict"],
        [
            (
                row["network"],
                row["batch"],
                row["what"],
                row["peer"],
                f"{row['ratio']:.2f}",
                "{:.2f}-{:.2f}".format(*row["range"]),
                f"{row['floor']:.2f}" if "floor" in row else "-",
                row.get("verdict", "-"),
            )
            for row in ratios
        ],
    )
    settings = {k: getattr(options, k) for k in ("device", "rounds", "steps", "fit_samples")}
    content = {
        "machine": machine,
        "missing": missing,
        "settings": settings,
        "figures": figures,
        "ratios": ratios,
    }
    write_json(options.json, content)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python-torch", default=sys.executable, help="interpreter with PyTorch")
    parser.add_argument("--python-keras", default=sys.executable, help="interpreter with Keras 3")
    choices = [*VARIANTS, "keras"]
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument(
        "--frameworks", nargs="+", choices=choices, help="all by default; on a GPU nn and PyTorch"
    )
    parser.add_argument(
        "--keras-backends",
        nargs="+",
        default=["torch", "jax"],
        help=f"of {', '.join(KERAS_FORMATS)}; the fastest counts; torch:channels_last names a "
        "data format too",
    )
    networks = [name for name in NETWORKS if name in STEPS]
    parser.add_argument("--networks", nargs="+", choices=networks, default=networks)
    parser.add_argument("--batch", nargs="+", type=int, default=[64, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="timed steps; by default as the network needs")
    parser.add_argument("--fit-samples", type=int, help="samples an epoch of fit")
    parser.add_argument("--json", metavar="FILE", help="write the figures of all rounds there")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(work, options.worker)
        return
    on_gpu = ["nn", *BEST]
    if options.device == "gpu" and not set(options.frameworks or ()) <= set(on_gpu):
        parser.error(f"on a GPU, --frameworks must be of {', '.join(on_gpu)}")
    options.frameworks = options.frameworks or (on_gpu if options.device == "gpu" else choices)
    report(options, *measure(options))


if __name__ == "__main__":
    main()
