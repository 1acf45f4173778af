"""The losses of nn against PyTorch's: values and gradients."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from agreement_common import draw
from agreement_torch import compare_loss, leaf

import nn


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

    for name, shape in (("steps", (8, 6, 10)), ("pixels", (8, 10, 5, 6))):
        labels = rng.integers(0, 10, (8, 6) if name == "steps" else (8, 5, 6))
        for smoothing in (0.0, 0.1):

            def function(p, t, s=smoothing):
                p = p.transpose(1, 2) if p.ndim == 3 else p  # PyTorch's classes are along axis 1
                return F.cross_entropy(p, t, label_smoothing=s)

            yield (
                f"CategoricalCrossentropy of {name} label_smoothing={smoothing}",
                compare_loss(
                    nn.losses.CategoricalCrossentropy(label_smoothing=smoothing),
                    function,
                    draw(rng, shape),
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


def loss_option_cases(rng):
    """Yield the losses' arguments, weights of samples and classes, and probabilities."""
    logits, labels = draw(rng, (32, 6)), rng.integers(0, 6, 32)
    numbers, target = draw(rng, (32, 6)), draw(rng, (32, 6))
    weights = rng.uniform(0.1, 2.0, 32).astype(np.float32)
    of_samples = torch.from_numpy(weights)
    yield (
        "Huber delta=0.3",
        compare_loss(
            nn.losses.Huber(delta=0.3), lambda p, t: F.huber_loss(p, t, delta=0.3), numbers, target
        ),
    )
    yield (
        "Hinge margin=0.5",
        compare_loss(
            nn.losses.Hinge(margin=0.5),
            lambda p, t: F.multi_margin_loss(p, t, margin=0.5) * p.shape[1],
            logits,
            labels,
        ),
    )
    yield (
        "BinaryCrossentropy label_smoothing=0.2",
        compare_loss(
            nn.losses.BinaryCrossentropy(label_smoothing=0.2),
            lambda p, t: F.binary_cross_entropy_with_logits(p, 0.8 * t + 0.1),
            logits,
            (target > 0).astype(np.float32),
        ),
    )
    soft = np.exp(target)
    soft /= soft.sum(axis=1, keepdims=True)
    yield (
        "CategoricalCrossentropy of distributions",
        compare_loss(
            nn.losses.CategoricalCrossentropy(label_smoothing=0.1),
            lambda p, t: F.cross_entropy(p, t, label_smoothing=0.1),
            logits,
            soft,
        ),
    )
    class_weight = np.array([0.5, 2.0, 1.0, 0.1, 3.0, 1.0], dtype=np.float32)
    of_classes = torch.from_numpy(class_weight)
    yield (
        "CategoricalCrossentropy with class weights",
        compare_loss(
            nn.losses.CategoricalCrossentropy(),
            # PyTorch divides by the sum of the weights, nn (as Keras) by the number of samples
            lambda p, t: F.cross_entropy(p, t, weight=of_classes) * of_classes[t].mean(),
            logits,
            labels,
            class_weight[labels],
        ),
    )
    for name, function, prediction, truth in (
        ("CategoricalCrossentropy", F.cross_entropy, logits, labels),
        ("MeanSquaredError", F.mse_loss, numbers, target),
        ("MeanAbsoluteError", F.l1_loss, numbers, target),
        ("Huber", F.huber_loss, numbers, target),
        ("BinaryCrossentropy", F.binary_cross_entropy_with_logits, logits, (target > 0) * 1.0),
    ):
        yield (
            f"{name} with sample weights",
            compare_loss(
                getattr(nn.losses, name)(),
                lambda p, t, f=function: (
                    f(p, t, reduction="none").reshape(32, -1).mean(1) * of_samples
                ).mean(),
                prediction,
                truth if name.startswith("Cat") else truth.astype(np.float32),
                weights,
            ),
        )
    for name, layer, function, truth in (
        ("CategoricalCrossentropy after Softmax", nn.Softmax(), F.cross_entropy, labels),
        (
            "BinaryCrossentropy after Sigmoid",
            nn.Sigmoid(),
            F.binary_cross_entropy_with_logits,
            (target > 0).astype(np.float32),
        ),
    ):
        yield name, compare_paired(layer, function, 20 * logits, truth)


def compare_paired(layer, function, logits, target):
    """Compare a model that ends in probabilities with a loss of PyTorch's on the logits."""
    model = nn.Model([layer], seed=0)
    model.compile("cce" if isinstance(layer, nn.Softmax) else "bce", "sgd")
    z = leaf(logits)
    value_torch = function(z, torch.from_numpy(target))
    value_torch.backward()
    value = model.loss.forward(model.forward(logits, training=True), target)
    gradient = model.backward(model.loss.backward())
    return {
        "value": (np.float32(value), value_torch),
        "gradient": (gradient * len(logits), z.grad * len(logits)),
    }


CASES = (loss_cases, loss_option_cases)
