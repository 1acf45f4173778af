"""Run the recipes of "94% on two cores", a process each, and keep a log of every run.

    python benchmarks/recipe_runs.py --list
    python benchmarks/recipe_runs.py muon94 muon90 mnist resnet20
    python benchmarks/recipe_runs.py torch-muon94 --python-torch TORCH_PYTHON
    python benchmarks/recipe_runs.py torch-airbench94 --steps 30 --python-torch TORCH_PYTHON
    python benchmarks/recipe_runs.py ablation
    python benchmarks/recipe_tables.py          # then: the tables of docs/cifar94.md

A log is a line of JSON in `results/NAME.jsonl`: seed, curve, accuracies and times from the script,
and from here command, time of the whole process, machine, its load at the start, versions, commit.
A run whose seed is in the file is skipped, so that a list of runs can be interrupted and continued;
delete the line to measure again. With `--steps` PyTorch trains for so many steps only, and the time
of all is extrapolated; the log says so, and a whole run replaces it in the tables.

Copies of CIFAR-10 that had been coded as JPEG train the same networks to other accuracies than the
official images: their logs are in `NAME-jpeg.jsonl`. The sum of the images tells which they are.

`ablation` is `airbench-short`, a schedule of two epochs of the paper's recipe, and all of
`without-...`: the same without one part.

Let nothing else run meanwhile, and leave OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE unset.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from workers import processor, worker_environment

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"

#: The parts of airbench that are left out in turn: `INGREDIENTS` of `examples/airbench.py`, which
#: is not imported, since nn sets the number of threads for all processes that are started here.
PARTS = (
    *("whitening", "dirac", "bias_lr", "bias_decay", "label_smoothing", "lookahead"),
    *("alternating_flip", "flip", "crop"),
)

#: The sum of the bytes of CIFAR-10's 50,000 training images: their means are 0.49139968, 0.48215841
#: and 0.44653091 of 255.
OFFICIAL_SUM = 18_540_682_003
COPIES = "-jpeg"  # after the name of a run whose images are others

#: Epochs of ResNet-20, each 45,000 images and 5,000 for validation; an hour has four times as many.
RESNET_EPOCHS = 15

#: Epochs of the runs without a part of the recipe, and of the whole recipe that they are compared
#: with: each image once as it is and once flipped.
ABLATION_EPOCHS = 2


@dataclass(frozen=True)
class Run:
    """A script with its options, and the seeds that are run unless others are given."""

    script: str
    options: str
    seeds: tuple[int, ...] = (0, 1, 2)
    data: str = "cifar10"

    @property
    def needs_torch(self):
        return "torch" in self.script

    def command(self, seed, steps=None):
        """Return the command as a user types it, without folders."""
        seeds = "seeds" if self.needs_torch else "seed"
        stop = f" --steps {steps}" if steps else ""
        return f"python {self.script} {self.options} --{seeds} {seed}{stop}"


CIFAR, MNIST = "examples/cifar10_train.py", "examples/mnist_train.py"
TORCH = "benchmarks/torch_accuracy.py"
PAPER = "--model airbench --optimizer sgd"
SHORT = f"{PAPER} --epochs {ABLATION_EPOCHS}"
RESNET = f"resnet20 --epochs {RESNET_EPOCHS}"
RUNS = {
    "muon94": Run(CIFAR, "--model airbench --target 94"),
    "muon90": Run(CIFAR, "--model airbench --target 90"),
    "airbench94": Run(CIFAR, f"{PAPER} --target 94"),
    "airbench90": Run(CIFAR, f"{PAPER} --target 90"),
    "mnist": Run(MNIST, "--fast", data="mnist"),
    "resnet20": Run(CIFAR, f"--model {RESNET}", seeds=(0,)),
    "torch-airbench94": Run(TORCH, "--network airbench --target 94", seeds=(0,)),
    "torch-muon94": Run(TORCH, "--network airbench --muon --target 94", seeds=(0,)),
    "torch-muon90": Run(TORCH, "--network airbench --muon --target 90", seeds=(0,)),
    "torch-airbench90": Run(TORCH, "--network airbench --target 90", seeds=(0,)),
    "torch-mnist": Run(TORCH, "--network mnist-fast", data="mnist"),
    "torch-resnet20": Run(TORCH, f"--network {RESNET}", seeds=(0,)),
    "airbench-short": Run(CIFAR, SHORT, seeds=(0,)),
} | {f"without-{part}": Run(CIFAR, f"{SHORT} --without {part}", seeds=(0,)) for part in PARTS}
ABLATION = ["airbench-short", *(name for name in RUNS if name.startswith("without-"))]


def read_logs(name, folder=None):
    """Return the logs of a run; with several of a seed, the last, and whole runs before parts."""
    path = Path(folder or RESULTS) / f"{name}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    logs = sorted(map(json.loads, lines), key=lambda log: "measured_steps" not in log)
    return [*{log["seed"]: log for log in logs}.values()]


def versions_of(python):
    """Return the versions of an interpreter and its libraries."""
    code = (
        "import json, platform\n"
        "from importlib import metadata\n"
        "found = {'python': platform.python_version()}\n"
        "for name in ('numpy', 'numba', 'torch'):\n"
        "    try: found[name] = metadata.version(name)\n"
        "    except metadata.PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    return json.loads(subprocess.check_output([python, "-c", code], text=True))


def suffix_of(run, folder):
    """Return what follows the name of a run for its images: COPIES, or '' for the official ones."""
    if run.data != "cifar10":
        return ""
    code = (
        "import sys\n"
        "from nn.data import load_cifar10\n"
        "train, _ = load_cifar10(sys.argv[1], download=False)\n"
        "print(train.x.sum(dtype='int64'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(folder)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    if found.returncode:
        sys.exit(found.stderr.splitlines()[-1])
    return "" if int(found.stdout) == OFFICIAL_SUM else COPIES


def commit():
    """Return the commit of the checkout, with '+' if files of it have changed since."""
    git = ["git", "-C", str(ROOT)]
    try:
        quiet = {"text": True, "stderr": subprocess.DEVNULL}
        found = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], **quiet).strip()
        status = [*git, "status", "--porcelain", "--", "nn", "examples", "benchmarks/*.py"]
        return found + ("+" if subprocess.check_output(status, **quiet) else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def measure(name, seed, options, suffix):
    """Run a recipe with a seed in a process, and append its log to that of its images."""
    run = RUNS[name]
    python = options.python_torch if run.needs_torch else sys.executable
    steps = options.steps if run.needs_torch else None
    environment = worker_environment()
    paths = [str(ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    facts = {"run": name, "command": run.command(seed, steps)}
    facts |= {"date": time.strftime("%Y-%m-%d"), "machine": processor(), "commit": commit()}
    facts["load"] = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    facts["versions"] = versions_of(python)
    data = Path(getattr(options, run.data)).resolve()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        script, *arguments = run.command(seed, steps).split()[1:]
        command = [python, str(ROOT / script), *arguments, "--data-dir", str(data)]
        command += ["--log", str(log)]
        if not run.needs_torch:
            command += ["--no-download", "--out", str(Path(folder) / "model.hdf5")]
        print(f"{time.strftime('%H:%M:%S')} {facts['command']}", flush=True)
        started = time.perf_counter()
        with (Path(folder) / "output").open("w+", encoding="utf-8") as output:
            streams = {"stdout": output, "stderr": output}
            done = subprocess.run(command, cwd=folder, env=environment, **streams)
            seconds = time.perf_counter() - started
            output.seek(0)
            printed = output.read()
        if done.returncode or not log.exists():
            sys.exit(f"{facts['command']} failed:\n{printed[-3000:]}")
        found = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
    facts |= found | {"process_seconds": round(seconds, 1)}
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}{suffix}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")
    names = ("accuracy", "accuracy_with_copies", "extrapolated_seconds")
    texts = [f"{key} {found[key]:.4f}" for key in names if key in found]
    print(f"{time.strftime('%H:%M:%S')} {seconds:.0f} s, {', '.join(texts)}", flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", metavar="RUN", help="as --list names them; 'ablation'")
    parser.add_argument("--list", action="store_true", help="print runs, numbers of logs, commands")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of those of the run")
    parser.add_argument("--steps", type=int, help="of PyTorch's, to extrapolate the time from")
    parser.add_argument("--cifar10", default="cifar10_dataset", help="folder of CIFAR-10")
    parser.add_argument("--mnist", default="mnist_dataset", help="folder of MNIST's four files")
    parser.add_argument("--python-torch", default=sys.executable, help="interpreter with PyTorch")
    options = parser.parse_args()
    chosen = options.runs
    options.runs = [name for name in chosen if name != "ablation"]
    options.runs += ABLATION if "ablation" in chosen else []
    unknown = [name for name in options.runs if name not in RUNS]
    if unknown:
        parser.error(f"there is no run {unknown[0]!r}: see --list")
    return options


def main():
    options = parse_arguments()
    if options.list:
        for name, run in RUNS.items():
            done = [len(read_logs(name + suffix)) for suffix in ("", COPIES)]
            done = f"{done[0]} and {done[1]} of {len(run.seeds)} logs"
            print(f"{name:<26} {done}  {run.command('SEED')}")
        return
    for name in options.runs:
        suffix = suffix_of(RUNS[name], getattr(options, RUNS[name].data))
        seen = {
            log["seed"]
            for log in read_logs(name + suffix)
            if "measured_steps" not in log or options.steps is not None
        }
        for seed in options.seeds or RUNS[name].seeds:
            if seed in seen:
                print(f"{name}{suffix}, seed {seed}: its log is there, skipped", flush=True)
            else:
                measure(name, seed, options, suffix)


if __name__ == "__main__":
    main()
