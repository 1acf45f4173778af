"""Model files: architecture, arrays and training state in one HDF5, NPZ or safetensors file.

This module knows only files, dictionaries and arrays, no models: `Model.save` passes it a
`ModelFile`, and `Model.load` gets one back. The formats are in `hdf5`, `npz` and `safetensors`, and
files are written by `atomic`.

An HDF5 file holds
    architecture                  JSON: dtype, name, input_shape, input_range, feature_names,
                                  target_names, class_names, vocabulary, loss, class (if it has its
                                  own forward), {"class", "config"} a layer
    training                      JSON: the arguments of `compile`, history, generators' states
    <index>_<LayerClass>_<name>   each array of each layer: 7_Dense_W, 3_BatchNorm2D_running_var;
                                  inside a layer, in its group: 3_Residual/0_Conv2D_W
    optimizer/<slot>/<array>      each array of the optimizer: optimizer/m/7_Dense_W
and an NPZ file the same under the same names, as does a safetensors file, with the JSON in its
metadata. JSON is in datasets because an HDF5 attribute has at
most 64 KB.

An older layout is read too: the arrays in `weights.hdf5`, and next to it a `weights.json` that
lists the layers.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .. import checks
from ..checks import FileFormatError
from ..layers.state import LoadReport, match_arrays
from . import fields, foreign, hdf5, npz, pytorch, safetensors
from .atomic import write_atomic
from .sparse import size_of

__all__ = [
    "MAX_TEXT",
    "FileFormatError",
    "LoadReport",
    "ModelFile",
    "check_dtype",
    "library_of",
    "match_arrays",
    "read",
    "read_layers_json",
    "read_torch",
    "write",
]

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ZIP_SIGNATURE = b"PK\x03\x04"
_OPTIMIZER = "optimizer/"
_FLOATS, _BFLOAT16 = ("float16", "float32", "float64"), "bfloat16"
_STRINGS = frozenset(["architecture", "training"])

#: Characters of JSON that a file may hold at most.
MAX_TEXT = 1 << 24
_MAX_DEPTH = 400  # layers inside layers take three levels each, see nn.layers.config.MAX_DEPTH


@dataclass
class ModelFile:
    """The content of a model file.

    Attributes
    ----------
    architecture
        'layers' (a list of {'class', 'config'}), and 'input_shape', 'dtype', 'name', 'class_names',
        'vocabulary' if the file has them; None in a file of weights alone.
    arrays
        Arrays of the layers by their names in the file, on the CPU.
    training
        The state needed to continue training; None if it was not saved.
    optimizer_arrays
        The optimizer's arrays, as `Optimizer.state_dict` returns them.
    sources
        For a file of another library: where each array comes from and what was done to it, as in
        `LoadReport`.
    """

    architecture: dict[str, Any] | None
    arrays: dict[str, np.ndarray]
    training: dict[str, Any] | None = None
    optimizer_arrays: dict[str, np.ndarray] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def input_range(self) -> tuple[float, float] | None:
        """Range of the inputs of the training; None in files without it."""
        found = (self.architecture or {}).get("input_range")
        return None if found is None else (float(found[0]), float(found[1]))


#: Writers by suffix; any other suffix is HDF5.
_WRITERS = {".npz": npz.write, ".safetensors": safetensors.write}


def write(path: str | os.PathLike, content: ModelFile, dtype: str | None = None) -> None:
    """Write a model file: NPZ or safetensors if the name ends so, otherwise HDF5.

    The file is written under a temporary name and renamed when it is complete, so that an
    interruption leaves an old file unchanged; see `nn.files.atomic`.

    Parameters
    ----------
    path
        The file.
    content
        The content.
    dtype
        To store the floats of the layers' arrays as 'float16', 'float32', 'float64' or, in
        safetensors, 'bfloat16'; None leaves them as they are. Those of the optimizer stay.

    Raises
    ------
    ValueError
        For another dtype, or a number that is too large for it.
    OSError
        If the file cannot be written: the folder does not exist or is not writable, the disk is
        full. The message says which, and an old file is unchanged.
    FileFormatError
        If the architecture or the state is more JSON than a file may hold; as above.
    """
    path = Path(path)
    datasets: dict[str, Any] = {
        name: _stored(name, array, dtype) for name, array in content.arrays.items()
    }
    for name in sorted(_STRINGS):
        value = getattr(content, name)
        if value is not None:
            datasets[name] = _to_text(name, value)
    for name, array in content.optimizer_arrays.items():
        datasets[_OPTIMIZER + name] = array
    save = _WRITERS.get(path.suffix.lower(), hdf5.write)
    write_atomic(path, lambda stream: save(stream, datasets), "io")


def check_dtype(owner: str, path: str | os.PathLike, dtype: Any) -> str | None:
    """Return a dtype for `write`, in which the floats of a file can be stored; None for None.

    Examples
    --------
    >>> check_dtype("Model", "model.npz", "bfloat16")
    Traceback (most recent call last):
        ...
    ValueError: [Model] 'dtype' must be float16, float32 or float64 in NPZ and HDF5, got 'bfloat16'.
    """
    name = str(getattr(dtype, "__name__", dtype))
    has_more = Path(path).suffix.lower() == ".safetensors"
    if dtype is None or name in _FLOATS or (has_more and name == _BFLOAT16):
        return None if dtype is None else name
    rule = "must be float16, float32 or float64 in NPZ and HDF5"
    more = "must be float16, bfloat16, float32 or float64"
    raise checks.error(owner, "dtype", more if has_more else rule, dtype)


def _stored(name: str, array: np.ndarray, dtype: str | None) -> Any:
    """Return an array in the type in which it is stored; integers stay as they are."""
    if dtype is None or array.dtype.kind != "f":
        return array
    stored: Any
    if dtype == _BFLOAT16:
        stored = safetensors.to_bfloat16(array)
        read = safetensors.from_bfloat16(stored.bits)
    else:
        with np.errstate(over="ignore"):
            stored = read = array.astype(dtype)
    if not np.array_equal(np.isfinite(array), np.isfinite(read)):
        largest = np.abs(array[np.isfinite(array)]).max()
        raise ValueError(
            f"[io] 'dtype' {dtype} cannot hold '{name}', whose largest number is {largest:.4g}: "
            "choose a wider one."
        )
    return stored


def read(path: str | os.PathLike) -> ModelFile:
    """Read a model file, whatever it is called.

    Nothing in it is run, no other file is opened, and memory is bounded by a small multiple of its
    size. Anything that `write` does not write is refused; docs/files.md has the list. NaN and
    infinity are allowed, as weights may have them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is truncated, damaged or something else.
    """
    path = Path(path)
    with _open(path) as stream:
        head, more = stream.read(8), stream.read(1)
        stream.seek(0)
        if head == _HDF5_SIGNATURE:
            reader = hdf5.read
        elif head[:4] == _ZIP_SIGNATURE:
            reader = npz.read
        elif safetensors.is_head(head + more):
            reader = safetensors.read
        else:
            _refuse_foreign(path, stream, head)
            raise FileFormatError(
                f"[io] '{path}' is neither an HDF5 nor an NPZ nor a safetensors file."
            )
        try:
            datasets = reader(stream, size_of(stream), _STRINGS)
        except MemoryError:
            raise  # the file may be good
        except Exception as error:  # a damaged file can make the libraries fail in any way
            _refuse_foreign(path, stream, head)
            reason = str(error) or type(error).__name__
            is_whole = isinstance(error, safetensors.UnsupportedError)
            what = "cannot be read" if is_whole else "is damaged or truncated, or no model file"
            raise FileFormatError(f"[io] '{path}' {what}: {reason}.") from error
        if not datasets.keys() & _STRINGS:
            _refuse_foreign(path, stream, head)
    architecture, training = (_parse(datasets.pop(name, None), path) for name in sorted(_STRINGS))
    _check_fields("architecture", architecture, path)
    _check_fields("training", training, path)
    arrays, optimizer_arrays = {}, {}
    for name, value in datasets.items():
        if name.startswith(_OPTIMIZER):
            optimizer_arrays[name.removeprefix(_OPTIMIZER)] = value
        else:
            arrays[name] = value
    with _naming(path):
        fields.check_counters(optimizer_arrays)
    return ModelFile(architecture, arrays, training, optimizer_arrays)


def read_layers_json(path: str | os.PathLike) -> dict[str, Any] | None:
    """Return the layers from the JSON file of the older layout, or None if there is none.

    For `weights.hdf5` that is `weights.json`.
    """
    listed = Path(path).with_suffix(".json")
    if not listed.is_file():
        return None
    with _open(listed) as stream:
        architecture = {"layers": _parse(stream.read(MAX_TEXT + 1), listed)}
    _check_fields("architecture", architecture, listed)
    return architecture


def library_of(path: str | os.PathLike) -> str | None:
    """Return the library that wrote a file, as `foreign.identify` does; None if nn did.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    with _open(Path(path)) as stream:
        return foreign.identify(stream, stream.read(8))


def read_torch(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the arrays of PyTorch's state dict in a file, under PyTorch's names, in its order.

    It is one of `torch.save`, or any that nn reads with arrays under these names.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is damaged, or holds something else.
    """
    if library_of(path) != "PyTorch":
        return read(path).arrays
    with _open(Path(path)) as stream:
        try:
            return pytorch.read(stream, size_of(stream))
        except MemoryError:
            raise  # the file may be good
        except Exception as error:  # a damaged file can make the libraries fail in any way
            raise FileFormatError(
                f"[io] '{path}' is a file of PyTorch, but cannot be used: "
                f"{error or type(error).__name__}."
            ) from error


def _refuse_foreign(path: Path, stream: BinaryIO, head: bytes) -> None:
    """Raise if a file is known to be another library's."""
    other = foreign.origin(stream, head)
    if other is not None:
        raise FileFormatError(f"[io] '{path}' is no model file of nn: {other}.")


def _open(path: Path) -> BinaryIO:
    """Open a file, but not a pipe or a device, which may have no end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FileFormatError(f"[io] '{path}' is not a regular file.")
    return path.open("rb")


# -------------------------------------------------------------------------------- the JSON


def _to_text(name: str, value: Any) -> str:
    """Return a value as JSON, for `_parse`."""
    text = json.dumps(value, default=_json_value)
    if len(text) > MAX_TEXT:
        raise FileFormatError(
            f"[io] '{name}' must take at most {MAX_TEXT:,} characters in a file, got {len(text):,}."
        )
    return text


def _parse(text: str | bytes | None, path: Path) -> Any:
    """Return the value of a JSON text, or None for None."""
    if text is None:
        return None
    if len(text) > MAX_TEXT:
        raise FileFormatError(
            f"[io] '{path}' holds {len(text):,} characters of JSON, more than the {MAX_TEXT:,} "
            "that a model takes."
        )
    try:
        if isinstance(text, bytes):  # JSON is UTF-8; `loads` would look for a module of any other
            text = text.decode("utf-8").removeprefix("\ufeff")
        value = json.loads(text)
        check_depth(value)
    except (ValueError, RecursionError) as error:  # the latter: brackets without end
        raise FileFormatError(f"[io] '{path}' holds broken JSON: {error}.") from error
    return value


def _check_fields(name: str, value: Any, path: Path) -> None:
    """Raise unless every field of one of the JSON texts is what it must be; None for no text."""
    with _naming(path):
        fields.check(value, (fields.FIELDS[name],), name)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Raise errors about fields as one that names the file."""
    try:
        yield
    except ValueError as error:
        raise FileFormatError(f"[io] '{path}' does not describe a model: {error}.") from error


def check_depth(value: Any) -> None:
    """Refuse lists nested deeper than in any model, as functions may recurse through them."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(_MAX_DEPTH):
        inner = (v.values() if isinstance(v, dict) else v for v in level)
        level = [v for values in inner for v in values if isinstance(v, dict | list)]
        if not level:
            return
    raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")


def _json_value(value: Any) -> Any:
    """Return NumPy's numbers and arrays as Python's, for JSON."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(
        f"[io] a configuration or a state must hold numbers, strings and lists, got "
        f"{type(value).__name__} {value!r}: to_config() must return values that JSON can "
        "store; get_state() may return arrays too."
    )
