"""The wire format of ONNX files, against bytes written by hand and against the package `onnx`."""

import numpy as np
import pytest

from nn.exchange.onnx import wire

TENSOR = {"dims": [2, 3], "data_type": 1, "name": "W", "raw_data": bytes(24)}
NODE = {
    "input": ["x", ""],
    "output": ["y"],
    "name": "n",
    "op_type": "Pad",
    "attribute": [
        {"name": "alpha", "f": 0.5, "type": 1},
        {"name": "axis", "i": -1, "type": 2},
        {"name": "mode", "s": b"edge", "type": 3},
        {"name": "pads", "ints": [0, -3, 1 << 40], "type": 7},
    ],
}
MODEL = {
    "ir_version": 8,
    "producer_name": "ö",
    "graph": {"node": [NODE], "name": "g", "initializer": [TENSOR]},
    "opset_import": [{"domain": "", "version": 300}],
}


def contains(found, expected):
    """Whether all that is expected is there; empty lists may be there besides."""
    if isinstance(expected, dict):
        return all(contains(found[key], value) for key, value in expected.items())
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(contains, found, expected))
    return found == expected


def test_round_trip():
    assert contains(wire.decode("Model", wire.encode("Model", MODEL)), MODEL)


def test_the_package_reads_what_is_written():
    onnx = pytest.importorskip("onnx", reason="the package onnx reads the file")
    model = onnx.ModelProto.FromString(wire.encode("Model", MODEL))
    assert model.producer_name == "ö"
    assert list(model.graph.node[0].attribute[3].ints) == [0, -3, 1 << 40]
    assert wire.decode("Model", model.SerializeToString())["opset_import"][0]["version"] == 300


def test_packed_numbers():
    floats = np.array([1, -2], "<f4").tobytes()
    message = bytes([0x22, 8]) + floats + bytes([0x3A, 3, 1, 0x80, 1]) + bytes([0x0A, 1, 5])
    found = wire.decode("Tensor", message)
    assert (found["float_data"], found["int64_data"], found["dims"]) == ([1, -2], [1, 128], [5])


@pytest.mark.parametrize(
    "data, reason",
    (
        (b"\x0a", "within a number"),
        (b"\x0a\x05ab", "within a field"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "within a field"),
        (b"\x08" + b"\x80" * 10, "more than 10 bytes"),
        (b"\x0b\x00", "wire type 3"),
        (b"\x0a\x01\xff", "decode"),
        (b"\x08\x01", "wire type 0"),
    ),
)
def test_damaged_messages_are_errors(data, reason):
    with pytest.raises(ValueError, match=reason):
        wire.decode("Opset", data)


def test_there_are_not_more_fields_than_a_model_has(monkeypatch):
    monkeypatch.setattr(wire, "MAX_FIELDS", 1000)
    for data in (b"\x42\x00" * 1001, b"\xf8\x07\x00" * 1001):  # empty messages, unknown fields
        with pytest.raises(ValueError, match="more than 1,000 fields"):
            wire.decode("Model", data)
    packed = b"\x3a\xd0\x0f" + bytes(2000)
    with pytest.raises(ValueError, match="more than 1,000"):
        wire.decode("Tensor", packed)
    with pytest.raises(ValueError, match="more than 1,000"):
        wire.decode("Tensor", b"\x22\x80\x7d" + bytes(16000))
