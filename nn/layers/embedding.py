"""The embedding of ids: a table of vectors, one for each word or character, that is learned."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import checks, cuda, initializers, kernels, regularizers, validation
from .base import Array, Layer, Shape
from .budget import take_elements
from .config import register
from .masks import Mask
from .stack import flat
from .weighted import KernelLayer


@register
class Embedding(KernelLayer):
    """Row i of a table W for each id i: y[n, t] = W[x[n, t]].

    It is the product of W with one-hot rows, without the multiplications by 0; so its gradient is
    the sum of `grad` over the places where an id stands, and 0 for ids that do not occur. As the
    first layer of a model it takes ids as the integers that they are: `fit` and `predict` neither
    scale them nor convert them to floats.

    Parameters
    ----------
    input_dim
        How many ids there are: they are 0..input_dim-1.
    output_dim
        Length D of each vector.
    mask_zero
        Whether the id 0 is padding: the layers that follow get the mask of the other ids, as from
        `Masking`. The row 0 of W is read, but nothing that honours the mask depends on it.
    kernel_initializer
        Name or function (see `nn.initializers`) for W; by default numbers from -0.05 to 0.05, as
        in Keras.
    kernel_regularizer
        A penalty on W in the loss, as in `Dense`.
    **common
        `name`, `input_shape` (T,), `trainable` and `lr_factor`, as every layer takes them.

    Attributes
    ----------
    params : dict
        'W' of shape (input_dim, D).

    Raises
    ------
    TypeError
        For ids that are not integers.
    ValueError
        For an id outside 0..input_dim-1, or ids that are not (N, T).

    References
    ----------
    Bengio et al. 2003, "A neural probabilistic language model", Journal of Machine Learning
    Research 3, section 2

    Examples
    --------
    >>> layer = Embedding(5, 2)
    >>> layer.build((None, 3))
    >>> layer.params["W"][...] = np.arange(10).reshape(5, 2)
    >>> layer.forward(np.array([[4, 0, 4]])).tolist()
    [[[8.0, 9.0], [0.0, 1.0], [8.0, 9.0]]]
    """

    input_ndim = (2,)
    input_hint = "ids are integers (N, T)."
    passes_mask = True

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        mask_zero: bool = False,
        kernel_initializer: str | initializers.Initializer | None = None,
        kernel_regularizer: str | regularizers.Regularizer | None = None,
        **common: Any,
    ):
        super().__init__(kernel_initializer, kernel_regularizer, **common)
        self.input_dim = checks.positive_int("Embedding", "input_dim", input_dim)
        self.output_dim = checks.positive_int("Embedding", "output_dim", output_dim)
        self.mask_zero = self.makes_mask = checks.boolean("Embedding", "mask_zero", mask_zero)

    def default_initializer(self) -> initializers.Initializer:
        """Return the rule of Keras: numbers from -0.05 to 0.05."""
        return lambda shape, rng: rng.uniform(-0.05, 0.05, shape)

    def build(self, input_shape: Shape) -> None:
        """Create W."""
        self._check_shape(input_shape)
        shape = (self.input_dim, self.output_dim)
        take_elements("Embedding", shape[0] * shape[1])
        self._set_param("W", self.draw_kernel(shape))
        self._built(input_shape, (*input_shape, self.output_dim))

    def _check_dtype(self, x: Array) -> None:
        validation.check_ids(x[:0], self.input_dim)

    def make_mask(self, x: Array) -> Mask:
        """Return which ids of x (N, T) are not 0, with `mask_zero`; else None."""
        return x != 0 if self.mask_zero else None

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the vectors (N, T, D) of ids x (N, T)."""
        x = self._check_input(x)
        if (
            type(x) is np.ndarray
        ):  # a GPU would have to be waited for; the model has checked its ids
            validation.check_ids(x, self.input_dim)
        y = kernels.take_rows(self.params["W"], x)
        self._keep(training, y, x)
        return y

    def backward(self, grad: Array) -> Array:
        """Fill the gradient of W; return zeros, as ids have no gradient."""
        (x,) = self._recall_for(grad)
        self._fill_grads(grad, x)
        return cuda.get_array_module(grad).zeros(x.shape, grad.dtype)

    def backward_params(self, grad: Array) -> None:
        """Fill the gradient of W."""
        (x,) = self._recall_for(grad)
        self._fill_grads(grad, x)

    def _fill_grads(self, grad: Array, x: Array) -> None:
        if self._trainable:
            self.grads["W"] = kernels.add_rows(grad, x, self.input_dim)


def num_ids_of(layers: Sequence[Layer]) -> int | None:
    """Return how many ids there are for layers that begin with an `Embedding`; None for others.

    Examples
    --------
    >>> num_ids_of([Embedding(50, 8)]), num_ids_of([])
    (50, None)
    """
    first = next(iter(flat(layers[:1])), None)
    return first.input_dim if isinstance(first, Embedding) else None
