"""Convolutions, poolings and resizing of nn against PyTorch's: outputs and every gradient."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from agreement_common import as_pair, draw
from agreement_torch import compare_layer

import nn


def same_padding(x, kernel, stride, dilation, value=0.0):
    """Pad x as TensorFlow's 'same' does: ceil(size / stride) outputs, the odd one at the end."""
    pads = []
    for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        pads = [total // 2, total - total // 2, *pads]  # the last axis comes first
    return F.pad(x, pads, value=value)


def conv_function(stride=1, padding="same", dilation=1, groups=1, **_):
    """Return torch's convolution for the arguments of Conv2D."""

    def function(x, params, buffers):
        kernel = params["W"].shape[2:]
        pad = 0 if padding == "valid" else padding
        if padding == "same":
            x, pad = same_padding(x, kernel, as_pair(stride), as_pair(dilation)), 0
        return F.conv2d(x, params["W"], params.get("b"), stride, pad, dilation, groups)

    return function


def conv_cases(rng):
    """Yield every combination of a few strides, paddings, dilations, groups, sizes, memories."""
    for kernel, stride, padding, dilation, groups, memory in itertools.product(
        (1, 3, (2, 3), (5, 4)),
        (1, 2, (1, 3)),
        ("valid", "same", 1, (0, 2)),
        (1, 2, (2, 1)),
        (1, 2, 4),
        ("contiguous", "channels-last"),
    ):
        arguments = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        x = draw(rng, (3, 4, 11, 13), memory)
        layer = nn.layers.Conv2D(8, kernel, **arguments)
        case = f"Conv2D {kernel} stride={stride} padding={padding}"
        detail = f"dilation={dilation} groups={groups} {memory}"
        yield f"{case} | {detail}", compare_layer(layer, conv_function(**arguments), x)
    for shape, filters, arguments in (
        ((1, 1, 3, 3), 1, {"padding": "valid"}),  # one sample, one output
        ((2, 3, 9, 7), 5, {"use_bias": False}),
        ((64, 1, 28, 28), 32, {"padding": "valid"}),
        ((16, 32, 13, 13), 64, {"padding": "valid"}),
        ((8, 64, 16, 16), 64, {}),
        ((4, 12, 10, 10), 12, {"groups": 12}),  # depthwise
    ):
        layer = nn.layers.Conv2D(filters, 3, **arguments)
        x = draw(rng, shape, "channels-last")
        name = f"Conv2D {shape} to {filters} {arguments or ''}"
        yield name, compare_layer(layer, conv_function(**arguments), x)
    layer = nn.layers.Conv2D(6, 3, activation="relu")
    function = conv_function()
    yield (
        "Conv2D activation='relu'",
        compare_layer(layer, lambda *a: F.relu(function(*a)), draw(rng, (3, 4, 8, 8))),
    )


def transpose_function(stride, padding, output_padding=0, dilation=1):
    """Return torch's transposed convolution for the arguments of Conv2DTranspose."""
    stride, dilation = as_pair(stride), as_pair(dilation)

    def function(x, params, buffers):
        w, b = params["W"], params.get("b")
        if not isinstance(padding, str):
            return F.conv_transpose2d(x, w, b, stride, padding, output_padding, dilation=dilation)
        # TensorFlow's sizes, cut out of (or zeros added to) all that the kernel reaches
        y = F.conv_transpose2d(x, w, None, stride, dilation=dilation)
        cuts = []
        for n, k, s, d, whole in zip(
            x.shape[2:], w.shape[2:], stride, dilation, y.shape[2:], strict=True
        ):
            reach = d * (k - 1) + 1
            size = n * s if padding == "same" else n * s + max(reach - s, 0)
            before = max(reach - s, 0) // 2 if padding == "same" else 0
            cuts = [-before, size + before - whole, *cuts]  # the last axis comes first
        y = F.pad(y, cuts)
        return y if b is None else y + b[:, None, None]

    return function


def more_conv_cases(rng):
    """Yield transposed and depthwise convolutions, in every combination of a few geometries."""
    for kernel, stride, padding, dilation, memory in itertools.product(
        (1, 3, 4, (2, 5)),
        (1, 2, (1, 3)),
        ("valid", "same", 1, (0, 1)),
        (1, 2),
        ("contiguous", "channels-last"),
    ):
        if kernel == 1 and padding == 1:
            continue  # cuts off what a 1x1 kernel put there, and more
        x = draw(rng, (3, 4, 10, 9), memory)
        arguments = {"stride": stride, "padding": padding, "dilation": dilation}
        yield (
            f"Conv2DTranspose {kernel} stride={stride} padding={padding} | {dilation=} {memory}",
            compare_layer(
                nn.layers.Conv2DTranspose(5, kernel, **arguments),
                transpose_function(**arguments),
                x,
            ),
        )
        yield (
            f"DepthwiseConv2D {kernel} stride={stride} padding={padding} | {dilation=} {memory}",
            compare_layer(
                nn.layers.DepthwiseConv2D(kernel, **arguments),
                conv_function(groups=4, **arguments),
                x,
            ),
        )
    for extra in (1, (1, 0)):
        arguments = {"stride": 2, "padding": 1, "output_padding": extra}
        yield (
            f"Conv2DTranspose output_padding={extra}",
            compare_layer(
                nn.layers.Conv2DTranspose(5, 3, use_bias=False, **arguments),
                transpose_function(**arguments),
                draw(rng, (3, 4, 7, 6)),
            ),
        )
    for shape, multiplier in (((8, 32, 16, 16), 1), ((4, 6, 9, 9), 3)):
        yield (
            f"DepthwiseConv2D {shape} depth_multiplier={multiplier}",
            compare_layer(
                nn.layers.DepthwiseConv2D(3, depth_multiplier=multiplier),
                conv_function(groups=shape[1]),
                draw(rng, shape, "channels-last"),
            ),
        )
    yield (
        "Conv2DTranspose (16, 64, 8, 8) to 32",
        compare_layer(
            nn.layers.Conv2DTranspose(32, 4, stride=2),
            transpose_function(2, "same"),
            draw(rng, (16, 64, 8, 8), "channels-last"),
        ),
    )
    yield (
        "Conv2DTranspose activation='tanh'",
        compare_layer(
            nn.layers.Conv2DTranspose(2, 3, stride=2, activation="tanh"),
            lambda *a: torch.tanh(transpose_function(2, "same")(*a)),
            draw(rng, (3, 4, 6, 5)),
        ),
    )


def weight_norm_cases(rng):
    """Yield each layer with a kernel under weight normalisation."""
    for layer, function, axis, shape in (
        (
            nn.layers.Dense(5),
            lambda x, p, b: x @ p["W"] + p["b"],
            1,
            (6, 7),
        ),
        (nn.layers.Conv2D(5, 3, use_bias=False), conv_function(), 0, (3, 4, 7, 6)),
        (nn.layers.DepthwiseConv2D(3), conv_function(groups=4), 0, (3, 4, 7, 6)),
        (nn.layers.Conv2DTranspose(5, 3, 2), transpose_function(2, "same"), 1, (3, 4, 7, 6)),
    ):

        def normalized(x, params, buffers, function=function, axis=axis):
            v, g = params["v"], params["g"]
            along = [-1 if k == axis else 1 for k in range(v.ndim)]
            w = torch._weight_norm(v, g.reshape(along), axis)  # as its parametrization does
            return function(x, {**params, "W": w}, buffers)

        yield (
            f"WeightNorm {type(layer).__name__}",
            compare_layer(nn.layers.WeightNorm(layer), normalized, draw(rng, shape)),
        )


def resize_cases(rng):
    """Yield larger images: repeated pixels, blended pixels, and margins."""
    for memory, times, mode in itertools.product(
        ("contiguous", "channels-last"), (2, (3, 1), (4, 5)), ("nearest", "bilinear")
    ):
        options = {} if mode == "nearest" else {"align_corners": False}
        yield (
            f"UpSample2D {times} {mode} | {memory}",
            compare_layer(
                nn.layers.UpSample2D(times, mode),
                lambda x, p, b, t=times, m=mode, o=options: F.interpolate(
                    x, scale_factor=as_pair(t), mode=m, **o
                ),
                draw(rng, (3, 4, 6, 5), memory),
            ),
        )
    for memory, padding in itertools.product(
        ("contiguous", "channels-last"), (2, (1, 3), ((0, 2), (3, 1)))
    ):
        rows, columns = nn.layers.ZeroPad2D(padding).padding
        yield (
            f"ZeroPad2D {padding} | {memory}",
            compare_layer(
                nn.layers.ZeroPad2D(padding),
                lambda x, p, b, sides=(*columns, *rows): F.pad(x, sides),
                draw(rng, (3, 4, 6, 5), memory),
            ),
        )


def pool_cases(rng):
    """Yield window poolings with overlap, gaps and padding, and the global ones."""
    geometries = (
        {"pool_size": 2},
        {"pool_size": (3, 2)},
        {"pool_size": 3, "stride": 2},  # overlap
        {"pool_size": 2, "stride": 3},  # gaps
        {"pool_size": 3, "stride": 2, "padding": 1},
        {"pool_size": (3, 5), "stride": (2, 1), "padding": (1, 2)},
    )
    for memory, shape, geometry in itertools.product(
        ("contiguous", "channels-last"), ((3, 4, 8, 8), (2, 5, 11, 13)), geometries
    ):
        pool, padding = geometry["pool_size"], geometry.get("padding", 0)
        stride = geometry.get("stride", pool)
        label = " ".join(f"{k}={v}" for k, v in geometry.items())
        x = draw(rng, shape, memory)
        yield (
            f"MaxPool2D {shape} {label} | {memory}",
            compare_layer(
                nn.layers.MaxPool2D(**geometry),
                lambda x, p, b, a=(pool, stride, padding): F.max_pool2d(x, *a),
                x,
            ),
        )
        yield (
            f"AvgPool2D {shape} {label} | {memory}",
            compare_layer(
                nn.layers.AvgPool2D(**geometry),
                lambda x, p, b, a=(pool, stride, padding): F.avg_pool2d(
                    x, *a, count_include_pad=False
                ),
                x,
            ),
        )
    x = draw(rng, (3, 4, 11, 13))
    yield (
        "MaxPool2D padding='same'",
        compare_layer(
            nn.layers.MaxPool2D(3, stride=2, padding="same"),
            lambda x, p, b: F.max_pool2d(
                same_padding(x, (3, 3), (2, 2), (1, 1), -np.inf), 3, stride=2
            ),
            x,
        ),
    )
    yield (
        "MaxPool2D of equal values",
        compare_layer(
            nn.layers.MaxPool2D(3, stride=2),
            lambda x, p, b: F.max_pool2d(x, 3, stride=2),
            np.maximum(x, 0).round(),
        ),
    )
    for memory in ("contiguous", "channels-last"):
        x = draw(rng, (3, 5, 7, 9), memory)
        yield (
            f"GlobalAvgPool2D | {memory}",
            compare_layer(nn.layers.GlobalAvgPool2D(), lambda x, p, b: x.mean((2, 3)), x),
        )
        yield (
            f"GlobalMaxPool2D | {memory}",
            compare_layer(
                nn.layers.GlobalMaxPool2D(),
                lambda x, p, b: F.adaptive_max_pool2d(x, 1).flatten(1),
                x,
            ),
        )


CASES = (conv_cases, more_conv_cases, weight_norm_cases, pool_cases, resize_cases)
