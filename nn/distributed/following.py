"""What all processes do as rank 0 does: the state that they begin with, and its decisions."""

import hashlib
from typing import Any

import numpy as np

from .. import cuda
from ..callbacks.base import Callback, Logs
from ..custom import is_ours
from .communicator import Communicator


class Follower(Callback):
    """Makes the processes of a training agree; `fit` adds one to the callbacks of each.

    Every process runs the same callbacks on the same figures, and so takes the same decisions, but
    for those that write files or lines (`Callback.first_rank_only`), which rank 0 runs alone. At
    the end of each epoch the stop, the learning rate and the figures of rank 0 replace those of the
    others, and all compare their weights.

    Parameters
    ----------
    team
        The processes.
    """

    interrupts: Any  # an object with `received` and `agreed`, while `fit` runs

    def __init__(self, team: Communicator) -> None:
        self.team = team
        self._agrees_on_batches = False

    # -------------------------------------------------------------------- at the beginning

    def draw_alike(self, generators: list[np.random.Generator], split_seed: int) -> int:
        """Set the generators to the states of those of rank 0, and return its seed of the split."""
        states = [rng.bit_generator.state for rng in generators]
        states, split_seed = self.team.broadcast((states, split_seed))
        for rng, state in zip(generators, states, strict=True):
            rng.bit_generator.state = state
        return split_seed

    def copy_state(self) -> None:
        """Let the model of each process be that of rank 0: weights, optimizer and the rest."""
        state = self.model.training_state()
        own = digest(state)
        if len({*self.team.gather(own)}) == 1:
            return
        state = self.team.broadcast(state)
        if self.team.rank:
            history = self.model.history
            self.model.load_training_state(state, "the state of rank 0")
            history.clear()
            history.update(self.model.history)
            self.model.history = history  # the same object, which fit returns

    def on_train_begin(self, logs: Logs) -> None:
        """Find out whether a user's callback may stop the training after a batch."""
        progress = self.model.progress
        own = any(
            not is_ours(getattr(type(callback), name))
            for callback in (() if progress is None else progress.callbacks)
            for name in ("on_train_batch_end", "on_batch_end", "on_train_batch_begin")
        )
        self._agrees_on_batches = any(self.team.gather(own))

    # ------------------------------------------------------------------- after each batch

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Stop as rank 0 does, if a user's callback may decide it after a batch."""
        if self._agrees_on_batches:
            stops = self.team.exchange(np.array([float(self.model.stop_training)]))
            self.model.stop_training = bool(stops[0, 0])

    # ------------------------------------------------------------------- after each epoch

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Take over what rank 0 has decided and measured; compare the weights."""
        model, optimizer = self.model, self.model.wrapped_optimizer
        own = digest(model.get_arrays())
        signals = self.interrupts.received
        everyone = self.team.gather((own, model.stop_training, optimizer.lr, dict(logs), signals))
        _compare([found[0] for found in everyone], f"epoch {epoch + 1}")
        self.interrupts.agreed[:] = sorted({signal for found in everyone for signal in found[-1]})
        _, model.stop_training, lr, figures, _ = everyone[0]
        if optimizer.lr != lr:
            optimizer.lr = lr
        for name, value in figures.items():
            if name not in logs or logs[name] != value:
                logs[name] = value
                if name in model.history:
                    model.history[name][-1] = float(value)

    def check_end(self) -> None:
        """Raise if the processes do not end with the same weights."""
        _compare(self.team.gather(digest(self.model.get_arrays())), "after the training")


def _compare(hashes: list[str], when: str) -> None:
    """Raise if the weights of a process have another hash than those of rank 0."""
    others = [rank for rank, found in enumerate(hashes) if found != hashes[0]]
    if others:
        raise RuntimeError(
            f"[Model] {when}: the weights of rank {others[0]} are not those of rank 0. All "
            "processes must make the same changes: a train_step() of your own must call "
            "super().train_step(), and a callback must change the weights of all ranks alike."
        )


def share_running_averages(team: Communicator, layers: Any) -> None:
    """Let the running averages of batch normalisation be those of rank 0 if each has its own."""
    if not team.syncs_batch_norm:
        buffers = [b for layer in layers for _, b in sorted(layer.buffers.items())]
        for own, first in zip(buffers, team.broadcast(buffers), strict=True):
            own[...] = cuda.to_device(first, "cpu" if isinstance(own, np.ndarray) else "gpu")


def digest(state: Any) -> str:
    """Return a hash of arrays, numbers and texts in dicts and lists.

    Examples
    --------
    >>> digest({"W": np.ones(2)}) == digest({"W": np.ones(2)}), digest([1]) == digest([2])
    (True, False)
    """
    found = hashlib.sha256()
    _add(found, state)
    return found.hexdigest()


def _add(found: Any, state: Any) -> None:
    if isinstance(state, dict):
        state = [part for pair in state.items() for part in pair]
    if isinstance(state, list | tuple):
        found.update(b"[%d" % len(state))
        for part in state:
            _add(found, part)
    elif hasattr(state, "dtype") and state.ndim:
        array = cuda.to_cpu(state)
        found.update(repr((array.shape, array.dtype.str)).encode())
        found.update(np.ascontiguousarray(array).data)
    else:
        found.update(repr(state).encode())
