"""The arguments of `fit`, `evaluate` and `predict` as a `Dataset` or a `Stream`, checked once.

Arrays become a `Dataset`, and a source that makes batches itself becomes a `Stream`. Both have the
method `batches`. A `Dataset` is checked here, as a whole, before the first step; a stream is
checked batch by batch, as they come.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import checks, cuda, kernels, validation
from ..data import Dataset
from ..data.classes import can_relabel, class_names_of, relabeled, text_labels
from ..data.columns import Columns, check_columns, columns_of, target_columns_of
from ..data.ranges import union
from ..data.samples import SampleBatches, holds_samples
from ..data.stream import Stream, are_inputs, are_pairs, yields_batches
from ..layers.preprocessing import adapt_first
from ..losses.regression import RegressionLoss
from ..losses.targets import labels_shape, product_of_weights
from .sources import Source, range_of_source, rows_to_read

Array = Any  # numpy.ndarray or cupy.ndarray

VAL_BATCH = 256  # samples at a time in the validation after each epoch


class DataAdapter:
    """Makes a `Dataset` or a `Stream` of users' data, and checks that they fit a model.

    Parameters
    ----------
    model
        The model. Its shapes, `dtype`, `scaler_of_bytes` and `loss` are used; `build` is called
        with the shape of the first inputs if it is not built yet.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._names = validation.fitting_class_names(model.class_names, model.output_shape)
        self._columns: Columns = model.feature_names
        self._target_columns: Columns = model.target_names

    # -------------------------------------------------------------- data with their targets

    def data(
        self, data: Any, y: Any = None, sample_weight: Any = None, is_training: bool = False
    ) -> Source:
        """Return data as a `Dataset`, or as a `Stream` that is not read yet, with their weights.

        Parameters
        ----------
        data, y, sample_weight
            As in `Model.fit`.
        is_training
            Whether they are to train on. If their class names are not the model's, the model
            gets theirs then; other data are refused.
        """
        checks.same_rows("Model", x=data, y=y, sample_weight=sample_weight)
        source = self._source(data, y, "data", is_training)
        return self._with_sample_weight(source, sample_weight)

    def split(
        self, train: Source, val_data: Any, validation_data: Any, fraction: float, seed: int
    ) -> tuple[Source, Source | None]:
        """Return training and validation data; the latter from one of the three arguments.

        Parameters
        ----------
        train
            The training data.
        val_data, validation_data, fraction
            The arguments of `fit`; `fraction` is `validation_split`.
        seed
            Of the split.
        """
        fraction = checks.fraction("Model", "validation_split", fraction)
        given = {
            "val_data": val_data is not None,
            "validation_data": validation_data is not None,
            "validation_split": fraction > 0,
        }
        names = [name for name, is_given in given.items() if is_given]
        if len(names) > 1:
            raise ValueError(f"[Model] pass only one of {', '.join(map(repr, names))}.")
        if not names:
            return train, None
        if fraction:
            if isinstance(train, Stream):
                raise ValueError(
                    f"[Model] 'validation_split' must not be given with batches as "
                    f"'{train.argument}', whose rows are not known before: pass val_data."
                )
            return train.split(fraction, rng=np.random.default_rng(seed))
        val = val_data if validation_data is None else validation_data
        try:
            return train, self._validation(val, names[0])
        except (TypeError, ValueError) as error:
            if f"'{names[0]}'" in str(error):
                raise
            kind = TypeError if isinstance(error, TypeError) else ValueError
            reason = str(error).removeprefix("[Model] ")
            raise kind(f"[Model] '{names[0]}': {reason}") from error

    def _validation(self, val: Any, argument: str) -> Source:
        if isinstance(val, tuple | list) and len(val) in (2, 3) and not are_pairs(val):
            checks.same_rows("Model", **dict(zip(("x", "y", "sample_weight"), val, strict=False)))
            data = self._source(val[0], val[1], argument)
            return self._with_sample_weight(data, val[2] if len(val) == 3 else None)
        if isinstance(val, Dataset) or yields_batches(val):
            return self._with_sample_weight(self._source(val, None, argument), None)
        rule = "must be a Dataset, (x, y) or (x, y, sample_weight), or make batches"
        raise checks.error("Model", argument, rule, type(val))

    def _source(self, data: Any, y: Any, argument: str, is_training: bool = False) -> Source:
        """Return data as a `Dataset` or a `Stream`, with the labels of the model's class names."""
        targets = getattr(data, "target_names", None) if y is None else target_columns_of(y)
        self._check_columns(argument, columns_of(data), targets, is_training)
        is_table = isinstance(data, list | tuple) or not yields_batches(data)
        if y is not None and is_table and not isinstance(data, Dataset):
            data, y = self._named(data, y, is_training)
        if isinstance(data, Dataset):
            validation.check_shape(data.x, self.model.input_shape)
        names, wanted = class_names_of(data), self._names
        if names is not None:
            is_known = wanted is not None and can_relabel(names, wanted)
            if wanted is None or (is_training and not is_known):
                self._names = wanted = names
            elif not is_known:
                raise _class_names_error(argument, names, wanted)
        others = None if names == wanted else names  # which are not the model's
        if others is not None and isinstance(data, Dataset) and data.y is not None:
            labels = relabeled(data.y, others, wanted)
            data = Dataset(data.x, labels, data.sample_weight, wanted)
        source = self._source_of(data, y, argument)
        if isinstance(source, Stream) and not is_training:
            source.columns, source.target_columns = self._columns, self._target_columns
        if others is not None and isinstance(source, Stream):
            source.relabel = functools.partial(relabeled, names=others, wanted=wanted)
        return source

    def _check_columns(
        self, argument: str, columns: Columns, targets: Columns, is_training: bool
    ) -> None:
        if is_training and columns is not None and set(columns) != set(self._columns or ()):
            self._columns = columns
        if is_training and targets is not None and set(targets) != set(self._target_columns or ()):
            self._target_columns = targets
        check_columns(argument, columns, self._columns)
        argument = "y" if argument == "data" else argument
        check_columns(argument, targets, self._target_columns, are_targets=True)

    def know_columns(self, train: Stream, val: Source | None) -> None:
        """Keep the columns of a training in batches; those for the validation must be the same."""
        self._check_columns(train.argument, train.columns, train.target_columns, is_training=True)
        if isinstance(val, Stream):
            val.columns, val.target_columns = self._columns, self._target_columns
        elif val is not None:
            self._check_columns("val_data", val.feature_names, val.target_names, is_training=False)

    def _named(self, data: Any, y: Any, is_training: bool) -> tuple[Any, Any]:
        """Return samples whose labels are texts as a `Dataset` and None, others as they are."""
        if text_labels(y, "Model") is None:
            return data, y
        if isinstance(self.model.loss, RegressionLoss):
            raise checks.not_real("Model", "y", y, np.asarray(y).dtype)
        if self._names is None and not is_training:
            rule = "must be numbers, as the model has no class names"
            raise checks.error("Model", "y", rule, next(iter(y)))
        if not checks.is_sparse(data):
            data = cuda.to_cpu(validation.check_inputs(data, self.model.input_shape))
        return Dataset(data, y), None

    def _source_of(self, data: Any, y: Any, argument: str) -> Source:
        if isinstance(data, Stream):
            return data
        if isinstance(data, type):
            raise TypeError(
                f"[Model] '{argument}' must be data, got the class {data.__name__}: write "
                f"{data.__name__}(...)."
            )
        listed = isinstance(data, list | tuple) and not are_pairs(data)  # samples, if y is given
        if not yields_batches(data) or (listed and y is not None):
            return self._dataset(data, y, argument)
        if listed and isinstance(data, tuple) and len(data) in (2, 3):
            names = "x, y" if len(data) == 2 else "x, y, sample_weight=weights"
            raise TypeError(
                f"[Model] '{argument}' must be the inputs, or batches (x, y), got a tuple of "
                f"{len(data)}: pass its parts as arguments, ({names})."
            )
        if y is not None:
            raise ValueError(
                f"[Model] 'y' must not be given with batches as '{argument}': each batch is a pair "
                "(x, y) with its own."
            )
        stream = Stream(self._batched(data), argument, check=self._check_batch)
        stream.shaped = self._shaped
        return stream

    def _batched(self, data: Any) -> Any:
        """Return a data set of single samples as batches, any other source as it is."""
        return SampleBatches(data) if holds_samples(data, self.model.input_shape) else data

    def _dataset(self, data: Any, y: Any, argument: str) -> Dataset:
        """Return a `Dataset` whose inputs and targets fit the model; build the model."""
        model = self.model
        if not isinstance(data, Dataset):
            x = data  # a sparse matrix stays so
            if not checks.is_sparse(data):
                x = cuda.to_cpu(validation.check_inputs(data, model.input_shape))
            data = Dataset(x, None if y is None else checks.array("Model", "y", y))
            validation.check_shape(data.x, model.input_shape)
        elif y is not None:
            raise ValueError(f"[Model] 'y' must not be given with a Dataset as '{argument}'.")
        validation.check_scaled_once(data.x, model)
        among = rows_to_read(data.x, model.part)
        validation.check_finite(data.x, "x", model.dtype, among)
        validation.check_ids(data.x, model.num_ids, among)
        if data.y is None:
            raise ValueError(
                f"[Model] '{argument}' must have targets, got none: pass x and y, or a Dataset "
                "with both."
            )
        if not model.built:
            model.build((None, *data.x.shape[1:]))
        y = self._shaped(data.y)
        if y is not data.y:
            data = Dataset(data.x, y, data.sample_weight, data.class_names)
        among = rows_to_read(data.y, model.part)
        own = data.y if among is None else data.y[among.start : among.stop]
        self._check_targets(data.x, own)
        return data

    def _shaped(self, y: Array) -> Array:
        """Return targets (N,) of a regression with a single output as (N, 1), others unchanged."""
        model = self.model
        is_column = isinstance(model.loss, RegressionLoss) and model.output_shape[1:] == (1,)
        return y[:, np.newaxis] if is_column and y.ndim == 1 else y  # (N,) -> (N, 1)

    def _check_targets(self, x: Any, y: Array) -> None:
        """Raise if the targets of inputs, which are not read, do not fit the model."""
        model = self.model
        shape = (len(y), *(model.output_shape or ())[1:])
        if None not in shape:  # else each batch is checked with its outputs
            model.wrapped_loss.check_targets(y, shape)
        if isinstance(model.loss, RegressionLoss):
            validation.check_byte_targets(x, y)
        largest = np.finfo(model.dtype).max
        if y.dtype.kind == "f" and y.dtype.itemsize > 4 and bool((abs(y) > largest).any()):
            rule = f"must be at most {largest:.2g} in size, the largest number of {model.dtype}"
            raise checks.error("Model", "y", rule, float(abs(y).max()))

    def _check_batch(
        self, x: Array, y: Array | None, weights: Array | None, class_weight: Any = None
    ) -> Array | None:
        """Raise if a batch of a stream does not fit the model; return the weights to use."""
        validation.check_shape(x, self.model.input_shape)
        validation.check_scaled_once(x, self.model)
        validation.check_finite(x, "x", self.model.dtype)
        validation.check_ids(x, self.model.num_ids)
        if y is None:
            raise ValueError("[Model] a batch must have targets: (x, y) or (x, y, sample_weight).")
        if not self.model.built:
            self.model.build((None, *x.shape[1:]))
        self._check_targets(x, self._shaped(y))
        if weights is not None:
            labels = self._label_rows(y)[1]
            weights = validation.check_weights(weights, "sample_weight", len(x), labels)
        if class_weight is not None:
            of_class = self._weights_by_class(class_weight, y)
            weights = of_class if weights is None else product_of_weights(of_class, weights)
        if weights is not None:
            self._check_loss_takes_weights()
        return weights

    # ---------------------------------------------------------------- inputs without targets

    def inputs(self, x: Any) -> Stream | None:
        """Return inputs of `predict` as a `Stream` if they come in batches, else None."""
        model = self.model
        check_columns("x", columns_of(x), model.feature_names)
        validation.check_one_input(x, model.input_shape, may_be_batches=True)
        if not yields_batches(x):
            return None
        if isinstance(x, list | tuple) and not (
            model.input_shape is not None and are_inputs(x, len(model.input_shape))
        ):
            return None  # a list of samples or of numbers, which is an array
        check_same_names(class_names_of(x), model.class_names)

        def check(x: Array, y: None, weights: None) -> None:
            validation.check_shape(x, model.input_shape)
            model._check_inputs(x)

        stream = Stream(self._batched(x), "x", check=check, with_targets=False)
        stream.columns = model.feature_names
        return stream

    # ------------------------------------------------------------------- weights of samples

    def _with_sample_weight(self, data: Source, sample_weight: Any) -> Source:
        """Return the data with `sample_weight`, (n,) or in the shape of the labels."""
        if isinstance(data, Stream):
            if sample_weight is not None:
                raise ValueError(
                    f"[Model] 'sample_weight' must not be given with batches as "
                    f"'{data.argument}', whose rows are not known before: let each batch be "
                    "(x, y, sample_weight)."
                )
            return data
        labels = self._label_rows(np.asarray(data.y))[1]
        if data.sample_weight is not None:
            validation.check_weights(data.sample_weight, "sample_weight", len(data), labels)
        if sample_weight is not None:
            sample_weight = validation.check_weights(
                sample_weight, "sample_weight", len(data), labels
            )
        return self._with_weights(data, sample_weight)

    def with_class_weight(self, data: Source, class_weight: Any) -> Source:
        """Return the data with each sample weighted by its class; None changes nothing."""
        if class_weight is None:
            return data
        if isinstance(class_weight, dict) and self._names is not None:
            numbers = {name: number for number, name in enumerate(self._names)}
            class_weight = {numbers.get(key, key): w for key, w in class_weight.items()}
        if isinstance(data, Stream):
            data.check = functools.partial(self._check_batch, class_weight=class_weight)
            return data
        return self._with_weights(data, self._weights_of_labels(class_weight, np.asarray(data.y)))

    def _with_weights(self, data: Dataset, weights: Array | None) -> Dataset:
        """Return the data with their weights multiplied by these; None changes nothing."""
        if data.sample_weight is None and weights is None:
            return data
        self._check_loss_takes_weights()
        joined = data.sample_weight if weights is None else weights
        if weights is not None and data.sample_weight is not None:
            joined = product_of_weights(weights, data.sample_weight)
        if not np.any(joined):
            rule = "must leave a weight above 0, without which there is no loss"
            raise checks.error("Model", "sample_weight", rule, "zeros alone")
        if weights is None:
            return data
        return Dataset(data.x, data.y, joined, data.class_names)

    def _weights_by_class(self, class_weight: Any, y: Array) -> Array:
        """Return the weights of a batch, which may lack samples of some classes."""
        classes = max(validation.classes_of(self.model.output_shape) or 2, 2)
        validation.weights_of_classes(class_weight, np.arange(classes))  # refuses keys and values
        rows, _ = self._label_rows(y)
        if rows.size == len(rows):  # labels, not one-hot rows
            class_weight = {k: weight for k, weight in class_weight.items() if k <= rows.max()}
        return self._weights_of_labels(class_weight, y)

    def _weights_of_labels(self, class_weight: Any, y: Array) -> Array:
        """Return the weight of each label: (n,), or those of the steps or pixels of the outputs."""
        rows, shape = self._label_rows(y)
        return validation.weights_of_classes(class_weight, rows).reshape(shape)

    def _label_rows(self, y: Array) -> tuple[Array, tuple[int, ...]]:
        """Return targets with a row for each label, and the shape of the labels."""
        ndim = len(self.model.output_shape or ())
        if ndim not in (3, 4) or y.ndim not in (ndim - 1, ndim):
            return y, (len(y),)
        if y.ndim < ndim:
            return y.reshape(-1), y.shape  # (N, ...) -> (N * ...,)
        return kernels.class_rows(y), labels_shape(y.shape)

    def _check_loss_takes_weights(self) -> None:
        if not self.model.wrapped_loss.takes_weights:
            name = type(self.model.loss).__name__
            raise ValueError(
                "[Model] sample weights need a loss whose forward() accepts 'sample_weight', which "
                f"that of {name} does not: define sample_losses() in it instead."
            )

    # --------------------------------------------------------------- before the first step

    def check_num_classes(self, num_classes: Any) -> None:
        """Raise if `num_classes` contradicts the last layer, once that has a shape."""
        if num_classes is None:
            return
        num_classes = checks.positive_int("Model", "num_classes", num_classes)
        if not self.model.built:  # the first batch of a stream will build it
            return
        outputs = validation.outputs_of(self.model.output_shape)
        if outputs != num_classes and (outputs, num_classes) != (1, 2):
            rule = f"must be the {outputs} outputs of the last layer"
            raise checks.error("Model", "num_classes", rule, num_classes)

    def adapt(self, train: Source, resumes: bool = False) -> None:
        """Let the model keep what it needs of its training data, before the first step.

        These are the mean and standard deviation of a `Standardize` at its beginning, unless a
        training that is resumed has them already, and the names of the columns and the classes.
        """
        source = train.source if isinstance(train, Stream) else train
        if not resumes:
            adapt_first(self.model.layers, source)
        self.remember_range(train)
        if resumes:  # the file may have names that were not known before
            check_columns("data", self._columns, self.model.feature_names)
            check_columns("y", self._target_columns, self.model.target_names, are_targets=True)
        if self._columns is not None:
            self.model.feature_names = self._columns
        if self._target_columns is not None:
            self.model.target_names = self._target_columns
        names = None if class_names_of(source) is None else self._names
        if resumes and names is not None and self.model.class_names not in (None, names):
            raise _class_names_error("data", names, self.model.class_names)
        outputs = validation.classes_of(self.model.output_shape)
        if names is not None and len(names) != outputs:
            rule = f"should have a class name for each of {outputs} classes to be kept by the model"
            checks.warn(f"[Model] 'data' {rule}, got {names}.")
        elif names is not None:
            self.model.class_names = names

    def remember_range(self, train: Source) -> None:
        """Extend the range of the model's inputs by that of training data."""
        self.model.input_range = union(self.model.input_range, range_of_source(train))


def check_same_names(names: Any, wanted: Sequence[str] | None) -> None:
    """Raise if the labels of data to predict have other numbers than the model's classes.

    Parameters
    ----------
    names
        The data's class names; None without.
    wanted
        The model's; None without.
    """
    if names is not None and wanted is not None and list(names) != list(wanted):
        raise _class_names_error("x", list(names), wanted)


def _class_names_error(argument: str, names: list[str], wanted: Sequence[str]) -> ValueError:
    """Return the error for data whose class names are not the model's."""
    advice = "rename them, or set model.class_names"
    if argument == "x":
        advice = "pass the inputs alone, x.x, or call predict_classes(x, names=True)"
    return ValueError(
        f"[Model] '{argument}' must have the class names of the model, {list(wanted)}, in their "
        f"order, got {names}: their numbers mean other classes; {advice}."
    )
