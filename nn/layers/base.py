"""What every layer is: parameters, a forward pass, a backward pass, and a way to be saved.

A layer is a function with a memory. `forward` computes the output and keeps what `backward`
will need; `backward` takes the gradient of the loss with respect to the output, fills
`grads`, which has the names of `params`, and returns the gradient with respect to the input. That
is all of backpropagation: the model calls the one in order and the other in reverse.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import checks, compat, kernels, random, regularizers, validation
from ..custom import is_ours
from .budget import check_sample
from .masks import MaskRules
from .trained import checked_factor, checked_trainable, trained_keys

Array = Any  # numpy.ndarray or cupy.ndarray
Shape = tuple[int | None, ...]  # with the batch axis, which is None

#: The arguments that every layer takes.
COMMON = {"name", "input_shape", "trainable", "lr_factor"}

_NO_ARRAY = (None, None)  # the shape of what has none; no array's, as its axes are None


class Layer(MaskRules):
    """Base class of all layers; subclass it to write your own.

    A subclass needs `forward` and `backward` and nothing else. One with an `__init__` calls
    `super().__init__()` in it; one with parameters creates them in `build`; one that is to
    be saved returns its `__init__` arguments from `to_config` and is registered with
    `@nn.register`.

    Parameters
    ----------
    name
        A name for `summary`; None uses the class name.
    input_shape
        Shape of one sample, without the batch axis. On a model's first layer it makes the
        model build at once. None stands for a size that may change from batch to batch, as in
        (3, None, None) for images of any height and width.
    trainable
        False keeps the parameters as they are during training; ("b",) trains the named ones alone.
    lr_factor
        What the optimizer's learning rate is multiplied by for the parameters of this layer,
        and of those inside it, above 0: 0.1 for layers that have learned and are to change
        little. It is the rate of the update that is multiplied (and of `AdamW`'s decay), not the
        gradient, which Adam would not notice. Or a dictionary for parameters of some names, as in
        {"b": 64.0}; a container's is for all layers inside.

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

    #: Number of axes that an input must have, and what to add before the layer if it has others.
    input_ndim: tuple[int, ...] = ()
    input_hint = ""

    #: The axes of an input whose sizes may not change once the layer is built.
    fixed_axes = slice(0)

    # Replaced when a layer is made, built, frozen or freed: a plan of before is out of date then.
    _structure: object = object()

    # The `backward` that `backward_params` belongs to; see `backward_params_through`.
    _own_backward: Any = None

    def __init__(
        self,
        name: str | None = None,
        input_shape: tuple[int, ...] | None = None,
        trainable: bool | Sequence[str] = True,
        lr_factor: float | Mapping[str, float] = 1.0,
        **unknown: Any,
    ):
        owner = type(self).__name__
        for argument in unknown:
            error = compat.unknown_argument(owner, argument, _arguments(type(self)))
            raise TypeError(str(error))
        if name is not None and not isinstance(name, str):
            raise checks.error(owner, "name", "must be a string or None", name)
        self.name = name
        self.input_shape: Shape | None = (
            None if input_shape is None else checks.shape(owner, "input_shape", input_shape)
        )
        self.trainable = trainable
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
        self._kept: tuple | None = None  # what `backward` needs of the last forward pass
        self._grad_shape: Shape = ()  # of the gradient that goes with it
        self._sample_shape: Shape | None = None  # of a sample that was checked
        self._dtype: Any = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let the constructor take other libraries' names of its arguments too."""
        super().__init_subclass__(**kwargs)
        compat.accept_other_names(cls)
        if "backward_params" in vars(cls):
            cls._own_backward = cls.backward

    @property
    def lr_factor(self) -> Any:
        """What the learning rate is multiplied by for the parameters, or for each by its name."""
        return self._lr_factor

    @lr_factor.setter
    def lr_factor(self, value: Any) -> None:
        self._lr_factor: Any = checked_factor(type(self).__name__, value)
        Layer._structure = object()

    @property
    def trainable(self) -> Any:
        """Whether training changes the parameters of this layer, or the names of those it does."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: Any) -> None:
        self._trainable: Any = checked_trainable(type(self).__name__, value)
        Layer._structure = object()

    def trained_keys(self) -> list[str]:
        """Return the keys of `params` that training changes."""
        return trained_keys(self)

    def build(self, input_shape: Shape) -> None:
        """Create the parameters for inputs of `input_shape` and set `output_shape`.

        Parameters
        ----------
        input_shape
            With the batch axis: (None, 3, 32, 32).

        Notes
        -----
        This one, for layers without parameters, learns `output_shape` from the forward pass
        of a sample of zeros, or of two if a size of the input is unknown. A subclass that creates
        parameters sets `self.output_shape` and `self.built = True` itself, or calls
        `super().build(input_shape)` at its end.
        """
        shapes = []
        for unknown in (16, 17) if None in input_shape[1:] else (1,):
            shape = [1, *(n or unknown for n in input_shape[1:])]
            check_sample(type(self).__name__, math.prod(shape))
            sample = np.zeros(shape, dtype=self.dtype)
            shapes.append(self.forward(sample, training=False).shape[1:])
        sizes = zip(*shapes, strict=True)
        self.output_shape = (None, *(own[0] if len({*own}) == 1 else None for own in sizes))
        self.built = True

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the layer's output for a batch.

        Parameters
        ----------
        x
            The batch, samples along the first axis.
        training
            True while the model trains; False otherwise, with `backward` still possible;
            None if nothing is to be kept for `backward`, as in `predict`. A custom layer may
            treat None as False.
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

    def backward_params(self, grad: Array) -> Any:
        """Fill `grads` without computing the gradient for the input.

        A model calls it for its lowest layer with parameters to train, and ignores what it
        returns. This one calls `backward`; layers that can save work override it, together with
        `backward`: of a subclass that overrides `backward` alone, that is called.

        Parameters
        ----------
        grad
            As for `backward`.
        """
        self.backward(grad)

    def penalty(self) -> float:
        """Return what the `regularizers` of this layer add to the loss."""
        total = 0.0
        for name, rule in self.regularizers.items():
            if name not in self.params:
                raise checks.unknown(type(self).__name__, "regularizers", name, self.params)
            total += rule.penalty(self.params[name])
        return total

    def activity_penalty(self) -> float:
        """Return what the last batch adds to the loss by what the layer computed, such as a norm.

        A layer that overrides it takes the mean over the batch, and adds the gradient of this
        value to what its `backward` returns. `fit`, `train_step` and `evaluate` report it as a
        part of the loss. A forward pass with `training=None` need not compute it.

        Examples
        --------
        >>> import numpy as np
        >>> class Sparse(Layer):  # of few features that are not 0: 0.1 |x|
        ...     def forward(self, x, training=False):
        ...         self.x = x
        ...         return x
        ...     def activity_penalty(self):
        ...         return 0.1 * float(abs(self.x).sum()) / len(self.x)
        ...     def backward(self, grad):
        ...         return grad + 0.1 * np.sign(self.x) / len(self.x)
        """
        return 0.0

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
            For a custom class whose `__init__` takes arguments of its own: it needs a `to_config`.
        """
        ours = [cls for cls in type(self).__mro__ if is_ours(cls)]
        unknown = _arguments(type(self)).keys() - _arguments(ours[0]).keys()
        if unknown:
            raise TypeError(
                f"[{type(self).__name__}] takes {', '.join(sorted(unknown))} and needs a "
                "to_config() that returns them, {'class': ..., 'config': {...}}, to be saved."
            )
        return self._config(**self._own_arguments())

    def __repr__(self) -> str:
        try:
            config = self.to_config()["config"]
        except TypeError:
            config = {}
        arguments = ", ".join(f"{k}={v!r}" for k, v in config.items())
        return f"{type(self).__name__}({arguments})"

    # ------------------------------------------------ for the layers of this package

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for arrays in (state.get("params", {}), state.get("buffers", {})):
            for name, array in arrays.items():
                if isinstance(array, np.memmap):  # of joblib.load(mmap_mode="r")
                    arrays[name] = array.view(np.ndarray)  # which the compiled kernels take

    def _own_arguments(self) -> dict[str, Any]:
        """Return the arguments of this class, the attributes of their names; None is left out."""
        names = [name for name in _arguments(type(self)) if name not in COMMON]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _config(self, **arguments: Any) -> dict[str, Any]:
        """Return `to_config`'s answer for the given arguments and those of every layer."""
        common: dict[str, Any] = {}
        if self.name is not None:
            common["name"] = self.name
        if self.input_shape is not None:
            common["input_shape"] = list(self.input_shape)
        if self.trainable is not True:
            common["trainable"] = [*self.trainable] if self.trainable else False
        if self.lr_factor != 1:
            common["lr_factor"] = self.lr_factor
        return {"class": type(self).__name__, "config": {**arguments, **common}}

    def _check_input(self, x: Array) -> Array:
        """Return x, which is checked if its shape or dtype is not that of the last batch."""
        if getattr(x, "shape", _NO_ARRAY)[1:] != self._sample_shape or x.dtype is not self._dtype:
            self._accept(x)
        return x

    def _accept(self, x: Array) -> None:
        """Check an input of a new shape or dtype; build a layer that is called by hand."""
        shape = getattr(x, "shape", None)
        if shape is None:
            raise checks.error(type(self).__name__, "x", "must be an array", type(x).__name__)
        self._check_dtype(x)
        self._check_shape(shape)
        if not self.built:
            self.build((None, *shape[1:]))
        elif self.built_shape is not None and not validation.fits_shape(
            self._fixed_sizes(shape), self._fixed_sizes(self.built_shape)
        ):
            raise ValueError(
                f"[{type(self).__name__}] was built for inputs of shape {self.built_shape}, "
                f"got {tuple(shape)}."
            )
        self._sample_shape, self._dtype = shape[1:], x.dtype

    def _check_dtype(self, x: Array) -> None:
        """Raise an error unless an input holds floats."""
        if x.dtype.kind != "f":
            raise TypeError(
                f"[{type(self).__name__}] expects floats, got an array of dtype {x.dtype}: "
                "use x.astype('float32')."
            )

    def _check_shape(self, shape: Shape) -> None:
        """Raise an error if an input of this shape has the wrong number of axes."""
        if self.input_ndim and len(shape) not in self.input_ndim:
            expected = " or ".join(f"{n}-D" for n in self.input_ndim)
            hint = f": {self.input_hint}" if self.input_hint else "."
            raise ValueError(
                f"[{type(self).__name__}] expects {expected} input, got {tuple(shape)}{hint}"
            )

    def _known_size(self, shape: Shape, axis: int) -> int:
        """Return the size of an axis of the input, which has to be known."""
        size = shape[axis]
        if size is None:
            raise ValueError(
                f"[{type(self).__name__}] needs to know the size of axis {axis % len(shape)} of "
                f"its input, got {tuple(shape)}: give it in 'input_shape', or add a global pooling "
                "before the layer."
            )
        return int(size)

    def _fixed_sizes(self, shape: Shape) -> Shape:
        """Return the sizes of `fixed_axes`."""
        return shape[self.fixed_axes]

    def _built(self, input_shape: Shape, output_shape: Shape) -> None:
        """Note the end of `build`."""
        self.built_shape, self.output_shape, self.built = input_shape, output_shape, True
        self._sample_shape = None
        Layer._structure = object()

    def _keep(self, training: bool | None, y: Array, *values: Any) -> None:
        """Keep `values`, and the shape of the output y, for `backward`; nothing for inference."""
        if training is not None:
            self._kept, self._grad_shape = values, y.shape

    def forget(self) -> None:
        """Drop what the last forward pass kept for `backward`."""
        self._kept = None

    def _kept_for(self, grad: Array) -> tuple:
        """Return what the last forward pass kept, if the gradient has the output's shape.

        Another shape might be broadcast, which gives wrong gradients, and compiled loops would
        read and write beyond the arrays.
        """
        if self._kept is None:
            raise RuntimeError(
                f"[{type(self).__name__}] backward() was called before forward(), or twice after "
                "it: call forward(x, training=True) first."
            )
        if getattr(grad, "shape", None) != self._grad_shape:
            got = getattr(grad, "shape", type(grad).__name__)
            raise ValueError(
                f"[{type(self).__name__}] backward() expects a gradient 'grad' of the output's "
                f"shape {self._grad_shape}, got {got}."
            )
        return self._kept

    def _recall_for(self, grad: Array) -> tuple:
        """Return what `_kept_for` returns, and drop it: its memory serves the layers below."""
        kept = self._kept
        if kept is None or getattr(grad, "shape", None) != self._grad_shape:
            return self._kept_for(grad)  # which says what is wrong
        self._kept = None
        return kept

    def _set_param(self, name: str, values: np.ndarray) -> None:
        """Store a copy of a parameter in the layer's dtype."""
        self.params[name] = np.array(values, dtype=self.dtype, order="C")


class ChannelLayer(Layer):
    """A layer with numbers for each channel: along axis 1, in sequences (N, T, D) the last."""

    input_ndim: tuple[int, ...] = (2, 3, 4)
    input_hint = "the channels are along axis 1, those of sequences (N, T, D) along the last."

    passes_mask = True

    def channels(self, shape: Shape) -> int:
        """Return the number of channels of an input shape."""
        return self._known_size(shape, kernels.class_axis(len(shape)))

    def _fixed_sizes(self, shape: Shape) -> Shape:
        return (shape[kernels.class_axis(len(shape))],)


def _arguments(cls: type[Layer]) -> dict[str, None]:
    """Return the names of the arguments that a layer's class takes, in their order.

    An `__init__` that takes any others takes those of the next base class too.
    """
    names: dict[str, None] = {}
    for init in (vars(cls)["__init__"] for cls in cls.__mro__[:-1] if "__init__" in vars(cls)):
        parameters = inspect.signature(init).parameters.values()
        others = [p for p in parameters if p.kind is p.VAR_KEYWORD]
        names |= dict.fromkeys(p.name for p in parameters if p not in others and p.name != "self")
        if not others:
            break
    return names


compat.accept_other_names(Layer)
