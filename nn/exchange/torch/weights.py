"""Weights of PyTorch as nn has them: which layer they belong to, and how they are turned.

PyTorch's kernels of convolutions, embeddings and statistics are those of nn. `Linear` is
transposed; recurrent layers are transposed, and GRU's gates are in another order (r, z, n instead
of z, r, h). The two biases of LSTM and RNN are added up. Images are (N, C, H, W) on both sides, so
the first `Linear` after a `Flatten` needs no other turn.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ... import checks
from ...checks import FileFormatError
from ...layers import (
    GRU,
    LSTM,
    BatchNorm,
    Conv1D,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Embedding,
    GroupNorm,
    Layer,
    LayerNorm,
    MultiHeadAttention,
    PositionalEmbedding,
    PReLU,
    SimpleRNN,
    Standardize,
    WeightNorm,
)
from ...layers.plan import named_layers
from ...layers.state import LoadReport
from ..matching import Group, Turned
from ..matching import match as match_groups
from ..ties import same_memory, warn_of_ties

__all__ = ["as_arrays", "groups_of", "match", "turn"]

#: The arrays of Standardize: PyTorch has no such layer, but the source of `to_torch` has.
_STATISTICS = {"mean": "mean", "std": "std"}

#: 'weight_ih_l0_reverse': the array, the number of the layer and the direction.
_RECURRENT = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh)_l(\d+)(_reverse)?")

_TIED = (
    "Weights that are tied in PyTorch are written once by safetensors' save_model: if there are "
    "any, use torch.save(network.state_dict(), path)."
)

#: Endings of names whose arrays belong to the layer whose name is before them.
_ENDINGS = {
    ".parametrizations.weight.original0": "weight_g",
    ".parametrizations.weight.original1": "weight_v",
    ".out_proj.weight": "out_proj.weight",
    ".out_proj.bias": "out_proj.bias",
}


def as_arrays(source: Any) -> dict[str, np.ndarray]:
    """Return a state dict of tensors or arrays, or that of a module, as arrays on the CPU.

    Examples
    --------
    >>> as_arrays({"fc.bias": [1.0, 2.0]})
    {'fc.bias': array([1., 2.])}
    """
    state = source.state_dict() if callable(getattr(source, "state_dict", None)) else source
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        rule = "must be a state_dict of PyTorch, {name: tensor}, or the name of a file"
        raise checks.error("from_torch", "source", rule, source)
    made: dict[Any, np.ndarray] = {}  # tensors that share their numbers become one array
    found: dict[str, np.ndarray] = {}
    for name, value in state.items():
        key: Any = name
        if hasattr(value, "data_ptr"):
            key = value.data_ptr(), tuple(value.shape), tuple(value.stride())
        if key not in made or not made[key].size:
            made[key] = _as_array(name, value)
        found[name] = made[key]
    return found


def _as_array(name: str, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a tensor
        value = value.detach().cpu()
        if "bfloat16" in str(value.dtype):
            value = value.float()
        value = value.numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        rule = "must hold arrays of real numbers"
        raise checks.error("from_torch", "source", rule, f"{name}: {array.dtype}")
    return array


def match(
    arrays: dict[str, np.ndarray],
    layers: Sequence[Layer],
    where: str,
    strict: bool = True,
    ordered: bool = True,
) -> tuple[dict[str, np.ndarray], LoadReport]:
    """Return PyTorch's arrays as those of nn's layers, by nn's names, and the report.

    The arguments are those of `matching.match`.

    Raises
    ------
    RuntimeError
        If the layers are not built.
    nn.io.FileFormatError
        If `strict` and they do not fit.
    """
    if not all(layer.built for layer in layers):
        raise RuntimeError(
            "[Model] must be built before weights of PyTorch are matched with its layers: give the "
            "first layer an input_shape, or call build()."
        )
    groups = groups_of(arrays)
    has_statistics = any(group.arrays.keys() == _STATISTICS.keys() for group in groups)
    apart = () if has_statistics else (Standardize,)
    try:
        found = match_groups(where, groups, layers, turn, apart, strict, ordered)
    except FileFormatError as error:
        wanted = sum(1 for _, x in named_layers(layers) if x.params and not isinstance(x, apart))
        if ordered or (len(groups) >= wanted and "nothing for" not in str(error)):
            raise
        raise FileFormatError(f"{error} {_TIED}") from error
    shared: dict[Any, list[tuple[str, np.ndarray]]] = {}
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            shared.setdefault(same_memory(array), []).append((name, array))
    warn_of_ties(where, shared.values())
    return found


def groups_of(arrays: dict[str, np.ndarray]) -> list[Group]:
    """Return the arrays of each layer in the order of a state dict.

    Each layer and direction of a recurrent module is a group of its own.

    Examples
    --------
    >>> one = np.ones(1)
    >>> found = groups_of({"0.weight": one, "0.bias": one, "2.weight_ih_l0": one})
    >>> [(group.name, [*group.arrays]) for group in found]
    [('0', ['weight', 'bias']), ('2.l0', ['weight_ih'])]
    """
    found: dict[str, Group] = {}
    for full, array in arrays.items():
        name, _, key = full.rpartition(".")
        if key == "num_batches_tracked":
            continue
        for ending, short in _ENDINGS.items():
            before = f".{full}".removesuffix(ending)
            if len(before) <= len(full) and (short[0] == "w" or _is_attention(arrays, before[1:])):
                name, key = before[1:], short
        if recurrent := _RECURRENT.fullmatch(key):
            key, number, direction = recurrent.groups()
            name = f"{name}.l{number}{direction or ''}"
        group = found.setdefault(name, Group(name or "the layer", {}))
        group.arrays[key] = array
    return [*found.values()]


def _is_attention(arrays: dict[str, np.ndarray], name: str) -> bool:
    return f"{name}.in_proj_weight".removeprefix(".") in arrays


def turn(layer: Layer, group: Group) -> dict[str, Turned]:
    """Return a group of PyTorch's arrays as those of a layer of nn.

    Raises
    ------
    ValueError
        If PyTorch does not have such a layer, or has other arrays for it.
    """
    for cls, function in _TURNS.items():
        if isinstance(layer, cls):
            return function(layer, group)
    raise ValueError(f"nn does not know {type(layer).__name__} as a layer of PyTorch")


class _Arrays:
    """The arrays of a group, each of which is asked for once."""

    def __init__(self, group: Group):
        self.group, self.left = group, dict(group.arrays)

    def take(self, key: str, axes: int | None = None) -> np.ndarray:
        """Return an array that must be there."""
        if key not in self.left:
            raise ValueError(f"it has no {key}")
        array = self.left.pop(key)
        if axes is not None and array.ndim != axes:
            raise ValueError(f"{key} has {array.ndim} axes, not {axes}")
        return array

    def source(self, *keys: str) -> str:
        """Return the names of arrays as the file has them."""
        return " + ".join(f"{self.group.name}.{key}" for key in keys)

    def done(self, turned: dict[str, Turned]) -> dict[str, Turned]:
        """Return the turned arrays, if they are all."""
        if self.left:
            raise ValueError(f"the layer has no place for {', '.join(self.left)}")
        return turned


def _plain(names: dict[str, str]) -> Callable[[Any, Group], dict[str, Turned]]:
    """Return a function that takes arrays as they are, {PyTorch's name: nn's}."""

    def turned(layer: Any, group: Group) -> dict[str, Turned]:
        arrays = _Arrays(group)
        return arrays.done({
            own: Turned(arrays.take(key), arrays.source(key))
            for key, own in names.items()
            if key in arrays.left
        })  # fmt: skip

    return turned


def _dense(layer: Dense, group: Group) -> dict[str, Turned]:
    arrays = _Arrays(group)
    turned = {"W": Turned(arrays.take("weight", 2).T, arrays.source("weight"), "transposed")}
    if "bias" in arrays.left:
        turned["b"] = Turned(arrays.take("bias"), arrays.source("bias"))
    return arrays.done(turned)


def _batch_norm(layer: BatchNorm, group: Group) -> dict[str, Turned]:
    """Return the arrays without those that the layer does not have, which must change nothing."""
    turned = _plain(_NORM)(layer, group)
    for key, is_there, neutral in (("gamma", layer.scale, 1), ("beta", layer.center, 0)):
        if not is_there and key in turned and (turned.pop(key).array != neutral).any():
            argument = "scale" if key == "gamma" else "center"
            raise ValueError(f"the layer has {argument}=False, and {key} is not {neutral} here")
    return turned


def _layer_norm(layer: LayerNorm, group: Group) -> dict[str, Turned]:
    """Return scale and shift of images, (C, H, W), as nn has them, (C * H * W,)."""
    turned = _plain(_NORM)(layer, group)
    return {
        key: Turned(array.reshape(-1), source, "flattened" if array.ndim > 1 else "")
        for key, (array, source, _) in turned.items()
    }


def _prelu(layer: PReLU, group: Group) -> dict[str, Turned]:
    """Return the slope of each channel; PyTorch's may be one for all."""
    arrays = _Arrays(group)
    slope, how, own = arrays.take("weight", 1), "", layer.params["slope"].shape
    if slope.shape == (1,) != own:
        slope, how = np.broadcast_to(slope, own), "repeated for each channel"
    return arrays.done({"slope": Turned(slope, arrays.source("weight"), how)})


def _weight_norm(layer: WeightNorm, group: Group) -> dict[str, Turned]:
    if isinstance(layer.layer, Conv2DTranspose):
        raise ValueError("PyTorch's weight_norm of a ConvTranspose2d is along the input channels")
    arrays, is_dense = _Arrays(group), isinstance(layer.layer, Dense)
    direction, length = arrays.take("weight_v"), arrays.take("weight_g")
    if length.shape != (len(direction), *[1] * (direction.ndim - 1)):
        raise ValueError("its weight_g is not one length for each output")
    turned = {
        "v": Turned(direction.T if is_dense else direction, arrays.source("weight_v"),
                    "transposed" if is_dense else ""),
        "g": Turned(length.reshape(-1), arrays.source("weight_g"), "flattened"),
    }  # fmt: skip
    if "bias" in arrays.left:
        turned["b"] = Turned(arrays.take("bias"), arrays.source("bias"))
    return arrays.done(turned)


def _attention(layer: MultiHeadAttention, group: Group) -> dict[str, Turned]:
    arrays = _Arrays(group)
    turned = {
        own: Turned(arrays.take(key, 2).T, arrays.source(key), "transposed")
        for own, key in (("W", "in_proj_weight"), ("W_out", "out_proj.weight"))
    }
    for own, key in (("b", "in_proj_bias"), ("b_out", "out_proj.bias")):
        if key in arrays.left:
            turned[own] = Turned(arrays.take(key, 1), arrays.source(key))
    return arrays.done(turned)


def _recurrent(layer: LSTM | SimpleRNN, group: Group) -> dict[str, Turned]:
    arrays = _Arrays(group)
    turned = {
        own: Turned(arrays.take(key, 2).T, arrays.source(key), "transposed")
        for own, key in (("W", "weight_ih"), ("U", "weight_hh"))
    }
    if "bias_ih" in arrays.left:
        joined = arrays.take("bias_ih", 1) + arrays.take("bias_hh", 1)
        turned["b"] = Turned(joined, arrays.source("bias_ih", "bias_hh"), "added up")
    else:
        turned["b"] = Turned(np.zeros(layer.params["b"].shape, "f4"), group.name, "no bias: zeros")
    return arrays.done(turned)


def _gru(layer: GRU, group: Group) -> dict[str, Turned]:
    if not layer.reset_after:
        raise ValueError("PyTorch's GRU resets after the product: make it with reset_after=True")
    arrays, how = _Arrays(group), "transposed, gates r, z, n to z, r, h"
    turned = {
        own: Turned(_reset_second(arrays.take(key, 2)).T, arrays.source(key), how)
        for own, key in (("W", "weight_ih"), ("U", "weight_hh"))
    }
    if "bias_ih" in arrays.left:
        pair = [_reset_second(arrays.take(key, 1)) for key in ("bias_ih", "bias_hh")]
        if pair[0].shape != pair[1].shape:
            raise ValueError("its two biases have different shapes")
        source = arrays.source("bias_ih", "bias_hh").replace("+", "and")
        turned["b"] = Turned(np.stack(pair), source, "gates r, z, n to z, r, h")
    else:
        turned["b"] = Turned(np.zeros(layer.params["b"].shape, "f4"), group.name, "no bias: zeros")
    return arrays.done(turned)


def _reset_second(array: np.ndarray) -> np.ndarray:
    """Exchange the first two of three blocks of rows: r, z, n and z, r, h."""
    if len(array) % 3:
        raise ValueError(f"{len(array)} rows are not three gates")
    first, second, third = np.split(array, 3)
    return np.concatenate([second, first, third])


_WEIGHTS = {"weight": "W", "bias": "b"}
_NORM = {
    "weight": "gamma", "bias": "beta", "running_mean": "running_mean", "running_var": "running_var",
}  # fmt: skip

#: The function for each class of layers.
_TURNS: dict[type[Layer] | tuple[type[Layer], ...], Callable[[Any, Group], dict[str, Turned]]] = {
    Dense: _dense,
    (Conv1D, Conv2D, DepthwiseConv2D, Conv2DTranspose): _plain(_WEIGHTS),
    (Embedding, PositionalEmbedding): _plain(_WEIGHTS),
    LayerNorm: _layer_norm,
    MultiHeadAttention: _attention,
    (BatchNorm,): _batch_norm,
    (GroupNorm,): _plain(_NORM),
    PReLU: _prelu,
    Standardize: _plain(_STATISTICS),
    WeightNorm: _weight_norm,
    (LSTM, SimpleRNN): _recurrent,
    GRU: _gru,
}
