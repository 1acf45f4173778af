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
# # Forward and backward by hand
#
# You will learn
#
# - how a neuron computes its output and the gradient of its loss;
# - the chain rule, factor by factor, and how to check a derivative *numerically*;
# - the forward and the backward pass of a layer as matrix products;
# - how two layers are trained together, by hand and with `nn`.
#
# The guide has the derivations: [one neuron](../docs/guide/neuron.md) and
# [backpropagation](../docs/guide/backpropagation.md).

# %%
import matplotlib.pyplot as plt
import numpy as np

import nn

SEED = 0
STEPS = 600  # of gradient descent, for the neuron and for the two layers
HIDDEN = 8  # neurons in the hidden layer
LR = 1.0  # learning rate

BLUE, ORANGE = "#0072B2", "#D55E00"

# %% [markdown]
# ## 1. One neuron and one point
#
# The neuron has a weight for each of the two coordinates of a point, and a bias:
#
# $$z = w_1 x_1 + w_2 x_2 + b \qquad p = \frac{1}{1 + e^{-z}}$$
#
# `p` is the predicted probability of class 1. The label is `y = 1`; the loss is
#
# $$L = -y \log p - (1 - y) \log (1 - p)$$


# %%
def sigmoid(z):
    """Return the sigmoid of z, between 0 and 1."""
    return 1 / (1 + np.exp(-z))


def neuron_loss(w, b, x, y):
    """Return the loss of one neuron at one point."""
    p = sigmoid(x @ w + b)
    return -y * np.log(p) - (1 - y) * np.log(1 - p)


point, truth = np.array([2.0, -1.0]), 1
weights, bias = np.array([-0.5, 0.3]), 0.1

z = point @ weights + bias
p = sigmoid(z)
print(f"z = {z:.4f}, p = {p:.4f}, loss = {neuron_loss(weights, bias, point, truth):.4f}")

# %% [markdown]
# ## 2. The chain rule
#
# `L` depends on `p`, `p` on `z`, and `z` on `w`. The derivatives multiply:
#
# $$\frac{dL}{dw_1} = \frac{dL}{dp} \cdot \frac{dp}{dz} \cdot \frac{dz}{dw_1}
# \qquad \frac{dL}{dp} = \frac{p - y}{p (1 - p)}
# \qquad \frac{dp}{dz} = p (1 - p)
# \qquad \frac{dz}{dw_1} = x_1$$
#
# The product of the first two factors is `p - y`. The numbers confirm it:

# %%
loss_by_p = (p - truth) / (p * (1 - p))
p_by_z = p * (1 - p)
by_chain_rule = loss_by_p * p_by_z * point
print(f"dL/dp = {loss_by_p:.4f}, dp/dz = {p_by_z:.4f}, product = {loss_by_p * p_by_z:.4f}")
print(f"p - y = {p - truth:.4f}")
print("dL/dw =", by_chain_rule)

# %% [markdown]
# To check a derivation, compute the derivative numerically:
#
# $$\frac{dL}{dw} \approx \frac{L(w + h) - L(w - h)}{2h}$$
#
# How small should `h` be? If it is too large, the curvature of the loss matters; if it is too
# small, rounding dominates the difference of the two losses.


# %%
def measured(h):
    """Return the numerical derivatives of the loss for both weights."""
    slope = np.zeros(2)
    for k in range(2):
        step = h * np.eye(2)[k]
        above = neuron_loss(weights + step, bias, point, truth)
        below = neuron_loss(weights - step, bias, point, truth)
        slope[k] = (above - below) / (2 * h)
    return slope


step_sizes = 10.0 ** np.arange(0, -13, -1)
measured_errors = np.array([abs(measured(h) - by_chain_rule).max() for h in step_sizes])
best_h = step_sizes[measured_errors.argmin()]
print(f"smallest difference {measured_errors.min():.1e}, with h = {best_h:.0e}")

figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.loglog(step_sizes, measured_errors, "o-", color=BLUE)
axes.set(xlabel="h", ylabel="difference from the chain rule")
axes.grid(alpha=0.3)
plt.show()

# %% [markdown]
# ## 3. Many points at once
#
# With the points as rows of `x`, (N, 2), the loop over them becomes a matrix product. The loss is
# the mean, so the gradient of each point is divided by N:
#
# $$dz = \frac{p - y}{N} \qquad dw = x^T dz \qquad db = \sum_n dz_n$$

# %%
data = nn.data.make_moons(200, noise=0.15, seed=SEED)
x, y = data.x.astype(np.float64), data.y  # (N, 2), (N,)

w, b_neuron = np.zeros(2), 0.0
for _ in range(STEPS):
    p = sigmoid(x @ w + b_neuron)  # forward: (N, 2) @ (2,) -> (N,)
    dz = (p - y) / len(x)  # backward
    dw, db = x.T @ dz, dz.sum()
    w, b_neuron = w - LR * dw, b_neuron - LR * db  # gradient descent

neuron_accuracy = np.mean((x @ w + b_neuron > 0) == y)
print(f"one neuron: w = {w.round(3)}, b = {b_neuron:.3f}, accuracy {neuron_accuracy:.1%}")

# %% [markdown]
# The same neuron in `nn`, from the same initial weights, in `float64` to keep rounding small.

# %%
model = nn.Model([nn.Dense(1, input_shape=(2,))], dtype="float64", seed=SEED)
model.layers[0].params["W"][...] = 0
model.compile(loss="bce", optimizer="sgd", lr=LR)
for _ in range(STEPS):
    model.train_step(x, y)

neuron_difference = abs(model.layers[0].params["W"][:, 0] - w).max()
print(f"largest difference between its weights and ours: {neuron_difference:.1e}")

# %% [markdown]
# ## 4. A layer
#
# A layer consists of several neurons: `W` has a column for each, (D, K). Given `dz`, the gradient
# of the loss for the layer's output, all other gradients follow:
#
# $$z = x W + b \qquad dW = x^T dz \qquad db = \sum_n dz_n \qquad dx = dz\, W^T$$
#
# The last one is new: the layer before it needs the gradient for the *input*.


# %%
def dense_forward(x, W, b):
    """Return z (N, K) for a batch x (N, D)."""
    return x @ W + b


def dense_backward(dz, x, W):
    """Return dx (N, D), dW (D, K) and db (K,), given dz (N, K)."""
    return dz @ W.T, x.T @ dz, dz.sum(axis=0)


rng = np.random.default_rng(SEED)
inputs, output_grad = rng.normal(size=(5, 4)), rng.normal(size=(5, 3))
layer = nn.Model([nn.Dense(3, input_shape=(4,))], dtype="float64", seed=SEED).layers[0]
W = layer.params["W"]

ours = dense_backward(output_grad, inputs, W)
assert np.allclose(layer.forward(inputs), dense_forward(inputs, W, layer.params["b"]))
theirs = layer.backward(output_grad), layer.grads["W"], layer.grads["b"]
layer_difference = max(abs(a - b).max() for a, b in zip(ours, theirs, strict=True))
print(f"our dx, dW and db differ from those of nn.Dense by at most {layer_difference:.1e}")

# %% [markdown]
# `nn.check_gradients` compares all gradients of a layer with numerical ones. A correct `backward`
# has errors below 1e-6. The following one is wrong: the mean over the batch is part of the loss,
# and must not be computed again in the layer.


# %%
class DividesAgain(nn.Dense):
    """A dense layer with a mistake in its backward pass."""

    def backward(self, grad):
        """Return the correct gradient for x, but set a wrong one for W."""
        dx = super().backward(grad)
        self.grads["W"] = self.grads["W"] / len(grad)
        return dx


right_errors = nn.check_gradients(nn.Dense(3), inputs)
wrong_errors = nn.check_gradients(DividesAgain(3), inputs)
for name in sorted(right_errors):
    print(f"{name}: Dense {right_errors[name]:.1e}, DividesAgain {wrong_errors[name]:.1e}")

# %% [markdown]
# ## 5. Two layers
#
# The decision boundary of one neuron is a line, which cannot separate the moons. A hidden layer
# with a nonlinear activation (`tanh`) can. The backward pass goes through these steps in reverse:
#
# $$z_1 = x W_1 + b_1 \qquad a = \tanh z_1 \qquad z_2 = a W_2 + b_2 \qquad p = \sigma(z_2)$$
#
# The derivative of `tanh` is $1 - \tanh^2$.


# %%
def forward(x, W1, b1, W2, b2):
    """Return the hidden layer's output (N, H) and the probabilities (N, 1)."""
    a = np.tanh(dense_forward(x, W1, b1))
    return a, sigmoid(dense_forward(a, W2, b2))


def backward(x, y, a, p, W1, W2):
    """Return dW1, db1, dW2 and db2: the steps of `forward` in reverse."""
    dz2 = (p - y[:, np.newaxis]) / len(x)
    da, dw2, db2 = dense_backward(dz2, a, W2)
    dz1 = da * (1 - a**2)
    _, dw1, db1 = dense_backward(dz1, x, W1)
    return dw1, db1, dw2, db2


def cross_entropy(p, y):
    """Return the mean loss of probabilities (N, 1) against labels (N,)."""
    return -np.mean(np.log(np.where(y == 1, p[:, 0], 1 - p[:, 0])))


start = [
    rng.normal(size=(2, HIDDEN)) / np.sqrt(2),
    np.zeros(HIDDEN),
    rng.normal(size=(HIDDEN, 1)) / np.sqrt(HIDDEN),
    np.zeros(1),
]
params = [array.copy() for array in start]
losses = []
for _ in range(STEPS):
    a, p = forward(x, *params)
    losses.append(cross_entropy(p, y))
    for param, grad in zip(params, backward(x, y, a, p, params[0], params[2]), strict=True):
        param -= LR * grad

accuracy = np.mean((forward(x, *params)[1][:, 0] > 0.5) == y)
print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}; accuracy {accuracy:.1%}")
print(f"(one neuron: {neuron_accuracy:.1%})")

# %% [markdown]
# Check the gradients of all weights of both layers numerically:

# %%
a, p = forward(x, *start)
analytical = backward(x, y, a, p, start[0], start[2])
two_layer_errors = [
    nn.gradcheck.relative_error(
        grad,
        nn.gradcheck.numerical_gradient(lambda: cross_entropy(forward(x, *start)[1], y), param),
    )
    for param, grad in zip(start, analytical, strict=True)
]
for name, error in zip(["W1", "b1", "W2", "b2"], two_layer_errors, strict=True):
    print(f"{name}: relative error {error:.1e}")

# %% [markdown]
# And the same network in `nn`, from the same weights:

# %%
model = nn.Model(
    [nn.Dense(HIDDEN, activation="tanh", input_shape=(2,)), nn.Dense(1)],
    dtype="float64",
    seed=SEED,
)
for layer, (W, b) in zip(model.layers, [start[:2], start[2:]], strict=True):
    layer.params["W"][...], layer.params["b"][...] = W, b
model.compile(loss="bce", optimizer="sgd", lr=LR)
losses_of_nn = [model.train_step(x, y)["loss"] for _ in range(STEPS)]
network_difference = max(abs(np.array(losses) - losses_of_nn))
print(f"largest difference of the loss in {STEPS} steps: {network_difference:.1e}")


# %%
def draw_regions(axes, probability, title):
    """Draw the moons and the decision regions of a function of points (M, 2)."""
    across, up = np.meshgrid(np.linspace(-1.6, 2.6, 150), np.linspace(-1.2, 1.7, 150))
    shares = probability(np.stack([across.ravel(), up.ravel()], axis=1)).reshape(across.shape)
    axes.contourf(across, up, shares, levels=np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.35)
    axes.contour(across, up, shares, levels=[0.5], colors="black")
    for label, colour, marker in ((0, BLUE, "o"), (1, ORANGE, "^")):
        axes.scatter(
            *x[y == label].T, s=14, color=colour, marker=marker, edgecolors="white", lw=0.4
        )
    axes.set(title=title, xticks=[], yticks=[])


figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
draw_regions(axes[0], lambda points: sigmoid(points @ w + b_neuron), "one neuron")
draw_regions(axes[1], lambda points: forward(points, *params)[1], f"{HIDDEN} hidden neurons")
axes[2].plot(losses, color=BLUE, lw=4, alpha=0.5, label="by hand")
axes[2].plot(losses_of_nn, color="black", ls="--", lw=1, label="nn")
axes[2].set(xlabel="step", ylabel="loss", ylim=(0, None), title="training two layers")
axes[2].grid(alpha=0.3)
axes[2].legend()
plt.show()

# %% [markdown]
# ## Exercises
#
# 1. **The squared error.** Replace the loss of section 1 by $L = (p - y)^2$ and derive the
#    gradient. What is it for a confident wrong prediction, at `bias = -10`?
#    *Hint:* the factor $p (1 - p)$ does not cancel.
# 2. **ReLU.** Use `np.maximum(z, 0)` instead of `tanh` in both passes.
#    *Hint:* the derivative is 1 if `z > 0`, else 0; `a > 0` is equivalent.
#    Compare with `nn.Dense(HIDDEN, activation="relu")`.
# 3. **Zero initialisation.** Start the two layers from zeros. Which gradients are 0 in the first
#    step, and why does the decision boundary stay a line?
#    *Hint:* $da = dz_2 W_2^T$, and $dW_2 = a^T dz_2$.
# 4. **A third layer.** Add one to `forward` and `backward`.
#    *Hint:* `backward` gets two more lines, similar to those for `dz1` and `dw1`.
# 5. **Another mistake.** Write a `backward` without the transposition in $dz\, W^T$. For which
#    shape of `W` does Python raise no error? Does `nn.check_gradients` find the mistake?
#    *Hint:* with a square `W` the shapes match. More exercises:
#    [Teaching](../docs/howto/teaching.md).
