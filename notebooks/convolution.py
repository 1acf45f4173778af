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
# # Convolution: loops, matrix products and other implementations
#
# You will learn
#
# - how a kernel is applied at one position of an image, and at all of them;
# - how seven loops become one matrix product (`im2col`), and how much memory it needs;
# - three alternatives: tiles, strided views, and shifted images;
# - the backward pass of a convolution;
# - how long each takes on *your* machine.
#
# The guide has [the formulas](../docs/guide/convolution.md) and explains [the
# performance](../docs/speed.md). `nn.naive` has all operations in loops.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

import nn
from nn import kernels, naive

SEED = 0
SAMPLES = 32  # images in the batch that is timed
CHANNELS = 8
FILTERS = 16
SIZE = 28  # pixels along each side
REPEATS = 5  # of each measurement; the fastest counts

BLUE, GREY = "#0072B2", "#5A5A5A"

# %% [markdown]
# ## 1. One position
#
# Multiply a patch of the image with the kernel, element by element, and sum the products. The
# result is one element of the output. This kernel subtracts the left neighbours of a pixel from
# the right ones.

# %%
train, _ = nn.data.load_mnist_sample()
images, labels = train.arrays()
digit = images[np.flatnonzero(labels == 7)[0], 0]  # (28, 28), from 0 to 1

kernel = np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
row, column = 12, 14
patch = digit[row : row + 3, column : column + 3]
print("the patch:\n", patch.round(2))
print(f"times the kernel, added up: {np.sum(patch * kernel):.3f}")

# %% [markdown]
# ## 2. All positions: loops
#
# Repeat this for each row and column, each image `n` and each filter `f`; if there are several
# channels `c`, the sum includes them. There are four loops over the output and three in the sum:
#
# $$y_{n,f,p,q} = \sum_{c} \sum_{i} \sum_{j} W_{f,c,i,j}\; x_{n,\,c,\,p + i,\,q + j}$$
#
# (Without padding and with stride 1. `nn.naive.conv2d_naive` supports both, and groups and
# dilation.)


# %%
def by_loops(x, W):
    """Return the convolution of x (N, C, H, W) with kernels (F, C, KH, KW)."""
    (N, C, height, width), (F, _, KH, KW) = x.shape, W.shape
    y = np.zeros((N, F, height - KH + 1, width - KW + 1))
    for n, f, p, q in np.ndindex(y.shape):  # four loops
        for c, i, j in np.ndindex(C, KH, KW):  # and three
            y[n, f, p, q] += W[f, c, i, j] * x[n, c, p + i, q + j]
    return y


edges = by_loops(digit[np.newaxis, np.newaxis], kernel[np.newaxis, np.newaxis])[0, 0]
print(
    f"at ({row}, {column}): {edges[row, column]:.3f};",
    f"an image of {digit.shape} gives {edges.shape}",
)

figure, axes = plt.subplots(1, 3, figsize=(8, 2.6), layout="constrained")
axes[0].imshow(digit, cmap="gray")
axes[0].set_title("the image")
axes[1].imshow(kernel, cmap="RdBu_r", vmin=-2, vmax=2)
axes[1].set_title("the kernel")
top = abs(edges).max()
axes[2].imshow(edges, cmap="RdBu_r", vmin=-top, vmax=top)
axes[2].set_title("left and right edges")
for ax in axes:
    ax.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# A batch for the following sections, a smaller one for the slow loops, and the expected result.

# %%
rng = np.random.default_rng(SEED)
x = rng.normal(size=(SAMPLES, CHANNELS, SIZE, SIZE)).astype(np.float32)
W = rng.normal(size=(FILTERS, CHANNELS, 3, 3)).astype(np.float32)
few, few_kernels = x[:1, :, :8, :8], W[:4]

truth = naive.conv2d_naive(few, few_kernels, None)
loop_difference = abs(by_loops(few, few_kernels) - truth).max()
print(f"our loops against those of nn.naive: at most {loop_difference:.1e} apart")

# %% [markdown]
# ## 3. im2col: one matrix product
#
# The three inner loops are a dot product of two vectors of length C·KH·KW. So write every patch of
# every image as a row of a matrix `P`, and every kernel as a column of another:
#
# $$Y = P\, K \qquad P: (N \cdot OH \cdot OW,\; C \cdot KH \cdot KW)
# \qquad K: (C \cdot KH \cdot KW,\; F)$$
#
# Only two loops remain, over the nine elements of the kernel; each copies a shifted image.


# %%
def im2col(x, KH, KW):
    """Return the patches of x (N, C, H, W) as rows: (N*OH*OW, C*KH*KW)."""
    N, C, height, width = x.shape
    OH, OW = height - KH + 1, width - KW + 1
    patches = np.empty((N, OH, OW, C, KH, KW), dtype=x.dtype)
    for i in range(KH):
        for j in range(KW):
            # (N, C, OH, OW) -> (N, OH, OW, C)
            patches[..., i, j] = x[:, :, i : i + OH, j : j + OW].transpose(0, 2, 3, 1)
    return patches.reshape(N * OH * OW, C * KH * KW)


def to_maps(rows, x, W):
    """Return rows (N*OH*OW, F) as maps (N, F, OH, OW)."""
    OH, OW = x.shape[2] - W.shape[2] + 1, x.shape[3] - W.shape[3] + 1
    return rows.reshape(len(x), OH, OW, len(W)).transpose(0, 3, 1, 2)


def by_im2col(x, W):
    """Return the convolution as one matrix product."""
    # W: (F, C, KH, KW) -> (F, C*KH*KW) -> (C*KH*KW, F)
    return to_maps(im2col(x, *W.shape[2:]) @ W.reshape(len(W), -1).T, x, W)


im2col_difference = abs(by_im2col(few, few_kernels) - truth).max()
patches = im2col(x, 3, 3)
growth = patches.nbytes / x.nbytes
print(f"im2col against the loops: at most {im2col_difference:.1e} apart (float32)")
print(f"images {x.nbytes / 1e6:.2f} MB, patches {patches.nbytes / 1e6:.2f} MB: {growth:.1f} times")

# %% [markdown]
# ## 4. Tiles
#
# `P` is not needed as a whole. Compute it for a few images and multiply while it is in the
# processor's cache. This takes the memory of one tile.


# %%
def by_tiles(x, W, tile=1):
    """Return the convolution, with the patches of `tile` images at a time."""
    y = np.empty(
        (len(x), len(W), x.shape[2] - W.shape[2] + 1, x.shape[3] - W.shape[3] + 1), x.dtype
    )
    for start in range(0, len(x), tile):
        y[start : start + tile] = by_im2col(x[start : start + tile], W)
    return y


whole = by_im2col(x, W)
tile_difference = abs(by_tiles(x, W) - whole).max()
print(f"tiles of one image against the whole: at most {tile_difference:.1e} apart")
print(f"patches of one image: {im2col(x[:1], 3, 3).nbytes / 1e6:.2f} MB")

# %% [markdown]
# ## 5. Strided views
#
# An array is a block of memory with *strides*, the number of bytes between neighbouring elements
# along each axis. With suitable strides a pixel can be part of nine patches without being copied.

# %%
view = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))  # (N, C, OH, OW, KH, KW)
is_view = np.shares_memory(view, x)
print("shape of the view:", view.shape)
print("bytes to the next index:", view.strides, "- the last two repeat those before them")
print(f"shares its memory with x: {is_view}; as an array of its own: {view.nbytes / 1e6:.2f} MB")

# %% [markdown]
# But a matrix product needs its rows in memory. `tensordot` reshapes the view, which copies the
# data after all: this is `im2col` in one line.


# %%
def by_view(x, W):
    """Return the convolution as a product of a strided view with the kernels."""
    view = np.lib.stride_tricks.sliding_window_view(x, W.shape[2:], axis=(2, 3))
    # (N, C, OH, OW, KH, KW) and (F, C, KH, KW) -> (N, OH, OW, F) -> (N, F, OH, OW)
    return np.tensordot(view, W, axes=([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2)


rows_are_copied = not np.shares_memory(
    view.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 9 * CHANNELS), x
)
view_difference = abs(by_view(x, W) - whole).max()
print(f"a reshape of the view is a copy: {rows_are_copied}")
print(f"against im2col: at most {view_difference:.1e} apart")

# %% [markdown]
# An implementation without patches: nine small products, one for each element of the kernel, of
# the *shifted image* with the weights of that element. The channels must be the last axis in
# memory.


# %%
def by_shifts(x, W):
    """Return the convolution as a sum of products, one for each kernel element."""
    KH, KW = W.shape[2:]
    OH, OW = x.shape[2] - KH + 1, x.shape[3] - KW + 1
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))  # (N, C, H, W) -> (N, H, W, C)
    y = np.zeros((len(x), OH, OW, len(W)), dtype=x.dtype)
    for i in range(KH):
        for j in range(KW):
            y += last[:, i : i + OH, j : j + OW] @ W[:, :, i, j].T  # (N, OH, OW, C) @ (C, F)
    return y.transpose(0, 3, 1, 2)


shift_difference = abs(by_shifts(x, W) - whole).max()
print(f"shifted images against im2col: at most {shift_difference:.1e} apart")

# %% [markdown]
# ## 6. Backward
#
# As a convolution is a matrix product, its gradients are those of a dense layer: $dK = P^T dY$ and
# $dP = dY\, K^T$. A pixel that is part of several patches gets the sum of their gradients
# ("col2im").


# %%
def backward(grad, x, W):
    """Return dx and dW of the convolution, given the gradient (N, F, OH, OW) of its output."""
    (N, F, OH, OW), (_, C, KH, KW) = grad.shape, W.shape
    dy = grad.transpose(0, 2, 3, 1).reshape(-1, F)  # (N, F, OH, OW) -> (N*OH*OW, F)
    dw = (dy.T @ im2col(x, KH, KW)).reshape(W.shape)  # (F, C*KH*KW) -> (F, C, KH, KW)
    dpatches = (dy @ W.reshape(F, -1)).reshape(N, OH, OW, C, KH, KW)
    dx = np.zeros_like(x)
    for i in range(KH):
        for j in range(KW):
            dx[:, :, i : i + OH, j : j + OW] += dpatches[..., i, j].transpose(0, 3, 1, 2)
    return dx, dw


grad = rng.normal(size=truth.shape)
ours = backward(grad, few.astype(np.float64), few_kernels.astype(np.float64))
dx, dw, _ = naive.conv2d_backward_naive(grad, few, few_kernels)
backward_difference = max(abs(ours[0] - dx).max(), abs(ours[1] - dw).max())
print(f"against the loops of nn.naive: at most {backward_difference:.1e} apart")

# %% [markdown]
# ## 7. Running times
#
# Each function runs once as a warm-up, then several times, and the fastest run counts, as other
# processes can only slow it down. The loops have a smaller batch, so all are compared by the time
# *per multiplication*. The results depend on the sizes. `nn.kernels.conv2d` is compiled if Numba
# is installed.


# %%
def seconds(function, *arguments):
    """Return the time of the fastest of several runs."""
    function(*arguments)
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - started)
    return min(times)


def multiplications(x, W):
    """Return the number of multiplications of the convolution."""
    return len(x) * W.size * (x.shape[2] - W.shape[2] + 1) * (x.shape[3] - W.shape[3] + 1)


functions = {
    "seven loops": (by_loops, few, few_kernels),
    "im2col": (by_im2col, x, W),
    "tiles": (by_tiles, x, W),
    "strided view": (by_view, x, W),
    "shifted images": (by_shifts, x, W),
    "nn.kernels": (lambda x, W: kernels.conv2d(x, W, None), x, W),
}
nanoseconds = {}
for name, (function, a, b) in functions.items():
    spent = seconds(function, a, b)
    nanoseconds[name] = 1e9 * spent / multiplications(a, b)
    print(f"{name:17} {1e3 * spent:9.2f} ms {nanoseconds[name]:12.4f} ns per multiplication")
quickest = min(nanoseconds, key=nanoseconds.get)
gain = nanoseconds["seven loops"] / nanoseconds[quickest]
numba = "with" if kernels.compiled() else "without"
print(f"\n{numba} Numba: '{quickest}' is fastest, {gain:,.0f} times as fast as the loops")

figure, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
bars = ax.barh(list(nanoseconds), list(nanoseconds.values()), color=BLUE)
ax.bar_label(bars, fmt="%.3g", padding=3, color=GREY)
ax.set_xscale("log")
ax.set_xlim(right=4 * max(nanoseconds.values()))
ax.invert_yaxis()
ax.set_xlabel("nanoseconds per multiplication")
plt.show()

# %% [markdown]
# The best size of a tile is large enough to amortise the call and small enough for the cache. The
# last size is im2col of the whole batch.

# %%
tiles = [2**k for k in range(SAMPLES.bit_length()) if 2**k <= SAMPLES]
tile_times = [1e3 * seconds(by_tiles, x, W, tile) for tile in tiles]
for tile, spent in zip(tiles, tile_times, strict=True):
    print(f"{tile:3} images, {patches.nbytes * tile / SAMPLES / 1e6:6.2f} MB: {spent:7.2f} ms")
print(f"fastest: {tiles[int(np.argmin(tile_times))]} at a time")

# %% [markdown]
# ## Exercises
#
# 1. **Kernels by hand.** Find 3 x 3 kernels that (a) blur, (b) detect horizontal edges, (c) shift
#    the image by one pixel. Draw the results for the digit.
#    *Hint:* (a) nine equal numbers with sum 1; (b) transpose the kernel above; (c) a single 1.
# 2. **Stride.** Give `im2col` a stride `s`. *Hint:* `x[:, :, i : i + s * OH : s, ...]`, and `OH`
#    is `(H - KH) // s + 1`. Compare with `naive.conv2d_naive(x, W, None, stride=(s, s))`.
# 3. **Padding.** `np.pad` the images so that the output has the image's size. Then crop `dx`.
#    *Hint:* a kernel of 3 needs one pixel on each side. The gradient of the added zeros is not
#    needed.
# 4. **Larger kernels.** Repeat section 7 with 7 x 7 and with 1 x 1 kernels. Which implementation
#    benefits, and why? *Hint:* compare the size of `P` with that of the images.
# 5. **Numerical gradients.** Check `backward` against `nn.gradcheck.numerical_gradient` of
#    `np.sum(grad * by_im2col(x, W))`. *Hint:* in float64, with the small batch.
