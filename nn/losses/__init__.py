"""Losses: a number that says how wrong predictions are, and its gradient for the predictions.

`forward` compares predictions with targets and returns the mean over the batch; `backward`
returns the gradient for the predictions, from which the model's backward pass starts. A class
holds its two formulas: the loss of each sample, and that loss's gradient. `base.py` has what they
share: the mean, the weights of samples and the path to the logits; `targets.py` the checks.

The two cross-entropies are computed from logits, the outputs before Softmax or Sigmoid: only
then are they exact if a probability rounds to 0 or 1. If a model ends in one of these layers,
`Loss.activation` leads the loss back to the logits.

`get` returns a loss by its name, `from_config` restores one from `to_config`.
"""

from typing import Any

from .. import compat
from ..registry import Registry
from .base import Loss, wrap
from .classification import BinaryCrossentropy, CategoricalCrossentropy, Hinge, KLDivergence
from .regression import Huber, MeanAbsoluteError, MeanSquaredError

__all__ = [
    "NAME2LOSS",
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Hinge",
    "Huber",
    "KLDivergence",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "from_config",
    "get",
    "wrap",
]

#: The losses by the names that `Model.compile` takes.
NAME2LOSS: Registry[type[Loss]] = Registry(
    "nn.losses",
    "loss",
    {
        "categorical_crossentropy": CategoricalCrossentropy,
        "binary_crossentropy": BinaryCrossentropy,
        "mse": MeanSquaredError,
        "mae": MeanAbsoluteError,
        "huber": Huber,
        "hinge": Hinge,
        "kl_divergence": KLDivergence,
    },
    aliases=compat.LOSSES,
)


def get(loss: Any) -> Any:
    """Return the loss for a name, or the object that was given.

    Parameters
    ----------
    loss
        A name of `NAME2LOSS` in any case, or an object with `forward(y_pred, y_true)` and
        `backward()`.

    Raises
    ------
    ValueError
        For an unknown name; the error names the nearest.
    TypeError
        If the object lacks `forward` or `backward`.

    Examples
    --------
    >>> type(get("cce")).__name__
    'CategoricalCrossentropy'
    """
    if isinstance(loss, str):
        return NAME2LOSS.find(loss)()
    methods = [getattr(loss, name, None) for name in ("forward", "backward")]
    if isinstance(loss, type) or not all(callable(method) for method in methods):
        rule = "must be a name or an object with forward(y_pred, y_true) and backward()"
        hint = f": write {loss.__name__}()" if isinstance(loss, type) else ""
        raise TypeError(f"[nn.losses] 'loss' {rule}, got {loss!r}{hint}.")
    return loss


def from_config(config: dict[str, Any]) -> Loss:
    """Return a new loss as `Loss.to_config` described it.

    A class of your own is found if it is in `NAME2LOSS`, under any name.

    Examples
    --------
    >>> from_config(Huber(delta=2.0).to_config()).delta
    2.0
    """
    return NAME2LOSS.find_class(config)(**config["config"])
