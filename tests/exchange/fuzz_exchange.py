"""Files of ONNX and Keras, damaged: the kinds of `fuzz_files.py` for them.

python tests/fuzz_files.py --mutations 20000 --only .onnx
python tests/fuzz_files.py --mutations 20000 --only .keras
python tests/fuzz_files.py --mutations 20000 --only .h5
"""

import io
import shutil
import warnings
import zipfile
from pathlib import Path

import nn
from nn.exchange.onnx import wire

FIXTURES = Path(__file__).parent / "fixtures"

#: The valid files: those of PyTorch's exporters and Keras, and one that nn writes.
ONNX = ("images_old17", "sequences_old17", "sequences_new21", "pools_new21", "keras_ids", "lists",
        "attention_old17", "attention_new21", "joined_new21")  # fmt: skip
KERAS = ("images.keras", "ids.keras", "blocks.keras", "keras2.h5", "nested.h5", "blocks.h5")


def make_valid(folder):
    """Write a valid file of each kind."""
    for name in ONNX:
        shutil.copy(FIXTURES / "from_onnx" / f"{name}.onnx", folder)
    for name in KERAS:
        shutil.copy(FIXTURES / "from_keras" / name, folder)
    layers = [
        nn.Embedding(9, 4, input_shape=(None,)),
        nn.PositionalEmbedding(6),
        nn.Residual([nn.LayerNorm(), nn.MultiHeadAttention(2, 2, causal=True)]),
        nn.Bidirectional(nn.LSTM(2)),
        nn.Dense(2, activation="gelu"),
    ]
    nn.Model(layers, seed=0).export(folder / "own.onnx")


INTEGERS = [0, 1, 2, 3, 4, 7, 8, -1, -2, 255, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63)]
OPERATORS = [
    *("Add", "Mul", "Sub", "Div", "MatMul", "Gemm", "Conv", "Reshape", "Transpose", "Gather"),
    *("Slice", "Concat", "Shape", "Expand", "ConstantOfShape", "Range", "Where", "Pow", "LSTM"),
    *("Unsqueeze", "Squeeze", "Flatten", "Pad", "Resize", "ReduceMean", "Softmax", "Cast", "If"),
    *("LayerNormalization", "BatchNormalization", "InstanceNormalization", "Identity", "Tile"),
]


def plain(value):
    """Return a decoded message with bytes of its own."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return bytes(value) if isinstance(value, memoryview) else value


def places(value):
    """Return every (container, key) inside a message."""
    found, rest = [], [value]
    while rest:
        holder = rest.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                rest.append(holder[key])
    return found


def change_onnx(content, rng):
    """Return a file of ONNX with numbers, names, arrays, nodes or operators exchanged."""
    message = plain(wire.decode("Model", content))
    names = [name for node in message["graph"]["node"] for name in node["output"]]
    for _ in range(int(rng.integers(1, 4))):
        found = places(message)
        holder, key = found[int(rng.integers(0, len(found)))]
        _change_field(holder, key, names, rng)
    try:
        return wire.encode("Model", message)
    except (TypeError, AttributeError, KeyError):  # it is no message any more
        return content[: int(rng.integers(0, len(content)))]


def _change_field(holder, key, names, rng):
    value = holder[key]
    if isinstance(value, bool | int):
        holder[key] = INTEGERS[int(rng.integers(0, len(INTEGERS)))]
    elif isinstance(value, float):
        holder[key] = float(rng.choice([0.0, -1.0, 1e30, float("nan"), float("inf")]))
    elif isinstance(value, str):
        holder[key] = str(rng.choice(OPERATORS if key == "op_type" else [*names, "", "x"]))
    elif isinstance(value, bytes):
        cut = int(rng.integers(0, len(value) + 1))
        holder[key] = value[:cut] if rng.random() < 0.5 else value * int(rng.integers(2, 5))
    elif isinstance(value, list) and value:
        way, at = rng.integers(0, 4), int(rng.integers(0, len(value)))
        if way == 0:
            del value[at]
        elif way == 1:
            value.append(value[at])
        elif way == 2:
            value[at], value[0] = value[0], value[at]
        else:
            holder[key] = value * int(rng.integers(2, 40))
    elif isinstance(value, dict) and value:
        value.pop(list(value)[int(rng.integers(0, len(value)))])


def change_keras(change_json, change_bytes):
    """Return what changes members of Keras' archive, but leaves sums that are right."""

    def change(content, rng):
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            members = {info.filename: file.read(info) for info in file.infolist()}
        if rng.random() < 0.7:
            text = change_json(members["config.json"], rng)
            members["config.json"] = text.encode("utf-8", "surrogatepass")
        else:
            name = list(members)[int(rng.integers(0, len(members)))]
            members[name] = change_bytes(members[name], rng)
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as file:
            for name, data in members.items():
                file.writestr(name, data)
        return stream.getvalue()

    return change


def load(path, number):
    """Load a model, or weights into one of another kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if number % 7 == 0:
            nn.Model([nn.Dense(3, input_shape=(4,))]).load_weights(path, strict=False)
        else:
            nn.Model.load(path)
