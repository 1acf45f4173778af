"""What the classifier and the regressor share: data, network and training of an estimator."""

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from ... import checks, random
from ...layers import Dense, Flatten, Layer, Standardize
from ...layers.plan import named_layers
from ...model import Model

Network = Sequence[Layer] | Model | Callable[..., Any] | None

_INPUTS = {"accept_sparse": "csr", "allow_nd": True, "dtype": "numeric"}  # of validate_data


class Estimator(BaseEstimator):
    """What the two estimators share: checks of the data, the network, its training.

    A subclass keeps the arguments of its constructor as attributes, as scikit-learn wants it, and
    defines what targets mean.
    """

    _has_classes = False

    model: Network
    loss: Any
    optimizer: Any
    lr: Any
    epochs: int
    batch_size: int
    early_stopping: bool
    patience: int
    min_delta: float
    validation_fraction: float
    lr_schedule: Any
    callbacks: Any
    compile_arguments: dict[str, Any] | None
    fit_arguments: dict[str, Any] | None
    warm_start: bool
    random_state: Any
    dtype: str | None
    verbose: int

    model_: Model
    history_: dict[str, list[float]]
    n_iter_: int
    n_outputs_: int

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def _train(
        self, X: Any, y: Any, sample_weight: Any, classes: Any = None, is_partial: bool = False
    ) -> Self:
        """Check the data, make the network unless one is trained on, and train it."""
        is_first = not ((is_partial or self.warm_start) and hasattr(self, "model_"))
        self._check_tables(X, y, sample_weight)
        X, y = validate_data(
            self,
            X,
            y,
            reset=is_first,
            multi_output=True,
            y_numeric=not self._has_classes,
            **_INPUTS,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)  # (N, 1) -> (N,)
        y = y.toarray() if checks.is_sparse(y) else y
        targets = self._targets(y, classes, is_first)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        weights = self._weights(y, sample_weight)
        X = _numbers(X)
        network = self._new_network(X) if is_first else self.model_
        self._check_writeable(network)
        network._may_lack_classes = True  # as a part of the data does: labels are numbered here
        options = self._fit_arguments() | ({"epochs": 1} if is_partial else {})
        network.fit(X, targets, sample_weight=weights, **options)
        self.model_, self.history_ = network, dict(network.history)
        self.n_iter_ = (0 if is_first else self.n_iter_) + len(network.history["loss"])
        return self

    def _check_writeable(self, network: Model) -> None:
        """Raise if weights lie in a file that joblib opened for reading."""
        for _, layer in named_layers(network.layers):
            for array in layer.params.values():
                if isinstance(array, np.ndarray) and not array.flags.writeable:
                    name = type(self).__name__
                    raise ValueError(
                        f"[{name}] cannot train on weights that are read-only, as those of "
                        "joblib.load(path, mmap_mode='r'): load it without mmap_mode."
                    )

    def _check_tables(self, X: Any, y: Any, sample_weight: Any) -> None:
        """Raise for what scikit-learn takes without a word, or refuses without the column."""
        checks.same_rows(type(self).__name__, X=X, y=y, sample_weight=sample_weight)
        _require_numbers(type(self).__name__, X)

    def _targets(self, y: np.ndarray, classes: Any, is_first: bool) -> np.ndarray:
        """Return the targets of a training for `Model.fit`, after setting what they determine."""
        raise NotImplementedError

    def _weights(self, y: np.ndarray, weights: Any) -> Any:
        return weights

    def _check_partial(self, *names: str) -> None:
        """Raise if a parameter is set that partial_fit() cannot follow, as it sees one part."""
        for name in ("early_stopping", "lr_schedule", *names):
            value = getattr(self, name)
            if value:
                rule = "must not be set for partial_fit(), which trains on a part for one epoch"
                raise checks.error(type(self).__name__, name, rule, value)

    def _fit_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `Model.fit`."""
        stopping = {
            "early_stopping": self.early_stopping,
            "patience": self.patience,
            "min_delta": self.min_delta,
            "validation_split": self.validation_fraction,
        }
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            **(stopping if self.early_stopping else {}),
            "lr_schedule": self.lr_schedule,
            "callbacks": () if self.callbacks is None else self.callbacks,
            "verbose": self.verbose,
            **(self.fit_arguments or {}),
        }

    def _new_network(self, X: Any) -> Model:
        """Return a new, compiled model for inputs (N, ...)."""
        owner, shape, seed = type(self).__name__, X.shape, None
        seeding: Any = contextlib.nullcontext()
        if self.random_state is not None:
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
            seeding = random.leaving_the_root(seed)
        with seeding:
            network = self._make(shape)
            if not isinstance(network, Model):
                lossless = str(np.result_type(X.dtype, np.float32))
                network = Model(network, dtype=self.dtype or lossless, seed=seed)
        if network.loss is not None or network.optimizer is not None:
            raise ValueError(
                f"[{owner}] 'model' must not be compiled: pass 'loss' and 'optimizer' to {owner}, "
                "which compiles it."
            )
        network.build((None, *shape[1:]))
        outputs = (network.output_shape or ())[1:]
        if outputs not in self._possible_outputs():
            what = "class" if self._has_classes else "target"
            raise ValueError(
                f"[{owner}] 'model' must have one output for each {what} of 'y', "
                f"{self.n_outputs_}, got outputs of shape {outputs}: end it in "
                f"Dense({self.n_outputs_})."
            )
        network.compile(
            self._default_loss(outputs) if self.loss is None else copy.deepcopy(self.loss),
            copy.deepcopy(self.optimizer),
            self.lr,
            **(self.compile_arguments or {}),
        )
        return network

    def _possible_outputs(self) -> list[tuple[int | None, ...]]:
        return [(self.n_outputs_,)]

    def _default_loss(self, outputs: tuple[int | None, ...]) -> str:
        return "mse"

    def _make(self, shape: tuple[int, ...]) -> Model | list[Layer]:
        """Return the network that the parameter `model` stands for, or its layers."""
        made: Any = self.model
        if made is None:
            flat = [Flatten()] if len(shape) > 2 else []
            return [Standardize(), *flat, Dense(64, activation="relu"), Dense(self.n_outputs_)]
        if callable(made) and not isinstance(made, Layer | Model):
            known = {"n_features": shape[1], "n_outputs": self.n_outputs_}
            names = inspect.signature(made).parameters
            made = made(**{name: value for name, value in known.items() if name in names})
            if isinstance(made, Model):
                return made
        elif isinstance(made, Model):
            return copy.deepcopy(made)
        if isinstance(made, str | Layer) or not isinstance(made, Iterable):
            rule = "must be a list of layers, an nn.Model, a function that returns one, or None"
            raise checks.error(type(self).__name__, "model", rule, made)
        return copy.deepcopy(list(made))

    def _inputs(self, X: Any) -> Any:
        """Return the inputs of a prediction, checked as those of the training were."""
        check_is_fitted(self)
        _require_numbers(type(self).__name__, X)
        return _numbers(validate_data(self, X, reset=False, **_INPUTS))


def _numbers(X: Any) -> Any:
    """Return checked inputs as numbers: scikit-learn 1.6 leaves some tables with texts objects."""
    return X.astype(np.float64) if X.dtype.kind == "O" else X


def _require_numbers(owner: str, X: Any) -> None:
    """Raise if columns of a table of pandas hold texts or times; the error names them."""
    if not hasattr(X, "loc") or not hasattr(X, "items"):
        return
    is_bad = [not _holds_numbers(column) for _, column in X.items()]
    if any(is_bad):
        raise checks.not_real(owner, "X", X.loc[:, is_bad], np.dtype(object))


def _holds_numbers(column: Any) -> bool:
    """Return whether a column of pandas can be read as numbers, as texts of digits can."""
    kind = getattr(column.dtype, "kind", "O")
    if kind in "biufmMc":  # complex ones are left to scikit-learn
        return kind not in "mM"
    try:
        column.dropna().astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True
