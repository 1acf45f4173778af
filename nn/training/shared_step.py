"""A training step on a batch that several processes share, as methods of `Model`.

`_train_on_part` mirrors `Model.train_step` line by line, with the exchange between the gradients
and the optimizer; `tests/distributed/exactness.py` compares the two.
"""

import math
from typing import Any

import numpy as np

from .. import cuda, validation
from ..data.batching import fingerprint
from ..layers import finite
from ..layers.building import PASSES
from ..layers.shard import active_shard
from ..losses.regression import RegressionLoss

Array = Any  # numpy.ndarray or cupy.ndarray


class SharedStep:
    """The methods of `Model` for a step together with other processes."""

    def _train_with_others(
        self: Any, x: Array, y: Array, sample_weight: Any, metrics: Any
    ) -> dict[str, float]:
        """Do as `train_step`, with the rows of this process of a batch.

        They are those of the part that is active, as in `fit`. Otherwise the step is called in a
        loop written by hand, in which all processes pass the whole batch.
        """
        shard = active_shard.get()
        if shard is not None:
            return self._train_on_part(shard, x, y, sample_weight, metrics)
        from ..distributed.step import SharedBatch

        team = self._distributed
        with team.together("train_step()"):
            shard = SharedBatch(team, len(x), fingerprint(_on_cpu(x), _on_cpu(y)))
            batch = (x, y, sample_weight)
            x, y, sample_weight = (None if array is None else array[shard.rows] for array in batch)
            with shard.active():
                return self._train_on_part(shard, x, y, sample_weight, metrics)

    def _train_on_part(
        self: Any, shard: Any, x: Array, y: Array, sample_weight: Any, metrics: Any
    ) -> dict[str, float]:
        """Train on the rows of a `SharedBatch`; return the figures of the whole batch."""
        is_checked = self.progress is not None and self.progress.has_checked(x, y)
        x = cuda.to_device(x, self._device) if is_checked else self._inputs(x)
        y = cuda.to_device(y, self._device)
        if not is_checked and isinstance(self.loss, RegressionLoss):
            validation.check_byte_targets(y, y)
        if sample_weight is not None:
            sample_weight = cuda.to_device(sample_weight, self._device)
        own = self._own_passes or not PASSES.isdisjoint(vars(self))
        y_pred = self._own_forward(x) if own else self._forward(x, training=True)
        plan = self._plan()  # now, as a user's layer may have created parameters
        loss_of = self.wrapped_loss.compute if is_checked else self.wrapped_loss.forward
        mask = self.output_mask
        also = () if mask is None else (mask,)
        losses = loss_of(y_pred, y, sample_weight, *also), plan.penalty()
        grad = shard.weigh(self.wrapped_loss.backward(), mask)
        if own:
            pairs = self._own_gradients(grad)
        else:
            self._backward_params(grad, plan)
            pairs = self._pairs(plan)
        measured = self._fresh_metrics(y) if metrics is None else metrics
        pairs, loss = shard.reduce(pairs, losses, measured, y, y_pred, mask)
        if not math.isfinite(loss):
            reason = shard.first_reason(finite.first_not_finite(self, x))
            raise FloatingPointError(f"[Model] the loss is {loss}: {reason}")
        finite.check_gradients(pairs, plan.parameters, look_at_all=finite.DEBUG)
        waits = self.accumulator.steps > 1 or self.accumulator.batches > 0
        summed = self.accumulator.add(pairs, shard.samples, plan.names) if waits else pairs
        if summed is not None:  # else it waits for more batches
            self.wrapped_optimizer.step(summed)
        logs = {"loss": loss, **{m.name: m.result() for m in measured if m.per_batch}}
        if metrics is None:
            logs |= {metric.name: metric.result() for metric in measured}
        return logs


def _on_cpu(array: Any) -> np.ndarray:
    return cuda.to_cpu(array) if hasattr(array, "dtype") else np.asarray(array)
