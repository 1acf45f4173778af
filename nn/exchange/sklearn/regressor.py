"""`NNRegressor`: a network that finds numbers, for scikit-learn."""

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin

from ... import checks
from .estimator import Estimator, Network


class NNRegressor(RegressorMixin, Estimator):
    """A neural network as a regressor of scikit-learn.

    Parameters
    ----------
    model
        As for `NNClassifier`, with an output for each target.
    loss
        As in `Model.compile`; None is 'mse'.
    optimizer, lr, epochs, batch_size, lr_schedule, callbacks, verbose
        As for `NNClassifier`.
    early_stopping, patience, min_delta, validation_fraction
        As for `NNClassifier`; the loss of held-out samples is watched.
    compile_arguments, fit_arguments, warm_start, random_state, dtype
        As for `NNClassifier`.

    Attributes
    ----------
    model_ : Model
        The trained model, for `model_.save(path)` and all else.
    history_ : dict
        What the last `Model.fit` returned.
    n_iter_ : int
        Epochs that the network has been trained for.
    n_outputs_ : int
        The number of targets.
    n_features_in_ : int
    feature_names_in_ : array (n_features_in_,)
        If the training data were a table whose columns have names.

    Notes
    -----
    As for `NNClassifier`. Targets are not scaled: for large ones, use
    `sklearn.compose.TransformedTargetRegressor(NNRegressor(), transformer=StandardScaler())`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 50).reshape(-1, 1)
    >>> regressor = NNRegressor(lr=0.01, random_state=0).fit(X, X.ravel() ** 2)
    >>> regressor.score(X, X.ravel() ** 2) > 0.95
    True
    """

    def __init__(
        self,
        model: Network = None,
        *,
        loss: Any = None,
        optimizer: Any = "adam",
        lr: Any = None,
        epochs: int = 100,
        batch_size: int = 32,
        early_stopping: bool = False,
        patience: int = 10,
        min_delta: float = 0.0,
        validation_fraction: float = 0.1,
        lr_schedule: Any = None,
        callbacks: Any = None,
        compile_arguments: dict[str, Any] | None = None,
        fit_arguments: dict[str, Any] | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        dtype: str | None = None,
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.lr = lr
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.patience = patience
        self.min_delta = min_delta
        self.validation_fraction = validation_fraction
        self.lr_schedule = lr_schedule
        self.callbacks = callbacks
        self.compile_arguments = compile_arguments
        self.fit_arguments = fit_arguments
        self.warm_start = warm_start
        self.random_state = random_state
        self.dtype = dtype
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network, from new weights unless `warm_start` is set.

        Parameters
        ----------
        X
            (N, n_features), dense or sparse, or (N, ...).
        y
            Targets (N,) or (N, n_outputs).
        sample_weight
            (N,), multiplied into the loss of each sample.
        """
        return self._train(X, y, sample_weight)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch on some samples, going on with the network if there is one.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Raises
        ------
        ValueError
            If `early_stopping` or `lr_schedule` is set.
        """
        self._check_partial()
        return self._train(X, y, sample_weight, is_partial=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return the targets of each sample, (N,) or (N, n_outputs), as float64."""
        X = self._inputs(X)
        outputs = self.model_.predict(X).astype(np.float64)
        return outputs[:, 0] if self.n_outputs_ == 1 else outputs

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination on samples; see `fit` for the arguments."""
        self._check_tables(X, y, sample_weight)
        return super().score(X, y, sample_weight)

    def _targets(self, y: np.ndarray, classes: Any, is_first: bool) -> np.ndarray:
        columns = y.reshape(len(y), -1).astype(np.float64)  # (N,) -> (N, 1)
        if is_first:
            self.n_outputs_ = columns.shape[1]
        elif columns.shape[1] != self.n_outputs_:
            rule = f"must have the {self.n_outputs_} targets of the first training"
            raise checks.error("NNRegressor", "y", rule, f"shape {y.shape}")
        return columns
