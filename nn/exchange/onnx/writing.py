"""A model as an ONNX file, for ONNX Runtime and all that reads the format; nothing is needed."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ... import checks
from ...files.atomic import write_atomic
from ...layers import fold
from ...layers.activations import Sigmoid, Softmax
from ...layers.base import Layer, Shape
from ...layers.embedding import num_ids_of
from . import wire
from .graph import OPSETS, Graph
from .layers import Writer

_LAYOUTS = {2: "NC", 3: "NTD", 4: "NCHW"}


class Exporting:
    """The method of `Model` that writes ONNX."""

    def export(
        self: Any,
        path: str | os.PathLike,
        opset: int = 17,
        softmax: bool = False,
        fold_batch_norm: bool = True,
    ) -> None:
        """Write the model as an ONNX file, which predicts what `predict` does; nothing is needed.

        The input is called 'input', of the shape of the model's inputs with any number of samples:
        floats (images as `predict` gets them, (N, C, H, W); bytes divided by 255), or int64 for
        ids. The output is called 'output'. All arrays are float32. The metadata of the file holds
        'class_names' and 'input_range' as JSON if they are known, 'input_layout' ('NCHW', 'NC',
        'NTD' or, for ids, 'NT') and 'output' ('probabilities', 'logits' or 'values').

        Parameters
        ----------
        path
            The file, which must end in .onnx; an old one is replaced only once the new one is
            whole.
        opset
            The version of the operators, 13 to 28. Runtimes read those up to some version.
        softmax
            Whether to end with the softmax that the loss includes (the sigmoid of 'bce'), for
            models that return logits. It changes nothing if the model ends in one already.
        fold_batch_norm
            Whether batch normalization after a convolution or a dense layer goes into its weights.

        Raises
        ------
        RuntimeError
            For a model that is not built.
        ValueError
            For a layer that ONNX has no operators for, or a loss without probabilities.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from nn import Dense, Model
        >>> model = Model([Dense(3, input_shape=(4,))])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "model.onnx"
        ...     model.export(path, softmax=True)
        ...     path.read_bytes()[4:6]
        b'nn'
        """
        path = Path(checks.path("Model", "path", path))
        if path.suffix.lower() != ".onnx":
            raise checks.error("Model", "path", "must end in .onnx", str(path))
        if not checks.is_integer(opset) or not OPSETS[0] <= opset <= OPSETS[1]:
            rule = f"must be an integer from {OPSETS[0]} to {OPSETS[1]}"
            raise checks.error("Model", "opset", rule, opset)
        checks.boolean("Model", "fold_batch_norm", fold_batch_norm)
        if not self.built:
            raise RuntimeError("[Model] has no weights to export: build() or fit() it first.")
        if "forward" in self.own_passes():
            raise ValueError(
                "[Model] cannot export a model with a forward() of its own: nn cannot know what it "
                "computes."
            )
        ending = _ending(self.layers, self.loss, checks.boolean("Model", "softmax", softmax))
        message = to_message(
            [*self.layers, *ending],
            (self.input_shape, self.output_shape),
            self._onnx_metadata(ending),
            opset,
            fold_batch_norm,
        )
        write_atomic(path, lambda stream: stream.write(wire.encode("Model", message)), "Model")

    def _onnx_metadata(self: Any, ending: list[Layer]) -> dict[str, str]:
        """Return what a file says about the inputs and outputs of the model."""
        logits = fold.missing_activation(self.layers, self.loss)
        is_probability = bool(ending) or fold.gives_probabilities(self.layers)
        found = {
            "name": self.name,
            "class_names": self.class_names and json.dumps(self.class_names),
            "input_range": self.input_range and json.dumps(self.input_range),
            "input_layout": "NT" if self.num_ids else _LAYOUTS.get(len(self.input_shape)),
            "output": "probabilities" if is_probability else "logits" if logits else "values",
        }
        return {key: value for key, value in found.items() if value}


def to_message(
    layers: Sequence[Layer],
    shapes: tuple[Shape, Shape],
    metadata: dict[str, str],
    opset: int,
    fold_batch_norm: bool,
) -> dict[str, Any]:
    """Return built layers as the message of an ONNX model, for `wire.encode`."""
    graph = Graph(opset)
    y, _ = Writer(graph, layers, fold_batch_norm).stack(layers, "input", shapes[0])
    graph.same(y, "output")
    takes_ids = num_ids_of(layers) is not None
    return graph.to_message(shapes, metadata, metadata.get("name", "model"), takes_ids)


def _ending(layers: Sequence[Layer], loss: Any, softmax: bool) -> list[Layer]:
    """Return the layer to add for probabilities: a Softmax, a Sigmoid, or none."""
    if not softmax or fold.gives_probabilities(layers):
        return []
    name = "softmax" if loss is None else fold.missing_activation(layers, loss)
    if name is None:
        rule = "must be False, as the outputs under this loss are no logits"
        raise checks.error("Model", "softmax", rule, softmax)
    return [Softmax() if name == "softmax" else Sigmoid()]
