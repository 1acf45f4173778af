"""Convolutions and their gradients in loops."""

from typing import Any

import numpy as np

from .. import checks
from .arguments import (
    NO_PADDING,
    Padding,
    Pair,
    array_of,
    biases_of,
    group_count,
    padding_of,
    windows,
)


def conv2d_naive(
    x: Any,
    w: Any,
    b: Any | None,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """Return the convolution of images with kernels: the definition, in seven loops.

    In the notation of the module, with zeros around the image::

        y[n, f, oh, ow] = b[f] + sum over c, i, j of w[f, c, i, j]
                          * x[n, c, oh * stride + i * dilation - top, ow * ... - left]

    (In mathematics a convolution flips the kernel, and this is a cross-correlation. For learned
    kernels it makes no difference.) With groups, filter f sees only the C/G channels of its group.

    Parameters
    ----------
    x
        Images (N, C, H, W).
    w
        Kernels (F, C/G, KH, KW).
    b
        Biases (F,), or None.
    stride, dilation
        Pixels between neighbouring outputs, and between neighbouring kernel elements.
    padding
        Rows and columns of zeros around each image, ((top, bottom), (left, right)).
    groups
        G.

    Returns
    -------
    numpy.ndarray
        (N, F, OH, OW) in float64, with OH = (H + top + bottom - dilation * (KH - 1) - 1) // stride
        + 1 and OW alike.

    Raises
    ------
    ValueError
        If the shapes of the arrays do not match, or the kernel is larger than the padded image.

    Examples
    --------
    A kernel that subtracts a pixel's left neighbour from it detects vertical edges:

    >>> image = np.array([[[[0.0, 0.0, 5.0, 5.0]]]])
    >>> conv2d_naive(image, np.array([[[[-1.0, 1.0]]]]), None)
    array([[[[0., 5., 0.]]]])
    """
    owner = "conv2d_naive"
    x, w = array_of(owner, "x", x, "(N, C, H, W)"), array_of(owner, "w", w, "(F, C/G, KH, KW)")
    (samples, channels, *size), (filters, per_group, *kernel) = x.shape, w.shape
    groups = group_count(owner, groups, channels, w.shape)
    biases = biases_of(owner, b, filters)
    out, cells = windows(owner, size, kernel, stride, padding, dilation)
    y = np.zeros((samples, filters, *out))
    for n, f, oh, ow in np.ndindex(y.shape):
        first = f // (filters // groups) * per_group  # the first channel that f sees
        y[n, f, oh, ow] = biases[f]
        for i, j, row, column in cells(oh, ow):
            for c in range(per_group):
                y[n, f, oh, ow] += w[f, c, i, j] * x[n, first + c, row, column]
    return y


def conv2d_backward_naive(
    grad: Any,
    x: Any,
    w: Any,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the gradients of `conv2d_naive` for x, w and b, in the same seven loops.

    Each product w * x of the forward pass is a term of one output. By the product rule each factor
    receives the output's gradient times the other factor; the bias receives the gradient itself::

        dx[n, c, row, column] += grad[n, f, oh, ow] * w[f, c, i, j]
        dw[f, c, i, j]        += grad[n, f, oh, ow] * x[n, c, row, column]
        db[f]                 += grad[n, f, oh, ow]

    Parameters
    ----------
    grad
        Gradient of the loss for the convolution's result (N, F, OH, OW).
    x, w, stride, padding, dilation, groups
        As in `conv2d_naive`.

    Returns
    -------
    tuple
        dx (N, C, H, W), dw (F, C/G, KH, KW) and db (F,), in float64.

    Raises
    ------
    ValueError
        If the shapes of the arrays do not match.

    Examples
    --------
    >>> x, w = np.array([[[[3.0, 4.0]]]]), np.array([[[[2.0]]]])
    >>> dx, dw, db = conv2d_backward_naive(np.array([[[[1.0, 10.0]]]]), x, w)
    >>> dx.ravel(), dw.ravel(), db
    (array([ 2., 20.]), array([43.]), array([11.]))
    """
    owner = "conv2d_backward_naive"
    x, w = array_of(owner, "x", x, "(N, C, H, W)"), array_of(owner, "w", w, "(F, C/G, KH, KW)")
    (samples, channels, *size), (filters, per_group, *kernel) = x.shape, w.shape
    groups = group_count(owner, groups, channels, w.shape)
    out, cells = windows(owner, size, kernel, stride, padding, dilation)
    grad = array_of(owner, "grad", grad, (samples, filters, *out))
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros(filters)
    for n, f, oh, ow in np.ndindex(grad.shape):
        first = f // (filters // groups) * per_group
        g = grad[n, f, oh, ow]
        db[f] += g
        for i, j, row, column in cells(oh, ow):
            for c in range(per_group):
                dx[n, first + c, row, column] += g * w[f, c, i, j]
                dw[f, c, i, j] += g * x[n, first + c, row, column]
    return dx, dw, db


def depthwise_conv2d_naive(
    x: Any,
    w: Any,
    b: Any | None,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
) -> np.ndarray:
    """Return the depthwise convolution: M kernels for each channel.

    It is `conv2d_naive` with as many groups as channels, and its gradients are those, so there is
    no sum over channels::

        y[n, f, oh, ow] = b[f] + sum over i, j of w[f, 0, i, j] * x[n, f // M, row, column]

    Parameters
    ----------
    x
        Images (N, C, H, W).
    w
        Kernels (C*M, 1, KH, KW); the M kernels of a channel are adjacent.
    b
        Biases (C*M,), or None.
    stride, padding, dilation
        As in `conv2d_naive`.

    Returns
    -------
    numpy.ndarray
        (N, C*M, OH, OW) in float64.

    Raises
    ------
    ValueError
        If the shapes of the arrays do not match, or the kernel is larger than the padded image.

    Examples
    --------
    >>> x = np.array([3.0, 5.0]).reshape(1, 2, 1, 1)
    >>> w = np.array([1.0, 10.0, 1.0, 10.0]).reshape(4, 1, 1, 1)
    >>> depthwise_conv2d_naive(x, w, None).ravel()
    array([ 3., 30.,  5., 50.])
    """
    owner = "depthwise_conv2d_naive"
    x, w = array_of(owner, "x", x, "(N, C, H, W)"), array_of(owner, "w", w, "(C*M, 1, KH, KW)")
    channels = x.shape[1]
    if w.shape[1] != 1 or len(w) % channels:
        rule = f"must be ({channels} * M, 1, KH, KW) for {channels} channels"
        raise checks.error(owner, "w", rule, w.shape)
    return conv2d_naive(x, w, b, stride, padding, dilation, groups=channels)


def conv2d_transpose_naive(
    x: Any,
    w: Any,
    b: Any | None,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    output_padding: Pair = (0, 0),
) -> np.ndarray:
    """Return the transposed convolution: each pixel adds the kernel, scaled by its value.

    `conv2d_naive` gathers many pixels into one output; this function scatters one pixel over many
    outputs and adds them up where they overlap::

        y[n, f, h * stride + i * dilation - top, w * ... - left] += x[n, c, h, w] * w[c, f, i, j]

    This is the input gradient of the convolution with the same kernel (Dumoulin and Visin 2016,
    arXiv 1603.07285, section 4).

    Parameters
    ----------
    x
        Images (N, C, H, W).
    w
        Kernels (C, F, KH, KW), as in the corresponding convolution from F to C channels.
    b
        Biases (F,), or None.
    stride, dilation
        Outputs between neighbouring pixels' kernels, and between neighbouring kernel elements.
    padding
        Padding of the corresponding convolution, ((top, bottom), (left, right)): as many rows and
        columns are cropped from the result.
    output_padding
        Rows and columns added at the end of the result; they may hold only the bias.

    Returns
    -------
    numpy.ndarray
        (N, F, OH, OW) in float64, with OH = (H - 1) * stride - top - bottom
        + dilation * (KH - 1) + 1 + output_padding and OW alike.

    Raises
    ------
    ValueError
        If the shapes of the arrays do not match, or the padding leaves no output.

    Examples
    --------
    >>> x, w = np.array([[[[1.0, 10.0]]]]), np.array([[[[1.0, 2.0, 3.0]]]])
    >>> conv2d_transpose_naive(x, w, None, stride=(1, 2))
    array([[[[ 1.,  2., 13., 20., 30.]]]])
    """
    owner = "conv2d_transpose_naive"
    x, w = array_of(owner, "x", x, "(N, C, H, W)"), array_of(owner, "w", w, "(C, F, KH, KW)")
    (samples, channels, height, width), (_, filters, kh, kw) = x.shape, w.shape
    if w.shape[0] != channels:
        raise checks.error(owner, "w", f"must be ({channels}, F, KH, KW) for this 'x'", w.shape)
    biases = biases_of(owner, b, filters)
    stride = checks.pair(owner, "stride", stride)
    dilation = checks.pair(owner, "dilation", dilation)
    extra = checks.pair(owner, "output_padding", output_padding, minimum=0)
    (top, bottom), (left, right) = padding = padding_of(owner, padding)
    height_out = (height - 1) * stride[0] - top - bottom + dilation[0] * (kh - 1) + 1 + extra[0]
    width_out = (width - 1) * stride[1] - left - right + dilation[1] * (kw - 1) + 1 + extra[1]
    if min(height_out, width_out) < 1:
        raise checks.error(owner, "padding", "must not remove the whole output", padding)
    y = np.zeros((samples, filters, height_out, width_out))
    _, cells = windows(owner, (height_out, width_out), (kh, kw), stride, padding, dilation)
    for n, f in np.ndindex(samples, filters):
        y[n, f] = biases[f]
        for h, column_in in np.ndindex(height, width):
            for i, j, row, column in cells(h, column_in):
                for c in range(channels):
                    y[n, f, row, column] += x[n, c, h, column_in] * w[c, f, i, j]
    return y
