"""One object of nn beside its counterpart in PyTorch, on the same numbers: every array of both."""

import numpy as np
import torch
from agreement_common import draw

from nn.layers.plan import named_layers


def leaf(array):
    """Return a tensor with a copy of the array's values that collects its gradient."""
    return torch.tensor(np.ascontiguousarray(array), requires_grad=True)


def compare_layer(layer, function, x, training=True):
    """Compare a layer with `function(x, params, buffers)` on tensors: every array of both.

    The names are the layer's own; of a layer inside it '0_Conv2D_W'.
    """
    rng = np.random.default_rng(1)
    layer.build((None, *x.shape[1:]))
    inside = [(f"{path}_", part) for path, part in named_layers(layer.sublayers())]
    params, buffers, grads = {}, {}, {}
    for start, part in [("", layer), *inside]:
        for name, param in part.params.items():
            param[...] = draw(rng, param.shape)
            params[start + name] = param
        for name, buffer in part.buffers.items():
            buffer[...] = draw(rng, buffer.shape)
            if name in ("running_var", "std"):
                buffer[...] = 0.5 + np.abs(buffer)
            buffers[start + name] = buffer
    params_torch = {name: leaf(param) for name, param in params.items()}
    buffers_torch = {name: torch.tensor(buffer.copy()) for name, buffer in buffers.items()}
    x_torch = leaf(x)

    y = layer.forward(x, training=training)
    y_torch = function(x_torch, params_torch, buffers_torch)
    grad = rng.standard_normal(tuple(y_torch.shape)).astype(np.float32)
    dx = layer.backward(grad)
    y_torch.backward(torch.from_numpy(grad))
    for start, part in [("", layer), *inside]:
        grads |= {start + name: array for name, array in part.grads.items()}

    pairs = {"output": (y, y_torch), "dx": (dx, x_torch.grad)}
    pairs |= {f"d{name}": (grads[name], param.grad) for name, param in params_torch.items()}
    pairs |= {name: (buffers[name], buffer) for name, buffer in buffers_torch.items()}
    return pairs


def compare_loss(loss, function, prediction, target, sample_weight=None):
    """Compare a loss's value and gradient with those of `function(prediction, target)`."""
    p_torch = leaf(prediction)
    value = loss.forward(prediction, target, sample_weight=sample_weight)
    value_torch = function(p_torch, torch.from_numpy(target))
    value_torch.backward()
    return {
        "value": (np.float32(value), value_torch),
        # of the batch's sum: that of its mean is small, and so would every difference be
        "gradient": (loss.backward() * len(prediction), p_torch.grad * len(prediction)),
    }
