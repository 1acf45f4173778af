"""What all optimizers share: a step over all parameters, settings, state, and the learning rate.

A subclass is its update rule alone, in `update`; see `rules.py`. Clipping, decay and averages are
in `hooks.py`.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import checks, compat, cuda
from ..custom import is_ours
from .arrays import Array, Pairs, as_pairs, check_finite, check_pairs, placed, refuse_factors
from .custom import counted, hooks_of_custom
from .hooks import SETTINGS, Averages, ClipNorm, ClipValue, Decay, Hook

LearningRate = float | Callable[[int], float]

# The prefix of the averages' names in `state_dict`, and the name of their number of steps.
_AVERAGE, _AVERAGE_STEPS = "ema", "ema_steps"


def arguments_of(cls: type) -> list[str]:
    """Return the names of the arguments that an optimizer's class takes."""
    return list(inspect.signature(cls).parameters)


class Optimizer:
    """Base of all optimizers.

    There are two ways to write your own. The short one is a `step` that does everything;
    `self.lr` is the learning rate as a number. The steps are counted.

    >>> class Plain(Optimizer):
    ...     def step(self, params_and_grads):
    ...         for param, grad in params_and_grads:
    ...             param -= self.lr * grad

    The other is an `update` of one parameter, as in the classes of `nn.optim`. It comes with
    weight decay, clipping, schedules, averages and state that is saved with the model; in it
    `self.lr` is the rate of the parameter, including the `lr_factor` of its layer.

    Parameters
    ----------
    lr
        The learning rate, a number of at least 0, or a function `step -> lr` such as those of
        `nn.schedules`; the step is `iterations`. `learning_rate` is another name of it.

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
        The factors of the learning rate by the names of the parameters, except those that are 1.
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
    owner: Any = None  # identifies the model whose parameters it has trained
    base_lr: float | None = None  # the optimizer's own rate, while a schedule of `fit` sets lr
    _lr: LearningRate = 0.01
    _rate: float | None = None  # of the parameter that is being updated
    _slots: dict[str, dict[str, Array]] | None = None  # by parameter, then by slot
    _averages: Averages | None = None
    _has_custom_update = False
    _prepared: tuple[Any, list[str], list[dict[str, Array]]] = (None, [], [])  # see _prepare

    def __init_subclass__(cls, **options: Any) -> None:
        """Let the class take other libraries' names of its arguments, such as `learning_rate`."""
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            compat.accept_other_names(cls)
        cls._has_custom_update = not is_ours(cls.update)
        if "step" in vars(cls):
            cls.step = counted(vars(cls)["step"])  # type: ignore[method-assign]

    def __init__(self, lr: LearningRate = 0.01) -> None:
        self.lr = lr

    @property
    def lr(self) -> float:
        """The learning rate of the next step as a number; it may be set to a function too.

        Within `update` and `decay` it is that of the parameter, times its factor.
        """
        if self._rate is not None:
            return self._rate
        if not callable(self._lr):
            return self._lr
        return checks.rate(type(self).__name__, "lr", self._lr(self.iterations))

    @lr.setter
    def lr(self, value: LearningRate) -> None:
        name = type(self).__name__
        if callable(value) and not checks.takes(value, 1):
            raise checks.error(name, "lr", "must be a number or a function step -> rate", value)
        checks.function_of_step(name, "lr", value)
        self._lr = value if callable(value) else checks.non_negative(name, "lr", value)

    learning_rate = lr  # as Keras calls it

    @property
    def current_lr(self) -> float:
        """The learning rate of the next step as a number: `lr` by its full name."""
        return self.lr

    @property
    def schedule(self) -> Callable[[int], float] | None:
        """The function that gives the learning rate, or None if it is a fixed number."""
        return self._lr if callable(self._lr) else None

    @property
    def averages(self) -> dict[str, Array]:
        """The running averages of the parameters by their names; empty without `ema_decay`."""
        return {} if self._averages is None else self._averages.arrays

    @property
    def has_own_step(self) -> bool:
        """Whether a subclass overrides `step`, which then ignores settings and factors."""
        return type(self).step is not Optimizer.step

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
            axes: of weights, not of biases and normalisation scales. (`AdamW` and
            `Lion` subtract `lr * weight_decay * param` from the parameter instead.)
        clip_norm
            If the length of all gradients taken as one vector is above this, they are all
            scaled down to it, before the decay is added.
        clip_value
            Every number of every gradient is limited to [-clip_value, clip_value], before the
            decay is added. It excludes `clip_norm`.
        ema_decay
            Keep the exponential moving average of every parameter, in [0, 1): after step t of
            the average, counted from 1,

                average += (1 - ema_decay) / (1 - ema_decay**t) * (param - average)

            The divisor is Adam's correction for the start: the average is a weighted mean of
            the weights after steps 1 to t, in which each counts `ema_decay` times as much as the
            next, and nothing else. (Keras leaves the divisor out, so that the weights after
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
            If a value is out of range, both kinds of clipping are set, or the optimizer has
            a `step` of its own, which would ignore the settings.

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
        settings = {
            "weight_decay": weight_decay,
            "clip_norm": clip_norm,
            "clip_value": clip_value,
            "ema_decay": ema_decay,
        }
        given = {
            k: SETTINGS[k](name, k, value) for k, value in settings.items() if value is not None
        }
        if given and self.has_own_step:
            setting, value = next(iter(given.items()))
            rule = "has no effect with a custom step(): override update() instead"
            raise checks.error(name, setting, rule, value)
        norm, limit = (given.get(k, getattr(self, k)) for k in ("clip_norm", "clip_value"))
        if norm is not None and limit is not None:
            rule = f"must not be set together with clip_norm={norm}: one of them must be None"
            raise checks.error(name, "clip_value", rule, limit)
        for setting, value in given.items():
            setattr(self, setting, value)
        return self

    def set_parameters(self, names: list[str], factors: list[float], owner: Any = None) -> None:
        """Set the names of the parameters, in the order of the pairs to come.

        Parameters
        ----------
        names
            The names of all parameters.
        factors
            The factor of each parameter's learning rate.
        owner
            An object that identifies the model whose parameters they are, or None.

        Raises
        ------
        ValueError
            If the optimizer belongs to another model, whose state it has, or if a factor is not
            1 and the optimizer has a `step` of its own, which would ignore it.
        """
        if self.has_own_step:
            refuse_factors(type(self).__name__, names, factors)
        if owner is not None:
            if self.owner is not None and self.owner is not owner:
                raise ValueError(
                    "[Model] 'optimizer' is in use by another model, and its state is that "
                    f"model's, got {type(self).__name__} again: use a new optimizer."
                )
            self.owner = owner
        self.param_names = names
        self.lr_factors = {n: f for n, f in zip(names, factors, strict=True) if f != 1}

    def step(self, params_and_grads: Iterable[tuple[Array, Array]]) -> None:
        """Change every parameter in place by the rule, and count one step.

        Parameters
        ----------
        params_and_grads
            Pairs of a parameter and its gradient, of equal shapes, in the same order at every
            step. The gradients are not changed.

        Raises
        ------
        TypeError
            If the pairs are not pairs of floating-point arrays.
        ValueError
            If the shapes of a pair differ, the number of pairs is not that of `param_names`,
            or a parameter has another shape than its state.
        """
        pairs = params_and_grads if isinstance(params_and_grads, list) else None
        if pairs is None:
            pairs = as_pairs(type(self).__name__, params_and_grads)
        names, slots = self._prepare(pairs)
        hooks = self._hooks()
        for hook in hooks:
            hook.begin(names, pairs)
        rate, factors = self.lr, self.lr_factors or {}
        try:
            for name, (param, grad), state in zip(names, pairs, slots, strict=True):
                self._rate = rate * factors.get(name, 1.0)  # now `lr` is this parameter's
                for hook in hooks:
                    grad = hook.gradient(param, grad)
                self.update(param, grad, state)
        finally:
            self._rate = None
        for hook in hooks:
            hook.end()
        self.iterations += 1

    def update(self, param: Array, grad: Array, slots: dict[str, Array]) -> None:
        """Change `param` and its `slots` in place; subclasses write their rule here.

        Parameters
        ----------
        param, grad
            Arrays of one shape; `grad` must not be changed.
        slots
            An array like `param`, initially zeros, for each of `slot_names`.
        """
        raise NotImplementedError(f"[{type(self).__name__}] must define update() or step().")

    def decay(self, param: Array, grad: Array) -> Array:
        """Return the gradient with the weight decay added; `grad` itself is not changed."""
        return grad + self.weight_decay * param

    def slots_for(self, param: Array) -> tuple[str, ...]:
        """Return the `slot_names` that a parameter of this shape needs; here all of them."""
        return self.slot_names

    def _hooks(self) -> list[Hook]:
        """Return the hooks of the present settings: clipping, decay, averages, in this order."""
        hooks: list[Hook] = []
        if self.clip_value is not None:
            hooks.append(ClipValue(self.clip_value))
        elif self.clip_norm is not None:
            hooks.append(ClipNorm(self.clip_norm))
        if self.weight_decay:
            hooks.append(Decay(self.decay))
        hooks += hooks_of_custom(self) if self._has_custom_update else []
        if self.ema_decay is not None:
            self._averages = self._averages or Averages(type(self).__name__)
            self._averages.decay = self.ema_decay
            hooks.append(self._averages)
        return hooks

    def _prepare(self, pairs: Pairs) -> tuple[list[str], list[dict[str, Array]]]:
        """Return name and state of each parameter, after checking the pairs.

        While names, shapes and dtypes are those of the step before, nothing is left to do.
        """
        try:
            kinds = [(type(p), p.shape, p.dtype, g.shape, g.dtype) for p, g in pairs]
        except (AttributeError, TypeError, ValueError):  # not pairs of arrays
            kinds = []
        key = (kinds, self.param_names, self.slot_names)
        known, names, slots = self._prepared
        if key != known or len(kinds) != len(pairs):
            pairs, given = as_pairs(type(self).__name__, pairs), self.param_names
            names = [str(k) for k in range(len(pairs))] if given is None else [*given]
            check_pairs(type(self).__name__, names, pairs)
            slots = [self._slots_of(n, param) for n, (param, _) in zip(names, pairs, strict=True)]
            self._prepared = (kinds, given and names, self.slot_names), names, slots
        return names, slots

    def _slots_of(self, name: str, param: Array) -> dict[str, Array]:
        """Return the state of one parameter, with its shape, device, dtype and memory layout."""
        self._slots = self._slots or {}
        slots = self._slots.setdefault(name, {})
        for slot in self.slots_for(param):
            if slot in slots:
                slots[slot] = placed(type(self).__name__, slots[slot], name, param)
            else:
                slots[slot] = cuda.get_array_module(param).zeros_like(param)
        return slots

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of all state: `'<slot>/<parameter>'` -> array, and `'iterations'`.

        Averages are stored under `'ema/<parameter>'`, the count of their steps as `'ema_steps'`.
        """
        state: dict[str, Array] = {"iterations": np.array(self.iterations, dtype=np.int64)}
        if self._averages is not None and self.ema_decay is not None:
            state[_AVERAGE_STEPS] = np.array(self._averages.steps, dtype=np.int64)
            for name, array in self._averages.arrays.items():
                state[f"{_AVERAGE}/{name}"] = array.copy(order="K")
        for name, slots in (self._slots or {}).items():
            for slot, array in slots.items():
                state[f"{slot}/{name}"] = array.copy(order="K")
        return state

    def check_state(self) -> None:
        """Raise a FloatingPointError if the state holds NaN or infinity."""
        check_finite(type(self).__name__, self._slots or {})

    def load_state_dict(self, state: dict[str, Array], strict: bool = True) -> None:
        """Replace all state by a copy of what `state_dict` returned.

        The arrays may be on any device; the next step moves each to its parameter's.

        Parameters
        ----------
        state
            What `state_dict` returned.
        strict
            Whether state of a parameter that is not in `param_names` is an error; if not, it is
            kept for the time when the parameter is trained again.

        Raises
        ------
        ValueError
            If a key is missing, or names a slot or a parameter that this optimizer lacks, or if
            there are averages and `ema_decay` is not set. With `ema_decay` but without averages,
            these begin at the next step.
        """
        owner = type(self).__name__
        if not isinstance(state, dict) or "iterations" not in state:
            got = sorted(state) if isinstance(state, dict) else state
            raise checks.error(owner, "state", "must hold 'iterations'", got)
        averages: Averages | None = None
        if _AVERAGE_STEPS in state:
            if self.ema_decay is None:
                rule = "holds averages of the weights, which need configure(ema_decay=...)"
                raise checks.error(owner, "state", rule, sorted(state))
            averages = Averages(owner)
            averages.steps = int(state[_AVERAGE_STEPS])
        slots: dict[str, dict[str, Array]] = {}
        known = (*self.slot_names, *([] if averages is None else [_AVERAGE]))
        for key in sorted(state.keys() - {"iterations", _AVERAGE_STEPS}):
            slot, _, name = key.partition("/")
            if slot not in known:
                raise checks.unknown(owner, "state", slot, known)
            if strict and self.param_names is not None and name not in self.param_names:
                raise checks.unknown(owner, "state", name, self.param_names)
            array = state[key].copy(order="K")
            if averages is not None and slot not in self.slot_names:
                averages.arrays[name] = array
            else:
                slots.setdefault(name, {})[slot] = array
        for name, found in slots.items():
            needed = self.slots_for(next(iter(found.values())))
            if len(found) != len(needed):
                rule = f"must hold all of {needed} for {name!r}"
                raise checks.error(owner, "state", rule, sorted(found))
        self.iterations = int(state["iterations"])
        self._averages, self._slots, self._prepared = averages, slots, (None, [], [])

    def to_config(self) -> dict[str, Any]:
        """Return `{'class': ..., 'config': {...}}`, the arguments that `from_config` takes.

        Of a learning rate that is a function, the present value is stored.
        """
        names = [name for name in arguments_of(type(self)) if hasattr(self, name)]
        if not self.has_own_step:
            names += [name for name in SETTINGS if name not in names]
        config = {name: getattr(self, name) for name in names}
        if "lr" in config and self.base_lr is not None:
            config["lr"] = self.base_lr
        return {"class": type(self).__name__, "config": config}


compat.accept_other_names(Optimizer)
