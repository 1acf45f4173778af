"""One step of the optimizer for the gradients of several batches."""

from collections.abc import Sequence
from typing import Any

from .. import checks
from .arrays import Array, Pairs


class Accumulator:
    """Adds up the gradients of several batches to that of one batch of all their samples.

    A large batch's gradient is the mean over its samples, and so the mean of the gradients of
    its parts, weighted by their samples: `sum(n_i * grad_i) / sum(n_i)`. Only one part needs
    memory at a time. Layers that compute over a whole batch, such as batch normalisation, still
    see the parts.

    Parameters
    ----------
    steps
        The number of batches that make one step of the optimizer, at least 1.

    Attributes
    ----------
    batches, samples : int
        The number of batches and of their samples since the last step.
    sums : list of array
        The sums of the gradients since then, each multiplied by the samples of its batch.
    names : list of str or None
        The names of the parameters that they belong to, if they are known.

    Examples
    --------
    >>> import numpy as np
    >>> weights, accumulator = np.zeros(1), Accumulator(2)
    >>> accumulator.add([(weights, np.array([3.0]))], samples=4)
    >>> accumulator.add([(weights, np.array([6.0]))], samples=2)
    [(array([0.]), array([4.]))]
    """

    def __init__(self, steps: int = 1) -> None:
        self.steps = checks.positive_int("Model.compile", "gradient_accumulation_steps", steps)
        self.clear()

    def clear(self) -> None:
        """Forget the batches since the last step."""
        self.batches, self.samples = 0, 0
        self.sums: list[Array] = []
        self.names: list[str] | None = None

    def add(
        self, params_and_grads: Pairs, samples: int, names: list[str] | None = None
    ) -> Pairs | None:
        """Add a batch; return the pairs for a step if it is the last one, else None.

        Parameters
        ----------
        params_and_grads
            The pairs of a batch. The gradients are not changed or kept.
        samples
            The number of samples in the batch.
        names
            The names of the parameters, if they have any.

        Raises
        ------
        RuntimeError
            If other parameters are trained than in the batches before it.
        """
        if self.steps == 1 and not self.batches:
            return params_and_grads
        params = [param for param, _ in params_and_grads]
        parts = [grad * samples for _, grad in params_and_grads]
        is_other = self._is_of_others(names)
        is_other |= [total.shape for total in self.sums] != [p.shape for p in params]
        if self.batches and is_other:
            raise RuntimeError(
                "[Model] the trainable layers changed while gradients were accumulated for "
                "'gradient_accumulation_steps': call finish_step() before changing them."
            )
        for total, part in zip(self.sums, parts, strict=False):  # none before the first batch
            part += total
        self.sums, self.names = parts, names
        self.batches, self.samples = self.batches + 1, self.samples + samples
        # There may be more than enough, from a file that was saved with a larger number of steps.
        return self.finish(params, names) if self.batches >= self.steps else None

    def finish(self, params: list[Array], names: list[str] | None = None) -> Pairs:
        """Return each parameter with its mean gradient since the last step, and start again.

        Raises
        ------
        RuntimeError
            If there are sums for other parameters.
        """
        is_same_number = len(params) == len(self.sums)
        others = " others" * (is_same_number and self._is_of_others(names))
        if others or not is_same_number:
            raise RuntimeError(
                f"[Model] {len(params)} parameters are trained, and the gradients of "
                f"{len(self.sums)}{others} are added up: call finish_step() before a layer is "
                "frozen or unfrozen."
            )
        means = [total / self.samples for total in self.sums]
        self.clear()
        return list(zip(params, means, strict=True))

    def _is_of_others(self, names: Sequence[str] | None) -> bool:
        """Return whether the sums are known to be those of other parameters."""
        return None not in (names, self.names) and list(names or ()) != self.names

    def state_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Return 'steps', 'batches', 'samples', and the 'sums' by the names of the parameters.

        There are no sums if the names are others: layers were frozen since, and no step can be
        made of them.
        """
        is_other = len(names) != len(self.sums) or self._is_of_others(names)
        named = () if is_other else zip(names, self.sums, strict=True)
        counts = {"steps": self.steps, "batches": self.batches, "samples": self.samples}
        return {**counts, "sums": dict(named)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned; the number of steps stays.

        Examples
        --------
        >>> import numpy as np
        >>> accumulator, again = Accumulator(2), Accumulator(2)
        >>> accumulator.add([(np.zeros(1), np.array([3.0]))], samples=4)
        >>> again.load_state_dict(accumulator.state_dict(["W"]))
        >>> again.add([(np.zeros(1), np.array([6.0]))], samples=2)
        [(array([0.]), array([4.]))]
        """
        self.batches, self.samples = int(state["batches"]), int(state["samples"])
        self.names, self.sums = list(state["sums"]), list(state["sums"].values())
