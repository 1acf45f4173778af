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
# # Optimizers: a race
#
# You will learn
#
# - why plain gradient descent is slow in a long valley, and at which rate it blows up;
# - what momentum adds, and what Adam divides by;
# - to race them on a surface that you can see, then on digits;
# - why "which is best?" is no question without "at which learning rate?".
#
# The rules and where they come from: [the guide](../docs/guide/optimizers.md). In `nn` each is a
# class of a few lines, `nn/optim/rules.py`.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nn

SEED = 0
STEPS = 200  # on the surface
TRAIN = 4000  # digits to learn from
TEST = 1000  # and to test with
EPOCHS = 5
BATCH = 64

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "mnist_dataset").is_dir())
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"]
STYLES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))]

# %% [markdown]
# ## 1. A long valley
#
# $$f(u, v) = \frac{u^2}{2} + \frac{40\, v^2}{2}$$
#
# is forty times as steep across as along. Gradient descent multiplies each coordinate by
# `1 - lr * c` in a step, with `c = 1` along and `c = 40` across. So a coordinate shrinks only
# while `lr < 2 / c`: the *steepest* direction sets the limit, the *flattest* has to live with it.


# %%
def valley(w):
    """Return f at w (2,)."""
    return (w[0] ** 2 + 40 * w[1] ** 2) / 2


def valley_slope(w):
    """Return the gradient of `valley` (2,)."""
    return np.array([w[0], 40 * w[1]])


def walk(optimizer, slope, start, steps):
    """Return all places (steps + 1, 2) that an optimizer of nn goes through."""
    w = np.array(start, dtype=np.float64)
    places = [w.copy()]
    for _ in range(steps):
        optimizer.step([(w, slope(w))])  # changes w in place
        places.append(w.copy())
    return np.array(places)


limit = 2 / 40
ends = {}
for share in (0.5, 0.98, 1.02):
    path = walk(nn.optim.SGD(lr=share * limit), valley_slope, (-4, 0.5), 50)
    ends[share] = valley(path[-1])
    print(
        f"lr = {share:.2f} of the limit: f = {valley(path[0]):.2f} -> {ends[share]:.3g} in 50 steps"
    )

# %% [markdown]
# Count it: a step leaves `|1 - lr c|` of the distance. What remains is the *larger* of the two
# factors, and no rate makes both small. The best choice balances them, at
# `lr = 2 / (1 + 40)`.

# %%
rates = np.linspace(0.001, 1.04 * limit, 300)
along, across = abs(1 - rates * 1), abs(1 - rates * 40)
slowest = np.maximum(along, across)
best_rate = rates[slowest.argmin()]
print(f"best rate {best_rate:.4f}; 2 / 41 = {2 / 41:.4f}")
print(f"even there each step leaves {slowest.min():.1%} of the distance")

figure, ax = plt.subplots(figsize=(5.5, 3), layout="constrained")
ax.plot(rates, along, COLOURS[0], ls=STYLES[0], label="along, c = 1")
ax.plot(rates, across, COLOURS[1], ls=STYLES[1], label="across, c = 40")
ax.axhline(1, color="grey", lw=0.8)
ax.axvline(limit, color="grey", lw=0.8, ls=":")
ax.set(xlabel="learning rate", ylabel="what a step leaves", ylim=(0, 1.15))
ax.legend(loc="lower left")
plt.show()

# %% [markdown]
# ## 2. Momentum and Adam, by hand
#
# Momentum lets steps add up, $v \leftarrow \beta v - \eta g$, $w \leftarrow w + v$. Adam keeps the
# means of the gradients and of their squares, and divides the one by the root of the other:
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1) g \qquad s \leftarrow \beta_2 s + (1 - \beta_2) g^2
# \qquad w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{s / (1 - \beta_2^t)} + \epsilon}$$


# %%
def momentum_by_hand(slope, start, steps, lr, beta=0.9):
    """Return the places (steps + 1, 2) of gradient descent with momentum."""
    w, v = np.array(start, dtype=np.float64), np.zeros(2)
    places = [w]
    for _ in range(steps):
        v = beta * v - lr * slope(w)
        w = w + v
        places.append(w)
    return np.array(places)


def adam_by_hand(slope, start, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """Return the places (steps + 1, 2) of Adam."""
    w, m, s = np.array(start, dtype=np.float64), np.zeros(2), np.zeros(2)
    places = [w]
    for t in range(1, steps + 1):
        g = slope(w)
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * g**2
        w = w - lr * (m / (1 - beta1**t)) / (np.sqrt(s / (1 - beta2**t)) + eps)
        places.append(w)
    return np.array(places)


def of_nn(optimizer):
    """Return the walk of an optimizer of nn through the valley."""
    return walk(optimizer, valley_slope, (-4, 0.5), STEPS)


by_hand = momentum_by_hand(valley_slope, (-4, 0.5), STEPS, 0.01)
momentum_difference = abs(by_hand - of_nn(nn.optim.SGDMomentum(lr=0.01))).max()
by_hand = adam_by_hand(valley_slope, (-4, 0.5), STEPS, 0.1)
adam_difference = abs(by_hand - of_nn(nn.optim.Adam(lr=0.1))).max()
first_step = by_hand[1] - by_hand[0]
print(f"momentum, by hand and nn's: at most {momentum_difference:.1e} apart")
print(f"Adam, by hand and nn's:     at most {adam_difference:.1e} apart")
print(f"the slope at the start is {valley_slope(by_hand[0])}, Adam's first step {first_step}")

# %% [markdown]
# Adam's first step is the rate times the *sign* of the slope: steep and flat directions are the
# same to it.
#
# ## 3. The race, on a surface
#
# Rosenbrock's function has a valley that is *bent*; its minimum, 0, is at (1, 1).
#
# $$f(u, v) = (1 - u)^2 + 10\, (v - u^2)^2$$


# %%
def bent(w):
    """Return Rosenbrock's function, with 10 for his 100."""
    return (1 - w[0]) ** 2 + 10 * (w[1] - w[0] ** 2) ** 2


def bent_slope(w):
    """Return the gradient of `bent` (2,)."""
    u, v = w
    return np.array([-2 * (1 - u) - 40 * u * (v - u**2), 20 * (v - u**2)])


START = (-1.2, 1.6)
place = np.array(START)
measured = nn.gradcheck.numerical_gradient(lambda: bent(place), place)
slope_error = nn.gradcheck.relative_error(measured, bent_slope(place))
print(f"the slope against a measurement: relative error {slope_error:.1e}")

# %% [markdown]
# Each gets the best of the same seven rates: the one with which it ends lowest. As a lucky step may
# lead across the minimum, the *highest* of the last 20 places counts. A rate that blows up is
# infinitely bad. (NumPy would warn of the overflow, which is expected here.)

# %%
RULES = {
    "SGD": nn.optim.SGD,
    "momentum": nn.optim.SGDMomentum,
    "Nesterov": nn.optim.Nesterov,
    "RMSprop": nn.optim.RMSprop,
    "Adam": nn.optim.Adam,
}
RATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]


def end_of(path):
    """Return the highest of the last 20 places of a walk; infinity where it blew up."""
    height = max(bent(w) for w in path[-20:])
    return height if np.isfinite(path[-1]).all() else np.inf


paths, chosen = {}, {}
with np.errstate(over="ignore", invalid="ignore"):
    for name, rule in RULES.items():
        walks = {lr: walk(rule(lr=lr), bent_slope, START, STEPS) for lr in RATES}
        ends_of_rates = {lr: end_of(path) for lr, path in walks.items()}
        chosen[name] = min(ends_of_rates, key=ends_of_rates.get)
        paths[name] = walks[chosen[name]]
final_heights = {name: end_of(path) for name, path in paths.items()}
for name in sorted(final_heights, key=final_heights.get):
    print(f"{name:9} lr {chosen[name]:<6g} f <= {final_heights[name]:.1e} in its last 20 steps")

u, v = np.meshgrid(np.linspace(-1.8, 1.8, 150), np.linspace(-0.7, 2.3, 150))
figure, axes = plt.subplots(1, len(paths), figsize=(12, 2.6), sharey=True, layout="constrained")
for ax, colour, (name, path) in zip(axes, COLOURS, paths.items(), strict=True):
    ax.contourf(u, v, np.log10(bent((u, v)) + 1e-3), levels=20, cmap="Greys", vmax=6)
    ax.plot(*path.T, color=colour, lw=1.4, marker=".", ms=4)
    ax.plot(1, 1, "*", color="white", ms=12, mec="black")
    ax.set(xlim=(-1.8, 1.8), ylim=(-0.7, 2.3), xlabel="u", title=f"{name}, lr {chosen[name]:g}")
axes[0].set_ylabel("v")

figure, ax = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
for k, (name, path) in enumerate(paths.items()):
    heights = [max(bent(w), 1e-16) for w in path]
    ax.semilogy(heights, color=COLOURS[k], ls=STYLES[k], label=f"{name}, lr {chosen[name]:g}")
ax.set(xlabel="step", ylabel="f", title="how far down")
ax.grid(alpha=0.3)
ax.legend(loc="lower left")
plt.show()

# %% [markdown]
# ## 4. The race, on digits
#
# The same network, first weights and order of digits for all: a layer of 64 hidden neurons on a
# part of MNIST. Now a gradient is that of a *batch*, right only on average, and the surface has a
# coordinate for each weight.

# %%
train, test = nn.data.load_mnist_sample(ROOT / "mnist_dataset")
train = nn.Dataset(train.x[:TRAIN], train.y[:TRAIN])
test = nn.Dataset(test.x[:TEST], test.y[:TEST])


def learn(name, lr, epochs):
    """Return the loss of each epoch, and the accuracy on the test digits."""
    model = nn.zoo.mlp((64,), seed=SEED)
    model.compile("cce", name, lr=lr)
    history = model.fit(train, epochs=epochs, batch_size=BATCH, verbose=0)
    return history["loss"], model.evaluate(test)["acc"]


coordinates = sum(p.size for layer in nn.zoo.mlp((64,)).layers for p in layer.params.values())
print(f"{coordinates:,} coordinates")
DIGIT_RATES = {"sgd": 0.1, "sgdmomentum": 0.03, "nesterov": 0.03, "rmsprop": 1e-3, "adam": 3e-3}
curves, accuracies = {}, {}
for name, lr in DIGIT_RATES.items():
    curves[name], accuracies[name] = learn(name, lr, EPOCHS)
    print(
        f"{name:12} lr {lr:<6g} loss {curves[name][-1]:.3f}, test accuracy {accuracies[name]:.1%}"
    )

# %% [markdown]
# ## 5. The rate decides
#
# The rates above were chosen beforehand, one by one. What if not? Two epochs at each of several
# rates:

# %%
SWEEP = {"sgd": [0.001, 0.01, 0.1, 1.0], "adam": [0.0001, 0.001, 0.01, 0.1]}
swept = {name: [learn(name, lr, 2)[0][-1] for lr in rates] for name, rates in SWEEP.items()}
for name, rates in SWEEP.items():
    for lr, loss in zip(rates, swept[name], strict=True):
        print(f"{name:5} lr {lr:<7g} loss {loss:.3f}")
    print(f"{name:5} the worst loss is {max(swept[name]) / min(swept[name]):.1f} times the best\n")
between_rules = max(c[-1] for c in curves.values()) / min(c[-1] for c in curves.values())
print(f"between the rules of section 4, each at its rate: {between_rules:.1f} times")

figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
for k, (name, curve) in enumerate(curves.items()):
    epochs = range(1, len(curve) + 1)
    axes[0].plot(epochs, curve, color=COLOURS[k], ls=STYLES[k], marker=".", label=name)
for k, (name, rates) in enumerate(SWEEP.items()):
    axes[1].semilogx(
        rates, swept[name], color=COLOURS[4 * k], ls=STYLES[4 * k], marker="o", label=name
    )
axes[0].set(xlabel="epoch", ylabel="loss on the training digits", title="each at its rate")
axes[0].xaxis.get_major_locator().set_params(integer=True)
axes[1].set(xlabel="learning rate", ylabel="loss after two epochs", title="the rate decides")
for ax in axes:
    ax.grid(alpha=0.3, which="both")
    ax.legend()
plt.show()

# %% [markdown]
# Compare the last three figures. Where rates make more of a difference than rules, a race at one
# rate for all says more about the rate than about the runners. (`nn.find_lr` measures how high it
# may be, and `examples/compare_optimizers.py --search` tries several for each of all optimizers.)
#
# ## Exercises
#
# 1. **A steeper valley.** Replace 40 by 1,000. Predict the limit of SGD's rate before you try it.
#    *Hint:* `2 / c`. How many steps does it now take along the valley?
# 2. **Too much momentum.** Try `beta` = 0.5, 0.9 and 0.99 in the valley and draw the ways.
#    *Hint:* steps that agree add up to `1 / (1 - beta)` times one step, and it takes about as
#    many steps to turn round.
# 3. **Adam without its correction.** Leave out the two divisions by `1 - beta**t`. How long is the
#    first step now? *Hint:* `0.1 / sqrt(0.001)` times the rate.
# 4. **Your own rule.** Write one that takes only the sign of the gradient, and let it race.
#    *Hint:* `walk` wants a method `step(pairs)` that changes each `w` in place; a subclass of
#    `nn.optim.Optimizer` needs `update(param, grad, slots)`.
# 5. **A falling rate.** Give SGD `lr=nn.schedules.cosine(0.1, total_steps=...)` on the digits.
#    *Hint:* there are `len(train) / BATCH` steps in an epoch, rounded up. All schedules:
#    [drawn](../docs/schedules.md).
