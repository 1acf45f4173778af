"""Convolutions: the same small kernel applied at every position of an image."""

from collections.abc import Callable
from typing import Any

from .. import checks, initializers, kernels, regularizers
from .base import Array, Layer, Shape
from .config import register
from .weighted import WeightedLayer


def check_padding(owner: str, padding: Any) -> str | tuple[int, int]:
    """Return 'same', 'valid', or a pair (height, width) of rows and columns to add on each side."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise checks.unknown(owner, "padding", padding, ["same", "valid"])
        return padding
    return checks.pair(owner, "padding", padding, minimum=0)


_LARGE = 2**20  # a size that no kernel is larger than


class ConvLayer(WeightedLayer):
    """Base class of the convolutions: kernel size, stride, padding and dilation."""

    input_ndim = (4,)
    input_hint = "images are (N, C, H, W); add Reshape((C, H, W)) before it."

    #: Number of parts of the channels that are convolved separately.
    groups = 1

    #: The arguments of the kernels; None if the input's size is not known.
    _geometry: tuple | None = None

    fixed_axes = slice(1, None)

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int],
        padding: str | int | tuple[int, int],
        use_bias: bool,
        activation: str | Layer | None,
        kernel_initializer: str | initializers.Initializer | None,
        dilation: int | tuple[int, int],
        **common: Any,
    ):
        super().__init__(use_bias, activation, kernel_initializer, **common)
        owner = type(self).__name__
        self.kernel_size = checks.pair(owner, "kernel_size", kernel_size)
        self.stride = checks.pair(owner, "stride", stride)
        self.padding = check_padding(owner, padding)
        self.dilation = checks.pair(owner, "dilation", dilation)

    def _build_filters(self, input_shape: Shape, filters: int) -> None:
        """Create W and b for a number of filters, and compute the output's size."""
        channels = self._known_size(input_shape, 1)
        self._geometry = None if None in input_shape[2:] else self._geometry_for(input_shape)
        out = any_size(input_shape, self._output_size)
        self._build_weights((filters, channels // self.groups, *self.kernel_size), filters)
        self._built(input_shape, (None, filters, *out))

    def _output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return (OH, OW) for inputs (H, W), which must not be smaller than the kernel."""
        out = kernels.output_size(
            size, self.kernel_size, self.stride, self._padding(size), self.dilation
        )
        if min(out) < 1:
            rule = f"must not be larger than the padded input, here of {size} pixels"
            raise checks.error(type(self).__name__, "kernel_size", rule, self.kernel_size)
        return out

    def _geometry_for(self, shape: Shape) -> tuple:
        """Return the arguments of the kernels for inputs of a shape (N, C, H, W)."""
        size: Any = shape[2:]
        return self.stride, self._padding(size), self.dilation, self.groups

    def _accept(self, x: Array) -> None:
        super()._accept(x)
        if self._geometry is None:
            self._output_size(x.shape[2:])  # which may be too small

    def _padding(self, size: tuple[int, int]) -> kernels.Padding:
        return kernels.resolve_padding(
            self.padding, size, self.kernel_size, self.stride, self.dilation
        )

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the convolution of x (N, C, H, W), as (N, F, OH, OW)."""
        x = kernels.as_channels_last(self._check_input(x))
        geometry = self._geometry or self._geometry_for(x.shape)
        y = kernels.conv2d(x, self.params["W"], self.params.get("b"), *geometry)
        self._keep(training, y, x)
        return y if self.activation is None else self._activate(self.activation, y, training)

    def linear(self, x: Array, w: Array, b: Array | None) -> Array:
        """Return the convolution of x with w, plus b."""
        return kernels.conv2d(x, w, b, *(self._geometry or self._geometry_for(x.shape)))

    def backward(self, grad: Array) -> Array:
        """Fill the gradients of W and b; return the input's."""
        shape = self._kept[0].shape if self._kept else ()  # else `backward_params` raises
        grad = ConvLayer.backward_params(self, grad)
        geometry = self._geometry or self._geometry_for(shape)
        return kernels.conv2d_input_grad(grad, self.params["W"], shape, *geometry)

    def backward_params(self, grad: Array) -> Array:
        """Fill the gradients of W and b; return the gradient before the activation."""
        (x,) = self._recall_for(grad)
        if self.activation is not None:
            grad = self.activation.backward(grad)
        if self._trainable:
            w = self.params["W"]
            geometry = self._geometry or self._geometry_for(x.shape)
            if self._trainable is True or "W" in self._trainable:
                self.grads["W"] = kernels.conv2d_weight_grad(grad, x, w.shape, *geometry)
            if self.use_bias:
                self.grads["b"] = kernels.column_sums(kernels.to_rows(grad))
        return grad


@register
class Conv2D(ConvLayer):
    """Two-dimensional convolution; as in all deep-learning libraries the kernel is not flipped.

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
        Step between the kernel's cells on the image (Yu and Koltun 2016, arXiv 1511.07122).
    groups
        Number of parts of the channels that are convolved separately; divides C and F.
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
        super().__init__(
            kernel_size,
            stride,
            padding,
            use_bias,
            activation,
            kernel_initializer,
            dilation,
            kernel_regularizer=kernel_regularizer,
            **common,
        )
        self.filters = checks.positive_int("Conv2D", "filters", filters)
        self.groups = checks.positive_int("Conv2D", "groups", groups)
        if self.filters % self.groups:
            raise checks.error("Conv2D", "groups", f"must divide the {filters} filters", groups)

    def build(self, input_shape: Shape) -> None:
        """Create W and b for inputs (None, C, H, W)."""
        self._check_shape(input_shape)
        channels = self._known_size(input_shape, 1)
        if channels % self.groups:
            raise checks.error(
                "Conv2D", "groups", f"must divide the {channels} input channels", self.groups
            )
        self._build_filters(input_shape, self.filters)


@register
class DepthwiseConv2D(ConvLayer):
    """Convolution of each channel by itself: no output sees more than one channel.

    It is `Conv2D` with as many groups as channels. Together with a 1x1 `Conv2D`, which mixes the
    channels, it does nearly what a full convolution does at a fraction of its cost (Howard et al.
    2017, "MobileNets", arXiv 1704.04861, section 3.1).

    Parameters
    ----------
    kernel_size, stride, padding, use_bias, activation, kernel_initializer, dilation
        As for `Conv2D`.
    depth_multiplier
        Number of outputs M for each channel; those of one channel are adjacent.
    **common
        `name`, `input_shape` (C, H, W) and `trainable`, as every layer takes them.

    Attributes
    ----------
    params : dict
        'W' of shape (C * M, 1, KH, KW) and 'b' of shape (C * M,).

    Raises
    ------
    ValueError
        For an input that is not (N, C, H, W), or a kernel larger than the padded input.

    Examples
    --------
    >>> layer = DepthwiseConv2D(3, depth_multiplier=2)
    >>> layer.build((None, 4, 32, 32))
    >>> layer.output_shape, layer.params["W"].shape
    ((None, 8, 32, 32), (8, 1, 3, 3))
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int] = (3, 3),
        stride: int | tuple[int, int] = 1,
        padding: str | int | tuple[int, int] = "same",
        depth_multiplier: int = 1,
        use_bias: bool = True,
        activation: str | Layer | None = None,
        kernel_initializer: str | initializers.Initializer | None = None,
        dilation: int | tuple[int, int] = 1,
        **common: Any,
    ):
        super().__init__(
            kernel_size,
            stride,
            padding,
            use_bias,
            activation,
            kernel_initializer,
            dilation,
            **common,
        )
        owner = "DepthwiseConv2D"
        self.depth_multiplier = checks.positive_int(owner, "depth_multiplier", depth_multiplier)

    def build(self, input_shape: Shape) -> None:
        """Create W and b for inputs (None, C, H, W)."""
        self._check_shape(input_shape)
        self.groups = self._known_size(input_shape, 1)
        self._build_filters(input_shape, self.groups * self.depth_multiplier)


@register
class Conv2DTranspose(ConvLayer):
    """Transposed convolution: a learned upsampling.

    Its forward pass computes what a `Conv2D` of the same kernel computes for gradients in its
    backward pass, and its backward pass is that convolution (Dumoulin and Visin 2016, arXiv
    1603.07285, section 4). Each pixel adds the kernel, scaled by its value, to the output, `stride`
    apart from the next. Also called fractionally-strided convolution.

    Parameters
    ----------
    filters
        Number of output channels F.
    kernel_size, stride, use_bias, activation, kernel_initializer, dilation
        As for `Conv2D`.
    padding
        The padding of the convolution that it inverts, so that more padding means fewer
        outputs: 'same' gives size * stride outputs, 'valid' all that the kernel reaches (at least
        size * stride, as in Keras), a number or a pair P gives
        (size - 1) * stride - 2 * P + dilation * (kernel - 1) + 1, as in PyTorch.
    output_padding
        Rows and columns to add at the end of the output, fewer than the stride: convolutions of
        several sizes give one size, and this selects one of them. 0 with 'same'.
    **common
        `name`, `input_shape` (C, H, W) and `trainable`, as every layer takes them.

    Attributes
    ----------
    params : dict
        'W' of shape (C, F, KH, KW), as in the convolution that it inverts, and 'b' of shape (F,).

    Raises
    ------
    ValueError
        For an input that is not (N, C, H, W), or a padding that leaves no output.

    Examples
    --------
    >>> layer = Conv2DTranspose(8, 3, stride=2)
    >>> layer.build((None, 16, 7, 7))
    >>> layer.output_shape, layer.params["W"].shape
    ((None, 8, 14, 14), (16, 8, 3, 3))
    """

    output_axis = 1

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
        output_padding: int | tuple[int, int] = 0,
        **common: Any,
    ):
        super().__init__(
            kernel_size,
            stride,
            padding,
            use_bias,
            activation,
            kernel_initializer,
            dilation,
            **common,
        )
        owner = "Conv2DTranspose"
        self.filters = checks.positive_int(owner, "filters", filters)
        self.output_padding = checks.pair(owner, "output_padding", output_padding, minimum=0)
        if self.padding == "same" and any(self.output_padding):
            rule = "must be 0 with padding 'same', which gives size * stride outputs"
            raise checks.error(owner, "output_padding", rule, output_padding)
        if any(extra >= s for extra, s in zip(self.output_padding, self.stride, strict=True)):
            rule = f"must be below the stride {self.stride}"
            raise checks.error(owner, "output_padding", rule, output_padding)

    def build(self, input_shape: Shape) -> None:
        """Create W and b for inputs (None, C, H, W)."""
        self._check_shape(input_shape)
        channels = self._known_size(input_shape, 1)
        self._geometry = None if None in input_shape[2:] else self._geometry_for(input_shape)
        out = any_size(input_shape, self._output_size)
        self._build_weights((channels, self.filters, *self.kernel_size), self.filters)
        self._built(input_shape, (None, self.filters, *out))

    def _output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return (OH, OW), the size of which the convolution makes `size`."""
        if self.padding == "same":
            return size[0] * self.stride[0], size[1] * self.stride[1]
        padding = (0, 0) if isinstance(self.padding, str) else self.padding
        height, width = (
            (n - 1) * s - 2 * p + d * (k - 1) + 1 + extra
            for n, s, p, d, k, extra in zip(
                size, self.stride, padding, self.dilation, self.kernel_size, self.output_padding,
                strict=True,
            )
        )  # fmt: skip
        if self.padding == "valid":
            return max(height, size[0] * self.stride[0]), max(width, size[1] * self.stride[1])
        if min(height, width) < 1:
            rule = f"must leave an output of inputs of {size} pixels"
            raise checks.error("Conv2DTranspose", "padding", rule, self.padding)
        return height, width

    def _geometry_for(self, shape: Shape) -> tuple:
        """Return the arguments of the kernels of the convolution that it inverts."""
        size: Any = shape[2:]
        return self.stride, self._padding(self._output_size(size)), self.dilation, self.groups

    def forward(self, x: Array, training: bool | None = False) -> Array:
        """Return the transposed convolution of x (N, C, H, W), as (N, F, OH, OW)."""
        x = self._check_input(x)
        y = self.linear(x, self.params["W"], self.params.get("b"))
        self._keep(training, y, x)
        return y if self.activation is None else self._activate(self.activation, y, training)

    def linear(self, x: Array, w: Array, b: Array | None) -> Array:
        """Return the input gradient of a convolution with w whose output gradient is x, plus b."""
        shape = (x.shape[0], self.filters, *self._output_size(x.shape[2:]))
        geometry = self._geometry or self._geometry_for(x.shape)
        y = kernels.conv2d_input_grad(x, w, shape, *geometry)
        if b is not None:
            y += b.reshape(-1, 1, 1)  # (F,) -> (F, 1, 1)
        return y

    def backward(self, grad: Array) -> Array:
        """Fill the gradients of W and b; return the input's, the convolution of the output's."""
        shape = self._kept[0].shape if self._kept else ()  # else `backward_params` raises
        grad = Conv2DTranspose.backward_params(self, grad)
        geometry = self._geometry or self._geometry_for(shape)
        return kernels.conv2d(grad, self.params["W"], None, *geometry)

    def backward_params(self, grad: Array) -> Array:
        """Fill the gradients of W and b; return the gradient before the activation."""
        (x,) = self._recall_for(grad)
        if self.activation is not None:
            grad = self.activation.backward(grad)
        if self._trainable:
            w = self.params["W"]
            geometry = self._geometry or self._geometry_for(x.shape)
            self.grads["W"] = kernels.conv2d_weight_grad(x, grad, w.shape, *geometry)
            if self.use_bias:
                self.grads["b"] = kernels.column_sums(kernels.to_rows(grad))
        return grad


def any_size(shape: Shape, output_size: Callable[[Any], tuple]) -> tuple[int | None, ...]:
    """Return the height and width of outputs, None where that of the input (N, C, H, W) is unknown.

    Examples
    --------
    >>> any_size((None, 3, None, 8), lambda size: (size[0] // 2, size[1] // 2))
    (None, 4)
    """
    size = shape[2:]
    out = output_size(tuple(n or _LARGE for n in size))
    return tuple(None if n is None else k for n, k in zip(size, out, strict=True))
