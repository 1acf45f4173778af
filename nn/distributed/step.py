"""One batch of a training in several processes: what they exchange once its gradients are known."""

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import cuda
from ..custom import is_ours
from ..layers.masks import Mask
from ..layers.shard import Shard, rows_of
from ..metrics import Metric
from .communicator import Array, Communicator

Pairs = list[tuple[Array, Array]]


class SharedBatch(Shard):
    """The rows of a batch that this process trains on, and the exchange with the others.

    There is one for each batch. The gradients of a process are those of the mean over its own rows;
    weighted by its share of the rows, those of all processes add up to the gradients of the batch.

    Parameters
    ----------
    team
        The processes.
    total
        Rows of the whole batch.
    fingerprint
        A number that must be the same in all processes.
    signals
        Numbers of the signals that this process has received.

    Attributes
    ----------
    samples : int
        The samples of the whole batch: its rows or, with a mask, the steps that are there. 0 before
        `reduce`.
    signals : list of int
        After `reduce` those that any process has received.
    """

    def __init__(
        self, team: Communicator, total: int, fingerprint: int = 0, signals: Sequence[int] = ()
    ) -> None:
        super().__init__(team.rank, team.size, total, team.exchange, team.syncs_batch_norm)
        self.team, self.fingerprint, self.signals = team, fingerprint, list(signals)
        self.samples = 0
        self._share, self._is_finite = self.weight, True  # of the samples

    def weigh(self, grad: Array, mask: Mask) -> Array:
        """Return the gradient of the loss's mean as that of this process' part of the batch.

        With a mask the mean is over the steps of all processes, and this one may have another share
        of them than of the rows. A process without rows has no gradient.
        """
        if mask is not None:
            steps = 0.0 if self.is_idle else float(mask.sum())
            self._share = steps / float(self.exchange(np.array([steps])).sum())
        if self.is_idle:
            return grad * 0
        return grad if mask is None else grad * (self._share / self.weight)

    def reduce(
        self, pairs: Pairs, loss: tuple[float, float], measured: Sequence[Metric], *outputs: Any
    ) -> tuple[Pairs, float]:
        """Return the parameters with their gradients, and the loss, of the whole batch.

        Parameters
        ----------
        pairs
            The parameters, with the gradients of the rows of this process.
        loss
            The mean over its rows, without and with what weights and activities add to it.
        measured
            The metrics, to which the whole batch is added.
        *outputs
            Targets, predictions and mask of its rows.
        """
        samples = len(outputs[0]) if outputs[2] is None else int(outputs[2].sum())
        value = loss[0] * self._share + loss[1] * self.weight
        if self.is_idle:
            value, samples = 0.0, 0
        self._is_finite = math.isfinite(value)
        parts = [_part(metric, self.is_idle, *outputs) for metric in measured if has_sums(metric)]
        flags = sum(1 << number for number in {*self.signals})
        # float64 holds integers of 53 bits
        figures = [value, samples, self.total, self.fingerprint, *divmod(flags, 1 << 32)]
        header = np.concatenate([figures, *map(_sums, parts)]).astype(np.float64)
        buffer = self._packed([grad for _, grad in pairs])
        headers = self.team.add(buffer, header)
        self._check_same(headers)
        value = float(_totals(headers)[0])
        self.samples = int(_totals(headers)[1])
        flags = 0
        for high, low in headers[:, 4:6].astype(np.int64).tolist():
            flags |= high << 32 | low
        self.signals = [number for number in range(64) if flags >> number & 1]
        self._add_metrics(measured, parts, _totals(headers)[6:], outputs)
        return self._unpacked(pairs, buffer), value

    def _check_same(self, headers: np.ndarray) -> None:
        """Raise if the processes do not train on the same batch."""
        for rank, row in enumerate(headers[:, 2:4].tolist()):
            if row != headers[0, 2:4].tolist():
                raise RuntimeError(
                    f"[Model] 'data' gives another batch in rank {rank} than in rank 0, of "
                    f"{row[0]:.0f} and {headers[0, 2]:.0f} rows: all processes must read the same "
                    "batches in the same order, of which each trains on its rows: seed the source."
                )

    def _packed(self, grads: Sequence[Array]) -> Array:
        """Return the gradients of this process, weighted, in one array."""
        like = grads[0] if grads else np.zeros(0)
        buffer, place = self.team.buffer(sum(grad.size for grad in grads), like), 0
        xp = cuda.get_array_module(buffer)
        for grad in grads:
            own = buffer[place : place + grad.size].reshape(grad.shape)
            xp.multiply(grad if xp is not np else cuda.to_cpu(grad), self.weight, out=own)
            place += grad.size
        return buffer

    def _unpacked(self, pairs: Pairs, buffer: Array) -> Pairs:
        """Return the parameters with their gradients in the array."""
        place, found = 0, []
        for param, _ in pairs:
            own = buffer[place : place + param.size].reshape(param.shape)
            on_gpu = cuda.get_array_module(param) is not np
            found.append((param, cuda.to_gpu(own) if on_gpu else own))
            place += param.size
        return found

    def first_reason(self, reason: str) -> str:
        """Return why the loss is not finite, as the first process says whose own loss is not."""
        reasons = self.team.gather("" if self._is_finite else reason)
        return next((found for found in reasons if found), reason)

    # ----------------------------------------------------------------------------- metrics

    def _add_metrics(
        self,
        measured: Sequence[Metric],
        parts: list[Metric],
        totals: np.ndarray,
        outputs: tuple[Any, ...],
    ) -> None:
        """Add the batch to the metrics: sums, or else the rows of all processes."""
        remaining = iter(parts)
        for metric in measured:
            if has_sums(metric):
                part = next(remaining)
                totals = _set_sums(part, totals)
                _merge(metric, part)
        others = [metric for metric in measured if not has_sums(metric)]
        if others:
            update_by_rows(self.team, others, None if self.is_idle else outputs)


def update_by_rows(
    team: Communicator, measured: Sequence[Metric], outputs: tuple[Any, ...] | None
) -> None:
    """Update metrics with the rows of all processes, in the order of the batch.

    Parameters
    ----------
    team
        The processes.
    measured
        The metrics.
    outputs
        Targets, predictions and mask of the rows of this process; None if it has none.
    """
    own = outputs and tuple(None if a is None else cuda.to_cpu(a) for a in outputs)
    found = [rows for rows in team.gather(own) if rows is not None]
    columns = [
        None if part[0] is None else np.concatenate(part) for part in zip(*found, strict=True)
    ]
    for metric in measured:
        metric.update(*_present(*columns))


def add_rows(team: Communicator, total: int, measured: Sequence[Metric], *outputs: Any) -> bool:
    """Add rows of a batch to metrics that `add_sums` completes; return whether there are any.

    Parameters
    ----------
    team
        The processes.
    total
        Rows of the whole batch.
    measured
        The metrics.
    *outputs
        Targets, predictions and mask of the rows of this process.
    """
    is_idle = not rows_of(team.rank, team.size, total)
    for metric in measured:
        if has_sums(metric):
            _merge(metric, _part(metric, is_idle, *outputs))
    others = [metric for metric in measured if not has_sums(metric)]
    if others:
        update_by_rows(team, others, None if is_idle else outputs)
    return not is_idle


def add_sums(
    team: Communicator, measured: Sequence[Metric], figures: Iterable[float]
) -> list[float]:
    """Add up figures, and the sums of metrics, of all processes; return the figures."""
    parts = [metric for metric in measured if has_sums(metric)]
    own = np.concatenate([[*figures], *map(_sums, parts)]).astype(np.float64)
    totals = _totals(team.exchange(own))
    count = len(own) - sum(len(_sums(part)) for part in parts)
    remaining = totals[count:]
    for metric in parts:
        remaining = _set_sums(metric, remaining)
    return [float(total) for total in totals[:count]]


def has_sums(metric: Metric) -> bool:
    """Return whether a metric is computed from sums alone, which a user's may not be."""
    return bool(metric.sums) and is_ours(type(metric))


def _totals(rows: np.ndarray) -> np.ndarray:
    """Return the sum of the rows (size, n), added in the order of the processes."""
    total = rows[0].copy()
    for row in rows[1:]:
        total += row
    return total


def _present(y: Array, y_pred: Array, mask: Mask) -> tuple[Array, Array]:
    """Return targets and predictions of the samples, or with a mask of the steps, there are."""
    return (y, y_pred) if mask is None else (y[mask], y_pred[mask])


def _part(metric: Metric, is_idle: bool, y: Array, y_pred: Array, mask: Mask) -> Metric:
    """Return a metric of the rows of this process alone; with sums of 0 if it has none."""
    part = copy.copy(metric)
    part.reset()
    part.update(*_present(y, y_pred, mask))
    if is_idle:
        for name in part.sums:
            setattr(part, name, getattr(part, name) * 0)
    return part


def _sums(metric: Metric) -> np.ndarray:
    return np.concatenate([np.ravel(getattr(metric, name)) for name in metric.sums])


def _set_sums(metric: Metric, values: np.ndarray) -> np.ndarray:
    """Set the sums of a metric to the first of the values; return the others."""
    for name in metric.sums:
        old = np.asarray(getattr(metric, name))
        new, values = values[: old.size].reshape(old.shape).astype(old.dtype), values[old.size :]
        setattr(metric, name, new if old.ndim else new.item())
    return values


def _merge(metric: Metric, part: Metric) -> None:
    """Add the sums of a part to a metric; its other attributes become those of the part."""
    for name, value in vars(part).items():
        if name not in metric.sums:
            setattr(metric, name, value)
            continue
        before = getattr(metric, name)
        if np.ndim(value):  # counts of classes, of which more may have been seen
            size = max(len(before), len(value))
            before, value = (np.pad(counts, (0, size - len(counts))) for counts in (before, value))
        setattr(metric, name, before + value)
