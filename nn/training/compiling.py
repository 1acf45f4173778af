"""The choice of loss, optimizer and metrics: `compile`, as a method of `Model`."""

import contextlib
import copy
import difflib
import functools
import inspect
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .. import checks, compat, cuda, losses, metrics, optim
from ..layers import Sigmoid
from ..layers.building import Building
from ..layers.containers import output_activation
from ..metrics import Metric

if TYPE_CHECKING:
    from ..distributed.communicator import Communicator


class Compiling(Building):
    """The methods of `Model` that choose what it is trained with."""

    metrics: list[Metric]
    accumulator: optim.Accumulator
    _token: object
    _given_optimizer: Any
    _distributed: "Communicator | None" = None

    def _move(self, device: str) -> Any:
        self.accumulator.sums = [cuda.to_device(total, device) for total in self.accumulator.sums]
        return super()._move(device)

    @property
    def loss(self) -> Any:
        """The loss that `compile` made, or your own object; None before."""
        return self._loss

    @loss.setter
    def loss(self, loss: Any) -> None:
        if isinstance(loss, losses.Loss) or hasattr(loss, "paired_activation"):
            if getattr(loss, "owner", None) not in (None, self._token):
                loss = copy.copy(loss)  # as it holds the state of one model
            loss.owner = self._token
        self._loss = loss
        self.wrapped_loss: Any = None if loss is None else losses.wrap(loss)
        self._last_plan = None  # so that the loss is connected to the layers

    @property
    def optimizer(self) -> Any:
        """The optimizer that `compile` made, or your own object; None before."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self.wrapped_optimizer: Any = None if optimizer is None else optim.wrap(optimizer)

    @property
    def distributed(self) -> "Communicator | None":
        """The processes that train this model together; None if it is this one alone."""
        return self._distributed

    @distributed.setter
    def distributed(self, team: "Communicator | None") -> None:
        if team is not None:
            from ..distributed.communicator import Communicator

            if not isinstance(team, Communicator):
                rule = "must be an nn.distributed.MPI() or None"
                raise checks.error("Model", "distributed", rule, team)
        self._distributed = None if team is None or team.size == 1 else team

    @property
    def part(self) -> tuple[int, int] | None:
        """The number of this process among those that train together, and how many there are."""
        team = self._distributed
        return None if team is None else (team.rank, team.size)

    @property
    def is_first_rank(self) -> bool:
        """Whether this process writes files and lines: rank 0, or the only one."""
        return self._distributed is None or self._distributed.rank == 0

    def together(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Raise an exception of one process in all that train together, in a `with` block."""
        team = self._distributed
        return contextlib.nullcontext() if team is None else team.together(what)

    @functools.partial(compat.accepts_other_names, owner="Model.compile")
    def compile(
        self,
        loss: Any,
        optimizer: Any = "adam",
        lr: Any = None,
        metrics: Sequence[Any] = ("accuracy",),
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        ema_decay: float | None = None,
        gradient_accumulation_steps: int = 1,
        distributed: "Communicator | None" = None,
        **optimizer_arguments: Any,
    ) -> None:
        """Choose the loss, the optimizer and the metrics.

        Parameters
        ----------
        loss
            A name ('categorical_crossentropy' or 'cce', 'binary_crossentropy' or 'bce', 'mse',
            'mae', 'huber', 'hinge') or an object with `forward` and `backward`.
        optimizer
            A name ('sgd', 'sgdmomentum', 'adam', ...) or an object.
        lr
            Learning rate, a number or a function step -> rate; `learning_rate` is the same. With an
            optimizer object it replaces the object's, as all arguments of the optimizer do.
        metrics
            Names or functions (y_true, y_pred) -> float, which are called once with all rows.
            'accuracy' is left out if the targets are not classes.
        weight_decay, clip_norm, clip_value
            See `Optimizer.configure`.
        ema_decay
            Keep running averages of the weights, for `averaged_weights`; see
            `Optimizer.configure`.
        gradient_accumulation_steps
            The number of batches whose gradients are added up for one step of the optimizer, as
            of one batch of all their samples (see `nn.optim.Accumulator`). In `fit` the last step
            of an epoch uses the batches that are left. Schedules count steps of the optimizer,
            callbacks count batches. A loop written by hand with `optimizer.step` makes a step for
            each batch.
        distributed
            The processes that train the model together, `nn.distributed.MPI()`. Each computes its
            rows of every batch; None, or one process, for this one alone.
        **optimizer_arguments
            `momentum`, `beta1`, `eps` ... of the optimizer. None leaves its own value.

        Raises
        ------
        ValueError
            For an unknown name or argument; the message names the nearest.
        """
        known = [*inspect.signature(self.compile).parameters][:-1]
        for name in optimizer_arguments:
            if difflib.get_close_matches(name, known, cutoff=0.8):
                raise compat.unknown_argument("Model.compile", name, known)
        if optimizer == "adam" and self.loss is None and self._given_optimizer is not None:
            optimizer = self._given_optimizer  # Model(optimizer=...), then compile(loss)
        chosen_metrics = _as_metrics(metrics)
        chosen_loss = losses.get(loss)
        steps = 0 if isinstance(optimizer, str) else optim.wrap(optimizer).iterations
        if steps and optimizer is not self.optimizer:
            raise ValueError(
                f"[Model] 'optimizer' has the state of another model, after {steps} steps with "
                "it: use a new optimizer."
            )
        accumulator = optim.Accumulator(gradient_accumulation_steps)
        self.optimizer = optim.get(
            optimizer,
            lr=lr,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            clip_value=clip_value,
            ema_decay=ema_decay,
            **optimizer_arguments,
        )
        self.distributed = distributed
        self.loss, self.metrics, self.accumulator = chosen_loss, chosen_metrics, accumulator
        self._connect_loss()

    def _connect_loss(self) -> None:
        """Let a cross-entropy use the logits if the model ends in the activation it belongs to."""
        pair = None if self.wrapped_loss is None else self.wrapped_loss.paired_activation
        if pair is not None:
            last = output_activation(self.layers)
            kind = type(last).__name__
            wrong = ("Softmax", "LogSoftmax") if pair == "Sigmoid" else ("Softmax", "Sigmoid")
            if kind != pair and kind in wrong:
                raise ValueError(
                    f"[Model] the loss {type(self.loss).__name__} expects outputs of {pair} or "
                    f"logits, but the last activation is {kind}: change one of them."
                )
            self.wrapped_loss.activation = last if kind == pair else None

    @property
    def threshold(self) -> float:
        """The output above which a single unit decides for class 1: 0 for logits, else 0.5."""
        is_logit = self.loss is None or isinstance(self.loss, losses.BinaryCrossentropy)
        return 0.0 if is_logit and not isinstance(output_activation(self.layers), Sigmoid) else 0.5

    def _require_compiled(self, caller: str) -> None:
        if not self.layers:
            raise ValueError(f"[Model] has no layers: call add() before {caller}().")
        if self.wrapped_loss is None or self.wrapped_optimizer is None:
            raise RuntimeError(f"[Model] call compile(loss, optimizer) before {caller}().")
        self._plan()


def _as_metrics(chosen: Any) -> list[Metric]:
    """Return metric objects for `compile`'s metrics: a list, or a single one."""
    if isinstance(chosen, str | Metric) or callable(chosen):
        chosen = [chosen]
    if not isinstance(chosen, Iterable | None):
        raise checks.error("Model", "metrics", "must be a list of names or functions", chosen)
    made = [metrics.get(metric) for metric in chosen or ()]
    names = [metric.name for metric in made]
    for name in names:
        if names.count(name) > 1 or name in ("loss", "lr"):
            rule = "must have different names"
            if name == "<lambda>":
                rule += ", which functions have that are defined by def"
            raise checks.error("Model", "metrics", rule, name)
    return made
