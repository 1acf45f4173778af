"""Explanations of predictions: saliency maps, Grad-CAM, outputs of layers, losses of samples.

Saliency maps and Grad-CAM use the backward pass to compute the gradient of a class score with
respect to the image or to the output of a layer. The functions return arrays; `nn.plot` draws
them. They work on a copy of the model and do not change its gradients, buffers and generators.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import checks, cuda
from ..layers import Layer
from ..layers.containers import output_activation
from ..layers.conv import ConvLayer
from ..layers.fold import decide, gives_probabilities
from ..layers.observe import Watcher, observe
from ..layers.plan import named_layers
from ..layers.stack import flat

Array = Any  # numpy.ndarray or cupy.ndarray


def saliency_map(model: Any, x: Any, class_index: Any = None) -> np.ndarray:
    """Return the saliency map of a class score: |d score / d pixel|.

    The score is the logit of the class: a final Softmax or Sigmoid is skipped, as a probability
    also depends on the scores of the other classes.

    Parameters
    ----------
    model
        A classifier with outputs (N, classes), or (N, 1) for two classes.
    x
        A batch of inputs, as for `predict`.
    class_index
        The class: an integer, one for each sample (N,), or None for the predicted class.

    Returns
    -------
    numpy.ndarray
        For images (N, C, H, W) the maximum over the channels, (N, H, W); for other inputs an
        array of their shape. Never negative.

    Raises
    ------
    ValueError, TypeError
        If the inputs do not match the model, or it has no such class.

    References
    ----------
    Simonyan, Vedaldi and Zisserman 2014, "Deep inside convolutional networks: visualising image
    classification models and saliency maps", arXiv 1312.6034, section 3.1.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Dense(2, input_shape=(3,))], seed=0)
    >>> model.set_weights([np.array([[1, 0], [-2, 0], [0, 3]]), np.zeros(2)])
    >>> saliency_map(model, np.zeros((1, 3)), class_index=0)
    array([[1., 2., 0.]], dtype=float32)
    """
    twin = _frozen_copy(model, x)
    grad = abs(cuda.to_cpu(_input_gradient("saliency_map", twin, x, class_index)))
    return grad.max(axis=1) if grad.ndim == 4 else grad  # (N, C, H, W) -> (N, H, W)


def grad_cam_map(model: Any, x: Any, class_index: Any = None, layer: Any = None) -> np.ndarray:
    """Return the Grad-CAM map: the regions of an image that support a class.

    With the feature maps A_k of a layer and the score y of a class (its logit, as in
    `saliency_map`):

        alpha_k = mean over pixels of dy / dA_k      (equation 1)
        map = max(sum_k alpha_k * A_k, 0)            (equation 2)

    Parameters
    ----------
    model, x, class_index
        As in `saliency_map`; x holds images (N, C, H, W).
    layer
        The layer whose maps are used, as in `find_layer`. None uses the model's last convolution,
        or block with one, with the normalisation and activation after it.

    Returns
    -------
    numpy.ndarray
        (N, H', W'), with the size of the layer's maps. Never negative; all 0 if no region supports
        the class.

    Raises
    ------
    ValueError, TypeError
        If the model has no convolution or the output of the layer is not (N, C, H, W); and as in
        `saliency_map`.

    References
    ----------
    Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via gradient-based
    localization", arXiv 1610.02391, section 3.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Conv2D(4, input_shape=(1, 8, 8)), nn.ReLU(), nn.MaxPool2D()], seed=0)
    >>> model.add(nn.Flatten())
    >>> model.add(nn.Dense(3))
    >>> grad_cam_map(model, np.ones((2, 1, 8, 8))).shape
    (2, 8, 8)
    """
    owner = "grad_cam_map"
    twin = _frozen_copy(model, x)
    target = _last_maps(owner, twin.layers) if layer is None else _same(owner, model, twin, layer)
    seen: dict[str, Array] = {}
    with observe(twin, _recorder(target, seen, "output"), _recorder(target, seen, "gradient")):
        _input_gradient(owner, twin, x, class_index)
    maps, slopes = seen["output"], seen["gradient"]
    if maps.ndim != 4:
        rule = f"must be a layer with outputs (N, C, H, W), not {maps.shape}"
        raise checks.error(owner, "layer", rule, layer)
    alpha = slopes.mean(axis=(2, 3), keepdims=True)  # (N, C, H', W') -> (N, C, 1, 1)
    weighed = cuda.to_cpu((alpha * maps).sum(axis=1))  # (N, C, H', W') -> (N, H', W')
    return np.maximum(weighed, 0)


def layer_output(model: Any, x: Any, layer: Any) -> np.ndarray:
    """Return the output of a layer for a batch, in inference mode.

    Parameters
    ----------
    model
        A model.
    x
        A batch of inputs, as for `predict`.
    layer
        A layer of the model, as in `find_layer`.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Dense(2, input_shape=(3,)), nn.ReLU()], seed=0)
    >>> layer_output(model, np.ones((4, 3)), "1_ReLU").min() >= 0
    np.True_
    """
    twin = _frozen_copy(model, x)
    seen: dict[str, Array] = {}
    target = _same("layer_output", model, twin, layer)
    with observe(twin, on_output=_recorder(target, seen, "output")):
        twin.forward(x, training=False)
    return cuda.to_cpu(seen["output"])


def sample_losses(model: Any, x: Any, y: Any, batch_size: int = 64) -> np.ndarray:
    """Return the loss of each sample, without weight penalties.

    The mean is the loss that `evaluate` reports, without penalties. Of padded sequences with
    outputs for each step it is the mean over the sample's own steps, 0 if it has none.

    Parameters
    ----------
    model
        A compiled model.
    x, y
        Inputs (n, ...) and their targets.
    batch_size
        Number of samples in a batch; the result does not depend on it.

    Returns
    -------
    numpy.ndarray
        (n,) float64.

    Raises
    ------
    RuntimeError
        If the model is not compiled.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Dense(1, use_bias=False, input_shape=(1,))], seed=0)
    >>> model.layers[0].params["W"][...] = 1
    >>> model.compile("mse")
    >>> sample_losses(model, np.array([[1.0], [2.0]]), np.array([[1.0], [5.0]]))
    array([0., 9.])
    """
    _require_loss("sample_losses", model)
    x, y = cuda.as_array(x), cuda.as_array(y)
    twin = _frozen_copy(model, x)
    step = checks.positive_int("sample_losses", "batch_size", batch_size)
    rows = []
    for start in range(0, len(x), step):
        y_pred = twin.forward(x[start : start + step], training=False)
        targets = cuda.get_array_module(y_pred).asarray(y[start : start + step])
        rows += _losses_of_batch(twin.wrapped_loss, y_pred, targets, twin.output_mask)
    return np.array(rows)


def weight_gradients(model: Any, x: Any, y: Any) -> dict[str, np.ndarray]:
    """Return the gradient of the loss of one batch for every trainable parameter.

    Parameters
    ----------
    model
        A compiled model.
    x, y
        A batch and its targets, as for `train_step`. The forward pass is in training mode.

    Returns
    -------
    dict
        Arrays by the parameters' names in model files, '7_Dense_W', without weight penalties.

    Raises
    ------
    RuntimeError
        If the model is not compiled.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Dense(1, input_shape=(2,))], seed=0)
    >>> model.compile("mse")
    >>> sorted(weight_gradients(model, np.ones((4, 2)), np.ones((4, 1))))
    ['0_Dense_W', '0_Dense_b']
    """
    _require_loss("weight_gradients", model)
    twin = copy.deepcopy(model)
    y_pred = twin.forward(x, training=True)
    y = cuda.get_array_module(y_pred).asarray(y)
    twin.wrapped_loss.forward(y_pred, y, mask=twin.output_mask)
    twin.backward(twin.wrapped_loss.backward())
    plan = twin._plan()
    return {
        name: cuda.to_cpu(layer.grads[key])
        for name, (_, layer, key) in zip(plan.names, plan.parameters, strict=True)
    }


def find_layer(model: Any, layer: Any, owner: str = "find_layer") -> Layer:
    """Return a layer of a model, at any depth.

    Parameters
    ----------
    model
        A model.
    layer
        The layer itself; its index in `model.layers`, which may be negative; its name; or its name
        in model files, '3_Residual/0_Conv2D'.
    owner
        Name for error messages.

    Raises
    ------
    ValueError
        If the layer is not in the model; the message suggests the closest name.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Dense(4, name="hidden", input_shape=(2,)), nn.ReLU(), nn.Dense(2)])
    >>> find_layer(model, "hidden") is find_layer(model, 0) is find_layer(model, "0_Dense")
    True
    """
    if not isinstance(layer, Layer):
        return model.layer_at(layer, owner, "layer")
    if not any(part is layer for _, part in model.named_layers()):
        raise checks.error(owner, "layer", "must be a layer of the model", layer)
    return layer


def is_convolution(layer: Layer) -> bool:
    """Return whether a layer is a convolution, possibly inside a `WeightNorm`."""
    return isinstance(getattr(layer, "layer", layer), ConvLayer)


# ------------------------------------------------------------------------------- helpers


def _frozen_copy(model: Any, x: Any) -> Any:
    """Return a copy of the model whose backward pass computes no gradients for weights."""
    twin = copy.deepcopy(model)
    if not twin.built:
        twin.build((None, *np.shape(x)[1:]))
    for _, layer in named_layers(twin.layers):
        layer.trainable = False
    return twin


def _same(owner: str, model: Any, twin: Any, layer: Any) -> Layer:
    """Return the layer of the copy that corresponds to a layer of the model."""
    target = find_layer(model, layer, owner)
    paths = {id(part): path for path, part in named_layers(model.layers)}
    # The copy of a block that was not built may have a projection more, after its other layers.
    return dict(named_layers(twin.layers))[paths[id(target)]]


def _recorder(target: Layer, seen: dict[str, Array], what: str) -> Watcher:
    """Return a function for `observe` that stores a copy of one layer's array in `seen`."""

    def record(name: str, layer: Layer, array: Array) -> None:
        if layer is target:
            seen[what] = array.copy()

    return record


def _input_gradient(owner: str, twin: Any, x: Any, class_index: Any) -> Array:
    """Return d score / d x for each sample; the copy of the model is modified."""
    if twin.num_ids is not None:
        raise ValueError(
            f"[{owner}] needs inputs that have a gradient, but the first layer of the model is an "
            "Embedding, and ids have none."
        )
    is_probability = _drop_output_activation(twin.layers)
    scores = twin.forward(x, training=False)
    if scores.ndim != 2:
        raise ValueError(
            f"[{owner}] needs a model with outputs (N, classes), got {scores.shape}: add "
            "Flatten() or a global pooling, and Dense()."
        )
    threshold = 0.0 if is_probability else twin.threshold
    classes = _classes(owner, cuda.to_cpu(scores), class_index, threshold)
    # The samples are independent, so the gradient of the sum of their scores has the gradient of
    # each.
    seed = np.zeros(scores.shape, dtype=scores.dtype)
    if scores.shape[1] == 1:
        seed[:, 0] = np.where(classes == 1, 1, -1)  # the score of class 0 is minus that of class 1
    else:
        seed[np.arange(len(seed)), classes] = 1
    return twin.backward(cuda.get_array_module(scores).asarray(seed))


def _drop_output_activation(layers: Sequence[Layer]) -> bool:
    """Make a final Softmax or Sigmoid of a copy the identity; return whether there is one."""
    if not gives_probabilities(layers):
        return False
    last = output_activation(layers)
    vars(last).update(forward=lambda x, training=False: x, backward=lambda grad: grad)
    return True


def _classes(owner: str, scores: np.ndarray, class_index: Any, threshold: float) -> np.ndarray:
    """Return the class index of each row of scores, (N,)."""
    rows, count = len(scores), max(scores.shape[1], 2)
    if class_index is None:
        return decide(scores, threshold)
    wanted = np.asarray(cuda.to_cpu(cuda.as_array(class_index)))
    if wanted.dtype.kind not in "iu" or wanted.shape not in ((), (rows,)):
        rule = f"must be an integer, or one for each of {rows} samples"
        raise checks.error(owner, "class_index", rule, class_index)
    if wanted.size and not 0 <= wanted.min() <= wanted.max() < count:
        raise checks.error(owner, "class_index", f"must be in 0..{count - 1}", class_index)
    return np.broadcast_to(wanted, rows)


def _last_maps(owner: str, layers: Sequence[Layer]) -> Layer:
    """Return the last of the layers from the last convolution on that have its output shape.

    In a VGG it is the activation before the last pooling, in a ResNet the one after the last block.
    """
    chain = flat(layers)
    holding = [
        k
        for k, layer in enumerate(chain)
        if any(is_convolution(part) for _, part in named_layers([layer]))
    ]
    if not holding:
        raise ValueError(f"[{owner}] needs a model with a convolution, but this one has none.")
    index = holding[-1]
    while chain[index + 1 :] and chain[index + 1].output_shape == chain[index].output_shape:
        index += 1
    return chain[index]


def _losses_of_batch(loss: Any, y_pred: Array, targets: Array, mask: Array) -> list[float]:
    """Return the loss of each sample of a batch."""
    rows = len(y_pred)
    if not loss.takes_weights:
        return [float(loss.forward(y_pred[k : k + 1], targets[k : k + 1])) for k in range(rows)]
    # With the whole batch, so that the loss can use the logits that a Softmax keeps for it.
    one_at_a_time = cuda.get_array_module(y_pred).eye(rows, dtype=y_pred.dtype)
    counts = [1] * rows if mask is None else [int(own.sum()) for own in mask]
    return [
        loss.forward(y_pred, targets, weights, mask) * sum(counts) / max(count, 1)
        for weights, count in zip(one_at_a_time, counts, strict=True)
    ]


def _require_loss(owner: str, model: Any) -> None:
    if model.loss is None:
        raise RuntimeError(f"[{owner}] call compile(loss, optimizer) before {owner}().")
