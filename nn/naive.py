"""The arithmetic of `nn.kernels` once more, in nothing but loops: to learn from, and to test with.

A convolution here is seven loops, one inside the other, and one multiplication in the middle.
That is the definition; everything in `kernels` is a quicker way to the same numbers. Read a
function here first, then the one of the same name in `nn/kernels/array.py` (`conv2d_naive`, then
`conv2d`): arguments, shapes and conventions are the same, and `tests/test_naive.py` holds the one
to the other. What is several functions there, `conv2d_input_grad` and `conv2d_weight_grad`, is one
here, `conv2d_backward_naive`.

NumPy only stores the numbers. Whatever dtype comes, the loops compute in float64 and so are the
results. A loop takes about a microsecond a turn: fine for a handful of small images, a matter of
hours for a real batch.

Letters, as everywhere: N samples, C channels, H and W height and width, F filters, G groups, KH
and KW the kernel's height and width, OH and OW the output's; n, c, f, i, j, oh and ow count them.
Padding is ((top, bottom), (left, right)), as `kernels.resolve_padding` returns it for 'same'.

>>> x = np.arange(9.0).reshape(1, 1, 3, 3)
>>> conv2d_naive(x, np.ones((1, 1, 2, 2)), None)[0, 0]
array([[ 8., 12.],
       [20., 24.]])
"""

import math
from typing import Any

import numpy as np

from . import checks
from .kernels.array import Padding, output_size

Pair = tuple[int, int]

_NO_PADDING: Padding = ((0, 0), (0, 0))


# ---------------------------------------------------------------------------- the checks


def _numbers(owner: str, argument: str, value: Any, axes: str) -> np.ndarray:
    """Return `value` as a float64 array with as many axes as `axes`, '(N, C)', names."""
    array = np.asarray(value)
    ndim = 1 + axes.rstrip(",)").count(",")
    if array.dtype.kind not in "fiub" or array.ndim != ndim or array.size == 0:
        rule = f"must be an array of numbers {axes}"
        raise checks.error(owner, argument, rule, f"{array.dtype} of shape {array.shape}")
    return array.astype(np.float64)


def _same_shape(owner: str, argument: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return `value` as a float64 array after checking that it has this very shape."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" or array.shape != tuple(shape):
        rule = f"must be an array of numbers of shape {tuple(shape)}"
        raise checks.error(owner, argument, rule, f"{array.dtype} of shape {array.shape}")
    return array.astype(np.float64)


def _geometry(
    owner: str, size: Pair, kernel: Pair, stride: Any, padding: Any, dilation: Any = (1, 1)
) -> tuple[Pair, Pair, Pair, Pair]:
    """Return the checked stride, (top, left) of the padding, dilation and (OH, OW)."""
    stride = checks.pair(owner, "stride", stride)
    dilation = checks.pair(owner, "dilation", dilation)
    (top, bottom), (left, right) = _four_numbers(owner, padding)
    out = output_size(size, kernel, stride, ((top, bottom), (left, right)), dilation)
    if min(out) < 1:
        rule = f"must leave room for a kernel of {kernel} on an image of {size}"
        raise checks.error(owner, "padding", rule, padding)
    return stride, (top, left), dilation, out


def _four_numbers(owner: str, padding: Any) -> Padding:
    """Return ((top, bottom), (left, right)), each of them at least 0."""
    sides = padding if isinstance(padding, tuple | list) else ()
    if len(sides) != 2 or any(not isinstance(side, tuple | list) for side in sides):
        raise checks.error(owner, "padding", "must be ((top, bottom), (left, right))", padding)
    top_bottom, left_right = (checks.pair(owner, "padding", side, minimum=0) for side in sides)
    return top_bottom, left_right


def _image_shape(owner: str, x_shape: Any) -> tuple[int, int, int, int]:
    """Return (N, C, H, W) after checking that it is four sizes."""
    sizes = tuple(x_shape) if isinstance(x_shape, tuple | list) else ()
    if len(sizes) != 4 or any(not checks.is_integer(size) or size < 1 for size in sizes):
        raise checks.error(owner, "x_shape", "must be four positive sizes (N, C, H, W)", x_shape)
    samples, channels, height, width = (int(size) for size in sizes)
    return samples, channels, height, width


def _groups(owner: str, groups: Any, channels: int, w_shape: tuple[int, ...]) -> int:
    """Return the number of groups after checking that channels and filters are shared out by it."""
    groups = checks.positive_int(owner, "groups", groups)
    if w_shape[0] % groups or channels != groups * w_shape[1]:
        rule = (
            f"must share out {channels} channels and {w_shape[0]} filters to kernels of {w_shape}"
        )
        raise checks.error(owner, "groups", rule, groups)
    return groups


# -------------------------------------------------------------------------- convolution


def conv2d_naive(
    x: Any,
    w: Any,
    b: Any | None,
    stride: Pair = (1, 1),
    padding: Padding = _NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """Return the convolution of images with kernels, by its definition in seven loops.

    In the notation of the module, with zeros around the image::

        y[n, f, oh, ow] = b[f] + sum over c, i, j of w[f, c, i, j]
                          * x[n, c, oh * stride + i * dilation - top, ow * ... - left]

    (Mathematicians turn the kernel round and call this one cross-correlation. Networks learn their
    kernels and do not care.) With groups, filter f sees only the C/G channels of its own group.

    Parameters
    ----------
    x
        Images (N, C, H, W).
    w
        Kernels (F, C/G, KH, KW).
    b
        Biases (F,), or None.
    stride, dilation
        Pixels from one output to the next, and from one cell of the kernel to the next.
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
        For arrays that do not fit each other, or a kernel larger than the padded image.

    Examples
    --------
    A kernel that takes a pixel's left neighbour away from the pixel finds vertical edges:

    >>> image = np.array([[[[0.0, 0.0, 5.0, 5.0]]]])
    >>> conv2d_naive(image, np.array([[[[-1.0, 1.0]]]]), None)
    array([[[[0., 5., 0.]]]])
    """
    owner = "conv2d_naive"
    x, w = _numbers(owner, "x", x, "(N, C, H, W)"), _numbers(owner, "w", w, "(F, C/G, KH, KW)")
    (samples, channels, height, width), (filters, per_group, kh, kw) = x.shape, w.shape
    groups = _groups(owner, groups, channels, w.shape)
    biases = np.zeros(filters) if b is None else _same_shape(owner, "b", b, (filters,))
    stride, (top, left), dilation, (height_out, width_out) = _geometry(
        owner, (height, width), (kh, kw), stride, padding, dilation
    )
    y = np.zeros((samples, filters, height_out, width_out))
    for n in range(samples):
        for f in range(filters):
            first = f // (filters // groups) * per_group  # the first channel that f sees
            for oh in range(height_out):
                for ow in range(width_out):
                    total = biases[f]
                    for c in range(per_group):
                        for i in range(kh):
                            for j in range(kw):
                                row = oh * stride[0] + i * dilation[0] - top
                                column = ow * stride[1] + j * dilation[1] - left
                                if 0 <= row < height and 0 <= column < width:
                                    total += w[f, c, i, j] * x[n, first + c, row, column]
                    y[n, f, oh, ow] = total
    return y


def conv2d_backward_naive(
    grad: Any,
    x: Any,
    w: Any,
    stride: Pair = (1, 1),
    padding: Padding = _NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the gradients of `conv2d_naive` for x, w and b, in the same seven loops.

    Each product w * x of the forward pass stands in one output's sum. So the output's gradient
    comes back to both of its factors, times the other one; the bias stands there alone::

        dx[n, c, row, column] += grad[n, f, oh, ow] * w[f, c, i, j]
        dw[f, c, i, j]        += grad[n, f, oh, ow] * x[n, c, row, column]
        db[f]                 += grad[n, f, oh, ow]

    Parameters
    ----------
    grad
        Gradient of the loss for the convolution's result (N, F, OH, OW).
    x, w, stride, padding, dilation, groups
        As given to `conv2d_naive`.

    Returns
    -------
    tuple
        dx (N, C, H, W), dw (F, C/G, KH, KW) and db (F,), in float64.

    Raises
    ------
    ValueError
        For arrays that do not fit each other.

    Examples
    --------
    >>> x, w = np.array([[[[3.0, 4.0]]]]), np.array([[[[2.0]]]])
    >>> dx, dw, db = conv2d_backward_naive(np.array([[[[1.0, 10.0]]]]), x, w)
    >>> dx.ravel(), dw.ravel(), db
    (array([ 2., 20.]), array([43.]), array([11.]))
    """
    owner = "conv2d_backward_naive"
    x, w = _numbers(owner, "x", x, "(N, C, H, W)"), _numbers(owner, "w", w, "(F, C/G, KH, KW)")
    (samples, channels, height, width), (filters, per_group, kh, kw) = x.shape, w.shape
    groups = _groups(owner, groups, channels, w.shape)
    stride, (top, left), dilation, (height_out, width_out) = _geometry(
        owner, (height, width), (kh, kw), stride, padding, dilation
    )
    grad = _same_shape(owner, "grad", grad, (samples, filters, height_out, width_out))
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros(filters)
    for n in range(samples):
        for f in range(filters):
            first = f // (filters // groups) * per_group
            for oh in range(height_out):
                for ow in range(width_out):
                    g = grad[n, f, oh, ow]
                    db[f] += g
                    for c in range(per_group):
                        for i in range(kh):
                            for j in range(kw):
                                row = oh * stride[0] + i * dilation[0] - top
                                column = ow * stride[1] + j * dilation[1] - left
                                if 0 <= row < height and 0 <= column < width:
                                    dx[n, first + c, row, column] += g * w[f, c, i, j]
                                    dw[f, c, i, j] += g * x[n, first + c, row, column]
    return dx, dw, db


def depthwise_conv2d_naive(
    x: Any,
    w: Any,
    b: Any | None,
    stride: Pair = (1, 1),
    padding: Padding = _NO_PADDING,
    dilation: Pair = (1, 1),
) -> np.ndarray:
    """Return the convolution of each channel by itself, with M kernels of its own.

    There is no sum over channels, so six loops do::

        y[n, f, oh, ow] = b[f] + sum over i, j of w[f, 0, i, j] * x[n, f // M, row, column]

    It is `conv2d_naive` with as many groups as channels, whose gradients are its gradients.

    Parameters
    ----------
    x
        Images (N, C, H, W).
    w
        Kernels (C*M, 1, KH, KW); those of one channel lie side by side.
    b
        Biases (C*M,), or None.
    stride, padding, dilation
        As for `conv2d_naive`.

    Returns
    -------
    numpy.ndarray
        (N, C*M, OH, OW) in float64.

    Raises
    ------
    ValueError
        For arrays that do not fit each other, or a kernel larger than the padded image.

    Examples
    --------
    >>> x = np.array([3.0, 5.0]).reshape(1, 2, 1, 1)
    >>> w = np.array([1.0, 10.0, 1.0, 10.0]).reshape(4, 1, 1, 1)
    >>> depthwise_conv2d_naive(x, w, None).ravel()
    array([ 3., 30.,  5., 50.])
    """
    owner = "depthwise_conv2d_naive"
    x, w = _numbers(owner, "x", x, "(N, C, H, W)"), _numbers(owner, "w", w, "(C*M, 1, KH, KW)")
    (samples, channels, height, width), (filters, _, kh, kw) = x.shape, w.shape
    if w.shape[1] != 1 or filters % channels:
        rule = f"must be ({channels} * M, 1, KH, KW) for {channels} channels"
        raise checks.error(owner, "w", rule, w.shape)
    biases = np.zeros(filters) if b is None else _same_shape(owner, "b", b, (filters,))
    stride, (top, left), dilation, (height_out, width_out) = _geometry(
        owner, (height, width), (kh, kw), stride, padding, dilation
    )
    multiplier = filters // channels
    y = np.zeros((samples, filters, height_out, width_out))
    for n in range(samples):
        for f in range(filters):
            for oh in range(height_out):
                for ow in range(width_out):
                    total = biases[f]
                    for i in range(kh):
                        for j in range(kw):
                            row = oh * stride[0] + i * dilation[0] - top
                            column = ow * stride[1] + j * dilation[1] - left
                            if 0 <= row < height and 0 <= column < width:
                                total += w[f, 0, i, j] * x[n, f // multiplier, row, column]
                    y[n, f, oh, ow] = total
    return y


def conv2d_transpose_naive(
    x: Any,
    w: Any,
    b: Any | None,
    stride: Pair = (1, 1),
    padding: Padding = _NO_PADDING,
    dilation: Pair = (1, 1),
    output_padding: Pair = (0, 0),
) -> np.ndarray:
    """Return the transposed convolution: every pixel puts down the kernel, scaled by its value.

    Where `conv2d_naive` gathers many pixels into one output, this scatters one pixel over many
    outputs, and adds up where they overlap::

        y[n, f, h * stride + i * dilation - top, w * ... - left] += x[n, c, h, w] * w[c, f, i, j]

    So it does to x what the convolution with the same kernel does to its output's gradient
    (Dumoulin and Visin 2016, arXiv 1603.07285, section 4).

    Parameters
    ----------
    x
        Images (N, C, H, W).
    w
        Kernels (C, F, KH, KW): the convolution's that it undoes.
    b
        Biases (F,), or None.
    stride, dilation
        Outputs from one pixel's kernel to the next, and from one cell of it to the next.
    padding
        What the convolution that it undoes would have padded: so many rows and columns are cut
        off the result, ((top, bottom), (left, right)).
    output_padding
        Rows and columns added at the result's end, where nothing but the bias may lie.

    Returns
    -------
    numpy.ndarray
        (N, F, OH, OW) in float64, with OH = (H - 1) * stride - top - bottom
        + dilation * (KH - 1) + 1 + output_padding and OW alike.

    Raises
    ------
    ValueError
        For arrays that do not fit each other, or a padding that leaves no output.

    Examples
    --------
    >>> x, w = np.array([[[[1.0, 10.0]]]]), np.array([[[[1.0, 2.0, 3.0]]]])
    >>> conv2d_transpose_naive(x, w, None, stride=(1, 2))
    array([[[[ 1.,  2., 13., 20., 30.]]]])
    """
    owner = "conv2d_transpose_naive"
    x, w = _numbers(owner, "x", x, "(N, C, H, W)"), _numbers(owner, "w", w, "(C, F, KH, KW)")
    (samples, channels, height, width), (_, filters, kh, kw) = x.shape, w.shape
    if w.shape[0] != channels:
        raise checks.error(owner, "w", f"must be ({channels}, F, KH, KW) for this 'x'", w.shape)
    biases = np.zeros(filters) if b is None else _same_shape(owner, "b", b, (filters,))
    stride, dilation = (
        checks.pair(owner, "stride", stride),
        checks.pair(owner, "dilation", dilation),
    )
    extra = checks.pair(owner, "output_padding", output_padding, minimum=0)
    (top, bottom), (left, right) = padding = _four_numbers(owner, padding)
    height_out = (height - 1) * stride[0] - top - bottom + dilation[0] * (kh - 1) + 1 + extra[0]
    width_out = (width - 1) * stride[1] - left - right + dilation[1] * (kw - 1) + 1 + extra[1]
    if min(height_out, width_out) < 1:
        raise checks.error(owner, "padding", "must leave an output", padding)
    y = np.zeros((samples, filters, height_out, width_out))
    for n in range(samples):
        for f in range(filters):
            y[n, f] = biases[f]
            for h in range(height):
                for column_in in range(width):
                    for c in range(channels):
                        for i in range(kh):
                            for j in range(kw):
                                row = h * stride[0] + i * dilation[0] - top
                                column = column_in * stride[1] + j * dilation[1] - left
                                if 0 <= row < height_out and 0 <= column < width_out:
                                    y[n, f, row, column] += x[n, c, h, column_in] * w[c, f, i, j]
    return y


# ------------------------------------------------------------------------------ pooling


def max_pool2d_naive(
    x: Any, pool: Pair, stride: Pair, padding: Padding = _NO_PADDING
) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest value of each window, and which cell of the window held it.

    ::

        y[n, c, oh, ow] = max over i, j of x[n, c, oh * stride + i - top, ow * stride + j - left]

    Padding is minus infinity and never wins; of equal values the first in reading order wins.

    Parameters
    ----------
    x
        Images (N, C, H, W) of finite numbers.
    pool
        The window's (KH, KW).
    stride
        Pixels from one window to the next.
    padding
        ((top, bottom), (left, right)).

    Returns
    -------
    tuple
        y (N, C, OH, OW) in float64, and the winners' i * KW + j as integers (N, OH, OW, C),
        channels last as `kernels.max_pool2d` has them.

    Raises
    ------
    ValueError
        For an x that is not (N, C, H, W), or a window larger than the padded image.

    Examples
    --------
    >>> y, index = max_pool2d_naive([[[[1, 7, 2, 3], [4, 0, 3, 1]]]], (2, 2), (2, 2))
    >>> y.ravel(), index.ravel()
    (array([7., 3.]), array([1, 1]))
    """
    owner = "max_pool2d_naive"
    x = _numbers(owner, "x", x, "(N, C, H, W)")
    samples, channels, height, width = x.shape
    pool = checks.pair(owner, "pool", pool)
    stride, (top, left), _, (height_out, width_out) = _geometry(
        owner, (height, width), pool, stride, padding
    )
    y = np.zeros((samples, channels, height_out, width_out))
    index = np.zeros((samples, height_out, width_out, channels), dtype=int)
    for n in range(samples):
        for c in range(channels):
            for oh in range(height_out):
                for ow in range(width_out):
                    largest, winner = -math.inf, 0
                    for i in range(pool[0]):
                        for j in range(pool[1]):
                            row, column = oh * stride[0] + i - top, ow * stride[1] + j - left
                            on_image = 0 <= row < height and 0 <= column < width
                            if on_image and x[n, c, row, column] > largest:
                                largest, winner = x[n, c, row, column], i * pool[1] + j
                    y[n, c, oh, ow], index[n, oh, ow, c] = largest, winner
    return y, index


def max_pool2d_backward_naive(
    grad: Any,
    index: Any,
    x_shape: tuple[int, int, int, int],
    pool: Pair,
    stride: Pair,
    padding: Padding = _NO_PADDING,
) -> np.ndarray:
    """Return the gradient of `max_pool2d_naive` for x: each window's goes to the cell that won.

    With (i, j) the winner of the window::

        dx[n, c, oh * stride + i - top, ow * stride + j - left] += grad[n, c, oh, ow]

    Parameters
    ----------
    grad
        Gradient of the loss for the maxima (N, C, OH, OW).
    index
        The winners (N, OH, OW, C), as `max_pool2d_naive` returned them.
    x_shape
        (N, C, H, W).
    pool, stride, padding
        As given to `max_pool2d_naive`.

    Returns
    -------
    numpy.ndarray
        dx (N, C, H, W) in float64.

    Raises
    ------
    ValueError
        For arrays that do not fit each other, or an index beyond the window.

    Examples
    --------
    >>> y, index = max_pool2d_naive([[[[1, 7, 2, 3]]]], (1, 2), (1, 2))
    >>> max_pool2d_backward_naive(10 * y, index, (1, 1, 1, 4), (1, 2), (1, 2))
    array([[[[ 0., 70.,  0., 30.]]]])
    """
    owner = "max_pool2d_backward_naive"
    samples, channels, height, width = _image_shape(owner, x_shape)
    pool = checks.pair(owner, "pool", pool)
    stride, (top, left), _, (height_out, width_out) = _geometry(
        owner, (height, width), pool, stride, padding
    )
    grad = _same_shape(owner, "grad", grad, (samples, channels, height_out, width_out))
    winners = _same_shape(owner, "index", index, (samples, height_out, width_out, channels))
    if winners.min() < 0 or winners.max() >= pool[0] * pool[1]:
        rule = f"must hold cells of a window, 0..{pool[0] * pool[1] - 1}"
        raise checks.error(owner, "index", rule, f"{winners.min():g}..{winners.max():g}")
    dx = np.zeros((samples, channels, height, width))
    for n in range(samples):
        for c in range(channels):
            for oh in range(height_out):
                for ow in range(width_out):
                    i, j = divmod(int(winners[n, oh, ow, c]), pool[1])
                    row, column = oh * stride[0] + i - top, ow * stride[1] + j - left
                    if 0 <= row < height and 0 <= column < width:
                        dx[n, c, row, column] += grad[n, c, oh, ow]
    return dx


def avg_pool2d_naive(
    x: Any, pool: Pair, stride: Pair, padding: Padding = _NO_PADDING
) -> np.ndarray:
    """Return the mean of each window over its cells on the image; padding never counts.

    With the sum over those (i, j) alone whose pixel exists, and `count` their number::

        y[n, c, oh, ow] = sum over i, j of x[n, c, oh * stride + i - top, ...] / count

    Parameters
    ----------
    x
        Images (N, C, H, W).
    pool, stride, padding
        As for `max_pool2d_naive`.

    Returns
    -------
    numpy.ndarray
        (N, C, OH, OW) in float64; 0 for a window of nothing but padding.

    Raises
    ------
    ValueError
        For an x that is not (N, C, H, W), or a window larger than the padded image.

    Examples
    --------
    >>> avg_pool2d_naive([[[[1, 3, 5]]]], (1, 2), (1, 2), padding=((0, 0), (1, 0)))
    array([[[[1., 4.]]]])
    """
    owner = "avg_pool2d_naive"
    x = _numbers(owner, "x", x, "(N, C, H, W)")
    samples, channels, height, width = x.shape
    pool = checks.pair(owner, "pool", pool)
    stride, (top, left), _, (height_out, width_out) = _geometry(
        owner, (height, width), pool, stride, padding
    )
    y = np.zeros((samples, channels, height_out, width_out))
    for n in range(samples):
        for c in range(channels):
            for oh in range(height_out):
                for ow in range(width_out):
                    total, count = 0.0, 0
                    for i in range(pool[0]):
                        for j in range(pool[1]):
                            row, column = oh * stride[0] + i - top, ow * stride[1] + j - left
                            if 0 <= row < height and 0 <= column < width:
                                total, count = total + x[n, c, row, column], count + 1
                    y[n, c, oh, ow] = total / max(count, 1)
    return y


def avg_pool2d_backward_naive(
    grad: Any,
    x_shape: tuple[int, int, int, int],
    pool: Pair,
    stride: Pair,
    padding: Padding = _NO_PADDING,
) -> np.ndarray:
    """Return the gradient of `avg_pool2d_naive` for x: each cell gets the window's, over `count`.

    ::

        dx[n, c, oh * stride + i - top, ow * stride + j - left] += grad[n, c, oh, ow] / count

    Parameters
    ----------
    grad
        Gradient of the loss for the means (N, C, OH, OW).
    x_shape
        (N, C, H, W).
    pool, stride, padding
        As given to `avg_pool2d_naive`.

    Returns
    -------
    numpy.ndarray
        dx (N, C, H, W) in float64.

    Raises
    ------
    ValueError
        For arrays that do not fit each other.

    Examples
    --------
    >>> avg_pool2d_backward_naive([[[[6.0, 8.0]]]], (1, 1, 1, 4), (1, 2), (1, 2))
    array([[[[3., 3., 4., 4.]]]])
    """
    owner = "avg_pool2d_backward_naive"
    samples, channels, height, width = _image_shape(owner, x_shape)
    pool = checks.pair(owner, "pool", pool)
    stride, (top, left), _, (height_out, width_out) = _geometry(
        owner, (height, width), pool, stride, padding
    )
    grad = _same_shape(owner, "grad", grad, (samples, channels, height_out, width_out))
    dx = np.zeros((samples, channels, height, width))
    for n in range(samples):
        for c in range(channels):
            for oh in range(height_out):
                for ow in range(width_out):
                    cells = []  # those of the window that lie on the image
                    for i in range(pool[0]):
                        for j in range(pool[1]):
                            row, column = oh * stride[0] + i - top, ow * stride[1] + j - left
                            if 0 <= row < height and 0 <= column < width:
                                cells.append((row, column))
                    for row, column in cells:
                        dx[n, c, row, column] += grad[n, c, oh, ow] / len(cells)
    return dx


# -------------------------------------------------------------------------- dense layers


def dense_naive(x: Any, w: Any, b: Any | None = None) -> np.ndarray:
    """Return a matrix product with a bias, in three loops.

    ::

        y[n, k] = b[k] + sum over d of x[n, d] * w[d, k]

    Parameters
    ----------
    x
        Samples (N, D).
    w
        Weights (D, K), a column for each unit.
    b
        Biases (K,), or None.

    Returns
    -------
    numpy.ndarray
        (N, K) in float64.

    Raises
    ------
    ValueError
        For arrays that do not fit each other.

    Examples
    --------
    >>> dense_naive([[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]], [0.5, 0.0])
    array([[13.5, 16. ]])
    """
    owner = "dense_naive"
    x, w = _numbers(owner, "x", x, "(N, D)"), _numbers(owner, "w", w, "(D, K)")
    (samples, features), units = x.shape, w.shape[1]
    w = _same_shape(owner, "w", w, (features, units))
    biases = np.zeros(units) if b is None else _same_shape(owner, "b", b, (units,))
    y = np.zeros((samples, units))
    for n in range(samples):
        for k in range(units):
            total = biases[k]
            for d in range(features):
                total += x[n, d] * w[d, k]
            y[n, k] = total
    return y


def dense_backward_naive(grad: Any, x: Any, w: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the gradients of `dense_naive` for x, w and b, in the same three loops.

    ::

        dx[n, d] += grad[n, k] * w[d, k]
        dw[d, k] += grad[n, k] * x[n, d]
        db[k]    += grad[n, k]

    Parameters
    ----------
    grad
        Gradient of the loss for the result (N, K).
    x, w
        As given to `dense_naive`.

    Returns
    -------
    tuple
        dx (N, D), dw (D, K) and db (K,), in float64.

    Raises
    ------
    ValueError
        For arrays that do not fit each other.

    Examples
    --------
    >>> dense_backward_naive([[1.0, 10.0]], [[2.0]], [[3.0, 4.0]])
    (array([[43.]]), array([[ 2., 20.]]), array([ 1., 10.]))
    """
    owner = "dense_backward_naive"
    x, w = _numbers(owner, "x", x, "(N, D)"), _numbers(owner, "w", w, "(D, K)")
    (samples, features), units = x.shape, w.shape[1]
    w = _same_shape(owner, "w", w, (features, units))
    grad = _same_shape(owner, "grad", grad, (samples, units))
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros(units)
    for n in range(samples):
        for k in range(units):
            db[k] += grad[n, k]
            for d in range(features):
                dx[n, d] += grad[n, k] * w[d, k]
                dw[d, k] += grad[n, k] * x[n, d]
    return dx, dw, db


# ------------------------------------------------------------------- batch normalisation


def batchnorm_naive(
    x: Any, gamma: Any, beta: Any, eps: float = 1e-5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalise each column by its own mean and variance, then scale and shift it.

    Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1, for each column c over M rows::

        mean[c]     = sum over m of x[m, c] / M
        variance[c] = sum over m of (x[m, c] - mean[c])^2 / M
        y[m, c]     = gamma[c] * (x[m, c] - mean[c]) / sqrt(variance[c] + eps) + beta[c]

    Images (N, C, H, W) are M = N*H*W rows, as `kernels.to_rows` returns them.

    Parameters
    ----------
    x
        (M, C).
    gamma, beta
        Scale and shift of each column, (C,).
    eps
        What keeps the root away from 0, above 0.

    Returns
    -------
    tuple
        y (M, C), the mean (C,) and the variance (C,), in float64.

    Raises
    ------
    ValueError
        For arrays that do not fit each other, or an eps that is not positive.

    Examples
    --------
    >>> y, mean, variance = batchnorm_naive([[1.0], [5.0]], [10.0], [3.0])
    >>> y.ravel().round(3), mean, variance
    (array([-7., 13.]), array([3.]), array([4.]))
    """
    owner = "batchnorm_naive"
    x = _numbers(owner, "x", x, "(M, C)")
    rows, columns = x.shape
    gamma = _same_shape(owner, "gamma", gamma, (columns,))
    beta = _same_shape(owner, "beta", beta, (columns,))
    eps = checks.positive(owner, "eps", eps)
    y, mean, variance = np.zeros_like(x), np.zeros(columns), np.zeros(columns)
    for c in range(columns):
        for m in range(rows):
            mean[c] += x[m, c] / rows
        for m in range(rows):
            variance[c] += (x[m, c] - mean[c]) ** 2 / rows
        for m in range(rows):
            x_hat = (x[m, c] - mean[c]) / math.sqrt(variance[c] + eps)
            y[m, c] = gamma[c] * x_hat + beta[c]
    return y, mean, variance


def batchnorm_backward_naive(
    grad: Any, x: Any, gamma: Any, mean: Any, variance: Any, eps: float = 1e-5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the gradients of `batchnorm_naive` for x, gamma and beta, one chain rule at a time.

    An x[m, c] acts on the result in three ways: by itself, through the variance, and through the
    mean, which all rows share. With d = x - mean and s = sqrt(variance + eps), for each column::

        dx_hat[m] = grad[m] * gamma
        dvariance = sum over m of dx_hat[m] * d[m] * (-1/2) / s^3
        dmean     = sum over m of dx_hat[m] * (-1) / s       (d's own mean is 0)
        dx[m]     = dx_hat[m] / s + dvariance * 2 d[m] / M + dmean / M
        dgamma    = sum over m of grad[m] * d[m] / s
        dbeta     = sum over m of grad[m]

    These are the lines of the paper's section 3; `kernels.array.batch_norm_grad` has them in one.

    Parameters
    ----------
    grad
        Gradient of the loss for y, (M, C).
    x, gamma, eps
        As given to `batchnorm_naive`.
    mean, variance
        As it returned them, (C,).

    Returns
    -------
    tuple
        dx (M, C), dgamma (C,) and dbeta (C,), in float64.

    Raises
    ------
    ValueError
        For arrays that do not fit each other, or an eps that is not positive.

    Examples
    --------
    What moves all rows alike is taken away again: it has no gradient.

    >>> x, ones = [[1.0], [2.0], [6.0]], [[1.0], [1.0], [1.0]]
    >>> _, mean, variance = batchnorm_naive(x, [2.0], [0.0])
    >>> dx, dgamma, dbeta = batchnorm_backward_naive(ones, x, [2.0], mean, variance)
    >>> bool(abs(dx).max() < 1e-12), dbeta
    (True, array([3.]))
    """
    owner = "batchnorm_backward_naive"
    x = _numbers(owner, "x", x, "(M, C)")
    rows, columns = x.shape
    grad = _same_shape(owner, "grad", grad, x.shape)
    gamma = _same_shape(owner, "gamma", gamma, (columns,))
    mean = _same_shape(owner, "mean", mean, (columns,))
    variance = _same_shape(owner, "variance", variance, (columns,))
    eps = checks.positive(owner, "eps", eps)
    dx, dgamma, dbeta = np.zeros_like(x), np.zeros(columns), np.zeros(columns)
    for c in range(columns):
        s = math.sqrt(variance[c] + eps)
        dvariance = dmean = 0.0
        for m in range(rows):
            d, dx_hat = x[m, c] - mean[c], grad[m, c] * gamma[c]
            dvariance += dx_hat * d * -0.5 / s**3
            dmean += -dx_hat / s
            dgamma[c] += grad[m, c] * d / s
            dbeta[c] += grad[m, c]
        for m in range(rows):
            d, dx_hat = x[m, c] - mean[c], grad[m, c] * gamma[c]
            dx[m, c] = dx_hat / s + dvariance * 2 * d / rows + dmean / rows
    return dx, dgamma, dbeta


# ---------------------------------------------------------------------- the cross-entropy


def softmax_cross_entropy_naive(logits: Any, labels: Any) -> float:
    """Return the cross-entropy of softmax(logits) against labels, the mean over the batch.

    ::

        p[n, k] = exp(z[n, k]) / sum over c of exp(z[n, c])
        loss    = sum over n of -log(p[n, labels[n]]) / N

    The row's largest z is subtracted first, which changes no p and keeps exp from overflowing;
    and -log(p) is taken as log(sum) - z, so that no log is ever taken of a p that rounded to 0.

    Parameters
    ----------
    logits
        z, (N, K) with K classes.
    labels
        (N,) integers in 0..K-1.

    Returns
    -------
    float
        The loss.

    Raises
    ------
    ValueError
        For arrays that do not fit each other, or labels that are no classes.

    Examples
    --------
    >>> round(softmax_cross_entropy_naive([[0.0, 0.0], [1000.0, 0.0]], [1, 1]), 6)
    500.346574
    """
    z, classes = _scores(logits, labels, "softmax_cross_entropy_naive")
    loss = 0.0
    for n in range(z.shape[0]):
        largest = max(z[n])
        total = 0.0
        for k in range(z.shape[1]):
            total += math.exp(z[n, k] - largest)
        loss += (math.log(total) + largest - z[n, classes[n]]) / z.shape[0]
    return float(loss)


def softmax_cross_entropy_backward_naive(logits: Any, labels: Any) -> np.ndarray:
    """Return the gradient of `softmax_cross_entropy_naive` for the logits.

    Of all the chain rule's terms no more is left than::

        dz[n, k] = (p[n, k] - (1 if k == labels[n] else 0)) / N

    Parameters
    ----------
    logits, labels
        As given to `softmax_cross_entropy_naive`.

    Returns
    -------
    numpy.ndarray
        (N, K) in float64.

    Raises
    ------
    ValueError
        For arrays that do not fit each other, or labels that are no classes.

    Examples
    --------
    >>> softmax_cross_entropy_backward_naive([[0.0, 0.0]], [1])
    array([[ 0.5, -0.5]])
    """
    z, classes = _scores(logits, labels, "softmax_cross_entropy_backward_naive")
    dz = np.zeros_like(z)
    for n in range(z.shape[0]):
        largest = max(z[n])
        total = 0.0
        for k in range(z.shape[1]):
            total += math.exp(z[n, k] - largest)
        for k in range(z.shape[1]):
            p = math.exp(z[n, k] - largest) / total
            dz[n, k] = (p - (1 if k == classes[n] else 0)) / z.shape[0]
    return dz


def _scores(logits: Any, labels: Any, owner: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits and the labels after checking both."""
    z, classes = _numbers(owner, "logits", logits, "(N, K)"), np.asarray(labels)
    if classes.dtype.kind not in "iu" or classes.shape != z.shape[:1]:
        rule = f"must be integers of shape {z.shape[:1]}"
        raise checks.error(owner, "labels", rule, f"{classes.dtype} of shape {classes.shape}")
    if classes.min() < 0 or classes.max() >= z.shape[1]:
        wrong = classes.min() if classes.min() < 0 else classes.max()
        raise checks.error(owner, "labels", f"must be in 0..{z.shape[1] - 1}", int(wrong))
    return z, classes
