"""`NNClassifier`: a network that finds classes, for scikit-learn."""

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from ... import checks
from ...data.classes import check_no_gap
from ...layers import fold
from ...model import Model
from .estimator import Estimator, Network


class NNClassifier(ClassifierMixin, Estimator):
    """A neural network as a classifier of scikit-learn.

    Parameters
    ----------
    model
        The network: a list of layers, of which each `fit` trains a copy; a function that returns
        one, or an `nn.Model`; or an `nn.Model`, of which each `fit` trains a copy, from the
        weights that it has. The function is called with those of the arguments `n_features` and
        `n_outputs`, the number of classes, that it takes. The last layer has an output for each
        class, without activation; for two classes it may have one. None stands for
        `[Standardize(), Dense(64, activation='relu'), Dense(n_outputs)]`.
    loss
        As in `Model.compile`. None is 'categorical_crossentropy', or 'binary_crossentropy' for
        a single output and for several labels a sample.
    optimizer, lr
        As in `Model.compile`.
    epochs
        The number of epochs of each `fit`, or the largest with `early_stopping`.
    batch_size
        Samples a step.
    early_stopping, patience, min_delta
        Stop after `patience` epochs without a gain of `min_delta` in the accuracy of held-out
        samples, and restore the best weights.
    validation_fraction
        Share of the samples that `early_stopping` holds out, the same of every class. With 0 it
        watches the training accuracy.
    class_weight
        {label: weight}, 'balanced', or None, as in scikit-learn; it multiplies `sample_weight`.
    lr_schedule, callbacks, verbose
        As in `Model.fit`.
    compile_arguments, fit_arguments
        Other keyword arguments of `Model.compile` and `Model.fit`, as a dict: `{'weight_decay':
        1e-4}`, `{'augment': f}`.
    warm_start
        Whether `fit` goes on with the network of the last `fit`.
    random_state
        An integer or a `numpy.random.RandomState` that fixes weights, order of the samples,
        held-out samples and dropout; None for the next seed of `nn.seed`.
    dtype
        'float32' or 'float64', that of the model unless `model` makes one itself. None is the one
        that holds the numbers of X exactly: 'float64' for those of float64 or int64, as in most
        tables; 'float32' for those of float32 or bytes, which is up to twice as fast.

    Attributes
    ----------
    model_ : Model
        The trained model, for `model_.save(path)` and all else. It numbers the classes in the
        order of `classes_`, whose names it has if they are strings.
    classes_ : array (n_classes,)
        The labels; for several labels a sample their column numbers.
    history_ : dict
        What the last `Model.fit` returned.
    n_iter_ : int
        Epochs that the network has been trained for.
    n_outputs_ : int
        The number of classes, or of labels a sample.
    n_features_in_ : int
    feature_names_in_ : array (n_features_in_,)
        If the training data were a table whose columns have names.

    Notes
    -----
    X may be dense or sparse, which becomes dense batch by batch, and have more than two axes:
    images (N, C, H, W).

    It passes scikit-learn's `check_estimator` but for the check that a weight of 2 is the same as
    a sample given twice: these come in other batches.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> y = ["equal", "different", "different", "equal"]
    >>> classifier = NNClassifier(lr=0.05, random_state=0).fit(X, y)
    >>> classifier.predict(X).tolist()
    ['equal', 'different', 'different', 'equal']
    >>> classifier.classes_.tolist(), classifier.predict_proba(X).shape
    (['different', 'equal'], (4, 2))
    """

    classes_: np.ndarray
    _has_classes = True

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
        class_weight: dict[Any, float] | str | None = None,
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
        self.class_weight = class_weight
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
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network, from new weights unless `warm_start` is set.

        Parameters
        ----------
        X
            (N, n_features), dense or sparse, or (N, ...).
        y
            Labels (N,), of any type; or (N, n_labels) of zeros and ones, for several a sample.
        sample_weight
            (N,), multiplied into the loss of each sample.
        """
        return self._train(X, y, sample_weight)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train for one epoch on some samples, going on with the network if there is one.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes
            For the first call, all labels that will come; None if y has them all.

        Raises
        ------
        ValueError
            If `early_stopping`, `lr_schedule` or `class_weight='balanced'` is set, or for a label
            that is not one of `classes`.
        """
        _require_labels("classes", classes)
        self._check_partial(*["class_weight"] * isinstance(self.class_weight, str))
        return self._train(X, y, sample_weight, classes, is_partial=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return the likeliest label of each sample, (N,), or zeros and ones (N, n_labels)."""
        X = self._inputs(X)
        decided = self.model_.predict_classes(X)
        return decided if self._is_multi_label else self.classes_[decided]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each label of `classes_`, (N, n_outputs_), as float64.

        Raises
        ------
        ValueError
            If the loss is no cross-entropy and the network does not end in Softmax or Sigmoid.
        """
        X = self._inputs(X)
        return self.model_.predict_proba(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy on samples; see `fit` for the arguments."""
        self._check_tables(X, y, sample_weight)
        return super().score(X, y, sample_weight)

    def _check_tables(self, X: Any, y: Any, sample_weight: Any) -> None:
        super()._check_tables(X, y, sample_weight)
        _require_labels("y", y)

    def _targets(self, y: np.ndarray, classes: Any, is_first: bool) -> np.ndarray:
        """Return the numbers of the labels in `classes_`, or the indicators of several labels."""
        check_classification_targets(y)
        if y.ndim == 2:
            return self._indicators(y, is_first)
        if is_first:
            self.classes_ = np.unique(y if classes is None else classes)
            self.n_outputs_, self._is_multi_label = len(self.classes_), False
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            rule = f"must be those of the first training, {self.classes_.tolist()}"
            raise checks.error("NNClassifier", "classes", rule, classes)
        if len(self.classes_) < 2:
            rule = "must have labels of at least 2 classes"
            raise checks.error("NNClassifier", "y", rule, f"1 class: {self.classes_.tolist()}")
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown) or self._is_multi_label:
            rule = f"must hold labels of the classes {self.classes_.tolist()}"
            raise checks.error("NNClassifier", "y", rule, unknown.tolist())
        return np.searchsorted(self.classes_, y)

    def _indicators(self, y: np.ndarray, is_first: bool) -> np.ndarray:
        """Return zeros and ones (N, n_labels), after checking them."""
        if type_of_target(y) != "multilabel-indicator":
            rule = "must be labels (N,), or zeros and ones (N, n_labels)"
            raise checks.error("NNClassifier", "y", rule, type_of_target(y))
        if is_first:
            self.classes_ = np.arange(y.shape[1])
            self.n_outputs_, self._is_multi_label = y.shape[1], True
        elif not self._is_multi_label or y.shape[1] != self.n_outputs_:
            rule = f"must have the labels of the first training, {self.classes_.tolist()}"
            raise checks.error("NNClassifier", "y", rule, f"shape {y.shape}")
        return y.astype(np.int64)

    def _weights(self, y: np.ndarray, weights: Any) -> Any:
        """Return the weights of the samples multiplied by those of their classes."""
        if self.class_weight is None:
            return weights
        of_class = compute_sample_weight(self.class_weight, y)
        return of_class if weights is None else of_class * weights

    def _new_network(self, X: Any) -> Model:
        network = super()._new_network(X)
        decides_each = fold.decides_each_output(network.layers, network.loss, self.n_outputs_)
        if self._is_multi_label and not decides_each:
            rule = "must be 'binary_crossentropy' for several labels a sample"
            raise checks.error("NNClassifier", "loss", rule, self.loss)
        if all(isinstance(name, str) for name in self.classes_):
            network.class_names = [str(name) for name in self.classes_]
        return network

    def _possible_outputs(self) -> list[tuple[int | None, ...]]:
        is_yes_or_no = self.n_outputs_ == 2 and not self._is_multi_label
        return [(self.n_outputs_,), *[(1,)] * is_yes_or_no]

    def _default_loss(self, outputs: tuple[int | None, ...]) -> str:
        is_decided = self._is_multi_label or outputs == (1,)
        return "binary_crossentropy" if is_decided else "categorical_crossentropy"


def _require_labels(argument: str, labels: Any) -> None:
    """Raise if one of several labels is None or missing, or is a text and another is none."""
    # NumPy alone makes texts of all labels of a list
    found = np.asarray(labels, object if isinstance(labels, list | tuple) else None)
    if found.dtype != object or found.ndim == 0:  # those of numbers are left to scikit-learn
        return
    rows = found.ravel().tolist()
    check_no_gap("NNClassifier", argument, rows)
    others = [label for label in rows if isinstance(label, str) != isinstance(rows[0], str)]
    if others:
        rule = "must hold texts alone, or no texts"
        raise checks.error("NNClassifier", argument, rule, [rows[0], others[0]])
