"""Penalties on large weights, against overfitting.

A layer takes one as `kernel_regularizer`. The model adds the penalties of its layers to the
loss that it reports (`Model.penalty`), and their gradients to those of the loss in
`Model.get_params_and_grads`, so that they are clipped and accumulated with them. The `grads` of a
layer are those of the loss alone.

An optimizer's `weight_decay`, in contrast, is not part of the loss, and one number for all weights.
Under plain SGD `L2(l2)` and `weight_decay = 2 * l2` make the same steps.

`get` returns a penalty by its name, `from_config` restores one from `to_config`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from . import checks, cuda
from .registry import Registry

Array = Any  # a numpy or a cupy ndarray


class Regularizer:
    """Base of all penalties; subclass it to write your own.

    A subclass needs `penalty` and `gradient`. To be saved and loaded, it also returns its
    `__init__` arguments from `to_config` and is registered under its name:
    `nn.regularizers.NAME2REGULARIZER['Huge'] = Huge`.

    Examples
    --------
    >>> class Huge(Regularizer):
    ...     def penalty(self, w):
    ...         return float((w**4).sum())
    ...
    ...     def gradient(self, w):
    ...         return 4 * w**3
    >>> Huge().penalty(np.array([1.0, -2.0])), Huge().gradient(np.array([1.0, -2.0]))
    (17.0, array([  4., -32.]))
    """

    def penalty(self, w: Array) -> float:
        """Return the penalty of weights, an array of any shape."""
        raise NotImplementedError(f"[{type(self).__name__}] needs a penalty(w) method.")

    def gradient(self, w: Array) -> Array:
        """Return the gradient of `penalty` for w, a new array of its shape and dtype."""
        raise NotImplementedError(f"[{type(self).__name__}] needs a gradient(w) method.")

    def to_config(self) -> dict[str, Any]:
        """Return `{'class': ..., 'config': {...}}`, the arguments that `from_config` takes."""
        return {"class": type(self).__name__, "config": dict(vars(self))}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in vars(self).items())
        return f"{type(self).__name__}({arguments})"


class L1(Regularizer):
    """`l1 * sum(abs(w))`: it drives unimportant weights to 0.

    Its gradient is `l1 * sign(w)`, 0 at 0.

    Tibshirani, "Regression Shrinkage and Selection via the Lasso", Journal of the Royal
    Statistical Society B 58(1), 1996.

    Parameters
    ----------
    l1
        Factor of the sum, at least 0.

    Examples
    --------
    >>> L1(0.5).penalty(np.array([3.0, -4.0])), L1(0.5).gradient(np.array([3.0, -4.0]))
    (3.5, array([ 0.5, -0.5]))
    """

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = checks.non_negative(type(self).__name__, "l1", l1)

    def penalty(self, w: Array) -> float:
        """Return `l1 * sum(abs(w))`, summed in float64."""
        return self.l1 * float(abs(w).sum(dtype=np.float64))

    def gradient(self, w: Array) -> Array:
        """Return `l1 * sign(w)`."""
        return self.l1 * cuda.get_array_module(w).sign(w)


class L2(Regularizer):
    """`l2 * sum(w**2)`: it keeps all weights small. Its gradient is `2 * l2 * w`.

    As in Keras: there is no factor of 1/2.

    Krogh and Hertz, "A Simple Weight Decay Can Improve Generalization", NIPS 1991.

    Parameters
    ----------
    l2
        Factor of the sum, at least 0.

    Examples
    --------
    >>> L2(0.5).penalty(np.array([3.0, -4.0])), L2(0.5).gradient(np.array([3.0, -4.0]))
    (12.5, array([ 3., -4.]))
    """

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = checks.non_negative(type(self).__name__, "l2", l2)

    def penalty(self, w: Array) -> float:
        """Return `l2 * sum(w**2)`, summed in float64."""
        return self.l2 * float((w * w).sum(dtype=np.float64))

    def gradient(self, w: Array) -> Array:
        """Return `2 * l2 * w`."""
        return 2 * self.l2 * w


class L1L2(Regularizer):
    """The sum of both penalties: `l1 * sum(abs(w)) + l2 * sum(w**2)`.

    Zou and Hastie, "Regularization and Variable Selection via the Elastic Net", Journal of the
    Royal Statistical Society B 67(2), 2005.

    Parameters
    ----------
    l1, l2
        As for `L1` and `L2`; 0 switches one off.

    Examples
    --------
    >>> L1L2(l1=1.0, l2=0.5).penalty(np.array([3.0, -4.0]))
    19.5
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = checks.non_negative(type(self).__name__, "l1", l1)
        self.l2 = checks.non_negative(type(self).__name__, "l2", l2)

    def penalty(self, w: Array) -> float:
        """Return the sum of both penalties."""
        return L1(self.l1).penalty(w) + L2(self.l2).penalty(w)

    def gradient(self, w: Array) -> Array:
        """Return the sum of both gradients."""
        return L1(self.l1).gradient(w) + L2(self.l2).gradient(w)


#: The classes by their names in a file.
NAME2REGULARIZER: Registry[type[Regularizer]] = Registry(
    "nn.regularizers", "kernel_regularizer", {"L1": L1, "L2": L2, "L1L2": L1L2}
)

# The names that `kernel_regularizer=` takes, with Keras' factors.
_NAMED: Registry[Callable[[], Regularizer]] = Registry(
    "nn.regularizers",
    "kernel_regularizer",
    {"l1": lambda: L1(0.01), "l2": lambda: L2(0.01), "l1_l2": lambda: L1L2(0.01, 0.01)},
)


def get(
    regularizer: Any, owner: str = "nn.regularizers", argument: str = "kernel_regularizer"
) -> Regularizer | None:
    """Return a penalty from its name, its configuration or an object; None for None.

    Parameters
    ----------
    regularizer
        'l1', 'l2' or 'l1_l2', with factors of 0.01, the result of `to_config`, or an object.
    owner, argument
        The class and the argument that an error names.

    Raises
    ------
    ValueError
        For an unknown name or class, or an object that is no penalty.

    Examples
    --------
    >>> get("l2")
    L2(l2=0.01)
    """
    if regularizer is None or isinstance(regularizer, Regularizer):
        return regularizer
    if isinstance(regularizer, dict):
        return from_config(regularizer, owner, argument)
    if isinstance(regularizer, str):
        return _NAMED.find(regularizer, owner, argument)()
    rule = "must be 'l1', 'l2', 'l1_l2' or an object such as nn.regularizers.L2(0.001)"
    raise checks.error(owner, argument, rule, regularizer)


def from_config(
    config: dict[str, Any], owner: str = "nn.regularizers", argument: str = "kernel_regularizer"
) -> Regularizer:
    """Return a new penalty as `Regularizer.to_config` described it.

    Examples
    --------
    >>> from_config(L1L2(l1=0.1).to_config())
    L1L2(l1=0.1, l2=0.0)
    """
    name, arguments = config.get("class"), config.get("config") or {}
    try:
        cls = NAME2REGULARIZER.find(name, owner, argument)
    except ValueError as error:
        raise ValueError(
            f"{error} Add a class of your own to nn.regularizers.NAME2REGULARIZER."
        ) from None
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ValueError(
            f"[{name}] cannot be made from the config {arguments}: {error}."
        ) from error
