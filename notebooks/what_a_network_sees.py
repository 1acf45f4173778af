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
# # Filters, feature maps, saliency and Grad-CAM
#
# You will learn
#
# - what the kernels and feature maps of the first layer look like after training;
# - which pixels affect a prediction (saliency), and how to *test* such a map;
# - which regions support a class (Grad-CAM), also for a class that was not predicted;
# - to inspect the mistakes of a network.
#
# `nn.plot` draws all of these, see [Plots](../docs/plots.md), and `nn.explain` returns them as
# arrays. This notebook also computes them by hand.

# %%
import matplotlib.pyplot as plt
import numpy as np

import nn
from nn import naive

SEED = 0
TRAIN = 4000  # digits for training
TEST = 1000  # and for testing
EPOCHS = 8
BATCH = 64


# %% [markdown]
# ## 1. A small network
#
# Three convolutions of 5 x 5, global average pooling, and a dense layer. Kernels of 3 x 3 would be
# too small to look at; average pooling connects each map directly to the classes.

# %%
train, test = nn.data.load_mnist_sample()
train = nn.Dataset(train.x[:TRAIN], train.y[:TRAIN])
x, y = nn.Dataset(test.x[:TEST], test.y[:TEST]).arrays()


def make_model():
    """Return the network, always with the same initial weights."""
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
print(f"accuracy {accuracy:.1%} on {len(x):,} test digits")
nn.plot.learning_curves(history)

# %% [markdown]
# ## 2. Filters
#
# The kernels of the first layer: red for positive weights, blue for negative ones. Look for edges
# and strokes. Compare them with the random initial weights.

# %%
untrained = make_model()
before, after = (m.layers[0].params["W"] for m in (untrained, model))
moved = np.linalg.norm(after - before) / np.linalg.norm(before)
print(f"training changed the kernels by {moved:.0%} of their norm")

figure, axes = plt.subplots(1, 2, figsize=(9, 2.2), layout="constrained")
for ax, network, title in zip(axes, (untrained, model), ("before", "after"), strict=True):
    nn.plot.filters(network, ax=ax)
    ax.set_title(title)
plt.show()

# %% [markdown]
# ## 3. Feature maps
#
# A filter applied to the image returns a *feature map*, bright if the image matches the filter. It
# is a convolution, a bias, and a ReLU:
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
print(f"{share_of_zeros:.0%} of all elements are 0, as the filter does not match")
nn.plot.feature_maps(model, digit, layer="first")

# %% [markdown]
# The receptive field of later layers is larger: each 5 x 5 kernel adds 4 pixels of its input, and
# after the pooling a pixel corresponds to 2 pixels of the image.

# %%
seen = {"first": 5}
seen["second"] = seen["first"] + (2 - 1) + (5 - 1) * 2  # the pooling, then the kernel
seen["third"] = seen["second"] + (5 - 1) * 2
print(", ".join(f"{name}: {size} x {size} pixels" for name, size in seen.items()))
nn.plot.feature_maps(model, digit, layer="third")

# %% [markdown]
# ## 4. Saliency
#
# Saliency is the gradient of the score of a class for each pixel. To compute it, start the
# backward pass with 1 for that class and 0 for the others.
#
# $$\text{saliency} = \left| \frac{\partial\, \text{score}_k}{\partial x} \right|$$

# %%
scores = model.forward(digit, training=False)
chosen = int(scores.argmax())
start = np.zeros_like(scores)
start[0, chosen] = 1
saliency_by_hand = abs(model.backward(start))[0, 0]
saliency_difference = abs(saliency_by_hand - nn.explain.saliency_map(model, digit)[0]).max()
print(f"predicted {chosen}, true class {y[0]}")
print(f"by hand and by nn.explain: at most {saliency_difference:.1e} apart")
nn.plot.saliency(model, x[:6])

# %% [markdown]
# To test such maps, change 20 pixels of each digit a little, each in the direction that reduces
# the score: the 20 most salient ones, or 20 random ones. How much does the score decrease? The
# gradient also *predicts* the change, as the sum of step times gradient. Up to which step is it
# right?

# %%
predicted_class = model.predict_classes(x)
all_scores = model.forward(x, training=False)
slope = model.backward(np.eye(10, dtype=np.float32)[predicted_class])  # (N, 1, 28, 28)
size = abs(slope).reshape(len(x), -1)
rows = np.arange(len(x))[:, np.newaxis]
orders = {
    "most salient": size.argsort(axis=1)[:, ::-1][:, :20],
    "at random": np.random.default_rng(SEED).random(size.shape).argsort(axis=1)[:, :20],
}


def fall(pixels, step):
    """Return the mean decrease of the score of the predicted class."""
    changed = x.reshape(len(x), -1).copy()
    changed[rows, pixels] -= step * np.sign(slope.reshape(len(x), -1)[rows, pixels])
    scores = model.predict(changed.reshape(x.shape))
    return np.mean(all_scores[rows[:, 0], predicted_class] - scores[rows[:, 0], predicted_class])


falls = {}
print(f"{'step':>6}  {'pixels':13} {'predicted':>10} {'measured':>10}")
for step in (0.001, 0.01, 0.1, 1.0):
    for name, pixels in orders.items():
        predicted = step * size[rows, pixels].sum(axis=1).mean()
        falls[name, step] = predicted, fall(pixels, step)
        print(f"{step:6}  {name:13} {predicted:10.4f} {falls[name, step][1]:10.4f}")

# %% [markdown]
# A saliency map describes the effect of *small* changes. For larger steps the columns differ, as
# the network is not linear.

# %% [markdown]
# ## 5. Grad-CAM
#
# Saliency maps of single pixels are noisy. Grad-CAM uses the maps of the last convolution,
# weighted by the mean gradient of the score for each map:
#
# $$\alpha_f = \frac{1}{HW} \sum_{h, w} \frac{\partial\, \text{score}_k}{\partial A_{f,h,w}}
# \qquad \text{map} = \max\left(0,\; \sum_f \alpha_f A_f\right)$$
#
# In this network only average pooling and the dense layer follow the maps, so the backward pass
# takes two calls, and $\alpha_f$ is the dense layer's weight from map `f` to the class, divided by
# HW.

# %%
maps = nn.explain.layer_output(model, digit, "third")  # (1, 32, 14, 14)
mean, dense = model.layers[4:]
dense.forward(mean.forward(maps, training=True), training=True)
slopes = mean.backward(dense.backward(start))  # gradient of the score for the maps
alpha = slopes.mean(axis=(2, 3), keepdims=True)
alpha_by_weight = dense.params["W"][:, chosen] / (maps.shape[2] * maps.shape[3])
alpha_difference = abs(alpha[0, :, 0, 0] - alpha_by_weight).max()
cam_by_hand = np.maximum((alpha * maps).sum(axis=1), 0)
cam_difference = abs(cam_by_hand - nn.explain.grad_cam_map(model, digit)).max()
print(f"by hand and by nn.explain: at most {cam_difference:.1e} apart")
print(f"alpha and the weights: at most {alpha_difference:.1e} apart")
nn.plot.grad_cam(model, x[:6])

# %% [markdown]
# The same for another class: which regions support a 9? If there are none, the map is dark. Each
# map has its own scale, so their brightness cannot be compared.

# %%
nn.plot.grad_cam(model, x[:6], class_index=9)

# %% [markdown]
# ## 6. Mistakes
#
# The confusion matrix, and the mistakes with the highest loss.

# %%
mistakes = np.flatnonzero(predicted_class != y)
pairs, counts = np.unique(np.stack([y, predicted_class])[:, mistakes], axis=1, return_counts=True)
most = counts.argmax()
print(f"{len(mistakes)} mistakes among {len(y):,} digits")
print(f"most often, {counts[most]} times: a {pairs[0, most]} classified as {pairs[1, most]}")
nn.plot.confusion_matrix(y, predicted_class)

# %%
nn.plot.worst_mistakes(model, x, y, n=10)

# %% [markdown]
# Saliency maps for the wrongly predicted class:

# %%
losses = nn.explain.sample_losses(model, x[mistakes], y[mistakes])
worst = mistakes[np.argsort(-losses)[:6]]
nn.plot.saliency(model, x[worst], class_index=predicted_class[worst])

# %% [markdown]
# ## Exercises
#
# 1. **An untrained network.** Draw saliency and Grad-CAM for a model that was built and never
#    trained. Do the maps look convincing?
#    *Hint:* use `untrained`, and the test of section 4.
# 2. **Fewer filters.** Use 2 filters in the first layer, then 32. What do the kernels look like?
#    Are some of the 32 never active?
#    *Hint:* `nn.explain.layer_output(model, x, "first").max(axis=(0, 2, 3))`.
# 3. **Signed saliency.** Draw the gradient without the absolute value in blue and red. What is its
#    sign inside a 0?
#    *Hint:* `plt.imshow(..., cmap="RdBu_r")` with a scale that is symmetric about 0.
# 4. **Shifted digits.** Shift the test digits by 1 to 6 pixels with `np.roll`. How does the
#    accuracy change? Train again with `augment=nn.data.augment.RandomCrop(28, padding=3)` in
#    `fit`.
#    *Hint:* `np.roll(x, 3, axis=3)` shifts to the right. All augmentations: [page on
#    data](../docs/howto/data.md).
# 5. **Activation maximisation.** Start from grey noise and change the *image* in the direction
#    that increases the score of the 3. *Hint:* `image += 0.1 * model.backward(start)`, after a
#    `forward`, a few hundred times. Does it look like a 3 to you?
