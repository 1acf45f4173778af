"""The one way to watch layers: functions that are called with each output and gradient."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

from .base import Array, Layer
from .plan import named_layers

#: Called with a layer's name in a file, the layer, and its output or the gradient for it.
Watcher = Callable[[str, Layer, Array], None]


class Observer:
    """What `observe` calls for the layers of one model, or of one container."""

    def __init__(self, stack: Any, on_output: Watcher | None, on_gradient: Watcher | None):
        self.stack, self.on_output, self.on_gradient = stack, on_output, on_gradient
        self._names: dict[int, tuple[str, Layer]] = {}

    def output(self, layer: Layer, y: Array) -> None:
        """Report the output of a layer."""
        if self.on_output is not None:
            self._report(self.on_output, layer, y)

    def gradient(self, layer: Layer, grad: Array) -> None:
        """Report the gradient for the output of a layer."""
        if self.on_gradient is not None:
            self._report(self.on_gradient, layer, grad)

    def _report(self, watcher: Watcher, layer: Layer, array: Array) -> None:
        if id(layer) not in self._names:  # one of another model, or one that was added
            named = named_layers(self.stack.sublayers())
            self._names = {id(part): (name, part) for name, part in named}
        if id(layer) in self._names:
            watcher(*self._names[id(layer)], array)


#: The observers of the `with` blocks that are open in this thread.
active_observers: contextvars.ContextVar[tuple[Observer, ...]] = contextvars.ContextVar(
    "active_observers", default=()
)


@contextlib.contextmanager
def observe(
    stack: Any, on_output: Watcher | None = None, on_gradient: Watcher | None = None
) -> Iterator[None]:
    """Watch the layers of a model, at any depth, in a `with` block.

    The functions are called with the layer's name in a file, as '3_Residual/0_Conv2D', the layer
    and an array. They must not change the array; what they keep for later they copy.

    Parameters
    ----------
    stack
        A model, or a container such as `Sequential`.
    on_output
        Called after each layer's `forward` with its output. A layer inside another comes before
        it. Layers in a `Recompute` are reported in the first of its two passes. In `predict` and
        `evaluate` batch normalization is not folded into the weights before it meanwhile.
    on_gradient
        Called after each layer's `backward` with the gradient of the loss with respect to its
        output; the gradients of its parameters are in `layer.grads` then. `train_step` goes back
        no further than to the lowest layer with parameters to train.

    Examples
    --------
    >>> import numpy as np, nn
    >>> model = nn.Model([nn.Dense(3, input_shape=(2,)), nn.ReLU(), nn.Dense(1)], seed=0)
    >>> with nn.observe(model, on_output=lambda name, layer, y: print(name, y.shape)):
    ...     y = model.predict(np.ones((5, 2)))
    0_Dense (5, 3)
    1_ReLU (5, 3)
    2_Dense (5, 1)
    >>> lengths = {}
    >>> def note(name, layer, grad):
    ...     lengths[name] = float(np.linalg.norm(grad))
    >>> model.compile("mse", "sgd")
    >>> with nn.observe(model, on_gradient=note):
    ...     figures = model.train_step(np.ones((5, 2)), np.zeros((5, 1)))
    >>> list(lengths)  # backward goes from the last layer to the first
    ['2_Dense', '1_ReLU', '0_Dense']
    """
    observer = Observer(stack, on_output, on_gradient)
    active_observers.set((*active_observers.get(), observer))
    try:
        yield
    finally:
        remaining = (other for other in active_observers.get() if other is not observer)
        active_observers.set(tuple(remaining))


@contextlib.contextmanager
def unobserved() -> Iterator[None]:
    """Report nothing in a `with` block, as for a forward pass that is run a second time."""
    token = active_observers.set(())
    try:
        yield
    finally:
        active_observers.reset(token)
