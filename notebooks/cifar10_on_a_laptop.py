# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # CIFAR-10 on a laptop
#
# You will learn
#
# - to look at the data, and at the simplest thing that could work, before training a network;
# - to know how long a training will take *before* you start it;
# - to train with a schedule, with augmented images, and with the best epoch kept;
# - where the network fails.
#
# **The data.** Sixty thousand colour images of 32 x 32 pixels, ten kinds of things. They are not
# part of this project; get them once (170 MB), in a terminal in the project's folder:
#
#     python -m nn.data cifar10 --dir cifar10_dataset
#
# or set `DATA` below to the folder in which you have them. Where they are missing, the cell that
# loads them says so.

# %%
import time
from pathlib import Path

import numpy as np

import nn
from nn.data.augment import Compose, RandomCrop, RandomFlip

DATA = "cifar10_dataset"  # folder of CIFAR-10, seen from the project's folder
OUT = "cifar10_notebook.hdf5"  # file for the best epoch's weights, in the project's folder
EPOCHS = 12
IMAGES = 50_000  # to learn from: fewer are quicker, and teach less
BATCH = 64
LR = 0.03  # the highest of the schedule
SEED = 0

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "mnist_dataset").is_dir())

# %%
everything, test = nn.data.load_cifar10(ROOT / DATA)
some = np.random.default_rng(SEED).permutation(len(everything))[:IMAGES]
names = everything.class_names
everything = nn.Dataset(everything.x[some], everything.y[some], class_names=names)
train, val = everything.split(0.1, rng=np.random.default_rng(SEED))
print(
    f"{len(train):,} images to learn from,",
    f"{len(val):,} to choose the epoch, {len(test):,} to test",
)

# %% [markdown]
# The test images are looked at *once*, at the end. Whoever chooses by them has tested nothing.
#
# ## 1. Look at it

# %%
counts = np.bincount(train.y, minlength=10)
print(", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True)))
nn.plot.images(train, n=24, columns=8)

# %% [markdown]
# ## 2. What could be easier?
#
# Two things to beat. Guessing is right as often as the most frequent class is there. And each class
# has a mean image: which of the ten is nearest?

# %%
x_val, y_val = val.arrays()
x_train, y_train = train.arrays()
guessing = np.mean(y_val == counts.argmax())

present = np.flatnonzero(counts)
means = np.stack([x_train[y_train == k].mean(axis=0) for k in present]).reshape(len(present), -1)
flat = x_val.reshape(len(x_val), -1)
# |a - b|^2 = a^2 - 2 a b + b^2, and a^2 is the same for all classes
nearest = present[((means**2).sum(axis=1) - 2 * flat @ means.T).argmin(axis=1)]
by_means = np.mean(nearest == y_val)
print(f"always the most frequent class: {guessing:.1%}")
print(f"the nearest mean image:       {by_means:.1%}")
nn.plot.images(means.reshape(-1, 3, 32, 32), present, class_names=names, columns=5)

# %% [markdown]
# Ten blurs: the means know the colour of the sky and of the ground, and little else.
#
# ## 3. How long will it take?
#
# Measure some steps before you start all of them. The first does not count: kernels are compiled
# and memory is asked for.

# %%
model = nn.zoo.cifar_cnn(seed=SEED)
model.compile("cce", "sgd", lr=LR, momentum=0.9, nesterov=True)
print(model.summary())

trial = nn.zoo.cifar_cnn(seed=SEED)  # another, so that the model stays as it is
trial.compile("cce", "sgd", lr=1e-4, momentum=0.9, nesterov=True)
batch = x_train[:BATCH], y_train[:BATCH]
trial.train_step(*batch)
started = time.perf_counter()
for _ in range(10):
    trial.train_step(*batch)
images_a_second = 10 * len(batch[0]) / (time.perf_counter() - started)
minutes = EPOCHS * len(train) / images_a_second / 60
print(f"{images_a_second:,.0f} images a second: {EPOCHS} epochs will take {minutes:.1f} minutes")
print("(more with what else the laptop does: preparing batches, validation, a hot processor)")

# %% [markdown]
# ## 4. Train
#
# - **A schedule**: `one_cycle` raises the rate to `LR` and lets it fall to almost nothing.
# - **Augmentation**: a plane seen from the other side is a plane. Each image is mirrored or not,
#   and shifted by a few pixels, anew in each epoch, so that it is hardly ever the same twice. That
#   keeps a network from learning images by heart, which takes more epochs than a few: exercise 1.
# - **The best epoch** on the validation images is kept in a file.
#
# The stop button (or Ctrl-C) ends the training after a batch, with everything kept.

# %%
augment = Compose([RandomFlip(), RandomCrop(32, padding=4)])
started = time.perf_counter()
history = model.fit(
    train,
    epochs=EPOCHS,
    batch_size=BATCH,
    validation_data=val,
    lr_schedule="one_cycle",
    augment=augment,
    callbacks=[nn.callbacks.ModelCheckpoint(ROOT / OUT)],
)
took = (time.perf_counter() - started) / 60
print(f"it took {took:.1f} minutes; {minutes:.1f} were expected")
nn.plot.learning_curves(history)

# %% [markdown]
# The loss on the training images is that of *augmented* images, with dropout: it may well be
# higher than that on the validation images.
#
# ## 5. Test, once

# %%
best_epoch = int(np.argmax(history["val_acc"]))
model.load_weights(ROOT / OUT)
x_test, y_test = test.arrays()
decided = model.predict_classes(x_test)
accuracy = np.mean(decided == y_test)
print(f"best epoch: {best_epoch + 1}, with {history['val_acc'][best_epoch]:.1%} on validation")
print(f"test accuracy: {accuracy:.1%} (guessing: {guessing:.1%}, mean images: {by_means:.1%})")

# %% [markdown]
# A little more, for nothing but time: look at each image and at its mirror image, and take the
# mean of the two answers.


# %%
def probabilities(logits):
    """Return the softmax of logits (N, K)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


both = [probabilities(model.predict(images)) for images in (x_test, x_test[..., ::-1])]
mirrored_accuracy = np.mean(np.mean(both, axis=0).argmax(axis=1) == y_test)
print(f"with mirror images: {mirrored_accuracy:.1%}, without: {accuracy:.1%}")

# %% [markdown]
# ## 6. Where does it fail?

# %%
for k, name in enumerate(names):
    if (y_test == k).any():
        print(f"{name:11} {np.mean(decided[y_test == k] == k):6.1%}")
nn.plot.confusion_matrix(y_test, decided, class_names=names)

# %%
nn.plot.worst_mistakes(model, x_test, y_test, n=15, class_names=names)

# %%
nn.plot.grad_cam(model, x_test[:6])

# %% [markdown]
# ## Exercises
#
# 1. **Without augmentation.** Train with `augment=None`, for as many epochs and for three times as
#    many. Which is better when? Where do the losses in training and validation part?
#    *Hint:* compare histories in one image:
#    `nn.plot.learning_curves({"with": history, "without": other})`.
# 2. **Fewer images.** Train with `IMAGES` = 1,000, 5,000 and 25,000. Draw the test accuracy
#    over their number. What would twice as many as there are be worth?
#    *Hint:* a logarithmic axis. Give the smaller sets more epochs, so that all have as many steps.
# 3. **A better network.** Put `nn.zoo.vgg6` or `nn.zoo.resnet20` in the place of `cifar_cnn`, in
#    both places. Estimate the minutes first.
#    *Hint:* `examples/cifar10_train.py` has a recipe for each; the README says what they reach.
# 4. **A better rate.** Run `nn.find_lr(model, train)` and draw it with `nn.plot.lr_range`.
#    *Hint:* one cycle wants a rate somewhat below the one where the loss turns up.
# 5. **Your own images.** Cut something out of a photograph, 32 x 32, and ask the network.
#    *Hint:* `nn.data.load_image(path, size=32)`. Ask for something that is none of the ten as well:
#    how sure is the network?
