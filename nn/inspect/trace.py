"""Shapes, times, memory and gradients of each layer for one batch, as `Model.trace` prints them.

`measure` runs a forward and a backward pass as in training, on a copy of the model; `table` formats
its results.
"""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import cuda, optim, text
from ..layers import Layer
from ..layers.observe import observe
from ..layers.plan import named_layers
from ..layers.stack import backward_params_through

Array = Any  # numpy.ndarray or cupy.ndarray


@dataclass
class LayerTrace:
    """Measurements of one layer for one batch.

    Attributes
    ----------
    path : str
        The layer's name in model files, '3_Residual/0_Conv2D'.
    shape : tuple
        Shape of its output, with the batch axis.
    parameters : int
        Number of its parameters.
    forward_seconds, backward_seconds : float
        Time of each pass; that of a container includes its layers. The backward pass ends at the
        lowest layer with weights; below it the time is 0.
    memory : int
        Bytes of its output and of what it keeps for the backward pass, without arrays that are
        counted for an earlier layer.
    output_grad_norm : float
        Euclidean norm of the gradient of the loss for its output.
    weight_grad_norm : float or None
        Norm of the gradient for its own parameters, None if it has none.
    """

    path: str
    shape: tuple[int, ...] = ()
    parameters: int = 0
    forward_seconds: float = 0.0
    backward_seconds: float = 0.0
    memory: int = 0
    output_grad_norm: float = 0.0
    weight_grad_norm: float | None = None


def measure(model: Any, x: Any, y: Any = None) -> list[LayerTrace]:
    """Return measurements of each layer for a batch, including the layers of containers.

    It works on a copy of the model, whose running averages, gradients and generators do not
    change. The batch is processed twice, and the times are those of the second pass.

    Parameters
    ----------
    model
        A `Model`; it must be compiled if there are targets.
    x
        A batch of inputs.
    y
        Its targets, for the gradient of the loss. None uses half the mean square of the outputs.

    Raises
    ------
    RuntimeError
        If there are targets and the model has no loss.
    ValueError, TypeError
        If the inputs or targets do not match the model.

    Examples
    --------
    >>> import numpy as np, nn
    >>> model = nn.Model([nn.Dense(2, input_shape=(3,)), nn.ReLU()], seed=0)
    >>> [(layer.path, layer.shape, layer.parameters) for layer in measure(model, np.ones((8, 3)))]
    [('0_Dense', (8, 2), 8), ('1_ReLU', (8, 2), 0)]
    """
    if y is not None and model.loss is None:
        raise RuntimeError("[trace] call compile(loss, optimizer) before trace() with targets 'y'.")
    model = copy.deepcopy(model)
    x = model._inputs(x)  # builds it, if it is not built
    rows: dict[str, LayerTrace] = {}
    for path, layer in named_layers(model.layers):
        layer.grads.clear()  # those of the last batch
        count = sum(int(param.size) for param in layer.params.values())
        rows[path] = LayerTrace(path, parameters=count)
    # The first pass compiles kernels and measures memory; the second is timed.
    for measured in (_Pass(rows, {_address(x): x}), _Pass(rows, None)):
        with observe(model, measured.output, measured.gradient):
            measured.begin(x)
            y_pred = model.forward(x, training=True)
            grad = y_pred / y_pred.size
            if y is not None:
                y = cuda.get_array_module(y_pred).asarray(y)
                model.wrapped_loss.forward(y_pred, y, mask=model.output_mask)
                grad = model.wrapped_loss.backward()
            measured.begin(grad)
            backward_params_through(model.layers, grad, model._plan().lowest)
    return list(rows.values())


def table(rows: Sequence[LayerTrace]) -> str:
    """Return the result of `measure` as a table.

    Examples
    --------
    >>> print(table([LayerTrace("0_Dense", (8, 2), 8, 0.25e-3, 0.5e-3, 2048, 1.5, 0.75)]))
    Layer    Output shape  Forward ms  Backward ms  Memory KB  Output grad  Weight grad
    0_Dense  (8, 2)             0.250        0.500        2.0          1.5         0.75
    total                       0.250        0.500        2.0
    """
    heads = ("Forward ms", "Backward ms", "Memory KB", "Output grad", "Weight grad")
    lines = [("Layer", "Output shape", *heads)]
    for row in rows:
        weight_grad = "" if row.weight_grad_norm is None else f"{row.weight_grad_norm:.3g}"
        costs = _format_costs(row.forward_seconds, row.backward_seconds, row.memory)
        label = "  " * row.path.count("/") + row.path.rpartition("/")[2]
        lines.append((label, str(row.shape), *costs, f"{row.output_grad_norm:.3g}", weight_grad))
    outer = [row for row in rows if "/" not in row.path]  # their times include the others
    forward = sum(row.forward_seconds for row in outer)
    backward = sum(row.backward_seconds for row in outer)
    memory = sum(row.memory for row in rows)
    lines.append(("total", "", *_format_costs(forward, backward, memory), "", ""))
    return "\n".join(text.table(lines, right=range(2, 7)))


def _format_costs(
    forward_seconds: float, backward_seconds: float, memory: int
) -> tuple[str, str, str]:
    """Return times in milliseconds and memory in kilobytes of 1,024 bytes."""
    return f"{forward_seconds * 1e3:.3f}", f"{backward_seconds * 1e3:.3f}", f"{memory / 1024:,.1f}"


# -------------------------------------------------------------------------- the measurements


class _Pass:
    """One pass of a batch, forward and backward, which fills the rows of all layers.

    `charged` holds the arrays that are counted, by address, so that their memory is not reused
    meanwhile. With None memory is not measured.
    """

    def __init__(self, rows: dict[str, LayerTrace], charged: dict[int, Array] | None):
        self.rows, self.charged = rows, charged
        self._starts: dict[str, float] = {}  # of containers whose first layer has started
        self._last = 0.0

    def begin(self, array: Array) -> None:
        """Start the clock, once the device has finished with an array."""
        self._last = _synchronized_time(array)

    def output(self, name: str, layer: Layer, y: Array) -> None:
        """Record the time, shape and memory of a layer's forward pass."""
        row = self.rows[name]
        row.forward_seconds, row.shape = self._elapsed(name, y), tuple(y.shape)
        if self.charged is not None:
            for array in (y, *_arrays_kept(layer)):
                if _address(array) not in self.charged:
                    self.charged[_address(array)] = array
                    row.memory += array.nbytes
        self._last = _synchronized_time(y)

    def gradient(self, name: str, layer: Layer, grad: Array) -> None:
        """Record the time of a layer's backward pass and the norms of its gradients."""
        row = self.rows[name]
        row.backward_seconds = self._elapsed(name, grad)
        row.output_grad_norm = optim.global_norm([grad])
        if layer.params and layer.trainable:
            row.weight_grad_norm = optim.global_norm(layer.grads.values())
        self._last = _synchronized_time(grad)

    def _elapsed(self, name: str, array: Array) -> float:
        """Return the time since a layer, or the first layer of a container, started."""
        start = self._starts.pop(name, self._last)
        parent = name.rpartition("/")[0]
        while parent:
            self._starts.setdefault(parent, start)
            parent = parent.rpartition("/")[0]
        return _synchronized_time(array) - start


def _synchronized_time(array: Array) -> float:
    """Return the time once the device of an array has finished its work."""
    xp = cuda.get_array_module(array)
    if xp is not np:
        xp.cuda.Device().synchronize()
    return time.perf_counter()


def _arrays_kept(layer: Layer) -> list[Array]:
    """Return the arrays that a layer and its activation keep for `backward`."""
    inner = getattr(layer, "activation", None)
    kept: list[Any] = [layer._kept, getattr(inner, "_kept", None)]
    arrays = []
    while kept:
        item = kept.pop()
        if isinstance(item, tuple | list):
            kept.extend(item)
        elif hasattr(item, "nbytes") and hasattr(item, "shape"):
            arrays.append(item)
    return arrays


def _address(array: Array) -> int:
    """Return the address of an array in the memory of its device."""
    return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr)
