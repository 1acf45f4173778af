"""The arguments of an optimizer's step, parameters with their gradients, and their state."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import checks, cuda

Array = Any  # a numpy or a cupy ndarray
Pairs = list[tuple[Array, Array]]


def as_pairs(owner: str, params_and_grads: Any) -> Pairs:
    """Return the argument of `Optimizer.step` as a list of pairs, whose arrays are not looked at.

    Raises
    ------
    TypeError
        If it does not hold pairs.
    """
    try:
        return [(param, grad) for param, grad in params_and_grads]
    except (TypeError, ValueError) as error:
        got = type(params_and_grads).__name__
        raise TypeError(
            f"[{owner}] 'params_and_grads' must hold pairs of arrays (param, grad), got {got}: "
            f"{error}."
        ) from error


def check_pairs(owner: str, names: list[str], pairs: Pairs) -> None:
    """Raise unless there is a pair of float arrays of one shape for each name.

    Raises
    ------
    TypeError
        For anything but arrays of floats.
    ValueError
        If the shapes of a pair differ, or the number of pairs is not that of the names.
    """
    if len(names) != len(pairs):
        rule = f"must hold {len(names)} pairs, as 'param_names' does"
        raise checks.error(owner, "params_and_grads", rule, len(pairs))
    for name, (param, grad) in zip(names, pairs, strict=True):
        kinds = [getattr(getattr(a, "dtype", None), "kind", None) for a in (param, grad)]
        if kinds != ["f", "f"]:
            got = [getattr(a, "dtype", type(a).__name__) for a in (param, grad)]
            raise TypeError(
                f"[{owner}] 'params_and_grads' must hold arrays of floats, got {got[0]} and "
                f"{got[1]} for {name!r}."
            )
        if param.shape != grad.shape:
            raise ValueError(
                f"[{owner}] expects a gradient of the parameter's shape {param.shape} for "
                f"{name!r}, got {grad.shape}."
            )


def refuse_factors(
    owner: str,
    names: list[str],
    factors: list[float],
    way_out: str = "override update() instead of step()",
) -> None:
    """Raise if there are factors of the learning rate, which would be ignored."""
    for name, factor in zip(names, factors, strict=True):
        if factor != 1:
            rule = f"for {name!r} needs an optimizer that supports it: {way_out}"
            raise checks.error(owner, "lr_factor", rule, factor)


def placed(owner: str, array: Array, name: str, param: Array) -> Array:
    """Return a parameter's state on its device, with its dtype and memory layout.

    Parameters
    ----------
    owner
        The class that an error names.
    array
        The state.
    name
        The name of the parameter.
    param
        The parameter.

    Raises
    ------
    ValueError
        If the state has another shape than the parameter.
    """
    if array.shape != param.shape:
        raise ValueError(
            f"[{owner}] expects {name!r} to keep the shape {array.shape} of its state, got "
            f"{param.shape}: use a new optimizer for a new model."
        )
    xp = cuda.get_array_module(param)
    is_like = xp is cuda.get_array_module(array) and array.dtype == param.dtype
    if is_like and array.strides == param.strides:
        return array
    moved = xp.empty_like(param)
    moved[...] = cuda.to_cpu(array) if xp is np else xp.asarray(array)
    return moved


def check_finite(owner: str, state: dict[str, dict[str, Array]]) -> None:
    """Raise an error if an array of the state is NaN or infinite: its parameter would not change.

    A gradient of 1e20 is enough: its square is above the largest number of float32, 3e38.
    """
    for name, slots in state.items():
        for slot, array in slots.items():
            if not cuda.all_finite(array):
                raise FloatingPointError(
                    f"[{owner}] '{slot}' of '{name}' has NaN or infinite values, as its gradients "
                    "were too large: set clip_norm or clip_value, or lower the learning rate."
                )


def global_norm(arrays: Iterable[Array]) -> float:
    """Return the Euclidean length of arrays taken as one vector, summed in float64.

    Examples
    --------
    >>> global_norm([np.array([3.0]), np.array([[0.0, 4.0]])])
    5.0
    """
    arrays = list(arrays)
    xp = cuda.get_array_module(*arrays)
    return math.sqrt(sum(xp.square(array, dtype=np.float64).sum() for array in arrays))
