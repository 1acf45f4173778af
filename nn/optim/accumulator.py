"""One step of the optimizer for the gradients of several batches."""

from .. import checks
from .base import Array


class Accumulator:
    """Makes one step of the gradients of several batches, as of one batch of all their samples.

    A large batch's gradient is the mean over its samples, and so the mean of the gradients of
    its parts, each counted by its samples: `sum(n_i * grad_i) / sum(n_i)`. The parts need the
    memory of one part. Layers that look at a whole batch, as batch normalisation does, still see
    the parts.

    Parameters
    ----------
    steps
        The number of batches that make one step of the optimizer, at least 1.

    Attributes
    ----------
    batches, samples : int
        What has come since the last step.
    sums : list of array
        The gradients so far, each multiplied by the samples of its batch.

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
        """Forget what has come since the last step."""
        self.batches, self.samples = 0, 0
        self.sums: list[Array] = []

    def add(
        self, params_and_grads: list[tuple[Array, Array]], samples: int
    ) -> list[tuple[Array, Array]] | None:
        """Take in a batch; return the pairs for a step where it was the last one, else None.

        Parameters
        ----------
        params_and_grads
            The pairs of a batch. The gradients are not changed or kept.
        samples
            The number of samples in the batch.

        Raises
        ------
        RuntimeError
            Where other parameters are trained than in the batches before it.
        """
        if self.steps == 1 and not self.batches:
            return params_and_grads
        params = [param for param, _ in params_and_grads]
        parts = [grad * samples for _, grad in params_and_grads]
        if self.batches and [total.shape for total in self.sums] != [p.shape for p in params]:
            raise RuntimeError(
                "[Model] other layers are trained than in the batches before, whose gradients "
                "wait for 'gradient_accumulation_steps': call finish_step() before the change."
            )
        for total, part in zip(self.sums, parts, strict=False):  # none before the first batch
            part += total
        self.sums = parts
        self.batches, self.samples = self.batches + 1, self.samples + samples
        # More than enough wait where a file is resumed that was to gather more of them.
        return self.finish(params) if self.batches >= self.steps else None

    def finish(self, params: list[Array]) -> list[tuple[Array, Array]]:
        """Return each parameter with the mean gradient of what has come, and begin anew."""
        if len(params) != len(self.sums):
            raise RuntimeError(
                f"[Model] {len(params)} parameters are trained, and the gradients of "
                f"{len(self.sums)} wait: call finish_step() before a layer is frozen or freed."
            )
        means = [total / self.samples for total in self.sums]
        self.clear()
        return list(zip(params, means, strict=True))
