"""Ensembles: the mean of the probabilities of several models.

Models trained from different seeds make different mistakes, and their mean makes fewer than most
of them alone.
"""

import contextlib
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import checks, cuda, metrics, validation
from ..data import Dataset
from ..layers import fold
from ..model import Model
from ..training.data import DataAdapter

Array = Any  # numpy.ndarray or cupy.ndarray

_BATCH = 256  # samples at a time
_CHOICES = ("auto", "softmax", "sigmoid")  # and None


class Ensemble:
    """Several models for the same task, which predict the mean of their probabilities.

    Parameters
    ----------
    models
        `Model` objects, or paths of files written by `Model.save`; at least one.
    activation
        Function that turns outputs into probabilities: 'softmax', 'sigmoid', or None to average
        the outputs unchanged, as in regression. 'auto' decides for each model: the outputs of one
        that ends in Softmax or Sigmoid are probabilities, those of one compiled with a
        cross-entropy are logits.

    Attributes
    ----------
    models : list of Model
    class_names : list of str or None
        Names of the classes, if the models have them.

    Raises
    ------
    ValueError
        If the models differ in inputs, outputs or class names; or if 'auto' cannot tell logits from
        other outputs, for a model without a loss, as saved by `save(include_optimizer=False)`.
    FileNotFoundError, nn.io.FileFormatError
        If `Model.load` cannot read a file.

    References
    ----------
    Hansen and Salamon 1990, "Neural network ensembles", IEEE Transactions on Pattern Analysis
    and Machine Intelligence 12; the mean of the probabilities: Lakshminarayanan, Pritzel and
    Blundell 2017, "Simple and scalable predictive uncertainty estimation using deep ensembles",
    arXiv 1612.01474, section 2.4.

    Examples
    --------
    >>> import nn
    >>> members = [nn.Model([nn.Dense(3, input_shape=(2,))], seed=seed) for seed in range(5)]
    >>> ensemble = Ensemble(members, activation="softmax")
    >>> ensemble.predict(np.ones((4, 2))).sum(axis=1).round(5)
    array([1., 1., 1., 1.], dtype=float32)
    """

    def __init__(
        self, models: Iterable[Model | str | os.PathLike], activation: str | None = "auto"
    ):
        is_one = isinstance(models, Model | str | os.PathLike)
        members = list(models) if isinstance(models, Iterable) and not is_one else []
        if not members or not all(isinstance(m, Model | str | os.PathLike) for m in members):
            rule = "must be a list of at least one model or path"
            raise checks.error("Ensemble", "models", rule, models)
        self.models = [m if isinstance(m, Model) else Model.load(m) for m in members]
        if activation is not None and activation not in _CHOICES:
            raise checks.unknown("Ensemble", "activation", activation, _CHOICES)
        for what in ("input_shape", "output_shape", "class_names", "input_scale"):
            found = [getattr(model, what) for model in self.models]
            if any(value != found[0] for value in found):
                rule = f"must all have the same {what}"
                raise checks.error("Ensemble", "models", rule, found)
        ranges = ["[0, 1]" if m.scaler_of_bytes is None else "0..255" for m in self.models]
        if len(set(ranges)) > 1:
            rule = "must all take images of the same range"
            raise checks.error("Ensemble", "models", rule, ranges)
        self.class_names = self.models[0].class_names
        self._activations = [
            _activation(m) if activation == "auto" else activation for m in self.models
        ]

    def predict(self, x: Any, batch_size: int = _BATCH) -> Array:
        """Return the mean of the models' probabilities, or outputs, for each sample.

        Parameters
        ----------
        x, batch_size
            As in `Model.predict`; a source of batches is read once.
        """
        stream = DataAdapter(self.models[0]).inputs(x)
        if stream is None:
            return self._mean(x, batch_size)
        batches = stream.batches(batch_size, shuffle=False, dtype=self.models[0].batch_dtype)
        with contextlib.closing(batches):
            return np.concatenate([cuda.to_cpu(self._mean(x, batch_size)) for (x,) in batches])

    def _mean(self, x: Any, batch_size: int) -> Array:
        total = 0.0
        for model, activation in zip(self.models, self._activations, strict=True):
            total = total + fold.probabilities(model.predict(x, batch_size), activation)
        return total / len(self.models)

    @property
    def threshold(self) -> float:
        """Mean output above which a single unit predicts class 1: 0.5 for probabilities."""
        return self.models[0].threshold if self._activations[0] is None else 0.5

    def predict_classes(self, x: Any, batch_size: int = _BATCH, names: bool = False) -> Array:
        """Return the class with the largest mean for each sample, as integers (n,).

        Where each output is a decision of its own, 0 or 1 for each, (n, outputs), as in
        `Model.predict_classes`.

        Parameters
        ----------
        x, batch_size
            As in `predict`.
        names
            Whether to return class names instead of numbers.

        Raises
        ------
        ValueError
            If names are requested and the models have none.
        """
        if names and self.class_names is None:
            raise ValueError(
                "[Ensemble] 'names' needs class names, and the models have none: set "
                "ensemble.class_names."
            )
        means = self.predict(x.x if names and isinstance(x, Dataset) else x, batch_size)
        classes = fold.decide(means, self.threshold, self._is_multi_label)
        if self.class_names is None or not names:
            return classes
        return fold.named(cuda.to_cpu(classes), self.class_names, self._is_multi_label)

    @property
    def _is_multi_label(self) -> bool:
        """Whether each of several outputs is a decision of its own."""
        first = self.models[0]
        outputs = validation.outputs_of(first.output_shape)
        if self._activations[0] == "sigmoid":
            return outputs != 1
        return fold.decides_each_output(first.layers, first.loss, outputs)

    def evaluate(self, data: Any, y: Any = None, batch_size: int = _BATCH) -> dict[str, float]:
        """Return the accuracy of the ensemble as {'acc': ...}.

        Parameters
        ----------
        data, y, batch_size
            As in `Model.evaluate`. Sample weights are ignored.
        """
        batch_size = checks.positive_int("Ensemble", "batch_size", batch_size)
        first = self.models[0]
        source = DataAdapter(first).data(data, y)
        accuracy = metrics.Accuracy()
        accuracy.threshold = self.threshold
        accuracy.elementwise = self._is_multi_label
        batches = source.batches(batch_size, shuffle=False, dtype=first.batch_dtype)
        with contextlib.closing(batches):
            for x, targets, *_ in batches:
                accuracy.update(targets, cuda.to_cpu(self._mean(x, batch_size)))
        return {"acc": accuracy.result()}


def _activation(model: Model) -> str | None:
    """Return the activation that turns the outputs of a model into probabilities, or None."""
    if model.loss is None and not fold.gives_probabilities(model.layers):
        raise ValueError(
            "[Ensemble] 'activation' must be 'softmax' or 'sigmoid' for logits, or None for other "
            "outputs, if a model has no loss, got 'auto'."
        )
    return fold.missing_activation(model.layers, model.loss)
