"""The messages of ONNX in the wire format of Protocol Buffers: dictionaries to bytes and back.

A message is a dictionary of its fields; a field that is not there is left out. On the wire each
field is a key, its number and a wire type, and a value: a varint, 4 or 8 bytes, or a length and so
many bytes (https://protobuf.dev/programming-guides/encoding). The numbers are those of `onnx.proto`
in the ONNX repository. Fields that are not listed here are skipped by `decode`; as graphs inside
attributes are among them, messages nest no deeper than this table.
"""

import struct
from typing import Any, NamedTuple

import numpy as np

__all__ = ["decode", "encode"]

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5

#: Fields of a file, and numbers in lists, that are read at most; each takes more memory than bytes.
MAX_FIELDS = 2_000_000


class Field(NamedTuple):
    """The name of a field, what it holds ('int', ..., or the name of a message), if it repeats."""

    name: str
    kind: str
    many: bool = False


#: The fields of each message by their numbers.
MESSAGES: dict[str, dict[int, Field]] = {
    "Model": {
        1: Field("ir_version", "int"),
        2: Field("producer_name", "string"),
        7: Field("graph", "Graph"),
        8: Field("opset_import", "Opset", True),
        14: Field("metadata_props", "Pair", True),
        25: Field("functions", "Function", True),
    },
    "Opset": {1: Field("domain", "string"), 2: Field("version", "int")},
    "Pair": {1: Field("key", "string"), 2: Field("value", "string")},
    "Function": {1: Field("name", "string")},
    "Graph": {
        1: Field("node", "Node", True),
        2: Field("name", "string"),
        5: Field("initializer", "Tensor", True),
        11: Field("input", "Value", True),
        12: Field("output", "Value", True),
    },
    "Node": {
        1: Field("input", "string", True),
        2: Field("output", "string", True),
        3: Field("name", "string"),
        4: Field("op_type", "string"),
        5: Field("attribute", "Attribute", True),
        7: Field("domain", "string"),
    },
    "Attribute": {
        1: Field("name", "string"),
        2: Field("f", "float"),
        3: Field("i", "int"),
        4: Field("s", "bytes"),
        5: Field("t", "Tensor"),
        7: Field("floats", "float", True),
        8: Field("ints", "int", True),
        9: Field("strings", "bytes", True),
        20: Field("type", "int"),
    },
    "Tensor": {
        1: Field("dims", "int", True),
        2: Field("data_type", "int"),
        4: Field("float_data", "float", True),
        5: Field("int32_data", "int", True),
        7: Field("int64_data", "int", True),
        8: Field("name", "string"),
        9: Field("raw_data", "bytes"),
        10: Field("double_data", "double", True),
        13: Field("external_data", "Pair", True),
        14: Field("data_location", "int"),
    },
    "Value": {1: Field("name", "string"), 2: Field("type", "Type")},
    "Type": {1: Field("tensor_type", "TensorType")},
    "TensorType": {1: Field("elem_type", "int"), 2: Field("shape", "Shape")},
    "Shape": {1: Field("dim", "Dimension", True)},
    "Dimension": {1: Field("dim_value", "int"), 2: Field("dim_param", "string")},
}

_NUMBERS = {"float": ("<f", _FOUR), "double": ("<d", _EIGHT)}


# ------------------------------------------------------------------------------------ writing


def encode(kind: str, message: dict[str, Any]) -> bytes:
    """Return a message as bytes.

    Parameters
    ----------
    kind
        The name of the message in `MESSAGES`.
    message
        Its fields by name; lists for those that repeat.

    Examples
    --------
    >>> encode("Opset", {"version": 300}).hex()
    '10ac02'
    """
    parts: list[bytes] = []
    for number, field in MESSAGES[kind].items():
        value = message.get(field.name)
        for item in () if value is None else value if field.many else (value,):
            parts += _encoded(number, field.kind, item)
    return b"".join(parts)


def _encoded(number: int, kind: str, value: Any) -> list[bytes]:
    if kind == "int":
        return [_varint(number << 3 | _VARINT), _varint(value & (1 << 64) - 1)]
    if kind in _NUMBERS:
        form, wire_type = _NUMBERS[kind]
        return [_varint(number << 3 | wire_type), struct.pack(form, value)]
    if kind == "string":
        value = value.encode("utf-8")
    elif kind != "bytes":
        value = encode(kind, value)
    return [_varint(number << 3 | _BYTES), _varint(len(value)), value]


def _varint(value: int) -> bytes:
    """Return an integer of at least 0 in groups of 7 bits, the lowest first."""
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)


# ------------------------------------------------------------------------------------ reading


def decode(kind: str, data: bytes) -> dict[str, Any]:
    """Return the fields of a message; those that repeat are lists, empty if there are none.

    Nothing is read outside `data`, bytes are views of it, and of other values there are at most
    `MAX_FIELDS`.

    Parameters
    ----------
    kind
        The name of the message in `MESSAGES`.
    data
        Its bytes.

    Raises
    ------
    ValueError
        For bytes that are no such message.

    Examples
    --------
    >>> decode("Opset", bytes.fromhex("0a0010ac02"))
    {'domain': '', 'version': 300}
    """
    return _Decoder().message(kind, memoryview(data))


class _Decoder:
    """Reads one file; counts what it has read."""

    def __init__(self) -> None:
        self.left = MAX_FIELDS

    def message(self, kind: str, data: memoryview) -> dict[str, Any]:
        """Return the fields of a message."""
        fields = MESSAGES[kind]
        found: dict[str, Any] = {field.name: [] for field in fields.values() if field.many}
        position = 0
        while position < len(data):
            key, position = _read_varint(data, position)
            value, position = _read_value(data, position, key & 7)
            field = fields.get(key >> 3)
            if field is None:
                self._count(1)
            elif field.many:
                values = self._values(field, key & 7, value)
                self._count(len(values))
                found[field.name] += values
            else:
                self._count(1)
                found[field.name] = self._values(field, key & 7, value)[-1]
        return found

    def _count(self, fields: int) -> None:
        self.left -= fields
        if self.left < 0:
            raise ValueError(f"it holds more than {MAX_FIELDS:,} fields")

    def _values(self, field: Field, wire_type: int, value: Any) -> list[Any]:
        """Return the value of a field, or the values of one whose numbers are packed."""
        if field.kind == "int":
            if wire_type == _VARINT:
                return [_signed(value)]
            return self._packed_integers(_of_type(field, wire_type, _BYTES, value))
        if field.kind in _NUMBERS:
            form, expected = _NUMBERS[field.kind]
            packed = value if wire_type == expected else _of_type(field, wire_type, _BYTES, value)
            if len(packed) % struct.calcsize(form) or not len(packed):
                raise ValueError(f"'{field.name}' ends within a number")
            if len(packed) > 8 * self.left:
                raise ValueError(f"it holds more than {MAX_FIELDS:,} numbers in lists")
            return np.frombuffer(packed, form).tolist()
        data = _of_type(field, wire_type, _BYTES, value)
        if field.kind == "bytes":
            return [data]
        if field.kind == "string":
            return [str(data, "utf-8")]
        return [self.message(field.kind, data)]

    def _packed_integers(self, data: memoryview) -> list[int]:
        if not len(data) or len(data) > 10 * self.left:
            raise ValueError("it holds an empty list of integers, or one that is too long")
        values, position = [], 0
        while position < len(data):
            value, position = _read_varint(data, position)
            values.append(_signed(value))
        return values


def _of_type(field: Field, wire_type: int, expected: int, value: Any) -> Any:
    if wire_type != expected:
        raise ValueError(f"'{field.name}' has the wire type {wire_type}")
    return value


def _read_value(data: memoryview, position: int, wire_type: int) -> tuple[Any, int]:
    """Return the value at a position, an integer or a view of bytes, and the position after it."""
    if wire_type == _VARINT:
        return _read_varint(data, position)
    if wire_type == _BYTES:
        length, position = _read_varint(data, position)
    elif wire_type in (_FOUR, _EIGHT):
        length = 4 if wire_type == _FOUR else 8
    else:
        raise ValueError(f"a field has the unknown wire type {wire_type}")
    if position + length > len(data):
        raise ValueError("it ends within a field")
    return data[position : position + length], position + length


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("it ends within a number")
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, position
    raise ValueError("a number has more than 10 bytes")


def _signed(value: int) -> int:
    """Return 64 bits as the signed integer that they are."""
    return value - (1 << 64) if value >> 63 else value
