"""How a model gets its layers: `add`, `pop`, `build` and its device, as methods of `Model`."""

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import checks, cuda, validation
from ..custom import is_ours
from .base import Array, Layer, Shape
from .budget import budget_for
from .build import build_layers
from .containers import Sequential, as_layer
from .embedding import num_ids_of
from .plan import named_layers
from .scaling import first_rescale, scaler_of_bytes
from .stack import check_distinct, flat, move_to_device, set_generator

#: What a subclass of `Model`, or an object, may compute in its own way.
PASSES = {"forward", "backward", "backward_params", "get_params_and_grads"}


class Building(Sequential):
    """The methods of `Model` that add layers, build them, move them and check their inputs."""

    layers: list[Layer]
    _pending: Any
    _data_rng: np.random.Generator
    _device: str
    _class_names: list[str] | None
    _own_passes: frozenset[str] = frozenset()  # of a subclass

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Note which passes a subclass computes in its own way."""
        super().__init_subclass__(**kwargs)
        cls._own_passes = frozenset(n for n in PASSES if not is_ours(getattr(cls, n, None)))

    def own_passes(self) -> frozenset[str]:
        """Return which of `PASSES` are not those of `Model`.

        If any is, they are called in training, and `forward` in `evaluate` and `predict`.
        """
        return self._own_passes | (vars(self).keys() & PASSES)

    def add(self, layer: Layer) -> None:
        """Append a layer or a model; it is built at once if the input's shape is known.

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

    def _append(self, entries: Iterable[Layer]) -> None:
        added = []
        for entry in entries:
            if hasattr(entry, "as_layer") and entry.built and entry.dtype != self.dtype:
                raise ValueError(
                    f"[Model] 'layers' contains a model built in {entry.dtype}, but this "
                    f"model has dtype {self.dtype}: create both with the same dtype."
                )
            added.append(as_layer(entry, "Model"))
        check_distinct("Model", added, self.layers)
        for layer in added:
            set_generator(layer, self.rng.spawn(1)[0])
        self.layers += added

    def pop(self) -> Layer:
        """Remove the last layer and return it, for example to add a new head to trained layers.

        Its state in the optimizer is dropped. The loss stays as it was compiled.

        Raises
        ------
        ValueError
            For a model without layers.

        Examples
        --------
        >>> from nn import Dense, Model, ReLU
        >>> model = Model([Dense(8, input_shape=(2,)), ReLU(), Dense(10)], seed=0)
        >>> model.pop()
        Dense(units=10, use_bias=True)
        >>> model.add(Dense(3))
        >>> model.output_shape
        (None, 3)
        """
        if not self.layers:
            raise ValueError("[Model] has no layers: there is none to pop().")
        self._forget_last_layer()
        layer = self.layers.pop()
        if not self.layers:
            self.input_shape, self.output_shape, self.built = None, None, False
        elif self.built:
            self.output_shape = self.layers[-1].output_shape
        # Without the names of classes if the output has another number of them
        self.class_names = validation.fitting_class_names(self.class_names, self.output_shape)
        return layer

    def _forget_last_layer(self) -> None:
        """Drop what a training keeps for the last layer; see `nn.files.saving`."""

    def as_layer(self) -> Sequential:
        """Return the model's layers as one layer, for use in another model.

        They are the same objects, with their present parameters. The loss and the optimizer are
        not part of it, nor are layers that are added later.
        """
        if "forward" in self.own_passes():
            raise TypeError(
                f"[{type(self).__name__}] cannot become a layer, as its forward() is its own: "
                "make it a subclass of nn.layers.containers.Container."
            )
        shape = None if self.input_shape is None else self.input_shape[1:]
        return Sequential(self.layers, name=self.name, input_shape=shape)

    def to_config(self) -> dict[str, Any]:
        """Return the configuration of the model's layers as one layer."""
        return self.as_layer().to_config()

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create all parameters for inputs of a shape.

        Parameters
        ----------
        input_shape
            With the batch axis, as in (1, 5) or (None, 3, 32, 32). None for another axis stands for
            a size that may change from batch to batch.

        Raises
        ------
        ValueError
            For a model without layers, a shape that a layer cannot take (the message names
            the layer), or a model that is built for another shape.
        """
        if not self.layers:
            raise ValueError(
                "[Model] has no layers: call add() before build(), fit() or predict()."
            )
        shape = _checked_shape(input_shape)
        if self.input_shape is not None and shape != self.input_shape:
            raise ValueError(f"[Model] is built for inputs {self.input_shape}, got {shape}.")
        unbuilt = [layer for _, layer in named_layers(self.layers) if not layer.built]
        try:
            # Layers must not ask for more memory than a file that comes with them has arrays for.
            arrays, _, strict, *_ = self._pending or (None, None, False)
            with budget_for(arrays) if arrays and strict else contextlib.nullcontext():
                self._build_layers(shape)
            if self._pending is not None:
                self.set_arrays(*self._pending)
        except Exception:
            for layer in unbuilt:  # so that the model can be built for another shape
                layer.built, layer.built_shape = False, None
            raise
        self.input_shape, self.built, self._pending = shape, True, None
        self._warn_of_layout(shape)

    def _warn_of_layout(self, shape: Shape) -> None:
        """Warn if inputs of convolutions or pooling seem to have their channels last."""
        advice = validation.channels_first(shape)
        names = {type(layer).__name__ for layer in flat(self.layers)}
        if advice is not None and any(name.endswith(("Conv2D", "Pool2D")) for name in names):
            checks.warn(
                f"[Model] 'x' should be images (N, C, H, W), got {shape}, which looks like "
                f"(N, H, W, C): {advice.partition(': ')[2]} to the first layer."
            )

    def _build_if_known(self) -> None:
        """Build the layers that are not built, if the input's shape is known."""
        if self.input_shape is not None:
            self._build_layers(self.input_shape)
            return
        first = self.layers[0] if self.layers else None
        shape = None if first is None else first.input_shape
        if shape is None and first is not None and first.built and first.built_shape is not None:
            shape = first.built_shape[1:]  # a layer of another model
        if shape is not None:
            self.build((None, *shape))

    def _build_layers(self, shape: Shape) -> None:
        try:
            self.output_shape = build_layers(self.layers, shape, self.dtype)
        except ValueError as error:
            advice = validation.channels_first(shape, is_sure=True)
            if advice is None or type(error) is not ValueError:
                raise
            hint = f"The input {shape} looks like (N, H, W, C); {advice}."
            raise ValueError(f"{error} {hint}") from error
        for layer in self.layers:  # one that was built before may be on the other device
            move_to_device(layer, self.device)

    def _inputs(self, x: Any) -> Array:
        """Return checked inputs in the model's dtype and on its device; build it if it is not."""
        is_plain = type(x) is np.ndarray and x.dtype == self.dtype and self.built
        is_plain = is_plain and self.num_ids is None
        if not is_plain or x.shape[1:] != (self.input_shape or ())[1:]:
            x = self._check_inputs(validation.check_inputs(x, self.input_shape))
        return self._cast(x)

    def _check_inputs(self, x: Any) -> Any:
        """Return inputs of the right shape after checking their type; build the model for them."""
        validation.check_scaled_once(x, self)
        validation.check_ids(x, self.num_ids)
        if not self.built:
            self.build((None, *x.shape[1:]))
        return x

    def _cast(self, x: Array) -> Array:
        """Return inputs in the model's dtype and on its device; they must be finite.

        Ids stay integers.
        """
        if self.num_ids is not None:
            return cuda.to_device(x.astype(np.int64, copy=False), self._device)
        if validation.is_byte_image(x):
            x = x.astype(self.dtype) / 255
        if x.dtype != self.dtype:
            with np.errstate(over="ignore"):  # numbers that are too large become infinite
                x = x.astype(self.dtype)
        x = cuda.to_device(x, self._device)
        validation.check_finite(x, "x")
        return x

    @property
    def class_names(self) -> list[str] | None:
        """Names of the classes, in the order of the labels; None if there are none."""
        return self._class_names

    @class_names.setter
    def class_names(self, names: Sequence[str] | None) -> None:
        self._class_names = validation.check_class_names(names, self.output_shape)

    @property
    def input_scale(self) -> float | None:
        """The factor of a `Rescale` at the model's beginning, or after a `Flatten`; else None."""
        return first_rescale(self.layers)

    @property
    def scaler_of_bytes(self) -> str | None:
        """The layer at the beginning that takes inputs 0..255, not [0, 1], in words; else None.

        It is a `Rescale(1 / 255)`, or a `Standardize` or `BatchNorm` with the statistics of such
        numbers. Images of bytes (uint8), which are divided by 255, are an error in such a model:
        pass x.astype('float32').
        """
        return scaler_of_bytes(self.layers)

    @property
    def num_ids(self) -> int | None:
        """How many ids there are, for a model that begins with an `Embedding`; None for others."""
        return num_ids_of(self.layers)

    @property
    def batch_dtype(self) -> str | tuple[str, str]:
        """The `dtype` of batches: the model's, or a pair of those of ids and of targets."""
        return self.dtype if self.num_ids is None else ("int64", self.dtype)

    @property
    def generators(self) -> list[np.random.Generator]:
        """Every generator of random numbers of the model: its own, the data's, the layers'."""
        return [self.rng, self._data_rng, *(layer.rng for _, layer in named_layers(self.layers))]

    @property
    def device(self) -> str:
        """The device of the parameters, 'gpu' or 'cpu'."""
        return self._device

    def to_gpu(self) -> Any:
        """Move the parameters to the GPU and return the model.

        Raises
        ------
        RuntimeError
            If there is none.
        """
        cuda.to_gpu(np.zeros(1))  # raises before anything is moved
        return self._move("gpu")

    def to_cpu(self) -> Any:
        """Move the parameters to the CPU and return the model."""
        return self._move("cpu")

    def _move(self, device: str) -> Any:
        self._device = device
        for layer in self.layers:
            move_to_device(layer, device)
        return self


def _checked_shape(input_shape: Any) -> Shape:
    """Return an input shape with None for the batch axis, and others of any size."""
    shape = tuple(input_shape) if isinstance(input_shape, Iterable) else ()
    if len(shape) < 2 or not all(n is None or (checks.is_integer(n) and n >= 1) for n in shape[1:]):
        rule = "must be positive sizes after a batch axis, as in (None, 3, 32, 32), or None for any"
        raise checks.error("Model", "input_shape", rule, input_shape)
    return (None, *(None if n is None else int(n) for n in shape[1:]))
