"""Files of other libraries, recognized by what they hold, so that they are not called damaged."""

import os
import zipfile
from pathlib import Path
from typing import Any

#: The first bytes of files of PyTorch before 1.6.
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF"

#: What follows the version of the format in a file of ONNX: the keys of the fields 2 to 8, the
#: producer to the graph and the opsets (`nn.exchange.onnx.wire`).
_AFTER_VERSION = b"\x12\x1a\x22\x28\x32\x3a\x42"

_MAKE = "make the same layers here"

#: What to do with files that nn does not read, or not in this way, by what `identify` returns.
_ADVICE = {
    "Keras": (
        f"it is a file of Keras; load it there, {_MAKE}, and pass the arrays to set_arrays() of "
        "the model"
    ),
    "PyTorch": (
        f"it is a file of PyTorch, which has weights but no layers: {_MAKE}, and call "
        "load_weights(path, layout='torch')"
    ),
    "PyTorch before 1.6": (
        "it is a file of PyTorch before 1.6, a pickle that can run any program, and is not opened; "
        "load it there and save its state_dict again: torch.save(model.state_dict(), path)"
    ),
    "pickle": (
        "it is a pickle, as PyTorch's older files and scikit-learn's: it can run any program and "
        "is not opened; load it with the library that wrote it"
    ),
    "ONNX": "it is a model of ONNX, which Model.load reads whole",
    "TensorFlow Lite": "it is a model of TensorFlow Lite, which nn does not read",
}

_OWN = "save to '.hdf5', '.npz' or '.safetensors' instead"

#: Suffixes of files that nn does not write, and what to do instead.
_FOREIGN = {
    **dict.fromkeys((".keras",), f"save() alone writes files of Keras: {_OWN}"),
    **dict.fromkeys((".onnx",), f"export() writes ONNX: {_OWN}"),
    **dict.fromkeys(
        (".pt", ".pth", ".ckpt"),
        f"nn does not write the pickles of PyTorch: {_OWN}",
    ),
    **dict.fromkeys(
        (".pkl", ".pickle", ".joblib"),
        f"nn writes no pickles, which can run code when they are read: {_OWN}",
    ),
    **dict.fromkeys((".tflite", ".pb"), f"nn does not write files of TensorFlow: {_OWN}"),
    **dict.fromkeys((".npy", ".json", ".zip", ".mat", ".gguf"), _OWN),
}


def check_suffix(owner: str, path: str | os.PathLike) -> None:
    """Raise if the suffix of a path is that of a format which `Model.save` does not write.

    Examples
    --------
    >>> check_suffix("Model", "model.pkl")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: [Model] 'path' must have the suffix of its format, got 'model.pkl': nn writes no ...
    """
    advice = _FOREIGN.get(Path(path).suffix.lower())
    if advice is not None:
        raise ValueError(
            f"[{owner}] 'path' must have the suffix of its format, got '{os.fspath(path)}': "
            f"{advice}."
        )


def origin(stream: Any, head: bytes) -> str | None:
    """Return what a file of another library is and what to do; None for an unknown file.

    The arguments are those of `identify`.
    """
    return _ADVICE.get(identify(stream, head) or "")


def identify(stream: Any, head: bytes) -> str | None:
    """Return which library, or which kind of file, it is; None for an unknown file.

    Only names in the file are read, and nothing in it is run.

    Parameters
    ----------
    stream
        The open file.
    head
        Its first 8 bytes.
    """
    import h5py  # imported here, so that `import nn` stays light

    stream.seek(0)
    try:
        if head[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(stream) as file:
                names = file.namelist()
            if "config.json" in names and "metadata.json" in names:
                return "Keras"
            return "PyTorch" if any(name.endswith("data.pkl") for name in names) else None
        if head == b"\x89HDF\r\n\x1a\n":
            with h5py.File(stream, "r") as file:
                is_keras = "model_weights" in file or "layer_names" in file.attrs
                is_weights = "_layer_checkpoint_dependencies" in file or "layers" in file
            return "Keras" if is_keras or is_weights else None
    except Exception:  # a damaged file can make the libraries fail in any way
        return None
    if head[:1] == b"\x80":
        is_torch = head == _OLD_TORCH
        return "PyTorch before 1.6" if is_torch else "pickle"
    if head[:1] == b"\x08" and len(head) > 2 and head[1] < 128 and head[2] in _AFTER_VERSION:
        return "ONNX"
    return "TensorFlow Lite" if head[4:] == b"TFL3" else None
