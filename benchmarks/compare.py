"""Training and inference of networks of many kinds in nn, PyTorch and Keras 3: samples a second.

    python benchmarks/compare.py --python-torch TORCH_PYTHON --python-keras KERAS_PYTHON
    python benchmarks/compare.py --frameworks nn torch --networks mnist --batch 64 --rounds 1
    python benchmarks/compare.py --frameworks nn torch torch-channels-last --what latency
    python benchmarks/compare.py --isa avx2 --what train infer
    python benchmarks/compare.py --device gpu --python-torch TORCH_PYTHON

The interpreters are those of environments with PyTorch and with Keras 3 and its backends; by
default the one that runs this. What is not installed is left out and named.

Every network, batch size and framework has its own process, one after the other, in several
rounds; a figure is the median of the rounds, a ratio that of two medians, with its smallest and
largest value in a round. `train` is a loop by hand on a prepared batch (zero_grad, forward, loss,
backward, step, loss.item() in PyTorch, Model.train_step in nn), `fit` the second epoch of fit() on
arrays in memory with accuracy measured, `infer` one batch, `latency` one sample alone. `--isa avx2`
keeps AVX-512, which few laptops have, from nn and PyTorch. A verdict says whether a ratio reaches
the project's floor; the exit status does not depend on it. `--device gpu` compares nn by CuPy with
PyTorch by CUDA, for which there is no floor.
"""

import argparse
import statistics
import sys
import time

from networks import KERAS_FORMATS, NETWORKS, NotComparedError, for_keras, prepare, random_data
from workers import (
    VARIANTS,
    describe,
    median_seconds,
    print_machine,
    print_table,
    run_worker,
    serve,
    write_json,
)

WHAT = ("train", "fit", "infer", "latency")
FIT_SAMPLES = 1280
BEST = ("torch", "torch-channels-last")  # PyTorch's best is the faster of its memory formats
FIRST = ("vgg6", "cifar", "large")  # for which the aims are higher
SEQUENCES = {"lstm": 1.2, "gru": 1.2, "charlm": 1.2, "transformer": 1.0}  # their aims in training

# (what, ours, figure, peers, floor, that of FIRST, that of all with AVX2 alone)
FLOORS = [
    ("train / PyTorch's best", "nn", "train", BEST, 1.3, 2, 1.15),
    ("fit / Keras' fit", "nn", "fit", "keras", 2, 2, None),
    ("infer / PyTorch's best", "nn", "infer", BEST, 1.2, 1.2, None),
    ("one sample / PyTorch's best", "nn", "latency", BEST, 1, 1, None),
    ("without Numba / PyTorch's default", "nn-without-numba", "train", BEST[:1], 0.75, 0.75, None),
]


# ---------------------------------------------------------------------------------- a worker


def work(task):
    """Measure one network at one batch size in one framework: images a second."""
    variant, network, batch, steps = (task[k] for k in ("variant", "network", "batch", "steps"))
    try:
        prepared = prepare(variant, network, batch, task["device"])
    except NotComparedError as reason:
        return {"missing": str(reason)}
    result, what = {"parameters": prepared.parameters}, task["what"]
    if "train" in what and not variant.startswith("keras"):  # its users train by fit
        result["train"] = batch / median_seconds(prepared.train, steps)
    if "fit" in what and not variant.startswith("torch"):
        samples = max(task["fit_samples"] // batch, 1) * batch
        result["fit"] = samples / second_epoch(variant, prepared.model, network, samples, batch)
    if "infer" in what:
        result["infer"] = batch / median_seconds(prepared.infer, steps)
    if "latency" in what:
        one = prepare(variant, network, 1, task["device"])
        result["latency"] = 1 / median_seconds(one.infer, 10 * steps, warm_up=30)
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
                task |= {"device": options.device, "isa": options.isa, "what": options.what}
                steps = options.steps or NETWORKS[network].steps
                samples = options.fit_samples or steps * FIT_SAMPLES // 20
                task |= {"steps": steps, "fit_samples": samples}
                result = run_worker(__file__, task, pythons[variant.partition("-")[0]])
                if "missing" in result:
                    if not variant.startswith("keras") or "installed" in result["missing"]:
                        missing[variant] = result["missing"]
                else:
                    results[network, batch][variant].append(result)
    return results, missing


def rates(rounds, figure):
    """Return a figure of each round, none where the variant did not run or does not have it."""
    return [result[figure] for result in rounds if figure in result]


def floor_of(floors, network, options):
    """Return the least ratio that the project aims at, or None."""
    usual, first, avx2 = floors
    if options.device == "gpu" or options.isa == "avx2":
        return avx2 if options.device == "cpu" else None
    return first if network in FIRST else usual


def compare(results, options):
    """Return a ratio, its range and the verdict for each floor, network and batch size."""
    rows = []
    for (network, batch), of in results.items():
        for what, ours, figure, peers, *floors in FLOORS:
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
            floor = floor_of(floors, network, options)
            if what == FLOORS[0][0] and floor is not None:
                floor = min(floor, SEQUENCES.get(network, floor))
            if floor is not None:
                rows[-1] |= {"floor": floor, "verdict": "reached" if ratio >= floor else "MISSED"}
    return rows


def medians(results):
    """Return the median of each figure for each network, batch size and variant."""
    rows = []
    for (network, batch), of in results.items():
        if len({result["parameters"] for rounds in of.values() for result in rounds}) > 1:
            raise RuntimeError(f"The {network} networks differ in their number of parameters.")
        for variant, rounds in of.items():
            row = {"network": network, "batch": batch, "variant": variant, "rounds": rounds}
            for figure in WHAT:
                values = rates(rounds, figure)
                row[figure] = statistics.median(values) if values else None
            if rounds:
                rows.append(row)
    return rows


def report(options, results, missing):
    latest = {v: rounds[-1] for of in results.values() for v, rounds in of.items() if rounds}
    machine, figures, ratios = describe(latest), medians(results), compare(results, options)
    print_machine(machine)
    for variant, reason in missing.items():
        print(f"{variant}: {reason}")
    print(f"Samples a second, and ms of one sample alone: median of {options.rounds} rounds")
    print_table(
        ["network", "batch", "framework", *WHAT],
        [
            [row["network"], row["batch"], row["variant"]]
            + [f"{row[k]:,.0f}" if row[k] else "-" for k in WHAT[:3]]
            + [f"{1000 / row['latency']:.3f}" if row["latency"] else "-"]
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
    settings = {
        k: getattr(options, k) for k in ("device", "isa", "what", "rounds", "steps", "fit_samples")
    }
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
    parser.add_argument(
        "--isa", choices=["native", "avx2"], default="native", help="avx2 holds both sides to it"
    )
    parser.add_argument("--what", nargs="+", choices=WHAT, default=list(WHAT))
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--batch", nargs="+", type=int, default=[64])
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
