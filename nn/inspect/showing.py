"""How a model shows itself: `summary` and its kind, as methods of `Model`."""

from typing import Any

from . import trace
from .summary import model_code, summarize


class Showing:
    """The methods of `Model` that show its layers and what they do."""

    def summary(self) -> str:
        """Return a table of the layers, their output shapes and parameters, and the memory.

        Layers inside others are indented. The outputs per sample are those of all layers together,
        which is about what training keeps for each sample of a batch.
        """
        return str(summarize(self))

    def __repr__(self) -> str:
        return model_code(self)

    def _repr_html_(self) -> str:
        """Return the summary as a table, which notebooks show."""
        from . import html

        return html.of_summary(summarize(self))

    def trace(self, x: Any, y: Any = None) -> None:
        """Print what each layer does with one batch: shapes, times, memory and gradients.

        The model stays as it is. `nn.trace.measure` returns the same as numbers.

        Parameters
        ----------
        x
            A batch of inputs, as `fit` takes them.
        y
            Its targets. Without them the gradient is that of half the mean square of the outputs.

        Examples
        --------
        >>> import numpy as np
        >>> from nn import Dense, Model
        >>> Model([Dense(2, input_shape=(3,))], seed=0).trace(np.ones((8, 3)))  # doctest: +ELLIPSIS
        Layer    Output shape  Forward ms  ...
        """
        print(trace.table(trace.measure(self, x, y)))
