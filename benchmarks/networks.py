"""The networks of the benchmarks, once for all frameworks, and what the scripts beside it share.

Not run by itself. compare.py, cold_start.py, memory.py, scaling.py and kernels.py import it; each
starts itself again as a worker (`--worker TASK`) so that every measurement has its own process.
No framework is imported before a function here needs it.
"""

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # nn from this checkout

VARIANTS = ("nn", "nn-without-numba", "torch", "torch-channels-last")
KERAS_FORMATS = {"torch": "channels_first", "jax": "channels_last", "tensorflow": "channels_last"}
BN_MOMENTUM, BN_EPS = 0.9, 1e-5  # PyTorch's momentum is one minus this


@dataclass(frozen=True)
class Network:
    """Layers by name, with filters or units: 'conv8' is 3x3 with padding 1, 'pool' takes 2x2."""

    shape: tuple[int, int, int]  # (C, H, W)
    layers: str
    optimizer: str  # 'adam' (lr 1e-3) or 'sgd' (lr 0.01, momentum 0.9)

    def parts(self):
        """Return ('conv', 8), ('relu', 0) ..."""
        found = [re.fullmatch(r"([a-z]+)(\d*)", word) for word in self.layers.split()]
        return [(match[1], int(match[2] or 0)) for match in found]


NETWORKS = {
    "mnist": Network(
        (1, 28, 28),
        "conv8 relu pool conv16 relu pool flatten dense64 relu dense10",
        "adam",
    ),
    "cifar": Network(
        (3, 32, 32),
        "conv16 relu pool conv32 relu pool conv64 relu bn dropout flatten "
        "dense128 relu dropout dense10",
        "sgd",
    ),
    "vgg6": Network(
        (3, 32, 32),
        "conv32 bn relu conv32 bn relu pool conv64 bn relu conv64 bn relu pool "
        "conv128 bn relu conv128 bn relu pool flatten dense128 relu dense10",
        "sgd",
    ),
    "large": Network(  # 8 million parameters
        (3, 128, 128),
        "conv32 bn relu pool conv64 bn relu pool conv128 bn relu pool conv256 bn relu pool "
        "flatten dense480 relu dense38",
        "adam",
    ),
}
DROPOUT = 0.4


def as_network(network):
    """Return a Network for one, its name, or what JSON made of one."""
    if isinstance(network, str):
        return NETWORKS[network]
    if isinstance(network, dict):
        return Network(tuple(network["shape"]), network["layers"], network["optimizer"])
    return network


# --------------------------------------------------------------------------- the frameworks


def make_nn(network, metrics=(), seed=0, dtype="float32"):
    import nn

    network = as_network(network)
    make = {
        "conv": lambda size: nn.Conv2D(size),
        "dense": lambda size: nn.Dense(size),
        "relu": lambda _: nn.ReLU(),
        "pool": lambda _: nn.MaxPool2D(),
        "bn": lambda _: nn.BatchNorm2D(momentum=BN_MOMENTUM, eps=BN_EPS),
        "dropout": lambda _: nn.Dropout(DROPOUT),
        "flatten": lambda _: nn.Flatten(),
    }
    model = nn.Model([make[kind](size) for kind, size in network.parts()], dtype=dtype, seed=seed)
    model.build((None, *network.shape))
    settings = {"adam": {"lr": 1e-3}, "sgd": {"lr": 0.01, "momentum": 0.9}}[network.optimizer]
    model.compile("cce", network.optimizer, metrics=metrics, **settings)
    return model


def make_torch(network):
    import torch
    from torch import nn

    network = as_network(network)
    torch.manual_seed(0)
    layers: list[Any] = []
    (channels, height, width), features = network.shape, 0
    for kind, size in network.parts():
        if kind == "conv":
            layers.append(nn.Conv2d(channels, size, 3, padding=1))
            channels = size
        elif kind == "pool":
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        elif kind == "flatten":
            layers.append(nn.Flatten())
            features = channels * height * width
        elif kind == "dense":
            layers.append(nn.Linear(features, size))
            features = size
        elif kind == "bn":
            layers.append(nn.BatchNorm2d(channels, eps=BN_EPS, momentum=1 - BN_MOMENTUM))
        else:
            layers.append(nn.Dropout(DROPOUT) if kind == "dropout" else nn.ReLU())
    return nn.Sequential(*layers)


def make_torch_optimizer(network, parameters):
    import torch

    if as_network(network).optimizer == "adam":
        return torch.optim.Adam(parameters, lr=1e-3)
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


def make_keras(network):
    """Return the compiled model; the backend and the data format are chosen before."""
    import keras

    network = as_network(network)
    first = keras.config.image_data_format() == "channels_first"
    channels, height, width = network.shape
    layers = [keras.Input((channels, height, width) if first else (height, width, channels))]
    make = {
        "conv": lambda size: keras.layers.Conv2D(size, 3, padding="same"),
        "dense": lambda size: keras.layers.Dense(size),
        "relu": lambda _: keras.layers.ReLU(),
        "pool": lambda _: keras.layers.MaxPooling2D(),
        "bn": lambda _: keras.layers.BatchNormalization(
            axis=1 if first else -1, momentum=BN_MOMENTUM, epsilon=BN_EPS
        ),
        "dropout": lambda _: keras.layers.Dropout(DROPOUT),
        "flatten": lambda _: keras.layers.Flatten(),
    }
    for kind, size in network.parts():
        if kind == "relu" and hasattr(layers[-1], "activation"):
            layers[-1].activation = keras.activations.relu  # within the layer, as its users do
        else:
            layers.append(make[kind](size))
    model = keras.Sequential(layers)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3)
        if network.optimizer == "adam"
        else keras.optimizers.SGD(0.01, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


@dataclass
class Prepared:
    """A network with one batch at hand: each call of `train` or `infer` takes that batch."""

    model: Any
    train: Callable[[], Any]
    infer: Callable[[], Any]
    parameters: int


def random_data(network, count):
    """Return images (count, C, H, W), float32 in [0, 1), and labels (count,) of ten classes."""
    rng = np.random.default_rng(0)
    return rng.random((count, *as_network(network).shape), dtype=np.float32), rng.integers(
        0, 10, count
    )


def prepare(variant, network, batch, device="cpu"):
    """Return the network of a variant, ready to be trained on a batch of random data.

    With the device 'gpu', for nn and PyTorch alone, network and batch lie there, and each call
    returns when the GPU has done its work.
    """
    x, y = random_data(network, batch)
    if variant.startswith("nn"):
        return _prepare_nn(network, x, y, device)
    if variant.startswith("torch"):
        return _prepare_torch(network, x, y, variant == "torch-channels-last", device)
    return _prepare_keras(network, x, y, variant.removeprefix("keras-"))


def _prepare_nn(network, x, y, device):
    from nn import cuda

    model = make_nn(network)
    if model.device != device:
        raise RuntimeError(f"nn runs on the {model.device.upper()}: see python -m nn info.")
    x, y = cuda.to_device(x, device), cuda.to_device(y, device)
    return Prepared(
        model,
        train=lambda: model.train_step(x, y),  # returns the loss, a number
        infer=lambda: model.predict(x, batch_size=len(x)),  # waits to see that it is finite
        parameters=sum(p.size for layer in model.layers for p in layer.params.values()),
    )


def _prepare_torch(network, x, y, channels_last, device):
    import torch

    place = "cuda" if device == "gpu" else "cpu"
    model = make_torch(network).to(place)
    x, y = torch.from_numpy(x).to(place), torch.from_numpy(y).to(place)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    optimizer = make_torch_optimizer(network, model.parameters())
    criterion = torch.nn.CrossEntropyLoss()

    def train():
        model.train()
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    def infer():
        model.eval()
        with torch.inference_mode():
            y = model(x)
        if device == "gpu":
            torch.cuda.synchronize()
        return y

    return Prepared(model, train, infer, sum(p.numel() for p in model.parameters()))


def _prepare_keras(network, x, y, backend):
    """`backend` may name its data format: 'torch:channels_last'."""
    backend, _, data_format = backend.partition(":")
    os.environ["KERAS_BACKEND"] = backend
    import keras

    keras.config.set_image_data_format(data_format or KERAS_FORMATS[backend])
    keras.utils.set_random_seed(0)
    model = make_keras(network)
    x = for_keras(x)
    return Prepared(
        model,
        train=lambda: model.train_on_batch(x, y),
        infer=lambda: model.predict_on_batch(x),
        parameters=sum(int(np.prod(w.shape)) for w in model.trainable_weights),
    )


def for_keras(x):
    """Return images (N, C, H, W) in the data format that Keras is set to."""
    import keras

    if keras.config.image_data_format() == "channels_first":
        return x
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))  # (N, C, H, W) -> (N, H, W, C)


def median_seconds(step, steps, warm_up=5):
    """Return the median time of a call, the first calls uncounted."""
    for _ in range(warm_up):
        step()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


# ------------------------------------------------------------------- workers and the machine


def block_numba():
    """Make `import numba` fail in this process, as where it is not installed."""
    sys.modules["numba"] = None


def worker_environment(device="cpu", **extra):
    """Return the environment of a worker: its device alone, and BLAS as it chooses for itself."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if device == "cpu":
        alone = {"NN_DISABLE_CUDA": "1", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        environment |= alone
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        environment.pop(name, None)
    return environment | extra


def run_worker(script, task, python=sys.executable, **environment):
    """Run `script --worker TASK` and return its result, or {'missing': why there is none}."""
    command = [str(python), str(script), "--worker", json.dumps(task)]
    try:
        done = subprocess.run(
            command,
            env=worker_environment(task.get("device", "cpu"), **environment),
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        return {"missing": f"not installed ({python})"}
    if done.returncode:
        print(f"{task} failed:\n{done.stderr}", file=sys.stderr)
        return {"missing": "failed"}
    return json.loads(done.stdout.splitlines()[-1])


def serve(work, task):
    """Do a worker's part: print the result of `work(task)` as one line of JSON."""
    task = json.loads(task)
    if "without-numba" in task.get("variant", ""):
        block_numba()
    try:
        result = work(task) | {"versions": versions()}
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "keras", "jax", "jaxlib", "tensorflow", "h5py", "tqdm"):
            raise
        result = {"missing": f"not installed ({error.name})"}
    print(json.dumps(result))


def versions():
    """Return versions of what this process has loaded, its threads and BLAS core types."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "nn", "numba", "cupy", "torch", "keras", "jax", "tensorflow"):
        module = sys.modules.get(name)
        if module is not None:
            found[name] = getattr(module, "__version__", "unknown")
    if sys.modules.get("torch") is not None:
        import torch

        found["torch threads"] = torch.get_num_threads()
        found["torch cpu"] = torch.backends.cpu.get_cpu_capability()
        if torch.cuda.is_available():
            found["torch gpu"] = torch.cuda.get_device_name()
    if sys.modules.get("cupy") is not None:
        found["nn gpu"] = sys.modules["nn"].cuda.get_device_name()
    if sys.modules.get("numba") is not None:
        found["numba threads"] = sys.modules["numba"].get_num_threads()
    return found | blas()


def blas():
    """Return the BLAS core types and threads of this process, by threadpoolctl."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return {"blas": "unknown: threadpoolctl is not installed"}
    found = [info for info in threadpool_info() if info["user_api"] == "blas"]
    names = {
        f"{k['internal_api']} {k['version']} {k.get('architecture', '')} x{k['num_threads']}"
        for k in found
    }
    return {"blas": ", ".join(sorted(names)) or "none"}


def processor():
    """Return the processor's name and the number of cores."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [k for k in cpuinfo.read_text().splitlines() if k.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return f"{name}, {os.cpu_count()} cores, {platform.system()}"


def describe(results):
    """Return the machine and, for each variant that ran, its versions and threads."""
    date = time.strftime("%Y-%m-%d")
    return {
        "date": date,
        "processor": processor(),
        "variants": {k: r["versions"] for k, r in results.items()},
    }


def print_machine(machine):
    print(f"Processor: {machine['processor']}; {machine['date']}")
    for variant, found in machine["variants"].items():
        print(f"{variant}: " + ", ".join(f"{name} {value}" for name, value in found.items()))
    print()


def print_table(header, rows):
    """Print rows of text, the first columns to the left and numbers to the right."""
    cells = [header, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    numeric = [all(re.match(r"[\d.\-]", row[k]) for row in cells[1:]) for k in range(len(header))]
    for row in cells:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        print("  ".join(padded).rstrip())
    print()


def write_json(path, content):
    if path:
        Path(path).write_text(json.dumps(content, indent=1) + "\n")
