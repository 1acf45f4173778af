"""What every layer is: parameters, a forward pass, a backward pass, and a way to be saved.

A layer is a function with a memory. `forward` computes the output and keeps what `backward`
will need; `backward` takes the gradient of the loss with respect to the output, fills
`grads` beside `params`, and returns the gradient with respect to the input. That is all of
backpropagation: the model calls the one in order and the other in reverse.
"""

import contextlib
import contextvars
import inspect
import math
import reprlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .. import checks, cuda, initializers, random, regularizers

Array = Any  # numpy.ndarray or cupy.ndarray
Shape = tuple[int | None, ...]  # with the batch axis, which is None

# What every layer takes.
_COMMON = {"name", "input_shape", "trainable", "lr_factor"}

# What a signature has besides arguments.
_ANY = {"self", "common", "unknown"}

#: Layers inside layers inside layers: no deeper than this.
MAX_DEPTH = 100

#: All layers of a saved model, those inside others included: no more than this.
MAX_LAYERS = 10_000

# How many numbers layers may still create, while what a file describes is built; else None.
_room: contextvars.ContextVar[list[int] | None] = contextvars.ContextVar("room", default=None)
_MAX_SAMPLE = 1 << 26  # numbers in a sample that is sent through a layer to learn its output

#: Every layer class by the names under which models are saved and loaded.
NAME2LAYER: dict[str, type["Layer"]] = {}


class Layer:
    """Base class of all layers; subclass it to write your own.

    A subclass needs `forward` and `backward` and nothing else. One with an `__init__` calls
    `super().__init__()` in it; one with parameters creates them in `build`; one that is to
    be saved returns its `__init__` arguments from `to_config` and is registered with
    `@nn.register`.

    Parameters
    ----------
    name
        A name for `summary`; the class name where it is None.
    input_shape
        Shape of one sample, without the batch axis. On a model's first layer it makes the
        model build at once.
    trainable
        False keeps the parameters as they are during training.
    lr_factor
        What the optimizer's learning rate is multiplied by for the parameters of this layer,
        and of those inside it, above 0: 0.1 for layers that have learned and are to change
        little. It is the rate of the update that is multiplied (and of `AdamW`'s decay), not the
        gradient, which Adam would not notice.

    Attributes
    ----------
    params, grads, buffers : dict
        Arrays by name: what training changes, its gradients, and what is saved with the
        layer without being trained (as the running statistics of batch normalisation).
    regularizers : dict
        The penalty on a parameter (see `nn.regularizers`) by the parameter's name. A file keeps
        the kernel's, `kernel_regularizer`; for others `to_config` is to be written.
    output_shape : tuple
        Shape of the output with None for the batch axis, once the layer is built.
    rng : numpy.random.Generator
        The layer's own source of random numbers; a model gives each of its layers one.

    Examples
    --------
    >>> import numpy as np
    >>> class Double(Layer):
    ...     def forward(self, x, training=False):
    ...         return 2 * x
    ...     def backward(self, grad):
    ...         return 2 * grad
    >>> Double().forward(np.ones(3))
    array([2., 2., 2.])
    """

    #: Axes that an input must have, and what to add before the layer where it has others.
    input_ndim: tuple[int, ...] = ()
    input_hint = ""

    #: False while `Model.train_step` runs the lowest layer: nobody reads its input's gradient.
    wants_input_grad = True

    def __init__(
        self,
        name: str | None = None,
        input_shape: tuple[int, ...] | None = None,
        trainable: bool = True,
        lr_factor: float = 1.0,
        **unknown: Any,
    ):
        owner = type(self).__name__
        for argument in unknown:
            raise TypeError(
                str(checks.unknown(owner, "argument", argument, _arguments(type(self))))
            )
        if name is not None and not isinstance(name, str):
            raise checks.error(owner, "name", "must be a text or None", name)
        self.name = name
        self.input_shape = (
            None if input_shape is None else checks.shape(owner, "input_shape", input_shape)
        )
        self.trainable = checks.boolean(owner, "trainable", trainable)
        self.lr_factor = lr_factor
        self.dtype = "float32"
        self.rng = random.new_generator()
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.buffers: dict[str, Array] = {}
        self.regularizers: dict[str, regularizers.Regularizer] = {}
        self.built = False
        self.built_shape: Shape | None = None
        self.output_shape: Shape | None = None
        self._kept: tuple | None = None
        self._came: Shape = ()  # shape of the last input, and of that which was kept of
        self._kept_of: Shape = ()

    @property
    def lr_factor(self) -> float:
        """What the learning rate is multiplied by for this layer's parameters."""
        return self._lr_factor

    @lr_factor.setter
    def lr_factor(self, value: float) -> None:
        self._lr_factor = checks.positive(type(self).__name__, "lr_factor", value)

    def build(self, input_shape: Shape) -> None:
        """Create the parameters for inputs of `input_shape` and set `output_shape`.

        Parameters
        ----------
        input_shape
            With the batch axis: (None, 3, 32, 32).

        Notes
        -----
        This one, for layers without parameters, learns `output_shape` from the forward pass
        of a sample of zeros. A subclass that creates parameters sets `self.output_shape` and
        `self.built = True` itself, or calls `super().build(input_shape)` at its end.
        """
        shape = [1, *(n or 1 for n in input_shape[1:])]
        if _room.get() is not None and math.prod(shape) > _MAX_SAMPLE:
            raise _no_room(type(self).__name__, math.prod(shape), _MAX_SAMPLE)
        sample = np.zeros(shape, dtype=self.dtype)
        self.output_shape = (None, *self.forward(sample, training=False).shape[1:])
        self.built = True

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the layer's output for a batch.

        Parameters
        ----------
        x
            The batch, samples along the first axis.
        training
            True while the model trains; False otherwise, with `backward` still possible;
            None where nothing is to be kept for `backward`, as in `predict`. A layer of your
            own may treat None as False.
        """
        raise NotImplementedError(f"[{type(self).__name__}] needs a forward(x, training) method.")

    def backward(self, grad: Array) -> Array:
        """Fill `grads` and return the gradient for the input of the last forward pass.

        Parameters
        ----------
        grad
            Gradient of the loss with respect to the output, of the output's shape.
        """
        raise NotImplementedError(f"[{type(self).__name__}] needs a backward(grad) method.")

    def penalty(self) -> float:
        """Return what the `regularizers` of this layer add to the loss."""
        total = 0.0
        for name, rule in self.regularizers.items():
            if name not in self.params:
                raise checks.unknown(type(self).__name__, "regularizers", name, self.params)
            total += rule.penalty(self.params[name])
        return total

    def sublayers(self) -> "tuple[Layer, ...]":
        """Return the layers inside this one, as they are numbered in a file; most have none.

        See `nn.layers.containers`.
        """
        return ()

    def to_config(self) -> dict[str, Any]:
        """Return `{'class': ..., 'config': {...}}`, from which the layer can be made again.

        Raises
        ------
        TypeError
            In a class of your own whose `__init__` takes arguments that nobody told it of:
            write `to_config` there.
        """
        own = set(inspect.signature(type(self).__init__).parameters) - _COMMON - _ANY
        if own and type(self).__module__.split(".")[0] != __name__.split(".")[0]:
            raise TypeError(
                f"[{type(self).__name__}] takes {', '.join(sorted(own))} and needs a to_config() "
                "that returns them, {'class': ..., 'config': {...}}, to be saved."
            )
        return self._config()

    def __repr__(self) -> str:
        try:
            config = self.to_config()["config"]
        except TypeError:
            config = {}
        arguments = ", ".join(f"{k}={v!r}" for k, v in config.items())
        return f"{type(self).__name__}({arguments})"

    # ------------------------------------------------ for the layers of this package

    def _config(self, **arguments: Any) -> dict[str, Any]:
        """Return `to_config`'s answer for the given arguments and those of every layer."""
        common: dict[str, Any] = {}
        if self.name is not None:
            common["name"] = self.name
        if self.input_shape is not None:
            common["input_shape"] = list(self.input_shape)
        if not self.trainable:
            common["trainable"] = False
        if self.lr_factor != 1:
            common["lr_factor"] = self.lr_factor
        return {"class": type(self).__name__, "config": {**arguments, **common}}

    def _check_input(self, x: Array) -> Array:
        """Return x after checking its shape, building the layer where a user calls it by hand."""
        shape = getattr(x, "shape", None)
        if shape is None:
            raise checks.error(type(self).__name__, "x", "must be an array", type(x).__name__)
        if x.dtype.kind != "f":
            raise TypeError(
                f"[{type(self).__name__}] expects floats, got an array of dtype {x.dtype}: "
                "use x.astype('float32')."
            )
        self._check_shape(shape)
        if not self.built:
            self.build((None, *shape[1:]))
        elif self.built_shape is not None and self._fixed(shape) != self._fixed(self.built_shape):
            raise ValueError(
                f"[{type(self).__name__}] was built for inputs of shape {self.built_shape}, "
                f"got {tuple(shape)}."
            )
        self._came = shape
        return x

    def _check_shape(self, shape: Shape) -> None:
        """Raise where an input of this shape has the wrong number of axes."""
        if self.input_ndim and len(shape) not in self.input_ndim:
            expected = " or ".join(f"{n}-D" for n in self.input_ndim)
            hint = f": {self.input_hint}" if self.input_hint else "."
            raise ValueError(
                f"[{type(self).__name__}] expects {expected} input, got {tuple(shape)}{hint}"
            )

    def _fixed(self, shape: Shape) -> Shape:
        """Return the part of an input's shape that may not change once the layer is built."""
        return ()

    def _output_of(self, shape: Shape) -> Shape:
        """Return the output's shape for an input of this shape, the number of samples included."""
        return (shape[0], *(self.output_shape or ())[1:])

    def _built(self, input_shape: Shape, output_shape: Shape) -> None:
        """Note the end of `build`."""
        self.built_shape, self.output_shape, self.built = input_shape, output_shape, True

    def _keep(self, training: bool | None, *values: Any) -> None:
        """Keep `values` for `backward`, unless this forward pass is for inference only."""
        if training is not None:
            self._kept, self._kept_of = values, self._came

    def forget(self) -> None:
        """Drop what the last forward pass kept, once `backward` is done with it."""
        self._kept = None

    def _recall(self) -> tuple:
        """Return what the last forward pass kept."""
        if self._kept is None:
            raise RuntimeError(
                f"[{type(self).__name__}] backward() was called before forward(): call "
                "forward(x, training=True) first."
            )
        return self._kept

    def _recall_for(self, grad: Array) -> tuple:
        """Return what the last forward pass kept, after checking the shape of the gradient.

        A shape that would be broadcast gives wrong gradients without a word, and compiled loops
        would read and write beyond the arrays.
        """
        kept = self._recall()
        expected = self._output_of(self._kept_of)
        if getattr(grad, "shape", None) != expected:
            came = getattr(grad, "shape", type(grad).__name__)
            raise ValueError(
                f"[{type(self).__name__}] backward() expects a gradient 'grad' of the output's "
                f"shape {expected}, got {came}."
            )
        return kept

    def _set_param(self, name: str, values: np.ndarray) -> None:
        """Store a copy of a parameter in the layer's dtype."""
        self.params[name] = np.array(values, dtype=self.dtype, order="C")


def _arguments(cls: type[Layer]) -> set[str]:
    """Return the names of the arguments that a layer's class takes."""
    inits = [vars(base)["__init__"] for base in cls.__mro__[:-1] if "__init__" in vars(base)]
    own = inspect.signature(inits[0]).parameters
    return {*own, *_COMMON} - _ANY


class WeightedLayer(Layer):
    """A layer with a kernel `W`, an optional bias `b` and an optional activation after them."""

    #: The axis of W along which the outputs lie.
    output_axis = 0

    def __init__(
        self,
        use_bias: bool,
        activation: "str | Layer | None",
        kernel_initializer: "str | initializers.Initializer | None",
        kernel_regularizer: "str | regularizers.Regularizer | None" = None,
        **common: Any,
    ):
        super().__init__(**common)
        owner = type(self).__name__
        if isinstance(use_bias, str):  # in Keras' order of arguments the activation comes here
            rule = f"must be True or False: write activation={use_bias!r}"
            raise checks.error(owner, "use_bias", rule, use_bias)
        self.use_bias = checks.boolean(owner, "use_bias", use_bias)
        self.activation = get_activation(activation, owner)
        if kernel_initializer is not None:
            initializers.get(kernel_initializer, owner)
        self.kernel_initializer = kernel_initializer
        self.kernel_regularizer = kernel_regularizer

    @property
    def kernel_regularizer(self) -> regularizers.Regularizer | None:
        """The penalty on the kernel, `regularizers['W']`; it may be set by name too."""
        return self.regularizers.get("W")

    @kernel_regularizer.setter
    def kernel_regularizer(self, value: "str | regularizers.Regularizer | None") -> None:
        rule = regularizers.get(value, type(self).__name__)
        self.regularizers.pop("W", None)
        if rule is not None:
            self.regularizers["W"] = rule

    def default_initializer(self) -> str:
        """Return the name of the initializer that is used where none was given."""
        return "he_normal"

    def draw_kernel(self, shape: tuple[int, ...]) -> np.ndarray:
        """Draw the kernel; the same one at each call, for the layer's seed."""
        rule = initializers.get(self.kernel_initializer or self.default_initializer())
        seed: Any = self.rng.bit_generator.seed_seq  # where the layer's generator began
        kernel = np.asarray(rule(shape, np.random.default_rng(seed)))
        if kernel.shape != shape:
            raise checks.error(
                type(self).__name__,
                "kernel_initializer",
                f"must return an array of the shape {shape}",
                kernel.shape,
            )
        return kernel

    def _build_weights(self, shape: tuple[int, ...], outputs: int) -> None:
        take_room(type(self).__name__, math.prod(shape) + outputs)
        self._set_param("W", self.draw_kernel(shape))
        if self.use_bias:
            self._set_param("b", np.zeros(outputs))

    def linear(self, x: Array, w: Array, b: Array | None) -> Array:
        """Return the layer's output before its activation, with the given kernel and bias."""
        raise NotImplementedError(f"[{type(self).__name__}] needs a linear(x, w, b) method.")

    def forward_scaled(self, x: Array, scale: Array, shift: Array) -> Array:
        """Return `forward(x) * scale + shift`, with scale and shift in the weights.

        Parameters
        ----------
        x
            A batch. Nothing is kept for `backward`.
        scale, shift
            A number for each output channel, (F,).
        """
        x = self._check_input(x)
        w = self.params["W"]
        along = [1] * w.ndim
        along[self.output_axis] = -1
        w = w * scale.reshape(along)  # (F,) -> (F, 1, 1, 1) for (F, C, KH, KW)
        return self.linear(x, w, self.params["b"] * scale + shift if self.use_bias else shift)

    def _activate(self, z: Array, training: bool | None) -> Array:
        if self.activation is None:
            return z
        y = self.activation.forward(z, training)
        if self.activation.params:
            raise ValueError(
                f"[{type(self).__name__}] 'activation' must have no parameters, got "
                f"{self.activation!r}: add it as a layer of its own."
            )
        return y

    def forget(self) -> None:
        """Drop what the last forward pass kept, here and in the activation."""
        super().forget()
        if self.activation is not None:
            self.activation.forget()

    def _activation_grad(self, grad: Array) -> Array:
        return grad if self.activation is None else self.activation.backward(grad)

    def _weighted_config(self, **arguments: Any) -> dict[str, Any]:
        """Return `_config` with the arguments of every weighted layer, defaults left out."""
        config = {**arguments, "use_bias": self.use_bias}
        if self.activation is not None:
            config["activation"] = activation_config(self.activation)
        rule = self.kernel_initializer
        name = rule if isinstance(rule, str) else getattr(rule, "__name__", None)
        # A function of the user's has no place in a file; the weights that it drew are there.
        if rule in (name, initializers.NAME2INITIALIZER.get(str(name))) and rule is not None:
            config["kernel_initializer"] = name
        if self.kernel_regularizer is not None:
            config["kernel_regularizer"] = self.kernel_regularizer.to_config()
        return self._config(**config)


def register(cls: type[Layer]) -> type[Layer]:
    """Make a layer class known by its name, so that models with it can be loaded.

    Use it as a decorator. A later class of the same name takes the place of the earlier.

    Examples
    --------
    >>> @register
    ... class Half(Layer):
    ...     def forward(self, x, training=False):
    ...         return x / 2
    ...     def backward(self, grad):
    ...         return grad / 2
    >>> NAME2LAYER.pop("Half").__name__
    'Half'
    """
    NAME2LAYER[cls.__name__] = cls
    return cls


def layer_from_config(entry: dict[str, Any]) -> Layer:
    """Make a layer from what `to_config` returned.

    Raises
    ------
    ValueError
        For a class that is not registered, arguments that its `__init__` does not take, or
        layers inside layers that are nested too deeply.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("class"), str):
        rule = "must be {'class': ..., 'config': {...}}"
        raise ValueError(f"[Model] 'layers' {rule}, got {reprlib.repr(entry)}.")
    check_nesting(entry)
    name, config = entry["class"], entry.get("config") or {}
    if not isinstance(config, dict):
        value = reprlib.repr(config)
        raise ValueError(f"[Model] 'config' of a {name} must be a dict, got {value}.")
    if name not in NAME2LAYER:
        message = str(checks.unknown("Model", "class", name, NAME2LAYER))
        raise ValueError(f"{message} A layer of your own must be registered first: @nn.register.")
    # Ours take these themselves; a user's __init__ may not.
    taken = inspect.signature(NAME2LAYER[name].__init__).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    common = {k: v for k, v in config.items() if k in _COMMON and not (takes_all or k in taken)}
    arguments = {k: _as_tuple(v) for k, v in config.items() if k not in common}
    try:
        layer = NAME2LAYER[name](**arguments)
    except TypeError as error:
        raise ValueError(
            f"[{name}] cannot be made from the config {reprlib.repr(config)}: {error}. Its "
            "to_config() must return the arguments of its __init__."
        ) from error
    for key, value in common.items():
        setattr(layer, key, _as_tuple(value))
    return layer


def check_nesting(entries: Any) -> None:
    """Raise where configurations within configurations are too deep to be followed, or too many.

    It looks ahead, a level at a time: making the layers would end in a RecursionError, or never.
    """
    level: list[Any] = [entries]
    count = 0
    # A layer's dictionary, its config, the list of its layers, and so on; the last has arguments.
    for _ in range(3 * MAX_DEPTH + 10):
        inner = (v.values() if isinstance(v, dict) else v for v in level)
        count += sum(isinstance(v, dict) and "class" in v for v in level)
        if count > MAX_LAYERS:
            raise ValueError(f"[Model] 'layers' must not be more than {MAX_LAYERS:,} in all.")
        level = [v for values in inner for v in values if isinstance(v, dict | list | tuple)]
        if not level:
            return
    raise nested_too_deeply("Model")


def nested_too_deeply(owner: str) -> ValueError:
    """Return the error for layers inside layers beyond `MAX_DEPTH`."""
    return ValueError(f"[{owner}] 'layers' must not be nested more than {MAX_DEPTH} deep.")


@contextlib.contextmanager
def limited_room(numbers: int) -> Iterator[None]:
    """Let layers create so many numbers, parameters and buffers together, and no more.

    It is for building what a file describes: `Dense(10**12)` is refused before memory is taken.
    A layer of your own that creates its arrays itself is not held to it.

    Examples
    --------
    >>> from nn.layers import Dense
    >>> with limited_room(1000):
    ...     Dense(10**12).build((None, 3))
    Traceback (most recent call last):
        ...
    nn.checks.FileFormatError: [Dense] needs 4000000000000 numbers, more than the 1000 there can be.
    """
    token = _room.set([numbers])
    try:
        yield
    finally:
        _room.reset(token)


def room_for(arrays: dict[str, Any]) -> contextlib.AbstractContextManager[None]:
    """Hold the layers that are built in a `with` block to the room that a file's arrays suggest.

    It is four times their numbers and a little more, so that layers which nearly fit are built,
    and the message that lists the differences can be given.
    """
    return limited_room(4 * sum(array.size for array in arrays.values()) + (1 << 20))


def take_room(owner: str, numbers: int) -> None:
    """Raise where a layer is about to create more numbers than `limited_room` leaves it."""
    left = _room.get()
    if left is None:
        return
    if numbers > left[0]:
        raise _no_room(owner, numbers, left[0])
    left[0] -= numbers


def _no_room(owner: str, numbers: int, left: int) -> checks.FileFormatError:
    return checks.FileFormatError(
        f"[{owner}] needs {numbers} numbers, more than the {left} there can be."
    )


def _as_tuple(value: Any) -> Any:
    """Return JSON's lists as the tuples that they were."""
    return tuple(value) if isinstance(value, list) else value


# ------------------------------------------------------------- activations by name

#: Every activation class by the names that `activation=` and `Activation` take.
NAME2ACTIVATION: dict[str, Callable[[], Layer]] = {}


def get_activation(activation: "str | Layer | None", owner: str) -> Layer | None:
    """Return a new activation layer for a name, the layer itself, or None for 'linear'."""
    if activation is None or activation == "linear":
        return None
    if isinstance(activation, Layer):
        return activation
    if isinstance(activation, dict):
        return layer_from_config(activation)
    if isinstance(activation, str):
        activation = activation.lower()
    if activation not in NAME2ACTIVATION:
        raise checks.unknown(owner, "activation", activation, [*NAME2ACTIVATION, "linear"])
    return NAME2ACTIVATION[activation]()


def activation_config(activation: Layer) -> str | dict[str, Any]:
    """Return the shortest value from which `get_activation` makes the same activation."""
    for name, make in NAME2ACTIVATION.items():
        if make is type(activation) and make().to_config() == activation.to_config():
            return name
    return activation.to_config()


# ------------------------------------------------------- layers, and those inside them


def walk(layers: Iterable[Layer], path: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield every layer with its name in a file; a layer comes before those inside it.

    Examples
    --------
    >>> from nn.layers import Dense, ReLU, Residual
    >>> [name for name, _ in walk([Dense(2), Residual([Dense(2), ReLU()])])]
    ['0_Dense', '1_Residual', '1_Residual/0_Dense', '1_Residual/1_ReLU']
    """
    for index, layer in enumerate(layers):
        name = f"{path}{index}_{type(layer).__name__}"
        yield name, layer
        yield from walk(layer.sublayers(), f"{name}/")


def check_distinct(owner: str, layers: Iterable[Layer], present: Iterable[Layer] = ()) -> None:
    """Raise where a layer object, or an activation inside one, would stand in a model twice."""
    seen = {id(part) for layer in present for part in _parts(layer)}
    for layer in layers:
        for part in _parts(layer):
            if id(part) in seen:
                raise ValueError(
                    f"[{owner}] 'layers' must not hold a layer object twice, got {layer!r} again: "
                    "make a second layer (an activation given as an object counts as one)."
                )
            seen.add(id(part))


def _parts(layer: Layer) -> Iterator[Layer]:
    """Yield a layer, all layers inside it, their activations, and what a `WeightNorm` wraps."""
    for _, part in walk([layer]):
        yield part
        for inner in (getattr(part, "activation", None), getattr(part, "layer", None)):
            if isinstance(inner, Layer):
                yield inner


def set_generator(layer: Layer, rng: np.random.Generator) -> None:
    """Give a layer its source of random numbers, and each layer inside it a child of it."""
    layer.rng = rng
    for part in layer.sublayers():
        set_generator(part, rng.spawn(1)[0])


def move_to_device(layer: Layer, device: str) -> None:
    """Move the arrays of a layer, and of those inside it, to 'gpu' or 'cpu'.

    What was kept for `backward` is dropped.
    """
    for _, part in walk([layer]):
        for arrays in (part.params, part.grads, part.buffers):
            for name, array in arrays.items():
                arrays[name] = cuda.to_device(array, device)
        part._kept = None
