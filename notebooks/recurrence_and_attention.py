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
# # Recurrence and attention
#
# You will learn
#
# - how an LSTM reads a sequence, and how its gradients are computed back through time;
# - why a recurrent layer without gates forgets, and what its gradients have to do with it;
# - what the gates of a trained LSTM do at each step;
# - how attention is computed, and what a trained layer looks at.
#
# The guide has the derivations: [recurrence](../docs/guide/recurrence.md) and
# [attention](../docs/guide/attention.md).

# %%
import matplotlib.pyplot as plt
import numpy as np

import nn

SEED = 0
SEQUENCES = 2000  # to train on, in both tasks
LENGTH = 30  # steps of a sequence to remember a number of
EPOCHS = 12  # of each recurrent layer
UNITS = 8  # of the recurrent layers that are trained
SYMBOLS = 10  # in a sequence to be reversed
REVERSAL_EPOCHS = 15

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"

rng = np.random.default_rng(SEED)

# %% [markdown]
# ## 1. An LSTM from its formulas
#
# At each step, four products of the input `x` and the last state `h` decide what happens to the
# cell `c`: how much is written (`i`), how much is kept (`f`), what is written (`g`), and how much
# is read (`o`):
#
# $$i, f, o = \sigma(x_t W_{i,f,o} + h_{t-1} U_{i,f,o} + b_{i,f,o})
# \qquad g = \tanh(x_t W_g + h_{t-1} U_g + b_g)$$
#
# $$c_t = f \, c_{t-1} + i \, g \qquad h_t = o \tanh(c_t)$$
#
# The four stand side by side in `W`, `U` and `b`, in the order i, f, g, o.


# %%
def sigmoid(z):
    """Return the sigmoid of z, between 0 and 1."""
    return 1 / (1 + np.exp(-z))


def lstm(x, W, U, b):
    """Return states and cells (T + 1, N, U), and gates (T, 4, N, U), of sequences x (N, T, D)."""
    samples, steps, units = len(x), x.shape[1], len(U)
    h, c = np.zeros((2, steps + 1, samples, units))
    gates = np.empty((steps, 4, samples, units))
    for t in range(steps):
        i, f, g, o = np.split(x[:, t] @ W + h[t] @ U + b, 4, axis=1)
        gates[t] = i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c[t + 1] = f * c[t] + i * g
        h[t + 1] = o * np.tanh(c[t + 1])
    return h, c, gates


layer = nn.LSTM(5, return_sequences=True)
layer.dtype = "float64"
layer.build((None, None, 3))
W, U, b = (layer.params[name] for name in "WUb")
x = rng.normal(size=(4, 12, 3))  # (N, T, D)
h, c, gates = lstm(x, W, U, b)
lstm_difference = abs(h[1:].swapaxes(0, 1) - layer.forward(x, training=True)).max()
print(f"largest difference from nn.LSTM: {lstm_difference:.1e}")

# %% [markdown]
# ## 2. Back through time
#
# The gradients go through the same lines from the last to the first. A state `h` was used twice: as
# the output of its step and in the products of the next one. So the gradients of both uses add up,
# and the same is true of `c`:
#
# $$dh_t = dy_t + da_{t+1} U^T \qquad
# dc_t = dc_{t+1} \, f_{t+1} + dh_t \, o \, (1 - \tanh^2 c_t)$$
#
# `da` are the gradients for the four products, before sigmoid and tanh. All steps use the same
# weights, so the gradients of the weights are sums over the steps.


# %%
def lstm_backward(grad, x, W, U, h, c, gates):
    """Return the gradients of x, W, U and b; `grad` is that of the outputs, (N, T, U)."""
    dx, dW, dU, db = np.zeros_like(x), np.zeros_like(W), np.zeros_like(U), 0
    dh, dc = np.zeros((2, len(x), len(U)))
    for t in reversed(range(x.shape[1])):
        i, f, g, o = gates[t]
        tanh_c = np.tanh(c[t + 1])
        dh = dh + grad[:, t]
        dc = dc + dh * o * (1 - tanh_c**2)
        di, df, dg, do = dc * g, dc * c[t], dc * i, dh * tanh_c
        da = [di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)]
        da = np.concatenate(da, axis=1)  # (N, 4U)
        dx[:, t], dh, dc = da @ W.T, da @ U.T, dc * f
        dW, dU, db = dW + x[:, t].T @ da, dU + h[t].T @ da, db + da.sum(axis=0)
    return dx, dW, dU, db


grad = rng.normal(size=(4, 12, 5))
ours = lstm_backward(grad, x, W, U, h, c, gates)
theirs = [layer.backward(grad), *(layer.grads[name] for name in "WUb")]
gradient_differences = {
    name: abs(one - other).max()
    for name, one, other in zip(["x", *"WUb"], ours, theirs, strict=True)
}
print({name: f"{difference:.1e}" for name, difference in gradient_differences.items()})

# %% [markdown]
# ## 3. What arrives of a gradient
#
# How much does the last state depend on what the layer read long ago? The gradient for `x_t` says
# it. Here are its sizes for layers that are not trained yet. In `SimpleRNN`, which is
# `h = tanh(x W + h U + b)`, the gradient is multiplied by `U` and by `1 - h^2` at each step. In an
# LSTM it can go from cell to cell, where it is multiplied by `f` alone; with a bias of 5 for that
# gate, `f` is 0.99.


# %%
def sizes_of_gradients(layer, forget_bias=None, steps=60, features=4):
    """Return the size of the gradient of the last state for the input of each step."""
    model = nn.Model([layer], dtype="float64", seed=SEED)
    model.build((None, steps, features))
    if forget_bias is not None:
        layer.params["b"][layer.units : 2 * layer.units] = forget_bias  # of i, f, g, o
    y = model.forward(rng.normal(size=(16, steps, features)), training=True)
    dx = model.backward(np.ones_like(y))
    return np.sqrt((dx**2).mean(axis=(0, 2)))


arriving = {
    "SimpleRNN": sizes_of_gradients(nn.SimpleRNN(16)),
    "LSTM, bias 1": sizes_of_gradients(nn.LSTM(16)),
    "LSTM, bias 5": sizes_of_gradients(nn.LSTM(16), forget_bias=5),
}
figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
for (name, sizes), colour in zip(arriving.items(), (ORANGE, GREEN, BLUE), strict=True):
    axes.semilogy(np.arange(-len(sizes) + 1, 1), sizes, color=colour, label=name)
    print(f"{name}: after 50 steps {sizes[-51] / sizes[-1]:.1e} of it arrives")
axes.set(xlabel="step, counted from the last", ylabel="size of the gradient")
axes.grid(alpha=0.3)
axes.legend()
plt.show()

# %% [markdown]
# ## 4. A number to remember
#
# A task in which nothing but memory counts: each step has a random number and a mark, which is 1 at
# one step of the first third and 0 at all others. After the last step, the network says whether the
# marked number was positive. It must notice the mark, and keep one bit for at least two thirds of
# the sequence.


# %%
def marked_numbers(count):
    """Return sequences (count, LENGTH, 2), labels 0 or 1, and the marked step of each."""
    numbers = rng.uniform(-1, 1, (count, LENGTH))
    step = rng.integers(0, LENGTH // 3, count)
    marks = np.arange(LENGTH) == step[:, None]
    x = np.stack([numbers, marks], axis=2).astype("float32")
    return x, (numbers[marks] > 0).astype(int), step


def trained(layer):
    """Return a model of the layer and one output, trained to remember, and its test accuracy."""
    model = nn.Model([layer, nn.Dense(1)], seed=SEED)
    model.compile("bce", "adam", lr=0.02, clip_norm=1.0)
    model.fit(*training[:2], epochs=EPOCHS, verbose=0)
    return model, model.evaluate(*test[:2])["acc"]


training, test = marked_numbers(SEQUENCES), marked_numbers(500)
simple, simple_accuracy = trained(nn.SimpleRNN(UNITS))
gated, gated_accuracy = trained(nn.LSTM(UNITS))
print(f"SimpleRNN: {simple_accuracy:.1%} of the test right, LSTM: {gated_accuracy:.1%}")

# %% [markdown]
# ## 5. What the gates do
#
# The LSTM of section 1, with the weights of the trained layer, returns its gates while it reads one
# sequence of the test. Each row is a unit, each column a step. Which unit has kept the number?
# Its cell changes at the mark, and then its `f` stays near 1 and its `i` or `g` near 0. (The
# colours of the cells end at 2: some units count steps, and grow larger.)

# %%
sequence, marked_step = test[0][:1], test[2][0]
weights = [gated.layers[0].params[name] for name in "WUb"]
h, c, gates = lstm(sequence, *weights)
state_difference = abs(h[-1] - gated.layers[0].forward(sequence)).max()
print(f"largest difference from the layer's last state: {state_difference:.1e}")

panels = {
    "i, written": gates[:, 0, 0],
    "f, kept": gates[:, 1, 0],
    "o, read": gates[:, 3, 0],
    "cell c": c[1:, 0],
}
figure, axes = plt.subplots(5, 1, figsize=(7, 7), layout="constrained", sharex=True)
axes[0].bar(np.arange(LENGTH), sequence[0, :, 0], color=BLUE)
axes[0].set(ylabel="number", ylim=(-1, 1))
for place, (name, values) in zip(axes[1:], panels.items(), strict=True):
    limit = 2 if name == "cell c" else 1
    drawn = place.imshow(
        values.T,
        cmap="RdBu_r" if name == "cell c" else "viridis",
        vmin=-limit if name == "cell c" else 0,
        vmax=limit,
        aspect="auto",
    )
    place.set(ylabel=name, yticks=[])
    figure.colorbar(drawn, ax=place)
for place in axes:
    place.axvline(marked_step, color=ORANGE, lw=1.5, ls="--")
axes[0].set_title(f"the dashed line is the mark, at step {marked_step}")
axes[-1].set_xlabel("step")
plt.show()

# %% [markdown]
# ## 6. Attention from its formulas
#
# Attention passes nothing from step to step. Each step has a query, a key and a value; the weight
# of step `s` for step `t` grows with the product of the query of `t` and the key of `s`:
#
# $$p_{ts} = \frac{e^{q_t \cdot k_s / \sqrt{K}}}{\sum_r e^{q_t \cdot k_r / \sqrt{K}}}
# \qquad y_t = \sum_s p_{ts} \, v_s$$
#
# Several heads do this side by side; their outputs are joined and multiplied by `W_out`. A causal
# layer gives later steps the score minus infinity, and so the weight 0.


# %%
def attention(x, params, heads, causal=False):
    """Return outputs (N, T, D) and weights (N, H, T, T) for sequences x (N, T, D)."""
    samples, steps = x.shape[:2]
    qkv = x @ params["W"] + params["b"]  # (N, T, 3 * H * K)
    qkv = qkv.reshape(samples, steps, 3, heads, -1).transpose(2, 0, 3, 1, 4)
    q, k, v = qkv  # each (N, H, T, K)
    scores = q @ k.swapaxes(2, 3) / np.sqrt(q.shape[3])  # (N, H, T, T)
    if causal:
        scores = np.where(np.tri(steps, dtype=bool), scores, -np.inf)
    exps = np.exp(scores - scores.max(axis=3, keepdims=True))
    weights = exps / exps.sum(axis=3, keepdims=True)
    y = (weights @ v).transpose(0, 2, 1, 3).reshape(samples, steps, -1)  # the heads joined
    return y @ params["W_out"] + params["b_out"], weights


attention_differences = {}
for causal in (False, True):
    layer = nn.MultiHeadAttention(2, 4, causal=causal)
    nn.Model([layer], dtype="float64", seed=SEED).build((None, 7, 6))
    x = rng.normal(size=(3, 7, 6))
    difference = abs(attention(x, layer.params, 2, causal)[0] - layer.forward(x)).max()
    attention_differences[causal] = difference
    print(f"causal {causal}: largest difference from nn.MultiHeadAttention {difference:.1e}")

# %% [markdown]
# ## 7. The weights of a trained layer
#
# The task is to write a sequence of symbols backwards. A recurrent layer that gives an output at
# each step cannot do it: the first output is the last symbol, which it has not read. One layer of
# attention can, if it knows the positions of the symbols, here by a vector that is learned for
# each.

# %%
symbols = rng.integers(0, 8, (SEQUENCES + 500, SYMBOLS))
backwards = symbols[:, ::-1].copy()
reversing = nn.Model(
    [
        nn.Embedding(8, 16, input_shape=(SYMBOLS,)),
        nn.PositionalEmbedding(SYMBOLS),
        nn.MultiHeadAttention(2, 8),
        nn.Dense(8),
    ],
    seed=SEED,
)
reversing.compile("cce", "adam", lr=0.01)
reversing.fit(symbols[:SEQUENCES], backwards[:SEQUENCES], epochs=REVERSAL_EPOCHS, verbose=0)
reversed_accuracy = reversing.evaluate(symbols[SEQUENCES:], backwards[SEQUENCES:])["acc"]
print(f"{reversed_accuracy:.1%} of the symbols right")

embedding, positions, layer, _ = reversing.layers
one = symbols[SEQUENCES : SEQUENCES + 1]
looked_at = attention(positions.forward(embedding.forward(one)), layer.params, heads=2)[1][0]
mirrored = looked_at[:, np.arange(SYMBOLS), np.arange(SYMBOLS)[::-1]].mean()
print(f"{mirrored:.1%} of the weight is at the mirrored step, {1 / SYMBOLS:.1%} by chance")

figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
for head, (place, weights) in enumerate(zip(axes, looked_at, strict=True)):
    drawn = place.imshow(weights, cmap="viridis", vmin=0, vmax=1)
    place.set(title=f"head {head + 1}", xlabel="step looked at", ylabel="step")
    place.set(xticks=range(SYMBOLS), xticklabels=one[0], yticks=range(SYMBOLS))
    place.set_yticklabels(backwards[SEQUENCES])
figure.colorbar(drawn, ax=axes, label="weight")
plt.show()

# %% [markdown]
# The labels of the columns are the symbols that are read, those of the rows the symbols to be
# written.
#
# ## Exercises
#
# 1. **A GRU.** Write `gru(x, W, U, b)` from the formulas of the
#    [guide](../docs/guide/recurrence.md), and compare it with `nn.GRU`.
#    *Hint:* the gates are in the order z, r, h, and `b` has two rows.
# 2. **A longer memory.** For which `LENGTH` does the LSTM fail too? Does a bias of 5 for `f` help?
#    *Hint:* set it after `model.build((None, LENGTH, 2))`, as in section 3.
# 3. **Gradients that explode.** Multiply `U` of a `SimpleRNN` by 3 in `sizes_of_gradients`. What
#    arrives, and why does it not grow without end?
#    *Hint:* large states make `1 - h^2` small.
# 4. **Without positions.** Leave `PositionalEmbedding` out in section 7. What accuracy is left, and
#    what does the layer look at?
#    *Hint:* the same symbols in another order give the same outputs in that order.
# 5. **Causal.** Which of the outputs can be right with `MultiHeadAttention(2, 8, causal=True)`?
#    *Hint:* the symbol to be written must have been read.
