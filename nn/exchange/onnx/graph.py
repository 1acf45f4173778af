"""An ONNX graph that is written node by node."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import cuda
from ...layers.base import Array, Shape

__all__ = ["DTYPES", "OPSETS", "Graph"]

#: Opsets that are written: the oldest, the newest.
OPSETS = (13, 28)

# The least version of the file format for each opset, from the table of versions in the ONNX
# repository (docs/Versioning.md).
_IR_VERSIONS = {13: 7, 15: 8, 19: 9, 21: 10, 23: 11, 24: 12, 25: 13, 28: 14}

#: Numbers of ONNX's element types.
DTYPES = {np.dtype("float32"): 1, np.dtype("int64"): 7}

# Numbers of the types of attributes, and the fields of their values.
_ATTRIBUTES: dict[type, tuple[int, str]] = {
    float: (1, "f"),
    int: (2, "i"),
    str: (3, "s"),
    list: (7, "ints"),
}

#: Bytes that a file of Protocol Buffers may have at most.
_MAX_BYTES = (1 << 31) - 1


class Graph:
    """The nodes and arrays of a graph, while the layers of a model are written into it.

    Parameters
    ----------
    opset
        The version of the operators.

    Attributes
    ----------
    path : str
        The name of the layer that is being written: '3_Residual/0_Conv2D'. The names of nodes,
        arrays and values begin with it.

    Examples
    --------
    >>> graph = Graph(17)
    >>> graph.path = "0_Rescale"
    >>> graph.node("Mul", "input", graph.array("scale", np.float32(2)))
    '0_Rescale/Mul'
    """

    def __init__(self, opset: int):
        self.opset = opset
        self.path = ""
        self.nodes: list[dict[str, Any]] = []
        self.arrays: dict[str, dict[str, Any]] = {}
        self._names: dict[str, int] = {}

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node and return the name of its last output.

        Parameters
        ----------
        op
            The operator.
        *inputs
            Names of values and arrays; '' for one that is left out.
        outputs
            How many outputs there are; all but the last stay without a name.
        **attributes
            Floats, integers, strings and lists of integers.
        """
        name = self._unique(f"{self.path}/{op}")
        self.nodes.append(
            {
                "op_type": op,
                "name": name,
                "input": inputs,
                "output": [*[""] * (outputs - 1), name],
                "attribute": [_attribute(*item) for item in attributes.items()],
            }
        )
        return name

    def array(self, name: str, values: Any, dtype: str = "float32") -> str:
        """Add an array, of the layer that is being written, and return its name.

        Parameters
        ----------
        name
            Its name within the layer.
        values
            An array, of any device, or numbers.
        dtype
            'float32' or 'int64'.
        """
        name = self._unique(f"{self.path}_{name}")
        array = np.asarray(cuda.to_cpu(values)).astype(dtype)
        self.arrays[name] = {
            "name": name,
            "dims": array.shape,
            "data_type": DTYPES[array.dtype],
            "raw_data": array.astype(array.dtype.newbyteorder("<")).tobytes(),
        }
        return name

    def integers(self, name: str, values: Any) -> str:
        """Add integers, as operators take shapes and axes, and return the name of the array."""
        return self.array(name, np.array(values, dtype="int64"), "int64")

    def reduced(self, op: str, x: str, axes: Sequence[int], keep: bool = True) -> str:
        """Add a node that makes one number of those along axes, and return its output.

        Parameters
        ----------
        op
            'ReduceMean' or 'ReduceMax'.
        x
            The value.
        axes
            The axes, which stay with the length 1 if `keep`.
        keep
            Whether they stay.
        """
        if self.opset < 18:
            return self.node(op, x, axes=list(axes), keepdims=int(keep))
        return self.node(op, x, self.integers("axes", axes), keepdims=int(keep))

    def same(self, x: str, name: str) -> None:
        """Give a value another name, that of an output of the model."""
        self.nodes.append({"op_type": "Identity", "name": name, "input": [x], "output": [name]})

    def to_message(
        self, shapes: tuple[Shape, Shape], metadata: dict[str, str], name: str, takes_ids: bool
    ) -> dict[str, Any]:
        """Return the message of a model.

        Parameters
        ----------
        shapes
            Of the value 'input' and of the value 'output', with None for sizes that may change.
        metadata
            Texts by their names.
        name
            Of the graph.
        takes_ids
            Whether the input is integers.

        Raises
        ------
        ValueError
            For arrays of more than 2 GB, which do not fit into a file.
        """
        size = sum(len(array["raw_data"]) for array in self.arrays.values())
        if size > _MAX_BYTES - (1 << 24):
            raise ValueError(
                f"[Model] has weights of {size:,} bytes; an ONNX file holds at most 2 GB."
            )
        return {
            "ir_version": max(v for since, v in _IR_VERSIONS.items() if since <= self.opset),
            "producer_name": "nn",
            "opset_import": [{"domain": "", "version": self.opset}],
            "metadata_props": [{"key": k, "value": v} for k, v in metadata.items()],
            "graph": {
                "name": name,
                "node": self.nodes,
                "initializer": list(self.arrays.values()),
                "input": [_value("input", shapes[0], "int64" if takes_ids else "float32")],
                "output": [_value("output", shapes[1], "float32")],
            },
        }

    def _unique(self, name: str) -> str:
        """Return a name that no node or array has: with a number if it has occurred before."""
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return f"{name}_{count}" if count else name


def _attribute(name: str, value: Any) -> dict[str, Any]:
    number, field = _ATTRIBUTES[type(value)]
    return {"name": name, "type": number, field: value.encode() if field == "s" else value}


def _value(name: str, shape: Shape, dtype: str) -> dict[str, Any]:
    """Return the name, the dtype and the shape of an input or an output; the batch is called N."""
    dims = [
        {"dim_param": "N" if axis == 0 else f"{name}_{axis}"} if n is None else {"dim_value": n}
        for axis, n in enumerate(shape)
    ]
    tensor = {"elem_type": DTYPES[np.dtype(dtype)], "shape": {"dim": dims}}
    return {"name": name, "type": {"tensor_type": tensor}}


def by_channel(values: Array, ndim: int) -> Array:
    """Return a number for each channel in a shape that meets an input of so many axes.

    Channels are axis 1, of sequences the last: (C,) -> (C, 1, 1) for (N, C, H, W).
    """
    return values.reshape(-1, 1, 1) if ndim == 4 else values
