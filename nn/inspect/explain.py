"""What a model looks at: which pixels move its scores, what its layers see, what it finds hard.

Training asks how the loss depends on the weights. Here the same backward pass is read at its other
end: how the score of a class depends on the image, or on the maps that a layer makes of it. The
functions return arrays; `nn.plot` draws them. Each works on a copy of the model, so that the model
stays as it is, with its gradients, buffers and generators.
"""

import copy
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, cuda
from ..layers import Layer
from ..layers.containers import flat, output_activation
from ..layers.conv import ConvLayer
from ..layers.fold import gives_probabilities
from ..layers.observe import Watcher, observe
from ..layers.plan import named_layers

if TYPE_CHECKING:
    from ..model import Model

Array = Any  # numpy.ndarray or cupy.ndarray


def saliency_map(model: "Model", x: Any, class_index: Any = None) -> np.ndarray:
    """Return how strongly each pixel moves the score of a class: |d score / d pixel|.

    The score is the class's logit: a Softmax or Sigmoid at the model's end is left out, for a
    probability also rises where those of the other classes fall.

    Parameters
    ----------
    model
        A classifier, with outputs (N, classes), or (N, 1) for two classes.
    x
        A batch of inputs, as `predict` takes them.
    class_index
        The class whose score is looked at: a number, one for each sample (N,), or None for the
        class that the model decides for.

    Returns
    -------
    numpy.ndarray
        For images (N, C, H, W) the largest over the channels, (N, H, W); for other inputs an
        array of their shape. Never negative.

    Raises
    ------
    ValueError, TypeError
        For inputs that do not fit the model, or a class that it does not have.

    References
    ----------
    Simonyan, Vedaldi and Zisserman 2014, "Deep inside convolutional networks: visualising image
    classification models and saliency maps", arXiv 1312.6034, section 3.1.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Dense(2, input_shape=(3,))], seed=0)
    >>> model.layers[0].params["W"][...] = [[1, 0], [-2, 0], [0, 3]]
    >>> saliency_map(model, np.zeros((1, 3)), class_index=0)
    array([[1., 2., 0.]], dtype=float32)
    """
    twin = _frozen_copy(model, x)
    slope = abs(cuda.to_cpu(_input_gradient("saliency_map", twin, x, class_index)))
    return slope.max(axis=1) if slope.ndim == 4 else slope  # (N, C, H, W) -> (N, H, W)


def grad_cam_map(model: "Model", x: Any, class_index: Any = None, layer: Any = None) -> np.ndarray:
    """Return where in an image a convolutional network sees a class: the map of Grad-CAM.

    With the maps A_k that a layer makes of an image and the score y of a class (its logit, as
    for `saliency_map`):

        alpha_k = mean over places of dy / dA_k      (equation 1)
        map = max(sum_k alpha_k * A_k, 0)            (equation 2)

    Parameters
    ----------
    model, x, class_index
        As for `saliency_map`; x are images (N, C, H, W).
    layer
        The layer whose maps are weighed, as `find_layer` takes it. None takes the model's last
        convolution, or block with one, after the normalisation and activation that follow it.

    Returns
    -------
    numpy.ndarray
        (N, H', W'), at the size of the layer's maps. Never negative; all 0 where nothing in the
        image speaks for the class.

    Raises
    ------
    ValueError, TypeError
        For a model without a convolution, a layer that makes no maps, and as `saliency_map`.

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
        rule = f"must be a layer that makes maps (N, C, H, W), it makes {maps.shape}"
        raise checks.error(owner, "layer", rule, layer)
    alpha = slopes.mean(axis=(2, 3), keepdims=True)  # (N, C, H', W') -> (N, C, 1, 1)
    weighed = cuda.to_cpu((alpha * maps).sum(axis=1))  # (N, C, H', W') -> (N, H', W')
    return np.maximum(weighed, 0)


def layer_output(model: "Model", x: Any, layer: Any) -> np.ndarray:
    """Return what a layer makes of a batch, with the model as `predict` uses it.

    Parameters
    ----------
    model
        A model.
    x
        A batch of inputs, as `predict` takes them.
    layer
        A layer of the model, as `find_layer` takes it.

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


def sample_losses(model: "Model", x: Any, y: Any, batch_size: int = 64) -> np.ndarray:
    """Return the loss of each sample by itself, without penalties on weights.

    Their mean is what `evaluate` reports.

    Parameters
    ----------
    model
        A compiled model.
    x, y
        Inputs (n, ...) and their targets.
    batch_size
        Samples at a time; the result does not depend on it.

    Returns
    -------
    numpy.ndarray
        (n,) float64.

    Raises
    ------
    RuntimeError
        For a model that is not compiled.

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
        rows += _losses_of_batch(twin.loss, y_pred, targets)
    return np.array(rows)


def weight_gradients(model: "Model", x: Any, y: Any) -> dict[str, np.ndarray]:
    """Return the gradient of the loss of one batch for every parameter that is trained.

    Parameters
    ----------
    model
        A compiled model.
    x, y
        A batch and its targets, as `train_step` takes them. The forward pass is that of training.

    Returns
    -------
    dict
        Arrays by the parameters' names in a file, '7_Dense_W'. The penalties' are not in them.

    Raises
    ------
    RuntimeError
        For a model that is not compiled.

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
    twin.loss.forward(y_pred, cuda.get_array_module(y_pred).asarray(y))
    twin.backward(twin.loss.backward())
    return {
        f"{path}_{key}": cuda.to_cpu(layer.grads[key])
        for path, layer in named_layers(twin.layers)
        if layer.trainable
        for key in layer.params
    }


def find_layer(model: "Model", layer: Any, owner: str = "find_layer") -> Layer:
    """Return a layer of a model, at any depth.

    Parameters
    ----------
    model
        A model.
    layer
        The layer itself; its number in `model.layers`, from the end where it is negative; its
        name; or its name in a file, '3_Residual/0_Conv2D'.
    owner
        Whose name errors begin with.

    Raises
    ------
    ValueError
        For a layer that is not in the model; the message names the nearest.

    Examples
    --------
    >>> import nn
    >>> model = nn.Model([nn.Dense(4, name="hidden", input_shape=(2,)), nn.ReLU(), nn.Dense(2)])
    >>> find_layer(model, "hidden") is find_layer(model, 0) is find_layer(model, "0_Dense")
    True
    """
    parts = dict(named_layers(model.layers))
    if isinstance(layer, Layer):
        if not any(part is layer for part in parts.values()):
            raise checks.error(owner, "layer", "must be a layer of the model", layer)
        return layer
    if checks.is_integer(layer):
        count = len(model.layers)
        if not -count <= layer < count:
            raise checks.error(owner, "layer", f"must be below the {count} layers", layer)
        return model.layers[layer]
    named = {part.name: part for part in parts.values() if part.name is not None}
    found = {**parts, **named}
    if not isinstance(layer, str) or layer not in found:
        raise checks.unknown(owner, "layer", layer, found)
    return found[layer]


def is_convolution(layer: Layer) -> bool:
    """Tell whether a layer is a convolution, also inside a `WeightNorm`."""
    return isinstance(getattr(layer, "layer", layer), ConvLayer)


# ------------------------------------------------------------------------------- helpers


def _frozen_copy(model: "Model", x: Any) -> "Model":
    """Return a copy of the model whose backward pass leaves the weights' gradients out."""
    twin = copy.deepcopy(model)
    if not twin.built:
        twin.build((None, *np.shape(x)[1:]))
    for _, layer in named_layers(twin.layers):
        layer.trainable = False
    return twin


def _same(owner: str, model: "Model", twin: "Model", layer: Any) -> Layer:
    """Return the layer of the copy that stands where the named one does in the model."""
    target = find_layer(model, layer, owner)
    paths = {id(part): path for path, part in named_layers(model.layers)}
    # A residual block that was not built has no projection yet: it comes after the others.
    return dict(named_layers(twin.layers))[paths[id(target)]]


def _recorder(target: Layer, seen: dict[str, Array], what: str) -> Watcher:
    """Return a function for `observe` that puts a copy of one layer's array into `seen`."""

    def record(name: str, layer: Layer, array: Array) -> None:
        if layer is target:
            seen[what] = array.copy()

    return record


def _input_gradient(owner: str, twin: "Model", x: Any, class_index: Any) -> Array:
    """Return d score / d x for each sample; the copy is changed."""
    is_probability = _drop_output_activation(twin.layers)
    scores = twin.forward(x, training=False)
    if scores.ndim != 2:
        raise ValueError(
            f"[{owner}] needs a model with outputs (N, classes), got {scores.shape}: add "
            "Flatten() or a global pooling, and Dense()."
        )
    threshold = 0.0 if is_probability else twin.threshold
    classes = _classes(owner, cuda.to_cpu(scores), class_index, threshold)
    # The samples do not touch one another, so the gradient of the sum of their scores is each
    # one's own.
    seed = np.zeros(scores.shape, dtype=scores.dtype)
    if scores.shape[1] == 1:
        seed[:, 0] = np.where(classes == 1, 1, -1)  # what speaks against class 1 speaks for 0
    else:
        seed[np.arange(len(seed)), classes] = 1
    return twin.backward(cuda.get_array_module(scores).asarray(seed))


def _drop_output_activation(layers: Sequence[Layer]) -> bool:
    """Let a Softmax or Sigmoid at the end of a copy hand on its logits; tell whether there is."""
    if not gives_probabilities(layers):
        return False
    last = output_activation(layers)
    vars(last).update(forward=lambda x, training=False: x, backward=lambda grad: grad)
    return True


def _classes(owner: str, scores: np.ndarray, class_index: Any, threshold: float) -> np.ndarray:
    """Return the class (N,) to look at for each row of scores."""
    rows, count = len(scores), max(scores.shape[1], 2)
    if class_index is None:
        single = scores.shape[1] == 1
        return (scores[:, 0] > threshold).astype(int) if single else scores.argmax(axis=1)
    wanted = np.asarray(cuda.to_cpu(cuda.as_array(class_index)))
    if wanted.dtype.kind not in "iu" or wanted.shape not in ((), (rows,)):
        rule = f"must be an integer, or one for each of {rows} samples"
        raise checks.error(owner, "class_index", rule, class_index)
    if wanted.size and not 0 <= wanted.min() <= wanted.max() < count:
        raise checks.error(owner, "class_index", f"must be in 0..{count - 1}", class_index)
    return np.broadcast_to(wanted, rows)


def _last_maps(owner: str, layers: Sequence[Layer]) -> Layer:
    """Return the last layer with a convolution, or the last of those after it that keep its shape.

    In a VGG that is the activation before the last pooling, in a ResNet the one after the last
    block.
    """
    chain = flat(layers)
    holding = [
        k
        for k, layer in enumerate(chain)
        if any(is_convolution(part) for _, part in named_layers([layer]))
    ]
    if not holding:
        raise ValueError(f"[{owner}] needs a model with a convolution, there is none in it.")
    index = holding[-1]
    while chain[index + 1 :] and chain[index + 1].output_shape == chain[index].output_shape:
        index += 1
    return chain[index]


def _losses_of_batch(loss: Any, y_pred: Array, targets: Array) -> list[float]:
    """Return each sample's share of a batch's loss, times their number."""
    rows = len(y_pred)
    if "sample_weight" not in inspect.signature(loss.forward).parameters:  # a user's own
        return [float(loss.forward(y_pred[k : k + 1], targets[k : k + 1])) for k in range(rows)]
    # Of the whole batch, so that the loss finds the logits that a Softmax has kept for it.
    one_at_a_time = cuda.get_array_module(y_pred).eye(rows, dtype=y_pred.dtype)
    return [float(loss.forward(y_pred, targets, sample_weight=w)) * rows for w in one_at_a_time]


def _require_loss(owner: str, model: "Model") -> None:
    if model.loss is None:
        raise RuntimeError(f"[{owner}] call compile(loss, optimizer) before {owner}().")
