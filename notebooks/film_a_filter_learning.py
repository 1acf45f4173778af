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
# # Film a filter learning
#
# You will learn
#
# - what the weights of a unit look like as an image, and what they have to do with the digits;
# - when during training filters form, and which of them change most;
# - to record what you want to see with a callback, and to show it as an animation.
#
# [The guide](../docs/guide/convolution.md) explains convolutions, [Plots](../docs/plots.md) the
# figures.

# %%
import matplotlib.pyplot as plt
import numpy as np

import nn

SEED = 0
TRAIN = 4000  # digits for training
EPOCHS = 4
BATCH = 64
EVERY = 10  # steps between two images of a film

train, test = nn.data.load_mnist_sample()
x, y = train.arrays()
x, y = x[:TRAIN], y[:TRAIN]

# %% [markdown]
# ## 1. One unit for each digit
#
# A dense layer on the pixels has a weight for each pixel and each digit: ten images of 28 x 28.
# They are random at first.

# %%
linear = nn.Model([nn.Flatten(input_shape=(1, 28, 28)), nn.Dense(10)], seed=SEED)
linear.compile("cce", "adam", lr=3e-3)


def digit_weights(model):
    """Return the weights of each unit as an image, (10, 28, 28)."""
    return model.layers[1].params["W"].T.reshape(-1, 28, 28)  # (784, 10) -> (10, 28, 28)


first_weights = digit_weights(linear).copy()
nn.plot.filters(first_weights)

# %% [markdown]
# ## 2. Record while it learns
#
# A callback is called after each batch and epoch. This one keeps a copy of an array:


# %%
class Keep(nn.callbacks.Callback):
    """Keep what a function of the model returns, every few steps."""

    def __init__(self, look, every):
        super().__init__()
        self.look, self.every = look, every
        self.kept, self.steps = [], 0

    def on_train_begin(self):
        """Keep the start."""
        self.kept.append(self.look(self.model).copy())

    def on_train_batch_end(self):
        """Keep what there is after every few steps."""
        self.steps += 1
        if self.steps % self.every == 0:
            self.kept.append(self.look(self.model).copy())


keep = Keep(digit_weights, EVERY)
film = nn.callbacks.Film("weights.gif", every=EVERY, by="step")
linear.fit(x, y, epochs=EPOCHS, batch_size=BATCH, callbacks=[keep, film], verbose=0)
linear_accuracy = linear.evaluate(test)["acc"]
print(f"Accuracy on the test digits: {linear_accuracy:.1%}; {len(keep.kept)} images")

# %% [markdown]
# `nn.callbacks.Film` does the same and writes an animated GIF, `weights.gif` in this folder. In
# Jupyter, `IPython.display.Image("weights.gif")` shows it. The images at four moments:


# %%
def show_moments(kept, heading):
    """Draw the first tile rows of a recording at four moments."""
    moments = np.linspace(0, len(kept) - 1, 4).astype(int)
    figure, axes = plt.subplots(1, 4, figsize=(10, 3), layout="constrained")
    largest = np.abs(kept[-1]).max()
    for ax, moment in zip(axes, moments, strict=True):
        tiles = kept[moment]
        columns = int(np.ceil(np.sqrt(len(tiles))))
        rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
        width = rows[0].shape[1]
        padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]))) for row in rows]
        ax.imshow(np.vstack(padded), cmap="RdBu_r", vmin=-largest, vmax=largest)
        ax.set_title(f"after {moment * EVERY} steps")
        ax.axis("off")
    figure.suptitle(heading)
    plt.show()


show_moments(keep.kept, "The weights of ten units")

# %% [markdown]
# Red pixels speak for the digit, blue ones against it: the unit of the 0 has a blue middle. A unit
# adds up the evidence of single pixels, so it cannot know a shifted or rotated digit.

# %% [markdown]
# ## 3. The filters of a convolution
#
# A convolution slides small filters over the image. Its weights are few, and each is trained by
# all positions of all digits.

# %%
model = nn.Model(
    [
        nn.Conv2D(16, 7, stride=2, activation="relu", input_shape=(1, 28, 28)),
        nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Dense(10),
    ],
    seed=SEED,
)
model.compile("cce", "adam", lr=3e-3)


def kernels(model):
    """Return the kernels of the first layer, (16, 7, 7)."""
    return model.layers[0].params["W"][:, 0]


keep_kernels = Keep(kernels, EVERY)
model.fit(x, y, epochs=EPOCHS, batch_size=BATCH, callbacks=[keep_kernels], verbose=0)
accuracy = model.evaluate(test)["acc"]
print(f"Accuracy on the test digits: {accuracy:.1%}")
show_moments(keep_kernels.kept, "The kernels of a convolution")

# %% [markdown]
# Some kernels become edges, light on one side and dark on the other; others hardly change, as the
# layer behind them can use random filters too.

# %% [markdown]
# ## 4. When do they form?
#
# The distance of each kernel from its start, relative to its size at the start:

# %%
recorded = np.array(keep_kernels.kept)  # (moments, 16, 7, 7)
moved = np.linalg.norm(recorded - recorded[0], axis=(2, 3)) / np.linalg.norm(
    recorded[0], axis=(1, 2)
)
steps = EVERY * np.arange(len(moved))
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.plot(steps, moved, color="#0072B2", alpha=0.4)
ax.plot(steps, moved.mean(axis=1), color="#D55E00", label="mean of the kernels")
ax.set_xlabel("step")
ax.set_ylabel("relative distance")
ax.legend()
plt.show()
half_way = steps[np.argmax(moved.mean(axis=1) > moved[-1].mean() / 2)]
print(f"Half of the distance is covered after {half_way} of {steps[-1]} steps")

# %% [markdown]
# ## 5. What the network sees
#
# The same digit through the first layer, before and after training: the feature maps of the
# trained network are sparser, and follow the edges.

# %%
digit = test.arrays()[0][:1]
nn.plot.feature_maps(model, digit)

# %% [markdown]
# ## Exercises
#
# 1. **A larger learning rate.** Train the linear model with `lr=0.1` and film it. What happens to
#    the weights at the border, where every digit is black?
#    *Hint:* the gradient of a weight is its pixel times the error.
# 2. **Weight decay.** Add `weight_decay=0.1` to `compile`. Which weights become smooth, and why?
#    *Hint:* those that no digit pushes back.
# 3. **Smaller and larger kernels.** Film kernels of 3 x 3 and of 11 x 11. Which can be interpreted?
#    *Hint:* only the second argument of `Conv2D` changes.
# 4. **The boundary.** Film the decision boundary of `nn.data.make_spirals(300, seed=0)`.
#    *Hint:* `Film("boundary.gif", lambda model: nn.plot.decision_boundary(model, points))`.
# 5. **A frozen layer.** Set `trainable=False` for the convolution. How much accuracy is lost with
#    random filters?
#    *Hint:* the argument belongs to `nn.Conv2D`.
