"""What users hand to `fit`, `evaluate` and `predict`, made into what these read.

This file stands between the arguments of a call and the loop, `training`. Arrays become a
`Dataset`, and a source that makes the batches itself becomes a `Stream`; here they also get weights
of samples, a part for validation, and epochs of a given number of steps. Both have the same
`batches`; they differ in that a stream is checked batch by batch, and not before.

Of a model these functions use the public attributes only.
"""

import functools
import math
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, cuda, validation
from ..data import Dataset
from ..data.stream import Stream, are_inputs, are_pairs, hands_out_batches
from ..layers.preprocessing import adapt_first

if TYPE_CHECKING:
    from ..model import Model

Array = Any  # numpy.ndarray or cupy.ndarray

VAL_BATCH = 256  # samples at a time in the validation after each epoch


# -------------------------------------------------------------------- data sets and streams


def as_data(model: "Model", data: Any, y: Any, argument: str) -> Dataset | Stream:
    """Return `data` as a Dataset, or as a Stream that is not read yet where it makes batches."""
    if isinstance(data, Stream):
        return data
    if isinstance(data, type):
        raise TypeError(
            f"[Model] '{argument}' must be data, got the class {data.__name__}: write "
            f"{data.__name__}(...)."
        )
    listed = isinstance(data, list | tuple) and not are_pairs(data)  # samples, if y is given
    if not hands_out_batches(data) or (listed and y is not None):
        return as_dataset(model, data, y, argument)
    if y is not None:
        raise ValueError(
            f"[Model] 'y' must not be given beside batches as '{argument}': each batch is a pair "
            "(x, y) that brings its own."
        )
    return Stream(data, argument, check=functools.partial(check_batch, model))


def as_inputs(model: "Model", x: Any) -> Stream | None:
    """Return what `predict` is given as a Stream where it makes batches, else None."""
    if not hands_out_batches(x):
        return None
    if isinstance(x, list | tuple) and not (
        model.input_shape is not None and are_inputs(x, len(model.input_shape))
    ):
        return None  # a list of samples or of numbers, which is an array

    def check(x: Array, y: None, weights: None) -> None:
        validation.check_shape(x, model.input_shape)
        validation.check_scaled_once(x, model.input_scale)

    return Stream(x, "x", check=check, with_targets=False)


def as_dataset(model: "Model", data: Any, y: Any, argument: str) -> Dataset:
    """Return `data` as a Dataset whose inputs and targets fit the model; build the model."""
    if not isinstance(data, Dataset):
        x = validation.check_inputs(data, model.input_shape)
        data = Dataset(cuda.to_cpu(x), None if y is None else checks.array("Model", "y", y))
    elif y is not None:
        raise ValueError(f"[Model] 'y' must not be given beside a Dataset as '{argument}'.")
    else:
        validation.check_shape(data.x, model.input_shape)
    validation.check_scaled_once(data.x, model.input_scale)
    validation.check_finite(data.x, "x")
    if data.y is None:
        raise ValueError(
            f"[Model] '{argument}' must have targets, got none: give x and y, or a Dataset with "
            "both."
        )
    check_targets(model, data.x, data.y)
    return data


def check_targets(model: "Model", x: Any, y: Array) -> None:
    """Raise where the targets of inputs do not fit the model; build the model for the inputs."""
    if not model.built:
        model.build((None, *x.shape[1:]))
    model.wrapped_loss.check_targets(y, (len(x), *(model.output_shape or ())[1:]))
    largest = np.finfo(model.dtype).max
    if y.dtype.kind == "f" and y.dtype.itemsize > 4 and bool((abs(y) > largest).any()):
        rule = f"must be at most {largest:.2g} in size, the largest number of {model.dtype}"
        raise checks.error("Model", "y", rule, float(abs(y).max()))


def check_batch(
    model: "Model",
    x: np.ndarray,
    y: np.ndarray | None,
    weights: np.ndarray | None,
    class_weight: Any = None,
) -> np.ndarray | None:
    """Raise where a batch of a stream does not fit the model; return the weights it is to have."""
    validation.check_shape(x, model.input_shape)
    validation.check_scaled_once(x, model.input_scale)
    validation.check_finite(x, "x")
    if y is None:
        raise ValueError("[Model] a batch must have targets: (x, y) or (x, y, sample_weight).")
    check_targets(model, x, y)
    if class_weight is not None:
        of_class = weights_by_class(model, class_weight, y)
        weights = of_class if weights is None else of_class * weights
    if weights is not None:
        check_loss_takes_weights(model)
    return weights


def split_validation(
    model: "Model",
    train: Dataset | Stream,
    val_data: Any,
    validation_data: Any,
    split: float,
    seed: int,
) -> tuple[Dataset | Stream, Dataset | Stream | None]:
    """Return training and validation data; both names of the argument mean the same."""
    split = checks.fraction("Model", "validation_split", split)
    given = {
        "val_data": val_data is not None,
        "validation_data": validation_data is not None,
        "validation_split": split > 0,
    }
    names = [name for name, is_given in given.items() if is_given]
    if len(names) > 1:
        raise ValueError(f"[Model] give only one of {', '.join(map(repr, names))}.")
    if not names:
        return train, None
    if split:
        if isinstance(train, Stream):
            raise ValueError(
                f"[Model] 'validation_split' must not be given beside batches as "
                f"'{train.argument}', whose rows nobody knows before: give val_data."
            )
        return train.split(split, rng=np.random.default_rng(seed))
    val = val_data if validation_data is None else validation_data
    if isinstance(val, tuple | list) and len(val) == 2 and not are_pairs(val):
        return train, as_dataset(model, val[0], val[1], names[0])
    if isinstance(val, Dataset) or hands_out_batches(val):
        return train, as_data(model, val, None, names[0])
    rule = "must be a Dataset or a pair (x, y), or make batches"
    raise checks.error("Model", names[0], rule, type(val))


# ----------------------------------------------------------------------- weights of samples


def weights_by_class(model: "Model", class_weight: Any, y: np.ndarray) -> np.ndarray:
    """Return the weights of a batch, in which some of the classes may be missing."""
    classes = max((model.output_shape or (None, 2))[-1] or 2, 2)  # a single output tells two
    validation.weights_of_classes(class_weight, np.arange(classes))  # refuses keys and values
    if y.size == len(y):  # labels, not one-hot rows
        class_weight = {k: weight for k, weight in class_weight.items() if k <= y.max()}
    return validation.weights_of_classes(class_weight, y)


def check_loss_takes_weights(model: "Model") -> None:
    """Raise where the loss knows no weights of samples."""
    if not model.wrapped_loss.takes_weights:
        raise ValueError(
            f"[Model] weights of samples need a loss whose forward() takes 'sample_weight', which "
            f"{type(model.loss).__name__} does not: let it define sample_losses() in its place."
        )


def with_weights(model: "Model", data: Dataset, weights: np.ndarray | None) -> Dataset:
    """Return the data with the weights of its samples multiplied by these; None changes none."""
    if data.sample_weight is None and weights is None:
        return data
    check_loss_takes_weights(model)
    if weights is None:
        return data
    if data.sample_weight is not None:
        weights = weights * data.sample_weight
    return Dataset(data.x, data.y, sample_weight=weights, class_names=data.class_names)


def with_sample_weight(
    model: "Model", data: Dataset | Stream, sample_weight: Any
) -> Dataset | Stream:
    """Return the data with `sample_weight` (n,), the argument of `fit` and `evaluate`."""
    if isinstance(data, Stream):
        if sample_weight is not None:
            raise ValueError(
                f"[Model] 'sample_weight' must not be given beside batches as '{data.argument}', "
                "whose rows nobody knows before: let each batch be (x, y, sample_weight)."
            )
        return data
    if sample_weight is not None:
        sample_weight = validation.check_weights(sample_weight, "sample_weight", len(data))
    return with_weights(model, data, sample_weight)


def with_class_weight(
    model: "Model", data: Dataset | Stream, class_weight: Any
) -> Dataset | Stream:
    """Return the data with each sample weighted by its class, `class_weight` of `fit`."""
    if class_weight is None:
        return data
    if isinstance(data, Stream):
        data.check = functools.partial(check_batch, model, class_weight=class_weight)
        return data
    weights = validation.weights_of_classes(class_weight, np.asarray(data.y))
    return with_weights(model, data, weights)


# -------------------------------------------------------------------------- epochs in steps


def in_steps(
    data: Dataset | Stream, steps: Any, batch_size: int, argument: str = "steps_per_epoch"
) -> Any:
    """Return data of which `steps` batches are read at a time; None stands for all."""
    if isinstance(data, Stream):
        data.steps_argument = argument  # for its messages
    if steps is None:
        return data
    steps = checks.positive_int("Model", argument, steps)
    stream = data if isinstance(data, Stream) else Stream(data)
    stream.y = getattr(data, "y", None)  # of a Dataset, the targets of all samples
    length = None if stream.is_one_shot else stream.length(batch_size)
    if length is not None and steps > length:
        rule = f"must be at most the {length} batches of '{stream.argument}'"
        raise checks.error("Model", argument, rule, steps)
    stream.steps, stream.steps_argument = steps, argument
    return stream


def validation_in_steps(
    model: "Model", val: Dataset | Stream | None, steps: Any
) -> Dataset | Stream | None:
    """Return the validation data of `fit` as `evaluate` reads them, `validation_steps` at a time.

    They are checked here, once, and not again after each epoch.
    """
    if val is None:
        if steps is not None:
            raise checks.error("Model", "validation_steps", "needs 'val_data'", steps)
        return None
    return in_steps(with_sample_weight(model, val, None), steps, VAL_BATCH, "validation_steps")


def check_epochs(train: Dataset | Stream, val: Dataset | Stream | None, epochs: range) -> None:
    """Raise where a generator would have to be read a second time."""
    for data, way_out in (
        (train, "give 'steps_per_epoch', which cuts it into epochs, or"),
        (val, "give 'validation_steps', which cuts it into pieces, a list of batches, or"),
    ):
        if not isinstance(data, Stream) or not data.is_one_shot or len(epochs) < 2:
            continue
        if data.steps is None:
            raise ValueError(
                f"[Model] '{data.argument}' must be readable {len(epochs)} times, once an epoch, "
                f"got {data.source!r}, which can be read once: {way_out} a function that makes a "
                "new one each epoch."
            )


def sizes(train: Dataset | Stream, batch_size: int) -> dict[str, float]:
    """Return 'samples' and 'steps' of an epoch, each infinite where it is not known."""
    if isinstance(train, Dataset):
        return {"samples": len(train), "steps": -(-len(train) // batch_size)}  # rounded up
    if train.counted is not None:
        return {"samples": train.counted[1], "steps": train.counted[0]}
    steps = train.steps or train.length(batch_size) or math.inf
    return {"samples": steps * train.rows if train.rows else math.inf, "steps": steps}


# ------------------------------------------------ before the first step, and after the last


def read_ahead(
    model: "Model",
    train: Dataset | Stream,
    batches: Callable[[], Generator[tuple, None, None]],
    val: Dataset | Stream | None,
    epochs: range,
) -> None:
    """Read the first batches of streams, so that what is wrong is an error before the first step.

    They build the model, and are kept: the first epoch begins with them.
    """
    if not epochs:
        return
    if isinstance(train, Stream):
        train.epoch = epochs.start
        train.keep(batches())
    if isinstance(val, Stream):
        val.keep(val.batches(VAL_BATCH, shuffle=False, dtype=model.dtype))


def check_num_classes(model: "Model", num_classes: int | None) -> None:
    """Raise where `num_classes` contradicts the last layer, once there is one with a shape."""
    if num_classes is None:
        return
    num_classes = checks.positive_int("Model", "num_classes", num_classes)
    if not model.built:  # the first batch of a stream will build it
        return
    outputs = (model.output_shape or (None,))[-1]
    if outputs != num_classes and (outputs, num_classes) != (1, 2):
        raise checks.error(
            "Model", "num_classes", f"must be the {outputs} outputs of the last layer", num_classes
        )


def learn_from_data(model: "Model", train: Any, resumes: bool) -> None:
    """Take from the training data what the model keeps of them, before the first step.

    These are the mean and std of a `Standardize` at its beginning, which come from the file
    where the model resumes, and the names of the classes.
    """
    source = train.source if isinstance(train, Stream) else train
    if not resumes:
        adapt_first(model.layers, source)
    names = getattr(source, "class_names", None)
    if names is not None and len(names) == validation.classes_of(model.output_shape):
        model.class_names = names


def close(*data: Dataset | Stream | None) -> None:
    """Close generators that nobody will read on."""
    for source in data:
        if isinstance(source, Stream):
            source.close()
