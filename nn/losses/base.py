"""What all losses share: the mean over a batch, weights of samples, and the path to the logits."""

import inspect
from typing import Any

import numpy as np

from .. import checks, compat, cuda
from .targets import (
    Array,
    along_batch,
    check_weights,
    fits_axes,
    losses_error,
    weights_of_steps,
)


class Loss:
    """Base of all losses.

    There are two ways to write your own. The short one is a `forward` and a `backward`:

    >>> class Cube(Loss):
    ...     def forward(self, y_pred, y_true):
    ...         self.difference = y_pred - y_true
    ...         return float((abs(self.difference) ** 3).mean())
    ...
    ...     def backward(self):
    ...         return 3 * self.difference * abs(self.difference) / self.difference.size

    The other is the two formulas, as in the classes of `nn.losses`: `sample_losses` and
    `sample_gradients`. It comes with weights of samples and the mean.

    Attributes
    ----------
    paired_activation : str or None
        The name of the output layer whose logits this loss is computed from.
    takes_weights : bool
        Whether `forward` takes `sample_weight`.
    activation : Layer or None
        That layer, if the model ends in it: `forward` then gets its probabilities and computes
        the loss from the logits, `activation.logits_of(y_pred)`; `backward` returns the gradient
        for the probabilities, `activation.gradient_for_output(...)`.

    Examples
    --------
    >>> import numpy as np
    >>> loss = Cube()
    >>> loss.forward(np.array([[1.0], [3.0]]), np.array([[1.0], [1.0]]))
    4.0
    >>> loss.backward()
    array([[0.],
           [6.]])
    """

    paired_activation: str | None = None
    activation: Any = None
    takes_weights: bool = True
    _scale: Any = None  # the weight of each sample's gradient in the mean; None before forward

    def __init_subclass__(cls, **options: Any) -> None:
        """Let the constructor take other libraries' names of its arguments too."""
        super().__init_subclass__(**options)
        compat.accept_other_names(cls)

    def __init__(self) -> None:
        super().__init__()

    def forward(
        self, y_pred: Any, y_true: Any, sample_weight: Any = None, mask: Any = None
    ) -> float:
        """Return the loss, averaged over the batch.

        Parameters
        ----------
        y_pred
            The model's outputs, with the samples along the first axis.
        y_true
            The targets, in the form that the class describes.
        sample_weight
            (N,) numbers of at least 0 that multiply each sample's loss, or one for each step of
            sequences (N, T), or each pixel of images (N, H, W). The mean is still over
            the N samples, not over the sum of the weights.
        mask
            (N, T) bools for sequences, True for the steps that are there: the mean is over these,
            the others have no loss and no gradient.

        Raises
        ------
        ValueError
            If shapes do not fit, the targets break the class's rules, or no step is there.
        """
        owner = type(self).__name__
        y_pred = checks.real_array(owner, "y_pred", y_pred)
        y_true = checks.array(owner, "y_true", y_true)
        if y_pred.size == 0 or y_pred.ndim == 0:
            raise ValueError(f"[{owner}] expects predictions of a batch, got shape {y_pred.shape}.")
        if y_pred.dtype.kind != "f":
            y_pred = y_pred.astype(np.float64)
        self.check_targets(y_true, y_pred.shape)
        if sample_weight is not None:
            sample_weight = check_weights(owner, sample_weight, y_pred)
        return self.compute(y_pred, y_true, sample_weight, mask)

    # Infinite and NaN predictions give such a loss, which the model reports, and no warnings.
    @np.errstate(over="ignore", invalid="ignore")
    def compute(
        self,
        y_pred: Array,
        y_true: Array,
        sample_weight: Array | None = None,
        mask: Array | None = None,
    ) -> float:
        """Do as `forward`, for arrays that were checked before: nothing is checked here.

        The model calls it for each batch, after it has checked the whole data set.
        """
        outputs = y_pred if self.activation is None else self.activation.logits_of(y_pred)
        losses = self.sample_losses(outputs, self.convert_targets(y_true, outputs))
        shape = np.shape(losses)
        if shape[:1] != outputs.shape[:1] or (len(shape) > 1 and not fits_axes(shape, outputs)):
            raise losses_error(type(self).__name__, losses, outputs)
        self._scale = 1 / losses.size
        if mask is not None:
            sample_weight = weights_of_steps(type(self).__name__, mask, y_pred, sample_weight)
        if sample_weight is not None:
            xp = cuda.get_array_module(outputs)
            weights = xp.asarray(sample_weight, dtype=outputs.dtype)
            losses = losses * along_batch(weights, losses)
            self._scale = along_batch(weights, outputs) / losses.size
        return float(losses.sum(dtype=np.float64)) / losses.size

    @np.errstate(over="ignore", invalid="ignore")
    def backward(self) -> Array:
        """Return the gradient of the last `forward`'s value, of the shape of its `y_pred`.

        Raises
        ------
        RuntimeError
            If there was no `forward`.
        """
        if self._scale is None:
            raise RuntimeError(f"[{type(self).__name__}] call forward() before backward().")
        gradient = self.sample_gradients() * self._scale
        if self.activation is None:
            return gradient
        return self.activation.gradient_for_output(gradient)

    def check_targets(self, y_true: Any, shape: tuple[int, ...]) -> None:
        """Raise ValueError if targets do not fit predictions of `shape`; here all do.

        The model calls it with all targets before the first step.
        """

    def convert_targets(self, y_true: Array, outputs: Array) -> Array:
        """Return checked targets in the form, with the dtype and on the device of the formulas."""
        return cuda.get_array_module(outputs).asarray(y_true, dtype=outputs.dtype)

    def sample_losses(self, y_pred: Array, y_true: Array) -> Array:
        """Return the loss of each sample or element, and keep what `sample_gradients` needs."""
        raise NotImplementedError(f"[{type(self).__name__}] must define forward and backward.")

    def sample_gradients(self) -> Array:
        """Return the gradients of the `sample_losses` just computed, for the predictions."""
        raise NotImplementedError(f"[{type(self).__name__}] must define forward and backward.")

    def to_config(self) -> dict[str, Any]:
        """Return `{'class': ..., 'config': {...}}`, the arguments that `from_config` takes."""
        names = inspect.signature(type(self)).parameters
        config = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return {"class": type(self).__name__, "config": config}


class WrappedLoss(Loss):
    """Any object with `forward(y_pred, y_true)` and `backward()`, with the interface of a `Loss`.

    Parameters
    ----------
    loss
        The object.

    Attributes
    ----------
    takes_weights, takes_mask : bool
        Whether its `forward` takes `sample_weight`, and `mask`.
    """

    def __init__(self, loss: Any) -> None:
        self.wrapped = loss
        arguments = inspect.signature(loss.forward).parameters
        self.takes_weights, self.takes_mask = "sample_weight" in arguments, "mask" in arguments
        self.paired_activation = getattr(loss, "paired_activation", None)

    @property
    def activation(self) -> Any:
        """The output layer whose logits the object is computed from, if it asks for one."""
        return getattr(self.wrapped, "activation", None)

    @activation.setter
    def activation(self, layer: Any) -> None:
        if self.paired_activation is not None:
            self.wrapped.activation = layer

    def forward(
        self, y_pred: Any, y_true: Any, sample_weight: Any = None, mask: Any = None
    ) -> float:
        """Return the object's loss."""
        given = {"sample_weight": sample_weight, "mask": mask}
        options = {name: value for name, value in given.items() if value is not None}
        if mask is not None and not self.takes_mask:
            raise ValueError(
                "[Model] a mask of padded steps needs a loss whose forward() accepts 'mask', which "
                f"that of {type(self.wrapped).__name__} does not: define sample_losses() in it "
                "instead."
            )
        return float(self.wrapped.forward(y_pred, y_true, **options))

    compute = forward

    def backward(self) -> Array:
        """Return the object's gradient."""
        return self.wrapped.backward()

    def check_targets(self, y_true: Any, shape: tuple[int, ...]) -> None:
        """Call the object's check, if it has one."""
        if hasattr(self.wrapped, "check_targets"):
            self.wrapped.check_targets(y_true, shape)


def wrap(loss: Any) -> Loss:
    """Return a `Loss` as it is; wrap another object, and a `Loss` with a `forward` of its own."""
    is_ours = isinstance(loss, Loss) and type(loss).forward is Loss.forward
    return loss if is_ours else WrappedLoss(loss)


compat.accept_other_names(Loss)
