"""The last step of a batch's way: the optimizers, which turn gradients into better parameters.

After the backward pass the model hands `(param, grad)` pairs to `Optimizer.step`, which
changes each parameter in place. `base.py` does what all rules share: it clips the gradients,
decays the weights, keeps the state arrays ("slots") of each parameter, averages the weights over
the steps where that is wanted, and counts the steps. `rules.py` has a class for each rule.

Between the model and its optimizer may stand an `Accumulator`, which makes one step of the
gradients of several batches. `get` turns a name into an optimizer, `from_config` restores one
from `to_config`.
"""

from typing import Any

from .. import checks
from .accumulator import Accumulator
from .base import SETTINGS, LearningRate, Optimizer, arguments_of, global_norm, name_parameters
from .rules import SGD, Adagrad, Adam, AdamW, Nadam, Nesterov, RMSprop, SGDMomentum

__all__ = [
    "NAME2OPTIMIZER",
    "SGD",
    "Accumulator",
    "Adagrad",
    "Adam",
    "AdamW",
    "LearningRate",
    "Nadam",
    "Nesterov",
    "Optimizer",
    "RMSprop",
    "SGDMomentum",
    "from_config",
    "get",
    "global_norm",
    "name_parameters",
]

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
        `weight_decay`, `clip_norm`, `clip_value` and `ema_decay` for `configure`. Those that
        are None count as not given; an object keeps its own setting for each argument that is
        not given, and its state in any case.

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
    ValueError: [Adam] 'argument' must be one of 'beta1', 'beta2', 'clip_norm', 'clip_value', \
'ema_decay', 'eps', 'learning_rate', 'lr', 'weight_decay', got 'beta_1': did you mean 'beta1'?
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
    settings = {name: given[name] for name in SETTINGS if name in given}
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
    known = {*arguments_of(cls), *(["lr"] if has_lr else [])}
    for name in arguments:
        if name not in known:
            settable = SETTINGS if hasattr(cls, "configure") else ()
            other = ["learning_rate"] if "lr" in known else []
            raise checks.unknown(owner, "argument", name, {*known, *other, *settable})
    return arguments, settings


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
