"""Averaged weights in place of those in training, as methods of `Model`."""

import contextlib
from collections.abc import Iterator
from typing import Any

from .. import cuda
from ..layers import Sequential
from ..layers.state import LoadReport
from .compiling import Compiling

Array = Any  # numpy.ndarray or cupy.ndarray


class Averaging(Compiling):
    """The methods of `Model` that exchange its weights for their averages."""

    set_aside: dict[str, Array] | None  # the weights in training meanwhile

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[Any]:
        """Replace the weights by their averages in a `with` block.

        These are the running averages of `compile(ema_decay=...)`. The model computes with them in
        the block, and a file that is saved in it holds them; if it holds the state of training
        too, training goes on from its own weights all the same. Frozen layers and buffers, such
        as the running statistics of batch normalisation, stay as they are.

        Raises
        ------
        RuntimeError
            If the optimizer keeps no averages.

        Examples
        --------
        >>> import numpy as np
        >>> from nn import Dense, Model
        >>> x, y = np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [2.0], [4.0]])
        >>> model = Model([Dense(1, input_shape=(1,))], seed=0)
        >>> model.compile("mse", "sgd", lr=0.1, ema_decay=0.9)
        >>> history = model.fit(x, y, epochs=100, verbose=0)
        >>> with model.averaged_weights():
        ...     model.evaluate(x, y)["loss"] < 0.01
        True
        """
        is_outermost = self.set_aside is None
        self.use_averaged_weights()
        try:
            yield self
        finally:
            if is_outermost:
                self.use_training_weights()

    def use_training_weights(self) -> None:
        """Put the weights in training back where averaged weights stand in their place."""
        if self.set_aside is not None:
            own = self.get_arrays()
            for name, array in self.set_aside.items():
                own[name][...] = cuda.to_device(array, self.device)
            self.set_aside = None

    def use_averaged_weights(self) -> None:
        """Replace the weights by their averages until training goes on.

        See `averaged_weights`. `fit` and `train_step` start with `use_training_weights`.
        """
        if self.wrapped_optimizer is None or self.wrapped_optimizer.ema_decay is None:
            raise RuntimeError(
                "[Model] has no averaged weights: compile(ema_decay=0.999) and train it first."
            )
        if self.set_aside is None:
            averages, own = self.wrapped_optimizer.averages, self.get_arrays()
            names = [name for name in self._plan().names if name in averages]
            self.set_aside = {name: own[name].copy() for name in names}
            for name in names:
                own[name][...] = cuda.to_device(averages[name], self.device)

    def as_layer(self) -> Sequential:
        """Return the layers, with the weights in training, as one layer of another model."""
        self.use_training_weights()
        return super().as_layer()

    def set_arrays(
        self,
        arrays: dict[str, Array],
        where: str = "arrays",
        strict: bool = True,
        report: LoadReport | None = None,
    ) -> LoadReport:
        """Copy arrays into the weights in training; see `Sequential.set_arrays`."""
        aside = self.set_aside
        self.use_training_weights()
        try:
            return super().set_arrays(arrays, where, strict, report)
        except ValueError:
            if aside is not None:
                self.use_averaged_weights()
            raise
