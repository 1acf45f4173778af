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
# # A comparison of optimizers
#
# You will learn
#
# - why gradient descent is slow in a narrow valley, and at which learning rate it diverges;
# - the update rules of momentum and Adam;
# - to compare optimizers on a function of two variables, then on digits;
# - why a comparison needs a suitable learning rate for each optimizer.
#
# [The guide](../docs/guide/optimizers.md) derives the rules. In `nn` each is a short class in
# `nn/optim/rules.py`.

# %%
import matplotlib.pyplot as plt
import numpy as np

import nn

SEED = 0
STEPS = 200  # on the function
TRAIN = 4000  # digits for training
TEST = 1000  # and for testing
EPOCHS = 5
BATCH = 64

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"]
STYLES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))]

# %% [markdown]
# ## 1. A narrow valley
#
# $$f(u, v) = \frac{u^2}{2} + \frac{40\, v^2}{2}$$
#
# has forty times the curvature across the valley as along it. A step of gradient descent
# multiplies each coordinate by `1 - lr * c`, with `c = 1` along and `c = 40` across. So it
# converges only for `lr < 2 / c`: the direction with the *largest* curvature limits the rate for
# all others.


# %%
def valley(w):
    """Return f at w (2,)."""
    return (w[0] ** 2 + 40 * w[1] ** 2) / 2


def valley_slope(w):
    """Return the gradient of `valley` (2,)."""
    return np.array([w[0], 40 * w[1]])


def walk(optimizer, slope, start, steps):
    """Return the path (steps + 1, 2) of an optimizer of nn."""
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
# A step reduces the distance to the minimum by the factor `|1 - lr c|`. The *larger* of the two
# factors determines the convergence, and no rate makes both small. The best choice balances them,
# at `lr = 2 / (1 + 40)`.

# %%
rates = np.linspace(0.001, 1.04 * limit, 300)
along, across = abs(1 - rates * 1), abs(1 - rates * 40)
slowest = np.maximum(along, across)
best_rate = rates[slowest.argmin()]
print(f"best rate {best_rate:.4f}; 2 / 41 = {2 / 41:.4f}")
print(f"each step with it leaves {slowest.min():.1%} of the distance")

figure, ax = plt.subplots(figsize=(5.5, 3), layout="constrained")
ax.plot(rates, along, COLOURS[0], ls=STYLES[0], label="along, c = 1")
ax.plot(rates, across, COLOURS[1], ls=STYLES[1], label="across, c = 40")
ax.axhline(1, color="grey", lw=0.8)
ax.axvline(limit, color="grey", lw=0.8, ls=":")
ax.set(xlabel="learning rate", ylabel="reduction factor per step", ylim=(0, 1.15))
ax.legend(loc="lower left")
plt.show()

# %% [markdown]
# ## 2. Momentum and Adam by hand
#
# Momentum accumulates the steps, $v \leftarrow \beta v - \eta g$, $w \leftarrow w + v$. Adam keeps
# running means of the gradients and of their squares, and divides the first by the root of the
# second:
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1) g \qquad s \leftarrow \beta_2 s + (1 - \beta_2) g^2
# \qquad w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{s / (1 - \beta_2^t)} + \epsilon}$$


# %%
def momentum_by_hand(slope, start, steps, lr, beta=0.9):
    """Return the path (steps + 1, 2) of gradient descent with momentum."""
    w, v = np.array(start, dtype=np.float64), np.zeros(2)
    places = [w]
    for _ in range(steps):
        v = beta * v - lr * slope(w)
        w = w + v
        places.append(w)
    return np.array(places)


def adam_by_hand(slope, start, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """Return the path (steps + 1, 2) of Adam."""
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
    """Return the path of an optimizer of nn in the valley."""
    return walk(optimizer, valley_slope, (-4, 0.5), STEPS)


by_hand = momentum_by_hand(valley_slope, (-4, 0.5), STEPS, 0.01)
momentum_difference = abs(by_hand - of_nn(nn.optim.SGDMomentum(lr=0.01))).max()
by_hand = adam_by_hand(valley_slope, (-4, 0.5), STEPS, 0.1)
adam_difference = abs(by_hand - of_nn(nn.optim.Adam(lr=0.1))).max()
first_step = by_hand[1] - by_hand[0]
print(f"momentum, by hand and nn's: at most {momentum_difference:.1e} apart")
print(f"Adam, by hand and nn's:     at most {adam_difference:.1e} apart")
print(f"the gradient at the start is {valley_slope(by_hand[0])}, Adam's first step {first_step}")

# %% [markdown]
# Adam's first step is the learning rate times the *sign* of the gradient, of equal size in steep
# and flat directions.
#
# ## 3. Rosenbrock's function
#
# Rosenbrock's function has a *curved* valley; its minimum, 0, is at (1, 1).
#
# $$f(u, v) = (1 - u)^2 + 10\, (v - u^2)^2$$


# %%
def bent(w):
    """Return Rosenbrock's function, with the coefficient 10 instead of 100."""
    return (1 - w[0]) ** 2 + 10 * (w[1] - w[0] ** 2) ** 2


def bent_slope(w):
    """Return the gradient of `bent` (2,)."""
    u, v = w
    return np.array([-2 * (1 - u) - 40 * u * (v - u**2), 20 * (v - u**2)])


START = (-1.2, 1.6)
place = np.array(START)
measured = nn.gradcheck.numerical_gradient(lambda: bent(place), place)
slope_error = nn.gradcheck.relative_error(measured, bent_slope(place))
print(f"relative error of the gradient: {slope_error:.1e}")

# %% [markdown]
# For each optimizer, the best of seven learning rates is used. As a single step may cross the
# minimum by chance, the *largest* of the last 20 values counts. It is infinite for a rate that
# diverges. (`np.errstate` suppresses the expected overflow warnings.)

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
    """Return the largest of the last 20 values on a path; infinity if it diverged."""
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
ax.set(xlabel="step", ylabel="f", title="value of f")
ax.grid(alpha=0.3)
ax.legend(loc="lower left")
plt.show()

# %% [markdown]
# ## 4. Digits
#
# All optimizers train the same network from the same initial weights, with the same order of
# digits: a hidden layer of 64 neurons on a part of MNIST. Here a gradient is that of a *batch*, an
# unbiased but noisy estimate, and the loss is a function of all weights.

# %%
train, test = nn.data.load_mnist_sample()
train = nn.Dataset(train.x[:TRAIN], train.y[:TRAIN])
test = nn.Dataset(test.x[:TEST], test.y[:TEST])


def learn(name, lr, epochs):
    """Return the loss of each epoch, and the accuracy on the test digits."""
    model = nn.zoo.mlp((64,), seed=SEED)
    model.compile("cce", name, lr=lr)
    history = model.fit(train, epochs=epochs, batch_size=BATCH, verbose=0)
    return history["loss"], model.evaluate(test)["acc"]


coordinates = sum(p.size for layer in nn.zoo.mlp((64,)).layers for p in layer.params.values())
print(f"{coordinates:,} parameters")
DIGIT_RATES = {"sgd": 0.1, "sgdmomentum": 0.03, "nesterov": 0.03, "rmsprop": 1e-3, "adam": 3e-3}
curves, accuracies = {}, {}
for name, lr in DIGIT_RATES.items():
    curves[name], accuracies[name] = learn(name, lr, EPOCHS)
    print(
        f"{name:12} lr {lr:<6g} loss {curves[name][-1]:.3f}, test accuracy {accuracies[name]:.1%}"
    )

# %% [markdown]
# ## 5. The effect of the learning rate
#
# The learning rates above were tuned for each optimizer. To see their effect, train for two epochs
# with several rates:

# %%
SWEEP = {"sgd": [0.001, 0.01, 0.1, 1.0], "adam": [0.0001, 0.001, 0.01, 0.1]}
swept = {name: [learn(name, lr, 2)[0][-1] for lr in rates] for name, rates in SWEEP.items()}
for name, rates in SWEEP.items():
    for lr, loss in zip(rates, swept[name], strict=True):
        print(f"{name:5} lr {lr:<7g} loss {loss:.3f}")
    print(f"{name:5} the worst loss is {max(swept[name]) / min(swept[name]):.1f} times the best\n")
between_rules = max(c[-1] for c in curves.values()) / min(c[-1] for c in curves.values())
print(f"between the optimizers of section 4: {between_rules:.1f} times")

figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
for k, (name, curve) in enumerate(curves.items()):
    epochs = range(1, len(curve) + 1)
    axes[0].plot(epochs, curve, color=COLOURS[k], ls=STYLES[k], marker=".", label=name)
for k, (name, rates) in enumerate(SWEEP.items()):
    axes[1].semilogx(
        rates, swept[name], color=COLOURS[4 * k], ls=STYLES[4 * k], marker="o", label=name
    )
axes[0].set(xlabel="epoch", ylabel="training loss", title="tuned learning rates")
axes[0].xaxis.get_major_locator().set_params(integer=True)
axes[1].set(
    xlabel="learning rate", ylabel="loss after two epochs", title="effect of the learning rate"
)
for ax in axes:
    ax.grid(alpha=0.3, which="both")
    ax.legend()
plt.show()

# %% [markdown]
# Compare these ratios. If the learning rate matters more than the optimizer, a comparison with one
# rate for all says little about the optimizers. (`nn.find_lr` finds a suitable rate, and
# `examples/compare_optimizers.py --search` tries several for each optimizer.)
#
# ## Exercises
#
# 1. **A steeper valley.** Replace 40 by 1,000. Predict the limit of the learning rate for SGD.
#    *Hint:* `2 / c`. How many steps does it need along the valley?
# 2. **Too much momentum.** Try `beta` = 0.5, 0.9 and 0.99 in the valley and draw the paths.
#    *Hint:* steps that agree add up to `1 / (1 - beta)` times one step, and reversing the
#    direction takes about as many steps.
# 3. **Adam without bias correction.** Omit the two divisions by `1 - beta**t`. How large is the
#    first step? *Hint:* `0.1 / sqrt(0.001)` times the rate.
# 4. **A custom optimizer.** Write one that uses only the sign of the gradient, and compare it.
#    *Hint:* `walk` calls a method `step(pairs)` that changes each `w` in place; a subclass of
#    `nn.optim.Optimizer` needs `update(param, grad, slots)`.
# 5. **A schedule.** Pass SGD `lr=nn.schedules.cosine(0.1, total_steps=...)` for the digits.
#    *Hint:* an epoch has `len(train) / BATCH` steps, rounded up. See the
#    [schedules](../docs/schedules.md).
