"""The optimizers of nn against PyTorch's: the parameters after each of ten steps."""

import numpy as np
import torch
from agreement_common import draw
from agreement_torch import leaf
from torch import optim
from torch.optim.swa_utils import AveragedModel

import nn

STEPS = 10
SHAPES = ((7, 5), (5,), (4, 3, 3, 3), (4,))
DECAY = 0.05  # of weights, not of biases

# (name, nn's, PyTorch's for a list of groups of parameters)
RULES = (
    ("SGD", lambda lr: nn.optim.SGD(lr), lambda g: optim.SGD(g, 0.1)),
    (
        "SGD momentum=0.9",
        lambda lr: nn.optim.SGD(lr, momentum=0.9),
        lambda g: optim.SGD(g, 0.1, momentum=0.9),
    ),
    (
        "SGD momentum=0.9 nesterov",
        lambda lr: nn.optim.SGD(lr, momentum=0.9, nesterov=True),
        lambda g: optim.SGD(g, 0.1, momentum=0.9, nesterov=True),
    ),
    ("SGDMomentum", nn.optim.SGDMomentum, lambda g: optim.SGD(g, 0.1, momentum=0.9)),
    ("Nesterov", nn.optim.Nesterov, lambda g: optim.SGD(g, 0.1, momentum=0.9, nesterov=True)),
    ("Adagrad", nn.optim.Adagrad, lambda g: optim.Adagrad(g, 0.1, eps=1e-8)),
    ("RMSprop", nn.optim.RMSprop, lambda g: optim.RMSprop(g, 0.1, alpha=0.9, eps=1e-8)),
    ("Adam", nn.optim.Adam, lambda g: optim.Adam(g, 0.1)),
    (
        "Adam beta1=0.8 beta2=0.9 eps=1e-3",
        lambda lr: nn.optim.Adam(lr, beta1=0.8, beta2=0.9, eps=1e-3),
        lambda g: optim.Adam(g, 0.1, betas=(0.8, 0.9), eps=1e-3),
    ),
    (
        "AdamW",
        lambda lr: nn.optim.AdamW(lr, weight_decay=DECAY),
        lambda g: optim.AdamW(g, 0.1, weight_decay=DECAY),
    ),
    ("Nadam", nn.optim.Nadam, lambda g: optim.NAdam(g, 0.1)),
)

# nn multiplies each gradient by the rate of its own step, as Keras does, PyTorch the velocity by
# the last step's. While the rate stays the same that is the same.
RATE_IN_VELOCITY = {"SGD momentum=0.9", "SGD momentum=0.9 nesterov", "SGDMomentum", "Nesterov"}


class Both:
    """The same parameters in nn and in PyTorch, and an optimizer of each."""

    def __init__(self, ours, make_torch, decay=0.0):
        self.rng = np.random.default_rng(2)
        self.params = [draw(self.rng, shape) for shape in SHAPES]
        tensors = [torch.nn.Parameter(leaf(param).detach()) for param in self.params]
        self.tensors = torch.nn.ParameterList(tensors)
        self.ours = ours
        weights = {"params": [t for t in tensors if t.ndim > 1]}
        biases = {"params": [t for t in tensors if t.ndim == 1], "weight_decay": 0.0}
        self.theirs = make_torch([weights | ({"weight_decay": decay} if decay else {}), biases])
        self.pairs = {}

    def grads(self):
        return [3 * draw(self.rng, shape) for shape in SHAPES]

    def note(self, step):
        """Keep copies of the parameters as they are after a step."""
        for i, (param, tensor) in enumerate(zip(self.params, self.tensors, strict=True)):
            pair = (param.copy(), tensor.detach().clone())
            self.pairs[f"param {i} after step {step + 1}"] = pair

    def step(self, step, clip=None):
        grads = self.grads()
        for tensor, grad in zip(self.tensors, grads, strict=True):
            tensor.grad = torch.from_numpy(grad.copy())
        if clip is not None:
            clip(self.tensors)
        self.ours.step(list(zip(self.params, grads, strict=True)))
        self.theirs.step()
        self.note(step)


def compare_steps(ours, make_torch, settings=None, clip=None):
    """Take ten steps with both; `settings` go to `configure`, `clip` works on the tensors."""
    settings = settings or {}
    both = Both(ours.configure(**settings), make_torch, settings.get("weight_decay", 0.0))
    for step in range(STEPS):
        both.step(step, clip)
    return both.pairs


def compare_averages(ours, make_torch, decay):
    """Compare the running averages of the parameters with those of an AveragedModel."""
    both = Both(ours.configure(ema_decay=decay), make_torch)

    def corrected(average, param, n):  # n averages were made before: nn's divisor, as Adam's
        return average + (1 - decay) / (1 - decay ** (n + 1)) * (param - average)

    model = AveragedModel(both.tensors, avg_fn=corrected)
    pairs = {}
    for step in range(STEPS):
        both.step(step)
        model.update_parameters(both.tensors)
        for i, tensor in enumerate(model.module):
            average = both.ours.averages[str(i)]
            pairs[f"average {i} after step {step + 1}"] = (average.copy(), tensor.detach().clone())
    return pairs


def compare_accumulated(ours, make_torch, samples=(4, 2, 3)):
    """Let batches of several sizes make each step; PyTorch adds up the means by hand."""
    both, accumulator = Both(ours, make_torch), nn.optim.Accumulator(len(samples))
    for step in range(STEPS):
        both.theirs.zero_grad()
        for count in samples:
            grads = both.grads()
            for tensor, grad in zip(both.tensors, grads, strict=True):
                share = torch.from_numpy(grad) * (count / sum(samples))
                tensor.grad = share if tensor.grad is None else tensor.grad + share
            pairs = accumulator.add(list(zip(both.params, grads, strict=True)), count)
        both.ours.step(pairs)
        both.theirs.step()
        both.note(step)
    return both.pairs


def compare_scheduled(ours, make_torch, make_scheduler):
    """Take ten steps at the rates of a schedule and of PyTorch's scheduler."""
    both = Both(ours, make_torch)
    scheduler = make_scheduler(both.theirs)
    for step in range(STEPS):
        both.step(step)
        scheduler.step()
    return both.pairs


def optimizer_cases(rng):
    """Yield each optimizer: alone, with each setting, and with a schedule."""
    clip_norm, clip_value = torch.nn.utils.clip_grad_norm_, torch.nn.utils.clip_grad_value_
    for name, ours, theirs in RULES:
        yield name, compare_steps(ours(0.1), theirs)
        if name != "AdamW":  # whose decay is its own, above
            settings = {"weight_decay": DECAY}
            yield f"{name} | weight_decay", compare_steps(ours(0.1), theirs, settings)
            settings["clip_norm"] = 1.0
            yield (
                f"{name} | weight_decay and clip_norm",
                compare_steps(ours(0.1), theirs, settings, lambda tensors: clip_norm(tensors, 1.0)),
            )
        yield (
            f"{name} | clip_norm",
            compare_steps(
                ours(0.1), theirs, {"clip_norm": 2.0}, lambda tensors: clip_norm(tensors, 2.0)
            ),
        )
        yield (
            f"{name} | clip_value",
            compare_steps(
                ours(0.1), theirs, {"clip_value": 0.5}, lambda tensors: clip_value(tensors, 0.5)
            ),
        )
        yield f"{name} | ema_decay", compare_averages(ours(0.1), theirs, 0.9)
        if name not in RATE_IN_VELOCITY:  # those stand in agreement_keras.py
            yield (
                f"{name} | with a schedule",
                compare_scheduled(
                    ours(nn.schedules.cosine(0.1, STEPS, lr_min=0.01)),
                    theirs,
                    lambda o: optim.lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.01),
                ),
            )
        yield f"Accumulator | {name}", compare_accumulated(ours(0.1), theirs)


CASES = (optimizer_cases,)
