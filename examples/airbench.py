"""The recipe of `cifar10_train.py --model airbench --optimizer sgd`: the paper's.

Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498: its network, its
hyperparameters, and all 50,000 images for training, without validation. `docs/cifar94.md` explains
each part, `--without` leaves one out, and `airbench_muon.py` is a later, faster version. This one
differs from the paper's program in that

- it computes in float32, not in half precision;
- `nn.optim.SGD` has the learning rate inside the velocity, where PyTorch has it outside: the rate
  of a gradient is that of its own step, not those of the steps that it still moves the weights in;
- the last batch of an epoch has the remaining 848 images, which the paper's program drops, and the
  fast weights go on over the end of an epoch, where the paper's program goes back to the slow ones;
- which images are flipped in the first epoch is decided by their pixels, not drawn.
"""

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import fast_training
import numpy as np
from report import check_place, print_class_accuracies, print_confusions, save_curves

import nn
from nn.callbacks import Callback, ModelCheckpoint
from nn.data import load_cifar10
from nn.data.augment import AlternatingFlip, Compose, RandomCrop, RandomFlip
from nn.initializers import pytorch_uniform
from nn.regularizers import L2

#: Epochs for a test accuracy in percent. The 94 are the paper's; those for 90 are a guess.
EPOCHS = {94: 9.9, 90: 4.0}
BATCH_SIZE = 1024
LR = 11.5  # of the sum of 1024 losses, divided by the length of Nesterov's steps below
WEIGHT_DECAY = 0.0153 / LR
MOMENTUM = 0.85
BIAS_FACTOR = 64.0  # of the learning rate of the batch norms, which have biases alone
LABEL_SMOOTHING = 0.2
WHITENED = 5000  # images for the first filters
BIAS_EPOCHS = 3  # in which the first layer's bias is trained
SLOW_EVERY, SLOW_SHARE = 5, 0.95**5  # of Lookahead
SLOW_FROM = 3 / 9.9  # share of the steps before Lookahead: three of the paper's epochs
CROP = RandomCrop(32, padding=2, padding_mode="reflect")
COPIES = {"augment": "flip", "shifts": 1}

#: What `--without` can leave out. Copies of the test images are not part of the training: each run
#: has its accuracy without them too.
INGREDIENTS = (
    *("whitening", "dirac", "bias_lr", "bias_decay", "label_smoothing", "lookahead"),
    *("alternating_flip", "flip", "crop"),
)


class Plan(NamedTuple):
    """What a recipe says of the training, next to the compiled network."""

    epochs: float
    batch_size: int
    steps: int
    schedule: Any  # of the learning rate
    augment: Any
    callbacks: list


class FreezeFirst(Callback):
    """Freezes the first layer after some epochs, whose backward pass then ends at the next."""

    def on_epoch_begin(self, epoch, logs):
        if epoch >= BIAS_EPOCHS:
            self.model.layers[1].trainable = False


class SlowStatistics(Callback):
    """Lookahead for the running statistics of batch norms: slow ones, to which they go back.

    Parameters
    ----------
    alpha
        The function of the step that the optimizer has.
    """

    def __init__(self, alpha):
        self.alpha, self.slow = alpha, {}

    def state_dict(self):
        return {"slow": self.slow}

    def load_state_dict(self, state):
        self.slow = dict(state["slow"])

    def on_train_batch_end(self, batch, logs):
        step = self.model.optimizer.iterations
        if step % SLOW_EVERY:
            return
        for k, layer in enumerate(self.model.layers):
            for name in layer.buffers if isinstance(layer, nn.BatchNorm2D) else ():
                fast = layer.buffers[name]
                slow = self.slow.setdefault(f"{k}_{name}", fast.copy())
                slow += self.alpha(step - 1) * (fast - slow)
                fast[...] = slow


def total_steps(epochs, batch_size, images):
    """Return the number of steps, a multiple of Lookahead's, so that slow weights are the last."""
    steps = epochs * math.ceil(images / batch_size)
    return max(1, round(steps / SLOW_EVERY)) * SLOW_EVERY


def slow_alpha(steps):
    """Return Lookahead's share of the fast weights as a function of the step: 1, then falling."""

    def alpha(step):
        if step + 1 < round(SLOW_FROM * steps) + SLOW_EVERY:
            return 1.0  # the slow weights are the fast ones
        return 1 - SLOW_SHARE * min(1.0, (step + 1) / steps) ** 3

    return alpha


def make_network(train, seed, without=(), input_shape=(3, 32, 32)):
    """Return the network, its first filters from training images."""
    images = None if "whitening" in without else train.x[:WHITENED]
    model = nn.zoo.airbench94(input_shape, seed=seed, images=images)
    rng = np.random.default_rng(seed)
    for layer in model.layers if "dirac" in without else ():
        if isinstance(layer, nn.Conv2D) and not layer.use_bias:
            layer.params["W"][...] = pytorch_uniform(layer.params["W"].shape, rng)
    return model


def compile_model(model, steps, batch_size, without=(), lr=LR, weight_decay=WEIGHT_DECAY):
    """Compile the network for a number of steps, and return it."""
    factor = 1.0 if "bias_lr" in without else BIAS_FACTOR
    for layer in model.layers:
        if isinstance(layer, nn.BatchNorm2D):
            layer.lr_factor = factor
    if "bias_decay" not in without:  # the optimizer's decay is for kernels alone
        for layer in model.layers:
            for name in {"beta", "b"} & {*layer.params}:
                layer.regularizers[name] = L2(weight_decay / layer.lr_factor / 2)
    # Under a constant gradient Nesterov's steps are 1 + 1 / (1 - momentum) times as long.
    peak = lr * batch_size / 1024 / (1 + 1 / (1 - MOMENTUM))
    optimizer = nn.optim.SGD(peak, MOMENTUM, nesterov=True)
    optimizer.configure(weight_decay=weight_decay)
    if "lookahead" not in without:
        optimizer = nn.optim.Lookahead(optimizer, SLOW_EVERY, slow_alpha(steps))
    smoothing = 0.0 if "label_smoothing" in without else LABEL_SMOOTHING
    model.compile(nn.losses.CategoricalCrossentropy(label_smoothing=smoothing), optimizer)
    return model


def make_callbacks(steps, without=()):
    """Return the callbacks that are part of the recipe."""
    callbacks = [fast_training.LastStep(steps)]
    if "whitening" not in without:
        callbacks.append(FreezeFirst())
    if "lookahead" not in without:
        callbacks.append(SlowStatistics(slow_alpha(steps)))
    return callbacks


def make_augmentation(without=()):
    """Return the augmentation of the training images; None for none."""
    kinds = [] if "flip" in without else [AlternatingFlip()]
    if kinds and "alternating_flip" in without:
        kinds = [RandomFlip()]
    if "crop" not in without:
        kinds.append(CROP)
    return Compose(kinds) if kinds else None


def prepare(options, seed, train):
    """Return the compiled network of a seed, and what `fit` gets of the recipe."""
    batch_size = options.batch_size or BATCH_SIZE
    epochs = options.epochs or EPOCHS[options.target]
    steps = total_steps(epochs, batch_size, len(train))
    changes = {"lr": options.lr, "weight_decay": options.weight_decay}
    changes = {name: value for name, value in changes.items() if value is not None}
    model = make_network(train, seed, options.without)
    compile_model(model, steps, batch_size, options.without, **changes)
    schedule = nn.schedules.triangular(model.optimizer.lr, steps)
    callbacks = make_callbacks(steps, options.without)
    augment = make_augmentation(options.without)
    return model, Plan(epochs, batch_size, steps, schedule, augment, callbacks)


def train_one(options, seed, out, data, prepared):
    """Train with a seed; return the classes of the test images, and the facts of the run."""
    (train, test), (model, plan) = data, prepared
    if seed == options.seed:
        print(model.summary())
    print(f"Seed {seed}: {plan.steps} steps of {plan.batch_size} images, {plan.epochs} epochs")
    clock, started = fast_training.Clock(), time.perf_counter()
    last = ModelCheckpoint(out.with_stem(f"{out.stem}_last"), save_best_only=False, save_state=True)
    history = model.fit(
        train,
        epochs=math.ceil(plan.steps / math.ceil(len(train) / plan.batch_size)),
        batch_size=plan.batch_size,
        lr_schedule=plan.schedule,
        augment=plan.augment,
        callbacks=[clock, *plan.callbacks, last],
        resume=options.resume,
    )
    seconds = time.perf_counter() - started
    if model.optimizer.iterations < plan.steps:
        raise SystemExit("Stopped before the last step, without a model to test: use --resume.")
    model.save(out, include_optimizer=False)  # the file with the state is `last`
    classes = fast_training.predicted_classes(model, test, clock, **COPIES)
    plain, averaged = (float(np.mean(found == test.y)) for found in classes)
    print(f"Test accuracy: {plain:.2%}, with mirrored and shifted copies {averaged:.2%}")
    print(f"Training: {seconds:.0f} s, {clock.images / seconds:,.0f} images/s. {clock}")
    save_curves(history, out.with_suffix(".png"))
    facts = {"seed": seed, "steps": plan.steps, "batch_size": plan.batch_size}
    facts |= {"epochs": plan.epochs, "without": [*options.without]}
    facts |= {"accuracy": plain, "accuracy_with_copies": averaged}
    return classes[1], facts | fast_training.facts_of(history, clock, seconds)


def run(options, started, prepare=prepare):
    """Train with each seed and print the results; see `cifar10_train.py`.

    `prepare(options, seed, train)` returns network and `Plan` of another recipe.
    """
    out = Path(options.out)
    check_place(out)
    if options.resume and (options.seeds > 1 or not Path(options.resume).is_file()):
        raise SystemExit(f"--resume needs its file, '{options.resume}', and a single seed.")
    try:
        train, test = load_cifar10(options.data_dir, download=not options.no_download)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    print(f"{len(train):,} images to train, {len(test):,} to test")
    found = []
    for seed in range(options.seed, options.seed + options.seeds):
        path = out if options.seeds == 1 else out.with_stem(f"{out.stem}_{seed}")
        prepared = prepare(options, seed, train)
        predicted, facts = train_one(options, seed, path, (train, test), prepared)
        fast_training.write_log(options.log, facts, started)
        found.append(facts)
        started = time.perf_counter()  # of the next seed
    print_class_accuracies(test.y, predicted, test.class_names)
    print_confusions(test.y, predicted, test.class_names)
    if options.seeds > 1:
        fast_training.print_spread("Test accuracy", [facts["accuracy"] for facts in found])
        averaged = [facts["accuracy_with_copies"] for facts in found]
        fast_training.print_spread("With copies", averaged)
    return 0
