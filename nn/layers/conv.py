"""Convolution: the same small kernel at every place of a picture."""

from typing import Any

from .. import checks, initializers, kernels, regularizers
from .base import Array, Layer, Shape, WeightedLayer, register


def check_padding(owner: str, padding: Any) -> str | tuple[int, int]:
    """Return 'same', 'valid', or a pair (height, width) of rows and columns to add on each side."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise checks.unknown(owner, "padding", padding, ["same", "valid"])
        return padding
    return checks.pair(owner, "padding", padding, minimum=0)


@register
class Conv2D(WeightedLayer):
    """Two-dimensional convolution, as the field uses the word: the kernel is not turned round.

    Parameters
    ----------
    filters
        Number of output channels F.
    kernel_size
        (KH, KW), or one number for both.
    stride
        Step between outputs, (vertical, horizontal) or one number.
    padding
        'same' (ceil(size / stride) outputs; the odd row and column go to the end), 'valid'
        (none), or zeros on each side: a number or a pair (height, width).
    use_bias
        Whether to add b.
    activation
        Name of an activation, or an activation layer, applied to the outputs.
    kernel_initializer
        Name or function (see `nn.initializers`); 'he_normal' by default.
    dilation
        Step between the kernel's cells on the picture (Yu and Koltun 2016, arXiv 1511.07122).
    groups
        Number of parts of the channels that are convolved apart; divides C and F.
    kernel_regularizer
        A penalty on W in the loss: 'l1', 'l2', 'l1_l2', or an object (see `nn.regularizers`).
    **common
        `name`, `input_shape` (C, H, W), `trainable` and `lr_factor`, as every layer takes them.

    Attributes
    ----------
    params : dict
        'W' of shape (F, C / groups, KH, KW) and 'b' of shape (F,).

    Raises
    ------
    ValueError
        For an input that is not (N, C, H, W), or a kernel larger than the padded input.

    Examples
    --------
    >>> layer = Conv2D(8, 3, stride=2)
    >>> layer.build((None, 3, 32, 32))
    >>> layer.output_shape, layer.params["W"].shape
    ((None, 8, 16, 16), (8, 3, 3, 3))
    """

    input_ndim = (4,)
    input_hint = "pictures are (N, C, H, W); add Reshape((C, H, W)) before it."

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int] = (3, 3),
        stride: int | tuple[int, int] = 1,
        padding: str | int | tuple[int, int] = "same",
        use_bias: bool = True,
        activation: str | Layer | None = None,
        kernel_initializer: str | initializers.Initializer | None = None,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        kernel_regularizer: str | regularizers.Regularizer | None = None,
        **common: Any,
    ):
        super().__init__(use_bias, activation, kernel_initializer, kernel_regularizer, **common)
        self.filters = checks.positive_int("Conv2D", "filters", filters)
        self.kernel_size = checks.pair("Conv2D", "kernel_size", kernel_size)
        self.stride = checks.pair("Conv2D", "stride", stride)
        self.padding = check_padding("Conv2D", padding)
        self.dilation = checks.pair("Conv2D", "dilation", dilation)
        self.groups = checks.positive_int("Conv2D", "groups", groups)
        if self.filters % self.groups:
            raise checks.error("Conv2D", "groups", f"must divide the {filters} filters", groups)

    def build(self, input_shape: Shape) -> None:
        """Create W and b for inputs (None, C, H, W)."""
        self._check_shape(input_shape)
        channels = int(input_shape[1] or 0)
        if channels % self.groups:
            raise checks.error(
                "Conv2D", "groups", f"must divide the {channels} input channels", self.groups
            )
        size = (int(input_shape[2] or 0), int(input_shape[3] or 0))
        out = kernels.output_size(
            size, self.kernel_size, self.stride, self._padding(size), self.dilation
        )
        if min(out) < 1:
            raise checks.error(
                "Conv2D",
                "kernel_size",
                f"must not be larger than the padded input {input_shape}",
                self.kernel_size,
            )
        self._build_weights(
            (self.filters, channels // self.groups, *self.kernel_size), self.filters
        )
        self._built(input_shape, (None, self.filters, *out))

    def _fixed(self, shape: Shape) -> Shape:
        return shape[1:]

    def _padding(self, size: tuple[int, int]) -> kernels.Padding:
        return kernels.resolve_padding(
            self.padding, size, self.kernel_size, self.stride, self.dilation
        )

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the convolution of x (N, C, H, W), as (N, F, OH, OW)."""
        x = self._check_input(x)
        y = self.linear(x, self.params["W"], self.params.get("b"))
        self._keep(training, x)
        return self._activate(y, training)

    def linear(self, x: Array, w: Array, b: Array | None) -> Array:
        """Return the convolution of x with w, plus b."""
        return kernels.conv2d(x, w, b, *self._geometry(x))

    def _geometry(self, x: Array) -> tuple:
        return self.stride, self._padding(x.shape[2:]), self.dilation, self.groups

    def backward(self, grad: Array) -> Array:
        """Fill the gradients of W and b; return the input's."""
        (x,) = self._recall()
        geometry = self._geometry(x)
        grad = self._activation_grad(grad)
        w = self.params["W"]
        if self.trainable:
            self.grads["W"] = kernels.conv2d_weight_grad(grad, x, w.shape, *geometry)
            if self.use_bias:
                self.grads["b"] = kernels.column_sums(kernels.to_rows(grad))
        if not self.wants_input_grad:
            return None
        return kernels.conv2d_input_grad(grad, w, x.shape, *geometry)

    def to_config(self) -> dict[str, Any]:
        """Return the layer's class and arguments."""
        return self._weighted_config(
            filters=self.filters,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
