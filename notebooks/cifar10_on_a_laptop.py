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
# - to inspect the data and compute simple baselines before training a network;
# - to estimate the training time *before* you start;
# - to train with a schedule, augmentation, and a checkpoint of the best epoch;
# - to analyse the mistakes.
#
# **The data.** CIFAR-10 has sixty thousand colour images of 32 x 32 pixels in ten classes.
# Download it once (170 MB), in a terminal in the folder of the clone:
#
#     python -m nn.data cifar10 --dir cifar10_dataset
#
# or set `DATA` below to the folder in which you have it.

# %%
import time
from pathlib import Path

import numpy as np

import nn
from nn.data.augment import Compose, RandomCrop, RandomFlip

DATA = "cifar10_dataset"  # folder of CIFAR-10, relative to the clone
OUT = "cifar10_notebook.hdf5"  # file for the weights of the best epoch
EPOCHS = 12
IMAGES = 50_000  # for training and validation
BATCH = 64
LR = 0.03  # the maximum of the schedule
SEED = 0

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "mnist_dataset").is_dir())

# %%
everything, test = nn.data.load_cifar10(ROOT / DATA)
some = np.random.default_rng(SEED).permutation(len(everything))[:IMAGES]
names = everything.class_names
everything = nn.Dataset(everything.x[some], everything.y[some], class_names=names)
train, val = everything.split(0.1, rng=np.random.default_rng(SEED))
print(
    f"{len(train):,} images for training,",
    f"{len(val):,} for validation, {len(test):,} for testing",
)

# %% [markdown]
# The test images are used only *once*, at the end. A model that was selected with them would have
# a biased test accuracy.
#
# ## 1. The data

# %%
counts = np.bincount(train.y, minlength=10)
print(", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True)))
nn.plot.images(train, n=24, columns=8)

# %% [markdown]
# ## 2. Baselines
#
# Two simple baselines: always predict the most frequent class, or the class with the nearest mean
# image.

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
# The mean images are blurred and show little more than typical colours.
#
# ## 3. Estimated training time
#
# Time some steps before the whole training. The first step is a warm-up, as it compiles kernels
# and allocates memory.

# %%
model = nn.zoo.cifar_cnn(seed=SEED)
model.compile("cce", "sgd", lr=LR, momentum=0.9, nesterov=True)
print(model.summary())

trial = nn.zoo.cifar_cnn(seed=SEED)  # a separate model
trial.compile("cce", "sgd", lr=1e-4, momentum=0.9, nesterov=True)
batch = x_train[:BATCH], y_train[:BATCH]
trial.train_step(*batch)
started = time.perf_counter()
for _ in range(10):
    trial.train_step(*batch)
images_a_second = 10 * len(batch[0]) / (time.perf_counter() - started)
minutes = EPOCHS * len(train) / images_a_second / 60
print(f"{images_a_second:,.0f} images per second: about {minutes:.1f} minutes for {EPOCHS} epochs")
print("(longer with preparation of batches, validation and other processes)")

# %% [markdown]
# ## 4. Train
#
# - **Schedule**: `one_cycle` increases the learning rate to `LR` and then decreases it to almost
#   0.
# - **Augmentation**: in each epoch each image is randomly flipped and shifted by a few pixels,
#   which reduces overfitting. It helps only in longer training: see exercise 1.
# - **Checkpoint**: the weights of the best epoch on the validation images are saved.
#
# The stop button (or Ctrl-C) ends the training after the current batch and keeps the model.

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
print(f"{took:.1f} minutes; estimated {minutes:.1f}")
nn.plot.learning_curves(history)

# %% [markdown]
# The training loss is computed on *augmented* images and with dropout, so it may be higher than
# the validation loss.
#
# ## 5. Test

# %%
best_epoch = int(np.argmax(history["val_acc"]))
model.load_weights(ROOT / OUT)
x_test, y_test = test.arrays()
predicted = model.predict_classes(x_test)
accuracy = np.mean(predicted == y_test)
print(f"best epoch: {best_epoch + 1}, with {history['val_acc'][best_epoch]:.1%} on validation")
print(f"test accuracy: {accuracy:.1%} (guessing: {guessing:.1%}, mean images: {by_means:.1%})")

# %% [markdown]
# Test-time augmentation: average the probabilities for each image and its mirror image.


# %%
def probabilities(logits):
    """Return the softmax of logits (N, K)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


both = [probabilities(model.predict(images)) for images in (x_test, x_test[..., ::-1])]
mirrored_accuracy = np.mean(np.mean(both, axis=0).argmax(axis=1) == y_test)
print(f"with mirror images: {mirrored_accuracy:.1%}, without: {accuracy:.1%}")

# %% [markdown]
# ## 6. Mistakes

# %%
for k, name in enumerate(names):
    if (y_test == k).any():
        print(f"{name:11} {np.mean(predicted[y_test == k] == k):6.1%}")
nn.plot.confusion_matrix(y_test, predicted, class_names=names)

# %%
nn.plot.worst_mistakes(model, x_test, y_test, n=15, class_names=names)

# %%
nn.plot.grad_cam(model, x_test[:6])

# %% [markdown]
# ## Exercises
#
# 1. **Without augmentation.** Train with `augment=None`, for the same number of epochs and for
#    three times as many. When is it better? When do training and validation loss diverge?
#    *Hint:* compare the histories in one figure:
#    `nn.plot.learning_curves({"with": history, "without": other})`.
# 2. **Fewer images.** Train with `IMAGES` = 1,000, 5,000 and 25,000. Plot the test accuracy
#    against the number of images. What would you expect of 100,000 images?
#    *Hint:* use a logarithmic axis, and more epochs for fewer images, so that all have the same
#    number of steps.
# 3. **A better network.** Use `nn.zoo.vgg6` or `nn.zoo.resnet20` instead of `cifar_cnn`. Estimate
#    the training time first.
#    *Hint:* `examples/cifar10_train.py` has a recipe for each, and the README their accuracy.
# 4. **A better learning rate.** Run `nn.find_lr(model, train)` and `nn.plot.lr_range`.
#    *Hint:* choose a maximum somewhat below the rate at which the loss increases.
# 5. **Your own images.** Classify a part of a photograph, scaled to 32 x 32.
#    *Hint:* `nn.data.load_image(path, size=32)`. Also try an object that belongs to none of the
#    ten classes: which probability does the network predict?
