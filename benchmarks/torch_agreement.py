"""Layers, losses and optimizers of nn against PyTorch's: outputs and every gradient, in float32.

A row is a case, or many alike; its figure is the largest difference over all their arrays, each
taken relative to the largest value of PyTorch's array: max|a - b| / max(1, max|b|). Beside it
stands the array that differs most. Exits with 1 where a row is above the tolerance of 1e-5. Needs
torch (a CPU build will do), which nn itself never does.

    python benchmarks/torch_agreement.py
    python benchmarks/torch_agreement.py --only Conv2D
"""

import argparse
import itertools
import sys

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it

import nn

TOLERANCE = 1e-5
STEPS = 20  # of each optimizer


# ---------------------------------------------------------------------------- the comparison


def difference(ours, theirs):
    """Return max|a - b| / max(1, max|b|), infinite where shapes differ or a value is not finite."""
    ours = np.asarray(ours, dtype=np.float64)
    theirs = np.asarray(theirs.detach(), dtype=np.float64)
    if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return float("inf")
    return np.abs(ours - theirs).max(initial=0.0) / np.abs(theirs).max(initial=1.0)


def draw(rng, shape, memory="contiguous"):
    """Return normal float32 values, for 'channels-last' with such memory under the same shape."""
    x = rng.standard_normal(shape).astype(np.float32)
    if memory == "channels-last" and x.ndim == 4:
        # (N, C, H, W) -> (N, H, W, C), copied -> (N, C, H, W), a view
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return x


def leaf(array):
    """Return a tensor with a copy of the array's values that collects its gradient."""
    return torch.tensor(np.ascontiguousarray(array), requires_grad=True)


def compare_layer(layer, function, x, training=True):
    """Compare a layer with `function(x, params, buffers)` on tensors: every array of both."""
    rng = np.random.default_rng(1)
    layer.build((None, *x.shape[1:]))
    for param in layer.params.values():
        param[...] = draw(rng, param.shape)
    for name, buffer in layer.buffers.items():
        buffer[...] = draw(rng, buffer.shape)
        if name == "running_var":
            buffer[...] = 0.5 + np.abs(buffer)
    params = {name: leaf(param) for name, param in layer.params.items()}
    buffers = {name: torch.tensor(buffer.copy()) for name, buffer in layer.buffers.items()}
    x_torch = leaf(x)

    y = layer.forward(x, training=training)
    y_torch = function(x_torch, params, buffers)
    grad = rng.standard_normal(tuple(y_torch.shape)).astype(np.float32)
    dx = layer.backward(grad)
    y_torch.backward(torch.from_numpy(grad))

    pairs = {"output": (y, y_torch), "dx": (dx, x_torch.grad)}
    pairs |= {f"d{name}": (layer.grads[name], param.grad) for name, param in params.items()}
    pairs |= {name: (layer.buffers[name], buffer) for name, buffer in buffers.items()}
    return pairs


def compare_loss(loss, function, prediction, target):
    """Compare a loss's value and gradient with those of `function(prediction, target)`."""
    p_torch = leaf(prediction)
    value = loss.forward(prediction, target)
    value_torch = function(p_torch, torch.from_numpy(target))
    value_torch.backward()
    return {
        "value": (np.float32(value), value_torch),
        # of the batch's sum: that of its mean is small, and so would every difference be
        "gradient": (loss.backward() * len(prediction), p_torch.grad * len(prediction)),
    }


def compare_optimizer(optimizer, make_torch, configure=None, clip_norm=None):
    """Take the same steps with both from the same start, and compare the parameters at the end.

    `make_torch` gets the weights (two axes or more) and the biases as two lists of tensors.
    """
    rng = np.random.default_rng(2)
    params = [draw(rng, shape) for shape in ((7, 5), (5,), (4, 3, 3, 3), (4,))]
    tensors = [leaf(param) for param in params]
    weights, biases = [t for t in tensors if t.ndim > 1], [t for t in tensors if t.ndim == 1]
    optimizer_torch = make_torch(weights, biases)
    if configure:
        optimizer.configure(**configure)
    for _ in range(STEPS):
        grads = [draw(rng, param.shape) for param in params]
        for tensor, grad in zip(tensors, grads, strict=True):
            tensor.grad = torch.from_numpy(grad.copy())
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(tensors, clip_norm)
        optimizer.step(list(zip(params, grads, strict=True)))
        optimizer_torch.step()
    return {f"param {i}": pair for i, pair in enumerate(zip(params, tensors, strict=True))}


# --------------------------------------------------------------------------------- the cases


def same_padding(x, kernel, stride, dilation, value=0.0):
    """Pad x as TensorFlow's 'same' does: ceil(size / stride) outputs, the odd one at the end."""
    pads = []
    for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        pads = [total // 2, total - total // 2, *pads]  # the last axis comes first
    return F.pad(x, pads, value=value)


def as_pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


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
    """Yield larger pictures: repeated pixels, blended pixels, and margins."""
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


def batch_norm_cases(rng):
    """Yield batch normalisation of pictures, vectors and sequences, in training and inference."""

    def function(training, momentum, eps):
        return lambda x, params, buffers: F.batch_norm(
            x,
            buffers["running_mean"],
            buffers["running_var"],
            params["gamma"],
            params["beta"],
            training,
            1 - momentum,  # PyTorch's momentum is the share of the new batch
            eps,
        )

    for class_name, shape in (
        ("BatchNorm2D", (6, 5, 7, 9)),
        ("BatchNorm2D", (64, 32, 16, 16)),
        ("BatchNorm1D", (16, 5)),
        ("BatchNorm1D", (6, 5, 8)),
        ("BatchNorm", (6, 5, 7, 9)),
        ("BatchNorm", (16, 5)),
    ):
        for training, memory, (momentum, eps) in itertools.product(
            (True, False), ("contiguous", "channels-last"), ((0.9, 1e-5), (0.7, 1e-3))
        ):
            if memory == "channels-last" and len(shape) != 4:
                continue
            layer = getattr(nn.layers, class_name)(momentum=momentum, eps=eps)
            x = 3 * draw(rng, shape, memory) + 2
            mode = "training" if training else "inference"
            yield (
                f"{class_name} {shape} {mode} | momentum={momentum} {memory}",
                compare_layer(layer, function(training, momentum, eps), x, training),
            )


def sample_norm_cases(rng):
    """Yield layer and group normalisation of vectors, sequences and pictures."""

    def layer_norm(eps):
        def function(x, params, buffers):
            shape = x.shape[1:]
            gamma, beta = (params[name].reshape(shape) for name in ("gamma", "beta"))
            return F.layer_norm(x, shape, gamma, beta, eps)

        return function

    for shape, memory, eps in itertools.product(
        ((1, 3), (16, 50), (6, 5, 8), (6, 5, 7, 9), (8, 32, 16, 16)),
        ("contiguous", "channels-last"),
        (1e-5, 1e-3),
    ):
        if memory == "channels-last" and len(shape) != 4:
            continue
        x = 3 * draw(rng, shape, memory) + 2
        yield (
            f"LayerNorm {shape} | eps={eps} {memory}",
            compare_layer(nn.layers.LayerNorm(eps=eps), layer_norm(eps), x),
        )
    for shape, groups, memory in itertools.product(
        ((16, 12), (6, 12, 8), (6, 12, 7, 9), (8, 24, 16, 16)),
        (1, 3, 12),
        ("contiguous", "channels-last"),
    ):
        if memory == "channels-last" and len(shape) != 4:
            continue
        if len(shape) == 2 and groups == shape[1]:
            continue  # groups of one number: nn gives 0, PyTorch rounding errors over sqrt(eps)
        x = 3 * draw(rng, shape, memory) + 2
        yield (
            f"GroupNorm {shape} groups={groups} | {memory}",
            compare_layer(
                nn.layers.GroupNorm(groups),
                lambda x, p, b, g=groups: F.group_norm(x, g, p["gamma"], p["beta"]),
                x,
            ),
        )


def dense_cases(rng):
    """Yield Dense with and without bias and activation, and Flatten from both memory layouts."""
    for shape, units, arguments in (
        ((1, 1), 1, {}),
        ((5, 7), 3, {}),
        ((5, 7), 3, {"use_bias": False}),
        ((5, 7), 3, {"activation": "tanh"}),
        ((128, 1600), 64, {}),
    ):
        after = torch.tanh if "activation" in arguments else (lambda z: z)

        def function(x, params, buffers, after=after):
            z = x @ params["W"]
            return after(z + params["b"] if "b" in params else z)

        yield (
            f"Dense {shape} to {units} {arguments or ''}",
            compare_layer(nn.layers.Dense(units, **arguments), function, draw(rng, shape)),
        )
    for memory in ("contiguous", "channels-last"):
        x = draw(rng, (3, 4, 5, 6), memory)
        yield (
            f"Flatten | {memory}",
            compare_layer(nn.layers.Flatten(), lambda x, p, b: x.flatten(1), x),
        )


def activation_cases(rng):
    """Yield each activation, on values out to its saturated ends."""
    for name, layer, function in (
        ("ReLU", nn.layers.ReLU(), F.relu),
        ("LeakyReLU", nn.layers.LeakyReLU(), F.leaky_relu),
        ("ELU", nn.layers.ELU(), F.elu),
        ("GELU", nn.layers.GELU(), F.gelu),
        ("Sigmoid", nn.layers.Sigmoid(), torch.sigmoid),
        ("Tanh", nn.layers.Tanh(), torch.tanh),
        ("Softmax", nn.layers.Softmax(), lambda x: F.softmax(x, dim=-1)),
        ("ReLU6", nn.layers.ReLU6(), F.relu6),
        ("SELU", nn.layers.SELU(), F.selu),
        ("SiLU", nn.layers.SiLU(), F.silu),
        ("Mish", nn.layers.Mish(), F.mish),
        ("Softplus", nn.layers.Softplus(), F.softplus),
        ("Softsign", nn.layers.Softsign(), F.softsign),
        ("HardSigmoid", nn.layers.HardSigmoid(), F.hardsigmoid),
        ("Exponential", nn.layers.Exponential(), torch.exp),
    ):
        for scale in (1, 30):
            if (name, scale) == ("Exponential", 30):
                continue  # exp(90) is infinite in float32
            yield (
                f"{name} x{scale}",
                compare_layer(layer, lambda x, p, b, f=function: f(x), scale * draw(rng, (32, 10))),
            )


def loss_cases(rng):
    """Yield each loss; a large prediction must neither overflow nor lose its gradient."""
    for scale in (1, 30):
        logits = scale * draw(rng, (32, 10))
        labels = rng.integers(0, 10, 32)
        one_hot = np.eye(10, dtype=np.float32)[labels]
        for smoothing in (0.0, 0.1):
            yield (
                f"CategoricalCrossentropy label_smoothing={smoothing} x{scale}",
                compare_loss(
                    nn.losses.CategoricalCrossentropy(label_smoothing=smoothing),
                    lambda p, t, s=smoothing: F.cross_entropy(p, t, label_smoothing=s),
                    logits,
                    labels,
                ),
            )
        yield (
            f"CategoricalCrossentropy one-hot x{scale}",
            compare_loss(
                nn.losses.CategoricalCrossentropy(),
                lambda p, t: F.cross_entropy(p, t),
                logits,
                one_hot,
            ),
        )
        yield (
            f"BinaryCrossentropy x{scale}",
            compare_loss(
                nn.losses.BinaryCrossentropy(),
                lambda p, t: F.binary_cross_entropy_with_logits(p, t),
                logits[:, :1],
                rng.integers(0, 2, (32, 1)).astype(np.float32),
            ),
        )
        target = draw(rng, logits.shape)
        for name, function in (
            ("MeanSquaredError", F.mse_loss),
            ("MeanAbsoluteError", F.l1_loss),
            ("Huber", F.huber_loss),
        ):
            yield (
                f"{name} x{scale}",
                compare_loss(getattr(nn.losses, name)(), function, logits, target),
            )
        yield (
            f"Hinge x{scale}",
            compare_loss(
                nn.losses.Hinge(),
                # PyTorch divides by the number of classes, nn sums over them
                lambda p, t: F.multi_margin_loss(p, t) * p.shape[1],
                logits,
                labels,
            ),
        )

    probabilities, target = (np.exp(draw(rng, (32, 10))) for _ in range(2))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    target /= target.sum(axis=1, keepdims=True)
    yield (
        "KLDivergence",
        compare_loss(
            nn.losses.KLDivergence(),
            lambda p, t: F.kl_div(p.log(), t, reduction="batchmean"),
            probabilities,
            target,
        ),
    )


def optimizer_cases(rng):
    """Yield each optimizer, then weight decay (of weights only) and clipping by the global norm."""
    optim = torch.optim

    def groups(weights, biases, decay):
        return [{"params": weights, "weight_decay": decay}, {"params": biases, "weight_decay": 0}]

    for name, ours, theirs in (
        ("SGD", nn.optim.SGD(lr=0.1), lambda p: optim.SGD(p, 0.1)),
        (
            "SGD momentum=0.9",
            nn.optim.SGD(lr=0.1, momentum=0.9),
            lambda p: optim.SGD(p, 0.1, momentum=0.9),
        ),
        (
            "SGD momentum=0.9 nesterov",
            nn.optim.SGD(lr=0.1, momentum=0.9, nesterov=True),
            lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
        ),
        (
            "SGDMomentum",
            nn.optim.SGDMomentum(lr=0.1),
            lambda p: optim.SGD(p, 0.1, momentum=0.9),
        ),
        (
            "Nesterov",
            nn.optim.Nesterov(lr=0.1),
            lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
        ),
        (
            "RMSprop",
            nn.optim.RMSprop(lr=0.01),
            lambda p: optim.RMSprop(p, 0.01, alpha=0.9, eps=1e-8),
        ),
        ("Adagrad", nn.optim.Adagrad(lr=0.1), lambda p: optim.Adagrad(p, 0.1, eps=1e-8)),
        ("Adam", nn.optim.Adam(lr=0.01), lambda p: optim.Adam(p, 0.01)),
        (
            "Adam beta1=0.8 beta2=0.9 eps=1e-3",
            nn.optim.Adam(lr=0.01, beta1=0.8, beta2=0.9, eps=1e-3),
            lambda p: optim.Adam(p, 0.01, betas=(0.8, 0.9), eps=1e-3),
        ),
        ("Nadam", nn.optim.Nadam(lr=0.01), lambda p: optim.NAdam(p, 0.01)),
    ):
        yield name, compare_optimizer(ours, lambda w, b, make=theirs: make(w + b))
    yield (
        "AdamW weight_decay=0.1",
        compare_optimizer(
            nn.optim.AdamW(lr=0.01, weight_decay=0.1),
            lambda w, b: optim.AdamW(groups(w, b, 0.1), lr=0.01),
        ),
    )
    for name, ours, theirs in (
        ("SGD", nn.optim.SGD(lr=0.1), lambda g: optim.SGD(g, lr=0.1)),
        ("Adam", nn.optim.Adam(lr=0.01), lambda g: optim.Adam(g, lr=0.01)),
    ):
        yield (
            f"{name} with weight decay",
            compare_optimizer(
                ours,
                lambda w, b, make=theirs: make(groups(w, b, 0.05)),
                configure={"weight_decay": 0.05},
            ),
        )
    yield (
        "SGD with weight decay and clipping",
        compare_optimizer(
            nn.optim.SGD(lr=0.1),
            lambda w, b: optim.SGD(groups(w, b, 0.05), lr=0.1),
            configure={"weight_decay": 0.05, "clip_norm": 1.0},
            clip_norm=1.0,
        ),
    )


def training_cases(rng):
    """Yield a network of many kinds of layers, trained by both on the same batches."""
    model = nn.Model(
        [
            nn.Conv2D(8, 3, stride=2),
            nn.GroupNorm(4),
            nn.SiLU(),
            nn.DepthwiseConv2D(3, depth_multiplier=2),
            nn.UpSample2D(2, "bilinear"),
            nn.ZeroPad2D(((0, 1), (1, 0))),
            nn.Conv2DTranspose(4, 3, padding=1, activation="softplus"),
            nn.LayerNorm(),
            nn.Flatten(),
            nn.WeightNorm(nn.Dense(5)),
        ],
        seed=0,
    )
    model.build((None, 3, 10, 8))
    model.compile("cce", "sgd", lr=0.05)
    tensors = {name: leaf(array) for name, array in model.get_arrays().items()}
    optimizer = torch.optim.SGD(tensors.values(), lr=0.05)

    def params(layer):
        start = f"{layer}_"
        return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}

    def forward(x):
        x = conv_function(stride=2)(x, params("0_Conv2D"), None)
        norm = params("1_GroupNorm")
        x = F.silu(F.group_norm(x, 4, norm["gamma"], norm["beta"]))
        x = conv_function(groups=8)(x, params("3_DepthwiseConv2D"), None)
        x = F.pad(F.interpolate(x, scale_factor=2, mode="bilinear"), (1, 0, 0, 1))
        x = F.softplus(transpose_function(1, 1)(x, params("6_Conv2DTranspose"), None))
        norm = {name: t.reshape(x.shape[1:]) for name, t in params("7_LayerNorm").items()}
        x = F.layer_norm(x, x.shape[1:], norm["gamma"], norm["beta"]).flatten(1)
        dense = params("9_WeightNorm")
        return x @ torch._weight_norm(dense["v"], dense["g"][None], 1) + dense["b"]

    for _ in range(STEPS):
        x, y = draw(rng, (16, 3, 10, 8)), rng.integers(0, 5, 16)
        model.train_step(x, y)
        optimizer.zero_grad()
        F.cross_entropy(forward(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    ours = model.get_arrays()
    yield (
        f"a network of ten layers after {STEPS} steps",
        {name: (ours[name], tensor) for name, tensor in tensors.items()},
    )


CASES = (
    conv_cases,
    more_conv_cases,
    weight_norm_cases,
    pool_cases,
    resize_cases,
    batch_norm_cases,
    sample_norm_cases,
    dense_cases,
    activation_cases,
    loss_cases,
    optimizer_cases,
    training_cases,
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="show the cases whose name contains this")
    args = parser.parse_args()
    print(f"nn against PyTorch {torch.__version__}, float32, tolerance {TOLERANCE:.0e}")
    rows = {}  # case -> (number of comparisons, largest difference, where)
    for cases in CASES:
        for name, pairs in cases(np.random.default_rng(0)):
            if args.only not in name:
                continue
            worst, array = max((difference(*pair), label) for label, pair in pairs.items())
            case, _, detail = name.partition(" | ")
            count, largest, where = rows.get(case, (0, -1.0, ""))
            if worst > largest:
                largest, where = worst, f"{array} {detail}"
            rows[case] = (count + 1, largest, where)
    if not rows:
        sys.exit(f"No case has {args.only!r} in its name.")
    for case, (count, largest, where) in rows.items():
        over = "  OVER" if largest > TOLERANCE else ""
        print(f"{case:<66} {count:4d}  {largest:7.1e}  {where}{over}")
    failed = sum(largest > TOLERANCE for _, largest, _ in rows.values())
    print(
        f"{sum(row[0] for row in rows.values())} comparisons in {len(rows)} cases, {failed} over "
        f"the tolerance, largest difference {max(row[1] for row in rows.values()):.1e}"
    )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
