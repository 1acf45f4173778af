"""What all optimizers share: clipping, decay, state, averages, and the count of the steps.

A subclass is its update rule alone, in `update`; see `rules.py`.
"""

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import checks, cuda

Array = Any  # a numpy or a cupy ndarray
LearningRate = float | Callable[[int], float]

# What `Optimizer.configure` takes, and how each is checked.
SETTINGS: dict[str, Callable[[str, str, Any], float]] = {
    "weight_decay": checks.non_negative,
    "clip_norm": checks.positive,
    "clip_value": checks.positive,
    "ema_decay": checks.fraction,
}

# What the names of the averages begin with in `get_state`, and their number of steps.
_AVERAGE, _AVERAGE_STEPS = "ema", "ema_steps"


def arguments_of(cls: type) -> list[str]:
    """Return the names of the arguments that an optimizer's class takes."""
    return list(inspect.signature(cls).parameters)


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


class Optimizer:
    """Base of all optimizers.

    There are two ways to write your own. The short one is a `step` that does everything;
    `self.lr` is the learning rate as a number. (Where that comes from a function of the step,
    end with `self.iterations += 1`.)

    >>> class Plain(Optimizer):
    ...     def step(self, params_and_grads):
    ...         for param, grad in params_and_grads:
    ...             param -= self.lr * grad

    The other is an `update` of one parameter, as the classes below have it. It gets weight
    decay, clipping, schedules, averages and state that is saved with the model; in it `self.lr`
    is the rate of the parameter, with the `lr_factor` of its layer.

    Parameters
    ----------
    lr
        The learning rate, a number of at least 0, or a function `step -> lr` such as those of
        `nn.schedules`; the step is `iterations`.

    Attributes
    ----------
    iterations : int
        The number of steps taken.
    weight_decay, clip_norm, clip_value, ema_decay : float or None
        The settings of `configure`.
    param_names : list of str or None
        The names of the parameters in the order of the pairs, under which their state is
        kept. Without names it is kept under their positions, `'0'`, `'1'`, ...
    lr_factors : dict or None
        What the learning rate of a parameter is multiplied by, where it is not 1, by its name.
        A model sets both from its layers.
    averages : dict
        The running averages of the parameters by their names, with `ema_decay`.
    slot_names : tuple of str
        The state arrays that the rule keeps for each parameter.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.array([1.0, 2.0])
    >>> optimizer = Plain(lr=0.1)
    >>> optimizer.step([(weights, np.array([1.0, -1.0]))])
    >>> weights
    array([0.9, 2.1])
    """

    # Defaults of the class, so that a subclass which never calls super().__init__() works too.
    slot_names: tuple[str, ...] = ()
    iterations: int = 0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    ema_decay: float | None = None
    param_names: list[str] | None = None
    lr_factors: dict[str, float] | None = None
    owner: Any = None  # what stands for the model in whose training it has taken part
    base_lr: float | None = None  # the optimizer's own rate, while a schedule of `fit` sets lr
    _lr: LearningRate = 0.01
    _factor: float = 1.0  # of the parameter that is being updated
    _slots: dict[str, dict[str, Array]] | None = None  # by parameter, then by slot
    _averages: dict[str, Array] | None = None
    _average_steps: int = 0
    _unplaced: frozenset[str] = frozenset()  # parameters whose state set_state has just filled

    def __init__(self, lr: LearningRate = 0.01) -> None:
        self.lr = lr

    @property
    def lr(self) -> float:
        """The learning rate of the next step as a number; it may be set to a function too.

        Within `update` and `decay` it is that of the parameter, times its `lr_factors`.
        """
        if not callable(self._lr):
            return self._lr * self._factor
        rate = self._lr(self.iterations)
        rate = rate.item() if hasattr(rate, "item") else rate  # a number of NumPy's
        return checks.non_negative(type(self).__name__, "lr", rate) * self._factor

    @lr.setter
    def lr(self, value: LearningRate) -> None:
        name = type(self).__name__
        if callable(value) and not checks.takes(value, 1):
            raise checks.error(name, "lr", "must be a number or a function step -> rate", value)
        self._lr = value if callable(value) else checks.non_negative(name, "lr", value)

    @property
    def current_lr(self) -> float:
        """The learning rate of the next step as a number: `lr` by its full name."""
        return self.lr

    @property
    def schedule(self) -> Callable[[int], float] | None:
        """The function that gives the learning rate, or None where it is a fixed number."""
        return self._lr if callable(self._lr) else None

    @property
    def averages(self) -> dict[str, Array]:
        """The running averages of the parameters by their names; empty without `ema_decay`."""
        return self._averages or {}

    def configure(
        self,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        ema_decay: float | None = None,
    ) -> "Optimizer":
        """Set what is done to gradients before the rule, and to parameters after it.

        None leaves a setting as it is; to switch one off, set the attribute of its name to None.

        Parameters
        ----------
        weight_decay
            `weight_decay * param` is added to the gradient of every parameter with two or more
            axes: of weights, not of biases and normalisation scales. (`AdamW` subtracts
            `lr * weight_decay * param` from the parameter in its place.)
        clip_norm
            Where the length of all gradients taken as one vector is above this, they are all
            scaled down to it, before the decay is added.
        clip_value
            Every number of every gradient is brought into [-clip_value, clip_value], before the
            decay is added. Not beside `clip_norm`.
        ema_decay
            Keep the exponential moving average of every parameter, in [0, 1): after step t of
            the average, counted from 1,

                average += (1 - ema_decay) / (1 - ema_decay**t) * (param - average)

            The divisor is Adam's correction for the start: the average is a weighted mean of
            the weights after steps 1 to t, in which each counts `ema_decay` times what the next
            does, and nothing else. (Keras leaves the divisor out, so that the weights after
            the first step count for `1 / (1 - ema_decay)` steps.) A parameter that joins later,
            when its layer is unfrozen, counts with its value before for the steps that it
            missed. See `Model.averaged_weights`.

            Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM
            Journal on Control and Optimization 30(4), 1992, with equal weights for all steps.

        Returns
        -------
        Optimizer
            This optimizer.

        Raises
        ------
        ValueError
            Where a value is out of range, both kinds of clipping are set, or the optimizer has
            a `step` of its own, which would not honour the settings.

        Examples
        --------
        >>> import numpy as np
        >>> from nn.optim import SGD
        >>> weights, bias = np.zeros((1, 2)), np.zeros(1)
        >>> optimizer = SGD(lr=1.0).configure(clip_value=2.0)
        >>> optimizer.step([(weights, np.array([[3.0, -1.0]])), (bias, np.array([-5.0]))])
        >>> weights, bias
        (array([[-2.,  1.]]), array([2.]))
        """
        name = type(self).__name__
        given = {
            "weight_decay": weight_decay,
            "clip_norm": clip_norm,
            "clip_value": clip_value,
            "ema_decay": ema_decay,
        }
        if not steps_as_ours(self):
            for setting, value in given.items():
                if value is not None:
                    rule = "has no effect on a step() of your own: write update() instead"
                    raise checks.error(name, setting, rule, value)
        given = {k: SETTINGS[k](name, k, value) for k, value in given.items() if value is not None}
        norm, limit = (given.get(k, getattr(self, k)) for k in ("clip_norm", "clip_value"))
        if norm is not None and limit is not None:
            rule = f"must not be set beside clip_norm={norm}: one of them must be None"
            raise checks.error(name, "clip_value", rule, limit)
        for setting, value in given.items():
            setattr(self, setting, value)
        return self

    def step(self, params_and_grads: Iterable[tuple[Array, Array]]) -> None:
        """Change every parameter in place by the rule, and count one step.

        Parameters
        ----------
        params_and_grads
            Pairs of a parameter and its gradient, of equal shapes, in the same order at every
            step. The gradients are not changed.

        Raises
        ------
        ValueError
            Where the shapes of a pair differ, the number of pairs is not that of `param_names`,
            or a parameter has another shape than its state.
        """
        try:
            pairs = [(param, grad) for param, grad in params_and_grads]
        except (TypeError, ValueError) as error:
            rule = "must hold pairs of arrays (param, grad)"
            came = type(params_and_grads).__name__
            raise TypeError(
                f"[{type(self).__name__}] 'params_and_grads' {rule}, got {came}: {error}."
            ) from error
        names = self._names_of(pairs)
        clip = self._clipping([grad for _, grad in pairs])
        averaged = self._averages_of(names, pairs)
        factors = self.lr_factors or {}
        try:
            for name, (param, grad) in zip(names, pairs, strict=True):
                self._factor = factors.get(name, 1.0)  # now `lr` is this parameter's
                grad = clip(grad)
                if self.weight_decay and param.ndim >= 2:
                    grad = self.decay(param, grad)
                self.update(param, grad, self._slots_of(name, param))
        finally:
            self._factor = 1.0
        self._renew_averages(averaged)
        self.iterations += 1

    def decay(self, param: Array, grad: Array) -> Array:
        """Return the gradient with the weight decay in it; `grad` itself is not changed."""
        return grad + self.weight_decay * param

    def update(self, param: Array, grad: Array, slots: dict[str, Array]) -> None:
        """Change `param` and its `slots` in place; subclasses write their rule here.

        Parameters
        ----------
        param, grad
            Arrays of one shape; `grad` must not be changed.
        slots
            An array like `param`, at first of zeros, for each of `slot_names`.
        """
        raise NotImplementedError(f"[{type(self).__name__}] must define update() or step().")

    def get_state(self) -> dict[str, Array]:
        """Return a copy of all state: `'<slot>/<parameter>'` -> array, and `'iterations'`.

        Averages stand under `'ema/<parameter>'`, the number of their steps under `'ema_steps'`.
        """
        state: dict[str, Array] = {"iterations": np.array(self.iterations, dtype=np.int64)}
        if self._averages is not None and self.ema_decay is not None:
            state[_AVERAGE_STEPS] = np.array(self._average_steps, dtype=np.int64)
            for name, array in self._averages.items():
                state[f"{_AVERAGE}/{name}"] = array.copy(order="K")
        for name, slots in (self._slots or {}).items():
            for slot, array in slots.items():
                state[f"{slot}/{name}"] = array.copy(order="K")
        return state

    def set_state(self, state: dict[str, Array]) -> None:
        """Replace all state by a copy of what `get_state` returned.

        The arrays may lie on any device; the next step moves each to its parameter's.

        Raises
        ------
        ValueError
            Where a key is missing, or names a slot or a parameter that this optimizer lacks, or
            averages come without `ema_decay`. With `ema_decay` but without averages, these
            begin at the next step.
        """
        owner = type(self).__name__
        if not isinstance(state, dict) or "iterations" not in state:
            came = sorted(state) if isinstance(state, dict) else state
            raise checks.error(owner, "state", "must hold 'iterations'", came)
        if _AVERAGE_STEPS in state and self.ema_decay is None:
            rule = "holds averages of the weights, which need configure(ema_decay=...)"
            raise checks.error(owner, "state", rule, sorted(state))
        slots: dict[str, dict[str, Array]] = {}
        averages: dict[str, Array] = {}
        known = (*self.slot_names, *([_AVERAGE] if _AVERAGE_STEPS in state else []))
        for key in sorted(state.keys() - {"iterations", _AVERAGE_STEPS}):
            slot, _, name = key.partition("/")
            if slot not in known:
                raise checks.unknown(owner, "state", slot, known)
            if self.param_names is not None and name not in self.param_names:
                raise checks.unknown(owner, "state", name, self.param_names)
            if slot not in self.slot_names:
                averages[name] = state[key].copy(order="K")
            else:
                slots.setdefault(name, {})[slot] = state[key].copy(order="K")
        for name, found in slots.items():
            if len(found) != len(self.slot_names):
                rule = f"must hold all of {self.slot_names} for {name!r}"
                raise checks.error(owner, "state", rule, sorted(found))
        counts = int(state["iterations"]), int(state.get(_AVERAGE_STEPS, 0))
        self.iterations, self._average_steps = counts
        self._averages = averages if _AVERAGE_STEPS in state else None
        self._slots, self._unplaced = slots, frozenset([*slots, *averages])

    def to_config(self) -> dict[str, Any]:
        """Return `{'class': ..., 'config': {...}}`, the arguments that `from_config` takes.

        A learning rate that is a function cannot be written to a file: its present value is
        stored in its place.
        """
        names = [name for name in arguments_of(type(self)) if hasattr(self, name)]
        if type(self).step is Optimizer.step:
            names += [name for name in SETTINGS if name not in names]
        config = {name: getattr(self, name) for name in names}
        if "lr" in config and self.base_lr is not None:
            config["lr"] = self.base_lr
        return {"class": type(self).__name__, "config": config}

    def _names_of(self, pairs: list[tuple[Array, Array]]) -> list[str]:
        """Return the names of the pairs' state, after checking that the pairs are sound."""
        owner = type(self).__name__
        names = self.param_names
        if names is None:
            names = [str(position) for position in range(len(pairs))]
        if len(names) != len(pairs):
            rule = f"must hold {len(names)} pairs, as 'param_names' does"
            raise checks.error(owner, "params_and_grads", rule, len(pairs))
        for name, (param, grad) in zip(names, pairs, strict=True):
            kinds = [getattr(getattr(a, "dtype", None), "kind", None) for a in (param, grad)]
            if kinds != ["f", "f"]:
                came = [getattr(a, "dtype", type(a).__name__) for a in (param, grad)]
                raise TypeError(
                    f"[{owner}] 'params_and_grads' must hold arrays of floats, got "
                    f"{came[0]} and {came[1]} for {name!r}."
                )
            if param.shape != grad.shape:
                raise ValueError(
                    f"[{owner}] expects a gradient of the parameter's shape {param.shape} "
                    f"for {name!r}, got {grad.shape}."
                )
        return names

    def _clipping(self, grads: list[Array]) -> Callable[[Array], Array]:
        """Return the function that clips one of these gradients; it makes a new array."""
        if self.clip_value is not None:
            low, high = -self.clip_value, self.clip_value
            return lambda grad: cuda.get_array_module(grad).clip(grad, low, high)
        norm = global_norm(grads) if self.clip_norm is not None else 0.0
        # Gradients that are infinite or NaN stay as they are: there is nothing to scale down to.
        if self.clip_norm is not None and self.clip_norm < norm < math.inf:
            scale = self.clip_norm / norm
            return lambda grad: grad * scale
        return lambda grad: grad

    def _slots_of(self, name: str, param: Array) -> dict[str, Array]:
        """Return the state of one parameter, with its shape, device, dtype and memory layout."""
        if self._slots is None:
            self._slots = {}
        slots = self._slots.setdefault(name, {})
        for slot in self.slot_names:
            if slot not in slots:
                slots[slot] = cuda.get_array_module(param).zeros_like(param)
            slots[slot] = self._placed(slots[slot], name, param)
        self._unplaced -= {name}
        return slots

    def _placed(self, array: Array, name: str, param: Array) -> Array:
        """Return state of a parameter with its shape, device, dtype and memory layout."""
        xp = cuda.get_array_module(param)
        if array.shape != param.shape:
            raise ValueError(
                f"[{type(self).__name__}] expects {name!r} to keep the shape {array.shape} "
                f"of its state, got {param.shape}: use a new optimizer for a new model."
            )
        moved = xp is not cuda.get_array_module(array) or array.dtype != param.dtype
        if not moved and name not in self._unplaced:
            return array
        placed = xp.empty_like(param)
        placed[...] = cuda.to_cpu(array) if xp is np else xp.asarray(array)
        return placed

    def _averages_of(
        self, names: list[str], pairs: list[tuple[Array, Array]]
    ) -> list[tuple[Array, Array]]:
        """Return each parameter with its average, which begins as the parameter before its step.

        Without `ema_decay` there are none.
        """
        if self.ema_decay is None:
            return []
        if self._averages is None:
            self._averages = {}
        for name, (param, _) in zip(names, pairs, strict=True):
            if name not in self._averages:
                self._averages[name] = param.copy(order="K")
            self._averages[name] = self._placed(self._averages[name], name, param)
        return [(param, self._averages[n]) for n, (param, _) in zip(names, pairs, strict=True)]

    def _renew_averages(self, averaged: list[tuple[Array, Array]]) -> None:
        """Let the averages follow the parameters by one step; see `configure`."""
        if self.ema_decay is None:
            return
        self._average_steps += 1
        share = (1 - self.ema_decay) / (1 - self.ema_decay**self._average_steps)
        for param, average in averaged:
            change = param - average
            change *= share
            average += change


def steps_as_ours(optimizer: Any) -> bool:
    """Tell whether an optimizer's `step` is the base's, which honours settings and factors."""
    return isinstance(optimizer, Optimizer) and type(optimizer).step is Optimizer.step


def name_parameters(
    optimizer: Any, names: list[str], factors: list[float], owner: Any = None
) -> None:
    """Tell an optimizer what the parameters are called, in the order of the pairs to come.

    An optimizer without an attribute `param_names` is not told.

    Parameters
    ----------
    optimizer
        Any object with a `step`, or None.
    names
        The names of all parameters.
    factors
        What the learning rate of each is multiplied by.
    owner
        An object that stands for the model whose parameters they are; None where nobody asks.

    Raises
    ------
    ValueError
        For an optimizer of another model, whose state it has, and for a factor that is not 1,
        where the optimizer is missing or has a `step` of its own, which would not honour it.
    """
    lr_factors = {name: f for name, f in zip(names, factors, strict=True) if f != 1}
    if lr_factors and not steps_as_ours(optimizer):
        name, factor = next(iter(lr_factors.items()))
        owner, way_out = type(optimizer).__name__, "write update() in place of a step() of your own"
        if optimizer is None:
            owner, way_out = "Model", "compile() the model, which tells its optimizer"
        rule = f"for {name!r} needs an optimizer that multiplies its rate by it: {way_out}"
        raise checks.error(owner, "lr_factor", rule, factor)
    if owner is not None and isinstance(optimizer, Optimizer):
        if optimizer.owner is not None and optimizer.owner is not owner:
            raise ValueError(
                "[Model] 'optimizer' is in use by another model, and its state is that model's, "
                f"got {type(optimizer).__name__} again: use a new optimizer."
            )
        optimizer.owner = owner
    if hasattr(optimizer, "param_names"):
        optimizer.param_names = names
    if steps_as_ours(optimizer):
        optimizer.lr_factors = lr_factors
