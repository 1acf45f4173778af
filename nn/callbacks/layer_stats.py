"""LayerStats: figures of each layer while the model trains.

The loss shows that something is wrong, but not in which layer. This callback measures the outputs
of every layer and the gradients of its weights, batch by batch.
"""

import contextlib
import math
from typing import Any

import numpy as np

from .. import checks, cuda, optim
from ..layers import Layer, ReLU
from ..layers.observe import observe
from ..layers.plan import named_layers
from .base import Callback, Logs

Array = Any  # numpy.ndarray or cupy.ndarray


class LayerStats(Callback):
    """Measure outputs and gradients of each layer; warn of dead ReLUs and exploding gradients.

    A unit of a ReLU (a channel after a convolution) is dead if its output is 0 for every
    sample of an epoch: no gradient passes it, so it does not learn and rarely recovers (Lu,
    Shin, Su and Karniadakis 2019, "Dying ReLU and initialization", arXiv 1903.06733, section 1).
    Gradients explode if their norm grows from layer to layer in the backward pass (Pascanu,
    Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks", section
    2); a step of that length destroys the weights.

    Measuring reads every layer's output once more, which makes an epoch slower.

    Parameters
    ----------
    max_dead
        The share of a layer's units, in [0, 1), that may be dead before it warns.
    max_norm
        The norm of all gradients of a layer's weights, for one batch, above which it warns.

    Attributes
    ----------
    stats : dict
        `{layer: {figure: [one number an epoch]}}`, with the layers' names in a file. The figures
        are 'mean' and 'std' of the layer's outputs while training, 'dead', the share of dead
        units of a ReLU, and 'grad_norm', the largest norm of the gradient of its weights.

    Warns
    -----
    UserWarning
        At the end of an epoch for dead ReLUs, once for each layer of them; at the first batch of
        an epoch for gradients that are too large, infinite or NaN.

    Examples
    --------
    >>> import numpy as np, nn
    >>> model = nn.Model([nn.Dense(3, input_shape=(2,)), nn.ReLU(), nn.Dense(1)], seed=0)
    >>> model.compile("mse", "sgd")
    >>> watcher = LayerStats(max_dead=0.9)
    >>> h = model.fit(np.eye(2), np.ones((2, 1)), callbacks=[watcher], verbose=0)
    >>> [round(share, 2) for share in watcher.stats["1_ReLU"]["dead"]]  # of its three units
    [0.33]
    >>> sorted(watcher.stats["2_Dense"])
    ['grad_norm', 'mean', 'std']
    """

    def __init__(self, max_dead: float = 0.1, max_norm: float = 1000.0):
        self.max_dead = checks.fraction("LayerStats", "max_dead", max_dead)
        self.max_norm = checks.positive("LayerStats", "max_norm", max_norm)
        self.stats: dict[str, dict[str, list[float]]] = {}
        self._outputs: dict[int, _Outputs] = {}  # by the layer's id
        self._norms: dict[str, float] = {}
        self._warned: set[str] = set()
        self._observing = contextlib.ExitStack()

    def state_dict(self) -> dict[str, Any]:
        """Return the figures of the finished epochs; an epoch that was broken off starts again."""
        return {"stats": self.stats, "told": sorted(self._warned)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.stats = {
            layer: {name: [float(v) for v in values] for name, values in figures.items()}
            for layer, figures in state["stats"].items()
        }
        self._warned = set(state["told"])

    def on_train_begin(self, logs: Logs) -> None:
        """Reset."""
        self.stats, self._warned = {}, set()

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Reset the sums of the epoch."""
        self._outputs, self._norms, self._warned_of_norm = {}, {}, False

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Observe the layers' outputs until the end of the batch."""
        self._observing.enter_context(observe(self.model, self._add_output, self._end_forward))

    def _add_output(self, name: str, layer: Layer, y: Array) -> None:
        self._outputs.setdefault(id(layer), _Outputs(layer)).add(y)

    def _end_forward(self, name: str, layer: Layer, grad: Array) -> None:
        self._observing.close()  # what other callbacks compute at the batch's end is not counted

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Measure the gradients that the layers hold."""
        self._observing.close()
        norms = {
            path: optim.global_norm(layer.grads.values())
            for path, layer in named_layers(self.model.layers)
            if layer.grads and layer.trainable
        }
        for path, norm in norms.items():
            worst = max(norm, self._norms.get(path, 0.0))
            self._norms[path] = norm if math.isnan(norm) else worst
        too_long = {path: norm for path, norm in norms.items() if not norm <= self.max_norm}
        if too_long and not self._warned_of_norm:
            self._warned_of_norm = True
            listed = ", ".join(f"{path} {norm:.3g}" for path, norm in too_long.items())
            checks.warn(
                f"[LayerStats] batch {batch}: exploding gradients, with norms above "
                f"{self.max_norm:g}: {listed}: set clip_norm, lower the learning rate, or scale "
                "the inputs."
            )

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Add the epoch's figures to `stats`, and warn of dead ReLUs."""
        dead = {}
        for path, layer in named_layers(self.model.layers):
            figures = {}
            if id(layer) in self._outputs:
                figures.update(self._outputs[id(layer)].figures())
            if path in self._norms:
                figures["grad_norm"] = self._norms[path]
            for name, value in figures.items():
                self.stats.setdefault(path, {}).setdefault(name, []).append(value)
            if figures.get("dead", 0.0) > self.max_dead and path not in self._warned:
                dead[path] = figures["dead"]
        self._outputs = {}
        if dead:
            self._warned |= set(dead)
            listed = ", ".join(f"{share:.0%} of {path}" for path, share in dead.items())
            checks.warn(
                f"[LayerStats] epoch {epoch + 1}: dead ReLUs, 0 for every sample: {listed}: lower "
                "the learning rate, or use LeakyReLU."
            )

    def on_train_end(self, logs: Logs) -> None:
        """Observe no longer, also if a batch was broken off."""
        self._observing.close()
        self._outputs = {}


class _Outputs:
    """Sums over the outputs of one layer in an epoch."""

    def __init__(self, layer: Layer):
        inner = getattr(layer, "activation", None)
        self.is_relu = isinstance(layer, ReLU) or isinstance(inner, ReLU)
        self.count, self.total, self.squares = 0, 0.0, 0.0
        self.alive: Array = False  # (units,), whether a unit was above 0 for any sample

    def add(self, y: Array) -> None:
        """Add a batch of outputs (N, units, ...)."""
        self.count += y.size
        self.total += float(y.sum(dtype=np.float64))
        self.squares += float(cuda.get_array_module(y).square(y, dtype=np.float64).sum())
        if self.is_relu:
            # A dense layer's units are axis 1, a convolution's channels as well.
            samples = tuple(axis for axis in range(y.ndim) if axis != 1)
            self.alive = self.alive | (y != 0).any(axis=samples)

    def figures(self) -> dict[str, float]:
        """Return mean and standard deviation, and the share of dead units of a ReLU."""
        mean = self.total / self.count
        variance = max(self.squares / self.count - mean**2, 0.0)  # rounding may go below 0
        figures = {"mean": mean, "std": math.sqrt(variance)}
        if self.is_relu:
            figures["dead"] = 1 - float(self.alive.mean())
        return figures
