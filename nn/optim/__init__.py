"""Optimizers: they change the parameters by their gradients, the last part of a training step.

After the backward pass the model calls `Optimizer.step` with `(param, grad)` pairs, and each
parameter is changed in place. `rules.py` has a class for each rule. `base.py` has what they share:
the loop over the parameters, the state arrays ("slots") of each, and the learning rate. `hooks.py`
has what can be done around a rule: clipping, weight decay and averages of the weights.

An `Accumulator` makes one step of the gradients of several batches. `get` returns an optimizer by
its name, `from_config` restores one from `to_config`. `muon.py` has the rule for matrices, and
`lookahead.py` a rule around another.
"""

from typing import Any

from .. import checks, compat
from ..registry import Registry
from .accumulator import Accumulator
from .arrays import global_norm
from .base import LearningRate, Optimizer, arguments_of
from .hooks import SETTINGS
from .lookahead import Lookahead
from .muon import Muon
from .rules import SGD, Adagrad, Adam, AdamW, Lion, Nadam, Nesterov, RMSprop, SGDMomentum
from .wrapped import name_parameters, wrap

_RULES = (
    *(SGD, SGDMomentum, Nesterov, Adagrad, RMSprop, Adam, AdamW, Lion, Nadam, Muon),
    Lookahead,
)

__all__ = [
    *(rule.__name__ for rule in _RULES),
    "NAME2OPTIMIZER",
    "Accumulator",
    "LearningRate",
    "Optimizer",
    "from_config",
    "get",
    "global_norm",
    "name_parameters",
    "wrap",
]

#: The optimizers by the names that `Model.compile` takes: the class names in lower case.
NAME2OPTIMIZER: Registry[type[Optimizer]] = Registry(
    "nn.optim", "optimizer", {rule.__name__.lower(): rule for rule in _RULES}
)


def get(optimizer: Any, **arguments: Any) -> Any:
    """Return an optimizer from its name or from an object, with the given arguments set.

    Parameters
    ----------
    optimizer
        A name of `NAME2OPTIMIZER` in any case, or an object with a `step` method.
    **arguments
        The arguments of the class, such as `lr` (or `learning_rate`), `momentum`, `beta1`, and
        `weight_decay`, `clip_norm`, `clip_value` and `ema_decay` for `configure`. None counts
        as not given. An object keeps its own value of each argument that is not given, and its
        state in any case.

    Returns
    -------
    Optimizer
        A new optimizer, or the given object.

    Raises
    ------
    ValueError
        For an unknown name or argument (the error names the nearest), a value out of range, or
        a setting that the optimizer would ignore.
    TypeError
        If `optimizer` is neither a name nor an object with a `step` method.

    Examples
    --------
    >>> get("sgd", learning_rate=0.1, momentum=0.9).lr
    0.1
    >>> get("sgd", momentun=0.9)
    Traceback (most recent call last):
    ValueError: [SGD] 'argument' must be one of 'clip_norm', 'clip_value', 'ema_decay', \
'learning_rate', 'lr', 'momentum', 'nesterov', 'weight_decay', got 'momentun': did you mean \
'momentum'?
    """
    if isinstance(optimizer, str):
        return _make(NAME2OPTIMIZER.find(optimizer), arguments)
    if isinstance(optimizer, type) or not callable(getattr(optimizer, "step", None)):
        rule = "must be a name or an object with a step() method"
        is_class = isinstance(optimizer, type)
        hint = f": write {optimizer.__name__}()" if is_class else ""
        raise TypeError(f"[nn.optim] 'optimizer' {rule}, got {optimizer!r}{hint}.")
    if hasattr(optimizer, "param_groups") and not isinstance(optimizer, Optimizer):
        kind = f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"
        raise TypeError(
            "[nn.optim] 'optimizer' must have a step(params_and_grads), which that of PyTorch's "
            f"optimizers does not take, got {kind}: pass a name, such as 'adam', or an object of "
            "nn.optim."
        )
    given, settings = _split(type(optimizer), arguments, hasattr(optimizer, "lr"))
    _change(optimizer, given)
    if settings:
        optimizer.configure(**settings)
    return optimizer


def from_config(config: dict[str, Any]) -> Any:
    """Return a new optimizer as `Optimizer.to_config` described it, without its state.

    A class of your own is found if it is in `NAME2OPTIMIZER`, under any name.

    Examples
    --------
    >>> from_config(SGD(lr=0.1, momentum=0.9).to_config()).momentum
    0.9
    """
    cls = NAME2OPTIMIZER.find_class(config)
    arguments = {
        name: from_config(value) if isinstance(value, dict) and "class" in value else value
        for name, value in config["config"].items()  # Lookahead holds an optimizer
    }
    return _make(cls, arguments)


def _make(cls: type[Optimizer], arguments: dict[str, Any]) -> Optimizer:
    """Return a new optimizer with the given arguments and settings."""
    given, settings = _split(cls, arguments)
    optimizer = cls(**given)
    return optimizer.configure(**settings) if settings else optimizer


def _split(
    cls: type, arguments: dict[str, Any], has_lr: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of the class and those of `configure`, under nn's names."""
    owner = cls.__name__
    given = {name: value for name, value in arguments.items() if value is not None}
    settings = {name: given[name] for name in SETTINGS if name in given}
    if settings and not hasattr(cls, "configure"):
        name, value = next(iter(settings.items()))
        raise checks.error(owner, name, "needs an optimizer with a configure() method", value)
    known = {*arguments_of(cls), *(["lr"] if has_lr else [])}
    aliases = compat.aliases_of(known)
    given = {name: value for name, value in given.items() if name not in settings}
    given = compat.renamed(owner, given, aliases)
    for name in given:
        if name not in known:
            settable = SETTINGS if hasattr(cls, "configure") else ()
            raise compat.unknown_argument(owner, name, {*known, *aliases, *settable})
    return given, settings


def _change(optimizer: Any, arguments: dict[str, Any]) -> None:
    """Set arguments of an existing optimizer by the rules that hold when one is made."""
    if "lr" in arguments:
        optimizer.lr = arguments.pop("lr")  # perhaps a function, which `getattr` would evaluate
    if arguments:
        names = [name for name in arguments_of(type(optimizer)) if hasattr(optimizer, name)]
        own = {name: getattr(optimizer, name) for name in names}
        checked = type(optimizer)(**(own | arguments))
        for name in arguments:
            setattr(optimizer, name, getattr(checked, name))
