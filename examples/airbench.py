"""The fast recipe of `cifar10_train.py --model airbench`.

Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498: its network, its
hyperparameters, and all 50,000 images for training, without validation. It differs in what the
docstring of `nn.zoo.airbench94` says, in that biases do not decay, and that the running statistics
of the batch norms are not averaged. The accuracy that it reaches here has not been measured yet.
"""

import math
import time
from pathlib import Path

import fast_training
from report import check_place, print_class_accuracies, print_confusions, save_curves

import nn
from nn.callbacks import Callback, ModelCheckpoint
from nn.data import load_cifar10
from nn.data.augment import AlternatingFlip, Compose, RandomCrop

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
AUGMENT = Compose([AlternatingFlip(), RandomCrop(32, padding=2, padding_mode="reflect")])
COPIES = {"augment": "flip", "shifts": 1}


class FreezeFirst(Callback):
    """Freezes the first layer after some epochs, whose backward pass then ends at the next."""

    def on_epoch_begin(self, epoch, logs):
        if epoch >= BIAS_EPOCHS:
            self.model.layers[1].trainable = False


def total_steps(epochs, batch_size, images):
    """Return the number of steps, a multiple of Lookahead's, so that slow weights are the last."""
    steps = epochs * math.ceil(images / batch_size)
    return max(1, round(steps / SLOW_EVERY)) * SLOW_EVERY


def make_model(train, seed, steps, batch_size, lr=LR, weight_decay=WEIGHT_DECAY):
    """Return the network, compiled for a number of steps."""
    model = nn.zoo.airbench94(seed=seed, images=train.x[:WHITENED])
    for layer in model.layers:
        if isinstance(layer, nn.BatchNorm2D):
            layer.lr_factor = BIAS_FACTOR
    # Under a constant gradient Nesterov's steps are 1 + 1 / (1 - momentum) times as long.
    peak = lr * batch_size / 1024 / (1 + 1 / (1 - MOMENTUM))
    inner = nn.optim.SGD(peak, MOMENTUM, nesterov=True)
    inner.configure(weight_decay=weight_decay)

    def alpha(step):
        return 1 - SLOW_SHARE * min(1.0, (step + 1) / steps) ** 3

    loss = nn.losses.CategoricalCrossentropy(label_smoothing=LABEL_SMOOTHING)
    model.compile(loss, nn.optim.Lookahead(inner, SLOW_EVERY, alpha))
    return model


def train_one(options, seed, out, train, test):
    """Train with a seed; return the test accuracies without and with copies of the images."""
    batch_size = options.batch_size or BATCH_SIZE
    epochs = options.epochs or EPOCHS[options.target]
    steps = total_steps(epochs, batch_size, len(train))
    changes = {"lr": options.lr, "weight_decay": options.weight_decay}
    changes = {name: value for name, value in changes.items() if value is not None}
    model = make_model(train, seed, steps, batch_size, **changes)
    if seed == options.seed:
        print(model.summary())
    print(f"Seed {seed}: {steps} steps of {batch_size} images, {epochs} epochs")
    clock, started = fast_training.Clock(), time.perf_counter()
    history = model.fit(
        train,
        epochs=math.ceil(steps / math.ceil(len(train) / batch_size)),
        batch_size=batch_size,
        lr_schedule=nn.schedules.triangular(model.optimizer.lr, steps),
        augment=AUGMENT,
        callbacks=[
            clock,
            FreezeFirst(),
            fast_training.LastStep(steps),
            ModelCheckpoint(
                out.with_stem(f"{out.stem}_last"), save_best_only=False, save_state=True
            ),
        ],
        resume=options.resume,
    )
    seconds = time.perf_counter() - started
    if model.optimizer.iterations < steps:
        raise SystemExit("Stopped before the last step, without a model to test: use --resume.")
    model.save(out)
    accuracies = fast_training.measured_accuracies(model, test, clock, **COPIES)
    print(
        f"Test accuracy: {accuracies[0]:.2%}, with mirrored and shifted copies {accuracies[1]:.2%}"
    )
    print(f"Training: {seconds:.0f} s, {clock.images / seconds:,.0f} images/s. {clock}")
    save_curves(history, out.with_suffix(".png"))
    return model, accuracies


def run(options):
    """Train with each seed and print the results; see `cifar10_train.py`."""
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
        model, accuracies = train_one(options, seed, path, train, test)
        found.append(accuracies)
    predicted = model.predict_classes(test, **COPIES)
    print_class_accuracies(test.y, predicted, test.class_names)
    print_confusions(test.y, predicted, test.class_names)
    if options.seeds > 1:
        fast_training.print_spread("Test accuracy", [plain for plain, _ in found])
        fast_training.print_spread("With copies", [averaged for _, averaged in found])
    return 0
