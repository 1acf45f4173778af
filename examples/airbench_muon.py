"""The recipe of `cifar10_train.py --model airbench`: Muon, and small images first.

Jordan 2024, https://github.com/KellerJordan/cifar10-airbench, airbench94_muon: the network,
augmentation and test of `airbench.py`. Muon trains the kernels and keeps their length; Nesterov's
momentum trains all else. There is no Lookahead. This recipe differs from that program in that

- the images are smaller in the first epochs, `SIZES`, so that more epochs take less time;
- it has twelve epochs instead of eight;
- it computes in float32, not in half precision.
"""

import math

import airbench
import fast_training
import numpy as np

import nn
from nn.callbacks import Callback
from nn.data.augment import Compose, ProgressiveResize
from nn.regularizers import L2

#: Epochs for a test accuracy in percent.
EPOCHS = {94: 12.0, 90: 9.0}
SIZES = ((18, 0.4), (26, 0.65), (32, 1.0))  # of the images, until a share of the epochs
BATCH_SIZE = 2000
LR, MOMENTUM, ITERATIONS = 0.24, 0.6, 3  # of the kernels
BIAS_LR, HEAD_LR, OTHER_MOMENTUM = 0.053, 0.67, 0.85  # of sums over a batch, not means
DECAY = 2e-6  # of all but the kernels, for an image, whatever the rate


class KernelMuon(nn.optim.Muon):
    """Muon for kernels (F, C, KH, KW), of length sqrt(F); Nesterov's momentum for all else."""

    def __init__(self, lr=LR, momentum=MOMENTUM, steps=ITERATIONS):
        super().__init__(lr, momentum, nesterov=True, steps=steps)

    def slots_for(self, param):
        return ("m",)

    def update(self, param, grad, slots):
        if param.ndim == 4:
            param *= math.sqrt(len(param)) / np.sqrt((param * param).sum())
            super().update(param, grad, slots)
            return
        m = slots["m"]
        m *= OTHER_MOMENTUM
        m += grad
        param -= self.lr * (grad + OTHER_MOMENTUM * m)


class FirstBias(Callback):
    """Lets the rate of the first layer's bias fall to 0 in its epochs, earlier than the others'."""

    def __init__(self, factor, steps, bias_steps):
        self.factor, self.steps, self.bias_steps = factor, steps, bias_steps

    def on_train_batch_begin(self, batch, logs):
        step, first = self.model.optimizer.iterations, self.model.layers[1]
        if step < self.bias_steps:
            ratio = (1 - step / self.bias_steps) / (1 - step / self.steps)
            first.lr_factor = {"b": self.factor * ratio}


def compile_model(model, batch_size, lr=LR):
    """Compile the network, and return it."""
    head, scale = model.layers[-2:]
    head.params["W"] /= head.params["W"].std()
    scale.scale = 1 / len(head.params["W"])
    optimizer = KernelMuon(lr)
    rates = {"beta": BIAS_LR * batch_size, "b": BIAS_LR * batch_size, "W": HEAD_LR * batch_size}
    for layer in (*model.layers[1:-2], head):
        for name in {*rates} & {*layer.params}:
            if name == "W" and layer is not head:
                continue  # a kernel
            layer.lr_factor = {name: rates[name] / lr}
            layer.regularizers[name] = L2(DECAY * batch_size / rates[name] / 2)
    loss = nn.losses.CategoricalCrossentropy(label_smoothing=airbench.LABEL_SMOOTHING)
    model.compile(loss, optimizer)
    return model


def make_callbacks(steps, batch_size, images, lr=LR):
    """Return the callbacks that are part of the recipe."""
    bias_steps = airbench.BIAS_EPOCHS * math.ceil(images / batch_size)
    first = FirstBias(BIAS_LR * batch_size / lr, steps, bias_steps)
    return [fast_training.LastStep(steps), airbench.FreezeFirst(), first]


def total_steps(epochs, batch_size, images):
    """Return the number of steps."""
    return math.ceil(epochs * images / batch_size)


def make_augmentation(epochs):
    """Return the augmentation of `airbench.py`, followed by the sizes of the epochs."""
    sizes = [
        next(size for size, share in SIZES if epoch < share * epochs)
        for epoch in range(math.ceil(epochs))
    ]
    return Compose([airbench.make_augmentation(), ProgressiveResize(sizes)])


def prepare(options, seed, train):
    """Return the compiled network of a seed, and what `fit` gets of the recipe."""
    batch_size = options.batch_size or BATCH_SIZE
    epochs = options.epochs or EPOCHS[options.target]
    steps = total_steps(epochs, batch_size, len(train))
    lr = options.lr or LR
    model = airbench.make_network(train, seed, input_shape=(3, None, None))
    compile_model(model, batch_size, lr)
    schedule = nn.schedules.trapezoidal(lr, steps, 0, steps)  # one line, to 0
    callbacks = make_callbacks(steps, batch_size, len(train), lr)
    augment = make_augmentation(epochs)
    return model, airbench.Plan(epochs, batch_size, steps, schedule, augment, callbacks)
