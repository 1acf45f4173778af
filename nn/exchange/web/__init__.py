"""A static web page that runs a model of images in the browser, by ONNX Runtime Web.

The page is HTML, CSS and JavaScript in `page/`; this module adds the model, what the page has to
know of it, and the runtime. No server computes anything, and the page asks no other host for
anything.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ... import checks
from ...checks import FileFormatError
from ..onnx import wire

__all__ = ["export_web"]

_OWNER = "export_web"
_PAGE = Path(__file__).with_name("page")
_FLOAT = 1  # the number of float32 in ONNX
_DIGITS = [str(digit) for digit in range(10)]


def export_web(
    model: Any,
    folder: str | os.PathLike,
    *,
    runtime: str | os.PathLike | None = None,
    size: tuple[int, int] | None = None,
    input_range: tuple[float, float] | None = None,
    activation: str | None = None,
    class_names: Sequence[str] | None = None,
    digits: bool | None = None,
) -> dict[str, Any]:
    """Write a web page that classifies images with a model, in the browser of whoever opens it.

    Grey images can be drawn with the mouse or a finger, all can be opened from a file. The page
    shows the probabilities, the input of the network and the parts that it looks at. It has to be
    served, by any server of files: `python -m http.server` in the folder.

    Parameters
    ----------
    model
        A built model of images (N, 1 or 3, H, W) with class scores (N, K), or the path of an ONNX
        file of one, from whichever library.
    folder
        A new or an empty folder.
    runtime
        The folder with ONNX Runtime Web: the npm package `onnxruntime-web`, or its `dist`. None
        gets the package by `npm`. An address, 'https://...', of the files of `dist`: then they are
        not copied, and the page loads them from there.
    size
        (H, W) for a model that takes images of any size.
    input_range
        The values of black and white in the model's inputs. None is (0, 1), if the model was
        trained on values in this range or does not say; or (0, 255), if the first layers of a
        `Model` from another library take these, such as `Rescale(1 / 255)`.
    activation
        What the page applies to the outputs: 'softmax', 'sigmoid', or 'none' if they are
        probabilities. None reads it from the model.
    class_names
        The names of the classes. None reads them from the model; without any, the classes are
        numbered.
    digits
        Whether a drawing is brought to the form of MNIST's digits (`nn.data.normalize_digit`). None
        does so for images of 28 x 28 grey pixels with ten classes that are called 0 to 9, or have
        no names.

    Returns
    -------
    dict
        What the page knows of the model, as in `model.json`.

    Raises
    ------
    FileNotFoundError, nn.io.FileFormatError
        If there is no such file, or it is not an ONNX file of a model of images.
    FileExistsError
        If the folder has files in it.
    ValueError
        If something about the model is not known and not said, or contradicts it.
    RuntimeError
        If the model is not built, or the runtime is not there and npm cannot get it.

    Notes
    -----
    How much a part counts is how far the probability of the most likely class falls if the part is
    covered: M. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV
    2014, arXiv:1311.2901, section 4.2.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Dense(2, input_shape=(3,))])
    >>> export_web(model, "page")
    Traceback (most recent call last):
        ...
    ValueError: [export_web] 'model' must take images (N, 1 or 3, H, W), got inputs (None, 3).
    """
    from . import runtime as ort_web  # only here, as it starts other programs

    folder = Path(checks.path(_OWNER, "folder", folder))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"[{_OWNER}] 'folder' must be new or empty, got '{folder}'.")
    with tempfile.TemporaryDirectory() as temporary:
        data = _onnx_of(model, Path(temporary))
        if input_range is None and _takes_bytes(model):
            input_range = (0.0, 255.0)
        about = _about(_message(data, model), size, input_range, activation, class_names)
        about["digits"] = _draws_digits(about, digits)
        page = Path(temporary) / "page"
        shutil.copytree(_PAGE, page)
        address = ort_web.address_of(runtime)
        if address is not None:
            app = (page / "app.js").read_text(encoding="utf-8")
            (page / "app.js").write_text(app.replace('"./ort/', f'"{address}'), encoding="utf-8")
        else:
            (page / "ort").mkdir()
            for file in ort_web.files(runtime, Path(temporary)):
                shutil.copyfile(file, page / "ort" / file.name)
        (page / "model.onnx").write_bytes(data)
        text = json.dumps(about, indent=2, ensure_ascii=False)
        (page / "model.json").write_text(text + "\n", encoding="utf-8")
        _move_whole(page, folder)
    return about


def _move_whole(page: Path, folder: Path) -> None:
    """Copy the page next to the folder, then rename it, so that there is never half of one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".nn-") as parent:
        whole: Path = shutil.copytree(page, Path(parent) / "page")
        if folder.exists():
            folder.rmdir()  # raises if a file has come meanwhile
        whole.replace(folder)


# ------------------------------------------------------------------------------------ the model


def _onnx_of(model: Any, temporary: Path) -> bytes:
    """Return the bytes of the ONNX file of a model, with probabilities if nn exports it."""
    if isinstance(model, str | os.PathLike):
        return Path(checks.path(_OWNER, "model", model)).read_bytes()
    if model.built and not _is_image(model.input_shape):
        _refuse_inputs(model.input_shape)
    path = temporary / "model.onnx"
    model.export(path, softmax=model.loss is not None)
    return path.read_bytes()


def _takes_bytes(model: Any) -> bool:
    """Return whether a model that was not trained here has first layers for values of 0..255."""
    known = getattr(model, "input_range", None)
    return known is None and getattr(model, "scaler_of_bytes", None) is not None


def _message(data: bytes, source: Any) -> dict[str, Any]:
    try:
        message = wire.decode("Model", data)
    except ValueError as error:
        raise FileFormatError(f"{source} is not an ONNX file: {error}") from None
    if not message.get("graph", {}).get("node"):
        raise FileFormatError(f"{source} is not an ONNX file: it has no graph.")
    return message


def _about(
    message: dict[str, Any],
    size: tuple[int, int] | None,
    input_range: tuple[float, float] | None,
    activation: str | None,
    class_names: Sequence[str] | None,
) -> dict[str, Any]:
    """Return what the page has to know of a model."""
    graph = message["graph"]
    metadata = {pair.get("key"): pair.get("value", "") for pair in message["metadata_props"]}
    weights = {tensor.get("name") for tensor in graph["initializer"]}
    inputs = [value for value in graph["input"] if value.get("name") not in weights]
    if len(inputs) != 1 or len(graph["output"]) != 1:
        names = [value.get("name") for value in [*inputs, *graph["output"]]]
        raise checks.error(_OWNER, "model", "must have one input and one output", names)
    shape, outputs = _shape_of(inputs[0]), _shape_of(graph["output"][0])
    if not _is_image(shape) or _tensor_type(inputs[0]).get("elem_type") != _FLOAT:
        _refuse_inputs(shape)
    if len(outputs) != 2 or outputs[1] is None:
        rule = "must return class scores (N, K)"
        raise ValueError(f"[{_OWNER}] 'model' {rule}, got outputs {outputs}.")
    height, width = _size_of(shape, size)
    return {
        "name": metadata.get("name") or graph.get("name") or "Model",
        "input": inputs[0].get("name"),
        "output": graph["output"][0].get("name"),
        "channels": shape[1],
        "height": height,
        "width": width,
        "any_batch": shape[0] is None,
        "range": _range_of(input_range, metadata),
        "activation": _activation_of(activation, metadata),
        "classes": max(outputs[1], 2),
        "class_names": _names_of(class_names, metadata, outputs[1]),
    }


def _shape_of(value: dict[str, Any]) -> tuple[int | None, ...]:
    dims = _tensor_type(value).get("shape", {}).get("dim", [])
    return tuple(dim.get("dim_value") for dim in dims)


def _tensor_type(value: dict[str, Any]) -> dict[str, Any]:
    return value.get("type", {}).get("tensor_type", {})


def _is_image(shape: Sequence[int | None]) -> bool:
    return len(shape) == 4 and shape[1] in (1, 3)


def _refuse_inputs(shape: Sequence[int | None]) -> None:
    rule = "must take images (N, 1 or 3, H, W)"
    raise ValueError(f"[{_OWNER}] 'model' {rule}, got inputs {tuple(shape)}.")


def _size_of(shape: Sequence[int | None], size: tuple[int, int] | None) -> tuple[int, int]:
    """Return the height and the width of the images."""
    wanted = None if size is None else checks.pair(_OWNER, "size", size)
    found = shape[2], shape[3]
    if wanted is None:
        if None in found:
            rule = "must be (H, W), as the model takes images of any size"
            raise checks.error(_OWNER, "size", rule, size)
        return found  # type: ignore[return-value]
    if any(n not in (None, m) for n, m in zip(found, wanted, strict=True)):
        raise checks.error(_OWNER, "size", f"must be the model's, {found}", size)
    return wanted


def _range_of(given: tuple[float, float] | None, metadata: dict[str, str]) -> list[float]:
    """Return the values of black and white."""
    if given is not None:
        low, high = (checks.finite(_OWNER, "input_range", value) for value in given)
        if low >= high:
            raise checks.error(_OWNER, "input_range", "must be (black, white), black first", given)
        return [low, high]
    trained = _parsed(metadata, "input_range") or [0, 1]
    low_to_high = len(trained) == 2 and all(checks.is_number(value) for value in trained)
    if not low_to_high or trained[0] < 0 or trained[1] > 1:
        raise checks.error(
            _OWNER,
            "input_range",
            f"must be the values of black and white: the model was trained on values in {trained}",
            given,
        )
    return [0.0, 1.0]


def _activation_of(given: str | None, metadata: dict[str, str]) -> str:
    """Return what turns the outputs into probabilities."""
    known = ("softmax", "sigmoid", "none")
    if given is not None:
        if given not in known:
            raise checks.unknown(_OWNER, "activation", given, known)
        return given
    if metadata.get("output") == "probabilities":
        return "none"
    outputs = metadata.get("output")
    outputs = outputs if outputs in ("logits", "values") else "unknown"
    rule = (
        f"must be 'softmax', 'sigmoid' or 'none', as the model's outputs are {outputs}, not "
        "probabilities (export(softmax=True) writes probabilities)"
    )
    raise checks.error(_OWNER, "activation", rule, given)


def _names_of(
    given: Sequence[str] | None, metadata: dict[str, str], outputs: int
) -> list[str] | None:
    known = _parsed(metadata, "class_names") if given is None else given
    if known is None:
        return None
    as_text = [str(name) for name in known]
    if len(as_text) != max(outputs, 2):
        rule = f"must be {max(outputs, 2)} names, one for each class"
        raise checks.error(_OWNER, "class_names", rule, as_text)
    return as_text


def _parsed(metadata: dict[str, str], key: str) -> list[Any] | None:
    """Return a list that nn's metadata hold as JSON; None if it is not there."""
    text = metadata.get(key)
    try:
        value = json.loads(text) if text else None
    except ValueError:
        value = text
    if value is not None and not isinstance(value, list):
        raise FileFormatError(f"The metadata '{key}' of the model are not a list: {text!r}.")
    return value


def _draws_digits(about: dict[str, Any], given: bool | None) -> bool:
    """Return whether drawings are brought to the form of MNIST's digits."""
    is_mnist = (about["channels"], about["height"], about["width"]) == (1, 28, 28)
    if given is None:
        return is_mnist and about["classes"] == 10 and about["class_names"] in (None, _DIGITS)
    if checks.boolean(_OWNER, "digits", given) and not is_mnist:
        rule = "must be False for images that are not 28 x 28 grey pixels"
        raise checks.error(_OWNER, "digits", rule, given)
    return given
