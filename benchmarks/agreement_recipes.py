"""The fast recipes of the examples: nn and PyTorch from the same start, on the same batches.

In float64, so that a difference is a fault and not rounding that grew: loss and all gradients of
the first batch, then all weights, running statistics and outputs after five epochs, with the whole
recipe (learning rates by kind of parameter, decay, schedule, Lookahead, frozen layer, averages).
PyTorch's velocity gets nn's form here; see `torch_recipes.set_rates`.
"""

import numpy as np
import torch
import torch_recipes
from torch_recipes import airbench, airbench_muon, mnist_train

import nn
from nn.data.batching import of_epoch
from nn.layers.config import layer_from_config

EPOCHS, BATCH, IMAGES = 5, 32, 96
COPIES = {"airbench": airbench.COPIES, "muon": airbench.COPIES, "mnist": {"shifts": 1}}


def in_float64(model, seed):
    """Return a model of float64 with the layers and the weights of another."""
    layers = [layer_from_config(layer.to_config()) for layer in model.layers]
    twin = nn.Model(layers, dtype="float64", seed=seed)
    twin.build(model.input_shape)
    twin.set_arrays(model.get_arrays())
    return twin


def images(rng, shape):
    """Return a `Dataset` of images with some order, so that there is something to learn."""
    y = np.arange(IMAGES) % 10
    x = rng.random((IMAGES, *shape)) * 0.5 + 0.05 * y.reshape(-1, 1, 1, 1)
    return nn.data.Dataset(x, y)


def airbench_pair(rng):
    """Return nn's model, the arguments of `fit`, PyTorch's recipe and the data."""
    data, steps = images(rng, (3, 32, 32)), EPOCHS * IMAGES // BATCH
    first = nn.zoo.airbench94(seed=3, images=data.x, widths=(16, 32, 32))
    model = airbench.compile_model(in_float64(first, 3), steps, BATCH)
    network = torch_recipes.airbench_network((16, 32, 32)).double()
    torch_recipes.copy_weights(model, network)
    recipe = torch_recipes.Airbench(network, steps, BATCH, is_inside=True)
    arguments = {
        "lr_schedule": nn.schedules.triangular(model.optimizer.lr, steps),
        "augment": airbench.make_augmentation(),
        "callbacks": airbench.make_callbacks(steps),
    }
    return model, recipe, data, arguments


def muon_pair(rng):
    """Return nn's model, the arguments of `fit`, PyTorch's recipe and the data."""
    data, steps = images(rng, (3, 32, 32)), EPOCHS * IMAGES // BATCH
    any_size = (3, None, None)
    first = nn.zoo.airbench94(any_size, seed=3, images=data.x, widths=(16, 32, 32))
    first = in_float64(first, 3)
    network = torch_recipes.airbench_network((16, 32, 32)).double()
    torch_recipes.copy_weights(first, network)
    model = airbench_muon.compile_model(first, BATCH)
    recipe = torch_recipes.MuonAirbench(network, steps, BATCH, IMAGES)
    arguments = {
        "lr_schedule": nn.schedules.trapezoidal(airbench_muon.LR, steps, 0, steps),
        "augment": airbench_muon.make_augmentation(EPOCHS),
        "callbacks": airbench_muon.make_callbacks(steps, BATCH, IMAGES),
    }
    return model, recipe, data, arguments


def mnist_pair(rng):
    """Return nn's model, the arguments of `fit`, PyTorch's recipe and the data."""
    data, steps = images(rng, (1, 28, 28)), EPOCHS * IMAGES // BATCH
    model = mnist_train.compile_fast(in_float64(mnist_train.fast_network(3), 3), lr=0.1)
    network = torch_recipes.mnist_network().double()
    torch_recipes.copy_weights(model, network)
    recipe = torch_recipes.FastMnist(network, steps, EPOCHS, is_inside=True)
    augment = mnist_train.fast_augmentation(EPOCHS)
    arguments = {"lr_schedule": "one_cycle", "augment": augment}
    return model, recipe, data, arguments


def first_batch(model, recipe, data):
    """Return pairs of loss and gradients of the first batch; the generators are put back."""
    rng = model.generators[1]
    state = rng.bit_generator.state
    augment = of_epoch(recipe.augmentation, 0)
    x, y = next(data.batches(BATCH, rng=rng, augment=augment, dtype="float64", num_threads=0))
    rng.bit_generator.state = state
    buffers = [layer.buffers[name].copy() for layer in model.layers for name in layer.buffers]
    loss = model.loss.forward(model.forward(x, training=True), y)
    model.backward(model.loss.backward())
    restored = iter(buffers)
    for layer in model.layers:
        for name in layer.buffers:
            layer.buffers[name][...] = next(restored)
    network = torch_recipes.clone(recipe.network).train()
    function = torch.nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)
    loss_torch = function(network(torch.from_numpy(x)), torch.from_numpy(y))
    loss_torch.backward()
    pairs = {"loss": (loss, loss_torch)}
    for layer, name, _, tensor in torch_recipes.pairs_of(model, network):
        key = name.partition("_")[2]
        if tensor.requires_grad and key in layer.grads:
            ours = torch_recipes.as_torch(layer.grads[key], tensor)
            # of the batch's sum: that of its mean is small, and so would every difference be
            pairs[f"d{name}"] = (ours * BATCH, tensor.grad * BATCH)
    return pairs


def recipe_cases(rng):
    """Yield the comparisons of all recipes."""
    for name, make in (("airbench", airbench_pair), ("muon", muon_pair), ("mnist", mnist_pair)):
        model, recipe, data, arguments = make(rng)
        pairs = first_batch(model, recipe, data)
        yield f"{name}: loss and gradients of the first batch", pairs

        steps = EPOCHS * IMAGES // BATCH
        order = np.random.default_rng()
        order.bit_generator.state = model.generators[1].bit_generator.state
        model.fit(data, epochs=EPOCHS, batch_size=BATCH, verbose=0, **arguments)
        torch_recipes.train(recipe, data, BATCH, steps, order, verbose=False)
        if name == "mnist":
            model.use_averaged_weights()
        pairs = {
            name: (torch_recipes.as_torch(array, tensor), tensor)
            for _, name, array, tensor in torch_recipes.pairs_of(model, recipe.network)
        }
        yield f"{name}: weights and statistics after {steps} steps", pairs
        x = torch.from_numpy(data.x)
        copies = COPIES[name]
        averaged = torch_recipes.outputs(
            recipe.network, x, torch.contiguous_format, "augment" in copies, copies["shifts"]
        )
        plain = torch_recipes.outputs(recipe.network, x, torch.contiguous_format, False, 0)
        pairs = {"plain": (model.predict(data.x), plain)}
        pairs["averaged"] = (model.predict(data.x, **copies), averaged)
        yield f"{name}: outputs without and with copies", pairs


CASES = (recipe_cases,)
