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
# # The same network in nn, Keras and PyTorch
#
# You will learn
#
# - to write one network in three libraries, and where they differ in their conventions;
# - to carry weights from nn to Keras and PyTorch;
# - that outputs, gradients and whole trainings agree to rounding, as all three compute the same
#   formulas.
#
# It needs Keras and PyTorch: `pip install torch keras`. On Colab both are there. [Coming from
# Keras](../docs/coming-from-keras.md) and [Coming from PyTorch](../docs/coming-from-pytorch.md)
# have tables of the differences.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib.pyplot as plt
import numpy as np
import torch

import nn

SEED = 0
TRAIN = 2000  # digits for training
BATCH = 50
EPOCHS = 3
RATE = 0.1
FILTERS = 8

train, test = nn.data.load_mnist_sample()
x, y = train.arrays()
x, y = (x[:TRAIN] / 255).astype("float32"), y[:TRAIN]
x_test = (test.x / 255).astype("float32")

# %% [markdown]
# ## 1. In nn
#
# Images are (N, C, H, W). The last layer returns logits, and the loss includes the softmax.

# %%
model = nn.Model(
    [
        nn.Conv2D(FILTERS, 5, padding="valid", activation="relu", input_shape=(1, 28, 28)),
        nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Dense(10),
    ],
    seed=SEED,
)
model.compile("categorical_crossentropy", "sgd", lr=RATE)
print(model.summary())

# %% [markdown]
# ## 2. In PyTorch
#
# PyTorch has the same order of axes. Its dense weights are (out, in), the transposed ones of nn.

# %%
in_torch = torch.nn.Sequential(
    torch.nn.Conv2d(1, FILTERS, 5),
    torch.nn.ReLU(),
    torch.nn.MaxPool2d(2),
    torch.nn.Flatten(),
    torch.nn.Linear(FILTERS * 12 * 12, 10),
)
conv, dense = model.layers[0], model.layers[3]
with torch.no_grad():
    in_torch[0].weight.copy_(torch.tensor(conv.params["W"]))
    in_torch[0].bias.copy_(torch.tensor(conv.params["b"]))
    in_torch[4].weight.copy_(torch.tensor(dense.params["W"].T.copy()))
    in_torch[4].bias.copy_(torch.tensor(dense.params["b"]))

# %% [markdown]
# `nn.exchange.to_torch(model)` writes the source and the weights of such a network for you.

# %% [markdown]
# ## 3. In Keras
#
# Keras' images are (N, H, W, C), its kernels (KH, KW, C, F), and its `Flatten` orders the numbers
# by rows, columns and channels. `model.save("model.keras")` takes care of it; here it is by hand.

# %%
in_keras = keras.Sequential(
    [
        keras.layers.Input((28, 28, 1)),
        keras.layers.Conv2D(FILTERS, 5, activation="relu"),
        keras.layers.MaxPool2D(2),
        keras.layers.Flatten(),
        keras.layers.Dense(10),
    ]
)
kernels = conv.params["W"].transpose(2, 3, 1, 0)  # (F, C, KH, KW) -> (KH, KW, C, F)
weights = dense.params["W"].reshape(FILTERS, 12, 12, 10)  # (F*H*W, 10) -> (F, H, W, 10)
weights = weights.transpose(1, 2, 0, 3).reshape(-1, 10)  # -> (H, W, F, 10) -> (H*W*F, 10)
in_keras.set_weights([kernels, conv.params["b"], weights, dense.params["b"]])

# %% [markdown]
# ## 4. The same outputs

# %%
of_nn = model.predict(x_test)
with torch.no_grad():
    of_torch = in_torch(torch.tensor(x_test)).numpy()
of_keras = in_keras.predict(x_test.transpose(0, 2, 3, 1), verbose=0)
output_differences = {
    "PyTorch": float(abs(of_torch - of_nn).max() / abs(of_nn).max()),
    "Keras": float(abs(of_keras - of_nn).max() / abs(of_nn).max()),
}
for name, difference in output_differences.items():
    print(f"{name:8} largest difference of the outputs: {difference:.1e} of the largest")

# %% [markdown]
# float32 has seven digits; sums in another order change the last one.

# %% [markdown]
# ## 5. The same gradients
#
# In nn each layer has a `backward`, written out. PyTorch records the operations of the forward pass
# and finds the gradients by itself.

# %%
prediction = model.forward(x[:BATCH], training=True)
loss = model.loss.forward(prediction, y[:BATCH])
model.backward(model.loss.backward())

loss_of_torch = torch.nn.functional.cross_entropy(
    in_torch(torch.tensor(x[:BATCH])), torch.tensor(y[:BATCH])
)
loss_of_torch.backward()
pairs = {
    "kernels": (conv.grads["W"], in_torch[0].weight.grad.numpy()),
    "dense weights": (dense.grads["W"], in_torch[4].weight.grad.numpy().T),
}
gradient_differences = {
    name: float(abs(ours - theirs).max() / abs(theirs).max())
    for name, (ours, theirs) in pairs.items()
}
print(f"loss: nn {loss:.6f}, PyTorch {loss_of_torch.item():.6f}")
for name, difference in gradient_differences.items():
    print(f"{name:14} largest difference of the gradients: {difference:.1e}")

# %% [markdown]
# ## 6. The same training
#
# The same batches in the same order, plain gradient descent: the losses of all steps lie on one
# line. Over many steps rounding grows, so the curves part slowly.


# %%
def batches():
    """Yield the batches of all epochs, in order."""
    for _ in range(EPOCHS):
        for start in range(0, TRAIN, BATCH):
            yield x[start : start + BATCH], y[start : start + BATCH]


losses = {"nn": [], "PyTorch": [], "Keras": []}
for images, labels in batches():
    losses["nn"].append(model.train_step(images, labels)["loss"])

torch_step = torch.optim.SGD(in_torch.parameters(), lr=RATE)
for images, labels in batches():
    torch_step.zero_grad()
    loss_of_torch = torch.nn.functional.cross_entropy(
        in_torch(torch.tensor(images)), torch.tensor(labels)
    )
    loss_of_torch.backward()
    torch_step.step()
    losses["PyTorch"].append(loss_of_torch.item())

in_keras.compile(
    keras.optimizers.SGD(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
)
for images, labels in batches():
    one = in_keras.train_on_batch(images.transpose(0, 2, 3, 1), labels)
    in_keras.reset_metrics()
    losses["Keras"].append(float(np.asarray(one).ravel()[0]))

losses = {name: np.array(values) for name, values in losses.items()}
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
styles = {"nn": ("#0072B2", "-", 4), "PyTorch": ("#D55E00", "--", 2), "Keras": ("#009E73", ":", 2)}
for name, (colour, style, width) in styles.items():
    ax.plot(losses[name], style, color=colour, linewidth=width, label=name)
ax.set_xlabel("step")
ax.set_ylabel("loss")
ax.legend()
plt.show()
training_differences = {
    name: float(abs(losses[name] - losses["nn"]).max()) for name in ("PyTorch", "Keras")
}
for name, difference in training_differences.items():
    print(f"{name:8} largest difference of a loss in {len(losses['nn'])} steps: {difference:.1e}")

# %% [markdown]
# ## 7. The same accuracy

# %%
accuracies = {
    "nn": float((model.predict_classes(x_test) == test.y).mean()),
    "Keras": float(
        (in_keras.predict(x_test.transpose(0, 2, 3, 1), verbose=0).argmax(1) == test.y).mean()
    ),
}
with torch.no_grad():
    found = in_torch(torch.tensor(x_test)).argmax(1).numpy()
accuracies["PyTorch"] = float((found == test.y).mean())
for name, share in accuracies.items():
    print(f"{name:8} {share:.1%} of 1,000 test digits")

# %% [markdown]
# ## Exercises
#
# 1. **Adam.** Use Adam in all three. Are the curves still one? *Hint:* Keras' epsilon is 1e-7, that
#    of nn and PyTorch 1e-8; it has an argument in all three.
# 2. **float64.** Make all three networks in float64. How large is the difference now?
#    *Hint:* `Model(dtype="float64")`, `in_torch.double()`, `keras.config.set_floatx("float64")`.
# 3. **'same' padding with a stride.** Which of the libraries pad on both sides, and which at the
#    end? *Hint:* images of 6 x 6, a kernel of 3, a stride of 2; [Coming from
#    PyTorch](../docs/coming-from-pytorch.md).
# 4. **Batch normalisation.** Add it, and compare the running variances after one step.
#    *Hint:* the momentum of nn and Keras is 1 minus that of PyTorch.
# 5. **Files.** Save the model as `model.keras`, `network.py` and `model.onnx`, and load each where
#    it belongs. *Hint:* `model.save`, `python -m nn convert`, `model.export`.
