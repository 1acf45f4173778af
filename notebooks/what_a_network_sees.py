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
# # What a network sees
#
# You will learn
#
# - what the kernels of the first layer look like after training, and what they make of a digit;
# - which pixels move a decision (saliency), and to *test* such an image before believing it;
# - which places speak for a class (Grad-CAM), also for a class that was not chosen;
# - to look at the mistakes before looking at the accuracy.
#
# `nn.plot` draws all of these: [Plots](../docs/plots.md). `nn.explain` returns them as arrays. Here
# the arrays are also made by hand.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nn
from nn import naive

SEED = 0
TRAIN = 4000  # digits to learn from
TEST = 1000  # and to test with
EPOCHS = 8
BATCH = 64

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "mnist_dataset").is_dir())

# %% [markdown]
# ## 1. A small network
#
# Three convolutions of 5 x 5, the mean of each map, and a dense layer. 5 x 5 because kernels of
# 3 x 3 are too small to look at; the mean, because it keeps the way from a map to a class short.

# %%
train, test = nn.data.load_mnist_sample(ROOT / "mnist_dataset")
train = nn.Dataset(train.x[:TRAIN], train.y[:TRAIN])
x, y = nn.Dataset(test.x[:TEST], test.y[:TEST]).arrays()


def make_model():
    """Return the network, with the same first weights every time."""
    layers = [
        nn.Conv2D(8, 5, activation="relu", input_shape=(1, 28, 28), name="first"),
        nn.MaxPool2D(2),
        nn.Conv2D(16, 5, activation="relu", name="second"),
        nn.Conv2D(32, 5, activation="relu", name="third"),
        nn.GlobalAvgPool2D(),
        nn.Dense(10),
    ]
    return nn.Model(layers, seed=SEED)


model = make_model()
model.compile("cce", "adam", lr=3e-3)
history = model.fit(
    train,
    epochs=EPOCHS,
    batch_size=BATCH,
    val_data=(x, y),
    lr_schedule="cosine",
    verbose=0,
)
accuracy = model.evaluate(x, y)["acc"]
print(f"right on {accuracy:.1%} of {len(x):,} digits that it has not seen")
nn.plot.learning_curves(history)

# %% [markdown]
# ## 2. Filters
#
# The kernels of the first layer: red where a bright pixel speaks for the filter, blue where it
# speaks against. Look for edges and strokes, each in its direction. How much of it was learned, and
# how much is the random start?

# %%
untrained = make_model()
before, after = (m.layers[0].params["W"] for m in (untrained, model))
moved = np.linalg.norm(after - before) / np.linalg.norm(before)
print(f"training has moved the kernels by {moved:.0%} of their length")

figure, axes = plt.subplots(1, 2, figsize=(9, 2.2), layout="constrained")
for ax, network, title in zip(axes, (untrained, model), ("before", "after"), strict=True):
    nn.plot.filters(network, ax=ax)
    ax.set_title(title)
plt.show()

# %% [markdown]
# ## 3. Feature maps
#
# A filter moved over the image gives a *map*: bright where the image is as the filter likes it.
# By hand it is a convolution, the bias, and the ReLU:
#
# $$a_f = \max(0,\; W_f * x + b_f)$$

# %%
digit = x[:1]  # (1, 1, 28, 28)
W, b = (model.layers[0].params[name] for name in ("W", "b"))
by_hand = np.maximum(naive.conv2d_naive(digit, W, b, padding=((2, 2), (2, 2))), 0)
maps = nn.explain.layer_output(model, digit, "first")
map_difference = abs(by_hand - maps).max()
print(f"by hand and by the network: at most {map_difference:.1e} apart")
share_of_zeros = np.mean(maps == 0)
print(f"{share_of_zeros:.0%} of all places are 0: the filter sees nothing there")
nn.plot.feature_maps(model, digit, layer="first")

# %% [markdown]
# The next layers look at maps. A place of theirs depends on a larger part of the image: each
# kernel of 5 adds 4 pixels of the grid that it moves on, and after the pooling a pixel of the grid
# is 2 of the image.

# %%
seen = {"first": 5}
seen["second"] = seen["first"] + (2 - 1) + (5 - 1) * 2  # the pooling, then the kernel
seen["third"] = seen["second"] + (5 - 1) * 2
print(", ".join(f"{name}: {size} x {size} pixels" for name, size in seen.items()))
nn.plot.feature_maps(model, digit, layer="third")

# %% [markdown]
# ## 4. Saliency
#
# How does the score of a class depend on each pixel? The backward pass knows: start it with 1 at
# that class, 0 at the others, and read what arrives at the image.
#
# $$\text{saliency} = \left| \frac{\partial\, \text{score}_k}{\partial x} \right|$$

# %%
scores = model.forward(digit, training=False)
chosen = int(scores.argmax())
start = np.zeros_like(scores)
start[0, chosen] = 1
saliency_by_hand = abs(model.backward(start))[0, 0]
saliency_difference = abs(saliency_by_hand - nn.explain.saliency_map(model, digit)[0]).max()
print(f"it takes the digit for a {chosen}; it is a {y[0]}")
print(f"by hand and by nn.explain: at most {saliency_difference:.1e} apart")
nn.plot.saliency(model, x[:6])

# %% [markdown]
# Images like these are easily believed, so test them. Change 20 pixels of each digit a little,
# each in the direction that lowers the score: the 20 most salient ones, or 20 at random. How far
# does the score fall? A slope also *predicts* it, as step times slope, added up. Is it right, and
# up to which step?

# %%
decided = model.predict_classes(x)
all_scores = model.forward(x, training=False)
slope = model.backward(np.eye(10, dtype=np.float32)[decided])  # (N, 1, 28, 28)
size = abs(slope).reshape(len(x), -1)
rows = np.arange(len(x))[:, np.newaxis]
orders = {
    "most salient": size.argsort(axis=1)[:, ::-1][:, :20],
    "at random": np.random.default_rng(SEED).random(size.shape).argsort(axis=1)[:, :20],
}


def fall(pixels, step):
    """Return how far the score of the decided class falls, on average over the digits."""
    changed = x.reshape(len(x), -1).copy()
    changed[rows, pixels] -= step * np.sign(slope.reshape(len(x), -1)[rows, pixels])
    scores = model.predict(changed.reshape(x.shape))
    return np.mean(all_scores[rows[:, 0], decided] - scores[rows[:, 0], decided])


falls = {}
print(f"{'step':>6}  {'pixels':13} {'predicted':>10} {'measured':>10}")
for step in (0.001, 0.01, 0.1, 1.0):
    for name, pixels in orders.items():
        predicted = step * size[rows, pixels].sum(axis=1).mean()
        falls[name, step] = predicted, fall(pixels, step)
        print(f"{step:6}  {name:13} {predicted:10.4f} {falls[name, step][1]:10.4f}")

# %% [markdown]
# A saliency map is a true statement about *small* changes. Where the columns part, it has nothing
# more to say: the network is bent, and other pixels would matter there.

# %% [markdown]
# ## 5. Grad-CAM
#
# Saliency is of single pixels, and grainy. Grad-CAM asks the last convolution: how much does each
# of its maps speak for the class, on average over the image, and where is that map bright?
#
# $$\alpha_f = \frac{1}{HW} \sum_{h, w} \frac{\partial\, \text{score}_k}{\partial A_{f,h,w}}
# \qquad \text{map} = \max\left(0,\; \sum_f \alpha_f A_f\right)$$
#
# Here only the mean and the dense layer are behind the maps, so the backward pass is two calls. And
# as a mean over HW places shares its slope out evenly, $\alpha_f$ is the dense layer's weight from
# map `f` to the class, divided by HW.

# %%
maps = nn.explain.layer_output(model, digit, "third")  # (1, 32, 14, 14)
mean, dense = model.layers[4:]
dense.forward(mean.forward(maps, training=True), training=True)
slopes = mean.backward(dense.backward(start))  # of the score, for the maps
alpha = slopes.mean(axis=(2, 3), keepdims=True)
alpha_by_weight = dense.params["W"][:, chosen] / (maps.shape[2] * maps.shape[3])
alpha_difference = abs(alpha[0, :, 0, 0] - alpha_by_weight).max()
cam_by_hand = np.maximum((alpha * maps).sum(axis=1), 0)
cam_difference = abs(cam_by_hand - nn.explain.grad_cam_map(model, digit)).max()
print(f"by hand and by nn.explain: at most {cam_difference:.1e} apart")
print(f"alpha and the weights: at most {alpha_difference:.1e} apart")
nn.plot.grad_cam(model, x[:6])

# %% [markdown]
# The same digits, asked for another class: what in them speaks for a 9? Where nothing does, the map
# is dark; else each map has its own scale, so that its brightest place is no measure.

# %%
nn.plot.grad_cam(model, x[:6], class_index=9)

# %% [markdown]
# ## 6. The mistakes
#
# Which class is taken for which, and the digits about which the network is most surely wrong. Would
# you have known?

# %%
mistakes = np.flatnonzero(decided != y)
pairs, counts = np.unique(np.stack([y, decided])[:, mistakes], axis=1, return_counts=True)
most = counts.argmax()
print(f"{len(mistakes)} mistakes among {len(y):,} digits")
print(f"most often, {counts[most]} times: a {pairs[0, most]} taken for a {pairs[1, most]}")
nn.plot.confusion_matrix(y, decided)

# %%
nn.plot.worst_mistakes(model, x, y, n=10)

# %% [markdown]
# What made the network decide so? Saliency for the wrong class that it chose:

# %%
losses = nn.explain.sample_losses(model, x[mistakes], y[mistakes])
worst = mistakes[np.argsort(-losses)[:6]]
nn.plot.saliency(model, x[worst], class_index=decided[worst])

# %% [markdown]
# ## Exercises
#
# 1. **An untrained network.** Draw saliency and Grad-CAM for a model that was built and never
#    trained. Do the maps look convincing?
#    *Hint:* `untrained` is there already. The test of section 4 tells more than the eye.
# 2. **Fewer filters.** Give the first layer 2 filters, then 32. What do the kernels look like?
#    Are some of the 32 never active?
#    *Hint:* `nn.explain.layer_output(model, x, "first").max(axis=(0, 2, 3))`.
# 3. **Signed saliency.** Leave the absolute value out and draw the slope in blue and red. What does
#    the inside of a 0 tell?
#    *Hint:* `plt.imshow(..., cmap="RdBu_r")` with a scale that is symmetric about 0.
# 4. **Move the digit.** Shift the test digits by 1 to 6 pixels with `np.roll`. How does the
#    accuracy fall? Train again with `augment=nn.data.augment.RandomCrop(28, padding=3)` in `fit`.
#    *Hint:* `np.roll(x, 3, axis=3)` moves to the right. All augmentations: [page on
#    data](../docs/howto/data.md).
# 5. **An image to please.** Start from grey noise and change the *image* in the direction that
#    raises the score of the 3. *Hint:* `image += 0.1 * model.backward(start)`, after a `forward`,
#    some hundred times. Does it look like a 3 to you? To the network it does.
