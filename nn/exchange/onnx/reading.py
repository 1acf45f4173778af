"""An ONNX file as a model of nn: a stack of layers, or an error that names the node which is none.

The nodes are read in their order. Each is a layer, a part of a formula, or a constant that is
computed at once; then the layers that lead to the output are the model. nn has images as
(N, C, H, W) and sequences as (N, T, D): if the graph has them otherwise, the layout of its input is
found by trying.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import checks
from ...checks import FileFormatError
from ...files import fields, model_file
from ...files.sparse import size_of
from ...layers.base import Shape
from ...layers.budget import element_budget
from ..ties import warn_of_ties
from . import wire
from .folding import FOLDED, fold
from .formulas import FORMULAS
from .graph import OPSETS
from .operators import LAYERS
from .recurrent import RECURRENT
from .shapes import SHAPES
from .tensors import Tensors
from .values import Constant, Link, Node, RefusedError, Value, array_name, layers_between

__all__ = ["OLDEST", "OPERATORS", "read"]

#: The first opset that is read; the last is the newest that is written.
OLDEST = 11

_MAX_NODES = 20_000
#: What reads each operator.
OPERATORS: dict[str, Any] = {**LAYERS, **SHAPES, **FORMULAS, **RECURRENT}
_FLOATS, _IDS, _FLOAT64 = (1, 10, 11, 16), (6, 7), 11

#: Layouts of an input that are tried: axis k of it is axis perm[k] of the layers' input.
_LAYOUTS = {3: ((0, 1, 2), (0, 2, 1), (1, 0, 2)), 4: ((0, 1, 2, 3), (0, 2, 3, 1))}
#: Arrays that training does not change by gradients.
_MEASURED = ("mean", "std", "running_mean", "running_var")

_LETTERS = {3: "NTD", 4: "NCHW"}


def read(
    path: str | os.PathLike, external_data: str | os.PathLike | None = None
) -> model_file.ModelFile:
    """Return the model in an ONNX file.

    Nothing in it is run, and no other file is opened but `external_data`, if that is passed.

    Parameters
    ----------
    path
        The file.
    external_data
        The file in the same folder that holds the arrays, if they are not in `path`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    nn.io.FileFormatError
        For a damaged file, or a graph that is no stack of layers which nn has; the message names
        the node.

    Warns
    -----
    UserWarning
        If the inputs or outputs of the graph have their axes in another order than nn's.
    """
    try:
        tensors = Tensors(path, external_data)
        with Path(path).open("rb") as stream:
            model = wire.decode("Model", stream.read(size_of(stream)))
        return _Reader(model, tensors, str(path)).content()
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make the libraries fail in any way
        reason = str(error).rstrip(".") or type(error).__name__
        raise FileFormatError(f"[io] '{path}' of ONNX cannot be read: {reason}.") from error


class _Reader:
    """Reads one graph.

    Parameters
    ----------
    model
        The message of a file.
    tensors
        Makes its arrays.
    path
        The file, for messages.
    """

    def __init__(self, model: dict[str, Any], tensors: Tensors, path: str):
        self.graph, self.path, self.tensors = model.get("graph") or {}, path, tensors
        if "node" not in self.graph:
            raise ValueError("it holds no graph")
        self.opset = _opset(model["opset_import"])
        self.metadata = {
            pair.get("key", ""): pair.get("value", "") for pair in model["metadata_props"]
        }
        arrays = self.graph["initializer"]
        self.constants = {
            t.get("name", ""): Constant(tensors.array(t), t.get("name", "")) for t in arrays
        }
        if len(self.graph["node"]) > _MAX_NODES:
            raise ValueError(f"it has more than {_MAX_NODES:,} nodes")

    def content(self) -> model_file.ModelFile:
        """Return the model; of the layouts of the input, that in which all nodes are layers."""
        name, shape, number = self._input()
        failed: RefusedError | None = None
        for perm in _LAYOUTS.get(len(shape), (tuple(range(len(shape))),)):
            sizes: list[Any] = [shape[perm.index(k)] for k in range(len(shape))]
            kind, batch = "ids" if number in _IDS else "input", {"batch": sizes[0]}
            start = Link(None, kind, batch, {}, (None, *sizes[1:]))
            try:
                with element_budget(self._budget()):
                    found = self._output(name, Value(None, start, perm))
                    content = self._file(start, found, number)
                self._warn_of_layout("inputs", perm)
                self._warn_of_layout("outputs", found.perm)
                return content
            except RefusedError as error:
                failed = error if failed is None or error.index > failed.index else failed
            if number in _IDS:
                break
        assert failed is not None
        raise failed

    def _budget(self) -> int:
        return 4 * sum(c.array.size for c in self.constants.values()) + (1 << 20)

    def _input(self) -> tuple[str, Shape, int]:
        """Return the name, the shape and the type of the one input."""
        given = [v for v in self.graph["input"] if v.get("name") not in self.constants]
        if len(given) != 1 or len(self.graph["output"]) != 1:
            raise ValueError(
                f"it has {len(given)} inputs and {len(self.graph['output'])} outputs, and a model "
                "of nn has one of each"
            )
        tensor = (given[0].get("type") or {}).get("tensor_type") or {}
        number, name = tensor.get("elem_type", 0), given[0].get("name", "")
        if number not in (*_FLOATS, *_IDS):
            raise ValueError(f"its input '{name}' has the type {number}, not floats or ids")
        dims = (tensor.get("shape") or {}).get("dim")
        if not dims or len(dims) < 2:
            raise ValueError(f"its input '{name}' has no shape of a batch of samples")
        sizes = [d.get("dim_value") for d in dims]
        if any(n is not None and n < 1 for n in sizes):
            raise ValueError(f"its input '{name}' has the shape {sizes}")
        return name, tuple(sizes), number

    def _output(self, name: str, value: Value) -> Value:
        """Return what the output is, after all nodes."""
        known: dict[str, Any] = {**self.constants, name: value}
        for index, message in enumerate(self.graph["node"]):
            node = self._node(message, index, known)
            for output, made in zip(message["output"], self._run(node), strict=False):
                if output in known:
                    raise ValueError(f"it has two values of the name '{output}'")
                if output:
                    known[output] = made
        last = self.graph["output"][0].get("name", "")
        found = known.get(last)
        if not isinstance(found, Value):
            raise ValueError(f"its output '{last}' is not computed from its input")
        if found.link is None:
            raise found.reason or RefusedError(f"its output '{last}' is no layer's", len(known))
        return found

    def _node(self, message: dict[str, Any], index: int, known: dict[str, Any]) -> Node:
        name = message.get("name") or (message["output"] or ["?"])[0]
        op = message.get("op_type", "")
        missing = next((k for k in message["input"] if k and k not in known), None)
        if missing is not None:
            raise ValueError(f"the node '{name}' ({op}) has the unknown input '{missing}'")
        inputs = [known[k] if k else None for k in message["input"]]
        if message.get("domain", "") not in ("", "ai.onnx"):
            op = f"{message['domain']}.{op}"
        attributes = {a.get("name", ""): self._attribute(a) for a in message["attribute"]}
        return Node(op, name, index, self.opset, inputs, attributes, len(message["output"]))

    def _attribute(self, message: dict[str, Any]) -> Any:
        kind = message.get("type", 0)
        if kind == 1:
            return float(str(np.float32(message.get("f", 0.0))))  # with as few digits as it has
        if kind == 2:
            return message.get("i", 0)
        if kind == 3:
            return str(message.get("s", b""), "utf-8")
        if kind == 4:
            return self.tensors.array(message.get("t") or {"dims": [], "name": "?"})
        if kind == 8:
            return [str(text, "utf-8") for text in message["strings"]]
        return {6: message["floats"], 7: message["ints"]}.get(kind)

    def _run(self, node: Node) -> Sequence[Any]:
        """Return the outputs of a node; those that are no layers say why, if they are needed."""
        try:
            if all(k is None or isinstance(k, Constant) for k in node.inputs):
                made: Any = self._fold(node)
            elif node.op in OPERATORS:
                made = OPERATORS[node.op](node)
            else:
                raise node.refuse("is an operator that nn has no layer for")
        except (FileFormatError, MemoryError):
            raise  # it would take too much
        except RefusedError as error:
            made = Value(node, reason=error)
        except ValueError as error:
            made = Value(node, reason=node.refuse(f"cannot be a layer: {str(error).rstrip('.')}"))
        except (TypeError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
            made = Value(node, reason=node.refuse(f"is not described as ONNX does: {error!r}"))
        outputs = made if isinstance(made, list) else [made]
        rest = node.refuse("has an output that nn does not compute")
        return [*outputs, *(Value(node, reason=rest) for _ in range(node.outputs - len(outputs)))]

    @staticmethod
    def _fold(node: Node) -> Any:
        """Return a constant; or rows of one, as many as there are steps."""
        sizes = [k for k in node.inputs[1:] if k is not None and k.array.dtype == object]
        if node.op in ("Slice", "Shape", "Range") and (sizes or node.op == "Shape"):
            is_unknown = any(None in k.array.reshape(-1).tolist() for k in sizes)
            if is_unknown or node.op == "Shape":
                return OPERATORS[node.op](node)
        if node.op not in FOLDED:
            raise node.refuse("is an operator of constants that nn does not compute")
        return fold(node)

    # ---------------------------------------------------------------------------- the result

    def _file(self, start: Link, found: Value, number: int) -> model_file.ModelFile:
        """Return the layers that lead to a value as the content of a file of nn."""
        assert found.link is not None
        if found.order is not None:
            raise RefusedError("it ends in flattened values, which are in another order here", 0)
        layers = layers_between(start, found.link, set())
        if not layers:  # as of a Dropout alone
            layers = [({"class": "Activation", "config": {"activation": "linear"}}, {})]
        ids = number in _IDS
        if ids != (layers[0][0]["class"] == "Embedding"):
            raise ValueError("its input is integers, and no Embedding, or the other way round")
        architecture = {
            "layers": [entry for entry, _ in layers],
            "dtype": "float64" if number == _FLOAT64 else "float32",
            "input_shape": list(start.shape),
            **self._said(),
        }
        fields.check(architecture, (fields.FIELDS["architecture"],), "architecture")
        arrays, sources = {}, {}
        shared: dict[str, list[tuple[str, np.ndarray]]] = {}
        for index, (entry, own) in enumerate(layers):
            for key, weight in own.items():
                name = array_name(index, entry["class"], key)
                arrays[name] = np.ascontiguousarray(weight.array)
                sources[name] = weight.source
                if key not in _MEASURED:
                    origin = weight.source.removesuffix(", turned")
                    origin = origin.removesuffix(", transposed")
                    shared.setdefault(origin, []).append((name, arrays[name]))
        warn_of_ties(self.path, shared.values())
        return model_file.ModelFile(architecture, arrays, sources=sources)

    def _said(self) -> dict[str, Any]:
        """Return what a file of nn says about its model in the metadata."""
        said: dict[str, Any] = {"name": self.metadata.get("name")}
        for key in ("class_names", "input_range"):
            text = self.metadata.get(key)
            if text is not None and len(text) <= model_file.MAX_TEXT:
                said[key] = json.loads(text)
                model_file.check_depth(said[key])
        return said

    def _warn_of_layout(self, what: str, perm: tuple[int, ...]) -> None:
        """Warn if the axes of the inputs or outputs are in another order than in the graph."""
        if perm == tuple(range(len(perm))):
            return
        letters = _LETTERS[len(perm)]
        theirs, turn = ", ".join(letters[k] for k in perm), tuple(np.argsort(perm).tolist())
        checks.warn(
            f"[Model] '{self.path}': the {what} of the graph are ({theirs}), those of the model "
            f"({', '.join(letters)}): the latter are .transpose{turn} of the former."
        )


def _opset(imports: list[dict[str, Any]]) -> int:
    """Return the version of the operators."""
    found = [k.get("version", 0) for k in imports if k.get("domain", "") in ("", "ai.onnx")]
    if not found or not OLDEST <= found[0] <= OPSETS[1]:
        raise ValueError(
            f"its opset is {found[0] if found else 'not said'}, and nn reads {OLDEST} to "
            f"{OPSETS[1]}: export it again, or convert it by onnx.version_converter"
        )
    return found[0]
