"""Convolution along the steps of sequences."""

from typing import Any

from .. import checks, cuda, initializers, kernels, regularizers
from .base import Array, Layer, Shape
from .config import register
from .weighted import WeightedLayer

HINT = "sequences are (N, T, features), from Embedding, Reshape or x[:, :, np.newaxis]."


def check_padding(owner: str, padding: Any, names: tuple[str, ...]) -> str | int:
    """Return one of `names`, or the number of steps to add on each side."""
    if isinstance(padding, str):
        if padding not in names:
            raise checks.unknown(owner, "padding", padding, names)
        return padding
    return checks.non_negative_int(owner, "padding", padding)


def resolve_padding(
    padding: str | int, steps: int, window: int, stride: int, dilation: int = 1
) -> kernels.Padding:
    """Return the padding of a sequence that is seen as an image of one row.

    Examples
    --------
    >>> resolve_padding("causal", 10, 3, 1, dilation=2), resolve_padding("same", 10, 2, 1)
    (((0, 0), (4, 0)), ((0, 0), (0, 1)))
    """
    if padding == "causal":
        return (0, 0), (dilation * (window - 1), 0)
    given = padding if isinstance(padding, str) else (0, padding)
    return kernels.resolve_padding(given, (1, steps), (1, window), (1, stride), (1, dilation))


def output_steps(
    owner: str, argument: str, size: tuple[int, int], padding: kernels.Padding, step: Any = (1, 1)
) -> int:
    """Return the number of outputs for `size`, (steps, window), at `step`, (stride, dilation).

    Raises
    ------
    ValueError
        If the window is longer than the padded sequence.
    """
    (steps, window), (stride, dilation) = size, step
    out = kernels.output_size((1, steps), (1, window), (1, stride), padding, (1, dilation))[1]
    if out < 1:
        rule = f"must not be longer than the padded sequence of {steps} steps"
        raise checks.error(owner, argument, rule, window)
    return out


@register
class Conv1D(WeightedLayer):
    """Convolution along the steps of sequences: each output sees `kernel_size` steps.

    ::

        y[n, t, f] = b[f] + sum over d, k of x[n, t * stride + k * dilation - before, d] W[f, d, k]

    with zeros before the first and after the last step. It is `Conv2D` on images of one row, whose
    kernels it uses without a copy: in memory (N, T, D) is the image (N, D, 1, T), channels last.

    With padding 'causal' all zeros are put before the sequence, so that an output sees no step
    after its own (van den Oord et al. 2016, "WaveNet", arXiv 1609.03499, section 2.1).

    Parameters
    ----------
    filters
        Number of output features F.
    kernel_size
        Number of steps K that an output sees.
    stride
        Steps between outputs.
    padding
        'same' (ceil(T / stride) outputs; the odd step goes to the end), 'valid' (none), 'causal',
        or a number of zeros on each side.
    dilation
        Steps between the kernel's cells.
    groups
        Number of parts of the features that are convolved separately; divides D and F.
    use_bias
        Whether to add b.
    activation
        Name of an activation, or an activation layer, applied to the outputs.
    kernel_initializer
        Name or function (see `nn.initializers`); 'he_normal' by default.
    kernel_regularizer
        A penalty on W in the loss: 'l1', 'l2', 'l1_l2', or an object (see `nn.regularizers`).
    **common
        `name`, `input_shape` (T, D), `trainable` and `lr_factor`, as every layer takes them.

    Attributes
    ----------
    params : dict
        'W' of shape (F, D / groups, K), as in PyTorch (Keras has (K, D / groups, F)), and 'b' of
        shape (F,).

    Raises
    ------
    ValueError
        For an input that is not (N, T, D), or a kernel longer than the padded sequence.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv1D(1, 2, padding="causal")
    >>> layer.build((None, 4, 1))
    >>> layer.params["W"][...] = [1, 10]  # the step before, and the step itself
    >>> layer.forward(np.arange(4.0).reshape(1, 4, 1)).ravel()
    array([ 0., 10., 21., 32.])
    """

    input_ndim = (3,)
    input_hint = HINT
    fixed_axes = slice(2, None)

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        stride: int = 1,
        padding: str | int = "same",
        dilation: int = 1,
        groups: int = 1,
        use_bias: bool = True,
        activation: str | Layer | None = None,
        kernel_initializer: str | initializers.Initializer | None = None,
        kernel_regularizer: str | regularizers.Regularizer | None = None,
        **common: Any,
    ):
        super().__init__(use_bias, activation, kernel_initializer, kernel_regularizer, **common)
        self.filters = checks.positive_int("Conv1D", "filters", filters)
        self.kernel_size = checks.positive_int("Conv1D", "kernel_size", kernel_size)
        self.stride = checks.positive_int("Conv1D", "stride", stride)
        self.padding = check_padding("Conv1D", padding, ("same", "valid", "causal"))
        self.dilation = checks.positive_int("Conv1D", "dilation", dilation)
        self.groups = checks.positive_int("Conv1D", "groups", groups)
        if self.filters % self.groups:
            raise checks.error("Conv1D", "groups", f"must divide the {filters} filters", groups)

    def build(self, input_shape: Shape) -> None:
        """Create W and b for inputs (None, T, D)."""
        self._check_shape(input_shape)
        steps, features = input_shape[1], self._known_size(input_shape, 2)
        if features % self.groups:
            rule = f"must divide the {features} input features"
            raise checks.error("Conv1D", "groups", rule, self.groups)
        out = None if steps is None else self._output_steps(steps)
        self._build_weights((self.filters, features // self.groups, self.kernel_size), self.filters)
        self._built(input_shape, (None, out, self.filters))

    def _output_steps(self, steps: int) -> int:
        size, step = (steps, self.kernel_size), (self.stride, self.dilation)
        return output_steps("Conv1D", "kernel_size", size, self._padding(steps), step)

    def _padding(self, steps: int) -> kernels.Padding:
        return resolve_padding(self.padding, steps, self.kernel_size, self.stride, self.dilation)

    def _geometry(self, steps: int) -> tuple:
        """Return the arguments of the kernels of `Conv2D` for an image of one row."""
        return (1, self.stride), self._padding(steps), (1, self.dilation), self.groups

    def _accept(self, x: Array) -> None:
        super()._accept(x)
        self._output_steps(x.shape[1])  # which may be too few

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the convolution of x (N, T, D), as (N, T', F)."""
        x = self._check_input(x)
        y = self.linear(x, self.params["W"], self.params.get("b"))
        self._keep(training, y, x)
        return y if self.activation is None else self._activate(self.activation, y, training)

    def step(self, x: Array, state: Array | None = None) -> tuple[Array, Array]:
        """Return the output for the next step alone, and the state after it.

        Parameters
        ----------
        x
            The next step (N, 1, D) of each sequence.
        state
            What the call for the step before returned: the inputs that later steps see. None for
            the first step.

        Raises
        ------
        ValueError
            For a layer that is not causal, or has a stride.
        """
        if self.padding != "causal" or self.stride != 1:
            rule = "must be 'causal' for step(), at stride 1"
            raise checks.error("Conv1D", "padding", rule, f"{self.padding} at stride {self.stride}")
        x = self._check_input(x)
        xp = cuda.get_array_module(x)
        if state is None:
            before = self.dilation * (self.kernel_size - 1)
            state = xp.zeros((len(x), before, x.shape[2]), x.dtype)
        x = xp.concatenate((state, x), axis=1)
        w, b = self.params["W"][:, :, None], self.params.get("b")  # (F, D, K) -> (F, D, 1, K)
        geometry = (1, 1), ((0, 0), (0, 0)), (1, self.dilation), self.groups
        y = kernels.row_to_steps(kernels.conv2d(kernels.steps_to_row(x), w, b, *geometry))
        y = y if self.activation is None else self._activate(self.activation, y, None)
        return y, x[:, 1:]

    def linear(self, x: Array, w: Array, b: Array | None) -> Array:
        """Return the convolution of x with w, plus b."""
        w = w[:, :, None]  # (F, D, K) -> (F, D, 1, K)
        y = kernels.conv2d(kernels.steps_to_row(x), w, b, *self._geometry(x.shape[1]))
        return kernels.row_to_steps(y)

    def backward(self, grad: Array) -> Array:
        """Fill the gradients of W and b; return the input's."""
        n, steps, features = self._kept_for(grad)[0].shape
        grad = Conv1D.backward_params(self, grad)
        w = self.params["W"][:, :, None]  # (F, D, K) -> (F, D, 1, K)
        shape, geometry = (n, features, 1, steps), self._geometry(steps)
        dx = kernels.conv2d_input_grad(kernels.steps_to_row(grad), w, shape, *geometry)
        return kernels.row_to_steps(dx)

    def backward_params(self, grad: Array) -> Array:
        """Fill the gradients of W and b; return the gradient before the activation."""
        (x,) = self._recall_for(grad)
        if self.activation is not None:
            grad = self.activation.backward(grad)
        if self._trainable:
            w, geometry = self.params["W"], self._geometry(x.shape[1])
            image, row = kernels.steps_to_row(x), kernels.steps_to_row(grad)
            shape = (*w.shape[:2], 1, w.shape[2])  # (F, D, 1, K)
            dw = kernels.conv2d_weight_grad(row, image, shape, *geometry)
            self.grads["W"] = dw.reshape(w.shape)
            if self.use_bias:
                self.grads["b"] = kernels.column_sums(kernels.last_axis_rows(grad))
        return grad
