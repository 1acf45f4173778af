"""Normalisation, dense layers, activations, containers of nn against PyTorch's."""

import itertools

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from agreement_common import draw
from agreement_layers import conv_function
from agreement_torch import compare_layer
from torch.utils.checkpoint import checkpoint

import nn


def channels_of_sequences_last(function, x, *arguments):
    """Call a function of PyTorch, for which the channels of sequences are axis 1."""
    if x.ndim != 3:
        return function(x, *arguments)
    return function(x.transpose(1, 2), *arguments).transpose(1, 2)


def batch_norm_cases(rng):
    """Yield batch normalisation of images, vectors and sequences, in training and inference."""

    def function(training, momentum, eps):
        return lambda x, params, buffers: channels_of_sequences_last(
            F.batch_norm,
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
    """Yield layer and group normalisation of vectors, sequences and images."""

    def layer_norm(axes, eps):
        def function(x, params, buffers):
            order = [k for k in range(x.ndim) if k not in axes] + list(axes)
            x = x.permute(order)  # PyTorch normalizes the last axes
            sizes = x.shape[-len(axes) :]
            gamma, beta = (params[name].reshape(sizes) for name in ("gamma", "beta"))
            y = F.layer_norm(x, sizes, gamma, beta, eps)
            return y.permute([order.index(k) for k in range(x.ndim)])

        return function

    for (shape, axis, axes), memory, eps in itertools.product(
        (
            ((1, 3), None, (1,)),
            ((16, 50), None, (1,)),
            ((6, 5, 8), None, (2,)),
            ((6, 5, 8), (1, 2), (1, 2)),
            ((6, 5, 7, 9), None, (1, 2, 3)),
            ((6, 5, 7, 9), 1, (1,)),
            ((6, 5, 7, 9), (-2, -1), (2, 3)),
            ((6, 5, 7, 9), (1, 3), (1, 3)),
            ((8, 32, 16, 16), None, (1, 2, 3)),
        ),
        ("contiguous", "channels-last"),
        (1e-5, 1e-3),
    ):
        if memory == "channels-last" and len(shape) != 4:
            continue
        x = 3 * draw(rng, shape, memory) + 2
        yield (
            f"LayerNorm {shape} axis={axis} | eps={eps} {memory}",
            compare_layer(nn.layers.LayerNorm(axis=axis, eps=eps), layer_norm(axes, eps), x),
        )
    for shape, groups, memory in itertools.product(
        ((16, 12), (6, 12, 8), (6, 12, 7, 9), (8, 24, 16, 16)),
        (1, 3, 12),
        ("contiguous", "channels-last"),
    ):
        if memory == "channels-last" and len(shape) != 4:
            continue
        if len(shape) == 2 and groups == shape[1]:
            continue  # groups of one number are an error in training
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
        ((5, 9, 7), 3, {"activation": "tanh"}),
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
        ("Softmax", nn.layers.Softmax(), lambda x: F.softmax(x, dim=1)),
        ("LogSoftmax", nn.layers.LogSoftmax(), lambda x: F.log_softmax(x, dim=1)),
        ("ReLU6", nn.layers.ReLU6(), F.relu6),
        ("SELU", nn.layers.SELU(), F.selu),
        ("SiLU", nn.layers.SiLU(), F.silu),
        ("Mish", nn.layers.Mish(), F.mish),
        ("Softplus", nn.layers.Softplus(), F.softplus),
        ("Softsign", nn.layers.Softsign(), F.softsign),
        ("HardSigmoid", nn.layers.HardSigmoid(), F.hardsigmoid),
        ("Exponential", nn.layers.Exponential(), torch.exp),
    ):
        shape = (4, 3, 5, 6)
        yield (
            f"Activation {name}",
            compare_layer(
                nn.layers.Activation(layer.__class__()),
                lambda x, p, b, f=function: f(x),
                draw(rng, shape, "channels-last"),
            ),
        )
        for scale in (1, 30):
            if (name, scale) == ("Exponential", 30):
                continue  # exp(90) is infinite in float32
            yield (
                f"{name} x{scale}",
                compare_layer(layer, lambda x, p, b, f=function: f(x), scale * draw(rng, (32, 10))),
            )


def prelu_cases(rng):
    """Yield PReLU of vectors, sequences and images."""
    for shape, memory in (
        ((1, 1), "contiguous"),
        ((32, 10), "contiguous"),
        ((6, 5, 8), "contiguous"),
        ((6, 5, 7, 9), "contiguous"),
        ((6, 5, 7, 9), "channels-last"),
    ):
        for scale in (1, 30):
            yield (
                f"PReLU {shape} | {memory} x{scale}",
                compare_layer(
                    nn.layers.PReLU(),
                    lambda x, p, b: channels_of_sequences_last(F.prelu, x, p["slope"]),
                    scale * draw(rng, shape, memory),
                ),
            )


def reshaping_cases(rng):
    """Yield layers that only move numbers, or scale them."""
    for memory in ("contiguous", "channels-last"):
        x = draw(rng, (3, 4, 5, 6), memory)
        yield (
            f"Reshape | {memory}",
            compare_layer(nn.layers.Reshape((6, -1)), lambda x, p, b: x.reshape(len(x), 6, -1), x),
        )
        yield (
            f"Rescale | {memory}",
            compare_layer(
                nn.layers.Rescale(1 / 127.5, offset=-1.0), lambda x, p, b: x / 127.5 - 1, 50 * x
            ),
        )
        yield (
            f"Standardize | {memory}",
            compare_layer(
                nn.layers.Standardize(),
                # what is left of an inference's batch normalisation without its parameters
                lambda x, p, b: F.batch_norm(x, b["mean"], b["std"] ** 2, eps=0.0),
                x,
            ),
        )
    for shape in ((20, 5), (6, 5, 8)):
        yield (
            f"Standardize {shape}",
            compare_layer(
                nn.layers.Standardize(),
                lambda x, p, b: channels_of_sequences_last(
                    F.batch_norm, x, b["mean"], b["std"] ** 2, None, None, False, 0.1, 0.0
                ),
                draw(rng, shape),
            ),
        )


def container_cases(rng):
    """Yield a stack within a stack, and the residual block with both kinds of shortcut."""

    def dense(x, params, index):
        return x @ params[f"{index}_Dense_W"] + params[f"{index}_Dense_b"]

    yield (
        "Sequential",
        compare_layer(
            nn.layers.Sequential([nn.Dense(7), nn.Tanh(), nn.Dense(4)]),
            lambda x, p, b: dense(torch.tanh(dense(x, p, 0)), p, 2),
            draw(rng, (6, 5)),
        ),
    )
    yield (
        "Recompute",
        compare_layer(
            nn.layers.Recompute([nn.Dense(7), nn.Tanh(), nn.Dense(4)]),
            lambda x, p, b: checkpoint(
                lambda x: dense(torch.tanh(dense(x, p, 0)), p, 2), x, use_reentrant=False
            ),
            draw(rng, (6, 5)),
        ),
    )
    yield (
        "Residual with the identity",
        compare_layer(
            nn.layers.Residual([nn.Dense(5), nn.Tanh()]),
            lambda x, p, b: x + torch.tanh(dense(x, p, 0)),
            draw(rng, (6, 5)),
        ),
    )
    yield (
        "SkipConcat of images",
        compare_layer(
            nn.layers.SkipConcat([nn.Conv2D(6, 3, activation="tanh")]),
            lambda x, p, b: torch.cat(
                (
                    x,
                    torch.tanh(
                        conv_function()(
                            x, {k[-1]: p[k] for k in ("0_Conv2D_W", "0_Conv2D_b")}, None
                        )
                    ),
                ),
                dim=1,
            ),
            draw(rng, (3, 4, 8, 8)),
        ),
    )
    main, shortcut = conv_function(stride=2, padding=1), conv_function(stride=2)

    def block(x, params, buffers):
        norm = [buffers["1_BatchNorm2D_running_mean"], buffers["1_BatchNorm2D_running_var"]]
        norm += [params["1_BatchNorm2D_gamma"], params["1_BatchNorm2D_beta"]]
        y = main(x, {"W": params["0_Conv2D_W"]}, None)
        y = F.relu(F.batch_norm(y, *norm, training=True, momentum=0.1))
        return y + shortcut(x, {"W": params["3_Conv2D_W"]}, None)

    yield (
        "Residual with a convolution",
        compare_layer(
            nn.layers.Residual(
                [nn.Conv2D(6, 3, 2, padding=1, use_bias=False), nn.BatchNorm2D(), nn.ReLU()],
                [nn.Conv2D(6, 1, 2, use_bias=False)],
            ),
            block,
            draw(rng, (3, 4, 8, 8)),
        ),
    )


CASES = (
    batch_norm_cases,
    sample_norm_cases,
    dense_cases,
    activation_cases,
    prelu_cases,
    reshaping_cases,
    container_cases,
)
