"""Model files: one HDF5 or NPZ file holds the architecture, the arrays and the training state.

This module knows files, dictionaries and arrays, and nothing of models: `Model.save` hands
it a `ModelFile` and `Model.load` gets one back.

An HDF5 file holds
    architecture                  JSON: dtype, name, input_shape, class_names, and {"class",
                                  "config"} a layer
    training                      JSON: what `compile` was given, history, generators' states
    <index>_<LayerClass>_<name>   each array of each layer: 7_Dense_W, 3_BatchNorm2D_running_var;
                                  inside a layer, in a group of its: 3_Residual/0_Conv2D_W
    optimizer/<slot>/<array>      each array of the optimizer: optimizer/m/7_Dense_W
and an NPZ file the same under the same names. JSON stands in datasets because an HDF5
attribute ends at 64 KB.

An older layout is read too: the arrays in `weights.hdf5`, beside a `weights.json` that lists
the layers.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .checks import FileFormatError

__all__ = [
    "FileFormatError",
    "LoadReport",
    "ModelFile",
    "match_arrays",
    "read",
    "read_layers_beside",
    "write",
]

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ZIP_SIGNATURE = b"PK\x03\x04"
_OPTIMIZER = "optimizer/"


@dataclass
class ModelFile:
    """What a model file holds.

    Attributes
    ----------
    architecture
        'layers' (a list of {'class', 'config'}), and 'input_shape', 'dtype', 'name', 'class_names'
        where the file has them; None in a file of weights alone.
    arrays
        Arrays of the layers by their names in the file, on the CPU.
    training
        What is needed to go on training; None where it was not saved.
    optimizer_arrays
        The optimizer's arrays, as `Optimizer.get_state` gives them.
    """

    architecture: dict[str, Any] | None
    arrays: dict[str, np.ndarray]
    training: dict[str, Any] | None = None
    optimizer_arrays: dict[str, np.ndarray] = field(default_factory=dict)


def write(path: str | os.PathLike, content: ModelFile) -> None:
    """Write a model file: NPZ where the name ends in .npz, else HDF5.

    The file is written beside its place and moved there whole, so that an interruption leaves
    the old file as it was.

    Raises
    ------
    OSError
        Where the folder does not exist or cannot be written.
    """
    path = Path(path)
    datasets: dict[str, Any] = dict(content.arrays)
    for name in ("architecture", "training"):
        value = getattr(content, name)
        if value is not None:
            datasets[name] = json.dumps(value, default=_plain)
    for name, array in content.optimizer_arrays.items():
        datasets[_OPTIMIZER + name] = array
    save = _write_npz if path.suffix.lower() == ".npz" else _write_hdf5
    _replace_whole(path, lambda stream: save(stream, datasets))


def read(path: str | os.PathLike) -> ModelFile:
    """Read a model file, whatever it is called.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    FileFormatError
        For a truncated, damaged or foreign file.
    """
    path = Path(path)
    with path.open("rb") as stream:
        head = stream.read(8)
    if head == _HDF5_SIGNATURE:
        datasets = _read_hdf5(path)
    elif head[:4] == _ZIP_SIGNATURE:
        datasets = _read_npz(path)
    else:
        raise FileFormatError(f"[io] '{path}' is neither an HDF5 nor an NPZ file.")
    architecture = _parse(datasets.pop("architecture", None), path)
    training = _parse(datasets.pop("training", None), path)
    arrays, optimizer_arrays = {}, {}
    for name, value in datasets.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
            raise FileFormatError(f"[io] '{path}': '{name}' is not an array of numbers.")
        if name.startswith(_OPTIMIZER):
            optimizer_arrays[name.removeprefix(_OPTIMIZER)] = value
        else:
            arrays[name] = value
    return ModelFile(architecture, arrays, training, optimizer_arrays)


def read_layers_beside(path: str | os.PathLike) -> dict[str, Any] | None:
    """Return the layers that the older layout lists beside a weights file, or None.

    For `weights.hdf5` they stand in `weights.json`.
    """
    beside = Path(path).with_suffix(".json")
    if not beside.is_file():
        return None
    return {"layers": _parse(beside.read_bytes(), beside)}


@dataclass
class LoadReport:
    """What came of loading arrays into a model.

    Attributes
    ----------
    where : str
        The file.
    loaded : list of str
        Names of the arrays that the model has now from the file.
    skipped : dict
        The other names, of the model or of the file, each with the reason.

    Examples
    --------
    >>> print(LoadReport("old.hdf5", ["0_Dense_W"], {"1_Dense_W": "the file has no such array"}))
    old.hdf5: 1 array loaded, 1 skipped
      loaded   0_Dense_W
      skipped  1_Dense_W: the file has no such array
    """

    where: str = "arrays"
    loaded: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        count = len(self.loaded)
        lines = [
            f"{self.where}: {count} array{'s' * (count != 1)} loaded, {len(self.skipped)} skipped",
            *(f"  loaded   {name}" for name in self.loaded),
            *(f"  skipped  {name}: {reason}" for name, reason in self.skipped.items()),
        ]
        return "\n".join(lines)


def match_arrays(
    own: dict[str, Any],
    loaded: dict[str, np.ndarray],
    where: str,
    strict: bool = True,
    report: LoadReport | None = None,
) -> LoadReport:
    """Return which names can be loaded; where `strict`, raise unless that is all of them.

    Parameters
    ----------
    own, loaded
        The model's arrays and the file's, by name.
    where
        The file, for the message.
    strict
        Whether a missing, an extra or a wrongly shaped array is an error.
    report
        To be filled in; None makes one.

    Raises
    ------
    ValueError
        It lists what is missing in the file, what is extra in it, and what has another shape.
    """
    missing = [name for name in own if name not in loaded]
    extra = [name for name in loaded if name not in own]
    shared = [name for name in own if name in loaded]
    wrong = [name for name in shared if loaded[name].shape != own[name].shape]
    listed = {
        "missing": missing,
        "extra": extra,
        "wrong shape": [f"{name} {loaded[name].shape} for {own[name].shape}" for name in wrong],
    }
    problems = [f"{label}: {', '.join(names)}" for label, names in listed.items() if names]
    if strict and problems:
        raise ValueError(f"[io] '{where}' does not fit the model: {'; '.join(problems)}.")
    report = LoadReport(where) if report is None else report
    report.loaded[:] = [name for name in shared if name not in wrong]
    report.skipped.update(dict.fromkeys(missing, "the file has no such array"))
    report.skipped.update(dict.fromkeys(extra, "the model has no such array"))
    for name in wrong:
        shapes = f"{loaded[name].shape} in the file, {own[name].shape} in the model"
        report.skipped[name] = f"its shape is {shapes}"
    return report


# ------------------------------------------------------------------------ the two formats


def _write_hdf5(stream: BinaryIO, datasets: dict[str, Any]) -> None:
    import h5py  # imported where it is used, so that `import nn` stays light

    with h5py.File(stream, "w") as file:
        for name, value in datasets.items():
            file.create_dataset(name, data=value)


def _read_hdf5(path: Path) -> dict[str, Any]:
    import h5py

    datasets: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if not isinstance(name, str):  # h5py's answer to a name that is no text
            raise ValueError(f"it holds the name {name!r}")
        if isinstance(item, h5py.Dataset):
            is_text = h5py.check_string_dtype(item.dtype) is not None
            datasets[name] = item.asstr()[()] if is_text else item[()]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except Exception as error:  # damage makes the library fail in any way at all
        raise FileFormatError(f"[io] '{path}' is damaged or truncated: {error}.") from error
    return {name: _as_array(value) for name, value in datasets.items()}


def _as_array(value: Any) -> Any:
    """Return h5py's scalars as arrays of no axes; text stays text."""
    return value if isinstance(value, str) else np.asarray(value)


def _write_npz(stream: BinaryIO, datasets: dict[str, Any]) -> None:
    np.savez(stream, **datasets)


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            datasets = {name: file[name] for name in file.files}
            if not all(isinstance(value, np.ndarray) for value in datasets.values()):
                raise ValueError("it holds files that are no arrays")
    except Exception as error:  # damage makes the library fail in any way at all
        raise FileFormatError(f"[io] '{path}' is damaged or truncated: {error}.") from error
    return {
        name: str(value) if value.dtype.kind == "U" else value for name, value in datasets.items()
    }


def _parse(text: Any, path: Path) -> Any:
    """Return the value of a JSON text, or None for None."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:  # the last: brackets without end
        raise FileFormatError(f"[io] '{path}' holds broken JSON: {error}.") from error


def _plain(value: Any) -> Any:
    """Return NumPy's numbers and arrays as Python's own, for JSON."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(
        f"[io] a configuration must hold numbers, texts and lists, got {type(value).__name__} "
        f"{value!r}: return from to_config() what JSON can write."
    )


def _replace_whole(path: Path, save: Callable[[BinaryIO], None]) -> None:
    """Let `save` write a temporary file beside `path`, and move it there once it is on disk."""
    path = Path(os.path.realpath(path))  # a link stays, what it points to is replaced
    if not path.parent.is_dir():
        raise FileNotFoundError(f"[io] cannot save '{path}': there is no folder '{path.parent}'.")
    handle, temporary = tempfile.mkstemp(prefix=".nn-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "w+b") as stream:
            save(stream)
            stream.flush()
            os.fsync(stream.fileno())
        mode = path.stat().st_mode if path.exists() else 0o666 & ~_umask()
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def _umask() -> int:
    """Return the process's mask for new files; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
