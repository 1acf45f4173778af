"""The fast recipes of nn's examples in PyTorch: networks, and training on nn's own batches.

Not run by itself: `torch_accuracy.py` measures them, `agreement_recipes.py` compares them with nn
step by step. Initial weights are copied from nn's model of the same seed, and order and
augmentation of the images come from nn's `Dataset.batches` with its generator, so that both train
on the same batches from the same start. Network, gradients and optimizer are PyTorch's.
"""

import copy
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))

import airbench
import airbench_muon
import mnist_train

from nn.data.batching import of_epoch
from nn.optim import schedules

CONVOLUTIONS_OF_MNIST = ((32, False), (32, True), (64, False), (64, True), (128, False))


class Standardize(nn.Module):
    """(x - mean) / std for each channel."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("std", torch.ones(channels, 1, 1))

    def forward(self, x):
        return (x - self.mean) / self.std


class Scale(nn.Module):
    """x times a number."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


def airbench_network(widths=(64, 256, 256), channels=3, classes=10):
    """Return the counterpart of `nn.zoo.airbench94`; batch norms have a fixed scale of 1."""
    inputs = 2 * channels * 4
    layers = [Standardize(channels), nn.Conv2d(channels, inputs, 2), nn.GELU()]
    for width in widths:
        layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.MaxPool2d(2)]
        layers += [shift_norm(width), nn.GELU()]
        layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), shift_norm(width), nn.GELU()]
        inputs = width
    layers += [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(inputs, classes, bias=False)]
    return nn.Sequential(*layers, Scale(1 / 9))


def shift_norm(width):
    norm = nn.BatchNorm2d(width, eps=1e-12, momentum=0.4)
    norm.weight.requires_grad = False
    return norm


def mnist_network():
    """Return the counterpart of the network of `mnist_train.py --fast`."""
    layers, inputs = [], 1
    for filters, is_last in CONVOLUTIONS_OF_MNIST:
        layers += [nn.Conv2d(inputs, filters, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(filters), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if is_last else []
        inputs = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


# ------------------------------------------------------------------------------ nn's weights


def pairs_of(model, network):
    """Yield (layer of nn, its name, array, tensor) for all parameters and buffers of both."""
    modules = [m for m in network.modules() if next(m.parameters(recurse=False), None) is not None]
    modules = [m for m in network.modules() if isinstance(m, Standardize)] + modules
    layers = [k for k, layer in enumerate(model.layers) if layer.params or layer.buffers]
    names = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias"}
    for k, module in zip(layers, modules, strict=True):
        layer = model.layers[k]
        for name, array in (layer.params | layer.buffers).items():
            yield layer, f"{k}_{name}", array, getattr(module, names.get(name, name))


def as_torch(array, tensor):
    """Return an array of nn in the shape of a tensor of PyTorch, which may be its transpose."""
    array = array.T if array.ndim == 2 else array  # (in, out) -> (out, in)
    return torch.tensor(np.ascontiguousarray(array)).reshape(tensor.shape)


@torch.no_grad()
def copy_weights(model, network):
    """Copy all parameters and buffers of a model of nn into a network."""
    for _, _, array, tensor in pairs_of(model, network):
        tensor.copy_(as_torch(array, tensor))


# --------------------------------------------------------------------------------- the recipes


class Lookahead:
    """Slow copies of tensors, to which they go back after every k steps.

    Parameters
    ----------
    tensors
        Parameters and running statistics.
    alpha
        The share of the fast tensors as a function of the steps before.
    """

    def __init__(self, tensors, k, alpha):
        self.fast, self.k, self.alpha = list(tensors), k, alpha
        self.slow = [tensor.detach().clone() for tensor in self.fast]

    @torch.no_grad()
    def step(self, step):
        if (step + 1) % self.k == 0:
            for slow, fast in zip(self.slow, self.fast, strict=True):
                if isinstance(fast, nn.Parameter) and not fast.requires_grad:
                    continue  # a frozen parameter stays as it is
                slow.lerp_(fast, self.alpha(step))
                fast.copy_(slow)


class Averages:
    """Exponential averages of parameters, corrected for their start as nn's `ema_decay`."""

    def __init__(self, network, decay):
        self.parameters, self.decay, self.steps = list(network.parameters()), decay, 0
        self.averages = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def step(self, step):
        share = (1 - self.decay) / (1 - self.decay ** (step + 1))
        for average, parameter in zip(self.averages, self.parameters, strict=True):
            average.lerp_(parameter, share)

    @torch.no_grad()
    def use(self):
        for average, parameter in zip(self.averages, self.parameters, strict=True):
            parameter.copy_(average)


def set_rates(optimizer, rate, is_inside):
    """Set the rate of each group, which is a factor times `rate`.

    With `is_inside` the velocity is as if the learning rates were inside it, as nn has them: its
    terms keep the rates of their own steps.
    """
    for group in optimizer.param_groups:
        new = rate * group["factor"]
        for parameter in group["params"] if is_inside else ():
            buffer = optimizer.state[parameter].get("momentum_buffer")
            if buffer is not None:
                buffer.mul_(group["lr"] / new)
        group["lr"] = new


class Recipe:
    """What recipes share: an optimizer with a `rate`, and what comes `after` each step."""

    is_inside = False

    def step(self, step):
        """Change the weights by their gradients."""
        set_rates(self.optimizer, self.rate(step), self.is_inside)
        self.optimizer.step()
        self.after.step(step)

    def begin_epoch(self, epoch):
        """Do what comes before an epoch: nothing."""

    def finish(self):
        """Leave the weights to be tested in the network: they are there."""


class Airbench(Recipe):
    """The recipe of `airbench.py` for a number of steps.

    Parameters
    ----------
    network
        The network.
    steps, batch_size
        As in `airbench.py`.
    is_inside
        Whether learning rates are inside the velocity, as nn has them; see `set_rates`.
    """

    smoothing, augmentation = airbench.LABEL_SMOOTHING, airbench.make_augmentation()

    def __init__(self, network, steps, batch_size, is_inside=False):
        self.network, self.is_inside = network, is_inside
        self.first = network[1]
        self.first.weight.requires_grad = False
        momentum, decay = airbench.MOMENTUM, airbench.WEIGHT_DECAY
        peak = airbench.LR * batch_size / 1024 / (1 + 1 / (1 - momentum))
        self.rate = schedules.triangular(peak, steps)
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        shifts, factor = [norm.bias for norm in norms], airbench.BIAS_FACTOR
        others = [p for p in network.parameters() if p.requires_grad]
        others = [p for p in others if not any(p is shift for shift in shifts)]
        groups = [
            {"params": shifts, "factor": factor, "weight_decay": decay / factor},
            {"params": others, "factor": 1.0, "weight_decay": decay},
        ]
        self.optimizer = torch.optim.SGD(groups, lr=peak, momentum=momentum, nesterov=True)
        statistics = [t for norm in norms for t in (norm.running_mean, norm.running_var)]
        tensors = [*shifts, *others, *statistics]
        self.after = Lookahead(tensors, airbench.SLOW_EVERY, airbench.slow_alpha(steps))

    def begin_epoch(self, epoch):
        self.first.bias.requires_grad = epoch < airbench.BIAS_EPOCHS


class MuonAirbench(Recipe):
    """The recipe of `airbench_muon.py`, with the same arguments as `Airbench`."""

    smoothing = airbench.LABEL_SMOOTHING

    def __init__(self, network, steps, batch_size, images):
        self.augmentation = airbench_muon.make_augmentation(steps * batch_size / images)
        self.network, self.first, self.steps = network, network[1], steps
        self.first.weight.requires_grad = False
        head, scale = network[-2:]
        with torch.no_grad():
            head.weight /= head.weight.std(correction=0)
        scale.factor = 1 / head.in_features
        self.bias_steps = airbench.BIAS_EPOCHS * math.ceil(images / batch_size)
        self.rate = schedules.trapezoidal(airbench_muon.LR, steps, 0, steps)
        convs = [m for m in network if isinstance(m, nn.Conv2d) and m is not self.first]
        self.kernels = {conv.weight: torch.zeros_like(conv.weight) for conv in convs}
        shifts = [m.bias for m in network if isinstance(m, nn.BatchNorm2d)]
        bias_lr, head_lr = airbench_muon.BIAS_LR, airbench_muon.HEAD_LR
        parts = ([self.first.bias], bias_lr), (shifts, bias_lr), ([head.weight], head_lr)
        groups = [
            {
                "params": tensors,
                "factor": lr * batch_size / airbench_muon.LR,
                "weight_decay": airbench_muon.DECAY / lr,
            }
            for tensors, lr in parts
        ]
        momentum = airbench_muon.OTHER_MOMENTUM
        self.optimizer = torch.optim.SGD(groups, lr=1.0, momentum=momentum, nesterov=True)
        self.factor = groups[0]["factor"]

    def begin_epoch(self, epoch):
        self.first.bias.requires_grad = epoch < airbench.BIAS_EPOCHS

    @torch.no_grad()
    def step(self, step):
        ratio = max(0.0, 1 - step / self.bias_steps) / (1 - step / self.steps)
        self.optimizer.param_groups[0]["factor"] = self.factor * ratio
        set_rates(self.optimizer, self.rate(step), False)
        self.optimizer.step()
        momentum = airbench_muon.MOMENTUM
        for kernel, buffer in self.kernels.items():
            buffer.mul_(momentum).add_(kernel.grad)
            direction = kernel.grad + momentum * buffer
            kernel.mul_(len(kernel) ** 0.5 / kernel.norm())
            change = orthogonalized(direction.flatten(1), airbench_muon.ITERATIONS)
            kernel.add_(change.view_as(kernel), alpha=-self.rate(step))


def orthogonalized(matrix, steps):
    """Return a matrix whose singular values Newton-Schulz iterations have brought near 1."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm() + 1e-7)
    x = x.T if len(matrix) > matrix.shape[1] else x
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if len(matrix) > matrix.shape[1] else x


class FastMnist(Recipe):
    """The recipe of `mnist_train.py --fast`."""

    smoothing = 0.1

    def __init__(self, network, steps, epochs, is_inside=False, lr=mnist_train.FAST["lr"]):
        self.network, self.is_inside = network, is_inside
        self.augmentation = mnist_train.fast_augmentation(epochs)
        self.rate = schedules.one_cycle(lr, steps)
        groups = [
            {"params": [p for p in network.parameters() if p.ndim >= 2], "factor": 1.0},
            {"params": [p for p in network.parameters() if p.ndim < 2], "factor": 1.0},
        ]
        groups[0]["weight_decay"] = mnist_train.FAST["weight_decay"]
        self.optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)
        self.after = Averages(network, mnist_train.FAST["ema_decay"])

    def finish(self):
        self.after.use()


def train(
    recipe, data, batch_size, steps, rng, memory=torch.contiguous_format, stop=None, verbose=True
):
    """Train for a number of steps; return the curve of each epoch and the time of each part.

    Parameters
    ----------
    recipe
        A `Recipe` whose schedule is for `steps`.
    data
        A `Dataset` of nn.
    rng
        The generator of order and augmentation: that of nn's model for its data.
    memory
        The memory format of the batches.
    stop
        Steps after which to stop before the end, to measure the speed; None for none.
    """
    network = recipe.network
    loss_function = nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)
    dtype = next(network.parameters()).dtype
    curve = {"loss": [], "acc": [], "lr": [], "seconds": []}
    parts = dict.fromkeys(("data", "forward", "backward", "optimizer"), 0.0)
    started = last = time.perf_counter()
    step, images = 0, 0

    def spend(part):
        nonlocal last
        now = time.perf_counter()
        parts[part], last = parts[part] + now - last, now

    for epoch in range(math.ceil(steps / math.ceil(len(data) / batch_size))):
        network.train()
        recipe.begin_epoch(epoch)
        total, right, seen = 0.0, 0, 0
        augment = of_epoch(recipe.augmentation, epoch)
        batches = data.batches(
            batch_size, rng=rng, augment=augment, dtype=str(dtype).rpartition(".")[2]
        )
        for x, y in batches:
            x, y = torch.from_numpy(x).to(memory_format=memory), torch.from_numpy(y)
            spend("data")
            output = network(x)
            loss = loss_function(output, y)
            total, right = total + loss.item() * len(x), right + int((output.argmax(1) == y).sum())
            seen += len(x)
            spend("forward")
            network.zero_grad()
            loss.backward()
            spend("backward")
            recipe.step(step)
            spend("optimizer")
            step += 1
            if step >= (stop or steps):
                break
        batches.close()
        images += seen
        curve["loss"].append(float(f"{total / seen:.5g}"))
        curve["acc"].append(float(f"{right / seen:.5g}"))
        curve["lr"].append(float(f"{recipe.rate(step - 1):.5g}"))
        curve["seconds"].append(round(time.perf_counter() - started, 1))
        if verbose:
            print(
                f"  epoch {epoch + 1:2d}  loss {total / seen:.4f}  acc {right / seen:.4f}  "
                f"{images / (time.perf_counter() - started):,.0f} images/s",
                flush=True,
            )
        if step >= (stop or steps):
            break
    recipe.finish()
    return curve, parts, images


@torch.inference_mode()
def outputs(network, x, memory, is_flipped, shifts, batch_size=500):
    """Return the outputs for images, averaged over copies as nn's `predict` does."""
    network.eval()
    found = []
    for start in range(0, len(x), batch_size):
        part = x[start : start + batch_size].to(memory_format=memory)
        y = of_both(network, part, is_flipped)
        if shifts:
            edge = nn.functional.pad(part, (shifts,) * 4, "reflect")
            height, width = part.shape[2:]
            for at in (0, 2 * shifts):
                moved = edge[:, :, at : at + height, at : at + width]
                y = y + of_both(network, moved.contiguous(memory_format=memory), is_flipped) / 2
            y = y / 2
        found.append(y)
    return torch.cat(found)


def of_both(network, x, is_flipped):
    """Return the outputs for images, averaged over them and their mirror images if wanted."""
    y = network(x)
    return (y + network(x.flip(3))) / 2 if is_flipped else y


def clone(network):
    """Return a copy of a network."""
    return copy.deepcopy(network)
