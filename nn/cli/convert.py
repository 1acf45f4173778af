"""Convert a model between formats: HDF5, NPZ, safetensors, and those of other libraries."""

import argparse
import warnings
from pathlib import Path
from typing import Any

from .. import exchange, text
from ..exchange import formats
from ..files.atomic import write_atomic
from ..model import Model
from .result import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "file",
        metavar="A",
        help="a model of nn, Keras (.keras, .h5) or ONNX, or weights of PyTorch with --like",
    )
    parser.add_argument(
        "to",
        metavar="B",
        help="the new file; its suffix is its format: .hdf5 or .h5, .npz, .safetensors, .keras, "
        ".onnx, .py for the source of a PyTorch network, with its weights in a safetensors file of "
        "the same name",
    )
    parser.add_argument(
        "--like", metavar="MODEL", help="a model file with the layers, if A has weights alone"
    )
    parser.add_argument(
        "--layout", choices=("torch",), help="with --like: A has PyTorch's names and shapes"
    )
    parser.add_argument(
        "--external-data", metavar="FILE", help="the second file of a model of ONNX in two"
    )
    parser.add_argument(
        "--dtype", help="how to store the weights: float16 or bfloat16, for example"
    )


def run(options: argparse.Namespace) -> Result:
    """Convert the file and return what was turned."""
    model, turned = _read(options)
    files = _write(model, Path(options.to), options, turned)
    arrays = model.get_arrays()
    kept = files == [options.to] and options.to.lower().endswith(_WITH_STATE)
    data = {
        "from": options.file,
        "to": files,
        "arrays": len(arrays),
        "numbers": sum(int(array.size) for array in arrays.values()),
        "training_state": kept and model.optimizer is not None,
        "turned": turned,
    }
    counts = f"{data['arrays']} arrays, {data['numbers']:,} numbers"
    lines = [f"{text.printable(options.file)} -> {text.printable(', '.join(files))}: {counts}"]
    if model.optimizer is not None and not data["training_state"]:
        lines.append("The state of training is not in the new file.")
    rows = [(name, text.printable(how)) for name, how in turned.items()]
    return Result("\n".join([*lines, *(text.table(rows) if rows else ())]), data)


#: Formats that hold the state of training.
_WITH_STATE = (".hdf5", ".h5", ".npz", ".safetensors")


def _read(options: argparse.Namespace) -> tuple[Model, dict[str, str]]:
    """Return the model in A, and where its arrays come from, for another library's file."""
    if options.like is None:
        if options.layout is not None:
            raise ValueError("[convert] '--layout' needs '--like', a model file with the layers.")
        second = options.external_data
        model = Model.load(options.file, second)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # given already
            return model, dict(formats.read(options.file, second).sources)
    if options.external_data is not None:
        raise ValueError("[convert] '--external-data' must not be set with '--like'.")
    model = Model.load(options.like)
    report = model.load_weights(options.file, layout=options.layout)
    return model, dict(report.sources)


def _write(
    model: Any, path: Path, options: argparse.Namespace, turned: dict[str, str]
) -> list[str]:
    """Write the model in the format of the suffix; return the files."""
    suffix = path.suffix.lower()
    if suffix in (".py", ".onnx") and options.dtype is not None:
        raise ValueError(
            f"[convert] '--dtype' must not be set for {suffix}, got {options.dtype!r}."
        )
    if suffix == ".py":
        weights = path.with_suffix(".safetensors")
        if weights.exists():
            raise ValueError(f"[convert] 'B' would also write '{weights}', which is there already.")
        network = exchange.to_torch(model)
        network.save(weights)
        write_atomic(path, lambda stream: stream.write(network.source.encode()), "convert")
        turned |= exchange.from_torch(model, network.state_dict).sources
        return [options.to, str(weights)]
    if suffix == ".onnx":
        model.export(path)
    else:
        model.save(path, dtype=options.dtype)
    return [options.to]
