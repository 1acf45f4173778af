"""Compile the kernels that networks need, for a classroom or the image of a container."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import kernels, text, zoo
from ..layers import fold
from ..losses.targets import labels_shape
from ..model import Model
from .info import about_kernels
from .result import Result

_DEFAULT = ("mlp", "small_cnn", "mnist_cnn", "cifar_cnn", "resnet20")
_BATCH = 64
_SIZE = 32  # of an axis whose size is open


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        default=_DEFAULT,
        help=f"names of nn.zoo, or model files (default: {' '.join(_DEFAULT)})",
    )


def run(options: argparse.Namespace) -> Result:
    """Train each model for two steps on noise and predict; return how long the first took.

    Kernels are compiled at their first call and kept on disk, so a later process finds them there.
    """
    if kernels.compiled() is None:
        raise RuntimeError(f"no kernels are compiled here: {about_kernels()['why']}.")
    from ..kernels.cpu.compiled.gemm import conv2d
    from ..kernels.cpu.compiler import folder_of

    folder = folder_of(conv2d)
    models = [(name, _model(name)) for name in options.models]
    seconds = {}
    for name, model in models:
        if sys.stderr.isatty():
            print(f"{name} ...", file=sys.stderr)
        start = time.perf_counter()
        _use(model)
        seconds[name] = time.perf_counter() - start
    rows = [(text.printable(name), f"{taken:.1f} s") for name, taken in seconds.items()]
    if folder is None:
        kept = (
            "The compiled kernels are not kept, as no folder can be written: each process compiles "
            "them. Set NUMBA_CACHE_DIR to a folder that can."
        )
    else:
        kept = f"The compiled kernels are kept in {text.printable(str(folder))}"
    data = {"seconds": seconds, "folder": None if folder is None else str(folder)}
    return Result("\n".join([*text.table(rows), kept]), data, folder is not None)


def _model(name: str) -> Model:
    """Return a model for its name in `nn.zoo` or its file, compiled with a loss."""
    model = getattr(zoo, name)(seed=0) if name in zoo.__all__ else None
    if model is None:
        if not Path(name).exists():
            raise ValueError(f"no model file and no name in nn.zoo: {name}")
        model = Model.load(name)
    if model.loss is None:
        model.compile("bce" if fold.gives_probabilities(model.layers) else "cce", "adam")
    return model


def _use(model: Model) -> None:
    """Train a model for two steps, by its optimizer and by SGD with momentum, and predict."""
    shape = (_BATCH, *(size or _SIZE for size in (model.input_shape or ())[1:]))
    rng = np.random.default_rng(0)
    x: Any = rng.random(shape, dtype=np.float32)
    if model.num_ids is not None:
        x = rng.integers(0, model.num_ids, shape)
    outputs = model.predict(x)
    model.predict(x[:1])
    y = np.zeros_like(outputs)
    if getattr(model.loss, "paired_activation", None) == "Softmax":
        y = np.zeros(labels_shape(outputs.shape), np.int64)
    model.train_step(x, y)
    model.compile(model.loss, "sgd", momentum=0.9)
    model.train_step(x, y)
