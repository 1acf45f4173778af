"""The last step of a batch's way: the optimizers, which turn gradients into better parameters.

After the backward pass the model hands `(param, grad)` pairs to `Optimizer.step`, which
changes each parameter in place. The base class does what all rules share: it clips the
gradients, decays the weights, keeps the state arrays ("slots") of each parameter and counts
the steps. A subclass is its update rule alone, in `update`; the classes stand in order of
complexity.

`get` turns a name into an optimizer, `from_config` restores one from `to_config`.
"""

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from . import checks, cuda, kernels

Array = Any  # a numpy or a cupy ndarray
LearningRate = float | Callable[[int], float]

# What `Optimizer.configure` takes.
_SETTINGS = ("weight_decay", "clip_norm")


def _arguments(cls: type) -> list[str]:
    """Return the names of the arguments that an optimizer's class takes."""
    return list(inspect.signature(cls).parameters)


def _global_norm(grads: list[Array]) -> float:
    """Return the Euclidean length of all gradients taken as one vector, summed in float64."""
    xp = cuda.get_array_module(*grads)
    return math.sqrt(sum(xp.square(grad, dtype=np.float64).sum() for grad in grads))


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
    decay, clipping, schedules and state that is saved with the model.

    Parameters
    ----------
    lr
        The learning rate, a number of at least 0, or a function `step -> lr` such as those of
        `nn.schedules`; the step is `iterations`.

    Attributes
    ----------
    iterations : int
        The number of steps taken.
    weight_decay, clip_norm : float, float or None
        The settings of `configure`.
    param_names : list of str or None
        The names of the parameters in the order of the pairs, under which their state is
        kept. Without names it is kept under their positions, `'0'`, `'1'`, ...
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
    param_names: list[str] | None = None
    base_lr: float | None = None  # the optimizer's own rate, while a schedule of `fit` sets lr
    _lr: LearningRate = 0.01
    _slots: dict[str, dict[str, Array]] | None = None  # by parameter, then by slot
    _unplaced: frozenset[str] = frozenset()  # parameters whose slots set_state has just filled

    def __init__(self, lr: LearningRate = 0.01) -> None:
        self.lr = lr

    @property
    def lr(self) -> float:
        """The learning rate of the next step as a number; it may be set to a function too."""
        if not callable(self._lr):
            return self._lr
        return checks.non_negative(type(self).__name__, "lr", float(self._lr(self.iterations)))

    @lr.setter
    def lr(self, value: LearningRate) -> None:
        name = type(self).__name__
        self._lr = value if callable(value) else checks.non_negative(name, "lr", value)

    @property
    def current_lr(self) -> float:
        """The learning rate of the next step as a number: `lr` by its full name."""
        return self.lr

    @property
    def schedule(self) -> Callable[[int], float] | None:
        """The function that gives the learning rate, or None where it is a fixed number."""
        return self._lr if callable(self._lr) else None

    def configure(
        self, weight_decay: float | None = None, clip_norm: float | None = None
    ) -> "Optimizer":
        """Set how gradients are treated before the rule sees them; None leaves a setting.

        Parameters
        ----------
        weight_decay
            `weight_decay * param` is added to the gradient of every parameter with two or more
            axes: of weights, not of biases and normalisation scales. (`AdamW` subtracts
            `lr * weight_decay * param` from the parameter in its place.)
        clip_norm
            Where the length of all gradients taken as one vector is above this, they are all
            scaled down to it, before the decay is added.

        Returns
        -------
        Optimizer
            This optimizer.

        Raises
        ------
        ValueError
            Where a value is out of range, or the optimizer has a `step` of its own, which would
            not honour the settings.
        """
        name = type(self).__name__
        given = {"weight_decay": weight_decay, "clip_norm": clip_norm}
        if type(self).step is not Optimizer.step:
            for setting, value in given.items():
                if value is not None:
                    rule = "has no effect on a step() of your own: write update() instead"
                    raise checks.error(name, setting, rule, value)
        if weight_decay is not None:
            self.weight_decay = checks.non_negative(name, "weight_decay", weight_decay)
        if clip_norm is not None:
            self.clip_norm = checks.positive(name, "clip_norm", clip_norm)
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
        pairs = list(params_and_grads)
        names = self._names_of(pairs)
        scale = self._clipping([grad for _, grad in pairs])
        for name, (param, grad) in zip(names, pairs, strict=True):
            if scale != 1.0:
                grad = grad * scale
            if self.weight_decay and param.ndim >= 2:
                grad = self.decay(param, grad)
            self.update(param, grad, self._slots_of(name, param))
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
        """Return a copy of all state: `'<slot>/<parameter>'` -> array, and `'iterations'`."""
        state: dict[str, Array] = {"iterations": np.array(self.iterations, dtype=np.int64)}
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
            Where a key is missing, or names a slot or a parameter that this optimizer lacks.
        """
        owner = type(self).__name__
        if "iterations" not in state:
            raise checks.error(owner, "state", "must hold 'iterations'", sorted(state))
        slots: dict[str, dict[str, Array]] = {}
        for key in sorted(state.keys() - {"iterations"}):
            slot, _, name = key.partition("/")
            if slot not in self.slot_names:
                raise checks.unknown(owner, "state", slot, self.slot_names)
            if self.param_names is not None and name not in self.param_names:
                raise checks.unknown(owner, "state", name, self.param_names)
            slots.setdefault(name, {})[slot] = state[key].copy(order="K")
        for name, found in slots.items():
            if len(found) != len(self.slot_names):
                rule = f"must hold all of {self.slot_names} for {name!r}"
                raise checks.error(owner, "state", rule, sorted(found))
        self.iterations = int(state["iterations"])
        self._slots, self._unplaced = slots, frozenset(slots)

    def to_config(self) -> dict[str, Any]:
        """Return `{'class': ..., 'config': {...}}`, the arguments that `from_config` takes.

        A learning rate that is a function cannot be written to a file: its present value is
        stored in its place.
        """
        names = [name for name in _arguments(type(self)) if hasattr(self, name)]
        if type(self).step is Optimizer.step:
            names += [name for name in _SETTINGS if name not in names]
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
            if param.shape != grad.shape:
                raise ValueError(
                    f"[{owner}] expects a gradient of the parameter's shape {param.shape} "
                    f"for {name!r}, got {grad.shape}."
                )
        return names

    def _clipping(self, grads: list[Array]) -> float:
        """Return what all gradients are multiplied by so that their norm is at most clip_norm."""
        if self.clip_norm is None:
            return 1.0
        norm = _global_norm(grads)
        # Gradients that are infinite or NaN stay as they are: there is nothing to scale down to.
        return self.clip_norm / norm if self.clip_norm < norm < math.inf else 1.0

    def _slots_of(self, name: str, param: Array) -> dict[str, Array]:
        """Return the state of one parameter, with its shape, device, dtype and memory layout."""
        if self._slots is None:
            self._slots = {}
        xp = cuda.get_array_module(param)
        slots = self._slots.setdefault(name, {})
        for slot in self.slot_names:
            if slot not in slots:
                slots[slot] = xp.zeros_like(param)
            array = slots[slot]
            if array.shape != param.shape:
                raise ValueError(
                    f"[{type(self).__name__}] expects {name!r} to keep the shape {array.shape} "
                    f"of its state, got {param.shape}: use a new optimizer for a new model."
                )
            moved = xp is not cuda.get_array_module(array) or array.dtype != param.dtype
            if moved or name in self._unplaced:
                slots[slot] = xp.empty_like(param)
                slots[slot][...] = cuda.to_cpu(array) if xp is np else xp.asarray(array)
        self._unplaced -= {name}
        return slots


class SGD(Optimizer):
    """Stochastic gradient descent, with or without momentum.

    Plain: `param -= lr * grad`. With momentum the steps add up to a velocity:

        velocity = momentum * velocity - lr * grad
        param += velocity

    and Nesterov's variant looks one step of the velocity ahead:

        param += momentum * velocity - lr * grad

    The velocity has the learning rate inside, as in the paper and in Keras; PyTorch leaves it
    outside, which is the same as long as the rate is constant.

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    momentum
        The share of the velocity that a step keeps, in [0, 1).
    nesterov
        Whether to look ahead; needs a momentum.

    References
    ----------
    Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in
    deep learning", ICML 2013, https://proceedings.mlr.press/v28/sutskever13.html

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.array([1.0, 2.0])
    >>> SGD(lr=0.5).step([(weights, np.array([1.0, -1.0]))])
    >>> weights
    array([0.5, 2.5])
    """

    def __init__(
        self, lr: LearningRate = 0.01, momentum: float = 0.0, nesterov: bool = False
    ) -> None:
        super().__init__(lr)
        self.momentum = checks.fraction(type(self).__name__, "momentum", momentum)
        self.nesterov = bool(nesterov)
        if self.nesterov and self.momentum == 0:
            raise checks.error(type(self).__name__, "nesterov", "needs a 'momentum'", nesterov)

    @property
    def slot_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """The velocity, where there is a momentum."""
        return ("velocity",) if self.momentum else ()

    def update(self, param: Array, grad: Array, slots: dict[str, Array]) -> None:
        """Take one step against the gradient, or along the velocity."""
        if self.momentum:
            kernels.sgd(param, grad, slots["velocity"], self.lr, self.momentum, self.nesterov)
        else:
            param -= self.lr * grad


class SGDMomentum(SGD):
    """Gradient descent with momentum: `SGD` with another default.

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    momentum
        The share of the velocity that a step keeps, in [0, 1).
    """

    def __init__(self, lr: LearningRate = 0.01, momentum: float = 0.9) -> None:
        super().__init__(lr, momentum)


class Nesterov(SGD):
    """Gradient descent with Nesterov's momentum: `SGD(nesterov=True)`.

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    momentum
        The share of the velocity that a step keeps, in (0, 1).
    """

    def __init__(self, lr: LearningRate = 0.01, momentum: float = 0.9) -> None:
        super().__init__(lr, momentum, nesterov=True)


class Adagrad(Optimizer):
    """Steps divided by the length of all gradients seen so far, for each number by itself.

        total += grad**2
        param -= lr * grad / (sqrt(total) + eps)

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    eps
        Keeps the division finite; positive.

    References
    ----------
    Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization", JMLR 12, 2011, https://jmlr.org/papers/v12/duchi11a.html
    """

    slot_names = ("total",)

    def __init__(self, lr: LearningRate = 0.01, eps: float = 1e-8) -> None:
        super().__init__(lr)
        self.eps = checks.positive(type(self).__name__, "eps", eps)

    def update(self, param: Array, grad: Array, slots: dict[str, Array]) -> None:
        """Add to the total, then step."""
        xp = cuda.get_array_module(param)
        total = slots["total"]
        total += grad * grad
        change = xp.sqrt(total)
        change += self.eps
        xp.divide(grad, change, out=change)
        change *= self.lr
        param -= change


class RMSprop(Optimizer):
    """Steps divided by the length of the recent gradients, for each number by itself.

        v = rho * v + (1 - rho) * grad**2
        param -= lr * grad / (sqrt(v) + eps)

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    rho
        The share of the running mean that a step keeps, in [0, 1).
    eps
        Keeps the division finite; positive. It is added to the root, as in PyTorch.

    References
    ----------
    Tieleman and Hinton, "Lecture 6.5: rmsprop", Neural Networks for Machine Learning, 2012,
    https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf
    """

    slot_names = ("v",)

    def __init__(self, lr: LearningRate = 1e-3, rho: float = 0.9, eps: float = 1e-8) -> None:
        super().__init__(lr)
        self.rho = checks.fraction(type(self).__name__, "rho", rho)
        self.eps = checks.positive(type(self).__name__, "eps", eps)

    def update(self, param: Array, grad: Array, slots: dict[str, Array]) -> None:
        """Renew the running mean of the squares, then step."""
        xp = cuda.get_array_module(param)
        v = slots["v"]
        change = grad * grad
        change *= 1 - self.rho
        v *= self.rho
        v += change
        xp.sqrt(v, out=change)
        change += self.eps
        xp.divide(grad, change, out=change)
        change *= self.lr
        param -= change


class Adam(Optimizer):
    """Momentum and RMSprop together, both corrected for their start at zero.

        m = beta1 * m + (1 - beta1) * grad
        v = beta2 * v + (1 - beta2) * grad**2
        m_hat = m / (1 - beta1**t)        # t = 1 at the first step
        v_hat = v / (1 - beta2**t)
        param -= lr * m_hat / (sqrt(v_hat) + eps)

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    beta1, beta2
        The shares of the two running means that a step keeps, in [0, 1).
    eps
        Keeps the division finite; positive.

    References
    ----------
    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1,
    https://arxiv.org/abs/1412.6980

    Examples
    --------
    The first step has the size of the learning rate, whatever the gradient's:

    >>> import numpy as np
    >>> weights = np.array([1.0, 2.0])
    >>> Adam(lr=0.1).step([(weights, np.array([1000.0, -0.001]))])
    >>> weights.round(5)
    array([0.9, 2.1])
    """

    slot_names = ("m", "v")

    def __init__(
        self,
        lr: LearningRate = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(lr)
        self.beta1 = checks.fraction(type(self).__name__, "beta1", beta1)
        self.beta2 = checks.fraction(type(self).__name__, "beta2", beta2)
        self.eps = checks.positive(type(self).__name__, "eps", eps)

    def update(self, param: Array, grad: Array, slots: dict[str, Array]) -> None:
        """Renew both running means, then step."""
        m, v, t = slots["m"], slots["v"], self.iterations + 1
        kernels.adam(param, grad, m, v, self.lr, self.beta1, self.beta2, self.eps, t)


class AdamW(Adam):
    """Adam with the weight decay taken out of the gradient: weights shrink by themselves.

        param -= lr * weight_decay * param, then Adam's step

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    beta1, beta2
        The shares of the two running means that a step keeps, in [0, 1).
    eps
        Keeps the division finite; positive.
    weight_decay
        The share of a weight, times `lr`, that each step takes away; of parameters with two or
        more axes only.

    References
    ----------
    Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2,
    https://arxiv.org/abs/1711.05101
    """

    def __init__(
        self,
        lr: LearningRate = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(lr, beta1, beta2, eps)
        self.weight_decay = checks.non_negative(type(self).__name__, "weight_decay", weight_decay)

    def decay(self, param: Array, grad: Array) -> Array:
        """Shrink the parameter; its gradient stays as it is."""
        param *= 1 - self.lr * self.weight_decay
        return grad


class Nadam(Adam):
    """Adam with Nesterov's look ahead and a momentum that warms up, as in PyTorch's `NAdam`.

        mu_t = beta1 * (1 - 0.5 * 0.96**(0.004 * t))
        m, v = as in Adam
        m_hat = mu_(t+1) * m / (1 - mu_1 * ... * mu_(t+1))
              + (1 - mu_t) * grad / (1 - mu_1 * ... * mu_t)
        v_hat = v / (1 - beta2**t)
        param -= lr * m_hat / (sqrt(v_hat) + eps)

    Parameters
    ----------
    lr
        The learning rate, or a function `step -> lr`.
    beta1, beta2
        The shares of the two running means that a step keeps, in [0, 1).
    eps
        Keeps the division finite; positive.

    References
    ----------
    Dozat, "Incorporating Nesterov Momentum into Adam", ICLR workshop 2016,
    https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ
    """

    # mu_1 * ... * mu_t, and its t: carried from step to step.
    _product: float = 1.0
    _factors: int = 0

    def update(self, param: Array, grad: Array, slots: dict[str, Array]) -> None:
        """Renew both running means, then step along the momentum of the step to come."""
        t = self.iterations + 1
        mu, mu_next = self.momentum_at(t), self.momentum_at(t + 1)
        product = self.momentum_product(t)
        m, v = slots["m"], slots["v"]
        m *= self.beta1
        m += (1 - self.beta1) * grad
        v *= self.beta2
        v += (1 - self.beta2) * grad * grad
        change = (self.lr * mu_next / (1 - product * mu_next)) * m
        change += (self.lr * (1 - mu) / (1 - product)) * grad
        root = cuda.get_array_module(v).sqrt(v)
        root /= math.sqrt(1 - self.beta2**t)
        root += self.eps
        change /= root
        param -= change

    def momentum_at(self, t: int) -> float:
        """Return mu_t, which rises from half of beta1 to beta1."""
        return self.beta1 * (1 - 0.5 * 0.96 ** (0.004 * t))

    def momentum_product(self, t: int) -> float:
        """Return mu_1 * ... * mu_t; one multiplication a step, all of them after set_state."""
        if self._factors > t:
            self._product, self._factors = 1.0, 0
        for i in range(self._factors + 1, t + 1):
            self._product *= self.momentum_at(i)
        self._factors = t
        return self._product


#: The optimizers by the names that `Model.compile` takes: the class names in lower case.
NAME2OPTIMIZER: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "sgdmomentum": SGDMomentum,
    "nesterov": Nesterov,
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
    "nadam": Nadam,
}


def get(optimizer: Any, **arguments: Any) -> Any:
    """Return an optimizer from its name or from an object, with the given arguments set.

    Parameters
    ----------
    optimizer
        A name of `NAME2OPTIMIZER` in any case, or an object with a `step` method.
    **arguments
        What the class takes, such as `lr` (or `learning_rate`), `momentum`, `beta1`, and
        `weight_decay` and `clip_norm` for `configure`. Those that are None count as not
        given; an object keeps its own setting for each argument that is not given, and its
        state in any case.

    Returns
    -------
    Optimizer
        A new optimizer, or the given object.

    Raises
    ------
    ValueError
        For an unknown name or argument (the error names the nearest), a value out of range, or
        a setting that the optimizer does not honour.
    TypeError
        Where `optimizer` is neither a name nor an object with a `step` method.

    Examples
    --------
    >>> get("sgd", learning_rate=0.1, momentum=0.9).lr
    0.1
    >>> get("adam", beta_1=0.8)
    Traceback (most recent call last):
    ValueError: [Adam] 'argument' must be one of 'beta1', 'beta2', 'clip_norm', 'eps', 'lr', \
'weight_decay', got 'beta_1': did you mean 'beta1'?
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    if isinstance(optimizer, str):
        if optimizer.lower() not in NAME2OPTIMIZER:
            raise checks.unknown("nn.optim", "optimizer", optimizer, NAME2OPTIMIZER)
        cls: Any = NAME2OPTIMIZER[optimizer.lower()]
        given, settings = _split(cls, given)
        optimizer = cls(**given)
    elif isinstance(optimizer, type) or not callable(getattr(optimizer, "step", None)):
        rule = "must be a name or an object with a step() method"
        raise TypeError(f"[nn.optim] 'optimizer' {rule}, got {optimizer!r}.")
    else:
        given, settings = _split(type(optimizer), given, hasattr(optimizer, "lr"))
        _change(optimizer, given)
    if settings:
        optimizer.configure(**settings)
    return optimizer


def from_config(config: dict[str, Any]) -> Any:
    """Return a new optimizer as `Optimizer.to_config` described it, without its state.

    A class of your own is found once it stands in `NAME2OPTIMIZER` under its name in lower
    case.

    Examples
    --------
    >>> from_config(SGD(lr=0.1, momentum=0.9).to_config()).momentum
    0.9
    """
    return get(config["class"], **config["config"])


def _split(
    cls: type, given: dict[str, Any], has_lr: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the class is made with and what `configure` takes, under their real names."""
    owner = cls.__name__
    settings = {name: given[name] for name in _SETTINGS if name in given}
    if settings and not hasattr(cls, "configure"):
        name, value = next(iter(settings.items()))
        raise checks.error(owner, name, "needs an optimizer with a configure() method", value)
    if "lr" in given and "learning_rate" in given:
        rule = "is another name of 'lr': give one of them"
        raise checks.error(owner, "learning_rate", rule, given["learning_rate"])
    arguments = {
        "lr" if name == "learning_rate" else name: value
        for name, value in given.items()
        if name not in settings
    }
    known = {*_arguments(cls), *(["lr"] if has_lr or hasattr(cls, "lr") else [])}
    for name in arguments:
        if name not in known:
            settable = _SETTINGS if hasattr(cls, "configure") else ()
            raise checks.unknown(owner, "argument", name, {*known, *settable})
    return arguments, settings


def _change(optimizer: Any, arguments: dict[str, Any]) -> None:
    """Set arguments of an existing optimizer by the rules that hold when one is made."""
    if "lr" in arguments:
        optimizer.lr = arguments.pop("lr")  # perhaps a function, which `getattr` would evaluate
    if arguments:
        names = [name for name in _arguments(type(optimizer)) if hasattr(optimizer, name)]
        own = {name: getattr(optimizer, name) for name in names}
        checked = type(optimizer)(**(own | arguments))
        for name in arguments:
            setattr(optimizer, name, getattr(checked, name))
