"""A stack of layers as one thing: built for a shape, run forward and backward, moved, looked at.

`Model` is a `Network` with a loss and an optimizer. What knows only layers and arrays stands here;
what trains them, in `model.py`.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np

from . import checks, cuda, random, validation
from .files import model_file
from .inspect import summary as overview
from .layers import Layer, Rescale, Sequential, finite
from .layers.budget import budget_for
from .layers.containers import as_layer, build_layers, flat
from .layers.observe import observe
from .layers.plan import named_layers
from .layers.stack import (
    backward_params_through,
    backward_through,
    check_distinct,
    forward_through,
    lowest_trained,
    move_to_device,
    set_generator,
)

Array = Any  # numpy.ndarray or cupy.ndarray
Shape = tuple[int | None, ...]

# With NN_DEBUG=1 every layer's output and gradient is checked for NaN and infinity.
_DEBUG = os.environ.get("NN_DEBUG") == "1"


class Network:
    """The layers of a model, without loss and optimizer; see `nn.Model` for its parameters."""

    def __init__(
        self,
        layers: Sequence[Layer] | None = None,
        dtype: str = "float32",
        seed: int | None = None,
        name: str | None = None,
    ):
        self.dtype = str(getattr(dtype, "__name__", dtype))  # numpy.float64 is 'float64'
        if self.dtype not in ("float32", "float64"):
            raise checks.error("Model", "dtype", "must be 'float32' or 'float64'", dtype)
        self.name = name
        self.layers: list[Layer] = []
        self.set_aside: dict[str, Array] | None = None
        self.input_shape: Shape | None = None
        self.output_shape: Shape | None = None
        self._class_names: list[str] | None = None
        self._rng = random.new_generator(seed)
        self._data_rng = self._rng.spawn(1)[0]
        self.split_seed = int(self._rng.integers(2**63))  # the same split at every fit
        self._pending: tuple[Any, ...] | None = None  # arrays of a file, for when it is built
        self._forward_shape: tuple[int, ...] | None = None
        self._device = "gpu" if cuda.USE_CUDA else "cpu"
        if layers is not None and (isinstance(layers, str) or not isinstance(layers, Iterable)):
            raise checks.error("Model", "layers", "must be a list of layers", layers)
        self._append(layers or ())
        self._build_if_known()

    # ------------------------------------------------------------------------------ building

    @property
    def built(self) -> bool:
        """Whether the layers have their parameters."""
        return self.input_shape is not None

    def add(self, layer: "Layer | Network") -> None:
        """Append a layer or a model; it is built at once where the input's shape is known.

        Raises
        ------
        TypeError
            For something that is not a layer object.
        ValueError
            For a layer that is in the model already, or does not fit the one before.
        """
        self._append([layer])
        try:
            self._build_if_known()
        except Exception:
            self.layers.pop()
            raise

    def _append(self, entries: "Iterable[Layer | Network]") -> None:
        added = []
        for entry in entries:
            if isinstance(entry, Network) and entry.built and entry.dtype != self.dtype:
                raise ValueError(
                    f"[Model] 'layers' holds a model that is built in {entry.dtype}, got it in a "
                    f"model of dtype {self.dtype}: make both with the same dtype."
                )
            added.append(as_layer(entry, "Model"))
        check_distinct("Model", added, self.layers)
        for layer in added:
            set_generator(layer, self._rng.spawn(1)[0])
        self.layers += added

    def as_layer(self) -> Sequential:
        """Return the model's layers as one layer, for use in another model.

        They are the same objects, with the parameters that they have. The loss and the
        optimizer stay behind, and layers added later are not in it.
        """
        self.use_training_weights()
        shape = None if self.input_shape is None else self.input_shape[1:]
        return Sequential(self.layers, name=self.name, input_shape=shape)

    @property
    def class_names(self) -> list[str] | None:
        """Names of the classes, in the order of the labels; None where there are none."""
        return self._class_names

    @class_names.setter
    def class_names(self, names: Sequence[str] | None) -> None:
        self._class_names = validation.check_class_names(names, self.output_shape)

    @property
    def input_scale(self) -> float | None:
        """What a `Rescale` at the model's beginning multiplies by; None without one."""
        first = next(iter(flat(self.layers[:1])), None)
        return first.scale if isinstance(first, Rescale) else None

    @property
    def generators(self) -> list[np.random.Generator]:
        """Every generator of random numbers that the model draws from."""
        return [self._rng, self._data_rng, *(layer.rng for _, layer in named_layers(self.layers))]

    def _build_if_known(self) -> None:
        """Build the layers that are not, where the input's shape is known."""
        if self.input_shape is None:
            shape = _known_shape(self.layers[0]) if self.layers else None
            if shape is not None:
                self.build((None, *shape))
            return
        self._build_layers(self.input_shape)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create all parameters for inputs of a shape.

        Parameters
        ----------
        input_shape
            With the batch axis, as in (1, 5) or (None, 3, 32, 32).

        Raises
        ------
        ValueError
            For a model without layers, a shape that a layer cannot take (the message names
            the layer), or a model that is built for another shape.
        """
        if not self.layers:
            raise ValueError(
                "[Model] has no layers: add() some before build(), fit() or predict()."
            )
        shape = tuple(input_shape) if isinstance(input_shape, Iterable) else ()
        if len(shape) < 2 or not all(
            n is not None and checks.is_integer(n) and n >= 1 for n in shape[1:]
        ):
            raise checks.error(
                "Model",
                "input_shape",
                "must be positive sizes after a batch axis, as in (None, 3, 32, 32)",
                input_shape,
            )
        shape = (None, *(int(n) for n in shape[1:] if n is not None))
        if self.input_shape is not None and shape != self.input_shape:
            raise ValueError(f"[Model] is built for inputs {self.input_shape}, got {shape}.")
        unbuilt = [layer for _, layer in named_layers(self.layers) if not layer.built]
        try:
            # An architecture of its own beside a file's arrays is not to ask for more than they do.
            arrays, _, strict, *_ = self._pending or (None, None, False)
            with budget_for(arrays) if arrays and strict else contextlib.nullcontext():
                self._build_layers(shape)
            if self._pending is not None:
                self.set_arrays(*self._pending)
        except Exception:
            for layer in unbuilt:  # so that the next shape finds them as they were
                layer.built, layer.built_shape = False, None
            raise
        self.input_shape, self._pending = shape, None

    def _build_layers(self, shape: Shape) -> None:
        unbuilt = [layer for layer in self.layers if not layer.built]
        self.output_shape = build_layers(self.layers, shape, self.dtype)
        for layer in unbuilt:
            move_to_device(layer, self.device)

    # ------------------------------------------------------------------ forward and backward

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the output for a batch; `training` as in `Layer.forward`."""
        return self._forward(self._inputs(x), training)

    def backward(self, grad: Array) -> Array:
        """Fill every layer's `grads` and return the gradient for the input.

        Parameters
        ----------
        grad
            Gradient of the loss for the output of the last `forward`, as `loss.backward()`
            returns it.

        Raises
        ------
        RuntimeError
            If there was no `forward` before, or `backward` was called after it already.
        """
        shape = getattr(grad, "shape", None)
        if shape is None:
            raise checks.error("Model", "grad", "must be an array", grad)
        if self._forward_shape is not None and shape != self._forward_shape:
            raise ValueError(
                f"[Model] backward() expects a gradient 'grad' of the output's shape "
                f"{self._forward_shape}, got {shape}."
            )
        with self._debugging():
            return backward_through(self.layers, grad)

    def _inputs(self, x: Any) -> Array:
        """Return checked inputs in the model's dtype and on its device, building it if need be."""
        x = validation.check_inputs(x, self.input_shape)
        validation.check_scaled_once(x, self.input_scale)
        if not self.built:
            self.build((None, *x.shape[1:]))
        with np.errstate(over="ignore"):  # too large for the dtype: infinite, and refused below
            x = cuda.to_device(_scaled(x, self.dtype), self.device)
        validation.check_finite(x, "x")
        return x

    def _forward(self, x: Array, training: bool | None) -> Array:
        with self._debugging():
            y = forward_through(self.layers, x, training)
        if training is not None:  # else nothing was kept for backward
            self._forward_shape = y.shape
        return y

    def _backward_params(self, grad: Array) -> None:
        """Fill the gradients of all parameters that are trained."""
        with self._debugging():
            backward_params_through(self.layers, grad, lowest_trained(self.layers))

    def _debugging(self) -> contextlib.AbstractContextManager[None]:
        """Check every output and gradient in a `with` block, with NN_DEBUG=1."""
        if not _DEBUG:
            return contextlib.nullcontext()
        check = finite.FiniteCheck()
        return observe(self, check.output, check.gradient)

    def sublayers(self) -> tuple[Layer, ...]:
        """Return the layers."""
        return tuple(self.layers)

    # ---------------------------------------------------------------------------- parameters

    @property
    def trained_names(self) -> list[str]:
        """Names in a file of the parameters of `get_params_and_grads`, in their order."""
        return [name for name, *_ in self._trained()]

    def _trained(self) -> Iterator[tuple[str, Layer, str, float]]:
        """Yield each trained parameter: its name in a file, its layer and key, its lr_factor."""
        factors = {"": 1.0}  # of each layer, times those of the layers around it
        for path, layer in named_layers(self.layers):
            factors[path] = factors[path.rpartition("/")[0]] * layer.lr_factor
            if layer.trainable:
                for key in layer.params:
                    yield f"{path}_{key}", layer, key, factors[path]

    def penalty(self) -> float:
        """Return the sum of the penalties on weights, of the layers that are trained.

        `fit`, `train_step` and `evaluate` have it in the loss that they report, as Keras has. In
        a loop written by hand it is to be added to `loss.forward`'s value; its gradient is in
        `get_params_and_grads`.
        """
        return sum((k.penalty() for _, k in named_layers(self.layers) if k.trainable), 0.0)

    def get_arrays(self) -> dict[str, Array]:
        """Return all parameters and buffers by their names in a file; not copies.

        They are '7_Dense_W', and '3_Residual/0_Conv2D_W' inside another layer.
        """
        return {
            f"{path}_{key}": array
            for path, layer in named_layers(self.layers)
            for arrays in (layer.params, layer.buffers)
            for key, array in arrays.items()
        }

    def set_arrays(
        self,
        arrays: dict[str, Array],
        where: str = "arrays",
        strict: bool = True,
        report: model_file.LoadReport | None = None,
    ) -> model_file.LoadReport:
        """Copy arrays into the parameters and buffers of the same names.

        Returns
        -------
        LoadReport
            What was copied, what was not, and why: `report`, filled in, or a new one.

        Raises
        ------
        ValueError
            Where `strict` and they do not match; nothing is changed then.
        """
        own = self.get_arrays()
        if not isinstance(arrays, dict) or not all(hasattr(a, "shape") for a in arrays.values()):
            raise checks.error("Model", "arrays", "must be {name: array}", arrays)
        report = model_file.match_arrays(own, arrays, where, strict, report)
        self.use_training_weights()
        for name in report.loaded:
            own[name][...] = cuda.to_device(arrays[name].astype(self.dtype), self.device)
        return report

    def use_training_weights(self) -> None:
        """Put the weights in training back where averaged weights stand in their place."""
        if self.set_aside is not None:
            own = self.get_arrays()
            for name, array in self.set_aside.items():
                own[name][...] = cuda.to_device(array, self.device)
            self.set_aside = None

    # ------------------------------------------------------------------ looking for mistakes

    def _check_gradients(self, pairs: list[tuple[Array, Array]]) -> None:
        """Raise where a gradient is NaN or infinite, before it gets into the weights.

        Looked at are the gradients of vectors, as biases are: sums over a layer's whole gradient,
        so that what is not finite in it is not finite in them. All are looked at where there are
        no vectors, and with NN_DEBUG=1.
        """
        grads = [grad for _, grad in pairs if grad.ndim == 1 and not _DEBUG]
        grads = [grad.ravel() for grad in grads or [grad for _, grad in pairs]]
        if finite.are_finite(grads):
            return
        for (_, grad), (name, _, key, _) in zip(
            reversed(pairs), reversed(list(self._trained())), strict=True
        ):
            if not finite.all_finite(grad):
                raise FloatingPointError(
                    f"[Model] the loss is finite, but the gradient of '{key}' in "
                    f"{finite.label_of(name.removesuffix('_' + key))} has NaN or infinite values: "
                    f"{finite.ADVICE}"
                )

    def check_weights(self) -> None:
        """Raise where a weight, or a running statistic, is NaN or infinite.

        `fit` calls it at the end of each epoch, before anything is measured or saved.

        Raises
        ------
        FloatingPointError
            The message names the layer and the array.
        """
        finite.check_weights(self.layers)

    def _check_output(self, x: Array, y: Array) -> Array:
        """Return the output y for inputs x, or raise where it is NaN or infinite."""
        if not finite.all_finite(y):
            raise FloatingPointError(
                f"[Model] the output is not finite: {finite.first_not_finite(self, x)}"
            )
        return y

    # -------------------------------------------------------------------- looking and moving

    def summary(self) -> str:
        """Return a table of the layers, their output shapes and parameters, and the memory.

        Layers inside others are indented. The outputs per sample are those of all layers together,
        which is about what training keeps for each sample of a batch.
        """
        return str(overview.look(self))

    def __repr__(self) -> str:
        return overview.code(self)

    def _repr_html_(self) -> str:
        """Return the summary as a table, which notebooks show."""
        from .inspect import html

        return html.of_summary(overview.look(self))

    @property
    def device(self) -> str:
        """'gpu' or 'cpu': where the parameters are, or will be."""
        return self._device

    def to_gpu(self) -> Self:
        """Move the parameters to the GPU and return the model.

        Raises
        ------
        RuntimeError
            Where there is none.
        """
        cuda.to_gpu(np.zeros(1))  # raises before anything is moved
        return self._move("gpu")

    def to_cpu(self) -> Self:
        """Move the parameters to the CPU and return the model."""
        return self._move("cpu")

    def _move(self, device: str) -> Self:
        self._device = device
        for layer in self.layers:
            move_to_device(layer, device)
        return self


# ------------------------------------------------------------------------------- helpers


def _known_shape(first: Layer) -> Shape | None:
    """Return the shape of a sample that a first layer is made or built for, or None."""
    if first.input_shape is None and first.built and first.built_shape is not None:
        return first.built_shape[1:]  # a layer out of another model
    return first.input_shape


def _scaled(x: Array, dtype: str) -> Array:
    """Return inputs in the model's dtype; uint8 images scaled to [0, 1]."""
    if x.dtype == np.uint8:
        return x.astype(dtype) / 255
    return x.astype(dtype, copy=False)
